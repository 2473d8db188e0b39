"""Shared geometry core: manifolds, metrics and preconditioners, sketching, subspace tracking, numerical checks."""

from manifolds.checks import check_gradient, check_hessian, check_manifold, check_retraction
from manifolds.euclidean import Euclidean
from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.grassmann import Grassmann
from manifolds.manifold import ArrayManifold, LocalGeometry, Manifold, RetractionCurve
from manifolds.preconditioners import (
    CholeskyPreconditioner,
    DiagonalPreconditioner,
    IdentityPreconditioner,
    Preconditioner,
    SketchedGramPreconditioner,
    TriangularPreconditioner,
)
from manifolds.product import Product
from manifolds.retractions import QR, CholeskyQR, Polar, RankDeficientError, Retraction
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
from manifolds.transform_sketches import BlockTransformSketch, FourierSketch, HadamardSketch
from manifolds.verdict import Verdict

__all__ = [
    "QR",
    "ArrayManifold",
    "BlockTransformSketch",
    "CholeskyPreconditioner",
    "CholeskyQR",
    "ConstantRank",
    "CountSketch",
    "DCTBasis",
    "DiagonalPreconditioner",
    "EnergyRank",
    "Euclidean",
    "ExactSVD",
    "FourierSketch",
    "GaussianSketch",
    "GeneralizedStiefel",
    "GeodesicStep",
    "Grassmann",
    "HadamardSketch",
    "IdentityPreconditioner",
    "LocalGeometry",
    "Manifold",
    "Polar",
    "Preconditioner",
    "Product",
    "RandomBasis",
    "RandomizedRange",
    "RankDeficientError",
    "RankRule",
    "Retraction",
    "RetractionCurve",
    "RiemannianStep",
    "Sketch",
    "SketchedGramPreconditioner",
    "SparseSignSketch",
    "Sphere",
    "Stiefel",
    "SubspaceChange",
    "SubspaceTracker",
    "TriangularPreconditioner",
    "UpdateRule",
    "Verdict",
    "check_gradient",
    "check_hessian",
    "check_manifold",
    "check_retraction",
]
