"""Matrices of fixed rank: equal to pymanopt, in every form of gradient, and without a dense matrix."""

import pickle
import tracemalloc

import numpy as np
import pymanopt.manifolds
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import aslinearoperator

from manifolds import (
    FixedRank,
    FixedRankPoint,
    FixedRankTangent,
    FixedRankTwoFactors,
    LowRankMatrix,
    Polar,
    Product,
    ProjectorSplitting,
    RankDeficientError,
    Sphere,
    TruncatedSVD,
    check_gradient,
    check_hessian,
    check_retraction,
)
from tests.arrays import DOUBLE, KINDS, assert_close, to_float64, tree

M, N, R = 7, 5, 2
MANIFOLD = FixedRank(M, N, R)
TWO_FACTORS = FixedRankTwoFactors(M, N, R)
BOTH = pytest.mark.parametrize("manifold", [MANIFOLD, TWO_FACTORS], ids=["embedded", "two factors"])
RETRACTIONS = [TruncatedSVD(), ProjectorSplitting()]


def setting(kind=DOUBLE, manifold=MANIFOLD):
    x = manifold.random_point(0, kind.like)
    return x, manifold.random_tangent_vector(x, 1)


def turned(x):
    """The same matrix with a full S, by rotations of both bases."""
    rng = np.random.default_rng(9)
    p, q = (np.linalg.qr(rng.standard_normal((R, R)))[0] for _ in range(2))
    return FixedRankPoint(x.U @ p, p.T @ x.S @ q, x.V @ q)


def theirs_of(x, v):
    """Point and tangent vector of pymanopt, whose S is a vector."""
    manifold = pymanopt.manifolds.FixedRankEmbedded(M, N, R)
    point = (x.U, np.diag(x.S), x.V.T)
    vector = pymanopt.manifolds.fixed_rank._FixedRankTangentVector(v.Up, v.M, v.Vp)
    return manifold, point, vector


# ------------------------------------------------------------------------------------------------ independent oracles


def test_geometry_equals_pymanopt():
    x, v = setting()
    theirs, point, vector = theirs_of(x, v)
    assert MANIFOLD.dim == theirs.dim
    a = np.random.default_rng(2).standard_normal((M, N))
    ours = MANIFOLD.projection(x, a)
    projected = theirs.projection(point, a)
    for mine, other in zip((ours.Up, ours.M, ours.Vp), (projected.Up, projected.M, projected.Vp), strict=True):
        assert_close(mine, other, 1e-14)
    assert float(MANIFOLD.inner_product(x, ours, v)) == pytest.approx(
        theirs.inner_product(point, projected, vector), rel=1e-13
    )
    u, s, vt = theirs.retraction(point, vector)
    y = FixedRank(M, N, R, TruncatedSVD()).retraction(x, v)
    assert_close(y.to_dense(), (u * s) @ vt, 1e-13)
    moved = theirs.transport(point, (u, s, vt), vector)
    there = FixedRankPoint(u, np.diag(s), vt.T)
    ours = MANIFOLD.transport(x, there, v)
    for mine, other in zip((ours.Up, ours.M, ours.Vp), (moved.Up, moved.M, moved.Vp), strict=True):
        assert_close(mine, other, 1e-13)


def test_gradient_from_factors_equals_pymanopt():
    """pymanopt takes derivatives by u, s and vt; with distinct singular values both give the projected gradient."""
    x, v = setting()
    theirs, point, _ = theirs_of(x, v)
    a = np.random.default_rng(2).standard_normal((M, N))
    dU, dS, dV = a @ x.V @ x.S.T, x.U.T @ a @ x.V, a.T @ x.U @ x.S
    ours = x.gradient_from_factors(dU, dS, dV)
    gradient = theirs.euclidean_to_riemannian_gradient(point, (dU, np.diag(dS), dV.T))
    assert_close(ours.M, gradient.M, 1e-12)
    assert_close(ours.Up, gradient.Up, 1e-12)
    assert_close(ours.Vp, gradient.Vp, 1e-12)


