"""The command ``rankopt train``: a language model from text, in a folder that can be resumed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from problems.corpus import Corpus
    from problems.training_run import TrainingResult

_RUN, _TOKENIZER, _LOSS, _RANKS = "run.json", "tokenizer.json", "loss.png", "ranks.png"

# Settings: their type or choices, and what the help says. Where it names no default, that of the dataclass is added, or
# that the optimizer has its own.
_TEXT: dict[str, tuple[Any, str]] = {
    "separator": (
        str,
        "regular expression between the documents of a file, which are shuffled before the split, for instance "
        '"</?doc[^>]*>" (default: a file is one document)',
    ),
    "tokenizer": (
        ("bytes", "bpe"),
        'bpe learns byte pairs from the text and needs pip install "rankopt[text]" (default: bytes)',
    ),
    "vocabulary_size": (int, "tokens of bpe at most (default: 4096)"),
    "max_characters": (int, "characters of the shuffled text to use (default: all)"),
}
_MODEL: dict[str, tuple[Any, str]] = {
    "width": (int, "of the residual stream (default: 128)"),
    "n_layers": (int, "number of blocks (default: 4)"),
    "n_heads": (int, "attention heads per block (default: 4)"),
    "intermediate": (int, "width inside the feed-forward part (default: 8/3 of the width)"),
    "context": (int, "tokens per window (default: 64)"),
}
_OPTIMIZER: dict[str, tuple[Any, str]] = {
    "optimizer": (("adarankgrad", "galore", "adamw"), "of the matrices of the blocks; AdamW trains the rest"),
    "lr": (float, "learning rate of the matrices of the blocks (default: 0.003, for galore 0.01)"),
    "full_rank_lr": (float, "learning rate of embedding, head and norms"),
    "weight_decay": (float, "of the matrices of the blocks"),
    "max_grad_norm": (float, "norm that all gradients together are clipped to"),
    "min_rank": (int, "adarankgrad: least rank of the projections"),
    "max_rank": (int, "of the projections (default: a quarter of the width)"),
    "energy": (float, "adarankgrad: share of the gradient's energy that the projection keeps"),
    "residual": (("fira", "sign"), "what happens to the part that the projection drops (default: nothing)"),
    "residual_scale": (float, "of that part's step"),
    "side": (("short", "long", "left", "right"), "side of the gradient that is projected"),
    "subspace": (
        ("range", "svd", "riemannian", "geodesic", "dct", "random"),
        "adarankgrad: how the subspace moves at a refresh",
    ),
    "tolerance": (float, "adarankgrad: refresh when the projected gradient's norm is below this share of its first"),
    "min_gap": (int, "adarankgrad: steps between refreshes at least"),
    "max_gap": (int, "steps between refreshes at most"),
    "scale": (float, "factor of the projected update"),
    "moment_transport": (
        ("keep", "mass", "completed", "variance", "linear", "reset"),
        "how the moments follow a refresh",
    ),
    "accumulate": (("low-rank",), "accumulate microbatches in the projected space (default: in full)"),
}
_RUNNING: dict[str, tuple[Any, str]] = {
    "steps": (int, "number of optimizer steps"),
    "batch_size": (int, "windows per microbatch"),
    "microbatches": (int, "backward passes per step"),
    "warmup": (int, "steps of linear warm-up (default: a tenth of all)"),
    "seed": (int, "of initial weights, batches and sketches"),
    "dtype": (("float32", "bfloat16"), "of weights and gradients"),
    "device": (str, "auto, cpu, cuda or cuda:N"),
    "compile": (bool, "compile the model by torch.compile"),
    "evaluate_every": (int, "steps between evaluations"),
    "checkpoint_every": (int, "steps between checkpoints"),
    "validation_windows": (int, "windows that the validation loss is the mean over, at most"),
}


def add_parser(commands: Any) -> None:
    """Add the command to those of ``rankopt``."""
    from problems.training_options import TrainingOptions

    defaults = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
    parser = commands.add_parser(
        "train",
        help="train a language model with low-rank gradients",
        usage="rankopt train [PATH] [options]",
        description="Train a small LLaMA-like language model on text. Writes checkpoint.pt, metrics.jsonl (a line per "
        "step), run.json and pictures. Ctrl-C finishes the step and writes a checkpoint; --resume goes on from it, bit "
        "for bit as if the run had not been stopped.",
        argument_default=argparse.SUPPRESS,  # so that a resumed run knows which settings were given
    )
    parser.add_argument(
        "path",
        nargs="?",
        default=None,
        type=_existing,
        metavar="PATH",
        help="text file (.gz and .xz too) or folder of text files (default: the Python standard library's sources)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("training-run"), help="folder (default: training-run)"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume",
        action="store_true",
        default=False,
        help="go on with the folder's run; its settings need not be repeated",
    )
    existing.add_argument("--force", action="store_true", default=False, help="overwrite the folder's run")
    parser.add_argument(
        "--sample", type=_count, default=0, metavar="N", help="at the end, print N tokens the model writes"
    )
    parser.add_argument("--no-progress", action="store_true", default=False, help="show no progress bar")
    for title, settings in (("text", _TEXT), ("model", _MODEL), ("optimizer", _OPTIMIZER), ("run", _RUNNING)):
        _add_settings(parser.add_argument_group(title), settings, defaults)
    parser.set_defaults(run=run)


def _add_settings(group: Any, settings: Mapping[str, tuple[Any, str]], defaults: Mapping[str, Any]) -> None:
    for name, (kind, text) in settings.items():
        flag = f"--{name.removeprefix('n_').replace('_', '-')}"
        if kind is bool:
            group.add_argument(flag, dest=name, action="store_true", help=text)
            continue
        if "default:" not in text:
            default = defaults[name]
            text += f" (default: {'the optimizer has its own' if default is None else default})"
        if isinstance(kind, tuple):
            group.add_argument(flag, dest=name, choices=kind, help=text)
        else:
            metavar = {int: "N", float: "X", str: "TEXT"}[kind]
            group.add_argument(flag, dest=name, type=kind, metavar=metavar, help=text)


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no file or folder {text}")
    return path.resolve()


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"a number of tokens is not negative, got {number}")
    return number


def run(options: argparse.Namespace) -> int:
    """Train, and say what came out."""
    from problems.checkpoint import CHECKPOINT, METRICS, RunFolder
    from problems.language_model import LanguageModel, LanguageModelConfig
    from problems.training import train
    from problems.training_options import TrainingOptions, build_optimizer
    from problems.training_run import find_device

    folder: Path = options.output
    present = [name for name in (CHECKPOINT, METRICS, _RUN, _TOKENIZER, _LOSS, _RANKS) if (folder / name).exists()]
    if options.resume and CHECKPOINT not in present:
        return _refuse(f"there is no {CHECKPOINT} in {folder} to resume from")
    if present and not (options.resume or options.force):
        return _refuse(f"{folder} holds the {present[0]} of another run; choose another folder, --resume or --force")
    earlier = json.loads((folder / _RUN).read_text(encoding="utf-8")) if options.resume and _RUN in present else {}
    text = _settings(options, ("path", *_TEXT), earlier.get("text", {}))
    size = _settings(options, tuple(_MODEL), earlier.get("model", {}))
    chosen = _settings(options, (*_OPTIMIZER, *_RUNNING), earlier.get("options", {}))
    try:
        LanguageModelConfig(**size)
        training = TrainingOptions(**chosen)
    except ValueError as error:
        return _refuse(str(error))
    try:
        corpus = _corpus(text, folder / _TOKENIZER if _TOKENIZER in present and options.resume else None)
    except ImportError as error:
        return _refuse(str(error), code=1)
    config = LanguageModelConfig(corpus.vocabulary_size, **size)
    # What cannot be trained is no reason to delete an earlier run.
    corpus.batch(0, 1, config.context)
    corpus.validation_windows(config.context, 1)
    try:
        find_device(training.device)
        build_optimizer(LanguageModel(config), training)
    except (TypeError, ValueError) as error:
        return _refuse(str(error))
    try:
        if not options.resume:
            RunFolder(folder).start(overwrite=options.force)
            for name in (_RUN, _TOKENIZER, _LOSS, _RANKS):
                (folder / name).unlink(missing_ok=True)
            if text.get("tokenizer") == "bpe":
                corpus.tokenizer.save(folder / _TOKENIZER)  # type: ignore[union-attr]
            _write_json(folder / _RUN, {"text": text, "model": size, "options": chosen})
        print(
            f"{training.optimizer} on {len(corpus.train):,} tokens ({len(corpus.validation):,} more held out), "
            f"{training.steps} steps of {training.batch_size * training.microbatches} x {config.context} tokens",
            flush=True,
        )
        progress = sys.stderr.isatty() and not options.no_progress
        result = train(corpus, config, training, folder=folder, resume=options.resume, progress=progress)
    except KeyboardInterrupt:
        return _refuse(f"interrupted; the last checkpoint is in {folder}", code=1)
    if result.interrupted:
        command = shlex.join(["rankopt", "train", "--output", str(folder), "--resume"])
        return _refuse(f"stopped after step {result.step} of {training.steps}; go on with: {command}", code=1)
    if result.diverged:
        return _refuse(f"the loss was not finite at step {result.step}; try a smaller --lr", code=1)
    _write_json(folder / _RUN, {"text": text, "model": size, "options": chosen, "result": as_results(result)})
    files = [CHECKPOINT, METRICS, _RUN, *_write_pictures(result, folder)]
    print(_summary(result))
    print(f"files            {', '.join(str(folder / name) for name in files)}")
    if options.sample:
        print(f"sample\n{_sample(result, corpus, options.sample)}")
    return 0


def _refuse(sentence: str, code: int = 2) -> int:
    print(f"rankopt: {sentence}", file=sys.stderr)
    return code


def _settings(options: argparse.Namespace, names: tuple[str, ...], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of these names: those given, else those of the earlier run; the others have their defaults."""
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if "path" in given:
        given["path"] = given["path"] and str(given["path"])
    return {**earlier, **{name: value for name, value in given.items() if value is not None}}


