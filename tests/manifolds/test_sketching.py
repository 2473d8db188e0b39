"""Random sketches: unbiased, independent of how the rows are cut into blocks, equal in every library."""

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from manifolds import (
    CountSketch,
    FourierSketch,
    GaussianSketch,
    HadamardSketch,
    SketchedGramPreconditioner,
    SparseSignSketch,
)
from manifolds.sketching import random_words
from tests.arrays import DOUBLE, Kind, assert_close, kind_of, spd, to_float64

KINDS_OF_SKETCH = [CountSketch, SparseSignSketch, GaussianSketch, HadamardSketch, FourierSketch]
every_sketch = pytest.mark.parametrize("sketch_type", KINDS_OF_SKETCH, ids=lambda t: t.__name__)


def matrix_of(sketch, n):
    """S itself, as the sketch of the identity."""
    return sketch.apply(np.eye(n))


def in_blocks(sketch, rows, cuts):
    """Sketch of rows that arrive in blocks between the cuts."""
    out = None
    for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        out = sketch.apply(rows[first:last], first_row=first, out=out)
    return out


@every_sketch
def test_unbiased(sketch_type):
    """The mean of S^T S over K seeds is I to 5 standard errors, sqrt(2 / (size K)) on the diagonal of the Gaussian."""
    n, size, count = 12, 8, 400
    mean = sum(matrix_of(sketch_type(size, seed), n).T @ matrix_of(sketch_type(size, seed), n) for seed in range(count))
    error = np.abs(mean / count - np.eye(n))
    assert error.max() < 5 * np.sqrt(2 / (size * count))
    if sketch_type in (CountSketch, SparseSignSketch, HadamardSketch):  # every column of S is a unit vector
        assert np.diagonal(error).max() < 1e-12


def test_count_sketch_has_one_sign_per_column_in_a_uniform_row():
    """A chi-squared test of 20,000 rows over 16 buckets, and of the signs, at the level 1e-3 (the seed is fixed)."""
    n, size = 20_000, 16
    sketch = CountSketch(size, seed=1)
    s = np.hstack([sketch.apply(np.eye(500), first_row=first) for first in range(0, n, 500)])
    assert set(np.unique(s)) == {-1.0, 0.0, 1.0}
    np.testing.assert_array_equal(np.abs(s).sum(axis=0), 1)
    targets, signs = np.abs(s).argmax(axis=0), s.sum(axis=0)
    assert scipy.stats.chisquare(np.bincount(targets, minlength=size)).pvalue > 1e-3
    assert scipy.stats.binomtest(int((signs > 0).sum()), n).pvalue > 1e-3
    assert scipy.stats.chi2_contingency(np.stack([np.bincount(targets[signs == t]) for t in (-1, 1)])).pvalue > 1e-3
    pairs = np.bincount(size * targets[:-1] + targets[1:], minlength=size**2)
    assert scipy.stats.chisquare(pairs).pvalue > 1e-3


