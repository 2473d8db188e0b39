"""Named kernels on numpy arrays and torch tensors: what the array API lacks, one body per library.

Other arrays that follow the standard get a body in its own terms, slower where the standard lacks an operation.

Every function takes arrays with leading batch dimensions and answers in the library, dtype and device of its input.
Vectors are the columns of the last two axes, so that an ``n x p`` matrix is ``p`` vectors of length ``n``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, is_torch_array
from array_api_compat import numpy as numpy_namespace

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Any
"""A numpy array, a torch tensor, or another array of the Python array API standard."""

Seed: TypeAlias = "int | np.random.Generator | torch.Generator | None"
"""Where randomness comes from: fresh entropy, a seed, or a generator that is advanced."""


def namespace(array: Array) -> Any:
    """Array-API namespace of an array."""
    if type(array) is np.ndarray:  # first, since small problems ask often
        return numpy_namespace
    if is_torch_array(array):
        from array_api_compat import torch as torch_namespace

        return torch_namespace
    if is_numpy_array(array):
        return numpy_namespace
    if not is_array(array):
        raise TypeError(f"expected a numpy array or a torch tensor, got {type(array).__name__}")
    return array_namespace(array)


def _is_numpy(array: Array) -> bool:
    """Whether numpy's and scipy's own routines can be used, asked of what small matrices mostly are first."""
    return type(array) is np.ndarray or is_numpy_array(array)


def _is_torch(array: Array) -> bool:
    """Whether an array is a torch tensor, asked of what small numpy matrices mostly are first."""
    return type(array) is not np.ndarray and is_torch_array(array)


def is_array(value: object) -> bool:
    """Whether the value is a numpy array, a torch tensor, or an array of the standard of another library."""
    return is_numpy_array(value) or is_torch_array(value) or hasattr(type(value), "__array_namespace__")


def is_scipy_sparse(value: object) -> bool:
    """Whether the value is a scipy sparse matrix or array."""
    # Without importing scipy.sparse for whoever has no such matrix.
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "tocsr")


def kind(array: Array) -> tuple[str, str, str]:
    """Library, dtype and device of an array, as words that can be compared and shown."""
    if is_numpy_array(array):
        return "numpy", str(array.dtype), "cpu"
    library = "torch" if is_torch_array(array) else namespace(array).__name__
    return library, str(array.dtype).removeprefix(f"{library}."), str(array.device)


def is_same_kind(a: object, b: Array) -> bool:
    """Whether two arrays share library, dtype and device."""
    if type(a) is np.ndarray and type(b) is np.ndarray:
        return a.dtype == b.dtype
    return is_array(a) and kind(a) == kind(b)


def is_transposed_view(array: Array) -> bool:
    """Whether matrices lie in memory column by column, as the transpose of an ordinary array does."""
    strides = array.stride() if is_torch_array(array) else getattr(array, "strides", None)
    return strides is not None and strides[-2] < strides[-1] and array.shape[-1] > 1


def require_same_kind(array: Array, like: Array, name: str, like_name: str) -> None:
    """Raise a TypeError unless both arrays share library, dtype and device."""
    if is_same_kind(array, like):
        return
    if not is_array(array):
        raise TypeError(f"{name} must be a numpy array or a torch tensor like {like_name}, got {type(array).__name__}")
    raise TypeError(
        f"{name} and {like_name} must agree in library, dtype and device: {name} is {_words(array)}, "
        f"{like_name} is {_words(like)}; convert one of them, nothing is converted silently"
    )


def _words(array: Array) -> str:
    library, dtype, device = kind(array)
    return f"a {library} array of {dtype} on {device}"


def require_real_floating(array: Array, name: str) -> None:
    """Raise a TypeError unless the array is real and of floating point."""
    if type(array) is np.ndarray and array.dtype.kind == "f":
        return
    if not namespace(array).isdtype(array.dtype, "real floating"):
        raise TypeError(f"{name} must have a real floating dtype, got {array.dtype}; convert it first")


def require_finite(array: Array, name: str) -> None:
    """Raise a ValueError if the array holds NaN or infinity."""
    xp = namespace(array)
    if not bool(xp.all(xp.isfinite(array))):
        raise ValueError(f"{name} contains NaN or infinity; clean or impute it first")


def machine_epsilon(array: Array | tuple[Any, ...]) -> float:
    """Spacing of floating-point numbers at one, in the dtype of an array or of the first array of a tuple."""
    if isinstance(array, tuple):
        return machine_epsilon(array[0])
    if type(array) is np.ndarray and array.dtype in _EPSILONS:
        return _EPSILONS[array.dtype]
    return float(namespace(array).finfo(array.dtype).eps)


_EPSILONS = {dtype: float(np.finfo(dtype).eps) for dtype in map(np.dtype, ("float32", "float64"))}


def expand(coefficient: Any, ndim: int) -> Any:
    """Append ``ndim`` axes to a batch of coefficients, so that it multiplies a batch of arrays; numbers pass."""
    if type(coefficient) is float or ndim == 0 or not getattr(coefficient, "ndim", 0):
        return coefficient
    return coefficient[(...,) + (None,) * ndim]


def combination(a: Any, u: Array, b: Any, v: Array, ndim: int = 2) -> Array:
    """Linear combination a u + b v of arrays with ``ndim`` axes, for numbers or batches of numbers a and b.

    Nothing is multiplied by a plain one or zero, which solvers pass often: it would take a third of the time or more.
    """
    if type(a) is not float:
        first = expand(a, ndim) * u
    else:
        first = u if a == 1.0 and not (type(b) is float and b == 0.0) else a * u
    if type(b) is not float:
        return first + expand(b, ndim) * v
    if b == 0.0:
        return first
    return first + (v if b == 1.0 else b * v)


def inner_product(a: Array, b: Array, ndim: int = 2) -> Array:
    """Sum of the products of entries over the last ``ndim`` axes, tr(A^T B) for matrices."""
    if type(a) is np.ndarray and a.ndim == ndim:
        return np.vdot(a, b)
    products, axes = a * b, tuple(range(-ndim, 0))
    if not ndim:
        return products
    return products.sum(axis=axes) if hasattr(products, "sum") else namespace(a).sum(products, axis=axes)


def norm(a: Array, ndim: int = 2) -> Array:
    """Frobenius norm over the last ``ndim`` axes."""
    return inner_product(a, a, ndim) ** 0.5


def squared_norm(a: Array) -> Array:
    """Squared Frobenius norm over the last two axes, by the norms of the rows or columns that lie together in memory.

    In torch this makes no array of the size of A. One sum over all entries would lose digits: in single precision it is
    0.7 % off for a matrix 4096 x 11008.
    """
    vector_norm = namespace(a).linalg.vector_norm
    axis = -2 if is_transposed_view(a) else -1
    return vector_norm(vector_norm(a, axis=axis), axis=-1) ** 2


def largest_absolute(a: Array) -> float:
    """Largest absolute entry, as a number; infinity where an entry is not a number."""
    value = float(namespace(a).max(namespace(a).abs(a)))
    return value if value == value else float("inf")


def symmetric_part(a: Array) -> Array:
    """Symmetric part sym(A) = (A + A^T) / 2."""
    return 0.5 * (a + a.mT)


def skew_part(a: Array) -> Array:
    """Skew-symmetric part skew(A) = (A - A^T) / 2."""
    return 0.5 * (a - a.mT)


def identity(p: int, like: Array) -> Array:
    """Identity matrix ``p x p`` of the kind of an array."""
    if _is_torch(like):
        import torch

        return torch.eye(p, dtype=like.dtype, device=like.device)
    if _is_numpy(like):
        return np.eye(p, dtype=like.dtype)
    return namespace(like).eye(p, dtype=like.dtype, device=like.device)


def is_traced(array: Array) -> bool:
    """Whether ``torch.compile`` traces the computation, so that no entry can be read as a Python number."""
    if not _is_torch(array):
        return False
    import torch

    return torch.compiler.is_compiling()


def cholesky(gram: Array) -> Array | None:
    """Upper-triangular R with R^T R = G, or None where G is not numerically positive definite.

    Only one triangle of G is read, so that G need not be symmetric to the last bit. Under ``torch.compile`` there is no
    None: torch raises its own error where G is not positive definite.
    """
    if _is_torch(gram):
        if is_traced(gram):
            return namespace(gram).linalg.cholesky(gram).mT
        lower, info = namespace(gram).linalg.cholesky_ex(gram)
        return None if bool(info.any()) or not bool(lower.detach().isfinite().all()) else lower.mT
    if gram.ndim == 2 and _is_numpy(gram) and gram.dtype.char in "fd":
        upper, info = _lapack("potrf", gram.dtype.char)(gram)
        # The squares of a column of R add up to a diagonal entry of G, so they overflow only where G does. The columns
        # of LAPACK's result lie together in memory.
        return upper if info == 0 and np.vdot(upper.T, upper.T) < np.inf else None
    xp = namespace(gram)
    try:
        lower = xp.linalg.cholesky(gram)
    except ValueError:  # numpy's LinAlgError is one; the standard names none
        return None
    return lower.mT if bool(xp.all(xp.isfinite(lower))) else None


@cache
def _lapack(name: str, dtype: str) -> Callable[..., Any]:
    """LAPACK's routine for a dtype, "f" or "d": to import it at every call takes longer than to run it."""
    from scipy.linalg import lapack

    return getattr(lapack, {"f": "s", "d": "d"}[dtype] + name)


