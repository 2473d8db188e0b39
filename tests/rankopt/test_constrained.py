"""Augmented Lagrangian runs: solutions and multipliers from eigenproblems, enumeration, packings and scipy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.optimize
import torch

from manifolds import Euclidean, FixedRank, Oblique, Product, Sphere, Stiefel, SymmetricPositiveDefinite
from rankopt import (
    LBFGS,
    AugmentedLagrangian,
    ConjugateGradient,
    Equality,
    Feasibility,
    GradientDescent,
    GradientNorm,
    Inequality,
    MaxIterations,
    NewtonCG,
    QuadraticObjective,
    Status,
    TrustRegion,
    from_scipy,
    minimize_constrained,
)
from tests.arrays import kind_of

N = 9
RNG = np.random.default_rng(0)
A = (lambda q: (q * np.geomspace(1.0, 30.0, N)) @ q.T)(np.linalg.qr(RNG.standard_normal((N, N)))[0])
C = RNG.standard_normal((N, 2))
COMPLEMENT = np.linalg.svd(C.T)[2][2:].T
TIGHT = GradientNorm(absolute=1e-8) & Feasibility(1e-9) | MaxIterations(40)
NOT_NEGATIVE = Inequality(lambda x: -x, lambda x, y: -y)
ORTHOGONAL_TO_C = Equality(lambda x: C.T @ x, lambda x, y: C @ y)
INNER = {
    "trust-region": TrustRegion(),
    "newton-cg": NewtonCG(),
    "lbfgs": LBFGS(),
    "conjugate-gradient": ConjugateGradient(),
    "gradient-descent": GradientDescent(),
}


class Trace:
    """tr(X^T A X), by numpy or torch."""

    def __init__(self, a, sign=1):
        self.a, self.sign = a, sign

    def cost(self, x):
        return self.sign * (x * (self.a @ x)).sum()

    def gradient(self, x):
        return 2 * self.sign * (self.a @ x)

    def hessian(self, x, v):
        return 2 * self.sign * (self.a @ v)


def rayleigh(constraints=ORTHOGONAL_TO_C, x0=None, method=None, f=None, manifold=None, **options):
    f = Trace(A) if f is None else f
    options = {"stopping": TIGHT, "rng": 1, "gradient": f.gradient} | options
    return minimize_constrained(f.cost, manifold or Sphere(len(f.a)), constraints, x0, method, **options)


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
def test_deflated_eigenproblem(inner):
    """The least eigenvector orthogonal to given vectors: that of the matrix compressed to their complement."""
    result = rayleigh(method=AugmentedLagrangian(inner), stopping=TIGHT if inner != GradientDescent() else None)
    values, vectors = np.linalg.eigh(COMPLEMENT.T @ A @ COMPLEMENT)
    expected = COMPLEMENT @ vectors[:, 0]
    assert result.status is Status.CONVERGED_GRADIENT
    # Barzilai-Borwein steps end at the rounding of the cost, with 1e-6 of feasibility.
    tolerance = 1e-6 if inner == GradientDescent() else 1e-8
    assert result.fun == pytest.approx(values[0], rel=tolerance)
    np.testing.assert_allclose(result.x * np.sign(result.x @ expected), expected, atol=10 * tolerance)
    # 2 A x + C y = 2 value x
    y = np.linalg.lstsq(C, 2 * values[0] * result.x - 2 * A @ result.x, rcond=None)[0]
    np.testing.assert_allclose(result.multipliers[0], y, atol=100 * tolerance)
    assert np.abs(C.T @ result.x).max() == result.constraint_violation <= tolerance
    assert result.complementarity == 0.0


def test_deflated_eigenspace_by_matrix_valued_constraints():
    result = rayleigh(manifold=Stiefel(N, 2))
    assert result.fun == pytest.approx(np.linalg.eigvalsh(COMPLEMENT.T @ A @ COMPLEMENT)[:2].sum(), rel=1e-8)
    assert result.multipliers[0].shape == (2, 2)


def test_fiedler_value():
    """The relaxed minimum balanced cut of two cliques joined by an edge: the second eigenvalue of the Laplacian."""
    adjacency = np.kron(np.eye(2), np.ones((4, 4)) - np.eye(4))
    adjacency[3, 4] = adjacency[4, 3] = 1
    laplacian = np.diag(adjacency.sum(1)) - adjacency
    balanced = Equality(np.sum, lambda x, y: y * np.ones_like(x))
    result = rayleigh(balanced, f=Trace(laplacian))
    assert result.fun == pytest.approx(np.linalg.eigvalsh(laplacian)[1], rel=1e-8)
    assert np.sign(result.x).reshape(2, 4).sum(axis=1).tolist() in ([-4, 4], [4, -4])


def test_minimum_bisection_by_signs():
    """x_i^2 = 1 / n leaves signs only; the best balanced ones by trying all."""
    adjacency = np.kron(np.eye(2), np.ones((4, 4)) - np.eye(4))
    adjacency[[3, 4, 0, 5], [4, 3, 5, 0]] = 1
    laplacian = np.diag(adjacency.sum(1)) - adjacency
    cuts = []
    for side in combinations(range(8), 4):
        signs = np.where(np.isin(np.arange(8), side), 1.0, -1.0) / 8**0.5
        cuts.append(signs @ laplacian @ signs)
    constraints = [
        Equality(np.sum, lambda x, y: y * np.ones_like(x)),
        Equality(lambda x: 8 * x**2 - 1, lambda x, y: 16 * x * y),
    ]
    result = rayleigh(constraints, np.linalg.eigh(laplacian)[1][:, 1], f=Trace(laplacian))
    assert result.success
    assert result.fun == pytest.approx(min(cuts), rel=1e-8)
    np.testing.assert_allclose(np.abs(result.x), 8**-0.5, atol=1e-8)


def non_negative_component(a):
    """Largest x^T A x over unit vectors without negative entries, by the eigenvectors of all principal submatrices."""
    best, n = (-np.inf, None), len(a)
    for support in (list(s) for k in range(1, n + 1) for s in combinations(range(n), k)):
        values, vectors = np.linalg.eigh(a[np.ix_(support, support)])
        for value, vector in zip(values, vectors.T * np.sign(vectors.sum(axis=0))[:, None], strict=True):
            if vector.min() >= 0 and value > best[0]:
                best = value, np.zeros(n)
                best[1][support] = vector
    return best


COVARIANCE = (lambda b: b @ b.T)(np.random.default_rng(3).standard_normal((6, 6)))
LARGEST, COMPONENT = non_negative_component(COVARIANCE)
CENTRE = np.full(6, 6**-0.5)


@pytest.mark.parametrize("inner", INNER)
def test_non_negative_component(inner):
    result = rayleigh(NOT_NEGATIVE, CENTRE, AugmentedLagrangian(inner), Trace(COVARIANCE, -1))
    assert result.success
    assert -result.fun == pytest.approx(LARGEST, rel=1e-8)
    np.testing.assert_allclose(result.x, COMPONENT, atol=1e-7)
    # -2 A x + 2 value x = z: zero on the support, not negative elsewhere.
    z = 2 * (LARGEST * COMPONENT - COVARIANCE @ COMPONENT)
    assert z.max() > 0.1
    np.testing.assert_allclose(result.multipliers[0], z, atol=1e-5)
    assert result.multipliers[0].min() == 0
    assert max(result.constraint_violation, result.complementarity) <= 1e-9


@pytest.mark.parametrize("method", ["trust-region", "newton-cg", "lbfgs"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_autograd(dtype, method):
    a, x0 = torch.tensor(COVARIANCE, dtype=dtype), torch.tensor(CENTRE, dtype=dtype)
    result = minimize_constrained(
        lambda x: -x @ a @ x, Sphere(6), Inequality(lambda x: -x), x0, AugmentedLagrangian(method)
    )
    assert result.success
    exact = dtype == torch.float64
    assert -result.fun == pytest.approx(LARGEST, rel=1e-6 if exact else 1e-3)
    assert (result.x.dtype, result.multipliers[0].dtype) == (dtype, dtype)
    assert not any(array.requires_grad for array in (result.x, result.multipliers[0]))
    assert (result.nhev > 0) == (result.constr_nhev > 0) == (method != "lbfgs")
    assert result.constraint_violation <= (1e-6 if exact else 1e-3)


def test_numpy_float32():
    a, x0 = COVARIANCE.astype(np.float32), CENTRE.astype(np.float32)
    f = Trace(a, -1)
    result = minimize_constrained(f.cost, Sphere(6), NOT_NEGATIVE, x0, gradient=f.gradient)
    assert result.success
    assert kind_of(result.x) == kind_of(result.multipliers[0]) == kind_of(x0)
    assert -result.fun == pytest.approx(LARGEST, rel=1e-3)


@pytest.mark.parametrize(("count", "cosine"), [(3, -1 / 2), (4, -1 / 3), (6, 0.0)])
def test_packing_of_points_on_a_sphere(count, cosine):
    """The least t with <x_i, x_j> <= t: triangle, tetrahedron and octahedron."""
    manifold = Product(points=Oblique(3, count), bound=Euclidean(1))
    i, j = np.triu_indices(count, 1)

    def cosines(p):
        return (p.points.mT @ p.points)[i, j] - p.bound

    start = manifold.random_point(2, like=torch.empty(0, dtype=torch.float64))
    result = minimize_constrained(lambda p: p.bound.sum(), manifold, Inequality(cosines), start, stopping=TIGHT)
    assert result.status is Status.CONVERGED_GRADIENT
    assert result.fun == pytest.approx(cosine, abs=1e-8)
    # The bound's derivative: the multipliers share a weight of one.
    assert float(result.multipliers[0].sum()) == pytest.approx(1.0, abs=1e-7)


def test_convex_quadratic_program_like_scipy():
    rng = np.random.default_rng(2)
    b, g, h = rng.standard_normal(5), rng.standard_normal((7, 5)), rng.standard_normal((2, 5))
    rhs, equal = rng.random(7) - 0.3, rng.standard_normal(2)
    a = A[:5, :5]
    constraints = [
        Inequality(lambda x: g @ x - rhs, lambda x, y: g.T @ y),
        Equality(lambda x: h @ x - equal, lambda x, y: h.T @ y),
    ]
    objective = from_scipy(lambda x: 0.5 * x @ a @ x - b @ x, lambda x: a @ x - b)
    result = minimize_constrained(objective, Euclidean(5), constraints, np.zeros(5), stopping=TIGHT)
    theirs = scipy.optimize.minimize(
        lambda x: 0.5 * x @ a @ x - b @ x, np.zeros(5), jac=lambda x: a @ x - b, method="SLSQP",
        options={"ftol": 1e-14}, constraints=[
            {"type": "ineq", "fun": lambda x: rhs - g @ x}, {"type": "eq", "fun": lambda x: h @ x - equal},
        ],
    )  # fmt: skip
    assert theirs.success
    assert result.success
    assert (result.multipliers[0] > 1e-3).sum() >= 1  # not only the equalities count
    np.testing.assert_allclose(result.x, theirs.x, atol=1e-6)
    np.testing.assert_allclose(
        a @ result.x - b + g.T @ result.multipliers[0] + h.T @ result.multipliers[1], 0, atol=1e-7
    )


def test_the_sphere_as_scipy_sees_it():
    """Inequalities on the sphere against SLSQP in the space around it, with the sphere as a constraint."""
    rng = np.random.default_rng(4)
    g = rng.standard_normal((3, 5))
    x0 = Sphere(5).random_point(5)
    a = A[:5, :5]
    constraint = Inequality(lambda x: g @ x - 0.1, lambda x, y: g.T @ y)
    result = rayleigh(constraint, x0, f=Trace(a))
    theirs = scipy.optimize.minimize(
        lambda x: x @ a @ x, x0, jac=lambda x: 2 * a @ x, method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        constraints=[{"type": "ineq", "fun": lambda x: 0.1 - g @ x}, {"type": "eq", "fun": lambda x: x @ x - 1}],
    )  # fmt: skip
    assert theirs.success
    assert result.success
    assert result.multipliers[0].max() > 1e-3
    assert result.fun == pytest.approx(theirs.fun, abs=1e-7)
    np.testing.assert_allclose(result.x, theirs.x, atol=1e-6)


def test_positive_definite_matrices_with_a_given_trace(spd):
    """tr(A X) - log det X with tr(X) = 1: X = (A + y I)^{-1} with y from the trace."""
    a = spd(4, 20.0)
    trace = Equality(lambda x: np.trace(x) - 1, lambda x, y: y * np.eye(4))
    result = minimize_constrained(
        lambda x: np.trace(a @ x) - np.linalg.slogdet(x)[1], SymmetricPositiveDefinite(4), trace, np.eye(4),
        gradient=lambda x: a - np.linalg.inv(x), stopping=TIGHT,
    )  # fmt: skip
    y = scipy.optimize.brentq(lambda y: np.trace(np.linalg.inv(a + y * np.eye(4))) - 1, -0.9, 100.0)
    assert result.success
    assert float(result.multipliers[0]) == pytest.approx(y, abs=1e-6)
    np.testing.assert_allclose(result.x, np.linalg.inv(a + y * np.eye(4)), atol=1e-7)


@pytest.mark.parametrize("by_autograd", [True, False])
def test_matrices_of_fixed_rank(by_autograd):
    """Nearest matrix of rank 2 whose entries sum to zero: the Lagrangian's gradient is normal to the manifold."""
    target = torch.tensor(np.random.default_rng(1).standard_normal((5, 4)))
    manifold = FixedRank(5, 4, 2)
    x0 = manifold.nearest_point(target)
    gradients = {}
    weights = None
    if not by_autograd:
        gradients = {"gradient": lambda x: x.to_dense() - target}
        weights = lambda x, y: y * torch.ones_like(target)  # noqa: E731
    result = minimize_constrained(
        lambda x: 0.5 * ((x.to_dense() - target) ** 2).sum(), manifold,
        Equality(lambda x: x.to_dense().sum(), weights), x0, stopping=TIGHT, **gradients,
    )  # fmt: skip
    assert result.success
    x, residual = result.x, result.x.to_dense() - target + result.multipliers[0]
    assert abs(float(x.to_dense().sum())) <= 1e-9
    np.testing.assert_allclose(x.U.mT @ residual, 0, atol=1e-6)
    np.testing.assert_allclose(residual @ x.V, 0, atol=1e-6)


