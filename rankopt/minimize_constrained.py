"""Minimization of a function on a manifold under constraints, in the manner of ``minimize``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from scipy.optimize import OptimizeResult

from manifolds.linalg import Array, Seed
from manifolds.manifold import Manifold, Point
from manifolds.objective import as_objective
from rankopt.augmented_lagrangian import AugmentedProblem
from rankopt.checkpoint import Checkpoint
from rankopt.constrained_run import AugmentedLagrangian, ConstrainedRun
from rankopt.constraints import Constraint, Constraints
from rankopt.minimize import file_of, method_of
from rankopt.solvers.parameters import require_instance
from rankopt.solvers.stopping import CostChange, Feasibility, GradientNorm, MaxIterations, StoppingCriterion
from rankopt.state import ObjectiveProblem, Problem


def minimize_constrained(
    objective: Any,
    manifold: Manifold,
    constraints: Constraint | Sequence[Constraint],
    x0: Point = None,
    method: AugmentedLagrangian | None = None,
    *,
    gradient: Callable[..., Any] | bool | None = None,
    hessian: Callable[..., Any] | None = None,
    preconditioner: Callable[[Point, Point], Point] | None = None,
    multipliers: Sequence[Array] | None = None,
    stopping: StoppingCriterion | None = None,
    callback: Callable[[OptimizeResult], Any] | None = None,
    rng: Seed = None,
    progress: bool | str = False,
    checkpoint: Checkpoint | None = None,
) -> OptimizeResult:
    """Minimize a function f(x) over the points x of a manifold with h(x) = 0 and g(x) <= 0.

    At a solution the constraints hold and grad f(x) + Dh(x)^T y + Dg(x)^T z vanishes on the tangent space for
    multipliers y and z >= 0, with z zero where g(x) < 0.

    Parameters
    ----------
    objective : callable or object
        As for ``minimize``, with Euclidean derivatives.
    manifold : Manifold
    constraints : Equality, Inequality or sequence of them
        Their values should be of the order of one, since tolerances are in their units.
    x0 : point, optional
        Start point, feasible or not; a random one when left out.
    method : AugmentedLagrangian, optional
    gradient, hessian, preconditioner
        As for ``minimize``.
    multipliers : sequence of arrays, optional
        First multipliers, one array for each constraint, such as ``multipliers`` of a former result; zero by default.
    stopping : StoppingCriterion, optional
        Criteria combined with ``|`` and ``&``, asked after every minimization; limits of time and evaluations are kept
        within them too. By default ``GradientNorm() & Feasibility() | CostChange(iterations=3) & Feasibility() |
        MaxIterations(50)``, where the gradient is that of the Lagrangian, and its norm at the start that of the first
        augmented Lagrangian.
    callback : callable, optional
        Called with the intermediate result after every minimization; raising StopIteration ends the run.
    rng : None, int or generator
        Where the random start point comes from.
    progress : bool or str
        Whether to show a progress bar; a string is its label.
    checkpoint : Checkpoint, optional
        File to which the run writes its state now and then, within minimizations too, and from which it goes on where
        the file exists. It belongs to the number and the kinds of the constraints as well; ``multipliers`` then come
        from it.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x``; ``fun``, the cost f(x); ``multipliers``, a tuple with an array for each constraint; ``grad_norm``, the
        norm of the Lagrangian's gradient with them; ``constraint_violation``, the largest abs(h(x)) or g(x);
        ``complementarity``, the largest slack -g(x) of an inequality with a positive multiplier; ``penalty``; ``nit``,
        the number of minimizations, and ``inner_nit``, that of all their steps; true counts ``nfev``, ``ngev``,
        ``nhev`` of the cost and ``constr_nfev``, ``constr_ngev``, ``constr_nhev`` of all constraints; ``success``;
        ``status`` (a Status); ``message``; ``history``, a mapping of equally long arrays ``fun``, ``grad_norm``,
        ``constraint_violation``, ``complementarity``, ``penalty``, ``step_size`` (how far the point moved), ``time``,
        ``inner_nit`` and the counts, one entry per minimization from the start point on. ``Status.INFEASIBLE`` says
        that the violation no longer falls. Ctrl-C ends the run with the point at which the latest augmented Lagrangian
        is least so far, and ``Status.INTERRUPTED``.

    Raises
    ------
    ValueError
        If the start point is far off the manifold or has the wrong shape, cost or constraints are not finite there, or
        gradients or multipliers have the wrong shape, or the checkpoint's file is another problem's or none of a run.
    OSError
        If the checkpoint's file cannot be written when the run starts.
    TypeError
        If arguments are of the wrong type, or libraries, dtypes or devices are mixed.

    Notes
    -----
    A run goes on from a former result by ``x0=former.x, multipliers=former.multipliers,
    method=AugmentedLagrangian(penalty=former.penalty)``.

    References
    ----------
    Liu, Boumal, Simple algorithms for optimization on Riemannian manifolds with constraints, Appl. Math. Optim. 82
    (2020), Algorithm 1.

    Examples
    --------
    The point of the sphere without negative entries that is nearest to a given one:

    >>> import numpy as np
    >>> from manifolds import Sphere
    >>> from rankopt import Inequality
    >>> target, not_negative = np.array([0.6, -0.4, 0.8]), Inequality(lambda x: -x, lambda x, y: -y)
    >>> result = minimize_constrained(
    ...     lambda x: -target @ x, Sphere(3), not_negative, gradient=lambda x: -target, rng=0
    ... )
    >>> result.x.round(4) + 0.0, result.multipliers[0].round(4) + 0.0
    (array([0.6, 0. , 0.8]), array([0. , 0.4, 0. ]))
    """
    method = AugmentedLagrangian() if method is None else method
    require_instance("method", method, AugmentedLagrangian, 'AugmentedLagrangian(inner="lbfgs")')
    if not isinstance(manifold, Manifold):
        raise TypeError(f"manifold must be a Manifold, got {type(manifold).__name__}")
    if isinstance(objective, Problem) or getattr(objective, "riemannian", False):
        raise TypeError(
            "objective must have Euclidean derivatives, to which those of the constraints are added, got "
            f"{type(objective).__name__}"
        )
    for name, value in (("preconditioner", preconditioner), ("callback", callback)):
        if not (value is None or callable(value)):
            raise TypeError(f"{name} must be a callable, got {type(value).__name__}")
    if stopping is None:
        stopping = GradientNorm() & Feasibility() | CostChange(iterations=3) & Feasibility() | MaxIterations(50)
    require_instance("stopping", stopping, StoppingCriterion, "GradientNorm() & Feasibility()")
    members = _as_constraints(constraints)
    cost = as_objective(objective, gradient, hessian)
    kinds = ", ".join(type(member).__name__ for member in members.members)
    inner = method_of(method.inner)
    outer = repr(replace(method, inner=inner))
    described = {"problem": AugmentedProblem.__name__, "constraints": kinds, "augmented Lagrangian": outer}
    file = file_of(checkpoint, manifold, inner, preconditioner, described)
    run = ConstrainedRun(method, stopping, preconditioner, callback, progress, file)
    problem = ObjectiveProblem(cost, manifold)
    return run.to_end(problem, members, manifold.random_point(rng) if x0 is None else x0, multipliers)


def _as_constraints(constraints: Any) -> Constraints:
    members = [constraints] if isinstance(constraints, Constraint) else constraints
    if not isinstance(members, (list, tuple)):
        raise TypeError(f"constraints must be an Equality, an Inequality or a list of them, got {members!r}")
    for i, member in enumerate(members):
        require_instance(f"constraints[{i}]", member, Constraint, "Inequality(lambda x: -x)")
    if not members:
        raise ValueError("constraints must not be empty; minimize solves problems without them")
    return Constraints(members)
