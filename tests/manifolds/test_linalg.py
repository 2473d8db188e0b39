"""Kernels and functions of small matrices on numpy arrays and torch tensors, against numpy and scipy in float64."""

import numpy as np
import pytest
import scipy.linalg
import torch

from manifolds import linalg, matrix_functions
from manifolds.scatter import add_signed_rows
from tests.arrays import KINDS, Kind, assert_close, kind_of, spd, to_float64, with_condition

BATCHES = pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)


def stack(make, batch):
    """Batch of matrices ``make(seed)``, seeds 0, 1, ..."""
    matrices = [make(seed) for seed in range(int(np.prod(batch)))]
    return np.reshape(matrices, (*batch, *matrices[0].shape))


def each(function, *stacks):
    """Apply a function of matrices to corresponding entries of batches of matrices."""
    batch = stacks[0].shape[:-2]
    results = [function(*(s[i] for s in stacks)) for i in np.ndindex(*batch)]
    return np.reshape(results, (*batch, *np.shape(results[0])))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def rounded(kind, values):
    """The array, and its values in float64 after rounding to its dtype."""
    array = kind(values)
    return array, to_float64(array)


@BATCHES
def test_cholesky(kind, batch):
    gram, values = rounded(kind, stack(lambda seed: spd(4, 100.0, seed), batch))
    factor = linalg.cholesky(gram)
    assert kind_of(factor) == kind
    assert_close(factor, each(lambda a: np.linalg.cholesky(a).T, values), 1000 * kind.eps)


@pytest.mark.parametrize("last", [-1.0, 0.0, float("nan")])
@BATCHES
def test_cholesky_of_what_is_not_positive_is_none(kind, batch, last):
    gram = stack(lambda seed: np.diag([1.0, 2.0, 3.0]), batch)
    gram[(-1,) * len(batch)][2, 2] = last
    assert linalg.cholesky(kind(gram)) is None


@BATCHES
@pytest.mark.parametrize("transpose", [False, True])
def test_solve_triangular_with_one_factor_for_a_batch(kind, batch, transpose):
    r, factor = rounded(kind, np.linalg.cholesky(spd(4, 100.0, 0)).T)
    b, rhs = rounded(kind, normal(*batch, 4, 2))
    solution = linalg.solve_triangular(r, b, transpose=transpose)
    assert kind_of(solution) == kind
    assert_close(solution, np.linalg.solve(factor.T if transpose else factor, rhs), 1000 * kind.eps)


@BATCHES
def test_inverse_triangular(kind, batch):
    r, factor = rounded(kind, stack(lambda seed: np.linalg.cholesky(spd(4, 100.0, seed)).T, batch))
    inverse = linalg.inverse_triangular(r)
    assert kind_of(inverse) == kind
    assert_close(inverse, np.linalg.inv(factor), 1000 * kind.eps)


@BATCHES
def test_half_upper(kind, batch):
    a, values = rounded(kind, stack(lambda seed: spd(4, 10.0, seed), batch))
    upper = to_float64(linalg.half_upper(a))
    np.testing.assert_array_equal(upper, np.triu(upper))
    np.testing.assert_allclose(upper + upper.swapaxes(-1, -2), values, rtol=4 * kind.eps)


@BATCHES
def test_upper_factor(kind, batch):
    y, values = rounded(kind, stack(lambda seed: normal(9, 4, seed=seed), batch))
    factor = linalg.upper_factor(y)
    assert kind_of(factor) == kind
    r = to_float64(factor)
    np.testing.assert_array_equal(r, np.triu(r))
    assert_close(r.mT @ r, values.mT @ values, 100 * kind.eps)


@BATCHES
def test_positive_qr(kind, batch):
    y, values = rounded(kind, stack(lambda seed: normal(6, 3, seed=seed), batch))
    q, r = map(to_float64, linalg.positive_qr(y))
    assert (np.diagonal(r, axis1=-2, axis2=-1) > 0).all()
    np.testing.assert_array_equal(r, np.triu(r))
    assert_close(q @ r, values, 100 * kind.eps)
    assert_close(r, each(lambda a: np.linalg.cholesky(a.T @ a).T, values), 1000 * kind.eps)


