"""Fast orthonormal transforms of the columns of matrices, in O(n log n) operations per column and without a matrix."""

from __future__ import annotations

import math

import numpy as np

from manifolds.linalg import Array, convert, is_torch_array, namespace

_RADIX = 8
"""Points of a butterfly: three levels of additions as one small matrix product, which saves passes over the memory."""


def walsh_hadamard(matrix: Array) -> Array:
    """Orthonormal Walsh-Hadamard transform of every column, in the natural (Hadamard) order of rows.

    H_{2m} = [[H_m, H_m], [H_m, -H_m]] / sqrt(2) and H_1 = 1, so H is symmetric and its own inverse.

    Parameters
    ----------
    matrix : array of shape (..., n, d)
        n is a power of two.

    Returns
    -------
    array of shape (..., n, d)

    Raises
    ------
    ValueError
        If n is not a power of two.

    References
    ----------
    Fino, Algazi, Unified matrix treatment of the fast Walsh-Hadamard transform, IEEE Trans. Comput. C-25 (1976).

    Examples
    --------
    >>> import numpy as np
    >>> walsh_hadamard(np.array([[3.0], [1.0], [0.0], [0.0]])).T
    array([[2., 1., 2., 1.]])
    """
    xp = namespace(matrix)
    *batch, n, d = matrix.shape
    if n < 1 or n & (n - 1):
        raise ValueError(f"matrix must have a power of two of rows, got {n}; append rows of zeros")
    done = 1
    while done < n:
        # H is a Kronecker product, so each factor acts on its own digit of the row's index.
        radix = min(_RADIX, n // done)
        digits = xp.reshape(matrix, (*batch, n // (done * radix), radix, done * d))
        matrix = _small_hadamard(radix, matrix) @ digits
        done *= radix
    return xp.reshape(matrix, (*batch, n, d))


def _small_hadamard(size: int, like: Array) -> Array:
    """Orthonormal Hadamard matrix: the sign at (i, j) is the parity of the common bits of i and j."""
    signs = [[(-1.0) ** (i & j).bit_count() for j in range(size)] for i in range(size)]
    return convert(np.array(signs) / size**0.5, like)


def cosine_transform(matrix: Array) -> Array:
    """Orthonormal discrete cosine transform (type II) of every column, by one FFT of the same length."""
    xp = namespace(matrix)
    m = matrix.shape[-2]
    reordered = xp.concat([matrix[..., ::2, :], xp.flip(matrix[..., 1::2, :], axis=-2)], axis=-2)
    spectrum = xp.fft.fft(reordered, axis=-2)
    frequencies = _arange(m, matrix)
    angle = frequencies[:, None] * (math.pi / (2 * m))
    turned = xp.cos(angle) * xp.real(spectrum) + xp.sin(angle) * xp.imag(spectrum)
    return turned * _cosine_scale(frequencies, m)[:, None]


def cosine_columns(m: int, frequencies: Array, like: Array) -> Array:
    """Columns of the orthonormal cosine basis of R^m, one for each frequency: c_k cos(pi (2i + 1) k / (2m))."""
    xp = namespace(like)
    rows = xp.astype(_arange(m, like), frequencies.dtype)
    # The product of integers is reduced by the period first: beyond 2^24 single precision could not hold it.
    phase = ((2 * rows[:, None] + 1) * frequencies[..., None, :]) % (4 * m)
    columns = xp.cos(xp.astype(phase, like.dtype) * (math.pi / (2 * m)))
    return columns * _cosine_scale(xp.astype(frequencies, like.dtype), m)[..., None, :]


def _cosine_scale(frequencies: Array, m: int) -> Array:
    xp = namespace(frequencies)
    constant, wave = math.sqrt(1 / m), math.sqrt(2 / m)
    return xp.where(frequencies == 0, constant * xp.ones_like(frequencies), wave * xp.ones_like(frequencies))


def _arange(m: int, like: Array) -> Array:
    device = {"device": like.device} if is_torch_array(like) else {}
    return namespace(like).arange(m, dtype=like.dtype, **device)
