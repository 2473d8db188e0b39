"""Ten thousand problems of size 20 x 3 at once: ours against a loop over pymanopt and over our own ``minimize``.

Two families on the Stiefel manifold: Rayleigh quotients -tr(X^T A X) with random symmetric A, and orthogonal Procrustes
problems norm(X A - B)^2 / 2 with A of size 3 x 8 and B = Z A + noise, Z a frame. The loops run a sample of the
problems, and their time is scaled to all of them, which the table says. Every result is checked against its own oracle:
eigenvalues, and the singular value decomposition of B A^T.
"""

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np
import pymanopt
import torch
from pymanopt.optimizers import ConjugateGradient as PymanoptConjugateGradient
from pymanopt.optimizers import TrustRegions as PymanoptTrustRegions
from threadpoolctl import threadpool_limits

from manifolds import Stiefel
from rankopt import GradientNorm, MaxIterations, minimize, minimize_batch

from ._table import publish

N, P, TARGETS = 20, 3, 8
RELATIVE = 1e-6
"""Norm of the gradient at the end, relative to that at the start, for all libraries."""
STOPPING = GradientNorm(relative=RELATIVE) | MaxIterations(2000)
MANIFOLD = Stiefel(N, P)


@dataclass(frozen=True)
class Family:
    """Matrices of all problems, and cost, Euclidean gradient and Hessian product for any library and batch."""

    name: str
    matrices: tuple[np.ndarray, ...]

    def cost(self, x, a, b=None):
        if b is None:
            return -(x * (a @ x)).sum((-2, -1))
        residual = x @ a - b
        return 0.5 * (residual * residual).sum((-2, -1))

    def gradient(self, x, a, b=None):
        return -2 * (a @ x) if b is None else (x @ a - b) @ a.mT

    def hessian(self, x, v, a, b=None):
        return -2 * (a @ v) if b is None else v @ (a @ a.mT)


def families(number):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((number, N, N))
    yield Family("Rayleigh", ((a + a.mT) / 2,))
    a = rng.standard_normal((number, P, TARGETS))
    frames = np.linalg.qr(rng.standard_normal((number, N, P)))[0]
    yield Family("Procrustes", (a, frames @ a + 0.5 * rng.standard_normal((number, N, TARGETS))))


# ------------------------------------------------------------------------------------------------- the methods
def batch(family, start, library):
    convert = torch.from_numpy if library == "torch" else np.asarray
    result = minimize_batch(
        family.cost,
        MANIFOLD,
        convert(start),
        args=tuple(map(convert, family.matrices)),
        gradient=family.gradient,
        stopping=STOPPING,
    )
    return np.asarray(result.fun), np.asarray(result.x), np.asarray(result.success)


def loop(family, start, solve):
    found = [solve(family, start[i], tuple(m[i] for m in family.matrices)) for i in range(len(start))]
    costs, points, successes = zip(*found, strict=True)
    return np.array(costs), np.array(points), np.array(successes)


def ours(family, start, matrices):
    result = minimize(
        lambda x: family.cost(x, *matrices),
        MANIFOLD,
        start,
        gradient=lambda x: family.gradient(x, *matrices),
        stopping=STOPPING,
    )
    return result.fun, result.x, result.success


def pymanopts(optimizer):
    def solve(family, start, matrices):
        manifold = pymanopt.manifolds.Stiefel(N, P)
        wrap = pymanopt.function.numpy(manifold)
        problem = pymanopt.Problem(
            manifold,
            wrap(lambda x: family.cost(x, *matrices)),
            euclidean_gradient=wrap(lambda x: family.gradient(x, *matrices)),
            euclidean_hessian=wrap(lambda x, v: family.hessian(x, v, *matrices)),
        )
        tolerance = RELATIVE * MANIFOLD.norm(start, MANIFOLD.projection(start, family.gradient(start, *matrices)))
        run = optimizer(verbosity=0, min_gradient_norm=tolerance, min_step_size=0, max_iterations=2000)
        result = run.run(problem, initial_point=start)
        return result.cost, result.point, result.gradient_norm <= tolerance

    return solve


LOOPS = {
    "loop over pymanopt's ConjugateGradient": pymanopts(PymanoptConjugateGradient),
    "loop over pymanopt's TrustRegions": pymanopts(PymanoptTrustRegions),
    "loop over rankopt.minimize": ours,
}


def oracle(family):
    """Least cost of every problem, by decompositions."""
    if family.name == "Rayleigh":
        return -np.linalg.eigvalsh(family.matrices[0])[:, -P:].sum(axis=1)
    a, b = family.matrices
    squares = (a * a).sum((-2, -1)) + (b * b).sum((-2, -1))
    return 0.5 * squares - np.linalg.svd(b @ a.mT, compute_uv=False).sum(axis=-1)


def measured(family, start, options):
    """Seconds of all rounds and the last results of every method; loops run a sample."""
    runs = {f"rankopt.minimize_batch, {library}": (batch, library, len(start)) for library in ("numpy", "torch")}
    runs |= {name: (loop, solve, options.sample) for name, solve in LOOPS.items()}
    seconds, results = {name: [] for name in runs}, {}
    for _ in range(options.rounds):
        for name, (run, argument, number) in runs.items():
            part = Family(family.name, tuple(m[:number] for m in family.matrices))
            # Tiny matrices: threads inside their products only get into each other's way.
            with threadpool_limits(limits=1, user_api="blas"):
                began = time.perf_counter()
                results[name] = run(part, start[:number], argument)
                seconds[name].append((time.perf_counter() - began) * len(start) / number)
    return seconds, results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000, help="problems (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=100, help="of them in the loops (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    start = MANIFOLD.random_point(rng=1, batch=(options.number,))
    for family in families(options.number):
        seconds, results = measured(family, start, options)
        least = oracle(family)
        fastest = min(statistics.median(seconds[name]) for name in LOOPS if "pymanopt" in name)
        for name, (costs, points, successes) in results.items():
            gap = (costs - least[: len(costs)]) / np.abs(least[: len(costs)])
            gram = points.mT @ points - np.eye(P)
            rows.append(
                {
                    "problems": family.name,
                    "by": name,
                    "solved": len(costs),
                    f"seconds for {options.number}": statistics.median(seconds[name]),
                    "times faster than pymanopt": fastest / statistics.median(seconds[name]),
                    "success": float(np.mean(successes)),
                    "at the optimum": float(np.mean(gap < 1e-6)),
                    "orthogonality error": float(np.abs(gram).max()),
                }
            )
    publish(
        "batch",
        f"{options.number} problems on Stiefel({N}, {P}), gradients reduced to {RELATIVE}, medians of {options.rounds} "
        f"rounds; loops solve {options.sample} and are scaled; pymanopt's faster optimizer counts",
        rows,
        page=True,
        threads=options.threads,
    )


if __name__ == "__main__":
    main()
