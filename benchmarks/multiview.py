"""Canonical correlations of several views: ours against cca-zoo, a dense eigensolver and Horst's iteration, in one run.

In a round every solver runs once, in an order drawn anew; times are medians of processor seconds, ratios medians of the
ratios to the hand-written solver of the same criterion within a round. Errors are those of the leading five eigenvalues
of MAXVAR, as the found directions give them, against a dense double-precision eigensolver; for SUMCOR the table has the
sum of the correlations of all pairs of views. What takes more than ten seconds runs once. Data that are not there are
left out.
"""

import argparse
import random
import statistics
import time
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.io
import scipy.linalg
from cca_zoo.linear import MCCA

from problems import MultiviewCCA, SumCor

from ._data import DATA
from ._table import publish

P = 5
SLOW = 10.0
"""Seconds above which a solver runs once."""

REFERENCE = {"maxvar": "hand-written Gram, scipy eigh", "sumcor": "hand-written Gram, Horst's iteration"}


@dataclass
class Case:
    """Views and the ridge on their covariances."""

    name: str
    views: list
    ridge: float

    @cached_property
    def pencil(self):
        return plain_pencil(self.views, self.ridge)

    @cached_property
    def eigenvalues(self):
        order = len(self.pencil[0])
        return scipy.linalg.eigh(*self.pencil, subset_by_index=(order - P, order - 1), eigvals_only=True)[::-1]

    def error(self, weights):
        """Largest error of the eigenvalues that directions have."""
        s, d = self.pencil
        w = np.vstack([np.asarray(part, dtype=float) for part in weights])
        return float(np.abs(np.sum(w * (s @ w), axis=0) / np.sum(w * (d @ w), axis=0) - self.eigenvalues).max())

    def pairwise_sum(self, weights):
        """Sum of the correlations of all pairs of views over all components, the frames made orthonormal first."""
        frames = [w @ inverse_root(w.T @ d @ w) for w, d in zip(weights, self.own_blocks, strict=True)]
        stacked = np.vstack(frames)
        return float(np.trace(stacked.T @ self.pencil[0] @ stacked) - P * len(self.views)) / 2

    @cached_property
    def own_blocks(self):
        return blocks_of(self.pencil[1], self.views)


def places(views):
    ends = np.cumsum([view.shape[1] for view in views])
    return [slice(end - view.shape[1], end) for view, end in zip(views, ends, strict=True)]


def blocks_of(matrix, views):
    return [matrix[at, at] for at in places(views)]


def inverse_root(gram):
    values, vectors = np.linalg.eigh(gram)
    return vectors / np.sqrt(values) @ vectors.T


def plain_pencil(views, ridge):
    stacked = np.hstack(views)
    mean = stacked.mean(axis=0)
    s = stacked.T @ stacked / len(stacked) - np.outer(mean, mean) + ridge * np.eye(stacked.shape[1])
    return s, scipy.linalg.block_diag(*blocks_of(s, views))


def handwritten(folder):
    return Case("Handwritten digits, 6 views of 2,000 x 6 to 240", standardized(folder / "Handwritten.mat"), 1e-2)


def reuters(folder):
    # The most frequent words of each language alone, which the dense peers can hold.
    views = [view[:, np.sort(np.argsort(-np.count_nonzero(view, axis=0), kind="stable")[:400])]
             for view in read(folder / "Reuters-1200.mat")]  # fmt: skip
    return Case("Reuters, 5 languages of 1,200 x 400", [view - view.mean(axis=0) for view in views], 1e-2)


def read(path):
    with open(path, "rb") as stream:
        cells = scipy.io.loadmat(stream)["X"].ravel()
    return [
        np.ascontiguousarray(cell.toarray() if scipy.sparse.issparse(cell) else cell, dtype=float) for cell in cells
    ]


def standardized(path):
    return [(view - view.mean(axis=0)) / np.maximum(view.std(axis=0), 1e-12) for view in read(path)]


