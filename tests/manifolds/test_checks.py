"""The numerical checks: they find what is wrong, name it, and raise no false alarm."""

import pickle

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from manifolds import (
    CholeskyQR,
    GeneralizedStiefel,
    Grassmann,
    Polar,
    Product,
    Sphere,
    Stiefel,
    Verdict,
    check_gradient,
    check_hessian,
    check_manifold,
    check_retraction,
)
from tests.arrays import DOUBLE, KINDS, Kind, spd
from tests.manifolds.zoo import Quadratic

MANIFOLDS = {
    "sphere": lambda kind: Sphere(5),
    "stiefel": lambda kind: Stiefel(6, 3),
    "grassmann": lambda kind: Grassmann(6, 2),
    "generalized-stiefel": lambda kind: GeneralizedStiefel(kind(spd(7, 30.0, 0)), 3, kind(spd(7, 30.0, 1))),
    "product": lambda kind: Product(a=Sphere(4), b=GeneralizedStiefel(kind(spd(6, 30.0, 0)), 2)),
}
SEEDS = range(20)

every_manifold = pytest.mark.parametrize("which", MANIFOLDS)


class Quartic:
    """f = s + s^2 / 2 with s = tr(x^T A x D) / 2, its derivatives, and what can be wrong with them."""

    def __init__(self, which, kind=DOUBLE):
        self.manifold = MANIFOLDS[which](kind)
        self.quadratic = Quadratic(self.manifold, kind)

    def half(self, x):
        return 0.5 * self.manifold.euclidean_inner_product(x, self.quadratic.product(x))

    def cost(self, x):
        return self.half(x) + 0.5 * self.half(x) ** 2

    def gradient(self, x):
        return self.manifold.linear_combination(1 + self.half(x), self.quadratic.product(x), 0.0, x)

    def hessian(self, x, v):
        slope = self.manifold.euclidean_inner_product(self.quadratic.product(x), v)
        return self.manifold.linear_combination(
            1 + self.half(x), self.quadratic.product(v), slope, self.quadratic.product(x)
        )

    def scaled(self, factor, vector):
        return self.manifold.linear_combination(factor, vector, 0.0, vector)


class Riemannian:
    """An objective that gives Riemannian derivatives itself, right or wrong."""

    riemannian = True

    def __init__(self, function, normal=0.0, curvature=True):
        self.function, self.normal, self.curvature = function, normal, curvature

    def value_and_gradient(self, x):
        f = self.function
        gradient = f.manifold.euclidean_to_riemannian_gradient(x, f.gradient(x))
        return f.cost(x), f.manifold.linear_combination(1.0, gradient, self.normal, x)

    def hessian_product(self, x, v):
        f = self.function
        if self.curvature:
            return f.manifold.euclidean_to_riemannian_hessian(x, f.gradient(x), f.hessian(x, v), v)
        return f.manifold.euclidean_to_riemannian_gradient(x, f.hessian(x, v))


@every_manifold
@pytest.mark.parametrize("seed", SEEDS)
def test_no_false_alarm(which, seed):
    f = Quartic(which)
    first = check_gradient(f.cost, f.manifold, f.gradient, rng=seed).raise_if_failed()
    second = check_hessian(f.cost, f.manifold, f.gradient, f.hessian, rng=seed).raise_if_failed()
    assert first.slope == pytest.approx(2, abs=0.2)
    assert second.slope == pytest.approx(3, abs=0.2)


@every_manifold
@pytest.mark.parametrize("seed", range(5))
def test_no_false_alarm_of_riemannian_derivatives_and_manifolds(which, seed):
    f = Quartic(which)
    check_gradient(Riemannian(f), f.manifold, rng=seed).raise_if_failed()
    check_hessian(Riemannian(f), f.manifold, rng=seed).raise_if_failed()
    check_manifold(f.manifold, rng=seed).raise_if_failed()


@every_manifold
def test_right_derivatives_pass_in_every_kind(which, kind):
    f = Quartic(which, kind)
    check_gradient(f.cost, f.manifold, f.gradient, rng=0, like=kind.like).raise_if_failed()
    check_hessian(f.cost, f.manifold, f.gradient, f.hessian, rng=0, like=kind.like).raise_if_failed()
    check_manifold(f.manifold, rng=0, like=kind.like).raise_if_failed()


@every_manifold
@pytest.mark.parametrize("factor", [2.0, 0.5, -1.0, 0.0, 1 + 1e-4, 1 - 1e-4])
@pytest.mark.parametrize("seed", range(3))
def test_wrong_gradient_is_found(which, factor, seed):
    """In float64, down to a relative error of 1e-4."""
    f = Quartic(which)
    verdict = check_gradient(f.cost, f.manifold, lambda x: f.scaled(factor, f.gradient(x)), rng=seed)
    assert not verdict
    assert verdict.slope == pytest.approx(1, abs=0.2)
    assert "the gradient is wrong" in verdict.message


