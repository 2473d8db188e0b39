"""Matrices with unit columns: column by column the sphere, and equal to pymanopt."""

import numpy as np
import pymanopt.manifolds
import pytest

from manifolds import Exponential, Oblique, Product, Sphere, check_retraction
from tests.arrays import KINDS, assert_close

N, P = 4, 3


def setting(kind=KINDS[1], length=1.0):
    manifold = Oblique(N, P)
    x = manifold.random_point(0, kind.like)
    return manifold, x, length * manifold.random_tangent_vector(x, 1)


def test_geometry_equals_pymanopt():
    ours, x, v = setting()
    theirs = pymanopt.manifolds.Oblique(N, P)
    a, h = np.random.default_rng(2).standard_normal((2, N, P))
    y = ours.exp(x, v)
    assert_close(y, theirs.exp(x, v), 1e-14)
    assert_close(ours.log(x, y), theirs.log(x, y), 1e-12)
    assert float(ours.dist(x, y)) == pytest.approx(theirs.dist(x, y), rel=1e-12)
    assert_close(ours.retraction(x, v), theirs.retraction(x, v), 1e-14)
    assert_close(ours.projection(x, a), theirs.projection(x, a), 1e-14)
    hessian = theirs.euclidean_to_riemannian_hessian(x, a, h, v)
    assert_close(ours.euclidean_to_riemannian_hessian(x, a, h, v), hessian, 1e-14)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_columns_are_points_of_spheres(kind):
    ours, x, v = setting(kind, 2.0)
    spheres = Product(*(Sphere(N) for _ in range(P)))
    columns, directions = (spheres.point_type(*(a[:, j] for j in range(P))) for a in (x, v))
    for name in ("exp", "retraction"):
        moved = getattr(spheres, name)(columns, directions)
        assert_close(getattr(ours, name)(x, v).T, np.stack([np.asarray(c) for c in moved]), 10 * kind.eps)
    end = spheres.exp(columns, directions)
    assert float(ours.dist(x, ours.exp(x, v))) == pytest.approx(float(spheres.dist(columns, end)), rel=100 * kind.eps)


def test_a_column_may_rest_while_others_move():
    manifold, x, v = setting()
    v[:, 1] = 0.0
    y = manifold.exp(x, v)
    np.testing.assert_array_equal(y[:, 1], x[:, 1])
    assert_close(manifold.log(x, y), v, 1e-14)
    curve = Oblique(N, P, Exponential()).at(x).retraction_curve(v)
    np.testing.assert_array_equal(curve.velocity(0.3)[:, 1], np.zeros(N))


def test_opposite_columns_have_no_logarithm():
    manifold, x, _ = setting()
    y = x.copy()
    y[:, 2] = -y[:, 2]
    assert float(manifold.dist(x, y)) == pytest.approx(np.pi)
    with pytest.raises(ValueError, match="opposite to the point"):
        manifold.log(x, y)


@pytest.mark.parametrize("retraction", [None, Exponential()], ids=str)
def test_both_retractions_are_of_second_order(retraction):
    for manifold in (Oblique(N, P, retraction), Sphere(5, retraction=retraction)):
        check_retraction(manifold, manifold.retraction, order=2, rng=0).raise_if_failed()
