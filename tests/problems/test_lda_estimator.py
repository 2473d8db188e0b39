"""The LDA estimator as a citizen of scikit-learn: its checks, parameters, names, copies, pickles and errors."""

from __future__ import annotations

import pickle
import re
from unittest import SkipTest

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from problems import LDA
from tests.problems.classes import labelled_rows, oracle

N, D, L = 240, 6, 3
X, Y = labelled_rows(N, D, L, seed=6)


@pytest.mark.parametrize("estimator", [LDA(), LDA(shrinkage="auto"), LDA(reg=0.1, solver="block-pcg")], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator):
    """No check is expected to fail."""
    for instance, check in estimator_checks_generator(estimator):
        try:
            check(instance)
        except SkipTest:
            continue  # pandas or array API dispatch is not there


def test_parameters():
    lda = LDA(2, reg=0.5, solver="direct", tol=1e-4)
    assert lda.get_params() == {
        "n_components": 2,
        "priors": None,
        "shrinkage": None,
        "reg": 0.5,
        "solver": "direct",
        "preconditioner": "auto",
        "tol": 1e-4,
        "max_iter": 1000,
        "random_state": None,
    }


def test_clone_is_not_fitted():
    lda = LDA(1, reg=0.1, random_state=4, solver="block-pcg").fit(X, Y)
    copy = clone(lda)
    assert copy.get_params() == lda.get_params()
    for call in (copy.predict, copy.transform, copy.predict_proba, copy.decision_function):
        with pytest.raises(NotFittedError):
            call(X)
    np.testing.assert_array_equal(copy.fit(X, Y).coef_, lda.coef_)


@pytest.mark.parametrize("solver", ["direct", "block-pcg"])
@pytest.mark.parametrize("make", [np.asarray, torch.asarray])
def test_pickle(make, solver):
    lda = LDA(solver=solver, random_state=0).fit(make(X), make(Y))
    copy = pickle.loads(pickle.dumps(lda))
    assert bool((copy.predict(make(X)) == lda.predict(make(X))).all())
    assert copy.status_ is lda.status_


def test_a_pickle_of_a_stream_goes_on():
    stream = LDA().partial_fit(X[:100], Y[:100], classes=range(L))
    copy = pickle.loads(pickle.dumps(stream))
    np.testing.assert_allclose(copy.partial_fit(X[100:], Y[100:]).coef_, LDA().fit(X, Y).coef_, rtol=1e-9)


def test_a_second_fit_forgets_the_first():
    lda = LDA(solver="block-pcg", random_state=0).fit(X, Y)
    lda.set_params(solver="direct").fit(X[:, :4], Y > 0)
    assert (lda.solver_, lda.status_, lda.sketch_size_, lda.n_features_in_) == ("direct", None, None, 4)
    assert lda.transform(X[:, :4]).shape == (N, 1)


def test_names_of_the_scores():
    np.testing.assert_array_equal(LDA().fit(X, Y).get_feature_names_out(), ["lda0", "lda1"])
    np.testing.assert_array_equal(LDA(1).fit(X, Y).get_feature_names_out(), ["lda0"])


def test_pipeline_and_search():
    pipeline = make_pipeline(StandardScaler(), LDA(1))
    assert pipeline.fit_transform(X, Y).shape == (N, 1)
    assert cross_val_score(LDA(), X, Y).mean() > 0.5
    search = GridSearchCV(LDA(), {"reg": [1e-3, 1e3]}).fit(X, Y)
    assert search.best_params_ == {"reg": 1e-3}


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"f{i}" for i in range(D)])
    lda = LDA().set_output(transform="pandas").fit(frame, pandas.Series(Y))
    np.testing.assert_array_equal(lda.feature_names_in_, frame.columns)
    assert list(lda.transform(frame).columns) == ["lda0", "lda1"]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.asfortranarray(X), Y),
        (np.repeat(X, 2, axis=0)[::2], np.repeat(Y, 2)[::2]),
        (X[:, ::-1][:, ::-1], Y),
        (X.tolist(), Y.tolist()),
        (X, Y[:, None]),
        (X, Y.astype(np.uint8)),
        (X, np.array(["a", "b", "c"])[Y]),
        (X, np.array(["a", "b", "c"], dtype=object)[Y]),
    ],
    ids=["fortran", "rows", "columns", "lists", "column", "bytes", "strings", "objects"],
)
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_data_in_other_forms(x, y):
    np.testing.assert_allclose(LDA().fit(x, y).coef_, LDA().fit(X, Y).coef_, rtol=1e-9)


