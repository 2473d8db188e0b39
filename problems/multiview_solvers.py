"""Ways to solve canonical correlation analysis of several views, as values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from manifolds.linalg import Array, identity, machine_epsilon, namespace
from problems.cca_direct import cholesky_whitening, whitening
from problems.cca_solver import Request, reachable, stopping_of, warn_of_residual
from problems.generalized_eigen import generalized_eigh
from problems.lobpcg import LOBPCG, Iteration
from problems.multiview_criteria import MaxVar, MultiviewCriterion, SumCor
from problems.multiview_data import MultiviewCovariances, MultiviewData, row_parts
from problems.multiview_problem import MultiviewProblem, blocks_between
from problems.row_blocks import zeros
from problems.view_preconditioners import JointMetric, ViewPreconditioners, view_preconditioners
from problems.whitening_factors import Basis, Factor
from problems.wide_vectors import cast_parts, wide_vectors
from rankopt.minimize import minimize
from rankopt.solvers.status import Status

MAX_COVARIANCE_ERROR = 1e-4
"""Error up to which covariances of single-precision data are trusted: their condition times the machine epsilon."""


class MultiviewSolution(NamedTuple):
    """Directions of all views and how they were found."""

    directions: list[Array]
    """Of shape (d_i, p), best components first."""
    covariances: Array
    """Of the scores, shape (m p, m p): blocks W_i^T S_ij W_j."""
    condition: float | None = None
    """Estimate of the condition number that the solver had to cope with."""
    sketch_size: int | None = None
    status: Status | None = None
    n_iter: int = 1


@dataclass(frozen=True)
class MultiviewSolver(ABC):
    """A way to find the directions of several views whose scores are most correlated."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What ``MultiviewCCA.solver_`` says."""

    @abstractmethod
    def solve(self, data: MultiviewData, request: Request, criterion: MultiviewCriterion) -> MultiviewSolution:
        """Leading components."""

    def most_components(self, n_features: Sequence[int], criterion: MultiviewCriterion) -> int:
        """Number of components at most: all eigenvectors there are for MAXVAR, else the columns of a view."""
        return sum(n_features) if isinstance(criterion, MaxVar) else min(n_features)


@dataclass(frozen=True)
class DirectMultiviewCCA(MultiviewSolver):
    """All covariances in one pass, whitened by a Cholesky factor per view; then dense algebra alone.

    MAXVAR takes the leading eigenvectors of the whitened matrix, SUMCOR the trust-region method on a product of Stiefel
    manifolds from there. Where the condition number of single-precision data asks for it, a second pass takes products
    in double precision.

    References
    ----------
    Kettenring, Canonical analysis of several sets of variables, Biometrika 58 (1971).

    Examples
    --------
    >>> import numpy as np
    >>> from problems import MultiviewCCA
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> MultiviewCCA(1, solver=DirectMultiviewCCA()).fit([x[:, :2], x[:, 1:3], x[:, 1:]]).solver_
    'direct'
    """

    @property
    def name(self) -> str:
        return "direct"

    def solve(self, data: MultiviewData, request: Request, criterion: MultiviewCriterion) -> MultiviewSolution:
        covariances, epsilon = data.covariances(), machine_epsilon(data.like)
        if epsilon > 1e-10 and epsilon * _condition(covariances) > MAX_COVARIANCE_ERROR:
            covariances = data.covariances(double=True)
        whitened = _Whitened(covariances)
        leading = whitened.leading(request.n_components)
        status, n_iter = None, 1
        if isinstance(criterion, MaxVar):
            solved = [len(leading) ** 0.5 * part for part in leading]
            of_scores = blocks_between(solved, whitened.covariances.products(solved))
        else:
            p = min(request.n_components, *whitened.covariances.n_features)
            problem = MultiviewProblem(whitened.covariances, p, criterion=criterion)
            start = [_nearest_frame(part[:, :p]) for part in leading]
            solved, of_scores, status, n_iter = _minimized(problem, start, "trust-region", request)
        cast = data.views[0].cast
        directions = [cast(part.directions(u)) for part, u in zip(whitened.parts, solved, strict=True)]
        return MultiviewSolution(directions, cast(of_scores), whitened.condition, status=status, n_iter=n_iter)


