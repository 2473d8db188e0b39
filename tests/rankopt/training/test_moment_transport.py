"""How the moments follow the subspace: dense formulas, invariances, and what they must never do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankopt import (
    AdaRankGrad,
    CompletedTransport,
    KeepMoments,
    LinearTransport,
    MassTransport,
    Moments,
    ResetMoments,
    VarianceTransport,
)
from tests.arrays import orthogonal
from tests.rankopt.training.dense import DenseLayer, carried_moments
from tests.rankopt.training.streams import TALL, WIDE, feed, stream, weight

RULES = {
    "variance": VarianceTransport(),
    "mass": MassTransport(),
    "completed": CompletedTransport(),
    "linear": LinearTransport(),
    "keep": KeepMoments(),
    "reset": ResetMoments(),
}
ROTATING = ["variance", "mass", "completed", "linear"]
BETAS = (0.9, 0.999)


def moments_after(steps, rows, columns, seed=0):
    """Moments, and the mass, of Adam after some steps with random gradients of slowly changing mean."""
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((rows, columns))
    m, v, w = np.zeros((rows, columns)), np.zeros((rows, columns)), np.zeros(rows)
    for _ in range(steps):
        g = mean + 0.5 * rng.standard_normal((rows, columns))
        m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g**2
        w = BETAS[1] * w + 1 - BETAS[1]
    return m, v, w


def corrections(steps):
    return 1 - BETAS[0] ** steps, 1 - BETAS[1] ** steps


def rotation(new, old, overlap, seed=0, size=12):
    """Q_new^T Q_old of two subspaces of R^size; the larger the overlap, the nearer they are."""
    rng = np.random.default_rng(seed)
    start = orthogonal(size, rng)
    turned = np.linalg.qr(overlap * start + (1 - overlap) * rng.standard_normal((size, size)))[0]
    return turned[:, :new].T @ start[:, :old]


def transported(name, r, m, v, w, steps):
    held = Moments(torch.tensor(m), torch.tensor(v), torch.tensor(w) if RULES[name].counts_mass else None)
    copies = [None if x is None else x.clone() for x in held]
    moved = RULES[name].transported(held, torch.tensor(r), corrections(steps))
    for before, after in zip(copies, held, strict=True):
        assert before is None or torch.equal(before, after), "the old moments were changed"
    return moved


@pytest.mark.parametrize("steps", [1, 7, 300])
@pytest.mark.parametrize("overlap", [0.97, 0.6, 0.1])
@pytest.mark.parametrize(("new", "old"), [(4, 4), (6, 3), (2, 5), (1, 1)])
@pytest.mark.parametrize("name", RULES)
def test_dense_formula(name, new, old, overlap, steps):
    m, v, w = moments_after(steps, old, 8)
    r = rotation(new, old, overlap)
    moved = transported(name, r, m, v, w, steps)
    mean, square, mass = carried_moments(name, r, m, v, w, steps, BETAS)
    np.testing.assert_allclose(moved.mean.numpy(), mean, rtol=0, atol=1e-14)
    np.testing.assert_allclose(moved.square.numpy(), square, rtol=0, atol=1e-14)
    assert (moved.square >= 0).all()
    if name == "mass":
        np.testing.assert_allclose(moved.mass.numpy(), mass, rtol=0, atol=1e-15)
    else:
        assert moved.mass is None


@pytest.mark.parametrize("name", ["variance", "mass", "completed", "linear", "keep"])
def test_identity_changes_nothing(name):
    m, v, w = moments_after(20, 4, 8)
    moved = transported(name, np.eye(4), m, v, w, 20)
    np.testing.assert_allclose(moved.mean.numpy(), m, rtol=0, atol=1e-16)
    np.testing.assert_allclose(moved.square.numpy(), v, rtol=1e-13)
    if name == "mass":
        np.testing.assert_allclose(moved.mass.numpy(), w, rtol=1e-15)


@pytest.mark.parametrize("name", ["variance", "mass", "completed", "linear", "keep"])
def test_a_refresh_to_the_same_basis_changes_nothing(name):
    """Cosines chosen for the same energies are the same ones at every refresh: the run is that without refreshes."""
    results = []
    for gap in (1, 1000):
        w = weight(WIDE)
        group = {"params": [w], "subspace": "dct"}
        optimizer = AdaRankGrad([group], 0.1, energy=None, max_rank=4, max_gap=gap, tolerance=0.0,
                                moment_transport=name)  # fmt: skip
        for g in stream(WIDE, 1) * 8:
            feed(optimizer, w, g)
        results.append(w.detach())
    torch.testing.assert_close(*results, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=str)
@pytest.mark.parametrize("name", ROTATING)
def test_change_of_basis_leaves_the_first_moment_alone(name, shape):
    """With a large eps Adam is linear in M. Gradients of one column space: any basis of it gives the same weights."""
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((min(shape), 3))
    results, bases = [], []
    for seed, gap in ((0, 1), (1, 2), (2, 1000)):
        w = weight(shape)
        optimizer = AdaRankGrad([w], 1e12, eps=1e12, energy=None, max_rank=3, max_gap=gap, tolerance=0.0, seed=seed,
                                moment_transport=name)  # fmt: skip
        rng = np.random.default_rng(1)
        trajectory = []
        for _ in range(12):
            g = torch.tensor(columns @ rng.standard_normal((3, max(shape))))
            feed(optimizer, w, g if shape == WIDE else g.T)
            trajectory.append(w.detach().clone())
        results.append(torch.stack(trajectory))
        bases.append(optimizer.state[w]["basis"])
    assert torch.linalg.matrix_norm(bases[0] - bases[2]) > 0.1  # other coordinates indeed
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-9)
    torch.testing.assert_close(results[1], results[2], rtol=0, atol=1e-9)
    full = weight(shape)
    adam = torch.optim.Adam([full], 1e12, eps=1e12)
    rng = np.random.default_rng(1)
    for _ in range(12):
        g = torch.tensor(columns @ rng.standard_normal((3, max(shape))))
        feed(adam, full, g if shape == WIDE else g.T)
    torch.testing.assert_close(results[0][-1], full.detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ROTATING)
def test_first_moment_in_the_old_subspace_is_kept_exactly(name):
    """Q_new M_new is the projection of Q_old M_old; into a larger space nothing is lost."""
    m, v, w = moments_after(5, 3, 8)
    q = orthogonal(10, np.random.default_rng(2))
    old = q[:, :3]
    larger = q[:, :6] @ orthogonal(6, np.random.default_rng(3))
    moved = transported(name, larger.T @ old, m, v, w, 5)
    np.testing.assert_allclose(larger @ moved.mean.numpy(), old @ m, rtol=0, atol=1e-14)


def test_linear_rule_without_absolute_values_would_turn_negative():
    """The reason for the other rules, and for the absolute value: R V has many negative entries."""
    m, v, w = moments_after(50, 6, 40)
    r = rotation(6, 6, 0.3)
    assert 0.1 < np.mean(r @ v < 0) < 0.6
    assert (transported("linear", r, m, v, w, 50).square.numpy() > 0).all()


def test_completed_rows_have_the_size_of_the_old_ones():
    """A direction that is new takes over the second moment of its index; one that stays keeps its own."""
    m, v, w = moments_after(50, 3, 8)
    r = np.zeros((5, 3))
    r[0, 1] = 1
    square = transported("completed", r, m, v, w, 50).square.numpy()
    np.testing.assert_allclose(square, v[[1, 1, 2, 2, 2]], rtol=1e-14)


@pytest.mark.parametrize("old", RULES)
@pytest.mark.parametrize("new", RULES)
def test_rule_of_a_group_may_change(old, new):
    """At the next refresh the new rule finds what it needs, and V / w goes over into the bias-corrected moment."""
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 0.1, energy=None, max_rank=4, max_gap=3, tolerance=0.0, moment_transport=old)
    reference = DenseLayer(w, lr=0.1, rule=old)
    for t, g in enumerate(stream(WIDE, 12)):
        if t == 6:  # the next step refreshes, for the second time with moments to carry over
            optimizer.param_groups[0]["moment_transport"] = reference.rule = new
            total = 1 - BETAS[1] ** reference.t
            if old == "mass" != new:
                reference.v *= (total / reference.mass)[:, None]
            reference.mass[:] = total if old != "mass" else reference.mass
        feed(optimizer, w, g)
        expected = reference.step(g, optimizer.state[w]["basis"])
        np.testing.assert_allclose(w.detach().numpy(), expected, rtol=0, atol=1e-10)
        assert ("mass" in optimizer.state[w]) == ((old if t < 6 else new) == "mass")


# ------------------------------------------------------------------------------------------------------- mass


def test_mass_bounds():
    """Mass lies in [0, 1 - b2^t] wherever the subspace goes, and V / w never exceeds the largest square seen."""
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], betas=(0.5, 0.8), energy=0.9, max_rank=7, max_gap=2, moment_transport="mass")
    largest = 0.0
    for t, g in enumerate(stream(WIDE, 30), 1):
        feed(optimizer, w, g)
        state = optimizer.state[w]
        assert state["mass"].shape == (state["basis"].shape[1],)
        assert (state["mass"] >= (1 - 0.8) - 1e-12).all()  # the step just taken
        assert (state["mass"] <= 1 - 0.8**t + 1e-12).all()
        assert (state["exp_avg_sq"] >= 0).all()
        # a coordinate in any basis is at most the norm of its column
        largest = max(largest, float(torch.linalg.vector_norm(g, dim=0).max()))
        assert float((state["exp_avg_sq"] / state["mass"][:, None]).max()) <= largest**2


def test_mass_without_moving_is_adams_correction():
    """In a fixed basis every row has mass 1 - b2^t, and the trajectory is that of the bias correction."""
    results = []
    for name in ("mass", "variance"):
        w = weight(WIDE)
        optimizer = AdaRankGrad([w], 0.1, energy=None, max_rank=4, tolerance=0.0, moment_transport=name)
        for t, g in enumerate(stream(WIDE, 10), 1):
            feed(optimizer, w, g)
            if name == "mass":
                expected = torch.full((4,), 1 - 0.999**t, dtype=torch.float64)
                torch.testing.assert_close(optimizer.state[w]["mass"], expected)
        results.append(w.detach())
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_mass_of_a_new_direction_is_small():
    """A direction orthogonal to all old ones starts with nothing, so its first update has the size of Adam's first."""
    m, v, w = moments_after(500, 2, 8)
    r = np.zeros((3, 2))
    r[:2] = np.eye(2)
    moved = transported("mass", r, m, v, w, 500)
    assert moved.mass.numpy()[2] == 0
    np.testing.assert_allclose(moved.mass.numpy()[:2], w)
    assert (moved.square.numpy()[2] == 0).all()


