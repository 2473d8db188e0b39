"""An orthonormal basis that follows a stream of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from manifolds.linalg import (
    Array,
    Seed,
    as_generator,
    is_array,
    is_torch_array,
    require_finite,
    require_real_floating,
    require_same_kind,
)
from manifolds.subspace.directions import Directions, extended
from manifolds.subspace.rank_rules import EnergyRank, RankRule, captured_shares
from manifolds.subspace.update_rules import RandomizedRange, UpdateRule

SIDES = ("left", "right", "short", "long")


class SubspaceChange(NamedTuple):
    """What an update of a tracker did.

    Attributes
    ----------
    rotation : array of shape (r_new, r_old) or None
        R = Q_new^T Q_old, which carries coordinates in the old basis to the new one; None at the first update.
    captured_energy : float
        ||Q_new^T G||_F^2 / ||G||_F^2, in [0, 1]; one for a matrix of zeros.
    rank : int
    products : int
        Products of G or its transpose with a vector that the update spent.
    decompositions : int
        Singular value decompositions of the whole of G that it spent.
    """

    rotation: Array | None
    captured_energy: float
    rank: int
    products: int
    decompositions: int


class SubspaceTracker:
    """A subspace, held as an orthonormal basis Q, that follows a stream of matrices G_1, G_2, ...

    Gradients of a layer, or blocks of data: the columns of G are approximated by Q Q^T G (side left), or its rows by
    G Q Q^T (side right).

    Parameters
    ----------
    rule : UpdateRule
        How the subspace moves; default ``RandomizedRange()``.
    rank : RankRule
        How many directions are kept; default ``EnergyRank()``.
    side : {"left", "right", "short", "long"}
        Which side of G the basis belongs to. ``"short"`` and ``"long"`` are decided once, by the first matrix.
    rng : seed, numpy.random.Generator or torch.Generator
        A seed and a numpy generator give the same basis in every library and dtype, up to rounding.

    Attributes
    ----------
    basis : array of shape (m, r), or (n, r) for a right basis
        Q; None before the first update.
    rank : int
        Its number of columns; 0 before the first update.
    n_updates, n_products, n_decompositions : int
        What all updates together cost.

    Raises
    ------
    TypeError, ValueError
        If a rule or side is none, or a matrix is not a finite real matrix of the shape and kind of the first.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import EnergyRank, RandomizedRange, SubspaceTracker
    >>> rng = np.random.default_rng(0)
    >>> tracker = SubspaceTracker(RandomizedRange(), EnergyRank(0.95, max_rank=8), rng=0)
    >>> G = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 50))
    >>> change = tracker.update(G)
    >>> tracker.rank, bool(np.allclose(tracker.lift(tracker.project(G)), G))
    (2, True)
    """

    def __init__(
        self,
        rule: UpdateRule | None = None,
        rank: RankRule | None = None,
        side: str = "left",
        rng: Seed = None,
    ) -> None:
        self.rule = RandomizedRange() if rule is None else rule
        self.rank_rule = EnergyRank() if rank is None else rank
        if not isinstance(self.rule, UpdateRule):
            raise TypeError(f"rule must be an UpdateRule such as RandomizedRange(), got {self.rule!r}")
        if not isinstance(self.rank_rule, RankRule):
            raise TypeError(f"rank must be a RankRule such as ConstantRank(8), got {self.rank_rule!r}")
        if side not in SIDES:
            raise ValueError(f"side must be one of {SIDES}, got {side!r}")
        self.side = side
        self.basis: Array | None = None
        self.n_updates = self.n_products = self.n_decompositions = 0
        self._generator = as_generator(rng)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rule={self.rule!r}, rank={self.rank_rule!r}, side={self.side!r})"

    @property
    def rank(self) -> int:
        """Number of directions now held."""
        return 0 if self.basis is None else self.basis.shape[-1]

    def update(self, matrix: Array) -> SubspaceChange:
        """Move the subspace to follow G.

        A matrix of zeros says nothing about directions: a basis that is there stays as it is.

        Parameters
        ----------
        matrix : array of shape (m, n)
            G.

        Returns
        -------
        SubspaceChange
        """
        g = self._oriented(matrix, decide=True)
        if is_torch_array(g):
            g = g.detach()  # the basis must not hold on to the graphs of all matrices so far
        old = self.basis
        adapted = adapt(self.rule, self.rank_rule, g, old, self._generator)
        self.n_updates += 1
        self.n_products += adapted.products
        self.n_decompositions += adapted.decompositions
        if adapted.total_energy == 0 and old is not None:
            adapted = adapted._replace(basis=old)
        self.basis = adapted.basis
        return SubspaceChange(
            rotation=None if old is None else self.basis.mT @ old,
            captured_energy=adapted.captured_energy,
            rank=self.rank,
            products=adapted.products,
            decompositions=adapted.decompositions,
        )

    def project(self, matrix: Array) -> Array:
        """Coordinates in the subspace: Q^T G of shape (r, n), or G Q of shape (m, r) for a right basis."""
        basis = self._require_basis()
        self._oriented(matrix)
        return basis.mT @ matrix if self.side == "left" else matrix @ basis

    def lift(self, low: Array) -> Array:
        """Matrix with these coordinates: Q L, or L Q^T for a right basis."""
        basis = self._require_basis()
        require_same_kind(low, basis, "low", "the basis")
        axis = -2 if self.side == "left" else -1
        if low.ndim < 2 or low.shape[axis] != self.rank:
            raise ValueError(f"low must have {self.rank} coordinates along axis {axis}, got shape {tuple(low.shape)}")
        return basis @ low if self.side == "left" else low @ basis.mT

    def _require_basis(self) -> Array:
        if self.basis is None:
            raise ValueError("the tracker has no basis yet; call update with a first matrix")
        return self.basis

    def _oriented(self, matrix: Array, decide: bool = False) -> Array:
        """The matrix, transposed for a right basis, after checks; the first one decides the side and the shape."""
        if not is_array(matrix):
            raise TypeError(f"matrix must be a numpy array or a torch tensor, got {type(matrix).__name__}")
        require_real_floating(matrix, "matrix")
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(f"matrix must have two axes and no empty one, got shape {tuple(matrix.shape)}")
        if self.basis is not None:
            require_same_kind(matrix, self.basis, "matrix", "the basis")
            # Blocks of a stream may differ in length, so only the side of the basis has to agree.
            axis = 0 if self.side == "left" else 1
            if matrix.shape[axis] != self.basis.shape[0]:
                raise ValueError(
                    f"matrix must have {self.basis.shape[0]} {'rows' if axis == 0 else 'columns'} like the matrices "
                    f"before, got shape {tuple(matrix.shape)}"
                )
        if decide:
            require_finite(matrix, "matrix")
        if decide and self.side in ("short", "long"):
            is_wide = matrix.shape[0] <= matrix.shape[1]
            self.side = "left" if is_wide == (self.side == "short") else "right"
        return matrix if self.side == "left" else matrix.mT


class Adapted(NamedTuple):
    """A basis whose rank a rule has chosen, for one matrix.

    Attributes
    ----------
    basis : array of shape (m, k)
        k is at least the rank.
    rank : int
        The rank chosen.
    captured_energy : float
        Share of the energy that all of the basis captures.
    total_energy : float
    products, decompositions : int
    """

    basis: Array
    rank: int
    captured_energy: float
    total_energy: float
    products: int
    decompositions: int


def adapt(
    rule: UpdateRule,
    rank_rule: RankRule,
    matrix: Array,
    basis: Array | None,
    rng: Seed,
    allocate: Callable[[int], int] = lambda rank: rank,
) -> Adapted:
    """Find directions for one matrix and keep as many as the rank rule asks for.

    Where the directions of a rule that keeps its rank do not capture enough, they are augmented from the residual until
    they do or the rank is at its maximum: a rank that could only shrink would collapse.

    Parameters
    ----------
    rule, rank_rule : UpdateRule, RankRule
    matrix : array of shape (m, n)
    basis : array of shape (m, r) or None
    rng : seed or generator
    allocate : callable
        Number of directions to return for a chosen rank, at least the rank and at most ``min(m, n)``.
    """
    return adapt_rank(rule.directions(matrix, rank_rule.maximum, basis, rng), rank_rule, matrix, rng, allocate)


def adapt_rank(
    directions: Directions, rank_rule: RankRule, matrix: Array, rng: Seed, allocate: Callable[[int], int]
) -> Adapted:
    """The second half of :func:`adapt`, for directions that have been found."""
    m, n = matrix.shape
    # A basis that is followed may hold more directions than a short block of a stream has columns: they stay.
    most = min(rank_rule.maximum, m, max(n, count_of(directions)))
    while (rank := chosen_rank(rank_rule, directions, most)) is None or allocate(rank) > count_of(directions):
        count = count_of(directions)
        wanted = min(count, most - count) if rank is None else allocate(rank) - count
        directions = extended(directions, matrix, wanted, rng)
    allocated = allocate(rank)
    return Adapted(
        basis=directions.basis[..., :allocated],
        rank=rank,
        captured_energy=float(captured_shares(directions.energies, directions.total_energy)[allocated - 1]),
        total_energy=float(directions.total_energy),
        products=directions.products,
        decompositions=directions.decompositions,
    )


def chosen_rank(rank_rule: RankRule, directions: Directions, most: int) -> int | None:
    """Rank that a rule chooses among these directions, ``most`` at the largest; None where it asks for more of them."""
    rank = rank_rule.choose(captured_shares(directions.energies, directions.total_energy))
    if rank is None:
        return most if count_of(directions) >= most else None
    return min(rank, most)


def count_of(directions: Directions) -> int:
    """Number of directions."""
    return directions.energies.shape[-1]
