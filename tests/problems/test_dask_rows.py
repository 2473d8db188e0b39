"""dask arrays and dataframes: the numbers of memory, in a tree of sums, and errors that name the chunk."""

from __future__ import annotations

import cloudpickle
import numpy as np
import pytest
import scipy.sparse

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

from dask.callbacks import Callback  # noqa: E402

from manifolds import CountSketch, GaussianSketch  # noqa: E402
from problems import CCA, LDA, DaskRows, DataMatrix, PairedViews, dask_rows  # noqa: E402
from problems.chunk_tasks import sum_over_chunks  # noqa: E402
from problems.dask_rows import DaskCodes, DaskPasses  # noqa: E402
from tests.problems.classes import labelled_rows  # noqa: E402
from tests.problems.views import correlated_views  # noqa: E402

N = 1200
X, Y = correlated_views(N, 6, 5)
SOLVERS = ["direct", "cholesky-qr", "lobpcg", "riemannian", "trust-region", "block-pcg"]


def chunked(array, rows, columns=-1):
    return da.from_array(array, chunks=(rows, columns))


def of_parts(parts, *, dtype=float):
    """Array of delayed parts, whose lengths dask is not told."""
    arrays = [da.from_delayed(dask.delayed(part), (np.nan, X.shape[1]), dtype=dtype) for part in parts]
    return da.concatenate(arrays, allow_unknown_chunksizes=True)


@pytest.fixture(autouse=True)
def _threads_of_dask():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("solver", SOLVERS)
def test_correlations_are_those_of_memory(solver):
    expected = CCA(2, solver=solver, random_state=0).fit(X, Y)
    # Chunks of columns are joined, and those of the second view follow the first.
    found = CCA(2, solver=solver, random_state=0).fit(chunked(X, 350, 4), chunked(Y, 500))
    np.testing.assert_allclose(found.correlations_, expected.correlations_, atol=1e-8)
    assert found.n_passes_ == expected.n_passes_
    scores = found.transform(chunked(X, 350, 4), chunked(Y, 500))
    for actual, wanted in zip(scores, expected.transform(X, Y), strict=True):
        assert actual.chunks[0] in ((350, 350, 350, 150), (500, 500, 200))  # scores stay in chunks, too
        np.testing.assert_allclose(actual.compute(), wanted, atol=1e-5)


@pytest.mark.parametrize("weights", [None, np.random.default_rng(1).random(N)], ids=["plain", "weighted"])
@pytest.mark.parametrize("scale", [False, True])
def test_every_product_is_that_of_memory(scale, weights):
    options = {"scale": scale, "sample_weight": weights, "reg": 0.1}
    spread, memory = DataMatrix(chunked(X + 100, 350), **options), DataMatrix(X + 100, **options)
    a, z = (np.random.default_rng(0).standard_normal((rows, 2)) for rows in (6, N))
    for call in (lambda m: m @ a, lambda m: m.gram(), lambda m: m.diagonal(), lambda m: m.adjoint(z)):
        np.testing.assert_allclose(call(spread), call(memory), atol=1e-11)
    np.testing.assert_allclose(spread.transform(a).compute(), memory.transform(a), atol=1e-11)
    assert spread.n_passes == memory.n_passes


