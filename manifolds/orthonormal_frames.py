"""Frames of orthonormal columns, {X : X^T B X = I}: what Stiefel, Grassmann and generalized Stiefel manifolds share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from manifolds.linalg import Array, Seed, expand, identity, norm, require_finite, standard_normal, symmetric_part
from manifolds.manifold import ArrayManifold, LocalGeometry, RetractionCurve
from manifolds.retractions import CholeskyQR, Polar, Retraction


class OrthonormalFrames(ArrayManifold):
    """Base of the manifolds of n x p matrices with X^T B X = I.

    Parameters
    ----------
    n, p : int
        Rows and columns, ``1 <= p <= n``.
    retraction : Retraction
        How a step is brought back to the manifold.
    """

    _point_equation = "X^T X = I"
    _tangent_equation = "sym(X^T V) = 0"

    def __init__(self, n: int, p: int, retraction: Retraction | None = None) -> None:
        super().__init__((n, p))
        if p > n:
            raise ValueError(f"p must be at most n, since {p} columns of length {n} cannot be orthonormal")
        if retraction is not None and not isinstance(retraction, Retraction):
            raise TypeError(
                f"retraction must be a value such as CholeskyQR(), QR() or Polar() of manifolds, got {retraction!r}"
            )
        self.n, self.p = self.shape
        self.default_retraction = CholeskyQR() if retraction is None else retraction

    @property
    def dim(self) -> int:
        return self.n * self.p - self.p * (self.p + 1) // 2

    @property
    def typical_dist(self) -> float:
        return float(self.p) ** 0.5

    def gram_product(self, v: Array) -> Array:
        """Product B v; v itself where B is the identity."""
        return v

    @property
    def _product(self) -> Any:
        """Product for a retraction: None where B is the identity, so that nothing is computed twice."""
        return None if type(self).gram_product is OrthonormalFrames.gram_product else self.gram_product

    @abstractmethod
    def at(self, point: Array) -> FrameGeometry:
        """Local geometry at a frame."""

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        draw = standard_normal(rng, (*batch, self.n, self.p), self.own_array() if like is None else like)
        self.require_shape(draw, "like")
        return self.default_retraction.orthonormalize(draw, product=self._product)

    def nearest_point(self, point: Array) -> Array:
        self.require_shape(point, "point")
        require_finite(point, "point")
        return Polar().orthonormalize(point, product=self._product)

    def _point_residual(self, point: Array) -> Array:
        return point.mT @ self.gram_product(point) - identity(self.p, point)

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        gram_point = self.gram_product(point)
        # X is in the units of B^{-1/2} and B X in those of B^{1/2}; their columns have size 1 where B = I.
        point_size, gram_size = norm(point) / self.p**0.5, norm(gram_point) / self.p**0.5
        scale = gram_size * (point_size + norm(vector))
        return self._tangent_constraint(gram_point.mT @ vector) / expand(scale, 2)

    def _tangent_constraint(self, overlap: Array) -> Array:
        """What vanishes of X^T B V on the tangent space."""
        return symmetric_part(overlap)


class FrameGeometry(LocalGeometry):
    """Geometry at a frame X, with the product B X."""

    manifold: OrthonormalFrames

    @property
    def gram_point(self) -> Array:
        """Product B X."""
        return self.point

    def retraction_curve(self, tangent_vector: Array) -> FrameCurve:
        return FrameCurve(self, tangent_vector, self.manifold.default_retraction)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """Polar factor of X + V."""
        return FrameCurve(self, tangent_vector, Polar()).point(1.0)


class FrameCurve(RetractionCurve):
    """The curve t -> Y(t) T(t) with Y = X + t V and the normalizer T of G = Y^T B Y."""

    def __init__(self, geometry: FrameGeometry, tangent_vector: Array, retraction: Retraction) -> None:
        self._x, self._v = geometry.point, tangent_vector
        self._product = geometry.manifold._product
        self._retraction = retraction
        self._bx = geometry.gram_point
        self._bv = tangent_vector if self._product is None else self._product(tangent_vector)
        # Y, B Y and T of the latest point: a line search asks for a point and then for the velocity there. Arrays of
        # several t are not recognized again, since they may have been written to.
        self._latest: tuple[float | None, Array, Array, Array | None] = (None, tangent_vector, tangent_vector, None)

    def point(self, t: Any) -> Array:
        y, by = self._line(t)
        x, normalizer = self._retraction.orthonormalize_with_normalizer(y, by, self._product)
        self._latest = t if isinstance(t, float) else None, y, by, normalizer
        return x

    def velocity(self, t: Any) -> Array:
        """V T + Y T'."""
        latest, y, by, normalizer = self._latest
        if latest is None or latest is not t:
            (y, by), normalizer = self._line(t), None
        if normalizer is None:
            normalizer = self._retraction.normalizer(y.mT @ by)
        half = self._v.mT @ by
        return self._v @ normalizer + y @ self._retraction.normalizer_derivative(normalizer, half + half.mT)

    def _line(self, t: Any) -> tuple[Array, Array]:
        t = expand(t, 2)
        y = self._x + t * self._v
        return y, (y if self._product is None else self._bx + t * self._bv)