@every_manifold
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.dtype == "float32"], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_gradient_wrong_by_a_factor_of_two_is_found_in_float32(which, kind, seed):
    f = Quartic(which, kind)
    assert not check_gradient(f.cost, f.manifold, lambda x: f.scaled(2.0, f.gradient(x)), rng=seed, like=kind.like)


@every_manifold
def test_gradient_that_is_not_tangent_is_found(which):
    """Its products with tangent vectors are right, so only the check of tangency can tell."""
    f = Quartic(which)
    verdict = check_gradient(Riemannian(f, normal=1e-3), f.manifold, rng=0)
    assert not verdict
    assert "not a tangent vector" in verdict.message


@every_manifold
@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0, 1 + 1e-3, 1 - 1e-3])
@pytest.mark.parametrize("seed", range(3))
def test_wrong_hessian_is_found(which, factor, seed):
    """In float64, down to a relative error of 1e-3."""
    f = Quartic(which)
    verdict = check_hessian(f.cost, f.manifold, f.gradient, lambda x, v: f.scaled(factor, f.hessian(x, v)), rng=seed)
    assert not verdict
    assert verdict.slope == pytest.approx(2, abs=0.25)
    assert "the Hessian is wrong" in verdict.message


@every_manifold
@pytest.mark.parametrize("seed", range(3))
def test_missing_curvature_term_is_found(which, seed):
    """P(M^{-1} D^2 f[v]) without the term of the gradient's multiplier: tangent, symmetric and wrong."""
    f = Quartic(which)
    verdict = check_hessian(Riemannian(f, curvature=False), f.manifold, rng=seed)
    assert not verdict
    assert verdict.slope == pytest.approx(2, abs=0.25)


def test_hessian_with_a_wrong_gradient_is_found():
    f = Quartic("stiefel")
    verdict = check_hessian(f.cost, f.manifold, lambda x: 2 * f.gradient(x), f.hessian, rng=0)
    assert not verdict
    assert verdict.slope == pytest.approx(1, abs=0.25)


def test_hessian_that_is_not_symmetric_is_found():
    """v^T K v = 0 for skew K, so the expansion cannot tell."""
    f, rng = Quartic("sphere"), np.random.default_rng(0)
    k = rng.standard_normal((5, 5))
    verdict = check_hessian(f.cost, f.manifold, f.gradient, lambda x, v: f.hessian(x, v) + (k - k.T) @ v, rng=0)
    assert not verdict
    assert "<Hess[v], u> = <v, Hess[u]>" in verdict.message


class ProjectionOfEuclideanHessian(Riemannian):
    def hessian_product(self, x, v):
        return super().hessian_product(x, v) + 1e-3 * x


def test_hessian_that_is_not_tangent_is_found():
    verdict = check_hessian(ProjectionOfEuclideanHessian(Quartic("sphere")), Sphere(5), rng=0)
    assert not verdict
    assert "not a tangent vector" in verdict.message


def test_constant_function_passes():
    """All errors are zero; also where the manifold makes a function constant, tr(X^T A X) of square X."""
    for manifold in (Stiefel(3, 3), Sphere(3)):
        zero = check_gradient(lambda x: 1.0, manifold, np.zeros_like, rng=0)
        assert zero
        assert zero.slope == float("inf")
        assert check_hessian(lambda x: 1.0, manifold, np.zeros_like, lambda x, v: 0 * v, rng=0)
    a = spd(3, 10.0, 0)
    square = Stiefel(3, 3)
    assert check_gradient(lambda x: np.trace(x.T @ a @ x), square, lambda x: 2 * a @ x, rng=0)
    assert check_hessian(lambda x: np.trace(x.T @ a @ x), square, lambda x: 2 * a @ x, lambda x, v: 2 * a @ v, rng=0)
    check_manifold(square, rng=0).raise_if_failed()


@pytest.mark.parametrize("kind", [Kind("torch", "float32"), Kind("torch", "float64")], ids=str)
@every_manifold
def test_autograd_derivatives_pass(which, kind):
    f = Quartic(which, kind)
    check_gradient(f.cost, f.manifold, rng=0, like=kind.like).raise_if_failed()
    check_hessian(f.cost, f.manifold, rng=0, like=kind.like).raise_if_failed()


def test_a_cost_that_autograd_cannot_follow_is_found():
    """The detached part is missing from autograd's gradient."""
    manifold, like = Sphere(4), torch.empty(0, dtype=torch.float64)
    a = torch.arange(4.0, dtype=torch.float64)
    verdict = check_gradient(lambda x: (a * x.detach() * x).sum(), manifold, rng=0, like=like)
    assert not verdict


def test_a_cost_that_is_not_finite_is_found():
    verdict = check_gradient(lambda x: float("nan"), Sphere(4), lambda x: x, rng=0)
    assert not verdict
    assert "not finite" in verdict.message


