"""Square linear operators in every form in which they may come: arrays, sparse matrices, LinearOperators, any ``@``."""

from __future__ import annotations

from typing import Any

import numpy as np

from manifolds.linalg import Array, is_array, is_numpy_array, on_columns, require_real_floating


def require_square_operator(name: str, operator: Any) -> int:
    """Order n of an operator on R^n; an error unless it has ``shape`` and ``@`` and is square."""
    shape = getattr(operator, "shape", None)
    if shape is None or not hasattr(operator, "__matmul__"):
        raise TypeError(
            f"{name} must be an array, a sparse matrix or an object with shape and @, got {type(operator).__name__}"
        )
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {tuple(shape)}")
    return int(shape[0])


def operator_kind(name: str, operator: Any, preconditioner: Any = None) -> Array:
    """Array without entries of the kind that an operator multiplies.

    An array takes its own kind; another operator that of its attribute ``like``, of its preconditioner's arrays, or
    numpy in its ``dtype``, float64 where it says nothing.
    """
    like = operator[:0, ...] if is_array(operator) else _declared_kind(operator, preconditioner)
    require_real_floating(like, name)
    return like


def _declared_kind(operator: Any, preconditioner: Any) -> Array:
    for owner, name in ((operator, "like"), (preconditioner, "factor"), (preconditioner, "diagonal")):
        if is_array(getattr(owner, name, None)):
            return getattr(owner, name)
    if is_array(preconditioner) and not is_numpy_array(preconditioner):
        return preconditioner
    return np.empty(0, dtype=getattr(operator, "dtype", None) or np.float64)


def operator_product(operator: Any, v: Array) -> Array:
    """Product with the columns of ``(..., n, p)`` vectors; only arrays are asked to take batches."""
    return operator @ v if is_array(operator) else on_columns(operator.__matmul__, v)
