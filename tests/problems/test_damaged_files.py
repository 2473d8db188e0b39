"""Files that are damaged, truncated, changed or of no use: errors that name the file, the line or the row."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import scipy.sparse

from problems import CsvRows, DataMatrix, JoinedRows, SlicedRows, open_rows, row_passes
from tests.problems.files import WRITERS, X, dense, save_text, write_csv, write_npy, write_npz, write_svm

TRUNCATED = ["x.npy", "fortran.npy", "x.npz", "stored.npz", "x.parquet", "x.h5"]


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_truncated_file_is_refused_by_name(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, X)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=re.escape(name)):
        list(open_rows(path).blocks(100))


def test_a_truncated_csv_is_refused_by_its_line(tmp_path):
    path = tmp_path / "x.csv"
    write_csv(path, X)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:300], "1.5,2"]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"x.csv, line 301 has 2 fields, not 6"):
        list(open_rows(path).blocks(100))


def test_a_truncated_svmlight_file_is_refused_by_its_rows(tmp_path):
    path = tmp_path / "x.svm"
    write_svm(path, X)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b":") + 1])
    with pytest.raises(ValueError, match=r"x.svm, rows 0 to 699 are not in the svmlight format"):
        open_rows(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_chunk_of_zarr_is_refused_by_its_row(compressed, tmp_path):
    zarr = pytest.importorskip("zarr")
    path, packing = tmp_path / "x.zarr", {} if compressed else {"compressors": None}
    zarr.create_array(store=str(path), data=X, chunks=(100, 6), **packing)
    chunk = path / "c" / "3" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-99])
    with pytest.raises(ValueError, match=r"x.zarr, row 300 cannot be read: "):
        list(open_rows(path).blocks(100))


def test_a_damaged_chunk_of_hdf5_is_refused_by_its_row(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as store:
        chunk = store.create_dataset("x", data=X, chunks=(100, 6), compression="gzip").id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x.h5, row 300 cannot be read: "):
        list(open_rows(path).blocks(64))


@pytest.mark.parametrize("name", ["x.npy", "fortran.npy", "x.npz", "x.csv", "x.svm", "x.parquet", "x.h5"])
@pytest.mark.parametrize("change", ["shorter", "longer", "replaced"])
def test_a_file_that_changes_between_passes_is_refused(name, change, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, X)
    data = DataMatrix(open_rows(path))
    data.gram()
    content = path.read_bytes()
    if change == "replaced":
        shutil.copy(path, tmp_path / "copy")
        path.unlink()
        (tmp_path / "copy").rename(path)
    else:
        path.write_bytes(content[:-100] if change == "shorter" else content + b"\n1,2,3,4,5,6")
    with pytest.raises(ValueError, match=rf"{name} changed .*since it was opened"):
        data.gram()


@pytest.mark.parametrize("change", ["rewritten", "resized", "cut"])
def test_a_folder_of_zarr_that_changes_between_passes_is_refused(change, tmp_path):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "x.zarr"
    array = zarr.create_array(store=str(path), data=X, chunks=(100, 6))
    data = DataMatrix(open_rows(path))
    data.gram()
    if change == "rewritten":
        array[300:310] = 0.0
    elif change == "resized":
        array.resize((800, 6))
    else:
        (path / "c" / "3" / "0").unlink()
    with pytest.raises(ValueError, match=r"x.zarr changed .*since it was opened"):
        data.gram()


def test_a_file_that_is_cut_within_a_pass_is_refused(tmp_path):
    path = tmp_path / "x.npy"
    write_npy(path, X)
    blocks = open_rows(path).blocks(100)
    next(blocks)
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(ValueError, match=r"x.npy changed from 33728 to 6000 bytes since it was opened"):
        list(blocks)


def test_a_file_that_is_cut_between_sections_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(row_passes, "_SECTION_BYTES", 100 * 8 * 6)
    path = tmp_path / "x.npy"
    write_npy(path, X)
    data = DataMatrix(open_rows(path), block_rows=50)
    data.rows.reduction.n_threads = 2
    data.moments  # noqa: B018
    monkeypatch.setattr(data.rows, "_has_read", lambda stop: path.write_bytes(path.read_bytes()[:6000]))
    with pytest.raises(ValueError, match=r"x.npy changed from 33728 to 6000 bytes since it was opened"):
        data @ np.ones((6, 1))


def test_an_array_that_changes_its_shape_is_refused():
    class Growing:
        def __init__(self):
            self.array = np.zeros((10, 2))

        shape = property(lambda self: self.array.shape)
        dtype = np.dtype(float)

        def __getitem__(self, key):
            return self.array[key]

    array = Growing()
    rows = SlicedRows(array, "grown.h5::x")
    assert len(dense(rows.blocks(3))) == 10
    array.array = np.zeros((12, 2))
    with pytest.raises(ValueError, match=r"grown.h5::x changed from shape \(10, 2\) to \(12, 2\)"):
        list(rows.blocks(3))


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1, "a"], [None, 2]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"x.npy is no matrix in numpy's format .npy"):
        open_rows(tmp_path / "x.npy")
    np.savez(
        tmp_path / "x.npz",
        format=b"csr",
        indptr=np.array([0, 1]),
        indices=np.array([0]),
        shape=np.array([1, 1]),
        data=np.array([None], dtype=object),
        allow_pickle=True,
    )
    with pytest.raises(ValueError, match=r"x.npz is no sparse matrix.*it holds Python objects, which are not read"):
        open_rows(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("name", "write", "options", "error", "message"),
    [
        ("x.dat", lambda f: f.write_bytes(b"1"), {}, ValueError, r"x.dat must end in one of .npy, .npz"),
        ("x.npy", lambda f: None, {}, FileNotFoundError, r"there is no file .*x.npy"),
        ("x.npy", lambda f: f.write_bytes(b""), {}, ValueError, r"x.npy is no matrix in numpy's format"),
        ("x.npy", lambda f: f.write_bytes(b"junk" * 9), {}, ValueError, r"x.npy is no matrix in numpy's format"),
        ("x.npy", lambda f: np.save(f, np.zeros((2, 2), complex)), {}, TypeError, r"x.npy must hold real numbers, got"),
        ("x.npy", lambda f: np.save(f, np.zeros((2, 2, 2))), {}, ValueError, r"x.npy must hold a matrix .*\(2, 2, 2\)"),
        ("x.npy", lambda f: np.save(f, X), {"columns": ["a"]}, ValueError, r"columns can be chosen of .csv"),
        (
            "x.npz",
            lambda f: np.savez(f, x=X),
            {},
            ValueError,
            r"x.npz holds \['x'\], not a sparse matrix; save a dense",
        ),
        (
            "x.npz",
            lambda f: scipy.sparse.save_npz(f, scipy.sparse.csc_array(X)),
            {},
            ValueError,
            r"x.npz is sparse by csc, whose rows do not lie together; save it with tocsr\(\)",
        ),
        ("x.csv", lambda f: save_text(f, ""), {}, ValueError, "x.csv is empty"),
        ("x.csv", lambda f: save_text(f, "a,b\n1,2\n3,x\n"), {}, ValueError, "line 3: 'x' in column 'b' is no number"),
        ("x.csv", lambda f: save_text(f, "1,2\n\n3,4,5\n"), {}, ValueError, "x.csv, line 3 has 3 fields, not 2"),
        (
            "x.csv",
            lambda f: save_text(f, "a,b\n1,2\n3,4,5\n"),
            {"columns": ["a"]},
            ValueError,
            "x.csv, line 3 has 3 fields, not 2",
        ),
        ("x.csv", lambda f: save_text(f, "a,b\n1,2\n"), {"columns": ["z"]}, ValueError, "x.csv has no column 'z'; it"),
        (
            "x.csv",
            lambda f: save_text(f, "1,2\n"),
            {"columns": ["z"]},
            ValueError,
            "no column 'z'; it names no columns",
        ),
        (
            "x.csv",
            lambda f: save_text(f, "1,2\n"),
            {"columns": [2]},
            ValueError,
            "no column 2; they are numbered from 0",
        ),
        (
            "x.csv",
            lambda f: save_text(f, "1,2\n"),
            {"columns": []},
            ValueError,
            "columns must be a list of names or num",
        ),
        ("x.svm", lambda f: save_text(f, "1 1:2\nx\n"), {}, ValueError, "x.svm, rows 0 to 1 are not in the svmlight"),
        ("x.h5", lambda f: f.write_bytes(b"junk"), {}, (ValueError, ImportError), "x.h5"),
        ("x.zarr", lambda f: f.mkdir(), {}, (ValueError, ImportError), "x.zarr"),
        ("folder", lambda f: f.mkdir(), {}, ValueError, "folder holds no file with one of the endings"),
    ],
)
def test_bad_files(name, write, options, error, message, tmp_path):
    path = tmp_path / name
    write(path)
    with pytest.raises(error, match=message):
        list(open_rows(path, **options).blocks(10))


def test_bad_lists_and_parts(tmp_path):
    with pytest.raises(ValueError, match="path must be a file, a folder or a list of them, got an empty list"):
        open_rows([])
    with pytest.raises(ValueError, match="parts must hold at least one source"):
        JoinedRows([])
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", X[:, :2])
    write_npz(tmp_path / "c.npz", X)
    with pytest.raises(ValueError, match=r"b.npy has 2 columns, but .*a.npy has 6; they must agree"):
        open_rows([tmp_path / "a.npy", tmp_path / "b.npy"])
    with pytest.raises(ValueError, match=r"c.npz and .*a.npy must both be dense or both sparse"):
        open_rows([tmp_path / "a.npy", tmp_path / "c.npz"])
    with pytest.raises(ValueError, match="delimiter must be one character, got ''"):
        CsvRows(save_text(tmp_path / "x.csv", "1,2\n"), delimiter="")


def test_arrays_of_groups_of_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w")
    group.create_group("b").create_array("c", data=X)
    np.testing.assert_array_equal(dense(open_rows(tmp_path / "x.zarr").blocks(90)), X)
    group.create_array("a", data=X[:, :2])
    np.testing.assert_array_equal(dense(open_rows(f"{tmp_path / 'x.zarr'}::b/c").blocks(90)), X)
    with pytest.raises(ValueError, match=r"x.zarr holds the data sets a, b/c; name one, as .*x.zarr::a"):
        open_rows(tmp_path / "x.zarr")


def test_hdf5_of_several_data_sets(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as store:
        store["a"], store["b/c"] = X, X[:, :2]
    np.testing.assert_array_equal(dense(open_rows(f"{tmp_path / 'x.h5'}::b/c").blocks(90)), X[:, :2])
    with pytest.raises(ValueError, match=r"x.h5 holds the data sets a, b/c; name one, as .*x.h5::a"):
        open_rows(tmp_path / "x.h5")