@pytest.mark.parametrize("sketch", [CountSketch(40, seed=1), GaussianSketch(9, seed=1)])
def test_sketches_are_those_of_memory(sketch):
    spread, memory = PairedViews(chunked(X + 9, 350), chunked(Y, 350)), PairedViews(X + 9, Y)
    for found, expected in zip(spread.sketch(sketch), memory.sketch(sketch), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("solver", ["direct", "cholesky-qr", "block-pcg"])
def test_discriminants_are_those_of_memory(solver):
    x, y = labelled_rows(900, 7, 4, condition=20.0, offset=50.0, seed=3)
    expected = LDA(random_state=0).fit(x, y)
    found = LDA(solver=solver, random_state=0).fit(chunked(x, 250), da.from_array(y, chunks=400))
    np.testing.assert_allclose(found.eigenvalues_, expected.eigenvalues_, rtol=1e-8)
    np.testing.assert_allclose(abs(found.transform(chunked(x, 250)).compute()), abs(expected.transform(x)), atol=1e-4)


WIDE, WIDE_Y = labelled_rows(60, 90, 4, seed=8)
WIDE_WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, 60)


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_matrix])
@pytest.mark.parametrize(
    "options", [{"solver": "dual", "reg": 0.01}, {"solver": "cholesky-qr", "reg": 0.01}, {"shrinkage": "auto"}], ids=str
)
def test_fewer_rows_than_columns(options, make):
    x = chunked(WIDE, 17).map_blocks(make)
    expected = LDA(**options, random_state=0).fit(WIDE, WIDE_Y, WIDE_WEIGHTS)
    found = LDA(**options, random_state=0).fit(x, WIDE_Y, WIDE_WEIGHTS)
    np.testing.assert_allclose(found.eigenvalues_, expected.eigenvalues_, rtol=1e-9)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_predictions_stay_in_chunks(n_classes):
    x, y = labelled_rows(900, 7, 4, seed=3)
    y, rows = y % n_classes, chunked(x, 250)
    expected, found = LDA().fit(x, y), LDA().fit(rows, da.from_array(y, chunks=250))
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        actual = getattr(found, name)(rows)
        assert actual.chunks[0] == (250, 250, 250, 150)
        wanted = getattr(expected, name)(x)
        assert actual.shape == wanted.shape
        np.testing.assert_allclose(actual.compute(), wanted, atol=1e-8)
    assert found.score(rows, da.from_array(y, chunks=250)) == expected.score(x, y)
    cca, memory = CCA(2).fit(chunked(X, 350), chunked(Y, 350)), CCA(2).fit(X, Y)
    np.testing.assert_allclose(cca.predict(chunked(X, 350)).compute(), memory.predict(X), atol=1e-8)
    assert cca.score(chunked(X, 350), chunked(Y, 350)) == pytest.approx(memory.score(X, Y), abs=1e-10)


@pytest.mark.parametrize("solver", ["cholesky-qr", "dual", "block-pcg", "lobpcg", "riemannian"])
def test_every_solver_takes_labels_in_chunks(solver):
    x, y = labelled_rows(300, 7, 4, seed=3)
    options = {"solver": solver, "reg": 0.1, "random_state": 0}
    found = LDA(**options).fit(chunked(x, 80), da.from_array(y, chunks=110))
    np.testing.assert_allclose(found.eigenvalues_, LDA(reg=0.1).fit(x, y).eigenvalues_, rtol=1e-8)


def test_labels_stay_where_they_are():
    x, y = labelled_rows(900, 7, 4, condition=20.0, offset=50.0, seed=3)
    names = np.array(["ox", "ant", "elk", "bee"])[y]
    expected = LDA().fit(x, names)
    kept = da.from_array(x, chunks=(250, 7))[da.from_array(y, chunks=250) >= 0]  # of unknown chunk sizes
    found = LDA().fit(kept, da.from_array(names, chunks=400))
    np.testing.assert_array_equal(found.classes_, expected.classes_)
    np.testing.assert_allclose(found.eigenvalues_, expected.eigenvalues_, rtol=1e-8)
    np.testing.assert_allclose(found.priors_, expected.priors_, rtol=1e-14)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-8)
    codes = DaskCodes(da.from_array(names, chunks=100), DaskRows(chunked(x, 250)))
    assert codes.counts.tolist() == np.unique(names, return_counts=True)[1].tolist()
    assert [part.compute().tolist() for part in codes.chunks()] == [
        np.searchsorted(expected.classes_, names[first : first + 250]).tolist() for first in range(0, 900, 250)
    ]


@pytest.mark.parametrize(
    ("y", "options", "error", "message"),
    [
        (da.zeros(N, chunks=100), {}, ValueError, "y must have at least two classes, got 1 class"),
        (da.zeros((N, 2)), {}, ValueError, r"y must be a vector of labels, got shape \(1200, 2\)"),
        (da.arange(N + 1) % 2, {}, ValueError, "same number of rows, got 1200 and 1201"),
        (
            da.arange(N) % 2,
            {"sample_weight": np.ones(N)},
            ValueError,
            "sample_weight is not taken with labels in a dask",
        ),
    ],
)
def test_bad_labels(y, options, error, message):
    with pytest.raises(error, match=message):
        LDA().fit(chunked(X, 300), y, **options)


def test_labels_that_are_unknown_and_shrinkage_by_class():
    y = da.arange(N, chunks=300) % 3
    with pytest.raises(ValueError, match="y has labels that are not among the classes, such as "):
        LDA().partial_fit(chunked(X, 300), y, classes=[0, 1])
    with pytest.raises(ValueError, match="shrinkage='auto' does not take labels in a dask array; give a number"):
        LDA(shrinkage="auto").fit(chunked(X, 300), y)


