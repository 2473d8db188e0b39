"""Some rows of a pass with the class and the weight of each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from manifolds.linalg import Array
from problems.row_blocks import shifted_rows
from problems.row_passes import RowBlock


class ClassRows(NamedTuple):
    """Some rows with the class of each, and the root of its weight."""

    first: int
    view: Any
    codes: np.ndarray
    index: Any
    """The classes in the library of the data."""
    weights: np.ndarray | None
    roots: Array | None

    @classmethod
    def of(cls, block: RowBlock) -> ClassRows:
        """Rows of a block whose vectors are these."""
        return cls(block.first, block.views[0], *block.vectors)

    def onehot(self) -> tuple[np.ndarray, np.ndarray]:
        """Class of each row as target of a sum, and the root of its weight."""
        roots = np.ones(len(self.codes)) if self.weights is None else self.weights**0.5
        return self.codes[:, None], roots[:, None]

    def of_classes(self, values: Array) -> Array:
        """The row of each row's class, times the root of its weight."""
        return shifted_rows(values[self.index], None, self.roots)

    def weighted(self, values: Array) -> Array:
        """A row of values for each row, times its weight."""
        return shifted_rows(shifted_rows(values, None, self.roots), None, self.roots)

    def shifted(self, shifts: Array | None) -> ClassRows:
        """Rows minus the shift of their class, times the roots of their weights; sparse rows have no shift."""
        if shifts is None:
            return self._replace(view=shifted_rows(self.view, None, self.roots))
        view = (-shifts)[self.index]
        view += self.view  # in the only copy of the rows
        return self._replace(view=shifted_rows(view, None, self.roots))
