"""States and curves of an objective: derivatives along retraction curves, and trials that are used again."""

from __future__ import annotations

import numpy as np
import pytest

from manifolds import (
    QR,
    Cayley,
    CholeskyQR,
    Euclidean,
    Exponential,
    GeneralizedStiefel,
    Grassmann,
    Oblique,
    Polar,
    Product,
    Sphere,
    Stiefel,
)
from manifolds.objective import as_objective
from rankopt import ObjectiveProblem

N, P = 7, 2
RNG = np.random.default_rng(0)
B = np.diag(np.geomspace(1.0, 50.0, N))
M = np.diag(np.geomspace(1.0, 20.0, N)[::-1].copy())
C = RNG.standard_normal((N, P))


def manifolds():
    for retraction in (CholeskyQR(), QR(), Polar()):
        yield Stiefel(N, P, retraction=retraction)
        yield Grassmann(N, P, retraction=retraction)
        yield GeneralizedStiefel(B, P, retraction=retraction)
        yield GeneralizedStiefel(B, P, preconditioner=M, retraction=retraction)
    for retraction in (Cayley(), Exponential()):
        yield Stiefel(N, P, retraction=retraction)
        yield Stiefel(N, P, "canonical", retraction)
        yield Grassmann(N, P, retraction=retraction)
    yield GeneralizedStiefel(B, P, preconditioner=M, retraction=Cayley())
    yield Oblique(N, P)
    yield Sphere(N, P)
    yield Euclidean(N, P)


MANIFOLDS = list(manifolds())
NAMES = [f"{type(m).__name__}-{getattr(m, 'default_retraction', '')}" for m in MANIFOLDS]


def weighted(x):
    return np.arange(1.0, N + 1)[:, None] * x


class Counting:
    """A cost that is not quadratic but depends on a frame through its span only, with counted calls."""

    def __init__(self):
        self.costs = self.gradients = 0

    def cost(self, x):
        self.costs += 1
        return np.exp(0.1 * np.sum(x * weighted(x))) + np.sum((x.T @ C) ** 2)

    def gradient(self, x):
        self.gradients += 1
        return 0.2 * np.exp(0.1 * np.sum(x * weighted(x))) * weighted(x) + 2 * C @ (C.T @ x)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=NAMES)
def test_slope_is_the_derivative_of_the_value(manifold):
    f = Counting()
    problem = ObjectiveProblem(as_objective(f.cost, f.gradient), manifold)
    x = manifold.random_point(rng=1)
    state, h = problem.start(x), 1e-5
    curve = state.along(manifold.random_tangent_vector(x, rng=2))
    for t in (0.0, 0.1, 0.7, 2.0):
        # Central differences of fourth order: the error is about h^4 plus eps / h.
        far, near = curve.value(t + 2 * h) - curve.value(t - 2 * h), curve.value(t + h) - curve.value(t - h)
        assert curve.slope(t) == pytest.approx((8 * near - far) / (12 * h), rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=NAMES)
def test_curve_agrees_with_the_manifolds_retraction(manifold):
    f = Counting()
    x = manifold.random_point(rng=1)
    v = manifold.random_tangent_vector(x, rng=2)
    curve = ObjectiveProblem(as_objective(f.cost, f.gradient), manifold).start(x).along(v)
    for t in (0.3, 1.0):
        y = manifold.retraction(x, t * v)
        state = curve.accept(t)
        np.testing.assert_allclose(state.point, y, atol=1e-12)
        assert curve.value(t) == state.value == pytest.approx(f.cost(y), rel=1e-12)
        gradient = manifold.euclidean_to_riemannian_gradient(y, f.gradient(y))
        np.testing.assert_allclose(state.gradient, gradient, atol=1e-10)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=NAMES)
def test_derivative_and_norm_of_the_gradient_in_the_metric(manifold):
    f = Counting()
    x = manifold.random_point(rng=1)
    state = ObjectiveProblem(as_objective(f.cost, f.gradient), manifold).start(x)
    v = manifold.random_tangent_vector(x, rng=3)
    expected = float(np.sum(f.gradient(x) * v))
    assert state.derivative(v) == pytest.approx(expected, rel=1e-12)
    assert float(manifold.inner_product(x, state.gradient, v)) == pytest.approx(expected, rel=1e-8)
    assert state.gradient_norm == pytest.approx(float(manifold.norm(x, state.gradient)), rel=1e-8)
    assert state.squared_gradient_norm == pytest.approx(state.gradient_norm**2)


