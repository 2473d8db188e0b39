"""When layers leave their subspaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankopt import AdaRankGrad, GaLore, RefreshLog, RefreshSchedule
from tests.rankopt.training.streams import WIDE, feed, low_rank, stream, weight


def run(norms, shape=(6, 8), n_layers=1, **options):
    """Events of a run whose gradients are a fixed matrix times these numbers."""
    log = RefreshLog()
    layers = [weight(shape, seed=i) for i in range(n_layers)]
    optimizer = AdaRankGrad(layers, energy=None, max_rank=2, on_refresh=log, **options)
    g = low_rank(shape, 2)
    g /= torch.linalg.matrix_norm(g)
    for norm in norms:
        feed(optimizer, *(x for layer in layers for x in (layer, norm * g)))
    return log.events


def leaving_steps(norms, min_gap, max_gap, tolerance):
    """The criterion simulated: exponential average (0.9) against its value just after the last refresh."""
    steps, reasons = [1], ["first"]
    reference = average = norms[0]
    for t in range(2, len(norms) + 1):
        since = t - steps[-1]
        if since >= max_gap or (since >= min_gap and average < tolerance * reference):
            steps.append(t)
            reasons.append("gap" if since >= max_gap else "norm")
            reference = average = norms[t - 1]
        else:
            average = 0.9 * average + 0.1 * norms[t - 1]
    return steps, reasons


def steps_of(events, position=0):
    return [e.step for e in events if e.position == position]


@pytest.mark.parametrize("gap", [1, 3, 10])
def test_zero_tolerance_is_a_fixed_gap(gap):
    """However much the gradient falls."""
    events = run(0.5 ** np.arange(25.0), min_gap=2, max_gap=gap, tolerance=0.0)
    assert steps_of(events) == list(range(1, 26, gap))
    assert [e.reason for e in events] == ["first"] + ["gap"] * (len(events) - 1)


def test_max_gap_wins_over_min_gap():
    events = run(0.5 ** np.arange(20.0), n_layers=3, min_gap=10, max_gap=4, tolerance=0.9)
    for position in range(3):
        assert steps_of(events, position) == [1, 5, 9, 13, 17]


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    ("min_gap", "max_gap", "tolerance"), [(1, 200, 0.6), (5, 30, 0.8), (10, 200, 0.3), (4, 6, 1.0)]
)
def test_follows_the_average_norm(min_gap, max_gap, tolerance, factor):
    """Noisy norms that fall by and by: the same steps as the simulated criterion, at any scale."""
    rng = np.random.default_rng(0)
    t = np.arange(150)
    norms = factor * 4.0 ** -(t // 40) * np.exp(0.2 * rng.standard_normal(150))
    events = run(norms, min_gap=min_gap, max_gap=max_gap, tolerance=tolerance)
    steps, reasons = leaving_steps(list(norms), min_gap, max_gap, tolerance)
    assert steps_of(events) == steps
    assert [e.reason for e in events] == reasons
    assert len(steps) >= 3
    gaps = np.diff(steps)
    assert gaps.min() >= min_gap
    assert gaps.max() <= max_gap


def test_norm_of_the_low_rank_gradient_counts():
    """The gradient moves out of the subspace at constant norm: what is left in it is small, and the layer leaves."""
    log, w = RefreshLog(), weight((6, 8))
    optimizer = AdaRankGrad([w], energy=None, max_rank=1, min_gap=3, on_refresh=log)
    first, second = torch.zeros(6, 8, dtype=torch.float64), torch.zeros(6, 8, dtype=torch.float64)
    first[0, 0] = second[1, 1] = 1.0
    for g in [first] * 20 + [second] * 10:
        feed(optimizer, w, g)
    # 0.9^5 < 0.6 < 0.9^4: the average of five zeros; the refresh is at the step after.
    assert [(e.step, e.reason) for e in log.events] == [(1, "first"), (26, "norm")]


def test_constant_norm_stays_to_the_end():
    assert steps_of(run(np.ones(60), min_gap=1, max_gap=50, tolerance=0.99)) == [1, 51]
    assert steps_of(run(np.ones(25), min_gap=1, max_gap=10, tolerance=1.0)) == [1, 11, 21]


def test_defaults():
    """From 10 to 200 steps, tolerance 0.6."""
    assert steps_of(run([1.0] * 3 + [1e-9] * 30)) == [1, 11]
    assert steps_of(run([1.0] * 201)) == [1, 201]
    assert steps_of(run([1.0] + [0.61] * 80)) == [1]
    assert len(steps_of(run([1.0] + [0.59] * 80))) == 2


def test_decision_is_made_at_the_end_of_the_step_before():
    """``state["refresh"]`` says so before the next gradient is there."""
    log, w = RefreshLog(), weight(WIDE)
    optimizer = AdaRankGrad([w], max_gap=4, min_gap=2, tolerance=0.9, on_refresh=log)
    expected = True  # the first
    for g in stream(WIDE, 20):
        before = len(log)
        feed(optimizer, w, g)
        assert (len(log) > before) == expected
        expected = bool(optimizer.state[w]["refresh"])
    assert len(log) > 4


# ---------------------------------------------------------------------------------------------------- staggering


@pytest.mark.parametrize("n_layers", [2, 5, 16])
def test_refreshes_are_staggered(n_layers):
    """All at the first step; later never all at one, and each layer at its own fixed gap."""
    max_gap = 20
    events = run(np.ones(90), n_layers=n_layers, min_gap=4, max_gap=max_gap, tolerance=0.0)
    per_step = {t: sum(e.step == t for e in events) for t in range(1, 91)}
    assert per_step[1] == n_layers
    assert max(per_step[t] for t in range(2, 91)) <= -(-n_layers // 10) + 1
    for position in range(n_layers):
        steps = steps_of(events, position)
        assert steps[1] - steps[0] > 4  # within min_gap and max_gap
        assert steps[1] - steps[0] <= max_gap
        assert set(np.diff(steps[1:])) == {max_gap}
    again = run(np.ones(90), n_layers=n_layers, min_gap=4, max_gap=max_gap, tolerance=0.0)
    assert events == again


def test_staggering_goes_by_position_over_groups():
    log = RefreshLog()
    layers = [weight((6, 8), seed=i) for i in range(4)]
    optimizer = AdaRankGrad(
        [{"params": layers[:2]}, {"params": layers[2:]}], max_rank=2, max_gap=20, tolerance=0.0, on_refresh=log
    )
    for g in stream((6, 8), 25):
        feed(optimizer, *(x for layer in layers for x in (layer, g)))
    assert len({e.step for e in log.events if e.reason == "gap"}) == 4
    assert {e.position for e in log.events} == {0, 1, 2, 3}


def test_many_layers_are_spread_evenly():
    schedule = RefreshSchedule(min_gap=10, max_gap=200, tolerance=0.6, staggered=True)
    deadlines = np.array([schedule.deadline(1, index, is_first=True) for index in range(190)])
    assert deadlines.min() > 1 + 100
    assert deadlines.max() == 1 + 200
    counts = np.histogram(deadlines, bins=10, range=(102, 202))[0]
    assert counts.min() >= 16
    assert counts.max() <= 22
    # never before the smallest gap
    close = RefreshSchedule(min_gap=190, max_gap=200, tolerance=0.6, staggered=True)
    assert min(close.deadline(1, index, is_first=True) for index in range(190)) > 1 + 190
    assert [schedule.deadline(50, index, is_first=False) for index in range(9)] == [250] * 9
    together = RefreshSchedule(10, 200, 0.6, staggered=False)
    assert [together.deadline(1, index, is_first=True) for index in range(9)] == [201] * 9


def test_reasons_of_the_schedule():
    schedule = RefreshSchedule(min_gap=5, max_gap=20, tolerance=0.5, staggered=False)
    for step, average, reason in ((25, 0.1, ""), (26, 0.1, "norm"), (26, 0.5, ""), (26, 0.49, "norm"), (40, 9, ""),
                                  (41, 9, "gap"), (41, 0.1, "gap"), (99, 9, "gap")):  # fmt: skip
        assert schedule.reason_to_leave(step, 21, 41, average, 1.0) == reason


def test_group_options_and_galore():
    """Each group its own gaps; GaLore's layers stay together."""
    log = RefreshLog()
    layers = [weight((6, 8), seed=i) for i in range(4)]
    groups = [{"params": layers[:2], "max_gap": 3, "staggered": False}, {"params": layers[2:], "max_gap": 5}]
    optimizer = GaLore(groups, max_rank=2, on_refresh=log)
    for g in stream((6, 8), 12):
        feed(optimizer, *(x for layer in layers for x in (layer, g)))
    for position, gap in enumerate((3, 3, 5, 5)):
        assert steps_of(log.events, position) == list(range(1, 13, gap))


def test_steps_are_counted_layer_by_layer():
    """A layer without gradients for a while does not age."""
    log, layers = RefreshLog(), [weight((6, 8), seed=i) for i in range(2)]
    optimizer = GaLore(layers, max_rank=2, max_gap=4, on_refresh=log)
    for t, g in enumerate(stream((6, 8), 12)):
        feed(optimizer, layers[0], g, layers[1], g if t % 2 == 0 else None)
    assert steps_of(log.events, 0) == [1, 5, 9]
    assert steps_of(log.events, 1) == [1, 5]
    assert optimizer.state[layers[1]]["step"] == 6


def test_log_by_layer():
    log = RefreshLog()
    layers = {"a": weight((6, 8)), "b": weight((6, 8), seed=1)}
    optimizer = GaLore(list(layers.items()), max_rank=2, max_gap=1, on_refresh=log)
    for g in stream((6, 8), 2):
        feed(optimizer, *(x for layer in layers.values() for x in (layer, g)))
    assert len(log) == 4
    assert {name: [e.step for e in events] for name, events in log.by_layer().items()} == {"a": [1, 2], "b": [1, 2]}
    assert [(e.name, e.position) for e in log.events[:2]] == [("a", 0), ("b", 1)]
