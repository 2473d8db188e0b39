"""Two-sided LOBPCG: leading canonical pairs by a small singular value decomposition for each pass over the data.

U is improved in span[U, P_u, W_u] and V in span[V, P_v, W_v], with W = M^{-1} r the preconditioned residuals

    r_u = Sxy V - Sxx U S,    r_v = Sxy^T U - Syy V S

and P the latest directions. The blocks of a side are kept orthonormal in its covariance, and the products of U and
P are carried, so that an iteration multiplies with W alone: one pass over the data for both sides.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import (
    Array,
    Seed,
    convert,
    namespace,
    standard_normal,
    symmetric_part,
    to_numpy,
)
from problems.canonical_pairs import CanonicalPairs
from problems.cca_direct import no_variance
from problems.data import CovarianceMatrices, CovarianceProducts, PairedViews
from problems.wide_vectors import WideData, products_epsilon
from rankopt.solvers.status import Status


class _Side(NamedTuple):
    """Vectors of one view, their products with its covariance, and with the cross covariance into the other view."""

    v: Array
    gram: Array
    cross: Array

    def times(self, coefficients: Array) -> _Side:
        return _Side(*(part @ coefficients for part in self))

    def beside(self, other: _Side) -> _Side:
        xp = namespace(self.v)
        return _Side(*(xp.concat(parts, axis=1) for parts in zip(self, other, strict=True)))


class _Pairs(NamedTuple):
    """Ritz values and vectors of both sides."""

    values: Array
    x: _Side
    y: _Side

    def bases(self, previous: tuple[_Side, _Side] | None) -> tuple[_Side, _Side]:
        """The vectors, and the latest directions beside them."""
        return (self.x, self.y) if previous is None else (self.x.beside(previous[0]), self.y.beside(previous[1]))


class TwoSidedRun(NamedTuple):
    """Where a run ended."""

    pairs: CanonicalPairs
    products: CovarianceProducts
    """Of the pairs, by a true pass."""
    residual: float
    status: Status
    n_iter: int


def two_sided_lobpcg(
    data: PairedViews | CovarianceMatrices | WideData,
    n_components: int,
    preconditioners: tuple[Any, Any],
    *,
    tol: float,
    max_iter: int,
    oversampling: int = 4,
    refresh: int = 25,
    start: tuple[Array, Array] | None = None,
    rounding: float = 0.0,
    rng: Seed = None,
) -> TwoSidedRun:
    """Leading canonical pairs of two views by products with their covariances.

    Parameters
    ----------
    data : PairedViews, CovarianceMatrices or WideData
    n_components : int
    preconditioners : pair of object with ``solve``
        M of each view.
    tol : float
        Bound for the norm of the residuals of the wanted pairs in M^{-1}.
    max_iter : int
    oversampling : int
        Columns beyond the wanted ones, which need not converge: convergence depends on the gap behind them.
    refresh : int
        Iterations after which the carried products are replaced by true ones, at the price of a pass.
    start : pair of array, optional
        Directions to start from; random ones when left out.
    rounding : float
        Norm that rounding of the products may leave of these residuals; a run ends there, too, with
        ``Status.APPROXIMATION_FLOOR``.
    rng : None, int, numpy.random.Generator or torch.Generator

    Returns
    -------
    TwoSidedRun

    Raises
    ------
    ValueError
        If a view has no variance.

    References
    ----------
    Knyazev, Toward the optimal preconditioned eigensolver: locally optimal block preconditioned conjugate gradient
    method, SIAM J. Sci. Comput. 23 (2001), in the two-sided form for singular values.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import IdentityPreconditioner
    >>> from problems import CovarianceMatrices, Covariances
    >>> data = CovarianceMatrices(Covariances(np.eye(3), np.diag([0.9, 0.5, 0.1]), np.eye(3)))
    >>> metrics = IdentityPreconditioner(), IdentityPreconditioner()
    >>> run = two_sided_lobpcg(data, 2, metrics, tol=1e-9, max_iter=50, rng=0)
    >>> np.round(run.pairs.correlations, 9)
    array([0.9, 0.5])
    """
    width, epsilon = min(*data.n_features, n_components + oversampling), products_epsilon(data)
    if start is None:
        start = (
            standard_normal(rng, (data.n_features[0], width), data.like),
            standard_normal(rng, (data.n_features[1], width), data.like),
        )
    best, _ = _ritz(_multiplied(data, *start), width, epsilon)
    width, age = best.values.shape[0], 0  # fewer columns where the data are of lower rank
    previous: tuple[_Side, _Side] | None = None
    for iteration in range(max_iter + 1):
        last = iteration == max_iter
        size, fresh = _search(best, previous, preconditioners, n_components, epsilon)
        status = _status(size, rounding, tol, last=last)
        if age and (status is not None or age >= refresh):
            # Only what holds for true products counts.
            best, _ = _ritz(_multiplied(data, best.x.v, best.y.v), width, epsilon)
            age, previous = 0, None
            size, fresh = _search(best, previous, preconditioners, n_components, epsilon)
            status = _status(size, rounding, tol, last=last)
        if status is None and not any(w.shape[1] for w in fresh):
            status = Status.STEP_TOO_SMALL
        if status is not None:
            return _finished(best, n_components, size, status, iteration)
        new = _multiplied(data, *fresh)
        bases = zip(best.bases(previous), new, strict=True)
        x, y = (base.beside(_corrected(base, w)) for base, w in bases)
        best, previous = _ritz((x, y), width, epsilon)
        age += 1
    raise AssertionError("the loop ends by a status")


def _multiplied(data: PairedViews | CovarianceMatrices | WideData, a: Array, b: Array) -> tuple[_Side, _Side]:
    """Both sides with true products, by one pass; the narrower of the two is filled with zeros for it."""
    xp, width = namespace(a), max(a.shape[1], b.shape[1])

    def filled(v: Array) -> Array:
        zeros = xp.zeros((v.shape[0], width - v.shape[1]), dtype=v.dtype, device=v.device)
        return v if v.shape[1] == width else xp.concat([v, zeros], axis=1)

    products = data.products(filled(a), filled(b))
    p, q = a.shape[1], b.shape[1]
    return _Side(a, products.xx[:, :p], products.yx[:, :p]), _Side(b, products.yy[:, :q], products.xy[:, :q])


def _ritz(sides: tuple[_Side, _Side], width: int, epsilon: float) -> tuple[_Pairs, tuple[_Side, _Side]]:
    """Best pairs in the spans of both sides, and the directions that led there from the first ``width`` columns.

    The small matrices are decomposed in double precision, on the processor wherever the data are: a device takes longer
    for each of them than for a pass, and their ranks are needed there anyway.
    """
    x, y = sides
    gram_x, gram_y, cross = _numbers(x.v.mT @ x.gram, y.v.mT @ y.gram, x.v.mT @ y.cross)
    coefficients = [_orthonormal(gram, width, epsilon) for gram in (gram_x, gram_y)]
    for c, name in zip(coefficients, ("X", "y"), strict=True):
        if c.shape[1] == 0:
            raise no_variance(name)
    left, values, right = np.linalg.svd(coefficients[0].T @ cross @ coefficients[1], full_matrices=False)
    best, led = [], []
    for side, c, chosen in zip(sides, coefficients, (left[:, :width], right.T[:, :width]), strict=True):
        # Orthonormal to the new block: what lies outside of the old one, orthogonalised in orthonormal coordinates.
        outside = np.concatenate([np.zeros_like(chosen[:width]), chosen[width:]])
        basis = np.linalg.qr(np.concatenate([chosen, outside], axis=1))[0][:, width : c.shape[1]]
        both = side.times(convert(c @ np.concatenate([chosen, basis], axis=1), side.v))
        count = chosen.shape[1]
        best.append(_Side(*(part[:, :count] for part in both)))
        led.append(_Side(*(part[:, count:] for part in both)))
    return _Pairs(convert(values[:width], x.v), best[0], best[1]), (led[0], led[1])


def _numbers(*arrays: Array) -> list[np.ndarray]:
    """Small arrays as numpy's in double precision, by one transfer from where they are."""
    xp = namespace(arrays[0])
    together = to_numpy(xp.concat([xp.reshape(array, (-1,)) for array in arrays])).astype(np.float64)
    parts = np.split(together, np.cumsum([math.prod(array.shape) for array in arrays])[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]


def _orthonormal(gram: np.ndarray, width: int, epsilon: float) -> np.ndarray:
    """Coefficients C with C^T G C = I whose first ``width`` columns have the span of the first ones of the basis.

    Directions of the rest that do not stand clear of rounding are left out.
    """
    gram = symmetric_part(gram)
    first = _clear(gram[:width, :width], epsilon)
    if gram.shape[0] == width:
        return first
    first = np.concatenate([first, np.zeros_like(gram[width:, : first.shape[1]])])
    rest = np.eye(gram.shape[0])[:, width:]
    for _ in range(2):
        rest = rest - first @ (first.T @ (gram @ rest))
    return np.concatenate([first, rest @ _clear(symmetric_part(rest.T @ gram @ rest), epsilon)], axis=1)


def _clear(gram: np.ndarray, epsilon: float) -> np.ndarray:
    """Coefficients of orthonormal directions of a Gram matrix that stand clear of rounding."""
    diagonal = np.diagonal(gram)
    positive = diagonal > 0
    scale = np.where(positive, 1 / np.sqrt(np.where(positive, diagonal, 1.0)), 0.0)
    values, vectors = np.linalg.eigh(gram * scale * scale[:, None])
    first = gram.shape[0] - np.count_nonzero(values > 10 * gram.shape[0] * epsilon * values[-1])
    return scale[:, None] * vectors[:, first:] / np.sqrt(values[first:])


def _search(
    best: _Pairs,
    previous: tuple[_Side, _Side] | None,
    preconditioners: tuple[Any, Any],
    n_components: int,
    epsilon: float,
) -> tuple[float, list[Array]]:
    """Norm of the residuals of the wanted pairs in M^{-1}, and the directions they give outside of the bases."""
    x, y, p = best.x, best.y, n_components
    residuals = y.cross - x.gram * best.values, x.cross - y.gram * best.values
    solved = [metric.solve(r) for metric, r in zip(preconditioners, residuals, strict=True)]
    squares = [r[:, :p] * w[:, :p] for r, w in zip(residuals, solved, strict=True)]
    outside = [_outside(base, w) for base, w in zip(best.bases(previous), solved, strict=True)]
    xp = namespace(x.v)
    numbers = _numbers(*(xp.sum(part, axis=0) for part in squares), *(size for _, size in outside))
    # What rounding leaves of a direction inside the basis is none, nor is one where the basis fills the space.
    clear = [size > 100 * epsilon for size in numbers[2:]]
    fresh = [
        w / size if np.all(kept) else w[:, np.flatnonzero(kept)] / size[np.flatnonzero(kept)]
        for (w, size), kept in zip(outside, clear, strict=True)
    ]
    return max(float(sum(map(np.sum, numbers[:2]))), 0.0) ** 0.5, fresh


def _status(size: float, rounding: float, tol: float, *, last: bool) -> Status | None:
    """Why a run ends at residuals of this size, or None."""
    if size <= tol:
        return Status.CONVERGED_GRADIENT
    if size <= rounding:
        return Status.APPROXIMATION_FLOOR
    return Status.ITERATION_LIMIT if last else None


def _outside(base: _Side, w: Array) -> tuple[Array, Array]:
    """Search directions of unit length without their part in a basis, and the lengths that are left."""
    xp = namespace(w)
    size = xp.linalg.vector_norm(w, axis=0)
    w = w / xp.where(size > 0, size, xp.ones_like(size))
    for _ in range(2):
        w = w - base.v @ (base.gram.mT @ w)
    return w, xp.linalg.vector_norm(w, axis=0)


def _corrected(base: _Side, new: _Side) -> _Side:
    """New directions without the overlap with the basis that rounding left, which scaling them up has scaled up."""
    overlap = base.gram.mT @ new.v
    return _Side(*(part - known @ overlap for part, known in zip(new, base, strict=True)))


def _finished(best: _Pairs, p: int, size: float, status: Status, n_iter: int) -> TwoSidedRun:
    x, y = best.x, best.y
    pairs = CanonicalPairs(best.values[:p], x.v[:, :p], y.v[:, :p])
    products = CovarianceProducts(xx=x.gram[:, :p], xy=y.cross[:, :p], yy=y.gram[:, :p], yx=x.cross[:, :p])
    return TwoSidedRun(pairs, products, size, status, n_iter)
