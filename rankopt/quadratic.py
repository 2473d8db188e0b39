"""Costs that are declared quadratic: one product with A per step, and line searches in p x p algebra."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from manifolds.array_manifold import ArrayManifold
from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.grassmann import Grassmann
from manifolds.linalg import (
    Array,
    convert,
    inner_product,
    is_array,
    require_finite,
    require_real_floating,
    require_same_kind,
    to_numpy,
)
from manifolds.manifold import Manifold
from manifolds.operators import operator_kind, operator_product, require_square_operator
from manifolds.orthonormal_frames import OrthonormalFrames
from manifolds.probes import require_symmetric
from manifolds.retractions import CholeskyQR, Orthonormalization
from manifolds.sphere import Sphere
from rankopt.quadratic_problem import QuadraticProblem
from rankopt.solvers.parameters import require_at_least
from rankopt.state import ObjectiveProblem, Problem


class QuadraticObjective:
    """The quadratic cost f(X) = scale * ( tr(X^T A X N) / 2 + tr(C^T X) ) with a symmetric A and N = diag(weights).

    ``minimize`` carries the products A X (and B X on a generalized Stiefel manifold) from step to step and updates them
    linearly, so that a step takes one product A V and its line search none. This holds on the Stiefel, Grassmann and
    generalized Stiefel manifolds with the retractions CholeskyQR(), QR() and Polar(), and on spheres of vectors and of
    n x 1 matrices; on other manifolds of arrays it is an ordinary objective of one product per evaluation. The counts
    of a run are true: ``n_products`` is the number of products of A with a block, ``nhev`` that of Hessian products,
    and ``nfev`` = ``ngev`` that of the points at which cost and gradient were formed: with carried products those of
    the steps, not of the trials of line searches. The probe's product, on construction, belongs to no run.

    Parameters
    ----------
    A : array, scipy sparse matrix, LinearOperator, or any object with ``shape`` and ``@``
        Symmetric matrix of order n, of any signature. It is only multiplied with.
    weights : sequence of p floats, optional
        Diagonal of N; the identity when left out. Distinct weights (Brockett) fix the single eigenvectors rather than
        their span.
    linear : array of the shape of a point, optional
        C; zero when left out.
    scale : float
        Minus one maximizes: ``minimize(QuadraticObjective(A, scale=-1), Stiefel(n, p))`` finds the largest eigenvalues
        of A, and on ``GeneralizedStiefel(B, p)`` those of the pencil (A, B).
    refresh : int
        Number of steps after which carried products are replaced by true ones, at the price of one product.
    probe : bool
        Whether symmetry is probed by one product of A with a few random vectors.

    Raises
    ------
    ValueError
        If A is not square or not symmetric, or weights or linear have a wrong shape or are not finite.
    TypeError
        If A cannot be multiplied with, or arrays differ in library, dtype or device.

    References
    ----------
    Brockett, Dynamical systems that sort lists, diagonalize matrices, and solve linear programming problems, Linear
    Algebra Appl. 146 (1991). Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Section 4.8.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import GeneralizedStiefel, Stiefel
    >>> from rankopt import minimize
    >>> a, b = np.diag([1.0, 2.0, 3.0, 4.0]), np.diag([1.0, 1.0, 1.0, 4.0])
    >>> result = minimize(QuadraticObjective(a, scale=-1), Stiefel(4, 2), rng=0)
    >>> round(-2 * result.fun, 6)
    7.0
    >>> round(-2 * minimize(QuadraticObjective(a, scale=-1), GeneralizedStiefel(b, 2), rng=0).fun, 6)
    5.0
    """

    def __init__(
        self,
        A: Any,
        weights: Any = None,
        linear: Array | None = None,
        *,
        scale: float = 1.0,
        refresh: int = 25,
        probe: bool = True,
    ) -> None:
        self.n = require_square_operator("A", A)
        self.A, self.like = A, operator_kind("A", A)
        require_at_least("refresh", refresh, 1, whole=True)
        self.scale, self.refresh = _as_scale(scale), refresh
        self.weights = None if weights is None else _as_weights(weights, self.like)
        self.linear = linear
        if linear is not None:
            self._require_linear(linear)
        if probe:
            require_symmetric("A", self.product, self.n, self.like)
        # The scale is multiplied in once, not at every evaluation.
        self._weights = self.scale if self.weights is None else self.scale * self.weights
        self._linear = None if linear is None else self.scale * linear

    def __repr__(self) -> str:
        return f"QuadraticObjective(order {self.n}, weights={self.weights!r}, scale={self.scale!r})"

    def product(self, v: Array) -> Array:
        """Product A v with a vector or with the columns of ``(..., n, p)`` arrays."""
        return operator_product(self.A, v[:, None])[:, 0] if v.ndim == 1 else operator_product(self.A, v)

    def euclidean_gradient(self, product: Array) -> Array:
        """Euclidean gradient scale * (A X N + C) from A X."""
        gradient = self.hessian_from(product)
        return gradient if self._linear is None else gradient + self._linear

    def hessian_from(self, product: Array) -> Array:
        """Euclidean Hessian product scale * A V N from A V."""
        return product * self._weights

    def value_and_gradient(self, x: Array) -> tuple[Array, Array]:
        """Cost and Euclidean gradient at any array, by one product."""
        self._require_columns(x)
        gradient = self.euclidean_gradient(self.product(x))
        return sum(self.parts(x, gradient)), gradient

    def parts(self, x: Array, gradient: Array) -> tuple[Any, Any]:
        """Quadratic and linear part of the cost, from the Euclidean gradient G: tr(X^T (G - C)) / 2 and tr(C^T X)."""
        ndim = min(x.ndim, 2)
        total = inner_product(x, gradient, ndim)
        linear = 0.0 if self._linear is None else inner_product(x, self._linear, ndim)
        return 0.5 * (total - linear), linear

    def hessian_product(self, x: Array, v: Array) -> Array:
        """Euclidean Hessian product scale * A V N, by one product."""
        self._require_columns(v)
        return self.hessian_from(self.product(v))

    def on(self, manifold: Manifold) -> Problem:
        """The problem of this cost on a manifold: with carried products where the manifold allows it.

        Raises
        ------
        TypeError
            If the manifold's points are not single arrays, or differ from A in library, dtype or device.
        ValueError
            If shapes do not agree, or the cost depends on the basis on a Grassmann manifold.
        """
        if not isinstance(manifold, ArrayManifold):
            raise TypeError(f"manifold must have single arrays as points for a QuadraticObjective, got {manifold!r}")
        if manifold.ndim > 2 or manifold.shape[0] != self.n:
            raise ValueError(f"A is of order {self.n}, but the points of {manifold!r} have the shape {manifold.shape}")
        self._require_weights_for(manifold.shape[1] if manifold.ndim == 2 else 1)
        if self.linear is not None and tuple(self.linear.shape) != manifold.shape:
            raise ValueError(
                f"linear must have the shape {manifold.shape} of the points of {manifold!r}, got "
                f"{tuple(self.linear.shape)}"
            )
        if isinstance(manifold, Grassmann) and not self._is_of_subspaces():
            raise ValueError(
                "weights must be equal, and linear left out, on a Grassmann manifold, where a cost must not depend on "
                "the basis of the subspace; use Stiefel"
            )
        if isinstance(manifold, GeneralizedStiefel):
            require_same_kind(self.like, manifold.own_array(), "A", "B of the manifold")
        retraction = _line_retraction(manifold)
        return (
            _EvaluatedQuadratic(self, manifold) if retraction is None else QuadraticProblem(self, manifold, retraction)
        )

    def _is_of_subspaces(self) -> bool:
        weights = None if self.weights is None else to_numpy(self.weights)
        return self.linear is None and (weights is None or bool(np.all(weights == weights[0])))

    def _require_linear(self, linear: Array) -> None:
        if not is_array(linear):
            raise TypeError(f"linear must be an array like a point, got {type(linear).__name__}")
        if linear.ndim not in (1, 2) or linear.shape[0] != self.n:
            raise ValueError(f"linear must have the shape ({self.n}, p) of a point, got {tuple(linear.shape)}")
        require_real_floating(linear, "linear")
        require_same_kind(linear, self.like, "linear", "A")
        require_finite(linear, "linear")

    def _require_columns(self, x: Array) -> None:
        if not is_array(x):
            raise TypeError(f"a point must be a numpy array or a torch tensor, got {type(x).__name__}")
        if x.ndim == 0 or x.shape[-2 if x.ndim > 1 else 0] != self.n:
            raise ValueError(f"A is of order {self.n}, but the point has the shape {tuple(x.shape)}")
        require_same_kind(x, self.like, "the point", "A")
        self._require_weights_for(x.shape[-1] if x.ndim > 1 else 1)

    def _require_weights_for(self, p: int) -> None:
        if self.weights is not None and self.weights.shape[0] != p:
            raise ValueError(f"weights must be {p} numbers, one for each column, got {self.weights.shape[0]}")


def _as_scale(scale: Any) -> float:
    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise TypeError(f"scale must be a number, got {scale!r}")
    if not abs(float(scale)) < float("inf"):
        raise ValueError(f"scale must be finite, got {scale}")
    return float(scale)


def _as_weights(weights: Any, like: Array) -> Array:
    try:
        values = np.asarray(to_numpy(weights), dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"weights must be a sequence of finite numbers, got {weights!r}") from None
    if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError(f"weights must be a sequence of finite numbers, got {weights!r}")
    return convert(values, like)


def _line_retraction(manifold: ArrayManifold) -> Any:
    """Retraction of the manifold if it brings a line back by a normalizer of its Gram matrix, else None."""
    if isinstance(manifold, OrthonormalFrames):
        retraction = manifold.default_retraction
        return retraction if isinstance(retraction, Orthonormalization) else None
    # On a sphere of single columns, (x + t v) / norm(x + t v) is Cholesky-QR.
    return CholeskyQR() if isinstance(manifold, Sphere) and manifold.shape[1:] in ((), (1,)) else None


class _EvaluatedQuadratic(ObjectiveProblem):
    """A quadratic cost by retraction and evaluation, with its products counted."""

    def __init__(self, quadratic: QuadraticObjective, manifold: ArrayManifold) -> None:
        super().__init__(quadratic, manifold)
        self._like = quadratic.like

    def random_start(self, rng: Any) -> Array:
        return self.manifold.random_point(rng, like=self._like)

    def counts(self) -> dict[str, int]:
        # Cost and gradient come from one product.
        return super().counts() | {"n_products": self.objective.nfev + self.objective.nhev}
