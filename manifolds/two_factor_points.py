"""Points and tangent vectors of the matrices of fixed rank as two factors, neither of which need be orthonormal."""

from __future__ import annotations

from typing import NamedTuple

from manifolds.fixed_rank_points import MatrixPoint, MatrixTangent
from manifolds.lazy import lazy_property
from manifolds.linalg import Array, inner_product, inverse_cholesky, machine_epsilon, namespace
from manifolds.low_rank import LowRankMatrix
from manifolds.retractions import RankDeficientError


class FactorPair(NamedTuple):
    """Two arrays, one for each factor."""

    left: Array
    right: Array


class TwoFactorPoint(FactorPair, MatrixPoint):
    """The matrix ``X = L R^T`` of rank r from factors of full rank; L A and R A^{-T} stand for the same matrix.

    Parameters
    ----------
    left : array of shape (..., m, r)
    right : array of shape (..., n, r)

    Examples
    --------
    >>> import numpy as np
    >>> x = TwoFactorPoint(np.array([[1.0], [2.0]]), np.array([[1.0], [0.0], [3.0]]))
    >>> x.shape, x.to_dense()
    ((2, 3), array([[1., 0., 3.],
           [2., 0., 6.]]))
    """

    def factors(self) -> LowRankMatrix:
        return LowRankMatrix(self.left, self.right)

    @property
    def squared_norm(self) -> Array:
        """Squared Frobenius norm tr(L^T L R^T R), of the batch's shape."""
        return inner_product(*self.grams)

    @lazy_property
    def grams(self) -> FactorPair:
        """L^T L and R^T R."""
        return FactorPair(self.left.mT @ self.left, self.right.mT @ self.right)

    @lazy_property
    def inverse_grams(self) -> FactorPair:
        """(L^T L)^{-1} and (R^T R)^{-1}.

        Raises
        ------
        RankDeficientError
            If they have no digit that is right: where the matrix has nearly lost rank, or its factors have columns that
            nearly depend on each other.
        """
        left, right = (_inverse(gram) for gram in self.grams)
        return FactorPair(left, right)

    def gradient_from_factors(self, dleft: Array, dright: Array) -> TwoFactorTangent:
        """Gradient of f(X), projected to the tangent space, from the derivatives of f(L R^T) by the two factors.

        With the Euclidean gradient G they are ``C = G R`` and ``D = G^T L``; this is how automatic differentiation
        gives them. With A = (L^T L)^{-1} and B = (R^T R)^{-1} the tangent vector has the changes

            C B - L M  and  D A - R M^T,  M = A L^T C B / 2,

        of which each makes half of what both can.

        Parameters
        ----------
        dleft, dright : arrays
            Shaped like the factors.

        Returns
        -------
        TwoFactorTangent
        """
        (L, R), (A, B) = self, self.inverse_grams
        half = (0.5 * A) @ (L.mT @ dleft)
        vector = TwoFactorTangent(self, (dleft - L @ half) @ B, dright @ A - R @ (half @ B).mT)
        vector.__dict__["covector"] = FactorPair(dleft, dright)  # what it would be computed to be
        return vector

    def without_left(self, columns: Array) -> Array:
        """The columns without their part in the span of L."""
        return columns - self.left @ (self.inverse_grams.left @ (self.left.mT @ columns))

    def without_right(self, columns: Array) -> Array:
        """The columns without their part in the span of R."""
        return columns - self.right @ (self.inverse_grams.right @ (self.right.mT @ columns))


def _inverse(gram: Array) -> Array:
    """Inverse of a Gram matrix."""
    root, condition = inverse_cholesky(gram)
    if not condition * machine_epsilon(gram) < 0.1:
        raise RankDeficientError
    return root @ root.mT


class _TangentFields(NamedTuple):
    point: TwoFactorPoint
    left: Array
    right: Array


class TwoFactorTangent(_TangentFields, MatrixTangent):
    """The tangent vector ``V = dL R^T + L dR^T`` at ``X = L R^T``; dL + L A and dR - R A^T stand for the same.

    Parameters
    ----------
    point : TwoFactorPoint
        Where it is tangent; its arrays are shared, not copied.
    left : array of shape (..., m, r)
        Change dL of the left factor.
    right : array of shape (..., n, r)
        Change dR of the right factor.

    Examples
    --------
    >>> from manifolds import FixedRankTwoFactors
    >>> manifold = FixedRankTwoFactors(4, 3, 2)
    >>> x = manifold.random_point(rng=0)
    >>> v = manifold.random_tangent_vector(x, rng=1)
    >>> v.shape, v.left.shape
    ((4, 3), (4, 2))
    """

    def factors(self) -> LowRankMatrix:
        concat, (L, R) = namespace(self.left).concat, self.point
        return LowRankMatrix(concat([self.left, L], axis=-1), concat([R, self.right], axis=-1))

    @lazy_property
    def covector(self) -> FactorPair:
        """V R and V^T L, which are paired with the changes dL and dR of any tangent vector at the point."""
        (L, R), (gram_left, gram_right) = self.point, self.point.grams
        return FactorPair(
            self.left @ gram_right + L @ (self.right.mT @ R), self.right @ gram_left + R @ (self.left.mT @ L)
        )
