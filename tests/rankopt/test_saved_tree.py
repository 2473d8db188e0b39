"""Trees to JSON and arrays, and back: values, types, places in memory and what is shared."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch

from rankopt.saved_tree import TreePacker, TreeUnpacker, named_tuples, signature


class Pair(NamedTuple):
    first: object
    second: object


def round_trip(tree, types=None):
    packer = TreePacker()
    packed = json.loads(json.dumps(packer.pack(tree, types)))
    forms = json.loads(json.dumps(packer.forms))
    return TreeUnpacker([np.array(array) for array in packer.arrays], forms).unpack(packed, types)


BASE = np.random.default_rng(0).standard_normal((4, 6))
LAYOUTS = {
    "rows": lambda a: a,
    "columns": lambda a: a.T,
    "some columns": lambda a: a[:, 1:3],
    "every other": lambda a: a[::2, ::3],
    "one column": lambda a: a[:, 2:3],
    "one row": lambda a: a[1:2],
    "batch of transposed": lambda a: a.reshape(2, 3, 4).swapaxes(-1, -2),
    "number": lambda a: a[1, 2, ...],
    "empty": lambda a: a[:, :0],
    "nothing": lambda a: a[:0].reshape(0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_values_and_strides(dtype, library, layout):
    array = (10 * BASE).astype(dtype)
    array = LAYOUTS[layout](torch.from_numpy(array) if library == "torch" else array)
    back = round_trip(array)
    assert type(back) is type(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    if np.prod(array.shape):
        strides = (lambda a: a.stride()) if library == "torch" else (lambda a: a.strides)
        assert strides(back) == strides(array)
    back[...] = 0  # it owns its memory
    np.testing.assert_array_equal(array, LAYOUTS[layout]((10 * BASE).astype(dtype)))


@pytest.mark.parametrize(
    "array",
    [BASE[::-1], np.broadcast_to(BASE[0], (3, 6)), torch.ones(3, 1).expand(3, 4)],
    ids=["back", "wide", "torch"],
)
def test_entries_that_have_no_places_of_their_own_get_some(array):
    back = round_trip(array)
    np.testing.assert_array_equal(back, array)
    back[0, 0] = 7
    assert np.sum(np.asarray(back) == 7) == 1


def test_numbers_keep_type_and_sign():
    tree = (None, True, 3, -0.0, float("inf"), "word", np.float32(0.1), np.float64(0.1), np.int64(2), 1e-308, 0.1 + 0.2)
    back = round_trip(tree)
    assert back == tree
    assert list(map(type, back)) == list(map(type, tree))
    assert np.signbit(back[3])
    assert np.isnan(round_trip(float("nan")))


def test_arrays_that_are_shared_stay_so():
    packer = TreePacker()
    packed = [packer.pack((BASE, (BASE, 1.0))), packer.pack(BASE)]
    assert len(packer.arrays) == 1
    unpacker = TreeUnpacker(packer.arrays, packer.forms)
    (first, (second, _)), third = map(unpacker.unpack, packed)
    assert first is second is third
    assert first is not BASE


def test_named_tuples_keep_their_types_where_these_are_given():
    tree = (Pair(BASE, Pair(1, ())), 2.0)
    assert named_tuples(tree) == {"Pair(first, second)": Pair}
    assert signature(Pair) == "Pair(first, second)"
    back = round_trip(tree, named_tuples(tree))
    assert type(back) is tuple
    assert type(back[0]) is type(back[0].second) is Pair
    plain = round_trip(tree)
    assert type(plain[0]) is tuple
    assert plain[0][1] == (1, ())
    with pytest.raises(TypeError, match=r"a checkpoint cannot hold a Pair\(first, second\) that is neither a point"):
        TreePacker().pack(tree, {})
    packed = TreePacker().pack(Pair(1, 2), named_tuples(tree))
    with pytest.raises(ValueError, match=r"it holds a Pair\(first, second\), which neither the points nor the method"):
        TreeUnpacker((), ()).unpack(packed, {})


@pytest.mark.parametrize("tree", [[1.0], {"a": 1}, {1}, 1j, object(), b"bytes", (1, [2])])
def test_what_does_not_fit(tree):
    with pytest.raises(TypeError, match="a checkpoint holds numbers, arrays of numpy or torch, and named tuples of"):
        TreePacker().pack(tree)