def triangular_condition(r: Array) -> float:
    """Squared ratio of the extreme diagonal entries of R: a cheap lower estimate of cond(R^T R), largest of a batch."""
    xp = namespace(r)
    diagonal = xp.abs(xp.linalg.diagonal(_detached(r)))
    smallest, largest = xp.min(diagonal, axis=-1), xp.max(diagonal, axis=-1)
    if not bool(xp.all(smallest > 0)):
        return float("inf")
    return float(xp.max(largest / smallest)) ** 2


def inverse_cholesky(gram: Array) -> tuple[Array, float]:
    """Inverse of the upper-triangular R with R^T R = G, and an estimate of cond(G), largest of a batch.

    The estimate (|R|_F |R^{-1}|_F)^2 / p is off by a factor p at most. It is infinite where G is not numerically
    positive definite or its inverse overflows; what is returned for R^{-1} then is of no use. Tensors are read once.
    """
    if _is_torch(gram):
        import torch

        lower, info = torch.linalg.cholesky_ex(gram)
        # Contiguous, since tall matrices are multiplied by it, which takes longer with a transposed one.
        inverse = inverse_triangular(lower.mT).contiguous()
        size, inverse_size = (torch.linalg.vector_norm(a.detach(), dim=(-2, -1)) for a in (lower, inverse))
        size = (size * inverse_size).masked_fill(info != 0, math.inf)
    else:
        r = cholesky(gram)
        if r is None:
            return gram, math.inf
        inverse = inverse_triangular(r)
        size = norm(r.mT) * norm(inverse)
    largest = float(namespace(gram).max(size) if size.ndim else size)
    condition = largest * largest / gram.shape[-1]
    return inverse, condition if condition == condition else math.inf


