"""Newton-CG: order of convergence, its Newton equation against a dense solve, saddle points, preconditioning, kinds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
import torch

from manifolds import Euclidean, Grassmann, Sphere, Stiefel, SymmetricPositiveDefinite
from rankopt import (
    Armijo,
    GradientNorm,
    MaxEvaluations,
    MaxIterations,
    MaxTime,
    NewtonCG,
    Status,
    TrustRegion,
    Wolfe,
    from_scipy,
    minimize,
)
from tests.arrays import kind_of

N, P = 12, 3
WEIGHTS = np.array([3.0, 2.0, 1.0])
TIGHT = GradientNorm(absolute=1e-9) | MaxIterations(200)
D = np.arange(1.0, 7.0)


def rayleigh(x0, method, d=D, **options):
    """x^T diag(d) x on the sphere."""
    derivatives = {"gradient": lambda x: 2 * d * x, "hessian": lambda x, v: 2 * d * v}
    return minimize(lambda x: d @ x**2, Sphere(len(d)), x0, method, **derivatives, **options)


def quadratic(method, d, **options):
    """x^T diag(d) x / 2 - sum(x) from zero, with its minimizer 1 / d."""
    n = len(d)
    return minimize(
        lambda x: 0.5 * x @ (d * x) - x.sum(), Euclidean(n), np.zeros(n), method, gradient=lambda x: d * x - 1,
        hessian=lambda x, v: d * v, **options,
    )  # fmt: skip


def test_one_step_solves_a_quadratic():
    d = np.geomspace(1.0, 100.0, 9)
    result = quadratic(NewtonCG(kappa=1e-12), d, stopping=MaxIterations(1))
    np.testing.assert_allclose(result.x, 1 / d, rtol=1e-9)
    assert (result.nfev, result.ngev) == (2, 2)
    assert result.history.step_size[1] == pytest.approx(np.linalg.norm(1 / d))


def test_the_newton_step_on_the_sphere():
    """Against a dense solve of P (A - f I) P v = -P A x in the tangent space."""
    rng = np.random.default_rng(3)
    a = np.diag([1.0, 3.0, 4.0, 5.0, 7.0])
    x = np.eye(5)[0] + 0.05 * rng.standard_normal(5)
    x /= np.linalg.norm(x)
    result = rayleigh(x, NewtonCG(kappa=1e-13), np.diag(a), stopping=MaxIterations(1))
    p = np.eye(5) - np.outer(x, x)
    v = -np.linalg.pinv(p @ (a - (x @ a @ x) * np.eye(5)) @ p, rcond=1e-10) @ (a @ x)
    np.testing.assert_allclose(result.x, (x + v) / np.linalg.norm(x + v), atol=1e-12)
    assert result.history.step_size[1] == pytest.approx(np.linalg.norm(v))


@pytest.mark.parametrize(("theta", "order"), [(0.5, 1.5), (1.0, 2.0)])
def test_order_of_convergence(theta, order, spd):
    a = spd(N, 30.0)
    method, stopping = NewtonCG(theta=theta), GradientNorm(absolute=1e-11) | MaxIterations(60)
    result = minimize(
        lambda x: (x * (a @ x) * WEIGHTS).sum(), Stiefel(N, P), None, method, gradient=lambda x: 2 * (a @ x) * WEIGHTS,
        hessian=lambda x, v: 2 * (a @ v) * WEIGHTS, rng=1, stopping=stopping,
    )  # fmt: skip
    assert result.success
    norms = result.history.grad_norm / result.history.grad_norm[0]
    late = [(old, new) for old, new in pairwise(norms) if old < 0.01]
    assert len(late) >= 3
    assert all(new <= max(20 * old**order, 1e-13) for old, new in late)
    assert np.linalg.eigvalsh(a)[:P] @ WEIGHTS == pytest.approx(result.fun, rel=1e-13)


def test_forcing_sets_the_residual():
    """On a quadratic, where the whole step is taken, the gradient is the residual of the Newton equation."""
    products = []
    for theta in (0.0, 0.5, 1.0):
        result = quadratic(NewtonCG(kappa=0.5, theta=theta), np.geomspace(1.0, 1e4, 40), stopping=MaxIterations(3))
        norms = result.history.grad_norm
        assert np.all(norms[1:] <= np.minimum(0.5, (norms[:-1] / norms[0]) ** theta) * norms[:-1] * (1 + 1e-9))
        products.append(result.nhev)
    assert products == sorted(set(products))


@pytest.mark.parametrize("line_search", [Armijo(), Wolfe(curvature=0.9)], ids=["Armijo", "Wolfe"])
def test_leaves_a_saddle_point(line_search):
    x0 = np.eye(6)[2] + 1e-7 * np.ones(6)
    result = rayleigh(x0 / np.linalg.norm(x0), NewtonCG(line_search=line_search), stopping=TIGHT)
    assert result.status is Status.CONVERGED_GRADIENT
    assert result.fun == pytest.approx(1.0, abs=1e-12)
    assert result.nit < 20


@pytest.mark.parametrize("scale", [1.0, 2.0**-8])
def test_steps_along_negative_curvature_have_the_norm_of_the_radius(scale):
    """At the first product, whatever the scale of the preconditioner."""
    x0 = np.array([0.0, 0.6, 0.8])
    steps = []
    minimize(
        lambda x: -x @ x, Euclidean(3), x0, NewtonCG(radius=0.25), gradient=lambda x: -2 * x,
        hessian=lambda x, v: -2 * v, preconditioner=lambda x, v: scale * v, stopping=MaxIterations(1),
        callback=lambda result: steps.append(result.x - x0),
    )  # fmt: skip
    np.testing.assert_allclose(steps[0], 0.25 * x0, rtol=1e-12)


def test_radius_of_the_default():
    x0, manifold = np.array([0.0, 0.6, 0.8]), Euclidean(3)
    result = minimize(
        lambda x: -x @ x, manifold, x0, NewtonCG(), gradient=lambda x: -2 * x, hessian=lambda x, v: -2 * v,
        stopping=MaxIterations(1),
    )  # fmt: skip
    assert result.history.step_size[1] == pytest.approx(0.5 * manifold.typical_dist)


def test_before_negative_curvature_the_equation_is_solved():
    """Two products: along the gradient the curvature is positive, along the second direction it is negative."""
    d, b = np.array([2.0, -0.5]), np.array([1.0, 0.2])
    seen = []
    result = minimize(
        lambda x: 0.5 * x @ (d * x) - b @ x, Euclidean(2), np.zeros(2), NewtonCG(kappa=1e-3, radius=3.0),
        gradient=lambda x: d * x - b, hessian=lambda x, v: (seen.append(v), d * v)[1], stopping=MaxIterations(1),
    )  # fmt: skip
    first = b * (b @ b) / (b @ (d * b))
    along = (result.x - first) / np.linalg.norm(result.x - first)
    assert len(seen) == 2
    np.testing.assert_allclose(np.abs(along @ seen[1]), np.linalg.norm(seen[1]), rtol=1e-12)
    assert along @ (d * along) < 0 < b @ (d * b)
    assert np.linalg.norm(result.x) == pytest.approx(3.0)


def test_a_misleading_direction_is_given_up_for_the_step_before_it():
    """The second Hessian product is wrong, and no step along its direction decreases the cost enough."""
    d, b, calls = np.array([2.0, 0.5]), np.array([1.0, 0.2]), []

    def hessian(x, v):
        calls.append(1)
        return (d if len(calls) == 1 else -d) * v

    first = b * (b @ b) / (b @ (d * b))
    result = minimize(
        lambda x: 0.5 * x @ (d * x) - b @ x, Euclidean(2), np.zeros(2),
        NewtonCG(kappa=1e-3, radius=100.0, line_search=Armijo(max_trials=1)), gradient=lambda x: d * x - b,
        hessian=hessian, stopping=MaxIterations(1),
    )  # fmt: skip
    np.testing.assert_allclose(result.x, first, rtol=1e-12)
    assert (len(calls), result.nfev) == (2, 3)


def test_preconditioner_cuts_inner_iterations():
    d, products = np.geomspace(1.0, 1e4, 40), {}
    ways = {"plain": None, "inverse": lambda x, v: v / d, "scaled": lambda x, v: 2.0**-10 * v}
    for name, preconditioner in ways.items():
        result = quadratic(NewtonCG(), d, preconditioner=preconditioner, stopping=TIGHT)
        assert result.success
        np.testing.assert_allclose(result.x, 1 / d, atol=1e-8)
        products[name] = result.nhev
    assert 5 * products["inverse"] < products["plain"] == products["scaled"]


def test_differenced_gradients_take_as_few_steps(spd):
    a = spd(N, 30.0)

    def run(hessian):
        f, gradient = (lambda x: (x * (a @ x)).sum()), (lambda x: 2 * (a @ x))
        return minimize(f, Grassmann(N, P), None, NewtonCG(), gradient=gradient, hessian=hessian, rng=2)

    exact, differenced = run(lambda x, v: 2 * (a @ v)), run(None)
    assert differenced.success
    assert differenced.fun == pytest.approx(np.linalg.eigvalsh(a)[:P].sum(), rel=1e-10)
    assert differenced.nit <= exact.nit + 1
    assert (differenced.nhev, differenced.ngev - differenced.nit - 1) == (0, exact.nhev)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_single_precision(library, spd):
    a, weights = spd(N, 30.0).astype(np.float32), WEIGHTS.astype(np.float32)
    x0 = Stiefel(N, P).random_point(rng=1).astype(np.float32)
    if library == "torch":
        a, weights, x0 = map(torch.asarray, (a, weights, x0))
    stopping = GradientNorm(absolute=2e-4) | MaxIterations(50)
    result = minimize(
        lambda x: (x * (a @ x) * weights).sum(), Stiefel(N, P), x0, "newton-cg",
        gradient=lambda x: 2 * (a @ x) * weights, hessian=lambda x, v: 2 * (a @ v) * weights, stopping=stopping,
    )  # fmt: skip
    assert result.success
    assert kind_of(result.x) == kind_of(x0)
    assert result.fun == pytest.approx(np.linalg.eigvalsh(spd(N, 30.0))[:P] @ WEIGHTS, rel=2e-6)


def test_nearest_correlation_by_positive_definite_matrices(spd):
    """The least of tr(A X) - log det X is at the inverse of A."""
    a = spd(5, 50.0)
    result = minimize(
        lambda x: np.trace(a @ x) - np.linalg.slogdet(x)[1], SymmetricPositiveDefinite(5), np.eye(5), "newton-cg",
        gradient=lambda x: a - np.linalg.inv(x), hessian=lambda x, v: np.linalg.inv(x) @ v @ np.linalg.inv(x),
        stopping=TIGHT,
    )  # fmt: skip
    assert result.success
    np.testing.assert_allclose(result.x, np.linalg.inv(a), atol=1e-8)


def test_agrees_with_scipy_on_rosenbrock():
    derivatives = scipy.optimize.rosen_der, scipy.optimize.rosen_hess_prod
    x0 = np.full(8, -0.5)
    result = minimize(from_scipy(scipy.optimize.rosen, *derivatives), Euclidean(8), x0, "newton-cg", stopping=TIGHT)
    theirs = scipy.optimize.minimize(
        scipy.optimize.rosen, x0, method="Newton-CG", jac=derivatives[0], hessp=derivatives[1]
    )
    assert result.success
    np.testing.assert_allclose(result.x, np.ones(8), atol=1e-8)
    assert result.nhev < 3 * theirs.nhev


@pytest.mark.parametrize(
    ("stopping", "status"),
    [
        (MaxTime(0.0), Status.TIME_LIMIT),
        (MaxEvaluations(3), Status.EVALUATION_LIMIT),
        (MaxEvaluations(4, "nhev"), Status.EVALUATION_LIMIT),
    ],
    ids=["time", "costs", "products"],
)
def test_limits(stopping, status):
    assert rayleigh(np.full(6, 6**-0.5), NewtonCG(), stopping=stopping).status is status


def test_zero_curvature_by_symmetry():
    """Along the gradient at the centre the curvature vanishes but for its rounding."""
    result = rayleigh(np.full(6, 6**-0.5), NewtonCG(), stopping=TIGHT)
    assert result.fun == pytest.approx(1.0, abs=1e-12)
    assert result.nfev < 15


def test_a_run_goes_on_from_its_result():
    """The steps of the first run and of the second reach what one long run does."""
    x0 = Sphere(6).random_point(rng=4)
    first = rayleigh(x0, NewtonCG(), stopping=MaxIterations(2))
    second = rayleigh(first.x, NewtonCG(), stopping=TIGHT)
    whole = rayleigh(x0, NewtonCG(), stopping=TIGHT)
    assert second.success
    assert second.history.fun[0] == pytest.approx(first.fun, rel=1e-15)
    assert first.nit + second.nit <= whole.nit + 2


def test_finds_what_a_trust_region_finds_at_a_like_price(spd):
    a = spd(N, 30.0)
    prices = {}
    for method in (TrustRegion(), NewtonCG()):
        results = [
            minimize(
                lambda x: (x * (a @ x) * WEIGHTS).sum(), Stiefel(N, P), None, method, rng=seed, stopping=TIGHT,
                gradient=lambda x: 2 * (a @ x) * WEIGHTS, hessian=lambda x, v: 2 * (a @ v) * WEIGHTS,
            ) for seed in range(4)
        ]  # fmt: skip
        assert all(result.success for result in results)
        prices[type(method)] = sum(result.nhev + result.nfev for result in results)
    assert prices[NewtonCG] < 1.5 * prices[TrustRegion]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kappa": 0.0}, ValueError, r"0 < kappa < 1 must hold, got 0.0"),
        ({"kappa": 1.0}, ValueError, r"0 < kappa < 1 must hold, got 1.0"),
        ({"theta": -1.0}, ValueError, r"theta must be at least 0, got -1.0"),
        ({"theta": "1"}, TypeError, r"theta must be a number, got '1'"),
        ({"line_search": Armijo}, TypeError, r"line_search must be a LineSearch such as Armijo\(\), got"),
        ({"radius": 0.0}, ValueError, r"radius must be positive and finite, got 0.0"),
        ({"radius": np.inf}, ValueError, r"radius must be positive and finite, got inf"),
        ({"radius": np.nan}, ValueError, r"radius must be at least 0, got nan"),
        ({"radius": -1.0}, ValueError, r"radius must be at least 0, got -1.0"),
        ({"radius": "1"}, TypeError, r"radius must be a number, got '1'"),
        ({"max_inner": 0}, ValueError, r"max_inner must be at least 1, got 0"),
        ({"max_inner": 2.5}, TypeError, r"max_inner must be an integer, got 2.5"),
    ],
)
def test_bad_parameters(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        NewtonCG(**changes)
    assert caught.type is error


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"hessian": lambda x, v: v[:2]}, ValueError, r"hessian"),
        ({"hessian": lambda x, v: np.nan * v}, ValueError, r"hessian must be finite"),
        ({"hessian": lambda x, v: 2 * v, "preconditioner": lambda x, v: -v}, ValueError, r"preconditioner must be pos"),
    ],
)
def test_bad_functions(changes, error, message):
    options = {"gradient": lambda x: 2 * D * x, "rng": 0} | changes
    with pytest.raises(error, match=message) as caught:
        minimize(lambda x: D @ x**2, Sphere(6), None, NewtonCG(), **options)
    assert caught.type is error
