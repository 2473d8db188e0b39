"""Two correlated views, their dense covariances and their canonical correlations by textbook means."""

from __future__ import annotations

import numpy as np
import scipy.linalg


def correlated_views(n=300, dx=6, dy=5, *, correlations=(0.95, 0.8, 0.6, 0.3), condition=10.0, seed=0):
    """Views that share one latent variable per correlation, mixed by matrices of a condition number, with means."""
    rng = np.random.default_rng(seed)
    k = len(correlations)
    shared, c = rng.standard_normal((n, k)), np.array(correlations)
    views = []
    for d in (dx, dy):
        own = rng.standard_normal((n, d))
        own[:, :k] = np.sqrt(c) * shared + np.sqrt(1 - c) * own[:, :k]
        left, right = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
        views.append(own @ (left * np.geomspace(1.0, 1.0 / condition, d)) @ right + rng.standard_normal(d))
    return views[0], views[1]


def standardize(view, *, scale=False):
    """Centred view, with ``scale`` also divided by its standard deviations (1 / n)."""
    centred = view - view.mean(axis=0)
    return centred / centred.std(axis=0) if scale else centred


def dense_covariances(x, y, reg=(0.0, 0.0), *, scale=False):
    """Sxx, Sxy and Syy of float64 views, with their ridges."""
    x, y = standardize(x, scale=scale), standardize(y, scale=scale)
    n = x.shape[0]
    return x.T @ x / n + reg[0] * np.eye(x.shape[1]), x.T @ y / n, y.T @ y / n + reg[1] * np.eye(y.shape[1])


def canonical_oracle(sxx, sxy, syy):
    """All canonical correlations and vectors, by Cholesky whitening and a singular value decomposition."""
    rx, ry = scipy.linalg.cholesky(sxx), scipy.linalg.cholesky(syy)
    inner = scipy.linalg.solve_triangular(rx, sxy, trans=1)
    inner = scipy.linalg.solve_triangular(ry, inner.T, trans=1).T
    left, values, right = np.linalg.svd(inner, full_matrices=False)
    return values, scipy.linalg.solve_triangular(rx, left), scipy.linalg.solve_triangular(ry, right.T)


def correlations_of(x, y):
    """All canonical correlations, by QR factorisations of the centred views: no squares are taken."""
    qx, qy = (np.linalg.qr(standardize(view))[0] for view in (x, y))
    return np.linalg.svd(qx.T @ qy, compute_uv=False)


def ill_conditioned_views(seed=0, n=3000, d=20, condition=1e9):
    """Views of a condition number and their correlations, by singular vectors that are known without any squares."""
    rng = np.random.default_rng(seed)
    qx = np.linalg.qr(rng.standard_normal((n, d)) - 0.0)[0]
    qx -= qx.mean(axis=0)
    qx = np.linalg.qr(qx)[0]
    other = rng.standard_normal((n, d))
    other -= other.mean(axis=0)
    other = np.linalg.qr(other - qx @ (qx.T @ other))[0]
    rho = np.linspace(0.95, 0.3, d)
    qy = qx * rho + other * np.sqrt(1 - rho**2)
    spread = np.geomspace(1.0, 1.0 / condition, d)
    mixing = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2)]
    return (qx * spread) @ mixing[0], (qy * spread[::-1]) @ mixing[1], rho


def same_directions(actual, expected, metric, atol):
    """Assert that columns agree up to their signs, in the inner product of ``metric``."""
    cosines = np.sum(actual * (metric @ expected), axis=0)
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=atol)


class LoggedRows(np.ndarray):
    """Matrix that logs which of its rows are read."""

    reads: list | None = None

    @classmethod
    def of(cls, array):
        logged = np.array(array).view(cls)
        logged.reads = []
        return logged

    def __array_finalize__(self, source):
        self.reads = None

    def __getitem__(self, key):
        if self.reads is None:
            return super().__getitem__(key)
        rows = key[0] if isinstance(key, tuple) else key
        assert isinstance(rows, slice), "rows are read in blocks"
        if rows.start is None:  # first rows, of which a pilot mean is made; no pass
            return np.asarray(super().__getitem__(key))
        self.reads.extend(range(*rows.indices(self.shape[0])))
        return np.asarray(super().__getitem__(key))

    def take_reads(self):
        """Row indices read since the last call."""
        reads, self.reads = self.reads, []
        return reads
