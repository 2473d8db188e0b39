"""Rows in the chunks of dask arrays and dataframes: they stay where they are, a pass is a tree of sums of small arrays.

With a ``distributed`` client the work runs on its workers, without one in dask's own threads. A chunk whose worker is
lost is made again by dask, from what it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from manifolds.linalg import Array
from problems.chunk_tasks import sum_over_chunks
from problems.file_rows import row_dtype
from problems.row_blocks import is_dask
from problems.row_passes import SAMPLE_ROWS, Part, RowBlock, RowPasses, cut
from problems.row_source import RowSource


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
        self.lengths = chunk_lengths(data)
        self.shape = (int(sum(self.lengths)), int(data.shape[1]))
        if not self.shape[0]:
            raise ValueError(f"{name} has no rows")
        meta = getattr(data, "_meta", None)
        self.sparse = scipy.sparse.issparse(meta)
        self._set(
            data.map_blocks(
                _checked,
                words=name,
                chunks=(self.lengths, self.shape[1]),
                dtype=self.dtype,
                meta=meta if self.sparse else np.empty((0, 0), dtype=self.dtype),
            )
        )

    def _set(self, array: Any) -> None:
        self._array = array  # whose hold on chunks in memory its delayed chunks do not have
        self._chunks = list(array.to_delayed()[:, 0])

    def _array_of(self, frame: Any) -> Any:
        self.columns = list(map(str, frame.columns)) if hasattr(frame, "columns") else None
        for column, dtype in zip(frame.columns, frame.dtypes, strict=True) if self.columns else ():
            if getattr(dtype, "kind", "O") not in "fiub":
                raise TypeError(f"column {column!r} of {self.name} must hold real numbers, got {dtype}; choose columns")
        return frame.to_dask_array()

    def cast(self, dtype: np.dtype) -> DaskRows:
        rows = copy(self)
        rows.dtype = np.dtype(dtype)
        rows._set(self._array.astype(dtype))
        return rows

    @property
    def firsts(self) -> np.ndarray:
        """First row of each chunk."""
        return np.cumsum([0, *self.lengths[:-1]])

    def chunks(self) -> list[Any]:
        """The chunks, not made yet, checked when they are."""
        return self._chunks

    def aligned(self, lengths: Sequence[int]) -> DaskRows:
        """The same rows in chunks of other lengths."""
        if tuple(lengths) == tuple(self.lengths):
            return self
        return DaskRows(self._array.rechunk((tuple(lengths), self.shape[1])), self.name)

    def blocks(self, rows: int) -> Iterator[Any]:
        for chunk in self.chunks():
            block = chunk.compute()
            for first in range(0, block.shape[0], rows):
                yield block[first : first + rows]

    def map_rows(self, function: Callable[..., Array], width: int, *others: Any) -> Any:
        """Dask array of the results of a function of the chunks, and of those of others, with a row for each."""
        return self._array.map_blocks(
            function, *others, chunks=(self.lengths, width), dtype=self.dtype, meta=np.empty((0, 0), dtype=self.dtype)
        )

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
        rows, codes = self.block_rows if rows is None else rows, [isinstance(v, DaskCodes) for v in self.vectors]
        chunks = [held.chunks() for held in (*self.matrices, *self.vectors) if isinstance(held, DaskRows | DaskCodes)]
        calls, first = [], 0
        for length, *of_stretch in zip(self.lengths, *chunks, strict=True):
            stop = first + length
            if length:
                known = [
                    None if vector is None or is_code else vector[first:stop]
                    for vector, is_code in zip(self.vectors, codes, strict=True)
                ]
                calls.append((_Stretch(first, rows, known, codes), of_stretch))
            first = stop
        return sum_over_chunks(_part_of, part, calls, _added)

    def sum_in_order(self, part: Part, rows: int) -> tuple[Array, ...]:
        return self.sum(part, rows)

    def map(self, function: Callable[[RowBlock], Array]) -> Array:
        import dask.array

        (matrix,) = self.matrices
        given = [
            vector.array if isinstance(vector, DaskCodes) else dask.array.from_array(vector, chunks=(self.lengths,))
            for vector in self.vectors
            if vector is not None
        ]
        views = self.sample()
        vectors = [None if v is None else np.zeros(views[0].shape[0], dtype=v.dtype) for v in self.vectors]
        width = function(RowBlock(0, views[0].shape[0], views, vectors)).shape[1]
        of_chunk = partial(_mapped, function, [vector is not None for vector in self.vectors])
        return matrix.map_rows(of_chunk, width, *(vector[:, None] for vector in given))

    def sample(self) -> list[Any]:
        import dask

        k = next(k for k, length in enumerate(self.lengths) if length)
        return list(dask.compute(*(dask.delayed(_head)(matrix.chunks()[k]) for matrix in self.matrices)))


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
    array : dask array of shape (n,)
    classes : array of shape (l,)
    counts : array of shape (l,)
    """

    dtype = np.dtype(np.int64)

    def __init__(self, y: Any, rows: DaskRows, classes: Any = None) -> None:
        import dask.array

        y = y.to_dask_array() if hasattr(y, "to_dask_array") else y
        if y.ndim != 1:
            raise ValueError(f"y must be a vector of labels, got shape {y.shape}")
        lengths = chunk_lengths(y)
        if sum(lengths) != rows.shape[0]:
            raise ValueError(f"X and y must have the same number of rows, got {rows.shape[0]} and {sum(lengths)}")
        if lengths != tuple(rows.lengths):
            known = dask.array.Array(y.dask, y.name, (lengths,), dtype=y.dtype, meta=y._meta)
            y = known.rechunk((tuple(rows.lengths),))
        found = classes
        if classes is None:
            found = sum_over_chunks(_labels_of, None, [(None, [part]) for part in y.to_delayed()], _all_labels)
        self.classes = np.unique(found)
        if len(self.classes) < 2:
            raise ValueError(f"y must have at least two classes, got {len(self.classes)} class")
        self.array = y.map_blocks(
            _codes_of,
            classes=self.classes,
            chunks=(rows.lengths,),
            dtype=self.dtype,
            meta=np.empty(0, dtype=self.dtype),
        )
        self._chunks = list(self.array.to_delayed())
        counts = sum_over_chunks(_counts_of, len(self.classes), [(None, [part]) for part in self._chunks], _added)
        (self.counts,) = counts
        self.shape = (rows.shape[0],)

    def chunks(self) -> list[Any]:
        """The codes of each chunk, not made yet."""
        return self._chunks

    def __len__(self) -> int:
        return self.shape[0]


