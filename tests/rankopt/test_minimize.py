"""Optima found by minimize, against dense decompositions, closed forms and pymanopt."""

from __future__ import annotations

import numpy as np
import pymanopt
import pytest
import scipy.linalg

from manifolds import Euclidean, GeneralizedStiefel, Grassmann, Product, Sphere, Stiefel
from rankopt import GradientNorm, MaxIterations, Status, minimize
from tests.arrays import Kind, kind_of, to_float64

# The default tolerance on the gradient is 1e-6 (float64) or 1e-3 (float32) of its norm at the start, which is about 30
# here; the error of the cost is its square over twice the smallest curvature, about one, plus rounding.
COST_TOLERANCE = {"float64": 1e-9, "float32": 2e-3}


@pytest.mark.parametrize("space", [Stiefel, Grassmann])
def test_trace_on_orthonormal_frames(space, kind, trace_objective):
    n, p = 9, 3
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    a = (q * np.arange(1.0, n + 1)) @ q.T
    f = trace_objective(kind(a))
    x0 = space(n, p).random_point(rng=2, like=kind([0.0]))

    result = minimize(f.cost, space(n, p), x0, gradient=f.gradient)

    values, vectors = scipy.linalg.eigh(a, subset_by_index=[0, p - 1])
    assert result.success
    assert kind_of(result.x) == kind
    assert result.fun == pytest.approx(values.sum(), rel=COST_TOLERANCE[kind.dtype])
    x = to_float64(result.x)
    np.testing.assert_allclose(x @ x.T, vectors @ vectors.T, atol={"float64": 1e-5, "float32": 2e-2}[kind.dtype])


@pytest.mark.parametrize("metric", ["identity", "diagonal", "same", "unrelated"])
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_trace_on_generalized_stiefel(condition, metric, double, spd, trace_objective):
    n, p = 8, 2
    a, b = spd(n, 20.0, seed=3), spd(n, condition, seed=4)
    m = {"identity": None, "diagonal": np.diag(b).copy(), "same": b, "unrelated": spd(n, 5.0, seed=5)}[metric]
    f = trace_objective(double(-a))
    manifold = GeneralizedStiefel(double(b), p, preconditioner=None if m is None else double(m))

    stopping = GradientNorm(absolute=1e-8, relative=1e-8) | MaxIterations(4000)
    result = minimize(f.cost, manifold, gradient=f.gradient, rng=0, stopping=stopping)

    values, vectors = scipy.linalg.eigh(a, b, subset_by_index=[n - p, n - 1])
    assert result.status in (Status.CONVERGED_GRADIENT, Status.STEP_TOO_SMALL)
    assert result.fun == pytest.approx(-values.sum(), rel=1e-10)
    # The B-orthogonal projector on the span, whatever basis of it was found.
    x = to_float64(result.x)
    np.testing.assert_allclose(x @ x.T @ b, vectors @ vectors.T @ b, atol=1e-6 * condition**0.5)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_trace_on_generalized_stiefel_in_single_precision(library, spd, trace_objective):
    a, b = spd(7, 20.0, seed=3), spd(7, 50.0, seed=4)
    single = Kind(library, "float32")
    manifold, f = GeneralizedStiefel(single(b), 2, preconditioner=single(b)), trace_objective(single(-a))
    result = minimize(f.cost, manifold, gradient=f.gradient, rng=0)
    # Rounding of the constraint counts with cond(B) = 50: 50 * 6e-8.
    expected = -scipy.linalg.eigh(a, b, eigvals_only=True)[-2:].sum()
    assert result.fun == pytest.approx(expected, rel=1e-4)
    assert kind_of(result.x) == single


@pytest.mark.parametrize("shape", [(12,), (3, 4)])
def test_rayleigh_quotient_on_sphere(shape, kind, spd):
    a = spd(12, 8.0, seed=6)
    array = kind(a)

    def cost(x):
        return x.reshape(-1) @ array @ x.reshape(-1)

    def gradient(x):
        return (2 * array @ x.reshape(-1)).reshape(shape)

    x0 = Sphere(*shape).random_point(rng=0, like=kind([0.0]))
    result = minimize(cost, Sphere(*shape), x0, gradient=gradient)
    values, vectors = np.linalg.eigh(a)
    assert result.fun == pytest.approx(values[0], rel=COST_TOLERANCE[kind.dtype])
    cosine = to_float64(result.x).ravel() @ vectors[:, 0]
    assert abs(cosine) == pytest.approx(1.0, abs={"float64": 1e-9, "float32": 2e-3}[kind.dtype])


