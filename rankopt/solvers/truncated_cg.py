"""Steihaug-Toint truncated conjugate gradients: minimize the quadratic model of a cost inside a ball.

    m(v) = <grad f, v> + <v, Hess f[v]> / 2,    norm(v) <= radius,

in the norm of the preconditioner, <v, P^{-1} v>, or of the metric without one. The iterates leave zero on a broken line
along which the norm grows and the model falls. A smaller ball meets the same line earlier, so the line is kept: a
shorter step costs no Hessian product.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from manifolds.manifold import Point
from rankopt.solvers.method import Context
from rankopt.state import State, precondition

_SHRINK = 4.0
"""Ratio of the radii for which the line is kept."""


class ModelStep(NamedTuple):
    """A step, its norm, the decrease that the model predicts, and whether the ball's boundary ended it."""

    vector: Point
    norm: float
    decrease: float
    on_boundary: bool


class Segment(NamedTuple):
    """Stretch v + t d of the line, t >= 0, with what norm and model along it are made of."""

    start: Point | None
    """v, or None for zero."""
    direction: Point
    start_start: float
    """<v, v>"""
    start_direction: float
    """<v, d>"""
    direction_direction: float
    """<d, d>"""
    model: float
    """m(v)"""
    slope: float
    """Derivative of the model at t = 0."""
    curvature: float
    """Second derivative of the model."""


class ModelLine:
    """The line of a run from zero to the minimizer of the model, or to where it leaves the ball.

    Of its segments those are kept that cross the radii ``radius / 4^k``, so the memory that it takes grows with the
    logarithm of the ratio of its last and its first step, not with the number of iterations.
    """

    def __init__(self, radius: float, context: Context) -> None:
        self._radius, self._context = radius, context
        self._segments: list[Segment] = []
        self._next_radius = 0.0
        self._end: ModelStep | None = None

    def crosses(self, end: float) -> bool:
        """Whether the next segment, whose last point has the norm ``end``, is the first or crosses one of the radii."""
        return not self._segments or end > self._next_radius

    def add(self, segment: Segment, end: float) -> None:
        """Keep a segment that crosses one of the radii."""
        self._segments.append(segment)
        if 0 < end < math.inf:
            # The smallest of the radii that is at least the norm reached.
            self._next_radius = self._radius / _SHRINK ** math.floor(math.log(self._radius / end, _SHRINK))

    def finish(self, step: Point, norm: float, model: float) -> None:
        """End the line inside the ball."""
        self._end = ModelStep(step, norm, -model, on_boundary=False)

    def step_within(self, radius: float) -> ModelStep:
        """Last point of the line that lies in the ball of this radius, which is one of those above."""
        if self._end is not None and self._end.norm <= radius:
            return self._end
        v, d, vv, vd, dd, model, slope, curvature = next(s for s in self._segments[::-1] if s.start_start <= radius**2)
        # The positive root of vv + 2 t vd + t^2 dd = radius^2, without cancellation.
        rest = radius**2 - vv
        t = rest / (vd + (vd**2 + dd * rest) ** 0.5)
        step = self._context.scaled(t, d) if v is None else self._context.linear_combination(1.0, v, t, d)
        return ModelStep(step, radius, -(model + t * (slope + 0.5 * t * curvature)), on_boundary=True)

    def radius_below(self, norm: float) -> float:
        """Largest of the radii that is at most half of a norm."""
        return self._radius / _SHRINK ** max(math.ceil(math.log(2 * self._radius / norm, _SHRINK)), 1)


def truncated_conjugate_gradient(
    state: State, context: Context, search_gradient: Point, radius: float, tolerance: float, max_iterations: int
) -> ModelLine:
    """Line of truncated conjugate gradients from zero.

    All inner products besides the curvature <d, Hess f[d]> and <z, r>, two for each iteration, come from recurrences.
    Residuals are covectors, so that the metric's inverse suffices.

    Parameters
    ----------
    state : State
    context : Context
    search_gradient : tangent vector
        Preconditioned gradient z, with <z, grad f> > 0.
    radius : float
    tolerance : float
        The residual's norm, in the preconditioner, is reduced to this fraction.
    max_iterations : int

    Returns
    -------
    ModelLine

    Raises
    ------
    ValueError
        If a Hessian product is not finite.

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Algorithm 11; Conn, Gould, Toint,
    Trust-region methods (2000), Algorithm 7.5.1.
    """
    geometry, combine = state.geometry, context.linear_combination
    line = ModelLine(radius, context)
    # The residual -grad f - Hess f[v] of the model's Newton equation.
    residual, direction = context.scaled(-1.0, state.gradient_covector), context.scaled(-1.0, search_gradient)
    squared = float(geometry.pairing(residual, direction))
    target = tolerance**2 * squared
    step = None
    model = step_step = step_direction = 0.0
    direction_direction = squared
    for _ in range(max_iterations):
        product = state.hessian_covector(direction)
        curvature = float(geometry.pairing(product, direction))
        if not math.isfinite(curvature):
            raise ValueError(f"hessian must be finite, but <v, hessian(x, v)> is {curvature} at an iterate")
        length = squared / curvature if curvature > 0 else math.inf
        next_step_step = step_step + length * (2 * step_direction + length * direction_direction)
        inside = next_step_step < radius**2
        end = next_step_step**0.5 if inside else math.inf
        if line.crosses(end):
            line.add(
                Segment(step, direction, step_step, step_direction, direction_direction, model, -squared, curvature),
                end,
            )
        if not inside:
            return line
        step = context.scaled(length, direction) if step is None else combine(1.0, step, length, direction)
        residual = combine(1.0, residual, -length, product)
        model, step_step = model - 0.5 * length * squared, next_step_step
        z = precondition(state, context.preconditioner, geometry.representative(residual))
        next_squared = float(geometry.pairing(residual, z))
        if not next_squared > target:
            break
        beta, squared = next_squared / squared, next_squared
        step_direction = beta * (step_direction + length * direction_direction)
        direction_direction = squared + beta**2 * direction_direction
        direction = combine(1.0, z, beta, direction)
    line.finish(step, step_step**0.5, model)
    return line
