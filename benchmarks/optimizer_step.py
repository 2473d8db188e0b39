"""Time and memory of one optimizer step on the linear layers of LLaMA 60M, and of the refresh of one subspace.

All methods update the same 56 matrices with the same gradients, in one run: a round times one step of every method, in
an order drawn anew, so that the noise of the machine and the state of the caches hit all alike; ratios are medians of
the ratios within a round. Refreshes are timed apart, as the difference between a step that refreshes all matrices and
one that refreshes none, and spread over the gap between two of them. The floor that everything is compared with is the
two thin products that a projected step cannot do without, Q^T G and Q M.

Seconds are those of the clock on the wall; on a machine that others use too, --clock cpu --threads 1 counts the
processor's time instead.
"""

import argparse
import gc
import importlib
import logging
import random
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from manifolds import EnergyRank, RandomizedRange, SubspaceTracker
from rankopt import AdaRankGrad, GaLore, RefreshLog

from ._table import publish

WIDTH, MLP_WIDTH, LAYERS = 512, 1376, 8
LAYER_SHAPES = [(WIDTH, WIDTH)] * 4 + [(MLP_WIDTH, WIDTH)] * 2 + [(WIDTH, MLP_WIDTH)]
RANK = 128
OVERSAMPLING = 8
GAPS = (100, 200)
NEVER = 10**6
"""Gap of the optimizers whose steps between refreshes are timed."""
PAGE = (
    "method", "step s", "to products", f"total to products, gap {GAPS[0]}", "total to GaLore's", "refresh s",
    "refresh to GaLore's", "state MB", "mean rank",
)  # fmt: skip
"""Columns that the documentation shows."""
PRODUCTS = "two thin products alone"
REFERENCE = "galore-torch GaLoreAdamW"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def gradient(m: int, n: int, seed: int, device: str = "cpu") -> torch.Tensor:
    """A matrix with singular values that decay as i^(-3/4), and one per cent of its energy in white noise.

    About 80 of 512 directions hold 95 % of the energy, so that an adaptive rank has something to find.
    """
    normal = partial(torch.randn, generator=torch.Generator(device).manual_seed(seed), device=device)
    decay = torch.arange(1, 257, device=device).pow(-0.75)
    left = normal(m, 256) * decay
    signal = left @ normal(256, n)
    noise = normal(m, n)
    return 1e-3 * (signal / signal.norm() + 0.1 * noise / noise.norm())


def weights(shapes: list[tuple[int, int]], seed: int = 0, like: torch.Tensor | None = None) -> list[torch.nn.Parameter]:
    """Parameters of the dtype and device of ``like``, or in single precision on the processor."""
    like = torch.empty(0) if like is None else like
    normal = partial(torch.randn, generator=torch.Generator(like.device).manual_seed(seed), device=like.device)
    return [torch.nn.Parameter((0.02 * normal(shape)).to(like.dtype)) for shape in shapes]


# ------------------------------------------------------------------------------------------------ the methods
@dataclass(frozen=True)
class Method:
    """An optimizer made from parameters and the gap between two refreshes."""

    name: str
    make: Callable[[list[torch.nn.Parameter], int], torch.optim.Optimizer]
    refreshes: bool = True


def adamw(parameters, gap, **options):
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, **options)


