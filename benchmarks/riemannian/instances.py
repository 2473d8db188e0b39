"""What an instance of a benchmark problem is, and how other libraries see its points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manifolds import Manifold

from .instruments import Functions

SIZES = ("tiny", "small", "large")


def same(x: Any) -> Any:
    """The point, or the vector, as it is."""
    return x


def same_covector(native: Any, gradient: Any) -> Any:
    """The Euclidean gradient as it is, at a point that is as it is."""
    return gradient


@dataclass(frozen=True)
class Coordinates:
    """A library's manifold, or an optimizer's free variables, with the maps between its points and the problem's.

    A cost f of points x is the cost f(leave(z)) there, with the gradient ``pull(z, grad f)`` and, where ``leave`` is
    linear with the linear part ``push``, the Hessian product ``pull(z, Hess f[push(w)])``.
    """

    manifold: Any = None
    enter: Callable[[Any], Any] = same
    leave: Callable[[Any], Any] = same
    pull: Callable[[Any, Any], Any] = same_covector
    push: Callable[[Any], Any] | None = same


@dataclass(frozen=True)
class Instance:
    """A problem of one size: functions, start points, the optimum, and how every library gets it."""

    problem: str
    size: str
    label: str
    functions: Functions
    manifold: Callable[[], Manifold]
    """Ours; libraries' manifolds are made within a run, as a user's would be."""
    start: Callable[[int], Any]
    """Start point of a seed."""
    optimum: float
    infeasibility: Callable[[Any], float]
    """Frobenius norm of what vanishes on the manifold."""
    pymanopt: Callable[[], Coordinates]
    geoopt: Callable[[], Coordinates] | None = None
    parametrization: Coordinates | None = None
    """Free variables for L-BFGS in a Euclidean space."""
    quadratic: Callable[[Any], Any] | None = None
    """The QuadraticObjective of a matrix whose products are counted, and which ``matrix`` gives."""
    matrix: Any = None
    direct: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Solvers for this very problem, ``(start, instrument) -> point``: they get its matrices, not functions."""

    @property
    def name(self) -> str:
        """Problem and size, for tables."""
        return f"{self.problem}, {self.label}"


def orthonormality_error(x: np.ndarray) -> float:
    """Frobenius norm of X^T X - I, over a stack of matrices too."""
    return float(np.linalg.norm(x.mT @ x - np.eye(x.shape[-1])))
