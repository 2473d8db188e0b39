"""The manifold of symmetric positive definite matrices with the affine-invariant metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifolds.array_manifold import ArrayManifold
from manifolds.lazy import lazy_property
from manifolds.linalg import (
    Array,
    Seed,
    cholesky,
    expand,
    inner_product,
    inverse_triangular,
    machine_epsilon,
    namespace,
    norm,
    require_finite,
    standard_normal,
    symmetric_part,
)
from manifolds.manifold import LocalGeometry, RetractionCurve
from manifolds.matrix_functions import symmetric_function
from manifolds.retractions import Cayley, Orthonormalization, Retraction, require_retraction


class SymmetricPositiveDefinite(ArrayManifold):
    """Symmetric positive definite n x n matrices with the affine-invariant metric tr(X^{-1} U X^{-1} V).

    Tangent vectors are all symmetric matrices; the boundary of singular matrices is infinitely far away. Congruences
    X -> G X G^T are isometries.

    Parameters
    ----------
    n : int
        Order of the matrices.
    retraction : None or Exponential()
        How a step stays positive definite: None takes X + V + V X^{-1} V / 2, of second order and well-conditioned for
        steps of every length; Exponential() follows the geodesic.

    References
    ----------
    Bhatia, Positive Definite Matrices (2007), Chapter 6.
    Jeuris, Vandebril, Vandereycken, A survey and comparison of contemporary algorithms for computing the matrix
    geometric mean, Electron. Trans. Numer. Anal. 39 (2012), equation 3.11.

    Examples
    --------
    >>> import numpy as np
    >>> positive = SymmetricPositiveDefinite(2)
    >>> x, y = np.eye(2), np.diag([np.e, 1.0])
    >>> bool(np.isclose(positive.dist(x, y), 1)), positive.log(x, y).round(12)
    (True, array([[1., 0.], [0., 0.]]))
    """

    _point_equation = "X = X^T"
    _tangent_equation = "V = V^T"

    def __init__(self, n: int, retraction: Retraction | None = None) -> None:
        super().__init__((n, n))
        self.n = self.shape[0]
        require_retraction(
            retraction,
            type(self).__name__,
            (Orthonormalization, Cayley),
            "use None, which takes X + V + V X^{-1} V / 2, or Exponential()",
        )
        self.default_retraction = retraction

    def __repr__(self) -> str:
        return f"SymmetricPositiveDefinite({self.n})"

    @property
    def dim(self) -> int:
        return self.n * (self.n + 1) // 2

    def at(self, point: Array) -> SymmetricPositiveDefiniteGeometry:
        self.require_shape(point, "point")
        return SymmetricPositiveDefiniteGeometry(self, point)

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        """Exponential of the random symmetric matrix (Z + Z^T) / sqrt(8 n), whose eigenvalues are of size 1 or less."""
        draw = standard_normal(rng, (*batch, self.n, self.n), self.own_array() if like is None else like)
        return symmetric_function(namespace(draw).exp, symmetric_part(draw) / (2 * self.n) ** 0.5)

    def nearest_point(self, point: Array) -> Array:
        """Symmetric part, with its eigenvalues raised to 10 n rounding units of the largest one.

        The set is open: the nearest matrix in its closure, with eigenvalues raised to zero (Higham 1988), is singular.

        Raises
        ------
        ValueError
            If no eigenvalue of the symmetric part is positive.
        """
        self.require_shape(point, "point")
        require_finite(point, "point")
        xp, symmetric = namespace(point), symmetric_part(point)
        eigenvalues, eigenvectors = xp.linalg.eigh(symmetric)
        if not bool(xp.all(eigenvalues[..., -1] > 0)):
            raise ValueError("point has no positive eigenvalue, so no positive definite matrix is nearest to it")
        floor = 10 * self.n * machine_epsilon(point) * eigenvalues[..., -1:]
        missing = xp.where(eigenvalues < floor, floor - eigenvalues, xp.zeros_like(eigenvalues))
        return symmetric_part(symmetric + (eigenvectors * missing[..., None, :]) @ eigenvectors.mT)

    def check_point(self, point: Array) -> str | None:
        problem = super().check_point(point)
        if problem is not None or cholesky(symmetric_part(point)) is not None:
            return problem
        xp = namespace(point)
        smallest = float(xp.min(xp.linalg.eigvalsh(symmetric_part(point))))
        return (
            f"the point is off the manifold: X must be positive definite, but its smallest eigenvalue is {smallest:.1e}"
        )

    def _point_residual(self, point: Array) -> Array:
        return _asymmetry(point)

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        return _asymmetry(vector)


def _asymmetry(a: Array) -> Array:
    """A - A^T, relative to the size of A."""
    xp = namespace(a)
    size = expand(xp.asarray(norm(a)), 2)
    return (a - a.mT) / xp.where(size > 0, size, xp.ones_like(size))


class SymmetricPositiveDefiniteGeometry(LocalGeometry):
    """The positive definite matrices at X = L L^T; *whitening* V -> L^{-1} V L^{-T} carries the metric to tr(U^T V)."""

    manifold: SymmetricPositiveDefinite

    @lazy_property
    def factor(self) -> Array:
        """Cholesky factor L."""
        r = cholesky(self.point)
        if r is None:
            raise ValueError("point is not positive definite; start from manifold.nearest_point(x)")
        return r.mT

    @lazy_property
    def inverse_factor(self) -> Array:
        """L^{-1}."""
        return inverse_triangular(self.factor.mT).mT

    def whiten(self, vector: Array) -> Array:
        """L^{-1} V L^{-T}."""
        return self.inverse_factor @ vector @ self.inverse_factor.mT

    def unwhiten(self, vector: Array) -> Array:
        """L V L^T, symmetric to the last bit."""
        return symmetric_part(self.factor @ vector @ self.factor.mT)

    def inner_product(self, u: Array, v: Array) -> Array:
        """<U, V>_X = tr(X^{-1} U^T X^{-1} V)."""
        return inner_product(self.whiten(u), self.whiten(v))

    def projection(self, vector: Array) -> Array:
        """Symmetric part."""
        return symmetric_part(vector)

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        """X sym(grad f) X."""
        return symmetric_part(self.point @ symmetric_part(euclidean_gradient) @ self.point)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        """Hess f(X)[V] = X sym(D^2 f(X)[V]) X + sym(V sym(grad f) X)."""
        turned = tangent_vector @ symmetric_part(euclidean_gradient) @ self.point
        return self.riemannian_gradient(euclidean_hessian) + symmetric_part(turned)

    def retraction_curve(self, tangent_vector: Array) -> RetractionCurve:
        retraction = self.manifold.default_retraction
        return Parabola(self, tangent_vector) if retraction is None else retraction.curve(self, tangent_vector)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """X + V + V X^{-1} V / 2, the geodesic's expansion to second order."""
        return Parabola(self, tangent_vector).point(1.0)

    def transport_from(self, origin: LocalGeometry, tangent_vector: Array) -> Array:
        """Parallel transport E V E^T along the geodesic from X to here, Y, with E = (Y X^{-1})^{1/2}."""
        assert isinstance(origin, SymmetricPositiveDefiniteGeometry)
        root = symmetric_function(namespace(self.point).sqrt, symmetric_part(origin.whiten(self.point)))
        return origin.unwhiten(root @ origin.whiten(tangent_vector) @ root)

    def geodesic(self, tangent_vector: Array) -> SpectralGeodesic:
        return SpectralGeodesic(self, tangent_vector)

    def geodesic_acceleration(self, tangent_vector: Array) -> Array:
        """V X^{-1} V."""
        half = self.inverse_factor @ tangent_vector
        return half.mT @ half

    def log(self, other: Array) -> Array:
        """Log_X(Y) = L log(L^{-1} Y L^{-T}) L^T."""
        eigenvalues, eigenvectors = self._whitened_eigen(other)
        logarithm = (eigenvectors * namespace(other).log(eigenvalues)[..., None, :]) @ eigenvectors.mT
        return self.unwhiten(logarithm)

    def dist(self, other: Array) -> Array:
        """Norm of the logarithms of the eigenvalues of X^{-1} Y."""
        eigenvalues, _ = self._whitened_eigen(other)
        return norm(namespace(eigenvalues).log(eigenvalues), 1)

    def _whitened_eigen(self, other: Array) -> Any:
        """Eigendecomposition of L^{-1} Y L^{-T}."""
        self.manifold.require_other(other)
        xp = namespace(other)
        eigenvalues, eigenvectors = xp.linalg.eigh(symmetric_part(self.whiten(other)))
        if not bool(xp.all(eigenvalues > 0)):
            raise ValueError("other is not positive definite, so it is at no finite distance")
        return eigenvalues, eigenvectors


