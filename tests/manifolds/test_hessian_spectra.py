"""Spectra of Riemannian Hessians of CCA and generalized eigenproblems, against their closed forms.

Canonical correlation analysis: f(U, V) = -tr(U^T S_xy V N) on {U^T S_xx U = I} x {V^T S_yy V = I}. With whitened cross
covariance S_xx^{-1/2} S_xy S_yy^{-1/2} = sum_i sigma_i a_i b_i^T all critical points pair its singular vectors.
"""

import itertools

import numpy as np
import pytest

from manifolds import GeneralizedStiefel, Product
from tests.arrays import DOUBLE, Kind, orthogonal, spd, to_float64
from tests.manifolds.dense import DenseGeometry

ACCURACY = [
    (Kind(library, dtype), condition, tolerance)
    for dtype, condition, tolerance in (("float64", 1e2, 1e-10), ("float64", 1e8, 1e-7), ("float32", 1e3, 1e-4))
    for library in ("numpy", "torch")
]
SIGMA = np.array([0.9, 0.7, 0.55, 0.3, 0.12])


class CanonicalCorrelations:
    """A CCA problem with known correlations, its product manifold in the metrics (Mx, My), and its derivatives."""

    def __init__(self, kind, condition, weights, dims=(7, 5), metric="exact", seed=0):
        rng = np.random.default_rng(seed)
        self.weights, self.kind, (dx, dy) = np.asarray(weights), kind, dims
        self.Sxx, self.Syy = (to_float64(kind(spd(d, condition, seed + d))) for d in dims)
        self.Rx, self.Ry = (np.linalg.cholesky(S).T for S in (self.Sxx, self.Syy))
        rank = min(dims)
        self.sigma = SIGMA[:rank]
        self.left, self.right = orthogonal(dx, rng), orthogonal(dy, rng)
        self.Sxy = self.Rx.T @ (self.left[:, :rank] * self.sigma) @ self.right[:, :rank].T @ self.Ry
        p = len(self.weights)
        metrics = {
            "identity": (np.eye(dx), np.eye(dy)),
            "exact": (self.Sxx, self.Syy),
            "unrelated": (spd(dx, condition, seed + 50), spd(dy, condition, seed + 60)),
        }[metric]
        self.metrics = [to_float64(kind(M)) for M in metrics]
        self.manifold = Product(
            u=GeneralizedStiefel(kind(self.Sxx), p, kind(self.metrics[0])),
            v=GeneralizedStiefel(kind(self.Syy), p, kind(self.metrics[1])),
        )

    def critical_point(self, pairs):
        """Pairs of singular vectors as columns; the leading ones are the optimum."""
        pairs = list(pairs)
        U, V = np.linalg.solve(self.Rx, self.left[:, pairs]), np.linalg.solve(self.Ry, self.right[:, pairs])
        return self.point(U, V)

    def point(self, U, V):
        return self.manifold.point_type(self.kind(U), self.kind(V))

    def gradient(self, x):
        """-(S_xy V N, S_xy^T U N), which is also the Hessian product, as f is bilinear."""
        U, V = map(to_float64, x)
        return self.point(-self.Sxy @ V * self.weights, -self.Sxy.T @ U * self.weights)

    def hessian(self, x):
        """Matrix <w_i, Hess f[w_j]> in an orthonormal basis of the tangent space."""
        geometry, e = self.manifold.at(x), self.gradient(x)
        dense = [
            DenseGeometry(S, M, to_float64(part))
            for S, M, part in zip((self.Sxx, self.Syy), self.metrics, x, strict=True)
        ]
        zero = [np.zeros(d.shape) for d in dense]
        basis = [self.point(xi, zero[1]) for xi in dense[0].tangent_basis()]
        basis += [self.point(zero[0], xi) for xi in dense[1].tangent_basis()]
        images = [geometry.riemannian_hessian(e, self.gradient(w), w) for w in basis]
        return np.array([[float(geometry.inner_product(w, image)) for image in images] for w in basis])

    def spectrum(self):
        """Eigenvalues of the Hessian at the optimum for M = B, in closed form."""
        mu, sigma, p = self.weights, self.sigma, len(self.weights)
        values = [mu[i] * (sigma[i] + s * sigma[j]) for i in range(p) for j in range(p, len(sigma)) for s in (1, -1)]
        values += [mu[i] * sigma[i] for i in range(p) for _ in range(abs(len(self.Sxx) - len(self.Syy)))]
        for i, j in itertools.combinations(range(p), 2):
            values += [(mu[i] + s * mu[j]) * (sigma[i] + s * sigma[j]) / 2 for s in (1, -1)]
        return np.sort(values)


