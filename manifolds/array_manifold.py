"""Manifolds whose points are single arrays: shapes, linear structure and checks, which they all share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from manifolds.linalg import (
    Array,
    Seed,
    combination,
    inner_product,
    is_array,
    kind,
    largest_absolute,
    machine_epsilon,
    namespace,
    require_finite,
    require_real_floating,
    standard_normal,
)
from manifolds.manifold import Manifold, Point


class ArrayManifold(Manifold):
    """A manifold whose points are single arrays of a fixed shape, with any leading batch dimensions.

    Parameters
    ----------
    shape : tuple of int
        Shape of one point.

    Attributes
    ----------
    shape : tuple of int
    ndim : int
        Number of axes of one point.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        for size in shape:
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
                raise TypeError(f"the dimensions of a manifold must be integers, got {size!r}")
            if size < 1:
                raise ValueError(f"the dimensions of a manifold must be positive, got {tuple(shape)}")
        self.shape = tuple(int(size) for size in shape)
        self.ndim = len(self.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.shape))})"

    def require_shape(self, array: Array, name: str) -> None:
        """Raise an error unless the array has a real floating dtype and the shape of a point or a batch of points."""
        if type(array) is np.ndarray and array.shape == self.shape and array.dtype.kind == "f":
            return
        if not is_array(array):
            raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(array).__name__}")
        if tuple(array.shape[array.ndim - self.ndim :]) != self.shape or array.ndim < self.ndim:
            raise ValueError(
                f"{name} has shape {tuple(array.shape)}, but {self} needs {self.shape}, after any batch dimensions"
            )
        require_real_floating(array, name)

    def require_other(self, other: Array) -> None:
        """Raise an error unless the point that a logarithm or a distance leads to has the right shape and is finite."""
        self.require_shape(other, "other")
        require_finite(other, "other")

    def own_array(self) -> Array:
        """Array whose kind random points take when nothing else is said."""
        return np.empty(0)

    def standard_normal(self, rng: Seed, like: Point) -> Point:
        return standard_normal(rng, like.shape, like)

    def linear_combination(self, a: Any, u: Point, b: Any, v: Point) -> Point:
        return combination(a, u, b, v, self.ndim)

    def euclidean_inner_product(self, u: Point, v: Point) -> Array:
        return inner_product(u, v, self.ndim)

    def zero_vector(self, point: Point) -> Point:
        return namespace(point).zeros_like(point)

    def check_point(self, point: Point) -> str | None:
        problem = self._check_array(point, "the point")
        return problem or self._check(
            self._point_residual(point), point, f"the point is off the manifold: {self._point_equation}"
        )

    def check_tangent(self, point: Point, vector: Point) -> str | None:
        problem = self._check_array(point, "the point") or self._check_array(vector, "the vector")
        if problem is None and point.shape != vector.shape:
            return f"the vector has shape {tuple(vector.shape)}, the point {tuple(point.shape)}"
        if problem is None and kind(point) != kind(vector):
            return f"the vector is {' '.join(kind(vector))}, the point {' '.join(kind(point))}"
        return problem or self._check(
            self._tangent_residual(point, vector), point, f"the vector is not tangent: {self._tangent_equation}"
        )

    def _check_array(self, array: Array, name: str) -> str | None:
        try:
            self.require_shape(array, name)
            require_finite(array, name)
        except (TypeError, ValueError) as error:
            return str(error)
        return None

    def _check(self, residual: Array, like: Array, sentence: str) -> str | None:
        size, tolerance = largest_absolute(residual), 10 * machine_epsilon(like) ** 0.5
        return None if size <= tolerance else f"{sentence} is off by {size:.1e} (tolerance {tolerance:.1e})"

    _point_equation = "the constraint"
    _tangent_equation = "its constraint"

    @abstractmethod
    def _point_residual(self, point: Array) -> Array:
        """What vanishes on the manifold."""

    @abstractmethod
    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        """What vanishes on the tangent space, relative to the sizes of the point and the vector."""
