"""Bytes that a pass over dask rows makes and moves, on a local cluster of two workers, beside what formulas say.

Chunks are made where they are used. What a chunk gives is measured by the workers' own count of the bytes of results,
what moves by their count of the bytes they send to each other, memory by the system's peak for the process.
"""

import argparse

import numpy as np

from manifolds import CountSketch
from problems import PairedViews
from problems.chunk_tasks import _FAN_IN

from ._table import publish
from .files import interleaved

WORKERS = 2
P = 10


class Results:
    """Worker plugin that notes the sizes of what chunks give."""

    name = "results"

    def setup(self, worker):
        self.worker, self.sizes = worker, []

    def transition(self, key, start, finish, **more):
        if finish == "memory" and str(key).startswith("('chunk-sums"):
            self.sizes.append(self.worker.state.tasks[key].nbytes)


def views(chunks, rows, d, dtype):
    """Two dask arrays whose chunks are made on the workers."""
    import dask.array as da

    def make(block_info=None):
        number = block_info[None]["chunk-location"][0]
        return np.random.default_rng(number).standard_normal((rows, d), dtype=dtype)

    sizes = ((rows,) * chunks, (d,))
    return [da.map_blocks(make, chunks=sizes, dtype=dtype, meta=np.empty((0, 0), dtype=dtype)) for _ in range(2)]


def sent_and_largest(client):
    """Bytes that workers have sent to each other so far, and the sizes of results since the last call."""

    def ask(dask_worker):
        sizes = dask_worker.plugins["results"].sizes
        found = dask_worker.transfer_outgoing_bytes_total, max(sizes, default=0)
        sizes.clear()
        return found

    found = client.run(ask).values()
    return sum(sent for sent, _ in found), max(largest for _, largest in found)


def forget_peak(dask_worker):
    with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
        stream.write("5")


def peak(dask_worker):
    """Peak of the memory of the process, in bytes."""
    with open("/proc/self/status", encoding="ascii") as stream:
        return 1024 * int(stream.read().split("VmHWM:")[1].split()[0])


def numbers_of(kind, d, size):
    """Bytes of what a chunk gives, by the formula."""
    moments = 8 * 4 * d
    return {
        "products": 8 * (2 * P * 2 * d + 2 * P),
        "sketch": 4 * size * (2 * d + 1) + moments,
        "covariances": 8 * 3 * d * d + moments,
    }[kind]


def measured(client, kind, d, chunks, rows):
    size, rng = 4 * d, np.random.default_rng(0)
    data = PairedViews(*views(chunks, rows, d, np.float32))
    directions = [rng.standard_normal((d, P)).astype(np.float32) for _ in range(2)]
    call = {
        "products": lambda: data.products(*directions),
        "sketch": lambda: data.sketch(CountSketch(size)),
        "covariances": data.covariances,
    }[kind]
    data.moments  # noqa: B018
    client.run(forget_peak)
    before = max(client.run(peak).values())
    sent, _ = sent_and_largest(client)
    call()
    sent_after, largest = sent_and_largest(client)
    formula, shipped = numbers_of(kind, d, size), 4 * 2 * d * P if kind == "products" else 0
    # Each result can be sent to where it is added, and so can each sum on the way to the root of the tree.
    added = sum(-(-chunks // _FAN_IN**k) for k in range(1, 12) if chunks > _FAN_IN ** (k - 1))
    return {
        "pass": kind,
        "columns": f"2 x {d}",
        "chunks": chunks,
        "chunk of both views": 4 * 2 * d * rows,
        "its sums, formula": formula,
        "its sums": largest,
        "sent between workers, at most": (chunks + added) * formula + (WORKERS - 1) * shipped,
        "sent between workers": sent_after - sent,
        "memory of a worker": max(client.run(peak).values()) - before,
    }


def seconds_per_chunk(chunks=1000, repeats=3):
    """What a chunk costs beside its arithmetic, in a pass over tiny ones, and what a task costs that does nothing."""
    import dask
    import dask.array

    data = PairedViews(*[dask.array.ones((2 * chunks, 4), chunks=(2, 4), dtype=np.float32) for _ in range(2)])
    directions = [np.ones((4, 1), dtype=np.float32)] * 2
    data.moments  # noqa: B018
    nothing = dask.delayed(lambda *values: None, pure=False)
    calls = {"chunk": lambda: data.products(*directions), "task": nothing(*(nothing() for _ in range(chunks))).compute}
    return {name: seconds / chunks for name, seconds in interleaved(calls, repeats).items()}


def main():
    from distributed import Client, LocalCluster, WorkerPlugin

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=24)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of a chunk (default: %(default)s)")
    options = parser.parse_args()
    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with cluster, Client(cluster) as client:
        client.register_plugin(type("ResultsPlugin", (Results, WorkerPlugin), {})())
        rows = [
            measured(client, kind, d, options.chunks, options.rows)
            for d in (100, 500)
            for kind in ("products", "sketch", "covariances")
        ]
        seconds = seconds_per_chunk()
    publish(
        "cluster_bytes",
        f"Bytes of a pass on {WORKERS} workers, float32, {P} directions, sketches of four rows per column",
        rows,
        page=True,
        seconds_per_chunk=seconds["chunk"],
        seconds_per_task=seconds["task"],
    )
    print("milliseconds beside arithmetic:", ", ".join(f"{1000 * t:.2f} per {name}" for name, t in seconds.items()))


if __name__ == "__main__":
    main()
