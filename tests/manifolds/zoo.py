"""The manifolds that the generic suite runs on, and what it evaluates there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace

from manifolds import (
    QR,
    Cayley,
    CholeskyQR,
    Euclidean,
    Exponential,
    FixedRank,
    FixedRankTwoFactors,
    GeneralizedStiefel,
    Grassmann,
    LowRankMatrix,
    NystromPreconditioner,
    Oblique,
    Polar,
    Power,
    Product,
    PSDFixedRank,
    Rotations,
    SketchedGramPreconditioner,
    Sphere,
    Stiefel,
    SymmetricPositiveDefinite,
    TruncatedSVD,
)
from manifolds.low_rank import FactoredMatrix
from manifolds.manifold import Manifold
from tests.arrays import Kind, by_matrix, entry, leaves, spd, to_float64

CONDITION = 30.0
"""Condition number of every B and M of the zoo."""

N, P = 7, 3
GENERALIZED_DIM = N * P - P * (P + 1) // 2


class SolveAndApply:
    """A user's own metric: an object with solve and apply, which is no Preconditioner."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.inverse = array_namespace(matrix).linalg.inv(matrix)

    def apply(self, v):
        return self.matrix @ v

    def solve(self, v):
        return self.inverse @ v


def _b(kind):
    return kind(spd(N, CONDITION, seed=0))


def _unrelated(kind):
    return kind(spd(N, CONDITION, seed=1))


def _sketch(kind):
    return kind(np.random.default_rng(2).standard_normal((4 * N, N)) @ spd(N, CONDITION**0.5, seed=3) / N)


@dataclass(frozen=True)
class Member:
    """A manifold of the zoo, its dimension by the books, and what is known in closed form.

    ``cone``: the positive definite matrices, where multiples of a point are points. ``straight``: factors of full rank,
    an open set of arrays with straight geodesics. ``every_pair``: pairs of factors of full rank, each pair of arrays
    being tangent there. ``longest``: length of the longest step whose end is representable in
    float32.
    """

    build: Callable[[Kind], Manifold]
    dim: int
    has_exp: bool = False
    flat: bool = False
    quotient: bool = False
    cone: bool = False
    straight: bool = False
    every_pair: bool = False
    longest: float = 30.0


