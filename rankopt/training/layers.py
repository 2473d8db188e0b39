"""A parameter as the matrix that the optimizers project: flattened, oriented so that its basis is a left one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

LEFT, RIGHT = 0, 1


class Layer(NamedTuple):
    """One parameter in one step.

    Attributes
    ----------
    parameter : tensor
    options : dict
        Of its group.
    state : dict
        Of the parameter.
    position : int
        Among all the parameters of the optimizer.
    name : str
    """

    parameter: Tensor
    options: dict[str, Any]
    state: dict[str, Any]
    position: int
    name: str

    @property
    def side(self) -> int:
        """The side of its basis, from the state, or decided by the option and the shape where there is no state yet."""
        if "side" in self.state:
            return self.state["side"]
        return side_of(matrix_shape(self.parameter, self.options["row_dims"]), self.options["side"])

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the oriented matrix."""
        rows, columns = matrix_shape(self.parameter, self.options["row_dims"])
        return (rows, columns) if self.side == LEFT else (columns, rows)

    def oriented(self, tensor: Tensor) -> Tensor:
        """A tensor of the parameter's shape as the oriented matrix: a view wherever its memory allows one."""
        matrix = tensor.reshape(matrix_shape(self.parameter, self.options["row_dims"]))
        return matrix if self.side == LEFT else matrix.mT

    def restore(self, matrix: Tensor) -> None:
        """Write an oriented matrix back into the parameter, unless it is a view of it."""
        if matrix.untyped_storage().data_ptr() != self.parameter.untyped_storage().data_ptr():
            self.parameter.copy_((matrix if self.side == LEFT else matrix.mT).reshape(self.parameter.shape))


def matrix_shape(parameter: Tensor, row_dims: int) -> tuple[int, int]:
    """Shape of a parameter whose first ``row_dims`` dimensions (or all but the last ``-row_dims``) count its rows."""
    split = row_dims % parameter.ndim
    return math.prod(parameter.shape[:split]), math.prod(parameter.shape[split:])


def side_of(shape: tuple[int, int], side: str) -> int:
    """Left or right, for the name of a side."""
    if side in ("left", "right"):
        return LEFT if side == "left" else RIGHT
    is_wide = shape[0] <= shape[1]
    return LEFT if is_wide == (side == "short") else RIGHT


def is_projected(parameter: Tensor, options: dict[str, Any]) -> bool:
    """Whether a parameter is a matrix and its group asks for the low-rank path."""
    return bool(options["low_rank"]) and parameter.ndim >= 2 and parameter.numel() > 0


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Dtype of the arithmetic: single precision for half-precision tensors, otherwise their own."""
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


def widened(tensor: Tensor) -> Tensor:
    """A tensor in the dtype of the arithmetic: half precision becomes single."""
    return tensor.to(compute_dtype(tensor))


def moment_dtype(layer: Layer) -> torch.dtype:
    """Dtype in which the moments of a layer are stored."""
    return layer.options["moment_dtype"] or compute_dtype(layer.parameter)


def seeded_generator(device: torch.device, seed: int, index: int, refresh: int) -> torch.Generator:
    """Generator that depends on the seed, the position of the parameter and the number of the refresh alone.

    The three are mixed by a splitmix64 step each, so every process draws the same numbers and a resumed run repeats
    them.
    """
    state = 0
    for word in (seed, index, refresh):
        state = _splitmix64(state ^ word)
    return torch.Generator(device).manual_seed(state >> 1)


def _splitmix64(state: int) -> int:
    mask = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)
