"""Adapters to geoopt: its manifolds under our solvers, and ours under its optimizers."""

from __future__ import annotations

from typing import Any

from manifolds.manifold import Manifold


def from_geoopt(manifold: Any, *shape: int, dim: int | None = None) -> Manifold:
    """Manifold of geoopt with the methods that our solvers and checks call.

    The formulas remain geoopt's; points are torch tensors, with leading batch dimensions. A ``ProductManifold`` becomes
    a ``Product``, whose points are named tuples, no flat vectors.

    Parameters
    ----------
    manifold : geoopt.Manifold
        A manifold of real tensors.
    *shape : int
        Shape of one point, which geoopt's manifolds do not know; left out for products, which do. Where it has more
        axes than a point of geoopt's, as a table of embeddings has, the manifold is the product over the leading ones.
    dim : int, optional
        Dimension, needed only for classes that geoopt 0.5 does not have.

    Returns
    -------
    Manifold
        Its ``has_hessian`` is false: geoopt converts no Hessians, and trust regions take differences of gradients.

    Raises
    ------
    ImportError
        If geoopt is not installed.
    TypeError
        If the argument is no manifold of geoopt, or one of complex matrices.
    ValueError
        If the shape is missing, or not one of the manifold's points, or the dimension is not known.

    Notes
    -----
    Velocities of curves, which geoopt lacks, are central differences of points. A learnable curvature or scale counts
    with its value at the call. Some classes of geoopt 0.5 have parts that do not fit together, which is put right here:
    ``CanonicalStiefel``, whose ``retr`` does not have the velocity it is given and whose ``proju`` does not project,
    becomes ``Stiefel(n, p, "canonical", Cayley())``; ``BirkhoffPolytope`` gets a projection that projects, and the
    metric sum u_ij v_ij / x_ij that its gradient belongs to; in ``Scaled``, vectors are velocities, and the metric is
    that of the base times the square of the scale; ``Lorentz`` transports by projection, and the gradient it is given
    is left as it is.

    Examples
    --------
    >>> import geoopt
    >>> import torch
    >>> from rankopt import minimize
    >>> lorentz = from_geoopt(geoopt.Lorentz(), 3)
    >>> goal = lorentz.random_point(rng=1)
    >>> result = minimize(lambda x: lorentz.dist(x, goal) ** 2, lorentz, method="lbfgs", rng=0)
    >>> bool(torch.allclose(result.x, goal, atol=1e-5))
    True
    """
    _require_geoopt("from_geoopt")
    from manifolds.adapters.geoopt_manifold import wrapped

    return wrapped(manifold, shape, dim)


def to_geoopt(manifold: Manifold) -> Any:
    """Manifold of ours for ``geoopt.ManifoldParameter`` and the optimizers of geoopt.

    Parameters
    ----------
    manifold : ArrayManifold or Product
        A manifold whose points are single arrays, or a product of such, which becomes a ``ProductManifold``: its points
        are flat vectors, which ``pack_point`` and ``unpack_tensor`` convert. Arrays that the manifold holds, such as B,
        must be torch tensors of the parameter's dtype and device; they stay there when a module moves.

    Returns
    -------
    geoopt.Manifold
        With all of its methods. On a manifold known by samples, steps that are too long for its fits become walks of
        shorter ones, which end where the samples do. ``expmap`` is the retraction of second order where no exponential
        map is known in closed form; ``logmap`` and ``dist`` then raise NotImplementedError.

    Raises
    ------
    ImportError
        If geoopt is not installed.
    TypeError
        If the argument is no such manifold, or holds numpy arrays.

    Examples
    --------
    >>> import geoopt
    >>> import torch
    >>> from manifolds import Grassmann
    >>> grassmann = Grassmann(5, 2)
    >>> start = grassmann.random_point(rng=0, like=torch.empty(0))
    >>> basis = geoopt.ManifoldParameter(start, manifold=to_geoopt(grassmann))
    >>> optimizer = geoopt.optim.RiemannianAdam([basis], lr=0.05)
    >>> a = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    >>> for step in range(200):
    ...     optimizer.zero_grad()
    ...     loss = -torch.trace(basis.T @ a @ basis)
    ...     loss.backward()
    ...     _ = optimizer.step()
    >>> round(loss.item(), 3)
    -9.0
    """
    _require_geoopt("to_geoopt")
    from manifolds.adapters.manifold_for_geoopt import presented

    return presented(manifold)


def _require_geoopt(name: str) -> None:
    try:
        import geoopt  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{name} needs geoopt: pip install 'rankopt[geoopt]'") from error
