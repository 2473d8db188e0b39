"""Bytes: of the state, counted from its tensors; of the report; and of a refresh, against what torch measures."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from rankopt import AdaRankGrad, GaLore, memory_report
from tests.rankopt.training.streams import SHAPES, SQUARE, TALL, WIDE, feed, low_rank, tensors, weight


def elements(state):
    return sum(value.numel() for value in tensors(state).values())


def held_bytes(state):
    """What the allocator holds for a state: whole storages, each once."""
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in tensors(state).values()}
    return sum(storage.nbytes() for storage in storages.values())


# ----------------------------------------------------------------------------------------------------- the state


@pytest.mark.parametrize("side", ["short", "long", "left", "right"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("transport", ["variance", "mass", "linear", "keep", "reset"])
def test_state_of_a_layer(shape, side, transport):
    """b (m + 2n) numbers for a left basis, b (n + 2m) for a right one; the mass adds b. Nothing else of any size."""
    w = weight(shape)
    rows, columns = shape
    is_left = {"left": True, "right": False, "short": rows <= columns, "long": rows > columns}[side]
    optimizer = AdaRankGrad([w], energy=None, max_rank=4, max_gap=2, side=side, moment_transport=transport)
    expected = 4 * (rows + 2 * columns if is_left else columns + 2 * rows) + (4 if transport == "mass" else 0)
    for t in range(4):
        feed(optimizer, w, low_rank(shape, 6, seed=t))
        assert elements(optimizer.state[w]) == expected
        assert held_bytes(optimizer.state[w]) == 8 * expected


def test_long_side_takes_less():
    """For a shape 1 : 4, a quarter to a third less than the short side."""
    sizes = []
    for side in ("short", "long"):
        w = weight((16, 64))
        optimizer = AdaRankGrad([w], energy=None, max_rank=4, side=side)
        feed(optimizer, w, low_rank((16, 64), 6))
        sizes.append(elements(optimizer.state[w]))
    assert sizes == [4 * (16 + 128), 4 * (64 + 32)]
    assert sizes[1] / sizes[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("residual", ["sign", "fira"])
def test_residual_rules_need_no_state_of_its_size(residual):
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], energy=None, max_rank=4, residual=residual)
    feed(optimizer, w, low_rank(WIDE, 6))
    assert elements(optimizer.state[w]) - 4 * (10 + 32) == (1 if residual == "fira" else 0)


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=str)
@pytest.mark.parametrize("transport", ["variance", "mass", "keep"])
def test_memory_falls_and_rises_with_the_rank(shape, transport):
    """Ranks 8, 3, 6, 1: the tensors' own memory follows at once, with nothing larger behind them."""
    w = weight(shape)
    optimizer = AdaRankGrad([w], energy=0.9999, max_rank=8, max_gap=1, moment_transport=transport)
    for rank in (8, 3, 6, 1):
        u = low_rank(shape, rank, seed=rank)
        g = torch.linalg.svd(u, full_matrices=False)
        feed(optimizer, w, g[0][:, :rank] @ g[2][:rank])  # equal singular values
        assert optimizer.state[w]["rank"] == rank
        expected = rank * (10 + 2 * 16) + (rank if transport == "mass" else 0)
        assert elements(optimizer.state[w]) == expected
        assert held_bytes(optimizer.state[w]) == 8 * expected


def test_moments_in_half_precision():
    w = weight(WIDE, dtype=torch.bfloat16)
    optimizer = AdaRankGrad([w], energy=None, max_rank=4, moment_dtype=torch.bfloat16)
    feed(optimizer, w, low_rank(WIDE, 6))
    assert held_bytes(optimizer.state[w]) == 4 * 4 * 10 + 2 * 2 * 4 * 16


def test_gradients_are_not_kept():
    """After a step nothing but the state is held: no gradient, no projection, in either precision."""
    for dtype in (torch.float32, torch.bfloat16):
        w = weight((40, 50), dtype=dtype)
        optimizer = AdaRankGrad([w], energy=None, max_rank=2, residual="fira", max_grad_norm=1.0)

        def step(w=w, optimizer=optimizer, dtype=dtype):
            feed(optimizer, w, low_rank((40, 50), 6, dtype=dtype))
            w.grad = None

        step()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            for _ in range(3):
                step()
        # The new residual norm and its like may replace old ones that were made outside.
        assert abs(sum(size for _, size in allocations(profiler))) < 64


# ---------------------------------------------------------------------------------------------------- the report


