"""Discriminant analysis by every solver, against dense eigensolvers, extended precision and scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_digits, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning

from problems import LDA, row_passes
from problems.lda_solvers import choose_solver
from rankopt.solvers.status import Status
from tests.arrays import kind_of, to_float64
from tests.problems.classes import eigenvalues_of_rows, labelled_rows, oracle

SOLVERS = ["direct", "cholesky-qr", "block-pcg", "lobpcg", "riemannian"]
ITERATIVE = SOLVERS[2:]
X, Y = labelled_rows(600, 8, 4, condition=30.0, offset=2.0, seed=2)
PRIORS = [0.1, 0.2, 0.3, 0.4]


def fitted(x=X, y=Y, *, weights=None, **options):
    return LDA(**{"random_state": 0} | options).fit(x, y, sample_weight=weights)


def same_directions(lda, within, vectors, atol):
    """Directions of unit variance within the classes, the same up to signs."""
    found = to_float64(lda.scalings_)
    k = found.shape[1]
    np.testing.assert_allclose(found.T @ within @ found, np.eye(k), atol=atol)
    np.testing.assert_allclose(np.abs(np.sum(found * (within @ vectors[:, :k]), axis=0)), 1.0, atol=atol)


@pytest.mark.parametrize("reg", [0.0, 1e-3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_eigenpairs(kind, solver, reg):
    double = kind.dtype == "float64"
    x = torch.asarray(X) if kind.library == "torch" else X
    x = kind(X) if not double else x
    y = torch.asarray(Y) if kind.library == "torch" else Y
    lda = fitted(x, y, solver=solver, reg=reg, tol=1e-8 if double else 1e-4)
    expected = oracle(to_float64(x), Y, reg=reg)
    relative = 1e-10 if double else 2e-4
    np.testing.assert_allclose(to_float64(lda.eigenvalues_), expected.eigenvalues[:3], rtol=relative)
    ratios = expected.eigenvalues[:3] / expected.eigenvalues.sum()
    np.testing.assert_allclose(to_float64(lda.explained_variance_ratio_), ratios, rtol=relative)
    same_directions(lda, expected.within, expected.vectors, 1e-8 if double else 2e-3)
    assert lda.solver_ == solver
    for name in ("coef_", "intercept_", "scalings_", "means_", "priors_", "xbar_", "eigenvalues_"):
        assert kind_of(getattr(lda, name)) == kind


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_sparse_rows(make, solver):
    x = np.where(np.random.default_rng(0).random(X.shape) < 0.5, 0.0, X)
    lda, expected = fitted(make(x), solver=solver, reg=1e-3, tol=1e-9), oracle(x, Y, reg=1e-3)
    np.testing.assert_allclose(lda.eigenvalues_, expected.eigenvalues[:3], rtol=1e-9)
    dense = fitted(x, solver="direct", reg=1e-3)
    np.testing.assert_array_equal(lda.predict(make(x)), dense.predict(x))
    np.testing.assert_allclose(lda.transform(make(x)), dense.transform(x), atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_are_repetitions(solver):
    weights = np.random.default_rng(1).integers(0, 4, len(Y))
    lda = fitted(solver=solver, weights=weights, tol=1e-9)
    repeated = np.repeat(X, weights, axis=0), np.repeat(Y, weights)
    expected = oracle(*repeated)
    np.testing.assert_allclose(lda.eigenvalues_, expected.eigenvalues[:3], rtol=1e-9)
    np.testing.assert_allclose(lda.priors_, np.bincount(repeated[1]) / len(repeated[1]))
    whole = fitted(*repeated, solver="direct")
    np.testing.assert_allclose(lda.predict_proba(X), whole.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS[:-1])
@pytest.mark.parametrize(("condition", "relative"), [(1e3, 1e-10), (1e6, 1e-8)])
def test_ill_conditioned_rows(solver, condition, relative):
    x, y = labelled_rows(500, 20, 4, condition=condition, seed=3)
    if solver == "direct" and condition > 1e4:
        relative = 1e-4  # the covariance squares the condition number
    lda = fitted(x, y, solver=solver, tol=1e-10 if solver == "block-pcg" else 1e-8)
    if solver == "lobpcg" and condition > 1e4:
        relative = 1e-5  # its basis is orthonormal in products with the covariance itself
    np.testing.assert_allclose(lda.eigenvalues_, eigenvalues_of_rows(x, y), rtol=relative)


@pytest.mark.parametrize("condition", [1e7, 1e9])
def test_the_automatic_solver_where_the_covariance_is_singular_in_working_precision(condition):
    x, y = labelled_rows(500, 20, 4, condition=condition, seed=3)
    lda = fitted(x, y)
    assert lda.solver_ == "cholesky-qr"
    assert lda.condition_number_ > condition
    np.testing.assert_allclose(lda.eigenvalues_, eigenvalues_of_rows(x, y), rtol=1e-8)


def test_single_precision_at_a_condition_of_a_thousand():
    x, y = labelled_rows(2000, 30, 5, condition=1e3, seed=4)
    x = x.astype(np.float32)
    lda = fitted(x, y)
    np.testing.assert_allclose(lda.eigenvalues_, eigenvalues_of_rows(x, y), rtol=1e-4)


def test_classes_far_from_zero():
    lda, plain = fitted(X + 1e7), fitted(X)
    np.testing.assert_allclose(lda.eigenvalues_, plain.eigenvalues_, rtol=1e-6)


# --- scikit-learn's numbers


def assert_same_rule(lda, reference, x, atol):
    np.testing.assert_allclose(lda.predict_proba(x), reference.predict_proba(x), atol=atol)
    np.testing.assert_allclose(lda.predict_log_proba(x), reference.predict_log_proba(x), atol=1e6 * atol, rtol=1e-6)
    np.testing.assert_array_equal(lda.predict(x), reference.predict(x))
    k = lda.eigenvalues_.shape[0]
    np.testing.assert_allclose(lda.explained_variance_ratio_, reference.explained_variance_ratio_[:k], rtol=1e-10)
    scores, theirs = (s.transform(x) - s.transform(x).mean(axis=0) for s in (lda, reference))
    np.testing.assert_allclose(np.abs(scores), np.abs(theirs), atol=1e4 * atol)


@pytest.mark.parametrize("priors", [None, PRIORS])
@pytest.mark.parametrize("solver", ["direct", "cholesky-qr"])
def test_plain_numbers_are_those_of_the_svd_solver(solver, priors):
    reference = LinearDiscriminantAnalysis(priors=priors).fit(X, Y)
    lda = fitted(solver=solver, priors=priors)
    assert_same_rule(lda, reference, X, 1e-12)
    np.testing.assert_allclose(lda.coef_, reference.coef_, rtol=1e-9)
    np.testing.assert_allclose(lda.intercept_, reference.intercept_, rtol=1e-9)
    np.testing.assert_allclose(lda.decision_function(X), reference.decision_function(X), atol=1e-9)
    np.testing.assert_allclose(lda.xbar_, reference.xbar_)


@pytest.mark.parametrize("priors", [None, PRIORS])
@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 0.95, "auto"])
def test_shrunken_numbers_are_those_of_the_eigen_solver(shrinkage, priors):
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage, priors=priors).fit(X, Y)
    lda = fitted(shrinkage=shrinkage, priors=priors)
    assert_same_rule(lda, reference, X, 1e-11)
    # Scores differ from theirs by a number for each row, which no probability sees.
    gaps = lda.decision_function(X) - reference.decision_function(X)
    np.testing.assert_allclose(gaps - gaps.mean(axis=1, keepdims=True), 0.0, atol=1e-9)


@pytest.mark.parametrize("make", [torch.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("shrinkage", [0.3, "auto"])
def test_shrinkage_of_torch_and_sparse_rows(make, shrinkage):
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage).fit(X, Y)
    lda = fitted(make(X), torch.asarray(Y) if make is torch.asarray else Y, shrinkage=shrinkage)
    np.testing.assert_allclose(to_float64(lda.predict_proba(make(X))), reference.predict_proba(X), atol=1e-10)


@pytest.mark.parametrize("make", [np.asarray, torch.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("shrinkage", [0.3, "auto"])
def test_shrinkage_of_weighted_rows(make, shrinkage):
    weights = np.random.default_rng(1).integers(0, 4, len(Y))
    repeated = np.repeat(X, weights, axis=0), np.repeat(Y, weights)
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage).fit(*repeated)
    lda = fitted(make(X), torch.asarray(Y) if make is torch.asarray else Y, weights=weights, shrinkage=shrinkage)
    np.testing.assert_allclose(to_float64(lda.predict_proba(make(X))), reference.predict_proba(X), atol=1e-10)


def test_shrinkage_of_constant_features_and_few_rows():
    x, y = load_digits(return_X_y=True)
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(x[:150], y[:150])
    lda = fitted(x[:150], y[:150], shrinkage="auto")
    np.testing.assert_allclose(lda.predict_proba(x), reference.predict_proba(x), atol=1e-9)


def test_two_classes():
    x, y = load_wine(return_X_y=True)
    x, y = x[y < 2], np.array(["red", "white"])[y[y < 2]]
    reference = LinearDiscriminantAnalysis().fit(x, y)
    lda = fitted(x, y)
    assert lda.coef_.shape == (1, 13)
    np.testing.assert_allclose(lda.coef_, reference.coef_, rtol=1e-9)
    np.testing.assert_allclose(lda.decision_function(x), reference.decision_function(x), atol=1e-9)
    assert_same_rule(lda, reference, x, 1e-12)
    assert set(lda.predict(x)) == {"red", "white"}


def test_components_are_cut_from_the_projection_only():
    full, cut = fitted(), fitted(n_components=2)
    assert cut.transform(X).shape == (len(X), 2)
    assert cut.eigenvalues_.shape == cut.explained_variance_ratio_.shape == (2,)
    np.testing.assert_array_equal(cut.transform(X), full.transform(X)[:, :2])
    np.testing.assert_array_equal(cut.coef_, full.coef_)


def test_scores_within_classes_have_unit_variance():
    scores = fitted().transform(X)
    expected = oracle(scores, Y)
    np.testing.assert_allclose(expected.within, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(scores.mean(axis=0), 0.0, atol=1e-12)


# --- iterations


@pytest.mark.parametrize("solver", ITERATIVE)
@pytest.mark.parametrize("preconditioner", ["auto", "sketched", "nystrom", "diagonal", "exact", "identity"])
def test_preconditioners(solver, preconditioner):
    lda = fitted(solver=solver, preconditioner=preconditioner, reg=1e-3, tol=1e-7)
    assert lda.status_.success
    np.testing.assert_allclose(lda.eigenvalues_, oracle(X, Y, reg=1e-3).eigenvalues[:3], rtol=1e-7)
    assert (lda.sketch_size_ is not None) == (preconditioner in ("auto", "sketched"))
    assert lda.n_passes_ > lda.n_iter_
    if preconditioner in ("exact", "nystrom"):
        assert lda.condition_number_ < 1.01


@pytest.mark.parametrize("solver", ITERATIVE)
def test_a_sketch_saves_passes(solver):
    x, y = labelled_rows(3000, 30, 4, condition=100.0, seed=5)
    plain = fitted(x, y, solver=solver, preconditioner="identity", max_iter=3000)
    sketched = fitted(x, y, solver=solver)
    assert sketched.n_passes_ < 0.5 * plain.n_passes_
    assert sketched.condition_number_ < 20
    assert sketched.sketch_size_ in (120, 240)


def test_the_sketch_grows_until_it_is_good_enough(monkeypatch):
    monkeypatch.setattr("problems.lda_solvers.MAX_SKETCHED_CONDITION", 2.5)
    x, y = labelled_rows(3000, 30, 4, condition=100.0, seed=5)
    lda = fitted(x, y, solver="block-pcg")
    assert lda.sketch_size_ > 240
    assert lda.condition_number_ <= 2.5


@pytest.mark.parametrize("solver", ITERATIVE)
def test_too_few_steps_are_said(solver):
    x, y = labelled_rows(1000, 40, 4, condition=100.0, seed=5)
    with pytest.warns(ConvergenceWarning, match=rf"solver='{solver}' stopped before tol = 1e-06: The limit of iter"):
        lda = fitted(x, y, solver=solver, max_iter=2)
    assert lda.status_ is Status.ITERATION_LIMIT
    assert lda.n_iter_ == 2
    assert lda.score(x, y) > 0.4


@pytest.mark.parametrize("solver", [*SOLVERS, "auto"])
def test_passes_are_counted(solver, monkeypatch):
    reads = []
    take = row_passes.row_block
    monkeypatch.setattr(row_passes, "row_block", lambda x, *bounds: reads.append(bounds) or take(x, *bounds))
    lda = fitted(solver=solver)
    rows = sum(stop - first for first, stop in reads)
    assert rows == lda.n_passes_ * len(X)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_seed_gives_the_same_result(solver):
    first, second = fitted(solver=solver), fitted(solver=solver)
    np.testing.assert_array_equal(first.coef_, second.coef_)
    generator = fitted(solver=solver, random_state=np.random.default_rng(3))
    np.testing.assert_allclose(generator.eigenvalues_, first.eigenvalues_, rtol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "density", "ridge", "expected"),
    [
        ((60_000, 784, 10), None, True, "direct"),
        ((200_000, 4_000, 2), None, True, "block-pcg"),
        ((5_000, 4_000, 2), None, True, "direct"),
        ((100, 4_000, 2), None, True, "cholesky-qr"),
        ((10**6, 30_000, 10), None, True, "block-pcg"),
        ((20_000, 1_000, 5), 0.03, True, "direct"),
        ((4_000, 6_000, 20), 0.003, True, "block-pcg"),
        ((4_000, 6_000, 20), 0.003, False, "direct"),
        ((1_000, 5_000, 3), 0.02, True, "dual"),
        ((6_000, 55_000, 105), 0.003, True, "dual"),
        ((6_000, 55_000, 105), 0.003, False, "block-pcg"),
        ((60_000, 55_000, 105), 0.003, True, "block-pcg"),
    ],
)
def test_choice_of_the_solver(sizes, density, ridge, expected):
    assert choose_solver(*sizes, density=density, ridge=ridge) == expected


@pytest.mark.parametrize("weights", [None, np.random.default_rng(1).integers(1, 4, len(Y)).astype(float)])
@pytest.mark.parametrize("make", [np.asarray, torch.asarray, scipy.sparse.csr_array, scipy.sparse.csc_array])
def test_dual(make, weights):
    y = torch.asarray(Y) if make is torch.asarray else Y
    lda = fitted(make(X), y, weights=weights, solver="dual", reg=1e-2)
    expected = oracle(X, Y, weights=weights, reg=1e-2)
    np.testing.assert_allclose(lda.eigenvalues_, expected.eigenvalues[:3], rtol=1e-9)
    same_directions(lda, expected.within, expected.vectors, 1e-7)


# --- streams


@pytest.mark.parametrize("options", [{}, {"reg": 0.01}, {"shrinkage": 0.2}, {"priors": PRIORS}], ids=str)
@pytest.mark.parametrize("make", [np.asarray, torch.asarray, scipy.sparse.csr_array])
def test_parts_one_after_the_other(make, options):
    stream = LDA(**options)
    labels = torch.asarray if make is torch.asarray else np.asarray
    for rows in np.array_split(np.random.default_rng(0).permutation(len(X)), 5):
        assert stream.partial_fit(make(X[rows]), labels(Y[rows]), classes=labels(np.arange(4))) is stream
    whole = fitted(**options)
    np.testing.assert_allclose(to_float64(stream.eigenvalues_), whole.eigenvalues_, rtol=1e-10)
    np.testing.assert_allclose(to_float64(stream.coef_), whole.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(to_float64(stream.priors_), whole.priors_, rtol=1e-12)


def test_weighted_parts_and_a_class_that_comes_late():
    weights = np.random.default_rng(1).random(len(Y))
    first, second = Y != 2, Y == 2
    stream = LDA()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.partial_fit(X[first], Y[first], classes=range(4), sample_weight=weights[first])
    assert 2 not in stream.predict(X[Y != 2])
    stream.partial_fit(X[second], Y[second], sample_weight=weights[second])
    np.testing.assert_allclose(stream.coef_, fitted(weights=weights).coef_, rtol=1e-8)


def test_fit_forgets_the_parts():
    lda = LDA().partial_fit(X[:300] + 5.0, Y[:300], classes=range(4))
    np.testing.assert_array_equal(lda.fit(X, Y).coef_, fitted().coef_)
    np.testing.assert_allclose(lda.partial_fit(X[:300], Y[:300]).coef_, fitted(X[:300], Y[:300]).coef_, rtol=1e-9)
