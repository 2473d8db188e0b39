"""Training a language model: the loop, its schedule, checkpoints that resume bit for bit, and what a run costs."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from problems.checkpoint import RunFolder, differences
from problems.corpus import Corpus
from problems.language_model import LanguageModel, LanguageModelConfig
from problems.training_options import TrainingOptions, build_optimizer

_log = logging.getLogger(__name__)

_WITHOUT_EFFECT = frozenset({"device", "compile", "evaluate_every", "checkpoint_every", "validation_windows"})
"""Options that a resumed run may change, since the weights do not depend on them but for rounding."""


class TrainingStep(NamedTuple):
    """What a callback is told after a step."""

    step: int
    """Steps done."""
    loss: float
    """Mean over the batch before the step, in nats per token."""
    learning_rate: float
    """Of the matrices of the blocks."""
    seconds: float
    validation_loss: float | None
    """Where the step ended with an evaluation."""


@dataclass
class TrainingResult:
    """A trained model and what the run was like.

    Attributes
    ----------
    model : LanguageModel
    options : TrainingOptions
    step : int
        Steps done, those before a resume included, like all that follows.
    training_losses : list of float
        One per step.
    validation_steps : list of int
    validation_losses : list of float
    refreshes : rankopt.RefreshLog or None
        Of the low-rank optimizers.
    mean_rank : float or None
        Over the layers and steps of a low-rank optimizer.
    state_bytes, projected_state_bytes : int
        Tensors in the optimizer's state, of all parameters and of the matrices of the blocks.
    adam_state_bytes, projected_adam_state_bytes : int
        Adam's two moments for the same, in the dtype of the weights.
    peak_memory_bytes : int or None
        On CUDA what this run allocated at most; else what the whole process had resident at most.
    seconds_per_step : float
        Median, without evaluations and checkpoints.
    seconds : float
        All of it.
    interrupted : bool
        Whether Ctrl-C ended the run.
    diverged : bool
        Whether a loss that is not finite ended it.
    """

    model: LanguageModel
    options: TrainingOptions
    step: int
    training_losses: list[float]
    validation_steps: list[int]
    validation_losses: list[float]
    refreshes: Any
    mean_rank: float | None
    state_bytes: int
    projected_state_bytes: int
    adam_state_bytes: int
    projected_adam_state_bytes: int
    peak_memory_bytes: int | None
    seconds_per_step: float
    seconds: float
    interrupted: bool
    diverged: bool

    @property
    def validation_loss(self) -> float:
        """The last; infinite where the run diverged, not a number where it was never evaluated."""
        if self.diverged:
            return math.inf
        return self.validation_losses[-1] if self.validation_losses else math.nan


def train(
    corpus: Corpus,
    model: LanguageModel | LanguageModelConfig | None = None,
    options: TrainingOptions | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callback: Callable[[TrainingStep], object] | None = None,
    progress: bool | str = False,
) -> TrainingResult:
    """Train a language model on a corpus.

    The first Ctrl-C lets the step finish, writes a checkpoint and returns; a second one raises KeyboardInterrupt.

    Parameters
    ----------
    corpus : Corpus
    model : LanguageModel or LanguageModelConfig, optional
        A model is trained in place; a config gets weights drawn from the seed.
    options : TrainingOptions, optional
    folder : path, optional
        Where ``checkpoint.pt`` and ``metrics.jsonl`` (one line per step) go. Without it nothing is written.
    resume : bool
        Whether to go on from the folder's checkpoint: on the same machine the weights come out bit for bit as those of
        a run that was not stopped. The model, the corpus and all options but the device and the intervals have to
        be those of the checkpoint.
    overwrite : bool
        Whether an earlier run in the folder may be deleted.
    callback : callable, optional
        Called with a :class:`TrainingStep` after each step, before its checkpoint.
    progress : bool or str
        Whether to show a progress bar; a string is its label.

    Returns
    -------
    TrainingResult

    Raises
    ------
    FileExistsError
        If the folder holds another run.
    FileNotFoundError
        If there is no checkpoint to resume from.
    ValueError
        If the checkpoint is of something else, the text is shorter than a context, or an option does not apply.

    Examples
    --------
    >>> from problems import Corpus, LanguageModelConfig, TrainingOptions, train
    >>> corpus = Corpus.from_documents(["to be or not to be " * 50])
    >>> config = LanguageModelConfig(width=32, n_layers=1, n_heads=2, context=16)
    >>> result = train(corpus, config, TrainingOptions(optimizer="adamw", steps=30, device="cpu"))
    >>> result.validation_loss < 5.5  # that of guessing among 256 bytes is log(256) = 5.5
    True
    """
    if resume and folder is None:
        raise ValueError("folder must be given to resume")
    run = _Run(corpus, model, TrainingOptions() if options is None else options)
    store = None if folder is None else RunFolder(Path(folder))
    if store is not None and resume:
        run.restore(store.load())
        store.forget_metrics_after(run.step)
    elif store is not None:
        store.start(overwrite=overwrite)
        store.save(run.checkpoint())
    try:
        return _loop(run, store, callback, progress)
    finally:
        if store is not None:
            store.close()


def _loop(
    run: _Run, store: RunFolder | None, callback: Callable[[TrainingStep], object] | None, progress: bool | str
) -> TrainingResult:
    from tqdm import tqdm

    options, earlier, began = run.options, run.history.seconds, time.perf_counter()
    label = progress if isinstance(progress, str) else options.optimizer
    interrupted = diverged = False
    with (
        _interrupts() as asked_to_stop,
        tqdm(total=options.steps, initial=run.step, desc=label, unit="step", disable=not progress) as bar,
    ):
        while run.step < options.steps and not interrupted and not diverged:
            done = run.advance()
            diverged = not math.isfinite(done.loss)
            last = run.step == options.steps
            if not diverged and (last or run.step % options.evaluate_every == 0):
                done = done._replace(validation_loss=run.evaluate())
                _log.info("step %d: validation loss %.4f", run.step, done.validation_loss)
            if store is not None:
                store.write_metrics({name: value for name, value in done._asdict().items() if value is not None})
            bar.update()
            bar.set_postfix(loss=f"{done.loss:.3f}", refresh=False)
            if callback is not None:
                callback(done)
            interrupted = asked_to_stop() and not last
            run.history.seconds = earlier + time.perf_counter() - began
            # Weights that led to no finite loss are not kept: the checkpoint before them may be good.
            if store is not None and not diverged and (last or interrupted or run.step % options.checkpoint_every == 0):
                store.save(run.checkpoint())
    return run.result(interrupted=interrupted, diverged=diverged)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Take note of the first Ctrl-C instead of stopping anywhere; a handler that is not Python's own is left alone."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    asked = threading.Event()

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class _History:
    """What a run remembers of its steps, in plain numbers that a checkpoint can hold."""

    training_losses: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    rank_sum: float = 0.0
    """Of the mean rank over layers, over steps."""
    seconds: float = 0.0


class _Run:
    """Everything that changes from step to step."""

    def __init__(
        self, corpus: Corpus, model: LanguageModel | LanguageModelConfig | None, options: TrainingOptions
    ) -> None:
        self.corpus, self.options = corpus, options
        self.device = find_device(options.device)
        drawn = model if isinstance(model, LanguageModel) else LanguageModel(model, seed=options.seed)
        self.model = drawn.to(self.device, getattr(torch, options.dtype))
        self.config = self.model.config
        if corpus.vocabulary_size > self.config.vocabulary_size:
            raise ValueError(
                f"the model's vocabulary_size is {self.config.vocabulary_size}, but the corpus has "
                f"{corpus.vocabulary_size} tokens"
            )
        self._called: nn.Module = torch.compile(self.model) if options.compile else self.model  # type: ignore[assignment]
        self._validation = corpus.validation_windows(self.config.context, options.validation_windows)
        self.hidden = [weight for _, weight in self.model.hidden_weights()]
        self.optimizer, self.refreshes = build_optimizer(self.model, options)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, options.rate_factor)
        self.step = 0
        self.history = _History()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def advance(self) -> TrainingStep:
        """One step of the optimizer; none where the loss is not finite."""
        options = self.options
        began = time.perf_counter()
        self.model.train()
        windows = self.corpus.batch(
            self.step, options.batch_size * options.microbatches, self.config.context, options.seed
        )
        loss = 0.0
        parts = (part.chunk(options.microbatches) for part in windows)
        for tokens, targets in zip(*parts, strict=True):
            _, part_loss = self._called(tokens.to(self.device), targets.to(self.device))
            (part_loss / options.microbatches).backward()
            loss += part_loss.item() / options.microbatches
        rate = self.optimizer.param_groups[0]["lr"]
        if math.isfinite(loss):
            # Where hooks have accumulated gradients in the low-rank space, the optimizer clips them itself.
            if options.max_grad_norm is not None and options.accumulate is None:
                nn.utils.clip_grad_norm_(self.model.parameters(), options.max_grad_norm)
            self.optimizer.step()
            self._schedule.step()
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - began
        self.step += 1
        self.history.training_losses.append(loss)
        self.history.step_seconds.append(seconds)
        if self.refreshes is not None:
            ranks = [self.optimizer.state[weight].get("rank") for weight in self.hidden]
            known = [rank for rank in ranks if rank is not None]
            self.history.rank_sum += sum(known) / max(len(known), 1)
        return TrainingStep(self.step, loss, rate, seconds, None)

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss over the validation windows, which goes into the history."""
        loss = evaluate(self._called, self._validation, self.options.batch_size)
        self.history.validation_steps.append(self.step)
        self.history.validation_losses.append(loss)
        return loss

    def checkpoint(self) -> dict[str, Any]:
        """Tensors and plain values from which the run goes on."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "history": dataclasses.asdict(self.history),
            "refreshes": [] if self.refreshes is None else [event._asdict() for event in self.refreshes.events],
            "options": dataclasses.asdict(self.options),
            "model_config": dataclasses.asdict(self.config),
            "corpus": self.corpus.fingerprint,
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same model, corpus and options.

        Raises
        ------
        ValueError
            If it is of others; the message says what differs.
        """
        found = [
            *differences(checkpoint["model_config"], dataclasses.asdict(self.config)),
            *differences(checkpoint["options"], dataclasses.asdict(self.options), _WITHOUT_EFFECT),
        ]
        if checkpoint["corpus"] != self.corpus.fingerprint:
            found.append("the text or its tokens are not those of the checkpoint")
        if found:
            raise ValueError(f"this run cannot go on from the checkpoint: {'; '.join(found)}")
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self._schedule.load_state_dict(checkpoint["schedule"])
        self.step = checkpoint["step"]
        self.history = _History(**checkpoint["history"])
        if self.refreshes is not None:
            from rankopt import RefreshEvent

            self.refreshes.events[:] = [RefreshEvent(**event) for event in checkpoint["refreshes"]]

    def result(self, *, interrupted: bool, diverged: bool) -> TrainingResult:
        """What is handed back."""
        history, weights = self.history, list(self.model.parameters())
        return TrainingResult(
            model=self.model,
            options=self.options,
            step=self.step,
            training_losses=history.training_losses,
            validation_steps=history.validation_steps,
            validation_losses=history.validation_losses,
            refreshes=self.refreshes,
            mean_rank=None if self.refreshes is None else history.rank_sum / max(self.step, 1),
            state_bytes=state_bytes(self.optimizer, weights),
            projected_state_bytes=state_bytes(self.optimizer, self.hidden),
            adam_state_bytes=2 * sum(weight.nbytes for weight in weights),
            projected_adam_state_bytes=2 * sum(weight.nbytes for weight in self.hidden),
            peak_memory_bytes=peak_memory(self.device),
            seconds_per_step=statistics.median(history.step_seconds) if history.step_seconds else math.nan,
            seconds=history.seconds,
            interrupted=interrupted,
            diverged=diverged,
        )


@torch.no_grad()
def evaluate(model: nn.Module, windows: tuple[Tensor, Tensor], batch_size: int) -> float:
    """Mean loss of a model over windows of tokens and their targets, in nats per token."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total = 0.0
    for tokens, targets in zip(*(part.split(batch_size) for part in windows), strict=True):
        _, loss = model(tokens.to(device), targets.to(device))
        total += loss.item() * len(tokens)
    model.train(training)
    return total / len(windows[0])


def state_bytes(optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor]) -> int:
    """Bytes of the tensors that an optimizer keeps for these parameters."""
    return sum(
        value.nbytes
        for parameter in parameters
        for value in optimizer.state.get(parameter, {}).values()
        if isinstance(value, Tensor)
    )


def find_device(name: str) -> torch.device:
    """Device of that name; ``"auto"`` is CUDA where there is a device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or another name that torch knows, got {name!r}"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch finds no CUDA device")
    return device


def peak_memory(device: torch.device | None = None) -> int | None:
    """Bytes allocated at most on a CUDA device; else bytes resident at most of this process, if the system tells."""
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
