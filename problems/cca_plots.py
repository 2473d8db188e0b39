"""Pictures of canonical correlation analysis: correlations, which of them hold on new data, what they consist of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted

from manifolds.linalg import is_array, is_scipy_sparse, to_numpy
from manifolds.sketching import require_integer
from problems.row_blocks import column_squares, column_sums
from rankopt.solvers.parameters import require_instance

if TYPE_CHECKING:
    from problems.cca import CCA


class CrossValidatedCorrelations(NamedTuple):
    """Correlations of the scores of the rows that a fit has seen, and of those it has not."""

    train: np.ndarray
    """Shape (n_splits, n_components)."""
    test: np.ndarray
    """Shape (n_splits, n_components)."""


def cross_validated_correlations(cca: CCA, X: Any, y: Any, *, cv: Any = 5) -> CrossValidatedCorrelations:
    """Canonical correlations on held-out rows: how much of what the training rows show is there.

    Parameters
    ----------
    cca : CCA
        Its parameters count; it is cloned, not fitted.
    X : array, scipy sparse matrix or data frame of shape (n_samples, n_features)
    y : array, scipy sparse matrix or data frame of shape (n_samples, n_targets)
    cv : int, cross-validation splitter of scikit-learn, or iterable of pairs of indices

    Returns
    -------
    CrossValidatedCorrelations

    Raises
    ------
    TypeError
        If a view is neither an array nor a sparse matrix nor a data frame.
    ValueError
        If a fold is left with fewer components than asked for, or the views differ in their number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import CCA
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((300, 1))
    >>> x, y = (np.hstack([z + rng.standard_normal((300, 1)), rng.standard_normal((300, 9))]) for _ in range(2))
    >>> found = cross_validated_correlations(CCA(2), x, y)
    >>> np.round(found.train.mean(axis=0), 2), np.round(found.test.mean(axis=0), 2)
    (array([0.59, 0.35]), array([ 0.47, -0.1 ]))
    """
    X, y = _as_paired(X, y)
    train: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for seen, unseen in check_cv(cv).split(np.empty((X.shape[0], 1))):
        fitted = clone(cca).fit(X[seen], y[seen])
        if fitted.correlations_.shape[0] < cca.n_components:
            raise ValueError(
                f"cv leaves a fold with {fitted.correlations_.shape[0]} components of {cca.n_components}; "
                "use fewer components, fewer folds or a ridge (reg > 0)"
            )
        for rows, found in ((seen, train), (unseen, test)):
            found.append(_paired_correlations(*fitted.transform(X[rows], y[rows])))
    return CrossValidatedCorrelations(np.array(train), np.array(test))


def _paired_correlations(x_scores: Any, y_scores: Any) -> np.ndarray:
    x, y = (to_numpy(part).astype(float) for part in (x_scores, y_scores))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.sum(x * y, axis=0) / (np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=0))


def scree_plot(cca: CCA, cross_validated: CrossValidatedCorrelations | None = None, *, ax: Any = None) -> Any:
    """Draw the canonical correlations of a fit, and beside them those on held-out rows.

    Parameters
    ----------
    cca : CCA
        Fitted.
    cross_validated : CrossValidatedCorrelations, optional
        Means over the folds are drawn, with bars of one standard deviation.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If ``cca`` is no estimator, or ``cross_validated`` is not what ``cross_validated_correlations`` returns.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from problems import CCA
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> scree_plot(CCA(2).fit(x[:, :2], x[:, 1:])).get_ylabel()
    'canonical correlation'
    """
    import matplotlib.pyplot as plt

    check_is_fitted(cca, "correlations_")
    if cross_validated is not None:
        require_instance(
            "cross_validated", cross_validated, CrossValidatedCorrelations, "cross_validated_correlations(cca, X, y)"
        )
    ax = plt.subplots()[1] if ax is None else ax
    correlations = to_numpy(cca.correlations_)
    components = np.arange(1, len(correlations) + 1)
    ax.plot(components, correlations, "o-", label="training rows")
    if cross_validated is not None:
        held_out = cross_validated.test
        ax.errorbar(
            np.arange(1, held_out.shape[1] + 1),
            held_out.mean(axis=0),
            yerr=held_out.std(axis=0),
            fmt="s--",
            capsize=3,
            label="held-out rows",
        )
        ax.legend()
    ax.set_xlabel("component")
    ax.set_ylabel("canonical correlation")
    ax.set_xticks(components if len(components) <= 12 else components[:: len(components) // 8])
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), 1.02)
    ax.grid(alpha=0.3)
    return ax


def correlation_circle(
    cca: CCA,
    X: Any,
    y: Any,
    *,
    components: tuple[int, int] = (0, 1),
    names: tuple[Sequence[str], Sequence[str]] | None = None,
    largest: int = 12,
    ax: Any = None,
) -> Any:
    """Draw what two components consist of: the correlations of the columns of both views with the scores of X.

    A column near the unit circle is one that the two components explain; columns in the same direction go together.

    Parameters
    ----------
    cca : CCA
        Fitted.
    X : array, scipy sparse matrix or data frame of shape (n_samples, n_features)
    y : array, scipy sparse matrix or data frame of shape (n_samples, n_targets)
    components : pair of int
        Of the axes.
    names : pair of sequence of str, optional
        Of the columns of X and of y.
    largest : int
        Columns of each view that are drawn, those farthest from the origin first.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If ``cca`` is no estimator, a view is neither an array nor a sparse matrix nor a data frame, or ``largest`` is
        not whole.
    ValueError
        If a component, the number of names or of rows does not fit, or ``largest`` is below one.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from problems import CCA
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> ax = correlation_circle(CCA(2).fit(x[:, :3], x[:, 2:]), x[:, :3], x[:, 2:])
    >>> ax.get_xlabel()
    'component 1'
    """
    import matplotlib.pyplot as plt

    check_is_fitted(cca, "x_rotations_")
    x, y = _as_paired(X, y)
    require_integer("largest", largest, smallest=1)
    count = cca.x_rotations_.shape[1]
    if len(components) != 2 or not all(isinstance(c, (int, np.integer)) and 0 <= c < count for c in components):
        raise ValueError(f"components must be two numbers from 0 to {count - 1}, got {components!r}")
    scores = cca.transform(X)[:, list(components)]
    y = y[:, None] if y.ndim == 1 else y
    if names is None:
        names = [f"x{j}" for j in range(x.shape[1])], [f"y{j}" for j in range(y.shape[1])]
    if len(names) != 2:
        raise ValueError(f"names must be a pair, of the columns of X and of y, got {len(names)} of them")
    for view, title, texts in zip((x, y), ("X", "y"), names, strict=True):
        if len(texts) != view.shape[1]:
            raise ValueError(f"names must have one name for each of the {view.shape[1]} columns of {title}")
    ax = plt.subplots()[1] if ax is None else ax
    for view, title, color, texts in zip((x, y), ("X", "y"), ("C0", "C1"), names, strict=True):
        points = column_correlations(view, scores)
        chosen = np.argsort(-np.linalg.norm(points, axis=1), kind="stable")[:largest]
        ax.quiver(
            *np.zeros((2, len(chosen))),
            *points[chosen].T,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.004,
            color=color,
            label=title,
        )
        for j in chosen:
            ax.annotate(
                texts[j], points[j], color=color, fontsize="small", xytext=points[j] * 1.08, ha="center", va="center"
            )
    circle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(circle), np.sin(circle), color="0.6", linewidth=1)
    ax.axhline(0, color="0.85", linewidth=1, zorder=0)
    ax.axvline(0, color="0.85", linewidth=1, zorder=0)
    ax.set_xlim(-1.15, 1.15)
    ax.set_ylim(-1.15, 1.15)
    ax.set_aspect("equal")
    ax.set_xlabel(f"component {components[0] + 1}")
    ax.set_ylabel(f"component {components[1] + 1}")
    ax.legend(loc="lower right")
    return ax


def _as_paired(X: Any, y: Any) -> tuple[Any, Any]:
    """Two views with the same rows as arrays or sparse matrices; data frames become arrays."""
    x, y = (view.to_numpy() if hasattr(view, "to_numpy") else view for view in (X, y))
    for name, view in (("X", x), ("y", y)):
        if not (is_array(view) or is_scipy_sparse(view)):
            raise TypeError(
                f"{name} must be an array, a scipy sparse matrix or a data frame, got {type(view).__name__}"
            )
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"X and y must have the same number of rows, got {x.shape[0]} and {y.shape[0]}")
    return x, y


def column_correlations(view: Any, scores: Any) -> np.ndarray:
    """Correlations of the columns of a view with scores, shape (n_features, n_scores); zero for constant columns."""
    n = view.shape[0]
    means, squares = column_sums(view) / n, column_squares(view) / n
    products = to_numpy(view.T @ (scores - scores.mean(0))) / n
    means, squares = (to_numpy(part).astype(float) for part in (means, squares))
    deviations = np.sqrt(np.maximum(squares - means**2, 0.0))
    sizes = to_numpy(scores).astype(float).std(axis=0)
    varies = deviations > 1e-7 * np.abs(means)
    return np.where(varies[:, None], products / np.where(varies, deviations, 1.0)[:, None] / sizes, 0.0)
