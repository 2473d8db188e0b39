"""Rules that move a subspace, against dense decompositions, power iterations, exact geodesics and scipy's DCT."""

from itertools import combinations

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from manifolds import (
    ConstantRank,
    DCTBasis,
    ExactSVD,
    GeodesicStep,
    Grassmann,
    RandomBasis,
    RandomizedRange,
    RiemannianStep,
    SubspaceTracker,
)
from manifolds.fast_transforms import cosine_columns, cosine_transform
from manifolds.linalg import squared_norm
from manifolds.subspace.directions import extended, principal_axes, randomized_range
from manifolds.subspace.update_rules import geodesic_step, preconditioned_step
from tests.arrays import KINDS, Kind, assert_close, kind_of, to_float64
from tests.manifolds.spectra import (
    assert_orthonormal,
    assert_same_span,
    best_shares,
    captured,
    frame,
    normal,
    projector,
    span,
    spectra,
    with_spectrum,
)

RULES = {
    "svd": ExactSVD(),
    "range": RandomizedRange(oversampling=2),
    "riemannian": RiemannianStep(eta=0.7, oversampling=2),
    "geodesic": GeodesicStep(oversampling=2),
    "dct": DCTBasis(),
    "random": RandomBasis(),
}
FOLLOWING = ["riemannian", "geodesic"]
SHAPES = [(9, 9), (8, 13), (13, 8), (1, 7), (7, 1), (1, 1)]
every_rule = pytest.mark.parametrize("name", RULES)
in_double_precision = pytest.mark.parametrize("kind", [k for k in KINDS if k.dtype == "float64"], ids=str)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
SIZE = 3


def batch_of(shape, batch, seed=0):
    return normal(*batch, *shape, seed=seed)


# ------------------------------------------------------------------------------------------------ what all rules keep


@every_rule
@every_shape
@pytest.mark.parametrize("batch", [(), (2, 2)], ids=str)
@pytest.mark.parametrize("has_basis", [False, True], ids=["first", "later"])
def test_directions_are_orthonormal_ordered_and_tell_their_energy(name, kind, shape, batch, has_basis):
    m, n = shape
    matrix = kind(batch_of(shape, batch))
    r = min(SIZE, m, n)
    basis = kind(np.linalg.qr(batch_of((m, r), batch, seed=1))[0]) if has_basis else None
    before = to_float64(matrix).copy(), None if basis is None else to_float64(basis).copy()
    found = RULES[name].directions(matrix, SIZE, basis, rng=0)

    expected = {"svd": min(m, n), "dct": r, "random": r}.get(name, min(SIZE + 2, m, n))
    count = r if has_basis and name in FOLLOWING else expected
    assert tuple(found.basis.shape) == (*batch, m, count)
    assert tuple(found.energies.shape) == (*batch, count)
    assert tuple(found.total_energy.shape) == batch
    for array in (found.basis, found.energies, found.total_energy):
        assert kind_of(array) == kind
    assert_orthonormal(found.basis, 50 * kind.eps)

    g, q, energies = before[0], to_float64(found.basis), to_float64(found.energies)
    total = np.sum(g * g, axis=(-2, -1))
    tolerance = 50 * kind.eps * total[..., None]
    assert (np.abs(np.sum((q.swapaxes(-1, -2) @ g) ** 2, axis=-1) - energies) <= tolerance).all()
    assert (energies[..., 1:] <= energies[..., :-1]).all()
    assert (energies >= 0).all()
    np.testing.assert_allclose(to_float64(found.total_energy), total, rtol=20 * kind.eps)

    np.testing.assert_array_equal(to_float64(matrix), before[0])
    if has_basis:
        np.testing.assert_array_equal(to_float64(basis), before[1])


@every_rule
@pytest.mark.parametrize("has_basis", [False, True], ids=["first", "later"])
def test_a_batch_is_its_matrices_one_by_one(name, kind, has_basis):
    """With one seed each."""
    matrices, seeds = batch_of((8, 13), (3,)), [5, 6, 7]
    bases = np.stack([frame(8, SIZE, seed) for seed in range(3)]) if has_basis else None
    together = RULES[name].directions(kind(matrices), SIZE, None if bases is None else kind(bases), seeds)
    for i, seed in enumerate(seeds):
        basis = None if bases is None else kind(bases[i])
        alone = RULES[name].directions(kind(matrices[i]), SIZE, basis, seed)
        assert_same_span(together.basis[i], alone.basis, 200 * kind.eps)
        assert_close(together.energies[i], alone.energies, 100 * kind.eps)
        assert (together.products, together.decompositions) == (alone.products, alone.decompositions)


