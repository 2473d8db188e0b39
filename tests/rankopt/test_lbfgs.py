"""L-BFGS: the iterates of dense BFGS on flat space, dense oracles on manifolds, cautious updates and restarts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch

from manifolds import Euclidean, GeneralizedStiefel, Grassmann, Product, Sphere, Stiefel
from rankopt import LBFGS, Armijo, GradientNorm, LineSearch, MaxIterations, Wolfe, minimize
from tests.arrays import kind_of

N, P = 10, 2


class FixedStep(LineSearch):
    """A search that takes one fixed step, whatever the slope."""

    def __init__(self, t):
        self.t = t

    def search(self, curve, state, slope, step, previous_values=()):
        return self.t


def textbook_bfgs(gradient, x, t, steps, memory):
    """Iterates of BFGS with fixed steps by dense matrices: the latest pairs update a scaled identity."""
    pairs, points = [], []
    for _ in range(steps):
        g = gradient(x)
        h = np.eye(x.size)
        if pairs:
            s, y = pairs[-1]
            h *= (s @ y) / (y @ y)
        for s, y in pairs[-memory:]:
            v = np.eye(x.size) - np.outer(s, y) / (s @ y)
            h = v @ h @ v.T + np.outer(s, s) / (s @ y)
        new = x - t * h @ g
        pairs.append((new - x, gradient(new) - g))
        x = new
        points.append(x)
    return np.array(points)


@pytest.mark.parametrize("memory", [1, 3, 20])
def test_iterates_on_flat_space_are_those_of_dense_bfgs(memory, spd):
    a, b = spd(N, 20.0), np.random.default_rng(1).standard_normal(N)

    def gradient(x):
        return a @ x - b + 0.1 * x**3

    points = []
    minimize(
        lambda x: 0.5 * x @ a @ x - b @ x + 0.025 * (x**4).sum(),
        Euclidean(N),
        np.zeros(N),
        LBFGS(memory=memory, line_search=FixedStep(0.05), cautious=0.0),
        gradient=gradient,
        stopping=MaxIterations(12),
        callback=lambda r: points.append(r.x),
    )
    np.testing.assert_allclose(points, textbook_bfgs(gradient, np.zeros(N), 0.05, 12, memory), rtol=1e-9, atol=1e-12)


def test_as_few_steps_as_scipy_on_rosenbrock():
    x0 = np.tile([-1.2, 1.0], 5)
    rosen, derivative = scipy.optimize.rosen, scipy.optimize.rosen_der
    stopping = GradientNorm(absolute=1e-6, relative=0.0) | MaxIterations(500)
    ours = minimize(rosen, Euclidean(10), x0, "lbfgs", gradient=derivative, stopping=stopping)
    theirs = scipy.optimize.minimize(rosen, x0, jac=derivative, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-6})
    assert ours.success
    np.testing.assert_allclose(ours.x, np.ones(10), atol=1e-6)
    assert ours.nit <= 1.5 * theirs.nit


SPACES = {
    "Stiefel": lambda b: Stiefel(N, P),
    "Grassmann": lambda b: Grassmann(N, P),
    "generalized, M = I": lambda b: GeneralizedStiefel(b, P),
    "generalized, M = B": lambda b: GeneralizedStiefel(b, P, preconditioner=b),
    "generalized, diagonal M": lambda b: GeneralizedStiefel(b, P, preconditioner=np.linspace(1.0, 5.0, N)),
}


@pytest.mark.parametrize("method", [LBFGS(), LBFGS(memory=2), LBFGS(line_search=Armijo())], ids=["10", "2", "Armijo"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_finds_the_smallest_eigenvalues(space, method, spd, trace_objective):
    a, b = spd(N, 30.0, seed=1), spd(N, 20.0, seed=2)
    f, manifold = trace_objective(a), space(b)
    stopping = GradientNorm(absolute=1e-6, relative=0.0) | MaxIterations(1000)
    result = minimize(f.cost, manifold, None, method, gradient=f.gradient, rng=3, stopping=stopping)
    generalized = isinstance(manifold, GeneralizedStiefel)
    expected = scipy.linalg.eigh(a, b if generalized else None, eigvals_only=True)[:P].sum()
    assert result.success
    assert result.fun == pytest.approx(expected, abs=1e-10)


def test_needs_fewer_steps_than_steepest_descent_by_its_pairs(spd, trace_objective):
    f = trace_objective(spd(40, 1e3))
    runs = [
        minimize(f.cost, Grassmann(40, 2), None, method, gradient=f.gradient, rng=0)
        for method in (LBFGS(), LBFGS(cautious=float("inf")))
    ]
    # Without pairs, L-BFGS is steepest descent.
    assert 3 * runs[0].nit < runs[1].nit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autograd_on_a_product(dtype, spd):
    a = torch.asarray(spd(6, 20.0), dtype=dtype)
    manifold = Product(x=Sphere(6), y=Stiefel(6, 2))
    x0 = manifold.random_point(rng=1, like=a)
    result = minimize(lambda z: z.x @ a @ z.x - (z.y * (a @ z.y)).sum(), manifold, x0, "lbfgs")
    values = np.linalg.eigvalsh(spd(6, 20.0))
    assert result.success
    assert kind_of(result.x.x) == kind_of(x0.x)
    assert result.fun == pytest.approx(
        values[0] - values[-1] - values[-2], abs=1e-9 if dtype == torch.float64 else 1e-3
    )
    assert result.nhev == 0


def test_pairs_of_negative_curvature_are_left_out():
    # A concave stretch: every pair of fixed steps there has <s, y> < 0, so the steps are those of steepest descent.
    points = []
    minimize(
        lambda x: -0.5 * x @ x,
        Euclidean(3),
        np.ones(3),
        LBFGS(line_search=FixedStep(0.1)),
        gradient=lambda x: -x,
        stopping=MaxIterations(5),
        callback=lambda r: points.append(r.x),
    )
    np.testing.assert_allclose(points, [np.full(3, 1.1**k) for k in range(1, 6)], rtol=1e-14)


def test_pairs_without_curvature_are_left_out():
    result = minimize(
        lambda x: -x.sum(),
        Euclidean(3),
        np.zeros(3),
        LBFGS(line_search=FixedStep(0.5), cautious=0.0),
        gradient=lambda x: -1 + 0 * x,
        stopping=MaxIterations(4),
    )
    np.testing.assert_allclose(result.x, np.full(3, 2.0), rtol=1e-14)


class FailsOnce(LineSearch):
    """A search that finds no step at its third call."""

    def __init__(self):
        self.slopes = []

    def search(self, curve, state, slope, step, previous_values=()):
        self.slopes.append((slope, state.squared_gradient_norm))
        return None if len(self.slopes) == 3 else Wolfe().search(curve, state, slope, step)


def test_starts_again_from_the_gradient_where_the_search_fails(spd, trace_objective):
    f, search = trace_objective(spd(N, 30.0)), FailsOnce()
    options = {"gradient": f.gradient, "stopping": MaxIterations(4), "rng": 1}
    result = minimize(f.cost, Stiefel(N, P), None, LBFGS(line_search=search), **options)
    assert (result.nit, len(search.slopes)) == (4, 5)
    steepest = [slope == pytest.approx(-squared, rel=1e-9) for slope, squared in search.slopes]
    assert steepest == [True, False, False, True, False]


def test_preconditioner_is_the_initial_inverse_hessian(spd):
    a, b = spd(30, 1e3), np.random.default_rng(0).standard_normal(30)
    plain, helped = (
        minimize(
            lambda x: 0.5 * x @ a @ x - b @ x, Euclidean(30), np.zeros(30), "lbfgs", gradient=lambda x: a @ x - b,
            preconditioner=preconditioner, stopping=GradientNorm(absolute=1e-6, relative=0.0) | MaxIterations(500),
        )
        for preconditioner in (None, lambda x, v: np.linalg.solve(a, v))
    )  # fmt: skip
    assert helped.success
    assert helped.nit <= 2 < plain.nit


def test_counts_from_outside(spd, trace_objective):
    f, calls = trace_objective(spd(N, 30.0)), {"cost": 0, "gradient": 0}

    def counted(name, function):
        def call(x):
            calls[name] += 1
            return function(x)

        return call

    cost, gradient = counted("cost", f.cost), counted("gradient", f.gradient)
    result = minimize(cost, Stiefel(N, P), None, "lbfgs", gradient=gradient, rng=1)
    assert (result.nfev, result.ngev) == (calls["cost"], calls["gradient"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"memory": 0}, ValueError, r"memory must be at least 1, got 0"),
        ({"memory": 2.5}, TypeError, r"memory must be an integer, got 2.5"),
        ({"line_search": "wolfe"}, TypeError, r"line_search must be a LineSearch such as Wolfe\(\)"),
        ({"line_search": Wolfe}, TypeError, r"line_search must be a LineSearch"),
        ({"cautious": -1.0}, ValueError, r"cautious must be at least 0, got -1.0"),
        ({"cautious": None}, TypeError, r"cautious must be a number, got None"),
    ],
)
def test_bad_parameters(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        LBFGS(**changes)
    assert caught.type is error
