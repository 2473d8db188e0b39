"""Canonical correlations by decomposition of the dense covariances: the fastest way while these are small."""

from __future__ import annotations

import warnings
from typing import NamedTuple

from manifolds.linalg import Array, cholesky, machine_epsilon, namespace, solve_triangular, triangular_condition
from problems.data import Covariances


class CanonicalPairs(NamedTuple):
    """Leading canonical correlations and vectors."""

    correlations: Array
    """Shape (p,), decreasing."""
    u: Array
    """Shape (dx, p), with u^T Sxx u = I."""
    v: Array
    """Shape (dy, p), with v^T Syy v = I."""


def solve_dense(covariances: Covariances, n_components: int) -> CanonicalPairs:
    """Leading canonical pairs from the singular value decomposition of Wx^T Sxy Wy, where Wx^T Sxx Wx = I.

    Parameters
    ----------
    covariances : Covariances
        Ridge included.
    n_components : int

    Returns
    -------
    CanonicalPairs
        Of at most as many components as the numerical ranks allow.

    Warns
    -----
    UserWarning
        If a view is rank deficient and is truncated to its numerical rank.
    """
    xx, xy, yy = covariances
    wx, wy = whitening(xx, "X"), whitening(yy, "y")
    left, correlations, right = namespace(xy).linalg.svd(wx.mT @ xy @ wy, full_matrices=False)
    p = min(n_components, correlations.shape[0])
    return CanonicalPairs(correlations[:p], wx @ left[:, :p], wy @ right.mT[:, :p])


def whitening(covariance: Array, name: str) -> Array:
    """Matrix W with W^T S W = I and as many columns as S has numerical rank.

    W is the inverse Cholesky factor where S is well enough conditioned for it, else made of the eigenvectors whose
    eigenvalues stand clear of rounding.
    """
    xp = namespace(covariance)
    d, epsilon = covariance.shape[0], machine_epsilon(covariance)
    factor = cholesky(covariance)
    if factor is not None and triangular_condition(factor) * d * epsilon < 1e-3:
        return solve_triangular(factor, xp.eye(d, dtype=covariance.dtype, device=covariance.device))
    eigenvalues, eigenvectors = xp.linalg.eigh(covariance)
    keep = eigenvalues > eigenvalues[-1] * d * epsilon
    rank = int(xp.sum(xp.astype(keep, xp.int64)))
    if rank == 0:
        raise ValueError(f"{name} has no variance, so it has no canonical correlations")
    if rank < d:
        warnings.warn(
            f"{name} has numerical rank {rank} for {d} features and is truncated to it; reg > 0 keeps all directions",
            UserWarning,
            stacklevel=2,
        )
    return eigenvectors[:, d - rank :] / xp.sqrt(eigenvalues[d - rank :])
