"""Probes of linear operators: symmetric, positive and finite, as far as a few products can tell."""

from __future__ import annotations

from collections.abc import Callable

from manifolds.linalg import (
    Array,
    cholesky,
    kind,
    machine_epsilon,
    namespace,
    norm,
    require_same_kind,
    standard_normal,
    symmetric_part,
)

_SMALL = 512
"""Order up to which a dense matrix is factorised outright, which takes milliseconds and decides the question."""


class NotPositiveDefiniteError(ValueError):
    """A matrix or operator that has to be positive definite is singular, to rounding, or has negative eigenvalues.

    Where it is semidefinite, a ridge helps.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import CholeskyPreconditioner, NotPositiveDefiniteError
    >>> try:
    ...     CholeskyPreconditioner(np.ones((2, 2)))
    ... except NotPositiveDefiniteError:
    ...     metric = CholeskyPreconditioner(np.ones((2, 2)) + 0.1 * np.eye(2))
    """


def require_symmetric_positive(name: str, product: Callable[[Array], Array], n: int, like: Array) -> None:
    """Raise a ValueError if an operator on R^n is not finite, symmetric and positive on random vectors.

    One product with a block X of random columns is taken: X^T B X must be symmetric to rounding and positive definite.

    Parameters
    ----------
    name : str
        What to call the operator in the message.
    product : callable
        ``V -> B V`` for an ``n x k`` matrix.
    n : int
        Order of the operator.
    like : array
        Kind of the vectors it takes.
    """
    x = standard_normal(0, (n, min(n, 6)), like)
    _require(name, x.mT @ checked_image(name, product, x), norm(x) ** 2)


def require_positive_matrix(name: str, matrix: Array) -> None:
    """Raise a ValueError if a dense matrix is not finite, symmetric and positive definite.

    Up to order 512 the matrix is factorised, which decides; above, it is probed as an operator.
    """
    xp = namespace(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {tuple(matrix.shape)}")
    if not bool(xp.all(xp.isfinite(matrix))):
        raise ValueError(f"{name} contains NaN or infinity")
    if matrix.shape[0] <= _SMALL:
        _require(name, matrix, norm(matrix))
    else:
        require_symmetric_positive(name, lambda v: matrix @ v, matrix.shape[0], matrix)


def require_symmetric(name: str, product: Callable[[Array], Array], n: int, like: Array) -> None:
    """Raise a ValueError if an operator on R^n is not finite or not symmetric on random vectors, by one product."""
    x = standard_normal(0, (n, min(n, 6)), like)
    require_symmetric_gram(name, x.mT @ checked_image(name, product, x), norm(x) ** 2)


def checked_image(name: str, product: Callable[[Array], Array], x: Array) -> Array:
    """Product of an operator with a matrix, once its shape, kind and finiteness are checked."""
    try:
        image = product(x)
    except (TypeError, ValueError, RuntimeError) as error:
        library, dtype, _ = kind(x)
        raise TypeError(f"{name} cannot take a {library} array of {dtype}, shape {tuple(x.shape)}: {error}") from error
    if getattr(image, "shape", None) != x.shape:
        raise ValueError(
            f"{name} maps shape {tuple(x.shape)} to {getattr(image, 'shape', None)}; it must keep the shape"
        )
    require_same_kind(image, x, f"the image under {name}", "the vector")
    xp = namespace(image)
    if not bool(xp.all(xp.isfinite(image))):
        raise ValueError(f"{name} gives NaN or infinity on a random vector")
    return image


def require_symmetric_gram(name: str, gram: Array, scale: Array) -> None:
    """Raise a ValueError unless X^T B X is symmetric to rounding, ``scale`` being the squared size of X."""
    size = float(norm(gram))
    asymmetry = float(norm(gram - gram.mT)) / 2
    if asymmetry > machine_epsilon(gram) ** 0.5 * max(size, float(scale) * machine_epsilon(gram)):
        raise ValueError(
            f"{name} must be symmetric, but x^T {name} y and y^T {name} x differ by {asymmetry / size:.1e} of them; "
            f"pass the symmetric part ({name} + {name}^T) / 2 if that is what you mean"
        )


def _require(name: str, gram: Array, scale: Array) -> None:
    require_symmetric_gram(name, gram, scale)
    if cholesky(symmetric_part(gram)) is None:
        raise NotPositiveDefiniteError(
            f"{name} must be positive definite, but x^T {name} x is not positive for some vectors x; "
            f"add a ridge ({name} + ridge * I) or remove dependent columns"
        )
