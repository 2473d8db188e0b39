"""Points and tangent vectors of the manifold of matrices of fixed rank, as named tuples of factors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import (
    Array,
    identity,
    inner_product,
    is_array,
    is_same_kind,
    is_scipy_sparse,
    is_torch_array,
    kind,
    machine_epsilon,
    namespace,
)
from manifolds.low_rank import FactoredMatrix, LowRankMatrix, Matrix


class MatrixPoint(FactoredMatrix):
    """A point that stands for a matrix, and says which matrices go with it as gradients; its arrays are of one kind."""

    __slots__ = ()

    def require_vector(self, vector: Matrix, name: str) -> Matrix:
        """Return a matrix of the point's shape, library, dtype and device in any of the accepted forms, or raise."""
        array = self[0]  # type: ignore[index]
        if is_scipy_sparse(vector) and vector.shape == self.shape and vector.dtype is array.dtype:
            return vector  # first, since it is the common case and what follows takes longer than a small product
        form: Any = vector.factors().left if isinstance(vector, FactoredMatrix) else vector
        if not (is_array(form) or all(hasattr(form, attribute) for attribute in ("shape", "T", "__matmul__"))):
            raise TypeError(
                f"{name} must be an m x n matrix: an array, LowRankMatrix(left, right), a sparse matrix, or an "
                f"operator with shape, @ and T; got {type(vector).__name__}"
            )
        if tuple(vector.shape) != self.shape:
            raise ValueError(f"{name} has shape {tuple(vector.shape)}, but the point has shape {self.shape}")
        if is_array(form) and kind(form) != kind(array):
            raise TypeError(f"{name} is {' '.join(kind(form))}, but the point is {' '.join(kind(array))}")
        if is_scipy_sparse(form) and (is_torch_array(array) or form.dtype != array.dtype):
            raise TypeError(f"{name} is a scipy matrix of {form.dtype}, but the point is {' '.join(kind(array))}")
        return vector


class MatrixTangent(FactoredMatrix):
    """A tangent vector at a MatrixPoint, which its first field holds."""

    __slots__ = ()
    point: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.point.shape

    def is_at(self, point: Any) -> bool:
        """Whether this is a tangent vector at a point in the same factors."""
        if self.point is point:
            return True
        return all(
            a is b or (a.shape == b.shape and is_same_kind(a, b) and bool(namespace(a).all(a == b)))
            for a, b in zip(self.point, point, strict=True)
        )


class _PointFields(NamedTuple):
    U: Array
    S: Array
    V: Array


class FixedRankPoint(_PointFields, MatrixPoint):
    """The matrix ``X = U S V^T`` of rank r, with orthonormal U and V and an invertible S.

    Parameters
    ----------
    U : array of shape (..., m, r)
        Orthonormal basis of the column space.
    S : array of shape (..., r, r)
        Diagonal after a truncated SVD, but any invertible matrix will do.
    V : array of shape (..., n, r)
        Orthonormal basis of the row space.

    Examples
    --------
    >>> import numpy as np
    >>> x = FixedRankPoint(np.eye(3)[:, :1], np.array([[2.0]]), np.eye(2)[:, 1:])
    >>> x.shape, x.singular_values
    ((3, 2), array([2.]))
    """

    __slots__ = ()

    def factors(self) -> LowRankMatrix:
        return LowRankMatrix(self.U @ self.S, self.V)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.U.shape[:-1], self.V.shape[-2])

    @property
    def squared_norm(self) -> Array:
        """Squared Frobenius norm, of the batch's shape."""
        return inner_product(self.S, self.S)

    @property
    def singular_values(self) -> Array:
        """The r singular values, in descending order, shape ``(..., r)``."""
        return namespace(self.S).linalg.svdvals(self.S)

    def gradient_from_factors(self, dU: Array, dS: Array, dV: Array) -> FixedRankTangent:
        """Gradient of f(X), projected to the tangent space, from the derivatives of f(U S V^T) by the three factors.

        With the Euclidean gradient G they are ``dU = G V S^T``, ``dS = U^T G V`` and ``dV = G^T U S``; this is how
        automatic differentiation gives them.

        Parameters
        ----------
        dU, dS, dV : arrays
            Shaped like U, S and V.

        Returns
        -------
        FixedRankTangent
        """
        inverse = namespace(self.S).linalg.inv(self.S)
        return FixedRankTangent(
            self, dS, without(self.U, dU @ inverse.mT), without(self.V, dV @ inverse)
        )  # fmt: skip


