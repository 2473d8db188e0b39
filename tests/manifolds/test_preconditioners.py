"""Preconditioners: apply and solve are inverse to each other, and equal to the dense matrix they stand for."""

import numpy as np
import pytest

from manifolds import (
    CholeskyPreconditioner,
    CountSketch,
    DiagonalPreconditioner,
    GaussianSketch,
    IdentityPreconditioner,
    LowRankPreconditioner,
    NystromPreconditioner,
    Preconditioner,
    SketchedGramPreconditioner,
    TriangularPreconditioner,
)
from manifolds.preconditioners import as_preconditioner
from tests.arrays import assert_close, kind_of, spd, to_float64, with_condition

N = 8
UPPER = np.triu(np.random.default_rng(0).standard_normal((N, N))) + 4 * np.eye(N)
TALL = np.random.default_rng(1).standard_normal((40, N)) @ spd(N, 5.0, 2)

PRECONDITIONERS = {
    "identity": (lambda kind: IdentityPreconditioner(), np.eye(N)),
    "diagonal": (
        lambda kind: DiagonalPreconditioner(kind(np.linspace(0.5, 3.0, N))),
        np.diag(np.linspace(0.5, 3.0, N)),
    ),
    "triangular": (lambda kind: TriangularPreconditioner(kind(UPPER)), UPPER.T @ UPPER),
    "cholesky": (lambda kind: CholeskyPreconditioner(kind(spd(N, 50.0, 3))), spd(N, 50.0, 3)),
    "sketched": (lambda kind: SketchedGramPreconditioner(kind(TALL)), TALL.T @ TALL),
    "sketched-ridge": (lambda kind: SketchedGramPreconditioner(kind(TALL), ridge=0.7), TALL.T @ TALL + 0.7 * np.eye(N)),
    "sketched-few-rows": (
        lambda kind: SketchedGramPreconditioner(kind(TALL[:3]), ridge=0.7),
        TALL[:3].T @ TALL[:3] + 0.7 * np.eye(N),
    ),
}
DIRECTIONS = np.linalg.qr(np.random.default_rng(5).standard_normal((N, 3)))[0]
PRECONDITIONERS["low-rank"] = (
    lambda kind: LowRankPreconditioner(kind(DIRECTIONS), kind([7.0, 3.0, 0.2]), complement=0.5),
    DIRECTIONS @ np.diag([6.5, 2.5, -0.3]) @ DIRECTIONS.T + 0.5 * np.eye(N),
)
PRECONDITIONERS["nystrom-of-full-rank"] = (
    lambda kind: NystromPreconditioner(kind(spd(N, 50.0, 3)), N, ridge=0.3, rng=0),
    spd(N, 50.0, 3) + 0.3 * np.eye(N),
)
every_preconditioner = pytest.mark.parametrize("name", PRECONDITIONERS)
batches = pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)


@every_preconditioner
@batches
def test_apply_and_solve_are_those_of_the_dense_matrix(name, kind, batch):
    build, dense = PRECONDITIONERS[name]
    m, v = build(kind), kind(np.random.default_rng(4).standard_normal((*batch, N, 2)))
    assert isinstance(m, Preconditioner)
    assert_close(m.apply(v), dense @ to_float64(v), 100 * kind.eps)
    assert_close(m.solve(v), np.linalg.solve(dense, to_float64(v)), 1000 * kind.eps)
    assert_close(m.apply(m.solve(v)), v, 1000 * kind.eps)
    assert_close(m.solve(m.apply(v)), v, 1000 * kind.eps)
    assert {kind_of(m.apply(v)), kind_of(m.solve(v))} == {kind}


@every_preconditioner
def test_representation_is_short(name, kind):
    assert len(repr(PRECONDITIONERS[name][0](kind))) < 50


def test_sketched_gram_is_never_formed(kind):
    """R comes from a QR factorisation: the condition of A is not squared, so 1e10 (1e5 in float32) is no obstacle."""
    condition = 1e10 if kind.dtype == "float64" else 1e5
    a = with_condition(30, N, condition, 0)
    factor = to_float64(SketchedGramPreconditioner(kind(a)).factor)
    singular_values = np.linalg.svd(factor, compute_uv=False)
    assert singular_values[-1] == pytest.approx(1 / condition, rel=2 * kind.eps * condition)
    assert singular_values[0] == pytest.approx(1, rel=100 * kind.eps)


@pytest.mark.parametrize("sketch", [CountSketch(4 * N, seed=0), GaussianSketch(4 * N, seed=0)], ids=str)
def test_sketch_of_four_times_the_columns_is_close_to_the_gram_matrix(sketch):
    """All generalized eigenvalues of (B, M) within a factor 20 of each other; without a sketch they spread over 1e8."""
    a = np.random.default_rng(0).standard_normal((1000, N)) @ spd(N, 1e4, 5)
    m = SketchedGramPreconditioner(sketch.apply(a))
    ratios = np.linalg.eigvals(m.solve(a.T @ a)).real
    assert ratios.max() / ratios.min() < 20
    assert np.linalg.cond(a.T @ a) > 1e7


def test_as_preconditioner(kind):
    like, v = kind.like, kind(np.ones((N, 1)))
    assert isinstance(as_preconditioner(None, N, like), IdentityPreconditioner)
    assert isinstance(as_preconditioner(kind(np.ones(N)), N, like), DiagonalPreconditioner)
    dense = as_preconditioner(kind(spd(N, 10.0, 0)), N, like)
    assert isinstance(dense, CholeskyPreconditioner)
    assert as_preconditioner(dense, N, like) is dense
    assert_close(dense.apply(v), spd(N, 10.0, 0) @ np.ones((N, 1)), 100 * kind.eps)


class Own:
    def __init__(self, inverse):
        self.inverse, self.products = inverse, 0

    def solve(self, v):
        self.products += 1
        return self.inverse @ v


def test_own_object_is_probed_once_unless_told_not_to():
    own = Own(np.eye(N))
    assert as_preconditioner(own, N, np.empty(0)) is own
    assert own.products == 1
    as_preconditioner(own, N, np.empty(0), probe=False)
    assert own.products == 1


def test_own_object_that_is_not_positive_passes_without_a_probe_only():
    own = Own(-np.eye(N))
    with pytest.raises(ValueError, match="preconditioner must be positive definite"):
        as_preconditioner(own, N, np.empty(0))
    assert as_preconditioner(own, N, np.empty(0), probe=False) is own
