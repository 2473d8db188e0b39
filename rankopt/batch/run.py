"""A run on a batch: rounds until no problem is at work, with finished ones left out, and a record."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult
from tqdm.auto import tqdm

from manifolds.linalg import Array, namespace, to_numpy
from manifolds.manifold import Point
from rankopt.batch.rounds import Reached, Rounds, Rows
from rankopt.batch.rows import first_array, map_arrays, put, select, take
from rankopt.solvers.status import UNFINISHED, Status


class Work(NamedTuple):
    """The problems at work, and what became of all."""

    rows: Rows
    index: Array
    """Numbers of the problems that the rows belong to."""
    all_rows: Rows | None
    """Rows of all problems when the present ones were chosen; None while these are all."""

    def merged(self) -> Rows:
        """Rows of all problems."""
        return self.rows if self.all_rows is None else put(self.all_rows, self.index, self.rows)

    def without_finished(self, active: Array) -> Work:
        """Only the rows that are active."""
        return Work(take(self.rows, active), self.index[active], self.merged())


class BatchRun:
    """One run on a batch; it records, calls back, and survives an interruption.

    Parameters
    ----------
    rounds : Rounds
    points : point
        Start points, one row per problem.
    batch : tuple of int
        Shape of the batch.
    callback : callable or None
    show : bool or str
        Whether to show a progress bar, or its label.
    """

    def __init__(self, rounds: Rounds, points: Point, batch: tuple[int, ...], callback: Any, show: bool | str) -> None:
        self._rounds, self._points, self._batch, self._callback = rounds, points, batch, callback
        like = first_array(points)
        self._bar = tqdm(
            desc=show if isinstance(show, str) else None,
            total=like.shape[0],
            unit=" problems",
            dynamic_ncols=True,
            disable=not show,
        )
        self._index = namespace(like).arange(like.shape[0], device=like.device)
        self._grad_norms = np.full(like.shape[0], np.nan)
        self._history: dict[str, list[float]] = {
            name: [] for name in ("max_grad_norm", "median_grad_norm", "n_active", "time")
        }
        self._work: Work | None = None
        self._began = time.perf_counter()

    def to_end(self) -> OptimizeResult:
        """Run until every problem has ended, the callback ends the run, or an interruption does."""
        try:
            ending = self._iterate()
        except KeyboardInterrupt:
            ending = Status.INTERRUPTED
        finally:
            self._bar.close()
        return self._result(ending)

    def _iterate(self) -> Status | None:
        rows = self._rounds.start(self._points, self._index)
        self._record(Work(self._rounds.finish(rows, self._seconds()), self._index, None))
        while n_active := self._history["n_active"][-1]:
            work = self._chosen(int(n_active))
            rows = self._rounds.advance(work.rows, work.index)
            work = work._replace(rows=self._rounds.finish(rows, self._seconds()))
            self._record(work)
            if self._callback is not None:
                try:
                    rows = work.merged()
                    self._callback(self._summary(rows, rows.reached))
                except StopIteration:
                    return Status.USER
        return None

    def _chosen(self, n_active: int) -> Work:
        """The rows to go on with: those at work, chosen anew once they are less than half, so that copies are few."""
        assert self._work is not None
        if 2 * n_active >= self._work.index.shape[0]:
            return self._work
        active = self._work.rows.status == UNFINISHED
        self._rounds.objective.keep(active)
        return self._work.without_finished(active)

    def _record(self, work: Work) -> None:
        """Keep the state and add an entry to the history."""
        self._work = work
        n_active = int(np.sum(to_numpy(work.rows.status) == UNFINISHED))
        self._grad_norms[to_numpy(work.index)] = to_numpy(work.rows.grad_norm)
        known = self._grad_norms[np.isfinite(self._grad_norms)]
        self._history["max_grad_norm"].append(known.max() if known.size else np.nan)
        self._history["median_grad_norm"].append(np.median(known) if known.size else np.nan)
        self._history["n_active"].append(n_active)
        self._history["time"].append(self._seconds())
        self._bar.update(len(self._grad_norms) - n_active - self._bar.n)

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _result(self, ending: Status | None) -> OptimizeResult:
        """Result in which the problems that were still at work have this ending."""
        rows = self._unstarted() if self._work is None else self._work.merged()
        xp = namespace(rows.status)
        if ending is not None:
            rows = rows._replace(status=xp.where(rows.status == UNFINISHED, int(ending), rows.status))
        success = xp.asarray([status.success for status in Status], device=rows.status.device)[rows.status]
        result = self._summary(rows, select(success, rows.reached, rows.best))
        messages = np.array([status.message for status in Status], dtype=object)
        length = len(self._history["time"])
        history = {name: np.asarray(values[:length]) for name, values in self._history.items()}
        result.update(
            status=self._shaped(rows.status),
            success=self._shaped(success),
            message=self._shaped(messages[to_numpy(rows.status)]),
            history=OptimizeResult(history),
        )
        return result

    def _summary(self, rows: Rows, reached: Reached) -> OptimizeResult:
        return OptimizeResult(
            x=self._shaped(reached.point),
            fun=self._shaped(reached.value),
            grad_norm=self._shaped(reached.grad_norm),
            nit=self._shaped(rows.nit),
            nfev=self._shaped(rows.nfev),
            ngev=self._shaped(rows.nfev),
            ncalls=self._rounds.objective.ncalls,
        )

    def _shaped(self, tree: Any) -> Any:
        """One axis of problems in the shape of the batch."""
        return map_arrays(lambda a: a.reshape((*self._batch, *a.shape[1:])), tree)

    def _unstarted(self) -> Rows:
        """Rows before anything is known."""
        xp, like = namespace(self._index), first_array(self._points)
        unknown = xp.full(self._index.shape, float("nan"), dtype=like.dtype, device=like.device)
        rows = self._rounds.rows_at(self._points, unknown, map_arrays(xp.zeros_like, self._points))
        return rows._replace(status=xp.full_like(rows.status, UNFINISHED), nfev=xp.zeros_like(rows.nfev))
