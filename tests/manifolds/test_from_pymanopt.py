"""Manifolds of pymanopt keep the promises of the protocol once they are wrapped."""

import pickle

import numpy as np
import pymanopt
import pytest
from pymanopt import manifolds as pymanopt_manifolds

from manifolds import Product, Rotations, Sphere, check_manifold, check_retraction, from_pymanopt, to_pymanopt
from tests.arrays import flat
from tests.manifolds.library_manifolds import PYMANOPT


@pytest.mark.parametrize("name", PYMANOPT)
def test_the_protocol(name):
    theirs, dim = PYMANOPT[name]
    ours = from_pymanopt(theirs)
    assert ours.dim == dim
    assert ours.has_hessian
    for seed in range(2):
        check_manifold(ours, rng=seed).raise_if_failed()


def test_every_real_manifold_of_pymanopt_is_here():
    complex_ones = {
        "ComplexCircle",
        "ComplexEuclidean",
        "ComplexGrassmann",
        "HermitianPositiveDefinite",
        "PSDFixedRankComplex",
        "SpecialHermitianPositiveDefinite",
        "UnitaryGroup",
    }
    tested = {type(theirs).__name__ for theirs, _ in PYMANOPT.values()} | {"FixedRankEmbedded"}
    assert tested == set(pymanopt_manifolds.__all__) - complex_ones


def test_formulas_are_those_of_the_library():
    theirs = pymanopt_manifolds.PoincareBall(3)
    ours = from_pymanopt(theirs)
    x, y = ours.random_point(0), ours.random_point(1)
    u, v = np.random.default_rng(2).standard_normal((2, 3))
    assert ours.inner_product(x, u, v) == theirs.inner_product(x, u, v)
    np.testing.assert_array_equal(ours.retraction(x, u), theirs.retraction(x, u))
    np.testing.assert_array_equal(ours.log(x, y), theirs.log(x, y))
    assert ours.dist(x, y) == theirs.dist(x, y)
    np.testing.assert_allclose(ours.exp(x, ours.log(x, y)), y, atol=1e-12)


def test_vectors_of_rotations_are_velocities():
    ours, native = from_pymanopt(pymanopt_manifolds.SpecialOrthogonalGroup(3)), Rotations(3)
    x = ours.random_point(0)
    a, b = np.random.default_rng(1).standard_normal((2, 3, 3))
    v, w = native.projection(x, a), native.projection(x, b)
    np.testing.assert_allclose(ours.projection(x, a), v, atol=1e-14)
    np.testing.assert_allclose(ours.inner_product(x, v, w), native.inner_product(x, v, w), atol=1e-13)
    np.testing.assert_allclose(ours.exp(x, v), native.exp(x, v), atol=1e-13)
    h = ours.euclidean_to_riemannian_hessian(x, a, b, v)
    np.testing.assert_allclose(h, native.euclidean_to_riemannian_hessian(x, a, b, v), atol=1e-13)


def test_the_elliptope_projects_on_its_horizontal_space():
    library = pymanopt_manifolds.Elliptope(5, 3)
    ours = from_pymanopt(library)
    y = ours.random_point(0)
    v = ours.projection(y, np.random.default_rng(1).standard_normal((5, 3)))
    np.testing.assert_allclose(y.T @ v, v.T @ y, atol=1e-13)
    np.testing.assert_allclose(np.sum(y * v, axis=1), 0, atol=1e-13)
    # Vertical vectors Y Omega are what is projected out.
    vertical = y @ np.array([[0.0, 1.0, 2.0], [-1.0, 0.0, 3.0], [-2.0, -3.0, 0.0]])
    np.testing.assert_allclose(ours.projection(y, v + vertical), v, atol=1e-12)
    assert np.linalg.norm(library.projection(y, vertical)) > 0.1  # what the library leaves of it


