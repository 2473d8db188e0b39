"""Limited-memory BFGS on a manifold: an inverse Hessian from the latest steps and what they did to the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from manifolds.manifold import Point
from rankopt.solvers.line_search import LineSearch, Wolfe
from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.parameters import require_at_least, require_instance
from rankopt.state import State, precondition


class SecantPair(NamedTuple):
    """A step s, transported to the current point, and the change y of the gradient along it."""

    step: Point
    change: Point
    """y as a covector."""
    product: float
    """<s, y> > 0."""


class LBFGSMemory(NamedTuple):
    """What L-BFGS remembers: its pairs, oldest first, and the scale of the initial inverse Hessian."""

    pairs: tuple[SecantPair, ...]
    scale: float


@dataclass(frozen=True)
class LBFGS(Method[LBFGSMemory]):
    """Limited-memory BFGS: d = -H g with H from the latest ``memory`` pairs, by the two-loop recursion.

        H+ = (I - s y^T / <s, y>) H (I - y s^T / <s, y>) + s s^T / <s, y>

    with s = t T d and y = g+ - T g, T the transport to the new point. H starts from <s, y> / <y, y> times the identity,
    or from the preconditioner. A pair is used only where <s, y> is positive by a margin, so that H stays positive
    definite, and the pairs are dropped where d does not descend or the line search fails.

    Parameters
    ----------
    memory : int
        Number of pairs. A step transports each of them, which is a projection for its s and one for its y; on a
        generalized Stiefel manifold, where y is kept as a covector, for its s only.
    line_search : LineSearch, optional
        Wolfe(curvature=0.9), or 1e-3 where trials cost next to nothing.
    cautious : float
        Pairs need <s, y> >= cautious * (-t <g, d>), a fraction of the curvature that H assumed; a Wolfe search grants
        1 - curvature on flat space, and vector transport may take it away. Unlike the bound by norm(s)^2 norm(g) of
        Li and Fukushima it depends neither on the scale of the cost nor on inner products of arbitrary vectors.

    References
    ----------
    Nocedal, Wright, Numerical Optimization (2006), Algorithms 7.4 and 7.5; Huang, Gallivan, Absil, A Broyden class of
    quasi-Newton methods for Riemannian optimization, SIAM J. Optim. 25 (2015); Huang, Absil, Gallivan, A Riemannian
    BFGS method without differentiated retraction for nonconvex optimization, SIAM J. Optim. 28 (2018) and Li,
    Fukushima, SIAM J. Optim. 11 (2001), on cautious updates.

    Examples
    --------
    >>> LBFGS(memory=5).memory
    5
    """

    memory: int = 10
    line_search: LineSearch | None = None
    cautious: float = 1e-4

    def __post_init__(self) -> None:
        require_at_least("memory", self.memory, 1, whole=True)
        if self.line_search is not None:
            require_instance("line_search", self.line_search, LineSearch, "Wolfe()")
        require_at_least("cautious", self.cautious, 0)

    def start(self, state: State, context: Context) -> LBFGSMemory:
        return LBFGSMemory((), 1.0)

    def step(self, state: State, memory: LBFGSMemory, context: Context) -> Step[LBFGSMemory] | None:
        search = self.line_search or Wolfe(curvature=1e-3 if context.cheap_trials else 0.9)
        direction = _direction(state, memory, context)
        # Not as Df(x)[d]: rounding that is left of the gradient's normal component in d would count there.
        slope = float(state.geometry.pairing(state.gradient_covector, direction))
        t = None
        if slope < 0:
            first = 1.0 if memory.pairs or context.preconditioner else context.first_step(state, slope)
            curve = state.along(direction)
            t = search.search(curve, state, slope, first, context.values)
        if t is None:
            return self.step(state, LBFGSMemory((), 1.0), context) if memory.pairs else None
        new = curve.accept(t)
        return Step(new, self._next(state, new, memory, direction, t, slope, context), t)

    def _next(
        self,
        old: State,
        new: State,
        memory: LBFGSMemory,
        direction: Point,
        t: float,
        slope: float,
        context: Context,
    ) -> LBFGSMemory:
        """Pairs at the new state: the old ones transported, and the latest one where its curvature is positive."""
        here, there = new.geometry, old.geometry
        step = context.scaled(t, here.transport_from(there, direction))
        change = context.linear_combination(
            1.0, new.gradient_covector, -1.0, here.covector_from(there, old.gradient_covector)
        )
        product = float(here.pairing(change, step))
        is_sound = product > 0 and product >= -self.cautious * t * slope
        kept = memory.pairs[max(len(memory.pairs) + 1 - self.memory, 0) :] if is_sound else memory.pairs
        pairs = tuple(
            SecantPair(here.transport_from(there, pair.step), here.covector_from(there, pair.change), pair.product)
            for pair in kept
        )
        if not is_sound:
            return LBFGSMemory(pairs, memory.scale)
        scale = 1.0
        if context.preconditioner is None:
            scale = product / float(here.pairing(change, here.representative(change)))
        return LBFGSMemory((*pairs, SecantPair(step, change, product)), scale)


def _direction(state: State, memory: LBFGSMemory, context: Context) -> Point:
    """-H g by the two-loop recursion; the gradient is reduced as a covector, and raised by steps as a vector."""
    geometry, combine = state.geometry, context.linear_combination
    covector, weights = state.gradient_covector, []
    for pair in memory.pairs[::-1]:
        weights.append(float(geometry.pairing(covector, pair.step)) / pair.product)
        covector = combine(1.0, covector, -weights[-1], pair.change)
    vector = state.gradient if not memory.pairs else geometry.representative(covector)
    vector = precondition(state, context.preconditioner, vector)
    direction = context.scaled(-memory.scale, vector)
    for pair, weight in zip(memory.pairs, weights[::-1], strict=True):
        direction = combine(
            1.0, direction, -weight - float(geometry.pairing(pair.change, direction)) / pair.product, pair.step
        )
    return direction
