"""Rows of parquet files and of arrays that other libraries keep in chunks on disk, HDF5 and Zarr."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from problems.file_rows import FileRows, row_dtype
from problems.row_source import RowSource
from problems.text_rows import column_numbers
from rankopt.solvers.parameters import require_at_least

_CHUNK_BYTES = 2**26
"""Size of the largest chunk of rows that is held in memory while blocks are cut from it."""

_BATCH_BYTES = 2**24
"""Size of what is read of a parquet file at a time."""


class ParquetRows(FileRows):
    """Rows of the numeric columns of a parquet file; needs pyarrow.

    float32 where all columns are, float64 otherwise. Missing values become NaN.

    Parameters
    ----------
    path : path
    columns : sequence of str or int, optional
        Names of the columns to read, in this order, or their numbers from zero; all when left out.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    TypeError
        If a column holds anything but real numbers, or is neither named nor numbered.
    ValueError
        If the file is no parquet file, or has no such column.

    Examples
    --------
    >>> import pyarrow
    >>> import pyarrow.parquet
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     table = pyarrow.table({"a": [1.0, 2.0], "b": [3, 4]})
    ...     pyarrow.parquet.write_table(table, Path(folder) / "x.parquet")
    ...     list(ParquetRows(Path(folder) / "x.parquet").blocks(10))
    [array([[1., 3.],
           [2., 4.]])]
    """

    def __init__(self, path: str | os.PathLike[str], *, columns: Sequence[str | int] | None = None) -> None:
        super().__init__(path)
        with _parquet_file(self.path) as file:
            schema, n = file.schema_arrow, file.metadata.num_rows
        used = column_numbers(columns, schema.names, len(schema.names), self.name)
        self.columns = [schema.names[j] for j in used]
        dtypes = [self._dtype(schema.field(j)) for j in used]
        self.shape, self.dtype = (n, len(used)), np.result_type(*dtypes)

    def _dtype(self, field: Any) -> np.dtype:
        try:
            return row_dtype(np.dtype(field.type.to_pandas_dtype()), f"column {field.name!r} of {self.name}")
        except (TypeError, NotImplementedError):
            raise TypeError(
                f"column {field.name!r} of {self.name} must hold real numbers, got {field.type}; choose columns"
            ) from None

    def _read(self, rows: int) -> Iterator[np.ndarray]:
        import pyarrow

        at_once = max(rows, _BATCH_BYTES // self.row_bytes)  # a column of a few rows costs as much as one of many
        with _parquet_file(self.path) as file:
            for batch in file.iter_batches(batch_size=at_once, columns=self.columns, use_threads=False):
                block = np.empty((batch.num_rows, self.shape[1]), dtype=self.dtype)
                for j, name in enumerate(self.columns or ()):
                    column = batch.column(name)
                    # Missing integers have no number of their own in numpy.
                    known = column if pyarrow.types.is_floating(column.type) else column.cast("double", safe=False)
                    block[:, j] = known.to_numpy(zero_copy_only=False)
                for first in range(0, len(block), rows):
                    yield block[first : first + rows]


def parquet_columns(path: Path) -> list[str]:
    """Names of all columns of a parquet file."""
    with _parquet_file(path) as file:
        return list(file.schema_arrow.names)


def parquet_labels(path: Path, column: str | int) -> np.ndarray:
    """Entries of one column of a parquet file, shape (n,)."""
    names = parquet_columns(path)
    (j,) = column_numbers([column], names, len(names), path)
    with _parquet_file(path) as file:
        found = file.read(columns=[names[j]]).column(0)
    if found.null_count:
        raise ValueError(f"{path} has {found.null_count} missing values in column {names[j]!r}")
    values = found.to_numpy()
    return values.astype(str) if values.dtype == object else values


def _parquet_file(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f'{path} needs pyarrow; pip install "rankopt[files]"') from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} is no parquet file, or is truncated: {error}") from error


class SlicedRows(RowSource):
    """Rows of an array-like on disk that is read by slices, such as an h5py data set or a zarr array.

    Parameters
    ----------
    array : object
        With ``shape``, ``dtype`` and ``array[first:stop]``.
    name : str
        What error messages call it.

    Raises
    ------
    TypeError
        If it has no shape and dtype, or holds anything but real numbers.
    ValueError
        If it is no matrix, and in a pass, if its shape has changed.

    Examples
    --------
    >>> import numpy as np
    >>> rows = SlicedRows(np.arange(6).reshape(3, 2), "numbers")
    >>> [block.shape for block in rows.blocks(2)]
    [(2, 2), (1, 2)]
    """

    def __init__(self, array: Any, name: str = "the array") -> None:
        if not (hasattr(array, "shape") and hasattr(array, "dtype")):
            raise TypeError(f"{name} must have a shape and a dtype, and be read by slices, got {type(array).__name__}")
        self._array, self.name = array, name
        shape = tuple(array.shape)
        if len(shape) not in (1, 2):
            raise ValueError(f"{name} must hold a matrix (samples x features), got shape {shape}")
        self.shape, self._stored = (int(shape[0]), int(shape[1]) if len(shape) == 2 else 1), shape
        self.dtype = row_dtype(np.dtype(array.dtype), name)

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        require_at_least("rows", rows, 1, whole=True)
        step = self._rows_at_once(rows)
        for first in range(0, self.shape[0], step):
            if tuple(self._array.shape) != self._stored:
                raise ValueError(
                    f"{self.name} changed from shape {self._stored} to {tuple(self._array.shape)} since it was opened"
                )
            try:
                block = np.asarray(self._array[first : min(first + step, self.shape[0])])
            except (OSError, ValueError, RuntimeError) as error:
                raise ValueError(f"{self.where(first)} cannot be read: {error}") from error
            block = block.reshape(len(block), self.shape[1]).astype(self.dtype, copy=False)
            for begin in range(0, len(block), rows):
                yield block[begin : begin + rows]

    def _rows_at_once(self, rows: int) -> int:
        """Rows of whole chunks, since a chunk that is cut is unpacked twice; fewer where chunks are huge."""
        chunk = (getattr(self._array, "chunks", None) or (1,))[0]
        if not isinstance(chunk, int) or chunk * self.row_bytes > _CHUNK_BYTES:
            return rows
        return chunk * max(1, rows // chunk)


class StoredRows(FileRows):
    """Rows of an array in an HDF5 file or in a Zarr folder.

    Parameters
    ----------
    path : path
    dataset : str or None
        Name of the array; that of the only one when left out.
    open_array : callable
        Gives the array of a path and a name, such as ``hdf5_array`` and ``zarr_array``.
    """

    def __init__(
        self, path: str | os.PathLike[str], dataset: str | None, open_array: Callable[[Path, str | None], Any]
    ) -> None:
        super().__init__(path)
        self.name = f"{path}::{dataset}" if dataset else str(path)
        self._rows = SlicedRows(open_array(self.path, dataset), self.name)
        self.shape, self.dtype = self._rows.shape, self._rows.dtype

    def _read(self, rows: int) -> Iterator[np.ndarray]:
        return self._rows.blocks(rows)


def hdf5_array(path: Path, dataset: str | None) -> Any:
    """A data set of an HDF5 file; its only one when no name is given."""
    try:
        import h5py
    except ImportError:
        raise ImportError(f'{path} needs h5py; pip install "rankopt[files]"') from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is no HDF5 file, or is truncated: {error}") from error
    arrays: dict[str, Any] = {}
    file.visititems(lambda name, item: arrays.__setitem__(name, item) if isinstance(item, h5py.Dataset) else None)
    return _only(arrays, dataset, path)


def zarr_array(path: Path, dataset: str | None) -> Any:
    """A Zarr array, or one in a group; its only one when no name is given."""
    try:
        import zarr
    except ImportError:
        raise ImportError(f'{path} needs zarr; pip install "rankopt[files]"') from None
    try:
        store = zarr.open(str(path), mode="r")
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is no Zarr array or group: {error}") from error
    if isinstance(store, zarr.Array):
        return store
    held = {name: item for name, item in store.members(max_depth=None) if isinstance(item, zarr.Array)}
    return _only(held, dataset, path)


def _only(arrays: dict[str, Any], wanted: str | None, path: Path) -> Any:
    if wanted is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    name = "" if wanted is None else wanted.strip("/")
    if name not in arrays:
        held = ", ".join(sorted(arrays)[:20]) or "none"
        raise ValueError(
            f"{path} holds the data sets {held}; name one, as {path}::{next(iter(sorted(arrays)), 'name')}"
        )
    return arrays[name]
