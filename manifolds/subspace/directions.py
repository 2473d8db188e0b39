"""Orthonormal directions of a matrix, ordered by the energy that each captures, and how to get more of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from manifolds.linalg import Array, Seed, namespace, squared_norm, standard_normal

Seeds: TypeAlias = "Seed | Sequence[Seed]"
"""A seed or generator, or one for each matrix of a batch."""


class Directions(NamedTuple):
    """Orthonormal directions Q for a matrix G, the most energetic first.

    Attributes
    ----------
    basis : array of shape (..., m, k)
        Q, with orthonormal columns.
    energies : array of shape (..., k)
        Squared norms of the rows of Q^T G, descending.
    total_energy : array of shape (...)
        The squared Frobenius norm of G.
    products : int
        Products of G or its transpose with a vector that were spent.
    decompositions : int
        Singular value decompositions of the whole of G that were spent.
    """

    basis: Array
    energies: Array
    total_energy: Array
    products: int
    decompositions: int = 0


def principal_axes(basis: Array, matrix: Array, products: int = 0) -> Directions:
    """Rotate an orthonormal basis Q within its span to the principal axes of Q^T G.

    With B = Q^T G and the eigendecomposition B B^T = U diag(s_i^2) U^T the rotated basis is Q U; its i-th direction
    captures s_i^2 of the energy, and ||G - QQ^T G||_F^2 = ||G||_F^2 - sum s_i^2 without forming the difference.
    """
    xp = namespace(matrix)
    low = basis.mT @ matrix
    eigenvalues, u = xp.linalg.eigh(low @ low.mT)
    energies = xp.clip(xp.flip(eigenvalues, axis=-1), min=0.0)
    products += basis.shape[-1]
    return Directions(basis @ xp.flip(u, axis=-1), energies, squared_norm(matrix), products)


def random_matrix(rng: Seeds, shape: tuple[int, int], like: Array) -> Array:
    """Independent standard normal entries; for a batch of matrices, one seed or generator each."""
    if isinstance(rng, Sequence):
        return namespace(like).stack([standard_normal(one, shape, like) for one in rng])
    return standard_normal(rng, (*like.shape[:-2], *shape), like)


def randomized_range(matrix: Array, test_matrix: Array, power_iterations: int = 1) -> Array:
    """Orthonormal basis of the range of G Omega, or of (G G^T)^q G Omega with ``power_iterations`` q.

    Parameters
    ----------
    matrix : array of shape (..., m, n)
        G.
    test_matrix : array of shape (..., n, k)
        Omega, random; k is at most m.
    power_iterations : int
        Each sharpens the basis where the singular values fall slowly, for two more products.

    Returns
    -------
    array of shape (..., m, k)

    References
    ----------
    Halko, Martinsson, Tropp, Finding structure with randomness, SIAM Review 53 (2011), Algorithm 4.4.
    """
    xp = namespace(matrix)
    sample = matrix @ test_matrix
    for _ in range(power_iterations):
        # Orthonormalised in between, so that small directions do not drown in rounding.
        sample = matrix @ (matrix.mT @ xp.linalg.qr(sample)[0])
    return xp.linalg.qr(sample)[0]


def extended(directions: Directions, matrix: Array, count: int, rng: Seeds) -> Directions:
    """Add ``count`` directions, from the range of the residual G - QQ^T G, and order all of them by their energy."""
    xp = namespace(matrix)
    basis = directions.basis
    sample = matrix @ random_matrix(rng, (matrix.shape[-1], count), matrix)
    sample = sample - basis @ (basis.mT @ sample)
    # Where the residual is zero, Householder reflections complete the basis by arbitrary orthonormal columns.
    complete = xp.linalg.qr(xp.concat([basis, sample], axis=-1))[0]
    return principal_axes(complete, matrix, directions.products + count)
