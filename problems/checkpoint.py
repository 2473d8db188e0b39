"""The folder of a training run: checkpoints that are whole or not there, and metrics as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from problems.language_model import LanguageModel, LanguageModelConfig
from rankopt.atomic_file import replace_file

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"

_FORMAT = "rankopt training checkpoint 1"


def load_model(path: str | os.PathLike[str]) -> LanguageModel:
    """The model of a checkpoint, on the CPU, for sampling or to train further on another text.

    Parameters
    ----------
    path : path
        Of a run's folder.

    Returns
    -------
    LanguageModel

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint in the folder.
    ValueError
        If it cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from problems import Corpus, LanguageModelConfig, TrainingOptions, load_model, train
    >>> corpus = Corpus.from_documents(["to be or not to be " * 20])
    >>> config = LanguageModelConfig(width=16, n_layers=1, n_heads=1, context=8)
    >>> with TemporaryDirectory() as folder:
    ...     result = train(corpus, config, TrainingOptions(optimizer="adamw", steps=2, device="cpu"), folder=folder)
    ...     model = load_model(folder)
    >>> bool((model.head.weight == result.model.head.weight).all())
    True
    """
    checkpoint = RunFolder(Path(path)).load()
    weights = checkpoint["model"]
    model = LanguageModel(LanguageModelConfig(**checkpoint["model_config"])).to(next(iter(weights.values())).dtype)
    model.load_state_dict(weights)
    return model


class RunFolder:
    """Checkpoint and metrics of one run.

    Parameters
    ----------
    path : Path
        It is made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: Any = None

    def start(self, *, overwrite: bool) -> None:
        """Make an empty folder, or delete the run that is in it; files of others stay.

        Raises
        ------
        FileExistsError
            If it holds a run that is not to be overwritten.
        """
        names = (CHECKPOINT, METRICS)
        present = [name for name in names if (self.path / name).exists()]
        if present and not overwrite:
            raise FileExistsError(f"{self.path} holds the {present[0]} of another run; overwrite or resume it")
        self.path.mkdir(parents=True, exist_ok=True)
        for name in present:
            (self.path / name).unlink()

    def save(self, contents: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        replace_file(self.path / CHECKPOINT, lambda stream: torch.save({"format": _FORMAT, **contents}, stream))

    def load(self) -> dict[str, Any]:
        """Contents of the checkpoint, on the CPU: an optimizer moves what belongs on its device, and not all does.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it cannot be read, or is not a checkpoint of a training run.
        """
        file = self.path / CHECKPOINT
        if not file.exists():
            raise FileNotFoundError(f"there is no {CHECKPOINT} in {self.path}")
        try:
            contents = torch.load(file, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # bytes that are no checkpoint fail in every way, IndexError included
            raise ValueError(f"{file} cannot be read as a checkpoint: {error}") from error
        if not isinstance(contents, dict) or contents.get("format") != _FORMAT:
            raise ValueError(f"{file} is not a {_FORMAT}")
        return contents

    def write_metrics(self, line: Mapping[str, Any]) -> None:
        """Append a line to the metrics; numbers that are not finite become null."""
        if self._lines is None:
            # Line by line, so that all that a checkpoint knows of is in the file before the checkpoint is.
            self._lines = open(self.path / METRICS, "a", buffering=1, encoding="utf-8", newline="\n")  # noqa: SIM115
        self._lines.write(json.dumps(_finite(line)) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Leave only the metrics of the steps up to this one; a run that was killed may have written more."""
        file = self.path / METRICS
        kept = []
        for line in file.read_bytes().splitlines(keepends=True) if file.exists() else ():
            try:
                known = json.loads(line)["step"] <= step and line.endswith(b"\n")
            except (ValueError, KeyError, TypeError):  # the end of a line is missing
                known = False
            if known:
                kept.append(line)
        replace_file(file, lambda stream: stream.writelines(kept))

    def close(self) -> None:
        """Close the metrics."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def _finite(value: Any) -> Any:
    """The same for JSON, which has no infinities."""
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any], ignored: frozenset[str] = frozenset()) -> list[str]:
    """What a checkpoint was made with and what is asked for now, where the two differ, in words."""
    return [
        f"{name} is {earlier.get(name)!r} in the checkpoint and {now.get(name)!r} now"
        for name in dict.fromkeys([*earlier, *now])
        if name not in ignored and earlier.get(name) != now.get(name)
    ]
