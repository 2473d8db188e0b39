"""Rows with class labels as a within-class scatter operator: read in blocks, centred by class without a copy.

With weights w_i (one when left out), classes c(i) and class means m_k, the operator is the within-class covariance

    S_w = sum_i w_i (x_i - m_c(i)) (x_i - m_c(i))^T / sum_i w_i.

Dense rows are shifted by a pilot mean of their class, block by block, before anything is squared, so that nothing
cancels however far the classes lie from zero and from each other; sparse rows are never filled, and what their means
contribute is subtracted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from manifolds.linalg import Array, convert, namespace
from manifolds.scatter import add_signed_rows
from manifolds.sketching import Sketch
from problems.class_passes import ClassPasses
from problems.class_rows import ClassRows
from problems.class_statistics import ClassStatistics
from problems.co_moments import clear_differences, clear_scatter
from problems.dask_rows import DaskCodes
from problems.row_blocks import (
    column_squares,
    cross_product,
    for_products,
    product_like,
    row_block,
    shifted_rows,
    widened,
    zeros,
)
from problems.row_passes import RowBlock
from problems.row_source import FilteredRows, RowSource, stacked


class LabelledData(ClassPasses):
    """Rows of known classes, read in row blocks: class means, within-class scatter, its products and sketches.

    Parameters
    ----------
    x : array, scipy sparse matrix or RowSource of shape (n, d)
        numpy array, dense torch tensor, scipy sparse matrix by rows or columns, or rows of a file; read, never copied,
        filled or changed.
    codes : numpy array of shape (n,), or DaskCodes
        Class of each row, integers from 0 to l - 1.
    n_classes : int
    weights : numpy array of shape (n,), optional
        Non-negative.
    rows : numpy array of shape (n,), optional
        Indices of the rows of ``x`` that are meant, in this order, where these are not all.
    block_rows : int, optional
        Rows per block at most.

    Attributes
    ----------
    n_passes : int
        Reads of the data so far. Rows of a file are first read until there are some of each class, by whose means they
        are then shifted: that counts as a pass where it takes more than half of the rows, as it does where they are
        sorted by class.
    counts : array of shape (l,)
        Weight of each class.

    Raises
    ------
    TypeError, ValueError
        If x is no real floating matrix, or codes or weights do not fit; in the first pass, if x holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 5.0], [5.0, 7.0]])
    >>> data = LabelledData(x, np.array([0, 0, 1, 1]), 2)
    >>> statistics = data.statistics()
    >>> statistics.means
    array([[1., 1.],
           [5., 6.]])
    >>> data.product(np.eye(2))
    array([[0.5, 0. ],
           [0. , 0.5]])
    """

    def statistics(self, weights: np.ndarray | None = None, *, double: bool = False) -> ClassStatistics:
        """Class means and the within-class scatter, in one pass.

        Parameters
        ----------
        weights : numpy array of shape (l,), optional
            Factors by which rows of each class count in the scatter (not in the means).
        double : bool
            Whether products of single-precision dense rows are taken in double precision, block by block; those of
            sparse rows, which are not shifted, and sums always are.
        """
        factors = None if weights is None else convert(weights**0.5, self._wide_like)
        wide, d = self._wide_like, self.n_features

        def add(totals: list[Array], rows: ClassRows) -> None:
            view = rows.view if factors is None else shifted_rows(rows.view, None, factors[rows.index])
            view = for_products(view, double=double)
            totals[0] += cross_product(view, view)

        gaps, (scatter,) = self._reduce(lambda: [zeros(wide, (d, d))], add)
        counts = self.counts if weights is None else self.counts * self._wide(weights)
        clear_scatter(scatter, gaps, counts[:, None], product_like(self.data, double=double))
        return ClassStatistics(self.counts, self.means, scatter)

    def product(self, a: Array) -> Array:
        """Product S_w a with the columns of a, in one pass."""
        pilots, shifts = self._shifts, self._narrow(self.means - self._pilots) @ a
        if self.sparse:
            return self._narrow(self._transposed(lambda rows: rows.weighted(rows.view @ a - shifts[rows.index]), a))

        def part(blocks: Iterator[RowBlock]) -> tuple[Array]:
            result = namespace(a).zeros_like(a, dtype=namespace(a).float64)
            for block in blocks:
                rows = ClassRows.of(block).shifted(pilots)
                # The scores are centred, and their sum over a class is rounding, so that the block need not be.
                result += rows.view.T @ (rows.view @ a - rows.of_classes(shifts))
            return (result,)

        self.n_passes += 1
        return self._narrow(self.rows.sum(part)[0] / self.total)

    def variances(self) -> Array:
        """Diagonal of S_w, in one pass."""
        wide, d = self._wide_like, self.n_features

        def add(totals: list[Array], rows: ClassRows) -> None:
            totals[0] += column_squares(rows.view)

        gaps, (squares,) = self._reduce(lambda: [zeros(wide, (d,))], add)
        xp = namespace(gaps)
        scatter = squares - xp.sum(gaps * gaps * self.counts[:, None], axis=0)
        return self._narrow(clear_differences(scatter, squares, product_like(self.data)) / self.total)

    def sketch(self, sketch: Sketch) -> Array:
        """Sketch S (X - means) / sqrt(total) of the centred rows, times the roots of their weights, in one pass."""
        like, shapes = product_like(self.data), (self.n_features, self.n_classes)
        ones = convert(np.eye(self.n_classes), like)

        def add(totals: list[Array], rows: ClassRows) -> None:
            sketch.apply(rows.view, rows.first, totals[0])
            sketch.apply(rows.of_classes(ones), rows.first, totals[1])

        def start() -> list[Array]:
            return [zeros(like, (sketch.size, width), like.dtype) for width in shapes]

        gaps, (sketched, classes) = self._reduce(start, add, in_order=True)
        centred = sketched - classes @ namespace(gaps).astype(gaps, like.dtype, copy=False)
        return self._narrow(centred / self.total**0.5)

    def whitened_gram(self, w: Array) -> Array:
        """W^T S_w W, in one pass that forms the scores of the centred rows: nothing ill conditioned is squared."""
        shifts, wide = self._narrow(self.means - self._pilots) @ w, self._wide_like

        def add(totals: list[Array], rows: ClassRows) -> None:
            scores = rows.view @ w - rows.of_classes(shifts)
            totals[0] += scores.T @ scores

        return self._reduce(lambda: [zeros(wide, (w.shape[1],) * 2)], add)[1][0] / self.total

    def of_class(self, k: int) -> LabelledData:
        """The rows of one class alone."""
        chosen = self.codes == k
        rows = np.flatnonzero(chosen)
        codes = np.zeros(len(rows), dtype=self.codes.dtype)
        weights = None if self.weights is None else self.weights[rows]
        if isinstance(self.data, RowSource):
            return LabelledData(FilteredRows(self.data, chosen), codes, 1, weights=weights)
        return LabelledData(self.data, codes, 1, weights=weights, rows=rows)

    def fourth_moment(self, mean: Array, scale: Array) -> float:
        """Sum over weighted rows of the squares of sum_j ((x_j - mean_j) / scale_j)^2, in one pass, for one class."""
        mean, inverse, sparse, like = mean - self._pilots[0], scale**-2, self.sparse, self._wide_like
        centre, narrow = self._narrow(self._pilots[0] + mean), self._narrow(inverse)

        def of_block(block: RowBlock) -> Array:
            rows = ClassRows.of(block)
            if sparse:
                view = widened(rows.view)
                squares = view.multiply(view) @ inverse - 2 * (view @ (mean * inverse)) + mean**2 @ inverse
            else:
                gaps = rows.view - centre
                gaps *= gaps
                squares = widened(gaps @ narrow)
            weighted = squares if rows.weights is None else squares * convert(rows.weights, like)
            return weighted @ squares

        def part(blocks: Iterator[RowBlock]) -> tuple[Array]:
            return (sum(map(of_block, blocks), zeros(like, (1,))),)

        self.n_passes += 1
        return float(self._large_sum(part)[0][0])

    def centred(self) -> Array:
        """Centred rows, times the roots of their weights, divided by sqrt(total): the one method that copies them."""
        means, sparse = self._narrow(self.means), self.sparse

        def of_rows(block: RowBlock) -> Array:
            rows = ClassRows.of(block)
            return rows._replace(view=rows.view.toarray() if sparse else rows.view).shifted(means).view

        return self._mapped(of_rows) / self.total**0.5

    def row_gram(self) -> Array:
        """Gram matrix Xc Xc^T / total of the centred rows, times the roots of their weights, shape (n, n).

        It is made of all rows at once, so that those of a source are held in memory for it.
        """
        codes = self.codes.array.compute() if isinstance(self.codes, DaskCodes) else self.codes
        dtype, index = product_like(self.data).dtype, self._as_index(codes)
        means = namespace(self.means).astype(self.means, dtype, copy=False)
        self.n_passes += 1
        if isinstance(self.data, RowSource):
            rows = stacked(list(self.data.blocks(self._large)))
        else:
            rows = row_block(self.rows.matrices[0], 0, self.n_samples)
        rows = for_products(rows)
        cross = (rows @ means.T)[:, index]
        gram = rows @ rows.T
        gram = (gram.toarray() if self.sparse else gram) - cross - cross.T + (means @ means.T)[index][:, index]
        if self._roots is not None:
            gram = gram * self._roots[:, None] * self._roots
        return self._narrow(gram / self.total)

    def scores(self, a: Array) -> Array:
        """Centred rows times a, times the roots of their weights, divided by sqrt(total), shape (n, p); one pass."""
        shifts = self._narrow(self.means) @ a

        def of_rows(block: RowBlock) -> Array:
            rows = ClassRows.of(block)
            return shifted_rows(rows.view @ a - shifts[rows.index], None, rows.roots)

        return self._mapped(of_rows) / self.total**0.5

    def adjoint(self, z: Array) -> Array:
        """The transpose of ``scores`` times a matrix of n rows, shape (d, p), in one pass."""

        def of_rows(rows: ClassRows) -> Array:
            return shifted_rows(z[rows.first : rows.first + len(rows.codes)], None, rows.roots)

        return self._narrow(self._transposed(of_rows, z) * self.total**0.5)

    def _transposed(self, of_rows: Callable[[ClassRows], Array], a: Array) -> Array:
        """Centred rows, transposed, times a function of the rows of as many columns as a, divided by the total weight.

        Rows are not shifted. Where the function's sum over a class is but rounding, so is the correction by the mean,
        which keeps that rounding from being multiplied by the mean.
        """
        means, like, p = self.means, self._wide_like, a.shape[1]
        shape, classes = (self.n_features, p), (self.n_classes, p)

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, Array]:
            result, totals = zeros(like, shape), zeros(like, classes)
            for block in blocks:
                rows = ClassRows.of(block)
                values, codes = of_rows(rows), rows.codes[:, None]
                result += rows.view.T @ values
                totals += add_signed_rows(zeros(like, classes, values.dtype), values, codes, np.ones(codes.shape))
            return result, totals

        self.n_passes += 1
        result, totals = self.rows.sum(part)
        return (result - means.mT @ totals) / self.total
