"""The record of a run that stopping criteria look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifolds.linalg import Array, namespace
from rankopt.solvers.elementwise import choose


@dataclass(frozen=True)
class Progress:
    """What a stopping criterion sees: the record of a run, newest entry last.

    Attributes
    ----------
    history : mapping of str to sequence of float
        Lists ``fun``, ``grad_norm``, ``step_size``, ``time``, ``nfev``, ``ngev`` and what else the problem counts;
        the first entry is that of the start point.
    epsilon : float
        Machine epsilon of the points' dtype.

    Examples
    --------
    A criterion can be asked about a record:

    >>> from rankopt import CostChange, Progress
    >>> progress = Progress({"fun": [3.0, 1.0, 1.0]}, epsilon=2e-16)
    >>> progress.iteration, progress.cost_range(1), CostChange(1e-9, iterations=1).check(progress).name
    (2, 0.0, 'CONVERGED_COST')
    """

    history: Mapping[str, Sequence[float]]
    epsilon: float

    @property
    def iteration(self) -> int:
        """Number of steps taken."""
        return len(self.history["fun"]) - 1

    def first(self, name: str) -> Any:
        """Entry of the start point."""
        return self.history[name][0]

    def latest(self, name: str) -> Any:
        """Entry of the current point."""
        return self.history[name][-1]

    def cost_range(self, steps: int) -> Any:
        """Largest minus smallest cost over so many latest steps; infinite before that many were taken."""
        if self.iteration < steps:
            return float("inf")
        recent = self.history["fun"][-steps - 1 :]
        return max(recent) - min(recent)


@dataclass(frozen=True)
class BatchProgress(Progress):
    """What a stopping criterion sees of a batch of problems that take their steps independently.

    Attributes
    ----------
    history : mapping of str to array of shape (m,)
        Latest entries ``fun``, ``grad_norm``, ``step_size``, ``nfev`` and ``ngev`` of every problem; ``time`` is one
        number.
    epsilon : float
        Machine epsilon of the points' dtype.
    start : mapping of str to array of shape (m,)
        Entries ``grad_norm`` of the start points.
    steps : array of shape (m,)
        Number of steps that each problem has taken.
    recent_costs : array of shape (m, k)
        Latest costs of each problem, newest last, the first one repeated where there were fewer.
    """

    start: Mapping[str, Array]
    steps: Array
    recent_costs: Array

    @property
    def iteration(self) -> Any:
        """Number of steps that each problem has taken."""
        return self.steps

    def first(self, name: str) -> Any:
        return self.start[name]

    def latest(self, name: str) -> Any:
        return self.history[name]

    def cost_range(self, steps: int) -> Any:
        xp, recent = namespace(self.steps), self.recent_costs[:, -steps - 1 :]
        spread = xp.max(recent, axis=1) - xp.min(recent, axis=1)
        return choose(self.steps < steps, float("inf"), spread)
