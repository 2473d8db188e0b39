"""Streams of gradients, and how they reach an optimizer without a model."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

WIDE, SQUARE, TALL = (10, 16), (12, 12), (16, 10)
SHAPES = [WIDE, SQUARE, TALL]


def decaying(shape, ratio, seed=0):
    """Matrix with singular values 1, ratio, ratio^2, ..., numpy float64."""
    rng = np.random.default_rng(seed)
    k = min(shape)
    u = np.linalg.qr(rng.standard_normal((shape[0], k)))[0]
    v = np.linalg.qr(rng.standard_normal((shape[1], k)))[0]
    return (u * ratio ** np.arange(k)) @ v.T


def stream(shape, count, seed=0, dtype=torch.float64, drift=0.3):
    """Gradients whose singular values decay, faster and slower in turns, and whose singular vectors drift."""
    rng = np.random.default_rng(seed)
    k = min(shape)
    left, right = rng.standard_normal((shape[0], k)), rng.standard_normal((shape[1], k))
    gradients = []
    for t in range(count):
        decay = 0.35 + 0.4 * np.sin(0.4 * t) ** 2
        left += drift * rng.standard_normal(left.shape)
        right += drift * rng.standard_normal(right.shape)
        gradients.append(torch.tensor((left * decay ** np.arange(k)) @ right.T, dtype=dtype))
    return gradients


def low_rank(shape, rank, seed=0, dtype=torch.float64):
    """Random matrix of exactly this rank."""
    rng = np.random.default_rng(seed)
    product = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    return torch.tensor(product, dtype=dtype)


def weight(shape, seed=100, dtype=torch.float64):
    """Parameter with normal entries."""
    return nn.Parameter(torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype))


def feed(optimizer, *pairs):
    """One step with given gradients: parameter, gradient, parameter, gradient, ..."""
    for parameter, gradient in zip(pairs[::2], pairs[1::2], strict=True):
        parameter.grad = None if gradient is None else gradient.to(parameter.dtype, copy=True)
    optimizer.step()


def tensors(state):
    """Tensors of one parameter's state by their names."""
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


def snapshot(optimizer):
    """Copies of all weights and states, to see later whether anything has changed."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    copies = []
    for parameter in parameters:
        state = optimizer.state.get(parameter, {})
        held = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()}
        copies.append((parameter.detach().clone(), held))
    return copies


def assert_identical(actual, desired):
    """Bitwise equality of trees of dictionaries, sequences, tensors (dtypes too) and numbers."""
    assert type(actual) is type(desired), (type(actual), type(desired))
    if isinstance(desired, torch.Tensor):
        assert actual.dtype == desired.dtype
        assert torch.equal(actual.detach(), desired.detach())
    elif isinstance(desired, dict):
        assert actual.keys() == desired.keys()
        for key in desired:
            assert_identical(actual[key], desired[key])
    elif isinstance(desired, (list, tuple)):
        assert len(actual) == len(desired)
        for one, other in zip(actual, desired, strict=True):
            assert_identical(one, other)
    else:
        assert actual == desired
