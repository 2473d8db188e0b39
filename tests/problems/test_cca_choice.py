"""The automatic choice of a solver of CCA: by sizes alone."""

import pytest

from problems import CCA, LOBPCG, MultiviewCCA
from problems.cca_choice import (
    MAX_DENSE_BYTES,
    Sizes,
    choose_multiview_solver,
    choose_solver,
    estimated_costs,
    sketch_pays,
)
from tests.problems.views import correlated_views


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (Sizes(1560, 308, 309, 5), "direct"),
        (Sizes(60_000, 392, 392, 5), "direct"),
        (Sizes(200_000, 400, 400, 5), "direct"),
        (Sizes(10**6, 60, 20, 2), "direct"),
        (Sizes(10**6, 12_000, 12_000, 5), "lobpcg"),
        (Sizes(10**6, 12_000, 5, 2), "block-pcg"),
        (Sizes(10**6, 5, 12_000, 2), "block-pcg"),
        (Sizes(200, 1000, 10, 2), "cholesky-qr"),
        (Sizes(200, 1000, 10, 2, ridge=True), "direct"),
        (Sizes(6000, 50_000, 50_000, 5, (1e-3, 1e-3), ridge=True), "lobpcg"),
        (Sizes(100_000, 2000, 2000, 5, (1e-3, 1e-3)), "direct"),
        (Sizes(100_000, 2000, 2000, 5, (1e-3, 1e-3), ridge=True), "lobpcg"),
        (Sizes(20_000, 1000, 1000, 5, (0.03, 0.03), ridge=True), "direct"),
    ],
    ids=str,
)
def test_choice(sizes, expected):
    assert choose_solver(sizes) == expected


def test_the_direct_solver_is_not_chosen_beyond_memory():
    d = int((MAX_DENSE_BYTES / 64) ** 0.5) + 1
    assert "direct" not in estimated_costs(Sizes(10 * d, d, 2, 1))
    assert "direct" in estimated_costs(Sizes(10 * d, d - 1, 2, 1))


@pytest.mark.parametrize("others", [[], [1000], [9000] * 2], ids=str)
def test_no_sketches_beyond_memory(others):
    """Each view has a sketch of four rows for each column of the widest one."""
    pays, fits = [], []
    for d in range(1000, 30_000, 500):
        views = [d, *others]
        pays.append(sketch_pays(10**8, views, [1.0] * len(views), 50, ridge=False))
        fits.append(sum(8 * 4 * max(views) * width for width in views) <= MAX_DENSE_BYTES)
    assert pays == fits
    assert len(set(fits)) == 2


def test_a_sketch_pays_where_a_pass_has_many_columns():
    sizes = 40_000, [9000, 9000], [1.0, 1.0]
    assert [sketch_pays(*sizes, columns, ridge=True) for columns in (1, 10, 100)] == [False, False, True]


def test_the_preconditioner_is_the_one_that_the_choice_counts_with(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "problems.view_preconditioners.sketch_pays",
        lambda n, views, density, columns, **kinds: asked.append((n, list(views), columns)) or True,
    )
    x, y = correlated_views(600, 20, 12)
    for solver, block in {"lobpcg": 3 + 4, "riemannian": 3, "block-pcg": 12}.items():
        CCA(3, solver=solver, random_state=0).fit(x, y)
        assert asked.pop() == (600, [20] if solver == "block-pcg" else [20, 12], block)
    MultiviewCCA(3, solver="lobpcg", random_state=0).fit([x, y, x[:, :5] + y[:, :5]])
    assert asked == [(600, [20, 12, 5], 3 + LOBPCG().oversampling)]


def test_a_gpu_moves_the_break_even_to_wider_views():
    processor, gpu = (
        [choose_solver(Sizes(10**6, d, d, 5, gpu=gpu)) for d in (500, 2000, 4000, 6000, 8000, 11_000)]
        for gpu in (False, True)
    )
    assert gpu.count("direct") > processor.count("direct")
    assert processor == sorted(processor, key=["direct", "lobpcg"].index), "once iterative, always iterative"


@pytest.mark.parametrize(
    ("n", "d", "seconds"),
    [
        (60_000, 392, 0.0148),
        (200_000, 400, 0.0227),
        (100_000, 1000, 0.0351),
        (100_000, 2000, 0.0905),
        (60_000, 4000, 0.259),
        (60_000, 8000, 1.126),
    ],
)
def test_the_estimates_for_a_gpu_are_near_measured_seconds(n, d, seconds):
    """Of the direct solver on an H200; it was the faster one for all of these."""
    sizes = Sizes(n, d, d, 5, gpu=True, ridge=True)
    assert estimated_costs(sizes)["direct"] == pytest.approx(1e9 * seconds, rel=0.2)
    assert choose_solver(sizes) == "direct"


def test_many_wide_views_on_a_gpu():
    assert choose_multiview_solver(60_000, [2000] * 3, 5, [1.0] * 3, gpu=True) == "direct"
    assert choose_multiview_solver(60_000, [2000] * 3, 5, [1.0] * 3) == "lobpcg"
    assert choose_solver(Sizes(10**6, 11_000, 11_000, 5, gpu=True)) == "lobpcg"
