"""Ways to solve canonical correlation analysis, as values: what each needs of the data is a number of passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manifolds.linalg import Array, identity, machine_epsilon, namespace, symmetric_part
from manifolds.sketching import SparseSignSketch
from problems.block_pcg import block_pcg
from problems.canonical_pairs import CanonicalPairs
from problems.cca_direct import (
    cholesky_whitening,
    leading_singular,
    no_variance,
    pairs_of,
    sketched_whitening,
    solve_dense,
    warn_of_truncation,
    whitening,
)
from problems.cca_problem import CCAProblem
from problems.cca_solver import CCASolver, Request, Solution, cast_to_data, reachable, stopping_of, warn_of_residual
from problems.co_moments import CoMoments, Covariances
from problems.covariance_basis import covariance_basis
from problems.data import CovarianceProducts, PairedViews, ViewCovariance
from problems.row_blocks import zeros
from problems.sketch_sizes import SKETCH_FACTOR
from problems.two_sided_lobpcg import two_sided_lobpcg
from problems.view_preconditioners import ViewPreconditioners, view_preconditioners
from problems.whitening_factors import Basis, Factor, is_precise
from problems.wide_vectors import WideData, WideMetric, cast_parts, products_epsilon, wide_vectors, with_wide_vectors
from rankopt.minimize import minimize
from rankopt.solvers.parameters import require_at_least
from rankopt.solvers.status import Status

MAX_GRAM_CONDITION = 1e10
"""Condition number of a covariance up to which nothing is gained by a solver that takes no squares."""


@dataclass(frozen=True)
class DirectCCA(CCASolver):
    """Covariances in one pass, their Cholesky factors, and the leading singular vectors of the whitened cross part.

    In double precision errors of correlations are at most about 1e-17 times the condition number of the covariances,
    or the machine epsilon where that is more. Products of single-precision blocks are added up in double precision;
    where the directions that are found let too much of their rounding through, a second pass takes them in double
    precision, too.

    Parameters
    ----------
    fallback : CCASolver, optional
        What takes over where a covariance is singular or its condition number above 1e10.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import CCA
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> CCA(1, solver=DirectCCA()).fit(x[:, :2], x[:, 1:]).solver_
    'direct'
    """

    fallback: CCASolver | None = None

    @property
    def name(self) -> str:
        return "direct"

    def solve(self, data: PairedViews, request: Request) -> Solution:
        epsilon = machine_epsilon(data.like)
        for double in (False, True) if epsilon > 1e-10 else (True,):
            covariances, _ = data.co_moments(double=double).covariances(data.reg, scale=data.scale)
            x, y = cholesky_whitening(covariances.xx), cholesky_whitening(covariances.yy)
            if x is None or y is None or max(x.condition, y.condition) > MAX_GRAM_CONDITION:
                continue
            solution = _decomposed(covariances, x, y, request.n_components)
            variances = [
                namespace(s).linalg.diagonal(s) - ridge
                for s, ridge in zip((covariances.xx, covariances.yy), data.reg, strict=True)
            ]
            if double or is_precise(variances, solution.pairs[1:], max(x.condition, y.condition), data.like):
                for name, part, d in zip(("X", "y"), (x, y), data.n_features, strict=True):
                    warn_of_truncation(name, part.rank, d)
                return cast_to_data(solution, data)
        if self.fallback is None:
            return cast_to_data(_truncated(covariances, epsilon, request.n_components), data)
        return self.fallback.solve(data, request)._replace(solver=self.fallback.name)

    def from_moments(self, moments: CoMoments, data: PairedViews, n_components: int) -> Solution:
        """Solution from moments that are known, of the data's kind, ridge and scaling, truncated to what has a rank."""
        covariances, _ = moments.covariances(data.reg, scale=data.scale)
        return cast_to_data(_truncated(covariances, moments.epsilon, n_components), data)


def _truncated(covariances: Covariances, epsilon: float, n_components: int) -> Solution:
    """Leading pairs of covariances of data with this machine epsilon, truncated to their numerical ranks."""
    x, y = whitening(covariances.xx, "X", epsilon), whitening(covariances.yy, "y", epsilon)
    return _decomposed(covariances, x, y, n_components)


