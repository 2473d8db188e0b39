"""Retractions of the manifold of matrices of fixed rank, and the curves that they draw with their velocities."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

from manifolds.fixed_rank_points import FixedRankPoint, FixedRankTangent, lost_rank, without
from manifolds.linalg import Array, expand, identity, inverse_cholesky, is_traced, machine_epsilon, namespace, norm
from manifolds.manifold import LocalGeometry, RetractionCurve
from manifolds.retractions import CholeskyQR, RankDeficientError, Retraction


@dataclass(frozen=True)
class TruncatedSVD(Retraction):
    """Best approximation of rank r to the step: R_X(t V) = P_r(X + t V), by two thin QR and a 2r x 2r SVD.

    With orthonormal bases of the spans of ``[U Up]`` and ``[V Vp]``, found once for the whole curve, X + t V is a
    matrix of order 2r at most, and so is the derivative of its truncation. It is the metric projection, and of second
    order.

    References
    ----------
    Vandereycken, Low-rank matrix completion by Riemannian optimization, SIAM J. Optim. 23 (2013), Algorithm 6.
    Feppon, Lermusiaux, A geometric approach to dynamical model order reduction, SIAM J. Matrix Anal. Appl. 39 (2018),
    Theorem 25, for the derivative.

    Examples
    --------
    >>> from manifolds import FixedRank
    >>> manifold = FixedRank(5, 4, 2, retraction=TruncatedSVD())
    >>> x = manifold.random_point(rng=0)
    >>> manifold.check_point(manifold.retraction(x, manifold.random_tangent_vector(x, rng=1))) is None
    True
    """

    def curve(self, geometry: LocalGeometry, tangent_vector: FixedRankTangent) -> TruncatedSVDCurve:
        return TruncatedSVDCurve(_factors_of(geometry, self), tangent_vector)


class FactoredCurve(RetractionCurve):
    """A curve that keeps what its latest point was made of: a line search then asks for the velocity there."""

    def __init__(self) -> None:
        self._latest: tuple[float | None, Any, Any] = (None, None, None)

    @abstractmethod
    def _step(self, t: Any) -> tuple[Any, Any]:
        """What velocities are made of, and the point."""

    def _at(self, t: Any) -> tuple[Any, Any]:
        """What velocities are made of, and the point; arrays of several t, which may be written to, are not kept."""
        latest, parts, point = self._latest
        if latest is None or latest is not t:
            parts, point = self._step(t)
            self._latest = t if isinstance(t, float) else None, parts, point
        return parts, point

    def point(self, t: Any) -> Any:
        return self._at(t)[1]


class TruncatedSVDCurve(FactoredCurve):
    """The curve t -> P_r(X + t V) = Q_l P_r(K(t)) Q_r^T, with K(t) = K_0 + t K_1 of order 2r at most."""

    def __init__(self, point: FixedRankPoint, tangent_vector: FixedRankTangent) -> None:
        super().__init__()
        xp = self._xp = namespace(point.U)
        U, S, V = point
        self._r = S.shape[-1]
        # Of both blocks together: where Up is short of rank, its own basis would not be orthogonal to U.
        self._left, r_left = _basis(xp.concat([U, tangent_vector.Up], axis=-1))
        self._right, r_right = _basis(xp.concat([V, tangent_vector.Vp], axis=-1))
        u, up = r_left[..., :, : self._r], r_left[..., :, self._r :]
        v, vp = r_right[..., :, : self._r], r_right[..., :, self._r :]
        self._start, self._size = u @ S @ v.mT, norm(S)
        self._slope = u @ tangent_vector.M @ v.mT + up @ v.mT + u @ vp.mT

    def _svd(self, t: Any) -> tuple[Array, Array, Array]:
        """Singular triplets of K(t), with singular vectors as columns."""
        core = self._start + expand(t, 2) * self._slope
        if not bool(self._xp.all(self._xp.isfinite(core))):
            raise RankDeficientError
        a, s, bt = self._xp.linalg.svd(core, full_matrices=False)
        if lost_rank(s, self._r, self._size):
            raise RankDeficientError
        return a, s, bt.mT

    def _step(self, t: Any) -> tuple[tuple[Array, Array, Array], FixedRankPoint]:
        """Singular triplets of K(t), and the point."""
        (a, s, b), r = self._svd(t), self._r
        values = s[..., None, :r] * identity(r, s)
        return (a, s, b), FixedRankPoint(self._left.times(a[..., :, :r]), values, self._right.times(b[..., :, :r]))

    def velocity(self, t: Any) -> FixedRankTangent:
        """Derivative of the truncation: the projection of K_1, and a part by the curvature.

        With E = A^T K_1 B, the singular values s_a that were cut off add s_a (s_a E_aj + s_j E_ja) / (s_j^2 - s_a^2).
        """
        ((a, s, b), point), r = self._at(t), self._r
        e = a.mT @ self._slope @ b
        kept, cut = s[..., None, :r], s[..., r:, None]
        gap = cut / ((kept - cut) * (kept + cut))
        below, beside = e[..., r:, :r], e[..., :r, r:].mT
        a1, a2, b1, b2 = a[..., :, :r], a[..., :, r:], b[..., :, :r], b[..., :, r:]
        m = e[..., :r, :r]
        up = self._slope @ b1 - a1 @ m + a2 @ (gap * (cut * below + kept * beside))
        vp = self._slope.mT @ a1 - b1 @ m.mT + b2 @ (gap * (cut * beside + kept * below))
        return FixedRankTangent(point, m, self._left.times(up), self._right.times(vp))


class _Basis(NamedTuple):
    """An orthonormal basis C T, kept as tall columns C and a small matrix T, or as C alone."""

    columns: Array
    mixing: Array | None

    def times(self, coefficients: Array) -> Array:
        """Product of the basis with coefficients."""
        return self.columns @ (coefficients if self.mixing is None else self.mixing @ coefficients)

    def array(self) -> Array:
        """The basis itself."""
        return self.columns if self.mixing is None else self.columns @ self.mixing

    def keeps_rank(self, triangle: Array, size: Array) -> bool:
        """Whether R is invertible beside rounding, that of terms of norm ``size`` included, where Y = C T R."""
        if self.mixing is not None:
            # T is the inverse of R, so one over its norm is at most the smallest singular value.
            room = 4 * machine_epsilon(triangle) * norm(self.mixing) * (norm(triangle) + size)
            if bool(namespace(triangle).all(room < 1)):
                return True
        return not lost_rank(namespace(triangle).linalg.svdvals(triangle), triangle.shape[-1], size)


def _basis(y: Array) -> tuple[_Basis, Array]:
    """Orthonormal basis Q of the span of the columns of Y, and R with Y = Q R.

    By the Cholesky factor of the Gram matrix, if need be of columns that are scaled to norm one, where that is well
    conditioned: two thin products, and Q is never formed. Else by Householder reflections.
    """
    if not is_traced(y):
        gram = y.mT @ y
        inverse, condition = inverse_cholesky(gram)
        if not condition <= CholeskyQR().max_condition:
            inverse, condition = _inverse_cholesky_of_scaled(gram)
        if condition <= CholeskyQR().max_condition:
            # R = T^T G, since G = R^T R and T = R^{-1}.
            return _Basis(y, inverse), inverse.mT @ gram
    xp = namespace(y)
    if not bool(xp.all(xp.isfinite(y))):
        raise RankDeficientError
    q, r = xp.linalg.qr(y)
    return _Basis(q, None), r


def _inverse_cholesky_of_scaled(gram: Array) -> tuple[Array, float]:
    """Inverse of the Cholesky factor of G, and the condition of G after scaling its diagonal to one."""
    xp = namespace(gram)
    sizes = xp.linalg.diagonal(gram) ** 0.5
    if not bool(xp.all((sizes > 0) & xp.isfinite(sizes))):
        return gram, math.inf
    inverse, condition = inverse_cholesky(gram / (sizes[..., :, None] * sizes[..., None, :]))
    return inverse / sizes[..., :, None], condition


@dataclass(frozen=True)
class ProjectorSplitting(Retraction):
    """Projector-splitting (KSL) step: R_X(t V) = Q Q^T (X + t V), with an orthonormal basis Q of (X + t V) V.

    The Lie-Trotter splitting of the projection on the tangent space, integrated from X to X + t V: two QR
    factorisations of r columns and no large SVD. Of second order.

    References
    ----------
    Lubich, Oseledets, A projector-splitting integrator for dynamical low-rank approximation, BIT 54 (2014), Section 3.
    Absil, Oseledets, Low-rank retractions: a survey and new results, Comput. Optim. Appl. 62 (2015), Section 3.7.

    Examples
    --------
    >>> from manifolds import FixedRank
    >>> manifold = FixedRank(5, 4, 2, retraction=ProjectorSplitting())
    >>> x = manifold.random_point(rng=0)
    >>> manifold.check_point(manifold.retraction(x, manifold.random_tangent_vector(x, rng=1))) is None
    True
    """

    def curve(self, geometry: LocalGeometry, tangent_vector: FixedRankTangent) -> ProjectorSplittingCurve:
        return ProjectorSplittingCurve(_factors_of(geometry, self), tangent_vector)


class ProjectorSplittingCurve(FactoredCurve):
    """The curve t -> Q Q^T Y with Y = X + t V and the Q factor of Y V = U (S + t M) + t Up = Q T."""

    def __init__(self, point: FixedRankPoint, tangent_vector: FixedRankTangent) -> None:
        super().__init__()
        self._origin, self._vector = point, tangent_vector
        self._size = norm(point.S)

    def _step(self, t: Any) -> tuple[tuple[_Basis, Array], FixedRankPoint]:
        """Y V, by a basis and its triangular factor, and the point at t."""
        (U, S, V), (_, M, Up, Vp) = self._origin, self._vector
        t = expand(t, 2)
        left, triangle = _basis(U @ (S + t * M) + t * Up)
        q = left.array()
        # Y^T = V (Y V)^T + t Vp U^T.
        right, core = _basis(V @ triangle.mT + t * (Vp @ (U.mT @ q)))
        if not (left.keeps_rank(triangle, self._size) and right.keeps_rank(core, self._size)):
            raise RankDeficientError
        return (left, triangle), FixedRankPoint(q, core.mT, right.array())

    def velocity(self, t: Any) -> FixedRankTangent:
        """Q' L^T + Q L'^T with L = Y^T Q, Q' = (I - Q Q^T) Y' V T^{-1} for Y V = Q T, and L' = Y'^T Q + Y^T Q'."""
        (U, _, V), (_, M, Up, Vp) = self._origin, self._vector
        ((left, triangle), point), t = self._at(t), expand(t, 2)
        q, s, right = point
        slope = U @ M + Up
        turn = without(q, slope @ (namespace(q).linalg.inv(triangle) if left.mixing is None else left.mixing))
        # (Y V)^T Q' = T^T Q^T Q' = 0.
        rows = V @ (slope.mT @ q) + Vp @ (U.mT @ (q + t * turn))
        m_transposed = right.mT @ rows
        return FixedRankTangent(point, m_transposed.mT, turn @ s, rows - right @ m_transposed)


def _factors_of(geometry: LocalGeometry, retraction: Retraction) -> FixedRankPoint:
    if not isinstance(geometry.point, FixedRankPoint):
        raise TypeError(f"{retraction} is a retraction of FixedRank, not of {geometry.manifold}")
    return geometry.point
