"""Digits that CCA and LDA promise: by default, on request, ill conditioned, in single precision; and their passes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch

from problems import CCA, LDA, LabelledData, PairedViews
from problems.whitening_factors import Factor, is_precise
from tests.arrays import to_float64
from tests.problems.classes import eigenvalues_of_rows, labelled_rows, oracle
from tests.problems.views import (
    LoggedRows,
    canonical_oracle,
    correlated_views,
    correlations_of,
    dense_covariances,
    ill_conditioned_views,
)

X, Y = correlated_views(1500, 24, 15, condition=50.0, seed=1)
ROWS, LABELS = labelled_rows(1500, 20, 4, condition=50.0, offset=1.0, seed=2)
CCA_SOLVERS = ["direct", "cholesky-qr", "lobpcg", "riemannian", "trust-region", "block-pcg", "auto"]
LDA_SOLVERS = ["direct", "cholesky-qr", "block-pcg", "lobpcg", "riemannian", "auto"]


def subspace_angle(a, b, metric):
    """Largest principal angle between spans in the inner product of a metric."""
    root = scipy.linalg.cholesky(metric)
    return scipy.linalg.subspace_angles(root @ a, root @ b).max()


@pytest.mark.parametrize(("tol", "accuracy"), [(1e-6, 1e-6), (1e-9, 1e-10)])
@pytest.mark.parametrize("solver", CCA_SOLVERS)
def test_correlations_and_angles(solver, tol, accuracy, double):
    cca = CCA(3, solver=solver, tol=tol, random_state=0).fit(double(X), double(Y))
    sxx, sxy, syy = dense_covariances(X, Y)
    _, u, v = canonical_oracle(sxx, sxy, syy)
    np.testing.assert_allclose(to_float64(cca.correlations_), correlations_of(X, Y)[:3], atol=accuracy)
    assert subspace_angle(to_float64(cca.x_weights_), u[:, :3], sxx) < 1e-5
    assert subspace_angle(to_float64(cca.y_weights_), v[:, :3], syy) < 1e-5


@pytest.mark.parametrize(("tol", "accuracy"), [(1e-6, 1e-6), (1e-8, 1e-10)])
@pytest.mark.parametrize("solver", LDA_SOLVERS)
def test_eigenvalues_and_angles(solver, tol, accuracy, double):
    y = torch.asarray(LABELS) if double.library == "torch" else LABELS
    lda = LDA(solver=solver, tol=tol, random_state=0).fit(double(ROWS), y)
    expected = oracle(ROWS, LABELS)
    np.testing.assert_allclose(to_float64(lda.eigenvalues_), expected.eigenvalues[:3], rtol=accuracy)
    assert subspace_angle(to_float64(lda.scalings_), expected.vectors[:, :3], expected.within) < 1e-5


@pytest.mark.parametrize("solver", ["auto", "cholesky-qr"])
def test_a_condition_of_a_thousand_million_without_a_ridge(solver, double):
    x, y, rho = ill_conditioned_views()
    cca = CCA(5, solver=solver, random_state=0).fit(double(x), double(y))
    np.testing.assert_allclose(to_float64(cca.correlations_), rho[:5], atol=1e-8)
    x, y = labelled_rows(500, 20, 4, condition=1e9, seed=3)
    labels = torch.asarray(y) if double.library == "torch" else y
    lda = LDA(solver=solver, random_state=0).fit(double(x), labels)
    np.testing.assert_allclose(to_float64(lda.eigenvalues_), eigenvalues_of_rows(x, y), rtol=1e-8)


# --- single precision


@pytest.mark.parametrize("condition", [1.0, 10.0, 30.0, 100.0, 300.0, 1000.0])
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("seed", [0, 1])
def test_single_precision_up_to_a_condition_of_a_thousand(seed, library, condition):
    def single(a):
        return torch.asarray(a).float() if library == "torch" else a.astype(np.float32)

    x, y, rho = ill_conditioned_views(seed, condition=condition)
    cca = CCA(5, random_state=0).fit(single(x), single(y))
    np.testing.assert_allclose(to_float64(cca.correlations_), rho[:5], atol=1e-4)
    x, y = labelled_rows(2000, 30, 5, condition=condition, seed=seed)
    lda = LDA(random_state=0).fit(single(x), torch.asarray(y) if library == "torch" else y)
    np.testing.assert_allclose(to_float64(lda.eigenvalues_), eigenvalues_of_rows(x, y), rtol=1e-4)


def test_directions_that_let_no_rounding_through_take_one_pass_whatever_the_condition():
    """The leading directions are those of the large columns; those of the small ones would need a second pass."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 3))
    mixing = np.eye(12) + np.diag(np.full(11, 0.9), 1) @ np.diag(np.r_[np.zeros(4), np.ones(8)])
    views = []
    for _ in range(2):
        own = rng.standard_normal((4000, 12))
        own[:, :3] = z + 0.3 * own[:, :3]
        views.append(own @ np.linalg.matrix_power(mixing, 3))
    condition = np.linalg.cond(np.corrcoef(views[0].T))
    assert condition > 2e3
    x, y = (view.astype(np.float32) for view in views)
    cca = CCA(3, reg=0.0).fit(x, y)
    assert (cca.solver_, cca.n_passes_) == ("direct", 1)
    np.testing.assert_allclose(cca.correlations_, correlations_of(*views)[:3], atol=1e-5)
    assert CCA(12).fit(x, y).n_passes_ == 2
    ill_conditioned = ill_conditioned_views(condition=300.0)
    cca = CCA(5).fit(*(view.astype(np.float32) for view in ill_conditioned[:2]))
    assert (cca.solver_, cca.n_passes_) == ("direct", 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_order_bounds_the_error_of_single_precision(seed):
    """Directions with a known (s u)^2: the error of the quotient is a few times the machine epsilon times that."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3000, 15)) @ (np.eye(15) + 0.6 * np.ones((15, 15)))
    single = PairedViews(x.astype(np.float32), x.astype(np.float32)).co_moments().xx / 3000
    exact = np.cov(x.astype(np.float32).astype(float).T, bias=True)
    values, vectors = np.linalg.eigh(exact)
    u = vectors / np.sqrt(values)
    errors = np.abs(np.sum(u * ((single - exact) @ u), axis=0))
    sizes = np.sum(np.diag(exact)[:, None] * u**2, axis=0)
    epsilon = np.finfo(np.float32).eps
    assert np.all(errors <= 5 * epsilon * sizes)
    assert errors.max() > 0.1 * epsilon * sizes.max()  # no bound that is far from being met
    like, one = np.empty(0, np.float32), [np.ones(2)]
    assert is_precise(one, [np.array([[1.0], [2.0]])], 1e3, like)
    assert not is_precise(one, [np.array([[1.0], [20.0]])], 1e3, like)  # 401 e > 2e-5
    assert not is_precise(one * 2, [np.array([[0.0], [10.0]])] * 2, 1e3, like)  # 200 e > 2e-5
    assert not is_precise(one, [np.array([[1.0], [2.0]])], 1e6, like)
    assert is_precise(one, [np.array([[1.0], [20.0]])], 1e3, np.empty(0))


def test_classes_of_single_precision_take_a_second_pass_where_it_is_needed():
    well, ill = (labelled_rows(2000, 30, 5, condition=condition, seed=4) for condition in (5.0, 1e3))
    assert LDA().fit(well.x.astype(np.float32), well.y).n_passes_ == 1
    assert LDA().fit(ill.x.astype(np.float32), ill.y).n_passes_ >= 2


@pytest.mark.parametrize("make", [np.asarray, torch.asarray])
def test_a_factor_of_some_features(make):
    """Left-out features get no weight, and the others are whitened as if alone."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20, 3))
    covariance, scale = a.T @ a, np.array([2.0, 0.0, 0.5, 1.0])
    inner = scale[[0, 2, 3]]
    factor = np.linalg.cholesky(covariance * inner * inner[:, None]).T
    part = Factor(make(factor), make(scale), 1.0, make(np.array([0, 2, 3])))
    directions = to_float64(part.directions(make(np.eye(3))))
    np.testing.assert_array_equal(directions[1], 0.0)
    kept = directions[[0, 2, 3]]
    np.testing.assert_allclose(kept.T @ covariance @ kept, np.eye(3), atol=1e-12)
    f = rng.standard_normal((4, 2))
    np.testing.assert_allclose(to_float64(part.whiten(make(f))), directions.T @ f, atol=1e-12)
    assert part.rank == 3


# --- passes and seeds


@pytest.mark.parametrize(
    ("solver", "extra"),
    [
        ("direct", 1),
        ("cholesky-qr", 3),
        ("lobpcg", 1 + 5 + 2),  # sketch, condition, start, confirmation
        ("block-pcg", None),
    ],
)
def test_passes_are_the_reads_of_the_data(solver, extra, monkeypatch):
    made = []

    class Watched(PairedViews):
        def __init__(self, x, y, **options):
            super().__init__(LoggedRows.of(x), LoggedRows.of(y), **options)
            made.append(self)

    monkeypatch.setattr("problems.cca.PairedViews", Watched)
    cca = CCA(3, solver=solver, random_state=0).fit(X, Y)
    reads = [np.bincount(view.data.take_reads(), minlength=len(X)) for view in made[0].views]
    assert all(np.ptp(read) == 0 for read in reads)
    if extra is None:
        # Means and the cross covariance read both; the rest reads the wide view, but for the covariance of the other.
        assert reads[0][0] + reads[1][0] == cca.n_passes_ + 2
        assert reads[1][0] == 3
    else:
        iterations = 0 if solver in ("direct", "cholesky-qr") else cca.n_iter_ + cca.n_iter_ // 25
        assert cca.n_passes_ == extra + iterations
        np.testing.assert_array_equal([read[0] for read in reads], cca.n_passes_)


@pytest.mark.parametrize("solver", ["auto", "cholesky-qr", "lobpcg", "block-pcg"])
@pytest.mark.parametrize("make", [np.asarray, torch.asarray, scipy.sparse.csr_array])
def test_the_same_seed_gives_the_same_bits(make, solver):
    fits = [CCA(3, solver=solver, random_state=4, reg=1e-3).fit(make(X), make(Y)) for _ in range(2)]
    np.testing.assert_array_equal(to_float64(fits[0].x_weights_), to_float64(fits[1].x_weights_))
    labels = torch.asarray(LABELS) if make is torch.asarray else LABELS
    fits = [LDA(solver=solver, random_state=4, reg=1e-3).fit(make(ROWS), labels) for _ in range(2)]
    np.testing.assert_array_equal(to_float64(fits[0].coef_), to_float64(fits[1].coef_))


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_threads_change_no_digit_that_counts(offset, monkeypatch):
    """Sums side by side, as more than one thread of the BLAS allows, against those in order."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((40_000, d)) + offset * np.arange(d) for d in (5, 4))
    weights = rng.integers(0, 3, 40_000).astype(float)
    alone = PairedViews(x, y, sample_weight=weights, scale=True).covariances()
    monkeypatch.setattr("problems.row_reduction.RowReduction.n_threads", 3)
    for data in (PairedViews(x, y, sample_weight=weights, scale=True), LabelledData(x, np.zeros(40_000, int), 1)):
        assert data.rows.reduction.n_threads == 3
    together = PairedViews(x, y, sample_weight=weights, scale=True).covariances()
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
    bad = x.copy()
    bad[31_000, 2] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN or infinity \(row 31000\)"):
        PairedViews(bad, y).covariances()
