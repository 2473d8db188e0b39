"""Saved states: a resumed run is the uninterrupted one bit for bit, and a state that does not fit is refused whole."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from rankopt import AdaRankGrad, GaLore, RefreshLog, param_groups
from tests.rankopt.training.streams import SQUARE, TALL, WIDE, assert_identical, feed, snapshot, stream, weight

SHAPES = {"wide": WIDE, "tall": TALL, "square": SQUARE, "kernel": (6, 3, 2, 2), "bias": (7,)}
REFRESHING = {"max_rank": 6, "energy": 0.9, "min_gap": 2, "max_gap": 3, "tolerance": 0.9}


def make(dtype=torch.float32, preset=AdaRankGrad, groups=None, **options):
    """Optimizer over named parameters of several shapes; ``groups`` are options of the group of matrices."""
    named = {name: weight(shape, dtype=dtype) for name, shape in SHAPES.items()}
    matrices = [(name, p) for name, p in named.items() if p.ndim > 1]
    others = [(name, p) for name, p in named.items() if p.ndim == 1]
    log = RefreshLog()
    optimizer = preset(
        [{"params": matrices, **(groups or {})}, {"params": others, "low_rank": False}], 0.05, on_refresh=log, **options
    )
    return optimizer, named, log


def gradients_of(dtype, count):
    rng = np.random.default_rng(0)
    streams = {name: stream(shape, count) for name, shape in SHAPES.items() if len(shape) == 2}
    for t in range(count):
        yield {
            name: (streams[name][t] if name in streams else torch.tensor(rng.standard_normal(shape))).to(dtype)
            for name, shape in SHAPES.items()
        }


def take_step(optimizer, named, gradients):
    for name, p in named.items():
        if optimizer.defaults["accumulate"] is None:
            p.grad = gradients[name].clone()
        else:
            p.backward(0.25 * gradients[name])
            p.backward(0.75 * gradients[name])
    optimizer.step()
    optimizer.zero_grad()


def saved_and_loaded(optimizer, named):
    """What comes back from a file: state of the optimizer and weights, tensors and numbers only."""
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "model": {n: p.detach() for n, p in named.items()}}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


MODES = {
    "plain": {},
    **{f"moments {rule}": {"moment_transport": rule} for rule in ("mass", "completed", "linear", "keep", "reset")},
    "sign": {"residual": "sign"},
    "fira": {"residual": "fira"},
    "fira, long": {"residual": "fira", "side": "long"},
    **{f"side {side}": {"side": side} for side in ("long", "left", "right")},
    "double": {"dtype": torch.float64},
    "bfloat16": {"dtype": torch.bfloat16},
    "float16": {"dtype": torch.float16},
    "bfloat16, mass, fira": {"dtype": torch.bfloat16, "moment_transport": "mass", "residual": "fira"},
    "bfloat16 moments": {"moment_dtype": torch.bfloat16},
    "all bfloat16": {"dtype": torch.bfloat16, "moment_dtype": torch.bfloat16},
    "half weights, double moments": {"dtype": torch.float16, "moment_dtype": torch.float64},
    "accumulated": {"accumulate": "low-rank"},
    "accumulated, mass": {"accumulate": "low-rank", "moment_transport": "mass"},
    "accumulated, bfloat16": {"accumulate": "low-rank", "dtype": torch.bfloat16},
    "foreach": {"foreach": True},
    "foreach, mass, sign": {"foreach": True, "moment_transport": "mass", "residual": "sign"},
    "clipped": {"max_grad_norm": 0.5},
    "decay, maximize": {"weight_decay": 0.1, "maximize": True},
    "galore": {"preset": GaLore},
    "galore, foreach": {"preset": GaLore, "foreach": True},
    **{f"rule {rule}": {"groups": {"subspace": rule}} for rule in ("svd", "riemannian", "geodesic", "dct", "random")},
    "damped": {"groups": {"subspace": "riemannian", "eta": 0.3}},
}


@pytest.mark.parametrize("mode", MODES)
def test_resumed_at_every_step(mode):
    """One run goes on; the other is saved, and loaded into a fresh optimizer and fresh weights, after every step."""
    options = dict(MODES[mode])
    dtype = options.setdefault("dtype", torch.float32)
    options |= {"max_rank": 6, "max_gap": 3} if options.get("preset") is GaLore else REFRESHING
    optimizer, named, log = make(**options)
    resumed, copies, resumed_log = make(**options)
    for gradients in gradients_of(dtype, 10):
        take_step(optimizer, named, gradients)
        take_step(resumed, copies, gradients)
        loaded = saved_and_loaded(resumed, copies)
        # Other weights, and some state, before the saved one is loaded.
        resumed, copies, later_log = make(**options)
        take_step(resumed, copies, gradients)
        resumed.load_state_dict(loaded["optimizer"])
        with torch.no_grad():
            for name, p in copies.items():
                p.copy_(loaded["model"][name])
        resumed.on_refresh = resumed_log
        assert len(later_log) > 0
        assert_identical(snapshot(resumed), snapshot(optimizer))
        assert_identical(resumed.state_dict(), optimizer.state_dict())
    assert resumed_log.events == log.events
    assert min(len(events) for events in log.by_layer().values()) >= 4


def test_state_is_tensors_and_numbers():
    for options in (MODES["bfloat16, mass, fira"], MODES["accumulated"], MODES["clipped"]):
        optimizer, named, _ = make(**options, **REFRESHING)
        for gradients in gradients_of(options.get("dtype", torch.float32), 4):
            take_step(optimizer, named, gradients)
        state = optimizer.state_dict()
        assert set(state) == {"state", "param_groups"}
        for held in state["state"].values():
            assert all(type(key) is str for key in held)
            assert all(type(value) in (torch.Tensor, int, float) for value in held.values())
            # no views of larger arrays: what is saved is what is needed
            for value in held.values():
                if isinstance(value, torch.Tensor):
                    assert value.untyped_storage().nbytes() == value.numel() * value.element_size()
                    assert not value.requires_grad
        for group in state["param_groups"]:
            for value in group.values():
                assert value is None or isinstance(value, (int, float, str, tuple, list, torch.dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_dtypes_survive(dtype):
    """torch's own loading would round the state to the dtype of the weights."""
    optimizer, named, _ = make(dtype, **REFRESHING)
    for gradients in gradients_of(dtype, 3):
        take_step(optimizer, named, gradients)
    fresh, copies, _ = make(dtype, **REFRESHING)
    fresh.load_state_dict(saved_and_loaded(optimizer, named)["optimizer"])
    for name, p in copies.items():
        state = fresh.state[p]
        for key in ("exp_avg", "exp_avg_sq"):
            assert state[key].dtype == torch.float32
            assert not torch.equal(state[key], state[key].to(dtype).float())  # digits that would have been lost
            assert torch.equal(state[key], optimizer.state[named[name]][key])


