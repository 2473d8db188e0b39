"""Line searches on curves of one variable: their conditions, their failures and their parameters."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rankopt import Armijo, Wolfe


class LineCurve:
    """Function of one variable with its derivative, and the trials at which each was asked for."""

    def __init__(self, value, slope, rounding=0.0):
        self._value, self._slope = value, slope
        self.values, self.slopes = [], []
        self.state = SimpleNamespace(value=float(value(0.0)), rounding=rounding)

    def value(self, t):
        self.values.append(t)
        return float(self._value(t))

    def slope(self, t):
        self.slopes.append(t)
        return float(self._slope(t))

    def run(self, search, step, previous=()):
        return search.search(self, self.state, float(self._slope(0.0)), step, previous)


CURVES = {
    "parabola": (lambda t: (t - 2.0) ** 2, lambda t: 2 * (t - 2.0)),
    "steep wall": (lambda t: np.exp(5 * t) - 20 * t, lambda t: 5 * np.exp(5 * t) - 20),
    "flat tail": (lambda t: -t / (t * t + 2), lambda t: (t * t - 2) / (t * t + 2) ** 2),
    "wiggly": (lambda t: (t - 1) ** 2 + 0.3 * np.cos(9 * t), lambda t: 2 * (t - 1) - 2.7 * np.sin(9 * t)),
    "periodic": (lambda t: -np.sin(t), lambda t: -np.cos(t)),
    "quartic": (lambda t: (t - 3) ** 4, lambda t: 4 * (t - 3) ** 3),
}
FIRST_STEPS = [1e-6, 1e-2, 1.0, 30.0]


@pytest.mark.parametrize("step", FIRST_STEPS)
@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize("decrease", [1e-4, 0.3])
def test_armijo_condition(decrease, curve, step):
    line = LineCurve(*curve)
    t = line.run(Armijo(decrease=decrease), step)
    assert 0 < t <= step
    assert curve[0](t) <= curve[0](0.0) + decrease * t * curve[1](0.0)
    assert t == line.values[-1]
    assert line.slopes == []


@pytest.mark.parametrize("step", FIRST_STEPS)
@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize(("decrease", "curvature"), [(1e-4, 0.9), (1e-4, 0.1), (0.01, 1.1e-2), (1e-8, 1e-6)])
def test_wolfe_conditions(decrease, curvature, curve, step):
    line = LineCurve(*curve)
    t = line.run(Wolfe(decrease=decrease, curvature=curvature, max_trials=100), step)
    assert t > 0
    assert curve[0](t) <= curve[0](0.0) + decrease * t * curve[1](0.0)
    assert abs(curve[1](t)) <= curvature * abs(curve[1](0.0))
    assert t in line.values


@pytest.mark.parametrize("step", FIRST_STEPS)
def test_small_curvature_is_nearly_exact(step):
    line = LineCurve(*CURVES["steep wall"])
    t = line.run(Wolfe(curvature=1e-3), step)
    # |f'(t)| <= 1e-3 * 15 and f'' = 100 at the minimiser log(4) / 5.
    assert t == pytest.approx(np.log(4) / 5, abs=1.6e-4)


def test_secant_finds_the_minimiser_of_a_parabola_at_once():
    line = LineCurve(*CURVES["parabola"])
    assert line.run(Wolfe(decrease=1e-10, curvature=1e-9), 3.0) == pytest.approx(2.0, abs=1e-12)
    assert len(line.values) == 2


def test_armijo_backtracks_to_the_minimiser_of_a_parabola():
    line = LineCurve(*CURVES["parabola"])
    assert line.run(Armijo(), 10.0) == pytest.approx(2.0)
    assert len(line.values) == 2


@pytest.mark.parametrize("search", [Armijo(), Wolfe()], ids=["Armijo", "Wolfe"])
@pytest.mark.parametrize("value", [lambda t: t, lambda t: t + 1.0], ids=["from zero", "from one"])
def test_none_where_no_step_decreases(search, value):
    line = LineCurve(value, lambda t: -1.0, rounding=1e-15)
    assert line.run(search, 1.0) is None
    assert len(line.values) <= 40


def test_limit_of_trials():
    for search in (Armijo(max_trials=5), Wolfe(max_trials=5)):
        line = LineCurve(lambda t: t, lambda t: -1.0)
        assert line.run(search, 1.0) is None
        assert len(line.values) == 5


def test_wolfe_out_of_trials_returns_the_best_step_with_decrease():
    value, slope = CURVES["steep wall"]
    line = LineCurve(value, slope)
    t = line.run(Wolfe(decrease=1e-8, curvature=1e-6, max_trials=4), 1.0)
    assert t in line.values
    assert value(t) < value(0.0)
    assert slope(t) < 0


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=["NaN", "infinity"])
@pytest.mark.parametrize("search", [Armijo(), Wolfe()], ids=["Armijo", "Wolfe"])
@pytest.mark.parametrize("edge", [0.9, 1e-3])
def test_trials_where_the_cost_is_not_defined_are_passed_over(edge, search, bad):
    def value(t):
        return -np.log1p(-t / edge) - 5 * t / edge if t < edge else bad

    def slope(t):
        return (1 / (1 - t / edge) - 5) / edge if t < edge else np.nan

    t = LineCurve(value, slope).run(search, 4.0)
    assert 0 < t < edge
    assert value(t) < value(0.0)


def test_infinite_everywhere_fails():
    for search in (Armijo(), Wolfe()):
        line = LineCurve(lambda t: 0.0 if t == 0 else np.inf, lambda t: -1.0)
        assert line.run(search, 1.0) is None


def test_wolfe_passes_over_a_slope_that_is_not_a_number():
    line = LineCurve(lambda t: (t - 2.0) ** 2, lambda t: np.nan if t > 2.5 else 2 * (t - 2.0))
    t = line.run(Wolfe(), 3.0)
    assert abs(2 * (t - 2.0)) <= 0.4


def test_memory_allows_the_cost_to_rise():
    value, slope = (lambda t: 10 * t * t - t), (lambda t: 20 * t - 1)
    step, rise = 0.5, value(0.5)
    assert rise == 2.0
    # The costs so far end with that of the state itself.
    allowed = LineCurve(value, slope)
    assert allowed.run(Armijo(memory=3), step, previous=[9.0, 5.0, 3.0, 0.0]) == step
    forgotten = LineCurve(value, slope)
    assert forgotten.run(Armijo(memory=2), step, previous=[9.0, 1.0, 0.0]) < step
    monotone = LineCurve(value, slope)
    assert monotone.run(Armijo(memory=1), step, previous=[9.0, 5.0, 3.0, 0.0]) < step


def test_memory_of_n_costs_covers_the_last_n_states():
    value, slope = (lambda t: 10 * t * t - t), (lambda t: 20 * t - 1)
    previous = [3.0, 1.0, 0.0]
    # The third state back is that of cost 3, which allows the rise to 2; a memory of two does not reach it.
    assert LineCurve(value, slope).run(Armijo(memory=3), 0.5, previous) == 0.5
    assert LineCurve(value, slope).run(Armijo(memory=2), 0.5, previous) < 0.5


def test_costs_that_differ_by_rounding_only_are_decided_by_the_slope():
    # The cost is flat to the last digit; the derivative still knows the minimiser.
    line = LineCurve(lambda t: 1.0, lambda t: 1e-13 * (t - 2.0), rounding=1e-15)
    assert line.run(Wolfe(), 1.0) == pytest.approx(2.0, abs=0.2)


def test_searches_leave_the_curve_as_it_is():
    line = LineCurve(*CURVES["parabola"])
    before = dict(vars(line.state))
    line.run(Wolfe(), 1.0)
    line.run(Armijo(), 1.0)
    assert vars(line.state) == before
