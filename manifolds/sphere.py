"""The unit sphere, and what it shares with products of spheres."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from manifolds.array_manifold import ArrayManifold
from manifolds.linalg import (
    Array,
    Seed,
    expand,
    inner_product,
    machine_epsilon,
    namespace,
    norm,
    standard_normal,
)
from manifolds.manifold import LocalGeometry, RetractionCurve
from manifolds.retractions import Cayley, Orthonormalization, Retraction, require_retraction


class UnitVectors(ArrayManifold):
    """Base of the manifolds whose points are made of vectors of unit norm.

    Parameters
    ----------
    shape : tuple of int
        Shape of a point.
    retraction : None or Exponential()
        How a step comes back to the manifold: None divides by the norm, Exponential() follows the great circles.
    """

    _where = ""

    def __init__(self, shape: Sequence[int], retraction: Retraction | None = None) -> None:
        super().__init__(shape)
        require_retraction(
            retraction,
            type(self).__name__,
            (Orthonormalization, Cayley),
            "use None, which divides by the norm, or Exponential()",
        )
        self.default_retraction = retraction

    def at(self, point: Array) -> UnitVectorsGeometry:
        self.require_shape(point, "point")
        return UnitVectorsGeometry(self, point)

    @abstractmethod
    def along(self, u: Array, v: Array) -> Array:
        """Inner product of corresponding vectors, of a shape that multiplies a point."""

    def length(self, u: Array) -> Array:
        """Norm of each vector, of a shape that multiplies a point."""
        return self.along(u, u) ** 0.5

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        return self.nearest_point(
            standard_normal(rng, (*batch, *self.shape), self.own_array() if like is None else like)
        )

    def nearest_point(self, point: Array) -> Array:
        self.require_shape(point, "point")
        xp, size = namespace(point), self.length(point)
        if not bool(xp.all(xp.isfinite(xp.asarray(size)) & (xp.asarray(size) > 0))):
            raise ValueError(f"point is zero or not finite{self._where}, so no point of {self} is nearest to it")
        return point / size

    def _point_residual(self, point: Array) -> Array:
        return namespace(point).asarray(self.along(point, point) - 1)

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        return namespace(point).asarray(self.along(point, vector) / (1 + self.length(vector)))


class Sphere(UnitVectors):
    """Unit sphere {x : norm(x) = 1} in R^shape, with the metric <u, v> = tr(u^T v) of the surrounding space.

    Parameters
    ----------
    *shape : int
        Shape of a point; the norm runs over all of it.
    retraction : None or Exponential()
        None divides by the norm, Exponential() follows the great circle.

    Examples
    --------
    >>> import numpy as np
    >>> sphere = Sphere(3)
    >>> north, east = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    >>> bool(np.isclose(sphere.dist(north, east), np.pi / 2))
    True
    """

    _point_equation = "x^T x = 1"
    _tangent_equation = "x^T v = 0"

    def __init__(self, *shape: int, retraction: Retraction | None = None) -> None:
        super().__init__(shape, retraction)
        if self.dim == 0:
            raise ValueError("a sphere needs at least two coordinates, got one")

    @property
    def dim(self) -> int:
        size = 1
        for axis in self.shape:
            size *= axis
        return size - 1

    @property
    def typical_dist(self) -> float:
        return math.pi

    def along(self, u: Array, v: Array) -> Array:
        return expand(inner_product(u, v, self.ndim), self.ndim)


class UnitVectorsGeometry(LocalGeometry):
    """Unit vectors at x, with normal space {s x}: everything is done vector by vector."""

    manifold: UnitVectors

    def inner_product(self, u: Array, v: Array) -> Array:
        return inner_product(u, v, self.manifold.ndim)

    def projection(self, vector: Array) -> Array:
        """P(a) = a - <x, a> x."""
        return vector - self.manifold.along(self.point, vector) * self.point

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        return self.hessian_form(euclidean_gradient)(euclidean_hessian, tangent_vector)

    def hessian_form(self, euclidean_gradient: Array) -> Callable[[Array, Array], Array]:
        """Hess f(x)[v] = P( D^2 f(x)[v] ) - <x, grad f> v."""
        multiplier = self.manifold.along(self.point, euclidean_gradient)
        return lambda euclidean_hessian, v: self.projection(euclidean_hessian) - multiplier * v

    def retraction_curve(self, tangent_vector: Array) -> RetractionCurve:
        retraction = self.manifold.default_retraction
        return NormalizedLine(self, tangent_vector) if retraction is None else retraction.curve(self, tangent_vector)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """(x + v) / norm(x + v), which is of second order."""
        return NormalizedLine(self, tangent_vector).point(1.0)

    def geodesic(self, tangent_vector: Array) -> GreatCircle:
        return GreatCircle(self, tangent_vector)

    def log(self, other: Array) -> Array:
        """Log_x(y) = theta u / norm(u) with u = P(y) and theta the angle between x and y, below pi."""
        self.manifold.require_other(other)
        xp = namespace(self.point)
        if bool(xp.any(xp.asarray(self.manifold.length(self.point + other) < 10 * machine_epsilon(self.point)))):
            raise ValueError("other is opposite to the point, so no unique shortest geodesic exists")
        direction = self.projection(other)
        sine = xp.asarray(self.manifold.length(direction))
        scale = xp.where(sine > 0, self._angle(other) / xp.where(sine > 0, sine, 1.0), 1.0)
        return scale * direction

    def dist(self, other: Array) -> Array:
        """Norm of the angles between corresponding vectors."""
        self.manifold.require_other(other)
        angles = self._angle(other)
        return norm(angles, self.manifold.ndim) if angles.ndim else angles[()]

    def _angle(self, other: Array) -> Array:
        """Angles 2 atan2(|x - y|, |x + y|), accurate for near and for opposite vectors."""
        xp, length = namespace(self.point), self.manifold.length
        return 2 * xp.atan2(xp.asarray(length(self.point - other)), xp.asarray(length(self.point + other)))


class NormalizedLine(RetractionCurve):
    """The curve t -> (x + t v) / norm(x + t v)."""

    def __init__(self, geometry: UnitVectorsGeometry, tangent_vector: Array) -> None:
        self._geometry, self._tangent_vector = geometry, tangent_vector

    def point(self, t: Any) -> Array:
        return self._direction_and_length(t)[0]

    def velocity(self, t: Any) -> Array:
        """(v - <y, v> y) / norm(x + t v) at y = point(t)."""
        y, length = self._direction_and_length(t)
        return UnitVectorsGeometry(self._geometry.manifold, y).projection(self._tangent_vector) / length

    def _direction_and_length(self, t: Any) -> tuple[Array, Array]:
        manifold = self._geometry.manifold
        y = self._geometry.point + expand(t, manifold.ndim) * self._tangent_vector
        length = manifold.length(y)
        return y / length, length


class GreatCircle(RetractionCurve):
    """The curve t -> cos(s t) x + sin(s t) v / s with the speed s = norm(v)."""

    def __init__(self, geometry: UnitVectorsGeometry, tangent_vector: Array) -> None:
        self._xp, self._ndim = namespace(geometry.point), geometry.manifold.ndim
        self._point, self._tangent_vector = geometry.point, tangent_vector
        self._speed = self._xp.asarray(geometry.manifold.length(tangent_vector))

    def point(self, t: Any) -> Array:
        xp, t = self._xp, expand(t, self._ndim)
        angle = t * self._speed
        moving = self._speed > 0
        ratio = xp.where(moving, xp.sin(angle) / xp.where(moving, self._speed, 1.0), t)
        return xp.cos(angle) * self._point + ratio * self._tangent_vector

    def velocity(self, t: Any) -> Array:
        """-s sin(s t) x + cos(s t) v."""
        angle = expand(t, self._ndim) * self._speed
        return self._xp.cos(angle) * self._tangent_vector - self._speed * self._xp.sin(angle) * self._point
