"""The zoo on a CUDA device: equal to numpy to rounding, and nothing leaves the device."""

import pytest
import torch

from manifolds import CountSketch, GaussianSketch, SketchedGramPreconditioner, check_manifold
from tests.arrays import Kind, assert_close, kind_of, leaves, size, tree
from tests.manifolds.zoo import ZOO, Case, methods

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ZOO)
def test_every_method_equals_numpy_and_stays_on_the_device(name, dtype):
    for batch in ((), (2, 3)):
        ours, theirs = Case(name, Kind("numpy", dtype), batch), Case(name, Kind("torch", dtype, "cuda"), batch)
        copies = {key: tree(theirs.kind, value) for key, value in ours.inputs.items()}
        for method, function in methods(ours.member).items():
            expected, result = function(ours.manifold, ours.inputs), function(theirs.manifold, copies)
            assert_close(result, expected, 10 * ours.rounding, scale=max(1.0, size(expected)))
            assert all(kind_of(leaf) == theirs.kind for leaf in leaves(result)), method


@pytest.mark.parametrize("name", ["stiefel-cholesky-qr", "grassmann", "generalized-dense", "product"])
def test_protocol(name):
    kind = Kind("torch", "float64", "cuda")
    check_manifold(ZOO[name].build(kind), rng=0, like=kind.like).raise_if_failed()


@pytest.mark.parametrize("sketch", [CountSketch(40, 1), GaussianSketch(40, 1)], ids=str)
def test_sketches(sketch):
    kind = Kind("torch", "float64", "cuda")
    rows = torch.randn(300, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    on_device = sketch.apply(kind(rows))
    assert kind_of(on_device) == kind
    assert_close(on_device, sketch.apply(rows), 1e-12)
    m = SketchedGramPreconditioner(on_device)
    assert_close(m.solve(m.apply(kind(rows.T))), rows.T, 1e-10)


def test_points_of_another_device_are_refused():
    kind = Kind("torch", "float64", "cuda")
    manifold = ZOO["generalized-dense"].build(kind)
    with pytest.raises(TypeError, match="point and B must agree in library, dtype and device"):
        manifold.at(manifold.random_point(0).cpu())
