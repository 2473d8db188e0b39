"""Which preconditioner is chosen, why, and whether it keeps its promise against dense eigenvalues."""

import logging

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

from manifolds import GramOperator, gram_preconditioner
from tests.arrays import DOUBLE, kind_of, to_float64
from tests.manifolds.spectra_of_data import condition, data_with, relative_spectrum, shifted_gram

D, N, RIDGE = 100, 700, 1.0
SLOW = 73 * np.arange(1.0, D + 1) ** -0.6
DECAYING = 1e4 * np.exp(-np.arange(D) / 1.6)
"""Effective dimensions 88 and 15 at ridge 1."""

CASES = {
    # spectrum, rows of the data, options, what is expected, largest acceptable condition number
    "enough rows": (SLOW, N, {}, "sketch", 20),
    "enough rows, decaying": (DECAYING, N, {}, "sketch", 20),
    "data of few rows": (SLOW, 300, {}, "data", 1 + 1e-8),
    "low effective dimension": (DECAYING, N, {"size": 399}, "nystrom", 1.1),
    "low effective dimension, small rank": (DECAYING, N, {"size": 90, "rank": 20}, "sketch", 20),
    "low effective dimension, small rank, few data": (DECAYING, 120, {"size": 150, "rank": 20}, "data", 1 + 1e-8),
    "high effective dimension": (SLOW, N, {"size": 300, "rank": 30}, "nystrom", 10),
    "full rank": (SLOW, N, {"size": 300, "rank": D}, "nystrom", 1 + 1e-8),
}


@pytest.mark.parametrize("case", CASES)
def test_choice_and_condition(case):
    spectrum, n, options, expected, largest = CASES[case]
    x = data_with(spectrum, n)
    m = gram_preconditioner(GramOperator(x, RIDGE), **options)
    assert m.choice.kind == expected
    b = shifted_gram(x, RIDGE)
    assert condition(b, m, DOUBLE) <= largest
    assert np.linalg.cond(b) > 10
    values = relative_spectrum(b, m, DOUBLE)
    assert values[0] < 1 + 1e-8  # M is on the scale of B
    assert values[-1] > 1 - 1e-8


def test_the_same_in_every_kind_of_array(kind):
    x = data_with(DECAYING, 300)
    for options, expected in (
        ({}, "data"),
        ({"size": 60, "rank": 60}, "nystrom"),
        ({"size": 200, "rank": 16}, "sketch"),
    ):
        m = gram_preconditioner(GramOperator(kind(x), RIDGE), **options)
        assert m.choice.kind == expected
        v = kind(np.ones((D, 1)))
        assert kind_of(m.solve(v)) == kind_of(m.apply(v)) == kind
        np.testing.assert_allclose(to_float64(m.solve(m.apply(v))), 1, rtol=0, atol=1e5 * kind.eps)
        assert condition(shifted_gram(x, RIDGE), m, kind) < 20


def test_badly_scaled_columns_are_left_to_the_diagonal():
    """Independent columns of sizes from 1 to 1e5: the diagonal is all there is to know, and a rank of 5 is nothing."""
    x = np.random.default_rng(0).standard_normal((3000, D)) * np.logspace(0, 5, D)
    m = gram_preconditioner(GramOperator(x, 1e-3), size=50, rank=5)
    assert m.choice.kind == "diagonal"
    assert m.choice.conditions[1] < m.choice.conditions[0]
    np.testing.assert_allclose(m.diagonal, np.sum(x * x, axis=0) + 1e-3)
    assert condition(shifted_gram(x, 1e-3), m, DOUBLE) < 5


def test_conditions_of_the_comparison_are_estimates_of_the_true_ones():
    x, ridge = data_with(SLOW, N), 20.0
    m = gram_preconditioner(GramOperator(x, ridge), size=100, rank=10)
    assert m.choice.kind == "nystrom"
    assert m.choice.conditions[0] == pytest.approx(condition(shifted_gram(x, ridge), m, DOUBLE), rel=0.1)
    assert m.choice.effective_dimension == pytest.approx(np.sum(SLOW / (SLOW + ridge)), rel=0.2)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (lambda x: x.T @ x, "nystrom"),
        (lambda x: aslinearoperator(x.T @ x), "nystrom"),
        (lambda x: scipy.sparse.csr_array(x.T @ x), "nystrom"),
        (lambda x: GramOperator(scipy.sparse.csr_matrix(x)), "sketch"),
    ],
    ids=["array", "LinearOperator", "sparse", "sparse data"],
)
def test_only_data_can_be_sketched(form, expected):
    x = data_with(SLOW, N)
    m = gram_preconditioner(form(x), RIDGE)
    assert m.choice.kind == expected
    assert condition(shifted_gram(x, RIDGE), m, DOUBLE) < 10
    if expected == "nystrom":
        unknown = "the diagonal is unknown" in m.choice.reason
        assert unknown == (m.choice.conditions is None) == (form(x).__class__.__name__.endswith("Operator"))


def test_data_of_fewer_rows_than_columns():
    """M = B exactly, from 40 rows of 100 columns."""
    x = data_with(SLOW[:40], 40) @ np.linalg.qr(np.random.default_rng(0).standard_normal((D, 40)))[0].T
    m = gram_preconditioner(GramOperator(x, RIDGE))
    assert m.choice.kind == "data"
    assert condition(shifted_gram(x, RIDGE), m, DOUBLE) == pytest.approx(1, abs=1e-8)


def test_a_seed_decides():
    operator = GramOperator(data_with(SLOW, N), RIDGE)
    v = np.ones((D, 1))
    for options in ({}, {"size": 100, "rank": 20}):
        first, again, other = (gram_preconditioner(operator, seed=seed, **options) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first.solve(v), again.solve(v))
        assert first.choice == again.choice
        assert not np.allclose(first.solve(v), other.solve(v), rtol=1e-10)


def test_the_choice_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="manifolds"):
        m = gram_preconditioner(GramOperator(data_with(SLOW, N), RIDGE))
    assert [record.getMessage() for record in caplog.records] == [f"{m!r}: {m.choice.reason}"]
    assert m.choice.reason == "the sketch has 400 rows, at least 4 for each of the 100 columns"