@pytest.fixture(params=ACCURACY, ids=lambda accuracy: f"{accuracy[0]}-condition-{accuracy[1]:.0e}")
def accuracy(request):
    """Kind of array, condition number, tolerance."""
    return request.param


@pytest.mark.parametrize("dims", [(7, 5), (4, 6), (5, 5)], ids=str)
@pytest.mark.parametrize("weights", [(3.0, 2.0, 1.0), (2.0, 0.5), (1.0,)], ids=str)
def test_spectrum_of_cca_at_the_optimum(accuracy, dims, weights):
    kind, condition, tolerance = accuracy
    problem = CanonicalCorrelations(kind, condition, weights, dims)
    hessian = problem.hessian(problem.critical_point(range(len(weights))))
    expected = problem.spectrum()
    assert len(expected) == problem.manifold.dim
    assert np.abs(hessian - hessian.T).max() < tolerance * expected[-1]
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), expected, rtol=0, atol=tolerance * expected[-1])


def test_identity_weights_leave_zero_modes_of_rotations_only(accuracy):
    """With N = I the modes (mu_i - mu_j) (sigma_i - sigma_j) / 2 vanish: p (p - 1) / 2 rotations, nothing else."""
    kind, condition, tolerance = accuracy
    problem = CanonicalCorrelations(kind, condition, (1.0, 1.0, 1.0))
    eigenvalues = np.linalg.eigvalsh(problem.hessian(problem.critical_point(range(3))))
    assert np.abs(eigenvalues[:3]).max() < tolerance
    assert eigenvalues[3] == pytest.approx(SIGMA[2] - SIGMA[3], abs=tolerance)
    assert eigenvalues[-1] == pytest.approx(SIGMA[0] + SIGMA[1], abs=tolerance)


@pytest.mark.parametrize("metric", ["identity", "exact", "unrelated"])
@pytest.mark.parametrize("pairs", [(0, 1, 2), (2, 0, 4), (3, 1, 0)], ids=str)
def test_multipliers_at_critical_points(accuracy, metric, pairs):
    """At any paired singular vectors the gradient vanishes and S_U = S_V = -N K, K = U^T S_xy V, in every metric."""
    kind, condition, tolerance = accuracy
    problem = CanonicalCorrelations(kind, condition, (3.0, 2.0, 1.0), metric=metric)
    x = problem.critical_point(pairs)
    geometry, e = problem.manifold.at(x), problem.gradient(x)
    expected = -np.diag(problem.weights * SIGMA[list(pairs)])
    for S, M, local, part, covector in zip(
        (problem.Sxx, problem.Syy), problem.metrics, geometry.geometries, x, e, strict=True
    ):
        dense = DenseGeometry(S, M, to_float64(part))
        roots_of_c = np.linalg.svd(dense.to_covector(S @ to_float64(part)).reshape(dense.shape), compute_uv=False)
        scale = dense.dual_norm(to_float64(covector))
        assert np.abs(to_float64(local.multiplier(covector)) - expected).max() < tolerance * scale / roots_of_c[-1]
        assert dense.norm(to_float64(local.riemannian_gradient(covector))) < tolerance * scale


