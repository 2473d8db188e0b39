"""The demo on few patches and a tiny model: numbers against an oracle of the test's own, and the report as read."""

import dataclasses
import json
import re

import numpy as np
import pytest
import scipy.linalg

from problems import Corpus, LanguageModelConfig, cli
from problems.demo import correlation_report, report, training, training_report
from problems.demo import experiment as demo
from problems.demo.patches import as_pictures, photograph_patches

N_PATCHES = 3000
N_STEPS = 12
RANDOM = "AdaRankGrad with a random subspace"
SIGN = "AdaRankGrad with the sign residual"


@pytest.fixture(scope="module")
def views():
    return photograph_patches(N_PATCHES, seed=0)


@pytest.fixture(scope="module")
def experiment(views):
    return demo.run_experiment(views, seed=0)


@pytest.fixture(scope="module")
def corpus():
    return Corpus.from_documents(["to be, or not to be, that is the question\n" * 60])


@pytest.fixture(scope="module")
def comparison(corpus):
    tiny = LanguageModelConfig(width=32, n_layers=1, n_heads=2, context=8)
    return training.compare_optimizers(corpus, steps=N_STEPS, model=tiny)


@pytest.fixture(scope="module")
def results(experiment, comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo-report")
    page, numbers = report.write_report(experiment, comparison, folder, {"seed": 0})
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


def test_training_results_follow_their_schema(results, corpus):
    numbers = results[2]["training"]
    assert [run["name"] for run in numbers["runs"]] == ["AdamW", "GaLore", "AdaRankGrad"]
    assert [run["name"] for run in numbers["variants"]] == [RANDOM, SIGN]
    assert numbers["train_tokens"] == len(corpus.train)
    for run in (*numbers["runs"], *numbers["variants"]):
        assert 0 < run["validation_loss"] < np.log(256) + 0.1
        assert isinstance(run["state_bytes"], int)
        assert run["state_bytes"] < run["total_state_bytes"]
        assert run["seconds_per_step"] > 0
        assert run["learning_rate"] > 0
        assert run["steps"] == N_STEPS == run["history"]["steps"][-1]
        assert run["history"]["validation_loss"][-1] == run["validation_loss"]
    adamw, galore, adarankgrad = numbers["runs"]
    # Two moments of four attention and three feed-forward matrices, and a step count of four bytes for each.
    assert adamw["state_bytes"] == 2 * 4 * (4 * 32 * 32 + 3 * 32 * 88) + 7 * 4
    assert adamw["mean_rank"] is None
    assert adamw["options"] == {}
    assert galore["mean_rank"] == 8
    assert 1 <= adarankgrad["mean_rank"] <= 8
    assert max(galore["state_of_adamw"], adarankgrad["state_of_adamw"]) < 0.5
    assert numbers["variants"][0]["options"]["subspace"] == "random"
    assert 6 <= numbers["variants"][0]["mean_rank"] <= 8
    assert numbers["variants"][1]["options"]["residual"] == "sign"


def test_optimizers_share_initial_weights_and_batches(comparison):
    first = [run.result.training_losses[0] for run in comparison.all_runs]
    assert first == [first[0]] * 5
    assert len({run.result.validation_loss for run in comparison.all_runs}) == 5


def test_learning_rates_on_the_page_are_those_of_the_runs(comparison):
    shown = [row[1] for row in training_report.tables(comparison)["optimizers"]]
    assert [float(rate) for rate in shown] == [
        chosen["lr"] for recipes in (training.RUNS, training.VARIANTS) for chosen in recipes.values()
    ]


def with_losses(comparison, losses, **changes):
    """The comparison as it would be with these last validation losses."""

    def changed(run):
        result = dataclasses.replace(run.result, validation_losses=[losses[run.name]], validation_steps=[N_STEPS])
        return run._replace(result=dataclasses.replace(result, **changes.get(run.name, {})))

    return comparison._replace(
        runs=[changed(run) for run in comparison.runs], variants=[changed(run) for run in comparison.variants]
    )


def test_sentences_follow_the_losses(comparison):
    losses = {"AdamW": 1.5, "GaLore": 1.25, "AdaRankGrad": 1.5, RANDOM: 1.75, SIGN: 1.75}
    texts = training_report.texts(with_losses(comparison, losses))
    assert texts["losses_compared"].startswith("The lowest validation loss is that of GaLore, 1.250")
    assert "its loss is that of AdamW and 0.250 above that of GaLore." in texts["adarankgrad_compared"]
    texts = training_report.texts(with_losses(comparison, losses | {SIGN: 1.0}))
    assert texts["losses_compared"].startswith(f"The lowest validation loss is that of {SIGN}, 1.000")
    assert "0.500 below that of AdaRankGrad and 0.500 below that of AdamW." in texts["variants_compared"]


def test_a_run_that_diverged_is_reported_as_such(comparison):
    losses = {"AdamW": 1.5, "GaLore": 1.25, "AdaRankGrad": 1.5, RANDOM: 1.75, SIGN: 1.75}
    diverged = with_losses(comparison, losses, GaLore={"diverged": True})
    json.dumps(training_report.as_results(diverged), allow_nan=False)
    texts = training_report.texts(diverged)
    assert texts["losses_compared"].endswith("GaLore at no finite loss.")
    assert "not to be compared with that of GaLore" in texts["adarankgrad_compared"]
    assert training_report.figures(diverged).keys() == {"losses", "ranks"}


def test_page_is_self_contained_and_complete(results):
    folder, page, _ = results
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "results.json"]
    assert not re.search(r'(src|href)=(?!"data:image/png;base64)', page)
    assert page.count("data:image/png;base64") == 4
    assert "$" not in page
    for words in (
        *("no preconditioner", "sketched preconditioner", "exact preconditioner", "you need none of this"),
        *("PART 1", "PART 2", "AdamW", "GaLore", RANDOM, SIGN, "one seed and a small model", "lowest validation loss"),
    ):
        assert words in page


