"""Functions of flat vectors, as scipy takes them, on manifolds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.optimize import rosen, rosen_der, rosen_hess_prod

from manifolds import Product, Sphere, Stiefel, check_gradient, check_hessian
from manifolds.objective import as_objective
from rankopt import from_scipy, minimize

A = np.diag(np.arange(1.0, 6.0)) + 0.1


def fun(x, a):
    frame = x.reshape(5, 2)
    return (frame * (a @ frame)).sum()


def jac(x, a):
    return 2 * (a @ x.reshape(5, 2)).ravel()


def hessp(x, p, a):
    return 2 * (a @ p.reshape(5, 2)).ravel()


@pytest.mark.parametrize("method", ["trust-region", "lbfgs", "conjugate-gradient"])
def test_rosenbrock_on_the_circle(method):
    result = minimize(from_scipy(rosen, rosen_der, rosen_hess_prod), Sphere(2), np.array([1.0, 0.0]), method)
    angle = scipy.optimize.minimize_scalar(
        lambda t: rosen([np.cos(t), np.sin(t)]), bounds=(0.0, 1.5), method="bounded", options={"xatol": 1e-10}
    )
    assert result.success
    np.testing.assert_allclose(result.x, [np.cos(angle.x), np.sin(angle.x)], atol=1e-5)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("hessian", [None, hessp])
def test_frames_are_laid_out_by_rows(together, hessian):
    both = lambda x, a: (fun(x, a), jac(x, a))  # noqa: E731
    objective = from_scipy(both, True, hessian, args=(A,)) if together else from_scipy(fun, jac, hessian, args=(A,))
    result = minimize(objective, Stiefel(5, 2), rng=0)
    assert result.success
    assert result.fun == pytest.approx(np.linalg.eigvalsh(A)[:2].sum(), rel=1e-10)
    assert (result.nhev > 0) is (hessian is not None)


def test_a_single_argument_need_not_be_a_tuple():
    x = Stiefel(5, 2).random_point(rng=0)
    assert from_scipy(fun, jac, args=A).value(x) == from_scipy(fun, jac, args=(A,)).value(x)


def test_derivatives_pass_the_numerical_checks_on_a_product():
    manifold = Product(x=Sphere(3), y=Stiefel(4, 2))
    objective = as_objective(from_scipy(rosen, rosen_der, rosen_hess_prod))
    x = manifold.random_point(rng=0)
    order = np.concatenate([x.x, x.y.ravel()])
    assert objective.at(x).value == rosen(order)
    gradient = objective.at(x).gradient
    np.testing.assert_array_equal(np.concatenate([gradient.x, gradient.y.ravel()]), rosen_der(order))
    assert type(gradient) is manifold.point_type


def test_numerical_checks_accept_it():
    objective = from_scipy(fun, jac, hessp, args=(A,))
    check_gradient(objective, Stiefel(5, 2), rng=0)
    check_hessian(objective, Stiefel(5, 2), rng=0)


def test_a_function_that_changes_its_argument_does_not_change_the_point():
    def spoil(x):
        x[:] = 0.0
        return 1.0

    x = np.array([1.0, 0.0])
    from_scipy(spoil, rosen_der).value(x)
    np.testing.assert_array_equal(x, [1.0, 0.0])


def test_a_cost_of_one_entry_is_a_number():
    assert from_scipy(lambda x: np.array([2.0]), rosen_der).value(np.ones(2)) == 2.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3.0, rosen_der), TypeError, r"fun must be a callable, got float"),
        ((None, rosen_der), TypeError, r"fun must be a callable, got NoneType"),
        ((rosen, None), TypeError, r"jac must be a callable, or True.*got None; scipy's differences"),
        ((rosen, "2-point"), TypeError, r"jac must be a callable, or True.*got '2-point'"),
        ((rosen, False), TypeError, r"jac must be a callable, or True.*got False"),
        ((rosen, rosen_der, "bfgs"), TypeError, r"hessp must be a callable, got str"),
    ],
)
def test_bad_functions(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        from_scipy(*arguments)
    assert caught.type is error


X0 = np.array([1.0, 0.0])


@pytest.mark.parametrize(
    ("objective", "x0", "error", "message"),
    [
        (from_scipy(rosen, lambda x: x[:1]), X0, ValueError, r"jac must give a vector of length 2.*\(1,\)"),
        (from_scipy(rosen, rosen_der, lambda x, p: 1.0), X0, ValueError, r"hessp must give a vector of length 2"),
        (from_scipy(lambda x: (1.0, x[:1]), True), X0, ValueError, r"fun must give a vector of length 2"),
        (from_scipy(rosen, True), X0, TypeError, r"fun must return a pair \(cost, gradient\) with jac=True"),
        (from_scipy(rosen, rosen_der), X0.astype(np.float32), TypeError, r"float64 numpy vectors.*float32"),
        (from_scipy(rosen, rosen_der), torch.asarray(X0), TypeError, r"float64 numpy vectors.*torch"),
    ],
)
def test_bad_values(objective, x0, error, message):
    with pytest.raises(error, match=message) as caught:
        minimize(objective, Sphere(2), x0)
    assert caught.type is error
