"""Conjugate gradients: the rules for beta, termination on quadratics, preconditioning and restarts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg

from manifolds import Euclidean, Sphere
from rankopt import (
    BetaRule,
    ConjugateGradient,
    FletcherReeves,
    GradientNorm,
    GradientProducts,
    HagerZhang,
    HestenesStiefel,
    MaxIterations,
    PolakRibiere,
    Wolfe,
    minimize,
)

# <g, g>, <g', g'>, <T g', g>, <T d', g>, <d', g'>
SOME = GradientProducts(new_new=3.0, old_old=4.0, old_new=1.0, direction_new=0.5, direction_old=-4.0)
OTHER = GradientProducts(new_new=1.0, old_old=2.0, old_new=1.5, direction_new=1.0, direction_old=-2.0)
FLAT = GradientProducts(new_new=3.0, old_old=4.0, old_new=1.0, direction_new=-4.0, direction_old=-4.0)


@pytest.mark.parametrize(
    ("rule", "products", "expected"),
    [
        (FletcherReeves(), SOME, 3 / 4),
        (FletcherReeves(), OTHER, 1 / 2),
        (PolakRibiere(), SOME, (3 - 1) / 4),
        (PolakRibiere(), OTHER, 0.0),
        (HestenesStiefel(), SOME, (3 - 1) / (0.5 + 4)),
        (HestenesStiefel(), OTHER, 0.0),
        (HestenesStiefel(), FLAT, 0.0),
        # y = g - T g': <y, g> = 2, <y, y> = 3 - 2 + 4 = 5, <d, y> = 4.5.
        (HagerZhang(), SOME, (2 - 2 * 5 * 0.5 / 4.5) / 4.5),
        # <y, g> = -1/2, <y, y> = 0, <d, y> = 3.
        (HagerZhang(), OTHER, 0.0),
        (HagerZhang(), FLAT, 0.0),
    ],
    ids=str,
)
def test_beta(rule, products, expected):
    assert rule.beta(products) == pytest.approx(expected, rel=1e-15)


def test_beta_is_never_negative():
    rng = np.random.default_rng(0)
    for rule in (FletcherReeves(), PolakRibiere(), HestenesStiefel(), HagerZhang()):
        for _ in range(50):
            g, old, d = rng.standard_normal((3, 4))
            assert rule.beta(GradientProducts(g @ g, old @ old, old @ g, d @ g, d @ old)) >= 0


def quadratic(spd, n, condition):
    a, b = spd(n, condition), np.random.default_rng(3).standard_normal(n)

    def cost(x):
        return 0.5 * x @ a @ x - b @ x

    def gradient(x):
        return a @ x - b

    return a, b, cost, gradient


RULES = [HestenesStiefel(), PolakRibiere(), FletcherReeves(), HagerZhang()]
EXACT = Wolfe(decrease=1e-12, curvature=1e-10, max_trials=60)


@pytest.mark.parametrize("beta", RULES, ids=repr)
def test_iterates_on_a_quadratic_are_those_of_linear_conjugate_gradients(beta, spd):
    n = 7
    a, b, cost, gradient = quadratic(spd, n, 20.0)
    ours, theirs = [], []
    scipy.sparse.linalg.cg(a, b, rtol=1e-12, maxiter=n, callback=lambda x: theirs.append(x.copy()))
    minimize(
        cost,
        Euclidean(n),
        np.zeros(n),
        ConjugateGradient(beta=beta, line_search=EXACT),
        gradient=gradient,
        stopping=MaxIterations(n),
        callback=lambda r: ours.append(r.x),
    )
    assert len(ours) == len(theirs) == n
    # The line search is exact to 1e-10 of the slope, and conditioning (20) multiplies what it leaves.
    np.testing.assert_allclose(ours, theirs, atol=1e-7)
    np.testing.assert_allclose(ours[-1], np.linalg.solve(a, b), atol=1e-7)


@pytest.mark.parametrize("beta", RULES, ids=repr)
@pytest.mark.parametrize("n", [3, 5, 9])
def test_terminates_on_a_quadratic_in_n_steps(n, beta, spd):
    *_, cost, gradient = quadratic(spd, n, 10.0)
    result = minimize(
        cost,
        Euclidean(n),
        np.zeros(n),
        ConjugateGradient(beta=beta, line_search=EXACT),
        gradient=gradient,
        stopping=GradientNorm(absolute=1e-7) | MaxIterations(50),
    )
    assert result.success
    assert result.nit == n


def test_few_distinct_eigenvalues_need_few_steps():
    a = np.diag([1.0, 1.0, 4.0, 4.0, 4.0, 9.0, 9.0])
    b = np.arange(1.0, 8.0)
    result = minimize(
        lambda x: 0.5 * x @ a @ x - b @ x,
        Euclidean(7),
        np.zeros(7),
        ConjugateGradient(line_search=EXACT),
        gradient=lambda x: a @ x - b,
        stopping=GradientNorm(absolute=1e-7) | MaxIterations(50),
    )
    assert result.nit == 3


@pytest.mark.parametrize("method", ["conjugate-gradient", "gradient-descent"])
def test_inverse_hessian_as_preconditioner(method, spd):
    n = 30
    a, b, cost, gradient = quadratic(spd, n, 1e3)
    stopping = GradientNorm(absolute=1e-5) | MaxIterations(5000)
    runs = [
        minimize(
            cost, Euclidean(n), np.zeros(n), method, gradient=gradient, preconditioner=preconditioner, stopping=stopping
        )
        for preconditioner in (None, lambda x, v: np.linalg.solve(a, v))
    ]
    assert all(run.success for run in runs)
    np.testing.assert_allclose(runs[1].x, np.linalg.solve(a, b), atol=1e-5)
    assert runs[1].nit <= 3 < 30 <= runs[0].nit


def test_preconditioner_with_an_exact_search_takes_one_step(spd):
    a, _, cost, gradient = quadratic(spd, 12, 1e3)
    result = minimize(
        cost,
        Euclidean(12),
        np.zeros(12),
        ConjugateGradient(line_search=EXACT),
        gradient=gradient,
        preconditioner=lambda x, v: np.linalg.solve(a, v),
        stopping=GradientNorm(absolute=1e-6) | MaxIterations(50),
    )
    assert result.nit == 1


def test_preconditioner_on_a_manifold_helps_too():
    # Near the leading eigenvector of diag(d), the Hessian of the Rayleigh quotient is 2 (d - d_1).
    d = np.geomspace(1.0, 1e3, 15)
    gaps = np.maximum(2 * (d - d[0]), 1.0)

    def solve(x, v):
        w = v / gaps
        return w - x * (x @ w)

    x0 = np.eye(15)[0] + 0.05 * np.random.default_rng(4).standard_normal(15)
    x0 /= np.linalg.norm(x0)
    plain, helped = (
        minimize(lambda x: d @ (x * x), Sphere(15), x0, gradient=lambda x: 2 * d * x, preconditioner=preconditioner)
        for preconditioner in (None, solve)
    )
    # The gradient's tolerance, 1e-6 of its size at the start, leaves about its square over the gap.
    assert plain.fun == pytest.approx(1.0, rel=1e-8)
    assert helped.fun == pytest.approx(1.0, rel=1e-8)
    assert 2 * helped.nit < plain.nit


class Ascending(BetaRule):
    """A rule whose directions would ascend as steeply as the negative gradient descends."""

    def beta(self, products):
        return 2 * products.new_new / products.direction_new


def test_directions_that_do_not_descend_are_reset(spd):
    *_, cost, gradient = quadratic(spd, 5, 10.0)
    stopping = GradientNorm(absolute=1e-6) | MaxIterations(500)
    run = minimize(
        cost, Euclidean(5), np.zeros(5), ConjugateGradient(beta=Ascending()), gradient=gradient, stopping=stopping
    )
    steepest = minimize(
        cost,
        Euclidean(5),
        np.zeros(5),
        ConjugateGradient(beta=PolakRibiere(), restart=float("inf")),
        gradient=gradient,
        stopping=stopping,
    )
    assert run.success
    np.testing.assert_array_equal(run.history.fun, steepest.history.fun)
