"""Pencils that are badly stored, singular or wrong, dense, sparse and of torch: a result, or an error."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch

from manifolds import NotPositiveDefiniteError
from problems import generalized_eigh
from tests.arrays import spd, to_float64

N, K = 40, 3
A, B = spd(N, 1e3, seed=2) - 0.3 * np.eye(N), spd(N, 50.0, seed=3)
EXPECTED = scipy.linalg.eigh(A, B, eigvals_only=True)[::-1][:K]
STORAGE = {
    "numpy": np.asarray,
    "torch": torch.asarray,
    "csr": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_matrix,
}


@pytest.fixture(params=STORAGE)
def make(request):
    return STORAGE[request.param]


def largest(a, b, k=K, **options):
    return to_float64(generalized_eigh(a, b, k, **options).eigenvalues)


@pytest.mark.parametrize("method", ["direct", "lobpcg", "riemannian"])
@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda m: np.kron(m, np.ones((2, 2)))[::2, ::2],
        lambda m: m[::-1, ::-1].copy()[::-1, ::-1],
        lambda m: torch.asarray(m).T,
        lambda m: torch.asarray(np.kron(m, np.ones((2, 2))))[::2, ::2],
    ],
    ids=["fortran", "strided", "backwards", "torch, transposed", "torch, strided"],
)
def test_arrays_that_are_not_contiguous(form, method):
    np.testing.assert_allclose(largest(form(A), form(B), method=method), EXPECTED, rtol=1e-9)


@pytest.mark.parametrize("method", ["direct", "lobpcg", "riemannian"])
def test_default_tolerance_and_accuracy_on_request(method):
    by_default = largest(A, B, method=method)
    np.testing.assert_allclose(by_default, EXPECTED, rtol=1e-6)
    on_request = generalized_eigh(A, B, K, method=method, tol=1e-9)
    np.testing.assert_allclose(on_request.eigenvalues, EXPECTED, rtol=1e-10)
    vectors = scipy.linalg.eigh(A, B)[1][:, ::-1][:, :K]
    angles = scipy.linalg.subspace_angles(
        scipy.linalg.cholesky(B) @ on_request.eigenvectors, scipy.linalg.cholesky(B) @ vectors
    )
    assert angles.max() < 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize("method", ["direct", "lobpcg", "riemannian"])
def test_entries_that_are_not_finite(method, name, value, make):
    matrices = {"A": A.copy(), "B": B.copy()}
    matrices[name][2, 3] = matrices[name][3, 2] = value
    with pytest.raises(ValueError, match=rf"{name} (gives|contains) NaN or infinity") as caught:
        generalized_eigh(make(matrices["A"]), make(matrices["B"]), K, method=method)
    assert caught.type is ValueError


@pytest.mark.parametrize("name", ["A", "B"])
def test_integers_are_refused(name, make):
    matrices = {"A": make(A), "B": make(B)}
    matrices[name] = make(np.round(10 * B).astype(np.int64))
    with pytest.raises(TypeError, match=rf"{name} must have a real floating dtype, got (torch\.)?int64") as caught:
        generalized_eigh(matrices["A"], matrices["B"], K)
    assert caught.type is TypeError


def test_empty_rows_of_sparse_matrices():
    a, b = A.copy(), B.copy()
    a[:, 5] = a[5] = 0.0
    expected = scipy.linalg.eigh(a, b, eigvals_only=True)[::-1][:K]
    for method in ("direct", "lobpcg"):
        values = largest(scipy.sparse.csr_array(a), scipy.sparse.csr_array(b), method=method)
        np.testing.assert_allclose(values, expected, rtol=1e-9)
    b[:, 5] = b[5] = 0.0
    with pytest.raises(NotPositiveDefiniteError, match=r"B must be positive definite") as caught:
        generalized_eigh(scipy.sparse.csr_array(a), scipy.sparse.csr_array(b), K)
    assert caught.type is NotPositiveDefiniteError


def test_a_repeated_column_makes_b_singular(make):
    b = B.copy()
    b[:, 7], b[7] = b[:, 2], b[2]
    b[7, 7] = b[2, 7] = b[7, 2] = b[2, 2]
    with pytest.raises(NotPositiveDefiniteError, match=r"B must be positive definite") as caught:
        generalized_eigh(make(A), make(b), K, method="direct")
    assert caught.type is NotPositiveDefiniteError


@pytest.mark.parametrize(
    ("a", "b", "k", "error", "message"),
    [
        (torch.asarray(A), scipy.sparse.csr_array(B), K, TypeError, "B and A must agree in library, dtype and device"),
        (scipy.sparse.csr_array(A), torch.asarray(B), K, TypeError, "B and A must agree in library, dtype and device"),
        (
            torch.asarray(A),
            torch.empty(N, N, dtype=torch.float64, device="meta"),
            K,
            TypeError,
            "B and A must agree in library, dtype and device",
        ),
        (torch.asarray(A), torch.asarray(B).float(), K, TypeError, "B and A must agree in library, dtype and device"),
        (scipy.sparse.csr_array(A), scipy.sparse.csr_array(B[:5, :5]), K, ValueError, "B must have the order 40 of A"),
        (torch.asarray(A), torch.asarray(B), N + 1, ValueError, "k must be at most the order 40 of A, got 41"),
        (scipy.sparse.csr_array(A[:, :5]), None, K, ValueError, r"A must be a square matrix, got shape \(40, 5\)"),
        (scipy.sparse.csr_array(A + np.eye(N, k=2)), None, K, ValueError, "A must be symmetric"),
    ],
)
def test_matrices_that_do_not_fit(a, b, k, error, message):
    with pytest.raises(error, match=message) as caught:
        generalized_eigh(a, b, k)
    assert caught.type is error
