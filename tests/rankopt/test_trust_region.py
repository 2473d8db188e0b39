"""Trust regions: dense oracles, order of convergence, counts from outside, saddle points, preconditioning and kinds."""

from __future__ import annotations

import weakref
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch

from manifolds import Euclidean, GeneralizedStiefel, Grassmann, Product, Sphere, Stiefel
from problems import CCAProblem, PairedViews
from rankopt import LBFGS, ConjugateGradient, GradientNorm, MaxIterations, Status, TrustRegion, minimize
from rankopt.solvers.method import Context
from rankopt.solvers.truncated_cg import model_segments, truncated_conjugate_gradient
from tests.arrays import kind_of
from tests.problems.views import canonical_oracle, correlated_views, dense_covariances

N, P = 12, 3
WEIGHTS = np.array([3.0, 2.0, 1.0])
TIGHT = GradientNorm(absolute=1e-9, relative=0.0) | MaxIterations(200)


class Brockett:
    """f(X) = tr(X^T A X W), whose minimum is the sum of the smallest eigenvalues, weighted; it counts its calls."""

    def __init__(self, a, weights):
        self.a, self.weights, self.calls = a, weights, {"cost": 0, "gradient": 0, "hessian": 0}

    def cost(self, x):
        self.calls["cost"] += 1
        return (x * (self.a @ x) * self.weights).sum()

    def gradient(self, x):
        self.calls["gradient"] += 1
        return 2 * (self.a @ x) * self.weights

    def hessian(self, x, v):
        self.calls["hessian"] += 1
        return 2 * (self.a @ v) * self.weights


class SolveOnly:
    """A metric that offers its inverse alone."""

    def __init__(self, diagonal):
        self.diagonal = diagonal

    def solve(self, v):
        return v / self.diagonal[:, None]


SPACES = {
    "Stiefel": (lambda b: Stiefel(N, P), WEIGHTS, False),
    "Grassmann": (lambda b: Grassmann(N, P), np.ones(P), False),
    "generalized, M = I": (lambda b: GeneralizedStiefel(b, P), WEIGHTS, True),
    "generalized, M = B": (lambda b: GeneralizedStiefel(b, P, preconditioner=b), WEIGHTS, True),
    "generalized, M with solve only": (
        lambda b: GeneralizedStiefel(b, P, preconditioner=SolveOnly(np.linspace(1.0, 7.0, N))),
        WEIGHTS,
        True,
    ),
}


@pytest.mark.parametrize("differenced", [False, True])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_finds_the_smallest_eigenvalues(space, differenced, spd):
    make, weights, generalized = space
    a, b = spd(N, 30.0, seed=1), spd(N, 50.0, seed=2)
    f = Brockett(a, weights)
    hessian = None if differenced else f.hessian
    result = minimize(f.cost, make(b), None, "trust-region", gradient=f.gradient, hessian=hessian, rng=3)
    expected = scipy.linalg.eigh(a, b if generalized else None, eigvals_only=True)[:P]
    assert result.success
    # The cost is accurate to second order in a gradient of 1e-6 relative.
    assert result.fun == pytest.approx(np.sort(expected) @ -np.sort(-weights), rel=1e-9)
    assert (result.nfev, result.ngev, result.nhev) == tuple(f.calls.values())


def test_on_a_product_with_autograd(spd):
    a = torch.asarray(spd(6, 20.0))
    manifold = Product(x=Sphere(6), y=Stiefel(6, 2))
    weights = torch.asarray(WEIGHTS[1:])
    x0 = manifold.random_point(rng=1, like=a)
    result = minimize(lambda z: z.x @ a @ z.x - (z.y * (a @ z.y) * weights).sum(), manifold, x0, stopping=TIGHT)
    values = np.linalg.eigvalsh(a.numpy())
    assert result.success
    assert result.fun == pytest.approx(values[0] - 2 * values[-1] - values[-2], rel=1e-12)
    assert result.nhev > 0


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_single_precision(library, spd):
    a, weights = spd(N, 30.0).astype(np.float32), WEIGHTS.astype(np.float32)
    x0 = Stiefel(N, P).random_point(rng=1).astype(np.float32)
    if library == "torch":
        a, weights, x0 = map(torch.asarray, (a, weights, x0))
    f = Brockett(a, weights)
    stopping = GradientNorm(absolute=2e-4, relative=0.0) | MaxIterations(50)
    result = minimize(
        f.cost, Stiefel(N, P), x0, TrustRegion(), gradient=f.gradient, hessian=f.hessian, stopping=stopping
    )
    assert result.success
    assert kind_of(result.x) == kind_of(x0)
    assert result.fun == pytest.approx(np.linalg.eigvalsh(spd(N, 30.0))[:P] @ WEIGHTS, rel=2e-6)


