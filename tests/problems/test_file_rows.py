"""Files of every format as rows: the numbers that were written, and errors that name the file, the line or the row."""

from __future__ import annotations

import re
import shutil
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import dump_svmlight_file

from problems import CCA, LDA, CsvRows, DataMatrix, JoinedRows, NpyRows, RowSource, SlicedRows, open_rows
from problems.data_files import read_labels
from problems.row_source import read_ahead, regrouped
from tests.problems.classes import eigenvalues_of_rows, labelled_rows
from tests.problems.views import correlated_views

N, D = 700, 6
RNG = np.random.default_rng(0)
X = np.round(1024 * RNG.standard_normal((N, D))) / 1024 * (RNG.random((N, D)) < 0.7)  # few digits, for text files
X[0, -1] = X[-1, 0] = 1.5  # no column is empty
NAMES = [f"c{j}" for j in range(D)]


def write_npy(file, x):
    np.save(file, x)


def write_fortran(file, x):
    np.save(file, np.asfortranarray(x))


def write_big_endian(file, x):
    np.save(file, x.astype(">f8"))


def write_npz(file, x):
    scipy.sparse.save_npz(file, scipy.sparse.csr_array(x))


def write_stored_npz(file, x):
    scipy.sparse.save_npz(file, scipy.sparse.csr_array(x), compressed=False)


def write_csv(file, x):
    np.savetxt(file, x, delimiter=",", header=",".join(NAMES[: x.shape[1]]), comments="", fmt="%.17g")


def write_tsv(file, x):
    np.savetxt(file, x, delimiter="\t", fmt="%.17g")


def write_svm(file, x):
    dump_svmlight_file(x, np.arange(len(x)), str(file), zero_based=False)


def write_zero_based(file, x):
    dump_svmlight_file(x, np.arange(len(x)), str(file), zero_based=True)


def write_parquet(file, x):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(pyarrow.table(dict(zip(NAMES, x.T, strict=False))), file, row_group_size=130)


def write_hdf5(file, x):
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as store:
        store.create_dataset("group/x", data=x, chunks=(90, 2))


def write_zarr(file, x):
    zarr = pytest.importorskip("zarr")
    zarr.save(str(file), x)


WRITERS = {
    "x.npy": write_npy,
    "fortran.npy": write_fortran,
    "big.npy": write_big_endian,
    "x.npz": write_npz,
    "stored.npz": write_stored_npz,
    "x.csv": write_csv,
    "x.tsv": write_tsv,
    "x.svm": write_svm,
    "zero.svmlight": write_zero_based,
    "x.parquet": write_parquet,
    "x.h5": write_hdf5,
    "x.zarr": write_zarr,
}


@pytest.fixture(params=WRITERS)
def file(request, tmp_path):
    path = tmp_path / request.param
    WRITERS[request.param](path, X)
    return path


def dense(blocks):
    return np.concatenate([block.toarray() if scipy.sparse.issparse(block) else block for block in blocks])


@pytest.mark.parametrize("rows", [1, 64, 100, N, 10 * N])
def test_blocks_are_the_rows_that_were_written(file, rows):
    source = open_rows(file)
    blocks = list(source.blocks(rows))
    assert source.shape == (N, D)
    assert {block.dtype for block in blocks} == {source.dtype} == {np.dtype("float64")}
    assert {scipy.sparse.issparse(block) for block in blocks} == {source.sparse}
    np.testing.assert_array_equal(dense(blocks), X)
    np.testing.assert_array_equal(dense(source.blocks(rows)), X)  # a second pass
    assert all(block.shape[0] <= max(rows, 90) for block in blocks)


