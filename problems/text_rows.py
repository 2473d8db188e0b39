"""Rows of text files: comma-separated values and the svmlight format."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import IO, Any

import numpy as np

from problems.file_rows import FileRows
from problems.row_source import regrouped
from rankopt.solvers.parameters import require_at_least

_SCANNED_ROWS = 16384
"""Rows at a time of a first reading that counts them."""

_PIECE_BYTES = 2**21
"""Bytes of comma-separated values that are read at a time."""


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
        try:
            with open(self.path, encoding="utf-8-sig", newline="") as stream:
                lead = list(_to_first_text(stream))
                count = len(lead[-1:]) + sum(1 for line in stream if line.strip())
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.name} is no text in UTF-8: {error}") from error
        if not lead:
            raise ValueError(f"{self.name} is empty")
        names = [field.strip() for field in next(csv.reader(lead[-1:], delimiter=delimiter))]
        self._has_header = not all(map(_is_number, names))
        self._width = len(names)
        self.all_columns = names if self._has_header else None
        self._used = column_numbers(columns, self.all_columns, self._width, self.name)
        self.columns = [names[j] for j in self._used] if self._has_header else None
        self.shape = (count - self._has_header, len(self._used))
        self._lines_before = len(lead) if self._has_header else 0
        self._bytes_before = len("".join(lead[: self._lines_before]).encode())

    def labels(self, column: str | int) -> np.ndarray:
        """Entries of one column as text, shape (n,)."""
        (j,) = column_numbers([column], self.all_columns, self._width, self.name)
        with _as_text(self._open()) as stream:
            return np.array([self._field(text, j, number) for number, text in _numbered(stream, self._lines_before)])

    def _field(self, text: str, j: int, number: int) -> str:
        fields = next(csv.reader([text], delimiter=self._delimiter))
        if len(fields) != self._width:
            raise ValueError(f"{self.name}, line {number} has {len(fields)} fields, not {self._width}")
        return fields[j].strip()

    def _open(self) -> IO[bytes]:
        """The file at its first row."""
        stream = open(self.path, "rb")  # noqa: SIM115
        if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            stream.seek(0)
        stream.seek(self._bytes_before, os.SEEK_CUR)
        return stream

    def _read(self, rows: int) -> Iterator[np.ndarray]:
        return regrouped(self._pieces(), rows)

    def _pieces(self) -> Iterator[np.ndarray]:
        """Rows of pieces of the file that end with a line."""
        before = self._lines_before
        with self._open() as stream:
            for lines in _whole_lines(stream):
                found = self._parsed_by_arrow(lines)
                yield self._parsed(list(_numbered(_as_text(io.BytesIO(lines)), before))) if found is None else found
                before += _count_lines(lines)

    def _parsed_by_arrow(self, lines: bytes) -> np.ndarray | None:
        """Rows of some lines by pyarrow, several times as fast as numpy; None without it, or where a line is unusual.

        It accepts what Python takes for a number and nothing else but payloads of NaN, and rounds alike.
        """
        try:
            import pyarrow.csv
        except ImportError:
            return None
        names = list(map(str, range(self._width)))
        used = [names[j] for j in self._used]
        try:
            table = pyarrow.csv.read_csv(
                pyarrow.py_buffer(lines),
                pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(lines) + 1),
                pyarrow.csv.ParseOptions(delimiter=self._delimiter),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(used, pyarrow.float64()),
                    include_columns=list(dict.fromkeys(used)),
                    null_values=[""],
                    check_utf8=False,
                ),
            )
        except pyarrow.ArrowInvalid:
            return None
        if table.num_rows != _count_lines(lines):
            return None  # lines that are blank, or that a quoted field has joined
        rows = np.empty((table.num_rows, len(used)))
        for j, name in enumerate(used):
            rows[:, j] = table.column(name).to_numpy()
        return rows

    def _parsed(self, lines: list[tuple[int, str]]) -> np.ndarray:
        if not lines:
            return np.empty((0, len(self._used)))
        try:
            # Columns are chosen afterwards, so that a line that is too long or too short is met.
            if len(self._used) == self._width:
                found = self._loaded(lines)
                if found.shape == (len(lines), self._width):
                    return np.ascontiguousarray(found[:, self._used])
            elif all(text.count(self._delimiter) == self._width - 1 or '"' in text for _, text in lines):
                found = self._loaded(lines, self._used)
                if len(found) == len(lines):  # quotes may join lines
                    return found
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

    Opening reads the file once, to count rows and columns.

    Parameters
    ----------
    path : path
    n_features : int, optional
        Columns, where the last ones may hold nothing; found in the file when left out.
    zero_based : bool, optional
        Whether columns are numbered from zero instead of one; when left out, they are where a zero is met.

    Attributes
    ----------
    target : array of shape (n,)
        The labels.
    highest : int
        Highest number of a column.
    zero_based : bool

    Raises
    ------
    TypeError
        If ``n_features`` is not whole, or ``zero_based`` no bool.
    ValueError
        If the file is in another format, has more columns, or one with a number that ``zero_based`` excludes.

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

    def __init__(
        self, path: str | os.PathLike[str], *, n_features: int | None = None, zero_based: bool | None = None
    ) -> None:
        super().__init__(path)
        if n_features is not None:
            require_at_least("n_features", n_features, 1, whole=True)
        if not (zero_based is None or isinstance(zero_based, bool)):
            raise TypeError(f"zero_based must be a bool or None, got {zero_based!r}")
        targets, self.highest, lowest, self._entries = [np.empty(0)], 0, 1, 0
        with open(self.path, "rb") as stream:
            for block, target in self._chunks(stream, _SCANNED_ROWS, 2**31 - 2, zero_based=True):
                targets.append(target)
                self._entries += block.nnz
                if block.nnz:
                    self.highest = max(self.highest, int(block.indices.max()))
                    lowest = min(lowest, int(block.indices.min()))
        if lowest == 0 and zero_based is False:
            raise ValueError(f"{self.name} has a column 0, so that zero_based must be True or left out")
        self.target = np.concatenate(targets)
        self.zero_based = lowest == 0 if zero_based is None else zero_based
        found = self.highest + self.zero_based
        if n_features is not None and n_features < found:
            raise ValueError(f"n_features must be at least {found}, the columns of {self.name}, got {n_features}")
        self.shape = (len(self.target), found if n_features is None else n_features)

    @property
    def row_bytes(self) -> int:
        return max(1, 16 * self._entries // max(1, self.shape[0]))

    def _read(self, rows: int) -> Iterator[Any]:
        with open(self.path, "rb") as stream:
            for block, _ in self._chunks(stream, rows, self.shape[1], zero_based=self.zero_based):
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


def with_same_columns(parts: Sequence[SvmlightRows]) -> list[SvmlightRows]:
    """The same rows where all files number columns as one of them shows, and have as many as the widest."""
    zero_based = any(part.zero_based for part in parts)
    width = max(part.highest for part in parts) + zero_based
    found = []
    for part in parts:
        part = copy(part)
        part.zero_based, part.shape = zero_based, (part.shape[0], width)
        found.append(part)
    return found


def column_numbers(
    columns: Sequence[str | int] | None, names: list[str] | None, width: int, file: str | Path
) -> list[int]:
    """Numbers of columns that are given by name or number; a ValueError that names the file and what is missing."""
    if columns is None:
        return list(range(width))
    if not hasattr(columns, "__len__") or isinstance(columns, str) or not len(columns):
        raise ValueError(f"columns must be a list of names or numbers that is not empty, got {columns!r}")
    found = []
    for column in columns:
        if isinstance(column, str):
            if names is None or column not in names:
                has = "names no columns" if names is None else f"has {', '.join(map(repr, names[:20]))}"
                raise ValueError(f"{file} has no column {column!r}; it {has}")
            found.append(names.index(column))
        else:
            if isinstance(column, bool) or not isinstance(column, Integral):
                raise TypeError(f"columns must be names or whole numbers, got {column!r}")
            if not 0 <= column < width:
                raise ValueError(f"{file} has no column {column}; they are numbered from 0 to {width - 1}")
            found.append(int(column))
    return found


def _to_first_text(stream: Iterable[str]) -> Iterator[str]:
    """Lines up to the first one that is not blank; none where all are."""
    blank: list[str] = []
    for line in stream:
        if line.strip():
            yield from blank
            yield line
            return
        blank.append(line)


def _whole_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """All that is left of a stream in pieces that end with a line."""
    waiting: list[bytes] = []
    while piece := stream.read(_PIECE_BYTES):
        end = piece.rfind(b"\n") + 1
        if end:
            yield b"".join([*waiting, piece[:end]])
            waiting = []
        waiting.append(piece[end:])
    if rest := b"".join(waiting):
        yield rest


def _count_lines(lines: bytes) -> int:
    return lines.count(b"\n") + (not lines.endswith(b"\n"))


def _as_text(stream: IO[bytes]) -> IO[str]:
    return io.TextIOWrapper(stream, encoding="utf-8", newline="")


def _numbered(lines: Iterable[str], before: int) -> Iterator[tuple[int, str]]:
    """Lines that are not blank and their numbers, where so many have come before them."""
    return ((number, text) for number, text in enumerate(lines, start=before + 1) if text.strip())


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
