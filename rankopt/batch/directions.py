"""The next direction of each row: that of conjugate gradients, or of gradient descent with Barzilai-Borwein steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from manifolds.linalg import Array
from manifolds.manifold import Manifold, Point
from rankopt.batch.line_search import RowSearch, row_search
from rankopt.solvers.conjugate_gradient import ConjugateGradient, GradientProducts
from rankopt.solvers.gradient_descent import BarzilaiBorwein, GradientDescent
from rankopt.solvers.line_search import Armijo, Wolfe
from rankopt.solvers.method import Method


class Arrival(NamedTuple):
    """What is known where the trials of a round arrive, one row per problem."""

    gradient: Point
    squared_norm: Array
    moved_direction: Point
    """The old direction, transported."""
    trial_slope: Array
    """Directional derivative along it."""
    derivative: Callable[[Point], Array]
    """Directional derivative along any tangent vector."""
    transport: Callable[[Point], Point]
    """Transport from the old point."""


class Heading(NamedTuple):
    """A direction with its slope and the first trial along it."""

    direction: Point
    slope: Array
    first_step: Array


class Directions(ABC):
    """Rule for the direction after a step."""

    search: RowSearch

    @abstractmethod
    def following(self, manifold: Manifold, old: Any, new: Arrival) -> Heading:
        """Direction at the point of arrival, for all rows; ``old`` are the rows before the step."""


@dataclass(frozen=True)
class ConjugateDirections(Directions):
    """d = -g + beta T d', restarted where d does not descend."""

    method: ConjugateGradient

    @property
    def search(self) -> RowSearch:  # type: ignore[override]
        # Half of the slope may be left: fewer evaluations in all than with the tight searches of a single problem.
        return row_search(self.method.line_search or Wolfe(curvature=0.5))

    def following(self, manifold: Manifold, old: Any, new: Arrival) -> Heading:
        products = GradientProducts(
            new_new=new.squared_norm,
            old_old=old.squared_norm,
            old_new=new.derivative(new.transport(old.gradient)),
            direction_new=new.trial_slope,
            direction_old=old.slope,
        )
        beta, slope, step = self.method.weight(products, old.search.t)
        direction = manifold.linear_combination(-1.0, new.gradient, beta, new.moved_direction)
        return Heading(direction, slope, step)


@dataclass(frozen=True)
class GradientDirections(Directions):
    """d = -g, with the first trial of a step rule."""

    method: GradientDescent

    @property
    def search(self) -> RowSearch:  # type: ignore[override]
        memory = 10 if isinstance(self.method.step_rule, BarzilaiBorwein) else 1
        return row_search(self.method.line_search or Armijo(memory=memory))

    def following(self, manifold: Manifold, old: Any, new: Arrival) -> Heading:
        # The old direction is -g', so its derivative here is -<T g', g>.
        step = self.method.step_rule.next_step(
            old.search.t, old.squared_norm, -new.trial_slope, new.squared_norm, old.nit
        )
        return Heading(manifold.linear_combination(-1.0, new.gradient, 0.0, new.gradient), -new.squared_norm, step)


_NAMED: dict[str, Method[Any]] = {"conjugate-gradient": ConjugateGradient(), "gradient-descent": GradientDescent()}


def as_directions(method: str | Method[Any] | None) -> Directions:
    """Rule of a named or configured method; Barzilai-Borwein steps by default."""
    if method is None:
        return GradientDirections(GradientDescent())
    if isinstance(method, str):
        if method not in _NAMED:
            raise ValueError(f"method must be one of {sorted(_NAMED)}, got {method!r}")
        method = _NAMED[method]
    if isinstance(method, ConjugateGradient):
        return ConjugateDirections(method)
    if isinstance(method, GradientDescent):
        return GradientDirections(method)
    name = type(method).__name__ if isinstance(method, Method) else repr(method)
    raise TypeError(f"method must be a name, ConjugateGradient(...) or GradientDescent(...) in a batch, got {name}")
