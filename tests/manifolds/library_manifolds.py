"""The real manifolds of pymanopt and geoopt, and smooth costs on them with known minimizers."""

from functools import partial

import geoopt
import numpy as np
import torch
from pymanopt import manifolds as pymanopt_manifolds

RNG = np.random.default_rng(0)
SPAN = RNG.standard_normal((6, 3))

PYMANOPT = {
    "elliptope": (pymanopt_manifolds.Elliptope(5, 3), 7),
    "euclidean": (pymanopt_manifolds.Euclidean(3, 2), 6),
    "grassmann": (pymanopt_manifolds.Grassmann(5, 2), 6),
    "grassmann-pair": (pymanopt_manifolds.Grassmann(5, 2, k=2), 12),
    "oblique": (pymanopt_manifolds.Oblique(4, 3), 9),
    "psd-fixed-rank": (pymanopt_manifolds.PSDFixedRank(5, 2), 9),
    "poincare-ball": (pymanopt_manifolds.PoincareBall(3), 3),
    "poincare-ball-pair": (pymanopt_manifolds.PoincareBall(3, k=2), 6),
    "positive": (pymanopt_manifolds.Positive(3, 2), 6),
    "positive-parallel": (pymanopt_manifolds.Positive(2, 2, k=3, use_parallel_transport=True), 12),
    "skew-symmetric": (pymanopt_manifolds.SkewSymmetric(3, 2), 6),
    "symmetric": (pymanopt_manifolds.Symmetric(3), 6),
    "rotations": (pymanopt_manifolds.SpecialOrthogonalGroup(3), 3),
    "rotations-pair": (pymanopt_manifolds.SpecialOrthogonalGroup(3, k=2, retraction="polar"), 6),
    "sphere": (pymanopt_manifolds.Sphere(4), 3),
    "sphere-of-matrices": (pymanopt_manifolds.Sphere(3, 2), 5),
    "sphere-in-subspace": (pymanopt_manifolds.SphereSubspaceIntersection(SPAN), 2),
    "sphere-across-subspace": (pymanopt_manifolds.SphereSubspaceComplementIntersection(SPAN), 2),
    "stiefel": (pymanopt_manifolds.Stiefel(5, 2), 7),
    "stiefel-polar-pair": (pymanopt_manifolds.Stiefel(5, 2, k=2, retraction="polar"), 14),
    "positive-definite": (pymanopt_manifolds.SymmetricPositiveDefinite(3), 6),
    "positive-definite-pair": (pymanopt_manifolds.SymmetricPositiveDefinite(3, k=2), 12),
    "product": (pymanopt_manifolds.Product([pymanopt_manifolds.Sphere(3), pymanopt_manifolds.Positive(2, 2)]), 6),
}
"""Manifolds of pymanopt with points of arrays, and their dimensions by the books."""

QUOTIENTS = ("elliptope", "grassmann", "grassmann-pair", "psd-fixed-rank")
"""Those on which only X X^T counts."""


def double(manifold):
    """Manifold of geoopt with its matrices in double precision."""
    return manifold.to(torch.float64)


GEOOPT = {
    "euclidean": (partial(geoopt.Euclidean, 1), (4,), 4),
    "euclidean-entries": (geoopt.Euclidean, (4, 2), 8),
    "sphere": (geoopt.Sphere, (4,), 3),
    "spheres-exact": (geoopt.SphereExact, (3, 4), 9),
    "sphere-in-subspace": (lambda: geoopt.Sphere(intersection=torch.tensor(SPAN)), (6,), 2),
    "sphere-across-subspace": (lambda: geoopt.Sphere(complement=torch.tensor(SPAN)), (6,), 2),
    "stiefel-canonical": (geoopt.CanonicalStiefel, (5, 2), 7),
    "stiefel-by-flag": (geoopt.Stiefel, (5, 2), 7),
    "stiefel": (geoopt.EuclideanStiefel, (5, 2), 7),
    "stiefel-exact": (geoopt.EuclideanStiefelExact, (5, 2), 7),
    "stiefel-three": (geoopt.EuclideanStiefel, (3, 5, 2), 21),
    "poincare-ball": (geoopt.PoincareBall, (4,), 4),
    "poincare-balls": (geoopt.PoincareBall, (2, 4), 8),
    "poincare-ball-exact": (geoopt.PoincareBallExact, (4,), 4),
    "stereographic-negative": (partial(geoopt.Stereographic, -0.7), (4,), 4),
    "stereographic-positive": (partial(geoopt.Stereographic, 0.7), (4,), 4),
    "stereographic-exact": (partial(geoopt.StereographicExact, 0.7), (4,), 4),
    "sphere-projection": (geoopt.SphereProjection, (4,), 4),
    "sphere-projection-exact": (geoopt.SphereProjectionExact, (4,), 4),
    "lorentz": (geoopt.Lorentz, (4,), 3),
    "lorentz-wide": (partial(geoopt.Lorentz, 2.0), (4,), 3),
    "lorentz-table": (geoopt.Lorentz, (3, 4), 9),
    "birkhoff": (partial(geoopt.BirkhoffPolytope, tol=1e-14, max_iter=1000), (4, 4), 9),
    "positive-definite": (geoopt.SymmetricPositiveDefinite, (3, 3), 6),
    "scaled": (lambda: geoopt.Scaled(geoopt.Sphere(), 2.0), (4,), 3),
    "product": (lambda: geoopt.ProductManifold((geoopt.Sphere(), 4), (geoopt.EuclideanStiefel(), (4, 2))), (), 8),
    "stereographic-product": (
        lambda: geoopt.StereographicProductManifold((geoopt.PoincareBallExact(), 4), (geoopt.PoincareBallExact(), 2)),
        (),
        6,
    ),
}
"""Manifolds of geoopt, the shapes of their points, and their dimensions by the books."""

STRAIGHT = ("poincare-ball", "poincare-balls", "stereographic-negative", "stereographic-positive", "sphere-projection")
"""Manifolds of geoopt that step along straight lines, whose velocity is then known to ten digits instead of all."""


class SquaredDistance:
    """|x - goal|^2 / 2 over all arrays of a point, whose minimizer is the goal."""

    def __init__(self, goal):
        self.goal = goal

    def __call__(self, x):
        return 0.5 * sum(((a - b) ** 2).sum() for a, b in zip(parts(x), parts(self.goal), strict=True))

    def gradient(self, x):
        return x._make(a - b for a, b in zip(x, self.goal, strict=True)) if isinstance(x, tuple) else x - self.goal

    def hessian(self, x, v):
        return v


class SquaredDistanceOfGrams:
    """|X X^T - G G^T|^2 / 4, whose minimizers are G up to an orthogonal matrix from the right."""

    def __init__(self, goal):
        self.gram = goal @ goal.mT

    def __call__(self, x):
        return 0.25 * ((x @ x.mT - self.gram) ** 2).sum()

    def gradient(self, x):
        return (x @ x.mT - self.gram) @ x

    def hessian(self, x, v):
        return (v @ x.mT + x @ v.mT) @ x + (x @ x.mT - self.gram) @ v


def parts(x):
    return x if isinstance(x, tuple) else (x,)


def near(manifold, goal, length=0.3, seed=3):
    """Point at about this distance from another one."""
    v = manifold.random_tangent_vector(goal, seed)
    return manifold.retraction(goal, manifold.linear_combination(length, v, 0.0, v))
