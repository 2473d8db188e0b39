"""Passes over the rows of matrices that are read together, as sums of a function of their blocks.

Every result of a pass is a tuple of small arrays that add up over the rows. What reads the rows is all that differs
between data in memory, in files, and on a cluster.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from manifolds.linalg import Array, is_array, is_torch_array, machine_epsilon, namespace
from problems.row_blocks import bytes_per_row, empty_like, has_cheap_blocks, row_block
from problems.row_reduction import RowReduction
from problems.row_source import RowSource, read_ahead, regrouped

if TYPE_CHECKING:
    from problems.pass_journal import PassJournal

_GATHER_BYTES = 2**27
"""Size at most of a row block in a pass that makes means, a sketch or covariances."""

_BLOCK_BYTES = 3 * 2**19
"""Default size of a row block: small enough to stay in a core's cache between its two products."""

_DEVICE_BYTES = 2**28
"""Size at most of a row block on a device: it is in no cache, and a pass should be a few launches only."""

_SINGLE_ROWS = 8192
"""Rows at most whose products a device adds up in single precision, before they are added up in double precision."""

_STREAM_BYTES = 2**24
"""Size at most of what is read at a time for means, a sketch or covariances."""

_THREAD_BYTES = 2**21
"""Size of what is read at a time for each thread of a thin product: small enough to be in a cache when it is used."""

_SECTION_BYTES = 2**26
"""Size of what a thread reads for itself between two looks at the others, at which a pass can be interrupted."""

_SHARE_OF_DATA = 0.03
"""Size of the sums of a pass, in that of the data, up to which each thread has its own."""

_COPY_BYTES = 2**21
"""Size of a copy of rows that matters nowhere."""

SAMPLE_ROWS = 256
"""Rows that a pilot mean is made from."""

_MANY = 2**20
"""Rows for which all threads are worth their while."""


class RowBlock(NamedTuple):
    """Some rows of each matrix, and their part of each vector."""

    first: int
    stop: int
    views: list[Any]
    vectors: list[Any]


Part = Callable[[Iterator[RowBlock]], tuple[Array, ...]]
"""A function of consecutive blocks whose results add up over them."""


