"""Matrices that are kept as factors, and the few operations on m x n matrices that no dense array is needed for.

Points and tangent vectors of the manifold of matrices of fixed rank are such matrices. Beside them a Euclidean gradient
may be an array, a sparse matrix of scipy or torch, or any operator with ``shape``, ``@`` and ``T``: all that is ever
asked of it is its product, and that of its transpose, with a few columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from manifolds.linalg import Array, expand, inner_product, is_array, is_scipy_sparse, is_torch_array, namespace

Matrix: TypeAlias = Any
"""An m x n matrix: an array, a FactoredMatrix, a sparse matrix, or an operator with shape, @ and T."""


class FactoredMatrix:
    """A matrix ``L R^T`` of low rank that is kept as factors; the dense matrix is formed by ``to_dense`` only."""

    __slots__ = ()

    def factors(self) -> LowRankMatrix:
        """The matrix as a LowRankMatrix ``(left, right)``."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(..., m, n)`` of the matrix."""
        left, right = self.factors()
        return (*left.shape[:-1], right.shape[-2])

    @property
    def T(self) -> LowRankMatrix:  # noqa: N802  as of arrays
        """Transpose ``R L^T``."""
        left, right = self.factors()
        return LowRankMatrix(right, left)

    def __matmul__(self, columns: Array) -> Array:
        """Product ``L (R^T Z)`` with a few columns Z."""
        left, right = self.factors()
        return left @ (right.mT @ columns)

    def to_dense(self) -> Array:
        """The matrix as an array of shape ``(..., m, n)``."""
        left, right = self.factors()
        return left @ right.mT

    def entries(self, rows: Array, columns: Array) -> Array:
        """Entries ``(L R^T)[rows, columns]`` of a single matrix, in O(k) operations each, k the number of factors.

        Parameters
        ----------
        rows, columns : integer arrays of shape (count,)

        Returns
        -------
        array of shape (count,)

        Raises
        ------
        ValueError
            If the matrix is a batch, or rows and columns have different shapes.
        """
        left, right = self.factors()
        if type(left) is np.ndarray:
            rows, columns = np.asarray(rows), np.asarray(columns)
            if left.ndim != 2 or rows.shape != columns.shape:
                raise ValueError(
                    f"entries needs a single matrix, and rows and columns of one shape, got a matrix of shape "
                    f"{self.shape} and indices of shapes {rows.shape} and {columns.shape}"
                )
            return _entries(left, right, rows.ravel(), columns.ravel()).reshape(rows.shape)
        # Factor by factor: gathered whole rows would take k times the memory of the answer.
        return sum(left[:, k][rows] * right[:, k][columns] for k in range(left.shape[-1]))


_TOGETHER = 15_000
"""Numbers that are gathered at once: for more, memory would be asked of the system anew each time, which takes longer
than all that is done with them."""


