"""Matrices of fixed rank as two factors: the geometry of FixedRank, whatever the factors are."""

import numpy as np
import pytest
import torch

from manifolds import (
    FixedRank,
    FixedRankTwoFactors,
    LowRankMatrix,
    RankDeficientError,
    TwoFactorPoint,
    TwoFactorTangent,
)
from rankopt import MaxIterations, minimize
from tests.arrays import DOUBLE, KINDS, assert_close, tree

M, N, R = 7, 5, 2
MANIFOLD, EMBEDDED = FixedRankTwoFactors(M, N, R), FixedRank(M, N, R)
A, H = np.random.default_rng(2).standard_normal((2, M, N))


def setting(kind=DOUBLE):
    x = MANIFOLD.random_point(0, kind.like)
    return x, MANIFOLD.random_tangent_vector(x, 1)


def mixed(x, kind=DOUBLE):
    """The same matrix from other factors, one of them a thousand times larger."""
    a = kind(1e3 * np.random.default_rng(5).standard_normal((R, R)))
    return TwoFactorPoint(x.left @ a, x.right @ kind(np.linalg.inv(np.asarray(a)).T))


def shifted(v):
    """The same vector, of which other shares are made by the two factors."""
    a = np.random.default_rng(6).standard_normal((R, R))
    return TwoFactorTangent(v.point, v.left + v.point.left @ a, v.right - v.point.right @ a.T)


# ------------------------------------------------------------------------------------------------ independent oracles


@pytest.mark.parametrize("factors", [lambda x: x, mixed], ids=["balanced", "mixed"])
def test_geometry_equals_that_of_fixed_rank(factors):
    x, v = setting()
    x, y = factors(x), EMBEDDED.nearest_point(x)
    v, w = MANIFOLD.projection(x, v), EMBEDDED.projection(y, v)
    assert_close(v.to_dense(), w.to_dense(), 1e-12)
    for ours, theirs in (
        (MANIFOLD.projection(x, A), EMBEDDED.projection(y, A)),
        (MANIFOLD.euclidean_to_riemannian_gradient(x, A), EMBEDDED.euclidean_to_riemannian_gradient(y, A)),
        (
            MANIFOLD.euclidean_to_riemannian_hessian(x, A, H, v),
            EMBEDDED.euclidean_to_riemannian_hessian(y, A, H, w),
        ),
    ):
        assert_close(ours.to_dense(), theirs.to_dense(), 1e-11)
    assert MANIFOLD.dim == EMBEDDED.dim
    assert float(MANIFOLD.norm(x, v)) == pytest.approx(np.linalg.norm(v.to_dense()), rel=1e-12)


def test_a_step_is_that_of_the_factors():
    x, v = setting()
    expected = (x.left + 0.7 * v.left) @ (x.right + 0.7 * v.right).T
    curve = MANIFOLD.at(x).retraction_curve(v)
    assert_close(curve.point(0.7).to_dense(), expected, 1e-15)
    y = MANIFOLD.retraction(x, v)
    moved = MANIFOLD.transport(x, y, v)
    assert_close(moved.to_dense(), v.left @ y.right.T + y.left @ v.right.T, 1e-15)


def test_gradients_change_both_factors_alike_in_what_both_can_make():
    """L^T dL (L^T L)^{-1} equals its counterpart (R^T R)^{-1} dR^T R, which fixes the factors' shares."""
    x = mixed(setting()[0])
    v = MANIFOLD.euclidean_to_riemannian_gradient(x, A)
    share_left = np.linalg.lstsq(x.left, v.left, rcond=None)[0]
    share_right = np.linalg.lstsq(x.right, v.right, rcond=None)[0]
    assert_close(share_left, share_right.T, 1e-10)


def test_second_order_retraction_against_a_dense_series():
    """X + V + V_p X^+ V_p to second order, V_p with the part within both spans taken off."""
    x, v = setting()
    dense, w = x.to_dense(), v.to_dense()
    q, p = np.linalg.qr(x.left)[0], np.linalg.qr(x.right)[0]
    normal = (w - q @ (q.T @ w)) @ np.linalg.pinv(dense) @ (w - (w @ p) @ p.T)
    for t in (1e-3, 1e-4):
        y = MANIFOLD.second_order_retraction(x, MANIFOLD.linear_combination(t, v, 0.0, v)).to_dense()
        assert np.linalg.norm(y - (dense + t * w + t**2 * normal)) < 3 * t**3