def test_gradient_from_factors_is_the_projected_one_for_a_full_core():
    x = turned(setting()[0])
    a = np.random.default_rng(2).standard_normal((M, N))
    ours = x.gradient_from_factors(a @ x.V @ x.S.T, x.U.T @ a @ x.V, a.T @ x.U @ x.S)
    assert_close(ours.to_dense(), MANIFOLD.projection(x, a).to_dense(), 1e-13)


def test_projection_is_that_on_the_dense_tangent_space():
    """The tangent space spanned by all products of basis vectors, in an orthonormal basis of its own."""
    x, _ = setting()
    a = np.random.default_rng(2).standard_normal((M, N))
    spans = [x.U @ np.eye(R)[:, [i]] @ np.eye(N)[[j]] for i in range(R) for j in range(N)]
    spans += [np.eye(M)[:, [i]] @ np.eye(R)[[j]] @ x.V.T for i in range(M) for j in range(R)]
    left, values, _ = np.linalg.svd(np.reshape(spans, (len(spans), -1)).T, full_matrices=False)
    basis = left[:, values > 1e-10]
    assert basis.shape[1] == MANIFOLD.dim
    expected = (basis @ (basis.T @ a.ravel())).reshape(M, N)
    assert_close(MANIFOLD.projection(x, a).to_dense(), expected, 1e-13)


def test_retractions_against_their_dense_definitions():
    x, v = setting()
    y = x.to_dense() + v.to_dense()
    u, s, vt = np.linalg.svd(y)
    truncation = FixedRank(M, N, R, TruncatedSVD())
    assert_close(truncation.retraction(x, v).to_dense(), (u[:, :R] * s[:R]) @ vt[:R], 1e-13)
    q = np.linalg.qr(y @ x.V)[0]
    splitting = FixedRank(M, N, R, ProjectorSplitting())
    assert_close(splitting.retraction(x, v).to_dense(), q @ q.T @ y, 1e-13)


def test_projector_splitting_is_the_three_steps_of_the_integrator():
    """K, S and L steps of Lubich and Oseledets, with dense increments."""
    x, v = setting()
    change = v.to_dense()
    q, s = np.linalg.qr(x.U @ x.S + change @ x.V)
    s = s - q.T @ change @ x.V
    right, s_transposed = np.linalg.qr(x.V @ s.T + change.T @ q)
    y = FixedRank(M, N, R, ProjectorSplitting()).retraction(x, v)
    assert_close(y.to_dense(), q @ s_transposed.T @ right.T, 1e-13)


@pytest.mark.parametrize("retraction", RETRACTIONS)
def test_both_retractions_are_of_second_order(retraction):
    manifold = FixedRank(M, N, R, retraction)
    check_retraction(manifold, manifold.retraction, order=2, rng=0).raise_if_failed()


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1.0, 1e-9), (1.0, 0.0), (0.0, 0.0)], ids=str)
@pytest.mark.parametrize("alike", [0.0, 1.0, 1 - 1e-5, 1 - 1e-9], ids=str)
@pytest.mark.parametrize("retraction", RETRACTIONS)
def test_steps_whose_columns_are_dependent_or_of_other_scales(scales, alike, retraction):
    """Bases by Cholesky factors and by reflections give the same matrix, with orthonormal factors."""
    x, v = setting()
    up, vp = (part.copy() for part in (v.Up, v.Vp))
    for part in (up, vp):
        part[:, 1] = alike * part[:, 0] + (1 - alike) * part[:, 1]
        part *= scales
    v = FixedRankTangent(x, v.M, up, vp)
    y = FixedRank(M, N, R, retraction).retraction(x, v)
    u, s, vt = np.linalg.svd(x.to_dense() + v.to_dense())
    q = np.linalg.qr((x.to_dense() + v.to_dense()) @ x.V)[0]
    splitting = q @ q.T @ (x.to_dense() + v.to_dense())
    truncated = (u[:, :R] * s[:R]) @ vt[:R]
    assert_close(y.to_dense(), truncated if retraction == TruncatedSVD() else splitting, 1e-13)
    assert_close(y.U.T @ y.U, np.eye(R), 1e-12)
    assert_close(y.V.T @ y.V, np.eye(R), 1e-12)