def test_correlations_are_those_of_memory(file, tmp_path):
    y = X[:, :3] @ RNG.standard_normal((3, 4)) + RNG.standard_normal((N, 4)) + 7
    np.save(tmp_path / "y.npy", y)
    expected = CCA(2, solver="cholesky-qr", random_state=0).fit(X, y)
    source, other = open_rows(file), open_rows(tmp_path / "y.npy")
    for solver in ("direct", "cholesky-qr", "lobpcg"):
        found = CCA(2, solver=solver, random_state=0).fit(source, other)
        np.testing.assert_allclose(found.correlations_, expected.correlations_, atol=1e-8)
        for actual, wanted in zip(found.transform(source, other), expected.transform(X, y), strict=True):
            np.testing.assert_allclose(actual, wanted, atol=1e-5)
    assert found.score(source, other) == pytest.approx(expected.score(X, y), abs=1e-8)
    mixed = CCA(2, solver="direct").fit(source, y)  # a file beside an array
    np.testing.assert_allclose(mixed.correlations_, expected.correlations_, atol=1e-8)


@pytest.mark.parametrize("solver", ["direct", "cholesky-qr", "block-pcg", "lobpcg", "riemannian"])
@pytest.mark.parametrize("ordered", [True, False])
def test_discriminants_are_those_of_memory(solver, ordered, tmp_path):
    x, y = labelled_rows(900, 7, 4, condition=20.0, offset=50.0, seed=3)
    if ordered:
        order = np.argsort(y, kind="stable")
        x, y = x[order], y[order]
    np.save(tmp_path / "x.npy", x)
    rows = open_rows(tmp_path / "x.npy")
    expected, found = LDA(random_state=0).fit(x, y), LDA(solver=solver, random_state=0).fit(rows, y)
    np.testing.assert_allclose(found.eigenvalues_, expected.eigenvalues_, rtol=1e-8)
    np.testing.assert_array_equal(found.predict(rows), expected.predict(x))
    np.testing.assert_allclose(abs(found.transform(rows)), abs(expected.transform(x)), atol=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
def test_shrinkage_reads_the_classes_of_a_file(sparse, tmp_path):
    x, y = labelled_rows(300, 7, 3, seed=1)
    (write_npz if sparse else write_npy)(tmp_path / ("x.npz" if sparse else "x.npy"), x)
    rows = open_rows(tmp_path / ("x.npz" if sparse else "x.npy"))
    expected, found = LDA(shrinkage="auto").fit(x, y), LDA(shrinkage="auto").fit(rows, y)
    np.testing.assert_allclose(found.eigenvalues_, expected.eigenvalues_, rtol=1e-9)


WEIGHTED = np.random.default_rng(0).uniform(0.5, 2.0, 60)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "options", [{"solver": "dual", "reg": 0.01}, {"solver": "cholesky-qr", "reg": 0.01}, {"shrinkage": "auto"}], ids=str
)
def test_discriminants_of_weighted_rows_that_are_fewer_than_columns(options, sparse, tmp_path):
    x, y = labelled_rows(60, 90, 4, seed=8)
    file = tmp_path / ("x.npz" if sparse else "x.npy")
    (write_npz if sparse else write_npy)(file, x)
    expected = LDA(**options, random_state=0).fit(x, y, WEIGHTED)
    found = LDA(**options, random_state=0).fit(open_rows(file), y, WEIGHTED)
    np.testing.assert_allclose(found.eigenvalues_, expected.eigenvalues_, rtol=1e-9)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-7, atol=1e-9)


def test_ill_conditioned_single_precision_is_multiplied_in_double(tmp_path):
    x, y = labelled_rows(2000, 30, 5, condition=1e3, seed=4)
    single = x.astype(np.float32)
    np.save(tmp_path / "x.npy", single)
    found = LDA().fit(open_rows(tmp_path / "x.npy"), y)
    assert found.n_passes_ == 2
    np.testing.assert_allclose(found.eigenvalues_, eigenvalues_of_rows(single, y), rtol=1e-5)


