"""Riemannian gradient descent, with Barzilai-Borwein steps or plain backtracking."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from manifolds.manifold import Point
from rankopt.solvers.elementwise import between, choose, ratio
from rankopt.solvers.line_search import Armijo, LineSearch
from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.parameters import require_instance
from rankopt.state import State, precondition


class StepRule(ABC):
    """Rule for the first trial of the next line search."""

    @abstractmethod
    def next_step(self, step: float, old_old: float, old_new: float, new_new: float, iteration: int) -> float:
        """First trial, from the last step t and the products <g', g'>, <T g', g> and <g, g>; arrays in a batch."""


@dataclass(frozen=True)
class BarzilaiBorwein(StepRule):
    """Steps <s, s> / <s, y> and <s, y> / <y, y> by turns, with s = -t g' and y = g - T g'.

    Inner products of transported gradients are taken as if the transport kept norms, so that the metric is not needed.

    Parameters
    ----------
    shortest, longest : float
        Bounds of the step.

    References
    ----------
    Iannazzo, Porcelli, The Riemannian Barzilai-Borwein method, IMA J. Numer. Anal. 38 (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import BarzilaiBorwein, GradientDescent, QuadraticObjective, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), method=GradientDescent(BarzilaiBorwein()), rng=0).success
    True
    """

    shortest: float = 1e-10
    longest: float = 1e10

    def __post_init__(self) -> None:
        if not 0 < self.shortest <= self.longest:
            raise ValueError(f"0 < shortest <= longest must hold, got {self.shortest} and {self.longest}")

    def next_step(self, step: float, old_old: float, old_new: float, new_new: float, iteration: int) -> float:
        secant, squared = old_old - old_new, new_new - 2 * old_new + old_old
        odd = iteration % 2 == 1
        following = ratio(step * choose(odd, secant, old_old), choose(odd, squared, secant))
        following = choose((secant > 0) & (squared > 0), following, 10 * step)
        return between(following, self.shortest, self.longest)


@dataclass(frozen=True)
class GrowingStep(StepRule):
    """Twice the last step: plain backtracking that may grow again.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import GradientDescent, GrowingStep, QuadraticObjective, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), method=GradientDescent(GrowingStep()), rng=0).success
    True
    """

    def next_step(self, step: float, old_old: float, old_new: float, new_new: float, iteration: int) -> float:
        return 2 * step


class GradientDescentMemory(NamedTuple):
    """What gradient descent remembers: the (preconditioned) gradient, the next trial step, if any, and the steps."""

    search_gradient: Point
    step: float | None
    iteration: int


_OVER_TEN, _MONOTONE = Armijo(memory=10), Armijo()


@dataclass(frozen=True)
class GradientDescent(Method[GradientDescentMemory]):
    """Gradient descent: a line search along the negative (preconditioned) gradient.

    Parameters
    ----------
    step_rule : StepRule
        BarzilaiBorwein(), or GrowingStep() for plain backtracking.
    line_search : LineSearch, optional
        Armijo() over the latest ten costs for Barzilai-Borwein steps, which must be allowed to rise now and then; else
        monotone Armijo().

    Examples
    --------
    >>> GradientDescent(GrowingStep()).step_rule
    GrowingStep()
    """

    step_rule: StepRule = BarzilaiBorwein()
    line_search: LineSearch | None = None

    def __post_init__(self) -> None:
        require_instance("step_rule", self.step_rule, StepRule, "BarzilaiBorwein()")
        if self.line_search is not None:
            require_instance("line_search", self.line_search, LineSearch, "Armijo()")

    def start(self, state: State, context: Context) -> GradientDescentMemory:
        return GradientDescentMemory(precondition(state, context.preconditioner), None, 0)

    def step(self, state: State, memory: GradientDescentMemory, context: Context) -> Step[GradientDescentMemory] | None:
        search = self.line_search or (_OVER_TEN if isinstance(self.step_rule, BarzilaiBorwein) else _MONOTONE)
        gradient = memory.search_gradient
        old_old = state.derivative(gradient)
        curve = state.along(context.scaled(-1.0, gradient))
        first = context.first_step(state, -old_old) if memory.step is None else memory.step
        t = search.search(curve, state, -old_old, first, context.values)
        if t is None:
            return None
        new = curve.accept(t)
        old_new = new.derivative_from(state, gradient)
        new_gradient = precondition(new, context.preconditioner)
        new_new = new.derivative(new_gradient) if context.preconditioner else new.squared_gradient_norm
        following = self.step_rule.next_step(t, old_old, old_new, new_new, memory.iteration)
        return Step(new, GradientDescentMemory(new_gradient, following, memory.iteration + 1), t)
