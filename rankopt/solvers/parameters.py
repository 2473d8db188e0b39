"""Checks of the parameters of methods, line searches and stopping criteria."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any


def require_at_least(name: str, value: Any, lowest: float, *, whole: bool = False) -> None:
    """Raise an error unless the value is a number, a whole one if asked for, that is at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise TypeError(f"{name} must be {'an integer' if whole else 'a number'}, got {value!r}")
    if not float(value) >= lowest:
        raise ValueError(f"{name} must be at least {lowest}, got {value!r}")


def require_positive(name: str, value: Any) -> None:
    """Raise an error unless the value is a positive and finite number."""
    require_at_least(name, value, 0)
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive and finite, got {value!r}")


def require_instance(name: str, value: Any, kind: type, example: str) -> None:
    """Raise a TypeError unless the value is an instance of a class; a class itself is not one."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__} such as {example}, got {value!r}")
