"""Preconditioned conjugate gradients for several right-hand sides at once: one product with the block per step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import Array, machine_epsilon, namespace, to_numpy
from rankopt.solvers.status import Status


class BlockSolution(NamedTuple):
    """Approximate solution of C Z = F and what is known of it."""

    z: Array
    """Z, shape (d, m)."""
    cz: Array
    """C Z, as the recurrence has it."""
    n_iter: int
    status: Status


def block_pcg(C: Any, F: Array, preconditioner: Any, *, tol: float, max_iter: int) -> BlockSolution:
    """Solve C Z = F for a symmetric positive definite C by conjugate gradients on all columns side by side.

    Parameters
    ----------
    C : object with ``@``
    F : array of shape (d, m)
    preconditioner : object with ``solve``
    tol : float
        Bound for each residual's norm in M^{-1}, relative to that of its right-hand side.
    max_iter : int

    Returns
    -------
    BlockSolution

    References
    ----------
    Golub, Van Loan, Matrix Computations (2013), Algorithm 11.5.1.
    """
    xp = namespace(F)
    z, cz, residual = xp.zeros_like(F), xp.zeros_like(F), F
    solved = preconditioner.solve(residual)
    squares = xp.sum(residual * solved, axis=0)
    first, direction = squares, solved
    floor = machine_epsilon(F)
    for iteration in range(max_iter + 1):
        relative = np.sqrt(np.maximum(to_numpy(_divided(squares, first)).astype(float), 0.0))
        if np.all(relative <= max(tol, floor)):
            # Below rounding the residual of the recurrence says nothing of the true one.
            status = Status.CONVERGED_GRADIENT if tol >= floor else Status.APPROXIMATION_FLOOR
            return BlockSolution(z, cz, iteration, status)
        if iteration == max_iter:
            break
        image = C @ direction
        curvature = xp.sum(direction * image, axis=0)
        step = _divided(squares, curvature)
        z, cz = z + direction * step, cz + image * step
        residual = residual - image * step
        solved = preconditioner.solve(residual)
        last, squares = squares, xp.sum(residual * solved, axis=0)
        direction = solved + direction * _divided(squares, last)
    return BlockSolution(z, cz, max_iter, Status.ITERATION_LIMIT)


def _divided(a: Array, b: Array) -> Array:
    """Quotients, zero where the denominator is: a column that is solved exactly rests."""
    xp = namespace(a)
    positive = b > 0
    return xp.where(positive, a / xp.where(positive, b, xp.ones_like(b)), xp.zeros_like(a))
