"""Passes over the data, counted from outside by the rows that are read."""

from __future__ import annotations

import numpy as np
import pytest

from manifolds import CountSketch
from problems import PairedViews
from tests.problems.views import LoggedRows, correlated_views

A, B = (np.random.default_rng(1).standard_normal((d, 2)) for d in (6, 5))


def logged_views(n, **options):
    x, y = map(LoggedRows.of, correlated_views(n))
    return x, y, PairedViews(x, y, **options)


def check_reads(n, views, *calls):
    """Assert that a call reads every row of some views as often as it counts passes, and no row of the others."""
    x, y, data = views
    for call, counted, read_x, read_y in calls:
        before = data.n_passes
        call(data)
        assert data.n_passes - before == counted
        for view, times in ((x, read_x), (y, read_y)):
            np.testing.assert_array_equal(np.bincount(np.array(view.take_reads(), dtype=int), minlength=n), times)


@pytest.mark.parametrize("n", [20, 300, 20_000])
@pytest.mark.parametrize("block_rows", [None, 16])
def test_every_pass_reads_every_row_of_both_views_once(block_rows, n):
    check_reads(
        n,
        logged_views(n, block_rows=block_rows, scale=True),
        (lambda data: data.moments, 1, 1, 1),
        (lambda data: data.moments, 0, 0, 0),
        (lambda data: data.products(A, B), 1, 1, 1),
        (lambda data: data.sketch(CountSketch(12)), 1, 1, 1),
        (lambda data: data.covariances(), 1, 1, 1),
    )


def test_read_of_one_view_counts_as_a_pass():
    views = logged_views(300)
    check_reads(
        300,
        views,
        (lambda data: data.moments, 1, 1, 1),
        (lambda data: data.view_product(0, A), 1, 1, 0),
        (lambda data: data.view_product(1, B), 1, 0, 1),
    )


@pytest.mark.parametrize(
    "first",
    [lambda data: data.sketch(CountSketch(12)), lambda data: data.covariances(), lambda data: data.diagonals()],
)
def test_means_come_from_the_first_pass_whatever_it_is(first):
    check_reads(
        300,
        logged_views(300),
        (first, 1, 1, 1),
        (lambda data: data.moments, 0, 0, 0),
        (lambda data: data.products(A, B), 1, 1, 1),
    )


def test_products_without_means_cost_a_pass_more():
    check_reads(300, logged_views(300), (lambda data: data.products(A, B), 2, 2, 2))


def test_nothing_is_read_when_the_views_are_paired():
    x, y, data = logged_views(300)
    assert (x.take_reads(), y.take_reads(), data.n_passes) == ([], [], 0)
    assert data.like.shape == (0, 6)
    assert data.n_passes == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda data: data.moments,
        lambda data: data.products(A, B),
        lambda data: data.view_product(0, A),
        lambda data: data.sketch(CountSketch(12)),
        lambda data: data.covariances(),
        lambda data: data.diagonals(),
    ],
    ids=["moments", "products", "view_product", "sketch", "covariances", "diagonals"],
)
def test_blocks_hold_at_most_block_rows(call):
    sizes = []

    class Watched(LoggedRows):
        def __getitem__(self, key):
            block = super().__getitem__(key)
            if self.reads is not None:
                sizes.append(block.shape[0])
            return block

    x, y = map(Watched.of, correlated_views(300))
    call(PairedViews(x, y, block_rows=32))
    assert max(sizes) == 32
