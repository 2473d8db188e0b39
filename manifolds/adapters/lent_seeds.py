"""Seeds between our generators and the global ones that libraries draw from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from manifolds.linalg import Array, Seed, as_generator


@contextmanager
def numpy_seed(rng: Seed) -> Iterator[None]:
    """Let numpy's global generator start from a seed of ours, and give its own state back at the end."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(_drawn_seed(rng))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def pymanopt_point(manifold: Any, rng: Seed, like: Array | None = None, batch: Sequence[int] = ()) -> Any:
    """Random point of a manifold of pymanopt, which draws from numpy's global generator."""
    if tuple(batch):
        raise ValueError(f"batch must be empty: pymanopt takes one point at a time, got {tuple(batch)}")
    if like is not None and not (isinstance(like, np.ndarray) and like.dtype == np.float64):
        raise TypeError("like must be a float64 numpy array, with which pymanopt computes")
    with numpy_seed(rng):
        return manifold.random_point()


@contextmanager
def torch_seed(rng: Seed, device: Any = "cpu") -> Iterator[None]:
    """Let torch's global generators start from a seed of ours, and give their own states back at the end."""
    import torch

    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_drawn_seed(rng))
        yield


def torch_generator() -> np.random.Generator:
    """Generator of ours that starts where torch's global one stands, and moves that one on."""
    import torch

    return np.random.default_rng(int(torch.randint(2**32, (1,))))


def _drawn_seed(rng: Seed) -> int:
    """Seed in the range that both libraries take, drawn from a generator."""
    generator = as_generator(rng)
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(2**32))
    import torch

    return int(torch.randint(2**32, (1,), generator=generator, device=generator.device))
