"""Symmetric positive definite operators M that define the metric tr(U^T M V) and are cheap to solve with.

``apply(v)`` is M v and ``solve(v)`` is M^{-1} v, for ``n x p`` matrices with leading batch dimensions. scipy calls the
*inverse* of such an operator ``M``: what scipy applies is ``solve`` here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from manifolds.linalg import (
    Array,
    cholesky,
    identity,
    is_array,
    largest_absolute,
    machine_epsilon,
    namespace,
    require_finite,
    require_real_floating,
    require_same_kind,
    solve_triangular,
    triangular_condition,
    upper_factor,
)
from manifolds.probes import NotPositiveDefiniteError, require_positive_matrix, require_symmetric_positive

if TYPE_CHECKING:
    from manifolds.preconditioner_choice import PreconditionerChoice


class Preconditioner(ABC):
    """A symmetric positive definite operator M on R^n with a cheap solve.

    Any object with ``solve`` serves where a preconditioner is asked for; one without ``apply`` cannot give inner
    products of arbitrary vectors, which the solvers do not need.

    Attributes
    ----------
    choice : PreconditionerChoice or None
        Why it was chosen, where ``gram_preconditioner`` did so.
    """

    choice: PreconditionerChoice | None = None

    @abstractmethod
    def apply(self, v: Array) -> Array:
        """Product M v."""

    @abstractmethod
    def solve(self, v: Array) -> Array:
        """Solution of M z = v."""


class IdentityPreconditioner(Preconditioner):
    """M = I: the Euclidean metric.

    Examples
    --------
    >>> import numpy as np
    >>> IdentityPreconditioner().solve(np.array([[2.0]]))
    array([[2.]])
    """

    def apply(self, v: Array) -> Array:
        return v

    def solve(self, v: Array) -> Array:
        return v

    def __repr__(self) -> str:
        return "IdentityPreconditioner()"


class DiagonalPreconditioner(Preconditioner):
    """M = diag(d), for instance the diagonal of B (Jacobi).

    Parameters
    ----------
    diagonal : array of shape (n,)
        Positive entries.

    Examples
    --------
    >>> import numpy as np
    >>> DiagonalPreconditioner(np.array([2.0, 4.0])).solve(np.array([[2.0], [2.0]]))
    array([[1. ],
           [0.5]])
    """

    def __init__(self, diagonal: Array) -> None:
        if not is_array(diagonal) or diagonal.ndim != 1:
            raise ValueError(f"diagonal must be an array of shape (n,), got {getattr(diagonal, 'shape', diagonal)}")
        require_real_floating(diagonal, "diagonal")
        require_finite(diagonal, "diagonal")
        if not bool(namespace(diagonal).all(diagonal > 0)):
            raise NotPositiveDefiniteError("diagonal must be positive; add a ridge to it")
        self.diagonal = diagonal
        self.shape = (diagonal.shape[0], diagonal.shape[0])

    def apply(self, v: Array) -> Array:
        return self.diagonal[:, None] * v

    def solve(self, v: Array) -> Array:
        return v / self.diagonal[:, None]

    def __repr__(self) -> str:
        return f"DiagonalPreconditioner(n={self.shape[0]})"


class TriangularPreconditioner(Preconditioner):
    """M = R^T R, kept as its upper-triangular factor R and never formed.

    Parameters
    ----------
    factor : array of shape (n, n)
        Upper-triangular R with a nonzero diagonal.

    Examples
    --------
    >>> import numpy as np
    >>> m = TriangularPreconditioner(np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> m.apply(np.ones((2, 1)))
    array([[4.],
           [1.]])
    """

    def __init__(self, factor: Array) -> None:
        if not is_array(factor) or factor.ndim != 2 or factor.shape[0] != factor.shape[1]:
            raise ValueError(f"factor must be a square matrix, got {getattr(factor, 'shape', factor)}")
        require_real_floating(factor, "factor")
        require_finite(factor, "factor")
        if triangular_condition(factor) == float("inf"):
            raise NotPositiveDefiniteError("factor has a zero on its diagonal, so M = R^T R is singular; add a ridge")
        self.factor = factor
        self.shape = tuple(factor.shape)

    def apply(self, v: Array) -> Array:
        """M v = R^T (R v)."""
        return self.factor.mT @ (self.factor @ v)

    def solve(self, v: Array) -> Array:
        """M^{-1} v = R^{-1} (R^{-T} v), two triangular solves."""
        return solve_triangular(self.factor, solve_triangular(self.factor, v, transpose=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.shape[0]})"


class LowRankPreconditioner(Preconditioner):
    """M = U diag(lambda) U^T + c (I - U U^T): a few known directions, and a multiple of the identity on all others.

    ``apply`` and ``solve`` cost two products with U, 4 n r operations per column.

    Parameters
    ----------
    eigenvectors : array of shape (n, r)
        U, orthonormal columns.
    eigenvalues : array of shape (r,)
        lambda, positive.
    complement : float
        c, positive.

    Examples
    --------
    >>> import numpy as np
    >>> m = LowRankPreconditioner(np.eye(3, 1), np.array([4.0]), complement=2.0)
    >>> m.solve(np.ones((3, 1))).ravel()
    array([0.25, 0.5 , 0.5 ])
    """

    def __init__(self, eigenvectors: Array, eigenvalues: Array, complement: float) -> None:
        if not is_array(eigenvectors) or eigenvectors.ndim != 2:
            raise ValueError(
                f"eigenvectors must be a matrix of shape (n, r), got {getattr(eigenvectors, 'shape', eigenvectors)}"
            )
        require_real_floating(eigenvectors, "eigenvectors")
        require_finite(eigenvectors, "eigenvectors")
        require_same_kind(eigenvalues, eigenvectors, "eigenvalues", "eigenvectors")
        n, r = eigenvectors.shape
        if tuple(eigenvalues.shape) != (r,):
            raise ValueError(f"eigenvalues must have shape {(r,)}, got {tuple(eigenvalues.shape)}")
        require_finite(eigenvalues, "eigenvalues")
        if not bool(namespace(eigenvalues).all(eigenvalues > 0)):
            raise NotPositiveDefiniteError("eigenvalues must be positive; add a ridge to them")
        if not 0 < complement < float("inf"):
            raise ValueError(f"complement must be positive and finite, got {complement}")
        gap = largest_absolute(eigenvectors.mT @ eigenvectors - identity(r, eigenvectors))
        if gap > machine_epsilon(eigenvectors) ** 0.5:
            raise ValueError(f"eigenvectors must have orthonormal columns, but U^T U = I is off by {gap:.1e}")
        self.eigenvectors, self.eigenvalues, self.complement = eigenvectors, eigenvalues, float(complement)
        self.shape = (n, n)

    def apply(self, v: Array) -> Array:
        """M v = c v + U ((lambda - c) U^T v)."""
        weights = self.eigenvalues - self.complement
        return self.complement * v + self.eigenvectors @ (weights[:, None] * (self.eigenvectors.mT @ v))

    def solve(self, v: Array) -> Array:
        """M^{-1} v = v / c + U ((1 / lambda - 1 / c) U^T v)."""
        weights = 1 / self.eigenvalues - 1 / self.complement
        return v / self.complement + self.eigenvectors @ (weights[:, None] * (self.eigenvectors.mT @ v))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.shape[0]}, r={self.eigenvalues.shape[0]})"


class CholeskyPreconditioner(TriangularPreconditioner):
    """A dense symmetric positive definite M = R^T R by its Cholesky factor.

    Parameters
    ----------
    matrix : array of shape (n, n)

    Raises
    ------
    ValueError
        If the matrix is not square, finite, symmetric and positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> m = CholeskyPreconditioner(np.array([[4.0, 2.0], [2.0, 3.0]]))
    >>> np.round(m.apply(m.solve(np.array([[1.0], [2.0]]))), 12)
    array([[1.],
           [2.]])
    """

    def __init__(self, matrix: Array) -> None:
        if not is_array(matrix):
            raise TypeError(f"matrix must be a numpy array or a torch tensor, got {type(matrix).__name__}")
        require_positive_matrix("matrix", matrix)
        factor = cholesky(matrix)
        if factor is None:
            raise NotPositiveDefiniteError(
                "matrix is not numerically positive definite; add a ridge (matrix + ridge * I)"
            )
        super().__init__(factor)


class SketchedGramPreconditioner(TriangularPreconditioner):
    """M = (S A)^T (S A) + ridge I from a sketch S A of a tall matrix A, kept as R of a QR factorisation.

    If S keeps the column space of A to 1 +- eps, then (1 - eps) B <= M <= (1 + eps) B for B = A^T A + ridge I, and a
    Riemannian method in the metric M converges nearly as fast as in the metric B. Neither M nor B is formed:
    R comes from the QR factorisation of [S A; sqrt(ridge) I].

    Parameters
    ----------
    sketched : array of shape (s, d)
        Sketch S A, with ``s >= d`` rows (``4 d`` is a good choice) unless there is a ridge.
    ridge : float
        Non-negative multiple of the identity that B contains.

    References
    ----------
    Shustin, Avron, Faster randomized methods for orthogonality constrained problems, JMLR (2024).

    Examples
    --------
    >>> import numpy as np
    >>> a = np.random.default_rng(0).standard_normal((1000, 3))
    >>> m = SketchedGramPreconditioner(a)
    >>> np.allclose(m.apply(np.eye(3)), a.T @ a)
    True
    """

    def __init__(self, sketched: Array, ridge: float = 0.0) -> None:
        if not is_array(sketched) or sketched.ndim != 2:
            raise ValueError(f"sketched must be a matrix of shape (s, d), got {getattr(sketched, 'shape', sketched)}")
        require_real_floating(sketched, "sketched")
        require_finite(sketched, "sketched")
        if not ridge >= 0:
            raise ValueError(f"ridge must be non-negative, got {ridge}")
        rows, columns = sketched.shape
        if rows < columns and ridge == 0:
            raise NotPositiveDefiniteError(
                f"sketched has {rows} rows for {columns} columns, so M is singular; use more rows or a ridge"
            )
        xp = namespace(sketched)
        stacked = xp.concat([sketched, ridge**0.5 * identity(columns, sketched)]) if ridge else sketched
        factor = upper_factor(stacked)
        if triangular_condition(factor) * xp.finfo(factor.dtype).eps ** 2 > 1e-2:
            raise NotPositiveDefiniteError(
                "the sketched matrix is rank deficient, so M is singular; use a ridge or drop dependent columns"
            )
        super().__init__(factor)


def as_preconditioner(metric: Any, n: int, like: Array, *, probe: bool = True) -> Any:
    """Preconditioner of order n from None (identity), a matrix, a vector (diagonal) or an object with ``solve``.

    Raises
    ------
    TypeError
        If the object has no ``solve``.
    ValueError
        If its order is not n, or it is not symmetric positive definite on the probe's vectors.
    """
    if metric is None:
        return IdentityPreconditioner()
    if is_array(metric):
        try:
            metric = DiagonalPreconditioner(metric) if metric.ndim == 1 else CholeskyPreconditioner(metric)
        except ValueError as error:
            raise ValueError(f"preconditioner cannot be used: {error}") from None
        probe = False
    elif not hasattr(metric, "solve"):
        raise TypeError(
            "preconditioner must be None, a matrix, a vector (a diagonal) or an object with solve(v) = M^{-1} v, "
            f"got {type(metric).__name__}; note that scipy's M is the inverse of this one"
        )
    if getattr(metric, "shape", (n, n)) != (n, n):
        raise ValueError(f"preconditioner has shape {tuple(metric.shape)}, but B has order {n}")
    if probe and not isinstance(metric, (IdentityPreconditioner, DiagonalPreconditioner, TriangularPreconditioner)):
        require_symmetric_positive("preconditioner", metric.solve, n, like)
    return metric