@pytest.mark.parametrize("retraction", RETRACTIONS)
def test_bases_stay_orthonormal_over_many_steps(retraction):
    manifold = FixedRank(M, N, R, retraction)
    x, _ = setting()
    for seed in range(300):
        v = manifold.random_tangent_vector(x, seed)
        x = manifold.retraction(x, manifold.linear_combination(0.3, v, 0.0, v))
    assert_close(x.U.T @ x.U, np.eye(R), 1e-12)
    assert_close(x.V.T @ x.V, np.eye(R), 1e-12)


@pytest.mark.parametrize("retraction", RETRACTIONS)
def test_the_velocity_is_tangent_at_the_point_that_was_asked_for(retraction):
    x, v = setting()
    manifold = FixedRank(M, N, R, retraction)
    curve = manifold.at(x).retraction_curve(v)
    t = 0.3
    y = curve.point(t)
    assert curve.velocity(t).point is y
    assert curve.point(0.2) is not y
    times = np.array([0.1, 0.2])
    batched = manifold.at(FixedRankPoint(*(np.stack([part, part]) for part in x)))
    curve = batched.retraction_curve(batched.projection(np.stack([v.to_dense()] * 2)))
    before = curve.point(times).to_dense()
    times += 0.5
    assert np.linalg.norm(curve.point(times).to_dense() - before) > 0.1


@pytest.mark.parametrize("retraction", RETRACTIONS)
def test_results_do_not_depend_on_the_factors(retraction):
    """A full S is as good as a diagonal one."""
    manifold = FixedRank(M, N, R, retraction)
    x, v = setting()
    other = turned(x)
    w = manifold.transport(x, other, v)
    assert_close(w.to_dense(), v.to_dense(), 1e-14)
    a, h = np.random.default_rng(2).standard_normal((2, M, N))
    assert_close(manifold.projection(other, a).to_dense(), manifold.projection(x, a).to_dense(), 1e-13)
    hessians = [manifold.euclidean_to_riemannian_hessian(y, a, h, z).to_dense() for y, z in ((x, v), (other, w))]
    assert_close(*hessians, 1e-12)
    curves = [manifold.at(y).retraction_curve(z) for y, z in ((x, v), (other, w))]
    assert_close(*(curve.point(0.5).to_dense() for curve in curves), 1e-13)
    assert_close(*(curve.velocity(0.5).to_dense() for curve in curves), 1e-12)


# ------------------------------------------------------------------------------------------------- forms of gradients


def forms(dense, kind):
    """One matrix in every form, with left and right factors of full rank."""
    a = kind(dense)
    yield "dense", a
    yield "factors", LowRankMatrix(a, kind(np.eye(N)))
    if kind.library == "numpy":
        yield "csr", scipy.sparse.csr_array(a)
        yield "coo", scipy.sparse.coo_matrix(a)
        yield "operator", aslinearoperator(a)
    else:
        yield "torch coo", a.to_sparse()
        yield "torch csr", a.to_sparse_csr()


@BOTH
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_every_form_of_a_gradient_gives_the_same(kind, manifold):
    x, v = setting(kind, manifold)
    rng = np.random.default_rng(3)
    dense, hessian = rng.standard_normal((2, M, N)) * (rng.random((M, N)) < 0.5)
    expected = manifold.projection(x, kind(dense))
    second = manifold.euclidean_to_riemannian_hessian(x, kind(dense), kind(hessian), v)
    pairing = float(np.sum(dense * to_float64(v.to_dense())))
    for (name, form), (_, product) in zip(forms(dense, kind), forms(hessian, kind), strict=True):
        x.require_vector(form, "gradient")
        assert_close(manifold.euclidean_to_riemannian_gradient(x, form), expected, 100 * kind.eps), name
        assert_close(manifold.euclidean_to_riemannian_hessian(x, form, product, v), second, 1000 * kind.eps), name
        assert float(manifold.euclidean_inner_product(form, v)) == pytest.approx(pairing, abs=100 * kind.eps), name
        assert float(manifold.euclidean_inner_product(v, form)) == pytest.approx(pairing, abs=100 * kind.eps), name


