"""Canonical correlation analysis: ours against scikit-learn, cca-zoo, scipy and a hand-written solver, in one run.

In a round every solver runs once, in an order drawn anew; times are medians, ratios medians of the ratios to the
hand-written solver within a round. Memory is the peak of what numpy allocates beyond the data, in a run of its own.
Errors are those of the leading five correlations, as the found directions give them, against a dense double-precision
solution with the ridge of the case. Data that are not there are left out. Solvers that take minutes run in one round.
"""

import argparse
import gzip
import random
import statistics
import time
import tracemalloc
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.linalg
import scipy.sparse.linalg
from cca_zoo.linear import RidgeCCA
from sklearn import cross_decomposition
from sklearn.datasets import load_svmlight_file

from manifolds import CountSketch, SketchedGramPreconditioner
from problems import CCA, PairedViews

from ._data import DATA, data_bytes
from ._table import publish

P = 5
RATIO = "to the hand-written one (sparse: to direct)"
REFERENCE = "hand-written Gram, Cholesky, SVD"


@dataclass
class Case:
    """Two views and the ridge on their covariances."""

    name: str
    x: Any
    y: Any
    ridge: float

    @cached_property
    def single(self):
        return self.x.astype(np.float32), self.y.astype(np.float32)

    @cached_property
    def covariances(self):
        if isinstance(self.x, np.ndarray):
            return plain_covariances(self.x, self.y, self.ridge)
        return PairedViews(self.x, self.y, reg=self.ridge).covariances()

    @cached_property
    def correlations(self):
        return dense_pairs(*self.covariances)[0]

    def error(self, u, v):
        """Largest error of the correlations that directions have."""
        xx, xy, yy = self.covariances
        u, v = np.asarray(u, dtype=float), np.asarray(v, dtype=float)
        sizes = np.sqrt(np.sum(u * (xx @ u), axis=0) * np.sum(v * (yy @ v), axis=0))
        return float(np.abs(np.abs(np.sum(u * (xy @ v), axis=0)) / sizes - self.correlations).max())


def mnist(folder):
    with gzip.open(folder / "mnist" / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28) / 255.0
    halves = images[:, :, :14], images[:, :, 14:]
    return Case("MNIST halves, 60,000 x 392 + 392", *(half.reshape(len(half), -1).copy() for half in halves), 1e-3)


def isolet(folder):
    with open(folder / "lda" / "Isolet.mat", "rb") as stream:
        x = np.ascontiguousarray(scipy.io.loadmat(stream)["X"])
    return Case("Isolet halves, 1,560 x 308 + 309", x[:, :308].copy(), x[:, 308:].copy(), 1e-3)


def synthetic(n, d):
    """Views with five correlations above the others, mixed by random matrices."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n, P))
    views = []
    for _ in range(2):
        own = rng.standard_normal((n, d))
        own[:, :P] = np.sqrt(0.9) * shared + np.sqrt(0.1) * own[:, :P] * np.linspace(1.0, 2.0, P)
        own[:, P:] *= np.geomspace(1.0, 0.05, d - P)
        views.append(own @ (rng.standard_normal((d, d)) / d**0.5))
    return Case(f"synthetic, {n:,} x {d:,} + {d:,}", *views, 1e-4)


def sector(folder):
    x = load_svmlight_file(str(folder / "libsvm" / "sector.scale.bz2"))[0].tocsc()
    # The most frequent words alone: the dense peers and the oracle could not hold the covariances of all.
    frequent = np.sort(np.argsort(-np.diff(x.indptr), kind="stable")[:6000])
    x = x[:, frequent]
    return Case("sector halves, 6,412 x 3,000 + 3,000, sparse", x[:, ::2].tocsr(), x[:, 1::2].tocsr(), 1e-4)


CASES = {
    "isolet": isolet,
    "mnist": mnist,
    "tall": lambda folder: synthetic(200_000, 400),
    "wide": lambda folder: synthetic(30_000, 6000),
    "sector": sector,
}


PAGE = ["isolet", "mnist", "tall", "sector"]
"""Cases of the documentation; the wide one takes minutes a run and is left to ``--only``."""


def plain_covariances(x, y, ridge):
    n, mx, my = len(x), x.mean(axis=0), y.mean(axis=0)
    xx = x.T @ x / n - np.outer(mx, mx) + ridge * np.eye(x.shape[1], dtype=x.dtype)
    yy = y.T @ y / n - np.outer(my, my) + ridge * np.eye(y.shape[1], dtype=y.dtype)
    return xx, x.T @ y / n - np.outer(mx, my), yy


def dense_pairs(xx, xy, yy):
    rx, ry = scipy.linalg.cholesky(xx), scipy.linalg.cholesky(yy)
    inner = scipy.linalg.solve_triangular(rx, xy, trans=1)
    inner = scipy.linalg.solve_triangular(ry, inner.T, trans=1).T
    left, values, right = np.linalg.svd(inner, full_matrices=False)
    return values[:P], scipy.linalg.solve_triangular(rx, left[:, :P]), scipy.linalg.solve_triangular(ry, right[:P].T)


def hand_written(case):
    """What a user would write with numpy and scipy."""
    _, u, v = dense_pairs(*plain_covariances(case.x, case.y, case.ridge))
    return u, v, 1, None


def scikit_learn(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cca = cross_decomposition.CCA(P, scale=False).fit(case.x, case.y)
    return cca.x_rotations_, cca.y_rotations_, None, None


def cca_zoo(case, *, shrinkage):
    model = RidgeCCA(P, shrinkage=shrinkage).fit([case.x, case.y])
    return *model.weights_, None, None


def scipy_lobpcg(case):
    """scipy's LOBPCG on the joint pencil, with a sketched preconditioner."""
    data = PairedViews(case.x, case.y, reg=case.ridge)
    dx, dy = data.n_features
    metrics = [
        SketchedGramPreconditioner(part, case.ridge) for part in data.sketch(CountSketch(4 * max(dx, dy), seed=0))
    ]

    def operator(product):
        def on_matrix(z):
            z = z.reshape(dx + dy, -1)
            return np.vstack(product(z[:dx], z[dx:]))

        return scipy.sparse.linalg.LinearOperator((dx + dy,) * 2, matvec=on_matrix, matmat=on_matrix, dtype=float)

    def cross(a, b):
        products = data.products(a, b)
        return products.xy, products.yx

    def within(a, b):
        products = data.products(a, b)
        return products.xx, products.yy

    start = np.random.default_rng(0).standard_normal((dx + dy, P))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = scipy.sparse.linalg.lobpcg(
            operator(cross), start, operator(within), operator(lambda a, b: (metrics[0].solve(a), metrics[1].solve(b))),
            tol=1e-5, maxiter=200,
        )[1]  # fmt: skip
    return vectors[:dx], vectors[dx:], data.n_passes, None


