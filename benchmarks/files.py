"""Passes over files of two float32 views of 500 columns: against reading their bytes, against memory, and by dask; and
text and parquet against the libraries that read them.

``--gigabytes`` sets the size of both files together: 20 where the disk has room and time, 4 when left out. Files are
written for the purpose and deleted. Not cached means that the system was told to forget them before each pass.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from problems import PairedViews, open_rows

from ._table import publish

D, P = 500, 5
IN_MEMORY = 2**30
"""Bytes of both views that are also timed in memory."""


def write_views(folder, n, seed=0):
    """Views of n rows that share five latent variables, written in blocks."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((2, P, D)).astype(np.float32)
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, D)}
    with open(folder / "x.npy", "wb") as x, open(folder / "y.npy", "wb") as y:
        for file in (x, y):
            np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, n, 20_000):
            rows = min(20_000, n - first)
            shared = rng.standard_normal((rows, P), dtype=np.float32)
            for file, loadings in zip((x, y), mixing, strict=True):
                (rng.standard_normal((rows, D), dtype=np.float32) + shared @ loadings).tofile(file)
    return [folder / f"{name}.npy" for name in "xy"]


def forget(paths):
    """Ask the system to drop its copies of the files."""
    for path in paths:
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(paths):
    """Read all bytes into one buffer, the files by turns as a pass does."""
    buffer = np.empty(2**23, dtype=np.uint8).data
    streams = [open(path, "rb", buffering=0) for path in paths]  # noqa: SIM115
    left = sum(path.stat().st_size for path in paths)
    while left:
        left -= sum(stream.readinto(buffer) for stream in streams)
    for stream in streams:
        stream.close()


def seconds(call, *arguments):
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def directions():
    rng = np.random.default_rng(1)
    return tuple(rng.standard_normal((D, P)).astype(np.float32) for _ in range(2))


def interleaved(calls, repeats, before=lambda: None):
    """Medians of the seconds of several calls that take turns."""
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            before()
            times[name].append(seconds(call))
    return {name: float(np.median(found)) for name, found in times.items()}


def of_files(paths):
    data = PairedViews(*map(open_rows, paths))
    data.moments  # noqa: B018
    return data


def uncached(paths, repeats):
    data, ab = of_files(paths), directions()
    calls = {"read": lambda: read(paths), "pass": lambda: data.products(*ab)}
    return interleaved(calls, repeats, lambda: forget(paths))


