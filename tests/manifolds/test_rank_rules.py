"""Rules for the rank, alone and against the best rank that a singular value decomposition allows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifolds import (
    ConstantRank,
    DCTBasis,
    EnergyRank,
    ExactSVD,
    GeodesicStep,
    RandomBasis,
    RandomizedRange,
    RankRule,
    RiemannianStep,
    SubspaceTracker,
)
from manifolds.subspace.rank_rules import captured_shares
from manifolds.subspace.tracker import chosen_rank
from manifolds.subspace.update_rules import Directions
from tests.manifolds.spectra import best_shares, captured, normal, spectra, with_spectrum

ADAPTING = {
    "range": RandomizedRange(),
    "svd": ExactSVD(),
    "riemannian": RiemannianStep(),
    "damped riemannian": RiemannianStep(0.3),
    "geodesic": GeodesicStep(),
}
ALL = ADAPTING | {"dct": DCTBasis(), "random": RandomBasis()}
SHARES = np.array([0.5, 0.8, 0.9, 0.95])

# ------------------------------------------------------------------------------------------------------ the rules alone

CHOICES = [
    (EnergyRank(0.5), 1),
    (EnergyRank(0.51), 2),
    (EnergyRank(0.8), 2),
    (EnergyRank(0.95), 4),
    (EnergyRank(0.96), None),
    (EnergyRank(0.96, max_rank=5), None),
    (EnergyRank(0.96, max_rank=4), 4),
    (EnergyRank(0.96, max_rank=3), 3),
    (EnergyRank(0.95, max_rank=3), 3),
    (EnergyRank(0.5, min_rank=3), 3),
    (EnergyRank(0.5, min_rank=6), 6),
    (EnergyRank(0.9, min_rank=2), 3),
    (EnergyRank(1.0), None),
    (EnergyRank(1), None),
    (ConstantRank(1), 1),
    (ConstantRank(4), 4),
    (ConstantRank(5), None),
]


@pytest.mark.parametrize(("rule", "expected"), CHOICES, ids=str)
def test_choice(rule, expected):
    assert rule.choose(SHARES) == expected


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    energies=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=8),
    energy=st.floats(0.01, 1.0),
    min_rank=st.integers(1, 5),
    more=st.integers(0, 5),
)
def test_energy_rank_is_the_smallest_that_is_enough_within_its_limits(energies, energy, min_rank, more):
    """By trying all ranks."""
    shares = np.cumsum(sorted(energies, reverse=True)) / max(2.0, 1.1 * sum(energies))
    max_rank = min_rank + more
    enough = [r for r in range(1, len(shares) + 1) if shares[r - 1] >= energy]
    at_the_limit = max_rank if len(shares) >= max_rank else None
    expected = min(max(enough[0], min_rank), max_rank) if enough else at_the_limit
    assert EnergyRank(energy, min_rank, max_rank).choose(shares) == expected


def test_rules_are_values_with_a_maximum():
    assert EnergyRank() == EnergyRank(0.95, 1, 128) != EnergyRank(0.9)
    assert (EnergyRank(max_rank=7).maximum, ConstantRank(5).maximum) == (7, 5)
    assert (EnergyRank(np.float32(0.5), np.int64(2), np.int32(3)).maximum, ConstantRank(np.int64(4)).rank) == (3, 4)
    assert all(isinstance(rule, RankRule) for rule, _ in CHOICES)
    with pytest.raises(AttributeError):
        ConstantRank(3).rank = 4


def test_captured_shares(kind):
    shares = captured_shares(kind([4.0, 3.0, 0.0]), kind(np.array(10.0)))
    assert (type(shares), shares.dtype) == (np.ndarray, np.float64)
    np.testing.assert_allclose(shares, [0.4, 0.7, 0.7], rtol=4 * kind.eps)
    # Rounding is not energy: within 16 eps of all is all, and nothing is more than all.
    nearly = captured_shares(kind([1 - 64 * kind.eps, 56 * kind.eps, 9 * kind.eps]), kind(np.array(1.0)))
    assert nearly[0] < 1
    np.testing.assert_array_equal(nearly[1:], [1, 1])
    np.testing.assert_array_equal(captured_shares(kind([0.0, 0.0]), kind(np.array(0.0))), [1, 1])


def test_chosen_rank_is_limited_by_the_matrix(kind):
    """Two directions with shares 0.6 and 0.9."""
    directions = Directions(None, kind([6.0, 3.0]), kind(np.array(10.0)), 0)
    assert chosen_rank(EnergyRank(0.9), directions, most=5) == 2
    assert chosen_rank(EnergyRank(0.9), directions, most=1) == 1
    assert chosen_rank(EnergyRank(0.95), directions, most=2) == 2
    assert chosen_rank(EnergyRank(0.95), directions, most=3) is None
    assert chosen_rank(EnergyRank(0.5, min_rank=4), directions, most=3) == 3
    assert chosen_rank(ConstantRank(4), directions, most=2) == 2
    assert chosen_rank(ConstantRank(4), directions, most=4) is None


BAD_OPTIONS = {
    "energy zero": (lambda: EnergyRank(0.0), ValueError, r"energy must lie in \(0, 1\].*got 0.0"),
    "negative energy": (lambda: EnergyRank(-0.5), ValueError, r"energy must lie in \(0, 1\].*got -0.5"),
    "energy in percent": (lambda: EnergyRank(95), ValueError, r"energy must lie in \(0, 1\].*got 95"),
    "energy no number": (lambda: EnergyRank(float("nan")), ValueError, r"energy must lie in \(0, 1\].*got nan"),
    "energy of text": (lambda: EnergyRank("0.9"), TypeError, "energy must be a number, got '0.9'"),
    "energy is a bool": (lambda: EnergyRank(True), TypeError, "energy must be a number, got True"),
    "energy is none": (lambda: EnergyRank(None), TypeError, "energy must be a number, got None"),
    "min_rank zero": (lambda: EnergyRank(min_rank=0), ValueError, "min_rank must be at least 1, got 0"),
    "min_rank half": (lambda: EnergyRank(min_rank=1.5), TypeError, "min_rank must be an integer, got 1.5"),
    "max_rank negative": (lambda: EnergyRank(max_rank=-3), ValueError, "max_rank must be at least 1, got -3"),
    "max_rank infinite": (lambda: EnergyRank(max_rank=np.inf), TypeError, "max_rank must be an integer, got inf"),
    "limits crossed": (
        lambda: EnergyRank(min_rank=5, max_rank=4),
        ValueError,
        "min_rank must not exceed max_rank, got 5 > 4",
    ),
    "rank zero": (lambda: ConstantRank(0), ValueError, "rank must be at least 1, got 0"),
    "rank is a bool": (lambda: ConstantRank(True), TypeError, "rank must be an integer, got True"),
    "rank of a float": (lambda: ConstantRank(2.0), TypeError, "rank must be an integer, got 2.0"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(case):
    call, error, message = BAD_OPTIONS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error


# ------------------------------------------------------------------------------------------------ against the best rank

MATRICES = {
    (name, shape): with_spectrum(*shape, values, seed=7)
    for shape in [(30, 50), (60, 25), (40, 40)]
    for name, values in spectra(min(shape)).items()
}


def allowed_rank(best, share):
    return best + max(2, int(share * best))


@pytest.mark.parametrize("name", spectra(1))
@pytest.mark.parametrize("shape", [(30, 50), (60, 25), (40, 40)], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_range_finder_needs_few_directions_more_than_the_best_basis(name, shape, side):
    """With one power iteration 15 % (or 2) more at most, with two 10 % (or 2): for every limit of the rank."""
    matrix = MATRICES[name, shape]
    shares = best_shares(matrix)
    for energy in (0.5, 0.8, 0.9, 0.95, 0.99):
        best = int(np.argmax(shares >= energy - 1e-12)) + 1
        for limit in sorted({min(x, len(shares)) for x in (best, best + 3, 2 * best, len(shares))}):
            for seed in range(2):
                for power_iterations, share in ((1, 0.15), (2, 0.10)):
                    rule = RandomizedRange(power_iterations=power_iterations)
                    tracker = SubspaceTracker(rule, EnergyRank(energy, max_rank=limit), side, rng=seed)
                    change = tracker.update(matrix)
                    basis = tracker.basis
                    found = captured(basis, matrix if side == "left" else matrix.T)
                    assert change.rank <= min(allowed_rank(best, share), limit)
                    assert change.rank >= best
                    assert found >= energy - 1e-12 or change.rank == limit
                    assert found <= shares[change.rank - 1] + 1e-12


@pytest.mark.parametrize("name", ["root", "exponential", "step"])
def test_exact_svd_gives_the_best_rank(kind, name):
    matrix = MATRICES[name, (30, 50)]
    shares = best_shares(matrix)
    for energy in (0.5, 0.8, 0.95, 0.99):
        # Between two shares, where rounding cannot decide.
        rank = int(np.argmax(shares >= energy)) + 1
        middle = (shares[rank - 1] + (shares[rank - 2] if rank > 1 else 0)) / 2
        change = SubspaceTracker(ExactSVD(), EnergyRank(middle)).update(kind(matrix))
        assert change.rank == rank
        assert change.captured_energy == pytest.approx(shares[rank - 1], rel=100 * kind.eps)


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@pytest.mark.parametrize("max_rank", [3, 8, 128])
def test_the_captured_energy_is_never_less_than_asked_unless_the_rank_is_at_its_maximum(kind, rule, max_rank):
    """Over a stream whose spectrum and subspace change all the time."""
    m, n = 15, 22
    energy = 0.9
    tracker = SubspaceTracker(rule, EnergyRank(energy, 2, max_rank), rng=0)
    for seed in range(25):
        values = list(spectra(m).values())[seed % 9]
        matrix = kind(with_spectrum(m, n, values, seed))
        change = tracker.update(matrix)
        assert 2 <= change.rank <= min(max_rank, m)
        assert change.captured_energy >= energy or change.rank == min(max_rank, m)
        assert captured(tracker.basis, matrix) == pytest.approx(change.captured_energy, abs=50 * kind.eps)


@pytest.mark.parametrize("rule", ADAPTING.values(), ids=ADAPTING)
@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (20, 20)], ids=str)
def test_the_rank_grows_and_shrinks_with_the_spectrum(kind, rule, shape):
    """A rank that can only shrink would collapse: 2 directions, then 10, then 2, then 12 others."""
    tracker = SubspaceTracker(rule, EnergyRank(0.95), rng=0)
    for phase, rank in enumerate((2, 10, 2, 12)):
        matrix = kind(with_spectrum(*shape, np.ones(rank), seed=phase))
        for _ in range(20):
            change = tracker.update(matrix)
            assert change.captured_energy >= 0.95
        # 95 % of 10 and of 12 equal directions are 9.5 and 11.4 of them.
        assert change.rank == rank


@pytest.mark.parametrize("rule", ADAPTING.values(), ids=ADAPTING)
def test_the_rank_does_not_collapse_under_noise(rule):
    """Every matrix has 4 directions of equal energy in a common subspace, and a little noise."""
    rng = np.random.default_rng(0)
    signal = np.linalg.qr(rng.standard_normal((25, 4)))[0]
    tracker = SubspaceTracker(rule, EnergyRank(0.95, max_rank=12), rng=0)
    ranks = []
    for _ in range(100):
        matrix = signal @ rng.standard_normal((4, 40)) + 0.05 * rng.standard_normal((25, 40))
        ranks.append(tracker.update(matrix).rank)
    assert set(ranks) == {4}


@pytest.mark.parametrize("rule", ADAPTING.values(), ids=ADAPTING)
@pytest.mark.parametrize(("shape", "rank"), [((20, 30), 3), ((30, 20), 1), ((40, 40), 12), ((1, 9), 1)])
def test_all_of_the_energy_of_a_matrix_of_low_rank_is_its_rank(kind, rule, shape, rank):
    m, n = shape
    tracker = SubspaceTracker(rule, EnergyRank(1.0), rng=0)
    for seed in range(3):
        matrix = kind(normal(m, rank, seed=seed) @ normal(rank, n, seed=seed + 50))
        change = tracker.update(matrix)
        assert (change.rank, change.captured_energy) == (rank, 1.0)


def test_all_of_the_energy_of_a_large_matrix_of_low_rank_is_its_rank(kind):
    """Sums over millions of entries lose more digits than sums over few."""
    matrix = kind(normal(1000, 20) @ normal(20, 2000, seed=1))
    for view, side in ((matrix, "left"), (matrix, "right"), (matrix.mT, "left")):
        tracker = SubspaceTracker(rank=EnergyRank(1.0, max_rank=40), side=side, rng=0)
        assert tracker.update(view).rank == 20


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@pytest.mark.parametrize("ranks", [ConstantRank(50), EnergyRank(1.0, 50, 60)], ids=str)
@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (1, 6), (6, 1)], ids=str)
def test_a_rank_larger_than_the_matrix_is_clipped(kind, rule, ranks, shape):
    tracker = SubspaceTracker(rule, ranks, rng=0)
    for seed in range(3):
        matrix = kind(normal(*shape, seed=seed))
        assert tracker.update(matrix).rank == min(shape)


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_min_rank_holds_where_less_would_do(kind, rule):
    tracker = SubspaceTracker(rule, EnergyRank(0.5, min_rank=4, max_rank=6), rng=0)
    for seed in range(3):
        matrix = kind(with_spectrum(9, 12, 0.01 ** np.arange(9), seed))
        change = tracker.update(matrix)
        assert change.rank >= 4
        assert change.rank == 4 or rule in (DCTBasis(), RandomBasis())
