"""Matrices of a wanted spectrum, and dense oracles for subspaces in numpy float64."""

import numpy as np

from tests.arrays import to_float64


def normal(*shape, seed=0):
    """Independent standard normal entries."""
    return np.random.default_rng(seed).standard_normal(shape)


def frame(n, p, seed=0):
    """Random n x p matrix with orthonormal columns."""
    return np.linalg.qr(normal(n, p, seed=seed))[0]


def with_spectrum(m, n, singular_values, seed=0):
    """Random m x n matrix with these singular values."""
    k = len(singular_values)
    return (frame(m, k, seed) * singular_values) @ frame(n, k, seed + 1000).T


def spectra(k):
    """Decays of k singular values, by name."""
    i = np.arange(1, k + 1)
    return {
        "flat": np.ones(k),
        "line": np.linspace(2, 0.5, k),
        "root": i**-0.5,
        "harmonic": 1.0 / i,
        "polynomial": i**-2.0,
        "slow exponential": 0.9**i,
        "exponential": 0.5**i,
        "step": np.where(i <= k // 5, 1, 0.05),
        "low step": np.where(i <= k // 5, 1, 0.2),
    }


def projector(basis):
    """Q Q^T of an orthonormal basis."""
    q = to_float64(basis)
    return q @ q.swapaxes(-1, -2)


def span(matrix):
    """Projector onto the range of a matrix of full column rank."""
    return projector(np.linalg.qr(matrix)[0])


def captured(basis, matrix):
    """Share ||Q Q^T G||^2 / ||G||^2 of the energy."""
    g = to_float64(matrix)
    return np.linalg.norm(projector(basis) @ g) ** 2 / np.linalg.norm(g) ** 2


def best_shares(matrix):
    """Largest share of the energy that 1, 2, ... directions can capture, by the singular value decomposition."""
    energies = np.linalg.svd(to_float64(matrix), compute_uv=False) ** 2
    return np.cumsum(energies) / np.sum(energies)


def assert_orthonormal(basis, tolerance):
    """Assert Q^T Q = I, for batches too."""
    q = to_float64(basis)
    gram = q.swapaxes(-1, -2) @ q
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(q.shape[-1]), gram.shape), rtol=0, atol=tolerance)


def assert_same_span(first, second, tolerance):
    """Assert that two orthonormal bases (of batches too) span the same subspaces."""
    np.testing.assert_allclose(projector(first), projector(second), rtol=0, atol=tolerance)