def _detached(array: Array) -> Array:
    # A number read off an array steers a branch, and has no derivative.
    return array.detach() if _is_torch(array) else array


def solve_triangular(r: Array, b: Array, *, transpose: bool = False) -> Array:
    """Solution Z of R Z = B (R^T Z = B with ``transpose``) for an upper-triangular R shared by a batch of B."""
    if is_torch_array(b):
        solve = namespace(b).linalg.solve_triangular
        return solve(r.mT, b, upper=False) if transpose else solve(r, b, upper=True)
    if not _is_numpy(b):  # the standard knows no triangular systems
        return namespace(b).linalg.solve(r.mT if transpose else r, b)
    from scipy.linalg import solve_triangular as solve_lapack

    return on_columns(lambda v: solve_lapack(r, v, trans=int(transpose), check_finite=False), b)


def inverse_triangular(r: Array) -> Array:
    """Inverse of small upper-triangular matrices, each of a batch its own."""
    if _is_torch(r):
        return namespace(r).linalg.solve_triangular(r, identity(r.shape[-1], r), upper=True)
    if r.ndim == 2 and _is_numpy(r):
        return np.ascontiguousarray(_lapack("trtri", r.dtype.char)(r)[0])
    return namespace(r).linalg.inv(r)


def half_upper(a: Array) -> Array:
    """Upper triangle with its diagonal halved: the U with U + U^T = A for symmetric A."""
    if _is_torch(a):
        return 0.5 * (a.triu() + a.triu(1))
    if _is_numpy(a):
        return a * _upper_halves(a.shape[-1], a.dtype)
    return 0.5 * (namespace(a).triu(a) + namespace(a).triu(a, k=1))


