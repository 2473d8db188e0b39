"""Lines of frames that are brought back to X^T B X = I, as p x p algebra: what curves of quadratic costs are made of.

Once the products B X and B V are known, everything along Y(t) = X + t V is a polynomial in t with p x p coefficients,
and so are the cost and its slope, after the normalizer T(t) of the Gram matrix Y^T B Y is put around it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

from manifolds.linalg import Array, inner_product, namespace
from manifolds.retractions import RankDeficientError
from rankopt.state import Curve


class MatrixPolynomial(NamedTuple):
    """Polynomial C_0 + t C_1 + t^2 C_2 of small matrices."""

    constant: Array
    linear: Array
    quadratic: Array

    def at(self, t: float) -> Array:
        """Value at t."""
        return self.constant + t * (self.linear + t * self.quadratic)

    def derivative(self, t: float) -> Array:
        """Derivative at t."""
        return self.linear + 2 * t * self.quadratic


class FrameLine:
    """The line Y(t) = X + t V with the normalizer T(t) of its Gram matrix, so that Y T is a frame.

    Parameters
    ----------
    x, v, bx, bv : array of shape (n, p)
        Point, direction, and their products with B.
    retraction : Retraction
        One with normalizers: CholeskyQR(), QR() or Polar().
    """

    def __init__(self, x: Array, v: Array, bx: Array, bv: Array, retraction: Any) -> None:
        self._retraction = retraction
        # The constant is the identity up to the rounding of earlier steps, which taking it as it is corrects.
        half = v.mT @ bx
        self.gram = MatrixPolynomial(x.mT @ bx, half + half.mT, v.mT @ bv)

    def normalizer(self, t: float) -> Array:
        """T at t; RankDeficientError where the Gram matrix is numerically singular."""
        return self._retraction.normalizer(self.gram.at(t))

    def normalizer_and_derivative(self, t: float) -> tuple[Array, Array]:
        """T at t and its derivative."""
        return self._retraction.normalizer_and_derivative(self.gram.at(t), self.gram.derivative(t))

    def condition(self, t: float, normalizer: Array) -> float:
        """Estimate tr(G^{-1}) tr(G) / p of the condition of the Gram matrix at t, from its normalizer."""
        gram = self.gram.at(t)
        return float(inner_product(normalizer, normalizer) * namespace(gram).linalg.trace(gram)) / gram.shape[-1]


class FrameLineCurve(Curve):
    """Curve whose cost and slope are p x p algebra, formed together and kept for the latest t."""

    def __init__(self) -> None:
        self._latest = (float("nan"), float("inf"), float("nan"))

    def value(self, t: float) -> float:
        return self._at(t)[1]

    def slope(self, t: float) -> float:
        return self._at(t)[2]

    def _at(self, t: float) -> tuple[float, float, float]:
        if self._latest[0] != t:
            try:
                self._latest = (t, *self.value_and_slope(t))
            except RankDeficientError:
                self._latest = (t, float("inf"), float("nan"))
        return self._latest

    @abstractmethod
    def value_and_slope(self, t: float) -> tuple[float, float]:
        """Cost and derivative at t; RankDeficientError where the curve is not defined."""


def quadratic_value_and_slope(
    pair: tuple[Array, Array], k: Array, k_derivative: Array, weights: Any
) -> tuple[float, float]:
    """Value and derivative of tr(T^T K T N), N = diag(weights), for symmetric K."""
    t, t_derivative = pair
    ktn = (k @ t) * weights
    value = float(inner_product(t, ktn))
    return value, float(2 * inner_product(t_derivative, ktn) + inner_product(t, (k_derivative @ t) * weights))


def bilinear_value_and_slope(
    left: tuple[Array, Array], k: Array, k_derivative: Array, right: tuple[Array, Array], weights: Any
) -> tuple[float, float]:
    """Value and derivative of tr(T_left^T K T_right N), N = diag(weights), from those of normalizers and K."""
    (a, a_derivative), (b, b_derivative) = left, right
    kbn = (k @ b) * weights
    change = (k_derivative @ b + k @ b_derivative) * weights
    return float(inner_product(a, kbn)), float(inner_product(a_derivative, kbn) + inner_product(a, change))
