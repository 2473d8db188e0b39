"""Two views of one data set as covariance operators: everything is read in row blocks, and reads are counted.

With X (n x dx) and Y (n x dy) and their column means removed implicitly, the covariances are

    Sxx = Xc^T Xc / n + reg_x I,    Syy = Yc^T Yc / n + reg_y I,    Sxy = Xc^T Yc / n.

A *pass* reads every row of both views once, each block for both at a time. The centred data is never formed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from manifolds.linalg import Array, machine_epsilon, namespace
from problems.co_moments import CoMoments, Covariances, clear_scatter, require_covariances
from problems.data_matrix import ShiftedRows, as_ridge, gather, weighted
from problems.joint_views import JointViews
from problems.row_blocks import cross_product, for_products, product_like, zeros
from problems.row_passes import RowBlock
from rankopt.solvers.parameters import require_at_least


class CovarianceProducts(NamedTuple):
    """Products of the covariances with a pair of directions (a, b)."""

    xx: Array
    """Sxx a, shape (dx, p)."""
    xy: Array
    """Sxy b, shape (dx, p)."""
    yy: Array
    """Syy b, shape (dy, p)."""
    yx: Array
    """Sxy^T a, shape (dy, p)."""


class CovarianceMatrices:
    """Dense covariances with the face of ``PairedViews``; a pass is then one product with them.

    Parameters
    ----------
    covariances : Covariances

    Attributes
    ----------
    n_passes : int
        Products so far.

    Raises
    ------
    TypeError
        If the covariances are no real floating arrays of one kind.
    ValueError
        If their shapes do not fit, or they hold NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import CCAProblem, CovarianceMatrices, Covariances
    >>> from rankopt import minimize
    >>> data = CovarianceMatrices(Covariances(np.eye(3), np.diag([0.9, 0.5, 0.1]), np.eye(3)))
    >>> problem = CCAProblem(data, 1)
    >>> round(-float(minimize(problem, problem.manifold, rng=0).fun), 6)  # the first canonical correlation
    0.9
    """

    def __init__(self, covariances: Covariances) -> None:
        self.covariances = require_covariances(covariances)
        self.n_features = (self.covariances.xx.shape[0], self.covariances.yy.shape[0])
        self.n_passes = 0

    @property
    def like(self) -> Array:
        """Empty array of the data's kind."""
        return self.covariances.xx[:0]

    def products(self, a: Array, b: Array) -> CovarianceProducts:
        """Products with a pair of directions, shapes (dx, p) and (dy, p)."""
        require_directions(a, b, self.n_features)
        self.n_passes += 1
        xx, xy, yy = self.covariances
        return CovarianceProducts(xx @ a, xy @ b, yy @ b, xy.mT @ a)

    def view_product(self, view: int, a: Array) -> Array:
        """Product of the covariance of one view (0 or 1) with a direction."""
        self.n_passes += 1
        return (self.covariances.yy if view else self.covariances.xx) @ a


