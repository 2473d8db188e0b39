"""Trust regions, Newton-CG and L-BFGS on every kind of manifold: optima by eigenvalues, counts from outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manifolds import Euclidean, Sphere, Stiefel
from rankopt import (
    LBFGS,
    Armijo,
    GradientNorm,
    MaxIterations,
    NewtonCG,
    QuadraticObjective,
    Status,
    TrustRegion,
    minimize,
)
from tests.rankopt.second_order import CASES, LOWEST, A, B, M, Quadratic, as_torch, product_case

TIGHT = GradientNorm(absolute=1e-9) | MaxIterations(300)
METHODS = {
    "trust-region": TrustRegion(),
    "newton-cg": NewtonCG(),
    "lbfgs": LBFGS(),
    "lbfgs by Armijo": LBFGS(line_search=Armijo()),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", CASES)
def test_finds_the_optimum(name, method):
    manifold, columns, least = CASES[name]
    f = Quadratic(columns)
    x0 = manifold.random_point(rng=3)
    result = minimize(f.cost, manifold, x0, method, gradient=f.gradient, hessian=f.hessian, stopping=TIGHT)
    assert result.status == Status.CONVERGED_GRADIENT
    assert result.fun == pytest.approx(least, abs=1e-9)
    assert manifold.check_point(result.x) is None
    assert (result.nfev, result.ngev, result.nhev) == (f.costs, f.gradients, f.hessians)


@pytest.mark.parametrize("method", ["trust-region", "newton-cg", "lbfgs"])
def test_products_of_manifolds(method):
    manifold, cost, gradient, hessian, least = product_case()
    result = minimize(cost, manifold, None, method, gradient=gradient, hessian=hessian, rng=1, stopping=TIGHT)
    assert result.fun == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("method", ["trust-region", "newton-cg", "lbfgs"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_torch(dtype, method):
    a, weights = as_torch(A, dtype), torch.tensor([3.0, 2.0, 1.0], dtype=dtype)
    calls = []

    def cost(x):
        calls.append(1)
        return (x * (a @ x) * weights).sum()

    result = minimize(cost, Stiefel(8, 3), Stiefel(8, 3).random_point(rng=0, like=a), method)
    assert result.success
    assert (result.nhev > 0) == (method != "lbfgs")
    assert len(calls) == result.nfev
    assert result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], abs=1e-8 if dtype == torch.float64 else 1e-3)
    assert (result.x.dtype, result.x.requires_grad) == (dtype, False)


@pytest.mark.parametrize("method", [TrustRegion(), NewtonCG()], ids=["trust-region", "newton-cg"])
@pytest.mark.parametrize("name", CASES)
def test_counts_from_outside(name, method):
    """One gradient an iteration, and no call that is not counted."""
    manifold, columns, _ = CASES[name]
    f = Quadratic(columns)
    result = minimize(f.cost, manifold, None, method, gradient=f.gradient, hessian=f.hessian, rng=0)
    assert (result.nfev, result.ngev, result.nhev) == (f.costs, f.gradients, f.hessians)
    assert f.gradients == result.nit + 1
    assert f.costs >= result.nit + 1
    np.testing.assert_array_equal(np.diff(result.history.ngev), 1)


def test_a_rejected_step_costs_one_cost_and_nothing_else():
    """A huge first radius is refused again and again before the first step."""
    f = Quadratic()
    counted = []

    def cost(x):
        counted.append("f")
        return f.cost(x) + 50 * (x**4).sum()

    def gradient(x):
        counted.append("g")
        return f.gradient(x) + 200 * x**3

    def hessian(x, v):
        counted.append("h")
        return f.hessian(x, v) + 600 * x**2 * v

    method = TrustRegion(initial_radius=100.0)
    result = minimize(cost, Sphere(8), None, method, gradient=gradient, hessian=hessian, rng=1, stopping=TIGHT)
    assert result.status == Status.CONVERGED_GRADIENT
    assert counted.count("g") == result.nit + 1
    assert counted.count("f") > result.nit + 2  # some were refused
    word = "".join(counted)
    assert "ff" in word
    assert word.replace("h", "").replace("ff", "f").count("gf") == word.replace("h", "").count("gf")


def test_a_solve_is_all_that_the_metric_needs():
    manifold, columns, least = CASES["generalized, M by solves"]
    f, g = Quadratic(columns), Quadratic(columns)
    by_solves = minimize(f.cost, manifold, manifold.random_point(rng=0), "trust-region", gradient=f.gradient,
                         hessian=f.hessian, stopping=TIGHT)  # fmt: skip
    assert by_solves.fun == pytest.approx(least, abs=1e-9)
    dense = type(manifold)(B, 3, M)
    full = minimize(g.cost, dense, manifold.random_point(rng=0), "trust-region", gradient=g.gradient,
                    hessian=g.hessian, stopping=TIGHT)  # fmt: skip
    assert (f.costs, f.gradients, f.hessians) == (g.costs, g.gradients, g.hessians)
    np.testing.assert_allclose(by_solves.history.fun, full.history.fun, atol=1e-9)


@pytest.mark.parametrize("method", ["trust-region", "newton-cg"])
def test_declared_quadratics_carry_their_products(method):
    objective = QuadraticObjective(A, weights=[3.0, 2.0, 1.0])
    result = minimize(objective, Stiefel(8, 3), None, method, rng=0, stopping=TIGHT)
    assert 2 * result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], abs=1e-9)
    assert result.n_products >= result.nhev > 0


def test_memory_pays():
    """On an ill-conditioned quadratic of few distinct curvatures ten pairs take far fewer steps than one."""
    d = np.repeat(np.geomspace(1.0, 1e4, 8), 5)
    counts = [
        minimize(lambda x: 0.5 * d @ x**2, Euclidean(40), np.ones(40), LBFGS(memory=m), gradient=lambda x: d * x,
                 stopping=GradientNorm(absolute=1e-6) | MaxIterations(5000)).ngev
        for m in (1, 10)
    ]  # fmt: skip
    assert counts[1] < 0.7 * counts[0]
