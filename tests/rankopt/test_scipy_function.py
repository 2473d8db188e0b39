"""Functions in scipy's manner: the same runs as with functions of matrices, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.optimize import rosen, rosen_der, rosen_hess_prod

from manifolds import Euclidean, Product, Sphere, Stiefel, check_gradient
from rankopt import GradientNorm, MaxIterations, from_scipy, minimize
from tests.rankopt.second_order import A, LOWEST, WEIGHTS

STOPPING = GradientNorm(absolute=1e-9) | MaxIterations(300)


def as_matrix(x):
    return x.reshape(8, 3)


def cost(x, a, weights):
    return np.sum(as_matrix(x) * (a @ as_matrix(x)) * weights)


def gradient(x, a, weights):
    return (2 * a @ as_matrix(x) * weights).ravel()


def hessian(x, p, a, weights):
    return (2 * a @ as_matrix(p) * weights).ravel()


@pytest.mark.parametrize("method", ["trust-region", "lbfgs", "conjugate-gradient"])
@pytest.mark.parametrize("joint", [False, True])
def test_matrices_are_laid_out_row_by_row(method, joint):
    args = (A, WEIGHTS)
    if joint:
        objective = from_scipy(lambda *x: (cost(*x), gradient(*x)), True, hessian, args=args)
    else:
        objective = from_scipy(cost, gradient, hessian, args=args)
    result = minimize(objective, Stiefel(8, 3), None, method, rng=0, stopping=STOPPING)
    assert result.x.shape == (8, 3)
    assert result.fun == pytest.approx(LOWEST[:3] @ WEIGHTS, abs=1e-9)
    assert (result.nhev > 0) == (method == "trust-region")


def test_flat_space_gives_scipys_own_minimum():
    x0 = np.array([-1.2, 1.0, 0.5])
    theirs = scipy.optimize.minimize(rosen, x0, jac=rosen_der, hessp=rosen_hess_prod, method="trust-ncg")
    ours = minimize(from_scipy(rosen, rosen_der, rosen_hess_prod), Euclidean(3), x0, stopping=STOPPING)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-4)
    np.testing.assert_allclose(ours.x, 1.0, atol=1e-8)


def test_on_the_sphere_against_a_constrained_solver():
    constraint = {"type": "eq", "fun": lambda x: x @ x - 1, "jac": lambda x: 2 * x}
    x0 = Sphere(4).random_point(rng=0)
    theirs = scipy.optimize.minimize(
        rosen, x0, jac=rosen_der, method="SLSQP", constraints=constraint, options={"ftol": 1e-14, "maxiter": 500}
    )
    ours = minimize(from_scipy(rosen, rosen_der, rosen_hess_prod), Sphere(4), x0, stopping=STOPPING)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-5)
    assert ours.fun == pytest.approx(theirs.fun, abs=1e-10)


def test_factors_of_a_product_follow_each_other():
    manifold = Product(x=Sphere(3), y=Stiefel(4, 2))
    c = np.random.default_rng(0).standard_normal(3 + 8)
    result = minimize(from_scipy(lambda z: c @ z, lambda z: c), manifold, None, rng=1, stopping=STOPPING)
    least = -np.linalg.norm(c[:3]) - np.linalg.svd(c[3:].reshape(4, 2), compute_uv=False).sum()
    assert result.fun == pytest.approx(least, abs=1e-9)


def test_counts_are_those_of_the_functions():
    calls = {"fun": 0, "jac": 0, "hessp": 0}

    def counted(name, function):
        def wrapped(*args):
            calls[name] += 1
            return function(*args)

        return wrapped

    objective = from_scipy(counted("fun", rosen), counted("jac", rosen_der), counted("hessp", rosen_hess_prod))
    result = minimize(objective, Sphere(5), rng=0)
    assert (result.nfev, result.ngev, result.nhev) == (calls["fun"], calls["jac"], calls["hessp"])
    assert calls["jac"] == result.nit + 1


def test_functions_may_write_into_what_they_are_given():
    def careless(x):
        x *= 2
        return float(x[0])

    result = minimize(from_scipy(careless, lambda x: np.array([2.0, 0.0, 0.0])), Sphere(3), rng=0, stopping=STOPPING)
    np.testing.assert_allclose(result.x, [-1, 0, 0], atol=1e-6)


def test_numerical_checks_take_it():
    assert check_gradient(from_scipy(rosen, rosen_der), Sphere(4)).passed
    assert not check_gradient(from_scipy(rosen, lambda x: 2 * rosen_der(x)), Sphere(4)).passed


def test_one_argument_need_not_be_a_tuple():
    result = minimize(from_scipy(lambda x, c: c @ x, lambda x, c: c, args=np.array([0.0, 3.0])), Sphere(2), rng=0)
    assert result.fun == pytest.approx(-3.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, rosen_der), TypeError, "fun must be a callable, got int"),
        ((rosen, rosen_der, 3), TypeError, "hessp must be a callable, got int"),
        ((rosen, None), TypeError, "jac must be a callable, or True .* differences of costs are not offered"),
        ((rosen, "2-point"), TypeError, "jac must be a callable, or True"),
        ((rosen, False), TypeError, "jac must be a callable, or True"),
    ],
)
def test_refused_at_once(arguments, error, message):
    with pytest.raises(error, match=message):
        from_scipy(*arguments)


@pytest.mark.parametrize(
    ("fun", "jac", "x0", "error", "message"),
    [
        (rosen, lambda x: rosen_der(x)[:2], np.ones(4) / 2, ValueError, r"jac must give a vector of length 4.*\(2,\)"),
        (rosen, True, np.ones(4) / 2, TypeError, r"fun must return a pair \(cost, gradient\) with jac=True"),
        (rosen, rosen_der, torch.ones(4, dtype=torch.float64) / 2, TypeError, "point is torch float64"),
        (rosen, rosen_der, np.ones(4, dtype=np.float32) / 2, TypeError, "point is numpy float32"),
        (lambda x: x, rosen_der, np.ones(4) / 2, TypeError, "objective must return one number"),
    ],
)
def test_refused_when_they_run(fun, jac, x0, error, message):
    with pytest.raises(error, match=message):
        minimize(from_scipy(fun, jac), Sphere(4), x0)
