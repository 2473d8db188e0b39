"""Warnings that point at the line of whoever called the toolkit, however deep inside of it they arise."""

from __future__ import annotations

import sys
import warnings

_INSIDE = frozenset({"manifolds", "rankopt", "problems", "sklearn", "joblib"})
"""Packages whose lines no user wrote: scikit-learn wraps methods of estimators, and calls them, by joblib too."""


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line outside of the toolkit and of scikit-learn.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
