"""The augmented Lagrangian of a cost with constraints, as a problem without them.

    L(x) = f(x) + sum s * (m + r s / 2)

with multipliers m, penalty r, and the residual s of each constraint: h(x) of an equality, max(g(x), -m / r) of an
inequality. Its gradient is that of the Lagrangian f + sum y * c with the multipliers y = m + r s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from manifolds.lazy import lazy_property
from manifolds.linalg import (
    Array,
    inner_product,
    is_array,
    is_same_kind,
    kind,
    largest_absolute,
    namespace,
    standard_normal,
)
from manifolds.manifold import Manifold, Point
from manifolds.objective import Evaluation, Objective
from rankopt.constraints import ConstraintEvaluation, Constraints
from rankopt.state import ObjectiveProblem, ObjectiveState, State

Multipliers = tuple[Array, ...]


class AugmentedObjective(Objective):
    """Augmented Lagrangian with fixed multipliers and penalty."""

    def __init__(
        self, cost: Objective, constraints: Constraints, manifold: Manifold, multipliers: Multipliers, penalty: float
    ) -> None:
        super().__init__()
        self.cost, self.constraints, self.manifold = cost, constraints, manifold
        self.multipliers, self.penalty = multipliers, penalty
        self.has_hessian = cost.has_hessian and constraints.has_hessian

    def at(self, point: Point) -> AugmentedEvaluation:
        return self.of(point, self.cost.at(point), self.constraints.at(point))

    def of(self, point: Point, cost: Evaluation, constraints: tuple[ConstraintEvaluation, ...]) -> AugmentedEvaluation:
        """Evaluation from those of the cost and the constraints at the point."""
        return AugmentedEvaluation(self, point, cost, constraints)


class AugmentedEvaluation(Evaluation):
    """The augmented Lagrangian at one point, and what it says about the constraints there."""

    _objective: AugmentedObjective

    def __init__(
        self,
        objective: AugmentedObjective,
        point: Point,
        cost: Evaluation,
        constraints: tuple[ConstraintEvaluation, ...],
    ) -> None:
        super().__init__(objective, point)
        self.cost, self.constraints = cost, constraints

    @property
    def point(self) -> Point:
        """Where the evaluation is."""
        return self._point

    @lazy_property
    def residuals(self) -> tuple[Array, ...]:
        """Residuals s of the constraints."""
        penalty = self._objective.penalty
        return tuple(c.constraint.residual(c.values, m, penalty) for c, m in self._pairs())

    @lazy_property
    def multipliers(self) -> Multipliers:
        """Multipliers y = m + r s, with which the Lagrangian has the gradient of the augmented one."""
        penalty = self._objective.penalty
        return tuple(c.constraint.updated(c.values, m, penalty) for c, m in self._pairs())

    @property
    def residual(self) -> float:
        """Largest residual: zero where the constraints hold and the multipliers belong to those that are active."""
        return max(map(largest_absolute, self.residuals))

    @property
    def violation(self) -> float:
        """Largest violation of a constraint."""
        return max(largest_absolute(c.constraint.violation(c.values)) for c in self.constraints)

    @property
    def measures(self) -> dict[str, float]:
        return {"cost": self.cost.value}

    @property
    def constraint_measures(self) -> dict[str, float]:
        """What a constrained run records of the constraints."""
        pairs = zip(self.constraints, self.multipliers, strict=True)
        slack = max(largest_absolute(c.constraint.slack(c.values, y)) for c, y in pairs)
        penalty = self._objective.penalty
        return {"constraint_violation": self.violation, "complementarity": slack, "penalty": penalty}

    def _pairs(self) -> Iterator[tuple[ConstraintEvaluation, Array]]:
        """The constraints with the multipliers of the objective."""
        for c, m in zip(self.constraints, self._objective.multipliers, strict=True):
            if c.values.shape != m.shape:
                raise ValueError(
                    f"{c.name} returns values of shape {tuple(c.values.shape)}, but had {tuple(m.shape)} at the start"
                )
            yield c, m

    def _value(self) -> float:
        penalty = self._objective.penalty
        terms = (s * (m + 0.5 * penalty * s) for m, s in zip(self._objective.multipliers, self.residuals, strict=True))
        return self.cost.value + sum(float(namespace(term).sum(term)) for term in terms)

    def _gradient(self) -> Point:
        return weighted_gradient(self._objective.manifold, self.constraints, self.multipliers, self.cost.gradient)

    @lazy_property
    def _constraint_products(self) -> list[Callable[[Point], Point]]:
        return [c.hessian_products(m, self._objective.penalty) for c, m in self._pairs()]

    def _hessian_product(self, v: Point) -> Point:
        total = self.cost.hessian_product(v)
        for product in self._constraint_products:
            total = self._objective.manifold.linear_combination(1.0, total, 1.0, product(v))
        return total


class AugmentedProblem(ObjectiveProblem):
    """Minimization of an augmented Lagrangian; the counts are those of the cost and the constraints.

    Parameters
    ----------
    objective : AugmentedObjective
    known : AugmentedEvaluation
        Of the point from which the run starts, where nothing is evaluated again.
    """

    objective: AugmentedObjective

    def __init__(self, objective: AugmentedObjective, known: AugmentedEvaluation) -> None:
        super().__init__(objective, objective.manifold)
        self._known = known

    def counts(self) -> dict[str, int]:
        cost = self.objective.cost
        return {"nfev": cost.nfev, "ngev": cost.ngev, "nhev": cost.nhev} | self.objective.constraints.counts()

    @property
    def start_point(self) -> Point:
        """Where its runs start."""
        return self._known.point

    def start(self, point: Point) -> ObjectiveState:
        return self._start

    @lazy_property
    def _start(self) -> ObjectiveState:
        return ObjectiveState(self, self._known.point, self._known)

    def from_state(self, state: ObjectiveState) -> AugmentedProblem:
        """The same problem for runs that start from one of its states."""
        return AugmentedProblem(self.objective, state.evaluation)

    def updated(self, known: AugmentedEvaluation, multipliers: Multipliers, penalty: float) -> AugmentedProblem:
        """Problem with other multipliers, of runs that start from the point of an evaluation of this one."""
        old = self.objective
        objective = AugmentedObjective(old.cost, old.constraints, old.manifold, multipliers, penalty)
        return AugmentedProblem(objective, objective.of(known.point, known.cost, known.constraints))


def first_multipliers(
    constraints: tuple[ConstraintEvaluation, ...], multipliers: Sequence[Array] | None
) -> Multipliers:
    """Multipliers of the first augmented Lagrangian: those given, after checking them, or zeros."""
    if multipliers is None:
        return tuple(0 * constraint.values for constraint in constraints)
    if not isinstance(multipliers, (list, tuple)) or len(multipliers) != len(constraints):
        raise ValueError(f"multipliers must be a sequence of {len(constraints)} arrays, one for each constraint")
    for i, (constraint, given) in enumerate(zip(constraints, multipliers, strict=True)):
        name, values = f"multipliers[{i}]", constraint.values
        if not is_same_kind(given, values):
            found = " ".join(kind(given)) if is_array(given) else type(given).__name__
            raise TypeError(f"{name} must be {' '.join(kind(values))} like {constraint.name}, got {found}")
        if given.shape != values.shape:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)}, but {constraint.name} gives values of shape "
                f"{tuple(values.shape)}"
            )
        constraint.constraint.require_multipliers(given, name)
    return tuple(multipliers)


def first_penalty(state: State, constraints: tuple[ConstraintEvaluation, ...]) -> float:
    """Size of the cost over the squared size of the constraints, both from values and from changes over the manifold.

    The transposed Jacobian of the constraints is applied to one random vector of unit norm.
    """
    geometry, length = state.geometry, state.geometry.manifold.typical_dist
    violation = _norm([c.constraint.violation(c.values) for c in constraints])
    weights = [_random_like(c.values, seed) for seed, c in enumerate(constraints)]
    size = _norm(weights)
    total = weighted_gradient(geometry.manifold, constraints, [w / size for w in weights])
    slope = float(geometry.derivative(total, geometry.riemannian_gradient(total)))
    constraint_size = max(violation, length * max(slope, 0.0) ** 0.5)
    cost_size = max(abs(state.value), length * state.gradient_norm)
    return 10 * cost_size / constraint_size**2 if min(cost_size, constraint_size) > 0 else 1.0


def _random_like(values: Array, seed: int) -> Array:
    entries = standard_normal(seed, (math.prod(values.shape),), values)
    return namespace(values).reshape(entries, values.shape)


def _norm(arrays: Sequence[Array]) -> float:
    return sum(float(inner_product(a, a, a.ndim)) for a in arrays) ** 0.5


def weighted_gradient(
    manifold: Manifold, constraints: Sequence[ConstraintEvaluation], weights: Sequence[Array], total: Point = None
) -> Point:
    """Euclidean gradient of the weighted sum of all values, added to another vector if there is one."""
    for constraint, y in zip(constraints, weights, strict=True):
        gradient = constraint.gradient(y)
        total = gradient if total is None else manifold.linear_combination(1.0, total, 1.0, gradient)
    return total
