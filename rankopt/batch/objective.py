"""The costs and Euclidean gradients of a batch of problems, evaluated for the problems that are still at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manifolds.linalg import Array, is_array, is_same_kind, is_torch_array, kind, namespace
from manifolds.manifold import Point
from manifolds.objective import gradient_of_leaves, require_like
from rankopt.batch.rows import first_array, map_arrays, put, take


class BatchObjective:
    """Costs and gradients of the rows at work, from callables that see a batch.

    Without ``args`` the callables see points in the batch's own shape, always of all problems. With ``args``, arrays
    with one entry per problem, they see the rows at work along one leading axis, and the same rows of each array.

    Parameters
    ----------
    value_and_gradient : callable
        ``(x, *args) -> (costs, Euclidean gradients)``.
    points : point
        Start points, one row per problem.
    batch : tuple of int
        Shape of the batch.
    args : tuple of arrays
        One row per problem.
    riemannian : bool
        Whether the gradients are Riemannian already.

    Attributes
    ----------
    ncalls : int
        Number of calls so far.
    """

    def __init__(
        self,
        value_and_gradient: Callable[..., tuple[Array, Point]],
        points: Point,
        batch: tuple[int, ...],
        args: tuple[Any, ...],
        riemannian: bool,
    ) -> None:
        self.ncalls, self.riemannian = 0, riemannian
        self._value_and_gradient, self._batch, self._args = value_and_gradient, batch, args
        self._all_points = None if args else points

    @property
    def can_leave_out(self) -> bool:
        """Whether problems can be left out of an evaluation."""
        return self._all_points is None

    def keep(self, rows: Array) -> None:
        """Leave all but these rows of the present ones out of the following evaluations."""
        if self.can_leave_out:
            self._args = take(self._args, rows)

    def evaluate(self, points: Point, index: Array) -> tuple[Array, Point]:
        """Costs and gradients at the points of the problems with these numbers."""
        self.ncalls += 1
        if self.can_leave_out:
            return self._checked(self._value_and_gradient(points, *self._args), points)
        self._all_points = put(self._all_points, index, points)
        shaped = map_arrays(lambda a: namespace(a).reshape(a, (*self._batch, *a.shape[1:])), self._all_points)
        value, gradient = self._checked(self._value_and_gradient(shaped), shaped)
        flat = map_arrays(lambda a: namespace(a).reshape(a, (-1, *a.shape[len(self._batch) :])), (value, gradient))
        return take(flat, index)

    def _checked(self, pair: Any, points: Point) -> tuple[Array, Point]:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"objective must return a pair (costs, gradients), got {type(pair).__name__}")
        value, gradient = pair
        like = first_array(points)
        if not is_array(value):
            raise TypeError(f"objective must return an array of costs, one per problem, got {type(value).__name__}")
        if not is_same_kind(value, like):
            raise TypeError(f"the costs are {' '.join(kind(value))}, but the points are {' '.join(kind(like))}")
        expected = tuple(like.shape[:1]) if self.can_leave_out else self._batch
        if tuple(value.shape) != expected:
            raise ValueError(
                f"objective must return one cost per problem, shape {expected}, got shape {tuple(value.shape)}; "
                "sum over the axes of one point only"
            )
        return value, require_like(gradient, points, "gradient")


def value_and_gradient(objective: Any, gradient: Any) -> tuple[Callable[..., Any], bool]:
    """Callable ``(x, *args) -> (costs, gradients)``, and whether its gradients are Riemannian."""
    if not (gradient is None or isinstance(gradient, bool) or callable(gradient)):
        raise TypeError(f"gradient must be a callable, got {type(gradient).__name__}")
    if hasattr(objective, "value_and_gradient"):
        if gradient:
            raise ValueError("gradient must be left out: the objective brings its own derivatives")
        return objective.value_and_gradient, bool(getattr(objective, "riemannian", False))
    if not callable(objective):
        raise TypeError(f"objective must be callable or have value_and_gradient(x), got {type(objective).__name__}")
    if gradient is True:
        return objective, False
    if gradient:
        return (lambda x, *args: (objective(x, *args), gradient(x, *args))), False
    return (lambda x, *args: _by_autograd(objective, x, args)), False


def _by_autograd(objective: Any, points: Point, args: tuple[Any, ...]) -> tuple[Array, Point]:
    """Costs and their gradients: those of the sum of the costs, since each depends on its own point only."""
    if not is_torch_array(first_array(points)):
        raise TypeError(
            "gradient is missing: pass gradient=..., a callable x -> Euclidean gradients (or True if the objective "
            f"returns both), or use torch points, which autograd differentiates; the points are "
            f"{type(first_array(points)).__name__}"
        )
    import torch

    leaves: list[Any] = []
    variables = map_arrays(lambda a: a.detach().requires_grad_(True), points)
    map_arrays(leaves.append, variables)
    with torch.enable_grad():
        value = objective(variables, *args)
        if not (is_torch_array(value) and value.requires_grad):
            raise TypeError("the costs do not depend on the points through torch operations; pass gradient=...")
        parts = iter(torch.autograd.grad(value.sum(), leaves, allow_unused=True, materialize_grads=True))
    return value.detach(), gradient_of_leaves(points, parts)
