"""Linear discriminant analysis as a scikit-learn classifier and transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from manifolds.linalg import (
    Array,
    identity,
    is_torch_array,
    machine_epsilon,
    namespace,
    require_real_floating,
    to_numpy,
)
from manifolds.probes import NotPositiveDefiniteError
from problems.caller_warnings import warn_caller
from problems.class_labels import ClassMeans, as_priors, as_weights, classes_and_codes
from problems.class_statistics import ClassStatistics
from problems.dask_rows import DaskCodes, DaskRows
from problems.discriminant_rule import DiscriminantRule
from problems.labelled_data import LabelledData
from problems.lda_parameters import check_parameters, takes_parts
from problems.lda_shrinkage import ShrunkenCovariances, ledoit_wolf, shrunken, shrunken_discriminants
from problems.lda_solvers import Discriminants, choose_solver, discriminants, dual, iterative
from problems.row_blocks import as_data, density, is_dask, product_like
from problems.row_source import RowSource
from problems.whitening import cholesky_qr, gram_whitening, row_space
from problems.whitening_factors import is_precise


class LDA(DiscriminantRule):
    """Linear discriminant analysis: the directions along which classes differ most, and the rule that tells them apart.

    The directions solve S_b w = lambda (S_w + reg I) w for the covariances between and within the classes; the rule
    takes each class as normal with the common covariance S_w + reg I. Dense arrays of numpy and torch (CPU or CUDA) and
    scipy sparse matrices, float32 and float64: everything follows X, which may also be a file that ``open_rows`` opens.

    Parameters
    ----------
    n_components : int, optional
        Directions that ``transform`` uses; min(n_classes - 1, n_features) when left out.
    priors : array of shape (n_classes,), optional
        Probabilities of the classes; their shares of the training data when left out.
    shrinkage : float between 0 and 1, or "auto", optional
        Replaces each covariance S by (1 - a) S + a tr(S) / d I; ``"auto"`` finds a by the lemma of Ledoit and Wolf,
        for each class. The numbers are those of scikit-learn's ``LinearDiscriminantAnalysis(solver="eigen")``.
    reg : float
        Ridge on the within-class covariance (1/n). Either ``shrinkage`` or ``reg``.
    solver : {"auto", "direct", "cholesky-qr", "dual", "block-pcg", "lobpcg", "riemannian"}
        ``"direct"``: covariance and Cholesky factor, one pass over the data. ``"cholesky-qr"``: the same for data that
        a sketch has whitened, three passes, for ill-conditioned data; with fewer rows than columns the singular value
        decomposition of the centred rows. ``"dual"``: the Gram matrix of the rows in the place of that of the columns,
        for wide sparse data with a ridge. ``"block-pcg"``: the covariance is only multiplied with, by conjugate
        gradients for all classes at once with a preconditioner; ``"lobpcg"`` and ``"riemannian"`` find the eigenvectors
        themselves so. ``"auto"``: by the cost model of the documentation; direct for almost all dense data, and
        cholesky-qr where that turns out to be ill conditioned.
    preconditioner : {"auto", "sketched", "nystrom", "diagonal", "exact", "identity"}
        Of the iterative solvers.
    tol : float
        Of the iterative solvers: bound for the relative residuals. Errors of eigenvalues are about its square.
    max_iter : int
        Steps of the iterative solvers at most.
    random_state : None, int or numpy.random.Generator
        Of sketches and start vectors.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    coef_ : array of shape (n_classes, n_features), or (1, n_features) for two classes
    intercept_ : array of shape (n_classes,), or (1,)
    eigenvalues_ : array of shape (n_components,)
        Quotients of the variance between and within the classes, descending.
    explained_variance_ratio_ : array of shape (n_components,)
        Shares of the sum of all eigenvalues.
    scalings_ : array of shape (n_features, n_classes - 1)
        Directions w with w^T (S_w + reg I) w = 1; fewer where class means depend on each other.
    means_ : array of shape (n_classes, n_features)
    priors_ : array of shape (n_classes,)
    xbar_ : array of shape (n_features,)
        Mean of the class means, weighted by the priors.
    solver_ : str
        Which solver ran.
    n_passes_ : int
        Reads of the data; of a file one more where it is read more than half before rows of each class are seen, as it
        is where they are sorted by class.
    condition_number_ : float
        Estimated condition number of what was solved with: the covariance, its columns scaled to unit variance, or that
        relative to the preconditioner.
    sketch_size_ : int or None
        Rows of the sketch.
    n_iter_ : int
        Steps of an iterative solver; 1 for the others.
    status_ : Status or None
        Why an iterative solver stopped.

    References
    ----------
    Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 7 (1936); Hastie, Tibshirani,
    Friedman, The Elements of Statistical Learning (2009), Section 4.3; Chowdhury, Yang, Drineas, Randomized iterative
    algorithms for Fisher discriminant analysis, arXiv:1809.03045 (2018).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> lda = LDA().fit(X, y)
    >>> lda.eigenvalues_.round(3)
    array([32.192,  0.285])
    >>> lda.transform(X).shape, lda.score(X, y)
    ((150, 2), 0.98)
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        priors: Any = None,
        shrinkage: float | str | None = None,
        reg: float = 0.0,
        solver: str = "auto",
        preconditioner: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 1000,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.priors = priors
        self.shrinkage = shrinkage
        self.reg = reg
        self.solver = solver
        self.preconditioner = preconditioner
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LDA:
        """Find the discriminant directions and the rule.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)
        y : array of shape (n_samples,)
            Labels.
        sample_weight : array of shape (n_samples,), optional
            Non-negative; a row of weight two counts as two rows.

        Returns
        -------
        LDA
            The fitted estimator itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, there are fewer than two classes or no more rows than classes, or X
            holds NaN or infinity.

        Warns
        -----
        UserWarning
            If the rows do not fill the space within the classes, so that S_w is truncated to its numerical rank.
        ConvergenceWarning
            If an iterative solver did not converge.
        """
        self._statistics: ClassStatistics | None = None
        data = self._labelled(X, y, sample_weight, classes=None, reset=True)
        priors = as_priors(self.priors, data.counts)
        if self.shrinkage is not None:
            self.solver_ = "direct"
            self._fit_shrunken(data, priors)
        else:
            self._fit_plain(data, priors)
        self.n_passes_ = data.n_passes
        if self.status_ is not None and not self.status_.success:
            warn_caller(
                f"solver={self.solver_!r} stopped before tol = {self.tol}: {self.status_.message}", ConvergenceWarning
            )
        return self

    @available_if(takes_parts)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> LDA:
        """Add rows to those of earlier calls, and find directions and rule for all of them, with the direct solver.

        Class means and the within-class scatter of d x d numbers are kept from call to call; ``fit`` forgets them.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)
        y : array of shape (n_samples,)
        classes : array of shape (n_classes,), optional
            All labels that may come; needed in the first call, unless ``fit`` has seen them.
        sample_weight : array of shape (n_samples,), optional

        Returns
        -------
        LDA
            The fitted estimator itself.

        Raises
        ------
        ValueError, TypeError
            As ``fit``; where ``classes`` is missing in the first call or a label is not among them.
        AttributeError
            Where the solver or the shrinkage needs all rows at once.
        """
        earlier: ClassStatistics | None = getattr(self, "_statistics", None)
        if classes is None:
            classes = getattr(self, "classes_", None)
        if earlier is None and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit: all labels that may come")
        data = self._labelled(X, y, sample_weight, classes=classes, reset=earlier is None)
        statistics = data.statistics(double=True)  # what is added up cannot be looked at more closely later
        self._statistics = statistics = statistics if earlier is None else earlier.merged(statistics)
        means = ClassMeans(statistics.means, as_priors(self.priors, statistics.counts))
        self.solver_ = "direct"
        if self.shrinkage is None:
            result = self._by_gram(statistics, means.priors, data.like, accurate=False)
            assert result is not None
            self._set_result(result, None, means, data.like)
        else:
            within = statistics.scatter / statistics.total
            covariances = shrunken(statistics, within, float(self.shrinkage))
            self._set_result(*shrunken_discriminants(covariances, means, self._most_components), means, data.like)
        self.n_passes_ = data.n_passes
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _labelled(self, X: Any, y: Any, sample_weight: Any, *, classes: Any, reset: bool) -> LabelledData:
        """Checked data and parameters."""
        if is_dask(X):
            X = as_data(X, "X")
        if is_torch_array(X):
            require_real_floating(X, "X")
            if X.ndim != 2 or 0 in X.shape:
                raise ValueError(f"X must be a matrix (samples x features) that is not empty, got {tuple(X.shape)}")
            if not reset and X.shape[1] != self.n_features_in_:
                raise ValueError(f"X has {X.shape[1]} features, but LDA is expecting {self.n_features_in_} features")
            self.n_features_in_ = X.shape[1]
        elif isinstance(X, RowSource):
            self._known_source(X, reset=reset)
        else:
            # Finiteness is read off the class sums of the first pass instead of an extra one.
            X = validate_data(
                self, X, accept_sparse=["csr", "csc"], dtype=[np.float64, np.float32], ensure_all_finite=False,
                ensure_min_samples=1 if classes is not None else 2, reset=reset,
            )  # fmt: skip
        codes: Any
        if is_dask(y) and isinstance(X, DaskRows):
            if sample_weight is not None:
                raise ValueError("sample_weight is not taken with labels in a dask array; give y as a numpy array")
            codes = DaskCodes(y, X, classes)
            found = codes.classes
        else:
            found, codes = classes_and_codes(y, X, classes)
        weights = as_weights(sample_weight, X)
        rows = X.shape[0] if weights is None else int(np.count_nonzero(weights))
        if classes is None and rows <= len(found):
            raise ValueError(
                f"The number of samples must be more than the number of classes, got {rows} for {len(found)} classes"
            )
        self._most_components = min(len(found) - 1, X.shape[1])
        check_parameters(self, self._most_components)
        data = LabelledData(X, codes, len(found), weights=weights)
        if classes is None and not bool(namespace(data.counts).all(data.counts > 0)):
            raise ValueError("sample_weight must not be zero for all rows of a class; leave the class out")
        self.classes_ = found
        return data

    def _fit_plain(self, data: LabelledData, priors: Array) -> None:
        """Directions by the chosen solver, and the rule in their span."""
        seed = int(np.random.default_rng(self.random_state).integers(2**32))
        self.solver_ = self.solver
        if self.solver == "auto":
            self.solver_ = choose_solver(
                data.n_samples,
                data.n_features,
                data.n_classes,
                density=density(data.data) if data.sparse else None,
                ridge=self.reg > 0,
            )
        result = self._found(data, priors, seed)
        if result is None:
            self.solver_ = "cholesky-qr"
            result = self._found(data, priors, seed)
        assert result is not None
        self._set_result(result, None, ClassMeans(data.means, priors), data.like)

    def _found(self, data: LabelledData, priors: Array, seed: int) -> Discriminants | None:
        """Directions by the solver of ``solver_``; None where the automatic choice turns out not to do."""
        ridge = float(self.reg)
        if self.solver_ == "direct":
            return self._direct(data, priors)
        if self.solver_ == "dual":
            return dual(data, priors, ridge)
        if self.solver_ == "cholesky-qr" and data.n_samples < data.n_features and not data.sparse:
            between = ClassMeans(data.means, priors).between
            return discriminants(row_space(data, between, ridge), between)
        if self.solver_ == "cholesky-qr":
            whitening, size = cholesky_qr(data, ridge, seed)
            return discriminants(whitening, ClassMeans(data.means, priors).between, size)
        try:
            return iterative(
                data, priors, ridge, self.solver_, self.preconditioner, tol=self.tol, max_iter=self.max_iter, seed=seed
            )
        except NotPositiveDefiniteError:
            # Without a ridge the covariance may be singular, which only the other solvers can deal with.
            if self.solver != "auto" or ridge or data.sparse:
                raise
            return None

    def _direct(self, data: LabelledData, priors: Array) -> Discriminants | None:
        """Directions by the covariance; None where it is too ill conditioned and there is a choice."""
        accurate, like, statistics = self.solver == "auto", data.like, data.statistics()
        if machine_epsilon(product_like(data.data)) > machine_epsilon(statistics.scatter):
            result = self._by_gram(statistics, priors, like, accurate=False, truncate=False)
            squares = namespace(statistics.scatter).linalg.diagonal(statistics.scatter) / statistics.total
            if result is not None and is_precise([squares], [result.directions], result.condition, like):
                return result
            # Products in double precision see directions that products of the data's own dtype do not.
            statistics = data.statistics(double=True)
        return self._by_gram(statistics, priors, like, accurate=accurate)

    def _by_gram(
        self, statistics: ClassStatistics, priors: Array, like: Array, *, accurate: bool, truncate: bool = True
    ) -> Discriminants | None:
        covariance = statistics.scatter / statistics.total
        covariance = covariance + float(self.reg) * identity(covariance.shape[0], covariance)
        seen = statistics.means[statistics.counts > 0]
        whitening = gram_whitening(covariance, seen, like, accurate=accurate, truncate=truncate)
        return None if whitening is None else discriminants(whitening, ClassMeans(statistics.means, priors).between)

    def _fit_shrunken(self, data: LabelledData, priors: Array) -> None:
        covariances = self._shrunken(data, priors)
        means = ClassMeans(data.means, priors)
        self._set_result(*shrunken_discriminants(covariances, means, self._most_components), means, data.like)

    def _shrunken(self, data: LabelledData, priors: Array) -> ShrunkenCovariances:
        shrinkage = self.shrinkage
        if shrinkage is None or isinstance(shrinkage, str):
            if isinstance(data.codes, DaskCodes):
                raise ValueError("shrinkage='auto' does not take labels in a dask array; give a number")
            return ledoit_wolf(data, priors)
        statistics = data.statistics()
        within = statistics.scatter / statistics.total
        if self.priors is not None:
            # Each class counts by its prior, not by its rows.
            factors = to_numpy(priors / data.counts) * data.total
            within = data.statistics(factors).scatter / data.total
        return shrunken(statistics, within, float(shrinkage))

    def _set_result(self, found: Discriminants, coefficients: Array | None, means: ClassMeans, like: Array) -> None:
        """Attributes of directions and rule, in the kind of the data."""
        xp = namespace(means.means)
        values, directions = (xp.astype(part, xp.float64) for part in (found.eigenvalues, found.directions))
        largest = xp.max(directions, axis=0) >= -xp.min(directions, axis=0)
        directions = xp.where(largest, directions, -directions)
        if coefficients is None:
            coefficients = (means.gaps @ directions) @ directions.mT
        with np.errstate(divide="ignore"):  # a class of no probability is never predicted
            logarithms = xp.log(means.priors)
        intercept = logarithms - 0.5 * xp.sum(coefficients * means.gaps, axis=1) - coefficients @ means.overall
        if len(self.classes_) == 2:
            coefficients, intercept = coefficients[1:] - coefficients[:1], intercept[1:] - intercept[:1]
        total = float(xp.sum(values)) if found.total is None else found.total
        kept = values[: self.n_components or self._most_components]
        named = {
            "coef_": coefficients, "intercept_": intercept, "eigenvalues_": kept, "scalings_": directions,
            "explained_variance_ratio_": kept / (total or 1.0), "means_": means.means, "priors_": means.priors,
            "xbar_": means.overall,
        }  # fmt: skip
        for name, value in named.items():
            setattr(self, name, xp.astype(value, like.dtype))
        self.condition_number_, self.sketch_size_ = found.condition, found.sketch_size
        self.status_, self.n_iter_ = found.status, found.n_iter
