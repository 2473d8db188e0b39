"""What happens to the part of the gradient that the projection drops, S = G - QQ^T G. It needs no state of its size."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from rankopt.solvers.parameters import require_at_least
from rankopt.training.tensors import require_matrix, require_shape


class ResidualStep(NamedTuple):
    """A direction for the residual.

    Attributes
    ----------
    direction : tensor of shape (m, n)
    norm : tensor of shape () or None
        What the rule wants to know at its next step.
    """

    direction: Tensor
    norm: Tensor | None = None


class ResidualRule(ABC):
    """How a residual becomes a direction of descent."""

    follows_scale: bool
    """Whether the direction has the size of the low-rank update and shares its ``scale``."""

    @abstractmethod
    def step(self, residual: Tensor, low: Tensor, update: Tensor, low_norm: float, norm: Tensor | None) -> ResidualStep:
        """Direction for a residual, whose memory may be used for it.

        Parameters
        ----------
        residual : tensor of shape (m, n)
            S = G - Q low.
        low : tensor of shape (b, n)
            Q^T G.
        update : tensor of shape (b, n)
            What Adam made of it.
        low_norm : float
            Frobenius norm of ``low``.
        norm : tensor of shape () or None
            As the last step gave it.

        Raises
        ------
        TypeError
            If one of the three is no tensor, or their dtypes or devices differ.
        ValueError
            If their shapes do not fit.
        """


@dataclass(frozen=True)
class FiraResidual(ResidualRule):
    """Scale each column of the residual as Adam scaled the same column of the low-rank gradient.

        S_i <- ||update_i|| / ||low_i|| S_i,   where the norm of S may grow by at most ``growth`` from step to step.

    Parameters
    ----------
    growth : float
        At least one.

    References
    ----------
    Chen et al., Fira, arXiv 2410.01623, Equations 6 to 8.

    Examples
    --------
    >>> import torch
    >>> from rankopt import FiraResidual
    >>> gradient = torch.tensor([[3.0, 4.0], [1.0, 2.0]])
    >>> low, update = gradient[:1], torch.ones(1, 2)  # for Q = (1, 0)^T
    >>> residual = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    >>> FiraResidual().step(residual, low, update, low_norm=5.0, norm=None).direction
    tensor([[0.0000, 0.0000],
            [0.3333, 0.5000]])
    """

    growth: float = 1.01
    follows_scale = True

    def __post_init__(self) -> None:
        require_at_least("growth", self.growth, 1)

    def step(self, residual: Tensor, low: Tensor, update: Tensor, low_norm: float, norm: Tensor | None) -> ResidualStep:
        _require_shapes(residual, low, update)
        before, after = torch.linalg.vector_norm(low, dim=0), torch.linalg.vector_norm(update, dim=0)
        # A column without gradient has no update either; nothing of its residual is used.
        scaling = torch.where(before > 0, after / before.clamp_min(torch.finfo(low.dtype).tiny), 0)
        direction = residual.mul_(scaling)
        now = torch.linalg.vector_norm(direction)
        if norm is not None:
            # After a step without residual there is nothing to compare with.
            limit = torch.where(norm > 0, self.growth * norm, now)
            direction.mul_(torch.where(now > limit, limit / now, 1.0))
            now = torch.minimum(now, limit)
        return ResidualStep(direction, now)


@dataclass(frozen=True)
class SignResidual(ResidualRule):
    """Step by the sign of the residual, entry by entry.

    The sign of rounding is plus or minus one like that of a gradient, so entries that rounding alone explains, of at
    most 64 eps ||QQ^T G||_F / sqrt(mn), count as zero.

    References
    ----------
    Zmushko et al., FRUGAL, arXiv 2411.07837, Algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from rankopt import SignResidual
    >>> residual, low = torch.tensor([[0.0, 1e-9], [0.3, -2.0]]), torch.tensor([[3.0, 4.0]])
    >>> SignResidual().step(residual, low, low, low_norm=5.0, norm=None).direction
    tensor([[ 0.,  0.],
            [ 1., -1.]])
    """

    follows_scale = False

    def step(self, residual: Tensor, low: Tensor, update: Tensor, low_norm: float, norm: Tensor | None) -> ResidualStep:
        _require_shapes(residual, low, update)
        # What rounding leaves in G - Q low has the size of the product, so its norm is that of ||low|| = ||QQ^T G||.
        threshold = 64 * torch.finfo(residual.dtype).eps * low_norm / math.sqrt(residual.numel())
        return ResidualStep(torch.nn.functional.hardshrink(residual, threshold).sign_())


def _require_shapes(residual: Tensor, low: Tensor, update: Tensor) -> None:
    (_, n), (b, _) = require_matrix("residual", residual), require_matrix("low", low)
    require_shape("low", low, (b, n), residual)
    require_shape("update", update, (b, n), residual)


RESIDUAL_RULES: Mapping[str, ResidualRule] = MappingProxyType({"fira": FiraResidual(), "sign": SignResidual()})
