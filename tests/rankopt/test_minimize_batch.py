"""Batches: each problem against its own oracle and against itself alone, its own status, and its own counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from manifolds import (
    Euclidean,
    FixedRank,
    FixedRankTwoFactors,
    GeneralizedStiefel,
    Grassmann,
    Product,
    RankDeficientError,
    Sphere,
    Stiefel,
)
from rankopt import (
    LBFGS,
    Armijo,
    ConjugateGradient,
    CostChange,
    GradientDescent,
    GradientNorm,
    MaxEvaluations,
    MaxIterations,
    PolakRibiere,
    Status,
    StepSize,
    TargetCost,
    TrustRegion,
    minimize,
    minimize_batch,
)
from tests.arrays import KINDS, to_float64
from tests.rankopt.second_order import spd

RNG = np.random.default_rng(0)
MATRICES = RNG.standard_normal((30, 7, 7))
MATRICES = (MATRICES + MATRICES.mT) / 2
LOWEST = np.linalg.eigvalsh(MATRICES)[:, :2].sum(axis=1)
MANIFOLD = Stiefel(7, 2)
METHODS = {
    "gradient-descent": "gradient-descent",
    "conjugate-gradient": "conjugate-gradient",
    "PR+, Armijo": ConjugateGradient(beta=PolakRibiere(), line_search=Armijo()),
    "steepest descent": GradientDescent(line_search=Armijo()),
}


def cost(x, a):
    return (x * (a @ x)).sum((-2, -1))


def gradient(x, a):
    return 2 * (a @ x)


def start(batch=(30,), like=None, rng=0):
    return MANIFOLD.random_point(rng, like, batch=batch)


def solve(x0=None, a=MATRICES, **options):
    return minimize_batch(cost, MANIFOLD, start() if x0 is None else x0, args=(a,), gradient=gradient, **options)


# ------------------------------------------------------------------------------------------------------- optima


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_problem_finds_its_own_optimum(method, kind):
    a = kind(MATRICES)
    result = solve(start(like=kind.like), a, method=method)
    assert bool(result.success.all())
    np.testing.assert_allclose(to_float64(result.fun), LOWEST, atol=1e-8 if kind.dtype == "float64" else 2e-3)
    gram = to_float64(result.x).mT @ to_float64(result.x)
    assert np.abs(gram - np.eye(2)).max() < 30 * kind.eps
    for array in (result.x, result.fun, result.grad_norm):
        assert type(array) is type(a)
        assert array.dtype == a.dtype
    for name in ("fun", "grad_norm", "nit", "nfev", "ngev", "status", "success", "message"):
        assert tuple(result[name].shape) == (30,)


def test_procrustes_against_singular_vectors():
    a, b = RNG.standard_normal((40, 2, 5)), RNG.standard_normal((40, 7, 5))
    result = minimize_batch(
        lambda x, a, b: 0.5 * ((x @ a - b) ** 2).sum((-2, -1)), MANIFOLD, start((40,)), args=(a, b),
        gradient=lambda x, a, b: (x @ a - b) @ a.mT,
    )  # fmt: skip
    u, _, vt = np.linalg.svd(b @ a.mT, full_matrices=False)
    np.testing.assert_allclose(result.x, u @ vt, atol=1e-4)


def test_autograd():
    a = torch.tensor(MATRICES)
    calls = []

    def counted(x, a):
        calls.append(x.shape[0])
        return cost(x, a)

    result = minimize_batch(counted, MANIFOLD, start(like=a), args=(a,))
    np.testing.assert_allclose(result.fun.numpy(), LOWEST, atol=1e-8)
    assert not result.x.requires_grad
    assert len(calls) == result.ncalls
    explicit = solve(start(like=a), a)
    np.testing.assert_allclose(result.x.numpy(), explicit.x.numpy(), atol=1e-10)


@pytest.mark.parametrize("manifold", [FixedRank(6, 5, 2), FixedRankTwoFactors(6, 5, 2)], ids=str)
@pytest.mark.parametrize("method", ["gradient-descent", "conjugate-gradient"])
def test_autograd_by_the_factors_of_matrices(method, manifold):
    """As with explicit gradients, and to the nearest matrix of rank two."""
    left, right = np.linalg.qr(RNG.standard_normal((4, 6, 4)))[0], np.linalg.qr(RNG.standard_normal((4, 5, 4)))[0]
    a = torch.tensor((left * [3.0, 2.0, 0.5, 0.1]) @ right.mT)
    x0 = manifold.random_point(3, like=a, batch=(4,))
    options = {"args": (a,), "method": method}
    result, explicit = (
        minimize_batch(lambda x, a: 0.5 * ((x.to_dense() - a) ** 2).sum((-2, -1)), manifold, x0, **options, **given)
        for given in ({}, {"gradient": lambda x, a: x.to_dense() - a})
    )
    assert bool(result.success.all())
    np.testing.assert_allclose(result.fun.numpy(), 0.13, rtol=1e-9)
    np.testing.assert_allclose(result.x.to_dense().numpy(), explicit.x.to_dense().numpy(), atol=1e-4)


def test_several_batch_dimensions_and_joint_cost_and_gradient():
    a = MATRICES.reshape(5, 2, 3, 7, 7)
    x0 = start().reshape(5, 2, 3, 7, 2)
    result = minimize_batch(lambda x: (cost(x, a), gradient(x, a)), MANIFOLD, x0, gradient=True)
    assert result.x.shape == (5, 2, 3, 7, 2)
    assert result.status.shape == result.message.shape == (5, 2, 3)
    np.testing.assert_allclose(result.fun, LOWEST.reshape(5, 2, 3), atol=1e-8)


@pytest.mark.parametrize("name", ["sphere", "grassmann", "generalized", "product"])
def test_other_manifolds(name):
    b = spd(7, 10.0)
    half = np.linalg.inv(np.linalg.cholesky(b))
    if name == "product":
        manifold = Product(x=Sphere(7), y=Stiefel(7, 2))
        x0 = manifold.random_point(1, batch=(30,))
        result = minimize_batch(
            lambda p, a: cost(p.x[..., None], a) + cost(p.y, a), manifold, x0, args=(MATRICES,),
            gradient=lambda p, a: manifold.point_type(2 * (a @ p.x[..., None])[..., 0], gradient(p.y, a)),
        )  # fmt: skip
        expected = np.linalg.eigvalsh(MATRICES)[:, 0] + LOWEST
    else:
        manifold, expected = {
            "sphere": (Sphere(7, 1), np.linalg.eigvalsh(MATRICES)[:, 0]),
            "grassmann": (Grassmann(7, 2), LOWEST),
            "generalized": (
                GeneralizedStiefel(b, 2, b), np.linalg.eigvalsh(half @ MATRICES @ half.T)[:, :2].sum(axis=1)
            ),
        }[name]  # fmt: skip
        x0 = manifold.random_point(1, batch=(30,))
        result = minimize_batch(cost, manifold, x0, args=(MATRICES,), gradient=gradient)
    assert result.success.all()
    np.testing.assert_allclose(result.fun, expected, atol=1e-7)


@pytest.mark.parametrize("method", ["gradient-descent", "conjugate-gradient"])
def test_agrees_with_the_same_problems_alone(method):
    result = solve(method=method, stopping=GradientNorm(absolute=1e-9) | MaxIterations(500))
    for i in range(8):
        a = MATRICES[i]
        alone = minimize(
            lambda x, a=a: cost(x, a), MANIFOLD, start()[i], method, gradient=lambda x, a=a: gradient(x, a),
            stopping=GradientNorm(absolute=1e-9) | MaxIterations(500),
        )  # fmt: skip
        assert result.fun[i] == pytest.approx(alone.fun, abs=1e-12)
        np.testing.assert_allclose(result.x[i] @ result.x[i].T, alone.x @ alone.x.T, atol=1e-7)


# ------------------------------------------------------------------------------------------- each by itself


def test_problems_do_not_influence_each_other():
    """Bit for bit the same with other companions, in another order, and with a companion that fails."""
    together = solve()
    order = RNG.permutation(30)[:11]
    some = solve(start()[order], MATRICES[order])
    np.testing.assert_array_equal(some.nit, together.nit[order])
    np.testing.assert_allclose(some.x, together.x[order], atol=1e-12)
    spoiled = MATRICES.copy()
    spoiled[3] = np.nan
    rest = np.arange(30) != 3
    with_failure = solve(a=spoiled)
    np.testing.assert_array_equal(with_failure.status[rest], together.status[rest])
    np.testing.assert_allclose(with_failure.x[rest], together.x[rest], atol=1e-12)
    assert with_failure.status[3] == Status.NOT_FINITE


def test_each_has_its_own_status():
    """Already optimal, not finite at the start, not finite later, at the limit of iterations, and converged."""
    a = np.stack([np.diag(np.arange(1.0, 8.0))] * 5)
    a[3] = np.diag(np.geomspace(1.0, 1e6, 7))
    x0 = start((5,), rng=3).copy()
    x0[0] = np.eye(7)[:, :2]
    a[1, 0, 0] = np.inf
    blows_up = np.array([0, 0, 1, 0, 0])

    def risky(x, a, flag):
        value = cost(x, a)
        return np.where((flag == 1) & (value < 5.0), np.nan, value)

    with np.errstate(all="ignore"):
        result = minimize_batch(
            risky, MANIFOLD, x0, args=(a, blows_up), gradient=lambda x, a, flag: gradient(x, a),
            stopping=GradientNorm(absolute=1e-6) | MaxIterations(60),
        )  # fmt: skip
    assert [Status(s).name for s in result.status] == [
        "CONVERGED_GRADIENT", "NOT_FINITE", "NOT_FINITE", "ITERATION_LIMIT", "CONVERGED_GRADIENT",
    ]  # fmt: skip
    assert result.success.tolist() == [True, False, False, False, True]
    assert result.message[3] == Status.ITERATION_LIMIT.message
    assert result.nit[0] == 0
    assert result.nit[3] == 60
    np.testing.assert_array_equal(result.x[0], x0[0])
    # What failed later gives the best point it had, which is on the manifold.
    assert 5.0 <= result.fun[2] < cost(x0[2], a[2])
    assert MANIFOLD.check_point(result.x[2]) is None


def test_finished_problems_do_not_change_any_more():
    seen = []
    solve(callback=lambda r: seen.append((r.x.copy(), r.nfev.copy(), r.nit.copy())))
    ends = solve().nfev
    for (x, nfev, _), (later_x, later_nfev, _) in itertools.pairwise(seen):
        done = later_nfev == nfev
        np.testing.assert_array_equal(later_x[done], x[done])
    np.testing.assert_array_equal(seen[-1][1], ends)


def test_counts_from_outside():
    """Sum over the calls of what each saw at work; with args finished problems are left out before long."""
    sizes = []

    def counted(x, a):
        sizes.append(len(x))
        return cost(x, a)

    result = minimize_batch(counted, MANIFOLD, start(), args=(MATRICES,), gradient=gradient)
    np.testing.assert_array_equal(result.nfev, result.ngev)
    assert result.ncalls == len(sizes) == result.nfev.max()
    assert result.nfev.sum() <= sum(sizes) <= 2 * result.nfev.sum() + 30
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 30
    assert (result.nit < result.nfev).all()
    active = result.history.n_active
    assert active[0] == 30
    assert active[-1] == 0
    assert len(active) == len(result.history.time) == result.ncalls
    assert all(size >= n for size, n in zip(sizes[1:], active[:-1], strict=True))


def test_without_args_all_points_are_always_shown():
    shapes = set()

    def counted(x):
        shapes.add(x.shape)
        return cost(x, MATRICES)

    minimize_batch(counted, MANIFOLD, start(), gradient=lambda x: gradient(x, MATRICES))
    assert shapes == {(30, 7, 2)}


# ----------------------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize(
    ("stopping", "holds"),
    [
        (MaxIterations(4), lambda r: (r.nit == 4).all() and (r.status == Status.ITERATION_LIMIT).all()),
        (MaxIterations(0), lambda r: (r.nit == 0).all() and (r.nfev == 1).all()),
        (MaxEvaluations(6), lambda r: (r.nfev <= 6 + 30).all() and (r.status == Status.EVALUATION_LIMIT).all()),
        (GradientNorm(absolute=1e-3) | MaxIterations(500), lambda r: (r.grad_norm <= 1e-3).all()),
        (TargetCost(-1.0) | MaxIterations(300), lambda r: ((r.fun <= -1) == (r.status == Status.CONVERGED_COST)).all()),
        (CostChange(1e-5, iterations=3), lambda r: (r.status == Status.CONVERGED_COST).all() and (r.nit >= 3).all()),
        (StepSize(1e-2) | MaxIterations(500), lambda r: ((r.status == 2) | (r.status == 3)).all()),
        (
            GradientNorm(absolute=1e-2) & MaxIterations(12),
            lambda r: ((r.nit >= 12) & (r.grad_norm <= 1e-2) & (r.status == Status.CONVERGED_GRADIENT)).all(),
        ),
    ],
    ids=["limit", "no step", "evaluations", "gradient", "target", "change", "step size", "and"],
)
def test_criteria_apply_to_each_problem(stopping, holds):
    assert holds(solve(stopping=stopping, method="conjugate-gradient"))


def test_callback_can_end_the_run():
    rounds = []

    def callback(result):
        rounds.append(result.ncalls)
        if len(rounds) == 3:
            raise StopIteration

    result = solve(callback=callback)
    assert len(rounds) == 3
    assert set(result.status.tolist()) <= {Status.USER, Status.CONVERGED_GRADIENT}
    assert (result.status == Status.USER).any()


@pytest.mark.parametrize("call", [1, 2, 9])
def test_interruption_returns_the_best_points(call):
    calls = []

    def interrupted(x, a):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return cost(x, a)

    result = minimize_batch(interrupted, MANIFOLD, start(), args=(MATRICES,), gradient=gradient)
    assert (result.status == Status.INTERRUPTED).all()
    assert not result.success.any()
    assert result.x.shape == (30, 7, 2)
    if call > 1:
        np.testing.assert_allclose(result.fun, cost(result.x, MATRICES), atol=1e-12)
        assert (result.fun <= cost(start(), MATRICES) + 1e-12).all()


@pytest.mark.parametrize("scale", [1e300, 1e150, 1e-150])
def test_a_problem_of_another_scale_spoils_no_other(scale):
    """Where the square of a gradient's norm overflows, the problem has no metric to speak of."""
    a = MATRICES.copy()
    a[4] *= scale
    result = solve(a=a, stopping=GradientNorm() | CostChange() | MaxIterations(200))
    rest = np.arange(30) != 4
    np.testing.assert_allclose(result.fun[rest], LOWEST[rest], atol=1e-7)
    assert np.isfinite(result.x).all()
    assert (result.status[4] == Status.NOT_FINITE) == (scale == 1e300)


