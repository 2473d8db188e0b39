"""States and curves that carry their products: equal to retraction and evaluation, at one pass per step."""

from __future__ import annotations

import numpy as np
import pytest

from manifolds import CholeskyQR, CountSketch, Polar, SketchedGramPreconditioner
from manifolds.objective import as_objective
from problems import CCAProblem, CovarianceProducts, PairedViews
from problems.cca_problem import CCAState
from rankopt import GradientDescent, MaxEvaluations, MaxIterations, ObjectiveProblem, minimize
from tests.arrays import assert_close, to_float64
from tests.problems.views import LoggedRows, correlated_views, dense_covariances

N, DX, DY, P = 200, 6, 5, 3
X, Y = correlated_views(N, DX, DY, seed=3)
RETRACTIONS = [CholeskyQR(), Polar()]
WEIGHTS = [None, (3.0, 2.0, 1.0)]


def make(x=X, y=Y, **options):
    data = PairedViews(x, y)
    metrics = map(SketchedGramPreconditioner, data.sketch(CountSketch(40, seed=1)))
    return CCAProblem(data, P, preconditioners=tuple(metrics), **options)


def states(problem):
    """State of the problem, and of its cost by retraction and evaluation, at one point, with a tangent vector there."""
    state = problem.start(problem.random_start(1))
    generic = ObjectiveProblem(as_objective(problem), problem.manifold).start(state.point)
    return state, generic, problem.manifold.random_tangent_vector(state.point, rng=2)


@pytest.mark.parametrize("weights", WEIGHTS, ids=["equal", "distinct"])
def test_state_agrees_with_evaluation(weights, double):
    problem = make(double(X), double(Y), weights=weights)
    state, generic, v = states(problem)
    assert state.value == pytest.approx(generic.value, rel=1e-12)
    assert state.gradient_norm == pytest.approx(generic.gradient_norm, rel=1e-10)
    assert state.derivative(v) == pytest.approx(generic.derivative(v), rel=1e-10)
    assert_close(state.gradient, generic.gradient, 1e-10)
    assert_close(state.hessian_product(v), generic.hessian_product(v), 1e-10)


@pytest.mark.parametrize("retraction", RETRACTIONS, ids=repr)
@pytest.mark.parametrize("weights", WEIGHTS, ids=["equal", "distinct"])
def test_curve_agrees_with_retraction_and_evaluation(weights, retraction, double):
    problem = make(double(X), double(Y), weights=weights, retraction=retraction)
    state, generic, v = states(problem)
    curve, expected = state.along(v), generic.along(v)
    for t in (0.0, 1e-3, 0.4, 2.0, 10.0):
        assert curve.value(t) == pytest.approx(expected.value(t), rel=1e-11)
        assert curve.slope(t) == pytest.approx(expected.slope(t), rel=1e-9, abs=1e-11)
        new, new_expected = curve.accept(t), expected.accept(t)
        assert_close(new.point, new_expected.point, 1e-10)
        assert_close(new.gradient, new_expected.gradient, 1e-9)
        assert new.value == pytest.approx(curve.value(t), rel=1e-12)


@pytest.mark.parametrize("retraction", RETRACTIONS, ids=repr)
def test_slope_is_the_derivative_of_the_value(retraction):
    state, _, v = states(make(weights=(3.0, 2.0, 1.0), retraction=retraction))
    curve, h = state.along(v), 1e-4
    for t in (0.0, 0.3, 1.0):
        far, near = curve.value(t + 2 * h) - curve.value(t - 2 * h), curve.value(t + h) - curve.value(t - h)
        assert curve.slope(t) == pytest.approx((8 * near - far) / (12 * h), rel=1e-8, abs=1e-10)


def test_value_is_infinite_where_the_curve_leaves_the_numbers():
    state, _, v = states(make())
    with np.errstate(all="ignore"):
        assert state.along(v).value(float("inf")) == float("inf")


def test_products_stay_true_over_many_steps():
    problem = make(refresh=10_000)
    state = problem.start(problem.random_start(1))
    for step in range(40):
        state = state.along(problem.manifold.random_tangent_vector(state.point, rng=step)).accept(0.3)
    assert state.age == 40
    sxx, sxy, syy = dense_covariances(X, Y)
    u, v = state.point
    for carried, true in zip(state.products, (sxx @ u, sxy @ v, syy @ v, sxy.T @ u), strict=True):
        # Rounding grows with the number of steps only.
        np.testing.assert_allclose(carried, true, atol=1e-12)
    np.testing.assert_allclose(u.T @ sxx @ u, np.eye(P), atol=1e-12)


def drifted(problem, age):
    """State whose carried products are off by a thousandth."""
    true = problem.start(problem.random_start(1))
    noise = np.random.default_rng(2)
    products = CovarianceProducts(*(p + 1e-3 * noise.standard_normal(p.shape) for p in true.products))
    return CCAState(problem, true.point, products, age)


