"""Two views of one data set as covariance operators: everything is read in row blocks, and reads are counted.

With X (n x dx) and Y (n x dy) and their column means removed implicitly, the covariances are

    Sxx = Xc^T Xc / n + reg_x I,    Syy = Yc^T Yc / n + reg_y I,    Sxy = Xc^T Yc / n.

A *pass* reads every row of both views once, each block for both at a time. The centred data is never formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import (
    Array,
    identity,
    is_array,
    is_torch_array,
    namespace,
    require_real_floating,
    require_same_kind,
)
from manifolds.sketching import Sketch
from problems.row_reduction import RowReduction

_GATHER_BYTES = 2**27
"""Size at most of a row block of both views in a pass that makes means, a sketch or covariances."""

_BLOCK_BYTES = 3 * 2**19
"""Default size of a row block of both views: small enough to stay in a core's cache between its two products."""


class CovarianceProducts(NamedTuple):
    """Products of the covariances with a pair of directions (a, b)."""

    xx: Array
    """Sxx a, shape (dx, p)."""
    xy: Array
    """Sxy b, shape (dx, p)."""
    yy: Array
    """Syy b, shape (dy, p)."""
    yx: Array
    """Sxy^T a, shape (dy, p)."""


class Moments(NamedTuple):
    """Column means of a view, and what its columns are divided by."""

    mean: Array
    scale: Array


class Covariances(NamedTuple):
    """Dense covariances of two views."""

    xx: Array
    xy: Array
    yy: Array


class CovarianceMatrices:
    """Dense covariances with the face of ``PairedViews``; a pass is then one product with them.

    Parameters
    ----------
    covariances : Covariances

    Attributes
    ----------
    n_passes : int
        Products so far.
    """

    def __init__(self, covariances: Covariances) -> None:
        self.covariances = Covariances(*covariances)
        self.n_features = (self.covariances.xx.shape[0], self.covariances.yy.shape[0])
        self.n_passes = 0

    @property
    def like(self) -> Array:
        """Empty array of the data's kind."""
        return self.covariances.xx[:0]

    def products(self, a: Array, b: Array) -> CovarianceProducts:
        """Products with a pair of directions, shapes (dx, p) and (dy, p)."""
        self.n_passes += 1
        xx, xy, yy = self.covariances
        return CovarianceProducts(xx @ a, xy @ b, yy @ b, xy.mT @ a)

    def view_product(self, view: int, a: Array) -> Array:
        """Product of the covariance of one view (0 or 1) with a direction."""
        self.n_passes += 1
        return (self.covariances.yy if view else self.covariances.xx) @ a


