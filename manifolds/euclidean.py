"""Euclidean space: the flat manifold of all arrays of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifolds.array_manifold import ArrayManifold
from manifolds.linalg import Array, Seed, expand, inner_product, namespace, norm, standard_normal
from manifolds.manifold import LocalGeometry, Point, RetractionCurve


class Euclidean(ArrayManifold):
    """Euclidean space R^shape with the inner product <u, v> = tr(u^T v).

    Parameters
    ----------
    *shape : int
        Shape of a point; all axes belong to one vector.

    Examples
    --------
    >>> import numpy as np
    >>> space = Euclidean(2)
    >>> space.retraction(np.array([1.0, 2.0]), np.array([0.5, 0.0]))
    array([1.5, 2. ])
    """

    is_cone = True
    is_linear = True

    def __init__(self, *shape: int) -> None:
        super().__init__(shape)

    @property
    def dim(self) -> int:
        size = 1
        for axis in self.shape:
            size *= axis
        return size

    def at(self, point: Array) -> EuclideanGeometry:
        self.require_shape(point, "point")
        return EuclideanGeometry(self, point)

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        return standard_normal(rng, (*batch, *self.shape), self.own_array() if like is None else like)

    def nearest_point(self, point: Array) -> Array:
        self.require_shape(point, "point")
        return point

    def _point_residual(self, point: Array) -> Array:
        return namespace(point).zeros_like(point)

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        return namespace(point).zeros_like(vector)


class EuclideanGeometry(LocalGeometry):
    """Euclidean space at a point: everything is the identity."""

    manifold: ArrayManifold

    def inner_product(self, u: Array, v: Array) -> Array:
        return inner_product(u, v, self.manifold.ndim)

    def projection(self, vector: Array) -> Array:
        return vector

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return euclidean_gradient

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        return euclidean_hessian

    def retraction_curve(self, tangent_vector: Array) -> StraightLine:
        return self.geodesic(tangent_vector)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        return self.point + tangent_vector

    def geodesic(self, tangent_vector: Array) -> StraightLine:
        return StraightLine(self.point, tangent_vector, self.manifold.ndim)

    def log(self, other: Array) -> Array:
        self.manifold.require_other(other)
        return other - self.point

    def dist(self, other: Array) -> Array:
        self.manifold.require_other(other)
        return norm(other - self.point, self.manifold.ndim)


class StraightLine(RetractionCurve):
    """The line t -> x + t v."""

    def __init__(self, point: Array, tangent_vector: Array, ndim: int) -> None:
        self._point, self._tangent_vector, self._ndim = point, tangent_vector, ndim

    def point(self, t: Any) -> Point:
        return self._point + expand(t, self._ndim) * self._tangent_vector

    def velocity(self, t: Any) -> Point:
        return self._tangent_vector
