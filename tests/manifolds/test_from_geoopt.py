"""Manifolds of geoopt keep the promises of the protocol once they are wrapped."""

import pickle

import geoopt
import numpy as np
import pytest
import torch

from manifolds import (
    Product,
    Sphere,
    Stiefel,
    SymmetricPositiveDefinite,
    check_gradient,
    check_manifold,
    check_retraction,
    from_geoopt,
    to_geoopt,
)
from tests.arrays import flat
from tests.manifolds.library_manifolds import GEOOPT, STRAIGHT, near

DOUBLE = torch.empty(0, dtype=torch.float64)


def built(name):
    build, shape, _ = GEOOPT[name]
    return from_geoopt(build(), *shape)


@pytest.mark.parametrize("name", [name for name in GEOOPT if name not in (*STRAIGHT, "birkhoff")])
def test_the_protocol(name):
    for seed in range(2):
        check_manifold(built(name), rng=seed).raise_if_failed()


@pytest.mark.parametrize("name", STRAIGHT)
def test_the_protocol_up_to_ten_digits_of_velocities(name):
    """Differences of points on a straight line have nothing but rounding, which the check takes for an error."""
    ours = built(name)
    verdict = check_manifold(ours, rng=0)
    assert [part.name for part in verdict.parts if not part] == ["velocity"]
    x = ours.random_point(1)
    v = ours.linear_combination(0.1, ours.random_tangent_vector(x, 2), 0.0, x)
    torch.testing.assert_close(ours.at(x).retraction_curve(v).velocity(0.5), v, rtol=1e-9, atol=0)


def test_the_protocol_on_the_birkhoff_polytope():
    """All of it but a retraction of second order, which geoopt does not have."""
    ours = built("birkhoff")
    x = ours.random_point(0)
    a, b = (ours.standard_normal(seed, x) for seed in (1, 2))
    pa, pb = ours.projection(x, a), ours.projection(x, b)
    torch.testing.assert_close(pa.sum(dim=-1), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(ours.projection(x, pa), pa)
    torch.testing.assert_close(ours.inner_product(x, pa, b), ours.inner_product(x, a, pb))
    torch.testing.assert_close(ours.inner_product(x, a, b), (a * b / x).sum())
    gradient = ours.euclidean_to_riemannian_gradient(x, a)
    torch.testing.assert_close(ours.inner_product(x, gradient, pb), (a * pb).sum())
    torch.testing.assert_close(ours.transport(x, x, pa), pa)
    check_retraction(ours, rng=0).raise_if_failed()
    check_gradient(lambda y: (y**3).sum(), ours, rng=0).raise_if_failed()
    for method in (ours.second_order_retraction, ours.exp):
        with pytest.raises(NotImplementedError, match="use retraction"):
            method(x, pa)


@pytest.mark.parametrize("name", GEOOPT)
def test_dimensions(name):
    """By the books, and as the rank of projections."""
    ours, dim = built(name), GEOOPT[name][2]
    assert ours.dim == dim
    x = ours.random_point(0)
    vectors = [flat(ours.at(x).projection(ours.standard_normal(seed, x))) for seed in range(dim + 3)]
    assert np.linalg.matrix_rank(np.stack(vectors), tol=1e-8) == dim


def test_every_real_manifold_of_geoopt_is_here():
    tested = {type(build()) for build, _, _ in GEOOPT.values()}
    complex_ones = {geoopt.UpperHalf, geoopt.BoundedDomain}
    classes = [value for value in vars(geoopt).values() if isinstance(value, type)]
    public = {value for value in classes if issubclass(value, geoopt.Manifold)}
    assert public - complex_ones - {geoopt.Manifold, geoopt.Stiefel} == tested


@pytest.mark.parametrize(
    ("library", "native"),
    [
        (geoopt.Sphere(), Sphere(4)),
        (geoopt.EuclideanStiefel(), Stiefel(5, 2)),
        (geoopt.CanonicalStiefel(), Stiefel(5, 2, "canonical")),
        (geoopt.SymmetricPositiveDefinite(), SymmetricPositiveDefinite(3)),
    ],
    ids=str,
)
def test_equal_to_our_own(library, native):
    theirs = from_geoopt(library, *native.shape)
    x = native.random_point(0, DOUBLE)
    a, b = (native.standard_normal(seed, x) for seed in (1, 2))
    v = native.projection(x, a)
    for ours, other in [
        (native.projection(x, a), theirs.projection(x, a)),
        (native.inner_product(x, v, native.projection(x, b)), theirs.inner_product(x, v, native.projection(x, b))),
        (native.euclidean_to_riemannian_gradient(x, a), theirs.euclidean_to_riemannian_gradient(x, a)),
        (native.exp(x, 0.1 * v), theirs.exp(x, 0.1 * v)),
    ]:
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-12)


