"""Minimization of a function on a manifold, in the manner of ``scipy.optimize.minimize``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from manifolds.linalg import Seed, machine_epsilon
from manifolds.manifold import Manifold, Point
from manifolds.objective import as_objective
from manifolds.sampled.function import SampledFunction
from rankopt.checkpoint import Checkpoint, CheckpointFile, InnerFile, SavedRun, Snapshot
from rankopt.quadratic import QuadraticObjective
from rankopt.sampled import SampledProblem
from rankopt.solvers.conjugate_gradient import ConjugateGradient
from rankopt.solvers.gradient_descent import GradientDescent
from rankopt.solvers.lbfgs import LBFGS
from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.newton_cg import NewtonCG
from rankopt.solvers.parameters import require_instance
from rankopt.solvers.progress import Progress
from rankopt.solvers.status import Status
from rankopt.solvers.stopping import StoppingCriterion, as_criterion
from rankopt.solvers.trust_region import TrustRegion
from rankopt.state import ObjectiveProblem, Problem, State

_METHODS: dict[str, type[Method[Any]]] = {
    "conjugate-gradient": ConjugateGradient,
    "gradient-descent": GradientDescent,
    "lbfgs": LBFGS,
    "newton-cg": NewtonCG,
    "trust-region": TrustRegion,
}


def minimize(
    objective: Any,
    manifold: Manifold,
    x0: Point = None,
    method: str | Method[Any] | None = None,
    *,
    gradient: Callable[..., Any] | bool | None = None,
    hessian: Callable[..., Any] | None = None,
    preconditioner: Callable[[Point, Point], Point] | None = None,
    stopping: StoppingCriterion | None = None,
    callback: Callable[[OptimizeResult], Any] | None = None,
    rng: Seed = None,
    progress: bool | str = False,
    checkpoint: Checkpoint | None = None,
) -> OptimizeResult:
    """Minimize a function f(x) over the points x of a manifold.

    Parameters
    ----------
    objective : callable or object
        ``x -> cost``; or ``x -> (cost, Euclidean gradient)`` with ``gradient=True``; or an object with
        ``value_and_gradient(x)`` and optionally ``hessian_product(x, v)`` (Euclidean, unless it says
        ``riemannian = True``); or a QuadraticObjective; or functions in scipy's manner by ``from_scipy``; or a Problem
        with states of its own. Costs of torch points are differentiated by autograd where no gradient is given.
    manifold : Manifold
    x0 : point, optional
        Start point. One that is off the manifold by at most one percent is projected; a random one when left out.
    method : {"trust-region", "newton-cg", "lbfgs", "conjugate-gradient", "gradient-descent"} or Method, optional
        A name, or a configured value such as ``ConjugateGradient(beta=HagerZhang())``. By default a trust region where
        Hessian products are to be had (``hessian`` is given, autograd differentiates the cost, or the objective has
        ``hessian_product``), else conjugate gradients, as on problems whose line search is nearly free.
    gradient : callable or True, optional
        ``x -> Euclidean gradient``.
    hessian : callable, optional
        ``(x, v) -> Euclidean Hessian product``, which methods of second order use; without it they take differences
        of gradients, or what autograd gives.
    preconditioner : callable, optional
        ``(x, v) -> tangent vector``: an approximate inverse of the Hessian, positive definite in the metric.
    stopping : StoppingCriterion, optional
        Criteria combined with ``|`` and ``&``. By default ``GradientNorm() | CostChange() | MaxIterations(1000)``: the
        gradient's norm has fallen to 1e-6 (float64) or 1e-3 (float32) of that at the start, or to rounding, or the cost
        has changed by rounding only in ten steps. A sampled function ends earlier, at the error of its gradient, with
        ``Status.APPROXIMATION_FLOOR``.
    callback : callable, optional
        Called with the intermediate result after every step; raising StopIteration ends the run.
    rng : None, int or generator
        Where the random start point comes from.
    progress : bool or str
        Whether to show a progress bar; a string is its label.
    checkpoint : Checkpoint, optional
        File to which the run writes its state now and then, and from which it goes on where the file exists.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x``; ``fun``; ``grad_norm`` (in the metric); ``nit``; true counts ``nfev``, ``ngev``, ``nhev``; ``success``;
        ``status`` (a Status); ``message``; ``history``, a mapping of equally long arrays ``fun``, ``grad_norm``,
        ``step_size``, ``time`` (seconds), ``nfev``, ``ngev`` and what else the problem counts, one entry per
        iteration from the start point on. Ctrl-C ends the run with the best point so far and ``Status.INTERRUPTED``.

    Raises
    ------
    ValueError
        If the start point is far off the manifold or has the wrong shape, the cost is not finite there, the gradient
        has the wrong shape, or the checkpoint's file is another problem's or none of a run.
    OSError
        If the checkpoint's file cannot be written when the run starts.
    TypeError
        If arguments are of the wrong type, the cost is not one number, or libraries, dtypes or devices are mixed.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Stiefel
    >>> a = np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> result = minimize(lambda x: -np.trace(x.T @ a @ x), Stiefel(5, 2), gradient=lambda x: -2 * a @ x, rng=0)
    >>> round(result.fun, 9), result.status.name
    (-9.0, 'CONVERGED_GRADIENT')
    """
    problem = _as_problem(objective, manifold, gradient, hessian)
    solver = _as_method(method, problem)
    if preconditioner is not None and not callable(preconditioner):
        raise TypeError(
            f"preconditioner must be a callable (x, v) -> tangent vector, got {type(preconditioner).__name__}"
        )
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a callable, got {type(callback).__name__}")
    criterion = as_criterion(problem.stopping if stopping is None else stopping)
    file = file_of(checkpoint, manifold, solver, preconditioner, {"problem": type(problem).__name__})
    run = Run(problem, solver, criterion, preconditioner, callback, progress, file)
    return run.to_end(problem.random_start(rng) if x0 is None else x0)


def file_of(
    checkpoint: Checkpoint | None,
    manifold: Manifold,
    method: Method[Any],
    preconditioner: Any,
    described: dict[str, str],
) -> CheckpointFile | None:
    """File of the checkpoint that a run was given, if any; for ``described`` see CheckpointFile."""
    if checkpoint is None:
        return None
    require_instance("checkpoint", checkpoint, Checkpoint, "Checkpoint('run.npz')")
    more = {"method": repr(method), "preconditioner": "absent" if preconditioner is None else "given"}
    return CheckpointFile(checkpoint, manifold, method, described | more)


def _as_problem(objective: Any, manifold: Manifold, gradient: Any, hessian: Any) -> Problem:
    if not isinstance(manifold, Manifold):
        raise TypeError(f"manifold must be a Manifold, got {type(manifold).__name__}")
    if isinstance(objective, QuadraticObjective):
        objective = objective.on(manifold)
    elif isinstance(objective, SampledFunction):
        objective = SampledProblem(objective)
    if not isinstance(objective, Problem):
        return ObjectiveProblem(as_objective(objective, gradient, hessian), manifold)
    if manifold is not objective.manifold:
        raise ValueError("manifold must be the problem's own, problem.manifold")
    if gradient is not None or hessian is not None:
        raise ValueError("gradient and hessian must be left out: the problem brings its own")
    return objective


def _as_method(method: str | Method[Any] | None, problem: Problem) -> Method[Any]:
    if method is None:
        # Where trials cost next to nothing, a step costs one product, and so does every Hessian product.
        return TrustRegion() if problem.has_hessian and not problem.cheap_trials else ConjugateGradient()
    return method_of(method)


def method_of(method: str | Method[Any]) -> Method[Any]:
    """The method itself, or the default of a name."""
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        raise TypeError(f"method must be a name or a method such as ConjugateGradient(), got {type(method).__name__}")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {sorted(_METHODS)}, got {method!r}")
    return _METHODS[method]()


class Run:
    """One run of a method on a problem: records, stops, reports, and survives an interruption."""

    def __init__(
        self,
        problem: Problem,
        method: Method[Any],
        stopping: StoppingCriterion,
        preconditioner: Any,
        callback: Any,
        progress: bool | str,
        file: CheckpointFile | InnerFile | None = None,
        counted_before: Mapping[str, int] | None = None,
    ) -> None:
        self._file = file
        self._problem, self._method, self._stopping = problem, method, stopping
        self._preconditioner, self._callback, self._show = preconditioner, callback, progress
        self._history: dict[str, list[float]] = {name: [] for name in ("fun", "grad_norm", "step_size", "time")}
        self._best: State | None = None
        self._began = time.perf_counter()
        self.counted_before = dict(counted_before or {})

    def to_end(self, x0: Point) -> OptimizeResult:
        """Run from a start point until a criterion, the callback or an interruption ends it."""
        status, state = self.to_last_state(x0)
        return (
            unstarted_result(x0, list(self._history), self._counts()) if state is None else self._result(state, status)
        )

    def to_last_state(self, x0: Point) -> tuple[Status, State | None]:
        """Run to the end; the status and the state, which is None where the run was interrupted at its start."""
        bar = progress_bar(self._show)
        try:
            status, state = self._iterate(x0, bar)
        except KeyboardInterrupt:
            return Status.INTERRUPTED, self._best
        finally:
            bar.close()
            if self._file is not None:
                self._file.close()
        return status, state if status.success or self._best is None else self._best

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return max(len(self._history["time"]) - 1, 0)

    def _iterate(self, x0: Point, bar: Any) -> tuple[Status, State]:
        saved = None if self._file is None else self._file.read(x0)
        state = self._problem.start(x0) if saved is None else self._restore(saved)
        context = Context(
            cheap_trials=self._problem.cheap_trials,
            preconditioner=self._preconditioner,
            linear_combination=self._problem.manifold.linear_combination,
            values=self._history["fun"],
        )
        seen = Progress(self._history, machine_epsilon(state.point))
        if saved is None:
            self._record(state, 0.0)
            memory = self._method.start(state, context)
        else:
            memory = saved.method_memory(self._method, state)
        self._keep(state, memory)
        while (status := self._stopping.check(seen)) is None:
            step = self._method.step(state, memory, context)
            if step is None:
                # Within its error the gradient may point anywhere: no step need decrease the cost.
                near_floor = state.gradient_norm <= 10 * state.measures.get("gradient_error", 0.0)
                return Status.APPROXIMATION_FLOOR if near_floor else Status.STEP_TOO_SMALL, state
            require_instance("a method's step", step, Step, "Step(curve.accept(t), memory, t)")
            state, memory = step.state, step.memory
            self._record(state, step.step_size)
            self._keep(state, memory)
            bar.update(state)
            if self._callback is not None:
                try:
                    self._callback(self._result(state, None))
                except StopIteration:
                    return Status.USER, state
        return status, state

    def _restore(self, saved: SavedRun) -> State:
        """Go back to a saved run: its latest state, its history, its clock."""
        state, best = saved.states(self._problem)
        self._history.update(saved.history)
        counts = self._problem.counts()
        self.counted_before = {name: saved.history[name][-1] - count for name, count in counts.items()}
        self._began = time.perf_counter() - saved.seconds
        self._best = best
        return state

    def _keep(self, state: State, memory: Any) -> None:
        """Let the checkpoint have a whole step."""
        if self._file is not None and self._best is not None:
            nit = len(self._history["time"]) - 1
            self._file.keep(Snapshot(state, memory, self._best, nit, self._seconds()), self._history)

    def _counts(self) -> dict[str, int]:
        """True counts of this run, over all calls that it took."""
        counts = self._problem.counts()
        if not self.counted_before:
            return counts
        return {name: count + self.counted_before.get(name, 0) for name, count in counts.items()}

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _record(self, state: State, step_size: float) -> None:
        """Add one entry to the history and keep the best state."""
        history, norm = self._history, state.gradient_norm
        history["fun"].append(state.value)
        history["grad_norm"].append(norm)
        history["step_size"].append(step_size)
        for name, count in (self._counts() | state.measures).items():
            history.setdefault(name, []).append(count)
        history["time"].append(self._seconds())
        if self._best is None or state.value < self._best.value:
            self._best = state

    def _result(self, state: State, status: Status | None) -> OptimizeResult:
        length = len(self._history["time"])
        result = OptimizeResult(
            x=state.point,
            fun=state.value,
            grad_norm=state.gradient_norm,
            nit=length - 1,
            **self._counts(),
            **state.measures,
        )
        if status is not None:
            history = {name: np.asarray(values[:length]) for name, values in self._history.items()}
            result.update(
                success=status.success, status=status, message=status.message, history=OptimizeResult(history)
            )
        return result


def unstarted_result(x0: Point, recorded: Sequence[str], counts: Mapping[str, int], **more: Any) -> OptimizeResult:
    """Result of a run that was interrupted before its start point was recorded.

    Parameters
    ----------
    x0 : point
    recorded : sequence of str
        What the history has besides the counts.
    counts : mapping of str to int
    more
        Further entries.
    """
    status = Status.INTERRUPTED
    history = OptimizeResult({name: np.empty(0) for name in (*recorded, *counts)})
    return OptimizeResult(
        x=x0, fun=float("nan"), grad_norm=float("nan"), **more, nit=0, **counts,
        success=False, status=status, message=status.message, history=history,
    )  # fmt: skip


class _Silent:
    """Progress bar that shows nothing."""

    def update(self, state: State) -> None: ...

    def close(self) -> None: ...


class _Bar:
    """Progress bar with the cost and the gradient's norm."""

    def __init__(self, label: str | None) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(desc=label, unit=" steps", dynamic_ncols=True)

    def update(self, state: State) -> None:
        self._bar.set_postfix_str(f"cost {state.value:.8g}, gradient {state.gradient_norm:.1e}", refresh=False)
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


def progress_bar(show: bool | str) -> _Bar | _Silent:
    """Progress bar of a run, or what shows nothing."""
    return _Bar(show if isinstance(show, str) else None) if show else _Silent()
