"""Numerical checks of gradients, Hessians, retractions and whole manifolds, with a verdict instead of a printout.

A Taylor expansion along a retraction leaves an error of known order in the step t. The checks measure the slope of that
error on logarithmic axes, in the window just above rounding, where a wrong leading term cannot hide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from manifolds.linalg import Array, Seed, as_generator, machine_epsilon, namespace
from manifolds.low_rank import FactoredMatrix, LowRankMatrix
from manifolds.manifold import Manifold, Point
from manifolds.objective import as_objective
from manifolds.verdict import Verdict, close, said, step_lengths, taylor_verdict


def check_gradient(
    objective: Any,
    manifold: Manifold,
    gradient: Any = None,
    *,
    point: Point = None,
    direction: Point = None,
    rng: Seed = None,
    like: Array | None = None,
) -> Verdict:
    """Check that f(R_x(t v)) = f(x) + t <grad f(x), v>_x + O(t^2), and that the gradient is tangent.

    Parameters
    ----------
    objective, gradient
        As in ``rankopt.minimize``.
    manifold : Manifold
    point, direction : optional
        Point and tangent vector; random ones when left out.
    rng : None, int or generator
    like : array, optional
        Kind of the random point.

    Returns
    -------
    Verdict
        With the slope of the error, which is 2 for a correct gradient and 1 for a wrong one.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> a = np.diag([1.0, 2.0, 3.0])
    >>> bool(check_gradient(lambda x: x @ a @ x, Sphere(3), lambda x: 2 * a @ x, rng=0))
    True
    >>> check_gradient(lambda x: x @ a @ x, Sphere(3), lambda x: a @ x, rng=0).message
    'gradient: the error falls with slope 1.00, expected 2: the gradient is wrong'
    """
    function = as_objective(objective, gradient)
    x, directions = _point_and_directions(manifold, point, direction, rng, like)
    geometry, start = manifold.at(x), function.at(x)
    grad = start.gradient if function.riemannian else geometry.riemannian_gradient(start.gradient)
    steps = step_lengths(x)

    def errors(v: Point) -> np.ndarray:
        curve, derivative = geometry.retraction_curve(v), float(geometry.inner_product(grad, v))
        return np.array([function.at(curve.point(t)).value for t in steps]) - start.value - steps * derivative

    scale = abs(start.value) + float(geometry.norm(grad))
    taylor = taylor_verdict("gradient", x, steps, map(errors, directions), 2, scale, "the gradient is wrong")
    not_tangent = _tangency("gradient", manifold, x, grad)
    return taylor if not_tangent is None else not_tangent


def check_hessian(
    objective: Any,
    manifold: Manifold,
    gradient: Any = None,
    hessian: Any = None,
    *,
    point: Point = None,
    direction: Point = None,
    rng: Seed = None,
    like: Array | None = None,
) -> Verdict:
    """Check f(R_x(t v)) = f(x) + t <grad f, v> + t^2/2 <Hess f[v], v> + O(t^3) along a second-order retraction.

    The Hessian must also be tangent and symmetric.

    Parameters
    ----------
    objective, gradient, hessian
        As in ``rankopt.minimize``.
    manifold : Manifold
    point, direction : optional
        Point and tangent vector; random ones when left out.
    rng : None, int or generator
    like : array, optional
        Kind of the random point.

    Returns
    -------
    Verdict
        With the slope of the error, which is 3 for a correct Hessian and 2 for a wrong one.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> a = np.diag([1.0, 2.0, 3.0])
    >>> bool(check_hessian(lambda x: x @ a @ x, Sphere(3), lambda x: 2 * a @ x, lambda x, v: 2 * a @ v, rng=0))
    True
    """
    function = as_objective(objective, gradient, hessian)
    x, directions = _point_and_directions(manifold, point, direction, rng, like)
    geometry, start = manifold.at(x), function.at(x)
    grad = start.gradient if function.riemannian else geometry.riemannian_gradient(start.gradient)
    steps = step_lengths(x)

    def product(u: Point) -> Point:
        if function.riemannian:
            return start.hessian_product(u)
        return geometry.riemannian_hessian(start.gradient, start.hessian_product(u), u)

    def errors(v: Point) -> np.ndarray:
        values = [function.at(geometry.second_order_retraction(_scaled(manifold, t, v))).value for t in steps]
        derivative, curvature = float(geometry.inner_product(grad, v)), float(geometry.inner_product(product(v), v))
        return np.array(values) - start.value - steps * derivative - 0.5 * steps**2 * curvature

    v, u = directions[0], directions[-1]
    image, other_image = product(v), product(u)
    scale = abs(start.value) + float(geometry.norm(grad)) + float(geometry.norm(image))
    taylor = taylor_verdict("Hessian", x, steps, map(errors, directions), 3, scale, "the Hessian is wrong")
    gap = abs(float(geometry.inner_product(image, u) - geometry.inner_product(v, other_image)))
    size = float(geometry.norm(image) * geometry.norm(u) + geometry.norm(v) * geometry.norm(other_image))
    # The products may vanish though the terms of which they are made up do not.
    terms = _size(manifold, start.gradient) * _size(manifold, x) + _size(manifold, image)
    size += 1e3 * machine_epsilon(x) ** 0.5 * terms * _size(manifold, v) * _size(manifold, u)
    symmetric = close("Hessian", "<Hess[v], u> = <v, Hess[u]>", gap, size, x)
    not_tangent = _tangency("Hessian", manifold, x, image)
    return not_tangent if not_tangent is not None else (taylor if symmetric else symmetric)


def check_retraction(
    manifold: Manifold,
    retraction: Callable[[Point, Point], Point] | None = None,
    *,
    order: int = 1,
    point: Point = None,
    direction: Point = None,
    rng: Seed = None,
    like: Array | None = None,
) -> Verdict:
    """Check that R_x(0) = x and that t -> R_x(t v) agrees with a geodesic to first or second order.

    The tangential part of R_x(t v) - x - t v is O(t^2) for a retraction. For one of second order it is t^2 a / 2 +
    O(t^3), where a is the tangential acceleration of the geodesic, which the local geometry states
    (``geodesic_acceleration``); it vanishes where the metric of the surrounding space does not depend on the point.

    Parameters
    ----------
    manifold : Manifold
    retraction : callable, optional
        ``(x, v) -> R_x(v)``; the manifold's retraction (its second-order one for ``order=2``) when left out.
    order : {1, 2}
    point, direction : optional
        Point and tangent vector; random ones when left out.
    rng : None, int or generator
    like : array, optional
        Kind of the random point.

    Returns
    -------
    Verdict
        With the slope of the error, at least ``order + 1`` for a correct retraction.

    Examples
    --------
    >>> from manifolds import Stiefel
    >>> bool(check_retraction(Stiefel(6, 2), rng=0))
    True
    >>> check_retraction(Stiefel(6, 2), Stiefel(6, 2).retraction, order=2, rng=0).message
    'retraction: the error falls with slope 2.00, expected 3: the retraction is not of order 2'
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    x, directions = _point_and_directions(manifold, point, direction, rng, like)
    geometry, steps = manifold.at(x), step_lengths(x)
    if retraction is None:
        retraction = manifold.second_order_retraction if order == 2 else manifold.retraction

    def errors(v: Point) -> np.ndarray:
        bend = geometry.geodesic_acceleration(v) if order == 2 else manifold.zero_vector(x)
        return np.array([_size(manifold, tangential(t, v, bend)) for t in steps])

    def tangential(t: float, v: Point, bend: Point) -> Point:
        known = 0.5 * t**2 if order == 2 else 0.0
        return manifold.linear_combination(1.0, geometry.projection(difference(t, v)), -known, bend)

    def difference(t: float, v: Point) -> Point:
        y = retraction(x, _scaled(manifold, t, v))
        return manifold.linear_combination(1.0, y, -1.0, manifold.linear_combination(1.0, x, t, v))

    scale = _size(manifold, x) + _size(manifold, directions[0])
    fixed = close("retraction", "R_x(0) = x", _size(manifold, difference(0.0, directions[0])), scale, x)
    sentence = f"the retraction is not of order {order}"
    taylor = taylor_verdict("retraction", x, steps, map(errors, directions), order + 1, scale, sentence)
    return taylor if fixed else fixed


