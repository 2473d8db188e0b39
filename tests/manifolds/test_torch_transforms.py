"""Torch's function transforms through the geometry: compiled, vectorised and differentiated."""

import pytest
import torch

from manifolds import (
    QR,
    CholeskyQR,
    FixedRankTwoFactors,
    GeneralizedStiefel,
    Grassmann,
    Polar,
    Sphere,
    Stiefel,
    TwoFactorPoint,
)
from tests.arrays import spd

B, M = (torch.tensor(spd(7, 20.0, seed)) for seed in (0, 1))
PLAIN = {"sphere": Sphere(7), "stiefel": Stiefel(7, 3), "grassmann": Grassmann(7, 3)}
MANIFOLDS = {
    **PLAIN,
    "stiefel-qr": Stiefel(7, 3, retraction=QR()),
    "stiefel-polar": Stiefel(7, 3, retraction=Polar()),
    "generalized": GeneralizedStiefel(B, 3, M),
}
LINEAR = ["projection", "euclidean_to_riemannian_gradient"]


def inputs(manifold, batch=()):
    x = manifold.random_point(0, torch.empty(0, dtype=torch.float64), batch=batch)
    return x, manifold.random_tangent_vector(x, 1), manifold.standard_normal(2, x)


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.filterwarnings("ignore")
def test_compiled_without_graph_breaks(name, method):
    x, _, a = inputs(MANIFOLDS[name])
    function = getattr(MANIFOLDS[name], method)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")(x, a)
    torch.testing.assert_close(compiled, function(x, a), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.filterwarnings("ignore")
def test_compiled_retraction_without_graph_breaks(name):
    x, v, _ = inputs(MANIFOLDS[name], batch=(2,))
    retraction = MANIFOLDS[name].retraction
    compiled = torch.compile(retraction, fullgraph=True, backend="aot_eager")(x, v)
    torch.testing.assert_close(compiled, retraction(x, v), rtol=0, atol=1e-13)


@pytest.mark.filterwarnings("ignore")
def test_compiled_steps_in_two_factors():
    manifold = FixedRankTwoFactors(7, 6, 2)
    x = manifold.random_point(0, torch.empty(0, dtype=torch.float64))
    a = torch.tensor(spd(7, 20.0, 2))[:, :6]

    def descend(left, right, a):
        geometry = manifold.at(TwoFactorPoint(left, right))
        gradient = geometry.riemannian_gradient(a)
        return tuple(geometry.retraction(manifold.linear_combination(-0.1, gradient, 0.0, gradient)))

    compiled = torch.compile(descend, fullgraph=True, backend="aot_eager")(*x, a)
    torch.testing.assert_close(compiled, descend(*x, a), rtol=0, atol=1e-14)


@pytest.mark.parametrize("retraction", [CholeskyQR(), QR(), Polar()], ids=["cholesky", "qr", "polar"])
@pytest.mark.filterwarnings("ignore")
def test_compiled_orthonormalization_in_the_inner_product_of_a_matrix(retraction):
    y = torch.tensor(spd(7, 1e3, 2))[:, :3]

    def orthonormalize(y):
        return retraction.orthonormalize(y, product=lambda v: B @ v)

    compiled = torch.compile(orthonormalize, fullgraph=True, backend="aot_eager")(y)
    torch.testing.assert_close(compiled.mT @ B @ compiled, torch.eye(3, dtype=y.dtype), rtol=0, atol=1e-13)
    torch.testing.assert_close(compiled, orthonormalize(y), rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore")
def test_compiled_retraction_by_inductor():
    x, v, _ = inputs(PLAIN["stiefel"])
    retraction = PLAIN["stiefel"].retraction
    compiled = torch.compile(retraction, fullgraph=True, backend="inductor")(x, v)
    torch.testing.assert_close(compiled, retraction(x, v), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("method", LINEAR)
def test_vectorised_equals_batched(name, method):
    x, _, a = inputs(MANIFOLDS[name], batch=(4,))
    function = getattr(MANIFOLDS[name], method)
    torch.testing.assert_close(torch.func.vmap(function)(x, a), function(x, a), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_differentiable(name):
    x, v, a = (t.requires_grad_() for t in inputs(MANIFOLDS[name]))
    assert torch.autograd.gradcheck(MANIFOLDS[name].projection, (x, a))
    assert torch.autograd.gradcheck(MANIFOLDS[name].retraction, (x, v))
