"""Positive semidefinite matrices of fixed rank, against pymanopt, scipy and closed forms of the matrices Y Y^T."""

import numpy as np
import pymanopt.manifolds
import pytest
import scipy.linalg

from manifolds import PSDFixedRank, check_gradient, check_hessian, check_manifold
from rankopt import minimize
from tests.arrays import KINDS, assert_close, kind_of, orthogonal, spd, with_condition

N, K = 6, 3
MANIFOLD = PSDFixedRank(N, K)
RNG = np.random.default_rng(0)
Y, Z, A, E, H = RNG.standard_normal((5, N, K))
V = MANIFOLD.projection(Y, A)
Q = orthogonal(K, RNG)


def test_geometry_equals_pymanopt():
    theirs = pymanopt.manifolds.PSDFixedRank(N, K)
    assert MANIFOLD.dim == theirs.dim
    assert_close(MANIFOLD.projection(Y, A), theirs.projection(Y, A), 1e-13)
    assert float(MANIFOLD.inner_product(Y, V, E)) == pytest.approx(theirs.inner_product(Y, V, E), rel=1e-13)
    assert_close(MANIFOLD.exp(Y, V), theirs.exp(Y, V), 1e-15)
    assert_close(MANIFOLD.log(Y, Z), theirs.log(Y, Z), 1e-13)
    assert float(MANIFOLD.dist(Y, Z)) == pytest.approx(theirs.dist(Y, Z), rel=1e-13)
    hessian = theirs.euclidean_to_riemannian_hessian(Y, E, H, V)
    assert_close(MANIFOLD.euclidean_to_riemannian_hessian(Y, E, H, V), hessian, 1e-13)
    assert_close(MANIFOLD.transport(Y, Z, V), theirs.transport(Y, Z, V), 1e-13)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("scale", [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1e-30, 1e-30], [1e-30] * 3])
