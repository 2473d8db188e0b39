"""Properties that are computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class lazy_property(Generic[Value]):  # noqa: N801  a decorator
    """``functools.cached_property`` without the lock that it takes up to Python 3.11.

    In small problems the lock costs as much as the mathematics behind it, and ``torch.compile`` refuses it.

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

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Value:
        # Asked for once only: from then on the entry of the instance's dictionary comes first.
        if instance is None:
            return self  # type: ignore[return-value]
        value: Value = self.function(instance)
        instance.__dict__[self.name] = value
        return value