def test_integers_become_double_precision():
    x = np.round(10 * X).astype(np.int32)
    lda = LDA().fit(x, Y)
    assert lda.coef_.dtype == np.float64
    np.testing.assert_array_equal(lda.coef_, LDA().fit(x.astype(float), Y).coef_)


def test_torch_labels_and_lists():
    x = torch.asarray(X)
    lda = LDA().fit(x, Y.tolist())
    assert isinstance(lda.classes_, torch.Tensor)
    assert lda.score(x, torch.asarray(Y)) == LDA().fit(X, Y).score(X, Y)


# --- data that one may meet


def test_one_row_of_a_class():
    x, y = np.vstack([X, X[0] + 1]), np.append(Y, 7)
    lda = LDA().fit(x, y)
    np.testing.assert_array_equal(lda.classes_, [0, 1, 2, 7])
    np.testing.assert_allclose(lda.means_[3], X[0] + 1)
    gaps = np.vstack([X[y[:-1] == k] - X[y[:-1] == k].mean(axis=0) for k in range(L)])
    within = gaps.T @ gaps / (N + 1)
    np.testing.assert_allclose(lda.scalings_.T @ within @ lda.scalings_, np.eye(3), atol=1e-10)


@pytest.mark.parametrize("solver", ["auto", "direct", "cholesky-qr"])
@pytest.mark.parametrize("value", [0.0, 3.7, 1e8])
def test_constant_columns_get_no_weight(solver, value):
    x = np.insert(X, 2, value, axis=1)
    lda = LDA(solver=solver).fit(x, Y)
    np.testing.assert_array_equal(lda.coef_[:, 2], 0.0)
    np.testing.assert_allclose(np.delete(lda.coef_, 2, axis=1), LDA().fit(X, Y).coef_, rtol=1e-8)


def test_columns_that_are_constant_within_the_classes():
    x = np.insert(X, 2, np.array([1.0, 2.0, 5.0])[Y], axis=1)
    with pytest.warns(UserWarning, match="X has features that are constant within every class but differ between"):
        lda = LDA().fit(x, Y)
    np.testing.assert_allclose(np.delete(lda.coef_, 2, axis=1), LDA().fit(X, Y).coef_, rtol=1e-8)
    assert LDA(reg=1e-6).fit(x, Y).score(x, Y) == 1.0


