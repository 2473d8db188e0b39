"""Refreshing the subspace of a layer: select it (block 1), carry the moments over (block 2), and plan the next time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from manifolds.linalg import is_transposed_view
from manifolds.subspace.directions import Directions
from manifolds.subspace.one_pass_sketch import OnePassSketch
from rankopt.training.events import RefreshEvent
from rankopt.training.functional import (
    AdamCoefficients,
    Selected,
    rank_rule,
    select_from_sketch,
    select_subspace,
    update_rule,
)
from rankopt.training.layers import Layer, moment_dtype, seeded_generator, widened
from rankopt.training.moment_transport import MOMENT_TRANSPORTS, Moments
from rankopt.training.schedule import NORM_DECAY, RefreshSchedule

REASONS = ("", "first", "gap", "norm")
"""Why a refresh is due, by the number that the state holds."""

MAX_BATCH = 8
"""Refreshes of equal shape that are decomposed at once: their gradients are copied side by side for it."""


def initial_state(layer: Layer) -> dict[str, Any]:
    """State of a layer that has not seen a gradient: numbers only."""
    return {
        "side": layer.side,
        "step": 0,
        "moment_step": 0,
        "rank": 0,
        "refreshes": 0,
        "refresh": REASONS.index("first"),
        "refreshed_at": 0,
        "deadline": 0,
        "reference_norm": 0.0,
        "average_norm": 0.0,
        "captured_energy": 0.0,
        "skipped": 0,
    }


def select(layer: Layer, gradient: Tensor, directions: Directions | None = None) -> Selected:
    """Subspace for the gradient of a layer that is due."""
    options = layer.options
    generator = seeded_generator(gradient.device, options["seed"], layer.position, layer.state["refreshes"])
    return select_subspace(
        gradient,
        layer.state.get("basis"),
        update_rule(options["subspace"], options["oversampling"], options["power_iterations"], options["eta"]),
        _rank_rule(options),
        generator,
        directions,
    )


def select_sketched(layer: Layer, sketch: OnePassSketch) -> Selected:
    """Subspace for the gradient of a layer that was accumulated as a sketch."""
    return select_from_sketch(sketch, _rank_rule(layer.options))


def batched_directions(layers: list[Layer], gradients: list[Tensor]) -> list[Directions]:
    """Directions for gradients of one shape, whose layers share their options, by batched decompositions."""
    options = layers[0].options
    rule = update_rule(options["subspace"], options["oversampling"], options["power_iterations"], options["eta"])
    found = []
    for first in range(0, len(layers), MAX_BATCH):
        some = layers[first : first + MAX_BATCH]
        generators = [
            seeded_generator(gradients[0].device, options["seed"], layer.position, layer.state["refreshes"])
            for layer in some
        ]
        stacked = _side_by_side([widened(gradient) for gradient in gradients[first : first + MAX_BATCH]])
        batch = rule.directions(stacked, options["max_rank"], None, generators)
        found += [
            Directions(batch.basis[i], batch.energies[i], batch.total_energy[i], batch.products, batch.decompositions)
            for i in range(len(some))
        ]
    return found


def _side_by_side(matrices: list[Tensor]) -> Tensor:
    """Stack matrices, transposed views as transposed views: how a matrix lies in memory decides signs of its SVD."""
    if is_transposed_view(matrices[0]):
        return torch.stack([matrix.mT for matrix in matrices]).mT
    return torch.stack(matrices)


def install(layer: Layer, selected: Selected) -> RefreshEvent:
    """Make a selected subspace the layer's own: moments carried over, numbers of the schedule set."""
    state, options = layer.state, layer.options
    transport = MOMENT_TRANSPORTS[options["moment_transport"]]
    step = state["step"] + 1  # the refresh is part of the step to come
    shape = (selected.basis.shape[1], selected.low.shape[1])
    if "basis" not in state:
        moments = _zero_moments(shape, selected.basis, moment_dtype(layer), transport.counts_mass)
    else:
        moments = _carried(layer, selected.basis)
        if transport.restarts:
            state["moment_step"] = 0
    state["basis"], state["exp_avg"], state["exp_avg_sq"] = selected.basis, moments.mean, moments.square
    if moments.mass is not None:
        state["mass"] = moments.mass
    event = RefreshEvent(
        step=step,
        position=layer.position,
        name=layer.name,
        rank=selected.rank,
        allocated_rank=shape[0],
        captured_energy=selected.captured_energy,
        gradient_norm=selected.gradient_norm,
        reason=REASONS[state["refresh"]],
    )
    state["deadline"] = _schedule(options).deadline(step, layer.position, is_first=state["refreshes"] == 0)
    state["rank"], state["captured_energy"] = selected.rank, selected.captured_energy
    state["refreshes"] += 1
    state["refreshed_at"] = step
    state["refresh"] = 0
    return event


def note_norm(layer: Layer, norm: float) -> None:
    """Follow the norm of the low-rank gradient after a step, and decide whether the next step refreshes."""
    state = layer.state
    if state["refreshed_at"] == state["step"]:
        state["reference_norm"] = state["average_norm"] = norm
    else:
        state["average_norm"] = NORM_DECAY * state["average_norm"] + (1 - NORM_DECAY) * norm
    reason = _schedule(layer.options).reason_to_leave(
        state["step"] + 1, state["refreshed_at"], state["deadline"], state["average_norm"], state["reference_norm"]
    )
    state["refresh"] = REASONS.index(reason)


def _carried(layer: Layer, basis: Tensor) -> Moments:
    state, options = layer.state, layer.options
    transport = MOMENT_TRANSPORTS[options["moment_transport"]]
    coefficients = AdamCoefficients.at(max(state["moment_step"], 1), options["betas"], options["eps"])
    corrections = (coefficients.first_correction, coefficients.second_correction)
    square, mass = state["exp_avg_sq"].to(basis.dtype), state.pop("mass", None)
    # The rule of the group may have changed since the last refresh.
    if transport.counts_mass and mass is None:
        mass = square.new_full((len(square),), corrections[1])
    elif mass is not None and not transport.counts_mass:
        square, mass = square * (corrections[1] / mass)[:, None], None
    old = Moments(state["exp_avg"].to(basis.dtype), square, mass)
    new = transport.transported(old, basis.mT @ state["basis"], corrections)
    dtype = moment_dtype(layer)
    return Moments(new.mean.to(dtype), new.square.to(dtype), new.mass)


def _zero_moments(shape: tuple[int, int], like: Tensor, dtype: torch.dtype, counts_mass: bool) -> Moments:
    mean, square = like.new_zeros(shape, dtype=dtype), like.new_zeros(shape, dtype=dtype)
    return Moments(mean, square, like.new_zeros(shape[0]) if counts_mass else None)


def _rank_rule(options: dict[str, Any]) -> Any:
    return rank_rule(options["energy"], options["min_rank"], options["max_rank"])


def _schedule(options: dict[str, Any]) -> RefreshSchedule:
    return RefreshSchedule(options["min_gap"], options["max_gap"], options["tolerance"], options["staggered"])
