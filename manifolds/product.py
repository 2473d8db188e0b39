"""Products of manifolds, whose points are named tuples."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from manifolds.linalg import Array, Seed, as_generator, namespace
from manifolds.manifold import LocalGeometry, Manifold, Point, RetractionCurve


@cache
def _point_type(names: tuple[str, ...]) -> Any:
    """Named-tuple type of the points with these fields; equal fields share one type, which pickles by its fields."""
    base: Any = namedtuple("ProductPoint", names)  # type: ignore[misc]
    return type(
        "ProductPoint", (base,), {"__slots__": (), "__reduce__": lambda self: (_make_point, (names, tuple(self)))}
    )


def _make_point(names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return _point_type(names)._make(values)


class Product(Manifold):
    """Product of manifolds, with the sum of their metrics.

    Points and tangent vectors are named tuples with one entry per factor; everything is block-wise.

    Parameters
    ----------
    *factors : Manifold
        Factors without a name; the fields are then ``factor_0, factor_1, ...``.
    **named_factors : Manifold
        Factors whose keywords name the fields. Give either kind, not both.

    Examples
    --------
    >>> from manifolds import Sphere, Stiefel
    >>> product = Product(direction=Sphere(3), frame=Stiefel(4, 2))
    >>> point = product.random_point(rng=0)
    >>> product.dim, point.direction.shape, point.frame.shape
    (7, (3,), (4, 2))
    """

    def __init__(self, *factors: Manifold, **named_factors: Manifold) -> None:
        if bool(factors) == bool(named_factors):
            raise ValueError("give the factors either by position or by name, and at least one of them")
        self.factors = dict(named_factors) or {f"factor_{i}": factor for i, factor in enumerate(factors)}
        for name, factor in self.factors.items():
            if not isinstance(factor, Manifold):
                raise TypeError(f"factor {name!r} must be a Manifold, got {type(factor).__name__}")
        self.point_type = _point_type(tuple(self.factors))

    @property
    def factored(self) -> bool:  # type: ignore[override]
        """Whether any factor is."""
        return any(factor.factored for factor in self.factors.values())

    @property
    def is_cone(self) -> bool:  # type: ignore[override]
        """Whether a factor is one."""
        return any(factor.is_cone for factor in self.factors.values())

    def __repr__(self) -> str:
        return f"Product({', '.join(f'{name}={factor}' for name, factor in self.factors.items())})"

    def __reduce__(self) -> Any:
        return _rebuild_product, (self.factors,)

    @property
    def dim(self) -> int:
        return sum(factor.dim for factor in self.factors.values())

    @property
    def typical_dist(self) -> float:
        return sum(factor.typical_dist**2 for factor in self.factors.values()) ** 0.5

    def first_step_length(self, point: Point) -> Any:
        """The least of the lengths of the factors, since a step may move a single one."""
        lengths = self._each(lambda factor, x: factor.first_step_length(x), point)
        least = min(filter(_is_number, lengths), default=float("inf"))
        for array in lengths:
            if not _is_number(array):
                least = namespace(array).where(array < least, array, least)
        return least

    @property
    def has_hessian(self) -> bool:
        return all(factor.has_hessian for factor in self.factors.values())

    def at(self, point: Point) -> ProductGeometry:
        return ProductGeometry(self, self._each(lambda factor, x: factor.at(x), point))

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Point:
        generator = as_generator(rng)
        return self._each(lambda factor: factor.random_point(generator, like, batch=batch))

    def standard_normal(self, rng: Seed, like: Point) -> Point:
        generator = as_generator(rng)
        return self._each(lambda factor, x: factor.standard_normal(generator, x), like)

    def check_point(self, point: Point) -> str | None:
        return self._check(lambda factor, x: factor.check_point(x), point)

    def check_tangent(self, point: Point, vector: Point) -> str | None:
        return self._check(lambda factor, x, v: factor.check_tangent(x, v), point, vector)

    def nearest_point(self, point: Point) -> Point:
        return self._each(lambda factor, x: factor.nearest_point(x), point)

    def linear_combination(self, a: Any, u: Point, b: Any, v: Point) -> Point:
        return self._each(lambda factor, u, v: factor.linear_combination(a, u, b, v), u, v)

    def euclidean_inner_product(self, u: Point, v: Point) -> Array:
        return sum(self._each(lambda factor, u, v: factor.euclidean_inner_product(u, v), u, v))

    def zero_vector(self, point: Point) -> Point:
        return self._each(lambda factor, x: factor.zero_vector(x), point)

    def _each(self, function: Callable[..., Any], *points: Point) -> Any:
        """Named tuple of ``function(factor, *entries)`` over the factors."""
        for point in points:
            if not isinstance(point, tuple) or len(point) != len(self.factors):
                raise TypeError(
                    f"a point of {self} is a tuple of {len(self.factors)} entries ({', '.join(self.factors)}), "
                    f"got {type(point).__name__}; build it with point_type(...)"
                )
        return self.point_type._make(map(function, self.factors.values(), *points))

    def _check(self, function: Callable[..., str | None], *points: Point) -> str | None:
        try:
            problems = self._each(function, *points)
        except TypeError as error:
            return str(error)
        return next((f"{name}: {problem}" for name, problem in problems._asdict().items() if problem), None)


def _is_number(length: Any) -> bool:
    """Whether a length is one for all of a batch."""
    return isinstance(length, float)


def _rebuild_product(factors: dict[str, Manifold]) -> Product:
    return Product(**factors)


class ProductGeometry(LocalGeometry):
    """Local geometry of a product: that of each factor."""

    manifold: Product

    def __init__(self, manifold: Product, geometries: Any) -> None:
        super().__init__(manifold, manifold.point_type._make(geometry.point for geometry in geometries))
        self.geometries = geometries

    def inner_product(self, u: Point, v: Point) -> Array:
        """Sum of the factors' inner products."""
        return sum(self._each(lambda geometry, u, v: geometry.inner_product(u, v), u, v))

    def projection(self, vector: Point) -> Point:
        return self._each(lambda geometry, v: geometry.projection(v), vector)

    def riemannian_gradient(self, euclidean_gradient: Point) -> Point:
        return self._each(lambda geometry, e: geometry.riemannian_gradient(e), euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Point, euclidean_hessian: Point, tangent_vector: Point) -> Point:
        return self._each(
            lambda geometry, e, h, v: geometry.riemannian_hessian(e, h, v),
            euclidean_gradient,
            euclidean_hessian,
            tangent_vector,
        )

    def derivative(self, euclidean_gradient: Point, tangent_vector: Point) -> Array:
        """Sum of the factors' directional derivatives."""
        return sum(self._each(lambda geometry, e, v: geometry.derivative(e, v), euclidean_gradient, tangent_vector))

    def retraction_curve(self, tangent_vector: Point) -> ProductCurve:
        curves = self._each(lambda geometry, v: geometry.retraction_curve(v), tangent_vector)
        return ProductCurve(curves)

    def second_order_retraction(self, tangent_vector: Point) -> Point:
        return self._each(lambda geometry, v: geometry.second_order_retraction(v), tangent_vector)

    def transport_from(self, origin: LocalGeometry, tangent_vector: Point) -> Point:
        assert isinstance(origin, ProductGeometry)
        return self._each(lambda here, there, v: here.transport_from(there, v), origin.geometries, tangent_vector)

    def geodesic(self, tangent_vector: Point) -> ProductCurve:
        return ProductCurve(self._each(lambda geometry, v: geometry.geodesic(v), tangent_vector))

    def geodesic_acceleration(self, tangent_vector: Point) -> Point:
        return self._each(lambda geometry, v: geometry.geodesic_acceleration(v), tangent_vector)

    def covector(self, tangent_vector: Point) -> Point:
        return self._each(lambda geometry, v: geometry.covector(v), tangent_vector)

    def gradient_covector(self, euclidean_gradient: Point, gradient: Point = None) -> Point:
        if gradient is None:
            return self._each(lambda geometry, e: geometry.gradient_covector(e), euclidean_gradient)
        return self._each(lambda geometry, e, g: geometry.gradient_covector(e, g), euclidean_gradient, gradient)

    def hessian_covector(self, euclidean_gradient: Point, euclidean_hessian: Point, tangent_vector: Point) -> Point:
        return self.hessian_form(euclidean_gradient)(euclidean_hessian, tangent_vector)

    def hessian_form(self, euclidean_gradient: Point) -> Callable[[Point, Point], Point]:
        forms = self._each(lambda geometry, e: geometry.hessian_form(e), euclidean_gradient)
        return lambda euclidean_hessian, v: self.manifold.point_type._make(
            form(h, v_factor) for form, h, v_factor in zip(forms, euclidean_hessian, v, strict=True)
        )

    def gradient_pairing_from(self, origin: LocalGeometry, gradient_covector: Point, tangent_vector: Point) -> Array:
        """Sum of the factors' pairings."""
        assert isinstance(origin, ProductGeometry)
        return sum(
            self._each(
                lambda here, there, c, v: here.gradient_pairing_from(there, c, v),
                origin.geometries,
                gradient_covector,
                tangent_vector,
            )
        )

    def pairing(self, covector: Point, tangent_vector: Point) -> Array:
        """Sum of the factors' pairings."""
        return sum(self._each(lambda geometry, c, v: geometry.pairing(c, v), covector, tangent_vector))

    def representative(self, covector: Point) -> Point:
        return self._each(lambda geometry, c: geometry.representative(c), covector)

    def covector_from(self, origin: LocalGeometry, covector: Point) -> Point:
        assert isinstance(origin, ProductGeometry)
        return self._each(lambda here, there, c: here.covector_from(there, c), origin.geometries, covector)

    def exp(self, tangent_vector: Point) -> Point:
        return self._each(lambda geometry, v: geometry.exp(v), tangent_vector)

    def log(self, other: Point) -> Point:
        return self._each(lambda geometry, y: geometry.log(y), other)

    def dist(self, other: Point) -> Array:
        """Root of the sum of the factors' squared distances."""
        return sum(self._each(lambda geometry, y: geometry.dist(y) ** 2, other)) ** 0.5

    def _each(self, function: Callable[..., Any], *points: Point) -> Any:
        return self.manifold.point_type._make(map(function, self.geometries, *points))


class ProductCurve(RetractionCurve):
    """Curve of a product: that of each factor, at the same t."""

    def __init__(self, curves: Any) -> None:
        self._curves = curves

    def point(self, t: Any) -> Point:
        return self._curves._make(curve.point(t) for curve in self._curves)

    def velocity(self, t: Any) -> Point:
        return self._curves._make(curve.velocity(t) for curve in self._curves)
