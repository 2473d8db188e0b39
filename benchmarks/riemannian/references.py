"""Optima of problems that no decomposition solves: by a very accurate run, and proven where duality can."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse.linalg

from manifolds import Manifold
from rankopt import CostChange, GradientNorm, MaxIterations, TrustRegion, minimize

from .instruments import Functions

PROVEN = 1e-9
"""Distance of cost and lower bound, relative to the cost, that counts as proof."""


def accurate_point(functions: Functions, manifold: Manifold, start: Any) -> Any:
    """Point where the gradient's norm has fallen to 1e-9 of that at the start, or to rounding."""
    stopping = GradientNorm(relative=1e-9) | CostChange(iterations=3) | MaxIterations(200)
    return minimize(
        functions.cost,
        manifold,
        start,
        TrustRegion(),
        gradient=functions.gradient,
        hessian=functions.hessian,
        stopping=stopping,
    ).x


def require_proof(name: str, cost: float, certificate: Any, trace: float) -> float:
    """The cost, if the certificate of the semidefinite relaxation proves it optimal.

    Where S = C - Lambda is the certificate of a cost tr(X^T C X) / 2 with block-diagonal multipliers Lambda, every
    feasible X has f(X) >= f + min(lambda_min(S), 0) * trace / 2, with the constant ``trace`` = tr(X^T X).
    """
    size = abs(scipy.sparse.linalg.eigsh(certificate, k=1, v0=np.ones(certificate.shape[0]), return_eigenvectors=False))
    # From slightly below zero, so that the factored matrix is not singular.
    shift = -1e-6 * float(size[0])
    lowest = scipy.sparse.linalg.eigsh(
        certificate.tocsc(), k=1, sigma=shift, v0=np.ones(certificate.shape[0]), return_eigenvectors=False
    )
    loss = -min(float(lowest[0]), 0.0) * trace / 2
    if loss > PROVEN * abs(cost):
        raise ValueError(f"{name}: the reference {cost} may be off by {loss:.1e}")
    return cost
