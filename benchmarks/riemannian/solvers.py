"""Solvers by name: ours by their public interface, and those of pymanopt, geoopt and scipy.

All get the same numpy functions through an instrument, which ends their runs; limits of their own are out of the way. A
solver is a function ``(instance, start, instrument) -> point or None``; what a direct solver returns is looked at once,
at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pymanopt
import scipy.optimize
import torch

from rankopt import GradientNorm, MaxIterations, minimize

from .instances import Instance
from .instruments import CountedMatrix, Instrument
from .libraries import geoopt

Solver = Callable[[Instance, Any, Instrument], Any]

FOREVER = 10**7
"""Iterations."""
ENDLESS = GradientNorm(relative=1e-15) | MaxIterations(FOREVER)


# --------------------------------------------------------------------------------------------------------- ours
def ours(method: Any, instance: Instance, start: Any, instrument: Instrument) -> Any:
    """``minimize`` with separate callables."""
    return minimize(
        instrument.cost,
        instance.manifold(),
        start,
        method,
        gradient=instrument.gradient,
        hessian=instrument.hessian,
        stopping=ENDLESS,
    ).x


def declared(method: Any, instance: Instance, start: Any, instrument: Instrument) -> Any:
    """``minimize`` of a declared quadratic, whose costs are seen after each step."""
    objective = instance.quadratic(CountedMatrix(instance.matrix, instrument))
    return minimize(
        objective,
        instance.manifold(),
        start,
        method,
        stopping=ENDLESS,
        callback=lambda result: instrument.see(result.fun, result.x),
    ).x


# ----------------------------------------------------------------------------------------------------- pymanopt
def pymanopts(optimizer: Any, instance: Instance, start: Any, instrument: Instrument) -> Any:
    """An optimizer of pymanopt."""
    coordinates = instance.pymanopt()
    manifold, enter, leave, pull, push = (
        getattr(coordinates, name) for name in ("manifold", "enter", "leave", "pull", "push")
    )
    wrap = pymanopt.function.numpy(manifold)

    def native(arguments):  # points that are tuples come as several arguments
        return arguments if len(arguments) > 1 else arguments[0]

    @wrap
    def cost(*z):
        return instrument.cost(leave(native(z)))

    @wrap
    def gradient(*z):
        return pull(native(z), instrument.gradient(leave(native(z))))

    @wrap
    def hessian(*z_and_w):
        z, w = z_and_w
        return pull(z, instrument.hessian(leave(z), push(w)))

    problem = pymanopt.Problem(
        manifold, cost, euclidean_gradient=gradient, euclidean_hessian=None if push is None else hessian
    )
    limits = {"min_gradient_norm": 0.0, "min_step_size": 0.0, "max_time": np.inf, "max_iterations": FOREVER}
    run = optimizer(verbosity=0, max_cost_evaluations=np.inf, **limits).run
    return leave(run(problem, initial_point=enter(start)).point)


# ------------------------------------------------------------------------------------------------------- geoopt
def geoopts(optimizer: Any, instance: Instance, start: Any, instrument: Instrument) -> Any:
    """An optimizer of geoopt, whose closure calls the numpy functions on the memory of its tensors."""
    coordinates = instance.geoopt()
    native = torch.from_numpy(np.array(coordinates.enter(start)))
    x = geoopt.ManifoldParameter(native, manifold=coordinates.manifold)

    def closure():
        z = x.detach().numpy()
        point = coordinates.leave(z)
        value = instrument.cost(point)
        x.grad = torch.from_numpy(np.array(coordinates.pull(z, instrument.gradient(point))))
        return torch.tensor(value, dtype=torch.float64)

    steps = optimizer([x])
    for _ in range(FOREVER):
        steps.step(closure)
    return None


def line_search(parameters: Any) -> Any:
    """geoopt's line search along directions of conjugate gradients."""
    return geoopt.optim.RiemannianLineSearch(parameters, line_search_method="wolfe", cg_method="pr")


def descent(rate: float, parameters: Any) -> Any:
    """Gradient descent with momentum and steps of a fixed length."""
    return geoopt.optim.RiemannianSGD(parameters, lr=rate, momentum=0.9)


def adam(rate: float, parameters: Any) -> Any:
    """Adam with the given rate."""
    return geoopt.optim.RiemannianAdam(parameters, lr=rate)


