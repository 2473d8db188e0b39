"""Files of every format as rows: the numbers that were written, and the estimators of memory."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse

from problems import CCA, LDA, DataMatrix, NpyRows, SlicedRows, open_rows
from problems.data_files import read_labels
from tests.problems.classes import eigenvalues_of_rows, labelled_rows
from tests.problems.files import RNG, WRITERS, D, N, X, dense, parts, write_npy, write_npz, write_parquet
from tests.problems.views import correlated_views, correlations_of

CCA_SOLVERS = ["direct", "cholesky-qr", "lobpcg", "riemannian", "trust-region", "block-pcg"]


@pytest.fixture(params=WRITERS)
def file(request, tmp_path):
    path = tmp_path / request.param
    WRITERS[request.param](path, X)
    return path


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


@pytest.mark.parametrize("solver", CCA_SOLVERS)
def test_every_solver_finds_the_correlations_of_memory(solver, tmp_path):
    x, y = correlated_views(600, 6, 5)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    found = CCA(2, solver=solver, random_state=0).fit(open_rows(tmp_path / "x.npy"), open_rows(tmp_path / "y.npy"))
    assert found.solver_ == solver
    np.testing.assert_allclose(found.correlations_, correlations_of(x, y)[:2], atol=1e-8)


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


def test_float32_stays_and_follows_the_first_view(tmp_path):
    x, y = correlated_views(500, 6, 5)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    np.save(tmp_path / "y.npy", y)
    cca = CCA(2).fit(open_rows(tmp_path / "x.npy"), open_rows(tmp_path / "y.npy"))
    assert cca.correlations_.dtype == cca.y_weights_.dtype == np.float32
    np.testing.assert_allclose(cca.correlations_, CCA(2).fit(x, y).correlations_, atol=1e-5)


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


# ------------------------------------------------------------------------------------------------ chunks of a folder


def test_a_folder_is_its_files_under_each_other(tmp_path):
    folder = parts(tmp_path / "x", np.array_split(X, 9))
    (folder / "notes.txt").write_text("not data", encoding="utf-8")
    np.testing.assert_array_equal(dense(open_rows(folder).blocks(50)), X)
    files = sorted(folder.glob("*.npy"))
    np.testing.assert_array_equal(dense(open_rows(files[::-1]).blocks(500))[-78:], X[:78])


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.parquet"])
def test_an_empty_file_among_others_is_passed_over(name, tmp_path):
    folder = parts(tmp_path / "x", [X[:0], X[:100], X[:0], X[100:]], name[1:], WRITERS[name])
    np.testing.assert_array_equal(dense(open_rows(folder).blocks(64)), X)


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
