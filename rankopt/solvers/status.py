"""Why a run ended."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Why a run ended."""

    CONVERGED_GRADIENT = 0
    CONVERGED_COST = 1
    STEP_TOO_SMALL = 2
    ITERATION_LIMIT = 3
    EVALUATION_LIMIT = 4
    TIME_LIMIT = 5
    APPROXIMATION_FLOOR = 6
    INTERRUPTED = 7
    USER = 8
    NOT_FINITE = 9
    FEASIBLE = 10
    INFEASIBLE = 11

    @property
    def success(self) -> bool:
        """Whether the run reached what it was asked for."""
        return self in _SUCCESSES

    @property
    def message(self) -> str:
        """One sentence for people."""
        return _MESSAGES[self]


_SUCCESSES = {Status.CONVERGED_GRADIENT, Status.CONVERGED_COST, Status.APPROXIMATION_FLOOR, Status.FEASIBLE}
_MESSAGES = {
    Status.CONVERGED_GRADIENT: "The norm of the gradient is below its tolerance.",
    Status.CONVERGED_COST: "The cost has reached its target or changes less than its tolerance.",
    Status.STEP_TOO_SMALL: "No step decreases the cost beyond rounding; check the gradient if its norm is large.",
    Status.ITERATION_LIMIT: "The limit of iterations was reached; allow more, or improve metric or preconditioner.",
    Status.EVALUATION_LIMIT: "The limit of evaluations was reached.",
    Status.TIME_LIMIT: "The limit of time was reached.",
    Status.APPROXIMATION_FLOOR: "The gradient is below the error with which it is known.",
    Status.INTERRUPTED: "Interrupted; this is the best point so far.",
    Status.USER: "Stopped by the callback.",
    Status.NOT_FINITE: "The cost or its gradient is not finite at the start, or wherever a step was tried from here.",
    Status.FEASIBLE: "The constraints hold within their tolerance.",
    Status.INFEASIBLE: (
        "The violation of the constraints no longer falls, whatever its penalty; they may contradict each other, or "
        "the run is stuck at a stationary point of their violation: check them, or start elsewhere."
    ),
}

UNFINISHED = -1
"""What stands in an array of statuses for a problem that goes on."""
