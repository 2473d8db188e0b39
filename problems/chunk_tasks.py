"""Sums over chunks of dask: each chunk is made in the task that uses it, and what tasks give is added up in a tree.

A task holds all that only its own chunk needs, so that no chunk moves between workers. The graph is put together from
dask's task objects at once, since a ``delayed`` call for each chunk would go through the graph of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

_FAN_IN = 8
"""Results that are added up at a time, on one worker."""


def sum_over_chunks(
    part: Callable[..., Any], shared: Any, calls: Sequence[tuple[Any, Sequence[Any]]], add: Callable[..., Any]
) -> Any:
    """Sum of ``part(shared, value, *chunks)`` over calls, with ``add`` for several results.

    Parameters
    ----------
    part : callable
    shared : object
        What all calls need; each worker gets it once.
    calls : sequence of pair
        A value of each call, and its delayed chunks.
    add : callable
        Gives the sum of its arguments.
    """
    from dask._task_spec import DataNode, Task, TaskRef, convert_legacy_graph
    from dask.delayed import Delayed

    own = uuid4().hex
    graph: dict[Any, Any] = dict(convert_legacy_graph(_graph_of(chunk for _, chunks in calls for chunk in chunks)))
    root = f"shared-{own}"
    graph[root] = DataNode(root, shared)
    level: list[Any] = []
    for k, (value, chunks) in enumerate(calls):
        level.append((f"chunk-sums-{own}", k))
        graph[level[-1]] = Task(level[-1], part, TaskRef(root), value, *(TaskRef(chunk.key) for chunk in chunks))
    fuse_into(graph, level)
    depth = 0
    while len(level) > 1:
        added: list[Any] = [(f"added-{own}", depth, k) for k in range(-(-len(level) // _FAN_IN))]
        for k, key in enumerate(added):
            graph[key] = Task(key, add, *map(TaskRef, level[k * _FAN_IN : (k + 1) * _FAN_IN]))
        level, depth = added, depth + 1
    return Delayed(level[0], graph).compute()


def fuse_into(graph: dict[Any, Any], tops: Iterable[Any]) -> None:
    """Make one task of each of these and of all that it alone needs.

    Parameters
    ----------
    graph : dict
        Tasks by their keys, changed in place.
    tops : iterable
        Keys.
    """
    uses: dict[Any, set[Any]] = {key: set() for key in graph}
    for key, node in graph.items():
        for needed in node.dependencies:
            uses.setdefault(needed, set()).add(key)
    for top in tops:
        within, waiting = {top}, [top]
        while waiting:
            for key in graph[waiting.pop()].dependencies:
                # One that is used twice within is met again when its last use has been taken in.
                if key in graph and key not in within and uses[key] <= within:
                    within.add(key)
                    waiting.append(key)
        if len(within) > 1:
            nodes = [graph.pop(key) for key in within]
            graph[top] = nodes[0].fuse(*nodes, key=top)


def _graph_of(values: Iterable[Any]) -> Mapping[Any, Any]:
    """Tasks of delayed values, many of which share one graph."""
    graphs = {id(value.dask): value.dask for value in values}
    return {key: task for graph in graphs.values() for key, task in dict(graph).items()}