class BreaksDown(Stiefel):
    """A Stiefel manifold with a retraction that gives up on a whole batch where one direction is marked."""

    def at(self, point):
        geometry = super().at(point)

        def retraction_curve(v):
            if (np.abs(v[..., 0, 0]) > 1e5).any():
                raise RankDeficientError
            return type(geometry).retraction_curve(geometry, v)

        geometry.retraction_curve = retraction_curve
        return geometry


def test_a_retraction_that_fails_for_one_spoils_no_other():
    """One problem's steps can never be retracted; the others go on, and are found by halving the batch."""
    manifold = BreaksDown(7, 2)
    scale = np.where(np.arange(30) == 4, 1e9, 1.0)[:, None, None]
    result = minimize_batch(
        lambda x, a, scale: cost(x, a), manifold, start(), args=(MATRICES, scale),
        gradient=lambda x, a, scale: scale * gradient(x, a),
    )  # fmt: skip
    rest = np.arange(30) != 4
    np.testing.assert_allclose(result.fun[rest], LOWEST[rest], atol=1e-8)
    assert not result.success[4]
    np.testing.assert_array_equal(result.x[4], start()[4])


def test_start_points_nearby_are_projected():
    x0 = start() * (1 + 1e-4)
    result = solve(x0, stopping=MaxIterations(0))
    np.testing.assert_allclose(result.x.mT @ result.x, np.broadcast_to(np.eye(2), (30, 2, 2)), atol=1e-12)


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"manifold": "stiefel"}, TypeError, "manifold must be a Manifold, got str"),
        ({"objective": 3}, TypeError, r"objective must be callable or have value_and_gradient\(x\), got int"),
        ({"gradient": 3}, TypeError, "gradient must be a callable, got int"),
        ({"gradient": None}, TypeError, "gradient is missing"),
        ({"method": "newton"}, ValueError, "method must be one of .*got 'newton'"),
        ({"method": TrustRegion()}, TypeError, "method must be a name.* in a batch, got TrustRegion"),
        ({"method": LBFGS()}, TypeError, "method must be a name.* in a batch, got LBFGS"),
        ({"stopping": 10}, TypeError, "stopping must be a StoppingCriterion"),
        ({"callback": 3}, TypeError, "callback must be a callable"),
        ({"x0": None}, TypeError, "x0"),
        ({"x0": start() * 2}, ValueError, "x0 .*far off the manifold"),
        ({"x0": start()[:, :5]}, ValueError, r"x0.* needs \(7, 2\)"),
        ({"x0": np.full((30, 7, 2), np.nan)}, ValueError, "x0 contains NaN or infinity"),
        ({"x0": start()[0]}, ValueError, r"x0: a batch of points is needed, but the leading dimensions are \(\)"),
        ({"x0": start()[:0]}, ValueError, r"x0: a batch of points is needed, but the leading dimensions are \(0,\)"),
        ({"args": (MATRICES[:4],)}, ValueError, r"args\[0\] has shape \(4, 7, 7\), but its leading .* \(30,\)"),
        ({"args": MATRICES}, TypeError, "args must be a tuple"),
        ({"objective": lambda x, a: cost(x, a).sum()}, ValueError, "objective must return one cost per problem"),
        ({"objective": lambda x, a: 1.0}, TypeError, "objective must return an array of costs"),
        ({"gradient": lambda x, a: gradient(x, a)[0]}, ValueError, "gradient has shape"),
        ({"gradient": lambda x, a: gradient(x, a).astype(np.float32)}, TypeError, "gradient is numpy float32"),
        ({"gradient": True}, TypeError, r"objective must return a pair \(costs, gradients\)"),
    ],
)
def test_bad_input(changes, error, message):
    arguments = {"objective": cost, "manifold": MANIFOLD, "x0": start(), "args": (MATRICES,), "gradient": gradient}
    with pytest.raises(error, match=message):
        minimize_batch(**(arguments | changes))


def test_flat_space():
    d = RNG.uniform(1, 50, (20, 6))
    b = RNG.standard_normal((20, 6))
    result = minimize_batch(lambda x, d, b: (0.5 * d * x**2 - b * x).sum(-1), Euclidean(6), np.zeros((20, 6)),
                            args=(d, b), gradient=lambda x, d, b: d * x - b)  # fmt: skip
    np.testing.assert_allclose(result.x, b / d, atol=1e-5)
