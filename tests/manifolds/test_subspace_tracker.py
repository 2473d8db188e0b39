"""The tracker against dense formulas, on streams of matrices of every shape, side and kind."""

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import IncrementalPCA

from manifolds import (
    ConstantRank,
    DCTBasis,
    EnergyRank,
    ExactSVD,
    GeodesicStep,
    RandomBasis,
    RandomizedRange,
    RiemannianStep,
    SubspaceTracker,
)
from manifolds.subspace.directions import principal_axes
from manifolds.subspace.tracker import adapt, adapt_rank
from tests.arrays import KINDS, Kind, assert_close, kind_of, to_float64
from tests.manifolds.spectra import (
    assert_orthonormal,
    assert_same_span,
    captured,
    frame,
    normal,
    projector,
    with_spectrum,
)

RULES = {
    "range": RandomizedRange(),
    "svd": ExactSVD(),
    "riemannian": RiemannianStep(eta=0.5),
    "geodesic": GeodesicStep(),
    "dct": DCTBasis(),
    "random": RandomBasis(),
}
SHAPES = [(12, 12), (9, 20), (20, 9), (1, 8), (8, 1)]
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def stream(shape, length=6):
    """Matrices whose leading subspace and spectrum change."""
    k = min(shape)
    return [with_spectrum(*shape, (0.3 + 0.1 * i) ** np.arange(k), seed=i) for i in range(length)]


# ------------------------------------------------------------------------------------------------------ what it tells


@every_rule
@every_shape
@pytest.mark.parametrize("side", ["left", "right"])
def test_what_an_update_tells_is_true(kind, rule, shape, side):
    tracker = SubspaceTracker(rule, EnergyRank(0.9, max_rank=5), side, rng=0)
    assert (tracker.basis, tracker.rank, tracker.n_updates, tracker.n_products) == (None, 0, 0, 0)
    old, products, decompositions = None, 0, 0
    for i, values in enumerate(stream(shape)):
        matrix = kind(values)
        before = to_float64(matrix).copy()
        change = tracker.update(matrix)
        is_left = side == "left"
        oriented = before if is_left else before.T

        assert kind_of(tracker.basis) == kind
        assert tuple(tracker.basis.shape) == (oriented.shape[0], change.rank)
        assert 1 <= change.rank == tracker.rank <= min(5, *shape)
        assert_orthonormal(tracker.basis, 50 * kind.eps)
        assert type(change.captured_energy) is float
        assert change.captured_energy == pytest.approx(captured(tracker.basis, oriented), abs=50 * kind.eps)
        assert change.captured_energy <= 1
        q = to_float64(tracker.basis)
        if old is None:
            assert change.rotation is None
        else:
            assert kind_of(change.rotation) == kind
            assert_close(change.rotation, q.T @ old, 20 * kind.eps, scale=1.0)

        low = tracker.project(matrix)
        assert kind_of(low) == kind
        assert_close(low, q.T @ before if is_left else before @ q, 50 * kind.eps, scale=np.linalg.norm(before))
        assert_close(
            tracker.lift(low),
            q @ (q.T @ before) if is_left else before @ q @ q.T,
            50 * kind.eps,
            scale=np.linalg.norm(before),
        )
        np.testing.assert_array_equal(to_float64(matrix), before)

        products += change.products
        decompositions += change.decompositions
        counts = (tracker.n_updates, tracker.n_products, tracker.n_decompositions)
        assert counts == (i + 1, products, decompositions)
        old = q


@every_rule
def test_a_right_basis_is_the_left_basis_of_the_transpose(kind, rule):
    left, right = (SubspaceTracker(rule, EnergyRank(0.9), side, rng=1) for side in ("left", "right"))
    for values in stream((9, 20)):
        change, transposed = left.update(kind(values)), right.update(kind(values.T))
        assert_same_span(left.basis, right.basis, 2000 * kind.eps)
        assert (change.rank, change.products, change.decompositions) == transposed[2:]
        assert change.captured_energy == pytest.approx(transposed.captured_energy, abs=50 * kind.eps)


