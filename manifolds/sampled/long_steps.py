"""Steps that are longer than the fits of a sampled manifold can see, for optimizers that do not shorten theirs."""

from __future__ import annotations

from manifolds.linalg import Array, namespace, norm
from manifolds.sampled.local_fit import TooFewSamplesError
from manifolds.sampled.manifold import SampledManifold

_SHORTEST = 2.0**-10
"""Fraction of the first of the shorter steps that is tried last, before the samples count as ended."""


def long_retraction(manifold: SampledManifold, point: Array, tangent_vector: Array) -> Array:
    """Point R_x(v) where the fits reach x + v, else the end of a walk of shorter steps in the direction of v.

    The direction is transported by projection and keeps its length, so that the walk stays near a geodesic; where the
    samples end, so does it.

    Parameters
    ----------
    manifold : SampledManifold
    point, tangent_vector : array of shape (..., D)

    Returns
    -------
    array of shape (..., D)
    """
    try:
        return manifold.retraction(point, tangent_vector)
    except TooFewSamplesError:
        if point.ndim == 1:
            return _walk(manifold, point, tangent_vector)
    rows = zip(point.reshape(-1, point.shape[-1]), tangent_vector.reshape(-1, point.shape[-1]), strict=True)
    ends = [long_retraction(manifold, x, v) for x, v in rows]
    return namespace(point).stack(ends).reshape(point.shape)


def _walk(manifold: SampledManifold, point: Array, vector: Array) -> Array:
    left, step = 1.0, 0.5
    while step * norm(vector, 1) > manifold.typical_dist / 2:  # P(x + v) lags behind the geodesic by |v|^3
        step = step / 2
    shortest = _SHORTEST * step
    while left > 0 and step >= shortest:
        try:
            landed = manifold.land(point + step * vector)
        except TooFewSamplesError:
            step = step / 2
            continue
        moved = landed.projection(vector)
        point, vector = landed.point, moved * (norm(vector, 1) / norm(moved, 1))
        left, step = left - step, min(step, left - step)
    return point
