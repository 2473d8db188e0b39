"""Manifolds known by samples under the optimizers of pymanopt and geoopt, and the long steps that these take."""

import copy
import io

import geoopt
import numpy as np
import pymanopt
import pytest
import torch
from geoopt.optim import RiemannianAdam, RiemannianSGD
from pymanopt.optimizers import ConjugateGradient, NelderMead, ParticleSwarm, SteepestDescent, TrustRegions

from manifolds import SampledManifold, Sphere, TooFewSamplesError, to_geoopt, to_pymanopt
from manifolds.adapters.lent_seeds import numpy_seed
from manifolds.sampled.long_steps import long_retraction
from tests.arrays import KINDS, Kind
from tests.manifolds.surfaces import sphere

A = np.array([1.0, 2.0, 4.0])
SPHERE = SampledManifold(sphere(1200), 2)
PLANE = SampledManifold(np.c_[np.random.default_rng(0).uniform(-1, 1, (900, 2)), np.zeros(900)], 2)
DOUBLE = Kind("torch", "float64")


def error(x):
    """Distance from the minimizers of x^T diag(A) x on the sphere."""
    return float(np.linalg.norm(abs(np.asarray(x, dtype=float)) - [1, 0, 0]))


def their_problem(costs=None):
    theirs = to_pymanopt(SPHERE, rng=0)
    wrap = pymanopt.function.numpy(theirs)

    def cost(x):
        value = A @ x**2
        if costs is not None:
            costs.append(value)
        return value

    return pymanopt.Problem(
        theirs, wrap(cost), euclidean_gradient=wrap(lambda x: 2 * A * x), euclidean_hessian=wrap(lambda x, v: 2 * A * v)
    )


@pytest.mark.parametrize("optimizer", [SteepestDescent, ConjugateGradient, TrustRegions])
def test_pymanopt_with_gradients(optimizer):
    """Their first trial steps are longer than the supports of the samples."""
    start = SPHERE.nearest_point(np.array([0.1, 0.2, 0.97]))
    result = optimizer(verbosity=0, max_iterations=20).run(their_problem(), initial_point=start)
    assert error(result.point) < 3e-3
    assert SPHERE.check_point(result.point) is None


def test_particle_swarm():
    with numpy_seed(0):
        result = ParticleSwarm(verbosity=0, max_iterations=10, population_size=6).run(problem := their_problem())
    swarm = [problem.cost(problem.manifold.random_point()) for _ in range(6)]
    assert result.cost < min(swarm)
    assert SPHERE.check_point(result.point) is None


def test_nelder_mead():
    result = NelderMead(verbosity=0, max_iterations=3).run(their_problem(costs := []))
    assert result.cost <= min(costs[:3])
    assert SPHERE.check_point(result.point) is None


