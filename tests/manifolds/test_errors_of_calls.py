"""Bad input of points, randomness, sketches and checks: the exact type of the error, and a message that names it."""

import numpy as np
import pytest
import scipy.sparse
import torch

from manifolds import (
    QR,
    CholeskyQR,
    CountSketch,
    Euclidean,
    GaussianSketch,
    GeneralizedStiefel,
    GramOperator,
    Grassmann,
    HadamardSketch,
    IdentityPreconditioner,
    NotPositiveDefiniteError,
    Oblique,
    Polar,
    Product,
    PSDFixedRank,
    RankDeficientError,
    Rotations,
    Sphere,
    Stiefel,
    SymmetricPositiveDefinite,
    check_gradient,
    check_hessian,
    check_manifold,
    check_retraction,
    extreme_eigenvalues,
    gram_preconditioner,
    randomized_nystrom,
)

N, P = 5, 2
EYE = np.eye(N)
TORCH = torch.eye(N, dtype=torch.float64)
FRAME = EYE[:, :P]


class Solver:
    """An object with solve."""

    def __init__(self, solve):
        self.solve = solve


def generalized(B=EYE, preconditioner=None):
    return GeneralizedStiefel(B, P, preconditioner)


ROWS = np.ones((6, 3))
POSITIVE = SymmetricPositiveDefinite(2)
SPHERE, STIEFEL, PRODUCT = Sphere(3), Stiefel(N, P), Product(a=Sphere(3), b=Stiefel(N, P))

