"""An attribute that is computed once, without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class cached_attribute(Generic[T]):  # noqa: N801  (a decorator, like functools.cached_property)
    """``functools.cached_property`` without the lock that it holds in Python 3.11, which ``torch.compile`` refuses."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if self.name not in instance.__dict__:
            instance.__dict__[self.name] = self.function(instance)
        value: T = instance.__dict__[self.name]
        return value