def test_converges_quadratically_down_to_rounding(spd):
    f = Brockett(spd(N, 30.0), WEIGHTS)
    stopping = GradientNorm(absolute=1e-13, relative=0.0) | MaxIterations(60)
    x0, derivatives = Stiefel(N, P).random_point(rng=1), {"gradient": f.gradient, "hessian": f.hessian}
    result = minimize(f.cost, Stiefel(N, P), x0, TrustRegion(theta=1.0), stopping=stopping, **derivatives)
    assert result.success
    # The last step meets the rounding of a gradient of norm 100.
    late = [(old, new) for old, new in pairwise(result.history.grad_norm) if old < 0.1]
    assert len(late) >= 3
    assert all(new <= max(old**2, 1e-13) for old, new in late)


def test_theta_sets_the_order_of_the_model_and_its_price():
    n, products = 40, []
    d = np.geomspace(1.0, 1e4, n)
    for theta in (0.0, 0.5, 1.0, 2.0):
        method = TrustRegion(theta=theta, kappa=0.5, initial_radius=1e3)
        result = minimize(
            lambda x: 0.5 * x @ (d * x) - x.sum(), Euclidean(n), np.zeros(n), method, hessian=lambda x, v: d * v,
            gradient=lambda x: d * x - 1, stopping=MaxIterations(3),
        )  # fmt: skip
        # On a quadratic without a ball, the gradient is what is left of the model's.
        norms = result.history.grad_norm
        bounds = np.minimum(0.5, (norms[:-1] / norms[0]) ** theta) * norms[:-1]
        assert np.all(norms[1:] <= bounds * (1 + 1e-9))
        products.append(result.nhev)
    assert products == sorted(set(products))


@pytest.mark.parametrize(
    ("missed", "step", "radius"),
    [
        # ratio 1 - c = 0.9: to the boundary, and the ball grows
        (0.1, 1.0, 2.0),
        # 0.5: the ball stays
        (0.5, 1.0, 1.0),
        # 0.15: accepted, but the ball shrinks
        (0.85, 1.0, 0.25),
        # 0.05: rejected; in the quarter the ratio is 1 - 0.95 / 4 = 0.76
        (0.95, 0.25, 0.5),
    ],
)
def test_radius_follows_the_merit_of_the_model(missed, step, radius):
    states = []
    functions = {"gradient": lambda x: 2 * missed * x - 1, "hessian": lambda x, v: 0.0 * v}
    # The Hessian conceals the curvature, so that the model predicts the length of the step.
    minimize(lambda x: missed * x @ x - x.sum(), Euclidean(1), np.zeros(1), Spy(states), **functions)
    state, context = states[0]
    method = TrustRegion(initial_radius=1.0)
    taken = method.step(state, method.start(state, context), context)
    assert taken.step_size == pytest.approx(step, rel=1e-12)
    np.testing.assert_allclose(taken.state.point, [step], rtol=1e-12)
    assert taken.memory.radius == pytest.approx(radius, rel=1e-12)


def test_radius_does_not_exceed_its_limit():
    states = []
    minimize(
        lambda x: -x.sum(), Euclidean(1), np.zeros(1), Spy(states), gradient=lambda x: -1 + 0 * x,
        hessian=lambda x, v: 0.0 * v,
    )  # fmt: skip
    state, context = states[0]
    method = TrustRegion(initial_radius=1.0, max_radius=1.5)
    assert method.step(state, method.start(state, context), context).memory.radius == 1.5


