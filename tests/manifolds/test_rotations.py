"""Rotations against scipy, pymanopt and the axis-angle formula; determinants, uniformity, nearest rotations."""

import numpy as np
import pymanopt.manifolds
import pytest
import scipy.linalg
from scipy.spatial.transform import Rotation

from manifolds import QR, Cayley, CholeskyQR, Exponential, Polar, RankDeficientError, Rotations, check_manifold
from tests.arrays import DOUBLE, KINDS, assert_close, to_float64

retractions = pytest.mark.parametrize("retraction", [CholeskyQR(), QR(), Polar(), Cayley(), Exponential()], ids=str)


def setting(n, length=1.0, retraction=None):
    manifold = Rotations(n, retraction)
    x = manifold.random_point(0)
    return manifold, x, length * manifold.random_tangent_vector(x, 1)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_geodesics_and_derivatives_equal_pymanopt(n):
    """pymanopt's tangent vectors are the skew-symmetric X^T V."""
    ours, x, v = setting(n)
    theirs = pymanopt.manifolds.SpecialOrthogonalGroup(n)
    a, h = np.random.default_rng(2).standard_normal((2, n, n))
    y = ours.exp(x, v)
    assert_close(y, theirs.exp(x, x.T @ v), 1e-13)
    assert_close(ours.log(x, y), x @ theirs.log(x, y), 1e-12)
    assert float(ours.dist(x, y)) == pytest.approx(theirs.dist(x, y), rel=1e-12)
    assert_close(ours.projection(x, a), x @ theirs.projection(x, a), 1e-13)
    hessian = x @ theirs.euclidean_to_riemannian_hessian(x, a, h, x.T @ v)
    assert_close(ours.euclidean_to_riemannian_hessian(x, a, h, v), hessian, 1e-13)
    assert_close(ours.transport(x, y, v), y @ theirs.transport(x, y, x.T @ v), 1e-13)


@pytest.mark.parametrize("angle", [1e-6, 0.5, 3.0, 3.14159])
def test_distance_in_space_is_the_angle(angle):
    axis = np.array([1.0, 2.0, -2.0]) / 3
    x = Rotation.from_rotvec([0.3, -0.4, 0.5]).as_matrix()
    y = x @ Rotation.from_rotvec(angle * axis).as_matrix()
    assert float(Rotations(3).dist(x, y)) == pytest.approx(2**0.5 * angle, rel=1e-9)
    log = x.T @ Rotations(3).log(x, y)
    assert_close(log[[2, 0, 1], [1, 2, 0]], angle * axis, 1e-9)


@pytest.mark.parametrize("n", [2, 4, 6])
def test_logarithm_equals_scipy(n):
    manifold, x, v = setting(n, 2.0)
    y = manifold.exp(x, v)
    assert_close(manifold.log(x, y), x @ scipy.linalg.logm(x.T @ y).real, 1e-12)


@retractions
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("n", [2, 3, 6])
def test_determinant_is_one_after_steps_of_every_length(retraction, kind, n):
    manifold = Rotations(n, retraction)
    x = manifold.random_point(0, kind.like, batch=(3,))
    v = manifold.random_tangent_vector(x, 1)
    for length in (0.1, 3.0, 30.0):
        y = to_float64(manifold.retraction(x, length * v))
        assert_close(np.linalg.det(y), np.ones(3), 1000 * kind.eps)


def test_random_rotations_are_uniform():
    """Haar measure: E X = 0, E X_ij^2 = 1 / n and E (tr X)^2 = 1, to four standard errors of 20,000 draws."""
    x = Rotations(3).random_point(0, batch=(20_000,))
    assert_close(np.linalg.det(x), np.ones(20_000), 1e-12)
    assert np.abs(x.mean(axis=0)).max() < 4 * (1 / 3 / 20_000) ** 0.5
    assert np.abs((x**2).mean(axis=0) - 1 / 3).max() < 4 * (0.09 / 20_000) ** 0.5
    assert np.mean(np.trace(x, axis1=1, axis2=2) ** 2) == pytest.approx(1, abs=4 * (2 / 20_000) ** 0.5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nearest_rotation_is_scipys(kind):
    """Kabsch's algorithm, also for matrices of negative determinant and of rank two."""
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((20, 3, 3))
    batch[0] = -np.eye(3) + 0.1 * batch[0]
    batch[1][:, 2] = 0.0
    nearest = Rotations(3).nearest_point(kind(batch))
    expected = np.stack([Rotation.align_vectors(a, np.eye(3))[0].as_matrix() for a in batch.swapaxes(1, 2)])
    assert_close(nearest, expected, 1000 * kind.eps)


def test_matrices_without_a_nearest_rotation_are_refused():
    with pytest.raises(RankDeficientError):
        Rotations(3).nearest_point(np.ones((3, 3)))
    with pytest.raises(ValueError, match="point contains NaN"):
        Rotations(2).nearest_point(np.full((2, 2), np.nan))


def test_reflections_are_no_points():
    reason = Rotations(2).check_point(np.diag([1.0, -1.0]))
    assert reason == "the point is off the manifold: det X = 1 is off by 2.0e+00 (tolerance 1.5e-07)"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_half_turns_have_no_logarithm(kind):
    manifold, x = Rotations(3), kind(np.eye(3))
    for y in (np.diag([-1.0, -1.0, 1.0]), np.diag([-1.0, 1.0, 1.0])):
        with pytest.raises(ValueError, match="turned from the point by the angle pi"):
            manifold.log(x, kind(y))


def test_transport_keeps_inner_products():
    manifold, x, v = setting(4)
    u, y = manifold.random_tangent_vector(x, 2), manifold.random_point(3)
    moved = manifold.inner_product(y, manifold.transport(x, y, u), manifold.transport(x, y, v))
    assert float(moved) == pytest.approx(float(manifold.inner_product(x, u, v)), rel=1e-13)


def test_the_rotation_of_the_line_is_one_point():
    manifold = Rotations(1)
    assert manifold.dim == 0
    assert manifold.random_point(0).tolist() == [[1.0]]
    assert manifold.nearest_point(np.array([[-3.0]])).tolist() == [[1.0]]
    assert float(manifold.dist(np.eye(1), np.eye(1))) == 0
    with pytest.raises(ValueError, match=r"Rotations\(1\) has dimension 0"):
        manifold.random_tangent_vector(np.eye(1))


@retractions
def test_protocol(retraction):
    check_manifold(Rotations(4, retraction), rng=0, like=DOUBLE.like).raise_if_failed()
