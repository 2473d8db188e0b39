"""Functions of small matrices: exponential, logarithm of rotations, polar factor, and functions of symmetric matrices.

Like the kernels of ``linalg`` they take batches and answer in the library, dtype and device of their input.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from manifolds.linalg import Array, identity, largest_absolute, machine_epsilon, namespace, skew_part


def symmetric_function(function: Callable[[Array], Array], a: Array) -> Array:
    """Function Q diag(f(lambda)) Q^T of symmetric matrices A = Q diag(lambda) Q^T."""
    eigenvalues, eigenvectors = namespace(a).linalg.eigh(a)
    return (eigenvectors * function(eigenvalues)[..., None, :]) @ eigenvectors.mT


def expm(a: Array) -> Array:
    """Exponential of square matrices, by scaling and squaring of the Pade approximant of degree 13 (Higham 2005).

    ``torch.linalg.matrix_exp`` loses four digits in float64 where the norm is between 0.01 and 0.05 (torch 2.13), and
    ``scipy.linalg.expm`` takes the matrices of a batch one by one.
    """
    xp = namespace(a)
    size = float(xp.max(xp.sum(xp.abs(a), axis=-2)))
    squarings = max(0, math.frexp(size / _PADE_RADIUS)[1]) if math.isfinite(size) else 0
    a = a / 2.0**squarings
    b, one = _PADE_COEFFICIENTS, identity(a.shape[-1], a)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one
    power = xp.linalg.solve(even - odd, even + odd)
    for _ in range(squarings):
        power = power @ power
    return power


_PADE_RADIUS = 5.371920351148152
"""Norm up to which the Pade approximant of degree 13 is exact to rounding in double precision."""

_PADE_COEFFICIENTS = tuple(
    math.factorial(26 - k) * math.factorial(13) / (math.factorial(26) * math.factorial(k) * math.factorial(13 - k))
    for k in range(14)
)


def log_rotation(v: Array) -> Array:
    """Principal logarithm of rotation matrices: the skew-symmetric A with exp(A) = V and angles below pi.

    The Cayley transform (V - I) (V + I)^{-1} is skew-symmetric with eigenvalues i tan(theta / 2); it is diagonalised as
    a Hermitian matrix.

    Raises
    ------
    ValueError
        If V has the eigenvalue -1, to rounding.
    """
    xp = namespace(v)
    one = identity(v.shape[-1], v)
    limit = 0.1 / machine_epsilon(v)
    if bool(xp.all(xp.isfinite(xp.linalg.slogdet(v + one)[1]))):
        cayley = skew_part(xp.linalg.solve(v + one, v - one))
        if largest_absolute(cayley) < limit:
            tangents, vectors = xp.linalg.eigh(-1j * cayley)
            return skew_part(xp.real((vectors * (2j * xp.atan(tangents))[..., None, :]) @ xp.conj(vectors).mT))
    raise ValueError("a rotation by the angle pi has no unique logarithm")


def orthogonal_polar_factor(y: Array) -> Array:
    """Orthonormal polar factor U V^T of Y = U S V^T: the nearest matrix with orthonormal columns."""
    u, _, vt = namespace(y).linalg.svd(y, full_matrices=False)
    return u @ vt


def newton_schulz_step(y: Array, by: Array | None = None) -> Array:
    """One step Y (3 I - Y^T B Y) / 2 to orthonormal columns: squares what rounding left of Y^T B Y - I; B Y or I."""
    gram = y.mT @ (y if by is None else by)
    return y @ (1.5 * identity(gram.shape[-1], gram) - 0.5 * gram)
