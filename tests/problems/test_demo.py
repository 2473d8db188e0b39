"""The demo on few patches: numbers against an oracle of the test's own, and the report as a reader gets it."""

import json
import re

import numpy as np
import pytest
import scipy.linalg

from problems import cli
from problems.demo import experiment as demo
from problems.demo import report
from problems.demo.patches import as_pictures, photograph_patches

N_PATCHES = 3000


@pytest.fixture(scope="module")
def views():
    return photograph_patches(N_PATCHES, seed=0)


@pytest.fixture(scope="module")
def experiment(views):
    return demo.run_experiment(views, seed=0)


@pytest.fixture(scope="module")
def results(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo-report")
    page, numbers = report.write_report(experiment, folder, {"seed": 0})
    return folder, page.read_text(encoding="utf-8"), json.loads(numbers.read_text(encoding="utf-8"))


def correlations_by_qr(x, y):
    """Canonical correlations as the singular values of Qx^T Qy."""
    qx, qy = (np.linalg.qr(view - view.mean(axis=0))[0] for view in (x, y))
    return scipy.linalg.svdvals(qx.T @ qy)


def test_patches_are_adjacent_halves_of_the_photographs(views):
    from sklearn.datasets import load_sample_image

    photograph = load_sample_image("china.jpg") / 255.0
    left, right = as_pictures(views.left[:1].T)[0], as_pictures(views.right[:1].T)[0]
    patch = np.concatenate([left, right], axis=1)
    rows, columns, _ = photograph.shape
    places = [
        (i, j)
        for i in range(rows - 11)
        for j in np.flatnonzero(np.abs(photograph[i, : columns - 23] - patch[0, 0]).max(axis=1) < 1e-12)
        if np.allclose(photograph[i : i + 12, j : j + 24], patch, atol=1e-12)
    ]
    assert places


def test_too_many_patches_are_refused():
    with pytest.raises(ValueError, match="n_patches must be at most"):
        photograph_patches(2_000_000, seed=0)


def test_oracle_and_runs_agree_with_qr(views, experiment):
    expected = correlations_by_qr(*views)[: demo.N_COMPONENTS]
    np.testing.assert_allclose(experiment.oracle.correlations, expected, atol=1e-8)
    np.testing.assert_allclose(experiment.direct_correlations, expected, atol=1e-8)
    for run in experiment.runs[1:]:
        np.testing.assert_allclose(run.correlations, expected, atol=1e-6)


def test_condition_numbers_order_the_metrics(experiment):
    identity, sketched, exact = (run.condition_number for run in experiment.runs)
    assert identity == pytest.approx(max(experiment.oracle.condition_numbers), rel=1.0)
    assert 1 <= exact < 1 + 1e-6 < sketched < 100 < 1e4 < identity


def test_the_run_without_preconditioner_is_cut_off(experiment):
    run = experiment.runs[0]
    assert run.passes == demo.UNPRECONDITIONED_PASSES
    assert run.passes_to_accuracy is None
    assert run.suboptimality[-1] > 1e-3


def test_passes_are_counted_by_the_history(experiment):
    for run in experiment.runs:
        # The last pass is the true recomputation after the history's end.
        assert run.passes == run.passes_so_far[-1] + 1
        assert run.passes >= run.iterations + 3


def test_results_follow_their_schema(results):
    cca = results[2]["cca"]
    assert [run["name"] for run in cca["runs"]] == ["identity", "sketched", "exact"]
    for run in cca["runs"]:
        assert len(run["correlations"]) == len(cca["oracle_correlations"]) == 5
        assert isinstance(run["passes"], int)
        assert isinstance(run["iterations"], int)
        assert isinstance(run["passes_to_1e-6"], int | None)
        assert run["seconds"] > 0
        assert run["condition_number"] >= 1
    assert [run["sketch_size"] for run in cca["runs"]] == [None, 4 * 432, None]


def test_page_is_self_contained_and_complete(results):
    folder, page, _ = results
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "results.json"]
    assert not re.search(r'(src|href)=(?!"data:image/png;base64)', page)
    assert page.count("data:image/png;base64") == 2
    assert "$" not in page
    for words in ("no preconditioner", "sketched preconditioner", "exact preconditioner", "you need none of this"):
        assert words in page


def test_inserted_names_are_escaped(experiment, monkeypatch):
    monkeypatch.setitem(report._LABELS, "sketched", "<script>alert(1)</script>")
    page = report.as_html(experiment, {"environment": report.environment()})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_command_refuses_files_that_are_not_its_own(tmp_path, capsys):
    (tmp_path / "index.html").write_text("<p>mine</p>", encoding="utf-8")
    assert cli.main(["demo", "--output", str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "<p>mine</p>"


def test_command_writes_a_report_and_replaces_its_own(tmp_path, capsys, experiment, monkeypatch):
    monkeypatch.setattr(demo, "run_experiment", lambda views, **options: experiment)
    for _ in range(2):
        assert cli.main(["demo", "--patches", "2000", "--output", str(tmp_path / "new" / "report")]) == 0
        assert "index.html" in capsys.readouterr().out


def test_interrupted_command_writes_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(views, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_experiment", interrupted)
    folder = tmp_path / "report"
    assert cli.main(["demo", "--patches", "2000", "--output", str(folder)]) == 1
    assert "Interrupted" in capsys.readouterr().err
    assert not folder.exists()


def test_failure_is_exit_code_one(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    assert cli.main(["demo", "--patches", "3000000", "--output", str(tmp_path / "report")]) == 1
    assert "n_patches" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["unknown"], ["demo", "--patches", "10"], ["demo", "--patches", "many"], ["demo", "--seed", "-1"]]
)
def test_wrong_use_is_exit_code_two(arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def test_help_and_version(capsys):
    for arguments in (["--help"], ["demo", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
    assert "rankopt" in capsys.readouterr().out