def test_inserted_names_are_escaped(experiment, comparison, monkeypatch):
    monkeypatch.setattr(report, "embedded", lambda figure: "")
    monkeypatch.setitem(correlation_report._LABELS, "sketched", "<script>alert(1)</script>")
    others = comparison.variants[:-1]
    last = comparison.variants[-1]._replace(name="<script>alert(2)</script>")
    renamed = comparison._replace(variants=[*others, last])
    page = report.as_html(experiment, renamed, report.environment())
    assert "<script>" not in page
    for number in (1, 2):
        assert f"&lt;script&gt;alert({number})" in page


def test_command_refuses_files_that_are_not_its_own(tmp_path, capsys):
    (tmp_path / "index.html").write_text("<p>mine</p>", encoding="utf-8")
    assert cli.main(["demo", "--output", str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "<p>mine</p>"


@pytest.fixture
def finished_runs(monkeypatch, experiment, comparison, corpus):
    """The command finds both parts done."""
    monkeypatch.setattr(demo, "run_experiment", lambda views, **options: experiment)
    monkeypatch.setattr(training, "standard_library", lambda: corpus)
    monkeypatch.setattr(training, "compare_optimizers", lambda corpus, **options: comparison)
    monkeypatch.setattr(report, "embedded", lambda figure: "")  # drawn by other tests


def test_command_replaces_its_own_report(tmp_path, capsys, finished_runs):
    (tmp_path / "index.html").write_text(f"<p>by {report.GENERATOR}</p>", encoding="utf-8")
    assert cli.main(["demo", "--patches", "2000", "--steps", "10", "--output", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    for words in ("index.html", "sketched", *training.RUNS, SIGN):
        assert words in shown.out
    assert shown.err == ""  # no progress bars where there is no terminal
    assert "PART 2" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_command_makes_its_folder(tmp_path, finished_runs):
    folder = tmp_path / "new" / "report"
    assert cli.main(["demo", "--patches", "2000", "--output", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "results.json"]


@pytest.mark.parametrize(
    ("module", "name"), [(demo, "run_experiment"), (training, "compare_optimizers"), (report, "as_html")]
)
def test_interrupted_command_writes_nothing(tmp_path, capsys, monkeypatch, finished_runs, module, name):
    def interrupted(*data, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, interrupted)
    folder = tmp_path / "report"
    assert cli.main(["demo", "--patches", "2000", "--output", str(folder)]) == 1
    assert "Interrupted" in capsys.readouterr().err
    assert not folder.exists()


def test_an_interrupted_training_run_ends_the_comparison(comparison, corpus, monkeypatch):
    stopped = dataclasses.replace(comparison.runs[0].result, interrupted=True)
    monkeypatch.setattr(training, "train", lambda *data, **options: stopped)
    with pytest.raises(KeyboardInterrupt):
        training.compare_optimizers(corpus, steps=N_STEPS)


def test_failure_is_exit_code_one(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    assert cli.main(["demo", "--patches", "3000000", "--output", str(tmp_path / "report")]) == 1
    assert "n_patches" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["unknown"], ["demo", "--patches", "10"], ["demo", "--patches", "many"]),
        *(["demo", "--steps", "5"], ["demo", "--seed", "-1"]),
    ],
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
