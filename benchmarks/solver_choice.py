"""The automatic choice of a solver against all solvers, over sizes, shapes and sparsity, for CCA and LDA.

Each solver that could be chosen runs on the same data with one thread; times are processor seconds, the least of a few
runs where they are short. A ratio is the time of the solver that the choice names to that of the fastest one. A solver
is cut off at some estimated multiple of the fastest, so that a whole sweep takes minutes.
"""

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from threadpoolctl import threadpool_limits

from problems import CCA, LDA
from problems.cca_choice import Sizes, choose_solver, estimated_costs
from problems.lda_solvers import choose_solver as choose_lda_solver

from ._table import publish

RIDGE = 1e-3
LONGEST = 6.0
"""Estimated cost, in that of the cheapest solver, beyond which one is not run."""


@dataclass(frozen=True)
class Views:
    n: int
    dx: int
    dy: int
    p: int
    density: float = 1.0

    def __str__(self):
        stored = "" if self.density == 1 else f", {self.density:.2%} stored"
        return f"{self.n:,} x {self.dx:,} + {self.dy:,}, {self.p} pairs{stored}"


@dataclass(frozen=True)
class Rows:
    n: int
    d: int
    classes: int
    density: float = 1.0

    def __str__(self):
        stored = "" if self.density == 1 else f", {self.density:.2%} stored"
        return f"{self.n:,} x {self.d:,}, {self.classes} classes{stored}"


CCA_SIZES = [
    Views(500, 20, 20, 2), Views(500, 200, 200, 5), Views(500, 1000, 1000, 2), Views(2000, 500, 50, 2),
    Views(1560, 308, 309, 5), Views(5000, 20, 20, 5), Views(5000, 1000, 1000, 5), Views(20_000, 100, 100, 5),
    Views(20_000, 400, 400, 20), Views(20_000, 1500, 1500, 5), Views(20_000, 3000, 10, 2), Views(20_000, 3000, 100, 5),
    Views(100_000, 20, 20, 2), Views(100_000, 200, 200, 5), Views(100_000, 1000, 20, 5), Views(50_000, 2000, 5, 2),
    Views(10_000, 2500, 2500, 5),
    Views(20_000, 1000, 1000, 5, 0.002), Views(20_000, 1000, 1000, 5, 0.03), Views(10_000, 3000, 3000, 5, 0.005),
    Views(100_000, 500, 500, 5, 0.02), Views(20_000, 3000, 10, 2, 0.01), Views(50_000, 2000, 2000, 10, 0.002),
]  # fmt: skip

LDA_SIZES = [
    Rows(500, 20, 3), Rows(1560, 617, 26), Rows(5000, 100, 10), Rows(20_000, 784, 10), Rows(20_000, 2000, 2),
    Rows(50_000, 1000, 2), Rows(100_000, 100, 10), Rows(10_000, 3000, 2), Rows(500, 2000, 5),
    Rows(5000, 2000, 10, 0.01), Rows(20_000, 3000, 5, 0.005), Rows(2000, 12_000, 5, 0.002), Rows(4000, 6000, 20, 0.003),
    Rows(20_000, 1000, 5, 0.03), Rows(1000, 5000, 3, 0.02),
]  # fmt: skip


def mixed(rows, rng):
    """Columns of falling size, mixed by a few reflections."""
    d = rows.shape[1]
    rows *= np.geomspace(1.0, 0.05, d)
    for _ in range(3):
        v = rng.standard_normal(d)
        v *= 2**0.5 / np.linalg.norm(v)
        rows -= np.outer(rows @ v, v)
    return rows


