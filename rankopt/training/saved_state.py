"""Whether a saved state fits the parameters, said before anything is changed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rankopt.training.layers import LEFT, Layer, is_projected, matrix_shape

FORMAT = 1
"""Version of the layout of the state; it is an option of every group, so that it travels with any checkpoint."""


def check_fits(layers: list[Layer], groups: list[dict[str, Any]], state_dict: dict[str, Any]) -> None:
    """Raise a ValueError that names the first parameter which a state does not fit."""
    saved_groups = state_dict["param_groups"]
    if len(saved_groups) != len(groups):
        raise ValueError(f"the state has {len(saved_groups)} parameter groups, the optimizer has {len(groups)}")
    for position, (group, saved) in enumerate(zip(groups, saved_groups, strict=True)):
        version = saved.get("format")
        if version != FORMAT:
            raise ValueError(
                f"the state of group {position} has format {version!r}, this version of rankopt reads format {FORMAT}; "
                "load it with the version that wrote it, or start the optimizer anew"
            )
        if len(saved["params"]) != len(group["params"]):
            raise ValueError(
                f"group {position} of the state has {len(saved['params'])} parameters, the optimizer has "
                f"{len(group['params'])}: the state belongs to another model or another grouping"
            )
    numbers = [number for saved in saved_groups for number in saved["params"]]
    for layer, number in zip(layers, numbers, strict=True):
        saved = state_dict["state"].get(number)
        if saved:
            saved_group = next(group for group in saved_groups if number in group["params"])
            _check_layer(layer._replace(state=saved, options=layer.options | saved_group))


def copied_state(layers: list[Layer], state_dict: dict[str, Any]) -> dict[Tensor, dict[str, Any]]:
    """Saved state of every parameter: tensors are copied to its device, and keep their dtype.

    AdamW's count of steps is kept on the processor, where its coefficients are computed; a fused step moves it.
    """
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    return {
        layer.parameter: {
            key: value.detach().to("cpu" if key == "step" else layer.parameter.device, copy=True)
            if isinstance(value, Tensor)
            else value
            for key, value in state_dict["state"][number].items()
        }
        for layer, number in zip(layers, numbers, strict=True)
        if number in state_dict["state"]
    }


def check_shapes(layer: Layer) -> None:
    """Raise a ValueError if the state of a layer belongs to another shape than its parameter has now."""
    if layer.state:
        _check_layer(layer)


def _check_layer(layer: Layer) -> None:
    state = layer.state
    if not is_projected(layer.parameter, layer.options):
        _require(layer, "exp_avg", tuple(layer.parameter.shape))
        _require(layer, "exp_avg_sq", tuple(layer.parameter.shape))
        return
    if "side" not in state:
        raise ValueError(f"the state of parameter {layer.name!r} is that of a full-rank step; it was in another group")
    if "basis" not in state:
        if state["refreshes"]:
            raise ValueError(
                f"the state of parameter {layer.name!r} counts {state['refreshes']} refreshes but has no basis: it was "
                "read into the tensors of an optimizer that had none yet; convert the checkpoint first "
                "(torch.distributed.checkpoint.format_utils.dcp_to_torch_save), and load that"
            )
        return
    rows, columns = matrix_shape(layer.parameter, layer.options["row_dims"])
    m, n = (rows, columns) if state["side"] == LEFT else (columns, rows)
    b = state["basis"].shape[-1]
    _require(layer, "basis", (m, b))
    _require(layer, "exp_avg", (b, n))
    _require(layer, "exp_avg_sq", (b, n))
    if "mass" in state:
        _require(layer, "mass", (b,))


def _require(layer: Layer, key: str, shape: tuple[int, ...]) -> None:
    held = layer.state.get(key)
    if isinstance(held, Tensor) and tuple(held.shape) == shape:
        return
    if held is None and key not in layer.state and set(layer.state) <= {"skipped"}:
        return
    found = tuple(held.shape) if isinstance(held, Tensor) else held
    raise ValueError(
        f"the state of parameter {layer.name!r} does not fit its shape {tuple(layer.parameter.shape)}: {key} should "
        f"have shape {shape}, it has {found}; the parameter has changed its shape, or the state is another model's"
    )
