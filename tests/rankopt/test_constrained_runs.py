"""Constrained runs: true counts, honest records, limits, interruptions, warm starts, and bad input."""

from __future__ import annotations

import itertools
import pickle
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from manifolds import Euclidean, Product, Sphere, Stiefel, check_gradient, check_hessian
from manifolds.objective import as_objective
from rankopt import (
    LBFGS,
    Armijo,
    AugmentedLagrangian,
    CostChange,
    Equality,
    Feasibility,
    GradientDescent,
    GradientNorm,
    GrowingStep,
    Inequality,
    MaxEvaluations,
    MaxIterations,
    MaxTime,
    ObjectiveProblem,
    Progress,
    Status,
    minimize,
    minimize_constrained,
)
from rankopt.augmented_lagrangian import AugmentedObjective
from rankopt.constrained_run import InnerStopping
from rankopt.constraints import Constraints
from tests.rankopt.test_counts import Recorded

D, C = np.arange(1.0, 7.0), np.array([1.0, 1.0, 0.0, -1.0, 0.5, 0.2])
X0 = Sphere(6).random_point(rng=3)
ORTHOGONAL = Equality(lambda x: C @ x, lambda x, y: y * C)
BELOW = Inequality(lambda x: x - 0.6, lambda x, y: y)
COUNTS = ("nfev", "ngev", "nhev", "constr_nfev", "constr_ngev", "constr_nhev")
TIGHT = GradientNorm(absolute=1e-9) & Feasibility(1e-9) | MaxIterations(40)


def cost(x):
    return D @ x**2


def gradient(x):
    return 2 * D * x


def run(constraints=(ORTHOGONAL, BELOW), x0=X0, method=None, f=cost, **options):
    options = {"gradient": gradient} | options
    return minimize_constrained(f, Sphere(6), constraints, x0, method, **options)


INNER = {"lbfgs": LBFGS(), "descent": GradientDescent(GrowingStep()), "armijo": LBFGS(line_search=Armijo())}


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
def test_counts_are_true_and_nothing_is_evaluated_twice(inner):
    f, g = Recorded(cost), Recorded(gradient)
    h, dh = Recorded(lambda x: C @ x), Recorded(lambda x, y: y * C)
    i, di = Recorded(lambda x: x - 0.6), Recorded(lambda x, y: y)
    stopping = GradientNorm(relative=1e-4) & Feasibility(1e-4) | MaxIterations(30)
    result = run([Equality(h, dh), Inequality(i, di)], f=f, gradient=g, method=AugmentedLagrangian(inner),
                 stopping=stopping)  # fmt: skip
    assert result.success
    assert result.nit > 3
    assert (result.nfev, result.ngev, result.nhev) == (f.calls, g.calls, 0)
    assert (result.constr_nfev, result.constr_ngev) == (h.calls + i.calls, dh.calls + di.calls)
    assert (f.repeated, g.repeated, h.repeated, i.repeated) == (0, 0, 0, 0)
    # Weights change with the multipliers, so that a constraint's gradient is taken again where a minimization starts.
    assert dh.calls <= g.calls + result.nit + 1


def test_counts_with_autograd():
    c = torch.tensor(C)
    f, h = Recorded(lambda x: (torch.tensor(D) * x**2).sum()), Recorded(lambda x: c @ x)
    result = run(Equality(h), torch.tensor(X0), f=f, gradient=None)
    assert result.success
    assert (result.nfev, result.constr_nfev) == (f.calls, h.calls)
    assert (f.repeated, h.repeated) == (0, 0)
    assert result.nhev == result.constr_nhev > 0


def test_history_has_one_entry_for_each_minimization():
    result = run()
    history = result.history
    names = {"fun", "grad_norm", "constraint_violation", "complementarity", "penalty", "step_size", "inner_nit", "time"}
    assert set(history) == names | set(COUNTS)
    assert {values.shape for values in history.values()} == {(result.nit + 1,)}
    for name in (*names - {"step_size", "time"}, *COUNTS):
        assert history[name][-1] == result[name], name
    for name in ("time", "inner_nit", "penalty", *COUNTS):
        assert np.all(np.diff(history[name]) >= 0), name
    assert history.fun[0] == pytest.approx(cost(X0), rel=1e-14)
    assert history.constraint_violation[0] == pytest.approx(max(abs(C @ X0), (X0 - 0.6).max()), rel=1e-14)
    assert (history.step_size[0], history.inner_nit[0]) == (0.0, 0)
    assert result.message.startswith(result.status.message)
    assert f"{result.constraint_violation:.1e}" in result.message