ZOO = {
    "euclidean-vector": Member(lambda kind: Euclidean(4), 4, has_exp=True, flat=True),
    "euclidean-matrix": Member(lambda kind: Euclidean(3, 2), 6, has_exp=True, flat=True),
    "sphere": Member(lambda kind: Sphere(5), 4, has_exp=True),
    "sphere-of-matrices": Member(lambda kind: Sphere(3, 2), 5, has_exp=True),
    "sphere-exponential": Member(lambda kind: Sphere(4, retraction=Exponential()), 3, has_exp=True),
    "oblique": Member(lambda kind: Oblique(4, 3), 9, has_exp=True),
    "oblique-exponential": Member(lambda kind: Oblique(3, 2, Exponential()), 4, has_exp=True),
    "stiefel-cholesky-qr": Member(lambda kind: Stiefel(6, 3, retraction=CholeskyQR()), 12, has_exp=True),
    "stiefel-qr": Member(lambda kind: Stiefel(6, 3, retraction=QR()), 12, has_exp=True),
    "stiefel-polar": Member(lambda kind: Stiefel(6, 3, retraction=Polar()), 12, has_exp=True),
    "stiefel-cayley": Member(lambda kind: Stiefel(6, 3, retraction=Cayley()), 12, has_exp=True),
    "stiefel-exponential": Member(lambda kind: Stiefel(6, 2, retraction=Exponential()), 9, has_exp=True),
    "stiefel-square": Member(lambda kind: Stiefel(3, 3), 3, has_exp=True),
    "canonical": Member(lambda kind: Stiefel(6, 3, metric="canonical"), 12, has_exp=True),
    "canonical-cayley": Member(lambda kind: Stiefel(7, 2, "canonical", Cayley()), 11, has_exp=True),
    "canonical-exponential": Member(lambda kind: Stiefel(6, 2, "canonical", Exponential()), 9, has_exp=True),
    "canonical-almost-square": Member(lambda kind: Stiefel(4, 3, "canonical"), 6, has_exp=True),
    "canonical-one-column": Member(lambda kind: Stiefel(4, 1, "canonical"), 3, has_exp=True),
    "rotations": Member(lambda kind: Rotations(3), 3, has_exp=True),
    "rotations-polar": Member(lambda kind: Rotations(4, Polar()), 6, has_exp=True),
    "rotations-cayley": Member(lambda kind: Rotations(4, Cayley()), 6, has_exp=True),
    "rotations-exponential": Member(lambda kind: Rotations(3, Exponential()), 3, has_exp=True),
    "positive-definite": Member(lambda kind: SymmetricPositiveDefinite(3), 6, has_exp=True, cone=True),
    "positive-definite-exponential": Member(
        lambda kind: SymmetricPositiveDefinite(3, Exponential()), 6, has_exp=True, cone=True, longest=3.0
    ),
    "grassmann": Member(lambda kind: Grassmann(6, 2), 8, has_exp=True, quotient=True),
    "grassmann-polar": Member(lambda kind: Grassmann(5, 3, retraction=Polar()), 6, has_exp=True, quotient=True),
    "grassmann-cayley": Member(lambda kind: Grassmann(6, 2, Cayley()), 8, has_exp=True, quotient=True),
    "grassmann-exponential": Member(lambda kind: Grassmann(6, 2, Exponential()), 8, has_exp=True, quotient=True),
    "psd-fixed-rank": Member(lambda kind: PSDFixedRank(6, 3), 15, has_exp=True, quotient=True, straight=True),
    "psd-full-rank": Member(lambda kind: PSDFixedRank(3, 3), 6, has_exp=True, quotient=True, straight=True),
    "fixed-rank": Member(lambda kind: FixedRank(6, 5, 2), 18),
    "fixed-rank-truncated-svd": Member(lambda kind: FixedRank(6, 5, 2, TruncatedSVD()), 18),
    "fixed-rank-wide": Member(lambda kind: FixedRank(4, 7, 3), 24),
    "two-factors": Member(lambda kind: FixedRankTwoFactors(6, 5, 2), 18, every_pair=True),
    "two-factors-wide": Member(lambda kind: FixedRankTwoFactors(4, 7, 3), 24, every_pair=True),
    "generalized-identity": Member(lambda kind: GeneralizedStiefel(_b(kind), P), GENERALIZED_DIM),
    "generalized-exact": Member(lambda kind: GeneralizedStiefel(_b(kind), P, _b(kind)), GENERALIZED_DIM),
    "generalized-dense": Member(lambda kind: GeneralizedStiefel(_b(kind), P, _unrelated(kind)), GENERALIZED_DIM),
    "generalized-diagonal": Member(
        lambda kind: GeneralizedStiefel(_b(kind), P, kind(np.linspace(0.3, 3.0, N))), GENERALIZED_DIM
    ),
    "generalized-own-metric": Member(
        lambda kind: GeneralizedStiefel(_b(kind), P, SolveAndApply(_unrelated(kind))), GENERALIZED_DIM
    ),
    "generalized-sketched": Member(
        lambda kind: GeneralizedStiefel(_b(kind), P, SketchedGramPreconditioner(_sketch(kind), ridge=0.1)),
        GENERALIZED_DIM,
    ),
    "generalized-nystrom": Member(
        lambda kind: GeneralizedStiefel(_b(kind), P, NystromPreconditioner(_unrelated(kind), 3, ridge=0.1, rng=0)),
        GENERALIZED_DIM,
    ),
    "generalized-qr": Member(lambda kind: GeneralizedStiefel(_b(kind), P, _unrelated(kind), QR()), GENERALIZED_DIM),
    "generalized-polar": Member(
        lambda kind: GeneralizedStiefel(_b(kind), P, _unrelated(kind), Polar()), GENERALIZED_DIM
    ),
    "generalized-cayley": Member(
        lambda kind: GeneralizedStiefel(_b(kind), P, _unrelated(kind), Cayley()), GENERALIZED_DIM
    ),
    "generalized-one-column": Member(lambda kind: GeneralizedStiefel(_b(kind), 1, _unrelated(kind)), N - 1),
    "power-of-rotations": Member(lambda kind: Power(Rotations(3), 2), 6, has_exp=True),
    "power-of-spheres": Member(lambda kind: Power(Sphere(3), 4), 8, has_exp=True),
    "power-of-curved-metrics": Member(lambda kind: Power(SymmetricPositiveDefinite(2), 2), 6, has_exp=True, cone=True),
    "generalized-power": Member(lambda kind: Power(GeneralizedStiefel(_b(kind), 2, _unrelated(kind)), 2), 2 * 11),
    "power-of-subspaces": Member(lambda kind: Power(Grassmann(4, 2), 2), 8, has_exp=True, quotient=True),
    "product": Member(
        lambda kind: Product(
            frame=GeneralizedStiefel(_b(kind), 2, _unrelated(kind)), direction=Sphere(4), shift=Euclidean(3)
        ),
        2 * N - 3 + 3 + 3,
    ),
    "product-with-matrix": Member(lambda kind: Product(matrix=FixedRank(5, 4, 2), shift=Euclidean(3)), 14 + 3),
    "product-nested": Member(
        lambda kind: Product(pair=Product(Stiefel(4, 2), Sphere(3)), subspace=Grassmann(5, 2)),
        5 + 2 + 6,
        has_exp=True,
        quotient=True,
    ),
    "product-of-curved-metrics": Member(
        lambda kind: Product(frame=Stiefel(5, 2, "canonical"), shape=SymmetricPositiveDefinite(2), turn=Rotations(3)),
        7 + 3 + 3,
        has_exp=True,
    ),
    "product-with-distance": Member(
        lambda kind: Product(direction=Sphere(4), subspace=Grassmann(5, 2), shift=Euclidean(2, 2)),
        3 + 6 + 4,
        has_exp=True,
        quotient=True,
    ),
}


