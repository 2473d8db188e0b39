"""Properties that are computed when they are first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

Value = TypeVar("Value")


class lazy_property(cached_property[Value]):  # noqa: N801  a decorator
    """``functools.cached_property`` without the lock that it takes up to Python 3.11.

    In small problems the lock costs as much as the mathematics behind it.

    Examples
    --------
    >>> class Circle:
    ...     def __init__(self, radius):
    ...         self.radius = radius
    ...     @lazy_property
    ...     def area(self):
    ...         return 3 * self.radius**2
    >>> circle = Circle(2.0)
    >>> circle.area, circle.__dict__
    (12.0, {'radius': 2.0, 'area': 12.0})
    """

    if not TYPE_CHECKING:

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self.attrname] = self.func(instance)
            return value
