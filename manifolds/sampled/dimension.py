"""Intrinsic dimension of samples: two estimates that must agree."""

from __future__ import annotations

import numpy as np

from manifolds.linalg import Array, is_torch_array
from manifolds.sampled.neighbours import Neighbours

_GAP = 0.1
"""Ratio of successive eigenvalues below which the rest is curvature or noise."""


def estimate_dimension(points: Array) -> int:
    """Dimension of the manifold that the samples lie on, by local PCA and TwoNN, which must agree.

    Local PCA counts the eigenvalues of local covariances before the first drop by a factor of ten. TwoNN is
    d = 1 / mean log(r_2 / r_1) with the distances to the two nearest samples.

    Parameters
    ----------
    points : array of shape (N, D)

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If there are fewer than 50 samples, the spectrum has no gap, or the two estimates disagree: then give ``dim``.

    References
    ----------
    Facco, d'Errico, Rodriguez, Laio, Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information, Scientific Reports 7 (2017).

    Examples
    --------
    >>> import numpy as np
    >>> angle = np.random.default_rng(0).uniform(0, 6.28, 500)
    >>> estimate_dimension(np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    1
    """
    count = points.shape[0]
    if count < 50:
        raise ValueError(f"points holds {count} samples, too few to estimate the dimension (50 needed); give dim")
    neighbours = Neighbours(points)
    chosen = points[:: max(1, count // 1000)]
    distances, indices = neighbours.nearest(chosen, min(count, 31))
    host = [np.asarray(a.cpu() if is_torch_array(a) else a) for a in (distances, points[indices[:200]])]
    ratios = np.sort(np.log(host[0][:, 2] / host[0][:, 1]))
    kept = ratios[: int(0.9 * len(ratios))]
    # Maximum likelihood of the exponential law of log ratios, the upper tenth known only to be larger.
    two_nn = len(kept) / (kept.sum() + (len(ratios) - len(kept)) * kept[-1])
    local = host[1] - host[1].mean(axis=1, keepdims=True)
    spectrum = (np.linalg.svd(local, compute_uv=False) ** 2).mean(axis=0)
    spectrum = np.append(spectrum, 0.0)
    gaps = np.flatnonzero(spectrum[1:] < _GAP * spectrum[:-1])
    by_pca = int(gaps[0]) + 1 if len(gaps) else None
    if by_pca is None or round(two_nn) != by_pca:
        shown = ", ".join(f"{value:.2g}" for value in spectrum[:6] / spectrum[0])
        found = "no gap" if by_pca is None else f"dimension {by_pca}"
        raise ValueError(
            f"the dimension of points is unclear: TwoNN estimates {two_nn:.2f}, the local spectrum ({shown}, ...) has "
            f"{found}; which is it? Give dim"
        )
    return by_pca