def _decomposed(covariances: Covariances, x: Factor | Basis, y: Factor | Basis, n_components: int) -> Solution:
    """Leading pairs of whitened covariances."""
    pairs = pairs_of(covariances, x, y, n_components)
    products = CovarianceProducts(
        covariances.xx @ pairs.u, covariances.xy @ pairs.v, covariances.yy @ pairs.v, covariances.xy.mT @ pairs.u
    )
    return Solution(pairs, products, max(x.condition, y.condition))


@dataclass(frozen=True)
class CholeskyQRCCA(CCASolver):
    """Randomized Cholesky-QR: the covariances of the views whitened by a sketch, in which no digits are lost.

    With R of a QR factorisation of a sketch, X R^{-1} is well conditioned whatever X is, and so is its Gram matrix.
    Three passes: the sketch, this Gram matrix, and the products of the pairs with the covariances; one more over each
    view that is rank deficient, for its deviations. Errors of correlations are about 1e-18 times the condition number
    of the data, not its square, or the machine epsilon where that is more.

    Parameters
    ----------
    sketch_factor : int
        Rows of the sketch per column.

    References
    ----------
    Balabanov, Randomized Cholesky QR factorizations, arXiv:2210.09953 (2022), Algorithm 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import CCA
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((500, 3))
    >>> x = z @ np.diag([1.0, 1e-5, 1e-10]) @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    >>> np.round(CCA(3, solver=CholeskyQRCCA(), random_state=0).fit(x, z).correlations_, 4)
    array([1., 1., 1.])
    """

    sketch_factor: int = SKETCH_FACTOR

    def __post_init__(self) -> None:
        require_at_least("sketch_factor", self.sketch_factor, 2, whole=True)

    @property
    def name(self) -> str:
        return "cholesky-qr"

    def solve(self, data: PairedViews, request: Request) -> Solution:
        size = min(self.sketch_factor * max(data.n_features), 4 * data.n_samples)
        sketches = data.sketch(SparseSignSketch(size, int(request.rng.integers(2**32))))
        wide = [view.cast(part, namespace(part).float64) for view, part in zip(data.views, sketches, strict=True)]
        x, y = (sketched_whitening(part, view) for part, view in zip(wide, data.views, strict=True))
        scales = [view.cast(view.moments.scale, wide[0].dtype)[:, None] for view in data.views]
        maps = x.basis / scales[0], y.basis / scales[1]
        moments = data.co_moments(maps, double=True)
        (xx, xy, yy), _ = moments._replace(epsilon=0.0).covariances()
        xx = symmetric_part(xx) + data.reg[0] * (x.basis.mT @ x.basis)
        yy = symmetric_part(yy) + data.reg[1] * (y.basis.mT @ y.basis)
        inner = solve_dense(Covariances(xx, xy, yy), request.n_components)
        pairs = CanonicalPairs(inner.correlations, x.basis @ inner.u, y.basis @ inner.v)
        solution = Solution(pairs, self._products(data, pairs), max(x.condition, y.condition), size)
        return cast_to_data(solution, data)

    def _products(self, data: PairedViews, pairs: CanonicalPairs) -> CovarianceProducts:
        """Products of the pairs, by a pass."""
        return data.products(*(view.cast(part) for view, part in zip(data.views, pairs[1:], strict=True)))


