"""Retractions of matrix manifolds as values: how ``Y = X + V`` is brought back to orthonormal columns.

All three act on the inner product tr(U^T B V) of the manifold, given by its product ``V -> B V`` (the identity for the
Stiefel and Grassmann manifolds). Each is ``Y -> Y T`` with a small matrix T, the *normalizer* of G = Y^T B Y:
T^T G T = I. A curve ``Y(t) T(t)`` therefore costs small-matrix algebra once B V is known, and so does its velocity.

Under ``torch.compile`` no branch depends on entries: every retraction goes by Householder QR, the robust way, and
dependent columns or entries that are not finite show in the result instead of raising :class:`RankDeficientError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from manifolds.linalg import (
    Array,
    cholesky,
    factored_condition,
    half_upper,
    inverse_triangular,
    is_traced,
    namespace,
    orthogonal_polar_factor,
    positive_qr,
    solve_lyapunov,
    symmetric_part,
    triangular_condition,
)


class RankDeficientError(ValueError):
    """The columns of a matrix to be orthonormalised are linearly dependent, or not finite."""

    def __init__(self) -> None:
        super().__init__(
            "the columns cannot be orthonormalised: they are linearly dependent or hold NaN or infinity; "
            "start from linearly independent columns or take a shorter step"
        )


class Retraction(ABC):
    """How ``Y = X + V`` is brought back to the manifold: ``Y -> Y T`` with T^T (Y^T B Y) T = I."""

    @abstractmethod
    def normalizer(self, gram: Array) -> Array:
        """Matrix T with T^T G T = I for a well-conditioned Gram matrix G = Y^T B Y, shape ``(..., p, p)``."""

    @abstractmethod
    def normalizer_and_derivative(self, gram: Array, gram_derivative: Array) -> tuple[Array, Array]:
        """Pair of T and its derivative T' along G' ."""

    @abstractmethod
    def orthonormalize(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> Array:
        """Bring Y of full column rank to orthonormal columns, whatever its conditioning.

        Parameters
        ----------
        y : array of shape (..., n, p)
        by : array of shape (..., n, p), optional
            B Y where it is known already.
        product : callable, optional
            ``V -> B V``; the identity when left out.

        Returns
        -------
        array of shape (..., n, p)
            X = Y T with X^T B X = I.

        Raises
        ------
        RankDeficientError
            If the columns of Y are numerically dependent or not finite.
        """


@dataclass(frozen=True)
class CholeskyQR(Retraction):
    """Q factor of Y by the Cholesky factor of its Gram matrix: X = Y R^{-1}, R^T R = Y^T B Y.

    Two matrix products and a small factorisation: the fastest retraction, and the natural one with a matrix B. Its loss
    of orthogonality grows like cond(Y^T B Y) times the rounding unit; where the Gram matrix is worse conditioned than
    ``max_condition`` the step is repeated on its own result (Cholesky-QR2), and where the Cholesky factorisation
    fails a Householder QR factorisation goes before.

    Parameters
    ----------
    max_condition : float
        Condition of the Gram matrix up to which one pass is enough.

    References
    ----------
    Sato, Aihara, Cholesky QR-based retraction on the generalized Stiefel manifold, Comput. Optim. Appl. 72
    (2019).

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([[3.0, 1.0], [0.0, 2.0], [4.0, 0.0]])
    >>> x = CholeskyQR().orthonormalize(y)
    >>> np.allclose(x.T @ x, np.eye(2))
    True
    """

    max_condition: float = 1e3

    def normalizer(self, gram: Array) -> Array:
        """T = R^{-1} with R^T R = G, R upper triangular."""
        r = cholesky(gram)
        if r is None:
            raise RankDeficientError
        return inverse_triangular(r)

    def normalizer_and_derivative(self, gram: Array, gram_derivative: Array) -> tuple[Array, Array]:
        """T = R^{-1} and T' = -T U, where U is upper triangular and U + U^T = T^T G' T."""
        t = self.normalizer(gram)
        return t, -t @ half_upper(t.mT @ gram_derivative @ t)

    def orthonormalize(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> Array:
        if is_traced(y):
            return QR().orthonormalize(y, product=product)
        by = _product(y, product) if by is None else by
        r = cholesky(symmetric_part(y.mT @ by))
        if r is None:
            return QR().orthonormalize(y, product=product)
        inverse = inverse_triangular(r)
        condition = factored_condition(r, inverse)
        if not condition * float(namespace(y).finfo(y.dtype).eps) <= 1e-2:
            return QR().orthonormalize(y, product=product)
        x = y @ inverse
        return x if condition <= self.max_condition else x @ self.normalizer(_gram(x, product))


@dataclass(frozen=True)
class QR(Retraction):
    """Q factor of Y by Householder reflections, with a positive diagonal of R: the same map as Cholesky-QR, robust.

    With a matrix B, Householder QR comes first and Cholesky-QR2 in the inner product of B follows, so that only the
    conditioning of B matters, not that of Y.

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Example 4.1.3.

    Examples
    --------
    >>> import numpy as np
    >>> QR().orthonormalize(np.array([[3.0], [4.0]]))
    array([[0.6],
           [0.8]])
    """

    def normalizer(self, gram: Array) -> Array:
        """T = R^{-1} with R^T R = G, R upper triangular."""
        return CholeskyQR().normalizer(gram)

    def normalizer_and_derivative(self, gram: Array, gram_derivative: Array) -> tuple[Array, Array]:
        """T = R^{-1} and T' = -T U, where U is upper triangular and U + U^T = T^T G' T."""
        return CholeskyQR().normalizer_and_derivative(gram, gram_derivative)

    def orthonormalize(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> Array:
        xp = namespace(y)
        if not is_traced(y) and not bool(xp.all(xp.isfinite(y))):
            raise RankDeficientError
        x, r = positive_qr(y)
        if not is_traced(y) and triangular_condition(r) * float(xp.finfo(y.dtype).eps) ** 2 > 1e-4:
            raise RankDeficientError
        if product is None:
            return x
        for _ in range(2):
            x = x @ self.normalizer(_gram(x, product))
        return x


@dataclass(frozen=True)
class Polar(Retraction):
    """Orthonormal polar factor of Y: X = Y (Y^T B Y)^{-1/2}, the nearest point in the norm of B.

    Of second order on the sphere, the Grassmann manifold, the Stiefel manifold with the Euclidean metric and the
    generalized Stiefel manifold with the metric of B itself.

    Parameters
    ----------
    max_condition : float
        Condition of the Gram matrix up to which its eigendecomposition is accurate enough.

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Example 4.1.3.

    Examples
    --------
    >>> import numpy as np
    >>> Polar().orthonormalize(np.array([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]]))
    array([[1., 0.],
           [0., 1.],
           [0., 0.]])
    """

    max_condition: float = 1e3

    def normalizer(self, gram: Array) -> Array:
        """T = G^{-1/2}."""
        eigenvalues, eigenvectors = namespace(gram).linalg.eigh(gram)
        return (eigenvectors / namespace(gram).sqrt(eigenvalues)[..., None, :]) @ eigenvectors.mT

    def normalizer_and_derivative(self, gram: Array, gram_derivative: Array) -> tuple[Array, Array]:
        """T = P^{-1} for P = G^{1/2}, and T' = -T P' T with P P' + P' P = G'."""
        xp = namespace(gram)
        eigenvalues, eigenvectors = xp.linalg.eigh(gram)
        roots = xp.sqrt(eigenvalues)
        t = (eigenvectors / roots[..., None, :]) @ eigenvectors.mT
        return t, -t @ solve_lyapunov(roots, eigenvectors, gram_derivative) @ t

    def orthonormalize(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> Array:
        by = _product(y, product) if by is None else by
        gram = symmetric_part(y.mT @ by)
        r = None if is_traced(y) else cholesky(gram)
        if r is not None and factored_condition(r, inverse_triangular(r)) <= self.max_condition:
            return y @ self.normalizer(gram)
        # With an orthonormal basis Z, Y = Z S gives Y (Y^T B Y)^{-1/2} = Z polar(S): the condition is not squared.
        z = QR().orthonormalize(y, product=product)
        return z @ orthogonal_polar_factor(z.mT @ by)


def _product(v: Array, product: Callable[[Array], Array] | None) -> Array:
    return v if product is None else product(v)


def _gram(v: Array, product: Callable[[Array], Array] | None) -> Array:
    return symmetric_part(v.mT @ _product(v, product))
