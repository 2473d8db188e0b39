"""MultiviewCCA: against dense eigensolvers, CCA and brute force; all solvers, kinds of data, ridges and weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import torch
from sklearn.exceptions import ConvergenceWarning

from problems import CCA, LOBPCG, LOBPCGMultiviewCCA, MultiviewCCA, RiemannianMultiviewCCA, SumCor
from problems.view_preconditioners import view_preconditioners
from rankopt import Status
from tests.arrays import kind_of, to_float64
from tests.problems.several_views import dense_pencil, maxvar_oracle, places, several_views
from tests.problems.views import correlated_views, standardize

SIZES, P = (6, 5, 4), 2
VIEWS = several_views(300, SIZES)
REG = (0.1, 0.0, 0.2)
SOLVERS = ["direct", "lobpcg", "riemannian", "trust-region"]
WITH_SUMCOR = ["direct", "riemannian", "trust-region"]


def weights_of(cca):
    return [to_float64(part) for part in cca.weights_]


def check_maxvar(cca, views, reg, atol, *, scale=False, p=P):
    values, vectors = maxvar_oracle(views, p, reg, scale=scale)
    np.testing.assert_allclose(to_float64(cca.eigenvalues_), values, atol=atol)
    np.testing.assert_allclose(to_float64(cca.correlations_), (values - 1) / (len(views) - 1), atol=atol)
    _, d = dense_pencil(views, reg, scale=scale)
    cosines = np.sum(np.vstack(weights_of(cca)) * (d @ np.vstack(vectors)), axis=0) / len(views)
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=10 * atol)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("preconditioner", ["auto", "exact", "nystrom", "diagonal", "identity"])
def test_maxvar_is_the_dense_eigenproblem(solver, preconditioner):
    cca = MultiviewCCA(P, solver=solver, preconditioner=preconditioner, reg=REG, tol=1e-8, random_state=0).fit(VIEWS)
    assert cca.solver_ == solver
    check_maxvar(cca, VIEWS, REG, 1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [False, True])
def test_kinds(solver, scale, kind):
    cca = MultiviewCCA(P, solver=solver, scale=scale, reg=0.1, random_state=0).fit([kind(view) for view in VIEWS])
    atol = 1e-9 if kind.dtype == "float64" else 1e-5
    check_maxvar(cca, VIEWS, [0.1] * 3, atol, scale=scale)
    arrays = [cca.correlations_, cca.eigenvalues_, cca.pairwise_correlations_, *cca.weights_, *cca.rotations_]
    assert {kind_of(part) for part in (*arrays, *cca.means_)} == {kind}
    assert {kind_of(part) for part in cca.transform([kind(view) for view in VIEWS])} == {kind}


@pytest.mark.parametrize(
    ("criterion", "solver"),
    [("maxvar", solver) for solver in SOLVERS] + [("sumcor", solver) for solver in WITH_SUMCOR],
)
@pytest.mark.parametrize("reg", [0.0, (0.1, 0.3)], ids=str)
def test_two_views_are_canonical_correlation_analysis(criterion, solver, reg):
    x, y = correlated_views(seed=3)
    pair = CCA(3, reg=reg, solver="direct").fit(x, y)
    cca = MultiviewCCA(3, criterion=criterion, reg=reg, solver=solver, tol=1e-8, random_state=0).fit([x, y])
    np.testing.assert_allclose(cca.correlations_, pair.correlations_, atol=1e-10)
    np.testing.assert_allclose(cca.eigenvalues_, 1 + pair.correlations_, atol=1e-10)
    np.testing.assert_allclose(cca.pairwise_correlations_[:, 0, 1], pair.correlations_, atol=1e-7)
    np.testing.assert_allclose(cca.weights_[0], pair.x_weights_, atol=1e-5)
    np.testing.assert_allclose(cca.weights_[1], pair.y_weights_, atol=1e-5)


def test_all_eigenvalues_of_two_views():
    x, y = correlated_views(seed=3)
    rho = CCA(5).fit(x, y).correlations_
    cca = MultiviewCCA(11).fit([x, y])
    np.testing.assert_allclose(cca.eigenvalues_, [*(1 + rho), 1.0, *(1 - rho[::-1])], atol=1e-12)


def brute_force_sumcor(s, sizes, starts=12):
    """Largest sum of the correlations of one score in each view, by a quasi-Newton method from many starts."""

    def negative_sum(flat):
        scores = [flat[at] / np.sqrt(flat[at] @ s[at, at] @ flat[at]) for at in places(sizes)]
        pairs = itertools.combinations(zip(places(sizes), scores, strict=True), 2)
        return -sum(a @ s[at, other] @ b for (at, a), (other, b) in pairs)

    rng = np.random.default_rng(0)
    return -min(scipy.optimize.minimize(negative_sum, rng.standard_normal(sum(sizes))).fun for _ in range(starts))


@pytest.mark.parametrize("solver", WITH_SUMCOR)
def test_sumcor_is_what_brute_force_finds(solver):
    s, _ = dense_pencil(VIEWS, REG)
    expected = brute_force_sumcor(s, SIZES)
    cca = MultiviewCCA(1, criterion="sumcor", solver=solver, reg=REG, random_state=0).fit(VIEWS)
    assert 3 * float(cca.correlations_[0]) == pytest.approx(expected, abs=1e-8)
    assert np.triu(cca.pairwise_correlations_[0], 1).sum() == pytest.approx(expected, abs=1e-8)
    # MAXVAR's scores have a smaller sum, so that the test can tell the criteria apart.
    maxvar = MultiviewCCA(1, reg=REG).fit(VIEWS)
    assert np.triu(maxvar.pairwise_correlations_[0], 1).sum() < expected - 1e-6


@pytest.mark.parametrize("solver", WITH_SUMCOR)
def test_sumcor_with_several_components_is_stationary_and_sorted(solver, double):
    """At a maximum sum_j S_ij U_j = S_ii U_i L_i with symmetric L_i (Kettenring's equations for blocks)."""
    views = [double(view) for view in VIEWS]
    cca = MultiviewCCA(P, criterion="sumcor", solver=solver, reg=REG, tol=1e-8, random_state=0).fit(views)
    s, _ = dense_pencil(VIEWS, REG)
    weights = weights_of(cca)
    for i, at in enumerate(places(SIZES)):
        others = sum(s[at, places(SIZES)[j]] @ weights[j] for j in range(3) if j != i)
        multiplier = weights[i].T @ others
        np.testing.assert_allclose(weights[i].T @ s[at, at] @ weights[i], np.eye(P), atol=1e-10)
        np.testing.assert_allclose(multiplier, multiplier.T, atol=1e-7)
        np.testing.assert_allclose(others, s[at, at] @ weights[i] @ multiplier, atol=1e-6)
    assert cca.correlations_[0] > cca.correlations_[1]


def test_more_starts_find_the_best_of_several_maxima():
    # Of noise in which the start from MAXVAR ends in a worse local maximum.
    rng = np.random.default_rng(78)
    views = [rng.standard_normal((10, 2)) for _ in range(5)]
    expected = brute_force_sumcor(dense_pencil(views)[0], (2,) * 5)
    one, several = (MultiviewCCA(1, criterion=SumCor(starts), random_state=0).fit(views) for starts in (1, 6))
    assert 10 * float(one.correlations_[0]) < expected - 1e-3
    assert 10 * float(several.correlations_[0]) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_sparse_views(solver):
    rng = np.random.default_rng(2)
    views = [np.where(rng.random(view.shape) < 0.6, 0.0, view) for view in VIEWS]
    sparse = [
        f(view) for f, view in zip((scipy.sparse.csr_array, scipy.sparse.csc_array, np.asarray), views, strict=True)
    ]
    cca = MultiviewCCA(P, solver=solver, reg=REG, tol=1e-8, random_state=0).fit(sparse)
    check_maxvar(cca, views, REG, 1e-10)
    for scores, dense in zip(cca.transform(sparse), cca.transform(views), strict=True):
        np.testing.assert_allclose(scores, dense, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_whole_weights_repeat_rows(solver):
    weights = np.random.default_rng(5).integers(0, 4, 300)
    cca = MultiviewCCA(P, solver=solver, reg=REG, tol=1e-8, random_state=0).fit(VIEWS, sample_weight=weights)
    repeated = [np.repeat(view, weights, axis=0) for view in VIEWS]
    check_maxvar(cca, repeated, REG, 1e-10)
    for mean, view in zip(cca.means_, repeated, strict=True):
        np.testing.assert_allclose(mean, view.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("criterion", ["maxvar", "sumcor"])
def test_scores(criterion, double):
    views = [double(view) for view in VIEWS]
    cca = MultiviewCCA(P, criterion=criterion, scale=True).fit(views)
    scores = [to_float64(part) for part in cca.transform(views)]
    for part, view, w in zip(scores, VIEWS, weights_of(cca), strict=True):
        np.testing.assert_allclose(part, standardize(view, scale=True) @ w, atol=1e-12)
    for k in range(P):
        expected = np.corrcoef([part[:, k] for part in scores])
        np.testing.assert_allclose(to_float64(cca.pairwise_correlations_)[k], expected, atol=1e-12)
    pairs = [np.corrcoef(scores[i][:, k], scores[j][:, k])[0, 1] for k in range(P) for i in range(3) for j in range(i)]
    assert cca.score(views) == pytest.approx(np.mean(pairs), abs=1e-12)
    variances = np.array([np.mean(part**2, axis=0) for part in scores])
    np.testing.assert_allclose(variances.mean(axis=0), 1.0, atol=1e-12)
    again = cca.fit_transform(views)
    np.testing.assert_array_equal(to_float64(again[1]), scores[1])


def test_a_missing_view_has_no_scores():
    cca = MultiviewCCA(P).fit(VIEWS)
    scores = cca.transform([VIEWS[0], None, VIEWS[2]])
    assert scores[1] is None
    np.testing.assert_array_equal(scores[2], cca.transform(VIEWS)[2])


def test_signs_do_not_depend_on_the_solver():
    for solver in SOLVERS:
        cca = MultiviewCCA(P, solver=solver, random_state=1).fit(VIEWS)
        first = cca.weights_[0]
        np.testing.assert_array_equal(np.abs(first).max(axis=0), first.max(axis=0))


@pytest.mark.parametrize("criterion", ["maxvar", "sumcor"])
def test_a_rank_deficient_view_is_truncated_by_the_direct_solver(criterion):
    doubled = [np.hstack([VIEWS[0], VIEWS[0][:, :2]]), *VIEWS[1:]]
    with pytest.warns(UserWarning, match=r"views\[0\] has numerical rank 6 for 8 features"):
        cca = MultiviewCCA(P, criterion=criterion).fit(doubled)
    full = MultiviewCCA(P, criterion=criterion).fit(VIEWS)
    np.testing.assert_allclose(cca.correlations_, full.correlations_, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS[1:])
def test_a_rank_deficient_view_needs_a_ridge_in_iterative_solvers(solver):
    doubled = [VIEWS[0], np.hstack([VIEWS[1], VIEWS[1][:, :2]])]
    with pytest.raises(ValueError, match=r"views\[1\] is numerically rank deficient; add a ridge"):
        MultiviewCCA(P, solver=solver, preconditioner="sketched").fit(doubled)
    MultiviewCCA(P, solver=solver, reg=0.1, random_state=0).fit(doubled)


def test_a_view_without_variance():
    with pytest.raises(ValueError, match=r"views\[1\] has no variance"):
        MultiviewCCA(1).fit([VIEWS[0], np.ones((300, 2))])


def test_ill_conditioned_single_precision_views():
    scaled = [(view - view.mean(axis=0)) * np.geomspace(1.0, 1e-3, view.shape[1]) for view in VIEWS]
    mixed = [
        view @ np.linalg.qr(np.random.default_rng(i).standard_normal((view.shape[1],) * 2))[0]
        for i, view in enumerate(scaled)
    ]
    single = [view.astype(np.float32) for view in mixed]
    values, _ = maxvar_oracle([view.astype(float) for view in single], P)
    np.testing.assert_allclose(MultiviewCCA(P).fit(single).eigenvalues_, values, atol=2e-6)


def test_passes_and_reports():
    direct = MultiviewCCA(P).fit(VIEWS)
    assert (direct.solver_, direct.n_passes_, direct.n_iter_, direct.status_) == ("direct", 1, 1, None)
    wide = several_views(300, (40, 30, 35))
    lobpcg = MultiviewCCA(P, solver="lobpcg", preconditioner="exact", tol=1e-8, random_state=0).fit(wide)
    # The preconditioners, which find the moments, the start, true products at the end, and those of the result.
    assert lobpcg.n_passes_ <= lobpcg.n_iter_ + 4
    assert lobpcg.status_ == Status.CONVERGED_GRADIENT
    sketched = MultiviewCCA(P, solver="riemannian", preconditioner="sketched", random_state=0).fit(VIEWS)
    assert sketched.sketch_size_ >= 24
    assert 1.0 < sketched.condition_number_ < 25.0


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "riemannian", "preconditioner": "identity"},
        {"solver": "lobpcg", "preconditioner": "identity"},
        {"criterion": "sumcor"},
    ],
    ids=str,
)
def test_a_warning_where_an_iteration_does_not_converge(options):
    views = several_views(300, (40, 30, 35))
    with pytest.warns(ConvergenceWarning, match=r"stopped"):
        MultiviewCCA(P, max_iter=1, random_state=0, **options).fit(views)


