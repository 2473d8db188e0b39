"""Curves of orthonormal frames {X : X^T B X = I}: a line that is brought back, and the Cayley transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manifolds.linalg import (
    Array,
    combination,
    expand,
    identity,
    namespace,
    skew_part,
    symmetric_part,
)
from manifolds.manifold import RetractionCurve
from manifolds.matrix_functions import newton_schulz_step

if TYPE_CHECKING:
    from manifolds.orthonormal_frames import FrameGeometry
    from manifolds.retractions import Orthonormalization


class FrameCurve(RetractionCurve):
    """The curve t -> Y(t) T(t) with Y = X + t V and the normalizer T of G = Y^T B Y."""

    def __init__(self, geometry: FrameGeometry, tangent_vector: Array, retraction: Orthonormalization) -> None:
        self._x, self._v = geometry.point, tangent_vector
        self._product = geometry.manifold._product
        self._retraction = retraction
        self._bx = geometry.gram_point
        self._bv = tangent_vector if self._product is None else self._product(tangent_vector)
        # X, B Y and T of the latest point: a line search asks for a point and then for the velocity there. Arrays of
        # several t are not recognized again, since they may have been written to.
        self._latest: tuple[float | None, Array, Array, Array | None] = (None, tangent_vector, tangent_vector, None)

    def point(self, t: Any) -> Array:
        y, by = self._line(t)
        x, normalizer = self._retraction.orthonormalize_with_normalizer(y, by, self._product)
        self._latest = t if isinstance(t, float) else None, x, by, normalizer
        return x

    def velocity(self, t: Any) -> Array:
        """V T + Y T' = W - X K with W = V T and the K of T' = -T K."""
        latest, x, by, normalizer = self._latest
        if latest is None or latest is not t or normalizer is None:
            y, by = self._line(t)
            normalizer = self._retraction.normalizer(y.mT @ by)
            x = y @ normalizer
        w = self._v @ normalizer
        # (B X)^T W, where B X = B Y T is X itself or would be one more tall product.
        half = x.mT @ w if self._product is None else normalizer.mT @ (by.mT @ w)
        return w - x @ self._retraction.normalizer_rate(normalizer, half + half.mT)

    def _line(self, t: Any) -> tuple[Array, Array]:
        y = combination(1.0, self._x, t, self._v)
        return y, (y if self._product is None else combination(1.0, self._bx, t, self._bv))


class CayleyCurve(RetractionCurve):
    """The curve t -> (2 X + t K) N(t) - X with N = (I - t A / 2 + t^2 S / 4)^{-1}.

    A = X^T B V is skew-symmetric, K = V - X A the part of V outside the span of X, and S = K^T B K.
    """

    def __init__(self, geometry: FrameGeometry, tangent_vector: Array) -> None:
        self._x, self._bx = geometry.point, geometry.gram_point
        self._a = skew_part(self._bx.mT @ tangent_vector)
        self._k = tangent_vector - self._x @ self._a
        self._bk = geometry.manifold.gram_product(self._k)
        self._s = symmetric_part(self._k.mT @ self._bk)

    def point(self, t: Any) -> Array:
        """(2 X + t K) N - X, with a step that keeps rounding from adding up over many retractions."""
        inverse = self._inverse(t)
        y = self._line(t) @ inverse - self._x
        # Where B is the identity, products are the arrays themselves, and B Y is Y.
        by = None if self._bk is self._k else (2 * self._bx + expand(t, 2) * self._bk) @ inverse - self._bx
        return newton_schulz_step(y, by)

    def velocity(self, t: Any) -> Array:
        """K N + (2 X + t K) N' with N' = N (A / 2 - t S / 2) N."""
        inverse = self._inverse(t)
        derivative = inverse @ (0.5 * (self._a - expand(t, 2) * self._s)) @ inverse
        return self._k @ inverse + self._line(t) @ derivative

    def _line(self, t: Any) -> Array:
        return 2 * self._x + expand(t, 2) * self._k

    def _inverse(self, t: Any) -> Array:
        half = 0.5 * expand(t, 2)
        # Its symmetric part is at least the identity, so it is well-posed for every t.
        return namespace(self._x).linalg.inv(identity(self._a.shape[-1], self._a) - half * self._a + half**2 * self._s)
