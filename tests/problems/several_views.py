"""Several correlated views, their stacked dense covariances, and MAXVAR by a textbook eigensolver."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from tests.problems.views import standardize


def several_views(n=300, sizes=(6, 5, 4), *, loadings=(2.0, 1.2, 0.7), seed=0):
    """Views that share latent variables of different strengths, mixed by random matrices, with means."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, len(loadings)))
    views = []
    for i, d in enumerate(sizes):
        own = rng.standard_normal((n, d))
        # The strengths differ from view to view, so that MAXVAR and SUMCOR have different solutions.
        own[:, : len(loadings)] += shared * np.array(loadings) * (1 + 0.5 * i)
        left, right = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
        views.append(own @ (left * np.geomspace(1.0, 0.2, d)) @ right + rng.standard_normal(d))
    return views


def places(sizes):
    """Slices of the views in stacked features."""
    ends = np.cumsum(sizes)
    return [slice(end - d, end) for d, end in zip(sizes, ends, strict=True)]


def dense_pencil(views, reg=None, *, scale=False):
    """The matrices S and blkdiag(S_11, ..., S_mm), with their ridges."""
    sizes = [view.shape[1] for view in views]
    stacked = np.hstack([standardize(view, scale=scale) for view in views])
    reg = [0.0] * len(views) if reg is None else reg
    s = stacked.T @ stacked / len(stacked) + np.diag(np.repeat(reg, sizes))
    return s, scipy.linalg.block_diag(*(s[at, at] for at in places(sizes)))


def maxvar_oracle(views, p, reg=None, *, scale=False):
    """Leading eigenvalues and vectors, these as a list over views and with sum_i w_i^T S_ii w_i = m."""
    values, vectors = scipy.linalg.eigh(*dense_pencil(views, reg, scale=scale))
    leading = len(views) ** 0.5 * vectors[:, ::-1][:, :p]
    return values[::-1][:p], [leading[at] for at in places([view.shape[1] for view in views])]
