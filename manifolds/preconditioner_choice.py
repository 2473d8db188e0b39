"""Which preconditioner for B = G + ridge I: a sketch, a Nystrom approximation or the diagonal, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from manifolds.extreme_eigenvalues import extreme_eigenvalues
from manifolds.gram import GramOperator, as_symmetric_operator, diagonal_of, split_ridge
from manifolds.linalg import Array, is_array, namespace
from manifolds.nystrom import NystromPreconditioner
from manifolds.preconditioners import (
    DiagonalPreconditioner,
    LowRankPreconditioner,
    Preconditioner,
    SketchedGramPreconditioner,
)
from manifolds.sketching import SparseSignSketch, require_integer

_logger = logging.getLogger(__name__)

_DENSE_ORDER = 4096
"""Order up to which a dense triangular factor is made when nothing else is said: 128 MiB in double precision."""

_RANK = 64
"""Rank of the Nystrom approximation when nothing else is said."""

_LANCZOS_STEPS = 15
"""Products that a comparison of two preconditioners takes with each of them."""


@dataclass(frozen=True)
class PreconditionerChoice:
    """What ``gram_preconditioner`` chose, and why."""

    kind: str
    """``"data"``, ``"sketch"``, ``"nystrom"`` or ``"diagonal"``."""
    reason: str
    """One sentence."""
    effective_dimension: float | None = None
    """Estimate of tr(G (G + ridge I)^{-1}), where the rule needed it."""
    conditions: tuple[float, float] | None = None
    """Estimates of cond(M^{-1} B) with the Nystrom approximation and with the diagonal, where they were compared."""


def gram_preconditioner(
    gram: Any, ridge: float = 0.0, *, size: int | None = None, rank: int | None = None, seed: int = 0
) -> Preconditioner:
    """Preconditioner M of B = G + ridge I that one can rely on, chosen by what a sketch of the size at hand is worth.

    A sketch S X of too few rows makes cond(M^{-1} B) worse than no preconditioner at all. With d columns and the
    effective dimension s = tr(G (G + ridge I)^{-1}), the first that applies is taken:

    1. ``size >= 4 d`` and G = X^T X of known data X: the sketch of X by ``size`` rows; X itself if it has no more rows.
    2. A randomized Nystrom approximation of G, which estimates s too, if ``rank >= 3 s + 1`` or it is exact.
    3. ``size >= 4 s``, a ridge and known data: the sketch of X by ``size`` rows.
    4. Of the Nystrom approximation and diag(B) (where the diagonal is known), the one with the smaller condition number
       of M^{-1} B, estimated by 15 steps of Lanczos.

    The choice depends on the arguments alone, not on timings. It is in ``choice`` of what is returned and in the log.

    Parameters
    ----------
    gram : GramOperator, array, scipy sparse matrix, LinearOperator, or any object with ``shape`` and ``@``
        Symmetric positive semidefinite G of order d. A ``GramOperator`` knows its data, which can be sketched; its
        ridge counts as part of ``ridge``.
    ridge : float
        Non-negative.
    size : int, optional
        Rows that a sketch may have at most. When left out, 4 d for d up to 4096, else 4096.
    rank : int, optional
        Columns that the Nystrom approximation may have at most. When left out, the smaller of 64 and d.
    seed : int
        Of all random draws.

    Returns
    -------
    Preconditioner
        With the attribute ``choice``, a ``PreconditionerChoice``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or B is singular.

    References
    ----------
    Shustin, Avron, Faster randomized methods for orthogonality constrained problems, JMLR (2024), for sketches;
    Frangella, Tropp, Udell, Randomized Nystrom preconditioning, SIAM J. Matrix Anal. Appl. 44 (2023), for the rank.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((500, 40)) * 2.0 ** -np.arange(40)
    >>> m = gram_preconditioner(GramOperator(x, ridge=1e-3))
    >>> m, m.choice.kind, m.choice.reason
    (SketchedGramPreconditioner(n=40), 'sketch', 'the sketch has 160 rows, at least 4 for each of the 40 columns')
    >>> gram_preconditioner(GramOperator(x, ridge=1e-3), size=80).choice.kind
    'nystrom'
    """
    gram, _ = as_symmetric_operator("gram", gram)
    gram, ridge = split_ridge(gram, ridge)
    d = gram.shape[0]
    if size is None:
        size = 4 * d if d <= _DENSE_ORDER else _DENSE_ORDER
    rank = min(_RANK, d) if rank is None else rank
    require_integer("size", size, smallest=1)
    require_integer("seed", seed, smallest=0)
    preconditioner, choice = _choose(gram, ridge, int(size), rank, seed)
    preconditioner.choice = choice
    _logger.info("%r: %s", preconditioner, choice.reason)
    return preconditioner


def _choose(gram: Any, ridge: float, size: int, rank: int, seed: int) -> tuple[Preconditioner, PreconditionerChoice]:
    d = gram.shape[0]
    if isinstance(gram, GramOperator) and size >= 4 * d:
        reason = f"the sketch has {size} rows, at least 4 for each of the {d} columns"
        return _from_data(gram, ridge, size, seed, reason)
    nystrom = NystromPreconditioner(gram, rank, ridge, rng=seed)
    s = nystrom.effective_dimension
    if rank >= min(3 * s + 1, d):
        reason = f"the rank {rank} is at least 3 times the effective dimension {s:.1f}"
        return nystrom, PreconditionerChoice("nystrom", reason, s)
    if isinstance(gram, GramOperator) and ridge > 0 and size >= 4 * s:
        reason = f"the sketch has {size} rows, at least 4 times the effective dimension {s:.1f}"
        return _from_data(gram, ridge, size, seed, reason, s)
    few = f"rank {rank} and sketch of {size} rows are small for the effective dimension {s:.1f}"
    entries = diagonal_of(gram)
    if entries is None:
        return nystrom, PreconditionerChoice("nystrom", f"{few}, and the diagonal is unknown", s)
    diagonal = DiagonalPreconditioner(entries + ridge)
    shifted = _Shifted(gram, ridge, entries[:0, ...])
    conditions = tuple(
        extreme_eigenvalues(shifted, m, steps=_LANCZOS_STEPS, rng=seed).condition for m in (nystrom, diagonal)
    )
    reason = f"{few}; the condition is about {conditions[0]:.3g} with Nystrom, {conditions[1]:.3g} with the diagonal"
    better = diagonal if conditions[1] < conditions[0] else nystrom
    kind = "diagonal" if better is diagonal else "nystrom"
    return better, PreconditionerChoice(kind, reason, s, (conditions[0], conditions[1]))


def _from_data(
    gram: GramOperator, ridge: float, size: int, seed: int, reason: str, effective_dimension: float | None = None
) -> tuple[Preconditioner, PreconditionerChoice]:
    """Preconditioner from the sketch of the data, or from the data where they have no more rows."""
    n, d = gram.data.shape
    if n <= size:
        rows, kind = gram.data if is_array(gram.data) else gram.data.toarray(), "data"
        reason = f"the data have {n} rows, no more than a sketch of {size}, so M is B itself"
    else:
        rows, kind = gram.sketch(SparseSignSketch(size, seed)), "sketch"
    choice = PreconditionerChoice(kind, reason, effective_dimension)
    return (_low_rank(rows, ridge) if rows.shape[0] < d else SketchedGramPreconditioner(rows, ridge)), choice


def _low_rank(rows: Array, ridge: float) -> LowRankPreconditioner:
    """Preconditioner rows^T rows + ridge I of fewer rows than columns: the ridge on all that the rows do not see."""
    _, singular_values, vt = namespace(rows).linalg.svd(rows, full_matrices=False)
    return LowRankPreconditioner(vt.mT, singular_values**2 + ridge, ridge)


class _Shifted:
    """G + ridge I by products."""

    def __init__(self, gram: Any, ridge: float, like: Array) -> None:
        self._gram, self._ridge, self.like, self.shape = gram, ridge, like, gram.shape

    def __matmul__(self, v: Array) -> Array:
        return self._gram @ v + self._ridge * v
