"""Which samples lie in whose support: KD-trees in low ambient dimension, blocked matrix products in high."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import KDTree

from manifolds.linalg import Array, is_torch_array, namespace

_TREE_DIMENSION = 20
"""Above, a KD-tree visits most of its leaves (scipy's own advice)."""
_BLOCK_ENTRIES = 1 << 24
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
        self._points = points
        self._in_host = not is_torch_array(points) or str(points.device) == "cpu"
        self._tree = KDTree(np.asarray(points)) if self._in_host and points.shape[1] <= _TREE_DIMENSION else None
        self._squares = namespace(points).sum(points**2, axis=-1) if self._tree is None else None
        self._shells: list[tuple[Any, KDTree, float]] = []

    def nearest(self, queries: Array, count: int) -> tuple[Array, Array]:
        """Distances and indices (b, count) of the nearest samples, nearest first."""
        xp = namespace(queries)
        if self._tree is not None:
            distances, indices = self._tree.query(np.asarray(queries), k=[*range(1, count + 1)])
            return xp.asarray(distances, dtype=queries.dtype), xp.asarray(indices)
        parts = []
        for block, squared in self._squared_distances(queries, count):
            if is_torch_array(queries):
                indices = squared.topk(count, dim=-1, largest=False).indices
            else:
                indices = np.argpartition(squared, count - 1, axis=-1)[:, :count]
            # Differences of coordinates, since products lose half of the digits of short distances.
            exact = xp.linalg.vector_norm(self._points[indices] - block[:, None, :], axis=-1)
            order = xp.argsort(exact, axis=-1)
            parts.append((xp.take_along_axis(exact, order, axis=-1), xp.take_along_axis(indices, order, axis=-1)))
        return xp.concat([part[0] for part in parts]), xp.concat([part[1] for part in parts])

    def set_radii(self, radii: Array) -> None:
        """Give every sample the radius of its support."""
        self.radii = radii
        if self._tree is None:
            return
        host, points = np.asarray(radii), np.asarray(self._points)
        shells = np.floor(np.log(host / host.min()) / np.log(_SHELL))
        for shell in np.unique(shells):
            members = np.flatnonzero(shells == shell)
            self._shells.append((members, KDTree(points[members]), float(host[members].max())))

    def supporting(self, queries: Array, slack: float) -> tuple[Array, Array]:
        """Samples i with |r_i - q| < slack * s_i for queries (b, D), as padded indices (b, K) and their mask."""
        xp, lists = namespace(queries), []
        if self._tree is not None:
            host, points, radii = np.asarray(queries), np.asarray(self._points), np.asarray(self.radii)
            for query, *found in zip(
                host, *(tree.query_ball_point(host, slack * radius) for _, tree, radius in self._shells), strict=True
            ):
                near = np.concatenate(
                    [members[np.asarray(i, dtype=int)] for (members, *_), i in zip(self._shells, found, strict=True)]
                )
                lists.append(near[np.linalg.norm(points[near] - query, axis=-1) < slack * radii[near]])
        else:
            for _, squared in self._squared_distances(queries):
                inside = squared < (slack * self.radii) ** 2
                lists += [np.flatnonzero(np.asarray(row.cpu() if is_torch_array(row) else row)) for row in inside]
        width = max(1, max(map(len, lists)))
        indices = np.zeros((len(lists), width), dtype=np.int64)
        mask = np.zeros((len(lists), width), dtype=bool)
        for k, near in enumerate(lists):
            indices[k, : len(near)], mask[k, : len(near)] = near, True
        if is_torch_array(queries):
            return xp.asarray(indices, device=queries.device), xp.asarray(mask, device=queries.device)
        return indices, mask

    def _squared_distances(self, queries: Array, kept: int = 0) -> Any:
        """Blocks of queries with their squared distances to all samples; there is room to gather ``kept`` of them."""
        count, size = self._points.shape
        size = max(1, _BLOCK_ENTRIES // max(count, kept * size))
        for start in range(0, queries.shape[0], size):
            block = queries[start : start + size]
            xp = namespace(block)
            yield block, xp.sum(block**2, axis=-1)[:, None] - 2 * (block @ self._points.T) + self._squares
