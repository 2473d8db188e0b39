"""The manifold of positive semidefinite matrices of fixed rank, a matrix being represented by a factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifolds.array_manifold import ArrayManifold
from manifolds.euclidean import EuclideanGeometry
from manifolds.fixed_rank_points import lost_rank
from manifolds.lazy import lazy_property
from manifolds.linalg import (
    Array,
    Seed,
    as_generator,
    expand,
    namespace,
    norm,
    positive_qr,
    require_finite,
    standard_normal,
)


class PSDFixedRank(ArrayManifold):
    """Manifold of positive semidefinite n x n matrices X = Y Y^T of rank k, of dimension n k - k (k - 1) / 2.

    A point is any factor Y of n x k and full rank; Y and Y Q stand for the same matrix where Q is orthogonal. Tangent
    vectors are horizontal, Y^T V = V^T Y, and the metric is tr(U^T V). Functions on it must not depend on the factor:
    f(Y Q) = f(Y); their derivatives are those by Y. No n x n array is formed.

    A step is Y + V, and Y + t V is a geodesic up to the first t at which it loses rank. The distance of two matrices is
    the least norm of Z Q - Y, that of Bures and Wasserstein. Where a run ends at a matrix of lower rank, take a smaller
    k.

    Parameters
    ----------
    n, k : int
        Order of the matrices and their rank, ``1 <= k <= n``.

    References
    ----------
    Journee, Bach, Absil, Sepulchre, Low-rank optimization on the cone of positive semidefinite matrices, SIAM J. Optim.
    20 (2010).
    Massart, Absil, Quotient geometry with simple geodesics for the manifold of fixed-rank positive-semidefinite
    matrices, SIAM J. Matrix Anal. Appl. 41 (2020).

    Examples
    --------
    >>> import numpy as np
    >>> matrices = PSDFixedRank(3, 1)
    >>> y, z = np.array([[2.0], [0.0], [0.0]]), np.array([[-5.0], [0.0], [0.0]])
    >>> float(matrices.dist(y, z)), float(matrices.dist(y, -y))
    (3.0, 0.0)
    """

    is_cone = True
    _tangent_equation = "Y^T V = V^T Y"

    def __init__(self, n: int, k: int) -> None:
        super().__init__((n, k))
        if k > n:
            raise ValueError(f"k must be at most n, since the rank of a {n} x {n} matrix cannot be {k}")
        self.n, self.k = self.shape

    @property
    def dim(self) -> int:
        return self.n * self.k - self.k * (self.k - 1) // 2

    def at(self, point: Array) -> PSDFixedRankGeometry:
        self.require_shape(point, "point")
        return PSDFixedRankGeometry(self, point)

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        """Factor of a random matrix: uniformly distributed eigenvectors and eigenvalues 1 + abs(z), z normal."""
        generator, like = as_generator(rng), self.own_array() if like is None else like
        draw = standard_normal(generator, (*batch, self.n, self.k), like)
        z = standard_normal(generator, (*batch, self.k), like)
        return positive_qr(draw)[0] * (1 + namespace(z).abs(z))[..., None, :] ** 0.5

    def nearest_point(self, point: Array) -> Array:
        """The factor itself, since factors of full rank are an open set.

        Raises
        ------
        ValueError
            If the factor has another shape, is not finite, or has a rank below k.
        """
        self.require_shape(point, "point")
        require_finite(point, "point")
        if lost_rank(namespace(point).linalg.svdvals(point), self.k):
            raise ValueError(f"point has a rank below {self.k}; start from a factor of full rank or use a smaller k")
        return point

    def check_point(self, point: Array) -> str | None:
        problem = super().check_point(point)
        values = namespace(point).linalg.svdvals(point) if problem is None else None
        if values is None or not lost_rank(values, self.k):
            return problem
        smallest, largest = (float(namespace(values).min(values[..., j])) for j in (-1, 0))
        return (
            f"the point is off the manifold: its rank is below {self.k}, with singular values from {largest:.1e} to "
            f"{smallest:.1e}; use a smaller k"
        )

    def _point_residual(self, point: Array) -> Array:
        return namespace(point).zeros_like(point)

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        xp, overlap = namespace(point), point.mT @ vector
        size = expand(xp.asarray(norm(point) * norm(vector)), 2)
        return (overlap - overlap.mT) / xp.where(size > 0, size, xp.ones_like(size))


class PSDFixedRankGeometry(EuclideanGeometry):
    """The manifold at X = Y Y^T, in the horizontal space {V : Y^T V = V^T Y}; the vertical one is {Y A : A + A^T = 0}.

    The metric and the horizontal space turn with Y. So derivatives are those of R^{n x k}, projected, and its straight
    lines that start horizontally stay so and are the geodesics.
    """

    manifold: PSDFixedRank

    @lazy_property
    def svd(self) -> tuple[Array, Array, Array]:
        """Thin singular value decomposition (U, s, W^T) of Y."""
        u, s, wt = namespace(self.point).linalg.svd(self.point, full_matrices=False)
        return u, s, wt

    def projection(self, vector: Array) -> Array:
        """P(Z) = Z - Y A with Y^T Y A + A Y^T Y = Y^T Z - Z^T Y.

        In the singular bases, where A is (s_i C_ij - s_j C_ji) / (s_i^2 + s_j^2) with C = U^T Z W, the loss of digits
        does not grow with the condition of Y. Where s_i = s_j = 0, no A_ij moves Y.
        """
        u, s, wt = self.svd
        xp, s = namespace(s), s[..., :, None]
        size = xp.hypot(s, s.mT)  # whose square may underflow
        share = s / xp.where(size > 0, size, xp.ones_like(size))
        overlap = share * (u.mT @ vector @ wt.mT)
        return vector - u @ (share * (overlap - overlap.mT)) @ wt

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        return self.projection(euclidean_hessian)

    def log(self, other: Array) -> Array:
        """Log_Y(Z) = Z Q - Y with the orthogonal Q that makes Y^T Z Q symmetric and positive semidefinite."""
        aligned, overlaps = self._aligned(other)
        if lost_rank(overlaps, self.manifold.k):
            raise ValueError(
                "other is orthogonal to the point in some direction, so no unique shortest geodesic exists"
            )
        return aligned - self.point

    def dist(self, other: Array) -> Array:
        """Distance min_Q |Z Q - Y| over orthogonal Q."""
        return norm(self._aligned(other)[0] - self.point)

    def _aligned(self, other: Array) -> tuple[Array, Any]:
        """Factor Z Q nearest to Y of the same matrix, and the singular values of Y^T Z."""
        self.manifold.require_other(other)
        u, s, vt = namespace(other).linalg.svd(self.point.mT @ other)
        return other @ (u @ vt).mT, s
