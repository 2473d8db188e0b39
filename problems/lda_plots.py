"""Pictures of discriminant analysis: the classes along two directions, and how much each direction tells them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from manifolds.linalg import to_numpy
from manifolds.sketching import require_integer

if TYPE_CHECKING:
    from problems.lda import LDA

_LONGEST_LEGEND = 12
"""Classes that a legend can name without covering the picture; more are named at their means."""


def discriminant_scatter(
    lda: LDA, X: Any, y: Any, *, components: tuple[int, int] = (0, 1), most_rows: int = 5000, ax: Any = None
) -> Any:
    """Draw rows along two discriminant directions, in units of the standard deviation within the classes.

    Class means are crosses. With one direction only, each class is a histogram.

    Parameters
    ----------
    lda : LDA
        Fitted.
    X : array or scipy sparse matrix of shape (n_samples, n_features)
    y : array of shape (n_samples,)
        Labels.
    components : pair of int
        Which directions.
    most_rows : int
        Rows that are drawn at most, evenly spread over X; the means are those of all.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If a component is not there, or X and y differ in length.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_iris
    >>> from problems import LDA
    >>> X, y = load_iris(return_X_y=True)
    >>> discriminant_scatter(LDA().fit(X, y), X, y).get_xlabel()
    'lda0 (99 % of the variance between classes)'
    """
    import matplotlib.pyplot as plt

    require_integer("most_rows", most_rows, smallest=1)
    scores, labels = to_numpy(lda.transform(X)), to_numpy(y)
    if labels.shape != (len(scores),):
        raise ValueError(f"y must have one label for each of the {len(scores)} rows of X, got shape {labels.shape}")
    count = scores.shape[1]
    chosen = (0,) if count == 1 else tuple(components)
    if len(set(chosen)) != min(count, 2) or not all(
        isinstance(c, (int, np.integer)) and 0 <= c < count for c in chosen
    ):
        raise ValueError(f"components must be two of 0 to {count - 1}, got {components!r}")
    ax = plt.subplots()[1] if ax is None else ax
    shown = np.arange(0, len(scores), -(-len(scores) // most_rows))
    classes = to_numpy(lda.classes_)
    # "tab10" and "tab20" are told apart best; more classes go round a colour wheel.
    colours = [
        plt.get_cmap("tab10" if len(classes) <= 10 else "tab20" if len(classes) <= 20 else "hsv")(value)
        for value in (range(len(classes)) if len(classes) <= 20 else np.linspace(0, 0.95, len(classes)))
    ]
    for name, colour in zip(classes, colours, strict=True):
        mean = scores[labels == name][:, chosen].mean(axis=0)
        rows = scores[shown][labels[shown] == name][:, chosen]
        if count == 1:
            ax.hist(rows[:, 0], bins=30, color=colour, alpha=0.6, label=str(name))
            ax.axvline(mean[0], color=colour)
            continue
        ax.plot(*rows.T, ".", color=colour, ms=3, alpha=0.5, label=str(name))
        ax.plot(*mean, "X", color=colour, ms=9, mec="white", zorder=3)
        if len(classes) > _LONGEST_LEGEND:
            ax.annotate(str(name), mean, xytext=(4, 4), textcoords="offset points", fontsize="small", zorder=4)
    shares = 100 * to_numpy(lda.explained_variance_ratio_)
    titles = [f"lda{c} ({shares[c]:.0f} % of the variance between classes)" for c in chosen]
    ax.set_xlabel(titles[0])
    ax.set_ylabel("rows" if count == 1 else titles[1])
    ax.grid(alpha=0.3)
    if len(classes) <= _LONGEST_LEGEND:
        ax.legend(markerscale=3, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def discriminant_scree(lda: LDA, *, ax: Any = None) -> Any:
    """Draw the eigenvalues, the quotients of variance between and within classes, and their accumulated share.

    Parameters
    ----------
    lda : LDA
        Fitted.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes
        Of the eigenvalues; the share has a second axis at the right.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_iris
    >>> from problems import LDA
    >>> discriminant_scree(LDA().fit(*load_iris(return_X_y=True))).get_ylabel()
    'eigenvalue (variance between / within classes)'
    """
    import matplotlib.pyplot as plt

    ax = plt.subplots()[1] if ax is None else ax
    values, shares = to_numpy(lda.eigenvalues_), np.cumsum(to_numpy(lda.explained_variance_ratio_))
    components = np.arange(1, len(values) + 1)
    ax.bar(components, values, color="#0072B2", alpha=0.8)
    ax.set_xlabel("component")
    ax.set_ylabel("eigenvalue (variance between / within classes)", color="#0072B2")
    ax.set_xticks(components if len(components) <= 12 else components[:: len(components) // 8])
    right = ax.twinx()
    right.plot(components, 100 * shares, "o-", color="#D55E00", ms=4)
    right.set_ylabel("accumulated share (%)", color="#D55E00")
    right.set_ylim(0, 102)
    return ax
