"""The squared error of a low-rank matrix on observed entries, as a problem on the manifold of fixed rank."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from manifolds.fixed_rank import FixedRank
from manifolds.fixed_rank_matrices import FixedRankMatrices
from manifolds.low_rank import LowRankMatrix
from problems.data_matrix import as_ridge
from problems.observed_entries import ObservedEntries
from rankopt.solvers.parameters import require_instance
from rankopt.state import ObjectiveProblem


class SparsePlusLowRank(LinearOperator):
    """The matrix S + c L R^T as an operator, from a sparse S and factors; no dense matrix is formed."""

    def __init__(self, sparse: Any, scale: float, low_rank: Any) -> None:
        super().__init__(sparse.dtype, sparse.shape)
        self._sparse, self._scale, self._low_rank = sparse, sparse.dtype.type(scale), low_rank

    def _matmat(self, columns: np.ndarray) -> np.ndarray:
        return self._sparse @ columns + self._scale * (self._low_rank @ columns)

    def _transpose(self) -> SparsePlusLowRank:
        return SparsePlusLowRank(self._sparse.T, self._scale, self._low_rank.T)


class CompletionCost:
    """Cost ``f(X) = |P(X - A)|^2 / 2 + reg |X|^2 / 2`` of a matrix in factors, P keeping the observed entries.

    Values, gradients and Hessian products cost O(count r) each; the Euclidean ones are sparse, plus ``reg`` times
    a matrix of low rank.

    Parameters
    ----------
    entries : ObservedEntries
    reg : float
    """

    def __init__(self, entries: ObservedEntries, reg: float = 0.0) -> None:
        self.entries, self.reg = entries, reg

    def value_and_gradient(self, x: Any) -> tuple[float, Any]:
        """Cost and Euclidean gradient P(X - A) + reg X."""
        residual = x.entries(self.entries.rows, self.entries.columns) - self.entries.values
        value = 0.5 * float(residual @ residual)
        if self.reg:
            value += 0.5 * self.reg * float(x.squared_norm)
        return value, self._matrix(residual, x)

    def hessian_product(self, x: Any, v: Any) -> Any:
        """Euclidean Hessian product P(V) + reg V."""
        return self._matrix(v.entries(self.entries.rows, self.entries.columns), v)

    def _matrix(self, values: np.ndarray, low_rank: Any) -> Any:
        sparse = self.entries.matrix(values)
        return SparsePlusLowRank(sparse, self.reg, low_rank) if self.reg else sparse


class CompletionProblem(ObjectiveProblem):
    """The completion cost on the matrices of rank r, for ``minimize`` and for AlternatingMinimization.

    Parameters
    ----------
    entries : ObservedEntries
    rank : int
    reg : float
    manifold : FixedRank or FixedRankTwoFactors, optional
        ``FixedRank(m, n, rank)`` by default. ``FixedRankTwoFactors(m, n, rank)`` is faster where the singular values
        are not too far apart.

    Raises
    ------
    TypeError, ValueError
        If the entries are no ObservedEntries, no matrix of their shape has the rank, ``reg`` is negative, or the
        manifold is another one.

    Attributes
    ----------
    cost : CompletionCost

    Examples
    --------
    >>> import numpy as np
    >>> from problems import CompletionProblem, ObservedEntries
    >>> from rankopt import minimize
    >>> table = np.outer([1.0, 2.0, 3.0], [1.0, -1.0, 2.0])
    >>> rows, columns = np.nonzero(table != 4.0)  # all entries but one
    >>> entries = ObservedEntries.of((rows, columns, table[rows, columns]), "the table")
    >>> problem = CompletionProblem(entries, rank=1)
    >>> result = minimize(problem, problem.manifold, problem.spectral_start())
    >>> round(float(result.x.entries([1], [2])[0]), 4)
    4.0
    """

    manifold: FixedRankMatrices

    def __init__(
        self, entries: ObservedEntries, rank: int, reg: float = 0.0, manifold: FixedRankMatrices | None = None
    ) -> None:
        require_instance("entries", entries, ObservedEntries, 'ObservedEntries.of(matrix, "X")')
        self.cost = CompletionCost(entries, as_ridge(reg))
        embedded = FixedRank(*entries.shape, rank)
        if manifold is not None:
            m, n = embedded.shape
            expected = f"manifold must be {embedded} or FixedRankTwoFactors({m}, {n}, {rank}), got"
            if not isinstance(manifold, FixedRankMatrices):
                raise TypeError(f"{expected} {type(manifold).__name__}")
            if (*manifold.shape, manifold.r) != (m, n, rank):
                raise ValueError(f"{expected} {manifold}")
        super().__init__(self.cost, embedded if manifold is None else manifold)

    def spectral_start(self) -> Any:
        """Truncated SVD of the matrix with zeros for what is not observed, times the factor that fits best."""
        entries = self.cost.entries
        point = self.manifold.nearest_point(entries.matrix())
        fitted = point.entries(entries.rows, entries.columns)
        scale = (fitted @ entries.values) / (fitted @ fitted + self.cost.reg * point.squared_norm)
        left, right = point.factors()
        return self.manifold.nearest_point(LowRankMatrix(scale * left, right))
