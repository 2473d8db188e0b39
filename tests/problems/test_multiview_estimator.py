"""MultiviewCCA as a citizen of scikit-learn: parameters, copies, pickles, data frames, errors, choice of solver."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from problems import DirectCCA, LOBPCGMultiviewCCA, MultiviewCCA, SumCor
from problems.cca_choice import choose_multiview_solver
from tests.problems.several_views import several_views

SIZES, P = (6, 5, 4), 2
VIEWS = several_views(100, SIZES)
WITH_NAN = VIEWS[1].copy()
WITH_NAN[3, 1] = np.nan


def test_parameters():
    criterion = SumCor(starts=3)
    cca = MultiviewCCA(3, criterion=criterion, reg=(0.5, 0.1), solver="direct", tol=1e-4)
    assert cca.get_params() == {
        "n_components": 3,
        "criterion": criterion,
        "scale": False,
        "reg": (0.5, 0.1),
        "solver": "direct",
        "preconditioner": "auto",
        "tol": 1e-4,
        "max_iter": 1000,
        "random_state": None,
    }
    assert MultiviewCCA().set_params(n_components=1, scale=True).n_components == 1


@pytest.mark.parametrize("solver", ["direct", "lobpcg", "riemannian"])
def test_clone_and_pickle(solver):
    cca = MultiviewCCA(P, reg=0.1, solver=solver, random_state=4)
    before = cca.get_params()
    assert cca.fit(VIEWS) is cca
    assert cca.get_params() == before
    copy = clone(cca)
    with pytest.raises(NotFittedError):
        copy.transform(VIEWS)
    for other in (copy.fit(VIEWS), pickle.loads(pickle.dumps(cca))):
        for part, expected in zip(other.transform(VIEWS), cca.transform(VIEWS), strict=True):
            np.testing.assert_array_equal(part, expected)
    assert pickle.loads(pickle.dumps(cca)).status_ is cca.status_


def test_a_second_fit_forgets_the_first():
    cca = MultiviewCCA(P, solver="riemannian", random_state=0).fit(VIEWS)
    cca.set_params(solver="direct").fit(VIEWS[:2])
    assert (cca.solver_, cca.status_, cca.sketch_size_, len(cca.weights_)) == ("direct", None, None, 2)
    assert [part.shape for part in cca.transform(VIEWS[:2])] == [(100, P)] * 2


def test_lists_of_numbers_and_data_frames_are_views():
    expected = MultiviewCCA(P).fit(VIEWS).transform(VIEWS)
    pandas = pytest.importorskip("pandas")
    views = [pandas.DataFrame(VIEWS[0]), VIEWS[1].tolist(), VIEWS[2]]
    for part, wanted in zip(MultiviewCCA(P).fit(views).transform(views), expected, strict=True):
        np.testing.assert_allclose(part, wanted, atol=1e-12)


def test_numpy_views_follow_the_precision_of_the_first():
    views = [VIEWS[0].astype(np.float32), *VIEWS[1:]]
    cca = MultiviewCCA(P).fit(views)
    assert {part.dtype for part in (*cca.weights_, *cca.transform(VIEWS))} == {np.dtype("float32")}


def test_views_are_not_changed():
    views = [view.copy() for view in VIEWS]
    for solver in ("direct", "lobpcg", "riemannian"):
        MultiviewCCA(P, scale=True, solver=solver, random_state=0).fit(views).transform(views)
    for view, original in zip(views, VIEWS, strict=True):
        np.testing.assert_array_equal(view, original)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_components": 0}, ValueError, r"n_components must be between 1 and 15 for these views, got 0"),
        ({"n_components": 16}, ValueError, r"n_components must be between 1 and 15 for these views, got 16"),
        (
            {"n_components": 5, "criterion": "sumcor"},
            ValueError,
            r"n_components must be between 1 and 4 for these views",
        ),
        (
            {"n_components": 5, "solver": "riemannian"},
            ValueError,
            r"n_components must be between 1 and 4 for these views",
        ),
        ({"n_components": 2.0}, TypeError, r"n_components must be an integer, got 2.0"),
        ({"n_components": True}, TypeError, r"n_components must be an integer, got True"),
        ({"criterion": "genvar"}, ValueError, r"criterion must be one of \('maxvar', 'sumcor'\) or .*, got 'genvar'"),
        ({"criterion": SumCor}, ValueError, r"criterion must be one of \('maxvar', 'sumcor'\) or a MultiviewCriterion"),
        ({"criterion": None}, ValueError, r"criterion must be one of .*got None"),
        (
            {"criterion": "sumcor", "solver": "lobpcg"},
            ValueError,
            r"solver='lobpcg' solves eigenproblems, and 'sumcor'",
        ),
        ({"solver": "svd"}, ValueError, r"solver must be one of .*'lobpcg'.* or a MultiviewSolver, got 'svd'"),
        ({"solver": DirectCCA()}, ValueError, r"solver must be one of .*got DirectCCA"),
        ({"solver": None}, ValueError, r"solver must be one of .*got None"),
        ({"preconditioner": "jacobi"}, ValueError, r"preconditioner must be one of .*'sketched'.*, got 'jacobi'"),
        ({"tol": 0.0}, ValueError, r"tol must be positive, got 0"),
        ({"tol": -1e-6}, ValueError, r"tol must be at least 0, got -1e-06"),
        ({"tol": "small"}, TypeError, r"tol must be a number, got 'small'"),
        ({"max_iter": 0}, ValueError, r"max_iter must be at least 1, got 0"),
        ({"max_iter": 1.5}, TypeError, r"max_iter must be an integer, got 1.5"),
        ({"reg": -1.0}, ValueError, r"reg must be a non-negative number or a sequence of one for each of 3 views"),
        ({"reg": (1.0, 2.0)}, ValueError, r"reg must be .*for each of 3 views, got \(1.0, 2.0\)"),
        ({"reg": None}, ValueError, r"reg must be .*got None"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message) as caught:
        MultiviewCCA(**options).fit(VIEWS)
    assert caught.type is error


@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        (VIEWS[0], TypeError, r"views must be a list of data matrices, got ndarray"),
        (None, TypeError, r"views must be a list of data matrices, got NoneType"),
        ([], ValueError, r"views must hold at least two data matrices, got 0"),
        (VIEWS[:1], ValueError, r"views must hold at least two data matrices, got 1"),
        ([VIEWS[0], None], ValueError, r"views\[1\] is None, but fit needs all views"),
        ([VIEWS[0], VIEWS[1][:-1]], ValueError, r"views\[0\] and views\[1\] must have .* of rows, got 100 and 99"),
        ([VIEWS[0], VIEWS[1][:, 0]], ValueError, r"views\[1\] must be a matrix .*got shape \(100,\)"),
        ([VIEWS[0], VIEWS[1][None]], ValueError, r"Found array with dim 3|views\[1\] must be a matrix"),
        ([VIEWS[0], WITH_NAN], ValueError, r"views\[1\] contains NaN or infinity"),
        ([VIEWS[0], scipy.sparse.csr_array(WITH_NAN)], ValueError, r"views\[1\] contains NaN or infinity"),
        ([VIEWS[0], torch.asarray(VIEWS[1])], TypeError, r"views\[1\] and views\[0\] must agree in library"),
        ([torch.asarray(VIEWS[0]), VIEWS[1]], TypeError, r"views\[1\] and views\[0\] must agree in library"),
        ([VIEWS[0] + 0j, VIEWS[1]], ValueError, r"Complex data not supported"),
        ([VIEWS[0], np.array([["a"]] * 100)], ValueError, r"could not convert string"),
        ([view[:1] for view in VIEWS], ValueError, r"at least 2 samples"),
        ([view[:0] for view in VIEWS], ValueError, r"0 sample"),
    ],
)
@pytest.mark.parametrize("solver", ["direct", "riemannian"])
def test_bad_views(solver, views, error, message):
    with pytest.raises(error, match=message) as caught:
        MultiviewCCA(1, solver=solver).fit(views)
    assert caught.type is error


@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        (VIEWS[0], TypeError, r"views must be a list of data matrices, got ndarray"),
        (VIEWS[:2], ValueError, r"views must hold 3 data matrices, as in fit, got 2"),
        ([VIEWS[0], VIEWS[0], VIEWS[2]], ValueError, r"views\[1\] has 6 features, but CCA was fitted with 5"),
        ([VIEWS[0], VIEWS[1][:, 0], VIEWS[2]], ValueError, r"views\[1\] must be a matrix .*got shape \(100,\)"),
        ([VIEWS[0], WITH_NAN, VIEWS[2]], ValueError, r"views\[1\] contains NaN or infinity"),
        ([torch.asarray(view) for view in VIEWS], TypeError, r"views\[0\] and the data of fit must agree in library"),
    ],
)
@pytest.mark.parametrize("method", ["transform", "score"])
def test_bad_views_of_a_fitted_estimator(method, views, error, message):
    cca = MultiviewCCA(P).fit(VIEWS)
    with pytest.raises(error, match=message) as caught:
        getattr(cca, method)(views)
    assert caught.type is error


def test_bad_options_of_lobpcg():
    with pytest.raises(TypeError, match=r"method must be a LOBPCG value, got 8"):
        LOBPCGMultiviewCCA(8)


def test_score_needs_all_views():
    with pytest.raises(ValueError, match=r"views must hold all views for score"):
        MultiviewCCA(P).fit(VIEWS).score([VIEWS[0], None, VIEWS[2]])


@pytest.mark.parametrize("weights", [np.ones(3), -np.ones(100), np.zeros(100)])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match="sample_weight must"):
        MultiviewCCA(P).fit(VIEWS, sample_weight=weights)


@pytest.mark.parametrize(
    ("n", "sizes", "density", "solver"),
    [
        (1000, [50, 20, 30], [1.0] * 3, "direct"),
        (2_000_000, [1000] * 3, [1.0] * 3, "direct"),
        (200_000, [8000] * 4, [1.0] * 4, "lobpcg"),
        (10_000, [200_000] * 2, [1e-4] * 2, "lobpcg"),
    ],
)
def test_choice_of_the_solver(n, sizes, density, solver):
    assert choose_multiview_solver(n, sizes, 5, density) == solver


def test_wide_sparse_views_take_an_iterative_solver():
    rng = np.random.default_rng(0)
    views = [scipy.sparse.random_array((60, 20_000), density=1e-3, format="csr", rng=rng) for _ in range(2)]
    for criterion, solver in (("maxvar", "lobpcg"), ("sumcor", "riemannian")):
        cca = MultiviewCCA(1, criterion=criterion, reg=1.0, random_state=0, tol=1e-3).fit(views)
        assert cca.solver_ == solver
