"""The manifold of m x n matrices of fixed rank, embedded in all matrices; everything is kept as factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from manifolds.fixed_rank_matrices import FixedRankMatrices
from manifolds.fixed_rank_points import FixedRankPoint, FixedRankTangent, lost_rank, without
from manifolds.lazy import lazy_property
from manifolds.linalg import Array, identity, inner_product, largest_absolute, machine_epsilon, namespace, norm
from manifolds.low_rank import Matrix, matrix_inner_product, quick_to_multiply, transposed, transposed_product
from manifolds.low_rank_retractions import ProjectorSplitting, TruncatedSVD
from manifolds.manifold import LocalGeometry, RetractionCurve
from manifolds.retractions import Cayley, Exponential, Orthonormalization, Retraction, require_retraction


class FixedRank(FixedRankMatrices):
    """Manifold of m x n matrices of rank r, of dimension (m + n - r) r, embedded in all matrices with tr(U^T V).

    A point is ``X = U S V^T``, a :class:`FixedRankPoint`; a tangent vector is ``U M V^T + Up V^T + U Vp^T``, a
    :class:`FixedRankTangent`. No m x n array of more than 16,384 entries is formed as long as Euclidean gradients and
    Hessian products are not arrays themselves: they may be a :class:`LowRankMatrix`, a sparse matrix of scipy or torch,
    or any operator with ``shape``, ``@`` and ``T``, and cost two products with r columns. The geodesics have no closed
    form, nor has the distance.

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
    >>> from manifolds import LowRankMatrix
    >>> manifold = FixedRank(4, 4, 2)
    >>> x = manifold.nearest_point(np.diag([3.0, 2.0, 1.0, 0.5]))
    >>> manifold.dim, x.singular_values
    (12, array([3., 2.]))
    >>> gradient = LowRankMatrix(np.ones((4, 1)), np.ones((4, 1)))
    >>> manifold.euclidean_to_riemannian_gradient(x, gradient).M
    array([[1., 1.],
           [1., 1.]])
    """

    _point_type = FixedRankPoint
    _tangent_type = FixedRankTangent

    def __init__(self, m: int, n: int, r: int, retraction: Retraction | None = None) -> None:
        super().__init__(m, n, r)
        require_retraction(
            retraction,
            str(self),
            (Orthonormalization, Cayley, Exponential),
            "use ProjectorSplitting() or TruncatedSVD()",
        )
        self.default_retraction = ProjectorSplitting() if retraction is None else retraction

    def _shapes(self) -> tuple[Mapping[str, tuple[int, int]], Mapping[str, tuple[int, int]]]:
        m, n, r = self.m, self.n, self.r
        return {"U": (m, r), "S": (r, r), "V": (n, r)}, {"M": (r, r), "Up": (m, r), "Vp": (n, r)}

    def _point_of_svd(self, svd: FixedRankPoint) -> FixedRankPoint:
        return svd

    def at(self, point: FixedRankPoint) -> FixedRankGeometry:
        return FixedRankGeometry(self, self._require_point(point))

    def euclidean_inner_product(self, u: Matrix, v: Matrix) -> Array:
        if self.are_together(u, v):
            return inner_product(u.M, v.M) + inner_product(u.Up, v.Up) + inner_product(u.Vp, v.Vp)
        return matrix_inner_product(u, v)

    def check_point(self, point: FixedRankPoint) -> str | None:
        point, problem = self._checked_point(point)
        if problem is not None:
            return problem
        U, S, V = point
        one, tolerance = identity(self.r, U), 10 * machine_epsilon(U) ** 0.5
        for name, basis in (("U", U), ("V", V)):
            size = largest_absolute(basis.mT @ basis - one)
            if size > tolerance:
                return (
                    f"the point is off the manifold: {name}^T {name} = I is off by {size:.1e} (tolerance "
                    f"{tolerance:.1e})"
                )
        if not lost_rank(namespace(S).linalg.svdvals(S), self.r):
            return None
        largest, smallest = self._extreme_singular_values(S)
        return (
            f"the point is off the manifold: its rank is below {self.r}, with singular values from {largest:.1e} to "
            f"{smallest:.1e}; use a smaller rank"
        )

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
        (U, _, V), vector = self.point, quick_to_multiply(vector)
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
        (U, _, V), euclidean_gradient = self.point, quick_to_multiply(euclidean_gradient)
        inverse, adjoint = self.inverse, transposed(euclidean_gradient)

        def hessian(euclidean_hessian: Matrix, v: FixedRankTangent) -> FixedRankTangent:
            euclidean_hessian = quick_to_multiply(euclidean_hessian)
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
