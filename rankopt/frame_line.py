"""Lines of frames that are brought back to X^T B X = I, as p x p algebra: what curves of quadratic costs are made of.

Once the products B X and B V are known, everything along Y(t) = X + t V is a polynomial in t with p x p coefficients,
and so are the cost and its slope, after the normalizer T(t) of the Gram matrix Y^T B Y is put around it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from manifolds.linalg import Array, inner_product, namespace, symmetric_part


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
        self.gram = MatrixPolynomial(x.mT @ bx, 2 * symmetric_part(v.mT @ bx), symmetric_part(v.mT @ bv))

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


def bilinear_value(left: FrameLine, middle: MatrixPolynomial, right: FrameLine, weights: Any, t: float) -> float:
    """tr(T_left^T K T_right N) at t, for a polynomial K(t) and N = diag(weights)."""
    normalizer = left.normalizer(t)
    other = normalizer if right is left else right.normalizer(t)
    return float(inner_product(normalizer, (middle.at(t) @ other) * weights))


def bilinear_slope(left: FrameLine, middle: MatrixPolynomial, right: FrameLine, weights: Any, t: float) -> float:
    """Derivative of ``bilinear_value`` at t."""
    normalizer, change = left.normalizer_and_derivative(t)
    other, other_change = (normalizer, change) if right is left else right.normalizer_and_derivative(t)
    k = middle.at(t)
    return float(
        inner_product(change, (k @ other) * weights)
        + inner_product(normalizer, (middle.derivative(t) @ other + k @ other_change) * weights)
    )
