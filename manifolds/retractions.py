"""Retractions as values: which curve leads from a point along a tangent vector and stays on the manifold.

``CholeskyQR()``, ``QR()`` and ``Polar()`` bring the line X + t V back to orthonormal columns; ``Cayley()`` and
``Exponential()`` turn the frame. All act on the inner product tr(U^T B V) of the manifold, given by its product
``V -> B V`` (the identity for the Stiefel and Grassmann manifolds). An orthonormalization is ``Y -> Y T`` with a small
matrix T, the *normalizer* of G = Y^T B Y: T^T G T = I. A curve ``Y(t) T(t)`` therefore costs small-matrix algebra once
B V is known, and so does its velocity.

Under ``torch.compile`` no branch depends on entries: every orthonormalization goes by Householder QR, the robust way,
and dependent columns or entries that are not finite show in the result instead of raising :class:`RankDeficientError`.
Under ``torch.func.vmap``, which cannot take the branches, only ``Cayley()`` works: leading batch axes of points and
vectors do its job.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manifolds.frame_curves import CayleyCurve, FrameCurve
from manifolds.linalg import (
    Array,
    cholesky,
    half_upper,
    inverse_cholesky,
    inverse_triangular,
    is_traced,
    machine_epsilon,
    namespace,
    positive_qr,
    solve_lyapunov,
    symmetric_part,
    triangular_condition,
)
from manifolds.manifold import LocalGeometry, Point, RetractionCurve
from manifolds.matrix_functions import orthogonal_polar_factor


class RankDeficientError(ValueError):
    """The columns of a matrix to be orthonormalised are linearly dependent, or not finite."""

    def __init__(self) -> None:
        super().__init__(
            "the columns cannot be orthonormalised: they are linearly dependent or hold NaN or infinity; "
            "start from linearly independent columns or take a shorter step"
        )


class Retraction(ABC):
    """How a step along a tangent vector stays on the manifold: a curve t -> R_X(t V) for each point and vector."""

    @abstractmethod
    def curve(self, geometry: Any, tangent_vector: Point) -> RetractionCurve:
        """Curve t -> R_X(t V) that starts at the point of a local geometry with the velocity V."""


class Orthonormalization(Retraction):
    """Retraction that brings the line ``Y = X + t V`` back to the frames: ``Y -> Y T`` with T^T (Y^T B Y) T = I."""

    def curve(self, geometry: Any, tangent_vector: Array) -> FrameCurve:
        return FrameCurve(geometry, tangent_vector, self)

    @abstractmethod
    def normalizer(self, gram: Array) -> Array:
        """Matrix T with T^T G T = I for a well-conditioned Gram matrix G = Y^T B Y, shape ``(..., p, p)``."""

    @abstractmethod
    def normalizer_rate(self, normalizer: Array, relative: Array) -> Array:
        """Matrix K with T' = -T K, from T and the symmetric S = T^T G' T, of which it is one half: K + K^T = S."""

    def normalizer_derivative(self, normalizer: Array, gram_derivative: Array) -> Array:
        """Derivative T' along G', from T."""
        return -normalizer @ self.normalizer_rate(normalizer, normalizer.mT @ gram_derivative @ normalizer)

    def normalizer_and_derivative(self, gram: Array, gram_derivative: Array) -> tuple[Array, Array]:
        """Pair of T and its derivative T' along G' ."""
        normalizer = self.normalizer(gram)
        return normalizer, self.normalizer_derivative(normalizer, gram_derivative)

    def orthonormalize_with_normalizer(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> tuple[Array, Array | None]:
        """Pair of X as by ``orthonormalize`` and of T, with X = Y T to rounding, or None where T was not formed."""
        return self.orthonormalize(y, by, product), None

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
class CholeskyQR(Orthonormalization):
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

    def normalizer_rate(self, normalizer: Array, relative: Array) -> Array:
        """Upper triangle of S with its diagonal halved."""
        return half_upper(relative)

    def orthonormalize(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> Array:
        return self.orthonormalize_with_normalizer(y, by, product)[0]

    def orthonormalize_with_normalizer(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> tuple[Array, Array | None]:
        if is_traced(y):
            return QR().orthonormalize(y, product=product), None
        by = _product(y, product) if by is None else by
        inverse, condition = inverse_cholesky(y.mT @ by)
        if condition <= self.max_condition:
            return y @ inverse, inverse
        if not condition * machine_epsilon(y) <= 1e-2:
            return QR().orthonormalize(y, product=product), None
        x = y @ inverse
        return x @ self.normalizer(_gram(x, product)), inverse


@dataclass(frozen=True)
class QR(Orthonormalization):
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

    def normalizer_rate(self, normalizer: Array, relative: Array) -> Array:
        """Upper triangle of S with its diagonal halved."""
        return half_upper(relative)

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
class Polar(Orthonormalization):
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

    def normalizer_rate(self, normalizer: Array, relative: Array) -> Array:
        """K = L T with T L + L T = S, since T' = -T L T is symmetric."""
        eigenvalues, eigenvectors = namespace(normalizer).linalg.eigh(normalizer)
        return solve_lyapunov(eigenvalues, eigenvectors, relative) @ normalizer

    def orthonormalize(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> Array:
        return self.orthonormalize_with_normalizer(y, by, product)[0]

    def orthonormalize_with_normalizer(
        self, y: Array, by: Array | None = None, product: Callable[[Array], Array] | None = None
    ) -> tuple[Array, Array | None]:
        by = _product(y, product) if by is None else by
        gram = symmetric_part(y.mT @ by)
        if not is_traced(y) and inverse_cholesky(gram)[1] <= self.max_condition:
            normalizer = self.normalizer(gram)
            return y @ normalizer, normalizer
        # With an orthonormal basis Z, Y = Z S gives Y (Y^T B Y)^{-1/2} = Z polar(S): the condition is not squared.
        z = QR().orthonormalize(y, product=product)
        return z @ orthogonal_polar_factor(z.mT @ by), None


@dataclass(frozen=True)
class Cayley(Retraction):
    """Cayley transform of the skew generator of the step: R_X(t V) = (I - t W / 2)^{-1} (I + t W / 2) X.

    With the skew matrix A = X^T B V and the part K = V - X A of V outside the span of X, W = (Z X^T - X Z^T) B with
    Z = K + X A / 2 gives W X = V. W has rank 2p, and its 2p x 2p (Woodbury) system falls apart into blocks, so that
    p x p algebra is left: R_X(t V) = (2 X + t K) N - X with N = (I - t A / 2 + t^2 K^T B K / 4)^{-1}. The inverse
    exists for steps of every length.

    Of second order on the Stiefel manifold with the canonical metric, whose geodesic exp(t W) X it approximates, on the
    Grassmann manifold and on the rotations; of first order elsewhere.

    References
    ----------
    Wen, Yin, A feasible method for optimization with orthogonality constraints, Math. Program. 142 (2013), Lemma 4.
    Zhu, A Riemannian conjugate gradient method for optimization on the Stiefel manifold, Comput. Optim. Appl. 67
    (2017), Section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Stiefel
    >>> stiefel = Stiefel(3, 1, retraction=Cayley())
    >>> stiefel.retraction(np.array([[1.0], [0.0], [0.0]]), np.array([[0.0], [2.0], [0.0]]))
    array([[0.],
           [1.],
           [0.]])
    """

    def curve(self, geometry: Any, tangent_vector: Array) -> CayleyCurve:
        return CayleyCurve(geometry, tangent_vector)


@dataclass(frozen=True)
class Exponential(Retraction):
    """Exponential map R_x(t v) = Exp_x(t v): the curve is the geodesic, on manifolds that have it in closed form.

    References
    ----------
    Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), Section 5.4.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Rotations
    >>> quarter_turn = np.array([[0.0, -np.pi / 2], [np.pi / 2, 0.0]])
    >>> Rotations(2, retraction=Exponential()).retraction(np.eye(2), quarter_turn).round(12) + 0.0
    array([[ 0., -1.],
           [ 1.,  0.]])
    """

    def curve(self, geometry: LocalGeometry, tangent_vector: Point) -> RetractionCurve:
        return geometry.geodesic(tangent_vector)


def require_retraction(
    retraction: object, owner: str, refused: tuple[type[Retraction], ...] = (), instead: str = ""
) -> None:
    """Raise an error unless a manifold's argument ``retraction`` is None or a value that it can use.

    Parameters
    ----------
    retraction : object
    owner : str
        Name of the manifold.
    refused : tuple of type
        Retractions that do not fit it.
    instead : str
        What to use, as a phrase.
    """
    if retraction is not None and not isinstance(retraction, Retraction):
        raise TypeError(
            f"retraction must be a value such as CholeskyQR(), Polar() or Exponential() of manifolds, got "
            f"{retraction!r}"
        )
    if isinstance(retraction, refused):
        raise ValueError(f"retraction {retraction!r} cannot be used on {owner}; {instead}")


def _product(v: Array, product: Callable[[Array], Array] | None) -> Array:
    return v if product is None else product(v)


def _gram(v: Array, product: Callable[[Array], Array] | None) -> Array:
    return symmetric_part(v.mT @ _product(v, product))
