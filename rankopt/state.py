"""State and curve: all that a solver sees of a problem.

A *state* is a point with its local geometry, cost and gradient; a *curve* runs from it along a tangent vector. The
generic problem retracts and evaluates. A problem with more structure overrides both and may carry products from state
to state, so that a step costs one product and its line search costs small-matrix algebra.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from manifolds.lazy import lazy_property
from manifolds.linalg import is_array, machine_epsilon, require_finite, require_real_floating
from manifolds.manifold import LocalGeometry, Manifold, Point
from manifolds.objective import Evaluation, as_objective, is_finite, require_like
from manifolds.retractions import RankDeficientError
from rankopt.solvers.stopping import StoppingCriterion

CLOSE = 1e-2
"""Relative distance up to which a start point off the manifold is projected rather than refused."""


class State(ABC):
    """A point with its local geometry, cost and Riemannian gradient.

    Attributes
    ----------
    point : array or named tuple of arrays
    geometry : LocalGeometry
    value : float
        Cost.
    euclidean_gradient : array or named tuple of arrays, or None
        Where the Riemannian gradient comes from; None where that is known directly.
    gradient : tangent vector
        Riemannian gradient.
    """

    point: Point
    geometry: Any
    value: float
    euclidean_gradient: Any = None
    gradient: Any
    rounding: float
    """Size below which a difference of costs says nothing."""

    @lazy_property
    def squared_gradient_norm(self) -> float:
        """Squared norm of the gradient in the metric.

        Not as Df(x)[grad f(x)]: there the rounding that is left of the normal component counts with the root.
        """
        return float(self.geometry.pairing(self.gradient_covector, self.gradient))

    @property
    def measures(self) -> dict[str, float]:
        """What else the history records at every state, such as the error of the gradient."""
        return {}

    @property
    def gradient_norm(self) -> float:
        """Norm of the gradient in the metric."""
        return max(self.squared_gradient_norm, 0.0) ** 0.5

    @abstractmethod
    def derivative(self, tangent_vector: Point) -> float:
        """Directional derivative Df(x)[v] = <grad f(x), v>_x."""

    def derivative_from(self, origin: State, tangent_vector: Point) -> float:
        """Directional derivative along the transport of a tangent vector at another state."""
        geometry = self.geometry
        return float(geometry.gradient_pairing_from(origin.geometry, self.gradient_covector, tangent_vector))

    def hessian_product(self, tangent_vector: Point) -> Point:
        """Riemannian Hessian product along a tangent vector, where the problem has one."""
        raise TypeError(
            "the problem's states have no hessian_product, which methods of second order need; use a method such as "
            "LBFGS() or ConjugateGradient()"
        )

    @lazy_property
    def gradient_covector(self) -> Point:
        """Covector w -> <grad f(x), w>_x, as the geometry keeps covectors."""
        if self.euclidean_gradient is None:
            return self.geometry.covector(self.gradient)
        return self.geometry.gradient_covector(self.euclidean_gradient, self.gradient)

    @lazy_property
    def hessian_form(self) -> Callable[..., Point]:
        """Function (Euclidean Hessian product along v, v) -> ``hessian_covector(v)``."""
        return self.geometry.hessian_form(self.euclidean_gradient)

    def hessian_covector(self, tangent_vector: Point) -> Point:
        """Covector w -> <Hess f(x)[v], w>_x, as the geometry keeps covectors."""
        return self.geometry.covector(self.hessian_product(tangent_vector))

    @abstractmethod
    def along(self, tangent_vector: Point) -> Curve:
        """Curve that starts here along a tangent vector."""

    def saved(self) -> Any:
        """What ``Problem.restored`` makes this state of again: numbers, arrays and tuples of these."""
        raise TypeError(
            f"checkpoint: a {type(self).__name__} cannot be saved; give the state saved() and its problem restored()"
        )

    def evaluated_anew(self) -> State:
        """State at the same point with nothing that was carried from state to state: itself, where nothing is."""
        return self


class Curve(ABC):
    """The cost along a retraction's curve t -> f(R_x(t v))."""

    @abstractmethod
    def value(self, t: float) -> float:
        """Cost at t; infinite where the point or the cost is not defined."""

    @abstractmethod
    def slope(self, t: float) -> float:
        """Derivative of the cost at t."""

    @abstractmethod
    def accept(self, t: float) -> State:
        """State at the point of t."""


