"""Whitening of a within-class covariance C: by Cholesky, by eigenvectors, by randomized Cholesky-QR, by the rows."""

from __future__ import annotations

from manifolds.linalg import (
    Array,
    cholesky,
    identity,
    kind,
    machine_epsilon,
    namespace,
    solve_triangular,
    symmetric_part,
    triangular_condition,
    upper_factor,
)
from manifolds.sketching import SparseSignSketch
from problems.caller_warnings import warn_caller
from problems.labelled_data import LabelledData
from problems.sketch_sizes import SKETCH_FACTOR
from problems.whitening_factors import Basis, Factor, count, factor_condition

GRAM_ACCURACY = {"float64": 1e-6, "float32": 2e-4}
"""Error of eigenvalues up to which the Cholesky factor of a covariance is trusted: about the covariance's condition,
its columns scaled to unit variance, times the machine epsilon of the data it was formed from."""


def gram_whitening(
    covariance: Array, means: Array, like: Array, *, accurate: bool, truncate: bool = True
) -> Factor | Basis | None:
    """Whitening of a covariance that was formed: its Cholesky factor, or eigenvectors that stand clear of rounding.

    The covariance is scaled to unit diagonal first. Features that do not vary within the classes get no weight.

    Parameters
    ----------
    covariance : array of shape (d, d)
    means : array of shape (l, d)
        Class means, which say what is rounding.
    like : array
        Of the kind of the data.
    accurate : bool
        Whether None is returned where eigenvalues cannot be had to ``GRAM_ACCURACY``.
    truncate : bool
        Whether None is returned instead of eigenvectors.
    """
    xp, d = namespace(covariance), covariance.shape[0]
    inverse = _inverse_deviations(xp.linalg.diagonal(covariance), means, machine_epsilon(like))
    scaled = covariance * inverse
    scaled *= inverse[:, None]
    epsilon = machine_epsilon(covariance)
    limit = GRAM_ACCURACY[kind(like)[1]] / epsilon if accurate else float("inf")
    tolerance = max(d * epsilon, (d * machine_epsilon(like)) ** 2)
    factor = cholesky(scaled + xp.astype(inverse == 0, scaled.dtype) * identity(d, scaled))
    if factor is not None and (condition := factor_condition(factor)) <= min(limit, 1 / tolerance):
        return Factor(factor, inverse, condition)
    if not truncate:
        return None
    values, vectors = xp.linalg.eigh(scaled)
    first = d - count(values > tolerance * values[-1])
    condition = float(values[-1] / values[first])
    if condition > limit:
        return None
    _warn_of_rank(d - first, inverse)
    return Basis(inverse[:, None] * vectors[:, first:] / xp.sqrt(values[first:]), condition)


def cholesky_qr(data: LabelledData, ridge: float, seed: int) -> tuple[Basis, int]:
    """Whitening by randomized Cholesky-QR: the Gram matrix of the data whitened by a sketch is well conditioned.

    Where the rows do not fill the space, R of the sketch is replaced by its leading singular vectors.

    Returns
    -------
    basis : Basis
    size : int
        Rows of the sketch.

    References
    ----------
    Balabanov, Randomized Cholesky QR factorizations, arXiv:2210.09953 (2022), Algorithm 3.1.
    """
    d = data.n_features
    # Deviations of the data, not of the sketch: what a truncation leaves depends on them, and must not be random.
    inverse = _inverse_deviations(data.variances() + ridge, data.means, machine_epsilon(data.like))
    size = SKETCH_FACTOR * min(d, data.n_samples)
    sketched = data.sketch(SparseSignSketch(size, seed))
    xp = namespace(sketched)
    if ridge:
        sketched = xp.concat([sketched, ridge**0.5 * identity(d, sketched)])
    scaled = xp.astype(inverse, sketched.dtype)
    factor = upper_factor(sketched * scaled)
    epsilon = machine_epsilon(factor)
    condition = triangular_condition(factor) if factor.shape[0] == d else float("inf")
    if condition < (1e-2 / (d * epsilon)) ** 2:
        first = solve_triangular(factor, identity(d, factor))
    else:
        _, values, vt = xp.linalg.svd(factor, full_matrices=False)
        rank = count(values > max(sketched.shape) * epsilon * values[0])
        _warn_of_rank(rank, inverse)
        first = vt[:rank].mT / values[:rank]
        condition = float(values[0] / values[rank - 1]) ** 2
    first = scaled[:, None] * first
    gram = symmetric_part(data.whitened_gram(first))
    first = xp.astype(first, gram.dtype)
    second = cholesky(gram + ridge * (first.mT @ first))
    if second is None:
        raise ValueError("X is too ill conditioned within its classes for this dtype; use reg > 0 or shrinkage")
    return Basis(solve_triangular(second, first.mT, transpose=True).mT, condition), size


def row_space(data: LabelledData, between: Array, ridge: float) -> Basis:
    """Whitening by the singular vectors of fewer rows than columns, and by what F has outside of their span."""
    centred = data.centred()
    xp = namespace(centred)
    tolerance = max(centred.shape) * machine_epsilon(centred)
    if not ridge:
        inverse = _inverse_deviations(xp.sum(centred * centred, axis=0), data.means, machine_epsilon(centred))
        _, values, vt = xp.linalg.svd(centred * inverse, full_matrices=False)
        rank = count(values > tolerance * values[0])
        _warn_of_rank(rank, inverse)
        basis = xp.astype(inverse[:, None] * vt[:rank].mT / values[:rank], between.dtype)
        return Basis(basis, float(values[0] / values[rank - 1]) ** 2)
    _, values, vt = xp.linalg.svd(centred, full_matrices=False)
    values, vt = (xp.astype(part, between.dtype) for part in (values, vt))
    rank = max(1, count(values > tolerance * values[0]))
    known, values = vt[:rank].mT, values[:rank]
    rest = between - known @ (known.mT @ between)
    outside, sizes, _ = xp.linalg.svd(rest - known @ (known.mT @ rest), full_matrices=False)
    outside = outside[:, sizes > tolerance * xp.linalg.matrix_norm(between)]
    basis = xp.concat([known / xp.sqrt(values**2 + ridge), outside / ridge**0.5], axis=1)
    return Basis(basis, 1 + float(values[0]) ** 2 / ridge)


def _inverse_deviations(variances: Array, means: Array, epsilon: float) -> Array:
    """One over the standard deviations within classes; zero for features that vary by rounding alone."""
    xp = namespace(variances)
    rounding = 10 * epsilon * xp.astype(xp.max(xp.abs(means), axis=0), variances.dtype)
    varies = variances > rounding**2
    if not bool(xp.any(varies)):
        raise ValueError("X does not vary within its classes, so their covariance is zero; use reg > 0")
    constant = ~varies & (xp.astype(xp.max(means, axis=0) - xp.min(means, axis=0), rounding.dtype) > 10 * rounding)
    if bool(xp.any(constant)):
        warn_caller(
            "X has features that are constant within every class but differ between classes, which separate them "
            "perfectly and are left out, since their quotient is infinite; reg > 0 or shrinkage keeps them"
        )
    return xp.where(varies, 1 / xp.sqrt(xp.where(varies, variances, xp.ones_like(variances))), 0 * variances)


def _warn_of_rank(rank: int, inverse_deviations: Array) -> None:
    """Say so where fewer directions stand clear of rounding than there are features that vary."""
    varying = count(inverse_deviations > 0)
    if rank < varying:
        warn_caller(
            f"X has numerical rank {rank} within its classes for {varying} features that vary and is truncated to it; "
            "reg > 0 or shrinkage keeps all directions"
        )
