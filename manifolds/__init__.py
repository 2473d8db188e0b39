"""Shared geometry core: manifolds, metrics and preconditioners, sketching, subspace tracking, numerical checks."""

from manifolds.checks import check_gradient, check_hessian, check_manifold, check_retraction
from manifolds.euclidean import Euclidean
from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.grassmann import Grassmann
from manifolds.manifold import ArrayManifold, LocalGeometry, Manifold, RetractionCurve
from manifolds.oblique import Oblique
from manifolds.preconditioners import (
    CholeskyPreconditioner,
    DiagonalPreconditioner,
    IdentityPreconditioner,
    Preconditioner,
    SketchedGramPreconditioner,
    TriangularPreconditioner,
)
from manifolds.product import Product
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
from manifolds.sketching import CountSketch, GaussianSketch, Sketch
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
from manifolds.verdict import Verdict

__all__ = [
    "QR",
    "ArrayManifold",
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
    "GaussianSketch",
    "GeneralizedStiefel",
    "GeodesicStep",
    "Grassmann",
    "IdentityPreconditioner",
    "LocalGeometry",
    "Manifold",
    "Oblique",
    "Orthonormalization",
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
    "Rotations",
    "Sketch",
    "SketchedGramPreconditioner",
    "Sphere",
    "Stiefel",
    "SubspaceChange",
    "SubspaceTracker",
    "SymmetricPositiveDefinite",
    "TriangularPreconditioner",
    "UpdateRule",
    "Verdict",
    "check_gradient",
    "check_hessian",
    "check_manifold",
    "check_retraction",
]
