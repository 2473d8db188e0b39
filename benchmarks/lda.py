"""Linear discriminant analysis: ours against scikit-learn and scipy, in one run.

Pixels of MNIST, spoken letters (Isolet) and the sparse sector data of LIBSVM. In a round every solver runs once, in an
order drawn anew, those that iterate over the data in the first round only; times are medians, ratios medians of the
ratios within a round; processor seconds, of all cores, show what a busy machine hides. Memory is the peak of what numpy
allocates beyond the data, in a run of its own. Errors are those of the explained variance ratios against an oracle in
double precision that squares nothing: a QR factorisation of the centred rows, with the ridge below them. Data that are
not there are left out.
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
from sklearn.datasets import load_svmlight_file
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from manifolds import SketchedGramPreconditioner, SparseSignSketch
from problems import LDA, LabelledData

from ._data import DATA, data_bytes
from ._table import publish

RIDGE, SHRINKAGE = 1e-4, 1e-3
SECTOR_RIDGE = 1e-4
ONCE = ("block-pcg", "diagonal", "lobpcg", "riemannian", "lobpcg, ridge")
"""Ends of the names of solvers that run in the first round only."""


@dataclass
class Case:
    """Rows, labels, and the ridge of the runs with one."""

    name: str
    x: Any
    y: np.ndarray
    ridge: float

    @cached_property
    def single(self):
        return self.x.astype(np.float32)


def mnist(folder):
    def read(name, offset):
        with gzip.open(folder / "mnist" / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    x = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 784) / 255.0
    return Case("MNIST 60,000 x 784, 10 classes", x, read("train-labels-idx1-ubyte.gz", 8), RIDGE)


def isolet(folder):
    with open(folder / "lda" / "Isolet.mat", "rb") as stream:
        file = scipy.io.loadmat(stream)
    return Case("Isolet 1,560 x 617, 26 classes", np.ascontiguousarray(file["X"]), file["Y"].ravel(), RIDGE)


def sector(folder):
    x, y = load_svmlight_file(str(folder / "libsvm" / "sector.scale.bz2"))
    return Case("sector 6,412 x 55,197 sparse, 105 classes", x, y, SECTOR_RIDGE)


def between(x, y):
    """Class means as rows, centred and scaled so that their Gram matrix is the between-class covariance."""
    classes, codes = np.unique(y, return_inverse=True)
    shares = np.bincount(codes) / len(y)
    means = np.array([np.asarray(x[codes == k].mean(axis=0)).ravel() for k in range(len(classes))])
    return means, codes, (means - shares @ means) * np.sqrt(shares)[:, None]


def rows_oracle(x, y, ridge):
    """Eigenvalues by the singular values of the whitened class means, with a QR factorisation of the centred rows."""
    means, codes, f = between(x, y)
    rows = (x - means[codes]) / len(y) ** 0.5
    if ridge:
        rows = np.vstack([rows, ridge**0.5 * np.eye(x.shape[1])])
    scale = np.linalg.norm(rows, axis=0)
    kept = scale > 0
    _, values, vt = np.linalg.svd(np.linalg.qr(rows[:, kept] / scale[kept], mode="r"))
    clear = values > 1e-10 * values[0]
    white = (f[:, kept] / scale[kept]) @ vt[clear].T / values[clear]
    return np.linalg.svd(white, compute_uv=False)[: len(means) - 1] ** 2


def dual_oracle(x, y, ridge):
    """The same for wide sparse rows, by the identity for (Xc^T Xc + n ridge I)^{-1} with a matrix of order n."""
    means, codes, f = between(x, y)
    n = len(y)
    cross = x @ means.T
    gram = (x @ x.T).toarray() - cross[:, codes] - cross[:, codes].T + (means @ means.T)[codes][:, codes]
    gram[np.diag_indices(n)] += n * ridge
    seen = x @ f.T - (means @ f.T)[codes]
    solved = scipy.linalg.cho_solve(scipy.linalg.cho_factor(gram, overwrite_a=True), seen)
    return np.linalg.eigvalsh((f @ f.T - seen.T @ solved) / ridge)[::-1][: len(means) - 1]


def shrunken_oracle(x, y, shrinkage):
    """All eigenvalues of scikit-learn's shrunken pencil, from dense matrices."""
    means, codes, f = between(x, y)
    d, rows = x.shape[1], x - means[codes]
    within = rows.T @ rows / len(y)
    total = within + f.T @ f
    within, total = ((1 - shrinkage) * s + shrinkage * np.trace(s) / d * np.eye(d) for s in (within, total))
    return scipy.linalg.eigh(total - within, within, eigvals_only=True)[::-1]


def scipy_eigh(case):
    """The pencil formed and solved by scipy, as a user would write it."""
    means, codes, f = between(case.x, case.y)
    counts = np.bincount(codes)
    within = (case.x.T @ case.x - (means.T * counts) @ means) / len(case.y) + case.ridge * np.eye(case.x.shape[1])
    d, classes = within.shape[0], len(means)
    return ratios(scipy.linalg.eigh(f.T @ f, within, subset_by_index=(d - classes + 1, d - 1))[0][::-1]), None, None


