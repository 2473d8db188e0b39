"""Positive definite matrices against pymanopt, scipy and closed forms of commuting matrices."""

import numpy as np
import pymanopt.manifolds
import pytest
import scipy.linalg

from manifolds import Exponential, SymmetricPositiveDefinite, check_manifold
from tests.arrays import KINDS, assert_close, kind_of, spd

N = 4
MANIFOLD = SymmetricPositiveDefinite(N)
X, Y = 3 * spd(N, 20.0, 0), spd(N, 50.0, 1)
RNG = np.random.default_rng(0)
U, V = (a + a.T for a in RNG.standard_normal((2, N, N)))
E, H = RNG.standard_normal((2, N, N))


def test_geometry_equals_pymanopt():
    theirs = pymanopt.manifolds.SymmetricPositiveDefinite(N)
    assert float(MANIFOLD.inner_product(X, U, V)) == pytest.approx(theirs.inner_product(X, U, V), rel=1e-12)
    assert_close(MANIFOLD.exp(X, 0.3 * V), theirs.exp(X, 0.3 * V), 1e-11)
    assert_close(MANIFOLD.log(X, Y), theirs.log(X, Y), 1e-12)
    assert float(MANIFOLD.dist(X, Y)) == pytest.approx(theirs.dist(X, Y), rel=1e-12)
    assert_close(MANIFOLD.retraction(X, V), theirs.retraction(X, V), 1e-12)
    gradient = theirs.euclidean_to_riemannian_gradient(X, E)
    assert_close(MANIFOLD.euclidean_to_riemannian_gradient(X, E), gradient, 1e-13)
    hessian = theirs.euclidean_to_riemannian_hessian(X, E, H, V)
    assert_close(MANIFOLD.euclidean_to_riemannian_hessian(X, E, H, V), hessian, 1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_exponential_is_the_dense_one(kind):
    """X^{1/2} exp(X^{-1/2} V X^{-1/2}) X^{1/2} and its inverse."""
    root = scipy.linalg.sqrtm(X)
    inverse = np.linalg.inv(root)
    v = 0.3 * V
    expected = root @ scipy.linalg.expm(inverse @ v @ inverse) @ root
    y = MANIFOLD.exp(kind(X), kind(v))
    assert kind_of(y) == kind
    assert_close(y, expected, 2e3 * kind.eps)
    assert_close(MANIFOLD.log(kind(X), kind(expected)), v, 2e3 * kind.eps)


def test_distance_is_that_of_generalized_eigenvalues():
    eigenvalues = scipy.linalg.eigh(Y, X, eigvals_only=True)
    assert float(MANIFOLD.dist(X, Y)) == pytest.approx(np.linalg.norm(np.log(eigenvalues)), rel=1e-12)
    q = np.linalg.qr(E)[0]
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([4.0, 0.5, 1e-3, 7.0])
    commuting = float(MANIFOLD.dist((q * a) @ q.T, (q * b) @ q.T))
    assert commuting == pytest.approx(np.linalg.norm(np.log(a / b)), rel=1e-12)


def test_congruences_and_inversion_are_isometries():
    def turned(a):
        return E @ a @ E.T

    distance = float(MANIFOLD.dist(X, Y))
    assert float(MANIFOLD.dist(turned(X), turned(Y))) == pytest.approx(distance, rel=1e-9)
    assert float(MANIFOLD.dist(np.linalg.inv(X), np.linalg.inv(Y))) == pytest.approx(distance, rel=1e-11)
    assert float(MANIFOLD.norm(turned(X), turned(V))) == pytest.approx(float(MANIFOLD.norm(X, V)), rel=1e-9)


def test_transport_is_parallel_along_the_geodesic():
    """It keeps inner products, carries the velocity to the velocity, and its inverse is the transport back."""
    tu, tv = MANIFOLD.transport(X, Y, U), MANIFOLD.transport(X, Y, V)
    assert float(MANIFOLD.inner_product(Y, tu, tv)) == pytest.approx(float(MANIFOLD.inner_product(X, U, V)), rel=1e-11)
    velocity = MANIFOLD.log(X, Y)
    assert_close(MANIFOLD.transport(X, Y, velocity), MANIFOLD.at(X).geodesic(velocity).velocity(1.0), 1e-11)
    assert_close(MANIFOLD.transport(Y, X, tv), V, 1e-11)


def test_transport_solves_the_equation_of_parallel_fields():
    """D/dt V = V' - (C' C^{-1} V + V C^{-1} C') / 2 = 0 along the geodesic C."""
    velocity, h = MANIFOLD.log(X, Y), 1e-5
    geodesic = MANIFOLD.at(X).geodesic(velocity)
    for t in (0.2, 0.9):
        ahead, back = (MANIFOLD.transport(X, geodesic.point(s), V) for s in (t + h, t - h))
        field, turn = MANIFOLD.transport(X, geodesic.point(t), V), np.linalg.inv(geodesic.point(t))
        connection = geodesic.velocity(t) @ turn @ field
        assert_close((ahead - back) / (2 * h), (connection + connection.T) / 2, 1e-7)


def test_midpoint_is_the_geometric_mean():
    """X # Y = X^{1/2} (X^{-1/2} Y X^{-1/2})^{1/2} X^{1/2}, which solves G X^{-1} G = Y."""
    mean = MANIFOLD.exp(X, 0.5 * MANIFOLD.log(X, Y))
    assert_close(mean @ np.linalg.solve(X, mean), Y, 1e-12)
    assert_close(mean, MANIFOLD.exp(Y, 0.5 * MANIFOLD.log(Y, X)), 1e-12)


def test_default_retraction_is_well_conditioned_for_steps_of_every_length():
    """Eigenvalues relative to X are at least 1/2, whatever the step."""
    for length in (1.0, 30.0, 1e4):
        y = MANIFOLD.retraction(X, -length * V)
        assert scipy.linalg.eigh(y, X, eigvals_only=True)[0] >= 0.499


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nearest_point(kind):
    """The symmetric part where it is positive definite; else eigenvalues are raised to just above rounding."""
    inside = MANIFOLD.nearest_point(kind(X + 0.1 * (E - E.T)))
    assert_close(inside, X, 100 * kind.eps)
    q = np.linalg.qr(E)[0]
    outside = (q * np.array([-1.0, 0.0, 1.0, 2.0])) @ q.T
    nearest = MANIFOLD.nearest_point(kind(outside))
    assert MANIFOLD.check_point(nearest) is None
    assert_close(nearest, (q * np.array([0.0, 0.0, 1.0, 2.0])) @ q.T, 200 * kind.eps)


def test_points_that_are_not_positive_definite_are_named():
    reason = MANIFOLD.check_point(np.diag([1.0, 1.0, 1.0, -0.5]))
    assert reason.endswith("X must be positive definite, but its smallest eigenvalue is -5.0e-01")
    assert "X = X^T is off by" in MANIFOLD.check_point(X + 0.1 * (E - E.T))


def test_positive_numbers_are_the_line_of_their_logarithms():
    line, x, y = SymmetricPositiveDefinite(1), np.array([[2.0]]), np.array([[16.0]])
    assert line.dim == 1
    assert float(line.dist(x, y)) == pytest.approx(np.log(8))
    assert_close(line.exp(x, np.array([[2.0]])), [[2 * np.e]], 1e-14)


@pytest.mark.parametrize("retraction", [None, Exponential()], ids=str)
def test_protocol(retraction):
    check_manifold(SymmetricPositiveDefinite(3, retraction), rng=0).raise_if_failed()
