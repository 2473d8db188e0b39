"""Bad input of every public constructor: the exact type of the error, and a message that names the argument."""

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import aslinearoperator

from manifolds import (
    QR,
    BlockTransformSketch,
    Cayley,
    CholeskyPreconditioner,
    CountSketch,
    DiagonalPreconditioner,
    Euclidean,
    Exponential,
    FourierSketch,
    GaussianSketch,
    GeneralizedStiefel,
    GramOperator,
    Grassmann,
    HadamardSketch,
    LowRankPreconditioner,
    NotPositiveDefiniteError,
    NystromPreconditioner,
    Oblique,
    Power,
    Product,
    PSDFixedRank,
    Rotations,
    SketchedGramPreconditioner,
    SparseSignSketch,
    Sphere,
    Stiefel,
    SymmetricPositiveDefinite,
    TriangularPreconditioner,
)

N, P = 5, 2
EYE = np.eye(N)
TORCH = torch.eye(N, dtype=torch.float64)
NAN = np.where(np.eye(N) > 0, np.nan, 0.0)
ONES = np.ones((N, P))
SKEWED = EYE + np.triu(np.ones((N, N)), 1)
INDEFINITE = np.diag([1.0, 1.0, 1.0, 1.0, -1.0])


class Operator:
    """An object with shape and @, whose product is a function."""

    shape = (N, N)

    def __init__(self, product):
        self.product = product

    def __matmul__(self, v):
        return self.product(v)


class Solver:
    """An object with solve."""

    def __init__(self, solve):
        self.solve = solve


def generalized(B=EYE, p=P, preconditioner=None, retraction=None):
    return GeneralizedStiefel(B, p, preconditioner, retraction)


