"""The training loop against loops written here, and runs that are stopped in every way and resumed bit for bit."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
import torch

from problems import (
    Corpus,
    LanguageModel,
    LanguageModelConfig,
    TrainingOptions,
    load_model,
    train,
)
from problems.checkpoint import CHECKPOINT, METRICS
from problems.training_figures import loss_figure, rank_figure
from problems.training_options import build_optimizer
from problems.training_run import evaluate

CONFIG = LanguageModelConfig(width=16, n_layers=1, n_heads=2, context=8)
TEXT = ["to be or not to be, that is the question: " * 40]
LOW_RANK = {"max_rank": 4, "max_gap": 3, "seed": 1}

KINDS = {
    "adamw": {"optimizer": "adamw"},
    "adamw-bf16": {"optimizer": "adamw", "dtype": "bfloat16"},
    "galore": {"optimizer": "galore", **LOW_RANK},
    "adarankgrad": {"optimizer": "adarankgrad", "energy": 0.8, "min_gap": 1, **LOW_RANK},
    "adarankgrad-random": {"optimizer": "adarankgrad", "subspace": "random", "energy": 0.3, "min_rank": 2, **LOW_RANK},
    "adarankgrad-sign": {"optimizer": "adarankgrad", "energy": 0.8, "residual": "sign", "side": "long", **LOW_RANK},
    "adarankgrad-fira": {"optimizer": "adarankgrad", "energy": 0.8, "residual": "fira", **LOW_RANK},
    "adarankgrad-bf16": {"optimizer": "adarankgrad", "energy": 0.8, "dtype": "bfloat16", **LOW_RANK},
    "adarankgrad-accumulated": {"optimizer": "adarankgrad", "accumulate": "low-rank", "microbatches": 2, **LOW_RANK},
}


def options(kind="adamw", **changes):
    shared = {"steps": 10, "batch_size": 4, "device": "cpu", "checkpoint_every": 4, "evaluate_every": 5}
    return TrainingOptions(**{**shared, **KINDS[kind], **changes})


@pytest.fixture(scope="module")
def corpus():
    return Corpus.from_documents(TEXT)


class CrashError(Exception):
    pass


def crash_at(step):
    def callback(done):
        if done.step == step:
            raise CrashError

    return callback


def lines(folder):
    """Metrics without their times."""
    read = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read]


def assert_same_run(one, two):
    for (name, a), b in zip(one.model.state_dict().items(), two.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert one.training_losses == two.training_losses
    assert (one.validation_steps, one.validation_losses) == (two.validation_steps, two.validation_losses)
    assert one.mean_rank == two.mean_rank
    assert one.state_bytes == two.state_bytes
    if one.refreshes is not None:
        assert one.refreshes.events == two.refreshes.events


# ------------------------------------------------------------------------------------------------ the loop


def test_adamw_takes_the_steps_of_a_loop_written_here(corpus):
    chosen = options(lr=0.01, full_rank_lr=0.002, weight_decay=0.1, max_grad_norm=0.5, warmup=2, steps=4)
    result = train(corpus, CONFIG, chosen)
    model = LanguageModel(CONFIG, seed=0)
    groups = [[], []]
    for name, weight in model.named_parameters():
        groups[not name.startswith("blocks") or weight.ndim == 1].append(weight)
    first = torch.optim.AdamW(groups[0], weight_decay=0.1)
    second = torch.optim.AdamW(groups[1], weight_decay=0.0)
    # Half, whole, and the cosine's first value and last.
    for step, factor in enumerate([0.5, 1.0, 1.0, 0.1]):
        tokens, targets = corpus.batch(step, 4, 8, seed=0)
        loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
        assert loss.item() == pytest.approx(result.training_losses[step], rel=1e-6)
        model.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(weight.grad.square().sum().item() for weight in model.parameters()))
        for weight in model.parameters():
            weight.grad *= min(1.0, 0.5 / norm)
        first.param_groups[0]["lr"], second.param_groups[0]["lr"] = 0.01 * factor, 0.002 * factor
        first.step()
        second.step()
    for ours, expected in zip(result.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_microbatches_sum_up_to_the_batch(corpus):
    whole = train(corpus, CONFIG, options(batch_size=8, steps=3))
    parts = train(corpus, CONFIG, options(batch_size=2, microbatches=4, steps=3))
    assert parts.training_losses == pytest.approx(whole.training_losses, rel=1e-5)
    for a, b in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        # Adam divides gradients that are nearly zero by their own size.
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_falls(corpus, kind):
    result = train(corpus, CONFIG, options(kind, steps=80, batch_size=8, full_rank_lr=1e-2))
    assert result.training_losses[0] == pytest.approx(math.log(256), abs=0.2)
    # Letter frequencies of this text alone allow 2.7.
    assert result.validation_loss < 2.6
    assert not result.interrupted
    assert not result.diverged
    assert result.step == 80
    assert all(weight.dtype == getattr(torch, result.options.dtype) for weight in result.model.parameters())


def test_rates_rise_and_fall():
    factors = [TrainingOptions(steps=21, warmup=4).rate_factor(step) for step in range(21)]
    assert factors[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert factors[12] == pytest.approx(0.55)
    assert factors[20] == pytest.approx(0.1)
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert TrainingOptions(steps=50).rate_factor(4) == pytest.approx(1.0)
    assert TrainingOptions(steps=1).rate_factor(0) == 1.0
    assert TrainingOptions(steps=3, warmup=3).rate_factor(2) == 1.0


@pytest.mark.parametrize("kind", ["adamw", "galore", "adarankgrad"])
def test_every_parameter_is_in_the_group_of_its_kind(kind):
    model = LanguageModel(CONFIG)
    optimizer, _ = build_optimizer(model, options(kind, lr=0.5, full_rank_lr=0.25, weight_decay=0.1))
    first, *others = optimizer.param_groups
    hidden = {id(weight) for name, weight in model.named_parameters() if name.startswith("blocks") and weight.ndim == 2}
    assert {id(weight) for weight in first["params"]} == hidden
    assert (first["lr"], first["weight_decay"]) == (0.5, 0.1)
    rest = [weight for group in others for weight in group["params"]]
    assert {id(weight) for weight in rest} | hidden == {id(weight) for weight in model.parameters()}
    assert len(rest) + len(hidden) == len(list(model.parameters()))
    assert all((group["lr"], group["weight_decay"]) == (0.25, 0.0) for group in others)


def test_validation_loss_is_the_mean_over_the_windows(corpus):
    result = train(corpus, CONFIG, options(validation_windows=7, batch_size=3))
    tokens, targets = corpus.validation_windows(8, 7)
    losses = [result.model(row[None], target[None])[1].item() for row, target in zip(tokens, targets, strict=True)]
    assert len(losses) == 7
    assert result.validation_loss == pytest.approx(sum(losses) / 7, rel=1e-5)
    assert result.validation_steps == [5, 10]
    result.model.eval()
    evaluate(result.model, (tokens, targets), 2)
    assert not result.model.training
    assert all(weight.grad is None for weight in result.model.parameters())


def test_state_is_counted_in_bytes(corpus):
    result = train(corpus, CONFIG, options())
    hidden = 4 * 16 * 16 + 3 * 16 * CONFIG.intermediate
    everything = hidden + 2 * 256 * 16 + 3 * 16
    # Two moments in float32, and a counter per parameter.
    assert result.projected_adam_state_bytes == 8 * hidden
    assert result.projected_state_bytes == 8 * hidden + 4 * 7
    assert result.adam_state_bytes == 8 * everything
    assert result.state_bytes == 8 * everything + 4 * 12
    assert result.mean_rank is None
    assert result.refreshes is None


def test_state_of_galore_is_that_of_its_rank(corpus):
    result = train(corpus, CONFIG, options("galore"))
    f = CONFIG.intermediate
    expected = 4 * (4 * 4 * (16 + 2 * 16) + 3 * 4 * (16 + 2 * f))
    assert expected <= result.projected_state_bytes <= expected + 7 * 64
    assert result.mean_rank == 4
    assert {event.name for event in result.refreshes.events} == {name for name, _ in result.model.hidden_weights()}


def test_a_given_model_is_trained_in_place(corpus):
    model = LanguageModel(CONFIG, seed=9)
    before = model.head.weight.detach().clone()
    result = train(corpus, model, options(steps=2))
    assert result.model is model
    assert not torch.equal(before, model.head.weight)


def test_callbacks_hear_of_every_step(corpus, tmp_path):
    heard = []
    result = train(corpus, CONFIG, options(warmup=0), callback=heard.append, folder=tmp_path)
    assert [done.step for done in heard] == list(range(1, 11))
    assert [done.loss for done in heard] == result.training_losses
    assert [done.step for done in heard if done.validation_loss is not None] == [5, 10]
    assert heard[0].learning_rate == pytest.approx(3e-3)
    assert heard[-1].learning_rate == pytest.approx(3e-4)
    assert lines(tmp_path) == [
        {name: value for name, value in done._asdict().items() if value is not None and name != "seconds"}
        for done in heard
    ]
    assert result.seconds_per_step == sorted(done.seconds for done in heard)[4] or result.seconds_per_step > 0


def test_progress_goes_to_stderr(corpus, capsys):
    train(corpus, CONFIG, options(steps=2), progress="my run")
    shown = capsys.readouterr()
    assert "my run" in shown.err
    assert shown.out == ""
    train(corpus, CONFIG, options(steps=2))
    assert capsys.readouterr() == ("", "")


def test_divergence_ends_the_run_and_keeps_the_checkpoint(corpus, tmp_path):
    result = train(corpus, CONFIG, options(lr=1e20, full_rank_lr=1e20, warmup=0, checkpoint_every=1), folder=tmp_path)
    assert result.diverged
    assert result.validation_loss == math.inf
    assert not math.isfinite(result.training_losses[-1])
    assert result.step == len(result.training_losses) < 10
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == result.step - 1
    assert lines(tmp_path)[-1]["loss"] is None


# -------------------------------------------------------------------------------------- stopping and resuming


@pytest.mark.parametrize("kind", KINDS)
def test_a_crashed_run_resumes_bit_for_bit(corpus, tmp_path, kind):
    whole = train(corpus, CONFIG, options(kind), folder=tmp_path / "whole")
    with pytest.raises(CrashError):
        train(corpus, CONFIG, options(kind), folder=tmp_path / "crashed", callback=crash_at(7))
    assert torch.load(tmp_path / "crashed" / CHECKPOINT, weights_only=True)["step"] == 4
    assert len(lines(tmp_path / "crashed")) == 7
    heard = []
    resumed = train(corpus, CONFIG, options(kind), folder=tmp_path / "crashed", resume=True, callback=heard.append)
    assert [done.step for done in heard] == list(range(5, 11))
    assert_same_run(resumed, whole)
    assert lines(tmp_path / "crashed") == lines(tmp_path / "whole")


def test_a_run_resumes_from_its_first_moment(corpus, tmp_path):
    whole = train(corpus, CONFIG, options("adarankgrad"))
    with pytest.raises(CrashError):
        train(corpus, CONFIG, options("adarankgrad"), folder=tmp_path, callback=crash_at(1))
    assert_same_run(train(corpus, CONFIG, options("adarankgrad"), folder=tmp_path, resume=True), whole)


def test_a_finished_run_resumes_to_its_result(corpus, tmp_path):
    whole = train(corpus, CONFIG, options(), folder=tmp_path)
    before = (tmp_path / METRICS).read_bytes()
    again = train(corpus, CONFIG, options(), folder=tmp_path, resume=True)
    assert_same_run(again, whole)
    assert (again.seconds, again.seconds_per_step) == (whole.seconds, whole.seconds_per_step)
    assert (tmp_path / METRICS).read_bytes() == before


SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from problems import Corpus, LanguageModelConfig, TrainingOptions, train
corpus = Corpus.from_documents({text!r})
options = TrainingOptions(**{options!r})
{before}
train(corpus, LanguageModelConfig(**{config!r}), options, folder=Path({folder!r}), callback={callback})
"""