def test_report_by_hand():
    wide, kernel = weight(WIDE, dtype=torch.float32), weight((6, 4, 3, 3), dtype=torch.bfloat16)
    bias, plain = weight((7,), dtype=torch.float32), weight((5, 6), dtype=torch.float64)
    optimizer = AdaRankGrad(
        [{"params": [("wide", wide), ("kernel", kernel), ("bias", bias)]},
         {"params": [("plain", plain)], "low_rank": False}],
        energy=None, max_rank=4,
    )  # fmt: skip
    before = memory_report(optimizer)
    weights = 4 * 160 + 2 * 216 + 4 * 7 + 8 * 30
    assert (before.weights, before.gradients, before.state, before.projected_state) == (weights, 0, 0, 0)
    feed(optimizer, wide, torch.ones(WIDE), kernel, torch.ones(6, 4, 3, 3), bias, torch.ones(7), plain, None)
    report = memory_report(optimizer)
    assert report.weights == weights
    assert report.gradients == 4 * 160 + 2 * 216 + 4 * 7
    projected = 4 * 4 * (10 + 32) + 4 * 4 * (6 + 72)
    assert report.projected_state == projected
    assert report.state == projected + 2 * 4 * 7
    assert report.projected_adam_state == 2 * 4 * (160 + 216)
    assert report.adam_state == 2 * 4 * (160 + 216 + 7) + 2 * 8 * 30
    by_name = {layer.name: layer for layer in report.layers}
    assert list(by_name) == ["wide", "kernel", "bias", "plain"]
    assert [layer.rank for layer in report.layers] == [4, 4, 0, 0]
    assert [layer.is_projected for layer in report.layers] == [True, True, False, False]
    assert by_name["kernel"].weight == 2 * 216
    assert by_name["kernel"].gradient == 2 * 216
    assert by_name["kernel"].state == 4 * 4 * (6 + 72)
    assert by_name["kernel"].adam_state == 2 * 4 * 216
    assert (by_name["plain"].state, by_name["plain"].gradient, by_name["plain"].refresh) == (0, 0, 0)


def test_table():
    w = weight((100, 250), dtype=torch.float32)
    optimizer = GaLore([w], max_rank=10)
    feed(optimizer, w, low_rank((100, 250), 20))
    lines = str(memory_report(optimizer)).splitlines()
    assert lines[0].split() == ["MB", "full", "Adam", "ratio"]
    rows = {line[:24].strip(): line[24:].split() for line in lines[1:]}
    assert list(rows) == ["weights", "gradients now", "state, projected layers", "state, all", "peak of a refresh"]
    assert rows["weights"] == rows["gradients now"] == ["0.100"]
    assert rows["state, projected layers"] == rows["state, all"] == ["0.024", "0.200", "0.12"]


def test_report_of_torchs_own_optimizers():
    model = nn.Linear(6, 5)
    for kind, state in ((torch.optim.AdamW, 2 * 4 * 35), (torch.optim.SGD, 0)):
        optimizer = kind(model.parameters(), 0.1)
        model(torch.ones(1, 6)).sum().backward()
        optimizer.step()
        report = memory_report(optimizer)
        assert (report.weights, report.gradients, report.state) == (4 * 35, 4 * 35, state)
        assert (report.projected_state, report.refresh_peak, report.adam_state) == (0, 0, 2 * 4 * 35)
        assert str(report)
    with pytest.raises(TypeError, match=r"optimizer must be a torch optimizer, got Linear"):
        memory_report(model)


# ----------------------------------------------------------------------------------------------- peak of a refresh


MARK = 1_234_567
"""Bytes of an allocation that stands between what goes before and what is measured."""


def allocations(profiler):
    """Allocations (positive) and releases (negative) in bytes, in their order."""
    events = profiler.profiler.kineto_results.events()
    return sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")


def measured_peak(before, function):
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = before()
        mark = torch.empty(MARK, dtype=torch.uint8)
        function(result)
        del mark
    total, start, peak = 0, None, 0
    for _, size in allocations(profiler):
        total += size
        if size == MARK and start is None:
            start = total
        if start is not None:
            peak = max(peak, total - start)
    return result, peak


KINDS = {
    "plain": {},
    "mass": {"moment_transport": "mass"},
    "long": {"side": "long"},
    "sign": {"residual": "sign"},
    "fira": {"residual": "fira"},
    "half moments": {"moment_dtype": torch.bfloat16},
    "clipped": {"max_grad_norm": 1.0},
    "together": {"foreach": True},
    "accumulated": {"accumulate": "low-rank"},
    "full rank": {"max_rank": 128},
    "rank 4": {"max_rank": 4},
    **{rule: {"subspace": rule} for rule in ("svd", "riemannian", "geodesic", "dct", "random")},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_peak_of_a_refresh(kind, dtype):
    """The report is not below what torch's profiler measures on a processor, and not far above."""
    options = {"max_rank": 16} | KINDS[kind]
    group = {"subspace": options.pop("subspace")} if "subspace" in options else {}
    shapes = [(128, 256), (128, 256), (256, 128), (128, 128), (128, 256)]

    def before():
        layers = [weight(shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]
        optimizer = AdaRankGrad([{"params": layers, **group}], energy=None, max_gap=1, **options)
        generator = torch.Generator().manual_seed(0)
        for t in range(2):
            for w in layers:
                g = torch.randn(w.shape, generator=generator).to(dtype)
                if options.get("accumulate"):
                    w.backward(g)
                else:
                    w.grad = g
            if t == 0:
                optimizer.step()
        return optimizer

    optimizer, measured = measured_peak(before, lambda optimizer: optimizer.step())
    assert 0.95 * measured <= memory_report(optimizer).refresh_peak <= 3 * measured


def test_peak_counts_the_layer_alone():
    """The largest layer's where they are handled one by one."""
    layers = [weight(shape, dtype=torch.float32) for shape in (WIDE, (40, 60), SQUARE)]
    report = memory_report(AdaRankGrad(layers, max_rank=8))
    assert report.refresh_peak == report.layers[1].refresh == max(layer.refresh for layer in report.layers)
    together = memory_report(AdaRankGrad(layers, max_rank=8, foreach=True))
    assert together.refresh_peak > report.refresh_peak
