"""Fast transforms against dense matrices, and sketches that sample them: isometries in full, unbiased over blocks."""

import numpy as np
import pytest
import scipy.linalg

from manifolds import FourierSketch, HadamardSketch
from manifolds.fast_transforms import walsh_hadamard
from tests.arrays import assert_close, kind_of, to_float64

SKETCHES = [HadamardSketch, FourierSketch]
every_transform_sketch = pytest.mark.parametrize("sketch_type", SKETCHES, ids=lambda t: t.__name__)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 128, 1024])
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_walsh_hadamard_is_the_dense_matrix(kind, n, batch):
    matrix = kind(np.random.default_rng(n).standard_normal((*batch, n, 5)))
    before, transformed = to_float64(matrix).copy(), walsh_hadamard(matrix)
    assert kind_of(transformed) == kind
    assert_close(transformed, scipy.linalg.hadamard(n) @ before / np.sqrt(n), 20 * kind.eps)
    assert_close(walsh_hadamard(transformed), before, 40 * kind.eps)
    np.testing.assert_array_equal(to_float64(matrix), before)


@pytest.mark.parametrize("n", [0, 3, 12])
def test_walsh_hadamard_needs_a_power_of_two(n):
    with pytest.raises(ValueError, match=f"matrix must have a power of two of rows, got {n}"):
        walsh_hadamard(np.ones((n, 2)))


@every_transform_sketch
@pytest.mark.parametrize("n", [1, 5, 16])
def test_everything_sampled_is_an_isometry(sketch_type, n, kind):
    rows = kind(np.random.default_rng(0).standard_normal((n, 3)))
    sketched = to_float64(sketch_type(16, 3, block_rows=16).apply(rows))
    assert_close(sketched.T @ sketched, to_float64(rows).T @ to_float64(rows), 30 * kind.eps)


@every_transform_sketch
def test_each_block_is_an_isometry_and_blocks_are_unbiased(sketch_type):
    """Three blocks sampled in full: blocks of S^T S are I on the diagonal, orthogonal matrices of mean zero off it."""
    size, count = 8, 400
    grams = []
    for seed in range(count):
        s = sketch_type(size, seed, block_rows=size).apply(np.eye(3 * size))
        grams.append(s.T @ s)
        for i in range(3):
            for j in range(3):
                block = grams[-1][i * size : (i + 1) * size, j * size : (j + 1) * size]
                np.testing.assert_allclose(block @ block.T, np.eye(size), rtol=0, atol=1e-13)
    # Entries off the diagonal have variance 1 / size.
    assert np.abs(np.mean(grams, axis=0) - np.eye(3 * size)).max() < 5 / np.sqrt(size * count)


@every_transform_sketch
def test_part_of_the_rows_of_a_block_is_sampled_evenly(sketch_type):
    """Six of 16 transformed rows: E[S^T S] = I, with entries of standard deviation at most sqrt(2 / 6)."""
    size, count = 6, 800
    sketches = [sketch_type(size, seed, block_rows=16).apply(np.eye(16)) for seed in range(count)]
    mean = sum(s.T @ s for s in sketches) / count
    assert np.abs(mean - np.eye(16)).max() < 5 * np.sqrt(2 / (size * count))
    for s in sketches[:5]:
        np.testing.assert_allclose(s @ s.T, 16 / size * np.eye(size), rtol=0, atol=1e-13)


@every_transform_sketch
@pytest.mark.parametrize(("size", "block_rows", "length"), [(5, None, 32), (8, None, 32), (5, 8, 8), (1, None, 4)])
def test_length_of_a_block(sketch_type, size, block_rows, length):
    """Rows of different blocks differ in their signs only up to the sign of the result, rows of one block do not."""
    sketch = sketch_type(size, 1, block_rows)
    assert sketch.block_length == length
    s = sketch.apply(np.eye(2 * length))
    np.testing.assert_allclose(np.abs(s[:, :length]), np.abs(s[:, length:]), rtol=0, atol=1e-13)
    assert not np.allclose(s[:, :length], s[:, length:])


def test_fourier_sketch_takes_blocks_of_any_length():
    s = FourierSketch(7, 0, block_rows=21).apply(np.eye(21))
    np.testing.assert_allclose(s @ s.T, 3 * np.eye(7), rtol=0, atol=1e-13)


@every_transform_sketch
def test_neighbouring_rows_are_told_apart(sketch_type):
    """[I; 0] with 2 d rows of the result: the smallest singular value is near 1 - sqrt(1 / 2), not zero.

    The first 64 columns of a large Hadamard matrix have 64 different rows only, and 128 draws miss several of them.
    """
    for seed in range(5):
        smallest = np.linalg.svd(sketch_type(128, seed).apply(np.eye(512, 64)), compute_uv=False)[-1]
        assert smallest == pytest.approx(1 - 0.5**0.5, rel=1 / 3)
