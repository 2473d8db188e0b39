"""Fine-tuning at equal memory: a small language model of Wikipedia's bytes, tuned to tell the sentiment of sentences.

The language model is trained once, with AdamW, and then tuned as a classifier of SST-2 (mean of the hidden states, then
a linear head) by every method. The learning rate of the matrices is swept for each method on one seed, by the accuracy
on the dev part; a sweep whose best rate lies at an end goes on. The best rate is run with more seeds. The head, the
embedding and the norms have rates of their own, the same for all methods. LoRA is given the rank at which its optimizer
state is closest to that of AdaRankGrad.

Seconds are those of the processor, since this is a benchmark to leave in the background. Finished runs are appended to
a file beside the results, and a benchmark that was interrupted goes on after the last.
"""

import argparse
import csv
import hashlib
import io
import json
import logging
import lzma
import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from problems import Corpus, LanguageModel, LanguageModelConfig, TrainingOptions, TrainingStep, read_text, train
from rankopt import AdaRankGrad, GaLore, memory_report, param_groups

from ._data import DATA
from ._table import publish

RESULTS = Path(__file__).parent / "results"
MATRICES = ("query", "key", "value", "output", "gate", "up", "down")


@dataclass(frozen=True)
class Size:
    """How large the benchmark is; runs of another size are not mixed with these."""

    width: int = 128
    n_layers: int = 3
    context: int = 160
    characters: int = 20_000_000
    pretraining_steps: int = 1500
    pretraining_batch: int = 24
    steps: int = 350
    batch: int = 32
    max_rank: int = 32
    gap: int = 100
    seeds: int = 3
    rates: int = 3
    extra_rates: int = 1


QUICK = Size(
    width=64,
    n_layers=2,
    context=96,
    characters=2_000_000,
    pretraining_steps=100,
    steps=40,
    max_rank=16,
    gap=20,
    seeds=1,
    rates=2,
    extra_rates=0,
)

PAGE = (
    "method", "rate", "dev accuracy", "dev spread", "test accuracy", "test spread", "mean rank", "state MB",
    "state to AdamW's",
)  # fmt: skip
"""Columns that the documentation shows."""

HEAD_RATE = 3e-3
FULL_RANK_RATE = 5e-4
"""Of the embedding and the norms."""
WARM_UP = 0.06


