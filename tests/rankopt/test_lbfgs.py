"""L-BFGS: dense BFGS in flat space, known optima on manifolds, sound pairs only, preconditioning."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch

from manifolds import Euclidean, Sphere, Stiefel
from rankopt import LBFGS, Armijo, GradientNorm, LineSearch, MaxIterations, QuadraticObjective, Status, Wolfe, minimize
from tests.rankopt.second_order import A, CASES, LOWEST, Quadratic, as_torch, product_case, weighted

TIGHT = GradientNorm(absolute=1e-8) | MaxIterations(500)


@pytest.mark.parametrize("name", CASES)
def test_finds_the_optimum(name):
    manifold, columns, least = CASES[name]
    f = Quadratic(columns)
    result = minimize(f.cost, manifold, None, "lbfgs", gradient=f.gradient, rng=3, stopping=TIGHT)
    assert result.status == Status.CONVERGED_GRADIENT
    assert result.fun == pytest.approx(least, abs=1e-9)
    assert manifold.check_point(result.x) is None
    assert (result.nfev, result.ngev, result.nhev) == (f.costs, f.gradients, 0)


class FixedStep(LineSearch):
    """Half a step, whatever it does, so that the directions alone are compared."""

    def search(self, curve, state, slope, step, previous_values=()):
        return 0.5


def test_iterates_are_those_of_dense_bfgs():
    """With as many pairs as steps and no line search: H is updated as in Nocedal and Wright, equation 6.17."""
    n, steps = 6, 12
    rng = np.random.default_rng(0)
    q = rng.standard_normal((n, n))
    a, b = q @ q.T + np.eye(n), rng.standard_normal(n)

    def gradient(x):
        return a @ x - b + x**3

    points = []
    method = LBFGS(memory=steps + 1, line_search=FixedStep(), cautious=0.0)
    minimize(
        lambda x: 0.5 * x @ a @ x - b @ x + 0.25 * (x**4).sum(), Euclidean(n), np.zeros(n), method, gradient=gradient,
        stopping=MaxIterations(steps), callback=lambda result: points.append(result.x),
    )  # fmt: skip

    # The limited memory starts from the newest scale times the identity at every step, so the dense one does too.
    x, pairs, expected = np.zeros(n), [], []
    for _ in range(steps):
        h = np.eye(n) * (pairs[-1][0] @ pairs[-1][1] / (pairs[-1][1] @ pairs[-1][1]) if pairs else 1.0)
        for s, y in pairs:
            rho = 1 / (s @ y)
            left = np.eye(n) - rho * np.outer(s, y)
            h = left @ h @ left.T + rho * np.outer(s, s)
        new = x - 0.5 * h @ gradient(x)
        s, y = new - x, gradient(new) - gradient(x)
        assert s @ y > 0
        pairs.append((s, y))
        x = new
        expected.append(x)
    np.testing.assert_allclose(points, expected, atol=1e-10)


def test_forgets_the_oldest_pairs():
    """With a memory of two, dense BFGS from the newest scale and the last two pairs only."""
    d = np.array([1.0, 3.0, 10.0, 30.0])
    points = []
    minimize(
        lambda x: 0.5 * d @ x**2, Euclidean(4), np.ones(4), LBFGS(memory=2, line_search=FixedStep()),
        gradient=lambda x: d * x, stopping=MaxIterations(6), callback=lambda result: points.append(result.x),
    )  # fmt: skip
    x = [np.ones(4), *points]
    s, y = [x[i + 1] - x[i] for i in range(5)], [d * (x[i + 1] - x[i]) for i in range(5)]
    h = np.eye(4) * (s[4] @ y[4]) / (y[4] @ y[4])
    for i in (3, 4):
        left = np.eye(4) - np.outer(s[i], y[i]) / (s[i] @ y[i])
        h = left @ h @ left.T + np.outer(s[i], s[i]) / (s[i] @ y[i])
    np.testing.assert_allclose(x[6], x[5] - 0.5 * h @ (d * x[5]), atol=1e-12)


def test_about_as_many_evaluations_as_scipy():
    x0 = np.array([-1.2, 1.0] * 5)
    theirs = scipy.optimize.minimize(
        scipy.optimize.rosen, x0, jac=scipy.optimize.rosen_der, method="L-BFGS-B", options={"maxcor": 10, "gtol": 1e-8}
    )
    ours = minimize(scipy.optimize.rosen, Euclidean(10), x0, LBFGS(memory=10), gradient=scipy.optimize.rosen_der,
                    stopping=GradientNorm(absolute=1e-7) | MaxIterations(500))  # fmt: skip
    np.testing.assert_allclose(ours.x, 1.0, atol=1e-6)
    np.testing.assert_allclose(theirs.x, 1.0, atol=1e-5)
    assert ours.nfev <= 2 * theirs.nfev


def test_memory_pays():
    """On an ill-conditioned quadratic of few distinct curvatures ten pairs take far fewer steps than one."""
    d = np.repeat(np.geomspace(1.0, 1e4, 8), 5)
    counts = [
        minimize(lambda x: 0.5 * d @ x**2, Euclidean(40), np.ones(40), LBFGS(memory=m), gradient=lambda x: d * x,
                 stopping=GradientNorm(absolute=1e-6) | MaxIterations(5000)).ngev
        for m in (1, 10)
    ]  # fmt: skip
    assert counts[1] < 0.7 * counts[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_torch(dtype):
    a, weights = as_torch(A, dtype), torch.tensor([3.0, 2.0, 1.0], dtype=dtype)
    x0 = Stiefel(8, 3).random_point(rng=0, like=a)
    result = minimize(lambda x: (x * (a @ x) * weights).sum(), Stiefel(8, 3), x0, "lbfgs")
    assert result.success
    assert result.nhev == 0
    assert result.x.dtype == dtype
    assert result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], abs=1e-8 if dtype == torch.float64 else 1e-3)


def test_products_of_manifolds():
    manifold, cost, gradient, _, least = product_case()
    result = minimize(cost, manifold, None, "lbfgs", gradient=gradient, rng=1, stopping=TIGHT)
    assert result.fun == pytest.approx(least, abs=1e-9)


def test_declared_quadratics():
    result = minimize(QuadraticObjective(A, weights=[3.0, 2.0, 1.0]), Stiefel(8, 3), None, "lbfgs", rng=0)
    assert 2 * result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], abs=1e-9)


def test_pairs_without_positive_curvature_are_left_out():
    """Where the cost is concave along every step, L-BFGS is gradient descent with the first trial of a pair-less run."""
    d = np.array([-1.0, -2.0, -3.0])
    points = []
    minimize(
        lambda x: 0.5 * d @ x**2, Euclidean(3), np.array([1.0, 0.5, 0.2]), LBFGS(line_search=FixedStep()),
        gradient=lambda x: d * x, stopping=MaxIterations(5), callback=lambda result: points.append(result.x),
    )  # fmt: skip
    x = np.array([1.0, 0.5, 0.2])
    for point in points:
        x = x - 0.5 * d * x
        np.testing.assert_allclose(point, x, rtol=1e-12)


def test_a_preconditioner_is_the_first_inverse_hessian():
    """The exact inverse solves a quadratic in flat space by one step; a diagonal one near it saves most steps."""
    d, b = np.geomspace(1.0, 1e4, 30), np.ones(30)
    near = d * np.random.default_rng(1).uniform(0.8, 1.25, 30)
    steps = [
        minimize(lambda x: 0.5 * d @ x**2 - b @ x, Euclidean(30), np.zeros(30), "lbfgs", gradient=lambda x: d * x - b,
                 preconditioner=preconditioner, stopping=GradientNorm(absolute=1e-8) | MaxIterations(2000)).nit
        for preconditioner in (None, lambda x, v: v / d, lambda x, v: v / near)
    ]  # fmt: skip
    assert steps[1] == 1
    assert steps[2] < steps[0] / 4


def test_an_armijo_search_will_do():
    f = Quadratic(weighted)
    method = LBFGS(line_search=Armijo())
    result = minimize(f.cost, Stiefel(8, 3), None, method, gradient=f.gradient, rng=0, stopping=TIGHT)
    assert result.fun == pytest.approx(LOWEST[:3] @ [3, 2, 1], abs=1e-9)


def test_interruption_returns_the_best_point():
    f, calls = Quadratic(), []

    def interrupt(x):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return f.gradient(x)

    result = minimize(f.cost, Sphere(8), None, "lbfgs", gradient=interrupt, rng=0)
    assert result.status == Status.INTERRUPTED
    assert result.fun == min(result.history.fun)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"memory": 0}, ValueError, "memory must be at least 1"),
        ({"memory": 2.5}, TypeError, "memory must be an integer"),
        ({"line_search": Wolfe}, TypeError, "line_search must be a LineSearch such as Wolfe"),
        ({"cautious": -1.0}, ValueError, "cautious must be at least 0"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        LBFGS(**options)
