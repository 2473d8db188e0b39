"""Opening of data files by their names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from problems.column_rows import ParquetRows, StoredRows, hdf5_array, parquet_columns, parquet_labels, zarr_array
from problems.file_rows import JoinedRows, NpyRows, SparseNpzRows
from problems.row_source import RowSource
from problems.text_rows import CsvRows, SvmlightRows, with_same_columns

FORMATS = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".svm", ".svmlight", ".libsvm", ".h5", ".hdf5", ".zarr")
"""Endings of names that are known."""


def open_rows(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, columns: Sequence[str | int] | None = None
) -> RowSource:
    """Rows of a file, or of the files of a folder under each other, by the ending of the name.

    .npy, .npz (a sparse matrix by rows), .csv, .tsv, .parquet, .svm (also .svmlight and .libsvm), .h5 (also .hdf5) and
    .zarr. Nothing is unpickled.

    Parameters
    ----------
    path : path, or sequence of path
        A folder stands for its files of the first known ending, in the order of their names; several paths are joined
        in the order given. ``file.h5::name`` is a data set of an HDF5 file or Zarr group that has several.
    columns : sequence of str or int, optional
        Columns to read, by name or number, of .csv, .tsv and .parquet. By default all of the first file, which in the
        other ones are found by their names.

    Returns
    -------
    RowSource
        For ``CCA``, ``LDA``, ``DataMatrix`` and all that takes these.

    Raises
    ------
    ValueError, TypeError, OSError
        If a file is missing, of no known format, damaged, or holds anything but real numbers; the message names it.
    ImportError
        If the library of the format is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from problems import CCA
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((100, 3)), rng.standard_normal((100, 2))
    >>> with TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "x.npy", x)
    ...     np.save(Path(folder) / "y.npy", y)
    ...     cca = CCA(1).fit(open_rows(Path(folder) / "x.npy"), open_rows(Path(folder) / "y.npy"))
    >>> bool(np.allclose(cca.correlations_, CCA(1).fit(x, y).correlations_, atol=1e-12))
    True
    """
    paths: list[Any] = _files_of(path) if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise ValueError("path must be a file, a folder or a list of them, got an empty list")
    first = _open_one(paths[0], columns)
    if len(paths) == 1:
        return first
    named = columns if first.columns is None else first.columns
    parts = [first, *(_open_one(other, named) for other in paths[1:])]
    texts = [part for part in parts if isinstance(part, SvmlightRows)]
    return JoinedRows(with_same_columns(texts) if len(texts) == len(parts) else parts)


def _files_of(path: str | os.PathLike[str]) -> list[Any]:
    folder = Path(path)
    if not folder.is_dir() or folder.suffix == ".zarr":
        return [path]
    known = sorted(file for file in folder.iterdir() if file.suffix in FORMATS and not file.name.startswith("."))
    if not known:
        raise ValueError(f"{folder} holds no file with one of the endings {', '.join(FORMATS)}")
    return [file for file in known if file.suffix == known[0].suffix]


def _open_one(path: str | os.PathLike[str], columns: Sequence[str | int] | None) -> RowSource:
    text, _, dataset = os.fspath(path).partition("::")
    file, ending = Path(text), Path(text).suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"{text} must end in one of {', '.join(FORMATS)}, so that its format is known")
    if not file.exists():
        raise FileNotFoundError(f"there is no file {text}")
    if ending in (".csv", ".tsv"):
        return CsvRows(file, columns=columns, delimiter=_delimiter(file))
    if ending == ".parquet":
        return ParquetRows(file, columns=columns)
    if columns is not None:
        raise ValueError(f"columns can be chosen of .csv, .tsv and .parquet, not of {text}")
    if ending == ".npy":
        return NpyRows(file)
    if ending == ".npz":
        return SparseNpzRows(file)
    if ending in (".h5", ".hdf5"):
        return StoredRows(file, dataset or None, hdf5_array)
    if ending == ".zarr":
        return StoredRows(file, dataset or None, zarr_array)
    return SvmlightRows(file)


def data_files(path: str | os.PathLike[str]) -> list[Path]:
    """Files that a path stands for, without the names of data sets within them."""
    return [Path(os.fspath(file).partition("::")[0]) for file in _files_of(path)]


def column_names(path: str | os.PathLike[str]) -> list[str] | None:
    """Names of the columns of a .csv, .tsv or .parquet file, or of the first of a folder; None where there are none."""
    file = data_files(path)[0]
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    if file.suffix == ".parquet":
        return parquet_columns(file)
    if file.suffix in (".csv", ".tsv"):
        return CsvRows(file, delimiter=_delimiter(file)).all_columns
    return None


def read_labels(path: str | os.PathLike[str], column: str | int | None = None) -> np.ndarray:
    r"""Labels of rows from a file, or from the files of a folder under each other.

    Parameters
    ----------
    path : path
        .npy with a vector, .svm (the labels of its rows), or .csv, .tsv or .parquet.
    column : str or int, optional
        Column of the labels, by name or number; needed where there are several.

    Returns
    -------
    array of shape (n,)
        Numbers, or text. Text that is whole numbers throughout becomes numbers.

    Raises
    ------
    ValueError, OSError
        If there is no such file or column, or labels are missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "y.csv").write_text("kind,size\nox,3\nant,4\n", encoding="utf-8")
    ...     read_labels(Path(folder) / "y.csv", "kind").tolist()
    ['ox', 'ant']
    """
    parts = [_labels_of(file, column) for file in data_files(path)]
    labels = np.concatenate(parts)
    if labels.dtype.kind == "U":
        if not np.all(labels != ""):
            row = int(np.flatnonzero(labels == "")[0])
            raise ValueError(f"{path} has no label in row {row}")
        try:
            return labels.astype(np.int64)
        except ValueError:
            return labels
    return labels


def _labels_of(file: Path, column: str | int | None) -> np.ndarray:
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    if file.suffix == ".npy":
        try:
            labels = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{file} holds no labels in numpy's format .npy: {error}") from error
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise ValueError(f"{file} must hold a vector of labels, got shape {labels.shape}")
        return labels
    if file.suffix in (".svm", ".svmlight", ".libsvm"):
        return SvmlightRows(file).target
    if file.suffix == ".parquet":
        return parquet_labels(file, _one(parquet_columns(file), column, file))
    if file.suffix in (".csv", ".tsv"):
        rows = CsvRows(file, delimiter=_delimiter(file))
        return rows.labels(_one(rows.all_columns or list(range(rows.shape[1])), column, file))
    raise ValueError(f"{file} must be .npy, .csv, .tsv, .parquet or .svm to hold labels")


def _one(columns: Sequence[Any], column: str | int | None, file: Path) -> Any:
    if column is None and len(columns) > 1:
        raise ValueError(f"{file} has several columns; name that of the labels, one of {list(columns)[:20]}")
    return columns[0] if column is None else column


def _delimiter(file: Path) -> str:
    return "\t" if file.suffix == ".tsv" else ","