class PairedViews(JointViews):
    """Two views with the same rows, read in row blocks: means, sketches, covariances and their products.

    Parameters
    ----------
    x : array, scipy sparse matrix or RowSource of shape (n, dx)
    y : array, scipy sparse matrix or RowSource of shape (n, dy)
        Data as ``DataMatrix`` takes them, of one library, dtype and device; they are read, never copied or changed.
    reg : float or pair of float
        Ridge on the covariances, one for both views or one per view.
    scale : bool
        Whether columns are divided by their standard deviations, implicitly like the centring; the ridge then stands on
        correlations, and directions are in units of standard deviations.
    sample_weight : array of shape (n,), optional
        Non-negative weights of the rows; only their ratios matter.
    block_rows : int, optional
        Rows per block at most.

    Attributes
    ----------
    views : tuple of DataMatrix
    n_passes : int
        Reads of the data so far; a read of one view counts as one.

    Raises
    ------
    TypeError, ValueError
        If the views are not real floating matrices of one kind with the same number of rows, or hold NaN or infinity
        (found in the first pass, not in an extra one).

    Examples
    --------
    >>> import numpy as np
    >>> from problems import PairedViews
    >>> x = np.random.default_rng(0).standard_normal((100, 5)) + 7.0
    >>> data = PairedViews(x[:, :2], x[:, 2:], reg=0.1)
    >>> products = data.products(np.eye(2), np.eye(3, 2))
    >>> covariance = np.cov(x.T, bias=True)
    >>> np.allclose(products.xx, covariance[:2, :2] + 0.1 * np.eye(2)), np.allclose(products.xy, covariance[:2, 2:4])
    (True, True)
    >>> data.n_passes  # one for the means, one for the products
    2
    """

    n_features: tuple[int, int]

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        reg: float | tuple[float, float] = 0.0,
        scale: bool = False,
        sample_weight: Any = None,
        block_rows: int | None = None,
    ) -> None:
        self.reg = as_pair(reg)
        super().__init__({"X": x, "y": y}, self.reg, scale, sample_weight, block_rows)

    def covariances(self) -> Covariances:
        """Dense covariances of both views, in one pass; ridge included."""
        covariances, _ = self.co_moments().covariances(self.reg, scale=self.scale)
        return Covariances(*map(self.views[0].cast, covariances))

    def co_moments(self, maps: tuple[Array, Array] | None = None, *, double: bool = False) -> CoMoments:
        """Weight, means and scatter of both views in double precision, in one pass; without scaling and ridge.

        Parameters
        ----------
        maps : pair of array, optional
            Matrices of shapes (dx, rx) and (dy, ry) that rows are multiplied with first.
        double : bool
            Whether products of single-precision dense rows are taken in double precision, too, and not only added up in
            it. Those of sparse rows, which are not shifted, always are.
        """
        x, like, shapes = self.views[0], self.like, self.n_features
        if maps is not None:
            shapes = (maps[0].shape[1], maps[1].shape[1])

        def start() -> list[Array]:
            return [zeros(like, (shapes[i], shapes[j])) for i, j in ((0, 0), (0, 1), (1, 1))]

        def add(totals: list[Array], block: ShiftedRows) -> None:
            left, right = (for_products(view, double=double) for view in block.views)
            if maps is not None:
                left, right = left @ maps[0], right @ maps[1]
            totals[0] += cross_product(left, left)
            totals[1] += cross_product(left, right)
            totals[2] += cross_product(right, right)

        self._passes += 1
        parts, (xx, xy, yy) = gather(self.views, self.rows, start, add, 4096, 8 * sum(shapes) ** 2)
        wide, weight = xx.dtype, x.total_weight
        gaps = [x.cast(gap, wide) for gap in parts]
        means = [x.cast(view.moments.mean, wide) for view in self.views]
        if maps is not None:
            gaps, means = (
                [part @ mapping for part, mapping in zip(parts, maps, strict=True)] for parts in (gaps, means)
            )
        for total, gap, view in zip((xx, yy), gaps, self.views, strict=True):
            clear_scatter(total, gap[None, :], weight, product_like(view.data, double=double))
        xy -= (weight * gaps[0])[:, None] * gaps[1]
        return CoMoments(weight, means[0], means[1], xx, xy, yy, machine_epsilon(x.like))

    def products(self, a: Array, b: Array) -> CovarianceProducts:
        """Products Sxx a, Sxy b, Syy b and Sxy^T a in one pass: each block is read once for both views.

        Parameters
        ----------
        a : array of shape (dx, p)
        b : array of shape (dy, p)
        """
        require_directions(a, b, self.n_features)
        p, like, shapes = a.shape[1], self.like, self.n_features
        self.moments  # noqa: B018 - known before the pass
        (x, y), scores_x, scores_y = self.views, self.views[0].scores(a), self.views[1].scores(b)

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, Array, Array]:
            xp, total = namespace(like), zeros(like, (2 * p,))
            from_x, from_y = (zeros(like, (d, 2 * p)) for d in shapes)
            for block in blocks:
                left, right = block.views
                scores = weighted(xp.concat([scores_x(left), scores_y(right)], axis=1), block.vectors[0])
                from_x += left.T @ scores
                from_y += right.T @ scores
                total += xp.sum(scores, axis=0)
            return from_x, from_y, total

        self._passes += 1
        from_x, from_y, total = self.rows.sum(part)
        from_x, from_y = x.centred(from_x, total), y.centred(from_y, total)
        return CovarianceProducts(
            xx=from_x[:, :p] + self.reg[0] * a, xy=from_x[:, p:], yy=from_y[:, p:] + self.reg[1] * b, yx=from_y[:, :p]
        )

    def own_covariances(self) -> tuple[Array, Array]:
        """Dense covariance of each view, in one pass."""
        xx, _, yy = self.covariances()
        return xx, yy

    def own_products(self, directions: Sequence[Array]) -> tuple[Array, Array]:
        """Products Sxx a and Syy b with the directions (a, b), in one pass."""
        products = self.products(*directions)
        return products.xx, products.yy


