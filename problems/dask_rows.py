"""Rows in the chunks of dask arrays and dataframes: they stay where they are, a pass is a tree of sums of small arrays.

With a ``distributed`` client the work runs on its workers, without one in dask's own threads. A chunk whose worker is
lost is made again by dask, from what it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse

from manifolds.linalg import Array
from problems.chunk_tasks import chunks_of, compute_in_place
from problems.file_rows import row_dtype
from problems.row_blocks import is_dask
from problems.row_passes import Part, RowBlock, RowPasses, cut
from problems.row_source import RowSource

_FAN_IN = 8
"""Results that are added up at a time, on one worker."""


class DaskRows(RowSource):
    """Rows of a dask array, or of the numeric columns of a dask dataframe, in its own chunks.

    Chunks of columns are joined; integers become float64. Where chunk sizes are not known they are found, which makes
    every chunk once. Nothing is kept in memory: persist what is costly to make.

    Parameters
    ----------
    data : dask array of shape (n, d), or dask dataframe
    name : str
        What error messages call it.

    Raises
    ------
    TypeError
        If it is neither, or holds anything but real numbers.
    ValueError
        If it is no matrix or has no rows.

    Attributes
    ----------
    lengths : tuple of int
        Rows of each chunk.

    Examples
    --------
    >>> import dask.array
    >>> import numpy as np
    >>> from problems import DataMatrix
    >>> x = dask.array.from_array(np.eye(4), chunks=(2, 2))
    >>> rows = DaskRows(x)
    >>> rows.shape, rows.lengths
    ((4, 4), (2, 2))
    >>> DataMatrix(rows).gram()[0]
    array([ 0.1875, -0.0625, -0.0625, -0.0625])
    """

    distributed = True

    def __init__(self, data: Any, name: str = "X") -> None:
        import dask

        if not is_dask(data):
            raise TypeError(f"{name} must be a dask array or dataframe, got {type(data).__name__}")
        self.name = name
        if hasattr(data, "to_dask_array"):
            data = self._array_of(data)
        if data.ndim == 1:
            data = data[:, None]
        if data.ndim != 2 or not data.shape[1] > 0:
            raise ValueError(f"{name} must be a matrix (samples x features) that is not empty, got shape {data.shape}")
        self.dtype = row_dtype(np.dtype(data.dtype), name)
        if data.numblocks[1] > 1:
            data = data.rechunk({1: -1})
        self._blocks = chunks_of(data)[:, 0]
        self.lengths = tuple(data.chunks[0])
        if any(np.isnan(length) for length in self.lengths):
            self.lengths = dask.compute(*(dask.delayed(_length)(block) for block in self._blocks))
        self.shape = (int(sum(self.lengths)), int(data.shape[1]))
        if not self.shape[0]:
            raise ValueError(f"{name} has no rows")
        self.sparse = scipy.sparse.issparse(getattr(data, "_meta", None))

    def _array_of(self, frame: Any) -> Any:
        self.columns = list(map(str, frame.columns)) if hasattr(frame, "columns") else None
        for column, dtype in zip(frame.columns, frame.dtypes, strict=True) if self.columns else ():
            if getattr(dtype, "kind", "O") not in "fiub":
                raise TypeError(f"column {column!r} of {self.name} must hold real numbers, got {dtype}; choose columns")
        return frame.to_dask_array()

    def cast(self, dtype: np.dtype) -> DaskRows:
        rows = copy(self)
        rows.dtype = np.dtype(dtype)
        return rows

    @property
    def firsts(self) -> np.ndarray:
        """First row of each chunk."""
        return np.cumsum([0, *self.lengths[:-1]])

    def chunks(self) -> list[Any]:
        """The chunks, not made yet, checked when they are."""
        import dask

        check = dask.delayed(_checked, pure=True)
        return [
            check(block, (length, self.shape[1]), self.dtype, f"{self.name}, chunk {k}")
            for k, (block, length) in enumerate(zip(self._blocks, self.lengths, strict=True))
        ]

    def aligned(self, lengths: Sequence[int]) -> DaskRows:
        """The same rows in chunks of other lengths."""
        import dask.array

        if tuple(lengths) == tuple(self.lengths):
            return self
        parts = [
            dask.array.from_delayed(chunk, (length, self.shape[1]), dtype=self.dtype)
            for chunk, length in zip(self.chunks(), self.lengths, strict=True)
        ]
        return DaskRows(dask.array.concatenate(parts).rechunk((tuple(lengths), self.shape[1])), self.name)

    def blocks(self, rows: int) -> Iterator[Any]:
        for chunk in self.chunks():
            block = chunk.compute()
            for first in range(0, block.shape[0], rows):
                yield block[first : first + rows]

    def map_rows(self, function: Callable[[Any], Array], width: int) -> Any:
        """Dask array of the results of a function of the chunks, with a row for each of theirs."""
        import dask
        import dask.array

        parts = [
            dask.array.from_delayed(dask.delayed(function, pure=True)(chunk), (length, width), dtype=self.dtype)
            for chunk, length in zip(self.chunks(), self.lengths, strict=True)
        ]
        return dask.array.concatenate(parts)

    def where(self, row: int) -> str:
        k = int(np.searchsorted(self.firsts, row, side="right")) - 1
        return f"{self.name}, chunk {k}, row {row}"


class DaskPasses(RowPasses):
    """Passes over rows in dask's chunks: a task for each chunk, whose results are added up in a tree."""

    def __init__(self, matrices: Sequence[Any], vectors: Sequence[Any] = (), block_rows: int | None = None) -> None:
        for matrix in matrices:
            if not isinstance(matrix, DaskRows):
                raise TypeError(
                    f"dask rows cannot be read together with a {type(matrix).__name__}; make it a dask array, too"
                )
        lengths = matrices[0].lengths
        super().__init__([matrix.aligned(lengths) for matrix in matrices], vectors, block_rows)
        self.lengths = lengths

    def sum(self, part: Part, rows: int | None = None) -> tuple[Array, ...]:
        import dask

        rows = self.block_rows if rows is None else rows
        # One copy of what the function holds, such as the directions, for all tasks.
        shared, add = dask.delayed(_Shared(part)), dask.delayed(_added)
        parts = level = [dask.delayed(_part_of)(shared, *block, rows) for block in self._blocks()]
        while len(level) > 1:
            level = [add(level[i : i + _FAN_IN]) for i in range(0, len(level), _FAN_IN)]
        return compute_in_place(level[0], parts)

    def sum_in_order(self, part: Part, rows: int) -> tuple[Array, ...]:
        return self.sum(part, rows)

    def map(self, function: Callable[[RowBlock], Array]) -> Array:
        import dask
        import dask.array

        (matrix,) = self.matrices
        apply = dask.delayed(partial(_mapped, function))
        views = self.sample()
        stop = views[0].shape[0]
        sample = function(
            RowBlock(0, stop, views, [None if vector is None else vector[:stop] for vector in self.vectors])
        )
        parts = [
            dask.array.from_delayed(apply(*block), (length, sample.shape[1]), dtype=matrix.dtype)
            for block, length in zip(self._blocks(), filter(None, self.lengths), strict=True)
        ]
        return dask.array.concatenate(parts)

    def sample(self) -> list[Any]:
        import dask

        k = next(k for k, length in enumerate(self.lengths) if length)
        return list(dask.compute(*(dask.delayed(_head)(matrix.chunks()[k]) for matrix in self.matrices)))

    def _blocks(self) -> Iterator[tuple[int, list[Any], list[Any]]]:
        """First row, chunks and parts of the vectors of every chunk that is not empty."""
        views = [matrix.chunks() for matrix in self.matrices]
        first = 0
        for k, length in enumerate(self.lengths):
            if length:
                vectors = [
                    vector.parts[k]
                    if isinstance(vector, DaskCodes)
                    else None
                    if vector is None
                    else vector[first : first + length]
                    for vector in self.vectors
                ]
                yield first, [view[k] for view in views], vectors
            first += length