@every_rule
def test_a_seed_decides_all_in_every_library(rule):
    trackers = {kind: SubspaceTracker(rule, EnergyRank(0.9), rng=1) for kind in KINDS}
    again = SubspaceTracker(rule, EnergyRank(0.9), rng=1)
    for values in stream((9, 20)):
        changes = {kind: tracker.update(kind(values)) for kind, tracker in trackers.items()}
        again.update(values)
        reference = trackers[KINDS[1]]
        np.testing.assert_array_equal(again.basis, reference.basis)
        for kind in KINDS:
            assert changes[kind].rank == again.rank
            assert changes[kind].products == changes[KINDS[1]].products
            assert_same_span(trackers[kind].basis, reference.basis, 2e4 * kind.eps)


def test_the_random_draws_of_a_stream_are_different():
    tracker = SubspaceTracker(RandomBasis(), ConstantRank(2), rng=0)
    bases = [(tracker.update(np.eye(6)), projector(tracker.basis))[1] for _ in range(2)]
    assert not np.allclose(*bases)


def test_generators_are_taken_and_advanced():
    matrix = normal(9, 14)
    generator = np.random.default_rng(5)
    first, second = (SubspaceTracker(RandomBasis(), ConstantRank(2), rng=generator) for _ in range(2))
    first.update(matrix)
    second.update(matrix)
    assert not np.allclose(first.basis, second.basis)
    seeded = SubspaceTracker(RandomBasis(), ConstantRank(2), rng=np.random.default_rng(5))
    seeded.update(matrix)
    np.testing.assert_array_equal(seeded.basis, first.basis)
    trackers = [SubspaceTracker(rank=ConstantRank(2), rng=torch.Generator().manual_seed(3)) for _ in range(2)]
    for tracker in trackers:
        tracker.update(torch.tensor(matrix))
    assert torch.equal(trackers[0].basis, trackers[1].basis)


def test_defaults_and_words():
    tracker = SubspaceTracker()
    assert (tracker.rule, tracker.rank_rule, tracker.side) == (RandomizedRange(), EnergyRank(), "left")
    words = repr(SubspaceTracker(GeodesicStep(0.5), ConstantRank(3), "short"))
    assert words == (
        "SubspaceTracker(rule=GeodesicStep(step=0.5, oversampling=8), rank=ConstantRank(rank=3), side='short')"
    )


# ------------------------------------------------------------------------------------------------------- special input


@every_rule
def test_zeros_keep_the_basis(kind, rule):
    tracker = SubspaceTracker(rule, EnergyRank(0.9, max_rank=5), rng=0)
    tracker.update(kind(stream((9, 20))[3]))
    basis, rank = to_float64(tracker.basis).copy(), tracker.rank
    assert rank > 1
    change = tracker.update(kind(np.zeros((9, 20))))
    np.testing.assert_array_equal(to_float64(tracker.basis), basis)
    assert (change.captured_energy, change.rank) == (1.0, rank)
    assert_close(change.rotation, np.eye(rank), 20 * kind.eps)


@pytest.mark.parametrize("scale", [1e-15, 1e10])
def test_a_tiny_or_huge_matrix_moves_the_basis_like_any_other(kind, scale):
    first, second = stream((9, 20), 2)
    plain, scaled = (SubspaceTracker(rank=EnergyRank(0.9), rng=0) for _ in range(2))
    for values in (first, second):
        change, other = plain.update(kind(values)), scaled.update(kind(scale * values))
        assert other.captured_energy == pytest.approx(change.captured_energy, abs=20 * kind.eps)
        assert_same_span(scaled.basis, plain.basis, 2000 * kind.eps)


@every_rule
@pytest.mark.parametrize("shape", [(9, 20), (20, 9), (1, 4)], ids=str)
def test_zeros_first_give_some_basis_that_later_matrices_turn(kind, rule, shape):
    tracker = SubspaceTracker(rule, EnergyRank(0.9, max_rank=5), rng=0)
    change = tracker.update(kind(np.zeros(shape)))
    assert (change.rotation, change.captured_energy, change.rank) == (None, 1.0, 1)
    assert_orthonormal(tracker.basis, 20 * kind.eps)
    change = tracker.update(kind(with_spectrum(*shape, [1.0])))
    assert change.captured_energy >= 0.9 or change.rank == min(5, *shape)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("rule", [RiemannianStep(0.5), GeodesicStep()], ids=str)
