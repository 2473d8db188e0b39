"""Views and rows that are degenerate, badly stored or wrong, in every kind of storage: a result, or an error."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from problems import CCA, LDA
from tests.arrays import to_float64
from tests.problems.classes import labelled_rows, oracle
from tests.problems.views import canonical_oracle, correlated_views, correlations_of, dense_covariances

N, DX, DY, P = 300, 6, 5, 3
X, Y = correlated_views(N, DX, DY)
ROWS, LABELS = labelled_rows(240, 6, 3, seed=6)

STORAGE = {
    "numpy": np.asarray,
    "numpy32": lambda a: a.astype(np.float32),
    "torch": torch.asarray,
    "torch32": lambda a: torch.asarray(a).float(),
    "csr": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_array,
    "csr32": lambda a: scipy.sparse.csr_array(a.astype(np.float32)),
    "csc32": lambda a: scipy.sparse.csc_array(a.astype(np.float32)),
}


@pytest.fixture(params=STORAGE)
def storage(request):
    return request.param


def labels(y, storage):
    return torch.asarray(y) if storage.startswith("torch") else y


def accuracy(storage):
    """Single-precision rows are known to 6e-8, at conditions of about ten."""
    return 2e-6 if "32" in storage else 1e-9


DEFICIENT = {
    "repeated": lambda x: x[:, 1],
    "dependent": lambda x: x[:, 0] - 2 * x[:, 2],
    "zero": lambda x: np.zeros(len(x)),
    "constant": lambda x: np.full(len(x), 3.1),
    "large constant": lambda x: np.full(len(x), 1e6 + 0.1),
}


def deficient(x, kind):
    """Data whose last column brings nothing."""
    x = x.copy()
    x[:, -1] = DEFICIENT[kind](x)
    return x


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("kind", DEFICIENT)
@pytest.mark.parametrize("solver", ["auto", "direct", "cholesky-qr"])
def test_views_are_truncated_to_their_rank(solver, kind, scale, storage):
    make, x = STORAGE[storage], deficient(X, kind)
    with pytest.warns(UserWarning, match="X has numerical rank 5 for 6 features and is truncated to it"):
        cca = CCA(P, solver=solver, scale=scale, random_state=0).fit(make(x), make(Y))
    expected = correlations_of(x[:, :-1], Y)[:P]
    np.testing.assert_allclose(to_float64(cca.correlations_), expected, atol=accuracy(storage))
    if kind not in ("repeated", "dependent"):
        np.testing.assert_array_equal(to_float64(cca.x_weights_)[-1], 0.0)
    scores = to_float64(cca.transform(make(x)))
    np.testing.assert_allclose(scores.T @ scores / N, np.eye(P), atol=100 * accuracy(storage))


@pytest.mark.parametrize("kind", DEFICIENT)
@pytest.mark.parametrize("solver", ["auto", "direct", "cholesky-qr", "lobpcg", "riemannian"])
def test_with_a_ridge_deficient_views_are_as_good_as_others(solver, kind, storage):
    make, x = STORAGE[storage], deficient(X, kind)
    options = {"solver": solver, "reg": 0.01, "random_state": 0, "tol": 1e-4 if "32" in storage else 1e-7}
    if kind == "large constant" and "32" in storage and solver in ("lobpcg", "riemannian"):
        pytest.skip("thin products of single precision see a mean of a million deviations, and little else")
    cca = CCA(P, **options).fit(make(x), make(Y))
    expected = canonical_oracle(*dense_covariances(x, Y, (0.01, 0.01)))[0][:P]
    np.testing.assert_allclose(to_float64(cca.correlations_), expected, atol=10 * accuracy(storage))


@pytest.mark.parametrize("kind", DEFICIENT)
@pytest.mark.parametrize("solver", ["auto", "direct", "cholesky-qr"])
def test_classes_on_dependent_columns(solver, kind, storage, recwarn):
    make, x = STORAGE[storage], deficient(ROWS, kind)
    lda = LDA(solver=solver, random_state=0).fit(make(x), labels(LABELS, storage))
    expected = oracle(x[:, :-1], LABELS).eigenvalues[:2]
    np.testing.assert_allclose(to_float64(lda.eigenvalues_), expected, rtol=accuracy(storage))
    said = [str(warning.message) for warning in recwarn]
    if kind in ("repeated", "dependent"):
        assert any("X has numerical rank 5 within its classes for 6 features" in message for message in said)
    else:
        assert said == []
        np.testing.assert_array_equal(to_float64(lda.coef_)[:, -1], 0.0)


def test_a_class_of_one_row(storage):
    make = STORAGE[storage]
    x, y = np.vstack([ROWS, ROWS[0] + 1]), np.append(LABELS, 7)
    lda = LDA().fit(make(x), labels(y, storage))
    np.testing.assert_allclose(to_float64(lda.eigenvalues_), oracle(x, y).eigenvalues[:3], rtol=10 * accuracy(storage))
    np.testing.assert_allclose(to_float64(lda.means_)[3], x[-1], rtol=1e-6)


@pytest.mark.parametrize("solver", ["auto", "direct", "cholesky-qr"])
def test_fewer_rows_than_columns(solver, storage):
    make, (x, y) = STORAGE[storage], correlated_views(25, 30, 2, correlations=(0.9, 0.5), seed=3)
    with pytest.warns(UserWarning, match="X has numerical rank 24 for 30 features"):
        cca = CCA(2, solver=solver, random_state=0).fit(make(x), make(y))
    # Twenty-five centred rows have twenty-four dimensions, in which everything can be predicted.
    np.testing.assert_allclose(to_float64(cca.correlations_), 1.0, atol=100 * accuracy(storage))
    ridged = CCA(2, solver=solver, reg=0.1, random_state=0).fit(make(x), make(y))
    expected = canonical_oracle(*dense_covariances(x, y, (0.1, 0.1)))[0]
    np.testing.assert_allclose(to_float64(ridged.correlations_), expected, atol=accuracy(storage))


def test_empty_rows_of_sparse_views_and_classes():
    rng = np.random.default_rng(0)
    x, y, rows = (a * (rng.random(a.shape) < 0.4) for a in (X, Y, ROWS))
    for part in (x, y, rows):
        part[::5] = 0.0
    y[1::7] = 0.0
    for make in (scipy.sparse.csr_array, scipy.sparse.csc_array):
        cca = CCA(P).fit(make(x), make(y))
        np.testing.assert_allclose(cca.correlations_, correlations_of(x, y)[:P], atol=1e-12)
        np.testing.assert_allclose(cca.transform(make(x))[::5], np.tile(cca.transform(make(x[:1])), (60, 1)))
        np.testing.assert_allclose(
            LDA().fit(make(rows), LABELS).eigenvalues_, oracle(rows, LABELS).eigenvalues[:2], rtol=1e-10
        )


FORMS = {
    "fortran": np.asfortranarray,
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every other column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "columns backwards": lambda a: a[:, ::-1].copy()[:, ::-1],
    "torch, transposed": lambda a: torch.asarray(np.ascontiguousarray(a.T)).T,
    "torch, every other column": lambda a: torch.asarray(a).repeat_interleave(2, dim=1)[:, ::2],
}


@pytest.mark.parametrize("solver", ["auto", "cholesky-qr", "lobpcg", "riemannian", "block-pcg"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_arrays_that_are_not_contiguous(form, solver):
    cca = CCA(P, solver=solver, tol=1e-9, random_state=0).fit(form(X), form(Y))
    np.testing.assert_allclose(to_float64(cca.correlations_), correlations_of(X, Y)[:P], atol=1e-10)
    expected = CCA(P).fit(X, Y).transform(X)
    np.testing.assert_allclose(to_float64(cca.transform(form(X))), expected, atol=1e-6)


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_integers_become_double_precision(make):
    x, y, rows = (np.round(10 * a).astype(np.int32) for a in (X, Y, ROWS))
    cca, lda = CCA(P).fit(make(x), make(y)), LDA().fit(make(rows), LABELS)
    assert cca.x_weights_.dtype == lda.coef_.dtype == np.float64
    np.testing.assert_allclose(cca.correlations_, correlations_of(x, y)[:P], atol=1e-12)
    np.testing.assert_allclose(lda.eigenvalues_, oracle(rows, LABELS).eigenvalues[:2], rtol=1e-10)


def with_bad(a, value):
    a = a.copy()
    a[3, 1] = value
    return a


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("solver", ["auto", "direct", "cholesky-qr", "lobpcg", "riemannian", "block-pcg"])
def test_entries_that_are_not_finite(solver, value, storage):
    make = STORAGE[storage]
    for name, x, y in (("X", with_bad(X, value), Y), ("y", X, with_bad(Y, value))):
        with pytest.raises(ValueError, match=rf"{name} contains NaN or infinity.*; clean or impute it first") as caught:
            CCA(P, solver=solver, random_state=0).fit(make(x), make(y))
        assert caught.type is ValueError
    with pytest.raises(ValueError, match=r"X contains NaN or infinity.*; clean or impute it first") as caught:
        LDA(solver=solver, random_state=0).fit(make(with_bad(ROWS, value)), labels(LABELS, storage))
    assert caught.type is ValueError


META = torch.empty(N, DY, dtype=torch.float64, device="meta")


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        (lambda make: CCA(P).fit(make(X), make(Y[:-1])), ValueError, r"X and y must have the same number of rows, got"),
        (lambda make: CCA(6).fit(make(X), make(Y)), ValueError, r"n_components must be between 1 and 5 .*got 6"),
        (
            lambda make: CCA(5).fit(make(X[:3]), make(Y[:3])),
            ValueError,
            r"n_components must be between 1 and 3 .*got 5",
        ),
        (lambda make: CCA(1).fit(make(X[:1]), make(Y[:1])), ValueError, r"X must have at least 2 samples to correlate"),
    ],
    ids=["rows", "components", "components of few rows", "one row"],
)
def test_views_that_do_not_fit(fit, error, message, storage):
    with pytest.raises(error, match=message) as caught:
        fit(STORAGE[storage])
    assert caught.type is error


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        (lambda: CCA(P).fit(scipy.sparse.csr_array(X), torch.asarray(Y)), TypeError, "y and X must agree in library"),
        (lambda: CCA(P).fit(torch.asarray(X), scipy.sparse.csr_array(Y)), TypeError, "y and X must agree in library"),
        (lambda: CCA(P).fit(torch.asarray(X), META), TypeError, r"y and X must agree in library, dtype and device"),
        (lambda: CCA(P).fit(torch.asarray(X), torch.asarray(Y).int()), TypeError, r"y must have a real floating dtype"),
        (
            lambda: LDA().fit(torch.asarray(ROWS), torch.empty(240, dtype=torch.int64, device="meta")),
            TypeError,
            r"y must be on the device of X, got meta beside cpu; move one of them",
        ),
        (
            lambda: LDA().fit(scipy.sparse.csr_array(ROWS), torch.asarray(LABELS)),
            TypeError,
            r"y must be of the library of X, got Tensor beside csr_array; convert one of them",
        ),
        (lambda: LDA().fit(scipy.sparse.csr_array(ROWS), 0 * LABELS), ValueError, "y must have at least two classes"),
        (
            lambda: LDA().fit(torch.asarray(ROWS), torch.asarray(0 * LABELS)),
            ValueError,
            "y must have at least two clas",
        ),
        (lambda: LDA(3).fit(torch.asarray(ROWS), torch.asarray(LABELS)), ValueError, "n_components must be at most 2"),
        (lambda: LDA().fit(scipy.sparse.csr_array(ROWS), LABELS[:-1]), ValueError, "X and y must have the same number"),
    ],
)
def test_targets_and_labels_that_do_not_fit(fit, error, message):
    with pytest.raises(error, match=message) as caught:
        fit()
    assert caught.type is error
