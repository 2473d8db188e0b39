"""Fixtures of the generic suite: every manifold of the zoo in every kind of array, single and batched."""

import pytest

from tests.arrays import DOUBLE
from tests.manifolds.zoo import ZOO, Case


@pytest.fixture(params=ZOO)
def name(request):
    """Name of a manifold of the zoo."""
    return request.param


@pytest.fixture(params=[(), (2, 3)], ids=["single", "batched"])
def batch(request):
    """Leading dimensions."""
    return request.param


@pytest.fixture
def case(name, kind, batch):
    """A manifold with points and vectors, single or batched."""
    return Case(name, kind, batch)


@pytest.fixture
def single(name, kind):
    """A manifold with a single point."""
    return Case(name, kind)


@pytest.fixture
def double(name):
    """A manifold with a single point in numpy float64, where differences of values are accurate."""
    return Case(name, DOUBLE)
