"""The manifold of m x n matrices of fixed rank, a matrix being represented by two factors X = L R^T."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from manifolds.fixed_rank_matrices import FixedRankMatrices
from manifolds.fixed_rank_points import FixedRankPoint, truncated_svd
from manifolds.lazy import lazy_property
from manifolds.linalg import Array, expand, inner_product
from manifolds.low_rank import Matrix, matrix_inner_product, quick_to_multiply, transposed, transposed_product
from manifolds.low_rank_retractions import FactoredCurve
from manifolds.manifold import LocalGeometry
from manifolds.retractions import RankDeficientError
from manifolds.two_factor_points import FactorPair, TwoFactorPoint, TwoFactorTangent, inverses, tangent_of_covector


class FixedRankTwoFactors(FixedRankMatrices):
    """Manifold of m x n matrices of rank r, embedded in all matrices with tr(U^T V), as :class:`FixedRank` is.

    A point is ``X = L R^T``, a :class:`TwoFactorPoint` with any factors of full rank; a tangent vector is
    ``dL R^T + L dR^T``, a :class:`TwoFactorTangent`. Metric, gradients and Hessians are those of :class:`FixedRank`.
    What differs is the price: a step adds to the factors and needs no orthogonalisation, vectors are transported at no
    cost, and the factors may be trained weights of a network, such as those of LoRA. Gradient descent is a form of
    scaled gradient descent: its steps do not depend on the factors of X, nor, where the cost's gradient is small beside
    the last singular value, does their number depend on the singular values.

    Gram matrices of the factors are inverted. With singular values from s_1 to s_r about s_1 / s_r rounding units are
    lost, and where that is all digits a step is refused. FixedRank has no such loss.

    Euclidean gradients and Hessian products are given as for FixedRank: arrays, a :class:`LowRankMatrix`, sparse
    matrices, operators; or autograd differentiates by the factors of torch points.

    Parameters
    ----------
    m, n : int
        Shape of the matrices.
    r : int
        Rank, ``1 <= r <= min(m, n)``.

    References
    ----------
    Mishra, Meyer, Bonnabel, Sepulchre, Fixed-rank matrix factorizations and Riemannian low-rank optimization, Comput.
    Stat. 29 (2014), for quotients of pairs of factors, here with the metric of Vandereycken, SIAM J. Optim. 23 (2013).
    Tong, Ma, Chi, Accelerating ill-conditioned low-rank matrix estimation via scaled gradient descent, J. Mach. Learn.
    Res. 22 (2021), whose steps are twice as long in what both factors can make.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import FixedRank
    >>> manifold, embedded = FixedRankTwoFactors(4, 4, 2), FixedRank(4, 4, 2)
    >>> a, gradient = np.diag([3.0, 2.0, 1.0, 0.5]), np.ones((4, 4))
    >>> x, y = manifold.nearest_point(a), embedded.nearest_point(a)
    >>> v = manifold.euclidean_to_riemannian_gradient(x, gradient)
    >>> w = embedded.euclidean_to_riemannian_gradient(y, gradient)
    >>> bool(np.allclose(v.to_dense(), w.to_dense()))
    True
    """

    _point_type = TwoFactorPoint
    _tangent_type = TwoFactorTangent

    def _shapes(self) -> tuple[Mapping[str, tuple[int, int]], Mapping[str, tuple[int, int]]]:
        shapes = {"left": (self.m, self.r), "right": (self.n, self.r)}
        return shapes, shapes

    def _point_of_svd(self, svd: FixedRankPoint) -> TwoFactorPoint:
        """Balanced factors U S^{1/2} and V S^{1/2}."""
        U, S, V = svd
        return TwoFactorPoint(U @ S**0.5, V @ S**0.5)

    def at(self, point: TwoFactorPoint) -> TwoFactorGeometry:
        return TwoFactorGeometry(self, self._require_point(point))

    def euclidean_inner_product(self, u: Matrix, v: Matrix) -> Array:
        if not self.are_together(u, v):
            return matrix_inner_product(u, v)
        return TwoFactorGeometry(self, u.point).inner_product(u, v)

    def check_point(self, point: TwoFactorPoint) -> str | None:
        point, problem = self._checked_point(point)
        if problem is not None:
            return problem
        try:
            inverses(point.grams())
        except RankDeficientError:
            largest, smallest = self._extreme_singular_values(truncated_svd(point, self.r).S)
            return (
                "the point is off the manifold: its factors have no full rank to working precision, with singular "
                f"values of the matrix from {largest:.1e} to {smallest:.1e}; use a smaller rank, or FixedRank, or, "
                "where the matrix is far from a lower rank, balance its factors by nearest_point"
            )
        return None

    def nearest_point(self, point: Matrix) -> TwoFactorPoint:
        """Balanced factors of the best approximation of rank r, as for FixedRank.

        Raises
        ------
        ValueError
            If the matrix has another shape, is not finite, or has a rank below r to working precision.
        TypeError
            If it is none of these.
        """
        nearest: TwoFactorPoint = super().nearest_point(point)
        try:
            inverses(nearest.grams())
        except RankDeficientError:
            raise ValueError(
                f"the matrix has a rank below {self.r} to working precision; use a smaller rank, or FixedRank"
            ) from None
        return nearest

    def check_tangent(self, point: TwoFactorPoint, vector: TwoFactorTangent) -> str | None:
        try:
            self._require_tangent(self._require_point(point), vector)
        except (TypeError, ValueError) as error:
            return str(error)
        return None


class TwoFactorGeometry(LocalGeometry):
    """The manifold at X = L R^T: vectors V = dL R^T + L dR^T, and covectors (V R, V^T L).

    The changes dL + L A and dR - R A^T are the same vector. No choice is made among them, since covectors do not see
    the difference; so a vector is transported by applying its changes to other factors. Covectors are kept in a
    TwoFactorTangent as well, as two arrays that are shaped like the factors.
    """

    manifold: FixedRankTwoFactors
    point: TwoFactorPoint

    @lazy_property
    def grams(self) -> FactorPair:
        """L^T L and R^T R."""
        return self.point.grams()

    @lazy_property
    def inverse_grams(self) -> FactorPair:
        """A = (L^T L)^{-1} and B = (R^T R)^{-1}."""
        return inverses(self.grams)

    def inner_product(self, u: Matrix, v: Matrix) -> Array:
        if self.manifold.are_together(u, v) and u.is_at(self.point):
            return self.pairing(self.covector(u), v)
        return self.manifold.euclidean_inner_product(u, v)

    def projection(self, vector: Matrix) -> TwoFactorTangent:
        """Orthogonal projection on the tangent space, which with Z leaves Z R and Z^T L as they are."""
        if isinstance(vector, TwoFactorTangent) and vector.is_at(self.point):
            return vector
        (L, R), vector = self.point, quick_to_multiply(vector)
        return tangent_of_covector(self.point, self.inverse_grams, vector @ R, transposed_product(vector, L))

    def riemannian_gradient(self, euclidean_gradient: Matrix) -> TwoFactorTangent:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(
        self, euclidean_gradient: Matrix, euclidean_hessian: Matrix, tangent_vector: TwoFactorTangent
    ) -> TwoFactorTangent:
        return self.representative(self.hessian_covector(euclidean_gradient, euclidean_hessian, tangent_vector))

    def hessian_covector(
        self, euclidean_gradient: Matrix, euclidean_hessian: Matrix, tangent_vector: TwoFactorTangent
    ) -> TwoFactorTangent:
        return self.hessian_form(euclidean_gradient)(euclidean_hessian, tangent_vector)

    def hessian_form(self, euclidean_gradient: Matrix) -> Callable[[Matrix, TwoFactorTangent], TwoFactorTangent]:
        """(H R + P G Q dR, H^T L + Q G^T P dL) with H = D^2 f[V] and the projections P, Q off the spans of L and R.

        Vandereycken (2013), Proposition 2.2, in factors that need not be orthonormal.
        """
        (L, R), (A, B), euclidean_gradient = self.point, self.inverse_grams, quick_to_multiply(euclidean_gradient)
        adjoint = transposed(euclidean_gradient)

        def off_left(columns: Array) -> Array:
            return columns - L @ (A @ (L.mT @ columns))

        def off_right(columns: Array) -> Array:
            return columns - R @ (B @ (R.mT @ columns))

        def hessian(euclidean_hessian: Matrix, v: TwoFactorTangent) -> TwoFactorTangent:
            euclidean_hessian = quick_to_multiply(euclidean_hessian)
            return TwoFactorTangent(
                self.point,
                euclidean_hessian @ R + off_left(euclidean_gradient @ off_right(v.right)),
                transposed_product(euclidean_hessian, L) + off_right(adjoint @ off_left(v.left)),
            )

        return hessian

    def covector(self, tangent_vector: TwoFactorTangent) -> TwoFactorTangent:
        (L, R), (_, left, right) = self.point, tangent_vector
        if tangent_vector.covector is not None:
            return TwoFactorTangent(self.point, *tangent_vector.covector)
        gram_left, gram_right = self.grams
        return TwoFactorTangent(
            self.point, left @ gram_right + L @ (right.mT @ R), right @ gram_left + R @ (left.mT @ L)
        )

    def gradient_covector(
        self, euclidean_gradient: Matrix, gradient: TwoFactorTangent | None = None
    ) -> TwoFactorTangent:
        return self.covector(self.riemannian_gradient(euclidean_gradient) if gradient is None else gradient)

    def pairing(self, covector: TwoFactorTangent, tangent_vector: TwoFactorTangent) -> Array:
        return inner_product(covector.left, tangent_vector.left) + inner_product(covector.right, tangent_vector.right)

    def representative(self, covector: TwoFactorTangent) -> TwoFactorTangent:
        return tangent_of_covector(self.point, self.inverse_grams, covector.left, covector.right)

    def transport_from(self, origin: LocalGeometry, tangent_vector: TwoFactorTangent) -> TwoFactorTangent:
        """The same changes of the factors, applied to the factors here."""
        return TwoFactorTangent(self.point, tangent_vector.left, tangent_vector.right)

    def covector_from(self, origin: LocalGeometry, covector: TwoFactorTangent) -> TwoFactorTangent:
        return self.covector(self.transport_from(origin, origin.representative(covector)))

    def retraction_curve(self, tangent_vector: TwoFactorTangent) -> StraightFactors:
        return StraightFactors(self, tangent_vector)

    def second_order_retraction(self, tangent_vector: TwoFactorTangent) -> TwoFactorPoint:
        """(L (I + M^2 / 8) + dL (I - M / 2)) (R (I + N^2 / 8) + dR (I - N / 2))^T with M = A L^T V R B and N = M^T.

        In the changes dL and dR of which each makes half of L M R^T; the acceleration is then normal. Of such balanced
        retractions see Absil, Oseledets, Low-rank retractions: a survey and new results, Comput. Optim. Appl. 62
        (2015).
        """
        (L, R), (A, B), covector = self.point, self.inverse_grams, self.covector(tangent_vector)
        _, left, right = self.representative(covector)
        M = A @ (L.mT @ covector.left) @ B
        N = M.mT
        return TwoFactorPoint(
            L + L @ (M @ M / 8) + left - left @ (M / 2), R + R @ (N @ N / 8) + right - right @ (N / 2)
        )


class StraightFactors(FactoredCurve):
    """The curve t -> (L + t dL) (R + t dR)^T."""

    def __init__(self, origin: TwoFactorGeometry, tangent_vector: TwoFactorTangent) -> None:
        super().__init__()
        self._manifold, self._origin, self._vector = origin.manifold, origin.point, tangent_vector

    def _step(self, t: Any) -> tuple[TwoFactorGeometry, TwoFactorPoint]:
        """The geometry at t, which is there only where the factors have full rank, and the point."""
        (L, R), (_, left, right), t = self._origin, self._vector, expand(t, 2)
        point = TwoFactorPoint(L + t * left, R + t * right)
        geometry = TwoFactorGeometry(self._manifold, point)
        geometry.inverse_grams  # noqa: B018  a RankDeficientError where there are none
        return geometry, point

    def geometry(self, t: Any) -> TwoFactorGeometry:
        geometry: TwoFactorGeometry = self._at(t)[0]
        return geometry

    def velocity(self, t: Any) -> TwoFactorTangent:
        return TwoFactorTangent(self.point(t), self._vector.left, self._vector.right)
