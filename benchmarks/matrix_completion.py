"""Ratings of films on the published masks of Monti et al.: ours against simple peers and pymanopt, in one run.

Douban and Flixster, 3000 x 3000, with fixed training and test entries (Monti, Bronstein, Bresson 2017). Rank and ridge
are chosen once per data set on a tenth of the training entries, and serve all methods; mean, row and column offsets are
taken off first. All that minimize the cost start from the same point and end where the norm of the gradient has fallen
to the same fraction, or at the limit of iterations; pymanopt gets the same cost and its derivatives by the factors,
sparse. In a round every method runs once, in an order drawn anew. Ours run on FixedRankTwoFactors, as in
MatrixCompletion, or, where it says so and for alternating minimization, on FixedRank.
"""

import argparse
import io
import lzma
import random
import statistics
import time
from pathlib import Path

import h5py
import numpy as np
import pymanopt

from manifolds import FixedRank, FixedRankTwoFactors, LowRankMatrix
from problems import AlternatingMinimization, CompletionProblem, MatrixCompletion, ObservedEntries
from problems.entry_biases import Biases
from rankopt import CostChange, GradientNorm, MaxIterations, minimize

from ._data import DATA
from ._table import publish

NAMES = ("flixster", "douban")
RANKS, RIDGES = (1, 3), (0.1, 0.3, 1.0)
BIAS_REG = 3.0
TOLERANCE, MAX_ITERATIONS = 1e-4, 300
ROUNDS = 2
PYMANOPT = "pymanopt FixedRankEmbedded, ConjugateGradient"
METHODS = {
    "rankopt conjugate gradients": (FixedRankTwoFactors, "conjugate-gradient"),
    "rankopt L-BFGS": (FixedRankTwoFactors, "lbfgs"),
    "rankopt trust region": (FixedRankTwoFactors, "trust-region"),
    "rankopt conjugate gradients, FixedRank": (FixedRank, "conjugate-gradient"),
    "rankopt L-BFGS, FixedRank": (FixedRank, "lbfgs"),
    "rankopt trust region, FixedRank": (FixedRank, "trust-region"),
    "rankopt alternating, 2 inner steps": (FixedRank, AlternatingMinimization()),
    "rankopt alternating, exact": (FixedRank, AlternatingMinimization(None)),
}


def load(folder: Path, name: str) -> tuple[ObservedEntries, ObservedEntries]:
    """Training and test entries."""
    with lzma.open(folder / f"{name}.mat.xz") as packed, h5py.File(io.BytesIO(packed.read())) as file:
        ratings = np.asarray(file["M"], dtype=np.float64).T
        masks = [np.asarray(file[mask]).T > 0 for mask in ("Otraining", "Otest")]
    places = (np.nonzero(mask) for mask in masks)
    return tuple(ObservedEntries.of((i, j, ratings[i, j]), name, ratings.shape) for i, j in places)


def triple(entries: ObservedEntries, keep=slice(None)) -> tuple:
    return entries.rows[keep], entries.columns[keep], entries.values[keep]


def rmse(predicted: np.ndarray, entries: ObservedEntries) -> float:
    return float(np.sqrt(np.mean((predicted - entries.values) ** 2)))


def choose(train: ObservedEntries) -> tuple[int, float]:
    """Rank and ridge with the smallest error on a tenth of the training entries."""
    held_out = np.random.default_rng(0).random(train.rows.size) < 0.1
    rest, validation = (ObservedEntries.of(triple(train, keep), "train", train.shape) for keep in (~held_out, held_out))

    def error(rank: int, reg: float) -> float:
        completion = MatrixCompletion(
            rank, solver="alternating", reg=reg, center=True, bias_reg=BIAS_REG, tol=1e-2, max_iter=MAX_ITERATIONS
        ).fit(triple(rest), shape=rest.shape)
        return rmse(completion.predict(validation.rows, validation.columns), validation)

    return min(((rank, reg) for rank in RANKS for reg in RIDGES), key=lambda pair: error(*pair))


