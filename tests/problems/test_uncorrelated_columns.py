"""Columns of the small view that are uncorrelated with the large one, as in a balanced design: Z lacks full rank."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from problems import CCA
from problems.covariance_basis import covariance_basis
from tests.arrays import to_float64
from tests.problems.views import correlations_of, dense_covariances

N = 200


def balanced(dy, correlated, seed=0, *, exact=True):
    """x (N x 6) and y (N x dy), the first columns of y correlated with x and the others orthogonal to it.

    Exactly orthogonal means in floating point: x is symmetric under the reflection of rows under which y is odd.
    """
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((N // 2, 6))
    x = np.vstack([half, half])
    odd = rng.standard_normal((N // 2, dy))
    y = np.vstack([odd, -odd]) if exact else scipy.linalg.null_space(np.column_stack([np.ones(N), x]).T)[:, :dy]
    y[:, :correlated] += x[:, :correlated]
    return x, y


@pytest.mark.parametrize("convert", ["numpy", "torch", "float32"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("preconditioner", ["auto", "identity"])
@pytest.mark.parametrize(("dy", "correlated", "p"), [(1, 0, 1), (2, 0, 2), (2, 1, 2), (2, 1, 1), (3, 1, 3), (3, 2, 3)])
def test_as_many_pairs_as_the_direct_solver(dy, correlated, p, preconditioner, exact, swapped, convert):
    views = balanced(dy, correlated, exact=exact)[:: -1 if swapped else 1]
    made = [
        torch.asarray(v) if convert == "torch" else v.astype(np.float32) if convert == "float32" else v for v in views
    ]
    cca = CCA(p, solver="block-pcg", preconditioner=preconditioner, random_state=0).fit(*made)
    direct = CCA(p, solver="direct").fit(*views)
    tolerance = 2e-6
    np.testing.assert_allclose(to_float64(cca.correlations_), direct.correlations_, atol=tolerance)
    np.testing.assert_allclose(to_float64(cca.correlations_), correlations_of(*views)[:p], atol=tolerance)
    sxx, sxy, syy = dense_covariances(*views)
    u, v = to_float64(cca.x_weights_), to_float64(cca.y_weights_)
    np.testing.assert_allclose(u.T @ sxx @ u, np.eye(p), atol=1e-5)
    np.testing.assert_allclose(v.T @ syy @ v, np.eye(p), atol=1e-5)
    np.testing.assert_allclose(u.T @ sxy @ v, np.diag(direct.correlations_), atol=1e-5)
    np.testing.assert_allclose(to_float64(cca.coef_), direct.coef_, atol=1e-5)


def test_a_large_view_of_too_low_a_rank_is_named():
    """Rank one, which a metric that needs no rank lets pass, and two pairs are wanted."""
    x, y = balanced(2, 1)
    x = x[:, :1] * np.arange(1.0, 4.0)
    with pytest.warns(UserWarning, match="X has numerical rank 1 for 3 features"):
        cca = CCA(2, solver="block-pcg", preconditioner="identity", random_state=0).fit(x, y)
    np.testing.assert_allclose(cca.correlations_, correlations_of(x[:, :1], y)[:1], atol=1e-6)
    with pytest.raises(ValueError, match="X has no variance, so it has no canonical correlations"):
        CCA(1, solver="block-pcg", preconditioner="identity", random_state=0).fit(np.zeros((N, 3)), y)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_basis_is_filled_up_in_the_metric(rank):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((30, 5)) * np.logspace(0, -3, 5)
    S = a.T @ a
    Z = rng.standard_normal((5, rank)) @ rng.standard_normal((rank, 3))
    basis, image = covariance_basis(S, Z, S @ Z, 4, epsilon=2.0**-52, rng=rng)
    assert basis.shape == (5, 4)
    np.testing.assert_allclose(basis.T @ S @ basis, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(image, S @ basis, atol=1e-10)
    np.testing.assert_allclose(basis[:, rank:].T @ S @ Z, 0.0, atol=1e-10 * np.abs(S @ Z).max(initial=1.0))
    assert covariance_basis(S, Z, S @ Z, rank, epsilon=2.0**-52, rng=rng)[0].shape == (5, rank)