def test_loaded_state_is_a_copy():
    """Two optimizers that loaded one state do not change each other's tensors, nor the saved ones."""
    optimizer, named, _ = make(**REFRESHING)
    gradients = list(gradients_of(torch.float32, 3))
    take_step(optimizer, named, gradients[0])
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    fresh, copies, _ = make(**REFRESHING)
    fresh.load_state_dict(saved)
    take_step(fresh, copies, gradients[1])
    assert_identical(saved, kept)
    assert_identical(optimizer.state_dict(), kept)


def test_moments_are_loaded_to_the_device_of_a_parameter_and_counts_to_the_processor():
    """The coefficients of a step come from its count, which no step should have to fetch from a device."""
    bias = weight((4,), dtype=torch.bfloat16)
    optimizer = AdaRankGrad([bias])
    feed(optimizer, bias, torch.ones(4))
    elsewhere = torch.nn.Parameter(torch.empty((4,), dtype=torch.bfloat16, device="meta"))
    fresh = AdaRankGrad([elsewhere])
    fresh.load_state_dict(optimizer.state_dict())
    devices = {key: value.device.type for key, value in fresh.state[elsewhere].items() if torch.is_tensor(value)}
    assert devices == {"step": "cpu", "exp_avg": "meta", "exp_avg_sq": "meta"}


def test_options_become_the_saved_ones():
    optimizer, named, _ = make(**REFRESHING, weight_decay=0.3)
    take_step(optimizer, named, next(gradients_of(torch.float32, 1)))
    fresh, _, _ = make(max_rank=2, side="long")
    fresh.load_state_dict(optimizer.state_dict())
    for group in fresh.param_groups:
        assert (group["max_rank"], group["side"], group["weight_decay"]) == (6, "short", 0.3)


def test_side_comes_from_the_state():
    """A matrix that is saved with a right basis keeps it, whatever the options of later steps say."""
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], energy=None, max_rank=3, max_gap=1, side="right")
    gradients = stream(WIDE, 3)
    feed(optimizer, w, gradients[0])
    assert optimizer.state[w]["basis"].shape == (16, 3)
    fresh = AdaRankGrad([w], max_rank=3)
    fresh.load_state_dict(optimizer.state_dict())
    fresh.param_groups[0]["side"] = "left"
    for t, g in enumerate(gradients[1:], 2):
        feed(fresh, w, g)
        assert fresh.state[w]["refreshes"] == t
        assert fresh.state[w]["side"] == 1
        assert fresh.state[w]["basis"].shape == (16, 3)


