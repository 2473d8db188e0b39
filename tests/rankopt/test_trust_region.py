"""Trust regions: known optima, quadratic convergence, counts, negative curvature, preconditioning and differences."""

from __future__ import annotations

import numpy as np
import pymanopt
import pytest
import torch
from pymanopt.optimizers import TrustRegions as PymanoptTrustRegions

from manifolds import Euclidean, Sphere, Stiefel
from rankopt import GradientNorm, MaxIterations, QuadraticObjective, Status, TrustRegion, minimize
from tests.rankopt.second_order import A, B, CASES, LOWEST, M, Quadratic, as_torch, product_case, weighted

TIGHT = GradientNorm(absolute=1e-9) | MaxIterations(200)


@pytest.mark.parametrize("name", CASES)
def test_finds_the_optimum(name):
    manifold, columns, least = CASES[name]
    f = Quadratic(columns)
    x0 = manifold.random_point(rng=3)
    result = minimize(f.cost, manifold, x0, "trust-region", gradient=f.gradient, hessian=f.hessian, stopping=TIGHT)
    assert result.status == Status.CONVERGED_GRADIENT
    assert result.fun == pytest.approx(least, abs=1e-9)
    assert manifold.check_point(result.x) is None


@pytest.mark.parametrize("name", CASES)
def test_counts_from_outside(name):
    """One gradient an iteration, and no call that is not counted."""
    manifold, columns, _ = CASES[name]
    f = Quadratic(columns)
    result = minimize(f.cost, manifold, None, TrustRegion(), gradient=f.gradient, hessian=f.hessian, rng=0)
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


def test_convergence_is_quadratic():
    """With theta = 1 the last norms fall as their squares, on a function that is not quadratic in any chart."""
    f = Quadratic(weighted)
    method = TrustRegion(kappa=0.1, theta=1.0)
    x0 = Stiefel(8, 3).random_point(rng=0)
    result = minimize(
        f.cost, Stiefel(8, 3), x0, method, gradient=f.gradient, hessian=f.hessian,
        stopping=GradientNorm(absolute=1e-12) | MaxIterations(100),
    )  # fmt: skip
    norms = result.history.grad_norm
    fast = [(a, b) for a, b in zip(norms[:-1], norms[1:], strict=True) if 1e-6 < a < 1e-1]
    assert len(fast) >= 1
    assert all(b <= max(10 * a**2, 1e-13) for a, b in fast)
    assert norms[-1] < 1e-11


def test_as_few_steps_as_pymanopt_and_the_same_gradient():
    f, g = Quadratic(weighted), Quadratic(weighted)
    x0 = Stiefel(8, 3).random_point(rng=2)
    ours = minimize(f.cost, Stiefel(8, 3), x0, "trust-region", gradient=f.gradient, hessian=f.hessian,
                    stopping=GradientNorm(absolute=1e-8) | MaxIterations(100))  # fmt: skip
    manifold = pymanopt.manifolds.Stiefel(8, 3)
    wrap = pymanopt.function.numpy(manifold)
    problem = pymanopt.Problem(
        manifold, wrap(g.cost), euclidean_gradient=wrap(g.gradient), euclidean_hessian=wrap(g.hessian)
    )
    theirs = PymanoptTrustRegions(verbosity=0, min_gradient_norm=1e-8).run(problem, initial_point=x0)
    assert ours.fun == pytest.approx(theirs.cost, abs=1e-8)
    assert ours.grad_norm <= 1e-8
    assert f.gradients <= g.gradients
    assert f.hessians <= 1.5 * g.hessians


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_autograd(dtype):
    a = as_torch(A, dtype)
    calls = []

    def cost(x):
        calls.append(1)
        return (x * (a @ x) * torch.tensor([3.0, 2.0, 1.0], dtype=dtype)).sum()

    x0 = Stiefel(8, 3).random_point(rng=0, like=a)
    result = minimize(cost, Stiefel(8, 3), x0)
    assert result.success
    assert result.nhev > 0  # the default method where there are Hessian products
    assert len(calls) == result.nfev
    assert result.ngev == result.nit + 1
    assert result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], abs=1e-8 if dtype == torch.float64 else 1e-3)
    assert (result.x.dtype, result.x.requires_grad) == (dtype, False)


def test_float32_reaches_its_rounding():
    f = Quadratic(weighted, A.astype(np.float32))
    f.columns = lambda x: x * np.array([3, 2, 1], dtype=np.float32)
    manifold = Stiefel(8, 3)
    result = minimize(f.cost, manifold, manifold.random_point(rng=0, like=f.a), "trust-region", gradient=f.gradient,
                      hessian=f.hessian, stopping=GradientNorm(relative=1e-5) | MaxIterations(50))  # fmt: skip
    assert result.status == Status.CONVERGED_GRADIENT
    assert result.x.dtype == np.float32
    assert result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], rel=1e-5)


def test_products_of_manifolds():
    manifold, cost, gradient, hessian, least = product_case()
    result = minimize(cost, manifold, None, gradient=gradient, hessian=hessian, rng=1, stopping=TIGHT)
    assert result.nhev > 0
    assert result.fun == pytest.approx(least, abs=1e-9)


