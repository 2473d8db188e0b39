"""What every torch optimizer can do."""

from __future__ import annotations

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from rankopt import AdaRankGrad, GaLore, RefreshLog
from tests.rankopt.training.dense import DenseLayer
from tests.rankopt.training.streams import SHAPES, TALL, WIDE, assert_identical, feed, snapshot, stream, weight

OPTIONS = {"energy": 0.9, "max_rank": 4, "min_gap": 2, "max_gap": 4}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 8))


def data(count=20):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 10, generator=generator), torch.randn(count, 8, generator=generator)


def loss_of(model):
    x, y = data()
    return (model(x) - y).square().mean()


def train(model, optimizer, steps, each=lambda: None):
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
        each()
    return [p.detach().clone() for p in model.parameters()]


# ------------------------------------------------------------------------------------------------------- the step


def test_closure():
    model, other = network(), network()
    expected = train(other, AdaRankGrad(other.parameters(), 0.05, **OPTIONS), 6)
    optimizer = AdaRankGrad(model.parameters(), 0.05, **OPTIONS)

    def closure():
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    for _ in range(6):
        before = float(loss_of(model).detach())
        assert float(optimizer.step(closure).detach()) == before
    assert_identical([p.detach() for p in model.parameters()], expected)


def test_step_without_closure_returns_nothing():
    w = weight(WIDE)
    optimizer = AdaRankGrad([w])
    w.grad = stream(WIDE, 1)[0]
    assert optimizer.step() is None


@pytest.mark.parametrize("preset", [AdaRankGrad, GaLore])
@pytest.mark.parametrize("shape", [*SHAPES, (7,)], ids=str)
def test_maximizing_is_minimizing_the_negative(shape, preset):
    results = []
    for sign in (1, -1):
        w = weight(shape)
        optimizer = preset([w], 0.1, max_rank=4, max_gap=3, weight_decay=0.1, maximize=sign < 0)
        rng = np.random.default_rng(0)
        for _ in range(8):
            feed(optimizer, w, sign * torch.tensor(rng.standard_normal(shape)))
        results.append(w.detach())
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_half_precision_plain_parameters_maximize_too():
    results = []
    for sign in (1, -1):
        w = weight((7,), dtype=torch.bfloat16)
        optimizer = AdaRankGrad([w], 0.1, maximize=sign < 0)
        for t in range(4):
            feed(optimizer, w, sign * torch.arange(7.0) * (t + 1))
        results.append(w.detach())
    assert_identical(*results)


def test_group_options_override():
    """Every option of a group counts for its layers alone: three groups equal three optimizers."""
    overrides = [
        {"lr": 0.3, "betas": (0.5, 0.8), "eps": 1e-3, "weight_decay": 0.2, "scale": 2.0},
        {"energy": 0.5, "min_rank": 2, "max_rank": 3, "max_gap": 2, "side": "long", "residual": "sign",
         "residual_scale": 0.5, "moment_transport": "mass"},
        {"maximize": True, "seed": 5, "tolerance": 0.99, "min_gap": 1, "oversampling": 1, "power_iterations": 0},
    ]  # fmt: skip
    together = [weight(WIDE, seed=i) for i in range(3)]
    alone = [weight(WIDE, seed=i) for i in range(3)]
    groups = [{"params": [w], **options} for w, options in zip(together, overrides, strict=True)]
    optimizer = AdaRankGrad(groups, 0.1, **OPTIONS)
    # At the same position, so that seeds and offsets are the same.
    singles = []
    for position, (w, options) in enumerate(zip(alone, overrides, strict=True)):
        before = [weight(WIDE, seed=9 + i) for i in range(position)]
        singles.append(AdaRankGrad([*before, w], **({"lr": 0.1} | OPTIONS | options)))
    for g in stream(WIDE, 10):
        feed(optimizer, *(x for w in together for x in (w, g)))
        for single, w in zip(singles, alone, strict=True):
            feed(single, w, g)
    assert_identical(together, alone)


