"""Stopping criteria on hand-written histories and in runs."""

from __future__ import annotations

import itertools
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from manifolds import Euclidean, Sphere
from rankopt import (
    AllOf,
    AnyOf,
    ConjugateGradient,
    CostChange,
    Feasibility,
    GradientNorm,
    LineSearch,
    MaxEvaluations,
    MaxIterations,
    MaxTime,
    Progress,
    Status,
    StepSize,
    TargetCost,
    minimize,
)

DOUBLE, SINGLE = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)
A = np.diag(np.linspace(1.0, 5.0, 6))


def progress(epsilon=DOUBLE, **history):
    """Record of a run from the columns that a test gives; the others are zeros."""
    length = len(next(iter(history.values())))
    names = ("fun", "grad_norm", "step_size", "time", "nfev", "ngev")
    return Progress({name: [0.0] * length for name in names} | history, epsilon)


def run(stopping, **options):
    x0 = Sphere(6).random_point(rng=0)
    return minimize(lambda x: x @ A @ x, Sphere(6), x0, gradient=lambda x: 2 * A @ x, stopping=stopping, **options)


@pytest.mark.parametrize(
    ("criterion", "history", "expected"),
    [
        (GradientNorm(absolute=1e-3), {"grad_norm": [5.0, 1.1e-3]}, None),
        (GradientNorm(absolute=1e-3), {"grad_norm": [5.0, 1e-3]}, Status.CONVERGED_GRADIENT),
        (GradientNorm(relative=1e-3), {"grad_norm": [5.0, 5.1e-3]}, None),
        (GradientNorm(relative=1e-3), {"grad_norm": [5.0, 5e-3]}, Status.CONVERGED_GRADIENT),
        (GradientNorm(1e-3, 1e-3), {"grad_norm": [5.0, 6e-3]}, Status.CONVERGED_GRADIENT),
        (GradientNorm(1e-3, 1e-3), {"grad_norm": [5.0, 6.1e-3]}, None),
        (GradientNorm(absolute=0.0), {"grad_norm": [5.0, 1e-300]}, None),
        (CostChange(1e-2, iterations=2), {"fun": [9.0, 1.0]}, None),
        (CostChange(1e-2, iterations=2), {"fun": [9.0, 1.0, 1.0]}, None),
        (CostChange(1e-2, iterations=2), {"fun": [9.0, 1.005, 1.009, 1.0]}, Status.CONVERGED_COST),
        (CostChange(1e-2, iterations=2), {"fun": [9.0, 1.02, 1.0, 1.0]}, None),
        (CostChange(1e-2, iterations=2), {"fun": [-9.0, -1.005, -1.0, -1.0]}, Status.CONVERGED_COST),
        (CostChange(0.0, iterations=1), {"fun": [2.0, 2.0]}, Status.CONVERGED_COST),
        (Feasibility(1e-3), {"constraint_violation": [1e-3], "complementarity": [1.1e-3]}, None),
        (Feasibility(1e-3), {"constraint_violation": [1.1e-3], "complementarity": [0.0]}, None),
        (Feasibility(1e-3), {"constraint_violation": [5.0, 1e-3], "complementarity": [0.0, 1e-3]}, Status.FEASIBLE),
        (TargetCost(-1.0), {"fun": [0.0, -0.9]}, None),
        (TargetCost(-1.0), {"fun": [0.0, -1.0]}, Status.CONVERGED_COST),
        (StepSize(1e-3), {"step_size": [0.0]}, None),
        (StepSize(1e-3), {"step_size": [0.0, 2e-3]}, None),
        (StepSize(1e-3), {"step_size": [0.0, 1e-3]}, Status.STEP_TOO_SMALL),
        (MaxIterations(2), {"fun": [1.0, 1.0]}, None),
        (MaxIterations(2), {"fun": [1.0, 1.0, 1.0]}, Status.ITERATION_LIMIT),
        (MaxIterations(0), {"fun": [1.0]}, Status.ITERATION_LIMIT),
        (MaxEvaluations(7), {"nfev": [1, 6]}, None),
        (MaxEvaluations(7), {"nfev": [1, 7]}, Status.EVALUATION_LIMIT),
        (MaxEvaluations(7, "n_passes"), {"nfev": [1, 50], "n_passes": [1, 6]}, None),
        (MaxEvaluations(7, "n_passes"), {"nfev": [1, 1], "n_passes": [1, 8]}, Status.EVALUATION_LIMIT),
        (MaxTime(2.0), {"time": [0.1, 1.9]}, None),
        (MaxTime(2.0), {"time": [0.1, 2.0]}, Status.TIME_LIMIT),
    ],
    ids=str,
)
def test_criterion(criterion, history, expected):
    assert criterion.check(progress(**history)) is expected


