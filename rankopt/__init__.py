"""Optimization on manifolds: ``minimize``, its methods, line searches and stopping criteria, and pictures of runs."""

from rankopt import plots
from rankopt.minimize import minimize
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
from rankopt.solvers.line_search import Armijo, LineSearch, Wolfe
from rankopt.solvers.method import Context, Method, Step
from rankopt.solvers.stopping import (
    AllOf,
    AnyOf,
    CostChange,
    GradientNorm,
    MaxEvaluations,
    MaxIterations,
    MaxTime,
    Progress,
    Status,
    StepSize,
    StoppingCriterion,
    TargetCost,
)
from rankopt.state import Curve, ObjectiveProblem, Problem, State

__all__ = [
    "AllOf",
    "AnyOf",
    "Armijo",
    "BarzilaiBorwein",
    "BetaRule",
    "ConjugateGradient",
    "Context",
    "CostChange",
    "Curve",
    "FletcherReeves",
    "GradientDescent",
    "GradientNorm",
    "GradientProducts",
    "GrowingStep",
    "HagerZhang",
    "HestenesStiefel",
    "LineSearch",
    "MaxEvaluations",
    "MaxIterations",
    "MaxTime",
    "Method",
    "ObjectiveProblem",
    "PolakRibiere",
    "Problem",
    "Progress",
    "State",
    "Status",
    "Step",
    "StepRule",
    "StepSize",
    "StoppingCriterion",
    "TargetCost",
    "Wolfe",
    "minimize",
    "plots",
]