@pytest.mark.parametrize("pairs", list(itertools.permutations(range(4), 2))[1:], ids=str)
def test_other_critical_points_are_saddles(pairs):
    """No spurious local minima: every other pairing has a direction of negative curvature."""
    problem = CanonicalCorrelations(DOUBLE, 1e2, (2.0, 1.0))
    assert np.linalg.eigvalsh(problem.hessian(problem.critical_point(pairs)))[0] < -1e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("metric", ["identity", "unrelated"])
def test_condition_of_the_hessian_is_bounded_by_that_of_the_metric(metric, seed):
    """cond(Hess in M) <= cond(Hess in B) cond(M^{-1} B), with the smallest and largest eigenvalue over both views."""
    weights = (2.0, 1.0)
    problem = CanonicalCorrelations(DOUBLE, 1e2, weights, metric=metric, seed=seed)
    eigenvalues = np.linalg.eigvalsh(problem.hessian(problem.critical_point(range(2))))
    spectrum = problem.spectrum()
    quotients = np.concatenate(
        [
            np.linalg.eigvals(np.linalg.solve(M, S)).real
            for M, S in zip(problem.metrics, (problem.Sxx, problem.Syy), strict=True)
        ]
    )
    bound = spectrum[-1] / spectrum[0] * quotients.max() / quotients.min()
    assert spectrum[-1] / spectrum[0] < eigenvalues[-1] / eigenvalues[0] <= bound * (1 + 1e-10)


class TestGeneralizedEigenproblem:
    """f(W) = -tr(W^T A W N) / 2 on {W^T B W = I}, A w_i = rho_i B w_i, as in linear discriminant analysis."""

    def setup_problem(self, kind, condition, weights, n=7, seed=0):
        rng = np.random.default_rng(seed)
        self.weights, self.kind = np.asarray(weights), kind
        self.rho = np.array([2.0, 1.3, 0.8, 0.1, -0.2, -0.5, -1.5])[:n]
        self.B = to_float64(kind(spd(n, condition, seed)))
        R, q = np.linalg.cholesky(self.B).T, orthogonal(n, rng)
        self.A = R.T @ (q * self.rho) @ q.T @ R
        self.W = np.linalg.solve(R, q[:, : len(weights)])
        self.manifold = GeneralizedStiefel(kind(self.B), len(weights), kind(self.B))
        return self.manifold.at(kind(self.W))

    def product(self, w):
        return self.kind(-self.A @ to_float64(w) * self.weights)

    @pytest.mark.parametrize("weights", [(3.0, 2.0, 1.0), (1.5,)], ids=str)
    def test_spectrum_at_the_optimum(self, accuracy, weights):
        """mu_i (rho_i - rho_j) for j > p, and (mu_i - mu_j) (rho_i - rho_j) / 2 within the block."""
        kind, condition, tolerance = accuracy
        geometry = self.setup_problem(kind, condition, weights)
        mu, rho, p = self.weights, self.rho, len(weights)
        expected = [mu[i] * (rho[i] - rho[j]) for i in range(p) for j in range(p, len(rho))]
        expected += [(mu[i] - mu[j]) * (rho[i] - rho[j]) / 2 for i, j in itertools.combinations(range(p), 2)]
        expected = np.sort(expected)
        e = self.product(self.W)
        basis = [kind(xi) for xi in DenseGeometry(self.B, self.B, self.W).tangent_basis()]
        images = [geometry.riemannian_hessian(e, self.product(w), w) for w in basis]
        hessian = np.array([[float(geometry.inner_product(w, image)) for image in images] for w in basis])
        assert len(expected) == self.manifold.dim
        np.testing.assert_allclose(np.linalg.eigvalsh(hessian), expected, rtol=0, atol=tolerance * expected[-1])

    def test_multiplier_at_the_optimum(self, accuracy):
        """S = -diag(mu_i rho_i)."""
        kind, condition, tolerance = accuracy
        geometry = self.setup_problem(kind, condition, (3.0, 2.0, 1.0))
        multiplier = to_float64(geometry.multiplier(self.product(self.W)))
        np.testing.assert_allclose(multiplier, -np.diag(self.weights * self.rho[:3]), rtol=0, atol=10 * tolerance)
