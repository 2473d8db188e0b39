"""The unit sphere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifolds.linalg import Array, Seed, expand, inner_product, machine_epsilon, namespace, norm, standard_normal
from manifolds.manifold import ArrayManifold, LocalGeometry, RetractionCurve


class Sphere(ArrayManifold):
    """Unit sphere {x : norm(x) = 1} in R^shape, with the metric <u, v> = tr(u^T v) of the surrounding space.

    Parameters
    ----------
    *shape : int
        Shape of a point; the norm runs over all of it.

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

    def __init__(self, *shape: int) -> None:
        super().__init__(shape)
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
        return 3.141592653589793

    def at(self, point: Array) -> SphereGeometry:
        self.require_shape(point, "point")
        return SphereGeometry(self, point)

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        return self.nearest_point(
            standard_normal(rng, (*batch, *self.shape), self.own_array() if like is None else like)
        )

    def nearest_point(self, point: Array) -> Array:
        self.require_shape(point, "point")
        size = norm(point, self.ndim)
        xp = namespace(point)
        if not bool(xp.all(xp.isfinite(xp.asarray(size)) & (xp.asarray(size) > 0))):
            raise ValueError("point is zero or not finite, so no point of the sphere is nearest to it")
        return point / expand(size, self.ndim)

    def _point_residual(self, point: Array) -> Array:
        return namespace(point).asarray(inner_product(point, point, self.ndim) - 1)

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        return namespace(point).asarray(inner_product(point, vector, self.ndim) / (1 + norm(vector, self.ndim)))


class SphereGeometry(LocalGeometry):
    """The unit sphere at x, with normal space {s x}."""

    manifold: Sphere

    def inner_product(self, u: Array, v: Array) -> Array:
        return inner_product(u, v, self.manifold.ndim)

    def projection(self, vector: Array) -> Array:
        """P(a) = a - <x, a> x."""
        return vector - self._along(vector) * self.point

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        """Hess f(x)[v] = P( D^2 f(x)[v] ) - <x, grad f> v."""
        return self.projection(euclidean_hessian) - self._along(euclidean_gradient) * tangent_vector

    def retraction_curve(self, tangent_vector: Array) -> NormalizedLine:
        return NormalizedLine(self, tangent_vector)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """(x + v) / norm(x + v), which is of second order."""
        return self.retraction(tangent_vector)

    def exp(self, tangent_vector: Array) -> Array:
        """Exp_x(v) = cos(s) x + sin(s) v / s with s = norm(v)."""
        xp, ndim = namespace(self.point), self.manifold.ndim
        length = xp.asarray(norm(tangent_vector, ndim))
        sinc = xp.where(length > 0, xp.sin(length) / xp.where(length > 0, length, 1.0), 1.0)
        return expand(xp.cos(length), ndim) * self.point + expand(sinc, ndim) * tangent_vector

    def log(self, other: Array) -> Array:
        """Log_x(y) = theta u / norm(u) with u = P(y) and theta the angle between x and y, below pi."""
        xp, ndim = namespace(self.point), self.manifold.ndim
        if bool(xp.any(norm(self.point + other, ndim) < 10 * machine_epsilon(self.point))):
            raise ValueError("other is opposite to the point, so no unique shortest geodesic exists")
        direction = self.projection(other)
        sine = xp.asarray(norm(direction, ndim))
        scale = xp.where(sine > 0, xp.asarray(self.dist(other)) / xp.where(sine > 0, sine, 1.0), 1.0)
        return expand(scale, ndim) * direction

    def dist(self, other: Array) -> Array:
        """Angle 2 atan2(|x - y|, |x + y|), accurate for near and for opposite points."""
        xp, ndim = namespace(self.point), self.manifold.ndim
        near, far = norm(self.point - other, ndim), norm(self.point + other, ndim)
        return 2 * xp.atan2(xp.asarray(near), xp.asarray(far))[()]

    def _along(self, vector: Array) -> Array:
        ndim = self.manifold.ndim
        return expand(inner_product(self.point, vector, ndim), ndim)


class NormalizedLine(RetractionCurve):
    """The curve t -> (x + t v) / norm(x + t v)."""

    def __init__(self, geometry: SphereGeometry, tangent_vector: Array) -> None:
        self._geometry, self._tangent_vector = geometry, tangent_vector

    def point(self, t: Any) -> Array:
        return self._direction_and_length(t)[0]

    def velocity(self, t: Any) -> Array:
        """(v - <y, v> y) / norm(x + t v) at y = point(t)."""
        y, length = self._direction_and_length(t)
        return SphereGeometry(self._geometry.manifold, y).projection(self._tangent_vector) / length

    def _direction_and_length(self, t: Any) -> tuple[Array, Array]:
        ndim = self._geometry.manifold.ndim
        y = self._geometry.point + expand(t, ndim) * self._tangent_vector
        length = expand(norm(y, ndim), ndim)
        return y / length, length
