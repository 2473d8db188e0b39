"""Pictures of runs: how a solver converged, and how the subspaces of a network's layers moved while it was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import OptimizeResult

if TYPE_CHECKING:  # the training part brings torch
    from rankopt.training.events import RefreshEvent, RefreshLog


def convergence(
    result: OptimizeResult | Mapping[str, OptimizeResult],
    *,
    optimum: float | None = None,
    against: str = "iterations",
    ax: Any = None,
) -> Any:
    """Draw how a run converged: its relative suboptimality, or the norm of its gradient where no optimum is given.

    Parameters
    ----------
    result : OptimizeResult or mapping of str to OptimizeResult
        One run, or several with their labels.
    optimum : float, optional
        Optimal cost; the picture then shows (f - optimum) / abs(optimum), or f itself where that is zero.
    against : str
        ``"iterations"``, ``"time"``, or a count in the history, such as ``"nfev"``.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If ``against`` is not in the history.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import minimize, plots
    >>> a = np.diag([1.0, 2.0, 3.0])
    >>> result = minimize(lambda x: x @ a @ x, Sphere(3), gradient=lambda x: 2 * a @ x, rng=0)
    >>> plots.convergence(result, optimum=1.0).get_ylabel()
    'relative suboptimality'
    """
    import matplotlib.pyplot as plt

    ax = plt.subplots()[1] if ax is None else ax
    runs = {"": result} if "history" in result else result
    for label, run in runs.items():
        history = run["history"]
        if against != "iterations" and against not in history:
            raise ValueError(f"against must be 'iterations' or one of {sorted(history)}, got {against!r}")
        x = np.arange(len(history["fun"])) if against == "iterations" else history[against]
        y = history["grad_norm"] if optimum is None else (history["fun"] - optimum) / (abs(optimum) or 1.0)
        # Below the optimum, or at it, only rounding is left to show.
        ax.semilogy(x, np.maximum(y, np.finfo(float).eps), label=label)
    ax.set_xlabel(
        {"time": "seconds", "nfev": "evaluations of the cost", "n_passes": "passes over the data"}.get(against, against)
    )
    relative = "relative suboptimality" if optimum else "suboptimality"
    ax.set_ylabel("norm of the gradient" if optimum is None else relative)
    ax.grid(alpha=0.3)
    if any(runs):
        ax.legend()
    return ax


def rank_history(log: RefreshLog, *, last_step: int | None = None, ax: Any = None) -> Any:
    """Draw the rank of every layer over the steps of a training run.

    Parameters
    ----------
    log : RefreshLog
        That the optimizer was given as ``on_refresh``.
    last_step : int, optional
        Up to which the last ranks are drawn; default the step of the last refresh.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If the log holds no refresh.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from rankopt import RefreshEvent, RefreshLog, plots
    >>> log = RefreshLog()
    >>> log(RefreshEvent(1, 0, "head", 4, 4, captured_energy=0.96, gradient_norm=1.0, reason="first"))
    >>> log(RefreshEvent(90, 0, "head", 2, 2, captured_energy=0.97, gradient_norm=0.5, reason="norm"))
    >>> plots.rank_history(log).get_ylabel()
    'rank'
    """
    ax = _layer_steps(log, lambda event: event.rank, last_step, ax)
    ax.set_ylabel("rank")
    ax.set_ylim(bottom=0)
    return ax


def captured_energy(log: RefreshLog, *, last_step: int | None = None, ax: Any = None) -> Any:
    """Draw the share of the energy that each layer's subspace captured at its refreshes.

    Parameters, returns and errors are those of :func:`rank_history`.
    """
    ax = _layer_steps(log, lambda event: event.captured_energy, last_step, ax)
    ax.set_ylabel("captured energy")
    ax.set_ylim(top=1.0)
    return ax


def refreshes(log: RefreshLog, *, ax: Any = None) -> Any:
    """Draw when each layer was refreshed, and why.

    Parameters, returns and errors are those of :func:`rank_history`.
    """
    ax = _axes(log, ax)
    layers = log.by_layer()
    places = {name: place for place, name in enumerate(layers)}
    labels = {
        "first": ("o", "first"),
        "gap": ("|", "the largest gap was over"),
        "norm": ("x", "the gradient had fallen"),
    }
    for reason, (marker, label) in labels.items():
        events = [event for event in log.events if event.reason == reason]
        if events:
            ax.plot([e.step for e in events], [places[e.name] for e in events], marker, label=label, ms=5)
    ax.set_yticks(range(len(layers)), list(layers), fontsize="x-small")
    ax.invert_yaxis()
    ax.set_xlabel("step")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=3, frameon=False)
    return ax


def loss(
    runs: Mapping[str, tuple[Sequence[float], Sequence[float]]] | tuple[Sequence[float], Sequence[float]],
    *,
    ax: Any = None,
) -> Any:
    """Draw losses over the steps of training runs.

    Parameters
    ----------
    runs : tuple of two sequences, or mapping of str to such
        Steps and losses; of several runs with their labels.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from rankopt import plots
    >>> plots.loss({"AdamW": ([0, 100], [5.5, 2.4]), "AdaRankGrad": ([0, 100], [5.5, 2.3])}).get_ylabel()
    'loss'
    """
    import matplotlib.pyplot as plt

    ax = plt.subplots()[1] if ax is None else ax
    labelled = runs if isinstance(runs, Mapping) else {"": runs}
    for label, (steps, losses) in labelled.items():
        ax.plot(steps, losses, label=label)
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    ax.grid(alpha=0.3)
    if any(labelled):
        ax.legend()
    return ax


def _layer_steps(log: RefreshLog, value: Callable[[RefreshEvent], float], last_step: int | None, ax: Any) -> Any:
    """One staircase a layer, coloured by depth."""
    import matplotlib.pyplot as plt

    ax = _axes(log, ax)
    layers = log.by_layer()
    end = max(event.step for event in log.events) if last_step is None else last_step
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(layers)))
    for colour, (name, events) in zip(colours, layers.items(), strict=True):
        steps, values = [event.step for event in events], [value(event) for event in events]
        ax.step([*steps, max(end, steps[-1])], [*values, values[-1]], where="post", color=colour, label=name, lw=1.2)
    ax.set_xlabel("step")
    ax.grid(alpha=0.3)
    if len(layers) <= _LONGEST_LEGEND:
        ax.legend(fontsize="x-small")
    return ax


def _axes(log: RefreshLog, ax: Any) -> Any:
    import matplotlib.pyplot as plt

    if not log.events:
        raise ValueError("log holds no refresh: give it to the optimizer as on_refresh before the first step")
    return plt.subplots()[1] if ax is None else ax


_LONGEST_LEGEND = 12
"""Layers that a legend can name without covering the picture."""
