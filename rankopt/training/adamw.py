"""AdamW for parameters that are not projected: torch's own step, in single precision for half-precision weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from rankopt.training.functional import AdamCoefficients, adam_update
from rankopt.training.layers import Layer, compute_dtype, moment_dtype
from rankopt.training.moment_transport import Moments


def adamw_step(layers: list[Layer], clip: float) -> None:
    """One step of AdamW for layers of one group, their gradients multiplied by ``clip``."""
    native = [layer for layer in layers if _is_native(layer)]
    for layer in layers:
        if "exp_avg" not in layer.state:
            _initialise(layer)
    if native:
        _native_step(native, clip)
    for layer in layers:
        if not _is_native(layer):
            _widened_step(layer, clip)


def _initialise(layer: Layer) -> None:
    parameter, dtype = layer.parameter, moment_dtype(layer)
    # torch's step counts in a tensor.
    layer.state["step"] = torch.zeros((), dtype=torch.float32)
    for name in ("exp_avg", "exp_avg_sq"):
        layer.state[name] = torch.zeros_like(parameter, dtype=dtype, memory_format=torch.preserve_format)
    layer.state.setdefault("skipped", 0)


def _native_step(layers: list[Layer], clip: float) -> None:
    options = layers[0].options
    gradients = [_gradient(layer) for layer in layers]
    if clip != 1.0:
        gradients = [gradient * clip for gradient in gradients]
    is_fused = all(layer.parameter.device.type in ("cpu", "cuda") for layer in layers)
    for layer in layers:
        if is_fused:
            layer.state["step"] = layer.state["step"].to(layer.parameter.device)
    adamw(
        [layer.parameter for layer in layers],
        gradients,
        [layer.state["exp_avg"] for layer in layers],
        [layer.state["exp_avg_sq"] for layer in layers],
        [],
        [layer.state["step"] for layer in layers],
        fused=is_fused,
        amsgrad=False,
        beta1=options["betas"][0],
        beta2=options["betas"][1],
        lr=float(options["lr"]),
        weight_decay=options["weight_decay"],
        eps=options["eps"],
        maximize=options["maximize"],
    )


def _widened_step(layer: Layer, clip: float) -> None:
    options, state = layer.options, layer.state
    dtype = compute_dtype(layer.parameter)
    state["step"] += 1
    coefficients = AdamCoefficients.at(int(state["step"]), options["betas"], options["eps"])
    gradient = _gradient(layer).to(dtype) * clip
    update = adam_update(gradient, Moments(state["exp_avg"], state["exp_avg_sq"]), coefficients)
    lr = float(options["lr"])
    wide = layer.parameter.to(dtype, copy=True).mul_(1 - lr * options["weight_decay"])
    layer.parameter.copy_(wide.add_(update, alpha=lr if options["maximize"] else -lr))


def _gradient(layer: Layer) -> Tensor:
    gradient = layer.parameter.grad
    assert gradient is not None
    return gradient


def _is_native(layer: Layer) -> bool:
    """Whether weights and moments have the dtype that the arithmetic should have."""
    return layer.parameter.dtype == compute_dtype(layer.parameter) == moment_dtype(layer)
