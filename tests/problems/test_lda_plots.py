"""Pictures of discriminant analysis, drawn without a screen."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from problems import LDA, discriminant_scatter, discriminant_scree
from tests.problems.classes import labelled_rows

X, Y = labelled_rows(300, 6, 4, seed=2)
LDA_ = LDA().fit(X, Y)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("components", [(0, 1), (2, 0)])
def test_scatter(components):
    ax = discriminant_scatter(LDA_, X, Y, components=components)
    rows, means = ax.get_lines()[::2], ax.get_lines()[1::2]
    scores = LDA_.transform(X)[:, components]
    for k in range(4):
        np.testing.assert_allclose(np.transpose(rows[k].get_data()), scores[k == Y])
        np.testing.assert_allclose(np.transpose(means[k].get_data())[0], scores[k == Y].mean(axis=0))
    shares = LDA_.explained_variance_ratio_
    assert f"{100 * shares[components[0]]:.0f} %" in ax.get_xlabel()
    assert ax.get_ylabel().startswith(f"lda{components[1]} ")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1", "2", "3"]


def test_scatter_of_some_rows_of_torch_on_given_axes():
    axes = Figure().subplots()
    lda = LDA().fit(torch.asarray(X), torch.asarray(Y))
    assert discriminant_scatter(lda, torch.asarray(X), torch.asarray(Y), most_rows=50, ax=axes) is axes
    drawn = sum(len(line.get_xdata()) for line in axes.get_lines()[::2])
    assert 40 <= drawn <= 50


def test_two_classes_are_histograms():
    y = np.where(Y == 0, "low", "high")
    ax = discriminant_scatter(LDA().fit(X, y), X, y)
    heights = sum(patch.get_height() for container in ax.containers for patch in container)
    assert heights == len(X)
    assert ax.get_ylabel() == "rows"


@pytest.mark.parametrize(("n_classes", "annotations"), [(12, 0), (14, 14), (30, 30)])
def test_many_classes_are_named_at_their_means(n_classes, annotations):
    x, y = labelled_rows(300, 6, n_classes, seed=3)
    ax = discriminant_scatter(LDA().fit(x, y), x, y)
    assert len(ax.texts) == annotations
    assert (ax.get_legend() is None) == (annotations > 0)


def test_scree():
    ax = discriminant_scree(LDA_)
    np.testing.assert_allclose([patch.get_height() for patch in ax.patches], LDA_.eigenvalues_)
    (right,) = (other for other in ax.figure.axes if other is not ax)
    np.testing.assert_allclose(right.get_lines()[0].get_ydata(), 100 * np.cumsum(LDA_.explained_variance_ratio_))
    given = Figure().subplots()
    assert discriminant_scree(LDA_, ax=given) is given


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"components": (0, 3)}, ValueError, r"components must be two of 0 to 2, got \(0, 3\)"),
        ({"components": (1, 1)}, ValueError, r"components must be two of 0 to 2, got \(1, 1\)"),
        ({"components": (0, -1)}, ValueError, r"components must be two of 0 to 2, got \(0, -1\)"),
        ({"y": Y[:-1]}, ValueError, r"y must have one label for each of the 300 rows of X, got shape \(299,\)"),
        ({"most_rows": 0}, ValueError, r"most_rows must be at least 1, got 0"),
        ({"most_rows": 1.5}, TypeError, r"most_rows must be an integer, got 1.5"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        discriminant_scatter(**{"lda": LDA_, "X": X, "y": Y} | arguments)
