"""Tables of measured runs: one line per instance and solver, one per instance, one per solver."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .instruments import Run
from .profiles import best_of, performance_ratios, profile

FACTORS = np.array([1.2, 2.0, 4.0])
"""Of the fastest solver's time, within which solvers are counted."""


@dataclass(frozen=True)
class Measured:
    """Runs of all solvers on one instance, with the peak of the memory that numpy took in a run of its own."""

    instance: str
    size: str
    runs: Mapping[str, Sequence[Run]]
    megabytes: Mapping[str, float | None]

    def seconds(self, solver: str, target: int = -1) -> float:
        """Median of the times to a target; infinite where most runs failed, or the solver was not run."""
        times = [run.reached[target] for run in self.runs.get(solver, ())]
        return statistics.median([np.inf if t is None else t for t in times]) if times else np.inf


def is_ours(solver: str) -> bool:
    """Whether a solver is of this project."""
    return solver.startswith("rankopt")


def times_of(measured: Sequence[Measured], names: Sequence[str], target: int = -1) -> np.ndarray:
    """Array of shape (instances, solvers) of times."""
    return np.array([[one.seconds(name, target) for name in names] for one in measured])


def run_rows(measured: Sequence[Measured], accuracies: Sequence[float]) -> list[dict]:
    """A line for each instance and solver: times, true counts, memory, errors."""
    rows = []
    for one in measured:
        for name, runs in one.runs.items():
            counts = {key: round(statistics.median(run.counts[key] for run in runs)) for key in runs[0].counts}
            seconds = {f"seconds to {a:g}": _finite(one.seconds(name, k)) for k, a in enumerate(accuracies)}
            rows.append(
                {"instance": one.instance, "size": one.size, "solver": name}
                | seconds
                | counts
                | {
                    "peak MB": one.megabytes.get(name),
                    "off the manifold": _worst(runs),
                    "excess": max(run.excess for run in runs),
                    "solved": sum(run.solved for run in runs) / len(runs),
                    "ended": runs[-1].ended,
                }
            )
    return rows


def _ours_and_peer(one: Measured, general: Sequence[str]) -> tuple[str, str]:
    """The fastest of ours and of the peers, among the solvers that see functions only."""
    here = [name for name in general if name in one.runs]
    ours, peers = ([name for name in here if is_ours(name) is side] for side in (True, False))
    return min(ours, key=one.seconds), min(peers, key=one.seconds)


def time_rows(measured: Sequence[Measured], general: Sequence[str], default: str) -> list[dict]:
    """A line for each instance: times of ours and of the fastest peer, and of the fastest that is given the matrix."""
    rows = []
    for one in measured:
        best, peer = _ours_and_peer(one, general)
        given = min((name for name in one.runs if name not in general), key=one.seconds, default=None)
        rows.append(
            {
                "instance": one.instance,
                "default, ms": _milliseconds(one, default),
                "our fastest": best.removeprefix("rankopt").strip(" ,"),
                "ms": _milliseconds(one, best),
                "fastest peer": peer if np.isfinite(one.seconds(peer)) else None,
                "peer, ms": _milliseconds(one, peer),
                "default / peer": _ratio(one.seconds(default), one.seconds(peer)),
                "fastest / peer": _ratio(one.seconds(best), one.seconds(peer)),
                "given the matrix": given,
                "its ms": None if given is None else _milliseconds(one, given),
            }
        )
    return rows


def work_rows(measured: Sequence[Measured], general: Sequence[str], default: str) -> list[dict]:
    """A line for each instance: calls of cost, gradient and Hessian product, memory and errors."""
    rows = []
    for one in measured:
        row: dict = {"instance": one.instance}
        for who, name in (("default", default), ("peer", _ours_and_peer(one, general)[1])):
            runs = one.runs[name]
            calls = (statistics.median(run.counts[key] for run in runs) for key in ("costs", "gradients", "hessians"))
            row |= {
                f"calls, {who}": " + ".join(str(round(call)) for call in calls),
                f"MB, {who}": one.megabytes.get(name),
                f"off the manifold, {who}": _worst(runs),
                f"excess, {who}": max(run.excess for run in runs),
            }
        rows.append(row)
    return rows


def _worst(runs: Sequence[Run]) -> float | None:
    return max((run.infeasibility for run in runs if run.infeasibility is not None), default=None)


def solver_rows(measured: Sequence[Measured], names: Sequence[str]) -> list[dict]:
    """A line for each solver: on how many instances it is the fastest, and how far behind it is else.

    Shares are of the instances that it was tried on.
    """
    times = times_of(measured, names)
    ratios = performance_ratios(times)
    rows = []
    for k, name in enumerate(names):
        solved = np.isfinite(times[:, k])
        tried = np.array([name in one.runs for one in measured])
        shares = profile(ratios[tried, k : k + 1], FACTORS)[:, 0] if tried.any() else [None] * len(FACTORS)
        rows.append(
            {
                "solver": name,
                "tried on": int(tried.sum()),
                "solved": int(solved.sum()),
                "fastest": int((ratios[:, k] == 1).sum()),
            }
            | {
                f"within {factor:g}": None if share is None else float(share)
                for factor, share in zip(FACTORS, shares, strict=True)
            }
            | {"mean ratio": float(np.exp(np.log(ratios[solved, k]).mean())) if solved.any() else None}
        )
    return rows


def verdict_rows(measured: Sequence[Measured], general: Sequence[str], default: str) -> list[dict]:
    """How ours stands against the fastest peer of each instance, by its default and by the best of its methods."""
    peers = [name for name in general if not is_ours(name)]
    libraries = {
        "pymanopt and geoopt": [name for name in peers if not name.startswith("scipy")],
        "pymanopt, geoopt and scipy": peers,
    }
    groups = {"the default": [default], "the fastest of ours": [name for name in general if is_ours(name)]}
    times = times_of(measured, general)
    rows = []
    for group, own in groups.items():
        for library, others in libraries.items():
            mine, theirs = best_of(times, general, own), best_of(times, general, others)
            ratio = np.divide(mine, theirs, out=np.zeros(len(mine)), where=np.isfinite(theirs))
            rows.append(
                {
                    "of ours": group,
                    "against": library,
                    "instances": len(ratio),
                    "fastest": float((ratio <= 1).mean()),
                    "within 1.2": float((ratio <= 1.2).mean()),
                    "worst ratio": float(ratio.max()),
                    "worst on": measured[int(ratio.argmax())].instance,
                    "median ratio": float(np.median(ratio)),
                }
            )
    return rows


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _ratio(a: float, b: float) -> float | None:
    return a / b if np.isfinite(b) else None


def _milliseconds(one: Measured, solver: str) -> float | None:
    return _finite(1e3 * one.seconds(solver))
