"""How Adam's moments follow when the subspace moves (block 2): six rules, values with one formula each.

With R = Q_new^T Q_old (rectangular where the rank changes) the first moment goes by M <- R M. The second moment is an
average of squares in coordinates that the rotation mixes, so it has no exact rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Adam's moments in the coordinates of a subspace.

    Attributes
    ----------
    mean, square : tensors of shape (b, n)
        Exponential averages M of the gradient and V of its square, both started at zero and not corrected for it.
    mass : tensor of shape (b,) or None
        Total weight of the squares that each row of V has seen, where the rule counts it row by row.
    """

    mean: Tensor
    square: Tensor
    mass: Tensor | None = None


class MomentTransport(ABC):
    """How the moments follow a rotation."""

    restarts = False
    """Whether the number of steps that the bias corrections count starts anew."""
    counts_mass = False
    """Whether the weight of the squares is counted row by row."""

    @abstractmethod
    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        """Moments in the new coordinates.

        Parameters
        ----------
        moments : Moments
            In the old coordinates.
        rotation : tensor of shape (b_new, b_old)
            R = Q_new^T Q_old.
        corrections : tuple of float
            1 - beta_1^t and 1 - beta_2^t, t the number of steps that the moments have seen.
        """


@dataclass(frozen=True)
class VarianceTransport(MomentTransport):
    """Rotate the first moment, and of the second the variance.

    With the bias-corrected moments M^ and V^:

        V^ <- abs( (R o R) (V^ - M^ o M^) + (R M^) o (R M^) )

    References
    ----------
    Robert et al., LDAdam, ICLR 2025, Equation 5.
    """

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        first, second = corrections
        mean = rotation @ moments.mean
        variance = moments.square / second - (moments.mean / first).square()
        square = (rotation.square() @ variance).add_((mean / first).square()).abs_().mul_(second)
        return Moments(mean, square)


@dataclass(frozen=True)
class MassTransport(MomentTransport):
    """Move squares, and the weight they were averaged with, by the same non-negative matrix.

        V <- (R o R) V,   w <- (R o R) w,   and from then on V^ = V / w.

    A new direction starts with little weight instead of with a second moment near zero, so that its first updates are
    not too large.
    """

    counts_mass = True

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        assert moments.mass is not None
        shares = rotation.square()
        return Moments(rotation @ moments.mean, shares @ moments.square, shares @ moments.mass)


@dataclass(frozen=True)
class CompletedTransport(MomentTransport):
    """Move squares by the non-negative matrix R o R, and complete what a row lacks by the old row of the same index.

        V <- (R o R) V + (1 - sum_j R_ij^2) V_i

    Directions are ordered by their energy, so the old row of the same index is the best guess at the size of a
    direction that is new.
    """

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        shares = rotation.square()
        lacking = (1 - shares.sum(dim=1)).clamp_min_(0)
        index = torch.arange(len(rotation), device=rotation.device).clamp_max_(len(moments.square) - 1)
        square = shares @ moments.square + lacking[:, None] * moments.square[index]
        return Moments(rotation @ moments.mean, square)


@dataclass(frozen=True)
class LinearTransport(MomentTransport):
    """Rotate both moments and drop the signs that the second one must not have: M <- R M, V <- abs(R V).

    References
    ----------
    Refael et al., AdaRankGrad, ICLR 2025, Algorithm 3 (there without the absolute value).
    """

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        return Moments(rotation @ moments.mean, (rotation @ moments.square).abs_())


@dataclass(frozen=True)
class KeepMoments(MomentTransport):
    """Entries keep their index whatever the basis does; new rows start at zero (GaLore's rule)."""

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        return Moments(*(_resized(moment, len(rotation)) for moment in moments[:2]))


@dataclass(frozen=True)
class ResetMoments(MomentTransport):
    """Moments and their count of steps restart at zero (FRUGAL's rule)."""

    restarts = True

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        shape = (len(rotation), moments.mean.shape[1])
        return Moments(moments.mean.new_zeros(shape), moments.square.new_zeros(shape))


def _resized(moment: Tensor, rows: int) -> Tensor:
    if rows <= len(moment):
        return moment[:rows].clone()
    return torch.cat([moment, moment.new_zeros(rows - len(moment), moment.shape[1])])


MOMENT_TRANSPORTS: Mapping[str, MomentTransport] = MappingProxyType(
    {
        "variance": VarianceTransport(),
        "mass": MassTransport(),
        "completed": CompletedTransport(),
        "linear": LinearTransport(),
        "keep": KeepMoments(),
        "reset": ResetMoments(),
    }
)
