"""One data matrix as a covariance operator: read in row blocks, centred and scaled implicitly, reads counted.

With weights w_i (one for all rows by default), the weighted mean m and the standard deviations D (or I), Xc = (X - 1
m^T) D^{-1} and W = diag(w) / sum(w), the covariance is

    S = Xc^T W Xc + reg I.

A *pass* reads every row once. The centred data is never formed, sparse data never filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

from manifolds.linalg import Array, convert, identity, is_array, is_torch_array, namespace, require_same_kind, to_numpy
from manifolds.sketching import Sketch
from problems.co_moments import Moments
from problems.row_blocks import (
    as_data,
    bytes_per_row,
    column_squares,
    column_sums,
    cross_product,
    empty_like,
    has_cheap_blocks,
    row_block,
    shifted_rows,
)
from problems.row_reduction import RowReduction

_GATHER_BYTES = 2**27
"""Size at most of a row block in a pass that makes means, a sketch or covariances."""

_BLOCK_BYTES = 3 * 2**19
"""Default size of a row block: small enough to stay in a core's cache between its two products."""


class DataMatrix:
    """A data matrix as a covariance operator S = Xc^T W Xc + reg I, known by passes over blocks of its rows.

    Parameters
    ----------
    x : array or scipy sparse matrix of shape (n, d)
        numpy array, dense torch tensor, or scipy sparse matrix or array by rows or columns; read, never copied, filled
        or changed.
    reg : float
        Ridge on the covariance.
    scale : bool
        Whether columns are divided by their standard deviations, implicitly like the centring. Constant columns stay.
    sample_weight : array of shape (n,), optional
        Non-negative weights of the rows; only their ratios matter.
    block_rows : int, optional
        Rows per block at most.
    name : str
        What error messages call the data.

    Attributes
    ----------
    n_samples, n_features : int
    shape : tuple of int
        Of the operator, ``(d, d)``.
    like : array
        Empty array of the data's kind.
    n_passes : int
        Reads of the data so far.

    Raises
    ------
    TypeError, ValueError
        If the data are no real floating matrix, or hold NaN or infinity (found in the first pass, not in an extra one).

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse
    >>> x = scipy.sparse.random_array((50, 3), density=0.5, format="csr", rng=0)
    >>> data = DataMatrix(x, reg=0.1)
    >>> dense = x.toarray()
    >>> np.allclose(data.gram(), np.cov(dense.T, bias=True) + 0.1 * np.eye(3))
    True
    >>> np.allclose(data @ np.eye(3), data.gram())
    True
    """

    def __init__(
        self,
        x: Any,
        *,
        reg: float = 0.0,
        scale: bool = False,
        sample_weight: Any = None,
        block_rows: int | None = None,
        name: str = "X",
    ) -> None:
        self.data, self.name, self.scale = as_data(x, name), name, scale
        self.like = empty_like(x)
        self.n_samples, self.n_features = x.shape
        self.shape, self.dtype = (self.n_features, self.n_features), self.like.dtype
        self.reg = as_ridge(reg)
        self.weights = None if sample_weight is None else _as_weights(sample_weight, self.n_samples, self.like)
        self.roots = None if self.weights is None else self.weights**0.5
        self.rows = RowBlocks([x], block_rows)
        self.n_passes = 0
        self._moments: Moments | None = None

    @property
    def moments(self) -> Moments:
        """Column means and scales; costs a pass unless one has given them already."""
        if self._moments is None:
            self.gather(lambda first, block: None)
        assert self._moments is not None
        return self._moments

    def gather(self, add: Callable[[int, Any], None], rows: int = 16384) -> Array:
        """Pass that also finds the moments: calls ``add(first_row, sqrt(w) (X - shift))`` for each block of rows.

        Parameters
        ----------
        add : callable
        rows : int
            Rows per block at most.

        Returns
        -------
        array of shape (d,)
            What the mean differs by from the shift, which is near the mean for dense data and zero for sparse data.
        """
        self.n_passes += 1
        return gather([self], lambda first, blocks: add(first, blocks[0]), self.rows, rows)[0]

    def sketch(self, sketch: Sketch) -> Array:
        """Sketch S W^{1/2} Xc of the centred data, shape (sketch.size, d), in one pass."""
        self.n_passes += 1
        return sketch_together([self], sketch, self.rows)[0]

    def gram(self) -> Array:
        """Dense covariance S, ridge included, in one pass; sums are in double precision."""
        total = self.zeros(self.shape)

        def add(first: int, block: Any) -> None:
            nonlocal total
            total += cross_product(block, block)

        gap = self.cast(self.gather(add, rows=4096), total.dtype)
        scale = self.cast(self.moments.scale, total.dtype)
        covariance = (total / self.total_weight - gap[:, None] * gap) / (scale[:, None] * scale)
        return self.cast(covariance + self.reg * identity(self.n_features, total))

    def products(self, a: Array) -> Array:
        """Product S a in one pass, shape (d, p)."""
        scores_of = self.scores(a)

        def part(first: int, stop: int) -> tuple[Array, Array]:
            result, total = self.zeros((self.n_features, a.shape[1])), self.zeros((a.shape[1],))
            for begin, end in self.rows.within(first, stop):
                block = row_block(self.data, begin, end)
                scores = scores_of(block, begin, end)
                result += block.T @ scores
                total += namespace(scores).sum(scores, axis=0)
            return result, total

        self.n_passes += 1
        return self.centred(*self.rows.sum(part)) + self.reg * a

    def __matmul__(self, a: Array) -> Array:
        return self.products(a)

    def diagonal(self) -> Array:
        """Diagonal of S, shape (d,), in one pass."""
        squares = self.zeros((self.n_features,))

        def add(first: int, block: Any) -> None:
            nonlocal squares
            squares += column_squares(block)

        gap = self.gather(add)
        variances = squares / self.total_weight - self.cast(gap, squares.dtype) ** 2
        return self.cast(variances / self.cast(self.moments.scale, squares.dtype) ** 2 + self.reg)

    def transform(self, a: Array) -> Array:
        """Scores Xc a, shape (n, p), in one pass."""
        xp, (mean, scale) = namespace(a), self.moments
        a_data = a / scale[:, None]
        shift = mean @ a_data
        self.n_passes += 1
        blocks = [row_block(self.data, *bounds) @ a_data - shift for bounds in self.rows.within(0, self.n_samples)]
        return blocks[0] if len(blocks) == 1 else xp.concat(blocks, axis=0)

    def adjoint(self, z: Array) -> Array:
        """Product Xc^T W z with a matrix of n rows, shape (d, p), in one pass."""

        def part(first: int, stop: int) -> tuple[Array, Array]:
            result, total = self.zeros((self.n_features, z.shape[1])), self.zeros((z.shape[1],))
            for begin, end in self.rows.within(first, stop):
                weighted = self.weighted(z[begin:end], begin, end)
                result += row_block(self.data, begin, end).T @ weighted
                total += namespace(z).sum(weighted, axis=0)
            return result, total

        self.moments  # noqa: B018 - known before the pass
        self.n_passes += 1
        return self.centred(*self.rows.sum(part))

    def scores(self, a: Array) -> Callable[[Any, int, int], Array]:
        """Function of a row block and its bounds: its weighted scores W (X - 1 m^T) D^{-1} a, up to sum(w)."""
        mean, scale = self.moments
        a_data = a / scale[:, None]
        shift = mean @ a_data
        return lambda block, first, stop: self.weighted(block @ a_data - shift, first, stop)

    def weighted(self, scores: Array, first: int, stop: int) -> Array:
        """Scores of some rows times the weights of these."""
        return scores if self.weights is None else scores * self.weights[first:stop, None]

    def centred(self, products: Array, total: Array) -> Array:
        """Xc^T W z from the sums X^T z and 1^T z over weighted rows.

        Where z are scores of a centred matrix, their sum is rounding, and so is this correction: nothing cancels.
        """
        mean, scale = (self.cast(part, products.dtype)[:, None] for part in self.moments)
        return self.cast((products - mean * total) / (scale * self.total_weight))

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return self.n_samples if self.weights is None else float(namespace(self.weights).sum(self.weights))

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Zeros in the library and on the device of the data, in double precision unless a dtype is given."""
        device = {"device": self.like.device} if is_torch_array(self.like) else {}
        xp = namespace(self.like)
        return xp.zeros(shape, dtype=xp.float64 if dtype is None else dtype, **device)

    def cast(self, array: Array, dtype: Any = None) -> Array:
        """Array in the dtype of the data, or in another one."""
        return namespace(array).astype(array, self.dtype if dtype is None else dtype, copy=False)


class RowBlocks:
    """How the rows of matrices that are read together are cut into blocks, and summed over on all cores.

    Parameters
    ----------
    matrices : sequence of array or scipy sparse matrix
        With the same rows.
    block_rows : int, optional
        Rows per block at most.
    """

    def __init__(self, matrices: Sequence[Any], block_rows: int | None = None) -> None:
        self.n_samples = matrices[0].shape[0]
        row_bytes = sum(map(bytes_per_row, matrices))
        self.block_rows = max(64, _BLOCK_BYTES // row_bytes) if block_rows is None else int(block_rows)
        if self.block_rows < 1:
            raise ValueError(f"block_rows must be at least 1, got {block_rows}")
        self.most_rows = max(64, _GATHER_BYTES // row_bytes) if block_rows is None else self.block_rows
        self._whole = not all(map(has_cheap_blocks, matrices))
        if self._whole:
            self.block_rows = self.n_samples
        self.reduction = RowReduction(self.n_samples, self.block_rows, parallel=not is_torch_array(matrices[0]))

    def within(self, first: int, stop: int, rows: int | None = None) -> Iterator[tuple[int, int]]:
        """Bounds of the blocks of a stretch of rows, by default the small ones of products with a few columns."""
        rows = self.block_rows if rows is None or self._whole else min(rows, self.most_rows)
        for begin in range(first, stop, rows):
            yield begin, min(begin + rows, stop)

    def sum(self, part: Callable[[int, int], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Sum of ``part(first, stop)`` over stretches of rows, one per thread."""
        return self.reduction.sum(part)


