"""Stopping criteria as values that combine: ``a | b`` stops when either does, ``a & b`` when both do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from typing import Any, ClassVar

from manifolds.linalg import Array, namespace
from rankopt.solvers.elementwise import choose
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
    NOT_FINITE = 9
    FEASIBLE = 10
    INFEASIBLE = 11

    @property
    def success(self) -> bool:
        """Whether the run reached what it was asked for."""
        return self in _SUCCESSES

    @property
    def message(self) -> str:
        """One sentence for people."""
        return _MESSAGES[self]


_SUCCESSES = {Status.CONVERGED_GRADIENT, Status.CONVERGED_COST, Status.APPROXIMATION_FLOOR, Status.FEASIBLE}
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
    Status.NOT_FINITE: "The cost or its gradient is not finite at the start, or wherever a step was tried from here.",
    Status.FEASIBLE: "The constraints hold within their tolerance.",
    Status.INFEASIBLE: (
        "The violation of the constraints no longer falls, whatever its penalty; they may contradict each other, or "
        "the run is stuck at a stationary point of their violation: check them, or start elsewhere."
    ),
}

UNFINISHED = -1
"""What stands in an array of statuses for a problem that goes on."""


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


class StoppingCriterion(ABC):
    """A rule that ends a run with a status; combine rules with ``|`` and ``&``."""

    @abstractmethod
    def check(self, progress: Progress) -> Status | None:
        """Status with which to stop, or None to go on."""

    def check_each(self, progress: BatchProgress) -> Array:
        """Status of each problem of a batch, -1 where it goes on."""
        raise TypeError(
            f"{type(self).__name__} has no check_each, so it cannot stop the problems of a batch one by one; derive it "
            "from StoppingRule"
        )

    @property
    def lookback(self) -> int:
        """Over how many latest steps the criterion looks."""
        return 0

    def __or__(self, other: StoppingCriterion) -> StoppingCriterion:
        return AnyOf((self, other))

    def __and__(self, other: StoppingCriterion) -> StoppingCriterion:
        return AllOf((self, other))


class StoppingRule(StoppingCriterion):
    """A criterion that is one condition with one status, for one problem and for each problem of a batch."""

    status: ClassVar[Status]

    @abstractmethod
    def is_met(self, progress: Progress) -> Any:
        """Whether to stop, by ``first``, ``latest``, ``iteration`` and ``cost_range``: a bool, or an array of them."""

    def check(self, progress: Progress) -> Status | None:
        return self.status if self.is_met(progress) else None

    def check_each(self, progress: BatchProgress) -> Array:
        met = self.is_met(progress) & (progress.steps >= 0)  # a limit of time is met by all or by none
        return namespace(met).where(met, int(self.status), UNFINISHED)


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

    def check_each(self, progress: BatchProgress) -> Array:
        statuses = [criterion.check_each(progress) for criterion in self.criteria]
        return reduce(lambda first, second: choose(first == UNFINISHED, second, first), statuses)

    @property
    def lookback(self) -> int:
        return max(criterion.lookback for criterion in self.criteria)


@dataclass(frozen=True)
class AllOf(StoppingCriterion):
    """Stops when all of its criteria do at once, with the status of the first."""

    criteria: tuple[StoppingCriterion, ...]

    def __post_init__(self) -> None:
        _require_criteria(self.criteria)

    def check(self, progress: Progress) -> Status | None:
        statuses = [criterion.check(progress) for criterion in self.criteria]
        return None if None in statuses else statuses[0]

    def check_each(self, progress: BatchProgress) -> Array:
        statuses = [criterion.check_each(progress) for criterion in self.criteria]
        return reduce(lambda first, second: choose(second == UNFINISHED, second, first), statuses)

    @property
    def lookback(self) -> int:
        return max(criterion.lookback for criterion in self.criteria)


@dataclass(frozen=True)
class GradientNorm(StoppingRule):
    """Stops when the norm of the Riemannian gradient is at most ``absolute + relative * (norm at the start)``.

    Parameters
    ----------
    absolute, relative : float, optional
        Tolerances, zero where only the other is given. By default, which does not depend on the scale of the cost,
        ``relative`` is 1e-6 in float64 and 1e-3 in float32, and ``absolute`` is 10 machine epsilons of the cost, so
        that a run that starts at an optimum ends there.
    """

    status = Status.CONVERGED_GRADIENT
    absolute: float | None = None
    relative: float | None = None

    def __post_init__(self) -> None:
        for name in ("absolute", "relative"):
            if getattr(self, name) is not None:
                require_at_least(name, getattr(self, name), 0)

    def is_met(self, progress: Progress) -> Any:
        if self.absolute is None and self.relative is None:
            absolute = 10 * progress.epsilon * abs(progress.latest("fun"))
            relative = 1e-6 if progress.epsilon < 1e-10 else 1e-3
        else:
            absolute, relative = self.absolute or 0.0, self.relative or 0.0
        return progress.latest("grad_norm") <= absolute + relative * progress.first("grad_norm")


@dataclass(frozen=True)
class ApproximationFloor(StoppingRule):
    """Stops when the norm of the gradient is at most ``factor`` times the error with which the gradient is known.

    Only problems that record ``gradient_error``, such as those of sampled functions, have such an error.
    """

    factor: float = 0.1
    status = Status.APPROXIMATION_FLOOR

    def __post_init__(self) -> None:
        require_at_least("factor", self.factor, 0)

    def is_met(self, progress: Progress) -> Any:
        if "gradient_error" not in progress.history:
            raise ValueError(
                "ApproximationFloor needs a problem that knows the error of its gradients, such as a SampledFunction"
            )
        return progress.latest("grad_norm") <= self.factor * progress.latest("gradient_error")


@dataclass(frozen=True)
class Feasibility(StoppingRule):
    """Stops when every constraint holds to ``tolerance``, and no inequality with a multiplier is slack by more.

    Only runs of ``minimize_constrained`` record how feasible they are; there it is combined with others by ``&``.

    Parameters
    ----------
    tolerance : float, optional
        In the units of the constraints; 1e-6 in float64 and 1e-3 in float32 by default.
    """

    status = Status.FEASIBLE
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            require_at_least("tolerance", self.tolerance, 0)

    def is_met(self, progress: Progress) -> Any:
        if "constraint_violation" not in progress.history:
            raise ValueError("Feasibility needs a problem with constraints, as minimize_constrained has it")
        tolerance = (1e-6 if progress.epsilon < 1e-10 else 1e-3) if self.tolerance is None else self.tolerance
        return max(progress.latest("constraint_violation"), progress.latest("complementarity")) <= tolerance


@dataclass(frozen=True)
class CostChange(StoppingRule):
    """Stops when the cost has changed by at most ``tolerance * |cost|`` over the last ``iterations`` steps.

    Parameters
    ----------
    tolerance : float, optional
        Relative tolerance; 4 machine epsilons by default, where costs differ by rounding only.
    iterations : int
        Number of steps over which the change is taken.
    """

    status = Status.CONVERGED_COST
    tolerance: float | None = None
    iterations: int = 10

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            require_at_least("tolerance", self.tolerance, 0)
        require_at_least("iterations", self.iterations, 1, whole=True)

    @property
    def lookback(self) -> int:
        return self.iterations

    def is_met(self, progress: Progress) -> Any:
        tolerance = 4 * progress.epsilon if self.tolerance is None else self.tolerance
        return progress.cost_range(self.iterations) <= tolerance * abs(progress.latest("fun"))


@dataclass(frozen=True)
class TargetCost(StoppingRule):
    """Stops when the cost is at most ``target``."""

    status = Status.CONVERGED_COST
    target: float

    def __post_init__(self) -> None:
        require_at_least("target", self.target, -float("inf"))

    def is_met(self, progress: Progress) -> Any:
        return progress.latest("fun") <= self.target


@dataclass(frozen=True)
class StepSize(StoppingRule):
    """Stops when the last step was at most ``tolerance`` long, in the metric's step parameter t."""

    status = Status.STEP_TOO_SMALL
    tolerance: float

    def __post_init__(self) -> None:
        require_at_least("tolerance", self.tolerance, 0)

    def is_met(self, progress: Progress) -> Any:
        return (progress.iteration > 0) & (progress.latest("step_size") <= self.tolerance)


