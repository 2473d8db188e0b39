"""Bad input of minimize and of every constructor: the exact type of the error, and a message that names the culprit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manifolds import GeneralizedStiefel, Product, Sphere, Stiefel
from manifolds.objective import as_objective
from rankopt import (
    AllOf,
    AnyOf,
    Armijo,
    BarzilaiBorwein,
    ConjugateGradient,
    CostChange,
    Feasibility,
    GradientDescent,
    GradientNorm,
    HagerZhang,
    MaxEvaluations,
    MaxIterations,
    MaxTime,
    ObjectiveProblem,
    StepSize,
    TargetCost,
    Wolfe,
    minimize,
)

A = np.diag([1.0, 2.0, 3.0, 4.0])
MANIFOLD = Stiefel(4, 2)


def cost(x):
    return (x * (A @ x)).sum()


def gradient(x):
    return 2 * A @ x


class NoHessian:
    def value_and_gradient(self, x):
        return cost(x), gradient(x)


PROBLEM = ObjectiveProblem(as_objective(cost, gradient), MANIFOLD)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        # what the cost and its derivatives are
        ({"objective": 3.0}, TypeError, r"objective must be callable or have value_and_gradient.*float"),
        ({"objective": None}, TypeError, r"objective must be callable.*NoneType"),
        ({"gradient": None}, TypeError, r"gradient is missing.*autograd.*ndarray"),
        ({"gradient": 2.0}, TypeError, r"gradient must be a callable, got float"),
        ({"hessian": "H"}, TypeError, r"hessian must be a callable, got str"),
        ({"objective": NoHessian()}, ValueError, r"gradient must be left out.*its own"),
        ({"objective": PROBLEM}, ValueError, r"gradient and hessian must be left out"),
        ({"objective": PROBLEM, "gradient": None, "manifold": Stiefel(4, 2)}, ValueError, r"manifold must be the prob"),
        # what they return
        ({"objective": lambda x: x.sum(axis=0)}, TypeError, r"objective must return one number.*shape \(2,\)"),
        ({"objective": lambda x: np.ones(1)}, TypeError, r"objective must return one number.*shape \(1,\)"),
        ({"objective": lambda x: None}, TypeError, r"objective must return one number, got NoneType"),
        ({"objective": lambda x: "low"}, TypeError, r"objective must return one number, got str"),
        ({"objective": lambda x: 1j}, TypeError, r"objective must return one number, got complex"),
        ({"objective": lambda x: [1.0]}, TypeError, r"objective must return one number, got list"),
        ({"gradient": True}, TypeError, r"objective must return a pair \(cost, gradient\)"),
        ({"gradient": lambda x: x[:, 0]}, ValueError, r"gradient has shape \(4,\), but the point has shape \(4, 2\)"),
        ({"gradient": lambda x: x.T}, ValueError, r"gradient has shape \(2, 4\)"),
        ({"gradient": lambda x: x.astype(np.float32)}, TypeError, r"gradient is numpy float32.*numpy float64"),
        ({"gradient": lambda x: x.tolist()}, TypeError, r"gradient must be ndarray like the point, got list"),
        ({"gradient": lambda x: None}, TypeError, r"gradient must be ndarray like the point, got NoneType"),
        ({"objective": lambda x: np.nan}, ValueError, r"objective must be finite at the start point x0, got cost nan"),
        ({"objective": lambda x: -np.inf}, ValueError, r"objective must be finite at the start point x0.*-inf"),
        ({"gradient": lambda x: x * np.nan}, ValueError, r"objective must be finite at the start point x0"),
        # the other arguments
        ({"manifold": "sphere"}, TypeError, r"manifold must be a Manifold, got str"),
        ({"manifold": Stiefel}, TypeError, r"manifold must be a Manifold, got ABCMeta"),
        ({"method": "newton"}, ValueError, r"method must be one of \['conj.*'trust-region'\], got 'newton'"),
        ({"method": 3}, TypeError, r"method must be a name or a method.*int"),
        ({"method": ConjugateGradient}, TypeError, r"method must be a name or a method such as ConjugateGradient\(\)"),
        ({"stopping": 100}, TypeError, r"stopping must be a StoppingCriterion such as MaxIterations"),
        ({"stopping": MaxIterations}, TypeError, r"stopping must be a StoppingCriterion"),
        ({"callback": "print"}, TypeError, r"callback must be a callable, got str"),
        ({"preconditioner": A}, TypeError, r"preconditioner must be a callable \(x, v\).*ndarray"),
        ({"preconditioner": lambda x, v: v[:2]}, ValueError, r"preconditioner has shape \(2, 2\)"),
        ({"preconditioner": lambda x, v: None}, TypeError, r"preconditioner must be ndarray like the point"),
        ({"rng": "seed"}, TypeError, r"rng must be None, a seed"),
        # the start point
        ({"x0": np.eye(3, 2)}, ValueError, r"x0: point has shape \(3, 2\).*needs \(4, 2\)"),
        ({"x0": np.eye(4)[0]}, ValueError, r"x0: point has shape \(4,\)"),
        ({"x0": np.stack([np.eye(4, 2)] * 3)}, ValueError, r"x0: a single point is needed, not a batch"),
        ({"x0": np.eye(4, 2, dtype=int)}, TypeError, r"x0 must have a real floating dtype, got int64"),
        ({"x0": np.eye(4, 2) + 0j}, TypeError, r"x0 must have a real floating dtype, got complex128"),
        ({"x0": [[1.0, 0.0]] * 4}, TypeError, r"x0: point must be a numpy array or a torch tensor, got list"),
        ({"x0": np.eye(4, 2) * np.nan}, ValueError, r"x0 contains NaN or infinity"),
        ({"x0": np.full((4, 2), np.inf)}, ValueError, r"x0 contains NaN or infinity"),
        ({"x0": np.ones((4, 2))}, ValueError, r"x0: the columns cannot be orthonormalised"),
        ({"x0": 5 * np.eye(4, 2)}, ValueError, r"x0 is far off the manifold: .*off by 2.4e\+01"),
    ],
)  # fmt: skip
def test_minimize(changes, error, message):
    arguments = {"objective": cost, "manifold": MANIFOLD, "gradient": gradient, "rng": 0} | changes
    with pytest.raises(error, match=message) as caught:
        minimize(**arguments)
    assert caught.type is error


def test_libraries_and_dtypes_do_not_mix():
    a = torch.asarray(A)
    x0 = torch.eye(4, 2, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"gradient is torch float32 cpu, but the point is torch float64 cpu"):
        minimize(lambda x: (x * (a @ x)).sum(), MANIFOLD, x0, gradient=lambda x: (2 * a @ x).float())
    with pytest.raises(TypeError, match=r"gradient is numpy float64 cpu, but the point is torch float64 cpu"):
        minimize(lambda x: (x * (a @ x)).sum(), MANIFOLD, x0, gradient=lambda x: (2 * a @ x).numpy())
    with pytest.raises(TypeError, match=r"gradient is torch float64 cpu, but the point is numpy float64 cpu"):
        minimize(cost, MANIFOLD, np.eye(4, 2), gradient=lambda x: torch.asarray(2 * A @ x))


def test_costs_that_autograd_cannot_differentiate():
    x0 = torch.eye(4, 2, dtype=torch.float64)
    for broken in (lambda x: (x.detach() ** 2).sum(), lambda x: 1.0, lambda x: float((x.detach() ** 2).sum())):
        with pytest.raises(TypeError, match=r"cost does not depend on the point through torch operations"):
            minimize(broken, MANIFOLD, x0)
    with pytest.raises(TypeError, match=r"objective must return one number, got an array of shape \(2,\)"):
        minimize(lambda x: (x**2).sum(0), MANIFOLD, x0)


def test_points_of_a_product():
    manifold = Product(x=Sphere(2), y=Sphere(2))
    x, y = np.array([1.0, 0.0]), np.array([0.0, 1.0])

    def run(x0, gradient=lambda p: manifold.point_type(p.x, p.y)):
        minimize(lambda p: p.x @ p.y, manifold, x0, gradient=gradient)

    with pytest.raises(TypeError, match=r"x0: a point of Product.* is a tuple of 2 entries \(x, y\), got ndarray"):
        run(x)
    with pytest.raises(TypeError, match=r"x0: a point of Product.* is a tuple of 2 entries"):
        run((x, y, y))
    with pytest.raises(ValueError, match=r"x0 contains NaN"):
        run((x, y * np.nan))
    with pytest.raises(TypeError, match=r"gradient must be a tuple of 2 arrays like the point, got ndarray"):
        run((x, y), lambda p: p.x)
    with pytest.raises(ValueError, match=r"gradient\[1\] has shape \(1,\)"):
        run((x, y), lambda p: (p.x, p.y[:1]))


def test_errors_in_later_steps_are_named_too():
    calls = []

    def late(x):
        calls.append(1)
        return cost(x) if len(calls) < 4 else None

    with pytest.raises(TypeError, match="objective must return one number, got NoneType"):
        minimize(late, MANIFOLD, gradient=gradient, rng=0)


def test_mixed_kinds_with_the_manifolds_own_arrays():
    manifold = GeneralizedStiefel(A, 1)
    with pytest.raises(TypeError, match=r"library, dtype and device"):
        minimize(cost, manifold, np.eye(4, 1, dtype=np.float32), gradient=gradient)


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: Armijo(decrease=0.0), ValueError, r"0 < decrease < 1"),
        (lambda: Armijo(decrease=1.0), ValueError, r"0 < decrease < 1"),
        (lambda: Armijo(decrease=np.nan), ValueError, r"0 < decrease < 1"),
        (lambda: Armijo(memory=0), ValueError, r"memory must be at least 1, got 0"),
        (lambda: Armijo(memory=2.5), TypeError, r"memory must be an integer, got 2.5"),
        (lambda: Armijo(max_trials=0), ValueError, r"max_trials must be at least 1"),
        (lambda: Wolfe(decrease=0.0), ValueError, r"0 < decrease < curvature < 1.*0.0 and 0.1"),
        (lambda: Wolfe(decrease=0.2, curvature=0.1), ValueError, r"0 < decrease < curvature < 1.*0.2 and 0.1"),
        (lambda: Wolfe(curvature=1.0), ValueError, r"0 < decrease < curvature < 1"),
        (lambda: Wolfe(curvature=np.nan), ValueError, r"0 < decrease < curvature < 1"),
        (lambda: Wolfe(max_trials=-1), ValueError, r"max_trials must be at least 1, got -1"),
        (lambda: Wolfe(max_trials=True), TypeError, r"max_trials must be an integer, got True"),
        (lambda: ConjugateGradient(beta="HS"), TypeError, r"beta must be a BetaRule such as .*, got 'HS'"),
        (lambda: ConjugateGradient(beta=HagerZhang), TypeError, r"beta must be a BetaRule such as .*HagerZhang"),
        (lambda: ConjugateGradient(line_search="wolfe"), TypeError, r"line_search must be a LineSearch such as Wolfe"),
        (lambda: ConjugateGradient(restart=-1.0), ValueError, r"restart must be at least 0, got -1.0"),
        (lambda: ConjugateGradient(restart=None), TypeError, r"restart must be a number, got None"),
        (lambda: GradientDescent(step_rule=0.1), TypeError, r"step_rule must be a StepRule such as .*, got 0.1"),
        (lambda: GradientDescent(line_search=Armijo), TypeError, r"line_search must be a LineSearch such as Armijo"),
        (lambda: BarzilaiBorwein(shortest=0.0), ValueError, r"0 < shortest <= longest must hold, got 0.0"),
        (lambda: BarzilaiBorwein(shortest=2.0, longest=1.0), ValueError, r"0 < shortest <= longest.*2.0 and 1.0"),
        (lambda: GradientNorm(absolute=-1e-6), ValueError, r"absolute must be at least 0, got -1e-06"),
        (lambda: GradientNorm(relative=np.nan), ValueError, r"relative must be at least 0, got nan"),
        (lambda: GradientNorm("small"), TypeError, r"absolute must be a number, got 'small'"),
        (lambda: Feasibility(-1.0), ValueError, r"tolerance must be at least 0, got -1.0"),
        (lambda: Feasibility("small"), TypeError, r"tolerance must be a number, got 'small'"),
        (lambda: CostChange(-1.0), ValueError, r"tolerance must be at least 0"),
        (lambda: CostChange(1e-6, iterations=0), ValueError, r"iterations must be at least 1"),
        (lambda: TargetCost(None), TypeError, r"target must be a number, got None"),
        (lambda: TargetCost(np.nan), ValueError, r"target must be at least -inf, got nan"),
        (lambda: StepSize(-1.0), ValueError, r"tolerance must be at least 0"),
        (lambda: MaxIterations(-1), ValueError, r"limit must be at least 0, got -1"),
        (lambda: MaxIterations(10.5), TypeError, r"limit must be an integer, got 10.5"),
        (lambda: MaxEvaluations(-1), ValueError, r"limit must be at least 0"),
        (lambda: MaxEvaluations("many"), TypeError, r"limit must be an integer, got 'many'"),
        (lambda: MaxTime(-1.0), ValueError, r"seconds must be at least 0"),
        (lambda: MaxTime("1s"), TypeError, r"seconds must be a number, got '1s'"),
        (lambda: AnyOf(()), ValueError, r"criteria must not be empty"),
        (lambda: AllOf((GradientNorm(), 100)), TypeError, r"criteria must be a StoppingCriterion such as .*, got 100"),
        (lambda: GradientNorm() | 100, TypeError, r"criteria must be a StoppingCriterion such as .*, got 100"),
        (lambda: GradientNorm() & None, TypeError, r"criteria must be a StoppingCriterion such as .*, got None"),
    ],
)
def test_constructors(construct, error, message):
    with pytest.raises(error, match=message) as caught:
        construct()
    assert caught.type is error


def test_numbers_of_numpy_are_numbers():
    assert MaxIterations(np.int64(3)).limit == 3
    assert GradientNorm(np.float32(0.5)).absolute == 0.5
    assert Armijo(memory=np.int32(2)).memory == 2
