"""One data matrix as a covariance operator: read in row blocks, centred and scaled implicitly, reads counted.

With weights w_i (one for all rows by default), the weighted mean m and the standard deviations D (or I), Xc = (X - 1
m^T) D^{-1} and W = diag(w) / sum(w), the covariance is

    S = Xc^T W Xc + reg I.

A *pass* reads every row once. The centred data is never formed, sparse data never filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import Array, convert, is_array, is_torch_array, namespace, require_same_kind, to_numpy
from manifolds.sketching import Sketch
from problems.co_moments import Moments, add_to_diagonal, clear_differences, clear_scatter
from problems.row_blocks import (
    as_data,
    column_squares,
    column_sums,
    cross_product,
    empty_like,
    for_products,
    product_like,
    shifted_rows,
    widened,
    zeros,
)
from problems.row_passes import SAMPLE_ROWS, NotFiniteError, RowBlock, RowPasses, require_finite_sums, row_passes


class DataMatrix:
    """A data matrix as a covariance operator S = Xc^T W Xc + reg I, known by passes over blocks of its rows.

    Parameters
    ----------
    x : array, scipy sparse matrix or RowSource of shape (n, d)
        numpy array, dense torch tensor, or scipy sparse matrix or array by rows or columns; read, never copied, filled
        or changed. Rows of a source, such as a file, are read block by block once per pass.
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
        x = as_data(x, name)
        self.data, self.name, self.scale = x, name, scale
        self.like = empty_like(x)
        self.n_samples, self.n_features = x.shape
        self.shape, self.dtype = (self.n_features, self.n_features), self.like.dtype
        self.reg = as_ridge(reg)
        self.weights = None if sample_weight is None else _as_weights(sample_weight, self.n_samples, self.like)
        self.rows = row_passes([x], [self.weights], block_rows)
        self.n_passes = 0
        self._moments: Moments | None = None

    @property
    def moments(self) -> Moments:
        """Column means and scales; costs a pass unless one has given them already."""
        if self._moments is None:
            self.n_passes += 1
            gather([self], self.rows)
        assert self._moments is not None
        return self._moments

    def sketch(self, sketch: Sketch) -> Array:
        """Sketch S W^{1/2} Xc of the centred data, shape (sketch.size, d), in one pass."""
        self.n_passes += 1
        return sketch_together([self], sketch, self.rows)[0]

    def gram(self, *, double: bool = False) -> Array:
        """Dense covariance S, ridge included, in one pass; sums are in double precision.

        With ``double``, so are the products of single-precision blocks, and what is returned. Those of sparse rows,
        which are not shifted, always are. Columns that vary by rounding alone have zeros.
        """
        like, shape = self.like, self.shape

        def add(totals: list[Array], block: ShiftedRows) -> None:
            view = for_products(block.views[0], double=double)
            totals[0] += cross_product(view, view)

        self.n_passes += 1
        gaps, (total,) = gather([self], self.rows, lambda: [zeros(like, shape)], add, 4096, 8 * shape[0] ** 2)
        gap, scale = self.cast(gaps[0], total.dtype), self.cast(self.moments.scale, total.dtype)
        clear_scatter(total, gap[None, :], self.total_weight, product_like(self.data, double=double))
        covariance = total / (self.total_weight * scale[:, None] * scale)
        add_to_diagonal(covariance, self.reg)
        return covariance if double else self.cast(covariance)

    def products(self, a: Array) -> Array:
        """Product S a in one pass, shape (d, p)."""
        scores_of, like, shape = self.scores(a), self.like, tuple(a.shape)

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, Array]:
            result, total = zeros(like, shape), zeros(like, shape[1:])
            for block in blocks:
                scores = weighted(scores_of(block.views[0]), block.vectors[0])
                result += block.views[0].T @ scores
                total += namespace(scores).sum(scores, axis=0)
            return result, total

        self.n_passes += 1
        result, total = self.rows.sum(part)
        return self.centred(result, total) + self.reg * a

    def __matmul__(self, a: Array) -> Array:
        return self.products(a)

    def diagonal(self) -> Array:
        """Diagonal of S, shape (d,), in one pass."""
        self.n_passes += 1
        return diagonals_together([self], self.rows)[0]

    def transform(self, a: Array) -> Array:
        """Scores Xc a, shape (n, p), in one pass."""
        scores_of = self.scores(a)
        self.n_passes += 1
        return self.rows.map(lambda block: scores_of(block.views[0]))

    def adjoint(self, z: Array) -> Array:
        """Product Xc^T W z with a matrix of n rows, shape (d, p), in one pass."""
        like, d, p = self.like, self.n_features, z.shape[1]

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, Array]:
            result, total = zeros(like, (d, p)), zeros(like, (p,))
            for block in blocks:
                of_block = weighted(z[block.first : block.stop], block.vectors[0])
                result += block.views[0].T @ of_block
                total += namespace(of_block).sum(of_block, axis=0)
            return result, total

        self.moments  # noqa: B018 - known before the pass
        self.n_passes += 1
        result, total = self.rows.sum(part)
        return self.centred(result, total)

    def scores(self, a: Array) -> Callable[[Any], Array]:
        """Function of a row block: its scores (X - 1 m^T) D^{-1} a."""
        mean, scale = self.moments
        a_data = a / scale[:, None]
        shift = mean @ a_data
        return lambda block: block @ a_data - shift

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

    def cast(self, array: Array, dtype: Any = None) -> Array:
        """Array in the dtype of the data, or in another one."""
        return namespace(array).astype(array, self.dtype if dtype is None else dtype, copy=False)


