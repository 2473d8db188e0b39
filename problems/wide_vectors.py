"""Vectors in double precision over data in single precision: what is long is single, what is narrow is double.

A pass over single-precision data knows its products up to rounding. A solver that also keeps its d x p vectors in
single precision loses more: inner products x^T (S w) of vectors that are large where S is small are off by machine
epsilons times the root of the condition number of S, again in every step. In double precision they cost next to nothing
beside a pass, and what rounds in a pass is all that is lost. How much that is, is measured, by products that should be
multiples of each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from manifolds.linalg import Array, is_array, machine_epsilon, namespace, standard_normal

_COLUMNS = 4
"""Random directions of each view whose products are compared."""

_SAFETY = 3
"""Norms that no run gets below are up to 2.4 times the measured ones: directions of solutions are no random ones."""


class WideData:
    """Data in single precision that takes and gives vectors in double precision.

    Directions are rounded for a pass, which changes their products by less than its own rounding does.

    Parameters
    ----------
    data : PairedViews or MultiviewData

    Attributes
    ----------
    like : array
        Empty array of the kind of the vectors.
    epsilon : float
        Machine epsilon of the data.
    n_features : tuple of int
    n_passes : int
        Reads of the data so far.
    """

    def __init__(self, data: Any) -> None:
        self._data, self.n_features, self.epsilon = data, data.n_features, machine_epsilon(data.like)
        self._dtype, self.like = data.like.dtype, _widened(data.like)

    @property
    def n_passes(self) -> int:
        return int(self._data.n_passes)

    def products(self, *directions: Any) -> Any:
        """What ``products`` of the data gives."""
        return _widened(self._data.products(*cast_parts(directions, self._dtype)))

    def own_products(self, directions: Any) -> Any:
        """What ``own_products`` of the data gives."""
        return _widened(self._data.own_products(cast_parts(directions, self._dtype)))

    def view_product(self, view: int, a: Array) -> Array:
        """What ``view_product`` of the data gives."""
        return _widened(self._data.view_product(view, cast_parts(a, self._dtype)))


class WideMetric:
    """A preconditioner in single precision that takes and gives vectors in double precision.

    Parameters
    ----------
    metric : object with ``solve``
    dtype : dtype
        Of the metric's own arrays.
    """

    def __init__(self, metric: Any, dtype: Any) -> None:
        self._metric, self._dtype = metric, dtype

    def solve(self, v: Array) -> Array:
        """M^{-1} v."""
        return _widened(self._metric.solve(cast_parts(v, self._dtype)))


class WideVectors(NamedTuple):
    """What solvers with vectors in double precision run on."""

    data: Any
    metrics: tuple[Any, ...]
    rounding: float
    """Norm in M^{-1} of what rounding leaves of S_i a_i + S_ij a_j for one column a, over all views; zero where the
    data are in double precision themselves."""


def wide_vectors(data: Any, metrics: tuple[Any, ...]) -> WideVectors:
    """Data and preconditioners for vectors in double precision: themselves, unless they are in single precision.

    In single precision rounding is measured, by a pass.

    Parameters
    ----------
    data : PairedViews or MultiviewData
    metrics : sequence of object with ``solve``
        M of each view.
    """
    wide = with_wide_vectors(data)
    if not isinstance(wide, WideData):
        return WideVectors(data, tuple(metrics), 0.0)
    metrics = tuple(WideMetric(metric, data.like.dtype) for metric in metrics)
    return WideVectors(wide, metrics, _measured_rounding(wide, metrics))


def with_wide_vectors(data: Any) -> Any:
    """Data that take vectors in double precision: themselves, unless they are in single precision."""
    return data if machine_epsilon(data.like) < 1e-10 else WideData(data)


def products_epsilon(data: Any) -> float:
    """Machine epsilon of the arithmetic that products with covariances come from."""
    return data.epsilon if isinstance(data, WideData) else machine_epsilon(data.like)


def _measured_rounding(data: WideData, metrics: tuple[Any, ...]) -> float:
    """Rounding of products by those of random a and 2^(1/2) a, whose scores have unit variance, in one pass."""
    xp, ratio = namespace(data.like), 2.0**0.5
    directions = [standard_normal(seed, (d, _COLUMNS), data.like) for seed, d in enumerate(data.n_features)]
    products = data.own_products([xp.concat([a, ratio * a], axis=1) for a in directions])
    squares = 0.0
    for a, product, metric in zip(directions, products, metrics, strict=True):
        once, again = product[:, :_COLUMNS], product[:, _COLUMNS:] / ratio
        error = (once - again) / xp.sqrt(xp.sum(a * once, axis=0))
        squares += float(xp.sum(error * metric.solve(error))) / _COLUMNS
    # A difference of two products has the errors of both, as a residual has.
    return _SAFETY * max(squares, 0.0) ** 0.5


def _widened(parts: Any) -> Any:
    """Arrays in double precision."""
    first = parts
    while not is_array(first):
        first = first[0]
    return cast_parts(parts, namespace(first).float64)


def cast_parts(parts: Any, dtype: Any) -> Any:
    """An array, or sequences or named tuples of arrays, in a dtype."""
    if is_array(parts):
        return namespace(parts).astype(parts, dtype, copy=False)
    cast = [cast_parts(part, dtype) for part in parts]
    return parts._make(cast) if hasattr(parts, "_make") else cast