def test_what_geoopt_gets_wrong_alone():
    """The reasons for what the adapter puts right; a test that fails here says that geoopt has done so itself."""
    x = geoopt.EuclideanStiefel().random(5, 2, dtype=torch.float64).as_subclass(torch.Tensor)
    u = geoopt.EuclideanStiefel().proju(x, torch.ones(5, 2, dtype=torch.float64))
    canonical = geoopt.CanonicalStiefel()
    assert not torch.allclose(canonical.proju(x, u), u)
    moved = (canonical.retr(x, 1e-6 * u) - canonical.retr(x, -1e-6 * u)) / 2e-6
    assert not torch.allclose(moved, u, atol=1e-3)
    gradient = torch.ones(3)
    geoopt.Lorentz().egrad2rgrad(geoopt.Lorentz().projx(torch.ones(3)), gradient)
    assert gradient[0] == -1
    balls = torch.zeros(2, 3)
    assert geoopt.PoincareBall().inner(balls, balls, balls).shape == (2, 2)


def test_scaled_manifolds_have_longer_distances():
    ours, base = from_geoopt(geoopt.Scaled(geoopt.Sphere(), 3.0), 4), from_geoopt(geoopt.Sphere(), 4)
    nested = from_geoopt(geoopt.Scaled(geoopt.Scaled(geoopt.Sphere(), 3.0), 2.0), 4)
    x, y = base.random_point(0), base.random_point(1)
    assert float(ours.dist(x, y) / base.dist(x, y)) == pytest.approx(3)
    assert float(nested.dist(x, y) / base.dist(x, y)) == pytest.approx(6)
    torch.testing.assert_close(ours.norm(x, ours.log(x, y)), ours.dist(x, y))
    torch.testing.assert_close(ours.exp(x, ours.log(x, y)), y)


def test_tables_are_products_over_their_rows():
    table, row = from_geoopt(geoopt.PoincareBall(), 3, 4), from_geoopt(geoopt.PoincareBall(), 4)
    x, y = table.random_point(0), table.random_point(1)
    a, b = table.standard_normal(2, x), table.standard_normal(3, x)
    torch.testing.assert_close(table.inner_product(x, a, b), row.inner_product(x, a, b).sum())
    torch.testing.assert_close(table.dist(x, y), (row.dist(x, y) ** 2).sum() ** 0.5)


