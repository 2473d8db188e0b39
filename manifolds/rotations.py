"""The rotation group SO(n)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from manifolds.linalg import (
    Array,
    Seed,
    expand,
    machine_epsilon,
    namespace,
    positive_qr,
    require_finite,
    skew_part,
    standard_normal,
)
from manifolds.manifold import LocalGeometry, RetractionCurve
from manifolds.matrix_functions import expm, log_rotation, newton_schulz_step
from manifolds.orthonormal_frames import OrthonormalFrames
from manifolds.retractions import RankDeficientError, Retraction
from manifolds.stiefel import StiefelGeometry


class Rotations(OrthonormalFrames):
    """Rotation group SO(n) = {X : X^T X = I, det X = 1}, of dimension n (n - 1) / 2, with the metric tr(U^T V).

    Tangent vectors are matrices V = X A with A skew-symmetric. In this metric a rotation of R^3 by the angle theta is
    at the distance sqrt(2) theta of the identity.

    Parameters
    ----------
    n : int
        Order of the matrices.
    retraction : Retraction, default CholeskyQR()

    References
    ----------
    Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints (1998), Section 2.2.
    Boumal, An introduction to optimization on smooth manifolds (2023), Section 7.4.

    Examples
    --------
    >>> import numpy as np
    >>> rotations = Rotations(3)
    >>> half_turn = np.diag([-1.0, -1.0, 1.0])
    >>> rotations.dim, rotations.check_point(half_turn)
    (3, None)
    >>> rotations.check_point(-half_turn)
    'the point is off the manifold: det X = 1 is off by 2.0e+00 (tolerance 1.5e-07)'
    """

    _tangent_equation = "sym(X^T V) = 0"

    def __init__(self, n: int, retraction: Retraction | None = None) -> None:
        super().__init__(n, n, retraction)

    def __repr__(self) -> str:
        return f"Rotations({self.n})"

    @property
    def typical_dist(self) -> float:
        return math.pi * float(self.n) ** 0.5

    def at(self, point: Array) -> RotationsGeometry:
        self.require_shape(point, "point")
        return RotationsGeometry(self, point)

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        """Random rotation, uniform in the Haar measure."""
        like = self.own_array() if like is None else like
        draw = standard_normal(rng, (*batch, self.n, self.n), like)
        return _with_last_column_signed(positive_qr(draw)[0])

    def nearest_point(self, point: Array) -> Array:
        """Nearest rotation: the polar factor, with the direction of the smallest singular value turned if need be."""
        self.require_shape(point, "point")
        require_finite(point, "point")
        xp = namespace(point)
        u, s, vt = xp.linalg.svd(point)
        # The nearest rotation of a matrix of rank n - 1 is unique still.
        if self.n > 1 and bool(xp.any(s[..., -2] <= self.n * machine_epsilon(point) * s[..., 0])):
            raise RankDeficientError
        sign = xp.sign(xp.linalg.det(u) * xp.linalg.det(vt))
        return (u * _last(sign, u)) @ vt

    def check_point(self, point: Array) -> str | None:
        problem = super().check_point(point)
        return problem or self._check(
            namespace(point).linalg.det(point) - 1, point, "the point is off the manifold: det X = 1"
        )


class RotationsGeometry(StiefelGeometry):
    """The rotation group at X; transport is the translation from the left, which keeps lengths."""

    def geodesic(self, tangent_vector: Array) -> OneParameterCurve:
        return OneParameterCurve(self.point, tangent_vector)

    def log(self, other: Array) -> Array:
        """Log_X(Y) = X log(X^T Y), the principal logarithm."""
        self.manifold.require_other(other)
        try:
            return self.point @ log_rotation(self.point.mT @ other)
        except ValueError:
            raise ValueError(
                "other is turned from the point by the angle pi in some plane, so no unique shortest geodesic exists"
            ) from None

    def transport_from(self, origin: LocalGeometry, tangent_vector: Array) -> Array:
        """Y X^T V for a tangent vector V at X, carried to Y."""
        return self.point @ skew_part(origin.point.mT @ tangent_vector)

    # The transport is no projection.
    gradient_pairing_from = LocalGeometry.gradient_pairing_from


class OneParameterCurve(RetractionCurve):
    """The curve t -> X exp(t A) with A = X^T V."""

    def __init__(self, point: Array, tangent_vector: Array) -> None:
        self._x, self._a = point, skew_part(point.mT @ tangent_vector)

    def point(self, t: Any) -> Array:
        return newton_schulz_step(self._x @ expm(expand(t, 2) * self._a))

    def velocity(self, t: Any) -> Array:
        """X exp(t A) A."""
        return self.point(t) @ self._a


def _with_last_column_signed(q: Array) -> Array:
    """Turn the last column of orthogonal matrices where that makes the determinant 1."""
    return q * _last(namespace(q).sign(namespace(q).linalg.det(q)), q)


def _last(sign: Array, q: Array) -> Array:
    """Row (1, ..., 1, sign) that multiplies the columns of a matrix."""
    xp = namespace(q)
    ones = xp.ones_like(q[..., :1, :])
    return xp.concat([ones[..., :-1], xp.asarray(sign)[..., None, None] * ones[..., -1:]], axis=-1)
