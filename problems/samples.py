"""Minimization over a surface of which only points and the costs measured there are known."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import Any

from scipy.optimize import OptimizeResult

from manifolds import SampledFunction, SampledManifold
from manifolds.linalg import Array, namespace
from rankopt import minimize


@dataclass(frozen=True)
class SampledMinimum:
    """What a minimization over samples found.

    Attributes
    ----------
    x : array of shape (D,)
        Minimiser, on the fitted manifold.
    fun : float
        Fitted cost there.
    nearest_sample : int
        Index of the sample nearest to it.
    gradient_error : float
        Estimated error of the gradient, below which the run cannot go.
    path : array of shape (nit + 1, D)
        Points from the start on.
    result : scipy.optimize.OptimizeResult
        That of ``minimize``.
    """

    x: Array
    fun: float
    nearest_sample: int
    gradient_error: float
    path: Array
    result: OptimizeResult


def minimize_on_samples(
    points: Array,
    values: Array,
    dim: int | None = None,
    start: Array | int | None = None,
    *,
    degree: int = 2,
    noise: float = 0.0,
    method: Any = None,
) -> SampledMinimum:
    """Minimize a cost over the surface that samples lie on.

    Parameters
    ----------
    points : array of shape (N, D)
    values : array of shape (N,)
        Cost at each sample.
    dim : int, optional
        Dimension of the surface; estimated when left out.
    start : array of shape (D,) or int, optional
        Point near the surface, or index of a sample; by default the best sample.
    degree : int
        Degree of the fitted polynomials.
    noise : float
        Standard deviation of the points off the surface.
    method : str or Method, optional
        As in ``minimize``.

    Returns
    -------
    SampledMinimum

    Raises
    ------
    TypeError, ValueError
        As SampledManifold and SampledFunction do, or if ``start`` is no sample's index or far from the samples.

    Examples
    --------
    >>> import numpy as np
    >>> angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    >>> points = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    >>> found = minimize_on_samples(points, points[:, 1] - 4 * points[:, 0], dim=1)
    >>> bool(np.linalg.norm(found.x - np.array([4, -1]) / 17**0.5) < 1e-3)
    True
    """
    manifold = SampledManifold(points, dim, degree, noise=noise)
    function = SampledFunction(manifold, values)
    x0 = manifold.nearest_point(_start(start, points, values))
    path = [x0]
    result = minimize(function, manifold, x0, method, callback=lambda step: path.append(step.x))
    _, nearest = manifold.neighbours.nearest(result.x[None, :], 1)
    return SampledMinimum(
        x=result.x,
        fun=result.fun,
        nearest_sample=int(nearest[0, 0]),
        gradient_error=result.gradient_error,
        path=namespace(points).stack(path),
        result=result,
    )


def _start(start: Any, points: Array, values: Array) -> Array:
    if start is None:
        return points[int(namespace(values).argmin(values))]
    if getattr(start, "ndim", 0) > 0:
        return start
    if isinstance(start, bool) or not hasattr(start, "__index__"):
        raise TypeError(f"start must be a point or the index of a sample, got {type(start).__name__}")
    chosen = index(start)
    if not 0 <= chosen < points.shape[0]:
        raise ValueError(f"start must be the index of one of {points.shape[0]} samples, got {chosen}")
    return points[chosen]
