"""MAXVAR and SUMCOR on products of manifolds: optima against dense solvers, derivatives, curves, errors."""

from __future__ import annotations

import numpy as np
import pytest

from manifolds import check_gradient, check_hessian
from problems import MaxVar, MultiviewCovariances, MultiviewData, MultiviewProblem, SumCor
from rankopt import GradientNorm, MaxIterations, minimize
from tests.arrays import kind_of, to_float64
from tests.problems.several_views import dense_pencil, maxvar_oracle, places, several_views

SIZES, P = (6, 5, 4), 2
VIEWS = several_views(300, SIZES)
REG = (0.1, 0.0, 0.2)
STOPPING = GradientNorm(absolute=1e-8) | MaxIterations(2000)
CRITERIA = [MaxVar(), SumCor()]


def make(kind, criterion, p=P, **options):
    return MultiviewProblem(MultiviewData([kind(view) for view in VIEWS], reg=REG), p, criterion=criterion, **options)


def metrics(kind, name):
    s, _ = dense_pencil(VIEWS, REG)
    exact = [s[at, at] for at in places(SIZES)]
    values = {"identity": None, "diagonal": [np.diag(part).copy() for part in exact], "exact": exact}[name]
    return None if values is None else [kind(part) for part in values]


@pytest.mark.parametrize("method", ["conjugate-gradient", "trust-region"])
@pytest.mark.parametrize("metric", ["identity", "diagonal", "exact"])
def test_maxvar_is_the_eigenproblem(metric, method, double):
    problem = make(double, MaxVar(), preconditioners=metrics(double, metric))
    result = minimize(problem, problem.manifold, None, method, rng=0, stopping=STOPPING)
    assert result.success
    values, vectors = maxvar_oracle(VIEWS, P, REG)
    assert float(result.fun) == pytest.approx(P - values.sum(), abs=1e-12)
    directions, covariances = problem.components(result.x)
    s, d = dense_pencil(VIEWS, REG)
    stacked = np.vstack([to_float64(part) for part in directions])
    np.testing.assert_allclose(stacked.T @ d @ stacked, 3 * np.eye(P), atol=1e-12)
    np.testing.assert_allclose(stacked.T @ s @ stacked, 3 * np.diag(values), atol=1e-7)
    cosines = np.sum(stacked * (d @ np.vstack(vectors)), axis=0) / 3
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-12)
    split = [to_float64(part) for part in directions]
    blocks = [
        [u.T @ s[at, other] @ v for other, v in zip(places(SIZES), split, strict=True)]
        for at, u in zip(places(SIZES), split, strict=True)
    ]
    np.testing.assert_allclose(to_float64(covariances), np.block(blocks), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_maxvar_has_no_worse_local_maximum(seed, double):
    values, _ = maxvar_oracle(VIEWS, 3, REG)
    problem = make(double, MaxVar(), p=3)
    result = minimize(problem, problem.manifold, None, "trust-region", rng=seed, stopping=STOPPING)
    assert float(result.fun) == pytest.approx(3 - values.sum(), abs=1e-10)


def test_components_of_sumcor(double):
    problem = make(double, SumCor())
    result = minimize(problem, problem.manifold, None, "trust-region", rng=0, stopping=STOPPING)
    directions, covariances = problem.components(result.x)
    s, _ = dense_pencil(VIEWS, REG)
    stacked = [to_float64(part) for part in directions]
    for at, w in zip(places(SIZES), stacked, strict=True):
        np.testing.assert_allclose(w.T @ s[at, at] @ w, np.eye(P), atol=1e-12)
    pairs = [(0, 1), (0, 2), (1, 2)]
    total = sum(stacked[i].T @ s[places(SIZES)[i], places(SIZES)[j]] @ stacked[j] for i, j in pairs)
    assert np.trace(total) == pytest.approx(-float(result.fun), abs=1e-12)
    symmetric = (total + total.T) / 2
    assert symmetric[0, 0] > symmetric[1, 1]
    assert abs(symmetric[0, 1]) < 1e-12
    assert kind_of(covariances) == double


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.name)
@pytest.mark.parametrize("metric", ["identity", "exact"])
def test_derivatives(criterion, metric, double):
    problem = make(double, criterion, preconditioners=metrics(double, metric))
    assert check_gradient(problem, problem.manifold, rng=1).passed
    assert check_hessian(problem, problem.manifold, rng=1).passed


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.name)
def test_curve_and_state_are_those_of_evaluations_from_scratch(criterion, double):
    problem = make(double, criterion)
    state = problem.start(problem.random_start(0))
    value, gradient = problem.value_and_gradient(state.point)
    assert float(state.value) == pytest.approx(value, abs=1e-12)
    for part, other in zip(state.euclidean_gradient, gradient, strict=True):
        np.testing.assert_allclose(to_float64(part), to_float64(other), atol=1e-12)
    v = problem.manifold.random_tangent_vector(state.point, rng=1)
    product = state.geometry.riemannian_hessian(gradient, problem.hessian_product(state.point, v), v)
    for part, other in zip(state.hessian_product(v), product, strict=True):
        np.testing.assert_allclose(to_float64(part), to_float64(other), atol=1e-11)
    curve = state.along(v)
    for t in (0.0, 0.3, 1.0):
        accepted = curve.accept(t)
        assert curve.value(t) == pytest.approx(problem.value_and_gradient(accepted.point)[0], abs=1e-12)
        h = 1e-6
        assert curve.slope(t) == pytest.approx((curve.value(t + h) - curve.value(t - h)) / (2 * h), abs=1e-7)
        for old, new in zip(accepted.products, problem.start(accepted.point).products, strict=True):
            np.testing.assert_allclose(to_float64(old), to_float64(new), atol=1e-12)


