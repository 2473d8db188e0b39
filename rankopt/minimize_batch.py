"""Minimization of many functions on a manifold at once, each with its own steps and its own end."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from manifolds.linalg import Array, is_array, namespace, require_finite, require_real_floating, to_numpy
from manifolds.manifold import Manifold, Point
from rankopt.batch.directions import as_directions
from rankopt.batch.objective import BatchObjective, value_and_gradient
from rankopt.batch.rounds import Rounds
from rankopt.batch.rows import map_arrays
from rankopt.batch.run import BatchRun
from rankopt.solvers.method import Method
from rankopt.solvers.stopping import StoppingCriterion, as_criterion
from rankopt.state import CLOSE


def minimize_batch(
    objective: Any,
    manifold: Manifold,
    x0: Point,
    method: str | Method[Any] | None = None,
    *,
    args: tuple[Any, ...] = (),
    gradient: Callable[..., Any] | bool | None = None,
    stopping: StoppingCriterion | None = None,
    callback: Callable[[OptimizeResult], Any] | None = None,
    progress: bool | str = False,
) -> OptimizeResult:
    """Minimize many functions f_i(x) over the points x of a manifold, each with its own steps and its own end.

    All problems are evaluated together, one step tried by each per call; a problem whose step is refused tries a
    shorter one while the others go on. Problems do not influence each other, beyond rounding.

    Parameters
    ----------
    objective : callable or object
        ``(x, *args) -> costs``, of the batch's shape; or ``(x, *args) -> (costs, Euclidean gradients)`` with
        ``gradient=True``; or an object with ``value_and_gradient(x, *args)`` (Euclidean, unless it says
        ``riemannian = True``). Costs of torch points are differentiated by autograd where no gradient is given.
    manifold : Manifold
        Where every problem lives.
    x0 : point of shape (..., n, p) or the like
        Start points, with any leading dimensions. Those off the manifold by at most one percent are projected.
    method : {"gradient-descent", "conjugate-gradient"} or Method, optional
        A name, or a value such as ``ConjugateGradient(beta=PolakRibiere())``, with ``Armijo()`` or ``Wolfe()`` as line
        search. By default gradient descent with Barzilai-Borwein steps, which take one evaluation each; conjugate
        gradients, with a curvature of 0.5, take about two evaluations a step and fewer steps.
    args : tuple of arrays, optional
        What differs from problem to problem, with the batch's leading dimensions. With it, finished problems are left
        out of the evaluations: the callables see the unfinished ones along *one* leading axis, and the same rows of
        each array (``args=(np.arange(m),)`` tells which). Without it, they always see all points, in the batch's own
        shape.
    gradient : callable or True, optional
        ``(x, *args) -> Euclidean gradients``, shaped like the points.
    stopping : StoppingCriterion, optional
        Applied to each problem by itself; ``GradientNorm() | CostChange() | MaxIterations(1000)`` by default.
    callback : callable, optional
        Called with the intermediate result after every round; raising StopIteration ends the run.
    progress : bool or str
        Whether to show how many problems are finished; a string is the label.

    Returns
    -------
    scipy.optimize.OptimizeResult
        Arrays of the batch's shape, of the library and device of the points: ``x``; ``fun``; ``grad_norm``; ``nit``;
        ``nfev`` and ``ngev`` (evaluations until the problem ended); ``status`` (numbers of Status); ``success``; and
        ``message``, a numpy array of str. ``ncalls`` counts the evaluations of the whole batch. ``history`` maps
        ``max_grad_norm``, ``median_grad_norm`` (over problems that were finite at the start), ``n_active`` and ``time``
        (seconds) to arrays with one entry per round. A problem that fails returns its best point; one whose cost or
        gradient is not finite at the start, or wherever a step is tried, ends with ``Status.NOT_FINITE``. Ctrl-C ends
        unfinished problems with their best points and ``Status.INTERRUPTED``.

    Raises
    ------
    ValueError
        If a start point is far off the manifold, or arrays have the wrong shapes.
    TypeError
        If arguments are of the wrong type, or libraries, dtypes or devices are mixed.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import Stiefel
    >>> a = np.random.default_rng(0).standard_normal((100, 5, 5))
    >>> a = a + a.mT
    >>> stiefel = Stiefel(5, 2)
    >>> result = minimize_batch(
    ...     lambda x, a: -np.sum(x * (a @ x), axis=(-2, -1)),
    ...     stiefel,
    ...     stiefel.random_point(rng=0, batch=(100,)),
    ...     args=(a,),
    ...     gradient=lambda x, a: -2 * (a @ x),
    ... )
    >>> np.allclose(-result.fun, np.linalg.eigvalsh(a)[:, -2:].sum(axis=1)), bool(result.success.all())
    (True, True)
    """
    if not isinstance(manifold, Manifold):
        raise TypeError(f"manifold must be a Manifold, got {type(manifold).__name__}")
    evaluate, riemannian = value_and_gradient(objective, gradient)
    rounds = partial(Rounds, manifold, directions=as_directions(method), stopping=as_criterion(stopping))
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a callable, got {type(callback).__name__}")
    batch, points = _start_points(manifold, x0)
    rows = BatchObjective(evaluate, points, batch, _rows_of(args, batch), riemannian)
    return BatchRun(rounds(objective=rows), points, batch, callback, progress).to_end()


def _start_points(manifold: Manifold, x0: Point) -> tuple[tuple[int, ...], Point]:
    """Shape of the batch, and the points along one axis, projected if they are close to the manifold."""

    def require_usable(array: Array) -> None:
        if is_array(array):
            require_real_floating(array, "x0")
            require_finite(array, "x0")

    map_arrays(require_usable, x0)
    try:
        x0 = manifold.at(x0).point
        batch = tuple(getattr(manifold.euclidean_inner_product(x0, x0), "shape", ()))
        if not math.prod(batch) or not batch:
            raise ValueError(
                f"a batch of points is needed, but the leading dimensions are {batch}; minimize solves a single problem"
            )
        problem = manifold.check_point(x0)
        nearest = x0 if problem is None else manifold.nearest_point(x0)
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"x0: {error}") from None
    if problem is not None:
        difference = manifold.linear_combination(1.0, x0, -1.0, nearest)
        squared = manifold.euclidean_inner_product(difference, difference)
        far = squared > CLOSE**2 * manifold.euclidean_inner_product(nearest, nearest)
        if bool(namespace(far).any(far)):
            first = tuple(int(i) for i in np.argwhere(to_numpy(far))[0])
            raise ValueError(
                f"x0 is far off the manifold at index {first}: {problem}; start from manifold.nearest_point(x0) if "
                "that is what you mean"
            )
    flat = map_arrays(lambda a: namespace(a).reshape(a, (math.prod(batch), *a.shape[len(batch) :])), nearest)
    return batch, flat


def _rows_of(args: Any, batch: tuple[int, ...]) -> tuple[Any, ...]:
    """Arguments along one axis of problems."""
    if not isinstance(args, tuple) or hasattr(args, "_fields"):
        raise TypeError(f"args must be a tuple of arrays, such as args=(a,), got {type(args).__name__}")
    for i, array in enumerate(args):
        if not is_array(array):
            raise TypeError(f"args[{i}] must be a numpy array or a torch tensor, got {type(array).__name__}")
        if tuple(array.shape[: len(batch)]) != batch:
            raise ValueError(
                f"args[{i}] has shape {tuple(array.shape)}, but its leading dimensions must be the batch's, {batch}; "
                "what all problems share belongs into the objective itself"
            )
    return tuple(namespace(a).reshape(a, (math.prod(batch), *a.shape[len(batch) :])) for a in args)
