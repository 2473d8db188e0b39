"""Problems with known optima on many manifolds, for the solvers that use or build second derivatives."""

import numpy as np
import scipy.linalg
import torch

from manifolds import (
    CholeskyPreconditioner,
    GeneralizedStiefel,
    Grassmann,
    Oblique,
    Product,
    Rotations,
    Sphere,
    Stiefel,
)


def symmetric(n, seed=0):
    a = np.random.default_rng(seed).standard_normal((n, n))
    return (a + a.T) / 2


def spd(n, condition, seed=1):
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    return (q * np.geomspace(1.0, condition, n)) @ q.T


A, B, M = symmetric(8), spd(8, 30.0), spd(8, 20.0, seed=2)
LOWEST = np.linalg.eigvalsh(A)
LOWEST_OF_PENCIL = scipy.linalg.eigh(A, B, eigvals_only=True)
WEIGHTS = np.array([3.0, 2.0, 1.0])


class SolveOnly:
    """A metric that knows its inverse only."""

    def __init__(self, matrix):
        self.inverse = np.linalg.inv(matrix)

    def solve(self, v):
        return self.inverse @ v


def weighted(x):
    return x * WEIGHTS


def plain(x):
    return x


CASES = {
    # manifold, what multiplies the columns, least value of tr(X^T A X N)
    "sphere": (Sphere(8), plain, LOWEST[0]),
    "stiefel": (Stiefel(8, 3), plain, LOWEST[:3].sum()),
    "stiefel, Brockett": (Stiefel(8, 3), weighted, LOWEST[:3] @ WEIGHTS),
    "stiefel, canonical": (Stiefel(8, 3, metric="canonical"), weighted, LOWEST[:3] @ WEIGHTS),
    "grassmann": (Grassmann(8, 3), plain, LOWEST[:3].sum()),
    "oblique": (Oblique(8, 2), plain, 2 * LOWEST[0]),
    "generalized, M unrelated": (GeneralizedStiefel(B, 3, M), weighted, LOWEST_OF_PENCIL[:3] @ WEIGHTS),
    "generalized, M = B": (GeneralizedStiefel(B, 3, CholeskyPreconditioner(B)), plain, LOWEST_OF_PENCIL[:3].sum()),
    "generalized, M by solves": (GeneralizedStiefel(B, 3, SolveOnly(M)), plain, LOWEST_OF_PENCIL[:3].sum()),
}


class Quadratic:
    """tr(X^T A X N), by numpy or torch, with its derivatives and counts from outside."""

    def __init__(self, columns=plain, a=A):
        self.columns, self.a = columns, a
        self.costs = self.gradients = self.hessians = 0

    def cost(self, x):
        self.costs += 1
        return (x * (self.a @ self.columns(x))).sum()

    def gradient(self, x):
        self.gradients += 1
        return 2 * (self.a @ self.columns(x))

    def hessian(self, x, v):
        self.hessians += 1
        return 2 * (self.a @ self.columns(v))


def product_case():
    """A pair (direction, rotation), with the least value of the sum of its two costs."""
    manifold = Product(x=Sphere(8), y=Rotations(3))
    target = np.random.default_rng(5).standard_normal((3, 3))
    u, s, vt = np.linalg.svd(target)
    best = s[0] + s[1] + s[2] * np.sign(np.linalg.det(u @ vt))

    def cost(p):
        return p.x @ A @ p.x - (target * p.y).sum()

    def gradient(p):
        return manifold.point_type(2 * A @ p.x, -target)

    def hessian(p, v):
        return manifold.point_type(2 * A @ v.x, 0 * target)

    return manifold, cost, gradient, hessian, LOWEST[0] - best


def as_torch(array, dtype=torch.float64):
    return torch.tensor(array, dtype=dtype)
