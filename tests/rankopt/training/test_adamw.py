"""What is not projected gets AdamW: torch's own, bit for bit, and in single precision for half-precision weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankopt import AdaRankGrad, GaLore
from tests.rankopt.training.streams import assert_identical, feed, weight

SHAPES = [(7,), (5, 6), (), (2, 3, 4), (0,), (1, 1)]


def gradients(count, dtype=torch.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [[torch.tensor(rng.standard_normal(shape), dtype=dtype) for shape in SHAPES] for _ in range(count)]


def parameters(dtype=torch.float32):
    return [weight(shape, seed=i, dtype=dtype) for i, shape in enumerate(SHAPES)]


@pytest.mark.parametrize("preset", [AdaRankGrad, GaLore])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.3}, {"betas": (0.7, 0.9), "eps": 1e-3, "maximize": True}])
def test_equals_torch_bit_for_bit(options, dtype, preset):
    """Weights and moments, against torch.optim.AdamW with its fused kernel."""
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = preset([{"params": ours, "low_rank": False}], 0.02, **options)
    adamw = torch.optim.AdamW(theirs, 0.02, fused=True, **({"weight_decay": 0.0} | options))
    for step in gradients(12, dtype):
        feed(optimizer, *(x for pair in zip(ours, step, strict=True) for x in pair))
        feed(adamw, *(x for pair in zip(theirs, step, strict=True) for x in pair))
        assert_identical(ours, theirs)
    for one, other in zip(ours, theirs, strict=True):
        for key in ("exp_avg", "exp_avg_sq", "step"):
            assert_identical(optimizer.state[one][key], adamw.state[other][key])


@pytest.mark.parametrize("kernel", [{"foreach": False}, {"foreach": True}])
def test_equals_torchs_other_kernels_to_rounding(kernel):
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    optimizer = AdaRankGrad([{"params": ours, "low_rank": False}], 0.02, weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs, 0.02, weight_decay=0.1, **kernel)
    for step in gradients(12, torch.float64):
        feed(optimizer, *(x for pair in zip(ours, step, strict=True) for x in pair))
        feed(adamw, *(x for pair in zip(theirs, step, strict=True) for x in pair))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_weights_have_single_precision_moments(dtype):
    """Each step against double precision: the weight is rounded once, and the moments are not."""
    ours = parameters(dtype)
    optimizer = AdaRankGrad([{"params": ours, "low_rank": False}], 0.02, weight_decay=0.3)
    exact = [p.detach().double() for p in ours]
    m, v = [torch.zeros_like(p) for p in exact], [torch.zeros_like(p) for p in exact]
    for t, step in enumerate(gradients(30, dtype), 1):
        exact = [p.detach().double() for p in ours]
        feed(optimizer, *(x for pair in zip(ours, step, strict=True) for x in pair))
        for i, (p, g) in enumerate(zip(ours, step, strict=True)):
            m[i] = 0.9 * m[i] + 0.1 * g.double()
            v[i] = 0.999 * v[i] + 0.001 * g.double() ** 2
            expected = exact[i] * (1 - 0.02 * 0.3)
            expected -= 0.02 * (m[i] / (1 - 0.9**t)) / ((v[i] / (1 - 0.999**t)).sqrt() + 1e-8)
            torch.testing.assert_close(p.double(), expected, rtol=0.505 * torch.finfo(dtype).eps, atol=1e-6)
            assert optimizer.state[p]["exp_avg"].dtype == torch.float32
            torch.testing.assert_close(optimizer.state[p]["exp_avg_sq"].double(), v[i], rtol=1e-5, atol=1e-9)


def test_close_to_torch_with_master_weights():
    """Thirty steps in bfloat16 stay within rounding of torch's AdamW on float32 weights."""
    ours, theirs = parameters(torch.bfloat16), parameters(torch.float32)
    optimizer = AdaRankGrad([{"params": ours, "low_rank": False}], 0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs, 0.01, weight_decay=0.1)
    for step in gradients(30, torch.bfloat16):
        feed(optimizer, *(x for pair in zip(ours, step, strict=True) for x in pair))
        feed(adamw, *(x for pair in zip(theirs, step, strict=True) for x in pair))
    one, other = (torch.cat([p.detach().float().flatten() for p in some]) for some in (ours, theirs))
    assert torch.linalg.vector_norm(one - other) < 0.05 * torch.linalg.vector_norm(other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_moments_of_another_dtype(dtype):
    ours = parameters(dtype)
    optimizer = AdaRankGrad([{"params": ours, "low_rank": False}], 0.01, moment_dtype=torch.bfloat16)
    twins = parameters(dtype)
    exact = AdaRankGrad([{"params": twins, "low_rank": False}], 0.01)
    for step in gradients(20, dtype):
        feed(optimizer, *(x for pair in zip(ours, step, strict=True) for x in pair))
        feed(exact, *(x for pair in zip(twins, step, strict=True) for x in pair))
    for p, twin in zip(ours, twins, strict=True):
        assert optimizer.state[p]["exp_avg"].dtype == optimizer.state[p]["exp_avg_sq"].dtype == torch.bfloat16
        torch.testing.assert_close(p.float(), twin.float(), rtol=2e-2, atol=2e-2)


def test_projected_and_plain_groups_each_their_own():
    """A mixed optimizer does to its plain parameters what torch does; vectors in a projected group are plain too."""
    matrix, vector, plain = weight((8, 9), dtype=torch.float32), weight((7,), dtype=torch.float32), None
    plain = weight((5, 6), dtype=torch.float32)
    twins = [weight((7,), dtype=torch.float32), weight((5, 6), dtype=torch.float32)]
    optimizer = AdaRankGrad(
        [{"params": [matrix, vector]}, {"params": [plain], "low_rank": False, "lr": 0.5}], 0.1, weight_decay=0.2
    )
    adamw = torch.optim.AdamW([{"params": twins[:1]}, {"params": twins[1:], "lr": 0.5}], 0.1, weight_decay=0.2,
                              fused=True)  # fmt: skip
    rng = np.random.default_rng(0)
    for _ in range(6):
        g = [torch.tensor(rng.standard_normal(p.shape), dtype=torch.float32) for p in (matrix, vector, plain)]
        feed(optimizer, matrix, g[0], vector, g[1], plain, g[2])
        feed(adamw, twins[0], g[1], twins[1], g[2])
    assert_identical([vector, plain], twins)
    assert "basis" in optimizer.state[matrix]


def test_state_goes_on_in_torch():
    """Moments and steps are torch's, so AdamW can take them over."""
    ours, theirs = parameters(), parameters()
    optimizer = AdaRankGrad([{"params": ours, "low_rank": False}], 0.02)
    steps = gradients(8)
    for step in steps[:4]:
        feed(optimizer, *(x for pair in zip(ours, step, strict=True) for x in pair))
    adamw = torch.optim.AdamW(theirs, 0.02, weight_decay=0.0, fused=True)
    with torch.no_grad():
        for one, other in zip(ours, theirs, strict=True):
            other.copy_(one)
            adamw.state[other] = {k: optimizer.state[one][k].clone() for k in ("step", "exp_avg", "exp_avg_sq")}
    for step in steps[4:]:
        feed(optimizer, *(x for pair in zip(ours, step, strict=True) for x in pair))
        feed(adamw, *(x for pair in zip(theirs, step, strict=True) for x in pair))
    assert_identical(ours, theirs)
