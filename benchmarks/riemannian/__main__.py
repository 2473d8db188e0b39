"""Riemannian optimization on nine problems, from tiny to large: ours against pymanopt, geoopt and scipy, in one run.

What is asked of a solver is a cost within 1e-8 of the optimum, relative to the cost at the start (Moré and Wild's test,
SIAM J. Optim. 20 (2009)), by a point at most 1e-8 off the manifold. The optimum is that of a decomposition, zero, or
that of a very accurate run, proven by duality or convexity. All solvers get the same numpy functions, cost, Euclidean
gradient and Hessian product, through an instrument that counts the calls, keeps the times of the targets and ends the
run at the last one, or at ten times the time of the fastest of them; so no solver's own rule for stopping plays a part.
Solvers that are given the matrices of a problem instead, such as eigensolvers, are a group of their own.

Times are those of the processor on one thread, so that other programs count little, and include all that a user's
script would do after the functions are written, such as making manifolds and whitening a pencil. In a round every
solver runs once from the same start point, in an order drawn anew, and every round has another start point; times are
medians over rounds, of which one goes before and does not count; a solver that
fails there twice is not run again. Rates of geoopt's optimizers with fixed steps are the
best of some, tried before and not counted. Memory is the peak of what numpy allocates, in a run of its own; torch's is
not seen, so geoopt has none.
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from .._table import publish
from . import averages, completion, eigenproblems, graph_cuts, rotations
from .instances import SIZES, Instance
from .instruments import CLOCKS, Run, Task
from .profiles import draw
from .report import Measured, is_ours, run_rows, solver_rows, time_rows, times_of, verdict_rows, work_rows
from .solvers import DECLARED, GENERAL, OURS, general_solvers, ours, special_solvers

ACCURACIES = (1e-4, 1e-8)
ROUNDS = {"tiny": 21, "small": 7, "large": 5}
LIMIT = 10.0
"""Factor of the fastest solver's time after which a run ends."""
LEAST_LIMIT = 0.05
"""Seconds."""
FIRST_LIMIT = 60.0
"""Seconds of the very first run of an instance."""
TUNING = 2.0
"""Factor of the fastest solver's time that a rate is tried for."""
MEMORY_LIMIT = 50.0
"""Like LIMIT, where the tracing of memory slows down every allocation."""
DEFAULT = next(iter(OURS))
PICTURE = Path(__file__).parents[2] / "docs" / "measured" / "riemannian_profile.png"


def measure(instance: Instance, rounds: int, order: random.Random, clock: Any) -> Measured:
    """Run all solvers on an instance."""

    def task(seed: int) -> Task:
        return Task(instance, instance.start(seed), ACCURACIES, clock)

    first, fastest = task(rounds), FIRST_LIMIT / LIMIT
    for name in OURS:  # the first run of all is slow, so the fastest of a few sets the limit
        run = first.measure(partial(ours, OURS[name]), LIMIT * fastest)
        fastest = min(fastest, run.reached[-1] or fastest)

    def limit(factor: float = LIMIT) -> float:
        return max(factor * fastest, LEAST_LIMIT)

    general = general_solvers(instance, lambda solve: first.measure(solve, limit(TUNING)).excess)
    solvers = general | special_solvers(instance)
    runs: dict[str, list[Run]] = {}
    for name, solve in solvers.items():
        run = first.measure(solve, limit())
        if not run.solved:  # the first run of a solver may be slow, as that of all is, so it gets a second one
            run = first.measure(solve, limit())
        if not run.solved:
            runs[name] = [run]
        elif name in general:  # an eigensolver that is given the matrix is no measure for the others
            fastest = min(fastest, run.reached[-1])
    able = [name for name in solvers if name not in runs]
    runs |= {name: [] for name in able}
    for seed in range(rounds):
        here = task(seed)
        for name in order.sample(able, len(able)):
            runs[name].append(here.measure(solvers[name], limit()))
    here = task(0)
    megabytes = {
        name: None if "geoopt" in name else peak_megabytes(here, solvers[name], limit(MEMORY_LIMIT)) for name in able
    }
    return Measured(instance.name, instance.size, {name: runs[name] for name in solvers}, megabytes)