def scipy_lobpcg(case):
    """scipy's LOBPCG with products by passes over the data and a sketched preconditioner."""
    _, codes, f = between(case.x, case.y)
    data, d = LabelledData(case.x, codes, len(f)), case.x.shape[1]
    metric = SketchedGramPreconditioner(data.sketch(SparseSignSketch(4 * d, 0)), case.ridge)

    def operator(product):
        def on_matrix(v):
            return product(v.reshape(d, -1))

        return scipy.sparse.linalg.LinearOperator((d, d), matvec=on_matrix, matmat=on_matrix, dtype=float)

    start = np.random.default_rng(0).standard_normal((d, len(f) - 1))
    within = operator(lambda v: data.product(v) + case.ridge * v)
    values = scipy.sparse.linalg.lobpcg(
        operator(lambda v: f.T @ (f @ v)), start, within, operator(metric.solve), tol=1e-5, maxiter=200
    )[0]
    return ratios(np.sort(values)[::-1]), data.n_passes, None


def ours(case, *, single=False, **options):
    lda = LDA(random_state=0, **options).fit(case.single if single else case.x, case.y)
    solver = lda.solver_ if options.get("solver", "auto") == "auto" else None
    return np.asarray(lda.explained_variance_ratio_, dtype=float), lda.n_passes_, solver


def theirs(case, **options):
    return LinearDiscriminantAnalysis(**options).fit(case.x, case.y).explained_variance_ratio_, None, None


def ratios(values):
    return values / values.sum()


def dense_solvers(case):
    """Name, group of equal problems, and run of each solver; the first of a group is what its ratios are to.

    What takes passes over the data runs in the first round only.
    """
    ridge = {"reg": case.ridge}
    return {
        "rankopt": ("plain", lambda: ours(case)),
        "scikit-learn svd": ("plain", lambda: theirs(case)),
        "rankopt, shrinkage": ("shrinkage", lambda: ours(case, shrinkage=SHRINKAGE)),
        "scikit-learn eigen, shrinkage": (
            "shrinkage",
            lambda: theirs(case, solver="eigen", shrinkage=SHRINKAGE),
        ),
        "rankopt, ridge": ("ridge", lambda: ours(case, **ridge)),
        "rankopt, ridge, float32": ("ridge", lambda: ours(case, single=True, **ridge)),
        "rankopt, ridge, cholesky-qr": ("ridge", lambda: ours(case, solver="cholesky-qr", **ridge)),
        "rankopt, ridge, block-pcg": ("ridge", lambda: ours(case, solver="block-pcg", **ridge)),
        "rankopt, ridge, lobpcg": ("ridge", lambda: ours(case, solver="lobpcg", **ridge)),
        "rankopt, ridge, riemannian": ("ridge", lambda: ours(case, solver="riemannian", **ridge)),
        "scipy eigh, ridge": ("ridge", lambda: scipy_eigh(case)),
        "scipy lobpcg, ridge": ("ridge", lambda: scipy_lobpcg(case)),
    }


def sparse_solvers(case):
    iterations = {"reg": case.ridge, "solver": "block-pcg"}
    return {
        "rankopt, ridge": ("ridge", lambda: ours(case, reg=case.ridge)),
        "rankopt, ridge, block-pcg, diagonal": ("ridge", lambda: ours(case, preconditioner="diagonal", **iterations)),
    }


def oracles(case):
    """Explained variance ratios of each group of problems."""
    if not isinstance(case.x, np.ndarray):
        return {"ridge": ratios(dual_oracle(case.x, case.y, case.ridge))}
    return {
        "plain": ratios(rows_oracle(case.x, case.y, 0.0)),
        "ridge": ratios(rows_oracle(case.x, case.y, case.ridge)),
        "shrinkage": ratios(shrunken_oracle(case.x, case.y, SHRINKAGE)),
    }


def peak_memory(run):
    """Megabytes that numpy allocates beyond what is there already."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (peak - before) / 1e6


def measure(case, solvers, rounds, seed):
    times, processor = ({name: [] for name in solvers} for _ in range(2))
    results = {}
    order = random.Random(seed)
    for turn in range(rounds):
        for name in order.sample(list(solvers), len(solvers)):
            if turn and name.endswith(ONCE):
                continue
            began, busy = time.perf_counter(), time.process_time()
            results[name] = solvers[name][1]()
            times[name].append(time.perf_counter() - began)
            processor[name].append(time.process_time() - busy)
    expected = oracles(case)
    first = {group: name for name, (group, _) in reversed(solvers.items())}
    rows = []
    for name, (group, run) in solvers.items():
        values, passes, solver = results[name]
        correct = expected[group][: len(values)]
        rows.append(
            {
                "data": case.name,
                "solver": name + (f" (chose {solver})" if solver else ""),
                "ridge": case.ridge if group == "ridge" else None,
                "seconds": statistics.median(times[name]),
                "processor s": statistics.median(processor[name]),
                "to rankopt's": statistics.median(
                    [a / b for a, b in zip(times[name], times[first[group]], strict=False)]
                ),
                "passes": passes,
                "peak MB": peak_memory(run),
                "data MB": data_bytes(case.single if "float32" in name else case.x) / 1e6,
                "relative error": float(np.max(np.abs(values / correct - 1))),
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["mnist", "isolet", "sector"], help="one of the data sets")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # numerical ranks are said, and scipy's iterations end where they like
    rows = []
    for make, solvers in ((isolet, dense_solvers), (mnist, dense_solvers), (sector, sparse_solvers)):
        if arguments.only not in (None, make.__name__):
            continue
        try:
            case = make(arguments.data)
        except FileNotFoundError as error:
            print(f"left out: {error}")
            continue
        rows += measure(case, solvers(case), arguments.rounds, seed=0)
    title = f"Linear discriminant analysis, medians of {arguments.rounds} rounds (iterative solvers: one run)"
    publish("lda", title, rows, page=arguments.only is None)


if __name__ == "__main__":
    main()
