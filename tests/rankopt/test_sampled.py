"""Minimization on sampled manifolds against minimisers in closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import special_ortho_group

from manifolds import SampledFunction, SampledManifold, SampledWarning, Sphere
from problems import minimize_on_samples
from rankopt import ApproximationFloor, SampledProblem, Status, minimize
from tests.manifolds.surfaces import sphere

A = np.array([1.0, 2.0, 4.0])
METHODS = ["trust-region", "lbfgs", "conjugate-gradient", "gradient-descent"]


def error(x):
    return np.linalg.norm(abs(x) - [1, 0, 0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("degree", "bound"), [(2, 3e-4), (3, 6e-5)])
def test_rayleigh_quotient_on_the_sphere(method, degree, bound):
    points = sphere(3000)
    manifold = SampledManifold(points, 2, degree)
    function = SampledFunction(manifold, points**2 @ A)
    for seed in range(5):
        result = minimize(function, manifold, method=method, rng=seed)
        assert result.status is Status.APPROXIMATION_FLOOR
        assert error(result.x) < bound
        assert result.grad_norm <= 10 * result.gradient_error == 10 * result.history.gradient_error[-1]


def test_exact_cost_and_gradient_replace_the_fit():
    points = sphere(3000)
    manifold = SampledManifold(points, 2, 3)
    function = SampledFunction(manifold, cost=lambda x: x**2 @ A, gradient=lambda x: 2 * A * x)
    result = minimize(function, manifold, rng=0)
    assert result.status.success
    assert error(result.x) < 2e-4
    exact = SampledManifold(points, 2, 3, tangents=lambda x: np.linalg.svd(x[None, :])[2][1:].T)
    assert error(minimize(SampledFunction(exact, points**2 @ A), exact, rng=0).x) < 6e-5


def test_procrustes_on_rotations():
    points = special_ortho_group.rvs(3, size=30000, random_state=0).reshape(-1, 9)
    target = np.random.default_rng(1).standard_normal((3, 3))
    u, _, v = np.linalg.svd(target)
    optimum = (u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v).ravel()
    found = minimize_on_samples(points, -points @ target.ravel(), dim=3)
    best = np.linalg.norm(points[np.argmax(points @ target.ravel())] - optimum)
    assert np.linalg.norm(found.x - optimum) < min(3e-3, best / 20)
    assert found.path.shape == (found.result.nit + 1, 9)
    assert np.linalg.norm(points - found.x, axis=-1).argmin() == found.nearest_sample


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 3e-4), (torch.float32, 6e-4)])
def test_torch_samples_keep_their_kind(dtype, bound):
    points = torch.from_numpy(sphere(3000)).to(dtype)
    found = minimize_on_samples(points, points**2 @ torch.from_numpy(A).to(dtype), 2)
    assert found.x.dtype == found.path.dtype == dtype
    assert found.result.status is Status.APPROXIMATION_FLOOR
    assert error(found.x.double().numpy()) < bound


def test_start_may_be_an_index_of_numpy():
    points = sphere(1000)
    found = minimize_on_samples(points, points[:, 0], 2, np.argmax(points[:, 1]), method="gradient-descent")
    assert np.abs(found.path[0] - points[np.argmax(points[:, 1])]).max() < 1e-2
    assert np.linalg.norm(found.x + np.array([1, 0, 0])) < 2e-3


def test_slope_is_the_derivative_along_the_curve():
    points = sphere(20000)
    manifold = SampledManifold(points, 2, 3)
    state = SampledProblem(SampledFunction(manifold, points**2 @ A)).start(manifold.random_point(rng=0))
    curve = state.along(manifold.random_tangent_vector(state.point, rng=1))
    for t in (0.0, 0.05, 0.1):  # the turning of the frame is left out, a part of t^2 / 2 on the unit sphere
        difference = (curve.value(t + 1e-4) - curve.value(t - 1e-4)) / 2e-4
        assert curve.slope(t) == pytest.approx(difference, rel=1e-3 + t**2 / 2)


def test_line_search_stays_on_the_data():
    # The minimum lies in the part of the sphere that has no samples: the run ends within the data, and says so.
    points = sphere(3000)
    points = points[points[:, 2] < 0.5]
    with pytest.warns(SampledWarning):
        found = minimize_on_samples(points, -points[:, 2], 2, int(np.argmin(points[:, 2])))
    assert np.linalg.norm(points - found.x, axis=-1).min() < 0.2
    assert abs(np.linalg.norm(found.x) - 1) < 0.1


@pytest.mark.parametrize(
    ("start", "kind", "message"),
    [
        (3000, ValueError, "start must be the index of one of 3000 samples, got 3000"),
        ("a", TypeError, "start must be a point or the index of a sample, got str"),
        (np.array([0.0, 0.0, 9.0]), ValueError, "far from the data: the nearest sample is"),
    ],
)
def test_bad_start_is_refused(start, kind, message):
    points = sphere(3000)
    with pytest.raises(kind, match=message):
        minimize_on_samples(points, points[:, 0], 2, start)


def test_floor_needs_an_error():
    with pytest.raises(ValueError, match="ApproximationFloor needs a problem that knows the error"):
        minimize(lambda x: x[0], Sphere(3), gradient=lambda x: np.eye(3)[0], stopping=ApproximationFloor(), rng=0)
