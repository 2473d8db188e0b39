"""Checkpoints of the problems of several views, whose states carry products with the data."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from problems import CCAProblem, MaxVar, MultiviewData, MultiviewProblem, PairedViews, SumCor
from rankopt import Checkpoint, MaxIterations, minimize
from tests.arrays import DOUBLE, Kind
from tests.problems.several_views import several_views
from tests.problems.views import correlated_views


def cca(kind):
    return lambda: CCAProblem(PairedViews(*map(kind, correlated_views())), 2, refresh=4)


def multiview(criterion, kind=DOUBLE):
    views = several_views(200, (6, 5, 4))
    return lambda: MultiviewProblem(
        MultiviewData([kind(view) for view in views], reg=0.1), 2, criterion=criterion, refresh=4
    )


PROBLEMS = {
    "cca": cca(DOUBLE),
    "cca-torch": cca(Kind("torch", "float32")),
    "maxvar": multiview(MaxVar()),
    "sumcor-torch": multiview(SumCor(), Kind("torch", "float64")),
}


@pytest.mark.parametrize("method", ["conjugate-gradient", "lbfgs", "gradient-descent", "trust-region"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_runs_go_on_to_the_same_bits(name, method, tmp_path):
    checkpoint = Checkpoint(tmp_path / "run.npz")

    def run(steps, **options):
        problem = PROBLEMS[name]()
        return minimize(
            problem, problem.manifold, None, method, rng=0, stopping=MaxIterations(steps), **options
        )  # fmt: skip

    whole = run(7)
    for steps in (2, 3, 7):
        result = run(steps, checkpoint=checkpoint)
    assert result.nit == whole.nit == 7
    for a, b in zip(result.x, whole.x, strict=True):
        np.testing.assert_array_equal(a, b)
    assert list(result.history) == list(whole.history)
    for count in set(whole.history) - {"time"}:
        np.testing.assert_array_equal(result.history[count], whole.history[count], err_msg=count)
    assert result.n_passes == whole.n_passes


def test_other_data_are_refused(tmp_path):
    """Products that were carried are compared with those of the data."""
    x, y = correlated_views()
    checkpoint = Checkpoint(tmp_path / "run.npz")

    def run(x, steps):
        problem = CCAProblem(PairedViews(x, y), 2)
        return partial(minimize, problem, problem.manifold, rng=0, stopping=MaxIterations(steps))(checkpoint=checkpoint)

    run(x, 3)
    for changed in (x + 0.1 * np.roll(x, 1, axis=0), 1.01 * x):
        with pytest.raises(ValueError, match=r"another manifold of this form|the cost at the point of .* have changed"):
            run(changed, 5)
    assert run(x.copy(), 5).nit == 5
