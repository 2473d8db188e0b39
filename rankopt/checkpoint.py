"""Checkpoints of ``minimize`` and its kin: files from which a later call goes on to the same bits."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import is_array, kind, machine_epsilon
from manifolds.manifold import Manifold, Point
from rankopt.atomic_file import replace_file
from rankopt.saved_tree import TreePacker, TreeUnpacker, named_tuples, signature
from rankopt.solvers.method import Method
from rankopt.solvers.parameters import require_at_least
from rankopt.state import Problem, State

_FORMAT = "rankopt checkpoint of minimize"
_VERSION = 1
_WAY_OUT = "name another file, or move this one away to start anew"
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """File that ``minimize`` or ``minimize_constrained`` writes its state to, and goes on from when it is called again.

    A run that is resumed takes the steps that the uninterrupted one would have taken, to the same bits on the same
    machine, where cost and gradient give the same for the same point. The file is written when the run starts, then
    after the first step at which one of the intervals has passed, and when the run ends in whatever way, Ctrl-C and
    errors included. At any moment the old file or the new one is there whole.

    Where the file exists, the run resumes from it and logs that it does; ``x0`` and ``rng`` then only say the library,
    dtype, device and shape of the points. A run that has ended resumes at its end, so that a larger limit of iterations
    continues it. Cost and gradient are evaluated again at the points of the file, to see whether they are still the
    same; this is in no count, so that the counts are those of the uninterrupted run.

    Parameters
    ----------
    path : path
        Of the file; its folder must exist. A file that is no checkpoint of the same problem is refused, never replaced.
    every_seconds : float, optional
        Interval in seconds of the run; None for none.
    every_iterations : int, optional
        Interval in steps; in those of its minimizations for ``minimize_constrained``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or out of range, or neither interval is given.

    Notes
    -----
    The file is a ``.npz`` archive without pickled objects: arrays, and a header in JSON. It belongs to the manifold,
    with its retraction, the method with its parameters, and the kind and shape of the points; stopping criteria and
    limits may change from call to call. A problem with states of its own takes part by ``State.saved`` and
    ``Problem.restored``. A method takes part when what it remembers is made of numbers, arrays, points and named tuples
    defined in its module.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from manifolds import Sphere
    >>> from rankopt import Checkpoint, MaxIterations, minimize
    >>> d = np.arange(1.0, 6.0)
    >>> def run(steps, checkpoint=None):
    ...     return minimize(
    ...         lambda x: d @ x**2, Sphere(5), np.full(5, 5**-0.5), "lbfgs", gradient=lambda x: 2 * d * x,
    ...         stopping=MaxIterations(steps), checkpoint=checkpoint
    ...     )
    >>> with TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(Path(folder) / "run.npz")
    ...     first = run(3, checkpoint)
    ...     resumed = run(8, checkpoint)
    >>> first.nit, resumed.nit, bool(np.all(resumed.x == run(8).x))
    (3, 8, True)
    """

    path: str | os.PathLike[str]
    every_seconds: float | None = 60.0
    every_iterations: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, os.PathLike)):
            raise TypeError(f"path must be that of a file, got {type(self.path).__name__}")
        if not Path(self.path).name:
            raise ValueError(f"path must name a file, got {str(self.path)!r}")
        if self.every_seconds is not None:
            require_at_least("every_seconds", self.every_seconds, 0)
        if self.every_iterations is not None:
            require_at_least("every_iterations", self.every_iterations, 1, whole=True)
        if self.every_seconds is self.every_iterations is None:
            raise ValueError("every_seconds or every_iterations must be given")


class Outer(NamedTuple):
    """What a checkpoint holds of a run whose steps are runs themselves, between these or around the current one."""

    tree: Any
    history: Mapping[str, list[Any]]
    nit: int
    steps: int
    """Of all runs within it that have ended."""


class Snapshot(NamedTuple):
    """A run after a whole step, as far as the history does not tell."""

    state: State
    memory: Any
    best: State
    nit: int
    seconds: float
    outer: Outer | None = None

    @property
    def position(self) -> tuple[int, int]:
        """Number of steps, over all runs within an outer one, and that of the outer run."""
        return (self.nit, 0) if self.outer is None else (self.outer.steps + self.nit, self.outer.nit)


class SavedRun(NamedTuple):
    """What a checkpoint holds of a run; trees are still packed."""

    path: Path
    state: Any
    memory: Any
    best: Any
    """None where it is the state."""
    history: dict[str, list[Any]]
    seconds: float
    unpacker: TreeUnpacker
    outer: Outer | None

    def states(self, problem: Problem) -> tuple[State, State]:
        """Latest and best state, evaluated again at their points.

        Raises
        ------
        ValueError
            If the point is off the manifold, or cost or gradient are not what they were.
        """
        state = problem.restored(self.unpacker.unpack(self.state))
        best = state if self.best is None else problem.restored(self.unpacker.unpack(self.best))
        best.gradient_norm  # noqa: B018  evaluated now, before evaluations are counted again
        off = problem.manifold.check_point(state.point)
        if off is not None:
            raise ValueError(f"checkpoint: {self.path} belongs to another manifold of this form: {off}; {_WAY_OUT}")
        anew, tolerance = state.evaluated_anew(), machine_epsilon(state.point) ** 0.5
        for name, words, now in (
            ("fun", "the cost", anew.value),
            ("grad_norm", "the norm of the gradient", anew.gradient_norm),
        ):
            then = self.history[name]
            if not abs(now - then[-1]) <= tolerance * max(map(abs, then)):
                raise ValueError(
                    f"checkpoint: {words} at the point of {self.path} is {now:.6g}, but it was {then[-1]:.6g}: "
                    f"objective, data or metric have changed; {_WAY_OUT}"
                )
        return state, best

    def refusal(self, reason: str) -> ValueError:
        """What is raised where the file is one of another run."""
        return ValueError(f"checkpoint: {self.path} belongs to another run: {reason}; {_WAY_OUT}")

    def method_memory(self, method: Method[Any], state: State) -> Any:
        """What the method remembers."""
        return self.unpacker.unpack(self.memory, _known_types(method, state))


class CheckpointFile:
    """The file of a run's checkpoints: read when the run starts, written as it goes on.

    Parameters
    ----------
    checkpoint : Checkpoint
    manifold : Manifold
    method : Method
        Whose memory it holds.
    described : mapping of str to str
        What else another run must have in common with the one of the file, in words.

    Raises
    ------
    OSError
        If the file's folder does not exist, or the path is that of a folder.
    """

    def __init__(
        self, checkpoint: Checkpoint, manifold: Manifold, method: Method[Any], described: Mapping[str, str]
    ) -> None:
        self._checkpoint, self._path, self._method = checkpoint, Path(checkpoint.path).absolute(), method
        self._run = {"manifold": _described(manifold)}
        self._run |= {name: _without_addresses(words) for name, words in described.items()}
        self._latest: Snapshot | None = None
        self._history: Mapping[str, list[Any]] = {}
        self._written: tuple[tuple[int, int], float] | None = None
        if self._path.is_dir():
            raise IsADirectoryError(f"checkpoint: {self._path} is a folder; name a file in it")
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"checkpoint: there is no folder {self._path.parent}; make it first")

    def read(self, x0: Point) -> SavedRun | None:
        """The run that the file holds, or None where there is no file.

        Raises
        ------
        ValueError
            If the file cannot be read, is no checkpoint, or one of another problem, method or kind of points.
        """
        self._run["kind of points"] = _layout(x0)
        if not self._path.exists():
            return None
        header, arrays = self._contents()
        if header.get("version") != _VERSION:
            raise ValueError(
                f"checkpoint: {self._path} has version {header.get('version')}, this version of rankopt reads version "
                f"{_VERSION}; resume with the version that wrote it, or {_WAY_OUT}"
            )
        for name, now in self._run.items():
            then = header.get("run", {}).get(name)
            if then != now:
                raise ValueError(
                    f"checkpoint: {self._path} belongs to another run: its {name} is {then}, that of this run is "
                    f"{now}; {_WAY_OUT}"
                )
        try:
            history = {name: arrays[f"history/{name}"].tolist() for name in header["history"]}
            trees = [arrays[f"array/{number}"] for number in range(len(header["forms"]))]
            unpacker = TreeUnpacker(trees, header["forms"])
            packed = (header["state"], header["memory"], header["best"])
            outer = _unpacked_outer(header["outer"], arrays, unpacker) if header.get("outer") else None
            saved = SavedRun(self._path, *packed, history, float(header["seconds"]), unpacker, outer)
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(error) from error
        steps = len(history["fun"]) - 1
        position, name = (steps, 0), "minimize"
        if outer is not None:
            position, name = (outer.steps + steps, outer.nit), "minimize_constrained"
        self._written = position, time.perf_counter()
        _logger.info("%s goes on from %s after %d steps", name, self._path, position[0])
        return saved

    def keep(self, latest: Snapshot, history: Mapping[str, list[Any]]) -> None:
        """Take note of a whole step, and write the file where an interval has passed."""
        first = self._latest is None and self._written is None
        self._latest, self._history = latest, history
        if first:
            self._write(latest)  # an error of the first file ends the run before work is lost
        elif self._is_due(latest.position):
            self._try_to_write(latest)
        elif latest.nit <= 1:  # what the method remembers after a step may be of another type than at the start
            TreePacker().pack(latest.memory, _known_types(self._method, latest.state))

    def close(self) -> None:
        """Write the latest step, if the file does not hold it yet."""
        if self._latest is not None and self._written is not None and self._written[0] < self._latest.position:
            self._try_to_write(self._latest)

    def _is_due(self, position: tuple[int, int]) -> bool:
        assert self._written is not None
        steps, seconds = self._checkpoint.every_iterations, self._checkpoint.every_seconds
        if position == self._written[0]:
            return False
        after_steps = steps is not None and position[0] - self._written[0][0] >= steps
        return after_steps or (seconds is not None and time.perf_counter() - self._written[1] >= seconds)

    def _try_to_write(self, latest: Snapshot) -> None:
        try:
            self._write(latest)
        except OSError as error:  # such as a full disk: the run is worth more than its checkpoint
            warnings.warn(f"checkpoint: {self._path} could not be written: {error}", RuntimeWarning, stacklevel=2)

    def _write(self, latest: Snapshot) -> None:
        packer, types = TreePacker(), _known_types(self._method, latest.state)
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "run": self._run,
            "history": list(self._history),
            "seconds": latest.seconds,
            "state": packer.pack(latest.state.saved()),
            "memory": packer.pack(latest.memory, types),
            "best": None if latest.best is latest.state else packer.pack(latest.best.saved()),
            "outer": None if latest.outer is None else _packed_outer(latest.outer, packer),
            "forms": packer.forms,
        }
        arrays: dict[str, Any] = {f"array/{number}": array for number, array in enumerate(packer.arrays)}
        # An interruption may have left entries of a step that was not finished.
        arrays |= {f"history/{name}": np.asarray(values[: latest.nit + 1]) for name, values in self._history.items()}
        if (outer := latest.outer) is not None:
            items = outer.history.items()
            arrays |= {f"outer history/{name}": np.asarray(values[: outer.nit + 1]) for name, values in items}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        replace_file(self._path, lambda stream: np.savez(stream, **arrays))
        self._written = latest.position, time.perf_counter()

    def _contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and arrays of a checkpoint of any version."""
        try:
            with open(self._path, "rb") as stream:
                loaded = np.load(stream, allow_pickle=False)
                arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {}
            header = json.loads(arrays.pop("header").tobytes()) if "header" in arrays else {}
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise self._unreadable(error) from error
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise ValueError(f"checkpoint: {self._path} is no checkpoint of minimize, and is left alone; {_WAY_OUT}")
        return header, arrays

    def _unreadable(self, error: Exception) -> ValueError:
        return ValueError(
            f"checkpoint: {self._path} cannot be read, it is cut off or no checkpoint ({error}); it is left alone; "
            f"{_WAY_OUT}"
        )