def _entries(left: np.ndarray, right: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Entries of L R^T, some at a time: factor by factor where there are few factors, else by whole rows."""
    k = left.shape[-1]
    total, together = np.zeros(rows.shape, left.dtype), _TOGETHER if k < 8 else max(_TOGETHER // k, 1)
    # What is gathered from should lie together in memory.
    left, right = map(np.ascontiguousarray, (left.T, right.T) if k < 8 else (left, right))
    for start in range(0, len(rows), together):
        part = slice(start, start + together)
        i, j, out = rows[part], columns[part], total[part]
        if k >= 8:
            np.einsum("ij,ij->i", left.take(i, axis=0), right.take(j, axis=0), out=out)
            continue
        for a, b in zip(left, right, strict=True):
            product = a.take(i)
            product *= b.take(j)
            out += product
    return total


class _Factors(NamedTuple):
    left: Array
    right: Array


class LowRankMatrix(_Factors, FactoredMatrix):
    """The matrix ``L R^T`` from factors of any number of columns: a Euclidean gradient, or a sum of vectors.

    Parameters
    ----------
    left : array of shape (..., m, k)
    right : array of shape (..., n, k)

    Examples
    --------
    >>> import numpy as np
    >>> a = LowRankMatrix(np.array([[1.0], [2.0]]), np.array([[1.0], [0.0], [3.0]]))
    >>> a.shape, a.to_dense()
    ((2, 3), array([[1., 0., 3.],
           [2., 0., 6.]]))
    """

    __slots__ = ()

    def factors(self) -> LowRankMatrix:
        return self


def is_sparse(matrix: object) -> bool:
    """Whether a matrix is a sparse one of scipy or torch."""
    return is_scipy_sparse(matrix) or (is_torch_array(matrix) and str(matrix.layout) != "torch.strided")


def is_dense(matrix: object) -> bool:
    """Whether a matrix is an ordinary array."""
    return is_array(matrix) and not is_sparse(matrix)


_SMALL = 2**14
"""Entries of a matrix up to which, at any density, it is multiplied faster as an array."""


def quick_to_multiply(matrix: Matrix) -> Matrix:
    """The matrix in the form that is multiplied fastest: a small sparse one of scipy as an array.

    To transpose a sparse matrix, and to set up its product, takes scipy longer than all the products of a small array.
    """
    if is_scipy_sparse(matrix) and matrix.shape[0] * matrix.shape[1] <= _SMALL:
        return matrix.toarray()
    return matrix


def transposed(matrix: Matrix) -> Matrix:
    """Transpose A^T."""
    if not is_scipy_sparse(matrix) and is_array(matrix):
        # torch has no mT of sparse matrices, and no batches of them.
        return matrix.mT if is_dense(matrix) else matrix.t()
    return matrix.T


def transposed_product(matrix: Matrix, columns: Array) -> Array:
    """Product A^T Z with a few columns Z."""
    return transposed(matrix) @ columns


def matrix_inner_product(a: Matrix, b: Matrix) -> Array:
    """Sum of the products of entries, tr(A^T B), of the batch's shape.

    Raises
    ------
    TypeError
        If it would need all entries of an operator.
    """
    if isinstance(a, FactoredMatrix):
        if not isinstance(b, FactoredMatrix):
            return matrix_inner_product(b, a)
        if a is b:
            return _squared_norm(a.factors())
        (left, right), (left_b, right_b) = a.factors(), b.factors()
        return inner_product(left.mT @ left_b, right.mT @ right_b)
    if isinstance(b, FactoredMatrix):
        left, right = b.factors()
        return inner_product(left, a @ right)
    if is_scipy_sparse(a) and is_scipy_sparse(b):
        return a.multiply(b).sum()
    if is_dense(a) and is_dense(b):
        return inner_product(a, b)
    if is_array(a) and is_array(b):
        return (a * b).sum()
    raise TypeError(
        f"the inner product of two matrices needs one that is kept as factors, or both as arrays or both sparse; got "
        f"{type(a).__name__} and {type(b).__name__}"
    )


def _squared_norm(a: LowRankMatrix) -> Array:
    """Squared Frobenius norm by two small triangular factors.

    By Gram matrices of the factors, a difference of two nearly equal matrices would lose half of its digits.
    """
    qr = namespace(a.left).linalg.qr
    core = qr(a.left)[1] @ qr(a.right)[1].mT
    return inner_product(core, core)


def matrix_combination(a: Any, u: Matrix, b: Any, v: Matrix) -> Matrix:
    """Matrix a U + b V, for numbers or batches of numbers: as factors where both are, side by side.

    Raises
    ------
    TypeError
        If it would need all entries of an operator or of a sparse matrix.
    """
    if isinstance(u, FactoredMatrix) and isinstance(v, FactoredMatrix):
        (left, right), (left_v, right_v) = u.factors(), v.factors()
        if u is v:
            return LowRankMatrix(expand(a, 2) * left + expand(b, 2) * left, right)
        concat = namespace(left).concat
        return LowRankMatrix(
            concat([expand(a, 2) * left, expand(b, 2) * left_v], axis=-1), concat([right, right_v], axis=-1)
        )
    if is_sparse(u) and is_sparse(v):
        return a * u + b * v
    dense = [w.to_dense() if isinstance(w, FactoredMatrix) else w for w in (u, v)]
    if all(map(is_dense, dense)):
        return expand(a, 2) * dense[0] + expand(b, 2) * dense[1]
    raise TypeError(
        f"matrices can be added as factors, as arrays, or where both are sparse; got {type(u).__name__} and "
        f"{type(v).__name__}"
    )
