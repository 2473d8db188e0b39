"""Discriminant directions: eigenvectors of the pencil (F F^T, C) with C = S_w + ridge I and F of rank l - 1 at most.

F (d x l) has the columns sqrt(pi_k) (m_k - m), so that F F^T is the between-class covariance. With any whitening of C
the directions come from the singular value decomposition of a d x l matrix; where none is to be had, from the solution
Z of C Z = F, whose columns span them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from manifolds.extreme_eigenvalues import extreme_eigenvalues
from manifolds.linalg import (
    Array,
    cholesky,
    identity,
    machine_epsilon,
    namespace,
    solve_triangular,
    symmetric_part,
    triangular_condition,
)
from manifolds.nystrom import NystromPreconditioner
from manifolds.preconditioner_choice import gram_preconditioner
from manifolds.preconditioners import (
    CholeskyPreconditioner,
    DiagonalPreconditioner,
    IdentityPreconditioner,
    SketchedGramPreconditioner,
)
from manifolds.sketching import SparseSignSketch
from problems.block_pcg import block_pcg
from problems.cca_choice import PROCESSOR
from problems.class_labels import ClassMeans
from problems.generalized_eigen import generalized_eigh
from problems.labelled_data import LabelledData
from problems.sketch_sizes import MAX_SKETCHED_CONDITION, SKETCH_FACTOR
from problems.whitening_factors import Basis, Factor
from rankopt.solvers.status import Status

EXPECTED_STEPS = 16
"""Steps that block PCG needs as a rule."""

PASS_COST, COLUMN_COST = 30.0, 7.0
"""Cost of a pass for each entry of the data, and for each entry and vector that is multiplied, in units of what forming
the covariance costs for each entry and column. Measured, as the next two."""

SKETCH_COST = 430.0
"""Cost of the sketch for each entry of the data, in the same unit."""

FACTOR_COST = 7.5
"""Cost of the sketch's QR factorisation for each entry of a d x d x d cube, in the same unit."""

MAX_GRAM_COLUMNS = 20_000
"""Columns up to which the covariance of dense data is formed at all: 3.2 GB in double precision."""

MAX_SPARSE_GRAM_COLUMNS = 10_000
"""The same for sparse data, whose covariance is not sparse."""

EXPECTED_SPARSE_PASSES = 80
"""Passes of block PCG over sparse data with a ridge and a low-rank preconditioner, its set-up included."""

DUAL_COST = 0.012
"""Nanoseconds of the dual solver for each cube of the rows."""

LANCZOS_STEPS = 6
"""Products that estimate this condition number."""

MAX_SKETCHED_COLUMNS = 4096
"""Columns up to which the automatic preconditioner is a dense triangular factor."""

NYSTROM_RANK = 64
"""Rank of a Nystrom preconditioner."""


class Discriminants(NamedTuple):
    """Directions w with w^T C w = 1, and the quotients of between- and within-class variance along them."""

    eigenvalues: Array
    """Shape (r,), descending."""
    directions: Array
    """Shape (d, r)."""
    condition: float
    """Condition number of the matrix that was solved with: C, or M^{-1} C with a preconditioner M."""
    total: float | None = None
    """Sum of all eigenvalues, where these are not all."""
    sketch_size: int | None = None
    status: Status | None = None
    n_iter: int = 1


def discriminants(whitening: Factor | Basis, between: Array, sketch_size: int | None = None) -> Discriminants:
    """Directions from the singular value decomposition of the whitened F, by descending squared singular values."""
    left, values, _ = namespace(between).linalg.svd(whitening.whiten(between), full_matrices=False)
    rank = _rank(values, between)
    directions = whitening.directions(left[:, :rank])
    return Discriminants(values[:rank] ** 2, directions, whitening.condition, sketch_size=sketch_size)


