"""Our manifolds under pymanopt: its optimizers find the minimizers, and its own diagnostics are content."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pymanopt
import pytest
from pymanopt.optimizers import ConjugateGradient, NelderMead, ParticleSwarm, SteepestDescent, TrustRegions
from pymanopt.tools import diagnostics
from scipy.linalg import eigh

from manifolds import (
    QR,
    Euclidean,
    GeneralizedStiefel,
    Grassmann,
    Oblique,
    Polar,
    Product,
    Rotations,
    Sphere,
    Stiefel,
    SymmetricPositiveDefinite,
    from_pymanopt,
    to_pymanopt,
)
from manifolds.adapters.lent_seeds import numpy_seed
from tests.arrays import DOUBLE, Kind, spd
from tests.manifolds.library_manifolds import SquaredDistance, SquaredDistanceOfGrams, near
from tests.manifolds.zoo import ZOO, factors

MANIFOLDS = {name: manifold for name, member in ZOO.items() if not (manifold := member.build(DOUBLE)).factored}
ARRAYS = [name for name, manifold in MANIFOLDS.items() if not isinstance(manifold, Product)]
SMALL = {
    "euclidean": Euclidean(3, 2),
    "sphere": Sphere(4),
    "oblique": Oblique(3, 2),
    "stiefel": Stiefel(4, 1),
    "canonical": Stiefel(3, 2, "canonical"),
    "grassmann": Grassmann(5, 2),
    "rotations": Rotations(3),
    "positive-definite": SymmetricPositiveDefinite(2),
    "generalized": GeneralizedStiefel(spd(4, 30.0, seed=0), 2, spd(4, 30.0, seed=1)),
}
"""For an optimizer without derivatives that computes Karcher means of its simplex."""


def problem_near(manifold, theirs, costs=None):
    """Problem with a known minimizer of cost zero, and a point near it; all costs go to the end of a list."""
    goal = manifold.random_point(5)
    cost = (SquaredDistanceOfGrams if isinstance(factors(manifold)[0], Grassmann) else SquaredDistance)(goal)
    wrap = pymanopt.function.numpy(theirs)

    def recorded(x):
        value = cost(x)
        if costs is not None:
            costs.append(value)
        return value

    problem = pymanopt.Problem(
        theirs, wrap(recorded), euclidean_gradient=wrap(cost.gradient), euclidean_hessian=wrap(cost.hessian)
    )
    return problem, near(manifold, goal)


@pytest.mark.parametrize("optimizer", [ConjugateGradient, SteepestDescent, TrustRegions])
@pytest.mark.parametrize("name", ARRAYS)
def test_optimizers_with_gradients_find_the_minimizer(name, optimizer):
    manifold = MANIFOLDS[name]
    problem, start = problem_near(manifold, to_pymanopt(manifold, rng=0))
    with np.errstate(invalid="ignore"):  # theirs divides zero by zero where a model is exact
        result = optimizer(verbosity=0, max_iterations=500).run(problem, initial_point=start)
    assert result.cost < 1e-7 * problem.cost(start)
    assert manifold.check_point(result.point) is None


@pytest.mark.parametrize("name", SMALL)
def test_nelder_mead_descends(name):
    manifold = SMALL[name]
    problem, _ = problem_near(manifold, to_pymanopt(manifold, rng=0), costs := [])
    result = NelderMead(verbosity=0, max_iterations=30).run(problem)
    simplex = costs[: manifold.dim + 1]  # it draws one of its own and refuses a given one
    assert result.cost < min(simplex)
    assert manifold.check_point(result.point) is None


@pytest.mark.parametrize("name", ARRAYS)
def test_particle_swarm_descends(name):
    manifold = MANIFOLDS[name]
    problem, start = problem_near(manifold, to_pymanopt(manifold, rng=0), costs := [])
    swarm = [near(manifold, start, seed=seed) for seed in range(8)]
    with numpy_seed(0), np.errstate(all="ignore"):
        result = ParticleSwarm(verbosity=0, max_iterations=20, population_size=8).run(problem, initial_point=swarm)
    assert result.cost < min(costs[:8])
    assert manifold.check_point(result.point) is None


def test_random_starts_come_from_the_seed():
    first, again = (to_pymanopt(Stiefel(6, 2), rng=3) for _ in range(2))
    np.testing.assert_array_equal(first.random_point(), again.random_point())
    assert not np.array_equal(first.random_point(), Stiefel(6, 2).random_point(3))  # the generator has moved on
    x = first.random_point()
    v = first.random_tangent_vector(x)
    assert first.norm(x, v) == pytest.approx(1.0)


def test_chords_stand_in_for_logarithms_that_there_are_none_of():
    stiefel, generalized = Stiefel(6, 3), SMALL["generalized"]
    for manifold in (stiefel, generalized):
        theirs, x = to_pymanopt(manifold), manifold.random_point(0)
        with pytest.raises((ValueError, NotImplementedError)):
            manifold.log(x, -x)
        np.testing.assert_allclose(theirs.log(x, -x), manifold.projection(x, -2 * x), atol=1e-13)
        assert theirs.dist(x, -x) == pytest.approx(2 * manifold.norm(x, x))
        y = near(manifold, x, 0.1)
        middle = theirs.pair_mean(x, y)
        assert manifold.check_point(middle) is None
        assert theirs.dist(middle, x) == pytest.approx(theirs.dist(middle, y), rel=0.05)


def test_the_generalized_eigenproblem_by_a_trust_region_of_theirs():
    a, b = spd(7, 100.0, seed=0), spd(7, 30.0, seed=1)
    manifold = to_pymanopt(GeneralizedStiefel(b, 2, spd(7, 30.0, seed=2)), rng=0)
    wrap = pymanopt.function.numpy(manifold)
    problem = pymanopt.Problem(
        manifold,
        wrap(lambda x: np.trace(x.T @ a @ x)),
        euclidean_gradient=wrap(lambda x: 2 * a @ x),
        euclidean_hessian=wrap(lambda x, v: 2 * a @ v),
    )
    result = TrustRegions(verbosity=0).run(problem)
    assert result.cost == pytest.approx(eigh(a, b, eigvals_only=True)[:2].sum(), rel=1e-8)


@pytest.mark.parametrize("optimizer", [ConjugateGradient, SteepestDescent, TrustRegions])
def test_products(optimizer):
    product = Product(pair=Product(Sphere(3), Oblique(3, 2)), frame=Stiefel(4, 2))
    theirs = to_pymanopt(product, rng=0)
    assert (theirs.dim, len(theirs.random_point())) == (product.dim, 3)
    goals = [f.random_point(5) for f in (Sphere(3), Oblique(3, 2), Stiefel(4, 2))]
    starts = [near(f, goal) for f, goal in zip((Sphere(3), Oblique(3, 2), Stiefel(4, 2)), goals, strict=True)]
    wrap = pymanopt.function.numpy(theirs)
    problem = pymanopt.Problem(
        theirs,
        wrap(lambda *x: 0.5 * sum(np.sum((a - b) ** 2) for a, b in zip(x, goals, strict=True))),
        euclidean_gradient=wrap(lambda *x: [a - b for a, b in zip(x, goals, strict=True)]),
        euclidean_hessian=wrap(lambda *both: list(both[3:])),
    )
    result = optimizer(verbosity=0).run(problem, initial_point=starts)
    for part, goal in zip(result.point, goals, strict=True):
        np.testing.assert_allclose(part, goal, atol=1e-5)
    with numpy_seed(0):
        swarm = ParticleSwarm(verbosity=0, max_iterations=20, population_size=8).run(problem)
    assert swarm.cost < min(problem.cost(theirs.random_point()) for _ in range(8))


@pytest.fixture
def their_checks(monkeypatch):
    """pymanopt's diagnostics, which draw and show what they find.

    Two things keep them from running: numpy no longer takes the residuals of its polyfit, an array of one number, for a
    number; and errors may be zero or constant by rounding, where they look for a line in their logarithms.
    """
    polyfit, linear_piece = np.polyfit, diagnostics.identify_linear_piece

    def with_number(*args, full=False, **kwargs):
        if not full:
            return polyfit(*args, **kwargs)
        coefficients, residuals, *rest = polyfit(*args, full=True, **kwargs)
        return coefficients, residuals.sum(), *rest

    def above_rounding(steps, errors, length):
        positive = np.isfinite(errors) & (steps > -4)
        if np.sum(positive) <= length:
            return np.arange(len(steps)), np.zeros(2)  # no line: the two maps are the same
        return linear_piece(steps[positive], errors[positive], length)

    monkeypatch.setattr(np, "polyfit", with_number)
    monkeypatch.setattr(diagnostics, "identify_linear_piece", above_rounding)
    monkeypatch.setattr(plt, "show", lambda: None)
    with np.errstate(divide="ignore"):
        yield diagnostics
    plt.close("all")


def slope(checks, problem, point, **model):
    """Slope of the errors of their Taylor check between h = 1e-3 and 0.1; infinite where the model is exact."""
    h, errors, _, _ = checks.check_directional_derivative(problem, point, **model)
    shown = (h > 1e-3) & (h < 0.1)
    return np.inf if np.all(errors < 1e-12) else np.polyfit(np.log(h[shown]), np.log(errors[shown]), 1)[0]


def printed_numbers(text, *sentences):
    """Numbers that follow the sentences in what their checks print."""
    found = [re.search(re.escape(sentence) + r"[^:]*?: (?:.* = )?([-+.\w]+?)\.?\s", text) for sentence in sentences]
    return [float(match[1]) for match in found]


@pytest.mark.parametrize("name", ARRAYS)
def test_their_check_of_the_gradient(name, their_checks, capsys):
    problem, start = problem_near(MANIFOLDS[name], to_pymanopt(MANIFOLDS[name], rng=0))
    their_checks.check_gradient(problem, start)
    (normal,) = printed_numbers(capsys.readouterr().out, "The residual should be close to 0")
    assert normal < 1e-12
    assert slope(their_checks, problem, start) > 1.95


@pytest.mark.parametrize("name", ARRAYS)
def test_their_check_of_the_hessian(name, their_checks, capsys):
    """Along the exponential map where there is one, else where the gradient is zero and any retraction does."""
    manifold = MANIFOLDS[name]
    theirs = to_pymanopt(manifold, rng=0)
    problem, start = problem_near(manifold, theirs)
    if not ZOO[name].has_exp:
        start = manifold.random_point(5)
        assert theirs.norm(start, problem.riemannian_gradient(start)) == 0
    their_checks.check_hessian(problem, start)
    numbers = printed_numbers(
        capsys.readouterr().out,
        "The residual should be 0, or very close. Residual",
        "should be very close to 0",
        "should be close to zero",
    )
    np.testing.assert_allclose(numbers, 0, atol=1e-11)
    assert slope(their_checks, problem, start, use_quadratic_model=True) > 2.9


@pytest.mark.parametrize("name", [name for name in ARRAYS if ZOO[name].has_exp])
def test_their_check_of_the_retraction(name, their_checks, capsys):
    manifold = MANIFOLDS[name]
    x = manifold.random_point(1)
    v = manifold.random_tangent_vector(x, 2)
    their_checks.check_retraction(to_pymanopt(manifold, rng=0), x, v)
    order, errors = printed_numbers(capsys.readouterr().out, "It appears the slope is", "this should be zero")
    assert order > 1.95 or errors < 1e-6  # rounding of distances, where retraction and exponential map are the same


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: to_pymanopt(pymanopt.manifolds.Sphere(3)),
            TypeError,
            "manifold must be a manifold of ours whose points are single arrays, or a product of such, got Sphere",
        ),
        (
            lambda: to_pymanopt(GeneralizedStiefel(Kind("torch", "float64")(np.eye(3)), 2)),
            TypeError,
            "holds torch tensors, but pymanopt computes with numpy arrays; build it of those",
        ),
        (
            lambda: to_pymanopt(Product(Sphere(3), GeneralizedStiefel(Kind("torch", "float64")(np.eye(3)), 2))),
            TypeError,
            "holds torch tensors",
        ),
        (
            lambda: to_pymanopt(Sphere(3), rng="seed"),
            TypeError,
            "rng must be None, a seed, a numpy.random.Generator or a torch.Generator, got str",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


COUNTERPARTS = [
    (Euclidean(3, 2), pymanopt.manifolds.Euclidean(3, 2)),
    (Sphere(3, 2), pymanopt.manifolds.Sphere(3, 2)),
    (Oblique(4, 3), pymanopt.manifolds.Oblique(4, 3)),
    (Stiefel(5, 2, retraction=QR()), pymanopt.manifolds.Stiefel(5, 2)),
    (Stiefel(5, 2, retraction=Polar()), pymanopt.manifolds.Stiefel(5, 2, retraction="polar")),
    (Grassmann(5, 2, Polar()), pymanopt.manifolds.Grassmann(5, 2)),
    (SymmetricPositiveDefinite(3), pymanopt.manifolds.SymmetricPositiveDefinite(3)),
    (Rotations(3, QR()), from_pymanopt(pymanopt.manifolds.SpecialOrthogonalGroup(3))),
    (Rotations(3, Polar()), from_pymanopt(pymanopt.manifolds.SpecialOrthogonalGroup(3, retraction="polar"))),
]
"""Manifolds that both have; those with vectors of another form in ours, through the adapter."""


@pytest.mark.parametrize(("native", "theirs"), COUNTERPARTS, ids=[str(native) for native, _ in COUNTERPARTS])
def test_equal_to_their_counterpart(native, theirs):
    ours = to_pymanopt(native, rng=0)
    x = ours.random_point()
    e, h = np.random.default_rng(1).standard_normal((2, *native.shape))
    v, w = ours.projection(x, e), ours.projection(x, h)
    assert ours.dim == theirs.dim
    for method, arguments in {
        "projection": (e,),
        "inner_product": (v, w),
        "norm": (v,),
        "euclidean_to_riemannian_gradient": (e,),
        "euclidean_to_riemannian_hessian": (e, h, v),
        "retraction": (0.1 * v,),
    }.items():
        expected = getattr(theirs, method)(x, *arguments)
        np.testing.assert_allclose(getattr(ours, method)(x, *arguments), expected, atol=1e-12, err_msg=method)
    y, z = ours.exp(x, 0.1 * v), theirs.exp(x, 0.1 * v)
    spans = isinstance(native, Grassmann)
    np.testing.assert_allclose(y @ y.T if spans else y, z @ z.T if spans else z, atol=1e-12)
    if not isinstance(native, Stiefel):  # pymanopt has no logarithm there
        assert ours.dist(x, y) == pytest.approx(theirs.dist(x, y), abs=1e-7)
        np.testing.assert_allclose(ours.log(x, y), theirs.log(x, y), atol=1e-7)
