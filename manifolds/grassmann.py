"""The Grassmann manifold of subspaces, a subspace being represented by an orthonormal basis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manifolds.linalg import (
    Array,
    expand,
    inner_product,
    namespace,
    norm,
)
from manifolds.manifold import RetractionCurve
from manifolds.matrix_functions import newton_schulz_step
from manifolds.orthonormal_frames import FrameGeometry, OrthonormalFrames


class Grassmann(OrthonormalFrames):
    """Grassmann manifold of p-dimensional subspaces of R^n, of dimension p (n - p).

    A point is any orthonormal basis X of the subspace; tangent vectors are horizontal, X^T V = 0, and the metric is
    tr(U^T V). Functions on it must not depend on the basis: f(X Q) = f(X) for orthogonal Q.

    Parameters
    ----------
    n, p : int
        Dimension of the space and of the subspaces, ``1 <= p <= n``.
    retraction : Retraction, default CholeskyQR()

    References
    ----------
    Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints (1998), Section 2.5.

    Examples
    --------
    >>> import numpy as np
    >>> grassmann = Grassmann(3, 1)
    >>> bool(np.isclose(grassmann.dist(np.array([[1.0], [0.0], [0.0]]), np.array([[-1.0], [0.0], [0.0]])), 0))
    True
    """

    _tangent_equation = "X^T V = 0"

    @property
    def dim(self) -> int:
        return self.p * (self.n - self.p)

    def at(self, point: Array) -> GrassmannGeometry:
        self.require_shape(point, "point")
        return GrassmannGeometry(self, point)

    def _tangent_constraint(self, overlap: Array) -> Array:
        return overlap


class GrassmannGeometry(FrameGeometry):
    """The Grassmann manifold at span(X), in the horizontal space {V : X^T V = 0}."""

    def inner_product(self, u: Array, v: Array) -> Array:
        return inner_product(u, v)

    def projection(self, vector: Array) -> Array:
        """P(A) = A - X X^T A."""
        return vector - self.point @ (self.point.mT @ vector)

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        return self.hessian_form(euclidean_gradient)(euclidean_hessian, tangent_vector)

    def hessian_form(self, euclidean_gradient: Array) -> Callable[[Array, Array], Array]:
        """Hess f(X)[V] = P( D^2 f(X)[V] ) - V X^T grad f."""
        multiplier = self.point.mT @ euclidean_gradient
        return lambda euclidean_hessian, v: self.projection(euclidean_hessian - v @ multiplier)

    def geodesic(self, tangent_vector: Array) -> GrassmannGeodesic:
        return GrassmannGeodesic(self.point, tangent_vector)

    def log(self, other: Array) -> Array:
        """Log_X(Y) = U atan(S) Q^T, with (Y - X X^T Y)(X^T Y)^{-1} = U S Q^T."""
        self.manifold.require_other(other)
        xp = namespace(self.point)
        overlap = self.point.mT @ other
        if bool(xp.any(xp.linalg.svd(overlap, full_matrices=False)[1][..., -1] < 1e-12)):
            raise ValueError(
                "other is orthogonal to the point in some direction, so no unique shortest geodesic exists"
            )
        u, s, qt = xp.linalg.svd(xp.linalg.solve(overlap.mT, self.projection(other).mT).mT, full_matrices=False)
        return (u * xp.atan(s)[..., None, :]) @ qt

    def dist(self, other: Array) -> Array:
        """Norm of the principal angles, from sines and cosines so that small and large angles are accurate."""
        self.manifold.require_other(other)
        xp = namespace(self.point)
        cosines = xp.linalg.svd(self.point.mT @ other, full_matrices=False)[1]
        sines = xp.flip(xp.linalg.svd(self.projection(other), full_matrices=False)[1], axis=-1)
        return norm(xp.atan2(sines, cosines), 1)


class GrassmannGeodesic(RetractionCurve):
    """The curve t -> X Q cos(t S) Q^T + U sin(t S) Q^T, with V = U S Q^T."""

    def __init__(self, point: Array, tangent_vector: Array) -> None:
        self._xp = namespace(point)
        self._u, self._s, self._qt = self._xp.linalg.svd(tangent_vector, full_matrices=False)
        self._xq = point @ self._qt.mT

    def point(self, t: Any) -> Array:
        angles = expand(t, 1) * self._s
        return newton_schulz_step(self._combine(self._xp.cos(angles), self._xp.sin(angles)))

    def velocity(self, t: Any) -> Array:
        """-X Q S sin(t S) Q^T + U S cos(t S) Q^T."""
        angles = expand(t, 1) * self._s
        return self._combine(-self._s * self._xp.sin(angles), self._s * self._xp.cos(angles))

    def _combine(self, a: Array, b: Array) -> Array:
        return (self._xq * a[..., None, :] + self._u * b[..., None, :]) @ self._qt
