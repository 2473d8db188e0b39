"""Rows of files: what all formats share, and numpy's own, .npy and sparse .npz."""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import scipy.sparse

from problems.row_source import RowSource
from rankopt.solvers.parameters import require_at_least, require_instance

_FREE_REFERENCES = 3
"""References to an array that only the list of buffers holds: the list, the loop that looks at it, and the question."""


class FileState(NamedTuple):
    """What changes when a file is written to, or one within a folder."""

    size: int
    modified: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """State of a file now; of a folder, of all that is in it together."""
        found = os.stat(path)
        if not path.is_dir():
            return cls(found.st_size, found.st_mtime_ns, found.st_ino)
        within = [os.stat(Path(folder) / name) for folder, _, names in os.walk(path) for name in names]
        sizes, times = [file.st_size for file in within], [file.st_mtime_ns for file in within]
        return cls(sum(sizes), max(times, default=0), found.st_ino)


class FileRows(RowSource):
    """Rows of one file, which must stay as it is from its opening to its last pass.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is not what its name says, and in a pass, if it is truncated or has changed since it was opened.
    TypeError
        If it holds anything but real numbers.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = str(path)
        self._state = FileState.of(self.path)

    def blocks(self, rows: int) -> Iterator[Any]:
        require_at_least("rows", rows, 1, whole=True)
        yield from self._watched(self._read(rows))

    def _watched(self, blocks: Iterator[Any]) -> Iterator[Any]:
        """Blocks of the file while it stays as it is; errors of reading name it."""
        self._require_unchanged()
        try:
            yield from blocks
        except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            self._require_unchanged()
            text = str(error)
            raise ValueError(text if self.name in text else f"{self.name} cannot be read: {text}") from error
        self._require_unchanged()

    @abstractmethod
    def _read(self, rows: int) -> Iterator[Any]:
        """Blocks of rows, as ``blocks``."""

    def _require_unchanged(self) -> None:
        now = FileState.of(self.path)
        if now != self._state:
            how = (
                f"from {self._state.size} to {now.size} bytes"
                if now.size != self._state.size
                else "in place, or was replaced"
            )
            raise ValueError(f"{self.name} changed {how} since it was opened; open it again when it is complete")


class NpyRows(FileRows):
    """Rows of a matrix in numpy's format .npy, by rows or by columns; integers become float64.

    The file is mapped to find its shape, but read by plain reads: memory holds two blocks, and a truncated file is an
    error instead of a crash.

    Parameters
    ----------
    path : path

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "x.npy", np.arange(6.0).reshape(3, 2))
    ...     list(NpyRows(Path(folder) / "x.npy").blocks(2))
    [array([[0., 1.],
           [2., 3.]]), array([[4., 5.]])]
    """

    seekable = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        try:
            found = np.load(self.path, mmap_mode="r", allow_pickle=False)
            if not isinstance(found, np.memmap):  # of no rows, or an archive
                found = np.load(self.path, allow_pickle=False)
            stored, shape, offset = found.dtype, found.shape, getattr(found, "offset", 0)
        except (ValueError, EOFError, AttributeError) as error:
            raise ValueError(f"{self.name} is no matrix in numpy's format .npy, or is truncated: {error}") from error
        if len(shape) not in (1, 2):
            raise ValueError(f"{self.name} must hold a matrix (samples x features), got shape {shape}")
        self.shape = (shape[0], shape[1] if len(shape) == 2 else 1)
        self.dtype = row_dtype(stored, self.name)
        self._stored, self._offset = stored, offset
        self._by_columns = found.flags.f_contiguous and not found.flags.c_contiguous

    def stretch(self, first: int, stop: int, rows: int) -> Iterator[Any]:
        return self._watched(self._read_stretch(first, stop, rows))

    def _read(self, rows: int) -> Iterator[np.ndarray]:
        return self._read_stretch(0, self.shape[0], rows)

    def _read_stretch(self, begin: int, stop: int, rows: int) -> Iterator[np.ndarray]:
        n, d = self.shape
        buffers = _Buffers((min(rows, stop - begin), d), self._stored)
        with open(self.path, "rb", buffering=0) as stream:
            for first in range(begin, stop, rows):
                count = min(rows, stop - first)
                if self._by_columns:
                    stored = np.empty((d, count), dtype=self._stored)
                    for j in range(d):
                        self._fill(stream, stored[j], j * n + first)
                    stored = np.ascontiguousarray(stored.T)
                else:
                    stored = buffers.free()[:count]
                    self._fill(stream, stored, first * d)
                yield stored.astype(self.dtype, copy=False)

    def _fill(self, stream: Any, array: np.ndarray, entry: int) -> None:
        """Read entries from one on into a contiguous array."""
        stream.seek(self._offset + entry * self._stored.itemsize)
        buffer = array.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(buffer):
            count = stream.readinto(buffer[done:])
            if not count:
                raise ValueError(f"{self.name} is truncated: {len(buffer) - done} bytes are missing")
            done += count


class _Buffers:
    """Arrays that are filled again when nobody holds their contents: new memory costs as much as reading."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        self._shape, self._dtype = shape, dtype
        self._arrays: list[np.ndarray] = []

    def free(self) -> np.ndarray:
        for array in self._arrays:
            if sys.getrefcount(array) == _FREE_REFERENCES:
                return array
        self._arrays.append(np.empty(self._shape, dtype=self._dtype))
        return self._arrays[-1]