def synthetic(n, d, m):
    """Views that share five latent variables of decreasing strength, mixed by random matrices."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n, P))
    views = []
    for _ in range(m):
        own = rng.standard_normal((n, d))
        own[:, :P] += shared * np.linspace(2.0, 1.0, P)
        views.append(own @ (rng.standard_normal((d, d)) / d**0.5))
    return Case(f"synthetic, {m} views of {n:,} x {d:,}", views, 1e-3)


CASES = {
    "handwritten": handwritten,
    "reuters": reuters,
    "tall": lambda folder: synthetic(50_000, 200, 4),
    "wide": lambda folder: synthetic(10_000, 800, 3),
}


def dense_eigensolver(case):
    """What a user would write with numpy and scipy."""
    s, d = plain_pencil(case.views, case.ridge)
    vectors = scipy.linalg.eigh(s, d, subset_by_index=(len(s) - P, len(s) - 1))[1][:, ::-1]
    return [vectors[at] for at in places(case.views)], 1


def cca_zoo(case):
    model = MCCA(P, shrinkage=case.ridge / (1 + case.ridge), pca=False).fit(case.views)
    return model.weights_, None


def horst(case, tol=1e-12):
    """Each frame in turn is the best for the others (Horst 1961; Ten Berge 1988), from random frames."""
    s, d = plain_pencil(case.views, case.ridge)
    roots = [scipy.linalg.cholesky(part) for part in blocks_of(d, case.views)]
    whitened = scipy.linalg.solve_triangular(scipy.linalg.block_diag(*roots), s, trans=1)
    whitened = scipy.linalg.solve_triangular(scipy.linalg.block_diag(*roots), whitened.T, trans=1)
    rng, at = np.random.default_rng(0), places(case.views)
    frames = [np.linalg.qr(rng.standard_normal((len(root), P)))[0] for root in roots]
    before = -np.inf
    for _ in range(5000):
        for i in range(len(frames)):
            others = sum(whitened[at[i], at[j]] @ frames[j] for j in range(len(frames)) if j != i)
            left, values, right = np.linalg.svd(others, full_matrices=False)
            frames[i] = left @ right
        # The last sum of singular values is that of the last view's correlations with the others.
        if values.sum() - before < tol * values.sum():
            break
        before = values.sum()
    return [scipy.linalg.solve_triangular(root, frame) for root, frame in zip(roots, frames, strict=True)], 1


def ours(case, *, single=False, **options):
    views = [view.astype(np.float32) for view in case.views] if single else case.views
    cca = MultiviewCCA(P, reg=case.ridge, random_state=0, **options).fit(views)
    return cca.weights_, cca.n_passes_


def solvers():
    """Functions of a case by criterion and label."""
    maxvar = {f"rankopt, {solver}": {"solver": solver} for solver in ("direct", "lobpcg", "riemannian")}
    maxvar["rankopt, direct, float32"] = {"solver": "direct", "single": True}
    sumcor = {
        "rankopt, direct": {"solver": "direct"},
        "rankopt, direct, 4 starts": {"solver": "direct", "criterion": SumCor(starts=4)},
        "rankopt, riemannian": {"solver": "riemannian"},
        "rankopt, trust-region": {"solver": "trust-region"},
    }
    found = {("maxvar", REFERENCE["maxvar"]): dense_eigensolver, ("maxvar", "cca-zoo MCCA"): cca_zoo}
    found |= {
        ("maxvar", label): lambda case, options=options: ours(case, **options) for label, options in maxvar.items()
    }
    found["sumcor", REFERENCE["sumcor"]] = horst
    for label, options in sumcor.items():
        found["sumcor", label] = lambda case, options={"criterion": "sumcor"} | options: ours(case, **options)
    return found


def measure(case, rounds, order):
    functions = solvers()
    times = {key: [] for key in functions}
    results = {}
    for _ in range(rounds):
        for key in order.sample(list(functions), len(functions)):
            if times[key] and times[key][0] > SLOW:
                continue
            began = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                results[key] = functions[key](case)
            times[key].append(time.process_time() - began)
            print(f"  {case.name}: {': '.join(key)}: {times[key][-1]:.2f} s", flush=True)
    rows = []
    for key in functions:
        criterion, label = key
        weights, passes = results[key]
        reference = times[criterion, REFERENCE[criterion]]
        rows.append({
            "data": case.name,
            "criterion": criterion,
            "solver": label,
            "processor seconds": statistics.median(times[key]),
            "to the hand-written one": statistics.median(a / b for a, b in zip(times[key], reference, strict=False)),
            "passes": passes,
            "error of eigenvalues": case.error(weights) if criterion == "maxvar" else None,
            "sum of correlations": case.pairwise_sum(weights) if criterion == "sumcor" else None,
        })  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(CASES), nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA / "multiview")
    arguments = parser.parse_args()
    order, rows = random.Random(0), []
    for name in arguments.only:
        try:
            case = CASES[name](arguments.data)
        except FileNotFoundError as error:
            print(f"left out: {error}")
            continue
        rows += measure(case, arguments.rounds, order)
    publish("multiview", f"Five components, medians of {arguments.rounds} rounds", rows, page=True)


if __name__ == "__main__":
    main()
