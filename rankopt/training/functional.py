"""The functional core of the low-rank optimizers: pure functions of one layer's tensors, for a left basis.

A layer with a right basis is its transpose: callers pass transposed views.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from manifolds.subspace.directions import Directions
from manifolds.subspace.one_pass_sketch import OnePassSketch, recovered
from manifolds.subspace.rank_rules import ConstantRank, EnergyRank, RankRule, captured_shares
from manifolds.subspace.tracker import adapt_rank, chosen_rank
from manifolds.subspace.update_rules import (
    DCTBasis,
    ExactSVD,
    GeodesicStep,
    RandomBasis,
    RandomizedRange,
    RiemannianStep,
    UpdateRule,
)
from rankopt.training.moment_transport import Moments


def bucket(rank: int, max_rank: int, shape: tuple[int, int]) -> int:
    """Rank to allocate: the next multiple of ``max_rank // 8``, so that there are at most eight sizes or so.

        b = min(q ceil(r / q), r_max, min(m, n)),   q = max(1, r_max // 8)

    Allocator, checkpoints, ``torch.compile`` and process groups then see few shapes.
    """
    quantum = max(1, max_rank // 8)
    return min(quantum * math.ceil(rank / quantum), max_rank, *shape)


def rank_rule(energy: float | None, min_rank: int, max_rank: int) -> RankRule:
    """Rule for the rank: by a share of the energy, or the largest rank where no share is given."""
    return ConstantRank(max_rank) if energy is None else EnergyRank(energy, min(min_rank, max_rank), max_rank)


def update_rule(name: str, oversampling: int, power_iterations: int, eta: float) -> UpdateRule:
    """Rule of the subspace by its name in the options of an optimizer."""
    rules: dict[str, Callable[[], UpdateRule]] = {
        "range": lambda: RandomizedRange(oversampling, power_iterations),
        "svd": ExactSVD,
        "riemannian": lambda: RiemannianStep(eta, oversampling=oversampling),
        "geodesic": lambda: GeodesicStep(eta, oversampling=oversampling),
        "dct": DCTBasis,
        "random": RandomBasis,
    }
    if name not in rules:
        raise ValueError(f"subspace must be one of {tuple(rules)}, got {name!r}")
    return rules[name]()


class Selected(NamedTuple):
    """A subspace for a gradient, and the gradient in it.

    Attributes
    ----------
    basis : tensor of shape (m, b)
        Columns along which the gradient is rounding alone are zero.
    low : tensor of shape (b, n)
        Q^T G.
    rank : int
        Directions that the asked energy needs.
    captured_energy : float
    gradient_norm : float
    """

    basis: Tensor
    low: Tensor
    rank: int
    captured_energy: float
    gradient_norm: float


def select_subspace(
    gradient: Tensor,
    basis: Tensor | None,
    rule: UpdateRule,
    ranks: RankRule,
    generator: torch.Generator,
    directions: Directions | None = None,
) -> Selected:
    """Block 1: the subspace for a gradient, at the smallest rank that keeps the asked energy, rounded up to its bucket.

    Parameters
    ----------
    gradient : tensor of shape (m, n)
        Finite.
    basis : tensor of shape (m, b) or None
        The basis so far.
    rule : UpdateRule
    ranks : RankRule
    generator : torch.Generator
    directions : Directions, optional
        What the rule finds, where it has been asked already.

    References
    ----------
    Refael et al., AdaRankGrad, ICLR 2025, Algorithms 1 and 2.
    """

    def allocate(rank: int) -> int:
        return bucket(rank, ranks.maximum, (gradient.shape[0], gradient.shape[1]))

    if directions is None:
        directions = rule.directions(gradient, ranks.maximum, _without_zero_columns(basis), generator)
    adapted = adapt_rank(directions, ranks, gradient, generator, allocate)
    norm = math.sqrt(adapted.total_energy)
    new = adapted.basis.contiguous()
    low = new.mT @ gradient
    return _without_rounding(Selected(new, low, adapted.rank, adapted.captured_energy, norm))


def select_from_sketch(sketch: OnePassSketch, ranks: RankRule) -> Selected:
    """The same from the one-pass sketch of a gradient that was never stored; energies are estimates."""
    directions, low = recovered(sketch)
    shape = (sketch.range_sketch.shape[0], low.shape[1])
    rank = chosen_rank(ranks, directions, min(ranks.maximum, *shape))
    # The sketch has at least as many directions as the largest rank.
    assert rank is not None
    allocated = bucket(rank, ranks.maximum, shape)
    shares = captured_shares(directions.energies, directions.total_energy)
    norm = math.sqrt(float(directions.total_energy))
    basis = directions.basis[:, :allocated].contiguous()
    return _without_rounding(Selected(basis, low[:allocated].contiguous(), rank, float(shares[allocated - 1]), norm))


def _without_zero_columns(basis: Tensor | None) -> Tensor | None:
    """Orthonormal columns of a basis: zero columns stand at its end."""
    if basis is None:
        return None
    count = int((basis != 0).any(dim=0).sum())
    return basis[:, :count] if count else None


def _without_rounding(selected: Selected) -> Selected:
    """Zero the directions along which the gradient is rounding: Adam would blow them up to full size."""
    low = selected.low
    keeps = torch.linalg.vector_norm(low, dim=1) > 16 * torch.finfo(low.dtype).eps * selected.gradient_norm
    return selected._replace(basis=selected.basis * keeps, low=low * keeps[:, None])


def adam_update(low: Tensor, moments: Moments, coefficients: AdamCoefficients) -> Tensor:
    """Block 3: Adam in the subspace; changes the moments in place and returns M^ / (sqrt(V^) + eps).

        M = beta_1 M + (1 - beta_1) low,   V = beta_2 V + (1 - beta_2) low o low,
        M^ = M / (1 - beta_1^t),   V^ = V / (1 - beta_2^t), or V / w where the mass w is counted row by row

    References
    ----------
    Kingma, Ba, Adam, ICLR 2015, Algorithm 1.
    """
    beta1, beta2, first, second, eps = coefficients
    # Half-precision moments are only stored as such: 0.999 times a bfloat16 number rounds to the number itself.
    mean, square = moments.mean.to(low.dtype), moments.square.to(low.dtype)
    mean.lerp_(low, 1 - beta1)
    square.mul_(beta2).addcmul_(low, low, value=1 - beta2)
    # All corrections go into the denominator, which saves passes over the numbers.
    if moments.mass is None:
        denominator = square.sqrt().mul_(first / math.sqrt(second)).add_(first * eps)
    else:
        moments.mass.mul_(beta2).add_(1 - beta2)
        denominator = square.sqrt().mul_(moments.mass.rsqrt()[:, None] * first).add_(first * eps)
    if mean is not moments.mean:
        moments.mean.copy_(mean)
        moments.square.copy_(square)
    return torch.div(mean, denominator, out=denominator)


class AdamCoefficients(NamedTuple):
    """Numbers of one step of Adam: both decays, both bias corrections 1 - beta^t, and eps."""

    beta1: float
    beta2: float
    first_correction: float
    second_correction: float
    eps: float

    @classmethod
    def at(cls, step: int, betas: tuple[float, float], eps: float) -> AdamCoefficients:
        """Coefficients of the ``step``-th step, from 1."""
        beta1, beta2 = betas
        return cls(beta1, beta2, 1 - beta1**step, 1 - beta2**step, eps)
