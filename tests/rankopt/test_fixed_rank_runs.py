"""Runs on matrices of fixed rank: every method finds the truncated SVD, whatever the form of the gradient."""

import numpy as np
import pytest
import scipy.sparse
import torch

from manifolds import FixedRank, LowRankMatrix, Product, ProjectorSplitting, Sphere, TruncatedSVD
from rankopt import minimize
from tests.arrays import assert_close

M, N, R = 8, 6, 2
RNG = np.random.default_rng(0)
LEFT, RIGHT = np.linalg.qr(RNG.standard_normal((M, 4)))[0], np.linalg.qr(RNG.standard_normal((N, 4)))[0]
A = (LEFT * [4.0, 3.0, 1.0, 0.5]) @ RIGHT.T
BEST = (LEFT[:, :2] * [4.0, 3.0]) @ RIGHT[:, :2].T
"""Nearest matrix of rank 2, by Eckart and Young."""
FLOOR = 0.5 * (1.0 + 0.25)


def cost(x):
    return 0.5 * ((x.to_dense() - A) ** 2).sum()


class Difference:
    """The gradient X - A as an operator that forms no matrix."""

    def __init__(self, x, a):
        self.x, self.a, self.shape = x, a, a.shape

    def __matmul__(self, columns):
        return self.x @ columns - self.a @ columns

    @property
    def T(self):  # noqa: N802
        return Difference(self.x.T, self.a.T)


def as_factors(x):
    left, right = x.factors()
    return LowRankMatrix(np.concatenate([left, -LEFT * [4.0, 3.0, 1.0, 0.5]], 1), np.concatenate([right, RIGHT], 1))


GRADIENTS = {
    "dense": lambda x: x.to_dense() - A,
    "factors": as_factors,
    "sparse": lambda x: scipy.sparse.csr_array(x.to_dense() - A),
    "operator": lambda x: Difference(x, A),
}


@pytest.mark.parametrize("form", GRADIENTS)
@pytest.mark.parametrize("retraction", [TruncatedSVD(), ProjectorSplitting()])
@pytest.mark.parametrize("method", ["gradient-descent", "conjugate-gradient", "lbfgs", "newton-cg", "trust-region"])
def test_every_method_finds_the_truncated_svd(method, retraction, form):
    result = minimize(cost, FixedRank(M, N, R, retraction), method=method, gradient=GRADIENTS[form], rng=1)
    assert result.success
    assert result.fun == pytest.approx(FLOOR, rel=1e-9)
    assert_close(result.x.to_dense(), BEST, 1e-5)


def test_trust_region_with_hessian_products_in_factors():
    """Newton's steps at the end: each reduces the gradient's norm by more than its square root."""
    result = minimize(
        cost, FixedRank(M, N, R), gradient=as_factors, hessian=lambda x, v: v, method="trust-region", rng=1
    )
    assert result.ngev == result.nit + 1
    assert_close(result.x.to_dense(), BEST, 1e-6)


@pytest.mark.parametrize("method", [None, "trust-region"])
def test_autograd_on_torch_points(method):
    """Without a method conjugate gradients run, since autograd gives no Hessian products by the matrix."""
    a = torch.tensor(A)
    manifold = FixedRank(M, N, R)
    x0 = manifold.random_point(1, like=a)
    result = minimize(lambda x: 0.5 * ((x.to_dense() - a) ** 2).sum(), manifold, x0, method)
    assert result.success
    assert result.nhev == 0
    assert_close(result.x.to_dense(), BEST, 1e-4)


def test_a_matrix_beside_a_direction():
    """min |X - A|^2 / 2 + d^T D d over both: the factors of a product are independent."""
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    a = torch.tensor(A)
    space = Product(matrix=FixedRank(M, N, R), direction=Sphere(3))
    x0 = space.random_point(1, like=a)
    result = minimize(
        lambda x: 0.5 * ((x.matrix.to_dense() - a) ** 2).sum() + (weights * x.direction**2).sum(), space, x0, "lbfgs"
    )
    assert result.fun == pytest.approx(FLOOR + 1.0, rel=1e-9)


def test_a_start_point_nearby_is_projected_and_a_matrix_is_refused():
    manifold = FixedRank(M, N, R)
    x0 = manifold.random_point(0)
    near = x0._replace(U=1.001 * x0.U)
    assert minimize(cost, manifold, near, gradient=GRADIENTS["dense"]).success
    with pytest.raises(ValueError, match="x0: the matrix has a rank below 2; use a smaller rank"):
        minimize(cost, manifold, x0._replace(S=np.diag([1.0, 0.0])), gradient=GRADIENTS["dense"])
    with pytest.raises(TypeError, match=r"x0: a point of FixedRank\(8, 6, 2\) is a FixedRankPoint\(U, S, V\)"):
        minimize(cost, manifold, A, gradient=GRADIENTS["dense"])


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"gradient has shape \(6, 8\), but the point has shape \(8, 6\)"):
        minimize(cost, FixedRank(M, N, R), gradient=lambda x: x.to_dense().T, rng=0)
