"""Manifolds of pymanopt whose points are real arrays, as manifolds of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymanopt import manifolds as library
from pymanopt.manifolds.manifold import Manifold as LibraryManifold
from pymanopt.manifolds.manifold import RetrAsExpMixin, RiemannianSubmanifold

from manifolds.adapters.lent_seeds import pymanopt_point
from manifolds.adapters.library_curve import LibraryCurve, acceleration
from manifolds.adapters.manifold_for_pymanopt import ManifoldForPymanopt
from manifolds.adapters.pymanopt_fixed_rank import PymanoptFixedRank
from manifolds.array_manifold import ArrayManifold
from manifolds.euclidean import StraightLine
from manifolds.linalg import Array, Seed, cholesky, norm
from manifolds.manifold import LocalGeometry, Manifold, RetractionCurve
from manifolds.product import Product

_LINEAR_CONSTRAINTS = (
    library.Symmetric,
    library.SkewSymmetric,
    library.SphereSubspaceIntersection,
    library.SphereSubspaceComplementIntersection,
)
"""Manifolds in a linear subspace, on which their projection at zero projects."""

_STRAIGHT = (library.Euclidean, library.Symmetric, library.SkewSymmetric, library.PSDFixedRank)
"""Manifolds on which a step is a sum."""


def wrapped(manifold: Any) -> Manifold:
    """Manifold of ours around one of pymanopt's."""
    if not isinstance(manifold, LibraryManifold):
        raise TypeError(f"manifold must be a manifold of pymanopt, got {type(manifold).__name__}")
    if isinstance(manifold, ManifoldForPymanopt):
        return manifold.manifold
    if isinstance(manifold, library.Product):
        return Product(*map(wrapped, manifold.manifolds))
    if isinstance(manifold, library.FixedRankEmbedded):
        return PymanoptFixedRank(manifold)
    if isinstance(manifold, library.Elliptope) and not isinstance(manifold, HorizontalElliptope):
        manifold = HorizontalElliptope(manifold._n, manifold._k)
    point = pymanopt_point(manifold, rng=0)
    if not isinstance(point, np.ndarray):
        raise TypeError(
            f"points of {type(manifold).__name__} are {type(point).__name__}; only manifolds of arrays, "
            "FixedRankEmbedded and Product can be wrapped"
        )
    if point.dtype.kind != "f":
        raise TypeError(
            f"points of {type(manifold).__name__} are {point.dtype}; only manifolds of real arrays can be wrapped"
        )
    return PymanoptManifold(manifold, point.shape)


class HorizontalElliptope(library.Elliptope):
    """pymanopt's elliptope with the projection on its horizontal space {V : <y_i, v_i> = 0, Y^T V = V^T Y}.

    That of pymanopt 2.2 solves a Lyapunov equation with another right-hand side and leaves Y^T V - V^T Y nonzero.
    """

    def __init__(self, n: int, k: int) -> None:
        super().__init__(n, k)
        self._factors = library.PSDFixedRank(n, k)

    def projection(self, point: Array, vector: Array) -> Array:
        """Projection on the rows' tangent spaces, less the vertical part Y Omega, which lies in them."""
        return self._factors.projection(point, self._project_rows(point, vector))

    to_tangent_space = projection


