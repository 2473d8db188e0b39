"""Quadratic problems with dense symmetric matrices: Rayleigh quotient, dominant subspace, Brockett, and a pencil.

The matrices are random, A = (G + G^T) / sqrt(2 n) with the spectrum of a semicircle, where the gap that decides the
number of steps closes with n. B = Q diag(1 ... 100) Q^T. The oracle is LAPACK's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pymanopt
import scipy.linalg
import scipy.sparse.linalg

from manifolds import CholeskyPreconditioner, GeneralizedStiefel, Grassmann, Sphere, Stiefel
from problems import generalized_eigh
from rankopt import QuadraticObjective

from .instances import Coordinates, Instance, orthonormality_error
from .instruments import CountedMatrix, Functions, Instrument
from .libraries import geoopt


def symmetric_matrix(n: int) -> np.ndarray:
    """Random symmetric matrix with the spectrum of a semicircle of radius 2."""
    g = np.random.default_rng(n).standard_normal((n, n))
    return (g + g.T) / (2 * n) ** 0.5


def minus_trace(a: np.ndarray) -> Functions:
    """-tr(X^T A X)."""
    return Functions(lambda x: -np.vdot(x, a @ x), lambda x: -2 * (a @ x), lambda x, v: -2 * (a @ v))


def eigensolvers(a: np.ndarray, p: int) -> dict[str, Any]:
    """Leading eigenvectors by scipy's solvers and by ours for pencils."""

    def point(x: np.ndarray, like: np.ndarray) -> np.ndarray:
        return x.reshape(like.shape)

    def lanczos(start, instrument):
        first = start if start.ndim == 1 else start[:, 0]
        return point(scipy.sparse.linalg.eigsh(CountedOperator(a, instrument), k=p, which="LA", v0=first)[1], start)

    def lobpcg(start, instrument):
        x = start.reshape(len(a), -1).copy()
        matrix = CountedOperator(a, instrument)
        return point(scipy.sparse.linalg.lobpcg(matrix, x, tol=1e-5, maxiter=1000, largest=True)[1], start)

    def dense(start, instrument):
        return point(scipy.linalg.eigh(a, subset_by_index=(len(a) - p, len(a) - 1))[1], start)

    def ours(start, instrument):
        return point(generalized_eigh(a, k=p).eigenvectors, start)

    solvers = {"scipy eigsh": lanczos, "scipy eigh": dense, "rankopt generalized_eigh": ours}
    # scipy's LOBPCG takes no more than a fifth of the dimension.
    return solvers | ({"scipy lobpcg": lobpcg} if len(a) >= 5 * p else {})


class CountedOperator(scipy.sparse.linalg.LinearOperator):
    """A matrix whose products are counted, for scipy's eigensolvers."""

    def __init__(self, matrix: np.ndarray, instrument: Instrument) -> None:
        super().__init__(matrix.dtype, matrix.shape)
        self._counted = CountedMatrix(matrix, instrument)

    def _matvec(self, v):
        return self._counted @ v

    def _matmat(self, v):
        return self._counted @ v


# --------------------------------------------------------------------------------------------- Rayleigh quotient
def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z)


