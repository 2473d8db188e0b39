"""Training a language model: the loop, and what it does where it is stopped."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from problems.checkpoint import RunFolder
from problems.corpus import Corpus
from problems.language_model import LanguageModel, LanguageModelConfig
from problems.training_options import TrainingOptions
from problems.training_run import TrainingResult, TrainingRun, TrainingStep

_log = logging.getLogger(__name__)


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
    run = TrainingRun(corpus, model, TrainingOptions() if options is None else options)
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
    run: TrainingRun, store: RunFolder | None, callback: Callable[[TrainingStep], object] | None, progress: bool | str
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
