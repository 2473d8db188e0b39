"""What users give as views: checked, and in one kind, with the least conversion that this takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from manifolds.linalg import Array, convert, is_scipy_sparse, is_torch_array, namespace, require_same_kind
from problems.row_blocks import empty_like

_ROWS = 16384
"""Rows that scores are made of at a time."""

SPARSE_FORMATS = ("csr", "csc")


def as_target(y: Any, like: Array, name: str = "y") -> Any:
    """Further view, in the kind of ``like`` unless it is an array of another library or torch dtype of its own."""
    if not is_torch_array(y):
        y = in_kind(y, checked(y, name), like)
        if not is_torch_array(like):
            y = y.astype(like.dtype, copy=False)
    return y


def checked(view: Any, name: str) -> Any:
    """Numpy or sparse array in single or double precision; finiteness is read off the first pass over it."""
    return check_array(
        view,
        dtype=[np.float64, np.float32],
        ensure_2d=False,
        ensure_all_finite=False,
        accept_sparse=SPARSE_FORMATS,
        input_name=name,
    )


def as_columns(y: Any) -> Any:
    """Second view as a matrix."""
    return y[:, None] if y.ndim == 1 else y


def in_kind(data: Any, array: Any, like: Array) -> Any:
    """The array made of some data; in the kind of ``like`` where the data has no floating dtype of its own."""
    own = is_torch_array(data) or getattr(data, "dtype", None) in (np.float64, np.float32)
    if own:
        return array
    return array.astype(like.dtype) if is_scipy_sparse(array) else convert(array, like)


def scores_of(view: Any, mean: Array, rotations: Array, name: str) -> Array:
    """Scores (X - 1 mean^T) R of a view by blocks of rows, checked for the kind, the columns and finite entries.

    numpy and sparse data may be of another precision than those of fit, which that of the scores is.
    """
    if is_torch_array(view) or is_torch_array(mean):
        require_same_kind(empty_like(view) if is_scipy_sparse(view) else view, mean, name, "the data of fit")
    if view.ndim != 2:
        raise ValueError(f"{name} must be a matrix (samples x features), got shape {tuple(view.shape)}")
    if view.shape[1] != mean.shape[0]:
        raise ValueError(f"{name} has {view.shape[1]} features, but CCA was fitted with {mean.shape[0]}")
    xp = namespace(mean)
    with np.errstate(invalid="ignore"):  # an error of its own below
        if is_scipy_sparse(view):
            scores = view @ rotations - mean @ rotations
        else:
            starts = range(0, view.shape[0], _ROWS)
            scores = xp.concat([(view[first : first + _ROWS] - mean) @ rotations for first in starts], axis=0)
    # Every entry enters the scores, so that what is not finite shows there.
    if not bool(xp.all(xp.isfinite(scores))):
        raise ValueError(f"{name} contains NaN or infinity; clean or impute it first")
    return xp.astype(scores, mean.dtype, copy=False)