class Counted(RowSource):
    """Rows of an array in blocks of uneven sizes that count how often they are read."""

    def __init__(self, array, sizes=(100, 1, 0, 37)):
        self.array, self.sizes, self.shape, self.dtype = array, sizes, array.shape, array.dtype
        self.name, self.reads = "counted", np.zeros(len(array), dtype=int)

    def blocks(self, rows):
        first, k = 0, 0
        while first < len(self.array):
            stop = min(first + min(rows, self.sizes[k % len(self.sizes)]), len(self.array))
            self.reads[first:stop] += 1
            yield self.array[first:stop]
            first, k = stop, k + 1


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("weights", [None, RNG.random(N)], ids=["plain", "weighted"])
def test_passes_of_a_matrix_are_the_reads_of_its_source(weights, scale):
    source, a, z = Counted(X), RNG.standard_normal((D, 2)), RNG.standard_normal((N, 2))
    streamed = DataMatrix(source, sample_weight=weights, scale=scale, reg=0.1, block_rows=64)
    memory = DataMatrix(X, sample_weight=weights, scale=scale, reg=0.1)
    for call in (
        lambda m: m.moments.mean,
        lambda m: m @ a,
        lambda m: m.gram(),
        lambda m: m.diagonal(),
        lambda m: m.transform(a),
        lambda m: m.adjoint(z),
    ):
        np.testing.assert_allclose(call(streamed), call(memory), atol=1e-13)
    assert set(source.reads) == {streamed.n_passes} == {6}


@pytest.mark.parametrize("solver", ["direct", "cholesky-qr", "lobpcg", "riemannian"])
def test_passes_of_a_fit_are_the_reads_of_the_files(solver):
    x, y = (Counted(view) for view in correlated_views(600, 6, 5))
    cca = CCA(2, solver=solver, random_state=0).fit(x, y)
    assert set(x.reads) == set(y.reads) == {cca.n_passes_}


def test_a_pass_holds_a_few_blocks(tmp_path):
    np.save(tmp_path / "x.npy", RNG.standard_normal((160_000, 50)))  # 64 MB
    data, a = DataMatrix(open_rows(tmp_path / "x.npy")), RNG.standard_normal((50, 3))
    data.moments  # noqa: B018
    tracemalloc.start()
    try:
        data @ a
        thin = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        data.gram()
        dense = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert thin < 12e6
    assert dense < 48e6  # three blocks of 16 MB


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("block_rows", [None, 7, 200])
def test_products_do_not_depend_on_the_threads(block_rows, n_threads):
    x, _ = correlated_views(1000, 6, 5)
    data = DataMatrix(Counted(x), block_rows=block_rows)
    data.rows.reduction.n_threads = n_threads
    a = RNG.standard_normal((6, 2))
    np.testing.assert_allclose(data @ a, np.cov(x.T, bias=True) @ a, atol=1e-12)


def test_memory_is_used_again_only_when_nobody_holds_it(tmp_path):
    write_npy(tmp_path / "x.npy", X)
    blocks = open_rows(tmp_path / "x.npy").blocks(100)
    kept = [next(blocks), next(blocks)[:50]]  # of the second, a view
    places = {block.ctypes.data for block in kept}
    for first in range(200, N, 100):
        block = next(blocks)
        np.testing.assert_array_equal(block, X[first : first + 100])
        places.add(block.ctypes.data)
        del block
    np.testing.assert_array_equal(kept[0], X[:100])
    np.testing.assert_array_equal(kept[1], X[100:150])
    assert len(places) == 4  # the two that are held, and two by turns for the other five blocks


def test_float32_stays_and_follows_the_first_view(tmp_path):
    x, y = correlated_views(500, 6, 5)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    np.save(tmp_path / "y.npy", y)
    cca = CCA(2).fit(open_rows(tmp_path / "x.npy"), open_rows(tmp_path / "y.npy"))
    assert cca.correlations_.dtype == cca.y_weights_.dtype == np.float32
    np.testing.assert_allclose(cca.correlations_, CCA(2).fit(x, y).correlations_, atol=1e-5)


# ------------------------------------------------------------------------------------------------ chunks of a folder


def parts(folder, arrays, ending=".npy", write=write_npy):
    folder.mkdir()
    for k, array in enumerate(arrays):
        write(folder / f"part-{k:02d}{ending}", array)
    return folder