def test_velocities_of_fixed_rank_are_those_of_the_matrices():
    ours = from_pymanopt(pymanopt_manifolds.FixedRankEmbedded(7, 5, 2))
    x = ours.random_point(0)
    v, geometry = ours.random_tangent_vector(x, 1), ours.at(x)
    curve, h = geometry.retraction_curve(v), 1e-6

    def matrix(t):
        u, s, vt = curve.point(t)
        return (u * s) @ vt

    y, velocity = curve.point(0.2), curve.velocity(0.2)
    ambient = y.u @ velocity.M @ y.vt + velocity.Up @ y.vt + y.u @ velocity.Vp.T
    np.testing.assert_allclose(ambient, (matrix(0.2 + h) - matrix(0.2 - h)) / (2 * h), atol=1e-8)
    assert ours.check_tangent(y, velocity) is None
    assert geometry.norm(v) == pytest.approx(1.0)


def test_the_derivative_on_fixed_rank_is_that_along_the_curve():
    ours = from_pymanopt(pymanopt_manifolds.FixedRankEmbedded(7, 5, 2))
    x, target = ours.random_point(0), np.random.default_rng(1).standard_normal((7, 5))
    v = ours.random_tangent_vector(x, 1)
    u, s, vt = x
    euclidean = type(x)(target @ vt.T * s, np.diag(u.T @ target @ vt.T), (s[:, None] * u.T) @ target)

    def cost(t):
        u, s, vt = ours.at(x).retraction_curve(v).point(t)
        return np.sum(target * ((u * s) @ vt))

    assert ours.at(x).derivative(euclidean, v) == pytest.approx((cost(1e-6) - cost(-1e-6)) / 2e-6, abs=1e-7)


def test_the_point_of_fixed_rank_nearest_to_loose_factors():
    ours = from_pymanopt(pymanopt_manifolds.FixedRankEmbedded(7, 5, 2))
    x = ours.random_point(0)
    rng = np.random.default_rng(1)
    loose = x._make(part + 0.01 * rng.standard_normal(part.shape) for part in x)
    assert "U^T U" in ours.check_point(loose)
    nearest = ours.nearest_point(loose)
    assert ours.check_point(nearest) is None
    np.testing.assert_allclose((nearest.u * nearest.s) @ nearest.vt, (loose.u * loose.s) @ loose.vt, atol=1e-13)


def test_a_product_becomes_a_product():
    ours = from_pymanopt(
        pymanopt_manifolds.Product([pymanopt_manifolds.Sphere(3), pymanopt_manifolds.FixedRankEmbedded(4, 3, 1)])
    )
    assert isinstance(ours, Product)
    assert not ours.has_hessian
    x = ours.random_point(0)
    assert x.factor_1.u.shape == (4, 1)
    e, v = ours.point_type(np.ones(3), x.factor_1), ours.random_tangent_vector(x, 1)
    parts = [factor.at(p).derivative(g, w) for factor, p, g, w in zip(ours.factors.values(), x, e, v, strict=True)]
    assert ours.at(x).derivative(e, v) == pytest.approx(sum(parts))
    assert parts[0] == pytest.approx(v.factor_0.sum())


def test_what_comes_back_is_the_original():
    sphere = Sphere(3)
    assert from_pymanopt(to_pymanopt(sphere)) is sphere


