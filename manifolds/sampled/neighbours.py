"""Which samples lie in whose support: KD-trees in low ambient dimension, blocked matrix products in high."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from manifolds.linalg import (
    Array,
    is_array,
    is_torch_array,
    namespace,
    require_finite,
    require_real_floating,
    to_numpy,
)

_TREE_DIMENSION = 20
"""Above, a KD-tree visits most of its leaves (scipy's own advice)."""
_BLOCK_ENTRIES = 1 << 22
"""Entries of one block of distances."""
_SHELL = 1.5
"""Samples whose radii agree up to this factor share a tree, so that a query looks little further than it must."""


class Neighbours:
    """Search among samples whose supports have radii of their own.

    Parameters
    ----------
    points : array of shape (N, D)
    """

    def __init__(self, points: Array) -> None:
        self.points = points
        self._in_host = not is_torch_array(points) or str(points.device) == "cpu"
        self._tree = KDTree(np.asarray(points)) if self._in_host and points.shape[1] <= _TREE_DIMENSION else None
        if self._tree is None:
            # About their centre, since products lose the digits of distances that are short beside the coordinates.
            self._centre = namespace(points).mean(points, axis=0)
            self._centred = points - self._centre
            self._squares = namespace(points).sum(self._centred**2, axis=-1)
        self._shells: list[tuple[Any, KDTree, float]] = []

    def nearest(self, queries: Array, count: int) -> tuple[Array, Array]:
        """Distances and indices (b, count) of the nearest samples, nearest first."""
        xp = namespace(queries)
        if self._tree is not None:
            distances, indices = self._tree.query(np.asarray(queries), k=[*range(1, count + 1)])
            return xp.asarray(distances, dtype=queries.dtype), xp.asarray(indices)
        parts = []
        for block, squared in self._squared_distances(queries, count * self.points.shape[1]):
            if is_torch_array(queries):
                indices = squared.topk(count, dim=-1, largest=False).indices
            else:
                indices = np.argpartition(squared, count - 1, axis=-1)[:, :count]
            # Differences of coordinates, since products lose half of the digits of short distances.
            exact = xp.linalg.vector_norm(self.points[indices] - block[:, None, :], axis=-1)
            order = xp.argsort(exact, axis=-1)
            parts.append((xp.take_along_axis(exact, order, axis=-1), xp.take_along_axis(indices, order, axis=-1)))
        return xp.concat([part[0] for part in parts]), xp.concat([part[1] for part in parts])

    def set_radii(self, radii: Array) -> None:
        """Give every sample the radius of its support."""
        self.radii = radii
        if self._tree is None:
            return
        host, points = np.asarray(radii), np.asarray(self.points)
        shells = np.floor(np.log(host / host.min()) / np.log(_SHELL))
        for shell in np.unique(shells):
            members = np.flatnonzero(shells == shell)
            self._shells.append((members, KDTree(points[members]), float(host[members].max())))

    def supporting(self, queries: Array, slack: float) -> tuple[Array, Array]:
        """Samples i with |r_i - q| < slack * s_i for queries (b, D), as padded indices (b, K) and their mask."""
        if self._tree is not None:
            rows, columns = self._by_tree(np.asarray(queries), slack)
        else:
            rows, columns = self._by_products(queries, slack)
        # Pairs are sorted by row; a pair's place in its row is its distance from the row's first pair.
        counts = np.bincount(rows, minlength=queries.shape[0])
        places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        indices = np.zeros((len(counts), max(1, counts.max(initial=0))), dtype=np.int64)
        mask = np.zeros(indices.shape, dtype=bool)
        indices[rows, places], mask[rows, places] = columns, True
        if is_torch_array(queries):
            xp = namespace(queries)
            return xp.asarray(indices, device=queries.device), xp.asarray(mask, device=queries.device)
        return indices, mask

    def _by_tree(self, queries: np.ndarray, slack: float) -> tuple[np.ndarray, np.ndarray]:
        points, radii = np.asarray(self.points), np.asarray(self.radii)
        parts = []
        for members, tree, radius in self._shells:
            found = tree.query_ball_point(queries, slack * radius)
            counts = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
            flat = np.fromiter(chain.from_iterable(found), dtype=np.int64, count=int(counts.sum()))
            parts.append((np.repeat(np.arange(len(found)), counts), members[flat]))
        rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
        away = points[columns] - queries[rows]
        kept = np.flatnonzero(np.sum(away * away, axis=-1) < (slack * radii[columns]) ** 2)
        if len(parts) > 1:
            kept = kept[np.argsort(rows[kept], kind="stable")]
        return rows[kept], columns[kept]

    def _by_products(self, queries: Array, slack: float) -> tuple[np.ndarray, np.ndarray]:
        rows, columns, start = [], [], 0
        for block, squared in self._squared_distances(queries):
            inside = squared < (slack * self.radii) ** 2
            row, column = np.nonzero(to_numpy(inside))
            rows.append(row + start)
            columns.append(column)
            start += block.shape[0]
        return np.concatenate(rows), np.concatenate(columns)

    def _squared_distances(self, queries: Array, entries: int = 1) -> Any:
        """Blocks of queries with their squared distances to all samples, where each query needs so many entries."""
        size = max(1, _BLOCK_ENTRIES // max(entries, self.points.shape[0]))
        for start in range(0, queries.shape[0], size):
            block = queries[start : start + size]
            xp, centred = namespace(block), block - self._centre
            yield block, xp.sum(centred**2, axis=-1)[:, None] - 2 * (centred @ self._centred.T) + self._squares


def require_samples(points: Any) -> None:
    """Raise an error unless an array holds finite samples, one a row."""
    if not is_array(points):
        raise TypeError(f"points must be a numpy array or a torch tensor, got {type(points).__name__}")
    require_real_floating(points, "points")
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(f"points must have shape (N, D) with D >= 2, one sample a row, got {tuple(points.shape)}")
    require_finite(points, "points")
