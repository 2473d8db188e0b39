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

from rankopt.training.tensors import require_matrix, require_shape


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

        Raises
        ------
        TypeError
            If moments or rotation are no tensors of one dtype and device.
        ValueError
            If their shapes do not fit, or the rule counts mass and the moments have none.
        """


@dataclass(frozen=True)
class VarianceTransport(MomentTransport):
    """Rotate the first moment, and of the second the variance.

    With the bias-corrected moments M^ and V^:

        V^ <- abs( (R o R) (V^ - M^ o M^) + (R M^) o (R M^) )

    References
    ----------
    Robert et al., LDAdam, ICLR 2025, Equation 5.

    Examples
    --------
    >>> import torch
    >>> from rankopt import Moments, VarianceTransport
    >>> corrections = (0.1, 0.001)  # after one step with betas (0.9, 0.999)
    >>> gradient = torch.tensor([[3.0], [4.0]])
    >>> quarter_turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    >>> old = Moments(0.1 * gradient, 0.001 * gradient**2)
    >>> new = VarianceTransport().transported(old, quarter_turn, corrections)
    >>> new.mean.T / 0.1, new.square.T / 0.001
    (tensor([[-4.,  3.]]), tensor([[16.,  9.]]))
    """

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        _require_shapes(moments, rotation)
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

    Examples
    --------
    >>> import torch
    >>> from rankopt import MassTransport, Moments
    >>> old = Moments(torch.ones(1, 3), torch.ones(1, 3), mass=torch.tensor([0.5]))
    >>> rotation = torch.tensor([[0.8], [0.6]])  # the old direction shows in both of the new ones
    >>> new = MassTransport().transported(old, rotation, (0.1, 0.001))
    >>> new.square[:, 0] / new.mass  # the average is the old one, known with less weight
    tensor([2., 2.])
    >>> new.mass
    tensor([0.3200, 0.1800])
    """

    counts_mass = True

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        _require_shapes(moments, rotation)
        if moments.mass is None:
            raise ValueError("moments must have a mass, shape (b,): MassTransport moves it with the squares")
        require_shape("moments.mass", moments.mass, moments.mean.shape[:1], moments.mean)
        shares = rotation.square()
        return Moments(rotation @ moments.mean, shares @ moments.square, shares @ moments.mass)


@dataclass(frozen=True)
class CompletedTransport(MomentTransport):
    """Move squares by the non-negative matrix R o R, and complete what a row lacks by the old row of the same index.

        V <- (R o R) V + (1 - sum_j R_ij^2) V_i

    Directions are ordered by their energy, so the old row of the same index is the best guess at the size of a
    direction that is new.

    Examples
    --------
    >>> import torch
    >>> from rankopt import CompletedTransport, Moments
    >>> old = Moments(torch.zeros(2, 1), torch.tensor([[4.0], [1.0]]))
    >>> rotation = torch.tensor([[1.0, 0.0], [0.0, 0.0]])  # the second direction is a new one
    >>> CompletedTransport().transported(old, rotation, (0.1, 0.001)).square.T
    tensor([[4., 1.]])
    """

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        _require_shapes(moments, rotation)
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

    Examples
    --------
    >>> import torch
    >>> from rankopt import LinearTransport, Moments
    >>> old = Moments(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]]))
    >>> quarter_turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    >>> new = LinearTransport().transported(old, quarter_turn, (0.1, 0.001))
    >>> new.mean.T, new.square.T
    (tensor([[-2.,  1.]]), tensor([[4., 3.]]))
    """

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        _require_shapes(moments, rotation)
        return Moments(rotation @ moments.mean, (rotation @ moments.square).abs_())


@dataclass(frozen=True)
class KeepMoments(MomentTransport):
    """Entries keep their index whatever the basis does; new rows start at zero (GaLore's rule).

    Examples
    --------
    >>> import torch
    >>> from rankopt import KeepMoments, Moments
    >>> old = Moments(torch.ones(1, 2), torch.ones(1, 2))
    >>> KeepMoments().transported(old, torch.zeros(2, 1), (0.1, 0.001)).mean
    tensor([[1., 1.],
            [0., 0.]])
    """

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        _require_shapes(moments, rotation)
        return Moments(*(_resized(moment, len(rotation)) for moment in moments[:2]))


@dataclass(frozen=True)
class ResetMoments(MomentTransport):
    """Moments and their count of steps restart at zero (FRUGAL's rule).

    Examples
    --------
    >>> import torch
    >>> from rankopt import Moments, ResetMoments
    >>> old = Moments(torch.ones(1, 2), torch.ones(1, 2))
    >>> ResetMoments().transported(old, torch.zeros(2, 1), (0.1, 0.001)).mean
    tensor([[0., 0.],
            [0., 0.]])
    """

    restarts = True

    def transported(self, moments: Moments, rotation: Tensor, corrections: tuple[float, float]) -> Moments:
        _require_shapes(moments, rotation)
        shape = (len(rotation), moments.mean.shape[1])
        return Moments(moments.mean.new_zeros(shape), moments.square.new_zeros(shape))


def _require_shapes(moments: Moments, rotation: Tensor) -> None:
    if not isinstance(moments, Moments):
        raise TypeError(f"moments must be Moments(mean, square), got {type(moments).__name__}")
    b, _ = require_matrix("moments.mean", moments.mean)
    require_shape("moments.square", moments.square, moments.mean.shape, moments.mean)
    rows, _ = require_matrix("rotation", rotation)
    require_shape("rotation", rotation, (rows, b), moments.mean)


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
