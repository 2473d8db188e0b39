"""Newton's method with a line search, its equation solved by truncated conjugate gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from manifolds.linalg import machine_epsilon
from rankopt.solvers.line_search import Armijo, LineSearch
from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.parameters import require_instance, require_positive
from rankopt.solvers.truncated_cg import (
    ModelStep,
    forcing_fraction,
    model_segments,
    preconditioned_gradient,
    require_inner_options,
)
from rankopt.state import State


@dataclass(frozen=True)
class NewtonCG(Method[float]):
    """Newton's method with a line search: Hess f[v] = -grad f by conjugate gradients, then a search along v.

    Conjugate gradients end where the residual is small enough, or at the first direction d of negative curvature. From
    the vector v found by then the step goes on along d, up to the norm ``radius``: both descend, so the search finds a
    decrease, and the run leaves saddle points. Elsewhere the first trial is the whole step, which costs one evaluation
    near an optimum. Where the objective has no Hessian product, differences of gradients stand in for it, one more
    gradient for each product.

    Parameters
    ----------
    kappa, theta : float
        The residual is reduced to a fraction min(kappa, q^theta), where q is the norm of the gradient relative to that
        at the start: the order of convergence is 1 + theta, at most 2.
    line_search : LineSearch, optional
        Armijo() by default.
    radius : float, optional
        Norm, in the metric, of steps where the curvature is negative, unless v itself is longer; half the manifold's
        typical distance by default.
    max_inner : int, optional
        Limit of Hessian products for each step; twice the manifold's dimension by default.

    Notes
    -----
    With a preconditioner P norms are those of P^{-1}, and the radius is converted at every point by the ratio of the
    gradient's norms, norm(g) / <g, P g>^{1/2}. The step size in the history is the norm of the step.

    References
    ----------
    Nocedal, Wright, Numerical Optimization (2006), Algorithm 7.1; Dembo, Eisenstat, Steihaug, Inexact Newton methods,
    SIAM J. Numer. Anal. 19 (1982), on the fractions; Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix
    Manifolds (2008), Section 6.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import minimize
    >>> d = np.arange(1.0, 6.0)
    >>> result = minimize(
    ...     lambda x: d @ x**2, Sphere(5), method=NewtonCG(), gradient=lambda x: 2 * d * x,
    ...     hessian=lambda x, v: 2 * d * v, rng=0
    ... )
    >>> round(result.fun, 12), result.ngev == result.nit + 1
    (1.0, True)
    """

    kappa: float = 0.3
    theta: float = 0.5
    line_search: LineSearch | None = None
    radius: float | None = None
    max_inner: int | None = None

    def __post_init__(self) -> None:
        require_inner_options(self.kappa, self.theta, self.max_inner)
        if self.line_search is not None:
            require_instance("line_search", self.line_search, LineSearch, "Armijo()")
        if self.radius is not None:
            require_positive("radius", self.radius)

    def start(self, state: State, context: Context) -> float:
        """The norm of the gradient at the start, to which later ones are compared."""
        return state.gradient_norm

    def step(self, state: State, memory: float, context: Context) -> Step[float] | None:
        search = self.line_search or Armijo()
        for trial in self._trials(state, memory, context):
            # Not as Df(x)[v]: rounding that is left of the gradient's normal component in v would count there.
            slope = float(state.geometry.pairing(state.gradient_covector, trial.vector))
            if slope < 0:
                curve = state.along(trial.vector)
                t = search.search(curve, state, slope, 1.0, context.values)
                if t is not None:
                    return Step(curve.accept(t), memory, t * trial.norm)
        return None

    def _trials(self, state: State, first_gradient_norm: float, context: Context) -> Iterator[ModelStep]:
        """The minimizer of the model; or a step along negative curvature and, if none is found there, one up to it.

        A direction that is made of rounding may seem to have negative curvature.
        """
        gradient, squared = preconditioned_gradient(state, context)
        if not squared > 0:
            return
        manifold = state.geometry.manifold
        # The norm of P^{-1} is longer than the metric's by the ratio of the gradient's norms.
        scale = manifold.typical_dist * state.gradient_norm / squared**0.5
        tolerance = forcing_fraction(state, first_gradient_norm, self.kappa, self.theta)
        for segment in model_segments(state, context, gradient, tolerance, self.max_inner):
            # Curvature that is zero but for its rounding counts as negative, whatever its sign.
            if not segment.squared_norm(segment.length) < scale**2 / machine_epsilon(state.point):
                radius = scale * (0.5 if self.radius is None else self.radius / manifold.typical_dist)
                if radius**2 > segment.start_start:
                    yield segment.step_to(radius, context)
                if segment.start is not None:
                    yield segment.step_along(0.0, context)
                return
        yield segment.step_along(segment.length, context)
