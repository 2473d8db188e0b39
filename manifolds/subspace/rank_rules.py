"""How many directions a subspace keeps: a constant number, or as many as a share of the energy asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from manifolds.linalg import Array, machine_epsilon, to_numpy


class RankRule(ABC):
    """What decides the rank, given the energies of the directions found."""

    @property
    @abstractmethod
    def maximum(self) -> int:
        """Largest rank it may choose."""

    @abstractmethod
    def choose(self, shares: np.ndarray) -> int | None:
        """Rank for these shares, or None if their directions are too few.

        Parameters
        ----------
        shares : array of shape (k,)
            Share of the energy that the first 1, 2, ..., k directions capture.
        """


@dataclass(frozen=True)
class ConstantRank(RankRule):
    """Always the same number of directions.

    Parameters
    ----------
    rank : int

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import ConstantRank, SubspaceTracker
    >>> tracker = SubspaceTracker(rank=ConstantRank(2), rng=0)
    >>> tracker.update(np.diag([3.0, 2.0, 1.0])).rank
    2
    """

    rank: int

    def __post_init__(self) -> None:
        _require_count(self.rank, "rank")

    @property
    def maximum(self) -> int:
        return self.rank

    def choose(self, shares: np.ndarray) -> int | None:
        return self.rank if len(shares) >= self.rank else None


@dataclass(frozen=True)
class EnergyRank(RankRule):
    """The smallest rank whose directions capture a share of the energy.

        r = min { r : sum_{i <= r} s_i^2 >= energy ||G||_F^2 },   within min_rank <= r <= max_rank

    Parameters
    ----------
    energy : float
        Share to be captured, in (0, 1]; 1 means all but rounding.
    min_rank, max_rank : int

    References
    ----------
    Refael, Svirsky, Shustin, Huleihel, Lindenbaum, AdaRankGrad, ICLR 2025, Algorithm 1 (IASS).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import EnergyRank, SubspaceTracker
    >>> tracker = SubspaceTracker(rank=EnergyRank(0.9, max_rank=3), rng=0)
    >>> tracker.update(np.diag([3.0, 2.0, 1.0])).rank  # 9 + 4 of 14
    2
    """

    energy: float = 0.95
    min_rank: int = 1
    max_rank: int = 128

    def __post_init__(self) -> None:
        require_share(self.energy, "energy")
        _require_count(self.min_rank, "min_rank")
        _require_count(self.max_rank, "max_rank")
        if self.min_rank > self.max_rank:
            raise ValueError(f"min_rank must not exceed max_rank, got {self.min_rank} > {self.max_rank}")

    @property
    def maximum(self) -> int:
        return self.max_rank

    def choose(self, shares: np.ndarray) -> int | None:
        enough = shares >= self.energy
        if enough.any():
            return min(max(int(np.argmax(enough)) + 1, self.min_rank), self.max_rank)
        return self.max_rank if len(shares) >= self.max_rank else None


def captured_shares(energies: Array, total_energy: Array) -> np.ndarray:
    """Share of the energy that the leading 1, 2, ..., k directions capture; a share within rounding of one is one.

    Of a matrix of zeros every direction captures all.
    """
    total = float(total_energy)
    if total == 0:
        return np.ones(energies.shape[-1])
    shares = np.cumsum(to_numpy(energies).astype(np.float64)) / total
    return np.where(shares >= 1 - 16 * machine_epsilon(energies), 1.0, shares)


def require_share(value: float, name: str) -> None:
    """Raise a ValueError unless a share of the energy lies in (0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 < value <= 1:
        raise ValueError(f"{name} must lie in (0, 1], the share of the squared norm to be captured, got {value}")


def _require_count(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
