"""pymanopt's manifold of matrices of fixed rank, whose points and tangent vectors are tuples of factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from manifolds.adapters.lent_seeds import pymanopt_point
from manifolds.adapters.library_curve import LibraryCurve
from manifolds.linalg import Array, Seed, as_generator, machine_epsilon
from manifolds.manifold import LocalGeometry, Manifold, Point, RetractionCurve


class PymanoptFixedRank(Manifold):
    """m x n matrices U diag(s) V^T of rank k, pymanopt's ``FixedRankEmbedded``; made by ``from_pymanopt``.

    A point is the named tuple (u, s, vt), a tangent vector U M V^T + Up V^T + U Vp^T is (Up, M, Vp): both are of
    pymanopt's own types. Euclidean gradients are those with respect to u, s and vt.

    Parameters
    ----------
    library_manifold : pymanopt.manifolds.FixedRankEmbedded
    """

    def __init__(self, library_manifold: Any) -> None:
        self.library_manifold = library_manifold
        point = pymanopt_point(library_manifold, rng=0)
        self.shapes = tuple(part.shape for part in point)
        self.point_type, self.vector_type = type(point), type(library_manifold.zero_vector(point))

    def __repr__(self) -> str:
        return f"from_pymanopt({self.library_manifold})"

    @property
    def dim(self) -> int:
        return int(self.library_manifold.dim)

    @property
    def has_hessian(self) -> bool:
        return False

    def at(self, point: Point) -> PymanoptFixedRankGeometry:
        problem = self._check_factors(point)
        if problem is not None:
            raise TypeError(problem)
        return PymanoptFixedRankGeometry(self, self.point_type._make(point))

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Point:
        return pymanopt_point(self.library_manifold, rng, like, batch)

    def standard_normal(self, rng: Seed, like: Point) -> Point:
        """Random arrays like u, s and vt, as Euclidean gradients are."""
        generator = as_generator(rng)
        return self.point_type._make(generator.standard_normal(part.shape) for part in like)

    def random_tangent_vector(self, point: Point, rng: Seed = None) -> Point:
        """Projection of random factors (Up, M, Vp), of unit norm."""
        geometry, generator = self.at(point), as_generator(rng, stream=(1,))
        factors = (generator.standard_normal(part.shape) for part in self.zero_vector(point))
        vector = geometry.projection(self.vector_type._make(factors))
        return vector / geometry.norm(vector)

    def check_point(self, point: Point) -> str | None:
        problem = self._check_factors(point)
        if problem is not None:
            return problem
        u, s, vt = point
        if not all(np.all(np.isfinite(part)) for part in point):
            return "the point contains NaN or infinity"
        if not np.all(s > 0):
            return f"the point is off the manifold: s must be positive, but its smallest entry is {s.min():.1e}"
        loss = max(float(np.max(np.abs(q.T @ q - np.eye(s.size)))) for q in (u, vt.T))
        tolerance = 10 * machine_epsilon(s) ** 0.5
        if loss <= tolerance:
            return None
        return f"the point is off the manifold: U^T U = V^T V = I is off by {loss:.1e} (tolerance {tolerance:.1e})"

    def check_tangent(self, point: Point, vector: Point) -> str | None:
        shapes = [part.shape for part in self.zero_vector(point)]
        if not isinstance(vector, tuple) or [np.shape(part) for part in vector] != shapes:
            return f"the vector must be a tuple (Up, M, Vp) of arrays of shapes {shapes}"
        away = self.linear_combination(1.0, vector, -1.0, self.at(point).projection(vector))
        size = max(1.0, float(self.euclidean_inner_product(vector, vector)) ** 0.5)
        residual = float(self.euclidean_inner_product(away, away)) ** 0.5 / size
        if residual <= 10 * machine_epsilon(point) ** 0.5:
            return None
        return f"the vector is not tangent: U^T Up = V^T Vp = 0 is off by {residual:.1e}"

    def nearest_point(self, point: Point) -> Point:
        """Nearest matrix of the same rank in factored form: the singular value decomposition of U diag(s) V^T."""
        u, s, vt = self.at(point).point
        (q, left), (w, right) = np.linalg.qr(u), np.linalg.qr(vt.T)
        inner_u, values, inner_vt = np.linalg.svd((left * s) @ right.T)
        if not values[-1] > 0:
            raise ValueError(f"point has rank below {s.size}, so no matrix of that rank is nearest to it")
        return self.point_type(q @ inner_u, values, inner_vt @ w.T)

    def linear_combination(self, a: Any, u: Point, b: Any, v: Point) -> Point:
        return type(u)._make(a * x + b * y for x, y in zip(u, v, strict=True))

    def euclidean_inner_product(self, u: Point, v: Point) -> Array:
        return sum((np.sum(x * y) for x, y in zip(u, v, strict=True)), start=np.float64(0.0))

    def zero_vector(self, point: Point) -> Point:
        return self.library_manifold.zero_vector(point)

    def _check_factors(self, point: Point) -> str | None:
        good = isinstance(point, tuple) and tuple(np.shape(part) for part in point) == self.shapes
        if good and all(isinstance(part, np.ndarray) and part.dtype == np.float64 for part in point):
            return None
        return f"a point of {self} is a tuple (u, s, vt) of float64 numpy arrays of shapes {self.shapes}"


class PymanoptFixedRankGeometry(LocalGeometry):
    """The local geometry of matrices of fixed rank, in pymanopt's factors."""

    manifold: PymanoptFixedRank

    def inner_product(self, u: Point, v: Point) -> Array:
        return np.float64(self._library.inner_product(self.point, u, v))

    def projection(self, vector: Point) -> Point:
        """Factors (Up, M, Vp) made orthogonal to U and V."""
        return self._library.to_tangent_space(self.point, vector)

    def riemannian_gradient(self, euclidean_gradient: Point) -> Point:
        return self._library.euclidean_to_riemannian_gradient(self.point, euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Point, euclidean_hessian: Point, tangent_vector: Point) -> Point:
        raise NotImplementedError(f"{self.manifold} converts no Hessians; differences of gradients stand in for them")

    def derivative(self, euclidean_gradient: Point, tangent_vector: Point) -> Array:
        """<grad f, v>_x: tangent vectors are no velocities of the factors of a point."""
        return self.inner_product(self.riemannian_gradient(euclidean_gradient), tangent_vector)

    def retraction_curve(self, tangent_vector: Point) -> RetractionCurve:
        return LibraryCurve(self, tangent_vector, self.retraction, self._difference)

    def retraction(self, tangent_vector: Point) -> Point:
        """The nearest matrix of rank k, by a singular value decomposition."""
        return self._library.retraction(self.point, tangent_vector)

    def second_order_retraction(self, tangent_vector: Point) -> Point:
        """The retraction, since it projects."""
        return self.retraction(tangent_vector)

    def transport_from(self, origin: LocalGeometry, tangent_vector: Point) -> Point:
        return self._library.transport(origin.point, self.point, tangent_vector)

    def _difference(self, here: Point, before: Point, after: Point) -> Point:
        """Difference of two matrices projected at a third; their factors may differ by signs."""
        ends = (self._library.projection(here, (u, np.diag(s), vt.T)) for u, s, vt in (after, before))
        return self.manifold.linear_combination(1.0, next(ends), -1.0, next(ends))

    @property
    def _library(self) -> Any:
        return self.manifold.library_manifold