def peer(name: str):
    """A peer's package, imported without what it says on a machine without CUDA."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # imported by GaLore's package
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def galore_package(parameters, gap):
    group = {"params": parameters, "rank": RANK, "update_proj_gap": gap, "scale": 0.25, "proj_type": "std"}
    return peer("galore_torch").GaLoreAdamW([group], lr=1e-3, no_deprecation_warning=True)


def pytorch_optimizers_galore(parameters, gap):
    group = {"params": parameters, "rank": RANK, "update_proj_gap": gap, "scale": 0.25, "projection_type": "std"}
    return peer("pytorch_optimizer").GaLore([group], lr=1e-3)


def galore(parameters, gap):
    return GaLore(parameters, lr=1e-3, max_rank=RANK, max_gap=gap)


def adarankgrad(parameters, gap, rank=RANK, **options):
    # A tolerance of zero leaves the gap alone to decide.
    return AdaRankGrad(
        parameters, lr=1e-3, max_rank=rank, oversampling=OVERSAMPLING, min_gap=gap, max_gap=gap, tolerance=0, **options
    )


METHODS = [
    Method("torch AdamW, foreach", partial(adamw, foreach=True), refreshes=False),
    Method("torch AdamW, fused", partial(adamw, fused=True), refreshes=False),
    Method(REFERENCE, galore_package),
    Method("pytorch-optimizer GaLore", pytorch_optimizers_galore),
    Method("rankopt GaLore", galore),
    Method(f"rankopt AdaRankGrad, rank {RANK} held", partial(adarankgrad, energy=1.0)),
    Method("the same, compiled", partial(adarankgrad, energy=1.0, compiled=True)),
    Method(f"rank {RANK} held, sign residual", partial(adarankgrad, energy=1.0, residual="sign")),
    Method("rankopt AdaRankGrad, energy 0.95", partial(adarankgrad, energy=0.95)),
    Method("the same, sign residual", partial(adarankgrad, energy=0.95, residual="sign")),
    Method("the same, fira residual", partial(adarankgrad, energy=0.95, residual="fira")),
]


class ThinProducts:
    """The two products of a projected step alone, into memory that is there already."""

    def __init__(self, gradients: list[torch.Tensor], rank: int = RANK):
        self.work = []
        for index, g in enumerate(gradients):
            m, n = g.shape
            generator = torch.Generator(g.device).manual_seed(index)
            random = torch.randn(min(m, n), rank, generator=generator, device=g.device)
            basis = torch.linalg.qr(random).Q.to(g.dtype)
            low = g.new_empty((rank, n) if m <= n else (m, rank))
            self.work.append((basis, low, torch.empty_like(g)))

    def __call__(self, gradients: list[torch.Tensor]) -> None:
        for g, (basis, low, update) in zip(gradients, self.work, strict=True):
            if g.shape[0] <= g.shape[1]:
                torch.mm(basis.mT, g, out=low)
                torch.mm(basis, low, out=update)
            else:
                torch.mm(g, basis, out=low)
                torch.mm(low, basis.mT, out=update)


# -------------------------------------------------------------------------------------------------- measuring
def state_bytes(optimizer: torch.optim.Optimizer) -> tuple[int, int]:
    """Bytes of the state's tensors, and of the memory that they keep alive.

    The two differ where a small tensor is a view of a large one. Tensors are also looked for inside objects.
    """
    tensors: dict[int, torch.Tensor] = {}

    def walk(value: object) -> None:
        if isinstance(value, torch.Tensor):
            tensors[id(value)] = value
        elif isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        elif hasattr(value, "__dict__"):
            walk(vars(value))

    for state in optimizer.state.values():
        walk(state)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors.values()}
    return sum(t.nbytes for t in tensors.values()), sum(storages.values())


def mean_rank(optimizer: torch.optim.Optimizer) -> float | None:
    ranks = [state["rank"] for state in optimizer.state.values() if "rank" in state]
    return statistics.mean(ranks) if ranks else None


class Runner:
    """A method with parameters of its own, stepped with gradients that all methods share."""

    def __init__(self, method: Method, gradients: list[list[torch.Tensor]], gap: int):
        self.parameters = weights([tuple(g.shape) for g in gradients[0]], like=gradients[0][0])
        self.optimizer = method.make(self.parameters, gap)
        self.gradients = gradients
        self.steps = 0

    def __call__(self, clock: Callable[[], float]) -> float:
        """Seconds of one step."""
        for parameter, g in zip(self.parameters, self.gradients[self.steps % len(self.gradients)], strict=True):
            parameter.grad = g
        self.steps += 1
        began = clock()
        self.optimizer.step()
        return clock() - began


class Refresher:
    """The refresh of all matrices: a step with it less a step without."""

    def __init__(self, method: Method, gradients: list[list[torch.Tensor]]):
        self.refreshing, self.plain = Runner(method, gradients, 1), Runner(method, gradients, NEVER)
        # Both refresh at their first step.
        self(time.perf_counter)

    def __call__(self, clock: Callable[[], float]) -> float:
        return self.refreshing(clock) - self.plain(clock)


class Timed:
    """A function of one argument, to be timed."""

    def __init__(self, function: Callable, argument: object):
        self.function, self.argument = function, argument

    def __call__(self, clock: Callable[[], float]) -> float:
        began = clock()
        self.function(self.argument)
        return clock() - began


def rounds(
    runners: Mapping[str, Runner | Refresher | Timed], number: int, warm_up: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of every runner in every round."""
    order = list(runners)
    shuffle = random.Random(0).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for index in range(-warm_up, number):
        shuffle(order)
        for name in order:
            taken = runners[name](clock)
            if index >= 0:
                seconds[name].append(taken)
    return {name: seconds[name] for name in runners}


