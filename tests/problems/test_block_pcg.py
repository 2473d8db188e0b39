"""Conjugate gradients for several right-hand sides, against dense solutions."""

from __future__ import annotations

import numpy as np
import pytest

from manifolds import CholeskyPreconditioner, DiagonalPreconditioner, IdentityPreconditioner
from problems.block_pcg import block_pcg
from rankopt.solvers.status import Status
from tests.arrays import kind_of, spd, to_float64

N = 40
C = spd(N, 1e3, seed=0)
F = np.random.default_rng(1).standard_normal((N, 5))


@pytest.mark.parametrize("metric", ["identity", "diagonal", "exact"])
def test_solution(kind, metric):
    c, f = kind(C), kind(F)
    preconditioner = {
        "identity": IdentityPreconditioner(),
        "diagonal": DiagonalPreconditioner(kind(np.diag(C))),
        "exact": CholeskyPreconditioner(c),
    }[metric]
    double = kind.dtype == "float64"
    solution = block_pcg(c, f, preconditioner, tol=1e-11 if double else 1e-4, max_iter=500)
    assert solution.status is Status.CONVERGED_GRADIENT
    assert kind_of(solution.z) == kind
    expected = np.linalg.solve(C, F)
    np.testing.assert_allclose(
        to_float64(solution.z), expected, atol=(1e-8 if double else 0.05) * np.abs(expected).max()
    )
    np.testing.assert_allclose(to_float64(solution.cz), F, atol=1e-8 if double else 1e-2)
    assert solution.n_iter <= 2 if metric == "exact" else solution.n_iter > 2


def test_a_step_costs_one_product():
    class Counted:
        products = 0

        def __matmul__(self, v):
            self.products += 1
            return C @ v

    operator = Counted()
    solution = block_pcg(operator, F, IdentityPreconditioner(), tol=1e-6, max_iter=500)
    assert operator.products == solution.n_iter


def test_columns_that_are_solved_rest():
    f = np.column_stack([np.zeros(N), F[:, 0], C @ np.eye(N)[0]])
    solution = block_pcg(C, f, CholeskyPreconditioner(C), tol=1e-10, max_iter=50)
    assert solution.status is Status.CONVERGED_GRADIENT
    np.testing.assert_array_equal(solution.z[:, 0], 0.0)
    np.testing.assert_allclose(solution.z[:, 2], np.eye(N)[0], atol=1e-9)


def test_too_few_steps():
    solution = block_pcg(C, F, IdentityPreconditioner(), tol=1e-10, max_iter=3)
    assert (solution.status, solution.n_iter) == (Status.ITERATION_LIMIT, 3)
    # The error in the norm of C falls from step to step.
    exact = np.linalg.solve(C, F)
    assert np.trace((solution.z - exact).T @ C @ (solution.z - exact)) < 0.9 * np.trace(exact.T @ C @ exact)


def test_a_tolerance_below_rounding_ends_at_the_floor():
    solution = block_pcg(C, F, CholeskyPreconditioner(C), tol=1e-18, max_iter=50)
    assert solution.status is Status.APPROXIMATION_FLOOR
