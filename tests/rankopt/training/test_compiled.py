"""Adam's arithmetic under torch.compile: the same weights, and few compilations for many shapes, ranks and steps."""

from __future__ import annotations

import functools
import shutil

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from rankopt import AdaRankGrad
from rankopt.training.functional import adam_update
from tests.rankopt.training.streams import low_rank, weight

SHAPES = [(10, 16), (16, 10), (12, 12), (20, 30), (1, 5), (5, 1), (7, 9)]


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def run(compiled, shapes=SHAPES, steps=8, dtype=torch.float32, **options):
    """Weights after steps in which ranks and rates change all the time."""
    layers = [weight(shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]
    optimizer = AdaRankGrad(layers, 0.05, energy=0.9, max_rank=16, max_gap=2, compiled=compiled, **options)
    for t in range(steps):
        for w in layers:
            w.grad = low_rank(w.shape, 1 + t % min(w.shape), seed=t, dtype=dtype)
        optimizer.param_groups[0]["lr"] = 0.05 / (1 + t)
        optimizer.step()
    return [w.detach() for w in layers]


@pytest.mark.parametrize("transport", ["variance", "mass", "reset"])
def test_few_compilations(fresh_compiler, monkeypatch, transport):
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    compiled = run(True, moment_transport=transport)
    assert 1 <= counter.frame_count <= 3
    before = counter.frame_count
    more = [(9, 14), (31, 20), (6, 40)]
    run(True, shapes=more, steps=5, moment_transport=transport)
    assert counter.frame_count <= before + 1
    for one, other in zip(compiled, run(False, moment_transport=transport), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_half_precision_moments(fresh_compiler, monkeypatch):
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    compiled = run(True, moment_dtype=torch.bfloat16)
    assert 1 <= counter.frame_count <= 3
    for one, other in zip(compiled, run(False, moment_dtype=torch.bfloat16), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_fused_kernel(fresh_compiler):
    """The default backend, in single precision."""
    compiled = run(True, shapes=SHAPES[:2], steps=5)
    expected = run(False, shapes=SHAPES[:2], steps=5)
    for one, other in zip(compiled, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-5)


def test_compiled_arithmetic_is_used_where_layers_are_handled_together(monkeypatch):
    import rankopt.training.optimizer as module

    calls = []

    def counted(low, moments, coefficients):
        calls.append(low.shape)
        return adam_update(low, moments, coefficients)

    monkeypatch.setattr(module, "compiled_adam", lambda: counted)
    weights = [torch.nn.Parameter(torch.ones(6, 8)) for _ in range(3)]
    optimizer = AdaRankGrad(weights, max_rank=2, energy=None, compiled=True, foreach=True)
    for i, parameter in enumerate(weights):
        parameter.grad = torch.randn(6, 8, generator=torch.Generator().manual_seed(i))
    optimizer.step()
    assert calls == [(2, 8)] * 3
