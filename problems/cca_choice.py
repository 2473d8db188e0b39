"""Which solver of canonical correlation analysis is the fastest: a count of operations with measured constants.

The choice depends on sizes alone, never on timings at run time, so that it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from problems.sketch_sizes import SKETCH_FACTOR

EXPECTED_PASSES = 40
"""Passes that two-sided LOBPCG with a sketched preconditioner needs as a rule, its set-up included."""

EXPECTED_PCG_PASSES = 25
"""Passes over the large view that block PCG needs as a rule, its set-up included."""

NYSTROM_FACTORS = {"dense": 4.0, "sparse": 2.0, "no ridge": 16.0}
"""Passes of iterations with a Nystrom approximation, in those with a sketch."""


@dataclass(frozen=True)
class Costs:
    """Nanoseconds that the parts of solvers take on some machine, in double precision."""

    gram: float
    """Of a dense covariance for each row and pair of columns."""
    factor: float
    """Of a triangular factor for each cube of its order, and of whitening for each row, column and pivot."""
    singular: float
    """Of leading singular vectors for each cube of the smaller order."""
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
    algebra: float
    """Of the small matrices of an iteration for each row and square of the columns of the directions."""
    solve: float = 0.0
    """Of a dense solution whatever its size: what it takes to launch its operations."""
    iteration: float = 0.0
    """Of an iteration whatever its size."""


PROCESSOR = Costs(
    gram=0.0185, factor=0.03, singular=0.05, eigenvector=0.11, entry=1.0, column=0.16, sketch=0.4, sparse=1.0,
    sparse_gram=4.0, algebra=6.0,
)  # fmt: skip
"""Measured on two cores; ``benchmarks/solver_choice.py`` sets measured times beside the choice."""

GPU = Costs(
    gram=5.6e-5, factor=9e-5, singular=1.2e-4, eigenvector=5e-4, entry=0.01, column=1e-3, sketch=2e-3, sparse=1.0,
    sparse_gram=4.0, algebra=0.0, solve=1.2e7, iteration=3e6,
)  # fmt: skip
"""Of one NVIDIA H200. The direct solver's are fitted to six runs from 60,000 x (392 + 392) entries, in 0.015 s, to
60,000 x (8000 + 8000), in 1.13 s, of which none is off by more than 20 %; LOBPCG, which
takes 0.10 s to 1.96 s there, is estimated at one to two times as much. ``benchmarks/cuda.py`` measures both again."""

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
    n, views, machine = sizes.n, (sizes.dx, sizes.dy), _machine(sizes.gpu)
    widest, narrowest = max(views), min(views)
    block = min(narrowest, sizes.n_components + 4)
    costs = {"lobpcg": iterative_cost(n, views, sizes.density, block, machine, ridge=sizes.ridge)}
    if MATRICES * 8 * widest**2 <= MAX_DENSE_BYTES:
        factors = sum(d**3 for d in views) + widest * narrowest * (widest + narrowest)
        dense = machine.factor * factors + machine.singular * narrowest**3 + machine.solve
        costs["direct"] = covariance_cost(n, views, sizes.density, machine) + dense
    if 4 * narrowest < widest:
        large = 0 if sizes.dx == widest else 1
        costs["block-pcg"] = iterative_cost(
            n, [widest], [sizes.density[large]], narrowest, machine, ridge=sizes.ridge, passes=EXPECTED_PCG_PASSES
        )
    return costs


def _machine(gpu: bool) -> Costs:
    return GPU if gpu else PROCESSOR


def covariance_cost(n: int, views: Sequence[int], density: Sequence[float], machine: Costs) -> float:
    """Estimated nanoseconds of the dense covariances of some views."""
    if min(density) < 1:
        per_row = sum(d * share for d, share in zip(views, density, strict=True))
        return machine.sparse_gram * n * per_row**2
    return machine.gram * n * sum(views) ** 2


def iterative_cost(
    n: int,
    views: Sequence[int],
    density: Sequence[float],
    columns: int,
    machine: Costs,
    *,
    ridge: bool,
    passes: int = EXPECTED_PASSES,
) -> float:
    """Estimated nanoseconds of iterations on some views with so many columns, their preconditioner included."""
    plain = passes * _pass_cost(n, views, density, columns, machine)
    if _sketch_pays(n, views, density, columns, machine, ridge=ridge):
        return plain + machine.sketch * sum(d**3 for d in views)
    return _nystrom_factor(density, ridge) * plain


def sketch_pays(
    n: int, views: Sequence[int], density: Sequence[float], columns: int, *, ridge: bool, gpu: bool = False
) -> bool:
    """Whether sketches are smaller than the data, fit, and save more passes with so many columns than they cost."""
    return _sketch_pays(n, views, density, columns, _machine(gpu), ridge=ridge)


def _sketch_pays(
    n: int, views: Sequence[int], density: Sequence[float], columns: int, machine: Costs, *, ridge: bool
) -> bool:
    rows = SKETCH_FACTOR * max(views)
    if rows >= n or 8 * rows * sum(views) > MAX_DENSE_BYTES:
        return False
    saved = (_nystrom_factor(density, ridge) - 1) * EXPECTED_PASSES
    return machine.sketch * sum(d**3 for d in views) <= saved * _pass_cost(n, views, density, columns, machine)


def _nystrom_factor(density: Sequence[float], ridge: bool) -> float:
    return NYSTROM_FACTORS["no ridge" if not ridge else "sparse" if min(density) < 1 else "dense"]


def _pass_cost(n: int, views: Sequence[int], density: Sequence[float], columns: int, machine: Costs) -> float:
    entries = sum(n * d * share for d, share in zip(views, density, strict=True))
    per_column = machine.sparse if min(density) < 1 else machine.column
    product = entries * (machine.entry + per_column * columns)
    return product + machine.algebra * sum(views) * columns**2 + machine.iteration


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
    order, machine = sum(views), _machine(gpu)
    if 8 * MATRICES * order**2 > MAX_DENSE_BYTES:
        return "lobpcg"
    direct = covariance_cost(n, views, density, machine) + machine.eigenvector * order**3 + machine.solve
    iterative = iterative_cost(n, views, density, n_components + 4, machine, ridge=ridge)
    return "direct" if direct <= iterative else "lobpcg"
