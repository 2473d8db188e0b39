"""Verdicts of numerical checks, and the slope from which a Taylor expansion is judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manifolds.linalg import machine_epsilon
from manifolds.manifold import Point


@dataclass(frozen=True)
class Verdict:
    """Result of a numerical check; true in a condition if the check was passed.

    Attributes
    ----------
    name : str
        What was checked.
    passed : bool
    message : str
        One sentence with the numbers.
    slope : float or None
        Estimated slope of the error; infinite where the error is at rounding level for every step.
    expected_slope : float or None
    steps, errors : arrays
        What the slope was estimated from.
    parts : tuple of Verdict
        The single checks of which this one is made up.
    """

    name: str
    passed: bool
    message: str
    slope: float | None = None
    expected_slope: float | None = None
    steps: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    errors: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    parts: tuple[Verdict, ...] = ()

    def __bool__(self) -> bool:
        return self.passed

    def raise_if_failed(self) -> Verdict:
        """Raise an AssertionError with the message unless the check was passed; else return the verdict."""
        if not self.passed:
            raise AssertionError(self.message)
        return self

    def plot(self, ax: Any = None) -> Any:
        """Draw the error against the step beside the expected slope, on logarithmic axes, and return the axes."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        for verdict in (*self.parts, self):
            if verdict.errors.size and verdict.errors.max() > 0:
                label = f"{verdict.name}: slope {verdict.slope:.2f}"
                # An error that is zero has no logarithm.
                shown = np.where(verdict.errors > 0, verdict.errors, np.nan)
                line = ax.loglog(verdict.steps, shown, ".-", label=label)[0]
                guide = verdict.errors[-1] * (verdict.steps / verdict.steps[-1]) ** verdict.expected_slope
                keep = guide >= verdict.errors[verdict.errors > 0].min()
                ax.loglog(verdict.steps[keep], guide[keep], "--", color=line.get_color(), alpha=0.5)
        ax.set_xlabel("step t")
        ax.set_ylabel("error of the expansion")
        ax.set_title(("passed" if self.passed else "failed") + ": " + self.name)
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
        return ax


def said(name: str, problem: str | None) -> Verdict:
    """Verdict from a sentence that says what is wrong, or None."""
    return Verdict(name, problem is None, f"{name}: {problem or 'as promised'}")


def close(name: str, formula: str, error: float, scale: float, x: Point) -> Verdict:
    """Verdict on an equation whose sides may differ by half the digits of their scale."""
    limit = max(scale, 1e-300) * machine_epsilon(x) ** 0.5
    return Verdict(name, bool(error <= limit), f"{name}: {formula} is off by {error:.1e} (tolerance {limit:.1e})")


def step_lengths(x: Point) -> np.ndarray:
    """Steps t of a Taylor expansion, from the root of the machine epsilon to about a third."""
    return np.logspace(np.log10(machine_epsilon(x)) / 2, -0.5, 41)


def taylor_verdict(
    name: str, x: Point, steps: np.ndarray, residuals: Iterable[np.ndarray], expected: int, scale: float, sentence: str
) -> Verdict:
    """Verdict from the slope in the decade and a half of steps whose errors first stand clear of rounding."""
    residuals = np.array(list(residuals))
    errors = np.sqrt(np.mean(residuals**2, axis=0))
    if not np.all(np.isfinite(errors)):
        return Verdict(name, False, f"{name}: values along the curve are not finite", None, expected, steps, errors)
    epsilon = machine_epsilon(x)
    floor = max(10 * epsilon * scale, 30 * _rounding(steps, residuals, expected))
    hidden = np.flatnonzero(~(errors > floor))
    first = int(hidden[-1]) + 1 if hidden.size else 0
    window = slice(first, int(np.searchsorted(steps, steps[min(first, len(steps) - 1)] * 30.0, side="right")))
    if len(steps[window]) < 4:
        sentence = f"{name}: the error is at rounding level for every step"
        return Verdict(name, True, sentence, float("inf"), expected, steps, errors)
    slope = float(np.median(np.diff(np.log(errors[window])) / np.diff(np.log(steps[window]))))
    passed = slope > expected - (0.15 if epsilon < 1e-10 else 0.5)
    said = f"{name}: the error falls with slope {slope:.2f}, expected {expected}" + ("" if passed else f": {sentence}")
    return Verdict(name, passed, said, slope, expected, steps, errors)


def _rounding(steps: np.ndarray, residuals: np.ndarray, expected: int) -> float:
    """Rounding in the residuals: what wrong leading terms t, ..., t^(expected - 1) do not explain at small steps."""
    small = steps[:8]
    powers = (small[:, None] / small[-1]) ** np.arange(1, expected)
    values = residuals[:, : len(small)].T
    return float(np.sqrt(np.mean((values - powers @ np.linalg.lstsq(powers, values)[0]) ** 2)))
