"""Rows with class labels as a within-class scatter operator: read in blocks, centred by class without a copy.

With weights w_i (one when left out), classes c(i) and class means m_k, the operator is the within-class covariance

    S_w = sum_i w_i (x_i - m_c(i)) (x_i - m_c(i))^T / sum_i w_i.

Dense rows are shifted by a pilot mean of their class, block by block, before anything is squared, so that nothing
cancels however far the classes lie from zero and from each other; sparse rows are never filled, and what their means
contribute is subtracted afterwards.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import (
    Array,
    add_signed_rows,
    convert,
    is_array,
    is_scipy_sparse,
    is_torch_array,
    namespace,
    to_numpy,
)
from manifolds.sketching import Sketch
from problems.row_reduction import RowReduction

_BLOCK_BYTES = 2**24
"""Size of a row block that is squared or sketched."""

_CACHED_BYTES = 3 * 2**19
"""Size of a row block that is multiplied twice: small enough to stay in a core's cache in between."""

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


class LabelledData:
    """Rows of known classes, read in row blocks: class means, within-class scatter, its products and sketches.

    Parameters
    ----------
    x : array or scipy sparse matrix of shape (n, d)
        Read, and never copied or changed; a sparse matrix that is not in CSR form is converted.
    codes : numpy array of shape (n,)
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
        codes: np.ndarray,
        n_classes: int,
        *,
        weights: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        block_rows: int | None = None,
    ) -> None:
        self.sparse = is_scipy_sparse(x)
        self.x = x.tocsr() if self.sparse else x
        self.like = x[:0] if is_array(x) else np.empty((0, x.shape[1]), dtype=x.dtype)
        self.n_samples, self.n_features = len(codes), x.shape[1]
        self.codes, self.n_classes, self.weights = codes, n_classes, weights
        self._indices, self._chosen = self._as_index(codes), None if rows is None else self._as_index(rows)
        self.counts = self._wide(np.bincount(codes, weights, minlength=n_classes))
        itemsize = namespace(self.like).finfo(self.like.dtype).bits // 8
        row_bytes = max(1, self.x.nnz // max(1, self.n_samples) * 2 if self.sparse else self.n_features) * itemsize
        self._most = [
            max(64, size // row_bytes) if block_rows is None else block_rows for size in (_BLOCK_BYTES, _CACHED_BYTES)
        ]
        self.n_passes = 0
        self._pilots = self._pilot_means()
        self._means: Array | None = None

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
            self._reduce(lambda block, first: ())
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
        factors = None if weights is None else weights[self.codes]

        def gram(block: Any, first: int) -> tuple[Array]:
            if factors is not None:
                block = self._scaled(block, factors[first : first + block.shape[0]] ** 0.5)
            return (self._wide(block.T @ block),)

        gaps, (scatter,) = self._reduce(gram)
        counts = self.counts if weights is None else self.counts * self._wide(weights)
        return ClassStatistics(self.counts, self.means, scatter - gaps.mT @ (gaps * counts[:, None]))

    def product(self, a: Array) -> Array:
        """Product S_w a with the columns of a, in one pass."""
        xp, gaps = namespace(a), self.means - self._pilots
        shifts = self._narrow(gaps) @ a

        def part(first: int, stop: int) -> tuple[Array, Array]:
            result = xp.zeros_like(a, dtype=xp.float64)
            totals = xp.zeros_like(shifts, dtype=xp.float64)
            for row in range(first, stop, self._most[1]):
                rows = slice(row, min(row + self._most[1], stop))
                block = self._shifted(rows)
                scores = block @ a - shifts[self._indices[rows]]
                if self.weights is not None:
                    scores = self._scaled(scores, self.weights[rows])
                result += block.T @ scores
                totals += add_signed_rows(xp.zeros_like(shifts), scores, *self._onehot(rows))
            return result, totals

        self.n_passes += 1
        result, totals = self._rows(self._most[1]).sum(part)
        # The scores are centred already, so their sums are rounding, and so is this correction.
        return self._narrow((result - gaps.mT @ totals) / self.total)

    def variances(self) -> Array:
        """Diagonal of S_w, in one pass."""

        def squares(block: Any, first: int) -> tuple[Array]:
            summed = block.multiply(block).sum(axis=0) if self.sparse else namespace(block).sum(block * block, axis=0)
            return (self._wide(np.asarray(summed).ravel() if self.sparse else summed),)

        gaps, (total,) = self._reduce(squares)
        return self._narrow((total - namespace(gaps).sum(gaps * gaps * self.counts[:, None], axis=0)) / self.total)

    def sketch(self, sketch: Sketch) -> Array:
        """Sketch S (X - means) / sqrt(total) of the centred rows, times the roots of their weights, in one pass."""
        ones = convert(np.eye(self.n_classes), self.like)
        sketched, classes = self._zeros(sketch.size), sketch.apply(ones[:0])

        def add(block: Any, first: int) -> tuple[()]:
            rows = slice(first, first + block.shape[0])
            sketch.apply(block, first, sketched)
            onehot = ones[self._indices[rows]]
            sketch.apply(
                onehot if self.weights is None else self._scaled(onehot, self.weights[rows] ** 0.5), first, classes
            )
            return ()

        gaps, _ = self._reduce(add, parallel=False)
        return (sketched - classes @ self._narrow(gaps)) / self.total**0.5

    def whitened_gram(self, w: Array) -> Array:
        """W^T S_w W, in one pass that forms the scores of the centred rows: nothing ill conditioned is squared."""
        shifts = self._narrow(self.means - self._pilots) @ w

        def gram(block: Any, first: int) -> tuple[Array]:
            rows = slice(first, first + block.shape[0])
            centred = shifts[self._indices[rows]]
            scores = block @ w - (centred if self.weights is None else self._scaled(centred, self.weights[rows] ** 0.5))
            return (self._wide(scores.T @ scores),)

        return self._reduce(gram)[1][0] / self.total

    def of_class(self, k: int) -> LabelledData:
        """The rows of one class alone."""
        rows = np.flatnonzero(self.codes == k)
        codes = np.zeros(len(rows), dtype=self.codes.dtype)
        return LabelledData(self.x, codes, 1, rows=rows)

    def fourth_moment(self, mean: Array, scale: Array) -> float:
        """Sum over rows of the squares of sum_j ((x_j - mean_j) / scale_j)^2, in one pass."""
        mean, weights = mean - self._pilots[0], self._narrow(scale**-2)

        def part(block: Any, first: int) -> tuple[Array]:
            if self.sparse:
                squared = block.multiply(block) @ weights - 2 * (block @ (mean * weights)) + mean**2 @ weights
            else:
                squared = (block - self._narrow(mean)) ** 2 @ weights
            return (self._wide(squared) @ self._wide(squared),)

        return float(self._reduce(part)[1][0])

    def centred(self) -> Array:
        """Centred rows, times the roots of their weights, divided by sqrt(total): the one method that copies them."""
        block = self._take(slice(None))
        centred = (block.toarray() if self.sparse else block) - self._narrow(self.means)[self._indices]
        self.n_passes += 1
        if self.weights is not None:
            centred = self._scaled(centred, self.weights**0.5)
        return centred / self.total**0.5

    def _reduce(self, part: Any, *, parallel: bool = True) -> tuple[Array, tuple[Array, ...]]:
        """Pass over rows shifted by the pilots and scaled by the roots of their weights; sums of ``part`` over blocks.

        Returns what the true means differ from the pilots by, and the sums.
        """
        xp = namespace(self.like)

        def stretch(first: int, stop: int) -> tuple[Array, ...]:
            sums = xp.zeros_like(self._pilots)
            totals: tuple[Array, ...] = ()
            for row in range(first, stop, self._most[0]):
                rows = slice(row, min(row + self._most[0], stop))
                block = self._shifted(rows)
                sums += add_signed_rows(xp.zeros_like(self._narrow(sums)), block, *self._onehot(rows, self.weights))
                if self.weights is not None:
                    block = self._scaled(block, self.weights[rows] ** 0.5)
                new = part(block, row)
                totals = tuple(old + more for old, more in zip(totals, new, strict=True)) if totals else new
            return sums, *totals

        self.n_passes += 1
        with np.errstate(invalid="ignore"):  # NaN and infinity end in an error of their own below
            reduction = self._rows(self._most[0]) if parallel else RowReduction(self.n_samples, 1, parallel=False)
            sums, *totals = reduction.sum(stretch)
        if not bool(xp.all(xp.isfinite(sums))):
            raise ValueError("X contains NaN or infinity; clean or impute it first")
        gaps = sums / xp.clip(self.counts, np.finfo(float).tiny, None)[:, None]
        self._means = self._pilots + gaps
        return gaps, tuple(totals)

    def _shifted(self, rows: slice) -> Any:
        """A block of rows minus the pilot means of their classes; sparse rows as they are."""
        block = self._take(rows)
        return block if self.sparse else block - self._narrow(self._pilots)[self._indices[rows]]

    def _take(self, rows: Any) -> Any:
        """Rows of the data by a slice or an index."""
        return self.x[rows if self._chosen is None else self._chosen[rows]]

    def _as_index(self, numbers: np.ndarray) -> Any:
        return namespace(self.like).asarray(numbers, device=self.like.device) if self._torch else numbers

    def _rows(self, block: int) -> RowReduction:
        return RowReduction(self.n_samples, block, parallel=not self._torch and not self.sparse)

    def _pilot_means(self) -> Array:
        """Mean of some rows of each class; zero for sparse rows, which a shift would fill."""
        if self.sparse:
            return self._wide(np.zeros((self.n_classes, self.n_features)))
        order = np.argsort(self.codes, kind="stable")
        starts = np.searchsorted(self.codes[order], np.arange(self.n_classes + 1))
        chosen = np.concatenate([order[a : min(a + _PILOT_ROWS, b)] for a, b in pairwise(starts)])
        codes = self.codes[chosen]
        shares = (1 / np.maximum(np.bincount(codes, minlength=self.n_classes), 1))[codes]
        rows = self._take(self._as_index(chosen))
        sums = add_signed_rows(self._zeros(self.n_classes), rows, codes[:, None], shares[:, None])
        # A class of infinite entries is met again, and named, in the first pass.
        return self._wide(namespace(rows).where(namespace(rows).isfinite(sums), sums, self._zeros(self.n_classes)))

    def _zeros(self, rows: int) -> Array:
        device = {"device": self.like.device} if self._torch else {}
        return namespace(self.like).zeros((rows, self.n_features), dtype=self.like.dtype, **device)

    def _onehot(self, rows: slice, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Class of each row as target, and its weight."""
        codes = self.codes[rows]
        return codes[:, None], (np.ones(len(codes)) if weights is None else weights[rows])[:, None]

    def _scaled(self, block: Any, factors: np.ndarray) -> Any:
        if is_scipy_sparse(block):
            from scipy.sparse import dia_array

            return dia_array((factors[None].astype(block.dtype), [0]), shape=(len(factors),) * 2).tocsr() @ block
        return block * convert(factors, block)[:, None]

    def _wide(self, array: Any) -> Array:
        """Copy in float64, on the device of the data."""
        if is_scipy_sparse(array):
            return array.toarray().astype(np.float64, copy=False)
        if self._torch:
            return namespace(self.like).asarray(array, device=self.like.device).double()
        return np.asarray(to_numpy(array), dtype=np.float64)

    def _narrow(self, array: Array) -> Array:
        return namespace(array).astype(array, self.like.dtype, copy=False)