# -------------------------------------------------------------------------------------------------------- scipy
def quasi_newton(instance: Instance, start: Any, instrument: Instrument) -> Any:
    """scipy's L-BFGS-B in free variables."""
    _, enter, leave, pull, _ = (
        getattr(instance.parametrization, name) for name in ("manifold", "enter", "leave", "pull", "push")
    )

    def value_and_gradient(z):
        point = leave(z)
        return instrument.cost(point), pull(z, instrument.gradient(point))

    limits = {"maxiter": FOREVER, "maxfun": FOREVER, "ftol": 0.0, "gtol": 0.0}
    result = scipy.optimize.minimize(value_and_gradient, enter(start), jac=True, method="L-BFGS-B", options=limits)
    return leave(result.x)


def direct(name: str, instance: Instance, start: Any, instrument: Instrument) -> Any:
    """A solver for this very problem."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LOBPCG warns where its last residual is not below the tolerance
        return instance.direct[name](start, instrument)


# -------------------------------------------------------------------------------------------------- by instance
OURS = {
    "rankopt, default": None,
    "rankopt NewtonCG": "newton-cg",
    "rankopt ConjugateGradient": "conjugate-gradient",
    "rankopt LBFGS": "lbfgs",
    "rankopt GradientDescent": "gradient-descent",
}
"""With Hessian products given, the default is a trust region."""
PYMANOPT = {
    "pymanopt TrustRegions": pymanopt.optimizers.TrustRegions,
    "pymanopt ConjugateGradient": pymanopt.optimizers.ConjugateGradient,
    "pymanopt SteepestDescent": pymanopt.optimizers.SteepestDescent,
}
DECLARED = {
    "rankopt, declared quadratic": None,
    "rankopt LBFGS, declared quadratic": "lbfgs",
    "rankopt TrustRegion, declared quadratic": "trust-region",
}
"""The default for declared quadratics is conjugate gradients."""
RATES = {"geoopt RiemannianSGD": (descent, (1.0, 0.3, 0.1)), "geoopt RiemannianAdam": (adam, (0.3, 0.1, 0.03, 0.01))}
"""Rates that are tried: of SGD in units of the inverse curvature, of Adam as they are."""
LINE_SEARCH, QUASI_NEWTON = "geoopt RiemannianLineSearch", "scipy L-BFGS-B, free variables"
GENERAL = (*OURS, *PYMANOPT, LINE_SEARCH, *RATES, QUASI_NEWTON)
"""Solvers that see functions only."""


def general_solvers(instance: Instance, tune: Callable[[Solver], float]) -> dict[str, Solver]:
    """Solvers that see functions only; rates of geoopt's are those with the least cost by ``tune``."""
    solvers: dict[str, Solver] = {name: partial(ours, method) for name, method in OURS.items()}
    for name, optimizer in PYMANOPT.items():
        if instance.pymanopt().push is not None or optimizer is not pymanopt.optimizers.TrustRegions:
            solvers[name] = partial(pymanopts, optimizer)
    if instance.geoopt is not None:
        solvers[LINE_SEARCH] = partial(geoopts, line_search)
        scales = {"geoopt RiemannianSGD": 1 / curvature(instance), "geoopt RiemannianAdam": 1.0}
        for name, (make, rates) in RATES.items():
            tried = [partial(geoopts, partial(make, scales[name] * rate)) for rate in rates]
            solvers[name] = min(tried, key=tune)
    if instance.parametrization is not None:
        solvers[QUASI_NEWTON] = quasi_newton
    return solvers


def special_solvers(instance: Instance) -> dict[str, Solver]:
    """Solvers that are given the problem's matrices."""
    solvers: dict[str, Solver] = {name: partial(direct, name) for name in instance.direct}
    if instance.quadratic is not None:
        solvers |= {name: partial(declared, method) for name, method in DECLARED.items()}
    return solvers


def curvature(instance: Instance) -> float:
    """Largest curvature of the cost in free space at a start point, by twenty power iterations."""
    x = instance.start(0)
    v = np.random.default_rng(0).standard_normal(x.shape)
    for _ in range(20):
        v = v / np.linalg.norm(v)
        v = instance.functions.hessian(x, v)
    return float(np.linalg.norm(v))