@every_rule
def test_a_seed_decides_the_directions_in_every_library(name):
    matrix = with_spectrum(9, 14, 0.7 ** np.arange(9))
    start = frame(9, SIZE)
    for basis in (None, start):
        found = {
            str(kind): RULES[name].directions(kind(matrix), SIZE, None if basis is None else kind(basis), rng=3)
            for kind in KINDS
        }
        reference = found["numpy-float64"]
        for kind in KINDS:
            assert_same_span(found[str(kind)].basis, reference.basis, 2000 * kind.eps)
        again = RULES[name].directions(matrix, SIZE, basis, rng=3)
        np.testing.assert_array_equal(again.basis, reference.basis)


def test_only_random_rules_listen_to_the_seed():
    matrix = normal(9, 14)
    for name, rule in RULES.items():
        bases = [rule.directions(matrix, SIZE, rng=seed).basis for seed in (0, 1)]
        assert np.allclose(*bases) == (name in ("svd", "dct"))


def test_a_torch_generator_draws_the_random_matrices():
    matrix = torch.tensor(normal(9, 14))
    bases = [
        RandomizedRange().directions(matrix, SIZE, rng=torch.Generator().manual_seed(seed)).basis for seed in (1, 1, 2)
    ]
    assert torch.equal(bases[0], bases[1])
    assert not torch.allclose(bases[0], bases[2])


@every_rule
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_matrix_does_not_matter(name, kind, scale):
    """Its fourth power is beyond the range of single precision."""
    matrix = with_spectrum(8, 13, 0.5 ** np.arange(8))
    for basis in (None, frame(8, SIZE)):
        start = None if basis is None else kind(basis)
        reference = RULES[name].directions(kind(matrix), SIZE, start, rng=0)
        scaled = RULES[name].directions(kind(scale * matrix), SIZE, start, rng=0)
        assert_same_span(scaled.basis[:, :SIZE], reference.basis[:, :SIZE], 2000 * kind.eps)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    m=st.integers(1, 12),
    n=st.integers(1, 12),
    size=st.integers(1, 14),
    rank=st.integers(0, 12),
    seed=st.integers(0, 1000),
    name=st.sampled_from(list(RULES)),
    kind=st.sampled_from(KINDS),
)
def test_any_shape_size_and_rank_gives_orthonormal_directions(m, n, size, rank, seed, name, kind):
    rank = min(rank, m, n)
    matrix = kind(normal(m, rank, seed=seed) @ normal(rank, n, seed=seed + 1))
    basis = None
    for step in range(2):
        found = RULES[name].directions(matrix, size, basis, rng=step)
        assert_orthonormal(found.basis, 100 * kind.eps)
        assert (to_float64(found.energies) >= 0).all()
        basis = found.basis[:, : min(size, m, n)]
        assert basis.shape[-1] == min(size, m, n)


class CountProducts(TorchFunctionMode):
    """Counts the columns that a matrix, or its transpose, is multiplied with, and its decompositions."""

    def __init__(self, matrix):
        super().__init__()
        self.storage, self.products, self.decompositions = matrix.untyped_storage().data_ptr(), 0, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunction():
            if function.__name__ in ("matmul", "__matmul__"):
                a, b = args
                assert not (self.is_counted(a) and self.is_counted(b))
                self.products += b.shape[-1] if self.is_counted(a) else a.shape[-2] if self.is_counted(b) else 0
            if "svd" in function.__name__:
                self.decompositions += self.is_counted(args[0])
            return function(*args, **(kwargs or {}))

    def is_counted(self, tensor):
        return tensor.untyped_storage().data_ptr() == self.storage


@every_rule
@pytest.mark.parametrize("power_iterations", [0, 1, 2])
def test_products_are_true_counts(name, power_iterations):
    rule = RandomizedRange(2, power_iterations) if name == "range" else RULES[name]
    matrix = torch.tensor(normal(9, 14))
    for basis in (None, torch.tensor(frame(9, SIZE))):
        assert rule.directions(matrix, SIZE, basis, rng=0).decompositions == (name == "svd")
        with CountProducts(matrix) as count:
            found = rule.directions(matrix, SIZE, basis, rng=0)
        assert (found.products, found.decompositions) == (count.products, count.decompositions)
        with CountProducts(matrix) as more:
            grown = extended(found, matrix, 2, rng=0) if found.basis.shape[-1] <= 7 else found
        assert grown.products == found.products + more.products


# ---------------------------------------------------------------------------------------------------- building blocks


