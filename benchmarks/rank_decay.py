"""Effective rank of each layer's gradient while a language model is trained, at several batch sizes.

The model is trained on the Python standard library's own source with AdamW and with AdaRankGrad. At several moments of
the training the gradient is taken at the weights of that moment: of small batches, several of each size, and averaged
over so many windows that little noise is left. Two measures of it are recorded for every matrix: the rank that holds
95 % of its energy, and its stable rank ||G||_F^2 / ||G||_2^2. Which way they go is the question of the paper on
AdaRankGrad, whose lemma is about gradients without noise.
"""

import argparse
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from problems import Corpus, LanguageModel, LanguageModelConfig, TrainingOptions, TrainingStep, read_text, train

from ._table import publish

QUICK_PICTURE = Path(__file__).parent / "results" / "rank_decay.png"
PICTURE = Path(__file__).parent.parent / "docs" / "measured" / "rank_decay.png"
"""That of the full run, which the documentation shows."""
ENERGY = 0.95
MEASURES = {"rank": f"rank for {ENERGY:.0%} of the energy", "stable_rank": "stable rank"}
LAYER_TYPES = ("query", "key", "value", "output", "gate", "up", "down")
OPTIMIZERS = {"adamw": "AdamW", "adarankgrad": "AdaRankGrad"}
MEASURING_SEED = 1_000_003
"""Far from the seeds of training, so that a gradient is not measured on windows that have just been trained on."""
CHUNK = 64
"""Windows per backward pass."""


@dataclass(frozen=True)
class Size:
    width: int = 128
    n_layers: int = 4
    context: int = 64
    characters: int = 8_000_000
    steps: int = 1200
    moments: tuple[int, ...] = (0, 10, 30, 60, 100, 160, 250, 400, 600, 900, 1200)
    batches: tuple[tuple[int, int], ...] = ((4, 8), (16, 8), (64, 4), (1024, 1))
    """Windows of a gradient, and how many such gradients are measured; the last is the averaged one."""


QUICK = Size(
    width=64,
    n_layers=2,
    characters=1_000_000,
    steps=100,
    moments=(0, 10, 30, 100),
    batches=((4, 4), (16, 4), (64, 2), (256, 1)),
)