def check_manifold(manifold: Manifold, *, point: Point = None, rng: Seed = None, like: Array | None = None) -> Verdict:
    """Check all that the protocol promises of a manifold at one point.

    Points and tangent vectors are what they claim; the projection is tangent, linear, idempotent and self-adjoint in
    the metric; the Riemannian gradient is the Riesz representative; the retractions are of their orders and the
    velocity of their curves is true; transport is tangent and linear; gradient and Hessian of a test function pass
    their checks, the latter where the manifold has Hessians.

    Parameters
    ----------
    manifold : Manifold
    point : optional
        Point; a random one when left out.
    rng : None, int or generator
    like : array, optional
        Kind of the random point.

    Returns
    -------
    Verdict
        With one part per property.

    Examples
    --------
    >>> from manifolds import Grassmann
    >>> check_manifold(Grassmann(5, 2), rng=0).message
    'Grassmann(5, 2): all 13 checks passed'
    """
    generator = as_generator(rng)
    x = _single_point(manifold, point, generator, like)
    parts = tuple(_manifold_parts(manifold, x, generator))
    failed = [part for part in parts if not part]
    summary = f"all {len(parts)} checks passed" if not failed else "; ".join(part.message for part in failed)
    return Verdict("manifold", not failed, f"{manifold}: {summary}", parts=parts)


