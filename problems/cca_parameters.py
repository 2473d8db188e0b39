"""Parameters that the estimators of canonical correlations share: what each may be."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from problems.view_preconditioners import PRECONDITIONERS
from rankopt.solvers.parameters import require_at_least


class CorrelationParameters(Protocol):
    """What is checked of an estimator."""

    n_components: int
    solver: Any
    preconditioner: str
    tol: float
    max_iter: int


def check_parameters(
    estimator: CorrelationParameters, n_samples: int, most: int, solvers: tuple[str, ...], value: type
) -> None:
    """An error that names the parameter that is out of its range.

    Parameters
    ----------
    estimator : CorrelationParameters
    n_samples : int
    most : int
        Number of components at most.
    solvers : tuple of str
        Names of solvers.
    value : type
        Class of solvers with options.
    """
    if n_samples < 2:
        raise ValueError(f"X must have at least 2 samples to correlate, got n_samples = {n_samples}")
    if isinstance(estimator.n_components, bool) or not isinstance(estimator.n_components, (int, np.integer)):
        raise TypeError(f"n_components must be an integer, got {estimator.n_components!r}")
    if not 1 <= estimator.n_components <= most:
        raise ValueError(f"n_components must be between 1 and {most} for these views, got {estimator.n_components}")
    if not isinstance(estimator.solver, value) and estimator.solver not in ("auto", *solvers):
        raise ValueError(f"solver must be one of {('auto', *solvers)} or a {value.__name__}, got {estimator.solver!r}")
    if estimator.preconditioner not in PRECONDITIONERS:
        raise ValueError(f"preconditioner must be one of {PRECONDITIONERS}, got {estimator.preconditioner!r}")
    require_at_least("tol", estimator.tol, 0)
    if estimator.tol == 0:
        raise ValueError("tol must be positive, got 0")
    require_at_least("max_iter", estimator.max_iter, 1, whole=True)


def generator_of(random_state: Any) -> np.random.Generator:
    """Generator of a seed, or of a RandomState, as scikit-learn's estimators take them."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return np.random.default_rng(random_state)
