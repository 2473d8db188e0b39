"""Rounds of a batch: every problem at work tries one step, and goes on from there or tries another one.

A round costs one batched evaluation. What a problem does depends on its own row only, by masks: finished rows do not
change any more, and rows whose cost or gradient is not finite refuse the step and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from manifolds.linalg import Array, machine_epsilon, namespace
from manifolds.manifold import LocalGeometry, Manifold, Point
from manifolds.retractions import RankDeficientError
from rankopt.batch.directions import Arrival, Directions
from rankopt.batch.line_search import Search, begin
from rankopt.batch.objective import BatchObjective
from rankopt.batch.rows import all_finite, map_arrays, select, stack, take
from rankopt.solvers.progress import BatchProgress
from rankopt.solvers.status import UNFINISHED, Status
from rankopt.solvers.stopping import StoppingCriterion


class Reached(NamedTuple):
    """A point of each row, with its cost and the norm of the gradient."""

    point: Point
    value: Array
    grad_norm: Array


class Rows(NamedTuple):
    """Where each problem stands: one row per problem in every array."""

    point: Point
    value: Array
    gradient: Point
    squared_norm: Array
    """Squared norm of the Riemannian gradient in the metric."""
    direction: Point
    slope: Array
    search: Search
    recent_costs: Array
    """Latest costs, newest last, shape ``(m, k)``."""
    first_norm: Array
    """Norm of the gradient at the start."""
    step_size: Array
    nit: Array
    nfev: Array
    status: Array
    best: Reached

    @property
    def grad_norm(self) -> Array:
        """Norm of the Riemannian gradient."""
        return _root(self.squared_norm)

    @property
    def reached(self) -> Reached:
        """Where each problem is."""
        return Reached(self.point, self.value, self.grad_norm)


@dataclass(frozen=True)
class Rounds:
    """What stays the same from round to round.

    Parameters
    ----------
    manifold : Manifold
    objective : BatchObjective
    directions : Directions
    stopping : StoppingCriterion
    """

    manifold: Manifold
    objective: BatchObjective
    directions: Directions
    stopping: StoppingCriterion

    def start(self, point: Point, index: Array) -> Rows:
        """Rows at the start points; those whose cost or gradient is not finite are finished."""
        return self.rows_at(point, *self.objective.evaluate(point, index))

    def rows_at(self, point: Point, value: Array, given: Point) -> Rows:
        """Rows at start points with these costs and gradients."""
        xp = namespace(value)
        defined = xp.isfinite(value) & all_finite(given)
        given = select(defined, given, map_arrays(xp.zeros_like, given))
        geometry = self.manifold.at(point)
        with np.errstate(all="ignore"):
            gradient = self._gradient(geometry, given)
            squared = self._derivative(geometry, given, gradient, gradient)
        defined = defined & xp.isfinite(squared)
        squared = xp.where(defined, squared, xp.full_like(value, float("nan")))
        norm, none = _root(squared), xp.zeros_like(value, dtype=xp.int64)
        recent = xp.tile(value[:, None], (1, 1 + max(self.directions.search.memory - 1, self.stopping.lookback)))
        slope = -squared
        return Rows(
            point=point,
            value=value,
            gradient=gradient,
            squared_norm=squared,
            direction=self._reversed(gradient),
            slope=slope,
            search=begin(self._first_step(point, squared), value, slope),
            recent_costs=recent,
            first_norm=norm,
            step_size=xp.zeros_like(value),
            nit=none,
            nfev=none + 1,
            status=xp.where(defined, UNFINISHED, int(Status.NOT_FINITE)),
            best=Reached(point, value, norm),
        )

    def advance(self, rows: Rows, index: Array) -> Rows:
        """One trial for each row at work."""
        xp = namespace(rows.value)
        active = rows.status == UNFINISHED
        t = xp.where(active, rows.search.t, xp.zeros_like(rows.search.t))
        origin, point, exists = _retract(self.manifold, rows.point, rows.direction, t)
        value, given = self.objective.evaluate(point, index)
        with np.errstate(all="ignore"):
            defined = exists & xp.isfinite(value) & all_finite(given)
            value = xp.where(defined, value, xp.full_like(value, float("inf")))
            given = select(defined, given, map_arrays(xp.zeros_like, given))
            arrival = self._arrive(origin, point, given, rows.direction)
            search = self.directions.search
            judgement = search.judge(
                rows.search,
                rows.slope,
                xp.max(rows.recent_costs[:, -search.memory :], axis=1),
                4 * machine_epsilon(value) * abs(rows.value),
                value,
                arrival.trial_slope,
            )
            accepted = active & judgement.accepted
            moved = self._moved(rows, point, value, arrival)
            refused = select(active, judgement.search, rows.search)
            stayed = self._stayed(rows, refused, active & judgement.failed, defined)
            new = select(accepted, moved, stayed)
        return new._replace(nfev=rows.nfev + xp.astype(active, xp.int64))

    def finish(self, rows: Rows, seconds: float) -> Rows:
        """Rows with the statuses that the stopping criterion gives to those that have just begun or taken a step."""
        xp = namespace(rows.value)
        latest = {
            "fun": rows.value,
            "grad_norm": rows.grad_norm,
            "step_size": rows.step_size,
            "nfev": rows.nfev,
            "ngev": rows.nfev,
            "time": seconds,
        }
        progress = BatchProgress(
            latest, machine_epsilon(rows.value), {"grad_norm": rows.first_norm}, rows.nit, rows.recent_costs
        )
        between_steps = (rows.status == UNFINISHED) & (rows.search.trials == 0)
        with np.errstate(all="ignore"):
            status = xp.where(between_steps, self.stopping.check_each(progress), rows.status)
        return rows._replace(status=status)

    def _arrive(self, origin: LocalGeometry, point: Point, given: Point, direction: Point) -> Arrival:
        geometry = self.manifold.at(point)
        gradient = self._gradient(geometry, given)
        moved = geometry.transport_from(origin, direction)

        def derivative(v: Point) -> Array:
            return self._derivative(geometry, given, gradient, v)

        def transport(v: Point) -> Point:
            return geometry.transport_from(origin, v)

        return Arrival(gradient, derivative(gradient), moved, derivative(moved), derivative, transport)

    def _moved(self, rows: Rows, point: Point, value: Array, arrival: Arrival) -> Rows:
        """Rows after their trials were taken as steps."""
        xp = namespace(value)
        heading = self.directions.following(self.manifold, rows, arrival)
        reached = Reached(point, value, _root(arrival.squared_norm))
        return rows._replace(
            point=point,
            value=value,
            gradient=arrival.gradient,
            squared_norm=arrival.squared_norm,
            direction=heading.direction,
            slope=heading.slope,
            search=begin(heading.first_step, value, heading.slope),
            recent_costs=xp.concat([rows.recent_costs[:, 1:], value[:, None]], axis=1),
            step_size=rows.search.t,
            nit=rows.nit + 1,
            best=select(value < rows.best.value, reached, rows.best),
        )

    def _stayed(self, rows: Rows, search: Search, failed: Array, defined: Array) -> Rows:
        """Rows after their trials were refused: searches that failed start over downhill, or end the problem."""
        xp = namespace(rows.value)
        steepest = -rows.squared_norm
        ends = failed & (rows.slope == steepest)
        again = failed & ~ends
        code = xp.where(defined, int(Status.STEP_TOO_SMALL), int(Status.NOT_FINITE))
        restart = begin(self._first_step(rows.point, rows.squared_norm), rows.value, steepest)
        return rows._replace(
            direction=select(again, self._reversed(rows.gradient), rows.direction),
            slope=xp.where(again, steepest, rows.slope),
            search=select(again, restart, search),
            status=xp.where(ends, code, rows.status),
        )

    def _gradient(self, geometry: LocalGeometry, given: Point) -> Point:
        return given if self.objective.riemannian else geometry.riemannian_gradient(given)

    def _derivative(self, geometry: LocalGeometry, given: Point, gradient: Point, v: Point) -> Array:
        if self.objective.riemannian:
            return geometry.inner_product(gradient, v)
        return self.manifold.euclidean_inner_product(given, v)

    def _reversed(self, v: Point) -> Point:
        return self.manifold.linear_combination(-1.0, v, 0.0, v)

    def _first_step(self, point: Point, squared_norm: Array) -> Array:
        """Very first trial along the gradient: the step of the manifold's ``first_step_length``."""
        xp = namespace(squared_norm)
        tiny = float(xp.finfo(squared_norm.dtype).smallest_normal)
        floor = xp.where(squared_norm > tiny, squared_norm, xp.full_like(squared_norm, tiny))
        return self.manifold.first_step_length(point) / xp.sqrt(floor)


def _retract(manifold: Manifold, point: Point, direction: Point, t: Array) -> tuple[LocalGeometry, Point, Array]:
    """Geometry at the points, the retracted points, and where there is one; the others stay.

    A retraction that fails for a batch fails because of single rows, which halving finds.
    """
    xp = namespace(t)
    origin = manifold.at(point)
    try:
        return origin, origin.retraction_curve(direction).point(t), xp.ones_like(t, dtype=xp.bool)
    except RankDeficientError:
        if t.shape[0] == 1:
            return origin, point, xp.zeros_like(t, dtype=xp.bool)
    half = t.shape[0] // 2
    halves = [
        _retract(manifold, *take((point, direction, t), rows))[1:] for rows in (slice(None, half), slice(half, None))
    ]
    return origin, *stack(*halves)


def _root(squared: Array) -> Array:
    xp = namespace(squared)
    return xp.sqrt(xp.where(squared < 0, xp.zeros_like(squared), squared))