def _corpus(text: Mapping[str, Any], saved_tokenizer: Path | None) -> Corpus:
    from problems.corpus import Corpus, read_text
    from problems.tokenizer import BytePairTokenizer

    documents = read_text(text.get("path"), separator=text.get("separator"))
    given = {name: text[name] for name in ("tokenizer", "vocabulary_size", "max_characters") if name in text}
    if saved_tokenizer is not None:
        given["tokenizer"] = BytePairTokenizer.load(saved_tokenizer)
    return Corpus.from_documents(documents, **given)


def as_results(result: TrainingResult) -> dict[str, Any]:
    """Numbers of a run as plain JSON values."""
    return {
        "validation_loss": result.validation_loss,
        "learning_rate": result.options.rate,
        "parameters": sum(weight.numel() for weight in result.model.parameters()),
        **{
            name: getattr(result, name)
            for name in (
                "step",
                "mean_rank",
                "state_bytes",
                "projected_state_bytes",
                "adam_state_bytes",
                "projected_adam_state_bytes",
                "peak_memory_bytes",
                "seconds_per_step",
                "seconds",
            )
        },
    }


def _summary(result: TrainingResult) -> str:
    loss = result.validation_loss
    state = f"{_size(result.state_bytes)}; AdamW's for all parameters is {_size(result.adam_state_bytes)}"
    lines = [
        f"validation loss  {loss:.4f} nats per token ({loss / math.log(2):.3f} bits)",
        f"optimizer state  {state}",
    ]
    if result.mean_rank is not None:
        ratio = result.projected_state_bytes / result.projected_adam_state_bytes
        lines.append(
            f"projected        {ratio:.2f} of AdamW's state for the same matrices, mean rank {result.mean_rank:.1f}"
        )
    lines.append(f"time             {result.seconds_per_step:.3g} s per step (median), {result.seconds:.0f} s in all")
    if result.peak_memory_bytes is not None:
        lines.append(f"memory           {_size(result.peak_memory_bytes)} at most")
    return "\n".join(lines)


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _write_json(file: Path, contents: Mapping[str, Any]) -> None:
    from rankopt.atomic_file import replace_file

    replace_file(file, lambda stream: stream.write((json.dumps(contents, indent=2) + "\n").encode()))


def _write_pictures(result: TrainingResult, folder: Path) -> list[str]:
    from problems.training_figures import loss_figure, rank_figure
    from rankopt.atomic_file import replace_file

    figures = {_LOSS: loss_figure(result)}
    if result.refreshes is not None and len(result.refreshes):
        figures[_RANKS] = rank_figure(result)
    for name, figure in figures.items():
        replace_file(folder / name, partial(figure.savefig, format="png", dpi=160))
    return list(figures)


def _sample(result: TrainingResult, corpus: Corpus, length: int) -> str:
    """What the model writes after the first half context of the validation text."""
    given = corpus.validation[: max(result.model.config.context // 2, 1)].long()[None]
    device = next(result.model.parameters()).device
    text = corpus.decode(result.model.eval().generate(given.to(device), length, seed=result.options.seed)[0])
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)