def test_step_sizes_are_distances():
    points = [X0]
    result = run(callback=lambda r: points.append(r.x))
    moved = [np.linalg.norm(b - a) for a, b in itertools.pairwise(points)]
    np.testing.assert_allclose(result.history.step_size[1:], moved, rtol=1e-12)


def test_callback_sees_every_minimization_and_may_end_the_run():
    seen = []
    result = run(callback=seen.append)
    assert [r.nit for r in seen] == list(range(1, result.nit + 1))
    for name in ("fun", "grad_norm", "constraint_violation", "penalty"):
        np.testing.assert_array_equal([r[name] for r in seen], result.history[name][1:])
    assert seen[-1].multipliers[1].shape == (6,)

    def stop(r):
        raise StopIteration

    ended = run(callback=stop)
    assert (ended.status, ended.nit, ended.success) == (Status.USER, 1, False)


def test_result_can_be_pickled():
    result = run()
    copy = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(copy.multipliers[1], result.multipliers[1])
    assert copy.status is result.status


def test_inputs_are_not_changed():
    x0, multipliers = X0.copy(), (np.array(0.5), np.ones(6))
    run(multipliers=multipliers, x0=x0)
    np.testing.assert_array_equal(x0, X0)
    np.testing.assert_array_equal(multipliers[1], np.ones(6))


def test_same_seed_same_run():
    runs = [run(x0=None, rng=seed) for seed in (5, np.random.default_rng(5), 6)]
    np.testing.assert_array_equal(runs[0].x, runs[1].x)
    assert runs[0].history.fun[0] != runs[2].history.fun[0]


def test_progress_bar(capsys):
    run(progress="constrained")
    assert "constrained" in capsys.readouterr().err
    run()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("constraints", "manifold"),
    [
        (Equality(lambda x: x[0] - 2.0, lambda x, y: y * np.eye(3)[0]), Sphere(3)),
        (
            [
                Inequality(lambda x: x[0] + 1.0, lambda x, y: y * np.eye(3)[0]),
                Inequality(lambda x: 1.0 - x[0], lambda x, y: -y * np.eye(3)[0]),
            ],
            Euclidean(3),
        ),
    ],
    ids=["off the sphere", "contradiction"],
)
def test_infeasible_problems(constraints, manifold):
    """The point with the least violation, which is one in both."""
    result = minimize_constrained(lambda x: x @ x, manifold, constraints, gradient=lambda x: 2 * x, rng=0)
    assert result.status is Status.INFEASIBLE
    assert not result.success
    assert "violation" in result.message
    assert result.constraint_violation == pytest.approx(1.0, abs=1e-4)
    assert result.nit < 15


def test_limits_of_evaluations_hold_within_minimizations():
    """One minimization alone takes more evaluations than that."""
    steepest = AugmentedLagrangian(GradientDescent(GrowingStep()), tightening=1e-6)
    for limit, counted in ((20, "nfev"), (15, "ngev"), (25, "constr_nfev")):
        result = run(method=steepest, stopping=MaxEvaluations(limit, counted))
        assert result.status is Status.EVALUATION_LIMIT
        assert limit <= result[counted] < limit + 10
        assert result.nit == 1


def test_limit_of_time_holds_within_minimizations(monkeypatch):
    ticks = itertools.count(start=0.0, step=0.5)
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    for module in ("minimize", "constrained_run"):
        monkeypatch.setattr(import_module(f"rankopt.{module}"), "time", clock)
    result = run(method=AugmentedLagrangian(GradientDescent(GrowingStep()), tightening=1e-6), stopping=MaxTime(10.0))
    assert result.status is Status.TIME_LIMIT
    assert (result.nit, 2 <= result.inner_nit <= 15) == (1, True)


