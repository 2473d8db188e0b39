"""Any number of views of the same rows as covariance operators: read in row blocks, and reads are counted.

With views X_1, ..., X_m (n x d_i), their column means removed implicitly, and weights W = diag(w) / sum(w),

    S_ij = Xc_i^T W Xc_j  for i != j,    S_ii = Xc_i^T W Xc_i + reg_i I.

A *pass* reads every row of all views once. The centred data is never formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from manifolds.linalg import Array, identity, is_array, machine_epsilon, namespace, require_real_floating
from problems.co_moments import clear_scatter, column_scales
from problems.data_matrix import ShiftedRows, as_ridge, gather, weighted
from problems.joint_views import JointViews
from problems.row_blocks import cross_product, for_products, product_like, zeros
from problems.row_passes import RowBlock
from rankopt.solvers.parameters import require_at_least


def row_parts(v: Array, sizes: Sequence[int]) -> list[Array]:
    """Stretches of rows of these sizes, one after the other."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [v[end - size : end] for size, end in zip(sizes, ends, strict=True)]


class MultiviewCovariances:
    """Dense covariances of several views with the face of ``MultiviewData``; a pass is then one product with them.

    Parameters
    ----------
    matrix : array of shape (D, D)
        The blocks S_ij in one matrix; D is the number of features of all views together.
    n_features : sequence of int
        Of each view.

    Raises
    ------
    TypeError
        If the matrix is no real floating array, or a number of features is not whole.
    ValueError
        If it is not square, of as many rows as there are features.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import MultiviewCovariances
    >>> matrix = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    >>> data = MultiviewCovariances(matrix, [1, 2])
    >>> data.block(0, 1)
    array([[0.5, 0.2]])
    >>> data.view_product(1, np.ones((2, 1)))
    array([[1.1],
           [1.1]])
    """

    def __init__(self, matrix: Array, n_features: Sequence[int]) -> None:
        if not is_array(matrix):
            raise TypeError(f"matrix must be a numpy array or a torch tensor, got {type(matrix).__name__}")
        require_real_floating(matrix, "matrix")
        for i, d in enumerate(n_features):
            require_at_least(f"n_features[{i}]", d, 1, whole=True)
        if tuple(matrix.shape) != (sum(n_features),) * 2:
            raise ValueError(
                f"matrix must be square with a row for each of the {sum(n_features)} features of all views, got shape "
                f"{tuple(matrix.shape)}"
            )
        self.matrix, self.n_features = matrix, tuple(n_features)
        self.n_passes = 0

    @property
    def like(self) -> Array:
        """Empty array of the data's kind."""
        return self.matrix[:0]

    def block(self, i: int, j: int) -> Array:
        """The block S_ij."""
        return row_parts(row_parts(self.matrix, self.n_features)[i].mT, self.n_features)[j].mT

    def products(self, directions: Sequence[Array]) -> tuple[Array, ...]:
        """Products [S_i1 a_1, ..., S_im a_m] for each view, with directions a_j of shape (d_j, p)."""
        self.n_passes += 1
        xp = namespace(self.matrix)
        parts = [columns.mT @ a for columns, a in zip(row_parts(self.matrix, self.n_features), directions, strict=True)]
        return tuple(row_parts(xp.concat(parts, axis=1), self.n_features))

    def view_product(self, view: int, a: Array) -> Array:
        """Product of the covariance of one view with a direction."""
        self.n_passes += 1
        return self.block(view, view) @ a


