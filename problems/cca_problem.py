"""Canonical correlation analysis as optimization on a product of two generalized Stiefel manifolds.

    minimize f(U, V) = -tr(U^T Sxy V N)  over  U^T Sxx U = I,  V^T Syy V = I,

in the metric tr(A^T Mx B) + tr(C^T My D) of a preconditioner per view. With N = I the optimum is the span of the
leading canonical vectors, and the singular value decomposition of the small U^T Sxy V turns it into the vectors
themselves; distinct weights N (Brockett) fix them directly but converge far more slowly.

The cost is quadratic, so states carry their products with the covariances: a step costs one pass over the data, for the
products with its direction, and its line search is p x p algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.linalg import (
    Array,
    convert,
    inner_product,
    is_array,
    namespace,
    require_finite,
    require_same_kind,
    standard_normal,
    symmetric_part,
    to_numpy,
)
from manifolds.manifold import Point
from manifolds.product import Product, ProductGeometry
from manifolds.retractions import CholeskyQR, Orthonormalization, RankDeficientError
from problems.canonical_pairs import CanonicalPairs
from problems.data import CovarianceMatrices, CovarianceProducts, PairedViews, ViewCovariance
from problems.wide_vectors import WideData, products_epsilon
from rankopt.frame_line import FrameLine, FrameLineCurve, MatrixPolynomial, bilinear_value_and_slope
from rankopt.solvers.parameters import require_at_least
from rankopt.state import Problem, State


class CCAProblem(Problem):
    """The problem of the leading canonical correlations of two views.

    Parameters
    ----------
    data : PairedViews, CovarianceMatrices or WideData
        Where products with the covariances come from.
    n_components : int
        Number p of canonical pairs, at most the smaller number of features.
    preconditioners : pair
        Metric of each view: None (the identity), a matrix, or an object with ``solve``, as in ``GeneralizedStiefel``.
    weights : sequence of float, optional
        Brockett weights mu_1 >= ... >= mu_p > 0; the identity when left out.
    refresh : int
        Number of steps after which the carried products are replaced by true ones, at the price of a pass.
    retraction : Orthonormalization
        CholeskyQR() or Polar().
    gradient_error : float
        Norm that rounding of the products may leave of a gradient; recorded where it is positive.

    Attributes
    ----------
    manifold : Product
        With the fields ``x`` and ``y``.

    References
    ----------
    Shustin, Avron, Faster randomized methods for orthogonality constrained problems, JMLR (2024), Section on CCA.

    Examples
    --------
    >>> import numpy as np
    >>> from problems.data import PairedViews
    >>> from rankopt import minimize
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((500, 2))
    >>> x, y = z @ rng.standard_normal((2, 4)), z @ rng.standard_normal((2, 3))
    >>> x, y = x + rng.standard_normal(x.shape), y + rng.standard_normal(y.shape)
    >>> problem = CCAProblem(PairedViews(x, y), n_components=2)
    >>> result = minimize(problem, problem.manifold, rng=0)
    >>> correlations, u, v = problem.canonical_pairs(result.x)
    >>> scores = (x - x.mean(0)) @ u
    >>> np.allclose(scores.T @ scores / 500, np.eye(2))
    True
    """

    cheap_trials = True
    has_hessian = True

    def __init__(
        self,
        data: PairedViews | CovarianceMatrices | WideData,
        n_components: int,
        *,
        preconditioners: tuple[Any, Any] = (None, None),
        weights: Sequence[float] | None = None,
        refresh: int = 25,
        retraction: Orthonormalization | None = None,
        gradient_error: float = 0.0,
    ) -> None:
        require_at_least("n_components", n_components, 1, whole=True)
        require_at_least("refresh", refresh, 1, whole=True)
        require_at_least("gradient_error", gradient_error, 0)
        if n_components > min(data.n_features):
            raise ValueError(
                f"n_components must be at most {min(data.n_features)}, the columns of a view, got {n_components}"
            )
        if not isinstance(preconditioners, (tuple, list)) or len(preconditioners) != 2:
            raise TypeError(f"preconditioners must be a pair, one for each view, got {preconditioners!r}")
        if retraction is not None and not isinstance(retraction, Orthonormalization):
            raise TypeError(f"retraction must be a value such as CholeskyQR() or Polar(), got {retraction!r}")
        self.data, self.n_components, self.refresh = data, n_components, refresh
        self.retraction = CholeskyQR() if retraction is None else retraction
        # The covariances are symmetric and positive by construction, and a probe would cost passes over the data.
        factors = [
            GeneralizedStiefel(
                ViewCovariance(data, view), n_components, preconditioner=metric, retraction=self.retraction, probe=False
            )
            for view, metric in enumerate(preconditioners)
        ]
        self.manifold: Product = Product(x=factors[0], y=factors[1])
        self.weights = _as_weights(weights, n_components, data.like)
        self.gradient_error = float(gradient_error)
        self._nfev = self._nhev = 0

    def counts(self) -> dict[str, int]:
        return {"nfev": self._nfev, "ngev": self._nfev, "nhev": self._nhev, "n_passes": self.data.n_passes}

    def random_start(self, rng: Any) -> Point:
        """Random directions; ``start`` orthonormalises them with the products it takes anyway."""
        p = self.n_components
        return self.manifold.point_type._make(
            standard_normal(rng, (d, p), self.data.like) for d in self.data.n_features
        )

    def start(self, point: Point) -> CCAState:
        """State at the orthonormalised point, by one pass."""
        if not isinstance(point, (tuple, list)) or len(point) != 2:
            raise TypeError(f"x0 must be a pair (x, y) of matrices, got {type(point).__name__}")
        for name, part, d in zip(("x0.x", "x0.y"), point, self.data.n_features, strict=True):
            if not is_array(part) or tuple(part.shape) != (d, self.n_components):
                raise ValueError(
                    f"{name} must have shape {(d, self.n_components)}, got {getattr(part, 'shape', type(part))}"
                )
            require_same_kind(part, self.data.like, name, "the data")
            require_finite(part, name)
        products = self.data.products(*point)
        try:
            tx = self.retraction.normalizer(symmetric_part(point[0].mT @ products.xx))
            ty = self.retraction.normalizer(symmetric_part(point[1].mT @ products.yy))
        except RankDeficientError:
            raise ValueError(
                "the start point's scores are linearly dependent: its columns, or those of the data, are; "
                "give reg > 0, fewer components, or another start point"
            ) from None
        return self._state((point[0] @ tx, point[1] @ ty), _times(products, tx, ty), age=0)

    def restored(self, saved: Any) -> CCAState:
        x, y, *products, age = saved
        return self._state((x, y), CovarianceProducts(*products), age)

    def value_and_gradient(self, point: Point) -> tuple[float, Point]:
        """Cost and Euclidean gradient (-Sxy V N, -Sxy^T U N) at any pair of matrices, by one pass."""
        products = self.data.products(*point)
        gradient = self.manifold.point_type(-products.xy * self.weights, -products.yx * self.weights)
        return float(inner_product(point[0], gradient.x)), gradient

    def hessian_product(self, point: Point, v: Point) -> Point:
        """Euclidean Hessian product (-Sxy b N, -Sxy^T a N) along (a, b), by one pass."""
        products = self.data.products(*v)
        return self.manifold.point_type(-products.xy * self.weights, -products.yx * self.weights)

    def canonical_pairs(self, point: Point) -> tuple[Array, Array, Array]:
        """Correlations and canonical vectors from an optimal point, by one pass and a p x p SVD.

        Returns
        -------
        correlations : array of shape (p,)
        u : array of shape (dx, p)
        v : array of shape (dy, p)
            With u^T Sxx u = v^T Syy v = I and u^T Sxy v diagonal.
        """
        return tuple(self.canonical_products(point)[0])

    def canonical_products(self, point: Point) -> tuple[CanonicalPairs, CovarianceProducts]:
        """Canonical pairs from an optimal point, and their products with the covariances, by one pass."""
        state = self.start(point)
        left, correlations, right = namespace(state.point.x).linalg.svd(state.point.x.mT @ state.products.xy)
        pairs = CanonicalPairs(correlations, state.point.x @ left, state.point.y @ right.mT)
        return pairs, _times(state.products, left, right.mT)

    def _state(self, point: tuple[Array, Array], products: CovarianceProducts, age: int) -> CCAState:
        self._nfev += 1
        return CCAState(self, self.manifold.point_type(*point), products, age)


class CCAState(State):
    """A point (U, V) with the products Sxx U, Sxy V, Syy V and Sxy^T U, and the number of steps they were carried."""

    def __init__(self, problem: CCAProblem, point: Any, products: CovarianceProducts, age: int) -> None:
        self.problem, self.point, self.products, self.age = problem, point, products, age
        manifold, weights = problem.manifold, problem.weights
        geometries = (
            manifold.factors["x"].at(point.x, gram_point=products.xx),  # type: ignore[call-arg]
            manifold.factors["y"].at(point.y, gram_point=products.yy),  # type: ignore[call-arg]
        )
        self.geometry: ProductGeometry = ProductGeometry(manifold, manifold.point_type(*geometries))
        self.euclidean_gradient = manifold.point_type(-products.xy * weights, -products.yx * weights)
        self.value = float(inner_product(point.x, self.euclidean_gradient.x))
        self.gradient = self.geometry.riemannian_gradient(self.euclidean_gradient)
        self.rounding = 4 * products_epsilon(problem.data) * abs(self.value)

    @property
    def measures(self) -> dict[str, float]:
        error = self.problem.gradient_error
        return {"gradient_error": error} if error else {}

    def derivative(self, tangent_vector: Point) -> float:
        return float(self.problem.manifold.euclidean_inner_product(self.euclidean_gradient, tangent_vector))

    def hessian_product(self, tangent_vector: Point) -> Point:
        """Riemannian Hessian product, by one pass."""
        return self.geometry.representative(self.hessian_covector(tangent_vector))

    def hessian_covector(self, tangent_vector: Point) -> Point:
        """Covector of the Hessian product, by one pass."""
        self.problem._nhev += 1
        weights, data = self.problem.weights, self.problem.data
        products = data.products(*tangent_vector)
        pair = self.problem.manifold.point_type
        euclidean = pair(-products.xy * weights, -products.yx * weights)
        return pair(*(
            geometry.hessian_covector(gradient, hessian, v, gram_tangent=gram)
            for geometry, gradient, hessian, v, gram in zip(
                self.geometry.geometries, self.euclidean_gradient, euclidean, tangent_vector, (products.xx,
                products.yy), strict=True
            )
        ))  # fmt: skip

    def along(self, tangent_vector: Point) -> CCACurve:
        return CCACurve(self, tangent_vector)

    def saved(self) -> Any:
        return *self.point, *self.products, self.age

    def evaluated_anew(self) -> CCAState:
        return self.problem.start(self.point)


class CCACurve(FrameLineCurve):
    """The cost -tr(Tx^T K Ty N) along (U + t a) Tx, (V + t b) Ty: one pass, then p x p polynomials in t.

    K(t) = (U + t a)^T Sxy (V + t b), and Tx, Ty are the normalizers of the Gram matrices Gx(t) = (U + t a)^T Sxx (U +
    t a) and Gy(t).
    """

    def __init__(self, state: CCAState, tangent_vector: Point) -> None:
        super().__init__()
        self._state, self._direction = state, tangent_vector
        (u, v), (a, b), at = state.point, tangent_vector, state.products
        along = state.problem.data.products(a, b)
        self._along, self._problem = along, state.problem
        self._correlation = MatrixPolynomial(u.mT @ at.xy, a.mT @ at.xy + u.mT @ along.xy, a.mT @ along.xy)
        self._x = FrameLine(u, a, at.xx, along.xx, state.problem.retraction)
        self._y = FrameLine(v, b, at.yy, along.yy, state.problem.retraction)

    def value_and_slope(self, t: float) -> tuple[float, float]:
        left, right = self._x.normalizer_and_derivative(t), self._y.normalizer_and_derivative(t)
        k, weights = self._correlation, self._problem.weights
        value, slope = bilinear_value_and_slope(left, k.at(t), k.derivative(t), right, weights)
        return -value, -slope

    def accept(self, t: float) -> CCAState:
        problem, state = self._problem, self._state
        tx, ty = self._x.normalizer(t), self._y.normalizer(t)
        point = [(x + t * v) @ s for x, v, s in zip(state.point, self._direction, (tx, ty), strict=True)]
        if state.age + 1 >= problem.refresh:
            return problem.start(problem.manifold.point_type(*point))
        moved = CovarianceProducts(*(old + t * new for old, new in zip(state.products, self._along, strict=True)))
        return problem._state((point[0], point[1]), _times(moved, tx, ty), state.age + 1)


def _times(products: CovarianceProducts, tx: Array, ty: Array) -> CovarianceProducts:
    """Products of (U Tx, V Ty) from those of (U, V)."""
    return CovarianceProducts(products.xx @ tx, products.xy @ ty, products.yy @ ty, products.yx @ tx)


def _as_weights(weights: Sequence[float] | None, p: int, like: Array) -> Array:
    import numpy as np

    values = np.ones(p) if weights is None else np.asarray(to_numpy(weights), dtype=float)
    if values.shape != (p,) or not np.all(values > 0) or np.any(np.diff(values) > 0):
        raise ValueError(f"weights must be {p} positive numbers that do not increase, got {weights!r}")
    return convert(values, like)
