"""The oblique manifold of matrices with columns of unit norm: a product of spheres in one array."""

from __future__ import annotations

import math

from manifolds.linalg import Array, namespace
from manifolds.retractions import Retraction
from manifolds.sphere import UnitVectors


class Oblique(UnitVectors):
    """Oblique manifold {X : diag(X^T X) = 1} of n x p matrices with unit columns, of dimension p (n - 1).

    The metric is tr(U^T V), so that it is the product of p unit spheres of R^n, and all is done column by column.

    Parameters
    ----------
    n, p : int
        Rows and columns, ``n >= 2``.
    retraction : None or Exponential()
        None divides the columns by their norms, Exponential() follows the great circles.

    References
    ----------
    Trendafilov, Lippert, The multimode Procrustes problem, Linear Algebra Appl. 349 (2002).

    Examples
    --------
    >>> import numpy as np
    >>> oblique = Oblique(2, 2)
    >>> x, y = np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> bool(np.isclose(oblique.dist(x, y), np.sqrt(2) * np.pi / 2))
    True
    """

    _point_equation = "diag(X^T X) = 1"
    _tangent_equation = "diag(X^T V) = 0"
    _where = " in some column"

    def __init__(self, n: int, p: int, retraction: Retraction | None = None) -> None:
        super().__init__((n, p), retraction)
        self.n, self.p = self.shape
        if self.n == 1:
            raise ValueError("an oblique manifold needs columns of at least two coordinates, got n = 1")

    @property
    def dim(self) -> int:
        return self.p * (self.n - 1)

    @property
    def typical_dist(self) -> float:
        return math.pi * float(self.p) ** 0.5

    def along(self, u: Array, v: Array) -> Array:
        return namespace(u).sum(u * v, axis=-2, keepdims=True)