def test_results_do_not_depend_on_the_factors_or_their_shares():
    x, v = setting()
    other = mixed(x)
    w = MANIFOLD.projection(other, v)
    for y, z in ((x, shifted(v)), (other, w), (other, shifted(w))):
        geometry = MANIFOLD.at(y)
        assert_close(z.to_dense(), v.to_dense(), 1e-12)
        assert float(geometry.norm(z)) == pytest.approx(1.0, abs=1e-10)
        assert float(geometry.pairing(geometry.gradient_covector(A), z)) == pytest.approx(
            np.sum(A * v.to_dense()), abs=1e-11
        )
        hessian = geometry.riemannian_hessian(A, H, z)
        assert_close(hessian.to_dense(), MANIFOLD.euclidean_to_riemannian_hessian(x, A, H, v).to_dense(), 1e-10)
        assert_close(
            geometry.second_order_retraction(z).to_dense(), MANIFOLD.second_order_retraction(x, v).to_dense(), 1e-10
        )
    assert_close(MANIFOLD.retraction(other, w).to_dense(), MANIFOLD.retraction(x, v).to_dense(), 1e-11)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.library == "torch"], ids=str)
def test_gradient_from_factors_is_that_of_autograd(kind):
    x = mixed(setting(kind)[0], kind)
    a = kind(A)
    left, right = (factor.clone().requires_grad_(True) for factor in x)
    dleft, dright = torch.autograd.grad(((left @ right.mT - a) ** 2).sum(), (left, right))
    ours = x.gradient_from_factors(dleft, dright)
    expected = MANIFOLD.projection(x, 2 * (x.to_dense() - a))
    assert_close(ours.to_dense(), expected.to_dense(), 1000 * kind.eps)
    assert_close(MANIFOLD.euclidean_to_riemannian_gradient(x, ours), ours, 0.0)
    covectors = [MANIFOLD.at(x).covector(vector) for vector in (ours, TwoFactorTangent(*ours))]
    assert_close(tuple(covectors[1][1:]), tuple(covectors[0][1:]), 1000 * kind.eps)


def test_a_point_holds_its_factors_and_nothing_else():
    """So it may change in place, and be looked at outside of a graph, before its gradient is taken."""
    x, _ = setting()
    minimize(lambda y: 0.5 * y.squared_norm, MANIFOLD, x, gradient=lambda y: y, stopping=MaxIterations(2))
    MANIFOLD.check_point(x)
    x.left[...] *= 100.0
    assert float(x.squared_norm) == pytest.approx(np.sum(x.to_dense() ** 2))
    assert_close(
        MANIFOLD.projection(x, A).to_dense(), EMBEDDED.projection(EMBEDDED.nearest_point(x), A).to_dense(), 1e-12
    )
    z = TwoFactorPoint(*(torch.tensor(factor, requires_grad=True) for factor in x))
    with torch.no_grad():
        MANIFOLD.check_point(z)
        MANIFOLD.at(z).inverse_grams  # noqa: B018  asked for, so that it might be kept
    for times in (1, 2):
        (0.5 * z.squared_norm).backward()
        assert_close(z.left.grad, times * x.left @ (x.right.T @ x.right), 1e-12)


def test_a_pair_of_factors_is_a_point():
    """As a plain tuple or as a LowRankMatrix of r columns."""
    x, _ = setting()
    for pair in (tuple(x), LowRankMatrix(*x)):
        assert type(MANIFOLD.at(pair).point) is TwoFactorPoint
        assert MANIFOLD.check_point(pair) is None
    wide = LowRankMatrix(np.ones((M, 3)), np.ones((N, 3)))
    assert "point.left has shape (7, 3), but FixedRankTwoFactors(7, 5, 2) needs (7, 2)" in MANIFOLD.check_point(wide)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_ill_conditioned_matrices_lose_the_digits_that_are_promised(kind):
    """s_1 / s_r rounding units, up to a factor 30; and at the end of what can be inverted a point is refused."""
    q, p = np.linalg.qr(A)[0][:, :R], np.linalg.qr(A.T)[0][:, :R]
    for ratio in (1.0, 1e-2, 1e-4):
        x = MANIFOLD.nearest_point(kind((q * [1.0, ratio]) @ p.T))
        expected = A - (A - q @ q.T @ A) @ (np.eye(N) - p @ p.T)
        error = np.abs(np.asarray(MANIFOLD.projection(x, kind(A)).to_dense(), float) - expected).max()
        assert error < 30 * kind.eps / ratio
    x = TwoFactorPoint(kind(q * [1.0, 0.1 * kind.eps]), kind(p))
    reason = MANIFOLD.check_point(x)
    assert "its factors have no full rank to working precision" in reason
    assert f"with singular values of the matrix from 1.0e+00 to {0.1 * kind.eps:.1e}; use a smaller rank" in reason
    with pytest.raises(ValueError, match="rank below 2 to working precision; use a smaller rank, or FixedRank"):
        MANIFOLD.nearest_point(LowRankMatrix(kind(q * [1.0, 4.5 * kind.eps]), kind(p)))
    assert MANIFOLD.check_point(MANIFOLD.nearest_point(kind((q * [1.0, 20 * kind.eps]) @ p.T))) is None
    with pytest.raises(ValueError, match="the matrix has a rank below 2; use a smaller rank"):
        MANIFOLD.nearest_point(x)
    with pytest.raises(RankDeficientError):
        MANIFOLD.projection(x, kind(A))


