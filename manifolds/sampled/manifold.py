"""A manifold of which only samples are known."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from math import comb
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from manifolds.gram import require_nonnegative
from manifolds.linalg import (
    Array,
    Seed,
    as_generator,
    inner_product,
    is_array,
    namespace,
    norm,
    require_finite,
    require_same_kind,
    to_numpy,
)
from manifolds.manifold import ArrayManifold, LocalGeometry, RetractionCurve
from manifolds.sampled.dimension import doubt_of_dimension, estimate_dimension
from manifolds.sampled.local_fit import LocalFit, SampledWarning, fit, refit
from manifolds.sampled.monomials import monomial_factors
from manifolds.sampled.neighbours import Neighbours, require_samples
from manifolds.sketching import require_integer


class SampledManifold(ArrayManifold):
    """Manifold of which only samples are known, with the geometry that moving least squares gives it.

    The projection P fits a frame (an affine space of dimension d) to the samples around a point by weighted PCA, and
    the manifold as the graph of a polynomial over it. Its errors are of order h^(degree + 1) for points and h^degree
    for tangent spaces, h the largest gap between samples. P is the retraction, R_x(v) = P(x + v); vectors are
    transported by projection; the metric is that of the surrounding space.

    Parameters
    ----------
    points : array of shape (N, D)
        Samples, numpy or torch, float32 or float64.
    dim : int, optional
        Dimension d of the manifold; estimated when left out, from samples that are random rather than on a grid.
    degree : int
        Degree of the polynomials, at least 1; derivatives of second order need 2. 3 pays where samples are many.
    support : float, optional
        Neighbours per coefficient within the support of a sample, at least 1.5. 3 by default, 2.5 from d = 4 on.
    noise : float
        Standard deviation of the samples off the manifold; supports grow to average over it.
    tangents : callable, optional
        ``x -> basis`` of shape (D, d) of the exact tangent space near x, in place of the fitted one.

    Attributes
    ----------
    radii : array of shape (N,)
        Radius of the support of each sample.

    Raises
    ------
    TypeError, ValueError
        If arguments are of the wrong kind or shape, points are not finite or coincide, samples are too few, or the
        dimension is not clear from them.

    Warns
    -----
    SampledWarning
        If the samples plainly spread in another number of directions than ``dim`` and are said to have no noise.

    References
    ----------
    Shustin, Avron, Sober, Manifold Free Riemannian Optimization, arXiv 2209.03269 (2022).
    Sober, Levin, Manifold Approximation by Moving Least-Squares Projection (MMLS), Constr. Approx. 52 (2020).

    Examples
    --------
    >>> import numpy as np
    >>> angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 1000)
    >>> circle = SampledManifold(np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    >>> circle.dim
    1
    >>> near = circle.nearest_point(np.array([0.0, 1.01]))
    >>> bool(abs(near[1] - 1) < 1e-4)
    True
    """

    def __init__(
        self,
        points: Array,
        dim: int | None = None,
        degree: int = 2,
        *,
        support: float | None = None,
        noise: float = 0.0,
        tangents: Callable[[Array], Array] | None = None,
    ) -> None:
        require_samples(points)
        super().__init__((points.shape[1],))
        require_integer("degree", degree, 1)
        require_nonnegative("noise", noise)
        if tangents is not None and not callable(tangents):
            raise TypeError(f"tangents must be a callable x -> basis, got {type(tangents).__name__}")
        if dim is not None:
            require_integer("dim", dim, 1)
            if dim >= points.shape[1]:
                raise ValueError(f"dim must be below the number of coordinates, {points.shape[1]}, got {dim}")
        self.points, self.degree, self.tangents = points, int(degree), tangents
        self._dim = estimate_dimension(points) if dim is None else int(dim)
        support = (3.0 if self._dim < 4 else 2.5) if support is None else support
        require_nonnegative("support", support)
        if support < 1.5:
            raise ValueError(f"support must be at least 1.5 neighbours per coefficient, got {support}")
        self.factors = monomial_factors(self._dim, self.degree)
        self.neighbours = Neighbours(points)
        self.radii = self._support_radii(support, noise)
        self.neighbours.set_radii(self.radii)
        self._typical_radius = float(np.median(to_numpy(self.radii)))
        doubt = None if dim is None or noise > 0 else doubt_of_dimension(self.neighbours, self._dim)
        if doubt is not None:
            warnings.warn(doubt, SampledWarning, stacklevel=2)

    def __repr__(self) -> str:
        count, size = self.points.shape
        return f"SampledManifold({count} points in R^{size}, dim={self.dim}, degree={self.degree})"

    def _support_radii(self, support: float, noise: float) -> Array:
        """Distance to the neighbour that ``support`` names, averaged over those neighbours, or further by noise.

        The average evens out the chance of single distances, which costs accuracy.

        With noise sigma the tangent space is off by sigma / (s sqrt(K)), K ~ s^d neighbours, and by s^m for want of
        degree, lengths in units of the data's own size. The factor 3 is measured on spheres.
        """
        count, size = self.points.shape[0], comb(self.degree + self._dim, self._dim)
        # The gaps among random samples need a few more where coefficients are few.
        wanted = int(np.ceil(support * size)) + 2 * (self._dim + 1)
        if count <= wanted:
            raise ValueError(
                f"points holds {count} samples, but degree {self.degree} in dimension {self._dim} has {size} "
                f"coefficients and needs more than {wanted} samples; lower degree or add samples"
            )
        distances, indices = self.neighbours.nearest(self.points, wanted + 1)
        xp = namespace(distances)
        repeated = int((distances[:, 1] == 0).sum())
        if repeated:
            raise ValueError(f"points holds {repeated} samples that coincide with another; remove duplicates first")
        if noise > 0:
            typical = float(xp.mean(distances[:, -1]))
            extent = float(xp.mean(xp.linalg.vector_norm(self.points - xp.mean(self.points, axis=0), axis=-1)))
            m, d = self.degree, self._dim
            radius = 3 * (noise * extent**m * typical ** (d / 2) / wanted**0.5) ** (1 / (m + 1 + d / 2))
            enlarged = int(np.ceil(wanted * (radius / typical) ** d))
            if enlarged >= count:
                raise ValueError(f"noise of {noise} would need {enlarged} neighbours, but points holds {count} samples")
            if enlarged > wanted:
                distances, indices = self.neighbours.nearest(self.points, enlarged + 1)
        return xp.mean(distances[:, -1][indices], axis=-1)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def typical_dist(self) -> float:
        """Twice the median support radius: what a fit can see."""
        return 2 * self._typical_radius

    def own_array(self) -> Array:
        return self.points

    @cached_property
    def _blas(self) -> Any:
        """Control of the threads of the BLAS: the matrices of fits are so small that threads cost ten times more."""
        return ThreadpoolController().select(user_api="blas")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_blas"}

    def fit(self, point: Array) -> LocalFit:
        """Fit around a point or a batch of points (..., D), which are flattened to (b, D)."""
        self.require_shape(point, "point")
        require_same_kind(point, self.points, "point", "points")
        require_finite(point, "point")
        if 0 in point.shape:
            raise ValueError(f"point has shape {tuple(point.shape)}, which holds no point")
        with self._blas.limit(limits=1):
            return fit(self.points, self.neighbours, point.reshape(-1, self.shape[0]), self.factors, self.dim)

    def at(self, point: Array) -> SampledGeometry:
        return SampledGeometry(self, point, self.fit(point), point)

    def land(self, point: Array) -> SampledGeometry:
        """Geometry at P(point), from the one fit that the projection makes."""
        found = self.fit(point)
        return SampledGeometry(self, found.point.reshape(point.shape), found, point)

    def nearest_point(self, point: Array) -> Array:
        """Projection P(r); it is idempotent, and off the orthogonal foot by what ``foot_point`` removes."""
        return self.land(point).point

    def foot_point(self, point: Array, iterations: int = 3) -> Array:
        """Orthogonal foot of a point on the manifold: the regression repeated over the tangent space it found.

        References
        ----------
        Aizenbud, Sober, Non-parametric estimation of manifolds from noisy data, arXiv 2105.04754 (2021).
        """
        require_integer("iterations", iterations, 0)
        found, targets = self.fit(point), point.reshape(-1, self.shape[0])
        for _ in range(iterations):
            along = (found.basis @ (found.basis.mT @ (targets - found.point)[..., None]))[..., 0]
            found = refit(self.points, self.neighbours, found.point + along, found.basis, self.factors)
        return found.point.reshape(point.shape)

    def random_point(self, rng: Seed = None, like: Array | None = None, *, batch: Sequence[int] = ()) -> Array:
        """Projections of random samples."""
        if like is not None:
            require_same_kind(like, self.points, "like", "points")
        generator = as_generator(rng)
        count = self.points.shape[0]
        if isinstance(generator, np.random.Generator):
            chosen = generator.integers(count, size=tuple(batch))
        else:
            import torch

            chosen = torch.randint(count, tuple(batch), generator=generator, device=generator.device).cpu().numpy()
        return self.nearest_point(self.points[chosen])

    def _point_residual(self, point: Array) -> Array:
        return (point - self.nearest_point(point)) / self._typical_radius

    def _tangent_residual(self, point: Array, vector: Array) -> Array:
        return (vector - self.at(point).projection(vector)) / (1 + norm(vector, 1))[..., None]

    def check_point(self, point: Array) -> str | None:
        try:
            return super().check_point(point)
        except (TypeError, ValueError, np.linalg.LinAlgError) as error:
            return str(error)

    _point_equation = "P(x) = x, in support radii,"
    _tangent_equation = "Q Q^T v = v"


class SampledGeometry(LocalGeometry):
    """The geometry at x that one fit gives: tangent basis Q = qr(J), retraction P(x + v).

    Attributes
    ----------
    basis : array of shape (..., D, d)
        Orthonormal basis of the tangent space.
    local_fit : LocalFit
    fitted_at : array of shape (..., D)
        Point around which the fit was made: x, or one whose projection x is.
    """

    manifold: SampledManifold

    def __init__(self, manifold: SampledManifold, point: Array, local_fit: LocalFit, fitted_at: Array) -> None:
        super().__init__(manifold, point)
        self.local_fit, self.fitted_at = local_fit, fitted_at
        self.basis = local_fit.basis.reshape(*point.shape, manifold.dim)
        if manifold.tangents is not None:
            self.basis = self._exact_basis(manifold.tangents(point))

    def _exact_basis(self, tangents: Array) -> Array:
        if not is_array(tangents) or tuple(tangents.shape) != tuple(self.basis.shape):
            shape = getattr(tangents, "shape", type(tangents).__name__)
            raise ValueError(f"tangents must return a basis of shape {tuple(self.basis.shape)}, got {shape}")
        require_same_kind(tangents, self.point, "tangents", "points")
        return namespace(tangents).linalg.qr(tangents)[0]

    def inner_product(self, u: Array, v: Array) -> Array:
        return inner_product(u, v, 1)

    def projection(self, vector: Array) -> Array:
        """Q Q^T a."""
        return (self.basis @ (self.basis.mT @ vector[..., None]))[..., 0]

    def riemannian_gradient(self, euclidean_gradient: Array) -> Array:
        return self.projection(euclidean_gradient)

    def riemannian_hessian(self, euclidean_gradient: Array, euclidean_hessian: Array, tangent_vector: Array) -> Array:
        """P(D^2 f[v]) + W(v, normal part of grad f), W of the fitted graph's second derivatives."""
        if self.manifold.degree < 2:
            raise ValueError("the curvature needs degree >= 2; this manifold was fitted with degree 1")
        found, shape = self.local_fit, (-1, self.manifold.shape[0])
        normal = (euclidean_gradient - self.projection(euclidean_gradient)).reshape(shape)
        bending = (found.graph_second_derivatives() @ normal[:, None, :, None])[..., 0]
        turned = (bending @ found.coordinates(tangent_vector.reshape(shape))[..., None])[..., 0]
        return self.projection(euclidean_hessian) + self.projection(found.lift(turned).reshape(self.point.shape))

    def retraction_curve(self, tangent_vector: Array) -> ProjectedLine:
        return ProjectedLine(self, tangent_vector)

    def second_order_retraction(self, tangent_vector: Array) -> Array:
        """P(x + v), whose acceleration is normal up to the error of the fit."""
        return self.retraction(tangent_vector)


class ProjectedLine(RetractionCurve):
    """The curve t -> P(x + t v)."""

    def __init__(self, geometry: SampledGeometry, tangent_vector: Array) -> None:
        self._geometry, self._tangent_vector = geometry, tangent_vector

    def land(self, t: Any) -> SampledGeometry:
        """Geometry at the point of t, from one fit."""
        geometry = self._geometry
        step = geometry.manifold.linear_combination(1.0, geometry.point, t, self._tangent_vector)
        return geometry.manifold.land(step)

    def point(self, t: Any) -> Array:
        return self.land(t).point

    def velocity(self, t: Any) -> Array:
        """Projection of v - normal correction: the tangent vector w at y = P(x + t v) with y' = w.

        y moves so that the residual x + t v - y stays orthogonal to the frame U: U^T (v - y') = 0 with y' in the range
        of Q, up to the turning of the frame: a relative error of |x + t v - y| times the curvature, O(t^2).
        """
        return velocity_at(self.land(t), self._tangent_vector)


def velocity_at(landed: SampledGeometry, tangent_vector: Array) -> Array:
    """Velocity of t -> P(x + t v) where it has landed: the y' in the range of Q with U^T y' = U^T v."""
    xp, found, shape = namespace(tangent_vector), landed.local_fit, tangent_vector.shape
    along = found.frame.mT @ tangent_vector.reshape(-1, shape[-1])[..., None]
    mixed = found.frame.mT @ found.basis
    return (found.basis @ xp.linalg.solve(mixed, along))[..., 0].reshape(shape)