@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_principal_axes_are_those_of_the_projected_matrix(kind, batch):
    matrix, basis = batch_of((9, 14), batch), np.linalg.qr(batch_of((9, 4), batch, seed=1))[0]
    axes = principal_axes(kind(basis), kind(matrix), products=3)
    u, s, _ = np.linalg.svd(basis.swapaxes(-1, -2) @ matrix)
    assert_close(axes.energies, s * s, 50 * kind.eps)
    overlap = np.abs((basis @ u).swapaxes(-1, -2) @ to_float64(axes.basis))
    np.testing.assert_allclose(overlap, np.broadcast_to(np.eye(4), overlap.shape), atol=1e3 * kind.eps)
    assert (axes.products, axes.decompositions) == (3 + 4, 0)


def test_the_total_energy_of_a_large_matrix_is_accurate(kind):
    """One running sum in single precision is 1e-3 off for a constant matrix of this size."""
    matrix = kind(np.full((1000, 2000), 0.1))
    exact = 2e6 * float(kind(np.array(0.1))) ** 2
    for view in (matrix, matrix.mT):
        assert float(squared_norm(view)) == pytest.approx(exact, rel=100 * kind.eps)


def test_extended_keeps_the_span_and_takes_the_rest_from_the_residual(kind):
    matrix, basis = normal(9, 14), frame(9, 3)
    start = principal_axes(kind(basis), kind(matrix))
    more = extended(start, kind(matrix), 2, rng=1)
    assert tuple(more.basis.shape) == (9, 5)
    assert_orthonormal(more.basis, 50 * kind.eps)
    residual = matrix - basis @ (basis.T @ matrix)
    sample = residual @ np.random.default_rng(1).standard_normal((14, 2))
    assert_same_span(more.basis, span(np.hstack([basis, sample])), 500 * kind.eps)
    s = np.linalg.svd(projector(more.basis) @ matrix, compute_uv=False)
    assert_close(more.energies, s[:5] ** 2, 100 * kind.eps)


def test_extended_finds_all_of_a_residual_of_low_rank(kind):
    basis = frame(9, 5)
    matrix = basis[:, :3] @ normal(3, 14) + basis[:, 3:] @ normal(2, 14, seed=1)
    more = extended(principal_axes(kind(basis[:, :3]), kind(matrix)), kind(matrix), 2, rng=0)
    assert_same_span(more.basis, projector(basis), 500 * kind.eps)


def test_extended_completes_the_basis_where_no_residual_is_left(kind):
    matrix = frame(9, 3) @ normal(3, 14)
    more = extended(principal_axes(kind(frame(9, 3)), kind(matrix)), kind(matrix), 4, rng=0)
    assert_orthonormal(more.basis, 50 * kind.eps)
    assert captured(more.basis[:, :3], matrix) == pytest.approx(1, abs=100 * kind.eps)
    assert_close(more.energies[3:], np.zeros(4), 100 * kind.eps, scale=np.linalg.norm(matrix) ** 2)


# ----------------------------------------------------------------------------------------------------------- ExactSVD


@every_shape
def test_exact_svd(kind, shape):
    matrix = kind(normal(*shape))
    found = ExactSVD().directions(matrix, 2)
    u, s, _ = np.linalg.svd(to_float64(matrix), full_matrices=False)
    assert_close(found.energies, s * s, 50 * kind.eps)
    assert_same_span(found.basis[:, :1], u[:, :1], 500 * kind.eps)
    assert (found.products, found.decompositions) == (0, 1)
    # Of a transposed view: the leading right vectors of the matrix itself, with the signs of its decomposition.
    plain = np.linalg.svd(matrix, full_matrices=False) if kind.library == "numpy" else torch.linalg.svd(matrix, False)
    if min(shape) > 1:
        np.testing.assert_array_equal(to_float64(ExactSVD().directions(matrix.mT, 2).basis), to_float64(plain[2].mT))


# ---------------------------------------------------------------------------------------------------- RandomizedRange


@in_double_precision
@pytest.mark.parametrize("power_iterations", [0, 1, 2])
def test_randomized_range_is_a_block_power_iteration_of_a_gaussian_sample(kind, power_iterations):
    """And the basis is the same in every library: the test matrix is drawn by numpy."""
    matrix = normal(12, 20)
    found = RandomizedRange(2, power_iterations).directions(kind(matrix), 3, rng=4)
    omega = np.random.default_rng(4).standard_normal((20, 5))
    expected = np.linalg.matrix_power(matrix @ matrix.T, power_iterations) @ matrix @ omega
    assert_same_span(found.basis, span(expected), 1e-10)