def chunk_lengths(data: Any) -> tuple[int, ...]:
    """Rows of the chunks of a dask array of one chunk of columns; chunks of unknown lengths are made to count them."""
    lengths = data.chunks[0]
    if any(np.isnan(length) for length in lengths):
        ones = ((1,) * len(lengths), *[(1,)] * (data.ndim - 1))
        lengths = data.map_blocks(_length, chunks=ones, dtype=int, meta=np.empty((0,) * data.ndim, dtype=int)).compute()
    return tuple(int(length) for length in np.ravel(lengths))


class _Stretch(NamedTuple):
    """The rows of a chunk: their place, and their parts of the vectors but those that are chunks themselves."""

    first: int
    rows: int
    vectors: list[Any]
    codes: list[bool]


def _length(block: Any) -> np.ndarray:
    return np.full((1,) * block.ndim, block.shape[0])


def _labels_of(shared: None, call: None, labels: Any) -> np.ndarray:
    return np.unique(labels)


def _all_labels(*found: np.ndarray) -> np.ndarray:
    return np.unique(np.concatenate(found))


def _counts_of(n_classes: int, call: None, codes: np.ndarray) -> tuple[np.ndarray]:
    return (np.bincount(codes, minlength=n_classes),)


def _codes_of(labels: Any, classes: np.ndarray, block_info: Any = None) -> np.ndarray:
    labels, place = np.asarray(labels), block_info[None]
    if labels.shape != tuple(place["chunk-shape"]):
        number, expected = place["chunk-location"][0], place["chunk-shape"][0]
        raise ValueError(f"y, chunk {number} has {len(labels)} labels, where {expected} were announced")
    codes = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    unknown = labels[classes[codes] != labels]
    if unknown.size:
        raise ValueError(f"y has labels that are not among the classes, such as {unknown[0]!r}")
    return codes


def _head(block: Any) -> Any:
    return block[:SAMPLE_ROWS]


def _checked(block: Any, words: str, block_info: Any = None) -> Any:
    """A chunk in the dtype that was announced; an error that names it if it has another shape or no numbers."""
    place = block_info[None]
    shape, dtype, name = tuple(place["chunk-shape"]), place["dtype"], f"{words}, chunk {place['chunk-location'][0]}"
    if not scipy.sparse.issparse(block):
        block = np.asarray(block)
    if block.shape != shape and block.shape != shape[:1]:
        raise ValueError(f"{name} has shape {block.shape}, where {shape} was announced")
    try:
        found = block.reshape(shape).astype(dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold real numbers: {error}") from None
    return found.tocsr() if scipy.sparse.issparse(found) else found


def _part_of(part: Part, stretch: _Stretch, *chunks: Any) -> tuple[Array, ...]:
    given = iter(chunks)
    views = [next(given) for _ in range(len(chunks) - sum(stretch.codes))]
    vectors = [
        next(given) if is_code else vector for vector, is_code in zip(stretch.vectors, stretch.codes, strict=True)
    ]
    stop = stretch.first + views[0].shape[0]
    return part(cut(RowBlock(stretch.first, stop, views, vectors), stretch.first, stop, stretch.rows))


def _mapped(
    function: Callable[[RowBlock], Array], present: list[bool], view: Any, *vectors: Any, block_info: Any
) -> Array:
    (first, stop), _ = block_info[0]["array-location"]
    given = iter(vectors)
    return function(RowBlock(first, stop, [view], [next(given)[:, 0] if there else None for there in present]))


def _added(*parts: tuple[Array, ...]) -> tuple[Array, ...]:
    """Sums of tuples; what comes over the wire cannot be added to in place."""
    total = parts[0]
    for part in parts[1:]:
        total = tuple(left + right for left, right in zip(total, part, strict=True))
    return total
