"""Stopping criteria as values that combine: ``a | b`` stops when either does, ``a & b`` when both do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

from manifolds.linalg import Array, namespace
from rankopt.solvers.elementwise import choose
from rankopt.solvers.parameters import require_at_least, require_instance
from rankopt.solvers.progress import BatchProgress, Progress
from rankopt.solvers.status import UNFINISHED, Status


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
    """Stops when any of its criteria does, with the status of the first that does.

    Examples
    --------
    >>> GradientNorm(relative=1e-8) | MaxIterations(500)
    AnyOf(criteria=(GradientNorm(absolute=None, relative=1e-08), MaxIterations(limit=500)))
    """

    criteria: tuple[StoppingCriterion, ...]

    def __post_init__(self) -> None:
        _require_criteria(self.criteria)

    def check(self, progress: Progress) -> Status | None:
        for criterion in self.criteria:
            status = criterion.check(progress)
            if status is not None:
                return status
        return None

    def check_each(self, progress: BatchProgress) -> Array:
        statuses = [criterion.check_each(progress) for criterion in self.criteria]
        return reduce(lambda first, second: choose(first == UNFINISHED, second, first), statuses)

    @property
    def lookback(self) -> int:
        return max(criterion.lookback for criterion in self.criteria)


@dataclass(frozen=True)
class AllOf(StoppingCriterion):
    """Stops when all of its criteria do at once, with the status of the first.

    Examples
    --------
    >>> CostChange(1e-6) & StepSize(1e-4)
    AllOf(criteria=(CostChange(tolerance=1e-06, iterations=10), StepSize(tolerance=0.0001)))
    """

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

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import QuadraticObjective, GradientNorm, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), stopping=GradientNorm(relative=1e-8), rng=0).status.name
    'CONVERGED_GRADIENT'
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

    Examples
    --------
    >>> ApproximationFloor(factor=0.5) | MaxIterations(500)
    AnyOf(criteria=(ApproximationFloor(factor=0.5), MaxIterations(limit=500)))
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

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import Feasibility, GradientNorm, Inequality, MaxIterations, minimize_constrained
    >>> target, stopping = np.array([0.6, -0.8]), GradientNorm() & Feasibility(1e-4) | MaxIterations(50)
    >>> not_negative = Inequality(lambda x: -x, lambda x, y: -y)
    >>> result = minimize_constrained(
    ...     lambda x: -target @ x, Sphere(2), not_negative, gradient=lambda x: -target, stopping=stopping, rng=0
    ... )
    >>> result.success, bool(result.constraint_violation <= 1e-4)
    (True, True)
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

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import QuadraticObjective, CostChange, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), stopping=CostChange(1e-10, iterations=3), rng=0).status.name
    'CONVERGED_COST'
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
    """Stops when the cost is at most ``target``.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import QuadraticObjective, TargetCost, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), stopping=TargetCost(0.51), rng=0).status.name
    'CONVERGED_COST'
    """

    status = Status.CONVERGED_COST
    target: float

    def __post_init__(self) -> None:
        require_at_least("target", self.target, -float("inf"))

    def is_met(self, progress: Progress) -> Any:
        return progress.latest("fun") <= self.target


@dataclass(frozen=True)
class StepSize(StoppingRule):
    """Stops when the last step was at most ``tolerance`` long, in the metric's step parameter t.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import QuadraticObjective, StepSize, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), stopping=StepSize(10.0), rng=0).status.name
    'STEP_TOO_SMALL'
    """

    status = Status.STEP_TOO_SMALL
    tolerance: float

    def __post_init__(self) -> None:
        require_at_least("tolerance", self.tolerance, 0)

    def is_met(self, progress: Progress) -> Any:
        return (progress.iteration > 0) & (progress.latest("step_size") <= self.tolerance)


@dataclass(frozen=True)
class MaxIterations(StoppingRule):
    """Stops after a number of steps.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import QuadraticObjective, MaxIterations, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), stopping=MaxIterations(2), rng=0).status.name
    'ITERATION_LIMIT'
    """

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

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import QuadraticObjective, MaxEvaluations, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), stopping=MaxEvaluations(4, "ngev"), rng=0).status.name
    'EVALUATION_LIMIT'
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
    """Stops once so many seconds have passed; a step that has begun is finished first.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import QuadraticObjective, MaxTime, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), stopping=MaxTime(0.0), rng=0).status.name
    'TIME_LIMIT'
    """

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