def test_refresh_replaces_products_that_have_drifted():
    problem = make(refresh=5)
    sxx, sxy, syy = dense_covariances(X, Y)
    for age, repaired in ((0, False), (3, False), (4, True), (7, True)):
        state = drifted(problem, age)
        new = state.along(problem.manifold.random_tangent_vector(state.point, rng=3)).accept(0.1)
        u, v = new.point
        error = max(
            np.abs(carried - true).max()
            for carried, true in zip(new.products, (sxx @ u, sxy @ v, syy @ v, sxy.T @ u), strict=True)
        )
        assert bool(error < 1e-13) is repaired
        assert new.age == (0 if repaired else age + 1)
        # The point itself is brought back to the manifold too.
        assert bool(np.abs(u.T @ sxx @ u - np.eye(P)).max() < 1e-12) is repaired


@pytest.mark.parametrize("refresh", [1, 4, 25])
def test_a_step_costs_one_pass_and_a_refresh_one_more(refresh):
    # In the metric of the identity thirty steps are too few to converge.
    problem = CCAProblem(PairedViews(X, Y), P, refresh=refresh)
    problem.data.moments  # noqa: B018  the pass of the means
    before = problem.data.n_passes
    result = minimize(problem, problem.manifold, rng=0, stopping=MaxIterations(30))
    passes = result.history.n_passes
    assert result.nit == 30
    assert passes[0] == before + 1
    expected = [2 if step % refresh == 0 else 1 for step in range(1, 31)]
    np.testing.assert_array_equal(np.diff(passes), expected)
    assert result.n_passes == problem.data.n_passes == passes[-1]


def test_line_search_reads_no_data():
    state, _, v = states(make())
    curve = state.along(v)
    before = state.problem.data.n_passes
    for t in np.linspace(0.0, 3.0, 50):
        curve.value(t)
        curve.slope(t)
    curve.accept(0.5)
    assert state.problem.data.n_passes == before


def test_first_pass_over_fresh_data_is_that_of_the_means():
    problem = CCAProblem(PairedViews(X, Y), P)
    problem.start(problem.random_start(0))
    assert problem.data.n_passes == 2


def test_passes_of_a_run_are_the_reads_of_the_data():
    x, y = LoggedRows.of(X), LoggedRows.of(Y)
    problem = make(x, y, refresh=7)
    result = minimize(problem, problem.manifold, rng=0, stopping=MaxIterations(20))
    problem.canonical_pairs(result.x)
    for view in (x, y):
        np.testing.assert_array_equal(np.bincount(view.take_reads(), minlength=N), problem.data.n_passes)
    # The sketch, the start, twenty steps, two refreshes, and the pairs.
    assert problem.data.n_passes == 1 + 1 + 20 + 2 + 1


def test_counts_are_those_of_the_states():
    problem = make(refresh=10_000)
    result = minimize(problem, problem.manifold, rng=0, stopping=MaxIterations(20))
    # Costs along a curve are small-matrix algebra: only states evaluate cost and gradient.
    assert (result.nfev, result.ngev, result.nhev) == (21, 21, 0)
    problem.start(result.x).hessian_product(result.x)
    assert problem.counts()["nhev"] == 1


def test_limit_of_passes():
    problem = make()
    result = minimize(problem, problem.manifold, rng=0, stopping=MaxEvaluations(12, counted="n_passes"))
    assert result.n_passes == 12


def test_descent_costs_one_pass_per_step_too():
    problem = make()
    result = minimize(problem, problem.manifold, method=GradientDescent(), rng=0, stopping=MaxIterations(15))
    np.testing.assert_array_equal(np.diff(result.history.n_passes), 1)


def test_nearly_exact_line_search_makes_the_slope_small():
    problem = make()
    state = problem.start(problem.random_start(1))
    direction = problem.manifold.linear_combination(-1.0, state.gradient, 0.0, state.gradient)
    t = minimize(problem, problem.manifold, state.point, stopping=MaxIterations(1)).history.step_size[1]
    curve = state.along(direction)
    assert abs(curve.slope(t)) <= 0.02 * abs(curve.slope(0.0))


def test_states_are_of_the_kind_of_the_data(kind):
    problem = make(kind(X), kind(Y))
    state = problem.start(problem.random_start(1))
    for part in (*state.point, *state.gradient, *state.products):
        assert type(part) is type(kind(0.0))
        assert part.dtype == kind(0.0).dtype
    sxx = dense_covariances(X, Y)[0]
    u = to_float64(state.point.x)
    np.testing.assert_allclose(u.T @ sxx @ u, np.eye(P), atol=100 * kind.eps)