def test_unknown_chunk_sizes_are_found():
    x, y = chunked(X, 350), chunked(Y, 350)
    kept = X[:, 0] > X[:, 0].mean()
    found = CCA(2).fit(x[x[:, 0] > X[:, 0].mean()], y[x[:, 0] > X[:, 0].mean()])
    np.testing.assert_allclose(found.correlations_, CCA(2).fit(X[kept], Y[kept]).correlations_, atol=1e-8)


def test_empty_chunks_are_passed_over():
    x = of_parts([X[:0], X[:700], X[700:700], X[700:]])
    assert DaskRows(x).lengths == (0, 700, 0, 500)
    found = CCA(2, solver="cholesky-qr", random_state=0).fit(x, chunked(Y, 400))
    np.testing.assert_allclose(found.correlations_, CCA(2).fit(X, Y).correlations_, atol=1e-8)
    np.testing.assert_allclose(DataMatrix(x).transform(np.eye(6)).compute(), X - X.mean(axis=0), atol=1e-12)


def test_mixed_dtypes_become_the_one_that_is_announced():
    whole = np.round(8 * X)
    x = of_parts([whole[:100].astype(np.float32), whole[100:300].astype(int), whole[300:]])
    np.testing.assert_allclose(DataMatrix(x).gram(), np.cov(whole.T, bias=True), atol=1e-10)
    single = CCA(2).fit(chunked(X.astype(np.float32), 400), chunked(Y, 400))
    assert single.correlations_.dtype == np.float32


def test_sparse_chunks():
    sparse = [scipy.sparse.csr_array(part * (part > 0)) for part in np.array_split(X, 3)]
    x = da.concatenate(
        [
            da.from_delayed(dask.delayed(part), part.shape, dtype=float, meta=scipy.sparse.csr_array((0, 0)))
            for part in sparse
        ]
    )
    np.testing.assert_allclose(DataMatrix(x).gram(), np.cov((X * (X > 0)).T, bias=True), atol=1e-12)


def test_dataframes():
    pandas = pytest.importorskip("pandas")
    frames = pytest.importorskip("dask.dataframe")
    frame = frames.from_pandas(pandas.DataFrame(X, columns=list("abcdef")), npartitions=5)
    found = CCA(2).fit(frame, chunked(Y, 350))
    np.testing.assert_allclose(found.correlations_, CCA(2).fit(X, Y).correlations_, atol=1e-8)
    with pytest.raises(TypeError, match=r"column 'f' of X must hold real numbers, got .*; choose columns"):
        CCA(1).fit(frame.assign(f="text"), chunked(Y, 350))


def hdf5_in_chunks(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "x.h5", "w") as store:
        store.create_dataset("x", data=X, chunks=(100, 4))
    return da.from_array(h5py.File(folder / "x.h5", "r")["x"], chunks=(300, 4))


def zarr_in_chunks(folder):
    pytest.importorskip("zarr").create_array(store=str(folder / "x.zarr"), data=X, chunks=(350, 4))
    return da.from_zarr(str(folder / "x.zarr"))


def parquet_in_parts(folder):
    pandas, frames = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    for k, part in enumerate(np.split(X, [500])):
        pandas.DataFrame(part, columns=list("abcdef")).to_parquet(folder / f"{k}.parquet")
    return frames.read_parquet(str(folder))


def csv_in_parts(folder):
    pandas, frames = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    pandas.DataFrame(X, columns=list("abcdef")).to_csv(folder / "x.csv", index=False)
    return frames.read_csv(str(folder / "x.csv"), blocksize=40_000)


@pytest.mark.parametrize("place", [hdf5_in_chunks, zarr_in_chunks, parquet_in_parts, csv_in_parts])
def test_files_that_dask_opens(place, tmp_path):
    x = place(tmp_path)
    assert len(DaskRows(x).lengths) > 1
    found = CCA(2, solver="cholesky-qr", random_state=0).fit(x, chunked(Y, 350))
    np.testing.assert_allclose(found.correlations_, CCA(2).fit(X, Y).correlations_, atol=1e-8)


