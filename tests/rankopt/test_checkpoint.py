"""Runs that are cut into pieces by checkpoints, against the same run in one piece: equal to the last bit."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch

import rankopt.checkpoint
from manifolds import (
    QR,
    GeneralizedStiefel,
    Grassmann,
    Product,
    PSDFixedRank,
    SampledFunction,
    SampledManifold,
    Sphere,
    Stiefel,
    from_pymanopt,
)
from manifolds.objective import as_objective
from rankopt import (
    LBFGS,
    Armijo,
    Checkpoint,
    ConjugateGradient,
    GradientDescent,
    GradientNorm,
    MaxIterations,
    MaxTime,
    Method,
    NewtonCG,
    ObjectiveProblem,
    QuadraticObjective,
    Status,
    Step,
    TrustRegion,
    minimize,
)
from tests.arrays import DOUBLE, KINDS, Kind, kind_of, parts
from tests.arrays import spd as spd_matrix
from tests.manifolds.library_manifolds import SquaredDistance, SquaredDistanceOfGrams
from tests.manifolds.surfaces import sphere
from tests.manifolds.zoo import ZOO
from tests.rankopt.test_interrupt import Interrupting

METHODS = {
    "cg": ConjugateGradient(),
    "descent": GradientDescent(),
    "lbfgs": LBFGS(memory=3),
    "newton-cg": NewtonCG(),
    "trust-region": TrustRegion(initial_radius=0.05),
}
MANIFOLDS = (
    "sphere", "stiefel-qr", "canonical-exponential", "grassmann-polar", "positive-definite", "generalized-dense",
    "fixed-rank", "two-factors", "product", "power-of-rotations", "psd-fixed-rank",
)  # fmt: skip
MANIFOLD = Stiefel(8, 2)
X0 = MANIFOLD.random_point(rng=1)


@pytest.fixture
def f(trace_objective):
    """Brockett's cost."""
    d = np.array([1.0, 2.0])
    a = spd_matrix(8, 20.0, seed=0)
    objective = trace_objective(a)
    objective.cost = lambda x: np.sum(x * (a @ x) * d)
    objective.gradient = lambda x: 2 * (a @ x) * d
    objective.hessian = lambda x, v: 2 * (a @ v) * d
    return objective


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run.npz"


def pieces(run, file, ends):
    """Result of a run that is stopped at some of its steps and resumed each time."""
    for end in ends:
        result = run(stopping=MaxIterations(end), checkpoint=Checkpoint(file))
    return result


def assert_same_run(result, whole):
    """Points, histories and counts are equal to the last bit; only the clock is another one."""
    assert list(result) == list(whole)
    assert list(result.history) == list(whole.history)
    for a, b in zip(parts(result.x), parts(whole.x), strict=True):
        assert kind_of(a) == kind_of(b)
        np.testing.assert_array_equal(*(part.cpu() if hasattr(part, "cpu") else part for part in (a, b)))
    for name in set(whole) - {"x", "history"}:
        assert result[name] == whole[name], name
    for name in set(whole.history) - {"time"}:
        np.testing.assert_array_equal(result.history[name], whole.history[name], err_msg=name)
        assert result.history[name].dtype == whole.history[name].dtype
    assert np.all(np.diff(result.history.time) >= 0)


class SquaredDistanceOfMatrices(SquaredDistance):
    """Of matrices kept as factors."""

    def __init__(self, goal):
        super().__init__(goal.to_dense())

    def __call__(self, x):
        return super().__call__(x.to_dense())

    def gradient(self, x):
        return x.to_dense() - self.goal

    def hessian(self, x, v):
        return v.to_dense()


def cost_on(manifold, kind):
    """Squared distance from a random point."""
    goal = manifold.random_point(5, kind.like)
    if manifold.factored:
        return SquaredDistanceOfMatrices(goal)
    return (SquaredDistanceOfGrams if isinstance(manifold, (Grassmann, PSDFixedRank)) else SquaredDistance)(goal)


