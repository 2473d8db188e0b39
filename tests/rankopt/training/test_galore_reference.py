"""GaLore against ten lines of GaLore: the same weights after every step, over several refreshes."""

from __future__ import annotations

import pytest
import torch

from rankopt import GaLore, RefreshLog
from tests.rankopt.training.streams import SHAPES, WIDE, feed, stream, weight


class ReferenceGaLore:
    """The published algorithm on one matrix: U of the gradient's SVD for m <= n, V otherwise; moments kept."""

    def __init__(self, w, lr, rank, gap, scale, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self.w, self.lr, self.rank, self.gap, self.scale = w.detach().clone(), lr, rank, gap, scale
        self.betas, self.eps, self.weight_decay, self.t, self.m, self.v = betas, eps, weight_decay, 0, 0.0, 0.0

    def step(self, g):
        is_wide = g.shape[0] <= g.shape[1]
        if self.t % self.gap == 0:
            u, _, vt = torch.linalg.svd(g, full_matrices=False)
            self.q = u[:, : self.rank] if is_wide else vt[: self.rank].T
        low = self.q.T @ g if is_wide else g @ self.q
        self.t += 1
        self.m = self.betas[0] * self.m + (1 - self.betas[0]) * low
        self.v = self.betas[1] * self.v + (1 - self.betas[1]) * low**2
        m_hat, v_hat = self.m / (1 - self.betas[0] ** self.t), self.v / (1 - self.betas[1] ** self.t)
        update = m_hat / (v_hat.sqrt() + self.eps)
        self.w *= 1 - self.lr * self.weight_decay
        self.w -= self.lr * self.scale * (self.q @ update if is_wide else update @ self.q.T)
        return self.w


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_step(shape, dtype, tolerance):
    w = weight(shape, dtype=dtype)
    options = {"scale": 0.5, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}
    reference = ReferenceGaLore(w, 0.02, rank=3, gap=5, **options)
    optimizer = GaLore([w], 0.02, max_rank=3, max_gap=5, **options)
    for g in stream(shape, 23, dtype=dtype):
        feed(optimizer, w, g)
        torch.testing.assert_close(w.detach(), reference.step(g), rtol=0, atol=tolerance)
    assert optimizer.state[w]["refreshes"] == 5


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_defaults_are_the_papers(shape):
    w = weight(shape)
    reference = ReferenceGaLore(w, 1e-3, rank=min(shape), gap=200, scale=0.25)
    optimizer = GaLore([w])
    assert optimizer.defaults["max_rank"] == 128
    for g in stream(shape, 203, drift=0.1):
        feed(optimizer, w, g)
        expected = reference.step(g)
    torch.testing.assert_close(w.detach(), expected, rtol=0, atol=1e-11)
    assert optimizer.state[w]["refreshes"] == 2


def test_all_layers_refresh_together():
    log = RefreshLog()
    layers = [weight(WIDE, seed=i) for i in range(4)]
    optimizer = GaLore(layers, max_rank=2, max_gap=9, on_refresh=log)
    for g in stream(WIDE, 19):
        feed(optimizer, *(x for layer in layers for x in (layer, g)))
    assert [(e.step, e.position, e.rank) for e in log.events] == [(s, i, 2) for s in (1, 10, 19) for i in range(4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_foreach_equals_the_loop(shape):
    """Eleven layers: more than are decomposed at once, gradients of both memory orders among them."""
    weights = [[weight(shape, seed=i) for i in range(11)] for _ in range(2)]
    optimizers = [
        GaLore(some, 0.1, max_rank=3, max_gap=3, weight_decay=0.1, foreach=foreach)
        for some, foreach in zip(weights, (False, True), strict=True)
    ]
    streams = [stream(shape, 8, seed=i) for i in range(11)]
    for gradients in zip(*streams, strict=True):
        for some, optimizer in zip(weights, optimizers, strict=True):
            feed(optimizer, *(x for w, g in zip(some, gradients, strict=True) for x in (w, g)))
        for one, other in zip(*weights, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
