"""Every real manifold of pymanopt and geoopt runs under our solvers; without Hessians gradients are differenced."""

import geoopt
import numpy as np
import pytest
import torch
from pymanopt import manifolds as pymanopt_manifolds

from manifolds import Product, Sphere, from_geoopt, from_pymanopt
from rankopt import ConjugateGradient, QuadraticObjective, TrustRegion, minimize, minimize_batch
from tests.arrays import flat
from tests.manifolds.library_manifolds import (
    GEOOPT,
    PYMANOPT,
    QUOTIENTS,
    SquaredDistance,
    SquaredDistanceOfGrams,
    near,
)

METHODS = ("conjugate-gradient", "lbfgs", "trust-region", "newton-cg", "gradient-descent")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PYMANOPT)
def test_pymanopt(name, method):
    manifold = from_pymanopt(PYMANOPT[name][0])
    goal = manifold.random_point(5)
    cost = (SquaredDistanceOfGrams if name in QUOTIENTS else SquaredDistance)(goal)
    start = near(manifold, goal)
    result = minimize(cost, manifold, start, method, gradient=cost.gradient)
    assert result.success
    assert result.nhev == 0
    assert result.fun < 1e-9 * cost(start)
    assert manifold.check_point(result.x) is None
    if name not in QUOTIENTS:
        np.testing.assert_allclose(flat(result.x), flat(goal), atol=1e-4)


@pytest.mark.parametrize("name", PYMANOPT)
def test_given_hessians_of_pymanopt_are_converted(name):
    manifold = from_pymanopt(PYMANOPT[name][0])
    goal = manifold.random_point(5)
    cost = (SquaredDistanceOfGrams if name in QUOTIENTS else SquaredDistance)(goal)
    start = near(manifold, goal)
    result = minimize(cost, manifold, start, gradient=cost.gradient, hessian=cost.hessian)
    assert result.success
    assert result.nhev > 0
    assert result.ngev == result.nit + 1  # none for differences
    assert result.fun < 1e-9 * cost(start)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", GEOOPT)
def test_geoopt(name, method):
    build, shape, _ = GEOOPT[name]
    manifold = from_geoopt(build(), *shape)
    goal = manifold.random_point(5)
    cost, start = SquaredDistance(goal), near(manifold, goal)
    result = minimize(cost, manifold, start, method)
    assert result.success
    assert result.fun < 1e-8 * float(cost(start))
    assert manifold.check_point(result.x) is None


@pytest.mark.parametrize("name", ["sphere", "poincare-balls", "positive-definite", "lorentz-table"])
def test_geoopt_in_single_precision(name):
    build, shape, _ = GEOOPT[name]
    manifold = from_geoopt(build(), *shape)
    goal = manifold.random_point(5, torch.empty(0))
    cost, start = SquaredDistance(goal), near(manifold, goal)
    result = minimize(cost, manifold, start, "lbfgs")
    assert result.success
    assert result.x.dtype == torch.float32
    assert result.fun < 1e-4 * float(cost(start))


