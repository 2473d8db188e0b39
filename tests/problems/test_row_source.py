"""Sources of rows: how often and in which order they are read, what of them is in memory, and what they must keep."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from problems import (
    CCA,
    DataMatrix,
    JoinedRows,
    LabelledData,
    PairedViews,
    RowSource,
    SlicedRows,
    column_rows,
    open_rows,
    row_passes,
)
from problems.row_source import read_ahead, regrouped
from tests.problems.files import RNG, D, N, X, dense, write_npy
from tests.problems.views import correlated_views


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


def test_pilots_of_classes_are_read_no_further_than_it_takes():
    x, codes = RNG.standard_normal((1000, 4)), np.repeat([0, 1, 0], [20, 30, 950])
    source = Counted(x, sizes=(64,))
    data = LabelledData(source, codes, 2, block_rows=64)
    assert source.reads.sum() <= 4 * 64  # the first block, and what is read ahead
    assert data.n_passes == 0
    source = Counted(x, sizes=(64,))
    data = LabelledData(source, codes[::-1].copy(), 2, block_rows=64)
    assert source.reads[:1000].tolist() == [1] * 1000  # the second class is met at the end
    assert data.n_passes == 1
    np.testing.assert_allclose(data.means, [x[codes[::-1] == k].mean(axis=0) for k in (0, 1)], atol=1e-13)


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


@pytest.fixture
def files_in_parts(tmp_path):
    """Rows of X by rows, by columns and in another precision, joined."""
    np.save(tmp_path / "x0.npy", X[:250])
    np.save(tmp_path / "x1.npy", np.asfortranarray(X[250:260]))
    np.save(tmp_path / "x2.npy", X[260:].astype(">f4"))  # X has few digits
    return JoinedRows([open_rows(tmp_path / f"x{k}.npy") for k in range(3)])


@pytest.mark.parametrize(("first", "stop"), [(0, N), (3, 4), (100, 255), (250, 260), (255, 700), (699, 700)])
@pytest.mark.parametrize("rows", [1, 64, 1000])
def test_stretches_are_the_rows_between(files_in_parts, first, stop, rows):
    for source in (files_in_parts, files_in_parts.cast(np.dtype("float32"))):
        blocks = list(source.stretch(first, stop, rows))
        assert {block.dtype for block in blocks} == {source.dtype}
        assert max(map(len, blocks)) <= rows
        np.testing.assert_array_equal(dense(blocks), X[first:stop])


def test_threads_read_stretches_of_sections(files_in_parts, monkeypatch):
    monkeypatch.setattr(row_passes, "_SECTION_BYTES", 100 * 8 * (D + 2))
    asked, stretch = [], JoinedRows.stretch
    monkeypatch.setattr(JoinedRows, "stretch", lambda self, *range_: asked.append(range_) or stretch(self, *range_))
    a, b, y = RNG.standard_normal((D, 3)), RNG.standard_normal((2, 3)), RNG.standard_normal((N, 2))
    data = PairedViews(files_in_parts, y, block_rows=30)  # a file beside an array
    data.rows.reduction.n_threads = 2
    data.moments  # noqa: B018
    asked.clear()
    products = data.products(a, b)
    x, y = X - X.mean(axis=0), y - y.mean(axis=0)
    for found, expected in zip(products, (x.T @ x @ a, x.T @ y @ b, y.T @ y @ b, y.T @ x @ a), strict=True):
        np.testing.assert_allclose(found, expected / N, atol=1e-12)
    bounds = [*range(0, N, 100), 650, N]  # of two stretches in each section; the last section is shorter
    assert sorted(asked) == [(low, high, 30) for low, high in zip(sorted(bounds)[:-1], sorted(bounds)[1:], strict=True)]


class Chunked:
    """Array of chunks of rows that notes which rows are asked for."""

    def __init__(self, array, rows):
        self.array, self.shape, self.dtype, self.chunks, self.asked = array, array.shape, array.dtype, (rows, 2), []

    def __getitem__(self, rows):
        self.asked.append((rows.start, rows.stop))
        return self.array[rows]


@pytest.mark.parametrize(("rows", "step"), [(1, 90), (40, 90), (90, 90), (100, 90), (200, 180), (5000, 4950)])
def test_chunks_on_disk_are_unpacked_once(rows, step):
    array = Chunked(X, 90)
    blocks = list(SlicedRows(array).blocks(rows))
    np.testing.assert_array_equal(dense(blocks), X)
    assert max(map(len, blocks)) <= rows
    assert array.asked == [(first, min(first + step, N)) for first in range(0, N, step)]


def test_chunks_that_are_huge_are_not_held(monkeypatch):
    monkeypatch.setattr(column_rows, "_CHUNK_BYTES", 90 * 8 * D - 1)
    array = Chunked(X, 90)
    list(SlicedRows(array).blocks(40))
    assert array.asked[:3] == [(0, 40), (40, 80), (80, 120)]


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


def test_the_next_block_is_read_while_one_is_at_work():
    made = []

    def blocks():
        for k in range(4):
            made.append(k)
            yield k

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
