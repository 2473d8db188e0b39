"""What a solver of canonical correlation analysis is asked, what it answers, and where its iterations end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from problems.caller_warnings import warn_caller
from problems.canonical_pairs import CanonicalPairs
from problems.data import CovarianceProducts, PairedViews, ViewProducts
from problems.wide_vectors import products_epsilon
from rankopt.solvers.status import Status
from rankopt.solvers.stopping import ApproximationFloor, GradientNorm, MaxIterations, StoppingCriterion


class Solution(NamedTuple):
    """Canonical pairs and how they were found."""

    pairs: CanonicalPairs
    products: CovarianceProducts
    """Of the pairs with the covariances."""
    condition: float | None = None
    """Estimate of the condition number that the solver had to cope with."""
    sketch_size: int | None = None
    status: Status | None = None
    n_iter: int = 1
    solver: str | None = None
    """The solver that ran in the place of the one that was asked."""


class Request(NamedTuple):
    """What is asked of a solver."""

    n_components: int
    preconditioner: str
    tol: float
    max_iter: int
    rng: np.random.Generator


@dataclass(frozen=True)
class CCASolver(ABC):
    """A way to find the leading canonical pairs of two views."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What ``CCA.solver_`` says."""

    @abstractmethod
    def solve(self, data: PairedViews, request: Request) -> Solution:
        """Leading canonical pairs."""


def reachable(tol: float, data: ViewProducts) -> float:
    """Tolerance, but none that rounding does not let be reached."""
    return max(tol, 100 * products_epsilon(data))


def stopping_of(request: Request, problem: Any) -> StoppingCriterion:
    """When a Riemannian run ends: at the tolerance, at what rounding may leave, or at the last iteration."""
    stopping = GradientNorm(absolute=reachable(request.tol, problem.data)) | MaxIterations(request.max_iter)
    return stopping | ApproximationFloor(1.0) if problem.gradient_error else stopping


def warn_of_residual(solver: str, size: float | None, reason: str) -> None:
    """Say that a solver did not converge."""
    at = "" if size is None else f" at a gradient of {size:.1e}, above tol"
    warn_caller(f"{solver} stopped{at}: {reason}", ConvergenceWarning)


def cast_to_data(solution: Solution, data: PairedViews) -> Solution:
    """Solution in the dtype of the data."""
    cast = data.views[0].cast
    return solution._replace(
        pairs=CanonicalPairs(*map(cast, solution.pairs)), products=CovarianceProducts(*map(cast, solution.products))
    )
