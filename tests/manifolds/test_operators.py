"""B and M in every form in which they may come: the same manifold results."""

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from manifolds import CholeskyPreconditioner, GeneralizedStiefel, TriangularPreconditioner
from tests.arrays import DOUBLE, Kind, assert_close, kind_of, spd, to_float64
from tests.manifolds.zoo import METHODS, SolveAndApply

N, P = 8, 3
B, M = spd(N, 30.0, 0), spd(N, 30.0, 1)


class Product:
    """The least that B must be: a shape and @."""

    shape = (N, N)

    def __init__(self, matrix, like=None):
        self.matrix, self.seen = matrix, []
        if like is not None:
            self.like = like

    def __matmul__(self, v):
        self.seen.append(tuple(v.shape))
        return self.matrix @ v


class GramOperator:
    """A^T A of a data matrix, never formed."""

    shape, dtype = (N, N), np.dtype("float64")

    def __init__(self):
        self.A = np.random.default_rng(0).standard_normal((50, N))

    def __matmul__(self, v):
        return self.A.T @ (self.A @ v)


def inputs(manifold, batch=()):
    rng = np.random.default_rng(0)
    like = manifold.own_array()
    x = manifold.random_point(rng, batch=batch)
    y = manifold.random_point(rng, batch=batch)
    vectors = {key: manifold.standard_normal(rng, x) for key in "abeh"}
    return {
        "x": x,
        "y": y,
        "u": manifold.random_tangent_vector(x, rng),
        "v": manifold.random_tangent_vector(x, rng),
        "s": 0.5,
        "t": 0.3,
        **vectors,
    }, like


FORMS = {
    "csr": scipy.sparse.csr_array(B),
    "csc-matrix": scipy.sparse.csc_matrix(B),
    "linear-operator": aslinearoperator(B),
    "own-linear-operator": LinearOperator((N, N), matvec=lambda v: B @ v, dtype=B.dtype),
    "own-object": Product(B),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("metric", [None, M], ids=["identity", "dense"])
@pytest.mark.parametrize("batch", [(), (2,)], ids=["single", "batched"])
def test_b_in_any_form(form, metric, batch):
    dense, other = GeneralizedStiefel(B, P, metric), GeneralizedStiefel(FORMS[form], P, metric)
    (given, _), (arguments, like) = inputs(dense, batch), inputs(other, batch)
    assert kind_of(like) == DOUBLE
    for method, function in METHODS.items():
        assert_close(function(other, arguments), function(dense, given), 1e-12, scale=10)
        assert kind_of(function(other, arguments)) == DOUBLE, method
    assert other.check_point(arguments["x"]) is None
    assert other.check_tangent(arguments["x"], arguments["v"]) is None


def test_gram_operator_of_a_data_matrix():
    operator = GramOperator()
    dense = GeneralizedStiefel(operator.A.T @ operator.A, P)
    manifold = GeneralizedStiefel(operator, P)
    x = dense.random_point(0)
    assert_close(manifold.random_point(0), x, 1e-12)
    assert_close(manifold.at(x).gram_point, operator.A.T @ operator.A @ x, 1e-12)


def test_own_object_says_what_vectors_it_takes():
    for kind in (Kind("torch", "float64"), Kind("torch", "float32"), Kind("numpy", "float32")):
        manifold = GeneralizedStiefel(Product(kind(B), like=kind.like), P, kind(M))
        assert kind_of(manifold.random_point(0)) == kind
        assert_close(manifold.random_point(0), GeneralizedStiefel(B, P).random_point(0), 1e3 * kind.eps)


def test_own_object_takes_its_kind_from_the_metric():
    kind = Kind("torch", "float64")
    for metric in (kind(M), CholeskyPreconditioner(kind(M)), kind(np.linspace(1.0, 2.0, N))):
        assert kind_of(GeneralizedStiefel(Product(kind(B)), P, metric).random_point(0)) == kind


def test_sparse_float32_stays_float32():
    manifold = GeneralizedStiefel(scipy.sparse.csr_array(B.astype("float32")), P)
    assert manifold.random_point(0).dtype == np.float32


def test_operator_sees_one_block_of_columns_for_a_batch():
    operator = Product(B)
    manifold = GeneralizedStiefel(operator, P, probe=False)
    x = manifold.random_point(0, batch=(2, 5))
    operator.seen.clear()
    assert manifold.gram_product(x).shape == (2, 5, N, P)
    assert operator.seen == [(N, 10 * P)]


def test_probe_costs_one_product_and_can_be_switched_off():
    operator = Product(B)
    GeneralizedStiefel(operator, P)
    assert operator.seen == [(N, 6)]
    operator.seen.clear()
    GeneralizedStiefel(operator, P, probe=False)
    assert operator.seen == []


@pytest.mark.parametrize("kind", [DOUBLE, Kind("torch", "float64")], ids=str)
def test_m_in_any_form(kind):
    b, m = kind(B), kind(M)
    dense = GeneralizedStiefel(b, P, m)
    factor = kind(np.linalg.cholesky(M).T)
    for metric in (CholeskyPreconditioner(m), TriangularPreconditioner(factor), SolveAndApply(m)):
        manifold = GeneralizedStiefel(b, P, metric)
        given, _ = inputs(dense)
        for function in METHODS.values():
            assert_close(function(manifold, given), function(dense, given), 1e-11, scale=10)


def test_diagonal_metric_equals_its_matrix():
    diagonal = np.linspace(0.2, 2.0, N)
    vector, matrix = GeneralizedStiefel(B, P, diagonal), GeneralizedStiefel(B, P, np.diag(diagonal))
    given, _ = inputs(matrix)
    for function in METHODS.values():
        assert_close(function(vector, given), function(matrix, given), 1e-11, scale=10)


class SolveOnly:
    """A metric that only solves, as an incomplete factorisation does."""

    def solve(self, v):
        return np.linalg.solve(M, v)


def test_a_metric_without_apply_serves_all_but_inner_products():
    manifold, dense = GeneralizedStiefel(B, P, SolveOnly()), GeneralizedStiefel(B, P, M)
    given, _ = inputs(dense)
    for method in METHODS.keys() - {"inner_product", "norm"}:
        assert_close(METHODS[method](manifold, given), METHODS[method](dense, given), 1e-11, scale=10)
    v = manifold.random_tangent_vector(given["x"], 0)
    assert float(dense.norm(given["x"], v)) == pytest.approx(1, rel=1e-12)
    with pytest.raises(TypeError, match="SolveOnly has solve but no apply"):
        manifold.inner_product(given["x"], v, v)


def test_nothing_is_converted_on_the_way():
    b = torch.tensor(B)
    manifold = GeneralizedStiefel(b, P)
    assert manifold.B is b
    assert to_float64(manifold.random_point(0)).dtype == np.float64
