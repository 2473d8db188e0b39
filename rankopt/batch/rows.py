"""Nested tuples of arrays whose first axis runs over problems: one row per problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manifolds.linalg import Array, expand, namespace


def map_arrays(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply a function to corresponding arrays of nested tuples; named tuples keep their types."""
    if isinstance(tree, tuple):
        parts = [map_arrays(function, *entries) for entries in zip(tree, *others, strict=True)]
        return tree._make(parts) if hasattr(tree, "_make") else tuple(parts)
    return function(tree, *others)


def first_array(tree: Any) -> Array:
    """The first array of nested tuples."""
    return first_array(tree[0]) if isinstance(tree, tuple) else tree


def select(mask: Array, new: Any, old: Any) -> Any:
    """Rows of ``new`` where the mask holds, else those of ``old``."""
    where = namespace(mask).where
    return map_arrays(lambda a, b: b if a is b else where(expand(mask, a.ndim - 1), a, b), new, old)


def take(tree: Any, index: Any) -> Any:
    """Rows with these numbers, where a mask holds, or of a slice."""
    return map_arrays(lambda array: array[index], tree)


def put(tree: Any, index: Array, rows: Any) -> Any:
    """Copy in which the rows with these numbers are replaced."""

    def replaced(array: Array, values: Array) -> Array:
        array = namespace(array).asarray(array, copy=True)
        array[index] = values
        return array

    return map_arrays(replaced, tree, rows)


def stack(first: Any, second: Any) -> Any:
    """Rows of one below those of another."""
    return map_arrays(lambda a, b: namespace(a).concat([a, b]), first, second)


def all_finite(tree: Any) -> Array:
    """Whether all entries of each row are finite, shape ``(m,)``."""
    parts: list[Array] = []

    def look(array: Array) -> None:
        xp = namespace(array)
        parts.append(xp.all(xp.reshape(xp.isfinite(array), (array.shape[0], -1)), axis=1))

    map_arrays(look, tree)
    finite = parts[0]
    for part in parts[1:]:
        finite = finite & part
    return finite
