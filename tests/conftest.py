"""What all tests share: one thread, since matrices are small and tests run side by side, and the kinds of arrays."""

import pytest
import torch
from threadpoolctl import threadpool_limits

from tests.arrays import KINDS, Kind


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    """Library and dtype."""
    return request.param


@pytest.fixture(params=["numpy", "torch"])
def double(request):
    """Kinds of double precision."""
    return Kind(request.param, "float64")