def test_quadratic_objectives():
    result = minimize_constrained(QuadraticObjective(A), Sphere(N), ORTHOGONAL_TO_C, rng=1, stopping=TIGHT)
    assert 2 * result.fun == pytest.approx(np.linalg.eigvalsh(COMPLEMENT.T @ A @ COMPLEMENT)[0], rel=1e-8)


def test_gradient_norm_is_that_of_the_lagrangian():
    result = rayleigh([ORTHOGONAL_TO_C, NOT_NEGATIVE], stopping=MaxIterations(2))
    total = 2 * A @ result.x + C @ result.multipliers[0] - result.multipliers[1]
    total -= result.x * (result.x @ total)
    assert result.grad_norm == pytest.approx(np.linalg.norm(total), rel=1e-9)
    assert result.fun == pytest.approx(result.x @ A @ result.x, rel=1e-14)
    values = np.concatenate([np.abs(C.T @ result.x), np.maximum(-result.x, 0)])
    assert result.constraint_violation == pytest.approx(values.max(), rel=1e-14)
    slack = np.where(result.multipliers[1] > 0, np.maximum(result.x, 0), 0)
    assert result.complementarity == pytest.approx(slack.max(), rel=1e-14)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_cost_changes_nothing(scale):
    plain, scaled = (rayleigh(f=Trace(s * A), stopping=None) for s in (1.0, scale))
    assert (scaled.nit, scaled.inner_nit, scaled.nfev) == (plain.nit, plain.inner_nit, plain.nfev)
    np.testing.assert_allclose(scaled.x, plain.x, atol=1e-7)
    np.testing.assert_allclose(scaled.multipliers[0] / scale, plain.multipliers[0], atol=1e-5)
    assert scaled.penalty / scale == pytest.approx(plain.penalty, rel=1e-6)


