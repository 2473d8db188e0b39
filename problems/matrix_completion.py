"""Low-rank matrix completion as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from manifolds.fixed_rank_points import truncated_svd
from manifolds.fixed_rank_two_factors import FixedRankTwoFactors
from problems.alternating_minimization import AlternatingMinimization
from problems.caller_warnings import warn_caller
from problems.completion_problem import CompletionProblem
from problems.entry_biases import Biases
from problems.observed_entries import ObservedEntries, require_indices
from problems.robust_completion import SubgradientSteps
from rankopt.minimize import minimize
from rankopt.solvers.method import Method
from rankopt.solvers.parameters import require_at_least
from rankopt.solvers.status import Status
from rankopt.solvers.stopping import CostChange, GradientNorm, MaxIterations


class MatrixCompletion(BaseEstimator):
    """Matrix of low rank, plus offsets if wanted, from some of its entries.

    With ``loss="squared"`` it minimizes, over the matrices X of rank r,

        sum over observed (i, j) of (mean + b_i + c_j + X_ij - A_ij)^2 / 2 + reg norm(X)^2 / 2,

    from the truncated SVD of the matrix filled with zeros. An iteration costs O(count r) for ``count`` observations,
    and no m x n array is formed. With ``loss="absolute"`` it minimizes the sum of absolute errors, which a share of
    arbitrarily wrong entries does not disturb, and a rank that is too large does no harm.

    Parameters
    ----------
    rank : int
        Rank r of X.
    loss : {"squared", "absolute"}
    solver : {"conjugate-gradient", "trust-region", "lbfgs", "gradient-descent", "alternating"}, Method or \
