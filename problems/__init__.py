"""Problems and estimators: canonical correlation analysis, its data operator, the command line and the demo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from problems.cca import CCA
    from problems.cca_direct import CanonicalPairs, solve_dense
    from problems.cca_problem import CCAProblem
    from problems.data import CovarianceMatrices, CovarianceProducts, Covariances, PairedViews, ViewCovariance

_HOMES = {
    "CCA": "cca",
    "CCAProblem": "cca_problem",
    "CanonicalPairs": "cca_direct",
    "CovarianceMatrices": "data",
    "CovarianceProducts": "data",
    "Covariances": "data",
    "PairedViews": "data",
    "ViewCovariance": "data",
    "solve_dense": "cca_direct",
}

__all__ = [
    "CCA",
    "CCAProblem",
    "CanonicalPairs",
    "CovarianceMatrices",
    "CovarianceProducts",
    "Covariances",
    "PairedViews",
    "ViewCovariance",
    "solve_dense",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the estimators bring all of scikit-learn."""
    if name not in _HOMES:
        raise AttributeError(f"module 'problems' has no attribute {name!r}")
    return getattr(import_module(f"problems.{_HOMES[name]}"), name)