@pytest.mark.parametrize("kind", [DOUBLE, Kind("torch", "float32")], ids=str)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MANIFOLDS)
def test_every_method_goes_on_to_the_same_bits(name, method, kind, file):
    manifold = ZOO[name].build(kind)
    cost = cost_on(manifold, kind)
    x0 = manifold.random_point(9, kind.like)
    run = partial(minimize, cost, manifold, x0, METHODS[method], gradient=cost.gradient, hessian=cost.hessian)
    whole = run(stopping=MaxIterations(7))
    assert whole.nit > 2
    assert_same_run(pieces(run, file, (0, 2, 3, 7)), whole)


@pytest.mark.parametrize("method", ["lbfgs", "trust-region"])
def test_arrays_that_lie_by_columns_stay_so(method, file):
    """The Q of torch's QR decomposition does, and products of matrices round differently with rows."""
    a = torch.from_numpy(np.random.default_rng(0).standard_normal((150, 150)))
    d = torch.arange(1.0, 13.0, dtype=torch.float64)
    manifold = Stiefel(150, 12, retraction=QR())
    x0 = manifold.random_point(1, like=a)
    run = partial(minimize, lambda x: ((x * (a @ x) * d).sum(), (a @ x + a.T @ x) * d), manifold, x0, gradient=True)
    assert_same_run(
        pieces(partial(run, method=METHODS[method]), file, (5, 17, 40)),
        run(method=METHODS[method], stopping=MaxIterations(40)),
    )


@pytest.mark.parametrize("method", ["trust-region", "lbfgs"])
def test_costs_that_autograd_differentiates(method, file):
    a = torch.diag(torch.arange(1.0, 6.0, dtype=torch.float64))
    manifold = Product(x=Sphere(5), y=Product(Sphere(5), Stiefel(5, 2)))
    x0 = manifold.random_point(rng=0, like=a)
    run = partial(
        minimize,
        lambda p: p.x @ a @ p.x + p.y.factor_0 @ a @ p.x + (p.y.factor_1.T @ a @ p.y.factor_1)[0, 0],
        manifold,
        x0,
        METHODS[method],
    )
    whole = run(stopping=MaxIterations(9))
    x0 = (x0.x, tuple(x0.y))  # plain tuples do as well
    assert_same_run(pieces(run, file, (1, 4, 9)), whole)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preconditioned", [False, True])