@pytest.mark.parametrize("name", ["sphere", "poincare-balls", "lorentz-table", "positive-definite", "stiefel-exact"])
def test_batches_are_their_entries(name):
    ours = built(name)
    x = ours.random_point(0, batch=(2, 3))
    u, t = ours.random_tangent_vector(x, 1), torch.linspace(0.1, 0.6, 6, dtype=torch.float64).reshape(2, 3)
    curve = ours.at(x).retraction_curve(u)
    assert ours.inner_product(x, u, u).shape == (2, 3)
    for i in np.ndindex(2, 3):
        single = ours.at(x[i]).retraction_curve(u[i])
        torch.testing.assert_close(curve.point(t)[i], single.point(float(t[i])))
        torch.testing.assert_close(curve.velocity(t)[i], single.velocity(float(t[i])), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(ours.norm(x, u)[i], ours.norm(x[i], u[i]))


@pytest.mark.parametrize("name", GEOOPT)
def test_single_precision_goes_through(name):
    build, shape, _ = GEOOPT[name]
    ours = from_geoopt(build(), *shape)
    x = ours.random_point(0, torch.empty(0))
    y = near(ours, x)
    v = ours.random_tangent_vector(x, 2)
    for array in (y, v, ours.projection(x, v), ours.transport(x, y, v), ours.at(x).retraction_curve(v).velocity(0.1)):
        for leaf in array if isinstance(array, tuple) else (array,):
            assert leaf.dtype == torch.float32
    assert ours.check_point(y) is None


@pytest.mark.parametrize("name", GEOOPT)
def test_seeds_decide_and_the_global_generator_is_left_alone(name):
    ours, before = built(name), torch.random.get_rng_state()
    first, again, other = ours.random_point(3), ours.random_point(3), ours.random_point(4)
    np.testing.assert_array_equal(flat(first), flat(again))
    assert not np.array_equal(flat(first), flat(other))
    drawn = ours.random_point(torch.Generator().manual_seed(0))
    assert ours.check_point(drawn) is None
    assert torch.equal(torch.random.get_rng_state(), before)


def test_points_off_the_manifold_are_refused_with_a_reason():
    for name, reason in [("sphere", "norm(x) != 1"), ("stiefel", "X^T X != I"), ("lorentz", "minkowski")]:
        ours = built(name)
        x = ours.random_point(0)
        assert ours.check_point(x) is None
        assert reason in ours.check_point(1.01 * x)
        assert ours.check_point(ours.nearest_point(1.01 * x)) is None
        assert "not tangent" in ours.check_tangent(x, x)
    assert "NaN" in built("sphere").check_point(torch.full((4,), torch.nan))
    assert "torch tensor" in built("sphere").check_point(np.array([1.0, 0, 0, 0]))


def test_the_library_s_manifold_is_left_as_it_is():
    ball = geoopt.PoincareBall(learnable=True)
    ours = from_geoopt(ball, 3)
    assert ball.isp_c.dtype == torch.float32
    assert ball.isp_c.requires_grad
    assert not ours.dist(ours.random_point(0), ours.random_point(1)).requires_grad


def test_costs_of_distances_are_differentiated():
    ours = from_geoopt(geoopt.PoincareBallExact(), 3)
    x, y = ours.random_point(0).requires_grad_(), ours.random_point(1)
    (gradient,) = torch.autograd.grad(ours.dist(x, y) ** 2 / 2, x)
    torch.testing.assert_close(ours.euclidean_to_riemannian_gradient(x, gradient), -ours.log(x, y))


def test_a_product_becomes_a_product():
    ours = from_geoopt(geoopt.ProductManifold((geoopt.Sphere(), 3), (geoopt.EuclideanStiefel(), (4, 2))))
    assert isinstance(ours, Product)
    assert ours.random_point(0).factor_1.shape == (4, 2)


def test_what_comes_back_is_the_original():
    sphere = Sphere(3)
    assert from_geoopt(to_geoopt(sphere)) is sphere
    assert from_geoopt(to_geoopt(sphere), 3) is sphere
    scaled = from_geoopt(geoopt.Scaled(to_geoopt(sphere), 2.0))
    assert scaled.dim == 2
    x = scaled.random_point(0)
    assert float(scaled.norm(x, scaled.projection(x, torch.ones_like(x)))) == pytest.approx(
        2 * float(sphere.norm(x, sphere.projection(x, torch.ones_like(x))))
    )


def test_copies_work_alike():
    ours = from_geoopt(geoopt.PoincareBall(), 3)
    copy = pickle.loads(pickle.dumps(ours))
    assert torch.equal(copy.random_point(0), ours.random_point(0))


class Bowl(geoopt.Euclidean):
    """A user's manifold: a class that is not geoopt's."""


class Unknown(geoopt.manifolds.base.Manifold):
    name, ndim, reversible = "Unknown", 1, False
    retr = expmap = lambda self, x, u: x + u
    inner = lambda self, x, u, v=None, *, keepdim=False: (u * (u if v is None else v)).sum(-1, keepdim=keepdim)  # noqa: E731
    proju = egrad2rgrad = lambda self, x, u: u
    projx = lambda self, x: x  # noqa: E731
    _check_point_on_manifold = _check_vector_on_tangent = lambda self, *args, **kwargs: (True, None)


def test_a_manifold_of_the_users_own():
    assert from_geoopt(Bowl(1), 3).dim == 3
    ours = from_geoopt(Unknown(), 3, dim=3)
    assert ours.dim == 3
    assert "from_geoopt(Unknown, 3)" in str(ours)
    x = torch.ones(3, dtype=torch.float64)
    for method in (ours.log, ours.dist):
        with pytest.raises(NotImplementedError, match="no closed-form"):
            method(x, x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: from_geoopt(Sphere(3), 3), TypeError, "manifold must be a manifold of geoopt, got Sphere"),
        (lambda: from_geoopt(None), TypeError, "manifold must be a manifold of geoopt, got NoneType"),
        (lambda: from_geoopt(geoopt.Sphere()), ValueError, r"shape must be given: from_geoopt\(manifold, \*shape\)"),
        (lambda: from_geoopt(geoopt.EuclideanStiefel(), 3), ValueError, r"shape \(3,\) is not that of a point: "),
        (lambda: from_geoopt(geoopt.EuclideanStiefel(), 2, 3), ValueError, r"shape\[-1\] <= shape\[-2\]"),
        (
            lambda: from_geoopt(geoopt.ProductManifold((geoopt.Sphere(), 3)), 3),
            ValueError,
            "shape must be left out for a product, which knows those of its factors",
        ),
        (lambda: from_geoopt(geoopt.Sphere(), 2.5), TypeError, r"shape must be positive integers, got \(2.5,\)"),
        (lambda: from_geoopt(geoopt.Sphere(), (3, 2)), TypeError, "shape must be positive integers"),
        (
            lambda: from_geoopt(geoopt.UpperHalf(), 2, 2),
            TypeError,
            "points of UpperHalf are complex; only manifolds of real tensors can be wrapped",
        ),
        (lambda: from_geoopt(geoopt.BoundedDomain(), 2, 2), TypeError, "points of BoundedDomain are complex"),
        (
            lambda: from_geoopt(geoopt.CanonicalStiefel(), 3, 5, 2),
            ValueError,
            r"CanonicalStiefel must have shape \(n, p\) and no scale; use a Product of such for several",
        ),
        (lambda: from_geoopt(Unknown(), 3), ValueError, "dim must be given: the dimension of Unknown is not known"),
        (lambda: from_geoopt(to_geoopt(Sphere(3)), 4), ValueError, r"shape must be \(3,\), that of a point of Sphere"),
        (
            lambda: from_geoopt(geoopt.Sphere(), 3).at(np.ones(3)),
            TypeError,
            "point must be a torch tensor, with which geoopt computes, got ndarray",
        ),
        (
            lambda: from_geoopt(geoopt.Sphere(), 3).random_point(0, np.ones(3)),
            TypeError,
            "like must be a torch tensor, with which geoopt computes, got ndarray",
        ),
        (
            lambda: from_geoopt(geoopt.Sphere(), 3).at(torch.ones(3, dtype=torch.bfloat16)),
            TypeError,
            "point must be float32 or float64, got torch.bfloat16",
        ),
        (
            lambda: from_geoopt(geoopt.Sphere(), 3).random_point(0, torch.ones(3, dtype=torch.bfloat16)),
            TypeError,
            "like must be float32 or float64, got torch.bfloat16",
        ),
        (lambda: from_geoopt(geoopt.Sphere(), 3).at(torch.ones(4)), ValueError, r"point has shape \(4,\)"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_there_are_no_hessians_to_convert():
    ours = from_geoopt(geoopt.Sphere(), 3)
    x = ours.random_point(0)
    with pytest.raises(NotImplementedError, match=r"from_geoopt\(Sphere, 3\) converts no Hessians"):
        ours.euclidean_to_riemannian_hessian(x, x, x, x)


def test_without_geoopt_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "geoopt", None)
    for adapter in (from_geoopt, to_geoopt):
        with pytest.raises(ImportError, match=rf"{adapter.__name__} needs geoopt: pip install 'rankopt\[geoopt\]'"):
            adapter(Sphere(3))


def test_transport_on_the_hyperboloid_over_tiny_distances():
    """As differences of gradients take it; geoopt's own leaves vectors as they are, which are then not tangent."""
    ours = from_geoopt(geoopt.Lorentz(), 4)
    x = ours.random_point(0)
    u, v = ours.random_tangent_vector(x, 1), ours.random_tangent_vector(x, 2)
    for length in (1e-9, 1e-7, 1e-5):
        y = ours.retraction(x, length * u)
        moved = ours.transport(x, y, v)
        torch.testing.assert_close(moved, v, rtol=0, atol=10 * length + 1e-7)
        assert abs(float(ours.inner_product(y, y, moved))) < 1e-14
