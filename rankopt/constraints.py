"""Constraints on the points of a manifold, as values, and their evaluation with true counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifolds.lazy import lazy_property
from manifolds.linalg import Array, is_array, is_same_kind, is_torch_array, kind, namespace, require_finite
from manifolds.manifold import Point
from manifolds.objective import gradient_of_leaves, is_finite, leaves_of, product_by_autograd, require_like, unflatten


@dataclass(frozen=True)
class Constraint(ABC):
    """Constraint on a function c(x) with values of any fixed shape; Equality or Inequality.

    In the augmented Lagrangian with multipliers m and penalty r it counts with its residual s, a function of c(x):

        f(x) + sum s * (m + r s / 2)    of gradient    grad f(x) + Dc(x)^T (m + r s).

    Parameters
    ----------
    function : callable
        ``x -> values``: a number or an array of any shape, of the point's library, dtype and device.
    gradient : callable, optional
        ``(x, y) -> Euclidean gradient of sum(y * function(x))``, with y of the shape of the values: the transposed
        Jacobian times y. Left out, torch's autograd differentiates the function.
    """

    function: Callable[[Point], Array]
    gradient: Callable[[Point, Array], Point] | None = None

    def __post_init__(self) -> None:
        for name, value in (("function", self.function), ("gradient", self.gradient)):
            if not (callable(value) or (value is None and name == "gradient")):
                raise TypeError(f"{name} must be a callable, got {type(value).__name__}")

    @abstractmethod
    def residual(self, values: Array, multipliers: Array, penalty: float) -> Array:
        """What the augmented Lagrangian penalizes."""

    def updated(self, values: Array, multipliers: Array, penalty: float) -> Array:
        """Multipliers m + r s, with which the Lagrangian has the gradient of the augmented one."""
        return multipliers + penalty * self.residual(values, multipliers, penalty)

    @abstractmethod
    def violation(self, values: Array) -> Array:
        """By how much each value violates the constraint; not negative."""

    @abstractmethod
    def slack(self, values: Array, multipliers: Array) -> Array:
        """How slack each constraint is that has a multiplier; zero where the pair is complementary."""

    def require_multipliers(self, multipliers: Array, name: str) -> None:
        """Raise a ValueError if the multipliers are not finite, or have a wrong sign."""
        require_finite(multipliers, name)


class Equality(Constraint):
    """The constraint h(x) = 0.

    Parameters
    ----------
    function : callable
        ``x -> h(x)``: a number or an array of any shape, of the point's library, dtype and device.
    gradient : callable, optional
        ``(x, y) -> Euclidean gradient of sum(y * h(x))``, with y of the shape of h(x): the transposed Jacobian times y.
        Left out, torch's autograd differentiates the function.

    Examples
    --------
    >>> import numpy as np
    >>> balanced = Equality(lambda x: x.sum(), lambda x, y: y * np.ones_like(x))
    >>> balanced.violation(balanced.function(np.array([1.0, -3.0])))
    np.float64(2.0)
    """

    def residual(self, values: Array, multipliers: Array, penalty: float) -> Array:
        return values

    def violation(self, values: Array) -> Array:
        return abs(values)

    def slack(self, values: Array, multipliers: Array) -> Array:
        return 0 * values


class Inequality(Constraint):
    """The constraint g(x) <= 0.

    Parameters
    ----------
    function : callable
        ``x -> g(x)``: a number or an array of any shape, of the point's library, dtype and device.
    gradient : callable, optional
        ``(x, y) -> Euclidean gradient of sum(y * g(x))``, with y of the shape of g(x): the transposed Jacobian times y.
        Left out, torch's autograd differentiates the function.

    Examples
    --------
    >>> import numpy as np
    >>> not_negative = Inequality(lambda x: -x, lambda x, y: -y)
    >>> not_negative.violation(not_negative.function(np.array([1.0, -3.0])))
    array([-0.,  3.])
    """

    def residual(self, values: Array, multipliers: Array, penalty: float) -> Array:
        return namespace(values).maximum(values, multipliers * (-1 / penalty))

    def updated(self, values: Array, multipliers: Array, penalty: float) -> Array:
        # m - r (m / r) would leave rounding, of either sign, where the constraint is not active.
        xp, raised = namespace(values), multipliers + penalty * values
        return xp.maximum(raised, xp.zeros_like(raised))

    def violation(self, values: Array) -> Array:
        return namespace(values).maximum(values, 0 * values)

    def slack(self, values: Array, multipliers: Array) -> Array:
        xp = namespace(values)
        return xp.where(multipliers > 0, xp.maximum(-values, 0 * values), 0 * values)

    def require_multipliers(self, multipliers: Array, name: str) -> None:
        super().require_multipliers(multipliers, name)
        if bool(namespace(multipliers).any(multipliers < 0)):
            raise ValueError(f"{name} must not be negative, since it belongs to an Inequality")


class Constraints:
    """The constraints of a run, with true counts of what was evaluated.

    Attributes
    ----------
    nfev, ngev, nhev : int
        Calls of the functions, of their gradients, and of second derivatives, over all constraints.
    """

    def __init__(self, constraints: Constraint | Sequence[Constraint]) -> None:
        self.members = (constraints,) if isinstance(constraints, Constraint) else tuple(constraints)
        self.nfev = self.ngev = self.nhev = 0
        # Autograd gives second derivatives; where gradients are functions, differences of them do.
        self.has_hessian = all(constraint.gradient is None for constraint in self.members)

    def counts(self) -> dict[str, int]:
        """True counts so far."""
        return {"constr_nfev": self.nfev, "constr_ngev": self.ngev, "constr_nhev": self.nhev}

    def at(self, point: Point) -> tuple[ConstraintEvaluation, ...]:
        """Evaluations of the constraints at a point."""
        return tuple(ConstraintEvaluation(self, i, point) for i in range(len(self.members)))


class ConstraintEvaluation:
    """A constraint at one point, evaluated lazily and at most once."""

    def __init__(self, constraints: Constraints, index: int, point: Point) -> None:
        self.constraint, self.name = constraints.members[index], f"constraints[{index}]"
        self._constraints, self._point = constraints, point

    @lazy_property
    def _graph(self) -> Any:
        """Leaves that stand for the point, and the values as a function of them."""
        import torch

        leaves = leaves_of(self._point)
        if not all(map(is_torch_array, leaves)):
            raise TypeError(
                f"{self.name} needs a gradient: pass gradient=..., a callable (x, y) -> Euclidean gradient of "
                "sum(y * function(x)), or use torch points, which autograd differentiates"
            )
        leaves = [leaf.detach().requires_grad_(True) for leaf in leaves]
        with torch.enable_grad():
            return leaves, self.constraint.function(unflatten(self._point, leaves))

    @lazy_property
    def values(self) -> Array:
        """Values of the constraint's function."""
        self._constraints.nfev += 1
        values = self._graph[1] if self.constraint.gradient is None else self.constraint.function(self._point)
        like = leaves_of(self._point)[0]
        if type(values) is float and isinstance(like, np.ndarray):
            values = np.asarray(values, like.dtype)
        if not is_array(values):
            raise TypeError(f"{self.name} must return an array like the point, got {type(values).__name__}")
        if not is_same_kind(values, like):
            raise TypeError(f"{self.name} returns {' '.join(kind(values))}, but the point is {' '.join(kind(like))}")
        return values.detach() if is_torch_array(values) else values

    def require_usable_values(self) -> None:
        """Raise a ValueError unless there are values and all of them are finite."""
        if 0 in self.values.shape:
            raise ValueError(f"{self.name} must return at least one value, got shape {tuple(self.values.shape)}")
        if not is_finite(self.values):
            raise ValueError(f"{self.name} must be finite at the start point x0")

    def gradient(self, weights: Array) -> Point:
        """Euclidean gradient of the sum of the values, weighted."""
        self._constraints.ngev += 1
        if self.constraint.gradient is not None:
            return require_like(self.constraint.gradient(self._point, weights), self._point, f"{self.name}.gradient")
        return gradient_of_leaves(self._point, iter(self._weighted_gradient(weights, create_graph=False)))

    def hessian_products(self, multipliers: Array, penalty: float) -> Callable[[Point], Point]:
        """Function that gives Euclidean Hessian products of the constraint's term, by autograd."""
        import torch

        leaves, values = self._graph
        with torch.enable_grad():
            weights = self.constraint.updated(values, multipliers, penalty)
            gradient = self._weighted_gradient(weights, create_graph=True)

        def product(v: Point) -> Point:
            self._constraints.nhev += 1
            return product_by_autograd(self._point, leaves, gradient, v)

        return product

    def _weighted_gradient(self, weights: Array, *, create_graph: bool) -> Any:
        import torch

        leaves, values = self._graph
        if not (is_torch_array(values) and values.requires_grad):
            raise TypeError(f"{self.name} does not depend on the point through torch operations; pass gradient=...")
        return torch.autograd.grad(
            values, leaves, grad_outputs=weights, retain_graph=True, create_graph=create_graph, allow_unused=True,
            materialize_grads=True,
        )  # fmt: skip