def run_apart(folder, chosen, callback="None", before=""):
    script = textwrap.dedent(SCRIPT).format(
        text=TEXT,
        options=dataclasses.asdict(chosen),
        config=dataclasses.asdict(CONFIG),
        folder=str(folder),
        callback=callback,
        before=before,
    )
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_run_resumes_bit_for_bit(corpus, tmp_path):
    whole = train(corpus, CONFIG, options("adarankgrad"), folder=tmp_path / "whole")
    killed = run_apart(
        tmp_path / "killed",
        options("adarankgrad"),
        callback="lambda done: done.step == 7 and os.kill(os.getpid(), signal.SIGKILL)",
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = train(corpus, CONFIG, options("adarankgrad"), folder=tmp_path / "killed", resume=True)
    assert_same_run(resumed, whole)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_run_killed_while_it_writes_leaves_the_checkpoint_before(corpus, tmp_path):
    # The first checkpoint is that of the start, the second that of step 4. Each flushes its file and its folder, so
    # the fifth flush is of a file that is not yet in its place.
    before = textwrap.dedent("""
        calls, real = [], os.fsync
        def fatal(number):
            calls.append(number)
            if len(calls) == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            real(number)
        os.fsync = fatal
    """)
    killed = run_apart(tmp_path, options(), before=before)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 4
    assert (tmp_path / f".{CHECKPOINT}.partial").exists()
    resumed = train(corpus, CONFIG, options(), folder=tmp_path, resume=True)
    assert_same_run(resumed, train(corpus, CONFIG, options()))
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, METRICS]


