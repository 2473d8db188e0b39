"""The protocol every manifold meets: named methods on the manifold, formulas in the local geometry at a point.

``geometry = manifold.at(x)`` holds what is computed once per point; all formulas live there. The named methods of the
manifold (those of ``pymanopt.manifolds.Manifold``) are one-line wrappers over it. Points and tangent vectors are
arrays, or named tuples of arrays; leading dimensions are batches. Code that works on every manifold combines vectors
only through ``linear_combination`` and ``inner_product``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from manifolds.linalg import Array, Seed, as_generator

Point: TypeAlias = Any
"""A point or tangent vector: an array, or a named tuple of arrays."""


class RetractionCurve(ABC):
    """The curve t -> R_x(t v) that a retraction draws from x along a tangent vector v."""

    @abstractmethod
    def point(self, t: Any) -> Point:
        """Point R_x(t v), for a number or a batch of numbers t."""

    def geometry(self, t: Any) -> LocalGeometry | None:
        """Local geometry at ``point(t)``, where the curve makes it on the way; None elsewhere."""
        return None

    @abstractmethod
    def velocity(self, t: Any) -> Point:
        """Velocity d/dt R_x(t v) of the arrays: tangent at ``point(t)``, after projection on a quotient manifold."""


class LocalGeometry(ABC):
    """The geometry of a manifold at one point: metric, projection, derivatives and curves.

    Obtained from ``manifold.at(x)``; immutable. Subclasses state the formulas.

    Attributes
    ----------
    manifold : Manifold
    point : array or named tuple of arrays
    """

    def __init__(self, manifold: Manifold, point: Point) -> None:
        self.manifold = manifold
        self.point = point

    @abstractmethod
    def inner_product(self, u: Point, v: Point) -> Array:
        """Inner product <u, v>_x of the metric, of the batch's shape."""

    @abstractmethod
    def projection(self, vector: Point) -> Point:
        """Orthogonal projection of an ambient vector on the tangent space, in the metric."""

    @abstractmethod
    def riemannian_gradient(self, euclidean_gradient: Point) -> Point:
        """Riesz representative: the tangent vector g with <g, v>_x = tr(v^T grad f) for all tangent v."""

    @abstractmethod
    def riemannian_hessian(self, euclidean_gradient: Point, euclidean_hessian: Point, tangent_vector: Point) -> Point:
        """Riemannian Hessian along v, from the Euclidean gradient and the Euclidean Hessian product along v."""

    def derivative(self, euclidean_gradient: Point, tangent_vector: Point) -> Array:
        """Directional derivative Df(x)[v], of the batch's shape, from the Euclidean gradient.

        The sum of the products of all entries, as here, where tangent vectors are velocities of a point's arrays.
        """
        return self.manifold.euclidean_inner_product(euclidean_gradient, tangent_vector)

    @abstractmethod
    def retraction_curve(self, tangent_vector: Point) -> RetractionCurve:
        """Curve t -> R_x(t v) of the manifold's retraction."""

    @abstractmethod
    def second_order_retraction(self, tangent_vector: Point) -> Point:
        """Point on a curve through x with velocity v whose acceleration at x is normal in the metric."""

    def norm(self, tangent_vector: Point) -> Array:
        """Norm of a tangent vector in the metric, of the batch's shape."""
        squared = self.inner_product(tangent_vector, tangent_vector)
        return abs(squared) ** 0.5

    def retraction(self, tangent_vector: Point) -> Point:
        """Point R_x(v) of the manifold's retraction."""
        return self.retraction_curve(tangent_vector).point(1.0)

    def transport_from(self, origin: LocalGeometry, tangent_vector: Point) -> Point:
        """Vector transport of a tangent vector at ``origin`` to here, by projection."""
        return self.projection(tangent_vector)

    def geodesic(self, tangent_vector: Point) -> RetractionCurve:
        """Curve t -> Exp_x(t v), where the exponential map is known in closed form."""
        raise NotImplementedError(f"{self.manifold} has no closed-form exponential; use retraction")

    def geodesic_acceleration(self, tangent_vector: Point) -> Point:
        """Tangential part of the second derivative, as arrays, at t = 0 of the geodesic t -> Exp_x(t v).

        Zero, as here, where the metric of the surrounding space does not depend on the point; else a quadratic form in
        v: minus the Christoffel term.
        """
        return self.manifold.zero_vector(self.point)

    def covector(self, tangent_vector: Point) -> Point:
        """Covector w -> <v, w>_x of a tangent vector v.

        A covector is a linear form on the tangent space, kept in whatever form costs least: as the tangent vector that
        represents it, as here, or, where inner products of arbitrary vectors are expensive, as an ambient array that is
        paired with tangent vectors by tr(c^T w). Second-order methods work on covectors, so that they need the metric's
        inverse only.
        """
        return tangent_vector

    def gradient_covector(self, euclidean_gradient: Point, gradient: Point = None) -> Point:
        """Covector w -> Df(x)[w] of the gradient; the Riemannian gradient may be handed over where it is known."""
        return self.covector(self.riemannian_gradient(euclidean_gradient) if gradient is None else gradient)

    def hessian_covector(self, euclidean_gradient: Point, euclidean_hessian: Point, tangent_vector: Point) -> Point:
        """Covector w -> <Hess f(x)[v], w>_x."""
        return self.covector(self.riemannian_hessian(euclidean_gradient, euclidean_hessian, tangent_vector))

    def hessian_form(self, euclidean_gradient: Point) -> Callable[[Point, Point], Point]:
        """Function (D^2 f(x)[v], v) -> ``hessian_covector``: what the gradient alone determines is computed once."""
        return partial(self.hessian_covector, euclidean_gradient)

    def gradient_pairing_from(self, origin: LocalGeometry, gradient_covector: Point, tangent_vector: Point) -> Array:
        """Value of the gradient's covector here at the transport of a tangent vector at ``origin``."""
        return self.pairing(gradient_covector, self.transport_from(origin, tangent_vector))

    def pairing(self, covector: Point, tangent_vector: Point) -> Array:
        """Value of a covector at a tangent vector, of the batch's shape."""
        return self.inner_product(covector, tangent_vector)

    def representative(self, covector: Point) -> Point:
        """Riesz representative of a covector: the tangent vector v with <v, w>_x = c(w) for all tangent w."""
        return covector

    def covector_from(self, origin: LocalGeometry, covector: Point) -> Point:
        """Transport of a covector at ``origin`` to here: that of the tangent vector which represents it."""
        return self.transport_from(origin, covector)

    def exp(self, tangent_vector: Point) -> Point:
        """Exponential map, where it is known in closed form."""
        return self.geodesic(tangent_vector).point(1.0)

    def log(self, other: Point) -> Point:
        """Logarithm, the tangent vector whose exponential is ``other``, where it is known in closed form."""
        raise NotImplementedError(f"{self.manifold} has no closed-form logarithm")

    def dist(self, other: Point) -> Array:
        """Geodesic distance to another point, where it is known in closed form."""
        raise NotImplementedError(f"{self.manifold} has no closed-form distance")


