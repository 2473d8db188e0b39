"""The formulas are the array API standard's: they run on its strictest implementation and agree with numpy."""

import array_api_strict
import numpy as np
import pytest

from manifolds import Sphere, Stiefel
from tests.arrays import Kind, assert_close, kind_of, leaves, size, tree
from tests.manifolds.zoo import ZOO, Case, methods

DTYPES = ("float32", "float64")
BATCHES = ((), (2,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES, ids=("single", "batched"))
@pytest.mark.parametrize("name", ZOO)
def test_formulas_agree_with_numpy(name, batch, dtype):
    case = Case(name, Kind("numpy", dtype), batch)
    strict = Case(name, Kind("array_api_strict", dtype), batch)
    inputs = {key: tree(strict.kind, value) for key, value in case.inputs.items()}
    for method, function in methods(case.member).items():
        result, expected = function(strict.manifold, inputs), function(case.manifold, case.inputs)
        assert {kind_of(leaf) for leaf in leaves(result)} == {strict.kind}, method
        assert_close(result, expected, case.rounding, scale=max(size(expected), 1.0))


@pytest.mark.parametrize("name", ZOO)
def test_random_points_are_those_of_numpy(name):
    kinds = Kind("numpy", "float64"), Kind("array_api_strict", "float64")
    manifolds = [ZOO[name].build(kind) for kind in kinds]
    expected, x = (
        manifold.random_point(rng=0, like=kind.like) for manifold, kind in zip(manifolds, kinds, strict=True)
    )
    assert_close(x, expected, 1e-12)
    assert manifolds[1].check_point(x) is None
    v = manifolds[1].random_tangent_vector(x, rng=1)
    assert_close(v, manifolds[0].random_tangent_vector(expected, rng=1), 1e-10)


def test_points_off_the_manifold_are_described():
    x = 2 * array_api_strict.eye(4, dtype=array_api_strict.float64)[:, :2]
    assert "off by 3.0e+00" in Stiefel(4, 2).check_point(x)


def test_other_objects_are_refused_as_ever():
    with pytest.raises(TypeError, match="array"):
        Stiefel(3, 1).projection([[1.0], [0.0], [0.0]], np.ones((3, 1)))


def test_libraries_are_not_mixed():
    with pytest.raises(TypeError):
        Sphere(3).projection(array_api_strict.asarray([1.0, 0.0, 0.0]), np.ones(3))