def test_a_folder_is_its_files_under_each_other(tmp_path):
    folder = parts(tmp_path / "x", np.array_split(X, 9))
    (folder / "notes.txt").write_text("not data", encoding="utf-8")
    np.testing.assert_array_equal(dense(open_rows(folder).blocks(50)), X)
    files = sorted(folder.glob("*.npy"))
    np.testing.assert_array_equal(dense(open_rows(files[::-1]).blocks(500))[-78:], X[:78])


def test_an_empty_chunk_is_passed_over(tmp_path):
    rows = open_rows(parts(tmp_path / "x", [X[:100], X[:0], X[100:]]))
    np.testing.assert_array_equal(dense(rows.blocks(64)), X)
    first = open_rows(parts(tmp_path / "y", [X[:0], X]))
    np.testing.assert_allclose(DataMatrix(first).gram(), np.cov(X.T, bias=True), atol=1e-13)


def test_mixed_dtypes_of_chunks_become_the_wider_one(tmp_path):
    whole = np.round(8 * X)
    rows = open_rows(parts(tmp_path / "x", [whole[:200].astype(np.float32), whole[200:400].astype(int), whole[400:]]))
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(dense(rows.blocks(64)), whole)


def test_nan_in_chunk_7_is_named_with_its_file_and_row(tmp_path):
    x = X.copy()
    x[577, 3] = np.nan  # row 17 of the chunk that starts with row 560
    rows = open_rows(parts(tmp_path / "x", [x[first : first + 80] for first in range(0, N, 80)]))
    message = re.escape(f"X contains NaN or infinity ({tmp_path / 'x' / 'part-07.npy'}, row 17); clean or impute it")
    with pytest.raises(ValueError, match=message):
        CCA(1).fit(rows, X[:, :2])
    with pytest.raises(ValueError, match=message):
        LDA().fit(rows, np.arange(N) % 3)
    fitted = CCA(1).fit(X, X[:, :2])
    with pytest.raises(ValueError, match=message):
        fitted.transform(rows)


def test_nan_in_a_sparse_chunk_is_named(tmp_path):
    x = X.copy()
    x[300, 0] = np.inf
    write_npz(tmp_path / "x.npz", x)
    with pytest.raises(ValueError, match=r"X contains NaN or infinity \(.*x.npz, row 300\)"):
        CCA(1).fit(open_rows(tmp_path / "x.npz"), X[:, :2])


