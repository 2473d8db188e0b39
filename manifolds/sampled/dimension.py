"""Intrinsic dimension of samples: two estimates that must agree."""

from __future__ import annotations

import numpy as np

from manifolds.linalg import Array, to_numpy
from manifolds.sampled.neighbours import Neighbours, require_samples

_FEWEST = 50
_NEIGHBOURS = 31
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
    TypeError, ValueError
        If ``points`` does not hold finite samples, one a row; or if there are fewer than 50, the spectrum has no gap,
        or the two estimates disagree or name all of space: then give ``dim``.

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
    require_samples(points)
    count = points.shape[0]
    if count < _FEWEST:
        raise ValueError(
            f"points holds {count} samples, too few to estimate the dimension ({_FEWEST} needed); give dim"
        )
    neighbours = Neighbours(points)
    two_nn, (spectrum, _) = _two_nn(neighbours), _local_spectrum(neighbours)
    by_pca = _gap(spectrum)
    if by_pca is None or not abs(two_nn - by_pca) <= 0.5:
        found = "no gap" if by_pca is None else f"dimension {by_pca}"
        raise ValueError(
            f"the dimension of points is unclear: TwoNN estimates {two_nn:.2f}, the local spectrum "
            f"({_shown(spectrum)}) has {found}; which is it? Give dim (equal distances on a grid deceive TwoNN)"
        )
    if by_pca == points.shape[1]:
        raise ValueError(
            f"points seem to fill their space: TwoNN estimates dimension {two_nn:.2f} and the local spectrum "
            f"({_shown(spectrum)}) falls nowhere; give dim if they lie on a manifold all the same"
        )
    return by_pca


def doubt_of_dimension(neighbours: Neighbours, dim: int) -> str | None:
    """What both estimates hold against a dimension, or None; it is silent where they are not clear."""
    spectrum, radius = _local_spectrum(neighbours)
    found, count = _gap(spectrum), neighbours.points.shape[0]
    if count < _FEWEST or found in (None, dim):
        return None
    if not abs(_two_nn(neighbours) - found) <= 0.5:
        return None
    return (
        f"dim is {dim}, but the {_NEIGHBOURS} nearest of {count} samples, within a radius of about "
        f"{radius:.3g}, spread in {found} directions (local spectrum {_shown(spectrum)})"
    )


def _two_nn(neighbours: Neighbours) -> float:
    """Maximum likelihood of the exponential law of log r_2 / r_1, the upper tenth known only to be larger."""
    points = neighbours.points
    distances = to_numpy(neighbours.nearest(points[:: max(1, points.shape[0] // 1000)], 3)[0])
    if not np.all(distances[:, 1] > 0):
        raise ValueError("points holds samples that coincide with another; remove duplicates first")
    ratios = np.sort(np.log(distances[:, 2] / distances[:, 1]))
    kept = ratios[: int(0.9 * len(ratios))]
    total = kept.sum() + (len(ratios) - len(kept)) * kept[-1]
    return len(kept) / total if total > 0 else float("inf")


def _local_spectrum(neighbours: Neighbours) -> tuple[np.ndarray, float]:
    """Mean eigenvalues, and a zero, of the covariances of neighbourhoods, and the mean radius of these."""
    points = neighbours.points
    chosen = points[:: max(1, points.shape[0] // 200)]
    distances, indices = neighbours.nearest(chosen, min(points.shape[0], _NEIGHBOURS))
    local = to_numpy(points[indices])
    local = local - local.mean(axis=1, keepdims=True)
    spectrum = (np.linalg.svd(local, compute_uv=False) ** 2).mean(axis=0)
    return np.append(spectrum, 0.0), float(distances[:, -1].mean())


def _gap(spectrum: np.ndarray) -> int | None:
    gaps = np.flatnonzero(spectrum[1:] < _GAP * spectrum[:-1])
    return int(gaps[0]) + 1 if len(gaps) else None


def _shown(spectrum: np.ndarray) -> str:
    return ", ".join(f"{value:.2g}" for value in spectrum[:6] / spectrum[0]) + ", ..."
