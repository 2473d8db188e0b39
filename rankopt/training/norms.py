"""Norms of gradients, read from their devices at once: one synchronisation a step instead of one a layer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rankopt.training.layers import Layer, compute_dtype


def gradient_norm(gradient: Tensor) -> Tensor:
    """Frobenius norm, in the dtype of the arithmetic."""
    return torch.linalg.vector_norm(gradient, dtype=compute_dtype(gradient))


def gradient_norms(layers: Iterable[Layer]) -> list[float]:
    """Norms of the gradients of layers that all have one."""
    return read_numbers([gradient_norm(layer.parameter.grad) for layer in layers if layer.parameter.grad is not None])


def read_numbers(scalars: list[Tensor]) -> list[float]:
    """Values of scalars, read once from each device."""
    if len(scalars) < 2:
        return [float(scalar) for scalar in scalars]
    by_device: dict[torch.device, list[Tensor]] = {}
    for scalar in scalars:
        by_device.setdefault(scalar.device, []).append(scalar.double())
    read = {device: iter(torch.stack(some).tolist()) for device, some in by_device.items()}
    return [next(read[scalar.device]) for scalar in scalars]
