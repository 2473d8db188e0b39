"""Powers of a manifold against the product of equal factors, and in runs."""

import numpy as np
import pytest
from scipy.linalg import eigh

from manifolds import Polar, Power, Product, Rotations, Sphere, Stiefel
from rankopt import minimize
from tests.arrays import assert_close


@pytest.mark.parametrize("base", [Rotations(3), Stiefel(4, 2, "canonical"), Sphere(3)], ids=repr)
def test_a_power_is_the_product_of_equal_factors(base):
    m = 5
    power, product = Power(base, m), Product(*[base] * m)
    x = power.random_point(rng=0)
    u, v = power.random_tangent_vector(x, rng=1), power.random_tangent_vector(x, rng=2)
    e, h = np.random.default_rng(3).standard_normal((2, *x.shape))
    y = power.retraction(x, v)
    assert (power.dim, power.typical_dist) == (product.dim, pytest.approx(product.typical_dist))
    as_tuple = product.point_type._make
    for name, vectors in {
        "inner_product": (u, v),
        "norm": (u,),
        "projection": (e,),
        "euclidean_to_riemannian_gradient": (e,),
        "euclidean_to_riemannian_hessian": (e, h, v),
        "retraction": (v,),
        "exp": (v,),
        "log": (y,),
        "dist": (y,),
    }.items():
        expected = getattr(product, name)(as_tuple(x), *map(as_tuple, vectors))
        assert_close(
            getattr(power, name)(x, *vectors), np.stack(expected) if isinstance(expected, tuple) else expected, 1e-12
        )
    assert_close(power.transport(x, y, u), np.stack(product.transport(*map(as_tuple, (x, y, u)))), 1e-12)


@pytest.mark.parametrize("method", [None, "conjugate-gradient", "lbfgs", "gradient-descent"])
def test_many_eigenvectors_at_once(method):
    """Each of the m unit vectors finds the lowest eigenvector of its own matrix."""
    m, n = 6, 5
    a = np.random.default_rng(0).standard_normal((m, n, n))
    a = a + a.mT
    power = Power(Sphere(n), m)

    def product(x):
        return (a @ x[..., None])[..., 0]

    result = minimize(
        lambda x: np.sum(x * product(x)),
        power,
        power.random_point(rng=1),
        method,
        gradient=lambda x: 2 * product(x),
        hessian=lambda x, v: 2 * product(v),
    )
    assert result.success
    assert result.fun == pytest.approx(sum(eigh(one, eigvals_only=True)[0] for one in a), rel=1e-9)


def test_points_and_vectors_are_checked():
    power = Power(Rotations(3, Polar()), 4)
    x = power.random_point(rng=0)
    assert power.check_point(x) is None
    assert power.check_tangent(x, power.random_tangent_vector(x, rng=1)) is None
    assert power.check_point(2 * x).startswith("the point is off the manifold: X^T X = I is off by")
    assert power.check_point(x[:3]) == (
        "the point has shape (3, 3, 3), but Power(Rotations(3), 4) needs (4, 3, 3), after any batch dimensions"
    )
    assert power.check_tangent(x, x[:3]).startswith("the vector has shape (3, 3, 3)")
    assert power.check_tangent(x, x).startswith("the vector is not tangent")
    with pytest.raises(ValueError, match=r"other has shape \(3, 3, 3\), but Power"):
        power.log(x, x[:3])
    with pytest.raises(ValueError, match=r"point has shape \(3, 3, 3\), but Power"):
        power.nearest_point(x[:3])


def test_powers_of_powers():
    inner = Power(Sphere(3), 2)
    outer = Power(inner, 4)
    x = outer.random_point(rng=0)
    assert (x.shape, outer.dim) == ((4, 2, 3), 16)
    v = outer.random_tangent_vector(x, rng=1)
    assert float(outer.norm(x, v)) == pytest.approx(1)
    assert outer.check_point(outer.retraction(x, v)) is None