def test_randomized_range_takes_the_test_matrix_it_is_given(kind):
    matrix, omega = normal(12, 20), normal(20, 4, seed=2)
    assert_same_span(randomized_range(kind(matrix), kind(omega), 0), span(matrix @ omega), 500 * kind.eps)
    once = randomized_range(kind(matrix), kind(omega))
    assert_same_span(once, span(matrix @ matrix.T @ matrix @ omega), 2000 * kind.eps)


@every_shape
def test_randomized_range_finds_a_matrix_of_low_rank(kind, shape):
    rank = min(2, *shape)
    matrix = kind(normal(shape[0], rank) @ normal(rank, shape[1], seed=1))
    for power_iterations in (0, 1):
        found = RandomizedRange(0, power_iterations).directions(matrix, rank, rng=0)
        assert captured(found.basis, matrix) == pytest.approx(1, abs=100 * kind.eps)


def test_power_iterations_do_not_drown_small_directions_in_rounding():
    """Singular values down to 1e-5: their fifth power, 1e-25, is far below the rounding of single precision."""
    matrix = with_spectrum(30, 40, np.array([1.0, 1e-2, 1e-4, 1e-5])).astype("float32")
    found = RandomizedRange(0, 2).directions(matrix, 4, rng=0)
    u = np.linalg.svd(matrix.astype("float64"))[0][:, :4]
    assert_same_span(found.basis, u, 0.05)


@pytest.mark.parametrize("name", ["flat", "root", "polynomial", "exponential", "step"])
def test_the_error_of_randomized_range_is_within_the_bounds_of_halko_martinsson_tropp(name):
    """E ||A - QQ^T A||^2 <= (1 + r / (p - 1)) tau^2 (Theorem 10.5); the r leading axes add another tau^2 at most."""
    m, n, r, p, runs = 40, 60, 8, 4, 60
    matrix = with_spectrum(m, n, spectra(m)[name])
    tail = np.linalg.norm(matrix) ** 2 * (1 - best_shares(matrix)[r - 1])
    errors = np.zeros((2, 2))
    for seed in range(runs):
        for power_iterations in (0, 1):
            found = RandomizedRange(p, power_iterations).directions(matrix, r, rng=seed)
            for i, count in enumerate((r + p, r)):
                residual = matrix - projector(found.basis[:, :count]) @ matrix
                errors[power_iterations, i] += np.linalg.norm(residual) ** 2 / runs
    bound = np.array([1 + r / (p - 1), 2 + r / (p - 1)]) * tail
    assert (errors <= bound).all()
    # The best that 12 directions and that 8 directions could do.
    assert (errors[:, 0] >= np.linalg.norm(matrix) ** 2 * (1 - best_shares(matrix)[r + p - 1]) - 1e-10).all()
    assert (errors[:, 1] >= tail - 1e-10).all()
    if name == "root":
        assert errors[1, 1] - tail < 0.2 * (errors[0, 1] - tail)


# ----------------------------------------------------------------------------------------------------- RiemannianStep


@every_shape
def test_a_full_riemannian_step_is_one_block_power_iteration(kind, shape):
    r = min(3, *shape)
    matrix, basis = normal(*shape), frame(shape[0], r, seed=1)
    moved = preconditioned_step(kind(basis), kind(matrix), eta=1.0, ridge=0.0)
    assert_orthonormal(moved, 50 * kind.eps)
    condition = np.linalg.cond(matrix.T @ basis) ** 2
    assert_same_span(moved, span(matrix @ matrix.T @ basis), 100 * kind.eps * condition)


@pytest.mark.parametrize("ridge", [0.0, 1e-2, 3.0])
@pytest.mark.parametrize("eta", [0.1, 1.0])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_a_riemannian_step_is_its_formula(kind, eta, ridge, batch):
    """Q + eta (I - QQ^T) G G^T Q (Q^T G G^T Q + ridge tr(Q^T G G^T Q) / r I)^-1, dense."""
    m, r = 8, 3
    matrices, bases = batch_of((m, 13), batch), np.linalg.qr(batch_of((m, r), batch, seed=1))[0]
    moved = to_float64(preconditioned_step(kind(bases), kind(matrices), eta, ridge))
    for i in np.ndindex(*batch):
        g, q = matrices[i], bases[i]
        gram = q.T @ g @ g.T @ q
        inverse = np.linalg.inv(gram + ridge * np.trace(gram) / r * np.eye(r))
        expected = q + eta * (np.eye(m) - q @ q.T) @ g @ g.T @ q @ inverse
        assert_same_span(moved[i], span(expected), 1000 * kind.eps)