def test_leaves_a_saddle_point_that_is_nearly_exact():
    """From next to the third eigenvector, where a gradient method would stay for long, to the first."""
    values, vectors = np.linalg.eigh(A)
    x0 = vectors[:, 2] + 1e-6 * vectors[:, 0]
    x0 /= np.linalg.norm(x0)
    f = Quadratic()
    result = minimize(f.cost, Sphere(8), x0, "trust-region", gradient=f.gradient, hessian=f.hessian,
                      stopping=GradientNorm(absolute=1e-10) | MaxIterations(30))  # fmt: skip
    assert result.fun == pytest.approx(values[0], abs=1e-10)
    assert result.nit < 15


def test_differences_stand_in_for_a_hessian_and_are_counted():
    f = Quadratic(weighted)
    result = minimize(f.cost, Stiefel(8, 3), None, "trust-region", gradient=f.gradient, rng=0)
    assert result.success
    assert result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], abs=1e-8)
    assert f.hessians == result.nhev == 0
    assert result.ngev == f.gradients > 3 * result.nit  # one for each product
    assert result.nfev == f.costs


def test_a_preconditioner_saves_hessian_products():
    """On an ill-conditioned quadratic in flat space, with the exact inverse and with a diagonal one."""
    d = np.geomspace(1.0, 1e4, 60)
    b = np.random.default_rng(0).standard_normal(60)
    near = d * np.random.default_rng(1).uniform(0.8, 1.25, 60)
    products, preconditioners = [], (None, lambda x, v: v / d, lambda x, v: v / near)
    for preconditioner in preconditioners:
        result = minimize(
            lambda x: 0.5 * x @ (d * x) - b @ x, Euclidean(60), np.zeros(60), "trust-region",
            gradient=lambda x: d * x - b, hessian=lambda x, v: d * v, preconditioner=preconditioner,
            stopping=GradientNorm(absolute=1e-8) | MaxIterations(200),
        )  # fmt: skip
        np.testing.assert_allclose(result.x, b / d, atol=1e-7)
        products.append(result.nhev)
    assert products[1] < products[0] / 10
    assert products[2] < products[0] / 4


def test_declared_quadratics_carry_their_products():
    objective = QuadraticObjective(A, weights=[3.0, 2.0, 1.0])
    result = minimize(objective, Stiefel(8, 3), None, "trust-region", rng=0, stopping=TIGHT)
    assert 2 * result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], abs=1e-9)
    assert result.n_products >= result.nhev > 0


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


def test_steps_stay_within_the_largest_radius():
    f = Quadratic()
    method = TrustRegion(initial_radius=1e-2, max_radius=2e-2)
    result = minimize(f.cost, Sphere(8), None, method, gradient=f.gradient, hessian=f.hessian, rng=0)
    assert 1e-2 < max(result.history.step_size) <= 2e-2 * (1 + 1e-9)


def test_interruption_returns_the_best_point():
    f, steps = Quadratic(weighted), []

    def interrupt(x, v):
        steps.append(1)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return f.hessian(x, v)

    result = minimize(f.cost, Stiefel(8, 3), None, "trust-region", gradient=f.gradient, hessian=interrupt, rng=0)
    assert result.status == Status.INTERRUPTED
    assert result.fun == min(result.history.fun)
    assert Stiefel(8, 3).check_point(result.x) is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kappa": 0.0}, ValueError, "0 < kappa < 1 must hold, got 0.0"),
        ({"kappa": "small"}, TypeError, "kappa must be a number"),
        ({"theta": -1.0}, ValueError, "theta must be at least 0"),
        ({"acceptance": 0.3}, ValueError, "acceptance must be below 0.25"),
        ({"initial_radius": 0.0}, ValueError, "0 < initial_radius <= max_radius must hold"),
        ({"initial_radius": 2.0, "max_radius": 1.0}, ValueError, "0 < initial_radius <= max_radius must hold"),
        ({"max_inner": 0}, ValueError, "max_inner must be at least 1"),
        ({"max_inner": 2.5}, TypeError, "max_inner must be an integer"),
        ({"regularization": -1.0}, ValueError, "regularization must be at least 0"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        TrustRegion(**options)


def test_bad_hessians_and_preconditioners():
    f = Quadratic()
    common = {"gradient": f.gradient, "rng": 0}
    with pytest.raises(ValueError, match=r"hessian must be finite, but <v, hessian\(x, v\)> is nan"):
        minimize(f.cost, Sphere(8), None, "trust-region", hessian=lambda x, v: np.nan * v, **common)
    with pytest.raises(ValueError, match=r"hessian has shape \(3,\)"):
        minimize(f.cost, Sphere(8), None, "trust-region", hessian=lambda x, v: v[:3], **common)
    with pytest.raises(ValueError, match="preconditioner must be positive definite in the metric"):
        minimize(f.cost, Sphere(8), None, "trust-region", hessian=f.hessian, preconditioner=lambda x, v: -v, **common)
