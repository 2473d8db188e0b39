"""Riemannian trust regions: a quadratic model of the cost, trusted in a ball that grows and shrinks with its merit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.parameters import require_at_least, require_positive
from rankopt.solvers.truncated_cg import (
    Segment,
    forcing_fraction,
    model_segments,
    preconditioned_gradient,
    require_inner_options,
    truncated_conjugate_gradient,
)
from rankopt.state import State

_MAX_REJECTIONS = 40
"""Rejections in a row after which no step is found: the radius has then shrunk by 4^-40 at least."""


class TrustRegionMemory(NamedTuple):
    """What a trust region remembers: its radius, the gradient's norm at the start, and the radii's unit."""

    radius: float | None
    """None before the first step."""
    first_gradient_norm: float
    unit: float | None
    """Length, in the norm that the preconditioner defines, of what has length one in the metric."""


@dataclass(frozen=True)
class TrustRegion(Method[TrustRegionMemory]):
    """Trust region with truncated conjugate gradients: Newton's method near an optimum, robust far from it.

    A step minimizes the quadratic model of the cost in a ball, is retracted, and is accepted where the cost falls by
    enough of what the model predicts; else the ball shrinks, which costs one evaluation of the cost and nothing else.
    A step therefore costs one gradient, its Hessian products, and a cost for each trial. It follows directions of
    negative curvature, so it leaves saddle points. Where the objective has no Hessian product, differences of gradients
    stand in for it, one more gradient for each product.

    Parameters
    ----------
    kappa, theta : float
        The model is minimized until its gradient has fallen to a fraction min(kappa, q^theta), where q is the norm of
        the gradient relative to that at the start: the order of convergence is 1 + theta. With ``theta=1`` it is
        quadratic, but where a cost depends on a frame through its span only, on a manifold of frames, such a model is
        solved along directions in which there is nothing to gain.
    acceptance : float
        Fraction of the predicted decrease, below 1/4, that must be exceeded for a step to be accepted.
    initial_radius : float, optional
        In the norm of the metric. By default an eighth of the manifold's typical distance; on a cone, where no distance
        is typical, that of the model's minimizer along the gradient, if there is one.
    max_radius : float
        In the norm of the metric.
    max_inner : int, optional
        Limit of Hessian products for each step; twice the manifold's dimension by default.
    regularization : float
        Cost differences count as rounding up to this number times ``state.rounding``, 4 machine epsilons of the cost:
        both the actual and the predicted decrease are raised by it, so that their ratio tends to one where rounding
        takes over and the run goes on until the gradient itself is at rounding level.

    Notes
    -----
    With a preconditioner P the ball is one in the norm of P^{-1}, and both radii are converted at the start point by
    the ratio of the gradient's norms, norm(g) / <g, P g>^{1/2}. The step size in the history is the norm of the step.

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Algorithms 10 and 11; Absil, Baker,
    Gallivan, Trust-region methods on Riemannian manifolds, Found. Comput. Math. 7 (2007); Conn, Gould, Toint,
    Trust-region methods (2000), Section 17.4.2 on rounding; Boumal, GSI 2015, on differenced Hessians.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import minimize
    >>> d = np.arange(1.0, 6.0)
    >>> result = minimize(
    ...     lambda x: d @ x**2, Sphere(5), method=TrustRegion(), gradient=lambda x: 2 * d * x,
    ...     hessian=lambda x, v: 2 * d * v, rng=0
    ... )
    >>> round(result.fun, 12), result.ngev == result.nit + 1
    (1.0, True)
    """

    kappa: float = 0.3
    theta: float = 0.3
    acceptance: float = 0.1
    initial_radius: float | None = None
    max_radius: float = float("inf")
    max_inner: int | None = None
    regularization: float = 250.0

    def __post_init__(self) -> None:
        require_inner_options(self.kappa, self.theta, self.max_inner)
        for name in ("acceptance", "regularization"):
            require_at_least(name, getattr(self, name), 0)
        if not self.acceptance < 0.25:
            raise ValueError(f"acceptance must be below 0.25, where the radius shrinks, got {self.acceptance}")
        if self.initial_radius is not None:
            require_positive("initial_radius", self.initial_radius)
        require_at_least("max_radius", self.max_radius, 0)
        if not 0 < (self.max_radius if self.initial_radius is None else self.initial_radius) <= self.max_radius:
            raise ValueError(
                f"0 < initial_radius <= max_radius must hold, got {self.initial_radius} and {self.max_radius}"
            )

    def start(self, state: State, context: Context) -> TrustRegionMemory:
        return TrustRegionMemory(None, state.gradient_norm, None)

    def step(self, state: State, memory: TrustRegionMemory, context: Context) -> Step[TrustRegionMemory] | None:
        gradient, squared = preconditioned_gradient(state, context)
        if not squared > 0:
            return None
        # A radius in the norm of P^{-1} is longer by this factor.
        unit = state.gradient_norm / squared**0.5 if memory.unit is None else memory.unit
        fraction = forcing_fraction(state, memory.first_gradient_norm, self.kappa, self.theta)
        segments = model_segments(state, context, gradient, fraction, self.max_inner)
        first = next(segments)
        radius = self._first_radius(first, state, unit) if memory.radius is None else memory.radius
        line = truncated_conjugate_gradient(chain([first], segments), radius, context)
        slack = self.regularization * state.rounding
        for _ in range(_MAX_REJECTIONS):
            trial = line.step_within(radius)
            curve = state.along(trial.vector)
            value, predicted = curve.value(1.0), trial.decrease + slack
            ratio = (state.value - value + slack) / predicted if predicted > 0 else -1.0
            if ratio > self.acceptance:
                if ratio < 0.25:
                    radius = 0.25 * trial.norm
                elif ratio > 0.75 and trial.on_boundary:
                    radius = min(2 * radius, unit * self.max_radius)
                return Step(curve.accept(1.0), memory._replace(radius=radius, unit=unit), trial.norm)
            radius = line.radius_below(trial.norm)
        return None

    def _first_radius(self, first: Segment, state: State, unit: float) -> float:
        """Radius of the first ball, from the first segment of the line."""
        manifold = state.geometry.manifold
        if self.initial_radius is None and manifold.is_cone and first.length < math.inf:
            radius = first.squared_norm(first.length) ** 0.5
        else:
            radius = unit * (manifold.typical_dist / 8 if self.initial_radius is None else self.initial_radius)
        return min(radius, unit * self.max_radius)
