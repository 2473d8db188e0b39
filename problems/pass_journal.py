"""Results of the passes of a run on disk, so that a run that was stopped goes on after its last whole pass.

Between passes a run computes the same from the same numbers. When it is started again, the passes it has made are
answered from the journal, and only those that are missing read the data.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from manifolds.linalg import Array
from rankopt.atomic_file import replace_file

_NAME = "pass-{:06d}.npz"


class PassJournal:
    """Files with the sums that each pass has found, in the order of the passes.

    Parameters
    ----------
    folder : Path
        It must exist.
    has_read : callable, optional
        Called with the rows that a pass has read so far and their number.

    Attributes
    ----------
    n_known : int
        Passes in the journal.
    n_passes : int
        Passes of this run so far, those that the journal answered included.

    Raises
    ------
    ValueError
        If a file of the journal cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = PassJournal(Path(folder)).result(lambda: (np.ones(2),))
    ...     PassJournal(Path(folder)).result(lambda: 1 / 0)
    (array([1., 1.]),)
    """

    def __init__(self, folder: Path, has_read: Callable[[int, int], None] | None = None) -> None:
        self.folder, self.n_passes = folder, 0
        self.has_read = has_read or (lambda rows, total: None)
        self.n_known = 0
        while (folder / _NAME.format(self.n_known)).exists():
            self.n_known += 1

    def result(self, read: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Result of the next pass: the one that is kept, or that of ``read``, which is kept before it is returned."""
        path, self.n_passes = self.folder / _NAME.format(self.n_passes), self.n_passes + 1
        if self.n_passes <= self.n_known:
            return self._load(path)
        found = tuple(map(np.asarray, read()))
        replace_file(path, lambda stream: np.savez(stream, *found))
        self.n_known = self.n_passes
        return found

    def clear(self) -> None:
        """Delete what is kept, and what was being written."""
        for path in self.folder.iterdir():
            if re.fullmatch(r"\.?pass-\d{6}\.npz(\.partial)?", path.name):
                path.unlink()
        self.n_known = self.n_passes = 0

    def _load(self, path: Path) -> tuple[Array, ...]:
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as kept:
                return tuple(kept[f"arr_{i}"] for i in range(len(kept.files)))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} cannot be read; start again with --force: {error}") from error
