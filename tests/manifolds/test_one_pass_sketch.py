"""The sketch of a sum of matrices: additive over them, exact for low rank, within the bound of its paper."""

import numpy as np
import pytest
import torch

from manifolds.subspace.one_pass_sketch import OnePassSketch, recovered, sketch_once
from manifolds.subspace.rank_rules import captured_shares
from tests.arrays import KINDS, assert_close, kind_of, to_float64
from tests.manifolds.spectra import assert_orthonormal, assert_same_span, normal, spectra, with_spectrum

SHAPES = [(40, 60), (60, 40), (40, 40), (40, 1), (1, 40), (5, 9)]


def estimate(sketch):
    """Q X of a sketch, in float64."""
    directions, low = recovered(sketch)
    return to_float64(directions.basis) @ to_float64(low)


def added(sketches):
    """Sketch of a sum."""
    return OnePassSketch(
        sum(s.range_sketch for s in sketches), sum(s.corange_sketch for s in sketches), sketches[0].psi
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_sketch_is_two_products_with_gaussian_matrices(kind, shape):
    m, n = shape
    k = min(6, m)
    matrix = kind(normal(m, n))
    before = to_float64(matrix).copy()
    y, z, psi = sketch_once(matrix, k, rng=3)
    rng = np.random.default_rng(3)
    omega, expected_psi = rng.standard_normal((n, k)), rng.standard_normal((min(2 * k + 1, m), m))
    assert_close(psi, expected_psi, kind.eps)
    assert_close(y, before @ omega, 100 * kind.eps)
    assert_close(z, expected_psi @ before, 100 * kind.eps)
    assert all(kind_of(array) == kind for array in (y, z, psi))
    np.testing.assert_array_equal(to_float64(matrix), before)


@pytest.mark.parametrize("parts", [2, 5])
def test_the_sketches_of_microbatches_add_up_to_the_sketch_of_their_sum(kind, parts):
    microbatches = [normal(40, 30, seed=seed) for seed in range(parts)]
    whole = sketch_once(kind(sum(microbatches)), 8, rng=5)
    total = added([sketch_once(kind(g), 8, rng=5) for g in microbatches])
    for found, expected in zip(total, whole, strict=True):
        assert_close(found, expected, 200 * kind.eps)
    assert_close(estimate(total), estimate(whole), 2e4 * kind.eps)


def test_microbatches_of_a_low_rank_sum_are_recovered_although_none_has_low_rank(kind):
    noise = [normal(40, 30, seed=seed) for seed in (1, 2)]
    signal = normal(40, 4) @ normal(4, 30, seed=3)
    parts = [noise[0], noise[1], signal - noise[0] - noise[1]]
    total = added([sketch_once(kind(g), 8, rng=5) for g in parts])
    assert_close(estimate(total), signal, 1000 * kind.eps)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rank", [0, 1, 4])
def test_a_matrix_of_rank_below_the_sketch_is_recovered_exactly(kind, shape, rank):
    m, n = shape
    rank = min(rank, m, n)
    values = normal(m, rank) @ normal(rank, n, seed=1)
    sketch = sketch_once(kind(values), min(8, m), rng=0)
    directions, low = recovered(sketch)
    assert_orthonormal(directions.basis, 100 * kind.eps)
    u, s, _ = np.linalg.svd(values, full_matrices=False)
    scale = max(np.linalg.norm(values), 1.0)
    # A square Psi (few rows) is solved with its own condition.
    tolerance = 2000 * kind.eps * max(1.0, np.linalg.cond(to_float64(sketch.psi @ directions.basis)))
    assert_close(to_float64(directions.basis) @ to_float64(low), values, tolerance, scale=scale)
    assert_close(directions.energies[:rank], s[:rank] ** 2, tolerance, scale=scale**2)
    assert_close(directions.energies[rank:], np.zeros(len(directions.energies) - rank), tolerance, scale=scale**2)
    if rank:
        assert_same_span(directions.basis[:, :rank], u[:, :rank], tolerance * s[0] / s[rank - 1])
        assert 0 < captured_shares(directions.energies, directions.total_energy)[-1] <= 1
    assert all(kind_of(array) == kind for array in (*directions[:3], low))
    assert directions.products == sketch.range_sketch.shape[1] + sketch.psi.shape[0]
    assert directions.decompositions == 0


def test_directions_are_ordered_by_the_energies_of_the_projection(kind):
    matrix = kind(normal(40, 60))
    directions, low = recovered(sketch_once(matrix, 8, rng=0))
    energies = to_float64(directions.energies)
    assert (np.diff(energies) <= 0).all()
    rows = to_float64(low)
    # Principal axes: the rows of the projection are orthogonal, with these squared norms.
    assert_close(rows @ rows.T, np.diag(energies), 200 * kind.eps)


@pytest.mark.parametrize("name", ["root", "polynomial", "exponential", "step"])
def test_the_error_is_within_the_bound_of_tropp_and_others(name):
    """E ||A - QX||^2 <= (1 + f(k, l)) (1 + f(rho, k)) tau^2_{rho+1} for all rho < k - 1, f(s, t) = s / (t - s - 1)."""
    m, n, k, runs = 40, 50, 8, 80
    values = spectra(m)[name]
    matrix = with_spectrum(m, n, values)
    errors = [np.linalg.norm(matrix - estimate(sketch_once(matrix, k, rng=seed))) ** 2 for seed in range(runs)]

    def f(s, t):
        return s / (t - s - 1)

    tails = [np.sum(values[rho:] ** 2) for rho in range(k - 1)]
    bounds = [(1 + f(k, 2 * k + 1)) * (1 + f(rho, k)) * tail for rho, tail in enumerate(tails)]
    assert np.mean(errors) <= min(bounds)
    # And not better than k directions can be.
    assert min(errors) >= np.sum(values[k:] ** 2)


def test_the_estimate_solves_the_least_squares_problem_of_the_corange_sketch():
    """X = (Psi Q)^+ Z, by numpy."""
    matrix = normal(40, 60)
    y, z, psi = sketch_once(matrix, 8, rng=0)
    q = np.linalg.qr(y)[0]
    expected = q @ np.linalg.lstsq(psi @ q, z, rcond=None)[0]
    assert_close(estimate(OnePassSketch(y, z, psi)), expected, 1e-12)


def test_the_total_energy_is_estimated_without_bias():
    """||Z||^2 / l: within 4 standard errors of the mean over seeds, and never below the energies found."""
    matrix = with_spectrum(60, 50, spectra(50)["root"])
    totals = []
    for seed in range(300):
        sketch = sketch_once(matrix, 4, rng=seed)
        directions, _ = recovered(sketch)
        plain = np.linalg.norm(sketch.corange_sketch) ** 2 / 9
        assert float(directions.total_energy) == pytest.approx(max(plain, float(directions.energies.sum())))
        totals.append(plain)
    error = np.std(totals) / np.sqrt(len(totals))
    assert abs(np.mean(totals) - np.linalg.norm(matrix) ** 2) < 4 * error


def test_one_seed_gives_one_sketch_in_every_library():
    matrix = normal(12, 20)
    reference = sketch_once(matrix, 3, rng=9)
    for kind in KINDS:
        sketch = sketch_once(kind(matrix), 3, rng=9)
        for found, expected in zip(sketch, reference, strict=True):
            assert_close(found, expected, 100 * kind.eps)
    assert not np.allclose(sketch_once(matrix, 3, rng=10).psi, reference.psi)


def test_a_torch_generator_draws_both_test_matrices():
    matrix = torch.tensor(normal(12, 20))
    first, same, other = (sketch_once(matrix, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.allclose(first.psi, other.psi)


def test_a_matrix_of_zeros_has_no_energy(kind):
    directions, low = recovered(sketch_once(kind(np.zeros((12, 9))), 3, rng=0))
    assert_orthonormal(directions.basis, 20 * kind.eps)
    for array in (directions.energies, directions.total_energy, low):
        np.testing.assert_array_equal(to_float64(array), 0)