def test_the_riemannian_step_goes_uphill_with_the_slope_of_its_formula():
    """d/d eta of ||Q^T G||^2 at 0 is 2 <G G^T Q, T> = 2 tr(S^T S (Q^T G G^T Q)^-1) > 0, with S = (I - QQ^T) G G^T Q."""
    for seed in range(5):
        matrix, q = normal(8, 13, seed=seed), frame(8, 3, seed=seed + 50)
        gram = q.T @ matrix @ matrix.T @ q
        gradient = matrix @ matrix.T @ q - q @ gram
        slope = 2 * np.trace(gradient.T @ gradient @ np.linalg.inv(gram)) / np.linalg.norm(matrix) ** 2
        assert slope > 0
        h = 1e-5
        values = [captured(preconditioned_step(q, matrix, eta, 0.0), matrix) for eta in (h, 2 * h)]
        base = captured(q, matrix)
        # The second-order one-sided difference.
        assert (4 * values[0] - values[1] - 3 * base) / (2 * h) == pytest.approx(slope, rel=1e-6)


def test_the_captured_energy_does_not_fall_at_a_riemannian_step():
    """Neither at a full one, a power iteration, nor at a damped one."""
    for seed in range(40):
        matrix, q = normal(8, 13, seed=seed), frame(8, 3, seed=seed + 50)
        for eta in (0.1, 0.5, 1.0):
            assert captured(preconditioned_step(q, matrix, eta, 1e-6), matrix) >= captured(q, matrix)


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("rank", [1, 2])
def test_directions_without_energy_stay_where_the_rank_of_the_matrix_is_lower(kind, eta, rank):
    """With the default ridge, sqrt(eps): rounding of eps |G|^2 is divided by ridge |G|^2 / r."""
    m, n, r = 20, 30, 8
    tolerance = 20 * np.sqrt(kind.eps)
    for seed in range(5):
        matrix = kind(normal(m, rank, seed=seed) @ normal(rank, n, seed=seed + 50))
        q = kind(frame(m, r, seed + 100))
        found = RiemannianStep(eta).directions(matrix, r, q)
        assert_orthonormal(found.basis, 50 * kind.eps)
        u = np.linalg.svd(to_float64(q).T @ to_float64(matrix))[0]
        without_energy = to_float64(q) @ u[:, rank:]
        np.testing.assert_allclose(projector(found.basis) @ without_energy, without_energy, atol=tolerance)
        if eta == 1.0:
            assert captured(found.basis, matrix) == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("rule", [RiemannianStep(), RiemannianStep(0.3), GeodesicStep()], ids=str)
def test_following_rules_keep_a_subspace_orthogonal_to_the_matrix(kind, rule):
    """There the gradient vanishes: the captured energy is least."""
    basis, matrix = np.eye(7, 3), np.vstack([np.zeros((3, 5)), normal(4, 5)])
    found = rule.directions(kind(matrix), 3, kind(basis))
    assert_same_span(found.basis, basis, 10 * kind.eps)
    assert_close(found.energies, np.zeros(3), kind.eps, scale=1.0)


@pytest.mark.parametrize("rule", [RiemannianStep(), RiemannianStep(0.3), GeodesicStep(), GeodesicStep(0.5)], ids=str)
@pytest.mark.parametrize("shape", [(9, 9), (8, 13), (13, 8)], ids=str)
def test_the_leading_subspace_stays_and_attracts(kind, rule, shape):
    m, n = shape
    matrix = with_spectrum(m, n, np.array([4.0, 3.0, 2.0, 0.2, 0.1]))
    best = np.linalg.svd(matrix)[0][:, :3]
    assert_same_span(rule.directions(kind(matrix), 3, kind(best)).basis, best, 200 * kind.eps)
    basis = kind(frame(m, 3, seed=9))
    for _ in range(80):
        basis = rule.directions(kind(matrix), 3, basis).basis
    assert_orthonormal(basis, 20 * kind.eps)
    assert_same_span(basis, best, 1e-5)


