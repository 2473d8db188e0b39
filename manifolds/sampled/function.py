"""A function of which values at the samples of a manifold are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manifolds.lazy import lazy_property
from manifolds.linalg import Array, inner_product, is_array, namespace, require_finite, require_same_kind
from manifolds.objective import Evaluation, Objective, as_number, require_like
from manifolds.sampled.manifold import SampledGeometry, SampledManifold


class SampledFunction(Objective):
    """Function on a sampled manifold, known by its values at the samples.

    Value and gradient are those of the polynomial that fits the values over the frame of the manifold's own fit, with
    errors of order h^(degree + 1) and h^degree. What is known exactly is used instead.

    Parameters
    ----------
    manifold : SampledManifold
    values : array of shape (N,), optional
        Cost at each sample; may be left out where cost and gradient are given.
    cost : callable, optional
        Exact cost ``x -> number``.
    gradient : callable, optional
        Exact Euclidean gradient ``x -> array`` of shape (D,).
    hessian : callable, optional
        Exact Euclidean Hessian product ``(x, v) -> array`` of shape (D,), beside an exact gradient; the curvature of
        the manifold is that of the fit, of degree 2 at least. With no gradient, the Hessian is fitted to the values.

    Raises
    ------
    TypeError, ValueError
        If the values do not match the samples or are not finite, or neither values nor cost and gradient are given.

    References
    ----------
    Sober, Aizenbud, Levin, Approximation of functions over manifolds, J. Comput. Appl. Math. 383 (2021).

    Examples
    --------
    >>> import numpy as np
    >>> angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    >>> points = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    >>> height = SampledFunction(SampledManifold(points, 1), points[:, 1])
    >>> bool(abs(height.at(np.array([1.0, 0.0])).gradient[1] - 1) < 1e-3)
    True
    """

    riemannian = True

    def __init__(
        self,
        manifold: SampledManifold,
        values: Array | None = None,
        *,
        cost: Callable[[Array], Any] | None = None,
        gradient: Callable[[Array], Array] | None = None,
        hessian: Callable[[Array, Array], Array] | None = None,
    ) -> None:
        super().__init__(hessian)
        if not isinstance(manifold, SampledManifold):
            raise TypeError(f"manifold must be a SampledManifold, got {type(manifold).__name__}")
        for name, given in (("cost", cost), ("gradient", gradient), ("hessian", hessian)):
            if given is not None and not callable(given):
                raise TypeError(f"{name} must be a callable, got {type(given).__name__}")
        if values is None and (cost is None or gradient is None):
            raise ValueError("values must be given unless both cost and gradient are")
        if hessian is not None and (gradient is None or manifold.degree < 2):
            raise ValueError("hessian needs gradient beside it, and a manifold of degree >= 2")
        if values is not None:
            if not is_array(values):
                raise TypeError(f"values must be a numpy array or a torch tensor, got {type(values).__name__}")
            require_same_kind(values, manifold.points, "values", "points")
            if tuple(values.shape) != (manifold.points.shape[0],):
                raise ValueError(
                    f"values has shape {tuple(values.shape)}, but there are {manifold.points.shape[0]} samples"
                )
            require_finite(values, "values")
        self.manifold, self.values, self.cost, self.gradient = manifold, values, cost, gradient
        self.has_hessian = hessian is not None or (manifold.degree >= 2 and gradient is None)

    def at(self, point: Array) -> SampledEvaluation:
        return SampledEvaluation(self, self.manifold.at(point))

    def fitted(self, points: Array) -> tuple[Array, Array, Array]:
        """Fitted costs, tangent gradients and estimates of their errors at many points, from one batch of fits.

        Nothing exact is used. The points are projected onto the manifold first.

        Parameters
        ----------
        points : array of shape (..., D)

        Returns
        -------
        values, gradients, errors : arrays of shapes (...), (..., D) and (...)

        Raises
        ------
        ValueError
            If the function has no values.
        """
        if self.values is None:
            raise ValueError("fitted needs a function that was given values at the samples")
        geometry, batch = self.manifold.land(points), tuple(points.shape[:-1])
        coefficients, derivative, error = geometry.local_fit.fit_values(self.values)
        gradient = geometry.projection(geometry.local_fit.lift(derivative).reshape(points.shape))
        return coefficients[:, 0].reshape(batch), gradient, error.reshape(batch)


class SampledEvaluation(Evaluation):
    """A sampled function at one point, all of it from the fit of the geometry there."""

    _objective: SampledFunction

    def __init__(self, objective: SampledFunction, geometry: SampledGeometry) -> None:
        super().__init__(objective, geometry.point)
        self.geometry = geometry

    @lazy_property
    def _fitted(self) -> tuple[Array, Array, Array]:
        return self.geometry.local_fit.fit_values(self._objective.values)

    @lazy_property
    def _euclidean_gradient(self) -> Array:
        assert self._objective.gradient is not None
        return require_like(self._objective.gradient(self._point), self._point, "gradient")

    def _value(self) -> Any:
        return self._fitted[0][0, 0] if self._objective.cost is None else self._objective.cost(self._point)

    def _gradient(self) -> Array:
        if self._objective.gradient is None:
            lifted = self.geometry.local_fit.lift(self._fitted[1])
            return self.geometry.projection(lifted.reshape(self._point.shape))
        return self.geometry.projection(self._euclidean_gradient)

    @lazy_property
    def gradient_error(self) -> float:
        """Estimate of the error of the gradient: of the fit to the values, or, of an exact one, of its projection."""
        if self._objective.gradient is None:
            return as_number(self._fitted[2][0])
        if self.geometry.manifold.tangents is not None:
            return 0.0
        size = inner_product(self._euclidean_gradient, self._euclidean_gradient, 1) ** 0.5
        return as_number(self.geometry.local_fit.tangent_error[0] * size)

    @lazy_property
    def cost_slack(self) -> float:
        """Change of cost that the error e of the gradient explains near a minimum, e^2 / L, L the cost's curvature."""
        if self._objective.gradient is not None or not self._objective.has_hessian:
            return 0.0
        second = self.geometry.local_fit.value_second_derivatives(self._fitted[0])
        curvature = as_number(inner_product(second, second, 2)[0]) ** 0.5
        return self.gradient_error**2 / curvature if curvature > 0 else 0.0

    def _hessian_product(self, v: Array) -> Array:
        """R^-T (D^2 p - Gamma . Dp) R^-1 in the basis Q, Gamma the Christoffel symbols of the graph."""
        if self._objective.hessian is not None:
            product = require_like(self._objective.hessian(self._point, v), self._point, "hessian")
            return self.geometry.riemannian_hessian(self._euclidean_gradient, product, v)
        if not self._objective.has_hessian:
            raise TypeError("Hessian products need a manifold of degree >= 2, and hessian beside an exact gradient")
        xp, found = namespace(v), self.geometry.local_fit
        coefficients, derivative, _ = self._fitted
        gradient = found.lift(derivative)
        christoffel = xp.sum(found.graph_second_derivatives() * gradient[:, None, None, :], axis=-1)
        second = found.value_second_derivatives(coefficients) - christoffel
        along = second @ found.coordinates(v.reshape(1, -1))[..., None]
        return self.geometry.projection(found.lift(along[..., 0]).reshape(v.shape))
