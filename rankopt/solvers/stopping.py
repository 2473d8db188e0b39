"""Stopping criteria as values that combine: ``a | b`` stops when either does, ``a & b`` when both do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from rankopt.solvers.parameters import require_at_least, require_instance


class Status(IntEnum):
    """Why a run ended."""

    CONVERGED_GRADIENT = 0
    CONVERGED_COST = 1
    STEP_TOO_SMALL = 2
    ITERATION_LIMIT = 3
    EVALUATION_LIMIT = 4
    TIME_LIMIT = 5
    APPROXIMATION_FLOOR = 6
    INTERRUPTED = 7
    USER = 8

    @property
    def success(self) -> bool:
        """Whether the run reached what it was asked for."""
        return self in (Status.CONVERGED_GRADIENT, Status.CONVERGED_COST, Status.APPROXIMATION_FLOOR)

    @property
    def message(self) -> str:
        """One sentence for people."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.CONVERGED_GRADIENT: "The norm of the gradient is below its tolerance.",
    Status.CONVERGED_COST: "The cost has reached its target or changes less than its tolerance.",
    Status.STEP_TOO_SMALL: "No step decreases the cost beyond rounding; check the gradient if its norm is large.",
    Status.ITERATION_LIMIT: "The limit of iterations was reached; allow more, or improve metric or preconditioner.",
    Status.EVALUATION_LIMIT: "The limit of evaluations was reached.",
    Status.TIME_LIMIT: "The limit of time was reached.",
    Status.APPROXIMATION_FLOOR: "The gradient is below the error with which it is known.",
    Status.INTERRUPTED: "Interrupted; this is the best point so far.",
    Status.USER: "Stopped by the callback.",
}


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
    """

    history: Mapping[str, Sequence[float]]
    epsilon: float

    @property
    def iteration(self) -> int:
        """Number of steps taken."""
        return len(self.history["fun"]) - 1


class StoppingCriterion(ABC):
    """A rule that ends a run with a status; combine rules with ``|`` and ``&``."""

    @abstractmethod
    def check(self, progress: Progress) -> Status | None:
        """Status with which to stop, or None to go on."""

    def __or__(self, other: StoppingCriterion) -> StoppingCriterion:
        return AnyOf((self, other))

    def __and__(self, other: StoppingCriterion) -> StoppingCriterion:
        return AllOf((self, other))


def _require_criteria(criteria: Sequence[StoppingCriterion]) -> None:
    if not criteria:
        raise ValueError("criteria must not be empty")
    for criterion in criteria:
        require_instance("criteria", criterion, StoppingCriterion, "MaxIterations(100)")


@dataclass(frozen=True)
class AnyOf(StoppingCriterion):
    """Stops when any of its criteria does, with the status of the first that does."""

    criteria: tuple[StoppingCriterion, ...]

    def __post_init__(self) -> None:
        _require_criteria(self.criteria)

    def check(self, progress: Progress) -> Status | None:
        return next((s for c in self.criteria if (s := c.check(progress)) is not None), None)


@dataclass(frozen=True)
class AllOf(StoppingCriterion):
    """Stops when all of its criteria do at once, with the status of the first."""

    criteria: tuple[StoppingCriterion, ...]

    def __post_init__(self) -> None:
        _require_criteria(self.criteria)

    def check(self, progress: Progress) -> Status | None:
        statuses = [criterion.check(progress) for criterion in self.criteria]
        return None if None in statuses else statuses[0]


@dataclass(frozen=True)
class GradientNorm(StoppingCriterion):
    """Stops when the norm of the Riemannian gradient is at most ``absolute + relative * (norm at the start)``.

    Parameters
    ----------
    absolute, relative : float, optional
        Tolerances, zero where only the other is given. By default, which does not depend on the scale of the cost,
        ``relative`` is 1e-6 in float64 and 1e-3 in float32, and ``absolute`` is 10 machine epsilons of the cost, so
        that a run that starts at an optimum ends there.
    """

    absolute: float | None = None
    relative: float | None = None

    def __post_init__(self) -> None:
        for name in ("absolute", "relative"):
            if getattr(self, name) is not None:
                require_at_least(name, getattr(self, name), 0)

    def check(self, progress: Progress) -> Status | None:
        norms = progress.history["grad_norm"]
        if self.absolute is None and self.relative is None:
            absolute = 10 * progress.epsilon * abs(progress.history["fun"][-1])
            relative = 1e-6 if progress.epsilon < 1e-10 else 1e-3
        else:
            absolute, relative = self.absolute or 0.0, self.relative or 0.0
        return Status.CONVERGED_GRADIENT if norms[-1] <= absolute + relative * norms[0] else None


@dataclass(frozen=True)
class CostChange(StoppingCriterion):
    """Stops when the cost has changed by at most ``tolerance * |cost|`` over the last ``iterations`` steps.

    Parameters
    ----------
    tolerance : float, optional
        Relative tolerance; 4 machine epsilons by default, where costs differ by rounding only.
    iterations : int
        Number of steps over which the change is taken.
    """

    tolerance: float | None = None
    iterations: int = 10

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            require_at_least("tolerance", self.tolerance, 0)
        require_at_least("iterations", self.iterations, 1, whole=True)

    def check(self, progress: Progress) -> Status | None:
        costs = progress.history["fun"]
        if len(costs) <= self.iterations:
            return None
        recent = costs[-self.iterations - 1 :]
        tolerance = 4 * progress.epsilon if self.tolerance is None else self.tolerance
        return Status.CONVERGED_COST if max(recent) - min(recent) <= tolerance * abs(costs[-1]) else None


@dataclass(frozen=True)
class TargetCost(StoppingCriterion):
    """Stops when the cost is at most ``target``."""

    target: float

    def __post_init__(self) -> None:
        require_at_least("target", self.target, -float("inf"))

    def check(self, progress: Progress) -> Status | None:
        return Status.CONVERGED_COST if progress.history["fun"][-1] <= self.target else None


@dataclass(frozen=True)
class StepSize(StoppingCriterion):
    """Stops when the last step was at most ``tolerance`` long, in the metric's step parameter t."""

    tolerance: float

    def __post_init__(self) -> None:
        require_at_least("tolerance", self.tolerance, 0)

    def check(self, progress: Progress) -> Status | None:
        small = progress.iteration > 0 and progress.history["step_size"][-1] <= self.tolerance
        return Status.STEP_TOO_SMALL if small else None