def require_directions(a: Array, b: Array, n_features: tuple[int, int]) -> None:
    """Raise a ValueError unless two matrices of directions fit the views and have as many columns."""
    for name, directions, d in (("a", a, n_features[0]), ("b", b, n_features[1])):
        if directions.ndim != 2 or directions.shape[0] != d:
            raise ValueError(f"{name} must have shape ({d}, p), a row per feature, got {tuple(directions.shape)}")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a and b must have as many columns, got {a.shape[1]} and {b.shape[1]}")


class ViewProducts(Protocol):
    """What products with the covariance of one of several views are made of."""

    @property
    def n_features(self) -> Sequence[int]:
        """Columns of each view."""

    @property
    def like(self) -> Array:
        """Empty array of the data's kind."""

    def view_product(self, view: int, a: Array) -> Array:
        """Product of the covariance of one view with a direction."""


class ViewCovariance:
    """Covariance of one view as a matrix that can only be multiplied with: Sxx for view 0, Syy for view 1.

    Parameters
    ----------
    data : PairedViews, CovarianceMatrices, MultiviewData or MultiviewCovariances
    view : int

    Raises
    ------
    TypeError, ValueError
        If ``data`` has no products with covariances, or no such view.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import GeneralizedStiefel
    >>> from problems import PairedViews, ViewCovariance
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> covariance = ViewCovariance(PairedViews(x[:, :3], x[:, 3:]), view=0)
    >>> scores = x[:, :3] @ GeneralizedStiefel(covariance, 2).random_point(rng=0)
    >>> np.round(np.cov(scores.T, bias=True), 12) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """

    def __init__(self, data: ViewProducts, view: int) -> None:
        if not hasattr(data, "view_product"):
            raise TypeError(f"data must be views or covariances, such as PairedViews, got {type(data).__name__}")
        require_at_least("view", view, 0, whole=True)
        if view >= len(data.n_features):
            raise ValueError(f"view must be one of 0 to {len(data.n_features) - 1}, got {view}")
        self._data, self._view = data, view
        self.shape = (data.n_features[view], data.n_features[view])
        self.dtype = data.like.dtype

    @cached_property
    def like(self) -> Array:
        """Empty array of the data's kind."""
        return self._data.like

    def __matmul__(self, v: Array) -> Array:
        return self._data.view_product(self._view, v)


def as_pair(reg: float | tuple[float, float]) -> tuple[float, float]:
    """Ridge of each view from one number or a pair; a ValueError unless they are finite and non-negative."""
    pair = tuple(reg) if isinstance(reg, (tuple, list)) else (reg, reg)
    try:
        first, second = map(as_ridge, pair)
    except ValueError:
        raise ValueError(f"reg must be a non-negative number or a pair of them, got {reg!r}") from None
    return first, second
