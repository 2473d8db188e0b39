"""Both metrics of the Stiefel manifold against dense formulas, pymanopt and geoopt: metric, geodesics, logarithm."""

import geoopt
import numpy as np
import pymanopt.manifolds
import pytest
import scipy.linalg
import torch

from manifolds import Cayley, Grassmann, Rotations, Sphere, Stiefel, SymmetricPositiveDefinite
from tests.arrays import DOUBLE, KINDS, assert_close, to_float64

METRICS = pytest.mark.parametrize("metric", ["euclidean", "canonical"])
SHAPES = [(6, 3), (9, 2), (4, 3), (5, 4), (3, 3), (5, 1), (40, 8)]
shapes = pytest.mark.parametrize(("n", "p"), SHAPES, ids=str)


def setting(n, p, metric, length=1.0, seed=0, kind=DOUBLE, batch=()):
    """Manifold, point and tangent vector of a given norm."""
    manifold = Stiefel(n, p, metric=metric)
    x = manifold.random_point(seed, kind.like, batch=batch)
    return manifold, x, length * manifold.random_tangent_vector(x, seed + 1)


def dense_exponential(x, v, metric):
    """Edelman, Arias and Smith's geodesics with matrices n x n: exp(c X A X^T + K X^T - X K^T) X exp((1 - c) A)."""
    c = {"canonical": 1, "euclidean": 2}[metric]
    a = x.T @ v
    k = v - x @ a
    return scipy.linalg.expm(c * x @ a @ x.T + k @ x.T - x @ k.T) @ x @ scipy.linalg.expm((1 - c) * a)


@METRICS
@shapes
@pytest.mark.parametrize("length", [1e-9, 0.7, 3.0, 20.0])
def test_exponential_equals_the_dense_one(n, p, metric, length):
    manifold, x, v = setting(n, p, metric, length)
    assert_close(manifold.exp(x, v), dense_exponential(x, v, metric), 1e-12)


@shapes
def test_euclidean_geometry_equals_pymanopt(n, p):
    ours, x, v = setting(n, p, "euclidean")
    theirs, rng = pymanopt.manifolds.Stiefel(n, p), np.random.default_rng(3)
    a, h = rng.standard_normal((2, n, p))
    assert_close(ours.exp(x, v), theirs.exp(x, v), 1e-13)
    assert_close(ours.projection(x, a), theirs.projection(x, a), 1e-14)
    hessian = theirs.euclidean_to_riemannian_hessian(x, a, h, v)
    assert_close(ours.euclidean_to_riemannian_hessian(x, a, h, v), hessian, 1e-13)


@shapes
def test_canonical_geometry_equals_geoopt(n, p):
    ours, x, v = setting(n, p, "canonical")
    theirs, rng = geoopt.CanonicalStiefel(), np.random.default_rng(3)
    a = rng.standard_normal((n, p))
    u = ours.projection(x, rng.standard_normal((n, p)))
    xt, at, ut, vt = map(torch.tensor, (x, a, u, v))
    assert float(ours.inner_product(x, u, v)) == pytest.approx(float(theirs.inner(xt, ut, vt)), rel=1e-12, abs=1e-14)
    assert_close(ours.euclidean_to_riemannian_gradient(x, a), theirs.egrad2rgrad(xt, at), 1e-13)


def test_geoopt_retracts_by_the_same_cayley_transform_of_half_the_generator():
    """geoopt's generator V X^T - X V^T counts the part of V in the span of X twice; without it both are equal."""
    _, x, v = setting(7, 3, "canonical")
    v = v - x @ (x.T @ v)
    ours = Stiefel(7, 3, "canonical", Cayley()).retraction(x, v)
    assert_close(ours, geoopt.CanonicalStiefel().retr(torch.tensor(x), torch.tensor(v)), 1e-13)


def test_canonical_metric_counts_every_coordinate_once():
    """V = X A + Q B has the squared norm |A|^2 / 2 + |B|^2."""
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    a, b = rng.standard_normal((2, 2)), rng.standard_normal((4, 2))
    a = a - a.T
    manifold, x = Stiefel(6, 2, metric="canonical"), q[:, :2]
    squared = float(manifold.norm(x, x @ a + q[:, 2:] @ b)) ** 2
    assert squared == pytest.approx(np.sum(a**2) / 2 + np.sum(b**2), rel=1e-13)


@METRICS
@shapes
@pytest.mark.parametrize("length", [1e-6, 0.5, 1.5, 2.5])
def test_logarithm_inverts_the_dense_exponential(n, p, metric, length):
    manifold, x, v = setting(n, p, metric, length)
    y = dense_exponential(x, v, metric)
    log = manifold.log(x, y)
    assert_close(log, v, 1e-12, scale=1)
    assert float(manifold.dist(x, y)) == pytest.approx(length, rel=1e-9)
    assert manifold.check_tangent(x, log) is None


@METRICS
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_logarithm_of_a_batch_with_near_and_far_points(metric, kind):
    """Entries converge after different numbers of iterations."""
    manifold, x, v = setting(7, 3, metric, kind=kind, batch=(4,))
    lengths = np.array([1e-3, 0.3, 1.2, 2.2])
    v = kind(lengths)[:, None, None] * v
    y = manifold.exp(x, v)
    assert_close(manifold.log(x, y), v, 2000 * kind.eps)
    assert_close(manifold.dist(x, y), lengths, 2000 * kind.eps)


