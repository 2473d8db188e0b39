"""What a GPU gains: CCA, LDA, optimizer steps, batches of small problems and retractions, in one run of minutes.

Times are those of the clock on the wall with the device synchronised before and after, medians of rounds after one that
warms up; a solver that takes seconds runs once, which the table says. The processor uses all its cores. Errors of
correlations are those against the direct solver in double precision.

Without a CUDA device there is nothing to measure, and the program says so; --device cpu --tiny runs all of it at sizes
that take seconds, to see that it works, and writes no tables for the documentation.
"""

import argparse
import gc
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from manifolds import Stiefel
from problems import CCA, LDA
from problems.cca_choice import Sizes, choose_solver, estimated_costs
from rankopt import minimize_batch

from ._table import publish
from .optimizer_step import (
    LAYER_SHAPES,
    LAYERS,
    NEVER,
    PRODUCTS,
    Method,
    Runner,
    ThinProducts,
    adamw,
    adarankgrad,
    captured,
    exact_svd,
    gradient,
    low_rank_svd,
    mean_rank,
    state_bytes,
    tracked,
)

P, RIDGE, CLASSES = 5, 1e-4, 10
VIEWS = [(60_000, 392), (200_000, 400), (100_000, 1000), (100_000, 2000)]
WIDE, MLP_WIDE, DEEP = 2048, 5461, 24
MODELS = {
    "60M": (LAYER_SHAPES * LAYERS, 128),
    "1B": (([(WIDE, WIDE)] * 4 + [(MLP_WIDE, WIDE)] * 2 + [(WIDE, MLP_WIDE)]) * DEEP, 512),
}
"""Linear layers of LLaMA and the rank of their gradients."""
REFRESHED = [(512, 1376), (2048, 2048), (2048, 5461)]
FRAMES = [(4096, 64), (65_536, 64)]
PROBLEMS = 10_000
LONG = 2.0
"""Seconds from which on a run is not repeated."""


@dataclass(frozen=True)
class Setting:
    """Where and how much is measured."""

    device: str
    tiny: bool
    deadline: float
    """Clock after which no more runs on the processor begin."""

    @property
    def name(self) -> str:
        """Of the device, for titles."""
        return torch.cuda.get_device_name() if self.device == "cuda" else "processor in the place of a GPU"

    def publish(self, name: str, title: str, rows: list[dict]) -> None:
        title = f"{title}; {self.name}, {torch.get_num_threads()} threads of the processor"
        publish(f"cuda_{name}", title, rows, page=not self.tiny and self.device == "cuda")

    def forget(self) -> None:
        """Give memory back that nothing refers to any more."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def synchronised(function: Callable, device: str) -> tuple[float, object]:
    """Seconds of a call, and its result."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    result = function()
    wait()
    return time.perf_counter() - began, result


def measured(function: Callable, device: str, rounds: int = 5) -> tuple[float, object]:
    """Median seconds of calls after one that warms up, which counts alone where it is long."""
    first, result = synchronised(function, device)
    if first > LONG:
        return first, result
    return statistics.median(synchronised(function, device)[0] for _ in range(rounds)), result


def ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a / b


