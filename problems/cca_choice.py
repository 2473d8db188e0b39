"""Which solver of canonical correlation analysis is the fastest: a count of operations with measured constants.

The choice depends on sizes alone, never on timings at run time, so that it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXPECTED_PASSES = 40
"""Passes that two-sided LOBPCG with a sketched preconditioner needs as a rule, its set-up included."""

EXPECTED_PCG_PASSES = 25
"""Passes over the large view that block PCG needs as a rule, its set-up included."""

GRAM_COST = 0.0185
"""Nanoseconds of a dense covariance for each row and pair of columns."""

FACTOR_COST = 0.03
"""Nanoseconds of a triangular factor for each cube of its order, and of whitening for each row, column and pivot."""

SINGULAR_COST = 0.05
"""Nanoseconds of leading singular vectors for each cube of the smaller order."""

EIGENVECTOR_COST = 0.11
"""Nanoseconds of leading eigenvectors for each cube of the order."""

PASS_COST = 1.0
"""Nanoseconds of a pass for each entry of the data."""

COLUMN_COST = 0.16
"""Nanoseconds more for each entry and column of the directions."""

SKETCH_COST = 0.4
"""Nanoseconds of factorising a sketch with four rows per column, for each cube of the columns of a view."""

SPARSE_COST = 1.0
"""Nanoseconds more for each stored entry of sparse data and column of the directions."""

ITERATION_COST = 6.0
"""Nanoseconds of the algebra of an iteration for each row and square of the columns of the directions."""

NYSTROM_FACTORS = {"dense": 4.0, "sparse": 2.0, "no ridge": 16.0}
"""Passes of iterations with a Nystrom approximation, in those with a sketch."""

SPARSE_GRAM_COST = 4.0
"""Nanoseconds of a sparse covariance for each pair of stored entries of a row."""

GPU_GRAM_SPEED = 8.0
"""How much faster than a pass a covariance is on a GPU, in comparison with a processor."""

MAX_DENSE_BYTES = 2**33
"""Bytes of the dense matrices of a solver, beyond which it is not chosen."""

MATRICES = 8
"""Matrices of d x d numbers that the direct solver holds at most, with d the columns of the wider view."""


@dataclass(frozen=True)
class Sizes:
    """What the choice depends on.

    Parameters
    ----------
    n, dx, dy : int
        Rows, and columns of each view.
    n_components : int
    density : tuple of float
        Stored share of the entries of each view; 1 where it is dense.
    gpu : bool
        Whether the data are on a GPU.
    ridge : bool
        Whether both views have a ridge.
    """

    n: int
    dx: int
    dy: int
    n_components: int
    density: tuple[float, float] = (1.0, 1.0)
    gpu: bool = False
    ridge: bool = False


def estimated_costs(sizes: Sizes) -> dict[str, float]:
    """Estimated nanoseconds of the solvers that fit into memory, by name.

    Examples
    --------
    >>> costs = estimated_costs(Sizes(n=200_000, dx=400, dy=400, n_components=5))
    >>> min(costs, key=costs.get)
    'direct'
    >>> costs = estimated_costs(Sizes(n=200_000, dx=8000, dy=8000, n_components=5))
    >>> min(costs, key=costs.get)
    'lobpcg'
    """
    n, views = sizes.n, (sizes.dx, sizes.dy)
    widest, narrowest = max(views), min(views)
    block = min(narrowest, sizes.n_components + 4)
    costs = {"lobpcg": iterative_cost(n, views, sizes.density, block, ridge=sizes.ridge)}
    if MATRICES * 8 * widest**2 <= MAX_DENSE_BYTES:
        factors = sum(d**3 for d in views) + widest * narrowest * (widest + narrowest)
        dense = FACTOR_COST * factors + SINGULAR_COST * narrowest**3
        costs["direct"] = covariance_cost(n, views, sizes.density, gpu=sizes.gpu) + dense
    if 4 * narrowest < widest:
        large = 0 if sizes.dx == widest else 1
        costs["block-pcg"] = iterative_cost(
            n, [widest], [sizes.density[large]], narrowest, ridge=sizes.ridge, passes=EXPECTED_PCG_PASSES
        )
    return costs


def covariance_cost(n: int, views: Sequence[int], density: Sequence[float], *, gpu: bool) -> float:
    """Estimated nanoseconds of the dense covariances of some views."""
    if min(density) < 1:
        per_row = sum(d * share for d, share in zip(views, density, strict=True))
        cost = SPARSE_GRAM_COST * n * per_row**2
    else:
        cost = GRAM_COST * n * sum(views) ** 2
    return cost / GPU_GRAM_SPEED if gpu else cost


def iterative_cost(
    n: int, views: Sequence[int], density: Sequence[float], columns: int, *, ridge: bool, passes: int = EXPECTED_PASSES
) -> float:
    """Estimated nanoseconds of iterations on some views with so many columns, their preconditioner included."""
    plain = passes * _pass_cost(n, views, density, columns)
    if sketch_pays(n, views, density, ridge=ridge):
        return plain + SKETCH_COST * sum(d**3 for d in views)
    return _nystrom_factor(density, ridge) * plain


def sketch_pays(n: int, views: Sequence[int], density: Sequence[float], *, ridge: bool, columns: int = 10) -> bool:
    """Whether a sketch is smaller than the data, its factors fit, and they save more passes than they cost."""
    widest = max(views)
    if 4 * widest >= n or 8 * widest**2 * 2 > MAX_DENSE_BYTES:
        return False
    saved = (_nystrom_factor(density, ridge) - 1) * EXPECTED_PASSES
    return SKETCH_COST * sum(d**3 for d in views) <= saved * _pass_cost(n, views, density, columns)


def _nystrom_factor(density: Sequence[float], ridge: bool) -> float:
    return NYSTROM_FACTORS["no ridge" if not ridge else "sparse" if min(density) < 1 else "dense"]


def _pass_cost(n: int, views: Sequence[int], density: Sequence[float], columns: int) -> float:
    entries = sum(n * d * share for d, share in zip(views, density, strict=True))
    product = entries * (PASS_COST + (SPARSE_COST if min(density) < 1 else COLUMN_COST) * columns)
    return product + ITERATION_COST * sum(views) * columns**2


def choose_solver(sizes: Sizes) -> str:
    """Name of the solver with the least estimated cost.

    With fewer rows than columns and no ridge, randomized Cholesky-QR: it works with the rows where the others need full
    rank.
    """
    if sizes.n <= max(sizes.dx, sizes.dy) and not sizes.ridge:
        return "cholesky-qr"
    costs = estimated_costs(sizes)
    return min(costs, key=lambda name: costs[name])


def choose_multiview_solver(
    n: int, views: Sequence[int], n_components: int, density: Sequence[float], *, ridge: bool = False, gpu: bool = False
) -> str:
    """``"direct"`` or ``"lobpcg"``, whichever has the lower estimated cost for several views.

    Examples
    --------
    >>> choose_multiview_solver(200_000, [400, 400, 400], 5, [1.0] * 3)
    'direct'
    >>> choose_multiview_solver(200_000, [8000] * 4, 5, [1.0] * 4)
    'lobpcg'
    """
    order = sum(views)
    if 8 * MATRICES * order**2 > MAX_DENSE_BYTES:
        return "lobpcg"
    direct = covariance_cost(n, views, density, gpu=gpu) + EIGENVECTOR_COST * order**3
    iterative = iterative_cost(n, views, density, n_components + 4, ridge=ridge)
    return "direct" if direct <= iterative else "lobpcg"
