"""A small language model trained by AdamW, GaLore and AdaRankGrad from the same weights on the same batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from problems.corpus import Corpus, read_text
from problems.language_model import LanguageModelConfig
from problems.training import train
from problems.training_options import TrainingOptions
from problems.training_run import TrainingResult

_log = logging.getLogger(__name__)

MODEL = LanguageModelConfig(width=128, n_layers=4, n_heads=4, context=64)
BATCH_SIZE = 16
EVALUATIONS = 10
"""Points of a curve of validation losses."""

# Validation losses after 300 steps with seed 0, by learning rate, of the sweep that chose the rates:
#   AdamW                          5e-4 1.853   1e-3 1.806   2e-3 1.866   4e-3 2.001   8e-3 2.222
#   GaLore                         1e-3 1.923   2e-3 1.816   4e-3 1.847   8e-3 1.917   1.6e-2 2.068
#   AdaRankGrad, energy 0.95       4e-3 1.990
#   AdaRankGrad, energy 0.98       4e-3 1.913
#   AdaRankGrad, energy 0.99       1e-3 1.987   2e-3 1.919   4e-3 1.843   8e-3 1.968
#   the same, max_gap 100          2e-3 1.886   4e-3 1.835
#   AdaRankGrad, random subspace   2e-3 1.871   4e-3 1.830   8e-3 1.840
#   AdaRankGrad, sign residual     1e-3 1.792   2e-3 1.819   4e-3 1.921
# At energy 0.95 the first gradients need few directions and the rank stays small for most of so short a run.
RUNS: Mapping[str, dict[str, Any]] = {
    "AdamW": {"optimizer": "adamw", "lr": 1e-3},
    "GaLore": {"optimizer": "galore", "lr": 2e-3, "scale": 1.0, "max_gap": 100},
    "AdaRankGrad": {"optimizer": "adarankgrad", "lr": 4e-3, "energy": 0.99},
}
VARIANTS: Mapping[str, dict[str, Any]] = {
    "AdaRankGrad with a random subspace": {
        "optimizer": "adarankgrad",
        "lr": 4e-3,
        "subspace": "random",
        "energy": 0.2,
    },
    "AdaRankGrad with the sign residual": {
        "optimizer": "adarankgrad",
        "lr": 1e-3,
        "energy": 0.9,
        "tolerance": 0.8,
        "residual": "sign",
        "side": "long",
    },
}


class OptimizerRun(NamedTuple):
    """A name, and what the run was like."""

    name: str
    result: TrainingResult


class Comparison(NamedTuple):
    """All that the report shows."""

    runs: list[OptimizerRun]
    """AdamW, GaLore and AdaRankGrad."""
    variants: list[OptimizerRun]
    """AdaRankGrad with other options."""
    n_train: int
    """Tokens of the text to train on."""
    n_validation: int

    @property
    def all_runs(self) -> list[OptimizerRun]:
        """Runs and variants."""
        return [*self.runs, *self.variants]


def standard_library() -> Corpus:
    """The Python standard library's own source, in bytes."""
    return Corpus.from_documents(read_text())


def compare_optimizers(
    corpus: Corpus, *, steps: int, model: LanguageModelConfig = MODEL, seed: int = 0, progress: bool = False
) -> Comparison:
    """Train the same model by each optimizer.

    Parameters
    ----------
    corpus : Corpus
    steps : int
        Of each run.
    model : LanguageModelConfig
        Its size; ranks are at most a quarter of its width.
    seed : int
        Of initial weights, batches and sketches, which the runs share.
    progress : bool
        Whether to show progress bars.

    Raises
    ------
    KeyboardInterrupt
        If a run was interrupted.
    """
    runs, variants = (
        [train_by(name, chosen, corpus, steps, model, seed, progress) for name, chosen in recipes.items()]
        for recipes in (RUNS, VARIANTS)
    )
    return Comparison(runs, variants, len(corpus.train), len(corpus.validation))


def train_by(
    name: str,
    chosen: Mapping[str, Any],
    corpus: Corpus,
    steps: int,
    model: LanguageModelConfig,
    seed: int,
    progress: bool,
) -> OptimizerRun:
    """One run, with these options of the training."""
    _log.info("training by %s", name)
    max_rank = max(model.width // 4, 1)
    rank: dict[str, Any] = {} if chosen["optimizer"] == "adamw" else {"max_rank": max_rank}
    if chosen.get("subspace") == "random":
        rank["min_rank"] = max(3 * max_rank // 4, 1)  # what so little energy asks for varies much
    options = TrainingOptions(
        **chosen,
        **rank,
        steps=steps,
        batch_size=BATCH_SIZE,
        seed=seed,
        evaluate_every=max(steps // EVALUATIONS, 1),
        device="cpu",
    )
    result = train(corpus, model, options, progress=progress and f"{name:11s}")
    if result.interrupted:
        raise KeyboardInterrupt
    return OptimizerRun(name, result)
