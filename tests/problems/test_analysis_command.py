"""The commands `rankopt cca` and `rankopt lda` from files to files: stopped, resumed, refused, with hostile names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

from problems import CCA, LDA, NpyRows, PassJournal, SlicedRows, analysis_report, cli, read_labels
from tests.problems.classes import labelled_rows
from tests.problems.files import WRITERS, parts
from tests.problems.files import X as DATA
from tests.problems.views import correlated_views

X, Y = correlated_views(700, 6, 5)
ROWS, LABELS = labelled_rows(600, 7, 4, seed=1)
CCA_FILES = ["index.html", "summary.json", "weights.npz", "x_scores.npy", "y_scores.npy"]
LDA_FILES = ["index.html", "scores.npy", "summary.json", "weights.npz"]


@pytest.fixture
def views(tmp_path):
    for name, view in (("x", X), ("y", Y)):
        np.save(tmp_path / f"{name}.npy", view)
    return str(tmp_path / "x.npy"), str(tmp_path / "y.npy")


@pytest.fixture
def labelled(tmp_path):
    file = tmp_path / "rows.csv"
    lines = [",".join([*map(repr, map(float, row)), f"kind {label}"]) for row, label in zip(ROWS, LABELS, strict=True)]
    file.write_text("\n".join(["a,b,c,d,e,f,g,label", *lines]), encoding="utf-8")
    return str(file)


def run(*arguments):
    return cli.main(list(map(str, arguments)))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def summary(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_cca_writes_what_the_estimator_finds(views, tmp_path, capsys):
    folder = tmp_path / "deep" / "out"
    assert run("cca", *views, "-o", folder, "--components", 3, "--solver", "lobpcg", "--reg", "0.01") == 0
    shown = capsys.readouterr()
    expected = CCA(3, solver="direct", reg=0.01).fit(X, Y)
    assert names(folder) == CCA_FILES
    found = summary(folder)
    np.testing.assert_allclose(found["correlations"], expected.correlations_, atol=1e-8)
    assert found["solver"] == "lobpcg"
    assert found["settings"]["reg"] == 0.01
    assert f"{found['correlations'][0]:.6g}" in shown.out
    assert "lobpcg" in shown.out
    assert shown.err == ""
    for file, wanted in zip(("x_scores.npy", "y_scores.npy"), expected.transform(X, Y), strict=True):
        np.testing.assert_allclose(np.load(folder / file, allow_pickle=False), wanted, atol=1e-4)
    weights = np.load(folder / "weights.npz", allow_pickle=False)
    np.testing.assert_allclose(weights["x_rotations"], expected.x_rotations_, atol=1e-4)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert 'src="http' not in page


def test_lda_takes_labels_from_a_column(labelled, tmp_path, capsys):
    folder = tmp_path / "out"
    assert run("lda", labelled, "--labels", "label", "-o", folder) == 0
    expected = LDA().fit(ROWS, LABELS)
    assert names(folder) == LDA_FILES
    found = summary(folder)
    np.testing.assert_allclose(found["eigenvalues"], expected.eigenvalues_, rtol=1e-8)
    assert found["accuracy"] == pytest.approx(expected.score(ROWS, LABELS), abs=1e-12)
    assert found["classes"] == [f"kind {k}" for k in range(4)]
    assert found["n_features"] == 7
    np.testing.assert_allclose(np.load(folder / "scores.npy"), expected.transform(ROWS), atol=1e-6)
    assert f"{found['accuracy']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("n_classes", [2, 3])
def test_lda_takes_labels_from_a_file(n_classes, tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    np.save(tmp_path / "y.npy", LABELS % n_classes)
    options = ("--shrinkage", "0.2", "-o", tmp_path / "out")
    assert run("lda", tmp_path / "x.npy", tmp_path / "y.npy", *options) == 0
    expected = LDA(shrinkage=0.2).fit(ROWS, LABELS % n_classes)
    assert summary(tmp_path / "out")["accuracy"] == pytest.approx(expected.score(ROWS, LABELS % n_classes))
    np.testing.assert_allclose(summary(tmp_path / "out")["eigenvalues"], expected.eigenvalues_, rtol=1e-8)


def test_chosen_columns_of_one_file_are_the_views(labelled, tmp_path):
    columns = ("--x-columns", "a,b,c", "--y-columns", "g,f")
    assert run("cca", labelled, labelled, *columns, "-o", tmp_path / "out") == 0
    expected = CCA(2).fit(ROWS[:, :3], ROWS[:, [6, 5]])
    np.testing.assert_allclose(summary(tmp_path / "out")["correlations"], expected.correlations_, atol=1e-8)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read(name, tmp_path):
    WRITERS[name](tmp_path / name, DATA)
    np.save(tmp_path / "y.npy", Y)
    assert run("cca", tmp_path / name, tmp_path / "y.npy", "-o", tmp_path / "cca") == 0
    np.testing.assert_allclose(summary(tmp_path / "cca")["correlations"], CCA(2).fit(DATA, Y).correlations_, atol=1e-8)
    np.save(tmp_path / "labels.npy", np.arange(700) % 3)
    assert run("lda", tmp_path / name, tmp_path / "labels.npy", "-o", tmp_path / "lda", "--solver", "direct") == 0
    expected = LDA().fit(DATA, np.arange(700) % 3).eigenvalues_
    np.testing.assert_allclose(summary(tmp_path / "lda")["eigenvalues"], expected, rtol=1e-8)


def test_a_folder_and_a_data_set_within_a_file_are_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "y.h5", "w") as store:
        store["a"], store["b"] = Y, X
    folder = parts(tmp_path / "x", np.split(X, [100, 100, 450]))
    assert run("cca", folder, f"{tmp_path / 'y.h5'}::a", "-o", tmp_path / "out") == 0
    np.testing.assert_allclose(summary(tmp_path / "out")["correlations"], CCA(2).fit(X, Y).correlations_, atol=1e-8)


@pytest.mark.parametrize("solver", ["direct", "cholesky-qr", "dual", "block-pcg", "lobpcg", "riemannian"])
def test_lda_by_every_solver(solver, tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    np.save(tmp_path / "y.npy", LABELS)
    options = ("--solver", solver, "--reg", "0.1", "-o", tmp_path / "out")
    assert run("lda", tmp_path / "x.npy", tmp_path / "y.npy", *options) == 0
    found = summary(tmp_path / "out")
    assert found["solver"] == solver
    np.testing.assert_allclose(found["eigenvalues"], LDA(reg=0.1).fit(ROWS, LABELS).eigenvalues_, rtol=1e-7)


@pytest.mark.parametrize("options", [(), ("--no-progress",)], ids=str)
def test_progress_is_shown_to_a_terminal(options, views, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("cca", *views, "-o", tmp_path / "out", "--solver", "cholesky-qr", *options) == 0
    shown = capsys.readouterr().err
    for k in (1, 2):
        assert (f"pass {k}:" in shown) == (options == ())
    assert ("0/700" in shown) == (options == ())


def test_sparse_rows_and_one_component(tmp_path):
    sparse = scipy.sparse.csr_array(X * (X > 0))
    scipy.sparse.save_npz(tmp_path / "x.npz", sparse)
    np.save(tmp_path / "y.npy", Y.astype(np.float32))
    assert run("cca", tmp_path / "x.npz", tmp_path / "y.npy", "--components", 1, "-o", tmp_path / "out") == 0
    expected = CCA(1).fit(sparse, Y)
    np.testing.assert_allclose(summary(tmp_path / "out")["correlations"], expected.correlations_, atol=1e-6)


def test_names_from_files_are_escaped(tmp_path):
    hostile = ['<script>alert("x")</script>', "$\\frac{$", "_hidden", "a&b"]
    header = ",".join('"' + name.replace('"', '""') + '"' for name in hostile)
    name = "<b>x</b>" if os.name == "posix" else "x"
    file = tmp_path / f"{name}.csv".replace("/", "_")
    file.write_text("\n".join([header, *(",".join(map(repr, map(float, row))) for row in X[:, :4])]), encoding="utf-8")
    np.save(tmp_path / "y.npy", np.array([f"<i>${k % 2}" for k in range(len(X))]))
    np.save(tmp_path / "z.npy", Y)
    assert run("cca", file, tmp_path / "z.npy", "-o", tmp_path / "cca") == 0
    assert run("lda", file, tmp_path / "y.npy", "-o", tmp_path / "lda") == 0
    for folder in ("cca", "lda"):
        page = (tmp_path / folder / "index.html").read_text(encoding="utf-8")
        assert "<script" not in page
        assert "<b>" not in page
        assert "<i>" not in page
        assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in page


@pytest.mark.parametrize("n", [99, 5000, 5001, 40_000])
def test_pictures_are_drawn_from_rows_at_even_distances(n):
    rows = SlicedRows(np.arange(n, dtype=float)[:, None])  # in blocks that the distance does not divide
    sample = analysis_report._sample(rows, 8)[:, 0]
    step = -(-n // 5000)
    np.testing.assert_array_equal(sample, np.arange(0, n, step))
    assert analysis_report._step(n, 8) == step
    assert len(analysis_report._sample(rows, 2**20)) <= 100  # wide rows are fewer


def test_warnings_are_said_and_written(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.hstack([X, X[:, :1]]))
    np.save(tmp_path / "y.npy", Y)
    assert run("cca", tmp_path / "x.npy", tmp_path / "y.npy", "-o", tmp_path / "out", "--solver", "direct") == 0
    assert "rankopt: warning: X has numerical rank 6 for 7 features" in capsys.readouterr().err
    assert "numerical rank 6" in summary(tmp_path / "out")["warnings"][0]
    assert "numerical rank 6" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------ refused and stopped


def test_results_are_kept_unless_forced(views, tmp_path, capsys):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "weights.npz").write_bytes(b"mine")
    assert run("cca", *views, "-o", folder) == 2
    assert "holds the weights.npz of another run; choose another folder, --force" in capsys.readouterr().err
    assert names(folder) == ["weights.npz"]
    assert (folder / "weights.npz").read_bytes() == b"mine"
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    assert run("cca", *views, "-o", folder, "--force") == 0
    assert names(folder) == sorted([*CCA_FILES, "notes.txt"])


def test_a_run_that_fails_leaves_earlier_results_alone(views, tmp_path, capsys):
    folder = tmp_path / "out"
    assert run("cca", *views, "-o", folder) == 0
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    broken = X.copy()
    broken[300, 1] = np.nan
    np.save(tmp_path / "broken.npy", broken)
    assert run("cca", tmp_path / "broken.npy", views[1], "-o", folder, "--force") == 1
    assert f"X contains NaN or infinity ({tmp_path / 'broken.npy'}, row 300)" in capsys.readouterr().err
    assert before == {name: (folder / name).read_bytes() for name in names(folder)}


class Stop:
    """Interrupts the reading of a file in a pass, after some blocks of it."""

    def __init__(self, monkeypatch, at):
        self.passes, self.at, self.read = 0, at, NpyRows._read
        monkeypatch.setattr(NpyRows, "_read", lambda rows, size: self.blocks(rows, size))

    def blocks(self, rows, size):
        first = rows.name.endswith("x.npy") and size > 256  # not the few rows of a pilot mean
        self.passes += first
        for block in self.read(rows, size):
            if first and self.passes == self.at:
                raise KeyboardInterrupt
            yield block


@pytest.mark.parametrize("solver", ["lobpcg", "riemannian", "cholesky-qr"])
def test_a_stopped_run_goes_on_after_its_last_whole_pass(solver, views, tmp_path, capsys, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "a run"
    settings = ("--solver", solver, "--components", 2, "--seed", 3)
    with monkeypatch.context() as patch:
        reads = Stop(patch, at=-1)
        assert run("cca", *views, "-o", whole, *settings) == 0
        n_reads = reads.passes
    capsys.readouterr()
    with monkeypatch.context() as patch:
        Stop(patch, at=3)
        assert run("cca", *views, "-o", folder, *settings) == 1
    assert capsys.readouterr().err == (
        f"rankopt: stopped after pass 2; go on with: rankopt cca --output '{folder}' --resume\n"
    )
    assert names(folder) == [".passes"]
    assert names(folder / ".passes") == ["pass-000000.npz", "pass-000001.npz", "run.json"]
    assert run("cca", *views, "-o", folder, *settings) == 2
    assert "holds a stopped run; choose another folder, --resume or --force" in capsys.readouterr().err
    assert run("cca", *views, "-o", folder, "--resume", "--seed", 4) == 1
    assert "had other settings: seed" in capsys.readouterr().err
    assert run("lda", "-o", folder, "--resume") == 1
    assert "had other settings: command" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        reads = Stop(patch, at=-1)
        assert run("cca", "--output", folder, "--resume") == 0
        assert reads.passes == n_reads - 2  # two passes were not made again
    assert "going on after pass 2" in capsys.readouterr().out
    assert names(folder) == names(whole)
    for name in ("x_scores.npy", "y_scores.npy"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert summary(folder)["correlations"] == summary(whole)["correlations"]
    assert summary(folder)["passes"] == summary(whole)["passes"]


def test_a_stopped_lda_goes_on(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", ROWS)
    np.save(tmp_path / "labels.npy", LABELS)
    settings = (tmp_path / "x.npy", tmp_path / "labels.npy", "--solver", "block-pcg")
    assert run("lda", *settings, "-o", tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        Stop(patch, at=5)
        assert run("lda", *settings, "-o", tmp_path / "out") == 1
    assert run("lda", "-o", tmp_path / "out", "--resume") == 0
    assert (tmp_path / "out" / "scores.npy").read_bytes() == (tmp_path / "whole" / "scores.npy").read_bytes()


def test_an_interruption_while_results_are_written_leaves_none(views, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(analysis_report, "_page", lambda *parts: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("cca", *views, "-o", folder) == 1
    assert names(folder) == [".passes"]
    assert run("cca", "-o", folder, "--resume") == 0
    assert names(folder) == CCA_FILES


def test_a_file_that_changes_in_between_ends_the_resumption(views, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        Stop(patch, at=2)
        assert run("cca", *views, "-o", tmp_path / "out", "--solver", "cholesky-qr") == 1
    np.save(views[1], Y[:, :4])
    capsys.readouterr()
    assert run("cca", "-o", tmp_path / "out", "--resume") == 1
    message = f"{views[1]} has changed since the run in {tmp_path / 'out'} was stopped; start again with --force"
    assert message in capsys.readouterr().err
    assert run("cca", *views, "-o", tmp_path / "out", "--force") == 0


SCRIPT = """
import os, signal
from problems import cli
from problems.pass_journal import PassJournal
whole = PassJournal.result
def result(journal, read):
    if journal.n_passes == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(journal, read)
