"""Alternating minimization of the completion cost: one factor at a time, by a few steps of conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from manifolds.fixed_rank import FixedRank
from manifolds.fixed_rank_points import FixedRankPoint
from manifolds.low_rank import LowRankMatrix
from problems.completion_problem import CompletionProblem
from problems.observed_entries import ObservedEntries
from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.parameters import require_at_least
from rankopt.state import ObjectiveState


@dataclass(frozen=True)
class AlternatingMinimization(Method[tuple["HalfSweep", "HalfSweep"]]):
    """Half-sweeps over X = L Q^T: Q orthonormal and fixed, L by least squares, then the sides change.

    With an orthonormal Q the ridge of X is that of L, so a half-sweep minimizes the cost ``|P(X - A)|^2 / 2 + reg
    |X|^2 / 2`` itself over L: r unknowns per row i, with the matrix B_i = sum_j q_j q_j^T + reg I over the observed
    columns j. Conjugate gradients run on all rows at once from the last L, preconditioned by c_i C + reg I, where c_i
    is the number of observations of the row and C = Q^T D Q with the shares D of the observations by column: what B_i
    would be on average if all rows chose columns alike. A step costs O(count r).

    Parameters
    ----------
    inner_steps : int or None
        Steps of conjugate gradients per half-sweep; None solves exactly, in O(count r^2 + m r^3).

    References
    ----------
    Hastie, Mazumder, Lee, Zadeh, Matrix completion and low-rank SVD via fast alternating least squares, JMLR 16 (2015);
    Gu, Song, Yin, Zhang, Low rank matrix completion via robust alternating minimization in nearly linear time, ICLR
    (2024), on inexact inner solves.

    Examples
    --------
    >>> from problems import MatrixCompletion
    >>> MatrixCompletion(rank=2, solver=AlternatingMinimization(inner_steps=3)).solver.inner_steps
    3
    """

    inner_steps: int | None = 2

    def __post_init__(self) -> None:
        if self.inner_steps is not None:
            require_at_least("inner_steps", self.inner_steps, 1, whole=True)

    def start(self, state: Any, context: Context) -> tuple[HalfSweep, HalfSweep]:
        problem = state.problem
        if not isinstance(problem, CompletionProblem):
            raise TypeError(f"AlternatingMinimization runs on a CompletionProblem, not on {type(problem).__name__}")
        if not isinstance(problem.manifold, FixedRank):
            raise TypeError(f"AlternatingMinimization runs on FixedRank, not on {problem.manifold}; leave manifold out")
        entries, reg = problem.cost.entries, problem.cost.reg
        return HalfSweep(entries, reg, self.inner_steps), HalfSweep(entries.transposed, reg, self.inner_steps)

    def step(self, state: Any, memory: tuple[HalfSweep, HalfSweep], context: Context) -> Step[Any]:
        point, problem = self.sweep(state.point, memory), state.problem
        return Step(ObjectiveState(problem, point, problem.objective.at(point)), memory, 1.0)

    def sweep(self, x: FixedRankPoint, sides: tuple[HalfSweep, HalfSweep]) -> FixedRankPoint:
        """The point after both half-sweeps, first for the left factor."""
        basis, triangle = np.linalg.qr(sides[0].solve(x.U @ x.S, x.V))
        other, core_transposed = np.linalg.qr(sides[1].solve(x.V @ triangle.T, basis))
        return FixedRankPoint(basis, core_transposed.T, other)


class HalfSweep:
    """Least squares for one factor, all rows at once.

    Parameters
    ----------
    entries : ObservedEntries
    reg : float
    inner_steps : int or None
    """

    def __init__(self, entries: ObservedEntries, reg: float, inner_steps: int | None) -> None:
        self._entries, self._reg, self._inner_steps = entries, reg, inner_steps
        m, n = entries.shape
        self._data = entries.matrix()
        self._row_counts = np.bincount(entries.rows, minlength=m).astype(entries.values.dtype)
        self._shares = (np.bincount(entries.columns, minlength=n) / entries.rows.size).astype(entries.values.dtype)

    def solve(self, factor: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Factor L that fits the entries of L Q^T best, or nearer to that than ``factor``.

        Parameters
        ----------
        factor : array of shape (m, r)
            Start.
        basis : array of shape (n, r)
            Orthonormal Q.

        Returns
        -------
        array of shape (m, r)
        """
        rhs = self._data @ basis
        return self._exact(basis, rhs) if self._inner_steps is None else self._inexact(factor, basis, rhs)

    def _exact(self, basis: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        n, r = basis.shape
        products = (basis[:, :, None] * basis[:, None, :]).reshape(n, r * r)
        grams = (self._pattern(np.ones_like(self._entries.values)) @ products).reshape(-1, r, r)
        grams += self._reg * np.eye(r, dtype=grams.dtype)
        # Rows with fewer observations than r have more than one solution without a ridge: the shortest is taken.
        return (np.linalg.pinv(grams, hermitian=True) @ rhs[..., None])[..., 0]

    def _inexact(self, factor: np.ndarray, basis: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh((basis * self._shares[:, None]).T @ basis)
        # A floor, since directions in which no column was observed would divide by zero.
        floor = np.finfo(basis.dtype).eps * values[-1]
        weights = self._row_counts[:, None] * np.maximum(values, floor) + self._reg
        weights[self._row_counts == 0] = 1.0

        def precondition(residual: np.ndarray) -> np.ndarray:
            return ((residual @ vectors) / weights) @ vectors.T

        residual = rhs - self._product(factor, basis)
        z = precondition(residual)
        direction, squared = z, np.einsum("ik,ik->i", z, residual)
        for step in range(self._inner_steps or 0):
            if step:
                z = precondition(residual)
                previous, squared = squared, np.einsum("ik,ik->i", z, residual)
                direction = z + _ratio(squared, previous)[:, None] * direction
            product = self._product(direction, basis)
            length = _ratio(squared, np.einsum("ik,ik->i", direction, product))[:, None]
            factor, residual = factor + length * direction, residual - length * product
        return factor

    def _product(self, factor: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Rows B_i l_i."""
        entries = self._entries
        fitted = LowRankMatrix(factor, basis).entries(entries.rows, entries.columns)
        return self._pattern(fitted) @ basis + self._reg * factor

    def _pattern(self, values: np.ndarray) -> csr_array:
        return csr_array((values, self._data.indices, self._data.indptr), shape=self._data.shape)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quotients, zero where a row is solved already."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
