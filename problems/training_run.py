"""The state of a training run: what a step changes, a checkpoint holds, and the result says."""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from problems.checkpoint import differences
from problems.corpus import Corpus
from problems.language_model import LanguageModel, LanguageModelConfig
from problems.training_options import TrainingOptions, build_optimizer

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


class TrainingRun:
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
