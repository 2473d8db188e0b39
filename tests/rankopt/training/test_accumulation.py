"""Microbatches summed in the subspace: equal to ordinary accumulation, and no full gradient is kept."""

from __future__ import annotations

import copy
import gc
import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from rankopt import AdaRankGrad, GaLore, RefreshLog, memory_report
from tests.rankopt.training.streams import (
    SHAPES,
    TALL,
    WIDE,
    assert_identical,
    decaying,
    feed,
    low_rank,
    snapshot,
    weight,
)


def network(dtype=torch.float64):
    """A convolution, a wide and a tall layer, with biases and norm: 6 x (8 x 8) images to 5 numbers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(6, 8, 3, stride=2), nn.Flatten(), nn.Linear(72, 20), nn.LayerNorm(20), nn.Tanh(), nn.Linear(20, 24)
    ).to(dtype)


def batches(count, size=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 6, 8, 8, generator=generator, dtype=dtype) for _ in range(count)]


def backward(model, batch, parts):
    """Gradients of one batch, in microbatches."""
    for part in batch.chunk(parts):
        (model(part).square().sum() / len(batch)).backward()


# -------------------------------------------------------------------------------- equal to ordinary accumulation


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_equals_ordinary_accumulation_between_refreshes(parts):
    """From the state after a first ordinary step on, with no refresh: the same weights to rounding."""
    runs = []
    for accumulate in (None, "low-rank"):
        model = network()
        optimizer = AdaRankGrad(model.named_parameters(), 0.01, energy=0.8, max_rank=4, tolerance=0.0)
        backward(model, batches(1)[0], 1)
        optimizer.step()
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["accumulate"] = accumulate
        optimizer.load_state_dict(optimizer.state_dict())  # hooks follow the options
        for batch in batches(6)[1:]:
            backward(model, batch, parts)
            optimizer.step()
            optimizer.zero_grad()
        runs.append(snapshot(optimizer))
    for (w, state), (other, other_state) in zip(*runs, strict=True):
        torch.testing.assert_close(w, other, rtol=0, atol=1e-9)
        assert state.keys() == other_state.keys()


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=str)
@pytest.mark.parametrize("transport", ["variance", "mass", "linear"])
def test_gradients_of_low_rank_are_recovered_exactly_at_refreshes(shape, transport):
    """Their sum has a rank that the sketch holds, so refreshes too give what ordinary accumulation gives."""
    runs = []
    for accumulate in (None, "low-rank"):
        w, log = weight(shape), RefreshLog()
        optimizer = AdaRankGrad([w], 1e8, eps=1e8, energy=None, max_rank=6, oversampling=2, max_gap=3, tolerance=0.0,
                                moment_transport=transport, accumulate=accumulate, on_refresh=log)  # fmt: skip
        trajectory = []
        for t in range(8):
            parts = [low_rank(shape, 2, seed=3 * t + i) for i in range(3)]
            if accumulate is None:
                feed(optimizer, w, sum(parts))
            else:
                for part in parts:
                    w.backward(part)
                optimizer.step()
            w.grad = None
            q = optimizer.state[w]["basis"]
            torch.testing.assert_close(q.T @ q, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-9)
            trajectory.append(w.detach().clone())
        runs.append((torch.stack(trajectory), log.events))
    # Adam is linear for a large eps, so the signs and order of the directions do not matter.
    torch.testing.assert_close(runs[0][0], runs[1][0], rtol=0, atol=1e-6)
    for event, other in zip(runs[0][1], runs[1][1], strict=True):
        assert (event.step, event.rank, event.reason) == (other.step, other.rank, other.reason)
        assert other.captured_energy == pytest.approx(1, abs=0.6)  # an estimate
        assert other.gradient_norm == pytest.approx(event.gradient_norm, rel=0.6)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)], ids=str)
def test_error_at_a_refresh_is_within_the_bound_of_the_sketch(shape):
    """Tropp et al. 2017, Theorem 4.3 for the mean squared error of Q X, and their Section 6 for its truncation.

    With k test vectors on one side and l = 2k + 1 on the other, for every rho < k - 1,
    E |G - QX|_F^2 <= (1 + rho / (k - rho - 1)) (1 + k / (l - k - 1)) tail_{rho+1}^2.
    """
    g = torch.tensor(decaying(shape, 0.8))
    singular = torch.linalg.svdvals(g).numpy()
    tail = np.sqrt(np.cumsum(singular[::-1] ** 2)[::-1])  # tail[i]: without the leading i
    r, k = 6, 14
    sketched = min((1 + rho / (k - rho - 1)) * (1 + k / k) * tail[rho] ** 2 for rho in range(k - 1))
    errors, captured = [], []
    for seed in range(20):
        w, log = weight(shape), RefreshLog()
        optimizer = AdaRankGrad([w], 0.0, betas=(0.5, 0.5), energy=None, max_rank=r, oversampling=k - r, seed=seed,
                                accumulate="low-rank", on_refresh=log)  # fmt: skip
        w.backward(0.25 * g)
        w.backward(0.75 * g)
        optimizer.step()
        q, low = optimizer.state[w]["basis"], 2 * optimizer.state[w]["exp_avg"]
        oriented = g if shape[0] <= shape[1] else g.T
        assert low.shape == (r, 60)
        errors.append(float(torch.linalg.matrix_norm(oriented - q @ low)))
        captured.append(float(torch.linalg.matrix_norm(q.T @ oriented) ** 2 / torch.linalg.matrix_norm(g) ** 2))
        assert log.events[0].captured_energy == pytest.approx(captured[-1], rel=0.5)
    best = float(tail[r])
    assert np.mean(errors) <= best + 2 * math.sqrt(sketched)
    assert min(errors) >= best
    assert np.mean(errors) < 1.5 * best
    assert np.mean(captured) >= 0.95 * (1 - best**2 / tail[0] ** 2)


def test_rank_is_chosen_from_the_sketch():
    log = RefreshLog()
    for rank in (2, 5):
        w = weight((20, 30))
        optimizer = AdaRankGrad([w], energy=0.999, max_rank=8, accumulate="low-rank", on_refresh=log)
        w.backward(low_rank((20, 30), rank))
        optimizer.step()
        assert 1 <= log.events[-1].rank <= 8
        assert optimizer.state[w]["basis"].shape == (20, log.events[-1].allocated_rank)
        q = optimizer.state[w]["basis"]
        norms = torch.linalg.vector_norm(q, dim=0)
        # No direction of rounding is kept.
        assert int((norms > 0).sum()) <= rank


def test_microbatches_of_one_step_share_their_sketch():
    """Whole and halves of a gradient of any rank: the same step."""
    results = []
    for parts in (1, 2, 5):
        w = weight(WIDE)
        optimizer = AdaRankGrad([w], 0.1, max_rank=3, max_gap=2, accumulate="low-rank")
        for seed in range(4):
            g = torch.tensor(decaying(WIDE, 0.8, seed))
            for part in range(1, parts + 1):
                w.backward(g * part / sum(range(1, parts + 1)))
            optimizer.step()
        results.append(w.detach())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-9)
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 6), (6, 1), (3, 2, 4)], ids=str)
@pytest.mark.parametrize("side", ["short", "long"])
def test_every_shape_and_side(shape, side):
    w = weight(shape)
    before = w.detach().clone()
    optimizer = AdaRankGrad([w], 0.1, max_rank=4, max_gap=2, side=side, accumulate="low-rank")
    rng = np.random.default_rng(0)
    for _ in range(5):
        for _ in range(2):
            w.backward(torch.tensor(rng.standard_normal(shape)))
            assert w.grad is None
        optimizer.step()
    assert torch.isfinite(w).all()
    assert (w != before).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_gradients_add_up_in_single_precision(dtype):
    """A hundred small microbatches: sums in half precision would stop growing."""
    w = weight(WIDE, dtype=dtype)
    optimizer = AdaRankGrad([w], 1e-3, max_rank=3, accumulate="low-rank")
    w.backward(low_rank(WIDE, 2, dtype=dtype))
    optimizer.step()
    g = low_rank(WIDE, 2, dtype=dtype)
    expected = 400 * (optimizer.state[w]["basis"].T @ g.float())
    for _ in range(400):
        w.backward(g)
    (held,) = optimizer.accumulated(w)
    assert held.dtype == torch.float32
    torch.testing.assert_close(held, expected, rtol=1e-3, atol=1e-3)


# -------------------------------------------------------------------------------------------- memory of gradients


def test_at_most_one_full_gradient_is_alive():
    """When a gradient arrives all others have been freed, and after each backward pass none is left."""
    model = network()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    alive = []

    def count(_):
        alive.append(sum(p.grad is not None for p in matrices))

    handles = [p.register_post_accumulate_grad_hook(count) for p in matrices]  # before the optimizer's own
    optimizer = AdaRankGrad(model.parameters(), max_rank=4, max_gap=2, accumulate="low-rank")
    for batch in batches(3):
        for part in batch.chunk(2):
            backward(model, part, 1)
            assert all(p.grad is None for p in matrices)
        assert all(p.grad is not None for p in model.parameters() if p.ndim == 1)
        optimizer.step()
        optimizer.zero_grad()
    assert alive == [1] * (3 * 2 * len(matrices))
    for handle in handles:
        handle.remove()


def test_what_is_held_is_small():
    """b x n between refreshes; the sketch, k (m + 2n) + n and its map, at one."""
    w = weight((30, 50), dtype=torch.float32)
    optimizer = AdaRankGrad([w], max_rank=4, energy=None, oversampling=2, accumulate="low-rank")
    g = low_rank((30, 50), 8, dtype=torch.float32)
    w.backward(g)
    assert sorted(tuple(t.shape) for t in optimizer.accumulated(w)) == [(13, 30), (13, 50), (30, 6)]
    optimizer.step()
    assert optimizer.accumulated(w) == []
    w.backward(g)
    w.backward(g)
    assert [tuple(t.shape) for t in optimizer.accumulated(w)] == [(4, 50)]
    assert memory_report(optimizer).gradients == 4 * 4 * 50
    optimizer.step()
    assert memory_report(optimizer).gradients == 0


# ------------------------------------------------------------------------------------------------------- protocol


def test_gradients_set_by_hand_are_one_more_microbatch():
    g = [low_rank(WIDE, 2, seed=i) for i in range(3)]
    results = []
    for by_hand in (False, True):
        w = weight(WIDE)
        optimizer = AdaRankGrad([w], 0.1, max_rank=6, accumulate="low-rank")
        for _ in range(3):
            w.backward(g[0])
            w.backward(g[1])
            if by_hand:
                w.grad = g[2].clone()
            else:
                w.backward(g[2])
            optimizer.step()
            assert w.grad is None
        results.append(w.detach())
    assert_identical(*results)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad_drops_what_was_accumulated(set_to_none):
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 0.1, max_rank=3, accumulate="low-rank")
    w.backward(low_rank(WIDE, 2))
    optimizer.step()
    before = snapshot(optimizer)
    w.backward(low_rank(WIDE, 2, seed=1))
    optimizer.zero_grad(set_to_none)
    assert optimizer.accumulated(w) == []
    optimizer.step()
    assert_identical(snapshot(optimizer), before)


def test_a_step_uses_its_microbatches_once():
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 0.1, max_rank=3, accumulate="low-rank")
    w.backward(low_rank(WIDE, 2))
    optimizer.step()
    before = snapshot(optimizer)
    optimizer.step()  # nothing has come since
    assert_identical(snapshot(optimizer), before)


def test_closure():
    model = network()
    optimizer = AdaRankGrad(model.parameters(), 0.01, max_rank=4, max_gap=3, accumulate="low-rank")
    batch = batches(1)[0]

    def closure():
        optimizer.zero_grad()
        backward(model, batch, 2)
        with torch.no_grad():
            return model(batch).square().sum()

    losses = [float(optimizer.step(closure)) for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_refused_with_a_residual_rule(residual):
    message = rf"accumulate='low-rank' cannot be combined with residual='{residual}'.*full gradient.*never stores"
    with pytest.raises(ValueError, match=message):
        AdaRankGrad([weight(WIDE)], accumulate="low-rank", residual=residual)
    with pytest.raises(ValueError, match=message):
        AdaRankGrad([{"params": [weight(WIDE)], "residual": residual}], accumulate="low-rank")


@pytest.mark.parametrize("subspace", ["svd", "dct", "random", "riemannian", "geodesic"])
def test_refused_with_rules_that_need_the_gradient(subspace):
    with pytest.raises(ValueError, match=rf"accumulate='low-rank' refreshes from a sketch.*subspace='{subspace}'"):
        AdaRankGrad([{"params": [weight(WIDE)], "subspace": subspace}], accumulate="low-rank")
    if subspace == "svd":
        with pytest.raises(ValueError, match=r"accumulate='low-rank' refreshes from a sketch"):
            GaLore([{"params": [weight(WIDE)], "accumulate": "low-rank"}])


def test_nan_in_one_microbatch_skips_the_step():
    """Also at a refresh, which stays due; other layers go on, and the next step is as if nothing had been."""
    bad, good = weight(WIDE), weight(WIDE, seed=1)
    optimizer = AdaRankGrad([bad, good], 0.1, max_rank=3, max_gap=4, tolerance=0.0, weight_decay=0.1,
                            accumulate="low-rank")  # fmt: skip
    skipped = 0
    for t in range(12):
        is_bad = t in (0, 2, 4, 5)
        before = snapshot(optimizer)
        refresh = optimizer.state[bad].get("refresh", 1)
        for part in range(3):
            g = low_rank(WIDE, 2, seed=3 * t + part)
            good.backward(g)
            if is_bad and part == 1:
                g[1, 2] = math.nan if t % 2 == 0 else math.inf
            bad.backward(g)
        optimizer.step()
        after = snapshot(optimizer)
        assert (after[1][0] != before[1][0]).any()
        skipped += is_bad
        assert optimizer.state[bad]["skipped"] == skipped
        if is_bad:
            assert optimizer.state[bad]["refresh"] == refresh
            assert torch.equal(after[0][0], before[0][0])
            if "exp_avg" in before[0][1]:
                assert_identical(after[0][1] | {"skipped": 0}, before[0][1] | {"skipped": 0})
        else:
            assert (after[0][0] != before[0][0]).any()
    assert torch.isfinite(bad).all()
    assert optimizer.state[good]["skipped"] == 0
    # the first, and every four of its eight good steps
    assert optimizer.state[bad]["refreshes"] == 2


def test_zero_gradients_at_a_refresh():
    w = weight(WIDE)
    before = w.detach().clone()
    optimizer = AdaRankGrad([w], 0.1, max_rank=3, max_gap=2, tolerance=0.0, accumulate="low-rank")
    zero = torch.zeros(WIDE, dtype=torch.float64)
    w.backward(zero)
    optimizer.step()
    assert torch.equal(w, before)
    for g in (low_rank(WIDE, 2), low_rank(WIDE, 2), zero, low_rank(WIDE, 2)):
        w.backward(g)
        optimizer.step()
        assert torch.isfinite(w).all()
    # due at the third of them, done at the fourth
    assert optimizer.state[w]["refreshes"] == 2
    assert optimizer.state[w]["refreshed_at"] == 5


def test_clipping_by_the_optimizers_own_bound():
    """The norm over low-rank gradients and plain ones, in which the sum of microbatches counts."""
    runs = []
    for accumulate in (None, "low-rank"):
        model = network()
        optimizer = AdaRankGrad(model.named_parameters(), 0.01, energy=None, max_rank=4, tolerance=0.0)
        backward(model, batches(1)[0], 1)
        optimizer.step()
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group |= {"accumulate": accumulate, "max_grad_norm": 1e-3}
        optimizer.load_state_dict(optimizer.state_dict())
        for batch in batches(4)[1:]:
            backward(model, batch, 2)
            optimizer.step()
            optimizer.zero_grad()
        runs.append(snapshot(optimizer))
    for (w, _), (other, _) in zip(*runs, strict=True):
        torch.testing.assert_close(w, other, rtol=0, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------- hooks


def hook_count(parameter):
    return len(parameter._post_accumulate_grad_hooks or {})


def test_an_optimizer_that_is_gone_leaves_nothing():
    """The model lives on: no hook, no state, and backward passes leave ordinary gradients."""
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], max_rank=3, accumulate="low-rank")
    w.backward(low_rank(WIDE, 2))
    optimizer.step()
    w.backward(low_rank(WIDE, 2))
    gone = weakref.ref(optimizer)
    held = [weakref.ref(optimizer.state[w]["basis"]), *map(weakref.ref, optimizer.accumulated(w))]
    del optimizer
    gc.collect()
    assert gone() is None
    assert [ref() for ref in held] == [None] * len(held)
    assert hook_count(w) == 0
    g = low_rank(WIDE, 2, seed=1)
    w.backward(g)
    assert torch.equal(w.grad, g)


def test_hooks_do_not_pile_up():
    model = network()
    optimizer = AdaRankGrad(model.parameters(), max_rank=4, accumulate="low-rank")
    for _ in range(3):
        optimizer.load_state_dict(optimizer.state_dict())
    extra = weight(WIDE)
    optimizer.add_param_group({"params": [extra]})
    plain = weight(WIDE)
    optimizer.add_param_group({"params": [plain], "accumulate": None})
    off = weight(WIDE)
    optimizer.add_param_group({"params": [off], "low_rank": False})
    assert [hook_count(p) for p in model.parameters()] == [int(p.ndim > 1) for p in model.parameters()]
    assert [hook_count(p) for p in (extra, plain, off)] == [1, 0, 0]


def test_added_groups_accumulate_too():
    first, second = weight(WIDE), weight(TALL)
    optimizer = AdaRankGrad([first], 0.1, max_rank=3, accumulate="low-rank")
    first.backward(low_rank(WIDE, 2))
    optimizer.step()
    optimizer.add_param_group({"params": [second], "max_rank": 2})
    before = second.detach().clone()
    first.backward(low_rank(WIDE, 2))
    second.backward(low_rank(TALL, 2))
    assert first.grad is None
    assert second.grad is None
    optimizer.step()
    assert (second != before).any()
    assert optimizer.state[second]["basis"].shape == (10, 2)


def test_copies_accumulate_for_themselves():
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 0.1, max_rank=3, accumulate="low-rank")
    w.backward(low_rank(WIDE, 2))
    optimizer.step()
    copied = copy.deepcopy(optimizer)
    (other,) = copied.param_groups[0]["params"]
    assert other is not w
    before = w.detach().clone()
    other.backward(low_rank(WIDE, 2))
    assert other.grad is None
    assert len(copied.accumulated(other)) == 1
    assert optimizer.accumulated(w) == []
    copied.step()
    assert (other != before).any()
    assert torch.equal(w, before)


def test_loading_a_state_drops_what_was_accumulated():
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 0.1, max_rank=3, accumulate="low-rank")
    w.backward(low_rank(WIDE, 2))
    optimizer.step()
    saved = optimizer.state_dict()
    w.backward(low_rank(WIDE, 2))
    optimizer.load_state_dict(saved)
    assert optimizer.accumulated(w) == []


def test_shared_weights_count_every_use():
    """A weight used twice in one pass gets one gradient, the sum."""
    w = weight((6, 6))
    optimizer = AdaRankGrad([w], max_rank=6, oversampling=0, energy=None, accumulate="low-rank")
    x = torch.ones(6, dtype=torch.float64)
    w.backward(low_rank((6, 6), 6))
    optimizer.step()
    (w @ (w @ x)).sum().backward()
    (held,) = optimizer.accumulated(w)
    reference = w.detach().clone().requires_grad_()
    (reference @ (reference @ x)).sum().backward()
    torch.testing.assert_close(held, optimizer.state[w]["basis"].T @ reference.grad, rtol=0, atol=1e-12)
