"""Extreme eigenpairs of a symmetric pencil (A, B): one function for dense, sparse and operator pencils."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

from manifolds.generalized_stiefel import GeneralizedStiefel
from manifolds.gram import diagonal_of
from manifolds.linalg import (
    Array,
    Seed,
    cholesky,
    identity,
    is_array,
    is_numpy_array,
    is_scipy_sparse,
    machine_epsilon,
    namespace,
    require_finite,
    require_same_kind,
    solve_triangular,
    standard_normal,
    symmetric_part,
)
from manifolds.nystrom import NystromPreconditioner
from manifolds.operators import operator_kind, require_square_operator
from manifolds.preconditioners import DiagonalPreconditioner, IdentityPreconditioner, as_preconditioner
from manifolds.probes import (
    NotPositiveDefiniteError,
    require_positive_matrix,
    require_symmetric,
    require_symmetric_positive,
)
from manifolds.retractions import CholeskyQR
from manifolds.sketching import require_integer
from manifolds.stiefel import Stiefel
from problems.lobpcg import LOBPCG, Iteration, Pencil
from rankopt.minimize import minimize
from rankopt.quadratic import QuadraticObjective
from rankopt.solvers.conjugate_gradient import ConjugateGradient
from rankopt.solvers.method import Method
from rankopt.solvers.parameters import require_at_least
from rankopt.solvers.status import Status
from rankopt.solvers.stopping import CostChange, GradientNorm, MaxIterations

DIRECT_ORDER = 4000
"""Order up to which ``method="auto"`` factors a dense pencil."""

SPARSE_DIRECT_ORDER = 1000
"""Order up to which ``method="auto"`` fills a sparse pencil or an operator, and factors that."""

COLUMNS_PER_PAIR = 10
"""Order per wanted pair below which ``method="auto"`` is direct whatever the pencil: most of the space is wanted."""

NYSTROM_RANK = 64
"""Rank of the approximation of B by ``preconditioner="nystrom"``."""


@dataclass(frozen=True)
class GeneralizedEigenpairs:
    """Eigenpairs A x = lambda B x, and how they were found."""

    eigenvalues: Array
    """Shape (k,), the wanted end first: descending where the largest were asked for, else ascending."""
    eigenvectors: Array
    """Shape (n, k), with X^T B X = I; the entry of largest size in each column is positive."""
    residual_norms: Array
    """Shape (k,): norms of A x - lambda B x, divided by max(abs(lambda)) norm(B x)."""
    method: str
    """``"direct"``, ``"lobpcg"`` or ``"riemannian"``."""
    status: Status
    """Why the iteration ended; converged where there was none."""
    n_iter: int
    """Iterations; 1 for a direct solution."""
    a_products: int
    """Vectors that were multiplied with A; none where A was factored."""
    b_products: int
    """Vectors that were multiplied with B; none where B was factored or is the identity."""

    @property
    def success(self) -> bool:
        """Whether the pairs have the accuracy that was asked for, or that rounding allows."""
        return self.status.success


def generalized_eigh(
    A: Any,
    B: Any = None,
    k: int = 1,
    *,
    largest: bool = True,
    preconditioner: Any = None,
    method: str | LOBPCG | Method[Any] = "auto",
    tol: float | None = None,
    max_iter: int = 1000,
    x0: Array | None = None,
    rng: Seed = 0,
    probe: bool = True,
) -> GeneralizedEigenpairs:
    """Extreme eigenvalues and eigenvectors of a symmetric pencil, A x = lambda B x with X^T B X = I.

    Parameters
    ----------
    A : array, scipy sparse matrix, LinearOperator, or any object with ``shape`` and ``@``
        Symmetric matrix of order n, of any signature.
    B : like A, optional
        Symmetric positive definite matrix; the identity when left out.
    k : int
        Number of pairs, ``1 <= k <= n``.
    largest : bool
        Whether the largest eigenvalues are wanted, or the smallest (the most negative).
    preconditioner : None, array, object with ``solve``, "diagonal" or "nystrom"
        Symmetric positive definite M whose ``solve(v)`` is M^{-1} v (scipy's ``M`` is its inverse): a matrix, a vector
        (a diagonal) or an object of ``manifolds``. Close to B it serves the largest eigenvalues, close to A the
        smallest ones of a positive A. ``"diagonal"`` takes the diagonal of B for the largest, that of A for the
        smallest; ``"nystrom"`` a low-rank approximation of that matrix. When left out, the diagonal where it is known
        and positive. Direct solutions do not use it.
    method : {"auto", "direct", "lobpcg", "riemannian"}, LOBPCG or Method
        ``"direct"``: Cholesky factorisation of B and a dense eigensolver. ``"lobpcg"``: block preconditioned conjugate
        gradients, which only multiply with A and B. ``"riemannian"``: ``minimize`` on ``GeneralizedStiefel`` (or
        ``Stiefel``) in the metric M, by conjugate gradients; or a configured value: ``LOBPCG(oversampling=8)``,
        ``TrustRegion()``. ``"auto"``: direct for dense pencils of order up to 4000, others of order up to 1000 and
        where n < 10 k, else LOBPCG.
    tol : float, optional
        Bound for the residual norms as they are returned; for Riemannian methods, bound for the gradient's norm
        relative to that at the start. By default the root of the machine epsilon. Errors of eigenvalues are about its
        square.
    max_iter : int
        Iterations at most.
    x0 : array of shape (n, m), optional
        Start vectors, ``m <= k``; the others are random.
    rng : None, int, numpy.random.Generator or torch.Generator
        Of the random start vectors; the same result at each call unless another seed is given.
    probe : bool
        Whether A and B are probed for symmetry, and B for positivity, by products with a few random vectors.

    Returns
    -------
    GeneralizedEigenpairs
        In the library, dtype and device of A and B. Where the iteration did not converge, ``success`` is false.

    Raises
    ------
    TypeError, ValueError
        If A is not symmetric, B not symmetric positive definite, or an argument is out of its range.

    References
    ----------
    Golub, Van Loan, Matrix Computations (2013), Algorithm 8.7.1; Knyazev, SIAM J. Sci. Comput. 23 (2001); Shustin,
    Avron, Preconditioned Riemannian optimization on the generalized Stiefel manifold, J. Comput. Appl. Math. (2023).

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.diag([1.0, 2.0, 3.0, 4.0]), np.diag([1.0, 1.0, 1.0, 4.0])
    >>> pairs = generalized_eigh(a, b, k=2)
    >>> np.round(pairs.eigenvalues, 12)
    array([3., 2.])
    >>> np.round(generalized_eigh(a, b, k=1, largest=False, method="lobpcg").eigenvalues, 12)
    array([1.])
    """
    n = require_square_operator("A", A)
    like = operator_kind("A", A, preconditioner)
    if B is not None:
        like = _common_kind(A, B, n, like, preconditioner)
    require_integer("k", k, smallest=1)
    if k > n:
        raise ValueError(f"k must be at most the order {n} of A, got {k}")
    if not isinstance(largest, bool):
        raise TypeError(f"largest must be True or False, got {largest!r}")
    tol = machine_epsilon(like) ** 0.5 if tol is None else _as_tolerance(tol)
    require_at_least("max_iter", max_iter, 1, whole=True)
    if x0 is not None:
        _require_start(x0, n, k, like)
    chosen = _chosen(method, A, B, n, k)
    if probe:
        _probe(A, B, n, like)
    if isinstance(chosen, str):
        return _direct(_dense("A", A, like), None if B is None else _dense("B", B, like), k, largest)
    metric = _as_metric(preconditioner, A, B, n, like, largest=largest, probe=probe, rng=rng)
    a, b = Counted(A, like), Counted(B, like) if B is not None else _Identity(n)
    if isinstance(chosen, LOBPCG):
        iteration = Iteration(Pencil(a, b), metric, k=k, largest=largest, method=chosen, tol=tol, max_iter=max_iter)
        run = iteration.run(like, x0, rng)
        values, (x, ax, bx), status, n_iter, name = run.eigenvalues, run.block, run.status, run.n_iter, "lobpcg"
    else:
        start = None if x0 is None else _filled(x0, b, k, rng)
        manifold = Stiefel(n, k) if B is None else GeneralizedStiefel(b, k, preconditioner=metric, probe=False)
        quadratic = QuadraticObjective(a, scale=-1.0 if largest else 1.0, probe=False)
        stopping = GradientNorm(relative=tol) | CostChange() | MaxIterations(max_iter)
        result = minimize(quadratic, manifold, start, chosen, stopping=stopping, rng=rng)
        if result.status == Status.INTERRUPTED:
            raise KeyboardInterrupt
        x, ax, bx, values = _rotated(result.x, a, b, largest)
        status, n_iter, name = result.status, result.nit, "riemannian"
    residuals = _residual_norms(ax, bx, values)
    return GeneralizedEigenpairs(values, _signed(x), residuals, name, status, n_iter, a.count, b.count)


class Counted:
    """An operator that counts the vectors it is multiplied with."""

    def __init__(self, operator: Any, like: Array) -> None:
        self._operator, self.like, self.shape, self.dtype = operator, like, operator.shape, like.dtype
        self.count = 0

    def __matmul__(self, v: Array) -> Array:
        self.count += v.shape[1]
        return self._operator @ v


class _Identity:
    """B = I, of which no product is counted."""

    count = 0

    def __init__(self, n: int) -> None:
        self.shape = (n, n)

    def __matmul__(self, v: Array) -> Array:
        return v


def _common_kind(A: Any, B: Any, n: int, like: Array, preconditioner: Any) -> Array:
    """Kind of both matrices: arrays decide it, operators that do not say theirs follow."""
    if require_square_operator("B", B) != n:
        raise ValueError(f"B must have the order {n} of A, got shape {tuple(B.shape)}")
    other = operator_kind("B", B, preconditioner)
    if _says_kind(A) and _says_kind(B):
        require_same_kind(other, like, "B", "A")
    return other if _says_kind(B) and not _says_kind(A) else like


def _says_kind(operator: Any) -> bool:
    return is_array(operator) or is_array(getattr(operator, "like", None)) or is_scipy_sparse(operator)


def _as_tolerance(tol: Any) -> float:
    if isinstance(tol, bool) or not isinstance(tol, Real):
        raise TypeError(f"tol must be a number, got {tol!r}")
    if not 0 < float(tol) < 1:
        raise ValueError(f"tol must be between 0 and 1, got {tol}")
    return float(tol)


def _require_start(x0: Any, n: int, k: int, like: Array) -> None:
    require_same_kind(x0, like, "x0", "A")
    if x0.ndim != 2 or x0.shape[0] != n or not 1 <= x0.shape[1] <= k:
        raise ValueError(f"x0 must have the shape ({n}, m) with 1 <= m <= k = {k}, got {tuple(x0.shape)}")
    require_finite(x0, "x0")


def _chosen(method: Any, A: Any, B: Any, n: int, k: int) -> Any:
    """``"direct"``, a LOBPCG value or a Riemannian method."""
    if isinstance(method, (LOBPCG, Method)):
        return method
    if not isinstance(method, str):
        raise TypeError(
            f"method must be a name, LOBPCG() or a method such as TrustRegion(), got {type(method).__name__}"
        )
    if method == "auto":
        dense = all(part is None or is_array(part) for part in (A, B))
        direct = n <= (DIRECT_ORDER if dense else SPARSE_DIRECT_ORDER) or n < COLUMNS_PER_PAIR * k
        return "direct" if direct else LOBPCG()
    choices = {"direct": "direct", "lobpcg": LOBPCG(), "riemannian": ConjugateGradient()}
    if method not in choices:
        raise ValueError(f"method must be 'auto' or one of {sorted(choices)}, got {method!r}")
    return choices[method]


def _probe(A: Any, B: Any, n: int, like: Array) -> None:
    require_symmetric("A", lambda v: A @ v, n, like)
    if is_array(B):
        require_positive_matrix("B", B)
    elif B is not None:
        require_symmetric_positive("B", lambda v: B @ v, n, like)


def _as_metric(
    preconditioner: Any, A: Any, B: Any, n: int, like: Array, *, largest: bool, probe: bool, rng: Seed
) -> Any:
    """Preconditioner, by name or as it is given."""
    name, matrix = ("B", B) if largest else ("A", A)
    if not isinstance(preconditioner, str):
        if preconditioner is not None:
            return as_preconditioner(preconditioner, n, like, probe=probe)
        known = [diagonal_of(part) for part in (matrix, B) if part is not None]
        positive = (part for part in known if part is not None and bool(namespace(part).all(part > 0)))
        diagonal = next(positive, None)
        return IdentityPreconditioner() if diagonal is None else DiagonalPreconditioner(diagonal)
    if preconditioner not in ("diagonal", "nystrom"):
        raise ValueError(
            f"preconditioner must be 'diagonal', 'nystrom', an array or an object with solve, got {preconditioner!r}"
        )
    if matrix is None:
        return IdentityPreconditioner()
    if preconditioner == "nystrom":
        return NystromPreconditioner(matrix, min(NYSTROM_RANK, n), rng=rng)
    diagonal = diagonal_of(matrix)
    if diagonal is None:
        raise TypeError(
            f"preconditioner='diagonal' needs {name}.diagonal(), which {type(matrix).__name__} does not have"
        )
    if not bool(namespace(diagonal).all(diagonal > 0)):
        raise ValueError(f"preconditioner='diagonal' needs a positive diagonal of {name}; leave it out")
    return DiagonalPreconditioner(diagonal)


def _dense(name: str, operator: Any, like: Array) -> Array:
    """The matrix of an operator."""
    if is_array(operator):
        return operator
    if is_scipy_sparse(operator):
        return operator.toarray()
    return operator @ identity(operator.shape[0], like)


def _direct(a: Array, b: Array | None, k: int, largest: bool) -> GeneralizedEigenpairs:
    """Pairs by the Cholesky factor B = R^T R and a dense eigensolver for R^{-T} A R^{-1}."""
    n, xp = a.shape[0], namespace(a)
    chosen = slice(n - k, n) if largest else slice(0, k)
    factor = None if b is None else _positive_factor(b)
    if is_numpy_array(a):
        from scipy.linalg import eigh

        # LAPACK's own reduction of the pencil makes use of the symmetry of A.
        values, x = eigh(a, b, subset_by_index=(chosen.start, chosen.stop - 1), check_finite=False)
    else:
        values, x = xp.linalg.eigh(a if factor is None else _reduced(a, factor))
        values, x = values[chosen], x[:, chosen]
        x = x if factor is None else solve_triangular(factor, x)
    if largest:
        values, x = xp.flip(values), xp.flip(x, axis=1)
    residuals = _residual_norms(a @ x, x if b is None else b @ x, values)
    return GeneralizedEigenpairs(values, _signed(x), residuals, "direct", Status.CONVERGED_GRADIENT, 1, 0, 0)


_NOT_POSITIVE = "B must be positive definite, but its Cholesky factorisation fails; add a ridge to it"


def _positive_factor(b: Array) -> Array:
    """Cholesky factor of B; an error where it has none, or rounding is all that its pivots are."""
    xp, factor = namespace(b), cholesky(b)
    if factor is None:
        raise NotPositiveDefiniteError(_NOT_POSITIVE)
    pivots = xp.linalg.diagonal(factor) ** 2 / xp.linalg.diagonal(b)
    if not bool(xp.all(pivots > 10 * machine_epsilon(b))):
        raise NotPositiveDefiniteError(_NOT_POSITIVE)
    return factor


def _reduced(a: Array, factor: Array) -> Array:
    """R^{-T} A R^{-1}."""
    half = solve_triangular(factor, a, transpose=True)
    return symmetric_part(solve_triangular(factor, half.mT, transpose=True))


def _filled(x0: Array, b: Any, k: int, rng: Seed) -> Array:
    """B-orthonormal start of k columns whose first span is that of x0."""
    more = standard_normal(rng, (x0.shape[0], k - x0.shape[1]), x0)
    return CholeskyQR().orthonormalize(namespace(x0).concat([x0, more], axis=1), product=lambda v: b @ v)


def _rotated(x: Array, a: Any, b: Any, largest: bool) -> tuple[Array, Array, Array, Array]:
    """Ritz vectors of the span of a B-orthonormal X, their true products with A and B, and the Ritz values."""
    xp = namespace(x)
    ax, bx = a @ x, b @ x
    values, vectors = xp.linalg.eigh(symmetric_part(x.mT @ ax))
    if largest:
        values, vectors = xp.flip(values), xp.flip(vectors, axis=1)
    return x @ vectors, ax @ vectors, bx @ vectors, values


def _residual_norms(ax: Array, bx: Array, values: Array) -> Array:
    """Norms of A x - lambda B x relative to max(abs(lambda)) norm(B x); absolute ones where all lambda are zero."""
    xp = namespace(values)
    scale = xp.max(xp.abs(values))
    norm = xp.linalg.vector_norm
    return norm(ax - bx * values, axis=0) / (xp.where(scale > 0, scale, xp.ones_like(scale)) * norm(bx, axis=0))


def _signed(x: Array) -> Array:
    """Columns whose entry of largest size is positive."""
    xp = namespace(x)
    positive = xp.max(x, axis=0) >= -xp.min(x, axis=0)
    return xp.where(positive, x, -x)