def ratio(seconds: list[float], to: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(seconds, to, strict=True))


def steps_table(options: argparse.Namespace) -> None:
    shapes = LAYER_SHAPES * options.layers
    clock = CLOCKS[options.clock]
    # Two sets of gradients, so that a step does not meet the gradient of the step before it.
    gradients = [[gradient(*shape, seed=1000 * k + i) for i, shape in enumerate(shapes)] for k in range(2)]

    runners = {method.name: Runner(method, gradients, NEVER) for method in METHODS}
    timed = {PRODUCTS: Timed(ThinProducts(gradients[0]), gradients[0]), **runners}
    # The first step of a projected method refreshes all layers (and compiles), the second meets the first allocations.
    steps = rounds(timed, options.rounds, warm_up=3, clock=clock)
    memory = {name: state_bytes(runner.optimizer) for name, runner in runners.items()}
    ranks = {name: mean_rank(runner.optimizer) for name, runner in runners.items()}
    del runners, timed
    gc.collect()
    refreshers = {method.name: Refresher(method, gradients) for method in METHODS if method.refreshes}
    refreshes = rounds(refreshers, options.refresh_rounds, warm_up=1, clock=clock)
    del refreshers
    gc.collect()

    step = {name: statistics.median(seconds) for name, seconds in steps.items()}
    refresh = {name: statistics.median(seconds) for name, seconds in refreshes.items()}
    total = {name: {gap: step[name] + refresh.get(name, 0.0) / gap for gap in GAPS} for name in step}
    rows = [
        {
            "method": name,
            "step s": step[name],
            "to products": ratio(steps[name], steps[PRODUCTS]),
            "to GaLore's": ratio(steps[name], steps[REFERENCE]),
            "refresh s": refresh.get(name),
            "refresh to GaLore's": ratio(refreshes[name], refreshes[REFERENCE]) if name in refreshes else None,
            **{f"total s, gap {gap}": total[name][gap] for gap in GAPS},
            f"total to products, gap {GAPS[0]}": total[name][GAPS[0]] / step[PRODUCTS],
            "total to GaLore's": total[name][GAPS[-1]] / total[REFERENCE][GAPS[-1]],
            "state MB": memory[name][0] / 1e6 if name in memory else None,
            "kept alive MB": memory[name][1] / 1e6 if name in memory else None,
            "mean rank": ranks.get(name),
        }
        for name in step
    ]
    publish(
        "optimizer_step",
        f"One step on the {len(shapes)} linear layers of LLaMA 60M, fp32, rank {RANK}, threads: {options.threads}, "
        f"{options.clock} clock, median of {options.rounds} rounds (refreshes of all layers: {options.refresh_rounds});"
        f" totals to GaLore's at gap {GAPS[-1]}",
        rows,
        page=options.large and PAGE,
        threads=options.threads,
        clock=options.clock,
        seconds=steps,
        refresh_seconds=refreshes,
    )