def interrupt_at(step, times=1):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals go to the main thread")

    def callback(done):
        for _ in range(times if done.step == step else 0):
            signal.raise_signal(signal.SIGINT)

    return callback


def test_interrupt_finishes_the_step_and_writes_a_checkpoint(corpus, tmp_path):
    stopped = train(corpus, CONFIG, options(), folder=tmp_path, callback=interrupt_at(6))
    assert stopped.interrupted
    assert stopped.step == 6
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = train(corpus, CONFIG, options(), folder=tmp_path, resume=True)
    assert_same_run(resumed, train(corpus, CONFIG, options()))


def test_interrupt_in_the_last_step_changes_nothing(corpus):
    result = train(corpus, CONFIG, options(), callback=interrupt_at(10))
    assert not result.interrupted
    assert result.validation_steps == [5, 10]


def test_second_interrupt_stops_at_once(corpus, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(corpus, CONFIG, options(), folder=tmp_path, callback=interrupt_at(6, times=2))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_the_user_are_left_alone(corpus):
    def raise_crash(number, frame):
        raise CrashError

    previous = signal.signal(signal.SIGINT, raise_crash)
    try:
        with pytest.raises(CrashError):
            train(corpus, CONFIG, options(), callback=lambda done: signal.raise_signal(signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) is raise_crash
    finally:
        signal.signal(signal.SIGINT, previous)


def test_lines_of_metrics_after_the_checkpoint_are_dropped(corpus, tmp_path):
    with pytest.raises(CrashError):
        train(corpus, CONFIG, options(), folder=tmp_path, callback=crash_at(9))
    with open(tmp_path / METRICS, "a", encoding="utf-8") as stream:
        stream.write('{"step": 10, "lo')
    train(corpus, CONFIG, options(), folder=tmp_path, resume=True)
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 11))


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(corpus, tmp_path, monkeypatch):
    real = torch.save

    def full_disk(contents, stream):
        if contents["step"] == 8:
            stream.write(b"half")
            raise OSError("no space left on device")
        real(contents, stream)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        train(corpus, CONFIG, options(), folder=tmp_path)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 4


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ({"width": 32}, {}, "width is 16 in the checkpoint and 32 now"),
        ({"n_layers": 2}, {}, "n_layers is 1 in the checkpoint and 2 now"),
        ({}, {"optimizer": "galore"}, "optimizer is 'adamw' in the checkpoint and 'galore' now"),
        ({}, {"lr": 0.5}, "lr is None in the checkpoint and 0.5 now"),
        (
            {},
            {"steps": 11, "seed": 3},
            "steps is 10 in the checkpoint and 11 now; seed is 0 in the checkpoint and 3 now",
        ),
        ({}, {"dtype": "bfloat16"}, "dtype is 'float32'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(corpus, tmp_path, config, changes, message):
    train(corpus, CONFIG, options(steps=10), folder=tmp_path)
    kept = (tmp_path / CHECKPOINT).read_bytes(), (tmp_path / METRICS).read_bytes()
    other = dataclasses.replace(CONFIG, **({"intermediate": None} | config if "width" in config else config))
    with pytest.raises(ValueError, match="cannot go on from the checkpoint") as refusal:
        train(corpus, other, options(**changes), folder=tmp_path, resume=True)
    assert message in str(refusal.value)
    assert kept == ((tmp_path / CHECKPOINT).read_bytes(), (tmp_path / METRICS).read_bytes())


def test_a_checkpoint_of_another_text_is_refused(corpus, tmp_path):
    train(corpus, CONFIG, options(steps=1), folder=tmp_path)
    other = Corpus.from_documents([TEXT[0].replace("question", "answer")])
    with pytest.raises(ValueError, match="the text or its tokens are not those of the checkpoint"):
        train(other, CONFIG, options(steps=1), folder=tmp_path, resume=True)


def test_intervals_may_change_on_the_way(corpus, tmp_path):
    whole = train(corpus, CONFIG, options())
    with pytest.raises(CrashError):
        train(corpus, CONFIG, options(), folder=tmp_path, callback=crash_at(7))
    changed = options(evaluate_every=3, checkpoint_every=1, validation_windows=2)
    resumed = train(corpus, CONFIG, changed, folder=tmp_path, resume=True)
    assert resumed.training_losses == whole.training_losses
    assert resumed.validation_steps == [6, 9, 10]


def test_what_is_no_checkpoint_is_refused(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint\.pt"):
        train(corpus, CONFIG, options(), folder=tmp_path, resume=True)
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint\.pt"):
        load_model(tmp_path / "nowhere")
    train(corpus, CONFIG, options(steps=1), folder=tmp_path)
    file = tmp_path / CHECKPOINT
    whole = file.read_bytes()
    for contents in (whole[: len(whole) // 2], b"", b"text"):
        file.write_bytes(contents)
        with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
            train(corpus, CONFIG, options(steps=1), folder=tmp_path, resume=True)
    torch.save({"weights": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="is not a rankopt training checkpoint"):
        load_model(tmp_path)
    torch.save({"code": CrashError()}, file)  # an object whose class would have to be imported
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        load_model(tmp_path)


def test_another_run_is_not_overwritten_unless_asked(corpus, tmp_path):
    train(corpus, CONFIG, options(steps=3), folder=tmp_path)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"holds the checkpoint\.pt of another run"):
        train(corpus, CONFIG, options(steps=2), folder=tmp_path)
    assert len(lines(tmp_path)) == 3
    train(corpus, CONFIG, options(steps=2), folder=tmp_path, overwrite=True)
    assert len(lines(tmp_path)) == 2
    assert (tmp_path / "mine.txt").exists()


def test_nothing_is_written_without_a_folder(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(corpus, CONFIG, options(steps=2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["adamw-bf16", "adarankgrad"])
def test_the_model_of_a_checkpoint_is_the_trained_one(corpus, tmp_path, kind):
    result = train(corpus, CONFIG, options(kind, steps=2), folder=tmp_path)
    model = load_model(tmp_path)
    assert model.config == CONFIG
    for ours, trained in zip(model.parameters(), result.model.parameters(), strict=True):
        assert torch.equal(ours, trained)
        assert ours.dtype == trained.dtype


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of adamw, galore, adarankgrad"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"microbatches": 0}, "microbatches must be at least 1"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1"),
        ({"checkpoint_every": -1}, "checkpoint_every must be at least 1"),
        ({"validation_windows": 0}, "validation_windows must be at least 1"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"lr": math.nan}, "lr must be positive"),
        ({"full_rank_lr": math.inf}, "full_rank_lr must be positive"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be positive"),
        ({"warmup": -1}, "warmup must not be negative"),
        ({"seed": -1}, "seed must not be negative"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"optimizer": "adamw", "energy": 0.9}, "energy is an option of low-rank optimizers"),
    ],
)
def test_options_that_are_none(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "abacus"}, "device must be"),
        ({"optimizer": "galore", "subspace": "random"}, "subspace is no option of galore"),
        ({"optimizer": "adarankgrad", "subspace": "best"}, "subspace must be one of"),
        ({"optimizer": "adarankgrad", "min_rank": 9, "max_rank": 4}, "min_rank must not exceed max_rank"),
        ({"optimizer": "galore", "energy": 0.9}, "energy is no option of galore"),
        ({"optimizer": "adarankgrad", "energy": 1.5}, "energy"),
        ({"optimizer": "adarankgrad", "residual": "sign", "accumulate": "low-rank"}, "residual"),
    ],
)
def test_options_that_do_not_apply(corpus, changes, message):
    with pytest.raises(ValueError, match=message):
        train(corpus, CONFIG, TrainingOptions(**{"device": "cpu", **changes}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(corpus):
    with pytest.raises(ValueError, match="torch finds no CUDA device"):
        train(corpus, CONFIG, options(device="cuda"))


def test_inputs_that_do_not_fit(corpus):
    with pytest.raises(ValueError, match="vocabulary_size is 100, but the corpus has 256"):
        train(corpus, dataclasses.replace(CONFIG, vocabulary_size=100), options())
    with pytest.raises(ValueError, match="too few for a context of 4000"):
        train(corpus, dataclasses.replace(CONFIG, context=4000), options())
    with pytest.raises(ValueError, match="folder must be given"):
        train(corpus, CONFIG, options(), resume=True)


# --------------------------------------------------------------------------------------------------- pictures


def test_figures_show_the_run(corpus):
    result = train(corpus, CONFIG, options("adarankgrad"))
    ax = loss_figure(result).axes[0]
    training, validation = ax.get_lines()
    assert list(training.get_ydata()) == pytest.approx(result.training_losses)
    assert list(validation.get_xdata()) == [5, 10]
    ax = rank_figure(result).axes[0]
    names = [text.get_text() for text in ax.get_yticklabels()]
    shown = ax.collections[0].get_array().reshape(len(names), 10)
    for name, row in zip(names, shown, strict=True):
        events = [event for event in result.refreshes.events if event.name == f"{name}.weight"]
        for step in range(1, 11):
            assert row[step - 1] == [event for event in events if event.step <= step][-1].rank
