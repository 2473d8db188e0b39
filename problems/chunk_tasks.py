"""Tasks of dask that make chunks where they are used, so that no chunk moves between workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def chunks_of(data: Any) -> Any:
    """Delayed chunks of a dask array, in an array of the shape of its chunks.

    The graph of a persisted array is left as it is: an optimized one would lose the array's hold on its chunks.
    """
    return data.to_delayed(optimize_graph=not _is_persisted(data))


def compute_in_place(total: Any, parts: Sequence[Any]) -> Any:
    """Result of a delayed value, where each of its parts is one task with all that nothing but this part needs.

    Tasks that several parts need, and chunks that are in memory already, stay as they are.

    Parameters
    ----------
    total : Delayed
    parts : sequence of Delayed
        What it is computed from.
    """
    from dask.delayed import Delayed

    graph = dict(total.__dask_optimize__(total.__dask_graph__(), [total.key]))
    uses = _uses(graph)
    for part in parts:
        _fuse(graph, uses, part.key)
    return Delayed(total.key, graph).compute()


def _fuse(graph: dict[Any, Any], uses: dict[Any, set[Any]], top: Any) -> None:
    """Make one task of a task and of all that it alone needs."""
    within, waiting = {top}, [top]
    while waiting:
        for key in _needs(graph[waiting.pop()]):
            # One that is used twice within is met again when its last use has been taken in.
            if key not in within and hasattr(graph.get(key), "fuse") and uses[key] <= within:
                within.add(key)
                waiting.append(key)
    if len(within) > 1:
        nodes = [graph.pop(key) for key in within]
        graph[top] = nodes[0].fuse(*nodes, key=top)


def _uses(graph: dict[Any, Any]) -> dict[Any, set[Any]]:
    """Tasks that need each task."""
    uses: dict[Any, set[Any]] = {key: set() for key in graph}
    for key, node in graph.items():
        for needed in _needs(node):
            uses.setdefault(needed, set()).add(key)
    return uses


def _needs(node: Any) -> Any:
    return getattr(node, "dependencies", ())


def _is_persisted(data: Any) -> bool:
    try:
        from distributed import futures_of
    except ImportError:
        return False
    return bool(futures_of(data))