def test_a_damped_riemannian_step_averages_over_noisy_matrices():
    """The singular vectors of the last matrix, and a full step, see only that matrix."""
    m, n, r = 20, 6, 2
    angles = {"average": [], "full step": [], "svd": []}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        signal = frame(m, r, seed)
        trackers = {
            "average": SubspaceTracker(RiemannianStep(0.03), ConstantRank(r), rng=0),
            "full step": SubspaceTracker(RiemannianStep(1.0), ConstantRank(r), rng=0),
            "svd": SubspaceTracker(ExactSVD(), ConstantRank(r)),
        }
        for _ in range(250):
            matrix = 1.5 * signal @ rng.standard_normal((r, n)) + rng.standard_normal((m, n))
            for tracker in trackers.values():
                tracker.update(matrix)
        for name, tracker in trackers.items():
            angles[name].append(np.degrees(scipy.linalg.subspace_angles(signal, tracker.basis)[0]))
    assert max(angles["average"]) < 25
    assert min(angles["svd"] + angles["full step"]) > 30


# ------------------------------------------------------------------------------------------------------- GeodesicStep


def scanned(basis, matrix, v, u):
    """Best angle of the geodesic Q + ((cos t - 1) Q v + sin t u) v^T by a scan, refined twice; and its energy."""

    def energy(t):
        moved = basis + np.outer((np.cos(t) - 1) * (basis @ v) + np.sin(t) * u, v)
        return np.linalg.norm(moved.T @ matrix) ** 2

    center, width = 0.0, np.pi / 2
    for _ in range(6):
        angles = np.linspace(center - width, center + width, 401)
        values = [energy(t) for t in angles]
        center, width = angles[np.argmax(values)], width / 50
    return center, max(values)


def leading_triple(basis, matrix):
    gradient = matrix @ matrix.T @ basis - basis @ (basis.T @ matrix @ matrix.T @ basis)
    u, s, vt = np.linalg.svd(gradient, full_matrices=False)
    return u[:, 0], s[0], vt[0]


@in_double_precision
@pytest.mark.parametrize("shape", [(9, 9), (8, 13), (13, 8), (7, 1)], ids=str)
@pytest.mark.parametrize("step", [0.25, 1.0])
def test_a_geodesic_step_goes_to_the_best_angle_along_the_exact_geodesic(kind, shape, step):
    for seed in range(3):
        m, n = shape
        r = min(3, n)
        matrix, basis = normal(m, n, seed=seed), frame(m, r, seed=seed + 50)
        u, sigma, v = leading_triple(basis, matrix)
        assert sigma > 0.01
        theta, best = scanned(basis, matrix, v, u)
        moved = geodesic_step(kind(basis), kind(matrix), step)
        assert_orthonormal(moved, 1e-14)
        expected = Grassmann(m, r).exp(basis, step * theta * np.outer(u, v))
        assert_same_span(moved, expected, 1e-7)
        # The geodesic has unit speed for a tangent of unit norm.
        assert Grassmann(m, r).dist(basis, to_float64(moved)) == pytest.approx(abs(step * theta), rel=1e-7)
        if step == 1.0:
            energy = np.linalg.norm(to_float64(moved).T @ matrix) ** 2
            assert energy == pytest.approx(best, rel=1e-12)
            assert energy > np.linalg.norm(basis.T @ matrix) ** 2


@every_shape
def test_a_geodesic_step_never_loses_energy_and_moves_wherever_it_can(kind, shape):
    """A published implementation projects with the identity of the wrong size and never moves tall matrices."""
    m, n = shape
    for seed in range(10):
        for r in range(1, min(4, m, n) + 1):
            matrix, basis = kind(normal(m, n, seed=seed)), kind(frame(m, r, seed=seed + 50))
            before, after = captured(basis, matrix), captured(geodesic_step(basis, matrix, 1.0), matrix)
            assert after >= before - 20 * kind.eps
            if r < m:
                assert after > before + 1e-3


def test_a_geodesic_step_of_a_full_basis_stays(kind):
    basis, matrix = frame(5, 5), normal(5, 9)
    assert_same_span(geodesic_step(kind(basis), kind(matrix), 1.0), np.eye(5), 20 * kind.eps)


# ----------------------------------------------------------------------------------------------------------- DCTBasis


@pytest.mark.parametrize("m", [1, 2, 3, 8, 9, 64, 101])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_cosine_transform_is_scipys(kind, m, batch):
    matrix = kind(batch_of((m, 3), batch))
    expected = scipy.fft.dct(to_float64(matrix), type=2, norm="ortho", axis=-2)
    transformed = cosine_transform(matrix)
    assert kind_of(transformed) == kind
    assert_close(transformed, expected, 20 * kind.eps)


@pytest.mark.parametrize("m", [1, 2, 3, 8, 9, 64])
def test_cosine_columns_are_those_of_scipys_inverse_transform(kind, m):
    frequencies = np.arange(m)[::-1].copy()
    index = torch.tensor(frequencies) if kind.library == "torch" else frequencies
    columns = cosine_columns(m, index, kind.like)
    assert kind_of(columns) == kind
    expected = scipy.fft.idct(np.eye(m), type=2, norm="ortho", axis=0)[:, ::-1]
    assert_close(columns, expected, 20 * kind.eps)


