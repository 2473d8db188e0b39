"""Sums of rows into places that an index names: the kernel of sparse sketches and of sums over classes."""

from __future__ import annotations

import numpy as np

from manifolds.linalg import Array, convert, is_array, is_torch_array, namespace


def add_signed_rows(out: Array, rows: Array, targets: np.ndarray, weights: np.ndarray) -> Array:
    """Add ``weights[i, k] * rows[i]`` to ``out[targets[i, k]]`` for every i and k, in place, and return ``out``.

    The rows may be a scipy sparse matrix; the targets of one row are distinct.
    """
    if is_torch_array(rows):
        for index, weight in zip(targets.T, weights.T, strict=True):
            index = namespace(rows).asarray(np.ascontiguousarray(index), device=rows.device)
            out.index_add_(0, index, convert(weight, rows)[:, None] * rows)
        return out
    from scipy.sparse import csc_array

    pointers = np.arange(len(targets) + 1) * targets.shape[1]
    sketch = csc_array((weights.ravel().astype(rows.dtype), targets.ravel(), pointers), (out.shape[0], len(targets)))
    product = sketch @ rows
    out += product if is_array(product) else product.toarray()
    return out
