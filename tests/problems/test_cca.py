"""The CCA estimator: correlations, scores, solvers, kinds of input and passes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn import cross_decomposition
from sklearn.exceptions import ConvergenceWarning

from problems import CCA, PairedViews
from rankopt import Status
from tests.arrays import Kind, kind_of, to_float64
from tests.problems.views import (
    LoggedRows,
    canonical_oracle,
    correlated_views,
    correlations_of,
    dense_covariances,
)

N, DX, DY, P = 300, 6, 5, 3
X, Y = correlated_views(N, DX, DY)
SOLVERS = ["direct", "riemannian"]
PRECONDITIONERS = ["auto", "sketched", "exact", "identity"]


def fitted(x=X, y=Y, n_components=P, **options):
    return CCA(n_components, **({"random_state": 0} | options)).fit(x, y)


@pytest.mark.parametrize("scale", [False, True])
def test_correlations_are_those_of_scikit_learn(scale):
    # Without a ridge the units of the columns do not matter, so that both agree whatever their scaling.
    theirs = cross_decomposition.CCA(P, scale=True, max_iter=20_000, tol=1e-14).fit(X, Y)
    scores = theirs.transform(X, Y)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(scores[0].T, scores[1].T, strict=True)]
    np.testing.assert_allclose(fitted(scale=scale).correlations_, expected, atol=1e-6)
    np.testing.assert_allclose(expected, correlations_of(X, Y)[:P], atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_scores(solver, double):
    cca = fitted(double(X), double(Y), solver=solver)
    x_scores, y_scores = map(to_float64, cca.transform(double(X), double(Y)))
    for scores in (x_scores, y_scores):
        np.testing.assert_allclose(scores.mean(axis=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(scores.T @ scores / N, np.eye(P), atol=1e-10)
    np.testing.assert_allclose(x_scores.T @ y_scores / N, np.diag(to_float64(cca.correlations_)), atol=1e-10)
    assert np.all(np.diff(to_float64(cca.correlations_)) < 0)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_riemannian_equals_direct(preconditioner, scale, double):
    direct = fitted(double(X), double(Y), solver="direct", scale=scale)
    options = {"preconditioner": preconditioner, "scale": scale, "tol": 1e-9}
    riemannian = fitted(double(X), double(Y), solver="riemannian", **options)
    assert riemannian.status_ is Status.CONVERGED_GRADIENT
    for name in ("correlations_", "x_weights_", "y_weights_", "x_rotations_", "y_rotations_", "x_mean_", "y_mean_"):
        actual, expected = to_float64(getattr(riemannian, name)), to_float64(getattr(direct, name))
        np.testing.assert_allclose(actual, expected, atol=1e-6, err_msg=name)


def test_default_tolerance_gives_correlations_to_six_digits():
    cca = fitted(solver="riemannian")
    np.testing.assert_allclose(cca.correlations_, correlations_of(X, Y)[:P], atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [False, True])
def test_scaling_changes_weights_and_no_correlation(scale, solver):
    stretched = X * np.geomspace(1e-2, 1e3, DX), Y * np.geomspace(1e2, 1e-1, DY)
    cca = fitted(*stretched, scale=scale, solver=solver, preconditioner="exact")
    np.testing.assert_allclose(cca.correlations_, correlations_of(X, Y)[:P], atol=1e-8)
    weights, rotations = (cca.x_weights_, cca.y_weights_), (cca.x_rotations_, cca.y_rotations_)
    for view, weight, rotation in zip(stretched, weights, rotations, strict=True):
        deviations = view.std(axis=0) if scale else np.ones(view.shape[1])
        np.testing.assert_allclose(rotation * deviations[:, None], weight, rtol=1e-10)
    for scores in cca.transform(*stretched):
        np.testing.assert_allclose(scores.T @ scores / N, np.eye(P), atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("reg", [0.05, (0.5, 0.01)], ids=str)
def test_ridge_on_the_covariances(reg, scale, solver):
    pair = reg if isinstance(reg, tuple) else (reg, reg)
    sxx, sxy, syy = dense_covariances(X, Y, pair, scale=scale)
    expected = canonical_oracle(sxx, sxy, syy)[0][:P]
    cca = fitted(reg=reg, scale=scale, solver=solver, tol=1e-8)
    np.testing.assert_allclose(cca.correlations_, expected, atol=1e-10)
    np.testing.assert_allclose(cca.x_weights_.T @ sxx @ cca.x_weights_, np.eye(P), atol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_ridge_keeps_its_meaning_when_the_data_is_duplicated(solver):
    once = fitted(reg=0.1, solver=solver, tol=1e-9)
    twice = fitted(np.vstack([X, X]), np.vstack([Y, Y]), reg=0.1, solver=solver, tol=1e-9)
    np.testing.assert_allclose(twice.correlations_, once.correlations_, atol=1e-10)
    np.testing.assert_allclose(twice.x_weights_, once.x_weights_, atol=1e-7)


def test_transform_of_new_data():
    cca = fitted()
    new_x, new_y = correlated_views(20, DX, DY, seed=9)
    x_scores, y_scores = cca.transform(new_x, new_y)
    np.testing.assert_allclose(x_scores, (new_x - X.mean(axis=0)) @ cca.x_rotations_, atol=1e-12)
    np.testing.assert_allclose(y_scores, (new_y - Y.mean(axis=0)) @ cca.y_rotations_, atol=1e-12)
    np.testing.assert_array_equal(cca.transform(new_x), x_scores)


@pytest.mark.parametrize("solver", SOLVERS)
def test_fit_transform(solver):
    x_scores, y_scores = CCA(P, solver=solver, random_state=0).fit_transform(X, Y)
    expected = fitted(solver=solver).transform(X, Y)
    np.testing.assert_array_equal(x_scores, expected[0])
    np.testing.assert_array_equal(y_scores, expected[1])


@pytest.mark.parametrize("solver", SOLVERS)
def test_results_are_of_the_kind_of_the_data(solver, kind):
    tol = 1e-3 if kind.dtype == "float32" else 1e-6
    cca = fitted(kind(X), kind(Y), solver=solver, tol=tol)
    names = ("correlations_", "x_weights_", "y_weights_", "x_rotations_", "y_rotations_", "x_mean_", "y_mean_")
    assert {kind_of(getattr(cca, name)) for name in names} == {kind}
    assert {kind_of(scores) for scores in cca.transform(kind(X), kind(Y))} == {kind}
    # float32 data is known to 6e-8, times the condition of the covariances, 1e2.
    atol = 1e-5 if kind.dtype == "float32" else 1e-9
    np.testing.assert_allclose(to_float64(cca.correlations_), correlations_of(X, Y)[:P], atol=atol)


def test_lists_integers_and_a_single_target_are_converted():
    x, y = np.round(10 * X).astype(int), np.round(10 * Y[:, 0]).astype(int)
    expected = fitted(x.astype(float), y[:, None].astype(float), 1)
    for data in ((x, y), (x.tolist(), y.tolist()), (x, y[:, None]), (x.astype(np.int32), y.astype(float))):
        cca = fitted(*data, 1)
        np.testing.assert_array_equal(cca.x_weights_, expected.x_weights_)
        scores = cca.transform(*data)
        np.testing.assert_array_equal(scores[1], expected.transform(x, y)[1])
        assert cca.y_weights_.shape == (1, 1)


@pytest.mark.parametrize(
    "kind", [Kind("numpy", "float32"), Kind("torch", "float32"), Kind("torch", "float64")], ids=str
)
def test_a_target_without_a_kind_of_its_own_follows_the_data(kind):
    x, y = kind(X), np.round(10 * Y[:, 0]).astype(int)
    expected = fitted(x, kind(y), 1)
    for target in (y, y.tolist(), y[:, None]):
        cca = fitted(x, target, 1)
        assert kind_of(cca.y_weights_) == kind
        np.testing.assert_array_equal(to_float64(cca.y_weights_), to_float64(expected.y_weights_))
        assert kind_of(cca.transform(x, target)[1]) == kind


def test_new_data_without_a_kind_of_its_own_follows_that_of_fit():
    whole = np.round(10 * X).astype(int)
    cca = fitted(X.astype(np.float32), Y.astype(np.float32))
    for data in (whole, whole.tolist()):
        np.testing.assert_array_equal(cca.transform(data), cca.transform(whole.astype(np.float32)))


def test_input_is_not_changed():
    x, y = X.copy(), Y.copy()
    for view in (x, y):
        view.setflags(write=False)
    for solver in SOLVERS:
        cca = fitted(x, y, solver=solver, scale=True)
        cca.transform(x, y)


def test_fitted_attributes_say_what_ran():
    cca = fitted()
    assert (cca.solver_, cca.n_iter_, cca.n_passes_) == ("direct", 1, 1)
    assert (cca.sketch_size_, cca.status_) == (None, None)
    assert cca.n_features_in_ == DX

    cca = fitted(solver="riemannian")
    assert (cca.solver_, cca.sketch_size_) == ("riemannian", 4 * DX)
    assert cca.n_iter_ > 3
    assert fitted(solver="riemannian", preconditioner="exact").sketch_size_ is None


class WatchedViews(PairedViews):
    """Views whose rows are logged, for the estimator to use in place of its own."""

    made: list = []  # noqa: RUF012

    def __init__(self, x, y, **options):
        super().__init__(LoggedRows.of(x), LoggedRows.of(y), **options)
        self.made.append(self)


@pytest.mark.parametrize(
    ("solver", "preconditioner", "extra"),
    [
        ("direct", "auto", None),
        ("riemannian", "sketched", 1 + 5 + 1 + 1),  # sketch, condition, start, pairs
        ("riemannian", "exact", 1 + 1 + 1),  # covariances, start, pairs
        ("riemannian", "identity", 1 + 1 + 1),  # means, start, pairs
    ],
)
def test_passes_are_the_reads_of_the_data(solver, preconditioner, extra, monkeypatch):
    monkeypatch.setattr(WatchedViews, "made", [])
    monkeypatch.setattr("problems.cca.PairedViews", WatchedViews)
    cca = fitted(solver=solver, preconditioner=preconditioner)
    (data,) = WatchedViews.made
    for view in data.views:
        np.testing.assert_array_equal(np.bincount(view.data.take_reads(), minlength=N), cca.n_passes_)
    # One pass per step, and one more per refresh, every 25 steps.
    assert cca.n_passes_ == (1 if extra is None else extra + cca.n_iter_ + cca.n_iter_ // 25)


def test_same_seed_same_fit():
    runs = [fitted(solver="riemannian", random_state=seed) for seed in (3, 3, np.random.default_rng(3), 4)]
    for run in runs[1:3]:
        np.testing.assert_array_equal(run.x_weights_, runs[0].x_weights_)
    assert not np.array_equal(runs[3].x_weights_, runs[0].x_weights_)
    np.testing.assert_allclose(runs[3].x_weights_, runs[0].x_weights_, atol=1e-4)


def test_signs_do_not_depend_on_the_order_of_the_rows_or_the_solver():
    expected = fitted().x_weights_
    order = np.random.default_rng(5).permutation(N)
    np.testing.assert_allclose(fitted(X[order], Y[order]).x_weights_, expected, atol=1e-9)
    largest = np.argmax(np.abs(expected), axis=0)
    assert np.all(expected[largest, np.arange(P)] > 0)


@pytest.mark.parametrize("steps", [1, 3])
def test_too_few_steps_give_a_warning(steps):
    with pytest.warns(ConvergenceWarning, match=r"stopped at a gradient of \d.*above tol: The limit of iterations"):
        cca = fitted(solver="riemannian", max_iter=steps)
    assert cca.n_iter_ == steps
    assert cca.status_ is Status.ITERATION_LIMIT
    # What there is can be used: scores of unit variance.
    scores = cca.transform(X)
    np.testing.assert_allclose(scores.T @ scores / N, np.eye(P), atol=1e-10)


def test_no_warning_when_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for solver in SOLVERS:
            fitted(solver=solver)


def test_interruption_is_raised_again(monkeypatch):
    products, calls = PairedViews.products, []

    def interrupted(self, a, b):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return products(self, a, b)

    monkeypatch.setattr(PairedViews, "products", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted(solver="riemannian")
    assert len(calls) == 5


def test_rank_deficient_views():
    x = X.copy()
    x[:, 5] = x[:, 0] + x[:, 1]
    with pytest.warns(UserWarning, match="X has numerical rank 5 for 6 features"):
        direct = fitted(x, Y)
    np.testing.assert_allclose(direct.correlations_, correlations_of(x[:, :5], Y)[:P], atol=1e-10)
    for preconditioner in ("sketched", "exact"):
        with pytest.raises(ValueError, match=r"rank deficient.*ridge|not positive.*ridge"):
            fitted(x, Y, solver="riemannian", preconditioner=preconditioner)
        ridged = fitted(x, Y, solver="riemannian", preconditioner=preconditioner, reg=0.01)
        expected = canonical_oracle(*dense_covariances(x, Y, (0.01, 0.01)))[0][:P]
        np.testing.assert_allclose(ridged.correlations_, expected, atol=1e-8)


def test_torch_gradients_of_the_input_are_not_recorded():
    x = torch.asarray(X).requires_grad_(True)
    cca = fitted(x.detach(), torch.asarray(Y))
    assert not cca.x_weights_.requires_grad