def test_limit_of_inner_steps():
    method = AugmentedLagrangian(GradientDescent(GrowingStep()), max_inner=3, tightening=1e-6)
    result = run(method=method, stopping=MaxIterations(4))
    np.testing.assert_array_equal(result.history.inner_nit, [0, 3, 6, 9, 12])


def test_minimizations_are_as_exact_as_asked_for():
    """Down to a fraction of the gradient that they start with, or to what the stopping criterion asks."""
    loose, exact = (run(method=AugmentedLagrangian(tightening=t), stopping=MaxIterations(1)) for t in (0.5, 1e-4))
    first = exact.history.grad_norm[0]
    assert exact.history.grad_norm[1] <= 1e-4 * first < loose.history.grad_norm[1] <= 0.5 * first
    enough = run(method=AugmentedLagrangian(tightening=1e-12), stopping=GradientNorm(relative=0.2) | MaxIterations(1))
    assert 1e-4 * first < enough.history.grad_norm[1] <= 0.2 * first


def test_what_is_asked_for_refers_to_the_start_of_the_run():
    """Later minimizations start with smaller gradients, and end at the same norm."""
    method = AugmentedLagrangian(GradientDescent(GrowingStep()), tightening=1e-9)
    stopping = GradientNorm(relative=1e-3) & Feasibility(1e-12) | MaxIterations(6)
    norms = run(method=method, stopping=stopping).history.grad_norm
    assert np.all(norms[1:] <= 1e-3 * norms[0])
    assert np.all(norms[1:] >= 3e-4 * norms[0])


def test_the_penalty_stays_where_the_constraints_hold():
    result = run(stopping=GradientNorm(absolute=0.0) & Feasibility(1e-3) | MaxIterations(25))
    history = result.history
    holds = np.maximum(history.constraint_violation, history.complementarity) <= 1e-3
    assert 5 < holds.sum() < 25
    assert np.all(history.penalty[1:][holds[:-1]] == history.penalty[:-1][holds[:-1]])
    assert np.all(np.isfinite(history.penalty))


def test_the_tightest_of_two_tolerances_counts():
    """The penalty is raised until the constraints hold to both."""
    gradients = GradientNorm(absolute=0.0)
    method = AugmentedLagrangian(decrease=1e-3)
    tight, both = (
        run(stopping=stopping | MaxIterations(12), method=method).history.penalty
        for stopping in (gradients & Feasibility(1e-8), gradients & Feasibility(1e-1) & Feasibility(1e-8))
    )
    np.testing.assert_array_equal(both, tight)
    loose = run(stopping=gradients & Feasibility(1e-1) | MaxIterations(12), method=method).history.penalty
    assert loose[-1] < tight[-1]


def test_minimizations_measure_gradients_by_the_cost_itself():
    """As the criterion of the whole run does: the term of the multipliers is much larger here."""
    start, epsilon = 1e-3, np.finfo(float).eps
    seen = Progress({"fun": [1.0], "grad_norm": [start]}, epsilon)
    criterion = InnerStopping(0.0, 9, GradientNorm(), seen, lambda: 0.0)
    norm = 1e-6 * start + 1e3 * epsilon
    for value, expected in ((1.0, None), (1e3, Status.CONVERGED_GRADIENT)):
        inner = {"fun": [1e3], "cost": [value], "grad_norm": [norm], "time": [0.0]}
        assert criterion.check(Progress(inner, epsilon)) is expected


class Interrupted:
    """Function that is interrupted at its k-th call."""

    def __init__(self, function, k):
        self.function, self.k, self.calls = function, k, 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self.k:
            raise KeyboardInterrupt
        return self.function(*arguments)


