"""States and curves of declared quadratics: equal to retraction and evaluation, and products that stay true."""

from __future__ import annotations

import numpy as np
import pytest

from manifolds import QR, CholeskyQR, GeneralizedStiefel, Grassmann, Polar, Sphere, Stiefel, check_gradient
from manifolds.objective import as_objective
from rankopt import ObjectiveProblem, QuadraticObjective, QuadraticProblem
from rankopt.quadratic_problem import QuadraticState
from tests.arrays import DOUBLE, assert_close, kind_of, spd, to_float64

N, P = 9, 3
A = spd(N, 50.0, seed=0) - 0.3 * np.eye(N)
B, M = spd(N, 20.0, seed=1), spd(N, 10.0, seed=2)
C = np.random.default_rng(3).standard_normal((N, P))
WEIGHTS = (3.0, 2.0, 1.0)
RETRACTIONS = {"CholeskyQR": CholeskyQR(), "QR": QR(), "Polar": Polar()}


def cases(kind=DOUBLE):
    """Pairs of a cost and a manifold, one of each sort."""
    a, c = kind(A), kind(C)
    plain, brockett = QuadraticObjective(a), QuadraticObjective(a, WEIGHTS, c, scale=-1.5)
    for name, retraction in RETRACTIONS.items():
        yield f"Stiefel-{name}", brockett, Stiefel(N, P, retraction=retraction)
        yield f"Grassmann-{name}", plain, Grassmann(N, P, retraction=retraction)
        yield f"B-{name}", brockett, GeneralizedStiefel(kind(B), P, retraction=retraction)
        yield f"B-M-{name}", brockett, GeneralizedStiefel(kind(B), P, preconditioner=kind(M), retraction=retraction)
    yield "equal-weights-Grassmann", QuadraticObjective(a, (2.0,) * P), Grassmann(N, P)
    yield "vectors", QuadraticObjective(a, linear=c[:, 0], scale=2.0), Sphere(N)
    yield "one-column", QuadraticObjective(a, (3.0,), c[:, :1]), Sphere(N, 1)
    yield "Stiefel-one-column", plain, Stiefel(N, 1)


NAMES = [name for name, *_ in cases()]


@pytest.fixture(params=range(len(NAMES)), ids=NAMES)
def case(request, double):
    """Problem with carried products, its state at a point, the state by evaluation, and a tangent vector."""
    _, quadratic, manifold = list(cases(double))[request.param]
    problem = quadratic.on(manifold)
    assert isinstance(problem, QuadraticProblem)
    state = problem.start(problem.random_start(1))
    generic = ObjectiveProblem(as_objective(quadratic), manifold).start(state.point)
    return problem, state, generic, manifold.random_tangent_vector(state.point, rng=2)


def dense_cost(x, weights=WEIGHTS, c=C, scale=-1.5):
    """The cost by its definition."""
    return scale * (0.5 * np.trace(x.T @ A @ x @ np.diag(weights)) + np.trace(c.T @ x))


def test_cost_is_that_of_the_definition(double):
    x = np.random.default_rng(4).standard_normal((N, P))
    value, gradient = QuadraticObjective(double(A), WEIGHTS, double(C), scale=-1.5).value_and_gradient(double(x))
    assert float(value) == pytest.approx(dense_cost(x), rel=1e-12)
    h = 1e-6
    for i, j in ((0, 0), (4, 1), (8, 2)):
        step = np.zeros((N, P))
        step[i, j] = h
        difference = (dense_cost(x + step) - dense_cost(x - step)) / (2 * h)
        assert float(gradient[i, j]) == pytest.approx(difference, rel=1e-7, abs=1e-8)


def test_gradient_of_the_start_state_is_that_of_its_cost():
    objective = QuadraticObjective(A, WEIGHTS, C, scale=-1.5)
    assert check_gradient(objective, GeneralizedStiefel(B, P, preconditioner=M), rng=0).passed


def test_batches_are_evaluated_at_once(double):
    x = np.random.default_rng(4).standard_normal((2, 4, N, P))
    objective = QuadraticObjective(double(A), WEIGHTS, double(C), scale=-1.5)
    values, gradients = objective.value_and_gradient(double(x))
    expected = [[dense_cost(x[i, j]) for j in range(4)] for i in range(2)]
    np.testing.assert_allclose(to_float64(values), expected, rtol=1e-12)
    assert_close(gradients[1, 2], objective.value_and_gradient(double(x[1, 2]))[1], 1e-13)


def test_state_agrees_with_evaluation(case):
    _, state, generic, v = case
    assert state.value == pytest.approx(generic.value, rel=1e-11)
    assert state.gradient_norm == pytest.approx(generic.gradient_norm, rel=1e-9)
    assert state.derivative(v) == pytest.approx(generic.derivative(v), rel=1e-9)
    assert_close(state.gradient, generic.gradient, 1e-10)
    assert_close(state.hessian_product(v), generic.hessian_product(v), 1e-10)


