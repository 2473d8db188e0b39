"""Pictures of runs, drawn without a screen."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from manifolds import Sphere
from rankopt import minimize, plots

A = np.diag([2.0, 4.0, 9.0, 15.0])


@pytest.fixture
def runs():
    return {
        name: minimize(lambda x: x @ A @ x, Sphere(4), method=name, gradient=lambda x: 2 * A @ x, rng=0)
        for name in ("conjugate-gradient", "gradient-descent")
    }


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_one_run(runs):
    run = runs["conjugate-gradient"]
    ax = plots.convergence(run)
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), np.arange(run.nit + 1))
    np.testing.assert_allclose(line.get_ydata(), run.history.grad_norm)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iterations", "norm of the gradient")
    assert ax.get_yscale() == "log"
    assert ax.get_legend() is None


def test_several_runs_have_a_legend(runs):
    ax = plots.convergence(runs, optimum=2.0)
    assert len(ax.get_lines()) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(runs)
    assert ax.get_ylabel() == "relative suboptimality"


def test_relative_suboptimality(runs):
    run = runs["gradient-descent"]
    (line,) = plots.convergence(run, optimum=2.0).get_lines()
    np.testing.assert_allclose(line.get_ydata(), np.maximum((run.history.fun - 2.0) / 2.0, np.finfo(float).eps))


@pytest.mark.parametrize("optimum", [0.0, 5.0])
def test_an_optimum_of_zero_or_above_the_costs_can_be_drawn(runs, optimum):
    ax = plots.convergence(runs["conjugate-gradient"], optimum=optimum)
    assert ax.get_ylabel() == ("relative suboptimality" if optimum else "suboptimality")
    y = ax.get_lines()[0].get_ydata()
    assert np.all(np.isfinite(y))
    assert np.all(y > 0)


@pytest.mark.parametrize(
    ("against", "label"),
    [
        ("iterations", "iterations"),
        ("time", "seconds"),
        ("nfev", "evaluations of the cost"),
        ("ngev", None),
    ],
)
def test_horizontal_axis(runs, against, label):
    run = runs["gradient-descent"]
    ax = plots.convergence(run, against=against)
    expected = np.arange(run.nit + 1) if against == "iterations" else run.history[against]
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), expected)
    assert ax.get_xlabel()
    assert label is None or ax.get_xlabel() == label


def test_axes_that_are_given_are_used(runs):
    ax = Figure().subplots()
    assert plots.convergence(runs["gradient-descent"], ax=ax) is ax
    assert plt.get_fignums() == []


def test_unknown_axis_is_refused_and_named(runs):
    with pytest.raises(ValueError, match=r"against must be 'iterations' or one of .*'nfev'.*, got 'passes'"):
        plots.convergence(runs["gradient-descent"], against="passes")


def test_picture_can_be_saved(runs, tmp_path):
    plots.convergence(runs, optimum=2.0, against="time").figure.savefig(tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 1000