CONSTRUCTORS = {
    # dimensions
    "p is zero": (lambda: Stiefel(5, 0), ValueError, "dimensions of a manifold must be positive"),
    "p is negative": (lambda: generalized(p=-1), ValueError, "dimensions of a manifold must be positive"),
    "p is larger than n": (lambda: Stiefel(3, 4), ValueError, "p must be at most n"),
    "p is larger than n, Grassmann": (lambda: Grassmann(3, 4), ValueError, "p must be at most n"),
    "p is larger than n, generalized": (lambda: generalized(p=6), ValueError, "p must be at most n"),
    "p is a float": (lambda: generalized(p=2.0), TypeError, "dimensions of a manifold must be integers, got 2.0"),
    "n is a word": (lambda: Grassmann("5", 2), TypeError, "dimensions of a manifold must be integers, got '5'"),
    "dimension is a bool": (lambda: Sphere(True), TypeError, "dimensions of a manifold must be integers, got True"),
    "shape is a tuple": (lambda: Euclidean((3, 2)), TypeError, "dimensions of a manifold must be integers"),
    "sphere of one coordinate": (lambda: Sphere(1), ValueError, "a sphere needs at least two coordinates"),
    "sphere without coordinates": (lambda: Sphere(), ValueError, "a sphere needs at least two coordinates"),
    "empty Euclidean space": (lambda: Euclidean(0), ValueError, "dimensions of a manifold must be positive"),
    # metric and retraction
    "metric": (
        lambda: Stiefel(5, 2, metric="frobenius"),
        ValueError,
        "metric must be 'euclidean' or 'canonical', got 'frobenius'",
    ),
    "retraction in place of the metric": (
        lambda: Stiefel(5, 2, QR()),
        ValueError,
        "metric must be 'euclidean' or 'canonical', got QR",
    ),
    "retraction is a word": (lambda: Stiefel(5, 2, retraction="qr"), TypeError, "retraction must be a value such as"),
    "retraction is a class": (lambda: Grassmann(5, 2, QR), TypeError, "retraction must be a value such as"),
    "retraction is a function": (
        lambda: generalized(retraction=np.linalg.qr),
        TypeError,
        "retraction must be a value such as",
    ),
    "exponential without one": (
        lambda: generalized(retraction=Exponential()),
        ValueError,
        r"retraction Exponential\(\) cannot be used on GeneralizedStiefel; it has no closed-form exponential: use "
        r"CholeskyQR\(\), QR\(\), Polar\(\) or Cayley\(\)",
    ),
    "retraction of frames on a sphere": (
        lambda: Sphere(3, retraction=QR()),
        ValueError,
        r"retraction QR\(\) cannot be used on Sphere; use None, .* or Exponential\(\)",
    ),
    "Cayley on unit columns": (
        lambda: Oblique(3, 2, Cayley()),
        ValueError,
        r"retraction Cayley\(\) cannot be used on Oblique; use None, .* or Exponential\(\)",
    ),
    "Cayley on positive definite matrices": (
        lambda: SymmetricPositiveDefinite(3, Cayley()),
        ValueError,
        r"retraction Cayley\(\) cannot be used on SymmetricPositiveDefinite; use None, .* or Exponential\(\)",
    ),
    "retraction is a word, sphere": (
        lambda: Sphere(3, retraction="exp"),
        TypeError,
        "retraction must be a value such as",
    ),
    "retraction is a word, rotations": (lambda: Rotations(3, "qr"), TypeError, "retraction must be a value such as"),
    "retraction is a number": (lambda: Rotations(3, 3), TypeError, "retraction must be a value such as"),
    "retraction is a class, positive definite": (
        lambda: SymmetricPositiveDefinite(3, Exponential),
        TypeError,
        "retraction must be a value such as",
    ),
    # rotations, oblique and positive definite matrices
    "rotations of order zero": (lambda: Rotations(0), ValueError, "dimensions of a manifold must be positive"),
    "order is a float": (lambda: Rotations(2.0), TypeError, "dimensions of a manifold must be integers, got 2.0"),
    "positive definite of order zero": (
        lambda: SymmetricPositiveDefinite(0),
        ValueError,
        "dimensions of a manifold must be positive",
    ),
    "order is a tuple": (
        lambda: SymmetricPositiveDefinite((2, 2)),
        TypeError,
        "dimensions of a manifold must be integers",
    ),
    "unit columns of one coordinate": (
        lambda: Oblique(1, 3),
        ValueError,
        "an oblique manifold needs columns of at least two coordinates, got n = 1",
    ),
    "rank larger than the order": (
        lambda: PSDFixedRank(3, 4),
        ValueError,
        "k must be at most n, since the rank of a 3 x 3 matrix cannot be 4",
    ),
    "rank zero": (lambda: PSDFixedRank(3, 0), ValueError, "dimensions of a manifold must be positive"),
    "rank is a float": (lambda: PSDFixedRank(3, 2.0), TypeError, "dimensions of a manifold must be integers, got 2.0"),
    "no unit columns": (lambda: Oblique(3, 0), ValueError, "dimensions of a manifold must be positive"),
    "metric is a number": (
        lambda: Stiefel(5, 2, 1),
        ValueError,
        "metric must be 'euclidean' or 'canonical', got 1",
    ),
    # B
    "B is a list": (lambda: generalized(EYE.tolist()), TypeError, "B must be an array, a sparse matrix or an object"),
    "B is None": (lambda: generalized(None), TypeError, "B must be an array, a sparse matrix or an object"),
    "B is not square": (lambda: generalized(ONES), ValueError, r"B must be a square matrix, got shape \(5, 2\)"),
    "B is a vector": (lambda: generalized(np.ones(5)), ValueError, r"B must be a square matrix, got shape \(5,\)"),
    "B is a batch": (lambda: generalized(EYE[None]), ValueError, r"B must be a square matrix, got shape \(1, 5, 5\)"),
    "B has NaN": (lambda: generalized(NAN), ValueError, "B contains NaN or infinity"),
    "B has infinity": (lambda: generalized(torch.tensor(NAN) + np.inf), ValueError, "B contains NaN or infinity"),
    "B is not symmetric": (lambda: generalized(SKEWED), ValueError, "B must be symmetric"),
    "B is not symmetric, by 1e-5": (
        lambda: generalized(EYE + 1e-5 * np.triu(np.ones((N, N)), 1)),
        ValueError,
        "B must be symmetric",
    ),
    "B is indefinite": (lambda: generalized(INDEFINITE), NotPositiveDefiniteError, "B must be positive definite"),
    "B is indefinite, torch": (
        lambda: generalized(torch.tensor(INDEFINITE)),
        NotPositiveDefiniteError,
        "B must be positive definite",
    ),
    "B is singular": (lambda: generalized(np.ones((N, N))), NotPositiveDefiniteError, "B must be positive definite"),
    "B is zero": (lambda: generalized(0 * EYE), NotPositiveDefiniteError, "B must be positive definite"),
    "B is of integers": (lambda: generalized(np.eye(N, dtype=int)), TypeError, "B must have a real floating dtype"),
    "B is complex": (lambda: generalized(EYE + 0j), TypeError, "B must have a real floating dtype, got complex128"),
    "B is of bools": (lambda: generalized(torch.eye(N) > 0), TypeError, "B must have a real floating dtype"),
    "B large and indefinite": (
        lambda: GeneralizedStiefel(-np.eye(600), 2),
        NotPositiveDefiniteError,
        "B must be positive definite",
    ),
    "B large and not symmetric": (
        lambda: GeneralizedStiefel(np.triu(np.ones((600, 600))), 2),
        ValueError,
        "B must be symmetric",
    ),
    "B sparse and indefinite": (
        lambda: generalized(-scipy.sparse.eye_array(N)),
        NotPositiveDefiniteError,
        "B must be positive definite",
    ),
    "B sparse with NaN": (
        lambda: generalized(scipy.sparse.csr_array(NAN)),
        ValueError,
        "B gives NaN or infinity on a random vector",
    ),
    "B sparse of integers": (
        lambda: generalized(scipy.sparse.eye_array(N, dtype=int)),
        TypeError,
        "B must have a real floating dtype",
    ),
    "B operator, not symmetric": (lambda: generalized(aslinearoperator(SKEWED)), ValueError, "B must be symmetric"),
    "B operator, not square": (
        lambda: generalized(aslinearoperator(ONES)),
        ValueError,
        r"B must be a square matrix, got shape \(5, 2\)",
    ),
    "B operator of another shape": (
        lambda: generalized(Operator(lambda v: v[:3])),
        ValueError,
        r"B maps shape \(5, 5\) to \(3, 5\); it must keep the shape",
    ),
    "B operator of another dtype": (
        lambda: generalized(Operator(lambda v: v.astype("float32"))),
        TypeError,
        "image under B and the vector must agree in library, dtype and device",
    ),
    "B operator that fails": (
        lambda: generalized(Operator(lambda v: np.ones((3, 3)) @ v)),
        TypeError,
        "B cannot take a numpy array of float64",
    ),
    # preconditioner
    "M has another order": (
        lambda: generalized(preconditioner=np.eye(4)),
        ValueError,
        r"preconditioner has shape \(4, 4\), but B has order 5",
    ),
    "M vector of another length": (
        lambda: generalized(preconditioner=np.ones(4)),
        ValueError,
        r"preconditioner has shape \(4, 4\), but B has order 5",
    ),
    "M value of another order": (
        lambda: generalized(preconditioner=CholeskyPreconditioner(np.eye(4))),
        ValueError,
        r"preconditioner has shape \(4, 4\), but B has order 5",
    ),
    "M is not square": (
        lambda: generalized(preconditioner=ONES),
        ValueError,
        "preconditioner cannot be used: matrix must be a square matrix",
    ),
    "M is not symmetric": (
        lambda: generalized(preconditioner=SKEWED),
        ValueError,
        "preconditioner cannot be used: matrix must be symmetric",
    ),
    "M is indefinite": (
        lambda: generalized(preconditioner=INDEFINITE),
        ValueError,
        "preconditioner cannot be used: matrix must be positive definite",
    ),
    "M has NaN": (
        lambda: generalized(preconditioner=NAN),
        ValueError,
        "preconditioner cannot be used: matrix contains NaN",
    ),
    "M vector not positive": (
        lambda: generalized(preconditioner=np.arange(5.0)),
        ValueError,
        "preconditioner cannot be used: diagonal must be positive",
    ),
    "M is a list": (lambda: generalized(preconditioner=[1.0] * 5), TypeError, "preconditioner must be None, a matrix"),
    "M has no solve": (
        lambda: generalized(preconditioner=scipy.sparse.eye_array(N)),
        TypeError,
        r"preconditioner must be None, .* an object with solve",
    ),
    "M is of another library": (
        lambda: generalized(preconditioner=TORCH),
        TypeError,
        "preconditioner and B must agree in library, dtype and device",
    ),
    "M is of another dtype": (
        lambda: generalized(TORCH, preconditioner=TORCH.float()),
        TypeError,
        "preconditioner and B must agree in library, dtype and device",
    ),
    "M vector of another dtype": (
        lambda: generalized(preconditioner=np.ones(5, dtype="float32")),
        TypeError,
        "preconditioner and B must agree in library, dtype and device",
    ),
    "M value of another dtype": (
        lambda: generalized(preconditioner=CholeskyPreconditioner(EYE.astype("float32"))),
        TypeError,
        "preconditioner and B must agree in library, dtype and device",
    ),
    "M of integers": (
        lambda: generalized(preconditioner=np.eye(N, dtype=int)),
        TypeError,
        "preconditioner and B must agree in library, dtype and device",
    ),
    "solve is indefinite": (
        lambda: generalized(preconditioner=Solver(lambda v: INDEFINITE @ v)),
        NotPositiveDefiniteError,
        "preconditioner must be positive definite",
    ),
    "solve is not symmetric": (
        lambda: generalized(preconditioner=Solver(lambda v: SKEWED @ v)),
        ValueError,
        "preconditioner must be symmetric",
    ),
    "solve gives NaN": (
        lambda: generalized(preconditioner=Solver(lambda v: np.nan * v)),
        ValueError,
        "preconditioner gives NaN or infinity",
    ),
    "solve changes the shape": (
        lambda: generalized(preconditioner=Solver(lambda v: v[0])),
        ValueError,
        "preconditioner maps shape",
    ),
    "solve changes the dtype": (
        lambda: generalized(preconditioner=Solver(lambda v: v.astype("float32"))),
        TypeError,
        "image under preconditioner and the vector must agree",
    ),
    "solve of another order": (
        lambda: generalized(preconditioner=Solver(lambda v: np.eye(4) @ v)),
        TypeError,
        "preconditioner cannot take a numpy array of float64",
    ),
    # products
    "product of nothing": (lambda: Product(), ValueError, "give the factors either by position or by name"),
    "product by position and name": (
        lambda: Product(Sphere(3), a=Sphere(3)),
        ValueError,
        "give the factors either by position or by name",
    ),
    "factor is no manifold": (lambda: Product(a=3), TypeError, "factor 'a' must be a Manifold, got int"),
    "factor is a class": (lambda: Product(Sphere), TypeError, "factor 'factor_0' must be a Manifold"),
    "power of a product": (
        lambda: Power(Product(Sphere(3)), 2),
        TypeError,
        r"base must be a manifold whose points are single arrays, such as Rotations\(3\), got Product.*use Product",
    ),
    "power of a class": (lambda: Power(Sphere, 2), TypeError, "base must be a manifold whose points are single arrays"),
    "power of no points": (lambda: Power(Sphere(3), 0), ValueError, "dimensions of a manifold must be positive"),
    "power of half a point": (lambda: Power(Sphere(3), 0.5), TypeError, "dimensions of a manifold must be integers"),
    # preconditioners
    "diagonal is a matrix": (lambda: DiagonalPreconditioner(EYE), ValueError, r"diagonal must be an array of shape"),
    "diagonal is a list": (lambda: DiagonalPreconditioner([1.0]), ValueError, r"diagonal must be an array of shape"),
    "diagonal has a zero": (
        lambda: DiagonalPreconditioner(np.arange(3.0)),
        NotPositiveDefiniteError,
        "diagonal must be positive",
    ),
    "diagonal has NaN": (lambda: DiagonalPreconditioner(np.array([np.nan])), ValueError, "diagonal contains NaN"),
    "diagonal of integers": (
        lambda: DiagonalPreconditioner(np.arange(1, 4)),
        TypeError,
        "diagonal must have a real floating dtype",
    ),
    "factor is not square": (lambda: TriangularPreconditioner(ONES), ValueError, "factor must be a square matrix"),
    "factor is a list": (lambda: TriangularPreconditioner([[1.0]]), ValueError, "factor must be a square matrix"),
    "factor is singular": (
        lambda: TriangularPreconditioner(np.diag([1.0, 0.0])),
        NotPositiveDefiniteError,
        "factor has a zero on its diagonal",
    ),
    "factor has NaN": (lambda: TriangularPreconditioner(NAN), ValueError, "factor contains NaN"),
    "factor of integers": (
        lambda: TriangularPreconditioner(np.eye(2, dtype=int)),
        TypeError,
        "factor must have a real floating dtype",
    ),
    "matrix is a list": (lambda: CholeskyPreconditioner([[1.0]]), TypeError, "matrix must be a numpy array or a torch"),
    "matrix is not square": (lambda: CholeskyPreconditioner(ONES), ValueError, "matrix must be a square matrix"),
    "matrix is not symmetric": (lambda: CholeskyPreconditioner(SKEWED), ValueError, "matrix must be symmetric"),
    "matrix is indefinite": (
        lambda: CholeskyPreconditioner(INDEFINITE),
        NotPositiveDefiniteError,
        "matrix must be positive definite",
    ),
    "matrix has NaN": (lambda: CholeskyPreconditioner(NAN), ValueError, "matrix contains NaN"),
    "sketch is a vector": (
        lambda: SketchedGramPreconditioner(np.ones(3)),
        ValueError,
        r"sketched must be a matrix of shape \(s, d\), got \(3,\)",
    ),
    "sketch has too few rows": (
        lambda: SketchedGramPreconditioner(np.ones((2, 3))),
        NotPositiveDefiniteError,
        "sketched has 2 rows for 3 columns",
    ),
    "sketch is rank deficient": (
        lambda: SketchedGramPreconditioner(np.ones((9, 3))),
        NotPositiveDefiniteError,
        "sketched matrix is rank deficient",
    ),
    "sketch has NaN": (lambda: SketchedGramPreconditioner(NAN), ValueError, "sketched contains NaN"),
    "sketch of integers": (
        lambda: SketchedGramPreconditioner(np.eye(3, dtype=int)),
        TypeError,
        "sketched must have a real floating dtype",
    ),
    "ridge is negative": (
        lambda: SketchedGramPreconditioner(EYE, ridge=-1.0),
        ValueError,
        "ridge must be non-negative, got -1.0",
    ),
    "ridge is NaN": (
        lambda: SketchedGramPreconditioner(EYE, ridge=float("nan")),
        ValueError,
        "ridge must be non-negative, got nan",
    ),
    # low rank, Gram matrices and Nystrom
    "directions are a vector": (
        lambda: LowRankPreconditioner(np.ones(3), np.ones(1), 1.0),
        ValueError,
        r"eigenvectors must be a matrix of shape \(n, r\), got \(3,\)",
    ),
    "directions are not orthonormal": (
        lambda: LowRankPreconditioner(ONES, np.ones(2), 1.0),
        ValueError,
        r"eigenvectors must have orthonormal columns, but U\^T U = I is off by",
    ),
    "too few eigenvalues": (
        lambda: LowRankPreconditioner(EYE, np.ones(2), 1.0),
        ValueError,
        r"eigenvalues must have shape \(5,\), got \(2,\)",
    ),
    "eigenvalue is zero": (
        lambda: LowRankPreconditioner(EYE, np.arange(5.0), 1.0),
        NotPositiveDefiniteError,
        "eigenvalues must be positive; add a ridge",
    ),
    "eigenvalues of another library": (
        lambda: LowRankPreconditioner(EYE, TORCH[0], 1.0),
        TypeError,
        "eigenvalues and eigenvectors must agree in library, dtype and device",
    ),
    "complement is zero": (
        lambda: LowRankPreconditioner(EYE, np.ones(5), 0.0),
        ValueError,
        "complement must be positive and finite, got 0.0",
    ),
    "data are a list": (
        lambda: GramOperator([[1.0]]),
        TypeError,
        "data must be a numpy array, a torch tensor or a scipy sparse matrix, got list",
    ),
    "data are a vector": (lambda: GramOperator(np.ones(3)), ValueError, r"data must be a matrix of shape \(n, d\)"),
    "data are empty": (lambda: GramOperator(np.ones((0, 3))), ValueError, r"that is not empty, got shape \(0, 3\)"),
    "data are integers": (
        lambda: GramOperator(scipy.sparse.eye_array(3, dtype=int)),
        TypeError,
        "data must have a real floating dtype",
    ),
    "ridge of data is negative": (
        lambda: GramOperator(ONES, ridge=-1.0),
        ValueError,
        "ridge must be finite and not negative, got -1.0",
    ),
    "ridge of data is a word": (lambda: GramOperator(ONES, "1"), TypeError, "ridge must be a number, got '1'"),
    "Nystrom of data": (
        lambda: NystromPreconditioner(ONES, 2),
        ValueError,
        r"gram must be a square matrix, got shape \(5, 2\); for the Gram matrix of data X, pass GramOperator\(X\)",
    ),
    "Nystrom of a list": (
        lambda: NystromPreconditioner([[1.0]], 1),
        TypeError,
        "gram must be an array, a sparse matrix, a GramOperator or an object with shape and @, got list",
    ),
    "Nystrom of integers": (
        lambda: NystromPreconditioner(np.eye(3, dtype=int), 1),
        TypeError,
        "gram must have a real floating dtype",
    ),
    "Nystrom rank is zero": (lambda: NystromPreconditioner(EYE, 0), ValueError, "rank must be at least 1, got 0"),
    "Nystrom rank is a float": (lambda: NystromPreconditioner(EYE, 2.0), TypeError, "rank must be an integer, got 2.0"),
    "Nystrom rank is too large": (
        lambda: NystromPreconditioner(EYE, 6),
        ValueError,
        "rank must be at most the order 5 of gram, got 6",
    ),
    "Nystrom ridge is infinite": (
        lambda: NystromPreconditioner(EYE, 2, np.inf),
        ValueError,
        "ridge must be finite and not negative, got inf",
    ),
    "Nystrom of a matrix that is not symmetric": (
        lambda: NystromPreconditioner(SKEWED, 3, rng=0),
        ValueError,
        "gram must be symmetric",
    ),
    "Nystrom of an indefinite matrix": (
        lambda: NystromPreconditioner(INDEFINITE, 5, rng=0),
        ValueError,
        "gram must be positive semidefinite",
    ),
    "Nystrom of NaN": (lambda: NystromPreconditioner(NAN, 3, rng=0), ValueError, "gram gives NaN or infinity"),
    "Nystrom of low rank without a ridge": (
        lambda: NystromPreconditioner(np.zeros((5, 5)), 3, rng=0),
        NotPositiveDefiniteError,
        "gram has a numerical rank below rank = 3 and there is no ridge",
    ),
    "Nystrom of rank two without a ridge": (
        lambda: NystromPreconditioner(ONES @ ONES.T + np.diag([1.0, 0, 0, 0, 0]), 3, rng=0),
        NotPositiveDefiniteError,
        "gram has a numerical rank below rank = 3 and there is no ridge",
    ),
    "Nystrom rng is a word": (lambda: NystromPreconditioner(EYE, 2, rng="a"), TypeError, "rng must be None, a seed"),
    # sketches
    "size is zero": (lambda: CountSketch(0), ValueError, "size must be at least 1, got 0"),
    "size is a float": (lambda: GaussianSketch(4.0), TypeError, "size must be an integer, got 4.0"),
    "no nonzeros": (lambda: SparseSignSketch(4, nonzeros=0), ValueError, "nonzeros must be at least 1, got 0"),
    "more nonzeros than rows": (
        lambda: SparseSignSketch(4, nonzeros=5),
        ValueError,
        "nonzeros must be at most size = 4, got 5",
    ),
    "nonzeros are a float": (
        lambda: SparseSignSketch(4, nonzeros=2.0),
        TypeError,
        "nonzeros must be an integer, got 2.0",
    ),
    "blocks shorter than the result": (
        lambda: FourierSketch(4, block_rows=3),
        ValueError,
        "block_rows must be at least size = 4, since that many of its rows are kept, got 3",
    ),
    "blocks that are no power of two": (
        lambda: HadamardSketch(4, block_rows=12),
        ValueError,
        "block_rows must be a power of two for the Hadamard transform, got 12; FourierSketch takes any length",
    ),
    "block length is a float": (
        lambda: HadamardSketch(4, block_rows=16.0),
        TypeError,
        r"block_rows must be an integer, got 16\.0",
    ),
    "no block": (lambda: FourierSketch(4, block_rows=0), ValueError, "block_rows must be at least 1, got 0"),
    "block length is a bool": (
        lambda: FourierSketch(1, block_rows=True),
        TypeError,
        "block_rows must be an integer, got True",
    ),
    "size of a transform is a half": (lambda: FourierSketch(2.5), TypeError, "size must be an integer, got 2.5"),
    "seed of a transform is text": (
        lambda: HadamardSketch(4, "now"),
        TypeError,
        "seed must be an integer, got 'now'",
    ),
    "seed of a transform is negative": (lambda: FourierSketch(4, -1), ValueError, "seed must be at least 0, got -1"),
    "transform that is not said": (
        lambda: BlockTransformSketch(4),
        TypeError,
        "Can't instantiate abstract class BlockTransformSketch .*abstract method '?_transform",
    ),
    "size of a transform is zero": (lambda: HadamardSketch(0), ValueError, "size must be at least 1, got 0"),
    "seed is negative": (lambda: CountSketch(4, -1), ValueError, "seed must be at least 0, got -1"),
    "seed is a generator": (
        lambda: GaussianSketch(4, np.random.default_rng(0)),
        TypeError,
        "seed must be an integer, got Generator",
    ),
}


@pytest.mark.parametrize("case", CONSTRUCTORS)
def test_constructors(case):
    call, error, message = CONSTRUCTORS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error


def test_symmetry_to_rounding_is_enough():
    """A Gram matrix whose halves were summed in another order passes."""
    a = np.random.default_rng(0).standard_normal((40, N))
    gram = a.T @ a
    gram[0, 1] *= 1 + 1e-14
    assert generalized(gram).n == N
    assert generalized(gram.astype("float32")).n == N