class MultiviewData(JointViews):
    """Several views with the same rows, read in row blocks: means, sketches, covariances and their products.

    Parameters
    ----------
    views : sequence of array, scipy sparse matrix or RowSource of shape (n, d_i)
        At least two, as ``DataMatrix`` takes them, of one library, dtype and device; they are read, never copied or
        changed.
    reg : float or sequence of float
        Ridge on the covariances, one for all views or one per view.
    scale : bool
        Whether columns are divided by their standard deviations, implicitly like the centring.
    sample_weight : array of shape (n,), optional
        Non-negative weights of the rows; only their ratios matter.
    block_rows : int, optional
        Rows per block at most.

    Attributes
    ----------
    views : tuple of DataMatrix
    n_samples : int
    n_features : tuple of int
    n_passes : int
        Reads of the data so far; a read of one view counts as one.

    Raises
    ------
    TypeError, ValueError
        If the views are not at least two real floating matrices of one kind with the same number of rows, or hold NaN
        or infinity (found in the first pass, not in an extra one).

    Examples
    --------
    >>> import numpy as np
    >>> views = list(np.random.default_rng(0).standard_normal((3, 50, 2)))
    >>> data = MultiviewData(views, reg=0.1)
    >>> stacked = np.cov(np.hstack(views).T, bias=True) + 0.1 * np.eye(6)
    >>> np.allclose(data.covariances().matrix, stacked)
    True
    >>> np.allclose(data.products([np.eye(2)] * 3)[1], stacked[2:4])
    True
    """

    def __init__(
        self,
        views: Sequence[Any],
        *,
        reg: float | Sequence[float] = 0.0,
        scale: bool = False,
        sample_weight: Any = None,
        block_rows: int | None = None,
    ) -> None:
        if not isinstance(views, (list, tuple)):
            raise TypeError(f"views must be a list of data matrices, got {type(views).__name__}")
        if len(views) < 2:
            raise ValueError(f"views must hold at least two data matrices, got {len(views)}")
        self.reg = as_ridges(reg, len(views))
        named = {f"views[{i}]": view for i, view in enumerate(views)}
        super().__init__(named, self.reg, scale, sample_weight, block_rows)

    def covariances(self, *, double: bool = False) -> MultiviewCovariances:
        """Dense covariances of all views in double precision, in one pass; ridge included.

        Parameters
        ----------
        double : bool
            Whether products of single-precision dense rows are taken in double precision, too, and not only added up in
            it. Those of sparse rows, which are not shifted, always are.
        """
        xp, m = namespace(self.like), len(self.views)
        blocks = self._covariance_blocks([(i, j) for i in range(m) for j in range(i, m)], double=double)
        rows = [[blocks[i, j] if i <= j else blocks[j, i].mT for j in range(m)] for i in range(m)]
        return MultiviewCovariances(xp.concat([xp.concat(row, axis=1) for row in rows], axis=0), self.n_features)

    def own_covariances(self) -> tuple[Array, ...]:
        """Dense covariance S_ii of each view in the dtype of the data, in one pass."""
        blocks = self._covariance_blocks([(i, i) for i in range(len(self.views))], double=False)
        return tuple(map(self.views[0].cast, blocks.values()))

    def products(self, directions: Sequence[Array]) -> tuple[Array, ...]:
        """Products [S_i1 a_1, ..., S_im a_m] for each view in one pass, with directions a_j of shape (d_j, p)."""
        starts = [sum(a.shape[1] for a in directions[:i]) for i in range(len(directions))]

        def together(scores: list[Array]) -> list[Array]:
            return [namespace(scores[0]).concat(scores, axis=1)] * len(scores)

        products = self._products_with_scores(directions, together)
        for product, a, start, ridge in zip(products, directions, starts, self.reg, strict=True):
            product[:, start : start + a.shape[1]] += ridge * a
        return tuple(products)

    def own_products(self, directions: Sequence[Array]) -> tuple[Array, ...]:
        """Products S_ii a_i with directions of shape (d_i, p), in one pass."""
        products = self._products_with_scores(directions, lambda scores: scores)
        return tuple(product + ridge * a for product, a, ridge in zip(products, directions, self.reg, strict=True))

    def pencil_products(self, directions: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """Sums of S_ij a_j over all j, and S_ii a_i, for each view in one pass, with directions of shape (d_i, p)."""
        p = directions[0].shape[1]

        def paired(scores: list[Array]) -> list[Array]:
            total = sum(scores[1:], start=scores[0])
            return [namespace(total).concat([total, own], axis=1) for own in scores]

        products = self._products_with_scores(directions, paired)
        ridges = [ridge * a for ridge, a in zip(self.reg, directions, strict=True)]
        together = list(zip(products, ridges, strict=True))
        return [part[:, :p] + ridge for part, ridge in together], [part[:, p:] + ridge for part, ridge in together]

    def _products_with_scores(
        self, directions: Sequence[Array], arrange: Callable[[list[Array]], list[Array]]
    ) -> list[Array]:
        """Products Xc_i^T W Z_i, where ``arrange`` makes the Z_i of the scores Xc_j a_j, in one pass."""
        self.moments  # noqa: B018 - known before the pass
        scores_of = [view.scores(a) for view, a in zip(self.views, directions, strict=True)]
        widths = [part.shape[1] for part in arrange([a[:0] for a in directions])]
        like, sizes = self.like, self.n_features

        def part(blocks: Iterator[RowBlock]) -> tuple[Array, ...]:
            results = [zeros(like, (d, width)) for d, width in zip(sizes, widths, strict=True)]
            totals = [zeros(like, (width,)) for width in widths]
            for block in blocks:
                scores = [weighted(of(view), block.vectors[0]) for of, view in zip(scores_of, block.views, strict=True)]
                for i, (view, z) in enumerate(zip(block.views, arrange(scores), strict=True)):
                    results[i] += view.T @ z
                    totals[i] += namespace(z).sum(z, axis=0)
            return (*results, *totals)

        self._passes += 1
        sums = self.rows.sum(part)
        m = len(self.views)
        return [view.centred(*parts) for view, *parts in zip(self.views, sums[:m], sums[m:], strict=True)]

    def _covariance_blocks(self, pairs: Sequence[tuple[int, int]], *, double: bool) -> dict[tuple[int, int], Array]:
        """Blocks S_ij for pairs of views, with all pairs (i, i) among them, in double precision by one pass."""
        lead, like, sizes = self.views[0], self.like, self.n_features

        def start() -> list[Array]:
            return [zeros(like, (sizes[i], sizes[j])) for i, j in pairs]

        def add(totals: list[Array], block: ShiftedRows) -> None:
            views = [for_products(view, double=double) for view in block.views]
            for total, (i, j) in zip(totals, pairs, strict=True):
                total += cross_product(views[i], views[j])

        self._passes += 1
        parts, found = gather(self.views, self.rows, start, add, 4096, 8 * sum(self.n_features) ** 2)
        wide, weight = found[0].dtype, lead.total_weight
        gaps = [lead.cast(gap, wide) for gap in parts]
        sums = dict(zip(pairs, found, strict=True))
        for (i, j), total in sums.items():
            if i == j:
                clear_scatter(total, gaps[i][None, :], weight, product_like(self.views[i].data, double=double))
            else:
                total -= (weight * gaps[i])[:, None] * gaps[j]
        factors = [
            column_scales(
                sums[i, i], lead.cast(view.moments.mean, wide), weight, machine_epsilon(lead.like), scale=self.scale
            )[1]
            for i, view in enumerate(self.views)
        ]
        blocks = {(i, j): total * (factors[i] / weight)[:, None] * factors[j] for (i, j), total in sums.items()}
        for i, ridge in enumerate(self.reg):
            blocks[i, i] += ridge * identity(self.n_features[i], blocks[i, i])
        return blocks


def as_ridges(reg: Any, count: int) -> tuple[float, ...]:
    """Ridge of each view from one number or one per view; a ValueError unless they are finite and non-negative."""
    several = isinstance(reg, (tuple, list)) or getattr(reg, "ndim", 0) == 1
    ridges = tuple(reg) if several else (reg,) * count
    if len(ridges) == count:
        try:
            return tuple(map(as_ridge, ridges))
        except ValueError:
            pass
    raise ValueError(f"reg must be a non-negative number or a sequence of one for each of {count} views, got {reg!r}")
