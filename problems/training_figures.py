"""Pictures of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems.training_run import TrainingResult

_COLUMNS = 500
"""Columns at most in the picture of ranks."""


def loss_figure(result: TrainingResult) -> Any:
    """Training loss, smoothed over a fiftieth of the run, and validation loss against steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    losses = np.asarray(result.training_losses)
    window = max(len(losses) // 50, 1)
    smooth = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    ax.plot(np.arange(window, window + len(smooth)), smooth, color="#9ab6cc", label="training")
    ax.plot(result.validation_steps, result.validation_losses, "o-", ms=3, color="#2f6f9f", label="validation")
    ax.set_xlabel("steps")
    ax.set_ylabel("loss, nats per token")
    ax.set_title(result.options.optimizer, fontsize=10)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return figure


def rank_figure(result: TrainingResult) -> Any:
    """Rank of the subspace of every layer against steps, as colours."""
    from matplotlib.figure import Figure

    layers = result.refreshes.by_layer()
    edges = np.unique(np.linspace(0, result.step, min(result.step, _COLUMNS) + 1).astype(int))
    ranks = np.full((len(layers), len(edges) - 1), np.nan)
    for row, events in zip(ranks, layers.values(), strict=True):
        for event in events:  # in the order of their steps, so that the later one stands
            row[np.searchsorted(edges, event.step) - 1 :] = event.rank
    figure = Figure(figsize=(8, 1.2 + 0.2 * len(layers)), layout="constrained")
    ax = figure.subplots()
    mesh = ax.pcolormesh(edges, np.arange(len(layers) + 1), ranks, cmap="viridis", vmin=0)
    ax.set_yticks(np.arange(len(layers)) + 0.5, [name.removesuffix(".weight") for name in layers], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel("steps")
    figure.colorbar(mesh, ax=ax, label="rank")
    return figure
