"""Problems and estimators: canonical correlation analysis, its data operator, language model training, the demo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from problems.cca import CCA
    from problems.cca_direct import CanonicalPairs, solve_dense
    from problems.cca_problem import CCAProblem
    from problems.checkpoint import load_model
    from problems.corpus import Corpus, read_text
    from problems.data import CovarianceMatrices, CovarianceProducts, Covariances, PairedViews, ViewCovariance
    from problems.language_model import LanguageModel, LanguageModelConfig
    from problems.samples import SampledMinimum, minimize_on_samples
    from problems.tokenizer import BytePairTokenizer, ByteTokenizer, Tokenizer
    from problems.training import TrainingResult, TrainingStep, train
    from problems.training_options import TrainingOptions

_HOMES = {
    "BytePairTokenizer": "tokenizer",
    "ByteTokenizer": "tokenizer",
    "CCA": "cca",
    "CCAProblem": "cca_problem",
    "CanonicalPairs": "cca_direct",
    "Corpus": "corpus",
    "CovarianceMatrices": "data",
    "CovarianceProducts": "data",
    "Covariances": "data",
    "LanguageModel": "language_model",
    "LanguageModelConfig": "language_model",
    "PairedViews": "data",
    "SampledMinimum": "samples",
    "Tokenizer": "tokenizer",
    "TrainingOptions": "training_options",
    "TrainingResult": "training",
    "TrainingStep": "training",
    "ViewCovariance": "data",
    "load_model": "checkpoint",
    "minimize_on_samples": "samples",
    "read_text": "corpus",
    "solve_dense": "cca_direct",
    "train": "training",
}

__all__ = [
    "CCA",
    "BytePairTokenizer",
    "ByteTokenizer",
    "CCAProblem",
    "CanonicalPairs",
    "Corpus",
    "CovarianceMatrices",
    "CovarianceProducts",
    "Covariances",
    "LanguageModel",
    "LanguageModelConfig",
    "PairedViews",
    "SampledMinimum",
    "Tokenizer",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "ViewCovariance",
    "load_model",
    "minimize_on_samples",
    "read_text",
    "solve_dense",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the estimators bring all of scikit-learn."""
    if name not in _HOMES:
        raise AttributeError(f"module 'problems' has no attribute {name!r}")
    return getattr(import_module(f"problems.{_HOMES[name]}"), name)
