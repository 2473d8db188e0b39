"""Optimization on manifolds: ``minimize``, its methods, line searches and stopping criteria, and pictures of runs.

Low-rank training of networks: ``AdaRankGrad`` and ``GaLore``, imported when first asked for, since they bring torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rankopt import plots
from rankopt.checkpoint import Checkpoint
from rankopt.constrained_run import AugmentedLagrangian
from rankopt.constraints import Constraint, Equality, Inequality
from rankopt.minimize import minimize
from rankopt.minimize_batch import minimize_batch
from rankopt.minimize_constrained import minimize_constrained
from rankopt.quadratic import QuadraticObjective
from rankopt.quadratic_problem import QuadraticProblem
from rankopt.sampled import SampledProblem
from rankopt.scipy_function import ScipyFunction, from_scipy
from rankopt.solvers.conjugate_gradient import (
    BetaRule,
    ConjugateGradient,
    FletcherReeves,
    GradientProducts,
    HagerZhang,
    HestenesStiefel,
    PolakRibiere,
)
from rankopt.solvers.gradient_descent import BarzilaiBorwein, GradientDescent, GrowingStep, StepRule
from rankopt.solvers.lbfgs import LBFGS
from rankopt.solvers.line_search import Armijo, LineSearch, Wolfe
from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.newton_cg import NewtonCG
from rankopt.solvers.progress import BatchProgress, Progress
from rankopt.solvers.status import Status
from rankopt.solvers.stopping import (
    AllOf,
    AnyOf,
    ApproximationFloor,
    CostChange,
    Feasibility,
    GradientNorm,
    MaxEvaluations,
    MaxIterations,
    MaxTime,
    StepSize,
    StoppingCriterion,
    StoppingRule,
    TargetCost,
)
from rankopt.solvers.trust_region import TrustRegion
from rankopt.state import Curve, ObjectiveProblem, Problem, State

if TYPE_CHECKING:
    from rankopt.training.events import RefreshEvent, RefreshLog
    from rankopt.training.memory import LayerMemory, MemoryReport, memory_report
    from rankopt.training.moment_transport import (
        CompletedTransport,
        KeepMoments,
        LinearTransport,
        MassTransport,
        Moments,
        MomentTransport,
        ResetMoments,
        VarianceTransport,
    )
    from rankopt.training.optimizer import SubspaceOptimizer
    from rankopt.training.param_groups import ParameterGroups, param_groups
    from rankopt.training.presets import AdaRankGrad, GaLore
    from rankopt.training.residual import FiraResidual, ResidualRule, ResidualStep, SignResidual
    from rankopt.training.schedule import RefreshSchedule
    from rankopt.training.step import adarankgrad_step

_HOMES = {
    "AdaRankGrad": "presets",
    "CompletedTransport": "moment_transport",
    "FiraResidual": "residual",
    "GaLore": "presets",
    "KeepMoments": "moment_transport",
    "LayerMemory": "memory",
    "LinearTransport": "moment_transport",
    "MassTransport": "moment_transport",
    "MemoryReport": "memory",
    "MomentTransport": "moment_transport",
    "Moments": "moment_transport",
    "ParameterGroups": "param_groups",
    "RefreshEvent": "events",
    "RefreshLog": "events",
    "RefreshSchedule": "schedule",
    "ResetMoments": "moment_transport",
    "ResidualRule": "residual",
    "ResidualStep": "residual",
    "SignResidual": "residual",
    "SubspaceOptimizer": "optimizer",
    "VarianceTransport": "moment_transport",
    "adarankgrad_step": "step",
    "memory_report": "memory",
    "param_groups": "param_groups",
}

__all__ = [
    "LBFGS",
    "AdaRankGrad",
    "AllOf",
    "AnyOf",
    "ApproximationFloor",
    "Armijo",
    "AugmentedLagrangian",
    "BarzilaiBorwein",
    "BatchProgress",
    "BetaRule",
    "Checkpoint",
    "CompletedTransport",
    "ConjugateGradient",
    "Constraint",
    "Context",
    "CostChange",
    "Curve",
    "Equality",
    "Feasibility",
    "FiraResidual",
    "FletcherReeves",
    "GaLore",
    "GradientDescent",
    "GradientNorm",
    "GradientProducts",
    "GrowingStep",
    "HagerZhang",
    "HestenesStiefel",
    "Inequality",
    "KeepMoments",
    "LayerMemory",
    "LineSearch",
    "LinearTransport",
    "MassTransport",
    "MaxEvaluations",
    "MaxIterations",
    "MaxTime",
    "MemoryReport",
    "Method",
    "MomentTransport",
    "Moments",
    "NewtonCG",
    "ObjectiveProblem",
    "ParameterGroups",
    "PolakRibiere",
    "Problem",
    "Progress",
    "QuadraticObjective",
    "QuadraticProblem",
    "RefreshEvent",
    "RefreshLog",
    "RefreshSchedule",
    "ResetMoments",
    "ResidualRule",
    "ResidualStep",
    "SampledProblem",
    "ScipyFunction",
    "SignResidual",
    "State",
    "Status",
    "Step",
    "StepRule",
    "StepSize",
    "StoppingCriterion",
    "StoppingRule",
    "SubspaceOptimizer",
    "TargetCost",
    "TrustRegion",
    "VarianceTransport",
    "Wolfe",
    "adarankgrad_step",
    "from_scipy",
    "memory_report",
    "minimize",
    "minimize_batch",
    "minimize_constrained",
    "param_groups",
    "plots",
]


def __getattr__(name: str) -> Any:
    """Import a name of the training part when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rankopt' has no attribute {name!r}")
    return getattr(import_module(f"rankopt.training.{_HOMES[name]}"), name)