def _manifold_parts(manifold: Manifold, x: Point, generator: Any) -> Iterator[Verdict]:
    """Verdict on each property that the protocol promises."""
    geometry = manifold.at(x)
    u, v = (manifold.random_tangent_vector(x, generator) for _ in range(2))
    a, b = (manifold.standard_normal(generator, x) for _ in range(2))
    combine, size = manifold.linear_combination, lambda w: _size(manifold, w)
    pa, pb = geometry.projection(a), geometry.projection(b)

    yield said("point", manifold.check_point(x))
    yield said("tangent vector", manifold.check_tangent(x, u))
    yield said("projection", manifold.check_tangent(x, pa))
    difference = combine(1.0, geometry.projection(pa), -1.0, pa)
    yield close("projection", "P(P(a)) = P(a)", size(difference), size(a), x)
    together = geometry.projection(combine(2.0, a, -3.0, b))
    difference = combine(1.0, together, -1.0, combine(2.0, pa, -3.0, pb))
    yield close("projection", "linearity", size(difference), size(a) + size(b), x)
    left, right = geometry.inner_product(pa, b), geometry.inner_product(a, pb)
    scale = float(geometry.norm(a) * geometry.norm(b))
    yield close("projection", "<P(a), b> = <a, P(b)>", abs(float(left - right)), scale, x)
    gradient = geometry.riemannian_gradient(a)
    gap = abs(float(geometry.inner_product(gradient, u)) - float(manifold.euclidean_inner_product(a, u)))
    yield close(
        "gradient", "<grad, v> = Df[v]", gap, float(geometry.norm(gradient) * geometry.norm(u)) + size(a) * size(u), x
    )
    yield check_retraction(manifold, point=x, rng=generator)
    yield check_retraction(manifold, order=2, point=x, rng=generator)
    yield _check_velocity(manifold, x, (u, v))
    y = manifold.retraction(x, _scaled(manifold, 0.1, v))
    tu, tv = manifold.transport(x, y, u), manifold.transport(x, y, v)
    yield said("transport", manifold.check_tangent(y, tu))
    difference = combine(1.0, manifold.transport(x, y, combine(2.0, u, -3.0, v)), -1.0, combine(2.0, tu, -3.0, tv))
    yield close("transport", "linearity", size(difference), size(u) + size(v), x)
    yield _check_test_function(manifold, x, generator)