@cache
def _upper_halves(p: int, dtype: np.dtype) -> np.ndarray:
    """One above the diagonal and half on it: a constant, which would take longer to make than all it is used for."""
    halves = (np.triu(np.ones((p, p))) - 0.5 * np.eye(p)).astype(dtype)
    halves.flags.writeable = False
    return halves


def positive_qr(y: Array) -> tuple[Array, Array]:
    """Thin QR factorisation by Householder reflections with a non-negative diagonal of R, which makes it unique."""
    xp = namespace(y)
    q, r = xp.linalg.qr(y)
    diagonal = xp.linalg.diagonal(r)
    signs = xp.where(diagonal < 0, -xp.ones_like(diagonal), xp.ones_like(diagonal))
    return q * signs[..., None, :], r * signs[..., :, None]


def upper_factor(y: Array) -> Array:
    """R of a thin QR factorisation by Householder reflections, whose Q is not formed."""
    if _is_numpy(y):
        return np.linalg.qr(y, mode="r")
    if _is_torch(y):
        import torch

        return torch.linalg.qr(y, mode="r").R
    return namespace(y).linalg.qr(y)[1]


def solve_lyapunov(eigenvalues: Array, eigenvectors: Array, rhs: Array) -> Array:
    """Solution S of C S + S C = R for C = Q diag(lambda) Q^T: S = Q [ (Q^T R Q)_ij / (lambda_i + lambda_j) ] Q^T."""
    sums = eigenvalues[..., :, None] + eigenvalues[..., None, :]
    return eigenvectors @ ((eigenvectors.mT @ rhs @ eigenvectors) / sums) @ eigenvectors.mT


def on_columns(operator: Callable[[Array], Array], v: Array) -> Array:
    """Apply an operator that takes one ``n x k`` matrix to a batch of matrices by laying their columns side by side."""
    if v.ndim == 2:
        return operator(v)
    xp = namespace(v)
    n, p = v.shape[-2:]
    columns = xp.reshape(xp.moveaxis(v, -2, 0), (n, -1))
    image = operator(columns)
    return xp.moveaxis(xp.reshape(image, (image.shape[0], *v.shape[:-2], p)), 0, -2)


def as_generator(rng: Seed, stream: tuple[int, ...] = ()) -> Any:
    """Turn a seed into a ``numpy.random.Generator``; generators of numpy and torch pass as they are.

    Different streams of one seed are independent.
    """
    if rng is None or isinstance(rng, (int, np.integer)):
        return np.random.default_rng(np.random.SeedSequence(rng, spawn_key=stream))
    if isinstance(rng, np.random.Generator) or type(rng).__module__.startswith("torch"):
        return rng
    raise TypeError(
        f"rng must be None, a seed, a numpy.random.Generator or a torch.Generator, got {type(rng).__name__}"
    )


def standard_normal(rng: Seed, shape: Sequence[int], like: Array) -> Array:
    """Independent standard normal entries in the kind of ``like``.

    A numpy generator (or seed) draws in float64 and converts, so that one seed gives one matrix in every library and
    dtype, up to rounding; a torch generator draws on its own device.
    """
    generator = as_generator(rng)
    if not is_array(like):
        raise TypeError(f"like must be a numpy array or a torch tensor, got {type(like).__name__}")
    require_real_floating(like, "like")
    if isinstance(generator, np.random.Generator):
        return convert(generator.standard_normal(tuple(shape)), like)
    if not is_torch_array(like):
        raise TypeError("rng is a torch.Generator but the arrays are numpy's; pass a seed or a numpy.random.Generator")
    xp = namespace(like)
    draw = xp.randn(tuple(shape), generator=generator, dtype=like.dtype, device=generator.device)
    return draw.to(like.device)


def convert(values: np.ndarray, like: Array) -> Array:
    """Copy numpy values into the library, dtype and device of ``like``."""
    if is_torch_array(like):
        return namespace(like).asarray(np.ascontiguousarray(values)).to(dtype=like.dtype, device=like.device)
    if _is_numpy(like):
        return np.asarray(values, dtype=like.dtype)
    return namespace(like).asarray(values, dtype=like.dtype, device=like.device)


def to_numpy(array: Array) -> np.ndarray:
    """Values of an array as numpy, for reports and small final results."""
    return array.detach().cpu().numpy() if is_torch_array(array) else np.asarray(array)