def test_columns_are_found_by_name_in_every_chunk(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "a.csv").write_text("u,v,w\n1,2,3\n", encoding="utf-8")
    (folder / "b.csv").write_text("w,kind,u,v\n6,x,4,5\n", encoding="utf-8")
    np.testing.assert_array_equal(dense(open_rows(folder).blocks(5)), [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(dense(open_rows(folder, columns=["w", "u"]).blocks(5)), [[3, 1], [6, 4]])
    (folder / "c.csv").write_text("u,w\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"c.csv has no column 'v'; it has 'u', 'w'"):
        open_rows(folder)


def test_missing_columns_of_parquet_are_named(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    write_parquet(folder / "a.parquet", X)
    write_parquet(folder / "b.parquet", X[:, :4])
    with pytest.raises(ValueError, match=r"b.parquet has no column 'c4'; it has 'c0'"):
        open_rows(folder)


def test_parquet_of_other_types_and_missing_values(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"a": [1, None, 3], "b": pyarrow.array([0.5, 1.5, 2.5], "float32"), "c": ["x", "y", "z"]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(
        TypeError, match=r"column 'c' of .*x.parquet must hold real numbers, got string; choose columns"
    ):
        open_rows(tmp_path / "x.parquet")
    np.testing.assert_array_equal(
        dense(open_rows(tmp_path / "x.parquet", columns=["b", "a"]).blocks(2)), [[0.5, 1], [1.5, np.nan], [2.5, 3]]
    )
    assert open_rows(tmp_path / "x.parquet", columns=["b"]).dtype == np.float32
    assert read_labels(tmp_path / "x.parquet", "c").tolist() == ["x", "y", "z"]


# ------------------------------------------------------------------------------------------------------ damaged files


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


@pytest.mark.parametrize("name", ["x.npy", "fortran.npy", "x.npz", "x.csv", "x.svm", "x.parquet"])
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


def test_a_file_that_is_cut_within_a_pass_is_refused(tmp_path):
    path = tmp_path / "x.npy"
    write_npy(path, X)
    blocks = open_rows(path).blocks(100)
    next(blocks)
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(ValueError, match=r"x.npy changed from 33728 to 6000 bytes since it was opened"):
        list(blocks)


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


class Wrong(RowSource):
    """A source that does not keep what it announces."""

    name, shape, dtype = "wrong.bin", (10, 2), np.dtype(float)

    def __init__(self, given):
        self.given = given

    def blocks(self, rows):
        yield self.given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((9, 2)), "wrong.bin gave 9 rows, where 10 were announced"),
        (np.zeros((10, 3)), "wrong.bin, row 0: a block has 3 columns of float64, where 2 of float64 were announced"),
        (np.zeros((10, 2), dtype=np.float32), "a block has 2 columns of float32, where 2 of float64"),
    ],
)
def test_a_source_is_held_to_its_word(given, message):
    with pytest.raises(ValueError, match=message):
        DataMatrix(Wrong(given)).gram()


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


def save_text(file, text):
    file.write_text(text, encoding="utf-8")
    return file


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


def test_hdf5_of_several_data_sets(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as store:
        store["a"], store["b/c"] = X, X[:, :2]
    np.testing.assert_array_equal(dense(open_rows(f"{tmp_path / 'x.h5'}::b/c").blocks(90)), X[:, :2])
    with pytest.raises(ValueError, match=r"x.h5 holds the data sets a, b/c; name one, as .*x.h5::a"):
        open_rows(tmp_path / "x.h5")


def test_views_from_files_must_fit(tmp_path):
    np.save(tmp_path / "x.npy", X)
    rows = NpyRows(tmp_path / "x.npy")
    with pytest.raises(ValueError, match="X and y must have the same number of rows, got 700 and 699"):
        CCA(1).fit(rows, X[1:])
    with pytest.raises(TypeError, match="cannot be read together with a csc_array"):
        CCA(1).fit(rows, scipy.sparse.csc_array(X))
    fitted = CCA(1).fit(rows, X[:, :2])
    with pytest.raises(ValueError, match="X has 2 features, but CCA was fitted with 6"):
        fitted.transform(SlicedRows(X[:, :2]))
    with pytest.raises(ValueError, match="X has 2 features, but LDA is expecting 6 features"):
        LDA().fit(rows, np.arange(N) % 2).predict(SlicedRows(X[:, :2]))


# ------------------------------------------------------------------------------------------------ the order of reading


def test_the_next_block_is_read_while_one_is_at_work():
    made = []

    def blocks():
        for k in range(4):
            made.append(k)
            yield k

    import threading

    ready = threading.Event()

    def signalling():
        for k in blocks():
            if k == 1:
                ready.set()
            yield k

    ahead = read_ahead(signalling())
    assert next(ahead) == 0
    assert ready.wait(60)  # block 1 is made though nobody has asked for it
    assert list(ahead) == [1, 2, 3]
    assert made == [0, 1, 2, 3]


def test_reading_stops_when_the_pass_does():
    closed = []

    def blocks():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    ahead = read_ahead(blocks())
    next(ahead)
    ahead.close()
    assert closed == [True]


def test_an_error_of_reading_is_raised_in_the_pass():
    def blocks():
        yield 1
        raise OSError("disk on fire")

    ahead = read_ahead(blocks())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk on fire"):
        next(ahead)


@pytest.mark.parametrize("sparse", [False, True])
def test_regrouped_blocks_have_the_wanted_sizes(sparse):
    blocks = np.split(X, [10, 10, 300, 301])
    blocks = list(map(scipy.sparse.csr_array, blocks)) if sparse else blocks
    found = list(regrouped(blocks, 64))
    assert [block.shape[0] for block in found] == [64] * 10 + [60]
    np.testing.assert_array_equal(dense(found), X)
