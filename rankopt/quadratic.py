"""Costs that are declared quadratic: one product with A per step, and line searches in p x p algebra."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.grassmann import Grassmann
from manifolds.lazy import lazy_property
from manifolds.linalg import (
    Array,
    convert,
    inner_product,
    is_array,
    machine_epsilon,
    require_finite,
    require_real_floating,
    require_same_kind,
    to_numpy,
)
from manifolds.manifold import ArrayManifold, Manifold
from manifolds.objective import as_objective
from manifolds.operators import operator_kind, operator_product, require_square_operator
from manifolds.orthonormal_frames import OrthonormalFrames
from manifolds.probes import require_symmetric
from manifolds.retractions import CholeskyQR, Orthonormalization
from manifolds.sphere import Sphere
from rankopt.frame_line import FrameLine, FrameLineCurve, MatrixPolynomial, quadratic_value_and_slope
from rankopt.solvers.parameters import require_at_least
from rankopt.state import ObjectiveProblem, Problem, State, on_manifold

_MAX_CONDITION = 1e3
"""Condition of a step's Gram matrix beyond which the new frame is brought back a second time, with true products."""


class QuadraticObjective:
    """The quadratic cost f(X) = scale * ( tr(X^T A X N) / 2 + tr(C^T X) ) with a symmetric A and N = diag(weights).

    ``minimize`` carries the products A X (and B X on a generalized Stiefel manifold) from step to step and updates them
    linearly, so that a step takes one product A V and its line search none. This holds on the Stiefel, Grassmann and
    generalized Stiefel manifolds with the retractions CholeskyQR(), QR() and Polar(), and on spheres of vectors and of
    n x 1 matrices; on other manifolds of arrays it is an ordinary objective of one product per evaluation. The counts
    of a run are true: ``n_products`` is the number of products of A with a block, ``nhev`` that of Hessian products,
    and ``nfev`` = ``ngev`` that of the points at which cost and gradient were formed: with carried products those of
    the steps, not of the trials of line searches. The probe's product, on construction, belongs to no run.

    Parameters
    ----------
    A : array, scipy sparse matrix, LinearOperator, or any object with ``shape`` and ``@``
        Symmetric matrix of order n, of any signature. It is only multiplied with.
    weights : sequence of p floats, optional
        Diagonal of N; the identity when left out. Distinct weights (Brockett) fix the single eigenvectors rather than
        their span.
    linear : array of the shape of a point, optional
        C; zero when left out.
    scale : float
        Minus one maximizes: ``minimize(QuadraticObjective(A, scale=-1), Stiefel(n, p))`` finds the largest eigenvalues
        of A, and on ``GeneralizedStiefel(B, p)`` those of the pencil (A, B).
    refresh : int
        Number of steps after which carried products are replaced by true ones, at the price of one product.
    probe : bool
        Whether symmetry is probed by one product of A with a few random vectors.

    Raises
    ------
    ValueError
        If A is not square or not symmetric, or weights or linear have a wrong shape or are not finite.
    TypeError
        If A cannot be multiplied with, or arrays differ in library, dtype or device.

    References
    ----------
    Brockett, Dynamical systems that sort lists, diagonalize matrices, and solve linear programming problems, Linear
    Algebra Appl. 146 (1991). Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Section 4.8.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import GeneralizedStiefel, Stiefel
    >>> from rankopt import minimize
    >>> a, b = np.diag([1.0, 2.0, 3.0, 4.0]), np.diag([1.0, 1.0, 1.0, 4.0])
    >>> result = minimize(QuadraticObjective(a, scale=-1), Stiefel(4, 2), rng=0)
    >>> round(-2 * result.fun, 6)
    7.0
    >>> round(-2 * minimize(QuadraticObjective(a, scale=-1), GeneralizedStiefel(b, 2), rng=0).fun, 6)
    5.0
    """

    def __init__(
        self,
        A: Any,
        weights: Any = None,
        linear: Array | None = None,
        *,
        scale: float = 1.0,
        refresh: int = 25,
        probe: bool = True,
    ) -> None:
        self.n = require_square_operator("A", A)
        self.A, self.like = A, operator_kind("A", A)
        require_at_least("refresh", refresh, 1, whole=True)
        self.scale, self.refresh = _as_scale(scale), refresh
        self.weights = None if weights is None else _as_weights(weights, self.like)
        self.linear = linear
        if linear is not None:
            self._require_linear(linear)
        if probe:
            require_symmetric("A", self.product, self.n, self.like)
        # The scale is multiplied in once, not at every evaluation.
        self._weights = self.scale if self.weights is None else self.scale * self.weights
        self._linear = None if linear is None else self.scale * linear

    def __repr__(self) -> str:
        return f"QuadraticObjective(order {self.n}, weights={self.weights!r}, scale={self.scale!r})"

    def product(self, v: Array) -> Array:
        """Product A v with a vector or with the columns of ``(..., n, p)`` arrays."""
        return operator_product(self.A, v[:, None])[:, 0] if v.ndim == 1 else operator_product(self.A, v)

    def euclidean_gradient(self, product: Array) -> Array:
        """Euclidean gradient scale * (A X N + C) from A X."""
        gradient = self.hessian_from(product)
        return gradient if self._linear is None else gradient + self._linear

    def hessian_from(self, product: Array) -> Array:
        """Euclidean Hessian product scale * A V N from A V."""
        return product * self._weights

    def value_and_gradient(self, x: Array) -> tuple[Array, Array]:
        """Cost and Euclidean gradient at any array, by one product."""
        self._require_columns(x)
        gradient = self.euclidean_gradient(self.product(x))
        return sum(self.parts(x, gradient)), gradient

    def parts(self, x: Array, gradient: Array) -> tuple[Any, Any]:
        """Quadratic and linear part of the cost, from the Euclidean gradient G: tr(X^T (G - C)) / 2 and tr(C^T X)."""
        ndim = min(x.ndim, 2)
        total = inner_product(x, gradient, ndim)
        linear = 0.0 if self._linear is None else inner_product(x, self._linear, ndim)
        return 0.5 * (total - linear), linear

    def hessian_product(self, x: Array, v: Array) -> Array:
        """Euclidean Hessian product scale * A V N, by one product."""
        self._require_columns(v)
        return self.hessian_from(self.product(v))

    def on(self, manifold: Manifold) -> Problem:
        """The problem of this cost on a manifold: with carried products where the manifold allows it.

        Raises
        ------
        TypeError
            If the manifold's points are not single arrays, or differ from A in library, dtype or device.
        ValueError
            If shapes do not agree, or the cost depends on the basis on a Grassmann manifold.
        """
        if not isinstance(manifold, ArrayManifold):
            raise TypeError(f"manifold must have single arrays as points for a QuadraticObjective, got {manifold!r}")
        if manifold.ndim > 2 or manifold.shape[0] != self.n:
            raise ValueError(f"A is of order {self.n}, but the points of {manifold!r} have the shape {manifold.shape}")
        self._require_weights_for(manifold.shape[1] if manifold.ndim == 2 else 1)
        if self.linear is not None and tuple(self.linear.shape) != manifold.shape:
            raise ValueError(
                f"linear must have the shape {manifold.shape} of the points of {manifold!r}, got "
                f"{tuple(self.linear.shape)}"
            )
        if isinstance(manifold, Grassmann) and not self._is_of_subspaces():
            raise ValueError(
                "weights must be equal, and linear left out, on a Grassmann manifold, where a cost must not depend on "
                "the basis of the subspace; use Stiefel"
            )
        if isinstance(manifold, GeneralizedStiefel):
            require_same_kind(self.like, manifold.own_array(), "A", "B of the manifold")
        retraction = _line_retraction(manifold)
        return (
            _EvaluatedQuadratic(self, manifold) if retraction is None else QuadraticProblem(self, manifold, retraction)
        )

    def _is_of_subspaces(self) -> bool:
        weights = None if self.weights is None else to_numpy(self.weights)
        return self.linear is None and (weights is None or bool(np.all(weights == weights[0])))

    def _require_linear(self, linear: Array) -> None:
        if not is_array(linear):
            raise TypeError(f"linear must be an array like a point, got {type(linear).__name__}")
        if linear.ndim not in (1, 2) or linear.shape[0] != self.n:
            raise ValueError(f"linear must have the shape ({self.n}, p) of a point, got {tuple(linear.shape)}")
        require_real_floating(linear, "linear")
        require_same_kind(linear, self.like, "linear", "A")
        require_finite(linear, "linear")

    def _require_columns(self, x: Array) -> None:
        if not is_array(x):
            raise TypeError(f"a point must be a numpy array or a torch tensor, got {type(x).__name__}")
        if x.ndim == 0 or x.shape[-2 if x.ndim > 1 else 0] != self.n:
            raise ValueError(f"A is of order {self.n}, but the point has the shape {tuple(x.shape)}")
        require_same_kind(x, self.like, "the point", "A")
        self._require_weights_for(x.shape[-1] if x.ndim > 1 else 1)

    def _require_weights_for(self, p: int) -> None:
        if self.weights is not None and self.weights.shape[0] != p:
            raise ValueError(f"weights must be {p} numbers, one for each column, got {self.weights.shape[0]}")