def test_one_pass_for_each_step_and_product():
    data = MultiviewData(VIEWS, reg=REG)
    problem = MultiviewProblem(data, P, criterion=SumCor(), refresh=10**6)
    result = minimize(problem, problem.manifold, None, "conjugate-gradient", rng=0, stopping=STOPPING)
    # The moments, the start, and the true products at a minimum that is announced.
    assert data.n_passes <= result.nit + 3
    state = problem.start(result.x)
    v = problem.manifold.random_tangent_vector(state.point, rng=0)
    before = data.n_passes
    state.hessian_product(v)
    assert data.n_passes == before + 1


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.name)
def test_dense_covariances_in_the_place_of_data(criterion, double):
    s, _ = dense_pencil(VIEWS, REG)
    problem = MultiviewProblem(MultiviewCovariances(double(s), SIZES), P, criterion=criterion)
    other = make(double, criterion)
    point = other.start(other.random_start(3)).point
    assert problem.value_and_gradient(point)[0] == pytest.approx(other.value_and_gradient(point)[0], abs=1e-12)


def test_maxvar_at_known_matrices():
    rng = np.random.default_rng(0)
    k = rng.standard_normal((6, 6))
    k, change = k + k.T, np.ones((6, 6)) + np.diag(np.arange(6.0))
    measured, h = MaxVar().at(k, 2), 1e-5
    assert measured.value == pytest.approx(np.sort(np.linalg.eigvalsh(k))[-2:].sum(), abs=1e-12)
    ahead, behind = (MaxVar().at(k + sign * h * change, 2) for sign in (1, -1))
    assert np.sum(measured.gradient * change) == pytest.approx((ahead.value - behind.value) / (2 * h), abs=1e-8)
    np.testing.assert_allclose(
        measured.gradient_change(change), (ahead.gradient - behind.gradient) / (2 * h), atol=1e-8
    )


@pytest.mark.parametrize(
    ("p", "options", "error", "message"),
    [
        (0, {}, ValueError, r"n_components must be at least 1, got 0"),
        (5, {}, ValueError, r"n_components must be at most 4, the columns of a view, got 5"),
        (1.5, {}, TypeError, r"n_components must be an integer, got 1.5"),
        (1, {"criterion": "maxvar"}, TypeError, r"criterion must be a value such as MaxVar\(\) or SumCor\(\)"),
        (1, {"preconditioners": (None, None)}, TypeError, r"preconditioners must be a sequence of 3"),
        (1, {"refresh": 0}, ValueError, r"refresh must be at least 1, got 0"),
    ],
)
def test_bad_parameters(p, options, error, message):
    with pytest.raises(error, match=message) as caught:
        MultiviewProblem(MultiviewData(VIEWS), p, **options)
    assert caught.type is error


def start_with(part):
    return [part, *(np.eye(d, P) for d in SIZES[1:])]


@pytest.mark.parametrize(
    ("x0", "error", "message"),
    [
        (np.eye(6, P), TypeError, r"x0 must be a tuple of 3 matrices, one for each view, got ndarray"),
        (start_with(np.eye(5, P)), ValueError, r"x0\[0\] must have shape \(6, 2\), got \(5, 2\)"),
        (start_with("text"), ValueError, r"x0\[0\] must have shape \(6, 2\)"),
        (start_with(np.eye(6, P, dtype=np.float32)), TypeError, r"x0\[0\] and the data must agree"),
        (start_with(np.full((6, P), np.nan)), ValueError, r"x0\[0\] .*(NaN|finite)"),
        (start_with(np.ones((6, P))), ValueError, r"the start point's scores of view 0 are linearly dependent"),
    ],
)
def test_bad_start_points(x0, error, message):
    with pytest.raises(error, match=message) as caught:
        make(lambda view: view, MaxVar()).start(x0)
    assert caught.type is error


def test_bad_number_of_starts():
    with pytest.raises(ValueError, match=r"starts must be at least 1, got 0"):
        SumCor(starts=0)
