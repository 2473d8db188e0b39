"""Nystrom approximation and preconditioner against dense eigenvalues, the definition and the paper's bounds."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch
from scipy.sparse.linalg import aslinearoperator

from manifolds import (
    GaussianSketch,
    GramOperator,
    NystromPreconditioner,
    SketchedGramPreconditioner,
    randomized_nystrom,
)
from manifolds.linalg import standard_normal
from tests.arrays import DOUBLE, Kind, assert_close, kind_of, spd, to_float64
from tests.manifolds.spectra_of_data import condition, data_with, shifted_gram

N = 60
POWERS = 100.0 * np.arange(1.0, N + 1) ** -2
GRAM = shifted_gram(data_with(POWERS, 200), 0.0)


def in_full(approximation):
    u = to_float64(approximation.eigenvectors)
    return (u * to_float64(approximation.eigenvalues)) @ u.T


@pytest.mark.parametrize("rank", [1, 7, 30, N])
def test_approximation_is_its_definition(kind, rank):
    """(G W) (W^T G W)^{-1} (G W)^T with a dense pseudo-inverse, and the eigenvectors are orthonormal."""
    approximation = randomized_nystrom(kind(GRAM), rank, rng=3)
    assert {kind_of(approximation.eigenvalues), kind_of(approximation.eigenvectors)} == {kind}
    w = np.linalg.qr(standard_normal(3, (N, rank), np.empty(0)))[0]
    expected = GRAM @ w @ scipy.linalg.pinvh(w.T @ GRAM @ w) @ w.T @ GRAM
    tolerance = 1e-10 if kind.dtype == "float64" else 1e-4
    assert_close(in_full(approximation), expected, tolerance)
    u = to_float64(approximation.eigenvectors)
    np.testing.assert_allclose(u.T @ u, np.eye(rank), rtol=0, atol=100 * kind.eps)
    assert np.all(np.diff(to_float64(approximation.eigenvalues)) <= 0)


def test_approximation_is_below_the_matrix_and_grows_with_the_rank():
    previous = np.zeros((N, N))
    for rank in (5, 10, 20, 40):
        # The columns of the smaller draw span a part of those of the larger one: the approximations are nested.
        approximation = in_full(randomized_nystrom(GRAM, rank, Nested()))
        for difference in (GRAM - approximation, approximation - previous):
            assert np.linalg.eigvalsh(difference)[0] > -1e-10 * POWERS[0]
        previous = approximation


class Nested(np.random.Generator):
    """Generator whose draws of n x k matrices are the first columns of one matrix."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, shape):
        return np.random.default_rng(0).standard_normal((N, N))[:, : shape[1]]


def test_exact_where_the_rank_suffices(kind):
    spectrum = np.r_[5.0, 2.0, 1.0, np.zeros(N - 3)]
    gram = kind(shifted_gram(data_with(spectrum, 80), 0.0))
    approximation = randomized_nystrom(gram, 6, rng=0)
    assert_close(approximation.eigenvalues, spectrum[:6], 300 * kind.eps)
    assert_close(in_full(approximation), to_float64(gram), 300 * kind.eps)


def test_zero_matrix(kind):
    approximation = randomized_nystrom(kind(np.zeros((5, 5))), 2, rng=0)
    assert to_float64(approximation.eigenvalues).tolist() == [0.0, 0.0]
    assert approximation.trace == approximation.effective_dimension(0.5) == 0.0


def test_trace_from_products_alone_is_unbiased():
    """The mean over 400 seeds, to 5 of its standard errors; exact where the diagonal is known."""
    operator = aslinearoperator(GRAM)
    traces = [randomized_nystrom(operator, 10, rng=seed).trace for seed in range(400)]
    assert abs(np.mean(traces) - np.trace(GRAM)) < 5 * np.std(traces) / 20
    assert np.std(traces) > 0.01 * np.trace(GRAM)
    assert randomized_nystrom(GRAM, 10, rng=0).trace == pytest.approx(np.trace(GRAM), rel=1e-12)


