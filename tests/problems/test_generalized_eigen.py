"""Eigenpairs of pencils by every method, against scipy's dense solver and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch
from scipy.sparse.linalg import aslinearoperator

from manifolds import (
    CholeskyPreconditioner,
    GramOperator,
    NotPositiveDefiniteError,
    NystromPreconditioner,
    SketchedGramPreconditioner,
)
from problems import LOBPCG, generalized_eigh
from problems.lobpcg import Iteration, Pencil
from rankopt import TrustRegion
from rankopt.solvers.status import Status
from tests.arrays import kind_of, orthogonal, spd, to_float64

N, K = 60, 4
Q = orthogonal(N, np.random.default_rng(0))
A = (Q * np.linspace(-2.0, 1.0, N) ** 3) @ Q.T
A = (A + A.T) / 2
B = spd(N, 100.0, seed=1)
METHODS = ["direct", "lobpcg", "riemannian", LOBPCG(oversampling=1, refresh=3), TrustRegion()]


def oracle(a, b, k, largest):
    values, vectors = scipy.linalg.eigh(a, b)
    return (values[::-1][:k], vectors[:, ::-1][:, :k]) if largest else (values[:k], vectors[:, :k])


def check(pairs, a, b, largest, relative, angle):
    """Eigenvalues relative to the largest, vectors B-orthonormal and the same up to signs."""
    k = pairs.eigenvalues.shape[0]
    values, vectors = oracle(a, b, k, largest)
    scale = np.abs(values).max()
    np.testing.assert_allclose(to_float64(pairs.eigenvalues) / scale, values / scale, atol=relative, rtol=0)
    x, metric = to_float64(pairs.eigenvectors), np.eye(len(a)) if b is None else b
    np.testing.assert_allclose(x.T @ metric @ x, np.eye(k), atol=100 * relative)
    np.testing.assert_allclose(np.abs(np.sum(x * (metric @ vectors), axis=0)), 1.0, atol=angle)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("with_b", [True, False])
def test_dense_pencils(kind, method, with_b, largest):
    b = B if with_b else None
    metric = CholeskyPreconditioner(kind(B)) if with_b else None
    pairs = generalized_eigh(
        kind(A), None if b is None else kind(b), K, largest=largest, method=method, preconditioner=metric
    )
    assert pairs.success
    assert kind_of(pairs.eigenvalues) == kind_of(pairs.eigenvectors) == kind_of(pairs.residual_norms) == kind
    double = kind.dtype == "float64"
    check(pairs, A, b, largest, 1e-12 if double else 2e-5, 1e-10 if double else 1e-3)


@pytest.mark.parametrize("largest", [True, False])
def test_accuracy_on_request(double, largest):
    metric = CholeskyPreconditioner(double(B))
    pairs = generalized_eigh(
        double(A), double(B), K, largest=largest, method="lobpcg", tol=1e-12, preconditioner=metric
    )
    assert pairs.status is Status.CONVERGED_GRADIENT
    values, x = to_float64(pairs.eigenvalues), to_float64(pairs.eigenvectors)
    # The residuals are what is said of them, from products that were not carried along.
    residuals = np.linalg.norm(A @ x - B @ x * values, axis=0) / (np.abs(values).max() * np.linalg.norm(B @ x, axis=0))
    assert residuals.max() < 2e-12
    check(pairs, A, B, largest, 1e-13, 1e-13)


def test_residual_norms_of_the_direct_solution():
    pairs = generalized_eigh(A, B, K, method="direct")
    assert 0 < pairs.residual_norms.max() < 1e-13
    assert (pairs.method, pairs.n_iter, pairs.a_products, pairs.b_products) == ("direct", 1, 0, 0)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(
    "make", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, aslinearoperator], ids=["csr", "csc", "operator"]
)
@pytest.mark.parametrize("method", ["auto", "direct", "lobpcg"])
def test_sparse_pencils_and_operators(make, method, largest):
    a = np.diag(np.linspace(1.0, 3.0, N)) + np.diag(np.full(N - 1, 0.3), 1) + np.diag(np.full(N - 1, 0.3), -1)
    b = np.diag(np.linspace(2.0, 1.0, N)) + np.diag(np.full(N - 2, 0.2), 2) + np.diag(np.full(N - 2, 0.2), -2)
    pairs = generalized_eigh(make(a), make(b), K, largest=largest, method=method)
    assert pairs.method == ("direct" if method == "auto" else method)
    check(pairs, a, b, largest, 1e-12, 1e-10)


class TorchOperator:
    """A matrix known to torch by its products only, with a say about the kind of its vectors."""

    def __init__(self, matrix):
        self._matrix, self.like, self.shape = matrix, matrix[:0], matrix.shape

    def __matmul__(self, v):
        return self._matrix @ v


def test_operators_of_torch():
    a, b = torch.asarray(A), torch.asarray(B)
    for operators in ((TorchOperator(a), TorchOperator(b)), (TorchOperator(a), b), (a, TorchOperator(b))):
        pairs = generalized_eigh(*operators, K, method="lobpcg", preconditioner=CholeskyPreconditioner(b))
        assert isinstance(pairs.eigenvalues, torch.Tensor)
        check(pairs, A, B, True, 1e-12, 1e-10)


def test_gram_operator_with_sketched_and_nystrom_preconditioners():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((500, N)) @ (orthogonal(N, rng) * np.logspace(0, -3, N))
    gram, ridge = GramOperator(x, ridge=1e-2), 1e-2
    dense = x.T @ x + ridge * np.eye(N)
    sketched = SketchedGramPreconditioner(rng.standard_normal((240, 500)) @ x / 240**0.5, ridge)
    for metric in (sketched, NystromPreconditioner(gram, 30, rng=0)):
        pairs = generalized_eigh(A, gram, K, method="lobpcg", preconditioner=metric)
        assert pairs.success
        check(pairs, A, dense, True, 1e-10, 1e-8)


def iterations(b, preconditioner, largest=True, a=A):
    pairs = generalized_eigh(a, b, K, largest=largest, method="lobpcg", preconditioner=preconditioner, max_iter=3000)
    assert pairs.success
    return pairs.n_iter


def test_preconditioners_save_iterations():
    scaled = B * np.outer(s := np.logspace(0, 1.5, N), s)
    plain = np.ones(N)
    assert iterations(scaled, "diagonal") < 0.7 * iterations(scaled, plain)
    assert iterations(scaled, None) == iterations(scaled, "diagonal")
    assert iterations(scaled, "nystrom") < 0.7 * iterations(scaled, plain)  # of full rank: B itself
    positive = A + 9 * np.eye(N)
    by_a = np.diag(positive * np.outer(s, s))
    assert iterations(None, "diagonal", False, positive * np.outer(s, s)) == iterations(
        None, by_a, False, positive * np.outer(s, s)
    )


def test_products_are_counted():
    class Logged:
        shape, dtype = A.shape, A.dtype

        def __init__(self, matrix):
            self.matrix, self.columns = matrix, 0

        def __matmul__(self, v):
            self.columns += v.shape[1]
            return self.matrix @ v

    for method in ("lobpcg", "riemannian"):
        a, b = Logged(A), Logged(B)
        pairs = generalized_eigh(a, b, K, method=method, probe=False, preconditioner=CholeskyPreconditioner(B))
        assert (pairs.a_products, pairs.b_products) == (a.columns, b.columns)
        assert pairs.n_iter > 1


def test_an_iteration_costs_one_product_with_a_block():
    pairs = generalized_eigh(A, B, K, method=LOBPCG(oversampling=2, refresh=10**6))
    width = K + 2
    # One product at the start, one at the end that confirms it, and at most one with every block of residuals.
    assert pairs.a_products <= (pairs.n_iter + 2) * width


def test_converged_columns_rest():
    """A pair that is found at once is not multiplied with again."""
    a = Q @ np.diag([1e6, *np.linspace(1.0, 2.0, N - 1)]) @ Q.T
    method = LOBPCG(oversampling=0, refresh=10**6)
    pairs = generalized_eigh((a + a.T) / 2, None, 2, method=method, x0=Q[:, :1].copy(), tol=1e-11)
    assert pairs.n_iter > 20
    assert pairs.a_products < 1.2 * (pairs.n_iter + 4)


def test_carried_products_are_refreshed():
    seldom, often = (generalized_eigh(A, B, K, method=LOBPCG(refresh=r)) for r in (10**6, 2))
    assert abs(seldom.n_iter - often.n_iter) <= 2
    assert often.a_products > seldom.a_products + 8 * (often.n_iter // 2 - 3)


def test_what_is_left_of_a_residual_is_orthonormal_to_the_basis():
    """A preconditioner that answers with the basis and a little else, whose columns are all but dependent."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((N, 1)) + 1e-6 * rng.standard_normal((N, K))

    class Answer:
        def solve(self, v):
            return start.v + 0.1 * noise

    iteration = Iteration(Pencil(A, B), Answer(), k=K, largest=True, method=LOBPCG(0), tol=1e-8, max_iter=10)
    start = iteration._start(rng.standard_normal((N, K)), 0)
    new = iteration._search_directions(start.av, start)
    np.testing.assert_allclose(start.bv.T @ new.v, 0.0, atol=1e-14)
    np.testing.assert_allclose(new.v.T @ B @ new.v, np.eye(K), atol=1e-10)
    np.testing.assert_allclose(new.bv, B @ new.v, atol=1e-10)
    np.testing.assert_allclose(new.av, A @ new.v, atol=1e-10 * np.abs(A).max())