def test_preconditioned_runs(preconditioned, method, f, file):
    preconditioner = (lambda x, v: MANIFOLD.projection(x, v / 3)) if preconditioned else None
    run = partial(
        minimize, f.cost, MANIFOLD, X0, METHODS[method], gradient=f.gradient, hessian=f.hessian,
        preconditioner=preconditioner,
    )  # fmt: skip
    assert_same_run(pieces(run, file, (3, 8)), run(stopping=MaxIterations(8)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "manifold",
    [Stiefel(9, 3), GeneralizedStiefel(spd_matrix(9, 5.0, seed=1), 3), Sphere(9), Stiefel(9, 3, "canonical")],
)
def test_carried_products_are_carried_on(manifold, method, file, counting_operator):
    """At any age since they were true ones, which every fourth step takes, and with every count."""
    a = spd_matrix(9, 100.0, seed=0)
    counted = counting_operator(a)

    def run(operator=counted, **options):
        weights = np.arange(1.0, 4.0) if manifold.ndim == 2 else None
        quadratic = QuadraticObjective(operator, weights=weights, refresh=4, probe=False)
        return minimize(quadratic, manifold, manifold.random_point(0), METHODS[method], **options)

    whole = run(a, stopping=MaxIterations(11))
    assert_same_run(pieces(run, file, (2, 5, 11)), whole)
    # Each of two resumptions takes one product to see whether A is still the same.
    assert counted.products == whole.n_products + 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_sampled_functions(library, method, file):
    points = Kind(library, "float64")(sphere(800))
    manifold = SampledManifold(points, 2)
    values = points[:, 0] ** 2 + 2 * points[:, 1] ** 2 + 4 * points[:, 2] ** 2

    def run(**options):  # the function counts its evaluations, over all runs that use it
        return minimize(SampledFunction(manifold, values), manifold, points[0], METHODS[method], **options)

    assert_same_run(pieces(run, file, (1, 3)), run(stopping=MaxIterations(3)))


def test_manifolds_of_other_libraries(file):
    import pymanopt

    manifold = from_pymanopt(pymanopt.manifolds.FixedRankEmbedded(5, 4, 2))
    x0 = manifold.random_point(0)
    goal = manifold.random_point(1)
    target = (goal.u * goal.s) @ goal.vt
    run = partial(
        minimize,
        lambda x: 0.5 * np.sum(((x.u * x.s) @ x.vt - target) ** 2),
        manifold,
        x0,
        LBFGS(memory=2),
        gradient=lambda x: manifold.point_type(*factor_gradient(x, (x.u * x.s) @ x.vt - target)),
    )
    assert_same_run(pieces(run, file, (2, 6)), run(stopping=MaxIterations(6)))


def factor_gradient(x, residual):
    """Derivatives by the factors of X = U diag(s) V^T."""
    return (residual @ x.vt.T) * x.s, np.diag(x.u.T @ residual @ x.vt.T).copy(), (x.u * x.s).T @ residual


def test_a_program_that_goes_to_another_folder_meanwhile(f, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = partial(minimize, f.cost, MANIFOLD, X0, gradient=f.gradient, stopping=MaxIterations(4))
    run(checkpoint=Checkpoint("run.npz"), callback=lambda result: monkeypatch.chdir(elsewhere))
    assert saved_steps(tmp_path / "run.npz") == 4
    assert list(elsewhere.iterdir()) == []


def test_a_new_process_resumes(file, f):
    """What the file holds depends on no address in memory."""
    program = f"""
import numpy as np
from manifolds import Stiefel
from rankopt import LBFGS, Checkpoint, LineSearch, MaxIterations, Wolfe, minimize
class Own(LineSearch):
    def search(self, *arguments):
        return Wolfe().search(*arguments)
own = Own()
a, d = np.diag(np.arange(1.0, 9.0)), np.array([1.0, 2.0])
def run(steps, checkpoint=None):
    return minimize(
        lambda x: np.sum(x * (a @ x) * d), Stiefel(8, 2), np.linalg.qr(np.vander(np.arange(1.0, 9.0), 2))[0],
        LBFGS(line_search=own), gradient=lambda x: 2 * (a @ x) * d, stopping=MaxIterations(steps), checkpoint=checkpoint
    )
first, whole = run(3), run(7)
result = run(7 if Checkpoint({str(file)!r}) and __import__("os").path.exists({str(file)!r}) else 3,
             Checkpoint({str(file)!r}))
print(result.nit, bool(np.all(result.x == (whole if result.nit == 7 else first).x)))
"""
    outputs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert outputs == ["3 True\n", "7 True\n"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("where", ["cost", "gradient", "callback"])
@pytest.mark.parametrize("k", [2, 5, 13])
def test_interrupted_anywhere(k, where, error, f, file):
    """The file holds the last whole step, whatever ended the run."""
    run = partial(minimize, manifold=MANIFOLD, x0=X0, stopping=MaxIterations(15))
    whole = run(f.cost, gradient=f.gradient)
    calls = {"cost": f.cost, "gradient": f.gradient, "callback": lambda result: None}
    calls[where] = Interrupting(calls[where], k, error)
    try:
        result = run(calls["cost"], gradient=calls["gradient"], callback=calls["callback"], checkpoint=Checkpoint(file))
        assert result.status is Status.INTERRUPTED
        assert saved_steps(file) == result.nit
    except ZeroDivisionError:
        assert saved_steps(file) >= (k if where == "callback" else 0)
    assert_same_run(run(f.cost, gradient=f.gradient, checkpoint=Checkpoint(file)), whole)


def saved_steps(file):
    with np.load(file, allow_pickle=False) as arrays:
        return len(arrays["history/fun"]) - 1


def test_interrupted_while_a_step_is_recorded(f, file):
    """What the history has of it by then is left out."""

    class Counting(ObjectiveProblem):
        def __init__(self):
            super().__init__(as_objective(f.cost, f.gradient), MANIFOLD)
            self.counts = Interrupting(super().counts, None)

    def run(k=None, **options):
        problem = Counting()
        problem.counts.k = k
        return minimize(problem, MANIFOLD, X0, stopping=MaxIterations(9), **options)

    result = run(5, checkpoint=Checkpoint(file))
    assert (result.status, result.nit) == (Status.INTERRUPTED, 3)
    with np.load(file) as arrays:
        assert {array.size for name, array in arrays.items() if name.startswith("history")} == {4}
    assert_same_run(run(checkpoint=Checkpoint(file)), run())


def test_interrupted_while_the_file_is_replaced(f, file, monkeypatch):
    run = partial(minimize, f.cost, MANIFOLD, X0, gradient=f.gradient, stopping=MaxIterations(15))
    monkeypatch.setattr("os.replace", Interrupting(rankopt.checkpoint.os.replace, 4))
    result = run(checkpoint=Checkpoint(file, every_iterations=1))
    assert (result.status, result.nit) == (Status.INTERRUPTED, 3)
    assert saved_steps(file) == 3  # written again as the run ended
    assert_same_run(run(checkpoint=Checkpoint(file)), run())


def test_the_best_point_of_earlier_calls_is_remembered(file, spd, trace_objective):
    """Barzilai-Borwein steps are not monotone: an interruption gives the best point, of whatever call."""
    f = trace_objective(spd(8, 20.0))
    run = partial(minimize, manifold=MANIFOLD, x0=X0, method=GradientDescent(), gradient=f.gradient)
    whole = run(f.cost, stopping=MaxIterations(60))
    rises = np.flatnonzero(np.diff(np.minimum.accumulate(whole.history.fun)) == 0)
    assert rises.size > 0
    step = int(rises[0]) + 1
    run(f.cost, stopping=MaxIterations(step), checkpoint=Checkpoint(file))
    # The first calls evaluate the latest and the best point of the file.
    result = run(Interrupting(f.cost, 3), stopping=MaxIterations(60), checkpoint=Checkpoint(file))
    assert result.status is Status.INTERRUPTED
    assert result.nit == step
    assert result.fun == whole.history.fun[: step + 1].min() < whole.history.fun[step]
    assert result.ngev == result.history.ngev[-1]
    assert_same_run(run(f.cost, stopping=MaxIterations(60), checkpoint=Checkpoint(file)), whole)


@pytest.fixture
def written(monkeypatch):
    """Numbers of steps that the files which are written hold."""
    steps, replace = [], rankopt.checkpoint.replace_file

    def counted(path, write):
        replace(path, write)
        steps.append(saved_steps(path))

    monkeypatch.setattr(rankopt.checkpoint, "replace_file", counted)
    return steps


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ({"every_iterations": 3}, [0, 3, 6, 8]),
        ({"every_iterations": 4, "every_seconds": None}, [0, 4, 8]),
        ({"every_seconds": 0}, list(range(9))),
        ({"every_seconds": 1e9}, [0, 8]),
        ({"every_seconds": 0.0, "every_iterations": 5}, list(range(9))),
    ],
)
def test_intervals(intervals, expected, f, file, written):
    run = partial(minimize, f.cost, MANIFOLD, X0, gradient=f.gradient, checkpoint=Checkpoint(file, **intervals))
    run(stopping=MaxIterations(8))
    assert written == expected
    run(stopping=MaxIterations(8))
    assert written == expected  # nothing new


def test_a_run_that_has_ended_resumes_at_its_end(f, file, caplog):
    calls = Interrupting(f.cost, None)
    run = partial(minimize, calls, MANIFOLD, X0, gradient=f.gradient, checkpoint=Checkpoint(file))
    first = run()
    assert first.status is Status.CONVERGED_GRADIENT
    before = calls.calls
    with caplog.at_level(logging.INFO, logger="rankopt.checkpoint"):
        again = run()
    assert calls.calls == before + 1
    assert_same_run(again, first)
    np.testing.assert_array_equal(again.history.time, first.history.time)
    assert caplog.messages == [f"minimize goes on from {file} after {first.nit} steps"]
    further = run(stopping=GradientNorm(relative=1e-9))
    assert further.nit > first.nit
    np.testing.assert_array_equal(further.history.fun[: first.nit + 1], first.history.fun)


def test_time_goes_on(f, file):
    run = partial(minimize, f.cost, MANIFOLD, X0, gradient=f.gradient, checkpoint=Checkpoint(file))
    first = run(stopping=MaxIterations(3))
    second = run(stopping=MaxIterations(6))
    np.testing.assert_array_equal(second.history.time[:4], first.history.time)
    assert second.history.time[4] > first.history.time[3]
    third = run(stopping=MaxTime(second.history.time[-1]))  # over all calls, so it has passed
    assert (third.status, third.nit) == (Status.TIME_LIMIT, 6)


def test_a_disk_that_is_full_does_not_end_the_run(f, file, monkeypatch):
    run = partial(minimize, f.cost, MANIFOLD, X0, gradient=f.gradient, stopping=MaxIterations(8))
    monkeypatch.setattr("os.replace", Interrupting(rankopt.checkpoint.os.replace, 3, OSError("no space left")))
    with pytest.warns(RuntimeWarning, match=r"checkpoint: .*run.npz could not be written: no space left"):
        result = run(checkpoint=Checkpoint(file, every_iterations=1))
    assert_same_run(result, run())
    assert saved_steps(file) == 8


def test_the_file_needs_no_pickle_and_says_whose_it_is(f, file):
    minimize(f.cost, MANIFOLD, X0, "lbfgs", gradient=f.gradient, stopping=MaxIterations(3), checkpoint=Checkpoint(file))
    with np.load(file, allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        assert all(array.dtype != object for array in arrays.values())
    assert (header["format"], header["version"]) == ("rankopt checkpoint of minimize", 1)
    assert header["run"] == {
        "manifold": "Stiefel(8, 2) (default_retraction=CholeskyQR(max_condition=1000.0), metric='euclidean')",
        "problem": "ObjectiveProblem",
        "method": repr(LBFGS()),
        "preconditioner": "absent",
        "kind of points": "numpy float64 of shape (8, 2) on cpu",
    }
    assert [path.name for path in file.parent.iterdir()] == ["run.npz"]


class Kept(NamedTuple):
    """A memory of all that a checkpoint can hold."""

    step: float
    entries: tuple
    vector: np.ndarray


@dataclass(frozen=True)
class SteepestDescent(Method):
    """The method of CONTRIBUTING.md, which remembers a step and, to check that it comes back, other things."""

    def start(self, state, context):
        step = context.first_step(state, -state.squared_gradient_norm)
        return Kept(step, (1, None, True, "word", np.float32(0.1), float("inf"), -0.0), state.point[:, ::-1])

    def step(self, state, memory, context):
        number, none, true, word, single, infinite, zero = memory.entries
        assert (number, none, true, word, infinite) == (1, None, True, "word", float("inf"))
        assert type(number) is int
        assert type(true) is bool
        assert type(single) is np.float32
        assert np.signbit(zero)
        np.testing.assert_array_equal(memory.vector, X0[:, ::-1])
        curve = state.along(context.scaled(-1.0, state.gradient))
        t = Armijo().search(curve, state, -state.squared_gradient_norm, memory.step)
        return None if t is None else Step(curve.accept(t), memory._replace(step=2 * t), t)


def test_methods_of_ones_own(f, file):
    run = partial(minimize, f.cost, MANIFOLD, X0, SteepestDescent(), gradient=f.gradient)
    assert_same_run(pieces(run, file, (2, 5)), run(stopping=MaxIterations(5)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_points_on_a_cuda_device(file):
    kind = Kind("torch", "float64", "cuda")
    a, manifold = kind(spd_matrix(8, 20.0, seed=0)), Stiefel(8, 2)
    run = partial(minimize, lambda x: (x * (a @ x)).sum(), manifold, manifold.random_point(0, a), LBFGS())
    assert_same_run(pieces(run, file, (3, 8)), run(stopping=MaxIterations(8)))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind(kind, file):
    a = kind(spd_matrix(8, 20.0, seed=0))
    run = partial(
        minimize, lambda x: (x * (a @ x)).sum(), MANIFOLD, MANIFOLD.random_point(0, a), gradient=lambda x: 2 * a @ x
    )
    assert_same_run(pieces(run, file, (3, 8)), run(stopping=MaxIterations(8)))
