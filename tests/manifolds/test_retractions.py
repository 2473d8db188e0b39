"""Retractions as values: orthonormal columns, whatever the conditioning, and derivatives of their normalizers."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from manifolds import QR, CholeskyQR, GeneralizedStiefel, Polar, RankDeficientError, Stiefel
from tests.arrays import DOUBLE, Kind, assert_close, kind_of, spd, to_float64, with_condition

RETRACTIONS = [CholeskyQR(), QR(), Polar()]
DOUBLES = [DOUBLE, Kind("torch", "float64")]
N, P = 20, 5

retractions = pytest.mark.parametrize("retraction", RETRACTIONS, ids=lambda r: type(r).__name__)


def defect(x, b=None):
    """Largest entry of X^T B X - I over a batch."""
    x = to_float64(x)
    bx = x if b is None else b @ x
    return np.abs(x.swapaxes(-1, -2) @ bx - np.eye(x.shape[-1])).max()


def outside(x, y):
    """Largest part of a column of Y outside the span of the orthonormal columns of X, relative to Y."""
    x, y = to_float64(x), to_float64(y)
    return np.linalg.norm(y - x @ (x.T @ y), 2) / np.linalg.norm(y, 2)


@retractions
@pytest.mark.parametrize("condition", [1e1, 1e3, 1e6, 1e9, 1e13])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_orthonormal_at_any_conditioning(retraction, condition, library):
    """float64: orthonormal to 1e-13 at cond(Y) up to 1e13, with or without a B of condition 1e4, keeping the span."""
    kind, b = Kind(library, "float64"), spd(N, 1e4, 1)
    y = kind(with_condition(N, P, condition, 0))
    x = retraction.orthonormalize(y)
    assert defect(x) < 1e-13
    assert outside(x, y) < 1e-13
    x = retraction.orthonormalize(y, product=lambda v: kind(b) @ v)
    assert kind_of(x) == kind
    assert defect(x, b) < 1e-12


@retractions
@pytest.mark.parametrize("condition", [1e1, 1e2, 1e4])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_orthonormal_in_float32(retraction, condition, library):
    """float32: to 1e-4 with B of condition 1e2, at cond(Y) up to 1e4."""
    kind = Kind(library, "float32")
    b = to_float64(kind(spd(N, 1e2, 1)))
    y = kind(with_condition(N, P, condition, 0))
    assert defect(retraction.orthonormalize(y)) < 1e-5
    assert defect(retraction.orthonormalize(y, product=lambda v: kind(b) @ v), b) < 1e-4


@retractions
@pytest.mark.parametrize("p", [10, 20, 30])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_conditioning_that_the_diagonal_hides(retraction, p, library):
    """Y = Q R, ones on the diagonal of R and minus ones above: condition 2^p, none of which the diagonal shows."""
    rng = np.random.default_rng(0)
    r = np.eye(p) - np.triu(np.ones((p, p)), 1)
    y = Kind(library, "float64")(np.linalg.qr(rng.standard_normal((40, p)))[0] @ r)
    x = retraction.orthonormalize(y)
    assert defect(x) < 1e-12
    assert outside(x, y) < 1e-11


@pytest.mark.parametrize("retraction", [CholeskyQR(), QR()], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("condition", [1e1, 1e4, 1e9])
@pytest.mark.parametrize("kind", DOUBLES, ids=str)
def test_factor_is_upper_triangular_with_positive_diagonal(retraction, condition, kind):
    """R = X^T B Y is the unique such factor, so both retractions are one map on every path."""
    b = spd(N, 1e2, 1)
    y = with_condition(N, P, condition, 0)
    x = to_float64(retraction.orthonormalize(kind(y), product=lambda v: kind(b) @ v))
    r = x.T @ b @ y
    assert np.abs(np.tril(r, -1)).max() < 1e-13
    assert (np.diagonal(r) > 0).all()


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
def test_cholesky_qr_equals_householder_qr(condition):
    """The Q factor is determined to about eps cond(Y)."""
    y = with_condition(N, P, condition, 0)
    assert_close(CholeskyQR().orthonormalize(y), QR().orthonormalize(y), 1e-14 * condition)


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e9])
@pytest.mark.parametrize("kind", DOUBLES, ids=str)
def test_polar_factor(condition, kind):
    """X^T B Y is symmetric positive definite; without B it is scipy's polar factor."""
    b, y = spd(N, 1e2, 1), with_condition(N, P, condition, 0)
    assert_close(Polar().orthonormalize(kind(y)), scipy.linalg.polar(y)[0], 1e-15 * condition + 1e-13)
    s = to_float64(Polar().orthonormalize(kind(y), product=lambda v: kind(b) @ v)).T @ b @ y
    assert np.abs(s - s.T).max() < 1e-13
    assert np.linalg.eigvalsh((s + s.T) / 2)[0] > 0


def test_nearest_point_is_nearest_in_the_norm_of_b():
    """No other frame of a thousand near ones is closer."""
    b, rng = spd(7, 10.0, 0), np.random.default_rng(0)
    manifold = GeneralizedStiefel(b, 2)
    y = manifold.random_point(rng) + 0.2 * rng.standard_normal((7, 2))
    nearest = manifold.nearest_point(y)

    def distance(x):
        return np.trace((x - y).T @ b @ (x - y))

    for scale in (1e-4, 1e-2):
        for _ in range(500):
            other = manifold.retraction(nearest, scale * manifold.random_tangent_vector(nearest, rng))
            assert distance(other) > distance(nearest)


class Counting:
    """B = I that counts its products."""

    def __init__(self):
        self.count = 0

    def __call__(self, v):
        self.count += 1
        return v


