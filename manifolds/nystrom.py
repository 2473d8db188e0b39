"""Randomized Nystrom approximation of a positive semidefinite matrix, and the preconditioner made from it."""

from __future__ import annotations

from typing import Any, NamedTuple

from manifolds.gram import as_symmetric_operator, diagonal_of, split_ridge
from manifolds.linalg import (
    Array,
    Seed,
    cholesky,
    identity,
    machine_epsilon,
    namespace,
    norm,
    solve_triangular,
    standard_normal,
    symmetric_part,
)
from manifolds.preconditioners import LowRankPreconditioner
from manifolds.probes import NotPositiveDefiniteError, checked_image, require_symmetric_gram
from manifolds.sketching import require_integer


class NystromApproximation(NamedTuple):
    """The approximation U diag(lambda) U^T of a positive semidefinite matrix G from below, and the trace of G."""

    eigenvalues: Array
    """lambda, shape (rank,), descending and non-negative."""
    eigenvectors: Array
    """U, shape (n, rank), orthonormal columns."""
    trace: float
    """tr(G) where the diagonal of G is known, else an estimate from the products; at least the sum of lambda."""

    def effective_dimension(self, ridge: float) -> float:
        """Estimate of tr(G (G + ridge I)^{-1}), the number of eigenvalues of G that stand out of the ridge.

        The terms lambda_i / (lambda_i + ridge) are summed; the part of the trace that the approximation misses is
        spread evenly over the other n - rank eigenvalues, which makes the most of it.
        """
        n, rank = self.eigenvectors.shape
        found = float(sum(_share(float(value), ridge) for value in self.eigenvalues))
        missed = self.trace - float(namespace(self.eigenvalues).sum(self.eigenvalues))
        # What rounding leaves of the trace is no eigenvalue.
        if rank == n or missed <= rank * machine_epsilon(self.eigenvalues) * self.trace:
            return found
        return found + (n - rank) * _share(missed / (n - rank), ridge)


def _share(eigenvalue: float, ridge: float) -> float:
    return eigenvalue / (eigenvalue + ridge) if eigenvalue > 0 else 0.0


def randomized_nystrom(gram: Any, rank: int, rng: Seed = None) -> NystromApproximation:
    """Nystrom approximation (G W)(W^T G W)^{-1}(G W)^T of a positive semidefinite G, W random with orthonormal columns.

    Parameters
    ----------
    gram : array, scipy sparse matrix, LinearOperator, GramOperator, or any object with ``shape`` and ``@``
        Symmetric positive semidefinite G of order n; one product with ``rank`` columns is taken.
    rank : int
        Number of columns of W, ``1 <= rank <= n``.
    rng : None, int, numpy.random.Generator or torch.Generator

    Returns
    -------
    NystromApproximation

    Raises
    ------
    TypeError, ValueError
        If G is no symmetric positive semidefinite operator, or the rank does not fit.

    References
    ----------
    Frangella, Tropp, Udell, Randomized Nystrom preconditioning, SIAM J. Matrix Anal. Appl. 44 (2023), Algorithm 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> approximation = randomized_nystrom(np.diag([4.0, 1.0, 0.0, 0.0]), rank=3, rng=0)
    >>> np.allclose(approximation.eigenvalues, [4.0, 1.0, 0.0])
    True
    >>> round(approximation.effective_dimension(ridge=1.0), 6)
    1.3
    """
    gram, like = as_symmetric_operator("gram", gram)
    n = gram.shape[0]
    require_integer("rank", rank, smallest=1)
    if rank > n:
        raise ValueError(f"rank must be at most the order {n} of gram, got {rank}")
    xp = namespace(like)
    omega = xp.linalg.qr(standard_normal(rng, (n, rank), like))[0]
    y = checked_image("gram", lambda v: gram @ v, omega)
    core = omega.mT @ y
    require_symmetric_gram("gram", core, norm(omega) ** 2)
    core = symmetric_part(core)
    diagonal = diagonal_of(gram)
    # The frame W is uniformly distributed, so (n / rank) tr(W^T G W) is unbiased.
    trace = float(xp.sum(xp.linalg.diagonal(core))) * n / rank if diagonal is None else float(xp.sum(diagonal))
    # A shift of the size of rounding makes the core positive definite where G is of lower rank than asked for.
    shift = max(machine_epsilon(y) * float(norm(y)), float(xp.finfo(y.dtype).smallest_normal))
    r = cholesky(core + shift * identity(rank, core))
    for _ in range(2):
        if r is None:
            shift *= 10
            r = cholesky(core + shift * identity(rank, core))
    if r is None:
        raise ValueError("gram must be positive semidefinite, but x^T gram x is negative for some vectors x")
    factor = solve_triangular(r, (y + shift * omega).mT, transpose=True).mT
    eigenvectors, singular_values, _ = xp.linalg.svd(factor, full_matrices=False)
    squares = singular_values**2
    # What does not stand out of the shift is rounding.
    eigenvalues = xp.where(squares > 2 * shift, squares - shift, xp.zeros_like(squares))
    return NystromApproximation(eigenvalues, eigenvectors, max(trace, float(xp.sum(eigenvalues))))


