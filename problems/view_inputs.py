"""What users give as views: checked, and in one kind, with the least conversion that this takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from manifolds.linalg import Array, convert, is_scipy_sparse, is_torch_array, namespace, require_same_kind
from problems.dask_rows import DaskRows
from problems.row_blocks import as_data, empty_like, is_dask
from problems.row_passes import NotFiniteError
from problems.row_source import RowSource, read_ahead

_ROWS = 16384
"""Rows that scores are made of at a time."""

SPARSE_FORMATS = ("csr", "csc")


def as_target(y: Any, like: Array, name: str = "y") -> Any:
    """Further view, in the kind of ``like`` unless it is an array of another library or torch dtype of its own."""
    if is_dask(y):
        y = as_data(y, name)
    if isinstance(y, RowSource):
        return y if y.dtype == like.dtype or is_torch_array(like) else y.cast(like.dtype)
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
    if isinstance(data, RowSource):
        return array
    own = is_torch_array(data) or getattr(data, "dtype", None) in (np.float64, np.float32)
    if own:
        return array
    return array.astype(like.dtype) if is_scipy_sparse(array) else convert(array, like)


def scores_of(view: Any, mean: Array, rotations: Array, name: str) -> Array:
    """Scores (X - 1 mean^T) R of a view by blocks of rows, checked for the kind, the columns and finite entries.

    numpy and sparse data may be of another precision than those of fit, which that of the scores is.
    """
    if isinstance(view, DaskRows):
        _require_columns(view, mean, name)
        return view.map_rows(lambda block: next(score_blocks(block, mean, rotations, name)), rotations.shape[1])
    return namespace(mean).concat(list(score_blocks(view, mean, rotations, name)), axis=0)


def score_blocks(view: Any, mean: Array, rotations: Array, name: str) -> Iterator[Array]:
    """Scores of ``scores_of``, block by block."""
    if is_torch_array(view) or is_torch_array(mean):
        own = empty_like(view) if is_scipy_sparse(view) or isinstance(view, RowSource) else view
        require_same_kind(own, mean, name, "the data of fit")
    _require_columns(view, mean, name)
    xp, first = namespace(mean), 0
    for block in row_pieces(view):
        with np.errstate(invalid="ignore"):  # an error of its own below
            sparse = is_scipy_sparse(block)
            scores = block @ rotations - mean @ rotations if sparse else (block - mean) @ rotations
        # Every entry enters the scores, so that what is not finite shows there.
        finite = xp.isfinite(scores)
        if not bool(xp.all(finite)):
            raise NotFiniteError(0, first + int(xp.argmin(xp.astype(xp.all(finite, axis=1), xp.int8)))).named(
                name, view
            )
        first += block.shape[0]
        yield xp.astype(scores, mean.dtype, copy=False)


def _require_columns(view: Any, mean: Array, name: str) -> None:
    if view.ndim != 2:
        raise ValueError(f"{name} must be a matrix (samples x features), got shape {tuple(view.shape)}")
    if view.shape[1] != mean.shape[0]:
        raise ValueError(f"{name} has {view.shape[1]} features, but CCA was fitted with {mean.shape[0]}")


def row_pieces(view: Any) -> Iterator[Any]:
    """Rows in blocks that scores are made of; sparse data whole."""
    if isinstance(view, RowSource):
        return read_ahead(view.blocks(_ROWS))
    if is_scipy_sparse(view):
        return iter([view])
    return (view[first : first + _ROWS] for first in range(0, view.shape[0], _ROWS))
