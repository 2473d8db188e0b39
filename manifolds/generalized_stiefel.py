"""The generalized Stiefel manifold {X : X^T B X = I} in the metric tr(U^T M V) of any preconditioner M.

The formulas are those of B. Shustin and H. Avron, "Riemannian optimization with a preconditioning scheme on the
generalized Stiefel manifold" (J. Comput. Appl. Math., 2023), with W = M^{-1} B X and C = X^T B M^{-1} B X, and
lyap(C, R) the solution S of C S + S C = R. Only M^{-1} is needed, except for inner products of arbitrary vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manifolds.lazy import lazy_property
from manifolds.linalg import (
    Array,
    inner_product,
    is_array,
    namespace,
    require_same_kind,
    solve_lyapunov,
    symmetric_part,
)
from manifolds.manifold import LocalGeometry
from manifolds.operators import operator_kind, operator_product, require_square_operator
from manifolds.orthonormal_frames import FrameGeometry, OrthonormalFrames
from manifolds.preconditioners import as_preconditioner
from manifolds.probes import require_positive_matrix, require_symmetric_positive
from manifolds.retractions import Exponential, Polar, Retraction


class GeneralizedStiefel(OrthonormalFrames):
    """Generalized Stiefel manifold {X : X^T B X = I} of n x p matrices, in the metric <U, V> = tr(U^T M V).

    Parameters
    ----------
    B : array, scipy sparse matrix, LinearOperator, or any object with ``shape`` and ``@``
        Symmetric positive definite matrix of order n. It is only multiplied with; it is never factored.
    p : int
        Number of columns, ``1 <= p <= n``.
    preconditioner : None, array or object with ``solve``
        The metric M: None for the identity, a symmetric positive definite matrix, a vector (a diagonal), or an object
        whose ``solve(v)`` is M^{-1} v (and ``apply(v)`` is M v, where inner products of arbitrary vectors are
        wanted). Note that scipy's ``M`` is the inverse of this one. The closer M is to B, the fewer steps are needed.
    retraction : Retraction, default CholeskyQR()
        CholeskyQR(), QR(), Polar() or Cayley().
    probe : bool
        Whether B and M are probed for symmetry and positivity (one product each with a few random vectors). Switch it
        off where they are so by construction and a product is expensive.

    Raises
    ------
    ValueError
        If a probe fails, B is not square or ``p > n``.
    TypeError
        If B cannot be multiplied with, or B and M differ in library, dtype or device.

    References
    ----------
    Shustin, Avron, arXiv 1902.01635; M = B gives the manifold of Manopt's ``stiefelgeneralizedfactory``.

    Examples
    --------
    >>> import numpy as np
    >>> b = np.diag([1.0, 10.0, 100.0])
    >>> manifold = GeneralizedStiefel(b, p=2, preconditioner=np.array([1.0, 10.0, 100.0]))
    >>> x = manifold.random_point(rng=0)
    >>> np.allclose(x.T @ b @ x, np.eye(2))
    True
    """

    _point_equation = "X^T B X = I"
    _tangent_equation = "sym(X^T B V) = 0"
    _refused_retractions = (Exponential,)

    def __init__(
        self,
        B: Any,
        p: int,
        preconditioner: Any = None,
        retraction: Retraction | None = None,
        *,
        probe: bool = True,
    ) -> None:
        super().__init__(require_square_operator("B", B), p, retraction)
        self.B = B
        self._like = operator_kind("B", B, preconditioner)
        if probe and is_array(B):
            require_positive_matrix("B", B)
        elif probe:
            require_symmetric_positive("B", self.gram_product, self.n, self._like)
        for part in (
            preconditioner,
            getattr(preconditioner, "factor", None),
            getattr(preconditioner, "diagonal", None),
        ):
            if is_array(part):
                require_same_kind(part, self._like, "preconditioner", "B")
        self.preconditioner = as_preconditioner(preconditioner, self.n, self._like, probe=probe)

    def __repr__(self) -> str:
        return f"GeneralizedStiefel(n={self.n}, p={self.p}, preconditioner={self.preconditioner!r})"

    def own_array(self) -> Array:
        return self._like

    def require_shape(self, array: Array, name: str) -> None:
        super().require_shape(array, name)
        require_same_kind(array, self._like, name, "B")

    def gram_product(self, v: Array) -> Array:
        return operator_product(self.B, v)

    def at(self, point: Array, gram_point: Array | None = None) -> GeneralizedStiefelGeometry:
        """Local geometry at X; a caller who carries the product B X hands it over as ``gram_point``."""
        self.require_shape(point, "point")
        return GeneralizedStiefelGeometry(self, point, gram_point)


class GeneralizedStiefelGeometry(FrameGeometry):
    """The generalized Stiefel manifold at X, with normal space {W S : S = S^T}."""

    manifold: GeneralizedStiefel

    def __init__(self, manifold: GeneralizedStiefel, point: Array, gram_point: Array | None = None) -> None:
        super().__init__(manifold, point)
        self._gram_point = gram_point

    @lazy_property
    def gram_point(self) -> Array:
        """B X, one product."""
        return self.manifold.gram_product(self.point) if self._gram_point is None else self._gram_point

    @lazy_property
    def normal_basis(self) -> Array:
        """W = M^{-1} B X, one solve."""
        return self.manifold.preconditioner.solve(self.gram_point)

    @lazy_property
    def _eigen(self) -> Any:
        """Eigendecomposition of C = (B X)^T W."""
        return namespace(self.point).linalg.eigh(symmetric_part(self.gram_point.mT @ self.normal_basis))

    def lyapunov(self, rhs: Array) -> Array:
        """S with C S + S C = R."""
        eigenvalues, eigenvectors = self._eigen
        return solve_lyapunov(eigenvalues, eigenvectors, rhs)

    def inner_product(self, u: Array, v: Array) -> Array:
        """<U, V> = tr(U^T M V)."""
        return inner_product(u, self.covector(v))

    def covector(self, tangent_vector: Array) -> Array:
        """M V, the array whose traces tr((M V)^T U) are inner products."""
        preconditioner = self.manifold.preconditioner
        if not hasattr(preconditioner, "apply"):
            raise TypeError(
                f"{type(preconditioner).__name__} has solve but no apply, which inner products need; give it "
                "apply(v) = M v"
            )
        return preconditioner.apply(tangent_vector)

    def projection(self, vector: Array) -> Array:
        """P(A) = A - W S, S = lyap(C, 2 sym((B X)^T A))."""
        return vector - self.normal_basis @ self.lyapunov(2 * symmetric_part(self.gram_point.mT @ vector))

    def multiplier(self, euclidean_gradient: Array) -> Array:
        """S = lyap(C, 2 sym(W^T grad f)), so that M grad = grad f - B X S."""
        return self.lyapunov(2 * symmetric_part(self.normal_basis.mT @ euclidean_gradient))

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        """Gradient M^{-1} grad f - W S, one solve."""
        solved = self.manifold.preconditioner.solve(euclidean_gradient)
        return solved - self.normal_basis @ self.multiplier(euclidean_gradient)

    def gradient_covector(self, euclidean_gradient: Array, gradient: Array | None = None) -> Array:
        """M grad = grad f - B X S, with neither a solve nor a product with M."""
        return euclidean_gradient - self.gram_point @ self.multiplier(euclidean_gradient)

    def hessian_covector(
        self,
        euclidean_gradient: Array,
        euclidean_hessian: Array,
        tangent_vector: Array,
        gram_tangent: Array | None = None,
    ) -> Array:
        """D^2 f(X)[V] - B V S with the gradient's S, which is M Hess f(X)[V] on tangent vectors; B V may be given."""
        return self.hessian_form(euclidean_gradient)(euclidean_hessian, tangent_vector, gram_tangent)

    def hessian_form(self, euclidean_gradient: Array) -> Callable[..., Array]:
        """D^2 f(X)[V] - B V S with the gradient's S, as by ``hessian_covector``."""
        multiplier = self.multiplier(euclidean_gradient)

        def covector(euclidean_hessian: Array, v: Array, gram_tangent: Array | None = None) -> Array:
            gram_tangent = self.manifold.gram_product(v) if gram_tangent is None else gram_tangent
            return euclidean_hessian - gram_tangent @ multiplier

        return covector

    def pairing(self, covector: Array, tangent_vector: Array) -> Array:
        """Trace tr(C^T V), without M."""
        return inner_product(covector, tangent_vector)

    def representative(self, covector: Array) -> Array:
        """P( M^{-1} C ), one solve: a covector is represented as a Euclidean gradient is."""
        return self.riemannian_gradient(covector)

    def covector_from(self, origin: LocalGeometry, covector: Array) -> Array:
        """The array itself: tr(V^T M U) = tr((M V)^T P(U)) for tangent U here, since P is self-adjoint in M."""
        return covector

    def riemannian_hessian(
        self,
        euclidean_gradient: Array,
        euclidean_hessian: Array,
        tangent_vector: Array,
        gram_tangent: Array | None = None,
    ) -> Array:
        """Hess f(X)[V] = P( M^{-1} ( D^2 f(X)[V] - B V S ) ) with the gradient's S; B V may be handed over."""
        covector = self.hessian_covector(euclidean_gradient, euclidean_hessian, tangent_vector, gram_tangent)
        return self.projection(self.manifold.preconditioner.solve(covector))

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """Polar factor of Y = X + V - W T / 2, T = lyap(C, 2 V^T B V): the acceleration is normal."""
        speed = symmetric_part(tangent_vector.mT @ self.manifold.gram_product(tangent_vector))
        y = self.point + tangent_vector - 0.5 * self.normal_basis @ self.lyapunov(2 * speed)
        return Polar().orthonormalize(y, product=self.manifold.gram_product)