def test_sparse_sign_sketch_has_uniform_sets_of_rows_in_its_columns():
    """Chi-squared tests of 20,000 columns at the level 1e-3 (the seed is fixed): 20 sets of 3 of 6 rows, all signs."""
    n, size, zeta = 20_000, 6, 3
    sketch = SparseSignSketch(size, seed=1, nonzeros=zeta)
    s = np.hstack([sketch.apply(np.eye(500), first_row=first) for first in range(0, n, 500)]) * np.sqrt(zeta)
    np.testing.assert_allclose(np.abs(s), np.abs(s) > 0, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(np.count_nonzero(s, axis=0), zeta)
    sets = np.bincount(2 ** np.arange(size) @ (s != 0), minlength=2**size)
    assert np.count_nonzero(sets) == 20
    assert scipy.stats.chisquare(sets[sets > 0]).pvalue > 1e-3
    signs = s.T[s.T != 0].reshape(n, zeta) > 0  # in the order of rows
    assert scipy.stats.chisquare(np.bincount(signs @ [1, 2, 4], minlength=8)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("size", "nonzeros", "expected"), [(3, None, 3), (20, None, 8), (20, 5, 5), (5, 5, 5), (9, 1, 1)]
)
def test_nonzeros_of_a_column(size, nonzeros, expected):
    s = matrix_of(SparseSignSketch(size, 0, nonzeros), 30)
    np.testing.assert_array_equal(np.count_nonzero(s, axis=0), expected)


@pytest.mark.parametrize("sketch", [CountSketch(7, 3), SparseSignSketch(7, 3, 4), GaussianSketch(7, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["csr_matrix", "csc_array", "coo_array"])
def test_scipy_sparse_rows(sketch, dtype, layout):
    rows = scipy.sparse.random_array((40, 5), density=0.2, rng=np.random.default_rng(0)).astype(dtype)
    out = sketch.apply(getattr(scipy.sparse, layout)(rows), first_row=2)
    assert kind_of(out) == Kind("numpy", dtype)
    assert_close(out, sketch.apply(rows.toarray(), first_row=2), 10 * np.finfo(dtype).eps)


def test_gaussian_sketch_has_independent_normal_entries():
    """Kolmogorov-Smirnov at the level 1e-3 (the seed is fixed), and no correlation between rows or columns."""
    n, size = 2000, 10
    s = matrix_of(GaussianSketch(size, seed=1), n) * np.sqrt(size)
    assert scipy.stats.kstest(s.ravel(), "norm").pvalue > 1e-3
    correlations = np.corrcoef(s) - np.eye(size)
    assert np.abs(correlations).max() < 5 / np.sqrt(n)
    assert abs(np.corrcoef(s[:, :-1].ravel(), s[:, 1:].ravel())[0, 1]) < 5 / np.sqrt(s.size)


@every_sketch
def test_a_seed_decides_the_sketch(sketch_type):
    s = matrix_of(sketch_type(8, 3), 30)
    np.testing.assert_array_equal(matrix_of(sketch_type(8, 3), 30), s)
    assert not np.allclose(matrix_of(sketch_type(8, 4), 30), s)
    assert sketch_type(8, 3) == sketch_type(8, 3) != sketch_type(8, 4)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    n=st.integers(1, 40),
    size=st.integers(1, 7),
    seed=st.integers(0, 2**64),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    sketch_type=st.sampled_from(KINDS_OF_SKETCH),
)
def test_independent_of_the_blocks(n, size, seed, cuts, sketch_type):
    """Exactly for S itself and for CountSketch of integers; to the rounding of a sum else."""
    sketch, cuts = sketch_type(size, seed), sorted(min(cut, n) for cut in cuts)
    np.testing.assert_array_equal(in_blocks(sketch, np.eye(n), cuts), matrix_of(sketch, n))
    rows = np.random.default_rng(0).integers(-9, 9, (n, 3)).astype(float)
    whole, cut = sketch.apply(rows), in_blocks(sketch, rows, cuts)
    if sketch_type is CountSketch:
        np.testing.assert_array_equal(cut, whole)
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-12)


@every_sketch
def test_the_random_row_hangs_on_its_index_only(sketch_type):
    """Rows 1000 to 1010 are treated alike, whether they come alone, first, or after others."""
    sketch, rows = sketch_type(8, 2), np.zeros((1010, 10))
    rows[1000:] = np.eye(10)
    np.testing.assert_array_equal(sketch.apply(np.eye(10), first_row=1000), sketch.apply(rows))
    assert not np.allclose(sketch.apply(np.eye(10)), sketch.apply(rows))


@every_sketch
def test_columns_share_one_sketch(sketch_type):
    """Two views with the same rows: the sketch of [X Y] is that of X beside that of Y."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)), rng.standard_normal((50, 4))
    sketch = sketch_type(12, 0)
    together = sketch.apply(np.hstack([x, y]))
    np.testing.assert_allclose(together, np.hstack([sketch.apply(x), sketch.apply(y)]), rtol=0, atol=1e-13)
    assert_close(sketch.apply(x), matrix_of(sketch, 50) @ x, 1e-13)


@every_sketch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_equals_torch(sketch_type, dtype):
    rows = np.random.default_rng(0).standard_normal((60, 4))
    sketch, results = sketch_type(9, 5), []
    for library in ("numpy", "torch"):
        kind = Kind(library, dtype)
        results.append(sketch.apply(kind(rows[20:]), first_row=20, out=sketch.apply(kind(rows[:20]))))
        assert kind_of(results[-1]) == kind
    assert_close(results[1], results[0], 100 * kind.eps)
    assert_close(results[0], sketch.apply(rows), 100 * kind.eps)


@every_sketch
def test_running_result_is_changed_in_place_and_rows_are_not(sketch_type, kind):
    rows = kind(np.random.default_rng(0).standard_normal((6, 2)))
    before, out = to_float64(rows).copy(), kind(np.ones((4, 2)))
    result = sketch_type(4, 0).apply(rows, out=out)
    assert result is out
    assert_close(out, to_float64(sketch_type(4, 0).apply(rows)) + 1, 10 * kind.eps)
    np.testing.assert_array_equal(to_float64(rows), before)


@every_sketch
def test_no_rows_add_nothing(sketch_type, kind):
    assert to_float64(sketch_type(3, 0).apply(kind(np.empty((0, 2))))).tolist() == [[0.0, 0.0]] * 3


@every_sketch
@pytest.mark.parametrize("seed", range(5))
def test_condition_after_sketching_four_rows_per_column(sketch_type, seed):
    """cond(M^{-1} B) near ((1 + 1/2) / (1 - 1/2))^2 = 9 (Marchenko-Pastur), for B of condition 1e8."""
    n, d = 3000, 25
    a = np.random.default_rng(seed).standard_normal((n, d)) @ spd(d, 1e4, seed)
    m = SketchedGramPreconditioner(sketch_type(4 * d, seed).apply(a))
    whitened = a @ np.linalg.inv(m.factor)
    assert 3 < np.linalg.cond(whitened) ** 2 < 20


@every_sketch
def test_more_rows_embed_better(sketch_type):
    """Sketches of 4 d, 16 d and 64 d rows come to the Marchenko-Pastur condition within a third."""
    n, d = 4000, 12
    a = np.linalg.qr(np.random.default_rng(0).standard_normal((n, d)))[0]
    for factor in (4, 16, 64):
        conditions = [np.linalg.cond(sketch_type(factor * d, seed).apply(a)) for seed in range(8)]
        expected = (1 + factor**-0.5) / (1 - factor**-0.5)
        assert np.median(conditions) == pytest.approx(expected, rel=1 / 3)


def basis_of(kind_of_data, n, d):
    """Orthonormal basis of the columns of incoherent data, or of data whose columns live in d rows and little else."""
    rows = np.random.default_rng(0).standard_normal((n, d))
    if kind_of_data == "spiked":
        rows *= 1e-3
        rows[:d] += np.eye(d)
    elif kind_of_data == "in-d-rows":
        rows = np.eye(n, d)
    return np.linalg.qr(rows)[0]


def distortion(sketch, basis):
    """Largest relative error of a squared norm in the subspace."""
    singular_values = np.linalg.svd(sketch.apply(basis), compute_uv=False)
    return np.abs(singular_values**2 - 1).max()


@pytest.mark.parametrize("sketch_type", [SparseSignSketch, GaussianSketch, HadamardSketch, FourierSketch])
@pytest.mark.parametrize("data", ["incoherent", "spiked", "in-d-rows"])
@pytest.mark.parametrize("factor", [4, 16])
def test_distortion_is_that_of_a_gaussian_embedding(sketch_type, data, factor):
    """(1 + sqrt(d / s))^2 - 1, to a third, in the median of nine seeds, whatever the rows weigh."""
    n, d = 3000, 32
    basis = basis_of(data, n, d)
    distortions = [distortion(sketch_type(factor * d, seed), basis) for seed in range(9)]
    gamma = 1 / factor
    assert np.median(distortions) == pytest.approx((1 + gamma**0.5) ** 2 - 1, rel=1 / 3)


def test_count_sketch_throws_heavy_rows_together():
    """Why the others exist: of 32 heavy rows in 128 buckets some pair meets, and its difference is lost."""
    distortions = [distortion(CountSketch(128, seed), basis_of("in-d-rows", 3000, 32)) for seed in range(9)]
    assert np.median(distortions) == pytest.approx(1, abs=1e-12)


def test_streams_of_a_seed_are_different():
    words = [random_words(7, 0, 100, stream) for stream in range(4)]
    assert len(np.unique(np.concatenate(words))) == 400


@pytest.mark.parametrize(("first", "count"), [(0, 1), (1, 5), (3, 9), (7, 0), (10**6 + 2, 6), (2**40 + 1, 3)])
def test_words_are_one_endless_sequence(first, count):
    """Philox is counter-based: any slice is reached without what comes before, and equals numpy's own stream."""
    words = random_words(5, first, count)
    assert len(words) == count
    np.testing.assert_array_equal(random_words(5, first - first % 4, count + first % 4)[first % 4 :], words)
    if first < 1000:
        np.testing.assert_array_equal(np.random.Philox(key=5).random_raw(first + count)[first:], words)


def test_rows_far_down_a_stream():
    rows = np.eye(3)
    for sketch_type in KINDS_OF_SKETCH:
        far = sketch_type(5, 0).apply(rows, first_row=2**50)
        assert np.isfinite(far).all()
        assert not np.allclose(far, sketch_type(5, 0).apply(rows))
        assert kind_of(far) == DOUBLE
