"""Robust completion: the sum of absolute errors, by subgradient steps from a tiny start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from manifolds.fixed_rank_points import FixedRankPoint, truncated_svd
from manifolds.low_rank import LowRankMatrix
from problems.observed_entries import ObservedEntries
from rankopt.solvers.parameters import require_at_least


class RobustResult(NamedTuple):
    """Outcome of subgradient steps: the matrix, the sum of absolute errors, and how many steps were taken."""

    point: FixedRankPoint
    cost: float
    steps: int


@dataclass(frozen=True)
class SubgradientSteps:
    """Steps L <- L - h D R, R <- R - h D^T L with the signs D of the errors of L R^T on the observed entries.

    From a tiny start along the singular vectors of the observed signs, the directions of the low-rank matrix grow
    exponentially, and faster than those of outliers and chance, which are still tiny when the fit is complete. So the
    error does not depend on a rank that was chosen too large. The step h is constant until the cost first rises, then
    it falls geometrically; it is counted in units of 1 over the norm of the observed signs.

    Parameters
    ----------
    step : float
        First step, relative to 1 / norm of the matrix of signs.
    decay : float
        Factor of the step from the first rise of the cost on.
    tolerance : float
        The steps end when ``h`` has fallen to this fraction of the first: the relative error that is left.
    initial_scale : float
        Size of the start, relative to the median absolute entry.
    max_steps : int

    References
    ----------
    Ma, Fattahi, Global convergence of sub-gradient method for robust matrix recovery: small initialization, noisy
    measurements, and over-parameterization, JMLR 24 (2023), Algorithm 1, here for matrices that are not symmetric and
    with observed entries as measurements.

    Examples
    --------
    >>> SubgradientSteps(decay=0.95).tolerance
    1e-05
    """

    step: float = 0.3
    decay: float = 0.97
    tolerance: float = 1e-5
    initial_scale: float = 1e-18
    max_steps: int = 2000

    def __post_init__(self) -> None:
        for name in ("step", "decay", "tolerance", "initial_scale"):
            value = getattr(self, name)
            require_at_least(name, value, 0)
            if value == 0 or (value >= 1 and name != "step"):
                raise ValueError(f"{name} must be positive{'' if name == 'step' else ' and below 1'}, got {value}")
        require_at_least("max_steps", self.max_steps, 1, whole=True)

    def minimize(self, entries: ObservedEntries, rank: int) -> RobustResult:
        """Matrix of at most this rank with a small sum of absolute errors.

        Parameters
        ----------
        entries : ObservedEntries
        rank : int

        Returns
        -------
        RobustResult
        """
        if not entries.values.any():
            raise ValueError("all observed entries are zero, so no direction is to be found in them")
        start = truncated_svd(entries.matrix(np.sign(entries.values)), rank)
        norm = start.S[0, 0]
        size = self.initial_scale * np.median(np.abs(entries.values[entries.values != 0]))
        weights = ((size / norm) * np.diag(start.S)) ** 0.5
        left, right = start.U * weights, start.V * weights
        h = first = start.S.dtype.type(self.step / norm)
        cost, steps, falling = np.inf, 0, True
        while h > self.tolerance * first and steps < self.max_steps:
            errors = LowRankMatrix(left, right).entries(entries.rows, entries.columns) - entries.values
            previous, cost = cost, float(np.abs(errors).sum(dtype=np.float64))
            falling = falling and cost <= previous
            h = h if falling else h * start.S.dtype.type(self.decay)
            signs = entries.matrix(np.sign(errors))
            left, right = left - h * (signs @ right), right - h * (signs.T @ left)
            steps += 1
        matrix = LowRankMatrix(left, right)
        errors = matrix.entries(entries.rows, entries.columns) - entries.values
        return RobustResult(truncated_svd(matrix, rank), float(np.abs(errors).sum(dtype=np.float64)), steps)
