"""The Stiefel manifold of orthonormal frames with the Euclidean metric."""

from __future__ import annotations

from manifolds.linalg import Array, inner_product, symmetric_part
from manifolds.orthonormal_frames import FrameGeometry, OrthonormalFrames
from manifolds.retractions import Retraction


class Stiefel(OrthonormalFrames):
    """Stiefel manifold {X : X^T X = I} of n x p orthonormal frames, of dimension n p - p (p + 1) / 2.

    Parameters
    ----------
    n, p : int
        Rows and columns, ``1 <= p <= n``.
    metric : {"euclidean"}
        <U, V> = tr(U^T V).
    retraction : Retraction, default CholeskyQR()

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Sections 3.5-3.6 and 5.3.

    Examples
    --------
    >>> import numpy as np
    >>> stiefel = Stiefel(5, 2)
    >>> x = stiefel.random_point(rng=0)
    >>> stiefel.dim, stiefel.check_point(x)
    (7, None)
    >>> stiefel.check_point(2 * x)
    'the point is off the manifold: X^T X = I is off by 3.0e+00 (tolerance 1.5e-07)'
    """

    def __init__(self, n: int, p: int, metric: str = "euclidean", retraction: Retraction | None = None) -> None:
        if metric != "euclidean":
            raise ValueError(f"metric must be 'euclidean', got {metric!r}")
        super().__init__(n, p, retraction)

    def at(self, point: Array) -> StiefelGeometry:
        self.require_shape(point, "point")
        return StiefelGeometry(self, point)


class StiefelGeometry(FrameGeometry):
    """The Stiefel manifold at X, with normal space {X S : S = S^T}."""

    def inner_product(self, u: Array, v: Array) -> Array:
        return inner_product(u, v)

    def projection(self, vector: Array) -> Array:
        """P(A) = A - X sym(X^T A)."""
        return vector - self.point @ symmetric_part(self.point.mT @ vector)

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        """Hess f(X)[V] = P( D^2 f(X)[V] - V S ), S = sym(X^T grad f)."""
        multiplier = symmetric_part(self.point.mT @ euclidean_gradient)
        return self.projection(euclidean_hessian - tangent_vector @ multiplier)