class Problem(ABC):
    """Source of states: what ``minimize`` runs on.

    Attributes
    ----------
    manifold : Manifold
    cheap_trials : bool
        Whether values and slopes along a curve cost next to nothing, so that the line search may be nearly exact.
    has_hessian : bool
        Whether its states have Hessian products, which cost about as much as a gradient.
    stopping : StoppingCriterion or None
        When its runs end unless the caller says; None for the default of ``minimize``.
    """

    manifold: Manifold
    cheap_trials = False
    has_hessian = False
    stopping: StoppingCriterion | None = None

    @abstractmethod
    def start(self, point: Point) -> State:
        """State at a start point, after checking it."""

    def random_start(self, rng: Any) -> Point:
        """Random start point."""
        return self.manifold.random_point(rng)

    def restored(self, saved: Any) -> State:
        """State of which ``State.saved`` was kept; named tuples have become plain ones."""
        raise TypeError(f"checkpoint: a {type(self).__name__} cannot restore states; give it restored()")

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """True counts so far: ``nfev``, ``ngev``, ``nhev`` and what else the problem counts."""


class ObjectiveProblem(Problem):
    """An objective on a manifold, by retraction and evaluation.

    Parameters
    ----------
    objective : callable or object
        As ``minimize`` takes it: one with derivatives of its own, or a cost that torch's autograd differentiates.
    manifold : Manifold

    Raises
    ------
    TypeError
        If an argument is neither of these.

    Examples
    --------
    What a solver sees of it, a state and a curve from there:

    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import ObjectiveProblem, from_scipy
    >>> height = from_scipy(lambda x: x[0], lambda x: np.array([1.0, 0.0]))
    >>> state = ObjectiveProblem(height, Sphere(2)).start(np.array([0.0, 1.0]))
    >>> curve = state.along(-state.gradient)
    >>> state.value, curve.slope(0.0), round(curve.accept(0.75).value, 12)
    (0.0, -1.0, -0.6)
    """

    def __init__(self, objective: Any, manifold: Manifold) -> None:
        if not isinstance(manifold, Manifold):
            raise TypeError(f"manifold must be a Manifold, got {type(manifold).__name__}")
        self.objective, self.manifold = as_objective(objective), manifold
        converts = self.objective.riemannian or manifold.has_hessian
        # Second derivatives by the factors of a matrix are not those by the matrix, so gradients are differenced there.
        by_factors = manifold.factored and self.objective.hessian is None
        self.has_hessian = self.objective.has_hessian and converts and not by_factors

    def counts(self) -> dict[str, int]:
        return {"nfev": self.objective.nfev, "ngev": self.objective.ngev, "nhev": self.objective.nhev}

    def start(self, point: Point) -> ObjectiveState:
        point = on_manifold(point, self.manifold)
        return self.checked_start(ObjectiveState(self, point, self.objective.at(point)))

    def restored(self, saved: Any) -> State:
        point = self.manifold.at(saved).point
        return ObjectiveState(self, point, self.objective.at(point))

    @staticmethod
    def checked_start(state: ObjectiveState) -> ObjectiveState:
        """The state, if its cost and gradient are finite."""
        if not (abs(state.value) < float("inf") and is_finite(state.gradient)):
            raise ValueError(f"objective must be finite at the start point x0, got cost {state.value}")
        return state


