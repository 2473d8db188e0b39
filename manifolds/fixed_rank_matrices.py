"""What all representations of the matrices of fixed rank share: the set, its dimension, and how points are checked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from manifolds.fixed_rank_points import FixedRankPoint, lost_rank, truncated_svd
from manifolds.linalg import (
    Array,
    Seed,
    as_generator,
    combination,
    identity,
    is_array,
    is_scipy_sparse,
    namespace,
    positive_qr,
    require_finite,
    require_real_floating,
    require_same_kind,
    standard_normal,
)
from manifolds.low_rank import FactoredMatrix, LowRankMatrix, Matrix, is_dense, matrix_combination
from manifolds.manifold import Manifold


class FixedRankMatrices(Manifold):
    """The m x n matrices of rank r with the metric tr(U^T V), their points and tangent vectors being tuples of factors.

    A representation names the two types of tuples and the shapes of their arrays.

    Parameters
    ----------
    m, n : int
        Shape of the matrices.
    r : int
        Rank, ``1 <= r <= min(m, n)``.
    """

    factored = True
    is_cone = True
    _point_type: ClassVar[Any]
    _tangent_type: ClassVar[Any]

    def __init__(self, m: int, n: int, r: int) -> None:
        for name, size in (("m", m), ("n", n), ("r", r)):
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, got {size!r}")
        if not 1 <= r <= min(m, n):
            raise ValueError(f"1 <= r <= min(m, n) must hold, got m={m}, n={n}, r={r}")
        self.m, self.n, self.r = int(m), int(n), int(r)
        self._point_shapes, self._tangent_shapes = self._shapes()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.m}, {self.n}, {self.r})"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n) of one matrix."""
        return self.m, self.n

    @property
    def dim(self) -> int:
        return (self.m + self.n - self.r) * self.r

    @abstractmethod
    def _shapes(self) -> tuple[Mapping[str, tuple[int, int]], Mapping[str, tuple[int, int]]]:
        """Shapes of a point's arrays, and of a tangent vector's, by their names."""

    @abstractmethod
    def _point_of_svd(self, svd: FixedRankPoint) -> Any:
        """Point from the singular value decomposition of its matrix."""

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Any:
        """Random point with uniformly distributed singular vectors and singular values 1 + abs(z), z normal."""
        generator, like = as_generator(rng), np.empty(0) if like is None else like
        u, v = (standard_normal(generator, (*batch, size, self.r), like) for size in (self.m, self.n))
        z = standard_normal(generator, (*batch, self.r), like)
        values = 1 + namespace(z).abs(z)
        return self._point_of_svd(
            FixedRankPoint(positive_qr(u)[0], values[..., None, :] * identity(self.r, z), positive_qr(v)[0])
        )

    def standard_normal(self, rng: Seed, like: Any) -> LowRankMatrix:
        """Ambient vector with entries of mean zero and variance one: standard normal factors of 2 r columns."""
        generator, k = as_generator(rng), 2 * self.r
        left, right = (
            standard_normal(generator, (*factor.shape[:-1], k), factor) for factor in (like[0], like[-1])
        )  # fmt: skip
        return LowRankMatrix(left / k**0.5, right)

    def nearest_point(self, point: Matrix) -> Any:
        """Best approximation of rank r, by a truncated SVD: of an array, of factors, or of a scipy sparse matrix.

        Raises
        ------
        ValueError
            If the matrix has another shape, is not finite, or has a rank below r.
        TypeError
            If it is none of these.
        """
        if is_dense(point):
            require_real_floating(point, "point")
            require_finite(point, "point")
        elif not isinstance(point, FactoredMatrix) and not is_scipy_sparse(point):
            raise TypeError(
                f"point must be an array, a LowRankMatrix or a scipy sparse matrix, got {type(point).__name__}"
            )
        if tuple(point.shape[-2:]) != (self.m, self.n):
            raise ValueError(
                f"point has shape {tuple(point.shape)}, but {self} needs ({self.m}, {self.n}), after batch dimensions"
            )
        nearest = truncated_svd(point, self.r)
        if lost_rank(namespace(nearest.S).linalg.diagonal(nearest.S), self.r):
            raise ValueError(f"the matrix has a rank below {self.r}; use a smaller rank")
        return self._point_of_svd(nearest)

    def linear_combination(self, a: Any, u: Matrix, b: Any, v: Matrix) -> Matrix:
        """Vector a u + b v: a tangent vector where both are tangent at one point, else a matrix as factors or array."""
        if self.are_together(u, v):
            parts = (combination(a, p, b, q) for p, q in zip(u[1:], v[1:], strict=True))
            return self._tangent_type(u.point, *parts)
        return matrix_combination(a, u, b, v)

    def are_together(self, u: Matrix, v: Matrix) -> bool:
        """Whether both are tangent vectors at one point in the same factors."""
        return isinstance(u, self._tangent_type) and isinstance(v, self._tangent_type) and v.is_at(u.point)

    def zero_vector(self, point: Any) -> Any:
        point = self._require_point(point)
        xp, first = namespace(point[0]), point[0]
        zeros = (
            xp.zeros((*first.shape[:-2], *shape), dtype=first.dtype, device=first.device)
            for shape in self._tangent_shapes.values()
        )
        return self._tangent_type(point, *zeros)

    def _checked_point(self, point: Any) -> tuple[Any, str | None]:
        """The point in its type, and None if its arrays are finite and of their shapes, else what is wrong."""
        try:
            point = self._require_point(point)
            for name, array in point._asdict().items():
                require_finite(array, f"point.{name}")
        except (TypeError, ValueError) as error:
            return point, str(error)
        return point, None

    @staticmethod
    def _extreme_singular_values(S: Array) -> tuple[float, float]:
        """Largest and smallest singular values of the core of a point; in a batch, the least of each."""
        values = namespace(S).linalg.svdvals(S)
        largest, smallest = (float(namespace(values).min(values[..., k])) for k in (0, -1))
        return largest, smallest

    def _require_point(self, point: Any) -> Any:
        """The point in its type, or an error that says which factor has what wrong with it."""
        kind, shapes = self._point_type, self._point_shapes
        if type(point) is kind and _are_numpy(point, shapes):
            return point  # what is mostly asked about, and at every point of a run
        if not isinstance(point, tuple) or len(point) != len(shapes):
            raise TypeError(
                f"a point of {self} is a {kind.__name__}({', '.join(shapes)}), got {type(point).__name__}; "
                "nearest_point makes one of a matrix"
            )
        point = point if type(point) is kind else kind(*point)
        self._require_arrays(point._asdict(), shapes, "point")
        return point

    def _require_tangent(self, point: Any, vector: Any) -> Any:
        shapes = self._tangent_shapes
        if not isinstance(vector, self._tangent_type):
            raise TypeError(
                f"a tangent vector of {self} is a {self._tangent_type.__name__}(point, {', '.join(shapes)}), got "
                f"{type(vector).__name__}; projection makes one of a matrix"
            )
        parts, first, name = {name: getattr(vector, name) for name in shapes}, point[0], next(iter(self._point_shapes))
        self._require_arrays(parts, shapes, "vector")
        part_name, part = next(iter(parts.items()))
        require_same_kind(part, first, f"vector.{part_name}", f"point.{name}")
        for part_name, array in parts.items():
            require_finite(array, f"vector.{part_name}")
        if part.shape[:-2] != first.shape[:-2]:
            shape = (*part.shape[:-2], *self.shape)
            raise ValueError(f"the vector has shape {tuple(shape)}, the point {point.shape}")
        if not vector.is_at(point):
            factors = ", ".join(self._point_shapes)
            raise ValueError(
                f"the vector is tangent at another point, or in other factors {factors} of it; transport it"
            )
        return vector

    def _require_arrays(self, parts: dict[str, Any], shapes: Mapping[str, tuple[int, int]], owner: str) -> None:
        """Raise an error unless the parts are arrays of one kind with these shapes after the same batch dimensions."""
        first_name, first = next(iter(parts.items()))
        for name, part in parts.items():
            if not is_array(part):
                raise TypeError(f"{owner}.{name} must be a numpy array or a torch tensor, got {type(part).__name__}")
            if tuple(part.shape[-2:]) != shapes[name] or part.shape[:-2] != first.shape[:-2]:
                raise ValueError(
                    f"{owner}.{name} has shape {tuple(part.shape)}, but {self} needs {shapes[name]}, after any batch "
                    f"dimensions, the same for all factors"
                )
            require_real_floating(part, f"{owner}.{name}")
            require_same_kind(part, first, f"{owner}.{name}", f"{owner}.{first_name}")


def _are_numpy(arrays: tuple[Any, ...], shapes: Mapping[str, tuple[int, int]]) -> bool:
    """Whether all are numpy arrays of these shapes and of one floating dtype, without a batch."""
    dtype = getattr(arrays[0], "dtype", None)
    for array, shape in zip(arrays, shapes.values(), strict=True):
        if not (type(array) is np.ndarray and array.shape == shape and array.dtype is dtype):
            return False
    return dtype.kind == "f"  # type: ignore[union-attr]