# ----------------------------------------------------------------------------------------------- CCA and LDA
def views(n: int, d: int, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two views with five correlations above the others, and labels that the first of them tells."""
    normal = partial(torch.randn, generator=torch.Generator(device).manual_seed(0), device=device, dtype=torch.float64)
    shared, found = normal(n, P), []
    for _ in range(2):
        own = normal(n, d)
        own[:, P:] *= torch.logspace(0, -1.3, d - P, device=device, dtype=torch.float64)
        own[:, :P] = 0.95 * shared + 0.3 * own[:, :P] * torch.linspace(1, 2, P, device=device, dtype=torch.float64)
        found.append(own @ (normal(d, d) / d**0.5))
    labels = (shared @ normal(P, CLASSES) + normal(n, CLASSES)).argmax(dim=1)
    return found[0], found[1], labels


def fitted(estimator, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the column of passes shows it
        return estimator.fit(*data)


def analyses(name: str, solver: str, x, y, labels) -> Callable:
    if name == "CCA":
        return lambda: fitted(CCA(P, reg=RIDGE, solver=solver, random_state=0), x, y)
    return lambda: fitted(LDA(reg=RIDGE, solver=solver, random_state=0), x, labels)


def values_of(model) -> np.ndarray:
    """Correlations, or shares of the variance between classes."""
    values = model.correlations_ if isinstance(model, CCA) else model.explained_variance_ratio_
    return np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values, dtype=float)


def analysis_rows(setting: Setting, n: int, d: int) -> list[dict]:
    x, y, labels = views(n, d, setting.device)
    found, exact = {}, {}
    runs = [(name, solver, bits) for bits in (64, 32) for name in ("CCA", "LDA") for solver in ("direct", "lobpcg")]
    for name, solver, bits in runs:
        dtype = getattr(torch, f"float{bits}")
        data = [part.to(dtype) for part in (x, y)]
        found[name, solver, bits] = [*measured(analyses(name, solver, *data, labels), setting.device), None]
        exact.setdefault(name, values_of(found[name, solver, bits][1]))
        del data
    setting.forget()
    for name, solver, bits in runs:
        if time.perf_counter() < setting.deadline:
            data = [part.to(getattr(torch, f"float{bits}")).cpu().numpy() for part in (x, y)]
            call = analyses(name, solver, *data, labels.cpu().numpy())
            found[name, solver, bits][2] = synchronised(call, "cpu")[0]
    sizes = Sizes(n, d, d, P, gpu=True, ridge=True)
    expected, chosen = estimated_costs(sizes), choose_solver(sizes)
    return [
        {
            "rows x columns": f"{n:,} x {d:,}" + (f" + {d:,}" if name == "CCA" else ""),
            "analysis": name,
            "bits": bits,
            "solver": solver + (" (auto)" if name == "CCA" and solver == chosen else ""),
            "passes": model.n_passes_,
            "GPU s": gpu,
            "GPU s, estimated": expected[solver] / 1e9 if name == "CCA" and bits == 64 else None,
            "processor s, one run": processor,
            "times faster": ratio(processor, gpu),
            "error": float(np.abs(values_of(model) - exact[name]).max()),
        }
        for (name, solver, bits), (gpu, model, processor) in found.items()
    ]


def analysis_table(setting: Setting) -> None:
    rows = []
    for n, d in [(2000, 20)] if setting.tiny else VIEWS:
        rows += analysis_rows(setting, n, d)
        for row in rows[-8:]:
            print(row, flush=True)
        setting.forget()
    setting.publish("analyses", f"CCA and LDA on a GPU and on the processor, ridge {RIDGE:g}", rows)


# -------------------------------------------------------------------------------------------------- optimizers
def optimizer_rows(setting: Setting, model: str, dtype: torch.dtype) -> list[dict]:
    shapes, rank = MODELS[model]
    shapes = shapes[:7] if setting.tiny else shapes
    gradients = [gradient(*shape, seed=i, device=setting.device).to(dtype) for i, shape in enumerate(shapes)]
    methods = [
        Method("torch AdamW, foreach", partial(adamw, foreach=True), refreshes=False),
        Method("torch AdamW, fused", partial(adamw, fused=True), refreshes=False),
        Method(f"AdaRankGrad, rank {rank} held", partial(adarankgrad, rank=rank, energy=1.0)),
        Method("AdaRankGrad, energy 0.95", partial(adarankgrad, rank=rank, energy=0.95)),
    ]
    if model == "60M":
        methods += [
            Method("the same, sign residual", partial(adarankgrad, rank=rank, energy=0.95, residual="sign")),
            Method("the same, fira residual", partial(adarankgrad, rank=rank, energy=0.95, residual="fira")),
        ]
    products, _ = measured(partial(ThinProducts(gradients, rank), gradients), setting.device, 9)
    rows = [{"method": PRODUCTS, "step ms": 1e3 * products}]
    for method in methods:
        setting.forget()
        runner = Runner(method, [gradients], NEVER)
        first, _ = synchronised(lambda runner=runner: runner(time.perf_counter), setting.device)
        step, _ = measured(lambda runner=runner: runner(time.perf_counter), setting.device, 9)
        peak = None
        if setting.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            runner(time.perf_counter)
            torch.cuda.synchronize()
            peak = (torch.cuda.max_memory_allocated() - before) / 1e6
        rows.append(
            {
                "method": method.name,
                "step ms": 1e3 * step,
                "first step ms": 1e3 * first,
                "state MB": state_bytes(runner.optimizer)[0] / 1e6,
                "step's peak MB": peak,
                "mean rank": mean_rank(runner.optimizer),
            }
        )
        del runner
    columns = ("step ms", "first step ms", "state MB", "step's peak MB", "mean rank")
    return [
        {"model": model, "dtype": str(dtype).removeprefix("torch."), "method": row["method"]}
        | {column: row.get(column) for column in columns}
        | {"to products": row["step ms"] / (1e3 * products)}
        for row in rows
    ]


def optimizer_table(setting: Setting) -> None:
    rows = []
    for model in MODELS:
        for dtype in (torch.bfloat16, torch.float32):
            if not (setting.tiny and model == "1B"):
                rows += optimizer_rows(setting, model, dtype)
                setting.forget()
    setting.publish("optimizers", "One step on the linear layers of LLaMA; the first one refreshes all of them", rows)


def refresh_table(setting: Setting) -> None:
    functions = {
        "torch.linalg.svd": exact_svd,
        "torch.svd_lowrank": low_rank_svd,
        "rankopt SubspaceTracker": tracked,
    }
    rows = []
    for m, n in [(64, 150)] if setting.tiny else REFRESHED:
        g = gradient(m, n, seed=0, device=setting.device)
        seconds = {name: measured(partial(function, g), setting.device, 3) for name, function in functions.items()}
        rows += [
            {
                "matrix": f"{m} x {n}",
                "by": name,
                "ms": 1e3 * taken,
                "times faster than SVD": seconds["torch.linalg.svd"][0] / taken,
                "captured energy": captured(g, basis),
            }
            for name, (taken, basis) in seconds.items()
        ]
    setting.publish("refreshes", "Refresh of one basis of rank 128, single precision", rows)


# ------------------------------------------------------------------------------------- batches and retractions
def batch_table(setting: Setting) -> None:
    from .batch import MANIFOLD, RELATIVE, STOPPING, families, oracle

    number = 50 if setting.tiny else PROBLEMS
    start, rows = MANIFOLD.random_point(rng=1, batch=(number,)), []
    for family in families(number):
        least = oracle(family)

        def run(device, family=family):
            at = [torch.from_numpy(part).to(device) for part in (start, *family.matrices)]
            return minimize_batch(
                family.cost, MANIFOLD, at[0], args=tuple(at[1:]), gradient=family.gradient, stopping=STOPPING
            )

        processor, _ = synchronised(partial(run, "cpu"), "cpu")
        gpu, result = measured(partial(run, setting.device), setting.device, 3)
        gap = (result.fun.cpu().numpy() - least) / np.abs(least)
        rows.append(
            {
                "problems": family.name,
                "GPU s": gpu,
                "processor s, one run": processor,
                "times faster": processor / gpu,
                "success": float(result.success.double().mean()),
                "at the optimum": float(np.mean(gap < 1e-6)),
            }
        )
    setting.publish("batch", f"{number:,} problems of size 20 x 3 in double precision, gradients to {RELATIVE:g}", rows)


def retraction_table(setting: Setting) -> None:
    from .retractions import orthogonality_error, retractions

    rows, calls = [], 3 if setting.tiny else 50
    for n, p in [(300, 8)] if setting.tiny else FRAMES:
        manifold, like = Stiefel(n, p), torch.empty(0, device=setting.device)
        x = manifold.random_point(rng=0, like=like)
        v = manifold.random_tangent_vector(x, rng=1)
        v = v / float(manifold.norm(x, v))
        functions = {"torch.linalg.qr": lambda x, v: torch.linalg.qr(x + v).Q} | retractions("torch", n, p)

        def repeat(function, x=x, v=v):
            for _ in range(calls):
                result = function(x, v)
            return result

        seconds = {name: measured(partial(repeat, function), setting.device) for name, function in functions.items()}
        rows += [
            {
                "frame": f"{n:,} x {p}",
                "by": name,
                "microseconds": 1e6 * taken / calls,
                "times faster than torch.linalg.qr": seconds["torch.linalg.qr"][0] / taken,
                "off orthonormal": orthogonality_error(point.cpu()),
            }
            for name, (taken, point) in seconds.items()
        ]
    setting.publish("retractions", "Retractions of orthonormal frames, single precision", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that take seconds")
    parser.add_argument("--seconds", type=float, default=200, help="after which the processor is left out")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device, so there is nothing to measure.")
        return
    began = time.perf_counter()
    setting = Setting(options.device, options.tiny, began + options.seconds)
    for table in (retraction_table, batch_table, refresh_table, optimizer_table, analysis_table):
        table(setting)
        print(f"{time.perf_counter() - began:.0f} s so far", flush=True)


if __name__ == "__main__":
    main()
