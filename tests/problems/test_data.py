"""Covariance operators of two views against dense matrices of the centred data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manifolds import CountSketch, GaussianSketch
from problems import CovarianceMatrices, Covariances, PairedViews, ViewCovariance
from tests.arrays import Kind, kind_of, to_float64
from tests.problems.views import correlated_views, dense_covariances, standardize

N, DX, DY, P = 300, 6, 5, 3
X, Y = correlated_views(N, DX, DY)
A, B = (np.random.default_rng(1).standard_normal((d, P)) for d in (DX, DY))
# Entries are of order one and 300 rows are summed in float64; float32 data is known to 6e-8 times a mean of about 2.
ATOL = {"float64": 1e-13, "float32": 3e-6}


def check(actual, expected, kind):
    assert kind_of(actual) == kind
    np.testing.assert_allclose(to_float64(actual), expected, atol=ATOL[kind.dtype], rtol=0)


def check_products(data, kind, reg=(0.0, 0.0), *, scale=False):
    sxx, sxy, syy = dense_covariances(X, Y, reg, scale=scale)
    products = data.products(kind(A), kind(B))
    check(products.xx, sxx @ A, kind)
    check(products.xy, sxy @ B, kind)
    check(products.yy, syy @ B, kind)
    check(products.yx, sxy.T @ A, kind)
    check(data.view_product(0, kind(A)), sxx @ A, kind)
    check(data.view_product(1, kind(B)), syy @ B, kind)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("reg", [0.0, 0.5, (0.1, 2.0)], ids=str)
def test_products(reg, scale, kind):
    data = PairedViews(kind(X), kind(Y), reg=reg, scale=scale)
    check_products(data, kind, reg if isinstance(reg, tuple) else (reg, reg), scale=scale)


@pytest.mark.parametrize("block_rows", [1, 7, 128, N, N + 1, 10_000])
def test_block_size_changes_nothing(block_rows, double):
    check_products(PairedViews(double(X), double(Y), block_rows=block_rows), double)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("reg", [0.0, (0.1, 2.0)], ids=str)
def test_covariances(reg, scale, kind):
    data = PairedViews(kind(X), kind(Y), reg=reg, scale=scale)
    expected = dense_covariances(X, Y, reg if reg else (0.0, 0.0), scale=scale)
    for actual, matrix in zip(data.covariances(), expected, strict=True):
        check(actual, matrix, kind)


@pytest.mark.parametrize("scale", [False, True])
def test_moments(scale, kind):
    moments = PairedViews(kind(X), kind(Y), scale=scale).moments
    for (mean, deviation), view in zip(moments, (X, Y), strict=True):
        check(mean, view.mean(axis=0), kind)
        check(deviation, view.std(axis=0) if scale else np.ones(view.shape[1]), kind)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(
    "sketch", [CountSketch(20, seed=3), GaussianSketch(20, seed=3)], ids=lambda s: type(s).__name__
)
def test_sketch_is_that_of_the_centred_views(sketch, scale, kind):
    dense = sketch.apply(np.eye(N))
    data = PairedViews(kind(X), kind(Y), scale=scale)
    for actual, view in zip(data.sketch(sketch), (X, Y), strict=True):
        check(actual, dense @ standardize(view, scale=scale) / N**0.5, kind)


def test_more_rows_than_fit_into_one_block():
    x, y = correlated_views(20_000, 3, 2, correlations=(0.9, 0.5), seed=4)
    data, sketch = PairedViews(x, y), CountSketch(12, seed=5)
    sxx, sxy, syy = dense_covariances(x, y)
    for actual, expected in zip(data.covariances(), (sxx, sxy, syy), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-12)
    a, b = A[:3], B[:2]
    np.testing.assert_allclose(data.products(a, b).xy, sxy @ b, atol=1e-12)
    in_one = sketch.apply(standardize(x)) / 20_000**0.5
    np.testing.assert_allclose(data.sketch(sketch)[0], in_one, atol=1e-12)


# Products lose digits in proportion to the mean over the deviation, here up to 300: 3e2 * 1.2e-7 and a few roundings.
@pytest.mark.parametrize(("dtype", "offset", "tolerance"), [("float64", 1e6, 1e-8), ("float32", 1e2, 3e-4)])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_large_means_do_not_destroy_the_covariances(library, dtype, offset, tolerance):
    kind = Kind(library, dtype)
    x, y = kind(X + offset), kind(Y - 3 * offset)
    # What the operator should see is the data as it was rounded to the dtype.
    sxx, sxy, syy = dense_covariances(to_float64(x), to_float64(y))
    data = PairedViews(x, y)
    products = data.products(kind(A), kind(B))
    for actual, expected in (
        (products.xx, sxx @ A),
        (products.xy, sxy @ B),
        (products.yy, syy @ B),
        (products.yx, sxy.T @ A),
        *zip(data.covariances(), (sxx, sxy, syy), strict=True),
    ):
        np.testing.assert_allclose(to_float64(actual), expected, atol=tolerance * np.abs(expected).max())
    sketch = CountSketch(16, seed=2)
    expected = sketch.apply(standardize(to_float64(x))) / N**0.5
    np.testing.assert_allclose(to_float64(data.sketch(sketch)[0]), expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3, -7e-5])
def test_constant_columns_are_centred_to_zero_and_not_scaled(value, kind):
    x = X.copy()
    x[:, 2] = value
    data = PairedViews(kind(x), kind(Y), scale=True)
    mean, deviation = data.moments[0]
    assert float(deviation[2]) == 1.0
    assert float(mean[2]) == pytest.approx(value, rel=10 * kind.eps)
    covariance = to_float64(data.covariances().xx)
    np.testing.assert_allclose(covariance[2], 0.0, atol=1e-5 if kind.dtype == "float32" else 1e-9)
    np.testing.assert_allclose(np.delete(np.diag(covariance), 2), 1.0, atol=1e-5)


def test_views_are_read_and_never_changed():
    x, y = X.copy(), Y.copy()
    for view in (x, y):
        view.setflags(write=False)
    data = PairedViews(x, y, scale=True)
    data.sketch(CountSketch(12))
    data.covariances()
    data.products(A, B)
    data.view_product(0, A)

    x, y = torch.asarray(X), torch.asarray(Y)
    before = x.clone(), y.clone()
    data = PairedViews(x, y, scale=True)
    data.sketch(CountSketch(12))
    data.covariances()
    data.products(torch.asarray(A), torch.asarray(B))
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_layout_of_the_arrays_does_not_matter():
    data = PairedViews(np.asfortranarray(X), np.repeat(Y, 2, axis=1)[:, ::2])
    check_products(data, Kind("numpy", "float64"))


def test_covariance_matrices_have_the_same_face(kind):
    expected = dense_covariances(X, Y, (0.1, 0.2))
    data = CovarianceMatrices(Covariances(*map(kind, expected)))
    assert data.n_features == (DX, DY)
    assert kind_of(data.like) == kind
    check_products(data, kind, (0.1, 0.2))
    assert data.n_passes == 3


@pytest.mark.parametrize("view", [0, 1])
def test_covariance_of_one_view_as_a_matrix(view, kind):
    data = PairedViews(kind(X), kind(Y))
    covariance, a = ViewCovariance(data, view), (A, B)[view]
    assert covariance.shape == (a.shape[0],) * 2
    assert kind_of(covariance.like) == kind
    assert covariance.dtype == kind(0.0).dtype
    check(covariance @ kind(a), dense_covariances(X, Y)[2 * view] @ a, kind)


VIEWS = {"x": X, "y": Y}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": X.tolist()}, TypeError, r"X must be a numpy array, a torch tensor or a scipy sparse matrix, got list"),
        ({"y": None}, TypeError, r"y must be a numpy array, a torch tensor or a scipy sparse matrix, got NoneType"),
        ({"x": X[0]}, ValueError, r"X must be a matrix.*got shape \(6,\)"),
        ({"y": Y[:, 0]}, ValueError, r"y must be a matrix.*got shape \(300,\)"),
        ({"x": X[None]}, ValueError, r"X must be a matrix"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, r"X must be a matrix.*not empty, got shape \(0, 6\)"),
        ({"y": Y[:, :0]}, ValueError, r"y must be a matrix.*not empty"),
        ({"x": X.astype(int)}, TypeError, r"X must have a real floating dtype, got int64"),
        ({"y": Y + 0j}, TypeError, r"y must have a real floating dtype, got complex128"),
        ({"y": Y.astype(np.float32)}, TypeError, r"y and X must agree in library, dtype and device"),
        ({"y": torch.asarray(Y)}, TypeError, r"y and X must agree in library, dtype and device"),
        ({"y": Y[:-1]}, ValueError, r"X and y must have the same number of rows, got 300 and 299"),
        ({"reg": -1.0}, ValueError, r"reg must be a non-negative number or a pair of them, got -1.0"),
        ({"reg": (0.0, -1e-9)}, ValueError, r"reg must be a non-negative number or a pair"),
        ({"reg": (1.0, 2.0, 3.0)}, ValueError, r"reg must be .* got \(1.0, 2.0, 3.0\)"),
        ({"reg": np.nan}, ValueError, r"reg must be .* got nan"),
        ({"reg": np.inf}, ValueError, r"reg must be .* got inf"),
        ({"reg": "small"}, ValueError, r"reg must be .* got 'small'"),
        ({"reg": None}, ValueError, r"reg must be .* got None"),
        ({"block_rows": 0}, ValueError, r"block_rows must be at least 1, got 0"),
        ({"block_rows": -5}, ValueError, r"block_rows must be at least 1, got -5"),
    ],
)
def test_errors(changes, error, message):
    arguments = VIEWS | changes
    with pytest.raises(error, match=message) as caught:
        PairedViews(arguments.pop("x"), arguments.pop("y"), **arguments)
    assert caught.type is error


def test_numbers_of_numpy_are_ridges():
    assert PairedViews(X, Y, reg=np.float32(0.5)).reg == (0.5, 0.5)
    assert PairedViews(X, Y, reg=(np.int64(1), np.float64(2.0))).reg == (1.0, 2.0)
    assert PairedViews(X, Y, reg=[1, 2]).reg == (1.0, 2.0)


@pytest.mark.parametrize("first", ["moments", "sketch", "covariances", "products", "view_product"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 5, N - 1])
@pytest.mark.parametrize("name", ["X", "y"])
def test_nan_and_infinity_are_found_in_the_first_pass_and_named(name, row, bad, first, double):
    views = {"X": X.copy(), "y": Y.copy()}
    views[name][row, 1] = bad
    data = PairedViews(*map(double, views.values()))
    calls = {
        "moments": lambda: data.moments,
        "sketch": lambda: data.sketch(CountSketch(8)),
        "covariances": data.covariances,
        "products": lambda: data.products(double(A), double(B)),
        "view_product": lambda: data.view_product(0, double(A)),
    }
    with pytest.raises(ValueError, match=f"{name} contains NaN or infinity"):
        calls[first]()
