"""What happens to the part of the gradient outside the subspace: Fira's scaling and the sign, densely."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rankopt import AdaRankGrad, FiraResidual, GaLore, RefreshLog, SignResidual
from tests.rankopt.training.dense import DenseLayer
from tests.rankopt.training.streams import SHAPES, TALL, WIDE, feed, low_rank, stream, weight


@pytest.mark.parametrize("side", ["short", "long"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_every_step(residual, shape, side):
    """Norms that jump, so that Fira's limit works and does not; scale and residual_scale where they belong."""
    w = weight(shape)
    common = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.2, "scale": 0.3, "residual": residual}
    common["residual_scale"] = 0.4
    is_right = (shape[0] > shape[1]) == (side == "short")
    reference = DenseLayer(w, right=is_right, **common)
    optimizer = AdaRankGrad([w], energy=0.8, max_rank=5, max_gap=4, side=side, **common)
    limited = []
    for t, g in enumerate(stream(shape, 20)):
        factor = 100.0 if t in (6, 13) else 1.0
        feed(optimizer, w, factor * g)
        state = optimizer.state[w]
        before = reference.limit
        expected = reference.step(factor * g, state["basis"])
        np.testing.assert_allclose(w.detach().numpy(), expected, rtol=0, atol=1e-10)
        if residual == "fira":
            assert float(state["residual_norm"]) == pytest.approx(reference.limit, rel=1e-9)
            limited.append(before is not None and math.isclose(reference.limit, 1.01 * before))
        else:
            assert "residual_norm" not in state
    if residual == "fira":
        assert any(limited)
        assert not all(limited[1:])


@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_half_precision_weights(residual):
    w = weight(WIDE, dtype=torch.bfloat16)
    reference = DenseLayer(w, lr=0.05, residual=residual)
    optimizer = AdaRankGrad([w], lr=0.05, energy=0.8, max_rank=4, max_gap=4, residual=residual)
    for g in stream(WIDE, 6, dtype=torch.bfloat16):
        reference.w = w.detach().double().numpy().copy()
        feed(optimizer, w, g)
        expected = torch.tensor(reference.step(g, optimizer.state[w]["basis"]))
        torch.testing.assert_close(w.detach().double(), expected, rtol=2**-8, atol=1e-5)