def gradients(model: LanguageModel, tokens: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradient of the mean loss over all windows, for each matrix of the blocks."""
    names, matrices = zip(*model.hidden_weights(), strict=True)
    total = [torch.zeros_like(matrix) for matrix in matrices]
    for part in zip(tokens.split(CHUNK), targets.split(CHUNK), strict=True):
        _, loss = model(*part)
        for sum_, gradient in zip(total, torch.autograd.grad(loss, matrices), strict=True):
            sum_.add_(gradient, alpha=len(part[0]) / len(tokens))
    return dict(zip(names, total, strict=True))


def measures(gradient: torch.Tensor) -> dict[str, float]:
    energies = torch.linalg.svdvals(gradient.double()).square()
    shares = energies.cumsum(0) / energies.sum()
    return {
        "rank": int((shares < ENERGY).sum()) + 1,
        "stable_rank": float(energies.sum() / energies[0]),
        "energy": float(energies.sum()),
    }


def measure(model: LanguageModel, corpus: Corpus, size: Size, step: int) -> list[dict]:
    """One record for each matrix and batch size, the mean over the batches of that size."""
    records = []
    for windows, number in size.batches:
        found: dict[str, list[dict[str, float]]] = {}
        for draw in range(number):
            # The same windows at every moment, so that two moments differ by the weights alone.
            batch = corpus.batch(draw, windows, size.context, seed=MEASURING_SEED + windows)
            for name, gradient in gradients(model, *batch).items():
                found.setdefault(name, []).append(measures(gradient))
        for name, values in found.items():
            means = {key: statistics.mean(value[key] for value in values) for key in values[0]}
            layer_type = name.split(".")[-2]
            records.append({"step": step, "windows": windows, "matrix": name, "type": layer_type, **means})
    return records


def run(optimizer: str, corpus: Corpus, size: Size) -> dict:
    """Train with measurements in between."""
    config = LanguageModelConfig(width=size.width, n_layers=size.n_layers, context=size.context)
    model = LanguageModel(config)
    # Half of the width: a smaller largest rank would hide where the asked energy needs more.
    low_rank = {} if optimizer == "adamw" else {"max_rank": size.width // 2, "energy": ENERGY}
    options = TrainingOptions(
        optimizer=optimizer, steps=size.steps, device="cpu", evaluate_every=max(size.steps // 4, 1), **low_rank
    )
    records = measure(model, corpus, size, step=0)

    def look(done: TrainingStep) -> None:
        if done.step in size.moments:
            records.extend(measure(model, corpus, size, done.step))
            mean = {key: statistics.mean(r[key] for r in records if r["step"] == done.step) for key in MEASURES}
            print(
                f"{OPTIMIZERS[optimizer]}, step {done.step}: loss {done.loss:.3f}, mean rank {mean['rank']:.1f}, "
                f"stable rank {mean['stable_rank']:.2f}",
                flush=True,
            )

    result = train(corpus, model, options, callback=look)
    if result.interrupted:
        raise KeyboardInterrupt
    refreshes = [] if result.refreshes is None else [event._asdict() for event in result.refreshes.events]
    return {
        "records": records,
        "validation_loss": result.validation_loss,
        "learning_rate": options.rate,
        "mean_rank": result.mean_rank,
        "refreshes": refreshes,
    }


def rows_of(runs: dict[str, dict], size: Size) -> list[dict]:
    """Means over all matrices at the first, a middle and the last moment."""
    shown = (size.moments[0], size.moments[len(size.moments) // 2], size.moments[-1])
    averaged = size.batches[-1][0]
    rows = []
    for optimizer, result in runs.items():
        for windows, _ in size.batches:

            def mean(key: str, step: int, windows: int = windows, records: list[dict] = result["records"]) -> float:
                return statistics.mean(r[key] for r in records if (r["step"], r["windows"]) == (step, windows))

            row = {"trained with": OPTIMIZERS[optimizer], "windows": windows}
            for key, label in (("rank", "rank"), ("stable_rank", "stable rank")):
                row |= {f"{label}, step {step}": mean(key, step) for step in shown}
            # What a small batch has on top of the averaged gradient's energy is its noise.
            noise = 1 - mean("energy", shown[-1], averaged) / mean("energy", shown[-1])
            rows.append(row | {"noise at the end": noise})
    return rows


def draw(runs: dict[str, dict], size: Size, path: Path) -> None:
    """Both measures over the steps, one column for each type of matrix."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = plt.colormaps["viridis"](np.linspace(0, 0.85, len(size.batches)))
    shape = (len(MEASURES) * len(runs), len(LAYER_TYPES))
    figure, all_axes = plt.subplots(*shape, figsize=(2.3 * shape[1], 2.1 * shape[0]), sharex=True, sharey="row")
    cases = [(key, optimizer) for key in MEASURES for optimizer in runs]
    for (key, optimizer), row in zip(cases, all_axes, strict=True):
        for layer_type, ax in zip(LAYER_TYPES, row, strict=True):
            for (windows, _), colour in zip(size.batches, colours, strict=True):
                chosen = [r for r in runs[optimizer]["records"] if (r["windows"], r["type"]) == (windows, layer_type)]
                means = [statistics.mean(r[key] for r in chosen if r["step"] == step) for step in size.moments]
                ax.plot(size.moments, means, color=colour, marker=".", label=f"{windows} windows")
            ax.set_xscale("symlog", linthresh=10)
            ax.grid(alpha=0.3)
        row[0].set_ylabel(f"{OPTIMIZERS[optimizer]}\n{MEASURES[key]}", fontsize=8)
    for layer_type, top, bottom in zip(LAYER_TYPES, all_axes[0], all_axes[-1], strict=True):
        top.set_title(layer_type)
        bottom.set_xlabel("step")
    all_axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"picture: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="file or folder to train on (default: the standard library)")
    parser.add_argument("--quick", action="store_true", help="half a minute, to try it out")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    options = parser.parse_args()
    size = QUICK if options.quick else Size()
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    corpus = Corpus.from_documents(read_text(options.text), max_characters=size.characters)
    runs = {optimizer: run(optimizer, corpus, size) for optimizer in OPTIMIZERS}
    publish(
        "rank_decay",
        f"Effective rank of the gradients of all matrices of the blocks, mean over them; at most {size.width}",
        rows_of(runs, size),
        page=not options.quick,
        runs=runs,
        size=asdict(size),
        seconds=time.perf_counter() - began,
    )
    draw(runs, size, QUICK_PICTURE if options.quick else PICTURE)


if __name__ == "__main__":
    main()
