"""Shared geometry core: manifolds, metrics and preconditioners, sketching, numerical checks."""

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
from manifolds.sketching import CountSketch, GaussianSketch, Sketch
from manifolds.sphere import Sphere
from manifolds.stiefel import Stiefel
from manifolds.verdict import Verdict

__all__ = [
    "QR",
    "ArrayManifold",
    "CholeskyPreconditioner",
    "CholeskyQR",
    "CountSketch",
    "DiagonalPreconditioner",
    "Euclidean",
    "GaussianSketch",
    "GeneralizedStiefel",
    "Grassmann",
    "IdentityPreconditioner",
    "LocalGeometry",
    "Manifold",
    "Polar",
    "Preconditioner",
    "Product",
    "RankDeficientError",
    "Retraction",
    "RetractionCurve",
    "Sketch",
    "SketchedGramPreconditioner",
    "Sphere",
    "Stiefel",
    "TriangularPreconditioner",
    "Verdict",
    "check_gradient",
    "check_hessian",
    "check_manifold",
    "check_retraction",
]
