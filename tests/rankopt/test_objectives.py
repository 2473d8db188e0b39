"""The ways in which an objective can be given lead to the same iterates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manifolds import Product, Sphere, Stiefel
from rankopt import MaxIterations, minimize

MANIFOLD = Stiefel(8, 2)


def iterates(objective, x0, manifold=MANIFOLD, **options):
    """Points of the first steps of conjugate gradients, which use no Hessian product, as numpy arrays."""
    points = []
    options |= {"stopping": MaxIterations(12), "callback": lambda r: points.append(r.x)}
    minimize(objective, manifold, x0, "conjugate-gradient", **options)
    return [np.concatenate([np.asarray(a).ravel() for a in (x if isinstance(x, tuple) else (x,))]) for x in points]


class WithGradient:
    def __init__(self, f):
        self.value_and_gradient = f.both


class Riemannian:
    """Gradient and Hessian product that are Riemannian already, by the textbook's formulas."""

    riemannian = True

    def __init__(self, f):
        self.f = f

    def value_and_gradient(self, x):
        e = self.f.gradient(x)
        inner = x.T @ e
        return self.f.cost(x), e - x @ (inner + inner.T) / 2


@pytest.fixture
def problem(double, spd, trace_objective):
    f = trace_objective(double(spd(8, 20.0)))
    return f, MANIFOLD.random_point(rng=1, like=f.a)


@pytest.mark.parametrize(
    "way",
    [
        lambda f: (f.both, {"gradient": True}),
        lambda f: (WithGradient(f), {}),
        lambda f: (Riemannian(f), {}),
        lambda f: (f.cost, {"gradient": f.gradient, "hessian": f.hessian}),
    ],
    ids=["pair", "object", "riemannian object", "with a Hessian product"],
)
def test_same_iterates_however_the_gradient_is_given(way, problem):
    f, x0 = problem
    objective, options = way(f)
    expected = iterates(f.cost, x0, gradient=f.gradient)
    assert len(expected) == 12
    np.testing.assert_allclose(iterates(objective, x0, **options), expected, atol=1e-9)


def test_autograd_gives_the_iterates_of_the_explicit_gradient(spd, trace_objective):
    f = trace_objective(torch.asarray(spd(8, 20.0)))
    x0 = MANIFOLD.random_point(rng=1, like=f.a)
    np.testing.assert_allclose(iterates(f.cost, x0), iterates(f.cost, x0, gradient=f.gradient), atol=1e-9)


def test_autograd_on_a_product(spd):
    a = torch.asarray(spd(5, 20.0))
    manifold = Product(x=Sphere(5), y=Stiefel(5, 2))
    x0 = manifold.random_point(rng=0, like=a)

    def cost(point):
        return point.x @ a @ point.x + (point.y * (a @ point.y)).sum() + (point.x @ point.y).sum()

    def gradient(point):
        columns = point.y.sum(dim=1)
        return manifold.point_type(2 * a @ point.x + columns, 2 * a @ point.y + point.x[:, None])

    explicit = iterates(cost, x0, manifold, gradient=gradient)
    np.testing.assert_allclose(iterates(cost, x0, manifold), explicit, atol=1e-9)


def test_autograd_leaves_no_graph_behind(spd):
    a = torch.asarray(spd(6, 5.0)).requires_grad_(True)
    result = minimize(lambda x: x @ a @ x, Sphere(6), Sphere(6).random_point(rng=0, like=a.detach()))
    assert not result.x.requires_grad
    assert isinstance(result.fun, float)
    assert a.grad is None


def test_single_precision_iterates_follow_double_precision(spd, trace_objective):
    a = spd(8, 20.0)
    x0 = MANIFOLD.random_point(rng=1)
    double, single = trace_objective(a), trace_objective(a.astype(np.float32))
    expected = iterates(double.cost, x0, gradient=double.gradient)[:4]
    got = iterates(single.cost, x0.astype(np.float32), gradient=single.gradient)[:4]
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert all(x.dtype == np.float32 for x in got)


def test_libraries_give_the_same_iterates(spd, trace_objective):
    a, x0 = spd(8, 20.0), MANIFOLD.random_point(rng=1)
    f, g = trace_objective(a), trace_objective(torch.asarray(a))
    expected = iterates(f.cost, x0, gradient=f.gradient)
    np.testing.assert_allclose(iterates(g.cost, torch.asarray(x0), gradient=g.gradient), expected, atol=1e-9)
