"""Rows with class labels as a within-class scatter operator: read in blocks, centred by class without a copy.

With weights w_i (one when left out), classes c(i) and class means m_k, the operator is the within-class covariance

    S_w = sum_i w_i (x_i - m_c(i)) (x_i - m_c(i))^T / sum_i w_i.

Dense rows are shifted by a pilot mean of their class, block by block, before anything is squared, so that nothing
cancels however far the classes lie from zero and from each other; sparse rows are never filled, and what their means
contribute is subtracted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from manifolds.linalg import (
    Array,
    add_signed_rows,
    convert,
    is_torch_array,
    machine_epsilon,
    namespace,
    to_numpy,
)
from manifolds.sketching import Sketch, require_integer
from problems.class_rows import ClassRows
from problems.class_statistics import ClassStatistics
from problems.dask_rows import DaskCodes
from problems.row_blocks import (
    ChosenRows,
    as_data,
    bytes_per_row,
    column_squares,
    cross_product,
    empty_like,
    has_sparse_rows,
    is_dask,
    row_block,
    shifted_rows,
    widened,
    zeros,
)
from problems.row_passes import (
    NotFiniteError,
    Part,
    RowBlock,
    RowPasses,
    StreamedRows,
    require_finite_sums,
    row_passes,
)
from problems.row_source import FilteredRows, RowSource, stacked

_BLOCK_BYTES = 2**23
"""Size of a row block that is squared or sketched."""

_PILOT_ROWS = 16
"""Rows of each class that its pilot mean is made from."""


class LabelledData:
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
        Reads of the data so far.
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

    def __init__(
        self,
        x: Any,
        codes: Any,
        n_classes: int,
        *,
        weights: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        block_rows: int | None = None,
    ) -> None:
        x = as_data(x, "x")
        self.data, self.like, self.sparse = x, empty_like(x), has_sparse_rows(x)
        require_integer("n_classes", n_classes, smallest=1)
        self.n_samples, self.n_features = x.shape[0] if rows is None else len(rows), x.shape[1]
        self.codes, self.n_classes, self.weights = codes, n_classes, weights
        self._require_rows()
        if block_rows is not None:
            require_integer("block_rows", block_rows, smallest=1)
        self._rows = rows
        self._roots = None if weights is None else convert(weights**0.5, self.like)
        known = isinstance(codes, DaskCodes)
        self.counts = self._wide(codes.counts if known else np.bincount(codes, weights, minlength=n_classes))
        self._large = max(64, _BLOCK_BYTES // bytes_per_row(x)) if block_rows is None else int(block_rows)
        matrix = x if rows is None else ChosenRows(x, self._as_index(rows))
        if block_rows is None and self.sparse and not isinstance(x, RowSource):
            block_rows = self.n_samples  # products with sparse rows do not gain from a cache
        self.rows: RowPasses = row_passes([matrix], [codes, self._as_index(codes), weights, self._roots], block_rows)
        self.n_passes = 0
        self._pilots = self._pilot_means()
        self._means: Array | None = None

    def _require_rows(self) -> None:
        n, codes, weights = self.n_samples, self.codes, self.weights
        if isinstance(codes, DaskCodes):
            return
        if not isinstance(codes, np.ndarray) or codes.dtype.kind not in "iu" or codes.shape != (n,):
            raise ValueError(f"codes must be a numpy array of {n} integers, one for each row, got {codes!r}")
        if codes.min() < 0 or codes.max() >= self.n_classes:
            raise ValueError(f"codes must be between 0 and n_classes - 1 = {self.n_classes - 1}")
        if weights is None:
            return
        if not isinstance(weights, np.ndarray) or weights.shape != (n,) or not bool(np.all(weights >= 0)):
            raise ValueError(f"weights must be a numpy array of {n} numbers that are not negative, got {weights!r}")
        if not 0 < weights.sum() < np.inf:
            raise ValueError("weights must be finite and not all zero")

    @property
    def _torch(self) -> bool:
        return is_torch_array(self.like)

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return float(namespace(self.counts).sum(self.counts))

    @property
    def means(self) -> Array:
        """Class means in float64; they cost a pass unless one has given them already."""
        if self._means is None:
            self._reduce()
        return self._means

    def adopt(self, means: Array) -> None:
        """Take class means that are known already, in float64."""
        self._means = means

    def statistics(self, weights: np.ndarray | None = None, *, double: bool = False) -> ClassStatistics:
        """Class means and the within-class scatter, in one pass.

        Parameters
        ----------
        weights : numpy array of shape (l,), optional
            Factors by which rows of each class count in the scatter (not in the means).
        double : bool
            Whether products of single-precision data are taken in double precision, block by block; sums always are.
        """
        factors = None if weights is None else convert(weights**0.5, self.like)
        wide, d = self._wide_like, self.n_features

        def add(totals: list[Array], rows: ClassRows) -> None:
            view = rows.view if factors is None else shifted_rows(rows.view, None, factors[rows.index])
            view = widened(view) if double else view
            totals[0] += cross_product(view, view)

        gaps, (scatter,) = self._reduce(lambda: [zeros(wide, (d, d))], add)
        counts = self.counts if weights is None else self.counts * self._wide(weights)
        xp = namespace(scatter)
        squares = xp.linalg.diagonal(scatter)
        scatter = scatter - gaps.mT @ (gaps * counts[:, None])
        varies = xp.astype(xp.linalg.diagonal(scatter) > self._rounding(squares), scatter.dtype)
        return ClassStatistics(self.counts, self.means, scatter * varies * varies[:, None])

    def product(self, a: Array) -> Array:
        """Product S_w a with the columns of a, in one pass."""
        pilots, shifts = self._shifts, self._narrow(self.means - self._pilots) @ a

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
        return self._narrow(xp.where(scatter > self._rounding(squares), scatter, 0 * scatter) / self.total)

    def _rounding(self, squares: Array) -> Array:
        """What rounding can leave of sums of squares from which those of the means are subtracted; less is zero."""
        return 100 * machine_epsilon(self.like) * squares

    def sketch(self, sketch: Sketch) -> Array:
        """Sketch S (X - means) / sqrt(total) of the centred rows, times the roots of their weights, in one pass."""
        ones, like, shapes = convert(np.eye(self.n_classes), self.like), self.like, (self.n_features, self.n_classes)

        def add(totals: list[Array], rows: ClassRows) -> None:
            sketch.apply(rows.view, rows.first, totals[0])
            sketch.apply(rows.of_classes(ones), rows.first, totals[1])

        def start() -> list[Array]:
            return [zeros(like, (sketch.size, width), like.dtype) for width in shapes]

        gaps, (sketched, classes) = self._reduce(start, add, in_order=True)
        return (sketched - classes @ self._narrow(gaps)) / self.total**0.5

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

        def part(blocks: Iterator[RowBlock]) -> tuple[Array]:
            total = zeros(like, (1,))
            for block in blocks:
                rows = ClassRows.of(block)
                if sparse:
                    view = rows.view
                    squares = view.multiply(view) @ inverse - 2 * (view @ (mean * inverse)) + mean**2 @ inverse
                else:
                    squares = widened((rows.view - centre) ** 2 @ narrow)
                weighted = squares if rows.weights is None else squares * convert(rows.weights, like)
                total += weighted @ squares
            return (total,)

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
        means, index = self._narrow(self.means), self._as_index(self.codes)
        self.n_passes += 1
        if isinstance(self.data, RowSource):
            rows = stacked(list(self.data.blocks(self._large)))
        else:
            rows = row_block(self.rows.matrices[0], 0, self.n_samples)
        cross = (rows @ means.T)[:, index]
        gram = rows @ rows.T
        gram = (gram.toarray() if self.sparse else gram) - cross - cross.T + (means @ means.T)[index][:, index]
        if self._roots is not None:
            gram = gram * self._roots[:, None] * self._roots
        return gram / self.total

    def scores(self, a: Array) -> Array:
        """Centred rows times a, times the roots of their weights, divided by sqrt(total), shape (n, p); one pass."""
        shifts = self._narrow(self.means) @ a

        def of_rows(block: RowBlock) -> Array:
            rows = ClassRows.of(block)
            return shifted_rows(rows.view @ a - shifts[rows.index], None, rows.roots)

        return self._mapped(of_rows) / self.total**0.5

    def adjoint(self, z: Array) -> Array:
        """The transpose of ``scores`` times a matrix of n rows, shape (d, p), in one pass."""
        means, like, p = self.means, self._wide_like, z.shape[1]
        shape, classes = (self.n_features, p), (self.n_classes, p)

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, Array]:
            result, totals = zeros(like, shape), zeros(like, classes)
            for block in blocks:
                rows, of_block = ClassRows.of(block), z[block.first : block.stop]
                result += rows.view.T @ shifted_rows(of_block, None, rows.roots)
                totals += add_signed_rows(zeros(like, classes, z.dtype), of_block, *rows.onehot())
            return result, totals

        self.n_passes += 1
        result, totals = self.rows.sum(part)
        return self._narrow((result - means.mT @ totals) / self.total**0.5)

    def _mapped(self, of_rows: Callable[[RowBlock], Array]) -> Array:
        """Results of a function of the blocks, under each other in memory, in one pass."""
        self.n_passes += 1
        found = self.rows.map(of_rows)
        return found.compute() if is_dask(found) else found

    def _large_sum(self, part: Part, *, in_order: bool = False) -> tuple[Array, ...]:
        """Sum over the rows in large blocks; sparse ones stay on one thread, where a second set of sums costs more."""
        in_order = in_order or self.sparse
        return self.rows.sum_in_order(part, self._large) if in_order else self.rows.sum(part, self._large)

    def _reduce(
        self,
        start: Callable[[], list[Array]] = list,
        add: Callable[[list[Array], ClassRows], None] | None = None,
        *,
        in_order: bool = False,
    ) -> tuple[Array, tuple[Array, ...]]:
        """Pass over rows shifted by the pilots and scaled by the roots of their weights, which finds the class means.

        ``start`` makes sums of zeros, and ``add`` adds some rows to them. Returns what the means differ from the pilots
        by, and the sums.
        """
        xp, like, pilots, wide = namespace(self.like), self.like, self._shifts, self._wide_like
        shape = tuple(self._pilots.shape)

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, ...]:
            sums, totals = zeros(wide, shape), start()
            with np.errstate(invalid="ignore"):  # NaN and infinity end in an error of their own
                for block in blocks:
                    rows = ClassRows.of(block).shifted(pilots)
                    sums += add_signed_rows(zeros(like, shape, like.dtype), rows.view, *rows.onehot())
                    require_finite_sums(sums, block)
                    if add is not None:
                        add(totals, rows)
            return sums, *totals

        self.n_passes += 1
        try:
            sums, *totals = self._large_sum(part, in_order=in_order)
            if not bool(xp.all(xp.isfinite(sums))):
                raise NotFiniteError(0)
        except NotFiniteError as error:
            raise error.named("X", self.data) from None
        gaps = sums / xp.clip(self.counts, np.finfo(float).tiny, None)[:, None]
        self._means = self._pilots + gaps
        return gaps, tuple(totals)

    @property
    def _shifts(self) -> Array | None:
        """Pilot means of the classes; none for sparse rows, which a shift would fill."""
        return None if self.sparse else self._narrow(self._pilots)

    @property
    def _wide_like(self) -> Array:
        """Empty array of the data's kind in float64."""
        return namespace(self.like).astype(self.like, namespace(self.like).float64)

    def _as_index(self, numbers: np.ndarray) -> Any:
        return namespace(self.like).asarray(numbers, device=self.like.device) if self._torch else numbers

    def _pilot_means(self) -> Array:
        """Mean of some rows of each class; zero for sparse rows, which a shift would fill."""
        if self.sparse:
            return self._wide(np.zeros((self.n_classes, self.n_features)))
        if isinstance(self.data, RowSource) and self.data.distributed:
            # A pass more, in which chunks need not wait for each other.
            self._pilots = zeros(self._wide_like, (self.n_classes, self.n_features))
            return self._pilots + self._reduce()[0]
        if isinstance(self.rows, StreamedRows):
            return self._streamed_pilots(self.rows)
        order = np.argsort(self.codes, kind="stable")
        starts = np.searchsorted(self.codes[order], np.arange(self.n_classes + 1))
        chosen = np.concatenate([order[a : min(a + _PILOT_ROWS, b)] for a, b in pairwise(starts)])
        index = self._as_index(chosen)
        rows = self.data[index if self._rows is None else self._as_index(self._rows)[index]]
        return self._class_means(rows, self.codes[chosen])

    def _streamed_pilots(self, stream: StreamedRows) -> Array:
        """Pilot means of rows in order, read as far as it takes to meet some of each class."""
        missing = np.minimum(np.bincount(self.codes, minlength=self.n_classes), _PILOT_ROWS)
        views, codes, stop = [], [], 0
        blocks = stream.stream(self._large)
        for block in blocks:
            met = block.vectors[0]
            chosen = np.concatenate([np.flatnonzero(met == k)[: missing[k]] for k in np.flatnonzero(missing)])
            missing = missing - np.bincount(met[chosen], minlength=self.n_classes)
            views.append(block.views[0][chosen])
            codes.append(met[chosen])
            stop = block.stop
            if not missing.any():
                break
        blocks.close()
        self.n_passes += stop == self.n_samples and stop > self._large
        return self._class_means(np.concatenate(views), np.concatenate(codes))

    def _class_means(self, rows: Array, codes: np.ndarray) -> Array:
        """Means of the rows of each class, in float64; zero for classes of no rows."""
        shares = (1 / np.maximum(np.bincount(codes, minlength=self.n_classes), 1))[codes]
        nothing = zeros(self.like, (self.n_classes, self.n_features), self.like.dtype)
        sums = add_signed_rows(namespace(rows).zeros_like(nothing), rows, codes[:, None], shares[:, None])
        # A class of infinite entries is met again, and named, in the first pass.
        return self._wide(namespace(rows).where(namespace(rows).isfinite(sums), sums, nothing))

    def _wide(self, array: Any) -> Array:
        """Values in float64, on the device of the data."""
        if self._torch:
            return namespace(self.like).asarray(array, device=self.like.device).double()
        return np.asarray(to_numpy(array), dtype=np.float64)

    def _narrow(self, array: Array) -> Array:
        return namespace(array).astype(array, self.like.dtype, copy=False)
