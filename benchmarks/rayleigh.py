"""Leading eigenspaces on Stiefel and Grassmann manifolds: ours against pymanopt, geoopt and scipy, in one run.

All solvers of manifolds minimize -tr(X^T A X) for a random symmetric A from the same start until the gradient's norm is
below the same tolerance: 1e-6, or 1e-3 at the largest size, so that the slowest end within minutes. Cost, gradient and
Hessian product are the same opaque functions for all, and their calls are counted here, from outside; a declared
quadratic gets A itself, and its products are counted. In a round every solver runs once, in an order drawn anew; ratios
are medians of the ratios within a round, to pymanopt's solver of the same method, or to its conjugate gradients for
L-BFGS, which it has not. Memory is the peak of what numpy allocates in the first steps, in a run of its own. geoopt's
optimizer has steps of fixed length and stops at a limit. pymanopt's trust region is left out on the largest Stiefel
manifold, where the Hessian is singular along rotations of the basis: it needs thousands of Hessian products at
(1000, 10) already. Times are those of the processor on one thread, so that other programs count little.
"""

import argparse
import random
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pymanopt
import scipy.linalg
import scipy.sparse.linalg
import torch
from threadpoolctl import threadpool_limits

from manifolds import Grassmann, Stiefel
from rankopt import GradientNorm, MaxIterations, QuadraticObjective, minimize

from ._table import publish

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # `import geoopt` uses what newer torch deprecates
    import geoopt

SIZES = {(20, 3): (15, 1e-6), (1000, 10): (3, 1e-6), (5000, 20): (1, 1e-3)}
"""Rounds and tolerance of the gradient's norm for each size."""
MAX_ITERATIONS = 5000
ADAM_STEPS = {20: 1000, 1000: 500, 5000: 50}
MEMORY_STEPS = 3
CONJUGATE_GRADIENT, TRUST_REGION = "pymanopt ConjugateGradient", "pymanopt TrustRegions"
MANIFOLDS = {"Stiefel": Stiefel, "Grassmann": Grassmann}


@dataclass(frozen=True)
class Task:
    """What a solver of manifolds is to do."""

    manifold: str
    start: np.ndarray
    tolerance: float
    steps: int = MAX_ITERATIONS


class Counted:
    """-tr(X^T A X) and its derivatives, counted."""

    def __init__(self, a: np.ndarray) -> None:
        self.a, self.shape, self.dtype = a, a.shape, a.dtype
        self.costs = self.gradients = self.hessians = self.products = 0

    def cost(self, x):
        self.costs += 1
        return -np.vdot(x, self.a @ x)

    def gradient(self, x):
        self.gradients += 1
        return -2 * (self.a @ x)

    def hessian(self, x, v):
        self.hessians += 1
        return -2 * (self.a @ v)

    def __matmul__(self, v):
        self.products += 1
        return self.a @ v

    @property
    def total(self) -> int:
        """Products with A in all."""
        return self.costs + self.gradients + self.hessians + self.products


def opaque(method, function, task):
    """Our solvers with separate callables."""
    stopping = GradientNorm(absolute=task.tolerance) | MaxIterations(task.steps)
    return minimize(
        function.cost,
        MANIFOLDS[task.manifold](*task.start.shape),
        task.start,
        method,
        gradient=function.gradient,
        hessian=function.hessian,
        stopping=stopping,
    ).x


def declared(method, function, task):
    """Our solvers with a declared quadratic."""
    stopping = GradientNorm(absolute=task.tolerance) | MaxIterations(task.steps)
    quadratic = QuadraticObjective(function, scale=-2.0)
    return minimize(quadratic, MANIFOLDS[task.manifold](*task.start.shape), task.start, method, stopping=stopping).x


def pymanopts(optimizer, function, task):
    """An optimizer of pymanopt with separate callables."""
    where = getattr(pymanopt.manifolds, task.manifold)(*task.start.shape)
    cost, gradient, hessian = (
        pymanopt.function.numpy(where)(f) for f in (function.cost, function.gradient, function.hessian)
    )
    problem = pymanopt.Problem(where, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)
    run = optimizer(
        verbosity=0,
        min_gradient_norm=task.tolerance,
        max_iterations=task.steps,
        min_step_size=0,
        max_time=float("inf"),
    ).run
    return run(problem, initial_point=task.start).point


def riemannian_adam(function, task):
    """geoopt's RiemannianAdam by autograd, with the best of the step sizes 1, 0.1, 0.01 and 0.001."""
    x = geoopt.ManifoldParameter(torch.tensor(task.start), manifold=geoopt.EuclideanStiefel())
    a = torch.asarray(function.a)
    optimizer = geoopt.optim.RiemannianAdam([x], lr=0.1)
    for _ in range(min(task.steps, ADAM_STEPS[task.start.shape[0]])):
        optimizer.zero_grad()
        function.costs += 1
        loss = -(x * (a @ x)).sum()
        loss.backward()
        function.gradients += 1
        optimizer.step()
    return x.detach().numpy()


def dense_eigh(function, task):
    n, p = task.start.shape
    return scipy.linalg.eigh(function.a, subset_by_index=(n - p, n - 1))[1]


