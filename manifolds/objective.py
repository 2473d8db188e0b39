"""Functions on a manifold: one face for the ways in which a cost and its derivatives are given, with true counts.

``objective.at(x)`` is the evaluation at a point: its ``value``, Euclidean ``gradient`` and ``hessian_product(v)`` are
computed when first asked for, never twice, and counted. Solvers and numerical checks see only this face.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from manifolds.lazy import lazy_property
from manifolds.linalg import is_array, is_same_kind, is_torch_array, kind, namespace
from manifolds.manifold import Point


class Evaluation(ABC):
    """A function at one point, evaluated lazily and at most once."""

    def __init__(self, objective: Objective, point: Point) -> None:
        self._objective, self._point = objective, point

    @lazy_property
    def value(self) -> float:
        """Cost at the point."""
        self._objective.nfev += 1
        return as_number(self._value())

    @lazy_property
    def gradient(self) -> Point:
        """Gradient at the point: Euclidean, unless the objective is ``riemannian``."""
        self._objective.ngev += 1
        return require_like(self._gradient(), self._point, "gradient")

    @property
    def measures(self) -> dict[str, float]:
        """What the history of a run records of the point besides."""
        return {}

    def hessian_product(self, v: Point) -> Point:
        """Hessian product along v: Euclidean, unless the objective is ``riemannian``."""
        self._objective.nhev += 1
        return require_like(self._hessian_product(v), self._point, "hessian")

    @abstractmethod
    def _value(self) -> Any: ...

    @abstractmethod
    def _gradient(self) -> Point: ...

    def _hessian_product(self, v: Point) -> Point:
        if self._objective.hessian is None:
            raise TypeError(
                "the objective has no Hessian product; pass hessian=..., a callable (x, v) -> Euclidean Hessian product"
            )
        return self._objective.hessian(self._point, v)


class Objective(ABC):
    """A function with its derivatives and true counts of what was evaluated.

    Attributes
    ----------
    nfev, ngev, nhev : int
        Evaluations of the cost, of the gradient and of Hessian products so far.
    riemannian : bool
        Whether gradient and Hessian are Riemannian already.
    hessian : callable or None
        ``(x, v) -> Hessian product``, where one is given.
    has_hessian : bool
        Whether evaluations have Hessian products, given or by automatic differentiation.
    """

    riemannian = False

    def __init__(self, hessian: Callable[[Point, Point], Point] | None = None) -> None:
        self.hessian = hessian
        self.has_hessian = hessian is not None
        self.nfev = self.ngev = self.nhev = 0

    @abstractmethod
    def at(self, point: Point) -> Evaluation:
        """Evaluation at a point."""


def as_objective(
    objective: Any, gradient: Callable[..., Any] | bool | None = None, hessian: Callable[..., Any] | None = None
) -> Objective:
    """Objective from a cost and its derivatives.

    Parameters
    ----------
    objective : callable or object
        ``x -> cost``; or ``x -> (cost, gradient)`` with ``gradient=True``; or an object with
        ``value_and_gradient(x)``, or ``value(x)`` and ``gradient(x)``, and optionally ``hessian_product(x, v)``; the
        former also with ``riemannian = True``; or an Objective.
    gradient : callable, True or None
        ``x -> Euclidean gradient``. Left out, torch's autograd differentiates the cost.
    hessian : callable or None
        ``(x, v) -> Euclidean Hessian product``.

    Raises
    ------
    TypeError
        If an argument is neither of these.
    """
    for name, value in (("gradient", gradient), ("hessian", hessian)):
        if not (value is None or callable(value) or (name == "gradient" and isinstance(value, bool))):
            raise TypeError(f"{name} must be a callable, got {type(value).__name__}")
    if isinstance(objective, Objective):
        _refuse_extra(gradient, hessian)
        return objective
    if hasattr(objective, "value_and_gradient"):
        _refuse_extra(gradient, None)
        hessian = hessian or getattr(objective, "hessian_product", None)
        return _PairObjective(objective.value_and_gradient, hessian, getattr(objective, "riemannian", False))
    if not callable(objective) and hasattr(objective, "value") and hasattr(objective, "gradient"):
        _refuse_extra(gradient, None)
        hessian = hessian or getattr(objective, "hessian_product", None)
        return _CallableObjective(objective.value, objective.gradient, hessian)
    if not callable(objective):
        raise TypeError(f"objective must be callable or have value_and_gradient(x), got {type(objective).__name__}")
    if gradient is True:
        return _PairObjective(objective, hessian, riemannian=False)
    if not gradient:
        return _AutogradObjective(objective, hessian)
    return _CallableObjective(objective, gradient, hessian)


def _refuse_extra(gradient: Any, hessian: Any) -> None:
    if gradient or hessian:
        raise ValueError("gradient must be left out: the objective brings its own derivatives")


class _CallableObjective(Objective):
    """Cost, gradient and Hessian product as separate callables."""

    def __init__(self, cost: Any, gradient: Any, hessian: Any) -> None:
        super().__init__(hessian)
        self.cost, self.gradient = cost, gradient

    def at(self, point: Point) -> Evaluation:
        return _CallableEvaluation(self, point)


class _CallableEvaluation(Evaluation):
    _objective: _CallableObjective

    def _value(self) -> Any:
        return self._objective.cost(self._point)

    def _gradient(self) -> Point:
        return self._objective.gradient(self._point)


class _PairObjective(Objective):
    """Cost and gradient from one callable."""

    def __init__(self, value_and_gradient: Any, hessian: Any, riemannian: bool) -> None:
        super().__init__(hessian)
        self.value_and_gradient, self.riemannian = value_and_gradient, riemannian

    def at(self, point: Point) -> Evaluation:
        return _PairEvaluation(self, point)


class _PairEvaluation(Evaluation):
    _objective: _PairObjective

    @lazy_property
    def _pair(self) -> Any:
        """One call gives both, and both are counted."""
        self._objective.nfev += 1
        self._objective.ngev += 1
        pair = self._objective.value_and_gradient(self._point)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"objective must return a pair (cost, gradient), got {type(pair).__name__}")
        return pair

    @lazy_property
    def value(self) -> float:
        return as_number(self._value())

    @lazy_property
    def gradient(self) -> Point:
        return require_like(self._gradient(), self._point, "gradient")

    @property
    def measures(self) -> dict[str, float]:
        """What the history of a run records of the point besides."""
        return {}

    def _value(self) -> Any:
        return self._pair[0]

    def _gradient(self) -> Point:
        return self._pair[1]


class _AutogradObjective(Objective):
    """Cost as a torch function, differentiated by autograd."""

    def __init__(self, cost: Any, hessian: Any) -> None:
        super().__init__(hessian)
        self.cost, self.has_hessian = cost, True

    def at(self, point: Point) -> Evaluation:
        return _AutogradEvaluation(self, point)


class _AutogradEvaluation(Evaluation):
    _objective: _AutogradObjective

    @lazy_property
    def _graph(self) -> Any:
        """Leaves that stand for the point, and the cost as a function of them."""
        import torch

        leaves = [_require_torch(leaf).detach().requires_grad_(True) for leaf in leaves_of(self._point)]
        with torch.enable_grad():
            return leaves, self._objective.cost(unflatten(self._point, leaves))

    @lazy_property
    def _differentiable_gradient(self) -> Any:
        """Gradient with its own graph: one linearisation serves every Hessian product at the point."""
        import torch

        leaves, cost = self._graph
        return torch.autograd.grad(cost, leaves, create_graph=True, allow_unused=True, materialize_grads=True)

    def _value(self) -> Any:
        cost = self._graph[1]
        return cost.detach() if is_torch_array(cost) else cost

    def _gradient(self) -> Point:
        import torch

        leaves, cost = self._graph
        as_number(cost.detach() if is_torch_array(cost) else cost)
        if not (is_torch_array(cost) and cost.requires_grad):
            raise TypeError("the cost does not depend on the point through torch operations; pass gradient=...")
        gradient = torch.autograd.grad(cost, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        return gradient_of_leaves(self._point, iter(gradient))

    def _hessian_product(self, v: Point) -> Point:
        if self._objective.hessian is not None:
            return super()._hessian_product(v)
        if any(hasattr(part, "gradient_from_factors") for part in tuples_of(self._point)):
            raise TypeError(
                "second derivatives by the factors of a matrix are not its Hessian; pass hessian=..., a callable "
                "(x, v) -> Euclidean Hessian product"
            )
        return product_by_autograd(self._point, self._graph[0], self._differentiable_gradient, v)


def _require_torch(leaf: Any) -> Any:
    if not is_torch_array(leaf):
        raise TypeError(
            "gradient is missing: pass gradient=..., a callable x -> Euclidean gradient (or True if the objective "
            f"returns both), or use torch points, which autograd differentiates; the point is {type(leaf).__name__}"
        )
    return leaf


def leaves_of(point: Point) -> list[Any]:
    """Arrays of a point or vector, in order."""
    return [leaf for part in point for leaf in leaves_of(part)] if isinstance(point, tuple) else [point]


def tuples_of(point: Point) -> list[Any]:
    """The tuples that a point consists of: itself and those in it."""
    return [point, *(inner for part in point for inner in tuples_of(part))] if isinstance(point, tuple) else []


def unflatten(like: Any, leaves: Any) -> Point:
    """Arrays in order, put together like a point."""
    rest = iter(leaves)

    def build(part: Any) -> Any:
        return type(part)._make(map(build, part)) if isinstance(part, tuple) else next(rest)  # type: ignore[attr-defined]

    return build(like)


def product_by_autograd(point: Point, leaves: Any, gradient: Any, v: Point) -> Point:
    """Euclidean Hessian product along v, from a gradient by the leaves that has its own graph."""
    import torch

    # Where a function is linear, its gradient is constant and has no graph.
    varying = [(part, entry) for part, entry in zip(gradient, leaves_of(v), strict=True) if part.requires_grad]
    if not varying:
        return unflatten(point, [torch.zeros_like(leaf) for leaf in leaves])
    parts, entries = zip(*varying, strict=True)
    product = torch.autograd.grad(
        parts, leaves, grad_outputs=entries, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return unflatten(point, product)


def gradient_of_leaves(point: Any, derivatives: Any) -> Point:
    """Gradient from derivatives by a point's arrays; a point that stands for a matrix makes that of the matrix."""
    if not isinstance(point, tuple):
        return next(derivatives)
    parts = [gradient_of_leaves(part, derivatives) for part in point]
    if hasattr(point, "gradient_from_factors"):
        return point.gradient_from_factors(*parts)
    return type(point)._make(parts)  # type: ignore[attr-defined]


