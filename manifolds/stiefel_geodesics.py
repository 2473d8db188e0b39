"""Geodesics of the Stiefel manifold and their inverse, the logarithm, for the Euclidean and the canonical metric.

With the orthonormal basis [X Q] of a space that holds the columns of X and V, V = X A + Q B, the geodesic is

    Exp_X(t V) = [X Q] exp(t [[c A, -B^T], [B, 0]]) [I; 0] exp((1 - c) t A)

with c = 1 for the canonical and c = 2 for the Euclidean metric (Edelman, Arias, Smith 1998, Section 2.2 and equation
2.45; Zimmermann, Hüper 2022, equation 9). All matrices but X and Q are of order 2p at most.
"""

from __future__ import annotations

from typing import Any

from manifolds.linalg import (
    Array,
    expand,
    identity,
    machine_epsilon,
    namespace,
    norm,
    skew_part,
    solve_lyapunov,
    symmetric_part,
)
from manifolds.manifold import RetractionCurve
from manifolds.matrix_functions import expm, log_rotation, newton_schulz_step, orthogonal_polar_factor

_ITERATIONS = 200
"""Iterations after which a logarithm is given up; points at distance 2 take about 20."""


class StiefelGeodesic(RetractionCurve):
    """The curve t -> [X K/s] exp(t [[c A, -K^T K / s], [s I, 0]]) [I; 0] exp((1 - c) t A).

    A = X^T V is skew-symmetric, K = V - X A the part of V outside the span of X, and s = norm(K^T K)^{1/2} balances the
    blocks: no basis of K is needed, whatever its rank.

    Parameters
    ----------
    point, tangent_vector : array of shape (..., n, p)
    rotation : {1, 2}
        The constant c: 1 for the canonical metric, 2 for the Euclidean one.
    """

    def __init__(self, point: Array, tangent_vector: Array, rotation: int) -> None:
        xp = namespace(point)
        p = point.shape[-1]
        self._x, self._a, self._c = point, skew_part(point.mT @ tangent_vector), rotation
        k = tangent_vector - point @ self._a
        gram = symmetric_part(k.mT @ k)
        scale = xp.asarray(norm(gram)) ** 0.5
        scale = expand(xp.where(scale > 0, scale, xp.ones_like(scale)), 2)
        self._k = k / scale
        one = scale * (xp.zeros_like(gram) + identity(p, gram))
        self._generator = _blocks(rotation * self._a, -gram / scale, one, xp.zeros_like(gram))

    def point(self, t: Any) -> Array:
        turned, rotated = self._factors(t)
        return newton_schulz_step(self._combine(turned) @ rotated)

    def velocity(self, t: Any) -> Array:
        turned, rotated = self._factors(t)
        along = self._generator @ turned + (1 - self._c) * (turned @ self._a)
        return self._combine(along) @ rotated

    def _factors(self, t: Any) -> tuple[Array, Array]:
        """First p columns of the large exponential, and the small one."""
        t = expand(t, 2)
        turned = expm(t * self._generator)[..., : self._a.shape[-1]]
        return turned, expm((1 - self._c) * t * self._a)

    def _combine(self, coefficients: Array) -> Array:
        p = self._a.shape[-1]
        return self._x @ coefficients[..., :p, :] + self._k @ coefficients[..., p:, :]


def canonical_logarithm(point: Array, other: Array) -> Array:
    """Logarithm in the canonical metric, by the algebraic iteration of Zimmermann and Hüper.

    The coordinates [M; N] of ``other`` are completed to a rotation V of order 2p at most; its logarithm
    [[A, -B^T], [B, C]] is that of the point once C = 0, which turning the completion by exp(Gamma) brings about,
    S Gamma + Gamma S = C with S = B B^T / 12 - I / 2.

    Parameters
    ----------
    point, other : array of shape (..., n, p)

    Returns
    -------
    array of shape (..., n, p)
        Tangent vector X A + Q B.

    Raises
    ------
    ValueError
        If the points are too far apart for the iteration, or lie in different components (n = p).

    References
    ----------
    Zimmermann, Hüper, Computing the Riemannian logarithm on the Stiefel manifold: metrics, methods and performance,
    SIAM J. Matrix Anal. Appl. 43 (2022), Algorithm 5.
    """
    xp, p = namespace(point), point.shape[-1]
    basis, coordinates = _coordinates(point, other)
    v = _completed(coordinates, p)
    tolerance = 4 * machine_epsilon(point) * v.shape[-1]
    for _ in range(_ITERATIONS):
        try:
            logarithm = log_rotation(v)
        except ValueError:
            break
        b, c = logarithm[..., p:, :p], logarithm[..., p:, p:]
        if v.shape[-1] == p or bool(xp.all(norm(c) <= tolerance)):
            return point @ logarithm[..., :p, :p] + basis @ b
        eigenvalues, eigenvectors = xp.linalg.eigh(0.5 * identity(c.shape[-1], c) - b @ b.mT / 12)
        # Far from the point the equation may turn singular, where the simple choice Gamma = -C still contracts.
        gamma = -solve_lyapunov(xp.clip(eigenvalues, 0.25, None), eigenvectors, c)
        v = xp.concat([v[..., :p], v[..., p:] @ expm(skew_part(gamma))], axis=-1)
    raise _too_far("canonical")


