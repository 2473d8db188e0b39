"""Pilot means of classes: those of a few rows of each, by which rows are shifted before anything is squared."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from manifolds.linalg import Array, add_signed_rows, namespace
from problems.row_blocks import zeros
from problems.row_passes import StreamedRows

_PILOT_ROWS = 16
"""Rows of each class that its pilot mean is made from."""


def chosen_rows(codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Indices of the first rows of each class, class after class."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(n_classes + 1))
    return np.concatenate([order[a : min(a + _PILOT_ROWS, b)] for a, b in pairwise(starts)])


def means_of_classes(rows: Array, codes: np.ndarray, n_classes: int) -> Array:
    """Means of the rows of each class, shape (l, d); zero for classes of no rows."""
    shares = (1 / np.maximum(np.bincount(codes, minlength=n_classes), 1))[codes]
    nothing: Any = zeros(rows, (n_classes, rows.shape[1]), rows.dtype)
    sums = add_signed_rows(namespace(rows).zeros_like(nothing), rows, codes[:, None], shares[:, None])
    # A class of infinite entries is met again, and named, in the first pass.
    return namespace(rows).where(namespace(rows).isfinite(sums), sums, nothing)


def streamed_pilots(stream: StreamedRows, codes: np.ndarray, n_classes: int, block_rows: int) -> tuple[Array, int]:
    """Pilot means of rows in order, read as far as it takes to meet some of each class, and how far that is.

    Parameters
    ----------
    stream : StreamedRows
        With the classes as the first vector.
    codes : array of shape (n,)
    n_classes : int
    block_rows : int
        Rows at a time.
    """
    missing = np.minimum(np.bincount(codes, minlength=n_classes), _PILOT_ROWS)
    views, classes, stop = [], [], 0
    blocks = stream.stream(block_rows)
    for block in blocks:
        met = block.vectors[0]
        chosen = np.concatenate([np.flatnonzero(met == k)[: missing[k]] for k in np.flatnonzero(missing)])
        missing = missing - np.bincount(met[chosen], minlength=n_classes)
        views.append(block.views[0][chosen])
        classes.append(met[chosen])
        stop = block.stop
        if not missing.any():
            break
    blocks.close()
    return means_of_classes(np.concatenate(views), np.concatenate(classes), n_classes), stop
