"""Nonlinear conjugate gradients on a manifold, with the usual rules for beta as values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from manifolds.manifold import Point
from rankopt.solvers.elementwise import at_least, between, choose, ratio
from rankopt.solvers.line_search import LineSearch, Wolfe
from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.parameters import require_at_least, require_instance
from rankopt.state import State, precondition


class GradientProducts(NamedTuple):
    """Inner products of which every rule for beta is made, at the new point.

    With the new gradient g, the old one g' and the old direction d', T the transport to the new point. They need the
    directional derivative at the new point only, never the metric itself.
    """

    new_new: float
    """<g, g>"""
    old_old: float
    """<g', g'>"""
    old_new: float
    """<T g', g>"""
    direction_new: float
    """<T d', g>"""
    direction_old: float
    """<d', g'>"""


class BetaRule(ABC):
    """Rule for the weight beta of the old direction in d = -g + beta T d'."""

    @abstractmethod
    def beta(self, products: GradientProducts) -> float:
        """Weight of the old direction; in a batch, an array of weights from arrays of products."""


@dataclass(frozen=True)
class PolakRibiere(BetaRule):
    """PR+: beta = max(0, (<g, g> - <T g', g>) / <g', g'>).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import ConjugateGradient, PolakRibiere, QuadraticObjective, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), method=ConjugateGradient(PolakRibiere()), rng=0).success
    True
    """

    def beta(self, products: GradientProducts) -> float:
        return at_least(ratio(products.new_new - products.old_new, products.old_old), 0.0)


@dataclass(frozen=True)
class HestenesStiefel(BetaRule):
    """HS+: beta = max(0, (<g, g> - <T g', g>) / (<T d', g> - <d', g'>)).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import ConjugateGradient, HestenesStiefel, QuadraticObjective, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), method=ConjugateGradient(HestenesStiefel()), rng=0).success
    True
    """

    def beta(self, products: GradientProducts) -> float:
        return at_least(
            ratio(products.new_new - products.old_new, products.direction_new - products.direction_old), 0.0
        )


@dataclass(frozen=True)
class FletcherReeves(BetaRule):
    """FR: beta = <g, g> / <g', g'>.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import ConjugateGradient, FletcherReeves, QuadraticObjective, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), method=ConjugateGradient(FletcherReeves()), rng=0).success
    True
    """

    def beta(self, products: GradientProducts) -> float:
        return ratio(products.new_new, products.old_old)


@dataclass(frozen=True)
class HagerZhang(BetaRule):
    """HZ+: beta = max(0, (<y, g> - 2 <y, y> <T d', g> / <T d', y>) / <T d', y>) with y = g - T g'.

    <y, y> is taken as <g, g> - 2 <T g', g> + <g', g'>, as if the transport kept norms, so that the metric is not
    needed.

    References
    ----------
    Hager, Zhang, A new conjugate gradient method with guaranteed descent, SIAM J. Optim. 16 (2005), eq. (1.3).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import ConjugateGradient, HagerZhang, QuadraticObjective, minimize
    >>> height = QuadraticObjective(np.diag(np.arange(1.0, 10.0)))
    >>> minimize(height, Sphere(9), method=ConjugateGradient(HagerZhang()), rng=0).success
    True
    """

    def beta(self, products: GradientProducts) -> float:
        along = products.direction_new - products.direction_old
        squared = products.new_new - 2 * products.old_new + products.old_old
        inner = products.new_new - products.old_new
        return at_least(ratio(inner - 2 * squared * ratio(products.direction_new, along), along), 0.0)


class ConjugateGradientMemory(NamedTuple):
    """What conjugate gradients remember: the direction, its slope, the preconditioned gradient and the last step."""

    direction: Point
    slope: float
    search_gradient: Point
    step_size: float | None


_NEARLY_EXACT = Wolfe(curvature=0.02)
_LOOSE = Wolfe(curvature=0.4)
"""An exacter search takes fewer steps but, with a trial each to find its minimisers, more evaluations in all."""


