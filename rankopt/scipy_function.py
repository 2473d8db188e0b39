"""Functions written for ``scipy.optimize.minimize`` as objectives on manifolds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from manifolds.linalg import is_numpy_array, kind
from manifolds.manifold import Point
from manifolds.objective import leaves_of, unflatten


def from_scipy(
    fun: Callable[..., Any],
    jac: Callable[..., Any] | bool,
    hessp: Callable[..., Any] | None = None,
    *,
    args: Any = (),
) -> ScipyFunction:
    """Objective from functions of flat vectors, as ``scipy.optimize.minimize`` takes them.

    A point of float64 numpy arrays is laid out as one vector: the rows of a matrix one after the other, the factors of
    a product likewise. The functions may be defined on all of space; what counts is the manifold.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> cost``, with x of shape (n,); or ``(cost, gradient)`` with ``jac=True``.
    jac : callable or True
        ``jac(x, *args) -> gradient`` of shape (n,). scipy's differences of costs are not offered.
    hessp : callable, optional
        ``hessp(x, p, *args) -> Hessian product`` of shape (n,).
    args : tuple
        Further arguments of all three.

    Returns
    -------
    ScipyFunction
        An objective for ``minimize`` and for the numerical checks.

    Raises
    ------
    TypeError
        If an argument is not callable, or later if points are not float64 numpy arrays.
    ValueError
        Later, if a gradient or a Hessian product has the wrong length.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import rosen, rosen_der, rosen_hess_prod
    >>> from manifolds import Sphere
    >>> from rankopt import minimize
    >>> result = minimize(from_scipy(rosen, rosen_der, rosen_hess_prod), Sphere(2), x0=np.array([1.0, 0.0]))
    >>> result.x.round(4), result.success
    (array([0.7864, 0.6177]), True)
    """
    return ScipyFunction(fun, jac, hessp, args if isinstance(args, tuple) else (args,))


class ScipyFunction:
    """Functions of flat vectors as an objective on points of any layout; made by ``from_scipy``.

    It has ``value(x)`` and ``gradient(x)``, or ``value_and_gradient(x)`` where one function gives both, and
    ``hessian_product(x, v)`` where one was given.

    Parameters
    ----------
    fun, jac, hessp
        As ``from_scipy`` takes them.
    args : tuple

    Raises
    ------
    TypeError
        If an argument is of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import rosen, rosen_der
    >>> from rankopt import ScipyFunction
    >>> function = ScipyFunction(rosen, rosen_der)
    >>> function.gradient(np.zeros((2, 2))).tolist()  # in the layout of the point
    [[-2.0, -2.0], [-2.0, 0.0]]
    """

    def __init__(self, fun: Any, jac: Any, hessp: Any = None, args: tuple[Any, ...] = ()) -> None:
        for name, value in (("fun", fun), ("hessp", hessp)):
            if not (callable(value) or (value is None and name == "hessp")):
                raise TypeError(f"{name} must be a callable, got {type(value).__name__}")
        if not (callable(jac) or jac is True):
            raise TypeError(
                f"jac must be a callable, or True if fun returns (cost, gradient), got {jac!r}; scipy's differences "
                "of costs are not offered: write the gradient, or the cost in torch"
            )
        if not isinstance(args, tuple):
            raise TypeError(f"args must be a tuple, got {type(args).__name__}")
        self._fun, self._jac, self._hessp, self._args = fun, jac, hessp, args
        if jac is True:
            self.value_and_gradient = self._value_and_gradient
        else:
            self.value, self.gradient = self._value, self._gradient
        if hessp is not None:
            self.hessian_product = self._hessian_product

    def __repr__(self) -> str:
        return f"ScipyFunction({getattr(self._fun, '__name__', self._fun)})"

    def _value_and_gradient(self, x: Point) -> tuple[Any, Point]:
        pair = self._fun(_flat(x), *self._args)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"fun must return a pair (cost, gradient) with jac=True, got {type(pair).__name__}")
        return _number(pair[0]), _shaped(pair[1], x, "fun")

    def _value(self, x: Point) -> Any:
        return _number(self._fun(_flat(x), *self._args))

    def _gradient(self, x: Point) -> Point:
        return _shaped(self._jac(_flat(x), *self._args), x, "jac")

    def _hessian_product(self, x: Point, v: Point) -> Point:
        return _shaped(self._hessp(_flat(x), _flat(v), *self._args), x, "hessp")


def _flat(point: Point) -> np.ndarray:
    """Entries of a point as a vector of its own, which the function may change."""
    for array in leaves_of(point):
        if not (is_numpy_array(array) and array.dtype == np.float64):
            raise TypeError(
                "functions in scipy's manner take float64 numpy vectors, but the point is "
                f"{' '.join(kind(array)[:2])}; start from a float64 numpy x0"
            )
    return np.concatenate([array.ravel() for array in leaves_of(point)])


def _number(value: Any) -> Any:
    """Cost as it is, or the only entry of an array, which scipy accepts too."""
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


def _shaped(vector: Any, like: Point, name: str) -> Point:
    """Flat vector in the layout of a point."""
    vector, parts = np.asarray(vector, dtype=np.float64), leaves_of(like)
    ends = np.cumsum([part.size for part in parts])
    if vector.shape != (ends[-1],):
        raise ValueError(f"{name} must give a vector of length {ends[-1]}, like the point, got shape {vector.shape}")
    pieces = np.split(vector, ends[:-1])
    return unflatten(like, [piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)])
