"""Points and tangent vectors of the matrices of fixed rank as two factors, neither of which need be orthonormal."""

from __future__ import annotations

from typing import NamedTuple

from manifolds.fixed_rank_points import MatrixPoint, MatrixTangent
from manifolds.linalg import Array, inner_product, inverse_cholesky, is_traced, machine_epsilon, namespace
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

    __slots__ = ()

    def factors(self) -> LowRankMatrix:
        return LowRankMatrix(self.left, self.right)

    @property
    def squared_norm(self) -> Array:
        """Squared Frobenius norm tr(L^T L R^T R), of the batch's shape."""
        return inner_product(*self.grams())

    def grams(self) -> FactorPair:
        """L^T L and R^T R."""
        return FactorPair(self.left.mT @ self.left, self.right.mT @ self.right)

    def gradient_from_factors(self, dleft: Array, dright: Array) -> TwoFactorTangent:
        """Gradient of f(X), projected to the tangent space, from the derivatives of f(L R^T) by the two factors.

        With the Euclidean gradient G they are ``C = G R`` and ``D = G^T L``; this is how automatic differentiation
        gives them.

        Parameters
        ----------
        dleft, dright : arrays
            Shaped like the factors.

        Returns
        -------
        TwoFactorTangent
        """
        return tangent_of_covector(self, inverses(self.grams()), dleft, dright)


def inverses(grams: FactorPair) -> FactorPair:
    """(L^T L)^{-1} and (R^T R)^{-1}.

    Raises
    ------
    RankDeficientError
        If they have no digit that is right: where the matrix has nearly lost rank, or its factors have columns that
        nearly depend on each other.
    """
    return FactorPair(_inverse(grams.left), _inverse(grams.right))


def _inverse(gram: Array) -> Array:
    root, condition = inverse_cholesky(gram)
    if not is_traced(gram) and not condition * machine_epsilon(gram) < 0.1:
        raise RankDeficientError
    return root @ root.mT


def tangent_of_covector(point: TwoFactorPoint, inverse_grams: FactorPair, C: Array, D: Array) -> TwoFactorTangent:
    """The tangent vector V with V R = C and V^T L = D, which keeps them.

    With A = (L^T L)^{-1} and B = (R^T R)^{-1} it has the changes

        C B - L M  and  D A - R M^T,  M = A L^T C B / 2,

    of which each makes half of what both can.
    """
    (L, R), (A, B) = point, inverse_grams
    half = (0.5 * A) @ (L.mT @ C)
    vector = TwoFactorTangent(point, (C - L @ half) @ B, D @ A - R @ (half @ B).mT)
    vector.covector = FactorPair(C, D)
    return vector


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

    covector: FactorPair | None = None
    """V R and V^T L, where the vector was made of them."""
