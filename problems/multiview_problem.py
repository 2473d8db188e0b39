"""Canonical correlation analysis of several views as optimization on a product of generalized Stiefel manifolds.

    maximize g(K(U))  over  U_i^T S_ii U_i = I,   with the blocks K_ij = U_i^T S_ij U_j for i != j and K_ii = 0,

in the metric of a preconditioner per view. The Euclidean gradient is -2 sum_j S_ij U_j G_ji with G the gradient of the
criterion g. States carry the products S_ij U_j of all pairs of views: a step costs one pass over the data, for the
products with its direction, and its line search is algebra with matrices of order m p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.linalg import (
    Array,
    inner_product,
    is_array,
    namespace,
    require_finite,
    require_same_kind,
    standard_normal,
    symmetric_part,
)
from manifolds.manifold import Point
from manifolds.product import Product, ProductGeometry
from manifolds.retractions import CholeskyQR, RankDeficientError
from problems.data import ViewCovariance
from problems.multiview_criteria import CriterionValue, MaxVar, MultiviewCriterion
from problems.multiview_data import MultiviewCovariances, MultiviewData
from problems.wide_vectors import WideData, products_epsilon
from rankopt.frame_line import FrameLine, FrameLineCurve, MatrixPolynomial
from rankopt.solvers.parameters import require_at_least
from rankopt.state import Problem, State


class MultiviewProblem(Problem):
    """The problem of the directions of several views whose scores are most correlated by a criterion.

    Parameters
    ----------
    data : MultiviewData, MultiviewCovariances or WideData
        Where products with the covariances come from.
    n_components : int
        Number p of directions in each view, at most the smallest number of features.
    criterion : MultiviewCriterion
        MaxVar() or SumCor().
    preconditioners : sequence, optional
        Metric of each view: None (the identity), a matrix, or an object with ``solve``, as in ``GeneralizedStiefel``.
    refresh : int
        Number of steps after which the carried products are replaced by true ones, at the price of a pass.
    gradient_error : float
        Norm that rounding of the products may leave of a gradient; recorded where it is positive.

    Attributes
    ----------
    manifold : Product
        A factor for each view.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import MultiviewData
    >>> from rankopt import minimize
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((500, 1))
    >>> problem = MultiviewProblem(MultiviewData([shared + rng.standard_normal((500, 3)) for _ in range(3)]), 1)
    >>> result = minimize(problem, problem.manifold, rng=0)
    >>> bool(2 * 0.7 < -result.fun < 2 * 0.8)  # three pairwise correlations of about 0.75
    True
    """

    cheap_trials = True
    has_hessian = True

    def __init__(
        self,
        data: MultiviewData | MultiviewCovariances | WideData,
        n_components: int,
        *,
        criterion: MultiviewCriterion | None = None,
        preconditioners: Sequence[Any] | None = None,
        refresh: int = 25,
        gradient_error: float = 0.0,
    ) -> None:
        require_at_least("n_components", n_components, 1, whole=True)
        require_at_least("refresh", refresh, 1, whole=True)
        require_at_least("gradient_error", gradient_error, 0)
        m = len(data.n_features)
        if n_components > min(data.n_features):
            raise ValueError(
                f"n_components must be at most {min(data.n_features)}, the columns of a view, got {n_components}"
            )
        if criterion is not None and not isinstance(criterion, MultiviewCriterion):
            raise TypeError(f"criterion must be a value such as MaxVar() or SumCor(), got {criterion!r}")
        metrics = (None,) * m if preconditioners is None else preconditioners
        if not isinstance(metrics, (tuple, list)) or len(metrics) != m:
            raise TypeError(f"preconditioners must be a sequence of {m}, one for each view, got {preconditioners!r}")
        self.data, self.n_components, self.refresh = data, int(n_components), refresh
        self.criterion = MaxVar() if criterion is None else criterion
        self.retraction = CholeskyQR()
        # The covariances are symmetric and positive by construction, and a probe would cost passes over the data.
        self.manifold: Product = Product(*(
            GeneralizedStiefel(
                ViewCovariance(data, view), self.n_components, preconditioner=metric, retraction=self.retraction,
                probe=False,
            )
            for view, metric in enumerate(metrics)
        ))  # fmt: skip
        self.gradient_error = float(gradient_error)
        self._nfev = self._nhev = 0

    def counts(self) -> dict[str, int]:
        return {"nfev": self._nfev, "ngev": self._nfev, "nhev": self._nhev, "n_passes": self.data.n_passes}

    def random_start(self, rng: Any) -> Point:
        """Random directions; ``start`` orthonormalises them with the products it takes anyway."""
        return self.manifold.point_type._make(
            standard_normal(rng, (d, self.n_components), self.data.like) for d in self.data.n_features
        )

    def start(self, point: Point) -> MultiviewState:
        """State at the orthonormalised point, by one pass."""
        m = len(self.data.n_features)
        if not isinstance(point, (tuple, list)) or len(point) != m:
            raise TypeError(f"x0 must be a tuple of {m} matrices, one for each view, got {type(point).__name__}")
        for i, (part, d) in enumerate(zip(point, self.data.n_features, strict=True)):
            if not is_array(part) or tuple(part.shape) != (d, self.n_components):
                raise ValueError(
                    f"x0[{i}] must have shape {(d, self.n_components)}, got {getattr(part, 'shape', type(part))}"
                )
            require_same_kind(part, self.data.like, f"x0[{i}]", "the data")
            require_finite(part, f"x0[{i}]")
        products = self.data.products(point)
        normalizers = []
        for i, part in enumerate(point):
            try:
                gram = symmetric_part(part.mT @ self.own_columns(products[i], i))
                normalizers.append(self.retraction.normalizer(gram))
            except RankDeficientError:
                raise ValueError(
                    f"the start point's scores of view {i} are linearly dependent: its columns, or those of the data, "
                    "are; give reg > 0, fewer components, or another start point"
                ) from None
        return self._state(point, products, normalizers, age=0)

    def restored(self, saved: Any) -> MultiviewState:
        self._nfev += 1
        point, products, age = saved
        return MultiviewState(self, self.manifold.point_type._make(point), list(products), age)

    def value_and_gradient(self, point: Point) -> tuple[float, Point]:
        """Cost and Euclidean gradient at any matrices, by one pass."""
        products = self.data.products(point)
        measured = self.measured(blocks_between(point, products))
        return -measured.value, self.combined(products, measured.gradient)

    def hessian_product(self, point: Point, v: Point) -> Point:
        """Euclidean Hessian product at any matrices, by two passes."""
        products, along = self.data.products(point), self.data.products(v)
        return self.curvature(point, products, self.measured(blocks_between(point, products)), v, along)

    def components(self, point: Point) -> tuple[list[Array], Array]:
        """Directions of single components from an optimal point, by one pass.

        Returns
        -------
        directions : list of array of shape (d_i, p)
            For MAXVAR with sum_i w_i^T S_ii w_i = m, for SUMCOR with W_i^T S_ii W_i = I.
        covariances : array of shape (m p, m p)
            Blocks W_i^T S_ij W_j.
        """
        state = self.start(point)
        coefficients = state.measured.components()
        directions = [u @ c for u, c in zip(state.point, coefficients, strict=True)]
        return directions, blocks_between(directions, self.times(state.products, coefficients))

    def own_columns(self, products: Array, view: int) -> Array:
        """Those columns of products that come from a view."""
        return products[:, view * self.n_components : (view + 1) * self.n_components]

    def between(self, blocks: Array) -> Array:
        """Matrix with zeros in the place of the blocks on its diagonal."""
        xp, p, m = namespace(blocks), self.n_components, len(self.data.n_features)
        result = xp.asarray(blocks, copy=True)
        for i in range(m):
            result[i * p : (i + 1) * p, i * p : (i + 1) * p] = 0
        return result

    def combined(self, products: Sequence[Array], gradient: Array) -> Point:
        """Euclidean gradient -2 sum_{j != i} P_ij G_ji from products P_ij."""
        gradient = self.between(gradient)
        return self.manifold.point_type._make(
            -2 * product @ self.own_columns(gradient, i) for i, product in enumerate(products)
        )

    def measured(self, blocks: Array) -> CriterionValue:
        """The criterion at blocks U_i^T S_ij U_j."""
        return self.criterion.at(self.between(blocks), self.n_components)

    def curvature(
        self, point: Point, products: Sequence[Array], measured: CriterionValue, v: Point, along: Sequence[Array]
    ) -> Point:
        """Euclidean Hessian product from the products of the point and of the direction."""
        change = blocks_between(v, products) + blocks_between(point, along)
        straight = self.combined(along, measured.gradient)
        bent = self.combined(products, measured.gradient_change(self.between(change)))
        return self.manifold.linear_combination(1.0, straight, 1.0, bent)

    def times(self, products: Sequence[Array], coefficients: Sequence[Array]) -> list[Array]:
        """Products of (U_1 C_1, ..., U_m C_m) from those of (U_1, ..., U_m)."""
        xp = namespace(products[0])
        return [
            xp.concat([self.own_columns(product, j) @ c for j, c in enumerate(coefficients)], axis=1)
            for product in products
        ]

    def _state(
        self, point: Sequence[Array], products: Sequence[Array], normalizers: Sequence[Array], age: int
    ) -> MultiviewState:
        self._nfev += 1
        moved = self.manifold.point_type._make(u @ t for u, t in zip(point, normalizers, strict=True))
        return MultiviewState(self, moved, self.times(products, normalizers), age)


class MultiviewState(State):
    """A point (U_1, ..., U_m) with the products [S_i1 U_1, ..., S_im U_m], and for how many steps they were carried."""

    def __init__(self, problem: MultiviewProblem, point: Any, products: list[Array], age: int) -> None:
        self.problem, self.point, self.products, self.age = problem, point, products, age
        manifold = problem.manifold
        geometries = [
            factor.at(u, gram_point=problem.own_columns(products[i], i))  # type: ignore[call-arg]
            for i, (factor, u) in enumerate(zip(manifold.factors.values(), point, strict=True))
        ]
        self.geometry: ProductGeometry = ProductGeometry(manifold, manifold.point_type._make(geometries))
        self.blocks = blocks_between(point, products)
        self.measured = problem.measured(self.blocks)
        self.value = -self.measured.value
        self.euclidean_gradient = problem.combined(products, self.measured.gradient)
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
        problem = self.problem
        problem._nhev += 1
        along = problem.data.products(tangent_vector)
        euclidean = problem.curvature(self.point, self.products, self.measured, tangent_vector, along)
        parts = zip(self.geometry.geometries, self.euclidean_gradient, euclidean, tangent_vector, strict=True)
        return problem.manifold.point_type._make(
            geometry.hessian_covector(gradient, hessian, v, gram_tangent=problem.own_columns(along[i], i))
            for i, (geometry, gradient, hessian, v) in enumerate(parts)
        )

    def along(self, tangent_vector: Point) -> MultiviewCurve:
        return MultiviewCurve(self, tangent_vector)

    def saved(self) -> Any:
        return self.point, tuple(self.products), self.age

    def evaluated_anew(self) -> MultiviewState:
        return self.problem.start(self.point)


class MultiviewCurve(FrameLineCurve):
    """The cost -g(T^T K T) along (U_i + t V_i) T_i: one pass, then algebra with polynomials in t.

    K(t) has the blocks (U_i + t V_i)^T S_ij (U_j + t V_j), and T is block diagonal, made of the normalizers T_i of the
    Gram matrices (U_i + t V_i)^T S_ii (U_i + t V_i).
    """

    def __init__(self, state: MultiviewState, tangent_vector: Point) -> None:
        super().__init__()
        problem = state.problem
        self._state, self._direction, self._problem = state, tangent_vector, problem
        self._along = problem.data.products(tangent_vector)
        linear = blocks_between(tangent_vector, state.products) + blocks_between(state.point, self._along)
        self._correlations = MatrixPolynomial(state.blocks, linear, blocks_between(tangent_vector, self._along))
        self._lines = [
            FrameLine(u, v, problem.own_columns(at, i), problem.own_columns(along, i), problem.retraction)
            for i, (u, v, at, along) in enumerate(
                zip(state.point, tangent_vector, state.products, self._along, strict=True)
            )
        ]

    def value_and_slope(self, t: float) -> tuple[float, float]:
        problem = self._problem
        normalizers, derivatives = zip(*(line.normalizer_and_derivative(t) for line in self._lines), strict=True)

        def around(left: Sequence[Array], middle: Array, right: Sequence[Array]) -> Array:
            return problem.times([problem.times([middle.mT], left)[0].mT], right)[0]

        k, change = self._correlations.at(t), self._correlations.derivative(t)
        measured = problem.measured(around(normalizers, k, normalizers))
        half = around(derivatives, k, normalizers)
        velocity = around(normalizers, change, normalizers) + half + half.mT
        slope = inner_product(problem.between(measured.gradient), velocity)
        return -measured.value, -float(slope)

    def accept(self, t: float) -> MultiviewState:
        problem, state = self._problem, self._state
        normalizers = [line.normalizer(t) for line in self._lines]
        point = [u + t * v for u, v in zip(state.point, self._direction, strict=True)]
        if state.age + 1 >= problem.refresh:
            moved = problem.manifold.point_type._make(u @ s for u, s in zip(point, normalizers, strict=True))
            return problem.start(moved)
        products = [old + t * new for old, new in zip(state.products, self._along, strict=True)]
        return problem._state(point, products, normalizers, state.age + 1)


def blocks_between(left: Sequence[Array], products: Sequence[Array]) -> Array:
    """Matrix of the blocks V_i^T P_ij."""
    return namespace(products[0]).concat([v.mT @ p for v, p in zip(left, products, strict=True)], axis=0)