class SparseNpzRows(FileRows):
    """Rows of a sparse matrix by rows (CSR) that ``scipy.sparse.save_npz`` has written, compressed or not.

    Entries and their columns are read side by side as they are needed; the ends of the rows stay in memory.

    Parameters
    ----------
    path : path

    Examples
    --------
    >>> import scipy.sparse
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     scipy.sparse.save_npz(Path(folder) / "x.npz", scipy.sparse.eye_array(3, format="csr"))
    ...     [block.shape for block in SparseNpzRows(Path(folder) / "x.npz").blocks(2)]
    [(2, 3), (1, 3)]
    """

    sparse = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = {name.removesuffix(".npy") for name in archive.namelist()}
                kind = _npy_array(archive, "format").item() if "format" in names else None
                if kind not in (b"csr", "csr"):
                    self._refuse(kind, names)
                self._ends, shape = _npy_array(archive, "indptr"), _npy_array(archive, "shape")
                with archive.open("data.npy") as stream:
                    stored, _ = _npy_header(stream)
        except (ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error, KeyError) as error:
            text = str(error)
            known = text if self.name in text else f"{self.name} is no sparse matrix of scipy, or is truncated: {text}"
            raise ValueError(known) from error
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = row_dtype(stored, self.name)
        if self._ends.shape != (self.shape[0] + 1,) or self._ends[0] != 0 or np.any(np.diff(self._ends) < 0):
            raise ValueError(f"{self.name} is damaged: the ends of its rows do not increase")

    @property
    def row_bytes(self) -> int:
        return max(1, 16 * int(self._ends[-1]) // max(1, self.shape[0]))

    def _refuse(self, kind: Any, names: set[str]) -> None:
        if kind is None:
            raise ValueError(f"{self.name} holds {sorted(names)}, not a sparse matrix; save a dense one as .npy")
        word = kind.decode() if isinstance(kind, bytes) else kind
        raise ValueError(f"{self.name} is sparse by {word}, whose rows do not lie together; save it with tocsr()")

    def _read(self, rows: int) -> Iterator[Any]:
        with (
            zipfile.ZipFile(self.path) as archive,
            archive.open("data.npy") as of_data,
            archive.open("indices.npy") as of_indices,
        ):
            (data_type, _), (index_type, _) = _npy_header(of_data), _npy_header(of_indices)
            for first in range(0, self.shape[0], rows):
                ends = self._ends[first : min(first + rows, self.shape[0]) + 1]
                count = int(ends[-1] - ends[0])
                data, indices = (
                    self._entries(stream, count, dtype)
                    for stream, dtype in ((of_data, data_type), (of_indices, index_type))
                )
                if count and not 0 <= indices.min() <= indices.max() < self.shape[1]:
                    raise ValueError(f"{self.name} is damaged: a column index is not below {self.shape[1]}")
                parts = (data.astype(self.dtype, copy=False), indices, (ends - ends[0]).astype(indices.dtype))
                yield scipy.sparse.csr_array(parts, shape=(len(ends) - 1, self.shape[1]))

    def _entries(self, stream: IO[bytes], count: int, dtype: np.dtype) -> np.ndarray:
        found = stream.read(count * dtype.itemsize)
        if len(found) < count * dtype.itemsize:
            raise ValueError(f"{self.name} is truncated: it has fewer entries than its rows end at")
        return np.frombuffer(found, dtype=dtype)


class JoinedRows(RowSource):
    """Rows of several sources under each other, as one; those of no rows are passed over.

    Parameters
    ----------
    parts : sequence of RowSource
        With as many columns each. Where dtypes differ, all become the wider one.

    Raises
    ------
    TypeError
        If a part is no RowSource.
    ValueError
        If there are none, columns differ, or dense and sparse ones are mixed; the message names the part.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for k in range(3):
    ...         np.save(Path(folder) / f"part{k}.npy", np.full((2, 4), float(k)))
    ...     JoinedRows([NpyRows(Path(folder) / f"part{k}.npy") for k in range(3)]).shape
    (6, 4)
    """

    def __init__(self, parts: Sequence[RowSource]) -> None:
        if not parts:
            raise ValueError("parts must hold at least one source, got none")
        lead = parts[0]
        for part in parts:
            require_instance("parts", part, RowSource, 'NpyRows("x.npy")')
            if part.shape[1] != lead.shape[1]:
                raise ValueError(
                    f"{part.name} has {part.shape[1]} columns, but {lead.name} has {lead.shape[1]}; they must agree"
                )
            if part.sparse != lead.sparse:
                raise ValueError(f"{part.name} and {lead.name} must both be dense or both sparse")
        self.parts = [part for part in parts if part.shape[0]] or [lead]
        self.name, self.sparse, self.columns = lead.name, lead.sparse, lead.columns
        self.shape = (sum(part.shape[0] for part in parts), lead.shape[1])
        self.dtype = np.result_type(*(part.dtype for part in self.parts))
        self.seekable = all(part.seekable for part in self.parts)
        self._firsts = np.cumsum([0, *(part.shape[0] for part in self.parts)])

    @property
    def row_bytes(self) -> int:
        return max(part.row_bytes * self.dtype.itemsize // part.dtype.itemsize for part in self.parts)

    def blocks(self, rows: int) -> Iterator[Any]:
        for part in self.parts:
            for block in part.blocks(rows):
                yield block.astype(self.dtype, copy=False)

    def stretch(self, first: int, stop: int, rows: int) -> Iterator[Any]:
        for part, begin in zip(self.parts, self._firsts, strict=False):
            low, high = max(first - begin, 0), min(stop - begin, part.shape[0])
            if low < high:
                yield from (block.astype(self.dtype, copy=False) for block in part.stretch(low, high, rows))

    def where(self, row: int) -> str:
        k = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return self.parts[k].where(row - int(self._firsts[k]))


def row_dtype(stored: np.dtype, name: str) -> np.dtype:
    """Dtype in which numbers of a file are given: float32 stays, all other real ones become float64."""
    if stored.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {stored}")
    return np.dtype(np.float32 if stored.kind == "f" and stored.itemsize == 4 else np.float64)


def _npy_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """A whole array of an archive; never a pickled one."""
    with archive.open(f"{name}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _npy_header(stream: IO[bytes]) -> tuple[np.dtype, tuple[int, ...]]:
    """Dtype and shape of an array in a .npy stream, which is left at the first entry."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    return dtype, shape