@dataclass(frozen=True)
class LOBPCGCCA(CCASolver):
    """Two-sided LOBPCG with a preconditioner per view: one pass for each iteration, no covariance is formed.

    Parameters
    ----------
    oversampling : int
        Columns beyond the wanted ones, 3 to 5 for a gap that is not known.
    refresh : int
        Iterations after which carried products are replaced by true ones.

    References
    ----------
    Knyazev, Toward the optimal preconditioned eigensolver: locally optimal block preconditioned conjugate gradient
    method, SIAM J. Sci. Comput. 23 (2001).

    Examples
    --------
    >>> import numpy as np
    >>> from problems import CCA
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> cca = CCA(1, solver=LOBPCGCCA(oversampling=1), random_state=0).fit(x[:, :2], x[:, 1:])
    >>> cca.solver_, cca.correlations_.round(6)
    ('lobpcg', array([1.]))
    """

    oversampling: int = 4
    refresh: int = 25

    def __post_init__(self) -> None:
        require_at_least("oversampling", self.oversampling, 0, whole=True)
        require_at_least("refresh", self.refresh, 1, whole=True)

    @property
    def name(self) -> str:
        return "lobpcg"

    def solve(self, data: PairedViews, request: Request) -> Solution:
        width = min(*data.n_features, request.n_components + self.oversampling)
        metrics = view_preconditioners(data, request.preconditioner, width, request.rng)
        wide, preconditioners, rounding = wide_vectors(data, metrics.metrics)
        start = warm_start(metrics, data, width)
        run = two_sided_lobpcg(
            wide,
            request.n_components,
            preconditioners,
            tol=reachable(request.tol, data),
            max_iter=request.max_iter,
            oversampling=self.oversampling,
            refresh=self.refresh,
            start=None if start is None else cast_parts(start, wide.like.dtype),
            # Residuals of p pairs are known to the rounding of so many columns.
            rounding=rounding * request.n_components**0.5,
            rng=request.rng,
        )
        if not run.status.success:
            warn_of_residual("LOBPCG", run.residual, run.status.name.lower().replace("_", " "))
        solution = Solution(run.pairs, run.products, metrics.condition, metrics.sketch_size, run.status, run.n_iter)
        return cast_to_data(solution, data)


@dataclass(frozen=True)
class RiemannianCCA(CCASolver):
    """Riemannian optimization on the product of two generalized Stiefel manifolds in the metric of a preconditioner.

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
    >>> from problems import CCA
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> cca = CCA(1, solver=RiemannianCCA("lbfgs"), random_state=0).fit(x[:, :2], x[:, 1:])
    >>> cca.solver_, cca.correlations_.round(6)
    ('riemannian', array([1.]))
    """

    method: Any = "conjugate-gradient"

    @property
    def name(self) -> str:
        return "trust-region" if self.method == "trust-region" else "riemannian"

    def solve(self, data: PairedViews, request: Request) -> Solution:
        metrics = view_preconditioners(data, request.preconditioner, request.n_components, request.rng)
        wide, preconditioners, rounding = wide_vectors(data, metrics.metrics)
        error = rounding * request.n_components**0.5
        problem = CCAProblem(wide, request.n_components, preconditioners=preconditioners, gradient_error=error)
        stopping = stopping_of(request, problem)
        start = warm_start(metrics, data, request.n_components)
        x0 = None if start is None else problem.manifold.point_type(*cast_parts(start, wide.like.dtype))
        result = minimize(problem, problem.manifold, x0, self.method, rng=request.rng, stopping=stopping)
        if result.status == Status.INTERRUPTED:
            raise KeyboardInterrupt
        if not result.success:
            warn_of_residual("the Riemannian solver", result.grad_norm, result.message)
        pairs, products = problem.canonical_products(result.x)
        solution = Solution(pairs, products, metrics.condition, metrics.sketch_size, result.status, result.nit)
        return cast_to_data(solution, data)


