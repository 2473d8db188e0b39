"""The CCA estimator as a citizen of scikit-learn: parameters, names, copies, pickles and errors."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from problems import CCA
from tests.problems.views import correlated_views

N, DX, DY, P = 200, 6, 5, 2
X, Y = correlated_views(N, DX, DY, seed=6)


def test_parameters():
    cca = CCA(3, reg=0.5, solver="direct", tol=1e-4)
    assert cca.get_params() == {
        "n_components": 3,
        "scale": False,
        "reg": 0.5,
        "solver": "direct",
        "preconditioner": "auto",
        "tol": 1e-4,
        "max_iter": 1000,
        "random_state": None,
    }
    assert CCA().set_params(n_components=1, scale=True).n_components == 1


def test_fit_returns_itself_and_keeps_its_parameters():
    cca = CCA(P, reg=(0.1, 0.2), solver="riemannian", random_state=0)
    before = cca.get_params()
    assert cca.fit(X, Y) is cca
    assert cca.get_params() == before


def test_clone_is_not_fitted():
    cca = CCA(P, reg=0.1, random_state=4).fit(X, Y)
    copy = clone(cca)
    assert copy.get_params() == cca.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(X)
    np.testing.assert_array_equal(copy.fit(X, Y).x_weights_, cca.x_weights_)


@pytest.mark.parametrize("solver", ["direct", "riemannian"])
def test_pickle(solver):
    cca = CCA(P, solver=solver, random_state=0).fit(X, Y)
    copy = pickle.loads(pickle.dumps(cca))
    np.testing.assert_array_equal(copy.transform(X), cca.transform(X))
    assert copy.status_ is cca.status_


def test_a_second_fit_forgets_the_first():
    cca = CCA(P, solver="riemannian", random_state=0).fit(X, Y)
    cca.set_params(solver="direct").fit(X[:, :4], Y)
    assert (cca.solver_, cca.status_, cca.sketch_size_, cca.n_features_in_) == ("direct", None, None, 4)
    assert cca.transform(X[:, :4]).shape == (N, P)


def test_names_of_the_scores():
    cca = CCA(P).fit(X, Y)
    np.testing.assert_array_equal(cca.get_feature_names_out(), ["cca0", "cca1"])


def test_pipeline():
    pipeline = make_pipeline(StandardScaler(), CCA(P))
    scores = pipeline.fit(X, Y).transform(X)
    direct = CCA(P).fit(X, Y).transform(X)
    np.testing.assert_allclose(np.abs(np.sum(scores * direct, axis=0) / N), 1.0, atol=1e-10)
    np.testing.assert_array_equal(pipeline.get_feature_names_out(), ["cca0", "cca1"])


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"f{i}" for i in range(DX)])
    cca = CCA(P).set_output(transform="pandas").fit(frame, pandas.DataFrame(Y))
    np.testing.assert_array_equal(cca.feature_names_in_, frame.columns)
    scores = cca.transform(frame)
    assert list(scores.columns) == ["cca0", "cca1"]
    np.testing.assert_allclose(scores.to_numpy(), CCA(P).fit(X, Y).transform(X), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_components": 0}, ValueError, r"n_components must be between 1 and 5 for these views, got 0"),
        ({"n_components": 6}, ValueError, r"n_components must be between 1 and 5 for these views, got 6"),
        ({"n_components": 2.0}, TypeError, r"n_components must be an integer, got 2.0"),
        ({"n_components": True}, TypeError, r"n_components must be an integer, got True"),
        ({"n_components": None}, TypeError, r"n_components must be an integer, got None"),
        ({"solver": "svd"}, ValueError, r"solver must be one of .*'riemannian'.*, got 'svd'"),
        ({"solver": None}, ValueError, r"solver must be one of .*, got None"),
        ({"preconditioner": "jacobi"}, ValueError, r"preconditioner must be one of .*'sketched'.*, got 'jacobi'"),
        ({"tol": 0.0}, ValueError, r"tol must be positive, got 0"),
        ({"tol": -1e-6}, ValueError, r"tol must be at least 0, got -1e-06"),
        ({"tol": np.nan}, ValueError, r"tol must be at least 0, got nan"),
        ({"tol": "small"}, TypeError, r"tol must be a number, got 'small'"),
        ({"max_iter": 0}, ValueError, r"max_iter must be at least 1, got 0"),
        ({"max_iter": 1.5}, TypeError, r"max_iter must be an integer, got 1.5"),
        ({"reg": -1.0}, ValueError, r"reg must be a non-negative number or a pair of them, got -1.0"),
        ({"reg": (1.0,)}, ValueError, r"reg must be .*got \(1.0,\)"),
        ({"reg": None}, ValueError, r"reg must be .*got None"),
    ],
)
@pytest.mark.parametrize("solver", ["direct", "riemannian"])
def test_bad_parameters(solver, options, error, message):
    with pytest.raises(error, match=message) as caught:
        CCA(**({"solver": solver} | options)).fit(X, Y)
    assert caught.type is error


def with_bad(view, value):
    view = view.copy()
    view[3, 1] = value
    return view


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (with_bad(X, np.nan), Y, ValueError, r"X contains NaN or infinity"),
        (X, with_bad(Y, np.inf), ValueError, r"y contains NaN or infinity"),
        (X, Y[:-1], ValueError, r"X and y must have the same number of rows, got 200 and 199"),
        (X, None, ValueError, r"y is missing.*needs two views"),
        (X[:, 0], Y, ValueError, r"Expected 2D array, got 1D array"),
        (X[:0], Y[:0], ValueError, r"0 sample"),
        (X, Y[None], ValueError, r"y must be a matrix|Found array with dim 3"),
        (X + 0j, Y, ValueError, r"Complex data not supported"),
        (X, np.array([["a"]] * N), ValueError, r"could not convert string|dtype"),
        (X, torch.asarray(Y), TypeError, r"y and X must agree in library, dtype and device"),
        (torch.asarray(X), Y, TypeError, r"y and X must agree in library, dtype and device"),
        (torch.asarray(X), torch.asarray(Y).float(), TypeError, r"y and X must agree in library, dtype and device"),
        (torch.asarray(X)[:, 0], torch.asarray(Y), ValueError, r"X must be a matrix.*got shape \(200,\)"),
        (torch.asarray(X), torch.tensor(1.0).double(), ValueError, r"y must be a matrix.*got shape \(\)"),
        (torch.asarray(X).int(), torch.asarray(Y), TypeError, r"X must have a real floating dtype, got torch.int32"),
        (torch.asarray(with_bad(X, np.nan)), torch.asarray(Y), ValueError, r"X contains NaN or infinity"),
    ],
)
@pytest.mark.parametrize("solver", ["direct", "riemannian"])
def test_bad_data(solver, x, y, error, message):
    with pytest.raises(error, match=message) as caught:
        CCA(P, solver=solver).fit(x, y)
    assert caught.type is error


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X[:, :5], None, ValueError, r"X has 5 features, but CCA is expecting 6 features"),
        (X, Y[:, :4], ValueError, r"y has 4 features, but CCA was fitted with 5"),
        (X, Y[:, 0], ValueError, r"y has 1 features, but CCA was fitted with 5"),
        (with_bad(X, np.nan), None, ValueError, r"X contains NaN or infinity"),
        (X, with_bad(Y, np.nan), ValueError, r"y contains NaN or infinity"),
        (torch.asarray(X), None, TypeError, r"X and the data of fit must agree in library, dtype and device"),
        (X, torch.asarray(Y), TypeError, r"y and the data of fit must agree in library, dtype and device"),
        (X[0], None, ValueError, r"Expected 2D array"),
    ],
)
def test_bad_data_of_transform(x, y, error, message):
    cca = CCA(P).fit(X, Y)
    with pytest.raises(error, match=message) as caught:
        cca.transform(x, y)
    assert caught.type is error


def test_torch_data_of_transform():
    cca = CCA(P).fit(torch.asarray(X), torch.asarray(Y))
    with pytest.raises(ValueError, match=r"X has 5 features, but CCA was fitted with 6"):
        cca.transform(torch.asarray(X)[:, :5])
    with pytest.raises(ValueError, match=r"X must be a matrix.*got shape \(6,\)"):
        cca.transform(torch.asarray(X)[0])
    with pytest.raises(TypeError, match=r"X and the data of fit must agree in library, dtype and device"):
        cca.transform(X)


def test_transform_before_fit():
    for call in (lambda: CCA().transform(X), lambda: CCA().get_feature_names_out()):
        with pytest.raises(NotFittedError):
            call()


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_a_numpy_target_takes_the_dtype_of_the_data(dtypes):
    x, y = X.astype(dtypes[0]), Y.astype(dtypes[1])
    cca = CCA(P).fit(x, y)
    np.testing.assert_array_equal(cca.y_weights_, CCA(P).fit(x, y.astype(dtypes[0])).y_weights_)
    assert {part.dtype for part in cca.transform(x, y)} == {np.dtype(dtypes[0])}


def test_numpy_data_of_another_precision_are_transformed_in_that_of_fit():
    double, single = CCA(P).fit(X, Y), CCA(P).fit(X.astype(np.float32), Y.astype(np.float32))
    assert (double.transform(X.astype(np.float32)).dtype, single.predict(X).dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(double.transform(X.astype(np.float32)), double.transform(X), atol=1e-5)


# Chosen by the class's name, it expects a number of iterations for each component, as scikit-learn's deflation has;
# here all components are found together.
@parametrize_with_checks(
    [CCA(1, random_state=0)],
    expected_failed_checks=lambda estimator: {"check_transformer_n_iter": "all components are found together"},
)
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        # Checks fit random numbers with fewer rows than columns, which are truncated to their rank with a warning.
        warnings.simplefilter("ignore", UserWarning)
        check(estimator)


def test_components_are_found_together():
    assert CCA(P).fit(X, Y).n_iter_ == 1
