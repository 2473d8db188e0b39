"""Rows of text files: comma-separated values and the svmlight format."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from problems.file_rows import FileRows

_SCANNED_ROWS = 16384
"""Rows at a time of a first reading that counts them."""


class CsvRows(FileRows):
    r"""Rows of a file of comma-separated numbers in UTF-8, float64.

    A first line that is no row of numbers names the columns. Opening reads the file once, to count the rows.

    Parameters
    ----------
    path : path
    columns : sequence of str or int, optional
        Names of the columns to read, in this order, or their numbers from zero; all when left out.
    delimiter : str
        One character.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "x.csv").write_text("a,b,kind\n1,2,x\n3,4,y\n", encoding="utf-8")
    ...     rows = CsvRows(Path(folder) / "x.csv", columns=["b", "a"])
    ...     rows.columns, list(rows.blocks(10))
    (['b', 'a'], [array([[2., 1.],
           [4., 3.]])])
    """

    dtype = np.dtype(np.float64)

    def __init__(
        self, path: str | os.PathLike[str], *, columns: Sequence[str | int] | None = None, delimiter: str = ","
    ) -> None:
        super().__init__(path)
        if not isinstance(delimiter, str) or len(delimiter) != 1:
            raise ValueError(f"delimiter must be one character, got {delimiter!r}")
        self._delimiter = delimiter
        with self._open() as stream:
            first = next(filter(str.strip, stream), None)
            if first is None:
                raise ValueError(f"{self.name} is empty")
            fields = next(csv.reader([first], delimiter=delimiter))
            names = [field.strip() for field in fields]
            self._has_header = not all(map(_is_number, names))
            stream.seek(0)
            count = sum(1 for line in stream if line.strip())
        self._width = len(names)
        self.all_columns = names if self._has_header else None
        self._used = column_numbers(columns, self.all_columns, self._width, self.name)
        self.columns = [names[j] for j in self._used] if self._has_header else None
        self.shape = (count - self._has_header, len(self._used))

    def labels(self, column: str | int) -> np.ndarray:
        """Entries of one column as text, shape (n,)."""
        (j,) = column_numbers([column], self.all_columns, self._width, self.name)
        with self._open() as stream:
            lines = _numbered(stream, self._has_header)
            return np.array([self._field(text, j, number) for number, text in lines])

    def _field(self, text: str, j: int, number: int) -> str:
        fields = next(csv.reader([text], delimiter=self._delimiter))
        if len(fields) != self._width:
            raise ValueError(f"{self.name}, line {number} has {len(fields)} fields, not {self._width}")
        return fields[j].strip()

    def _open(self) -> Any:
        return open(self.path, encoding="utf-8-sig", newline="")

    def _read(self, rows: int) -> Iterator[np.ndarray]:
        with self._open() as stream:
            lines = _numbered(stream, self._has_header)
            while some := list(islice(lines, rows)):
                yield self._parsed(some)

    def _parsed(self, lines: list[tuple[int, str]]) -> np.ndarray:
        try:
            # Columns are chosen afterwards, so that a line that is too long or too short is met.
            if len(self._used) == self._width:
                found = self._loaded(lines)
                if found.shape[1] == self._width:
                    return np.ascontiguousarray(found[:, self._used])
            elif all(text.count(self._delimiter) == self._width - 1 or '"' in text for _, text in lines):
                return self._loaded(lines, self._used)
        except ValueError:
            pass
        # Read one by one, to say which line it is.
        return np.array([[self._number(text, j, number) for j in self._used] for number, text in lines])

    def _loaded(self, lines: list[tuple[int, str]], used: list[int] | None = None) -> np.ndarray:
        return np.loadtxt(
            (text for _, text in lines), delimiter=self._delimiter, ndmin=2, comments=None, quotechar='"', usecols=used,
            dtype=np.float64,
        )  # fmt: skip

    def _number(self, text: str, j: int, number: int) -> float:
        field = self._field(text, j, number)
        if not field:
            return float("nan")
        if not _is_number(field):
            column = self.all_columns[j] if self.all_columns else j
            raise ValueError(f"{self.name}, line {number}: {field!r} in column {column!r} is no number")
        return float(field)


class SvmlightRows(FileRows):
    r"""Rows of a file in the svmlight (libsvm) format as sparse blocks, float64, and their labels.

    Opening reads the file once, to count rows and columns. Columns are numbered from one, or from zero where a zero is
    met.

    Parameters
    ----------
    path : path
    n_features : int, optional
        Columns, where the last ones may hold nothing; found in the file when left out.

    Attributes
    ----------
    target : array of shape (n,)
        The labels.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "x.svm").write_text("1 1:2.5 3:1\n-1 2:4\n", encoding="ascii")
    ...     rows = SvmlightRows(Path(folder) / "x.svm")
    ...     rows.target, next(rows.blocks(10)).toarray()
    (array([ 1., -1.]), array([[2.5, 0. , 1. ],
           [0. , 4. , 0. ]]))
    """

    sparse = True
    dtype = np.dtype(np.float64)

    def __init__(self, path: str | os.PathLike[str], *, n_features: int | None = None) -> None:
        super().__init__(path)
        targets, widest, lowest, entries = [np.empty(0)], 0, 1, 0
        with open(self.path, "rb") as stream:
            for block, target in self._chunks(stream, _SCANNED_ROWS, 2**31 - 2, zero_based=True):
                targets.append(target)
                entries += block.nnz
                if block.nnz:
                    widest, lowest = max(widest, int(block.indices.max())), min(lowest, int(block.indices.min()))
        self.target = np.concatenate(targets)
        self._zero_based = lowest == 0
        found = widest + self._zero_based
        if n_features is not None and n_features < found:
            raise ValueError(f"n_features must be at least {found}, the columns of {self.name}, got {n_features}")
        self.shape = (len(self.target), found if n_features is None else n_features)
        self._entries = entries

    @property
    def row_bytes(self) -> int:
        return max(1, 16 * self._entries // max(1, self.shape[0]))

    def _read(self, rows: int) -> Iterator[Any]:
        with open(self.path, "rb") as stream:
            for block, _ in self._chunks(stream, rows, self.shape[1], zero_based=self._zero_based):
                yield block

    def _chunks(
        self, stream: IO[bytes], rows: int, width: int, *, zero_based: bool
    ) -> Iterator[tuple[Any, np.ndarray]]:
        from sklearn.datasets import load_svmlight_file

        lines, count = (line for line in stream if line.split(b"#")[0].strip()), 0
        while some := list(islice(lines, rows)):
            try:
                block, target = load_svmlight_file(io.BytesIO(b"".join(some)), n_features=width, zero_based=zero_based)
            except ValueError as error:
                raise ValueError(
                    f"{self.name}, rows {count} to {count + len(some) - 1} are not in the svmlight format: {error}"
                ) from error
            count += len(some)
            yield block, target


def column_numbers(
    columns: Sequence[str | int] | None, names: list[str] | None, width: int, file: str | Path
) -> list[int]:
    """Numbers of columns that are given by name or number; a ValueError that names the file and what is missing."""
    if columns is None:
        return list(range(width))
    if isinstance(columns, str) or not len(columns):
        raise ValueError(f"columns must be a list of names or numbers that is not empty, got {columns!r}")
    found = []
    for column in columns:
        if isinstance(column, str):
            if names is None or column not in names:
                has = "names no columns" if names is None else f"has {', '.join(map(repr, names[:20]))}"
                raise ValueError(f"{file} has no column {column!r}; it {has}")
            found.append(names.index(column))
        else:
            if not 0 <= column < width:
                raise ValueError(f"{file} has no column {column}; they are numbered from 0 to {width - 1}")
            found.append(int(column))
    return found


def _numbered(stream: Any, has_header: bool) -> Iterator[tuple[int, str]]:
    """Lines that are not blank and their numbers, without the header."""
    lines = ((number, text) for number, text in enumerate(stream, start=1) if text.strip())
    return islice(lines, 1 if has_header else 0, None)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
