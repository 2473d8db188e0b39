"""check_manifold finds a manifold that breaks one promise, and names the promise."""

import numpy as np
import pytest

from manifolds import GeneralizedStiefel, Grassmann, Product, Sphere, Stiefel, check_manifold
from manifolds.frame_curves import FrameCurve
from manifolds.generalized_stiefel import GeneralizedStiefelGeometry
from manifolds.stiefel import StiefelGeometry
from tests.arrays import spd


def stiefel_with(**methods):
    """The Stiefel manifold with some methods of its local geometry replaced."""
    geometry = type("BrokenGeometry", (StiefelGeometry,), methods)
    return type("Broken", (Stiefel,), {"at": lambda self, point: geometry(self, point)})(6, 3)


def right(method):
    return getattr(StiefelGeometry, method)


class WrongVelocity(FrameCurve):
    def velocity(self, t):
        return 1.01 * super().velocity(t)


BROKEN = {
    "projection that is not tangent": (
        {"projection": lambda self, a: right("projection")(self, a) + 1e-3 * self.point},
        "projection",
    ),
    "projection that is not idempotent": (
        {"projection": lambda self, a: 1.001 * right("projection")(self, a)},
        r"P\(P\(a\)\) = P\(a\)",
    ),
    "projection that is not linear": (
        {"projection": lambda self, a: right("projection")(self, a * (1 + 0.01 * np.linalg.norm(a)))},
        "linearity",
    ),
    "projection that is not orthogonal": (
        {
            "projection": lambda self, a: (
                a - self.point @ np.triu(self.point.T @ a) - self.point @ np.triu(self.point.T @ a, 1).T
            )
        },
        r"<P\(a\), b> = <a, P\(b\)>",
    ),
    "gradient of another metric": (
        {"riemannian_gradient": lambda self, e: 1.001 * right("projection")(self, e)},
        r"<grad, v> = Df\[v\]",
    ),
    "gradient that is not projected": ({"riemannian_gradient": lambda self, e: e}, "tangent"),
    "inner product of another metric": (
        {"inner_product": lambda self, u, v: 1.001 * right("inner_product")(self, u, v)},
        r"<grad, v> = Df\[v\]",
    ),
    "retraction along another direction": (
        {"retraction": lambda self, v: right("retraction")(self, 1.01 * v)},
        "retraction: the error falls with slope 1",
    ),
    "second-order retraction of first order": (
        {"second_order_retraction": lambda self, v: right("retraction")(self, v)},
        "not of order 2",
    ),
    "velocity": (
        {"retraction_curve": lambda self, v: WrongVelocity(self, v, self.manifold.default_retraction)},
        "velocity of the curve is wrong",
    ),
    "transport that is not tangent": ({"transport_from": lambda self, origin, v: v}, "transport: .*not tangent"),
    "transport that is not linear": (
        {"transport_from": lambda self, origin, v: right("projection")(self, v * (1 + np.linalg.norm(v)))},
        "transport: .*linear",
    ),
    "Hessian without curvature": (
        {"riemannian_hessian": lambda self, e, h, v: right("projection")(self, h)},
        "the Hessian is wrong",
    ),
    "Hessian that is not projected": (
        {"riemannian_hessian": lambda self, e, h, v: h - v @ (self.point.T @ e)},
        "Hessian: not a tangent vector",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("seed", range(3))
def test_a_broken_promise_is_named(broken, seed):
    methods, message = BROKEN[broken]
    verdict = check_manifold(stiefel_with(**methods), rng=seed)
    assert not verdict
    with pytest.raises(AssertionError, match=message):
        verdict.raise_if_failed()
    assert any(not part for part in verdict.parts)


def test_the_frame_of_these_tests_is_right():
    assert check_manifold(stiefel_with(), rng=0)


class OffManifold(Sphere):
    def random_point(self, rng=None, like=None, *, batch=()):
        return 1.01 * super().random_point(rng, like, batch=batch)


def test_random_points_off_the_manifold_are_named():
    with pytest.raises((AssertionError, ValueError), match="off the manifold"):
        check_manifold(OffManifold(4), rng=0).raise_if_failed()


class SkewVectors(Stiefel):
    def random_tangent_vector(self, point, rng=None):
        return super().random_tangent_vector(point, rng) + 0.01 * point


def test_random_vectors_that_are_not_tangent_are_named():
    verdict = check_manifold(SkewVectors(5, 2), rng=0)
    assert not verdict
    assert "tangent vector: the vector is not tangent" in verdict.message


class WrongMetric(GeneralizedStiefel):
    """The formulas of M = B with another M."""

    def at(self, point, gram_point=None):
        return WrongMetricGeometry(self, point, gram_point)


class WrongMetricGeometry(GeneralizedStiefelGeometry):
    def projection(self, vector):
        product = self.gram_point.T @ vector
        return vector - self.point @ (product + product.T) / 2


def test_projection_of_another_metric_is_found():
    verdict = check_manifold(WrongMetric(spd(6, 10.0, 0), 2, spd(6, 10.0, 1)), rng=0)
    assert not verdict
    assert "<P(a), b> = <a, P(b)>" in verdict.message


def test_a_broken_factor_breaks_the_product():
    methods, message = BROKEN["velocity"]
    verdict = check_manifold(Product(a=Grassmann(4, 2), b=stiefel_with(**methods)), rng=0)
    with pytest.raises(AssertionError, match=message):
        verdict.raise_if_failed()