def _check_velocity(manifold: Manifold, x: Point, directions: tuple[Point, ...]) -> Verdict:
    """Velocity of the retraction's curve, against differences at t = 1/2."""
    steps = step_lengths(x)

    def errors(v: Point) -> np.ndarray:
        curve = manifold.at(x).retraction_curve(v)
        middle, velocity = curve.point(0.5), curve.velocity(0.5)
        lines = [manifold.linear_combination(1.0, middle, t, velocity) for t in steps]
        ends = [curve.point(0.5 + t) for t in steps]
        return np.array(
            [_size(manifold, manifold.linear_combination(1.0, y, -1.0, z)) for y, z in zip(ends, lines, strict=True)]
        )

    scale = _size(manifold, x) + _size(manifold, directions[0])
    return taylor_verdict("velocity", x, steps, map(errors, directions), 2, scale, "the velocity of the curve is wrong")


def _check_test_function(manifold: Manifold, x: Point, generator: Any) -> Verdict:
    """Gradient and Hessian of f = s + s^2 / 2, s = sum_i w_i |x_i|^2 / 2 over the rows x_i of a point."""
    weights = _map(_row_weights, manifold.standard_normal(generator, x))

    def weighted(u: Point) -> Point:
        return _map(lambda w, part: w * part, weights, u)

    def half(u: Point) -> float:
        return 0.5 * float(manifold.euclidean_inner_product(u, weighted(u)))

    def cost(u: Point) -> float:
        return half(u) + 0.5 * half(u) ** 2

    def gradient(u: Point) -> Point:
        return _scaled(manifold, 1 + half(u), weighted(u))

    def hessian(u: Point, w: Point) -> Point:
        slope = float(manifold.euclidean_inner_product(weighted(u), w))
        return manifold.linear_combination(1 + half(u), weighted(w), slope, weighted(u))

    first = check_gradient(cost, manifold, gradient, point=x, rng=generator)
    if not (first and manifold.has_hessian):
        return first
    return check_hessian(cost, manifold, gradient, hessian, point=x, rng=generator)


def _row_weights(z: Array) -> Array:
    """Weights in (1/2, 3/2), one per row, so that the test function depends on a frame only through its span."""
    rows = namespace(z).abs(z[:, :1] if z.ndim > 1 else z)
    return 0.5 + rows / (1 + rows)


def _map(function: Callable[..., Any], *points: Point) -> Point:
    if isinstance(points[-1], FactoredMatrix):  # what acts on rows acts on the left factor
        factors = [point.factors() for point in points]
        return LowRankMatrix(function(*(left for left, _ in factors)), factors[-1].right)
    if isinstance(points[0], tuple):
        return points[0]._make(_map(function, *parts) for parts in zip(*points, strict=True))  # type: ignore[attr-defined]
    return function(*points)


def _point_and_directions(
    manifold: Manifold, point: Point, direction: Point, rng: Seed, like: Any
) -> tuple[Point, tuple[Point, ...]]:
    """Point and tangent vectors of a check; several random directions, so that chance cancellations even out."""
    generator = as_generator(rng)
    x = _single_point(manifold, point, generator, like)
    problem = manifold.check_point(x)
    if problem is None and direction is not None:
        problem = manifold.check_tangent(x, direction)
    if problem:
        raise ValueError(f"the check needs a point of the manifold and a tangent vector there, but {problem}")
    if direction is not None:
        return x, (_scaled(manifold, 1.0, direction),)
    return x, tuple(manifold.random_tangent_vector(x, generator) for _ in range(5))


def _single_point(manifold: Manifold, point: Point, generator: Any, like: Any) -> Point:
    x = manifold.at(manifold.random_point(generator, like) if point is None else point).point
    if manifold.euclidean_inner_product(x, x).ndim:
        raise ValueError("the checks take one point, not a batch of points")
    return x


def _scaled(manifold: Manifold, t: float, v: Point) -> Point:
    return manifold.linear_combination(t, v, 0.0, v)


def _size(manifold: Manifold, vector: Point) -> float:
    return abs(float(manifold.euclidean_inner_product(vector, vector))) ** 0.5


def _tangency(name: str, manifold: Manifold, x: Point, vector: Point) -> Verdict | None:
    problem = manifold.check_tangent(x, vector)
    return None if problem is None else Verdict(name, False, f"{name}: not a tangent vector: {problem}")
