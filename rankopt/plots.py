"""Pictures of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult


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
