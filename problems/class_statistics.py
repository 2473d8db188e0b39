"""Class means and the scatter within classes, which add up over parts of the data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from manifolds.linalg import Array, namespace


class ClassStatistics(NamedTuple):
    """What discriminant analysis needs to know of data; the statistics of two parts can be merged."""

    counts: Array
    """Rows in each class, or their weights, shape (l,), float64."""
    means: Array
    """Class means, shape (l, d), float64."""
    scatter: Array
    """Within-class scatter, the sum over rows that S_w is the mean of, shape (d, d), float64."""

    @property
    def total(self) -> float:
        """Sum of the weights of all rows."""
        return float(namespace(self.counts).sum(self.counts))

    @property
    def overall_mean(self) -> Array:
        """Mean of all rows, shape (d,)."""
        return (self.counts / self.total) @ self.means

    def merged(self, other: ClassStatistics) -> ClassStatistics:
        """Statistics of both parts together.

        References
        ----------
        Chan, Golub, LeVeque, Algorithms for computing the sample variance, Am. Stat. 37 (1983), Equation (2.1).
        """
        counts = self.counts + other.counts
        share = other.counts / namespace(counts).clip(counts, np.finfo(float).tiny, None)
        gap = other.means - self.means
        between = gap.mT @ (gap * (self.counts * share)[:, None])
        return ClassStatistics(counts, self.means + share[:, None] * gap, self.scatter + other.scatter + between)