class ObjectiveState(State):
    """State of an objective: the gradient is computed when it is first asked for."""

    evaluation: Any

    def __init__(self, problem: ObjectiveProblem, point: Point, evaluation: Evaluation) -> None:
        self.problem, self.point, self.evaluation = problem, point, evaluation
        self.value = evaluation.value
        self.rounding = 4 * machine_epsilon(point) * abs(self.value)

    @lazy_property
    def geometry(self) -> LocalGeometry:
        return self.problem.manifold.at(self.point)

    @property
    def euclidean_gradient(self) -> Point:
        return None if self.problem.objective.riemannian else self.evaluation.gradient

    @lazy_property
    def gradient(self) -> Point:
        gradient = self.evaluation.gradient
        return gradient if self.problem.objective.riemannian else self.geometry.riemannian_gradient(gradient)

    @property
    def measures(self) -> dict[str, float]:
        return self.evaluation.measures

    def derivative(self, tangent_vector: Point) -> float:
        if self.problem.objective.riemannian:
            return float(self.geometry.inner_product(self.gradient, tangent_vector))
        if self.problem.manifold.factored:
            # By the factors: the product of a large sparse gradient with those of the vector would cost more.
            return float(self.geometry.pairing(self.gradient_covector, tangent_vector))
        return float(self.geometry.derivative(self.evaluation.gradient, tangent_vector))

    def hessian_product(self, tangent_vector: Point) -> Point:
        """Riemannian Hessian product along a tangent vector."""
        product = self.evaluation.hessian_product(tangent_vector)
        if self.problem.objective.riemannian:
            return product
        return self.geometry.riemannian_hessian(self.evaluation.gradient, product, tangent_vector)

    def hessian_covector(self, tangent_vector: Point) -> Point:
        """Covector of the Hessian product; a difference of gradients where objective or manifold has no Hessian."""
        if not self.problem.has_hessian:
            return self._differenced_hessian_covector(tangent_vector)
        if self.problem.objective.riemannian:
            return super().hessian_covector(tangent_vector)
        return self.hessian_form(self.evaluation.hessian_product(tangent_vector), tangent_vector)

    def _differenced_hessian_covector(self, v: Point) -> Point:
        """(T grad f(y) - grad f(x)) / t with y = R_x(t v) and T the transport to x, at the price of a gradient.

        The error is of first order in t, and rounding counts with 1 / t; so t makes a step of the root of the machine
        epsilon relative to the point, or to the manifold where the point is nearly zero (Boumal, Riemannian trust
        regions with finite-difference Hessian approximations are globally convergent, GSI 2015).
        """
        manifold, length = self.problem.manifold, euclidean_size(self.problem.manifold, v)
        scale = max(euclidean_size(manifold, self.point), 1e-3 * manifold.typical_dist)
        t = machine_epsilon(self.point) ** 0.5 * scale / length if length > 0 else 1.0
        point = self.geometry.retraction_curve(v).point(t)
        there, gradient = manifold.at(point), self.problem.objective.at(point).gradient
        form = there.covector if self.problem.objective.riemannian else there.gradient_covector
        moved = self.geometry.covector_from(there, form(gradient))
        return manifold.linear_combination(1 / t, moved, -1 / t, self.gradient_covector)

    def along(self, tangent_vector: Point) -> Curve:
        return ObjectiveCurve(self, tangent_vector)

    def saved(self) -> Any:
        return self.point


class ObjectiveCurve(Curve):
    """Curve of an objective: a trial retracts and evaluates, and is kept, so that no point is evaluated twice."""

    def __init__(self, state: ObjectiveState, tangent_vector: Point) -> None:
        self._problem = state.problem
        self._curve = state.geometry.retraction_curve(tangent_vector)
        self._trials = {0.0: state}

    def value(self, t: float) -> float:
        try:
            value = self.accept(t).value
        except RankDeficientError:
            return float("inf")
        return value if value == value else float("inf")

    def slope(self, t: float) -> float:
        return self.accept(t).derivative(self._curve.velocity(t))

    def accept(self, t: float) -> ObjectiveState:
        if t not in self._trials:
            point = self._curve.point(t)
            state = ObjectiveState(self._problem, point, self._problem.objective.at(point))
            geometry = self._curve.geometry(t)
            if geometry is not None:
                state.geometry = geometry  # which would be made anew when first asked for
            self._trials[t] = state
        return self._trials[t]


def on_manifold(point: Point, manifold: Manifold) -> Point:
    """The start point, projected if it is close to the manifold, else refused with the reason."""
    for array in point if isinstance(point, tuple) else (point,):
        if is_array(array):
            require_real_floating(array, "x0")
            require_finite(array, "x0")
    try:
        point = manifold.at(point).point
        zero = manifold.zero_vector(point)
        if getattr(manifold.euclidean_inner_product(zero, zero), "shape", ()):
            raise ValueError("a single point is needed, not a batch of points")
        problem = manifold.check_point(point)
        nearest = point if problem is None else manifold.nearest_point(point)
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"x0: {error}") from None
    if problem is None:
        return point
    difference = manifold.linear_combination(1.0, point, -1.0, nearest)
    distance = euclidean_size(manifold, difference) / max(euclidean_size(manifold, nearest), 1e-300)
    if not distance <= CLOSE:
        raise ValueError(
            f"x0 is far off the manifold: {problem}; start from manifold.nearest_point(x0) if that is what you mean"
        )
    return nearest


def precondition(state: State, preconditioner: Any, vector: Point = None) -> Point:
    """Preconditioned tangent vector, by default the gradient; itself without a ``(x, v) -> tangent vector``."""
    vector = state.gradient if vector is None else vector
    if preconditioner is None:
        return vector
    return require_like(preconditioner(state.point, vector), state.point, "preconditioner")


def euclidean_size(manifold: Manifold, vector: Point) -> float:
    """Root of the sum of the squares of all entries."""
    return float(manifold.euclidean_inner_product(vector, vector)) ** 0.5
