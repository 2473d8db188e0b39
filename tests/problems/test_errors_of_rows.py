"""Bad input of the sources of rows, made directly: the exact type of the error, and a message that names it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from problems import CsvRows, JoinedRows, NpyRows, ParquetRows, SlicedRows, SparseNpzRows, SvmlightRows
from tests.problems.files import X, save_text, write_csv, write_npy, write_npz, write_parquet, write_svm

KINDS = {
    "x.npy": (NpyRows, write_npy),
    "x.npz": (SparseNpzRows, write_npz),
    "x.csv": (CsvRows, write_csv),
    "x.svm": (SvmlightRows, write_svm),
    "x.parquet": (ParquetRows, write_parquet),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_not_there(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=name):
        KINDS[name][0](tmp_path / name)


@pytest.mark.parametrize("name", KINDS)
def test_a_path_that_is_none(name):
    with pytest.raises(TypeError, match="NoneType"):
        KINDS[name][0](None)


@pytest.mark.parametrize("name", [*KINDS, "sliced", "joined"])
@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (0, ValueError, r"rows must be at least 1, got 0"),
        (-5, ValueError, r"rows must be at least 1, got -5"),
        (2.0, TypeError, r"rows must be an integer, got 2.0"),
        (None, TypeError, r"rows must be an integer, got None"),
    ],
)
def test_bad_lengths_of_blocks(name, rows, error, message, tmp_path):
    if name in KINDS:
        kind, write = KINDS[name]
        write(tmp_path / name, X[:9])
        source = kind(tmp_path / name)
    else:
        source = SlicedRows(X) if name == "sliced" else JoinedRows([SlicedRows(X), SlicedRows(X)])
    with pytest.raises(error, match=message) as caught:
        next(source.blocks(rows))
    assert caught.type is error


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ([], ValueError, r"columns must be a list of names or numbers that is not empty, got \[\]"),
        ("c0", ValueError, r"columns must be a list of names or numbers .*got 'c0'"),
        (3, ValueError, r"columns must be a list of names or numbers .*got 3"),
        (["c0", "z"], ValueError, r"has no column 'z'; it has 'c0', 'c1'"),
        ([6], ValueError, r"has no column 6; they are numbered from 0 to 5"),
        ([-1], ValueError, r"has no column -1; they are numbered from 0 to 5"),
        ([0, 1.5], TypeError, r"columns must be names or whole numbers, got 1.5"),
        ([True], TypeError, r"columns must be names or whole numbers, got True"),
        ([None], TypeError, r"columns must be names or whole numbers, got None"),
    ],
)
def test_bad_columns(name, columns, error, message, tmp_path):
    kind, write = KINDS[name]
    write(tmp_path / name, X)
    with pytest.raises(error, match=message) as caught:
        kind(tmp_path / name, columns=columns)
    assert caught.type is error


def test_numbers_of_numpy_choose_columns(tmp_path):
    write_csv(tmp_path / "x.csv", X)
    (block,) = CsvRows(tmp_path / "x.csv", columns=np.array([4, 1])).blocks(len(X))
    np.testing.assert_array_equal(block, X[:, [4, 1]])


def write_table(file, columns):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(pyarrow.table(columns), file)


def write_no_table(file):
    pytest.importorskip("pyarrow.parquet")
    file.write_bytes(b"junk" * 9)


def write_parts(file, **changes):
    """The arrays of a sparse 2 x 3 matrix [[1, 0, 2], [0, 3, 0]] by rows, some of them changed."""
    parts = {
        "format": b"csr",
        "shape": np.array([2, 3]),
        "indptr": np.array([0, 2, 3]),
        "indices": np.array([0, 2, 1]),
        "data": np.array([1.0, 2.0, 3.0]),
    }
    np.savez(file, **parts | changes)


def test_the_parts_of_a_sparse_matrix(tmp_path):
    write_parts(tmp_path / "x.npz")
    (block,) = SparseNpzRows(tmp_path / "x.npz").blocks(2)
    np.testing.assert_array_equal(block.toarray(), [[1, 0, 2], [0, 3, 0]])


@pytest.mark.parametrize(
    ("kind", "write", "error", "message"),
    [
        (ParquetRows, write_no_table, ValueError, "x.npz is no parquet file, or is truncated: "),
        (
            ParquetRows,
            lambda f: write_table(f, {"a": [1.0, 2.0], "kind": ["x", "y"]}),
            TypeError,
            "column 'kind' of .*x.npz must hold real numbers, got string; choose columns",
        ),
        (
            ParquetRows,
            lambda f: write_table(f, {"a": [[1.0], [2.0]]}),
            TypeError,
            "column 'a' of .*x.npz must hold real numbers, got list",
        ),
        (
            SparseNpzRows,
            lambda f: f.write_bytes(b"junk"),
            ValueError,
            "x.npz is no sparse matrix of scipy, or is trunc",
        ),
        (
            SparseNpzRows,
            lambda f: np.savez(f, x=X),
            ValueError,
            r"x.npz holds \['x'\], not a sparse matrix; save a dense one as .npy",
        ),
        (
            SparseNpzRows,
            lambda f: scipy.sparse.save_npz(f, scipy.sparse.coo_array(X)),
            ValueError,
            "x.npz is sparse by coo, whose rows do not lie together",
        ),
        (
            SparseNpzRows,
            lambda f: write_parts(f, data=np.array([1j, 2, 3])),
            TypeError,
            "x.npz must hold real numbers, got dtype complex128",
        ),
        (
            SparseNpzRows,
            lambda f: write_parts(f, indptr=np.array([0, 3, 2])),
            ValueError,
            "x.npz is damaged: the ends of its rows do not increase",
        ),
        (
            SparseNpzRows,
            lambda f: write_parts(f, indptr=np.array([0, 3])),
            ValueError,
            "x.npz is damaged: the ends of its rows do not increase",
        ),
        (
            SparseNpzRows,
            lambda f: write_parts(f, indices=np.array([0, 3, 1])),
            ValueError,
            "x.npz is damaged: a column index is not below 3",
        ),
        (
            SparseNpzRows,
            lambda f: write_parts(f, indices=np.array([0, -1, 1])),
            ValueError,
            "x.npz is damaged: a column index is not below 3",
        ),
        (
            SparseNpzRows,
            lambda f: write_parts(f, data=np.array([1.0])),
            ValueError,
            "x.npz is truncated: it has fewer entries than its rows end at",
        ),
        (
            SvmlightRows,
            lambda f: save_text(f, "1 1:2\n1 2:x\n"),
            ValueError,
            "x.npz, rows 0 to 1 are not in the svmlight",
        ),
        (SvmlightRows, lambda f: save_text(f, "one 1:2\n"), ValueError, "x.npz, rows 0 to 0 are not in the svmlight"),
    ],
)
def test_bad_files(kind, write, error, message, tmp_path):
    write(tmp_path / "x.npz")
    with pytest.raises(error, match=message) as caught:
        list(kind(tmp_path / "x.npz").blocks(10))
    assert caught.type is error


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_features": 0}, ValueError, r"n_features must be at least 1, got 0"),
        ({"n_features": 3.0}, TypeError, r"n_features must be an integer, got 3.0"),
        ({"n_features": "3"}, TypeError, r"n_features must be an integer, got '3'"),
        ({"n_features": 3, "zero_based": True}, ValueError, r"n_features must be at least 4, the columns of .*x.svm"),
        ({"zero_based": "no"}, TypeError, r"zero_based must be a bool or None, got 'no'"),
        ({"zero_based": 0}, TypeError, r"zero_based must be a bool or None, got 0"),
    ],
)
def test_bad_options_of_svmlight(options, error, message, tmp_path):
    file = save_text(tmp_path / "x.svm", "1 1:2\n-1 3:4\n")
    with pytest.raises(error, match=message) as caught:
        SvmlightRows(file, **options)
    assert caught.type is error


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SlicedRows([[1.0]], "x"), TypeError, "x must have a shape and a dtype, and be read by slices, got l"),
        (lambda: SlicedRows(None, "x"), TypeError, "x must have a shape and a dtype, and be read by slices, got None"),
        (lambda: SlicedRows(np.zeros((2, 2, 2)), "x"), ValueError, r"x must hold a matrix .*got shape \(2, 2, 2\)"),
        (lambda: SlicedRows(np.array([["a"]]), "x"), TypeError, "x must hold real numbers, got dtype <U1"),
        (lambda: SlicedRows(np.ones((2, 2)) + 0j, "x"), TypeError, "x must hold real numbers, got dtype complex128"),
        (
            lambda: JoinedRows([SlicedRows(X), X]),
            TypeError,
            r'parts must be a RowSource such as NpyRows\("x.npy"\), got array',
        ),
        (lambda: JoinedRows(["a.npy"]), TypeError, "parts must be a RowSource such as .*, got 'a.npy'"),
        (
            lambda: JoinedRows([SlicedRows(X, "a"), SlicedRows(X[:, :2], "b")]),
            ValueError,
            "b has 2 columns, but a has 6; they must agree",
        ),
    ],
)
def test_bad_sources(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error
