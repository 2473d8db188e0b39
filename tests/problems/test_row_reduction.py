"""Sums over rows on several threads."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from problems import PairedViews
from problems.row_reduction import RowReduction


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
@pytest.mark.parametrize("n_rows", [1, 10, 101])
def test_every_row_is_summed_once(n_rows, n_threads):
    rows = RowReduction(n_rows, 1, parallel=True)
    rows.n_threads = n_threads
    values = np.random.default_rng(0).integers(1000, size=(n_rows, 3))
    total, count = rows.sum(lambda first, stop: (values[first:stop].sum(axis=0), stop - first))
    np.testing.assert_array_equal(total, values.sum(axis=0))
    assert count == n_rows


def test_each_thread_has_its_stretch_and_a_single_threaded_blas():
    rows = RowReduction(1000, 10, parallel=True)
    rows.n_threads = 2
    both = threading.Barrier(2, timeout=60)  # passed only if two threads are at work at once
    seen = []

    def part(first, stop):
        both.wait()
        seen.append((first, stop, max(info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas")))
        return (stop - first,)

    assert rows.sum(part) == (1000,)
    assert sorted(seen) == [(0, 500, 1), (500, 1000, 1)]


def test_a_limited_blas_limits_the_threads():
    with threadpool_limits(1, user_api="blas"):
        assert RowReduction(10_000, 1, parallel=True).n_threads == 1


def test_few_rows_and_torch_take_one_thread():
    assert RowReduction(7, 1, parallel=True).n_threads == 1
    assert RowReduction(10_000, 1, parallel=False).n_threads == 1


def test_products_do_not_depend_on_the_threads():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 6)) + 10, rng.standard_normal((500, 4)) - 3
    a, b = rng.standard_normal((6, 2)), rng.standard_normal((4, 2))
    one, three = PairedViews(x, y, block_rows=8), PairedViews(x, y, block_rows=8)
    for data, count in ((one, 1), (three, 3)):
        for rows in (data.rows, *(view.rows for view in data.views)):
            rows.reduction.n_threads = count
    for left, right in zip(one.products(a, b), three.products(a, b), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one.view_product(1, b), three.view_product(1, b), rtol=1e-12, atol=1e-12)
    assert one.n_passes == three.n_passes


def test_an_error_in_a_thread_is_raised():
    rows = RowReduction(100, 1, parallel=True)
    rows.n_threads = 2

    def part(first, stop):
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        rows.sum(part)