def test_state_before_the_first_step_and_of_unused_parameters():
    optimizer, named, _ = make(**REFRESHING)
    fresh, copies, _ = make(**REFRESHING)
    fresh.load_state_dict(saved_and_loaded(optimizer, named)["optimizer"])
    gradients = list(gradients_of(torch.float32, 2))
    for one in (optimizer, fresh):
        for name, p in (named if one is optimizer else copies).items():
            p.grad = gradients[0][name].clone() if name in ("wide", "bias") else None
        one.step()
    again, others, _ = make(**REFRESHING)
    loaded = saved_and_loaded(fresh, copies)
    again.load_state_dict(loaded["optimizer"])
    with torch.no_grad():
        for name, p in others.items():
            p.copy_(loaded["model"][name])
    take_step(optimizer, named, gradients[1])
    take_step(again, others, gradients[1])
    assert_identical(snapshot(again), snapshot(optimizer))


def test_skipped_gradients_are_remembered():
    w = weight(WIDE)
    bias = weight((4,))
    optimizer = AdaRankGrad([w, bias], max_rank=3)
    feed(optimizer, w, torch.full(WIDE, math.nan), bias, torch.full((4,), math.inf))
    fresh = AdaRankGrad([w, bias], max_rank=3)
    fresh.load_state_dict(saved_and_loaded(optimizer, {"w": w})["optimizer"])
    assert (fresh.state[w]["skipped"], fresh.state[bias]["skipped"]) == (1, 1)
    feed(fresh, w, stream(WIDE, 1)[0], bias, torch.ones(4))
    assert (fresh.state[w]["step"], int(fresh.state[bias]["step"])) == (1, 1)
    assert (fresh.state[w]["skipped"], fresh.state[bias]["skipped"]) == (1, 1)


def test_state_by_names():
    """The state dictionaries of torch.distributed.checkpoint, whose keys are names, resume exactly too."""
    runs = []
    for is_resumed in (False, True):
        model = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 8))
        for i, p in enumerate(model.parameters()):
            p.data = weight(p.shape, seed=i, dtype=torch.float32).data
        optimizer = AdaRankGrad(param_groups(model, **REFRESHING), 0.05)
        rng = np.random.default_rng(0)
        for t in range(8):
            for p in model.parameters():
                p.grad = torch.tensor(rng.standard_normal(p.shape), dtype=torch.float32)
            optimizer.step()
            if t == 3 and is_resumed:
                saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
                assert "0.weight" in saved["state"]
                optimizer = AdaRankGrad(param_groups(model, max_rank=2), 0.05)
                set_optimizer_state_dict(model, optimizer, saved)
        runs.append(snapshot(optimizer))
    assert_identical(*runs)


# --------------------------------------------------------------------------------------------------- what is refused


def changed(state, path, value):
    """A copy of a saved state with one entry replaced; a callable is applied to the old one."""
    state = copy.deepcopy(state)
    holder = state
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value(holder[path[-1]]) if callable(value) else value
    return state


def moved_bias(state):
    """The bias in the group of the matrices."""
    state = copy.deepcopy(state)
    first, second = state["param_groups"]
    for key in ("params", "param_names"):
        first[key], second[key] = [*first[key], second[key][0]], []
    return state


