"""Fixtures of the tests on two views of one data set."""

from __future__ import annotations

import pytest

from tests.manifolds.arrays import KINDS, Kind


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    """Library and dtype."""
    return request.param


@pytest.fixture(params=["numpy", "torch"])
def double(request):
    """Kinds of double precision."""
    return Kind(request.param, "float64")