@pytest.mark.parametrize("solver", ["auto", "direct", "cholesky-qr"])
@pytest.mark.parametrize("make", [np.asarray, torch.asarray, scipy.sparse.csr_array])
def test_dependent_columns(solver, make):
    x = np.hstack([X, X[:, :2]])
    with pytest.warns(UserWarning, match="X has numerical rank 6 within its classes for 8 features that vary"):
        lda = LDA(solver=solver).fit(make(x), torch.asarray(Y) if make is torch.asarray else Y)
    plain = LDA().fit(X, Y)
    np.testing.assert_allclose(lda.eigenvalues_, plain.eigenvalues_, rtol=1e-9)
    # Twin columns share what the one had.
    shared = plain.coef_[:, :2] / 2
    np.testing.assert_allclose(lda.coef_, np.hstack([shared, plain.coef_[:, 2:], shared]), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", ["block-pcg", "lobpcg", "riemannian"])
def test_dependent_columns_are_refused_by_iterations(solver):
    x = np.hstack([X, X[:, :2]])
    with pytest.raises(ValueError, match=r"rank deficient.*ridge"):
        LDA(solver=solver).fit(x, Y)
    with_ridge = LDA(solver=solver, reg=0.01, random_state=0).fit(x, Y)
    np.testing.assert_allclose(with_ridge.eigenvalues_, oracle(x, Y, reg=0.01).eigenvalues[:2], rtol=1e-8)


def test_dependent_columns_where_iterations_were_chosen(monkeypatch):
    monkeypatch.setattr("problems.lda.choose_solver", lambda *sizes, **kinds: "block-pcg")
    assert LDA(random_state=0).fit(X, Y).solver_ == "block-pcg"
    with pytest.warns(UserWarning, match="X has numerical rank 6 within its classes for 8 features that vary"):
        lda = LDA(random_state=0).fit(np.hstack([X, X[:, :2]]), Y)
    assert lda.solver_ == "cholesky-qr"
    np.testing.assert_allclose(lda.eigenvalues_, LDA().fit(X, Y).eigenvalues_, rtol=1e-9)
    with pytest.raises(ValueError, match="X contains NaN or infinity"):
        LDA().fit(with_bad(np.nan), Y)


def test_an_error_that_is_not_about_the_rank_is_not_swallowed(monkeypatch):
    def broken(*arguments, **options):
        raise ValueError("shapes do not fit")

    monkeypatch.setattr("problems.lda.choose_solver", lambda *sizes, **kinds: "block-pcg")
    monkeypatch.setattr("problems.lda_solvers.block_pcg", broken)
    with pytest.raises(ValueError, match="shapes do not fit"):
        LDA(random_state=0).fit(X, Y)


@pytest.mark.parametrize("preconditioner", ["auto", "sketched", "nystrom", "diagonal", "exact"])
def test_a_singular_covariance_goes_to_a_solver_that_truncates_with_each_preconditioner(preconditioner, monkeypatch):
    monkeypatch.setattr("problems.lda.choose_solver", lambda *sizes, **kinds: "block-pcg")
    x = np.hstack([X, Y[:, None] % 2 * 0.5])  # constant in every class
    with pytest.warns(UserWarning, match="constant within every class"):
        lda = LDA(preconditioner=preconditioner, random_state=0).fit(x, Y)
    assert lda.solver_ == "cholesky-qr"
    np.testing.assert_allclose(lda.eigenvalues_, LDA().fit(X, Y).eigenvalues_, rtol=1e-9)


WIDE, WIDE_Y = labelled_rows(40, 90, 3, seed=8)


def test_fewer_rows_than_columns():
    with pytest.warns(UserWarning, match="X has numerical rank 37 within its classes for 90 features that vary"):
        lda = LDA().fit(WIDE, WIDE_Y)
    assert lda.solver_ == "cholesky-qr"
    # Along the directions that the rows see, classes have unit covariance.
    scores = oracle(lda.transform(WIDE), WIDE_Y)
    np.testing.assert_allclose(scores.within, np.eye(2), atol=1e-10)
    np.testing.assert_allclose(np.sort(np.diag(scores.between))[::-1], lda.eigenvalues_, rtol=1e-9)


@pytest.mark.parametrize("solver", ["auto", "direct", "cholesky-qr", "dual", "block-pcg", "lobpcg", "riemannian"])
@pytest.mark.parametrize("make", [np.asarray, torch.asarray, scipy.sparse.csr_array])
def test_fewer_rows_than_columns_with_a_ridge(solver, make):
    y = torch.asarray(WIDE_Y) if make is torch.asarray else WIDE_Y
    lda = LDA(reg=0.05, solver=solver, random_state=0, tol=1e-7).fit(make(WIDE), y)
    expected = oracle(WIDE, WIDE_Y, reg=0.05)
    np.testing.assert_allclose(lda.eigenvalues_, expected.eigenvalues[:2], rtol=1e-8)
    np.testing.assert_allclose(
        np.abs(np.sum(np.asarray(lda.scalings_) * (expected.within @ expected.vectors[:, :2]), axis=0)), 1, atol=1e-6
    )


def test_equal_class_means():
    x = np.vstack([X[Y == 0], X[Y == 0]])
    y = np.repeat([0, 1], np.sum(Y == 0))
    lda = LDA().fit(x, y)
    np.testing.assert_allclose(lda.eigenvalues_, 0.0, atol=1e-20)
    np.testing.assert_allclose(lda.predict_proba(x), 0.5, atol=1e-8)


def test_dependent_class_means():
    """Three classes of which two share their mean: one direction, and both are told by their priors only."""
    x = np.vstack([X[Y == 0], X[Y == 0], X[Y == 1]])
    y = np.repeat([0, 1, 2], [np.sum(Y == 0), np.sum(Y == 0), np.sum(Y == 1)])
    lda = LDA().fit(x, y)
    assert lda.eigenvalues_.shape == (1,)
    assert lda.transform(x).shape == (len(x), 1)
    np.testing.assert_array_equal(lda.get_feature_names_out(), ["lda0"])
    np.testing.assert_allclose(lda.predict_proba(x)[:, 0], lda.predict_proba(x)[:, 1])


def test_empty_rows_of_a_sparse_matrix():
    x = np.where(np.random.default_rng(0).random(X.shape) < 0.7, 0.0, X)
    x[::5] = 0.0
    lda = LDA().fit(scipy.sparse.csr_array(x), Y)
    np.testing.assert_allclose(lda.eigenvalues_, oracle(x, Y).eigenvalues[:2], rtol=1e-9)


def test_a_class_of_no_probability_is_never_predicted():
    lda = LDA(priors=[0.5, 0.5, 0.0]).fit(X, Y)
    assert set(lda.predict(X)) == {0, 1}
    assert not np.any(np.isnan(lda.predict_proba(X)))


def test_priors_are_normalised():
    with pytest.warns(UserWarning, match=r"The priors do not sum to 1. Renormalizing"):
        lda = LDA(priors=[1, 1, 2]).fit(X, Y)
    np.testing.assert_allclose(lda.priors_, [0.25, 0.25, 0.5])


# --- bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_components": 0}, ValueError, r"n_components must be at least 1, got 0"),
        ({"n_components": 3}, ValueError, r"n_components must be at most 2, the smaller of n_classes - 1.*got 3"),
        ({"n_components": 2.0}, TypeError, r"n_components must be an integer, got 2.0"),
        ({"n_components": True}, TypeError, r"n_components must be an integer, got True"),
        ({"priors": [0.5, 0.5]}, ValueError, r"priors must have shape \(3,\), one for each class, got \(2,\)"),
        ({"priors": [0.5, 0.7, -0.2]}, ValueError, r"priors must be non-negative, finite and not all zero"),
        ({"priors": [0.5, 0.5, np.nan]}, ValueError, r"priors must be non-negative, finite and not all zero"),
        ({"priors": [0.0, 0.0, 0.0]}, ValueError, r"priors must be non-negative, finite and not all zero"),
        ({"priors": "equal"}, TypeError, r"priors must be a sequence of numbers, got 'equal'"),
        ({"shrinkage": 1.5}, ValueError, r"shrinkage must be between 0 and 1, 'auto' or None, got 1.5"),
        ({"shrinkage": -0.1}, ValueError, r"shrinkage must be finite and not negative, got -0.1"),
        ({"shrinkage": "oas"}, TypeError, r"shrinkage must be a number, got 'oas'"),
        ({"shrinkage": 0.1, "reg": 0.1}, ValueError, r"reg and shrinkage exclude each other, got reg=0.1, shr.*=0.1"),
        ({"shrinkage": 0.1, "solver": "block-pcg"}, ValueError, r"shrinkage needs solver='direct' or 'auto', got 'blo"),
        ({"reg": -1.0}, ValueError, r"reg must be finite and not negative, got -1.0"),
        ({"reg": np.inf}, ValueError, r"reg must be finite and not negative, got inf"),
        ({"reg": None}, TypeError, r"reg must be a number, got None"),
        ({"solver": "svd"}, ValueError, r"solver must be one of .*'cholesky-qr'.*, got 'svd'"),
        ({"preconditioner": "ilu"}, ValueError, r"preconditioner must be one of .*'sketched'.*, got 'ilu'"),
        ({"solver": "dual"}, ValueError, r"solver='dual' needs a ridge; use reg > 0, or solver='cholesky-qr'"),
        ({"tol": 0.0}, ValueError, r"tol must be positive, got 0"),
        ({"tol": np.nan}, ValueError, r"tol must be finite and not negative, got nan"),
        ({"tol": "small"}, TypeError, r"tol must be a number, got 'small'"),
        ({"max_iter": 0}, ValueError, r"max_iter must be at least 1, got 0"),
        ({"max_iter": 1.5}, TypeError, r"max_iter must be an integer, got 1.5"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(Exception, match=message) as caught:
        LDA(**options).fit(X, Y)
    assert caught.type is error


def with_bad(value, row=3):
    x = X.copy()
    x[row, 1] = value
    return x


T, TY = torch.asarray(X), torch.asarray(Y)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (with_bad(np.nan), Y, ValueError, r"X contains NaN or infinity \(row 3\); clean or impute it first"),
        (with_bad(-np.inf, -1), Y, ValueError, r"X contains NaN or infinity"),
        (torch.asarray(with_bad(np.nan)), TY, ValueError, r"X contains NaN or infinity"),
        (scipy.sparse.csr_array(with_bad(np.nan)), Y, ValueError, r"X contains NaN or infinity"),
        (X, None, ValueError, r"y is missing.*use fit\(X, y\)"),
        (X, Y[:-1], ValueError, r"X and y must have the same number of rows, got 240 and 239"),
        (T, TY[:-1], ValueError, r"X and y must have the same number of rows, got 240 and 239"),
        (X, np.zeros(N), ValueError, r"y must have at least two classes, got 1 class"),
        (X, np.stack([Y, Y], axis=1), ValueError, r"y should be a 1d array, got an array of shape \(240, 2\)"),
        (X, Y + 0.5, ValueError, r"Unknown label type: continuous"),
        (X, np.where(Y == 0, np.nan, Y), ValueError, r"NaN"),
        (
            X[:3],
            np.arange(3),
            ValueError,
            r"The number of samples must be more than the number of classes, got 3 for 3",
        ),
        (X[:, 0], Y, ValueError, r"Expected 2D array, got 1D array"),
        (X[:0], Y[:0], ValueError, r"0 sample"),
        (X + 0j, Y, ValueError, r"Complex data not supported"),
        (np.array([["a"]] * N), Y, ValueError, r"could not convert string|dtype"),
        (X, TY, TypeError, r"y must be of the library of X, got Tensor beside ndarray; convert one of them"),
        (T, Y, TypeError, r"y must be of the library of X, got ndarray beside Tensor; convert one of them"),
        (T, ["a", "b"] * (N // 2), TypeError, r"y must be numbers where X is a torch tensor, got labels such as"),
        (T[:, 0], TY, ValueError, r"X must be a matrix \(samples x features\).*got \(240,\)"),
        (T.int(), TY, TypeError, r"X must have a real floating dtype, got torch.int32"),
        (np.ones((N, 2)), Y, ValueError, r"X does not vary within its classes, so their covariance is zero; use reg"),
    ],
)
def test_bad_data(x, y, error, message):
    with pytest.raises(Exception, match=message) as caught:
        LDA().fit(x, y)
    assert caught.type is error


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(N - 1), r"sample_weight must have shape \(240,\), one for each row, got \(239,\)"),
        (-np.ones(N), r"sample_weight must be finite and not negative"),
        (np.full(N, np.nan), r"sample_weight must be finite and not negative"),
        (np.zeros(N), r"sample_weight must not be all zero"),
        ((Y > 0).astype(float), r"sample_weight must not be zero for all rows of a class; leave the class out"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        LDA().fit(X, Y, sample_weight=weights)


FITTED, TORCH = LDA().fit(X, Y), LDA().fit(T, TY)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function", "transform"])
@pytest.mark.parametrize(
    ("lda", "x", "error", "message"),
    [
        (FITTED, X[:, :5], ValueError, r"X has 5 features, but LDA is expecting 6 features"),
        (FITTED, with_bad(np.nan), ValueError, r"Input X contains NaN"),
        (FITTED, T, TypeError, r"X and the data of fit must agree in library, dtype and device"),
        (TORCH, X, TypeError, r"X and the data of fit must agree in library, dtype and device"),
        (TORCH, T.float(), TypeError, r"X and the data of fit must agree in library, dtype and device"),
        (TORCH, T[:, :5], ValueError, r"X must be a matrix of 6 features, as in fit, got shape \(240, 5\)"),
        (TORCH, T * torch.inf, ValueError, r"X contains NaN or infinity"),
    ],
)
def test_bad_new_rows(method, lda, x, error, message):
    with pytest.raises(Exception, match=message) as caught:
        getattr(lda, method)(x)
    assert caught.type is error


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, (X, Y), r"classes must be given in the first call of partial_fit: all labels that may come"),
        ({}, (X, Y, [0, 1]), r"y has labels that are not among the classes, such as (np.int64\()?2"),
        ({}, (X, Y, [0]), r"y has labels that are not among the classes"),
        ({}, (X[Y == 0], Y[Y == 0], [0]), r"y must have at least two classes, got 1 class"),
    ],
)
def test_bad_parts(options, arguments, message):
    with pytest.raises(ValueError, match=message):
        LDA(**options).partial_fit(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "block-pcg"}, r"solver must be 'auto' or 'direct' for partial_fit, got 'block-pcg'"),
        ({"shrinkage": "auto"}, r"shrinkage must be a number, and priors left out beside it, for partial_fit"),
        ({"shrinkage": 0.5, "priors": [0.2, 0.3, 0.5]}, r"shrinkage must be a number, and priors left out beside it"),
    ],
)
def test_parameters_that_need_all_rows(options, message):
    assert not hasattr(LDA(**options), "partial_fit")
    with pytest.raises(AttributeError, match="This 'LDA' has no attribute 'partial_fit'") as caught:
        LDA(**options).partial_fit(X, Y, range(3))
    assert re.search(message, str(caught.value.__cause__))


def test_parts_of_another_width():
    stream = LDA().partial_fit(X, Y, classes=range(L))
    with pytest.raises(ValueError, match="X has 5 features, but LDA is expecting 6 features"):
        stream.partial_fit(X[:, :5], Y)
    with pytest.raises(ValueError, match="X has 5 features, but LDA is expecting 6 features"):
        LDA().partial_fit(T, TY, classes=range(L)).partial_fit(T[:, :5], TY)