@BOTH
def test_a_tangent_vector_in_other_factors_is_still_the_same_matrix(manifold):
    """Sums and inner products of vectors at different points are those of the matrices."""
    x, v = setting(manifold=manifold)
    y = manifold.retraction(x, v)
    w = manifold.random_tangent_vector(y, 4)
    total = manifold.linear_combination(2.0, v, -1.0, w)
    assert type(total) is LowRankMatrix
    assert_close(total.to_dense(), 2 * v.to_dense() - w.to_dense(), 1e-14)
    inner = np.sum(v.to_dense() * w.to_dense())
    assert float(manifold.euclidean_inner_product(v, w)) == pytest.approx(inner, abs=1e-14)
    copied = tree(np.copy, v)
    assert type(manifold.linear_combination(1.0, v, 1.0, copied)) is type(v)


@BOTH
def test_norm_of_a_small_difference_keeps_its_digits(manifold):
    x, v = setting(manifold=manifold)
    nearby = manifold.retraction(x, manifold.linear_combination(1e-9, v, 0.0, v))
    difference = manifold.linear_combination(1.0, nearby, -1.0, x)
    assert float(manifold.euclidean_inner_product(difference, difference)) == pytest.approx(1e-18, rel=1e-4, abs=0)


def test_a_factored_matrix_acts_as_its_dense_one():
    x, v = setting()
    columns = np.random.default_rng(0).standard_normal((N, 3))
    rows, cols = np.array([0, 3, 6]), np.array([4, 4, 0])
    for matrix in (x, v, *setting(manifold=TWO_FACTORS), LowRankMatrix(x.U, x.V)):
        dense = matrix.to_dense()
        assert matrix.shape == dense.shape
        assert_close(matrix @ columns, dense @ columns, 1e-14)
        assert_close(matrix.T.to_dense(), dense.T, 1e-15)
        assert_close(matrix.entries(rows, cols), dense[rows, cols], 1e-14)
        assert_close(
            matrix.entries([[0, 1], [2, 3]], [[1, 0], [2, 1]]), dense[[[0, 1], [2, 3]], [[1, 0], [2, 1]]], 1e-14
        )
        again = pickle.loads(pickle.dumps(matrix))
        assert type(again) is type(matrix)
        assert_close(again.to_dense(), dense, 1e-15)
    assert_close(x.singular_values, np.linalg.svd(x.to_dense())[1][:R], 1e-14)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("k", [1, 7, 8, 30])
@pytest.mark.parametrize("count", [0, 1, 14_999, 40_000])
def test_entries_of_many_places(k, count, dtype):
    """More than are gathered at once, by either way, from factors in any layout, at negative places too."""
    rng = np.random.default_rng(0)
    left, right = (
        rng.standard_normal((50, k)).astype(dtype),
        np.asfortranarray(rng.standard_normal((40, k)).astype(dtype)),
    )
    rows, columns = rng.integers(-50, 50, count), rng.integers(0, 40, count).astype("i4")
    entries = LowRankMatrix(left, right).entries(rows, columns)
    assert entries.dtype == dtype
    np.testing.assert_allclose(entries, (left @ right.T)[rows, columns], rtol=0, atol=100 * np.finfo(dtype).eps)
    with pytest.raises(IndexError):
        LowRankMatrix(left, right).entries([0, 50], [0, 0])
    message = (
        r"rows and columns of one shape, got a matrix of shape \(50, 40\) and indices of shapes \(4,\) and \(2, 2\)"
    )
    with pytest.raises(ValueError, match=message):
        LowRankMatrix(left, right).entries([0, 0, 0, 0], [[0, 0], [0, 0]])
    with pytest.raises(ValueError, match=r"entries needs a single matrix, .* got a matrix of shape \(1, 50, 40\)"):
        LowRankMatrix(left[None], right[None]).entries([0], [0])


