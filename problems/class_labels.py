"""Labels, weights and prior probabilities of classes, checked and in the form in which the data operator takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from manifolds.linalg import Array, convert, is_array, is_torch_array, namespace, to_numpy
from problems.caller_warnings import warn_caller


class ClassMeans(NamedTuple):
    """Means and prior probabilities of classes, both float64."""

    means: Array
    """Shape (l, d)."""
    priors: Array
    """Shape (l,)."""

    @property
    def overall(self) -> Array:
        """Mean of the class means, weighted by the priors, shape (d,)."""
        return self.priors @ self.means

    @property
    def gaps(self) -> Array:
        """Class means minus the overall one, shape (l, d)."""
        return self.means - self.overall

    @property
    def between(self) -> Array:
        """F with the columns sqrt(pi_k) (m_k - m), shape (d, l): F F^T is the covariance between the classes."""
        return (self.gaps * self.priors[:, None] ** 0.5).mT


def classes_and_codes(y: Any, x: Any, classes: Any = None) -> tuple[Any, np.ndarray]:
    """Labels in order, in the library of X, and the place of each row's label among them.

    Parameters
    ----------
    y : array of shape (n,)
    x : array or scipy sparse matrix of shape (n, d)
    classes : array of shape (l,), optional
        All labels; those of y when left out.

    Raises
    ------
    TypeError
        If X and y are of different libraries or devices.
    ValueError
        If y is missing, no vector of labels, of another length than X, or has labels that are not among the classes.
    """
    if y is None:
        raise ValueError(
            "y is missing: this estimator requires y to be passed, but the target y is None; use fit(X, y)"
        )
    if is_torch_array(y) != is_torch_array(x) and is_array(y):
        raise TypeError(
            f"y must be of the library of X, got {type(y).__name__} beside {type(x).__name__}; convert one of them"
        )
    if is_torch_array(y) and y.device != x.device:
        raise TypeError(f"y must be on the device of X, got {y.device} beside {x.device}; move one of them")
    labels = to_numpy(y) if is_torch_array(y) else y
    labels = column_or_1d(labels, warn=True)
    if labels.dtype.kind == "f" and not np.all(np.isfinite(labels)):
        raise ValueError("y contains NaN or infinity; labels must be finite")
    check_classification_targets(labels)
    if len(labels) != x.shape[0]:
        raise ValueError(f"X and y must have the same number of rows, got {x.shape[0]} and {len(labels)}")
    if classes is None:
        found, codes = np.unique(labels, return_inverse=True)
    else:
        found = np.unique(to_numpy(classes) if is_array(classes) else classes)
        codes = np.searchsorted(found, labels).clip(max=len(found) - 1)
        unknown = labels[found[codes] != labels]
        if unknown.size:
            raise ValueError(f"y has labels that are not among the classes, such as {unknown[0]!r}")
    if len(found) < 2:
        raise ValueError(f"y must have at least two classes, got {len(found)} class")
    if not is_torch_array(x):
        return found, codes
    if found.dtype.kind not in "biuf":
        raise TypeError(f"y must be numbers where X is a torch tensor, got labels such as {found[0]!r}")
    return namespace(x).asarray(found, device=x.device), codes


def as_weights(sample_weight: Any, x: Any) -> np.ndarray | None:
    """Weights of the rows in float64, or None.

    Raises
    ------
    ValueError
        If they are not n finite, non-negative numbers, not all of them zero.
    """
    if sample_weight is None:
        return None
    weights = np.asarray(to_numpy(sample_weight), dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(x.shape[0], weights)
    if weights.shape != (x.shape[0],):
        raise ValueError(f"sample_weight must have shape ({x.shape[0]},), one for each row, got {weights.shape}")
    if not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise ValueError("sample_weight must be finite and not negative")
    if not np.any(weights > 0):
        raise ValueError("sample_weight must not be all zero")
    return weights


def as_priors(priors: Any, counts: Array) -> Array:
    """Prior probabilities of the classes, by default their shares of the rows.

    Raises
    ------
    ValueError
        If they are not one non-negative number for each class, or all zero.

    Warns
    -----
    UserWarning
        If they do not sum to one.
    """
    if priors is None:
        return counts / namespace(counts).sum(counts)
    try:
        values = np.asarray(to_numpy(priors), dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"priors must be a sequence of numbers, got {priors!r}") from None
    if values.shape != tuple(counts.shape):
        raise ValueError(f"priors must have shape {tuple(counts.shape)}, one for each class, got {values.shape}")
    if not np.all(np.isfinite(values)) or np.any(values < 0) or not np.any(values > 0):
        raise ValueError(f"priors must be non-negative, finite and not all zero, got {priors!r}")
    total = float(values.sum())
    if abs(total - 1) > 1e-5:
        warn_caller("The priors do not sum to 1. Renormalizing")
    return convert(values / total, counts)
