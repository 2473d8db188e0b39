"""Rows with class labels as a within-class scatter operator: read in blocks, centred by class without a copy.

With weights w_i (one when left out), classes c(i) and class means m_k, the operator is the within-class covariance

    S_w = sum_i w_i (x_i - m_c(i)) (x_i - m_c(i))^T / sum_i w_i.

Dense rows are shifted by a pilot mean of their class, block by block, before anything is squared, so that nothing
cancels however far the classes lie from zero and from each other; sparse rows are never filled, and what their means
contribute is subtracted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from manifolds.linalg import (
    Array,
    add_signed_rows,
    convert,
    is_scipy_sparse,
    is_torch_array,
    machine_epsilon,
    namespace,
    to_numpy,
)
from manifolds.sketching import Sketch, require_integer
from problems.class_statistics import ClassStatistics
from problems.row_blocks import (
    as_data,
    bytes_per_row,
    column_squares,
    cross_product,
    empty_like,
    has_cheap_blocks,
    row_block,
    shifted_rows,
)
from problems.row_reduction import RowReduction

_BLOCK_BYTES = 2**23
"""Size of a row block that is squared or sketched."""

_CACHED_BYTES = 3 * 2**19
"""Size of a row block that is multiplied twice: small enough to stay in a core's cache in between."""

_PILOT_ROWS = 16
"""Rows of each class that its pilot mean is made from."""