class ShiftedRows(NamedTuple):
    """Some rows of each matrix, minus a shift and times the roots of their weights, which are in double precision."""

    first: int
    views: list[Any]
    roots: Array | None


def gather(
    matrices: Sequence[DataMatrix],
    blocks: RowPasses,
    start: Callable[[], list[Array]] = list,
    add: Callable[[list[Array], ShiftedRows], None] | None = None,
    rows: int = 16384,
    sums_bytes: int | None = None,
) -> tuple[list[Array], tuple[Array, ...]]:
    """Pass over matrices with the same rows that finds their moments, and other sums of their shifted rows.

    Rows are shifted by a pilot mean, which avoids cancellation; sparse rows are not.

    Parameters
    ----------
    matrices : sequence of DataMatrix
    blocks : RowPasses
        Over the data of these, with the weights as the first vector.
    start : callable
        Makes the sums, of zeros.
    add : callable
        Adds a block of rows to the sums, in place.
    rows : int
        Rows per block at most.
    sums_bytes : int, optional
        Size of the sums, which may be added up side by side; in order when left out.

    Returns
    -------
    gaps : list of array
        What the mean of each matrix differs by from its shift, in double precision.
    totals : tuple of array
        The sums.
    """
    count, likes, scaled = len(matrices), [matrix.like for matrix in matrices], [matrix.scale for matrix in matrices]
    with np.errstate(invalid="ignore"):
        pilots = [_pilot(view) for view in blocks.sample()]
    if any(scaled) or blocks.vectors[0] is not None or any(pilot is not None for pilot in pilots):
        rows = min(rows, blocks.copied_rows)

    def part(stretch: Iterator[RowBlock]) -> tuple[Array, ...]:
        sums = [zeros(like, like.shape[1:]) for like in likes]
        squares = [zeros(like, like.shape[1:]) for like in likes]
        totals = start()
        with np.errstate(invalid="ignore"):  # NaN and infinity end in an error of their own
            for block in stretch:
                if not pilots:
                    pilots.extend(map(_pilot, block.views))
                weights = block.vectors[0]
                roots = None if weights is None else widened(weights) ** 0.5
                shifted = [shifted_rows(view, shift, roots) for view, shift in zip(block.views, pilots, strict=True)]
                for i, view in enumerate(shifted):
                    sums[i] += column_sums(view, roots)
                    require_finite_sums(sums[i], block, i)
                    if scaled[i]:
                        squares[i] += column_squares(view)
                if add is not None:
                    add(totals, ShiftedRows(block.first, shifted, roots))
        return *sums, *squares, *totals

    try:
        found = blocks.sum_in_order(part, rows) if sums_bytes is None else blocks.sum_wide(part, rows, sums_bytes)
        for i, total in enumerate(found[:count]):
            if not bool(namespace(total).all(namespace(total).isfinite(total))):
                raise NotFiniteError(i)
    except NotFiniteError as error:
        matrix = matrices[error.matrix]
        raise error.named(matrix.name, matrix.data) from None
    gaps = []
    for matrix, pilot, total, square in zip(matrices, pilots, found[:count], found[count : 2 * count], strict=True):
        xp = namespace(total)
        gap, square = total / matrix.total_weight, square / matrix.total_weight
        deviation = xp.sqrt(clear_differences(square - gap * gap, square, product_like(matrix.data)))
        scale = xp.where((deviation > 0) & matrix.scale, deviation, xp.ones_like(deviation))
        gaps.append(gap)
        mean = matrix.cast(gap)
        matrix._moments = Moments(mean if pilot is None else pilot + mean, matrix.cast(scale))
    return gaps, found[2 * count :]