class DaskCodes:
    """Class of each row as an integer, in the chunks of the rows, and the rows of each class.

    Parameters
    ----------
    y : dask array or series of shape (n,)
    rows : DaskRows
    classes : array of shape (l,), optional
        All labels; those of y when left out.

    Raises
    ------
    ValueError
        If there are fewer than two classes, a label is not among them, or the rows are not as many.

    Attributes
    ----------
    classes : array of shape (l,)
    counts : array of shape (l,)
    """

    def __init__(self, y: Any, rows: DaskRows, classes: Any = None) -> None:
        import dask
        import dask.array

        y = y.to_dask_array() if hasattr(y, "to_dask_array") else y
        if y.ndim != 1:
            raise ValueError(f"y must be a vector of labels, got shape {y.shape}")
        parts = chunks_of(y)
        lengths = dask.compute(*(dask.delayed(_length)(part) for part in parts))
        if sum(lengths) != rows.shape[0]:
            raise ValueError(f"X and y must have the same number of rows, got {rows.shape[0]} and {sum(lengths)}")
        if lengths != tuple(rows.lengths):
            known = [
                dask.array.from_delayed(part, (length,), dtype=y.dtype)
                for part, length in zip(parts, lengths, strict=True)
            ]
            parts = chunks_of(dask.array.concatenate(known).rechunk((tuple(rows.lengths),)))
        if classes is None:
            classes = np.unique(np.concatenate(dask.compute(*(dask.delayed(np.unique)(part) for part in parts))))
        self.classes = np.unique(classes)
        if len(self.classes) < 2:
            raise ValueError(f"y must have at least two classes, got {len(self.classes)} class")
        self.parts = [dask.delayed(_codes_of, pure=True)(part, self.classes) for part in parts]
        count = dask.delayed(partial(np.bincount, minlength=len(self.classes)))
        self.counts = sum(dask.compute(*(count(part) for part in self.parts)))
        self.shape = (rows.shape[0],)

    def __len__(self) -> int:
        return self.shape[0]