def solve_by_pymanopt(problem: CompletionProblem, start, tolerance: float):
    """pymanopt's conjugate gradients; derivatives by u, s and vt from the same sparse gradient."""
    entries, reg = problem.cost.entries, problem.cost.reg
    manifold = pymanopt.manifolds.FixedRankEmbedded(*entries.shape, problem.manifold.r)

    def residual(u, s, vt):
        return LowRankMatrix(u * s, vt.T).entries(entries.rows, entries.columns) - entries.values

    @pymanopt.function.numpy(manifold)
    def cost(u, s, vt):
        return 0.5 * np.sum(residual(u, s, vt) ** 2) + 0.5 * reg * np.sum(s**2)

    @pymanopt.function.numpy(manifold)
    def gradient(u, s, vt):
        g = entries.matrix(residual(u, s, vt))
        gv, gu = g @ vt.T + reg * u * s, g.T @ u + reg * vt.T * s
        return gv * s, np.einsum("ik,ik->k", u, gv), (gu * s).T

    optimizer = pymanopt.optimizers.ConjugateGradient(
        verbosity=0, min_gradient_norm=tolerance, max_iterations=MAX_ITERATIONS, min_step_size=0, max_time=float("inf")
    )
    u, s, vt = np.linalg.svd(start.S)
    point = (start.U @ u, s, vt @ start.V.T)
    result = optimizer.run(pymanopt.Problem(manifold, cost, euclidean_gradient=gradient), initial_point=point)
    u, s, vt = result.point
    return (u * s) @ vt, result.iterations


def run(name: str, train: ObservedEntries, rank: int, reg: float):
    """Seconds, iterations, and the matrix with its offsets."""
    began = time.perf_counter()
    biases = Biases.fit(train, BIAS_REG)
    centred = train.with_values(train.values - biases.at(train.rows, train.columns))
    representation, method = METHODS.get(name, (FixedRank, None))
    problem = CompletionProblem(centred, rank, reg, representation(*centred.shape, rank))
    iterations, cost, matrix = None, None, np.zeros(train.shape)
    if name != "offsets only":
        start = problem.spectral_start()
        if name == "truncated SVD of the matrix filled with zeros":
            matrix = problem.manifold.nearest_point(centred.matrix()).to_dense()
        elif name == PYMANOPT:
            first = problem.start(start).gradient_norm
            matrix, iterations = solve_by_pymanopt(problem, start, TOLERANCE * first)
        else:
            stopping = GradientNorm(relative=TOLERANCE) | CostChange() | MaxIterations(MAX_ITERATIONS)
            result = minimize(problem, problem.manifold, start, method, stopping=stopping)
            matrix, iterations = result.x.to_dense(), result.nit
    seconds = time.perf_counter() - began
    residual = matrix[train.rows, train.columns] - centred.values
    cost = 0.5 * float(residual @ residual) + 0.5 * reg * float(np.vdot(matrix, matrix))
    predicted = matrix + biases.mean + biases.rows[:, None] + biases.columns
    return seconds, iterations, cost, predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA / "ratings-gcmc", help="folder with flixster.mat.xz and douban.mat.xz"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"There is no folder {arguments.data} with the ratings; see --data.")
    order, rows = random.Random(0), []
    names = ["offsets only", "truncated SVD of the matrix filled with zeros", PYMANOPT, *METHODS]
    for data in NAMES:
        train, test = load(arguments.data, data)
        rank, reg = choose(train)
        runs = {name: [] for name in names}
        for _ in range(arguments.rounds):
            for name in order.sample(names, len(names)):
                runs[name].append(run(name, train, rank, reg))
        for name, own in runs.items():
            _, iterations, cost, predicted = own[-1]
            pairs = zip(own, runs[PYMANOPT], strict=True)
            rows.append(
                {
                    "data": data,
                    "rank": rank,
                    "ridge": reg,
                    "method": name,
                    "test RMSE": rmse(predicted[test.rows, test.columns], test),
                    "training RMSE": rmse(predicted[train.rows, train.columns], train),
                    "cost": cost,
                    "iterations": iterations,
                    "seconds": statistics.median(seconds for seconds, *_ in own),
                    "to pymanopt": statistics.median(mine[0] / theirs[0] for mine, theirs in pairs),
                }
            )
    publish(
        "matrix_completion",
        f"Ratings completed on published masks: gradient to {TOLERANCE} of that at the start, one thread, times with "
        f"offsets and start as medians of {arguments.rounds} rounds",
        rows,
        page=True,
        tolerance=TOLERANCE,
        max_iterations=MAX_ITERATIONS,
    )


if __name__ == "__main__":
    main()
