"""How a subspace follows a new matrix: six rules, values over pure functions, all on batches of matrices too.

A rule finds orthonormal directions; how many of them are kept is the rank rule's business. A basis Q is a point of the
Grassmann manifold, and only its span matters to what a rule does next.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from manifolds.fast_transforms import cosine_columns, cosine_transform
from manifolds.linalg import (
    Array,
    expand,
    identity,
    inner_product,
    is_array,
    is_transposed_view,
    machine_epsilon,
    namespace,
    require_real_floating,
    require_same_kind,
    squared_norm,
)
from manifolds.sketching import require_integer
from manifolds.subspace.directions import (
    Directions,
    Seeds,
    principal_axes,
    random_matrix,
    randomized_range,
)


class UpdateRule(ABC):
    """How orthonormal directions for a matrix are found."""

    @abstractmethod
    def directions(self, matrix: Array, size: int, basis: Array | None = None, rng: Seeds = None) -> Directions:
        """Orthonormal directions for G, ordered by their energy.

        Parameters
        ----------
        matrix : array of shape (..., m, n)
            G.
        size : int
            The largest rank that may be kept. Rules that start anew find at least ``min(size, m, n)`` directions; rules
            that take a step from a basis keep its rank.
        basis : array of shape (..., m, r), optional
            The basis so far.
        rng : seed, generator, or a sequence of them
            A batch may have one for each of its matrices.

        Raises
        ------
        TypeError
            If G is no real floating array, a basis from which a step is taken is of another kind, or ``size`` is not
            whole.
        ValueError
            If G is no matrix, such a basis has another number of rows, or ``size`` is below one.
        """


@dataclass(frozen=True)
class ExactSVD(UpdateRule):
    """The leading left singular vectors, by a full decomposition (the rule of GaLore).

    References
    ----------
    Zhao et al., GaLore, ICML 2024, Algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import ConstantRank, ExactSVD, SubspaceTracker
    >>> tracker = SubspaceTracker(rule=ExactSVD(), rank=ConstantRank(1))
    >>> round(tracker.update(np.diag([3.0, 1.0])).captured_energy, 6)
    0.9
    """

    def directions(self, matrix: Array, size: int, basis: Array | None = None, rng: Seeds = None) -> Directions:
        _require_matrix(matrix, size)
        xp = namespace(matrix)
        if is_transposed_view(matrix):
            # Decomposed as it lies in memory: the signs are then those of a plain decomposition of the original.
            _, s, vt = xp.linalg.svd(matrix.mT, full_matrices=False)
            u = vt.mT
        else:
            u, s, _ = xp.linalg.svd(matrix, full_matrices=False)
        return Directions(u, s * s, squared_norm(matrix), products=0, decompositions=1)


@dataclass(frozen=True)
class RandomizedRange(UpdateRule):
    """The randomized range finder (the rule of AdaRankGrad): G meets a few thin products and no decomposition.

    Parameters
    ----------
    oversampling : int
        Directions beyond the largest rank, which make the leading ones more accurate.
    power_iterations : int
        Each costs two more products; with one, the rank chosen for a share of the energy is within 15 % of the best.

    References
    ----------
    Halko, Martinsson, Tropp, Finding structure with randomness, SIAM Review 53 (2011), Algorithm 4.4; Refael et al.,
    AdaRankGrad, ICLR 2025, Algorithm 2 (SSRF).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import ConstantRank, RandomizedRange, SubspaceTracker
    >>> tracker = SubspaceTracker(rule=RandomizedRange(), rank=ConstantRank(1), rng=0)
    >>> round(tracker.update(np.diag([3.0, 1.0])).captured_energy, 6)
    0.9
    """

    oversampling: int = 8
    power_iterations: int = 1

    def __post_init__(self) -> None:
        _require_count(self.oversampling, "oversampling")
        _require_count(self.power_iterations, "power_iterations")

    def directions(self, matrix: Array, size: int, basis: Array | None = None, rng: Seeds = None) -> Directions:
        _require_matrix(matrix, size)
        m, n = matrix.shape[-2:]
        k = min(size + self.oversampling, m, n)
        found = randomized_range(matrix, random_matrix(rng, (n, k), matrix), self.power_iterations)
        return principal_axes(found, matrix, products=k * (1 + 2 * self.power_iterations))


@dataclass(frozen=True)
class RiemannianStep(UpdateRule):
    """A preconditioned Riemannian step for the captured energy, from the basis so far.

        Q <- retract( Q + eta (I - QQ^T) G G^T Q (Q^T G G^T Q + ridge tr(Q^T G G^T Q) / r I)^-1 )

    At eta = 1 (and no ridge) it is one block power iteration; below 1 it averages over noisy matrices.

    Parameters
    ----------
    eta : float
        Damping, in (0, 1].
    ridge : float, optional
        Relative to the mean energy of a direction; keeps the step bounded where G has a rank below that of Q, which 0
        does not allow. Default: the square root of the machine epsilon, so that rounding does not move the directions
        that have no energy.
    oversampling : int
        Of the range finder that gives the first basis.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import ConstantRank, RiemannianStep, SubspaceTracker
    >>> rng = np.random.default_rng(0)
    >>> axes = np.diag([3.0, 2.0, 0.1, 0.1, 0.1])
    >>> tracker = SubspaceTracker(rule=RiemannianStep(eta=0.1), rank=ConstantRank(2), rng=0)
    >>> for _ in range(100):
    ...     change = tracker.update(axes @ rng.standard_normal((5, 8)))
    >>> bool(np.linalg.norm(tracker.basis[:2]) ** 2 > 1.99)  # the plane of the first two axes
    True
    """

    eta: float = 1.0
    ridge: float | None = None
    oversampling: int = 8

    def __post_init__(self) -> None:
        _require_fraction(self.eta, "eta")
        if self.ridge is not None:
            _require_number(self.ridge, "ridge")
            if not 0 <= self.ridge < math.inf:
                raise ValueError(f"ridge must be finite and not negative, got {self.ridge}")
        _require_count(self.oversampling, "oversampling")

    def directions(self, matrix: Array, size: int, basis: Array | None = None, rng: Seeds = None) -> Directions:
        _require_matrix(matrix, size, basis)
        if basis is None:
            return RandomizedRange(self.oversampling).directions(matrix, size, rng=rng)
        ridge = math.sqrt(machine_epsilon(matrix)) if self.ridge is None else self.ridge
        moved = preconditioned_step(basis, matrix, self.eta, ridge)
        return principal_axes(moved, matrix, products=2 * basis.shape[-1])


@dataclass(frozen=True)
class GeodesicStep(UpdateRule):
    """A step along the Grassmann geodesic of the leading singular triple of the gradient of the captured energy.

    With A = Q^T G, the horizontal gradient is T = (G - Q A) A^T. Its leading triple T v = sigma u gives the geodesic

        Q(theta) = Q + ( (cos(theta) - 1) Q v + sin(theta) u ) v^T,

    on which the captured energy is a trigonometric polynomial of degree two: its maximizer theta* is known in closed
    form, and the step goes the fraction ``step`` of the way. It has no scale to tune.

    Parameters
    ----------
    step : float
        Fraction of the angle to the best point of the geodesic, in (0, 1]; below 1 it averages over noisy matrices.
    oversampling : int
        Of the range finder that gives the first basis.

    References
    ----------
    Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix Anal. Appl. 20
    (1998), Theorem 2.3; Rajabi et al., SubTrack++, 2025 (rank-one tangents, there with a fixed step).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import ConstantRank, GeodesicStep, SubspaceTracker
    >>> tracker = SubspaceTracker(rule=GeodesicStep(), rank=ConstantRank(1), rng=0)
    >>> _ = tracker.update(np.diag([2.0, 1.0, 0.0]))
    >>> turned = np.array([[0.0, 0.6, -0.8], [0.0, 0.8, 0.6], [1.0, 0.0, 0.0]]) @ np.diag([0.0, 2.0, 1.0])
    >>> for _ in range(20):
    ...     change = tracker.update(turned)  # the leading axis is now (0.6, 0.8, 0)
    >>> np.abs(tracker.basis[:, 0]).round(6)
    array([0.6, 0.8, 0. ])
    """

    step: float = 1.0
    oversampling: int = 8

    def __post_init__(self) -> None:
        _require_fraction(self.step, "step")
        _require_count(self.oversampling, "oversampling")

    def directions(self, matrix: Array, size: int, basis: Array | None = None, rng: Seeds = None) -> Directions:
        _require_matrix(matrix, size, basis)
        if basis is None:
            return RandomizedRange(self.oversampling).directions(matrix, size, rng=rng)
        moved = geodesic_step(basis, matrix, self.step)
        return principal_axes(moved, matrix, products=2 * basis.shape[-1] + 1)


@dataclass(frozen=True)
class DCTBasis(UpdateRule):
    """Columns of the fixed discrete cosine basis, those that capture most: no product with G at all, only an FFT.

    References
    ----------
    Modoranu et al., DCT bases for low-rank optimizers, arXiv 2505.17967; Makhoul, A fast cosine transform in one and
    two dimensions, IEEE Trans. ASSP 28 (1980).

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import ConstantRank, DCTBasis, SubspaceTracker
    >>> tracker = SubspaceTracker(rule=DCTBasis(), rank=ConstantRank(1))
    >>> round(tracker.update(np.ones((4, 2))).captured_energy, 6)  # a constant column is the first cosine
    1.0
    """

    def directions(self, matrix: Array, size: int, basis: Array | None = None, rng: Seeds = None) -> Directions:
        _require_matrix(matrix, size)
        xp = namespace(matrix)
        m, n = matrix.shape[-2:]
        coefficients = cosine_transform(matrix)
        energies = xp.sum(coefficients * coefficients, axis=-1)
        leading = xp.argsort(energies, axis=-1, descending=True, stable=True)[..., : min(size, m, n)]
        chosen = xp.take_along_axis(energies, leading, axis=-1)
        return Directions(cosine_columns(m, leading, matrix), chosen, squared_norm(matrix), products=0)


@dataclass(frozen=True)
class RandomBasis(UpdateRule):
    """A random subspace, uniform on the Grassmann manifold, that does not look at G.

    Examples
    --------
    >>> import numpy as np
    >>> from manifolds import ConstantRank, RandomBasis, SubspaceTracker
    >>> tracker = SubspaceTracker(rule=RandomBasis(), rank=ConstantRank(3), rng=0)
    >>> round(tracker.update(np.eye(6)).captured_energy, 6)  # 3 of 6 equal directions
    0.5
    """

    def directions(self, matrix: Array, size: int, basis: Array | None = None, rng: Seeds = None) -> Directions:
        _require_matrix(matrix, size)
        m, n = matrix.shape[-2:]
        found = namespace(matrix).linalg.qr(random_matrix(rng, (m, min(size, m, n)), matrix))[0]
        return principal_axes(found, matrix)


def preconditioned_step(basis: Array, matrix: Array, eta: float, ridge: float) -> Array:
    """Basis after the step of :class:`RiemannianStep`, retracted by QR."""
    xp = namespace(matrix)
    r = basis.shape[-1]
    low = basis.mT @ matrix
    gram = low @ low.mT
    mean_energy = xp.sum(xp.linalg.diagonal(gram), axis=-1) / r
    # Where all energies vanish nothing is to be gained; a unit shift keeps the solve well posed.
    shift = xp.where(mean_energy > 0, ridge * mean_energy, xp.ones_like(mean_energy))
    gradient = matrix @ low.mT - basis @ gram
    step = xp.linalg.solve(gram + expand(shift, 2) * identity(r, matrix), gradient.mT).mT
    return xp.linalg.qr(basis + eta * step)[0]


def geodesic_step(basis: Array, matrix: Array, step: float) -> Array:
    """Basis after the step of :class:`GeodesicStep`."""
    xp = namespace(matrix)
    low = basis.mT @ matrix
    gradient = matrix @ low.mT - basis @ (low @ low.mT)
    # Of order one, since the fourth power of the entries of G may be out of range.
    largest = xp.max(xp.abs(gradient), axis=(-2, -1))
    largest = xp.where(largest > 0, largest, xp.ones_like(largest))
    gradient = gradient / expand(largest, 2)
    v = xp.linalg.eigh(gradient.mT @ gradient)[1][..., -1:]
    u = gradient @ v
    u = u - basis @ (basis.mT @ u)
    sigma = xp.sqrt(inner_product(u, u))
    # At a stationary point, where the gradient is rounding, the subspace stays.
    moves = sigma * largest > 16 * machine_epsilon(matrix) * squared_norm(matrix)
    u = u / expand(xp.where(moves, sigma, xp.ones_like(sigma)), 2)
    along, across = low.mT @ v, matrix.mT @ u
    a, b, c = inner_product(along, along), inner_product(along, across), inner_product(across, across)
    theta = xp.where(moves, 0.5 * step * xp.atan2(2 * b, a - c), xp.zeros_like(a))
    direction = expand(xp.cos(theta) - 1, 2) * (basis @ v) + expand(xp.sin(theta), 2) * u
    # One QR per step holds back the drift off orthonormality.
    return xp.linalg.qr(basis + direction @ v.mT)[0]


def _require_matrix(matrix: Array, size: int, basis: Array | None = None) -> None:
    if not is_array(matrix):
        raise TypeError(f"matrix must be a numpy array or a torch tensor, got {type(matrix).__name__}")
    if matrix.ndim < 2:
        raise ValueError(f"matrix must have shape (..., m, n), got {tuple(matrix.shape)}")
    require_real_floating(matrix, "matrix")
    require_integer("size", size, smallest=1)
    if basis is not None:
        require_same_kind(basis, matrix, "basis", "matrix")
        if basis.ndim < 2 or basis.shape[-2] != matrix.shape[-2]:
            raise ValueError(f"basis must have shape (..., {matrix.shape[-2]}, r), got {tuple(basis.shape)}")


def _require_number(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")


def _require_fraction(value: float, name: str) -> None:
    _require_number(value, name)
    if not 0 < value <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {value}")


def _require_count(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
