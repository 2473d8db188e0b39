"""Operators of several views: against the covariance of stacked columns, with passes counted from outside."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from manifolds import CountSketch
from problems import MultiviewCovariances, MultiviewData
from tests.arrays import Kind, kind_of, to_float64
from tests.problems.several_views import dense_pencil, places, several_views
from tests.problems.views import LoggedRows

SIZES = (6, 5, 4)
VIEWS = several_views(200, SIZES)
REG = (0.1, 0.0, 0.3)
RNG = np.random.default_rng(1)
DIRECTIONS = [RNG.standard_normal((d, 2)) for d in SIZES]
WEIGHTS = RNG.integers(0, 4, 200).astype(float)


def stacked_products(s):
    """Blocks S_ij a_j, view by view."""
    return [
        np.hstack([s[at, other] @ a for other, a in zip(places(SIZES), DIRECTIONS, strict=True)])
        for at in places(SIZES)
    ]


def check(data, s, kind, atol):
    directions = [kind(a) for a in DIRECTIONS]
    matrix = data.covariances().matrix
    np.testing.assert_allclose(to_float64(matrix), s, atol=atol)
    expected = stacked_products(s)
    own = [s[at, at] @ a for at, a in zip(places(SIZES), DIRECTIONS, strict=True)]
    sums = [s[at] @ np.vstack(DIRECTIONS) for at in places(SIZES)]
    for actual, wanted in (
        (data.products(directions), expected),
        (data.own_products(directions), own),
        (data.pencil_products(directions)[0], sums),
        (data.pencil_products(directions)[1], own),
        (data.own_covariances(), [s[at, at] for at in places(SIZES)]),
    ):
        assert {kind_of(part) for part in actual} == {kind}
        for part, value in zip(actual, wanted, strict=True):
            np.testing.assert_allclose(to_float64(part), value, atol=atol)
    for i, at in enumerate(places(SIZES)):
        np.testing.assert_allclose(
            to_float64(data.view_product(i, directions[i])), s[at, at] @ DIRECTIONS[i], atol=atol
        )


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("block_rows", [None, 17])
def test_products(kind, scale, block_rows):
    s, _ = dense_pencil(VIEWS, REG, scale=scale)
    data = MultiviewData([kind(view) for view in VIEWS], reg=REG, scale=scale, block_rows=block_rows)
    check(data, s, kind, 3e3 * kind.eps)


def test_sparse_views():
    rng = np.random.default_rng(2)
    views = [np.where(rng.random(view.shape) < 0.7, 0.0, view) for view in VIEWS]
    s, _ = dense_pencil(views, REG)
    formats = (scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.csr_matrix)
    sparse = [make(view) for make, view in zip(formats, views, strict=True)]
    check(MultiviewData(sparse, reg=REG), s, Kind("numpy", "float64"), 1e-12)


def test_weights_are_repetitions(double):
    repeated = [np.repeat(view, WEIGHTS.astype(int), axis=0) for view in VIEWS]
    s, _ = dense_pencil(repeated, REG, scale=True)
    data = MultiviewData([double(view) for view in VIEWS], reg=REG, scale=True, sample_weight=WEIGHTS)
    check(data, s, double, 1e-12)


def test_sketch_of_all_views_is_the_same():
    data = MultiviewData([VIEWS[0], VIEWS[0] @ np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])
    first, second = data.sketch(CountSketch(50, seed=3))
    np.testing.assert_allclose(second, first * np.arange(1.0, 7.0), atol=1e-12)


def test_dense_covariances_have_the_same_face(double):
    s, _ = dense_pencil(VIEWS, REG)
    dense, directions = MultiviewCovariances(double(s), SIZES), [double(a) for a in DIRECTIONS]
    for part, value in zip(dense.products(directions), stacked_products(s), strict=True):
        np.testing.assert_allclose(to_float64(part), value, atol=1e-13)
    np.testing.assert_allclose(
        to_float64(dense.view_product(1, directions[1])), s[6:11, 6:11] @ DIRECTIONS[1], atol=1e-13
    )
    np.testing.assert_array_equal(to_float64(dense.block(2, 0)), s[11:, :6])
    assert (dense.n_passes, dense.n_features, kind_of(dense.like)) == (2, SIZES, double)


def test_every_pass_reads_every_row_of_all_views_once():
    views = [LoggedRows.of(view) for view in VIEWS]
    data = MultiviewData(views, reg=REG, block_rows=16, scale=True)
    for call, times in (
        (lambda: data.moments, [1, 1, 1]),
        (lambda: data.moments, [0, 0, 0]),
        (data.covariances, [1, 1, 1]),
        (data.own_covariances, [1, 1, 1]),
        (lambda: data.products(DIRECTIONS), [1, 1, 1]),
        (lambda: data.own_products(DIRECTIONS), [1, 1, 1]),
        (lambda: data.pencil_products(DIRECTIONS), [1, 1, 1]),
        (lambda: data.sketch(CountSketch(12)), [1, 1, 1]),
        (lambda: data.view_product(1, DIRECTIONS[1]), [0, 1, 0]),
    ):
        before = data.n_passes
        call()
        assert data.n_passes - before == max(times)
        for view, count in zip(views, times, strict=True):
            np.testing.assert_array_equal(np.bincount(np.array(view.take_reads(), dtype=int), minlength=200), count)


def test_a_nearly_constant_column_has_no_covariance():
    views = [np.hstack([VIEWS[0], np.full((200, 1), 0.1)]), VIEWS[1]]
    matrix = MultiviewData(views, scale=True).covariances().matrix
    np.testing.assert_array_equal(matrix[6], 0.0)


@pytest.mark.parametrize(
    ("views", "options", "error", "message"),
    [
        (VIEWS[0], {}, TypeError, r"views must be a list of data matrices, got ndarray"),
        (VIEWS[:1], {}, ValueError, r"views must hold at least two data matrices, got 1"),
        (
            [VIEWS[0], VIEWS[1][:-1]],
            {},
            ValueError,
            r"views\[0\] and views\[1\] must have the same number of rows, got 200 and 199",
        ),
        ([VIEWS[0], VIEWS[1][:, 0]], {}, ValueError, r"views\[1\] must be a matrix .* got shape \(200,\)"),
        ([VIEWS[0], "text"], {}, TypeError, r"views\[1\] must be a numpy array, .* got str"),
        ([VIEWS[0], VIEWS[1].astype(np.float32)], {}, TypeError, r"views\[1\] and views\[0\] must agree"),
        ([VIEWS[0], torch.asarray(VIEWS[1])], {}, TypeError, r"views\[1\] and views\[0\] must agree"),
        ([VIEWS[0].astype(int), VIEWS[1]], {}, TypeError, r"views\[0\] must have a real floating dtype"),
        (VIEWS, {"reg": (1.0, 2.0)}, ValueError, r"reg must be .*for each of 3 views, got \(1.0, 2.0\)"),
        (VIEWS, {"reg": -1.0}, ValueError, r"reg must be a non-negative number .*got -1.0"),
        (VIEWS, {"reg": [0.0, np.nan, 0.0]}, ValueError, r"reg must be a non-negative number"),
        (VIEWS, {"reg": None}, ValueError, r"reg must be .*got None"),
        (VIEWS, {"sample_weight": np.ones(3)}, ValueError, r"sample_weight must have shape \(200,\)"),
        (VIEWS, {"block_rows": 0}, ValueError, r"block_rows must be at least 1, got 0"),
    ],
)
def test_bad_input(views, options, error, message):
    with pytest.raises(error, match=message) as caught:
        MultiviewData(views, **options)
    assert caught.type is error


def test_a_ridge_may_be_an_array():
    assert MultiviewData(VIEWS, reg=np.array(REG)).reg == REG