def test_cosines_of_large_order_are_accurate_in_single_precision():
    """The phase (2i + 1) k reaches 5e7 here, beyond the integers that single precision holds."""
    m, frequencies = 5000, np.array([0, 1, 2500, 4998, 4999])
    expected = scipy.fft.idct(np.eye(m)[:, frequencies], type=2, norm="ortho", axis=0)
    for kind in (Kind("numpy", "float32"), Kind("torch", "float32")):
        index = torch.tensor(frequencies) if kind.library == "torch" else frequencies
        columns = cosine_columns(m, index, kind.like)
        assert_close(columns, expected, 1e-5)
        assert_orthonormal(columns, 1e-5)
        matrix = kind(normal(m, 6))
        transformed = scipy.fft.dct(to_float64(matrix), type=2, norm="ortho", axis=0)
        assert_close(cosine_transform(matrix), transformed, 1e-5)
        found = DCTBasis().directions(matrix, 4)
        assert captured(found.basis, matrix) == pytest.approx(
            np.sort(np.sum(transformed**2, axis=1))[-4:].sum() / np.sum(transformed**2), rel=1e-5
        )


@pytest.mark.parametrize("shape", [(6, 9), (7, 4), (5, 5)], ids=str)
def test_dct_basis_chooses_the_best_columns(kind, shape):
    """Best of all subsets."""
    m = shape[0]
    columns = scipy.fft.idct(np.eye(m), type=2, norm="ortho", axis=0)
    matrix = kind(normal(*shape))
    found = DCTBasis().directions(matrix, 3)
    best = max(captured(columns[:, list(some)], matrix) for some in combinations(range(m), 3))
    assert captured(found.basis, matrix) == pytest.approx(best, rel=100 * kind.eps)
    assert (found.products, found.decompositions) == (0, 0)
    # They are columns of the cosine basis themselves.
    overlap = np.abs(columns.T @ to_float64(found.basis))
    np.testing.assert_allclose(np.sort(overlap, axis=0)[-1], 1, atol=20 * kind.eps)


# -------------------------------------------------------------------------------------------------------- RandomBasis


def test_random_basis_is_uniform_and_does_not_look_at_the_matrix():
    """The mean of QQ^T over K seeds is (r / m) I; its entries have a standard deviation below 0.5 / sqrt(K)."""
    m, r, runs = 6, 2, 2000
    first, second = normal(m, 9), 7 * normal(m, 9, seed=1)
    mean = np.zeros((m, m))
    for seed in range(runs):
        found = RandomBasis().directions(first, r, rng=seed)
        mean += projector(found.basis) / runs
        if seed < 5:
            assert_same_span(found.basis, RandomBasis().directions(second, r, rng=seed).basis, 1e-14)
    np.testing.assert_allclose(mean, r / m * np.eye(m), rtol=0, atol=5 * 0.5 / np.sqrt(runs))


# ---------------------------------------------------------------------------------------------------------- bad input

