"""First part of the report: canonical correlations, their figures, table and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems.demo.experiment import ACCURACY, Experiment, MetricRun
from problems.demo.patches import as_pictures

_LABELS = {
    "identity": "no preconditioner, M = I",
    "sketched": "sketched preconditioner",
    "exact": "exact preconditioner, M = B",
}
_COLOURS = {"identity": "#b0413e", "sketched": "#2f6f9f", "exact": "#5a8f4e"}


def as_results(experiment: Experiment) -> dict[str, Any]:
    """Numbers of the experiment as plain JSON values."""
    oracle = experiment.oracle
    return {
        "n_samples": experiment.n_samples,
        "n_features": list(experiment.n_features),
        "covariance_condition_numbers": list(oracle.condition_numbers),
        "oracle_correlations": oracle.correlations.tolist(),
        "direct": {"seconds": experiment.direct_seconds, "correlations": experiment.direct_correlations.tolist()},
        "seconds_per_pass": experiment.pass_seconds,
        "runs": [_run_results(run, experiment) for run in experiment.runs],
    }


def _run_results(run: MetricRun, experiment: Experiment) -> dict[str, Any]:
    return {
        "name": run.name,
        "correlations": run.correlations.tolist(),
        "largest_correlation_error": _error(run, experiment),
        "passes": run.passes,
        "passes_to_1e-6": run.passes_to_accuracy,
        "iterations": run.iterations,
        "seconds": run.seconds,
        "set_up_seconds": run.set_up_seconds,
        "condition_number": run.condition_number,
        "sketch_size": run.sketch_size,
        "status": run.status.name,
        "relative_suboptimality": float(run.suboptimality[-1]),
        "history": {
            "passes": run.passes_so_far.tolist(),
            "seconds": run.seconds_so_far.tolist(),
            "relative_suboptimality": run.suboptimality.tolist(),
        },
    }


def texts(experiment: Experiment) -> dict[str, Any]:
    """Words and numbers that the page's sentences leave open; None where there is no such number."""
    runs = {run.name: run for run in experiment.runs}
    passes = runs["sketched"].passes_to_accuracy or runs["sketched"].passes
    # Forming the covariances costs n d^2, a pass n d: their ratio at this size puts the break-even in the model.
    break_even = experiment.n_features[0] * passes * experiment.pass_seconds / experiment.direct_seconds
    return {
        "n_samples": f"{experiment.n_samples:,}",
        "n_features": f"{experiment.n_features[0]}",
        "condition": f"{max(experiment.oracle.condition_numbers) / 1e6:.1f} million",
        "gap": f"{runs['identity'].suboptimality[-1]:.1e}",
        "identity_passes": runs["identity"].passes,
        "sketched_passes": runs["sketched"].passes_to_accuracy,
        "exact_passes": runs["exact"].passes_to_accuracy,
        "sketched_error": f"{_error(runs['sketched'], experiment):.1e}",
        "exact_error": f"{_error(runs['exact'], experiment):.1e}",
        "direct_seconds": f"{experiment.direct_seconds:.1f}",
        "sketched_seconds": f"{runs['sketched'].seconds:.1f}",
        "ratio": f"{runs['sketched'].seconds / experiment.direct_seconds:.2g}",
        "pass_seconds": f"{experiment.pass_seconds:.2f}",
        "break_even": f"{float(f'{break_even:.2g}'):,.0f}",
    }


def figures(experiment: Experiment) -> dict[str, Any]:
    """Pictures by their places in the page."""
    sketched = next(run for run in experiment.runs if run.name == "sketched")
    return {"convergence": convergence_figure(experiment), "patches": patches_figure(sketched, experiment)}


def tables(experiment: Experiment) -> dict[str, list[list[Any]]]:
    """Rows of cells by their places in the page."""
    correlations = [f"{value:.6f}" for value in experiment.oracle.correlations]
    return {
        "metrics": [_cells(run, experiment) for run in experiment.runs],
        "oracle": [["dense eigensolver", *correlations]],
    }


def _error(run: MetricRun, experiment: Experiment) -> float:
    return float(np.abs(run.correlations - experiment.oracle.correlations).max())


def _cells(run: MetricRun, experiment: Experiment) -> list[Any]:
    return [
        _LABELS[run.name],
        f"{run.condition_number:.2g}",
        run.sketch_size,
        run.passes,
        run.passes_to_accuracy,
        f"{max(run.suboptimality[-1], 0.0):.1e}",
        f"{_error(run, experiment):.1e}",
        f"{run.seconds:.1f}",
    ]


def convergence_figure(experiment: Experiment) -> Any:
    """Relative suboptimality against passes and against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for run in experiment.runs:
        gap = np.maximum(run.suboptimality, 1e-14)
        style = {"label": _LABELS[run.name], "color": _COLOURS[run.name], "lw": 2}
        axes[0].semilogy(run.passes_so_far, gap, **style)
        axes[1].semilogy(run.seconds_so_far, gap, **style)
    for ax, label in zip(axes, ("passes over the data", "seconds"), strict=True):
        ax.axhline(ACCURACY, color="0.5", lw=1, ls=":")
        ax.set_xlabel(label)
        ax.set_xlim(left=0)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    axes[1].axvline(experiment.direct_seconds, color="0.25", lw=1.5, ls="--", label="covariances formed and decomposed")
    axes[0].set_ylabel("relative suboptimality  (f − f*) / |f*|")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def patches_figure(run: MetricRun, experiment: Experiment) -> Any:
    """Canonical pairs as pictures: what a score responds to, and the weights that compute it."""
    from matplotlib.figure import Figure

    xx, _, yy = experiment.oracle.covariances
    rows = {"pattern": (xx @ run.u, yy @ run.v), "weights": (run.u, run.v)}
    figure = Figure(figsize=(10, 2.35), layout="constrained")
    axes = figure.subplots(2, len(run.correlations))
    for row, (name, (left, right)) in enumerate(rows.items()):
        for column, pair in enumerate(zip(as_pictures(left), as_pictures(right), strict=True)):
            ax = axes[row, column]
            ax.imshow(_joined(*pair), interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            if column == 0:
                ax.set_ylabel(name)
            if row == 0:
                ax.set_title(f"ρ = {run.correlations[column]:.4f}", fontsize=10)
    return figure


def _joined(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two halves beside a white line, grey where they are zero, on one scale of colours."""
    scale = 2 * max(np.abs(left).max(), np.abs(right).max())
    line = np.ones((len(left), 1, left.shape[-1]))
    return np.concatenate([0.5 + left / scale, line, 0.5 + right / scale], axis=1)
