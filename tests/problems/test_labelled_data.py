"""The class-centred operator against dense covariances: every library, dtype and storage, weights and counts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from manifolds import CountSketch, SparseSignSketch
from problems import LabelledData, RowSource
from tests.arrays import kind_of, to_float64
from tests.problems.classes import labelled_rows, oracle

N, D, L = 700, 6, 3
X, Y = labelled_rows(N, D, L, seed=1)
WEIGHTS = np.random.default_rng(0).integers(0, 4, N).astype(float)
STORAGE = {
    "numpy": np.asarray,
    "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "float32": lambda x: x.astype(np.float32),
    "torch": torch.asarray,
    "torch-float32": lambda x: torch.asarray(x).float(),
    "torch-strided": lambda x: torch.asarray(x).repeat_interleave(2, dim=1)[:, ::2],
    "csr": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_matrix,
    "csr-float32": lambda x: scipy.sparse.csr_array(x.astype(np.float32)),
}


@pytest.fixture(params=STORAGE.values(), ids=STORAGE.keys())
def stored(request):
    return request.param(X)


@pytest.fixture(params=[None, WEIGHTS], ids=["plain", "weighted"])
def weights(request):
    return request.param


def tolerance(data):
    return 1e-5 if "32" in str(data.like.dtype) else 1e-12


def like_data(a, data):
    return a.astype(data.like.dtype) if isinstance(data.like, np.ndarray) else torch.asarray(a).to(data.like.dtype)


def test_statistics(stored, weights):
    data = LabelledData(stored, Y, L, weights=weights, block_rows=64)
    expected = oracle(X, Y, weights=weights)
    statistics = data.statistics()
    assert "float64" in str(statistics.scatter.dtype)
    counts = np.bincount(Y, weights)
    np.testing.assert_array_equal(to_float64(statistics.counts), counts)
    np.testing.assert_allclose(to_float64(statistics.means), expected.means, atol=tolerance(data))
    scatter = to_float64(statistics.scatter) / statistics.total
    np.testing.assert_allclose(scatter, expected.within, atol=tolerance(data))
    np.testing.assert_allclose(to_float64(statistics.overall_mean), counts / counts.sum() @ expected.means, atol=1e-6)
    assert data.n_passes == 1


def test_products_variances_and_whitened_gram(stored, weights):
    data = LabelledData(stored, Y, L, weights=weights, block_rows=50)
    within = oracle(X, Y, weights=weights).within
    a = np.random.default_rng(2).standard_normal((D, 4))
    vectors = like_data(a, data)
    assert kind_of(data.product(vectors)) == kind_of(vectors)
    np.testing.assert_allclose(to_float64(data.product(vectors)), within @ a, atol=10 * tolerance(data))
    np.testing.assert_allclose(to_float64(data.variances()), np.diag(within), atol=tolerance(data))
    gram = to_float64(data.whitened_gram(vectors))
    np.testing.assert_allclose(gram, a.T @ within @ a, atol=20 * tolerance(data))
    assert data.n_passes == 5  # means, two products, variances, Gram matrix


@pytest.mark.parametrize("sketch", [CountSketch(40, seed=3), SparseSignSketch(40, seed=3)], ids=repr)
def test_sketch(stored, weights, sketch):
    data = LabelledData(stored, Y, L, weights=weights, block_rows=50)
    roots = np.ones(N) if weights is None else np.sqrt(weights)
    centred = (X - oracle(X, Y, weights=weights).means[Y]) * roots[:, None] / np.linalg.norm(roots)
    np.testing.assert_allclose(to_float64(data.sketch(sketch)), sketch.apply(centred), atol=tolerance(data))
    assert data.n_passes == 1
    np.testing.assert_allclose(to_float64(data.centred()), centred, atol=tolerance(data))


def test_gram_matrix_of_rows_scores_and_their_transpose(stored, weights):
    data = LabelledData(stored, Y, L, weights=weights, block_rows=50)
    roots = np.ones(N) if weights is None else np.sqrt(weights)
    centred = (X - oracle(X, Y, weights=weights).means[Y]) * roots[:, None] / np.linalg.norm(roots)
    rng = np.random.default_rng(2)
    a, z = (like_data(rng.standard_normal((rows, 2)), data) for rows in (D, N))
    for actual, expected in (
        (data.row_gram(), centred @ centred.T),
        (data.scores(a), centred @ to_float64(a)),
        (data.adjoint(z), centred.T @ to_float64(z)),
    ):
        assert kind_of(actual) == kind_of(a)
        np.testing.assert_allclose(to_float64(actual), expected, atol=10 * tolerance(data))
    assert data.n_passes == 4  # means, too


def test_nothing_cancels_far_from_zero():
    """Means of a million times the deviations within the classes cost no more digits than the entries themselves do."""
    x = X + 1e6 * (1 + Y[:, None])
    data, within = LabelledData(x, Y, L), oracle(X, Y).within
    statistics = data.statistics()
    np.testing.assert_allclose(statistics.scatter / statistics.total, within, atol=1e-9)
    np.testing.assert_allclose(data.product(np.eye(D)), within, atol=1e-9)
    single = LabelledData((X + 100 * (1 + Y[:, None])).astype(np.float32), Y, L)
    np.testing.assert_allclose(single.product(np.eye(D, dtype=np.float32)), within, atol=1e-4)


@pytest.mark.parametrize("storage", ["numpy", "torch", "csr", "csr-float32"])
def test_variances_below_rounding_are_zero(storage):
    x = X.copy()
    x[:, 1] = 0.1 + Y
    data = LabelledData(STORAGE[storage](x), Y, L)
    assert to_float64(data.variances())[1] == 0
    assert not to_float64(data.statistics().scatter)[1].any()
    assert np.count_nonzero(to_float64(data.variances())) == D - 1


def test_factors_of_classes_count_in_the_scatter():
    factors = np.array([0.5, 0.0, 2.0])
    statistics = LabelledData(X, Y, L, block_rows=50).statistics(factors)
    parts = [(X[k == Y] - X[k == Y].mean(axis=0)) for k in range(L)]
    expected = sum(f * part.T @ part for f, part in zip(factors, parts, strict=True))
    np.testing.assert_allclose(statistics.scatter, expected, rtol=1e-12)
    np.testing.assert_array_equal(statistics.counts, np.bincount(Y))


def test_parts_merge():
    whole = LabelledData(X, Y, L).statistics()
    parts = [LabelledData(X[rows], Y[rows], L).statistics() for rows in (slice(0, 100), slice(100, 101), slice(101, N))]
    merged = parts[0].merged(parts[1]).merged(parts[2])
    for actual, expected in zip(merged, whole, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_a_class_that_a_part_lacks():
    first = LabelledData(X[Y != 1], Y[Y != 1], L).statistics()
    merged = first.merged(LabelledData(X[Y == 1], Y[Y == 1], L).statistics())
    for actual, expected in zip(merged, LabelledData(X, Y, L).statistics(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [np.asarray, torch.asarray, scipy.sparse.csr_array])
def test_rows_of_one_class(make):
    data = LabelledData(make(X), Y, L)
    part = data.of_class(2)
    rows = X[Y == 2]
    mean, covariance = rows.mean(axis=0), np.cov(rows.T, ddof=0)
    statistics = part.statistics()
    np.testing.assert_allclose(to_float64(statistics.means[0]), mean, rtol=1e-12)
    np.testing.assert_allclose(to_float64(statistics.scatter) / len(rows), covariance, rtol=1e-10)
    scale = np.sqrt(np.diag(covariance)) * 1.5
    squares = np.sum(((rows - mean - 0.1) / scale) ** 2, axis=1)
    kind = torch.asarray if make is torch.asarray else np.asarray
    np.testing.assert_allclose(part.fourth_moment(kind(mean + 0.1), kind(scale)), squares @ squares, rtol=1e-10)


class ReadRows(RowSource):
    """Rows that count how many of them are read."""

    dtype, shape = np.dtype("float64"), (N, D)

    def __init__(self):
        self.read = 0

    def blocks(self, rows):
        for first in range(0, N, rows):
            self.read += len(X[first : first + rows])
            yield X[first : first + rows]


@pytest.mark.parametrize(
    ("sizes", "read"),
    [((10, 10, N - 20), 64), ((N // 4, N // 4 - 50, N // 2 + 50), 320), ((300, 120, 280), 448), ((N - 20, 10, 10), N)],
    ids=["at once", "before half of the rows", "after half of them", "at the end"],
)
def test_looking_for_rows_of_each_class_counts_as_a_pass_where_it_is_one(sizes, read):
    rows = ReadRows()
    data = LabelledData(rows, np.repeat(np.arange(L), sizes), L, block_rows=64)
    assert rows.read == read
    assert data.n_passes == round(read / N)
    data.statistics()
    assert rows.read == read + N
    assert data.n_passes == round(read / N) + 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, N - 1])
@pytest.mark.parametrize("name", ["numpy", "torch", "csr", "float32"])
def test_entries_that_are_not_finite_are_found_in_the_first_pass(name, row, value):
    x = X.copy()
    x[row, 2] = value
    for call in (
        lambda d: d.statistics(),
        lambda d: d.means,
        lambda d: d.sketch(CountSketch(8)),
        lambda d: d.variances(),
    ):
        with pytest.raises(ValueError, match=r"X contains NaN or infinity( \(row \d+\))?; clean or impute it first"):
            call(LabelledData(STORAGE[name](x), Y, L))


def test_data_are_not_changed():
    x, y, weights = X.copy(), Y.copy(), WEIGHTS.copy()
    data = LabelledData(x, y, L, weights=weights)
    data.statistics()
    data.product(np.eye(D))
    data.sketch(CountSketch(9))
    data.whitened_gram(np.eye(D))
    for actual, expected in ((x, X), (y, Y), (weights, WEIGHTS)):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (X.tolist(), {}, TypeError, r"x must be a numpy array, a torch tensor, .* or a RowSource, got list"),
        (X[:, 0], {}, ValueError, r"x must be a matrix \(samples x features\) that is not empty, got shape \(700,\)"),
        (X.astype(int), {}, TypeError, r"x must have a real floating dtype, got int64"),
        (scipy.sparse.coo_array(X), {}, TypeError, r"x must be sparse by rows or columns \(CSR or CSC\), got coo"),
        (X, {"codes": Y[:-1]}, ValueError, r"codes must be a numpy array of 700 integers, one for each row"),
        (X, {"codes": Y.tolist()}, ValueError, r"codes must be a numpy array of 700 integers"),
        (X, {"codes": Y + 0.0}, ValueError, r"codes must be a numpy array of 700 integers"),
        (X, {"codes": Y + 1}, ValueError, r"codes must be between 0 and n_classes - 1 = 2"),
        (X, {"codes": Y - 1}, ValueError, r"codes must be between 0 and n_classes - 1 = 2"),
        (X, {"n_classes": 0}, ValueError, r"n_classes must be at least 1, got 0"),
        (X, {"n_classes": 3.0}, TypeError, r"n_classes must be an integer, got 3.0"),
        (X, {"weights": WEIGHTS[:-1]}, ValueError, r"weights must be a numpy array of 700 numbers that are not neg"),
        (X, {"weights": -WEIGHTS}, ValueError, r"weights must be a numpy array of 700 numbers that are not negative"),
        (X, {"weights": WEIGHTS * np.nan}, ValueError, r"weights must be a numpy array of 700 numbers"),
        (X, {"weights": 0 * WEIGHTS}, ValueError, r"weights must be finite and not all zero"),
        (X, {"block_rows": 0}, ValueError, r"block_rows must be at least 1, got 0"),
        (X, {"block_rows": 1.5}, TypeError, r"block_rows must be an integer, got 1.5"),
    ],
)
def test_bad_input(x, options, error, message):
    with pytest.raises(Exception, match=message) as caught:
        LabelledData(x, **{"codes": Y, "n_classes": L} | options)
    assert caught.type is error
