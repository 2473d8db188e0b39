"""Rows that are not in memory: read in blocks, in order, once for each pass, the next block while one is at work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import scipy.sparse

if TYPE_CHECKING:
    from problems.pass_journal import PassJournal

T = TypeVar("T")

_END = object()

_ROWS = 16384
"""Rows at a time of a source that is read into memory."""


class RowSource(ABC):
    """A matrix of which only blocks of rows are read, in order; ``DataMatrix`` takes it in the place of an array.

    Attributes
    ----------
    shape : tuple of int
        ``(n, d)``.
    dtype : numpy dtype
        float32 or float64, that of every block.
    name : str
        What error messages call it.
    sparse : bool
        Whether blocks are scipy sparse matrices by rows, instead of numpy arrays.
    columns : list of str or None
        Names of the columns.

    Examples
    --------
    A source of one's own says its shape and dtype, and yields the rows:

    >>> import numpy as np
    >>> from problems import DataMatrix, RowSource
    >>> class Waves(RowSource):
    ...     name, shape, dtype = "waves", (1000, 2), np.dtype("float64")
    ...     def blocks(self, rows):
    ...         for first in range(0, 1000, rows):
    ...             t = np.arange(first, min(first + rows, 1000)) * np.pi / 500
    ...             yield np.stack([np.sin(t), np.cos(t)], axis=1)
    >>> DataMatrix(Waves()).gram().round(12) + 0.0
    array([[0.5, 0. ],
           [0. , 0.5]])
    """

    shape: tuple[int, int]
    dtype: np.dtype
    name: str = "the rows"
    sparse: bool = False
    columns: list[str] | None = None
    distributed: bool = False
    """Whether passes run where the rows are."""
    seekable: bool = False
    """Whether ``stretch`` reads from any row on, by several threads at once."""
    journal: PassJournal | None = None
    """Where results of passes are kept."""

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def row_bytes(self) -> int:
        """Mean number of bytes that a row takes in memory."""
        return max(1, self.shape[1] * self.dtype.itemsize)

    @abstractmethod
    def blocks(self, rows: int) -> Iterator[Any]:
        """Read all rows once, in order, in blocks of at most so many rows.

        Parameters
        ----------
        rows : int

        Yields
        ------
        array or scipy sparse matrix of shape (b, d)
        """

    def stretch(self, first: int, stop: int, rows: int) -> Iterator[Any]:
        """Read some consecutive rows of a seekable source, as ``blocks`` reads all."""
        raise NotImplementedError(f"{type(self).__name__} is not seekable")

    def cast(self, dtype: np.dtype) -> RowSource:
        """The same rows in another precision."""
        return CastRows(self, dtype)

    def where(self, row: int) -> str:
        """Words for the place of a row, for an error message."""
        return f"{self.name}, row {row}"


class CastRows(RowSource):
    """Rows of a source in another precision.

    Parameters
    ----------
    source : RowSource
    dtype : numpy dtype
    """

    def __init__(self, source: RowSource, dtype: np.dtype) -> None:
        self.source, self.dtype = source, np.dtype(dtype)
        self.name, self.shape, self.sparse, self.columns = source.name, source.shape, source.sparse, source.columns
        self.journal, self.seekable = source.journal, source.seekable

    @property
    def row_bytes(self) -> int:
        return self.source.row_bytes * self.dtype.itemsize // self.source.dtype.itemsize

    def blocks(self, rows: int) -> Iterator[Any]:
        return (block.astype(self.dtype, copy=False) for block in self.source.blocks(rows))

    def stretch(self, first: int, stop: int, rows: int) -> Iterator[Any]:
        return (block.astype(self.dtype, copy=False) for block in self.source.stretch(first, stop, rows))

    def where(self, row: int) -> str:
        return self.source.where(row)


class FilteredRows(RowSource):
    """Some of the rows of a source, which is read whole for them.

    Parameters
    ----------
    source : RowSource
    mask : array of bool of shape (n,)
    """

    def __init__(self, source: RowSource, mask: np.ndarray) -> None:
        self.source, self._mask = source, mask
        self.name, self.dtype, self.sparse, self.columns = source.name, source.dtype, source.sparse, source.columns
        self.shape, self.journal = (int(np.count_nonzero(mask)), source.shape[1]), source.journal

    def blocks(self, rows: int) -> Iterator[Any]:
        first = 0
        for block in self.source.blocks(rows):
            stop = first + block.shape[0]
            yield block[self._mask[first:stop]]
            first = stop

    def where(self, row: int) -> str:
        return self.source.where(int(np.flatnonzero(self._mask)[row]))


def regrouped(blocks: Iterable[Any], rows: int) -> Iterator[Any]:
    """The same rows in blocks of exactly so many; the last may be shorter. Empty blocks are left out."""
    waiting: list[Any] = []
    count = 0
    for block in blocks:
        first = 0
        while first < block.shape[0]:
            stop = min(block.shape[0], first + rows - count)
            waiting.append(block if stop - first == block.shape[0] else block[first:stop])
            count, first = count + stop - first, stop
            if count == rows:
                yield stacked(waiting)
                waiting, count = [], 0
    if waiting:
        yield stacked(waiting)


def stacked(blocks: list[Any]) -> Any:
    """Blocks under each other; one alone is not copied."""
    if len(blocks) == 1:
        return blocks[0]
    if scipy.sparse.issparse(blocks[0]):
        return scipy.sparse.vstack(blocks, format="csr")
    return np.concatenate(blocks)


def in_memory(rows: RowSource) -> Any:
    """All rows of a source, as one array or sparse matrix."""
    return stacked(list(rows.blocks(_ROWS)))


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, of which a thread makes the next one while one is at work; it stops when this one is closed."""
    items = _generator(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        try:
            waiting = pool.submit(next, items, _END)
            while (item := waiting.result()) is not _END:
                waiting = pool.submit(next, items, _END)
                yield item  # type: ignore[misc]
                del item
        finally:
            # The thread may be inside the generator, which only it may close then.
            pool.submit(items.close)


def _generator(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items as a generator, which can be closed."""
    yield from items
