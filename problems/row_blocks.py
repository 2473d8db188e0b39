"""Row blocks of a data matrix, whatever stores it: numpy, torch, or scipy's sparse rows and columns.

A block is a view of the data wherever the storage allows it. What differs between dense and sparse storage is here, so
that operators on the data are written once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from manifolds.linalg import Array, is_array, is_scipy_sparse, is_torch_array, namespace, require_real_floating


def as_data(data: Any, name: str) -> Any:
    """Data matrix as it is; an error unless it is a real floating matrix in a storage that can be read by rows."""
    sparse = is_scipy_sparse(data)
    if not (is_array(data) or sparse):
        raise TypeError(
            f"{name} must be a numpy array, a torch tensor or a scipy sparse matrix, got {type(data).__name__}"
        )
    if data.ndim != 2 or 0 in data.shape:
        raise ValueError(
            f"{name} must be a matrix (samples x features) that is not empty, got shape {tuple(data.shape)}"
        )
    if sparse and data.format not in ("csr", "csc"):
        raise TypeError(
            f"{name} must be sparse by rows or columns (CSR or CSC), got {data.format}; convert it with tocsr()"
        )
    if is_torch_array(data) and str(data.layout) != "torch.strided":
        raise TypeError(f"{name} must be a dense torch tensor, got layout {data.layout}; convert it with to_dense()")
    require_real_floating(empty_like(data), name)
    return data


def empty_like(data: Any) -> Array:
    """Empty array of the library, dtype and device of the data, with its columns."""
    return data[:0] if is_array(data) else np.empty((0, data.shape[1]), dtype=data.dtype)


def bytes_per_row(data: Any) -> int:
    """Mean number of bytes that a row takes."""
    if is_array(data):
        return int(data.shape[1] * namespace(data).finfo(data.dtype).bits // 8)
    return max(1, (data.data.nbytes + data.indices.nbytes + data.indptr.nbytes) // data.shape[0])


def row_block(data: Any, first: int, stop: int) -> Any:
    """Rows ``first`` to ``stop``, without a copy where rows lie together."""
    if is_array(data):
        return data[first:stop]
    if stop - first == data.shape[0]:
        return data
    if data.format == "csc":
        return data[first:stop]
    begin, end = data.indptr[first], data.indptr[stop]
    parts = data.data[begin:end], data.indices[begin:end], data.indptr[first : stop + 1] - begin
    return type(data)(parts, shape=(stop - first, data.shape[1]), copy=False)


def has_cheap_blocks(data: Any) -> bool:
    """Whether rows can be read in blocks; sparse columns are read all at once."""
    return is_array(data) or data.format == "csr"


def shifted_rows(block: Any, shift: Array | None, factors: Array | None) -> Any:
    """Rows minus a common shift, each times its own factor; sparse rows are never shifted."""
    if is_array(block):
        block = block if shift is None else block - shift
        return block if factors is None else block * factors[:, None]
    if factors is None:
        return block
    return type(block)(block.multiply(factors[:, None]))


def column_sums(block: Any, weights: Array | None = None) -> Array:
    """Sums of columns, each row with a weight; of sparse rows in double precision."""
    if is_array(block):
        return namespace(block).sum(block, axis=0) if weights is None else weights @ block
    weights = np.ones(block.shape[0]) if weights is None else weights.astype(np.float64)
    return block.T @ weights


def column_squares(block: Any) -> Array:
    """Sums of squares of columns."""
    if is_array(block):
        return namespace(block).sum(block * block, axis=0)
    return np.asarray(block.multiply(block).sum(axis=0)).ravel()


def cross_product(left: Any, right: Any) -> Array:
    """Dense left^T right of two blocks with the same rows."""
    product = left.T @ right
    return product if is_array(product) else product.toarray()


def widened(block: Any) -> Any:
    """Block in double precision."""
    return (
        namespace(block).astype(block, namespace(block).float64, copy=False) if is_array(block) else block.astype(float)
    )
