"""Runs on matrices of fixed rank: every method finds the truncated SVD, whatever the form of the gradient."""

import numpy as np
import pytest
import scipy.sparse
import torch

from manifolds import (
    FixedRank,
    FixedRankTwoFactors,
    LowRankMatrix,
    Product,
    ProjectorSplitting,
    Sphere,
    TruncatedSVD,
    TwoFactorPoint,
)
from rankopt import MaxIterations, minimize
from tests.arrays import assert_close

M, N, R = 8, 6, 2
TWO_FACTORS = FixedRankTwoFactors(M, N, R)
BOTH = pytest.mark.parametrize("manifold", [FixedRank(M, N, R), TWO_FACTORS], ids=["embedded", "two factors"])
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
@pytest.mark.parametrize(
    "manifold",
    [FixedRank(M, N, R, TruncatedSVD()), FixedRank(M, N, R, ProjectorSplitting()), TWO_FACTORS],
    ids=["truncated SVD", "projector splitting", "two factors"],
)
@pytest.mark.parametrize("method", ["gradient-descent", "conjugate-gradient", "lbfgs", "newton-cg", "trust-region"])
def test_every_method_finds_the_truncated_svd(method, manifold, form):
    result = minimize(cost, manifold, method=method, gradient=GRADIENTS[form], rng=1)
    assert result.success
    assert result.fun == pytest.approx(FLOOR, rel=1e-9)
    assert_close(result.x.to_dense(), BEST, 1e-5)


@BOTH
@pytest.mark.parametrize("method", ["gradient-descent", "conjugate-gradient", "lbfgs"])
def test_a_gradient_is_multiplied_with_two_bases_only(method, manifold):
    """Slopes and weights come from the factors: r columns from the right and r from the left for each gradient."""
    columns = []

    class Counted(Difference):
        def __matmul__(self, block):
            columns.append(block.shape[-1])
            return super().__matmul__(block)

        @property
        def T(self):  # noqa: N802
            return Counted(self.x.T, self.a.T)

    result = minimize(cost, manifold, method=method, gradient=lambda x: Counted(x, A), rng=1)
    assert columns == [R] * (2 * result.ngev)


@BOTH
def test_trust_region_with_hessian_products_in_factors(manifold):
    """Newton's steps at the end: each reduces the gradient's norm by more than its square root."""
    result = minimize(cost, manifold, gradient=as_factors, hessian=lambda x, v: v, method="trust-region", rng=1)
    assert result.ngev == result.nit + 1
    assert_close(result.x.to_dense(), BEST, 1e-6)


@BOTH
@pytest.mark.parametrize("method", [None, "trust-region"])
def test_autograd_on_torch_points(method, manifold):
    """Without a method conjugate gradients run, since autograd gives no Hessian products by the matrix."""
    a = torch.tensor(A)
    x0 = manifold.random_point(1, like=a)
    result = minimize(lambda x: 0.5 * ((x.to_dense() - a) ** 2).sum(), manifold, x0, method)
    assert result.success
    assert result.nhev == 0
    assert_close(result.x.to_dense(), BEST, 1e-4)


@BOTH
def test_a_matrix_beside_a_direction(manifold):
    """min |X - A|^2 / 2 + d^T D d over both: the factors of a product are independent."""
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    a = torch.tensor(A)
    space = Product(matrix=manifold, direction=Sphere(3))
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


@pytest.mark.parametrize("method", ["gradient-descent", "conjugate-gradient", "lbfgs", "trust-region"])
def test_runs_do_not_depend_on_the_two_factors(method):
    """The same steps up to rounding from factors that differ by a matrix of condition 100, and at another scale."""
    x0, (u, _, vt) = TWO_FACTORS.random_point(0), np.linalg.svd(RNG.standard_normal((R, R)))
    a = (u * [10.0, 0.1]) @ vt
    options = {"gradient": GRADIENTS["dense"], "hessian": lambda x, v: v.to_dense(), "stopping": MaxIterations(6)}
    first = minimize(cost, TWO_FACTORS, x0, method, **options)
    other = minimize(cost, TWO_FACTORS, TwoFactorPoint(x0.left @ a, x0.right @ np.linalg.inv(a).T), method, **options)
    np.testing.assert_allclose(other.history.fun, first.history.fun, rtol=1e-9)
    scaled = minimize(
        lambda x: cost(TwoFactorPoint(x.left / 1e3, x.right / 1e3)) * 1e12,
        TWO_FACTORS,
        TwoFactorPoint(1e3 * x0.left, 1e3 * x0.right),
        method,
        **options | {"gradient": lambda x: x.to_dense() - 1e6 * A},
    )
    np.testing.assert_allclose(scaled.history.fun, 1e12 * first.history.fun, rtol=1e-9)


@pytest.mark.parametrize("method", ["gradient-descent", "conjugate-gradient"])
def test_steps_in_two_factors_do_not_slow_down_with_the_singular_values(method):
    """On |X - A|^2 / 2 with singular values 1 and 1 / condition, as many steps for every condition."""
    steps, noise = [], np.random.default_rng(3).standard_normal((M, N))
    for condition in (1.0, 1e2, 1e4):
        a = (LEFT[:, :2] * [1.0, 1 / condition]) @ RIGHT[:, :2].T
        x0 = TWO_FACTORS.nearest_point(a + 0.2 / condition * noise)
        result = minimize(
            lambda x, a=a: 0.5 * ((x.to_dense() - a) ** 2).sum(), TWO_FACTORS, x0, method,
            gradient=lambda x, a=a: x.to_dense() - a,
        )  # fmt: skip
        assert result.success
        steps.append(result.nit)
    assert max(steps) <= 2 * min(steps) + 2
