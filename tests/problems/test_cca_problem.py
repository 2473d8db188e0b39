"""The Riemannian CCA problem: optima against a dense oracle, derivatives, canonical pairs and errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manifolds import Cayley, CountSketch, Polar, SketchedGramPreconditioner, check_gradient, check_hessian
from problems import CCAProblem, CovarianceMatrices, Covariances, PairedViews
from rankopt import ConjugateGradient, GradientDescent, GradientNorm, MaxIterations, PolakRibiere, Status, minimize
from tests.arrays import Kind, kind_of, to_float64
from tests.problems.views import canonical_oracle, correlated_views, dense_covariances, same_directions

N, DX, DY, P = 300, 6, 5, 3
X, Y = correlated_views(N, DX, DY)
STOPPING = GradientNorm(absolute=1e-8) | MaxIterations(2000)
METRICS = ["identity", "diagonal", "sketched", "exact"]


def metrics(name, data, kind):
    """Preconditioners of both views."""
    sxx, _, syy = dense_covariances(X, Y, data.reg)
    return {
        "identity": (None, None),
        "diagonal": (kind(np.diag(sxx)), kind(np.diag(syy))),
        "sketched": tuple(map(SketchedGramPreconditioner, data.sketch(CountSketch(60, seed=1)), data.reg)),
        "exact": (kind(sxx), kind(syy)),
    }[name]


def make(kind=Kind("numpy", "float64"), metric="exact", reg=(0.0, 0.0), p=P, **options):  # noqa: B008
    data = PairedViews(kind(X), kind(Y), reg=reg)
    return CCAProblem(data, p, preconditioners=metrics(metric, data, kind), **options)


def check_optimum(problem, result, kind, reg=(0.0, 0.0), atol=1e-10):
    sxx, sxy, syy = dense_covariances(X, Y, reg)
    expected, u_expected, v_expected = canonical_oracle(sxx, sxy, syy)
    correlations, u, v = problem.canonical_pairs(result.x)
    assert {kind_of(correlations), kind_of(u), kind_of(v)} == {kind}
    u, v = to_float64(u), to_float64(v)
    # Correlations are exact to second order in the directions.
    np.testing.assert_allclose(to_float64(correlations), expected[:P], atol=atol)
    np.testing.assert_allclose(u.T @ sxx @ u, np.eye(P), atol=100 * kind.eps)
    np.testing.assert_allclose(v.T @ syy @ v, np.eye(P), atol=100 * kind.eps)
    np.testing.assert_allclose(u.T @ sxy @ v, np.diag(to_float64(correlations)), atol=100 * kind.eps)
    same_directions(u, u_expected[:, :P], sxx, atol=100 * atol)
    same_directions(v, v_expected[:, :P], syy, atol=100 * atol)
    assert result.fun == pytest.approx(-expected[:P].sum(), abs=10 * atol)


@pytest.mark.parametrize("metric", METRICS)
def test_optimum_is_that_of_the_dense_oracle(metric, double):
    problem = make(double, metric)
    result = minimize(problem, problem.manifold, rng=0, stopping=STOPPING)
    assert result.success
    check_optimum(problem, result, double)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("metric", ["sketched", "exact"])
def test_optimum_in_single_precision(metric, library):
    kind = Kind(library, "float32")
    problem = make(kind, metric)
    result = minimize(problem, problem.manifold, rng=0, stopping=GradientNorm(absolute=1e-3) | MaxIterations(200))
    assert result.success
    check_optimum(problem, result, kind, atol=1e-5)


@pytest.mark.parametrize("reg", [(0.01, 0.01), (0.5, 0.002)])
def test_ridge(reg):
    problem = make(reg=reg, metric="sketched")
    result = minimize(problem, problem.manifold, rng=0, stopping=STOPPING)
    check_optimum(problem, result, Kind("numpy", "float64"), reg)


@pytest.mark.parametrize(
    "method",
    [ConjugateGradient(beta=PolakRibiere()), GradientDescent(), ConjugateGradient(restart=float("inf"))],
    ids=["PR", "BB", "steepest"],
)
def test_other_methods(method):
    problem = make()
    result = minimize(problem, problem.manifold, method=method, rng=0, stopping=STOPPING)
    assert result.success
    check_optimum(problem, result, Kind("numpy", "float64"))


def test_polar_retraction():
    problem = make(metric="sketched", retraction=Polar())
    result = minimize(problem, problem.manifold, rng=0, stopping=STOPPING)
    check_optimum(problem, result, Kind("numpy", "float64"))


def test_dense_covariances_give_the_iterates_of_the_data():
    problems = [make(), CCAProblem(CovarianceMatrices(Covariances(*dense_covariances(X, Y))), P)]
    problems[0] = make(metric="identity")
    histories = [
        minimize(problem, problem.manifold, rng=0, stopping=MaxIterations(15)).history.fun for problem in problems
    ]
    np.testing.assert_allclose(*histories, rtol=1e-9)


@pytest.mark.parametrize("weights", [(3.0, 2.0, 1.0), (1.2, 1.1, 1.0)])
def test_distinct_weights_give_the_canonical_vectors_themselves(weights):
    problem = make(weights=weights)
    result = minimize(problem, problem.manifold, rng=0, stopping=GradientNorm(absolute=1e-9) | MaxIterations(3000))
    sxx, sxy, syy = dense_covariances(X, Y)
    expected, u, v = canonical_oracle(sxx, sxy, syy)
    assert result.fun == pytest.approx(-np.dot(weights, expected[:P]), abs=1e-12)
    # No rotation is needed: the columns are the vectors, in the order of their weights.
    same_directions(result.x.x, u[:, :P], sxx, atol=1e-10)
    same_directions(result.x.y, v[:, :P], syy, atol=1e-10)


def test_equal_weights_find_the_span_only():
    problem = make()
    result = minimize(problem, problem.manifold, rng=0, stopping=STOPPING)
    sxx, sxy, syy = dense_covariances(X, Y)
    inner = result.x.x.T @ sxy @ result.x.y
    assert np.abs(inner - np.diag(np.diag(inner))).max() > 1e-3
    np.testing.assert_allclose(np.linalg.svd(inner)[1], canonical_oracle(sxx, sxy, syy)[0][:P], atol=1e-10)


@pytest.mark.parametrize("weights", [None, (3.0, 2.0, 1.0)], ids=["equal", "distinct"])
@pytest.mark.parametrize("metric", METRICS)
def test_euclidean_derivatives_pass_the_checks(metric, weights, double):
    problem = make(double, metric, weights=weights)
    point = problem.start(problem.random_start(1)).point
    check_gradient(problem, problem.manifold, point=point, rng=2).raise_if_failed()
    check_hessian(problem, problem.manifold, point=point, rng=3).raise_if_failed()


def test_cost_and_gradient_are_those_of_the_formula():
    weights = np.array([3.0, 2.0, 1.0])
    problem = make(weights=weights)
    u, v = (np.random.default_rng(4).standard_normal((d, P)) for d in (DX, DY))
    sxy = dense_covariances(X, Y)[1]
    value, gradient = problem.value_and_gradient(problem.manifold.point_type(u, v))
    assert value == pytest.approx(-np.trace(u.T @ sxy @ v @ np.diag(weights)), rel=1e-12)
    np.testing.assert_allclose(gradient.x, -sxy @ v * weights, atol=1e-12)
    np.testing.assert_allclose(gradient.y, -sxy.T @ u * weights, atol=1e-12)


def test_canonical_pairs_of_any_point_are_orthonormal_and_diagonal():
    problem = make()
    sxx, sxy, syy = dense_covariances(X, Y)
    correlations, u, v = problem.canonical_pairs(problem.random_start(5))
    np.testing.assert_allclose(u.T @ sxx @ u, np.eye(P), atol=1e-12)
    np.testing.assert_allclose(v.T @ syy @ v, np.eye(P), atol=1e-12)
    np.testing.assert_allclose(u.T @ sxy @ v, np.diag(correlations), atol=1e-12)
    assert np.all(np.diff(correlations) <= 0)


def test_start_point_may_be_any_pair_of_matrices_of_full_rank():
    problem = make()
    u, v = (np.random.default_rng(6).standard_normal((d, P)) for d in (DX, DY))
    before = u.copy(), v.copy()
    state = problem.start((u, v))
    assert problem.manifold.check_point(state.point) is None
    np.testing.assert_allclose(state.point.x, u @ np.linalg.lstsq(u, state.point.x, rcond=None)[0], atol=1e-12)
    np.testing.assert_array_equal(u, before[0])
    np.testing.assert_array_equal(v, before[1])


def test_same_seed_same_run_in_both_libraries():
    runs = [
        minimize(problem, problem.manifold, rng=7, stopping=MaxIterations(10)).history.fun
        for problem in (make(), make(), make(Kind("torch", "float64")))
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_allclose(runs[0], runs[2], rtol=1e-9)


def test_all_components_and_a_single_one():
    expected = canonical_oracle(*dense_covariances(X, Y))[0]
    for p in (1, DY):
        problem = make(p=p)
        result = minimize(problem, problem.manifold, rng=0, stopping=STOPPING)
        np.testing.assert_allclose(problem.canonical_pairs(result.x)[0], expected[:p], atol=1e-10)


def test_interruption_returns_the_best_point():
    problem = make(metric="identity")
    products, calls = problem.data.products, []

    def interrupted(a, b):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return products(a, b)

    problem.data.products = interrupted
    result = minimize(problem, problem.manifold, rng=0)
    assert result.status is Status.INTERRUPTED
    assert result.nit == 10
    assert result.fun == result.history.fun.min()
    sxy = dense_covariances(X, Y)[1]
    assert result.fun == pytest.approx(-np.trace(result.x.x.T @ sxy @ result.x.y), rel=1e-12)


DATA = PairedViews(X, Y)


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: CCAProblem(DATA, 0), ValueError, r"n_components must be at least 1, got 0"),
        (lambda: CCAProblem(DATA, 6), ValueError, r"n_components must be at most 5, the columns of a view, got 6"),
        (lambda: CCAProblem(DATA, 2.0), TypeError, r"n_components must be an integer, got 2.0"),
        (lambda: CCAProblem(DATA, "2"), TypeError, r"n_components must be an integer, got '2'"),
        (lambda: CCAProblem(DATA, 2, refresh=0), ValueError, r"refresh must be at least 1, got 0"),
        (lambda: CCAProblem(DATA, 2, refresh=2.5), TypeError, r"refresh must be an integer, got 2.5"),
        (lambda: CCAProblem(DATA, 2, weights=[1.0]), ValueError, r"weights must be 2 positive numbers.*\[1.0\]"),
        (lambda: CCAProblem(DATA, 2, weights=[1.0, 2.0]), ValueError, r"weights must be 2 positive numbers that do"),
        (lambda: CCAProblem(DATA, 2, weights=[1.0, 0.0]), ValueError, r"weights must be 2 positive numbers"),
        (lambda: CCAProblem(DATA, 2, weights=[np.nan, 1.0]), ValueError, r"weights must be 2 positive numbers"),
        (lambda: CCAProblem(DATA, 2, retraction="qr"), TypeError, r"retraction must be a value such as CholeskyQR"),
        (lambda: CCAProblem(DATA, 2, retraction=Cayley()), TypeError, r"CholeskyQR\(\) or Polar\(\), got Cayley\(\)"),
        (lambda: CCAProblem(DATA, 2, preconditioners=None), TypeError, r"preconditioners must be a pair"),
        (lambda: CCAProblem(DATA, 2, preconditioners=(None,)), TypeError, r"preconditioners must be a pair"),
        (
            lambda: CCAProblem(DATA, 2, preconditioners=(np.eye(3), None)),
            ValueError,
            r"preconditioner has shape \(3, 3",
        ),
        (lambda: CCAProblem(DATA, 2, preconditioners=("I", None)), TypeError, r"preconditioner must be None, a matrix"),
        (
            lambda: CCAProblem(DATA, 2, preconditioners=(None, torch.eye(5, dtype=torch.float64))),
            TypeError,
            r"preconditioner and B must agree in library",
        ),
    ],
)
def test_errors_of_the_constructor(construct, error, message):
    with pytest.raises(error, match=message) as caught:
        construct()
    assert caught.type is error


U, V = (np.random.default_rng(8).standard_normal((d, P)) for d in (DX, DY))


@pytest.mark.parametrize(
    ("x0", "error", "message"),
    [
        ((U[:, :2], V), ValueError, r"x0.x must have shape \(6, 3\), got \(6, 2\)"),
        ((U, U), ValueError, r"x0.y must have shape \(5, 3\), got \(6, 3\)"),
        ((U, V.tolist()), ValueError, r"x0.y must have shape \(5, 3\), got .*list"),
        ((U.astype(np.float32), V), TypeError, r"x0.x and the data must agree in library, dtype and device"),
        ((U, torch.asarray(V)), TypeError, r"x0.y and the data must agree in library, dtype and device"),
        ((U * np.nan, V), ValueError, r"x0.x contains NaN or infinity"),
        ((U, np.ones_like(V)), ValueError, r"start point's scores are linearly dependent"),
        ((U, V, V), TypeError, r"x0 must be a pair \(x, y\) of matrices, got tuple"),
        (U, TypeError, r"x0 must be a pair \(x, y\) of matrices, got ndarray"),
    ],
)
def test_errors_of_the_start_point(x0, error, message):
    problem = make()
    with pytest.raises(error, match=message) as caught:
        minimize(problem, problem.manifold, x0)
    assert caught.type is error


def test_dependent_columns_of_the_data_are_named_at_the_start():
    x = np.repeat(X[:, :1], 2, axis=1)
    problem = CCAProblem(PairedViews(x, Y), 2)
    with pytest.raises(ValueError, match=r"scores are linearly dependent.*give reg > 0, fewer components"):
        minimize(problem, problem.manifold, rng=0)
