"""Trust regions and L-BFGS on declared quadratics: dense oracles, and products counted from outside."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from manifolds import GeneralizedStiefel, Grassmann, Sphere, Stiefel
from rankopt import GradientNorm, MaxIterations, QuadraticObjective, minimize
from tests.arrays import spd

N, P = 20, 3
A = spd(N, 100.0, seed=0) - 0.4 * np.eye(N)
B, M = spd(N, 30.0, seed=1), spd(N, 10.0, seed=2)
NAMES = ["Stiefel", "Grassmann", "B-M", "Sphere"]


def make(name, b=B):
    """Manifold and the least cost on it."""
    values = np.linalg.eigvalsh(A)
    return {
        "Stiefel": (Stiefel(N, P), values[:P]),
        "Grassmann": (Grassmann(N, P), values[:P]),
        "B-M": (GeneralizedStiefel(b, P, preconditioner=M), scipy.linalg.eigh(A, B, eigvals_only=True)[:P]),
        "Sphere": (Sphere(N), values[:1]),
    }[name]


@pytest.mark.parametrize("method", ["trust-region", "lbfgs"])
@pytest.mark.parametrize("name", NAMES)
def test_optimum(name, method):
    manifold, values = make(name)
    stopping = GradientNorm(absolute=1e-7) | MaxIterations(1000)
    result = minimize(QuadraticObjective(A), manifold, method=method, rng=0, stopping=stopping)
    assert result.success
    assert result.fun == pytest.approx(0.5 * values.sum(), rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_hessian_product_takes_one_product(name, counting_operator):
    a, b = counting_operator(A), counting_operator(B)
    manifold, _ = make(name, b)
    objective = QuadraticObjective(a, refresh=10_000)
    x0, before = manifold.random_point(rng=0), a.products
    result = minimize(objective, manifold, x0, method="trust-region", stopping=MaxIterations(6))
    assert result.n_products == a.products - before
    assert result.nhev > 6
    # One for the start, one for every trial step, and those of the model.
    assert result.n_products - result.nhev - 1 >= result.nit == 6
    assert result.n_products - result.nhev - 1 <= 2 * result.nit
