"""Objectives: one face for every way of giving a cost and its derivatives, and true counts of their evaluations."""

import numpy as np
import pytest
import torch

from manifolds import Product, Sphere, Stiefel
from manifolds.objective import as_number, as_objective, is_finite, require_like

A = np.diag([1.0, 2.0, 4.0])
X, V = np.array([1.0, 2.0, -1.0]), np.array([0.5, 0.0, 1.0])


class Counted:
    """f(x) = x^T A x / 2 that counts the calls of each of its functions from outside."""

    def __init__(self, a=A):
        self.a, self.calls = a, {"cost": 0, "gradient": 0, "hessian": 0, "pair": 0}

    def _called(self, name, value):
        self.calls[name] += 1
        return value

    def cost(self, x):
        return self._called("cost", 0.5 * x @ self.a @ x)

    def gradient(self, x):
        return self._called("gradient", self.a @ x)

    def hessian(self, x, v):
        return self._called("hessian", self.a @ v)

    def pair(self, x):
        return self._called("pair", (0.5 * x @ self.a @ x, self.a @ x))


class PairObject:
    def __init__(self, counted):
        self.value_and_gradient = counted.pair
        self.hessian_product = counted.hessian


FORMS = {
    "callables": lambda f: as_objective(f.cost, f.gradient, f.hessian),
    "pair": lambda f: as_objective(f.pair, True, f.hessian),
    "object": lambda f: as_objective(PairObject(f)),
}
ORDERS = [("value", "gradient"), ("gradient", "value"), ("gradient",), ("value",)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_values_and_derivatives_whatever_is_asked_first(form, order):
    evaluation = FORMS[form](Counted()).at(X)
    expected = {"value": 0.5 * X @ A @ X, "gradient": A @ X}
    for name in order:
        np.testing.assert_array_equal(getattr(evaluation, name), expected[name])
    np.testing.assert_array_equal(evaluation.hessian_product(V), A @ V)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_nothing_is_evaluated_twice_and_counts_are_true(form, order):
    f = Counted()
    objective = FORMS[form](f)
    for point in (X, 2 * X):
        evaluation = objective.at(point)
        for name in order * 3:
            getattr(evaluation, name)
        evaluation.hessian_product(V)
        evaluation.hessian_product(2 * V)
    if form == "callables":
        assert f.calls == {
            "cost": 2 * ("value" in order),
            "gradient": 2 * ("gradient" in order),
            "hessian": 4,
            "pair": 0,
        }
        assert (objective.nfev, objective.ngev) == (f.calls["cost"], f.calls["gradient"])
    else:
        assert f.calls == {"cost": 0, "gradient": 0, "hessian": 4, "pair": 2}
        assert (objective.nfev, objective.ngev) == (2, 2)
    assert objective.nhev == 4


def test_nothing_is_evaluated_before_it_is_asked_for():
    f = Counted()
    objective = as_objective(f.cost, f.gradient)
    objective.at(X)
    assert sum(f.calls.values()) == objective.nfev + objective.ngev == 0


def quartic(x):
    return (x**4).sum() / 4


def test_autograd_gives_gradient_and_hessian_products_from_one_evaluation():
    calls = []

    def cost(x):
        calls.append(1)
        return quartic(x)

    x, v = torch.tensor(X), torch.tensor(V)
    objective = as_objective(cost)
    evaluation = objective.at(x)
    assert evaluation.value == pytest.approx(float(quartic(x)))
    assert torch.allclose(evaluation.gradient, x**3)
    assert torch.allclose(evaluation.hessian_product(v), 3 * x**2 * v)
    assert torch.allclose(evaluation.hessian_product(-2 * v), -6 * x**2 * v)
    assert (len(calls), objective.nfev, objective.ngev, objective.nhev) == (1, 1, 1, 2)
    assert not evaluation.gradient.requires_grad
    assert x.grad is None


def test_autograd_inside_no_grad():
    with torch.no_grad():
        evaluation = as_objective(quartic).at(torch.tensor(X))
        assert torch.allclose(evaluation.gradient, torch.tensor(X) ** 3)
        assert torch.allclose(evaluation.hessian_product(torch.tensor(V)), 3 * torch.tensor(X) ** 2 * torch.tensor(V))


def test_autograd_of_a_linear_cost_has_hessian_zero():
    c = torch.tensor(V)
    evaluation = as_objective(lambda x: (c * x).sum()).at(torch.tensor(X))
    assert torch.equal(evaluation.gradient, c)
    assert torch.equal(evaluation.hessian_product(c), torch.zeros(3, dtype=torch.float64))


def test_autograd_of_named_tuples():
    manifold = Product(a=Sphere(3), b=Product(c=Stiefel(4, 2), d=Sphere(2)))
    x = manifold.random_point(0, torch.empty(0, dtype=torch.float64))
    evaluation = as_objective(lambda x: quartic(x.a) + x.a[0] * x.b.c.sum()).at(x)
    gradient = evaluation.gradient
    assert type(gradient) is type(x)
    assert torch.allclose(gradient.b.c, x.a[0] * torch.ones_like(x.b.c))
    assert torch.equal(gradient.b.d, torch.zeros_like(x.b.d))
    product = evaluation.hessian_product(x)
    assert torch.allclose(product.b.c, x.a[0] * torch.ones_like(x.b.c))
    assert float(product.a[0]) == pytest.approx(float(3 * x.a[0] ** 3 + x.b.c.sum()))


def test_autograd_of_a_cost_that_is_linear_in_one_factor():
    """Its gradient by that factor has no graph of its own."""
    product = Product(x=Sphere(3), y=Sphere(3))
    x, y, v = (torch.asarray(w) for w in (X, V, X - V))
    point = product.point_type(x, y)
    evaluation = as_objective(lambda p: (p.x**3).sum() + 2 * p.y.sum()).at(point)
    along_x, along_y = evaluation.hessian_product(product.point_type(v, v))
    np.testing.assert_allclose(along_x, 6 * x * v)
    np.testing.assert_array_equal(along_y, torch.zeros(3))


def test_given_hessian_goes_before_autograd():
    evaluation = as_objective(quartic, None, lambda x, v: 7 * v).at(torch.tensor(X))
    assert torch.equal(evaluation.hessian_product(torch.tensor(V)), 7 * torch.tensor(V))


def test_an_objective_is_taken_as_it_is():
    objective = as_objective(Counted().cost)
    assert as_objective(objective) is objective


def test_riemannian_mark_is_kept():
    class Marked(PairObject):
        riemannian = True

    assert as_objective(Marked(Counted())).riemannian
    assert not as_objective(PairObject(Counted())).riemannian


@pytest.mark.parametrize("value", [1, 1.5, np.float32(1.5), np.array(1.5), torch.tensor(1.5)])
def test_numbers_of_every_library(value):
    assert as_number(value) == float(value)
    assert type(as_number(value)) is float


NUMPY, TORCH = np.zeros((2, 3)), torch.zeros(2, 3, dtype=torch.float64)
ERRORS = {
    "objective is no callable": (lambda: as_objective(3), TypeError, "objective must be callable"),
    "gradient is no callable": (lambda: as_objective(quartic, 3), TypeError, "gradient must be a callable"),
    "hessian is no callable": (lambda: as_objective(quartic, None, 3), TypeError, "hessian must be a callable"),
    "two gradients": (
        lambda: as_objective(PairObject(Counted()), Counted().gradient),
        ValueError,
        "gradient must be left out",
    ),
    "gradient for an objective": (
        lambda: as_objective(as_objective(quartic), Counted().gradient),
        ValueError,
        "gradient must be left out",
    ),
    "no pair": (
        lambda: as_objective(lambda x: 1.0, True).at(X).value,
        TypeError,
        r"objective must return a pair \(cost, gradient\), got float",
    ),
    "cost is an array": (
        lambda: as_objective(lambda x: x, lambda x: x).at(X).value,
        TypeError,
        r"objective must return one number, got an array of shape \(3,\)",
    ),
    "cost of autograd is an array": (
        lambda: as_objective(lambda x: x).at(torch.tensor(X)).gradient,
        TypeError,
        r"objective must return one number, got an array of shape \(3,\)",
    ),
    "cost is a word": (
        lambda: as_objective(lambda x: "low", lambda x: x).at(X).value,
        TypeError,
        "objective must return one number, got str",
    ),
    "cost is None": (
        lambda: as_objective(lambda x: None, lambda x: x).at(X).value,
        TypeError,
        "objective must return one number, got NoneType",
    ),
    "gradient of another shape": (
        lambda: as_objective(quartic, lambda x: x[:2]).at(X).gradient,
        ValueError,
        r"gradient has shape \(2,\), but the point has shape \(3,\)",
    ),
    "gradient of another dtype": (
        lambda: as_objective(quartic, lambda x: x.astype("float32")).at(X).gradient,
        TypeError,
        "gradient is numpy float32 cpu, but the point is numpy float64 cpu",
    ),
    "gradient of another library": (
        lambda: as_objective(quartic, lambda x: torch.tensor(x)).at(X).gradient,
        TypeError,
        "gradient is torch float64 cpu, but the point is numpy float64 cpu",
    ),
    "gradient is a list": (
        lambda: as_objective(quartic, lambda x: list(x)).at(X).gradient,
        TypeError,
        "gradient must be ndarray like the point, got list",
    ),
    "hessian of another shape": (
        lambda: as_objective(quartic, lambda x: x, lambda x, v: v[:2]).at(X).hessian_product(V),
        ValueError,
        r"hessian has shape \(2,\)",
    ),
    "no hessian": (
        lambda: as_objective(quartic, lambda x: x).at(X).hessian_product(V),
        TypeError,
        "no Hessian product; pass hessian=",
    ),
    "no hessian of a pair": (
        lambda: as_objective(lambda x: (1.0, x), True).at(X).hessian_product(V),
        TypeError,
        "no Hessian product; pass hessian=",
    ),
    "numpy without gradient": (
        lambda: as_objective(quartic).at(X).value,
        TypeError,
        "gradient is missing: pass gradient=",
    ),
    "cost does not depend on the point": (
        lambda: as_objective(lambda x: torch.tensor(1.0)).at(torch.tensor(X)).gradient,
        TypeError,
        "does not depend on the point through torch operations",
    ),
    "cost leaves torch": (
        lambda: as_objective(lambda x: x.detach().sum().item()).at(torch.tensor(X)).gradient,
        TypeError,
        "does not depend on the point through torch operations",
    ),
    "tuple gradient of another length": (
        lambda: require_like((NUMPY,), Product(a=Sphere(2), b=Sphere(2)).random_point(0), "gradient"),
        TypeError,
        "gradient must be a tuple of 2 arrays",
    ),
    "array instead of a tuple": (
        lambda: require_like(NUMPY, Product(a=Sphere(2), b=Sphere(2)).random_point(0), "gradient"),
        TypeError,
        "gradient must be a tuple of 2 arrays",
    ),
    "part of another shape": (
        lambda: require_like((NUMPY[0, :2], NUMPY), Product(a=Sphere(2), b=Sphere(2)).random_point(0), "gradient"),
        ValueError,
        r"gradient\[1\] has shape \(2, 3\)",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error


def test_finite_of_arrays_and_tuples(kind):
    good, bad = kind(np.ones(3)), kind(np.array([1.0, np.nan, 2.0]))
    pair = Product(a=Sphere(3), b=Sphere(3)).point_type
    assert is_finite(good)
    assert not is_finite(bad)
    assert is_finite(pair(good, good))
    assert not is_finite(pair(good, bad))