def test_a_short_block_of_a_stream_does_not_cost_directions_that_are_followed(kind, rule, side):
    """Fewer columns (rows) than the rank say nothing about the other directions; those without energy stay."""
    tracker = SubspaceTracker(rule, ConstantRank(5), side, rng=0)
    ranks = []
    for length in (14, 14, 3, 1, 14):
        block = normal(12, length, seed=length)
        old = tracker.basis
        tracker.update(kind(block if side == "left" else block.T))
        ranks.append(tracker.rank)
        if length == 1:
            q = to_float64(old)
            still = q @ np.linalg.svd(q.T @ block)[0][:, 1:]
            np.testing.assert_allclose(projector(tracker.basis) @ still, still, atol=20 * np.sqrt(kind.eps))
        assert_orthonormal(tracker.basis, 50 * kind.eps)
    assert ranks == [5, 5, 5, 5, 5]


@pytest.mark.parametrize("rule", [RandomizedRange(), ExactSVD(), DCTBasis(), RandomBasis()], ids=str)
def test_rules_that_start_anew_give_a_short_block_no_more_directions_than_it_has_columns(rule):
    tracker = SubspaceTracker(rule, ConstantRank(5), rng=0)
    assert [tracker.update(normal(12, length)).rank for length in (14, 3, 1, 14)] == [5, 3, 1, 5]


@every_rule
def test_blocks_that_are_views_are_read_as_they_lie(kind, rule):
    values = stream((9, 20))[2]
    plain, view = (SubspaceTracker(rule, ConstantRank(3), rng=0) for _ in range(2))
    for _ in range(2):
        plain.update(kind(values))
        view.update(kind(np.repeat(np.repeat(values, 2, axis=0), 3, axis=1))[::2, 1::3])
    assert_same_span(view.basis, plain.basis, 2000 * kind.eps)


