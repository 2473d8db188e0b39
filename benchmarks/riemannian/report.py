"""Tables of measured runs: one line per instance and solver, one per instance, one per solver."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .instruments import Run
from .profiles import best_of, performance_ratios, profile


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
            worst = [run.infeasibility for run in runs if run.infeasibility is not None]
            counts = {key: round(statistics.median(run.counts[key] for run in runs)) for key in runs[0].counts}
            seconds = {f"seconds to {a:g}": _finite(one.seconds(name, k)) for k, a in enumerate(accuracies)}
            rows.append(
                {"instance": one.instance, "size": one.size, "solver": name}
                | seconds
                | counts
                | {
                    "peak MB": one.megabytes.get(name),
                    "off the manifold": max(worst, default=None),
                    "excess": max(run.excess for run in runs),
                    "solved": sum(run.solved for run in runs) / len(runs),
                    "ended": runs[-1].ended,
                }
            )
    return rows


def instance_rows(measured: Sequence[Measured], general: Sequence[str], default: str) -> list[dict]:
    """A line for each instance: ours and the fastest peer among the solvers that see functions only."""
    rows = []
    for one in measured:
        here = [name for name in general if name in one.runs]
        ours, peers = ([name for name in here if is_ours(name) is side] for side in (True, False))
        best, peer = (min(names, key=one.seconds) for names in (ours, peers))
        special = [name for name in one.runs if name not in general]
        direct = min(special, key=one.seconds, default=None)
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
                "calls, default": _calls(one, default),
                "calls, peer": _calls(one, peer),
                "MB, default": one.megabytes.get(default),
                "MB, peer": one.megabytes.get(peer),
                "with the matrix": direct,
                "matrix, ms": None if direct is None else _milliseconds(one, direct),
            }
        )
    return rows


def solver_rows(measured: Sequence[Measured], names: Sequence[str]) -> list[dict]:
    """A line for each solver: on what share of the instances it is the fastest, and how far behind it is else."""
    times = times_of(measured, names)
    ratios = performance_ratios(times)
    shares = profile(ratios, np.array([1.0, 1.2, 2.0, 4.0]))
    rows = []
    for k, name in enumerate(names):
        solved = np.isfinite(times[:, k])
        rows.append(
            {
                "solver": name,
                "tried on": sum(name in one.runs for one in measured),
                "solved": int(solved.sum()),
                "fastest": int((ratios[:, k] == 1).sum()),
                "within 1.2": float(shares[1, k]),
                "within 2": float(shares[2, k]),
                "within 4": float(shares[3, k]),
                "mean ratio": float(np.exp(np.log(ratios[solved, k]).mean())) if solved.any() else None,
            }
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


def _calls(one: Measured, solver: str) -> str | None:
    """Costs, gradients and Hessian products."""
    runs = one.runs.get(solver)
    if not runs:
        return None
    return " + ".join(
        str(round(statistics.median(run.counts[key] for run in runs))) for key in ("costs", "gradients", "hessians")
    )
