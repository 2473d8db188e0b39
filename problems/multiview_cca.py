"""Canonical correlation analysis of several views as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from manifolds.linalg import Array, is_array, is_torch_array, namespace, require_same_kind
from problems.canonical_pairs import signs_of
from problems.cca_choice import choose_multiview_solver
from problems.cca_parameters import check_parameters, generator_of
from problems.cca_solver import Request
from problems.multiview_criteria import CRITERIA, MaxVar, MultiviewCriterion
from problems.multiview_data import MultiviewData
from problems.multiview_problem import blocks_between
from problems.multiview_solvers import MULTIVIEW_SOLVERS, MultiviewSolution, MultiviewSolver
from problems.row_blocks import as_data, density, empty_like, is_dask
from problems.row_source import RowSource
from problems.view_inputs import as_target, checked, scores_of


class MultiviewCCA(BaseEstimator):
    """Canonical correlation analysis of several views: directions in each whose scores all correlate most.

    MAXVAR takes the leading eigenvectors of

        S w = lambda blkdiag(S_11, ..., S_mm) w,    sum_i w_i^T S_ii w_i = m,

    with S the covariances of all views. SUMCOR maximises the sum of the correlations of all pairs of views, each with
    W_i^T S_ii W_i = I. With two views both are canonical correlation analysis, and lambda is 1 +- correlation. Data may
    be numpy arrays, scipy sparse matrices, or torch tensors on CPU or CUDA, float32 or float64: everything follows the
    first view. They are read in blocks of rows and never copied, nor are
    sparse data filled; rows in files or on a cluster stay there, as for ``CCA``.

    Parameters
    ----------
    n_components : int
        Number of directions in each view.
    criterion : {"maxvar", "sumcor"} or MultiviewCriterion
        What is maximised; ``SumCor(starts=8)`` looks for the best of several local maxima.
    scale : bool
        Whether columns are divided by their standard deviations.
    reg : float or sequence of float
        Ridge on the covariance (1/n) of each view.
    solver : str or MultiviewSolver
        ``"direct"`` forms the covariances in one pass; the rest is dense algebra. ``"lobpcg"`` (MAXVAR) and
        ``"riemannian"`` (conjugate gradients; ``"trust-region"`` for the second-order method) never form a covariance:
        a pass per iteration. ``"auto"`` takes the one with the least estimated cost.
    preconditioner : {"auto", "sketched", "nystrom", "diagonal", "exact", "identity"}
        Metric of the iterative solvers. ``"auto"`` is the sketched one where the sketch is smaller than the data.
    tol : float
        Norm of the Riemannian gradient, or relative residual of LOBPCG, at which an iteration stops; not below 100
        times the machine epsilon.
    max_iter : int
        Iterations at most.
    random_state : None, int, numpy.random.Generator or numpy.random.RandomState
        Of the sketch and the start point.

    Attributes
    ----------
    correlations_ : array of shape (n_components,)
        Mean correlation of the components between views: the sum of w_i^T S_ij w_j over i != j, divided by m - 1 times
        the sum of w_i^T S_ii w_i; decreasing. With a ridge those of the ridged covariances.
    eigenvalues_ : array of shape (n_components,)
        ``1 + (m - 1) correlations_``; for MAXVAR the eigenvalues lambda.
    pairwise_correlations_ : array of shape (n_components, m, m)
        Correlation matrix of the scores of all views for each component.
    weights_ : list of array of shape (n_features_i, n_components)
        Directions w_i for centred, and with ``scale`` also scaled, data.
    rotations_ : list of array
        The same directions for centred data in its own units, as ``transform`` uses them.
    means_ : list of array of shape (n_features_i,)
        Column means.
    solver_ : str
        Which solver ran.
    n_passes_ : int
        Reads of the data; a read of one view counts as one.
    n_iter_ : int
        Iterations, of all starts together; 1 where there were none.
    condition_number_ : float or None
        Estimate of the condition number that mattered: of the covariances (direct) or relative to the preconditioner.
    sketch_size_ : int or None
        Rows of the sketch.
    status_ : Status or None
        Why an iteration stopped.

    References
    ----------
    Kettenring, Canonical analysis of several sets of variables, Biometrika 58 (1971); Via, Santamaria, Perez, A
    learning algorithm for adaptive canonical correlation analysis of several data sets, Neural Networks 20 (2007).

    Examples
    --------
    >>> import numpy as np
    >>> from problems import MultiviewCCA
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((1000, 1))
    >>> noise = [rng.standard_normal((1000, d)) for d in (2, 3, 4)]
    >>> views = [np.hstack([shared + part[:, :1], part[:, 1:]]) for part in noise]
    >>> cca = MultiviewCCA(n_components=1).fit(views)
    >>> scores = cca.transform(views)
    >>> bool(np.isclose(np.corrcoef(scores[0].T, scores[2].T)[0, 1], cca.pairwise_correlations_[0, 0, 2]))
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        criterion: str | MultiviewCriterion = "maxvar",
        scale: bool = False,
        reg: float | Sequence[float] = 0.0,
        solver: str | MultiviewSolver = "auto",
        preconditioner: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 1000,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.criterion = criterion
        self.scale = scale
        self.reg = reg
        self.solver = solver
        self.preconditioner = preconditioner
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, views: Sequence[Any], y: Any = None, sample_weight: Any = None) -> MultiviewCCA:
        """Find the directions of all views.

        Parameters
        ----------
        views : list of array, scipy sparse matrix or RowSource of shape (n_samples, n_features_i)
            At least two, with the same rows.
        y : None
            Not used; scikit-learn's tools pass it.
        sample_weight : array of shape (n_samples,), optional
            Non-negative; whole weights are as good as repeated rows.

        Returns
        -------
        MultiviewCCA
            The fitted estimator itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or the views do not fit together or hold NaN or infinity.

        Warns
        -----
        ConvergenceWarning
            If an iterative solver did not converge.
        UserWarning
            If a view without ridge is rank deficient and is truncated.
        """
        matrices = self._as_views(views, None)
        data = MultiviewData(matrices, reg=self.reg, scale=self.scale, sample_weight=sample_weight)
        criterion = self._chosen_criterion()
        solver = self._chosen_solver(matrices, data, criterion)
        request = Request(
            int(self.n_components), self.preconditioner, self.tol, self.max_iter, generator_of(self.random_state)
        )
        self._set(solver.solve(data, request, criterion), data)
        self.solver_ = solver.name
        return self

    def transform(self, views: Sequence[Any]) -> list[Array]:
        """Scores of new data: (X_i - mean_i) times the rotations of the view.

        Parameters
        ----------
        views : list of array, scipy sparse matrix or RowSource of shape (n_samples, n_features_i)
            As many as were fitted, in the same order; None where a view is missing.

        Returns
        -------
        list of array of shape (n_samples, n_components)
            None in the place of missing views.
        """
        check_is_fitted(self)
        fitted = zip(self._as_views(views, self.means_), self.means_, self.rotations_, strict=True)
        return [
            None if view is None else scores_of(view, mean, rotations, f"views[{i}]")
            for i, (view, mean, rotations) in enumerate(fitted)
        ]

    def fit_transform(self, views: Sequence[Any], y: Any = None, sample_weight: Any = None) -> list[Array]:
        """Fit, and return the scores of all views."""
        return self.fit(views, y, sample_weight).transform(views)

    def score(self, views: Sequence[Any], y: Any = None) -> float:
        """Mean correlation between the scores of different views, over all pairs of views and all components.

        Parameters
        ----------
        views : list of array, scipy sparse matrix or RowSource of shape (n_samples, n_features_i)
        y : None
            Not used; scikit-learn's tools pass it.

        Returns
        -------
        float

        Notes
        -----
        Two passes over the views, whose scores are never formed.
        """
        check_is_fitted(self)
        matrices = self._as_views(views, self.means_)
        if any(view is None for view in matrices):
            raise ValueError("views must hold all views for score, which correlates them")
        data = MultiviewData(matrices)
        require_same_kind(data.like, self.means_[0], "views[0]", "the data of fit")
        for i, (d, mean) in enumerate(zip(data.n_features, self.means_, strict=True)):
            if d != mean.shape[0]:
                raise ValueError(f"views[{i}] has {d} features, but CCA was fitted with {mean.shape[0]}")
        blocks = blocks_between(self.rotations_, data.products(self.rotations_))
        correlations = _correlations(_by_component(blocks, len(matrices)))
        xp, m = namespace(correlations), len(matrices)
        own = xp.sum(xp.linalg.diagonal(correlations))
        return float(xp.sum(correlations) - own) / (m * (m - 1) * correlations.shape[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.two_d_array = False
        return tags

    def _set(self, solution: MultiviewSolution, data: MultiviewData) -> None:
        """Fitted attributes from the solution."""
        directions, m = solution.directions, len(solution.directions)
        xp = namespace(directions[0])
        signs = signs_of(directions[0])
        self.weights_ = [part * signs for part in directions]
        self.means_ = [moments.mean for moments in data.moments]
        self.rotations_ = [w / moments.scale[:, None] for w, moments in zip(self.weights_, data.moments, strict=True)]
        covariances = _by_component(solution.covariances, m)
        variances = xp.linalg.diagonal(covariances)
        quotients = xp.sum(covariances, axis=(1, 2)) / xp.sum(variances, axis=1)
        self.correlations_ = (quotients - 1) / (m - 1)
        self.eigenvalues_ = quotients
        self.pairwise_correlations_ = _correlations(covariances)
        self.n_passes_, self.n_iter_ = data.n_passes, max(1, solution.n_iter)
        self.condition_number_, self.sketch_size_ = solution.condition, solution.sketch_size
        self.status_ = solution.status

    def _as_views(self, views: Any, fitted: list[Array] | None) -> list[Any]:
        """The views as matrices of the kind of the first, or of those of fit."""
        if not isinstance(views, (list, tuple)):
            raise TypeError(f"views must be a list of data matrices, got {type(views).__name__}")
        if fitted is None:
            if not views:
                raise ValueError("views must hold at least two data matrices, got 0")
            missing = next((i for i, view in enumerate(views) if view is None), None)
            if missing is not None:
                raise ValueError(f"views[{missing}] is None, but fit needs all views")
            first = as_data(views[0], "views[0]") if is_dask(views[0]) else views[0]
            if not (is_torch_array(first) or isinstance(first, RowSource)):
                first = checked(first, "views[0]")
            like = first if is_array(first) else empty_like(first)
            return [first, *(as_target(view, like, f"views[{i + 1}]") for i, view in enumerate(views[1:]))]
        if len(views) != len(fitted):
            raise ValueError(f"views must hold {len(fitted)} data matrices, as in fit, got {len(views)}")
        return [None if view is None else as_target(view, fitted[i], f"views[{i}]") for i, view in enumerate(views)]

    def _chosen_criterion(self) -> MultiviewCriterion:
        if isinstance(self.criterion, MultiviewCriterion):
            return self.criterion
        if not isinstance(self.criterion, str) or self.criterion not in CRITERIA:
            raise ValueError(
                f"criterion must be one of {tuple(CRITERIA)} or a MultiviewCriterion, got {self.criterion!r}"
            )
        return CRITERIA[self.criterion]

    def _chosen_solver(
        self, matrices: list[Any], data: MultiviewData, criterion: MultiviewCriterion
    ) -> MultiviewSolver:
        solver = self.solver
        if solver == "auto":
            shares = [density(view) for view in matrices]
            gpu = is_torch_array(data.like) and data.like.device.type != "cpu"
            name = choose_multiview_solver(
                data.n_samples, data.n_features, self.n_components, shares, ridge=min(data.reg) > 0, gpu=gpu
            )
            solver = "riemannian" if name == "lobpcg" and not isinstance(criterion, MaxVar) else name
        known = MULTIVIEW_SOLVERS.get(solver) if isinstance(solver, str) else solver
        most = sum(data.n_features)
        if isinstance(known, MultiviewSolver):
            most = known.most_components(data.n_features, criterion)
        check_parameters(self, data.n_samples, min(data.n_samples, most), tuple(MULTIVIEW_SOLVERS), MultiviewSolver)
        assert isinstance(known, MultiviewSolver)
        return known


def _by_component(blocks: Array, m: int) -> Array:
    """Covariances of the scores of m views for each component, shape (p, m, m), from those of all scores."""
    xp, p = namespace(blocks), blocks.shape[0] // m
    split = xp.reshape(blocks, (m, p, m, p))
    return xp.stack([split[:, k, :, k] for k in range(p)])


def _correlations(covariances: Array) -> Array:
    """Correlation matrices of covariances; zeros for what does not vary."""
    xp = namespace(covariances)
    deviations = xp.sqrt(xp.clip(xp.linalg.diagonal(covariances), 0.0, None))
    inverse = xp.where(deviations > 0, 1 / xp.where(deviations > 0, deviations, xp.ones_like(deviations)), 0.0)
    return covariances * inverse[:, :, None] * inverse[:, None, :]
