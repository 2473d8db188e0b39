"""Bad input of dense covariances, of products with them, and of what is built on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from manifolds import FixedRankTwoFactors
from problems import (
    CCA,
    CompletionProblem,
    CovarianceMatrices,
    Covariances,
    DirectMultiviewCCA,
    MultiviewCCA,
    MultiviewCovariances,
    ObservedEntries,
    PairedViews,
    RiemannianCCA,
    RiemannianMultiviewCCA,
    ViewCovariance,
    solve_dense,
)
from rankopt import LBFGS

XX, XY, YY = np.eye(3), np.ones((3, 2)) / 4, np.eye(2)
GOOD = Covariances(XX, XY, YY)


@pytest.mark.parametrize("call", [lambda c: solve_dense(c, 1), CovarianceMatrices], ids=["solve_dense", "matrices"])
@pytest.mark.parametrize(
    ("covariances", "error", "message"),
    [
        (XX, TypeError, r"covariances must be Covariances\(xx, xy, yy\), got ndarray"),
        ((XX, XY), TypeError, r"covariances must be Covariances\(xx, xy, yy\), got tuple"),
        (GOOD._replace(xx=XX.tolist()), TypeError, r"covariances.xx must be a numpy array or a torch tensor.*list"),
        (GOOD._replace(yy=None), TypeError, r"covariances.yy must be a numpy array or a torch tensor .*NoneType"),
        (GOOD._replace(xy=XY.astype("f4")), TypeError, r"covariances.xy and covariances.xx must agree in library"),
        (GOOD._replace(yy=torch.eye(2)), TypeError, r"covariances.yy and covariances.xx must agree in library"),
        ((np.eye(3, dtype=int),) * 3, TypeError, r"covariances.xx must have a real floating dtype, got int64"),
        (GOOD._replace(xy=XY[:, 0]), ValueError, r"covariances.xy must be a matrix, got shape \(3,\)"),
        (GOOD._replace(xx=XX[:2]), ValueError, r"covariances.xx must have shape \(3, 3\) beside an xy of .*\(2, 3\)"),
        (GOOD._replace(xy=XY.T), ValueError, r"covariances.xx must have shape \(2, 2\) beside an xy of shape \(2, 3\)"),
        (GOOD._replace(yy=np.eye(3)), ValueError, r"covariances.yy must have shape \(2, 2\) .*, got \(3, 3\)"),
        (GOOD._replace(yy=np.ones((2, 3))), ValueError, r"covariances.yy must have shape \(2, 2\) .*, got \(2, 3\)"),
        (GOOD._replace(xy=XY * np.nan), ValueError, r"covariances.xy contains NaN or infinity"),
        (GOOD._replace(yy=np.full((2, 2), np.inf)), ValueError, r"covariances.yy contains NaN or infinity"),
    ],
)
def test_covariances(call, covariances, error, message):
    with pytest.raises(error, match=message) as caught:
        call(covariances)
    assert caught.type is error


X = np.random.default_rng(0).standard_normal((40, 5))
VIEWS = PairedViews(X[:, :3], X[:, 3:])
STACKED = np.cov(X.T, bias=True)
SEVERAL = [X[:, :2], X[:, 2:4], np.tile([1.0, 2.0], (40, 1))]
ENTRIES = ObservedEntries.of(csr_array(np.eye(4)), "X")

CALLS = {
    "no components": (lambda: solve_dense(GOOD, 0), ValueError, "n_components must be at least 1, got 0"),
    "components of a half": (lambda: solve_dense(GOOD, 1.5), TypeError, "n_components must be an integer, got 1.5"),
    "no variance": (
        lambda: solve_dense(GOOD._replace(yy=0 * YY), 1),
        ValueError,
        "y has no variance, so it has no canonical correlations",
    ),
    "directions of the other view": (
        lambda: VIEWS.products(np.eye(2), np.eye(2)),
        ValueError,
        r"a must have shape \(3, p\), a row per feature, got \(2, 2\)",
    ),
    "direction as a vector": (
        lambda: VIEWS.products(np.eye(3), np.ones(2)),
        ValueError,
        r"b must have shape \(2, p\), a row per feature, got \(2,\)",
    ),
    "not as many directions": (
        lambda: VIEWS.products(np.eye(3), np.eye(2)),
        ValueError,
        "a and b must have as many columns, got 3 and 2",
    ),
    "directions of other matrices": (
        lambda: CovarianceMatrices(GOOD).products(np.eye(2), np.eye(2)),
        ValueError,
        r"a must have shape \(3, p\)",
    ),
    "third of two views": (lambda: ViewCovariance(VIEWS, 2), ValueError, "view must be one of 0 to 1, got 2"),
    "view from the end": (lambda: ViewCovariance(VIEWS, -1), ValueError, "view must be at least 0, got -1"),
    "view by its name": (lambda: ViewCovariance(VIEWS, "X"), TypeError, "view must be an integer, got 'X'"),
    "view of an array": (
        lambda: ViewCovariance(X, 0),
        TypeError,
        "data must be views or covariances, such as PairedViews, got ndarray",
    ),
    "matrix as a list": (
        lambda: MultiviewCovariances(STACKED.tolist(), [3, 2]),
        TypeError,
        "matrix must be a numpy array or a torch tensor, got list",
    ),
    "matrix of integers": (
        lambda: MultiviewCovariances(np.eye(5, dtype=int), [3, 2]),
        TypeError,
        "matrix must have a real floating dtype, got int64",
    ),
    "features that are more": (
        lambda: MultiviewCovariances(STACKED, [3, 3]),
        ValueError,
        r"matrix must be square with a row for each of the 6 features of all views, got shape \(5, 5\)",
    ),
    "matrix that is not square": (
        lambda: MultiviewCovariances(STACKED[:, :4], [3, 2]),
        ValueError,
        r"matrix must be square .* the 5 features of all views, got shape \(5, 4\)",
    ),
    "view without features": (
        lambda: MultiviewCovariances(STACKED, [5, 0]),
        ValueError,
        r"n_features\[1\] must be at least 1, got 0",
    ),
    "features of a half": (
        lambda: MultiviewCovariances(STACKED, [2.5, 2.5]),
        TypeError,
        r"n_features\[0\] must be an integer, got 2.5",
    ),
    "view without variance": (
        lambda: MultiviewCCA(1, solver=DirectMultiviewCCA()).fit(SEVERAL),
        ValueError,
        r"views\[2\] has no variance, so it has no canonical correlations",
    ),
    "solver as a class": (
        lambda: MultiviewCCA(1, solver=DirectMultiviewCCA).fit(SEVERAL[:2]),
        ValueError,
        "solver must be one of .* or a MultiviewSolver, got <class",
    ),
    "solver with an option": (
        lambda: DirectMultiviewCCA(8),
        TypeError,
        r"__init__\(\) takes 1 positional argument but 2 were given",
    ),
    "method that is not known": (
        lambda: CCA(1, solver=RiemannianCCA("newton")).fit(X[:, :2], X[:, 2:]),
        ValueError,
        r"method must be one of .*'trust-region'.*, got 'newton'",
    ),
    "method as a class": (
        lambda: CCA(1, solver=RiemannianCCA(LBFGS)).fit(X[:, :2], X[:, 2:]),
        TypeError,
        "method must be a name or a method such as .*, got ABCMeta",
    ),
    "method of several views": (
        lambda: MultiviewCCA(1, solver=RiemannianMultiviewCCA(3)).fit(SEVERAL[:2]),
        TypeError,
        "method must be a name or a method.*int",
    ),
    "entries as a matrix": (
        lambda: CompletionProblem(csr_array(np.eye(4)), 1),
        TypeError,
        r'entries must be an ObservedEntries such as ObservedEntries.of\(matrix, "X"\), got',
    ),
    "rank above the shape": (lambda: CompletionProblem(ENTRIES, 5), ValueError, "must hold, got m=4, n=4, r=5"),
    "rank of a half": (lambda: CompletionProblem(ENTRIES, 1.5), TypeError, "r must be an integer, got 1.5"),
    "manifold by name": (
        lambda: CompletionProblem(ENTRIES, 1, manifold="two factors"),
        TypeError,
        r"manifold must be FixedRank\(4, 4, 1\) or FixedRankTwoFactors\(4, 4, 1\), got str",
    ),
    "manifold of another rank": (
        lambda: CompletionProblem(ENTRIES, 1, manifold=FixedRankTwoFactors(4, 4, 2)),
        ValueError,
        r"manifold must be FixedRank\(4, 4, 1\) or FixedRankTwoFactors\(4, 4, 1\), got FixedRankTwoFactors\(4, 4, 2\)",
    ),
    "negative ridge": (
        lambda: CompletionProblem(ENTRIES, 1, reg=-1.0),
        ValueError,
        "reg must be a non-negative number, got -1.0",
    ),
    "ridge as text": (lambda: CompletionProblem(ENTRIES, 1, reg="1"), ValueError, "reg must be .* number, got '1'"),
    "entries of a dense matrix": (
        lambda: ObservedEntries.of(np.eye(4), "ratings"),
        TypeError,
        r"ratings must be a scipy sparse matrix, .* or a tuple \(rows, columns, values\); got ndarray",
    ),
    "entry twice": (
        lambda: ObservedEntries.of((np.array([1, 1]), np.array([0, 0]), np.array([1.0, 2.0])), "ratings"),
        ValueError,
        r"ratings has the entry \(1, 0\) twice; merge the observations first",
    ),
    "entries outside": (
        lambda: ObservedEntries.of(csr_array(np.eye(4)), "ratings", (3, 3)),
        ValueError,
        r"ratings has shape \(4, 4\), but \(3, 3\) is needed",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_input(case):
    call, error, message = CALLS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error
