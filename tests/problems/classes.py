"""Labelled rows of a wanted conditioning, and their discriminant analysis by textbook means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from tests.arrays import orthogonal


class Labelled(NamedTuple):
    x: np.ndarray
    y: np.ndarray


def labelled_rows(n=300, d=8, n_classes=4, *, condition=10.0, offset=0.0, seed=0):
    """Normal classes of unequal sizes with one covariance of a condition number, and means along all of it."""
    rng = np.random.default_rng(seed)
    mixing = (orthogonal(d, rng) * np.geomspace(1.0, 1.0 / condition, d)) @ orthogonal(d, rng)
    shares = np.arange(1, n_classes + 1) / sum(range(1, n_classes + 1))
    y = np.concatenate([np.repeat(np.arange(n_classes), 2), rng.choice(n_classes, n - 2 * n_classes, p=shares)])
    means = rng.standard_normal((n_classes, d))
    return Labelled((rng.standard_normal((n, d)) + means[y]) @ mixing + offset, y)


class Oracle(NamedTuple):
    means: np.ndarray
    within: np.ndarray
    between: np.ndarray
    eigenvalues: np.ndarray
    vectors: np.ndarray


def oracle(x, y, *, weights=None, priors=None, reg=0.0):
    """Class means, covariances and all eigenpairs of (between, within + reg I), by scipy's dense solver."""
    x, weights = np.asarray(x, dtype=float), np.ones(len(y)) if weights is None else weights
    classes = np.unique(y)
    means = np.array([np.average(x[y == k], axis=0, weights=weights[y == k]) for k in classes])
    shares = np.array([weights[y == k].sum() for k in classes]) / weights.sum()
    priors = shares if priors is None else np.asarray(priors)
    within = sum(
        share * np.atleast_2d(np.cov(x[y == k].T, aweights=weights[y == k], ddof=0))
        for share, k in zip(shares, classes, strict=True)
    ) + reg * np.eye(x.shape[1])
    gaps = means - priors @ means
    between = (gaps.T * priors) @ gaps
    values, vectors = scipy.linalg.eigh(between, within)
    return Oracle(means, within, between, values[::-1], vectors[:, ::-1])


def eigenvalues_of_rows(x, y):
    """Eigenvalues with nothing squared: QR of the centred rows by Gram-Schmidt, twice, in extended precision."""
    x = np.asarray(x, dtype=np.longdouble)
    classes, codes = np.unique(y, return_inverse=True)
    means = np.array([x[codes == k].mean(axis=0) for k in range(len(classes))])
    q, d = (x - means[codes]) / np.sqrt(np.longdouble(len(y))), x.shape[1]
    r = np.eye(d, dtype=np.longdouble)
    for _ in range(2):
        step = np.eye(d, dtype=np.longdouble)
        for j in range(d):
            for i in range(j):
                step[i, j] = q[:, i] @ q[:, j]
                q[:, j] -= step[i, j] * q[:, i]
            step[j, j] = np.sqrt(q[:, j] @ q[:, j])
            q[:, j] /= step[j, j]
        r = step @ r
    shares = np.bincount(codes).astype(np.longdouble) / len(y)
    white = (means - shares @ means) * np.sqrt(shares)[:, None]
    for j in range(d):  # white <- white R^{-1}
        white[:, j] = (white[:, j] - white[:, :j] @ r[:j, j]) / r[j, j]
    return np.linalg.svd(white.astype(float), compute_uv=False)[: min(len(classes) - 1, d)] ** 2
