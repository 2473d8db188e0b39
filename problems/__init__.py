"""Problems and estimators: canonical correlation analysis, its data operator, language model training, the demo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from problems.cca import CCA
    from problems.cca_direct import CanonicalPairs, solve_dense
    from problems.cca_problem import CCAProblem
    from problems.checkpoint import load_model
    from problems.class_statistics import ClassStatistics
    from problems.corpus import Corpus, read_text
    from problems.data import CovarianceMatrices, CovarianceProducts, Covariances, PairedViews, ViewCovariance
    from problems.data_matrix import DataMatrix
    from problems.generalized_eigen import GeneralizedEigenpairs, generalized_eigh
    from problems.labelled_data import LabelledData
    from problems.language_model import LanguageModel, LanguageModelConfig
    from problems.lda import LDA
    from problems.lda_plots import discriminant_scatter, discriminant_scree
    from problems.lobpcg import LOBPCG
    from problems.tokenizer import BytePairTokenizer, ByteTokenizer, Tokenizer
    from problems.training import TrainingResult, TrainingStep, train
    from problems.training_options import TrainingOptions

_HOMES = {
    "BytePairTokenizer": "tokenizer",
    "ByteTokenizer": "tokenizer",
    "CCA": "cca",
    "CCAProblem": "cca_problem",
    "CanonicalPairs": "cca_direct",
    "ClassStatistics": "class_statistics",
    "Corpus": "corpus",
    "CovarianceMatrices": "data",
    "CovarianceProducts": "data",
    "Covariances": "data",
    "GeneralizedEigenpairs": "generalized_eigen",
    "LDA": "lda",
    "LOBPCG": "lobpcg",
    "LabelledData": "labelled_data",
    "DataMatrix": "data_matrix",
    "LanguageModel": "language_model",
    "LanguageModelConfig": "language_model",
    "PairedViews": "data",
    "Tokenizer": "tokenizer",
    "TrainingOptions": "training_options",
    "TrainingResult": "training",
    "TrainingStep": "training",
    "ViewCovariance": "data",
    "discriminant_scatter": "lda_plots",
    "discriminant_scree": "lda_plots",
    "generalized_eigh": "generalized_eigen",
    "load_model": "checkpoint",
    "read_text": "corpus",
    "solve_dense": "cca_direct",
    "train": "training",
}

__all__ = [
    "CCA",
    "LDA",
    "LOBPCG",
    "BytePairTokenizer",
    "ByteTokenizer",
    "CCAProblem",
    "CanonicalPairs",
    "ClassStatistics",
    "Corpus",
    "CovarianceMatrices",
    "CovarianceProducts",
    "Covariances",
    "DataMatrix",
    "GeneralizedEigenpairs",
    "LabelledData",
    "LanguageModel",
    "LanguageModelConfig",
    "PairedViews",
    "Tokenizer",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "ViewCovariance",
    "discriminant_scatter",
    "discriminant_scree",
    "generalized_eigh",
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
