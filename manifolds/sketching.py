"""Random sketches S of the rows of a tall matrix, E[S^T S] = I, applied block by block.

The randomness of a row depends only on the seed and the row's index (a counter-based generator), so the result does not
depend on how the rows are cut into blocks, a stream is sketched as it passes by, and two matrices with the same rows
(two views of one data set) can share one sketch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from manifolds.linalg import (
    Array,
    add_signed_rows,
    convert,
    is_array,
    is_torch_array,
    namespace,
    require_real_floating,
    require_same_kind,
)

_WORDS_PER_STEP = 4
"""Random words that one step of the Philox counter gives."""


def random_words(seed: int, first: int, count: int) -> np.ndarray:
    """Words ``first`` to ``first + count`` of a seed's endless sequence of uniform 64-bit words."""
    skipped = first % _WORDS_PER_STEP
    generator = np.random.Philox(key=seed)
    generator.advance(first // _WORDS_PER_STEP)
    return generator.random_raw(skipped + count)[skipped:]


@dataclass(frozen=True)
class Sketch(ABC):
    """A random linear map S of R^n into R^size that is applied to the rows of a matrix as they stream by.

    Parameters
    ----------
    size : int
        Number of rows of the result.
    seed : int
        Non-negative; the same seed gives the same S.
    """

    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name, smallest in (("size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, got {value!r}")
            if value < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {value}")

    def apply(self, rows: Array, first_row: int = 0, out: Array | None = None) -> Array:
        """Add the sketch of some rows to a running result.

        Parameters
        ----------
        rows : array of shape (b, d)
            Rows ``first_row`` to ``first_row + b`` of the matrix.
        first_row : int
        out : array of shape (size, d), optional
            Running result, changed in place; zeros when left out.

        Returns
        -------
        array of shape (size, d)
            ``out`` with S[:, first_row:first_row + b] rows added.
        """
        if not is_array(rows) or rows.ndim != 2:
            raise ValueError(
                f"rows must be a matrix of shape (b, d), got {getattr(rows, 'shape', type(rows).__name__)}"
            )
        require_real_floating(rows, "rows")
        if isinstance(first_row, bool) or not isinstance(first_row, (int, np.integer)):
            raise TypeError(f"first_row must be an integer, got {first_row!r}")
        if first_row < 0:
            raise ValueError(f"first_row must not be negative, got {first_row}")
        if out is None:
            xp = namespace(rows)
            device = {"device": rows.device} if is_torch_array(rows) else {}
            out = xp.zeros((self.size, rows.shape[1]), dtype=rows.dtype, **device)
        else:
            require_same_kind(out, rows, "out", "rows")
            if tuple(out.shape) != (self.size, rows.shape[1]):
                raise ValueError(f"out must have shape {(self.size, rows.shape[1])}, got {tuple(out.shape)}")
        return self._add(rows, int(first_row), out)

    @abstractmethod
    def _add(self, rows: Array, first_row: int, out: Array) -> Array: ...


@dataclass(frozen=True)
class CountSketch(Sketch):
    """Sketch that adds each row, with a random sign, to one random row of the result: one addition per entry.

    Parameters
    ----------
    size : int
        Number of rows of the result; four times the number of columns gives condition numbers below ten in practice.
    seed : int

    References
    ----------
    Clarkson, Woodruff, Low-rank approximation and regression in input sparsity time, J. ACM 63 (2017), Section 3.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.arange(12.0).reshape(6, 2)
    >>> sketch = CountSketch(size=4, seed=0)
    >>> in_blocks = sketch.apply(a[3:], first_row=3, out=sketch.apply(a[:3]))
    >>> np.array_equal(in_blocks, sketch.apply(a))
    True
    """

    def _add(self, rows: Array, first_row: int, out: Array) -> Array:
        words = random_words(self.seed, first_row, rows.shape[0])
        signs = np.where(words >> np.uint64(63), 1.0, -1.0)
        targets = ((words & np.uint64(2**63 - 1)) % np.uint64(self.size)).astype(np.int64)
        return add_signed_rows(out, rows, targets, signs)


@dataclass(frozen=True)
class GaussianSketch(Sketch):
    """Sketch by independent normal entries of variance 1 / size: the best embedding, at the price of a product.

    Parameters
    ----------
    size : int
        Number of rows of the result.
    seed : int

    References
    ----------
    Halko, Martinsson, Tropp, Finding structure with randomness, SIAM Review 53 (2011), Section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> GaussianSketch(size=4, seed=0).apply(np.ones((10, 2))).shape
    (4, 2)
    """

    def _add(self, rows: Array, first_row: int, out: Array) -> Array:
        from scipy.special import ndtri

        count = rows.shape[0]
        words = random_words(self.seed, first_row * self.size, count * self.size)
        # The top 53 bits, centred in their cells, are uniform in the open interval (0, 1); ndtri makes them normal.
        uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        weights = convert(ndtri(uniform).reshape(count, self.size) / self.size**0.5, rows)
        out += weights.mT @ rows
        return out
