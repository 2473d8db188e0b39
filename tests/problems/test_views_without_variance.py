"""Views whose columns are all constant, exactly or but for rounding, where nothing else would notice it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from manifolds import IdentityPreconditioner
from problems import CCA, CovarianceMatrices, Covariances, MultiviewCCA, PairedViews
from problems.two_sided_lobpcg import two_sided_lobpcg
from tests.arrays import to_float64

N = 60
Y = np.random.default_rng(0).standard_normal((N, 2))
CONSTANT = {
    "ones": np.ones((N, 3)),
    "zeros": np.zeros((N, 3)),
    "tenths": np.full((N, 3), 0.1),  # no sum of which is exact
    "large": np.tile([1e3 * np.pi, -1e5 / 3, 0.7], (N, 1)),
}
KINDS = {"numpy": np.asarray, "float32": np.float32, "torch": torch.asarray, "sparse": scipy.sparse.csr_array}
NO_VARIANCE = "has no variance, so it has no canonical correlations"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", CONSTANT)
@pytest.mark.parametrize("side", ["X", "y"])
@pytest.mark.parametrize("solver", ["lobpcg", "riemannian", "trust-region", "block-pcg"])
def test_iterative_solvers_without_a_preconditioner_refuse_them(solver, side, values, kind):
    views = [KINDS[kind](view) for view in (CONSTANT[values], Y)][:: 1 if side == "X" else -1]
    with pytest.raises(ValueError, match=f"^{side} {NO_VARIANCE}$"):
        CCA(1, solver=solver, preconditioner="identity", random_state=0).fit(*views)


@pytest.mark.parametrize("values", CONSTANT)
@pytest.mark.parametrize("solver", ["lobpcg", "riemannian"])
def test_they_are_named_among_several(solver, values):
    with pytest.raises(ValueError, match=rf"^views\[1\] {NO_VARIANCE}$"):
        MultiviewCCA(1, solver=solver, preconditioner="identity", random_state=0).fit([Y, CONSTANT[values], Y])


def test_one_column_that_varies_is_enough():
    x = np.column_stack([Y[:, 0] + Y[:, 1] ** 2, np.ones(N)])
    cca = CCA(1, solver="lobpcg", preconditioner="identity", random_state=0).fit(x, Y)
    residual = np.linalg.lstsq(np.column_stack([Y, np.ones(N)]), x[:, 0], rcond=None)[1][0]
    expected = (1 - residual / (N * x[:, 0].var())) ** 0.5  # the multiple correlation of the column
    np.testing.assert_allclose(cca.correlations_, expected, atol=1e-7)


SOLVERS = ["direct", "cholesky-qr", "lobpcg", "riemannian", "trust-region", "block-pcg"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("preconditioner", ["auto", "identity"])
@pytest.mark.parametrize("values", ["ones", "tenths"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_with_a_ridge_they_are_uncorrelated_with_anything(solver, values, preconditioner, dtype):
    x, y = CONSTANT[values].astype(dtype), Y.astype(dtype)
    cca = CCA(2, solver=solver, preconditioner=preconditioner, reg=(0.1, 0.0), random_state=0).fit(x, y)
    np.testing.assert_allclose(cca.correlations_, 0.0, atol=1e-6)
    np.testing.assert_allclose(cca.coef_, 0.0, atol=1e-6)
    np.testing.assert_allclose(cca.inverse_transform(cca.transform(x)), x, rtol=1e-6)
    np.testing.assert_allclose(cca.inverse_transform(cca.transform(x), cca.transform(x, y)[1])[1], y, atol=1e-5)
    if solver not in ("direct", "cholesky-qr"):
        with pytest.raises(ValueError, match=f"^y {NO_VARIANCE}$"):
            CCA(1, solver=solver, preconditioner="identity", reg=(0.1, 0.0), random_state=0).fit(y, x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("solver", SOLVERS)
def test_scores_that_a_ridge_lets_be_constant_restore_nothing(solver, dtype):
    """One column varies for two pairs, so the second score is constant; the first one restores the view."""
    x = np.column_stack([Y[:, 0] + Y[:, 1] ** 2, np.ones(N)]).astype(dtype)
    tol = 1e-4 if dtype is np.float32 else 1e-6
    cca = CCA(2, solver=solver, reg=0.1, tol=tol, random_state=0).fit(x, Y.astype(dtype))
    np.testing.assert_allclose(cca.inverse_transform(cca.transform(x)), x, atol=1e-5)


@pytest.mark.parametrize("start", [None, (np.eye(3), np.eye(3))])
@pytest.mark.parametrize("side", ["X", "y"])
def test_lobpcg_refuses_covariances_of_zeros(side, start):
    one, zero = np.diag([1.0, 2.0, 3.0]), np.zeros((3, 3))
    data = CovarianceMatrices(Covariances(*((zero, zero, one) if side == "X" else (one, zero, zero))))
    with pytest.raises(ValueError, match=f"^{side} {NO_VARIANCE}$"):
        two_sided_lobpcg(data, 1, (IdentityPreconditioner(),) * 2, tol=1e-9, max_iter=9, start=start, rng=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_diagonals_are_weighted_variances_and_the_ridge(weighted, kind):
    rng = np.random.default_rng(1)
    weights = rng.random(N) if weighted else None
    x, y = rng.standard_normal((N, 4)) * np.array([1.0, 5.0, 0.1, 0.0]) + 3.0, Y
    data = PairedViews(KINDS[kind](x), KINDS[kind](y), reg=(0.5, 0.0), sample_weight=weights)
    tolerance = 1e-5 if kind == "float32" else 1e-12
    for found, view, ridge in zip(data.diagonals(), (x, y), (0.5, 0.0), strict=True):
        centred = view - np.average(view, axis=0, weights=weights)
        expected = np.average(centred**2, axis=0, weights=weights) + ridge
        np.testing.assert_allclose(to_float64(found), expected, rtol=tolerance)
    for found, moments, view in zip(data.diagonals(), data.moments, (x, y), strict=True):
        assert found.dtype == data.like.dtype
        mean = np.average(view, axis=0, weights=weights)
        np.testing.assert_allclose(to_float64(moments.mean), mean, rtol=0, atol=tolerance)
