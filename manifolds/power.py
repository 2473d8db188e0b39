"""Powers of a manifold: many points of it in one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from manifolds.array_manifold import ArrayManifold
from manifolds.linalg import Array, Seed, expand, namespace
from manifolds.manifold import LocalGeometry, RetractionCurve


class Power(ArrayManifold):
    """Power M^m of a manifold M of arrays: m points of M in one array of shape ``(m, *M.shape)``.

    The metric is the sum of those of the m points. It is the product of m equal factors, but everything is done for all
    of them at once, which for thousands of small matrices, such as the rotations of a pose graph, takes a fraction of
    the time that ``Product`` takes factor by factor.

    Parameters
    ----------
    base : ArrayManifold
        M, such as ``Rotations(3)``.
    m : int
        Number of points.

    Raises
    ------
    TypeError
        If the base is not a manifold of single arrays, or m is not an integer.
    ValueError
        If m is not positive.

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Section 3.1.6, on products.

    Examples
    --------
    >>> from manifolds import Rotations
    >>> power = Power(Rotations(3), 100)
    >>> power.dim, power.random_point(rng=0).shape
    (300, (100, 3, 3))
    """

    def __init__(self, base: ArrayManifold, m: int) -> None:
        if not isinstance(base, ArrayManifold):
            raise TypeError(
                f"base must be a manifold whose points are single arrays, such as Rotations(3), got {base!r}; use "
                "Product for others"
            )
        super().__init__((m, *base.shape))
        self.base, self.m = base, self.shape[0]

    def __repr__(self) -> str:
        return f"Power({self.base!r}, {self.m})"

    @property
    def dim(self) -> int:
        return self.m * self.base.dim

    @property
    def typical_dist(self) -> float:
        return float(self.m) ** 0.5 * self.base.typical_dist

    @property
    def is_cone(self) -> bool:  # type: ignore[override]
        return self.base.is_cone

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        return self.base.is_linear

    @property
    def has_hessian(self) -> bool:
        return self.base.has_hessian

    def own_array(self) -> Array:
        return self.base.own_array()

    def at(self, point: Array) -> PowerGeometry:
        self.require_shape(point, "point")
        return PowerGeometry(self, self.base.at(point))

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        return self.base.random_point(rng, like, batch=(*batch, self.m))

    def nearest_point(self, point: Array) -> Array:
        self.require_shape(point, "point")
        return self.base.nearest_point(point)

    def check_point(self, point: Array) -> str | None:
        return self._check_array(point, "the point") or self.base.check_point(point)

    def check_tangent(self, point: Array, vector: Array) -> str | None:
        problem = self._check_array(point, "the point") or self._check_array(vector, "the vector")
        return problem or self.base.check_tangent(point, vector)

    def _point_residual(self, point: Array) -> Array:
        return self.base._point_residual(point)

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        return self.base._tangent_residual(point, vector)


class PowerGeometry(LocalGeometry):
    """Local geometry of a power: that of the base at a batch of points, whose numbers are summed."""

    manifold: Power

    def __init__(self, manifold: Power, base: LocalGeometry) -> None:
        super().__init__(manifold, base.point)
        self.base = base

    def inner_product(self, u: Array, v: Array) -> Array:
        """Sum of the points' inner products."""
        return _total(self.base.inner_product(u, v))

    def projection(self, vector: Array) -> Array:
        return self.base.projection(vector)

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self.base.riemannian_gradient(euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        return self.base.riemannian_hessian(euclidean_gradient, euclidean_hessian, tangent_vector)

    def retraction_curve(self, tangent_vector: Array) -> PowerCurve:
        return PowerCurve(self.base.retraction_curve(tangent_vector))

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        return self.base.second_order_retraction(tangent_vector)

    def transport_from(self, origin: LocalGeometry, tangent_vector: Array) -> Array:
        return self.base.transport_from(_base(origin), tangent_vector)

    def geodesic(self, tangent_vector: Array) -> PowerCurve:
        return PowerCurve(self.base.geodesic(tangent_vector))

    def geodesic_acceleration(self, tangent_vector: Array) -> Array:
        return self.base.geodesic_acceleration(tangent_vector)

    def covector(self, tangent_vector: Array) -> Array:
        return self.base.covector(tangent_vector)

    def gradient_covector(self, euclidean_gradient: Array, gradient: Array | None = None) -> Array:
        return self.base.gradient_covector(euclidean_gradient, gradient)

    def hessian_covector(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        return self.base.hessian_covector(euclidean_gradient, euclidean_hessian, tangent_vector)

    def hessian_form(self, euclidean_gradient: Array) -> Callable[[Array, Array], Array]:
        return self.base.hessian_form(euclidean_gradient)

    def gradient_pairing_from(self, origin: LocalGeometry, gradient_covector: Array, tangent_vector: Array) -> Array:
        """Sum of the points' pairings."""
        return _total(self.base.gradient_pairing_from(_base(origin), gradient_covector, tangent_vector))

    def pairing(self, covector: Array, tangent_vector: Array) -> Array:
        """Sum of the points' pairings."""
        return _total(self.base.pairing(covector, tangent_vector))

    def representative(self, covector: Array) -> Array:
        return self.base.representative(covector)

    def covector_from(self, origin: LocalGeometry, covector: Array) -> Array:
        return self.base.covector_from(_base(origin), covector)

    def log(self, other: Array) -> Array:
        self.manifold.require_other(other)
        return self.base.log(other)

    def dist(self, other: Array) -> Array:
        """Root of the sum of the points' squared distances."""
        self.manifold.require_other(other)
        return _total(self.base.dist(other) ** 2) ** 0.5


class PowerCurve(RetractionCurve):
    """Curve of a power: that of each point, at the same t."""

    def __init__(self, base: RetractionCurve) -> None:
        self._base = base

    def point(self, t: Any) -> Array:
        return self._base.point(expand(t, 1))

    def velocity(self, t: Any) -> Array:
        """Velocity of each point."""
        return self._base.velocity(expand(t, 1))


def _base(geometry: LocalGeometry) -> LocalGeometry:
    assert isinstance(geometry, PowerGeometry)
    return geometry.base


def _total(numbers: Array) -> Array:
    """Sum over the m points, of the batch's shape."""
    return namespace(numbers).sum(numbers, axis=-1)