@dataclass(frozen=True)
class MaxIterations(StoppingCriterion):
    """Stops after a number of steps."""

    limit: int

    def __post_init__(self) -> None:
        require_at_least("limit", self.limit, 0, whole=True)

    def check(self, progress: Progress) -> Status | None:
        return Status.ITERATION_LIMIT if progress.iteration >= self.limit else None


@dataclass(frozen=True)
class MaxEvaluations(StoppingCriterion):
    """Stops once a count has reached its limit; a step that has begun is finished first.

    Parameters
    ----------
    limit : int
    counted : str
        What is counted: ``"nfev"`` (costs), ``"ngev"`` (gradients), or another count of the problem, such as
        ``"n_passes"``.
    """

    limit: int
    counted: str = "nfev"

    def __post_init__(self) -> None:
        require_at_least("limit", self.limit, 0, whole=True)

    def check(self, progress: Progress) -> Status | None:
        if self.counted not in progress.history:
            raise ValueError(f"counted must be one of {sorted(progress.history)}, got {self.counted!r}")
        return Status.EVALUATION_LIMIT if progress.history[self.counted][-1] >= self.limit else None


@dataclass(frozen=True)
class MaxTime(StoppingCriterion):
    """Stops once so many seconds have passed; a step that has begun is finished first."""

    seconds: float

    def __post_init__(self) -> None:
        require_at_least("seconds", self.seconds, 0)

    def check(self, progress: Progress) -> Status | None:
        return Status.TIME_LIMIT if progress.history["time"][-1] >= self.seconds else None
