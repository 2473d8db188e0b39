"""Canonical pairs, in a form that does not depend on how they were found, and what follows from them."""

from __future__ import annotations

from typing import NamedTuple

from manifolds.linalg import Array, machine_epsilon, namespace, symmetric_part
from problems.data import CovarianceProducts


class CanonicalPairs(NamedTuple):
    """Leading canonical correlations and vectors."""

    correlations: Array
    """Shape (p,), decreasing."""
    u: Array
    """Shape (dx, p), with u^T Sxx u = I."""
    v: Array
    """Shape (dy, p), with v^T Syy v = I."""


def with_fixed_signs(pairs: CanonicalPairs, products: CovarianceProducts) -> tuple[CanonicalPairs, CovarianceProducts]:
    """Pairs whose signs do not depend on the solver: the largest weight of each x direction is positive."""
    signs = signs_of(pairs.u)
    signed = CovarianceProducts(*(part * signs for part in products))
    return CanonicalPairs(pairs.correlations, pairs.u * signs, pairs.v * signs), signed


def signs_of(directions: Array) -> Array:
    """Sign of the largest entry of each column, shape (p,)."""
    xp = namespace(directions)
    largest = xp.max(directions, axis=0) >= -xp.min(directions, axis=0)
    return xp.where(largest, xp.ones_like(directions[0]), -xp.ones_like(directions[0]))


def loadings_of(directions: Array, products: Array, reg: float) -> Array:
    """Coefficients S u (u^T S u)^+ of the regression of a view on its scores, S without the ridge.

    With a ridge scores may be constant, and predict nothing. As u^T (S + reg I) u = I, the rounding of their variances
    is that of one.
    """
    xp, plain = namespace(products), products - reg * directions if reg else products
    variances, axes = xp.linalg.eigh(symmetric_part(directions.mT @ plain))
    clear = variances > 10 * variances.shape[0] * machine_epsilon(variances)
    inverse = xp.where(clear, 1 / xp.where(clear, variances, xp.ones_like(variances)), 0 * variances)
    return plain @ ((axes * inverse) @ axes.mT)
