"""Every method, rule for beta, step rule and line search reaches the same optimum."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from manifolds import QR, CholeskyQR, GeneralizedStiefel, Grassmann, Polar, Stiefel
from rankopt import (
    Armijo,
    BarzilaiBorwein,
    ConjugateGradient,
    FletcherReeves,
    GradientDescent,
    GradientNorm,
    GrowingStep,
    HagerZhang,
    HestenesStiefel,
    MaxIterations,
    PolakRibiere,
    Wolfe,
    minimize,
)

METHODS = {
    "default": None,
    "conjugate-gradient": "conjugate-gradient",
    "gradient-descent": "gradient-descent",
    "HS": ConjugateGradient(beta=HestenesStiefel()),
    "PR": ConjugateGradient(beta=PolakRibiere()),
    "FR": ConjugateGradient(beta=FletcherReeves()),
    "HZ": ConjugateGradient(beta=HagerZhang()),
    "CG with Armijo": ConjugateGradient(line_search=Armijo()),
    "CG, nearly exact": ConjugateGradient(line_search=Wolfe(curvature=1e-3)),
    "CG, restarted always": ConjugateGradient(restart=float("inf")),
    "BB": GradientDescent(BarzilaiBorwein()),
    "BB, monotone": GradientDescent(BarzilaiBorwein(), line_search=Armijo(memory=1)),
    "backtracking": GradientDescent(GrowingStep()),
    "descent with Wolfe": GradientDescent(GrowingStep(), line_search=Wolfe(curvature=0.5)),
}
STOPPING = GradientNorm(absolute=1e-6) | MaxIterations(3000)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_finds_the_optimum(method, spd, trace_objective):
    n, p = 10, 3
    a, b = spd(n, 20.0, seed=1), spd(n, 30.0, seed=2)
    f = trace_objective(a)
    manifold = GeneralizedStiefel(b, p, preconditioner=np.diag(b).copy())
    result = minimize(f.cost, manifold, method=method, gradient=f.gradient, rng=3, stopping=STOPPING)
    expected = scipy.linalg.eigh(a, b, eigvals_only=True)[:p].sum()
    assert result.success, result.message
    assert result.grad_norm <= 1e-6
    assert result.fun == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("method", ["conjugate-gradient", "gradient-descent"])
@pytest.mark.parametrize("retraction", [CholeskyQR(), QR(), Polar()], ids=repr)
@pytest.mark.parametrize("space", [Stiefel, Grassmann])
def test_every_retraction_serves_every_method(space, retraction, method, spd, trace_objective):
    a = spd(9, 20.0, seed=4)
    f = trace_objective(a)
    manifold = space(9, 2, retraction=retraction)
    result = minimize(f.cost, manifold, method=method, gradient=f.gradient, rng=5, stopping=STOPPING)
    assert result.fun == pytest.approx(np.linalg.eigvalsh(a)[:2].sum(), abs=1e-10)


def test_a_name_is_the_default_of_its_method(spd, trace_objective):
    f = trace_objective(spd(6, 10.0))

    def iterates(method):
        result = minimize(f.cost, Stiefel(6, 2), method=method, gradient=f.gradient, rng=1)
        return result.history.fun

    np.testing.assert_array_equal(iterates(None), iterates(ConjugateGradient()))
    np.testing.assert_array_equal(iterates("conjugate-gradient"), iterates(ConjugateGradient()))
    np.testing.assert_array_equal(iterates("gradient-descent"), iterates(GradientDescent()))


def test_monotone_searches_never_raise_the_cost(spd, trace_objective):
    f = trace_objective(spd(10, 100.0))
    for method in (ConjugateGradient(), GradientDescent(GrowingStep()), ConjugateGradient(line_search=Armijo())):
        result = minimize(f.cost, Stiefel(10, 3), method=method, gradient=f.gradient, rng=1)
        costs = result.history.fun
        # Up to the rounding that a search allows: four units in the last place of the cost.
        assert np.all(np.diff(costs) <= 4 * np.finfo(float).eps * np.abs(costs[:-1]))


def test_methods_are_values_that_can_be_used_again(spd, trace_objective):
    f, method = trace_objective(spd(7, 10.0)), ConjugateGradient(beta=HagerZhang())
    runs = [minimize(f.cost, Stiefel(7, 2), method=method, gradient=f.gradient, rng=1) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].history.fun, runs[1].history.fun)
    assert method == ConjugateGradient(beta=HagerZhang())
    assert hash(method) == hash(ConjugateGradient(beta=HagerZhang()))


def test_a_better_metric_needs_fewer_steps(spd, trace_objective):
    b = spd(20, 1e3, seed=6)
    f = trace_objective(-spd(20, 5.0, seed=7))
    steps = {
        name: minimize(
            f.cost,
            GeneralizedStiefel(b, 2, preconditioner=metric),
            x0=GeneralizedStiefel(b, 2).random_point(rng=8),
            gradient=f.gradient,
            stopping=GradientNorm(absolute=0.0, relative=1e-5) | MaxIterations(2000),
        ).nit
        for name, metric in (("identity", None), ("exact", b))
    }
    assert 3 * steps["exact"] < steps["identity"]
