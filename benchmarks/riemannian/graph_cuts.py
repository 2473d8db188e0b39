"""The relaxation of maximum cut on the oblique manifold: -tr(V L V^T) / 4 with unit columns of V.

The graphs are random, with six edges a node on average; with k rows, k (k + 1) / 2 > n, there are almost surely no
local optima but global ones (N. Boumal, V. Voroninski, A. S. Bandeira, The non-convex Burer-Monteiro approach works on
smooth semidefinite programs, NeurIPS 2016). Duality proves the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pymanopt
import scipy.sparse

from manifolds import Oblique

from .instances import Coordinates, Instance
from .instruments import Functions
from .libraries import geoopt
from .references import accurate_point, require_proof


def _unit_columns(z: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    z = z.reshape(shape)
    return z / np.linalg.norm(z, axis=0)


def _pull_to_columns(z: np.ndarray, gradient: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    z = z.reshape(shape)
    length = np.linalg.norm(z, axis=0)
    x = z / length
    return ((gradient - x * np.sum(x * gradient, axis=0)) / length).ravel()


def maximum_cut(size: str, n: int) -> Instance:
    """The relaxation for a random graph with n nodes."""
    rng = np.random.default_rng(n)
    upper = scipy.sparse.triu(scipy.sparse.random_array((n, n), density=min(6 / n, 0.4), rng=rng), 1).astype(bool)
    edges = (upper + upper.T).astype(float)
    laplacian = scipy.sparse.csr_array(scipy.sparse.diags_array(np.asarray(edges.sum(axis=0))) - edges)
    k = int(np.ceil((2 * n) ** 0.5)) + 1

    def product(x):
        return (laplacian @ x.T).T

    functions = Functions(
        lambda x: -0.25 * np.vdot(x, product(x)), lambda x: -0.5 * product(x), lambda x, v: -0.5 * product(v)
    )
    x = accurate_point(functions, Oblique(k, n), Oblique(k, n).random_point(rng=0))
    multipliers = scipy.sparse.diags_array(np.sum(x * functions.gradient(x), axis=0))
    cost = require_proof("maximum cut", float(functions.cost(x)), -0.5 * laplacian - multipliers, n)
    return Instance(
        problem="maximum cut",
        size=size,
        label=f"n = {n}, k = {k}",
        functions=functions,
        manifold=lambda: Oblique(k, n),
        start=lambda seed: Oblique(k, n).random_point(rng=seed),
        optimum=cost,
        infeasibility=lambda x: float(np.linalg.norm(np.sum(x * x, axis=0) - 1)),
        pymanopt=lambda: Coordinates(pymanopt.manifolds.Oblique(k, n)),
        geoopt=lambda: Coordinates(geoopt.Sphere(), np.transpose, np.transpose, lambda z, g: g.T, np.transpose),
        parametrization=Coordinates(
            enter=np.ravel, leave=partial(_unit_columns, shape=(k, n)), pull=partial(_pull_to_columns, shape=(k, n))
        ),
    )


def instances() -> Iterator[tuple[str, Any]]:
    """Size and maker of every instance."""
    for size, n in (("tiny", 12), ("small", 60), ("small", 250), ("large", 1000)):
        yield size, partial(maximum_cut, size, n)