def test_orthogonal_procrustes(kind):
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((20, 4)), rng.standard_normal((20, 4))
    left, _, right = np.linalg.svd(a.T @ b)
    expected = left @ right
    # The orthogonal group has two components; start in that of the solution.
    start = np.diag([np.linalg.det(expected), 1.0, 1.0, 1.0])
    array_a, array_b = kind(a), kind(b)

    def cost(x):
        return ((array_a @ x - array_b) ** 2).sum()

    def gradient(x):
        return 2 * array_a.T @ (array_a @ x - array_b)

    result = minimize(cost, Stiefel(4, 4), kind(start), gradient=gradient)
    np.testing.assert_allclose(to_float64(result.x), expected, atol={"float64": 1e-5, "float32": 5e-2}[kind.dtype])


def test_nearest_frame_is_the_polar_factor(double):
    c = np.random.default_rng(8).standard_normal((7, 3))
    left, _, right = np.linalg.svd(c, full_matrices=False)
    array = double(c)
    x0 = Stiefel(7, 3).random_point(rng=0, like=array)
    result = minimize(lambda x: ((x - array) ** 2).sum(), Stiefel(7, 3), x0, gradient=lambda x: 2 * (x - array))
    np.testing.assert_allclose(to_float64(result.x), left @ right, atol=1e-5)


def test_singular_values_on_a_product(kind):
    s = np.random.default_rng(9).standard_normal((6, 5))
    array = kind(s)
    manifold = Product(u=Stiefel(6, 2), v=Stiefel(5, 2))
    x0 = manifold.random_point(rng=1, like=array)
    result = minimize(
        lambda x: -(x.u * (array @ x.v)).sum(),
        manifold,
        x0,
        gradient=lambda x: manifold.point_type(-array @ x.v, -array.T @ x.u),
    )
    left, values, right = np.linalg.svd(s)
    assert result.fun == pytest.approx(-values[:2].sum(), rel=COST_TOLERANCE[kind.dtype])
    u, v = to_float64(result.x.u), to_float64(result.x.v)
    atol = {"float64": 1e-5, "float32": 5e-2}[kind.dtype]
    np.testing.assert_allclose(u @ u.T, left[:, :2] @ left[:, :2].T, atol=atol)
    np.testing.assert_allclose(v @ v.T, right[:2].T @ right[:2], atol=atol)


@pytest.mark.parametrize("shape", [(6,), (6, 3)])
def test_euclidean_quadratic(shape, kind, spd):
    a, b = spd(6, 50.0, seed=10), np.random.default_rng(11).standard_normal(shape)
    array_a, array_b = kind(a), kind(b)
    result = minimize(
        lambda x: 0.5 * (x * (array_a @ x)).sum() - (array_b * x).sum(),
        Euclidean(*shape),
        kind(np.zeros(shape)),
        gradient=lambda x: array_a @ x - array_b,
    )
    # The error of x is at most that of the gradient: the smallest eigenvalue of A is one.
    np.testing.assert_allclose(
        to_float64(result.x), np.linalg.solve(a, b), atol={"float64": 1e-5, "float32": 1e-2}[kind.dtype]
    )


def test_factors_without_coupling_are_solved_side_by_side(spd):
    a, b = spd(5, 10.0, seed=12), spd(6, 10.0, seed=13)
    manifold = Product(Sphere(5), Grassmann(6, 2))
    result = minimize(
        lambda x: x[0] @ a @ x[0] + np.trace(x[1].T @ b @ x[1]),
        manifold,
        gradient=lambda x: (2 * a @ x[0], 2 * b @ x[1]),
        rng=0,
    )
    expected = np.linalg.eigvalsh(a)[0] + np.linalg.eigvalsh(b)[:2].sum()
    assert result.fun == pytest.approx(expected, rel=1e-9)
    assert result.x._fields == ("factor_0", "factor_1")


def test_same_optimum_as_pymanopt(spd):
    a, weights = spd(10, 30.0, seed=14), np.array([3.0, 2.0, 1.0])

    def cost(x):
        return np.sum(weights * np.einsum("ij,ij->j", x, a @ x))

    def gradient(x):
        return 2 * a @ x * weights

    x0 = np.linalg.qr(np.random.default_rng(15).standard_normal((10, 3)))[0]
    stopping = GradientNorm(absolute=1e-7) | MaxIterations(2000)
    ours = minimize(cost, Stiefel(10, 3), x0, gradient=gradient, stopping=stopping)

    theirs_manifold = pymanopt.manifolds.Stiefel(10, 3)
    decorate = pymanopt.function.numpy(theirs_manifold)
    problem = pymanopt.Problem(theirs_manifold, decorate(cost), euclidean_gradient=decorate(gradient))
    solver = pymanopt.optimizers.ConjugateGradient(verbosity=0, min_gradient_norm=1e-6, max_iterations=2000)
    theirs = solver.run(problem, initial_point=x0)

    assert ours.fun == pytest.approx(theirs.cost, abs=1e-8)
    np.testing.assert_allclose(np.abs(np.sum(ours.x * theirs.point, axis=0)), 1.0, atol=1e-6)