BAD_OPTIONS = {
    "oversampling of a half": (
        lambda: RandomizedRange(2.5),
        TypeError,
        "oversampling must be an integer, got 2.5",
    ),
    "oversampling is a bool": (lambda: RandomizedRange(True), TypeError, "oversampling must be an integer, got True"),
    "negative oversampling": (lambda: RandomizedRange(-1), ValueError, "oversampling must not be negative, got -1"),
    "power iterations of text": (
        lambda: RandomizedRange(power_iterations="1"),
        TypeError,
        "power_iterations must be an integer, got '1'",
    ),
    "negative power iterations": (
        lambda: RandomizedRange(power_iterations=-2),
        ValueError,
        "power_iterations must not be negative, got -2",
    ),
    "eta is zero": (lambda: RiemannianStep(0), ValueError, r"eta must lie in \(0, 1\], got 0"),
    "eta above one": (lambda: RiemannianStep(1.5), ValueError, r"eta must lie in \(0, 1\], got 1.5"),
    "eta is no number": (lambda: RiemannianStep(float("nan")), ValueError, r"eta must lie in \(0, 1\], got nan"),
    "eta is text": (lambda: RiemannianStep("fast"), TypeError, "eta must be a number, got 'fast'"),
    "eta is a bool": (lambda: RiemannianStep(True), TypeError, "eta must be a number, got True"),
    "negative ridge": (lambda: RiemannianStep(ridge=-1e-9), ValueError, "ridge must be finite and not negative"),
    "infinite ridge": (lambda: RiemannianStep(ridge=np.inf), ValueError, "ridge must be finite and not negative"),
    "ridge is no number": (lambda: RiemannianStep(ridge=np.nan), ValueError, "ridge must be finite and not negative"),
    "ridge is text": (lambda: RiemannianStep(ridge="small"), TypeError, "ridge must be a number, got 'small'"),
    "oversampling of the first step": (
        lambda: RiemannianStep(oversampling=-1),
        ValueError,
        "oversampling must not be negative, got -1",
    ),
    "step is zero": (lambda: GeodesicStep(0.0), ValueError, r"step must lie in \(0, 1\], got 0.0"),
    "step above one": (lambda: GeodesicStep(2), ValueError, r"step must lie in \(0, 1\], got 2"),
    "step is none": (lambda: GeodesicStep(None), TypeError, "step must be a number, got None"),
    "oversampling of the first geodesic": (
        lambda: GeodesicStep(oversampling=0.5),
        TypeError,
        "oversampling must be an integer, got 0.5",
    ),
    "seed is text": (
        lambda: RandomizedRange().directions(np.eye(3), 2, rng=3.5),
        TypeError,
        "rng must be None, a seed, a numpy.random.Generator or a torch.Generator, got float",
    ),
    "torch generator for numpy": (
        lambda: RandomBasis().directions(np.eye(3), 2, rng=torch.Generator()),
        TypeError,
        "rng is a torch.Generator but the arrays are numpy's",
    ),
}


RULES_AND_BAD_ARGUMENTS = {
    "matrix is a list": (([[1.0]], 1), TypeError, "matrix must be a numpy array or a torch tensor, got list"),
    "matrix is missing": ((None, 1), TypeError, "matrix must be a numpy array or a torch tensor, got NoneType"),
    "matrix is a vector": ((np.ones(3), 1), ValueError, r"matrix must have shape \(\.\.\., m, n\), got \(3,\)"),
    "matrix of integers": ((np.eye(3, dtype=int), 1), TypeError, "matrix must have a real floating dtype, got int64"),
    "complex matrix": ((np.eye(3) + 0j, 1), TypeError, "matrix must have a real floating dtype, got complex128"),
    "integers of torch": ((torch.ones(3, 3, dtype=int), 1), TypeError, "matrix must have a real floating dtype"),
    "size is zero": ((np.eye(3), 0), ValueError, "size must be at least 1, got 0"),
    "size of a half": ((np.eye(3), 1.5), TypeError, "size must be an integer, got 1.5"),
    "size is a bool": ((np.eye(3), True), TypeError, "size must be an integer, got True"),
}


@pytest.mark.parametrize("case", RULES_AND_BAD_ARGUMENTS)
@pytest.mark.parametrize("rule", RULES)
def test_bad_matrices_and_sizes(rule, case):
    arguments, error, message = RULES_AND_BAD_ARGUMENTS[case]
    with pytest.raises(error, match=message) as caught:
        RULES[rule].directions(*arguments)
    assert caught.type is error


@pytest.mark.parametrize("rule", [RiemannianStep(), GeodesicStep()], ids=str)
@pytest.mark.parametrize(
    ("basis", "error", "message"),
    [
        (np.eye(4, 2), ValueError, r"basis must have shape \(\.\.\., 3, r\), got \(4, 2\)"),
        (np.ones(3), ValueError, r"basis must have shape \(\.\.\., 3, r\), got \(3,\)"),
        (np.eye(3, 2, dtype="f4"), TypeError, "basis and matrix must agree in library, dtype and device"),
        (torch.eye(3, 2, dtype=torch.float64), TypeError, "basis and matrix must agree in library, dtype and device"),
        ([[1.0]] * 3, TypeError, "basis must be a numpy array or a torch tensor like matrix, got list"),
    ],
)
def test_bad_bases_to_step_from(rule, basis, error, message):
    with pytest.raises(error, match=message) as caught:
        rule.directions(np.eye(3), 2, basis)
    assert caught.type is error


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(case):
    call, error, message = BAD_OPTIONS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error


def test_rules_are_values():
    assert RandomizedRange(8, 1) == RandomizedRange() != RandomizedRange(4)
    assert RandomizedRange(np.int64(3)).oversampling == 3
    assert RiemannianStep(np.float32(0.5), ridge=0) == RiemannianStep(0.5, ridge=0.0)
    with pytest.raises(AttributeError):
        GeodesicStep().step = 0.5
