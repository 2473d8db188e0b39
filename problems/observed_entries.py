"""The observed entries of a matrix, in a fixed order, with what completion methods ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from manifolds.linalg import is_scipy_sparse, require_finite, require_real_floating


@dataclass(frozen=True)
class ObservedEntries:
    """Observed entries of an m x n matrix, sorted by rows and then by columns.

    Attributes
    ----------
    rows, columns : integer arrays of shape (count,)
    values : array of shape (count,), float32 or float64
        Zeros count as observations.
    shape : tuple of int
        (m, n).

    Examples
    --------
    >>> import numpy as np
    >>> from problems import ObservedEntries
    >>> entries = ObservedEntries.of((np.array([1, 0]), np.array([0, 2]), np.array([5.0, 3.0])), "the ratings")
    >>> entries.shape, entries.values
    ((2, 3), array([3., 5.]))
    >>> entries.matrix().toarray()
    array([[0., 0., 3.],
           [5., 0., 0.]])
    """

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, data: Any, name: str, shape: tuple[int, int] | None = None) -> ObservedEntries:
        """Entries of a scipy sparse matrix, all that are stored, or of a triple (rows, columns, values).

        Parameters
        ----------
        data : scipy sparse matrix, or tuple of three arrays of shape (count,)
        name : str
            What messages call it.
        shape : tuple of int, optional
            Shape of the matrix; that of the sparse matrix, or one more than the largest indices, when left out.

        Raises
        ------
        TypeError
            If the data are neither, or the values are no floats.
        ValueError
            If there are no entries, an entry is given twice, is not finite, or lies outside the shape.
        """
        if is_scipy_sparse(data):
            coo = data.tocoo()
            rows, columns, values = coo.row, coo.col, coo.data
            if shape is not None and tuple(coo.shape) != tuple(shape):
                raise ValueError(f"{name} has shape {tuple(coo.shape)}, but {tuple(shape)} is needed")
            shape = tuple(coo.shape)
        elif isinstance(data, tuple) and len(data) == 3:
            rows, columns, values = map(np.asarray, data)
        else:
            raise TypeError(
                f"{name} must be a scipy sparse matrix, whose stored entries are the observations, or a tuple (rows, "
                f"columns, values); got {type(data).__name__}"
            )
        if not np.size(rows):
            raise ValueError(f"{name} has no observed entry")
        rows, columns, shape = require_indices(rows, columns, name, shape)
        if np.shape(values) != rows.shape:
            raise ValueError(f"{name} has {rows.size} rows but values of shape {np.shape(values)}")
        if values.dtype.kind in "iu":
            values = values.astype(np.float64)  # counts and stars are whole numbers in most files
        require_real_floating(values, f"the values of {name}")
        require_finite(values, f"the values of {name}")
        order = np.argsort(rows.astype(np.int64) * shape[1] + columns, kind="stable")
        rows, columns, values = rows[order], columns[order], values[order]
        twice = (np.diff(rows) == 0) & (np.diff(columns) == 0)
        if twice.any():
            k = int(np.argmax(twice))
            raise ValueError(f"{name} has the entry ({rows[k]}, {columns[k]}) twice; merge the observations first")
        return cls(rows, columns, values, shape)

    def matrix(self, values: np.ndarray | None = None) -> csr_array:
        """Sparse matrix with these values, or the observed ones, at the observed places."""
        starts = np.searchsorted(self.rows, np.arange(self.shape[0] + 1))
        return csr_array((self.values if values is None else values, self.columns, starts), shape=self.shape)

    def with_values(self, values: np.ndarray) -> ObservedEntries:
        """The same places with other values."""
        return ObservedEntries(self.rows, self.columns, values, self.shape)

    @property
    def transposed(self) -> ObservedEntries:
        """Entries of the transpose."""
        order = np.argsort(self.columns, kind="stable")
        return ObservedEntries(self.columns[order], self.rows[order], self.values[order], self.shape[::-1])


def require_indices(
    rows: np.ndarray, columns: np.ndarray, name: str, shape: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Checked indices, and the shape that they need where none is given."""
    for axis, index in (("rows", rows), ("columns", columns)):
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise TypeError(
                f"the {axis} of {name} must be a one-dimensional array of integers, got {index.dtype} of shape "
                f"{index.shape}"
            )
    if rows.shape != columns.shape:
        raise ValueError(f"{name} has {rows.size} rows but {columns.size} columns; give one of each per entry")
    if not rows.size and shape is not None:
        return rows, columns, shape
    largest = int(rows.max()), int(columns.max())
    shape = (largest[0] + 1, largest[1] + 1) if shape is None else (int(shape[0]), int(shape[1]))
    if min(int(rows.min()), int(columns.min())) < 0 or largest[0] >= shape[0] or largest[1] >= shape[1]:
        raise ValueError(
            f"{name} has indices from ({rows.min()}, {columns.min()}) to {largest}, outside of a matrix of shape "
            f"{shape}"
        )
    return rows, columns, shape