def euclidean_logarithm(point: Array, other: Array) -> Array:
    """Logarithm in the Euclidean metric, by shooting in coordinates of order 2p at most.

    A geodesic is shot, what it misses is carried back along it (projected, its norm kept, with one stop halfway), and
    the shot is corrected by that.

    Parameters
    ----------
    point, other : array of shape (..., n, p)

    Returns
    -------
    array of shape (..., n, p)
        Tangent vector X A + Q B.

    Raises
    ------
    ValueError
        If the points are too far apart for the iteration, or lie in different components (n = p).

    References
    ----------
    Zimmermann, Hüper, Computing the Riemannian logarithm on the Stiefel manifold: metrics, methods and performance,
    SIAM J. Matrix Anal. Appl. 43 (2022), Algorithm 4.
    """
    xp, p = namespace(point), point.shape[-1]
    basis, target = _coordinates(point, other)
    if target.shape[-2] == p:
        rotation = _completed(target, p)
        try:
            return point @ log_rotation(rotation)
        except ValueError:
            raise _too_far("Euclidean") from None
    start = xp.zeros_like(target) + identity(target.shape[-2], target)[:, :p]
    tolerance = 4 * machine_epsilon(point) * target.shape[-2]
    shot = _carried(target - start, start, norm(target - start))
    best = None
    for _ in range(_ITERATIONS):
        if not bool(xp.all(xp.isfinite(shot))):
            break
        middle, end = _halfway_and_end(shot, p)
        missed = target - end
        size = norm(missed)
        error = float(xp.max(size))
        if best is not None and error >= best[0] and error <= 100 * tolerance:
            return point @ best[1][..., :p, :] + basis @ best[1][..., p:, :]
        if best is None or error < best[0]:
            best = error, shot
        for stop in (end, middle, start):
            missed = _carried(missed, stop, size)
        shot = shot + missed
    raise _too_far("Euclidean")


def _halfway_and_end(shot: Array, p: int) -> tuple[Array, Array]:
    """Points at t = 1/2 and t = 1 of the Euclidean geodesic with the velocity [A; B] at [I; 0]."""
    a, b = skew_part(shot[..., :p, :]), shot[..., p:, :]
    half = expm(0.5 * _blocks(2 * a, -b.mT, b, namespace(a).zeros_like(b @ b.mT)))
    turned, back = half[..., :p], expm(-0.5 * a)
    return turned @ back, half @ turned @ back @ back


def _carried(vector: Array, stop: Array, size: Array) -> Array:
    """Tangent part at a frame, scaled to the given norm."""
    tangent = vector - stop @ symmetric_part(stop.mT @ vector)
    xp = namespace(vector)
    length = xp.asarray(norm(tangent))
    return expand(size / xp.where(length > 0, length, xp.ones_like(length)), 2) * tangent


def _coordinates(point: Array, other: Array) -> tuple[Array, Array]:
    """Orthonormal Q with Q^T X = 0 such that [X Q] spans both points, and the coordinates [M; N] of the other one."""
    xp, p = namespace(point), point.shape[-1]
    overlap = point.mT @ other
    # Householder QR gives orthonormal columns whatever the rank; where n < 2p they complete X to a basis.
    basis = xp.linalg.qr(xp.concat([point, other - point @ overlap], axis=-1))[0][..., p:]
    return basis, orthogonal_polar_factor(xp.concat([overlap, basis.mT @ other], axis=-2))


def _completed(coordinates: Array, p: int) -> Array:
    """Rotation whose first columns are given and whose last block is symmetric positive, up to one sign."""
    xp = namespace(coordinates)
    if coordinates.shape[-2] == p:
        if bool(xp.any(xp.linalg.det(coordinates) < 0)):
            raise ValueError("other lies in the other component of the manifold: its determinant has another sign")
        return coordinates
    complement = xp.linalg.qr(coordinates, mode="complete")[0][..., p:]
    u, _, wt = xp.linalg.svd(complement[..., p:, :])
    complement = complement @ (u @ wt).mT
    sign = xp.sign(xp.linalg.det(xp.concat([coordinates, complement], axis=-1)))
    # A reflection of the direction of the smallest singular value, the last column of U, makes the determinant 1.
    last = u[..., -1:]
    flip = (sign - 1)[..., None, None] * (complement @ last) @ last.mT
    return xp.concat([coordinates, complement + flip], axis=-1)


def _blocks(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Block matrix [[a, b], [c, d]]."""
    xp = namespace(a)
    return xp.concat([xp.concat([a, b], axis=-1), xp.concat([c, d], axis=-1)], axis=-2)


def _too_far(metric: str) -> ValueError:
    return ValueError(
        f"the logarithm in the {metric} metric did not converge: other is too far from the point; "
        f"go there in shorter steps"
    )