@dataclass(frozen=True)
class LOBPCGMultiviewCCA(MultiviewSolver):
    """LOBPCG on the pencil of MAXVAR with a preconditioner per view: one pass an iteration, no covariance is formed.

    Parameters
    ----------
    method : LOBPCG
        Such as ``LOBPCG(oversampling=8)``.

    References
    ----------
    Knyazev, SIAM J. Sci. Comput. 23 (2001), as in :class:`LOBPCG`.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import LOBPCG, MultiviewCCA
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> views = [x[:, :2], x[:, 1:3], x[:, 1:]]  # one column is in all of them
    >>> cca = MultiviewCCA(1, solver=LOBPCGMultiviewCCA(LOBPCG(oversampling=1)), random_state=0).fit(views)
    >>> cca.solver_, np.corrcoef(np.hstack(cca.transform(views)), rowvar=False).min().round(4)
    ('lobpcg', np.float64(1.0))
    """

    method: LOBPCG = field(default_factory=LOBPCG)

    def __post_init__(self) -> None:
        if not isinstance(self.method, LOBPCG):
            raise TypeError(f"method must be a LOBPCG value, got {self.method!r}")

    @property
    def name(self) -> str:
        return "lobpcg"

    def solve(self, data: MultiviewData, request: Request, criterion: MultiviewCriterion) -> MultiviewSolution:
        if not isinstance(criterion, MaxVar):
            raise ValueError(
                f"solver='lobpcg' solves eigenproblems, and {criterion.name!r} is none; use solver='direct', "
                "'riemannian' or 'trust-region', or criterion='maxvar'"
            )
        xp, p = namespace(data.like), request.n_components
        width = min(sum(data.n_features), p + self.method.oversampling)
        metrics = view_preconditioners(data, request.preconditioner, width, request.rng)
        start = _sketched_directions(metrics, data, width, frames=False)
        run = Iteration(
            _MaxVarPencil(data),
            JointMetric(data, metrics.metrics),
            k=p,
            largest=True,
            method=self.method,
            tol=reachable(request.tol, data),
            max_iter=request.max_iter,
        ).run(data.like, None if start is None else xp.concat(start, axis=0), request.rng)
        if not run.status.success:
            warn_of_residual("LOBPCG", None, run.status.name.lower().replace("_", " "))
        m = len(data.views)
        directions = [m**0.5 * part for part in row_parts(run.block.v, data.n_features)]
        covariances = blocks_between(directions, data.products(directions))
        return MultiviewSolution(
            directions, covariances, metrics.condition, metrics.sketch_size, run.status, run.n_iter
        )


@dataclass(frozen=True)
class RiemannianMultiviewCCA(MultiviewSolver):
    """Riemannian optimization on the product of generalized Stiefel manifolds in the metric of a preconditioner.

    Parameters
    ----------
    method : str or Method
        A solver of ``rankopt.minimize``, such as ``"conjugate-gradient"`` or ``"trust-region"``.

    References
    ----------
    Shustin, Avron, Faster randomized methods for orthogonality constrained problems, JMLR (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from problems import MultiviewCCA
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> views = [x[:, :2], x[:, 1:3], x[:, 1:]]  # one column is in all of them
    >>> cca = MultiviewCCA(1, solver=RiemannianMultiviewCCA("lbfgs"), random_state=0).fit(views)
    >>> cca.solver_, np.corrcoef(np.hstack(cca.transform(views)), rowvar=False).min().round(4)
    ('riemannian', np.float64(1.0))
    """

    method: Any = "conjugate-gradient"

    @property
    def name(self) -> str:
        return "trust-region" if self.method == "trust-region" else "riemannian"

    def most_components(self, n_features: Sequence[int], criterion: MultiviewCriterion) -> int:
        return min(n_features)

    def solve(self, data: MultiviewData, request: Request, criterion: MultiviewCriterion) -> MultiviewSolution:
        metrics = view_preconditioners(data, request.preconditioner, request.n_components, request.rng)
        wide, preconditioners, rounding = wide_vectors(data, metrics.metrics)
        # The gradient is twice a sum of products with all other views.
        error = 2 * rounding * (request.n_components * (len(data.views) - 1)) ** 0.5
        problem = MultiviewProblem(
            wide, request.n_components, criterion=criterion, preconditioners=preconditioners, gradient_error=error
        )
        start = _sketched_directions(metrics, data, request.n_components, frames=True)
        directions, covariances, status, n_iter = _minimized(
            problem, None if start is None else cast_parts(start, wide.like.dtype), self.method, request
        )
        cast = data.views[0].cast
        directions = [cast(part) for part in directions]
        return MultiviewSolution(directions, cast(covariances), metrics.condition, metrics.sketch_size, status, n_iter)


MULTIVIEW_SOLVERS: dict[str, MultiviewSolver] = {
    "direct": DirectMultiviewCCA(),
    "lobpcg": LOBPCGMultiviewCCA(),
    "riemannian": RiemannianMultiviewCCA(),
    "trust-region": RiemannianMultiviewCCA("trust-region"),
}


