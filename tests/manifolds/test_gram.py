"""Gram operators against the dense Gram matrix."""

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import aslinearoperator

from manifolds import CountSketch, GeneralizedStiefel, GramOperator
from manifolds.gram import diagonal_of
from tests.arrays import Kind, assert_close, kind_of, spd, to_float64

X = np.random.default_rng(0).standard_normal((40, 5)) @ spd(5, 10.0, 0)
SPARSE = scipy.sparse.random_array((40, 5), density=0.3, rng=np.random.default_rng(1), format="csr")
ridges = pytest.mark.parametrize("ridge", [0.0, 0.25, 3])


@ridges
def test_products_and_diagonal_are_those_of_the_dense_matrix(kind, ridge):
    x, v = kind(X), kind(np.random.default_rng(2).standard_normal((5, 3)))
    before, operator, dense = to_float64(x).copy(), GramOperator(x, ridge), X.T @ X + ridge * np.eye(5)
    assert operator.shape == (5, 5)
    assert kind_of(operator.like) == kind_of(operator @ v) == kind_of(operator.diagonal()) == kind
    assert_close(operator @ v, dense @ to_float64(v), 30 * kind.eps)
    assert_close(operator @ v[:, 0], dense @ to_float64(v)[:, 0], 30 * kind.eps)
    assert_close(operator.diagonal(), np.diag(dense), 30 * kind.eps)
    np.testing.assert_array_equal(to_float64(x), before)


@ridges
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["csr_matrix", "csc_array", "coo_matrix", "coo_array"])
def test_sparse_data(ridge, dtype, layout):
    kind, x = Kind("numpy", dtype), getattr(scipy.sparse, layout)(SPARSE.astype(dtype))
    operator, dense = GramOperator(x, ridge), SPARSE.toarray().T @ SPARSE.toarray() + ridge * np.eye(5)
    v = kind(np.random.default_rng(2).standard_normal((5, 3)))
    assert kind_of(operator.like) == kind_of(operator @ v) == kind_of(operator.diagonal()) == kind
    assert_close(operator @ v, dense @ v, 30 * kind.eps)
    assert_close(operator.diagonal(), np.diag(dense), 30 * kind.eps)
    assert_close(operator.sketch(CountSketch(8)), CountSketch(8).apply(x.toarray()), 30 * kind.eps)


def test_sketch_in_blocks_is_the_sketch(kind, monkeypatch):
    monkeypatch.setattr("manifolds.gram._BLOCK_ROWS", 7)
    assert_close(GramOperator(kind(X), 2.0).sketch(CountSketch(8)), CountSketch(8).apply(X), 30 * kind.eps)


def test_the_matrix_of_a_generalized_stiefel_manifold(kind):
    manifold = GeneralizedStiefel(GramOperator(kind(X), 0.5), 2)
    x = to_float64(manifold.random_point(rng=0, batch=(3,)))
    assert_close(x.mT @ (X.T @ X + 0.5 * np.eye(5)) @ x, np.broadcast_to(np.eye(2), (3, 2, 2)), 100 * kind.eps)


def test_diagonals():
    matrix = spd(4, 10.0, 0)
    np.testing.assert_array_equal(diagonal_of(matrix), np.diag(matrix))
    np.testing.assert_array_equal(diagonal_of(torch.tensor(matrix)).numpy(), np.diag(matrix))
    np.testing.assert_array_equal(diagonal_of(scipy.sparse.csr_array(matrix)), np.diag(matrix))
    assert diagonal_of(aslinearoperator(matrix)) is None


def test_representation():
    assert repr(GramOperator(X, 0.5)) == "GramOperator(n=40, d=5, ridge=0.5)"