PassJournal.result = result
cli.main({arguments!r})
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_run_leaves_whole_passes_only(views, tmp_path):
    arguments = ["cca", *views, "-o", str(tmp_path / "out"), "--solver", "lobpcg"]
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(arguments=arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    assert names(tmp_path / "out" / ".passes") == ["pass-000000.npz", "pass-000001.npz", "run.json"]
    assert run("cca", "-o", tmp_path / "out", "--resume") == 0
    assert names(tmp_path / "out") == CCA_FILES


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cca"], 2, "cca needs two files, X and Y"),
        (["cca", "x.npy"], 2, "cca needs two files, X and Y"),
        (["lda"], 2, "lda needs a file X"),
        (["cca", "--resume"], 2, "there is no stopped run in"),
        (["cca", "missing.npy", "x.npy"], 1, "there is no file"),
        (["cca", "x.txt", "x.npy"], 1, "x.txt must end in one of .npy, .npz"),
        (["cca", "x.npy", "x.npy", "--components", "9"], 1, "n_components must be between 1 and 6"),
        (["cca", "x.npy", "x.npy", "--reg", "-1"], 1, "reg must be a non-negative number"),
        (["cca", "x.npy", "x.npy", "--x-columns", "a"], 1, "columns can be chosen of .csv"),
        (["lda", "x.npy", "y.csv"], 1, "has several columns; name that of the labels"),
        (["lda", "x.npy", "y.csv", "--labels", "z"], 1, "y.csv has no column 'z'"),
        (["lda", "x.npy", "x.npy"], 1, "must hold a vector of labels, got shape (700, 6)"),
    ],
)
def test_wrong_use_is_said(arguments, code, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    for name in ("x.txt", "y.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n", encoding="utf-8")
    assert run(*arguments) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "cca-report" / "summary.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [["cca", "x", "y", "--components", "0"], ["cca", "x", "y", "--solver", "magic"], ["cca", "--resume", "--force"]],
)
def test_what_the_parser_refuses(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


# --------------------------------------------------------------------------------------------------- labels, journal


def test_labels_of_every_format(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    for name, text in (("a.csv", "k\n3\n1\n"), ("b.tsv", "k\tsize\nx\t1\ny\t2\n"), ("c.svm", "1 1:2\n-1 2:3\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.table({"k": ["u", "v"]}), tmp_path / "d.parquet")
    np.save(tmp_path / "e.npy", np.array([[4], [5]]))
    found = [read_labels(tmp_path / "a.csv"), read_labels(tmp_path / "b.tsv", "k"), read_labels(tmp_path / "c.svm")]
    found += [read_labels(tmp_path / "d.parquet"), read_labels(tmp_path / "e.npy")]
    assert [labels.tolist() for labels in found] == [[3, 1], ["x", "y"], [1.0, -1.0], ["u", "v"], [4, 5]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.npy", "junk", "x.npy holds no labels in numpy's format"),
        ("x.csv", "k,s\n1,2\n,3\n", "x.csv has no label in row 1"),
        ("x.h5", "", "x.h5 must be .npy, .csv, .tsv, .parquet or .svm to hold labels"),
    ],
)
def test_bad_labels(name, text, message, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / name, "k")


def test_a_damaged_journal_is_refused(tmp_path):
    journal = PassJournal(tmp_path)
    journal.result(lambda: (np.ones(100),))
    kept = tmp_path / "pass-000000.npz"
    for damaged in (b"", b"PK" + kept.read_bytes()[2:90]):
        kept.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"pass-000000.npz cannot be read; start again with --force"):
            PassJournal(tmp_path).result(lambda: ())
    journal.clear()
    assert names(tmp_path) == []
