"""Truncated conjugate gradients: minimize the quadratic model of a cost, of Steihaug and Toint inside a ball.

    m(v) = <grad f, v> + <v, Hess f[v]> / 2,    norm(v) <= radius,

in the norm of the preconditioner, <v, P^{-1} v>, or of the metric without one. The iterates leave zero on a broken line
along which the norm grows and the model falls. A smaller ball meets the same line earlier, so the line is kept: a
shorter step costs no Hessian product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from manifolds.linalg import machine_epsilon
from manifolds.manifold import Point
from rankopt.solvers.method import Context
from rankopt.solvers.parameters import require_at_least
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

    @property
    def length(self) -> float:
        """Where the model is least along the segment; infinite where it falls for ever."""
        return -self.slope / self.curvature if self.curvature > 0 else math.inf

    def squared_norm(self, t: float) -> float:
        """Squared norm of v + t d."""
        return self.start_start + t * (2 * self.start_direction + t * self.direction_direction)

    def model_at(self, t: float) -> float:
        """Model at v + t d."""
        return self.model + t * (self.slope + 0.5 * t * self.curvature)

    def point(self, t: float, context: Context) -> Point:
        """The vector v + t d."""
        if self.start is None:
            return context.scaled(t, self.direction)
        return context.linear_combination(1.0, self.start, t, self.direction)

    def step_to(self, radius: float, context: Context) -> ModelStep:
        """Where the segment leaves the ball of a radius, which holds its start."""
        # The positive root of vv + 2 t vd + t^2 dd = radius^2, without cancellation.
        rest, vd = radius**2 - self.start_start, self.start_direction
        t = rest / (vd + (vd**2 + self.direction_direction * rest) ** 0.5)
        return ModelStep(self.point(t, context), radius, -self.model_at(t), on_boundary=True)

    def step_along(self, t: float, context: Context) -> ModelStep:
        """The step v + t d."""
        return ModelStep(self.point(t, context), self.squared_norm(t) ** 0.5, -self.model_at(t), on_boundary=False)


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

    def finish(self, segment: Segment) -> None:
        """End the line inside the ball, with its last segment."""
        self._end = segment.step_along(segment.length, self._context)

    def step_within(self, radius: float) -> ModelStep:
        """Last point of the line that lies in the ball of this radius, which is one of those above."""
        if self._end is not None and self._end.norm <= radius:
            return self._end
        segment = next(s for s in self._segments[::-1] if s.start_start <= radius**2)
        return segment.step_to(radius, self._context)

    def radius_below(self, norm: float) -> float:
        """Largest of the radii that is at most half of a norm."""
        return self._radius / _SHRINK ** max(math.ceil(math.log(2 * self._radius / norm, _SHRINK)), 1)


def truncated_conjugate_gradient(segments: Iterator[Segment], radius: float, context: Context) -> ModelLine:
    """Line of truncated conjugate gradients from zero inside a ball, from its ``model_segments``.

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Algorithm 11; Conn, Gould, Toint,
    Trust-region methods (2000), Algorithm 7.5.1.
    """
    line = ModelLine(radius, context)
    for segment in segments:
        squared_end = segment.squared_norm(segment.length)
        inside = squared_end < radius**2
        end = squared_end**0.5 if inside else math.inf
        if line.crosses(end):
            line.add(segment, end)
        if not inside:
            return line
    line.finish(segment)
    return line


def model_segments(
    state: State, context: Context, search_gradient: Point, tolerance: float, max_iterations: int | None
) -> Iterator[Segment]:
    """Segments of the line of conjugate gradients from zero, one for each Hessian product.

    The last one ends in the minimizer of the model, to the tolerance, or is one along which the model falls for ever.
    All inner products besides the curvature <d, Hess f[d]> and <z, r>, two for each iteration, come from recurrences.
    Residuals are covectors, so that the metric's inverse suffices.

    Parameters
    ----------
    state : State
    context : Context
    search_gradient : tangent vector
        Preconditioned gradient z, with <z, grad f> > 0.
    tolerance : float
        The residual's norm, in the preconditioner, is reduced to this fraction.
    max_iterations : int or None
        Twice the manifold's dimension where it is None.

    Raises
    ------
    ValueError
        If a Hessian product is not finite.
    """
    geometry, combine = state.geometry, context.linear_combination
    # The residual -grad f - Hess f[v] of the model's Newton equation.
    residual, direction = context.scaled(-1.0, state.gradient_covector), context.scaled(-1.0, search_gradient)
    squared = float(geometry.pairing(residual, direction))
    target = tolerance**2 * squared
    segment = Segment(None, direction, 0.0, 0.0, squared, 0.0, -squared, 0.0)
    for _ in range(2 * geometry.manifold.dim if max_iterations is None else max_iterations):
        product = state.hessian_covector(direction)
        curvature = float(geometry.pairing(product, direction))
        if not math.isfinite(curvature):
            raise ValueError(f"hessian must be finite, but <v, hessian(x, v)> is {curvature} at an iterate")
        segment = segment._replace(curvature=curvature)
        yield segment
        length = segment.length
        if not length < math.inf:
            return
        residual = combine(1.0, residual, -length, product)
        z = precondition(state, context.preconditioner, geometry.representative(residual))
        next_squared = float(geometry.pairing(residual, z))
        if not next_squared > target:
            return
        beta, squared = next_squared / squared, next_squared
        direction = combine(1.0, z, beta, direction)
        segment = Segment(
            start=segment.point(length, context),
            direction=direction,
            start_start=segment.squared_norm(length),
            start_direction=beta * (segment.start_direction + length * segment.direction_direction),
            direction_direction=squared + beta**2 * segment.direction_direction,
            model=segment.model_at(length),
            slope=-squared,
            curvature=0.0,
        )


def preconditioned_gradient(state: State, context: Context) -> tuple[Point, float]:
    """Preconditioned gradient z with <z, grad f>, which is zero at a critical point only.

    Raises
    ------
    ValueError
        If the preconditioner is not positive definite there.
    """
    gradient = precondition(state, context.preconditioner)
    squared = float(state.geometry.pairing(state.gradient_covector, gradient))
    if context.preconditioner is not None and squared <= 0 < state.squared_gradient_norm:
        raise ValueError(
            f"preconditioner must be positive definite in the metric, but <grad, preconditioner(x, grad)> is "
            f"{squared:.1e}"
        )
    return gradient, squared


def forcing_fraction(state: State, first_gradient_norm: float, kappa: float, theta: float) -> float:
    """Fraction to which the model's gradient is reduced, but not below the error of the gradient itself."""
    fraction = state.gradient_norm / first_gradient_norm
    error = state.measures.get("gradient_error", 0.0) / state.gradient_norm
    floor = max(machine_epsilon(state.point) / fraction, error)
    return max(min(kappa, fraction**theta), min(floor, kappa))


def require_inner_options(kappa: float, theta: float, max_inner: int | None) -> None:
    """Raise an error unless 0 < kappa < 1, theta >= 0, and the limit of products, if any, is at least one."""
    for name, value in (("kappa", kappa), ("theta", theta)):
        require_at_least(name, value, 0)
    if not 0 < kappa < 1:
        raise ValueError(f"0 < kappa < 1 must hold, got {kappa}")
    if max_inner is not None:
        require_at_least("max_inner", max_inner, 1, whole=True)
