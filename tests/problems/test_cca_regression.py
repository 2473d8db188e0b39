"""What CCA offers besides directions: prediction, loadings, inverse transform, weights, batches, sparse data."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn import cross_decomposition
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score

from problems import CCA
from tests.arrays import Kind, kind_of, to_float64
from tests.problems.views import correlated_views, correlations_of

N, DX, DY, P = 300, 6, 5, 3
X, Y = correlated_views(N, DX, DY)
SOLVERS = ["direct", "cholesky-qr", "lobpcg", "riemannian", "trust-region", "block-pcg"]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [False, True])
def test_with_all_components_prediction_is_linear_regression(scale, solver):
    cca = CCA(DY, solver=solver, scale=scale, tol=1e-10, random_state=0).fit(X, Y)
    expected = LinearRegression().fit(X, Y)
    np.testing.assert_allclose(cca.coef_, expected.coef_, atol=1e-8)
    np.testing.assert_allclose(cca.predict(X), expected.predict(X), atol=1e-8)
    assert cca.score(X, Y) == pytest.approx(expected.score(X, Y), abs=1e-10)


def test_with_all_components_and_a_ridge_on_the_first_view_prediction_is_ridge_regression():
    cca = CCA(DY, reg=(0.3, 0.0)).fit(X, Y)
    expected = Ridge(alpha=0.3 * N).fit(X, Y)
    np.testing.assert_allclose(cca.coef_, expected.coef_, atol=1e-10)
    np.testing.assert_allclose(cca.intercept_, Y.mean(axis=0), atol=1e-12)


def test_with_fewer_components_prediction_is_least_squares_on_the_scores():
    cca = CCA(2).fit(X, Y)
    scores = cca.transform(X)
    np.testing.assert_allclose(cca.predict(X), LinearRegression().fit(scores, Y).predict(scores), atol=1e-10)
    assert cca.score(X, Y) == pytest.approx(r2_score(Y, LinearRegression().fit(scores, Y).predict(scores)))
    theirs = cross_decomposition.CCA(2, max_iter=10_000, tol=1e-12).fit(X, Y)
    assert cca.score(X, Y) >= theirs.score(X, Y) - 1e-8


@pytest.mark.parametrize("reg", [0.0, 0.2])
@pytest.mark.parametrize("scale", [False, True])
def test_loadings_and_inverse_transform_are_regressions_on_the_scores(scale, reg):
    cca = CCA(2, scale=scale, reg=reg).fit(X, Y)
    scores = cca.transform(X, Y)
    restored = cca.inverse_transform(*scores)
    for view, s, loadings, back in zip((X, Y), scores, (cca.x_loadings_, cca.y_loadings_), restored, strict=True):
        regression = LinearRegression().fit(s, view)
        deviation = view.std(axis=0) if scale else 1.0
        np.testing.assert_allclose(loadings, (regression.coef_.T / deviation).T, atol=1e-10)
        np.testing.assert_allclose(back, regression.predict(s), atol=1e-10)
    np.testing.assert_array_equal(cca.inverse_transform(scores[0]), restored[0])


def test_inverse_transform_restores_a_view_that_has_as_many_components_as_columns():
    cca = CCA(DY).fit(X, Y)
    np.testing.assert_allclose(cca.inverse_transform(*cca.transform(X, Y))[1], Y, atol=1e-10)


@pytest.mark.parametrize("flat", [True, False])
def test_the_prediction_has_the_shape_of_the_target(flat):
    y = Y[:, 0] if flat else Y[:, :1]
    cca = CCA(1).fit(X, y)
    assert cca.predict(X).shape == y.shape
    assert cca.score(X, y) == pytest.approx(LinearRegression().fit(X, y).score(X, y))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [False, True])
def test_whole_weights_repeat_rows(scale, solver):
    weights = np.random.default_rng(2).integers(0, 4, N)
    options = {"scale": scale, "solver": solver, "tol": 1e-10, "reg": 0.01, "random_state": 0}
    weighted = CCA(P, **options).fit(X, Y, sample_weight=weights)
    repeated = CCA(P, **options).fit(np.repeat(X, weights, axis=0), np.repeat(Y, weights, axis=0))
    for name in ("correlations_", "x_rotations_", "y_rotations_", "x_loadings_", "coef_", "x_mean_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), atol=1e-7, err_msg=name)


@pytest.mark.parametrize("scale", [False, True])
def test_batches_add_up_to_the_whole(scale, kind):
    x, y = kind(X), kind(Y)
    whole, parts = CCA(P, scale=scale, reg=0.01).fit(x, y), CCA(P, scale=scale, reg=0.01)
    for rows in (slice(0, 50), slice(50, 51), slice(51, N)):
        assert parts.partial_fit(x[rows], y[rows]) is parts
    atol = 1e-4 if kind.dtype == "float32" else 1e-10
    for name in ("correlations_", "x_weights_", "y_rotations_", "x_loadings_", "coef_", "x_mean_", "y_mean_"):
        assert kind_of(getattr(parts, name)) == kind
        np.testing.assert_allclose(to_float64(getattr(parts, name)), to_float64(getattr(whole, name)), atol=atol)
    assert (parts.solver_, parts.n_passes_) == ("direct", 3)


def test_batches_with_weights_survive_a_pickle_and_are_forgotten_by_fit():
    weights = np.random.default_rng(2).random(N) + 0.1
    parts = CCA(P).partial_fit(X[:100], Y[:100], weights[:100])
    parts = pickle.loads(pickle.dumps(parts)).partial_fit(X[100:], Y[100:], weights[100:])
    np.testing.assert_allclose(parts.coef_, CCA(P).fit(X, Y, weights).coef_, atol=1e-10)
    again = parts.fit(X[:150], Y[:150]).partial_fit(X[150:], Y[150:])
    np.testing.assert_allclose(again.x_mean_, X[150:].mean(axis=0), atol=1e-12)


def test_bad_batches():
    cca = CCA(1).partial_fit(X, Y)
    with pytest.raises(ValueError, match="X has 5 features, but CCA is expecting 6 features"):
        cca.partial_fit(X[:, :5], Y)
    with pytest.raises(ValueError, match="y has 4 columns, but the batches before had 5"):
        cca.partial_fit(X, Y[:, :4])
    with pytest.raises(TypeError, match="X and the batches before must agree in library, dtype and device"):
        cca.partial_fit(X.astype(np.float32), Y)


@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.csr_matrix])
@pytest.mark.parametrize("solver", [*SOLVERS, "auto"])
def test_sparse_views_are_as_good_as_dense_ones(solver, container):
    rng = np.random.default_rng(8)
    x, y = X * (rng.random(X.shape) < 0.5), Y * (rng.random(Y.shape) < 0.5)
    x[7], y[9] = 0.0, 0.0  # empty rows
    options = {"solver": solver, "tol": 1e-10, "random_state": 0}
    dense, sparse = CCA(P, **options).fit(x, y), CCA(P, **options).fit(container(x), container(y))
    np.testing.assert_allclose(sparse.correlations_, correlations_of(x, y)[:P], atol=1e-9)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-8)
    for a, b in zip(sparse.transform(container(x), container(y)), dense.transform(x, y), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    np.testing.assert_allclose(sparse.predict(container(x)), dense.predict(x), atol=1e-8)
    mixed = CCA(P, **options).fit(container(x), y)
    np.testing.assert_allclose(mixed.correlations_, dense.correlations_, atol=1e-9)


def test_everything_follows_torch():
    kind = Kind("torch", "float32")
    cca = CCA(2).fit(kind(X), kind(Y))
    names = ("x_loadings_", "y_loadings_", "coef_", "intercept_")
    assert {kind_of(getattr(cca, name)) for name in names} == {kind}
    assert kind_of(cca.predict(kind(X))) == kind
    assert {kind_of(part) for part in cca.inverse_transform(*cca.transform(kind(X), kind(Y)))} == {kind}
    assert cca.score(kind(X), kind(Y)) == pytest.approx(CCA(2).fit(X, Y).score(X, Y), abs=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda cca: cca.inverse_transform(X),
            ValueError,
            r"X must be scores of shape \(n_samples, 2\), got \(300, 6\)",
        ),
        (lambda cca: cca.inverse_transform(X[:, :2], Y), ValueError, r"y must be scores of shape \(n_samples, 2\)"),
        (lambda cca: cca.inverse_transform(torch.ones(3, 2)), TypeError, "X and the data of fit must agree"),
        (lambda cca: cca.predict(X[:, :4]), ValueError, "X has 4 features, but CCA is expecting 6 features"),
        (lambda cca: cca.fit(X, Y, np.ones(3)), ValueError, r"sample_weight must have shape \(300,\)"),
        (lambda cca: cca.fit(X, Y, -np.ones(N)), ValueError, "sample_weight must be finite, non-negative"),
        (
            lambda cca: cca.fit(X[:1], Y[:1]),
            ValueError,
            "X must have at least 2 samples to correlate, got n_samples = 1",
        ),
        (lambda cca: cca.fit(scipy.sparse.csr_array(X * np.nan), Y), ValueError, "X contains NaN or infinity"),
        (lambda cca: cca.fit(scipy.sparse.csr_array(X), torch.asarray(Y)), TypeError, "y and X must agree in library"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(CCA(2).fit(X, Y))
    assert caught.type is error