def test_no_dense_matrix_is_formed():
    """All that a solver does, at m = n = 20000 and rank 2: a dense matrix would take 3.2 GB."""
    n = 20_000
    rng = np.random.default_rng(0)
    gradient = scipy.sparse.random_array((n, n), density=1e-4, rng=rng, format="csr")
    for manifold in (*(FixedRank(n, n, 2, retraction) for retraction in RETRACTIONS), FixedRankTwoFactors(n, n, 2)):
        tracemalloc.start()
        x = manifold.random_point(1)
        geometry, v = manifold.at(x), manifold.random_tangent_vector(x, 2)
        gradient_vector = geometry.riemannian_gradient(gradient)
        geometry.riemannian_hessian(gradient, gradient, v)
        manifold.euclidean_inner_product(gradient, v)
        curve = geometry.retraction_curve(manifold.linear_combination(1.0, v, -0.1, gradient_vector))
        y = curve.point(1.0)
        assert manifold.check_point(y) is None
        manifold.transport(x, y, curve.velocity(0.0))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40e6


@BOTH
def test_ambient_normal_matrices_have_variance_one_and_twice_the_rank(manifold):
    draws = [manifold.standard_normal(seed, manifold.random_point(0)) for seed in range(400)]
    entries = np.stack([draw.to_dense() for draw in draws])
    assert np.mean(entries**2) == pytest.approx(1.0, abs=0.1)
    assert np.linalg.matrix_rank(entries[0]) == 2 * R


# --------------------------------------------------------------------------------------------------- nearest points


@pytest.mark.parametrize("representation", [FixedRank, FixedRankTwoFactors])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array, lambda a: LowRankMatrix(a, np.eye(N))])
@pytest.mark.parametrize("r", [1, 2, 5])
def test_nearest_point_is_the_truncated_svd(make, r, representation):
    a = np.random.default_rng(0).standard_normal((M, N))
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    x = representation(M, N, r).nearest_point(make(a))
    assert_close(x.to_dense(), (u[:, :r] * s[:r]) @ vt[:r], 1e-12)
    assert representation(M, N, r).check_point(x) is None


@pytest.mark.parametrize("retraction", RETRACTIONS)
def test_a_step_that_loses_rank_says_so(retraction):
    x, _ = setting()
    back = MANIFOLD.linear_combination(-1.0, MANIFOLD.projection(x, x), 0.0, MANIFOLD.zero_vector(x))
    curve = FixedRank(M, N, R, retraction).at(x).retraction_curve(back)
    assert_close(curve.point(0.5).to_dense(), 0.5 * x.to_dense(), 1e-14)
    for t in (1.0, np.nan):
        with pytest.raises(RankDeficientError):
            curve.point(t)


# -------------------------------------------------------------------------------------------------- derivatives


def quartic(a):
    """f(X) = |X - A|^2 / 2 + |X|^4 / 8 with gradient and Hessian product, as dense matrices."""

    def cost(x):
        dense = x.to_dense()
        return 0.5 * ((dense - a) ** 2).sum() + (dense**2).sum() ** 2 / 8

    def gradient(x):
        dense = x.to_dense()
        return dense - a + 0.5 * (dense**2).sum() * dense

    def hessian(x, v):
        dense, w = x.to_dense(), v.to_dense()
        return w + 0.5 * (dense**2).sum() * w + (dense * w).sum() * dense

    return cost, gradient, hessian


@BOTH
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_derivatives_of_a_cost_that_is_not_quadratic(kind, manifold):
    a = kind(np.random.default_rng(0).standard_normal((M, N)))
    cost, gradient, hessian = quartic(a)
    check_gradient(cost, manifold, gradient, rng=1, like=kind.like).raise_if_failed()
    check_hessian(cost, manifold, gradient, hessian, rng=1, like=kind.like).raise_if_failed()


@BOTH
def test_autograd_gives_the_gradient_and_no_hessian(manifold):
    a = torch.tensor(np.random.default_rng(0).standard_normal((M, N)))
    cost = quartic(a)[0]
    check_gradient(cost, manifold, rng=1, like=a).raise_if_failed()
    space = Product(matrix=manifold, direction=Sphere(3))
    check_gradient(lambda x: cost(x.matrix) * (1 + x.direction[0] ** 2), space, rng=1, like=a).raise_if_failed()
    with pytest.raises(TypeError, match="second derivatives by the factors of a matrix are not its Hessian"):
        check_hessian(cost, manifold, rng=1, like=a)
    assert space.factored
    assert not Product(Sphere(3)).factored


