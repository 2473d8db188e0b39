"""Kinds of arrays that the tests run on, trees of arrays, and matrices of a wanted condition number."""

from dataclasses import dataclass
from functools import cached_property

import array_api_strict
import numpy as np
import torch

from manifolds.low_rank import FactoredMatrix


@dataclass(frozen=True)
class Kind:
    """Library, dtype and device of arrays."""

    library: str
    dtype: str
    device: str = "cpu"

    def __str__(self):
        return f"{self.library}-{self.dtype}" + ("" if self.device == "cpu" else f"-{self.device}")

    def __call__(self, values):
        """Array (or tree of arrays) of this kind with these values."""
        if isinstance(values, tuple):
            return type(values)._make(map(self, values))
        if self.library == "torch":
            return torch.tensor(np.array(values), dtype=getattr(torch, self.dtype), device=self.device)
        if self.library == "array_api_strict":
            return array_api_strict.asarray(np.array(values, dtype=self.dtype))
        return np.array(values, dtype=self.dtype)

    @cached_property
    def like(self):
        """Empty array of this kind."""
        return self(np.empty(0))

    @property
    def eps(self):
        return float(np.finfo(self.dtype).eps)


KINDS = [Kind(library, dtype) for library in ("numpy", "torch") for dtype in ("float32", "float64")]
DOUBLE = Kind("numpy", "float64")


def kind_of(array):
    """Kind of an array or a numpy scalar."""
    if isinstance(array, torch.Tensor):
        return Kind("torch", str(array.dtype).removeprefix("torch."), array.device.type)
    if hasattr(array, "__array_namespace__") and not isinstance(array, (np.ndarray, np.generic)):
        return Kind("array_api_strict", str(array.dtype).removeprefix("array_api_strict."))
    assert isinstance(array, (np.ndarray, np.generic)), type(array)
    return Kind("numpy", str(array.dtype))


def leaves(x):
    """Arrays of a point or tangent vector, in order; of factors, the matrix that they stand for."""
    if isinstance(x, FactoredMatrix):
        return [x.to_dense()]
    return [leaf for part in x for leaf in leaves(part)] if isinstance(x, tuple) else [x]


def parts(x):
    """Arrays that a point or tangent vector is kept in, in order."""
    return [array for part in x for array in parts(part)] if isinstance(x, tuple) else [x]


def tree(function, *xs):
    """Apply a function to corresponding arrays of points."""
    if isinstance(xs[0], tuple):
        return type(xs[0])._make(tree(function, *parts) for parts in zip(*xs, strict=True))
    return function(*xs)


def by_matrix(function, *xs):
    """As ``tree``, but factors that stand for a matrix are handed over together."""
    if isinstance(xs[0], tuple) and not isinstance(xs[0], FactoredMatrix):
        return type(xs[0])._make(by_matrix(function, *parts) for parts in zip(*xs, strict=True))
    return function(*xs)


def to_float64(array):
    """Values as a numpy float64 array."""
    return np.asarray(array.detach().cpu() if isinstance(array, torch.Tensor) else array, dtype=np.float64)


def flat(x, batch=()):
    """All entries of each point of a batch as one vector, shape ``(*batch, size)``, numpy float64."""
    return np.concatenate([to_float64(leaf).reshape(*batch, -1) for leaf in leaves(x)], axis=-1)


def entry(x, index):
    """One entry of a batch of points."""
    return tree(lambda leaf: leaf[index], x)


def size(x):
    """Largest absolute entry of all arrays."""
    return float(np.max(np.abs(flat(x))))


def assert_close(actual, desired, relative, scale=None):
    """Assert that two trees of arrays agree to ``relative`` times ``scale`` (the largest entry of ``desired``)."""
    actual, desired = flat(actual), flat(desired)
    assert actual.shape == desired.shape
    scale = max(float(np.max(np.abs(desired))), 1e-300) if scale is None else scale
    np.testing.assert_allclose(actual / scale, desired / scale, rtol=0, atol=relative)


def orthogonal(n, rng):
    """Random orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def spd(n, condition, seed):
    """Symmetric positive definite matrix of order n whose eigenvalues fall from 1 to 1 / condition."""
    q = orthogonal(n, np.random.default_rng(seed))
    a = (q * np.logspace(0, -np.log10(condition), n)) @ q.T
    return (a + a.T) / 2


def with_condition(n, p, condition, seed):
    """Matrix n x p with singular values from 1 to 1 / condition."""
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.standard_normal((n, p)))[0]
    return (u * np.logspace(0, -np.log10(condition), p)) @ orthogonal(p, rng)
