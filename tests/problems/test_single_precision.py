"""Iterative solvers in single precision: as many passes as in double precision, and an end where rounding is all."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.exceptions import ConvergenceWarning

from manifolds import CholeskyPreconditioner
from problems import CCA, LDA, CCAProblem, MultiviewCCA, MultiviewData, MultiviewProblem, PairedViews
from problems.two_sided_lobpcg import two_sided_lobpcg
from problems.view_preconditioners import view_preconditioners
from problems.wide_vectors import WideData, wide_vectors
from rankopt import ApproximationFloor, GradientNorm, MaxIterations, Status, TrustRegion, minimize
from tests.arrays import to_float64
from tests.problems.classes import labelled_rows, oracle
from tests.problems.several_views import maxvar_oracle, several_views
from tests.problems.views import canonical_oracle, correlated_views, dense_covariances

N, P = 4000, 3
LIBRARIES = {"numpy": lambda view: view.astype(np.float32), "torch": lambda view: torch.tensor(view).float()}


def both(views, fit):
    """Estimators fitted in double precision, and in single precision with each library."""
    return fit(views), [fit([convert(view) for view in views]) for convert in LIBRARIES.values()]


def angle(actual, expected, metric):
    """Sine of the largest angle between two spans, in the inner product of a metric."""
    root = scipy.linalg.cholesky(metric)
    return np.sin(scipy.linalg.subspace_angles(root @ to_float64(actual), root @ expected).max())


@pytest.mark.parametrize("condition", [30.0, 100.0, 300.0])  # of the data; of the covariances its square
@pytest.mark.parametrize(("solver", "dy"), [("lobpcg", 30), ("riemannian", 30), ("trust-region", 30), ("block-pcg", 4)])
def test_canonical_correlation_analysis(solver, dy, condition):
    views = correlated_views(N, 40, dy, condition=condition)
    wide, singles = both(views, lambda v: CCA(P, solver=solver, random_state=0).fit(*v))
    sxx, sxy, syy = dense_covariances(*views)
    expected, u, v = canonical_oracle(sxx, sxy, syy)
    for single in singles:
        assert single.n_passes_ <= 1.5 * wide.n_passes_
        assert single.status_.success
        # Rounding counts with the root of the covariances' condition number.
        bound = 1e-4 * max(1.0, condition / 1000**0.5)
        np.testing.assert_allclose(to_float64(single.correlations_), expected[:P], atol=1e-5)
        assert angle(single.x_weights_, u[:, :P], sxx) < bound
        assert angle(single.y_weights_, v[:, :P], syy) < bound


@pytest.mark.parametrize(
    ("solver", "condition"),
    [("lobpcg", 30.0), ("lobpcg", 300.0), ("riemannian", 30.0), ("riemannian", 100.0), ("block-pcg", 300.0)],
)
def test_discriminant_analysis(solver, condition):
    x, y = labelled_rows(N, 40, condition=condition)

    def fit(views):
        labels = torch.tensor(y) if isinstance(views[0], torch.Tensor) else y
        return LDA(solver=solver, random_state=0).fit(views[0], labels)

    wide, singles = both([x], fit)
    known = oracle(x, y)
    for single in singles:
        assert single.n_passes_ <= 1.5 * wide.n_passes_
        assert single.status_.success
        bound = 1e-4 * max(1.0, condition / 1000**0.5)
        assert angle(single.scalings_[:, :3], known.vectors[:, :3], known.within) < bound


def test_discriminant_analysis_that_rounding_ends_before_its_tolerance_says_so():
    """Conjugate gradients go by slopes, which rounding of the vectors hides sooner than residuals."""
    x, y = labelled_rows(N, 40, condition=300.0)
    known = oracle(x, y)
    for convert in LIBRARIES.values():
        labels = y if convert is LIBRARIES["numpy"] else torch.tensor(y)
        with pytest.warns(ConvergenceWarning, match="solver='riemannian' stopped before tol = 1e-06"):
            single = LDA(solver="riemannian", random_state=0).fit(convert(x), labels)
        assert single.n_passes_ < 60
        assert angle(single.scalings_[:, :3], known.vectors[:, :3], known.within) < 1e-4 * 300 / 1000**0.5


@pytest.mark.parametrize("reg", [1e-2, 1e-4])
@pytest.mark.parametrize("solver", ["lobpcg", "riemannian", "trust-region"])
def test_several_views(solver, reg):
    views = several_views(N, (30, 25, 20))
    wide, singles = both(views, lambda v: MultiviewCCA(2, solver=solver, reg=reg, random_state=0).fit(v))
    values, _ = maxvar_oracle(views, 2, [reg] * 3)
    for single in singles:
        assert single.n_passes_ <= 1.5 * wide.n_passes_
        assert single.status_.success
        np.testing.assert_allclose(to_float64(single.eigenvalues_), values, rtol=1e-5)


def test_lobpcg_ends_at_rounding_where_no_tolerance_is_reached():
    views = [view.astype(np.float32) for view in correlated_views(N, 40, 30, condition=300.0)]
    data = PairedViews(*views)
    metrics = view_preconditioners(data, "auto", P, np.random.default_rng(0)).metrics
    wide, metrics, rounding = wide_vectors(data, metrics)
    run = two_sided_lobpcg(wide, P, metrics, tol=0.0, max_iter=1000, rounding=P**0.5 * rounding, rng=0)
    assert run.status is Status.APPROXIMATION_FLOOR
    assert run.n_iter < 30


def test_double_precision_goes_on_to_a_tight_tolerance():
    data = PairedViews(*correlated_views(N, 40, 30, condition=300.0))
    metrics = view_preconditioners(data, "auto", P, np.random.default_rng(0)).metrics
    same, metrics_too, rounding = wide_vectors(data, metrics)
    assert (same, metrics_too, rounding) == (data, metrics, 0.0)
    run = two_sided_lobpcg(data, P, metrics, tol=1e-11, max_iter=1000, rng=0)
    assert run.status is Status.CONVERGED_GRADIENT
    assert run.residual <= 1e-11


@pytest.mark.parametrize("offset", [0.0, 3.0])
@pytest.mark.parametrize("condition", [10.0, 300.0])
@pytest.mark.parametrize("convert", LIBRARIES.values(), ids=LIBRARIES)
def test_measured_rounding_is_that_of_canonical_directions(convert, condition, offset):
    """Products of the solution, in the metric of the covariances, against those in double precision."""
    views = [convert(view + offset) for view in correlated_views(N, 40, 30, condition=condition)]
    doubles = [to_float64(view) for view in views]
    sxx, sxy, syy = dense_covariances(*doubles)
    data = PairedViews(*views)
    wide, _, rounding = wide_vectors(data, [CholeskyPreconditioner(convert(part)) for part in (sxx, syy)])
    _, u, v = canonical_oracle(sxx, sxy, syy)
    columns = [np.float32(part[:, :8]).astype(float) for part in (u, v)]
    like = type(wide.like) is np.ndarray
    products = [to_float64(part) for part in wide.products(*(columns if like else map(torch.tensor, columns)))]
    true = sxx @ columns[0], sxy @ columns[1], syy @ columns[1], sxy.T @ columns[0]
    errors = [
        scipy.linalg.solve_triangular(scipy.linalg.cholesky(metric), product - exact, trans=1)
        for metric, product, exact in zip((sxx, sxx, syy, syy), products, true, strict=True)
    ]
    found = np.sum(np.square([np.linalg.norm(error) for error in errors])) ** 0.5 / 8**0.5
    assert found < rounding < 20 * found


def test_vectors_of_single_precision_data_are_in_double_precision():
    x, y = (view.astype(np.float32) for view in correlated_views(N))
    data, three = PairedViews(x, y), MultiviewData([x, y, x[:, :3]])
    a = [np.random.default_rng(0).standard_normal((d, 2)) for d in (6, 5, 3)]
    for wide, directions in ((WideData(data), a[:2]), (WideData(three), [a])):
        products = wide.products(*directions)
        assert wide.like.dtype == np.float64
        assert {part.dtype for part in products} == {np.dtype(np.float64)}
        assert (wide.epsilon, wide.n_passes) == (2.0**-23, 2)
        assert wide.view_product(1, a[1]).dtype == np.float64
    np.testing.assert_allclose(WideData(data).products(*a[:2]).xx, dense_covariances(x, y)[0] @ a[0], rtol=1e-4)


def test_histories_record_the_error_of_the_gradient():
    views = correlated_views(N)
    problems = [
        CCAProblem(PairedViews(*views), P, gradient_error=1e-3),
        MultiviewProblem(MultiviewData(list(views)), P, gradient_error=1e-3),
    ]
    for problem in problems:
        result = minimize(problem, problem.manifold, rng=0, stopping=ApproximationFloor(1.0) | MaxIterations(500))
        assert result.status is Status.APPROXIMATION_FLOOR
        assert 1e-5 < result.grad_norm <= 1e-3
        assert set(result.history["gradient_error"]) == {1e-3}
    plain = CCAProblem(PairedViews(*views), P)
    assert "gradient_error" not in minimize(plain, plain.manifold, rng=0, stopping=MaxIterations(2)).history


@pytest.mark.parametrize("problem", [
    lambda x, y, **options: CCAProblem(PairedViews(x, y), 1, **options),
    lambda x, y, **options: MultiviewProblem(MultiviewData([x, y]), 1, **options),
])  # fmt: skip
@pytest.mark.parametrize(("value", "error"), [(-1.0, ValueError), ("small", TypeError), (float("nan"), ValueError)])
def test_refused_errors_of_gradients(problem, value, error):
    with pytest.raises(error, match="gradient_error"):
        problem(*correlated_views(), gradient_error=value)


def test_trust_regions_solve_their_model_no_further_than_the_gradient_is_known():
    """Hessian products until the gradient is as small as its error, which the first model that could reaches."""
    data = PairedViews(*correlated_views(N, 20, 15))
    products = []
    for error in (0.0, 1e-3):
        problem = CCAProblem(data, P, gradient_error=error)
        stopping = GradientNorm(absolute=1e-3) | MaxIterations(100)
        result = minimize(problem, problem.manifold, rng=0, method=TrustRegion(theta=1.0), stopping=stopping)
        assert result.success
        products.append(result.nhev)
    assert 0 < products[1] < products[0]


def test_costs_are_known_to_the_rounding_of_the_data():
    x, y = (view.astype(np.float32) for view in correlated_views(N))
    pair, three = WideData(PairedViews(x, y)), WideData(MultiviewData([x, y, x[:, :3]]))
    for problem in (CCAProblem(pair, P), MultiviewProblem(three, P)):
        state = problem.start(problem.random_start(0))
        assert state.rounding == pytest.approx(4 * 2.0**-23 * abs(state.value))


def test_directions_that_single_precision_has_made_are_left_out():
    """The sum of two columns, rounded, in a small view whose covariance is formed in double precision."""
    x, y = correlated_views(N, 40, 3, correlations=(0.95, 0.8, 0.6), condition=3.0)
    y = y - y.mean(axis=0) + 3.0
    dependent = np.column_stack([y, y[:, :1] + y[:, 1:2]]).astype(np.float32)
    with pytest.warns(UserWarning, match="y has numerical rank 3 for 4 features"):
        cca = CCA(P, solver="block-pcg", random_state=0).fit(x.astype(np.float32), dependent)
    expected = canonical_oracle(*dense_covariances(x, y))[0]
    np.testing.assert_allclose(cca.correlations_, expected[:P], atol=1e-5)