class _Whitened:
    """Covariances in coordinates in which those of each view are the identity.

    Parameters
    ----------
    covariances : MultiviewCovariances

    Attributes
    ----------
    covariances : MultiviewCovariances
    parts : list of Factor or Basis
    condition : float
    """

    def __init__(self, covariances: MultiviewCovariances) -> None:
        xp, views = namespace(covariances.matrix), range(len(covariances.n_features))
        self.parts: list[Factor | Basis] = [whitening(covariances.block(i, i), f"views[{i}]") for i in views]
        self.condition = max(part.condition for part in self.parts)
        rows = row_parts(covariances.matrix, covariances.n_features)
        halves = [part.whiten(row) for part, row in zip(self.parts, rows, strict=True)]
        columns = row_parts(xp.concat(halves, axis=0).mT, covariances.n_features)
        matrix = xp.concat([part.whiten(column) for part, column in zip(self.parts, columns, strict=True)], axis=0)
        self.covariances = MultiviewCovariances(matrix, [half.shape[0] for half in halves])
        for i in views:
            self.covariances.block(i, i)[...] = identity(halves[i].shape[0], matrix)

    def leading(self, p: int) -> list[Array]:
        """Parts, in each view, of the leading eigenvectors."""
        matrix, sizes = self.covariances.matrix, self.covariances.n_features
        pairs = generalized_eigh(matrix, k=min(p, sum(sizes)), method="direct", probe=False)
        return row_parts(pairs.eigenvectors, sizes)


class _MaxVarPencil:
    """The pencil (S, blkdiag(S_11, ..., S_mm)): both products in one pass."""

    def __init__(self, data: MultiviewData) -> None:
        self._data, self.shape = data, (sum(data.n_features),) * 2

    def products(self, v: Array) -> tuple[Array, Array]:
        """S v and blkdiag(S_11, ..., S_mm) v."""
        sums, own = self._data.pencil_products(row_parts(v, self._data.n_features))
        return namespace(v).concat(sums, axis=0), namespace(v).concat(own, axis=0)


def _condition(covariances: MultiviewCovariances) -> float:
    """Condition number of the covariances of the views, infinite where one has no Cholesky factor."""
    views = range(len(covariances.n_features))
    factors = [cholesky_whitening(covariances.block(i, i)) for i in views]
    return max(float("inf") if factor is None else factor.condition for factor in factors)


def _minimized(
    problem: MultiviewProblem, start: list[Array] | None, method: Any, request: Request
) -> tuple[list[Array], Array, Status, int]:
    """Directions and covariances of the best of the runs that the criterion asks for, its status and iterations."""
    stopping = stopping_of(request, problem)
    starts = problem.criterion.starts if isinstance(problem.criterion, SumCor) else 1
    runs = []
    for i in range(starts):
        x0 = None if i or start is None else problem.manifold.point_type._make(start)
        runs.append(minimize(problem, problem.manifold, x0, method, rng=request.rng, stopping=stopping))
        if runs[-1].status == Status.INTERRUPTED:
            raise KeyboardInterrupt
    best = min(runs, key=lambda run: float(run.fun))
    if not best.success:
        warn_of_residual("the Riemannian solver", best.grad_norm, best.message)
    directions, covariances = problem.components(best.x)
    return directions, covariances, best.status, sum(run.nit for run in runs)


def _sketched_directions(
    metrics: ViewPreconditioners, data: MultiviewData, p: int, *, frames: bool
) -> list[Array] | None:
    """Solution of MAXVAR for the sketched views, where the sketch is large enough for it to be a good start."""
    if metrics.sketches is None:
        return None
    xp, cast = namespace(data.like), data.views[0].cast
    stacked = xp.concat(metrics.sketches, axis=1)
    gram = cast(stacked.mT @ stacked, zeros(data.like, (0,)).dtype)
    ridges = xp.concat([reg + zeros(data.like, (d,)) for reg, d in zip(data.reg, data.n_features, strict=True)])
    whitened = _Whitened(MultiviewCovariances(gram + ridges * identity(gram.shape[0], gram), data.n_features))
    leading = whitened.leading(p)
    if frames:
        leading = [_nearest_frame(part) for part in leading]
    return [cast(part.directions(u)) for part, u in zip(whitened.parts, leading, strict=True)]


def _nearest_frame(a: Array) -> Array:
    """Matrix with orthonormal columns that is nearest to another."""
    left, _, right = namespace(a).linalg.svd(a, full_matrices=False)
    return left @ right