def gather(
    matrices: Sequence[DataMatrix], add: Callable[[int, list[Any]], None], blocks: RowBlocks, rows: int = 16384
) -> list[Array]:
    """Pass over matrices with the same rows that finds their moments; see ``DataMatrix.gather``.

    Rows are shifted by a pilot mean, which avoids cancellation. What the true means differ by from it is returned.
    """
    pilots: list[Array | None] = []
    sums = [matrix.zeros((matrix.n_features,)) for matrix in matrices]
    squares = [matrix.zeros((matrix.n_features,)) for matrix in matrices]
    with np.errstate(invalid="ignore"):  # NaN and infinity end in an error of their own below
        for first, stop in blocks.within(0, blocks.n_samples, rows):
            views = [row_block(matrix.data, first, stop) for matrix in matrices]
            pilots = pilots or [_pilot(view) for view in views]
            roots = [None if matrix.roots is None else matrix.roots[first:stop] for matrix in matrices]
            shifted = [shifted_rows(*parts) for parts in zip(views, pilots, roots, strict=True)]
            for i, (matrix, block) in enumerate(zip(matrices, shifted, strict=True)):
                sums[i] += column_sums(block, roots[i])
                if matrix.scale:
                    squares[i] += column_squares(block)
            add(first, shifted)
    gaps = []
    for matrix, pilot, total, square in zip(matrices, pilots, sums, squares, strict=True):
        xp = namespace(total)
        if not bool(xp.all(xp.isfinite(total))):
            raise ValueError(f"{matrix.name} contains NaN or infinity; clean or impute it first")
        gap = total / matrix.total_weight
        deviation = xp.sqrt(xp.clip(square / matrix.total_weight - gap * gap, 0.0, None))
        scale = xp.where((deviation > 0) & matrix.scale, deviation, xp.ones_like(deviation))
        gaps.append(matrix.cast(gap))
        mean = gaps[-1] if pilot is None else pilot + gaps[-1]
        matrix._moments = Moments(mean, matrix.cast(scale))
    return gaps


