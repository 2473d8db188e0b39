"""Views of the same rows that are read together: what two views and any number of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manifolds.linalg import Array, require_same_kind
from manifolds.sketching import Sketch
from problems.co_moments import Moments
from problems.data_matrix import DataMatrix, diagonals_together, gather, sketch_together
from problems.row_blocks import as_data, empty_like
from problems.row_passes import row_passes


class JointViews:
    """Views with the same rows as data matrices, whose rows are read together in passes that are counted.

    Parameters
    ----------
    views : mapping of str to array, scipy sparse matrix or RowSource of shape (n, d_i)
        What error messages call each view, and its data as ``DataMatrix`` takes them.
    ridges : sequence of float
        Ridge on the covariance of each view.
    scale, sample_weight, block_rows
        As ``DataMatrix`` takes them.

    Attributes
    ----------
    views : tuple of DataMatrix
    n_samples : int
    n_features : tuple of int

    Raises
    ------
    TypeError, ValueError
        If the views are not real floating matrices of one library, dtype and device with the same number of rows.
    """

    def __init__(
        self, views: Mapping[str, Any], ridges: Sequence[float], scale: bool, sample_weight: Any, block_rows: int | None
    ) -> None:
        checked = {name: as_data(view, name) for name, view in views.items()}
        (lead, first), *others = checked.items()
        for name, view in others:
            require_same_kind(empty_like(view), empty_like(first), name, lead)
            if view.shape[0] != first.shape[0]:
                raise ValueError(
                    f"{lead} and {name} must have the same number of rows, got {first.shape[0]} and {view.shape[0]}"
                )
        self.scale = scale
        self.views = tuple(
            DataMatrix(view, reg=ridge, scale=scale, sample_weight=sample_weight, block_rows=block_rows, name=name)
            for (name, view), ridge in zip(checked.items(), ridges, strict=True)
        )
        self.n_samples = first.shape[0]
        self.n_features = tuple(view.n_features for view in self.views)
        self.rows = row_passes(list(checked.values()), [self.views[0].weights], block_rows)
        self._passes = 0

    @property
    def n_passes(self) -> int:
        """Reads of the data so far; a read of one view counts as one."""
        return self._passes + sum(view.n_passes for view in self.views)

    @property
    def like(self) -> Array:
        """Empty array of the data's kind."""
        return self.views[0].like

    @property
    def moments(self) -> tuple[Moments, ...]:
        """Column means and scales of all views; costs a pass unless one has given them already."""
        if any(view._moments is None for view in self.views):
            self._passes += 1
            gather(self.views, self.rows)
        return tuple(view.moments for view in self.views)

    def sketch(self, sketch: Sketch) -> tuple[Array, ...]:
        """Sketches S W^{1/2} Xc_i of all centred views by the same S, in one pass."""
        self._passes += 1
        return tuple(sketch_together(self.views, sketch, self.rows))

    def diagonals(self) -> tuple[Array, ...]:
        """Diagonals of the covariances of all views, in one pass, which gives the moments, too."""
        self._passes += 1
        return tuple(diagonals_together(self.views, self.rows))

    def view_product(self, view: int, a: Array) -> Array:
        """Product of the covariance of one view with a direction; a read of that view alone."""
        self.moments  # noqa: B018 - those of all views come from one pass
        return self.views[view].products(a)