def test_trials_are_used_again():
    f, manifold = Counting(), Stiefel(N, P)
    problem = ObjectiveProblem(as_objective(f.cost, f.gradient), manifold)
    x = manifold.random_point(rng=1)
    state = problem.start(x)
    curve = state.along(manifold.random_tangent_vector(x, rng=2))
    before = (f.costs, f.gradients)
    assert curve.value(0.0) == state.value
    assert curve.accept(0.0) is state
    curve.slope(0.0)
    assert (f.costs, f.gradients) == before

    curve.value(0.5)
    assert (f.costs, f.gradients) == (before[0] + 1, before[1])
    curve.slope(0.5)
    assert (f.costs, f.gradients) == (before[0] + 1, before[1] + 1)
    curve.value(0.25)
    accepted = curve.accept(0.5)
    accepted.gradient_norm  # noqa: B018
    assert (f.costs, f.gradients) == (before[0] + 2, before[1] + 1)
    assert problem.counts() == {"nfev": f.costs, "ngev": f.gradients, "nhev": 0}


def test_gradient_is_computed_when_it_is_asked_for():
    f, manifold = Counting(), Sphere(N, P)
    problem = ObjectiveProblem(as_objective(f.cost, f.gradient), manifold)
    x = manifold.random_point(rng=1)
    curve = problem.start(x).along(manifold.random_tangent_vector(x, rng=2))
    for t in (0.1, 0.2, 0.3):
        curve.value(t)
    assert (f.costs, f.gradients) == (4, 1)


def test_hessian_product_is_riemannian_and_counted():
    a = np.diag(np.arange(1.0, N + 1))
    manifold = Stiefel(N, P)
    objective = as_objective(lambda x: np.sum(x * (a @ x)), lambda x: 2 * a @ x, lambda x, v: 2 * a @ v)
    problem = ObjectiveProblem(objective, manifold)
    x = manifold.random_point(rng=1)
    v = manifold.random_tangent_vector(x, rng=2)
    product = problem.start(x).hessian_product(v)
    # D^2 f[v] - v sym(X^T grad f), projected: the textbook's Hessian of the trace.
    ambient = 2 * a @ v - v @ (2 * x.T @ a @ x)
    inner = x.T @ ambient
    np.testing.assert_allclose(product, ambient - x @ (inner + inner.T) / 2, atol=1e-12)
    assert problem.counts()["nhev"] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_defined_are_infinite(bad):
    manifold = Euclidean(1)
    problem = ObjectiveProblem(as_objective(lambda x: bad if x[0] > 1 else x[0], lambda x: np.ones(1)), manifold)
    curve = problem.start(np.zeros(1)).along(np.ones(1))
    assert curve.value(2.0) == np.inf
    assert curve.value(1.0) == 1.0


def test_points_where_the_retraction_breaks_down_are_infinite():
    # There the columns overflow, so they cannot be orthonormalised.
    manifold = Stiefel(N, P)
    problem = ObjectiveProblem(as_objective(lambda x: 0.0, np.zeros_like), manifold)
    x = manifold.random_point(rng=1)
    curve = problem.start(x).along(manifold.random_tangent_vector(x, rng=2))
    with np.errstate(all="ignore"):
        assert curve.value(np.inf) == np.inf


def test_curve_on_a_product():
    manifold = Product(x=Sphere(4), y=Stiefel(4, 2))
    a = np.diag(np.arange(1.0, 5.0))
    objective = as_objective(
        lambda p: p.x @ a @ p.x + np.sum((p.x @ p.y) ** 2),
        lambda p: manifold.point_type(2 * a @ p.x + 2 * p.y @ (p.x @ p.y), 2 * np.outer(p.x, p.x @ p.y)),
    )
    point = manifold.random_point(rng=1)
    curve = ObjectiveProblem(objective, manifold).start(point).along(manifold.random_tangent_vector(point, rng=2))
    for t in (0.0, 0.5):
        difference = (curve.value(t + 1e-5) - curve.value(t - 1e-5)) / 2e-5
        assert curve.slope(t) == pytest.approx(difference, rel=1e-7, abs=1e-8)