@pytest.mark.parametrize(("epsilon", "tolerance"), [(DOUBLE, 1e-6), (SINGLE, 1e-3)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_default_tolerance_depends_on_the_dtype_and_not_on_the_scale(epsilon, tolerance, scale):
    below, above = 2.9 * tolerance * scale, 3.1 * tolerance * scale
    seen = {"fun": [2.0 * scale, scale]}
    assert GradientNorm().check(progress(epsilon, grad_norm=[3.0 * scale, below], **seen)) is Status.CONVERGED_GRADIENT
    assert GradientNorm().check(progress(epsilon, grad_norm=[3.0 * scale, above], **seen)) is None


@pytest.mark.parametrize(("epsilon", "tolerance"), [(DOUBLE, 1e-6), (SINGLE, 1e-3)])
def test_default_feasibility_depends_on_the_dtype(epsilon, tolerance):
    for violation, status in ((0.9 * tolerance, Status.FEASIBLE), (1.1 * tolerance, None)):
        seen = progress(epsilon, constraint_violation=[violation], complementarity=[0.0])
        assert Feasibility().check(seen) is status


def test_feasibility_needs_constraints():
    with pytest.raises(
        ValueError, match="Feasibility needs a problem with constraints, as minimize_constrained has it"
    ):
        run(Feasibility())


def test_a_start_at_the_optimum_ends_there():
    result = minimize(lambda x: x @ A @ x, Sphere(6), np.linalg.eigh(A)[1][:, 0], gradient=lambda x: 2 * A @ x)
    assert (result.status, result.nit) == (Status.CONVERGED_GRADIENT, 0)


def test_default_change_of_the_cost_is_rounding():
    still = [1.0 + DOUBLE, *[1.0] * 10]
    assert CostChange().check(progress(fun=still)) is Status.CONVERGED_COST
    assert CostChange().check(progress(fun=[1.0 + 1e-14, *still[1:]])) is None
    assert CostChange().check(progress(fun=still[1:])) is None


def test_default_stopping_of_minimize():
    result = run(None)
    start, last, before = (result.history.grad_norm[i] for i in (0, -1, -2))
    assert last <= 1.001e-6 * start < before

    single = A.astype(np.float32)
    x0 = Sphere(6).random_point(rng=0, like=single)
    result = minimize(lambda x: x @ single @ x, Sphere(6), x0, gradient=lambda x: 2 * single @ x)
    start, last, before = (result.history.grad_norm[i] for i in (0, -1, -2))
    assert last <= 1.001e-3 * start < before


def test_default_limit_of_iterations():
    # A cost that falls for ever, by steps of the same length.
    class ConstantStep(LineSearch):
        def search(self, curve, state, slope, step, previous_values=()):
            return 0.5

    method = ConjugateGradient(line_search=ConstantStep())
    result = minimize(lambda x: -x[0], Euclidean(1), np.zeros(1), method, gradient=lambda x: -np.ones(1))
    assert result.status is Status.ITERATION_LIMIT
    assert result.nit == 1000


YES, ALSO, NO = MaxIterations(0), TargetCost(1.0), MaxIterations(9)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (YES | NO, Status.ITERATION_LIMIT),
        (NO | YES, Status.ITERATION_LIMIT),
        (NO | ALSO | YES, Status.CONVERGED_COST),
        (YES | ALSO, Status.ITERATION_LIMIT),
        (NO | NO, None),
        (YES & NO, None),
        (NO & YES, None),
        (YES & ALSO, Status.ITERATION_LIMIT),
        (ALSO & YES, Status.CONVERGED_COST),
        (ALSO & YES & NO, None),
        ((NO & YES) | ALSO, Status.CONVERGED_COST),
        ((NO | YES) & ALSO, Status.ITERATION_LIMIT),
    ],
)
def test_combinations(criterion, expected):
    assert criterion.check(progress(fun=[1.0])) is expected


def test_combinations_are_values():
    assert AnyOf((YES, NO)) == (YES | NO)
    assert AllOf((YES, NO)) == (YES & NO)
    assert hash(YES | NO) == hash(AnyOf((YES, NO)))


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_message_and_says_whether_it_is_a_success(status):
    succeeds = {"CONVERGED_GRADIENT", "CONVERGED_COST", "APPROXIMATION_FLOOR", "FEASIBLE"}
    assert status.success is (status.name in succeeds)
    assert status.message.endswith(".")
    assert len({s.message for s in Status}) == len(Status)


@pytest.mark.parametrize(
    ("stopping", "status"),
    [
        (GradientNorm(absolute=1e-4), Status.CONVERGED_GRADIENT),
        (CostChange(1e-6), Status.CONVERGED_COST),
        (TargetCost(1.5), Status.CONVERGED_COST),
        (StepSize(10.0), Status.STEP_TOO_SMALL),
        (MaxIterations(3), Status.ITERATION_LIMIT),
        (MaxEvaluations(10), Status.EVALUATION_LIMIT),
        (MaxEvaluations(10, counted="ngev"), Status.EVALUATION_LIMIT),
        (MaxTime(0.0), Status.TIME_LIMIT),
        (GradientNorm(absolute=1e-4) | MaxIterations(2), Status.ITERATION_LIMIT),
    ],
    ids=str,
)
def test_runs_end_with_the_status_of_their_criterion(stopping, status):
    result = run(stopping)
    assert result.status is status
    assert result.success is status.success
    assert result.message == status.message


def test_criteria_hold_at_the_end_of_a_run_and_not_before():
    result = run(TargetCost(1.5))
    assert result.fun <= 1.5 < result.history.fun[-2]
    result = run(MaxEvaluations(10, counted="ngev"))
    assert result.history.ngev[-2] < 10 <= result.ngev


def test_max_time_with_a_clock(monkeypatch):
    ticks = itertools.count(start=100.0, step=0.5)
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(import_module("rankopt.minimize"), "time", clock)
    result = run(MaxTime(2.0))
    # The clock is read once at the beginning and once per entry of the history.
    np.testing.assert_array_equal(result.history.time, [0.5, 1.0, 1.5, 2.0])
    assert result.status is Status.TIME_LIMIT


def test_unknown_count_is_named():
    with pytest.raises(ValueError, match=r"counted must be one of \[.*'nfev'.*\], got 'n_passes'"):
        run(MaxEvaluations(5, counted="n_passes"))
