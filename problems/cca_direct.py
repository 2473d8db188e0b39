"""Canonical correlations by decomposition of the dense covariances: the fastest way while these are small."""

from __future__ import annotations

import warnings

from manifolds.linalg import (
    Array,
    cholesky,
    identity,
    is_torch_array,
    machine_epsilon,
    namespace,
    solve_triangular,
    standard_normal,
    triangular_condition,
    upper_factor,
)
from problems.canonical_pairs import CanonicalPairs
from problems.co_moments import Covariances
from problems.data_matrix import DataMatrix
from problems.whitening import Basis, Factor

_FULL_DECOMPOSITION = 64
"""Order up to which all singular vectors are computed, since the leading ones alone are no faster."""


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
    return pairs_of(covariances, whitening(covariances.xx, "X"), whitening(covariances.yy, "y"), n_components)


def pairs_of(covariances: Covariances, x: Factor | Basis, y: Factor | Basis, n_components: int) -> CanonicalPairs:
    """Leading canonical pairs of views with known whitenings."""
    whitened = y.whiten(x.whiten(covariances.xy).mT).mT
    left, correlations, right = leading_singular(whitened, n_components)
    return CanonicalPairs(correlations, x.directions(left), y.directions(right))


def leading_singular(matrix: Array, count: int) -> tuple[Array, Array, Array]:
    """Leading left singular vectors, singular values and right singular vectors of a matrix; all where it is small.

    The eigenvectors of the smaller Gram matrix span the leading subspace, and the singular value decomposition of the
    matrix on that span gives the values without the loss of digits that squares bring.
    """
    xp = namespace(matrix)
    smaller = min(matrix.shape)
    count = min(count, smaller)
    if smaller <= _FULL_DECOMPOSITION or 4 * count > smaller:
        left, values, right = xp.linalg.svd(matrix, full_matrices=False)
        return left[:, :count], values[:count], right.mT[:, :count]
    if matrix.shape[0] < matrix.shape[1]:
        left, values, right = leading_singular(matrix.mT, count)
        return right, values, left
    gram = matrix.mT @ matrix
    if is_torch_array(matrix):
        span = xp.linalg.eigh(gram)[1][:, -count:]
    else:
        from scipy.linalg import eigh

        span = eigh(gram, subset_by_index=(smaller - count, smaller - 1), check_finite=False)[1]
    left, values, right = xp.linalg.svd(matrix @ span, full_matrices=False)
    return left, values, span @ right.mT


def whitening(covariance: Array, name: str) -> Factor | Basis:
    """Directions W with W^T S W = I, as many as S has numerical rank; S is scaled to unit diagonal first.

    W is the inverse Cholesky factor where S is well enough conditioned for it, else made of the eigenvectors whose
    eigenvalues stand clear of rounding.
    """
    xp = namespace(covariance)
    d, epsilon = covariance.shape[0], machine_epsilon(covariance)
    known = cholesky_whitening(covariance)
    if known is not None and triangular_condition(known.factor) * d * epsilon < 1e-3:
        return known
    inverse = _inverse_deviations(covariance)
    if not bool(xp.any(inverse > 0)):
        raise ValueError(f"{name} has no variance, so it has no canonical correlations")
    eigenvalues, eigenvectors = xp.linalg.eigh(covariance * inverse * inverse[:, None])
    rank = int(xp.sum(xp.astype(eigenvalues > eigenvalues[-1] * d * epsilon, xp.int64)))
    if rank < d:
        warn_of_truncation(name, rank, d)
    kept = eigenvalues[d - rank :]
    return Basis(inverse[:, None] * eigenvectors[:, d - rank :] / xp.sqrt(kept), float(kept[-1] / kept[0]))


def cholesky_whitening(covariance: Array) -> Factor | None:
    """Cholesky factor of a covariance that is scaled to unit diagonal first, or None where it has none."""
    inverse = _inverse_deviations(covariance)
    if not bool(namespace(covariance).all(inverse > 0)):
        return None
    factor = cholesky(covariance * inverse * inverse[:, None])
    return None if factor is None else Factor(factor, inverse, factor_condition(factor))


def factor_condition(r: Array, steps: int = 8) -> float:
    """Estimate of cond(R^T R) by a few steps of power iteration with it and with its inverse, from below."""
    xp = namespace(r)
    largest = smallest = standard_normal(0, (r.shape[0], 1), r)
    for _ in range(steps):
        largest, smallest = largest / xp.linalg.vector_norm(largest), smallest / xp.linalg.vector_norm(smallest)
        largest = r.mT @ (r @ largest)
        smallest = solve_triangular(r, solve_triangular(r, smallest, transpose=True))
    return float(xp.linalg.vector_norm(largest) * xp.linalg.vector_norm(smallest))


def _inverse_deviations(covariance: Array) -> Array:
    """One over the standard deviations of the columns, zero for constant ones."""
    xp = namespace(covariance)
    return _inverse(xp.sqrt(xp.clip(xp.linalg.diagonal(covariance), 0.0, None)))


def _inverse(sizes: Array) -> Array:
    """Inverse of positive sizes, zero of zeros."""
    xp = namespace(sizes)
    return xp.where(sizes > 0, 1 / xp.where(sizes > 0, sizes, xp.ones_like(sizes)), 0 * sizes)


def sketched_whitening(sketched: Array, view: DataMatrix) -> Basis:
    """Directions W with W^T (A^T A + reg I) W = I for a sketch A of a view, by a QR or singular value decomposition.

    No squares are taken, so that a condition number up to the inverse of the machine epsilon is resolved. Where the
    view is rank deficient, a pass gives the deviations of its columns: which of the possible directions a truncation
    leaves depends on their scaling, and must not depend on the sketch.
    """
    xp, d, name = namespace(sketched), sketched.shape[1], view.name
    if view.reg:
        sketched = xp.concat([sketched, view.reg**0.5 * identity(d, sketched)])
    inverse, epsilon = _inverse(xp.linalg.vector_norm(sketched, axis=0)), machine_epsilon(sketched)
    factor = upper_factor(sketched * inverse)
    if factor.shape[0] == d and triangular_condition(factor) < (1e-2 / (d * epsilon)) ** 2:
        root = solve_triangular(factor, identity(d, factor))
        return Basis(inverse[:, None] * root, triangular_condition(factor))
    deviations = xp.sqrt(xp.clip(view.cast(view.diagonal(), sketched.dtype), 0.0, None))
    mean = xp.abs(view.cast(view.moments.mean / view.moments.scale, sketched.dtype))
    inverse = xp.where(deviations > 10 * machine_epsilon(view.like) * mean, _inverse(deviations), 0 * deviations)
    if not bool(xp.any(inverse > 0)):
        raise ValueError(f"{name} has no variance, so it has no canonical correlations")
    _, values, right = xp.linalg.svd(upper_factor(sketched * inverse), full_matrices=False)
    rank = int(xp.sum(xp.astype(values > max(sketched.shape) * epsilon * values[0], xp.int64)))
    if rank < d:
        warn_of_truncation(name, rank, d)
    return Basis(inverse[:, None] * right[:rank].mT / values[:rank], float(values[0] / values[rank - 1]) ** 2)


def warn_of_truncation(name: str, rank: int, d: int) -> None:
    """Say that a view has fewer dimensions than features."""
    warnings.warn(
        f"{name} has numerical rank {rank} for {d} features and is truncated to it; reg > 0 keeps all directions",
        UserWarning,
        stacklevel=3,
    )
