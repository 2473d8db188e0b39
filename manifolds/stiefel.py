"""The Stiefel manifold of orthonormal frames with the Euclidean and the canonical metric."""

from __future__ import annotations

from collections.abc import Callable

from manifolds.linalg import Array, inner_product, symmetric_part
from manifolds.manifold import RetractionCurve
from manifolds.orthonormal_frames import FrameGeometry, OrthonormalFrames
from manifolds.retractions import Cayley, Retraction
from manifolds.stiefel_geodesics import StiefelGeodesic, canonical_logarithm, euclidean_logarithm


class Stiefel(OrthonormalFrames):
    """Stiefel manifold {X : X^T X = I} of n x p orthonormal frames, of dimension n p - p (p + 1) / 2.

    Parameters
    ----------
    n, p : int
        Rows and columns, ``1 <= p <= n``.
    metric : {"euclidean", "canonical"}
        <U, V> = tr(U^T V), or <U, V> = tr(U^T (I - X X^T / 2) V), which counts every coordinate of a tangent vector
        once.
    retraction : Retraction, default CholeskyQR()

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Sections 3.5-3.6 and 5.3.
    Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints (1998), Sections 2.2 and 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> stiefel = Stiefel(5, 2)
    >>> x = stiefel.random_point(rng=0)
    >>> stiefel.dim, stiefel.check_point(x)
    (7, None)
    >>> stiefel.check_point(2 * x)
    'the point is off the manifold: X^T X = I is off by 3.0e+00 (tolerance 1.5e-07)'
    >>> canonical = Stiefel(5, 2, metric="canonical")
    >>> v = canonical.random_tangent_vector(x, rng=0)
    >>> bool(np.isclose(canonical.dist(x, canonical.exp(x, v)), 1))
    True
    """

    def __init__(self, n: int, p: int, metric: str = "euclidean", retraction: Retraction | None = None) -> None:
        if metric not in ("euclidean", "canonical"):
            raise ValueError(f"metric must be 'euclidean' or 'canonical', got {metric!r}")
        super().__init__(n, p, retraction)
        self.metric = metric

    def __repr__(self) -> str:
        return super().__repr__() if self.metric == "euclidean" else f"Stiefel({self.n}, {self.p}, metric='canonical')"

    def at(self, point: Array) -> StiefelGeometry:
        self.require_shape(point, "point")
        return (StiefelGeometry if self.metric == "euclidean" else CanonicalStiefelGeometry)(self, point)


class StiefelGeometry(FrameGeometry):
    """The Stiefel manifold at X with the Euclidean metric; the normal space is {X S : S = S^T}."""

    def inner_product(self, u: Array, v: Array) -> Array:
        return inner_product(u, v)

    def projection(self, vector: Array) -> Array:
        """P(A) = A - X sym(X^T A)."""
        return vector - self.point @ symmetric_part(self.point.mT @ vector)

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        return self.hessian_form(euclidean_gradient)(euclidean_hessian, tangent_vector)

    def hessian_form(self, euclidean_gradient: Array) -> Callable[[Array, Array], Array]:
        """Hess f(X)[V] = P( D^2 f(X)[V] - V S ), S = sym(X^T grad f)."""
        multiplier = symmetric_part(self.point.mT @ euclidean_gradient)
        return lambda euclidean_hessian, v: self.projection(euclidean_hessian - v @ multiplier)

    def geodesic(self, tangent_vector: Array) -> RetractionCurve:
        return StiefelGeodesic(self.point, tangent_vector, rotation=2)

    def log(self, other: Array) -> Array:
        """Logarithm by shooting in the span of both points (Zimmermann, Hüper 2022, Algorithm 4)."""
        self.manifold.require_other(other)
        return euclidean_logarithm(self.point, other)

    def dist(self, other: Array) -> Array:
        """Length of the geodesic that ``log`` finds, the shortest one for points that are not too far apart."""
        return self.norm(self.log(other))


class CanonicalStiefelGeometry(StiefelGeometry):
    """The Stiefel manifold at X with the canonical metric; tangent and normal space are the Euclidean ones."""

    def inner_product(self, u: Array, v: Array) -> Array:
        """<U, V> = tr(U^T V) - tr((X^T U)^T X^T V) / 2."""
        return inner_product(u, v) - 0.5 * inner_product(self.point.mT @ u, self.point.mT @ v)

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        """Gradient G - X G^T X of the Euclidean gradient G."""
        return euclidean_gradient - self.point @ (euclidean_gradient.mT @ self.point)

    def hessian_form(self, euclidean_gradient: Array) -> Callable[[Array, Array], Array]:
        """Hess f(X)[V] = E - X E^T X with E = D^2 f(X)[V] - (X G^T V + G A - X (A S + S A)) / 2 - V sym(S).

        G is the Euclidean gradient, A = X^T V and S = X^T G: the second derivative of f along geodesics, whose
        acceleration is -V V^T X - X (A^2 + V^T V) (Edelman, Arias, Smith 1998, equation 2.41), polarised.
        """
        x, g = self.point, euclidean_gradient
        s = x.mT @ g
        multiplier = symmetric_part(s)

        def hessian(euclidean_hessian: Array, v: Array) -> Array:
            a = x.mT @ v
            in_span = x @ (g.mT @ v - a @ s - s @ a)
            return self.riemannian_gradient(euclidean_hessian - 0.5 * (in_span + g @ a) - v @ multiplier)

        return hessian

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """Cayley transform, which agrees with the geodesic to second order."""
        return Cayley().curve(self, tangent_vector).point(1.0)

    def geodesic(self, tangent_vector: Array) -> RetractionCurve:
        return StiefelGeodesic(self.point, tangent_vector, rotation=1)

    def geodesic_acceleration(self, tangent_vector: Array) -> Array:
        """(I - X X^T) V X^T V."""
        a = self.point.mT @ tangent_vector
        return (tangent_vector - self.point @ a) @ a

    def log(self, other: Array) -> Array:
        """Logarithm by the algebraic iteration (Zimmermann, Hüper 2022, Algorithm 5)."""
        self.manifold.require_other(other)
        return canonical_logarithm(self.point, other)
