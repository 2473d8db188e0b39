"""Manifolds of geoopt as manifolds of ours."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import geoopt
import torch
from geoopt.manifolds import siegel

from manifolds.adapters.lent_seeds import torch_seed
from manifolds.adapters.library_curve import LibraryCurve, acceleration
from manifolds.adapters.manifold_for_geoopt import ManifoldForGeoopt
from manifolds.array_manifold import ArrayManifold
from manifolds.euclidean import StraightLine
from manifolds.linalg import Array, Seed
from manifolds.manifold import LocalGeometry, Manifold, RetractionCurve
from manifolds.product import Product
from manifolds.retractions import Cayley
from manifolds.stiefel import Stiefel

_CONSTANT_METRIC = (geoopt.Euclidean, geoopt.Sphere, geoopt.EuclideanStiefel, geoopt.Lorentz)
"""Manifolds with the metric of a surrounding space that does not depend on the point."""


def wrapped(manifold: Any, shape: Sequence[int], dim: int | None) -> Manifold:
    """Manifold of ours around one of geoopt's."""
    if not isinstance(manifold, geoopt.Manifold):
        raise TypeError(f"manifold must be a manifold of geoopt, got {type(manifold).__name__}")
    if isinstance(manifold, geoopt.ProductManifold):
        if shape:
            raise ValueError(f"shape must be left out for a product, which knows those of its factors, got {shape}")
        return Product(
            *(wrapped(factor, s, None) for factor, s in zip(manifold.manifolds, manifold.shapes, strict=True))
        )
    base, scale = _unscaled(manifold)
    if isinstance(base, ManifoldForGeoopt):
        if tuple(shape) not in ((), base.manifold.shape):
            raise ValueError(f"shape must be {base.manifold.shape}, that of a point of {base.manifold}, got {shape}")
        shape = base.manifold.shape
        if scale == 1.0:
            return base.manifold
    if isinstance(base, siegel.siegel.SiegelManifold):
        raise TypeError(f"points of {type(base).__name__} are complex; only manifolds of real tensors can be wrapped")
    _require_shape(base, shape)
    if isinstance(base, geoopt.CanonicalStiefel):
        if len(shape) != 2 or scale != 1.0:
            raise ValueError("CanonicalStiefel must have shape (n, p) and no scale; use a Product of such for several")
        return CanonicalFrames(shape[0], shape[1], "canonical", Cayley())
    return GeooptManifold(base, shape, scale, _dimension(base, shape) if dim is None else dim)


def _unscaled(manifold: Any) -> tuple[Any, float]:
    """The manifold inside geoopt's Scaled, and the factor of its distances."""
    scale = 1.0
    while isinstance(manifold, geoopt.Scaled):
        manifold, scale = manifold.base, scale * float(manifold.scale)
    return manifold, scale


def _require_shape(manifold: Any, shape: Sequence[int]) -> None:
    if not shape:
        raise ValueError(f"shape must be given: from_geoopt(manifold, *shape), since {manifold} does not know its own")
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise TypeError(f"shape must be positive integers, got {tuple(shape)}")
    possible, reason = manifold.check_point(torch.empty(shape, device="meta"), explain=True)
    if not possible:
        raise ValueError(f"shape {tuple(shape)} is not that of a point: {reason}")


