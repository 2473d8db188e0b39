"""Quadratic costs as problems whose states carry products, so that a step takes one and its line search none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manifolds.array_manifold import ArrayManifold
from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.lazy import lazy_property
from manifolds.linalg import Array, inner_product, is_array, machine_epsilon, require_same_kind
from manifolds.retractions import Orthonormalization
from rankopt.frame_line import FrameLine, FrameLineCurve, MatrixPolynomial, quadratic_value_and_slope
from rankopt.solvers.parameters import require_instance
from rankopt.state import Problem, State, on_manifold

if TYPE_CHECKING:
    from rankopt.quadratic import QuadraticObjective

_MAX_CONDITION = 1e3
"""Condition of a step's Gram matrix beyond which the new frame is brought back a second time, with true products."""


class QuadraticProblem(Problem):
    """A quadratic cost on frames X^T B X = I, whose states carry A X and B X.

    Parameters
    ----------
    quadratic : QuadraticObjective
    manifold : ArrayManifold
    retraction : Retraction
        One with normalizers.

    Raises
    ------
    TypeError
        If an argument is none of these. ``QuadraticObjective.on(manifold)`` checks their shapes, and chooses the
        retraction.

    Examples
    --------
    A step takes one product, however many points its line search tries:

    >>> import numpy as np
    >>> from manifolds import CholeskyQR, Stiefel
    >>> from rankopt import QuadraticObjective, QuadraticProblem
    >>> problem = QuadraticProblem(QuadraticObjective(np.diag([1.0, 2.0, 4.0])), Stiefel(3, 1), CholeskyQR())
    >>> state = problem.start(np.full((3, 1), 3**-0.5))
    >>> curve = state.along(-state.gradient)
    >>> values = [curve.value(t) for t in (0.1, 0.2, 0.3)]
    >>> problem.counts()["n_products"]
    2
    """

    cheap_trials = True
    has_hessian = True

    def __init__(self, quadratic: QuadraticObjective, manifold: ArrayManifold, retraction: Any) -> None:
        from rankopt.quadratic import QuadraticObjective

        require_instance("quadratic", quadratic, QuadraticObjective, "QuadraticObjective(A)")
        require_instance("manifold", manifold, ArrayManifold, "Stiefel(5, 2)")
        require_instance("retraction", retraction, Orthonormalization, "CholeskyQR()")
        self.quadratic, self.manifold, self.retraction = quadratic, manifold, retraction
        self._has_gram = isinstance(manifold, GeneralizedStiefel)
        self.n_products = self._nfev = self._nhev = 0

    def counts(self) -> dict[str, int]:
        return {"nfev": self._nfev, "ngev": self._nfev, "nhev": self._nhev, "n_products": self.n_products}

    def random_start(self, rng: Any) -> Array:
        return self.manifold.random_point(rng, like=self.quadratic.like)

    def start(self, point: Array) -> QuadraticState:
        if is_array(point):
            require_same_kind(point, self.quadratic.like, "x0", "A")
        point = on_manifold(point, self.manifold)
        state = self.true_state(self.as_frame(point))
        if not abs(state.value) < float("inf"):
            raise ValueError(f"objective must be finite at the start point x0, got cost {state.value}")
        return state

    def restored(self, saved: Any) -> QuadraticState:
        return self.state(*saved)

    def true_state(self, x: Array) -> QuadraticState:
        """State at a nearly orthonormal X, brought back to the frames by its true Gram matrix, with true products."""
        bx = self.gram_product(x)
        t = self.retraction.normalizer(x.mT @ bx)
        x, bx = x @ t, (bx @ t if self._has_gram else None)
        return self.state(x, self.product(x), x if bx is None else bx, age=0)

    def state(self, x: Array, ax: Array, bx: Array, age: int) -> QuadraticState:
        """State at a frame with its products."""
        self._nfev += 1
        return QuadraticState(self, x, ax, bx, age)

    def product(self, v: Array) -> Array:
        """Product A V, counted."""
        self.n_products += 1
        return self.quadratic.product(v)

    def gram_product(self, v: Array) -> Array:
        """Product B V; V itself where B is the identity."""
        return self.manifold.gram_product(v) if self._has_gram else v  # type: ignore[attr-defined]

    def as_point(self, frame: Array) -> Array:
        """Matrix of vectors in the shape of a point: on a sphere of vectors, its only column."""
        return frame[:, 0] if self.manifold.ndim == 1 else frame  # type: ignore[attr-defined]

    def as_frame(self, vector: Array) -> Array:
        """Point or tangent vector as a matrix."""
        return vector[:, None] if vector.ndim == 1 else vector


