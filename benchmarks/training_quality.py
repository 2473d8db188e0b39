"""Quality of low-rank training on Wikipedia text: each method at its best rate of a sweep, three seeds.

Finished runs are kept in a file of JSON lines, so that an interrupted benchmark goes on where it stopped.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from problems import Corpus, LanguageModelConfig, TrainingOptions, read_text, train

from ._data import DATA
from ._table import publish

RUNS = Path(__file__).parent / "results" / "training_quality.jsonl"
TEXT = DATA / "wikipedia-en-2015" / "wiki_AA_00-39.txt.xz"
ARTICLE = r"^</?doc.*$"
SEEDS = (0, 1, 2)
PAGE = (
    "method", "best rate", "rates tried", "validation loss", "spread", "state of Adam's", "mean rank", "refreshes",
)  # fmt: skip
"""Columns that the documentation shows."""

ADA = {"optimizer": "adarankgrad"}
FULL = ADA | {"energy": 0.99}
RANDOM = ADA | {"energy": 0.2, "min_rank": 24, "subspace": "random"}
SIGN = ADA | {"energy": 0.9, "residual": "sign", "tolerance": 0.8}
GALORE = {"optimizer": "galore", "scale": 1.0}
METHODS = {
    "AdamW": ({"optimizer": "adamw"}, (5e-4, 1e-3, 2e-3)),
    "GaLore, gap 200": (GALORE | {"max_gap": 200}, (1e-3, 2e-3, 4e-3)),
    "AdaRankGrad, energy 0.99": (FULL, (1e-3, 2e-3, 4e-3)),
    "AdaRankGrad, random subspace, energy 0.2, rank 24 at least": (RANDOM, (2e-3, 4e-3, 8e-3)),
    "AdaRankGrad, sign residual, energy 0.9, long side": (SIGN | {"side": "long"}, (5e-4, 1e-3, 2e-3)),
    "AdaRankGrad, energy 0.95": (ADA | {"energy": 0.95}, (2e-3,)),
    "AdaRankGrad, energy 0.99, fixed gap 200": (FULL | {"tolerance": 0.0}, (2e-3,)),
    "AdaRankGrad, energy 0.99, mass transport": (FULL | {"moment_transport": "mass"}, (2e-3,)),
    "AdaRankGrad, energy 0.99, variance transport": (FULL | {"moment_transport": "variance"}, (2e-3,)),
    "AdaRankGrad, sign residual, energy 0.9": (SIGN, (1e-3,)),
    "AdaRankGrad, fira residual, energy 0.9": (SIGN | {"residual": "fira"}, (1e-3,)),
}
"""Options and the rates of the sweep; where there is one rate, it is that of the sweep of a method like it."""


def main():
    arguments = parsed_arguments()
    torch.set_num_threads(arguments.threads)
    if not arguments.data.exists():
        sys.exit(f"no text at {arguments.data}; name a file of articles with --data")
    text = read_text(arguments.data, separator=ARTICLE)
    corpus = Corpus.from_documents(text, validation_fraction=0.05, max_characters=arguments.characters)
    model = LanguageModelConfig(width=arguments.width, n_layers=arguments.layers, n_heads=4, context=64)
    size = {name: vars(arguments)[name] for name in ("characters", "width", "layers", "steps", "max_rank")}
    done = finished(arguments.runs)
    names = [name for name in METHODS if not arguments.methods or any(word in name for word in arguments.methods)]
    for name in names:
        options, rates = METHODS[name]
        for rate in rates:
            run(name, options, rate, SEEDS[0], corpus, model, size, arguments, done)
        for seed in SEEDS[1 : arguments.seeds]:
            run(name, options, best_rate(name, size, done), seed, corpus, model, size, arguments, done)
    report(names, size, done, arguments)


def parsed_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=TEXT)
    parser.add_argument("--runs", type=Path, default=RUNS, help="file of finished runs")
    parser.add_argument("--characters", type=int, default=20_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--max-rank", type=int, default=32)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="*", default=(), help="only methods whose name holds one of these words")
    return parser.parse_args()


def run(name, options, rate, seed, corpus, model, size, arguments, done):
    key = {"method": name, "rate": rate, "seed": seed, **size}
    if any(key.items() <= row.items() for row in done):
        return
    given = options if options["optimizer"] == "adamw" else {"max_rank": arguments.max_rank, **options}
    began = time.perf_counter()
    result = train(
        corpus,
        model,
        TrainingOptions(**given, lr=rate, seed=seed, steps=arguments.steps, evaluate_every=arguments.steps,
                        validation_windows=512, device="cpu"),
    )  # fmt: skip
    row = {
        **key,
        "options": given,
        "validation_loss": result.validation_loss,
        "projected_state_bytes": result.projected_state_bytes,
        "projected_adam_state_bytes": result.projected_adam_state_bytes,
        "state_bytes": result.state_bytes,
        "mean_rank": result.mean_rank,
        "refreshes": len(result.refreshes) if result.refreshes is not None else None,
        "seconds_per_step": result.seconds_per_step,
        "peak_memory_bytes": result.peak_memory_bytes,
    }
    done.append(row)
    arguments.runs.parent.mkdir(exist_ok=True)
    with arguments.runs.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
    print(
        f"{name:40s} rate {rate:.4g} seed {seed}: loss {result.validation_loss:.4f}, "
        f"state {result.projected_state_bytes / result.projected_adam_state_bytes:.3f} of Adam's, "
        f"{time.perf_counter() - began:.0f} s",
        flush=True,
    )


def finished(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def sweep(name, size, done):
    return [row for row in done if {"method": name, "seed": SEEDS[0], **size}.items() <= row.items()]


def rates_tried(name, size, done):
    return sorted(row["rate"] for row in sweep(name, size, done))


def best_rate(name, size, done):
    return min(sweep(name, size, done), key=lambda row: row["validation_loss"])["rate"]


def report(names, size, done, arguments):
    rows = []
    for name in names:
        rate = best_rate(name, size, done)
        runs = [row for row in done if {"method": name, "rate": rate, **size}.items() <= row.items()]
        losses = [row["validation_loss"] for row in runs]
        rows.append(
            {
                "method": name,
                "best rate": rate,
                "rates tried": ", ".join(f"{value:g}" for value in rates_tried(name, size, done)),
                "validation loss": round(statistics.mean(losses), 4),
                "spread": round(max(losses) - min(losses), 4),
                "seeds": len(runs),
                "state of Adam's": statistics.mean(
                    row["projected_state_bytes"] / row["projected_adam_state_bytes"] for row in runs
                ),
                "state bytes": round(statistics.mean(row["projected_state_bytes"] for row in runs)),
                "mean rank": runs[0]["mean_rank"] and statistics.mean(row["mean_rank"] for row in runs),
                "refreshes": runs[0]["refreshes"] and round(statistics.mean(row["refreshes"] for row in runs)),
                "seconds per step": statistics.median(row["seconds_per_step"] for row in runs),
            }
        )
    title = f"Byte-level language model on Wikipedia, {size['steps']} steps, state of the projected layers"
    publish("training_quality", title, rows, page=PAGE, size=size, threads=arguments.threads)


if __name__ == "__main__":
    main()