class Manifold(ABC):
    """A Riemannian manifold; the methods that take a point are wrappers over ``at(point)``.

    Attributes
    ----------
    factored : bool
        Whether points are factors that stand for a matrix: second derivatives by their arrays are not its Hessian.
    is_cone : bool
        Whether points can be multiplied by any positive number and lengths with them: no distance is typical then.
    is_linear : bool
        Whether the manifold is a linear space.
    """

    factored = False
    is_cone = False
    is_linear = False

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of the manifold."""

    @property
    def typical_dist(self) -> float:
        """Scale of the manifold: a distance that a step should not much exceed."""
        return float(np.sqrt(self.dim))

    def first_step_length(self, point: Point) -> Any:
        """Length of the first step that a line search tries at a start point, of the batch's shape on a cone.

        One, or less on a small manifold; on a cone that is no linear space, where zero is no point like any other, a
        tenth of the point's size.
        """
        if self.is_linear or not self.is_cone:
            return min(1.0, 0.5 * self.typical_dist)
        size = self.euclidean_inner_product(point, point) ** 0.5
        return 0.1 * (size if getattr(size, "ndim", 0) else float(size))

    @property
    def has_hessian(self) -> bool:
        """Whether the local geometry makes Riemannian Hessian products of Euclidean ones.

        Where it does not, methods of second order take differences of Riemannian gradients.
        """
        return True

    @abstractmethod
    def at(self, point: Point) -> Any:
        """Local geometry at a point."""

    @abstractmethod
    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Point:
        """Random point.

        Parameters
        ----------
        rng : None, int, numpy.random.Generator or torch.Generator
        like : array, optional
            Kind of the result; else that of the manifold's own arrays, else numpy float64.
        batch : tuple of int
            Leading dimensions.
        """

    @abstractmethod
    def standard_normal(self, rng: Seed, like: Point) -> Point:
        """Ambient vector of independent standard normal entries, shaped and kept like a point."""

    @abstractmethod
    def check_point(self, point: Point) -> str | None:
        """None if the point lies on the manifold, else one sentence that says what is wrong and by how much."""

    @abstractmethod
    def check_tangent(self, point: Point, vector: Point) -> str | None:
        """None if the vector is tangent at the point, else one sentence that says what is wrong and by how much."""

    @abstractmethod
    def nearest_point(self, point: Point) -> Point:
        """Projection of an ambient point onto the manifold."""

    @abstractmethod
    def linear_combination(self, a: Any, u: Point, b: Any, v: Point) -> Point:
        """Vector a u + b v, for numbers or batches of numbers a and b."""

    @abstractmethod
    def euclidean_inner_product(self, u: Point, v: Point) -> Array:
        """Sum of the products of all entries, tr(u^T v); of a Euclidean gradient with v it is Df(x)[v]."""

    @abstractmethod
    def zero_vector(self, point: Point) -> Point:
        """Zero tangent vector at a point."""

    def random_tangent_vector(self, point: Point, rng: Seed = None) -> Point:
        """Random tangent vector of unit norm: the normalised gradient of a random linear function.

        The norm is read off as Df(x)[g] = <g, g>_x, so no product with the metric itself is needed.
        """
        if self.dim == 0:
            raise ValueError(f"{self} has dimension 0, so it has no tangent vector of unit norm")
        # A stream of its own: with the seed of the point, z would be the draw that the point was made from.
        z = self.standard_normal(as_generator(rng, stream=(1,)), point)
        geometry = self.at(point)
        gradient = geometry.riemannian_gradient(z)
        scale = geometry.derivative(z, gradient) ** -0.5
        return self.linear_combination(scale, gradient, 0.0, gradient)

    def inner_product(self, point: Point, u: Point, v: Point) -> Array:
        """Inner product <u, v>_x, of the batch's shape."""
        return self.at(point).inner_product(u, v)

    def norm(self, point: Point, tangent_vector: Point) -> Array:
        """Norm of a tangent vector, of the batch's shape."""
        return self.at(point).norm(tangent_vector)

    def projection(self, point: Point, vector: Point) -> Point:
        """Orthogonal projection of an ambient vector on the tangent space."""
        return self.at(point).projection(vector)

    def euclidean_to_riemannian_gradient(self, point: Point, euclidean_gradient: Point) -> Point:
        """Riemannian gradient from the Euclidean one."""
        return self.at(point).riemannian_gradient(euclidean_gradient)

    def euclidean_to_riemannian_hessian(
        self, point: Point, euclidean_gradient: Point, euclidean_hessian: Point, tangent_vector: Point
    ) -> Point:
        """Riemannian Hessian product from the Euclidean gradient and Hessian product."""
        return self.at(point).riemannian_hessian(euclidean_gradient, euclidean_hessian, tangent_vector)

    def retraction(self, point: Point, tangent_vector: Point) -> Point:
        """Retraction R_x(v)."""
        return self.at(point).retraction(tangent_vector)

    def second_order_retraction(self, point: Point, tangent_vector: Point) -> Point:
        """Retraction of second order in the manifold's metric."""
        return self.at(point).second_order_retraction(tangent_vector)

    def transport(self, point_a: Point, point_b: Point, tangent_vector_a: Point) -> Point:
        """Vector transport of a tangent vector at ``point_a`` to ``point_b``."""
        return self.at(point_b).transport_from(self.at(point_a), tangent_vector_a)

    def exp(self, point: Point, tangent_vector: Point) -> Point:
        """Exponential map, where it is known in closed form."""
        return self.at(point).exp(tangent_vector)

    def log(self, point_a: Point, point_b: Point) -> Point:
        """Logarithm of ``point_b`` at ``point_a``, where it is known in closed form."""
        return self.at(point_a).log(point_b)

    def dist(self, point_a: Point, point_b: Point) -> Array:
        """Geodesic distance, where it is known in closed form."""
        return self.at(point_a).dist(point_b)
