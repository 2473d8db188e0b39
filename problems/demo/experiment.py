"""Canonical correlations of image patches in three metrics, against a dense oracle."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from manifolds.preconditioners import CholeskyPreconditioner, SketchedGramPreconditioner
from manifolds.sketching import CountSketch
from problems.cca_direct import solve_dense
from problems.cca_problem import CCAProblem
from problems.data import Covariances, PairedViews
from problems.demo.patches import PatchViews
from problems.sketch_sizes import SKETCH_FACTOR
from rankopt.minimize import minimize
from rankopt.solvers.status import Status
from rankopt.solvers.stopping import GradientNorm, MaxEvaluations, MaxIterations, StoppingCriterion

_log = logging.getLogger(__name__)

N_COMPONENTS = 5
ACCURACY = 1e-6
"""Relative suboptimality whose price in passes is reported."""
GRADIENT_TOLERANCE = 1e-4
UNPRECONDITIONED_PASSES = 60
"""Passes after which the run without a preconditioner is cut off."""


class Oracle(NamedTuple):
    """Answer of a dense generalized eigensolver."""

    covariances: Covariances
    correlations: np.ndarray
    cost: float
    """Optimal cost, minus the sum of the correlations."""
    condition_numbers: tuple[float, float]
    """Of the two covariances."""


@dataclass(frozen=True)
class MetricRun:
    """What one run did.

    Attributes
    ----------
    name : str
        "identity", "sketched" or "exact".
    correlations : array of shape (p,)
    passes : int
        Reads of both views: start, sketch or covariances, steps, refreshes and the final true recomputation.
    passes_to_accuracy : int or None
        Passes until the relative suboptimality was at most ``ACCURACY``.
    iterations : int
    seconds : float
        All of it, the preconditioner included.
    set_up_seconds : float
        Of the preconditioner.
    condition_number : float
        Of B in the metric M: largest over smallest eigenvalue of M^{-1} B, both views jointly.
    sketch_size : int or None
    status : Status
    suboptimality, passes_so_far, seconds_so_far : arrays
        One entry per iteration.
    u, v : arrays of shape (432, p)
        Canonical vectors.
    """

    name: str
    correlations: np.ndarray
    passes: int
    passes_to_accuracy: int | None
    iterations: int
    seconds: float
    set_up_seconds: float
    condition_number: float
    sketch_size: int | None
    status: Status
    suboptimality: np.ndarray
    passes_so_far: np.ndarray
    seconds_so_far: np.ndarray
    u: np.ndarray
    v: np.ndarray


class Experiment(NamedTuple):
    """All that the report shows."""

    n_samples: int
    n_features: tuple[int, int]
    oracle: Oracle
    runs: list[MetricRun]
    direct_seconds: float
    """Time of forming and decomposing the covariances, one pass."""
    direct_correlations: np.ndarray
    pass_seconds: float
    """Median time of a step, which is one pass and small algebra."""


def run_experiment(views: PatchViews, *, seed: int = 0, progress: bool = False) -> Experiment:
    """Solve for the leading canonical pairs without a preconditioner, with a sketched and with the exact one.

    Parameters
    ----------
    views : PatchViews
    seed : int
        Of the sketch and the start point, which the three runs share.
    progress : bool
        Whether to show progress bars.

    Raises
    ------
    KeyboardInterrupt
        If a run was interrupted.
    """
    _log.info("dense oracle of %d x (%d + %d)", len(views.left), views.left.shape[1], views.right.shape[1])
    oracle = dense_oracle(views)
    runs = [run_in_metric(name, views, oracle, seed, progress) for name in ("identity", "sketched", "exact")]
    began = time.perf_counter()
    direct = solve_dense(PairedViews(*views).covariances(), N_COMPONENTS)
    direct_seconds = time.perf_counter() - began
    steps = np.concatenate([np.diff(run.seconds_so_far) for run in runs])
    return Experiment(
        n_samples=views.left.shape[0],
        n_features=(views.left.shape[1], views.right.shape[1]),
        oracle=oracle,
        runs=runs,
        direct_seconds=direct_seconds,
        direct_correlations=direct.correlations,
        pass_seconds=float(np.median(steps)),
    )


def dense_oracle(views: PatchViews) -> Oracle:
    """Leading correlations by scipy's dense generalized eigensolver on explicitly centred data.

    The correlations are the largest eigenvalues of [0 Sxy; Sxy^T 0] w = lambda [Sxx 0; 0 Syy] w.
    """
    n, (x, y) = len(views.left), views
    d = x.shape[1]
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    joint = np.zeros((d + y.shape[1],) * 2)
    for first in range(0, n, 8192):
        block = np.hstack([x[first : first + 8192] - mean_x, y[first : first + 8192] - mean_y])
        joint += block.T @ block
    joint /= n
    within = scipy.linalg.block_diag(joint[:d, :d], joint[d:, d:])
    top = (len(joint) - N_COMPONENTS, len(joint) - 1)
    correlations = scipy.linalg.eigh(joint - within, within, subset_by_index=top, eigvals_only=True)[::-1]
    covariances = Covariances(joint[:d, :d].copy(), joint[:d, d:].copy(), joint[d:, d:].copy())
    spectra = [np.linalg.eigvalsh(covariances.xx), np.linalg.eigvalsh(covariances.yy)]
    conditions = tuple(float(s[-1] / s[0]) for s in spectra)
    return Oracle(covariances, correlations, -float(correlations.sum()), (conditions[0], conditions[1]))


def run_in_metric(name: str, views: PatchViews, oracle: Oracle, seed: int, progress: bool) -> MetricRun:
    """One run of conjugate gradients in the metric of that name."""
    _log.info("run in the %s metric", name)
    began = time.perf_counter()
    data = PairedViews(*views)
    preconditioners, sketch_size = metric(name, data, seed)
    set_up = time.perf_counter() - began
    problem = CCAProblem(data, N_COMPONENTS, preconditioners=preconditioners)
    stopping: StoppingCriterion = GradientNorm(absolute=GRADIENT_TOLERANCE) | MaxIterations(500)
    if name == "identity":
        # One pass is kept for the final recomputation.
        stopping = stopping | MaxEvaluations(UNPRECONDITIONED_PASSES - 1, counted="n_passes")
    result = minimize(problem, problem.manifold, rng=seed, stopping=stopping, progress=progress and f"{name:9s}")
    if result.status == Status.INTERRUPTED:
        raise KeyboardInterrupt
    correlations, u, v = problem.canonical_pairs(result.x)
    seconds = time.perf_counter() - began
    suboptimality = (result.history.fun - oracle.cost) / abs(oracle.cost)
    return MetricRun(
        name=name,
        correlations=correlations,
        passes=data.n_passes,
        passes_to_accuracy=first_below(suboptimality, result.history.n_passes, ACCURACY),
        iterations=result.nit,
        seconds=seconds,
        set_up_seconds=set_up,
        condition_number=condition_number(oracle.covariances, preconditioners),
        sketch_size=sketch_size,
        status=result.status,
        suboptimality=suboptimality,
        passes_so_far=result.history.n_passes,
        seconds_so_far=set_up + result.history.time,
        u=u,
        v=v,
    )


def metric(name: str, data: PairedViews, seed: int) -> tuple[tuple[Any, Any], int | None]:
    """Preconditioners of both views by name, and the size of the sketch."""
    if name == "identity":
        return (None, None), None
    if name == "exact":
        covariances = data.covariances()
        return (CholeskyPreconditioner(covariances.xx), CholeskyPreconditioner(covariances.yy)), None
    size = SKETCH_FACTOR * max(data.n_features)
    x, y = data.sketch(CountSketch(size, seed=seed))
    return (SketchedGramPreconditioner(x), SketchedGramPreconditioner(y)), size


def condition_number(covariances: Covariances, preconditioners: tuple[Any, Any]) -> float:
    """Condition number of blkdiag(Sxx, Syy) in the metric, by a dense eigensolver."""
    spectra = []
    for covariance, preconditioner in zip((covariances.xx, covariances.yy), preconditioners, strict=True):
        m = None if preconditioner is None else preconditioner.apply(np.eye(len(covariance)))
        spectra.append(scipy.linalg.eigh(covariance, m, eigvals_only=True))
    eigenvalues = np.concatenate(spectra)
    return float(eigenvalues.max() / eigenvalues.min())


def first_below(values: np.ndarray, counts: np.ndarray, bound: float) -> int | None:
    """Count at the first value that is at most the bound, if any."""
    below = np.flatnonzero(values <= bound)
    return int(counts[below[0]]) if below.size else None