class QuadraticState(State):
    """A frame X with the products A X and B X, and the number of steps over which they were carried."""

    def __init__(self, problem: QuadraticProblem, x: Array, ax: Array, bx: Array, age: int) -> None:
        self.problem, self.x, self.ax, self.bx, self.age = problem, x, ax, bx, age
        self.point = problem.as_point(x)
        self.euclidean_gradient = problem.quadratic.euclidean_gradient(problem.as_point(ax))
        quadratic, linear = map(float, problem.quadratic.parts(self.point, self.euclidean_gradient))
        self.value = quadratic + linear
        self.rounding = 4 * machine_epsilon(x) * (abs(quadratic) + abs(linear))

    @lazy_property
    def geometry(self) -> Any:
        gram_point = {"gram_point": self.bx} if self.problem._has_gram else {}
        return self.problem.manifold.at(self.point, **gram_point)

    @lazy_property
    def gradient(self) -> Array:
        return self.geometry.riemannian_gradient(self.euclidean_gradient)

    def derivative(self, tangent_vector: Array) -> float:
        return float(self.problem.manifold.euclidean_inner_product(self.euclidean_gradient, tangent_vector))

    def hessian_product(self, tangent_vector: Array) -> Array:
        """Riemannian Hessian product, by one product with A and one with B."""
        euclidean = self._euclidean_hessian(tangent_vector)
        return self.geometry.riemannian_hessian(self.euclidean_gradient, euclidean, tangent_vector)

    def hessian_covector(self, tangent_vector: Array) -> Array:
        """Covector of the Hessian product, by one product with A and one with B."""
        return self.hessian_form(self._euclidean_hessian(tangent_vector), tangent_vector)

    def _euclidean_hessian(self, tangent_vector: Array) -> Array:
        problem = self.problem
        problem._nhev += 1
        product = problem.product(problem.as_frame(tangent_vector))
        return problem.quadratic.hessian_from(problem.as_point(product))

    def along(self, tangent_vector: Array) -> QuadraticCurve:
        return QuadraticCurve(self, self.problem.as_frame(tangent_vector))

    def saved(self) -> Any:
        return self.x, self.ax, self.bx, self.age

    def evaluated_anew(self) -> QuadraticState:
        return self.problem.true_state(self.x)


class QuadraticCurve(FrameLineCurve):
    """The cost along Y(t) T(t) with Y = X + t V: products A V and B V, then p x p algebra.

    f = scale * ( tr(T^T K T N) / 2 + tr(L^T T) ) with K(t) = Y^T A Y and L(t) = Y^T C.
    """

    def __init__(self, state: QuadraticState, v: Array) -> None:
        super().__init__()
        self._state, self._v, problem = state, v, state.problem
        self._av, self._bv = problem.product(v), problem.gram_product(v)
        x, quadratic = state.x, problem.quadratic
        half = v.mT @ state.ax
        self._rayleigh = MatrixPolynomial(x.mT @ state.ax, half + half.mT, v.mT @ self._av)
        self._line = FrameLine(x, v, state.bx, self._bv, problem.retraction)
        self._weights = 0.5 * quadratic._weights
        c = quadratic._linear
        self._linear = None if c is None else (x.mT @ problem.as_frame(c), v.mT @ problem.as_frame(c))

    def value_and_slope(self, t: float) -> tuple[float, float]:
        pair = normalizer, derivative = self._line.normalizer_and_derivative(t)
        k = self._rayleigh
        value, slope = quadratic_value_and_slope(pair, k.at(t), k.derivative(t), self._weights)
        if self._linear is not None:
            start, change = self._linear
            here = start + t * change
            value += float(inner_product(normalizer, here))
            slope += float(inner_product(derivative, here) + inner_product(normalizer, change))
        return value, slope

    def accept(self, t: float) -> QuadraticState:
        state, problem = self._state, self._state.problem
        normalizer = self._line.normalizer(t)
        x = (state.x + t * self._v) @ normalizer
        if state.age + 1 >= problem.quadratic.refresh or self._line.condition(t, normalizer) > _MAX_CONDITION:
            return problem.true_state(x)
        ax = (state.ax + t * self._av) @ normalizer
        bx = (state.bx + t * self._bv) @ normalizer if problem._has_gram else x
        return problem.state(x, ax, bx, state.age + 1)
