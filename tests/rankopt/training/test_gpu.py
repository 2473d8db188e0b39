"""The optimizers on a CUDA device: near the processor's run, nothing leaves the device, and few transfers."""

from __future__ import annotations

import pytest
import torch

from rankopt import AdaRankGrad, GaLore, memory_report
from tests.rankopt.training.streams import SHAPES, assert_identical, feed, low_rank, snapshot, stream, tensors, weight

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_device(parameter):
    return torch.nn.Parameter(parameter.detach().cuda())


def run(optimizer, layers, count=8, dtype=torch.float64):
    streams = [stream(tuple(w.shape), count, seed=i, dtype=dtype) for i, w in enumerate(layers)]
    for gradients in zip(*streams, strict=True):
        feed(optimizer, *(x for w, g in zip(layers, gradients, strict=True) for x in (w, g.to(w.device))))


@pytest.mark.parametrize("residual", [None, "sign", "fira"])
@pytest.mark.parametrize("foreach", [None, False])
def test_equals_the_processor_in_double_precision(residual, foreach):
    """GaLore's subspaces need no random numbers; a rate of change small enough for the same trajectories."""
    runs = []
    for place in (lambda p: p, on_device):
        layers = [place(weight(shape, seed=i)) for i, shape in enumerate(SHAPES)]
        optimizer = GaLore(layers, 0.1, max_rank=4, max_gap=3, residual=residual, moment_transport="variance",
                           foreach=foreach)  # fmt: skip
        run(optimizer, layers)
        runs.append([w.detach().cpu() for w in layers])
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"residual": "sign"}, {"accumulate": "low-rank"}, {"moment_transport": "mass"}]
)
def test_everything_stays_on_the_device(dtype, options):
    layers = [on_device(weight(shape, seed=i, dtype=dtype)) for i, shape in enumerate([*SHAPES, (5,)])]
    optimizer = AdaRankGrad(layers, 0.1, max_rank=4, max_gap=3, **options)
    for _ in range(5):
        for w in layers:
            w.backward(torch.randn_like(w))
        optimizer.step()
        optimizer.zero_grad()
    for w in layers:
        assert w.is_cuda
        assert torch.isfinite(w).all()
        held = tensors(optimizer.state[w])
        if w.dtype == torch.bfloat16:
            # AdamW's count of steps, a number that its coefficients are computed from, as torch keeps it.
            count = held.pop("step", torch.zeros(()))
            assert (count.is_cuda, count.ndim) == (False, 0)
        assert all(value.is_cuda for value in held.values())


def test_re_run_is_bit_identical():
    results = []
    for _ in range(2):
        layers = [on_device(weight(shape, seed=i, dtype=torch.float32)) for i, shape in enumerate(SHAPES)]
        optimizer = AdaRankGrad(layers, 0.1, max_rank=4, max_gap=3)
        run(optimizer, layers, dtype=torch.float32)
        results.append(snapshot(optimizer))
    assert_identical(*results)


def test_resumes_from_a_state_loaded_on_the_processor():
    layers = [on_device(weight(shape, seed=i, dtype=torch.float32)) for i, shape in enumerate([*SHAPES, (5,)])]
    optimizer = AdaRankGrad(layers, 0.1, max_rank=4, max_gap=3)
    for w in layers:
        w.grad = torch.ones_like(w)
    optimizer.step()
    saved = optimizer.state_dict()
    moved = {
        "state": {
            k: {key: v.cpu() if isinstance(v, torch.Tensor) else v for key, v in held.items()}
            for k, held in saved["state"].items()
        },
        "param_groups": saved["param_groups"],
    }
    copies = [on_device(w) for w in layers]
    fresh = AdaRankGrad(copies, 0.1)
    fresh.load_state_dict(moved)
    for one, some in ((optimizer, layers), (fresh, copies)):
        for w in some:
            w.grad = torch.full_like(w, 0.5)
        one.step()
    assert_identical([w.detach() for w in copies], [w.detach() for w in layers])


def test_few_transfers_to_the_host():
    """Between refreshes one read of the norms a step, whatever the number of layers."""
    counts = []
    for n_layers in (2, 12):
        layers = [on_device(weight(SHAPES[0], seed=i, dtype=torch.float32)) for i in range(n_layers)]
        optimizer = AdaRankGrad(layers, 0.1, max_rank=4, tolerance=0.0)
        for w in layers:
            w.grad = low_rank(SHAPES[0], 5, dtype=torch.float32).cuda()
        optimizer.step()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            optimizer.step()
            torch.cuda.synchronize()
        counts.append(sum("DtoH" in event.name for event in profiler.events()))
    assert counts[0] == counts[1] <= 2


def test_peak_of_a_refresh():
    layers = [on_device(weight((512, 1024), seed=i, dtype=torch.float32)) for i in range(3)]
    optimizer = AdaRankGrad(layers, energy=None, max_rank=64, max_gap=1)
    for _ in range(2):
        for w in layers:
            w.grad = torch.randn_like(w)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        optimizer.step()
        measured = torch.cuda.max_memory_allocated() - before
    assert 0.5 * measured <= memory_report(optimizer).refresh_peak  # workspaces of the decompositions are not counted