def as_number(value: Any) -> float:
    """Python number of a scalar cost; a TypeError for anything else."""
    if isinstance(value, float):
        return float(value)
    if is_array(value) or hasattr(value, "shape"):
        if tuple(value.shape) != ():
            raise TypeError(
                f"objective must return one number, got an array of shape {tuple(value.shape)}; sum or average it"
            )
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"objective must return one number, got {type(value).__name__}") from None


def require_like(vector: Point, point: Point, name: str) -> Point:
    """Return the vector if it has the layout, shape, library, dtype and device of the point, else raise an error.

    A point that stands for a matrix, such as a FixedRankPoint, says itself which vectors it takes.
    """
    if hasattr(point, "require_vector"):
        return point.require_vector(vector, name)
    if isinstance(point, tuple):
        if not isinstance(vector, tuple) or len(vector) != len(point):
            raise TypeError(
                f"{name} must be a tuple of {len(point)} arrays like the point, got {type(vector).__name__}"
            )
        return point._make(  # type: ignore[attr-defined]
            require_like(v, x, f"{name}[{i}]") for i, (v, x) in enumerate(zip(vector, point, strict=True))
        )
    if type(vector) is type(point) is np.ndarray and vector.shape == point.shape and vector.dtype == point.dtype:
        return vector
    if not is_array(vector):
        raise TypeError(f"{name} must be {type(point).__name__} like the point, got {type(vector).__name__}")
    if vector.shape != point.shape:
        raise ValueError(f"{name} has shape {tuple(vector.shape)}, but the point has shape {tuple(point.shape)}")
    if not is_same_kind(vector, point):
        raise TypeError(f"{name} is {' '.join(kind(vector))}, but the point is {' '.join(kind(point))}")
    return vector


def is_finite(vector: Point) -> bool:
    """Whether every entry of an array, or of a tuple of arrays, is finite."""
    if isinstance(vector, tuple):
        return all(map(is_finite, vector))
    return bool(namespace(vector).all(namespace(vector).isfinite(vector)))