def test_a_step_costs_one_gradient_and_a_rejected_one_a_cost_only(spd):
    f = Brockett(spd(N, 30.0), WEIGHTS)
    # A huge first ball, whose steps go too far and are rejected.
    method = TrustRegion(initial_radius=1e3)

    def cost(x):
        # Steep beyond what the model sees.
        return f.cost(x) + 1e4 * max(np.abs(x - x0).max() - 0.1, 0.0)

    x0 = Stiefel(N, P).random_point(rng=1)
    result = minimize(
        cost, Stiefel(N, P), x0, method, gradient=f.gradient, hessian=f.hessian, stopping=MaxIterations(3)
    )
    calls = f.calls
    assert (result.nfev, result.ngev, result.nhev) == (calls["cost"], calls["gradient"], calls["hessian"])
    assert calls["gradient"] == result.nit + 1
    assert calls["cost"] > result.nit + 2


def test_a_rejected_step_linearises_autograd_only_once(spd):
    a = torch.asarray(spd(N, 30.0))
    calls = []

    def cost(x):
        calls.append(1)
        return (x * (a @ x) * torch.asarray(WEIGHTS)).sum()

    x0 = Stiefel(N, P).random_point(rng=1, like=a)
    result = minimize(cost, Stiefel(N, P), x0, TrustRegion(initial_radius=1e3))
    assert result.success
    assert result.nhev > 2 * result.nit
    assert len(calls) == result.nfev


def test_leaves_a_saddle_point():
    d = np.arange(1.0, 7.0)
    x0 = np.eye(6)[2] + 1e-7 * np.ones(6)
    x0 /= np.linalg.norm(x0)
    result = minimize(
        lambda x: d @ x**2, Sphere(6), x0, TrustRegion(), gradient=lambda x: 2 * d * x, hessian=lambda x, v: 2 * d * v,
        stopping=TIGHT,
    )  # fmt: skip
    assert result.success
    assert result.fun == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_on_a_cone_the_unit_of_the_data_does_not_matter(unit):
    d, b = np.arange(1.0, 9.0), np.ones(8)

    def run(scale):
        # The same problem in x / scale; the cost keeps its values.
        return minimize(
            lambda x: 0.25 * np.sum((x / scale) ** 4) + 0.5 * (x / scale) @ (d * (x / scale)) - b @ (x / scale),
            Euclidean(8),
            np.full(8, 5.0) * scale,
            TrustRegion(),
            gradient=lambda x: ((x / scale) ** 3 + d * (x / scale) - b) / scale,
            hessian=lambda x, v: (3 * (x / scale) ** 2 + d) * v / scale**2,
            stopping=GradientNorm(1e-9 / scale),
        )

    ours, plain = run(unit), run(1.0)
    assert ours.success
    assert (ours.nit, ours.nhev) == (plain.nit, plain.nhev)
    np.testing.assert_allclose(ours.x / unit, plain.x, rtol=1e-10)


def test_the_first_radius_on_a_cone_is_an_eighth_of_the_typical_distance_along_negative_curvature():
    result = minimize(
        lambda x: float(np.sum((x**2 - 1) ** 2)),
        Euclidean(4),
        np.full(4, 0.01),
        TrustRegion(),
        gradient=lambda x: 4 * x * (x**2 - 1),
        hessian=lambda x, v: (12 * x**2 - 4) * v,
    )
    assert result.success
    assert result.history.step_size[1] == pytest.approx(2.0 / 8)


