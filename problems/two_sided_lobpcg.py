"""Two-sided LOBPCG: leading canonical pairs by a small singular value decomposition for each pass over the data.

U is improved in span[U, P_u, W_u] and V in span[V, P_v, W_v], with W = M^{-1} r the preconditioned residuals

    r_u = Sxy V - Sxx U S,    r_v = Sxy^T U - Syy V S

and P the latest directions. The blocks of a side are kept orthonormal in its covariance, and the products of U and
P are carried, so that an iteration multiplies with W alone: one pass over the data for both sides.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from manifolds.linalg import Array, Seed, machine_epsilon, namespace, standard_normal, symmetric_part
from problems.canonical_pairs import CanonicalPairs
from problems.data import CovarianceMatrices, CovarianceProducts, PairedViews
from rankopt.solvers.stopping import Status


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


class TwoSidedRun(NamedTuple):
    """Where a run ended."""

    pairs: CanonicalPairs
    products: CovarianceProducts
    """Of the pairs, by a true pass."""
    residual: float
    status: Status
    n_iter: int


def two_sided_lobpcg(
    data: PairedViews | CovarianceMatrices,
    n_components: int,
    preconditioners: tuple[Any, Any],
    *,
    tol: float,
    max_iter: int,
    oversampling: int = 4,
    refresh: int = 25,
    start: tuple[Array, Array] | None = None,
    rng: Seed = None,
) -> TwoSidedRun:
    """Leading canonical pairs of two views by products with their covariances.

    Parameters
    ----------
    data : PairedViews or CovarianceMatrices
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
    rng : None, int, numpy.random.Generator or torch.Generator

    Returns
    -------
    TwoSidedRun

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
    width = min(*data.n_features, n_components + oversampling)
    if start is None:
        start = (
            standard_normal(rng, (data.n_features[0], width), data.like),
            standard_normal(rng, (data.n_features[1], width), data.like),
        )
    values, (x, y) = _ritz(_multiplied(data, *start), width)
    width, age = values.shape[0], 0  # fewer columns where the data are of lower rank
    previous: tuple[_Side, _Side] | None = None
    for iteration in range(max_iter + 1):
        residuals = y.cross - x.gram * values, x.cross - y.gram * values
        searches = [metric.solve(r) for metric, r in zip(preconditioners, residuals, strict=True)]
        size = _size(residuals, searches, n_components)
        done = size <= tol or iteration == max_iter
        if age and (done or age >= refresh):
            # Only what holds for true products counts.
            values, (x, y) = _ritz(_multiplied(data, x.v, y.v), width)
            age, previous = 0, None
            residuals = y.cross - x.gram * values, x.cross - y.gram * values
            searches = [metric.solve(r) for metric, r in zip(preconditioners, residuals, strict=True)]
            size = _size(residuals, searches, n_components)
        if size <= tol or iteration == max_iter:
            status = Status.CONVERGED_GRADIENT if size <= tol else Status.ITERATION_LIMIT
            return _finished(values, x, y, n_components, size, status, iteration)
        bases = (x, y) if previous is None else (x.beside(previous[0]), y.beside(previous[1]))
        fresh = [_outside(base, w) for base, w in zip(bases, searches, strict=True)]
        if not any(w.shape[1] for w in fresh):
            return _finished(values, x, y, n_components, size, Status.STEP_TOO_SMALL, iteration)
        new = _multiplied(data, *fresh)
        wider = [base.beside(_corrected(base, w)) for base, w in zip(bases, new, strict=True)]
        values, (x, y), previous = _step((wider[0], wider[1]), width)
        age += 1
    raise AssertionError("the loop ends by a status")


def _multiplied(data: PairedViews | CovarianceMatrices, a: Array, b: Array) -> tuple[_Side, _Side]:
    """Both sides with true products, by one pass; the narrower of the two is filled with zeros for it."""
    xp, width = namespace(a), max(a.shape[1], b.shape[1])

    def filled(v: Array) -> Array:
        zeros = xp.zeros((v.shape[0], width - v.shape[1]), dtype=v.dtype, device=v.device)
        return v if v.shape[1] == width else xp.concat([v, zeros], axis=1)

    products = data.products(filled(a), filled(b))
    p, q = a.shape[1], b.shape[1]
    return _Side(a, products.xx[:, :p], products.yx[:, :p]), _Side(b, products.yy[:, :q], products.xy[:, :q])


def _ritz(sides: tuple[_Side, _Side], width: int) -> tuple[Array, tuple[_Side, _Side]]:
    """Ritz values and vectors in the spans of two blocks."""
    values, sides, _ = _step(sides, width)
    return values, sides