@METRICS
def test_logarithm_where_the_span_is_shared(metric):
    """Y = X R and Y with all but one column of X: the part of Y outside the span of X has no full rank."""
    manifold, x, _ = setting(8, 3, metric)
    turn = scipy.linalg.expm(np.array([[0.0, -0.5, 0.1], [0.5, 0.0, -0.3], [-0.1, 0.3, 0.0]]))
    for y in (x @ turn, x.copy(), np.linalg.qr(x @ turn + np.outer(np.eye(8)[0], [0.0, 0.0, 1.0]))[0]):
        y = y * np.sign(np.sum(y * x, axis=0))
        assert_close(manifold.exp(x, manifold.log(x, y)), y, 1e-12)


def test_distances_where_manifolds_coincide():
    """A one-column frame is a point of the sphere; a square one differs from another by a rotation."""
    x, y = (np.linalg.qr(np.random.default_rng(seed).standard_normal((5, 1)))[0] for seed in (0, 1))
    angle = float(Sphere(5).dist(x[:, 0], y[:, 0]))
    rotations = Rotations(3)
    a = rotations.random_point(0)
    b = rotations.exp(a, 1.5 * rotations.random_tangent_vector(a, 1))
    turned = np.linalg.norm(scipy.linalg.logm(a.T @ b))
    for metric, factor in (("euclidean", 1.0), ("canonical", 0.5**0.5)):
        assert float(Stiefel(5, 1, metric=metric).dist(x, y)) == pytest.approx(angle, rel=1e-12)
        assert float(Stiefel(3, 3, metric=metric).dist(a, b)) == pytest.approx(factor * turned, rel=1e-12)


@METRICS
def test_distance_is_invariant_and_at_least_that_of_the_spans(metric):
    """Rotating both frames changes nothing; horizontal geodesics are those of the Grassmann manifold."""
    manifold, x, v = setting(7, 2, metric, 1.0)
    y = manifold.exp(x, v)
    q = np.linalg.qr(np.random.default_rng(5).standard_normal((7, 7)))[0]
    assert float(manifold.dist(q @ x, q @ y)) == pytest.approx(1.0, rel=1e-12)
    assert float(Grassmann(7, 2).dist(x, y)) < 1.0
    horizontal = Grassmann(7, 2).projection(x, v)
    assert_close(manifold.exp(x, horizontal), Grassmann(7, 2).exp(x, horizontal), 1e-13)


@METRICS
def test_triangle_inequality_and_symmetry(metric):
    manifold, x, _ = setting(6, 2, metric)
    points = [manifold.exp(x, 0.6 * manifold.random_tangent_vector(x, seed)) for seed in range(4)]
    d = np.array([[float(manifold.dist(a, b)) for b in points] for a in points])
    assert_close(d, d.T, 1e-12)
    for i, j, k in np.ndindex(4, 4, 4):
        assert d[i, k] <= d[i, j] + d[j, k] + 1e-12


@pytest.mark.parametrize(
    "manifold",
    [Stiefel(6, 2), Stiefel(6, 2, metric="canonical"), Rotations(3), SymmetricPositiveDefinite(3)],
    ids=repr,
)
def test_gradient_of_the_squared_distance_is_the_logarithm(manifold):
    """grad_x dist(x, y)^2 / 2 = -Log_x(y), on which means of Karcher rest: by differences along a retraction."""
    x = manifold.random_point(0)
    y = manifold.exp(x, 0.8 * manifold.random_tangent_vector(x, 1))
    v, h = manifold.random_tangent_vector(x, 2), 1e-5
    ahead, back = (float(manifold.dist(manifold.retraction(x, t * v), y)) ** 2 / 2 for t in (h, -h))
    slope = (ahead - back) / (2 * h)
    assert slope == pytest.approx(-float(manifold.inner_product(x, manifold.log(x, y), v)), abs=1e-8)


@METRICS
def test_geodesics_are_shortest_among_near_curves(metric):
    """A detour by 0.1 at right angles lengthens a path of length 1 by about 0.02."""
    manifold, x, v = setting(6, 3, metric, 1.0)
    geodesic = manifold.at(x).geodesic(v)
    middle, velocity, y = geodesic.point(0.5), geodesic.velocity(0.5), geodesic.point(1.0)
    for seed in range(5):
        w = manifold.random_tangent_vector(middle, seed)
        w = w - manifold.inner_product(middle, w, velocity) * velocity
        off = manifold.exp(middle, 0.1 * w / manifold.norm(middle, w))
        assert 1.005 < float(manifold.dist(x, off) + manifold.dist(off, y)) < 1.05


@METRICS
def test_too_far_points_are_refused(metric):
    """Opposite frames."""
    manifold, x, _ = setting(6, 2, metric)
    with pytest.raises(ValueError, match=r"logarithm in the (Euclidean|canonical) metric did not converge"):
        manifold.log(x, -x)


@METRICS
def test_components_of_the_orthogonal_group_are_not_joined(metric, kind):
    manifold, x, _ = setting(3, 3, metric, kind=kind)
    mirrored = kind(to_float64(x) * np.array([1.0, 1.0, -1.0]))
    with pytest.raises(ValueError, match="other component of the manifold"):
        manifold.log(x, mirrored)


def test_nothing_of_order_n_squared_is_formed():
    """n = 200,000: a square matrix would take 320 GB."""
    for metric in ("euclidean", "canonical"):
        manifold, x, v = setting(200_000, 2, metric, 0.5)
        y = manifold.exp(x, v)
        assert_close(manifold.log(x, y), v, 1e-11)
        manifold.second_order_retraction(x, v)
