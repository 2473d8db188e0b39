"""Problems and estimators: canonical correlation analysis, its data operator, language model training, the demo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from problems.alternating_minimization import AlternatingMinimization
    from problems.canonical_pairs import CanonicalPairs
    from problems.cca import CCA
    from problems.cca_direct import solve_dense
    from problems.cca_plots import (
        CrossValidatedCorrelations,
        correlation_circle,
        cross_validated_correlations,
        scree_plot,
    )
    from problems.cca_problem import CCAProblem
    from problems.cca_solver import CCASolver
    from problems.cca_solvers import LOBPCGCCA, BlockPCGCCA, CholeskyQRCCA, DirectCCA, RiemannianCCA
    from problems.checkpoint import load_model
    from problems.class_statistics import ClassStatistics
    from problems.co_moments import CoMoments, Covariances
    from problems.column_rows import ParquetRows, SlicedRows
    from problems.completion_problem import CompletionProblem
    from problems.corpus import Corpus, read_text
    from problems.dask_rows import DaskRows
    from problems.data import CovarianceMatrices, CovarianceProducts, PairedViews, ViewCovariance
    from problems.data_files import open_rows, read_labels
    from problems.data_matrix import DataMatrix
    from problems.file_rows import JoinedRows, NpyRows, SparseNpzRows
    from problems.generalized_eigen import GeneralizedEigenpairs, generalized_eigh
    from problems.labelled_data import LabelledData
    from problems.language_model import LanguageModel, LanguageModelConfig
    from problems.lda import LDA
    from problems.lda_plots import discriminant_scatter, discriminant_scree
    from problems.lobpcg import LOBPCG
    from problems.matrix_completion import MatrixCompletion
    from problems.multiview_cca import MultiviewCCA
    from problems.multiview_criteria import MaxVar, MultiviewCriterion, SumCor
    from problems.multiview_data import MultiviewCovariances, MultiviewData
    from problems.multiview_problem import MultiviewProblem
    from problems.multiview_solvers import (
        DirectMultiviewCCA,
        LOBPCGMultiviewCCA,
        MultiviewSolver,
        RiemannianMultiviewCCA,
    )
    from problems.observed_entries import ObservedEntries
    from problems.pass_journal import PassJournal
    from problems.robust_completion import SubgradientSteps
    from problems.row_source import RowSource
    from problems.samples import SampledMinimum, minimize_on_samples
    from problems.text_rows import CsvRows, SvmlightRows
    from problems.tokenizer import BytePairTokenizer, ByteTokenizer, Tokenizer
    from problems.training import train
    from problems.training_options import TrainingOptions
    from problems.training_run import TrainingResult, TrainingStep

_HOMES = {
    "AlternatingMinimization": "alternating_minimization",
    "BlockPCGCCA": "cca_solvers",
    "BytePairTokenizer": "tokenizer",
    "ByteTokenizer": "tokenizer",
    "CCA": "cca",
    "CCAProblem": "cca_problem",
    "CCASolver": "cca_solver",
    "CanonicalPairs": "canonical_pairs",
    "CholeskyQRCCA": "cca_solvers",
    "ClassStatistics": "class_statistics",
    "CoMoments": "co_moments",
    "CompletionProblem": "completion_problem",
    "Corpus": "corpus",
    "CovarianceMatrices": "data",
    "CovarianceProducts": "data",
    "Covariances": "co_moments",
    "CrossValidatedCorrelations": "cca_plots",
    "CsvRows": "text_rows",
    "DaskRows": "dask_rows",
    "DataMatrix": "data_matrix",
    "DirectCCA": "cca_solvers",
    "DirectMultiviewCCA": "multiview_solvers",
    "GeneralizedEigenpairs": "generalized_eigen",
    "JoinedRows": "file_rows",
    "LDA": "lda",
    "LOBPCG": "lobpcg",
    "LOBPCGCCA": "cca_solvers",
    "LOBPCGMultiviewCCA": "multiview_solvers",
    "LabelledData": "labelled_data",
    "LanguageModel": "language_model",
    "LanguageModelConfig": "language_model",
    "MatrixCompletion": "matrix_completion",
    "MaxVar": "multiview_criteria",
    "MultiviewCCA": "multiview_cca",
    "MultiviewCovariances": "multiview_data",
    "MultiviewCriterion": "multiview_criteria",
    "MultiviewData": "multiview_data",
    "MultiviewProblem": "multiview_problem",
    "MultiviewSolver": "multiview_solvers",
    "NpyRows": "file_rows",
    "ObservedEntries": "observed_entries",
    "PairedViews": "data",
    "ParquetRows": "column_rows",
    "PassJournal": "pass_journal",
    "RiemannianCCA": "cca_solvers",
    "RiemannianMultiviewCCA": "multiview_solvers",
    "RowSource": "row_source",
    "SampledMinimum": "samples",
    "SlicedRows": "column_rows",
    "SparseNpzRows": "file_rows",
    "SubgradientSteps": "robust_completion",
    "SumCor": "multiview_criteria",
    "SvmlightRows": "text_rows",
    "Tokenizer": "tokenizer",
    "TrainingOptions": "training_options",
    "TrainingResult": "training_run",
    "TrainingStep": "training_run",
    "ViewCovariance": "data",
    "correlation_circle": "cca_plots",
    "cross_validated_correlations": "cca_plots",
    "discriminant_scatter": "lda_plots",
    "discriminant_scree": "lda_plots",
    "generalized_eigh": "generalized_eigen",
    "load_model": "checkpoint",
    "minimize_on_samples": "samples",
    "open_rows": "data_files",
    "read_labels": "data_files",
    "read_text": "corpus",
    "scree_plot": "cca_plots",
    "solve_dense": "cca_direct",
    "train": "training",
}

__all__ = [
    "CCA",
    "LDA",
    "LOBPCG",
    "LOBPCGCCA",
    "AlternatingMinimization",
    "BlockPCGCCA",
    "BytePairTokenizer",
    "ByteTokenizer",
    "CCAProblem",
    "CCASolver",
    "CanonicalPairs",
    "CholeskyQRCCA",
    "ClassStatistics",
    "CoMoments",
    "CompletionProblem",
    "Corpus",
    "CovarianceMatrices",
    "CovarianceProducts",
    "Covariances",
    "CrossValidatedCorrelations",
    "CsvRows",
    "DaskRows",
    "DataMatrix",
    "DirectCCA",
    "DirectMultiviewCCA",
    "GeneralizedEigenpairs",
    "JoinedRows",
    "LOBPCGMultiviewCCA",
    "LabelledData",
    "LanguageModel",
    "LanguageModelConfig",
    "MatrixCompletion",
    "MaxVar",
    "MultiviewCCA",
    "MultiviewCovariances",
    "MultiviewCriterion",
    "MultiviewData",
    "MultiviewProblem",
    "MultiviewSolver",
    "NpyRows",
    "ObservedEntries",
    "PairedViews",
    "ParquetRows",
    "PassJournal",
    "RiemannianCCA",
    "RiemannianMultiviewCCA",
    "RowSource",
    "SampledMinimum",
    "SlicedRows",
    "SparseNpzRows",
    "SubgradientSteps",
    "SumCor",
    "SvmlightRows",
    "Tokenizer",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "ViewCovariance",
    "correlation_circle",
    "cross_validated_correlations",
    "discriminant_scatter",
    "discriminant_scree",
    "generalized_eigh",
    "load_model",
    "minimize_on_samples",
    "open_rows",
    "read_labels",
    "read_text",
    "scree_plot",
    "solve_dense",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the estimators bring all of scikit-learn."""
    if name not in _HOMES:
        raise AttributeError(f"module 'problems' has no attribute {name!r}")
    return getattr(import_module(f"problems.{_HOMES[name]}"), name)
