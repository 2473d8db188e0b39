"""Second part of the report: five optimizers on a language model, their figures, table, sentences and numbers."""

from __future__ import annotations

import math
from typing import Any

from problems.demo.training import BATCH_SIZE, Comparison, OptimizerRun
from problems.training_figures import rank_figure

_COLOURS = ("#b0413e", "#2f6f9f", "#5a8f4e", "#c98a2b", "#8a6bb1")


def as_results(comparison: Comparison) -> dict[str, Any]:
    """Numbers of the comparison as plain JSON values."""
    config = comparison.runs[0].result.model.config
    return {
        "train_tokens": comparison.n_train,
        "validation_tokens": comparison.n_validation,
        "model": {**vars(config), "parameters": _parameters(comparison)},
        "batch_size": BATCH_SIZE,
        "runs": [_run_results(run) for run in comparison.runs],
        "variants": [_run_results(run) for run in comparison.variants],
    }


def _run_results(run: OptimizerRun) -> dict[str, Any]:
    name, result = run
    return {
        "name": name,
        "validation_loss": None if result.diverged else result.validation_loss,
        "state_bytes": result.projected_state_bytes,
        "state_of_adamw": _state_ratio(run),
        "total_state_bytes": result.state_bytes,
        "seconds_per_step": result.seconds_per_step,
        "seconds": result.seconds,
        "learning_rate": result.options.rate,
        "mean_rank": result.mean_rank,
        "refreshes": None if result.refreshes is None else len(result.refreshes),
        "steps": result.step,
        "options": result.options.low_rank_options,
        "history": {"steps": result.validation_steps, "validation_loss": result.validation_losses},
    }


def texts(comparison: Comparison) -> dict[str, Any]:
    """Words and numbers that the page's sentences leave open, and sentences that depend on the numbers."""
    adamw, galore, adarankgrad = comparison.runs
    config, options = adamw.result.model.config, adarankgrad.result.options
    return {
        "train_megabytes": f"{comparison.n_train / 1e6:.1f}",
        "validation_megabytes": f"{comparison.n_validation / 1e6:.1f}",
        "n_parameters": f"{float(f'{_parameters(comparison):.2g}'):,.0f}",
        "n_layers": config.n_layers,
        "width": config.width,
        "context": config.context,
        "batch_size": BATCH_SIZE,
        "steps": adamw.result.options.steps,
        "full_rank_rate": f"{options.full_rank_lr:g}",
        "max_rank": options.max_rank,
        "galore_gap": galore.result.options.max_gap,
        "energy": f"{options.energy:.0%}",
        "rates": "; ".join(f"{run.name} {run.result.options.rate:g}" for run in comparison.all_runs),
        "adamw_megabytes": f"{adamw.result.state_bytes / 1e6:.1f}",
        "options": "; ".join(
            f"{run.name} " + ", ".join(f"{name}={value}" for name, value in run.result.options.low_rank_options.items())
            for run in comparison.all_runs[1:]
        ),
        "losses_compared": _losses_compared(comparison.all_runs),
        "adarankgrad_compared": _against_baselines(adarankgrad, [adamw, galore]),
        "variants_compared": " ".join(_against_baselines(run, [adarankgrad, adamw]) for run in comparison.variants),
    }


def _losses_compared(runs: list[OptimizerRun]) -> str:
    """Sentence on the order of the losses."""
    best, *others = sorted(runs, key=lambda run: run.result.validation_loss)
    rest = ", ".join(f"{run.name} at {_loss(run)}" for run in others)
    return f"The lowest validation loss is that of {best.name}, {_loss(best)} nats per byte; then come {rest}."


def _against_baselines(run: OptimizerRun, baselines: list[OptimizerRun]) -> str:
    """Sentence on a run's state, rank and loss beside those of others."""
    distances = " and ".join(_distance(run, baseline) for baseline in baselines)
    return (
        f"{run.name} keeps {_state_ratio(run):.0%} of AdamW's state for the matrices at the end, at a rank of "
        f"{run.result.mean_rank:.1f} in the mean over layers and steps, and its loss is {distances}."
    )


def _distance(run: OptimizerRun, baseline: OptimizerRun) -> str:
    difference = run.result.validation_loss - baseline.result.validation_loss
    if not math.isfinite(difference):
        return f"not to be compared with that of {baseline.name}"
    if abs(difference) < 5e-4:
        return f"that of {baseline.name}"
    return f"{abs(difference):.3f} {'above' if difference > 0 else 'below'} that of {baseline.name}"


def _loss(run: OptimizerRun) -> str:
    return "no finite loss" if run.result.diverged else f"{run.result.validation_loss:.3f}"


def _state_ratio(run: OptimizerRun) -> float:
    return run.result.projected_state_bytes / run.result.projected_adam_state_bytes


def _parameters(comparison: Comparison) -> int:
    return sum(weight.numel() for weight in comparison.runs[0].result.model.parameters())


def tables(comparison: Comparison) -> dict[str, list[list[Any]]]:
    """Rows of cells by their places in the page."""
    return {"optimizers": [_cells(run) for run in comparison.all_runs]}


def _cells(run: OptimizerRun) -> list[Any]:
    name, result = run
    return [
        name,
        f"{result.options.rate:g}",
        _loss(run),
        f"{result.projected_state_bytes / 1e6:.2f}",
        f"{_state_ratio(run):.2f}",
        f"{result.state_bytes / 1e6:.2f}",
        None if result.mean_rank is None else f"{result.mean_rank:.1f}",
        f"{result.seconds_per_step:.3f}",
    ]


def figures(comparison: Comparison) -> dict[str, Any]:
    """Pictures by their places in the page."""
    return {"losses": loss_figure(comparison), "ranks": rank_figure(comparison.runs[-1].result)}


def loss_figure(comparison: Comparison) -> Any:
    """Validation losses against steps, and the last ones against the state of the projected layers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for run, colour in zip(comparison.all_runs, _COLOURS, strict=True):
        result = run.result
        style = {"color": colour, "label": run.name}
        axes[0].plot(result.validation_steps, result.validation_losses, "o-", ms=3, lw=1.6, **style)
        axes[1].plot(_state_ratio(run), result.validation_loss, "o", ms=9, **style)
    axes[0].set_xlabel("steps")
    axes[0].set_ylabel("validation loss, nats per byte")
    axes[1].set_xlabel("state of the matrices, AdamW's = 1")
    axes[1].set_ylabel("validation loss at the end")
    for ax in axes:
        ax.set_xlim(left=0)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
