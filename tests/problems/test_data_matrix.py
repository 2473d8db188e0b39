"""One view as a covariance operator against the dense matrix of its centred rows, in every kind of storage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from manifolds import CountSketch, SparseSignSketch
from problems import DataMatrix, PairedViews
from tests.arrays import kind_of, to_float64

N, D, P = 300, 7, 3
RNG = np.random.default_rng(3)
X = RNG.standard_normal((N, D)) * (RNG.random((N, D)) < 0.4) + np.r_[0.0, 2.0, np.zeros(D - 2)] * (
    RNG.random((N, D)) < 0.5
)
Y = RNG.standard_normal((N, 4))
A, Z = RNG.standard_normal((D, P)), RNG.standard_normal((N, P))
WEIGHTS = RNG.integers(0, 4, N).astype(float)

STORAGE = {
    "numpy": np.asarray,
    "fortran": np.asfortranarray,
    "torch": torch.asarray,
    "csr_array": scipy.sparse.csr_array,
    "csc_array": scipy.sparse.csc_array,
    "csr_matrix": scipy.sparse.csr_matrix,
    "csc_matrix": scipy.sparse.csc_matrix,
}


@pytest.fixture(params=STORAGE)
def store(request):
    return STORAGE[request.param]


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


def centred(weights=None, *, scale=False):
    """Dense weighted, centred rows W^{1/2} Xc, by numpy's own averages."""
    w = np.ones(N) if weights is None else weights
    mean = np.average(X, axis=0, weights=w)
    deviation = np.average((X - mean) ** 2, axis=0, weights=w) ** 0.5
    return (X - mean) / (deviation if scale else 1.0), w / w.sum()


@pytest.mark.parametrize("block_rows", [None, 64])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("scale", [False, True])
def test_every_product_is_that_of_the_dense_matrix(scale, weights, block_rows, store, dtype):
    stored = store(X.astype(dtype))
    data = DataMatrix(stored, reg=0.25, scale=scale, sample_weight=weights, block_rows=block_rows)
    array = torch.asarray if isinstance(stored, torch.Tensor) else np.asarray
    a, z = array(A.astype(dtype)), array(Z.astype(dtype))
    xc, w = centred(weights, scale=scale)
    s = xc.T @ (w[:, None] * xc) + 0.25 * np.eye(D)
    sketch = CountSketch(20, seed=1)
    expected_sketch = sketch.apply(np.sqrt(w)[:, None] * xc)
    atol = 1e-13 if dtype == "float64" else 2e-6
    for actual, expected in (
        (data @ a, s @ A),
        (data.products(a), s @ A),
        (data.gram(), s),
        (data.transform(a), xc @ A),
        (data.adjoint(z), xc.T @ (w[:, None] * Z)),
        (data.sketch(sketch), expected_sketch),
    ):
        assert kind_of(actual) == kind_of(a)
        np.testing.assert_allclose(to_float64(actual), expected, atol=10 * atol, rtol=0)
    assert data.n_passes == 7  # one for the means and one for each of the six
    assert data.shape == (D, D)
    assert kind_of(data.like) == kind_of(a)


def test_whole_weights_repeat_rows(store):
    repeated = DataMatrix(store(np.repeat(X, WEIGHTS.astype(int), axis=0)))
    weighted = DataMatrix(store(X), sample_weight=10 * WEIGHTS)
    np.testing.assert_allclose(to_float64(weighted.gram()), to_float64(repeated.gram()), atol=1e-13)


def test_views_of_different_storage_are_read_together():
    dense, mixed = (
        PairedViews(X, Y, sample_weight=WEIGHTS),
        PairedViews(scipy.sparse.csr_array(X), Y, sample_weight=WEIGHTS),
    )
    b = RNG.standard_normal((4, P))
    for actual, expected in zip(mixed.products(A, b), dense.products(A, b), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-13)
    for actual, expected in zip(mixed.covariances(), dense.covariances(), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-13)
    sketch = SparseSignSketch(16, seed=0)
    for actual, expected in zip(mixed.sketch(sketch), dense.sketch(sketch), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-13)


def test_sparse_data_are_neither_changed_nor_filled():
    x = scipy.sparse.random_array((200, 50_000), density=1e-4, format="csr", rng=0)
    before = x.copy()
    data = DataMatrix(x, scale=True)
    image = data @ np.ones((50_000, 1))
    assert (x != before).nnz == 0
    scores = np.ravel(x @ (1 / data.moments.scale))
    assert float(image.sum() * 200) > 0
    np.testing.assert_allclose(data.transform(np.ones((50_000, 1)))[:, 0], scores - scores.mean(), atol=1e-10)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_any_storage_is_found_in_the_first_pass(bad, store):
    x = X.copy()
    x[5, 2] = bad
    with pytest.raises(ValueError, match="left contains NaN or infinity"):
        DataMatrix(store(x), name="left").gram()


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (
            [[1.0]],
            {},
            TypeError,
            "X must be a numpy array, a torch tensor, a scipy sparse matrix or a RowSource, got list",
        ),
        (scipy.sparse.coo_array(X), {}, TypeError, r"X must be sparse by rows or columns \(CSR or CSC\), got coo"),
        (torch.asarray(X).to_sparse(), {}, TypeError, "X must be a dense torch tensor, got layout torch.sparse_coo"),
        (scipy.sparse.csr_array((0, 3)), {}, ValueError, r"X must be a matrix.*not empty, got shape \(0, 3\)"),
        (scipy.sparse.csr_array(np.eye(3, dtype=int)), {}, TypeError, "X must have a real floating dtype, got int64"),
        (X, {"reg": -1.0}, ValueError, "reg must be a non-negative number, got -1.0"),
        (X, {"reg": (1.0, 2.0)}, ValueError, r"reg must be a non-negative number, got \(1.0, 2.0\)"),
        (X, {"sample_weight": np.ones(3)}, ValueError, r"sample_weight must have shape \(300,\).*got \(3,\)"),
        (X, {"sample_weight": -np.ones(N)}, ValueError, "sample_weight must be finite, non-negative and not all zero"),
        (X, {"sample_weight": np.zeros(N)}, ValueError, "sample_weight must be finite, non-negative and not all zero"),
        (X, {"sample_weight": np.full(N, np.nan)}, ValueError, "sample_weight must be finite, non-negative"),
        (X, {"block_rows": 0}, ValueError, "block_rows must be at least 1, got 0"),
    ],
)
def test_errors(data, options, error, message):
    with pytest.raises(error, match=message) as caught:
        DataMatrix(data, **options)
    assert caught.type is error


def test_a_covariance_in_double_precision_of_single_precision_data():
    """Where two columns nearly agree, single-precision products lose their difference."""
    x = np.random.default_rng(0).standard_normal((4000, 3)) + 3.0
    x[:, 2] = x[:, 1] + 1e-3 * x[:, 2]
    x = x.astype(np.float32)
    between = np.var(x[:, 1].astype(float) - x[:, 2])
    for view in (x, torch.asarray(x)):
        data = DataMatrix(view)
        wide = data.gram(double=True)
        assert str(wide.dtype).removeprefix("torch.") == "float64"
        wide = to_float64(wide)
        assert wide[1, 1] - 2 * wide[1, 2] + wide[2, 2] == pytest.approx(between, rel=1e-4)
        assert kind_of(data.gram()) == kind_of(view)
        assert data.n_passes == 2
