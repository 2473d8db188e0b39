"""Passes on a device: few large blocks, few reads of the host, and single precision as good as on the processor."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from manifolds import CountSketch
from problems import CCA, PairedViews
from problems.labelled_data import LabelledData
from problems.row_passes import DeviceRows, MemoryRows, row_passes
from problems.two_sided_lobpcg import two_sided_lobpcg
from problems.view_preconditioners import view_preconditioners
from tests.arrays import to_float64
from tests.problems.views import canonical_oracle, correlated_views, dense_covariances

A, B = (np.random.default_rng(1).standard_normal((d, 2)) for d in (6, 5))


class Operations(TorchDispatchMode):
    """Counts torch's operations by name while it is entered."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[str(function)] += 1
        return function(*args, **(kwargs or {}))


def on_device(n, dtype=torch.float64, **options):
    """Views of the processor whose passes are those of a device."""
    x, y = (torch.tensor(view).to(dtype) for view in correlated_views(n))
    data = PairedViews(x, y, **options)
    data.rows = DeviceRows([x, y], [data.views[0].weights], options.get("block_rows"))
    return data


def test_tensors_elsewhere_are_read_in_blocks_of_a_device():
    for dtype in (torch.float32, torch.float64):
        rows = row_passes([torch.empty((100_000, 300), dtype=dtype, device="meta")])
        assert type(rows) is DeviceRows
        assert type(row_passes([torch.empty((10, 3), dtype=dtype)])) is MemoryRows
        assert rows.block_rows >= 8192
    assert type(row_passes([np.ones((10, 3))])) is MemoryRows


@pytest.mark.parametrize(
    ("columns", "dtype", "small", "large"),
    [(300, torch.float64, 111_848, 111_848), (300, torch.float32, 8192, 4096), (10**7, torch.float64, 64, 64)],
)
def test_sizes_of_blocks(columns, dtype, small, large):
    """256 MB in double precision whatever is asked for; in single precision 8192 rows at most, or what is asked for."""
    rows = row_passes([torch.empty((10**6, columns), dtype=dtype, device="meta")])
    assert (rows.block_rows, next(rows.blocks(0, 10**6)).stop) == (small, small)
    assert next(rows.blocks(0, 10**6, 4096)).stop == large


@pytest.mark.parametrize("block_rows", [None, 16])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_results_are_those_of_the_processor(weighted, dtype, block_rows):
    n = 20_000
    weights = np.random.default_rng(0).uniform(size=n) if weighted else None
    data = on_device(n, dtype, sample_weight=weights, block_rows=block_rows, reg=0.1)
    x, y = correlated_views(n)
    expected = PairedViews(x, y, sample_weight=weights, reg=0.1)
    tolerance = {"rtol": 0, "atol": 1e-10 if dtype == torch.float64 else 1e-5}
    for actual, wanted in (
        (data.products(*(torch.tensor(part).to(dtype) for part in (A, B))), expected.products(A, B)),
        (data.covariances(), expected.covariances()),
        (data.sketch(CountSketch(40)), expected.sketch(CountSketch(40))),
        ([part.mean for part in data.moments], [part.mean for part in expected.moments]),
    ):
        for one, other in zip(actual, wanted, strict=True):
            np.testing.assert_allclose(to_float64(one), other, **tolerance)


def test_the_operations_of_a_pass_do_not_grow_with_the_rows():
    counts = []
    for n in (300, 30_000):
        data = on_device(n)
        data.moments  # noqa: B018 - known before the pass
        with Operations() as operations:
            data.products(torch.tensor(A), torch.tensor(B))
            data.covariances()
        counts.append(sum(operations.counts.values()))
    assert counts[1] <= counts[0] + 5


def test_class_statistics_take_few_operations():
    counts = []
    for n in (300, 30_000):
        x, codes = torch.tensor(correlated_views(n)[0]), np.arange(n) % 3
        data = LabelledData(x, codes, 3)
        data.rows = DeviceRows([x], [codes, torch.tensor(codes), None, None])
        with Operations() as operations:
            data.statistics()
            data.product(torch.tensor(A))
        counts.append(sum(operations.counts.values()))
    assert counts[0] == counts[1]


def test_iterations_read_no_scalars():
    """All that an iteration needs of the device comes in two transfers of small arrays."""
    counts = []
    for max_iter in (2, 8):
        data = on_device(2000)
        metrics = view_preconditioners(data, "identity", 2, np.random.default_rng(0)).metrics
        with Operations() as operations:
            run = two_sided_lobpcg(data, 2, metrics, tol=0.0, max_iter=max_iter, oversampling=0, rng=0)
        assert run.n_iter == max_iter
        counts.append(sum(count for name, count in operations.counts.items() if "scalar" in name or "nonzero" in name))
    assert counts[0] == counts[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_transfers_of_an_iteration():
    x, y = (torch.tensor(view, device="cuda") for view in correlated_views(20_000, 40, 30))
    counts = []
    for max_iter in (2, 8):
        data = PairedViews(x, y)
        metrics = view_preconditioners(data, "identity", 2, np.random.default_rng(0)).metrics
        data.moments  # noqa: B018 - known before the run
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            run = two_sided_lobpcg(data, 2, metrics, tol=0.0, max_iter=max_iter, rng=0)
            torch.cuda.synchronize()
        assert run.n_iter == max_iter
        counts.append(sum("DtoH" in event.name for event in profiler.events()))
    assert counts[1] - counts[0] <= 2 * 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("condition", [30.0, 100.0, 300.0])
@pytest.mark.parametrize(("solver", "dy"), [("lobpcg", 30), ("riemannian", 30), ("trust-region", 30), ("block-pcg", 4)])
def test_single_precision_on_a_device(solver, dy, condition):
    views = correlated_views(60_000, 40, dy, condition=condition)
    wide, single = (
        CCA(3, solver=solver, random_state=0).fit(*(torch.tensor(view, device="cuda").to(dtype) for view in views))
        for dtype in (torch.float64, torch.float32)
    )
    assert single.n_passes_ <= 1.5 * wide.n_passes_
    assert single.status_.success
    expected = canonical_oracle(*dense_covariances(*views))[0]
    np.testing.assert_allclose(to_float64(wide.correlations_), expected[:3], atol=1e-9)
    np.testing.assert_allclose(to_float64(single.correlations_), expected[:3], atol=1e-5)
