"""When a layer leaves its subspace (block 3)."""

from __future__ import annotations

from dataclasses import dataclass

from rankopt.solvers.parameters import require_at_least

NORM_DECAY = 0.9
"""Weight of the past in the exponential average of the norm of the low-rank gradient."""

_GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class RefreshSchedule:
    """Leave the subspace when the low-rank gradient has become small, not too early and not too late.

    The exponential average of ||Q^T G||_F is compared with its value just after the last refresh: a layer leaves when
    the average has fallen below ``tolerance`` times that, at least ``min_gap`` steps after the refresh, and at the
    latest ``max_gap`` steps after it (``max_gap`` wins where it is the smaller).

    Parameters
    ----------
    min_gap, max_gap : int
        Steps.
    tolerance : float
        With zero the gap is fixed, ``max_gap``.
    staggered : bool
        Whether the first fixed gaps of the layers differ, so that no later step has to pay for all.

    Raises
    ------
    TypeError, ValueError
        If a gap is no whole number from one on, or the tolerance no number from zero on.

    References
    ----------
    Refael et al., AdaRankGrad, ICLR 2025, Algorithm 4 (there with an absolute bound); Lotus, arXiv 2602.01233 (the
    timing of the switch carries most of the gain).

    Examples
    --------
    >>> from rankopt import RefreshSchedule
    >>> schedule = RefreshSchedule(min_gap=10, max_gap=200, tolerance=0.6, staggered=False)
    >>> schedule.deadline(step=1, index=0, is_first=True)
    201
    >>> schedule.reason_to_leave(step=12, refreshed_at=1, deadline=201, average=0.5, reference=1.0)
    'norm'
    """

    min_gap: int
    max_gap: int
    tolerance: float
    staggered: bool

    def __post_init__(self) -> None:
        for name in ("min_gap", "max_gap"):
            require_at_least(name, getattr(self, name), 1, whole=True)
        require_at_least("tolerance", self.tolerance, 0)
        if not isinstance(self.staggered, bool):
            raise TypeError(f"staggered must be a bool, got {self.staggered!r}")

    def deadline(self, step: int, index: int, is_first: bool) -> int:
        """Step at which the next refresh is due at the latest, for a refresh at ``step``.

        The first gap of the layer with position ``index`` is shortened by the fractional part of ``index`` times the
        golden ratio, a share of half of ``max_gap``: any number of layers is spread evenly. Shorter first gaps would
        cost loss, since the moments of the first steps had hardly been averaged.
        """
        slack = max(min(self.max_gap // 2, self.max_gap - self.min_gap), 0) if is_first and self.staggered else 0
        return step + self.max_gap - int(slack * (index * _GOLDEN_RATIO % 1.0))

    def reason_to_leave(self, step: int, refreshed_at: int, deadline: int, average: float, reference: float) -> str:
        """Why to refresh at ``step``: ``"gap"``, ``"norm"``, or an empty string to stay."""
        if step >= deadline:
            return "gap"
        if step - refreshed_at >= self.min_gap and average < self.tolerance * reference:
            return "norm"
        return ""
