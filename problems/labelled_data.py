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
from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import Array, add_signed_rows, convert, is_torch_array, namespace, to_numpy
from manifolds.sketching import Sketch, require_integer
from problems.dask_rows import DaskCodes
from problems.row_blocks import (
    ChosenRows,
    as_data,
    bytes_per_row,
    column_squares,
    cross_product,
    empty_like,
    has_sparse_rows,
    shifted_rows,
    zeros,
)
from problems.row_passes import NotFiniteError, RowBlock, RowPasses, StreamedRows, require_finite_sums, row_passes
from problems.row_source import FilteredRows, RowSource

_BLOCK_BYTES = 2**24
"""Size of a row block that is squared or sketched."""

_PILOT_ROWS = 16
"""Rows of each class that its pilot mean is made from."""


class ClassStatistics(NamedTuple):
    """What discriminant analysis needs to know of data; the statistics of two parts can be merged."""

    counts: Array
    """Rows in each class, or their weights, shape (l,), float64."""
    means: Array
    """Class means, shape (l, d), float64."""
    scatter: Array
    """Within-class scatter, the sum over rows that S_w is the mean of, shape (d, d), float64."""

    @property
    def total(self) -> float:
        """Sum of the weights of all rows."""
        return float(namespace(self.counts).sum(self.counts))

    @property
    def overall_mean(self) -> Array:
        """Mean of all rows, shape (d,)."""
        return (self.counts / self.total) @ self.means

    def merged(self, other: ClassStatistics) -> ClassStatistics:
        """Statistics of both parts together.

        References
        ----------
        Chan, Golub, LeVeque, Algorithms for computing the sample variance, Am. Stat. 37 (1983), Equation (2.1).
        """
        counts = self.counts + other.counts
        share = other.counts / namespace(counts).clip(counts, np.finfo(float).tiny, None)
        gap = other.means - self.means
        between = gap.mT @ (gap * (self.counts * share)[:, None])
        return ClassStatistics(counts, self.means + share[:, None] * gap, self.scatter + other.scatter + between)


class ClassRows(NamedTuple):
    """Some rows with the class of each, and the root of its weight."""

    first: int
    view: Any
    codes: np.ndarray
    index: Any
    """The classes in the library of the data."""
    weights: np.ndarray | None
    roots: Array | None

    @classmethod
    def of(cls, block: RowBlock) -> ClassRows:
        """Rows of a block whose vectors are these."""
        return cls(block.first, block.views[0], *block.vectors)

    def onehot(self) -> tuple[np.ndarray, np.ndarray]:
        """Class of each row as target of a sum, and the root of its weight."""
        roots = np.ones(len(self.codes)) if self.weights is None else self.weights**0.5
        return self.codes[:, None], roots[:, None]

    def of_classes(self, values: Array) -> Array:
        """The row of each row's class, times the root of its weight."""
        return shifted_rows(values[self.index], None, self.roots)

    def shifted(self, shifts: Array | None) -> ClassRows:
        """Rows minus the shift of their class, times the roots of their weights; sparse rows have no shift."""
        shift = None if shifts is None else shifts[self.index]
        return self._replace(view=shifted_rows(self.view, shift, self.roots))


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

    def statistics(self, weights: np.ndarray | None = None) -> ClassStatistics:
        """Class means and the within-class scatter, in one pass.

        Parameters
        ----------
        weights : numpy array of shape (l,), optional
            Factors by which rows of each class count in the scatter (not in the means).
        """
        factors = None if weights is None else convert(weights**0.5, self.like)
        wide, d = self._wide_like, self.n_features

        def add(totals: list[Array], rows: ClassRows) -> None:
            view = rows.view if factors is None else shifted_rows(rows.view, None, factors[rows.index])
            totals[0] += cross_product(view, view)

        gaps, (scatter,) = self._reduce(lambda: [zeros(wide, (d, d))], add)
        counts = self.counts if weights is None else self.counts * self._wide(weights)
        return ClassStatistics(self.counts, self.means, scatter - gaps.mT @ (gaps * counts[:, None]))

    def product(self, a: Array) -> Array:
        """Product S_w a with the columns of a, in one pass."""
        gaps = self.means - self._pilots
        pilots, shifts = self._shifts, self._narrow(gaps) @ a

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, Array]:
            xp = namespace(a)
            result = xp.zeros_like(a, dtype=xp.float64)
            totals = xp.zeros_like(shifts, dtype=xp.float64)
            for block in blocks:
                rows = ClassRows.of(block).shifted(pilots)
                scores = rows.view @ a - rows.of_classes(shifts)
                result += rows.view.T @ scores
                totals += add_signed_rows(xp.zeros_like(shifts), scores, *rows.onehot())
            return result, totals

        self.n_passes += 1
        result, totals = self.rows.sum(part)
        # The scores are centred already, so their sums are rounding, and so is this correction.
        return self._narrow((result - gaps.mT @ totals) / self.total)

    def variances(self) -> Array:
        """Diagonal of S_w, in one pass."""
        wide, d = self._wide_like, self.n_features

        def add(totals: list[Array], rows: ClassRows) -> None:
            totals[0] += column_squares(rows.view)

        gaps, (total,) = self._reduce(lambda: [zeros(wide, (d,))], add)
        return self._narrow((total - namespace(gaps).sum(gaps * gaps * self.counts[:, None], axis=0)) / self.total)

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
        if isinstance(self.data, RowSource):
            codes = np.zeros(int(np.count_nonzero(chosen)), dtype=self.codes.dtype)
            return LabelledData(FilteredRows(self.data, chosen), codes, 1)
        rows = np.flatnonzero(chosen)
        return LabelledData(self.data, np.zeros(len(rows), dtype=self.codes.dtype), 1, rows=rows)

    def fourth_moment(self, mean: Array, scale: Array) -> float:
        """Sum over rows of the squares of sum_j ((x_j - mean_j) / scale_j)^2, in one pass."""
        mean, weights = mean - self._pilots[0], self._narrow(scale**-2)
        centre, sparse, wide = self._narrow(mean), self.sparse, self._wide_like

        def add(totals: list[Array], rows: ClassRows) -> None:
            if sparse:
                view = rows.view
                squared = view.multiply(view) @ weights - 2 * (view @ (mean * weights)) + mean**2 @ weights
            else:
                squared = (rows.view - centre) ** 2 @ weights
            squared = namespace(wide).astype(squared, wide.dtype)
            totals[0] += squared @ squared

        return float(self._reduce(lambda: [zeros(wide, (1,))], add)[1][0][0])

    def centred(self) -> Array:
        """Centred rows, times the roots of their weights, divided by sqrt(total): the one method that copies them."""
        means, sparse = self._narrow(self.means), self.sparse

        def of_rows(block: RowBlock) -> Array:
            rows = ClassRows.of(block)
            return rows._replace(view=rows.view.toarray() if sparse else rows.view).shifted(means).view

        self.n_passes += 1
        return self.rows.map(of_rows) / self.total**0.5

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
            sums, *totals = self.rows.sum_in_order(part, self._large) if in_order else self.rows.sum(part, self._large)
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
