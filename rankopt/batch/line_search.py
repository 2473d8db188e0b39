"""A line search for each row: one trial per round, after which a row takes its step or tries another one.

No row waits for another: those whose trial is accepted go on along new directions while others backtrack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from manifolds.linalg import Array, namespace
from rankopt.batch.rows import select
from rankopt.solvers.elementwise import between, choose
from rankopt.solvers.line_search import Armijo, LineSearch, Wolfe, quadratic_step, safeguard, secant_step


class Search(NamedTuple):
    """Where the search of each row stands, arrays of shape ``(m,)``.

    A minimiser lies between ``low``, the best step of sufficient decrease whose slope is negative, and ``high``,
    infinite as long as no step was too long.
    """

    t: Array
    """Next trial."""
    first: Array
    trials: Array
    low: Array
    low_value: Array
    low_slope: Array
    high: Array
    high_value: Array
    high_slope: Array


def begin(t: Array, value: Array, slope: Array) -> Search:
    """Search whose first trial is t, from a cost along a slope."""
    xp = namespace(t)
    zero, infinite = xp.zeros_like(t), xp.full_like(t, float("inf"))
    none = xp.zeros_like(t, dtype=xp.int64)
    return Search(t, t, none, zero, value, slope, infinite, infinite, xp.full_like(t, float("nan")))


class Judgement(NamedTuple):
    """What a round of trials says."""

    accepted: Array
    """Where the trial becomes the step."""
    failed: Array
    """Where no step is left to try."""
    search: Search
    """Searches that go on, with the next trial."""


_PATIENCE = 3
"""Trials after which any sufficient decrease is taken, since the slope used is that of the transported direction."""


@dataclass(frozen=True)
class RowSearch:
    """The conditions of Armijo or of Wolfe, row by row.

    Parameters
    ----------
    decrease : float
        Fraction of the predicted decrease that must be realised.
    curvature : float
        Fraction of the slope that may be left; infinite for Armijo's rule.
    memory : int
        Over how many latest costs the maximum is taken.
    max_trials : int
    """

    decrease: float
    curvature: float
    memory: int
    max_trials: int

    def judge(
        self, search: Search, slope: Array, reference: Array, rounding: Array, value: Array, trial_slope: Array
    ) -> Judgement:
        """Accept or refuse trials of these costs and slopes, and choose the next ones by interpolation."""
        t, trials = search.t, search.trials + 1
        enough = value <= reference + self.decrease * t * slope + rounding
        flat = (abs(trial_slope) <= -self.curvature * slope) | (trials >= min(_PATIENCE, self.max_trials))
        below = enough & (trial_slope < 0) & (value <= search.low_value + rounding)
        known_slope = choose(enough, trial_slope, float("nan"))
        low, low_value, low_slope = select(
            below, (t, value, trial_slope), (search.low, search.low_value, search.low_slope)
        )
        high, high_value, high_slope = select(
            below, (search.high, search.high_value, search.high_slope), (t, value, known_slope)
        )
        longer = between(secant_step(0.0, slope, t, trial_slope), 2.0 * t, 10.0 * t)
        by_slopes = secant_step(low, low_slope, high, high_slope)
        by_values = quadratic_step(low, low_value, low_slope, high, high_value)
        inside = safeguard(choose(high_slope > 0, by_slopes, by_values), low, high)
        following = choose(high == float("inf"), longer, inside)
        # What is left to gain is below rounding; where the gradient is wrong it always is.
        hopeless = (following < 1e-3 * search.first) & (-following * slope < rounding)
        failed = ~enough & (hopeless | (trials >= self.max_trials))
        search = Search(following, search.first, trials, low, low_value, low_slope, high, high_value, high_slope)
        return Judgement(enough & flat, failed, search)


def row_search(line_search: LineSearch) -> RowSearch:
    """The row-by-row form of Armijo() or Wolfe()."""
    if isinstance(line_search, Armijo):
        return RowSearch(line_search.decrease, float("inf"), line_search.memory, line_search.max_trials)
    if isinstance(line_search, Wolfe):
        return RowSearch(line_search.decrease, line_search.curvature, 1, line_search.max_trials)
    raise TypeError(f"line_search must be Armijo() or Wolfe() in a batch, got {line_search!r}")