@pytest.mark.parametrize(
    ("retraction", "condition", "products"),
    [
        (CholeskyQR(), 2.0, 0),  # the known B Y is enough
        (CholeskyQR(), 1e4, 1),  # repeated on its own result
        (CholeskyQR(), 1e9, 2),  # Householder QR, then twice in the inner product of B
        (CholeskyQR(max_condition=1e9), 1e4, 0),
        (QR(), 2.0, 2),
        (Polar(), 2.0, 0),
        (Polar(), 1e4, 2),
        (Polar(), 1e9, 2),
        (Polar(max_condition=1e9), 1e4, 0),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", DOUBLES, ids=str)
def test_which_path_is_taken(retraction, condition, products, kind):
    y, product = kind(with_condition(N, P, condition, 0)), Counting()
    retraction.orthonormalize(y, y, product)
    assert product.count == products


@retractions
@pytest.mark.parametrize("condition", [2.0, 1e4, 1e9])
def test_a_batch_may_mix_good_and_bad_conditioning(retraction, condition, kind):
    if kind.dtype == "float32" and condition > 1e4:
        condition = 1e4
    y = kind(np.stack([with_condition(N, P, c, seed) for seed, c in enumerate((1.5, condition, 3.0))]))
    x = retraction.orthonormalize(y)
    assert defect(x) < 1e3 * kind.eps
    for i in range(3):
        alone = retraction.orthonormalize(y[i])
        assert_close(x[i], alone, 100 * kind.eps * condition)


@retractions
@pytest.mark.parametrize("columns", ["equal", "zero", "combination", "nan", "infinite", "all-zero"])
@pytest.mark.parametrize("with_b", [False, True])
def test_dependent_columns_are_refused(retraction, kind, columns, with_b):
    y = np.random.default_rng(0).standard_normal((8, 3))
    y[:, 2] = {
        "equal": y[:, 0],
        "zero": 0 * y[:, 0],
        "combination": y[:, 0] - 2 * y[:, 1],
        "nan": y[:, 2] * np.nan,
        "infinite": np.where(np.arange(8) == 3, np.inf, y[:, 2]),
        "all-zero": 0 * y[:, 2],
    }[columns]
    y = 0 * y if columns == "all-zero" else y
    product = (lambda v: kind(spd(8, 10.0, 0)) @ v) if with_b else None
    with np.errstate(invalid="ignore"), pytest.raises(RankDeficientError, match="cannot be orthonormalised"):
        retraction.orthonormalize(kind(y), product=product)


def test_rank_deficiency_is_a_value_error():
    assert issubclass(RankDeficientError, ValueError)


@retractions
def test_normalizer_makes_the_gram_matrix_the_identity(retraction, kind):
    gram = np.stack([spd(4, 20.0, seed) for seed in range(3)])
    t = retraction.normalizer(kind(gram))
    assert kind_of(t) == kind
    assert_close(t.mT @ kind(gram) @ t, np.broadcast_to(np.eye(4), (3, 4, 4)), 1000 * kind.eps)


@retractions
@pytest.mark.parametrize("kind", DOUBLES, ids=str)
def test_derivative_of_the_normalizer_against_differences(retraction, kind):
    """Central differences of step 1e-5 in float64 leave about 1e-9."""
    gram = np.stack([spd(4, 20.0, seed) for seed in range(3)])
    change = np.stack([spd(4, 3.0, seed + 9) - 0.3 * np.eye(4) for seed in range(3)])
    h = 1e-5
    t, derivative = retraction.normalizer_and_derivative(kind(gram), kind(change))
    assert_close(t, retraction.normalizer(kind(gram)), 1e-14)
    ahead, back = (to_float64(retraction.normalizer(kind(gram + s * change))) for s in (h, -h))
    assert_close(derivative, (ahead - back) / (2 * h), 1e-8)


@pytest.mark.parametrize("retraction", [CholeskyQR(), QR()], ids=lambda r: type(r).__name__)
def test_normalizer_of_an_indefinite_matrix_is_refused(retraction, kind):
    with pytest.raises(RankDeficientError):
        retraction.normalizer(kind(np.diag([1.0, -1.0])))


def test_retractions_are_values():
    assert CholeskyQR() == CholeskyQR(max_condition=1e3) != CholeskyQR(max_condition=10.0)
    assert len({QR(), QR(), Polar(), CholeskyQR()}) == 3
    assert Stiefel(4, 2).default_retraction == CholeskyQR()


shapes = st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    shape=shapes,
    exponent=st.floats(0, 12),
    unit=st.floats(-8, 8),
    retraction=st.sampled_from(RETRACTIONS),
    library=st.sampled_from(["numpy", "torch"]),
    seed=st.integers(0, 100),
)
def test_orthonormal_for_any_shape_conditioning_and_unit(shape, exponent, unit, retraction, library, seed):
    """float64, cond(Y) up to 1e12, |Y| between 1e-8 and 1e8."""
    y = Kind(library, "float64")(10.0**unit * with_condition(*shape, 10.0**exponent, seed))
    x = retraction.orthonormalize(y)
    assert tuple(x.shape) == shape
    assert defect(x) < 1e-13
    assert outside(x, y) < 1e-13


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    shape=shapes,
    exponent=st.floats(0, 8),
    condition_of_b=st.floats(0, 8),
    retraction=st.sampled_from(RETRACTIONS),
    seed=st.integers(0, 100),
)
def test_orthonormal_in_any_inner_product(shape, exponent, condition_of_b, retraction, seed):
    """float64: X^T B X = I to 1e-9 at cond(Y) and cond(B) up to 1e8."""
    b = spd(shape[0], 10.0**condition_of_b, seed)
    y = with_condition(*shape, 10.0**exponent, seed)
    assert defect(retraction.orthonormalize(y, product=lambda v: b @ v), b) < 1e-9
