"""Gradient descent: the formulas of the steps, and what Barzilai-Borwein steps gain."""

from __future__ import annotations

import numpy as np
import pytest

from manifolds import Euclidean, Grassmann
from rankopt import BarzilaiBorwein, GradientDescent, GradientNorm, GrowingStep, MaxIterations, minimize

LONG = GradientNorm(absolute=1e-6) | MaxIterations(20_000)


def test_barzilai_borwein_steps():
    # s = -t g' and y = g - T g' with t = 2, g' = (3, 1), g = (1, -1): <s, s> = 40, <s, y> = 16, <y, y> = 8.
    old, new, t = np.array([3.0, 1.0]), np.array([1.0, -1.0]), 2.0
    products = old @ old, old @ new, new @ new
    s, y = -t * old, new - old
    assert BarzilaiBorwein().next_step(t, *products, iteration=0) == pytest.approx((s @ s) / (s @ y))
    assert BarzilaiBorwein().next_step(t, *products, iteration=1) == pytest.approx((s @ y) / (y @ y))
    assert BarzilaiBorwein().next_step(t, *products, iteration=2) == pytest.approx((s @ s) / (s @ y))
    assert (s @ s, s @ y, y @ y) == (40.0, 16.0, 8.0)


def test_barzilai_borwein_steps_keep_to_their_bounds():
    rule = BarzilaiBorwein(shortest=0.1, longest=5.0)
    # <s, s> / <s, y> is 0.01 and then 100 times the last step.
    assert rule.next_step(1.0, 1.0, -99.0, 1e4, iteration=0) == 0.1
    assert rule.next_step(1.0, 1.0, 0.99, 1.0, iteration=0) == 5.0
    assert rule.next_step(1.0, 1.0, 0.5, 100.0, iteration=1) == 0.1
    assert rule.next_step(1.0, 1.0, 0.5, 0.01, iteration=1) == 5.0


@pytest.mark.parametrize("iteration", [0, 1])
def test_barzilai_borwein_grows_where_the_curvature_is_not_positive(iteration):
    rule = BarzilaiBorwein(longest=50.0)
    assert rule.next_step(1.0, 1.0, 1.5, 3.0, iteration) == 10.0
    assert rule.next_step(1.0, 1.0, 1.0, 1.0, iteration) == 10.0
    assert rule.next_step(20.0, 1.0, 1.5, 3.0, iteration) == 50.0


def test_barzilai_borwein_survives_cancellation():
    # <g', g'> - <T g', g> is positive, but <y, y> rounds to zero or below.
    for new_new in (1.0 - 3e-16, 1.0 - 2.3e-16):
        step = BarzilaiBorwein().next_step(1.0, 1.0, 1.0 - 1.2e-16, new_new, iteration=1)
        assert 0 < step < np.inf


def test_growing_step_doubles():
    assert GrowingStep().next_step(0.25, 1.0, 2.0, 3.0, iteration=7) == 0.5


def test_barzilai_borwein_on_an_isotropic_quadratic_takes_the_inverse_curvature():
    result = minimize(
        lambda x: 1.5 * x @ x,
        Euclidean(4),
        np.ones(4),
        "gradient-descent",
        gradient=lambda x: 3 * x,
        stopping=MaxIterations(2),
    )
    assert result.history.step_size[2] == pytest.approx(1 / 3)
    np.testing.assert_allclose(result.x, 0.0, atol=1e-14)


def test_barzilai_borwein_needs_far_fewer_gradients_on_an_ill_conditioned_quadratic():
    d = np.geomspace(1.0, 1e3, 30)
    counts = {}
    for rule in (BarzilaiBorwein(), GrowingStep()):
        result = minimize(
            lambda x: 0.5 * d @ (x * x),
            Euclidean(30),
            np.ones(30),
            GradientDescent(rule),
            gradient=lambda x: d * x,
            stopping=LONG,
        )
        assert result.success
        counts[type(rule)] = result.ngev
    assert 3 * counts[BarzilaiBorwein] < counts[GrowingStep]


def test_barzilai_borwein_on_a_manifold(spd, trace_objective):
    f = trace_objective(spd(20, 1e3))
    counts = {}
    for rule in (BarzilaiBorwein(), GrowingStep()):
        result = minimize(
            f.cost,
            Grassmann(20, 3),
            method=GradientDescent(rule),
            gradient=f.gradient,
            rng=2,
            stopping=GradientNorm(absolute=1e-4) | MaxIterations(20_000),
        )
        assert result.success
        assert result.fun == pytest.approx(np.linalg.eigvalsh(f.a)[:3].sum(), rel=1e-9)
        counts[type(rule)] = result.ngev
    assert 2 * counts[BarzilaiBorwein] < counts[GrowingStep]
