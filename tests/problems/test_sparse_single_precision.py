"""Sparse rows in single precision, whose means are hundreds of deviations, as in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from manifolds import CountSketch
from problems import CCA, LDA, DataMatrix, LabelledData, MultiviewData, PairedViews

N, D, L = 1500, 3, 3
RNG = np.random.default_rng(0)
LATENT = RNG.standard_normal((N, 1))
CODES = np.arange(N) % L
FAR = 2000 + 5 * (0.95 * LATENT + 0.3 * RNG.standard_normal((N, 1)))
X = np.hstack([FAR, RNG.standard_normal((N, 2))]).astype(np.float32)
X_CLASSES = np.hstack([FAR + 3 * CODES[:, None], RNG.standard_normal((N, 2))]).astype(np.float32)
Y = np.hstack([LATENT, RNG.standard_normal((N, 2))]).astype(np.float32)
WEIGHTS = RNG.integers(1, 5, N).astype(float)
TOLERANCE = 1e-6
"""Relative; the data are the same numbers, whose sums of squares are 1.6e5 times those about the mean."""


@pytest.fixture(params=[scipy.sparse.csr_array, scipy.sparse.csc_array], ids=["csr", "csc"])
def store(request):
    return request.param


@pytest.fixture(params=[None, WEIGHTS], ids=["plain", "weighted"])
def weights(request):
    return request.param


def covariance_of(x, weights):
    return np.cov(x.astype(float).T, bias=True, aweights=weights)


def within_of(x, weights):
    w = np.ones(N) if weights is None else weights
    chosen = [np.flatnonzero(np.equal(CODES, k)) for k in range(L)]
    means = np.stack([np.average(x[rows].astype(float), axis=0, weights=w[rows]) for rows in chosen])
    centred = x - means[CODES]
    return centred.T @ (w[:, None] * centred) / w.sum()


def close(actual, expected, tolerance=TOLERANCE):
    """Entries of a covariance up to so many products of deviations."""
    deviations = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(actual / deviations / deviations[:, None], expected / deviations / deviations[:, None],
                               atol=tolerance, rtol=0)  # fmt: skip


def test_covariances_of_one_view_and_of_several(store, weights):
    expected = covariance_of(X, weights)
    view = DataMatrix(store(X), sample_weight=weights, scale=True)
    deviations = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(view.moments.scale, deviations, rtol=TOLERANCE)
    view = DataMatrix(store(X), sample_weight=weights)
    np.testing.assert_allclose(view.diagonal(), np.diag(expected), rtol=TOLERANCE)
    close(view.gram(), expected)
    close(PairedViews(store(X), Y, sample_weight=weights).covariances().xx, expected)
    close(MultiviewData([store(X), Y], sample_weight=weights).covariances().matrix[:D, :D], expected)
    sketched = DataMatrix(store(X), sample_weight=weights).sketch(CountSketch(N, seed=1))
    w = np.ones(N) if weights is None else weights
    centred = (X - np.average(X.astype(float), axis=0, weights=w)) * np.sqrt(w / w.sum())[:, None]
    np.testing.assert_allclose(sketched, CountSketch(N, seed=1).apply(centred), atol=TOLERANCE)


def test_scatter_within_classes(store, weights):
    expected = within_of(X_CLASSES, weights)
    data = LabelledData(store(X_CLASSES), CODES, L, weights=weights)
    statistics = data.statistics()
    close(statistics.scatter / statistics.total, expected, 1e-8)
    np.testing.assert_allclose(data.variances(), np.diag(expected), rtol=TOLERANCE)
    a = np.diag(1 / np.sqrt(np.diag(expected))).astype(np.float32)
    close(data.product(a) @ np.diag(1 / np.diag(a)), expected, 1e-4)  # of scores in single precision
    close(data.whitened_gram(np.eye(D, dtype=np.float32)), expected, 1e-4)
    factors = np.array([0.5, 1.0, 3.0])
    changed = (np.ones(N) if weights is None else weights) * factors[CODES]
    statistics = data.statistics(factors)
    close(statistics.scatter / changed.sum(), within_of(X_CLASSES, changed), 1e-8)


def test_rows_of_one_class(store, weights):
    data, w = LabelledData(store(X), 0 * CODES, 1, weights=weights), np.ones(N) if weights is None else weights
    centred = X - np.average(X.astype(float), axis=0, weights=w)
    scale = np.sqrt(np.diag(covariance_of(X, weights)))
    expected = w @ np.sum((centred / scale) ** 2, axis=1) ** 2
    assert data.fourth_moment(data.means[0], scale) == pytest.approx(expected, rel=1e-8)
    rows = centred * np.sqrt(w / w.sum())[:, None]
    np.testing.assert_allclose(data.row_gram(), rows @ rows.T, atol=1e-6)


@pytest.mark.parametrize("solver", ["direct", "cholesky-qr", "block-pcg", "lobpcg", "riemannian"])
def test_scaled_cca(solver, store, weights):
    expected = CCA(1, scale=True, solver="direct").fit(X.astype(float), Y.astype(float), sample_weight=weights)
    model = CCA(1, scale=True, solver=solver, random_state=0).fit(store(X), Y, sample_weight=weights)
    np.testing.assert_allclose(model.correlations_, expected.correlations_, rtol=1e-4)
    np.testing.assert_allclose(model.transform(store(X)), expected.transform(X.astype(float)), atol=5e-3)
    assert model.score(store(X), Y) == pytest.approx(expected.score(X.astype(float), Y.astype(float)), abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"solver": name} for name in ("direct", "cholesky-qr", "block-pcg")]
    + [{"solver": "dual", "reg": 0.1}, {"shrinkage": 0.1}, {"shrinkage": "auto"}],
    ids=str,
)
def test_lda(options, store, weights):
    reference = {key: value for key, value in options.items() if key != "solver"}
    if "shrinkage" not in options:
        reference["solver"] = "direct"
    expected = LDA(**reference).fit(X_CLASSES.astype(float), CODES, sample_weight=weights)
    model = LDA(random_state=0, **options).fit(store(X_CLASSES), CODES, sample_weight=weights)
    np.testing.assert_allclose(
        model.eigenvalues_[0], expected.eigenvalues_[0], rtol=5e-3 if options.get("solver") == "dual" else 1e-4
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [False, True])
def test_columns_that_do_not_vary_have_zeros_in_every_covariance(store, scale, dtype):
    x = RNG.standard_normal((N, 4)).astype(dtype)
    x[:, 1] = 0.3
    data = DataMatrix(store(x), scale=scale)
    gram = data.gram()
    assert not gram[1].any()
    assert not gram[:, 1].any()
    assert np.count_nonzero(data.diagonal()) == 3
    expected = covariance_of(x, None)
    deviations = np.r_[np.sqrt(np.diag(expected))]
    deviations[1] = 1.0
    scaled = expected / deviations / deviations[:, None] if scale else expected
    np.testing.assert_allclose(gram, scaled, atol=1e-6 if dtype is np.float32 else 1e-13)
    matrix = MultiviewData([store(x), x[:, :2]]).covariances().matrix
    assert not matrix[1].any()


def test_block_pcg_leaves_out_columns_of_the_small_view_that_do_not_vary(store):
    y = RNG.standard_normal((N, 6))
    x = np.hstack([y[:, :1] + RNG.standard_normal((N, 1)), np.full((N, 1), 0.3), RNG.standard_normal((N, 1))])
    expected = CCA(2, solver="direct").fit(x[:, [0, 2]], y)
    with pytest.warns(UserWarning, match="X has numerical rank 2 for 3 features"):
        model = CCA(2, solver="block-pcg", random_state=0).fit(store(x), y)
    np.testing.assert_allclose(model.correlations_, expected.correlations_, rtol=1e-6)
    assert not model.x_rotations_[1].any()


def test_a_second_look_in_double_precision_is_not_needed(store):
    assert LDA(solver="direct").fit(store(X_CLASSES), CODES).n_passes_ == 1