REFUSED = {
    "no group": (lambda s: changed(s, ("param_groups",), []), r"the state has 0 parameter groups, the optimizer has 2"),
    "group lost": (lambda s: changed(s, ("param_groups",), lambda g: g[:1]), r"has 1 parameter groups, the optimizer"),
    "group cut": (moved_bias, r"group 0 of the state has 5 parameters, the optimizer has 4.*another grouping"),
    "older format": (lambda s: changed(s, ("param_groups", 0, "format"), 0), r"group 0 has format 0.*reads format 1"),
    "newer format": (lambda s: changed(s, ("param_groups", 1, "format"), 9), r"state of group 1 has format 9"),
    "no format": (lambda s: changed(s, ("param_groups", 0, "format"), None), r"group 0 has format None.*start .* anew"),
    "basis": (
        lambda s: changed(s, ("state", 1, "basis"), torch.zeros(11, 3)),
        r"parameter 'tall' does not fit its shape \(16, 10\): basis should have shape \(10, 3\), it has \(11, 3\)",
    ),
    "first moment": (
        lambda s: changed(s, ("state", 0, "exp_avg"), lambda t: t[:, :-1]),
        r"parameter 'wide' does not fit its shape \(10, 16\): exp_avg should have shape \(\d, 16\), it has \(\d, 15\)",
    ),
    "second moment": (
        lambda s: changed(s, ("state", 2, "exp_avg_sq"), lambda t: t.T),
        r"parameter 'square' does not fit its shape \(12, 12\): exp_avg_sq should have shape \(\d, 12\)",
    ),
    "mass": (
        lambda s: changed(s, ("state", 0, "mass"), torch.ones(11)),
        r"parameter 'wide' does not fit its shape \(10, 16\): mass should have shape \(\d,\), it has \(11,\)",
    ),
    "unknown option": (
        lambda s: changed(s, ("param_groups", 0, "moment_transport"), "magic"),
        r"moment_transport must be one of .*'mass'.*got 'magic'",
    ),
    "moment lost": (
        lambda s: changed(s, ("state", 0, "exp_avg"), None),
        r"parameter 'wide' does not fit.*exp_avg should have shape \(\d, 16\), it has None",
    ),
    "other side": (lambda s: changed(s, ("state", 0, "side"), 1), r"'wide'.*basis should have shape \(16, \d\)"),
    "flattened otherwise": (
        lambda s: changed(s, ("param_groups", 0, "row_dims"), -1),
        r"parameter 'kernel' does not fit its shape \(6, 3, 2, 2\): basis should",
    ),
    "bias": (
        lambda s: changed(s, ("state", 4, "exp_avg"), torch.zeros(8)),
        r"parameter 'bias' does not fit its shape \(7,\): exp_avg should have shape \(7,\), it has \(8,\)",
    ),
    "bias of full rank": (
        lambda s: changed(s, ("state", 0), lambda held: s["state"][4]),
        r"state of parameter 'wide' is that of a full-rank step; it was in another group",
    ),
    "matrix in the group of others": (
        lambda s: changed(s, ("param_groups", 0, "low_rank"), False),
        r"parameter 'wide' does not fit its shape \(10, 16\): exp_avg should have shape \(10, 16\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_whole(case):
    """A ValueError that names the parameter, and nothing has changed: weights, state and options."""
    change, message = REFUSED[case]
    optimizer, named, _ = make(**REFRESHING, moment_transport="mass")
    gradients = list(gradients_of(torch.float32, 3))
    take_step(optimizer, named, gradients[0])
    bad = change(optimizer.state_dict())
    take_step(optimizer, named, gradients[1])
    before = snapshot(optimizer)
    groups = copy.deepcopy(optimizer.state_dict()["param_groups"])
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(bad)
    assert_identical(snapshot(optimizer), before)
    assert_identical(optimizer.state_dict()["param_groups"], groups)
    take_step(optimizer, named, gradients[2])


def test_state_of_torchs_adamw_is_refused():
    optimizer, _, _ = make(**REFRESHING)
    groups = [{"params": list(g["params"])} for g in optimizer.param_groups]
    other = torch.optim.AdamW(groups)
    with pytest.raises(ValueError, match=r"state of group 0 has format None, this version of rankopt reads format 1"):
        optimizer.load_state_dict(other.state_dict())


def test_state_of_another_model_is_refused():
    a, b = weight(WIDE), weight((10, 18))
    first, second = AdaRankGrad([("a", a)], max_rank=3), AdaRankGrad([("b", b)], max_rank=3)
    feed(first, a, stream(WIDE, 1)[0])
    with pytest.raises(ValueError, match=r"parameter 'b' does not fit its shape \(10, 18\): exp_avg should have"):
        second.load_state_dict(first.state_dict())


def test_a_hook_of_the_user_changes_what_is_loaded():
    def trained():
        weight = torch.nn.Parameter(torch.ones(6, 8))
        optimizer = AdaRankGrad([weight], max_rank=2)
        weight.grad = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
        optimizer.step()
        return weight, optimizer

    def forget(optimizer, state_dict):
        return {**state_dict, "state": {}}

    _, saved = trained()
    weight = torch.nn.Parameter(torch.ones(6, 8))
    fresh = AdaRankGrad([weight], max_rank=2)
    fresh.register_load_state_dict_pre_hook(forget)
    fresh.load_state_dict(saved.state_dict())
    assert "basis" not in fresh.state.get(weight, {})
