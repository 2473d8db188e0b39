"""Choices on numbers and, entry by entry, on arrays: one formula for one problem and for a batch of them."""

from __future__ import annotations

from typing import Any

from manifolds.linalg import namespace


def choose(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds, else ``b``."""
    if type(condition) is bool or not getattr(condition, "ndim", 0):  # a bool first, since searches ask often
        return a if condition else b
    return namespace(condition).where(condition, a, b)


def ratio(a: Any, b: Any) -> Any:
    """Quotient a / b, zero where b is zero."""
    if type(b) is float or not getattr(b, "ndim", 0):
        return a / b if b != 0 else 0.0
    return choose(b != 0, a / choose(b != 0, b, 1.0), 0.0)


def at_least(a: Any, lowest: Any) -> Any:
    """The larger of two; the bound where ``a`` is not a number."""
    return choose(a > lowest, a, lowest)


def between(a: Any, lowest: Any, highest: Any) -> Any:
    """``a`` kept between two bounds."""
    return choose(a < highest, at_least(a, lowest), highest)
