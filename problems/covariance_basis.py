"""Bases that are orthonormal in a covariance which is only multiplied with, filled up to a number of directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from manifolds.linalg import Array, identity, namespace, standard_normal, symmetric_part
from problems.cca_direct import clear_whitening


def covariance_basis(
    S: Any, Z: Array, image: Array, wanted: int, *, epsilon: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Basis B of the span of Z with B^T S B = I, and S B; where Z has a lower rank than wanted, of a larger span.

    What is missing are random directions, by a pass, made orthogonal to Z in S: if S Z are cross covariances with
    another view, they are uncorrelated with that view, as is all else outside of the span.

    Parameters
    ----------
    S : object with ``@``
        Covariance of order d.
    Z : array of shape (d, m)
        In units in which what is smaller than ``epsilon`` times the rest is rounding.
    image : array of shape (d, m)
        S Z.
    wanted : int
        Number of directions to reach, if S has that rank.
    epsilon : float
        Machine epsilon of the products.
    rng : numpy.random.Generator

    Returns
    -------
    basis, image : arrays of shape (d, r)
        With r >= wanted unless the rank of S is smaller.
    """
    xp = namespace(Z)
    # Principal axes first: the small ones among them are known better than the small differences of columns.
    axes = xp.linalg.eigh(symmetric_part(Z.mT @ image))[1]
    Z, image = Z @ axes, image @ axes
    squares = xp.sum(Z * image, axis=0)
    Z, image = _orthonormal(Z, image, squares > (100 * epsilon) ** 2 * xp.max(squares))
    if wanted <= Z.shape[1]:
        return Z, image
    new = standard_normal(rng, (Z.shape[0], wanted - Z.shape[1]), Z)
    new_image = S @ new
    before = xp.sum(new * new_image, axis=0)
    for _ in range(2):
        overlap = image.mT @ new
        new, new_image = new - Z @ overlap, new_image - image @ overlap
    # Where S has no further rank, what is left is rounding.
    new, new_image = _orthonormal(new, new_image, xp.sum(new * new_image, axis=0) > 100 * epsilon * before)
    return xp.concat([Z, new], axis=1), xp.concat([image, new_image], axis=1)


def _orthonormal(Z: Array, image: Array, clear: Array) -> tuple[Array, Array]:
    """Directions in the span of the clear columns that are orthonormal in the covariance that gave the image."""
    mask = namespace(Z).astype(clear, Z.dtype)
    Z, image = Z * mask, image * mask
    found = clear_whitening(symmetric_part(Z.mT @ image))
    if found is None:
        return Z[:, :0], image[:, :0]
    coefficients = found.directions(identity(found.rank, Z))
    return Z @ coefficients, image @ coefficients
