"""Manifolds of ours with the methods that pymanopt's optimizers and diagnostics call."""

from __future__ import annotations

from typing import Any

from pymanopt import manifolds as library
from pymanopt.manifolds.manifold import Manifold as LibraryManifold

from manifolds.array_manifold import ArrayManifold
from manifolds.linalg import Array, Seed, as_generator, is_numpy_array
from manifolds.manifold import Manifold
from manifolds.product import Product
from manifolds.sampled.long_steps import long_retraction
from manifolds.sampled.manifold import SampledManifold


def presented(manifold: Manifold, rng: Seed) -> Any:
    """Manifold of pymanopt's protocol around one of ours."""
    generator = as_generator(rng)
    if isinstance(manifold, Product):
        return library.Product([ManifoldForPymanopt(factor, generator) for factor in _array_factors(manifold)])
    return ManifoldForPymanopt(manifold, generator)


def _array_factors(manifold: Manifold) -> list[Manifold]:
    """Factors of a product, and of the products in it, in order."""
    if not isinstance(manifold, Product):
        return [manifold]
    return [inner for factor in manifold.factors.values() for inner in _array_factors(factor)]


class ManifoldForPymanopt(LibraryManifold):
    """Manifold of ours under pymanopt; made by ``to_pymanopt``.

    Parameters
    ----------
    manifold : ArrayManifold
    generator : generator
        Where random points and vectors come from.
    """

    def __init__(self, manifold: Manifold, generator: Any) -> None:
        if not isinstance(manifold, ArrayManifold):
            raise TypeError(
                "manifold must be a manifold of ours whose points are single arrays, or a product of such, got "
                f"{type(manifold).__name__}"
            )
        if not is_numpy_array(manifold.own_array()):
            raise TypeError(
                f"{manifold} holds torch tensors, but pymanopt computes with numpy arrays; build it of those"
            )
        super().__init__(repr(manifold), manifold.dim)
        self.manifold, self.generator = manifold, generator

    @property
    def typical_dist(self) -> float:
        return self.manifold.typical_dist

    def inner_product(self, point: Array, tangent_vector_a: Array, tangent_vector_b: Array) -> float:
        return float(self.manifold.inner_product(point, tangent_vector_a, tangent_vector_b))

    def norm(self, point: Array, tangent_vector: Array) -> float:
        return float(self.manifold.norm(point, tangent_vector))

    def projection(self, point: Array, vector: Array) -> Array:
        return self.manifold.projection(point, vector)

    def to_tangent_space(self, point: Array, vector: Array) -> Array:
        return self.manifold.projection(point, vector)

    def euclidean_to_riemannian_gradient(self, point: Array, euclidean_gradient: Array) -> Array:
        return self.manifold.euclidean_to_riemannian_gradient(point, euclidean_gradient)

    def euclidean_to_riemannian_hessian(
        self, point: Array, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array
    ) -> Array:
        return self.manifold.euclidean_to_riemannian_hessian(
            point, euclidean_gradient, euclidean_hessian, tangent_vector
        )

    def retraction(self, point: Array, tangent_vector: Array) -> Array:
        if isinstance(self.manifold, SampledManifold):
            return long_retraction(self.manifold, point, tangent_vector)
        return self.manifold.retraction(point, tangent_vector)

    def transport(self, point_a: Array, point_b: Array, tangent_vector_a: Array) -> Array:
        return self.manifold.transport(point_a, point_b, tangent_vector_a)

    def exp(self, point: Array, tangent_vector: Array) -> Array:
        return self.manifold.exp(point, tangent_vector)

    def log(self, point_a: Array, point_b: Array) -> Array:
        """Logarithm, or the projection of the chord b - a where it is not known, in closed form or so far away."""
        try:
            return self.manifold.log(point_a, point_b)
        except (NotImplementedError, ValueError):
            return self.manifold.projection(point_a, point_b - point_a)

    def dist(self, point_a: Array, point_b: Array) -> float:
        """Distance, or the length of the chord b - a in the metric at a where it is not known."""
        try:
            return float(self.manifold.dist(point_a, point_b))
        except (NotImplementedError, ValueError):
            return float(self.manifold.norm(point_a, point_b - point_a))

    def pair_mean(self, point_a: Array, point_b: Array) -> Array:
        """End of half the logarithm, by the exponential map or, where there is none, the retraction."""
        half = self.log(point_a, point_b) / 2
        try:
            return self.manifold.exp(point_a, half)
        except NotImplementedError:
            return self.retraction(point_a, half)

    def random_point(self) -> Array:
        return self.manifold.random_point(self.generator)

    def random_tangent_vector(self, point: Array) -> Array:
        return self.manifold.random_tangent_vector(point, self.generator)

    def zero_vector(self, point: Array) -> Array:
        return self.manifold.zero_vector(point)
