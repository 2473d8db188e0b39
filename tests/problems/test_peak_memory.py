"""Memory that a fit takes beyond the data: a tenth of their size, and eight matrices of d x d numbers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from problems import CCA, LDA

D = 300


def peak_bytes(fit):
    """Bytes that numpy allocates at most, in the second of two runs: imports come with the first."""
    fit()
    tracemalloc.start()
    try:
        fit()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def rows(n, seed, dtype, offset):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, D)) + offset * rng.standard_normal(D)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [2 * D, 20 * D])
@pytest.mark.parametrize("offset", [0.0, 10.0])
@pytest.mark.parametrize("options", [{}, {"solver": "direct", "reg": 0.1}, {"scale": True}], ids=str)
def test_peak_memory_of_cca(options, offset, n, dtype):
    x, y = rows(n, 0, dtype, offset), rows(n, 1, dtype, offset)
    peak = peak_bytes(lambda: CCA(5, **options).fit(x, y))
    assert peak <= 0.1 * (x.nbytes + y.nbytes) + 8 * 8 * D**2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [2 * D, 20 * D])
@pytest.mark.parametrize("options", [{}, {"reg": 0.1}, {"shrinkage": 0.1}, {"shrinkage": "auto"}], ids=str)
def test_peak_memory_of_lda(options, n, dtype):
    x, y = rows(n, 0, dtype, 10.0), np.arange(n) % 5
    assert peak_bytes(lambda: LDA(**options).fit(x, y)) <= 0.1 * x.nbytes + 8 * 8 * D**2