@dataclass(frozen=True)
class MaxIterations(StoppingRule):
    """Stops after a number of steps."""

    status = Status.ITERATION_LIMIT
    limit: int

    def __post_init__(self) -> None:
        require_at_least("limit", self.limit, 0, whole=True)

    def is_met(self, progress: Progress) -> Any:
        return progress.iteration >= self.limit


@dataclass(frozen=True)
class MaxEvaluations(StoppingRule):
    """Stops once a count has reached its limit; a step that has begun is finished first.

    Parameters
    ----------
    limit : int
    counted : str
        What is counted: ``"nfev"`` (costs), ``"ngev"`` (gradients), or another count of the problem, such as
        ``"n_passes"``.
    """

    status = Status.EVALUATION_LIMIT
    limit: int
    counted: str = "nfev"

    def __post_init__(self) -> None:
        require_at_least("limit", self.limit, 0, whole=True)

    def is_met(self, progress: Progress) -> Any:
        if self.counted not in progress.history:
            raise ValueError(f"counted must be one of {sorted(progress.history)}, got {self.counted!r}")
        return progress.latest(self.counted) >= self.limit


@dataclass(frozen=True)
class MaxTime(StoppingRule):
    """Stops once so many seconds have passed; a step that has begun is finished first."""

    status = Status.TIME_LIMIT
    seconds: float

    def __post_init__(self) -> None:
        require_at_least("seconds", self.seconds, 0)

    def is_met(self, progress: Progress) -> Any:
        return progress.latest("time") >= self.seconds


def rules_in(criterion: StoppingCriterion) -> list[StoppingCriterion]:
    """The rules of which a criterion is combined."""
    if isinstance(criterion, (AnyOf, AllOf)):
        return [rule for part in criterion.criteria for rule in rules_in(part)]
    return [criterion]


def as_criterion(stopping: StoppingCriterion | None) -> StoppingCriterion:
    """Criterion of a run: the given one, or the default that does not depend on the scale of the cost."""
    if stopping is None:
        return GradientNorm() | CostChange() | MaxIterations(1000)
    require_instance("stopping", stopping, StoppingCriterion, "MaxIterations(100)")
    return stopping
