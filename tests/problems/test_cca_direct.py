"""The dense solution: against QR factorisations, with rank-deficient and ill-conditioned views."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from problems import CanonicalPairs, Covariances, PairedViews, solve_dense
from problems.cca_direct import whitening
from tests.arrays import kind_of, to_float64
from tests.problems.views import (
    canonical_oracle,
    correlated_views,
    correlations_of,
    dense_covariances,
    same_directions,
)

N, DX, DY, P = 300, 6, 5, 3
X, Y = correlated_views(N, DX, DY)


def solve(x, y, p=P, reg=0.0):
    return solve_dense(PairedViews(x, y, reg=reg).covariances(), p)


def test_pairs(kind):
    pairs = solve(kind(X), kind(Y))
    assert isinstance(pairs, CanonicalPairs)
    assert [tuple(part.shape) for part in pairs] == [(P,), (DX, P), (DY, P)]
    assert {kind_of(part) for part in pairs} == {kind}
    correlations, u, v = map(to_float64, pairs)
    sxx, sxy, syy = dense_covariances(X, Y)
    # The covariances have condition 1e2, which multiplies the rounding unit.
    atol = 1e3 * kind.eps
    np.testing.assert_allclose(correlations, correlations_of(X, Y)[:P], atol=atol)
    np.testing.assert_allclose(u.T @ sxx @ u, np.eye(P), atol=atol)
    np.testing.assert_allclose(v.T @ syy @ v, np.eye(P), atol=atol)
    np.testing.assert_allclose(u.T @ sxy @ v, np.diag(correlations), atol=atol)


@pytest.mark.parametrize("reg", [0.1, (0.5, 0.01)], ids=str)
def test_ridge(reg, double):
    pairs = solve(double(X), double(Y), reg=reg)
    sxx, sxy, syy = dense_covariances(X, Y, reg if isinstance(reg, tuple) else (reg, reg))
    expected, u, v = canonical_oracle(sxx, sxy, syy)
    np.testing.assert_allclose(to_float64(pairs.correlations), expected[:P], atol=1e-12)
    same_directions(to_float64(pairs.u), u[:, :P], sxx, atol=1e-10)
    same_directions(to_float64(pairs.v), v[:, :P], syy, atol=1e-10)


@pytest.mark.parametrize("p", [1, DY])
def test_number_of_components(p):
    np.testing.assert_allclose(solve(X, Y, p).correlations, correlations_of(X, Y)[:p], atol=1e-12)


@pytest.mark.parametrize(("condition", "atol"), [(1e2, 1e-11), (10**4.5, 1e-6)])
def test_ill_conditioned_views(condition, atol):
    # The covariances have condition 1e4 and 1e9; taking squares costs that much of the 1e-16.
    x, y = correlated_views(2000, 8, 7, condition=condition, seed=2)
    pairs = solve(x, y)
    np.testing.assert_allclose(pairs.correlations, correlations_of(x, y)[:P], atol=atol)
    scores = (x - x.mean(0)) @ pairs.u
    np.testing.assert_allclose(scores.T @ scores / 2000, np.eye(P), atol=100 * atol)


@pytest.mark.parametrize("name", ["X", "y"])
@pytest.mark.parametrize("deficient", ["repeated", "dependent", "constant"])
def test_rank_deficient_views_are_truncated_with_a_warning(deficient, name, double):
    x = X.copy()
    if deficient == "repeated":
        x[:, 5] = x[:, 1]
    elif deficient == "dependent":
        x[:, 5] = x[:, 0] - 2 * x[:, 2]
    else:
        x[:, 5] = 3.0
    views = (x, Y) if name == "X" else (Y, x)
    with pytest.warns(UserWarning, match=rf"{name} has numerical rank 5 for 6 features .* reg > 0 keeps all"):
        pairs = solve(*map(double, views))
    # The column brings nothing that the other five do not have.
    expected = correlations_of(x[:, :5], Y)
    np.testing.assert_allclose(to_float64(pairs.correlations), expected[:P], atol=1e-10)
    sxx, _, syy = dense_covariances(*views)
    u, v = to_float64(pairs.u), to_float64(pairs.v)
    np.testing.assert_allclose(u.T @ sxx @ u, np.eye(P), atol=1e-10)
    np.testing.assert_allclose(v.T @ syy @ v, np.eye(P), atol=1e-10)


def test_ridge_keeps_all_directions_without_a_warning():
    x = X.copy()
    x[:, 5] = x[:, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = solve(x, Y, reg=0.1)
    assert pairs.correlations[0] < correlations_of(x[:, :5], Y)[0]


def test_no_more_components_than_the_rank():
    x = np.hstack([X[:, :1], 2 * X[:, :1], -X[:, :1]])
    with pytest.warns(UserWarning, match="X has numerical rank 1 for 3 features"):
        pairs = solve(x, Y, p=3)
    assert pairs.correlations.shape == (1,)
    assert pairs.u.shape == (3, 1)
    np.testing.assert_allclose(pairs.correlations, correlations_of(X[:, :1], Y), atol=1e-12)


def test_fewer_rows_than_columns():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((5, 8)), rng.standard_normal((5, 2))
    with pytest.warns(UserWarning, match="X has numerical rank 4 for 8 features"):
        pairs = solve(x, y, p=2)
    # Four dimensions are all that five centred rows have, so everything can be predicted.
    np.testing.assert_allclose(pairs.correlations, 1.0, atol=1e-10)


@pytest.mark.parametrize("name", ["X", "y"])
def test_views_without_variance_are_refused(name, double):
    constant = np.tile([1.0, 2.0], (N, 1))
    views = (constant, Y) if name == "X" else (X, constant)
    with pytest.raises(ValueError, match=f"{name} has no variance, so it has no canonical correlations"):
        solve(*map(double, views), p=1)


def test_views_that_span_the_same_space_correlate_fully():
    pairs = solve(X, X @ np.random.default_rng(4).standard_normal((DX, DX)), p=DX)
    np.testing.assert_allclose(pairs.correlations, 1.0, atol=1e-12)


def test_whitening(kind):
    sxx = dense_covariances(X, Y)[0]
    w = to_float64(whitening(kind(sxx), "X").directions(kind(np.eye(DX))))
    np.testing.assert_allclose(w.T @ sxx @ w, np.eye(DX), atol=1e3 * kind.eps)


def test_covariances_are_not_changed(kind):
    matrices = [kind(matrix) for matrix in dense_covariances(X, Y)]
    before = [to_float64(matrix).copy() for matrix in matrices]
    solve_dense(Covariances(*matrices), 2)
    for matrix, copy in zip(matrices, before, strict=True):
        np.testing.assert_array_equal(to_float64(matrix), copy)