def choose_solver(n: int, d: int, n_classes: int, *, density: float | None = None, ridge: bool) -> str:
    """The cheapest solver by a count of operations: direct, unless d is large or the rows do not fill the space.

    Forming the covariance costs n d^2; block PCG a sketch, its factorisation, a few passes with one vector and then
    passes with one for each class. Sparse data with a ridge take block PCG with a low-rank preconditioner, or the
    matrix of the rows, where these cost less than factors of order d. Constants are measured ones; the choice depends
    on the sizes alone.

    Parameters
    ----------
    n, d, n_classes : int
    density : float, optional
        Stored share of the entries of sparse data.
    ridge : bool
    """
    if density is not None:
        costs = _sparse_costs(n, d, n_classes, density, ridge=ridge)
        return min(costs, key=lambda name: costs[name])
    if n < d:
        return "cholesky-qr"
    steps = EXPECTED_STEPS * (PASS_COST + COLUMN_COST * n_classes) + LANCZOS_STEPS * (PASS_COST + COLUMN_COST)
    iterations = n * d * (steps + SKETCH_COST) + FACTOR_COST * d**3
    return "direct" if d <= MAX_GRAM_COLUMNS and n * d**2 <= iterations else "block-pcg"


def _sparse_costs(n: int, d: int, n_classes: int, density: float, *, ridge: bool) -> dict[str, float]:
    """Estimated nanoseconds of the solvers for sparse data; without a ridge iterations are for lack of memory only."""
    stored = n * d * density
    costs = {"block-pcg": EXPECTED_SPARSE_PASSES * stored * (1 + PROCESSOR.sparse * n_classes)}
    if not ridge and d <= MAX_SPARSE_GRAM_COLUMNS:
        costs = {}
    if d <= MAX_SPARSE_GRAM_COLUMNS:
        costs["direct"] = PROCESSOR.sparse_gram * n * (d * density) ** 2 + PROCESSOR.factor * d**3
    if ridge and n <= MAX_SPARSE_GRAM_COLUMNS:
        costs["dual"] = DUAL_COST * n**3
    return costs


def _rank(values: Array, between: Array) -> int:
    """Number of singular values of F that stand clear of rounding; l - 1 at most, and one at least."""
    xp = namespace(values)
    clear = values > max(between.shape) * machine_epsilon(values) * values[0]
    return max(1, min(int(xp.sum(xp.astype(clear, xp.int64))), between.shape[1] - 1))


class WithinCovariance:
    """C = S_w + ridge I as an operator: a product is a pass over the data.

    Parameters
    ----------
    data : LabelledData
    ridge : float
    """

    def __init__(self, data: LabelledData, ridge: float = 0.0) -> None:
        self._data, self.ridge = data, ridge
        self.shape, self.like, self.dtype = (data.n_features,) * 2, data.like, data.like.dtype

    def __matmul__(self, v: Array) -> Array:
        return self._data.product(v) + self.ridge * v

    def diagonal(self) -> Array:
        """Diagonal of C, by a pass."""
        return self._data.variances() + self.ridge


class _LowRank:
    """F F^T as an operator."""

    def __init__(self, factor: Array) -> None:
        self._factor, self.like, self.dtype = factor, factor[:0], factor.dtype
        self.shape = (factor.shape[0],) * 2

    def __matmul__(self, v: Array) -> Array:
        return self._factor @ (self._factor.mT @ v)


def iterative(
    data: LabelledData,
    priors: Array,
    ridge: float,
    solver: str,
    preconditioner: str,
    *,
    tol: float,
    max_iter: int,
    seed: int,
) -> Discriminants:
    """Directions by products with C alone, a pass over the data each.

    Parameters
    ----------
    data : LabelledData
    priors : array of shape (l,)
    ridge : float
    solver : {"block-pcg", "lobpcg", "riemannian"}
    preconditioner : {"auto", "sketched", "nystrom", "diagonal", "exact", "identity"}
    tol : float
    max_iter : int
    seed : int
    """
    operator = WithinCovariance(data, ridge)
    metric, size = _preconditioner(data, ridge, preconditioner, seed)
    condition = extreme_eigenvalues(operator, metric, steps=LANCZOS_STEPS, rng=seed).condition
    while size is not None and condition > MAX_SKETCHED_CONDITION and 2 * size < data.n_samples:
        size *= 2
        metric = _sketched(data, ridge, size, seed)
        condition = extreme_eigenvalues(operator, metric, steps=LANCZOS_STEPS, rng=seed).condition
    between = ClassMeans(data.means, priors).between
    f = _independent(between, data.like)
    if solver == "block-pcg":
        solution = block_pcg(operator, f, metric, tol=tol, max_iter=max_iter)
        found = _rayleigh_ritz(f, solution.z, solution.cz, condition)
        return found._replace(sketch_size=size, status=solution.status, n_iter=solution.n_iter)
    pairs = generalized_eigh(
        _LowRank(f), operator, f.shape[1], preconditioner=metric, method=solver, tol=tol, max_iter=max_iter, rng=seed,
        probe=False,
    )  # fmt: skip
    return Discriminants(pairs.eigenvalues, pairs.eigenvectors, condition, None, size, pairs.status, pairs.n_iter)


