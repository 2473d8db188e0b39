"""The benchmark set measures what it says: instruments, profiles and tables on hand-made numbers, and its problems."""

import itertools
import lzma
import random
import runpy
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks import _data, _table
from benchmarks.riemannian import __main__ as main
from benchmarks.riemannian import averages, completion, eigenproblems, graph_cuts, rotations
from benchmarks.riemannian.instances import Coordinates, Instance
from benchmarks.riemannian.instruments import CountedMatrix, Functions, Instrument, OutOfTime, Run, TargetReached, Task
from benchmarks.riemannian.profiles import best_of, draw, performance_ratios, profile
from benchmarks.riemannian.references import require_proof
from benchmarks.riemannian.report import Measured, run_rows, solver_rows, time_rows, verdict_rows, work_rows
from benchmarks.riemannian.solvers import GENERAL, OURS, general_solvers, special_solvers
from manifolds import Euclidean, Rotations, check_gradient, check_hessian

MODULES = (eigenproblems, rotations, averages, completion, graph_cuts)
TINY = {make.func.__name__: make for module in MODULES for size, make in module.instances() if size == "tiny"}
INF = float("inf")


# ---------------------------------------------------------------------------------------------------- profiles
def test_ratios_and_profile_of_three_solvers_on_four_problems():
    times = np.array([[1.0, 2.0, INF], [3.0, 1.5, 1.5], [INF, INF, 4.0], [INF, INF, INF]])
    ratios = performance_ratios(times)
    np.testing.assert_array_equal(ratios, [[1, 2, INF], [2, 1, 1], [INF, INF, 1], [INF, INF, INF]])
    shares = profile(ratios, np.array([1.0, 2.0, 100.0]))
    np.testing.assert_array_equal(shares, [[0.25, 0.25, 0.5], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(best_of(times, ["a", "b", "c"], ["a", "c"]), [1, 1.5, 4, INF])


def test_picture_of_profiles(tmp_path):
    panels = {"one": (np.array([[1.0, 2.0]]), ["a", "b"]), "two": (np.array([[INF, 2.0]]), ["a", "b"])}
    draw(panels, {"a": {}, "b": {"linestyle": "--"}}, tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")


# -------------------------------------------------------------------------------------------------- instruments
SQUARE = Functions(lambda x: float(x**2), lambda x: 2 * x, lambda x, v: 2 * v)


def ticking():
    """Clock that gains a second each time it is read."""
    return itertools.count().__next__


def test_instrument_counts_calls_and_keeps_the_times_of_targets():
    instrument = Instrument(SQUARE, (4.0, 1.0), limit=100, clock=ticking())
    assert instrument.cost(3.0) == 9
    assert instrument.gradient(3.0) == 6
    assert instrument.hessian(3.0, 2.0) == 4
    assert instrument.cost(2.0) == 4
    assert instrument.cost(5.0) == 25
    assert (instrument.best, instrument.point) == (4, None)
    with pytest.raises(TargetReached):
        instrument.cost(1.0)
    # The clock is read at the start and after each of the five calls but that of the gradient.
    assert instrument.reached == [3, 5]
    assert (instrument.costs, instrument.gradients, instrument.hessians, instrument.products) == (4, 1, 1, 0)
    assert (instrument.best, instrument.point) == (1, 1.0)


def test_instrument_ends_a_run_after_the_limit():
    instrument = Instrument(SQUARE, (0.0,), limit=2.5, clock=ticking())
    instrument.cost(3.0)
    instrument.hessian(3.0, 1.0)
    with pytest.raises(OutOfTime):
        instrument.cost(2.0)
    assert instrument.reached == [None]


def test_products_with_a_matrix_are_counted():
    instrument = Instrument(SQUARE, (0.0,), limit=10, clock=ticking())
    matrix = CountedMatrix(np.diag([1.0, 2.0]), instrument)
    np.testing.assert_array_equal(matrix @ np.ones(2), [1, 2])
    assert (instrument.products, matrix.shape) == (1, (2, 2))


def parabola(**changes):
    parts = {
        "problem": "parabola", "size": "tiny", "label": "one", "functions": SQUARE, "manifold": lambda: Euclidean(1),
        "start": lambda seed: 10.0, "optimum": 0.0, "infeasibility": lambda x: 0.0, "pymanopt": Coordinates,
    }  # fmt: skip
    return Instance(**parts | changes)


def stepping(instance, start, instrument):
    for x in (10.0, 1.0, 1e-2, 1e-6):
        instrument.cost(x)


@pytest.mark.parametrize(
    ("solve", "changes", "reached", "ended"),
    [
        (stepping, {}, (2, 4), "target"),
        (lambda instance, start, instrument: 1e-5, {}, (1, 1), "target"),
        (lambda instance, start, instrument: 1.0, {}, (1, None), "gave up"),
        (lambda instance, start, instrument: 1 / 0, {}, (None, None), "ZeroDivisionError"),
        (stepping, {"infeasibility": lambda x: 1e-3}, (None, None), "off the manifold"),
        (stepping, {"infeasibility": lambda x: float("nan")}, (None, None), "off the manifold"),
    ],
)
def test_what_a_run_reports(solve, changes, reached, ended):
    run = Task(parabola(**changes), 10.0, (1e-2, 1e-8), ticking()).measure(solve, limit=100)
    assert (run.reached, run.ended, run.solved) == (reached, ended, reached[-1] is not None)


def test_a_slow_run_is_ended():
    run = Task(parabola(), 10.0, (1e-2, 1e-8), ticking()).measure(stepping, limit=2.5)
    assert (run.reached, run.ended, run.excess) == ((2, None), "time", 0.01)


def test_a_solver_that_fails_once_before_the_rounds_is_measured_and_one_that_fails_twice_is_not(monkeypatch):
    calls = []

    def failing(times, instance, start, instrument):
        calls.append(times)
        if calls.count(times) <= times:
            raise ValueError
        stepping(instance, start, instrument)

    solvers = {f"fails {times}": partial(failing, times) for times in (1, 10)}
    monkeypatch.setattr(main, "general_solvers", lambda instance, tune: solvers)
    monkeypatch.setattr(main, "OURS", {"rankopt, default": None})
    instance = parabola(manifold=lambda: Euclidean(1), start=lambda seed: np.array([10.0]))
    functions = Functions(lambda x: float(np.sum(x**2)), lambda x: 2 * x, lambda x, v: 2 * v)
    measured = main.measure(replace(instance, functions=functions), 3, random.Random(0), ticking())
    assert [run.solved for run in measured.runs["fails 1"]] == [True, True, True]
    assert [run.ended for run in measured.runs["fails 10"]] == ["ValueError"]


def test_every_method_of_ours_is_measured_and_has_a_colour():
    assert set(OURS.values()) == {None, "newton-cg", "conjugate-gradient", "lbfgs", "gradient-descent"}
    lines = main.styles(GENERAL)
    assert len({line["color"] for line in lines.values()}) == len(GENERAL)


def test_only_whole_runs_write_the_tables_of_the_documentation(tmp_path):
    for name in ("smallGrid3D", "intel", "sphere2500", "torus3D"):
        (tmp_path / f"{name}.g2o.xz").touch()
    whole = {"size": ["tiny", "small", "large"], "problems": (), "rounds": None, "clock": "process", "graphs": tmp_path}
    assert main.is_whole(Namespace(**whole))
    for change in ({"size": ["tiny"]}, {"problems": ["cut"]}, {"rounds": 1}, {"clock": "wall"}):
        assert not main.is_whole(Namespace(**whole | change))
    (tmp_path / "intel.g2o.xz").unlink()
    assert not main.is_whole(Namespace(**whole))
    assert [path.name for path in rotations.missing(tmp_path)] == ["intel.g2o.xz"]
    assert sum(make.func is rotations.synchronisation for _, make in rotations.instances(tmp_path)) == 3


@pytest.mark.parametrize("value", ["/somewhere/else", "", None])
def test_the_folder_of_the_data_is_named_by_the_environment(value, monkeypatch):
    monkeypatch.delenv("RANKOPT_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("RANKOPT_DATA", value)
    found = runpy.run_path(_data.__file__)["DATA"]
    assert found == Path(value or Path(__file__).parents[3] / "shared" / "data")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/a/benchmarks/lda.py"], "make bench NAME=lda"),
        (["/a/benchmarks/files.py", "--gigabytes", "20"], "python -m benchmarks.files --gigabytes 20"),
        (["/a/benchmarks/riemannian/__main__.py"], "make bench NAME=riemannian"),
    ],
)
def test_tables_name_the_command_that_repeats_them(arguments, command):
    assert _table.command(arguments) == command


# ------------------------------------------------------------------------------------------------------- tables
def runs(*seconds):
    counts = {"costs": 3, "gradients": 2, "hessians": 1, "products": 0}
    return [
        Run((None if t is None else t / 2, t), counts, 1e-9, None if t is None else 1e-15, "target") for t in seconds
    ]


MEASURED = [
    Measured("a", "tiny", {"rankopt x": runs(1, 2, 9), "rankopt y": runs(4), "peer": runs(3, 3, 1)}, {"peer": 0.5}),
    Measured("b", "tiny", {"rankopt x": runs(3), "rankopt y": runs(1), "peer": runs(2)}, {}),
    Measured("c", "tiny", {"rankopt x": runs(1), "rankopt y": runs(None), "peer": runs(None, None, 1)}, {}),
    Measured("d", "tiny", {"rankopt x": runs(5), "scipy": runs(4), "eigensolver": runs(0.1)}, {}),
]
NAMES = ["rankopt x", "rankopt y", "peer", "scipy"]


def test_medians_count_failures_as_infinite():
    assert [one.seconds("peer") for one in MEASURED] == [3, 2, INF, INF]
    assert MEASURED[0].seconds("peer", target=0) == 1.5
    assert MEASURED[0].seconds("rankopt x") == 2


def test_verdict_compares_with_the_fastest_peer_of_each_instance():
    default, default_all, fastest, fastest_all = verdict_rows(MEASURED, NAMES, "rankopt x")
    assert (default["fastest"], default["within 1.2"], default["worst ratio"], default["worst on"]) == (
        0.75,
        0.75,
        1.5,
        "b",
    )
    assert (fastest["fastest"], fastest["worst ratio"], fastest["worst on"]) == (1, pytest.approx(2 / 3), "a")
    assert (default_all["worst ratio"], default_all["fastest"]) == (1.5, 0.5)
    assert (fastest_all["worst ratio"], fastest_all["worst on"]) == (1.25, "d")


def test_table_of_solvers():
    x, y, peer, scipy = solver_rows(MEASURED, NAMES)
    assert (x["tried on"], x["solved"], x["fastest"], x["within 2"], x["within 4"]) == (4, 4, 2, 0.75, 1)
    assert x["mean ratio"] == pytest.approx((1 * 3 * 1 * 1.25) ** 0.25)
    assert (y["tried on"], y["solved"], y["fastest"]) == (3, 2, 1)
    assert (peer["solved"], scipy["fastest"]) == (2, 1)
    # Shares are of the instances that a solver was tried on: three for the peer, one for scipy.
    assert (peer["within 2"], scipy["within 2"]) == (pytest.approx(2 / 3), 1)
    (unknown,) = solver_rows(MEASURED[:1], ["scipy", "peer"])[:1]
    assert (unknown["tried on"], unknown["within 2"], unknown["mean ratio"]) == (0, None, None)


def test_tables_of_instances_and_runs():
    a, _, c, d = time_rows(MEASURED, NAMES, "rankopt x")
    assert (a["our fastest"], a["fastest peer"], a["default / peer"]) == ("x", "peer", pytest.approx(2 / 3))
    assert (c["fastest peer"], c["default / peer"]) == (None, None)
    assert (d["given the matrix"], d["its ms"], d["fastest / peer"]) == ("eigensolver", 100, 1.25)
    work = work_rows(MEASURED, NAMES, "rankopt x")[0]
    assert (work["calls, peer"], work["MB, peer"], work["off the manifold, default"]) == ("3 + 2 + 1", 0.5, 1e-15)
    rows = {(row["instance"], row["solver"]): row for row in run_rows(MEASURED, (1e-4, 1e-8))}
    assert rows["c", "peer"]["solved"] == pytest.approx(1 / 3)
    assert rows["c", "peer"]["seconds to 1e-08"] is None
    assert rows["a", "rankopt x"]["seconds to 0.0001"] == 1
    assert rows["a", "rankopt x"]["costs"] == 3


# ----------------------------------------------------------------------------------------------------- problems
@pytest.fixture(params=TINY)
def tiny(request):
    return TINY[request.param]()


def test_derivatives_are_those_of_the_cost(tiny):
    functions, manifold = tiny.functions, tiny.manifold()
    check_gradient(functions.cost, manifold, functions.gradient, rng=0).raise_if_failed()
    check_hessian(functions.cost, manifold, functions.gradient, functions.hessian, rng=0).raise_if_failed()


def coordinates_of(instance, library):
    if library == "free variables":
        return instance.parametrization
    make = getattr(instance, library)
    return make and make()


@pytest.mark.parametrize("library", ["pymanopt", "geoopt", "free variables"])
def test_other_libraries_see_the_same_cost_and_gradient(tiny, library):
    coordinates = coordinates_of(tiny, library)
    if coordinates is None:
        return
    start, cost, rng, h = tiny.start(3), tiny.functions.cost, np.random.default_rng(0), 1e-6
    z = coordinates.enter(start)
    point = coordinates.leave(z)
    assert cost(point) == pytest.approx(cost(start), rel=1e-12)
    gradient = coordinates.pull(z, tiny.functions.gradient(point))
    parts, gradients = (z, gradient) if isinstance(z, tuple) else ((z,), (gradient,))

    def moved(t, k, v):
        changed = tuple(part + t * v if i == k else part for i, part in enumerate(parts))
        return cost(coordinates.leave(changed if len(parts) > 1 else changed[0]))

    for k, (part, derivative) in enumerate(zip(parts, gradients, strict=True)):
        v = rng.standard_normal(part.shape)
        if tiny.problem == "Karcher mean" and v.ndim == 2:
            v = v + v.T  # the cost is that of symmetric matrices
        slope = (moved(h, k, v) - moved(-h, k, v)) / (2 * h)
        assert np.vdot(derivative, v) == pytest.approx(slope, rel=1e-5, abs=1e-7)
    if library != "free variables" and coordinates.push is not None:
        w = rng.standard_normal(z.shape)
        np.testing.assert_allclose(coordinates.push(w), coordinates.leave(z + w) - point, rtol=1e-9, atol=1e-12)


def test_no_point_is_better_than_the_optimum_and_solvers_reach_it(tiny):
    torch.set_num_threads(1)
    task = Task(tiny, tiny.start(0), (1e-4, 1e-8))
    assert min(tiny.functions.cost(tiny.start(seed)) for seed in range(20)) > tiny.optimum
    solvers = general_solvers(tiny, lambda solve: 0.0)
    for name in ("rankopt, default", "rankopt ConjugateGradient", "pymanopt ConjugateGradient"):
        run = task.measure(solvers[name], limit=60)
        assert run.ended == "target", name
        assert -1e-12 <= run.excess <= 1e-8, name
    for name, solve in special_solvers(tiny).items():
        assert task.measure(solve, limit=60).ended == "target", name


@pytest.mark.parametrize("size", [2, 3])
def test_laplacian_of_a_graph_is_the_sum_over_its_edges(size):
    rng = np.random.default_rng(0)
    i, j, weights = np.array([0, 1, 2, 0]), np.array([1, 2, 3, 3]), rng.uniform(1, 2, 4)
    measured, unknown = (Rotations(size).random_point(rng, batch=(4,)) for _ in range(2))
    laplacian = rotations.connection_laplacian(i, j, measured, weights)
    x = unknown.mT.reshape(4 * size, size)
    by_edges = sum(
        w * np.linalg.norm(unknown[b] - unknown[a] @ r) ** 2 for a, b, r, w in zip(i, j, measured, weights, strict=True)
    )
    assert np.vdot(x, laplacian @ x) == pytest.approx(by_edges)


def test_pose_graphs_are_read(tmp_path):
    turn = Rotation.from_rotvec([0.1, -0.2, 0.3])
    information = np.diag([1.0, 1.0, 1.0, 20.0, 20.0, 40.0])
    words = [*turn.as_quat(), *information[np.triu_indices(6)]]
    spatial, planar = tmp_path / "spatial.g2o.xz", tmp_path / "planar.g2o.xz"
    with lzma.open(spatial, "wt") as out:
        out.write("VERTEX_SE3:QUAT 7 0 0 0 0 0 0 1\nEDGE_SE3:QUAT 7 9 1 2 3 " + " ".join(map(str, words)) + "\n")
    with lzma.open(planar, "wt") as out:
        out.write("EDGE_SE2 0 1 5 6 0.5 1 0 0 1 0 30\nEDGE_SE2 1 2 5 6 -0.5 1 0 0 1 0 50\n")
    i, j, matrices, weights = rotations.read_g2o(spatial)
    assert (i.tolist(), j.tolist(), weights.tolist()) == ([0], [1], [pytest.approx(1.5 / 0.125)])
    np.testing.assert_allclose(matrices[0], turn.as_matrix())
    i, j, matrices, weights = rotations.read_g2o(planar)
    assert (i.tolist(), j.tolist(), weights.tolist()) == ([0, 1], [1, 2], [30, 50])
    np.testing.assert_allclose(matrices[0], [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])


def test_synchronisation_of_a_noisy_ring(tmp_path):
    """The spectral start of exact measurements is exact; with noise the reference is proven, and solvers reach it."""
    rng, count = np.random.default_rng(0), 12
    truth = Rotation.random(count, rng=rng)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, min(a + 4, count))] + [(count - 1, 0)]
    lines = {0.0: [], 0.1: []}
    for sigma, written in lines.items():
        for a, b in pairs:
            noise = Rotation.from_rotvec(sigma * rng.standard_normal(3))
            quaternion = (truth[a].inv() * truth[b] * noise).as_quat()
            numbers = [0, 0, 0, *quaternion, *np.eye(6)[np.triu_indices(6)]]
            written.append(f"EDGE_SE3:QUAT {a} {b} " + " ".join(map(str, numbers)))
        with lzma.open(tmp_path / f"ring-{sigma}.g2o.xz", "wt") as out:
            out.write("\n".join(written))
    laplacian = rotations.connection_laplacian(*rotations.read_g2o(tmp_path / "ring-0.0.g2o.xz"))
    exact = rotations.spectral_rotations(laplacian, 3).reshape(-1, 3)
    assert np.vdot(exact, laplacian @ exact) == pytest.approx(0, abs=1e-10)
    instance = rotations.synchronisation("small", tmp_path / "ring-0.1.g2o.xz")
    solvers = general_solvers(instance, lambda solve: 0.0)
    for name in ("rankopt, default", "pymanopt TrustRegions"):
        assert Task(instance, instance.start(0), (1e-8,)).measure(solvers[name], limit=60).solved


def test_a_reference_that_is_not_optimal_is_refused():
    certificate = partial(np.diag, [0.0, 1.0, 2.0, 3.0])
    from scipy.sparse import csr_array

    assert require_proof("good", 5.0, csr_array(certificate()), 4.0) == 5.0
    with pytest.raises(ValueError, match=r"bad: the reference 5.0 may be off by 2.0e-01"):
        require_proof("bad", 5.0, csr_array(certificate() - 0.1 * np.eye(4)), 4.0)