def factors(manifold):
    """Array manifolds of which a manifold is made, in the order of a point's arrays."""
    if isinstance(manifold, Power):
        return factors(manifold.base)
    if isinstance(manifold, Product):
        return [leaf for factor in manifold.factors.values() for leaf in factors(factor)]
    return [manifold]


class Case:
    """One manifold in one kind of array, with random points and vectors; batched by leading dimensions."""

    def __init__(self, name, kind, batch=()):
        self.member, self.kind, self.batch = ZOO[name], kind, batch
        self.manifold = self.member.build(kind)
        self.rng = np.random.default_rng(sum(map(ord, name)))

    @property
    def rounding(self):
        """A thousand rounding units: what sums of a few dozen terms lose at condition 30."""
        return 1000 * self.kind.eps

    def point(self):
        return self.manifold.random_point(self.rng, self.kind.like, batch=self.batch)

    def tangent(self, x):
        return self.manifold.random_tangent_vector(x, self.rng)

    def ambient(self, x):
        return by_matrix(lambda leaf: self.kind(self.rng.standard_normal(tuple(leaf.shape))), x)

    def normal(self, x):
        """Vector that is not tangent: x, a skew-symmetric matrix at a positive definite one, or x times one."""
        if self.member.straight:
            return x @ self.kind([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        if not self.member.cone:
            return x
        a = self.ambient(x)
        return a - a.mT

    def off(self, x, factor):
        """Point off the manifold, as far as ``factor`` is from one; or factors whose columns are dependent."""
        if self.member.straight:
            return x @ self.kind([[1.0, 0.0, factor], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        if self.member.every_pair:
            return x._replace(left=x.left @ self.kind(np.diag([1.0] + [0.0] * (self.manifold.r - 1))))
        if not self.manifold.factored:
            return self.manifold.linear_combination(1.0, x, factor - 1, self.normal(x))
        return by_matrix(lambda p: p._replace(U=factor * p.U) if isinstance(p, tuple) else factor * p, x)

    def not_tangent(self, x, factor):
        """Vector that is not tangent, by ``factor``."""
        v = self.tangent(x)
        if not self.manifold.factored:
            return self.manifold.linear_combination(1.0, v, factor, self.normal(x))
        return by_matrix(
            lambda w, p: w._replace(Up=w.Up + factor * p.U) if isinstance(p, tuple) else w + factor * p, v, x
        )

    def numbers(self):
        """A batch of numbers in (1/4, 3/4)."""
        return self.kind(self.rng.uniform(0.25, 0.75, self.batch))

    def trace(self, u, v):
        """tr(u^T v), computed by numpy in float64."""
        return sum(
            np.sum(to_float64(a) * to_float64(b), axis=tuple(range(len(self.batch), a.ndim)))
            for a, b in zip(leaves(u), leaves(v), strict=True)
        )

    def entries(self):
        """Indices of a batch."""
        return list(np.ndindex(*self.batch))

    @cached_property
    def inputs(self):
        """Arguments of every method in METHODS."""
        x = self.point()
        u, v = self.tangent(x), self.tangent(x)
        quadratic = Quadratic(self.manifold, self.kind)
        return {
            "x": x,
            "u": u,
            "v": v,
            "y": self.manifold.retraction(x, self.manifold.linear_combination(0.4, u, 0.2, v)),
            "a": self.ambient(x),
            "b": self.ambient(x),
            "e": quadratic.product(x),
            "h": quadratic.product(v),
            "s": self.numbers(),
            "t": self.numbers(),
        }


class Quadratic:
    """f(x) = tr(x^T A x D) / 2 over the arrays of a point; D = I on quotients, where x and x Q are the same."""

    def __init__(self, manifold, kind, seed=5):
        rng = np.random.default_rng(seed)
        self.parts = []
        for factor in factors(manifold):
            a = rng.standard_normal((factor.shape[0],) * 2)
            weights = (
                np.ones(factor.shape[-1])
                if isinstance(factor, (Grassmann, PSDFixedRank))
                else np.arange(1.0, factor.shape[-1] + 1)
            )
            self.parts.append((kind((a + a.T) / 2), kind(weights), len(factor.shape)))

    def product(self, x):
        """A x D, the Euclidean gradient at x and the Euclidean Hessian product along x."""
        rest = iter(self.parts)

        def act(leaf):
            matrix, weights, ndim = next(rest)
            if isinstance(leaf, FactoredMatrix):
                left, right = leaf.factors()
                return LowRankMatrix(matrix @ left, weights[:, None] * right)
            return (matrix @ leaf) * weights if ndim == 2 else (matrix @ leaf[..., None])[..., 0]

        return by_matrix(act, x)


METHODS = {
    "inner_product": lambda m, i: m.inner_product(i["x"], i["a"], i["b"]),
    "norm": lambda m, i: m.norm(i["x"], i["u"]),
    "projection": lambda m, i: m.projection(i["x"], i["a"]),
    "gradient": lambda m, i: m.euclidean_to_riemannian_gradient(i["x"], i["a"]),
    "hessian": lambda m, i: m.euclidean_to_riemannian_hessian(i["x"], i["e"], i["h"], i["v"]),
    "retraction": lambda m, i: m.retraction(i["x"], i["v"]),
    "second_order_retraction": lambda m, i: m.second_order_retraction(i["x"], i["v"]),
    "curve_point": lambda m, i: m.at(i["x"]).retraction_curve(i["v"]).point(i["t"]),
    "curve_velocity": lambda m, i: m.at(i["x"]).retraction_curve(i["v"]).velocity(i["t"]),
    "transport": lambda m, i: m.transport(i["x"], i["y"], i["u"]),
    "linear_combination": lambda m, i: m.linear_combination(i["s"], i["u"], i["t"], i["v"]),
    "euclidean_inner_product": lambda m, i: m.euclidean_inner_product(i["a"], i["b"]),
    "zero_vector": lambda m, i: m.zero_vector(i["x"]),
    "nearest_point": lambda m, i: m.nearest_point(m.linear_combination(1.0, i["x"], 0.05, i["a"])),
}
CLOSED_FORMS = {
    "exp": lambda m, i: m.exp(i["x"], i["v"]),
    "log": lambda m, i: m.log(i["x"], i["y"]),
    "dist": lambda m, i: m.dist(i["x"], i["y"]),
}


def methods(member):
    """Methods that a member of the zoo has, as functions of the manifold and the inputs of a case."""
    return METHODS | (CLOSED_FORMS if member.has_exp else {})


def at_entry(inputs, index):
    """Inputs of one entry of a batch."""
    return {name: entry(value, index) for name, value in inputs.items()}