@pytest.mark.parametrize("schedule", ["lambda", "cosine", "one-cycle"])
def test_learning_rate_schedules(schedule):
    """The rate of each step is the schedule's, densely."""
    w = weight(WIDE)
    reference = DenseLayer(w, lr=0.1)
    optimizer = AdaRankGrad([w], 0.1, **OPTIONS)
    scheduler = {
        "lambda": lambda: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t)),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8),
        "one-cycle": lambda: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=12),
    }[schedule]()
    rates = []
    for g in stream(WIDE, 8):
        reference.lr = optimizer.param_groups[0]["lr"]
        reference.betas = optimizer.param_groups[0]["betas"]  # cycled by OneCycleLR
        rates.append(reference.lr)
        feed(optimizer, w, g)
        expected = reference.step(g, optimizer.state[w]["basis"])
        if schedule != "one-cycle":  # whose momentum enters the bias correction
            np.testing.assert_allclose(w.detach().numpy(), expected, rtol=0, atol=1e-11)
        scheduler.step()
    assert len(set(rates)) == 8


def test_rate_as_a_tensor():
    results = []
    for lr in (0.1, torch.tensor(0.1)):
        layers = [weight(WIDE, dtype=torch.float32), weight((5,), dtype=torch.float32)]
        optimizer = AdaRankGrad(layers, lr, **OPTIONS)
        for g in stream(WIDE, 5):
            feed(optimizer, layers[0], g, layers[1], g[0, :5])
        results.append([w.detach() for w in layers])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    optimizer.load_state_dict(torch.load(file, weights_only=True))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none):
    """Zeros are a gradient: moments decay and weights move on; with None they stay."""
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 0.1, **OPTIONS)
    feed(optimizer, w, stream(WIDE, 1)[0])
    before = snapshot(optimizer)
    optimizer.zero_grad(set_to_none)
    assert (w.grad is None) == set_to_none
    optimizer.step()
    if set_to_none:
        assert_identical(snapshot(optimizer), before)
    else:
        assert (w.grad == 0).all()
        assert (w != before[0][0]).any()
        torch.testing.assert_close(optimizer.state[w]["exp_avg"], 0.9 * before[0][1]["exp_avg"])


def test_max_grad_norm_densely():
    """The norm over all layers of Q^T G, and of the gradient itself where nothing is projected."""
    shapes = [WIDE, TALL, (7,), (5, 6)]
    layers = [weight(shape, seed=i) for i, shape in enumerate(shapes)]
    log = RefreshLog()
    optimizer = AdaRankGrad(
        [{"params": layers[:2]}, {"params": layers[2:], "low_rank": False}], 0.1, max_grad_norm=0.7, residual="fira",
        on_refresh=log, **OPTIONS,
    )  # fmt: skip
    twins = [layers[2].detach().clone().requires_grad_(), layers[3].detach().clone().requires_grad_()]
    adamw = torch.optim.AdamW(twins, 0.1, weight_decay=0.0)
    references = [DenseLayer(w, lr=0.1, right=w.shape == TALL, residual="fira") for w in layers[:2]]
    streams = [stream(shape, 10) for shape in shapes[:2]]
    rng = np.random.default_rng(0)
    clips = []
    for t in range(10):
        size = 10.0 ** -(t % 4)  # sometimes below the bound
        gradients = [size * s[t] for s in streams] + [size * torch.tensor(rng.standard_normal(s)) for s in shapes[2:]]
        feed(optimizer, *(x for pair in zip(layers, gradients, strict=True) for x in pair))
        bases = [optimizer.state[w]["basis"] for w in layers[:2]]
        squares = [float((bases[0].T @ gradients[0]).square().sum()), float((gradients[1] @ bases[1]).square().sum())]
        squares += [float(g.square().sum()) for g in gradients[2:]]
        clips.append(min(1.0, 0.7 / (math.sqrt(sum(squares)) + 1e-6)))
        feed(adamw, *(x for p, g in zip(twins, gradients[2:], strict=True) for x in (p, clips[-1] * g)))
        for w, reference, g, q in zip(layers, references, gradients, bases, strict=False):
            expected = reference.step(g, q, clip=clips[-1])
            np.testing.assert_allclose(w.detach().numpy(), expected, rtol=0, atol=1e-9)
        for p, twin in zip(layers[2:], twins, strict=True):
            torch.testing.assert_close(p, twin, rtol=0, atol=1e-12)
    assert max(clips) == 1.0
    assert min(clips) < 0.2
    # what a refresh reports is the gradient as it came
    assert max(e.gradient_norm for e in log.events) > 10


