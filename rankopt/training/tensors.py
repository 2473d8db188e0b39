"""Checks of the tensors and numbers that the functional pieces take: cheap, for they run at every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor


def require_matrix(name: str, value: Any) -> Sequence[int]:
    """Shape of a matrix; an error that names the argument for anything else."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got shape {tuple(value.shape)}")
    return value.shape


def require_shape(name: str, value: Any, shape: Sequence[int], like: Tensor) -> None:
    """Raise an error that names the argument unless it is a tensor of a shape, of the dtype and device of another."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(value.shape)}")
    if value.dtype != like.dtype or value.device != like.device:
        raise TypeError(
            f"{name} must be {like.dtype} on {like.device} like the others, got {value.dtype} on {value.device}"
        )


def require_finite_number(name: str, value: Any) -> None:
    """Raise an error that names the argument unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