def _pull_to_ray(z: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    x = _unit(z)
    return (gradient - (x @ gradient) * x) / np.linalg.norm(z)


def rayleigh_quotient(size: str, n: int) -> Instance:
    """The leading eigenvector on the sphere."""
    a = symmetric_matrix(n)
    return Instance(
        problem="Rayleigh quotient",
        size=size,
        label=f"n = {n}",
        functions=minus_trace(a),
        manifold=lambda: Sphere(n),
        start=lambda seed: Sphere(n).random_point(rng=seed),
        optimum=-float(scipy.linalg.eigh(a, eigvals_only=True, subset_by_index=(n - 1, n - 1))[0]),
        infeasibility=lambda x: abs(float(x @ x) - 1),
        pymanopt=lambda: Coordinates(pymanopt.manifolds.Sphere(n)),
        geoopt=lambda: Coordinates(geoopt.Sphere()),
        parametrization=Coordinates(leave=_unit, pull=_pull_to_ray),
        matrix=a,
        quadratic=lambda matrix: QuadraticObjective(matrix, scale=-2),
        direct=eigensolvers(a, 1),
    )


# -------------------------------------------------------------------------------------------- frames and subspaces
def _frame(z: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.linalg.qr(z.reshape(shape))[0]


def _pull_to_basis(z: np.ndarray, gradient: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Gradient by any basis Z = X R of the span, for a cost that depends on the span only."""
    x, r = np.linalg.qr(z.reshape(shape))
    return scipy.linalg.solve_triangular(r, (gradient - x @ (x.T @ gradient)).T).T.ravel()


def dominant_subspace(size: str, n: int, p: int) -> Instance:
    """The span of the p leading eigenvectors on the Grassmann manifold."""
    a = symmetric_matrix(n)
    return Instance(
        problem="dominant subspace",
        size=size,
        label=f"n = {n}, p = {p}",
        functions=minus_trace(a),
        manifold=lambda: Grassmann(n, p),
        start=lambda seed: Grassmann(n, p).random_point(rng=seed),
        optimum=-float(scipy.linalg.eigh(a, eigvals_only=True, subset_by_index=(n - p, n - 1)).sum()),
        infeasibility=orthonormality_error,
        pymanopt=lambda: Coordinates(pymanopt.manifolds.Grassmann(n, p)),
        geoopt=lambda: Coordinates(geoopt.EuclideanStiefel()),
        parametrization=Coordinates(
            enter=np.ravel, leave=partial(_frame, shape=(n, p)), pull=partial(_pull_to_basis, shape=(n, p))
        ),
        matrix=a,
        quadratic=lambda matrix: QuadraticObjective(matrix, scale=-2),
        direct=eigensolvers(a, p),
    )


def brockett(size: str, n: int, p: int) -> Instance:
    """The p lowest eigenvectors, each by itself, on the Stiefel manifold: tr(X^T A X N) with N = diag(p, ..., 1)."""
    a, weights = symmetric_matrix(n), np.arange(float(p), 0.0, -1.0)

    def lowest(start, instrument):
        return scipy.linalg.eigh(a, subset_by_index=(0, p - 1))[1]

    def lanczos(start, instrument):
        matrix = CountedOperator(a, instrument)
        return scipy.sparse.linalg.eigsh(matrix, k=p, which="SA", v0=start[:, 0])[1]

    return Instance(
        problem="Brockett",
        size=size,
        label=f"n = {n}, p = {p}",
        functions=Functions(
            lambda x: np.vdot(x * weights, a @ x), lambda x: 2 * (a @ x) * weights, lambda x, v: 2 * (a @ v) * weights
        ),
        manifold=lambda: Stiefel(n, p),
        start=lambda seed: Stiefel(n, p).random_point(rng=seed),
        optimum=float(weights @ scipy.linalg.eigh(a, eigvals_only=True, subset_by_index=(0, p - 1))),
        infeasibility=orthonormality_error,
        pymanopt=lambda: Coordinates(pymanopt.manifolds.Stiefel(n, p)),
        geoopt=lambda: Coordinates(geoopt.EuclideanStiefel()),
        matrix=a,
        quadratic=lambda matrix: QuadraticObjective(matrix, weights=weights, scale=2),
        direct={
            "scipy eigh": lowest,
            "scipy eigsh": lanczos,
            "rankopt generalized_eigh": lambda start, instrument: generalized_eigh(a, k=p, largest=False).eigenvectors,
        },
    )


# ------------------------------------------------------------------------------------------ generalized eigenproblem
def generalized_eigenproblem(size: str, n: int, p: int) -> Instance:
    """The p leading eigenvectors of a pencil: -tr(X^T A X) with X^T B X = I.

    Ours works on the generalized Stiefel manifold in the metric of B. Libraries without it get the whitened problem,
    Z = R X with B = R^T R, on the Grassmann manifold (geoopt: Stiefel); the factorisation is part of the run.
    """
    a = symmetric_matrix(n)
    q = np.linalg.qr(np.random.default_rng(n + 1).standard_normal((n, n)))[0]
    b = (q * np.geomspace(1, 100, n)) @ q.T
    b = (b + b.T) / 2

    def whitened(manifold):
        r = scipy.linalg.cholesky(b)
        solve = partial(scipy.linalg.solve_triangular, r, check_finite=False)
        return Coordinates(manifold, lambda x: r @ x, solve, lambda z, gradient: solve(gradient, trans=1), solve)

    def basis(z):
        y = z.reshape(n, p)
        r = scipy.linalg.cholesky(y.T @ (b @ y))
        return scipy.linalg.solve_triangular(r, y.T, trans=1).T

    def pull_to_basis(z, gradient):
        y = z.reshape(n, p)
        by = b @ y
        r = scipy.linalg.cholesky(y.T @ by)
        x, bx = (scipy.linalg.solve_triangular(r, part.T, trans=1).T for part in (y, by))
        return scipy.linalg.solve_triangular(r, (gradient - bx @ (x.T @ gradient)).T).T.ravel()

    def dense(start, instrument):
        return scipy.linalg.eigh(a, b, subset_by_index=(n - p, n - 1))[1]

    def lobpcg(start, instrument):
        matrix = CountedOperator(a, instrument)
        return scipy.sparse.linalg.lobpcg(matrix, start.copy(), B=b, tol=1e-5, maxiter=1000, largest=True)[1]

    manifold = GeneralizedStiefel(b, p, preconditioner=CholeskyPreconditioner(b))
    return Instance(
        problem="generalized eigenproblem",
        size=size,
        label=f"n = {n}, p = {p}",
        functions=minus_trace(a),
        manifold=lambda: GeneralizedStiefel(b, p, preconditioner=CholeskyPreconditioner(b)),
        start=lambda seed: manifold.random_point(rng=seed),
        optimum=-float(scipy.linalg.eigh(a, b, eigvals_only=True, subset_by_index=(n - p, n - 1)).sum()),
        infeasibility=lambda x: float(np.linalg.norm(x.T @ (b @ x) - np.eye(p))),
        pymanopt=lambda: whitened(pymanopt.manifolds.Grassmann(n, p)),
        geoopt=lambda: whitened(geoopt.EuclideanStiefel()),
        parametrization=Coordinates(enter=np.ravel, leave=basis, pull=pull_to_basis),
        matrix=a,
        quadratic=lambda matrix: QuadraticObjective(matrix, scale=-2),
        direct={
            "scipy eigh": dense,
            "rankopt generalized_eigh": lambda start, instrument: generalized_eigh(a, b, k=p).eigenvectors,
        }
        | ({"scipy lobpcg": lobpcg} if n >= 5 * p else {}),
    )


def instances() -> Iterator[tuple[str, Any]]:
    """Size and maker of every instance."""
    for size, n in (("tiny", 10), ("small", 100), ("small", 500), ("large", 2000)):
        yield size, partial(rayleigh_quotient, size, n)
    for size, n, p in (("tiny", 10, 2), ("small", 100, 4), ("small", 500, 8), ("large", 2000, 12)):
        yield size, partial(dominant_subspace, size, n, p)
    for size, n, p in (("tiny", 10, 3), ("small", 60, 4), ("small", 300, 6), ("large", 1500, 8)):
        yield size, partial(brockett, size, n, p)
    for size, n, p in (("tiny", 10, 2), ("small", 100, 4), ("small", 400, 6), ("large", 1500, 8)):
        yield size, partial(generalized_eigenproblem, size, n, p)
