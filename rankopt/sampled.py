"""Sampled functions under the solvers: one fit per trial serves point, tangent space, cost, gradient and its error."""

from __future__ import annotations

from typing import Any

from manifolds.manifold import Point
from manifolds.sampled.function import SampledEvaluation, SampledFunction
from manifolds.sampled.manifold import ProjectedLine, SampledGeometry, SampledManifold, velocity_at
from rankopt.solvers.parameters import require_instance
from rankopt.solvers.stopping import ApproximationFloor, CostChange, GradientNorm, MaxIterations
from rankopt.state import Curve, ObjectiveCurve, ObjectiveProblem, ObjectiveState, on_manifold


class SampledProblem(ObjectiveProblem):
    """Minimization of a sampled function; its states know the error of their gradients.

    Parameters
    ----------
    function : SampledFunction

    Raises
    ------
    TypeError
        If it is none.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import SampledFunction, SampledManifold
    >>> from rankopt import SampledProblem
    >>> angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    >>> circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    >>> problem = SampledProblem(SampledFunction(SampledManifold(circle, 1), circle[:, 1]))
    >>> state = problem.start(np.array([1.0, 0.0]))
    >>> bool(abs(state.gradient_norm - 1) < state.measures["gradient_error"] + 1e-2)
    True
    """

    manifold: SampledManifold
    stopping = (
        ApproximationFloor(0.03)
        | (ApproximationFloor(1.0) & (GradientNorm() | CostChange(1e-9)))
        | GradientNorm()
        | CostChange()
        | MaxIterations(1000)
    )

    def __init__(self, function: SampledFunction) -> None:
        require_instance("function", function, SampledFunction, "SampledFunction(manifold, values)")
        super().__init__(function, function.manifold)
        self.function = function

    def start(self, point: Point) -> SampledState:
        state = self.state(self.manifold.land(on_manifold(point, self.manifold)))
        self.checked_start(state)
        return state

    def restored(self, saved: Any) -> SampledState:
        return self.state(self.manifold.land(saved))

    def state(self, geometry: SampledGeometry) -> SampledState:
        """State at the point of a geometry."""
        return SampledState(self, geometry)


class SampledState(ObjectiveState):
    """State of a sampled function: geometry and evaluation share one fit."""

    problem: SampledProblem
    evaluation: SampledEvaluation
    geometry: SampledGeometry

    def __init__(self, problem: SampledProblem, geometry: SampledGeometry) -> None:
        super().__init__(problem, geometry.point, SampledEvaluation(problem.function, geometry))
        self.geometry = geometry
        # Below this, cost and gradient need not agree, since each has its own error; the gradient decides there.
        self.rounding = max(self.rounding, self.evaluation.cost_slack)

    @property
    def measures(self) -> dict[str, float]:
        return {"gradient_error": self.evaluation.gradient_error}

    def along(self, tangent_vector: Point) -> Curve:
        return SampledCurve(self, tangent_vector)

    def saved(self) -> Any:
        return self.geometry.fitted_at


class SampledCurve(ObjectiveCurve):
    """Curve of a sampled function: a trial is one fit, and is kept. Where samples are too few, the cost is infinite."""

    def __init__(self, state: SampledState, tangent_vector: Point) -> None:
        super().__init__(state, tangent_vector)
        self._sampled, self._vector = state.problem, tangent_vector
        self._line = ProjectedLine(state.geometry, tangent_vector)

    def slope(self, t: float) -> float:
        state: Any = self.accept(t)
        return state.derivative(velocity_at(state.geometry, self._vector))

    def accept(self, t: float) -> ObjectiveState:
        if t not in self._trials:
            self._trials[t] = self._sampled.state(self._line.land(t))
        return self._trials[t]