def ours(case, *, single=False, **options):
    x, y = case.single if single else (case.x, case.y)
    cca = CCA(P, reg=case.ridge, random_state=0, **options).fit(x, y)
    automatic = options.get("solver", "auto") == "auto"
    return cca.x_weights_, cca.y_weights_, cca.n_passes_, cca.solver_ if automatic else None


def solvers(name):
    """Functions of a case by label, and the labels of those that run in one round."""
    found = {
        "rankopt, auto": ours,
        "rankopt, auto, float32": lambda case: ours(case, single=True),
    } | {
        f"rankopt, {solver}": lambda case, solver=solver: ours(case, solver=solver)
        for solver in ("direct", "cholesky-qr", "lobpcg", "riemannian")
        if not (name == "wide" and solver in ("cholesky-qr", "riemannian"))
    }
    if name == "sector":
        return found, set()
    found[REFERENCE] = hand_written
    if name == "wide":
        return found, set(found)
    found |= {
        "scipy lobpcg": scipy_lobpcg,
        "cca-zoo RidgeCCA": lambda case: cca_zoo(case, shrinkage=case.ridge / (1 + case.ridge)),
        "scikit-learn CCA, no ridge": scikit_learn,
    }
    return found, {"scipy lobpcg", "scikit-learn CCA, no ridge"}


def timed(function, case):
    began, busy = time.perf_counter(), time.process_time()
    found = function(case)
    return time.perf_counter() - began, time.process_time() - busy, found


def peak_bytes(function, case):
    tracemalloc.start()
    try:
        function(case)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _ratio(times, reference, once):
    """Median of the ratios within a round; a solver that runs once is compared with the reference's median."""
    if once:
        return times[0] / statistics.median(reference)
    return statistics.median(a / b for a, b in zip(times, reference, strict=True))


def measure(name, case, rounds, order):
    functions, slow = solvers(name)
    times, processor = ({label: [] for label in functions} for _ in range(2))
    found = {}
    _ = case.single  # converted here, not in the time of the first that asks
    for turn in range(rounds):
        for label in order.sample(list(functions), len(functions)):
            if turn == 0 or label not in slow:
                seconds, busy, found[label] = timed(functions[label], case)
                times[label].append(seconds)
                processor[label].append(busy)
                print(f"  {case.name}: {label}: {times[label][-1]:.2f} s", flush=True)
    reference = times.get(REFERENCE, times["rankopt, direct"])
    rows = []
    for label, function in functions.items():
        once = label in slow
        u, v, passes, solver = found[label]
        size = data_bytes(case.x) + data_bytes(case.y)
        rows.append({
            "data": case.name,
            "ridge": case.ridge,
            "solver": f"{label} ({solver})" if solver else label,
            "seconds": statistics.median(times[label]),
            "processor s": statistics.median(processor[label]),
            RATIO: _ratio(times[label], reference, once),
            "passes": passes,
            "peak memory to data": None if once else peak_bytes(function, case) / size,
            "error": None if "no ridge" in label else case.error(u, v),
        })  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(CASES), nargs="*", default=PAGE, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    order, rows, done = random.Random(0), [], []
    for name in arguments.only:
        try:
            case = CASES[name](arguments.data)
        except FileNotFoundError as error:
            print(f"left out: {error}")
            continue
        done.append(name)
        rows += measure(name, case, arguments.rounds, order)
    page = ["data", "ridge", "solver", "seconds", "processor s", RATIO, "passes", "peak memory to data", "error"]
    title = f"Five canonical pairs, medians of {arguments.rounds} rounds"
    publish("cca", title, rows, page=page if set(PAGE) == set(done) else False)


if __name__ == "__main__":
    main()
