"""Bytes that training with an optimizer takes, counted from its tensors, beside those of full Adam."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.optim.optimizer import Optimizer

from rankopt.training.layers import Layer, compute_dtype, is_projected, moment_dtype
from rankopt.training.optimizer import SubspaceOptimizer
from rankopt.training.refresh import MAX_BATCH


@dataclass(frozen=True)
class LayerMemory:
    """Bytes of one parameter.

    Attributes
    ----------
    name : str
    is_projected : bool
    rank : int
        Directions kept; 0 for parameters that are not projected.
    weight, gradient, state, adam_state, refresh : int
        ``gradient`` counts what is stored now, ``refresh`` the most that a step with a refresh has beside weight and
        gradient, the new state included, where the layer is handled alone.
    """

    name: str
    is_projected: bool
    rank: int
    weight: int
    gradient: int
    state: int
    adam_state: int
    refresh: int


@dataclass(frozen=True)
class MemoryReport:
    """Bytes by what they are for; ``str()`` of it is a table.

    Attributes
    ----------
    layers : tuple of LayerMemory
    weights, gradients, state : int
        All parameters, the gradients stored now (accumulated ones included), and the tensors of the optimizer's state.
    projected_state : int
        The part of the state that belongs to projected parameters.
    adam_state, projected_adam_state : int
        What full Adam's two moments would take for the same parameters, in the same dtype.
    refresh_peak : int
        The most that a step with refreshes has beside weights and gradients, at the largest rank: of one layer where
        they are handled one by one, of all of them where they are handled together (``foreach``, ``max_grad_norm``).
    """

    layers: tuple[LayerMemory, ...]
    weights: int
    gradients: int
    state: int
    projected_state: int
    adam_state: int
    projected_adam_state: int
    refresh_peak: int

    def __str__(self) -> str:
        rows: list[tuple[str, int, int | None]]
        rows = [("weights", self.weights, None), ("gradients now", self.gradients, None)]
        rows += [("state, projected layers", self.projected_state, self.projected_adam_state)]
        rows += [("state, all", self.state, self.adam_state), ("peak of a refresh", self.refresh_peak, None)]
        lines = [f"{'':24s}{'MB':>12s}{'full Adam':>12s}{'ratio':>8s}"]
        for label, size, adam in rows:
            beside = f"{adam / 1e6:12.3f}{size / adam:8.2f}" if adam else ""
            lines.append(f"{label:24s}{size / 1e6:12.3f}{beside}")
        return "\n".join(lines)


def memory_report(optimizer: Optimizer) -> MemoryReport:
    """Count the bytes of an optimizer's tensors.

    The state is there only after a first step; before it the report says zero.

    Parameters
    ----------
    optimizer : AdaRankGrad, GaLore, or any torch optimizer
        Of another optimizer all parameters count as not projected.

    Returns
    -------
    MemoryReport

    Examples
    --------
    >>> import torch
    >>> from rankopt import AdaRankGrad, memory_report
    >>> weight = torch.nn.Parameter(torch.randn(64, 128, generator=torch.Generator().manual_seed(0)))
    >>> optimizer = AdaRankGrad([weight], max_rank=8, energy=None)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> report = memory_report(optimizer)
    >>> report.state == 4 * 8 * (64 + 2 * 128), report.adam_state == 4 * 2 * 64 * 128
    (True, True)
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a torch optimizer, got {type(optimizer).__name__}")
    layers = tuple(_layer_memory(optimizer, layer) for layer in _layers(optimizer))
    return MemoryReport(
        layers=layers,
        weights=sum(layer.weight for layer in layers),
        gradients=sum(layer.gradient for layer in layers),
        state=sum(layer.state for layer in layers),
        projected_state=sum(layer.state for layer in layers if layer.is_projected),
        adam_state=sum(layer.adam_state for layer in layers),
        projected_adam_state=sum(layer.adam_state for layer in layers if layer.is_projected),
        refresh_peak=_refresh_peak(optimizer),
    )


def _layers(optimizer: Optimizer) -> list[Layer]:
    if isinstance(optimizer, SubspaceOptimizer):
        return optimizer.layers()
    plain = {"low_rank": False, "moment_dtype": None}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [Layer(p, plain, optimizer.state.get(p, {}), i, str(i)) for i, p in enumerate(parameters)]


def _layer_memory(optimizer: Optimizer, layer: Layer) -> LayerMemory:
    projected = is_projected(layer.parameter, layer.options)
    gradient = 0 if layer.parameter.grad is None else _bytes(layer.parameter.grad)
    if isinstance(optimizer, SubspaceOptimizer):
        gradient += sum(_bytes(tensor) for tensor in optimizer.accumulated(layer.parameter))
    return LayerMemory(
        name=layer.name,
        is_projected=projected,
        rank=layer.state["basis"].shape[1] if "basis" in layer.state else 0,
        weight=_bytes(layer.parameter),
        gradient=gradient,
        state=sum(_bytes(value) for value in layer.state.values() if isinstance(value, Tensor) and value.ndim),
        adam_state=2 * layer.parameter.numel() * moment_dtype(layer).itemsize,
        refresh=_refresh(layer).alone if projected else 0,
    )


class _Refresh(NamedTuple):
    """Bytes of one layer in a step with a refresh, at the largest rank."""

    matrix: int
    """A matrix of the layer's shape in the dtype of the arithmetic."""
    found: int
    """Arrays of the search for directions, dropped before the weights move; a gradient of another dtype is copied."""
    kept: int
    """New basis and moments, the low-rank gradient and its update."""
    moved: int
    """Arrays of the change of the weights."""

    @property
    def alone(self) -> int:
        return self.kept + max(self.found, self.moved)


def _refresh(layer: Layer) -> _Refresh:
    m, n = layer.shape
    k = min(layer.options["max_rank"] + layer.options["oversampling"], m, n)
    b = min(layer.options["max_rank"], m, n)
    width = compute_dtype(layer.parameter).itemsize
    matrix = m * n * width
    copy = matrix if layer.parameter.dtype != compute_dtype(layer.parameter) else 0
    is_accumulated = layer.options["accumulate"] is not None
    # Omega, the sample and its orthonormal basis, and the product with its transpose; or U, V and a copy of G; or the
    # reordered matrix, its complex spectrum and the products with cosines and sines.
    found = {"svd": (m + n) * min(m, n) * width + matrix, "dct": 6 * matrix}
    residual = {None: 0, "fira": matrix, "sign": 2 * matrix}[layer.options["residual"]]
    return _Refresh(
        matrix=matrix,
        found=found.get(layer.options["subspace"], 2 * k * (m + n) * width) + (0 if is_accumulated else copy),
        kept=b * (m + 4 * n) * width,
        moved=copy + (residual + copy if residual else 0),
    )


def _refresh_peak(optimizer: Optimizer) -> int:
    projected = [layer for layer in _layers(optimizer) if is_projected(layer.parameter, layer.options)]
    if not (isinstance(optimizer, SubspaceOptimizer) and projected):
        return 0
    sizes = [_refresh(layer) for layer in projected]
    largest = max(max(size.found, size.moved) for size in sizes)
    if optimizer.is_foreach(projected):
        # Gradients of one shape are copied side by side, and decomposed at once.
        counts = Counter(layer.shape for layer in projected)
        batches = [min(counts[layer.shape], MAX_BATCH) for layer in projected]
        largest = max(largest, *(n * (size.matrix + size.found) for n, size in zip(batches, sizes, strict=True)))
    elif all(layer.options["max_grad_norm"] is None for layer in projected):
        return max(size.alone for size in sizes)
    return largest + sum(size.kept for size in sizes)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
