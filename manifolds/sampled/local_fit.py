"""The moving-least-squares fit: a frame by weighted PCA, then one weighted polynomial regression over it.

One factorisation serves the point, the tangent space, the cost and its derivatives. Everything is batched: ``b`` points
at once, each with up to K samples, of which those that pad the batch have weight zero.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from typing import Any

from manifolds.linalg import Array, machine_epsilon, namespace
from manifolds.retractions import RankDeficientError
from manifolds.sampled.monomials import second_derivatives, vandermonde
from manifolds.sampled.neighbourhood import SLACK, Neighbourhood, neighbourhood
from manifolds.sampled.neighbours import Neighbours

_CLOSE = 0.3
"""Frames start at the point itself if it is so close to a sample, in support radii, else at the sample."""
_FEW_COORDINATES = 8
"""Up to so many, an eigendecomposition is faster than orthogonal iteration."""
_TYPICAL_NEIGHBOURS = 10
"""Candidates per coefficient, for the size of blocks."""
_BLOCK_ENTRIES = 1 << 22
"""Coordinates of candidates in one block of points."""
_MAX_SWEEPS = 200
_FULL_STEPS = 20
_MAX_LEBESGUE, _HIGH_LEBESGUE = 50.0, 10.0
_HIGH_OFFSET = 0.5
_MAX_CONDITION = {True: 1e8, False: 1e4}


class TooFewSamplesError(RankDeficientError):
    """There are too few samples around a point, or they lie too badly, to say where the manifold is."""

    def __init__(self, message: str) -> None:
        ValueError.__init__(self, message)


class SampledWarning(UserWarning):
    """A fit leans on samples that lie to one side, as at a boundary or a hole."""


@dataclass(frozen=True)
class LocalFit:
    """The manifold around ``b`` points as graphs of polynomials over frames.

    Attributes
    ----------
    point : array of shape (b, D)
        P(r).
    jacobian : array of shape (b, D, d)
        Derivative of the graph at the foot, J.
    basis, triangle : arrays of shapes (b, D, d) and (b, d, d)
        Thin QR decomposition of J.
    frame : array of shape (b, D, d)
        Orthonormal basis U of the frame H.
    indices : array of shape (b, K)
        Samples of each neighbourhood.
    operator, monomials : arrays of shapes (b, M, K) and (b, K, M)
        Values at samples to coefficients, and coefficients to values at samples.
    coefficients : array of shape (b, M, D)
        Those of the graph, about the foot q.
    inside : array of shape (b, K)
        1 where a sample has positive weight, else 0.
    scale : array of shape (b,)
        Unit s of the coordinates on H.
    lebesgue : array of shape (b,)
        Sum of absolute weights of the samples in the value at the foot.
    tangent_error : array of shape (b,)
        Estimate of the sine of the angle between the tangent spaces of fit and manifold.
    """

    point: Array
    jacobian: Array
    basis: Array
    triangle: Array
    frame: Array
    indices: Array
    operator: Array
    monomials: Array
    coefficients: Array
    inside: Array
    scale: Array
    lebesgue: Array
    tangent_error: Array
    factors: list[tuple[int, ...]]

    def fit_values(self, values: Array) -> tuple[Array, Array, Array]:
        """Coefficients (b, M) of a function with samples' values (N,), its gradient in H, and the error of that.

        The error is 2 |A_1..d| |residual| / s.
        """
        xp = namespace(self.point)
        local = values[self.indices]
        coefficients = (self.operator @ local[..., None])[..., 0]
        residual = self.inside * (local - (self.monomials @ coefficients[..., None])[..., 0])
        dim = self.basis.shape[-1]
        rows = xp.linalg.vector_norm(self.operator[:, 1 : dim + 1], axis=(-2, -1))
        error = 2 * rows * xp.linalg.vector_norm(residual, axis=-1) / self.scale
        return coefficients, coefficients[:, 1 : dim + 1] / self.scale[:, None], error

    def lift(self, covector: Array) -> Array:
        """Tangent vector J (J^T J)^-1 g (b, D) of a derivative g (b, d) in the coordinates of H."""
        xp = namespace(self.point)
        return (self.basis @ xp.linalg.solve(self.triangle.mT, covector[..., None]))[..., 0]

    def coordinates(self, tangent_vector: Array) -> Array:
        """Coordinates a (b, d) on H with J a = v."""
        xp = namespace(self.point)
        return xp.linalg.solve(self.triangle, self.basis.mT @ tangent_vector[..., None])[..., 0]

    def graph_second_derivatives(self) -> Array:
        """Second derivatives (b, d, d, D) of the graph at the foot."""
        second = second_derivatives(self.coefficients, self.factors, self.basis.shape[-1])
        return second / self.scale[:, None, None, None] ** 2

    def value_second_derivatives(self, coefficients: Array) -> Array:
        """Second derivatives (b, d, d), in coordinates of H, of a fitted function."""
        second = second_derivatives(coefficients[..., None], self.factors, self.basis.shape[-1])[..., 0]
        return second / self.scale[:, None, None] ** 2


def fit(points: Array, neighbours: Neighbours, targets: Array, factors: list[tuple[int, ...]], dim: int) -> LocalFit:
    """Fit the manifold around targets (b, D): frames by the fixed point of weighted PCA, then the regression.

    References
    ----------
    Sober, Levin, Manifold Approximation by Moving Least-Squares Projection (MMLS), Constr. Approx. (2020).
    """
    size = max(1, _BLOCK_ENTRIES // (_TYPICAL_NEIGHBOURS * len(factors) * points.shape[-1]))
    if targets.shape[0] <= size:
        return _fit_block(points, neighbours, targets, factors, dim)
    blocks = (targets[start : start + size] for start in range(0, targets.shape[0], size))
    return _joined([_fit_block(points, neighbours, block, factors, dim) for block in blocks])


def _fit_block(points: Array, neighbours: Neighbours, targets: Array, factors: Any, dim: int) -> LocalFit:
    xp = namespace(points)
    near = neighbourhood(points, neighbours, targets, targets)
    squared = near.squared(xp.zeros_like(near.target))
    _require_near(xp.min(squared, axis=-1) >= 1, targets, neighbours)
    closest = xp.argmin(squared, axis=-1)[:, None]
    off = xp.take_along_axis(squared, closest, axis=-1)[:, 0] > _CLOSE**2
    if not bool(xp.any(off)):
        return _settle(points, neighbours, near, targets, factors, dim, _MAX_SWEEPS)
    samples = points[xp.take_along_axis(near.indices, closest, axis=-1)[:, 0]]
    apart = neighbourhood(points, neighbours, samples[off], targets[off])
    found = _settle(points, neighbours, apart, targets[off], factors, dim, _MAX_SWEEPS)
    if bool(xp.all(off)):
        return found
    rest = _settle(points, neighbours, near.rows(~off), targets[~off], factors, dim, _MAX_SWEEPS)
    return _merged(rest, found, off)


def _settle(
    points: Array, neighbours: Neighbours, near: Neighbourhood, targets: Array, factors: Any, dim: int, sweeps: int
) -> LocalFit:
    """Fit around targets (b, D) from neighbourhoods; points whose feet leave these seek new ones."""
    xp = namespace(points)
    position, frame, used, left = _frame(near, dim, len(factors), 1000 * machine_epsilon(points), sweeps)
    foot = near.center + near.ambient(position[:, None, :])[:, 0]
    if not bool(xp.any(left)):
        return _regression(near, position, frame, foot, factors)
    if used >= sweeps:
        distance = neighbours.nearest(targets[left], 1)[0]
        raise TooFewSamplesError(
            f"the frames of {distance.shape[0]} points did not settle in {_MAX_SWEEPS} sweeps: a point lies too far "
            f"off the manifold for its curvature, or the dimension is not {dim} (nearest samples at up to "
            f"{float(xp.max(distance)):.3g}, support radius {float(xp.min(near.radii)):.3g})"
        )
    again = neighbourhood(points, neighbours, foot[left], targets[left])
    found = _settle(points, neighbours, again, targets[left], factors, dim, sweeps - used)
    if bool(xp.all(left)):
        return found
    rest = _regression(near.rows(~left), position[~left], frame[~left], foot[~left], factors)
    return _merged(rest, found, left)


def _require_near(far: Array, targets: Array, neighbours: Neighbours) -> None:
    """Refuse points outside of the support of every sample."""
    xp = namespace(targets)
    if not bool(xp.any(far)):
        return
    distance, nearest = (found[:, 0] for found in neighbours.nearest(targets, 1))
    radius = neighbours.radii[nearest]
    worst = int(xp.argmax(xp.where(far, distance / radius, xp.zeros_like(distance))))
    raise TooFewSamplesError(
        f"{_which(far)} far from the data: 0 of {neighbours.points.shape[0]} samples within their support radius, the "
        f"nearest is {float(distance[worst]):.3g} away, its radius {float(radius[worst]):.3g}; start nearer, or add "
        "samples there"
    )


def _merged(rest: LocalFit, found: LocalFit, chosen: Array) -> LocalFit:
    """One fit of all points, of which those of a mask (b,) were found apart."""
    xp = namespace(rest.point)
    order = xp.concat([xp.nonzero(~chosen)[0], xp.nonzero(chosen)[0]])
    return _joined([rest, found], xp.argsort(order))


def _joined(fits: list[LocalFit], order: Any = slice(None)) -> LocalFit:
    """One fit of all points in some order; neighbourhoods are padded to the largest."""
    xp = namespace(fits[0].point)
    width = max(found.indices.shape[-1] for found in fits)
    axes = {"indices": 1, "operator": 2, "inside": 1, "monomials": 1}

    def whole(name: str) -> Any:
        parts = [getattr(found, name) for found in fits]
        return xp.concat([_padded(part, axes[name], width) if name in axes else part for part in parts])[order]

    names = [field.name for field in fields(LocalFit) if field.name != "factors"]
    return LocalFit(**{name: whole(name) for name in names}, factors=fits[0].factors)


def _padded(array: Array, axis: int, width: int) -> Array:
    xp, shape = namespace(array), list(array.shape)
    shape[axis] = width - shape[axis]
    return xp.concat([array, xp.zeros(tuple(shape), dtype=array.dtype, device=array.device)], axis=axis)


def refit(points: Array, neighbours: Neighbours, foot: Array, frame: Array, factors: list[tuple[int, ...]]) -> LocalFit:
    """Regression over given feet (b, D) and frames (b, D, d)."""
    near = neighbourhood(points, neighbours, foot, foot)
    xp = namespace(points)
    local = frame if near.span is None else near.span.mT @ frame
    return _regression(near, xp.zeros_like(near.target), local, foot, factors)


def _frame(
    near: Neighbourhood, dim: int, needed: int, tolerance: float, sweeps: int
) -> tuple[Array, Array, int, Array]:
    """Foot q and frame U with r - q orthogonal to U, U the leading directions of the weighted samples about their mean.

    Also the number of sweeps, and a mask (b,) of the points that have not settled: their feet have left the region for
    which samples were sought, or sweeps were too few.
    """
    xp = namespace(near.samples)
    foot, frame = xp.zeros_like(near.target), None
    squared_reach = (SLACK - 1) ** 2 * xp.min(near.radii, axis=-1) ** 2
    squared_tolerance = tolerance**2 * xp.max(near.radii, axis=-1) ** 2
    few = near.target.shape[-1] <= _FEW_COORDINATES
    left, away = squared_reach < 0, foot
    for sweep in range(1, sweeps + 1):
        weights = near.weights(foot)
        if frame is None:
            _require_count(weights, needed, near)
        weights = weights / xp.sum(weights, axis=-1, keepdims=True)
        mean = (weights[:, None, :] @ near.samples)[:, 0]
        centred = near.samples - mean[:, None, :]
        moment = (weights[..., None] * centred).mT
        if few or frame is None:
            new, turned = xp.linalg.eigh(moment @ centred)[1][..., -dim:], 0.0
        else:
            # One step of orthogonal iteration, which the sweeps share.
            new = xp.linalg.qr(moment @ (centred @ frame))[0]
            turned = float(xp.max(xp.abs(new - frame @ (frame.mT @ new))))
        frame = new
        target = mean + (((near.target - mean)[:, None, :] @ new) @ new.mT)[:, 0]
        # Few samples far below a point can make it swing between two frames; halved steps settle.
        move = (1.0 if sweep <= _FULL_STEPS else 0.5) * (target - foot)
        moving = (xp.sum(move * move, axis=-1) > squared_tolerance) & ~left
        moved = foot + move
        leaving = (xp.sum(moved * moved, axis=-1) > squared_reach) & ~left
        away, left = xp.where(leaving[:, None], moved, away), left | leaving
        foot = xp.where(left[:, None], foot, moved)
        settled = not bool(xp.any(moving)) and turned <= 10 * tolerance
        if settled or bool(xp.all(left)):
            return xp.where(left[:, None], away, foot), frame, sweep, left
    return xp.where(left[:, None], away, foot), frame, sweeps, left | moving


def _require_count(weights: Array, needed: int, near: Neighbourhood) -> None:
    xp = namespace(weights)
    counts = xp.sum(xp.asarray(weights > 0, dtype=weights.dtype), axis=-1)
    few = counts < needed
    if bool(xp.any(few)):
        worst = int(xp.argmin(counts))
        raise TooFewSamplesError(
            f"{_which(few)} in a hole or outside of the data: only {int(counts[worst])} samples within their support "
            f"radius (about {float(xp.max(near.radii[worst])):.3g}), {needed} needed; lower degree or add samples there"
        )


def _which(flags: Array) -> str:
    count, size = int(flags.sum()), flags.shape[0]
    return "the point lies" if size == 1 else f"{count} of {size} points lie"


def _regression(near: Neighbourhood, position: Array, frame: Array, foot: Array, factors: Any) -> LocalFit:
    xp, dim = namespace(foot), frame.shape[-1]
    weights = near.weights(position)
    _require_count(weights, len(factors), near)
    total = xp.sum(weights, axis=-1)
    scale = xp.sum(weights * near.radii, axis=-1) / total
    centred = near.samples - position[:, None, :]
    x = (centred @ frame) / scale[:, None, None]
    inside = xp.asarray(weights > 0, dtype=weights.dtype)
    monomials = vandermonde(x, factors)
    root = xp.sqrt(weights)
    q, r = xp.linalg.qr(root[..., None] * monomials)
    singular = xp.linalg.svdvals(r)
    least = singular[:, 0] * machine_epsilon(foot)
    condition = singular[:, 0] / xp.where(singular[:, -1] > least, singular[:, -1], least)
    bad = ~(condition < _MAX_CONDITION[machine_epsilon(foot) < 1e-10])
    if bool(xp.any(bad)):
        raise TooFewSamplesError(_badly_placed(bad, inside, condition, "condition number", near, factors))
    operator = xp.linalg.solve(r, q.mT) * root[:, None, :]
    lebesgue = xp.sum(xp.abs(operator[:, 0]), axis=-1)
    bad = lebesgue > _MAX_LEBESGUE
    if bool(xp.any(bad)):
        raise TooFewSamplesError(_badly_placed(bad, inside, lebesgue, "Lebesgue constant", near, factors))
    offset = xp.linalg.vector_norm(xp.sum(weights[..., None] * x, axis=1), axis=-1) / total
    if bool(xp.any((lebesgue > _HIGH_LEBESGUE) | (offset > _HIGH_OFFSET))):
        warnings.warn(
            f"the fit leans on samples to one side: Lebesgue constant up to {float(xp.max(lebesgue)):.3g}, their "
            f"centre up to {float(xp.max(offset)):.2g} of the support radius {float(xp.max(scale)):.3g} away, at least "
            f"{int(xp.min(xp.sum(inside, axis=-1)))} samples; near a boundary or a hole errors are larger",
            SampledWarning,
            stacklevel=2,
        )
    coefficients = operator @ centred
    # Where the graph leaves the samples, as at an edge, its point is one that no fit around it would confirm.
    _require_count(near.weights(position + coefficients[:, 0]), len(factors), near)
    residual = inside[..., None] * (centred - monomials @ coefficients)
    rows = xp.linalg.vector_norm(operator[:, 1 : dim + 1], axis=(-2, -1))
    error = 2 * rows * xp.linalg.vector_norm(residual, axis=(-2, -1)) / scale
    coefficients = near.ambient(coefficients)
    jacobian = coefficients[:, 1 : dim + 1].mT / scale[:, None, None]
    basis, triangle = xp.linalg.qr(jacobian)
    return LocalFit(
        point=foot + coefficients[:, 0],
        jacobian=jacobian,
        basis=basis,
        triangle=triangle,
        frame=near.ambient(frame.mT).mT,
        indices=near.indices,
        operator=operator,
        monomials=monomials,
        coefficients=coefficients,
        inside=inside,
        scale=scale,
        lebesgue=lebesgue,
        tangent_error=error,
        factors=factors,
    )


def _badly_placed(bad: Array, inside: Array, measure: Array, name: str, near: Neighbourhood, factors: Any) -> str:
    xp = namespace(measure)
    worst = int(xp.argmax(xp.where(bad, measure, xp.zeros_like(measure))))
    return (
        f"{_which(bad)} where the samples do not determine the manifold: {name} {float(measure[worst]):.3g}, with "
        f"{int(xp.sum(inside[worst]))} samples within their support radius (about "
        f"{float(xp.max(near.radii[worst])):.3g}) for {len(factors)} coefficients; this would extrapolate"
    )