FORMS = {
    "array": lambda x: x.T @ x,
    "torch": lambda x: torch.tensor(x.T @ x),
    "sparse": lambda x: scipy.sparse.csr_array(x.T @ x),
    "LinearOperator": lambda x: aslinearoperator(x.T @ x),
    "GramOperator": GramOperator,
    "GramOperator of torch data": lambda x: GramOperator(torch.tensor(x)),
    "GramOperator of sparse data": lambda x: GramOperator(scipy.sparse.csr_matrix(x)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_matrix_gives_the_same(form):
    x = data_with(POWERS, 200)
    m = NystromPreconditioner(FORMS[form](x), 10, ridge=0.5, rng=1)
    expected = NystromPreconditioner(GRAM, 10, ridge=0.5, rng=1)
    assert_close(m.eigenvalues, expected.eigenvalues, 1e-12)
    v = kind_of(m.eigenvalues)(np.random.default_rng(0).standard_normal((N, 2)))
    assert_close(m.solve(v), expected.solve(to_float64(v)), 1e-11)
    if form != "LinearOperator":  # whose trace is an estimate
        assert m.effective_dimension == pytest.approx(expected.effective_dimension, rel=1e-10)


@pytest.mark.parametrize("form", ["array", "LinearOperator"])
@pytest.mark.parametrize("rank", [10, 25, N])
@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_effective_dimension(form, rank, ridge):
    """The median of nine seeds against the spectrum: roughly from few columns, exactly from all."""
    true = np.sum(POWERS / (POWERS + ridge))
    gram = FORMS[form](data_with(POWERS, 200))
    estimates = [NystromPreconditioner(gram, rank, ridge, rng=seed).effective_dimension for seed in range(9)]
    assert np.median(estimates) == pytest.approx(true, rel={10: 0.75, 25: 0.5, N: 1e-8}[rank])


def test_a_known_diagonal_bounds_the_effective_dimension_from_above():
    """Spreading what is missed of the trace over all other eigenvalues makes the most of it (the share is concave)."""
    for rank in (2, 5, 10, 25, 50):
        estimate = NystromPreconditioner(GRAM, rank, 0.3, rng=rank).effective_dimension
        assert np.sum(POWERS / (POWERS + 0.3)) * 0.98 < estimate < N


def test_preconditioner_is_that_of_the_paper(kind):
    """P^{-1} = (lambda_s + ridge) U (Lambda + ridge)^{-1} U^T + (I - U U^T), and M = (lambda_s + ridge) P."""
    m = NystromPreconditioner(kind(GRAM), 12, ridge=0.3, rng=0)
    u, values = to_float64(m.approximation.eigenvectors), to_float64(m.approximation.eigenvalues)
    scale = values[-1] + 0.3
    inverse = scale * (u / (values + 0.3)) @ u.T + np.eye(N) - u @ u.T
    assert_close(m.solve(kind(np.eye(N))), inverse / scale, 3000 * kind.eps)
    assert_close(m.apply(kind(np.eye(N))), np.linalg.inv(inverse / scale), 3000 * kind.eps)


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
def test_condition_is_within_the_bound_of_the_paper(ridge):
    """(lambda_s + ridge + |G - G_nys|) / ridge (Proposition 5.3), and below 28 in the mean from 3 s + 1 columns on."""
    b = GRAM + ridge * np.eye(N)
    s = np.sum(POWERS / (POWERS + ridge))
    conditions = []
    for seed in range(10):
        m = NystromPreconditioner(GRAM, min(2 * int(np.ceil(1.5 * s)) + 1, N), ridge, rng=seed)
        conditions.append(condition(b, m, DOUBLE))
        missed = np.linalg.norm(GRAM - in_full(m.approximation), 2)
        smallest = float(m.approximation.eigenvalues[-1])
        assert conditions[-1] <= (smallest + ridge + missed) / ridge * (1 + 1e-8)
    assert np.mean(conditions) < 28


SPECTRA = {
    "slow": (73 * np.arange(1.0, 151) ** -0.6, 400),
    "decaying": (1e4 * np.exp(-np.arange(150) / 1.6), 400),
    "between": (1e3 * np.arange(1.0, 151) ** -2, 400),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("size", [12, 25, 50, 100])
def test_better_than_a_sketch_of_as_many_rows_and_never_worse_than_nothing(spectrum, size):
    """Median of five seeds. With a slow decay, a sketch of too few rows is worse than no preconditioner."""
    values, n = SPECTRA[spectrum]
    x, ridge = data_with(values, n), 1.0
    b = shifted_gram(x, ridge)
    nystrom = np.median([condition(b, NystromPreconditioner(x.T @ x, size, ridge, rng=k), DOUBLE) for k in range(5)])
    sketched = [SketchedGramPreconditioner(GaussianSketch(size, k).apply(x), ridge) for k in range(5)]
    sketch = np.median([condition(b, m, DOUBLE) for m in sketched])
    nothing = np.linalg.cond(b)
    assert nystrom < sketch
    assert nystrom < nothing
    if spectrum == "slow" and size <= 50:
        assert sketch > nothing


def test_ridge_of_a_gram_operator_counts_as_ridge():
    x = data_with(POWERS, 200)
    m = NystromPreconditioner(GramOperator(x, ridge=0.3), 12, ridge=0.2, rng=0)
    assert m.ridge == 0.5
    expected = NystromPreconditioner(GramOperator(x), 12, ridge=0.5, rng=0)
    assert_close(m.solve(np.eye(N)), expected.solve(np.eye(N)), 1e-13)


def test_a_seed_decides(kind):
    first, again, other = (NystromPreconditioner(kind(GRAM), 5, 0.1, rng=seed) for seed in (1, 1, 2))
    assert_close(first.eigenvectors, again.eigenvectors, 0.0)
    assert not np.allclose(to_float64(first.eigenvalues), to_float64(other.eigenvalues))


def test_torch_generator():
    gram = torch.tensor(GRAM)
    results = [NystromPreconditioner(gram, 5, 0.1, rng=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(results[0].eigenvalues, results[1].eigenvalues)


def test_single_precision_of_low_numerical_rank():
    """Eigenvalues down to 1e-12 of the largest one are rounding in float32; the preconditioner stands on the ridge."""
    values = 10.0 ** -np.linspace(0, 12, N)
    x = data_with(values, 100)
    kind = Kind("numpy", "float32")
    m = NystromPreconditioner(kind(x.T @ x), 40, ridge=1e-3, rng=0)
    assert condition(shifted_gram(x, 1e-3), m, kind) < 1.2


def test_products_with_a_matrix_are_few():
    class Counting:
        shape = (N, N)
        columns = 0

        def __matmul__(self, v):
            self.columns += v.shape[1]
            return GRAM @ v

    counting = Counting()
    NystromPreconditioner(counting, 9, 0.1, rng=0)
    assert counting.columns == 9


def test_negative_definite_matrices_are_refused():
    for gram in (-spd(6, 10.0, 0), np.diag([1.0, 1.0, -0.5])):
        with pytest.raises(ValueError, match="gram must be positive semidefinite"):
            randomized_nystrom(gram, 3, rng=0)