class _TangentFields(NamedTuple):
    point: FixedRankPoint
    M: Array
    Up: Array
    Vp: Array


class FixedRankTangent(_TangentFields, MatrixTangent):
    """The tangent vector ``U M V^T + Up V^T + U Vp^T`` at ``X = U S V^T``, with U^T Up = 0 and V^T Vp = 0.

    Parameters
    ----------
    point : FixedRankPoint
        Where it is tangent; its arrays are shared, not copied.
    M : array of shape (..., r, r)
    Up : array of shape (..., m, r)
    Vp : array of shape (..., n, r)

    Examples
    --------
    >>> from manifolds import FixedRank
    >>> manifold = FixedRank(4, 3, 2)
    >>> x = manifold.random_point(rng=0)
    >>> v = manifold.random_tangent_vector(x, rng=1)
    >>> v.shape, v.Up.shape
    ((4, 3), (4, 2))
    """

    __slots__ = ()

    def factors(self) -> LowRankMatrix:
        concat, (U, _, V) = namespace(self.M).concat, self.point
        return LowRankMatrix(concat([U @ self.M + self.Up, U], axis=-1), concat([V, self.Vp], axis=-1))


def truncated_svd(matrix: Matrix, r: int) -> FixedRankPoint:
    """Leading r singular triplets of an array, of factors or of a scipy sparse matrix, whatever its rank."""
    if is_scipy_sparse(matrix):
        u, s, vt = _sparse_svd(matrix, r)
    elif isinstance(matrix, FactoredMatrix):
        left, right = matrix.factors()
        qr, svd = namespace(left).linalg.qr, namespace(left).linalg.svd
        (q_left, r_left), (q_right, r_right) = qr(left), qr(right)
        a, s, bt = svd(r_left @ r_right.mT, full_matrices=False)
        u, vt = q_left @ a, bt @ q_right.mT
    else:
        u, s, vt = namespace(matrix).linalg.svd(matrix, full_matrices=False)
    values = s[..., None, :r] * identity(s[..., :r].shape[-1], s)
    return FixedRankPoint(u[..., :, :r], values, vt[..., :r, :].mT)


def _sparse_svd(matrix: Any, r: int) -> tuple[Array, Array, Array]:
    """Leading triplets by Lanczos bidiagonalisation; densely where nearly all of them are wanted."""
    from scipy.sparse.linalg import svds

    # ARPACK takes neither nearly all triplets nor a matrix that sends its start vector to zero.
    if r >= min(matrix.shape) - 1 or not matrix.count_nonzero():
        u, s, vt = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        # A start vector of its own, since the default is drawn from a global state.
        start = np.random.default_rng(0).standard_normal(min(matrix.shape)).astype(matrix.dtype)
        u, s, vt = svds(matrix, k=r, v0=start)
        u, s, vt = u[:, ::-1], s[::-1], vt[::-1]
    return tuple(np.ascontiguousarray(part.astype(matrix.dtype)) for part in (u, s, vt))  # type: ignore[return-value]


def lost_rank(singular_values: Array, r: int, size: Array = 0.0) -> bool:
    """Whether fewer than r singular values, in descending order, are above rounding.

    Parameters
    ----------
    singular_values : array of shape (..., k)
    r : int
    size : array of shape (...), optional
        Norm of what the matrix was made of, where rounding is that of larger terms.
    """
    if singular_values.shape[-1] < r:
        return True
    values = singular_values
    floor = 4 * machine_epsilon(values) * (values[..., 0] + size)
    return not bool(namespace(values).all(values[..., r - 1] > floor))


def without(basis: Array, columns: Array) -> Array:
    """The columns without their part in the span of an orthonormal basis."""
    return columns - basis @ (basis.mT @ columns)
