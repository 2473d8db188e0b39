"""Line searches as values: how long a step to take along a curve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from rankopt.solvers.elementwise import between, choose, ratio
from rankopt.solvers.parameters import require_at_least
from rankopt.state import Curve, State


class LineSearch(ABC):
    """Rule that picks a step t > 0 along a curve of descent."""

    @abstractmethod
    def search(
        self, curve: Curve, state: State, slope: float, step: float, previous_values: Sequence[float] = ()
    ) -> float | None:
        """Find a step.

        Parameters
        ----------
        curve : Curve
            Curve from the state along a direction of descent.
        state : State
            Where it starts.
        slope : float
            Derivative of the cost along the curve at t = 0, negative.
        step : float
            First trial.
        previous_values : sequence of float
            Costs so far, that of the state last, for rules that allow the cost to rise now and then.

        Returns
        -------
        float or None
            The step, or None where none decreases the cost beyond rounding.
        """


@dataclass(frozen=True)
class Armijo(LineSearch):
    """Backtracking until f(t) <= max(latest f) + decrease * t * f'(0), with steps from quadratic interpolation.

    Parameters
    ----------
    decrease : float
        Fraction of the predicted decrease that must be realised.
    memory : int
        Over how many latest costs the maximum is taken; 1 makes every step a decrease.
    max_trials : int

    References
    ----------
    Nocedal, Wright, Numerical Optimization (2006), Algorithm 3.1; the maximum over latest values is that of
    Grippo, Lampariello, Lucidi, SIAM J. Numer. Anal. 23 (1986).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import Armijo, GradientDescent, QuadraticObjective, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), method=GradientDescent(line_search=Armijo(memory=1)), rng=0).success
    True
    """

    decrease: float = 1e-4
    memory: int = 1
    max_trials: int = 40

    def __post_init__(self) -> None:
        if not 0 < self.decrease < 1:
            raise ValueError(f"0 < decrease < 1 must hold, got {self.decrease}")
        require_at_least("memory", self.memory, 1, whole=True)
        require_at_least("max_trials", self.max_trials, 1, whole=True)

    def search(
        self, curve: Curve, state: State, slope: float, step: float, previous_values: Sequence[float] = ()
    ) -> float | None:
        reference = max((state.value, *previous_values[-self.memory :]))
        t = step
        for _ in range(self.max_trials):
            value = curve.value(t)
            if value <= reference + self.decrease * t * slope + state.rounding:
                return t
            t = safeguard(quadratic_step(0.0, state.value, slope, t, value), 0.0, t)
            if t < 1e-3 * step and -t * slope < state.rounding:
                break  # what is left to gain is below rounding; where the gradient is wrong it always is
        return None


@dataclass(frozen=True)
class Wolfe(LineSearch):
    """Search for f(t) <= f(0) + decrease * t * f'(0) and abs(f'(t)) <= curvature * abs(f'(0)).

    The step is bracketed and refined by secants on the derivative. Where costs differ by rounding only, the derivatives
    alone decide, so a run can go on until the gradient itself is at rounding level.

    Parameters
    ----------
    decrease, curvature : float
        0 < decrease < curvature < 1. A small ``curvature`` makes the search nearly exact.
    max_trials : int

    References
    ----------
    Nocedal, Wright, Numerical Optimization (2006), Algorithms 3.5 and 3.6; Hager, Zhang, SIAM J. Optim.
    16 (2005).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import ConjugateGradient, QuadraticObjective, Wolfe, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), method=ConjugateGradient(line_search=Wolfe(curvature=0.1)), rng=0).success
    True
    """

    decrease: float = 1e-4
    curvature: float = 0.1
    max_trials: int = 30

    def __post_init__(self) -> None:
        if not 0 < self.decrease < self.curvature < 1:
            raise ValueError(f"0 < decrease < curvature < 1 must hold, got {self.decrease} and {self.curvature}")
        require_at_least("max_trials", self.max_trials, 1, whole=True)

    def search(
        self, curve: Curve, state: State, slope: float, step: float, previous_values: Sequence[float] = ()
    ) -> float | None:
        low, low_value, low_slope = 0.0, state.value, slope
        high, high_value, high_slope = float("inf"), float("inf"), float("nan")
        best, best_value = 0.0, state.value
        t = step
        for _ in range(self.max_trials):
            value = curve.value(t)
            armijo = value <= state.value + self.decrease * t * slope + state.rounding
            trial_slope = curve.slope(t) if armijo else float("nan")
            if abs(trial_slope) <= -self.curvature * slope:
                return t
            if armijo and value < best_value:
                best, best_value = t, value
            if armijo and trial_slope < 0 and value <= low_value + state.rounding:
                low, low_value, low_slope = t, value, trial_slope
            else:
                high, high_value, high_slope = t, value, trial_slope
            if high == float("inf"):
                t = min(max(secant_step(0.0, slope, t, trial_slope), 2.0 * t), 10.0 * t)
            elif high - low <= 1e-12 * high:
                break
            elif high_slope > 0:
                t = safeguard(secant_step(low, low_slope, high, high_slope), low, high)
            else:
                t = safeguard(quadratic_step(low, low_value, low_slope, high, high_value), low, high)
        if best_value < state.value - state.rounding:
            return best
        # A step that moves neither cost nor slope is rounding; where the gradient is wrong there are no others.
        return low if low > 0 and low_slope > 0.9 * slope else None


def quadratic_step(a: float, value_a: float, slope_a: float, b: float, value_b: float) -> float:
    """Minimiser of the parabola with a value and a slope at a and a value at b."""
    curvature = value_b - value_a - slope_a * (b - a)
    convex = (curvature > 0) & (curvature < float("inf"))
    return choose(convex, a - ratio(0.5 * slope_a * (b - a) ** 2, curvature), 0.5 * (a + b))


def secant_step(a: float, slope_a: float, b: float, slope_b: float) -> float:
    """Zero of the straight line through two slopes; infinite where they do not fall towards one."""
    return choose(slope_b > slope_a, ratio(a * slope_b - b * slope_a, slope_b - slope_a), float("inf"))


def safeguard(t: float, low: float, high: float) -> float:
    """Step kept to the inner part of an interval, so that the interval shrinks."""
    margin = 0.05 * (high - low)
    return choose(t == t, between(t, low + margin, high - margin), 0.5 * (low + high))
