"""AdaRankGrad step by step against the paper written out densely, and what its subspaces must satisfy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn

from rankopt import AdaRankGrad, RefreshLog
from tests.rankopt.training.dense import DenseLayer
from tests.rankopt.training.streams import (
    SHAPES,
    SQUARE,
    TALL,
    WIDE,
    assert_identical,
    decaying,
    feed,
    low_rank,
    snapshot,
    stream,
    weight,
)

TRANSPORTS = ["variance", "mass", "completed", "linear", "keep", "reset"]
SIDES = ["short", "long", "left", "right"]


def is_right(shape, side):
    """Whether the basis belongs to the rows, from the definition of the option."""
    if side in ("left", "right"):
        return side == "right"
    shorter_is_rows = shape[0] <= shape[1]
    return shorter_is_rows != (side == "short")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_step(shape, side, transport):
    w = weight(shape)
    common = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.2, "scale": 0.7}
    reference = DenseLayer(w, rule=transport, right=is_right(shape, side), **common)
    log = RefreshLog()
    optimizer = AdaRankGrad(
        [w], moment_transport=transport, side=side, energy=0.9, max_rank=7, min_gap=2, max_gap=5, tolerance=0.95,
        on_refresh=log, **common,
    )  # fmt: skip
    ranks = []
    for g in stream(shape, 30):
        feed(optimizer, w, g)
        state = optimizer.state[w]
        expected = reference.step(g, state["basis"])
        np.testing.assert_allclose(w.detach().numpy(), expected, rtol=0, atol=1e-11)
        np.testing.assert_allclose(state["exp_avg"].numpy(), reference.m, rtol=0, atol=1e-12)
        np.testing.assert_allclose(state["exp_avg_sq"].numpy(), reference.v, rtol=0, atol=1e-12)
        assert (state["exp_avg_sq"] >= 0).all()
        ranks.append(state["basis"].shape[1])
    # The stream makes the rank rise and fall, and more than one reason to leave occurs.
    changes = np.diff(ranks)
    assert (changes > 0).any()
    assert (changes < 0).any()
    assert {e.reason for e in log.events} == {"first", "gap", "norm"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [WIDE, TALL], ids=str)
def test_every_step_in_lower_precision(shape, dtype):
    """State and arithmetic are in float32, and the weights are rounded once: each is next to the exact result."""
    w = weight(shape, dtype=dtype)
    reference = DenseLayer(w, lr=0.01, weight_decay=0.5, right=shape == TALL)
    optimizer = AdaRankGrad([w], 0.01, weight_decay=0.5, energy=0.9, max_rank=4, max_gap=3)
    for g in stream(shape, 12, dtype=dtype):
        reference.w = w.detach().double().numpy().copy()
        feed(optimizer, w, g)
        state = optimizer.state[w]
        expected = torch.tensor(reference.step(g, state["basis"]))
        assert {state[key].dtype for key in ("basis", "exp_avg", "exp_avg_sq")} == {torch.float32}
        half_ulp = 0.5 * torch.finfo(dtype).eps if dtype != torch.float32 else 4e-6
        torch.testing.assert_close(w.detach().double(), expected, rtol=1.01 * half_ulp, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_moments_can_be_stored_in_bfloat16(dtype):
    """Arithmetic stays in single precision: the second moment keeps up, which in bfloat16 itself it could not."""
    w, exact = weight(WIDE, dtype=dtype), weight(WIDE, dtype=dtype)
    optimizers = [AdaRankGrad([p], 1e-3, energy=None, max_rank=4, tolerance=0.0, moment_dtype=kind)
                  for p, kind in ((w, torch.bfloat16), (exact, None))]  # fmt: skip
    for g in stream(WIDE, 40, dtype=dtype, drift=0.0):
        for p, optimizer in zip((w, exact), optimizers, strict=True):
            feed(optimizer, p, g)
    state, other = optimizers[0].state[w], optimizers[1].state[exact]
    assert {state[key].dtype for key in ("exp_avg", "exp_avg_sq")} == {torch.bfloat16}
    assert state["basis"].dtype == torch.float32
    assert torch.linalg.matrix_norm(w.double() - exact.double()) <= 1e-2
    ratio = torch.linalg.matrix_norm(state["exp_avg_sq"].float()) / torch.linalg.matrix_norm(other["exp_avg_sq"])
    assert 0.7 < ratio < 1.1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_half_precision_moments_follow_the_subspace(transport):
    """Refreshes carry stored bfloat16 moments over; the weights stay near those with full moments."""
    layers = [weight(WIDE, dtype=torch.float32) for _ in range(2)]
    options = {"energy": 0.9, "max_rank": 6, "max_gap": 3, "moment_transport": transport}
    optimizers = [AdaRankGrad([layers[0]], 1e-2, **options),
                  AdaRankGrad([layers[1]], 1e-2, moment_dtype=torch.bfloat16, **options)]  # fmt: skip
    for g in stream(WIDE, 12, dtype=torch.float32):
        for p, optimizer in zip(layers, optimizers, strict=True):
            feed(optimizer, p, g)
    assert optimizers[1].state[layers[1]]["exp_avg_sq"].dtype == torch.bfloat16
    moved = torch.linalg.matrix_norm(layers[0] - weight(WIDE, dtype=torch.float32))
    assert torch.linalg.matrix_norm(layers[0] - layers[1]) < 0.05 * moved


# --------------------------------------------------------------------------------------------- rank and basis


def spectra():
    """Gradients of several kinds: slow and fast decay, noise, few directions."""
    rng = np.random.default_rng(0)
    yield "slow", decaying((40, 60), 0.95)
    yield "fast", decaying((40, 60), 0.6)
    yield "noise", rng.standard_normal((40, 60))
    yield "planted", decaying((40, 60), 0.7, 1) + 0.01 * rng.standard_normal((40, 60))
    yield "tall", decaying((60, 40), 0.85, 2)
    yield "few", low_rank((40, 60), 3).numpy()


SPECTRA = dict(spectra())


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("name", SPECTRA)
def test_captured_energy_and_rank(name, energy):
    g = SPECTRA[name]
    log = RefreshLog()
    w = weight(g.shape)
    optimizer = AdaRankGrad([w], energy=energy, max_rank=24, max_gap=1, on_refresh=log)
    singular = np.linalg.svd(g, compute_uv=False)
    shares = np.cumsum(singular**2) / np.sum(singular**2)
    best = int(np.argmax(shares >= energy)) + 1
    for _ in range(3):
        feed(optimizer, w, torch.tensor(g))
        event, q = log.events[-1], optimizer.state[w]["basis"].numpy()
        oriented = g if g.shape[0] <= g.shape[1] else g.T
        held = np.linalg.norm(q.T @ oriented) ** 2 / np.linalg.norm(g) ** 2
        assert event.captured_energy == pytest.approx(held, abs=1e-12)
        assert event.gradient_norm == pytest.approx(np.linalg.norm(g), rel=1e-12)
        assert event.rank == optimizer.state[w]["rank"]
        assert event.allocated_rank == q.shape[1]
        # asked for or at the maximum; nearly the optimum
        of_rank = np.linalg.norm(q[:, : event.rank].T @ oriented) ** 2 / np.linalg.norm(g) ** 2
        assert of_rank >= energy - 1e-12 or event.rank == 24
        assert event.rank <= max(1.15 * min(best, 24), min(best, 24) + 2)
        assert held >= 0.9 * shares[q.shape[1] - 1]
        # the smallest rank: with one direction less, the energy is not reached
        if event.rank > 1:
            fewer = np.linalg.norm(q[:, : event.rank - 1].T @ oriented) ** 2 / np.linalg.norm(g) ** 2
            assert fewer < energy
    assert len(log) == 3


@pytest.mark.parametrize("name", SPECTRA)
def test_oversampling_and_power_iterations_come_nearer_to_the_optimum(name):
    g = SPECTRA[name]
    best = np.cumsum(np.linalg.svd(g, compute_uv=False) ** 2)[7] / np.linalg.norm(g) ** 2
    losses = []
    for oversampling, power_iterations in ((0, 0), (16, 0), (16, 1), (16, 4)):
        log, w = RefreshLog(), weight(g.shape)
        optimizer = AdaRankGrad([w], energy=None, max_rank=8, oversampling=oversampling,
                                power_iterations=power_iterations, on_refresh=log)  # fmt: skip
        feed(optimizer, w, torch.tensor(g))
        losses.append(best - log.events[0].captured_energy)
    gains = -np.diff(losses)
    assert (gains > -1e-12).all()
    assert -1e-12 <= losses[-1] <= 0.02
    if name in ("slow", "noise"):  # where there is something to gain
        assert (gains > 1e-3).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_basis_is_orthonormal(shape):
    w = weight(shape, dtype=torch.float32)
    optimizer = AdaRankGrad([w], energy=0.99, max_rank=8, max_gap=2)
    for g in stream(shape, 10, dtype=torch.float32):
        feed(optimizer, w, g)
        q = optimizer.state[w]["basis"].double()
        torch.testing.assert_close(q.T @ q, torch.eye(q.shape[1], dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_directions_of_rounding_are_zero(shape):
    """Where the gradient has a smaller rank than is kept, Adam would blow its rounding up to full steps."""
    w = weight(shape, dtype=torch.float32)
    before = w.detach().double().clone()
    optimizer = AdaRankGrad([w], 0.1, energy=None, max_rank=6, tolerance=0.0)
    g = low_rank(shape, 2)
    for t in range(5):
        feed(optimizer, w, (1 + t) * g)
    q = optimizer.state[w]["basis"]
    assert q.shape[1] == 6
    torch.testing.assert_close(torch.linalg.vector_norm(q, dim=0), torch.tensor([1.0, 1, 0, 0, 0, 0]))
    u, _, vt = torch.linalg.svd(g)
    moved = w.detach().double() - before
    # The weight moves only within the columns (or rows, on the right side) of the gradient.
    outside = u[:, 2:].T @ moved if shape[0] <= shape[1] else moved @ vt[2:].T
    assert torch.linalg.matrix_norm(moved) > 0.1
    assert outside.abs().max() < 1e-6


def test_rank_bounds():
    g = torch.tensor(decaying((40, 60), 0.9))
    for low, high, energy in ((5, 24, 0.01), (1, 3, 0.999), (24, 24, 0.5), (1, 40, 1.0), (1, 128, 1.0)):
        log, w = RefreshLog(), weight((40, 60))
        feed(AdaRankGrad([w], energy=energy, min_rank=low, max_rank=high, on_refresh=log), w, g)
        singular = np.linalg.svd(g.numpy(), compute_uv=False) ** 2
        needed = int(np.argmax(np.cumsum(singular) / singular.sum() >= min(energy, 1 - 1e-14))) + 1
        rank, allocated = log.events[0].rank, log.events[0].allocated_rank
        assert rank == pytest.approx(min(max(needed, low), high), abs=2)
        assert low <= rank <= allocated <= min(high, 40)


@pytest.mark.parametrize("max_rank", [1, 4, 8, 9, 16, 24, 31, 64, 128, 130, 1000])
def test_sizes_are_few(max_rank):
    """The sizes that any rank is rounded up to, straight from the definition of the bucket."""
    quantum = max(1, max_rank // 8)
    sizes = {min(-(-rank // quantum) * quantum, max_rank) for rank in range(1, max_rank + 1)}
    assert len(sizes) <= (8 if max_rank % 8 == 0 else 15)
    g = torch.zeros(24, 30, dtype=torch.float64)
    seen = set()
    for rank in range(1, 25, 2):
        w, log = weight((24, 30)), RefreshLog()
        g.diagonal()[:rank] = torch.linspace(2, 1, rank, dtype=torch.float64)
        feed(AdaRankGrad([w], energy=1.0, max_rank=max_rank, on_refresh=log), w, g)
        event = log.events[0]
        assert event.rank == min(rank, max_rank)
        assert event.allocated_rank == min(math.ceil(event.rank / quantum) * quantum, max_rank, 24)
        seen.add(event.allocated_rank)
    assert seen <= sizes | {24}


def test_rank_falls_and_rises_with_the_gradient():
    """Ranks 8, 2, 8: the state follows in both directions at the next refresh."""
    w, log = weight((20, 30)), RefreshLog()
    optimizer = AdaRankGrad([w], energy=0.999, max_rank=16, max_gap=1, on_refresh=log)
    wide, narrow = torch.zeros(20, 30, dtype=torch.float64), torch.zeros(20, 30, dtype=torch.float64)
    wide.diagonal()[:8] = 1.0
    narrow.diagonal()[:2] = 1.0
    for g, rank in ((wide, 8), (narrow, 2), (wide, 8)):
        feed(optimizer, w, g)
        assert log.events[-1].rank == rank
        assert optimizer.state[w]["basis"].shape == (20, rank)
        assert optimizer.state[w]["exp_avg"].shape == (rank, 30)
        assert optimizer.state[w]["exp_avg_sq"].shape == (rank, 30)


# ------------------------------------------------------------------------------------------------- randomness


def test_seed_position_and_refresh_decide_every_draw():
    """Equal on a re-run; other draws for another seed, position or refresh (visible without power iterations)."""
    g = torch.tensor(SPECTRA["noise"])

    def bases(seed, position):
        layers = [weight(g.shape, seed=i) for i in range(position + 1)]
        optimizer = AdaRankGrad(layers, energy=None, max_rank=3, power_iterations=0, max_gap=1, seed=seed)
        found = []
        for _ in range(2):
            feed(optimizer, layers[-1], g)
            found.append(optimizer.state[layers[-1]]["basis"].clone())
        return found

    assert_identical(bases(0, 0), bases(0, 0))
    assert_identical(bases(3, 2), bases(3, 2))
    all_bases = [*bases(0, 0), *bases(1, 0), *bases(0, 1), *bases(1, 1)]
    for i, one in enumerate(all_bases):
        for other in all_bases[:i]:
            assert torch.linalg.matrix_norm(one.T @ other, ord=2) < 0.999
            assert torch.linalg.matrix_norm(one.T @ other) ** 2 < 2.5


def test_the_global_generator_is_neither_read_nor_moved():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        w = weight(WIDE)
        optimizer = AdaRankGrad([w], max_rank=3, max_gap=1, power_iterations=0)
        for g in stream(WIDE, 3):
            feed(optimizer, w, g)
        assert torch.equal(torch.get_rng_state(), before)
        results.append(w.detach())
    assert_identical(*results)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("residual", [None, "fira", "sign"])
def test_foreach_equals_the_loop(transport, residual):
    shapes = [WIDE, WIDE, TALL, SQUARE, WIDE, (5,), (3, 4, 2)]
    options = {"energy": 0.9, "max_rank": 6, "min_gap": 2, "max_gap": 4, "moment_transport": transport}
    runs = []
    for foreach in (False, True):
        layers = [weight(shape, seed=i) for i, shape in enumerate(shapes)]
        optimizer = AdaRankGrad(layers, 0.1, residual=residual, weight_decay=0.1, foreach=foreach, **options)
        rng = np.random.default_rng(3)
        for t in range(9):
            gradients = [torch.tensor(rng.standard_normal(shape)) for shape in shapes]
            gradients[1] = None if t % 3 == 0 else gradients[1]
            feed(optimizer, *(x for w, g in zip(layers, gradients, strict=True) for x in (w, g)))
        runs.append(snapshot(optimizer))
    for (w, state), (other, other_state) in zip(*runs, strict=True):
        torch.testing.assert_close(w, other, rtol=0, atol=1e-11)
        assert state.keys() == other_state.keys()
        assert [state.get(k) for k in ("rank", "step", "refreshes", "deadline")] == [
            other_state.get(k) for k in ("rank", "step", "refreshes", "deadline")
        ]


def test_foreach_keeps_groups_apart():
    """Layers of one shape whose options differ are handled together, each by its own."""
    overrides = [{}, {"max_rank": 4, "energy": None}, {"oversampling": 0, "power_iterations": 0}, {"seed": 3},
                 {"eps": 1e-2}, {"betas": (0.5, 0.9)}, {"moment_transport": "mass"}, {"side": "right"},
                 {"moment_dtype": torch.float32}, {"lr": 1.0}, {"subspace": "svd"}]  # fmt: skip
    runs = []
    for foreach in (False, True):
        groups = [{"params": [weight((20, 24), seed=2 * i + j) for j in range(2)], **options}
                  for i, options in enumerate(overrides)]  # fmt: skip
        layers = [w for group in groups for w in group["params"]]
        together = [group | {"staggered": False} for group in groups]
        optimizer = AdaRankGrad(together, 0.1, energy=0.9, max_rank=6, max_gap=2, foreach=foreach)
        rng = np.random.default_rng(0)
        for _ in range(4):
            feed(optimizer, *(x for w in layers for x in (w, torch.tensor(rng.standard_normal((20, 24))))))
        runs.append([w.detach() for w in layers])
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------- other rules


def with_rule(shape, subspace, **options):
    w = weight(shape)
    group = {"params": [w], "subspace": subspace, **options}
    return w, AdaRankGrad([group], 0.1, energy=None, max_rank=3, max_gap=1)


def projector(q):
    return q @ q.T


def test_random_rule_draws_anew_whatever_the_gradient():
    """The basis does not depend on the gradient but for the order of its columns, is orthonormal, and moves."""
    spans = []
    for seed in (0, 1):
        w = weight(WIDE)
        optimizer = AdaRankGrad([w], 0.1, subspace="random", energy=None, max_rank=3, max_gap=1)
        bases = []
        for g in stream(WIDE, 2, seed=seed):
            feed(optimizer, w, g)
            q = optimizer.state[w]["basis"].clone()
            torch.testing.assert_close(q.T @ q, torch.eye(3, dtype=q.dtype), rtol=0, atol=1e-12)
            assert (torch.diff((q.T @ g).square().sum(dim=1)) <= 0).all()
            bases.append(projector(q))
        assert torch.linalg.matrix_norm(bases[0] - bases[1]) > 0.5
        spans.append(bases)
    for one, other in zip(*spans, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_least_rank_holds_where_the_energy_needs_less():
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 0.1, energy=0.5, min_rank=4, max_rank=6, subspace="random")
    feed(optimizer, w, low_rank(WIDE, 8))
    assert optimizer.state[w]["rank"] == optimizer.state[w]["basis"].shape[1] == 4


def test_svd_rule_takes_the_leading_singular_vectors():
    w, optimizer = with_rule(WIDE, "svd")
    g = stream(WIDE, 1)[0]
    feed(optimizer, w, g)
    u = torch.linalg.svd(g)[0][:, :3]
    torch.testing.assert_close(projector(optimizer.state[w]["basis"]), projector(u), rtol=0, atol=1e-12)


def test_riemannian_rule_at_full_step_is_a_block_power_iteration():
    w, optimizer = with_rule(WIDE, "riemannian", eta=1.0)
    old = None
    for g in stream(WIDE, 4):
        feed(optimizer, w, g)
        new = optimizer.state[w]["basis"].clone()
        if old is not None:
            power = torch.linalg.qr(g @ (g.T @ old))[0]
            torch.testing.assert_close(projector(new), projector(power), rtol=0, atol=1e-3)  # its small ridge
        old = new


@pytest.mark.parametrize("subspace", ["riemannian", "geodesic"])
def test_damped_steps_stay_near_and_find_the_subspace(subspace):
    g = torch.tensor(decaying(WIDE, 0.5))
    best = float((torch.linalg.svdvals(g)[:3] ** 2).sum() / torch.linalg.matrix_norm(g) ** 2)
    w, optimizer = with_rule(WIDE, subspace, eta=0.3)
    feed(optimizer, w, stream(WIDE, 1, seed=5)[0])
    distances, shares = [], []
    for _ in range(40):
        old = optimizer.state[w]["basis"].clone()
        feed(optimizer, w, g)
        new = optimizer.state[w]["basis"]
        distances.append(float(torch.linalg.matrix_norm(projector(new) - projector(old))))
        shares.append(optimizer.state[w]["captured_energy"])
    assert max(distances) < 1.5
    assert distances[-1] < 0.05
    assert shares[-1] == pytest.approx(best, abs=1e-3)
    assert (np.diff(shares) > -1e-9).all()


@pytest.mark.parametrize("subspace", ["riemannian", "geodesic"])
def test_tracking_rules_grow_their_rank(subspace):
    """Steps keep their rank; the energy rule may ask for more, and the basis is augmented then."""
    w, log = weight((20, 30)), RefreshLog()
    optimizer = AdaRankGrad([{"params": [w], "subspace": subspace}], energy=0.95, max_rank=16, max_gap=1,
                            on_refresh=log)  # fmt: skip
    rng = np.random.default_rng(0)
    for rank in (2, 9, 2, 12):
        q = np.linalg.qr(rng.standard_normal((20, rank)))[0]
        feed(optimizer, w, torch.tensor(q @ np.linalg.qr(rng.standard_normal((30, rank)))[0].T))
        assert log.events[-1].captured_energy >= 0.95
        assert rank * 0.95 <= log.events[-1].rank <= 16


@pytest.mark.parametrize("subspace", ["riemannian", "geodesic"])
def test_tracking_rules_fill_up_what_a_gradient_of_small_rank_left_empty(subspace):
    """Rank 4 is kept of a gradient of rank 2; the next one, of rank 4, is captured whole, from its residual."""
    w, log = weight((20, 30)), RefreshLog()
    group = {"params": [w], "subspace": subspace}
    optimizer = AdaRankGrad([group], energy=None, max_rank=4, max_gap=1, on_refresh=log)
    small, large = low_rank((20, 30), 2), low_rank((20, 30), 2) + low_rank((20, 30), 2, seed=1)
    feed(optimizer, w, small)
    assert int((optimizer.state[w]["basis"] != 0).any(dim=0).sum()) == 2
    for _ in range(2):
        feed(optimizer, w, large)
    assert log.events[-1].captured_energy == pytest.approx(1, abs=1e-9)


def test_dct_rule_takes_cosines():
    w, optimizer = with_rule(WIDE, "dct")
    g = stream(WIDE, 1)[0]
    feed(optimizer, w, g)
    cosines = scipy.fft.dct(np.eye(10), axis=0, norm="ortho").T  # columns
    leading = np.argsort(-np.linalg.norm(cosines.T @ g.numpy(), axis=1))[:3]
    np.testing.assert_allclose(optimizer.state[w]["basis"].numpy(), cosines[:, leading], rtol=0, atol=1e-12)


def test_random_rule_does_not_look_at_the_gradient():
    spans = []
    for g in stream(WIDE, 2):
        w, optimizer = with_rule(WIDE, "random")
        feed(optimizer, w, g)
        spans.append(projector(optimizer.state[w]["basis"]))
    torch.testing.assert_close(*spans, rtol=0, atol=1e-10)


# --------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("residual", [None, "fira", "sign"])
@pytest.mark.parametrize("side", ["short", "long"])
@pytest.mark.parametrize(("transport", "fraction"), [("keep", 0.1), ("mass", 1e-2)])
def test_learns(residual, side, transport, fraction):
    """A regression without noise whose solution has full rank: a case for moments that rotate with the subspace."""
    rng = np.random.default_rng(1)
    x = torch.tensor(rng.standard_normal((64, 12)), dtype=torch.float32)
    target = x @ torch.tensor(rng.standard_normal((12, 8)), dtype=torch.float32)
    layer = nn.Linear(12, 8, dtype=torch.float32)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = AdaRankGrad(layer.parameters(), 0.05, energy=0.8, max_rank=4, max_gap=10, side=side, residual=residual,
                            moment_transport=transport)  # fmt: skip
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300, 1e-4)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < fraction * losses[0]
    assert optimizer.state[layer.weight]["refreshes"] >= 20
