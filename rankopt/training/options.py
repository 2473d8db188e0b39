"""Options of the low-rank optimizers, checked wherever they come from: constructor, parameter group or saved state."""

from __future__ import annotations

import difflib
import math
from typing import Any

import torch

from rankopt.training.functional import update_rule
from rankopt.training.moment_transport import MOMENT_TRANSPORTS
from rankopt.training.residual import RESIDUAL_RULES

OPTIONS = frozenset((
    "lr", "betas", "eps", "weight_decay", "scale", "energy", "min_rank", "max_rank", "oversampling",
    "power_iterations", "min_gap", "max_gap", "tolerance", "moment_transport", "residual", "residual_scale", "side",
    "moment_dtype", "accumulate", "max_grad_norm", "maximize", "seed", "low_rank", "row_dims", "staggered", "subspace",
    "eta",
))  # fmt: skip
"""Names of all options."""

SIDES = ("short", "long", "left", "right")


def check_options(options: dict[str, Any]) -> None:
    """Raise a ValueError or TypeError that names the option which cannot be used, and says what can."""
    _check_numbers(options)
    _check_counts(options)
    _check_names(options)
    betas = options["betas"]
    if not isinstance(betas, (tuple, list)) or not all(isinstance(beta, (int, float)) for beta in betas):
        raise TypeError(f"betas must be two numbers, got {betas!r}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers in [0, 1), got {betas}")
    for name in ("energy", "max_grad_norm"):
        value = options[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise TypeError(f"{name} must be a number or None, got {value!r}")
    energy = options["energy"]
    if energy is not None and not 0 < energy <= 1:
        raise ValueError(f"energy must lie in (0, 1] (or be None for a constant rank), got {energy}")
    if options["min_rank"] > options["max_rank"]:
        raise ValueError(f"min_rank must not exceed max_rank, got {options['min_rank']} > {options['max_rank']}")
    bound = options["max_grad_norm"]
    if bound is not None and not bound > 0:
        raise ValueError(f"max_grad_norm must be positive (or None for no clipping), got {bound}")
    if options["accumulate"] is not None and options["residual"] is not None:
        raise ValueError(
            f"accumulate='low-rank' cannot be combined with residual={options['residual']!r}: a residual rule needs "
            "the full gradient, which low-rank accumulation never stores; drop one of the two"
        )
    if options["accumulate"] is not None and options["subspace"] != "range":
        raise ValueError(
            f"accumulate='low-rank' refreshes from a sketch of the gradient, so it cannot be combined with "
            f"subspace={options['subspace']!r}; use subspace='range'"
        )


def require_all_options(defaults: Any) -> None:
    """Raise an error unless defaults are a dict that gives every option."""
    if not isinstance(defaults, dict):
        raise TypeError(f"defaults must be a dict of all options, got {type(defaults).__name__}")
    missing = sorted(OPTIONS - defaults.keys())
    if missing:
        raise ValueError(f"defaults must give all options, but lack {missing}; start from those of a preset")


def check_spelling(group: dict[str, Any], known: dict[str, Any]) -> None:
    """Raise a ValueError if a key of a group looks like a misspelt option; other keys are the user's own."""
    for key in group.keys() - known.keys():
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
        if near:
            raise ValueError(f"a parameter group has the key {key!r}, which is no option; did you mean {near[0]!r}?")


def check_row_dims(row_dims: int, parameter: torch.Tensor) -> None:
    """Raise a ValueError if the dimensions of a parameter cannot be split so."""
    if isinstance(row_dims, bool) or not isinstance(row_dims, int):
        raise TypeError(f"row_dims must be an integer, got {row_dims!r}")
    if not 0 < abs(row_dims) < parameter.ndim:
        raise ValueError(
            f"row_dims must leave rows and columns of a parameter of shape {tuple(parameter.shape)}: between 1 and "
            f"{parameter.ndim - 1}, or negative, got {row_dims}"
        )


def _check_numbers(options: dict[str, Any]) -> None:
    for name in ("lr", "eps", "weight_decay", "scale", "residual_scale", "tolerance"):
        value = options[name]
        if isinstance(value, torch.Tensor) and name == "lr":
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be finite and not negative, got {value}")


def _check_counts(options: dict[str, Any]) -> None:
    smallest = dict.fromkeys(("min_rank", "max_rank", "min_gap", "max_gap"), 1)
    smallest |= dict.fromkeys(("oversampling", "power_iterations", "seed"), 0)
    for name, least in smallest.items():
        value = options[name]
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _check_names(options: dict[str, Any]) -> None:
    known = {
        "side": SIDES,
        "moment_transport": tuple(MOMENT_TRANSPORTS),
        "residual": (None, *RESIDUAL_RULES),
        "accumulate": (None, "low-rank"),
    }
    for name, values in known.items():
        if options[name] not in values:
            raise ValueError(f"{name} must be one of {values}, got {options[name]!r}")
    update_rule(options["subspace"], options["oversampling"], options["power_iterations"], options["eta"])
    dtype = options["moment_dtype"]
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"moment_dtype must be a floating torch.dtype or None, got {dtype!r}")
