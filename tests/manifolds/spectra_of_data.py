"""Data whose Gram matrix has a given spectrum, and the spectrum of one matrix relative to another by scipy."""

import numpy as np
import scipy.linalg

from tests.arrays import orthogonal, to_float64


def data_with(spectrum, n, seed=0):
    """Matrix n x d with these eigenvalues of its Gram matrix."""
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.standard_normal((n, len(spectrum))))[0]
    return (u * np.sqrt(spectrum)) @ orthogonal(len(spectrum), rng)


def shifted_gram(x, ridge):
    """B = X^T X + ridge I."""
    return x.T @ x + ridge * np.eye(x.shape[1])


def relative_spectrum(b, preconditioner, kind):
    """Eigenvalues of M^{-1} B, ascending; M is formed by its own product with the identity."""
    m = to_float64(preconditioner.apply(kind(np.eye(len(b)))))
    return scipy.linalg.eigh(b, (m + m.T) / 2, eigvals_only=True)


def condition(b, preconditioner, kind):
    """cond(M^{-1} B)."""
    eigenvalues = relative_spectrum(b, preconditioner, kind)
    return eigenvalues[-1] / eigenvalues[0]