def test_a_step_that_loses_rank_says_so():
    """Twice the step that takes off a singular triplet, of which each factor takes half."""
    x, _ = setting()
    u, s, vt = np.linalg.svd(x.to_dense())
    back = MANIFOLD.projection(x, -s[1] * np.outer(u[:, 1], vt[1]))
    curve = MANIFOLD.at(x).retraction_curve(back)
    assert_close(
        curve.point(1.0).to_dense(), s[0] * np.outer(u[:, 0], vt[0]) + s[1] / 4 * np.outer(u[:, 1], vt[1]), 1e-14
    )
    for t in (2.0, np.nan):
        with pytest.raises(RankDeficientError):
            curve.point(t)


def test_badly_scaled_columns_are_balanced_by_nearest_point():
    """Factors of a well conditioned matrix may be too ill-conditioned themselves."""
    x, _ = setting()
    scales = np.array([1e9, 1e-9])
    bad = TwoFactorPoint(x.left * scales, x.right / scales)
    assert MANIFOLD.check_point(bad) is not None
    good = MANIFOLD.nearest_point(bad)
    assert MANIFOLD.check_point(good) is None
    assert_close(good.to_dense(), x.to_dense(), 1e-13)


# ------------------------------------------------------------------------------------------------------- bad input

X, V = setting()
CALLS = {
    "r too large": (
        lambda: FixedRankTwoFactors(3, 2, 3),
        ValueError,
        r"1 <= r <= min\(m, n\) must hold, got m=3, n=2, r=3",
    ),
    "m not an integer": (lambda: FixedRankTwoFactors(3.0, 2, 1), TypeError, "m must be an integer, got 3.0"),
    "point an array": (
        lambda: MANIFOLD.at(np.ones((M, N))),
        TypeError,
        r"a point of FixedRankTwoFactors\(7, 5, 2\) is a TwoFactorPoint\(left, right\), got ndarray; nearest_point",
    ),
    "point of FixedRank": (
        lambda: MANIFOLD.at(EMBEDDED.random_point(0)),
        TypeError,
        r"is a TwoFactorPoint\(left, right\), got FixedRankPoint; nearest_point makes one of a matrix",
    ),
    "point of lists": (
        lambda: MANIFOLD.at(X._replace(left=X.left.tolist())),
        TypeError,
        "point.left must be a numpy array or a torch tensor, got list",
    ),
    "point transposed": (
        lambda: MANIFOLD.at(TwoFactorPoint(X.right, X.left)),
        ValueError,
        r"point.left has shape \(5, 2\), but FixedRankTwoFactors\(7, 5, 2\) needs \(7, 2\)",
    ),
    "point of integers": (
        lambda: MANIFOLD.at(TwoFactorPoint(*(np.ones(a.shape, int) for a in X))),
        TypeError,
        "point.left must have a real floating dtype, got int64",
    ),
    "point of two dtypes": (
        lambda: MANIFOLD.at(X._replace(right=X.right.astype("f4"))),
        TypeError,
        "point.right and point.left must agree in library, dtype and device",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_input_is_refused(name):
    call, error, message = CALLS[name]
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error


REASONS = {
    "lost rank": (
        lambda: MANIFOLD.check_point(X._replace(left=X.left * [1.0, 0.0])),
        "its factors have no full rank to working precision",
    ),
    "matrix as a vector": (lambda: MANIFOLD.check_tangent(X, np.ones((M, N))), "projection makes one of a matrix"),
    "vector elsewhere": (
        lambda: MANIFOLD.check_tangent(mixed(X), V),
        "tangent at another point, or in other factors left, right of it; transport it",
    ),
    "vector in another kind": (
        lambda: MANIFOLD.check_tangent(X, tree(lambda a: a.astype("f4"), V)),
        "vector.left and point.left must agree in library, dtype and device",
    ),
    "left and right exchanged": (
        lambda: MANIFOLD.check_tangent(X, TwoFactorTangent(X, V.right, V.left)),
        f"vector.left has shape ({N}, {R}), but",
    ),
    "part of NaN": (
        lambda: MANIFOLD.check_tangent(X, TwoFactorTangent(X, V.left * np.nan, V.right)),
        "vector.left contains NaN or infinity",
    ),
    "batch at a single point": (
        lambda: MANIFOLD.check_tangent(X, TwoFactorTangent(X, V.left[None], V.right[None])),
        f"the vector has shape (1, {M}, {N}), the point ({M}, {N})",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_checks_give_the_reason(name):
    call, message = REASONS[name]
    assert message in call()