class InnerFile:
    """The file of a run's checkpoints, for the runs that its steps are.

    Parameters
    ----------
    file : CheckpointFile
    outer : callable
        What the file holds of the run around them by now.
    saved : SavedRun or None
        Where the next of them goes on, if it does.
    """

    def __init__(self, file: CheckpointFile, outer: Callable[[], Outer], saved: SavedRun | None) -> None:
        self._file, self._outer, self._saved = file, outer, saved

    def read(self, x0: Point) -> SavedRun | None:
        """Where the run goes on, if it does."""
        return self._saved

    def keep(self, latest: Snapshot, history: Mapping[str, list[Any]]) -> None:
        """Take note of a whole step together with the run around it."""
        self._file.keep(latest._replace(outer=self._outer()), history)

    def close(self) -> None:
        """Leave the file open for the run around this one."""


def _packed_outer(outer: Outer, packer: TreePacker) -> dict[str, Any]:
    return {"tree": packer.pack(outer.tree), "history": list(outer.history), "nit": outer.nit, "steps": outer.steps}


def _unpacked_outer(packed: Mapping[str, Any], arrays: Mapping[str, np.ndarray], unpacker: TreeUnpacker) -> Outer:
    history = {name: arrays[f"outer history/{name}"].tolist() for name in packed["history"]}
    return Outer(unpacker.unpack(packed["tree"]), history, int(packed["nit"]), int(packed["steps"]))


