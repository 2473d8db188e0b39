"""The manifold of m x n matrices of fixed rank, embedded in all matrices; everything is kept as factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from manifolds.fixed_rank_points import FixedRankPoint, FixedRankTangent, lost_rank, truncated_svd, without
from manifolds.lazy import lazy_property
from manifolds.linalg import (
    Array,
    Seed,
    as_generator,
    combination,
    identity,
    inner_product,
    is_array,
    is_scipy_sparse,
    largest_absolute,
    machine_epsilon,
    namespace,
    norm,
    positive_qr,
    require_finite,
    require_real_floating,
    require_same_kind,
    standard_normal,
)
from manifolds.low_rank import (
    FactoredMatrix,
    LowRankMatrix,
    Matrix,
    is_dense,
    matrix_combination,
    matrix_inner_product,
    transposed,
    transposed_product,
)
from manifolds.low_rank_retractions import ProjectorSplitting, TruncatedSVD
from manifolds.manifold import LocalGeometry, Manifold, RetractionCurve
from manifolds.retractions import Cayley, Exponential, Orthonormalization, Retraction, require_retraction


class FixedRank(Manifold):
    """Manifold of m x n matrices of rank r, of dimension (m + n - r) r, embedded in all matrices with tr(U^T V).

    A point is ``X = U S V^T``, a :class:`FixedRankPoint`; a tangent vector is ``U M V^T + Up V^T + U Vp^T``, a
    :class:`FixedRankTangent`. No m x n array is formed as long as Euclidean gradients and Hessian products are not
    arrays themselves: they may be a :class:`LowRankMatrix`, a sparse matrix of scipy or torch, or any operator with
    ``shape``, ``@`` and ``T``, and cost two products with r columns. The geodesics have no closed form, nor has the
    distance.

    Costs of torch points may be differentiated by autograd: the derivatives by U, S and V, of a function of U S V^T,
    give the Riemannian gradient, and Hessian products are differences of it.

    Parameters
    ----------
    m, n : int
        Shape of the matrices.
    r : int
        Rank, ``1 <= r <= min(m, n)``.
    retraction : Retraction, default ProjectorSplitting()
        Which needs no SVD; or TruncatedSVD(), the nearest point to the step. Both are of second order.

    References
    ----------
    Vandereycken, Low-rank matrix completion by Riemannian optimization, SIAM J. Optim. 23 (2013), Sections 2 and 3.

    Examples
    --------
    >>> import numpy as np
    >>> manifold = FixedRank(4, 4, 2)
    >>> x = manifold.nearest_point(np.diag([3.0, 2.0, 1.0, 0.5]))
    >>> manifold.dim, x.singular_values
    (12, array([3., 2.]))
    >>> gradient = LowRankMatrix(np.ones((4, 1)), np.ones((4, 1)))
    >>> manifold.euclidean_to_riemannian_gradient(x, gradient).M
    array([[1., 1.],
           [1., 1.]])
    """

    factored = True
    is_cone = True

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n) of one matrix."""
        return self.m, self.n

    def __init__(self, m: int, n: int, r: int, retraction: Retraction | None = None) -> None:
        for name, size in (("m", m), ("n", n), ("r", r)):
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, got {size!r}")
        if not 1 <= r <= min(m, n):
            raise ValueError(f"1 <= r <= min(m, n) must hold, got m={m}, n={n}, r={r}")
        require_retraction(
            retraction,
            f"FixedRank({m}, {n}, {r})",
            (Orthonormalization, Cayley, Exponential),
            "use ProjectorSplitting() or TruncatedSVD()",
        )
        self.m, self.n, self.r = int(m), int(n), int(r)
        self.default_retraction = ProjectorSplitting() if retraction is None else retraction

    def __repr__(self) -> str:
        return f"FixedRank({self.m}, {self.n}, {self.r})"

    @property
    def dim(self) -> int:
        return (self.m + self.n - self.r) * self.r

    def at(self, point: FixedRankPoint) -> FixedRankGeometry:
        return FixedRankGeometry(self, self._require_point(point))

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> FixedRankPoint:
        """Random point with uniformly distributed singular vectors and singular values 1 + abs(z), z normal."""
        generator, like = as_generator(rng), np.empty(0) if like is None else like
        u, v = (standard_normal(generator, (*batch, size, self.r), like) for size in (self.m, self.n))
        z = standard_normal(generator, (*batch, self.r), like)
        values = 1 + namespace(z).abs(z)
        return FixedRankPoint(positive_qr(u)[0], values[..., None, :] * identity(self.r, z), positive_qr(v)[0])

    def standard_normal(self, rng: Seed, like: FixedRankPoint) -> LowRankMatrix:
        """Ambient vector with entries of mean zero and variance one: standard normal factors of 2 r columns."""
        generator, k = as_generator(rng), 2 * self.r
        left, right = (
            standard_normal(generator, (*basis.shape[:-1], k), basis) for basis in (like.U, like.V)
        )  # fmt: skip
        return LowRankMatrix(left / k**0.5, right)

    def nearest_point(self, point: Matrix) -> FixedRankPoint:
        """Best approximation of rank r, by a truncated SVD: of an array, of factors, or of a scipy sparse matrix.

        Raises
        ------
        ValueError
            If the matrix has another shape, is not finite, or has a rank below r.
        TypeError
            If it is none of these.
        """
        if is_dense(point):
            require_real_floating(point, "point")
            require_finite(point, "point")
        elif not isinstance(point, FactoredMatrix) and not is_scipy_sparse(point):
            raise TypeError(
                f"point must be an array, a LowRankMatrix or a scipy sparse matrix, got {type(point).__name__}"
            )
        if tuple(point.shape[-2:]) != (self.m, self.n):
            raise ValueError(
                f"point has shape {tuple(point.shape)}, but {self} needs ({self.m}, {self.n}), after batch dimensions"
            )
        nearest = truncated_svd(point, self.r)
        if lost_rank(namespace(nearest.S).linalg.diagonal(nearest.S), self.r):
            raise ValueError(f"the matrix has a rank below {self.r}; use a smaller rank")
        return nearest

    def linear_combination(self, a: Any, u: Matrix, b: Any, v: Matrix) -> Matrix:
        """Vector a u + b v: a tangent vector where both are tangent at one point, else a matrix as factors or array."""
        if isinstance(u, FixedRankTangent) and isinstance(v, FixedRankTangent) and v.is_at(u.point):
            parts = (combination(a, p, b, q) for p, q in zip(u[1:], v[1:], strict=True))
            return FixedRankTangent(u.point, *parts)
        return matrix_combination(a, u, b, v)

    def euclidean_inner_product(self, u: Matrix, v: Matrix) -> Array:
        if isinstance(u, FixedRankTangent) and isinstance(v, FixedRankTangent) and v.is_at(u.point):
            return inner_product(u.M, v.M) + inner_product(u.Up, v.Up) + inner_product(u.Vp, v.Vp)
        return matrix_inner_product(u, v)

    def zero_vector(self, point: FixedRankPoint) -> FixedRankTangent:
        U, S, V = point = self._require_point(point)
        zeros = namespace(U).zeros_like
        return FixedRankTangent(point, zeros(S), zeros(U), zeros(V))

    def check_point(self, point: FixedRankPoint) -> str | None:
        try:
            U, S, V = self._require_point(point)
            for name, array in (("U", U), ("S", S), ("V", V)):
                require_finite(array, f"point.{name}")
        except (TypeError, ValueError) as error:
            return str(error)
        one, tolerance = identity(self.r, U), 10 * machine_epsilon(U) ** 0.5
        for name, basis in (("U", U), ("V", V)):
            size = largest_absolute(basis.mT @ basis - one)
            if size > tolerance:
                return (
                    f"the point is off the manifold: {name}^T {name} = I is off by {size:.1e} (tolerance "
                    f"{tolerance:.1e})"
                )
        values = namespace(S).linalg.svdvals(S)
        if lost_rank(values, self.r):
            smallest, largest = (float(namespace(S).min(values[..., k])) for k in (-1, 0))
            return (
                f"the point is off the manifold: its rank is below {self.r}, with singular values from {largest:.1e} "
                f"to {smallest:.1e}; use a smaller rank"
            )
        return None

    def check_tangent(self, point: FixedRankPoint, vector: FixedRankTangent) -> str | None:
        try:
            point = self._require_point(point)
            vector = self._require_tangent(point, vector)
        except (TypeError, ValueError) as error:
            return str(error)
        tolerance = 10 * machine_epsilon(point) ** 0.5
        scale = max(1.0, *(float(namespace(point.U).max(norm(part))) for part in vector[1:]))
        for name, basis, part in (("U^T Up", point.U, vector.Up), ("V^T Vp", point.V, vector.Vp)):
            size = largest_absolute(basis.mT @ part) / scale
            if size > tolerance:
                return f"the vector is not tangent: {name} = 0 is off by {size:.1e} (tolerance {tolerance:.1e})"
        return None

    def _require_point(self, point: Any) -> FixedRankPoint:
        """The point as a FixedRankPoint, or an error that says which factor has what wrong with it."""
        if isinstance(point, (LowRankMatrix, FixedRankTangent)) or not isinstance(point, tuple) or len(point) != 3:
            raise TypeError(
                f"a point of {self} is a FixedRankPoint(U, S, V), got {type(point).__name__}; nearest_point makes one "
                "of a matrix"
            )
        point = point if type(point) is FixedRankPoint else FixedRankPoint(*point)
        shapes = {"U": (self.m, self.r), "S": (self.r, self.r), "V": (self.n, self.r)}
        self._require_arrays(point._asdict(), shapes, "point")
        return point

    def _require_tangent(self, point: FixedRankPoint, vector: Any) -> FixedRankTangent:
        if not isinstance(vector, FixedRankTangent):
            raise TypeError(
                f"a tangent vector of {self} is a FixedRankTangent(point, M, Up, Vp), got {type(vector).__name__}; "
                "projection makes one of a matrix"
            )
        shapes = {"M": (self.r, self.r), "Up": (self.m, self.r), "Vp": (self.n, self.r)}
        parts = {name: getattr(vector, name) for name in shapes}
        self._require_arrays(parts, shapes, "vector")
        require_same_kind(vector.M, point.U, "vector.M", "point.U")
        for name, part in parts.items():
            require_finite(part, f"vector.{name}")
        if part.shape[:-2] != point.U.shape[:-2]:
            shape = (*part.shape[:-2], *self.shape)
            raise ValueError(f"the vector has shape {tuple(shape)}, the point {point.shape}")
        if not vector.is_at(point):
            raise ValueError("the vector is tangent at another point, or in other factors U, S, V of it; transport it")
        return vector

    def _require_arrays(self, parts: dict[str, Any], shapes: dict[str, tuple[int, int]], owner: str) -> None:
        """Raise an error unless the parts are arrays of one kind with these shapes after the same batch dimensions."""
        first_name, first = next(iter(parts.items()))
        for name, part in parts.items():
            if not is_array(part):
                raise TypeError(f"{owner}.{name} must be a numpy array or a torch tensor, got {type(part).__name__}")
            if tuple(part.shape[-2:]) != shapes[name] or part.shape[:-2] != first.shape[:-2]:
                raise ValueError(
                    f"{owner}.{name} has shape {tuple(part.shape)}, but {self} needs {shapes[name]}, after any batch "
                    f"dimensions, the same for all factors"
                )
            require_real_floating(part, f"{owner}.{name}")
            require_same_kind(part, first, f"{owner}.{name}", f"{owner}.{first_name}")