def test_without_multipliers_it_is_a_penalty_method():
    """Bounded by zero they do not count, and the violation falls with one over the penalty."""
    result = rayleigh(
        method=AugmentedLagrangian(max_multiplier=0.0, penalty=1e2, decrease=0.01), stopping=MaxIterations(7)
    )
    np.testing.assert_allclose(result.history.penalty[-3:], [1e4, 1e5, 1e6])
    violations = result.history.constraint_violation[-3:]
    np.testing.assert_allclose(violations[1:] / violations[:-1], 0.1, rtol=0.1)
    with_multipliers = rayleigh(method=AugmentedLagrangian(penalty=1e2), stopping=MaxIterations(7))
    assert with_multipliers.penalty == 1e2
    assert with_multipliers.constraint_violation < result.constraint_violation


def test_penalty_rises_only_where_residuals_do_not_fall():
    growth, decrease = 3.0, 0.2
    result = rayleigh(method=AugmentedLagrangian(penalty=0.05, growth=growth, decrease=decrease))
    history = result.history
    assert result.success
    violations, penalties = history.constraint_violation[1:], history.penalty[1:]
    np.testing.assert_allclose(penalties[:3], 0.05)
    rises = penalties[3:] > penalties[2:-1]
    np.testing.assert_allclose(penalties[3:][rises] / penalties[2:-1][rises], growth)
    # The violations of a minimization and of the two before decide on the penalty of the next one.
    expected = violations[2:-1] > np.maximum(1e-9, decrease * np.maximum(violations[1:-2], violations[:-3]))
    np.testing.assert_array_equal(rises, expected)
    assert rises.any()
    assert not rises.all()