def _as_scale(scale: Any) -> float:
    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise TypeError(f"scale must be a number, got {scale!r}")
    if not abs(float(scale)) < float("inf"):
        raise ValueError(f"scale must be finite, got {scale}")
    return float(scale)


def _as_weights(weights: Any, like: Array) -> Array:
    try:
        values = np.asarray(to_numpy(weights), dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"weights must be a sequence of finite numbers, got {weights!r}") from None
    if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError(f"weights must be a sequence of finite numbers, got {weights!r}")
    return convert(values, like)


def _line_retraction(manifold: ArrayManifold) -> Any:
    """Retraction of the manifold if it brings a line back by a normalizer of its Gram matrix, else None."""
    if isinstance(manifold, OrthonormalFrames):
        retraction = manifold.default_retraction
        return retraction if isinstance(retraction, Orthonormalization) else None
    # On a sphere of single columns, (x + t v) / norm(x + t v) is Cholesky-QR.
    return CholeskyQR() if isinstance(manifold, Sphere) and manifold.shape[1:] in ((), (1,)) else None


class _EvaluatedQuadratic(ObjectiveProblem):
    """A quadratic cost by retraction and evaluation, with its products counted."""

    def __init__(self, quadratic: QuadraticObjective, manifold: ArrayManifold) -> None:
        super().__init__(as_objective(quadratic), manifold)
        self._like = quadratic.like

    def random_start(self, rng: Any) -> Array:
        return self.manifold.random_point(rng, like=self._like)

    def counts(self) -> dict[str, int]:
        # Cost and gradient come from one product.
        return super().counts() | {"n_products": self.objective.nfev + self.objective.nhev}


class QuadraticProblem(Problem):
    """A quadratic cost on frames X^T B X = I, whose states carry A X and B X.

    Parameters
    ----------
    quadratic : QuadraticObjective
    manifold : ArrayManifold
    retraction : Retraction
        One with normalizers.
    """

    cheap_trials = True
    has_hessian = True

    def __init__(self, quadratic: QuadraticObjective, manifold: ArrayManifold, retraction: Any) -> None:
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