def test_updates_in_new_directions_stay_small_with_mass_only():
    """The subspace jumps to a disjoint one: with "mass" no entry of the update exceeds Adam's first step by much."""
    sizes = {}
    q = orthogonal(10, np.random.default_rng(0))
    for name in ("variance", "mass"):
        w = weight(WIDE)
        optimizer = AdaRankGrad([w], 1.0, energy=None, max_rank=2, max_gap=20, tolerance=0.0, moment_transport=name)
        rng = np.random.default_rng(1)
        for t in range(24):
            before = w.detach().clone()
            span = q[:, :2] if t < 20 else q[:, 4:6]
            feed(optimizer, w, torch.tensor(span @ rng.standard_normal((2, 16))))
            update = q[:, 4:6].T @ (w.detach() - before).numpy()
            if t >= 20:
                sizes[name] = max(sizes.get(name, 0.0), float(np.abs(update).max()))
    assert sizes["mass"] < 1.5
    assert sizes["variance"] > 2 * sizes["mass"]


# ------------------------------------------------------------------------------------------------ keep, reset


@pytest.mark.parametrize(("new", "old"), [(5, 3), (3, 5), (3, 3)])
def test_keep_keeps_entries_by_their_index(new, old):
    m, v, w = moments_after(5, old, 8)
    moved = transported("keep", rotation(new, old, 0.2), m, v, w, 5)
    rows = min(new, old)
    for kept, before in ((moved.mean.numpy(), m), (moved.square.numpy(), v)):
        assert kept.shape == (new, 8)
        assert np.array_equal(kept[:rows], before[:rows])
        assert (kept[rows:] == 0).all()


def test_kept_moments_do_not_share_memory_with_the_larger_ones():
    """After a fall of the rank, the memory of the larger moments is freed."""
    m, v, w = moments_after(5, 5, 8)
    moved = transported("keep", rotation(2, 5, 0.2), m, v, w, 5)
    assert moved.mean.untyped_storage().nbytes() == 2 * 8 * 8


def test_reset_restarts_the_bias_correction():
    """The first step after each refresh has the size of Adam's very first one: |update| = 1 in every entry."""
    w = weight(WIDE)
    optimizer = AdaRankGrad([w], 1.0, eps=0.0, energy=None, max_rank=3, max_gap=4, tolerance=0.0,
                            moment_transport="reset")  # fmt: skip
    for t, g in enumerate(stream(WIDE, 9)):
        before = w.detach().clone()
        feed(optimizer, w, g)
        update = optimizer.state[w]["basis"].T @ (before - w.detach())
        is_first = torch.allclose(update.abs(), torch.ones(3, 16, dtype=torch.float64), rtol=0, atol=1e-9)
        assert is_first == (t % 4 == 0)
        assert optimizer.state[w]["moment_step"] == t % 4 + 1
        assert optimizer.state[w]["step"] == t + 1