class _Shared:
    """A function as a value that dask ships once."""

    def __init__(self, part: Part) -> None:
        self.part = part


def _length(block: Any) -> int:
    return block.shape[0]


def _codes_of(labels: Any, classes: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    codes = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    unknown = labels[classes[codes] != labels]
    if unknown.size:
        raise ValueError(f"y has labels that are not among the classes, such as {unknown[0]!r}")
    return codes


def _head(block: Any) -> Any:
    return block[:256]


def _checked(block: Any, shape: tuple[int, int], dtype: np.dtype, name: str) -> Any:
    """A chunk in the dtype that was announced; an error that names it if it has another shape or no numbers."""
    if not scipy.sparse.issparse(block):
        block = np.asarray(block)
    if block.shape != shape and block.shape != shape[:1]:
        raise ValueError(f"{name} has shape {block.shape}, where {shape} was announced")
    try:
        found = block.reshape(shape).astype(dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold real numbers: {error}") from None
    return found.tocsr() if scipy.sparse.issparse(found) else found


def _part_of(shared: _Shared, first: int, views: list[Any], vectors: list[Any], rows: int) -> tuple[Array, ...]:
    stop = first + views[0].shape[0]
    return shared.part(cut(RowBlock(first, stop, views, vectors), first, stop, rows))


def _mapped(function: Callable[[RowBlock], Array], first: int, views: list[Any], vectors: list[Any]) -> Array:
    return function(RowBlock(first, first + views[0].shape[0], views, vectors))


def _added(parts: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    """Sums of tuples; what comes over the wire cannot be added to in place."""
    total = parts[0]
    for part in parts[1:]:
        total = tuple(left + right for left, right in zip(total, part, strict=True))
    return total
