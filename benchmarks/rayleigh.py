"""Leading eigenspace by conjugate gradients on a Stiefel manifold: ours against pymanopt's, same start and tolerance.

Cost and gradient are the same two opaque functions for both; their calls are counted here, from outside.
"""

import statistics
import time

import numpy as np
import pymanopt
import scipy.linalg
from pymanopt.optimizers import ConjugateGradient as PymanoptConjugateGradient

from manifolds import Stiefel
from rankopt import GradientNorm, MaxIterations, minimize

from ._table import publish

SIZES = ((20, 3), (200, 5), (1000, 10))
TOLERANCE = 1e-6
REPEATS = 5


class Counted:
    """Cost and gradient of -tr(X^T A X), counted."""

    def __init__(self, a):
        self.a, self.costs, self.gradients = a, 0, 0

    def cost(self, x):
        self.costs += 1
        return -np.vdot(x, self.a @ x)

    def gradient(self, x):
        self.gradients += 1
        return -2 * self.a @ x


def ours(function, n, p, start):
    result = minimize(
        function.cost,
        Stiefel(n, p),
        start,
        gradient=function.gradient,
        stopping=GradientNorm(absolute=TOLERANCE) | MaxIterations(5000),
    )
    return result.fun, result.grad_norm


def pymanopts(function, n, p, start):
    manifold = pymanopt.manifolds.Stiefel(n, p)
    cost = pymanopt.function.numpy(manifold)(function.cost)
    gradient = pymanopt.function.numpy(manifold)(function.gradient)
    problem = pymanopt.Problem(manifold, cost, euclidean_gradient=gradient)
    optimizer = PymanoptConjugateGradient(
        verbosity=0, min_gradient_norm=TOLERANCE, max_iterations=5000, min_step_size=0
    )
    result = optimizer.run(problem, initial_point=start)
    return result.cost, result.gradient_norm


def main():
    rows = []
    for n, p in SIZES:
        rng = np.random.default_rng(0)
        a = rng.standard_normal((n, n))
        a = (a + a.T) / (2 * n) ** 0.5
        optimum = -scipy.linalg.eigh(a, eigvals_only=True, subset_by_index=(n - p, n - 1)).sum()
        seconds = {}
        for name, solve in (("pymanopt", pymanopts), ("rankopt", ours)):
            times = []
            for seed in range(REPEATS):
                function = Counted(a)
                start = Stiefel(n, p).random_point(rng=seed)
                began = time.perf_counter()
                cost, gradient_norm = solve(function, n, p, start)
                times.append(time.perf_counter() - began)
            seconds[name] = statistics.median(times)
            rows.append(
                {
                    "n": n,
                    "p": p,
                    "library": name,
                    "seconds": seconds[name],
                    "ratio to pymanopt": seconds[name] / seconds["pymanopt"],
                    "costs": function.costs,
                    "gradients": function.gradients,
                    "gradient norm": float(gradient_norm),
                    "suboptimality": float((cost - optimum) / abs(optimum)),
                }
            )
    publish(
        "rayleigh", f"Rayleigh quotient on Stiefel(n, p), gradient to {TOLERANCE}, median of {REPEATS} starts", rows
    )


if __name__ == "__main__":
    main()