@pytest.mark.parametrize("solver", SOLVERS[1:])
def test_a_large_sketch_gives_the_start(solver, double, monkeypatch):
    """With the data itself as the sketch the start is the solution."""

    def with_sketches(data, name, columns, rng):
        sketches = tuple(double(standardize(view) / 300**0.5) for view in VIEWS)
        return view_preconditioners(data, "exact", columns, rng)._replace(sketches=sketches)

    monkeypatch.setattr("problems.multiview_solvers.view_preconditioners", with_sketches)
    cca = MultiviewCCA(P, solver=solver, reg=REG, random_state=0).fit([double(view) for view in VIEWS])
    assert cca.n_iter_ <= 1
    check_maxvar(cca, VIEWS, REG, 1e-12)


def test_solvers_as_values():
    trust_region = MultiviewCCA(P, solver=RiemannianMultiviewCCA("trust-region"), tol=1e-8, random_state=0).fit(VIEWS)
    lobpcg = MultiviewCCA(P, solver=LOBPCGMultiviewCCA(LOBPCG(oversampling=0)), tol=1e-8, random_state=0).fit(VIEWS)
    assert (trust_region.solver_, lobpcg.solver_) == ("trust-region", "lobpcg")
    check_maxvar(trust_region, VIEWS, None, 1e-10)
    check_maxvar(lobpcg, VIEWS, None, 1e-10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("solver", SOLVERS)
def test_views_on_a_gpu(solver):
    views = [torch.asarray(view, device="cuda") for view in VIEWS]
    cca = MultiviewCCA(P, solver=solver, reg=REG, tol=1e-8, random_state=0).fit(views)
    check_maxvar(cca, VIEWS, REG, 1e-10)
    assert {part.device.type for part in (*cca.weights_, *cca.transform(views), cca.correlations_)} == {"cuda"}
