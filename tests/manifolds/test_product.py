"""Products: named tuples of points, block-wise geometry, copies and pickles."""

import copy
import pickle

import numpy as np
import pytest
import torch

from manifolds import (
    CholeskyPreconditioner,
    CountSketch,
    Euclidean,
    GeneralizedStiefel,
    Grassmann,
    Polar,
    Product,
    SketchedGramPreconditioner,
    Sphere,
    Stiefel,
)
from tests.arrays import DOUBLE, flat, spd, to_float64
from tests.manifolds.zoo import ZOO


def product():
    return Product(direction=Sphere(3), frame=Stiefel(4, 2))


def test_points_are_named_tuples():
    x = product().random_point(0)
    assert x._fields == ("direction", "frame")
    assert (x.direction.shape, x.frame.shape) == ((3,), (4, 2))
    direction, frame = x
    assert direction is x.direction
    assert frame is x[1]
    assert isinstance(x, tuple)
    assert "direction=" in repr(x)


def test_factors_without_names_are_numbered():
    manifold = Product(Sphere(3), Euclidean(2))
    assert manifold.random_point(0)._fields == ("factor_0", "factor_1")
    assert repr(manifold) == "Product(factor_0=Sphere(3), factor_1=Euclidean(2))"


def test_equal_fields_are_one_type():
    assert product().point_type is product().point_type
    assert product().point_type is not Product(a=Sphere(3), b=Stiefel(4, 2)).point_type
    x = product().random_point(0)
    assert type(product().projection(x, x)) is type(x) is type(product().at(x).point)


def test_dimension_and_scale_add_up():
    manifold = product()
    assert manifold.dim == 2 + 5
    assert manifold.typical_dist == pytest.approx(np.sqrt(np.pi**2 + 2))


def test_geometry_is_block_wise():
    manifold, rng = product(), np.random.default_rng(0)
    x = manifold.random_point(rng)
    a, v = manifold.standard_normal(rng, x), manifold.random_tangent_vector(x, rng)
    e, h = manifold.standard_normal(rng, x), manifold.standard_normal(rng, x)
    sphere, stiefel = Sphere(3), Stiefel(4, 2)
    for method, arguments in {
        "projection": (a,),
        "euclidean_to_riemannian_gradient": (e,),
        "euclidean_to_riemannian_hessian": (e, h, v),
        "retraction": (v,),
        "second_order_retraction": (v,),
    }.items():
        together = getattr(manifold, method)(x, *arguments)
        for i, factor in enumerate((sphere, stiefel)):
            np.testing.assert_array_equal(together[i], getattr(factor, method)(x[i], *(a[i] for a in arguments)))
    assert manifold.inner_product(x, a, v) == pytest.approx(np.vdot(a[0], v[0]) + np.vdot(a[1], v[1]))
    t = manifold.at(x).retraction_curve(v)
    np.testing.assert_array_equal(t.point(0.3).frame, stiefel.at(x.frame).retraction_curve(v.frame).point(0.3))


def test_distance_is_pythagorean():
    manifold = Product(a=Sphere(3), b=Grassmann(4, 2))
    x, y = manifold.random_point(0), manifold.random_point(1)
    expected = np.hypot(Sphere(3).dist(x.a, y.a), Grassmann(4, 2).dist(x.b, y.b))
    assert float(manifold.dist(x, y)) == pytest.approx(float(expected), rel=1e-14)


def test_random_vector_is_spread_over_all_factors():
    manifold = product()
    x = manifold.random_point(0)
    v = manifold.random_tangent_vector(x, 1)
    assert min(np.linalg.norm(v.direction), np.linalg.norm(v.frame)) > 0.1
    assert np.hypot(np.linalg.norm(v.direction), np.linalg.norm(v.frame)) == pytest.approx(1)


