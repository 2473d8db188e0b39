"""Performance profiles: on what share of the problems a solver is within a factor of the fastest one.

E. D. Dolan and J. J. Moré, Benchmarking optimization software with performance profiles, Math. Program. 91 (2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def performance_ratios(times: np.ndarray) -> np.ndarray:
    """Ratios t[problem, solver] / min over the solvers of t[problem, solver].

    Parameters
    ----------
    times : array of shape (problems, solvers)
        Infinite where a solver failed.

    Returns
    -------
    array of the same shape
        Infinite where a solver failed, also where all did.
    """
    best = times.min(axis=1, keepdims=True)
    return np.divide(times, best, out=np.full(times.shape, np.inf), where=np.isfinite(times))


def profile(ratios: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Shares rho_s(tau) = #{problems with r[problem, s] <= tau} / #problems.

    Parameters
    ----------
    ratios : array of shape (problems, solvers)
    factors : array of shape (k,)
        Values of tau.

    Returns
    -------
    array of shape (k, solvers)
    """
    return (ratios[None] <= factors[:, None, None]).mean(axis=1)


def best_of(times: np.ndarray, names: Sequence[str], group: Sequence[str]) -> np.ndarray:
    """Least time of a group of solvers on each problem, infinite where all failed or the group is empty."""
    columns = [names.index(name) for name in group]
    return times[:, columns].min(axis=1, initial=np.inf)


def draw(panels: Mapping[str, tuple[np.ndarray, Sequence[str]]], styles: Mapping[str, Any], path: Any) -> None:
    """Draw profiles side by side and save the picture.

    Parameters
    ----------
    panels : mapping of title to (times, names)
    styles : mapping of solver to keywords of its line
    path : path
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.2 * len(panels) + 2.2, 4.6), layout="constrained", sharey=True, squeeze=False
    )
    factors = np.geomspace(1, 20, 400)
    for ax, (title, (times, names)) in zip(axes[0], panels.items(), strict=True):
        shares = profile(performance_ratios(times), factors)
        for name, share in zip(names, shares.T, strict=True):
            ax.step(factors, share, where="post", label=name, **styles[name])
        ax.set_xscale("log", base=2)
        ax.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        ax.set(title=title, xlabel="time relative to the fastest solver", xlim=(1, 20), ylim=(0, 1.02))
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("share of the instances")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
