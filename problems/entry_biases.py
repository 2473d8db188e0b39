"""Mean, row and column offsets of the observed entries of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, lsqr

from problems.observed_entries import ObservedEntries


@dataclass(frozen=True)
class Biases:
    """Mean, row and column offsets: entry (i, j) is ``mean + rows[i] + columns[j]``."""

    mean: float
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def none(cls, shape: tuple[int, int], dtype: Any) -> Biases:
        """No offsets."""
        return cls(0.0, np.zeros(shape[0], dtype), np.zeros(shape[1], dtype))

    @classmethod
    def fit(cls, entries: ObservedEntries, reg: float) -> Biases:
        """Offsets b, c that minimize sum (a_ij - mean - b_i - c_j)^2 + reg (|b|^2 + |c|^2), with the mean of all."""
        m, n = entries.shape
        rows, columns = entries.rows, entries.columns

        def offsets_to_entries(x: np.ndarray) -> np.ndarray:
            return x[:m][rows] + x[m:][columns]

        def entries_to_offsets(y: np.ndarray) -> np.ndarray:
            return np.concatenate([np.bincount(rows, y, m), np.bincount(columns, y, n)])

        design = LinearOperator(
            (rows.size, m + n), matvec=offsets_to_entries, rmatvec=entries_to_offsets, dtype=np.float64
        )
        mean = float(np.mean(entries.values, dtype=np.float64))
        solution = lsqr(design, entries.values - mean, damp=reg**0.5, atol=1e-10, btol=1e-10)[0]
        solution = solution.astype(entries.values.dtype)
        return cls(mean, solution[:m], solution[m:])

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Offsets of entries."""
        return (self.mean + self.rows[rows] + self.columns[columns]).astype(self.rows.dtype)
