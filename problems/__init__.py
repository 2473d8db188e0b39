"""Problems and estimators: canonical correlation analysis, its data operator, language model training, the demo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from problems.alternating_minimization import AlternatingMinimization
    from problems.cca import CCA
    from problems.cca_direct import CanonicalPairs, solve_dense
    from problems.cca_problem import CCAProblem
    from problems.checkpoint import load_model
    from problems.completion_problem import CompletionProblem
    from problems.corpus import Corpus, read_text
    from problems.data import CovarianceMatrices, CovarianceProducts, Covariances, PairedViews, ViewCovariance
    from problems.language_model import LanguageModel, LanguageModelConfig
    from problems.matrix_completion import MatrixCompletion
    from problems.observed_entries import ObservedEntries
    from problems.robust_completion import SubgradientSteps
    from problems.tokenizer import BytePairTokenizer, ByteTokenizer, Tokenizer
    from problems.training import TrainingResult, TrainingStep, train
    from problems.training_options import TrainingOptions

_HOMES = {
    "AlternatingMinimization": "alternating_minimization",
    "BytePairTokenizer": "tokenizer",
    "ByteTokenizer": "tokenizer",
    "CCA": "cca",
    "CCAProblem": "cca_problem",
    "CanonicalPairs": "cca_direct",
    "CompletionProblem": "completion_problem",
    "Corpus": "corpus",
    "CovarianceMatrices": "data",
    "CovarianceProducts": "data",
    "Covariances": "data",
    "LanguageModel": "language_model",
    "LanguageModelConfig": "language_model",
    "MatrixCompletion": "matrix_completion",
    "ObservedEntries": "observed_entries",
    "PairedViews": "data",
    "SubgradientSteps": "robust_completion",
    "Tokenizer": "tokenizer",
    "TrainingOptions": "training_options",
    "TrainingResult": "training",
    "TrainingStep": "training",
    "ViewCovariance": "data",
    "load_model": "checkpoint",
    "read_text": "corpus",
    "solve_dense": "cca_direct",
    "train": "training",
}

__all__ = [
    "CCA",
    "AlternatingMinimization",
    "BytePairTokenizer",
    "ByteTokenizer",
    "CCAProblem",
    "CanonicalPairs",
    "CompletionProblem",
    "Corpus",
    "CovarianceMatrices",
    "CovarianceProducts",
    "Covariances",
    "LanguageModel",
    "LanguageModelConfig",
    "MatrixCompletion",
    "ObservedEntries",
    "PairedViews",
    "SubgradientSteps",
    "Tokenizer",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "ViewCovariance",
    "load_model",
    "read_text",
    "solve_dense",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the estimators bring all of scikit-learn."""
    if name not in _HOMES:
        raise AttributeError(f"module 'problems' has no attribute {name!r}")
    return getattr(import_module(f"problems.{_HOMES[name]}"), name)
