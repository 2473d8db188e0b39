"""Shrunken within-class covariances in the manner of scikit-learn, each class shrunk on its own."""

from __future__ import annotations

from typing import NamedTuple

from manifolds.linalg import Array, machine_epsilon, namespace, symmetric_part
from problems.class_labels import ClassMeans
from problems.class_statistics import ClassStatistics
from problems.co_moments import add_to_diagonal
from problems.generalized_eigen import generalized_eigh
from problems.labelled_data import LabelledData
from problems.lda_solvers import Discriminants
from problems.row_blocks import zeros
from problems.whitening import gram_whitening


class ShrunkenCovariances(NamedTuple):
    """Covariances within the classes and of all rows, after shrinkage."""

    within: Array
    total: Array


def shrunken_discriminants(
    covariances: ShrunkenCovariances, means: ClassMeans, rank: int
) -> tuple[Discriminants, Array]:
    """Directions of the pencil (total - within, within), and the coefficients within^{-1} (m_k - m) of the rule.

    Shrinkage adds a multiple of the identity to the covariance between the classes too, so that this has full rank and
    the coefficients do not lie in the span of a few directions.

    Returns
    -------
    discriminants : Discriminants
        With the sum of all d eigenvalues.
    coefficients : array of shape (l, d)
    """
    within, between = covariances.within, covariances.total - covariances.within
    whitening = gram_whitening(within, means.means, within, accurate=False)
    assert whitening is not None
    half = symmetric_part(whitening.whiten(whitening.whiten(between).mT))
    pairs = generalized_eigh(half, None, min(rank, half.shape[0]), method="direct", probe=False)
    directions = whitening.directions(pairs.eigenvectors)
    total = float(namespace(half).sum(namespace(half).linalg.diagonal(half)))
    coefficients = whitening.directions(whitening.whiten(means.gaps.mT)).mT
    return Discriminants(pairs.eigenvalues, directions, whitening.condition, total=total), coefficients


def shrunken(statistics: ClassStatistics, within: Array, shrinkage: float) -> ShrunkenCovariances:
    """Covariances (1 - a) S + a tr(S) / d I, of S = S_w and of the total covariance.

    Parameters
    ----------
    statistics : ClassStatistics
        Of all rows, each with its own weight.
    within : array of shape (d, d)
        S_w, the sum of prior_k C_k over the classes.
    shrinkage : float
        a, between 0 and 1.
    """
    total = total_covariance(statistics)
    return ShrunkenCovariances(_shrunk(within, shrinkage), _shrunk(total, shrinkage))


def total_covariance(statistics: ClassStatistics) -> Array:
    """Covariance (1 / n) of all rows: that within the classes, plus that of the class means."""
    shares = statistics.counts / statistics.total
    gaps = statistics.means - statistics.overall_mean
    return statistics.scatter / statistics.total + gaps.mT @ (gaps * shares[:, None])


def ledoit_wolf(data: LabelledData, priors: Array) -> ShrunkenCovariances:
    """Covariances shrunk as Ledoit and Wolf do: each class by its own intensity, in units of its deviations.

    Three passes over the data, the rows of one class after the other.

    References
    ----------
    Ledoit, Wolf, A well-conditioned estimator for large-dimensional covariance matrices, J. Multivar. Anal. 88
    (2004), Equations (14) to (19); the standardisation is that of scikit-learn's LinearDiscriminantAnalysis.
    """
    xp = namespace(data.counts)
    parts = [data.of_class(k) for k in range(data.n_classes)]
    means = []
    scatter, within = (zeros(data.like, (data.n_features,) * 2) for _ in range(2))
    for part, prior in zip(parts, priors, strict=True):
        own = part.statistics()
        means.append(own.means)
        scatter += own.scatter
        shrunk = _ledoit_wolf(own.scatter / own.total, own.means[0], [part])
        shrunk *= float(prior)
        within += shrunk
        del own, shrunk  # no two classes at a time
    statistics = ClassStatistics(data.counts, xp.concat(means), scatter)
    data.adopt(statistics.means)
    total = total_covariance(statistics)
    data.n_passes += 3
    return ShrunkenCovariances(within, _ledoit_wolf(total, statistics.overall_mean, parts))


def _ledoit_wolf(covariance: Array, mean: Array, parts: list[LabelledData]) -> Array:
    """Shrunken covariance of all rows of some parts of the data."""
    xp, d, n = namespace(covariance), covariance.shape[0], sum(part.total for part in parts)
    variances = xp.linalg.diagonal(covariance)
    epsilon = machine_epsilon(covariance)
    constant = variances <= n * epsilon * variances + (n * epsilon * mean) ** 2
    scale = xp.sqrt(xp.where(constant, xp.ones_like(variances), variances))
    mu = float(xp.sum(variances / scale**2)) / d
    squared = float(xp.linalg.matrix_norm(covariance / scale / scale[:, None])) ** 2
    beta = (sum(part.fourth_moment(mean, scale) for part in parts) / n - squared) / (d * n)
    delta = squared / d - mu**2
    intensity = min(beta, delta) / delta if d > 1 and min(beta, delta) > 0 else 0.0
    return _towards(covariance, intensity, mu * scale**2)


def _shrunk(covariance: Array, shrinkage: float) -> Array:
    d = covariance.shape[0]
    mean_variance = float(namespace(covariance).sum(namespace(covariance).linalg.diagonal(covariance))) / d
    return _towards(covariance, shrinkage, mean_variance)


def _towards(covariance: Array, share: float, variances: float | Array) -> Array:
    """Covariance with a share of it replaced by that of a diagonal matrix."""
    shrunk = (1 - share) * covariance
    add_to_diagonal(shrunk, share * variances)
    return shrunk
