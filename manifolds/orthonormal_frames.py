"""Frames of orthonormal columns, {X : X^T B X = I}: what Stiefel, Grassmann and generalized Stiefel manifolds share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from manifolds.array_manifold import ArrayManifold
from manifolds.linalg import Array, Seed, expand, identity, norm, require_finite, standard_normal, symmetric_part
from manifolds.manifold import LocalGeometry, RetractionCurve
from manifolds.retractions import CholeskyQR, Orthonormalization, Polar, Retraction, require_retraction


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
    _refused_retractions: tuple[type[Retraction], ...] = ()

    def __init__(self, n: int, p: int, retraction: Retraction | None = None) -> None:
        super().__init__((n, p))
        if p > n:
            raise ValueError(f"p must be at most n, since {p} columns of length {n} cannot be orthonormal")
        require_retraction(
            retraction,
            type(self).__name__,
            self._refused_retractions,
            "it has no closed-form exponential: use CholeskyQR(), QR(), Polar() or Cayley()",
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
        retraction = self.default_retraction
        orthonormalization = retraction if isinstance(retraction, Orthonormalization) else CholeskyQR()
        return orthonormalization.orthonormalize(draw, product=self._product)

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

    def gradient_pairing_from(self, origin: LocalGeometry, gradient_covector: Array, tangent_vector: Array) -> Array:
        """Without the transport: an orthogonal projection takes off only what the gradient's covector does not see.

        A geometry with a transport of its own takes back that of LocalGeometry.
        """
        return self.pairing(gradient_covector, tangent_vector)

    def retraction_curve(self, tangent_vector: Array) -> RetractionCurve:
        return self.manifold.default_retraction.curve(self, tangent_vector)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """Polar factor of X + V."""
        return Polar().curve(self, tangent_vector).point(1.0)