class SpectralGeodesic(RetractionCurve):
    """The curve t -> F diag(exp(t lambda_i)) F^T, F = L Q, where L^{-1} V L^{-T} = Q diag(lambda) Q^T."""

    def __init__(self, geometry: SymmetricPositiveDefiniteGeometry, tangent_vector: Array) -> None:
        whitened = symmetric_part(geometry.whiten(tangent_vector))
        self._rates, eigenvectors = namespace(whitened).linalg.eigh(whitened)
        self._frame = geometry.factor @ eigenvectors

    def point(self, t: Any) -> Array:
        return self._combine(self._growth(t))

    def velocity(self, t: Any) -> Array:
        """F diag(lambda_i exp(t lambda_i)) F^T."""
        return self._combine(self._rates * self._growth(t))

    def _growth(self, t: Any) -> Array:
        return namespace(self._rates).exp(expand(t, 1) * self._rates)

    def _combine(self, eigenvalues: Array) -> Array:
        return symmetric_part((self._frame * eigenvalues[..., None, :]) @ self._frame.mT)


class Parabola(RetractionCurve):
    """The curve t -> X + t V + t^2 H / 2 with H = V X^{-1} V; its eigenvalues relative to X are at least 1/2."""

    def __init__(self, geometry: SymmetricPositiveDefiniteGeometry, tangent_vector: Array) -> None:
        self._x, self._v = geometry.point, tangent_vector
        self._h = geometry.geodesic_acceleration(tangent_vector)

    def point(self, t: Any) -> Array:
        t = expand(t, 2)
        return symmetric_part(self._x + t * (self._v + 0.5 * t * self._h))

    def velocity(self, t: Any) -> Array:
        """V + t H."""
        return self._v + expand(t, 2) * self._h