def test_projection_where_rank_is_lost(scale, kind):
    """By scipy's least squares over {Y A : A + A^T = 0}, which are fewer there, with columns of size one."""
    y = orthogonal(N, RNG)[:, :K] * scale
    i, j = np.triu_indices(K, 1)
    vertical = np.zeros((len(i), N, K))
    vertical[np.arange(len(i)), :, j], vertical[np.arange(len(i)), :, i] = y[:, i].T, -y[:, j].T
    basis = vertical.reshape(len(i), -1).T
    sizes = np.linalg.norm(basis, axis=0)
    basis = basis / np.where(sizes > 0, sizes, 1)
    expected = A - (basis @ scipy.linalg.lstsq(basis, A.ravel())[0]).reshape(N, K)
    assert_close(MANIFOLD.projection(kind(y), kind(A)), expected, 1e-12 if kind.dtype == "float64" else 1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_projection_takes_away_what_does_not_move_the_matrix(kind):
    """Least squares over {Y A : A + A^T = 0}, whose elements leave Y Y^T where it is to first order."""
    i, j = np.triu_indices(K, 1)
    skew = np.zeros((len(i), K, K))
    skew[np.arange(len(i)), i, j], skew[np.arange(len(i)), j, i] = 1, -1
    vertical = np.stack([(Y @ a).ravel() for a in skew], axis=1)
    assert np.abs([a @ Y.T + Y @ a.T for a in (Y @ skew)]).max() < 1e-14
    expected = A.ravel() - vertical @ np.linalg.lstsq(vertical, A.ravel())[0]
    projected = MANIFOLD.projection(kind(Y), kind(A))
    assert kind_of(projected) == kind
    assert_close(projected, expected.reshape(N, K), 50 * kind.eps)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_distance_is_that_of_bures_and_wasserstein(kind):
    """tr X + tr W - 2 tr (X^{1/2} W X^{1/2})^{1/2} between the matrices themselves."""
    root = scipy.linalg.sqrtm(Y @ Y.T + 1e-14 * np.eye(N))
    middle = np.linalg.eigvalsh(root @ Z @ Z.T @ root)[-K:]
    squared = np.sum(Y**2) + np.sum(Z**2) - 2 * np.sqrt(middle).sum()
    assert float(MANIFOLD.dist(kind(Y), kind(Z))) == pytest.approx(squared**0.5, rel=max(1e-6, 50 * kind.eps))


def test_the_factor_does_not_matter():
    """Distances, gradients and Hessians of functions of Y Y^T are the same in every factor."""
    b = spd(N, 10.0, 1)

    def gradient(y):
        return 4 * (y @ y.T - b) @ y

    def hessian(y, v):
        return 4 * ((y @ v.T + v @ y.T) @ y + (y @ y.T - b) @ v)

    assert float(MANIFOLD.dist(Y, Y @ Q)) < 1e-14
    assert float(MANIFOLD.dist(Y @ Q, Z)) == pytest.approx(float(MANIFOLD.dist(Y, Z)), rel=1e-14)
    assert_close(MANIFOLD.projection(Y @ Q, A @ Q), V @ Q, 1e-13)
    assert_close(MANIFOLD.euclidean_to_riemannian_gradient(Y, gradient(Y)), gradient(Y), 1e-13)
    product = MANIFOLD.euclidean_to_riemannian_hessian(Y, gradient(Y), hessian(Y, V), V)
    turned = MANIFOLD.euclidean_to_riemannian_hessian(Y @ Q, gradient(Y @ Q), hessian(Y @ Q, V @ Q), V @ Q)
    assert_close(turned, product @ Q, 1e-13)


def test_derivatives_of_a_function_of_the_matrix():
    weights = spd(N, 5.0, 2)

    def cost(y):
        return np.sum(weights * (y @ y.T) ** 2)

    def gradient(y):
        return 4 * (weights * (y @ y.T)) @ y

    def hessian(y, v):
        return 4 * (weights * (y @ v.T + v @ y.T)) @ y + 4 * (weights * (y @ y.T)) @ v

    check_gradient(cost, MANIFOLD, gradient, rng=0).raise_if_failed()
    verdict = check_hessian(cost, MANIFOLD, gradient, hessian, rng=0).raise_if_failed()
    assert 2.85 < verdict.slope < 3.2


def test_geodesic_is_the_shortest_way_up_to_the_smallest_singular_value():
    """Massart and Absil: the injectivity radius at Y Y^T is the smallest singular value of Y."""
    radius = scipy.linalg.svdvals(Y)[-1]
    v = V / np.linalg.norm(V)
    assert float(MANIFOLD.dist(Y, MANIFOLD.exp(Y, 0.99 * radius * v))) == pytest.approx(0.99 * radius, rel=1e-12)
    assert_close(MANIFOLD.log(Y, MANIFOLD.exp(Y, 0.99 * radius * v)), 0.99 * radius * v, 1e-12)
    # Straight down along the direction of the smallest singular value, the line meets the matrices of lower rank.
    u, s, wt = np.linalg.svd(Y, full_matrices=False)
    down = -np.outer(u[:, -1], wt[-1])
    assert MANIFOLD.check_tangent(Y, down) is None
    assert "rank is below 3" in MANIFOLD.check_point(MANIFOLD.exp(Y, s[-1] * down))
    assert float(MANIFOLD.dist(Y, MANIFOLD.exp(Y, 1.5 * s[-1] * down))) < 0.51 * s[-1]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_projection_keeps_its_digits_where_the_factor_is_ill_conditioned(kind):
    """At condition 1e6 the equation for A, in which the condition is squared, would leave no digit in float32."""
    y = with_condition(N, K, 1e6, seed=0)
    u, s, wt = np.linalg.svd(y, full_matrices=False)
    expected = A.copy()
    for i, j in zip(*np.triu_indices(K, 1), strict=True):  # an orthogonal basis of the vertical space
        vertical = s[i] * np.outer(u[:, i], wt[j]) - s[j] * np.outer(u[:, j], wt[i])
        expected -= np.sum(vertical * A) / np.sum(vertical**2) * vertical
    assert_close(MANIFOLD.projection(kind(y), kind(A)), expected, 2e3 * kind.eps)


@pytest.mark.parametrize("rank", [1, 2, N])
def test_random_points_have_the_rank(rank):
    manifold = PSDFixedRank(N, rank)
    eigenvalues = np.linalg.eigvalsh((y := manifold.random_point(0)) @ y.T)
    assert eigenvalues[-rank:].min() > 1 - 1e-12
    assert np.abs(eigenvalues[: N - rank]).max(initial=0) < 1e-14
    check_manifold(manifold, rng=0).raise_if_failed()


def test_rank_one_is_all_vectors_up_to_sign():
    line = PSDFixedRank(N, 1)
    y, z = Y[:, :1], Z[:, :1]
    assert line.dim == N
    assert_close(line.projection(y, z), z, 1e-15)
    assert float(line.dist(y, z)) == pytest.approx(min(np.linalg.norm(y - z), np.linalg.norm(y + z)))


@pytest.mark.parametrize("method", ["trust-region", "lbfgs", "conjugate-gradient", "gradient-descent"])
def test_the_nearest_matrix_of_low_rank_is_a_truncated_eigendecomposition(method):
    symmetric = spd(N, 20.0, 3) - 0.2 * np.eye(N)
    values, vectors = np.linalg.eigh(symmetric)
    nearest = (vectors[:, -2:] * values[-2:]) @ vectors[:, -2:].T
    result = minimize(
        lambda y: np.sum((y @ y.T - symmetric) ** 2),
        PSDFixedRank(N, 2),
        method=method,
        gradient=lambda y: 4 * (y @ y.T - symmetric) @ y,
        hessian=lambda y, v: 4 * ((y @ v.T + v @ y.T) @ y + (y @ y.T - symmetric) @ v),
        rng=0,
    )
    assert result.success
    assert_close(result.x @ result.x.T, nearest, 1e-5)


def test_a_factor_of_lower_rank_is_described():
    deficient = Y.copy()
    deficient[:, 2] = deficient[:, 0] - deficient[:, 1]
    reason = MANIFOLD.check_point(deficient)
    assert reason.startswith("the point is off the manifold: its rank is below 3, with singular values from ")
    assert reason.endswith("; use a smaller k")
    assert MANIFOLD.check_tangent(Y, Y @ (Q - Q.T)).startswith("the vector is not tangent: Y^T V = V^T Y is off by")
