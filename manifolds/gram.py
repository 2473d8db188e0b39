"""Gram matrices of data as operators: products only, the d x d matrix is never formed."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from manifolds.linalg import Array, is_array, is_scipy_sparse, namespace, require_real_floating
from manifolds.sketching import Sketch

_BLOCK_ROWS = 16384
"""Rows that are sketched, or whose squares are summed, at a time."""


class GramOperator:
    """B = X^T X + ridge I of a data matrix X, known by its products B v = X^T (X v) + ridge v.

    Serves wherever a symmetric positive matrix that is only multiplied with is asked for, such as the B of
    ``GeneralizedStiefel``.

    Parameters
    ----------
    data : array or scipy sparse matrix of shape (n, d)
        X, read and never copied.
    ridge : float
        Non-negative.

    Attributes
    ----------
    shape : tuple of int
        ``(d, d)``.
    like : array
        Empty array of the kind of vectors that B takes.

    Examples
    --------
    >>> import numpy as np
    >>> b = GramOperator(np.array([[1.0, 0.0], [1.0, 2.0], [0.0, 1.0]]), ridge=0.5)
    >>> b @ np.eye(2)
    array([[2.5, 2. ],
           [2. , 5.5]])
    >>> b.diagonal()
    array([2.5, 5.5])
    """

    def __init__(self, data: Any, ridge: float = 0.0) -> None:
        if not (is_array(data) or is_scipy_sparse(data)):
            raise TypeError(
                f"data must be a numpy array, a torch tensor or a scipy sparse matrix, got {type(data).__name__}"
            )
        if data.ndim != 2 or 0 in data.shape:
            raise ValueError(f"data must be a matrix of shape (n, d) that is not empty, got shape {tuple(data.shape)}")
        self.like = data[:0, ...] if is_array(data) else np.empty((0, data.shape[1]), dtype=data.dtype)
        require_real_floating(self.like, "data")
        require_nonnegative("ridge", ridge)
        self.data, self.ridge = data, float(ridge)
        self.shape = (data.shape[1], data.shape[1])
        self.dtype = data.dtype

    def __matmul__(self, v: Array) -> Array:
        image = self.data.T @ (self.data @ v)
        return image + self.ridge * v if self.ridge else image

    def diagonal(self) -> Array:
        """Diagonal of B, shape (d,): the squared norms of the columns of X, plus the ridge."""
        if is_array(self.data):
            xp = namespace(self.data)
            return xp.linalg.vector_norm(self.data, axis=0) ** 2 + self.ridge
        return np.asarray(self.data.multiply(self.data).sum(axis=0), dtype=self.dtype).ravel() + self.ridge

    def sketch(self, sketch: Sketch) -> Array:
        """Sketch S X of the data, shape ``(sketch.size, d)``, in one pass over blocks of rows."""
        data = self.data if is_array(self.data) else self.data.tocsr()
        sketched = sketch.apply(data[:0])
        for first in range(0, data.shape[0], _BLOCK_ROWS):
            sketch.apply(data[first : first + _BLOCK_ROWS], first, sketched)
        return sketched

    def __repr__(self) -> str:
        return f"GramOperator(n={self.data.shape[0]}, d={self.shape[0]}, ridge={self.ridge:g})"


def require_nonnegative(name: str, value: object) -> None:
    """Raise an error unless a value is a finite, non-negative number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"{name} must be finite and not negative, got {value}")


def as_symmetric_operator(name: str, operator: Any) -> tuple[Any, Array]:
    """Operator of a square matrix that can be multiplied with, and an empty array of the kind of its vectors."""
    shape = getattr(operator, "shape", None)
    if shape is None or not hasattr(operator, "__matmul__"):
        raise TypeError(
            f"{name} must be an array, a sparse matrix, a GramOperator or an object with shape and @, "
            f"got {type(operator).__name__}"
        )
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"{name} must be a square matrix, got shape {tuple(shape)}; "
            "for the Gram matrix of data X, pass GramOperator(X)"
        )
    like = operator[:0, ...] if is_array(operator) else getattr(operator, "like", None)
    if like is None:
        like = np.empty(0, dtype=getattr(operator, "dtype", None) or np.float64)
    require_real_floating(like, name)
    return operator, like


def diagonal_of(operator: Any) -> Array | None:
    """Diagonal of a symmetric operator, or None where only its products are known."""
    if is_array(operator):
        return namespace(operator).linalg.diagonal(operator)
    return operator.diagonal() if hasattr(operator, "diagonal") else None


def split_ridge(gram: Any, ridge: float) -> tuple[Any, float]:
    """Gram operator without its own ridge, and that ridge added to another one."""
    require_nonnegative("ridge", ridge)
    if isinstance(gram, GramOperator) and gram.ridge:
        return GramOperator(gram.data), gram.ridge + float(ridge)
    return gram, float(ridge)