def _dimension(manifold: Any, shape: Sequence[int]) -> int:
    """Dimension of the manifold of points of this shape, by the books."""
    size = torch.Size(shape).numel()
    own = torch.Size(shape[len(shape) - manifold.ndim :])
    copies, (n, p) = size // own.numel(), (*own, 1, 1)[:2]
    if isinstance(manifold, (geoopt.Euclidean, geoopt.Stereographic)):
        return size
    if isinstance(manifold, geoopt.Sphere):
        rank = n if manifold.projector is None else round(float(manifold.projector.diagonal(dim1=-2, dim2=-1).sum()))
        return copies * (rank - 1)
    if isinstance(manifold, geoopt.Lorentz):
        return copies * (n - 1)
    if isinstance(manifold, geoopt.EuclideanStiefel):
        return copies * (n * p - p * (p + 1) // 2)
    if isinstance(manifold, geoopt.SymmetricPositiveDefinite):
        return copies * n * (n + 1) // 2
    if isinstance(manifold, geoopt.BirkhoffPolytope):
        return copies * (n - 1) ** 2
    if isinstance(manifold, ManifoldForGeoopt):
        return copies * manifold.manifold.dim
    raise ValueError(f"dim must be given: the dimension of {type(manifold).__name__} is not known")


class CanonicalFrames(Stiefel):
    """Stiefel manifold with the canonical metric, whose points are torch tensors like those of geoopt's."""

    def own_array(self) -> Array:
        """Float64 on the CPU."""
        return torch.empty(0, dtype=torch.float64)


class GeooptManifold(ArrayManifold):
    """Manifold of geoopt with points of one shape, torch tensors; made by ``from_geoopt``.

    Parameters
    ----------
    library_manifold : geoopt.Manifold
    shape : tuple of int
        Shape of a point; the metric is summed over the axes before those that belong to a point of geoopt's.
    scale : float
        Factor of all distances.
    dim : int
    """

    def __init__(self, library_manifold: Any, shape: Sequence[int], scale: float, dim: int) -> None:
        super().__init__(shape)
        self.library_manifold, self.scale, self._dim = library_manifold, scale, dim
        constant = deepcopy(library_manifold).requires_grad_(False)
        self._copies = {dtype: deepcopy(constant).to(dtype) for dtype in (torch.float32, torch.float64)}

    def __repr__(self) -> str:
        return f"from_geoopt({self.library_manifold.name}, {', '.join(map(str, self.shape))})"

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def has_hessian(self) -> bool:
        return False

    def at(self, point: Array) -> GeooptGeometry:
        self.require_shape(point, "point")
        birkhoff = isinstance(self.library_manifold, geoopt.BirkhoffPolytope)
        return BirkhoffGeometry(self, point) if birkhoff else GeooptGeometry(self, point)

    def require_shape(self, array: Array, name: str) -> None:
        """Raise an error unless the array is a torch tensor with the shape of a point or a batch of points."""
        super().require_shape(array, name)
        if not isinstance(array, torch.Tensor):
            raise TypeError(f"{name} must be a torch tensor, with which geoopt computes, got {type(array).__name__}")
        self.require_dtype(array, name)

    def require_dtype(self, array: Array, name: str) -> None:
        """Raise an error unless geoopt's formulas are accurate enough in the array's dtype."""
        if array.dtype not in self._copies:
            raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")

    def in_kind_of(self, point: Array) -> Any:
        """The library's manifold with its curvature and matrices as constants of the point's dtype."""
        return self._copies[point.dtype]

    def own_array(self) -> Array:
        """Float64 on the device of the library's manifold."""
        return torch.empty(0, dtype=torch.float64, device=self.library_manifold.device)

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        """Random point of geoopt's, whose global generator is lent a seed, projected in the dtype of ``like``."""
        like = self.own_array() if like is None else like
        if not isinstance(like, torch.Tensor):
            raise TypeError(f"like must be a torch tensor, with which geoopt computes, got {type(like).__name__}")
        self.require_dtype(like, "like")
        manifold = self.in_kind_of(like)
        with torch_seed(rng, like.device), torch.no_grad():
            # Lorentz has its generator under this name only. What has a curvature takes no dtype but that one.
            draw = getattr(manifold, "random_normal", manifold.random)(*batch, *self.shape)
            return manifold.projx(draw.as_subclass(torch.Tensor).to(dtype=like.dtype, device=like.device))

    def nearest_point(self, point: Array) -> Array:
        self.require_shape(point, "point")
        return self.in_kind_of(point).projx(point)

    def check_point(self, point: Array) -> str | None:
        problem = self._check_array(point, "the point")
        reason = None if problem else self.in_kind_of(point).check_point_on_manifold(point, explain=True)[1]
        return f"the point is off the manifold: {reason}" if reason else problem

    def _point_residual(self, point: Array) -> Array:
        return point - self.nearest_point(point)

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        return (vector - self.at(point).projection(vector)) / max(1.0, float(vector.norm()))


class GeooptGeometry(LocalGeometry):
    """The local geometry of a manifold of geoopt."""

    manifold: GeooptManifold

    def inner_product(self, u: Array, v: Array) -> Array:
        return self.manifold.scale**2 * self._sum(self._library.inner(self.point, u, v, keepdim=True))

    def projection(self, vector: Array) -> Array:
        return self._library.proju(self.point, vector)

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        # Lorentz flips a sign in the array that it is given.
        return self._library.egrad2rgrad(self.point, euclidean_gradient + 0.0) / self.manifold.scale**2

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        raise NotImplementedError(f"{self.manifold} converts no Hessians; differences of gradients stand in for them")

    def retraction_curve(self, tangent_vector: Array) -> RetractionCurve:
        if isinstance(self._library, geoopt.Euclidean):
            return StraightLine(self.point, tangent_vector, self.manifold.ndim)
        return LibraryCurve(self, tangent_vector, self.retraction)

    def retraction(self, tangent_vector: Array) -> Array:
        return self._library.retr(self.point, tangent_vector)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """The exponential map."""
        return self._library.expmap(self.point, tangent_vector)

    def transport_from(self, origin: LocalGeometry, tangent_vector: Array) -> Array:
        """Transport of geoopt; on Lorentz the projection, since that moves nothing by distances below about 1e-6."""
        if isinstance(self._library, geoopt.Lorentz):
            return self.projection(tangent_vector)
        return self._library.transp(origin.point, self.point, tangent_vector)

    def geodesic(self, tangent_vector: Array) -> RetractionCurve:
        return LibraryCurve(self, tangent_vector, self.second_order_retraction)

    def geodesic_acceleration(self, tangent_vector: Array) -> Array:
        if isinstance(self._library, _CONSTANT_METRIC):
            return super().geodesic_acceleration(tangent_vector)
        return acceleration(self, tangent_vector, self.second_order_retraction)

    def log(self, other: Array) -> Array:
        self.manifold.require_other(other)
        try:
            return self._library.logmap(self.point, other)
        except NotImplementedError:
            return super().log(other)

    def dist(self, other: Array) -> Array:
        """Root of the sum of the squared distances over the leading axes."""
        self.manifold.require_other(other)
        try:
            squared = self._library.dist2(self.point, other, keepdim=True)
        except NotImplementedError:
            return super().dist(other)
        return self.manifold.scale * self._sum(squared) ** 0.5

    @property
    def _library(self) -> Any:
        return self.manifold.in_kind_of(self.point)

    def _sum(self, values: Array) -> Array:
        """Sum over the axes of a point, of which those of geoopt's points have length one.

        Without them, geoopt's stereographic manifolds mix up the entries of a batch.
        """
        return values.sum(dim=tuple(range(-self.manifold.ndim, 0)))


class BirkhoffGeometry(GeooptGeometry):
    """The polytope of doubly stochastic matrices at X with the metric sum u_ij v_ij / x_ij.

    geoopt's ``proju`` multiplies by X before it projects, as a gradient needs it; its ``inner`` divides by n.
    """

    def inner_product(self, u: Array, v: Array) -> Array:
        return self.point.shape[-1] * super().inner_product(u, v)

    def projection(self, vector: Array) -> Array:
        return self._library.proju(self.point, vector / self.point)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        raise NotImplementedError(f"{self.manifold} has no retraction of second order; use retraction")

    def transport_from(self, origin: LocalGeometry, tangent_vector: Array) -> Array:
        return self.projection(tangent_vector)

    def geodesic(self, tangent_vector: Array) -> RetractionCurve:
        raise NotImplementedError(f"{self.manifold} has no closed-form exponential; use retraction")
