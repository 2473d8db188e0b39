"""The folder of an analysis of files: results that are all there or not at all, and the passes of a stopped run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from problems.data_files import data_files
from problems.file_rows import FileState
from problems.pass_journal import PassJournal
from rankopt.atomic_file import replace_file

_SETTINGS = "run.json"


class AnalysisFolder:
    """Where results go, and where passes are kept while there are none yet.

    Parameters
    ----------
    path : Path
        It is made when something is written.
    names : sequence of str
        Files of the results.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.names = path, list(names)
        self.passes, self._staged = path / ".passes", path / ".partial"

    @property
    def present(self) -> list[str]:
        """Results that are there, whoever wrote them."""
        return [name for name in self.names if (self.path / name).exists()]

    @property
    def is_stopped(self) -> bool:
        """Whether a run was stopped before it had results."""
        return (self.passes / _SETTINGS).exists()

    def start(self, settings: Mapping[str, Any]) -> PassJournal:
        """Journal of a new run with these settings; that of a stopped one is deleted."""
        self.passes.mkdir(parents=True, exist_ok=True)
        journal = PassJournal(self.passes)
        journal.clear()
        contents = {"settings": dict(settings), "files": file_states(settings)}
        replace_file(self.passes / _SETTINGS, lambda stream: stream.write(json.dumps(contents, indent=2).encode()))
        return journal

    def resume(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], PassJournal]:
        """Settings and journal of the run that was stopped.

        Raises
        ------
        ValueError
            If settings are given that it did not have, or its files have changed.
        """
        contents = json.loads((self.passes / _SETTINGS).read_text(encoding="utf-8"))
        settings: dict[str, Any] = contents["settings"]
        other = [name for name in given if given[name] != settings.get(name)]
        if other:
            raise ValueError(
                f"the run in {self.path} had other settings: {'; '.join(other)}".replace("checkpoint", "run")
            )
        now = file_states(settings)
        changed = [name for name in now if now[name] != contents["files"].get(name)]
        if changed:
            raise ValueError(
                f"{changed[0]} has changed since the run in {self.path} was stopped; start again with --force"
            )
        return settings, PassJournal(self.passes)

    def forget(self) -> None:
        """Delete the passes that are kept."""
        shutil.rmtree(self.passes, ignore_errors=True)

    @contextmanager
    def results(self) -> Iterator[Path]:
        """A folder to write the results to, which take their places together when all are written."""
        shutil.rmtree(self._staged, ignore_errors=True)
        self._staged.mkdir(parents=True)
        try:
            yield self._staged
            for name in self.names:
                os.replace(self._staged / name, self.path / name)
        finally:
            shutil.rmtree(self._staged, ignore_errors=True)
        self.forget()


def file_states(settings: Mapping[str, Any]) -> dict[str, list[int]]:
    """Sizes and times of the files that settings name."""
    paths = [settings[name] for name in ("x", "y") if settings.get(name) is not None]
    states = {}
    for path in paths:
        for file in data_files(path):
            states[str(file)] = list(FileState.of(file)[:2])  # a file that has been moved there and back is the same
    return states
