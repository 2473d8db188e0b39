"""Covariances by a factor or by directions of unit variance, and whether their rounding lets them be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from manifolds.linalg import Array, machine_epsilon, namespace, solve_triangular, standard_normal

SINGLE_PRECISION_ERROR = 2e-5
"""Machine epsilon times sum_i (s_i u_i)^2 up to which products of single-precision data are trusted: a fifth of the
error of eigenvalues or correlations that is allowed."""

SINGLE_PRECISION_GROWTH = 2e-2
"""Condition number of a covariance times the machine epsilon up to which these products are trusted."""


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


def count(chosen: Array) -> int:
    """Number of entries that are true."""
    xp = namespace(chosen)
    return int(xp.sum(xp.astype(chosen, xp.int64)))