@pytest.mark.parametrize("manifold", [Stiefel(6, 3), Stiefel(6, 3, retraction=CholeskyQR(max_condition=10.0))], ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_first_order_retraction_passed_off_as_second_order(manifold, seed):
    verdict = check_retraction(manifold, manifold.retraction, order=2, rng=seed)
    assert not verdict
    assert verdict.slope == pytest.approx(2, abs=0.2)
    assert "not of order 2" in verdict.message
    check_retraction(manifold, manifold.retraction, order=1, rng=seed).raise_if_failed()
    polar = Stiefel(6, 3, retraction=Polar())
    check_retraction(polar, polar.retraction, order=2, rng=seed).raise_if_failed()


def test_no_retraction_at_all_is_found():
    """A rotation of the direction is not of first order, a shifted point does not fix the origin."""
    sphere = Sphere(4)
    turned = check_retraction(sphere, lambda x, v: sphere.retraction(x, np.roll(v, 1)), rng=0)
    assert not turned
    assert turned.slope == pytest.approx(1, abs=0.2)
    shifted = check_retraction(sphere, lambda x, v: sphere.retraction(x, v + 1e-3 * np.roll(x, 1)), rng=0)
    assert not shifted
    assert "R_x(0) = x is off by" in shifted.message


def test_point_and_direction_may_be_given():
    f = Quartic("product")
    x = f.manifold.random_point(0)
    v = f.manifold.random_tangent_vector(x, 1)
    for point, direction in ((x, v), (tuple(x), tuple(v))):
        assert check_gradient(f.cost, f.manifold, f.gradient, point=point, direction=direction)
        assert check_hessian(f.cost, f.manifold, f.gradient, f.hessian, point=point, direction=direction)
        assert check_retraction(f.manifold, point=point, direction=direction)
        assert check_manifold(f.manifold, point=point, rng=0)


def test_seed_decides_the_verdict():
    f = Quartic("stiefel")
    slopes = [check_gradient(f.cost, f.manifold, f.gradient, rng=seed).slope for seed in (0, 0, 1)]
    assert slopes[0] == slopes[1] != slopes[2]


def test_raise_if_failed():
    f = Quartic("sphere")
    good = check_gradient(f.cost, f.manifold, f.gradient, rng=0)
    assert good.raise_if_failed() is good
    bad = check_gradient(f.cost, f.manifold, lambda x: 2 * f.gradient(x), rng=0)
    with pytest.raises(AssertionError, match="the gradient is wrong"):
        bad.raise_if_failed()


def test_verdict_says_what_was_measured():
    f = Quartic("sphere")
    verdict = check_gradient(f.cost, f.manifold, f.gradient, rng=0)
    assert (verdict.name, verdict.expected_slope, bool(verdict)) == ("gradient", 2, True)
    assert verdict.steps.shape == verdict.errors.shape
    late = verdict.steps > 1e-4
    slope = np.polyfit(np.log(verdict.steps[late]), np.log(verdict.errors[late]), 1)[0]
    assert verdict.slope == pytest.approx(slope, abs=0.1)
    assert pickle.loads(pickle.dumps(verdict)).message == verdict.message
    whole = check_manifold(f.manifold, rng=0)
    assert len(whole.parts) == 13
    assert all(isinstance(part, Verdict) for part in whole.parts)


def test_plot_draws_the_error_and_the_expected_slope():
    f = Quartic("sphere")
    verdict = check_gradient(f.cost, f.manifold, f.gradient, rng=0)
    axes = verdict.plot()
    assert len(axes.lines) == 2
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), verdict.steps)
    guide = axes.lines[1]
    slope = np.polyfit(np.log(guide.get_xdata()), np.log(guide.get_ydata()), 1)[0]
    assert slope == pytest.approx(2)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_title() == "passed: gradient"
    assert len(axes.get_legend().get_texts()) == 1
    plt.close(axes.figure)


def test_plot_of_a_manifold_draws_every_slope_into_given_axes():
    figure, axes = plt.subplots()
    verdict = check_manifold(Stiefel(5, 2), rng=0)
    assert verdict.plot(axes) is axes
    assert len(axes.lines) == 2 * sum(part.errors.size > 0 for part in verdict.parts) == 8
    plt.close(figure)


def test_plot_leaves_out_errors_of_zero():
    """They have no logarithm, and one of 1e-300 in their place would squeeze the others into a line."""
    steps = np.logspace(-3, -1, 5)
    errors = np.where(steps > 2e-3, steps**2, 0.0)
    axes = Verdict("gradient", True, "", 2.0, 2.0, steps, errors).plot()
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [np.nan, *errors[1:]])
    assert axes.get_ylim()[0] > 1e-7
    plt.close(axes.figure)


def test_plot_of_a_failure_says_so():
    f = Quartic("sphere")
    axes = check_gradient(f.cost, f.manifold, lambda x: 0 * x, rng=0).plot()
    assert axes.get_title() == "failed: gradient"
    plt.close(axes.figure)
