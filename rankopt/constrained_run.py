"""The augmented Lagrangian method: a run of minimizations without constraints."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from manifolds.linalg import Array, machine_epsilon, namespace
from manifolds.manifold import Point
from rankopt.augmented_lagrangian import (
    AugmentedObjective,
    AugmentedProblem,
    first_multipliers,
    first_penalty,
)
from rankopt.checkpoint import CheckpointFile, InnerFile, Outer, SavedRun, Snapshot
from rankopt.constraints import Constraints
from rankopt.minimize import Run, method_of, progress_bar, unstarted_result
from rankopt.solvers.method import Method
from rankopt.solvers.parameters import require_at_least, require_positive
from rankopt.solvers.progress import Progress
from rankopt.solvers.status import Status
from rankopt.solvers.stopping import CostChange, Feasibility, GradientNorm, MaxIterations, StoppingCriterion, rules_in
from rankopt.state import ObjectiveProblem, ObjectiveState, euclidean_size

_CUT_SHORT = {Status.EVALUATION_LIMIT, Status.TIME_LIMIT}
"""How minimizations end that go on where the limits of the whole run are larger."""

_PATIENCE = 5
"""Number of outer iterations in which a violation must fall by a tenth, and of failures in a row that end a run."""


@dataclass(frozen=True)
class AugmentedLagrangian:
    """Augmented Lagrangian method: minimizations without constraints, each with better multipliers than the last.

        L(x) = f(x) + sum s * (m + r s / 2),    s = h(x) for equalities,    s = max(g(x), -m / r) for inequalities,

    is minimized over the manifold until its gradient is small enough, from where the last minimization ended. Then the
    multipliers become m + r s, and the penalty r is raised where the largest s has not fallen enough.

    Parameters
    ----------
    inner : {"trust-region", "newton-cg", "lbfgs", "conjugate-gradient", "gradient-descent"} or Method
        Method of the minimizations. Trust regions have exact Hessian products where autograd differentiates all of the
        constraints and the cost does; else differences of gradients.
    penalty : float, optional
        First penalty r. By default 10 max(abs(f), l norm(grad f)) / max(norm(c), l norm(Dc^T w))^2 at the start point,
        with the violation c, the manifold's typical distance l and a random vector w of unit norm.
    growth : float
        Factor by which the penalty is raised.
    decrease : float
        The penalty is raised where the largest s has not fallen to this fraction of the larger one of those after the
        two minimizations before.
    tightening : float
        A minimization ends where the gradient has this fraction of its norm at the start, where the residuals of the
        last one made it, but is no less exact than the last, and no more than ``stopping`` asks.
    max_multiplier : float
        Multipliers are kept to this absolute value between minimizations.
    max_inner : int
        Limit of steps for each minimization.

    References
    ----------
    Liu, Boumal, Simple algorithms for optimization on Riemannian manifolds with constraints, Appl. Math. Optim. 82
    (2020), Algorithm 1; Birgin, Martínez, Practical augmented Lagrangian methods for constrained optimization (2014).

    Examples
    --------
    >>> AugmentedLagrangian(inner="newton-cg", growth=5.0).growth
    5.0
    """

    inner: str | Method[Any] = "trust-region"
    penalty: float | None = None
    growth: float = 10.0
    decrease: float = 0.25
    tightening: float = 0.1
    max_multiplier: float = 1e20
    max_inner: int = 1000

    def __post_init__(self) -> None:
        method_of(self.inner)
        for name in ("growth", "decrease", "tightening", "max_multiplier"):
            require_at_least(name, getattr(self, name), 0)
        for name in ("decrease", "tightening"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"0 < {name} < 1 must hold, got {getattr(self, name)}")
        if not self.growth > 1:
            raise ValueError(f"growth must be above 1, got {self.growth}")
        if self.penalty is not None:
            require_positive("penalty", self.penalty)
        require_at_least("max_inner", self.max_inner, 1, whole=True)


class SavedMinimizations(NamedTuple):
    """What a checkpoint holds of a constrained run besides its history and the minimization that it is in."""

    is_within: bool
    """Whether it is in a minimization; else it is after one, or at its start."""
    point: Point
    """Where the minimization began, or where the last one has led."""
    multipliers: tuple[Array, ...]
    penalty: float
    residuals: tuple[float, ...]
    tolerance: float
    failures: int
    has_succeeded: bool
    seconds: float


class ConstrainedRun:
    """One run of the method: records, stops, reports, and survives an interruption."""

    def __init__(
        self,
        method: AugmentedLagrangian,
        stopping: StoppingCriterion,
        preconditioner: Any,
        callback: Any,
        show: Any,
        file: CheckpointFile | None = None,
    ) -> None:
        self._method, self._stopping = method, stopping
        self._preconditioner, self._callback, self._show, self._file = preconditioner, callback, show, file
        self._history: dict[str, list[float]] = {}
        self._problem: AugmentedProblem | None = None
        self._last: ObjectiveState | None = None
        self._inner_steps = 0
        self._counted_before: dict[str, int] = {}
        self._residuals = [float("inf")]
        self._tolerance = float("inf")
        self._failures = 0
        self._has_succeeded = False
        self._began = time.perf_counter()

    def to_end(
        self, cost: ObjectiveProblem, constraints: Constraints, x0: Point, multipliers: Sequence[Array] | None
    ) -> OptimizeResult:
        """Run from a start point until a criterion, the callback or an interruption ends it."""
        bar = progress_bar(self._show)
        try:
            saved = None if self._file is None else self._file.read(x0)
            if saved is None:
                self._start(cost, constraints, x0, multipliers)
            else:
                saved = self._resume(cost, constraints, saved)
            status = self._iterate(saved, bar)
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        finally:
            bar.close()
            if self._file is not None:
                self._file.close()
        if self._last is None:
            names = ("constraint_violation", "complementarity", "penalty")
            recorded = ("fun", "grad_norm", *names, "step_size", "inner_nit", "time")
            more = {**dict.fromkeys(names, float("nan")), "multipliers": multipliers, "inner_nit": 0}
            return unstarted_result(x0, recorded, cost.counts() | constraints.counts(), **more)
        return self._result(self._last, status)

    def _start(
        self, cost: ObjectiveProblem, constraints: Constraints, x0: Point, multipliers: Sequence[Array] | None
    ) -> None:
        """Make the problem of the first minimization, and record its start."""
        state = cost.start(x0)
        evaluations = constraints.at(state.point)
        for evaluation in evaluations:
            evaluation.require_usable_values()
        first = first_multipliers(evaluations, multipliers)
        penalty = self._method.penalty or first_penalty(state, evaluations)
        objective = AugmentedObjective(cost.objective, constraints, cost.manifold, first, penalty)
        self._problem = AugmentedProblem(objective, objective.of(state.point, state.evaluation, evaluations))
        start = self._problem.start(None)
        self._record(start, 0.0)
        self._keep(start)

    def _resume(self, cost: ObjectiveProblem, constraints: Constraints, saved: SavedRun) -> SavedRun | None:
        """Go back to a saved run; the minimization that it was in, if it was in one."""
        assert saved.outer is not None
        kept = SavedMinimizations._make(saved.outer.tree)
        self._residuals, self._tolerance = list(kept.residuals), kept.tolerance
        self._failures, self._has_succeeded = kept.failures, kept.has_succeeded
        self._inner_steps, self._began = saved.outer.steps, time.perf_counter() - kept.seconds
        self._history.update(saved.outer.history)
        point = cost.manifold.at(kept.point).point
        objective = AugmentedObjective(cost.objective, constraints, cost.manifold, kept.multipliers, kept.penalty)
        problem = self._problem = AugmentedProblem(objective, objective.at(point))
        for constraint, multipliers in zip(constraints.at(point), kept.multipliers, strict=True):
            if (now := tuple(constraint.values.shape)) != (then := tuple(multipliers.shape)):
                raise saved.refusal(f"values of {constraint.name} have shape {now}, but had {then}")
        if kept.is_within:
            return saved
        state, _ = saved.states(problem)
        assert isinstance(state, ObjectiveState)
        self._last = state
        counts, before = problem.counts(), saved.outer.history
        self._counted_before = {name: before[name][-1] - count for name, count in counts.items()}
        self._problem = self._updated(problem, state) if saved.outer.nit else problem.from_state(state)
        return None

    def _iterate(self, inner: SavedRun | None, bar: Any) -> Status:
        """Minimize until the run ends; the first time from within a saved minimization, if there is one."""
        assert self._problem is not None
        seen = Progress(self._history, machine_epsilon(self._problem.start_point))
        while inner is not None or (status := self._end(seen)) is None:
            inner_status, state = self._minimize(inner, seen)
            inner = None
            if state is None:
                return inner_status  # interrupted before its first record
            bar.update(state)
            if inner_status is Status.INTERRUPTED:
                return inner_status
            if inner_status not in _CUT_SHORT:
                self._keep(state)
            if self._callback is not None:
                try:
                    self._callback(self._result(state, None))
                except StopIteration:
                    return Status.USER
            self._problem = self._updated(self._problem, state)
        return status

    def _minimize(self, saved: SavedRun | None, seen: Progress) -> tuple[Status, ObjectiveState | None]:
        """Minimize the augmented Lagrangian of now, and record where that ends."""
        problem = self._problem
        assert problem is not None
        if saved is None:
            self._tolerance = min(self._tolerance, self._method.tightening * problem.start(None).gradient_norm)
        limits = InnerStopping(self._tolerance, self._method.max_inner, self._stopping, seen, self._elapsed)
        file = None if self._file is None else InnerFile(self._file, self._outer, saved)
        method = method_of(self._method.inner)
        inner = Run(problem, method, limits, self._preconditioner, None, False, file, self._counted_before)
        status, state = inner.to_last_state(problem.start_point)
        self._inner_steps += inner.steps
        self._counted_before = inner.counted_before
        if not isinstance(state, ObjectiveState):
            return status, None
        difference = problem.manifold.linear_combination(1.0, state.point, -1.0, problem.start_point)
        moved = euclidean_size(problem.manifold, difference)
        self._record(state, moved)
        self._has_succeeded |= status.success
        self._failures = 0 if status.success or moved > 0 else self._failures + 1
        return status, state

    def _outer(self, point: Point = None) -> Outer:
        """What a checkpoint holds of this run within a minimization, or after one that has led to a point."""
        assert self._problem is not None
        objective, is_within = self._problem.objective, point is None
        tree = SavedMinimizations(
            is_within, self._problem.start_point if is_within else point, objective.multipliers, objective.penalty,
            tuple(self._residuals), self._tolerance, self._failures, self._has_succeeded, self._elapsed(),
        )  # fmt: skip
        return Outer(tree, self._history, len(self._history["time"]) - 1, self._inner_steps)

    def _keep(self, state: ObjectiveState) -> None:
        """Let the checkpoint have a whole minimization."""
        if self._file is not None:
            history = {"fun": [state.value], "grad_norm": [state.gradient_norm]}
            self._file.keep(Snapshot(state, None, state, 0, 0.0, self._outer(state.point)), history)

    def _end(self, seen: Progress) -> Status | None:
        """Status with which the run ends, or None where it goes on."""
        status = self._stopping.check(seen)
        if status is Status.CONVERGED_COST and self._failures and not self._has_succeeded:
            return Status.STEP_TOO_SMALL  # the cost is the same since no minimization could take a step
        if status is None and self._is_stuck(seen):
            return Status.INFEASIBLE
        if status is None and self._failures >= _PATIENCE:
            return Status.STEP_TOO_SMALL
        return status

    def _updated(self, problem: AugmentedProblem, state: ObjectiveState) -> AugmentedProblem:
        """Problem of the next minimization: with the multipliers of this one and, if need be, a larger penalty."""
        bound, penalty = self._method.max_multiplier, problem.objective.penalty
        # How exact a minimization is shows in its multipliers, and in the residuals of the next one.
        falls = state.evaluation.residual <= self._method.decrease * max(self._residuals[-2:])
        self._residuals.append(state.evaluation.residual)
        if not falls and not self._is_feasible():
            penalty *= self._method.growth
        multipliers = (namespace(y).clip(y, -bound, bound) for y in state.evaluation.multipliers)
        return problem.updated(state.evaluation, tuple(multipliers), penalty)

    def _is_feasible(self) -> bool:
        """Whether the constraints hold to the tolerance that the run was given, or to the default."""
        assert self._last is not None
        seen = Progress(self._history, machine_epsilon(self._last.point))
        rules = [rule for rule in rules_in(self._stopping) if isinstance(rule, Feasibility)]
        return all(rule.is_met(seen) for rule in rules or [Feasibility()])

    def _is_stuck(self, seen: Progress) -> bool:
        """Whether the violation has not fallen by a tenth while the penalty was raised again and again."""
        if seen.iteration <= _PATIENCE or self._is_feasible():
            return False
        violations, penalties = (self._history[name][-1 - _PATIENCE :] for name in ("constraint_violation", "penalty"))
        rises = all(after > before for before, after in pairwise(penalties[1:]))
        return rises and violations[-1] > 0.9 * violations[0]

    def _counts(self) -> dict[str, int]:
        """True counts of this run, over all calls that it took."""
        assert self._problem is not None
        return {name: count + self._counted_before.get(name, 0) for name, count in self._problem.counts().items()}

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    def _record(self, state: ObjectiveState, step_size: float) -> None:
        """Add one entry to the history."""
        assert self._problem is not None
        entry = {
            "fun": state.evaluation.cost.value,
            "grad_norm": state.gradient_norm,
            **state.evaluation.constraint_measures,
        }
        entry |= {"step_size": step_size, "inner_nit": self._inner_steps, **self._counts()}
        for name, value in (entry | {"time": self._elapsed()}).items():
            self._history.setdefault(name, []).append(value)
        self._last = state

    def _result(self, state: ObjectiveState, status: Status | None) -> OptimizeResult:
        assert self._problem is not None
        # An interruption may have left an entry that is not whole; the time comes last.
        evaluation, length = state.evaluation, len(self._history["time"])
        result = OptimizeResult(
            x=state.point,
            fun=evaluation.cost.value,
            grad_norm=state.gradient_norm,
            multipliers=evaluation.multipliers,
            **evaluation.constraint_measures,
            nit=length - 1,
            inner_nit=self._inner_steps,
            **self._counts(),
        )
        if status is not None:
            history = {name: np.asarray(values[:length]) for name, values in self._history.items()}
            message = f"{status.message} The largest violation of a constraint is {evaluation.violation:.1e}."
            result.update(success=status.success, status=status, message=message, history=OptimizeResult(history))
        return result


@dataclass(frozen=True)
class InnerStopping(StoppingCriterion):
    """Ends a minimization: the gradient is small enough, costs differ by rounding only, or a limit of the whole run."""

    tolerance: float
    max_iterations: int
    outer: StoppingCriterion
    seen: Progress
    elapsed: Callable[[], float]

    def check(self, progress: Progress) -> Status | None:
        if self._is_stationary(progress):
            return Status.CONVERGED_GRADIENT
        # With the records of the outer run, which did not end it, but what has been spent by now.
        own = {"fun", "grad_norm", "step_size", "cost"}
        spent = {name: values for name, values in progress.history.items() if name not in own}
        spent["time"] = [self.elapsed()]
        status = self.outer.check(Progress({**self.seen.history, **spent}, progress.epsilon))
        return status or (CostChange() | MaxIterations(self.max_iterations)).check(progress)

    def _is_stationary(self, progress: Progress) -> bool:
        """Whether the gradient is below this tolerance or that of the outer run."""
        norm = progress.latest("grad_norm")
        compared = {"fun": [progress.latest("cost")], "grad_norm": [self.seen.first("grad_norm"), norm]}
        rules = [rule for rule in rules_in(self.outer) if isinstance(rule, GradientNorm)]
        return norm <= self.tolerance or any(rule.is_met(Progress(compared, progress.epsilon)) for rule in rules)
