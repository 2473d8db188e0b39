"""What minimize returns: fields, history, messages; and that it leaves its input alone."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from manifolds import Product, Sphere, Stiefel
from rankopt import GradientDescent, GrowingStep, MaxIterations, Status, minimize

MANIFOLD = Stiefel(8, 2)
FIELDS = {"x", "fun", "grad_norm", "nit", "nfev", "ngev", "nhev", "success", "status", "message", "history"}


@pytest.fixture
def f(spd, trace_objective):
    return trace_objective(spd(8, 20.0))


def test_fields(f):
    result = minimize(f.cost, MANIFOLD, gradient=f.gradient, rng=0)
    assert isinstance(result, OptimizeResult)
    assert set(result) == FIELDS
    assert result.status is Status.CONVERGED_GRADIENT
    assert result.success is True
    assert result.message == Status.CONVERGED_GRADIENT.message
    for name in ("fun", "grad_norm"):
        assert type(result[name]) is float
    for name in ("nit", "nfev", "ngev", "nhev"):
        assert type(result[name]) is int
    assert result.fun == pytest.approx(f.cost(result.x), rel=1e-14)
    gradient = f.gradient(result.x)
    inner = result.x.T @ gradient
    riemannian = gradient - result.x @ (inner + inner.T) / 2
    assert result.grad_norm == pytest.approx(np.linalg.norm(riemannian), rel=1e-4)
    np.testing.assert_allclose(result.x.T @ result.x, np.eye(2), atol=1e-13)


def test_history_has_one_entry_per_iteration_from_the_start_on(f):
    x0 = MANIFOLD.random_point(rng=0)
    result = minimize(f.cost, MANIFOLD, x0, gradient=f.gradient)
    history = result.history
    assert set(history) == {"fun", "grad_norm", "step_size", "time", "nfev", "ngev", "nhev"}
    for name, values in history.items():
        assert isinstance(values, np.ndarray), name
        assert values.shape == (result.nit + 1,), name
    assert history.fun[0] == pytest.approx(f.cost(x0), rel=1e-14)
    assert history.fun[-1] == result.fun
    assert history.grad_norm[-1] == result.grad_norm
    assert history.step_size[0] == 0.0
    assert np.all(history.step_size[1:] > 0)
    assert history.nfev[0] == history.ngev[0] == 1
    assert history.nfev[-1] == result.nfev
    for name in ("time", "nfev", "ngev", "nhev"):
        assert np.all(np.diff(history[name]) >= 0), name
    assert np.all(np.diff(history.nfev) >= 1)


def test_limit_of_iterations_returns_the_best_point(f):
    # Barzilai-Borwein steps let the cost rise now and then, so the last point need not be the best one.
    rises = 0
    for limit in range(1, 40):
        result = minimize(
            f.cost, MANIFOLD, method="gradient-descent", gradient=f.gradient, rng=3, stopping=MaxIterations(limit)
        )
        assert result.nit == limit
        assert result.status is Status.ITERATION_LIMIT
        assert result.success is False
        assert result.fun == result.history.fun.min()
        assert result.fun == pytest.approx(f.cost(result.x), rel=1e-13)
        rises += result.history.fun[-1] > result.fun
    assert rises > 0


def test_result_can_be_pickled(f):
    result = minimize(f.cost, MANIFOLD, gradient=f.gradient, rng=0)
    copy = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(copy.x, result.x)
    np.testing.assert_array_equal(copy.history.fun, result.history.fun)
    assert copy.status is Status.CONVERGED_GRADIENT


def test_result_on_a_product_can_be_pickled(spd):
    a = spd(4, 5.0)
    manifold = Product(direction=Sphere(4), frame=Stiefel(4, 1))
    result = minimize(
        lambda x: x.direction @ a @ x.direction + np.trace(x.frame.T @ a @ x.frame),
        manifold,
        gradient=lambda x: manifold.point_type(2 * a @ x.direction, 2 * a @ x.frame),
        rng=0,
    )
    copy = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(copy.x.frame, result.x.frame)
    assert copy.x._fields == ("direction", "frame")


def test_start_point_is_not_changed(kind, spd, trace_objective):
    f = trace_objective(kind(spd(8, 20.0)))
    x0 = MANIFOLD.random_point(rng=0, like=f.a)
    before = np.asarray(x0).copy()
    result = minimize(f.cost, MANIFOLD, x0, gradient=f.gradient)
    np.testing.assert_array_equal(np.asarray(x0), before)
    assert result.x is not x0


def test_points_handed_out_stay_as_they_were(f):
    seen, copies = [], []

    def callback(intermediate):
        seen.append(intermediate.x)
        copies.append(intermediate.x.copy())

    minimize(f.cost, MANIFOLD, gradient=f.gradient, callback=callback, rng=0)
    for x, copy in zip(seen, copies, strict=True):
        np.testing.assert_array_equal(x, copy)


def test_same_seed_same_run(f):
    runs = [minimize(f.cost, MANIFOLD, gradient=f.gradient, rng=seed) for seed in (5, np.random.default_rng(5), 6)]
    np.testing.assert_array_equal(runs[0].x, runs[1].x)
    np.testing.assert_array_equal(runs[0].history.fun, runs[1].history.fun)
    assert runs[0].history.fun[0] != runs[2].history.fun[0]


def test_start_at_the_optimum(spd):
    a = np.diag([1.0, 2.0, 3.0])
    result = minimize(lambda x: x @ a @ x, Sphere(3), np.array([1.0, 0.0, 0.0]), gradient=lambda x: 2 * a @ x)
    assert result.nit == 0
    assert result.nfev == result.ngev == 1
    assert result.status is Status.CONVERGED_GRADIENT
    assert all(values.shape == (1,) for values in result.history.values())


def test_step_too_small_where_the_gradient_is_wrong():
    # The gradient has the wrong sign, so no step along its negative decreases the cost.
    a = np.diag([1.0, 2.0, 3.0])
    for method in ("conjugate-gradient", "gradient-descent", GradientDescent(GrowingStep())):
        result = minimize(
            lambda x: x @ a @ x, Sphere(3), np.array([0.6, 0.0, 0.8]), method, gradient=lambda x: -2 * a @ x
        )
        assert result.status is Status.STEP_TOO_SMALL
        assert not result.success
        assert "check the gradient" in result.message
        np.testing.assert_array_equal(result.x, [0.6, 0.0, 0.8])


def test_callback_sees_every_step(f):
    seen = []
    result = minimize(f.cost, MANIFOLD, gradient=f.gradient, callback=seen.append, rng=0)
    assert [r.nit for r in seen] == list(range(1, result.nit + 1))
    np.testing.assert_array_equal([r.fun for r in seen], result.history.fun[1:])
    np.testing.assert_array_equal([r.grad_norm for r in seen], result.history.grad_norm[1:])
    np.testing.assert_array_equal([r.nfev for r in seen], result.history.nfev[1:])
    np.testing.assert_array_equal(seen[-1].x, result.x)


def test_progress_bar(f, capsys):
    minimize(f.cost, MANIFOLD, gradient=f.gradient, rng=0, progress=True)
    shown = capsys.readouterr().err
    assert "cost" in shown
    assert "steps" in shown
    minimize(f.cost, MANIFOLD, gradient=f.gradient, rng=0)
    assert capsys.readouterr() == ("", "")