@BATCHES
def test_orthogonal_polar_factor(kind, batch):
    y, values = rounded(kind, stack(lambda seed: normal(5, 3, seed=seed), batch))
    expected = each(lambda a: scipy.linalg.polar(a)[0], values)
    assert_close(matrix_functions.orthogonal_polar_factor(y), expected, 1000 * kind.eps)


@BATCHES
def test_solve_lyapunov(kind, batch):
    c, values = rounded(kind, stack(lambda seed: spd(4, 10.0, seed), batch))
    rhs, right = rounded(kind, stack(lambda seed: normal(4, 4, seed=seed), batch))
    eigen = np.linalg.eigh(c) if kind.library == "numpy" else torch.linalg.eigh(c)
    expected = each(lambda a, b: scipy.linalg.solve_sylvester(a, a, b), values, right)
    assert_close(linalg.solve_lyapunov(*eigen, rhs), expected, 1000 * kind.eps)


def rotation(angles, seed=0):
    """Rotation by given angles in random planes, and its principal logarithm."""
    q = np.linalg.qr(normal(2 * len(angles), 2 * len(angles), seed=seed))[0]
    logarithm = scipy.linalg.block_diag(*([[0.0, -angle], [angle, 0.0]] for angle in angles))
    turn = scipy.linalg.block_diag(*([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles))
    return q @ turn @ q.T, q @ logarithm @ q.T


@BATCHES
@pytest.mark.parametrize("angle", [0.0, 1e-8, 0.04, 0.3, 3.0, 20.0])
def test_expm_of_skew_matrices(kind, batch, angle):
    """A closed form for every size of the matrix: 100 rounding units times the angle."""
    exact = stack(lambda seed: np.stack(rotation([angle, 0.7 * angle, 0.1 * angle], seed)), (*batch,) or (1,))
    turns, logarithms = (exact[..., i, :, :].reshape(*batch, 6, 6) for i in (0, 1))
    result = matrix_functions.expm(kind(logarithms))
    assert kind_of(result) == kind
    assert_close(result, turns, 100 * kind.eps * max(1.0, angle))


def test_expm_of_any_matrix():
    for scale in (1e-3, 1.0, 10.0):
        a = scale * normal(5, 5)
        assert_close(matrix_functions.expm(a), scipy.linalg.expm(a), 1e-12)
    nilpotent = np.array([[0.0, 3.0], [0.0, 0.0]])
    assert_close(matrix_functions.expm(nilpotent), [[1.0, 3.0], [0.0, 1.0]], 1e-15)
    assert not np.isfinite(matrix_functions.expm(np.full((2, 2), np.nan))).any()


@BATCHES
@pytest.mark.parametrize("angles", [[1e-6, 0.0], [0.5, 1.0], [2.9, 0.1], [3.1, -3.0]], ids=str)
def test_log_rotation(kind, batch, angles):
    """The angles come back, with an error of about a rounding unit even near pi."""
    exact = stack(lambda seed: np.stack(rotation(angles, seed)), (*batch,) or (1,))
    turns, logarithms = (exact[..., i, :, :].reshape(*batch, 4, 4) for i in (0, 1))
    result = matrix_functions.log_rotation(kind(turns))
    assert kind_of(result) == kind
    assert_close(result, logarithms, 300 * kind.eps, scale=1)
    np.testing.assert_array_equal(to_float64(result), -to_float64(result.mT))


def test_log_rotation_of_a_half_turn_is_refused(kind):
    for v in (np.diag([-1.0, -1.0, 1.0]), np.diag([1.0, -1.0]), np.stack([np.eye(2), -np.eye(2)])):
        with pytest.raises(ValueError, match="a rotation by the angle pi has no unique logarithm"):
            matrix_functions.log_rotation(kind(v))


@BATCHES
def test_symmetric_function(kind, batch):
    a, values = rounded(kind, stack(lambda seed: spd(4, 10.0, seed), batch))
    exp = np.exp if kind.library == "numpy" else torch.exp
    assert_close(matrix_functions.symmetric_function(exp, a), each(scipy.linalg.expm, values), 1000 * kind.eps)


@BATCHES
@pytest.mark.parametrize("with_b", [False, True])
def test_newton_schulz_step_squares_the_defect(batch, with_b):
    b = spd(6, 10.0, 0) if with_b else np.eye(6)
    y = stack(lambda seed: np.linalg.qr(normal(6, 3, seed=seed))[0] + 1e-4 * normal(6, 3, seed=seed + 9), batch)
    y = np.linalg.solve(scipy.linalg.sqrtm(b), y)
    step = matrix_functions.newton_schulz_step(y, b @ y if with_b else None)
    before, after = (np.abs(z.mT @ b @ z - np.eye(3)).max() for z in (y, step))
    assert after < 10 * before**2


@BATCHES
def test_on_columns(kind, batch):
    matrix, values = rounded(kind, normal(3, 5))
    v, vectors = rounded(kind, normal(*batch, 5, 2))
    seen = []

    def operator(block):
        seen.append(tuple(block.shape))
        return matrix @ block

    assert_close(linalg.on_columns(operator, v), values @ vectors, 100 * kind.eps)
    assert seen == [(5, 2 * int(np.prod(batch)))]


@pytest.mark.parametrize("ndim", [0, 1, 2])
def test_inner_product_and_norm_over_the_last_axes(kind, ndim):
    (a, x), (b, y) = rounded(kind, normal(2, 3, 4)), rounded(kind, normal(2, 3, 4, seed=1))
    axes = tuple(range(3 - ndim, 3))
    assert_close(linalg.inner_product(a, b, ndim), np.sum(x * y, axis=axes), 100 * kind.eps, scale=10)
    assert_close(linalg.norm(a, ndim), np.sqrt(np.sum(x * x, axis=axes)), 100 * kind.eps)
    single = linalg.inner_product(a[0, 0], b[0, 0], 1)
    assert single.shape == ()
    assert float(single) == pytest.approx(x[0, 0] @ y[0, 0], rel=100 * kind.eps)


def test_expand_appends_axes_to_batches_only(kind):
    numbers = kind(np.arange(6.0).reshape(2, 3))
    assert tuple(linalg.expand(numbers, 2).shape) == (2, 3, 1, 1)
    assert linalg.expand(1.5, 2) == 1.5
    assert linalg.expand(kind(1.5), 2).ndim == 0


def test_small_helpers(kind):
    a, values = rounded(kind, normal(3, 3))
    assert linalg.is_array(a)
    assert not linalg.is_array([1.0])
    assert linalg.machine_epsilon(a) == kind.eps
    assert linalg.kind(a) == (kind.library, kind.dtype, "cpu")
    assert linalg.largest_absolute(a) == np.abs(values).max()
    assert linalg.largest_absolute(a * float("nan")) == float("inf")
    assert_close(linalg.symmetric_part(a), (values + values.T) / 2, kind.eps)
    assert_close(linalg.skew_part(a), (values - values.T) / 2, kind.eps)
    np.testing.assert_array_equal(to_float64(linalg.identity(3, a)), np.eye(3))
    assert kind_of(linalg.identity(3, a)) == kind
    np.testing.assert_array_equal(linalg.to_numpy(a), values.astype(kind.dtype))
    assert type(linalg.to_numpy(a)) is np.ndarray
    assert kind_of(linalg.convert(values, a)) == kind


@BATCHES
def test_condition_of_a_factor_is_right_up_to_the_order(kind, batch):
    """Also for a triangle of ones below whose diagonal a condition of 4e6 hides."""
    p = 20
    hidden = np.eye(p) - np.triu(np.ones((p, p)), 1)
    open_ = np.diag(np.logspace(0, -3, p))
    for r in (hidden, open_, np.eye(p), 1e-15 * open_):
        batched = np.broadcast_to(np.eye(p), (*batch, p, p)).copy()
        batched[(-1,) * len(batch)] = r
        factor, condition = kind(batched), np.linalg.cond(r) ** 2
        inverse, estimate = linalg.inverse_cholesky(factor.mT @ factor)
        if condition * kind.eps > 0.01:  # the Gram matrix is singular to rounding
            assert estimate > 0.01 / kind.eps
            continue
        assert condition / p / 1.1 <= estimate <= 1.1 * condition * p
        assert kind_of(inverse) == kind
        assert_close(inverse, np.linalg.inv(batched), condition * kind.eps)


@BATCHES
def test_condition_is_infinite_where_there_is_no_factor(kind, batch):
    """diag(1, -1) has no Cholesky factor, and one singular matrix is enough to spoil a batch."""

    def condition(*diagonal):
        batched = np.broadcast_to(np.eye(2), (*batch, 2, 2)).copy()
        batched[(-1,) * len(batch)] = np.diag(diagonal)
        return linalg.inverse_cholesky(kind(batched))[1]

    for last in (-1.0, 0.0, float("nan"), float("inf")):
        assert condition(1.0, last) == float("inf")
    assert condition(1e-37, 1e37) > 1e70  # more than single precision holds


def test_linear_combinations(kind):
    """Also by a plain one or zero, which are not multiplied by, and by batches of numbers."""
    (u, x), (v, y) = rounded(kind, normal(2, 3, 4)), rounded(kind, normal(2, 3, 4, seed=1))
    for a in (1.0, -1.0, 0.0, 2.5, 1):
        for b in (1.0, -1.0, 0.0, 2.5, 0):
            assert_close(linalg.combination(a, u, b, v), a * x + b * y, 10 * kind.eps)
    a, b = kind(np.array([1.0, -2.0])), kind(np.array([0.0, 3.0]))
    expected = np.array([1.0, -2.0])[:, None, None] * x + np.array([0.0, 3.0])[:, None, None] * y
    assert_close(linalg.combination(a, u, b, v), expected, 10 * kind.eps)
    assert linalg.combination(1.0, u, 0.0, u) is not u


def test_condition_from_the_diagonal(kind):
    assert linalg.triangular_condition(kind(np.diag([4.0, -2.0, 1.0]))) == pytest.approx(16)
    assert linalg.triangular_condition(kind(np.diag([4.0, 0.0]))) == float("inf")
    both = kind(np.stack([np.diag([1.0, 1.0]), np.diag([3.0, 1.0])]))
    assert linalg.triangular_condition(both) == pytest.approx(9)


def test_one_seed_gives_one_draw_in_every_kind():
    reference = np.random.default_rng(7).standard_normal((4, 3))
    for kind in KINDS:
        draw = linalg.standard_normal(7, (4, 3), kind.like)
        assert kind_of(draw) == kind
        np.testing.assert_allclose(to_float64(draw), reference, rtol=2 * kind.eps)


def test_streams_of_a_seed_differ():
    draws = [linalg.as_generator(0, stream).standard_normal(3) for stream in ((), (1,), (2,))]
    assert np.array_equal(draws[0], np.random.default_rng(0).standard_normal(3))
    assert not any(np.allclose(draws[i], draws[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    generator = np.random.default_rng(0)
    assert linalg.as_generator(generator, (1,)) is generator


def test_torch_generator_draws_on_its_own():
    like = Kind("torch", "float32").like
    draws = [linalg.standard_normal(torch.Generator().manual_seed(1), (3, 2), like) for _ in range(2)]
    assert torch.equal(*draws)
    assert draws[0].dtype == torch.float32


def test_add_signed_rows(kind):
    rows, values = rounded(kind, normal(6, 3))
    targets = np.array([[0, 1], [2, 0], [0, 3], [1, 2], [2, 1], [2, 3]])
    weights = np.array([[1.0, -1.0], [-1.0, 1.0], [-0.5, 1.0], [1.0, 1.0], [1.0, 2.0], [-1.0, 1.0]])
    out = kind(np.ones((4, 3)))
    expected = np.ones((4, 3))
    for i, k in np.ndindex(targets.shape):
        expected[targets[i, k]] += weights[i, k] * values[i]
    result = add_signed_rows(out, rows, targets, weights)
    assert result is out
    assert_close(out, expected, 10 * kind.eps)


def test_add_signed_rows_of_a_fortran_ordered_block():
    rows = np.asfortranarray(normal(6, 3))
    out = add_signed_rows(np.zeros((2, 3)), rows, np.array([[0, 1, 0, 1, 0, 1]]).T, np.ones((6, 1)))
    np.testing.assert_allclose(out, np.stack([rows[::2].sum(axis=0), rows[1::2].sum(axis=0)]))


def test_cholesky_qr_loses_what_the_condition_says():
    """The oracle of the fallback rule: one Cholesky-QR pass leaves about eps cond(Y)^2 of orthogonality."""
    y = with_condition(20, 5, 1e5, 0)
    x = y @ linalg.inverse_triangular(linalg.cholesky(y.T @ y))
    assert 1e-10 < np.abs(x.T @ x - np.eye(5)).max() < 1e-4
