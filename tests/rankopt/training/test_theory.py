"""What theory says: gradients of reversible layers lose their rank, full bases give full steps, Adam has no scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rankopt import AdaRankGrad, RefreshLog
from tests.arrays import orthogonal
from tests.rankopt.training.streams import SHAPES, TALL, WIDE, feed, stream, weight

# ------------------------------------------------------------------------------------------------------ rank decay


def reversible_layer(n_pairs, m=8, n=10, seed=0):
    """A_i, B_i, C_i with B_i and C_i positive definite and diagonal in common frames, so the modes are known.

    The two slowest modes, about 0.02 and 0.05, have neither a left nor a right singular vector in common: modes that
    share one would make a matrix of rank one together. That takes two samples, the one slow where the other is not.

    Returns the three lists and the eigenvalues of the mean of C_i x B_i, as an m x n array of modes.
    """
    rng = np.random.default_rng(seed)
    u, v = orthogonal(m, rng), orthogonal(n, rng)
    beta, gamma = [], []
    for _ in range(n_pairs):
        rest, others = rng.uniform(0.8, 1, m - 2), rng.uniform(0.8, 1, n - 2)
        beta += [[0.02, 1, *rest], [1, 0.05, *rest]]
        gamma += [[1, 0.05, *others], [0.02, 1, *others]]
    beta, gamma = (np.array(d) * rng.uniform(0.9, 1.1, (2 * n_pairs, 1)) for d in (beta, gamma))
    # All modes are there at the start, in comparable size.
    a = [u @ (np.where(rng.random((m, n)) < 0.5, -1, 1) * rng.uniform(1, 2, (m, n))) @ v.T] * (2 * n_pairs)
    b = [(u * d) @ u.T for d in beta]
    c = [(v * d) @ v.T for d in gamma]
    return a, b, c, np.mean(beta[:, :, None] * gamma[:, None, :], axis=0)


def simulated(n_pairs, steps, lr, seed, **options):
    """Plain SGD on a reversible layer; the gradient is seen by an optimizer that refreshes at every step, at rate 0."""
    a, b, c, modes = reversible_layer(n_pairs, seed=seed)
    w = np.zeros_like(a[0])
    log, parameter = RefreshLog(), weight(w.shape)
    observer = AdaRankGrad([parameter], 0.0, max_gap=1, oversampling=8, power_iterations=3, on_refresh=log, **options)
    for _ in range(steps):
        g = np.mean([x - y @ w @ z for x, y, z in zip(a, b, c, strict=True)], axis=0)
        feed(observer, parameter, torch.tensor(g))
        w = w + lr * g
    return log.events, np.sort(modes.ravel())


@pytest.mark.parametrize("n_pairs", [1, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_rank_decays_geometrically(n_pairs, seed):
    """kappa(t) = ||G - P(1) G||_F / ||G||_F falls by (1 - lr l_2) / (1 - lr l_1) a step.

    l_1 < l_2 are the smallest eigenvalues of the mean of C_i x B_i (Tian et al. 2021; the lemma of AdaRankGrad): G_t =
    (I - lr S)^t G_0, so its slowest mode, a matrix of rank one, is left in the end.
    """
    lr, count = 1.2, 130
    events, modes = simulated(n_pairs, count, lr, seed, energy=None, max_rank=1)
    kappa = np.sqrt(1 - np.array([e.captured_energy for e in events]))
    predicted = math.log((1 - lr * modes[1]) / (1 - lr * modes[0]))
    assert kappa[0] > 0.5
    assert 1e-6 < kappa[-1] < 0.1
    steps = np.diff(np.log(kappa[count // 2 :]))
    assert np.mean(steps) == pytest.approx(predicted, rel=0.02)
    assert np.all(np.abs(steps - predicted) < 0.1 * abs(predicted))  # no faster and no slower anywhere


def test_chosen_rank_falls_to_one():
    events, _ = simulated(2, 100, 1.2, 0, energy=0.99, max_rank=8)
    ranks = [e.rank for e in events]
    assert ranks[0] >= 6
    assert (np.diff(ranks) <= 0).all()
    assert ranks[-1] == 1


# ------------------------------------------------------------------------------------------------------- full bases


@pytest.mark.parametrize("side", ["short", "long"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_full_basis_is_full_adam_in_rotated_coordinates(shape, side):
    """Fixed, of full rank, moments kept: torch's Adam on Q^T W with the gradient Q^T G is the same trajectory.

    On the short side Q is orthogonal; on the long side the gradients lie in its span, and so do the steps.
    """
    w = weight(shape)
    is_left = (shape[0] <= shape[1]) == (side == "short")
    optimizer = AdaRankGrad([w], 0.05, energy=None, max_rank=min(shape), tolerance=0.0, moment_transport="keep",
                            side=side)  # fmt: skip
    adam = rotated = q = None
    rng = np.random.default_rng(0)
    columns = stream(shape, 1)[0]
    for _ in range(10):
        if is_left:
            g = columns @ torch.tensor(rng.standard_normal((shape[1], shape[1])))
        else:
            g = torch.tensor(rng.standard_normal((shape[0], shape[0]))) @ columns
        start = w.detach().clone()
        feed(optimizer, w, g)
        if q is None:
            q, origin = optimizer.state[w]["basis"].clone(), start
            assert q.shape == (shape[0 if is_left else 1], min(shape))
            rotated = torch.nn.Parameter(q.T @ start if is_left else start @ q)
            first = rotated.detach().clone()
            adam = torch.optim.Adam([rotated], 0.05)
        feed(adam, rotated, q.T @ g if is_left else g @ q)
        change = rotated.detach() - first
        expected = origin + (q @ change if is_left else change @ q.T)
        torch.testing.assert_close(w.detach(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("transport", ["keep", "variance", "mass", "completed", "linear"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_full_basis_is_the_full_step_of_sgd(shape, transport):
    """Without memory (betas 0) and with an eps that makes Adam linear, the projected step is lr G, whatever the basis.

    With momentum it is that of full Adam, even though the basis turns at every refresh.
    """
    for betas, gap in (((0.0, 0.0), 1), ((0.9, 0.99), 1000)):
        w, full, plain = weight(shape), weight(shape), weight(shape)
        optimizer = AdaRankGrad([w], 1e10, eps=1e12, betas=betas, energy=None, max_rank=min(shape), max_gap=gap,
                                tolerance=0.0, moment_transport=transport)  # fmt: skip
        adam = torch.optim.Adam([full], 1e10, eps=1e12, betas=betas)
        sgd = torch.optim.SGD([plain], 1e-2)
        for g in stream(shape, 6):
            feed(optimizer, w, g)
            feed(adam, full, g)
            feed(sgd, plain, g)
            torch.testing.assert_close(w.detach(), full.detach(), rtol=0, atol=1e-11)
            if betas == (0.0, 0.0):
                torch.testing.assert_close(w.detach(), plain.detach(), rtol=0, atol=1e-11)


def test_projected_step_is_the_projection_of_the_full_one():
    """Below full rank, with linear Adam: the step is lr Q Q^T G."""
    for shape in (WIDE, TALL):
        w = weight(shape)
        optimizer = AdaRankGrad([w], 1e10, eps=1e12, betas=(0.0, 0.0), energy=None, max_rank=3, max_gap=2)
        for g in stream(shape, 5):
            before = w.detach().clone()
            feed(optimizer, w, g)
            q = optimizer.state[w]["basis"]
            expected = q @ (q.T @ g) if shape == WIDE else g @ q @ q.T
            torch.testing.assert_close(before - w.detach(), 1e-2 * expected, rtol=0, atol=1e-11)


# ------------------------------------------------------------------------------------------------- size of updates


@pytest.mark.parametrize("transport", ["variance", "mass", "completed", "keep", "reset", "linear"])
def test_invariant_to_the_scale_of_the_gradient(transport):
    """Adam's property survives projection: gradients times a constant give the same weights (eps aside)."""
    results = []
    for factor in (1e-3, 1.0, 1e3):
        w = weight(WIDE)
        optimizer = AdaRankGrad([w], 0.1, eps=0.0, energy=0.9, max_rank=6, min_gap=2, max_gap=4,
                                moment_transport=transport)  # fmt: skip
        for g in stream(WIDE, 12):
            feed(optimizer, w, factor * g)
        results.append(w.detach())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-8)
    torch.testing.assert_close(results[2], results[1], rtol=0, atol=1e-8)


def test_transposing_the_problem_transposes_the_weights():
    """A tall weight is the transpose of a wide one: the same steps to rounding."""
    results = []
    for is_transposed in (False, True):
        w = torch.nn.Parameter(weight(WIDE).detach().T.contiguous()) if is_transposed else weight(WIDE)
        optimizer = AdaRankGrad([w], 0.1, energy=0.9, max_rank=6, max_gap=4, residual="fira", weight_decay=0.1)
        for g in stream(WIDE, 12):
            feed(optimizer, w, g.T.contiguous() if is_transposed else g)
        results.append(w.detach().T if is_transposed else w.detach())
    torch.testing.assert_close(*results, rtol=0, atol=1e-8)
