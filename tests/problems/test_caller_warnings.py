"""Warnings name the line of the user: here, this file, whichever method is called and however deep they arise."""

from __future__ import annotations

import _thread
import inspect
import threading
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from problems import CCA, LDA, Covariances, MatrixCompletion, MultiviewCCA, solve_dense
from problems.caller_warnings import warn_caller
from tests.problems.classes import labelled_rows
from tests.problems.views import correlated_views

X, Y = correlated_views(200, 20, 15)
LOW_RANK = np.column_stack([X, X[:, 0] + X[:, 1]])
ROWS, LABELS = labelled_rows(200, 20, 3)
REPEATED = np.column_stack([ROWS, ROWS[:, 0] + ROWS[:, 1]])
SEPARATED = np.column_stack([ROWS, LABELS])
FEW = labelled_rows(12, 30, 3)
FEW_SEPARATED = np.column_stack([FEW.x, FEW.y])
ONE_STEP = {"preconditioner": "identity", "max_iter": 1, "random_state": 0}


def only_warning_of(call):
    """What a call warns of; the line that is named is that of the call, in this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = {(warning.filename, warning.lineno) for warning in caught}
    assert found == {(__file__, inspect.getsourcelines(call)[1])}
    return caught[0]


TRUNCATED, RANK, SEPARATE = "is truncated to it; reg > 0 keeps all", "within its classes for", "constant within every"
PRIORS, STOPPED = "The priors do not sum to 1", "stopped"

CALLS = [
    (TRUNCATED, lambda: CCA(2, solver="direct").fit(LOW_RANK, Y)),
    (TRUNCATED, lambda: CCA(2, solver="direct").fit_transform(LOW_RANK, Y)),
    (TRUNCATED, lambda: CCA(2, solver="direct").partial_fit(LOW_RANK, Y)),
    (TRUNCATED, lambda: CCA(2).fit(LOW_RANK, Y)),
    (TRUNCATED, lambda: CCA(2, solver="cholesky-qr", random_state=0).fit(LOW_RANK, Y)),
    (TRUNCATED, lambda: CCA(2, solver="cholesky-qr", random_state=0).fit_transform(LOW_RANK, Y)),
    (TRUNCATED, lambda: CCA(2, solver="block-pcg", preconditioner="exact", random_state=0).fit(X, LOW_RANK[:, [0, 0]])),
    (TRUNCATED, lambda: CCA(2).fit(torch.asarray(LOW_RANK), torch.asarray(Y))),
    (TRUNCATED, lambda: MultiviewCCA(2, solver="direct").fit([LOW_RANK, Y])),
    (TRUNCATED, lambda: MultiviewCCA(2, solver="direct").fit_transform([LOW_RANK, Y])),
    (TRUNCATED, lambda: solve_dense(Covariances(np.diag([1.0, 0.0]), np.diag([0.5, 0.0]), np.eye(2)), 1)),
    (STOPPED, lambda: CCA(2, solver="lobpcg", **ONE_STEP).fit(X, Y)),
    (
        STOPPED,
        lambda: CCA(2, solver="lobpcg", **ONE_STEP).fit_transform(X, Y),
    ),
    (STOPPED, lambda: CCA(2, solver="riemannian", **ONE_STEP).fit(X, Y)),
    (STOPPED, lambda: CCA(2, solver="riemannian", **ONE_STEP).fit_transform(X, Y)),
    (STOPPED, lambda: CCA(2, solver="block-pcg", **ONE_STEP).fit(X, Y)),
    (
        STOPPED,
        lambda: MultiviewCCA(2, solver="lobpcg", **ONE_STEP).fit([X, Y]),
    ),
    (STOPPED, lambda: MultiviewCCA(2, solver="riemannian", **ONE_STEP).fit_transform([X, Y])),
    (STOPPED, lambda: LDA(solver="lobpcg", **ONE_STEP).fit(ROWS, LABELS)),
    (
        STOPPED,
        lambda: LDA(solver="lobpcg", **ONE_STEP).fit_transform(ROWS, LABELS),
    ),
    (STOPPED, lambda: MatrixCompletion(2, max_iter=1).fit((*np.nonzero(X), X[np.nonzero(X)]))),
    (RANK, lambda: LDA(solver="direct").fit(REPEATED, LABELS)),
    (RANK, lambda: LDA(solver="direct").fit_transform(REPEATED, LABELS)),
    (RANK, lambda: LDA(solver="direct").partial_fit(REPEATED, LABELS, classes=[0, 1, 2])),
    (RANK, lambda: LDA(solver="cholesky-qr", random_state=0).fit(REPEATED, LABELS)),
    (RANK, lambda: LDA(solver="cholesky-qr", random_state=0).fit_transform(*FEW)),
    (SEPARATE, lambda: LDA(solver="direct").fit(SEPARATED, LABELS)),
    (SEPARATE, lambda: LDA(solver="direct").fit_transform(SEPARATED, LABELS)),
    (SEPARATE, lambda: LDA(solver="direct").partial_fit(SEPARATED, LABELS, classes=[0, 1, 2])),
    (SEPARATE, lambda: LDA(solver="cholesky-qr", random_state=0).fit(SEPARATED, LABELS)),
    (SEPARATE, lambda: LDA(solver="cholesky-qr", random_state=0).fit_transform(FEW_SEPARATED, FEW.y)),
    (PRIORS, lambda: LDA(priors=[1.0, 1.0, 1.0]).fit(ROWS, LABELS)),
    (PRIORS, lambda: LDA(priors=[1.0, 1.0, 1.0]).fit_transform(ROWS, LABELS)),
    (PRIORS, lambda: LDA(priors=[1.0, 1.0, 1.0]).partial_fit(ROWS, LABELS, classes=[0, 1, 2])),
    (PRIORS, lambda: make_pipeline(StandardScaler(), LDA(priors=[1.0, 1.0, 1.0])).fit(ROWS, LABELS)),
    (PRIORS, lambda: cross_val_score(LDA(priors=[1.0, 1.0, 1.0]), ROWS, LABELS, cv=2)),
]


@pytest.mark.parametrize(("words", "call"), CALLS)
def test_the_line_of_the_user_is_named(words, call):
    caught = only_warning_of(call)
    assert words in str(caught.message)
    assert caught.category is (ConvergenceWarning if words == STOPPED else UserWarning)


def test_the_outermost_line_is_named_where_all_are_inside():
    """As on a thread that is not one of Python's own, whose stack begins in the toolkit."""
    done = threading.Event()
    inside = {"__name__": "problems.somewhere", "warn_caller": warn_caller, "done": done}
    exec(compile("def f():\n  warn_caller('words', RuntimeWarning)\n  done.set()\n", "somewhere.py", "exec"), inside)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _thread.start_new_thread(inside["f"], ())
        assert done.wait(10)
    assert [(w.filename, w.lineno, w.category) for w in caught] == [("somewhere.py", 2, RuntimeWarning)]
