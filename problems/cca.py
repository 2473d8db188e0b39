"""Canonical correlation analysis as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MultiOutputMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted, validate_data

from manifolds.linalg import Array, convert, is_array, is_torch_array, require_same_kind, to_numpy
from problems.canonical_pairs import loadings_of, with_fixed_signs
from problems.cca_choice import Sizes, choose_solver
from problems.cca_parameters import check_parameters, generator_of
from problems.cca_solver import CCASolver, Request, Solution
from problems.cca_solvers import SOLVERS, DirectCCA
from problems.co_moments import CoMoments, Moments
from problems.data import PairedViews
from problems.row_blocks import as_data, density, empty_like, is_dask
from problems.row_source import RowSource, in_memory
from problems.view_inputs import SPARSE_FORMATS, as_columns, as_target, in_kind, scores_of


class CCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, RegressorMixin, MultiOutputMixin, BaseEstimator):
    """Canonical correlation analysis: pairs of directions in two views whose scores correlate most.

    Finds u_i, v_i that maximise the correlations of X u_i and Y v_i, each pair uncorrelated with the ones before.
    Scores have unit variance, a ridge included. Data may be numpy arrays, scipy sparse matrices, or torch tensors on
    CPU or CUDA, float32 or float64: everything follows X. They are read in blocks of rows and never copied, nor are
    sparse data filled. Either view may be a file, as ``open_rows`` opens it, which is read once for each pass.
    Of two dask arrays or dataframes the rows stay where they are.

    Parameters
    ----------
    n_components : int
        Number of pairs.
    scale : bool
        Whether columns are divided by their standard deviations. Without a ridge this changes no correlation.
    reg : float or pair of float
        Ridge on the covariance (1/n) of each view.
    solver : str or CCASolver
        ``"direct"`` forms the covariances in one pass and decomposes them. ``"cholesky-qr"`` does so for the data
        whitened by a sketch, in three passes, which keeps all digits of ill-conditioned data. ``"lobpcg"`` and
        ``"riemannian"`` (conjugate gradients; ``"trust-region"`` for the second-order method) never form a covariance:
        a pass per iteration. ``"block-pcg"`` does so over one view where the other is small. ``"auto"`` takes the one
        with the least estimated cost, and Cholesky-QR instead of the direct one where the condition number asks for it.
    preconditioner : {"auto", "sketched", "nystrom", "diagonal", "exact", "identity"}
        Metric of the iterative solvers. ``"auto"`` is the sketched one where the sketch is smaller than the data.
    tol : float
        Norm of the residuals, or of the Riemannian gradient, at which an iterative solver stops; not below 100 times
        the machine epsilon.
    max_iter : int
        Iterations of an iterative solver at most.
    random_state : None, int, numpy.random.Generator or numpy.random.RandomState
        Of the sketch and the start point.

    Attributes
    ----------
    correlations_ : array of shape (n_components,)
        Canonical correlations on the training data, decreasing; with a ridge those of the ridged covariances.
    x_weights_, y_weights_ : arrays of shape (n_features, n_components), (n_targets, n_components)
        Directions u_i and v_i for centred, and with ``scale`` also scaled, data.
    x_rotations_, y_rotations_ : arrays
        The same directions for centred data in its own units, as ``transform`` uses them.
    x_loadings_, y_loadings_ : arrays
        Coefficients of the regression of each view on its own scores, by which ``inverse_transform`` works.
    coef_ : array of shape (n_targets, n_features)
        Coefficients of the regression of y on X through the canonical variates; formed when asked for.
    intercept_ : array of shape (n_targets,)
        The mean of y.
    x_mean_, y_mean_ : arrays
        Column means.
    solver_ : str
        Which solver ran.
    n_passes_ : int
        Reads of the data.
    n_iter_ : int
        Iterations; 1 for solvers that decompose.
    condition_number_ : float or None
        Estimate of the condition number that mattered: of the covariances (direct), of their scaled form (Cholesky-QR),
        or relative to the preconditioner.
    sketch_size_ : int or None
        Rows of the sketch.
    status_ : Status or None
        Why an iterative solver stopped.

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
        solver: str | CCASolver = "auto",
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CCA:
        """Find the canonical pairs of two views.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)
        y : array, scipy sparse matrix or RowSource of shape (n_samples, n_targets) or (n_samples,)
        sample_weight : array of shape (n_samples,), optional
            Non-negative; whole weights are as good as repeated rows.

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
            If an iterative solver did not converge.
        UserWarning
            If a view without ridge is rank deficient and is truncated.
        """
        x, targets = self._views(X, y, reset=True)
        data = PairedViews(x, targets, reg=self.reg, scale=self.scale, sample_weight=sample_weight)
        self._check_parameters(data.n_samples, *data.n_features)
        solver = self._chosen_solver(x, targets, data)
        rng = generator_of(self.random_state)
        solution = solver.solve(
            data, Request(int(self.n_components), self.preconditioner, self.tol, self.max_iter, rng)
        )
        self._co_moments: CoMoments | None = None
        self._set(solution, solution.solver or solver.name, data.moments, data.n_passes)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> CCA:
        """Find the canonical pairs of all batches so far, whose means and covariances add up; by the direct solver.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)
        y : array, scipy sparse matrix or RowSource of shape (n_samples, n_targets) or (n_samples,)
        sample_weight : array of shape (n_samples,), optional

        Returns
        -------
        CCA
            The fitted estimator itself.
        """
        seen = getattr(self, "_co_moments", None)
        x, targets = self._views(X, y, reset=seen is None)
        data = PairedViews(x, targets, reg=self.reg, sample_weight=sample_weight)
        if seen is not None:
            require_same_kind(data.like, self.x_mean_, "X", "the batches before")
            if data.n_features[1] != seen.y_mean.shape[0]:
                raise ValueError(
                    f"y has {data.n_features[1]} columns, but the batches before had {seen.y_mean.shape[0]}"
                )
        self._check_parameters(data.n_samples if seen is None else 2**62, *data.n_features)
        moments = data.co_moments(double=True)
        together = moments if seen is None else seen.merged(moments)
        views = PairedViews(x, targets, reg=self.reg, scale=self.scale)
        solution = DirectCCA().from_moments(together, views, int(self.n_components))
        self._co_moments = together
        _, wide = together.covariances(scale=self.scale)
        of_x, of_y = (Moments(*map(data.views[0].cast, part)) for part in wide)
        self._set(solution, "direct", (of_x, of_y), data.n_passes if seen is None else self.n_passes_ + data.n_passes)
        return self

    def transform(self, X: Any, y: Any = None) -> Any:
        """Scores of new data: (X - mean) times the rotations.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)
        y : array, scipy sparse matrix or RowSource of shape (n_samples, n_targets), optional

        Returns
        -------
        x_scores : array of shape (n_samples, n_components)
        y_scores : array of shape (n_samples, n_components)
            Only where y is given, as the second of a pair.
        """
        check_is_fitted(self)
        x_scores = scores_of(self._known_view(X), self.x_mean_, self.x_rotations_, "X")
        if y is None:
            return x_scores
        return x_scores, scores_of(as_columns(as_target(y, self.y_mean_)), self.y_mean_, self.y_rotations_, "y")

    def fit_transform(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit, and return the scores of both views."""
        return self.fit(X, y, sample_weight).transform(X, y)

    def inverse_transform(self, X: Any, y: Any = None) -> Any:
        """Data whose scores are given, by the regression of each view on its scores.

        Parameters
        ----------
        X : array of shape (n_samples, n_components)
            Scores of the first view.
        y : array of shape (n_samples, n_components), optional
            Scores of the second view.

        Returns
        -------
        x : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets)
            Only where y is given, as the second of a pair.
        """
        check_is_fitted(self)
        x = self._restored(X, self.x_loadings_, self._x_scale, self.x_mean_, "X")
        return x if y is None else (x, self._restored(y, self.y_loadings_, self._y_scale, self.y_mean_, "y"))

    def predict(self, X: Any) -> Array:
        """Second view as predicted from the first, ``(X - x_mean_) coef_^T + intercept_``.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_targets), or (n_samples,) where y was one-dimensional
        """
        check_is_fitted(self)
        scores = scores_of(self._known_view(X), self.x_mean_, self.x_rotations_, "X")
        predicted = scores @ self._score_coefficients.mT + self.intercept_
        return predicted[:, 0] if self._one_target else predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Coefficient of determination R^2 of the prediction, the mean over the columns of y.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)
        y : array or RowSource of shape (n_samples, n_targets) or (n_samples,)
            Read into memory.
        sample_weight : array of shape (n_samples,), optional

        Returns
        -------
        float
        """
        weights = None if sample_weight is None else to_numpy(sample_weight)
        y = in_memory(y) if isinstance(y, RowSource) else y
        return float(r2_score(to_numpy(y), to_numpy(self.predict(X)), sample_weight=weights))

    @property
    def coef_(self) -> Array:
        """Coefficients of y on X, shape (n_targets, n_features), formed when they are asked for."""
        check_is_fitted(self, "x_rotations_")
        # u u^T Sxy is the ridge regression of y on X, restricted to the canonical directions.
        return self._score_coefficients @ self.x_rotations_.mT

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.regressor_tags.poor_score = True  # through two components it need not predict well
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.x_rotations_.shape[1]

    def _set(self, solution: Solution, solver: str, moments: Sequence[Moments], n_passes: int) -> None:
        """Fitted attributes from the solution."""
        pairs, products = with_fixed_signs(solution.pairs, solution.products)
        self.correlations_, self.x_weights_, self.y_weights_ = pairs
        (self.x_mean_, self._x_scale), (self.y_mean_, self._y_scale) = moments
        self.x_rotations_ = self.x_weights_ / self._x_scale[:, None]
        self.y_rotations_ = self.y_weights_ / self._y_scale[:, None]
        reg = self.reg if isinstance(self.reg, (tuple, list)) else (self.reg, self.reg)
        self.x_loadings_ = loadings_of(pairs.u, products.xx, float(reg[0]))
        self.y_loadings_ = loadings_of(pairs.v, products.yy, float(reg[1]))
        self._score_coefficients = products.yx * self._y_scale[:, None]
        self.intercept_ = self.y_mean_
        self.solver_, self.n_passes_, self.n_iter_ = solver, n_passes, max(1, solution.n_iter)
        self.condition_number_, self.sketch_size_ = solution.condition, solution.sketch_size
        self.status_ = solution.status

    def _restored(self, scores: Any, loadings: Array, scale: Array, mean: Array, name: str) -> Array:
        scores = scores if is_array(scores) else convert(np.asarray(scores), mean)
        require_same_kind(scores, mean, name, "the data of fit")
        if scores.ndim != 2 or scores.shape[1] != loadings.shape[1]:
            raise ValueError(
                f"{name} must be scores of shape (n_samples, {loadings.shape[1]}), got {tuple(scores.shape)}"
            )
        return scores @ (loadings * scale[:, None]).mT + mean

    def _views(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Both views as matrices; y follows the kind of X where it is not a floating array of its own."""
        if y is None:
            # scikit-learn's checks look for the words "requires y to be passed".
            raise ValueError(
                "y is missing: canonical correlation analysis needs two views, fit(X, y); it requires y to be passed, "
                "but the target y is None"
            )
        x = self._view(X, reset=reset)
        like = x if is_array(x) else empty_like(x)
        target = as_target(y, like)
        self._one_target = target.ndim == 1
        return x, as_columns(target)

    def _view(self, X: Any, *, reset: bool) -> Any:
        if is_dask(X):
            X = as_data(X, "X")
        if is_torch_array(X) or isinstance(X, RowSource):
            if reset:
                self.n_features_in_ = X.shape[-1]
            return X
        # Finiteness is read off the column sums of the first pass instead of an extra one.
        return validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            accept_sparse=SPARSE_FORMATS,
            reset=reset,
        )

    def _known_view(self, X: Any) -> Any:
        return in_kind(X, self._view(X, reset=False), self.x_mean_)

    def _check_parameters(self, n: int, dx: int, dy: int) -> None:
        check_parameters(self, n, min(n, dx, dy), tuple(SOLVERS), CCASolver)

    def _chosen_solver(self, x: Any, y: Any, data: PairedViews) -> CCASolver:
        if isinstance(self.solver, CCASolver):
            return self.solver
        if self.solver != "auto":
            return SOLVERS[self.solver]
        sizes = Sizes(
            data.n_samples,
            *data.n_features,
            n_components=int(self.n_components),
            density=(density(x), density(y)),
            gpu=is_torch_array(x) and x.device.type != "cpu",
            ridge=min(data.reg) > 0,
        )
        name = choose_solver(sizes)
        return DirectCCA(fallback=SOLVERS["cholesky-qr"]) if name == "direct" else SOLVERS[name]
