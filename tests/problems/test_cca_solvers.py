"""Each solver of CCA against oracles, on ill-conditioned, rank-deficient and float32 views."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.exceptions import ConvergenceWarning

from manifolds import IdentityPreconditioner
from problems import (
    CCA,
    LOBPCGCCA,
    BlockPCGCCA,
    CholeskyQRCCA,
    CovarianceMatrices,
    Covariances,
    DirectCCA,
    PairedViews,
    RiemannianCCA,
)
from problems.cca_direct import leading_singular
from problems.two_sided_lobpcg import two_sided_lobpcg
from problems.view_preconditioners import view_preconditioners
from problems.whitening_factors import factor_condition
from rankopt import Status
from tests.arrays import to_float64
from tests.problems.views import (
    canonical_oracle,
    correlated_views,
    correlations_of,
    dense_covariances,
    ill_conditioned_views,
    same_directions,
)

N, DX, DY, P = 2000, 30, 20, 3
X, Y = correlated_views(N, DX, DY, condition=100.0)
SOLVERS = ["direct", "cholesky-qr", "lobpcg", "riemannian", "trust-region", "block-pcg"]
ITERATIVE = SOLVERS[2:]


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("reg", [0.0, (1e-3, 1e-2)], ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_finds_the_pairs_of_the_dense_oracle(solver, reg, scale, double):
    sxx, sxy, syy = dense_covariances(X, Y, reg if reg else (0.0, 0.0), scale=scale)
    expected, u, v = canonical_oracle(sxx, sxy, syy)
    cca = CCA(P, solver=solver, reg=reg, scale=scale, random_state=0).fit(double(X), double(Y))
    assert cca.solver_ == solver
    # The default tolerance promises 1e-6 for correlations and 1e-5 for angles; the latter is 1e-10 / 2 for a cosine.
    np.testing.assert_allclose(to_float64(cca.correlations_), expected[:P], atol=1e-9)
    same_directions(to_float64(cca.x_weights_), u[:, :P], sxx, atol=5e-11)
    same_directions(to_float64(cca.y_weights_), v[:, :P], syy, atol=5e-11)
    if solver in ITERATIVE:
        assert cca.status_ is Status.CONVERGED_GRADIENT
        assert 1 <= cca.condition_number_ < 20
        assert cca.sketch_size_ >= 4 * DX
        tight = CCA(P, solver=solver, reg=reg, scale=scale, tol=1e-9, random_state=1).fit(double(X), double(Y))
        np.testing.assert_allclose(to_float64(tight.correlations_), expected[:P], atol=1e-10)


@pytest.mark.parametrize("name", ["sketched", "nystrom", "diagonal", "exact", "identity"])
@pytest.mark.parametrize("solver", ["lobpcg", "riemannian", "block-pcg"])
def test_the_preconditioner_changes_no_result(solver, name):
    options = {"solver": solver, "preconditioner": name, "reg": 1e-3, "tol": 1e-8, "max_iter": 5000, "random_state": 0}
    cca = CCA(P, **options).fit(X, Y)
    expected = canonical_oracle(*dense_covariances(X, Y, (1e-3, 1e-3)))[0][:P]
    np.testing.assert_allclose(cca.correlations_, expected, atol=1e-8)
    assert (cca.sketch_size_ is not None) == (name == "sketched")


@pytest.mark.parametrize("solver", ["cholesky-qr", "auto"])
def test_no_digits_are_lost_at_a_condition_of_a_thousand_million(solver):
    x, y, rho = ill_conditioned_views()
    cca = CCA(5, solver=solver, random_state=0).fit(x, y)
    assert cca.solver_ == "cholesky-qr"
    np.testing.assert_allclose(cca.correlations_, rho[:5], atol=1e-8)
    scores = cca.transform(x, y)
    np.testing.assert_allclose(scores[0].T @ scores[1] / len(x), np.diag(rho[:5]), atol=1e-6)
    assert cca.condition_number_ > 1e14


def test_automatic_choice_stays_direct_for_well_conditioned_views():
    cca = CCA(2, random_state=0).fit(*ill_conditioned_views(condition=1e3)[:2])
    assert (cca.solver_, cca.n_passes_) == ("direct", 1)
    np.testing.assert_allclose(cca.correlations_, [0.95, 0.95 - 0.65 / 19], atol=1e-10)


@pytest.mark.parametrize("solver", ["direct", "cholesky-qr"])
def test_single_precision_to_four_digits_at_a_condition_of_a_thousand(solver):
    x, y, rho = ill_conditioned_views(condition=1e3)
    x, y = x.astype(np.float32), y.astype(np.float32)
    cca = CCA(5, solver=solver, random_state=0).fit(x, y)
    assert cca.x_weights_.dtype == np.float32
    np.testing.assert_allclose(cca.correlations_, rho[:5], atol=1e-4)
    assert cca.n_passes_ <= 3


def test_single_precision_of_moderate_condition_takes_one_pass():
    x, y, rho = ill_conditioned_views(condition=3.0)
    cca = CCA(5, solver="direct").fit(x.astype(np.float32), y.astype(np.float32))
    assert cca.n_passes_ == 1
    np.testing.assert_allclose(cca.correlations_, rho[:5], atol=1e-4)


@pytest.mark.parametrize("solver", ITERATIVE)
def test_single_precision_of_iterative_solvers(solver):
    x, y = X.astype(np.float32), Y.astype(np.float32)
    cca = CCA(P, solver=solver, random_state=0).fit(x, y)
    np.testing.assert_allclose(cca.correlations_, correlations_of(X, Y)[:P], atol=1e-4)


def deficient(kind):
    x = X.copy()
    if kind == "repeated":
        x[:, 5] = x[:, 1]
    elif kind == "dependent":
        x[:, 5] = x[:, 0] - 2 * x[:, 2]
    else:
        x[:, 5] = 3.0
    return x


@pytest.mark.parametrize("kind", ["repeated", "dependent", "constant"])
@pytest.mark.parametrize("solver", ["direct", "cholesky-qr", "auto"])
def test_rank_deficient_views_are_truncated_with_a_warning(solver, kind):
    x = deficient(kind)
    with pytest.warns(UserWarning, match="X has numerical rank 29 for 30 features and is truncated to it"):
        cca = CCA(P, solver=solver, random_state=0).fit(x, Y)
    np.testing.assert_allclose(cca.correlations_, correlations_of(np.delete(x, 5, axis=1), Y)[:P], atol=1e-10)
    if kind == "constant":
        np.testing.assert_allclose(cca.x_weights_[5], 0.0, atol=1e-12)


@pytest.mark.parametrize("kind", ["repeated", "dependent", "constant"])
@pytest.mark.parametrize("name", ["sketched", "exact", "nystrom"])
@pytest.mark.parametrize("solver", ITERATIVE)
def test_iterative_solvers_refuse_rank_deficient_views_and_take_them_with_a_ridge(solver, name, kind):
    x = deficient(kind)
    with pytest.raises(ValueError, match=r"rank deficient|not positive|numerical rank|singular"):
        CCA(P, solver=solver, preconditioner=name, random_state=0).fit(x, Y)
    cca = CCA(P, solver=solver, preconditioner=name, reg=1e-3, tol=1e-8, random_state=0).fit(x, Y)
    expected = canonical_oracle(*dense_covariances(x, Y, (1e-3, 1e-3)))[0][:P]
    np.testing.assert_allclose(cca.correlations_, expected, atol=1e-8)


@pytest.mark.parametrize("solver", ["direct", "cholesky-qr", "auto"])
def test_fewer_rows_than_columns(solver):
    with pytest.warns(UserWarning, match="numerical rank 24 for 30 features"):
        cca = CCA(2, solver=solver, random_state=0).fit(X[:25], Y[:25, :2])
    np.testing.assert_allclose(cca.correlations_, 1.0, atol=1e-8)
    ridged = CCA(2, solver=solver, reg=0.1, random_state=0).fit(X[:25], Y[:25, :2])
    expected = canonical_oracle(*dense_covariances(X[:25], Y[:25, :2], (0.1, 0.1)))[0]
    np.testing.assert_allclose(ridged.correlations_, expected, atol=1e-9)


def test_the_sketch_grows_until_the_condition_number_is_small():
    rng = np.random.default_rng(0)
    # A few rows outweigh all others, and a sketch with one sign per row may throw them together.
    x = rng.standard_normal((8000, 30))
    x[:30] += 1e4 * np.eye(30)
    data = PairedViews(x, rng.standard_normal((8000, 10)))
    grown = [view_preconditioners(data, "sketched", P, np.random.default_rng(seed)) for seed in range(4)]
    assert all(found.condition <= 20 for found in grown)
    assert any(found.sketch_size > 4 * 30 for found in grown)
    assert all((found.sketches is not None) == (found.sketch_size >= 8 * 30) for found in grown)


@pytest.mark.parametrize("name", ["sketched", "nystrom", "diagonal"])
def test_condition_number_is_that_of_the_preconditioned_covariances(name):
    data = PairedViews(X, Y, reg=1e-2)
    found = view_preconditioners(data, name, P, np.random.default_rng(0))
    sxx, _, syy = dense_covariances(X, Y, (1e-2, 1e-2))
    both = scipy.linalg.block_diag(sxx, syy)
    metric = scipy.linalg.block_diag(*(m.apply(np.eye(d)) for m, d in zip(found.metrics, (DX, DY), strict=True)))
    values = scipy.linalg.eigh(both, metric, eigvals_only=True)
    # Five steps of Lanczos see it from below, and all of it where it is small.
    if name != "diagonal":
        assert found.condition >= 0.6 * values[-1] / values[0]
    assert found.condition <= values[-1] / values[0] * (1 + 1e-9)


def test_two_sided_lobpcg_needs_about_one_pass_per_iteration():
    data = CovarianceMatrices(Covariances(*dense_covariances(X, Y)))
    metrics = IdentityPreconditioner(), IdentityPreconditioner()
    run = two_sided_lobpcg(data, P, metrics, tol=1e-8, max_iter=2000, rng=0)
    assert run.status is Status.CONVERGED_GRADIENT
    np.testing.assert_allclose(run.pairs.correlations, correlations_of(X, Y)[:P], atol=1e-10)
    # One at the start, one each iteration, one each refresh and one at the end.
    assert run.n_iter + 2 <= data.n_passes <= run.n_iter + 3 + run.n_iter // 25
    sxx, sxy, syy = data.covariances
    for actual, expected in zip(
        run.products, (sxx @ run.pairs.u, sxy @ run.pairs.v, syy @ run.pairs.v, sxy.T @ run.pairs.u), strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-11)


def test_a_sketched_metric_takes_a_few_times_the_passes_of_the_exact_one_and_far_fewer_than_none():
    passes = {}
    for name in ("exact", "sketched", "identity"):
        data = CovarianceMatrices(Covariances(*dense_covariances(X, Y)))
        metrics = view_preconditioners(PairedViews(X, Y), name, P, np.random.default_rng(0)).metrics
        passes[name] = two_sided_lobpcg(data, P, metrics, tol=1e-6, max_iter=2000, oversampling=0, rng=0).n_iter
    assert passes["exact"] <= passes["sketched"] + 2
    assert passes["sketched"] <= 3 * passes["exact"]
    assert passes["identity"] > 3 * passes["sketched"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("solver", [*SOLVERS, "auto"])
def test_cuda(solver):
    x, y = (torch.asarray(view, device="cuda") for view in (X, Y))
    cca = CCA(P, solver=solver, random_state=0).fit(x, y)
    assert cca.x_weights_.device == x.device
    np.testing.assert_allclose(to_float64(cca.correlations_), correlations_of(X, Y)[:P], atol=1e-9)
    assert cca.transform(x, y)[1].device == x.device


def test_a_good_start_saves_passes():
    data = CovarianceMatrices(Covariances(*dense_covariances(X, Y)))
    metrics = IdentityPreconditioner(), IdentityPreconditioner()
    cold = two_sided_lobpcg(data, P, metrics, tol=1e-6, max_iter=2000, rng=0)
    warm = two_sided_lobpcg(data, P, metrics, tol=1e-6, max_iter=2000, start=cold.pairs[1:], oversampling=0, rng=0)
    assert warm.n_iter <= 2 < cold.n_iter


@pytest.mark.parametrize("solver", ITERATIVE)
def test_too_few_iterations_give_a_warning(solver):
    with pytest.warns(ConvergenceWarning, match="stopped.*limit"):
        cca = CCA(P, solver=solver, max_iter=1, random_state=0).fit(X, Y)
    assert cca.status_ is Status.ITERATION_LIMIT


@pytest.mark.parametrize("solver", ITERATIVE)
def test_the_same_seed_gives_the_same_bits(solver):
    first, second, other = (CCA(P, solver=solver, random_state=seed).fit(X, Y) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.x_weights_, second.x_weights_)
    assert not np.array_equal(first.x_weights_, other.x_weights_)


def test_one_hot_targets_have_one_dimension_less_than_columns():
    labels = np.random.default_rng(0).integers(0, 3, N)
    x, onehot = X + np.outer(labels, np.linspace(1, 0, DX)), np.eye(3)[labels]
    expected = correlations_of(x, onehot[:, :2])
    for solver in ("direct", "cholesky-qr", "block-pcg"):
        with pytest.warns(UserWarning, match="y has numerical rank 2 for 3 features"):
            cca = CCA(2, solver=solver, random_state=0).fit(x, onehot)
        np.testing.assert_allclose(cca.correlations_, expected, atol=1e-9)


@pytest.mark.parametrize("views", [(X, Y[:, :2]), (Y[:, :2], X)], ids=["small y", "small X"])
def test_block_pcg_takes_the_small_view_on_either_side(views):
    cca = CCA(2, solver="block-pcg", random_state=0).fit(*views)
    np.testing.assert_allclose(cca.correlations_, correlations_of(*views), atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        direct = CCA(2, solver="direct").fit(*views)
    np.testing.assert_allclose(cca.coef_, direct.coef_, atol=1e-4)


def test_solvers_as_values():
    for value, name in (
        (DirectCCA(), "direct"),
        (CholeskyQRCCA(sketch_factor=6), "cholesky-qr"),
        (LOBPCGCCA(oversampling=2), "lobpcg"),
        (RiemannianCCA("trust-region"), "trust-region"),
        (RiemannianCCA("gradient-descent"), "riemannian"),
        (BlockPCGCCA(), "block-pcg"),
    ):
        cca = CCA(2, solver=value, random_state=0).fit(X, Y)
        assert cca.solver_ == name
        np.testing.assert_allclose(cca.correlations_, correlations_of(X, Y)[:2], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LOBPCGCCA(oversampling=-1), ValueError, "oversampling must be at least 0, got -1"),
        (lambda: LOBPCGCCA(refresh=0), ValueError, "refresh must be at least 1, got 0"),
        (lambda: LOBPCGCCA(oversampling=1.5), TypeError, "oversampling must be an integer, got 1.5"),
        (lambda: CholeskyQRCCA(sketch_factor=1), ValueError, "sketch_factor must be at least 2, got 1"),
    ],
)
def test_bad_values(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert caught.type is error


@pytest.mark.parametrize("shape", [(90, 200), (200, 90), (150, 150), (10, 20)])
@pytest.mark.parametrize("count", [1, 5])
def test_leading_singular_vectors(shape, count, double):
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal(shape)
    left, values, right = (to_float64(part) for part in leading_singular(double(matrix), count))
    np.testing.assert_allclose(values, np.linalg.svd(matrix, compute_uv=False)[:count], rtol=1e-13)
    np.testing.assert_allclose(matrix @ right, left * values, atol=1e-12)
    np.testing.assert_allclose(left.T @ left, np.eye(count), atol=1e-12)


def test_small_leading_singular_values_keep_their_digits():
    rng = np.random.default_rng(0)
    q, r = (np.linalg.qr(rng.standard_normal((100, 100)))[0] for _ in range(2))
    values = np.r_[1e-6, 1e-7, np.full(98, 1e-9)]
    np.testing.assert_allclose(leading_singular((q * values) @ r.T, 2)[1], values[:2], rtol=1e-8)


@pytest.mark.parametrize("condition", [10.0, 1e6])
def test_condition_of_a_factor(condition):
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((50, 50)))[0]
    factor = np.linalg.qr(np.geomspace(1, condition**-0.5, 50)[:, None] * q)[1]
    assert factor_condition(factor) == pytest.approx(condition, rel=0.5)
    assert factor_condition(factor) <= condition * (1 + 1e-9)
