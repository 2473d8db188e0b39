"""Passes over rows of known classes, shifted by pilot means and weighted: sums, and the class means they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from manifolds.linalg import Array, convert, is_torch_array, namespace, to_numpy
from manifolds.scatter import add_signed_rows
from manifolds.sketching import require_integer
from problems.class_pilots import chosen_rows, means_of_classes, streamed_pilots
from problems.class_rows import ClassRows
from problems.dask_rows import DaskCodes
from problems.row_blocks import (
    ChosenRows,
    as_data,
    bytes_per_row,
    empty_like,
    for_products,
    has_sparse_rows,
    is_dask,
    product_like,
    zeros,
)
from problems.row_passes import NotFiniteError, Part, RowBlock, RowPasses, StreamedRows, require_finite_sums, row_passes
from problems.row_source import RowSource

_BLOCK_BYTES = 2**23
"""Size of a row block that is squared or sketched."""


class ClassPasses:
    """Rows of known classes, read in passes that are counted, with the class means that a pass finds.

    Parameters, attributes and errors are those of ``LabelledData``, which says what the sums are for.
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
        self._roots = None if weights is None else convert(weights**0.5, self._wide_like)
        known = isinstance(codes, DaskCodes)
        self.counts = self._wide(codes.counts if known else np.bincount(codes, weights, minlength=n_classes))
        self._large = max(64, _BLOCK_BYTES // bytes_per_row(x)) if block_rows is None else int(block_rows)
        matrix = x if rows is None else ChosenRows(x, self._as_index(rows))
        if block_rows is None and self.sparse and not isinstance(x, RowSource):
            block_rows = self.n_samples  # products with sparse rows do not gain from a cache
        self.rows: RowPasses = row_passes([matrix], [codes, self._as_index(codes), weights, self._roots], block_rows)
        if not self.sparse:  # rows are copied to be shifted, and twice where they are chosen
            self._large = min(self._large, self.rows.copied_rows // (1 if rows is None else 2))
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
        xp, like, pilots, wide = namespace(self.like), product_like(self.data), self._shifts, self._wide_like
        shape = tuple(self._pilots.shape)

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, ...]:
            sums, totals = zeros(wide, shape), start()
            with np.errstate(invalid="ignore"):  # NaN and infinity end in an error of their own
                for block in blocks:
                    rows = ClassRows.of(block).shifted(pilots)
                    rows = rows._replace(view=for_products(rows.view))
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
        nothing = zeros(self._wide_like, (self.n_classes, self.n_features))
        if self.sparse:
            return nothing
        if isinstance(self.data, RowSource) and self.data.distributed:
            # A pass more, in which chunks need not wait for each other.
            self._pilots = nothing
            return self._pilots + self._reduce()[0]
        if isinstance(self.rows, StreamedRows):
            means, stop = streamed_pilots(self.rows, self.codes, self.n_classes, self._large)
            self.n_passes += stop > max(self._large, self.n_samples // 2)
            return self._wide(means)
        chosen = chosen_rows(self.codes, self.n_classes)
        index = self._as_index(chosen)
        rows = self.data[index if self._rows is None else self._as_index(self._rows)[index]]
        return self._wide(means_of_classes(rows, self.codes[chosen], self.n_classes))

    def _wide(self, array: Any) -> Array:
        """Values in float64, on the device of the data."""
        if self._torch:
            return namespace(self.like).asarray(array, device=self.like.device).double()
        return np.asarray(to_numpy(array), dtype=np.float64)

    def _narrow(self, array: Array) -> Array:
        return namespace(array).astype(array, self.like.dtype, copy=False)