def sketch_together(matrices: Sequence[DataMatrix], sketch: Sketch, blocks: RowBlocks) -> list[Array]:
    """Sketches S W^{1/2} Xc of matrices with the same rows by the same S, in one pass.

    S (X - 1 m^T) is the sketch of the shifted rows minus (S 1) (m - shift)^T, so the means come from the same pass.
    """
    sketched = [matrix.zeros((sketch.size, matrix.n_features), matrix.dtype) for matrix in matrices]
    lead = matrices[0]
    ones = lead.zeros((sketch.size, 1), lead.dtype)

    def add(first: int, views: list[Any]) -> None:
        for view, out in zip(views, sketched, strict=True):
            sketch.apply(view, first, out)
        stop = first + views[0].shape[0]
        column = lead.zeros((stop - first, 1), lead.dtype) + 1 if lead.roots is None else lead.roots[first:stop, None]
        sketch.apply(column, first, ones)

    gaps = gather(matrices, add, blocks)
    ones *= lead.total_weight**-0.5
    results = []
    for matrix, out, gap in zip(matrices, sketched, gaps, strict=True):
        out *= lead.total_weight**-0.5
        results.append((out - ones * gap) / matrix.moments.scale)
    return results


def as_ridge(reg: Any) -> float:
    """Ridge as a float; a ValueError unless it is a finite, non-negative number."""
    if not isinstance(reg, Real) or not 0 <= float(reg) < float("inf"):
        raise ValueError(f"reg must be a non-negative number, got {reg!r}")
    return float(reg)


def _pilot(block: Any) -> Array | None:
    """Mean of a few rows, to shift dense rows by; None where shifting them would save no digits worth a copy of them.

    That is where no mean is above twice its deviation, so that squares grow by a factor of five at most. Sums of
    single-precision rows are taken in single precision, and need small terms.
    """
    if not is_array(block):
        return None
    xp, rows = namespace(block), block[:256]
    mean = xp.mean(rows, axis=0)
    spread = xp.mean((rows - mean) ** 2, axis=0)
    double = xp.finfo(block.dtype).bits == 64
    return None if double and bool(xp.all(mean * mean <= 4 * spread)) else mean


def _as_weights(sample_weight: Any, n: int, like: Array) -> Array:
    """Weights in the kind of the data; an error unless there is one per row, finite and non-negative, not all zero."""
    if is_torch_array(sample_weight) and is_torch_array(like):
        require_same_kind(sample_weight, like, "sample_weight", "X")
        weights = sample_weight
    else:
        weights = convert(np.asarray(to_numpy(sample_weight), dtype=np.float64), like)
    if tuple(weights.shape) != (n,):
        raise ValueError(f"sample_weight must have shape {(n,)}, one weight per row, got {tuple(weights.shape)}")
    xp = namespace(weights)
    if not bool(xp.all(xp.isfinite(weights))) or not bool(xp.all(weights >= 0)) or not bool(xp.any(weights > 0)):
        raise ValueError("sample_weight must be finite, non-negative and not all zero")
    return weights