def test_the_default_method_depends_on_who_has_hessians():
    cost = SquaredDistance(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    start = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    without = minimize(cost, from_geoopt(geoopt.Sphere(), 3), start)
    with_hessian = minimize(cost, Sphere(3), start)
    assert (without.nhev, with_hessian.nhev > 0) == (0, True)
    conjugate = minimize(cost, from_geoopt(geoopt.Sphere(), 3), start, ConjugateGradient())
    assert without.nfev == conjugate.nfev


def test_differences_converge_as_fast_as_hessians():
    """On the sphere, where both are to be had: the leading eigenvector in the same steps."""
    a = np.diag([1.0, 2.0, 3.0, 4.0, 6.0])
    start = np.ones(5) / 5**0.5
    theirs = from_geoopt(geoopt.Sphere(), 5)
    matrix = torch.tensor(a)
    differenced = minimize(lambda x: -x @ matrix @ x, theirs, torch.tensor(start), TrustRegion())
    exact = minimize(
        lambda x: -x @ a @ x, Sphere(5), start, gradient=lambda x: -2 * a @ x, hessian=lambda x, v: -2 * a @ v
    )
    assert differenced.fun == pytest.approx(-6.0, abs=1e-9)
    assert differenced.nit <= exact.nit + 1
    assert differenced.ngev > differenced.nit + 1  # what differences cost is counted


@pytest.mark.parametrize("method", METHODS)
def test_completing_a_matrix_of_fixed_rank(method):
    """Half of the entries of a 12 x 10 matrix of rank 2 determine it."""
    manifold = from_pymanopt(pymanopt_manifolds.FixedRankEmbedded(12, 10, 2))
    rng = np.random.default_rng(0)
    target, seen = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 10)), rng.random((12, 10)) < 0.7

    def residual(x):
        return seen * ((x.u * x.s) @ x.vt - target)

    def gradient(x):
        r = residual(x)
        return type(x)(r @ x.vt.T * x.s, np.diag(x.u.T @ r @ x.vt.T), (x.s[:, None] * x.u.T) @ r)

    u, s, vt = np.linalg.svd(seen * target / 0.7, full_matrices=False)
    start = manifold.point_type(u[:, :2], s[:2], vt[:2])
    result = minimize(lambda x: 0.5 * np.sum(residual(x) ** 2), manifold, start, method, gradient=gradient)
    assert result.success
    x = result.x
    np.testing.assert_allclose((x.u * x.s) @ x.vt, target, atol=1e-3 * np.linalg.norm(target))


def test_theirs_and_ours_in_one_product():
    product = Product(ball=from_geoopt(geoopt.PoincareBallExact(), 2), direction=Sphere(3))
    assert not product.has_hessian
    like = torch.empty(0, dtype=torch.float64)
    goal, start = product.random_point(1, like), product.random_point(2, like)
    result = minimize(
        lambda x: product.factors["ball"].dist(x.ball, goal.ball) ** 2 - goal.direction @ x.direction,
        product,
        start,
        "trust-region",
    )
    assert result.success
    np.testing.assert_allclose(flat(result.x), flat(goal), atol=1e-5)


def test_quadratic_objectives_run_there_too():
    a = np.diag([1.0, 2.0, 3.0, 4.0, 6.0])
    theirs = from_pymanopt(pymanopt_manifolds.Sphere(5))
    result = minimize(QuadraticObjective(a), theirs, rng=0)
    assert result.fun == pytest.approx(0.5, abs=1e-9)
    by_torch = minimize(
        QuadraticObjective(torch.tensor(a)), from_geoopt(geoopt.Sphere(), 5), method="trust-region", rng=0
    )
    assert by_torch.fun == pytest.approx(0.5, abs=1e-9)


def test_karcher_mean_on_the_hyperboloid():
    """Our solver on geoopt's manifold against the fixed point of logarithms, which vanish in the mean."""
    lorentz = from_geoopt(geoopt.Lorentz(), 3)
    points = lorentz.random_point(0, batch=(6,))
    result = minimize(lambda x: sum(lorentz.dist(x, p) ** 2 for p in points), lorentz, points[0], "lbfgs")
    assert result.success
    mean_log = torch.stack([lorentz.log(result.x, p) for p in points]).mean(dim=0)
    assert float(mean_log.norm()) < 1e-5


def test_many_problems_of_geoopt_at_once():
    spheres = from_geoopt(geoopt.Sphere(), 4)
    goals = spheres.random_point(0, batch=(5,))
    result = minimize_batch(
        lambda x: ((x - goals) ** 2).sum(dim=-1),
        spheres,
        spheres.random_point(1, batch=(5,)),
        gradient=lambda x: 2 * (x - goals),
    )
    assert result.success.all()
    np.testing.assert_allclose(result.x, goals, atol=1e-4)