@pytest.mark.parametrize("name", PYMANOPT)
def test_seeds_decide_and_the_global_generator_is_left_alone(name):
    ours = from_pymanopt(PYMANOPT[name][0])
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = ours.random_point(3), ours.random_point(3), ours.random_point(4)
    np.testing.assert_equal(first, again)
    assert not np.array_equal(flat(first), flat(other))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("sphere", lambda x: 1.01 * x, "R_x"),
        ("stiefel", lambda x: 1.01 * x, "R_x"),
        ("rotations", lambda x: 1.01 * x, "R_x"),
        ("elliptope", lambda x: 1.01 * x, "R_x"),
        ("symmetric", lambda x: x + np.triu(np.ones((3, 3)), 1), "R_x"),
        ("sphere-in-subspace", lambda x: x[::-1].copy(), "R_x"),
        ("positive", lambda x: -x, "entries must be positive"),
        ("poincare-ball", lambda x: 1.01 * x / np.linalg.norm(x), "norm must be below 1"),
        ("positive-definite", lambda x: -x, "positive definite"),
        ("sphere", lambda x: x[:3], "shape"),
        ("sphere", lambda x: x * np.nan, "NaN"),
        ("sphere", lambda x: x.astype(np.float32), "float64 numpy array"),
    ],
)
def test_points_off_the_manifold_are_refused_with_a_reason(name, spoil, reason):
    ours = from_pymanopt(PYMANOPT[name][0])
    x = ours.random_point(0)
    assert ours.check_point(x) is None
    assert reason in ours.check_point(spoil(x))


def test_points_close_to_the_manifold_are_projected():
    for name in ("stiefel", "rotations", "elliptope", "symmetric", "sphere-in-subspace", "positive-definite"):
        ours = from_pymanopt(PYMANOPT[name][0])
        noise = 1e-3 * np.random.default_rng(1).standard_normal(ours.shape)
        x = ours.random_point(0) + noise
        nearest = ours.nearest_point(x)
        assert ours.check_point(nearest) is None
        assert np.linalg.norm(nearest - x) < 2 * np.linalg.norm(noise)


def test_copies_work_alike():
    ours = from_pymanopt(pymanopt_manifolds.PoincareBall(3))
    copy = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(copy.random_point(0), ours.random_point(0))


class Spiral(pymanopt_manifolds.manifold.Manifold):
    """A user's manifold with the abstract methods only: the plane in a metric twice as long."""

    def __init__(self):
        super().__init__("Spiral", 2)

    def inner_product(self, point, a, b):
        return 4 * a @ b

    def norm(self, point, a):
        return self.inner_product(point, a, a) ** 0.5

    def projection(self, point, vector):
        return vector

    def euclidean_to_riemannian_gradient(self, point, euclidean_gradient):
        return euclidean_gradient / 4

    def retraction(self, point, tangent_vector):
        return point + tangent_vector + 0.1 * tangent_vector**3

    def random_point(self):
        return np.random.standard_normal(2)  # noqa: NPY002

    def random_tangent_vector(self, point):
        return np.random.standard_normal(2)  # noqa: NPY002

    def zero_vector(self, point):
        return np.zeros(2)


def test_a_manifold_of_the_users_own():
    ours = from_pymanopt(Spiral())
    assert not ours.has_hessian
    assert ours.typical_dist == pytest.approx(2**0.5)
    check_retraction(ours, order=2, rng=0).raise_if_failed()
    check_manifold(ours, rng=0).raise_if_failed()
    x = ours.random_point(0)
    for method in (ours.exp, ours.log, ours.dist):
        with pytest.raises(NotImplementedError, match="closed-form"):
            method(x, x)


