"""Manifolds of ours with the methods that geoopt's parameters and optimizers call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import geoopt
import torch

from manifolds.adapters.lent_seeds import torch_generator
from manifolds.linalg import Array, is_torch_array
from manifolds.manifold import ArrayManifold, Manifold
from manifolds.power import Power
from manifolds.product import Product


def presented(manifold: Manifold) -> Any:
    """Manifold of geoopt's protocol around one of ours."""
    if isinstance(manifold, Product):
        return geoopt.ProductManifold(*map(_with_shape, manifold.factors.values()))
    return ManifoldForGeoopt(manifold)


def _with_shape(factor: Manifold) -> tuple[Any, tuple[int, ...]]:
    """A factor of a product with the shape that its points have in geoopt."""
    inside = presented(factor)
    return inside, (inside.n_elements,) if isinstance(factor, Product) else inside.manifold.shape


class ManifoldForGeoopt(geoopt.Manifold):
    """Manifold of ours under geoopt; made by ``to_geoopt``.

    Parameters
    ----------
    manifold : ArrayManifold
    """

    reversible = False

    def __init__(self, manifold: Manifold) -> None:
        super().__init__()
        if not isinstance(manifold, ArrayManifold):
            raise TypeError(
                "manifold must be a manifold of ours whose points are single arrays, or a product of such, got "
                f"{type(manifold).__name__}"
            )
        inner = manifold
        while isinstance(inner, Power):
            inner = inner.base
        if not is_torch_array(inner.own_array()) and type(inner).own_array is not ArrayManifold.own_array:
            raise TypeError(f"{manifold} holds numpy arrays, but geoopt computes with torch tensors; build it of those")
        self.manifold, self.ndim, self.name = manifold, manifold.ndim, repr(manifold)

    def retr(self, x: Array, u: Array) -> Array:
        return self.manifold.retraction(x, u)

    def expmap(self, x: Array, u: Array) -> Array:
        """Exponential map, or the retraction of second order where it is not known in closed form."""
        try:
            return self.manifold.exp(x, u)
        except NotImplementedError:
            return self.manifold.second_order_retraction(x, u)

    def logmap(self, x: Array, y: Array) -> Array:
        return self.manifold.log(x, y)

    def dist(self, x: Array, y: Array, *, keepdim: bool = False) -> Array:
        return self._kept(self.manifold.dist(x, y), keepdim)

    def inner(self, x: Array, u: Array, v: Array | None = None, *, keepdim: bool = False) -> Array:
        return self._kept(self.manifold.inner_product(x, u, u if v is None else v), keepdim)

    def proju(self, x: Array, u: Array) -> Array:
        return self.manifold.projection(x, u)

    def projx(self, x: Array) -> Array:
        return self.manifold.nearest_point(x)

    def egrad2rgrad(self, x: Array, u: Array) -> Array:
        return self.manifold.euclidean_to_riemannian_gradient(x, u)

    def transp(self, x: Array, y: Array, v: Array) -> Array:
        return self.manifold.transport(x, y, v)

    def retr_transp(self, x: Array, u: Array, v: Array) -> tuple[Array, Array]:
        """Retraction and transport to its end, with one local geometry at x."""
        here = self.manifold.at(x)
        there = self.manifold.at(here.retraction(u))
        return there.point, there.transport_from(here, v)

    def random(self, *size: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Array:
        """Random points from torch's global generator, as geoopt draws them."""
        shape = torch.Size(size[0] if len(size) == 1 and isinstance(size[0], Sequence) else size)
        self._assert_check_shape(shape, "x")
        own = self.manifold.own_array()
        like = own if is_torch_array(own) and dtype is device is None else torch.empty(0, dtype=dtype, device=device)
        batch = shape[: len(shape) - self.ndim]
        point = self.manifold.random_point(torch_generator(), like, batch=batch)
        return geoopt.ManifoldTensor(point, manifold=self)

    def _kept(self, values: Array, keepdim: bool) -> Array:
        """Values of the batch's shape, with axes of length one for those of a point if asked for."""
        return values.reshape(*values.shape, *(1,) * self.ndim) if keepdim else values

    def _check_shape(self, shape: Sequence[int], name: str) -> tuple[bool, str | None]:
        own = self.manifold.shape
        if tuple(shape[max(len(shape) - self.ndim, 0) :]) == own:
            return True, None
        return False, f"{name} must have shape {own} after any batch dimensions, got {tuple(shape)}"

    def _check_point_on_manifold(self, x: Array, *, atol: float = 1e-5, rtol: float = 1e-5) -> tuple[bool, str | None]:
        reason = self.manifold.check_point(x.detach())
        return reason is None, reason

    def _check_vector_on_tangent(
        self, x: Array, u: Array, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        reason = self.manifold.check_tangent(x.detach(), u.detach())
        return reason is None, reason