class FixedRankGeometry(LocalGeometry):
    """The manifold at X = U S V^T: vectors U M V^T + Up V^T + U Vp^T with U^T Up = 0 and V^T Vp = 0."""

    manifold: FixedRank
    point: FixedRankPoint

    @lazy_property
    def inverse(self) -> Array:
        """Inverse of S."""
        return namespace(self.point.S).linalg.inv(self.point.S)

    def inner_product(self, u: Matrix, v: Matrix) -> Array:
        return self.manifold.euclidean_inner_product(u, v)

    def projection(self, vector: Matrix) -> FixedRankTangent:
        """P(Z): M = U^T Z V, Up = (I - U U^T) Z V, Vp = (I - V V^T) Z^T U."""
        if isinstance(vector, FixedRankTangent) and vector.is_at(self.point):
            return vector
        U, _, V = self.point
        return self._tangent(vector @ V, transposed_product(vector, U))

    def riemannian_gradient(self, euclidean_gradient: Matrix) -> FixedRankTangent:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(
        self, euclidean_gradient: Matrix, euclidean_hessian: Matrix, tangent_vector: FixedRankTangent
    ) -> FixedRankTangent:
        return self.hessian_form(euclidean_gradient)(euclidean_hessian, tangent_vector)

    def hessian_form(self, euclidean_gradient: Matrix) -> Callable[[Matrix, FixedRankTangent], FixedRankTangent]:
        """P(D^2 f[V]) and the curvature (I - U U^T) G Vp S^{-T} in Up, (I - V V^T) G^T Up S^{-1} in Vp.

        Vandereycken (2013), Proposition 2.2, for an S that need not be diagonal.
        """
        U, _, V = self.point
        inverse, adjoint = self.inverse, transposed(euclidean_gradient)

        def hessian(euclidean_hessian: Matrix, v: FixedRankTangent) -> FixedRankTangent:
            columns, rows = euclidean_hessian @ V, transposed_product(euclidean_hessian, U)
            return FixedRankTangent(
                self.point,
                U.mT @ columns,
                without(U, columns + euclidean_gradient @ (v.Vp @ inverse.mT)),
                without(V, rows + adjoint @ (v.Up @ inverse)),
            )

        return hessian

    def gradient_pairing_from(
        self, origin: LocalGeometry, gradient_covector: FixedRankTangent, tangent_vector: FixedRankTangent
    ) -> Array:
        """Without the transport: the orthogonal projection takes off only what the gradient does not see."""
        return self.inner_product(gradient_covector, tangent_vector)

    def retraction_curve(self, tangent_vector: FixedRankTangent) -> RetractionCurve:
        return self.manifold.default_retraction.curve(self, tangent_vector)

    def second_order_retraction(self, tangent_vector: FixedRankTangent) -> FixedRankPoint:
        """The nearest point to X + V, whose curve has a normal acceleration."""
        return TruncatedSVD().curve(self, tangent_vector).point(1.0)

    def _tangent(self, columns: Array, rows: Array) -> FixedRankTangent:
        """Projection of Z from Z V and Z^T U."""
        U, _, V = self.point
        M = U.mT @ columns
        return FixedRankTangent(self.point, M, columns - U @ M, rows - V @ M.mT)
