"""Sums over row blocks on all cores: a stretch of rows per thread, each block with single-threaded products.

The products of a row block with a few columns are too thin for the threads inside a BLAS, which also wait for each
other actively and so lose most on a busy machine. Threads that own their rows need not wait before the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from threadpoolctl import ThreadpoolController

from manifolds.linalg import Array

_BLOCKS_PER_THREAD = 4
"""Blocks below which a thread of its own does not pay."""


class RowReduction:
    """Sums of a function of stretches of rows, in an order that depends on the number of threads alone.

    Parameters
    ----------
    n_rows : int
    block_rows : int
        Rows that the function takes at a time.
    parallel : bool
        Whether to use threads: for numpy's arrays, whose products release the interpreter; torch has its own.
    """

    def __init__(self, n_rows: int, block_rows: int, *, parallel: bool) -> None:
        self._n_rows, self._most = n_rows, max(1, n_rows // (_BLOCKS_PER_THREAD * block_rows)) if parallel else 1

    @cached_property
    def _controller(self) -> Any:
        return ThreadpoolController().select(user_api="blas")

    @cached_property
    def n_threads(self) -> int:
        """Threads to use: as many as the BLAS may, so that whoever limits those limits these."""
        if self._most == 1:
            return 1
        return min(self._most, max((library["num_threads"] for library in self._controller.info()), default=1))

    def sum(
        self, part: Callable[[int, int], tuple[Array, ...]], n_rows: int | None = None, pool: Executor | None = None
    ) -> tuple[Array, ...]:
        """Sum of ``part(first, stop)`` over stretches of rows that cover all of them once, or the first so many.

        ``pool`` is what ``threads`` gives, for whoever takes many sums.
        """
        n_rows = self._n_rows if n_rows is None else n_rows
        if self.n_threads == 1:
            return part(0, n_rows)
        if pool is None:
            with self.threads() as pool:
                return self.sum(part, n_rows, pool)
        bounds = [n_rows * i // self.n_threads for i in range(self.n_threads + 1)]
        return tuple(map(sum, zip(*pool.map(part, bounds[:-1], bounds[1:]), strict=True)))

    @contextmanager
    def threads(self) -> Iterator[Executor | None]:
        """Threads for sums, while each has a single-threaded BLAS; None where there is but one."""
        if self.n_threads == 1:
            yield None
            return
        with self._controller.limit(limits=1), ThreadPoolExecutor(self.n_threads) as pool:
            yield pool