@pytest.mark.parametrize("radius", [1e-2, 0.3, 1.0, 3.0, 50.0])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_truncated_conjugate_gradients_stay_in_the_ball_and_predict_the_model(radius, shift, spd):
    n = 9
    a = spd(n, 100.0) - shift * np.eye(n)
    b = np.random.default_rng(5).standard_normal(n)
    states = []
    minimize(
        lambda x: 0.5 * x @ a @ x - b @ x,
        Euclidean(n),
        np.zeros(n),
        Spy(states),
        gradient=lambda x: a @ x - b,
        hessian=lambda x, v: a @ v,
    )
    state, context = states[0]
    line = truncated_conjugate_gradient(model_segments(state, context, state.gradient, 1e-12, 3 * n), radius, context)
    for k in range(4):
        inner = radius / 4**k
        step = line.step_within(inner)
        v = step.vector
        assert np.linalg.norm(v) == pytest.approx(step.norm, rel=1e-6)
        assert step.norm <= inner * (1 + 1e-12)
        assert step.decrease == pytest.approx(-(0.5 * v @ a @ v - b @ v), rel=1e-6)
        # At least the decrease of the Cauchy point.
        curvature = b @ a @ b / (b @ b)
        t = inner / np.linalg.norm(b)
        t = min(t, 1 / curvature) if curvature > 0 else t
        assert step.decrease >= (t - 0.5 * t**2 * curvature) * (b @ b) * (1 - 1e-9)
    if shift > 0:
        assert line.step_within(radius).on_boundary
    elif radius > np.linalg.norm(np.linalg.solve(a, b)):
        np.testing.assert_allclose(line.step_within(radius).vector, np.linalg.solve(a, b), rtol=1e-7, atol=1e-9)


def test_a_line_keeps_few_of_its_segments():
    """The number of its vectors grows with the logarithm of the ratio of its last step and its first."""
    scales, directions, states = np.logspace(0, 3, 60), [], []

    def hessian(x, v):
        directions.append(weakref.ref(v))
        return scales * v

    minimize(
        lambda x: 0.5 * scales @ x**2 - x.sum(), Euclidean(60), np.zeros(60), Spy(states),
        gradient=lambda x: scales * x - 1, hessian=hessian,
    )  # fmt: skip
    state, context = states[0]
    line = truncated_conjugate_gradient(model_segments(state, context, state.gradient, 1e-12, 300), 1e3, context)
    step = line.step_within(1e3)
    np.testing.assert_allclose(step.vector, 1 / scales, atol=1e-9)
    kept = sum(reference() is not None for reference in directions)
    assert len(directions) > 50
    assert 1 <= kept <= 8


class Spy(ConjugateGradient):
    """A method that keeps its first state and takes no step."""

    def __init__(self, seen):
        super().__init__()
        object.__setattr__(self, "seen", seen)

    def step(self, state, memory, context: Context):
        self.seen.append((state, context))


def test_preconditioner_cuts_inner_iterations():
    n = 40
    d = np.geomspace(1.0, 1e4, n)
    products = {}
    ways = {"plain": None, "inverse": lambda x, v: v / d, "scaled": lambda x, v: 2.0**-10 * v}
    for name, preconditioner in ways.items():
        result = minimize(
            lambda x: 0.5 * x @ (d * x) - x.sum(), Euclidean(n), np.zeros(n), TrustRegion(), hessian=lambda x, v: d * v,
            gradient=lambda x: d * x - 1, preconditioner=preconditioner, stopping=TIGHT,
        )  # fmt: skip
        assert result.success
        np.testing.assert_allclose(result.x, 1 / d, atol=1e-8)
        products[name] = result.nhev
    assert 5 * products["inverse"] < products["plain"]
    # The ball is measured relative to the preconditioner, whose scale, a power of two, therefore changes nothing.
    assert products["scaled"] == products["plain"]


def test_on_views_by_passes():
    x, y = correlated_views(300, 6, 5)
    problem = CCAProblem(PairedViews(x, y), 3)
    result = minimize(problem, problem.manifold, None, TrustRegion(), rng=0, stopping=TIGHT)
    expected = canonical_oracle(*dense_covariances(x, y, (0.0, 0.0)))[0]
    assert result.success
    assert result.fun == pytest.approx(-expected[:3].sum(), abs=1e-12)
    assert result.nhev > 0


def test_the_default_method(spd):
    f = Brockett(spd(N, 30.0), WEIGHTS)

    def costs(method, **derivatives):
        return minimize(f.cost, Stiefel(N, P), None, method, gradient=f.gradient, rng=1, **derivatives).history.fun

    np.testing.assert_array_equal(costs(None, hessian=f.hessian), costs(TrustRegion(), hessian=f.hessian))
    np.testing.assert_array_equal(costs(None), costs(ConjugateGradient()))
    problem = CCAProblem(PairedViews(*correlated_views(300, 6, 5)), 3)
    runs = [minimize(problem, problem.manifold, None, method, rng=0) for method in (None, ConjugateGradient())]
    np.testing.assert_array_equal(runs[0].history.fun, runs[1].history.fun)


