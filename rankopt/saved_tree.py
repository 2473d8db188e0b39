"""Trees of numbers, arrays and named tuples as JSON, with the arrays aside, and back to the same bits.

A tree is None, a bool, a number, a str, an array of numpy or torch, or a tuple or named tuple of trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from manifolds.linalg import Array, is_numpy_array, is_torch_array, kind, to_numpy


def named_tuples(tree: Any) -> dict[str, type]:
    """Types of the named tuples in a tree, by their signatures."""
    return {signature(type(part)): type(part) for part in _parts(tree) if hasattr(part, "_fields")}


def signature(named_tuple: Any) -> str:
    """Name and fields of a type of named tuples."""
    return f"{named_tuple.__name__}({', '.join(named_tuple._fields)})"


def _parts(tree: Any) -> Iterator[Any]:
    yield tree
    if isinstance(tree, tuple):
        for part in tree:
            yield from _parts(part)


class TreePacker:
    """Turns trees into JSON values, and collects their arrays; one that several places share is kept once.

    Attributes
    ----------
    arrays : list of numpy array
        In the order of C.
    forms : list of dict
        How each lay in memory: ``library``, ``device`` and ``strides``, counted in entries. Products of matrices round
        differently where these differ.
    """

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.forms: list[dict[str, Any]] = []
        self._packed: list[Any] = []

    def pack(self, tree: Any, types: Mapping[str, type] | None = None) -> Any:
        """JSON value of a tree; named tuples become plain ones unless their types are given.

        Raises
        ------
        TypeError
            If it holds something else, or a named tuple of none of the types.
        """
        if isinstance(tree, np.generic) or is_numpy_array(tree) or is_torch_array(tree):
            return {"array": self._number(tree)}
        if tree is None or isinstance(tree, (bool, int, float, str)):
            return tree
        if not isinstance(tree, tuple):
            raise TypeError(
                "a checkpoint holds numbers, arrays of numpy or torch, and named tuples of these, but the run has a "
                f"{type(tree).__name__}"
            )
        parts = [self.pack(part, types) for part in tree]
        if types is None or not hasattr(tree, "_fields"):
            return parts
        name = signature(type(tree))
        if types.get(name) is not type(tree):
            raise TypeError(
                f"a checkpoint cannot hold a {name} that is neither a point nor a tangent vector, nor defined at the "
                "top level of the method's module; define it there"
            )
        return {"named": name, "parts": parts}

    def _number(self, array: Any) -> int:
        for number, known in enumerate(self._packed):
            if known is array:
                return number
        self._packed.append(array)
        self.arrays.append(np.asarray(to_numpy(array), order="C"))
        self.forms.append(_form(array))
        return len(self._packed) - 1


class TreeUnpacker:
    """Makes trees of the JSON values and arrays of a TreePacker."""

    def __init__(self, arrays: Sequence[np.ndarray], forms: Sequence[Mapping[str, Any]]) -> None:
        self._arrays = [_restored(array, **form) for array, form in zip(arrays, forms, strict=True)]

    def unpack(self, packed: Any, types: Mapping[str, Any] | None = None) -> Any:
        """Tree of a JSON value; a ValueError where a named tuple has none of the types."""
        if isinstance(packed, list):
            return tuple(self.unpack(part, types) for part in packed)
        if not isinstance(packed, dict):
            return packed
        if "array" in packed:
            return self._arrays[packed["array"]]
        if types is None or packed["named"] not in types:
            raise ValueError(f"it holds a {packed['named']}, which neither the points nor the method know")
        return types[packed["named"]]._make(self.unpack(part, types) for part in packed["parts"])


def _form(array: Any) -> dict[str, Any]:
    if isinstance(array, np.generic):
        return {"library": "number", "device": "cpu", "strides": []}
    library, _, device = kind(array)
    strides = array.stride() if library == "torch" else [step // array.itemsize for step in array.strides]
    return {"library": library, "device": device, "strides": list(strides)}


def _restored(values: np.ndarray, library: str, device: str, strides: Sequence[int]) -> Array:
    """Array with these values, laid out in memory as the one that was packed."""
    if library == "number":
        return values[()]
    strides = list(strides) if _are_apart(values.shape, strides) else _form(values)["strides"]
    if library == "torch":
        import torch

        tensor = torch.from_numpy(values)
        return torch.empty_strided(values.shape, strides, dtype=tensor.dtype, device=device).copy_(tensor)
    extent = 1 + sum((size - 1) * step for size, step in zip(values.shape, strides, strict=True)) if values.size else 0
    array = as_strided(np.empty(extent, values.dtype), values.shape, [step * values.itemsize for step in strides])
    array[...] = values
    return array


def _are_apart(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether all entries have places of their own, in ascending order."""
    extent = 1
    for step, size in sorted(zip(strides, shape, strict=True)):
        if size > 1 and step < extent:
            return False
        extent += (size - 1) * step
    return min(strides, default=1) > 0
