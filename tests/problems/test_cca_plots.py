"""Pictures of CCA, drawn without a screen."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import scipy.sparse
import torch

mpl.use("Agg")

from matplotlib import pyplot as plt
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold

from problems import CCA, correlation_circle, cross_validated_correlations, scree_plot
from problems.cca_plots import column_correlations
from tests.problems.views import correlated_views, correlations_of

X, Y = correlated_views(200, 6, 5)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("container", [np.asarray, torch.asarray, scipy.sparse.csr_array], ids=lambda c: c.__name__)
def test_cross_validated_correlations_are_those_of_each_fold(container):
    found = cross_validated_correlations(CCA(2), container(X), container(Y), cv=KFold(4))
    assert found.train.shape == found.test.shape == (4, 2)
    for k, (seen, unseen) in enumerate(KFold(4).split(X)):
        np.testing.assert_allclose(found.train[k], correlations_of(X[seen], Y[seen])[:2], atol=1e-10)
        scores = CCA(2).fit(X[seen], Y[seen]).transform(X[unseen], Y[unseen])
        expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(scores[0].T, scores[1].T, strict=True)]
        np.testing.assert_allclose(found.test[k], expected, atol=1e-10)


def test_scree_plot():
    cca = CCA(3).fit(X, Y)
    ax = scree_plot(cca)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), cca.correlations_)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_legend()) == ("component", "canonical correlation", None)
    found = cross_validated_correlations(cca, X, Y)
    again = scree_plot(cca, found, ax=plt.subplots()[1])
    assert [text.get_text() for text in again.get_legend().get_texts()] == ["training rows", "held-out rows"]
    np.testing.assert_allclose(again.containers[0][0].get_ydata(), found.test.mean(axis=0))


@pytest.mark.parametrize("container", [np.asarray, torch.asarray, scipy.sparse.csr_array], ids=lambda c: c.__name__)
def test_column_correlations(container):
    x = X.copy()
    x[:, 3] = 2.0
    scores = CCA(2).fit(X, Y).transform(X)
    found = column_correlations(container(x), torch.asarray(scores) if container is torch.asarray else scores)
    expected = np.corrcoef(np.delete(x, 3, axis=1).T, scores.T)[:5, 5:]
    np.testing.assert_allclose(np.delete(found, 3, axis=0), expected, atol=1e-10)
    np.testing.assert_array_equal(found[3], 0.0)


def test_correlation_circle():
    cca = CCA(3).fit(X, Y)
    ax = correlation_circle(cca, X, Y, components=(2, 0), largest=2, names=(list("abcdef"), list("vwxyz")))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("component 3", "component 1")
    corner = column_correlations(X, cca.transform(X)[:, [2, 0]])
    farthest = "abcdef"[int(np.argmax(np.linalg.norm(corner, axis=1)))]
    texts = [text.get_text() for text in ax.texts]
    assert texts[0] == farthest
    assert len(texts) == 4
    assert correlation_circle(cca, X, Y, ax=ax) is ax


def test_data_frames():
    pd = pytest.importorskip("pandas")
    x, y = (
        pd.DataFrame(view, columns=[f"{name}{j}" for j in range(view.shape[1])]) for name, view in (("x", X), ("y", Y))
    )
    ax = correlation_circle(CCA(2).fit(x, y), x, y)
    expected = correlation_circle(CCA(2).fit(X, Y), X, Y)
    positions = [[text.get_position() for text in axes.texts] for axes in (ax, expected)]
    np.testing.assert_allclose(*positions, rtol=1e-10)
    found = cross_validated_correlations(CCA(2), x, y)
    np.testing.assert_allclose(found.test, cross_validated_correlations(CCA(2), X, Y).test, rtol=1e-10)


CV = cross_validated_correlations


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda cca: scree_plot(CCA(2)), NotFittedError, "This CCA instance is not fitted yet"),
        (lambda cca: scree_plot(cca.correlations_), TypeError, "is not an estimator instance"),
        (
            lambda cca: scree_plot(cca, cca.correlations_),
            TypeError,
            r"cross_validated must be a CrossValidatedCorrelations such as cross_validated_correlations\(cca, X, y\)",
        ),
        (lambda cca: correlation_circle(CCA(2), X, Y), NotFittedError, "This CCA instance is not fitted yet"),
        (lambda cca: correlation_circle(None, X, Y), TypeError, "is not an estimator instance"),
        (lambda cca: correlation_circle(cca, X.tolist(), Y), TypeError, "X must be an array, .* got list"),
        (lambda cca: correlation_circle(cca, X, None), TypeError, "y must be an array, .* got NoneType"),
        (lambda cca: correlation_circle(cca, X, Y[1:]), ValueError, "must have the same number of rows, got 200 and 1"),
        (lambda cca: correlation_circle(cca, X[:, 1:], Y), ValueError, "X has 5 features, but CCA .* 6 features"),
        (lambda cca: correlation_circle(cca, X, Y, largest=0), ValueError, "largest must be at least 1, got 0"),
        (lambda cca: correlation_circle(cca, X, Y, largest=2.5), TypeError, "largest must be an integer, got 2.5"),
        (
            lambda cca: correlation_circle(cca, X, Y, components=(0, 1.0)),
            ValueError,
            r"components must be two numbers from 0 to 2, got \(0, 1.0\)",
        ),
        (
            lambda cca: correlation_circle(cca, X, Y, names=(list("abcdef"),)),
            ValueError,
            "names must be a pair, of the columns of X and of y, got 1 of them",
        ),
        (lambda cca: CV(cca, X.tolist(), Y), TypeError, "X must be an array, a scipy sparse .*, got list"),
        (lambda cca: CV(cca, X, Y[:-1]), ValueError, "X and y must have the same number of rows, got 200 and 199"),
        (lambda cca: CV("cca", X, Y), TypeError, "does not implement a 'get_params' method"),
        (lambda cca: CV(cca, X, Y, cv=1), ValueError, "k-fold cross-validation requires at least one train/test split"),
        (lambda cca: CV(cca, X, Y, cv="five"), ValueError, "Expected `cv` as an integer, a cross-validation object"),
        (
            lambda cca: correlation_circle(cca, X, Y, components=(0, 3)),
            ValueError,
            r"components must be two numbers from 0 to 2",
        ),
        (
            lambda cca: correlation_circle(cca, X, Y, components=(-1, 0)),
            ValueError,
            r"components must be two numbers from 0 to 2",
        ),
        (
            lambda cca: correlation_circle(cca, X, Y, components=(0,)),
            ValueError,
            r"components must be two numbers from 0 to 2",
        ),
        (
            lambda cca: correlation_circle(cca, X, Y, names=(["a"], list("vwxyz"))),
            ValueError,
            "names must have one name for each of the 6 columns of X",
        ),
        (
            lambda cca: CV(cca, np.c_[X[:, :2], X[:, :2]], Y),
            ValueError,
            "cv leaves a fold with 2 components of 3; use fewer components",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:X has numerical rank")
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(CCA(3).fit(X, Y))
    assert caught.type is error
    assert plt.get_fignums() == []