class PairedViews:
    """Two views with the same rows, read in row blocks: means, sketches, covariances and their products.

    Parameters
    ----------
    x : array of shape (n, dx)
    y : array of shape (n, dy)
        numpy arrays or torch tensors of one dtype on one device; they are read, never copied or changed.
    reg : float or pair of float
        Ridge on the covariances, one for both views or one per view.
    scale : bool
        Whether columns are divided by their standard deviations, implicitly like the centring; the ridge then stands on
        correlations, and directions are in units of standard deviations.
    block_rows : int, optional
        Rows per block at most.

    Attributes
    ----------
    n_passes : int
        Reads of the data so far; a read of one view counts as one.

    Raises
    ------
    TypeError, ValueError
        If the views are not real floating matrices of one kind with the same number of rows, or hold NaN or infinity
        (found in the first pass, not in an extra one).
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        *,
        reg: float | tuple[float, float] = 0.0,
        scale: bool = False,
        block_rows: int | None = None,
    ) -> None:
        for name, view in (("X", x), ("y", y)):
            if not is_array(view):
                raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(view).__name__}")
            if view.ndim != 2 or 0 in view.shape:
                raise ValueError(
                    f"{name} must be a matrix (samples x features) that is not empty, got shape {tuple(view.shape)}"
                )
            require_real_floating(view, name)
        require_same_kind(y, x, "y", "X")
        if x.shape[0] != y.shape[0]:
            raise ValueError(f"X and y must have the same number of rows, got {x.shape[0]} and {y.shape[0]}")
        self.x, self.y = x, y
        self.reg = as_pair(reg)
        self.n_samples = x.shape[0]
        self.n_features = (x.shape[1], y.shape[1])
        row_bytes = (x.shape[1] + y.shape[1]) * (8 if namespace(x).finfo(x.dtype).bits == 64 else 4)
        self.block_rows = max(64, _BLOCK_BYTES // row_bytes) if block_rows is None else int(block_rows)
        if self.block_rows < 1:
            raise ValueError(f"block_rows must be at least 1, got {block_rows}")
        self._rows = RowReduction(self.n_samples, self.block_rows, parallel=not is_torch_array(x))
        self._most_rows = max(64, _GATHER_BYTES // row_bytes) if block_rows is None else self.block_rows
        self.scale = scale
        self.n_passes = 0
        self._moments: tuple[Moments, Moments] | None = None

    @property
    def like(self) -> Array:
        """Empty array of the data's kind."""
        return self.x[:0]

    @property
    def moments(self) -> tuple[Moments, Moments]:
        """Column means and scales of both views; costs a pass unless one has given them already."""
        if self._moments is None:
            self._gather(lambda first, x, y: None)
        assert self._moments is not None
        return self._moments

    def sketch(self, sketch: Sketch) -> tuple[Array, Array]:
        """Sketches S Xc / sqrt(n) and S Yc / sqrt(n) of both centred views by the same S, in one pass.

        S (X - 1 m^T) is the sketch of the shifted rows minus (S 1) (m - shift)^T, so the means come from the same pass.
        """
        dx, dy = self.n_features
        sketched_x = self._zeros((sketch.size, dx), self.x.dtype)
        sketched_y = self._zeros((sketch.size, dy), self.x.dtype)
        ones = self._zeros((sketch.size, 1), self.x.dtype)

        def add(first: int, x: Array, y: Array) -> None:
            sketch.apply(x, first, sketched_x)
            sketch.apply(y, first, sketched_y)
            sketch.apply(namespace(x).ones_like(x[:, :1]), first, ones)

        gap_x, gap_y = self._gather(add)
        ones *= self.n_samples**-0.5
        sketched_x *= self.n_samples**-0.5
        sketched_y *= self.n_samples**-0.5
        x, y = self.moments
        return (sketched_x - ones * gap_x) / x.scale, (sketched_y - ones * gap_y) / y.scale

    def covariances(self) -> Covariances:
        """Dense covariances of both views, in one pass; ridge included."""
        dx, dy = self.n_features
        wide = namespace(self.x).float64
        xx, xy, yy = self._zeros((dx, dx), wide), self._zeros((dx, dy), wide), self._zeros((dy, dy), wide)

        def add(first: int, x: Array, y: Array) -> None:
            nonlocal xx, xy, yy
            xx += x.mT @ x
            xy += x.mT @ y
            yy += y.mT @ y

        gaps = [self._cast(gap, wide) for gap in self._gather(add, rows=4096)]
        scales = [self._cast(moments.scale, wide) for moments in self.moments]

        def finish(total: Array, i: int, j: int) -> Array:
            return (total / self.n_samples - gaps[i][:, None] * gaps[j]) / (scales[i][:, None] * scales[j])

        xx = finish(xx, 0, 0) + self.reg[0] * identity(dx, xx)
        yy = finish(yy, 1, 1) + self.reg[1] * identity(dy, yy)
        return Covariances(*(self._cast(part, self.x.dtype) for part in (xx, finish(xy, 0, 1), yy)))

    def products(self, a: Array, b: Array) -> CovarianceProducts:
        """Products Sxx a, Sxy b, Syy b and Sxy^T a in one pass: each block is read once for both views.

        Parameters
        ----------
        a : array of shape (dx, p)
        b : array of shape (dy, p)
        """
        p, wide, xp = a.shape[1], namespace(a).float64, namespace(a)
        moments_x, moments_y = self.moments
        a_data, b_data = a / moments_x.scale[:, None], b / moments_y.scale[:, None]
        shift_a, shift_b = moments_x.mean @ a_data, moments_y.mean @ b_data

        def part(first: int, stop: int) -> tuple[Array, Array, Array]:
            from_x, from_y = (self._zeros((d, 2 * p), wide) for d in self.n_features)
            total = self._zeros((2 * p,), wide)
            for row in range(first, stop, self.block_rows):
                rows = slice(row, min(row + self.block_rows, stop))
                x, y = self.x[rows], self.y[rows]
                scores = xp.concat([x @ a_data - shift_a, y @ b_data - shift_b], axis=1)
                from_x += x.mT @ scores
                from_y += y.mT @ scores
                total += xp.sum(scores, axis=0)
            return from_x, from_y, total

        self.n_passes += 1
        from_x, from_y, total = self._rows.sum(part)
        from_x, from_y = self._centred(from_x, total, moments_x), self._centred(from_y, total, moments_y)
        return CovarianceProducts(
            xx=from_x[:, :p] + self.reg[0] * a, xy=from_x[:, p:], yy=from_y[:, p:] + self.reg[1] * b, yx=from_y[:, :p]
        )

    def view_product(self, view: int, a: Array) -> Array:
        """Product of the covariance of one view (0 or 1) with a direction; a read of that view alone."""
        moments, data = self.moments[view], (self.x, self.y)[view]
        a_data = a / moments.scale[:, None]
        shift = moments.mean @ a_data

        def part(first: int, stop: int) -> tuple[Array, Array]:
            result, total = (self._zeros(shape, namespace(a).float64) for shape in (tuple(a.shape), (a.shape[1],)))
            for row in range(first, stop, self.block_rows):
                rows = data[row : min(row + self.block_rows, stop)]
                scores = rows @ a_data - shift
                result += rows.mT @ scores
                total += namespace(a).sum(scores, axis=0)
            return result, total

        self.n_passes += 1
        result, total = self._rows.sum(part)
        return self._centred(result, total, moments) + self.reg[view] * a

    def _centred(self, products: Array, total: Array, moments: Moments) -> Array:
        """Products with centred, scaled columns, from those with the columns as they are and the sum of the scores.

        The scores are centred already, so their sum is rounding, and so is this correction: nothing cancels.
        """
        wide = products.dtype
        mean, scale = (self._cast(part, wide)[:, None] for part in moments)
        return self._cast((products - mean * total) / (scale * self.n_samples), self.x.dtype)

    def _blocks(self, rows: int) -> Iterator[tuple[int, Array, Array]]:
        """Blocks of both views with the index of their first row; one counted pass."""
        self.n_passes += 1
        for first in range(0, self.n_samples, rows):
            yield first, self.x[first : first + rows], self.y[first : first + rows]

    def _gather(self, add: Callable[[int, Array, Array], None], rows: int = 16384) -> tuple[Array, Array]:
        """Pass over rows shifted by a pilot mean, which avoids cancellation; return what the true means differ by."""
        xp = namespace(self.x)
        pilots: list[Array] = []
        sums, squares = ([self._zeros((d,), xp.float64) for d in self.n_features] for _ in range(2))
        with np.errstate(invalid="ignore"):  # NaN and infinity end in an error of their own below
            for first, x, y in self._blocks(min(rows, self._most_rows)):
                pilots = pilots or [xp.mean(view[:256], axis=0) for view in (x, y)]
                shifted = x - pilots[0], y - pilots[1]
                for view, block in enumerate(shifted):
                    sums[view] += xp.sum(block, axis=0)
                    if self.scale:
                        squares[view] += xp.sum(block * block, axis=0)
                add(first, *shifted)
        moments, gaps = [], []
        for name, pilot, total, square in zip(("X", "y"), pilots, sums, squares, strict=True):
            if not bool(xp.all(xp.isfinite(total))):
                raise ValueError(f"{name} contains NaN or infinity; clean or impute it first")
            gap = total / self.n_samples
            deviation = xp.sqrt(xp.clip(square / self.n_samples - gap * gap, 0.0, None))
            scale = xp.where((deviation > 0) & self.scale, deviation, xp.ones_like(deviation))
            gaps.append(self._cast(gap, self.x.dtype))
            moments.append(Moments(pilot + gaps[-1], self._cast(scale, self.x.dtype)))
        self._moments = moments[0], moments[1]
        return gaps[0], gaps[1]

    def _zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        device = {"device": self.x.device} if is_torch_array(self.x) else {}
        return namespace(self.x).zeros(shape, dtype=dtype, **device)

    def _cast(self, array: Array, dtype: Any) -> Array:
        return namespace(array).astype(array, dtype, copy=False)


class ViewCovariance:
    """Covariance of one view as a matrix that can only be multiplied with: Sxx for view 0, Syy for view 1.

    Parameters
    ----------
    data : PairedViews or CovarianceMatrices
    view : {0, 1}
    """

    def __init__(self, data: PairedViews | CovarianceMatrices, view: int) -> None:
        self._data, self._view = data, view
        self.shape = (data.n_features[view], data.n_features[view])
        self.dtype = data.like.dtype

    @cached_property
    def like(self) -> Array:
        """Empty array of the data's kind."""
        return self._data.like

    def __matmul__(self, v: Array) -> Array:
        return self._data.view_product(self._view, v)


def as_pair(reg: float | tuple[float, float]) -> tuple[float, float]:
    """Ridge of each view from one number or a pair; a ValueError unless they are finite and non-negative."""
    pair = tuple(reg) if isinstance(reg, (tuple, list)) else (reg, reg)
    if len(pair) != 2 or not all(isinstance(r, Real) and 0 <= float(r) < float("inf") for r in pair):
        raise ValueError(f"reg must be a non-negative number or a pair of them, got {reg!r}")
    return float(pair[0]), float(pair[1])