def eigsh(function, task):
    return scipy.sparse.linalg.eigsh(function.a, k=task.start.shape[1], which="LA", v0=task.start[:, 0])[1]


def lobpcg(function, task):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where its last residual is not below the tolerance
        return scipy.sparse.linalg.lobpcg(
            function, task.start.copy(), tol=task.tolerance / 2, maxiter=1000, largest=True
        )[1]


OURS = {
    "ConjugateGradient": ("conjugate-gradient", CONJUGATE_GRADIENT),
    "TrustRegion": ("trust-region", TRUST_REGION),
    "LBFGS": ("lbfgs", CONJUGATE_GRADIENT),
}
"""Name of the method and pymanopt's solver to which it is compared."""
DECLARED = ", QuadraticObjective"
PEERS = {f"rankopt {name}{kind}": peer for name, (_, peer) in OURS.items() for kind in ("", DECLARED)}
SOLVERS: dict[str, Callable] = {
    CONJUGATE_GRADIENT: partial(pymanopts, pymanopt.optimizers.ConjugateGradient),
    TRUST_REGION: partial(pymanopts, pymanopt.optimizers.TrustRegions),
    **{f"rankopt {name}": partial(opaque, method) for name, (method, _) in OURS.items()},
    **{f"rankopt {name}{DECLARED}": partial(declared, method) for name, (method, _) in OURS.items()},
    "geoopt RiemannianAdam": riemannian_adam,
    "scipy eigh": dense_eigh,
    "scipy eigsh": eigsh,
    "scipy lobpcg": lobpcg,
}
ON_STIEFEL_ONLY = {"geoopt RiemannianAdam", "scipy eigh", "scipy eigsh", "scipy lobpcg"}
"""Solvers that know no Grassmann manifold."""
TOO_SLOW = {("Stiefel", 5000, TRUST_REGION)}


@dataclass
class Run:
    """One run of a solver."""

    seconds: float
    x: np.ndarray
    function: Counted


def measure(solve: Callable, a: np.ndarray, task: Task) -> Run:
    function = Counted(a)
    began = time.process_time()
    x = solve(function, task)
    return Run(time.process_time() - began, x, function)


def peak_megabytes(solve: Callable, a: np.ndarray, task: Task) -> float:
    tracemalloc.start()
    try:
        solve(Counted(a), replace(task, steps=MEMORY_STEPS))
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def row(name: str, runs: dict[str, list[Run]], a: np.ndarray, task: Task, optimum: float) -> dict:
    """Medians over the rounds, and the accuracy of the worst of them."""
    own = runs[name]
    xs = [run.x for run in own]
    gradients = [a @ x - x @ (x.T @ (a @ x)) for x in xs]
    function = own[-1].function

    def ratio(peer: str | None) -> float | None:
        if peer not in runs:
            return None
        return statistics.median(run.seconds / other.seconds for run, other in zip(own, runs[peer], strict=True))

    return {
        "manifold": task.manifold,
        "n": a.shape[0],
        "p": task.start.shape[1],
        "solver": name,
        "seconds": statistics.median(run.seconds for run in own),
        "to pymanopt": ratio(PEERS.get(name)),
        "products": function.total or None,
        "costs": function.costs,
        "gradients": function.gradients,
        "Hessians": function.hessians,
        "peak MB": None if "geoopt" in name else peak_megabytes(SOLVERS[name], a, task),
        "off orthonormal": max(float(np.linalg.norm(x.T @ x - np.eye(x.shape[1]))) for x in xs),
        "gradient norm": max(2 * float(np.linalg.norm(gradient)) for gradient in gradients),
        "suboptimality": max(float((-np.vdot(x, a @ x) - optimum) / abs(optimum)) for x in xs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many of the sizes, smallest first")
    count = parser.parse_args().sizes
    order, rows = random.Random(0), []
    torch.set_num_threads(1)
    for (n, p), (rounds, tolerance) in list(SIZES.items())[:count]:
        rng = np.random.default_rng(0)
        a = rng.standard_normal((n, n))
        a = (a + a.T) / (2 * n) ** 0.5
        optimum = -float(scipy.linalg.eigh(a, eigvals_only=True, subset_by_index=(n - p, n - 1)).sum())
        for manifold in MANIFOLDS:
            names = [
                name
                for name in SOLVERS
                if (manifold == "Stiefel" or name not in ON_STIEFEL_ONLY) and (manifold, n, name) not in TOO_SLOW
            ]
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for seed in range(rounds):
                task = Task(manifold, Stiefel(n, p).random_point(rng=seed), tolerance)
                for name in order.sample(names, len(names)):
                    runs[name].append(measure(SOLVERS[name], a, task))
            rows += [row(name, runs, a, task, optimum) for name in names]
    publish(
        "rayleigh",
        "Leading eigenspaces: gradient norm to 1e-6 (1e-3 for n = 5000), processor time of one thread and its "
        "ratio to pymanopt's same method (its conjugate gradients for L-BFGS), medians of rounds",
        rows,
        page=True,
        rounds_and_tolerances=[[*size, *how] for size, how in SIZES.items()],
    )


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
