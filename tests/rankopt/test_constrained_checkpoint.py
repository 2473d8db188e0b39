"""Constrained runs that are cut into pieces by checkpoints: equal to the same run in one piece to the last bit."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import OptimizeResult

import rankopt.checkpoint
from manifolds import Euclidean, Polar, Product, Stiefel
from rankopt import (
    LBFGS,
    AugmentedLagrangian,
    Checkpoint,
    Equality,
    Feasibility,
    GradientDescent,
    GradientNorm,
    Inequality,
    MaxEvaluations,
    MaxIterations,
    MaxTime,
    Status,
    minimize,
    minimize_constrained,
)
from tests.arrays import spd
from tests.rankopt.test_checkpoint import METHODS, assert_same_run
from tests.rankopt.test_interrupt import Interrupting

N = 7
A, C = spd(N, 30.0, seed=0), np.random.default_rng(1).standard_normal((N, 2))
MANIFOLD = Stiefel(N, 2)
X0 = MANIFOLD.random_point(2)
WEIGHTS = np.array([1.0, 2.0])
ORTHOGONAL = Equality(lambda x: C[:, 0] @ x, lambda x, y: C[:, :1] * y)
BELOW = Inequality(lambda x: x - 0.5, lambda x, y: y)
TIGHT = GradientNorm(relative=1e-9) & Feasibility(1e-8) | MaxIterations(9)


def cost(x):
    return (x * (A @ x) * WEIGHTS).sum()


def gradient(x):
    return 2 * (A @ x) * WEIGHTS


def run(file=None, f=cost, constraints=(ORTHOGONAL, BELOW), x0=X0, inner="lbfgs", method=None, **options):
    options = {"manifold": MANIFOLD, "gradient": gradient, "stopping": TIGHT, "every_iterations": 60} | options
    checkpoint = None if file is None else Checkpoint(file, every_iterations=options["every_iterations"])
    del options["every_iterations"]
    method = AugmentedLagrangian(inner) if method is None else method
    return minimize_constrained(f, options.pop("manifold"), constraints, x0, method, checkpoint=checkpoint, **options)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run.npz"


@pytest.fixture
def written(monkeypatch, tmp_path_factory):
    """Copies of all files that are written: what a run that is killed at any moment leaves."""
    copies, replace, folder = [], rankopt.checkpoint.replace_file, tmp_path_factory.mktemp("copies")

    def copied(path, write):
        replace(path, write)
        copies.append(shutil.copy(path, folder / f"{len(copies)}.npz"))

    monkeypatch.setattr(rankopt.checkpoint, "replace_file", copied)
    return copies


def assert_same(result, whole):
    for a, b in zip(result.multipliers, whole.multipliers, strict=True):
        assert type(a) is type(b)
        np.testing.assert_array_equal(a, b)
    without = [OptimizeResult({name: r[name] for name in r if name != "multipliers"}) for r in (result, whole)]
    assert_same_run(*without)


@pytest.mark.parametrize("inner", METHODS.values(), ids=METHODS)
def test_every_method_goes_on_from_wherever_it_was_killed(inner, file, written):
    whole = run(inner=inner)
    assert whole.nit > 3
    assert_same(run(file, inner=inner, every_iterations=1), whole)
    assert len(written) >= whole.inner_nit
    for copy in written[:: max(len(written) // 25, 1)] + written[-2:]:
        assert_same(run(copy, inner=inner), whole)


def test_the_penalty_rises_as_it_would_have(file, written):
    """By the residuals of minimizations before, those of earlier calls among them."""
    method = AugmentedLagrangian(LBFGS(), penalty=1.0, decrease=0.2, growth=3.0)
    whole = run(method=method)
    assert np.count_nonzero(np.diff(whole.history.penalty)) >= 2
    run(file, method=method, every_iterations=1)
    for copy in written[::4]:
        assert_same(run(copy, method=method), whole)


@pytest.mark.parametrize("inner", METHODS.values(), ids=METHODS)
def test_pieces_that_end_between_minimizations(inner, file):
    for end in (0, 1, 3, 6):
        result = run(file, inner=inner, stopping=MaxIterations(end))
        assert result.nit == end
    assert_same(result, run(inner=inner, stopping=MaxIterations(6)))


@pytest.mark.parametrize("inner", ["trust-region", "lbfgs"])
def test_products_of_torch_points_by_autograd(inner, file, written):
    a, c = torch.tensor(A), torch.tensor(C)
    manifold = Product(frame=Stiefel(N, 2), shift=Euclidean(2))
    x0 = manifold.random_point(0, like=a)
    constraints = [Equality(lambda p: c.mT @ p.frame - p.shift), Inequality(lambda p: p.shift - 0.1)]
    arguments = {
        "f": lambda p: (p.frame * (a @ p.frame)).sum() + (p.shift**2).sum(), "constraints": constraints, "x0": x0,
        "manifold": manifold, "inner": inner, "gradient": None,
    }  # fmt: skip
    whole = run(**arguments)
    assert_same(run(file, every_iterations=1, **arguments), whole)
    for copy in written[:: max(len(written) // 12, 1)]:
        assert_same(run(copy, **arguments | {"x0": (x0.frame, x0.shift)}), whole)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("k", [2, 6, 23, 60])
@pytest.mark.parametrize("where", ["cost", "gradient", "constraint"])
def test_interrupted_anywhere(where, k, error, file):
    whole = run()
    parts = {"cost": cost, "gradient": gradient, "constraint": ORTHOGONAL.function}
    parts[where] = Interrupting(parts[where], k, error)
    constraints = [Equality(parts["constraint"], ORTHOGONAL.gradient), BELOW]
    interrupted = partial(run, file, parts["cost"], constraints, gradient=parts["gradient"])
    if error is KeyboardInterrupt:
        result = interrupted()
        assert result.status is Status.INTERRUPTED
        assert {values.shape for values in result.history.values()} == {(result.nit + 1,)}
    else:
        with pytest.raises(ZeroDivisionError):
            interrupted()
    assert file.exists()
    assert_same(run(file), whole)


def test_interrupted_again_and_again(file):
    """Among others while a saved point is evaluated, when nothing is lost."""
    whole, results = run(), []
    for k in (9, 2, 1, 30, 4, 3, 55):
        results.append(run(file, Interrupting(cost, k)))
        assert results[-1].status is Status.INTERRUPTED
    assert results[2].nit == 0
    assert np.isnan(results[2].fun)
    assert_same(run(file), whole)


@pytest.mark.parametrize("k", [1, 3])
def test_interrupted_in_the_callback(k, file):
    result = run(file, callback=Interrupting(lambda r: None, k))
    assert (result.status, result.nit) == (Status.INTERRUPTED, k)
    seen = []
    assert_same(run(file, callback=seen.append), run())
    assert seen[0].nit == k + 1
    ended = run(file.with_name("other.npz"), callback=Interrupting(lambda r: None, k, StopIteration))
    assert (ended.status, ended.nit) == (Status.USER, k)
    assert_same(run(file.with_name("other.npz")), run())


@pytest.mark.parametrize("counted", ["nfev", "constr_ngev"])
def test_a_minimization_that_a_limit_ended_goes_on(counted, file):
    method = AugmentedLagrangian(LBFGS(), tightening=1e-5)
    whole = run(method=method)
    for limit in (1, 20, 21, 50):
        result = run(file, method=method, stopping=TIGHT | MaxEvaluations(limit, counted))
        assert result.status is Status.EVALUATION_LIMIT
        assert limit <= result[counted] < limit + 20
    assert_same(run(file, method=method), whole)


def test_time_goes_on(file):
    first = run(file, stopping=MaxIterations(2))
    second = run(file, stopping=MaxIterations(4))
    np.testing.assert_array_equal(second.history.time[:3], first.history.time)
    third = run(file, stopping=MaxTime(second.history.time[-1]))  # over all calls, so it has passed
    assert (third.status, third.nit) == (Status.TIME_LIMIT, 4)


@pytest.mark.parametrize("status", [Status.CONVERGED_GRADIENT, Status.STEP_TOO_SMALL])
def test_a_run_that_has_ended_returns_at_once(status, file, caplog):
    wrong = {"constraints": Inequality(lambda x: x - 5, lambda x, y: y), "gradient": lambda x: -gradient(x)}
    options = {"stopping": None} | (wrong if status is Status.STEP_TOO_SMALL else {})
    f = Interrupting(cost, None)
    first = run(file, f, **options)
    assert first.status is status
    before = f.calls
    with caplog.at_level(logging.INFO, logger="rankopt.checkpoint"):
        again = run(file, f, **options)
    assert f.calls == before + 1
    assert_same(again, first)
    np.testing.assert_array_equal(again.history.time, first.history.time)
    assert caplog.messages == [f"minimize_constrained goes on from {file} after {first.inner_nit} steps"]


def test_a_run_that_has_ended_goes_on_to_more_digits(file):
    """From the same first steps; only the last minimization was less exact."""
    loose = run(file, stopping=GradientNorm(relative=1e-2) & Feasibility(1e-2))
    assert loose.status is Status.CONVERGED_GRADIENT
    further = run(file, stopping=GradientNorm() & Feasibility() | MaxIterations(30))
    assert further.status is Status.CONVERGED_GRADIENT
    assert further.nit > loose.nit
    np.testing.assert_array_equal(further.history.fun[: loose.nit + 1], loose.history.fun)


def test_intervals_count_steps_of_minimizations(file, written):
    run(file, every_iterations=10)
    steps = [rankopt_steps(copy) for copy in written]
    assert steps[0] == 0
    assert steps[-1] == run().inner_nit
    assert all(after - before >= 10 for before, after in pairwise(steps[:-1]))


def rankopt_steps(file):
    """Steps of minimizations that a file holds, by the lengths of its histories."""
    with np.load(file, allow_pickle=False) as arrays:
        return int(arrays["outer history/inner_nit"][-1]) + len(arrays["history/fun"]) - 1


def assert_refused(file, message, **changes):
    before = file.read_bytes()
    with pytest.raises(ValueError, match=message) as caught:
        run(file, **changes)
    assert str(file) in str(caught.value)
    assert "name another file" in str(caught.value)
    assert file.read_bytes() == before


OTHER = "belongs to another run: its "
STEEPEST = AugmentedLagrangian(GradientDescent())


@pytest.mark.parametrize("end", [MaxIterations(2), MaxEvaluations(12)], ids=["between", "within"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifold": Stiefel(N, 2, retraction=Polar())}, OTHER + "manifold is .*CholeskyQR.* this run is .*Polar"),
        ({"manifold": Stiefel(N, 3), "x0": np.eye(N, 3)}, OTHER + r"manifold is Stiefel\(7, 2\).*is Stiefel\(7, 3\)"),
        ({"x0": X0.astype("f")}, OTHER + "kind of points is numpy float64 .*, that of this run is numpy float32"),
        ({"x0": torch.tensor(X0)}, OTHER + "kind of points is numpy .*, that of this run is torch float64"),
        ({"constraints": ORTHOGONAL}, OTHER + "constraints is Equality, Inequality, that of this run is Equality;"),
        ({"constraints": (BELOW, ORTHOGONAL)}, OTHER + "constraints is .*, that of this run is Inequality, Equality"),
        ({"constraints": (ORTHOGONAL, BELOW, BELOW)}, OTHER + "constraints is .* is Equality, Inequality, Inequality"),
        ({"method": STEEPEST}, OTHER + r"augmented Lagrangian is .*LBFGS.*this run is .*GradientDescent"),
        ({"method": AugmentedLagrangian("lbfgs", growth=5.0)}, OTHER + r"augmented Lagrangian is .*growth=10.*=5"),
        ({"preconditioner": lambda x, v: v}, OTHER + "preconditioner is absent, that of this run is given"),
        ({"f": lambda x: cost(x) + 1}, r"the cost at the point of .*, but it was .*: objective, data or metric have"),
        ({"gradient": lambda x: 1.5 * gradient(x)}, r"the norm of the gradient at the point of .* but it was"),
        (
            {"constraints": (Equality(lambda x: C[:, 1] @ x, lambda x, y: C[:, 1:] * y), BELOW)},
            r"(the cost|the norm of the gradient) at the point of .* but it was",
        ),
        (
            {"constraints": (Equality(lambda x: C.T @ x, lambda x, y: C @ y), BELOW)},
            r"belongs to another run: values of constraints\[0\] have shape \(2, 2\), but had \(2,\);",
        ),
    ],
)  # fmt: skip
def test_another_run(changes, message, end, file):
    run(file, stopping=end)
    assert_refused(file, message, **changes)
    assert_same(run(file, method=AugmentedLagrangian(LBFGS())), run())  # the same method, whether named or not


def test_files_of_minimize_and_of_minimize_constrained(file):
    minimize(cost, MANIFOLD, X0, "lbfgs", gradient=gradient, stopping=MaxIterations(2), checkpoint=Checkpoint(file))
    assert_refused(file, OTHER + "problem is ObjectiveProblem, that of this run is AugmentedProblem")
    file.unlink()
    run(file, stopping=MaxIterations(1))
    with pytest.raises(ValueError, match=OTHER + "problem is AugmentedProblem, that of this run is ObjectiveProblem"):
        minimize(cost, MANIFOLD, X0, "lbfgs", gradient=gradient, checkpoint=Checkpoint(file))


def test_what_is_no_checkpoint():
    with pytest.raises(TypeError, match=r"checkpoint must be a Checkpoint such as Checkpoint\('run.npz'\), got 'run"):
        minimize_constrained(cost, MANIFOLD, BELOW, X0, gradient=gradient, checkpoint="run.npz")


def test_a_file_that_cannot_be_written_ends_the_run_at_its_start(file, monkeypatch):
    monkeypatch.setattr("os.replace", Interrupting(None, 1, OSError("read-only file system")))
    f = Interrupting(cost, None)
    with pytest.raises(OSError, match="read-only file system"):
        run(file, f)
    assert f.calls == 1
