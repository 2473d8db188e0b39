"""Runs on declared quadratics: dense oracles, products counted from outside, and the path of opaque callables."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import torch

from manifolds import Euclidean, GeneralizedStiefel, Grassmann, Polar, Sphere, Stiefel
from rankopt import (
    ConjugateGradient,
    GradientDescent,
    GradientNorm,
    MaxEvaluations,
    MaxIterations,
    QuadraticObjective,
    Wolfe,
    minimize,
)
from tests.arrays import kind_of, spd, to_float64

N, P = 20, 3
A = spd(N, 100.0, seed=0) - 0.4 * np.eye(N)
B, M = spd(N, 30.0, seed=1), spd(N, 10.0, seed=2)
WEIGHTS = (3.0, 2.0, 1.0)
STOPPING = GradientNorm(absolute=1e-7) | MaxIterations(2000)
VALUES, VECTORS = np.linalg.eigh(A)
PENCIL, PENCIL_VECTORS = scipy.linalg.eigh(A, B)


@pytest.mark.parametrize("scale", [1.0, -1.0, -4.0])
@pytest.mark.parametrize("manifold", [Stiefel(N, P), Stiefel(N, P, retraction=Polar()), Grassmann(N, P)], ids=repr)
def test_extreme_eigenvalues(manifold, scale, double):
    result = minimize(QuadraticObjective(double(A), scale=scale), manifold, rng=0, stopping=STOPPING)
    assert result.success
    columns = slice(None, P) if scale > 0 else slice(N - P, None)
    assert result.fun == pytest.approx(0.5 * scale * VALUES[columns].sum(), rel=1e-12)
    x = to_float64(result.x)
    np.testing.assert_allclose(x @ x.T, VECTORS[:, columns] @ VECTORS[:, columns].T, atol=1e-6)


@pytest.mark.parametrize("preconditioner", [None, M, B], ids=["identity", "M", "B"])
def test_generalized_eigenvalues(preconditioner, double):
    metric = None if preconditioner is None else double(preconditioner)
    manifold = GeneralizedStiefel(double(B), P, preconditioner=metric)
    result = minimize(QuadraticObjective(double(A), scale=-1), manifold, rng=0, stopping=STOPPING)
    assert result.success
    assert result.fun == pytest.approx(-0.5 * PENCIL[-P:].sum(), rel=1e-11)
    x, vectors = to_float64(result.x), PENCIL_VECTORS[:, -P:]
    np.testing.assert_allclose(x @ x.T @ B, vectors @ vectors.T @ B, atol=1e-5)
    np.testing.assert_allclose(x.T @ B @ x, np.eye(P), atol=1e-13)


def test_distinct_weights_fix_the_eigenvectors():
    result = minimize(QuadraticObjective(A, WEIGHTS, scale=-1), Stiefel(N, P), rng=0, stopping=STOPPING)
    assert result.fun == pytest.approx(-0.5 * np.dot(WEIGHTS, VALUES[::-1][:P]), rel=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(result.x * VECTORS[:, ::-1][:, :P], axis=0)), 1.0, atol=1e-10)


@pytest.mark.parametrize("manifold", [Sphere(N), Sphere(N, 1), Stiefel(N, 1)], ids=repr)
def test_leading_vector(manifold):
    result = minimize(QuadraticObjective(A), manifold, rng=0, stopping=STOPPING)
    assert result.x.shape == manifold.shape
    assert result.fun == pytest.approx(0.5 * VALUES[0], rel=1e-12)
    assert abs(result.x.ravel() @ VECTORS[:, 0]) == pytest.approx(1.0, abs=1e-11)


def test_nearest_point_with_a_linear_part_only():
    c = np.random.default_rng(5).standard_normal((N, P))
    result = minimize(QuadraticObjective(np.zeros((N, N)), linear=c, scale=-1), Stiefel(N, P), rng=0, stopping=STOPPING)
    np.testing.assert_allclose(result.x, scipy.linalg.polar(c)[0], atol=1e-7)


def test_trust_region_subproblem_on_the_sphere():
    # On the unit sphere x^T A x / 2 + c^T x is least where (A + m I) x = -c with A + m I positive semidefinite.
    c = np.random.default_rng(6).standard_normal(N)
    result = minimize(QuadraticObjective(A, linear=c), Sphere(N), rng=0, stopping=STOPPING)
    assert result.success
    multiplier = -result.x @ (A @ result.x + c)
    np.testing.assert_allclose(A @ result.x + multiplier * result.x, -c, atol=1e-6)
    assert VALUES[0] + multiplier > 0


@pytest.mark.parametrize(
    "wrap",
    [
        scipy.sparse.csr_array,
        scipy.sparse.csr_matrix,
        scipy.sparse.linalg.aslinearoperator,
        lambda a: scipy.sparse.linalg.LinearOperator(a.shape, matvec=lambda v: a @ v, dtype=a.dtype),
    ],
    ids=["sparse array", "sparse matrix", "LinearOperator", "matvec only"],
)
@pytest.mark.parametrize("manifold", [Stiefel(N, P), GeneralizedStiefel(B, P), Sphere(N)], ids=repr)
def test_operators_give_the_iterates_of_the_matrix(wrap, manifold):
    expected = minimize(QuadraticObjective(A), manifold, rng=0, stopping=MaxIterations(8))
    result = minimize(QuadraticObjective(wrap(A)), manifold, rng=0, stopping=MaxIterations(8))
    assert result.n_products == expected.n_products
    np.testing.assert_allclose(result.x, expected.x, atol=1e-10)


class TorchOperator:
    """Operator on torch vectors that says so by ``like``."""

    def __init__(self, matrix):
        self.like, self.shape = matrix[:0], tuple(matrix.shape)
        self._matrix = matrix

    def __matmul__(self, v):
        return self._matrix @ v


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators_on_torch_vectors(dtype):
    a = torch.asarray(A, dtype=dtype)
    result = minimize(QuadraticObjective(TorchOperator(a)), Stiefel(N, P), rng=0)
    assert result.success
    assert result.x.dtype == dtype
    assert result.fun == pytest.approx(0.5 * VALUES[:P].sum(), rel=1e-10 if dtype == torch.float64 else 1e-5)


def test_every_kind_of_array(kind):
    result = minimize(QuadraticObjective(kind(A), scale=-1), GeneralizedStiefel(kind(B), P), rng=0)
    assert result.success
    assert kind_of(result.x) == kind
    tolerance = 1e-10 if kind.dtype == "float64" else 1e-5
    assert result.fun == pytest.approx(-0.5 * PENCIL[-P:].sum(), rel=tolerance)


MANIFOLDS = [Stiefel(N, P), Grassmann(N, P), GeneralizedStiefel(B, P), GeneralizedStiefel(B, P, preconditioner=M)]


@pytest.mark.parametrize("line_search", [Wolfe(curvature=0.3), Wolfe(curvature=1e-3)], ids=["loose", "exact"])
@pytest.mark.parametrize("manifold", MANIFOLDS, ids=["Stiefel", "Grassmann", "B", "B-M"])
def test_iterates_are_those_of_opaque_callables(manifold, line_search):
    objective, x0 = QuadraticObjective(A, scale=-2.0), manifold.random_point(rng=0)
    options = {"method": ConjugateGradient(line_search=line_search), "stopping": MaxIterations(12)}
    carried = minimize(objective, manifold, x0, **options)
    opaque = minimize(
        lambda x: -np.trace(x.T @ A @ x), manifold, x0, gradient=lambda x: -2 * A @ x, **options
    )  # fmt: skip
    np.testing.assert_allclose(carried.history.fun, opaque.history.fun, rtol=1e-9)
    np.testing.assert_allclose(carried.history.step_size, opaque.history.step_size, rtol=1e-5)
    np.testing.assert_allclose(carried.x, opaque.x, atol=1e-6)


@pytest.mark.parametrize("refresh", [1, 4, 25])
@pytest.mark.parametrize("manifold", [Stiefel, Grassmann, GeneralizedStiefel], ids=lambda m: m.__name__)
def test_a_step_takes_one_product_and_a_refresh_one_more(manifold, refresh, counting_operator):
    a, b = counting_operator(A), counting_operator(B)
    where = manifold(b, P) if manifold is GeneralizedStiefel else manifold(N, P)
    objective = QuadraticObjective(a, refresh=refresh)
    assert a.products == 1  # the probe's
    x0 = where.random_point(rng=0)
    before = b.products
    result = minimize(objective, where, x0, method="conjugate-gradient", stopping=MaxIterations(30))
    assert result.nit == 30
    refreshes = 30 // refresh
    assert result.n_products == a.products - 1 == 1 + 30 + refreshes
    np.testing.assert_array_equal(
        np.diff(result.history.n_products), [2 if step % refresh == 0 else 1 for step in range(1, 31)]
    )
    if manifold is GeneralizedStiefel:
        # Two to see that the start point is on the manifold, one for its state, and one with each direction.
        assert b.products - before <= 4 + 30 + refreshes
    # Cost and gradient are formed at the points of the steps only.
    assert (result.nfev, result.ngev, result.nhev) == (31, 31, 0)
    np.testing.assert_array_equal(result.history.nfev, np.arange(1, 32))


def test_descent_takes_one_product_per_step_too():
    options = {"method": GradientDescent(), "rng": 0, "stopping": MaxIterations(15)}
    result = minimize(QuadraticObjective(A), Stiefel(N, P), **options)
    np.testing.assert_array_equal(np.diff(result.history.n_products), 1)


def test_line_searches_multiply_with_nothing(counting_operator):
    a = counting_operator(A)
    problem = QuadraticObjective(a).on(Stiefel(N, P))
    state = problem.start(problem.random_start(0))
    curve = state.along(problem.manifold.random_tangent_vector(state.point, rng=1))
    before = a.products
    for t in np.linspace(0.0, 3.0, 20):
        curve.value(t)
        curve.slope(t)
    curve.accept(0.5)
    assert a.products == before


def test_limit_of_products():
    stopping = MaxEvaluations(12, counted="n_products")
    assert minimize(QuadraticObjective(A), Stiefel(N, P), rng=0, stopping=stopping).n_products == 12


@pytest.mark.parametrize("manifold", [Euclidean(N, P), Euclidean(N), Sphere(N, P)], ids=repr)
def test_other_manifolds_retract_and_evaluate(manifold, counting_operator):
    # Positive definite, so that the cost has a minimum on flat space.
    matrix = spd(N, 20.0, seed=4)
    a, c = counting_operator(matrix), np.random.default_rng(7).standard_normal(manifold.shape)
    objective = QuadraticObjective(a, linear=c)
    result = minimize(objective, manifold, method="conjugate-gradient", rng=0, stopping=STOPPING)
    assert result.success
    assert result.n_products == result.nfev == result.ngev == a.products - 1
    gradient = matrix @ result.x + c
    normal = 0.0 if isinstance(manifold, Euclidean) else np.sum(gradient * result.x)
    np.testing.assert_allclose(gradient, normal * result.x, atol=1e-6)


def test_hessian_products_by_evaluation_are_counted(counting_operator):
    a = counting_operator(A)
    problem = QuadraticObjective(a).on(Euclidean(N, P))
    v = np.ones((N, P))
    np.testing.assert_allclose(problem.start(v).hessian_product(v), A @ v, atol=1e-13)
    assert problem.counts() == {"nfev": 1, "ngev": 1, "nhev": 1, "n_products": a.products - 1}


def test_start_point_near_the_manifold_is_brought_back():
    x0 = Stiefel(N, P).random_point(rng=0)
    result = minimize(QuadraticObjective(A), Stiefel(N, P), 1.001 * x0, stopping=MaxIterations(0))
    np.testing.assert_allclose(result.x, x0, atol=1e-12)


def test_a_problem_can_be_handed_over():
    manifold = Stiefel(N, P)
    direct = minimize(QuadraticObjective(A), manifold, rng=0, stopping=MaxIterations(5))
    handed = minimize(QuadraticObjective(A).on(manifold), manifold, rng=0, stopping=MaxIterations(5))
    np.testing.assert_array_equal(direct.x, handed.x)


def test_inputs_are_not_written_to():
    a, c, x0 = A.copy(), np.ones((N, P)), Stiefel(N, P).random_point(rng=0)
    start = x0.copy()
    minimize(QuadraticObjective(a, WEIGHTS, c), Stiefel(N, P), x0, stopping=MaxIterations(5))
    for array, before in ((a, A), (c, np.ones((N, P))), (x0, start)):
        np.testing.assert_array_equal(array, before)
