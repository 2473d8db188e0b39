"""Canonical correlations by decomposition of the dense covariances: the fastest way while these are small."""

from __future__ import annotations

from manifolds.linalg import (
    Array,
    cholesky,
    identity,
    is_torch_array,
    machine_epsilon,
    namespace,
    solve_triangular,
    triangular_condition,
    upper_factor,
)
from problems.caller_warnings import warn_caller
from problems.canonical_pairs import CanonicalPairs
from problems.co_moments import Covariances, require_covariances
from problems.data_matrix import DataMatrix
from problems.whitening_factors import Basis, Factor, count, factor_condition
from rankopt.solvers.parameters import require_at_least

_CLEAR = 10
"""How many times the rounding of the data a direction must vary by to count."""

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

    Raises
    ------
    TypeError
        If the covariances are no real floating arrays of one kind, or the number is not whole.
    ValueError
        If their shapes do not fit, they hold NaN or infinity, a view has no variance, or the number is below one.

    Warns
    -----
    UserWarning
        If a view is rank deficient and is truncated to its numerical rank.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import Covariances, solve_dense
    >>> covariances = Covariances(np.diag([4.0, 1.0]), np.diag([1.8, 0.5]), np.eye(2))
    >>> solve_dense(covariances, 2).correlations
    array([0.9, 0.5])
    """
    covariances = require_covariances(covariances)
    require_at_least("n_components", n_components, 1, whole=True)
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

        # The transpose is the same matrix, in the order in which LAPACK may work in its place.
        wanted = (smaller - count, smaller - 1)
        span = eigh(gram.T, subset_by_index=wanted, overwrite_a=True, check_finite=False)[1]
    left, values, right = xp.linalg.svd(matrix @ span, full_matrices=False)
    return left, values, span @ right.mT


def whitening(covariance: Array, name: str, precision: float = 0.0) -> Factor | Basis:
    """Directions W with W^T S W = I as of ``clear_whitening``, with an error where there are none and a warning if few.

    Parameters
    ----------
    covariance : array of shape (d, d)
    name : str
        What the error and the warning of a truncation call the view.
    precision : float
        As of ``clear_whitening``.
    """
    found = clear_whitening(covariance, precision)
    if found is None:
        raise no_variance(name)
    warn_of_truncation(name, found.rank, covariance.shape[0])
    return found


def clear_whitening(covariance: Array, precision: float = 0.0) -> Factor | Basis | None:
    """Directions W with W^T S W = I, as many as S has numerical rank; S is scaled to unit diagonal first.

    W is the inverse Cholesky factor where S is well enough conditioned for it, else made of the eigenvectors whose
    eigenvalues stand clear of rounding. Columns that do not vary get no weight; where none does, there is no W.

    Parameters
    ----------
    covariance : array of shape (d, d)
    precision : float
        Machine epsilon of the data, where it is larger than that of the covariance: directions that the rounding of
        the data has made do not count.
    """
    xp, d = namespace(covariance), covariance.shape[0]
    tolerance = max(d * machine_epsilon(covariance), (_CLEAR * precision) ** 2)
    found = _regular_whitening(covariance, tolerance)
    if found is not None:
        return found
    inverse = _inverse_deviations(covariance)
    if not bool(xp.any(inverse > 0)):
        return None
    eigenvalues, eigenvectors = xp.linalg.eigh(_scaled(covariance, inverse))
    first = d - count(eigenvalues > eigenvalues[-1] * tolerance)
    kept = eigenvalues[first:]
    return Basis(inverse[:, None] * eigenvectors[:, first:] / xp.sqrt(kept), float(kept[-1] / kept[0]))


def _regular_whitening(covariance: Array, tolerance: float) -> Factor | Basis | None:
    """Cholesky factor, where rounding is clear of the smallest eigenvalue."""
    known = cholesky_whitening(covariance)
    return known if known is not None and triangular_condition(known.factor) * tolerance < 1e-3 else None


def cholesky_whitening(covariance: Array) -> Factor | None:
    """Cholesky factor of a covariance that is scaled to unit diagonal first, or None where it has none.

    Columns that do not vary are left out.
    """
    xp, inverse = namespace(covariance), _inverse_deviations(covariance)
    scaled, kept = _scaled(covariance, inverse), None
    if not bool(xp.all(inverse > 0)):
        kept = xp.nonzero(inverse)[0]
        scaled = scaled[kept][:, kept]
    factor = cholesky(scaled) if scaled.shape[0] else None
    return None if factor is None else Factor(factor, inverse, factor_condition(factor), kept)


def _inverse_deviations(covariance: Array) -> Array:
    """One over the standard deviations of the columns, zero for constant ones."""
    xp = namespace(covariance)
    return _inverse(xp.sqrt(xp.clip(xp.linalg.diagonal(covariance), 0.0, None)))


def _scaled(covariance: Array, inverse: Array) -> Array:
    """Covariance of columns that are multiplied by these numbers."""
    scaled = covariance * inverse
    scaled *= inverse[:, None]
    return scaled


def _inverse(sizes: Array) -> Array:
    """Inverse of positive sizes, zero of zeros."""
    xp = namespace(sizes)
    return xp.where(sizes > 0, 1 / xp.where(sizes > 0, sizes, xp.ones_like(sizes)), 0 * sizes)


def sketched_whitening(sketched: Array, view: DataMatrix) -> Basis:
    """Directions W with W^T (A^T A + reg I) W = I for a sketch A of a view, by a QR or singular value decomposition.

    No squares are taken, so that a condition number up to the inverse of the machine epsilon is resolved; directions
    that the rounding of the data has made are left out. Where the view is rank deficient, a pass gives the deviations
    of its columns: which of the possible directions a truncation leaves depends on their scaling, and must not depend
    on the sketch.
    """
    xp, d, name = namespace(sketched), sketched.shape[1], view.name
    if view.reg:
        sketched = xp.concat([sketched, view.reg**0.5 * identity(d, sketched)])
    mean = xp.abs(view.cast(view.moments.mean / view.moments.scale, sketched.dtype))
    inverse, noise = _clear_deviations(xp.linalg.vector_norm(sketched, axis=0), mean, view)
    factor, epsilon = upper_factor(sketched * inverse), machine_epsilon(sketched)
    limit = 1e-2 / max(d * epsilon, 0.1 * float(xp.max(noise)))
    if factor.shape[0] == d and triangular_condition(factor) < limit**2:
        root = solve_triangular(factor, identity(d, factor))
        return Basis(inverse[:, None] * root, triangular_condition(factor))
    deviations = xp.sqrt(xp.clip(view.cast(view.diagonal(), sketched.dtype), 0.0, None))
    inverse, noise = _clear_deviations(deviations, mean, view)
    _, values, right = xp.linalg.svd(upper_factor(sketched * inverse), full_matrices=False)
    noise = xp.linalg.vector_norm(right * noise, axis=1)  # along each of the directions
    clear = (values > max(sketched.shape) * epsilon * values[0]) & (values > noise)
    right, values = right[clear], values[clear]
    warn_of_truncation(name, values.shape[0], d)
    return Basis(inverse[:, None] * right.mT / values, float(values[0] / values[-1]) ** 2)


def _clear_deviations(deviations: Array, mean: Array, view: DataMatrix) -> tuple[Array, Array]:
    """One over the deviations of columns, zero where these are rounding; and what rounding is in these units.

    An entry is rounded in proportion to its size, the mean included. A ridge keeps all directions.
    """
    xp, rounding = namespace(deviations), 0.0 if view.reg else _CLEAR * machine_epsilon(view.like)
    inverse = xp.where(deviations > rounding * mean, _inverse(deviations), 0 * deviations)
    if not bool(xp.any(inverse > 0)):
        raise no_variance(view.name)
    return inverse, rounding * (1 + mean * inverse)


def no_variance(name: str) -> ValueError:
    """What is raised for a view without variance."""
    return ValueError(f"{name} has no variance, so it has no canonical correlations")


def warn_of_truncation(name: str, rank: int, d: int) -> None:
    """Say so where a view has fewer dimensions than features."""
    if rank < d:
        warn_caller(
            f"{name} has numerical rank {rank} for {d} features and is truncated to it; reg > 0 keeps all directions"
        )