def counts(n, d, density, topics, rng):
    """Sparse rows of ones, half of them in the columns of the row's topic."""
    k = max(2, round(density * d))
    block = max(1, d // (topics.max() + 1))
    columns = rng.integers(0, d, (n, k))
    columns[:, : k // 2] = topics[:, None] * block + rng.integers(0, block, (n, k // 2))
    return scipy.sparse.csr_array((np.ones(n * k), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, d))


def views(size):
    rng = np.random.default_rng(0)
    if size.density < 1:
        topics = rng.integers(0, 10, size.n)
        return [counts(size.n, d, size.density, topics % min(10, d), rng) for d in (size.dx, size.dy)]
    shared = rng.standard_normal((size.n, size.p))
    found = []
    for d in (size.dx, size.dy):
        own = rng.standard_normal((size.n, d))
        m = min(size.p, d)
        own[:, :m] = 0.95 * shared[:, :m] + 0.3 * own[:, :m] * np.linspace(1.0, 2.0, m)
        found.append(mixed(own, rng))
    return found


def rows(size):
    rng = np.random.default_rng(0)
    y = rng.integers(0, size.classes, size.n)
    if size.density < 1:
        return counts(size.n, size.d, size.density, y, rng), y
    return mixed(rng.standard_normal((size.n, size.d)) + rng.standard_normal((size.classes, size.d))[y], rng), y


def seconds(fit):
    best, spent = float("inf"), 0.0
    while spent < 0.3:
        began = time.process_time()
        fitted = fit()
        took = time.process_time() - began
        best, spent = min(best, took), spent + took
    return best, fitted


def cca_row(size):
    data = views(size)
    sizes = Sizes(size.n, size.dx, size.dy, size.p, (size.density, size.density), ridge=True)
    costs = estimated_costs(sizes)
    longest = LONGEST * min(costs.values())

    def fit(solver):
        return lambda: CCA(size.p, solver=solver, reg=RIDGE, random_state=0).fit(*data)

    found = {solver: seconds(fit(solver)) for solver, cost in costs.items() if cost <= longest}
    values = [cca.correlations_ for _, cca in found.values()]
    return row("CCA", size, choose_solver(sizes), found, max(np.ptp(values, axis=0)))


def lda_row(size):
    x, y = rows(size)
    sparse = size.density < 1
    solvers = ["block-pcg"]
    solvers += ["direct"] if size.d <= 6000 else []
    solvers += ["dual"] if sparse and size.n <= 5000 else ["cholesky-qr"] if not sparse else []

    def fit(solver):
        return lambda: LDA(solver=solver, reg=RIDGE, random_state=0).fit(x, y)

    found = {solver: seconds(fit(solver)) for solver in solvers}
    values = [lda.eigenvalues_ / lda.eigenvalues_[0] for _, lda in found.values()]
    chosen = choose_lda_solver(size.n, size.d, size.classes, density=size.density if sparse else None, ridge=True)
    return row("LDA", size, chosen, found, max(np.ptp(values, axis=0)))


def row(problem, size, chosen, found, difference):
    fastest = min(found, key=lambda solver: found[solver][0])
    others = ", ".join(
        f"{solver} {time:.3g} s ({fitted.n_passes_})"
        for solver, (time, fitted) in sorted(found.items(), key=lambda item: item[1][0])
    )
    return {
        "problem": problem,
        "size": str(size),
        "solvers, processor seconds (passes)": others,
        "chosen": chosen,
        "its time to the fastest": found[chosen][0] / found[fastest][0],
        "largest difference of results": float(difference),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["cca", "lda"])
    parser.add_argument("--tiny", action="store_true", help="only sizes that take no time, for a test of the benchmark")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    table = []
    with threadpool_limits(1):
        for name, sizes, measure in (("cca", CCA_SIZES, cca_row), ("lda", LDA_SIZES, lda_row)):
            for size in sizes:
                if arguments.only in (None, name) and not (arguments.tiny and size.n > 2000):
                    table.append(measure(size))
                    print(table[-1], flush=True)
    worst = max(table, key=lambda line: line["its time to the fastest"])
    title = f"The solver chosen, at most {worst['its time to the fastest']:.2f} times as slow as the fastest"
    publish("solver_choice", title, table, page=arguments.only is None and not arguments.tiny)


if __name__ == "__main__":
    main()