# ------------------------------------------------------------------------------------------ one matrix refreshed
SVD = "torch.linalg.svd (GaLore)"


def exact_svd(g: torch.Tensor) -> torch.Tensor:
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    return u[:, :RANK] if g.shape[0] <= g.shape[1] else vh[:RANK].mT


def low_rank_svd(g: torch.Tensor) -> torch.Tensor:
    u, _, v = torch.svd_lowrank(g, q=RANK + OVERSAMPLING, niter=1)
    return (u if g.shape[0] <= g.shape[1] else v)[:, :RANK]


def tracked(g: torch.Tensor) -> torch.Tensor:
    tracker = SubspaceTracker(
        rule=RandomizedRange(oversampling=OVERSAMPLING, power_iterations=1),
        rank=EnergyRank(1.0, min_rank=1, max_rank=RANK),
        side="left" if g.shape[0] <= g.shape[1] else "right",
        rng=0,
    )
    tracker.update(g)
    return tracker.basis


def captured(g: torch.Tensor, basis: torch.Tensor) -> float:
    low = basis.mT @ g if g.shape[0] <= g.shape[1] else g @ basis
    return float(low.square().sum() / g.square().sum())


def refresh_table(options: argparse.Namespace) -> None:
    sizes = [(512, 512), (1376, 512), (2048, 2048), *([(4096, 4096)] if options.large else [])]
    functions = {SVD: exact_svd, "torch.svd_lowrank": low_rank_svd, "rankopt SubspaceTracker": tracked}
    held = Method("rankopt AdaRankGrad", partial(adarankgrad, energy=1.0))
    rows = []
    for m, n in sizes:
        g = gradient(m, n, seed=0)
        # Transport of the moments is part of a refresh inside the optimizer; the plain step is subtracted.
        optimizer = Refresher(held, [[g]])
        runners = {name: Timed(function, g) for name, function in functions.items()}
        number = 1 if m >= 4096 else 3 if m >= 2048 else options.rounds
        # The one decomposition of a large matrix is long enough to be measured by.
        seconds = rounds({**runners, held.name: optimizer}, number, warm_up=int(m < 4096), clock=CLOCKS[options.clock])
        (state,) = optimizer.refreshing.optimizer.state.values()
        bases = {name: function(g) for name, function in functions.items() if m < 4096 or name != SVD}
        bases[held.name] = state["basis"]
        rows += [
            {
                "matrix": f"{m} x {n}",
                "by": name,
                "seconds": statistics.median(taken),
                "times faster than SVD": ratio(seconds[SVD], taken),
                "captured energy": captured(g, bases[name]) if name in bases else None,
            }
            for name, taken in seconds.items()
        ]
    publish(
        "optimizer_refresh",
        f"Refresh of one basis of rank {RANK}, fp32, threads: {options.threads}, {options.clock} clock",
        rows,
        page=options.large,
        threads=options.threads,
        clock=options.clock,
    )


def check_refreshes() -> None:
    """That the optimizers refresh when this benchmark thinks they do."""
    for gap, expected in ((NEVER, 1), (1, 4)):
        log = RefreshLog()
        parameters = weights([(64, 48)])
        optimizer = AdaRankGrad(parameters, max_rank=8, min_gap=gap, max_gap=gap, tolerance=0, on_refresh=log)
        for seed in range(4):
            parameters[0].grad = gradient(64, 48, seed)
            optimizer.step()
        if len(log.events) != expected:
            raise RuntimeError(f"{len(log.events)} refreshes in four steps at a gap of {gap}, expected {expected}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=15, help="timed steps of every method (default: %(default)s)")
    parser.add_argument("--refresh-rounds", type=int, default=3, help="timed refreshes (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=LAYERS, help="transformer layers (default: %(default)s)")
    parser.add_argument("--large", action="store_true", help="refresh a 4096 x 4096 matrix too (minutes)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    check_refreshes()
    steps_table(options)
    refresh_table(options)


if __name__ == "__main__":
    main()
