"""Canonical correlation analysis as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from manifolds.linalg import (
    Array,
    convert,
    is_torch_array,
    machine_epsilon,
    namespace,
    require_finite,
    require_same_kind,
    triangular_condition,
)
from manifolds.preconditioners import CholeskyPreconditioner, SketchedGramPreconditioner
from manifolds.sketching import CountSketch
from problems.cca_direct import CanonicalPairs, solve_dense
from problems.cca_problem import CCAProblem
from problems.data import PairedViews
from rankopt.minimize import minimize
from rankopt.solvers.parameters import require_at_least
from rankopt.solvers.stopping import GradientNorm, MaxIterations, Status

EXPECTED_PASSES = 45
"""Passes that the sketched Riemannian solver needs as a rule."""

BREAK_EVEN = 110
"""Columns per view, per expected pass, at which forming the covariances costs as much as the passes."""

ROWS_PER_COLUMN = 8
"""Rows per column below which the sketch is no smaller than the data."""

SKETCH_FACTOR = 4
"""Rows of the sketch per column."""


class CCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Canonical correlation analysis: pairs of directions in two views whose scores correlate most.

    Finds u_i, v_i that maximise the correlations of X u_i and Y v_i, each pair uncorrelated with the ones before.
    Scores have unit variance. Arrays of numpy and torch, float32 and float64, on CPU or CUDA: everything follows X.

    Parameters
    ----------
    n_components : int
        Number of pairs.
    scale : bool
        Whether columns are divided by their standard deviations. Without a ridge this changes no correlation.
    reg : float or pair of float
        Ridge on the covariance (1/n) of each view.
    solver : {"auto", "riemannian", "direct"}
        ``"direct"`` forms and decomposes the covariances in one pass over the data. ``"riemannian"`` never forms
        them: it runs conjugate gradients on the product of two generalized Stiefel manifolds, one pass per step.
        ``"auto"`` takes the direct way up to about 5,000 columns per view, or fewer than 8 rows per column, where it
        is faster.
    preconditioner : {"auto", "sketched", "exact", "identity"}
        Metric of the Riemannian solver; ``"auto"`` is the sketched one.
    tol : float
        Norm of the Riemannian gradient at which the Riemannian solver stops.
    max_iter : int
        Steps of the Riemannian solver at most.
    random_state : None, int or numpy.random.Generator
        Of the sketch and the start point.

    Attributes
    ----------
    correlations_ : array of shape (n_components,)
        Canonical correlations on the training data, decreasing.
    x_weights_, y_weights_ : arrays of shape (n_features, n_components), (n_targets, n_components)
        Directions u_i and v_i for centred, and with ``scale`` also scaled, data.
    x_rotations_, y_rotations_ : arrays
        The same directions for centred data in its own units, as ``transform`` uses them.
    x_mean_, y_mean_ : arrays
        Column means.
    solver_ : str
        Which solver ran.
    n_passes_ : int
        Reads of the data.
    n_iter_ : int
        Steps of the Riemannian solver; 1 for the direct one.
    sketch_size_ : int or None
        Rows of the sketch.
    status_ : Status or None
        Why the Riemannian solver stopped.

    References
    ----------
    Hotelling, Relations between two sets of variates, Biometrika 28 (1936); Shustin, Avron, Faster
    randomized methods for orthogonality constrained problems, JMLR (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from problems import CCA
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((1000, 1))
    >>> x = np.hstack([z + rng.standard_normal((1000, 1)), rng.standard_normal((1000, 2))])
    >>> y = np.hstack([rng.standard_normal((1000, 1)), z + rng.standard_normal((1000, 1))])
    >>> cca = CCA(n_components=1).fit(x, y)
    >>> x_scores, y_scores = cca.transform(x, y)
    >>> bool(np.isclose(np.corrcoef(x_scores.T, y_scores.T)[0, 1], cca.correlations_[0]))
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        scale: bool = False,
        reg: float | tuple[float, float] = 0.0,
        solver: str = "auto",
        preconditioner: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 1000,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.scale = scale
        self.reg = reg
        self.solver = solver
        self.preconditioner = preconditioner
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> CCA:
        """Find the canonical pairs of two views.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets) or (n_samples,)

        Returns
        -------
        CCA
            The fitted estimator itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or the views do not fit together or hold NaN or infinity.

        Warns
        -----
        ConvergenceWarning
            If the Riemannian solver did not converge.
        """
        x, y = self._views(X, y)
        data = PairedViews(x, y, reg=self.reg, scale=self.scale)
        self._check_parameters(x, y)
        self.solver_ = self._choose_solver(x, y) if self.solver == "auto" else self.solver
        self.sketch_size_, self.status_, self.n_iter_ = None, None, 1
        if self.solver_ == "direct":
            pairs = solve_dense(data.covariances(), self.n_components)
        else:
            pairs = self._solve_riemannian(data)
        self.correlations_, self.x_weights_, self.y_weights_ = _signed(pairs)
        (self.x_mean_, x_scale), (self.y_mean_, y_scale) = data.moments
        self.x_rotations_ = self.x_weights_ / x_scale[:, None]
        self.y_rotations_ = self.y_weights_ / y_scale[:, None]
        self.n_passes_ = data.n_passes
        return self

    def transform(self, X: Any, y: Any = None) -> Any:
        """Scores of new data: (X - mean) times the rotations.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets), optional

        Returns
        -------
        x_scores : array of shape (n_samples, n_components)
        y_scores : array of shape (n_samples, n_components)
            Only where y is given, as the second of a pair.
        """
        check_is_fitted(self)
        x = _in_kind(X, self._view(X, reset=False), self.x_mean_)
        x_scores = _scores(x, self.x_mean_, self.x_rotations_, "X")
        if y is None:
            return x_scores
        return x_scores, _scores(_as_target(y, self.y_mean_), self.y_mean_, self.y_rotations_, "y")

    def fit_transform(self, X: Any, y: Any) -> Any:
        """Fit, and return the scores of both views."""
        return self.fit(X, y).transform(X, y)

    @property
    def _n_features_out(self) -> int:
        return self.x_rotations_.shape[1]

    def _views(self, X: Any, y: Any) -> tuple[Array, Array]:
        """Both views as matrices; y follows the kind of X where it is not a floating array of its own."""
        if y is None:
            raise ValueError("y is missing: canonical correlation analysis needs two views, fit(X, y)")
        x = self._view(X, reset=True)
        return x, _as_target(y, x)

    def _view(self, X: Any, *, reset: bool) -> Array:
        if is_torch_array(X):
            if reset:
                self.n_features_in_ = X.shape[-1]
            return X
        # Finiteness is read off the column sums of the first pass instead of an extra one.
        return validate_data(self, X, dtype=[np.float64, np.float32], ensure_all_finite=False, reset=reset)

    def _check_parameters(self, x: Array, y: Array) -> None:
        smallest = min(x.shape[0], x.shape[1], y.shape[1])
        if isinstance(self.n_components, bool) or not isinstance(self.n_components, (int, np.integer)):
            raise TypeError(f"n_components must be an integer, got {self.n_components!r}")
        if not 1 <= self.n_components <= smallest:
            raise ValueError(f"n_components must be between 1 and {smallest} for these views, got {self.n_components}")
        for name, choices in (("solver", _SOLVERS), ("preconditioner", _PRECONDITIONERS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        require_at_least("tol", self.tol, 0)
        if self.tol == 0:
            raise ValueError("tol must be positive, got 0")
        require_at_least("max_iter", self.max_iter, 1, whole=True)

    def _choose_solver(self, x: Array, y: Array) -> str:
        """Direct while forming the covariances costs less than the passes, or the sketch would be no smaller than X."""
        widest = max(x.shape[1], y.shape[1])
        small = widest <= BREAK_EVEN * EXPECTED_PASSES or x.shape[0] < ROWS_PER_COLUMN * widest
        return "direct" if small else "riemannian"

    def _solve_riemannian(self, data: PairedViews) -> CanonicalPairs:
        rng = np.random.default_rng(self.random_state)
        metric = "sketched" if self.preconditioner == "auto" else self.preconditioner
        preconditioners: tuple[Any, Any] = (None, None)
        if metric == "sketched":
            size = self.sketch_size_ = SKETCH_FACTOR * max(data.n_features)
            sketched = data.sketch(CountSketch(size, seed=int(rng.integers(2**32))))
            x_metric, y_metric = map(SketchedGramPreconditioner, sketched, data.reg)
            preconditioners = x_metric, y_metric
            _require_full_rank(preconditioners, (10 * machine_epsilon(data.like)) ** 2)
        elif metric == "exact":
            xx, _, yy = data.covariances()
            preconditioners = CholeskyPreconditioner(xx), CholeskyPreconditioner(yy)
            _require_full_rank(preconditioners, 10 * machine_epsilon(data.like))
        problem = CCAProblem(data, self.n_components, preconditioners=preconditioners)
        stopping = GradientNorm(absolute=self.tol) | MaxIterations(self.max_iter)
        result = minimize(problem, problem.manifold, rng=rng, stopping=stopping)
        if result.status == Status.INTERRUPTED:
            raise KeyboardInterrupt
        self.status_, self.n_iter_ = result.status, result.nit
        if not result.success:
            warnings.warn(
                f"the Riemannian solver stopped at a gradient of {result.grad_norm:.1e}, above tol: {result.message}",
                ConvergenceWarning,
                stacklevel=3,
            )
        return CanonicalPairs(*problem.canonical_pairs(result.x))


_SOLVERS = ("auto", "riemannian", "direct")
_PRECONDITIONERS = ("auto", "sketched", "exact", "identity")


def _as_target(y: Any, like: Array) -> Array:
    if not is_torch_array(y):
        array = check_array(y, dtype=[np.float64, np.float32], ensure_2d=False, ensure_all_finite=False, input_name="y")
        y = _in_kind(y, array, like)
    return y[:, None] if y.ndim == 1 else y


def _in_kind(data: Any, array: Array, like: Array) -> Array:
    """The array made of some data; in the kind of ``like`` where the data has no floating dtype of its own."""
    own = is_torch_array(data) or getattr(data, "dtype", None) in (np.float64, np.float32)
    return array if own else convert(array, like)


def _require_full_rank(preconditioners: tuple[Any, Any], rounding: float) -> None:
    """Raise a ValueError where rounding is all that keeps the metric of a view from being singular."""
    for name, metric in zip(("X", "y"), preconditioners, strict=True):
        if triangular_condition(metric.factor) * rounding > 1:
            raise ValueError(
                f"{name} is numerically rank deficient; add a ridge (reg > 0) or use solver='direct', which truncates"
            )


def _scores(view: Array, mean: Array, rotations: Array, name: str) -> Array:
    require_same_kind(view, mean, name, "the data of fit")
    if view.ndim != 2:
        raise ValueError(f"{name} must be a matrix (samples x features), got shape {tuple(view.shape)}")
    if view.shape[1] != mean.shape[0]:
        raise ValueError(f"{name} has {view.shape[1]} features, but CCA was fitted with {mean.shape[0]}")
    require_finite(view, name)
    return (view - mean) @ rotations


def _signed(pairs: CanonicalPairs) -> CanonicalPairs:
    """Pairs whose signs do not depend on the solver: the largest weight of each x direction is positive."""
    xp = namespace(pairs.u)
    largest = xp.max(pairs.u, axis=0) >= -xp.min(pairs.u, axis=0)
    signs = xp.where(largest, xp.ones_like(pairs.u[0]), -xp.ones_like(pairs.u[0]))
    return CanonicalPairs(pairs.correlations, pairs.u * signs, pairs.v * signs)
