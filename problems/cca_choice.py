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


@dataclass(frozen=True)
class Costs:
    """Nanoseconds that the parts of solvers take on some machine, in double precision."""

    gram: float
    """Of a dense covariance for each row and pair of columns."""
    factor: float
    """Of the dense solution (factors, whitening, singular vectors) for each cube of the columns of a view."""
    eigenvector: float
    """Of leading eigenvectors for each cube of the order."""
    entry: float
    """Of a pass for each entry of the data."""
    column: float
    """More for each entry and column of the directions."""
    sketch: float
    """Of factorising a sketch with four rows per column, for each cube of the columns of a view."""
    sparse: float
    """More for each stored entry of sparse data and column of the directions."""
    sparse_gram: float
    """Of a sparse covariance for each pair of stored entries of a row."""
    solve: float = 0.0
    """Of a dense solution whatever its size: what it takes to launch its operations."""
    iteration: float = 0.0
    """Of an iteration whatever its size."""


PROCESSOR = Costs(
    gram=0.0185, factor=0.06, eigenvector=0.11, entry=1.0, column=0.3, sketch=0.2, sparse=1.0, sparse_gram=4.0
)
"""Measured on two cores."""

GPU = Costs(
    gram=5.6e-5, factor=2.4e-4, eigenvector=5e-4, entry=0.01, column=1e-3, sketch=2e-3, sparse=1.0, sparse_gram=4.0,
    solve=1.2e7, iteration=3e6,
)  # fmt: skip
"""Of one NVIDIA H200. The direct solver's are fitted to six runs from 60,000 x (392 + 392) entries, in 0.015 s, to
60,000 x (8000 + 8000), in 1.13 s, of which none is off by more than 20 %. Those of passes are what its memory and the
launches of an iteration take; ``benchmarks/cuda.py`` sets measured times beside the estimated ones."""

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
    n, views, machine = sizes.n, (sizes.dx, sizes.dy), GPU if sizes.gpu else PROCESSOR
    widest, narrowest = max(views), min(views)
    block = min(narrowest, sizes.n_components + 4)
    costs = {"lobpcg": iterative_cost(n, views, sizes.density, block, machine)}
    if MATRICES * 8 * widest**2 <= MAX_DENSE_BYTES:
        cubes = sum(d**3 for d in views)
        costs["direct"] = covariance_cost(n, views, sizes.density, machine) + machine.factor * cubes + machine.solve
    if 4 * narrowest < widest:
        large = max(_entries(n, views, sizes.density))
        sketched = _sketch_pays(n, widest)
        passes = EXPECTED_PCG_PASSES * _pass_cost(large, narrowest, sizes.density, machine)
        costs["block-pcg"] = passes + machine.sketch * widest**3 if sketched else 4 * passes
    return costs


def covariance_cost(n: int, views: Sequence[int], density: Sequence[float], machine: Costs) -> float:
    """Estimated nanoseconds of the dense covariances of some views."""
    if min(density) < 1:
        per_row = sum(d * share for d, share in zip(views, density, strict=True))
        return machine.sparse_gram * n * per_row**2
    return machine.gram * n * sum(views) ** 2


def iterative_cost(n: int, views: Sequence[int], density: Sequence[float], columns: int, machine: Costs) -> float:
    """Estimated nanoseconds of LOBPCG on some views with so many columns, its preconditioner included."""
    passes = EXPECTED_PASSES * _pass_cost(sum(_entries(n, views, density)), columns, density, machine)
    return passes + machine.sketch * sum(d**3 for d in views) if _sketch_pays(n, max(views)) else 4 * passes


def _entries(n: int, views: Sequence[int], density: Sequence[float]) -> list[float]:
    """Stored entries of each view."""
    return [n * d * share for d, share in zip(views, density, strict=True)]


def _pass_cost(entries: float, columns: int, density: Sequence[float], machine: Costs) -> float:
    per_column = machine.sparse if min(density) < 1 else machine.column
    return entries * (machine.entry + per_column * columns) + machine.iteration


def _sketch_pays(n: int, widest: int) -> bool:
    """Whether a sketch is smaller than the data and its factors fit."""
    return 4 * widest < n and 8 * widest**2 * 2 <= MAX_DENSE_BYTES


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
    n: int, views: Sequence[int], n_components: int, density: Sequence[float], *, gpu: bool = False
) -> str:
    """``"direct"`` or ``"lobpcg"``, whichever has the lower estimated cost for several views.

    Examples
    --------
    >>> choose_multiview_solver(200_000, [400, 400, 400], 5, [1.0] * 3)
    'direct'
    >>> choose_multiview_solver(200_000, [8000] * 4, 5, [1.0] * 4)
    'lobpcg'
    """
    order, machine = sum(views), GPU if gpu else PROCESSOR
    if 8 * MATRICES * order**2 > MAX_DENSE_BYTES:
        return "lobpcg"
    direct = covariance_cost(n, views, density, machine) + machine.eigenvector * order**3 + machine.solve
    return "direct" if direct <= iterative_cost(n, views, density, n_components + 4, machine) else "lobpcg"
