"""The Cayley retraction against its n x n definition, and which curves are of second order."""

import numpy as np
import pytest

from manifolds import (
    Cayley,
    CholeskyQR,
    Exponential,
    GeneralizedStiefel,
    Grassmann,
    Polar,
    Rotations,
    Stiefel,
    check_retraction,
)
from tests.arrays import DOUBLE, KINDS, assert_close, spd, to_float64

N, P = 7, 3
B, M = spd(N, 10.0, 0), spd(N, 10.0, 1)

MANIFOLDS = {
    "stiefel": lambda kind, r: Stiefel(N, P, retraction=r),
    "canonical": lambda kind, r: Stiefel(N, P, "canonical", r),
    "grassmann": lambda kind, r: Grassmann(N, P, r),
    "rotations": lambda kind, r: Rotations(4, r),
    "generalized": lambda kind, r: GeneralizedStiefel(kind(B), P, retraction=r),
    "generalized, M = B": lambda kind, r: GeneralizedStiefel(kind(B), P, kind(B), r),
    "generalized, any M": lambda kind, r: GeneralizedStiefel(kind(B), P, kind(M), r),
}
names = pytest.mark.parametrize("name", MANIFOLDS)


def dense_cayley(x, v, b, t):
    """(I - t W / 2)^{-1} (I + t W / 2) X, W = (Z X^T - X Z^T) B, Z = (I - X X^T B / 2) V (Wen, Yin 2013; Zhu 2017)."""
    one = np.eye(len(x))
    z = v - 0.5 * x @ (x.T @ b @ v)
    w = (z @ x.T - x @ z.T) @ b
    np.testing.assert_allclose(w @ x, v, atol=1e-12)
    return np.linalg.solve(one - 0.5 * t * w, x + 0.5 * t * w @ x)


@names
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("t", [1e-3, 0.7, -5.0, 1e3])
def test_equals_the_dense_transform(name, kind, t):
    manifold = MANIFOLDS[name](kind, Cayley())
    x = manifold.random_point(0, kind.like)
    v = manifold.random_tangent_vector(x, 1)
    b = B if name.startswith("generalized") else np.eye(len(x))
    double_x, double_v = MANIFOLDS[name](DOUBLE, None), to_float64(v)
    exact = double_x.nearest_point(to_float64(x))
    expected = dense_cayley(exact, double_x.projection(exact, double_v), b, t)
    assert_close(manifold.at(x).retraction_curve(v).point(t), expected, 3000 * kind.eps)


@pytest.mark.parametrize(
    ("name", "retraction", "second"),
    [
        ("stiefel", Cayley(), False),
        ("canonical", Cayley(), True),
        ("grassmann", Cayley(), True),
        ("rotations", Cayley(), True),
        ("generalized", Cayley(), False),
        ("generalized, M = B", Cayley(), False),
        ("generalized, any M", Cayley(), False),
        ("stiefel", Exponential(), True),
        ("canonical", Exponential(), True),
        ("grassmann", Exponential(), True),
        ("rotations", Exponential(), True),
        ("stiefel", Polar(), True),
        ("canonical", Polar(), False),
        ("canonical", CholeskyQR(), False),
        ("rotations", Polar(), True),
        ("rotations", CholeskyQR(), False),
    ],
    ids=str,
)
def test_which_retractions_are_of_second_order(name, retraction, second):
    """Against the acceleration of geodesics, which the tests of geodesics compare with the exponential map."""
    manifold = MANIFOLDS[name](DOUBLE, retraction)
    verdict = check_retraction(manifold, manifold.retraction, order=2, rng=0)
    assert verdict.passed is second
    assert verdict.slope == pytest.approx(3 if second else 2, abs=0.3)


@pytest.mark.parametrize(
    "manifold", [Stiefel(N, P, "canonical"), Grassmann(N, P), Rotations(4)], ids=lambda m: type(m).__name__
)
def test_stays_within_third_order_of_the_geodesic(manifold):
    x = manifold.random_point(0)
    v = manifold.random_tangent_vector(x, 1)
    curve, geodesic = Cayley().curve(manifold.at(x), v), manifold.at(x).geodesic(v)
    gap = [np.abs(curve.point(t) - geodesic.point(t)).max() for t in (1e-1, 1e-2, 1e-3)]
    assert gap[0] / gap[1] == pytest.approx(1e3, rel=0.1)
    assert gap[1] / gap[2] == pytest.approx(1e3, rel=0.1)


@pytest.mark.parametrize(
    ("name", "retraction"),
    [
        (name, retraction)
        for name in ("stiefel", "canonical", "grassmann", "rotations", "generalized")
        for retraction in (Cayley(), Exponential())
        if (name, retraction) != ("generalized", Exponential())
    ],
    ids=str,
)
@pytest.mark.parametrize("step", [0.3, 1e-3])
def test_rounding_does_not_add_up(name, retraction, step):
    """float32: frames stay orthonormal over 2000 steps though nothing is orthonormalised."""
    kind, rng = KINDS[0], np.random.default_rng(0)
    manifold = MANIFOLDS[name](kind, retraction)
    x = manifold.random_point(0, kind.like)
    for _ in range(2000):
        x = manifold.retraction(x, manifold.projection(x, kind(step * rng.standard_normal(x.shape))))
    b = B if name == "generalized" else np.eye(len(x))
    assert np.abs(to_float64(x).T @ b @ to_float64(x) - np.eye(x.shape[1])).max() < 20 * kind.eps


@names
def test_frames_are_orthonormal_after_steps_of_every_length(name):
    manifold = MANIFOLDS[name](DOUBLE, Cayley())
    x = manifold.random_point(0)
    v = manifold.random_tangent_vector(x, 1)
    for t in (1e-8, 1.0, 1e4, 1e8):
        assert manifold.check_point(manifold.retraction(x, t * v)) is None