class RowPasses(ABC):
    """Rows of matrices that are read together in passes.

    Parameters
    ----------
    matrices : sequence
        With the same rows.
    vectors : sequence
        An entry for each row each, or None.
    block_rows : int, optional
        Rows per block at most.
    """

    def __init__(self, matrices: Sequence[Any], vectors: Sequence[Any] = (), block_rows: int | None = None) -> None:
        self.matrices, self.vectors = list(matrices), list(vectors)
        self.n_samples = matrices[0].shape[0]
        row_bytes = sum(map(bytes_per_row, matrices))
        self.block_rows = max(64, self._block_bytes // row_bytes) if block_rows is None else int(block_rows)
        if self.block_rows < 1:
            raise ValueError(f"block_rows must be at least 1, got {block_rows}")
        self.most_rows = max(64, self._gather_bytes // row_bytes) if block_rows is None else self.block_rows

    _block_bytes, _gather_bytes = _BLOCK_BYTES, _GATHER_BYTES

    @property
    def copied_rows(self) -> int:
        """Rows of which a copy takes little memory beside the data and the covariances of its columns."""
        row_bytes, width = sum(map(bytes_per_row, self.matrices)), sum(matrix.shape[1] for matrix in self.matrices)
        return max(self.n_samples // 16, width // 2, _COPY_BYTES // row_bytes)

    @abstractmethod
    def sum(self, part: Part, rows: int | None = None) -> tuple[Array, ...]:
        """Sum of ``part(blocks)`` over stretches of rows side by side, in blocks of so many rows.

        By default they are small ones, for thin products.
        """

    @abstractmethod
    def sum_in_order(self, part: Part, rows: int) -> tuple[Array, ...]:
        """Sum of ``part(blocks)`` over as few stretches as there can be, in larger blocks of at most so many rows."""

    @abstractmethod
    def map(self, function: Callable[[RowBlock], Array]) -> Array:
        """Results of a function of the blocks, with a row for each of theirs, under each other."""

    def sum_wide(self, part: Part, rows: int, sums_bytes: int) -> tuple[Array, ...]:
        """Sum of ``part(blocks)`` as ``sum_in_order``, side by side where sums of so many bytes are small."""
        return self.sum_in_order(part, rows)

    def sample(self) -> list[Any]:
        """Some rows of each matrix, where the first block may be taken no sooner than others."""
        return []


class MemoryRows(RowPasses):
    """Rows of matrices in memory, on all cores."""

    def __init__(self, matrices: Sequence[Any], vectors: Sequence[Any] = (), block_rows: int | None = None) -> None:
        super().__init__(matrices, vectors, block_rows)
        self._whole = not all(map(has_cheap_blocks, matrices))
        if self._whole:
            self.block_rows = self.n_samples
        self.reduction = self._reduction(self.block_rows)

    def _reduction(self, rows: int) -> RowReduction:
        return RowReduction(self.n_samples, rows, parallel=not is_torch_array(empty_like(self.matrices[0])))

    def blocks(self, first: int, stop: int, rows: int | None = None) -> Iterator[RowBlock]:
        """Blocks of a stretch of rows, by default the small ones."""
        rows = self.block_rows if rows is None or self._whole else min(rows, self.most_rows)
        return cut(RowBlock(0, self.n_samples, self.matrices, self.vectors), first, stop, rows)

    def sum(self, part: Part, rows: int | None = None) -> tuple[Array, ...]:
        reduction = self.reduction if rows is None else self._reduction(rows)
        return reduction.sum(lambda first, stop: part(self.blocks(first, stop, rows)))

    def sum_in_order(self, part: Part, rows: int) -> tuple[Array, ...]:
        return part(self.blocks(0, self.n_samples, rows))

    def sum_wide(self, part: Part, rows: int, sums_bytes: int) -> tuple[Array, ...]:
        # A thread has sums and a block of its own. Products of wide blocks use the threads of the BLAS well enough.
        small = _SHARE_OF_DATA * self.n_samples * sum(map(bytes_per_row, self.matrices))
        return self.sum(part, rows // 2) if sums_bytes < small else self.sum_in_order(part, rows)

    def sample(self) -> list[Any]:
        rows = min(SAMPLE_ROWS, self.most_rows)
        return [matrix[:rows] if is_array(matrix) else matrix for matrix in self.matrices]

    def map(self, function: Callable[[RowBlock], Array]) -> Array:
        found = [function(block) for block in self.blocks(0, self.n_samples)]
        return found[0] if len(found) == 1 else namespace(found[0]).concat(found, axis=0)


class DeviceRows(MemoryRows):
    """Rows of tensors on a device, where the time of a pass in small blocks is that of launching their kernels.

    In double precision blocks are as large as memory allows, whatever is asked for. In single precision, sums over many
    rows would lose digits.
    """

    _block_bytes = _gather_bytes = _DEVICE_BYTES

    def __init__(self, matrices: Sequence[Any], vectors: Sequence[Any] = (), block_rows: int | None = None) -> None:
        super().__init__(matrices, vectors, block_rows)
        self._double = machine_epsilon(empty_like(matrices[0])) < 1e-10
        if block_rows is None and not self._double:
            self.block_rows = min(self.block_rows, _SINGLE_ROWS)

    def blocks(self, first: int, stop: int, rows: int | None = None) -> Iterator[RowBlock]:
        return super().blocks(first, stop, self.most_rows if rows is not None and self._double else rows)


class StreamedRows(RowPasses):
    """Rows that are read from a source, or from several beside matrices in memory.

    They are read ahead of the arithmetic, or by the threads that use them where these can read from any row on.
    """

    _gather_bytes = _STREAM_BYTES

    def __init__(self, matrices: Sequence[Any], vectors: Sequence[Any] = (), block_rows: int | None = None) -> None:
        for matrix in matrices:
            if is_torch_array(matrix) or not has_cheap_blocks(matrix):
                raise TypeError(
                    f"rows from files cannot be read together with a {type(matrix).__name__}; give the other view as a "
                    "numpy array, a sparse matrix by rows (CSR) or a file, too"
                )
        super().__init__(matrices, vectors, block_rows)
        self.reduction = RowReduction(_MANY, 1, parallel=True)
        self._seekable = all(matrix.seekable for matrix in self.matrices if isinstance(matrix, RowSource))
        self._thread_rows = (
            self.block_rows if block_rows else max(64, _THREAD_BYTES // sum(map(bytes_per_row, matrices)))
        )

    def stream(self, rows: int) -> Generator[RowBlock, None, None]:
        """Blocks of all rows in order, of exactly so many rows but for the last."""
        return self._together([_stream(matrix, rows) for matrix in self.matrices], 0)

    def _together(self, streams: Sequence[Iterator[Any]], first: int) -> Generator[RowBlock, None, None]:
        """Blocks of all matrices side by side, from a row on."""
        for views in zip(*streams, strict=True):
            stop = first + views[0].shape[0]
            yield RowBlock(first, stop, list(views), [None if v is None else v[first:stop] for v in self.vectors])
            first = stop

    def sum(self, part: Part, rows: int | None = None) -> tuple[Array, ...]:
        rows = self._thread_rows if rows is None else min(rows, self.most_rows)

        def read() -> tuple[Array, ...]:
            total: tuple[Array, ...] = ()
            with self.reduction.threads() as pool:
                for new in self._sums(part, rows, pool):
                    total = tuple(old + more for old, more in zip(total, new, strict=True)) if total else new
            return total

        return self._kept(read)

    def _sums(self, part: Part, rows: int, pool: Executor | None) -> Iterator[tuple[Array, ...]]:
        """Sums over sections of the rows, in each of which every thread has a stretch."""
        if not self._seekable or self.reduction.n_threads == 1:
            # Read ahead by another thread. A thread takes what is read for it as one block.
            for block in self._ahead(self.reduction.n_threads * rows):
                yield self.reduction.sum(partial(_stretch, part, block), block.stop - block.first, pool)
            return
        # What a thread reads for itself is in its cache when it is used, so that copying costs next to nothing.
        section = self.reduction.n_threads * max(rows, _SECTION_BYTES // sum(map(bytes_per_row, self.matrices)))
        for first in range(0, self.n_samples, section):
            stop = min(first + section, self.n_samples)
            yield self.reduction.sum(partial(self._of_stretch, part, rows, first), stop - first, pool)
            self._has_read(stop)

    def _of_stretch(self, part: Part, rows: int, begin: int, first: int, stop: int) -> tuple[Array, ...]:
        """A function of some rows of a section, which are read for it."""
        streams = [_stream(matrix, rows, begin + first, begin + stop) for matrix in self.matrices]
        return part(self._together(streams, begin + first))

    def sum_in_order(self, part: Part, rows: int) -> tuple[Array, ...]:
        return self._kept(lambda: part(self._ahead(min(rows, self.most_rows))))

    def map(self, function: Callable[[RowBlock], Array]) -> Array:
        return np.concatenate([function(block) for block in self._ahead(self.most_rows)])

    def sample(self) -> list[Any]:
        if self.journal is None:
            return []
        blocks = self.stream(SAMPLE_ROWS)  # a pass that is known already has no first block
        try:
            return next(blocks).views
        finally:
            blocks.close()

    @property
    def journal(self) -> PassJournal | None:
        """Where results of passes are kept."""
        return next((m.journal for m in self.matrices if isinstance(m, RowSource) and m.journal is not None), None)

    def _kept(self, read: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Result of a pass, from the journal where it knows it."""
        return read() if self.journal is None else self.journal.result(read)

    def _ahead(self, rows: int) -> Iterator[RowBlock]:
        """Blocks that are read ahead; the journal is told how far the pass has come."""
        for block in read_ahead(self.stream(rows)):
            yield block
            self._has_read(block.stop)

    def _has_read(self, stop: int) -> None:
        if self.journal is not None:
            self.journal.has_read(stop, self.n_samples)


def row_passes(matrices: Sequence[Any], vectors: Sequence[Any] = (), block_rows: int | None = None) -> RowPasses:
    """Passes over matrices with the same rows, wherever these are."""
    if any(isinstance(matrix, RowSource) and matrix.distributed for matrix in matrices):
        from problems.dask_rows import DaskPasses

        return DaskPasses(matrices, vectors, block_rows)
    if any(isinstance(matrix, RowSource) for matrix in matrices):
        return StreamedRows(matrices, vectors, block_rows)
    like = empty_like(matrices[0])
    on_device = is_torch_array(like) and like.device.type != "cpu"
    return (DeviceRows if on_device else MemoryRows)(matrices, vectors, block_rows)


def cut(block: RowBlock, first: int, stop: int, rows: int) -> Iterator[RowBlock]:
    """A stretch of the rows of a block in smaller blocks."""
    for begin in range(first, stop, rows):
        end = min(begin + rows, stop)
        low, high = begin - block.first, end - block.first
        vectors = [None if vector is None else vector[low:high] for vector in block.vectors]
        yield RowBlock(begin, end, [row_block(view, low, high) for view in block.views], vectors)


def _stretch(part: Part, block: RowBlock, first: int, stop: int) -> tuple[Array, ...]:
    """A function of some of the rows of a block."""
    return part(cut(block, block.first + first, block.first + stop, max(1, stop - first)))


class NotFiniteError(ValueError):
    """Rows that hold NaN or infinity: the matrix, and the row if it is known."""

    def __init__(self, matrix: int, row: int | None = None) -> None:
        super().__init__(matrix, row)
        self.matrix, self.row = matrix, row

    def named(self, name: str, data: Any) -> ValueError:
        """The same for users, with the name of the matrix and the place of the row."""
        place = ""
        if self.row is not None:
            place = f" ({data.where(self.row) if isinstance(data, RowSource) else f'row {self.row}'})"
        return ValueError(f"{name} contains NaN or infinity{place}; clean or impute it first")


def require_finite_sums(sums: Array, block: RowBlock, i: int = 0) -> None:
    """Raise an error that names a row where sums over numpy's rows are not finite; tensors are asked at the end."""
    if is_torch_array(sums) or np.all(np.isfinite(sums)):
        return
    view = block.views[i]
    finite = np.isfinite(view if is_array(view) else view @ np.ones((view.shape[1], 1))).all(axis=1)
    rows = np.flatnonzero(~finite)
    raise NotFiniteError(i, block.first + int(rows[0]) if len(rows) else None)


def _stream(matrix: Any, rows: int, first: int = 0, stop: int | None = None) -> Iterator[Any]:
    """Blocks of a matrix of exactly so many rows, but for the last; of a source all rows, or a stretch if seekable."""
    if not isinstance(matrix, RowSource):
        stop = matrix.shape[0] if stop is None else stop
        return (row_block(matrix, low, min(low + rows, stop)) for low in range(first, stop, rows))
    if stop is None:
        return _counted(matrix, regrouped(matrix.blocks(rows), rows))
    return regrouped(matrix.stretch(first, stop, rows), rows)


def _counted(source: RowSource, blocks: Iterator[Any]) -> Iterator[Any]:
    """Blocks of a source, checked for what the source has said of them."""
    count = 0
    for block in blocks:
        count += block.shape[0]
        if block.shape[1] != source.shape[1] or block.dtype != source.dtype:
            raise ValueError(
                f"{source.where(count - block.shape[0])}: a block has {block.shape[1]} columns of {block.dtype}, where "
                f"{source.shape[1]} of {source.dtype} were announced"
            )
        yield block
    if count != source.shape[0]:
        raise ValueError(f"{source.name} gave {count} rows, where {source.shape[0]} were announced")
