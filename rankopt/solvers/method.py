"""The protocol of a method: a value with a pure step from state to state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from manifolds.manifold import Point
from rankopt.state import State

Memory = TypeVar("Memory")


@dataclass(frozen=True)
class Step(Generic[Memory]):
    """What one step gives: the new state, what the method remembers, and the length t of the step.

    Examples
    --------
    A method of one's own returns it, here gradient descent by steps of one length:

    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import Method, QuadraticObjective, Step, minimize
    >>> class FixedSteps(Method):
    ...     def start(self, state, context):
    ...         return None
    ...     def step(self, state, memory, context):
    ...         curve = state.along(context.scaled(-1.0, state.gradient))
    ...         return Step(curve.accept(0.2), memory, 0.2)
    >>> height = QuadraticObjective(np.diag([1.0, 2.0, 4.0]))
    >>> minimize(height, Sphere(3), method=FixedSteps(), rng=0).x.round(4) ** 2 + 0.0
    array([1., 0., 0.])
    """

    state: State
    memory: Memory
    step_size: float


class Method(ABC, Generic[Memory]):
    """An iterative method without state of its own: everything it remembers goes through ``step``.

    A checkpoint can hold a memory that is made of numbers, arrays, points, tangent vectors, and tuples of these: plain
    ones, or named ones that are defined at the top level of the method's module.
    """

    @abstractmethod
    def start(self, state: State, context: Context) -> Memory:
        """What the method remembers before its first step."""

    @abstractmethod
    def step(self, state: State, memory: Memory, context: Context) -> Step[Memory] | None:
        """Take one step, or return None where no step decreases the cost."""


@dataclass(frozen=True)
class Context:
    """What a run hands to its method: the problem's costs of trials, the preconditioner and the latest costs.

    Attributes
    ----------
    cheap_trials : bool
        Whether line searches may be nearly exact.
    preconditioner : callable or None
        ``(x, v) -> tangent vector``: an approximation of the inverse Hessian, positive definite in the metric.
    linear_combination : callable
        That of the manifold.
    values : list of float
        Costs so far, newest last.
    """

    cheap_trials: bool
    preconditioner: Callable[[Point, Point], Point] | None
    linear_combination: Callable[[Any, Point, Any, Point], Point]
    values: list[float]

    def scaled(self, a: float, v: Point) -> Point:
        """Vector a v."""
        return self.linear_combination(a, v, 0.0, v)

    def first_step(self, state: State, slope: float) -> float:
        """Very first trial along a (preconditioned) gradient: the step of the manifold's ``first_step_length``."""
        length: float = state.geometry.manifold.first_step_length(state.point)
        return length / max(-slope, 1e-300) ** 0.5
