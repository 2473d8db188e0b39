"""Ctrl-C and StopIteration: the best point so far, with an honest record."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manifolds import Product, Sphere, Stiefel
from rankopt import GradientDescent, MaxIterations, Status, minimize

MANIFOLD = Stiefel(8, 2)
X0 = MANIFOLD.random_point(rng=1)
LONG = MaxIterations(60)


class Interrupting:
    """Callable that is interrupted at its k-th call."""

    def __init__(self, function, k, error=KeyboardInterrupt):
        self.function, self.k, self.error, self.calls = function, k, error, 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self.k:
            raise self.error
        return self.function(*arguments)


@pytest.fixture
def f(spd, trace_objective):
    return trace_objective(spd(8, 20.0))


def check_interrupted(result, f):
    assert result.status is Status.INTERRUPTED
    assert result.success is False
    assert result.message == Status.INTERRUPTED.message
    assert {values.shape for values in result.history.values()} == {(result.nit + 1,)}
    assert result.fun == result.history.fun.min()
    assert result.fun == pytest.approx(f.cost(result.x), rel=1e-13)
    assert result.nfev >= result.history.nfev[-1]


@pytest.mark.parametrize("method", ["conjugate-gradient", "gradient-descent"])
@pytest.mark.parametrize("k", [2, 3, 7, 20])
def test_interrupted_in_the_cost(k, method, f):
    cost = Interrupting(f.cost, k)
    result = minimize(cost, MANIFOLD, X0, method, gradient=f.gradient, stopping=LONG)
    check_interrupted(result, f)
    assert cost.calls == k == result.nfev
    whole = minimize(f.cost, MANIFOLD, X0, method, gradient=f.gradient, stopping=LONG)
    np.testing.assert_array_equal(result.history.fun, whole.history.fun[: result.nit + 1])


@pytest.mark.parametrize("method", ["conjugate-gradient", "gradient-descent"])
@pytest.mark.parametrize("k", [2, 3, 7, 20])
def test_interrupted_in_the_gradient(k, method, f):
    gradient = Interrupting(f.gradient, k)
    result = minimize(f.cost, MANIFOLD, X0, method, gradient=gradient, stopping=LONG)
    check_interrupted(result, f)
    assert gradient.calls == k == result.ngev


@pytest.mark.parametrize("k", [1, 4])
def test_interrupted_in_the_callback(k, f):
    callback = Interrupting(lambda r: None, k)
    result = minimize(f.cost, MANIFOLD, X0, gradient=f.gradient, callback=callback, stopping=LONG)
    check_interrupted(result, f)
    assert result.nit == k


@pytest.mark.parametrize("k", [1, 3])
def test_interrupted_in_the_preconditioner(k, f):
    preconditioner = Interrupting(lambda x, v: v, k)
    result = minimize(f.cost, MANIFOLD, X0, gradient=f.gradient, preconditioner=preconditioner, stopping=LONG)
    check_interrupted(result, f)
    # The first call is at the start point, the second one at the point of the first step, before it is recorded.
    assert result.nit == max(k - 2, 0)


@pytest.mark.parametrize("where", ["cost", "gradient"])
def test_interrupted_at_the_very_first_evaluation(where, f):
    cost = Interrupting(f.cost, 1 if where == "cost" else None)
    gradient = Interrupting(f.gradient, 1 if where == "gradient" else None)
    result = minimize(cost, MANIFOLD, X0, gradient=gradient)
    assert result.status is Status.INTERRUPTED
    assert result.success is False
    assert result.nit == 0
    assert np.isnan(result.fun)
    assert np.isnan(result.grad_norm)
    np.testing.assert_array_equal(result.x, X0)
    assert (result.nfev, result.ngev) == (cost.calls, gradient.calls)
    names = {"fun", "grad_norm", "step_size", "time", "nfev", "ngev", "nhev"}
    assert {name: values.shape for name, values in result.history.items()} == dict.fromkeys(names, (0,))


def test_best_point_where_the_cost_may_rise(f):
    # Barzilai-Borwein steps are not monotone: whatever the moment, the best point comes back.
    later_is_worse = 0
    for k in range(2, 40):
        result = minimize(Interrupting(f.cost, k), MANIFOLD, X0, GradientDescent(), gradient=f.gradient, stopping=LONG)
        check_interrupted(result, f)
        later_is_worse += result.history.fun[-1] > result.fun
    assert later_is_worse > 0


def test_interrupted_on_a_product_and_with_autograd():
    a = torch.diag(torch.arange(1.0, 6.0, dtype=torch.float64))
    manifold = Product(x=Sphere(5), y=Sphere(5))
    cost = Interrupting(lambda p: p.x @ a @ p.x + p.y @ a @ p.y + p.x @ p.y, 6)
    result = minimize(cost, manifold, manifold.random_point(rng=0, like=a))
    assert result.status is Status.INTERRUPTED
    assert result.nfev == 6
    assert manifold.check_point(result.x) is None


def test_stop_iteration_in_the_callback(f):
    callback = Interrupting(lambda r: None, 3, StopIteration)
    result = minimize(f.cost, MANIFOLD, X0, gradient=f.gradient, callback=callback, stopping=LONG)
    assert result.status is Status.USER
    assert result.success is False
    assert result.nit == 3
    assert {values.shape for values in result.history.values()} == {(4,)}
    assert result.fun == result.history.fun.min()


@pytest.mark.parametrize("error", [ValueError, StopIteration, ZeroDivisionError])
def test_other_errors_of_the_cost_pass_through(error, f):
    with pytest.raises(error):
        minimize(Interrupting(f.cost, 4, error), MANIFOLD, X0, gradient=f.gradient)


def test_other_errors_of_the_callback_pass_through(f):
    with pytest.raises(LookupError):
        minimize(f.cost, MANIFOLD, X0, gradient=f.gradient, callback=Interrupting(lambda r: None, 2, LookupError))


def test_progress_bar_is_closed_after_an_interruption(f, capsys):
    minimize(Interrupting(f.cost, 9), MANIFOLD, X0, gradient=f.gradient, progress=True)
    assert capsys.readouterr().err.endswith("\n")
