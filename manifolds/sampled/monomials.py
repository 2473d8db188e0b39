"""Polynomials of several variables in the monomial basis, ordered by degree."""

from __future__ import annotations

from itertools import combinations_with_replacement

from manifolds.linalg import Array, namespace


def monomial_factors(dim: int, degree: int) -> list[tuple[int, ...]]:
    """Variables of each monomial, with multiplicity: ``()``, ``(0,)``, ..., ``(0, 0)``, ``(0, 1)``, ...

    Examples
    --------
    >>> monomial_factors(2, 2)
    [(), (0,), (1,), (0, 0), (0, 1), (1, 1)]
    """
    return [factors for order in range(degree + 1) for factors in combinations_with_replacement(range(dim), order)]


def vandermonde(x: Array, factors: list[tuple[int, ...]]) -> Array:
    """Monomials (..., K, M) at points (..., K, d)."""
    xp = namespace(x)
    columns: dict[tuple[int, ...], Array] = {(): xp.ones_like(x[..., 0])}
    for monomial in factors[1:]:
        columns[monomial] = columns[monomial[:-1]] * x[..., monomial[-1]]
    return xp.stack([columns[monomial] for monomial in factors], axis=-1)


def second_derivatives(coefficients: Array, factors: list[tuple[int, ...]], dim: int) -> Array:
    """Second derivatives (..., d, d, c) at the origin of polynomials with coefficients (..., M, c)."""
    xp = namespace(coefficients)
    rows = []
    for i in range(dim):
        row = []
        for j in range(dim):
            entry = coefficients[..., factors.index((min(i, j), max(i, j))), :]
            row.append(2 * entry if i == j else entry)
        rows.append(xp.stack(row, axis=-2))
    return xp.stack(rows, axis=-3)