@pytest.mark.parametrize("method", [TrustRegion(), LBFGS()], ids=["trust region", "L-BFGS"])
@pytest.mark.parametrize("k", [2, 5, 9])
def test_interruption_keeps_the_best_point(method, k, spd):
    f = Brockett(spd(N, 30.0), WEIGHTS)

    def cost(x):
        if f.calls["cost"] == k:
            raise KeyboardInterrupt
        return f.cost(x)

    result = minimize(cost, Stiefel(N, P), None, method, gradient=f.gradient, hessian=f.hessian, rng=1)
    assert result.status is Status.INTERRUPTED
    assert result.fun == result.history.fun.min() == pytest.approx(f.cost(result.x), rel=1e-13)


def test_agrees_with_pymanopt(spd):
    pymanopt = pytest.importorskip("pymanopt")
    f = Brockett(spd(N, 30.0), WEIGHTS)
    x0, space = Stiefel(N, P).random_point(rng=1), pymanopt.manifolds.Stiefel(N, P)
    decorate = pymanopt.function.numpy(space)
    problem = pymanopt.Problem(
        space, decorate(f.cost), euclidean_gradient=decorate(f.gradient), euclidean_hessian=decorate(f.hessian)
    )
    theirs = pymanopt.optimizers.TrustRegions(verbosity=0, min_gradient_norm=1e-9).run(problem, initial_point=x0)
    ours = minimize(
        f.cost, Stiefel(N, P), x0, TrustRegion(theta=1.0), gradient=f.gradient, hessian=f.hessian, stopping=TIGHT
    )
    assert ours.success
    assert ours.fun == pytest.approx(theirs.cost, rel=1e-13)
    assert ours.nit <= theirs.iterations + 2


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kappa": 0.0}, ValueError, r"0 < kappa < 1 must hold, got 0.0"),
        ({"kappa": 1.0}, ValueError, r"0 < kappa < 1 must hold, got 1.0"),
        ({"theta": -1.0}, ValueError, r"theta must be at least 0, got -1.0"),
        ({"theta": None}, TypeError, r"theta must be a number, got None"),
        ({"acceptance": 0.25}, ValueError, r"acceptance must be below 0.25.*got 0.25"),
        ({"initial_radius": 0.0}, ValueError, r"initial_radius must be positive and finite, got 0.0"),
        ({"initial_radius": np.inf}, ValueError, r"initial_radius must be positive and finite, got inf"),
        ({"max_radius": 0.0}, ValueError, r"0 < initial_radius <= max_radius must hold"),
        ({"initial_radius": 2.0, "max_radius": 1.0}, ValueError, r"0 < initial_radius <= max_radius.*2.0 and 1.0"),
        ({"initial_radius": "1"}, TypeError, r"initial_radius must be a number, got '1'"),
        ({"max_radius": np.nan}, ValueError, r"max_radius must be at least 0, got nan"),
        ({"max_inner": 0}, ValueError, r"max_inner must be at least 1, got 0"),
        ({"max_inner": 1.5}, TypeError, r"max_inner must be an integer, got 1.5"),
        ({"regularization": -1.0}, ValueError, r"regularization must be at least 0"),
    ],
)
def test_bad_parameters(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        TrustRegion(**changes)
    assert caught.type is error


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"hessian": lambda x, v: v[:2]}, ValueError, r"hessian"),
        ({"hessian": lambda x, v: np.nan * v}, ValueError, r"hessian must be finite"),
        ({"hessian": lambda x, v: 2 * v, "preconditioner": lambda x, v: -v}, ValueError, r"preconditioner must be pos"),
        ({"hessian": lambda x, v: 2 * v, "preconditioner": lambda x, v: v[:2]}, ValueError, r"preconditioner"),
    ],
)
def test_bad_functions(changes, error, message):
    d = np.arange(1.0, 5.0)
    options = {"gradient": lambda x: 2 * d * x, "rng": 0} | changes
    with pytest.raises(error, match=message) as caught:
        minimize(lambda x: d @ x**2, Sphere(4), None, TrustRegion(), **options)
    assert caught.type is error
