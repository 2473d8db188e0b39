"""Oracle: the geometry of {X : X^T B X = I} in the metric of M by dense linear algebra in R^(n p).

Coordinates z = vec(R xi) with M = R^T R make the metric Euclidean. There the normal space is spanned by the gradients
of the constraints x_i^T B x_j = delta_ij, orthonormalised by QR; no Lyapunov equation, W or C occurs.
"""

import numpy as np
from scipy.linalg import null_space, solve_triangular


class DenseGeometry:
    """Everything in numpy float64; vectors are measured in the norm of M, covectors in that of M^{-1}."""

    def __init__(self, B, M, X):
        self.B, self.M, self.X = B, M, X
        self.shape = X.shape
        self.R = np.linalg.cholesky(M).T
        self.pairs = [(i, j) for i in range(X.shape[1]) for j in range(i + 1)]
        self.constraints = np.array([self.to_covector(self._constraint_gradient(i, j)) for i, j in self.pairs]).T
        self.normal = np.linalg.qr(self.constraints)[0]

    def _constraint_gradient(self, i, j):
        gradient, BX = np.zeros(self.shape), self.B @ self.X
        gradient[:, j] += BX[:, i]
        gradient[:, i] += BX[:, j]
        return gradient

    def to_vector(self, xi):
        return (self.R @ xi).ravel()

    def to_covector(self, e):
        return solve_triangular(self.R, e, trans=1).ravel()

    def from_vector(self, z):
        return solve_triangular(self.R, z.reshape(self.shape))

    def norm(self, xi):
        return np.linalg.norm(self.to_vector(xi))

    def dual_norm(self, e):
        return np.linalg.norm(self.to_covector(e))

    def project(self, z):
        return z - self.normal @ (self.normal.T @ z)

    def normal_part(self, xi):
        """Norm of the normal part of a vector."""
        return np.linalg.norm(self.normal.T @ self.to_vector(xi))

    def multiplier(self, e):
        """Symmetric S with e - B X S tangent: the least-squares coefficients of e in the constraints' gradients."""
        coefficients = np.linalg.lstsq(self.constraints, self.to_covector(e), rcond=None)[0]
        S = np.zeros((self.shape[1],) * 2)
        for (i, j), c in zip(self.pairs, coefficients, strict=True):
            S[i, j] += c
            S[j, i] += c
        return S

    def tangent_basis(self):
        """Orthonormal basis of the tangent space, a list of n x p matrices."""
        return [self.from_vector(z) for z in null_space(self.normal.T).T]
