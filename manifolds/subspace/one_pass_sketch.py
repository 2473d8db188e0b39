"""Sketch of a sum of matrices that are seen once each: its range, energies and projection without the sum itself."""

from __future__ import annotations

from typing import NamedTuple

from manifolds.linalg import Array, Seed, as_generator, namespace, squared_norm
from manifolds.subspace.directions import Directions, random_matrix


class OnePassSketch(NamedTuple):
    """Range and co-range sketch of a matrix G: Y = G Omega and Z = Psi G.

    Both are linear in G, so sketches under one seed add up: the sketch of a sum of gradients is the sum of theirs.

    Attributes
    ----------
    range_sketch : array of shape (m, k)
    corange_sketch : array of shape (l, n)
    psi : array of shape (l, m)

    References
    ----------
    Tropp, Yurtsever, Udell, Cevher, Practical sketching algorithms for low-rank matrix approximation, SIAM J. Matrix
    Anal. Appl. 38 (2017), Algorithms 1 to 4; with l = 2k + 1 (their equation 4.6) the expected error is within a
    factor sqrt(2) of that of the projection onto the range of Y.
    """

    range_sketch: Array
    corange_sketch: Array
    psi: Array


def sketch_once(matrix: Array, k: int, rng: Seed) -> OnePassSketch:
    """Sketch G with k test vectors on the range side and 2k + 1 on the other; one seed gives one Omega and one Psi.

    Parameters
    ----------
    matrix : array of shape (m, n)
    k : int
        At most m.
    rng : seed or generator
    """
    m, n = matrix.shape
    generator = as_generator(rng)
    omega = random_matrix(generator, (n, k), matrix)
    psi = random_matrix(generator, (min(2 * k + 1, m), m), matrix)
    return OnePassSketch(matrix @ omega, psi @ matrix, psi)


def recovered(sketch: OnePassSketch) -> tuple[Directions, Array]:
    """Directions of G and its projection on them, estimated from the sketch alone.

    With Q an orthonormal basis of the range of Y and X = (Psi Q)^+ Z, the estimate of G is Q X; its principal axes are
    the directions. Energies are those of X, and the total is estimated by ||Z||_F^2 / l.

    Returns
    -------
    Directions
    array of shape (k, n)
        The estimate of Q^T G for all the directions.
    """
    xp = namespace(sketch.range_sketch)
    q = xp.linalg.qr(sketch.range_sketch)[0]
    orthonormal, triangular = xp.linalg.qr(sketch.psi @ q)
    low = xp.linalg.solve(triangular, orthonormal.mT @ sketch.corange_sketch)
    eigenvalues, u = xp.linalg.eigh(low @ low.mT)
    energies, u = xp.clip(xp.flip(eigenvalues, axis=-1), min=0.0), xp.flip(u, axis=-1)
    estimate = squared_norm(sketch.corange_sketch) / sketch.psi.shape[-2]
    # The estimate has a variance; the directions cannot capture more than there is.
    total = xp.maximum(estimate, xp.sum(energies, axis=-1))
    return Directions(q @ u, energies, total, products=q.shape[-1] + sketch.psi.shape[-2]), u.mT @ low