@dataclass(frozen=True)
class BlockPCGCCA(CCASolver):
    """Conjugate gradients for Sxx Z = Sxy where one view is small: its canonical vectors lie in the span of Z.

    A pass over the large view for each iteration, for as many columns as the small view has; the small view's
    covariance is formed. Rayleigh-Ritz in the span makes errors of correlations quadratic in those of Z. Where Z has a
    lower rank than there are pairs wanted, one more pass finds directions that are uncorrelated with the small view.

    References
    ----------
    Chowdhury, Yang, Drineas, Randomized iterative algorithms for Fisher discriminant analysis, UAI (2019), for the
    same idea in discriminant analysis; Golub, Van Loan, Matrix Computations (2013), Algorithm 11.5.1.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import CCA
    >>> x = np.random.default_rng(0).standard_normal((100, 6))
    >>> cca = CCA(1, solver=BlockPCGCCA(), random_state=0).fit(x, x[:, :1])
    >>> cca.solver_, cca.correlations_.round(6)
    ('block-pcg', array([1.]))
    """

    @property
    def name(self) -> str:
        return "block-pcg"

    def solve(self, data: PairedViews, request: Request) -> Solution:
        large, small = (0, 1) if data.n_features[0] >= data.n_features[1] else (1, 0)
        small_covariance = data.views[small].gram(double=True)
        whitened = whitening(small_covariance, data.views[small].name, machine_epsilon(data.like))
        # Columns of unit variance: no later whitening makes what rounds in the cross covariance larger.
        unit = whitened.whiten(identity(data.n_features[small], small_covariance)).mT
        wide = with_wide_vectors(data)
        cross = self._cross(wide, unit, small)
        metrics = view_preconditioners(data, request.preconditioner, unit.shape[1], request.rng, large)
        metric = metrics.metrics[0] if wide is data else WideMetric(metrics.metrics[0], data.like.dtype)
        tol = reachable(request.tol, data)
        operator = ViewCovariance(wide, large)
        solution = block_pcg(operator, cross, metric, tol=tol, max_iter=request.max_iter)
        if solution.status == Status.ITERATION_LIMIT:
            warn_of_residual("block PCG", None, "the limit of iterations was reached")
        image = operator @ solution.z
        wanted = min(request.n_components, unit.shape[1])
        epsilon = products_epsilon(wide)
        z, image = covariance_basis(operator, solution.z, image, wanted, epsilon=epsilon, rng=request.rng)
        if z.shape[1] == 0:
            raise no_variance(data.views[large].name)
        if z.shape[1] < wanted:
            warn_of_truncation(data.views[large].name, z.shape[1], data.n_features[large])
        left, correlations, right = leading_singular(z.mT @ cross, request.n_components)
        u, v = z @ left, unit @ right
        # On the span of a whitening W of S, S W W^T is the identity.
        of_small = small_covariance @ v, small_covariance @ (unit @ (cross.mT @ u))
        of_large = image @ left, cross @ right
        pairs = CanonicalPairs(correlations, *((u, v) if large == 0 else (v, u)))
        products = CovarianceProducts(*((*of_large, *of_small) if large == 0 else (*of_small, *of_large)))
        found = Solution(pairs, products, metrics.condition, metrics.sketch_size, solution.status, solution.n_iter)
        return cast_to_data(found, data)

    def _cross(self, data: PairedViews | WideData, unit: Array, small: int) -> Array:
        """Cross covariance of the large view with directions in the small one, by a pass."""
        nothing = zeros(data.like, (data.n_features[1 - small], unit.shape[1]), unit.dtype)
        products = data.products(*((nothing, unit) if small else (unit, nothing)))
        return products.xy if small else products.yx


SOLVERS: dict[str, CCASolver] = {
    "direct": DirectCCA(),
    "cholesky-qr": CholeskyQRCCA(),
    "lobpcg": LOBPCGCCA(),
    "riemannian": RiemannianCCA(),
    "trust-region": RiemannianCCA("trust-region"),
    "block-pcg": BlockPCGCCA(),
}


def warm_start(metrics: ViewPreconditioners, data: PairedViews, width: int) -> tuple[Array, Array] | None:
    """Canonical vectors of the sketched views, where the sketch is large enough for them to be a good start."""
    if metrics.sketches is None:
        return None
    x, y = metrics.sketches
    parts = x.mT @ x, x.mT @ y, y.mT @ y
    xx, xy, yy = (data.views[0].cast(part, namespace(part).float64) for part in parts)
    xx = xx + data.reg[0] * identity(xx.shape[0], xx)
    yy = yy + data.reg[1] * identity(yy.shape[0], yy)
    pairs = solve_dense(Covariances(xx, xy, yy), width)
    return data.views[0].cast(pairs.u), data.views[0].cast(pairs.v)