def dual(data: LabelledData, priors: Array, ridge: float) -> Discriminants:
    """Directions by a matrix of as many rows and columns as the data have rows, for wide data with a ridge.

    C^{-1} F = (F - Xc^T (Xc Xc^T + ridge I)^{-1} Xc F) / ridge, by the identity of Sherman, Morrison and Woodbury.

    References
    ----------
    Golub, Van Loan, Matrix Computations (2013), Equation (2.1.4).
    """
    data.means  # noqa: B018 - their pass finds entries that are not finite
    gram = data.row_gram()
    between = ClassMeans(data.means, priors).between
    f = _independent(between, data.like)
    factor = cholesky(gram + ridge * identity(data.n_samples, gram))
    if factor is None:
        raise ValueError("reg is too small for solver='dual' in this dtype; use a larger one, or solver='block-pcg'")
    seen = solve_triangular(factor, solve_triangular(factor, data.scores(f), transpose=True))
    z = (f - data.adjoint(seen)) / ridge
    return _rayleigh_ritz(f, z, f, triangular_condition(factor))


def _independent(between: Array, like: Array) -> Array:
    """F without its dependent columns, in the dtype of the data; F F^T stays."""
    left, values, _ = namespace(between).linalg.svd(between, full_matrices=False)
    rank = _rank(values, between)
    return namespace(between).astype(left[:, :rank] * values[:rank], like.dtype)


def _rayleigh_ritz(f: Array, z: Array, cz: Array, condition: float) -> Discriminants:
    """Directions in the span of Z: errors of the eigenvalues are quadratic in those of Z."""
    image = f.mT @ z
    small = generalized_eigh(
        symmetric_part(image.mT @ image), symmetric_part(z.mT @ cz), z.shape[1], method="direct", probe=False
    )
    return Discriminants(small.eigenvalues, z @ small.eigenvectors, condition)


def _preconditioner(data: LabelledData, ridge: float, name: str, seed: int) -> tuple[Any, int | None]:
    """Preconditioner by name, and the rows of its sketch if there is one."""
    d = data.n_features
    size = SKETCH_FACTOR * d
    # Factors of order d cost more than passes over sparse rows, of which a ridge keeps the number small.
    dense = d <= MAX_SKETCHED_COLUMNS and not (data.sparse and ridge)
    if name == "sketched" or (name == "auto" and dense and 2 * size <= data.n_samples):
        return _sketched(data, ridge, size, seed), size
    data.means  # noqa: B018 - their pass finds entries that are not finite
    plain = WithinCovariance(data)
    if name == "nystrom":
        return NystromPreconditioner(plain, min(NYSTROM_RANK, d), ridge, rng=seed), None
    if name == "auto" and dense:
        name = "exact"  # a sketch would be no smaller than the data
    if name == "auto":
        return gram_preconditioner(plain, ridge, rank=min(NYSTROM_RANK, d), seed=seed), None
    if name == "diagonal":
        return DiagonalPreconditioner(plain.diagonal() + ridge), None
    if name == "exact":
        statistics = data.statistics()
        scatter = statistics.scatter / statistics.total + ridge * identity(d, statistics.scatter)
        return CholeskyPreconditioner(namespace(scatter).astype(scatter, data.like.dtype)), None
    return IdentityPreconditioner(), None


def _sketched(data: LabelledData, ridge: float, size: int, seed: int) -> SketchedGramPreconditioner:
    return SketchedGramPreconditioner(data.sketch(SparseSignSketch(size, seed)), ridge)
