"""Whitening of a within-class covariance C: by Cholesky, by eigenvectors, by randomized Cholesky-QR, by the rows."""

from __future__ import annotations

from collections.abc import Sequence

from manifolds.linalg import (
    Array,
    cholesky,
    identity,
    kind,
    machine_epsilon,
    namespace,
    solve_triangular,
    standard_normal,
    symmetric_part,
    triangular_condition,
    upper_factor,
)
from manifolds.sketching import SparseSignSketch
from problems.caller_warnings import warn_caller
from problems.labelled_data import LabelledData

GRAM_ACCURACY = {"float64": 1e-6, "float32": 2e-4}
"""Error of eigenvalues up to which the Cholesky factor of a covariance is trusted: about the covariance's condition,
its columns scaled to unit variance, times the machine epsilon of the data it was formed from."""

SINGLE_PRECISION_ERROR = 2e-5
"""Machine epsilon times sum_i (s_i u_i)^2 up to which products of single-precision data are trusted: a fifth of the
error of eigenvalues or correlations that is allowed."""

SINGLE_PRECISION_GROWTH = 2e-2
"""Condition number of a covariance times the machine epsilon up to which these products are trusted."""

SKETCH_FACTOR = 4
"""Rows of a sketch per column, at first."""


class Factor:
    """A covariance by a triangular factor of its scaled form, D C D = R^T R.

    Parameters
    ----------
    factor : array of shape (r, r)
        R, upper triangular.
    scale : array of shape (d,)
        Diagonal of D; features with a zero there are left out.
    condition : float
        Estimate of cond(D C D).
    kept : array of int of shape (r,), optional
        Features that R is of, where these are not all.
    """

    def __init__(self, factor: Array, scale: Array, condition: float, kept: Array | None = None) -> None:
        self.factor, self.scale, self.condition, self._kept = factor, scale, condition, kept

    @property
    def rank(self) -> int:
        """Number of directions."""
        return self.factor.shape[0]

    def whiten(self, f: Array) -> Array:
        """R^{-T} D F."""
        scaled = self.scale[:, None] * f
        return solve_triangular(self.factor, scaled if self._kept is None else scaled[self._kept], transpose=True)

    def directions(self, u: Array) -> Array:
        """D R^{-1} U."""
        solved = solve_triangular(self.factor, u)
        if self._kept is None:
            return self.scale[:, None] * solved
        directions = self.scale[:, None] * namespace(u).zeros_like(u[:1])
        directions[self._kept] = self.scale[self._kept, None] * solved
        return directions


class Basis:
    """A covariance on the span of directions W (d x r), W^T C W = I.

    Parameters
    ----------
    basis : array of shape (d, r)
    condition : float
    """

    def __init__(self, basis: Array, condition: float) -> None:
        self.basis, self.condition = basis, condition

    @property
    def rank(self) -> int:
        """Number of directions."""
        return self.basis.shape[1]

    def whiten(self, f: Array) -> Array:
        """W^T F."""
        return self.basis.mT @ f

    def directions(self, u: Array) -> Array:
        """W U."""
        return self.basis @ u


def factor_condition(r: Array, steps: int = 8) -> float:
    """Estimate of cond(R^T R) by a few steps of power iteration with it and with its inverse, from below."""
    xp = namespace(r)
    largest = smallest = standard_normal(0, (r.shape[0], 1), r)
    for _ in range(steps):
        largest, smallest = largest / xp.linalg.vector_norm(largest), smallest / xp.linalg.vector_norm(smallest)
        largest = r.mT @ (r @ largest)
        smallest = solve_triangular(r, solve_triangular(r, smallest, transpose=True))
    return float(xp.linalg.vector_norm(largest) * xp.linalg.vector_norm(smallest))


def is_precise(variances: Sequence[Array], directions: Sequence[Array], condition: float, like: Array) -> bool:
    """Whether products in the precision of the data are good enough for what has been found from them.

    Entries of a covariance have errors of a few e s_i s_j, with the machine epsilon e and the deviations s of the
    columns. To first order the quotient or correlation of directions u then has an error of so many e sum_i (s_i u_i)^2
    at most; the second order is that times e cond(S) over a gap, which is not known.

    Parameters
    ----------
    variances : sequence of array of shape (d,)
        Of the columns of each view, without a ridge.
    directions : sequence of array of shape (d, p)
        Of each view, of unit variance, a ridge included.
    condition : float
    like : array
        Of the kind of the data.
    """
    xp, epsilon = namespace(directions[0]), machine_epsilon(like)
    sizes = [xp.sum(v[:, None] * u * u, axis=0) for v, u in zip(variances, directions, strict=True)]
    first_order = epsilon * float(xp.max(sum(sizes[1:], sizes[0])))
    return first_order <= SINGLE_PRECISION_ERROR and epsilon * condition <= SINGLE_PRECISION_GROWTH


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


def count(chosen: Array) -> int:
    """Number of entries that are true."""
    xp = namespace(chosen)
    return int(xp.sum(xp.astype(chosen, xp.int64)))


def _warn_of_rank(rank: int, inverse_deviations: Array) -> None:
    """Say so where fewer directions stand clear of rounding than there are features that vary."""
    varying = count(inverse_deviations > 0)
    if rank < varying:
        warn_caller(
            f"X has numerical rank {rank} within its classes for {varying} features that vary and is truncated to it; "
            "reg > 0 or shrinkage keeps all directions"
        )
