"""Start points: random ones, ones a little off the manifold, and ones that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manifolds import Euclidean, GeneralizedStiefel, Grassmann, Product, Sphere, Stiefel
from rankopt import MaxIterations, minimize
from tests.arrays import kind_of

START_ONLY = MaxIterations(0)


def start(manifold, x0=None, **options):
    """Point at which a run starts, for a linear cost."""

    def gradient(x):
        return manifold.linear_combination(1.0, x, 0.0, x)

    def cost(x):
        return 0.5 * manifold.euclidean_inner_product(x, x)

    return minimize(cost, manifold, x0, gradient=gradient, stopping=START_ONLY, **options).x


def test_random_start_lies_on_the_manifold(spd):
    b = spd(6, 100.0)
    x = start(GeneralizedStiefel(b, 2), rng=0)
    np.testing.assert_allclose(x.T @ b @ x, np.eye(2), atol=1e-12)
    assert x.dtype == np.float64


def test_random_start_follows_the_manifolds_own_arrays(spd):
    x = start(GeneralizedStiefel(torch.asarray(spd(6, 10.0)).float(), 2), rng=0)
    assert isinstance(x, torch.Tensor)
    assert x.dtype == torch.float32


@pytest.mark.parametrize("space", [Stiefel, Grassmann])
@pytest.mark.parametrize("scale", [1 + 5e-3, 1 - 5e-3])
def test_start_close_to_the_manifold_is_projected(space, scale, kind):
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 2)))[0]
    x = start(space(6, 2), kind(scale * q))
    assert kind_of(x) == kind
    # The nearest frame to a multiple of a frame is the frame.
    np.testing.assert_allclose(np.asarray(x), q, atol=10 * kind.eps)


def test_start_on_the_manifold_is_taken_as_it_is():
    x0 = np.array([0.6, 0.0, 0.8])
    np.testing.assert_array_equal(start(Sphere(3), x0), x0)
    np.testing.assert_array_equal(start(Euclidean(2), np.array([3.0, -4.0])), [3.0, -4.0])


@pytest.mark.parametrize(
    ("manifold", "x0"),
    [
        (Sphere(3), np.array([1.0, 1.0, 1.0])),
        (Sphere(3), 1.02 * np.array([1.0, 0.0, 0.0])),
        (Stiefel(4, 2), np.ones((4, 2)) + np.eye(4, 2)),
        (Grassmann(4, 2), 2 * np.eye(4, 2)),
        (GeneralizedStiefel(np.diag([4.0, 1.0, 1.0]), 1), np.array([[1.0], [0.0], [0.0]])),
        (Product(a=Sphere(2), b=Sphere(2)), (np.array([1.0, 0.0]), np.array([0.0, 2.0]))),
    ],
    ids=lambda value: str(value) if not isinstance(value, (np.ndarray, tuple)) else "",
)
def test_start_far_off_the_manifold_is_refused(manifold, x0):
    with pytest.raises(ValueError, match=r"x0 is far off the manifold: .* is off by .*nearest_point"):
        start(manifold, x0)


def test_plain_tuple_starts_a_product():
    manifold = Product(a=Sphere(2), b=Stiefel(3, 1))
    x = start(manifold, (np.array([0.0, 1.0]), np.array([[0.0], [0.0], [1.001]])))
    assert type(x) is manifold.point_type
    np.testing.assert_allclose(x.a, [0.0, 1.0])
    np.testing.assert_allclose(x.b, [[0.0], [0.0], [1.0]], atol=1e-15)


def test_start_points_of_mixed_libraries_are_refused_by_a_manifold_with_arrays(spd):
    b = spd(4, 5.0)
    x0 = GeneralizedStiefel(b, 1).random_point(rng=0)
    with pytest.raises(TypeError, match=r"(?i)library, dtype and device"):
        start(GeneralizedStiefel(b, 1), torch.asarray(x0))
    with pytest.raises(TypeError, match=r"(?i)library, dtype and device"):
        start(GeneralizedStiefel(b, 1), x0.astype(np.float32))
    with pytest.raises(TypeError, match=r"(?i)library, dtype and device"):
        start(GeneralizedStiefel(torch.asarray(b), 1), x0)