def _known_types(method: Method[Any], state: State) -> dict[str, type]:
    """Named tuples that a memory may be made of: points, vectors, covectors, and those of the method's module."""
    modules = [vars(sys.modules[base.__module__]) for base in type(method).__mro__ if base.__module__ in sys.modules]
    types = (value for module in modules for value in module.values() if isinstance(value, type))
    own = {signature(value): value for value in types if issubclass(value, tuple) and hasattr(value, "_fields")}
    return own | named_tuples((state.point, state.gradient, state.gradient_covector))


def _described(manifold: Manifold) -> str:
    """The manifold with what its representation may leave out, such as its retraction."""
    values = list(vars(manifold).values())
    values += [part for value in values if isinstance(value, Mapping) for part in value.values()]
    parts = [_described(value) for value in values if isinstance(value, Manifold)]
    choices = [
        f"{name}={value!r}"
        for name, value in sorted(vars(manifold).items())
        if not name.startswith("_") and (dataclasses.is_dataclass(value) or isinstance(value, (bool, float, str)))
    ]
    inside = ", ".join([*parts, *choices])
    return _without_addresses(f"{manifold!r} ({inside})" if inside else repr(manifold))


def _without_addresses(words: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", words)


def _layout(point: Point) -> str:
    """Library, dtype, shape and device of a point's arrays, in words."""
    if isinstance(point, (tuple, list)):
        return f"({', '.join(map(_layout, point))})"
    if not is_array(point):
        return type(point).__name__
    library, dtype, device = kind(point)
    return f"{library} {dtype} of shape {tuple(point.shape)} on {device}"