def sketch_together(matrices: Sequence[DataMatrix], sketch: Sketch, blocks: RowPasses) -> list[Array]:
    """Sketches S W^{1/2} Xc of matrices with the same rows by the same S, in one pass.

    S (X - 1 m^T) is the sketch of the shifted rows minus (S 1) (m - shift)^T, so the means come from the same pass.
    """
    likes, lead = [product_like(matrix.data) for matrix in matrices], matrices[0]

    def start() -> list[Array]:
        return [zeros(like, (sketch.size, width), like.dtype) for like in likes for width in like.shape[1:]] + [
            zeros(likes[0], (sketch.size, 1))
        ]

    def add(totals: list[Array], block: ShiftedRows) -> None:
        for view, out in zip(block.views, totals[:-1], strict=True):
            sketch.apply(for_products(view), block.first, out)
        ones = zeros(likes[0], (block.views[0].shape[0], 1)) + 1 if block.roots is None else block.roots[:, None]
        sketch.apply(ones, block.first, totals[-1])

    gaps, (*sketched, ones) = gather(matrices, blocks, start, add)
    factor = lead.total_weight**-0.5
    return [
        matrix.cast(out * factor - matrix.cast(ones * factor, out.dtype) * matrix.cast(gap, out.dtype))
        / matrix.moments.scale
        for matrix, out, gap in zip(matrices, sketched, gaps, strict=True)
    ]


def diagonals_together(matrices: Sequence[DataMatrix], blocks: RowPasses) -> list[Array]:
    """Diagonals of the covariances of matrices with the same rows, and their moments, in one pass.

    Columns that vary by rounding alone have no more than the ridge.
    """

    def start() -> list[Array]:
        return [zeros(matrix.like, (matrix.n_features,)) for matrix in matrices]

    def add(totals: list[Array], block: ShiftedRows) -> None:
        for view, total in zip(block.views, totals, strict=True):
            total += column_squares(view)

    diagonals = []
    for matrix, gap, squares in zip(matrices, *gather(matrices, blocks, start, add), strict=True):
        squares = squares / matrix.total_weight
        gap = matrix.cast(gap, squares.dtype)
        variances = clear_differences(squares - gap * gap, squares, product_like(matrix.data))
        scale = matrix.cast(matrix.moments.scale, squares.dtype)
        diagonals.append(matrix.cast(variances / scale**2 + matrix.reg))
    return diagonals


def weighted(scores: Array, weights: Array | None) -> Array:
    """Scores of some rows times the weights of these."""
    return scores if weights is None else scores * weights[:, None]


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
    xp, rows = namespace(block), block[:SAMPLE_ROWS]
    mean = xp.mean(rows, axis=0)
    # Entries that are not finite make no other rows so: the pass meets them where they are, and names their row.
    mean = xp.where(xp.isfinite(mean), mean, xp.zeros_like(mean))
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