def test_start_vectors_near_the_solution_save_iterations():
    _, vectors = oracle(A, B, K, True)
    near = vectors + 1e-5 * np.random.default_rng(1).standard_normal(vectors.shape)
    metric = CholeskyPreconditioner(B)
    for method in ("lobpcg", "riemannian"):
        cold = generalized_eigh(A, B, K, method=method, preconditioner=metric)
        warm = generalized_eigh(
            A,
            B,
            K,
            method=LOBPCG(0) if method == "lobpcg" else method,
            preconditioner=metric,
            x0=near,
            tol=1e-8 if method == "lobpcg" else 1e-3,
        )
        assert warm.n_iter < 0.7 * cold.n_iter
        check(warm, A, B, True, 1e-10, 1e-8)
    few = generalized_eigh(A, B, K, method="lobpcg", preconditioner=metric, x0=near[:, :2])
    check(few, A, B, True, 1e-12, 1e-10)


def test_start_vectors_that_are_all_but_dependent():
    start = np.ones((N, 2)) + 1e-9 * np.random.default_rng(0).standard_normal((N, 2))
    pairs = generalized_eigh(A, B, K, method="lobpcg", x0=start, preconditioner=CholeskyPreconditioner(B))
    check(pairs, A, B, True, 1e-12, 1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("method", ["direct", "lobpcg", "riemannian"])
def test_tiny_pencils(n, method):
    a, b = A[:n, :n], B[:n, :n]
    for k in {1, n}:
        pairs = generalized_eigh(a, b, k, method=method)
        values = oracle(a, b, k, True)[0]
        np.testing.assert_allclose(pairs.eigenvalues, values, atol=1e-9 * np.abs(values).max())


def test_the_null_vector_of_a_graph():
    """Smallest eigenvalues 0 and 2 - 2 cos(2 pi / n), twice, of a ring."""
    n = 200
    ring = scipy.sparse.diags_array([2.0, -1.0, -1.0, -1.0, -1.0], offsets=[0, 1, -1, n - 1, 1 - n], shape=(n, n))
    pairs = generalized_eigh(ring.tocsr(), None, 3, largest=False, method="lobpcg", max_iter=2000)
    assert pairs.success
    expected = 2 - 2 * np.cos(2 * np.pi / n)
    np.testing.assert_allclose(pairs.eigenvalues, [0.0, expected, expected], atol=1e-12)
    alone = generalized_eigh(ring.tocsr(), None, 1, largest=False, method="lobpcg", max_iter=2000)
    assert alone.success
    assert abs(alone.eigenvalues[0]) < 1e-12


def test_repeated_eigenvalues():
    a = Q @ np.diag([5.0] * 6 + [1.0] * (N - 6)) @ Q.T
    pairs = generalized_eigh((a + a.T) / 2, None, K, method="lobpcg")
    np.testing.assert_allclose(pairs.eigenvalues, 5.0, atol=1e-12)
    np.testing.assert_allclose(pairs.eigenvectors.T @ pairs.eigenvectors, np.eye(K), atol=1e-12)


def test_a_tolerance_below_rounding_ends_at_the_floor():
    metric = CholeskyPreconditioner(B)
    pairs = generalized_eigh(A, B, K, method="lobpcg", tol=1e-17, preconditioner=metric)
    assert pairs.success
    assert pairs.status is Status.APPROXIMATION_FLOOR
    check(pairs, A, B, True, 1e-13, 1e-12)


@pytest.mark.parametrize("method", ["lobpcg", "riemannian"])
def test_too_few_iterations(method):
    pairs = generalized_eigh(A, B, K, method=method, max_iter=3)
    assert not pairs.success
    assert pairs.status is Status.ITERATION_LIMIT
    assert pairs.n_iter == 3
    # What there is can be used.
    np.testing.assert_allclose(pairs.eigenvectors.T @ B @ pairs.eigenvectors, np.eye(K), atol=1e-10)


def test_the_same_result_at_each_call():
    first, second = (generalized_eigh(A, B, K, method="lobpcg") for _ in range(2))
    np.testing.assert_array_equal(first.eigenvectors, second.eigenvectors)
    other = generalized_eigh(A, B, K, method="lobpcg", rng=np.random.default_rng(5))
    check(other, A, B, True, 1e-12, 1e-10)


@pytest.mark.parametrize("method", ["direct", "lobpcg", "riemannian"])
def test_signs_do_not_depend_on_the_method(method):
    pairs = generalized_eigh(A, B, K, method=method, preconditioner=CholeskyPreconditioner(B))
    rows = np.argmax(np.abs(pairs.eigenvectors), axis=0)
    assert np.all(pairs.eigenvectors[rows, np.arange(K)] > 0)


def test_automatic_choice():
    big = scipy.sparse.eye_array(1200, format="csr") * np.linspace(1, 2, 1200)[:, None]
    assert generalized_eigh(A, B, K).method == "direct"
    assert generalized_eigh(scipy.sparse.csr_array(big), None, 2, tol=1e-3).method == "lobpcg"
    assert generalized_eigh(scipy.sparse.csr_array(big), None, 130).method == "direct"


def test_inputs_are_not_changed():
    a, b, start = A.copy(), B.copy(), np.ones((N, 1))
    for method in ("direct", "lobpcg", "riemannian"):
        generalized_eigh(a, b, K, method=method, x0=start)
        np.testing.assert_array_equal(a, A)
        np.testing.assert_array_equal(b, B)
        np.testing.assert_array_equal(start, np.ones((N, 1)))


SKEWED = A + np.eye(N, k=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"A": None}, TypeError, r"A must be an array, a sparse matrix or an object with shape and @, got NoneType"),
        ({"A": A[:3]}, ValueError, r"A must be a square matrix, got shape \(3, 60\)"),
        ({"A": A.astype(int)}, TypeError, r"A must have a real floating dtype, got int64"),
        ({"A": A + 0j}, TypeError, r"A must have a real floating dtype, got complex128"),
        ({"A": SKEWED}, ValueError, r"A must be symmetric, but x\^T A y and y\^T A x differ"),
        ({"A": aslinearoperator(SKEWED)}, ValueError, r"A must be symmetric, but x\^T A y"),
        ({"A": np.where(A[2, 3] == A, np.nan, A)}, ValueError, r"A gives NaN or infinity on a random vector"),
        ({"B": A}, NotPositiveDefiniteError, r"B must be positive definite, but x\^T B x is not positive.*add a ridge"),
        (
            {"B": aslinearoperator(A)},
            NotPositiveDefiniteError,
            r"B must be positive definite, but x\^T B x is not positive",
        ),
        ({"B": B + np.eye(N, k=1)}, ValueError, r"B must be symmetric"),
        ({"B": B[:5, :5]}, ValueError, r"B must have the order 60 of A, got shape \(5, 5\)"),
        ({"B": B.astype(np.float32)}, TypeError, r"B and A must agree in library, dtype and device"),
        ({"B": torch.asarray(B)}, TypeError, r"B and A must agree in library, dtype and device"),
        ({"B": "identity"}, TypeError, r"B must be an array, a sparse matrix or an object with shape and @, got str"),
        ({"k": 0}, ValueError, r"k must be at least 1, got 0"),
        ({"k": N + 1}, ValueError, r"k must be at most the order 60 of A, got 61"),
        ({"k": 2.0}, TypeError, r"k must be an integer, got 2.0"),
        ({"k": True}, TypeError, r"k must be an integer, got True"),
        ({"largest": "LM"}, TypeError, r"largest must be True or False, got 'LM'"),
        ({"method": "lanczos"}, ValueError, r"method must be 'auto' or one of \['direct', 'lobpcg', 'riem.*'lanczos'"),
        ({"method": None}, TypeError, r"method must be a name, LOBPCG\(\) or a method such as Trust.*got NoneType"),
        ({"method": LOBPCG}, TypeError, r"method must be a name, LOBPCG\(\)"),
        ({"tol": 0.0}, ValueError, r"tol must be between 0 and 1, got 0.0"),
        ({"tol": np.nan}, ValueError, r"tol must be between 0 and 1, got nan"),
        ({"tol": "small"}, TypeError, r"tol must be a number, got 'small'"),
        ({"max_iter": 0}, ValueError, r"max_iter must be at least 1, got 0"),
        ({"max_iter": 1.5}, TypeError, r"max_iter must be an integer, got 1.5"),
        ({"x0": A[:, : K + 1]}, ValueError, r"x0 must have the shape \(60, m\) with 1 <= m <= k = 4, got \(60, 5\)"),
        ({"x0": A[:5, :2]}, ValueError, r"x0 must have the shape \(60, m\)"),
        ({"x0": [[1.0]] * N}, TypeError, r"x0 must be a numpy array or a torch tensor like A, got list"),
        ({"x0": np.full((N, 1), np.inf)}, ValueError, r"x0 contains NaN or infinity"),
        ({"rng": "seed", "method": "lobpcg"}, TypeError, r"rng must be None, a seed"),
        ({"preconditioner": "ilu", "method": "lobpcg"}, ValueError, r"preconditioner must be 'diagonal', 'nys.*'ilu'"),
        ({"preconditioner": -B, "method": "lobpcg"}, ValueError, r"preconditioner cannot be used"),
        ({"preconditioner": np.ones(5), "method": "lobpcg"}, ValueError, r"preconditioner has shape \(5, 5\), but B"),
        ({"preconditioner": len, "method": "lobpcg"}, TypeError, r"preconditioner must be None, a matrix.*scipy's M"),
        (
            {"preconditioner": "diagonal", "method": "lobpcg", "B": aslinearoperator(B)},
            TypeError,
            r"preconditioner='diagonal' needs B.diagonal\(\), which _CustomLinearOp.*|.*MatrixLinearOperator does not",
        ),
        (
            {"preconditioner": "diagonal", "method": "lobpcg", "largest": False},
            ValueError,
            r"preconditioner='diagonal' needs a positive diagonal of A; leave it out",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(Exception, match=message) as caught:
        generalized_eigh(**{"A": A, "B": B, "k": K} | arguments)
    assert caught.type is error


def test_a_singular_b_is_refused_by_the_direct_solver():
    b = B.copy()
    b[:, 0] = b[0] = 0.0
    for kind in (np.asarray, torch.asarray):
        with pytest.raises(ValueError, match=r"B must be positive definite, but its Cholesky factorisation fails"):
            generalized_eigh(kind(A), kind(b), K, method="direct", probe=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"oversampling": -1}, ValueError, r"oversampling must be at least 0, got -1"),
        ({"oversampling": 1.5}, TypeError, r"oversampling must be an integer, got 1.5"),
        ({"refresh": 0}, ValueError, r"refresh must be at least 1, got 0"),
    ],
)
def test_bad_lobpcg(arguments, error, message):
    with pytest.raises(error, match=message):
        LOBPCG(**arguments)


def test_an_interruption_is_raised():
    class Interrupting:
        shape, dtype, calls = A.shape, A.dtype, 0

        def __matmul__(self, v):
            self.calls += 1
            if self.calls == 5:
                raise KeyboardInterrupt
            return A @ v

    for method in ("lobpcg", "riemannian"):
        with pytest.raises(KeyboardInterrupt):
            generalized_eigh(Interrupting(), B, K, method=method, probe=False)
