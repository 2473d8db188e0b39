"""Sketches by a fast orthonormal transform of row blocks: random signs and order, transform, a sample of the rows.

One transform over all n rows would need n beforehand and all rows at once. Here the rows are cut into blocks of a fixed
length N (the last one filled with zeros), and with the orthonormal transform H of R^N

    S = sqrt(N / size) [ E_1 R H P D_1,  E_2 R H P D_2,  ... ],

where R keeps the same ``size`` random rows of every block without repetition, P is a random permutation, and the D_b
and E_b are diagonal matrices of independent random signs. E[S^T S] = I, a stream is sketched as it passes by, and a
matrix of at most N rows gets the classical subsampled transform. Without P, the first d columns of H would have d
different rows only, which R would have to collect: [I; 0] would lose directions unless ``size`` is about d log d.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from manifolds.fast_transforms import cosine_transform, walsh_hadamard
from manifolds.linalg import Array, convert, is_torch_array, namespace
from manifolds.sketching import Sketch, random_words, require_integer, signs_and_remainders

_ROW_SIGNS, _RESULT_SIGNS, _SAMPLE, _ORDER = range(4)
"""Streams of random words for the D_b, the E_b, R and P."""


@dataclass(frozen=True)
class BlockTransformSketch(Sketch):
    """Base of the sketches that sample an orthonormal transform of each block of rows.

    Parameters
    ----------
    size : int
        Number of rows of the result.
    seed : int
    block_rows : int, optional
        Length N of a block, at least ``size``; the first power of two from ``4 * size`` on when left out.
    """

    block_rows: int | None = None

    _takes_sparse: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_rows is not None:
            require_integer("block_rows", self.block_rows, smallest=1)
            if self.block_rows < self.size:
                raise ValueError(
                    f"block_rows must be at least size = {self.size}, since that many of its rows are kept, "
                    f"got {self.block_rows}"
                )

    @cached_property
    def block_length(self) -> int:
        """Rows N of a block."""
        return 1 << (4 * self.size - 1).bit_length() if self.block_rows is None else int(self.block_rows)

    @cached_property
    def _kept_rows(self) -> np.ndarray:
        """Rows of the transform that R keeps."""
        return np.sort(self._shuffled(_SAMPLE)[: self.size])

    @cached_property
    def _places(self) -> np.ndarray:
        """Where P puts each row of a block."""
        return self._shuffled(_ORDER)

    def _shuffled(self, stream: int) -> np.ndarray:
        return np.argsort(random_words(self.seed, 0, self.block_length, stream), kind="stable")

    @abstractmethod
    def _transform(self, block: Array) -> Array:
        """Orthonormal transform H of the columns of a block, shape (N, d)."""

    def _add(self, rows: Array, first_row: int, out: Array) -> Array:
        xp, length, stop = namespace(rows), self.block_length, first_row + rows.shape[0]
        device = {"device": rows.device} if is_torch_array(rows) else {}
        signs = convert(self._signs(first_row, rows.shape[0], _ROW_SIGNS), rows)
        for block in range(first_row // length, -(-stop // length)):
            first, last = max(block * length, first_row), min((block + 1) * length, stop)
            part = slice(first - first_row, last - first_row)
            # A part of a block stands between zeros; by linearity the parts add up to the sketch of the whole.
            signed = xp.zeros((length, rows.shape[1]), dtype=rows.dtype, **device)
            signed[self._places[first - block * length : last - block * length]] = signs[part, None] * rows[part]
            kept = convert(self._signs(block * self.size, self.size, _RESULT_SIGNS), rows)
            out += ((length / self.size) ** 0.5 * kept)[:, None] * self._transform(signed)[self._kept_rows]
        return out

    def _signs(self, first: int, count: int, stream: int) -> np.ndarray:
        return signs_and_remainders(random_words(self.seed, first, count, stream), 1)[0]


@dataclass(frozen=True)
class HadamardSketch(BlockTransformSketch):
    """Subsampled randomized Hadamard transform (SRHT) of row blocks: O(log N) operations per entry of the data.

    It embeds as well as a Gaussian sketch of the same size, whatever the data: the transform spreads every row over
    the whole block, so that no row is missed. Rows are best handed over in whole blocks (from a multiple of
    ``block_length`` on); a part of a block costs as much as all of it.

    Parameters
    ----------
    size : int
        Number of rows of the result.
    seed : int
    block_rows : int, optional
        Rows N of a block, a power of two and at least ``size``; the first one from ``4 * size`` on when left out.

    References
    ----------
    Tropp, Improved analysis of the subsampled randomized Hadamard transform, Adv. Adapt. Data Anal. 3 (2011);
    Balabanov, Beaupère, Grigori, Lederer, Block subsampled randomized Hadamard transform for low-rank approximation on
    distributed architectures, ICML (2023), Section 2.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.arange(12.0).reshape(6, 2)
    >>> sketch = HadamardSketch(size=4, seed=0)
    >>> in_blocks = sketch.apply(a[3:], first_row=3, out=sketch.apply(a[:3]))
    >>> np.allclose(in_blocks, sketch.apply(a))
    True
    >>> everything = HadamardSketch(size=8, seed=0, block_rows=8).apply(a)  # nothing is left out, so norms are kept
    >>> np.allclose(everything.T @ everything, a.T @ a)
    True
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_length & (self.block_length - 1):
            raise ValueError(
                f"block_rows must be a power of two for the Hadamard transform, got {self.block_rows}; "
                "FourierSketch takes any length"
            )

    def _transform(self, block: Array) -> Array:
        return walsh_hadamard(block)


@dataclass(frozen=True)
class FourierSketch(BlockTransformSketch):
    """Subsampled randomized Fourier transform (SRFT) of row blocks, by the real cosine transform (DCT-II).

    Like ``HadamardSketch``, with blocks of any length: where the data come in blocks of a length that is no power of
    two, ``block_rows`` can be that length, and nothing is filled with zeros.

    Parameters
    ----------
    size : int
        Number of rows of the result.
    seed : int
    block_rows : int, optional
        Rows N of a block, at least ``size``; lengths with small prime factors are fastest. The first power of two from
        ``4 * size`` on when left out.

    References
    ----------
    Martinsson, Tropp, Randomized numerical linear algebra: foundations and algorithms, Acta Numerica 29 (2020),
    Section 9.3; Avron, Maymounkov, Toledo, Blendenpik, SIAM J. Sci. Comput. 32 (2010), Section 3.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.arange(12.0).reshape(6, 2)
    >>> everything = FourierSketch(size=6, seed=0, block_rows=6).apply(a)  # nothing is left out, so norms are kept
    >>> np.allclose(everything.T @ everything, a.T @ a)
    True
    """

    def _transform(self, block: Array) -> Array:
        return cosine_transform(block)
