"""The Karcher mean of symmetric positive definite matrices in the affine-invariant metric.

The cost is geodesically convex, so that a point with a vanishing gradient is the only minimizer: the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pymanopt

from manifolds import SymmetricPositiveDefinite

from .instances import Coordinates, Instance
from .instruments import Functions
from .libraries import geoopt
from .references import accurate_point


class MeanSquaredDistance:
    """f(X) = 1 / (2 N) sum of dist(X, A_i)^2, by eigenvalues of Y_i = K_i X K_i^T with K_i = L_i^{-1}, A_i = L_i L_i^T.

    dist(X, A_i)^2 = tr(log(Y_i)^2), with the gradient K_i^T h(Y_i) K_i / N for h(d) = log(d) / d, and Hessian products
    by divided differences of h.
    """

    def __init__(self, matrices: np.ndarray) -> None:
        self._whitening = np.linalg.inv(np.linalg.cholesky(matrices))

    def _whitened(self, vector: np.ndarray) -> np.ndarray:
        return self._whitening @ vector @ self._whitening.mT

    def _back(self, values: np.ndarray) -> np.ndarray:
        return (self._whitening.mT @ values @ self._whitening).mean(axis=0)

    def cost(self, x: np.ndarray) -> float:
        logarithms = np.log(np.linalg.eigvalsh(self._whitened(x)))
        return 0.5 * float(np.vdot(logarithms, logarithms)) / len(self._whitening)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        d, q = np.linalg.eigh(self._whitened(x))
        return self._back((q * (np.log(d) / d)[:, None, :]) @ q.mT)

    def hessian(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        d, q = np.linalg.eigh(self._whitened(x))
        h, row, column = np.log(d) / d, d[:, :, None], d[:, None, :]
        near = np.abs(row - column) <= 1e-8 * (row + column)
        mean = (row + column) / 2
        quotient = np.divide(h[:, :, None] - h[:, None, :], row - column, out=(1 - np.log(mean)) / mean**2, where=~near)
        return self._back(q @ (quotient * (q.mT @ self._whitened(v) @ q)) @ q.mT)


def _lower(z: np.ndarray) -> np.ndarray:
    n = int((2 * z.size) ** 0.5)
    factor = np.zeros((n, n))
    factor[np.tril_indices(n)] = z
    return factor


def _product(z: np.ndarray) -> np.ndarray:
    return _lower(z) @ _lower(z).T


def _pull_to_factor(z: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    factor = _lower(z)
    return ((gradient + gradient.T) @ factor)[np.tril_indices(len(factor))]


def karcher_mean(size: str, n: int, count: int) -> Instance:
    """The mean of ``count`` matrices of order n with condition numbers of about a hundred."""
    rng, manifold = np.random.default_rng(n), SymmetricPositiveDefinite(n)
    q = np.linalg.qr(rng.standard_normal((count, n, n)))[0]
    matrices = (q * np.exp(rng.uniform(-2.3, 2.3, (count, 1, n)))) @ q.mT
    matrices = (matrices + matrices.mT) / 2
    mean = MeanSquaredDistance(matrices)
    functions = Functions(mean.cost, mean.gradient, mean.hessian)
    return Instance(
        problem="Karcher mean",
        size=size,
        label=f"n = {n}, {count} matrices",
        functions=functions,
        manifold=lambda: SymmetricPositiveDefinite(n),
        # Of the matrices' own kind: a mean is often sought from one of them.
        start=lambda seed: matrices[seed % count],
        optimum=float(mean.cost(accurate_point(functions, manifold, matrices.mean(axis=0)))),
        infeasibility=lambda x: float(np.linalg.norm(x - x.T)) if np.linalg.eigvalsh(x)[0] > 0 else np.inf,
        pymanopt=lambda: Coordinates(pymanopt.manifolds.SymmetricPositiveDefinite(n)),
        geoopt=lambda: Coordinates(geoopt.SymmetricPositiveDefinite()),
        parametrization=Coordinates(
            enter=lambda x: np.linalg.cholesky(x)[np.tril_indices(n)], leave=_product, pull=_pull_to_factor
        ),
    )


def instances() -> Iterator[tuple[str, Any]]:
    """Size and maker of every instance."""
    for size, n, count in (("tiny", 2, 5), ("small", 5, 20), ("small", 15, 40), ("large", 40, 100)):
        yield size, partial(karcher_mean, size, n, count)