SubgradientSteps, optional
        For the squared loss a method of ``minimize`` on the manifold FixedRankTwoFactors, by name or as a value, or
        ``"alternating"`` for AlternatingMinimization(), on FixedRank; conjugate gradients by default. For the absolute
        loss a SubgradientSteps value.
    reg : float
        Ridge on every entry of X; for the squared loss only.
    center : bool
        Whether the mean, row and column offsets of the observations are fitted first; for the squared loss only.
    bias_reg : float
        Ridge on the offsets: an offset of k observations is shrunk about as by this many more observations of zero.
    tol : float
        The solver stops where the norm of the Riemannian gradient has fallen to this fraction of that at the start.
    max_iter : int
        Iterations of the solver at most, for the squared loss.

    Attributes
    ----------
    point_ : FixedRankPoint
        X = U S V^T.
    components_ : array of shape (rank, n)
        Right singular vectors of X.
    singular_values_ : array of shape (rank,)
    row_factors_ : array of shape (m, rank)
        Left singular vectors times singular values: ``X = row_factors_ @ components_``.
    mean_ : float
    row_biases_, column_biases_ : arrays of shape (m,), (n,)
        Offsets; zero without ``center``.
    cost_ : float
        Value of what was minimized.
    n_iter_ : int
    status_ : Status or None
        Why the solver stopped; None for the absolute loss.

    References
    ----------
    Vandereycken, Low-rank matrix completion by Riemannian optimization, SIAM J. Optim. 23 (2013).

    Examples
    --------
    >>> import numpy as np
    >>> from problems import MatrixCompletion
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 20))
    >>> rows, columns = np.nonzero(rng.random(A.shape) < 0.5)
    >>> completion = MatrixCompletion(rank=2).fit((rows, columns, A[rows, columns]))
    >>> bool(np.allclose(completion.predict(*np.nonzero(A)), A.ravel(), atol=1e-3))
    True
    """

    def __init__(
        self,
        rank: int = 5,
        *,
        loss: str = "squared",
        solver: Any = None,
        reg: float = 0.0,
        center: bool = False,
        bias_reg: float = 5.0,
        tol: float = 1e-6,
        max_iter: int = 1000,
    ) -> None:
        self.rank = rank
        self.loss = loss
        self.solver = solver
        self.reg = reg
        self.center = center
        self.bias_reg = bias_reg
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: None = None, *, shape: tuple[int, int] | None = None) -> MatrixCompletion:
        """Complete a matrix.

        Parameters
        ----------
        X : scipy sparse matrix of shape (m, n), or tuple (rows, columns, values)
            Observed entries: all that the sparse matrix stores, explicit zeros too.
        y : None
        shape : tuple of int, optional
            (m, n), where the largest indices of a tuple do not tell it.

        Returns
        -------
        MatrixCompletion

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range, or the entries are not finite, repeated, out of the shape or too few for
            the rank.
        """
        self._check_parameters()
        entries = ObservedEntries.of(X, "X", shape)
        m, n = entries.shape
        if self.rank > min(m, n):
            raise ValueError(f"rank must be at most {min(m, n)} for a matrix of shape {entries.shape}, got {self.rank}")
        biases = Biases.fit(entries, self.bias_reg) if self.center else Biases.none((m, n), entries.values.dtype)
        centred = entries.with_values(entries.values - biases.at(entries.rows, entries.columns))
        if self.loss == "absolute":
            steps = SubgradientSteps() if self.solver is None else self.solver
            point, cost, n_iter = steps.minimize(centred, self.rank)
            status = None
        else:
            result = self._minimize_squares(centred)
            point, cost, n_iter, status = truncated_svd(result.x, self.rank), result.fun, result.nit, result.status
        self.cost_, self.n_iter_, self.status_ = cost, n_iter, status
        self.point_, self.singular_values_ = point, np.diagonal(point.S).copy()
        self.row_factors_, self.components_ = point.U * self.singular_values_, point.V.T
        self.mean_, self.row_biases_, self.column_biases_ = biases.mean, biases.rows, biases.columns
        return self

    def predict(self, rows: Any, columns: Any) -> np.ndarray:
        """Entries of the completed matrix.

        Parameters
        ----------
        rows, columns : integer arrays of one shape (count,)

        Returns
        -------
        array of shape (count,)
        """
        check_is_fitted(self)
        rows, columns, _ = require_indices(np.asarray(rows), np.asarray(columns), "predict", self._shape)
        offsets = Biases(self.mean_, self.row_biases_, self.column_biases_).at(rows, columns)
        return offsets + self.point_.entries(rows, columns)

    def score(self, X: Any, y: None = None) -> float:
        """Coefficient of determination R^2 of the predictions of given entries; one is best.

        Parameters
        ----------
        X : scipy sparse matrix of shape (m, n), or tuple (rows, columns, values)
        y : None

        Returns
        -------
        float
        """
        check_is_fitted(self)
        entries = ObservedEntries.of(X, "X", self._shape)
        return float(r2_score(entries.values, self.predict(entries.rows, entries.columns)))

    @property
    def _shape(self) -> tuple[int, int]:
        return self.row_factors_.shape[0], self.components_.shape[1]

    def _minimize_squares(self, entries: ObservedEntries) -> Any:
        method = AlternatingMinimization() if self.solver == "alternating" else self.solver or "conjugate-gradient"
        orthonormal = isinstance(method, AlternatingMinimization)
        manifold = None if orthonormal else FixedRankTwoFactors(*entries.shape, self.rank)
        problem = CompletionProblem(entries, self.rank, self.reg, manifold)
        try:
            start = problem.spectral_start()
        except ValueError as error:
            raise ValueError(f"rank={self.rank} cannot be started from the observed entries: {error}") from None
        stopping = GradientNorm(relative=self.tol) | CostChange() | MaxIterations(self.max_iter)
        result = minimize(problem, problem.manifold, start, method, stopping=stopping)
        if result.status == Status.INTERRUPTED:
            raise KeyboardInterrupt
        if not result.success:
            warn_caller(
                f"the solver stopped at a gradient of {result.grad_norm:.1e}: {result.message}", ConvergenceWarning
            )
        return result

    def _check_parameters(self) -> None:
        require_at_least("rank", self.rank, 1, whole=True)
        if self.loss not in ("squared", "absolute"):
            raise ValueError(f"loss must be 'squared' or 'absolute', got {self.loss!r}")
        for name in ("reg", "bias_reg", "tol"):
            require_at_least(name, getattr(self, name), 0)
        require_at_least("max_iter", self.max_iter, 1, whole=True)
        if not isinstance(self.center, bool | np.bool_):
            raise TypeError(f"center must be True or False, got {self.center!r}")
        if self.loss == "squared":
            if not (self.solver is None or self.solver in _SOLVERS or isinstance(self.solver, Method)):
                raise ValueError(f"solver must be one of {_SOLVERS} or a Method, got {self.solver!r}")
            return
        if not (self.solver is None or isinstance(self.solver, SubgradientSteps)):
            raise ValueError(f"solver must be a SubgradientSteps value for loss='absolute', got {self.solver!r}")
        if self.reg or self.center:
            raise ValueError("reg and center must be left out with loss='absolute': both are about squared errors")


_SOLVERS = ("conjugate-gradient", "trust-region", "lbfgs", "gradient-descent", "alternating")