# ------------------------------------------------------------------------------------------------------- data
@dataclass(frozen=True)
class Sentences:
    """Bytes of sentences, zeros behind them, with lengths and labels."""

    tokens: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def read(cls, path: Path, context: int) -> "Sentences":
        """Label and sentence from each line; of a sentence longer than the context, its end."""
        with lzma.open(path, "rt", encoding="utf-8", newline="") as stream:
            text = stream.read()
        rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
        encoded = [row[1].strip().encode()[-context:] for row in rows]
        lengths = torch.tensor([len(sentence) for sentence in encoded])
        tokens = torch.zeros(len(rows), context, dtype=torch.uint8)
        for index, sentence in enumerate(encoded):
            tokens[index, : len(sentence)] = torch.frombuffer(bytearray(sentence), dtype=torch.uint8)
        return cls(tokens, lengths, torch.tensor([int(row[0]) for row in rows]))

    def take(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens, lengths and labels, with no more columns than the longest sentence needs."""
        lengths = self.lengths[chosen]
        return self.tokens[chosen, : int(lengths.max())].long(), lengths, self.labels[chosen]

    def batches(self, number: int, size: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Random batches of sentences of similar length, so that little of them is padding."""
        rng = np.random.default_rng(seed)
        pool = 16
        while number > 0:
            drawn = rng.permutation(len(self.labels))
            for start in range(0, len(drawn) - pool * size + 1, pool * size):
                part = torch.from_numpy(drawn[start : start + pool * size])
                part = part[self.lengths[part].argsort()].reshape(pool, size)
                for index in rng.permutation(pool)[:number]:
                    yield self.take(part[index])
                number -= min(pool, number)
                if number == 0:
                    return


class Classifier(nn.Module):
    """Two logits from the mean of a language model's hidden states."""

    def __init__(self, body: LanguageModel, seed: int):
        super().__init__()
        self.body = body
        self.body.head = nn.Identity()  # not used, so that it must not count as a parameter
        self.classifier = nn.Linear(body.config.width, 2)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.classifier.weight.normal_(std=0.02, generator=generator)
            self.classifier.bias.zero_()

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        # Attention is causal: what stands behind a sentence does not reach its states.
        states = self.body.hidden_states(tokens)
        inside = torch.arange(tokens.shape[1]) < lengths[:, None]
        return self.classifier((states * inside[..., None]).sum(dim=1) / lengths[:, None])


# ------------------------------------------------------------------------------------------------ pre-training
def pretrained(size: Size, data: Path) -> tuple[dict[str, torch.Tensor], float]:
    """Weights of the language model, and its loss on held-out text; trained once, and resumed where it was cut off."""
    fields = ("width", "n_layers", "context", "characters", "pretraining_steps", "pretraining_batch")
    settings = {name: getattr(size, name) for name in fields}
    folder = RESULTS / f"language-model-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]}"
    (source,) = (data / "wikipedia-en-2015").glob("*.txt.xz")
    documents = read_text(source, separator="</?doc[^>]*>")
    corpus = Corpus.from_documents(documents, validation_fraction=0.02, max_characters=size.characters)
    training = TrainingOptions(
        optimizer="adamw",
        steps=size.pretraining_steps,
        batch_size=size.pretraining_batch,
        device="cpu",
        evaluate_every=250,
        checkpoint_every=100,
    )

    def look(done: TrainingStep) -> None:
        if done.validation_loss is not None:
            print(f"language model, step {done.step}: {done.validation_loss:.3f} nats per byte", flush=True)

    started = (folder / "checkpoint.pt").exists()
    result = train(corpus, model_config(size), training, folder=folder, resume=started, callback=look)
    if result.interrupted:
        raise KeyboardInterrupt
    return result.model.state_dict(), result.validation_loss


def model_config(size: Size) -> LanguageModelConfig:
    return LanguageModelConfig(width=size.width, n_layers=size.n_layers, context=size.context)


def rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    return TrainingOptions(steps=steps, warmup=max(1, round(WARM_UP * steps))).rate_factor(step)


# ------------------------------------------------------------------------------------------------- the methods
METHODS = {
    "AdamW": (6e-5, 2e-4, 6e-4),
    "GaLore": (2e-4, 6e-4, 2e-3),
    "AdaRankGrad": (2e-4, 6e-4, 2e-3),
    "AdaRankGrad, sign residual": (6e-5, 2e-4, 6e-4),
    "LoRA": (6e-4, 2e-3, 6e-3),
}
"""Learning rates of the matrices from which each method's sweep starts. LoRA's rank needs AdaRankGrad's runs."""


def optimizer_for(method: str, model: Classifier, rate: float, size: Size, seed: int) -> torch.optim.Optimizer:
    head = {"params": list(model.classifier.named_parameters("classifier")), "lr": HEAD_RATE}
    if method == "LoRA":
        adapters = [(name, p) for name, p in model.named_parameters() if "lora_" in name]
        return torch.optim.AdamW([{"params": adapters, "lr": rate}, head], weight_decay=0.0, fused=True)
    if method == "AdamW":
        matrices = [(name, p) for name, p in model.body.named_parameters() if is_matrix(name)]
        others = [(name, p) for name, p in model.body.named_parameters() if not is_matrix(name)]
        groups = [{"params": matrices, "lr": rate}, {"params": others, "lr": FULL_RANK_RATE}, head]
        return torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
    groups = param_groups(model.body, max_rank=size.max_rank, full_rank_lr=FULL_RANK_RATE)
    groups.append(head | {"low_rank": False})
    if method == "GaLore":
        return GaLore(groups, lr=rate, max_rank=size.max_rank, max_gap=size.gap, scale=1.0)
    residual = {"energy": 0.9, "residual": "sign", "tolerance": 0.8} if "sign" in method else {"energy": 0.95}
    return AdaRankGrad(groups, lr=rate, max_rank=size.max_rank, max_gap=size.gap, seed=seed, **residual)


def is_matrix(name: str) -> bool:
    return name.endswith(tuple(f"{matrix}.weight" for matrix in MATRICES))


def add_lora(model: Classifier, rank: int, seed: int) -> None:
    """Freeze the language model and put adapters beside its matrices, with the usual factor alpha / r = 2."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(MATRICES))
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model.body)


def lora_rank(state_bytes: int, model: Classifier) -> int:
    """Rank at which two moments of the adapters and the head are closest to so many bytes."""
    head = sum(p.numel() for p in model.classifier.parameters())
    per_rank = sum(sum(p.shape) for name, p in model.body.named_parameters() if is_matrix(name))
    return max(1, round((state_bytes / 8 - head) / per_rank))


def tune(method: str, rate: float, seed: int, rank: int | None, size: Size, weights: dict, parts: dict) -> dict:
    """One run and what it measured."""
    body = LanguageModel(model_config(size))
    body.load_state_dict(weights)
    model = Classifier(body, seed)
    if rank is not None:
        add_lora(model, rank, seed)
    optimizer = optimizer_for(method, model, rate, size, seed)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, size.steps))
    trained = [p for p in model.parameters() if p.requires_grad]
    state_bytes, seconds, optimizer_seconds, losses = 0, [], [], []
    for step, (tokens, lengths, labels) in enumerate(parts["train"].batches(size.steps, size.batch, seed)):
        began = time.process_time()
        loss = nn.functional.cross_entropy(model(tokens, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        began_step = time.process_time()
        optimizer.step()
        ended = time.process_time()
        scheduler.step()
        seconds.append(ended - began)
        optimizer_seconds.append(ended - began_step)
        losses.append(loss.item())
        if step % 10 == 0 or step + 1 == size.steps:
            state_bytes = max(state_bytes, memory_report(optimizer).state)
    ranks = [state["rank"] for state in optimizer.state.values() if "rank" in state]
    return {
        "train_loss": statistics.mean(losses[-len(losses) // 5 :]),
        "dev_accuracy": accuracy(model, parts["dev"]),
        "test_accuracy": accuracy(model, parts["test"]),
        "state_bytes": state_bytes,
        "trained_parameters": sum(p.numel() for p in trained),
        "seconds_per_step": statistics.mean(seconds),
        "optimizer_seconds_per_step": statistics.mean(optimizer_seconds),
        "mean_rank": statistics.mean(ranks) if ranks else rank,
    }


@torch.no_grad()
def accuracy(model: Classifier, sentences: Sentences) -> float:
    right = 0
    for chosen in sentences.lengths.argsort().split(64):
        tokens, lengths, labels = sentences.take(chosen)
        right += int((model(tokens, lengths).argmax(dim=1) == labels).sum())
    return right / len(sentences.labels)


# ------------------------------------------------------------------------------------------------------- runs
class Runs:
    """Finished runs, kept in a file of one line each."""

    def __init__(self, path: Path, size: Size):
        self.path, self.size = path, asdict(size)
        self.done: list[dict] = []
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if text and not text.endswith("\n"):
                path.write_text(f"{text}\n", encoding="utf-8")
            for line in text.splitlines():
                try:
                    run = json.loads(line)
                except json.JSONDecodeError:  # cut off while it was written
                    continue
                if run["size"] == self.size:
                    self.done.append(run)

    def get(self, method: str, rate: float, seed: int, rank: int | None) -> dict | None:
        key = {"method": method, "learning_rate": rate, "seed": seed, "lora_rank": rank}
        return next((run for run in self.done if key.items() <= run.items()), None)

    def add(self, run: dict) -> None:
        run = run | {"size": self.size}
        self.done.append(run)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(run) + "\n")


def best_rate(runs: dict[float, dict]) -> float:
    # The training loss decides between equal accuracies.
    return max(runs, key=lambda rate: (runs[rate]["dev_accuracy"], -runs[rate]["train_loss"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with wikipedia-en-2015 and sst-2")
    parser.add_argument("--quick", action="store_true", help="two minutes, to try it out; the numbers mean nothing")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    for name in ("width", "n_layers", "pretraining_steps", "steps", "seeds"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    options = parser.parse_args()
    missing = [name for name in ("wikipedia-en-2015", "sst-2") if not (options.data / name).is_dir()]
    if missing:
        print(f"finetuning is left out: {' and '.join(missing)} not found in {options.data}; say where with --data")
        return
    chosen = {name: value for name, value in vars(options).items() if name in Size.__dataclass_fields__ and value}
    size = Size(**(asdict(QUICK if options.quick else Size()) | chosen))
    torch.set_num_threads(options.threads)
    RESULTS.mkdir(exist_ok=True)

    weights, validation_loss = pretrained(size, options.data)
    names = ("train", "dev", "test")
    parts = {name: Sentences.read(options.data / "sst-2" / f"{name}.tsv.xz", size.context) for name in names}
    runs = Runs(RESULTS / "finetuning-runs.jsonl", size)

    def run(method: str, rate: float, seed: int, rank: int | None) -> dict:
        if finished := runs.get(method, rate, seed, rank):
            return finished
        measured = tune(method, rate, seed, rank, size, weights, parts)
        runs.add({"method": method, "learning_rate": rate, "seed": seed, "lora_rank": rank, **measured})
        print(
            f"{method}, rate {rate:g}, seed {seed}: dev {measured['dev_accuracy']:.3f}, loss "
            f"{measured['train_loss']:.3f}, state {measured['state_bytes'] / 1e6:.2f} MB",
            flush=True,
        )
        return measured

    rows, at_best = [], {}
    for method, rates in METHODS.items():
        rank = None
        if method == "LoRA":
            state_bytes = round(statistics.mean(one["state_bytes"] for one in at_best["AdaRankGrad"]))
            body = LanguageModel(model_config(size))
            rank = lora_rank(state_bytes, Classifier(body, 0))
        sweep = {rate: run(method, rate, 0, rank) for rate in rates[: size.rates]}
        for _ in range(size.extra_rates):
            best, ordered = best_rate(sweep), sorted(sweep)
            if best not in (ordered[0], ordered[-1]):
                break
            further = float(f"{best / 3 if best == ordered[0] else best * 3:.1g}")
            sweep[further] = run(method, further, 0, rank)
        best = best_rate(sweep)
        at_best[method] = finished = [run(method, best, seed, rank) for seed in range(size.seeds)]
        rows.append(summary(method, best, sweep, finished))
    adam_bytes = rows[0]["state MB"]
    for row in rows:
        row["state to AdamW's"] = row["state MB"] / adam_bytes
    publish(
        "finetuning-quick" if options.quick else "finetuning",
        f"SST-2 from a byte model with {validation_loss:.3f} nats per byte: {size.steps} steps of {size.batch} "
        f"sentences, {size.seeds} seeds at the best rate, threads: {options.threads}",
        rows,
        page=not options.quick and PAGE,
        size=asdict(size),
        validation_loss=validation_loss,
        runs=runs.done,
    )


def summary(method: str, rate: float, sweep: dict[float, dict], runs: list[dict]) -> dict:
    def mean(key: str) -> float:
        return statistics.mean(run[key] for run in runs)

    def spread(key: str) -> float | None:
        return statistics.stdev(run[key] for run in runs) if len(runs) > 1 else None

    return {
        "method": method,
        "rate": rate,
        "at an end": "yes" if rate in (min(sweep), max(sweep)) else "no",
        "dev accuracy": mean("dev_accuracy"),
        "dev spread": spread("dev_accuracy"),
        "test accuracy": mean("test_accuracy"),
        "test spread": spread("test_accuracy"),
        "train loss": mean("train_loss"),
        "trained": runs[0]["trained_parameters"],
        "mean rank": mean("mean_rank") if runs[0]["mean_rank"] is not None else None,
        "state MB": mean("state_bytes") / 1e6,
        "CPU s per step": mean("seconds_per_step"),
        "of it optimizer": mean("optimizer_seconds_per_step"),
    }


if __name__ == "__main__":
    main()