class Pair(Spiral):
    def random_point(self):
        return np.zeros(2), np.zeros(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: from_pymanopt(Sphere(3)), TypeError, "manifold must be a manifold of pymanopt, got Sphere"),
        (lambda: from_pymanopt("sphere"), TypeError, "manifold must be a manifold of pymanopt, got str"),
        (
            lambda: from_pymanopt(pymanopt_manifolds.ComplexCircle(3)),
            TypeError,
            "points of ComplexCircle are complex128; only manifolds of real arrays can be wrapped",
        ),
        (
            lambda: from_pymanopt(pymanopt_manifolds.UnitaryGroup(2)),
            TypeError,
            "points of UnitaryGroup are complex128; only manifolds of real arrays",
        ),
        (
            lambda: from_pymanopt(
                pymanopt_manifolds.Product([pymanopt_manifolds.Sphere(2), pymanopt_manifolds.ComplexCircle(2)])
            ),
            TypeError,
            "points of ComplexCircle are complex128",
        ),
        (lambda: from_pymanopt(Pair()), TypeError, "points of Pair are tuple; only manifolds of arrays"),
        (
            lambda: from_pymanopt(pymanopt_manifolds.Sphere(3)).random_point(0, batch=(2,)),
            ValueError,
            r"batch must be empty: pymanopt takes one point at a time, got \(2,\)",
        ),
        (
            lambda: from_pymanopt(pymanopt_manifolds.Sphere(3)).random_point(0, np.empty(0, np.float32)),
            TypeError,
            "like must be a float64 numpy array, with which pymanopt computes",
        ),
        (
            lambda: from_pymanopt(pymanopt_manifolds.Sphere(3)).at(np.ones((2, 3))),
            ValueError,
            r"point must be one point of shape \(3,\), got a batch of shape \(2, 3\)",
        ),
        (
            lambda: from_pymanopt(pymanopt_manifolds.Sphere(3)).at(np.ones(3, np.float32)),
            TypeError,
            "point must be a float64 numpy array, with which pymanopt computes, got float32",
        ),
        (
            lambda: from_pymanopt(pymanopt_manifolds.Positive(2, 2)).nearest_point(-np.ones((2, 2))),
            ValueError,
            r"point is outside: its entries must be positive, but the smallest is -1.0e\+00",
        ),
        (
            lambda: from_pymanopt(pymanopt_manifolds.FixedRankEmbedded(4, 3, 1)).at(np.ones((4, 3))),
            TypeError,
            r"is a tuple \(u, s, vt\) of float64 numpy arrays of shapes \(\(4, 1\), \(1,\), \(1, 3\)\)",
        ),
        (
            lambda: from_pymanopt(pymanopt_manifolds.FixedRankEmbedded(4, 3, 1)).random_point(0, batch=(2,)),
            ValueError,
            "batch must be empty",
        ),
        (
            lambda: from_pymanopt(pymanopt_manifolds.FixedRankEmbedded(4, 3, 1)).random_point(0, np.empty(0, np.int64)),
            TypeError,
            "like must be a float64 numpy array",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bad_factors_of_fixed_rank():
    ours = from_pymanopt(pymanopt_manifolds.FixedRankEmbedded(4, 3, 1))
    x = ours.random_point(0)
    zero = x._replace(s=np.zeros(1))
    assert "s must be positive" in ours.check_point(zero)
    with pytest.raises(ValueError, match="point has rank below 1, so no matrix of that rank is nearest to it"):
        ours.nearest_point(zero)
    assert "NaN" in ours.check_point(x._replace(s=np.array([np.nan])))
    assert "tuple (Up, M, Vp)" in ours.check_tangent(x, x)
    v = ours.random_tangent_vector(x, 0)
    assert ours.check_tangent(x, v) is None
    assert "U^T Up" in ours.check_tangent(x, v._replace(Up=x.u))
    with pytest.raises(NotImplementedError, match="converts no Hessians"):
        ours.euclidean_to_riemannian_hessian(x, x, x, v)


def test_without_pymanopt_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pymanopt", None)
    for adapter in (from_pymanopt, to_pymanopt):
        with pytest.raises(ImportError, match=rf"{adapter.__name__} needs pymanopt: pip install 'rankopt\[pymanopt\]'"):
            adapter(Sphere(3))


def test_the_version_these_tests_were_written_for():
    assert pymanopt.__version__.startswith("2.2")


def test_velocities_stay_true_where_the_metric_blows_up():
    """Geodesics have constant speed, also a millionth from the boundary of the ball."""
    ours = from_pymanopt(pymanopt_manifolds.PoincareBall(3))
    x = np.array([1 - 1e-6, 0.0, 0.0])
    curve = ours.at(x).geodesic(ours.random_tangent_vector(x, 0))
    for t in (0.0, 0.5, 2.0):
        assert ours.norm(curve.point(t), curve.velocity(t)) == pytest.approx(1, abs=1e-4)
