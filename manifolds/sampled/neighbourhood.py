"""The samples around a point, in coordinates of their span, and their smooth weights."""

from __future__ import annotations

from dataclasses import dataclass, fields

from manifolds.linalg import Array, namespace
from manifolds.sampled.neighbours import Neighbours

SLACK = 1.3
"""Samples are sought this much beyond their supports, so that the frame may move without a new search."""


@dataclass(frozen=True)
class Neighbourhood:
    """Samples around ``b`` centres in coordinates of their span; in these, everything is small."""

    center: Array
    span: Array | None  # (b, D, k) orthonormal, or None where the ambient coordinates are few already
    samples: Array  # (b, K, k), about the centre
    target: Array  # (b, k): the point to project
    indices: Array
    radii: Array  # (b, K)
    reciprocal: Array  # (b, K): 1 / radii^2
    padding: Array  # (b, K): 0, and 1 where there is no sample

    def rows(self, chosen: Array) -> Neighbourhood:
        """Those of the points of a mask (b,)."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Neighbourhood(**{name: None if part is None else part[chosen] for name, part in parts.items()})

    def ambient(self, vectors: Array) -> Array:
        """Ambient vectors (..., D) of coordinates (b, c, k)."""
        return vectors if self.span is None else vectors @ self.span.mT

    def squared(self, foot: Array) -> Array:
        """|r_i - q|^2 / s_i^2 (b, K) for feet (b, k); at least 1 where there is no sample."""
        away = self.samples - foot[:, None, :]
        return namespace(foot).sum(away * away, axis=-1) * self.reciprocal + self.padding

    def weights(self, foot: Array) -> Array:
        """exp(1 - 1 / (1 - u^2)) with u = |r_i - q| / s_i: smooth, and zero from u = 1 on."""
        xp = namespace(foot)
        gap = 1 - self.squared(foot)
        # Numbers underflow to zero long before the bound that keeps the quotient finite.
        return xp.exp(1 - 1 / xp.where(gap > 1e-3, gap, 1e-3))


def neighbourhood(points: Array, neighbours: Neighbours, center: Array, target: Array) -> Neighbourhood:
    """Samples whose supports reach a centre (b, D) or nearly so, about it, with the target (b, D) to project."""
    xp = namespace(points)
    indices, mask = neighbours.supporting(center, SLACK)
    here = xp.asarray(mask, dtype=points.dtype)
    samples = (points[indices] - center[:, None, :]) * here[..., None]
    goal, span = target - center, None
    if points.shape[-1] > 2 * (indices.shape[-1] + 1):
        # The samples and the target span few dimensions; an orthonormal basis of them loses nothing.
        span, triangle = xp.linalg.qr(xp.concat([samples, goal[:, None, :]], axis=1).mT)
        samples, goal = triangle.mT[:, :-1], triangle.mT[:, -1]
    radii = neighbours.radii[indices]
    return Neighbourhood(center, span, samples, goal, indices, radii, 1 / radii**2, 1 - here)
