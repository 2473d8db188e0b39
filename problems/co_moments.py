"""Means and scatter of two views, which add up over batches of rows: all that the dense solution needs of the data."""

from __future__ import annotations

from typing import NamedTuple

from manifolds.linalg import (
    Array,
    machine_epsilon,
    namespace,
    require_finite,
    require_real_floating,
    require_same_kind,
)


class Moments(NamedTuple):
    """Column means of a data matrix, and what its columns are divided by."""

    mean: Array
    scale: Array


class Covariances(NamedTuple):
    """Dense covariances of two views."""

    xx: Array
    xy: Array
    yy: Array


def require_covariances(covariances: Covariances) -> Covariances:
    """The covariances; an error that names the block that is no finite real matrix, or does not fit the others."""
    if not isinstance(covariances, tuple) or len(covariances) != 3:
        raise TypeError(f"covariances must be Covariances(xx, xy, yy), got {type(covariances).__name__}")
    xx, xy, yy = covariances
    for name, block in zip(Covariances._fields, covariances, strict=True):
        require_same_kind(block, xx, f"covariances.{name}", "covariances.xx")
        require_real_floating(block, f"covariances.{name}")
        if block.ndim != 2:
            raise ValueError(f"covariances.{name} must be a matrix, got shape {tuple(block.shape)}")
        require_finite(block, f"covariances.{name}")
    dx, dy = xy.shape
    for name, block, d in (("xx", xx, dx), ("yy", yy, dy)):
        if tuple(block.shape) != (d, d):
            raise ValueError(
                f"covariances.{name} must have shape {(d, d)} beside an xy of shape {(dx, dy)}, got "
                f"{tuple(block.shape)}"
            )
    return Covariances(*covariances)


class CoMoments(NamedTuple):
    """Weight, means and scatter matrices, sums of w (x - m_x)(y - m_y)^T, of the rows of two views seen so far."""

    weight: float
    x_mean: Array
    y_mean: Array
    xx: Array
    xy: Array
    yy: Array
    epsilon: float
    """Machine epsilon of the data."""

    def merged(self, other: CoMoments) -> CoMoments:
        """Moments of the rows of both.

        References
        ----------
        Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979), Eq. 2.1.

        Examples
        --------
        >>> import numpy as np
        >>> from problems import PairedViews
        >>> x, y = np.random.default_rng(0).standard_normal((2, 50, 3))
        >>> parts = [PairedViews(x[rows], y[rows]).co_moments() for rows in (slice(0, 20), slice(20, 50))]
        >>> np.allclose(parts[0].merged(parts[1]).xy / 50, np.cov(x.T, y.T, bias=True)[:3, 3:])
        True
        """
        weight = self.weight + other.weight
        share = other.weight / weight
        dx, dy = other.x_mean - self.x_mean, other.y_mean - self.y_mean
        factor = self.weight * share
        return CoMoments(
            weight,
            self.x_mean + share * dx,
            self.y_mean + share * dy,
            self.xx + other.xx + factor * dx[:, None] * dx,
            self.xy + other.xy + factor * dx[:, None] * dy,
            self.yy + other.yy + factor * dy[:, None] * dy,
            max(self.epsilon, other.epsilon),
        )

    def covariances(
        self, reg: tuple[float, float] = (0.0, 0.0), *, scale: bool = False
    ) -> tuple[Covariances, tuple[Moments, Moments]]:
        """Covariances of the centred and, if wanted, scaled columns with their ridges, and the moments of the columns.

        A column whose deviation is rounding of its mean counts as constant: its covariances are zero, its scale is one.
        """
        x = column_scales(self.xx, self.x_mean, self.weight, self.epsilon, scale=scale)
        y = column_scales(self.yy, self.y_mean, self.weight, self.epsilon, scale=scale)
        found = []
        for scatter, left, right in ((self.xx, x[1], x[1]), (self.xy, x[1], y[1]), (self.yy, y[1], y[1])):
            found.append(scatter * right)
            found[-1] *= (left / self.weight)[:, None]
        xx, xy, yy = found
        for part, ridge in zip((xx, yy), reg, strict=True):
            add_to_diagonal(part, ridge)
        return Covariances(xx, xy, yy), (Moments(self.x_mean, x[0]), Moments(self.y_mean, y[0]))


def column_scales(scatter: Array, mean: Array, weight: float, epsilon: float, *, scale: bool) -> tuple[Array, Array]:
    """What columns are divided by, and what covariances are multiplied by: its inverse, or zero for constant columns.

    A column whose deviation is rounding of its mean, with the machine epsilon of the data, counts as constant.
    """
    xp = namespace(scatter)
    deviation = xp.sqrt(xp.clip(xp.linalg.diagonal(scatter) / weight, 0.0, None))
    varies = deviation > 10 * epsilon * xp.abs(mean)
    ones = xp.ones_like(deviation)
    divisor = xp.where(varies & scale, deviation, ones)
    return divisor, xp.where(varies, 1 / divisor, 0 * ones)


def add_to_diagonal(matrix: Array, numbers: float | Array) -> None:
    """Add a number, or one for each row, to the diagonal of a matrix, in place."""
    every = list(range(matrix.shape[0]))
    matrix[every, every] += numbers


def clear_differences(differences: Array, squares: Array, like: Array) -> Array:
    """Sums of squares about the mean, with zeros in the place of what is but rounding of the squares they came from.

    Parameters
    ----------
    differences : array of shape (d,)
        What is left of the squares when those of the mean are subtracted.
    squares : array of shape (d,)
    like : array
        Of the dtype of the products that the squares are sums of.
    """
    return namespace(squares).where(differences > 100 * machine_epsilon(like) * squares, differences, 0 * squares)


def clear_scatter(sums: Array, gaps: Array, weights: float | Array, like: Array) -> None:
    """Make a scatter matrix about the means of sums of products of shifted rows, in place.

    Rows and columns are zero where the column of the data varies by rounding alone.

    Parameters
    ----------
    sums : array of shape (d, d)
    gaps : array of shape (l, d)
        What the mean of each group of rows differs by from their shift.
    weights : float or array of shape (l, 1)
        Of each group.
    like : array
        Of the dtype of the products that were added up.
    """
    xp = namespace(sums)
    squares = 1.0 * xp.linalg.diagonal(sums)  # a copy
    sums -= gaps.mT @ (weights * gaps)
    varies = xp.astype(clear_differences(xp.linalg.diagonal(sums), squares, like) > 0, sums.dtype)
    sums *= varies
    sums *= varies[:, None]
