"""The command line ``rankopt``: exit codes are 0, 1 (failed or interrupted) and 2 (wrong use)."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from problems import analysis_command, train_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("Interrupted; nothing was written.", file=sys.stderr)
        return 1
    except (ValueError, OSError, MemoryError) as error:
        print(f"rankopt: {error or type(error).__name__}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rankopt", description="Riemannian optimization over subspaces.")
    parser.add_argument("--version", action="version", version=f"rankopt {version('rankopt')}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is being done")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="canonical correlations of image patches and a language model trained by five optimizers, with a report",
        description="Canonical correlations between the halves of image patches, in three metrics; then a small "
        "language model trained on the Python standard library's source by AdamW, GaLore and AdaRankGrad. Writes "
        "index.html, which opens from disk, and results.json.",
    )
    demo.add_argument("-o", "--output", type=Path, default=Path("demo-report"), help="folder (default: %(default)s)")
    demo.add_argument(
        "--patches", type=_patches, default=200_000, help="number of patches (default: %(default)s, at least 2000)"
    )
    demo.add_argument(
        "--steps", type=_steps, default=300, help="training steps of each optimizer (default: %(default)s, at least 10)"
    )
    demo.add_argument(
        "--seed",
        type=_seed,
        default=0,
        help="of places, sketches, start, initial weights and batches (default: %(default)s)",
    )
    demo.add_argument("--no-progress", action="store_true", help="show no progress bars")
    demo.add_argument("--force", action="store_true", help="overwrite files that are not an earlier demo's")
    demo.set_defaults(run=_demo)
    train_command.add_parser(commands)
    analysis_command.add_parsers(commands)
    return parser


def _patches(text: str) -> int:
    number = int(text)
    if number < 2000:
        raise argparse.ArgumentTypeError(f"at least 2000 patches are needed for 432 columns a view, got {number}")
    return number


def _steps(text: str) -> int:
    number = int(text)
    if number < 10:
        raise argparse.ArgumentTypeError(f"at least 10 steps are needed to compare optimizers, got {number}")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"a seed is not negative, got {number}")
    return number


def _demo(options: argparse.Namespace) -> int:
    from problems.demo.experiment import run_experiment
    from problems.demo.patches import photograph_patches
    from problems.demo.report import is_foreign, write_report
    from problems.demo.training import compare_optimizers, standard_library

    if not options.force and is_foreign(options.output):
        print(
            f"rankopt: {options.output} holds files that are not an earlier demo's; choose another folder or --force",
            file=sys.stderr,
        )
        return 2
    began = time.perf_counter()
    progress = sys.stderr.isatty() and not options.no_progress
    print(f"Canonical correlations of {options.patches:,} image patches, in three metrics.", flush=True)
    experiment = run_experiment(photograph_patches(options.patches, options.seed), seed=options.seed, progress=progress)
    for run in experiment.runs:
        reached = "not reached" if run.passes_to_accuracy is None else f"in {run.passes_to_accuracy} passes"
        print(
            f"  {run.name:9s} suboptimality {max(run.suboptimality[-1], 0):.1e} after {run.passes} passes, "
            f"{run.seconds:.1f} s; 1e-6 {reached}"
        )
    print(f"  direct    {experiment.direct_seconds:.1f} s in one pass: covariances formed and decomposed")
    print(f"A language model on the standard library's source, {options.steps} steps by each optimizer.", flush=True)
    comparison = compare_optimizers(standard_library(), steps=options.steps, seed=options.seed, progress=progress)
    for name, result in comparison.all_runs:
        state = result.projected_state_bytes / result.projected_adam_state_bytes
        print(
            f"  {name:{max(len(run.name) for run in comparison.all_runs)}s}  loss {result.validation_loss:.3f}, "
            f"{state:.2f} of AdamW's state, {result.seconds:.1f} s; learning rate {result.options.rate:g}"
        )
    seconds = time.perf_counter() - began
    page, numbers = write_report(experiment, comparison, options.output, {"seed": options.seed, "seconds": seconds})
    print(f"Report: {page}\nNumbers: {numbers}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
