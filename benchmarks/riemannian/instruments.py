"""What a run is measured by: counted and timed functions that end it when the cost has reached its target.

Solvers stop by different rules, and rules that ask for more than others take longer. So no solver's own rule ends a run
here: the instrument does, in the first evaluation of the cost that is at most the target. The time, the counts and the
point of that moment are the result. The time at which looser targets were passed is kept on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

CLOCKS = {"process": time.process_time, "wall": time.perf_counter}
"""Processor time of all threads, which other programs hardly change, or the clock on the wall."""


class TargetReached(Exception):  # noqa: N818  no error
    """Ends a run whose cost has reached the last target."""


class OutOfTime(Exception):  # noqa: N818  no error
    """Ends a run that takes too long."""


@dataclass(frozen=True)
class Functions:
    """The numpy functions of a problem, the same for all solvers: cost, Euclidean gradient and Hessian product."""

    cost: Callable[[Any], float]
    gradient: Callable[[Any], Any]
    hessian: Callable[[Any, Any], Any]


class Instrument:
    """Functions of a problem that count their calls, watch the clock and end the run.

    Parameters
    ----------
    functions : Functions
    targets : sequence of float
        Costs to reach, the loosest first; at the last one the run ends.
    limit : float
        Seconds after which the run ends in the next evaluation.
    clock : callable
        Seconds.

    Attributes
    ----------
    costs, gradients, hessians, products : int
        Calls so far; products are those with the matrix of a declared quadratic or an eigensolver.
    reached : list of float or None
        Seconds from the start to each target.
    best : float
        Least cost so far.
    point : Any
        Point at which the last target was reached, in the problem's own form.
    """

    def __init__(
        self, functions: Functions, targets: Sequence[float], limit: float, clock: Callable[[], float]
    ) -> None:
        self._functions, self._targets, self._limit, self._clock = functions, tuple(targets), limit, clock
        self.costs = self.gradients = self.hessians = self.products = 0
        self.reached: list[float | None] = [None] * len(self._targets)
        self.best, self.point = float("inf"), None
        self._passed = 0
        self._began = clock()

    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began

    def cost(self, x: Any) -> float:
        """Cost, counted; ends the run at the target and after the limit."""
        self.costs += 1
        value = self._functions.cost(x)
        self.see(value, x)
        return value

    def gradient(self, x: Any) -> Any:
        """Euclidean gradient, counted."""
        self.gradients += 1
        return self._functions.gradient(x)

    def hessian(self, x: Any, v: Any) -> Any:
        """Euclidean Hessian product, counted; ends the run after the limit."""
        self.hessians += 1
        product = self._functions.hessian(x, v)
        self._watch()
        return product

    def see(self, value: float, x: Any) -> None:
        """Take note of a cost at a point, however it was found."""
        seconds = self._watch()
        if value < self.best:
            self.best = value
            while value <= self._targets[self._passed]:
                self.reached[self._passed] = seconds
                self._passed += 1
                if self._passed == len(self._targets):
                    self.point = x
                    raise TargetReached

    def _watch(self) -> float:
        seconds = self.seconds()
        if seconds > self._limit:
            raise OutOfTime
        return seconds


class CountedMatrix:
    """A symmetric matrix whose products with vectors are counted by an instrument."""

    def __init__(self, matrix: Any, instrument: Instrument) -> None:
        self._matrix, self._instrument = matrix, instrument
        self.shape, self.dtype = matrix.shape, matrix.dtype

    def __matmul__(self, v: Any) -> Any:
        self._instrument.products += 1
        self._instrument._watch()
        return self._matrix @ v


@dataclass(frozen=True)
class Run:
    """One measured run of a solver."""

    reached: tuple[float | None, ...]
    """Seconds to each target; None where it was not reached, or by a point off the manifold."""
    counts: dict[str, int]
    excess: float
    """Least cost minus the optimum, relative to that of the start."""
    infeasibility: float | None
    """How far the last point is off the manifold; None where the last target was not reached."""
    ended: str
    """``"target"``, ``"time"``, ``"gave up"``, or the name of an error."""

    @property
    def solved(self) -> bool:
        """Whether the last target was reached on the manifold."""
        return self.reached[-1] is not None


@dataclass(frozen=True)
class Task:
    """What a run is to do: an instance from one start point, with its targets."""

    instance: Any
    start: Any
    accuracies: tuple[float, ...]
    clock: Callable[[], float] = field(default=time.process_time)
    max_infeasibility: float = 1e-8

    def measure(self, solve: Callable[[Any, Any, Instrument], Any], limit: float) -> Run:
        """Run ``solve(instance, start, instrument)``, which may return its last point, and report."""
        optimum, first = self.instance.optimum, self.instance.functions.cost(self.start)
        gap = first - optimum
        targets = [optimum + accuracy * gap for accuracy in self.accuracies]
        instrument = Instrument(self.instance.functions, targets, limit, self.clock)
        try:
            point = solve(self.instance, self.start, instrument)
            ended = "gave up"
            if point is not None:
                instrument.see(self.instance.functions.cost(point), point)
        except TargetReached:
            ended = "target"
        except OutOfTime:
            ended = "time"
        except (ArithmeticError, ValueError, RuntimeError) as error:  # what peers raise where they break down
            ended = type(error).__name__
        infeasibility = None if instrument.point is None else self.instance.infeasibility(instrument.point)
        reached = tuple(instrument.reached)
        if infeasibility is not None and not infeasibility <= self.max_infeasibility:
            reached, ended = (None,) * len(reached), "off the manifold"
        counts = {name: getattr(instrument, name) for name in ("costs", "gradients", "hessians", "products")}
        return Run(reached, counts, (instrument.best - optimum) / gap, infeasibility, ended)
