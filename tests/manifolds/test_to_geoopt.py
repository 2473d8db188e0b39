"""Our manifolds under geoopt: parameters, its optimizers, its own checks, and the training of a layer."""

import copy
import io

import geoopt
import numpy as np
import pytest
import torch
from geoopt.optim import RiemannianAdam, RiemannianSGD
from scipy.linalg import eigh

from manifolds import ArrayManifold, GeneralizedStiefel, Grassmann, Oblique, Product, Sphere, Stiefel, to_geoopt
from tests.arrays import Kind, assert_close, spd
from tests.manifolds.library_manifolds import SquaredDistance, SquaredDistanceOfGrams, near
from tests.manifolds.zoo import ZOO, factors

DOUBLE, SINGLE = Kind("torch", "float64"), Kind("torch", "float32")
ARRAYS = [name for name, member in ZOO.items() if isinstance(member.build(DOUBLE), ArrayManifold)]

OPTIMIZERS = {
    "sgd": lambda parameters: RiemannianSGD(parameters, lr=0.05),
    "momentum": lambda parameters: RiemannianSGD(parameters, lr=0.02, momentum=0.9),
    "nesterov": lambda parameters: RiemannianSGD(parameters, lr=0.02, momentum=0.9, nesterov=True, stabilize=10),
    "adam": lambda parameters: RiemannianAdam(parameters, lr=0.02),
    "amsgrad": lambda parameters: RiemannianAdam(parameters, lr=0.02, amsgrad=True, stabilize=10),
}


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("name", ARRAYS)
def test_optimizers_come_near_the_minimizer(name, optimizer):
    manifold = ZOO[name].build(SINGLE)
    goal = manifold.random_point(5, SINGLE.like)
    cost = (SquaredDistanceOfGrams if isinstance(factors(manifold)[0], Grassmann) else SquaredDistance)(goal)
    x = geoopt.ManifoldParameter(near(manifold, goal), manifold=to_geoopt(manifold))
    first = cost(x).item()
    step = OPTIMIZERS[optimizer]([x])
    for _ in range(100):
        step.zero_grad()
        loss = cost(x)
        loss.backward()
        step.step()
    assert loss.item() < 0.05 * first
    assert manifold.check_point(x.detach().as_subclass(torch.Tensor)) is None


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_finds_the_leading_subspace(optimizer):
    """Of pencils A, B, by steps in a metric M."""
    a, b, m = (DOUBLE(spd(7, 10.0, seed=seed)) for seed in range(3))
    manifold = GeneralizedStiefel(b, 2, m)
    x = geoopt.ManifoldParameter(manifold.random_point(0), manifold=to_geoopt(manifold))
    step = OPTIMIZERS[optimizer]([x])
    for _ in range(600):
        step.zero_grad()
        loss = torch.trace(x.T @ a @ x)
        loss.backward()
        step.step()
    assert loss.item() == pytest.approx(eigh(a.numpy(), b.numpy(), eigvals_only=True)[:2].sum(), rel=1e-3)


@pytest.mark.parametrize("name", ARRAYS)
def test_their_own_checks(name):
    """What geoopt asserts of points, vectors and shapes, on all that its optimizers ask for; single and batched."""
    manifold = ZOO[name].build(DOUBLE)
    theirs = to_geoopt(manifold)
    torch.manual_seed(0)
    for batch in ((), (3,)):
        x = theirs.random(*batch, *manifold.shape, dtype=torch.float64)
        assert isinstance(x, geoopt.ManifoldTensor)
        assert x.manifold is theirs
        x = x.as_subclass(torch.Tensor)
        theirs.assert_check_point_on_manifold(x)
        u, v = (theirs.proju(x, torch.randn_like(x)) for _ in range(2))
        for tangent in (u, v, theirs.egrad2rgrad(x, torch.randn_like(x))):
            theirs.assert_check_vector(tangent)
            theirs.assert_check_vector_on_tangent(x, tangent)
        torch.testing.assert_close(theirs.proju(x, u), u)
        u = 0.1 * u
        for y in (theirs.retr(x, u), theirs.expmap(x, u), theirs.projx(x + 1e-3 * v)):
            theirs.assert_check_point_on_manifold(y)
        y, moved = theirs.retr_transp(x, u, v)
        torch.testing.assert_close(y, theirs.retr(x, u))
        torch.testing.assert_close(moved, theirs.transp(x, y, v))
        torch.testing.assert_close(moved, theirs.transp_follow_retr(x, u, v))
        theirs.assert_check_vector_on_tangent(y, moved)
        assert theirs.inner(x, u, v).shape == batch
        assert theirs.inner(x, u, keepdim=True).shape == batch + (1,) * theirs.ndim
        torch.testing.assert_close(theirs.inner(x, u), theirs.norm(x, u) ** 2)
        torch.testing.assert_close(theirs.component_inner(x, u).flatten(), theirs.inner(x, u).flatten())
        if not ZOO[name].flat:
            uneven = torch.arange(1.0, x.numel() + 1, dtype=torch.float64).reshape(x.shape)
            assert not theirs.check_point_on_manifold(uneven)
            assert not theirs.check_vector_on_tangent(x, x + uneven)


