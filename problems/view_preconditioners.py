"""Preconditioners of the views for iterative solvers: how the covariance of each is approximated, and how well."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from manifolds.extreme_eigenvalues import extreme_eigenvalues
from manifolds.linalg import Array, is_torch_array, machine_epsilon, namespace, triangular_condition
from manifolds.nystrom import NystromPreconditioner
from manifolds.preconditioners import (
    CholeskyPreconditioner,
    DiagonalPreconditioner,
    IdentityPreconditioner,
    SketchedGramPreconditioner,
)
from manifolds.probes import NotPositiveDefiniteError
from manifolds.sketching import CountSketch, Sketch, SparseSignSketch
from problems.cca_choice import sketch_pays
from problems.cca_direct import no_variance
from problems.data import PairedViews, ViewCovariance
from problems.data_matrix import DataMatrix
from problems.multiview_data import MultiviewData, row_parts
from problems.row_blocks import density
from problems.sketch_sizes import MAX_SKETCHED_CONDITION, SKETCH_FACTOR

LANCZOS_STEPS = 5
"""Passes that estimate this condition number."""

NYSTROM_RANK = 128
"""Columns of a Nystrom approximation."""

WARM_START_FACTOR = 8
"""Rows of the sketch per column from which solving the sketched problem gives a better start than a random one."""

PRECONDITIONERS = ("auto", "sketched", "nystrom", "diagonal", "exact", "identity")


class ViewPreconditioners(NamedTuple):
    """Preconditioners of some views and what is known of them."""

    metrics: tuple[Any, ...]
    condition: float | None
    """Estimate of cond(M^{-1} S) of the views together, from below."""
    sketch_size: int | None = None
    sketches: tuple[Array, ...] | None = None
    """Sketches of the centred views, for a warm start, where they are large enough for it."""


def view_preconditioners(
    data: PairedViews | MultiviewData,
    name: str,
    columns: int,
    rng: np.random.Generator,
    view: int | None = None,
) -> ViewPreconditioners:
    """Preconditioners of all views, or of one of them, by name.

    Parameters
    ----------
    data : PairedViews or MultiviewData
    name : {"auto", "sketched", "nystrom", "diagonal", "exact", "identity"}
        ``"auto"`` sketches where the sketches are smaller than the data, fit, and the passes they save are worth them;
        otherwise it takes the Nystrom approximation.
    columns : int
        Of the directions that a pass of the solver multiplies, which say what a pass costs.
    rng : numpy.random.Generator
    view : int, optional
        Index of the only view that needs one; all when left out.

    Raises
    ------
    ValueError
        If a view is rank deficient and has no ridge; with ``"identity"``, if it does not vary at all.
    """
    views = tuple(range(len(data.views))) if view is None else (view,)
    chosen = [data.views[i] for i in views]
    widest = max(part.n_features for part in chosen)
    seed = int(rng.integers(2**32))
    if name == "auto":
        widths, stored = [part.n_features for part in chosen], [density(part.data) for part in chosen]
        ridge, gpu = min(part.reg for part in chosen) > 0, is_torch_array(data.like) and data.like.device.type != "cpu"
        pays = sketch_pays(data.n_samples, widths, stored, columns, ridge=ridge, gpu=gpu)
        name = "sketched" if pays else "nystrom"
    if name == "sketched":
        return _sketched(data, views, SKETCH_FACTOR * widest, seed)
    if name == "identity":
        _require_variance(data, views)
        return ViewPreconditioners(tuple(IdentityPreconditioner() for _ in views), None)
    if name == "exact":
        metrics: tuple[Any, ...] = tuple(CholeskyPreconditioner(gram) for gram in _grams(data, views))
        _require_full_rank(metrics, 10 * machine_epsilon(data.like), chosen)
        return ViewPreconditioners(metrics, 1.0)
    if name == "diagonal":
        metrics = tuple(DiagonalPreconditioner(_positive(part.diagonal(), part.name)) for part in chosen)
    else:
        metrics = tuple(
            NystromPreconditioner(_WithoutRidge(part), min(NYSTROM_RANK, part.n_features), part.reg, rng=seed)
            for part in chosen
        )
    return ViewPreconditioners(metrics, condition(data, views, metrics, seed))


def condition(data: PairedViews | MultiviewData, views: tuple[int, ...], metrics: tuple[Any, ...], seed: int) -> float:
    """Estimate of cond(M^{-1} S) of some views as one, by a few steps of Lanczos, a pass each."""
    operator: Any = ViewCovariance(data, views[0]) if len(views) == 1 else _Joint(data)
    metric = metrics[0] if len(views) == 1 else JointMetric(data, metrics)
    return extreme_eigenvalues(operator, metric, steps=LANCZOS_STEPS, rng=seed).condition


def _grams(data: PairedViews | MultiviewData, views: tuple[int, ...]) -> tuple[Array, ...]:
    """Covariances of all views or of one, by one pass."""
    return (data.views[views[0]].gram(),) if len(views) == 1 else data.own_covariances()


def _sketched(data: PairedViews | MultiviewData, views: tuple[int, ...], size: int, seed: int) -> ViewPreconditioners:
    """Sketched preconditioners, by larger sketches until the condition number is small."""
    chosen = [data.views[i] for i in views]
    widest = max(view.n_features for view in chosen)
    sketch: Sketch = CountSketch(size, seed)
    while True:
        sketches = data.sketch(sketch) if len(views) > 1 else (chosen[0].sketch(sketch),)
        metrics = tuple(_sketched_metric(part, view) for part, view in zip(sketches, chosen, strict=True))
        _require_full_rank(metrics, (10 * machine_epsilon(data.like)) ** 2, chosen)
        estimate = condition(data, views, metrics, seed)
        if estimate <= MAX_SKETCHED_CONDITION or 4 * size > data.n_samples:
            break
        # Several signs per row also tell rows apart that outweigh the others.
        size *= 2
        sketch = SparseSignSketch(size, seed)
    return ViewPreconditioners(metrics, estimate, size, sketches if size >= WARM_START_FACTOR * widest else None)


def _require_variance(data: PairedViews | MultiviewData, views: tuple[int, ...]) -> None:
    """Raise a ValueError where a view does not vary and has no ridge, by the pass that gives the means."""
    chosen = [data.views[i] for i in views]
    if all(view.reg for view in chosen):
        return
    diagonals = (chosen[0].diagonal(),) if len(views) == 1 else data.diagonals()
    for view, diagonal in zip(chosen, diagonals, strict=True):
        if not bool(namespace(diagonal).any(diagonal > 0)):
            raise no_variance(view.name)


def _sketched_metric(sketched: Array, view: DataMatrix) -> SketchedGramPreconditioner:
    try:
        return SketchedGramPreconditioner(sketched, view.reg)
    except NotPositiveDefiniteError:
        raise _rank_deficient(view.name) from None


def _require_full_rank(metrics: tuple[Any, ...], rounding: float, views: list[DataMatrix]) -> None:
    """Raise a ValueError where rounding is all that keeps the metric of a view from being singular."""
    for view, metric in zip(views, metrics, strict=True):
        if triangular_condition(metric.factor) * rounding > 1:
            raise _rank_deficient(view.name)


def _rank_deficient(name: str) -> ValueError:
    return ValueError(
        f"{name} is numerically rank deficient; add a ridge (reg > 0) or use a solver that truncates it: 'direct', or "
        "'cholesky-qr' for two views"
    )


def _positive(diagonal: Array, name: str) -> Array:
    if not bool(namespace(diagonal).all(diagonal > 0)):
        raise ValueError(
            f"{name} has constant columns, so a diagonal preconditioner is singular; drop them or add a ridge (reg > 0)"
        )
    return diagonal


class _WithoutRidge:
    """Covariance of one view without its ridge."""

    def __init__(self, view: DataMatrix) -> None:
        self._view, self.shape, self.like, self.dtype = view, view.shape, view.like, view.dtype

    def __matmul__(self, a: Array) -> Array:
        return self._view.products(a) - self._view.reg * a


class _Joint:
    """Covariances of all views as the blocks of one matrix: a product is one pass."""

    def __init__(self, data: PairedViews | MultiviewData) -> None:
        self._data, self.like, self.dtype = data, data.like, data.like.dtype
        self.shape = (sum(data.n_features),) * 2

    def __matmul__(self, v: Array) -> Array:
        products = self._data.own_products(row_parts(v, self._data.n_features))
        return namespace(v).concat(products, axis=0)


class JointMetric:
    """Preconditioners of views as the blocks of one."""

    def __init__(self, data: PairedViews | MultiviewData, metrics: tuple[Any, ...]) -> None:
        self._sizes, self._metrics = data.n_features, metrics

    def solve(self, v: Array) -> Array:
        parts = row_parts(v, self._sizes)
        solved = [metric.solve(part) for metric, part in zip(self._metrics, parts, strict=True)]
        return namespace(v).concat(solved, axis=0)
