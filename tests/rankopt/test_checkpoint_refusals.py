"""What checkpoints refuse, with which words, and that a file which is refused stays as it is."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch

from manifolds import (
    FixedRank,
    GeneralizedStiefel,
    Grassmann,
    Polar,
    Power,
    Product,
    SampledFunction,
    SampledManifold,
    Stiefel,
)
from manifolds.objective import as_objective
from rankopt import (
    LBFGS,
    Checkpoint,
    MaxIterations,
    Method,
    ObjectiveProblem,
    QuadraticObjective,
    Step,
    minimize,
    minimize_batch,
)
from tests.arrays import spd
from tests.manifolds.surfaces import sphere

A = spd(6, 10.0, seed=0)
MANIFOLD = Stiefel(6, 2)
X0 = MANIFOLD.random_point(0)
D = np.array([1.0, 2.0])


def cost(x):
    return (x * (A @ x) * D).sum()


def gradient(x):
    return 2 * (A @ x) * D


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run.npz"


def run(file, steps=3, **changes):
    arguments = {"objective": cost, "manifold": MANIFOLD, "x0": X0, "method": "lbfgs", "gradient": gradient} | changes
    return minimize(**arguments, stopping=MaxIterations(steps), checkpoint=Checkpoint(file))


def assert_refused(file, message, error=ValueError, **changes):
    """The call raises this error, says what to do, and leaves the file as it is."""
    before = file.read_bytes()
    with pytest.raises(error, match=message) as caught:
        run(file, **changes)
    assert caught.type is error
    assert str(file) in str(caught.value)
    assert "name another file" in str(caught.value)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


OTHER = r"belongs to another run: its "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"manifold": Stiefel(6, 2, "canonical")},
            OTHER + r"manifold is Stiefel\(6, 2\) .*, that of this run is Stiefel\(6, 2, metric='canonical'\)",
        ),
        ({"manifold": Stiefel(6, 2, retraction=Polar())}, OTHER + r"manifold is .*CholeskyQR.* this run is .*Polar"),
        ({"manifold": Grassmann(6, 2)}, OTHER + r"manifold is Stiefel.*, that of this run is Grassmann"),
        (
            {"manifold": Stiefel(6, 3), "x0": np.eye(6, 3)},
            OTHER + r"manifold is Stiefel\(6, 2\).*that of this run is Stiefel\(6, 3\)",
        ),
        ({"manifold": GeneralizedStiefel(A, 2), "x0": None}, OTHER + r"manifold is Stiefel\(6, 2\)"),
        ({"manifold": Product(Stiefel(6, 2)), "x0": (X0,)}, OTHER + r"manifold is Stiefel\(6, 2\)"),
        (
            {"x0": X0.astype(np.float32)},
            OTHER + r"kind of points is numpy float64 of shape \(6, 2\) on cpu, that of this run is numpy float32 of",
        ),
        ({"x0": torch.tensor(X0)}, OTHER + r"kind of points is numpy float64.*, that of this run is torch float64"),
        ({"x0": X0[:, :1]}, OTHER + r"kind of points .*that of this run is numpy float64 of shape \(6, 1\)"),
        ({"x0": X0.tolist()}, OTHER + r"kind of points"),
        ({"x0": "start"}, OTHER + r"kind of points .*, that of this run is str"),
        ({"method": LBFGS(memory=5)}, OTHER + r"method is LBFGS\(memory=10, .*, that of this run is LBFGS\(memory=5,"),
        ({"method": "conjugate-gradient"}, OTHER + r"method is LBFGS\(.*, that of this run is ConjugateGradient\("),
        ({"preconditioner": lambda x, v: v}, OTHER + r"preconditioner is absent, that of this run is given"),
        (
            {"objective": QuadraticObjective(A), "gradient": None},
            OTHER + r"problem is ObjectiveProblem, that of this run is QuadraticProblem",
        ),
        (
            {"objective": lambda x: cost(x) + 1},
            r"the cost at the point of .* is 1\.\d+, but it was 0\.\d+: objective, data or metric have changed",
        ),
        ({"gradient": lambda x: 2.01 * (A @ x) * D}, r"the norm of the gradient at the point of .* but it was"),
    ],
)  # fmt: skip
def test_another_run(changes, message, file):
    run(file)
    assert_refused(file, message, **changes)


@pytest.mark.parametrize("around", [Product, lambda base: Power(base, 3), lambda base: Product(Power(base, 3))])
def test_another_manifold_within(around, file):
    manifold, other = around(Stiefel(6, 2)), around(Stiefel(6, 2, retraction=Polar()))
    x0 = manifold.random_point(0)
    options = {"objective": lambda x: 0.0, "gradient": lambda x: manifold.zero_vector(x), "x0": x0}
    run(file, manifold=manifold, **options)
    assert_refused(file, OTHER + r"manifold is .*CholeskyQR.* this run is .*Polar", manifold=other, **options)


def test_another_metric_or_constraint_of_the_same_form(file):
    """Matrices of one order have the same representation; points and gradients tell them apart."""
    b = spd(6, 5.0, seed=1)
    manifold = GeneralizedStiefel(b, 2)
    x0 = manifold.random_point(0)
    run(file, manifold=manifold, x0=x0)
    message = r"belongs to another manifold of this form: .*X\^T B X = I is off by"
    assert_refused(file, message, manifold=GeneralizedStiefel(1.1 * b, 2), x0=x0)
    assert run(file, steps=5, manifold=GeneralizedStiefel(b.copy(), 2), x0=x0).nit == 5


@pytest.mark.parametrize("refresh", [2, 25])
def test_another_matrix_under_carried_products(refresh, file):
    """They are compared with true ones, at any age."""

    def options(a):
        return {"objective": QuadraticObjective(a, refresh=refresh, scale=-1.0), "gradient": None}

    run(file, **options(A))
    assert_refused(file, "the cost at the point of", **options(A + 0.01 * np.eye(6)))
    assert run(file, steps=5, **options(A.copy())).nit == 5


def test_other_samples(file):
    points = sphere(600)
    options = {"x0": points[0], "gradient": None}

    def function(samples):
        return SampledFunction(SampledManifold(samples, 2), samples @ np.array([1.0, 2.0, 3.0]))

    first, other = function(points), function(1.02 * points)
    run(file, manifold=first.manifold, objective=first, steps=1, **options)
    assert_refused(file, "the cost at the point of", manifold=other.manifold, objective=other, **options)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off(fraction, file):
    run(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(fraction * len(whole))])
    assert_refused(file, "cannot be read, it is cut off or no checkpoint")


def test_a_file_with_a_wrong_bit(file):
    """Every entry of the archive has a check sum."""
    run(file)
    whole = file.read_bytes()
    at = whole.index(b"NUMPY") + 150  # among the entries of the first array
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert_refused(file, "cannot be read, it is cut off or no checkpoint")


def save_text(file):
    file.write_text("my notes")


def save_arrays(file):
    with open(file, "wb") as stream:
        np.savez(stream, x=np.ones(3))


def save_array(file):
    with open(file, "wb") as stream:
        np.save(stream, np.ones(3))


def save_tensors(file):
    torch.save({"x": torch.ones(3)}, file)


def save_pickle(file):
    with open(file, "wb") as stream:
        np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (save_text, "cannot be read, it is cut off or no checkpoint"),
        (save_arrays, "is no checkpoint of minimize, and is left alone"),
        (save_array, "is no checkpoint of minimize, and is left alone"),
        (save_tensors, "is no checkpoint of minimize, and is left alone"),
        (save_pickle, "cannot be read, it is cut off or no checkpoint"),
    ],
)
def test_files_of_others(save, message, file):
    save(file)
    assert_refused(file, message)


def change_header(file, change):
    with np.load(file) as saved:
        arrays = dict(saved)
    header = json.loads(arrays["header"].tobytes())
    change(header)
    with open(file, "wb") as stream:
        np.savez(stream, **arrays | {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda header: header.update(version=2),
            r"has version 2, this version of rankopt reads version 1; resume with the version that wrote it, or name",
        ),
        (lambda header: header.pop("version"), r"has version None, this version of rankopt reads version 1"),
        (lambda header: header.pop("run"), OTHER + "manifold is None"),
        (lambda header: header.update(format="another"), "is no checkpoint of minimize"),
        (lambda header: header.pop("memory"), "cannot be read"),
        (lambda header: header.pop("seconds"), "cannot be read"),
        (lambda header: header["history"].append("more"), "cannot be read"),
        (lambda header: header["forms"].append({}), "cannot be read"),
        (lambda header: header["forms"][0].pop("device"), "cannot be read"),
    ],
)
def test_headers(change, message, file):
    run(file)
    change_header(file, change)
    assert_refused(file, message)


def test_tuples_of_no_known_type(file):
    """Names in a file are looked up, nothing is imported for them."""
    run(file)
    change_header(file, lambda header: header["memory"].update(named="os.system(command)"))
    with pytest.raises(ValueError, match=r"holds a os.system\(command\), which neither the points nor the method know"):
        run(file)


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: Checkpoint(3), TypeError, r"path must be that of a file, got int"),
        (lambda: Checkpoint(None), TypeError, r"path must be that of a file, got NoneType"),
        (lambda: Checkpoint(b"run.npz"), TypeError, r"path must be that of a file, got bytes"),
        (lambda: Checkpoint(""), ValueError, r"path must name a file, got ''"),
        (lambda: Checkpoint("run.npz", -1.0), ValueError, r"every_seconds must be at least 0, got -1.0"),
        (lambda: Checkpoint("run.npz", np.nan), ValueError, r"every_seconds must be at least 0, got nan"),
        (lambda: Checkpoint("run.npz", "1 min"), TypeError, r"every_seconds must be a number, got '1 min'"),
        (lambda: Checkpoint("run.npz", every_iterations=0), ValueError, r"every_iterations must be at least 1, got 0"),
        (
            lambda: Checkpoint("run.npz", every_iterations=2.5),
            TypeError,
            r"every_iterations must be an integer",
        ),
        (lambda: Checkpoint("run.npz", None), ValueError, r"every_seconds or every_iterations must be given"),
    ],
)
def test_constructor(construct, error, message):
    with pytest.raises(error, match=message) as caught:
        construct()
    assert caught.type is error


def test_what_is_no_checkpoint(file):
    with pytest.raises(TypeError, match=r"checkpoint must be a Checkpoint such as Checkpoint\('run.npz'\), got 'run"):
        minimize(cost, MANIFOLD, X0, gradient=gradient, checkpoint="run.npz")
    with pytest.raises(TypeError, match=r"checkpoint must be a Checkpoint"):
        minimize(cost, MANIFOLD, X0, gradient=gradient, checkpoint=Checkpoint)


def test_folders(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"checkpoint: .* is a folder; name a file in it"):
        run(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"checkpoint: there is no folder .*absent; make it first"):
        run(tmp_path / "absent" / "run.npz")


def test_a_file_that_cannot_be_written_ends_the_run_at_its_start(file, monkeypatch):
    def fail(*arguments):
        raise OSError("read-only file system")

    monkeypatch.setattr("os.replace", fail)
    evaluations = []
    with pytest.raises(OSError, match="read-only file system"):
        run(file, objective=lambda x: evaluations.append(x) or cost(x))
    assert len(evaluations) == 1


class Remembering(Method):
    """A method that remembers something that does not fit into a file."""

    def __init__(self, memory):
        self.memory = memory

    def __repr__(self):
        return "Remembering()"

    def start(self, state, context):
        return self.memory

    def step(self, state, memory, context):
        return Step(state.along(context.scaled(-1.0, state.gradient)).accept(0.01), memory, 0.01)


def local_tuple():
    class Local(NamedTuple):
        number: int

    return Local(1)


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ([1.0], "a checkpoint holds numbers, arrays of numpy or torch, and named tuples of these, but .* has a list"),
        ({"step": 1.0}, "but the run has a dict"),
        ((1.0, (object(),)), "but the run has a object"),
        (local_tuple(), r"a checkpoint cannot hold a Local\(number\) that is neither a point .* define it there"),
    ],
)
def test_memories_that_do_not_fit_into_a_file(memory, message, file):
    """It is said when the run starts."""
    with pytest.raises(TypeError, match=message):
        run(file, method=Remembering(memory))
    assert not file.exists()
    assert run(file, method=Remembering((1.0, (None, X0)))).nit == 3


class RememberingLater(Remembering):
    """A method whose memory does not fit into a file after its first step."""

    def start(self, state, context):
        return None

    def step(self, state, memory, context):
        return super().step(state, self.memory, context)


def test_memories_that_do_not_fit_after_a_step(file):
    evaluations = []
    with pytest.raises(TypeError, match="but the run has a list"):
        run(file, steps=50, method=RememberingLater([1.0]), objective=lambda x: evaluations.append(x) or cost(x))
    assert len(evaluations) == 2


def test_problems_whose_states_cannot_be_saved(file):
    from rankopt.state import ObjectiveState, Problem, State

    class Stateless(ObjectiveState):
        saved = State.saved

    class Own(ObjectiveProblem):
        restored = Problem.restored

        def start(self, point):
            return Stateless(self, point, self.objective.at(point))

    problem = Own(as_objective(cost, gradient), MANIFOLD)
    with pytest.raises(TypeError, match=r"checkpoint: a Stateless cannot be saved; give the state saved\(\) and its"):
        run(file, objective=problem, gradient=None)
    Stateless.saved = ObjectiveState.saved
    run(file, objective=problem, gradient=None)
    with pytest.raises(TypeError, match=r"checkpoint: a Own cannot restore states; give it restored\(\)"):
        run(file, objective=problem, gradient=None)


def test_batches_take_none(file):
    with pytest.raises(TypeError, match="unexpected keyword argument 'checkpoint'"):
        minimize_batch(cost, MANIFOLD, X0[None], gradient=gradient, checkpoint=Checkpoint(file))


def test_points_of_fixed_rank_need_their_factors(file):
    manifold = FixedRank(6, 5, 2)
    x0 = manifold.random_point(0)
    options = {"objective": lambda x: 0.5 * np.sum(x.to_dense() ** 2), "gradient": lambda x: x.to_dense()}
    run(file, manifold=manifold, x0=x0, **options)
    assert_refused(file, OTHER + "kind of points", manifold=manifold, x0=x0.to_dense(), **options)
    assert run(file, steps=5, manifold=manifold, x0=tuple(x0), **options).nit <= 5
