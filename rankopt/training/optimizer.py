"""The one optimizer behind the presets: subspace update x rank rule x moment transport x residual rule."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from rankopt.training.accumulation import Accumulator
from rankopt.training.adamw import adamw_step
from rankopt.training.events import RefreshEvent
from rankopt.training.functional import adam_update
from rankopt.training.layers import Layer, is_projected, widened
from rankopt.training.norms import gradient_norm, gradient_norms, read_numbers
from rankopt.training.options import check_options, check_row_dims, check_spelling, require_all_options
from rankopt.training.refresh import (
    batched_directions,
    initial_state,
    install,
    note_norm,
    select,
    select_sketched,
)
from rankopt.training.saved_state import FORMAT, check_fits, check_shapes, copied_state
from rankopt.training.step import Projected, adam_updates, compiled_adam, decay_weight, move_weight

_BATCHED_RULES = ("range", "svd")


class SubspaceOptimizer(Optimizer):
    """Adam in subspaces of the gradients, and AdamW for what is not projected.

    The presets :class:`rankopt.AdaRankGrad` and :class:`rankopt.GaLore` name and document its options.

    Parameters
    ----------
    params : iterable of parameters, of (name, parameter), or of groups
    defaults : dict
        All options; a group may override any of them.
    foreach : bool, optional
        Whether all layers are handled together, in few launches; default only on accelerators, since a loop of layers
        that fit the cache is faster on a processor.
    compiled : bool
        Whether Adam's arithmetic is compiled by ``torch.compile``.
    on_refresh : callable, optional
        Called with a :class:`rankopt.RefreshEvent` after each refresh.

    Raises
    ------
    TypeError, ValueError
        If ``defaults`` is no dict, lacks an option, or holds one that cannot be used, or a parameter cannot be trained.

    Examples
    --------
    A preset says all options; what differs may be said per group:

    >>> import torch
    >>> from rankopt import AdaRankGrad, SubspaceOptimizer
    >>> matrix, bias = torch.nn.Parameter(torch.ones(8, 6)), torch.nn.Parameter(torch.ones(8))
    >>> options = AdaRankGrad([bias]).defaults | {"subspace": "svd", "energy": None}
    >>> optimizer = SubspaceOptimizer([{"params": [matrix], "max_rank": 2}, {"params": [bias]}], options)
    >>> (matrix @ matrix.T + bias).sum().backward()
    >>> optimizer.step()
    >>> optimizer.state[matrix]["basis"].shape, optimizer.state[bias]["exp_avg"].shape
    (torch.Size([6, 2]), torch.Size([8]))
    """

    def __init__(
        self,
        params: ParamsT,
        defaults: dict[str, Any],
        *,
        foreach: bool | None = None,
        compiled: bool = False,
        on_refresh: Callable[[RefreshEvent], Any] | None = None,
    ) -> None:
        require_all_options(defaults)
        check_options(defaults)
        self.foreach = foreach
        self.compiled = compiled
        self.on_refresh = on_refresh
        self._set_up()
        super().__init__(params, defaults | {"format": FORMAT})
        self._watch_gradients()

    def _set_up(self) -> None:
        self._accumulators: dict[Tensor, Accumulator] = {}
        self._watched: dict[Tensor, Layer] = {}
        self._hooks: list[Any] = []
        weakref.finalize(self, _remove, self._hooks)
        self._adam = compiled_adam() if self.compiled else adam_update

    # ------------------------------------------------------------------------------------------ parameters and state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with options of its own.

        Raises
        ------
        TypeError
            If a parameter is complex, sparse, or of integers, or the parameters are a set.
        ValueError
            If a parameter occurs twice, or an option cannot be used.
        """
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("params of a group must be ordered, such as a list: seeds depend on the order; got a set")
        members = [params] if isinstance(params, Tensor) else list(params)
        tensors = [member[1] if isinstance(member, tuple) else member for member in members]
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for i, tensor in enumerate(tensors):
            name = str(members[i][0]) if isinstance(members[i], tuple) else str(len(known))
            if isinstance(tensor, Tensor):
                _require_trainable(tensor, name)
                if id(tensor) in known:
                    raise ValueError(f"parameter {name!r} is given twice; each parameter belongs in one group, once")
                known.add(id(tensor))
        options = {**self.defaults, **{k: v for k, v in param_group.items() if k != "params"}}
        check_spelling(param_group, self.defaults)
        check_options(options)
        for tensor in tensors:
            if isinstance(tensor, Tensor) and is_projected(tensor, options):
                check_row_dims(options["row_dims"], tensor)
        super().add_param_group({**param_group, "params": members})
        if hasattr(self, "_hooks"):
            self._watch_gradients()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state, exactly: tensors keep the dtype they were saved with.

        Options of the groups become the saved ones. Gradients that were being accumulated are dropped.

        Raises
        ------
        ValueError
            If the state is of another format, does not fit the parameters, or has an option that cannot be used;
            nothing has been changed then.
        """
        exact: dict[Tensor, dict[str, Any]] = {}

        def check(optimizer: Optimizer, saved: dict[str, Any]) -> None:
            check_fits(self.layers(), self.param_groups, saved)
            for group in saved["param_groups"]:
                check_options({**self.defaults, **{k: v for k, v in group.items() if k != "params"}})
            exact.update(copied_state(self.layers(), saved))

        # The last of the hooks sees what the user's own hooks have made of the state.
        hook = self.register_load_state_dict_pre_hook(check)
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()
        # torch casts the state to the dtype of its parameter: fp32 moments of half-precision weights would be rounded.
        self.state.update(exact)
        self._accumulators.clear()
        self._watch_gradients()

    def __getstate__(self) -> dict[str, Any]:
        own = {"foreach": self.foreach, "compiled": self.compiled, "on_refresh": self.on_refresh}
        return super().__getstate__() | own

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_hooks" not in self.__dict__:
            self._set_up()
        self._watch_gradients()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, those accumulated in subspaces included."""
        super().zero_grad(set_to_none)
        self._accumulators.clear()

    # ------------------------------------------------------------------------------------------------------ one step

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        A gradient that is not finite leaves its parameter and its state as they are (no weight decay either), and is
        counted in ``state["skipped"]``; a refresh that was due stays due. Parameters without gradient are left alone.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model anew and returns the loss.

        Returns
        -------
        The loss of the closure, if there is one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        layers = [layer for layer in self.layers() if self._has_gradient(layer)]
        layers = [layer._replace(state=self.state[layer.parameter]) for layer in layers]
        for layer in layers:
            _require_dense_gradient(layer)
            check_shapes(layer)
        matrices = [layer for layer in layers if is_projected(layer.parameter, layer.options)]
        others = [layer for layer in layers if not is_projected(layer.parameter, layer.options)]
        if any(group["max_grad_norm"] is not None for group in self.param_groups):
            # The norm over all layers comes first, so all low-rank gradients are held at once.
            ready, norms = self._project(matrices), gradient_norms(others)
            total = math.hypot(*(n for n in [*read_numbers([p.norm for p in ready]), *norms] if math.isfinite(n)))
            self._finish(ready, total)
            self._step_others(others, norms, total)
        else:
            for batch in [matrices] if self.is_foreach(matrices) else [[layer] for layer in matrices]:
                self._finish(self._project(batch), 0.0)
            self._step_others(others, gradient_norms(others), 0.0)
        return loss

    def _project(self, layers: list[Layer]) -> list[Projected]:
        """Refresh where it is due, and project the gradients into the subspaces."""
        for layer in layers:
            if not layer.state:
                layer.state.update(initial_state(layer))
        gradients = {layer.position: self._gradient(layer) for layer in layers}
        due = [layer for layer in layers if layer.state["refresh"]]
        refreshed = self._refresh(due, gradients) if due else {}
        return [refreshed.get(layer.position) or self._projected(layer, gradients[layer.position]) for layer in layers]

    def _refresh(self, due: list[Layer], gradients: dict[int, Tensor | None]) -> dict[int, Projected]:
        """Layers that were refreshed; those with a zero gradient or one that is not finite are not."""
        sizes = [gradients[layer.position] for layer in due]
        norms = read_numbers(
            [
                self._accumulators[layer.parameter].norm() if size is None else gradient_norm(size)
                for layer, size in zip(due, sizes, strict=True)
            ]
        )
        usable = [layer for layer, norm in zip(due, norms, strict=True) if math.isfinite(norm) and norm > 0]
        found = self._batched_directions(usable, gradients) if self.is_foreach(usable) else {}
        refreshed = {}
        for layer in usable:
            gradient = gradients[layer.position]
            if gradient is None:
                sketch = self._accumulators[layer.parameter].sketch
                assert sketch is not None
                selected = select_sketched(layer, sketch)
            else:
                selected = select(layer, widened(gradient), found.get(layer.position))
            event = install(layer, selected)
            refreshed[layer.position] = Projected(layer, gradient, selected.low, torch.linalg.vector_norm(selected.low))
            if self.on_refresh is not None:
                self.on_refresh(event)
        return refreshed

    def _batched_directions(self, layers: list[Layer], gradients: dict[int, Tensor | None]) -> dict[int, Any]:
        groups: dict[object, list[Layer]] = {}
        for layer in layers:
            gradient = gradients[layer.position]
            if gradient is not None and layer.options["subspace"] in _BATCHED_RULES:
                kind = (id(layer.options), layer.shape, layer.side, gradient.dtype, gradient.device)
                groups.setdefault(kind, []).append(layer)
        found = {}
        for members in groups.values():
            matrices: list[Any] = [gradients[layer.position] for layer in members]
            for layer, directions in zip(members, batched_directions(members, matrices), strict=True):
                found[layer.position] = directions
        return found

    def _projected(self, layer: Layer, gradient: Tensor | None) -> Projected:
        if gradient is None:
            accumulator = self._accumulators[layer.parameter]
            if accumulator.sketch is not None:
                # A refresh was due, but its gradient was zero or not finite.
                low = layer.state["basis"].new_zeros(layer.state["exp_avg"].shape) if "basis" in layer.state else None
                return Projected(layer, None, low, accumulator.norm())
            return Projected(layer, None, accumulator.low, accumulator.norm())
        if "basis" not in layer.state:
            return Projected(layer, None, None, gradient_norm(gradient))
        low = layer.state["basis"].mT @ widened(gradient)
        return Projected(layer, gradient, low, torch.linalg.vector_norm(low))

    def _finish(self, ready: list[Projected], total: float) -> None:
        """Moments, weights and the decision to refresh, for projected layers; ``total`` is the norm to clip by."""
        usable, norms = [], []
        for projected, norm in zip(ready, read_numbers([projected.norm for projected in ready]), strict=True):
            layer = projected.layer
            self._accumulators.pop(layer.parameter, None)
            if not math.isfinite(norm):
                layer.state["skipped"] += 1
            elif projected.low is None:
                decay_weight(layer)
            else:
                usable.append(projected)
                norms.append(norm)
        clips = [_clip(projected.layer.options, total) for projected in usable]
        # Compiled arithmetic is one kernel a layer already; it is what was asked for, on an accelerator too.
        foreach = self.is_foreach([projected.layer for projected in usable]) and not self.compiled
        for projected, update, norm in zip(
            usable, adam_updates(usable, clips, self._adam, foreach), norms, strict=True
        ):
            move_weight(projected, update, norm)
            if not projected.layer.state["refresh"]:
                note_norm(projected.layer, norm)

    def _step_others(self, layers: list[Layer], norms: list[float], total: float) -> None:
        groups: dict[int, list[Layer]] = {}
        for layer, norm in zip(layers, norms, strict=True):
            if math.isfinite(norm):
                groups.setdefault(id(layer.options), []).append(layer)
            else:
                layer.state["skipped"] = layer.state.get("skipped", 0) + 1
        for members in groups.values():
            adamw_step(members, _clip(members[0].options, total))

    # -------------------------------------------------------------------------------------------------------- pieces

    def layers(self) -> list[Layer]:
        """All parameters in the order of their positions, each with its options and state."""
        layers: list[Layer] = []
        for group in self.param_groups:
            names = group.get("param_names") or [None] * len(group["params"])
            for parameter, name in zip(group["params"], names, strict=True):
                index = len(layers)
                # Nothing is written into the state here: torch's checkpoints take an entry for an initialised one.
                layers.append(Layer(parameter, group, self.state.get(parameter, {}), index, name or str(index)))
        return layers

    def accumulated(self, parameter: Tensor) -> list[Tensor]:
        """Tensors that hold the gradients of a parameter accumulated so far."""
        return self._accumulators[parameter].tensors() if parameter in self._accumulators else []

    def _has_gradient(self, layer: Layer) -> bool:
        parameter = layer.parameter
        if parameter in self._watched and parameter.grad is not None:
            # A gradient that did not come from a backward pass is one more microbatch.
            self._absorb(layer)
        return parameter.grad is not None or parameter in self._accumulators

    def _gradient(self, layer: Layer) -> Tensor | None:
        """The oriented gradient; None where only its accumulation is there."""
        gradient = layer.parameter.grad
        return None if gradient is None else layer.oriented(gradient)

    def is_foreach(self, layers: list[Layer]) -> bool:
        """Whether these layers are handled together."""
        if self.foreach is not None:
            return self.foreach
        return bool(layers) and all(layer.parameter.is_cuda for layer in layers)

    # -------------------------------------------------------------------------------------- low-rank accumulation

    def _watch_gradients(self) -> None:
        """Hook the parameters whose gradients are accumulated in their subspaces."""
        _remove(self._hooks)
        self._watched = {
            layer.parameter: layer
            for layer in self.layers()
            if layer.options["accumulate"] is not None and is_projected(layer.parameter, layer.options)
        }
        # A weak reference: the hooks must keep neither the optimizer nor its state alive as long as the model.
        optimizer = weakref.ref(self)

        def absorb(parameter: Tensor) -> None:
            alive = optimizer()
            if alive is not None:
                alive._absorb(alive._watched[parameter])

        self._hooks += [parameter.register_post_accumulate_grad_hook(absorb) for parameter in self._watched]

    @torch.no_grad()
    def _absorb(self, layer: Layer) -> None:
        """Add the gradient of a microbatch to its accumulator, and free it."""
        parameter = layer.parameter
        # The state may have been replaced since the hook was made.
        layer = layer._replace(state=self.state.get(parameter, {}))
        gradient = parameter.grad
        assert gradient is not None
        _require_dense_gradient(layer)
        check_shapes(layer)
        self._accumulators.setdefault(parameter, Accumulator()).add(layer, gradient)
        parameter.grad = None


def _remove(hooks: list[Any]) -> None:
    for hook in hooks:
        hook.remove()
    hooks.clear()


def _require_trainable(parameter: Tensor, name: str) -> None:
    if parameter.is_complex():
        raise TypeError(f"parameter {name!r} is complex; train torch.view_as_real of it instead")
    if not parameter.is_floating_point():
        raise TypeError(f"parameter {name!r} has dtype {parameter.dtype}; only floating-point ones can be trained")
    if parameter.layout != torch.strided:
        raise TypeError(f"parameter {name!r} is sparse ({parameter.layout}); only dense parameters are supported")


def _require_dense_gradient(layer: Layer) -> None:
    gradient = layer.parameter.grad
    if gradient is not None and gradient.layout != torch.strided:
        raise TypeError(
            f"the gradient of parameter {layer.name!r} is sparse; use dense gradients (sparse=False in the embedding), "
            "or give that parameter to torch.optim.SparseAdam"
        )


def _clip(options: dict[str, Any], total: float) -> float:
    bound = options["max_grad_norm"]
    return 1.0 if bound is None else min(1.0, bound / (total + 1e-6))