def test_plain_tuples_are_taken_and_named_tuples_given():
    manifold = product()
    x = manifold.random_point(0)
    v = manifold.random_tangent_vector(x, 1)
    plain, vector = tuple(x), tuple(v)
    assert type(plain) is tuple
    for result in (
        manifold.at(plain).point,
        manifold.projection(plain, vector),
        manifold.retraction(plain, vector),
        manifold.transport(plain, plain, vector),
        manifold.linear_combination(1.0, plain, 2.0, vector),
        manifold.nearest_point(plain),
        manifold.zero_vector(plain),
        manifold.random_tangent_vector(plain, 0),
    ):
        assert type(result) is manifold.point_type
    assert float(manifold.inner_product(plain, vector, vector)) == pytest.approx(1)
    assert manifold.check_point(plain) is None
    assert manifold.check_tangent(plain, vector) is None


def test_plain_tuples_nest():
    manifold = Product(pair=product(), shift=Euclidean(2))
    x = manifold.random_point(0)
    plain = (tuple(x.pair), x.shift)
    assert type(manifold.at(plain).point.pair) is product().point_type
    assert manifold.check_point(plain) is None


def test_reasons_name_the_factor():
    manifold = Product(outer=product(), shift=Euclidean(2))
    x = manifold.random_point(0)
    bad = x._replace(outer=x.outer._replace(frame=2 * x.outer.frame))
    assert manifold.check_point(bad).startswith("outer: frame: the point is off the manifold")
    assert manifold.check_tangent(x, x).startswith("outer: direction: the vector is not tangent")
    assert "a tuple of 2 entries (outer, shift)" in manifold.check_point(x.shift)
    assert "a tuple of 2 entries (direction, frame)" in manifold.check_point((x.shift, x.shift))


def test_field_may_be_called_like_a_method_of_tuples():
    manifold = Product(count=Sphere(3), index=Euclidean(2))
    x = manifold.random_point(0)
    assert (x.count.shape, x.index.shape) == ((3,), (2,))
    assert manifold.check_point(manifold.retraction(x, manifold.random_tangent_vector(x, 1))) is None


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_points_survive_copies_and_pickles(duplicate):
    for library in ("numpy", "torch"):
        manifold = Product(outer=product(), shift=Euclidean(2))
        x = manifold.random_point(0, torch.empty(0) if library == "torch" else None)
        y = duplicate(x)
        assert type(y) is type(x)
        assert type(y.outer) is type(x.outer)
        np.testing.assert_array_equal(flat(y), flat(x))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("name", ZOO)
def test_manifolds_survive_copies_and_pickles(duplicate, name):
    manifold = ZOO[name].build(DOUBLE)
    other = duplicate(manifold)
    x = manifold.random_point(0)
    assert other.dim == manifold.dim
    assert type(other.random_point(0)) is type(x)
    v = manifold.random_tangent_vector(x, 1)
    np.testing.assert_array_equal(flat(other.retraction(x, v)), flat(manifold.retraction(x, v)))
    np.testing.assert_array_equal(to_float64(other.inner_product(x, v, v)), to_float64(manifold.inner_product(x, v, v)))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_preconditioners_and_values_survive_copies_and_pickles(duplicate):
    m = spd(5, 10.0, 0)
    for metric in (CholeskyPreconditioner(m), SketchedGramPreconditioner(m, ridge=0.1)):
        np.testing.assert_array_equal(duplicate(metric).solve(m), metric.solve(m))
    for value in (CountSketch(4, 2), Polar(max_condition=5.0)):
        assert duplicate(value) == value


def test_a_metric_in_a_factor_is_its_own():
    """Each factor in its own metric, so that the norm is that of blkdiag(M_u, M_v)."""
    b, m = spd(5, 10.0, 0), spd(5, 10.0, 1)
    manifold = Product(u=GeneralizedStiefel(b, 2, m), v=GeneralizedStiefel(b, 2))
    x = manifold.random_point(0)
    w = manifold.standard_normal(1, x)
    assert float(manifold.norm(x, w)) ** 2 == pytest.approx(np.sum(w.u * (m @ w.u)) + np.sum(w.v**2), rel=1e-12)
