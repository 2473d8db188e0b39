"""dask rows on a cluster of two processes: what moves between them, and what happens when one is killed."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

from manifolds import CountSketch  # noqa: E402
from problems import CCA, DataMatrix, PairedViews  # noqa: E402
from tests.problems.views import correlated_views  # noqa: E402

N = 1200
X, Y = correlated_views(N, 6, 5)


def chunked(array, rows):
    return da.from_array(array, chunks=(rows, -1))


@pytest.fixture(scope="module")
def client():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s", "distributed.admin.log-format": ""}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=120)
        yield client


def part_that_kills(marker, first, stop):
    """Rows of the first view; the process that makes the last ones is killed, once, when the marker is there."""
    if stop == N and os.path.exists(marker):
        os.remove(marker)
        os.kill(os.getpid(), signal.SIGKILL)
    return correlated_views(N, 6, 5)[0][first:stop]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_worker_that_is_killed_within_a_pass_changes_nothing(client, tmp_path):
    marker = tmp_path / "kill"
    loads = [(str(marker), first, first + 200) for first in range(0, N, 200)]
    x = da.concatenate([da.from_delayed(dask.delayed(part_that_kills)(*load), (200, 6), dtype=float) for load in loads])
    with dask.config.set(scheduler=client):
        data = PairedViews(x, chunked(Y, 200))
        data.moments  # noqa: B018
        a, b = np.eye(6)[:, :2], np.eye(5)[:, :2]
        marker.touch()
        found = data.products(a, b)
    assert not marker.exists()  # a worker has met it, and died
    for actual, wanted in zip(found, PairedViews(X, Y).products(a, b), strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-12)


@pytest.mark.parametrize("solver", ["direct", "lobpcg"])
def test_a_fit_on_a_cluster_is_that_of_memory(client, solver):
    with dask.config.set(scheduler=client):
        x, y = (client.persist(chunked(view, 300)) for view in (X, Y))
        found = CCA(2, solver=solver, random_state=0).fit(x, y)
        scores = found.transform(x).compute()
    expected = CCA(2, solver=solver, random_state=0).fit(X, Y)
    np.testing.assert_allclose(found.correlations_, expected.correlations_, atol=1e-8)
    np.testing.assert_allclose(scores, expected.transform(X), atol=1e-6)


def moved_bytes(client):
    """What workers have sent to each other so far."""
    return sum(client.run(lambda dask_worker: dask_worker.transfer_outgoing_bytes_total).values())


@pytest.mark.parametrize(
    ("call", "arguments", "numbers"),
    [
        ("products", (np.eye(6)[:, :2], np.eye(5)[:, :2]), 11 * 4 + 4),
        ("sketch", (CountSketch(40),), 40 * 12 + 22),
        ("covariances", (), 36 + 30 + 25 + 22),
    ],
)
def test_workers_send_each_other_sums_and_no_rows(call, arguments, numbers, client):
    def made(width):
        rows = dask.delayed(lambda first: np.sin(first + np.arange(2000.0 * width) ** 2).reshape(2000, width))
        return da.concatenate([da.from_delayed(rows(k), (2000, width), dtype=float) for k in range(30)])

    with dask.config.set(scheduler=client):
        data = PairedViews(made(6), made(5))
        data.moments  # noqa: B018
        before = moved_bytes(client)
        getattr(data, call)(*arguments)
        moved = moved_bytes(client) - before
    most = 30 * (8 * numbers + 2000)  # of each chunk its sums, and some words about them
    assert moved <= most < 2 * 2000 * 11 * 8  # which is less than two chunks of both views


def test_what_is_persisted_is_held(client):
    with dask.config.set(scheduler=client):
        data = DataMatrix(client.persist(chunked(X, 300)))  # nobody else holds it
        np.testing.assert_allclose(data.gram(), np.cov(X.T, bias=True), atol=1e-12)
        scores = data.transform(np.eye(6))
        del data
        np.testing.assert_allclose(scores.compute(), X - X.mean(axis=0), atol=1e-12)


def test_an_error_on_a_worker_is_that_of_the_client(client):
    x = X.copy()
    x[777, 2] = np.inf
    with (
        dask.config.set(scheduler=client),
        pytest.raises(ValueError, match=r"X contains NaN or infinity \(X, chunk 7, row 777\)"),
    ):
        CCA(1).fit(chunked(x, 100), chunked(Y, 100))
