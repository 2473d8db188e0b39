"""Shared geometry core: manifolds, metrics and preconditioners, sketching, subspace tracking, numerical checks."""

from manifolds.adapters.geoopt_adapters import from_geoopt, to_geoopt
from manifolds.adapters.pymanopt_adapters import from_pymanopt, to_pymanopt
from manifolds.array_manifold import ArrayManifold
from manifolds.checks import check_gradient, check_hessian, check_manifold, check_retraction
from manifolds.euclidean import Euclidean
from manifolds.extreme_eigenvalues import ExtremeEigenvalues, extreme_eigenvalues
from manifolds.fixed_rank import FixedRank
from manifolds.fixed_rank_points import FixedRankPoint, FixedRankTangent
from manifolds.fixed_rank_two_factors import FixedRankTwoFactors
from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.gram import GramOperator
from manifolds.grassmann import Grassmann
from manifolds.low_rank import LowRankMatrix
from manifolds.low_rank_retractions import ProjectorSplitting, TruncatedSVD
from manifolds.manifold import LocalGeometry, Manifold, RetractionCurve
from manifolds.nystrom import NystromApproximation, NystromPreconditioner, randomized_nystrom
from manifolds.oblique import Oblique
from manifolds.power import Power
from manifolds.preconditioner_choice import PreconditionerChoice, gram_preconditioner
from manifolds.preconditioners import (
    CholeskyPreconditioner,
    DiagonalPreconditioner,
    IdentityPreconditioner,
    LowRankPreconditioner,
    Preconditioner,
    SketchedGramPreconditioner,
    TriangularPreconditioner,
)
from manifolds.probes import NotPositiveDefiniteError
from manifolds.product import Product
from manifolds.psd_fixed_rank import PSDFixedRank
from manifolds.retractions import (
    QR,
    Cayley,
    CholeskyQR,
    Exponential,
    Orthonormalization,
    Polar,
    RankDeficientError,
    Retraction,
)
from manifolds.rotations import Rotations
from manifolds.sampled.dimension import estimate_dimension
from manifolds.sampled.function import SampledFunction
from manifolds.sampled.local_fit import SampledWarning, TooFewSamplesError
from manifolds.sampled.manifold import SampledManifold
from manifolds.sketching import CountSketch, GaussianSketch, Sketch, SparseSignSketch
from manifolds.sphere import Sphere
from manifolds.stiefel import Stiefel
from manifolds.subspace.rank_rules import ConstantRank, EnergyRank, RankRule
from manifolds.subspace.tracker import SubspaceChange, SubspaceTracker
from manifolds.subspace.update_rules import (
    DCTBasis,
    ExactSVD,
    GeodesicStep,
    RandomBasis,
    RandomizedRange,
    RiemannianStep,
    UpdateRule,
)
from manifolds.symmetric_positive_definite import SymmetricPositiveDefinite
from manifolds.transform_sketches import BlockTransformSketch, FourierSketch, HadamardSketch
from manifolds.two_factor_points import TwoFactorPoint, TwoFactorTangent
from manifolds.verdict import Verdict

__all__ = [
    "QR",
    "ArrayManifold",
    "BlockTransformSketch",
    "Cayley",
    "CholeskyPreconditioner",
    "CholeskyQR",
    "ConstantRank",
    "CountSketch",
    "DCTBasis",
    "DiagonalPreconditioner",
    "EnergyRank",
    "Euclidean",
    "ExactSVD",
    "Exponential",
    "ExtremeEigenvalues",
    "FixedRank",
    "FixedRankPoint",
    "FixedRankTangent",
    "FixedRankTwoFactors",
    "FourierSketch",
    "GaussianSketch",
    "GeneralizedStiefel",
    "GeodesicStep",
    "GramOperator",
    "Grassmann",
    "HadamardSketch",
    "IdentityPreconditioner",
    "LocalGeometry",
    "LowRankMatrix",
    "LowRankPreconditioner",
    "Manifold",
    "NotPositiveDefiniteError",
    "NystromApproximation",
    "NystromPreconditioner",
    "Oblique",
    "Orthonormalization",
    "PSDFixedRank",
    "Polar",
    "Power",
    "Preconditioner",
    "PreconditionerChoice",
    "Product",
    "ProjectorSplitting",
    "RandomBasis",
    "RandomizedRange",
    "RankDeficientError",
    "RankRule",
    "Retraction",
    "RetractionCurve",
    "RiemannianStep",
    "Rotations",
    "SampledFunction",
    "SampledManifold",
    "SampledWarning",
    "Sketch",
    "SketchedGramPreconditioner",
    "SparseSignSketch",
    "Sphere",
    "Stiefel",
    "SubspaceChange",
    "SubspaceTracker",
    "SymmetricPositiveDefinite",
    "TooFewSamplesError",
    "TriangularPreconditioner",
    "TruncatedSVD",
    "TwoFactorPoint",
    "TwoFactorTangent",
    "UpdateRule",
    "Verdict",
    "check_gradient",
    "check_hessian",
    "check_manifold",
    "check_retraction",
    "estimate_dimension",
    "extreme_eigenvalues",
    "from_geoopt",
    "from_pymanopt",
    "gram_preconditioner",
    "randomized_nystrom",
    "to_geoopt",
    "to_pymanopt",
]
