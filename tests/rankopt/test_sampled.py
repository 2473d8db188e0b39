"""Minimization on sampled manifolds against minimisers in closed form."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import special_ortho_group

from manifolds import SampledFunction, SampledManifold, SampledWarning, Sphere
from problems import minimize_on_samples
from rankopt import ApproximationFloor, MaxIterations, SampledProblem, Status, minimize, minimize_batch
from tests.manifolds.surfaces import sphere

A = np.array([1.0, 2.0, 4.0])
METHODS = ["trust-region", "lbfgs", "conjugate-gradient", "gradient-descent"]


def error(x):
    return np.linalg.norm(abs(x) - [1, 0, 0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("degree", "bound"), [(2, 2e-4), (3, 6e-5)])
def test_rayleigh_quotient_on_the_sphere(method, degree, bound):
    points = sphere(3000)
    manifold = SampledManifold(points, 2, degree)
    function = SampledFunction(manifold, points**2 @ A)
    assert error(points[np.argmin(points**2 @ A)]) > 20 * bound
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


def test_brockett_cost_on_a_stiefel_manifold():
    frames, triangles = np.linalg.qr(np.random.default_rng(3).standard_normal((30000, 3, 2)))
    # Signs that make the frames uniform.
    frames = frames * np.sign(np.diagonal(triangles, axis1=-2, axis2=-1))[:, None, :]
    points, values = frames.reshape(-1, 6), np.sum(frames**2 * A[:, None] * [2, 1], axis=(1, 2))
    manifold, optimum = SampledManifold(points, 3, 3), [1, 0, 0, 1, 0, 0]
    function = SampledFunction(manifold, values)
    best = np.linalg.norm(abs(points[np.argmin(values)]) - optimum)
    for seed in range(3):
        result = minimize(function, manifold, rng=seed)
        assert np.linalg.norm(abs(result.x) - optimum) < min(3e-3, best / 20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_torch_and_single_precision(method, dtype):
    points = torch.from_numpy(sphere(3000)).to(dtype)
    manifold = SampledManifold(points, 2)
    result = minimize(SampledFunction(manifold, points**2 @ torch.tensor(A, dtype=dtype)), manifold, points[0], method)
    assert result.status is Status.APPROXIMATION_FLOOR
    assert result.x.dtype == dtype
    assert error(result.x.numpy()) < (2e-4 if dtype is torch.float64 else 4e-4)


def test_many_starts_at_once():
    points = sphere(3000)
    manifold = SampledManifold(points, 2)
    function = SampledFunction(manifold, points**2 @ A)
    start = manifold.random_point(0, batch=(6,))
    result = minimize_batch(lambda x: function.fitted(x)[:2], manifold, start, gradient=True)
    assert max(error(x) for x in result.x) < 2e-4


def test_slope_is_the_derivative_along_the_curve():
    points = sphere(20000)
    manifold = SampledManifold(points, 2, 3)
    state = SampledProblem(SampledFunction(manifold, points**2 @ A)).start(manifold.random_point(rng=0))
    curve = state.along(manifold.random_tangent_vector(state.point, rng=1))
    for t in (0.0, 0.05, 0.1):  # the turning of the frame is left out, a part of t^2 / 2 on the unit sphere
        difference = (curve.value(t + 1e-4) - curve.value(t - 1e-4)) / 2e-4
        assert curve.slope(t) == pytest.approx(difference, rel=1e-3 + t**2 / 2)


def test_a_trial_in_a_hole_is_rejected():
    # The way from the start to the pole leads over a hole; the run ends beside it, on the data.
    points = sphere(4000)
    points = points[points[:, 2] < 0.8]
    manifold = SampledManifold(points, 2)
    function = SampledFunction(manifold, -points[:, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SampledWarning)
        result = minimize(function, manifold, np.array([0.6, 0.0, -0.8]), "gradient-descent")
    assert abs(np.linalg.norm(result.x) - 1) < 1e-2
    assert 0.7 < result.x[2] < 0.9


def test_start_may_be_an_index_of_numpy_or_torch():
    points = sphere(1000)
    for chosen in (np.argmax(points[:, 1]), torch.from_numpy(points)[:, 1].argmax()):
        found = minimize_on_samples(points, points[:, 0], 2, chosen, method="gradient-descent")
        assert np.abs(found.path[0] - points[int(chosen)]).max() < 1e-2
        assert np.linalg.norm(found.x + np.array([1, 0, 0])) < 2e-3


@pytest.mark.parametrize("method", ["conjugate-gradient", "lbfgs"])
def test_line_search_without_a_step_ends_at_the_floor(method):
    points = sphere(3000)
    manifold = SampledManifold(points, 2)
    function = SampledFunction(manifold, points**2 @ A)
    result = minimize(function, manifold, method=method, rng=0, stopping=MaxIterations(100))
    assert result.status is Status.APPROXIMATION_FLOOR
    assert result.nit < 100
    assert error(result.x) < 2e-4


def test_interrupt_returns_the_best_point():
    points = sphere(3000)
    manifold = SampledManifold(points, 2)

    def interrupt(step):
        if step.nit == 3:
            raise KeyboardInterrupt

    result = minimize(SampledFunction(manifold, points**2 @ A), manifold, rng=0, callback=interrupt)
    assert result.status is Status.INTERRUPTED
    assert result.fun == result.history.fun.min()
    assert manifold.check_point(result.x) is None


def test_start_with_a_cost_that_is_not_finite_is_refused():
    manifold = SampledManifold(sphere(3000), 2)
    function = SampledFunction(manifold, cost=lambda x: np.nan, gradient=lambda x: x)
    with pytest.raises(ValueError, match="objective must be finite at the start point x0, got cost nan"):
        minimize(function, manifold, rng=0)


@pytest.mark.parametrize(
    ("start", "kind", "message"),
    [
        (3000, ValueError, "start must be the index of one of 3000 samples, got 3000"),
        ("a", TypeError, "start must be a point or the index of a sample, got str"),
        (np.array([0.0, 0.0, 9.0]), ValueError, "far from the data: 0 of 3000 samples"),
    ],
)
def test_bad_start_is_refused(start, kind, message):
    points = sphere(3000)
    with pytest.raises(kind, match=message):
        minimize_on_samples(points, points[:, 0], 2, start)


def test_floor_needs_an_error():
    with pytest.raises(ValueError, match="ApproximationFloor needs a problem that knows the error"):
        minimize(lambda x: x[0], Sphere(3), gradient=lambda x: np.eye(3)[0], stopping=ApproximationFloor(), rng=0)
