"""Curves of which a library gives nothing but points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from manifolds.lazy import lazy_property
from manifolds.linalg import machine_epsilon
from manifolds.manifold import LocalGeometry, Point, RetractionCurve


def acceleration(geometry: LocalGeometry, tangent_vector: Point, exp: Callable[[Point], Point]) -> Point:
    """Tangential part of the second derivative of t -> Exp_x(t v) at zero, by a difference good to half the digits."""
    combine, x = geometry.manifold.linear_combination, geometry.point
    h = machine_epsilon(x) ** 0.25 / (geometry.norm(tangent_vector) + float(np.finfo(np.float32).tiny))
    ends = combine(1.0, exp(combine(h, tangent_vector, 0.0, x)), 1.0, exp(combine(-h, tangent_vector, 0.0, x)))
    return geometry.projection(combine(h**-2, combine(1.0, ends, -2.0, x), 0.0, x))


class LibraryCurve(RetractionCurve):
    """The curve t -> R_x(t v) of a retraction or exponential map of which only points are known.

    The velocity is a central difference of points, accurate to machine_epsilon^(2/3) of its size.

    Parameters
    ----------
    geometry : LocalGeometry
        At the point x.
    tangent_vector : tangent vector
    step : callable
        ``v -> R_x(v)``.
    difference : callable, optional
        ``(here, before, after) -> tangent vector`` at a point of the curve, from two points near it; the difference of
        their arrays when left out.
    """

    def __init__(
        self,
        geometry: LocalGeometry,
        tangent_vector: Point,
        step: Callable[[Point], Point],
        difference: Callable[[Point, Point, Point], Point] | None = None,
    ) -> None:
        self._geometry, self._tangent_vector, self._step = geometry, tangent_vector, step
        self._difference = self._plain_difference if difference is None else difference
        self._combine = geometry.manifold.linear_combination

    def point(self, t: Any) -> Point:
        return self._step(self._combine(t, self._tangent_vector, 0.0, self._tangent_vector))

    def velocity(self, t: Any) -> Point:
        h = self._spacing
        difference = self._difference(self.point(t), self.point(t - h), self.point(t + h))
        return self._combine(0.5 / h, difference, 0.0, difference)

    def _plain_difference(self, here: Point, before: Point, after: Point) -> Point:
        return self._combine(1.0, after, -1.0, before)

    @lazy_property
    def _spacing(self) -> Any:
        """The cube root of the machine epsilon, in units that move the arrays by their size or by the typical distance.

        The former keeps rounding small in flat spaces, the latter truncation where the metric grows towards a boundary.
        """
        manifold, x, v = self._geometry.manifold, self._geometry.point, self._tangent_vector
        size = manifold.euclidean_inner_product(x, x) ** 0.5 + 1e-3 * manifold.typical_dist
        relative = manifold.euclidean_inner_product(v, v) ** 0.5 / size
        relative = relative + self._geometry.norm(v) / manifold.typical_dist
        smallest = float(np.finfo(np.float32).tiny)  # a zero vector stays where it is with steps of every length
        return machine_epsilon(x) ** (1 / 3) / (relative + smallest)
