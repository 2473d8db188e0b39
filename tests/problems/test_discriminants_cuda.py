"""Discriminant analysis and generalized eigenproblems on a CUDA device: equal to numpy, and nothing leaves it."""

import numpy as np
import pytest
import torch

from manifolds import CholeskyPreconditioner
from problems import LDA, generalized_eigh
from tests.arrays import spd
from tests.problems.classes import labelled_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

X, Y = labelled_rows(600, 8, 4, condition=30.0, seed=2)


@pytest.mark.parametrize(
    "options",
    [{"solver": s, "reg": 1e-3} for s in ("direct", "cholesky-qr", "dual", "block-pcg", "lobpcg", "riemannian")]
    + [{"shrinkage": 0.2}, {"shrinkage": "auto"}],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_lda(options, weighted):
    weights = np.random.default_rng(0).random(len(Y)) if weighted else None
    x, y = torch.asarray(X).cuda(), torch.asarray(Y).cuda()
    on_device = LDA(random_state=0, **options).fit(x, y, weights)
    expected = LDA(random_state=0, **options).fit(X, Y, weights)
    np.testing.assert_allclose(on_device.eigenvalues_.cpu(), expected.eigenvalues_, rtol=1e-8)
    for result in (on_device.coef_, on_device.predict(x), on_device.predict_proba(x), on_device.transform(x)):
        assert result.device.type == "cuda"
    assert on_device.score(x, y) == pytest.approx(expected.score(X, Y), abs=0.01)


def test_parts():
    x, y = torch.asarray(X).cuda(), torch.asarray(Y).cuda()
    stream = LDA().partial_fit(x[:300], y[:300], classes=torch.arange(4)).partial_fit(x[300:], y[300:])
    np.testing.assert_allclose(stream.coef_.cpu(), LDA().fit(X, Y).coef_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ["direct", "lobpcg", "riemannian"])
def test_generalized_eigh(method):
    a, b = spd(60, 1e3, seed=0), spd(60, 1e2, seed=1)
    device = [torch.asarray(part).cuda() for part in (a, b)]
    pairs = generalized_eigh(*device, k=3, method=method, preconditioner=CholeskyPreconditioner(device[1]))
    assert pairs.eigenvectors.device.type == "cuda"
    np.testing.assert_allclose(pairs.eigenvalues.cpu(), generalized_eigh(a, b, k=3).eigenvalues, rtol=1e-9)