@pytest.mark.parametrize("k", [2, 9, 30, 60])
def test_interruption_keeps_the_best_point(k):
    seen = []
    method = AugmentedLagrangian(LBFGS())
    result = run(method=method, f=Interrupted(cost, k), callback=seen.append)
    assert result.status is Status.INTERRUPTED
    assert not result.success
    assert {values.shape for values in result.history.values()} == {(result.nit + 1,)}
    assert result.fun == pytest.approx(cost(result.x), rel=1e-14)
    assert result.nit == len(seen) + 1
    # The least augmented Lagrangian so far: not above where its minimization began.
    multipliers = seen[-1].multipliers if seen else (np.zeros(()), np.zeros(6))
    start = seen[-1].x if seen else X0
    lagrangian = AugmentedObjective(
        as_objective(cost, gradient), Constraints([ORTHOGONAL, BELOW]), Sphere(6), multipliers, result.penalty
    )
    assert lagrangian.at(result.x).value <= lagrangian.at(start).value


def test_interruption_at_the_start():
    result = run(f=Interrupted(cost, 1))
    assert (result.status, result.success, result.nit, result.nfev) == (Status.INTERRUPTED, False, 0, 1)
    assert result.x is X0
    whole = run(stopping=MaxIterations(1))
    assert set(result) == set(whole)
    assert {name: values.shape for name, values in result.history.items()} == dict.fromkeys(whole.history, (0,))
    for name in ("fun", "grad_norm", "constraint_violation", "complementarity", "penalty"):
        assert np.isnan(result[name]), name
    assert result.inner_nit == 0


def test_interruption_in_a_constraint():
    result = run([Equality(Interrupted(ORTHOGONAL.function, 12), ORTHOGONAL.gradient)], method=AugmentedLagrangian())
    assert result.status is Status.INTERRUPTED
    assert result.nit >= 1


def test_a_run_goes_on_from_its_result():
    first = run(stopping=MaxIterations(5))
    second = run(
        x0=first.x, multipliers=first.multipliers, method=AugmentedLagrangian(penalty=first.penalty), stopping=TIGHT
    )
    whole = run(stopping=TIGHT)
    assert second.success
    assert second.history.fun[0] == pytest.approx(first.fun, rel=1e-14)
    assert second.history.constraint_violation[0] == pytest.approx(first.constraint_violation, rel=1e-12)
    assert second.nit <= whole.nit - 3
    np.testing.assert_allclose(second.x, whole.x, atol=1e-8)
    without = run(x0=first.x, stopping=TIGHT)
    assert second.nit < without.nit