def _step(sides: tuple[_Side, _Side], width: int) -> tuple[Array, tuple[_Side, _Side], tuple[_Side, _Side]]:
    """Best pairs in the spans of both sides, and the directions that led there from the first ``width`` columns."""
    xp = namespace(sides[0].v)
    coefficients = [_orthonormal(side.v.mT @ side.gram, width) for side in sides]
    k = coefficients[0].mT @ (sides[0].v.mT @ sides[1].cross) @ coefficients[1]
    left, values, right = xp.linalg.svd(k, full_matrices=False)
    best = left[:, :width], right.mT[:, :width]
    x, y = (side.times(c @ chosen) for side, c, chosen in zip(sides, coefficients, best, strict=True))
    moved = []
    for side, c, chosen in zip(sides, coefficients, best, strict=True):
        # Orthonormal to the new block: what lies outside of the old one, orthogonalised in orthonormal coordinates.
        outside = xp.concat([xp.zeros_like(chosen[:width]), chosen[width:]], axis=0)
        basis = xp.linalg.qr(xp.concat([chosen, outside], axis=1))[0][:, width:]
        moved.append(side.times(c @ basis[:, : c.shape[1] - width]))
    return values[:width], (x, y), (moved[0], moved[1])


def _orthonormal(gram: Array, width: int) -> Array:
    """Coefficients C with C^T G C = I whose first ``width`` columns have the span of the first ones of the basis.

    Directions of the rest that do not stand clear of rounding are left out.
    """
    xp = namespace(gram)
    gram = symmetric_part(gram)
    first = _clear(gram[:width, :width])
    if gram.shape[0] == width:
        return first
    zeros = xp.zeros_like(gram[width:, : first.shape[1]])
    first = xp.concat([first, zeros], axis=0)
    rest = xp.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)[:, width:]
    for _ in range(2):
        rest = rest - first @ (first.mT @ (gram @ rest))
    return xp.concat([first, rest @ _clear(symmetric_part(rest.mT @ gram @ rest))], axis=1)


def _clear(gram: Array) -> Array:
    """Coefficients of orthonormal directions of a Gram matrix that stand clear of rounding."""
    xp = namespace(gram)
    diagonal = xp.linalg.diagonal(gram)
    positive = diagonal > 0
    scale = xp.where(positive, 1 / xp.sqrt(xp.where(positive, diagonal, xp.ones_like(diagonal))), 0 * diagonal)
    values, vectors = xp.linalg.eigh(gram * scale * scale[:, None])
    kept = values > 10 * gram.shape[0] * machine_epsilon(gram) * values[-1]
    first = gram.shape[0] - int(xp.sum(xp.astype(kept, xp.int64)))
    return scale[:, None] * vectors[:, first:] / xp.sqrt(values[first:])


def _outside(base: _Side, w: Array) -> Array:
    """Search directions without their part in a basis, of unit length, as far as something is left of them."""
    xp = namespace(w)
    w = w / _lengths(w)
    for _ in range(2):
        w = w - base.v @ (base.gram.mT @ w)
    size = xp.linalg.vector_norm(w, axis=0)
    # What rounding leaves of a direction inside the basis is none, nor is one where the basis fills the space.
    kept = size > 100 * machine_epsilon(w)
    return w[:, kept] / size[kept]


def _corrected(base: _Side, new: _Side) -> _Side:
    """New directions without the overlap with the basis that rounding left, which scaling them up has scaled up."""
    overlap = base.gram.mT @ new.v
    return _Side(*(part - known @ overlap for part, known in zip(new, base, strict=True)))


def _lengths(w: Array) -> Array:
    xp = namespace(w)
    size = xp.linalg.vector_norm(w, axis=0)
    return xp.where(size > 0, size, xp.ones_like(size))


def _size(residuals: tuple[Array, Array], searches: list[Array], n_components: int) -> float:
    """Norm of the residuals of the wanted pairs in M^{-1}."""
    xp = namespace(residuals[0])
    squares = sum(
        float(xp.sum(r[:, :n_components] * w[:, :n_components])) for r, w in zip(residuals, searches, strict=True)
    )
    return max(squares, 0.0) ** 0.5


def _finished(values: Array, x: _Side, y: _Side, p: int, size: float, status: Status, n_iter: int) -> TwoSidedRun:
    pairs = CanonicalPairs(values[:p], x.v[:, :p], y.v[:, :p])
    products = CovarianceProducts(xx=x.gram[:, :p], xy=y.cross[:, :p], yy=y.gram[:, :p], yx=x.cross[:, :p])
    return TwoSidedRun(pairs, products, size, status, n_iter)
