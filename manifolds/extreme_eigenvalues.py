"""Extreme eigenvalues of a symmetric operator relative to a preconditioner, by a few steps of Lanczos."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from manifolds.gram import as_symmetric_operator
from manifolds.linalg import Seed, machine_epsilon, namespace, standard_normal
from manifolds.probes import NotPositiveDefiniteError, checked_image
from manifolds.sketching import require_integer


class ExtremeEigenvalues(NamedTuple):
    """Estimates of the smallest and largest eigenvalue of M^{-1} B, from inside of its spectrum."""

    smallest: float
    largest: float

    @property
    def condition(self) -> float:
        """Their ratio: cond(M^{-1} B), from below."""
        return self.largest / self.smallest


def extreme_eigenvalues(B: Any, preconditioner: Any, *, steps: int = 20, rng: Seed = None) -> ExtremeEigenvalues:
    """Estimates of the smallest and largest eigenvalue of M^{-1} B by Lanczos, one product and one solve a step.

    The quotient of the two tells how much a Riemannian method in the metric M is slower than in the metric B.

    Parameters
    ----------
    B : array, scipy sparse matrix, LinearOperator, GramOperator, or any object with ``shape`` and ``@``
        Symmetric positive definite matrix of order n.
    preconditioner : object with ``solve``
        M.
    steps : int
        Number of steps; ``steps`` vectors of length n are kept.
    rng : None, int, numpy.random.Generator or torch.Generator
        Of the start vector.

    Returns
    -------
    ExtremeEigenvalues

    Raises
    ------
    TypeError, ValueError
        If B is no square operator, or B or M is not positive definite on a vector that is met.

    References
    ----------
    Golub, Van Loan, Matrix Computations (2013), Section 10.1, applied to M^{-1} B, which is self-adjoint in the inner
    product of B.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import DiagonalPreconditioner
    >>> b = np.diag([1.0, 2.0, 8.0])
    >>> estimate = extreme_eigenvalues(b, DiagonalPreconditioner(np.array([1.0, 1.0, 2.0])), rng=0)
    >>> round(estimate.smallest, 6), round(estimate.largest, 6), round(estimate.condition, 6)
    (1.0, 4.0, 4.0)
    """
    operator, like = as_symmetric_operator("B", B)
    require_integer("steps", steps, smallest=1)
    if not hasattr(preconditioner, "solve"):
        raise TypeError(
            f"preconditioner must be an object with solve(v) = M^{{-1}} v, got {type(preconditioner).__name__}"
        )
    n, xp = operator.shape[0], namespace(like)
    w = preconditioner.solve(standard_normal(rng, (n, 1), like))
    basis, images = None, None
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    for step in range(min(steps, n)):
        bw = checked_image("B", lambda v: operator @ v, w)
        squared = float(xp.sum(w * bw))
        if step and squared <= (machine_epsilon(like) * diagonal[0]) ** 2:
            break  # the vectors so far span an invariant subspace
        if not squared > 0:
            raise NotPositiveDefiniteError(
                "B must be positive definite, but x^T B x is not positive for some vectors x"
            )
        if step:
            off_diagonal.append(squared**0.5)
        v, bv = w / squared**0.5, bw / squared**0.5
        basis = v if basis is None else xp.concat([basis, v], axis=1)
        images = bv if images is None else xp.concat([images, bv], axis=1)
        w = preconditioner.solve(bv)
        diagonal.append(float(xp.sum(w * bv)))
        for _ in range(2):  # twice is enough to keep the vectors B-orthonormal
            w = w - basis @ (images.mT @ w)
    tridiagonal = np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
    values = np.linalg.eigvalsh(tridiagonal)
    if not values[0] > 0:
        raise NotPositiveDefiniteError(
            "preconditioner must be positive definite, but v^T M^{-1} v is not positive for some v"
        )
    return ExtremeEigenvalues(float(values[0]), float(values[-1]))
