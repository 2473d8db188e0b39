"""Lanczos estimates against dense generalized eigenvalues."""

import numpy as np
import pytest
import scipy.linalg
from scipy.sparse.linalg import aslinearoperator

from manifolds import CholeskyPreconditioner, DiagonalPreconditioner, GramOperator, IdentityPreconditioner
from manifolds import extreme_eigenvalues as estimate
from tests.arrays import assert_close, spd, to_float64
from tests.manifolds.spectra_of_data import data_with

N = 30
B, M = spd(N, 200.0, 0), spd(N, 50.0, 1)


def test_all_steps_give_the_extreme_eigenvalues(kind):
    values = scipy.linalg.eigh(B, M, eigvals_only=True)
    smallest, largest = estimate(kind(B), CholeskyPreconditioner(kind(M)), steps=N, rng=0)
    assert [smallest, largest] == pytest.approx([values[0], values[-1]], rel=3000 * kind.eps)


@pytest.mark.parametrize("seed", range(5))
def test_estimates_are_inside_and_improve(seed):
    """Ritz values interlace, so that both ends move outwards with every step."""
    values = scipy.linalg.eigh(B, M, eigvals_only=True)
    m = CholeskyPreconditioner(M)
    ends = [estimate(B, m, steps=steps, rng=seed) for steps in range(1, 16)]
    smallest, largest = np.array(ends).T
    assert smallest[0] == pytest.approx(largest[0])
    assert np.all(np.diff(smallest) <= 1e-12)
    assert np.all(np.diff(largest) >= -1e-12)
    assert values[0] * (1 - 1e-10) <= smallest[-1] < 4 * values[0]
    assert 0.9 * values[-1] < largest[-1] <= values[-1] * (1 + 1e-10)
    assert ends[-1].condition == pytest.approx(largest[-1] / smallest[-1])


def test_more_steps_than_different_eigenvalues():
    """Three different eigenvalues: the third step ends it, and no direction made of rounding follows."""
    m = DiagonalPreconditioner(np.repeat([1.0, 4.0, 0.5], 4))
    found = estimate(np.eye(12), m, steps=12, rng=0)
    assert_close(np.array(found), np.array([0.25, 2.0]), 1e-12)
    assert estimate(5 * np.eye(12), IdentityPreconditioner(), rng=0) == pytest.approx((5.0, 5.0))


def test_operators_and_one_product_a_step():
    x = data_with(np.linspace(1.0, 9.0, 12), 40)
    operator, counted = aslinearoperator(x.T @ x), []
    ends = [estimate(form, IdentityPreconditioner(), steps=12, rng=0) for form in (operator, GramOperator(x), x.T @ x)]
    for found in ends:
        assert tuple(found) == pytest.approx((1.0, 9.0), rel=1e-8)

    class Counting:
        shape = (12, 12)

        def __matmul__(self, v):
            counted.append(v.shape[1])
            return x.T @ (x @ v)

    estimate(Counting(), IdentityPreconditioner(), steps=5, rng=0)
    assert counted == [1] * 5


def test_batches_of_kinds(kind):
    found = estimate(GramOperator(kind(data_with(np.array([1.0, 4.0]), 9)), 1.0), IdentityPreconditioner(), rng=0)
    assert to_float64(np.array(found)) == pytest.approx([2.0, 5.0], rel=100 * kind.eps)
