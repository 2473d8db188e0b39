"""The linear rule of discriminant analysis: scores, labels and probabilities of new rows, and their projection."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from manifolds.linalg import Array, is_torch_array, namespace, require_finite, require_same_kind
from problems.row_blocks import as_data, is_dask
from problems.row_source import RowSource
from problems.view_inputs import scores_of


class DiscriminantRule(ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator):
    """Classification by the largest of the scores x^T w_k + b_k, and projection on discriminant directions.

    Fitted estimators have ``coef_``, ``intercept_``, ``classes_``, ``xbar_``, ``scalings_`` and ``eigenvalues_``.
    """

    classes_: Any
    coef_: Array
    intercept_: Array
    xbar_: Array
    scalings_: Array
    eigenvalues_: Array
    n_features_in_: int

    def decision_function(self, X: Any) -> Array:
        """Scores of the classes: log posterior probabilities up to a constant for each row.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_classes) or (n_samples,)
            With two classes, the log of the ratio of their probabilities, positive for the second.
        """
        check_is_fitted(self)
        scores = self._products(X, self.coef_.T) + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> Any:
        """Labels of new rows.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,)
        """
        scores = self.decision_function(X)
        if is_dask(scores):
            return scores.map_blocks(self._labels_of, dtype=self.classes_.dtype, drop_axis=list(range(1, scores.ndim)))
        return self._labels_of(scores)

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the posterior probabilities of the classes, shape (n_samples, n_classes)."""
        scores = self.decision_function(X)
        if is_dask(scores):
            pair = scores[:, None] if scores.ndim == 1 else scores
            chunks = (scores.chunks[0], (len(self.classes_),))
            return pair.map_blocks(self._log_probabilities_of, dtype=scores.dtype, chunks=chunks)
        return self._log_probabilities_of(scores)

    def predict_proba(self, X: Any) -> Array:
        """Posterior probabilities of the classes, shape (n_samples, n_classes)."""
        log_probabilities = self.predict_log_proba(X)
        if is_dask(log_probabilities):
            return log_probabilities.map_blocks(np.exp)
        return namespace(log_probabilities).exp(log_probabilities)

    def _labels_of(self, scores: Array) -> Any:
        xp = namespace(scores)
        chosen = xp.astype(scores > 0, xp.int64) if scores.ndim == 1 else xp.argmax(scores, axis=1)
        return self.classes_[chosen]

    def _log_probabilities_of(self, scores: Array) -> Array:
        xp = namespace(scores)
        scores = scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores
        if scores.ndim == 1:
            zero = xp.zeros_like(scores)
            return -xp.stack([xp.logaddexp(zero, scores), xp.logaddexp(zero, -scores)], axis=1)
        scores = scores - xp.max(scores, axis=1, keepdims=True)
        return scores - xp.log(xp.sum(xp.exp(scores), axis=1, keepdims=True))

    def transform(self, X: Any) -> Array:
        """Projection of the centred rows on the discriminant directions.

        Parameters
        ----------
        X : array, scipy sparse matrix or RowSource of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_components)
            In units of the standard deviation within the classes.
        """
        check_is_fitted(self)
        directions = self.scalings_[:, : self._n_features_out]
        return self._products(X, directions) - self.xbar_ @ directions

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows whose label is predicted."""
        if is_torch_array(y) and sample_weight is None:
            return float((self.predict(X) == y).double().mean())
        if is_dask(X):
            hits = np.asarray(self.predict(X)) == np.asarray(y)
            return float(np.average(hits, weights=sample_weight))
        return super().score(X, y, sample_weight)

    @property
    def _n_features_out(self) -> int:
        return self.eigenvalues_.shape[0]

    def _products(self, X: Any, matrix: Array) -> Array:
        """Checked rows times a matrix."""
        rows = self._rows(X)
        if not isinstance(rows, RowSource):
            return rows @ matrix
        nothing = namespace(matrix).zeros_like(matrix[:, 0])
        return scores_of(rows, nothing, matrix, "X")

    def _known_source(self, X: RowSource, *, reset: bool) -> RowSource:
        if reset:
            self.n_features_in_ = X.shape[1]
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} features"
            )
        return X

    def _rows(self, X: Any) -> Any:
        if is_dask(X):
            X = as_data(X, "X")
        if isinstance(X, RowSource) and not is_torch_array(self.coef_):
            return self._known_source(X, reset=False)
        if is_torch_array(self.coef_) or is_torch_array(X):
            require_same_kind(X, self.coef_, "X", "the data of fit")
            if X.ndim != 2 or X.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X must be a matrix of {self.n_features_in_} features, as in fit, got shape {tuple(X.shape)}"
                )
            require_finite(X, "X")
            return X
        return validate_data(self, X, accept_sparse=["csr", "csc"], dtype=[np.float64, np.float32], reset=False)