CALLS = {
    # points
    "point is a list": (lambda: STIEFEL.at(FRAME.tolist()), TypeError, "point must be a numpy array or a torch tensor"),
    "point of another shape": (
        lambda: STIEFEL.at(np.eye(4, 2)),
        ValueError,
        r"point has shape \(4, 2\), but Stiefel\(5, 2\) needs \(5, 2\)",
    ),
    "point with too few axes": (lambda: STIEFEL.at(np.ones(5)), ValueError, r"point has shape \(5,\)"),
    "point of integers": (
        lambda: STIEFEL.at(FRAME.astype(int)),
        TypeError,
        "point must have a real floating dtype, got int64",
    ),
    "point is complex": (
        lambda: Grassmann(N, P).at(FRAME + 0j),
        TypeError,
        "point must have a real floating dtype, got complex128",
    ),
    "numpy point for torch B": (
        lambda: generalized(TORCH).at(FRAME),
        TypeError,
        "point and B must agree in library, dtype and device: point is a numpy array .* B is a torch array",
    ),
    "torch point for numpy B": (
        lambda: generalized().at(TORCH[:, :P]),
        TypeError,
        "point and B must agree in library, dtype and device: point is a torch array .* B is a numpy array",
    ),
    "float32 point for float64 B": (
        lambda: generalized().at(FRAME.astype("float32")),
        TypeError,
        "point and B must agree in library, dtype and device: point is a numpy array of float32",
    ),
    "array for a product": (lambda: PRODUCT.at(FRAME), TypeError, r"is a tuple of 2 entries \(a, b\), got ndarray"),
    "short tuple for a product": (lambda: PRODUCT.at((FRAME,)), TypeError, r"is a tuple of 2 entries \(a, b\)"),
    "swapped parts of a product": (
        lambda: PRODUCT.at((FRAME, np.ones(3))),
        ValueError,
        r"point has shape \(5, 2\), but Sphere\(3\) needs \(3,\)",
    ),
    "nearest point of another shape": (lambda: STIEFEL.nearest_point(EYE), ValueError, r"point has shape \(5, 5\)"),
    "nearest point of NaN": (lambda: STIEFEL.nearest_point(np.nan * FRAME), ValueError, "point contains NaN"),
    "nearest point of dependent columns": (
        lambda: STIEFEL.nearest_point(np.ones((N, P))),
        RankDeficientError,
        "columns cannot be orthonormalised",
    ),
    "nearest point of zero": (lambda: SPHERE.nearest_point(np.zeros(3)), ValueError, "point is zero or not finite"),
    "nearest point of infinity": (
        lambda: SPHERE.nearest_point(np.array([np.inf, 0, 0])),
        ValueError,
        "point is zero or not finite",
    ),
    # randomness
    "rng is a float": (
        lambda: SPHERE.random_point(0.5),
        TypeError,
        "rng must be None, a seed, a numpy.random.Generator",
    ),
    "rng is a legacy state": (
        lambda: SPHERE.random_point(np.random.RandomState(0)),
        TypeError,
        "rng must be None, a seed, a numpy.random.Generator",
    ),
    "rng of torch for numpy": (
        lambda: SPHERE.random_point(torch.Generator()),
        TypeError,
        r"rng is a torch\.Generator but the arrays are numpy's",
    ),
    "rng of a vector is a word": (
        lambda: SPHERE.random_tangent_vector(np.eye(3)[0], "seed"),
        TypeError,
        "rng must be None, a seed, a numpy.random.Generator",
    ),
    "like is a list": (
        lambda: SPHERE.random_point(0, [1.0]),
        TypeError,
        "like must be a numpy array or a torch tensor",
    ),
    "like of integers": (
        lambda: Euclidean(3).random_point(0, np.arange(3)),
        TypeError,
        "like must have a real floating dtype",
    ),
    "like of another dtype than B": (
        lambda: generalized().random_point(0, np.empty(0, dtype="float32")),
        TypeError,
        "like and B must agree in library, dtype and device",
    ),
    "like of another library than B": (
        lambda: generalized().random_point(0, torch.empty(0, dtype=torch.float64)),
        TypeError,
        "like and B must agree in library, dtype and device",
    ),
    "unit vector of a single point": (
        lambda: Grassmann(3, 3).random_tangent_vector(np.eye(3)),
        ValueError,
        r"Grassmann\(3, 3\) has dimension 0, so it has no tangent vector of unit norm",
    ),
    # geodesics
    "logarithm of the opposite point": (
        lambda: SPHERE.log(np.eye(3)[0], -np.eye(3)[0]),
        ValueError,
        "other is opposite to the point",
    ),
    "logarithm of an orthogonal subspace": (
        lambda: Grassmann(N, P).log(FRAME, EYE[:, P : 2 * P]),
        ValueError,
        "other is orthogonal to the point",
    ),
    "logarithm of NaN": (lambda: STIEFEL.log(FRAME, np.nan * FRAME), ValueError, "other contains NaN or infinity"),
    "logarithm of the opposite frame": (
        lambda: STIEFEL.log(FRAME, -FRAME),
        ValueError,
        "the logarithm in the Euclidean metric did not converge: other is too far from the point",
    ),
    "logarithm of the opposite frame, canonical": (
        lambda: Stiefel(N, P, "canonical").log(FRAME, -FRAME),
        ValueError,
        "the logarithm in the canonical metric did not converge: other is too far from the point",
    ),
    "distance between components": (
        lambda: Stiefel(2, 2).dist(np.eye(2), np.diag([1.0, -1.0])),
        ValueError,
        "other lies in the other component of the manifold",
    ),
    "logarithm of a half turn": (
        lambda: Rotations(2).log(np.eye(2), -np.eye(2)),
        ValueError,
        "other is turned from the point by the angle pi",
    ),
    "logarithm of opposite columns": (
        lambda: Oblique(3, 2).log(np.eye(3, 2), -np.eye(3, 2)),
        ValueError,
        "other is opposite to the point",
    ),
    "exponential of a generalized frame": (
        lambda: generalized().exp(FRAME, FRAME),
        NotImplementedError,
        "has no closed-form exponential; use retraction",
    ),
    # rotations, oblique and positive definite matrices
    "nearest rotation of rank one": (
        lambda: Rotations(3).nearest_point(np.ones((3, 3))),
        RankDeficientError,
        "columns cannot be orthonormalised",
    ),
    "nearest unit columns of a zero column": (
        lambda: Oblique(3, 2).nearest_point(np.array([[1.0, 0.0]] * 3)),
        ValueError,
        r"point is zero or not finite in some column, so no point of Oblique\(3, 2\) is nearest to it",
    ),
    "nearest positive definite matrix of a negative one": (
        lambda: POSITIVE.nearest_point(-np.eye(2)),
        ValueError,
        "point has no positive eigenvalue",
    ),
    "metric at an indefinite matrix": (
        lambda: POSITIVE.norm(np.diag([1.0, -1.0]), np.eye(2)),
        ValueError,
        r"point is not positive definite; start from manifold.nearest_point\(x\)",
    ),
    "distance to an indefinite matrix": (
        lambda: POSITIVE.dist(np.eye(2), np.diag([1.0, -1.0])),
        ValueError,
        "other is not positive definite, so it is at no finite distance",
    ),
    "positive definite point of another shape": (
        lambda: POSITIVE.at(np.eye(3)),
        ValueError,
        r"point has shape \(3, 3\), but SymmetricPositiveDefinite\(2\) needs \(2, 2\)",
    ),
    # factors of positive semidefinite matrices
    "factor of another shape": (
        lambda: PSDFixedRank(N, P).at(EYE),
        ValueError,
        r"point has shape \(\d, \d\), but PSDFixedRank\(\d, \d\) needs \(\d, \d\)",
    ),
    "factor is a list": (
        lambda: PSDFixedRank(2, 1).at([[1.0], [0.0]]),
        TypeError,
        "point must be a numpy array or a torch tensor, got list",
    ),
    "nearest factor of a smaller rank": (
        lambda: PSDFixedRank(3, 2).nearest_point(np.ones((3, 2))),
        ValueError,
        "point has a rank below 2; start from a factor of full rank or use a smaller k",
    ),
    "nearest factor of NaN": (
        lambda: PSDFixedRank(3, 2).nearest_point(np.full((3, 2), np.nan)),
        ValueError,
        "point contains NaN or infinity",
    ),
    "logarithm of a factor in other dimensions": (
        lambda: PSDFixedRank(2, 1).log(np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])),
        ValueError,
        "other is orthogonal to the point in some direction",
    ),
    # sketches
    "rows are a list": (lambda: CountSketch(4).apply([[1.0]]), ValueError, r"rows must be a matrix of shape \(b, d\)"),
    "rows are a vector": (lambda: GaussianSketch(4).apply(np.ones(3)), ValueError, "rows must be a matrix"),
    "rows of integers": (
        lambda: CountSketch(4).apply(np.ones((3, 2), dtype=int)),
        TypeError,
        "rows must have a real floating dtype",
    ),
    "sparse rows of integers": (
        lambda: CountSketch(4).apply(scipy.sparse.eye_array(3, dtype=int)),
        TypeError,
        "rows must have a real floating dtype",
    ),
    "sparse rows for a transform": (
        lambda: HadamardSketch(4).apply(scipy.sparse.eye_array(3)),
        TypeError,
        "rows must be a numpy array or a torch tensor, since HadamardSketch would fill a sparse matrix, .* SparseSign",
    ),
    "out of another dtype than sparse rows": (
        lambda: GaussianSketch(4).apply(scipy.sparse.eye_array(3, dtype="float32"), out=np.zeros((4, 3))),
        TypeError,
        "out and rows must agree in library, dtype and device",
    ),
    "first row is negative": (
        lambda: CountSketch(4).apply(ROWS, first_row=-1),
        ValueError,
        "first_row must not be negative, got -1",
    ),
    "first row is a float": (
        lambda: GaussianSketch(4).apply(ROWS, first_row=2.0),
        TypeError,
        "first_row must be an integer, got 2.0",
    ),
    "out of another shape": (
        lambda: CountSketch(4).apply(ROWS, out=np.zeros((3, 3))),
        ValueError,
        r"out must have shape \(4, 3\), got \(3, 3\)",
    ),
    "out of another dtype": (
        lambda: CountSketch(4).apply(ROWS, out=np.zeros((4, 3), dtype="float32")),
        TypeError,
        "out and rows must agree in library, dtype and device",
    ),
    "out of another library": (
        lambda: GaussianSketch(4).apply(ROWS, out=torch.zeros(4, 3, dtype=torch.float64)),
        TypeError,
        "out and rows must agree in library, dtype and device",
    ),
    # choice of a preconditioner
    "preconditioner of data": (
        lambda: gram_preconditioner(ROWS),
        ValueError,
        r"gram must be a square matrix, got shape \(6, 3\); for the Gram matrix of data X, pass GramOperator\(X\)",
    ),
    "preconditioner with a negative ridge": (
        lambda: gram_preconditioner(EYE, -1),
        ValueError,
        "ridge must be finite and not negative, got -1",
    ),
    "preconditioner of size zero": (lambda: gram_preconditioner(EYE, size=0), ValueError, "size must be at least 1"),
    "preconditioner of a rank that is a float": (
        lambda: gram_preconditioner(EYE, rank=2.0),
        TypeError,
        "rank must be an integer, got 2.0",
    ),
    "preconditioner with a generator": (
        lambda: gram_preconditioner(EYE, seed=np.random.default_rng(0)),
        TypeError,
        "seed must be an integer",
    ),
    "preconditioner of dependent columns": (
        lambda: gram_preconditioner(GramOperator(ROWS)),
        NotPositiveDefiniteError,
        "rank deficient, so M is singular; use a ridge",
    ),
    "Nystrom approximation of too high a rank": (
        lambda: randomized_nystrom(EYE, 6),
        ValueError,
        "rank must be at most the order 5 of gram, got 6",
    ),
    "extreme eigenvalues without steps": (
        lambda: extreme_eigenvalues(EYE, IdentityPreconditioner(), steps=0),
        ValueError,
        "steps must be at least 1, got 0",
    ),
    "extreme eigenvalues of a list": (
        lambda: extreme_eigenvalues([[1.0]], IdentityPreconditioner()),
        TypeError,
        "B must be an array, a sparse matrix, a GramOperator or an object with shape and @, got list",
    ),
    "extreme eigenvalues of a negative matrix": (
        lambda: extreme_eigenvalues(-EYE, IdentityPreconditioner(), rng=0),
        NotPositiveDefiniteError,
        "B must be positive definite",
    ),
    "extreme eigenvalues with a negative preconditioner": (
        lambda: extreme_eigenvalues(EYE, Solver(lambda v: -v), rng=0),
        NotPositiveDefiniteError,
        "preconditioner must be positive definite",
    ),
    "extreme eigenvalues with a matrix": (
        lambda: extreme_eigenvalues(EYE, EYE),
        TypeError,
        r"preconditioner must be an object with solve\(v\) = M\^\{-1\} v, got ndarray",
    ),
    # inner products
    "metric without apply": (
        lambda: generalized(preconditioner=Solver(lambda v: v)).inner_product(FRAME, FRAME, FRAME),
        TypeError,
        "Solver has solve but no apply",
    ),
    # checks
    "point of a check off the manifold": (
        lambda: check_gradient(np.sum, SPHERE, np.ones_like, point=np.ones(3)),
        ValueError,
        "the check needs a point of the manifold .* off the manifold",
    ),
    "direction of a check not tangent": (
        lambda: check_hessian(np.sum, SPHERE, np.ones_like, np.multiply, point=np.eye(3)[0], direction=np.eye(3)[0]),
        ValueError,
        "the check needs .* a tangent vector there, but the vector is not tangent",
    ),
    "point of a check of another shape": (
        lambda: check_retraction(SPHERE, point=np.ones(4)),
        ValueError,
        r"point has shape \(4,\), but Sphere\(3\) needs \(3,\)",
    ),
    "batch of points": (
        lambda: check_manifold(SPHERE, point=np.eye(3)),
        ValueError,
        "the checks take one point, not a batch of points",
    ),
    "order of a check": (lambda: check_retraction(SPHERE, order=3), ValueError, "order must be 1 or 2, got 3"),
    "gradient of a check of another shape": (
        lambda: check_gradient(np.sum, SPHERE, lambda x: x[:2]),
        ValueError,
        r"gradient has shape \(2,\), but the point has shape \(3,\)",
    ),
    "cost of a check is an array": (
        lambda: check_gradient(np.exp, SPHERE, np.exp),
        TypeError,
        "objective must return one number",
    ),
    "check without gradient": (lambda: check_gradient(np.sum, SPHERE), TypeError, "gradient is missing"),
    "check without Hessian": (
        lambda: check_hessian(np.sum, SPHERE, np.ones_like),
        TypeError,
        "no Hessian product; pass hessian=",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(case):
    call, error, message = CALLS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("name", ["log", "dist"])
@pytest.mark.parametrize(
    "manifold",
    [
        Euclidean(3, 3),
        Sphere(3, 3),
        Oblique(3, 3),
        Stiefel(3, 3),
        Stiefel(3, 3, "canonical"),
        Grassmann(3, 3),
        Rotations(3),
        SymmetricPositiveDefinite(3),
        PSDFixedRank(3, 3),
    ],
    ids=str,
)
def test_bad_ends_of_geodesics(manifold, name, library):
    """One that would broadcast, and one that a decomposition would refuse in its own words."""
    x = manifold.random_point(0, library(np.zeros(1)))
    method = getattr(manifold, name)
    with pytest.raises(ValueError, match=r"other has shape \(3, 1\), but .* needs \(3, 3\)") as caught:
        method(x, x[:, :1])
    assert caught.type is ValueError
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="other contains NaN or infinity") as caught:
            method(x, value * x)
        assert caught.type is ValueError
    with pytest.raises(TypeError, match="other must be a numpy array or a torch tensor, got list"):
        method(x, x.tolist())


def test_numpy_integers_are_integers():
    assert Stiefel(np.int64(5), np.int32(2)).dim == 7
    assert CountSketch(np.int64(4), np.int32(0)).apply(ROWS, first_row=np.int64(2)).shape == (4, 3)


@pytest.mark.parametrize("retraction", [CholeskyQR(), QR(), Polar()], ids=str)
def test_a_step_that_loses_rank_is_refused(retraction):
    """x + v with dependent columns."""
    stiefel = Stiefel(4, 2, retraction=retraction)
    x = np.eye(4, 2)
    with pytest.raises(RankDeficientError, match="take a shorter step"):
        stiefel.retraction(x, np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
