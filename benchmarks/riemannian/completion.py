"""Low-rank matrix completion: a matrix of rank r from a sample of its entries, without noise, so that the optimum is 0.

There are five times as many entries as the manifold has dimensions, or half of all where that is more than there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pymanopt
from scipy.sparse import csr_array

from manifolds import FixedRank, FixedRankTwoFactors, LowRankMatrix

from .instances import Coordinates, Instance
from .instruments import Functions


def matrix_completion(size: str, m: int, n: int, r: int) -> Instance:
    """sum of (X_ij - A_ij)^2 / 2 over the known entries; gradients and Hessian products are sparse."""
    rng, manifold, embedded = np.random.default_rng(m), FixedRankTwoFactors(m, n, r), FixedRank(m, n, r)
    truth = LowRankMatrix(rng.standard_normal((m, r)), rng.standard_normal((n, r)))
    share = min(5 * manifold.dim / (m * n), 0.8)
    rows, columns = np.nonzero(rng.random((m, n)) < share)
    values, pointers = truth.entries(rows, columns), np.searchsorted(rows, np.arange(m + 1))

    def sparse(data):
        return csr_array((data, columns, pointers), shape=(m, n))

    def residual(x):
        return x.entries(rows, columns) - values

    def cost(x):
        difference = residual(x)
        return 0.5 * float(difference @ difference)

    spectral = embedded.nearest_point(sparse(values / share))

    def start(seed):
        v = embedded.random_tangent_vector(spectral, rng=seed)
        length = 0.5 * float(np.linalg.norm(spectral.S))
        return manifold.nearest_point(embedded.retraction(spectral, embedded.linear_combination(length, v, 0.0, v)))

    def singular_values(x):
        u, s, v = embedded.nearest_point(x)
        return u, np.diag(s), v.T

    return Instance(
        problem="matrix completion",
        size=size,
        label=f"{m} x {n}, rank {r}",
        functions=Functions(cost, lambda x: sparse(residual(x)), lambda x, v: sparse(v.entries(rows, columns))),
        manifold=lambda: FixedRankTwoFactors(m, n, r),
        start=start,
        optimum=0.0,
        infeasibility=lambda x: 0.0,  # two factors are always a matrix of the rank
        pymanopt=lambda: Coordinates(
            pymanopt.manifolds.FixedRankEmbedded(m, n, r), singular_values, _from_singular_values, _by_factors, None
        ),
        parametrization=Coordinates(
            enter=_side_by_side, leave=partial(_two_factors, m=m, r=r), pull=partial(_pull_to_factors, m=m, r=r)
        ),
    )


# ------------------------------------------------------------------------------------------ points of pymanopt
def _from_singular_values(z: Any) -> LowRankMatrix:
    u, s, vt = z
    return LowRankMatrix(u * s, vt.T)


def _by_factors(z: Any, gradient: Any) -> Any:
    """Derivatives by u, s and vt."""
    u, s, vt = z
    gv, gu = gradient @ vt.T, gradient.T @ u
    return gv * s, np.einsum("ik,ik->k", u, gv), (gu * s).T


# ----------------------------------------------------------------------------------- two factors, X = L R^T
def _side_by_side(x: Any) -> np.ndarray:
    return np.concatenate([x.left.ravel(), x.right.ravel()])


def _two_factors(z: np.ndarray, m: int, r: int) -> LowRankMatrix:
    return LowRankMatrix(z[: m * r].reshape(m, r), z[m * r :].reshape(-1, r))


def _pull_to_factors(z: np.ndarray, gradient: Any, m: int, r: int) -> np.ndarray:
    left, right = _two_factors(z, m, r)
    return np.concatenate([(gradient @ right).ravel(), (gradient.T @ left).ravel()])


def instances() -> Iterator[tuple[str, Any]]:
    """Size and maker of every instance."""
    shapes = (("tiny", 12, 10, 2), ("small", 100, 80, 3), ("small", 400, 300, 5), ("large", 2000, 2000, 8))
    for size, m, n, r in shapes:
        yield size, partial(matrix_completion, size, m, n, r)
