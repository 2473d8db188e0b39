"""The command `rankopt train` from its arguments to its exit code."""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from problems import LanguageModelConfig, TrainingOptions, cli, load_model, train_command

SETTINGS = [
    *("--width", "16", "--layers", "1", "--heads", "2", "--context", "8", "--batch-size", "4", "--steps", "6"),
    *("--evaluate-every", "3", "--checkpoint-every", "2", "--device", "cpu"),
]
FILES = ["checkpoint.pt", "loss.png", "metrics.jsonl", "run.json"]


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("to be or not to be, that is the question\n" * 60, encoding="utf-8")
    return str(file)


def rankopt_train(*arguments):
    return cli.main(["train", *map(str, arguments)])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_from_text_to_files(text, tmp_path, capsys):
    folder = tmp_path / "deep" / "run"
    settings = (*SETTINGS, "--max-rank", "4", "--energy", "0.8", "--max-gap", "3")
    assert rankopt_train(text, "-o", folder, *settings, "--sample", "20") == 0
    shown = capsys.readouterr()
    for words in ("adarankgrad on", "validation loss", "optimizer state", "mean rank", "s per step", "sample\n"):
        assert words in shown.out
    assert shown.err == ""  # no progress bar where there is no terminal
    assert names(folder) == sorted([*FILES, "ranks.png"])
    for picture in ("loss.png", "ranks.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    written = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert written["text"]["path"] == text
    assert written["model"]["width"] == 16
    assert written["options"]["energy"] == 0.8
    result = written["result"]
    assert result["step"] == 6
    assert f"{result['validation_loss']:.4f}" in shown.out
    assert result["projected_state_bytes"] < result["projected_adam_state_bytes"]
    assert load_model(folder).config == LanguageModelConfig(width=16, n_layers=1, n_heads=2, context=8)
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(losses) == 6


def test_an_existing_run_is_kept_unless_forced(text, tmp_path, capsys):
    folder = tmp_path / "run"
    assert rankopt_train(text, "-o", folder, *SETTINGS) == 0
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    assert rankopt_train(text, "-o", folder, *SETTINGS) == 2
    assert "--resume or --force" in capsys.readouterr().err
    assert rankopt_train(text, "-o", folder, "--force", *SETTINGS, "--context", "9000") == 1
    assert "too few for a context" in capsys.readouterr().err
    assert before == {name: (folder / name).read_bytes() for name in names(folder)}
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    assert rankopt_train(text, "-o", folder, "--force", *SETTINGS, "--optimizer", "adamw") == 0
    assert names(folder) == sorted([*FILES, "mine.txt"])  # the picture of ranks was that of the other run


def test_a_picture_of_the_user_is_not_overwritten(text, tmp_path, capsys):
    (tmp_path / "loss.png").write_bytes(b"mine")
    assert rankopt_train(text, "-o", tmp_path, *SETTINGS) == 2
    assert "holds the loss.png" in capsys.readouterr().err
    assert (tmp_path / "loss.png").read_bytes() == b"mine"


SCRIPT = """
import os, signal, torch
torch.set_num_threads(1)
from problems import cli
from problems.training_run import TrainingRun
whole = TrainingRun.advance
def advance(run):
    done = whole(run)
    if done.step == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return done
TrainingRun.advance = advance
raise SystemExit(cli.main({arguments!r}))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_stops_cleanly_and_resume_needs_no_settings(text, tmp_path, capsys):
    whole, stopped = tmp_path / "whole", tmp_path / "a run"
    settings = (*SETTINGS, "--optimizer", "adarankgrad", "--max-rank", "4", "--seed", "5")
    assert rankopt_train(text, "-o", whole, *settings) == 0
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT.format(arguments=["train", text, "-o", str(stopped), *settings])],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == (
        f"rankopt: stopped after step 3 of 6; go on with: rankopt train --output '{stopped}' --resume\n"
    )
    assert torch.load(stopped / "checkpoint.pt", weights_only=True)["step"] == 3
    assert names(stopped) == ["checkpoint.pt", "metrics.jsonl", "run.json"]
    assert rankopt_train("--output", stopped, "--resume") == 0
    for ours, expected in zip(load_model(stopped).parameters(), load_model(whole).parameters(), strict=True):
        assert torch.equal(ours, expected)
    assert names(stopped) == names(whole)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_says_where_the_checkpoint_is(text, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("problems.training.train", interrupted)
    assert rankopt_train(text, "-o", tmp_path / "run", *SETTINGS) == 1
    assert "the last checkpoint is in" in capsys.readouterr().err


def test_resume_refuses_other_settings_and_folders_without_a_run(text, tmp_path, capsys):
    folder = tmp_path / "run"
    assert rankopt_train("-o", folder, "--resume") == 2
    assert "no checkpoint.pt in" in capsys.readouterr().err
    assert rankopt_train(text, "-o", folder, *SETTINGS) == 0
    assert rankopt_train("-o", folder, "--resume", "--lr", "0.5") == 1
    assert "lr is None in the checkpoint and 0.5 now" in capsys.readouterr().err
    assert rankopt_train("-o", folder, "--resume", "--validation-windows", "3") == 0


def test_divergence_is_a_failure(text, tmp_path, capsys):
    rates = ("--lr", "1e20", "--full-rank-lr", "1e20", "--warmup", "0")
    assert rankopt_train(text, "-o", tmp_path / "run", *SETTINGS, "--optimizer", "adamw", *rates) == 1
    assert "try a smaller --lr" in capsys.readouterr().err


def test_byte_pairs_are_kept_beside_the_checkpoint(text, tmp_path, capsys):
    pytest.importorskip("tokenizers")
    folder = tmp_path / "run"
    settings = (*SETTINGS, "--tokenizer", "bpe", "--vocabulary-size", "300")
    assert rankopt_train(text, "-o", folder, *settings) == 0
    assert "tokenizer.json" in names(folder)
    assert 256 < load_model(folder).config.vocabulary_size <= 300
    assert rankopt_train("-o", folder, "--resume", "--sample", "5") == 0


def test_without_its_package_byte_pairs_say_what_to_install(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert rankopt_train(text, "-o", tmp_path / "run", *SETTINGS, "--tokenizer", "bpe") == 1
    assert 'pip install "rankopt[text]"' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_text_that_is_none_is_a_failure(tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    assert rankopt_train(tmp_path / "empty.txt", "-o", tmp_path / "run") == 1
    assert "there is no text" in capsys.readouterr().err
    (tmp_path / "short.txt").write_text("short" * 20, encoding="utf-8")
    assert rankopt_train(tmp_path / "short.txt", "-o", tmp_path / "run") == 1
    assert "too few for a context" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-file.txt"],
        ["--steps", "many"],
        ["--optimizer", "sgd"],
        ["--resume", "--force"],
        ["--sample", "-1"],
        ["--unknown"],
    ],
)
def test_arguments_that_are_none(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        rankopt_train(*arguments)
    assert stop.value.code == 2
    assert "usage: rankopt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "steps must be at least 1"),
        (["--width", "15"], "width must be a multiple"),
        (["--lr", "-1"], "lr must be positive"),
        (["--optimizer", "adamw", "--max-rank", "3"], "max_rank is an option of low-rank optimizers"),
        (["--optimizer", "galore", "--energy", "0.9"], "energy is no option of galore"),
        (["--energy", "1.5"], "energy must lie in"),
        (["--device", "abacus"], "device must be"),
    ],
)
def test_settings_that_are_none(text, tmp_path, arguments, message, capsys):
    assert rankopt_train(text, "-o", tmp_path / "run", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    train_command.add_parser(parser.add_subparsers())
    return vars(parser.parse_args(["train", *arguments]))


def test_every_option_can_be_set_and_none_has_a_default_of_its_own():
    fields = {field.name for field in dataclasses.fields(TrainingOptions)} - {"betas"}
    sizes = {field.name for field in dataclasses.fields(LanguageModelConfig)}
    settings = {**train_command._MODEL, **train_command._OPTIMIZER, **train_command._RUNNING, **train_command._TEXT}
    assert fields | sizes <= settings.keys()
    assert not (fields | sizes) & parsed().keys()
    assert parsed("--layers", "3", "--moment-transport", "mass", "--compile") == {
        **parsed(),
        "n_layers": 3,
        "moment_transport": "mass",
        "compile": True,
    }


def test_help_tells_the_defaults_of_the_model(capsys):
    with pytest.raises(SystemExit) as stop:
        rankopt_train("--help")
    assert stop.value.code == 0
    for field in dataclasses.fields(LanguageModelConfig):
        if field.name in train_command._MODEL and field.default is not None:
            assert f"(default: {field.default})" in train_command._MODEL[field.name][1]
    shown = " ".join(capsys.readouterr().out.split())
    assert "number of optimizer steps (default: 1000)" in shown
    assert "side of the gradient that is projected (default: the optimizer has its own)" in shown
