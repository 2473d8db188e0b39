"""Counters against calls counted from outside, and no point evaluated twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manifolds import GeneralizedStiefel, Product, Sphere, Stiefel
from rankopt import (
    Armijo,
    ConjugateGradient,
    GradientDescent,
    GradientNorm,
    GrowingStep,
    LineSearch,
    MaxEvaluations,
    MaxIterations,
    Wolfe,
    minimize,
)


class Recorded:
    """Callable that records the bytes of the point of every call."""

    def __init__(self, function):
        self.function = function
        self.points = []

    def __call__(self, x, *rest):
        arrays = x if isinstance(x, tuple) else (x,)
        self.points.append(b"".join(np.asarray(getattr(a, "detach", lambda a=a: a)()).tobytes() for a in arrays))
        return self.function(x, *rest)

    @property
    def calls(self):
        return len(self.points)

    @property
    def repeated(self):
        return len(self.points) - len(set(self.points))


METHODS = {
    "CG": ConjugateGradient(),
    "CG, nearly exact": ConjugateGradient(line_search=Wolfe(decrease=1e-8, curvature=1e-6)),
    "CG, few trials": ConjugateGradient(line_search=Wolfe(decrease=1e-10, curvature=1e-9, max_trials=4)),
    "CG with Armijo": ConjugateGradient(line_search=Armijo()),
    "BB": GradientDescent(),
    "backtracking": GradientDescent(GrowingStep()),
    "descent with Wolfe": GradientDescent(line_search=Wolfe()),
}
# Runs that go on at rounding level have searches that fail, which are counted too; there, other steps lead to the same
# point to the last bit, so only runs that converge are asked for points that never repeat.
STOPPINGS = {"converged": GradientNorm(absolute=1e-4) | MaxIterations(500), "exhausted": MaxIterations(150)}


@pytest.mark.parametrize("stopping", STOPPINGS.values(), ids=STOPPINGS)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_counts_of_separate_callables(method, stopping, spd, trace_objective):
    f = trace_objective(spd(9, 30.0))
    cost, gradient, hessian = Recorded(f.cost), Recorded(f.gradient), Recorded(f.hessian)
    result = minimize(cost, Stiefel(9, 2), method=method, gradient=gradient, hessian=hessian, stopping=stopping, rng=1)
    assert result.nit > 5
    assert (result.nfev, result.ngev, result.nhev) == (cost.calls, gradient.calls, hessian.calls)
    if stopping is STOPPINGS["converged"]:
        assert (cost.repeated, gradient.repeated) == (0, 0)
        assert result.success
    assert result.history.nfev[-1] <= result.nfev
    assert set(gradient.points) <= set(cost.points)


@pytest.mark.parametrize("stopping", STOPPINGS.values(), ids=STOPPINGS)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_counts_of_cost_and_gradient_together(method, stopping, spd, trace_objective):
    f = trace_objective(spd(9, 30.0))
    both = Recorded(f.both)
    manifold = GeneralizedStiefel(spd(9, 10.0, seed=1), 2)
    result = minimize(both, manifold, method=method, gradient=True, stopping=stopping, rng=1)
    assert result.nfev == result.ngev == both.calls
    assert result.nhev == 0
    if stopping is STOPPINGS["converged"]:
        assert both.repeated == 0
        assert result.success


def test_counts_of_an_object(spd, trace_objective):
    f = trace_objective(spd(9, 30.0))

    class Objective:
        value_and_gradient = Recorded(f.both)
        hessian_product = Recorded(f.hessian)

    result = minimize(Objective(), Stiefel(9, 2), rng=1)
    assert result.nfev == result.ngev == Objective.value_and_gradient.calls
    assert result.nhev == Objective.hessian_product.calls > 0
    assert Objective.value_and_gradient.repeated == 0


def test_autograd_runs_the_cost_once_per_point(spd):
    a = torch.asarray(spd(6, 30.0))
    cost = Recorded(lambda x: x @ a @ x)
    result = minimize(cost, Sphere(6), Sphere(6).random_point(rng=0, like=a))
    assert result.nfev == cost.calls
    assert result.ngev <= result.nfev
    assert cost.repeated == 0


def test_counts_on_a_product(spd):
    a = spd(5, 10.0)
    manifold = Product(x=Sphere(5), y=Stiefel(5, 2))
    cost = Recorded(lambda p: p.x @ a @ p.x + np.trace(p.y.T @ a @ p.y))
    gradient = Recorded(lambda p: manifold.point_type(2 * a @ p.x, 2 * a @ p.y))
    result = minimize(cost, manifold, gradient=gradient, rng=0)
    assert (result.nfev, result.ngev) == (cost.calls, gradient.calls)
    assert (cost.repeated, gradient.repeated) == (0, 0)


def test_armijo_asks_for_one_gradient_per_step(spd, trace_objective):
    f = trace_objective(spd(9, 30.0))
    gradient = Recorded(f.gradient)
    method = GradientDescent(GrowingStep(), line_search=Armijo())
    result = minimize(f.cost, Stiefel(9, 2), method=method, gradient=gradient, rng=1)
    assert gradient.calls == result.nit + 1
    assert result.nfev > result.ngev


def test_preconditioner_runs_once_per_point(spd, trace_objective):
    f = trace_objective(spd(9, 30.0))
    for method in ("conjugate-gradient", "gradient-descent"):
        preconditioner = Recorded(lambda x, v: 0.5 * v)
        minimize(f.cost, Stiefel(9, 2), method=method, gradient=f.gradient, preconditioner=preconditioner, rng=1)
        assert preconditioner.calls > 5
        assert preconditioner.repeated == 0


class FailsOnce(LineSearch):
    """A search that finds no step at its third call, so that the direction is reset."""

    def __init__(self):
        self.calls = 0

    def search(self, curve, state, slope, step, previous_values=()):
        self.calls += 1
        return None if self.calls == 3 else Wolfe().search(curve, state, slope, step)


def test_reset_direction_preconditions_nothing_again(spd, trace_objective):
    f = trace_objective(spd(9, 30.0))
    preconditioner, gradient, search = Recorded(lambda x, v: 0.5 * v), Recorded(f.gradient), FailsOnce()
    method, stopping = ConjugateGradient(line_search=search), MaxIterations(6)
    options = {"gradient": gradient, "preconditioner": preconditioner, "stopping": stopping, "rng": 1}
    result = minimize(f.cost, Stiefel(9, 2), method=method, **options)
    assert (result.nit, search.calls) == (6, 7)
    assert preconditioner.calls == 7
    assert (preconditioner.repeated, gradient.repeated) == (0, 0)


def test_counts_up_to_an_interruption(spd, trace_objective):
    f = trace_objective(spd(9, 30.0))
    cost, gradient = Recorded(f.cost), Recorded(f.gradient)

    def interrupted(x):
        if cost.calls == 20:
            raise KeyboardInterrupt
        return cost(x)

    result = minimize(interrupted, Stiefel(9, 2), gradient=gradient, rng=1)
    # The call that was interrupted had begun.
    assert result.nfev == cost.calls + 1
    assert result.ngev == gradient.calls


def test_limit_of_evaluations_finishes_the_step(spd, trace_objective):
    f = trace_objective(spd(9, 30.0))
    cost = Recorded(f.cost)
    result = minimize(cost, Stiefel(9, 2), gradient=f.gradient, stopping=MaxEvaluations(15), rng=1)
    assert result.nfev == cost.calls >= 15
    assert result.history.nfev[-2] < 15