def test_fira_scales_columns_of_the_oriented_gradient():
    """One step from zero moments: Adam's update is a sign, so phi_j = sqrt(b) / ||low_j||."""
    for shape in (WIDE, TALL):
        w = weight(shape)
        before = w.detach().clone()
        optimizer = AdaRankGrad([w], 1.0, eps=0.0, energy=None, max_rank=4, residual="fira")
        g = stream(shape, 1)[0]
        feed(optimizer, w, g)
        q = optimizer.state[w]["basis"]
        g, moved = (g, before - w.detach()) if shape == WIDE else (g.T, (before - w.detach()).T)
        low = q.T @ g
        outside = moved - q @ (q.T @ moved)
        expected = (g - q @ low) * (math.sqrt(4) / torch.linalg.vector_norm(low, dim=0))
        torch.testing.assert_close(outside, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_zero_columns_are_guarded(residual):
    w = weight(WIDE)
    before = w.detach().clone()
    optimizer = AdaRankGrad([w], 0.1, energy=None, max_rank=3, residual=residual)
    for g in stream(WIDE, 4):
        g[:, 3:7] = 0
        feed(optimizer, w, g)
    assert torch.isfinite(w).all()
    assert torch.equal(w[:, 3:7], before[:, 3:7])


# ------------------------------------------------------------------------------------------------ rounding guard


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_weights_outside_the_subspace_stay_where_the_gradient_has_small_rank(residual, shape, dtype):
    """The residual is rounding, about 1e-7 of the gradient: its sign would move nearly all weights by a full step."""
    w = weight(shape, dtype=dtype)
    before = w.detach().clone()
    optimizer = AdaRankGrad([w], 0.1, energy=None, max_rank=5, tolerance=0.0, residual=residual)
    g = low_rank(shape, 3, dtype=dtype)
    for t in range(6):
        feed(optimizer, w, g * (1 + t % 3))
    moved = w.detach() - before
    q = optimizer.state[w]["basis"]
    moved = moved if shape[0] <= shape[1] else moved.T
    assert torch.linalg.matrix_norm(moved) > 1
    outside = moved - q @ (q.T @ moved)
    assert outside.abs().max() <= 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("residual", ["sign", "fira"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_off_where_the_basis_is_full(shape, residual):
    """Bitwise the run without residual."""
    results = []
    for rule in (None, residual):
        w = weight(shape, dtype=torch.float32)
        optimizer = AdaRankGrad([w], 0.1, energy=None, max_rank=min(shape), max_gap=3, residual=rule)
        for g in stream(shape, 6, dtype=torch.float32):
            feed(optimizer, w, g)
        results.append(w.detach())
        assert "residual_norm" not in optimizer.state[w]
    assert torch.equal(*results)


def test_threshold_of_the_sign():
    """Entries of at most 64 eps ||low||_F / sqrt(mn) count as zero."""
    for dtype in (torch.float32, torch.float64):
        residual, low = torch.zeros(4, 8, dtype=dtype), torch.full((2, 8), 25.0, dtype=dtype)
        bound = 64 * torch.finfo(dtype).eps * 100 / math.sqrt(32)  # ||low|| = 100
        residual[0, 0], residual[1, 1], residual[2, 2], residual[3, 3] = bound * 1.01, -bound * 1.01, bound * 0.99, 0
        residual[3, 4] = -bound * 0.99
        step = SignResidual().step(residual.clone(), low, low, 100.0, None)
        expected = torch.zeros(4, 8, dtype=dtype)
        expected[0, 0], expected[1, 1] = 1, -1
        assert torch.equal(step.direction, expected)
        assert step.norm is None


# ------------------------------------------------------------------------------------------------- growth limiter


def test_growth_limiter():
    """The norm may grow by 1.01 a step, from the limited norm; it may fall freely; after zero there is no limit."""
    rule, ones = FiraResidual(), torch.ones(2, 6, dtype=torch.float64)
    norm, seen = None, []
    for size in (1.0, 50.0, 50.0, 0.5, 10.0, 0.0, 7.0):
        direction = torch.zeros(4, 6, dtype=torch.float64)
        direction[0, 0] = size
        step = rule.step(direction, ones, ones, 1.0, norm)
        assert float(torch.linalg.matrix_norm(step.direction)) == pytest.approx(float(step.norm), abs=1e-12)
        norm = step.norm
        seen.append(float(norm))
    assert seen == pytest.approx([1.0, 1.01, 1.01**2, 0.5, 0.505, 0.0, 7.0])
    large = torch.full((4, 6), 9.0, dtype=torch.float64)
    step = FiraResidual(growth=2.0).step(large, ones, ones, 1.0, torch.tensor(1.0))
    assert float(step.norm) == 2.0


def test_limit_starts_anew_after_a_full_basis():
    """Ranks 3, 6 (full), 3: nothing of the first norm is left."""
    w, log = weight((6, 9)), RefreshLog()
    optimizer = AdaRankGrad([w], 0.1, energy=0.95, max_rank=6, max_gap=1, residual="fira", on_refresh=log)
    wide = torch.zeros(6, 9, dtype=torch.float64)
    wide.diagonal()[:] = 1.0
    narrow = torch.diag(torch.tensor([1.0, 1, 1, 0.01, 0.01, 0.01], dtype=torch.float64)) @ wide
    held = []
    for g in (narrow, wide, 100 * narrow):
        feed(optimizer, w, g)
        norm = optimizer.state[w].get("residual_norm")
        held.append(None if norm is None else float(norm))
    assert [e.allocated_rank for e in log.events] == [3, 6, 3]
    assert held[1] is None
    assert held[0] is not None
    assert held[2] is not None


@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_galore_takes_residual_rules_too(residual):
    w = weight(WIDE)
    reference = DenseLayer(w, lr=0.1, scale=0.25, rule="keep", residual=residual)
    optimizer = GaLore([w], 0.1, max_rank=3, max_gap=4, residual=residual)
    for g in stream(WIDE, 10):
        feed(optimizer, w, g)
        expected = reference.step(g, optimizer.state[w]["basis"])
        np.testing.assert_allclose(w.detach().numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_gradients_are_left_as_they_were(residual):
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 0.1, max_rank=3, residual=residual)
    for g in stream(WIDE, 3):
        w.grad = g.clone()
        optimizer.step()
        assert torch.equal(w.grad, g)


@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_maximize_ascends_along_the_residual_too(residual):
    results = []
    for sign in (1, -1):
        w = weight(WIDE)
        optimizer = AdaRankGrad([w], 0.1, max_rank=3, residual=residual, weight_decay=0.1, maximize=sign < 0)
        for g in stream(WIDE, 5):
            feed(optimizer, w, sign * g)
        results.append(w.detach())
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