@pytest.mark.parametrize("limit", range(1, 7))
def test_multipliers_of_inactive_inequalities_are_zero(limit):
    """Exactly, on quadratic programs that end early, so that another run goes on from them."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        g, b, rhs = rng.standard_normal((9, 4)), rng.standard_normal(4), rng.standard_normal(9)
        constraint = Inequality(lambda x, g=g, rhs=rhs: g @ x - rhs, lambda x, y, g=g: g.T @ y)
        options = {"gradient": lambda x, b=b: x - b, "stopping": MaxIterations(limit)}
        solve = partial(minimize_constrained, lambda x, b=b: x @ x / 2 - b @ x, Euclidean(4), constraint, **options)
        result = solve(np.zeros(4))
        y = result.multipliers[0]
        assert y.min() >= 0
        assert np.all((y == 0) | (y > 1e-9))
        slack = np.maximum(rhs - g @ result.x, 0)
        assert result.complementarity == pytest.approx(slack[y > 0].max(initial=0.0), abs=1e-14)
        assert solve(result.x, multipliers=result.multipliers).nit == limit


def test_multipliers_that_do_not_count_are_zero_by_autograd():
    x = torch.tensor(X0)
    multipliers = torch.full((6,), 0.1, dtype=x.dtype)
    constraint = Inequality(lambda x: x**2 - 7)
    lagrangian = AugmentedObjective(
        as_objective(lambda x: 0 * x.sum()), Constraints(constraint), Euclidean(6), (multipliers,), 0.3
    )
    evaluation = lagrangian.at(x)
    assert torch.equal(evaluation.multipliers[0], torch.zeros_like(x))
    assert torch.equal(evaluation.hessian_product(x), torch.zeros_like(x))


def test_a_run_from_the_solution_ends_there():
    solution = run(stopping=TIGHT)
    method = AugmentedLagrangian(penalty=solution.penalty)
    again = run(x0=solution.x, multipliers=solution.multipliers, method=method)
    assert again.status in (Status.CONVERGED_GRADIENT, Status.CONVERGED_COST)
    assert again.inner_nit <= 10
    np.testing.assert_allclose(again.x, solution.x, atol=1e-8)


def test_a_run_from_the_minimum_without_constraints():
    """Where the cost has no gradient, the first penalty is made of its value."""
    free = minimize(cost, Sphere(6), X0, gradient=gradient)
    result = run(Inequality(lambda x: x**2 - 0.5, lambda x, y: 2 * y * x), free.x + 1e-3 * np.ones(6), stopping=TIGHT)
    assert result.success
    # Half of the weight goes from the least to the next entry of the diagonal.
    assert result.fun == pytest.approx(1.5, abs=1e-8)


def test_costs_that_no_longer_change_end_the_default_run():
    result = run(stopping=CostChange(iterations=3) & Feasibility() | MaxIterations(60))
    assert result.status is Status.CONVERGED_COST
    assert np.ptp(result.history.fun[-4:]) <= 4 * np.finfo(float).eps * abs(result.fun)


METHODS = ["trust-region", "newton-cg", "lbfgs", "conjugate-gradient", "gradient-descent"]
WITHOUT_LIMIT = GradientNorm() & Feasibility()


@pytest.mark.parametrize("stopping", [None, WITHOUT_LIMIT, CostChange(iterations=2) & Feasibility()], ids=repr)
@pytest.mark.parametrize("inner", METHODS)
def test_a_wrong_gradient_is_no_success(inner, stopping):
    """Minimizations that cannot take a step leave the cost as it is, and the slack constraint holds."""
    result = run(
        Inequality(lambda x: x - 5, lambda x, y: y), method=AugmentedLagrangian(inner, max_inner=50),
        gradient=lambda x: -2 * D * x, stopping=stopping, callback=Interrupted(lambda r: None, 20),
    )  # fmt: skip
    assert (result.status, result.success) == (Status.STEP_TOO_SMALL, False)
    assert result.nit <= 5
    assert result.grad_norm > 1
    assert "check the gradient" in result.message


@pytest.mark.parametrize("inner", METHODS)
def test_a_run_that_ends_at_rounding_succeeds(inner):
    """There minimizations fail as well, but after others that did not."""
    stopping = CostChange(iterations=3) & Feasibility() | MaxIterations(60)
    result = run(method=AugmentedLagrangian(inner), stopping=stopping)
    assert result.status is Status.CONVERGED_COST
    assert result.fun == pytest.approx(run(stopping=TIGHT).fun, rel=1e-6)  # constraints hold to 1e-6


def test_preconditioner():
    calls = []

    def preconditioner(x, v):
        calls.append(1)
        w = v / (D + 1)
        return w - x * (x @ w)

    result = run(method=AugmentedLagrangian(LBFGS()), preconditioner=preconditioner, stopping=TIGHT)
    assert result.success
    assert len(calls) > 5
    np.testing.assert_allclose(result.x, run(stopping=TIGHT).x, atol=1e-7)


@pytest.mark.parametrize("penalty", [0.3, 20.0])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_derivatives_of_the_augmented_lagrangian(library, penalty):
    """Slopes of Taylor errors, on a product, with curved constraints of both kinds, some active."""
    manifold = Product(x=Sphere(6), frame=Stiefel(4, 2))
    like = np.empty(0) if library == "numpy" else torch.empty(0, dtype=torch.float64)
    x = manifold.random_point(1, like)
    d = D if library == "numpy" else torch.tensor(D)

    def f(p):
        return (d * p.x**2).sum() + (p.frame**3).sum()

    def h(p):
        return p.x[:4] * p.frame[:, 0] - 0.1

    def g(p):
        return p.frame**2 - 0.2

    def dh(p, y):
        gradient = manifold.point_type(0 * p.x, 0 * p.frame)
        gradient.x[:4] = y * p.frame[:, 0]
        gradient.frame[:, 0] = y * p.x[:4]
        return gradient

    def df(p):
        return manifold.point_type(2 * d * p.x, 3 * p.frame**2)

    def dg(p, y):
        return manifold.point_type(0 * p.x, 2 * y * p.frame)

    by_hand = library == "numpy"
    constraints = Constraints([Equality(h, dh if by_hand else None), Inequality(g, dg if by_hand else None)])
    multipliers = (0 * h(x) + 0.7, 0 * g(x) + 0.5)
    lagrangian = AugmentedObjective(
        as_objective(f, df if by_hand else None), constraints, manifold, multipliers, penalty
    )
    active = lagrangian.at(x).multipliers[1] > 0
    assert bool(active.any())
    value = float(f(x)) + float((h(x) * 0.7 + penalty / 2 * h(x) ** 2).sum())
    value += float(((0.5 + penalty * g(x)).clip(0, None) ** 2 - 0.25).sum()) / (2 * penalty)
    assert lagrangian.at(x).value == pytest.approx(value, rel=1e-13)
    assert check_gradient(lagrangian, manifold, point=x, rng=0)
    if not by_hand:
        assert check_hessian(lagrangian, manifold, point=x, rng=0)


@pytest.mark.parametrize("construct", [Equality, Inequality])
def test_gradients_by_hand_and_by_autograd_agree(construct):
    x, y = torch.tensor(X0), torch.tensor(C)
    given = Constraints(construct(lambda x: x**3 + x.sum(), lambda x, y: 3 * x**2 * y + y.sum())).at(x)[0]
    derived = Constraints(construct(lambda x: x**3 + x.sum())).at(x)[0]
    np.testing.assert_allclose(derived.gradient(y), given.gradient(y), rtol=1e-13)
    np.testing.assert_array_equal(derived.values, given.values)


class Riemannian:
    riemannian = True

    def value_and_gradient(self, x):
        return cost(x), gradient(x)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"f": 3.0}, TypeError, r"objective must be callable.*float"),
        ({"f": ObjectiveProblem(as_objective(cost, gradient), Sphere(6))}, TypeError, r"objective must have Euclidean"),
        ({"f": Riemannian(), "gradient": None}, TypeError, r"objective must have Euclidean derivatives.*Riemannian"),
        ({"gradient": None}, TypeError, r"gradient is missing"),
        ({"constraints": ()}, ValueError, r"constraints must not be empty; minimize solves"),
        ({"constraints": None}, TypeError, r"constraints must be an Equality, an Inequality or a list.*None"),
        ({"constraints": [BELOW, lambda x: x]}, TypeError, r"constraints\[1\] must be a Constraint such as Inequality"),
        ({"method": "lbfgs"}, TypeError, r"method must be an AugmentedLagrangian such as .*inner=\"lbfgs\".*'lbfgs'"),
        ({"method": LBFGS()}, TypeError, r"method must be an AugmentedLagrangian"),
        ({"stopping": 3}, TypeError, r"stopping must be a StoppingCriterion such as GradientNorm"),
        ({"callback": 3}, TypeError, r"callback must be a callable, got int"),
        ({"preconditioner": 3}, TypeError, r"preconditioner must be a callable, got int"),
        ({"x0": np.ones(6)}, ValueError, r"x0 is far off the manifold"),
        ({"x0": X0 * np.nan}, ValueError, r"x0 contains NaN"),
        ({"f": lambda x: np.nan}, ValueError, r"objective must be finite at the start point x0"),
        # what constraints return
        ({"constraints": Equality(lambda x: x)}, TypeError, r"constraints\[0\] needs a gradient: pass gradient=\.\.\."),
        ({"constraints": [BELOW, Equality(lambda x: [1.0], gradient)]}, TypeError, r"constraints\[1\] must return an"),
        ({"constraints": Equality(lambda x: x.astype("f"), gradient)}, TypeError, r"constraints\[0\] returns numpy"),
        ({"constraints": Equality(lambda x: x * np.nan, gradient)}, ValueError, r"constraints\[0\] must be finite at"),
        ({"constraints": Equality(lambda x: x[:0], gradient)}, ValueError, r"constraints\[0\] must return at least"),
        ({"constraints": Equality(lambda x: x, lambda x, y: y[:2])}, ValueError, r"constraints\[0\].gradient has shap"),
        ({"constraints": Equality(lambda x: x, lambda x, y: None)}, TypeError, r"constraints\[0\].gradient must be"),
        # multipliers
        ({"multipliers": [np.ones(6)]}, ValueError, r"multipliers must be a sequence of 2 arrays"),
        ({"multipliers": 3.0}, ValueError, r"multipliers must be a sequence of 2 arrays"),
        ({"multipliers": [np.array(0.0), np.ones(5)]}, ValueError, r"multipliers\[1\] has shape \(5,\).*shape \(6,\)"),
        ({"multipliers": [np.array(0.0), -np.ones(6)]}, ValueError, r"multipliers\[1\] must not be negative"),
        ({"multipliers": [np.array(np.nan), np.ones(6)]}, ValueError, r"multipliers\[0\] contains NaN"),
        ({"multipliers": [None, np.ones(6)]}, TypeError, r"multipliers\[0\] must be numpy float64 cpu.*got NoneType"),
        ({"multipliers": [np.array(0.0), np.ones(6, "f")]}, TypeError, r"multipliers\[1\] must be.*got numpy float32"),
    ],
)  # fmt: skip
def test_bad_input(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        run(**changes)
    assert caught.type is error


def test_bad_manifold():
    with pytest.raises(TypeError, match="manifold must be a Manifold, got str"):
        minimize_constrained(cost, "sphere", BELOW, X0, gradient=gradient)


def test_values_that_change_their_shape():
    calls = itertools.count()
    constraint = Equality(lambda x: x[: 2 if next(calls) < 3 else 3], lambda x, y: 0 * x)
    with pytest.raises(
        ValueError, match=r"constraints\[0\] returns values of shape \(3,\), but had \(2,\) at the start"
    ):
        run(constraint)


def test_a_constraint_that_autograd_cannot_differentiate():
    x0 = torch.tensor(X0)
    with pytest.raises(TypeError, match=r"constraints\[0\] does not depend on the point through torch operations"):
        minimize_constrained(lambda x: (x**3).sum(), Sphere(6), Equality(lambda x: x.detach()), x0)


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: Equality(3.0), TypeError, r"function must be a callable, got float"),
        (lambda: Inequality(None), TypeError, r"function must be a callable, got NoneType"),
        (lambda: Inequality(cost, 3.0), TypeError, r"gradient must be a callable, got float"),
        (lambda: AugmentedLagrangian("newton"), ValueError, r"method must be one of .*got 'newton'"),
        (lambda: AugmentedLagrangian(3), TypeError, r"method must be a name or a method"),
        (lambda: AugmentedLagrangian(penalty=0.0), ValueError, r"penalty must be positive and finite, got 0.0"),
        (lambda: AugmentedLagrangian(penalty=np.inf), ValueError, r"penalty must be positive and finite, got inf"),
        (lambda: AugmentedLagrangian(penalty="1"), TypeError, r"penalty must be a number, got '1'"),
        (lambda: AugmentedLagrangian(growth=1.0), ValueError, r"growth must be above 1, got 1.0"),
        (lambda: AugmentedLagrangian(growth=None), TypeError, r"growth must be a number, got None"),
        (lambda: AugmentedLagrangian(decrease=1.0), ValueError, r"0 < decrease < 1 must hold, got 1.0"),
        (lambda: AugmentedLagrangian(tightening=0.0), ValueError, r"0 < tightening < 1 must hold, got 0.0"),
        (lambda: AugmentedLagrangian(max_multiplier=-1.0), ValueError, r"max_multiplier must be at least 0"),
        (lambda: AugmentedLagrangian(max_inner=0), ValueError, r"max_inner must be at least 1, got 0"),
        (lambda: AugmentedLagrangian(max_inner=2.5), TypeError, r"max_inner must be an integer, got 2.5"),
    ],
)
def test_constructors(construct, error, message):
    with pytest.raises(error, match=message) as caught:
        construct()
    assert caught.type is error