def test_nothing_of_the_size_of_the_data_is_shipped(monkeypatch):
    sizes = []
    whole = DaskPasses.sum

    def measured(self, part, rows=None):
        result = whole(self, part, rows)
        sizes.append(len(cloudpickle.dumps((part, result))))
        return result

    monkeypatch.setattr(DaskPasses, "sum", measured)
    for n in (N, 20 * N):
        x, y = correlated_views(n, 6, 5)
        for solver in SOLVERS:
            CCA(2, solver=solver, random_state=0, max_iter=50).fit(chunked(x, n // 3), chunked(y, n // 3))
    assert max(sizes) < 20_000 < N * 6 * 8


@pytest.mark.parametrize(
    ("n_chunks", "sizes"), [(1, []), (2, [2]), (8, [8]), (9, [1, 2, 8]), (65, [1, 1, 2] + [8] * 8 + [8]), (120, None)]
)
def test_results_are_added_up_in_a_tree(n_chunks, sizes, monkeypatch):
    added, add = [], dask_rows._added
    monkeypatch.setattr(dask_rows, "_added", lambda *parts: added.append(len(parts)) or add(*parts))
    passes = DaskPasses([DaskRows(chunked(X[: 10 * n_chunks], 10))])
    total, count = passes.sum(
        lambda blocks: tuple(map(sum, zip(*((b.views[0].sum(), 1) for b in blocks), strict=True)))
    )
    assert count == n_chunks
    assert total == pytest.approx(X[: 10 * n_chunks].sum())
    assert max(added, default=0) <= 8
    if sizes is not None:
        assert sorted(added) == sorted(sizes)


def test_chunks_are_made_within_the_task_of_their_sums():
    made = []
    load = dask.delayed(lambda name: made.append(name) or np.ones((3, 2)), pure=False)
    twice, left, right, kept = load("twice"), load("left"), load("right"), load("kept")
    calls = [(10, [left, twice + 1, twice + 2, kept]), (20, [right, kept])]  # only both calls need what is kept
    keys = []
    with Callback(pretask=lambda key, *state: keys.append(key)):
        total = sum_over_chunks(
            lambda shared, value, *views: shared + value + sum(view.sum() for view in views),
            100,
            calls,
            lambda *a: sum(a),
        )
    assert total == 230 + 6 * (1 + 2 + 3 + 1 + 1 + 1)
    assert sorted(made) == ["kept", "left", "right", "twice"]
    assert len(keys) == 4  # both sums, what is kept, and the total


# ---------------------------------------------------------------------------------------------------- broken chunks


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("row", [777, 7], ids=["later", "in the sample that rows are shifted by"])
def test_a_row_that_is_not_finite_is_named(row, value):
    x = X.copy()
    x[row, 2] = value
    message = rf"X contains NaN or infinity \(X, chunk {row // 100}, row {row}\); clean or impute it first"
    with pytest.raises(ValueError, match=message):
        CCA(1).fit(chunked(x, 100), chunked(Y, 100))
    with pytest.raises(ValueError, match=message):
        LDA().fit(chunked(x, 100), np.arange(N) % 2)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (X[:100, :4], r"X, chunk 1 has shape \(100, 4\), where \(100, 6\) was announced"),
        (np.full((100, 6), "x", dtype=object), "X, chunk 1 must hold real numbers: could not convert string to float"),
    ],
)
def test_a_chunk_that_differs_is_named(part, message):
    with pytest.raises(ValueError, match=message):
        DataMatrix(of_parts([X[:200], part])).gram()


def test_a_chunk_that_changes_between_passes_is_named():
    lengths = iter([100, 100, 90])  # found, first pass, second pass
    x = da.from_delayed(dask.delayed(lambda: X[: next(lengths)], pure=False)(), (np.nan, 6), dtype=float)
    data = DataMatrix(x)
    data.rows.sample = lambda: [X[:100]]
    data.gram()
    with pytest.raises(ValueError, match=r"X, chunk 0 has shape \(90, 6\), where \(100, 6\) was announced"):
        data.gram()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DaskRows(X), TypeError, "X must be a dask array or dataframe, got ndarray"),
        (lambda: DaskRows(da.zeros((2, 2, 2))), ValueError, r"X must be a matrix .*got shape \(2, 2, 2\)"),
        (
            lambda: DaskRows(da.zeros((2, 2), dtype=complex)),
            TypeError,
            "X must hold real numbers, got dtype complex128",
        ),
        (lambda: DaskRows(da.zeros((0, 2))), ValueError, "X has no rows"),
        (lambda: CCA(1).fit(chunked(X, 100), Y), TypeError, "cannot be read together with a ndarray; make it a dask"),
        (
            lambda: CCA(1).fit(chunked(X, 100), chunked(Y[1:], 100)),
            ValueError,
            "same number of rows, got 1200 and 1199",
        ),
        (lambda: PairedViews(X, chunked(Y, 100)), TypeError, "cannot be read together with a ndarray; make it a dask"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
