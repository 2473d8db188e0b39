"""One step of projected layers: gradients into their subspaces, Adam there (block 3), and the weights (block 4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rankopt.training.functional import AdamCoefficients, adam_update
from rankopt.training.layers import Layer, widened
from rankopt.training.moment_transport import Moments
from rankopt.training.residual import RESIDUAL_RULES
from rankopt.training.tensors import require_finite_number, require_matrix, require_shape

AdamUpdate = Callable[[Tensor, Moments, AdamCoefficients], Tensor]


class Projected(NamedTuple):
    """A layer whose gradient has been projected.

    Attributes
    ----------
    layer : Layer
    gradient : tensor of shape (m, n) or None
        The oriented gradient, in its own dtype: a wide copy of all gradients at once would double their memory.
    low : tensor of shape (b, n) or None
        Q^T G; None where there is no basis yet.
    norm : tensor of shape ()
        The norm of ``low``, or of the gradient where there is no basis.
    """

    layer: Layer
    gradient: Tensor | None
    low: Tensor | None
    norm: Tensor


def adarankgrad_step(
    weight: Tensor,
    basis: Tensor,
    update: Tensor,
    *,
    lr: float,
    weight_decay: float,
    scale: float,
    maximize: bool = False,
) -> None:
    """Block 4: change a weight in place by a low-rank update.

        W <- (1 - lr weight_decay) W - lr scale Q update

    Parameters
    ----------
    weight : tensor of shape (m, n)
    basis : tensor of shape (m, b)
    update : tensor of shape (b, n)
        M^ / (sqrt(V^) + eps).
    lr, weight_decay, scale : float
    maximize : bool

    Raises
    ------
    TypeError
        If one of the three is no tensor, their dtypes or devices differ, or a number is none.
    ValueError
        If their shapes do not fit, or a number is not finite.

    Examples
    --------
    >>> import torch
    >>> from rankopt import adarankgrad_step
    >>> weight, basis = torch.ones(3, 2), torch.tensor([[1.0], [0.0], [0.0]])
    >>> adarankgrad_step(weight, basis, torch.tensor([[1.0, -1.0]]), lr=0.1, weight_decay=0.0, scale=1.0)
    >>> weight
    tensor([[0.9000, 1.1000],
            [1.0000, 1.0000],
            [1.0000, 1.0000]])
    """
    m, n = require_matrix("weight", weight)
    _, b = require_matrix("basis", basis)
    require_shape("basis", basis, (m, b), weight)
    require_shape("update", update, (b, n), weight)
    for name, value in (("lr", lr), ("weight_decay", weight_decay), ("scale", scale)):
        require_finite_number(name, value)
    weight.addmm_(basis, update, beta=1 - lr * weight_decay, alpha=(lr if maximize else -lr) * scale)


def adam_updates(ready: list[Projected], clips: list[float], adam: AdamUpdate, foreach: bool) -> list[Tensor]:
    """What Adam makes of projected gradients multiplied by ``clips``; changes the moments and counts the step."""
    lows = []
    for projected, clip in zip(ready, clips, strict=True):
        assert projected.low is not None
        state = projected.layer.state
        state["step"] += 1
        state["moment_step"] += 1
        lows.append(projected.low if clip == 1.0 else projected.low * clip)
    moments = [_moments(projected.layer) for projected in ready]
    steps = [_coefficients(projected.layer) for projected in ready]
    if not foreach:
        return [adam(*one) for one in zip(lows, moments, steps, strict=True)]
    updates: list[Tensor] = [torch.empty(0)] * len(ready)
    groups: dict[object, list[int]] = {}
    for i, (low, moment, coefficients) in enumerate(zip(lows, moments, steps, strict=True)):
        kind = (low.shape, low.dtype, low.device, moment.mean.dtype, coefficients[:2], coefficients.eps)
        groups.setdefault((kind, moment.mass is None), []).append(i)
    for members in groups.values():
        group = foreach_adam([lows[i] for i in members], [moments[i] for i in members], [steps[i] for i in members])
        for i, update in zip(members, group, strict=True):
            updates[i] = update
    return updates


def foreach_adam(lows: list[Tensor], moments: list[Moments], steps: list[AdamCoefficients]) -> list[Tensor]:
    """:func:`adam_update` for tensors of one shape and kind at once, in few launches on an accelerator."""
    beta1, beta2 = steps[0][:2]
    if moments[0].mean.dtype != lows[0].dtype:
        return [adam_update(*one) for one in zip(lows, moments, steps, strict=True)]
    means, squares = [moment.mean for moment in moments], [moment.square for moment in moments]
    torch._foreach_lerp_(means, lows, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, lows, lows, value=1 - beta2)
    denominators = torch._foreach_sqrt(squares)
    masses = [moment.mass for moment in moments if moment.mass is not None]
    if masses:
        torch._foreach_mul_(masses, beta2)
        torch._foreach_add_(masses, 1 - beta2)
        scales = torch._foreach_mul(torch._foreach_rsqrt(masses), [c.first_correction for c in steps])
        torch._foreach_mul_(denominators, [scale[:, None] for scale in scales])
    else:
        torch._foreach_mul_(denominators, [c.first_correction / math.sqrt(c.second_correction) for c in steps])
    torch._foreach_add_(denominators, [c.first_correction * c.eps for c in steps])
    return list(torch._foreach_div(means, denominators))


def move_weight(projected: Projected, update: Tensor, low_norm: float) -> None:
    """Change the weight of a layer by its low-rank update and, where a rule uses it, the residual."""
    layer, options, state = projected.layer, projected.layer.options, projected.layer.state
    lr, scale, basis = float(options["lr"]), options["scale"], state["basis"]
    direction = _residual_direction(projected, update, low_norm)
    # Half-precision weights are changed in single precision and rounded once.
    weight = layer.oriented(layer.parameter).to(basis.dtype)
    adarankgrad_step(
        weight,
        basis,
        update,
        lr=lr,
        weight_decay=options["weight_decay"],
        scale=scale,
        maximize=options["maximize"],
    )
    if direction is not None:
        rate = lr * options["residual_scale"] * (scale if RESIDUAL_RULES[options["residual"]].follows_scale else 1.0)
        weight.add_(direction, alpha=rate if options["maximize"] else -rate)
    layer.restore(weight)


def decay_weight(layer: Layer) -> None:
    """Only the weight decay, for a layer whose gradients have been zero so far."""
    layer.state["step"] += 1
    layer.parameter.mul_(1 - float(layer.options["lr"]) * layer.options["weight_decay"])


def _residual_direction(projected: Projected, update: Tensor, low_norm: float) -> Tensor | None:
    layer, (gradient, low) = projected.layer, projected[1:3]
    if layer.options["residual"] is None:
        return None
    assert gradient is not None
    assert low is not None
    basis, state = layer.state["basis"], layer.state
    if low.shape[0] == min(layer.shape):
        # A full basis leaves nothing but rounding.
        state.pop("residual_norm", None)
        return None
    residual = torch.addmm(widened(gradient), basis, low, alpha=-1)
    step = RESIDUAL_RULES[layer.options["residual"]].step(residual, low, update, low_norm, state.get("residual_norm"))
    if step.norm is not None:
        state["residual_norm"] = step.norm
    return step.direction


def _moments(layer: Layer) -> Moments:
    return Moments(layer.state["exp_avg"], layer.state["exp_avg_sq"], layer.state.get("mass"))


def _coefficients(layer: Layer) -> AdamCoefficients:
    return AdamCoefficients.at(layer.state["moment_step"], layer.options["betas"], layer.options["eps"])


def compiled_adam() -> AdamUpdate:
    """:func:`adam_update` as one fused kernel. Sizes and numbers are dynamic, so that few compilations serve all."""
    return torch.compile(adam_update, fullgraph=True, dynamic=True)