class LabelledData:
    """Rows of known classes, read in row blocks: class means, within-class scatter, its products and sketches.

    Parameters
    ----------
    x : array or scipy sparse matrix of shape (n, d)
        numpy array, dense torch tensor, or scipy sparse matrix by rows or columns; read, never copied, filled or
        changed.
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
        codes: np.ndarray,
        n_classes: int,
        *,
        weights: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        block_rows: int | None = None,
    ) -> None:
        self.data, self.like, self.sparse = as_data(x, "x"), empty_like(x), is_scipy_sparse(x)
        require_integer("n_classes", n_classes, smallest=1)
        self.n_samples, self.n_features = x.shape[0] if rows is None else len(rows), x.shape[1]
        self.codes, self.n_classes, self.weights = codes, n_classes, weights
        self._require_rows()
        self._indices, self._chosen = self._as_index(codes), None if rows is None else self._as_index(rows)
        self._roots = None if weights is None else convert(weights**0.5, self.like)
        self.counts = self._wide(np.bincount(codes, weights, minlength=n_classes))
        sizes = [max(64, size // bytes_per_row(x)) for size in (_BLOCK_BYTES, _CACHED_BYTES)]
        if block_rows is not None:
            require_integer("block_rows", block_rows, smallest=1)
            sizes = [int(block_rows)] * 2
        elif self.sparse:
            sizes[1] = self.n_samples  # products with sparse rows do not gain from a cache
        self._large: int
        self._small: int
        # Sparse columns can only be read all at once.
        self._large, self._small = sizes if has_cheap_blocks(x) else [self.n_samples] * 2
        self.n_passes = 0
        self._pilots = self._pilot_means()
        self._means: Array | None = None

    def _require_rows(self) -> None:
        n, codes, weights = self.n_samples, self.codes, self.weights
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
            self._reduce(lambda block, first: ())
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
        roots = None if weights is None else convert(weights[self.codes] ** 0.5, self.like)

        def gram(block: Any, rows: slice) -> tuple[Array]:
            if roots is not None:
                block = shifted_rows(block, None, roots[rows])
            if double:
                block = block.astype(np.float64) if self.sparse else self._wide(block)
            return (self._wide(cross_product(block, block)),)

        gaps, (scatter,) = self._reduce(gram)
        counts = self.counts if weights is None else self.counts * self._wide(weights)
        xp = namespace(scatter)
        squares = xp.linalg.diagonal(scatter)
        scatter = scatter - gaps.mT @ (gaps * counts[:, None])
        varies = xp.astype(xp.linalg.diagonal(scatter) > self._rounding(squares), scatter.dtype)
        return ClassStatistics(self.counts, self.means, scatter * varies * varies[:, None])

    def product(self, a: Array) -> Array:
        """Product S_w a with the columns of a, in one pass."""
        xp, shifts = namespace(a), self._narrow(self.means - self._pilots) @ a

        def part(first: int, stop: int) -> tuple[Array]:
            result = xp.zeros_like(a, dtype=xp.float64)
            for rows in _stretches(first, stop, self._small):
                block = shifted_rows(self._take(rows), self._shifts(rows), self._roots_of(rows))
                # The scores are centred, and their sum over a class is rounding, so that the block need not be.
                result += block.T @ (block @ a - self._of_classes(shifts, rows))
            return (result,)

        self.n_passes += 1
        return self._narrow(self._rows(self._small).sum(part)[0] / self.total)

    def variances(self) -> Array:
        """Diagonal of S_w, in one pass."""
        gaps, (squares,) = self._reduce(lambda block, rows: (self._wide(column_squares(block)),))
        xp = namespace(gaps)
        scatter = squares - xp.sum(gaps * gaps * self.counts[:, None], axis=0)
        return self._narrow(xp.where(scatter > self._rounding(squares), scatter, 0 * scatter) / self.total)

    def _rounding(self, squares: Array) -> Array:
        """What rounding can leave of sums of squares from which those of the means are subtracted; less is zero."""
        return 100 * machine_epsilon(self.like) * squares

    def sketch(self, sketch: Sketch) -> Array:
        """Sketch S (X - means) / sqrt(total) of the centred rows, times the roots of their weights, in one pass."""
        ones = convert(np.eye(self.n_classes), self.like)
        sketched, classes = self._zeros(sketch.size), sketch.apply(ones[:0])

        def add(block: Any, rows: slice) -> tuple[()]:
            sketch.apply(block, rows.start, sketched)
            sketch.apply(self._of_classes(ones, rows), rows.start, classes)
            return ()

        gaps, _ = self._reduce(add, parallel=False)
        return (sketched - classes @ self._narrow(gaps)) / self.total**0.5

    def whitened_gram(self, w: Array) -> Array:
        """W^T S_w W, in one pass that forms the scores of the centred rows: nothing ill conditioned is squared."""
        shifts = self._narrow(self.means - self._pilots) @ w

        def gram(block: Any, rows: slice) -> tuple[Array]:
            scores = block @ w - self._of_classes(shifts, rows)
            return (self._wide(scores.T @ scores),)

        return self._reduce(gram)[1][0] / self.total

    def of_class(self, k: int) -> LabelledData:
        """The rows of one class alone."""
        rows = np.flatnonzero(self.codes == k)
        weights = None if self.weights is None else self.weights[rows]
        return LabelledData(self.data, np.zeros(len(rows), dtype=self.codes.dtype), 1, weights=weights, rows=rows)

    def fourth_moment(self, mean: Array, scale: Array) -> float:
        """Sum over weighted rows of the squares of sum_j ((x_j - mean_j) / scale_j)^2, in one pass, for one class."""
        mean, inverse = mean - self._pilots[0], scale**-2
        wide, narrow = mean**2 @ inverse, self._narrow(inverse)

        def part(first: int, stop: int) -> tuple[Array]:
            total = 0.0
            for rows in _stretches(first, stop, self._large):
                block = self._take(rows)
                if self.sparse:
                    squares = block.multiply(block) @ inverse - 2 * (block @ (mean * inverse)) + wide
                else:
                    block = block - self._narrow(self._pilots[0] + mean)
                    squares = self._wide(block**2 @ narrow)
                weighted = squares if self.weights is None else squares * self._wide(self.weights[rows])
                total = total + weighted @ squares
            return (total,)

        self.n_passes += 1
        return float(self._rows(self._large).sum(part)[0])

    def centred(self) -> Array:
        """Centred rows, times the roots of their weights, divided by sqrt(total): the one method that copies them."""
        rows, means = slice(0, self.n_samples), self._narrow(self.means)
        self.n_passes += 1
        block = self._take(rows)
        block = block.toarray() if self.sparse else block
        return shifted_rows(block, means[self._indices], self._roots) / self.total**0.5

    def row_gram(self) -> Array:
        """Gram matrix Xc Xc^T / total of the centred rows, times the roots of their weights, shape (n, n)."""
        means, shifts = self._narrow(self.means), self._indices
        self.n_passes += 1
        cross = (self.data @ means.T)[:, shifts]
        gram = self.data @ self.data.T
        gram = (gram.toarray() if self.sparse else gram) - cross - cross.T + (means @ means.T)[shifts][:, shifts]
        if self._roots is not None:
            gram = gram * self._roots[:, None] * self._roots
        return gram / self.total

    def scores(self, a: Array) -> Array:
        """Centred rows times a, times the roots of their weights, divided by sqrt(total), shape (n, p); one pass."""
        means, rows = self._narrow(self.means), slice(0, self.n_samples)
        self.n_passes += 1
        return shifted_rows(self.data @ a - (means @ a)[self._indices], None, self._roots_of(rows)) / self.total**0.5

    def adjoint(self, z: Array) -> Array:
        """The transpose of ``scores`` times a matrix of n rows, shape (d, p), in one pass."""
        means, rows = self._narrow(self.means), slice(0, self.n_samples)
        self.n_passes += 1
        totals = add_signed_rows(namespace(z).zeros_like(z[: self.n_classes]), z, *self._onehot(rows))
        return (self.data.T @ shifted_rows(z, None, self._roots_of(rows)) - means.T @ totals) / self.total**0.5

    def _reduce(
        self, part: Callable[[Any, slice], tuple[Array, ...]], *, parallel: bool = True
    ) -> tuple[Array, tuple[Array, ...]]:
        """Pass over rows shifted by the pilots and scaled by the roots of their weights; sums of ``part`` over blocks.

        Returns what the true means differ from the pilots by, and the sums.
        """
        xp = namespace(self.like)

        def stretch(first: int, stop: int) -> tuple[Array, ...]:
            sums = xp.zeros_like(self._pilots)
            totals: tuple[Array, ...] = ()
            for rows in _stretches(first, stop, self._large):
                block = shifted_rows(self._take(rows), self._shifts(rows), self._roots_of(rows))
                sums += add_signed_rows(self._zeros(self.n_classes), block, *self._onehot(rows))
                new = part(block, rows)
                for total, more in zip(totals, new, strict=bool(totals)):
                    total += more
                totals = totals or new
            return sums, *totals

        self.n_passes += 1
        with np.errstate(invalid="ignore"):  # NaN and infinity end in an error of their own below
            reduction = self._rows(self._large) if parallel else RowReduction(self.n_samples, 1, parallel=False)
            sums, *totals = reduction.sum(stretch)
        if not bool(xp.all(xp.isfinite(sums))):
            raise ValueError("X contains NaN or infinity; clean or impute it first")
        gaps = sums / xp.clip(self.counts, np.finfo(float).tiny, None)[:, None]
        self._means = self._pilots + gaps
        return gaps, tuple(totals)

    def _take(self, rows: slice) -> Any:
        """A block of rows."""
        if self._chosen is None:
            return row_block(self.data, rows.start, rows.stop)
        return self.data[self._chosen[rows]]

    def _shifts(self, rows: slice) -> Array | None:
        """Pilot means of the classes of some rows; none for sparse rows, which a shift would fill."""
        return None if self.sparse else self._narrow(self._pilots)[self._indices[rows]]

    def _roots_of(self, rows: slice) -> Array | None:
        """Roots of the weights of some rows."""
        return None if self._roots is None else self._roots[rows]

    def _of_classes(self, values: Array, rows: slice) -> Array:
        """The row of each row's class, times the root of its weight."""
        return shifted_rows(values[self._indices[rows]], None, self._roots_of(rows))

    def _onehot(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Class of each row as target of a sum, and the root of its weight."""
        codes = self.codes[rows]
        roots = np.ones(len(codes)) if self.weights is None else self.weights[rows] ** 0.5
        return codes[:, None], roots[:, None]

    def _rows(self, block: int) -> RowReduction:
        return RowReduction(self.n_samples, block, parallel=not self._torch and not self.sparse)

    def _as_index(self, numbers: np.ndarray) -> Any:
        return namespace(self.like).asarray(numbers, device=self.like.device) if self._torch else numbers

    def _pilot_means(self) -> Array:
        """Mean of some rows of each class; zero for sparse rows, which a shift would fill."""
        if self.sparse:
            return self._wide(np.zeros((self.n_classes, self.n_features)))
        order = np.argsort(self.codes, kind="stable")
        starts = np.searchsorted(self.codes[order], np.arange(self.n_classes + 1))
        chosen = np.concatenate([order[a : min(a + _PILOT_ROWS, b)] for a, b in pairwise(starts)])
        codes = self.codes[chosen]
        shares = (1 / np.maximum(np.bincount(codes, minlength=self.n_classes), 1))[codes]
        index = self._as_index(chosen)
        rows = self.data[index if self._chosen is None else self._chosen[index]]
        sums = add_signed_rows(self._zeros(self.n_classes), rows, codes[:, None], shares[:, None])
        # A class of infinite entries is met again, and named, in the first pass.
        return self._wide(namespace(rows).where(namespace(rows).isfinite(sums), sums, self._zeros(self.n_classes)))

    def _zeros(self, rows: int) -> Array:
        device = {"device": self.like.device} if self._torch else {}
        return namespace(self.like).zeros((rows, self.n_features), dtype=self.like.dtype, **device)

    def _wide(self, array: Any) -> Array:
        """Values in float64, on the device of the data."""
        if self._torch:
            return namespace(self.like).asarray(array, device=self.like.device).double()
        return np.asarray(to_numpy(array), dtype=np.float64)

    def _narrow(self, array: Array) -> Array:
        return namespace(array).astype(array, self.like.dtype, copy=False)


def _stretches(first: int, stop: int, most: int) -> list[slice]:
    """Blocks of at most so many rows."""
    return [slice(row, min(row + most, stop)) for row in range(first, stop, most)]
