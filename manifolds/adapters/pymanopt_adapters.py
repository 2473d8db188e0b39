"""Adapters to pymanopt: its manifolds under our solvers, and ours under its optimizers."""

from __future__ import annotations

from typing import Any

from manifolds.linalg import Seed
from manifolds.manifold import Manifold


def from_pymanopt(manifold: Any) -> Manifold:
    """Manifold of pymanopt with the methods that our solvers and checks call.

    The formulas remain pymanopt's; points are float64 numpy arrays, one at a time. A product becomes a ``Product``;
    ``FixedRankEmbedded`` has named tuples as points, pymanopt's own.

    Parameters
    ----------
    manifold : pymanopt.manifolds.manifold.Manifold
        A manifold of real arrays.

    Returns
    -------
    Manifold
        Its points are those of pymanopt. Tangent vectors are velocities of the arrays also where pymanopt keeps them
        otherwise (the rotations X, whose tangent vectors X Omega it keeps as Omega), except on ``FixedRankEmbedded``.

    Raises
    ------
    ImportError
        If pymanopt is not installed.
    TypeError
        If the argument is no manifold of pymanopt, or its points are complex or tuples of another kind.

    Notes
    -----
    Velocities of curves, which pymanopt lacks, are central differences of points. Where it converts no Hessians,
    ``has_hessian`` is false, and trust regions take differences of Riemannian gradients. Where it has no vector
    transport, the projection is taken. ``Elliptope`` of pymanopt 2.2 projects on a wrong space; here it does not.

    Examples
    --------
    >>> import numpy as np
    >>> import pymanopt
    >>> from rankopt import minimize
    >>> ball = from_pymanopt(pymanopt.manifolds.PoincareBall(2))
    >>> goal = np.array([0.5, 0.0])
    >>> result = minimize(lambda x: np.sum((x - goal) ** 2), ball, gradient=lambda x: 2 * (x - goal), rng=0)
    >>> result.x.round(6), result.success
    (array([ 0.5, -0. ]), True)
    """
    _require_pymanopt("from_pymanopt")
    from manifolds.adapters.pymanopt_manifold import wrapped

    return wrapped(manifold)


def to_pymanopt(manifold: Manifold, rng: Seed = None) -> Any:
    """Manifold of ours for the optimizers and the diagnostics of pymanopt.

    Parameters
    ----------
    manifold : ArrayManifold or Product
        A manifold whose points are single arrays, or a product of such; a nested product becomes one product of all its
        array factors, since pymanopt nests none.
    rng : None, int or generator
        Where random points and vectors come from; pymanopt asks for them without a seed.

    Returns
    -------
    pymanopt.manifolds.manifold.Manifold
        With all of its methods. Where no logarithm is known in closed form, or a point is too far away for it, ``log``
        is the projection of the chord b - a and ``dist`` the chord's length. Without an exponential map ``exp`` raises
        NotImplementedError, and pymanopt takes the retraction instead. On a manifold known by samples, steps that are
        too long for its fits become walks of shorter ones, which end where the samples do.

    Raises
    ------
    ImportError
        If pymanopt is not installed.
    TypeError
        If the argument is no such manifold, or holds torch tensors: pymanopt computes with numpy arrays.

    Examples
    --------
    >>> import numpy as np
    >>> import pymanopt
    >>> from manifolds import Grassmann
    >>> grassmann = to_pymanopt(Grassmann(5, 2), rng=0)
    >>> a = np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> cost = pymanopt.function.numpy(grassmann)(lambda x: -np.trace(x.T @ a @ x))
    >>> gradient = pymanopt.function.numpy(grassmann)(lambda x: -2 * a @ x)
    >>> problem = pymanopt.Problem(grassmann, cost, euclidean_gradient=gradient)
    >>> result = pymanopt.optimizers.ConjugateGradient(verbosity=0).run(problem)
    >>> print(result.cost.round(6))
    -9.0

    A cost without derivatives, such as the largest entry of a unit vector, by NelderMead or ParticleSwarm; the latter
    draws from numpy's global generator.

    >>> from manifolds import Sphere
    >>> sphere = to_pymanopt(Sphere(3), rng=0)
    >>> cost = pymanopt.function.numpy(sphere)(lambda x: np.max(np.abs(x)))
    >>> optimizer = pymanopt.optimizers.NelderMead(max_cost_evaluations=300, verbosity=0)
    >>> print(optimizer.run(pymanopt.Problem(sphere, cost)).cost.round(4))
    0.5774
    """
    _require_pymanopt("to_pymanopt")
    from manifolds.adapters.manifold_for_pymanopt import presented

    return presented(manifold, rng)


def _require_pymanopt(name: str) -> None:
    try:
        import pymanopt  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{name} needs pymanopt: pip install 'rankopt[pymanopt]'") from error