class NystromPreconditioner(LowRankPreconditioner):
    """M = U diag(lambda + ridge) U^T + (lambda_s + ridge) (I - U U^T), close to B = G + ridge I, from s columns of G.

    U and lambda are the randomized Nystrom approximation of G, lambda_s its smallest eigenvalue. M^{-1} v costs two
    products with U. M is the preconditioner of the paper times (lambda_s + ridge), which puts it on the scale of B.
    With a rank of three times the effective dimension tr(G (G + ridge I)^{-1}), cond(M^{-1} B) is below 28 in the mean,
    and it is never much above that of B.

    Parameters
    ----------
    gram : array, scipy sparse matrix, LinearOperator, GramOperator, or any object with ``shape`` and ``@``
        Symmetric positive semidefinite G of order n; one product with ``rank`` columns is taken. The ridge of a
        ``GramOperator`` counts as part of ``ridge``, not of G.
    rank : int
        Number of columns s, ``1 <= rank <= n``.
    ridge : float
        Non-negative multiple of the identity that B contains besides G.
    rng : None, int, numpy.random.Generator or torch.Generator

    Attributes
    ----------
    approximation : NystromApproximation
    ridge : float
    effective_dimension : float
        Estimate of tr(G (G + ridge I)^{-1}).

    Raises
    ------
    TypeError, ValueError
        If G is no symmetric positive semidefinite operator, the rank does not fit, or M would be singular.

    References
    ----------
    Frangella, Tropp, Udell, Randomized Nystrom preconditioning, SIAM J. Matrix Anal. Appl. 44 (2023), Equation (1.3),
    Algorithm 3.1 and Theorem 5.1.

    Examples
    --------
    >>> import numpy as np
    >>> spectrum = 2.0 ** -np.arange(20.0)
    >>> m = NystromPreconditioner(np.diag(spectrum), rank=12, ridge=1e-2, rng=0)
    >>> eigenvalues = np.linalg.eigvals(m.solve(np.diag(spectrum + 1e-2))).real
    >>> bool(eigenvalues.max() / eigenvalues.min() < 2), round((1 + 1e-2) / (spectrum[-1] + 1e-2))
    (True, 101)
    """

    def __init__(self, gram: Any, rank: int, ridge: float = 0.0, *, rng: Seed = None) -> None:
        gram, self.ridge = split_ridge(gram, ridge)
        self.approximation = randomized_nystrom(gram, rank, rng)
        self.effective_dimension = self.approximation.effective_dimension(self.ridge)
        eigenvalues = self.approximation.eigenvalues + self.ridge
        smallest = float(eigenvalues[-1])
        rounding = gram.shape[0] * machine_epsilon(eigenvalues) * float(eigenvalues[0])
        if not smallest > (0.0 if self.ridge else rounding):
            raise NotPositiveDefiniteError(
                f"gram has a numerical rank below rank = {rank} and there is no ridge, so M is singular; "
                "use a ridge or a smaller rank"
            )
        super().__init__(self.approximation.eigenvectors, eigenvalues, smallest)
