"""MultiviewCCA on rows in files and in dask's chunks: the numbers of memory."""

from __future__ import annotations

import numpy as np
import pytest

from problems import MultiviewCCA, NpyRows
from tests.problems.several_views import several_views

VIEWS = several_views(1200, (6, 5, 4))


def in_files(folder):
    for i, view in enumerate(VIEWS):
        np.save(folder / f"{i}.npy", view)
    return [NpyRows(folder / f"{i}.npy") for i in range(3)]


def beside_memory(folder):
    return [VIEWS[0], *in_files(folder)[1:]]


def in_chunks(folder):
    da = pytest.importorskip("dask.array")
    return [da.from_array(view, chunks=(rows, -1)) for view, rows in zip(VIEWS, (350, 500, 350), strict=True)]


@pytest.mark.parametrize("place", [in_files, beside_memory, in_chunks], ids=lambda place: place.__name__)
@pytest.mark.parametrize(
    ("criterion", "solver"),
    [
        ("maxvar", "direct"),
        ("maxvar", "lobpcg"),
        ("maxvar", "riemannian"),
        ("sumcor", "direct"),
        ("sumcor", "riemannian"),
    ],
)
def test_the_numbers_of_memory(criterion, solver, place, tmp_path):
    # Sums over chunks are rounded otherwise than those of memory. That changes no step of a line search while what a
    # step gains, the square of the gradient, is above rounding: not so at 1e-8, the root of it.
    tol = 1e-6 if solver == "riemannian" else 1e-8
    options = {"criterion": criterion, "solver": solver, "scale": True, "reg": 0.01, "tol": tol, "random_state": 0}
    views = place(tmp_path)
    found, expected = (MultiviewCCA(2, **options).fit(data) for data in (views, VIEWS))
    np.testing.assert_allclose(found.correlations_, expected.correlations_, atol=1e-10)
    assert found.n_passes_ == expected.n_passes_
    assert found.score(views) == pytest.approx(expected.score(VIEWS), abs=1e-8)
    for scores, wanted in zip(found.transform(views), expected.transform(VIEWS), strict=True):
        np.testing.assert_allclose(np.asarray(scores), wanted, atol=1e-6)


def test_nan_in_a_file_is_found_where_it_is(tmp_path):
    views = in_files(tmp_path)
    bad = VIEWS[1].copy()
    bad[700, 2] = np.nan
    np.save(tmp_path / "1.npy", bad)
    views[1] = NpyRows(tmp_path / "1.npy")
    with pytest.raises(ValueError, match=r"views\[1\] contains NaN or infinity \(.*1.npy.*\)"):
        MultiviewCCA(2).fit(views)