OPTIMIZERS = {
    "sgd": lambda x: RiemannianSGD([x], lr=0.1),
    "long steps": lambda x: RiemannianSGD([x], lr=0.3),
    "momentum": lambda x: RiemannianSGD([x], lr=0.03, momentum=0.8, nesterov=True),
    "adam": lambda x: RiemannianAdam([x], lr=0.1, amsgrad=True, stabilize=10),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_geoopt(optimizer, dtype):
    kind = Kind("torch", dtype)
    manifold = SampledManifold(kind(SPHERE.points), 2)
    start = manifold.nearest_point(kind([[0.3, 0.2, 0.93], [-0.5, 0.85, 0.1]]))
    x = geoopt.ManifoldParameter(start, manifold=to_geoopt(manifold))
    step, a = OPTIMIZERS[optimizer](x), kind(A)
    for _ in range(100):
        step.zero_grad()
        (a * x**2).sum().backward()
        step.step()
    for row in x.detach().as_subclass(torch.Tensor):
        assert error(row) < 3e-3
        assert manifold.check_point(row) is None


def test_geoopt_on_minibatches():
    """The mean of points of the sphere, of which a step sees four."""
    manifold = SampledManifold(DOUBLE(SPHERE.points), 2)
    rng = np.random.default_rng(0)
    data = np.array([0.0, 0.6, 0.8]) + 0.2 * rng.standard_normal((400, 3))
    data = torch.from_numpy(data / np.linalg.norm(data, axis=-1, keepdims=True))
    x = geoopt.ManifoldParameter(manifold.nearest_point(DOUBLE([1.0, 0.0, 0.0])), manifold=to_geoopt(manifold))
    step = RiemannianSGD([x], lr=0.3)
    schedule = torch.optim.lr_scheduler.LambdaLR(step, lambda t: 1 / (1 + t / 10))
    for batch in data[torch.from_numpy(rng.integers(400, size=(150, 4)))]:
        step.zero_grad()
        ((x - batch) ** 2).sum(dim=-1).mean().backward()
        step.step()
        schedule.step()
    mean = data.mean(dim=0)
    assert torch.linalg.vector_norm(x.detach() - mean / mean.norm()) < 0.05


def test_parameters_are_drawn_copied_and_saved():
    theirs = to_geoopt(SampledManifold(DOUBLE(SPHERE.points), 2))
    torch.manual_seed(0)
    x = theirs.random(2, 3)
    assert x.dtype == torch.float64
    theirs.assert_check_point_on_manifold(x.as_subclass(torch.Tensor))
    torch.manual_seed(0)
    assert torch.equal(x, theirs.random(2, 3))
    x = geoopt.ManifoldParameter(x, manifold=theirs)
    torch.save(x, file := io.BytesIO())
    file.seek(0)
    for other in (copy.deepcopy(x), torch.load(file, weights_only=False)):
        assert torch.equal(other, x)
        assert torch.equal(other.manifold.projx(1.01 * other.detach()), theirs.projx(1.01 * x.detach()))
    with pytest.raises(TypeError, match="like and points must agree in library, dtype and device"):
        theirs.random(3, dtype=torch.float32)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("length", [0.9, 1.5, 3.0])
def test_long_steps_stay_near_the_geodesic(length, kind):
    manifold = SampledManifold(kind(SPHERE.points), 2)
    x = manifold.nearest_point(kind([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]))
    v = length * manifold.projection(x, kind([[0.0, -0.8, 0.6], [0.0, 0.6, 0.8]]))
    with pytest.raises(TooFewSamplesError):
        manifold.retraction(x, v)
    y = long_retraction(manifold, x, v)
    assert y.shape == x.shape
    assert type(y) is type(x)
    assert y.dtype == x.dtype
    for i in range(2):
        assert manifold.check_point(y[i]) is None
        np.testing.assert_array_equal(y[i], long_retraction(manifold, x[i], v[i]))
        along = Sphere(3).exp(x[i], Sphere(3).projection(x[i], v[i]))
        assert np.linalg.norm(np.asarray(y[i] - along)) < 0.03 * length  # each of the steps lags behind a little


@pytest.mark.filterwarnings("ignore::manifolds.SampledWarning")  # fits at the edge lean on samples to one side
def test_long_steps_end_where_the_samples_do():
    x = PLANE.nearest_point(np.array([0.3, 0.1, 0.0]))
    y = long_retraction(PLANE, x, np.array([5.0, 0.0, 0.0]))
    np.testing.assert_allclose(y[1:], x[1:], atol=1e-12)
    assert 0.9 < y[0] < 1.3
    np.testing.assert_allclose(long_retraction(PLANE, x, np.array([-1.0, 0.0, 0.0])), x - [1.0, 0, 0], atol=1e-10)


def test_short_steps_are_the_retraction():
    x = SPHERE.random_point(0)
    v = 0.1 * SPHERE.random_tangent_vector(x, 1)
    for step in (to_pymanopt(SPHERE).retraction, lambda x, v: long_retraction(SPHERE, x, v)):
        np.testing.assert_array_equal(step(x, v), SPHERE.retraction(x, v))


def test_libraries_that_do_not_fit():
    with pytest.raises(TypeError, match="holds numpy arrays, but geoopt computes with torch tensors; build it of"):
        to_geoopt(SPHERE)
    with pytest.raises(TypeError, match="holds torch tensors, but pymanopt computes with numpy arrays; build it of"):
        to_pymanopt(SampledManifold(DOUBLE(SPHERE.points), 2))
