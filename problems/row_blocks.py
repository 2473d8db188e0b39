"""Row blocks of a data matrix, whatever stores it: numpy, torch, or scipy's sparse rows and columns.

A block is a view of the data wherever the storage allows it. What differs between dense and sparse storage is here, so
that operators on the data are written once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import Array, is_array, is_scipy_sparse, is_torch_array, namespace, require_real_floating
from problems.row_source import RowSource


class ChosenRows(NamedTuple):
    """Some rows of a matrix in memory, in the order of their indices, copied block by block."""

    data: Any
    chosen: Any
    """Indices, in the library of the data."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of the chosen rows."""
        return len(self.chosen), self.data.shape[1]


def as_data(data: Any, name: str) -> Any:
    """Data matrix as it is; an error unless it is a real floating matrix in a storage that can be read by rows.

    Collections of dask become sources of rows.
    """
    if is_dask(data):
        from problems.dask_rows import DaskRows

        return DaskRows(data, name)
    sparse = is_scipy_sparse(data)
    if not (is_array(data) or sparse or isinstance(data, RowSource)):
        raise TypeError(
            f"{name} must be a numpy array, a torch tensor, a scipy sparse matrix or a RowSource, got "
            f"{type(data).__name__}"
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


def is_dask(data: Any) -> bool:
    """Whether data are a collection of dask; dask is not imported."""
    return hasattr(data, "__dask_graph__") and type(data).__module__.startswith("dask")


def empty_like(data: Any) -> Array:
    """Empty array of the library, dtype and device of the data, with its columns."""
    if isinstance(data, ChosenRows):
        return empty_like(data.data)
    return data[:0] if is_array(data) else np.empty((0, data.shape[1]), dtype=data.dtype)


def bytes_per_row(data: Any) -> int:
    """Mean number of bytes that a row takes."""
    if is_array(data):
        return int(data.shape[1] * namespace(data).finfo(data.dtype).bits // 8)
    if isinstance(data, RowSource):
        return data.row_bytes
    if isinstance(data, ChosenRows):
        return bytes_per_row(data.data)
    return max(1, (data.data.nbytes + data.indices.nbytes + data.indptr.nbytes) // data.shape[0])


def row_block(data: Any, first: int, stop: int) -> Any:
    """Rows ``first`` to ``stop``, without a copy where rows lie together."""
    if is_array(data):
        return data[first:stop]
    if isinstance(data, ChosenRows):
        return data.data[data.chosen[first:stop]]
    if stop - first == data.shape[0]:
        return data
    if data.format == "csc":
        return data[first:stop]
    begin, end = data.indptr[first], data.indptr[stop]
    parts = data.data[begin:end], data.indices[begin:end], data.indptr[first : stop + 1] - begin
    return type(data)(parts, shape=(stop - first, data.shape[1]), copy=False)


def has_cheap_blocks(data: Any) -> bool:
    """Whether rows can be read in blocks; sparse columns are read all at once."""
    if isinstance(data, ChosenRows):
        return has_cheap_blocks(data.data)
    return is_array(data) or isinstance(data, RowSource) or data.format == "csr"


def has_sparse_rows(data: Any) -> bool:
    """Whether row blocks are sparse."""
    return data.sparse if isinstance(data, RowSource) else is_scipy_sparse(data)


def density(data: Any) -> float:
    """Stored share of the entries; of a sparse source by the size of its rows."""
    if not has_sparse_rows(data):
        return 1.0
    if isinstance(data, RowSource):
        return min(1.0, data.row_bytes / (16 * data.shape[1]))
    return float(data.nnz / (data.shape[0] * data.shape[1]))


def product_like(data: Any, *, double: bool = False) -> Array:
    """Empty array in the precision of products of rows: double for sparse ones, which are not shifted, or if wanted."""
    like = empty_like(data)
    return widened(like) if double or has_sparse_rows(data) else like


def zeros(like: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """Zeros in the library and on the device of an array, in double precision unless a dtype is given."""
    xp, device = namespace(like), {"device": like.device} if is_torch_array(like) else {}
    return xp.zeros(shape, dtype=xp.float64 if dtype is None else dtype, **device)


def shifted_rows(block: Any, shift: Array | None, factors: Array | None) -> Any:
    """Rows minus a common shift, each times its own factor; sparse rows are never shifted.

    Sparse rows get the precision of the factors: what their means contribute is subtracted later, and has to be known
    to all digits.
    """
    if is_array(block):
        block = block if shift is None else block - shift
        return block if factors is None else block * _narrowed(factors, block)[:, None]
    if factors is None:
        return block
    return type(block)(block.multiply(factors[:, None]))


def column_sums(block: Any, weights: Array | None = None) -> Array:
    """Sums of columns, each row with a weight; of sparse rows in double precision."""
    if is_array(block):
        return namespace(block).sum(block, axis=0) if weights is None else _narrowed(weights, block) @ block
    weights = np.ones(block.shape[0]) if weights is None else weights.astype(np.float64)
    return block.T @ weights


def column_squares(block: Any) -> Array:
    """Sums of squares of columns; of sparse rows in double precision."""
    if is_array(block):
        return namespace(block).sum(block * block, axis=0)
    block = widened(block)
    return np.asarray(block.multiply(block).sum(axis=0)).ravel()


def cross_product(left: Any, right: Any) -> Array:
    """Dense left^T right of two blocks with the same rows."""
    product = left.T @ right
    return product if is_array(product) else product.toarray()


def for_products(block: Any, *, double: bool = False) -> Any:
    """Block in the precision of its products: double for sparse rows, which are not shifted, or if wanted."""
    return widened(block) if double or not is_array(block) else block


def widened(block: Any) -> Any:
    """Block in double precision, without a copy where it is that already."""
    if is_array(block):
        return namespace(block).astype(block, namespace(block).float64, copy=False)
    return block.astype(float, copy=False)


def _narrowed(factors: Array, block: Array) -> Array:
    """Factors of dense rows in their dtype."""
    return namespace(block).astype(factors, block.dtype, copy=False)