def peak_megabytes(task: Task, solve: Any, limit: float) -> float:
    """Peak of the memory that numpy allocates in a run."""
    tracemalloc.start()
    try:
        task.measure(solve, limit)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def styles(names: Any) -> dict[str, dict]:
    """Lines: ours solid and strong, peers dashed."""
    colours = ["#D55E00", "#AA4499", "#E69F00", "#CC79A7", "#882255", "#0072B2", "#56B4E9", "#332288", "#009E73",
               "#44AA99", "#117733", "#000000"]  # fmt: skip
    return {
        name: {"color": colour, "linewidth": 2.2 if is_ours(name) else 1.4, "linestyle": "-" if is_ours(name) else "--"}
        for name, colour in zip(names, colours, strict=True)
    }


def is_whole(options: argparse.Namespace) -> bool:
    """Whether all problems are run in all sizes, as the documentation says it."""
    everything = set(options.size) == set(SIZES) and not options.problems and not rotations.missing(options.graphs)
    return everything and options.rounds is None and options.clock == "process"


def publish_all(measured: list[Measured], options: argparse.Namespace) -> None:
    """Print and write tables and picture; those of the documentation only of whole runs."""
    whole = is_whole(options)
    extra = {"rounds": ROUNDS, "clock": options.clock, "accuracies": ACCURACIES}
    special = sorted({name for one in measured for name in one.runs} - set(GENERAL), key=lambda name: not is_ours(name))
    eigen = [one for one in measured if any(name in one.runs for name in (*DECLARED, *special))]
    publish("riemannian_runs", "Every solver on every instance", run_rows(measured, ACCURACIES), **extra)
    publish(
        "riemannian",
        "Time to a cost within 1e-8 of the optimum, one thread",
        time_rows(measured, GENERAL, DEFAULT),
        page=whole,
        **extra,
    )
    publish(
        "riemannian_work",
        "Our default and the fastest peer: calls (costs + gradients + Hessian products), peak of memory, errors",
        work_rows(measured, GENERAL, DEFAULT),
        page=whole,
        **extra,
    )
    if eigen:
        publish(
            "riemannian_matrices",
            "Where the matrices are given: solvers for the very problem, and quadratics that are declared",
            solver_rows(eigen, [*special, DEFAULT]),
            page=whole,
            **extra,
        )
    publish(
        "riemannian_solvers",
        "Solvers that see functions only: ratios to the fastest of them on each instance",
        solver_rows(measured, GENERAL),
        page=whole,
        **extra,
    )
    publish(
        "riemannian_verdict",
        "Ours against the fastest peer on each instance",
        verdict_rows(measured, GENERAL, DEFAULT),
        page=whole,
        **extra,
    )
    if whole:
        panels = {
            f"cost within {accuracy:g} of the optimum": (times_of(measured, GENERAL, k), GENERAL)
            for k, accuracy in enumerate(ACCURACIES)
        }
        draw(panels, styles(GENERAL), PICTURE)
        print(f"picture of the documentation: {PICTURE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES), help="(default: all)")
    parser.add_argument("--problems", nargs="+", default=(), help="only those whose name holds one of these words")
    parser.add_argument("--rounds", type=int, help="for every instance (default: 21, 7 or 5, by size)")
    parser.add_argument("--graphs", type=Path, default=rotations.GRAPHS, help="folder of pose graphs, *.g2o.xz")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="process", help="(default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    order, measured = random.Random(0), []
    modules = (eigenproblems, averages, completion, graph_cuts)
    makers = [pair for module in modules for pair in module.instances()] + list(rotations.instances(options.graphs))
    for size, make in makers:
        if size not in options.size:
            continue
        began, instance = time.perf_counter(), make()
        if options.problems and not any(word in instance.name for word in options.problems):
            continue
        made = time.perf_counter()
        measured.append(measure(instance, options.rounds or ROUNDS[size], order, CLOCKS[options.clock]))
        one = time_rows(measured[-1:], GENERAL, DEFAULT)[0]
        print(
            f"{instance.name:45s} made in {made - began:.1f} s, measured in {time.perf_counter() - made:.1f} s; "
            f"default / fastest peer {one['default / peer'] or np.nan:.2f}, ours / peer "
            f"{one['fastest / peer'] or np.nan:.2f}",
            flush=True,
        )
    for path in rotations.missing(options.graphs):
        print(f"There is no {path}, so its synchronisation was left out; see --graphs and RANKOPT_DATA.")
    if not measured:
        raise SystemExit("There is no such problem; see the instances() of the modules in benchmarks/riemannian.")
    publish_all(measured, options)


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