@dataclass(frozen=True)
class ConjugateGradient(Method[ConjugateGradientMemory]):
    """Nonlinear conjugate gradients: d = -g + beta T d', a line search along d, restarts where d does not descend.

    Parameters
    ----------
    beta : BetaRule
        HestenesStiefel(), PolakRibiere(), FletcherReeves() or HagerZhang().
    line_search : LineSearch, optional
        Wolfe() with a curvature of 0.4, or of 0.02 where trials cost next to nothing.
    restart : float
        The direction is reset to the negative gradient where <d, g> > -restart * <g, g>.

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Section 8.3.

    Examples
    --------
    >>> ConjugateGradient(beta=HagerZhang()).beta
    HagerZhang()
    """

    beta: BetaRule = HestenesStiefel()
    line_search: LineSearch | None = None
    restart: float = 1e-3

    def __post_init__(self) -> None:
        require_instance("beta", self.beta, BetaRule, "HestenesStiefel()")
        if self.line_search is not None:
            require_instance("line_search", self.line_search, LineSearch, "Wolfe()")
        require_at_least("restart", self.restart, 0)

    def start(self, state: State, context: Context) -> ConjugateGradientMemory:
        return self._steepest(state, precondition(state, context.preconditioner), context)

    def _steepest(self, state: State, gradient: Point, context: Context) -> ConjugateGradientMemory:
        return ConjugateGradientMemory(context.scaled(-1.0, gradient), -state.derivative(gradient), gradient, None)

    def step(
        self, state: State, memory: ConjugateGradientMemory, context: Context
    ) -> Step[ConjugateGradientMemory] | None:
        search = self.line_search or (_NEARLY_EXACT if context.cheap_trials else _LOOSE)
        first = context.first_step(state, memory.slope) if memory.step_size is None else memory.step_size
        curve = state.along(memory.direction)
        t = search.search(curve, state, memory.slope, first, context.values)
        if t is None:
            steepest = self._steepest(state, memory.search_gradient, context)
            # Rounding is all that is left of a gradient along which the cost does not fall.
            if memory.slope == steepest.slope or not steepest.slope < 0:
                return None
            return self.step(state, steepest, context)
        new = curve.accept(t)
        return Step(new, self._next(state, new, memory, t, context), t)

    def _next(
        self, old: State, new: State, memory: ConjugateGradientMemory, t: float, context: Context
    ) -> ConjugateGradientMemory:
        """Direction at the new state, and the first trial along it."""
        gradient = precondition(new, context.preconditioner)
        new_new = new.derivative(gradient) if context.preconditioner else new.squared_gradient_norm
        transported = new.geometry.transport_from(old.geometry, memory.direction)
        products = GradientProducts(
            new_new=new_new,
            old_old=old.derivative(memory.search_gradient) if context.preconditioner else old.squared_gradient_norm,
            old_new=new.derivative_from(old, memory.search_gradient),
            direction_new=new.derivative(transported),
            direction_old=memory.slope,
        )
        beta, slope, following = self.weight(products, t)
        direction = context.linear_combination(-1.0, gradient, beta, transported)
        return ConjugateGradientMemory(direction, slope, gradient, following)

    def weight(self, products: GradientProducts, t: float) -> tuple[float, float, float]:
        """Weight of the old direction, slope of the new one, and the first trial along it after a step t.

        The weight is zero, a restart, where the new direction would not descend.
        """
        beta = self.beta.beta(products)
        slope = -products.new_new + beta * products.direction_new
        descends = slope < -self.restart * products.new_new
        beta, slope = choose(descends, beta, 0.0), choose(descends, slope, -products.new_new)
        return beta, slope, _first_trial(t, products.direction_old, products.direction_new, slope)


def _first_trial(t: float, slope: float, slope_at_t: float, next_slope: float) -> float:
    """First trial along the next direction, from the step t along the last one and the slopes at its ends.

    It is half-way, in logarithms, between the step that would have been exact, by the straight line through the slopes,
    and the one that promises the decrease t * slope of that step again.
    """
    exact = t / between(1.0 - ratio(slope_at_t, slope), 0.2, 5.0)
    return choose((slope < 0) & (next_slope < 0), exact * abs(ratio(slope, next_slope)) ** 0.5, t)