@pytest.mark.parametrize("foreach", [False, True])
def test_max_grad_norm_leaves_bad_gradients_out(foreach):
    """A layer that is not finite is skipped and does not count into the norm."""
    layers = [weight(WIDE, seed=i) for i in range(2)]
    bias = weight((4,))
    optimizer = AdaRankGrad([*layers, bias], 0.1, max_grad_norm=1e-3, foreach=foreach, **OPTIONS)
    before = [p.detach().clone() for p in (*layers, bias)]
    feed(optimizer, layers[0], stream(WIDE, 1)[0], layers[1], torch.full(WIDE, math.nan), bias,
         torch.full((4,), math.inf))  # fmt: skip
    assert torch.isfinite(layers[0]).all()
    assert (layers[0] != before[0]).any()
    assert_identical([layers[1].detach(), bias.detach()], before[1:])
    m = optimizer.state[layers[0]]["exp_avg"]
    assert float(torch.linalg.matrix_norm(m)) == pytest.approx(0.1 * 1e-3, rel=1e-2)


def test_gradient_scaler():
    """Scaled losses under torch.amp: unscaled before the step, and a step with an overflow is left out."""
    model, other = network(), network()
    optimizer, plain = (AdaRankGrad(m.parameters(), 0.05, **OPTIONS) for m in (model, other))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for t in range(6):
        optimizer.zero_grad()
        scaler.scale(loss_of(model)).backward()
        if t == 3:
            model[0].weight.grad[0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 2.0**9
    assert optimizer.state[model[0].weight]["skipped"] == 0
    for one, expected in zip(model.parameters(), train(other, plain, 5), strict=True):
        torch.testing.assert_close(one.detach(), expected, rtol=0, atol=1e-6)


def test_hooks_of_steps():
    """Pre and post hooks run once a step."""
    calls = []
    w = weight(WIDE)
    optimizer = AdaRankGrad([w])
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    feed(optimizer, w, stream(WIDE, 1)[0])
    assert calls == ["pre", "post"]


# ---------------------------------------------------------------------------------------------------- parameters


def test_groups_added_later():
    first, second, third = weight(WIDE), weight(TALL), weight((4,))
    optimizer = AdaRankGrad([first], 0.1, **OPTIONS)
    feed(optimizer, first, stream(WIDE, 1)[0])
    optimizer.add_param_group({"params": [second], "max_rank": 2, "energy": None})
    optimizer.add_param_group({"params": third, "low_rank": False, "lr": 0.5})
    before = third.detach().clone()
    feed(optimizer, first, stream(WIDE, 1)[0], second, stream(TALL, 1)[0], third, torch.ones(4))
    assert (optimizer.state[first]["step"], optimizer.state[second]["step"]) == (2, 1)
    assert optimizer.state[second]["basis"].shape == (10, 2)
    torch.testing.assert_close(before - third, torch.full((4,), 0.5, dtype=torch.float64))
    optimizer.load_state_dict(optimizer.state_dict())


def test_names():
    """Names of parameters show in refreshes and errors; positions where there are none."""
    for params, names in (([("a.weight", weight(WIDE))], ["a.weight"]), ([weight(WIDE)], ["0"])):
        log = RefreshLog()
        optimizer = AdaRankGrad(params, on_refresh=log)
        (p,) = optimizer.param_groups[0]["params"]
        feed(optimizer, p, stream(WIDE, 1)[0])
        assert [e.name for e in log.events] == names
    model = network()
    log = RefreshLog()
    train(model, AdaRankGrad(model.named_parameters(), on_refresh=log), 1)
    assert [(e.position, e.name) for e in log.events] == [(0, "0.weight"), (4, "3.weight")]


def test_parameters_from_a_generator_and_a_single_tensor():
    model = network()
    optimizer = AdaRankGrad([{"params": model.parameters()}])
    assert len(optimizer.param_groups[0]["params"]) == 6
    w = weight(WIDE)
    optimizer = AdaRankGrad([{"params": w}])
    assert optimizer.param_groups[0]["params"][0] is w


def test_frozen_parameters_stay():
    model = network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    optimizer = AdaRankGrad(model.parameters(), 0.1, weight_decay=0.1)
    train(model, optimizer, 3)
    assert torch.equal(model[0].weight, before)
    assert not optimizer.state[model[0].weight]
    # thawed later, it begins as a new one
    model[0].weight.requires_grad_(True)
    train(model, optimizer, 1)
    assert optimizer.state[model[0].weight]["step"] == 1


def test_shared_parameters():
    """Two layers with one weight: one state, and the sum of both gradients."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Linear(8, 8, bias=False)).double()
    model[2].weight = model[0].weight
    optimizer = AdaRankGrad(model.parameters(), 0.1, energy=None, max_rank=8)
    assert len(optimizer.param_groups[0]["params"]) == 1
    x = torch.ones(3, 8, dtype=torch.float64)
    model(x).square().sum().backward()
    gradient = model[0].weight.grad.clone()
    optimizer.step()
    state = optimizer.state[model[0].weight]
    torch.testing.assert_close(state["exp_avg"], 0.1 * state["basis"].T @ gradient)


# ------------------------------------------------------------------------------------------ shapes and memory


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv1d(6, 10, 3),
        lambda: nn.Conv2d(6, 10, (2, 3)),
        lambda: nn.Conv3d(4, 10, 2),
        lambda: nn.Conv2d(8, 10, 2, groups=2),
        lambda: nn.ConvTranspose1d(6, 10, 3),
        lambda: nn.ConvTranspose2d(6, 10, 3),
    ],
    ids=["1d", "2d", "3d", "grouped", "transposed 1d", "transposed 2d"],
)
def test_kernels_are_flattened(layer):
    """A kernel (out, in, ...) is trained as the matrix (out, in x ...)."""
    kernel = layer().double().weight
    flat = nn.Parameter(kernel.detach().flatten(1).clone())
    optimizers = [AdaRankGrad([p], 0.1, weight_decay=0.1, residual="fira", **OPTIONS) for p in (kernel, flat)]
    rng = np.random.default_rng(0)
    for _ in range(6):
        g = torch.tensor(rng.standard_normal(kernel.shape))
        feed(optimizers[0], kernel, g)
        feed(optimizers[1], flat, g.flatten(1))
    torch.testing.assert_close(kernel.detach().flatten(1), flat.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("residual", [None, "sign"])
def test_kernels_in_channels_last_memory(residual, dtype):
    """The order in memory is neither seen in the result nor changed."""
    tolerance = 1e-12 if dtype == torch.float64 else 2e-2
    plain = nn.Parameter(weight((10, 6, 3, 3), dtype=dtype).detach())
    last = nn.Parameter(plain.detach().clone(memory_format=torch.channels_last))
    strides = last.stride()
    optimizers = [AdaRankGrad([p], 0.1, weight_decay=0.1, residual=residual, **OPTIONS) for p in (plain, last)]
    rng = np.random.default_rng(0)
    for _ in range(5):
        g = torch.tensor(rng.standard_normal(plain.shape), dtype=dtype)
        feed(optimizers[0], plain, g)
        feed(optimizers[1], last, g.contiguous(memory_format=torch.channels_last))
    assert last.stride() == strides
    torch.testing.assert_close(plain.detach(), last.detach().contiguous(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("side", ["short", "long"])
def test_stacked_experts(side):
    """Weights (experts, in, out) with row_dims=-1 are the matrix (experts x in, out)."""
    stacked = weight((3, 4, 10))
    flat = nn.Parameter(stacked.detach().flatten(0, 1).clone())
    optimizers = [
        AdaRankGrad([{"params": [stacked], "row_dims": -1}], 0.1, side=side, **OPTIONS),
        AdaRankGrad([flat], 0.1, side=side, **OPTIONS),
    ]
    for g in stream((12, 10), 6):
        feed(optimizers[0], stacked, g.view(3, 4, 10))
        feed(optimizers[1], flat, g)
    assert_identical(stacked.detach().flatten(0, 1), flat.detach())
    by_first = AdaRankGrad([weight((3, 4, 10))], energy=None, max_rank=2)
    (p,) = by_first.param_groups[0]["params"]
    feed(by_first, p, stream((12, 10), 1)[0].view(3, 4, 10))
    assert by_first.state[p]["basis"].shape == (3, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["transposed", "strided"])
def test_weights_that_are_not_contiguous(kind, dtype):
    tolerance = 1e-10 if dtype == torch.float64 else 2e-2
    plain = weight(WIDE, dtype=dtype)
    if kind == "transposed":
        view = nn.Parameter(plain.detach().T.contiguous().T)
    else:
        view = nn.Parameter(torch.zeros(20, 48, dtype=dtype)[::2, 1::3])
        with torch.no_grad():
            view.copy_(plain)
    assert not view.is_contiguous()
    around = view.data.untyped_storage().nbytes()
    optimizers = [AdaRankGrad([p], 0.1, weight_decay=0.1, residual="fira", **OPTIONS) for p in (plain, view)]
    for g in stream(WIDE, 6, dtype=dtype):
        feed(optimizers[0], plain, g)
        view.grad = g.clone()
        optimizers[1].step()
    torch.testing.assert_close(plain.detach(), view.detach(), rtol=0, atol=tolerance)
    assert view.data.untyped_storage().nbytes() == around


def test_weights_are_changed_in_place():
    """Views of the weights (flattened RNNs, exponential averages) see the change."""
    for dtype in (torch.float32, torch.bfloat16):
        for shape in (WIDE, (4, 3, 2)):
            w = weight(shape, dtype=dtype)
            pointer, view = w.data_ptr(), w.detach().view(-1)
            version = w._version
            feed(AdaRankGrad([w], 0.1), w, torch.ones(shape))
            assert w.data_ptr() == pointer
            assert torch.equal(view, w.detach().view(-1))
            assert w._version > version  # autograd knows that it has changed


# ------------------------------------------------------------------------------------------------- copies, compile


@pytest.mark.parametrize("accumulate", [None, "low-rank"])
def test_deepcopy_goes_on_by_itself(accumulate):
    model = network()
    log = RefreshLog()
    optimizer = AdaRankGrad(model.named_parameters(), 0.05, accumulate=accumulate, on_refresh=log, **OPTIONS)
    train(model, optimizer, 3)
    twin, copied = copy.deepcopy((model, optimizer))
    assert {id(p) for g in copied.param_groups for p in g["params"]} == {id(p) for p in twin.parameters()}
    one = train(model, optimizer, 4)
    two = train(twin, copied, 4)
    assert_identical(one, two)
    assert copied.on_refresh.events == log.events


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("accumulate", [None, "low-rank"])
def test_pickle(accumulate, compiled):
    model = network()
    optimizer = AdaRankGrad(model.parameters(), 0.05, accumulate=accumulate, foreach=True, compiled=compiled, **OPTIONS)
    if not compiled:
        train(model, optimizer, 3)
    twin, restored = pickle.loads(pickle.dumps((model, optimizer)))
    assert (restored.foreach, restored.compiled) == (True, compiled)
    if not compiled:
        assert_identical(train(model, optimizer, 4), train(twin, restored, 4))


def test_repr_lists_the_options():
    text = repr(AdaRankGrad([weight(WIDE)], max_rank=7))
    assert text.startswith("AdaRankGrad (")
    assert "max_rank: 7" in text


@pytest.mark.parametrize("accumulate", [None, "low-rank"])
def test_compiled_model(accumulate):
    """A model under torch.compile gives the same gradients, and so the same steps."""
    torch._dynamo.reset()
    runs = []
    for is_compiled in (False, True):
        model = network()
        optimizer = AdaRankGrad(model.parameters(), 0.05, accumulate=accumulate, **OPTIONS)
        called = torch.compile(model, backend="aot_eager") if is_compiled else model
        runs.append(train_called(called, model, optimizer))
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def train_called(called, model, optimizer):
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(called).backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def test_no_graph_is_kept():
    """States and weights carry no autograd history."""
    model = network()
    optimizer = AdaRankGrad(model.parameters(), residual="fira", **OPTIONS)
    train(model, optimizer, 3)
    for p in model.parameters():
        assert p.is_leaf
        assert p.grad_fn is None
        for value in optimizer.state[p].values():
            assert not isinstance(value, torch.Tensor) or (value.grad_fn is None and not value.requires_grad)
