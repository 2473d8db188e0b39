"""LOBPCG: the extreme eigenpairs of a symmetric pencil by a Rayleigh-Ritz step in span[X, P, W] for each product.

X holds the current vectors, W = M^{-1} (A X - B X Theta) their preconditioned residuals and P the latest directions.
All three are kept B-orthonormal together, so that the small problem is a standard one, and the products with A and B of
X and P are carried: an iteration multiplies A and B with W alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import (
    Array,
    Seed,
    cholesky,
    inverse_triangular,
    machine_epsilon,
    namespace,
    standard_normal,
    symmetric_part,
    to_numpy,
    triangular_condition,
)
from manifolds.retractions import RankDeficientError
from rankopt.solvers.parameters import require_at_least
from rankopt.solvers.status import Status

_MAX_CONDITION = 1e6
"""Condition of a Gram matrix up to which its Cholesky factor is trusted and carried products follow it."""


@dataclass(frozen=True)
class LOBPCG:
    """Locally optimal block preconditioned conjugate gradients, for ``generalized_eigh``.

    Parameters
    ----------
    oversampling : int
        Columns beyond the wanted ones. Convergence then depends on the gap behind the whole block.
    refresh : int
        Iterations after which carried products are replaced by true ones.

    References
    ----------
    Knyazev, Toward the optimal preconditioned eigensolver: locally optimal block preconditioned conjugate gradient
    method, SIAM J. Sci. Comput. 23 (2001), Algorithm 5.1; Duersch, Shao, Yang, Gu, A robust and efficient
    implementation of LOBPCG, SIAM J. Sci. Comput. 40 (2018), for the basis and the floor of the residual.

    Examples
    --------
    >>> import numpy as np
    >>> from problems import generalized_eigh
    >>> pairs = generalized_eigh(np.diag(np.arange(1.0, 101.0)), k=2, method=LOBPCG(oversampling=3), rng=0)
    >>> np.round(pairs.eigenvalues, 8)
    array([100.,  99.])
    """

    oversampling: int = 4
    refresh: int = 25

    def __post_init__(self) -> None:
        require_at_least("oversampling", self.oversampling, 0, whole=True)
        require_at_least("refresh", self.refresh, 1, whole=True)


class Block(NamedTuple):
    """Vectors V with their products A V and B V."""

    v: Array
    av: Array
    bv: Array

    def times(self, coefficients: Array) -> Block:
        """Block of V C."""
        return Block(self.v @ coefficients, self.av @ coefficients, self.bv @ coefficients)

    def columns(self, kept: Any) -> Block:
        """Block of some of the columns."""
        return Block(self.v[:, kept], self.av[:, kept], self.bv[:, kept])


class Pencil:
    """A symmetric pencil (A, B), multiplied with one matrix at a time.

    Parameters
    ----------
    A, B : operators with ``@``
    """

    def __init__(self, A: Any, B: Any) -> None:
        self._a, self._b, self.shape = A, B, A.shape

    def products(self, v: Array) -> tuple[Array, Array]:
        """A v and B v."""
        return self._a @ v, self._b @ v


class BlockRun(NamedTuple):
    """Where a run of LOBPCG ended."""

    eigenvalues: Array
    block: Block
    status: Status
    n_iter: int


class Iteration:
    """LOBPCG on a pencil (A, B), given by its products.

    Parameters
    ----------
    pencil : object with ``shape`` and ``products``
        A ``Pencil``, or what makes both products at once.
    preconditioner : object with ``solve``
    k : int
        Wanted pairs.
    largest : bool
    method : LOBPCG
    tol : float
        Bound for the norms of A x - theta B x, relative to max(theta) norm(B x).
    max_iter : int
    """

    def __init__(
        self, pencil: Any, preconditioner: Any, *, k: int, largest: bool, method: LOBPCG, tol: float, max_iter: int
    ) -> None:
        self._pencil, self._preconditioner = pencil, preconditioner
        self._k, self._largest, self._method = k, largest, method
        self._tol, self._max_iter = tol, max_iter
        self._norms = (0.0, 0.0)

    def run(self, like: Array, x0: Array | None, rng: Seed) -> BlockRun:
        """Run from the columns of x0, filled up with random ones."""
        n, k = self._pencil.shape[0], self._k
        width = min(n, k + self._method.oversampling)
        x = standard_normal(rng, (n, width), like)
        if x0 is not None:
            x = namespace(like).concat([x0, x[:, x0.shape[1] :]], axis=1)
        x, directions, age = self._start(x, rng), None, 0
        theta, x = self._rayleigh_ritz(x, width)
        for iteration in range(self._max_iter + 1):
            residual = x.av - x.bv * theta
            relative, floor = self._relative_residuals(x, theta, residual)
            status = _status(relative[:k], floor[:k], self._tol)
            if age and (status is not None or age >= self._method.refresh):
                # Only what holds for true products counts.
                theta, x = self._rayleigh_ritz(self._start(x.v, rng), width)
                age = 0
                residual = x.av - x.bv * theta
                relative, floor = self._relative_residuals(x, theta, residual)
                status = _status(relative[:k], floor[:k], self._tol)
            if status is None and iteration == self._max_iter:
                status = Status.ITERATION_LIMIT
            if status is not None:
                return BlockRun(theta[:k], x.columns(slice(0, k)), status, iteration)
            active = np.flatnonzero(relative > np.maximum(self._tol, floor))
            search = x if directions is None else _beside(x, directions)
            new = self._search_directions(residual[:, active], search)
            if new is None:
                return BlockRun(theta[:k], x.columns(slice(0, k)), Status.STEP_TOO_SMALL, iteration)
            theta, x, directions = self._step(_beside(search, new), width, active)
            age += 1
        raise AssertionError("the loop ends by a status")

    def _start(self, v: Array, rng: Seed) -> Block:
        """B-orthonormal basis of the span of V with true products; random columns in the place of dependent ones."""
        xp, width = namespace(v), v.shape[1]
        for _ in range(3):
            x = _orthonormalized(v, self._pencil)
            if x is None:
                break
            if x.v.shape[1] == width:
                return self._measured(x)
            v = xp.concat([x.v, standard_normal(rng, (v.shape[0], width - x.v.shape[1]), v)], axis=1)
        raise RankDeficientError

    def _measured(self, block: Block) -> Block:
        """The block itself; its products are what the norms of A and B are estimated from, from below."""
        norm = namespace(block.v).linalg.vector_norm
        size, a, b = (norm(part, axis=0) for part in block)
        seen = (float(namespace(size).max(a / size)), float(namespace(size).max(b / size)))
        self._norms = (max(self._norms[0], seen[0]), max(self._norms[1], seen[1]))
        return block

    def _rayleigh_ritz(self, basis: Block, width: int) -> tuple[Array, Block]:
        values, vectors = self._ritz(basis)
        return values[:width], basis.times(vectors[:, :width])

    def _ritz(self, basis: Block) -> tuple[Array, Array]:
        """Ritz values of a B-orthonormal basis and their coefficients, wanted ones first."""
        xp = namespace(basis.v)
        values, vectors = xp.linalg.eigh(symmetric_part(basis.v.mT @ basis.av))
        return (xp.flip(values), xp.flip(vectors, axis=1)) if self._largest else (values, vectors)

    def _step(self, basis: Block, width: int, active: np.ndarray) -> tuple[Array, Block, Block]:
        """Rayleigh-Ritz in span[X, P, W], and the directions P that led out of X, B-orthonormal to the new X."""
        xp = namespace(basis.v)
        values, vectors = self._ritz(basis)
        best = vectors[:, :width]
        count = min(len(active), vectors.shape[0] - width)
        moved = best[:, active[:count]]
        moved = xp.concat([xp.zeros_like(moved[:width]), moved[width:]])
        # Of this orthonormal basis of span[best, moved] the first columns are best itself, up to signs.
        complement = xp.linalg.qr(xp.concat([best, moved], axis=1))[0][:, width:]
        return values[:width], basis.times(best), basis.times(complement)

    def _search_directions(self, residual: Array, search: Block) -> Block | None:
        """Preconditioned residuals, B-orthonormal to the basis and among themselves; None if nothing new is left."""
        xp = namespace(residual)
        w = self._preconditioner.solve(residual)
        size = xp.linalg.vector_norm(w, axis=0)
        w = w / xp.where(size > 0, size, xp.ones_like(size))
        for _ in range(2):
            w = w - search.v @ (search.bv.mT @ w)
        left = to_numpy(xp.linalg.vector_norm(w, axis=0))
        kept = np.flatnonzero(left > 100 * machine_epsilon(w))
        if not kept.size:
            return None
        w = w[:, kept]
        new = _orthonormalized(w / xp.linalg.vector_norm(w, axis=0), self._pencil)
        if new is None:
            return None
        # Scaling up what little was left of a residual has scaled up its overlap with the basis.
        known = search.times(search.bv.mT @ new.v)
        new = Block(*(part - overlap for part, overlap in zip(new, known, strict=True)))
        inverse = _normalizer(new.v.mT @ new.bv)
        return self._measured(new if inverse is None else new.times(inverse))

    def _relative_residuals(self, x: Block, theta: Array, residual: Array) -> tuple[np.ndarray, np.ndarray]:
        """Norms of the residuals relative to max(theta) norm(B x), and what rounding alone leaves of them."""
        norm = namespace(theta).linalg.vector_norm
        size, bx, r = (to_numpy(norm(part, axis=0)).astype(float) for part in (x.v, x.bv, residual))
        values = np.abs(to_numpy(theta)).astype(float)
        rounding = 10 * machine_epsilon(theta) * (self._norms[0] + values * self._norms[1]) * size
        scale = max(values[: self._k].max(), np.finfo(float).tiny) * bx
        return r / scale, rounding / scale


def _status(relative: np.ndarray, floor: np.ndarray, tol: float) -> Status | None:
    if np.all(relative <= tol):
        return Status.CONVERGED_GRADIENT
    return Status.APPROXIMATION_FLOOR if np.all(relative <= np.maximum(tol, floor)) else None


def _beside(a: Block, b: Block) -> Block:
    xp = namespace(a.v)
    return Block(*(xp.concat([first, second], axis=1) for first, second in zip(a, b, strict=True)))


def _orthonormalized(v: Array, pencil: Any) -> Block | None:
    """B-orthonormal basis of the span of V with its products, by Cholesky-QR twice; None where V is zero.

    Where the Gram matrix is too ill conditioned for Cholesky, the directions that stand clear of rounding are kept
    (singular values of its scaled form), and the products are made anew.
    """
    for _ in range(3):
        block = Block(v, *pencil.products(v))
        gram = symmetric_part(v.mT @ block.bv)
        inverse = _normalizer(gram)
        if inverse is not None:
            block = block.times(inverse)
            inverse = _normalizer(symmetric_part(block.v.mT @ block.bv))
            return block if inverse is None else block.times(inverse)
        kept = _clear_directions(gram)
        if kept is None:
            return None
        v = v @ kept
    return None


def _normalizer(gram: Array) -> Array | None:
    """Inverse Cholesky factor, where the Gram matrix is well enough conditioned for it."""
    factor = cholesky(gram)
    return None if factor is None or triangular_condition(factor) > _MAX_CONDITION else inverse_triangular(factor)


def _clear_directions(gram: Array) -> Array | None:
    """Coefficients of B-orthonormal directions of a Gram matrix that stand clear of rounding."""
    xp = namespace(gram)
    diagonal = xp.linalg.diagonal(gram)
    if not bool(xp.all(xp.isfinite(gram))) or not bool(xp.any(diagonal > 0)):
        return None
    scale = xp.where(diagonal > 0, 1 / xp.sqrt(xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal))), 0 * diagonal)
    values, vectors = xp.linalg.eigh(gram * scale * scale[:, None])
    kept = to_numpy(values) > 10 * gram.shape[0] * machine_epsilon(gram) * float(values[-1])
    first = int(np.argmax(kept))
    return scale[:, None] * vectors[:, first:] / xp.sqrt(values[first:])
