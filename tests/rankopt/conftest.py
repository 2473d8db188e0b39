"""What the tests of the solvers share: symmetric matrices and the trace problem."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def spd():
    """Function that makes a symmetric positive definite matrix with given extreme eigenvalues 1 and ``condition``."""

    def make(n, condition=10.0, seed=0):
        q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
        a = (q * np.geomspace(1.0, condition, n)) @ q.T
        return 0.5 * (a + a.T)

    return make


class TraceObjective:
    """f(X) = tr(X^T A X), with its derivatives as separate functions."""

    def __init__(self, a):
        self.a = a

    def cost(self, x):
        return (x * (self.a @ x)).sum()

    def gradient(self, x):
        return 2 * (self.a @ x)

    def hessian(self, x, v):
        return 2 * (self.a @ v)

    def both(self, x):
        return self.cost(x), self.gradient(x)


@pytest.fixture
def trace_objective():
    return TraceObjective


class CountingOperator:
    """Matrix that can only be multiplied with from the left, and counts its products with a block of vectors."""

    def __init__(self, matrix):
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype
        self.products = 0

    def __matmul__(self, v):
        self.products += 1
        return self.matrix @ v


@pytest.fixture
def counting_operator():
    return CountingOperator