# ------------------------------------------------------------------------------------------------------- bad input

X, V = setting()
EYE = np.eye(N)
CALLS = {
    "r too large": (lambda: FixedRank(3, 2, 3), ValueError, r"1 <= r <= min\(m, n\) must hold, got m=3, n=2, r=3"),
    "r zero": (lambda: FixedRank(3, 2, 0), ValueError, r"1 <= r <= min"),
    "m not an integer": (lambda: FixedRank(3.0, 2, 1), TypeError, "m must be an integer, got 3.0"),
    "r a bool": (lambda: FixedRank(3, 2, True), TypeError, "r must be an integer, got True"),
    "retraction a string": (lambda: FixedRank(3, 2, 1, "svd"), TypeError, "retraction must be a value"),
    "retraction of frames": (
        lambda: FixedRank(3, 2, 1, Polar()),
        ValueError,
        r"retraction Polar\(.*\) cannot be used on FixedRank\(3, 2, 1\); use ProjectorSplitting\(\) or TruncatedSVD",
    ),
    "retraction of another manifold": (
        lambda: Sphere(3, retraction=TruncatedSVD()).retraction(np.eye(3)[0], np.eye(3)[1]),
        TypeError,
        r"TruncatedSVD\(\) is a retraction of FixedRank, not of Sphere\(3\)",
    ),
    "point an array": (
        lambda: MANIFOLD.at(np.ones((M, N))),
        TypeError,
        r"a point of FixedRank\(7, 5, 2\) is a FixedRankPoint\(U, S, V\), got ndarray; nearest_point makes one",
    ),
    "point of lists": (
        lambda: MANIFOLD.at(X._replace(U=X.U.tolist())),
        TypeError,
        "point.U must be a numpy array or a torch tensor, got list",
    ),
    "point of singular values": (
        lambda: MANIFOLD.at(X._replace(S=np.diag(X.S))),
        ValueError,
        r"point.S has shape \(2,\), but FixedRank\(7, 5, 2\) needs \(2, 2\)",
    ),
    "point transposed": (
        lambda: MANIFOLD.at(FixedRankPoint(X.U, X.S, X.V.T)),
        ValueError,
        r"point.V has shape \(2, 5\), but FixedRank\(7, 5, 2\) needs \(5, 2\)",
    ),
    "point of integers": (
        lambda: MANIFOLD.at(FixedRankPoint(*(np.ones(a.shape, int) for a in X))),
        TypeError,
        "point.U must have a real floating dtype, got int64",
    ),
    "point of two dtypes": (
        lambda: MANIFOLD.at(X._replace(S=X.S.astype("f4"))),
        TypeError,
        "point.S and point.U must agree in library, dtype and device",
    ),
    "nearest point of a list": (
        lambda: MANIFOLD.nearest_point([[1.0]]),
        TypeError,
        "point must be an array, a LowRankMatrix or a scipy sparse matrix, got list",
    ),
    "nearest point of another shape": (
        lambda: MANIFOLD.nearest_point(np.ones((N, M))),
        ValueError,
        r"point has shape \(5, 7\), but FixedRank\(7, 5, 2\) needs \(7, 5\)",
    ),
    "nearest point of NaN": (
        lambda: MANIFOLD.nearest_point(np.full((M, N), np.nan)),
        ValueError,
        "point contains NaN or infinity",
    ),
    "nearest point of integers": (
        lambda: MANIFOLD.nearest_point(np.ones((M, N), int)),
        TypeError,
        "point must have a real floating dtype",
    ),
    "nearest point of low rank": (
        lambda: MANIFOLD.nearest_point(np.ones((M, 1)) @ np.ones((1, N))),
        ValueError,
        "the matrix has a rank below 2; use a smaller rank",
    ),
    "gradient a number": (
        lambda: X.require_vector(1.0, "gradient"),
        TypeError,
        r"gradient must be an m x n matrix: an array, LowRankMatrix\(left, right\), a sparse matrix, or an operator",
    ),
    "gradient of another shape": (
        lambda: X.require_vector(np.ones((N, M)), "gradient"),
        ValueError,
        r"gradient has shape \(5, 7\), but the point has shape \(7, 5\)",
    ),
    "gradient of another dtype": (
        lambda: X.require_vector(np.ones((M, N), "f4"), "gradient"),
        TypeError,
        "gradient is numpy float32 cpu, but the point is numpy float64 cpu",
    ),
    "sparse gradient of another dtype": (
        lambda: X.require_vector(scipy.sparse.csr_array(np.ones((M, N), "f4")), "gradient"),
        TypeError,
        "gradient is a scipy matrix of float32, but the point is numpy float64 cpu",
    ),
    "scipy gradient at a torch point": (
        lambda: tree(torch.asarray, X).require_vector(scipy.sparse.csr_array(np.ones((M, N))), "gradient"),
        TypeError,
        "gradient is a scipy matrix of float64, but the point is torch float64 cpu",
    ),
    "inner product of operators": (
        lambda: MANIFOLD.euclidean_inner_product(aslinearoperator(EYE), aslinearoperator(EYE)),
        TypeError,
        "the inner product of two matrices needs one that is kept as factors",
    ),
    "sum of an operator and factors": (
        lambda: MANIFOLD.linear_combination(1.0, aslinearoperator(np.ones((M, N))), 1.0, V),
        TypeError,
        "matrices can be added as factors, as arrays, or where both are sparse",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_input_is_refused(name):
    call, error, message = CALLS[name]
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error


REASONS = {
    "lost rank": (lambda: MANIFOLD.check_point(X._replace(S=np.diag([1.0, 1e-17]))), "its rank is below 2"),
    "matrix as a vector": (lambda: MANIFOLD.check_tangent(X, np.ones((M, N))), "projection makes one of a matrix"),
    "vector elsewhere": (lambda: MANIFOLD.check_tangent(turned(X), V), "tangent at another point"),
    "vector in another kind": (
        lambda: MANIFOLD.check_tangent(X, tree(lambda a: a.astype("f4"), V)),
        "vector.M and point.U must agree in library, dtype and device",
    ),
    "parts that are no tangent": (lambda: MANIFOLD.check_tangent(X, tuple(V)), "got tuple; projection makes one"),
    "M of another shape": (
        lambda: MANIFOLD.check_tangent(X, FixedRankTangent(X, np.eye(3), V.Up, V.Vp)),
        "vector.M has shape (3, 3), but",
    ),
    "Up and Vp exchanged": (
        lambda: MANIFOLD.check_tangent(X, FixedRankTangent(X, V.M, V.Vp, V.Up)),
        f"vector.Up has shape ({N}, {R}), but",
    ),
    "part is a list": (
        lambda: MANIFOLD.check_tangent(X, FixedRankTangent(X, V.M, V.Up, V.Vp.tolist())),
        "vector.Vp must be a numpy array or a torch tensor, got list",
    ),
    "part of integers": (
        lambda: MANIFOLD.check_tangent(X, FixedRankTangent(X, np.eye(R, dtype=int), V.Up, V.Vp)),
        "vector.M must have a real floating dtype, got int64",
    ),
    "part of NaN": (
        lambda: MANIFOLD.check_tangent(X, FixedRankTangent(X, V.M * np.nan, V.Up, V.Vp)),
        "vector.M contains NaN or infinity",
    ),
    "Up in the span of U": (
        lambda: MANIFOLD.check_tangent(X, FixedRankTangent(X, V.M, V.Up + X.U, V.Vp)),
        "the vector is not tangent: U^T Up = 0 is off by ",
    ),
    "Vp in the span of V": (
        lambda: MANIFOLD.check_tangent(X, FixedRankTangent(X, V.M, V.Up, V.Vp - X.V)),
        "the vector is not tangent: V^T Vp = 0 is off by ",
    ),
    "batch at a single point": (
        lambda: MANIFOLD.check_tangent(X, FixedRankTangent(X, V.M[None], V.Up[None], V.Vp[None])),
        f"the vector has shape (1, {M}, {N}), the point ({M}, {N})",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_checks_give_the_reason(name):
    call, message = REASONS[name]
    assert message in call()