def cached(paths, repeats):
    """A pass over the first rows, from the file, mapped into memory, and from memory."""
    n = min(np.load(paths[0], mmap_mode="r").shape[0], IN_MEMORY // (2 * 4 * D))
    with tempfile.TemporaryDirectory(dir=paths[0].parent) as folder:
        some = [Path(folder) / path.name for path in paths]
        for path, part in zip(paths, some, strict=True):
            np.save(part, np.load(path, mmap_mode="r")[:n])
        ab, calls = directions(), {"read": lambda: read(some)}
        for name, data in {
            "memory": PairedViews(*map(np.load, some)),
            "mapped": PairedViews(*(np.load(path, mmap_mode="r") for path in some)),
            "file": of_files(some),
        }.items():
            data.moments  # noqa: B018
            calls[name] = partial(data.products, *ab)
        interleaved(calls, 1)
        return interleaved(calls, max(repeats, 5)), n


def by_dask(paths, repeats):
    """A pass on a local cluster of two processes with one thread each, and by one process with as many threads."""
    import dask.array
    from distributed import Client, LocalCluster

    shape = np.load(paths[0], mmap_mode="r").shape
    rows = max(1000, min(50_000, shape[0] // 16))
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with cluster, Client(cluster):
        views = [
            dask.array.map_blocks(
                _rows_of, str(path), chunks=(dask.array.core.normalize_chunks((rows, D), shape)), dtype=np.float32,
                meta=np.empty((0, 0), dtype=np.float32),
            )
            for path in paths
        ]  # fmt: skip
        spread, data, ab = PairedViews(*views), of_files(paths), directions()
        spread.moments  # noqa: B018
        calls = {"dask": lambda: spread.products(*ab), "one process": lambda: data.products(*ab)}
        times = interleaved(calls, repeats)
        error = max(
            float(np.abs(left - right).max() / np.abs(right).max())
            for left, right in zip(spread.products(*ab), data.products(*ab), strict=True)
        )
    return times | {"error": error}


def _rows_of(path, block_info=None):
    (first, stop), _ = block_info[None]["array-location"]
    return np.array(np.load(path, mmap_mode="r")[first:stop])


def of_formats(folder, repeats, n=40_000, d=50):
    """Reading a file of each kind in blocks, against the library that reads it in chunks."""
    import pandas
    import pyarrow.parquet

    frame = pandas.DataFrame(np.random.default_rng(0).standard_normal((n, d)), columns=[f"c{j}" for j in range(d)])
    frame.to_csv(folder / "x.csv", index=False)
    frame.to_parquet(folder / "x.parquet", row_group_size=10_000)
    csv, parquet = open_rows(folder / "x.csv"), open_rows(folder / "x.parquet")

    def by_pyarrow():
        with pyarrow.parquet.ParquetFile(folder / "x.parquet") as file:
            exhaust(batch.to_pandas().to_numpy() for batch in file.iter_batches(10_000, use_threads=False))

    calls = {
        "csv": lambda: exhaust(csv.blocks(2000)),
        "pandas": lambda: exhaust(part.to_numpy() for part in pandas.read_csv(folder / "x.csv", chunksize=2000)),
        "loadtxt": lambda: np.loadtxt(folder / "x.csv", delimiter=",", skiprows=1),
        "parquet": lambda: exhaust(parquet.blocks(2000)),
        "pyarrow": by_pyarrow,
    }
    interleaved(calls, 1)
    return interleaved(calls, max(repeats, 5)), n


def exhaust(blocks):
    for _ in blocks:
        pass


def peak(folder):
    """Peak memory of a process that fits, and what it had before it opened the files."""
    script = "import sys; from benchmarks.files import peak_of_passes; print(*peak_of_passes(sys.argv[1]))"
    found = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    return tuple(map(int, found.stdout.split()))


def peak_of_passes(folder):
    """An iterative fit with a sketched preconditioner that stops early, so that it has passes of all kinds but one."""
    from sklearn.exceptions import ConvergenceWarning

    from problems import CCA

    warnings.simplefilter("ignore", ConvergenceWarning)
    CCA(2).fit(*np.random.default_rng(0).standard_normal((2, 500, 20)))  # imports and threads
    before = peak_memory_of_process()
    paths = [Path(folder) / f"{name}.npy" for name in "xy"]
    CCA(P, solver="lobpcg", preconditioner="sketched", max_iter=2, random_state=0).fit(*map(open_rows, paths))
    return before, peak_memory_of_process()


def peak_memory_of_process():
    """Bytes; what the system counts for children would hold the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of both files (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: that of temporary files)")
    parser.add_argument("--no-peak", action="store_true", help="leave out the fits that measure memory")
    options = parser.parse_args()
    place = Path(options.folder or tempfile.gettempdir())
    needed, free = options.gigabytes * 1e9 + 3 * IN_MEMORY, shutil.disk_usage(place).free
    if free < needed:
        print(f"files is left out: {needed / 1e9:.0f} GB are needed in {place}, where {free / 1e9:.0f} GB are free")
        return
    with tempfile.TemporaryDirectory(dir=place) as name:
        n = int(options.gigabytes * 1e9 / (2 * 4 * D))
        paths = write_views(Path(name), n)
        rows = []
        cold = uncached(paths, options.repeats)
        rows.append(_row("pass, not cached", "reading the bytes, not cached", n, cold["pass"], cold["read"]))
        print(rows[-1], flush=True)
        warm, some = cached(paths, options.repeats)
        rows.append(_row("pass, cached", "pass in memory", some, warm["file"], warm["memory"]))
        rows.append(_row("pass over mapped arrays, cached", "pass in memory", some, warm["mapped"], warm["memory"]))
        rows.append(_row("pass, cached", "reading the bytes, cached", some, warm["file"], warm["read"]))
        print(rows[-2], rows[-1], flush=True)
        spread = by_dask(paths, options.repeats)
        rows.append(
            _row("pass by dask, two processes", "pass by one process", n, spread["dask"], spread["one process"])
        )
        print(rows[-1], flush=True)
        formats, some = of_formats(Path(name), options.repeats)
        rows += [
            _row(f"{ours}, 50 columns", f"by {other}", some, formats[kind], formats[library])
            for ours, kind, other, library in (
                ("csv", "csv", "pandas in chunks", "pandas"),
                ("csv", "csv", "numpy.loadtxt", "loadtxt"),
                ("parquet", "parquet", "pyarrow and pandas in chunks", "pyarrow"),
            )
        ]
        print(*rows[-3:], sep="\n", flush=True)
        before, peaked = (None, None) if options.no_peak else peak(Path(name))
    publish(
        "files",
        f"Passes over two views of {D} columns, float32, {options.gigabytes:g} GB in all",
        rows,
        page=True,
        relative_difference_of_dask=spread["error"],
        peak_memory_bytes=peaked,
        memory_of_imports_bytes=before,
    )
    if peaked is not None:
        print(f"peak memory of an iterative fit {peaked / 1e9:.2f} GB, {before / 1e9:.2f} GB before them")


def _row(ours, other, n, time_of_ours, time_of_other):
    return {
        "what": ours,
        "against": other,
        "rows": n,
        "seconds": time_of_ours,
        "seconds of the other": time_of_other,
        "ratio": time_of_ours / time_of_other,
    }


if __name__ == "__main__":
    main()
