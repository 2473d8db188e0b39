"""What several sets of variates are chosen for: functions of the correlation matrix between the scores of all views.

With scores Z_i = Xc_i U_i of covariance I in each view, the blocks K_ij = Z_i^T W Z_j of the matrix K, zero for i = j,
hold all correlations between views.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from manifolds.linalg import Array, identity, namespace, symmetric_part
from rankopt.solvers.parameters import require_at_least


class CriterionValue(ABC):
    """A criterion at a matrix K of m x m blocks of order p, zero on the diagonal.

    Attributes
    ----------
    value : float
    gradient : array of shape (mp, mp)
        With respect to K, symmetric; its blocks on the diagonal have no meaning.
    """

    value: float
    gradient: Array

    @abstractmethod
    def gradient_change(self, change: Array) -> Array:
        """Derivative of the gradient along a symmetric change of K."""

    @abstractmethod
    def components(self) -> list[Array]:
        """Coefficients C_i such that the directions U_i C_i belong to single components, the best one first."""


@dataclass(frozen=True)
class MultiviewCriterion(ABC):
    """A function of the correlations between views that is to be maximised."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What ``MultiviewCCA`` calls it."""

    @abstractmethod
    def at(self, correlations: Array, p: int) -> CriterionValue:
        """Value and derivatives at K, with blocks of order p."""


@dataclass(frozen=True)
class MaxVar(MultiviewCriterion):
    """MAXVAR: the sum of the p largest eigenvalues of K, those of the correlation matrix I + K minus one.

    Its maximum over all frames is a generalized eigenproblem, S w = lambda blkdiag(S_11, ..., S_mm) w: the eigenvectors
    are w_i = U_i a_i with (a_1, ..., a_m) an eigenvector of K, and lambda - 1 is its eigenvalue.

    References
    ----------
    Kettenring, Canonical analysis of several sets of variables, Biometrika 58 (1971), Section 3 (the largest
    eigenvalue); Via, Santamaria, Perez, A learning algorithm for adaptive canonical correlation analysis of several
    data sets, Neural Networks 20 (2007), for the eigenproblem and for several components.

    Examples
    --------
    >>> import numpy as np
    >>> measured = MaxVar().at(np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]), 1)
    >>> round(measured.value, 12)
    1.0
    """

    @property
    def name(self) -> str:
        return "maxvar"

    def at(self, correlations: Array, p: int) -> CriterionValue:
        return _LeadingEigenvalues(correlations, p)


class _LeadingEigenvalues(CriterionValue):
    """Sum of the p largest eigenvalues; its gradient is the projection onto their eigenvectors."""

    def __init__(self, correlations: Array, p: int) -> None:
        xp = namespace(correlations)
        self._values, self._vectors = xp.linalg.eigh(symmetric_part(correlations))
        self._p, self.value = p, float(xp.sum(self._values[-p:]))
        leading = self._vectors[:, -p:]
        self.gradient = leading @ leading.mT

    def gradient_change(self, change: Array) -> Array:
        # First-order perturbation of an invariant subspace: only what mixes leading with other vectors counts.
        xp, p = namespace(change), self._p
        leading, others = self._vectors[:, -p:], self._vectors[:, :-p]
        gaps = self._values[-p:] - self._values[:-p, None]
        # Where eigenvalues coincide the criterion has a kink; any finite derivative will do there.
        gaps = xp.where(gaps > 0, gaps, xp.ones_like(gaps))
        moved = others @ ((others.mT @ change @ leading) / gaps)
        half = moved @ leading.mT
        return half + half.mT

    def components(self) -> list[Array]:
        xp, p = namespace(self.gradient), self._p
        m = self.gradient.shape[0] // p
        # Of unit variance on average over the views.
        leading = m**0.5 * xp.flip(self._vectors[:, -p:], axis=1)
        return [leading[i * p : (i + 1) * p] for i in range(m)]


@dataclass(frozen=True)
class SumCor(MultiviewCriterion):
    """SUMCOR: the sum of the correlations of all pairs of views, tr K_ij over i < j.

    It has local maxima where there are more than two views.

    Parameters
    ----------
    starts : int
        Start points: the solution of MAXVAR as far as it is known, and random ones. The best result is kept.

    References
    ----------
    Horst, Relations among m sets of measures, Psychometrika 26 (1961); Kettenring, Canonical analysis of several sets
    of variables, Biometrika 58 (1971), Section 3.

    Examples
    --------
    >>> import numpy as np
    >>> measured = SumCor().at(np.array([[0.0, 0.5, 0.4], [0.5, 0.0, 0.3], [0.4, 0.3, 0.0]]), 1)
    >>> round(measured.value, 12)
    1.2
    """

    starts: int = 1

    def __post_init__(self) -> None:
        require_at_least("starts", self.starts, 1, whole=True)

    @property
    def name(self) -> str:
        return "sumcor"

    def at(self, correlations: Array, p: int) -> CriterionValue:
        return _SumOfTraces(correlations, p)


class _SumOfTraces(CriterionValue):
    """Half the inner product with the matrix whose blocks are all the identity."""

    def __init__(self, correlations: Array, p: int) -> None:
        xp, m = namespace(correlations), correlations.shape[0] // p
        row = xp.concat([identity(p, correlations)] * m, axis=1)
        self.gradient = xp.concat([row] * m, axis=0) / 2
        self._correlations, self._p = correlations, p
        self.value = float(xp.sum(correlations * self.gradient))

    def gradient_change(self, change: Array) -> Array:
        return 0 * change

    def components(self) -> list[Array]:
        xp, p = namespace(self.gradient), self._p
        m = self.gradient.shape[0] // p
        # A rotation that all views share changes nothing; it is chosen to make the sum of the blocks diagonal.
        blocks = [self._correlations[i * p : (i + 1) * p, j * p : (j + 1) * p] for i in range(m) for j in range(m)]
        vectors = xp.linalg.eigh(symmetric_part(sum(blocks[1:], start=blocks[0])))[1]
        return [xp.flip(vectors, axis=1)] * m


CRITERIA: dict[str, MultiviewCriterion] = {"maxvar": MaxVar(), "sumcor": SumCor()}