class PymanoptManifold(ArrayManifold):
    """Manifold of pymanopt whose points are single float64 numpy arrays; made by ``from_pymanopt``.

    Parameters
    ----------
    library_manifold : pymanopt.manifolds.manifold.Manifold
    shape : tuple of int
        Shape of a point.
    """

    _point_equation = "R_x(0) = x"
    _tangent_equation = "P(V) = V"

    def __init__(self, library_manifold: Any, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self.library_manifold = library_manifold

    def __repr__(self) -> str:
        return f"from_pymanopt({self.library_manifold})"

    @property
    def dim(self) -> int:
        return int(self.library_manifold.dim)

    @property
    def typical_dist(self) -> float:
        return float(self.library_manifold.typical_dist) if self.defines("typical_dist") else super().typical_dist

    @property
    def has_hessian(self) -> bool:
        if not self.defines("euclidean_to_riemannian_hessian"):
            return False
        convert = type(self.library_manifold).euclidean_to_riemannian_hessian
        generic = convert is RiemannianSubmanifold.euclidean_to_riemannian_hessian
        return not generic or type(self.library_manifold).weingarten is not RiemannianSubmanifold.weingarten

    @property
    def has_exponential(self) -> bool:
        """Whether pymanopt has the exponential map, not a retraction in its stead."""
        return self.defines("exp") and not isinstance(self.library_manifold, RetrAsExpMixin)

    def defines(self, name: str) -> bool:
        """Whether the library's class has a method or property of its own, where the base class only raises."""
        return getattr(type(self.library_manifold), name) is not getattr(LibraryManifold, name)

    def at(self, point: Array) -> PymanoptGeometry:
        self.require_shape(point, "point")
        return PymanoptGeometry(self, point)

    def require_shape(self, array: Array, name: str) -> None:
        """Raise an error unless the array is float64, numpy's, and has the shape of one point."""
        super().require_shape(array, name)
        if not isinstance(array, np.ndarray) or array.dtype != np.float64:
            raise TypeError(f"{name} must be a float64 numpy array, with which pymanopt computes, got {array.dtype}")
        if array.shape != self.shape:
            raise ValueError(f"{name} must be one point of shape {self.shape}, got a batch of shape {array.shape}")

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        """Random point of pymanopt's, whose global generator is lent a seed; no batches."""
        return np.asarray(pymanopt_point(self.library_manifold, rng, like, batch))

    def random_tangent_vector(self, point: Array, rng: Seed = None) -> Array:
        """Projection of a random ambient vector, of unit norm: pymanopt's gradients need not be those of all costs."""
        geometry = self.at(point)
        vector = geometry.projection(self.standard_normal(rng, point))
        return vector / geometry.norm(vector)

    def nearest_point(self, point: Array) -> Array:
        """Point to which the library's retraction takes the zero vector, after any linear constraints are restored.

        On most manifolds it is the projection, or close to it for points close by.

        Raises
        ------
        ValueError
            If the point is outside of an open set: no point is nearest to it.
        """
        self.require_shape(point, "point")
        outside = self._outside(point)
        if outside is not None:
            raise ValueError(f"point is outside: {outside}")
        if isinstance(self.library_manifold, _LINEAR_CONSTRAINTS):
            point = self.library_manifold.projection(np.zeros(self.shape), point)
        return np.asarray(self.library_manifold.retraction(point, self.library_manifold.zero_vector(point)))

    def check_point(self, point: Array) -> str | None:
        problem = self._check_array(point, "the point")
        outside = None if problem else self._outside(point)
        return f"the point is off the manifold: {outside}" if outside else problem or super().check_point(point)

    def _outside(self, point: Array) -> str | None:
        """What puts a point outside of an open set."""
        if isinstance(self.library_manifold, library.Positive) and not np.all(point > 0):
            return f"its entries must be positive, but the smallest is {point.min():.1e}"
        if isinstance(self.library_manifold, library.PoincareBall):
            largest = float(np.max(np.linalg.norm(point, axis=-1)))
            return None if largest < 1 else f"its norm must be below 1, but is {largest}"
        if isinstance(self.library_manifold, library.SymmetricPositiveDefinite):
            symmetric = (point + point.mT) / 2
            return None if cholesky(symmetric) is not None else "it must be positive definite"
        return None

    def _point_residual(self, point: Array) -> Array:
        return (point - self.nearest_point(point)) / max(1.0, float(norm(point, self.ndim)))

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        return (vector - self.at(point).projection(vector)) / max(1.0, float(norm(vector, self.ndim)))


class PymanoptGeometry(LocalGeometry):
    """The local geometry of a manifold of pymanopt; vectors are velocities of the point's array."""

    manifold: PymanoptManifold

    def inner_product(self, u: Array, v: Array) -> Array:
        return np.float64(self._library.inner_product(self.point, self._inward(u), self._inward(v)))

    def projection(self, vector: Array) -> Array:
        return self._outward(self._library.projection(self.point, vector))

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self._outward(self._library.euclidean_to_riemannian_gradient(self.point, euclidean_gradient))

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        product = self._library.euclidean_to_riemannian_hessian(
            self.point, euclidean_gradient, euclidean_hessian, self._inward(tangent_vector)
        )
        return self._outward(product)

    def retraction_curve(self, tangent_vector: Array) -> RetractionCurve:
        if isinstance(self._library, _STRAIGHT):
            return StraightLine(self.point, tangent_vector, self.manifold.ndim)
        return LibraryCurve(self, tangent_vector, self._step)

    def retraction(self, tangent_vector: Array) -> Array:
        return self._step(tangent_vector)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """The exponential map, or the retraction where pymanopt has none."""
        return self._exp(tangent_vector) if self.manifold.has_exponential else self._step(tangent_vector)

    def transport_from(self, origin: LocalGeometry, tangent_vector: Array) -> Array:
        """The library's vector transport, or the projection where it has none."""
        if not self.manifold.defines("transport"):
            return self.projection(tangent_vector)
        assert isinstance(origin, PymanoptGeometry)
        moved = self._library.transport(origin.point, self.point, origin._inward(tangent_vector))
        return self._outward(moved)

    def geodesic(self, tangent_vector: Array) -> RetractionCurve:
        if not self.manifold.has_exponential:
            return super().geodesic(tangent_vector)
        return LibraryCurve(self, tangent_vector, self._exp)

    def geodesic_acceleration(self, tangent_vector: Array) -> Array:
        if not self.manifold.has_exponential:
            return super().geodesic_acceleration(tangent_vector)
        return acceleration(self, tangent_vector, self._exp)

    def log(self, other: Array) -> Array:
        self.manifold.require_other(other)
        if not self.manifold.defines("log"):
            return super().log(other)
        return self._outward(self._library.log(self.point, other))

    def dist(self, other: Array) -> Array:
        self.manifold.require_other(other)
        if not self.manifold.defines("dist"):
            return super().dist(other)
        return np.float64(self._library.dist(self.point, other))

    @property
    def _library(self) -> Any:
        return self.manifold.library_manifold

    def _step(self, tangent_vector: Array) -> Array:
        return np.asarray(self._library.retraction(self.point, self._inward(tangent_vector)))

    def _exp(self, tangent_vector: Array) -> Array:
        return np.asarray(self._library.exp(self.point, self._inward(tangent_vector)))

    def _inward(self, vector: Array) -> Array:
        """Vector as the library keeps it."""
        return self._library.projection(self.point, vector) if self.manifold.defines("embedding") else vector

    def _outward(self, vector: Array) -> Array:
        """Velocity of the point's array from a vector of the library."""
        return np.asarray(self._library.embedding(self.point, vector))
