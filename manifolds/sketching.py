"""Random sketches S of the rows of a tall matrix, E[S^T S] = I, applied block by block.

The randomness of a row depends only on the seed and the row's index (a counter-based generator), so the result does not
depend on how the rows are cut into blocks, a stream is sketched as it passes by, and two matrices with the same rows
(two views of one data set) can share one sketch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from manifolds.linalg import (
    Array,
    convert,
    is_array,
    is_scipy_sparse,
    is_torch_array,
    namespace,
    require_real_floating,
    require_same_kind,
)
from manifolds.scatter import add_signed_rows

_WORDS_PER_STEP = 4
"""Random words that one step of the Philox counter gives."""


def random_words(seed: int, first: int, count: int, stream: int = 0) -> np.ndarray:
    """Words ``first`` to ``first + count`` of the endless sequence of uniform 64-bit words of a seed and a stream."""
    skipped = first % _WORDS_PER_STEP
    # The counter has 256 bits, of which a stream takes the upper 64: no two streams of a seed can meet.
    generator = np.random.Philox(key=seed, counter=stream << 192)
    generator.advance(first // _WORDS_PER_STEP)
    return generator.random_raw(skipped + count)[skipped:]


def signs_and_remainders(words: np.ndarray, bound: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signs +-1 of uniform 64-bit words by the top bit, and the other 63 bits reduced to integers below a bound."""
    signs = np.where(words >> np.uint64(63), 1.0, -1.0)
    remainders = (words & np.uint64(2**63 - 1)) % np.asarray(bound, dtype=np.uint64)
    return signs, remainders.astype(np.int64)


def require_integer(name: str, value: object, smallest: int) -> None:
    """Raise a TypeError unless a value is an integer, and a ValueError unless it is large enough."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value}")


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

    _takes_sparse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_integer("size", self.size, smallest=1)
        require_integer("seed", self.seed, smallest=0)

    def apply(self, rows: Array, first_row: int = 0, out: Array | None = None) -> Array:
        """Add the sketch of some rows to a running result.

        Parameters
        ----------
        rows : array or scipy sparse matrix of shape (b, d)
            Rows ``first_row`` to ``first_row + b`` of the matrix. Sketches by a fast transform take arrays only, since
            a transform fills what is sparse.
        first_row : int
        out : array of shape (size, d), optional
            Running result, changed in place; zeros when left out.

        Returns
        -------
        array of shape (size, d)
            ``out`` with S[:, first_row:first_row + b] rows added.
        """
        if not (is_array(rows) or is_scipy_sparse(rows)) or rows.ndim != 2:
            raise ValueError(
                f"rows must be a matrix of shape (b, d), got {getattr(rows, 'shape', type(rows).__name__)}"
            )
        like = rows if is_array(rows) else np.empty(0, dtype=rows.dtype)
        if like is not rows and not self._takes_sparse:
            raise TypeError(
                f"rows must be a numpy array or a torch tensor, since {type(self).__name__} would fill a sparse "
                f"matrix, got {type(rows).__name__}; use SparseSignSketch, or pass rows.toarray()"
            )
        require_real_floating(like, "rows")
        if isinstance(first_row, bool) or not isinstance(first_row, (int, np.integer)):
            raise TypeError(f"first_row must be an integer, got {first_row!r}")
        if first_row < 0:
            raise ValueError(f"first_row must not be negative, got {first_row}")
        if out is None:
            xp = namespace(like)
            device = {"device": rows.device} if is_torch_array(rows) else {}
            out = xp.zeros((self.size, rows.shape[1]), dtype=rows.dtype, **device)
        else:
            require_same_kind(out, like, "out", "rows")
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
        signs, targets = signs_and_remainders(random_words(self.seed, first_row, rows.shape[0]), self.size)
        return add_signed_rows(out, rows, targets[:, None], signs[:, None])


@dataclass(frozen=True)
class SparseSignSketch(Sketch):
    """Sketch that adds each row, with random signs and divided by sqrt(zeta), to zeta random rows of the result.

    With eight nonzeros per column it embeds nearly as well as a Gaussian sketch of the same size, also where a few rows
    of the data outweigh all others, which a CountSketch may throw together.

    Parameters
    ----------
    size : int
        Number of rows of the result.
    seed : int
    nonzeros : int, optional
        Nonzero entries zeta of each column of S, at distinct rows, ``1 <= nonzeros <= size``; the smaller of 8 and
        ``size`` when left out. One gives a CountSketch (other draws of it).

    References
    ----------
    Martinsson, Tropp, Randomized numerical linear algebra: foundations and algorithms, Acta Numerica 29 (2020),
    Section 9.2; Cohen, Nearly tight oblivious subspace embeddings by trace inequalities, SODA (2016).

    Examples
    --------
    >>> import numpy as np
    >>> s = SparseSignSketch(size=16, seed=0, nonzeros=4).apply(np.eye(5))
    >>> np.count_nonzero(s, axis=0).tolist(), np.unique(s).tolist()
    ([4, 4, 4, 4, 4], [-0.5, 0.0, 0.5])
    """

    nonzeros: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nonzeros is not None:
            require_integer("nonzeros", self.nonzeros, smallest=1)
            if self.nonzeros > self.size:
                raise ValueError(f"nonzeros must be at most size = {self.size}, got {self.nonzeros}")

    def _add(self, rows: Array, first_row: int, out: Array) -> Array:
        count, zeta = rows.shape[0], min(8, self.size) if self.nonzeros is None else self.nonzeros
        words = random_words(self.seed, first_row * zeta, count * zeta).reshape(count, zeta)
        signs, targets = signs_and_remainders(words, np.arange(self.size - zeta + 1, self.size + 1))
        # Floyd's algorithm: the k-th draw is from the first size - zeta + k + 1 rows, and where it repeats one, the
        # last of these is taken. Every set of zeta rows is equally likely.
        for k in range(1, zeta):
            taken = np.any(targets[:, :k] == targets[:, k : k + 1], axis=1)
            targets[taken, k] = self.size - zeta + k
        return add_signed_rows(out, rows, targets, signs * zeta**-0.5)


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
        weights = ndtri(uniform).reshape(count, self.size) / self.size**0.5
        weights = convert(weights, rows) if is_array(rows) else weights.astype(rows.dtype)
        out += weights.mT @ rows
        return out