@pytest.mark.parametrize("name", ARRAYS)
def test_first_order_of_steps_and_the_gradient(name):
    """d/dt f(R_x(t u)) = <grad f, u> by differences, for both maps that geoopt steps with."""
    manifold = ZOO[name].build(DOUBLE)
    theirs = to_geoopt(manifold)
    x = manifold.random_point(0, DOUBLE.like)
    u, e = manifold.random_tangent_vector(x, 1), manifold.standard_normal(2, x)
    expected = theirs.inner(x, theirs.egrad2rgrad(x, e), u)
    for step in (theirs.retr, theirs.expmap):
        measured = ((step(x, 1e-6 * u) - step(x, -1e-6 * u)) * e).sum() / 2e-6
        torch.testing.assert_close(measured, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in ARRAYS if ZOO[name].has_exp])
def test_logarithms_and_distances(name):
    manifold = ZOO[name].build(DOUBLE)
    theirs = to_geoopt(manifold)
    x = manifold.random_point(0, DOUBLE.like, batch=(2,))
    u = 0.3 * manifold.random_tangent_vector(x, 1)
    y = theirs.expmap(x, u)
    torch.testing.assert_close(theirs.logmap(x, y), u, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(theirs.dist(x, y), theirs.norm(x, u), rtol=1e-6, atol=1e-8)
    assert theirs.dist(x, y, keepdim=True).shape == (2,) + (1,) * theirs.ndim


@pytest.mark.parametrize(
    ("manifold", "reference"),
    [
        (Sphere(4), geoopt.Sphere()),
        (Stiefel(5, 2), geoopt.EuclideanStiefel()),
        (ZOO["positive-definite"].build(DOUBLE), geoopt.SymmetricPositiveDefinite()),
        (ZOO["euclidean-matrix"].build(DOUBLE), geoopt.Euclidean(2)),
    ],
    ids=str,
)
def test_equal_to_theirs(manifold, reference):
    ours = to_geoopt(manifold)
    torch.manual_seed(0)
    x = ours.random(3, *manifold.shape, dtype=torch.float64).as_subclass(torch.Tensor)
    a = torch.randn_like(x)
    u = reference.proju(x, a)
    y = reference.expmap(x, 0.1 * u)
    torch.testing.assert_close(ours.proju(x, a), u)
    torch.testing.assert_close(ours.egrad2rgrad(x, a), reference.egrad2rgrad(x, a))
    torch.testing.assert_close(ours.inner(x, u, a), reference.inner(x, u, a))
    torch.testing.assert_close(ours.inner(x, u, keepdim=True), reference.inner(x, u, keepdim=True))
    torch.testing.assert_close(ours.expmap(x, 0.1 * u), y)
    torch.testing.assert_close(ours.transp(x, y, u), reference.transp(x, y, u))


class OrthonormalLayer(torch.nn.Module):
    """A linear map with a weight on a Stiefel manifold, and a free one on top."""

    def __init__(self, manifold, like):
        super().__init__()
        self.weight = geoopt.ManifoldParameter(manifold.random_point(0, like), manifold=to_geoopt(manifold))
        # Made on the processor and moved, so that every device starts from the same numbers.
        self.head = torch.nn.Linear(manifold.shape[1], 1, bias=False, dtype=like.dtype).to(like.device)

    def forward(self, x):
        return self.head(x @ self.weight)


def train(manifold, like, optimizer):
    """Losses of minibatch training on y = x^T w with w in the span of a point of the manifold."""
    generator = torch.Generator().manual_seed(0)
    truth = manifold.random_point(7, like) @ torch.tensor([[1.0], [-2.0]]).to(like)
    torch.manual_seed(0)
    layer = OrthonormalLayer(manifold, like)
    step = optimizer(layer.parameters())
    losses = []
    for _ in range(400):
        x = torch.randn(32, manifold.shape[0], generator=generator).to(like)
        step.zero_grad()
        loss = ((layer(x) - x @ truth) ** 2).mean()
        loss.backward()
        step.step()
        losses.append(loss.item())
    return losses, layer


def b_orthonormal(kind):
    return GeneralizedStiefel(kind(spd(8, 10.0, seed=0)), 2, kind(spd(8, 10.0, seed=1)))


STOCHASTIC = {
    "sgd": lambda parameters: RiemannianSGD(parameters, lr=0.02, momentum=0.8),
    "adam": lambda parameters: RiemannianAdam(parameters, lr=0.02),
}


@pytest.mark.parametrize("optimizer", STOCHASTIC)
@pytest.mark.parametrize("build", [lambda kind: Stiefel(8, 2), b_orthonormal], ids=["orthonormal", "B-orthonormal"])
def test_stochastic_training_of_a_layer(build, optimizer):
    manifold = build(SINGLE)
    losses, layer = train(manifold, SINGLE.like, STOCHASTIC[optimizer])
    assert np.mean(losses[-20:]) < 0.01 * np.mean(losses[:5])
    assert manifold.check_point(layer.weight.detach().as_subclass(torch.Tensor)) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", STOCHASTIC)
@pytest.mark.parametrize("build", [lambda kind: Stiefel(8, 2), b_orthonormal], ids=["orthonormal", "B-orthonormal"])
def test_stochastic_training_on_a_cuda_device(build, optimizer):
    device = Kind("torch", "float32", "cuda")
    losses, layer = train(build(device), device.like, STOCHASTIC[optimizer])
    on_cpu, _ = train(build(SINGLE), SINGLE.like, STOCHASTIC[optimizer])
    assert layer.weight.device.type == "cuda"
    assert np.mean(losses[-20:]) < 0.01 * np.mean(losses[:5])
    np.testing.assert_allclose(losses[:10], on_cpu[:10], rtol=1e-2)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_products_are_packed(optimizer):
    product = Product(pair=Product(Sphere(3), Oblique(3, 2)), frame=Stiefel(4, 2))
    theirs = to_geoopt(product)
    goal = product.random_point(5, DOUBLE.like)
    packed = theirs.pack_point(theirs.manifolds[0].pack_point(*goal.pair), goal.frame)
    assert packed.shape == (3 + 6 + 8,)
    start = near(product, goal)
    x = geoopt.ManifoldParameter(
        theirs.pack_point(theirs.manifolds[0].pack_point(*start.pair), start.frame), manifold=theirs
    )
    step = OPTIMIZERS[optimizer]([x])
    for _ in range(150):
        step.zero_grad()
        (0.5 * (x - packed) ** 2).sum().backward()
        step.step()
    pair, frame = theirs.unpack_tensor(x.detach().as_subclass(torch.Tensor))
    assert theirs.check_point_on_manifold(x)
    assert_close(frame, goal.frame, 0.02)
    assert_close(theirs.manifolds[0].unpack_tensor(pair)[1], goal.pair.factor_1, 0.02)


def test_parameters_are_copied_and_saved():
    manifold = GeneralizedStiefel(DOUBLE(spd(5, 10.0, seed=0)), 2)
    x = geoopt.ManifoldParameter(manifold.random_point(0), manifold=to_geoopt(manifold))
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    for other in (copy.deepcopy(x), torch.load(file, weights_only=False)):
        assert torch.equal(other, x)
        assert torch.equal(other.manifold.projx(1.1 * other.detach()), x.manifold.projx(1.1 * x.detach()))


def test_random_points_come_from_torch():
    theirs = to_geoopt(Stiefel(5, 2))
    torch.manual_seed(3)
    first, other = theirs.random(5, 2), theirs.random((5, 2))
    torch.manual_seed(3)
    assert torch.equal(theirs.random(5, 2), first)
    assert not torch.equal(first, other)
    assert torch.equal(theirs.origin(5, 2), theirs.origin(5, 2))
    assert theirs.random(4, 5, 2, dtype=torch.float64).dtype == torch.float64


def test_what_has_no_logarithm_says_so():
    manifold = GeneralizedStiefel(DOUBLE(np.eye(3)), 1)
    theirs, x = to_geoopt(manifold), manifold.random_point(0)
    for method in (theirs.logmap, theirs.dist):
        with pytest.raises(NotImplementedError, match="closed-form"):
            method(x, x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: to_geoopt(geoopt.Sphere()),
            TypeError,
            "manifold must be a manifold of ours whose points are single arrays, or a product of such, got Sphere",
        ),
        (
            lambda: to_geoopt(GeneralizedStiefel(np.eye(3), 2)),
            TypeError,
            "holds numpy arrays, but geoopt computes with torch tensors; build it of those",
        ),
        (
            lambda: to_geoopt(Product(Sphere(3), GeneralizedStiefel(np.eye(3), 2))),
            TypeError,
            "holds numpy arrays",
        ),
        (
            lambda: geoopt.ManifoldParameter(torch.ones(4), manifold=to_geoopt(Sphere(3))),
            ValueError,
            r"x must have shape \(3,\) after any batch dimensions, got \(4,\)",
        ),
        (lambda: to_geoopt(Sphere(3)).random(4), ValueError, r"x must have shape \(3,\) after any batch"),
        (
            lambda: to_geoopt(Sphere(3)).assert_check_point_on_manifold(torch.ones(3)),
            ValueError,
            "the point is off the manifold",
        ),
        (
            lambda: to_geoopt(Sphere(3)).assert_check_vector_on_tangent(*torch.eye(3)[[0, 0]]),
            ValueError,
            "the vector is not tangent",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