def test_the_basis_does_not_hold_on_to_autograd_graphs():
    matrix = torch.tensor(normal(9, 14), requires_grad=True)
    for rule in RULES.values():
        tracker = SubspaceTracker(rule, EnergyRank(0.9), rng=0)
        for _ in range(2):
            change = tracker.update(2 * matrix)
        assert not tracker.basis.requires_grad
        assert not change.rotation.requires_grad
    # What is projected stays differentiable.
    tracker.project(matrix).sum().backward()
    assert_close(matrix.grad, np.broadcast_to(np.sum(to_float64(tracker.basis), axis=1)[:, None], (9, 14)), 1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_rule
def test_a_basis_on_a_cuda_device_stays_there(rule):
    device = Kind("torch", "float64", "cuda")
    ours, theirs = (SubspaceTracker(rule, EnergyRank(0.9), rng=1) for _ in range(2))
    for values in stream((9, 20)):
        ours.update(values)
        theirs.update(device(values))
        assert kind_of(theirs.basis) == device
        assert_same_span(theirs.basis, ours.basis, 1e-10)


# ----------------------------------------------------------------------------------------------------------- bad input


def after_updates(*matrices, **options):
    tracker = SubspaceTracker(rank=ConstantRank(2), rng=0, **options)
    for matrix in matrices:
        tracker.update(matrix)
    return tracker


EYE, TORCH = np.eye(4, 6), torch.eye(4, 6, dtype=torch.float64)
BAD_INPUT = {
    "rule is a class": (
        lambda: SubspaceTracker(rule=ExactSVD),
        TypeError,
        r"rule must be an UpdateRule such as RandomizedRange\(\)",
    ),
    "rule is a rank rule": (lambda: SubspaceTracker(EnergyRank()), TypeError, "rule must be an UpdateRule"),
    "rank is a number": (
        lambda: SubspaceTracker(rank=8),
        TypeError,
        r"rank must be a RankRule such as ConstantRank\(8\), got 8",
    ),
    "side": (
        lambda: SubspaceTracker(side="top"),
        ValueError,
        r"side must be one of \('left', 'right', 'short', 'long'\), got 'top'",
    ),
    "rng": (lambda: SubspaceTracker(rng="seed"), TypeError, "rng must be None, a seed, .* got str"),
    "list": (lambda: after_updates([[1.0]]), TypeError, "matrix must be a numpy array or a torch tensor, got list"),
    "vector": (lambda: after_updates(np.ones(3)), ValueError, r"matrix must have two axes .* got shape \(3,\)"),
    "batch": (lambda: after_updates(np.ones((2, 3, 4))), ValueError, r"matrix must have two axes .* \(2, 3, 4\)"),
    "no rows": (lambda: after_updates(np.ones((0, 3))), ValueError, r"no empty one, got shape \(0, 3\)"),
    "no columns": (lambda: after_updates(torch.ones(3, 0)), ValueError, r"no empty one, got shape \(3, 0\)"),
    "integers": (
        lambda: after_updates(np.eye(3, dtype=int)),
        TypeError,
        "matrix must have a real floating dtype, got int64",
    ),
    "torch integers": (
        lambda: after_updates(torch.eye(3, dtype=torch.int32)),
        TypeError,
        "matrix must have a real floating dtype, got torch.int32",
    ),
    "complex": (lambda: after_updates(np.eye(3) + 0j), TypeError, "matrix must have a real floating dtype"),
    "not a number": (
        lambda: after_updates(np.where(EYE == 0, np.nan, 1.0)),
        ValueError,
        "matrix contains NaN or infinity",
    ),
    "infinity": (lambda: after_updates(TORCH, TORCH / 0), ValueError, "matrix contains NaN or infinity"),
    "numpy after torch": (
        lambda: after_updates(TORCH, EYE),
        TypeError,
        "matrix and the basis must agree in library, dtype and device: matrix is a numpy array",
    ),
    "torch after numpy": (
        lambda: after_updates(EYE, TORCH),
        TypeError,
        "matrix and the basis must agree in library, dtype and device: matrix is a torch array",
    ),
    "single after double": (
        lambda: after_updates(EYE, EYE.astype("float32")),
        TypeError,
        "matrix is a numpy array of float32 on cpu, the basis is a numpy array of float64",
    ),
    "other rows": (
        lambda: after_updates(EYE, np.eye(5, 6)),
        ValueError,
        r"matrix must have 4 rows like the matrices before, got shape \(5, 6\)",
    ),
    "other columns": (
        lambda: after_updates(EYE, np.eye(4, 5), side="right"),
        ValueError,
        r"matrix must have 6 columns like the matrices before, got shape \(4, 5\)",
    ),
    "transposed": (
        lambda: after_updates(EYE, EYE.T, side="short"),
        ValueError,
        r"matrix must have 4 rows like the matrices before, got shape \(6, 4\)",
    ),
    "project before the first update": (
        lambda: after_updates().project(EYE),
        ValueError,
        "the tracker has no basis yet; call update",
    ),
    "lift before the first update": (lambda: after_updates().lift(EYE), ValueError, "the tracker has no basis yet"),
    "project another shape": (
        lambda: after_updates(EYE).project(np.eye(5, 6)),
        ValueError,
        "matrix must have 4 rows like the matrices before",
    ),
    "project another library": (
        lambda: after_updates(EYE).project(TORCH),
        TypeError,
        "matrix and the basis must agree",
    ),
    "project a vector": (lambda: after_updates(EYE).project(np.ones(4)), ValueError, "matrix must have two axes"),
    "lift other coordinates": (
        lambda: after_updates(EYE).lift(np.ones((3, 6))),
        ValueError,
        r"low must have 2 coordinates along axis -2, got shape \(3, 6\)",
    ),
    "lift other coordinates of a right basis": (
        lambda: after_updates(EYE, side="right").lift(np.ones((2, 6))),
        ValueError,
        r"low must have 2 coordinates along axis -1, got shape \(2, 6\)",
    ),
    "lift a vector": (
        lambda: after_updates(EYE).lift(np.ones(2)),
        ValueError,
        r"low must have 2 coordinates along axis -2, got shape \(2,\)",
    ),
    "lift another dtype": (
        lambda: after_updates(EYE).lift(np.ones((2, 6), dtype="float32")),
        TypeError,
        "low and the basis must agree in library, dtype and device",
    ),
    "lift a list": (lambda: after_updates(EYE).lift([1.0]), TypeError, "low must be a numpy array or a torch tensor"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case):
    call, error, message = BAD_INPUT[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error


@pytest.mark.parametrize("bad", [np.full((9, 20), np.nan), np.ones((8, 20)), np.ones((9, 20), dtype="float32")])
def test_a_refused_matrix_leaves_the_tracker_as_it_was(bad):
    tracker, other = (SubspaceTracker(rank=ConstantRank(3), rng=0) for _ in range(2))
    first, second = stream((9, 20), 2)
    tracker.update(first)
    other.update(first)
    with pytest.raises((TypeError, ValueError)):
        tracker.update(bad)
    tracker.update(second)
    other.update(second)
    np.testing.assert_array_equal(tracker.basis, other.basis)
    assert (tracker.n_updates, tracker.n_products) == (other.n_updates, other.n_products)


def test_a_refused_first_matrix_does_not_decide_the_side():
    tracker = SubspaceTracker(side="short", rng=0)
    with pytest.raises(ValueError, match="NaN"):
        tracker.update(np.full((3, 5), np.nan))
    tracker.update(np.ones((5, 3)))
    assert tracker.side == "right"


@pytest.mark.parametrize(
    ("shape", "short"), [((9, 20), "left"), ((20, 9), "right"), ((4, 4), "left"), ((1, 3), "left"), ((3, 1), "right")]
)
def test_short_and_long_mean_a_side(kind, shape, short):
    """A square matrix has its short side on the left."""
    long = "right" if short == "left" else "left"
    for side, expected in (("short", short), ("long", long)):
        by_shape, by_name = (SubspaceTracker(rank=ConstantRank(2), side=word, rng=0) for word in (side, expected))
        for values in stream(shape, 2):
            by_shape.update(kind(values))
            by_name.update(kind(values))
            np.testing.assert_array_equal(to_float64(by_shape.basis), to_float64(by_name.basis))
            low = by_shape.project(kind(values))
            np.testing.assert_array_equal(to_float64(low), to_float64(by_name.project(kind(values))))
            assert tuple(by_shape.lift(low).shape) == shape
        assert by_shape.side == expected


def test_the_side_is_decided_once_by_the_first_matrix():
    """Later blocks may be of any length."""
    tracker = after_updates(np.eye(4, 6), np.eye(4, 2), np.eye(4), side="short")
    assert (tracker.side, tracker.basis.shape[0]) == ("left", 4)


# ------------------------------------------------------------------------------------- the functions that others share


@every_rule
def test_adapt_is_what_the_tracker_does(kind, rule):
    """One generator for a whole stream."""
    rng = np.random.default_rng(2)
    tracker = SubspaceTracker(rule, EnergyRank(0.9), rng=2)
    basis = None
    for values in stream((9, 20)):
        change = tracker.update(kind(values))
        adapted = adapt(rule, EnergyRank(0.9), kind(values), basis, rng)
        basis = adapted.basis
        np.testing.assert_array_equal(to_float64(basis), to_float64(tracker.basis))
        assert (adapted.captured_energy, adapted.rank, adapted.products, adapted.decompositions) == change[1:]
        assert adapted.total_energy == pytest.approx(np.linalg.norm(values) ** 2, rel=20 * kind.eps)


@every_rule
@pytest.mark.parametrize("quantum", [1, 4, 9])
def test_allocated_directions_are_the_best_and_all_count(kind, rule, quantum):
    """Ranks rounded up to a multiple, as the optimizers do."""

    def allocate(rank):
        asked.append(rank)
        return min(quantum * -(-rank // quantum), 9)

    basis = None
    for values in stream((9, 20)):
        asked = []
        matrix = kind(values)
        adapted = adapt(rule, EnergyRank(0.9), matrix, basis, 3, allocate)
        assert adapted.rank == asked[-1]
        assert adapted.basis.shape[-1] == allocate(adapted.rank) >= adapted.rank
        assert_orthonormal(adapted.basis, 50 * kind.eps)
        assert adapted.captured_energy == pytest.approx(captured(adapted.basis, matrix), abs=50 * kind.eps)
        # The rank is the least that is enough among the directions found.
        assert captured(adapted.basis[:, : adapted.rank], matrix) >= 0.9 - 50 * kind.eps
        if adapted.rank > 1:
            assert captured(adapted.basis[:, : adapted.rank - 1], matrix) < 0.9 + 50 * kind.eps
        basis = adapted.basis


def test_adapt_rank_grows_directions_by_doubling_until_they_are_enough():
    """One direction without energy, 16 asked for: 1, 2, 4, 8, 16 directions, each growth a product for each new one."""
    matrix = np.vstack([np.zeros((1, 30)), with_spectrum(24, 30, np.ones(24))])
    start = principal_axes(np.eye(25, 1), matrix)
    rank_15 = adapt_rank(start, EnergyRank(14.5 / 24), matrix, 0, lambda rank: rank)
    assert (rank_15.rank, rank_15.basis.shape) == (15, (25, 15))
    growths = sum(new + total for new, total in ((1, 2), (2, 4), (4, 8), (8, 16)))
    assert rank_15.products == start.products + growths
    # The last growth stops at the maximum.
    most = adapt_rank(start, ConstantRank(5), matrix, 0, lambda rank: rank)
    assert most.rank == 5
    assert most.products == start.products + 1 + 2 + 2 + 4 + 1 + 5
    # Directions beyond the rank are found where they are to be allocated.
    allocated = adapt_rank(start, ConstantRank(1), matrix, 0, lambda rank: 6)
    assert (allocated.rank, allocated.basis.shape) == (1, (25, 6))
    assert allocated.captured_energy == pytest.approx(5 / 24)
    assert allocated.products == start.products + 5 + 6


def test_no_directions_are_sought_where_there_are_enough():
    matrix = with_spectrum(12, 30, 0.3 ** np.arange(12))
    start = principal_axes(np.linalg.svd(matrix)[0][:, :4], matrix)
    adapted = adapt_rank(start, EnergyRank(0.9), matrix, None, lambda rank: rank)
    assert adapted.products == start.products
    np.testing.assert_array_equal(adapted.basis, start.basis[:, : adapted.rank])


# -------------------------------------------------------------------------------------------------------- streaming PCA


def rows_of(rng, axes, count, noise):
    """Centred rows whose variance is largest in the span of the axes."""
    scores = rng.standard_normal((count, axes.shape[1])) * np.linspace(2, 1, axes.shape[1])
    return scores @ axes.T + noise * rng.standard_normal((count, axes.shape[0]))


def angle(first, second):
    """Largest principal angle in degrees."""
    return np.degrees(subspace_angles(to_float64(first), second)[0])


def test_streaming_pca_comes_as_close_as_incremental_pca(kind):
    """With the damping 1 / t: within a factor 1.6 of scikit-learn's angle to the true subspace, and 6 degrees."""
    n, p = 25, 3
    rng = np.random.default_rng(0)
    axes = frame(n, p)
    tracker, peer = SubspaceTracker(rank=ConstantRank(p), side="right", rng=0), IncrementalPCA(p)
    for t in range(100):
        rows = rows_of(rng, axes, 20, 0.5)
        tracker.rule = RiemannianStep(1 / (t + 1))
        tracker.update(kind(rows))
        peer.partial_fit(rows)
    theirs = angle(peer.components_.T, axes)
    assert angle(tracker.basis, axes) < min(1.6 * theirs, 6)


def test_a_constant_damping_follows_a_subspace_that_turns(kind):
    """And scikit-learn's averages over all that was."""
    n, p = 25, 3
    rng = np.random.default_rng(0)
    tracker, peer = SubspaceTracker(RiemannianStep(0.1), ConstantRank(p), "right", rng=0), IncrementalPCA(p)
    for axes in (frame(n, p, 1), frame(n, p, 2)):
        for _ in range(60):
            rows = rows_of(rng, axes, 20, 0.5)
            tracker.update(kind(rows))
            peer.partial_fit(rows)
        assert angle(tracker.basis, axes) < 15
    assert angle(peer.components_.T, axes) > 40


def test_the_examples_of_the_page_on_subspaces_run():
    page = Path(__file__).parents[2] / "docs" / "subspaces.rst"
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 5
    assert result.failed == 0