def test_curve_agrees_with_retraction_and_evaluation(case):
    _, state, generic, v = case
    curve, expected = state.along(v), generic.along(v)
    for t in (0.0, 1e-3, 0.4, 2.0, 10.0):
        assert curve.value(t) == pytest.approx(expected.value(t), rel=1e-10)
        assert curve.slope(t) == pytest.approx(expected.slope(t), rel=1e-8, abs=1e-10)
        new, new_expected = curve.accept(t), expected.accept(t)
        assert_close(new.point, new_expected.point, 1e-9)
        assert_close(new.gradient, new_expected.gradient, 1e-8, scale=1.0)
        assert new.value == pytest.approx(curve.value(t), rel=1e-11)


def test_slope_is_the_derivative_of_the_value(case):
    _, state, _, v = case
    curve, h = state.along(v), 1e-4
    for t in (0.0, 0.3, 1.0, 3.0):
        far, near = curve.value(t + 2 * h) - curve.value(t - 2 * h), curve.value(t + h) - curve.value(t - h)
        assert curve.slope(t) == pytest.approx((8 * near - far) / (12 * h), rel=1e-7, abs=1e-8)
    # In another order, so that what is kept of the latest trial is not taken for another.
    assert [curve.slope(t) for t in (0.3, 1.0, 0.3)] == [state.along(v).slope(t) for t in (0.3, 1.0, 0.3)]


def test_value_is_infinite_where_the_curve_leaves_the_numbers():
    manifold = Stiefel(N, P)
    state = QuadraticObjective(A).on(manifold).start(manifold.random_point(rng=0))
    with np.errstate(all="ignore"):
        assert state.along(manifold.random_tangent_vector(state.point, rng=1)).value(float("inf")) == float("inf")


@pytest.mark.parametrize("preconditioner", [None, M], ids=["identity", "M"])
def test_products_stay_true_over_many_steps(preconditioner):
    manifold = GeneralizedStiefel(B, P, preconditioner=preconditioner)
    problem = QuadraticObjective(A, refresh=10_000).on(manifold)
    state = problem.start(problem.random_start(1))
    for step in range(60):
        state = state.along(manifold.random_tangent_vector(state.point, rng=step)).accept(0.3)
    assert state.age == 60
    # Rounding grows with the number of steps only.
    np.testing.assert_allclose(state.ax, A @ state.x, atol=1e-12)
    np.testing.assert_allclose(state.bx, B @ state.x, atol=1e-12)
    np.testing.assert_allclose(state.x.T @ B @ state.x, np.eye(P), atol=1e-12)


def test_refresh_replaces_products_that_have_drifted():
    problem = QuadraticObjective(A, refresh=5).on(GeneralizedStiefel(B, P))
    noise = np.random.default_rng(2)
    for age, repaired in ((0, False), (3, False), (4, True), (7, True)):
        true = problem.start(problem.random_start(1))
        ax, bx = (product + 1e-3 * noise.standard_normal(product.shape) for product in (true.ax, true.bx))
        state = QuadraticState(problem, true.x, ax, bx, age)
        new = state.along(problem.manifold.random_tangent_vector(state.point, rng=3)).accept(0.1)
        errors = (new.ax - A @ new.x, new.bx - B @ new.x, new.x.T @ B @ new.x - np.eye(P))
        assert [bool(np.abs(error).max() < 1e-13) for error in errors] == [repaired] * 3
        assert new.age == (0 if repaired else age + 1)


def test_a_long_step_is_brought_back_twice():
    manifold = Stiefel(N, P)
    problem = QuadraticObjective(A).on(manifold)
    state = problem.start(manifold.random_point(rng=0))
    v = manifold.random_tangent_vector(state.point, rng=1)
    u, sizes, w = np.linalg.svd(v, full_matrices=False)
    long = (u * np.array([1e6, 1.0, 1e-3]) / sizes[0]) @ w
    long = long - state.x @ (state.x.T @ long)
    before = problem.n_products
    new = state.along(long).accept(1.0)
    assert (problem.n_products - before, new.age) == (2, 0)
    np.testing.assert_allclose(new.x.T @ new.x, np.eye(P), atol=1e-13)
    np.testing.assert_allclose(new.ax, A @ new.x, atol=1e-13)


def test_hessian_products_take_one_product_with_each_matrix(counting_operator):
    a, b = counting_operator(A), counting_operator(B)
    manifold = GeneralizedStiefel(b, P, preconditioner=M)
    problem = QuadraticObjective(a).on(manifold)
    state = problem.start(problem.random_start(1))
    v = manifold.random_tangent_vector(state.point, rng=2)
    state.gradient  # noqa: B018
    before = a.products, b.products
    state.hessian_product(v)
    assert (a.products - before[0], b.products - before[1]) == (1, 1)
    assert problem.counts()["nhev"] == 1


def test_states_are_of_the_kind_of_the_matrix(kind):
    for _, quadratic, manifold in cases(kind):
        problem = quadratic.on(manifold)
        state = problem.start(problem.random_start(1))
        new = state.along(manifold.random_tangent_vector(state.point, rng=0)).accept(0.5)
        assert {kind_of(part) for part in (new.point, new.gradient, new.ax, new.bx)} == {kind}
        assert new.point.shape == new.gradient.shape == manifold.shape
        assert manifold.check_point(new.point) is None
