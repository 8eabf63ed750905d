"""Worker threads that run batches, shared by everything in this process that runs a model on the CPU.

One thread a core, each running one batch at a time with one intra-op thread, keeps all cores busy without ever
using more threads than cores, however many rerankers or requests there are. A job puts only a few batches in
line at once and queues up again behind the others after each, so a short request is not stuck behind a long one.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from rerank_core.errors import InferenceError
from rerank_core.inference.cpus import available_cpus

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A fixed number of threads.

    Args:
        size: how many tasks may run at once.
        name: the threads' name prefix.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self._name = name
        self.restart()
        _all_workers.add(self)

    def restart(self) -> None:
        """Begin with fresh threads; for a forked child, where the parent's do not exist."""
        self._executor = ThreadPoolExecutor(self.size, thread_name_prefix=self._name)

    def submit(self, task: Callable[[], R]) -> Future[R]:
        """Run one task on a worker.

        Raises:
            InferenceError: when the workers are closed or the interpreter is shutting down.
        """
        try:
            return self._executor.submit(task)
        except RuntimeError as error:
            raise InferenceError("the workers have stopped: the model is closed or Python is exiting.") from error

    def map(self, task: Callable[[T], R], items: Sequence[T], *, limit: int) -> Future[list[R]]:
        """Run ``task`` on every item, at most ``limit`` at a time; the future holds the results in order.

        Cancelling the future drops the items that have not started. The first failure ends the job.
        """
        job = _Job(self, task, items)
        job.start(max(1, min(limit, self.size)))
        return job.future

    def close(self) -> None:
        """Stop the threads once the running tasks are done."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class _Job(Generic[T, R]):
    """The items of one request on their way through the workers."""

    def __init__(self, workers: Workers, task: Callable[[T], R], items: Sequence[T]) -> None:
        self.future: Future[list[R]] = Future()
        self._workers = workers
        self._task = task
        self._items = items
        self._results: dict[int, R] = {}
        self._next = 0
        self._lock = threading.Lock()

    def start(self, limit: int) -> None:
        if not self._items:
            self.future.set_result([])
        for _ in range(min(limit, len(self._items))):
            self._workers.submit(self._step)

    def _step(self) -> None:
        with self._lock:
            position = self._next
            self._next += 1
        if position >= len(self._items) or self.future.done():
            return
        try:
            result = self._task(self._items[position])
        except BaseException as error:  # noqa: BLE001  (handed to whoever waits)
            with suppress(InvalidStateError):
                self.future.set_exception(error)
            return
        with self._lock:
            self._results[position] = result
            finished = len(self._results) == len(self._items)
        if finished:
            with suppress(InvalidStateError):
                self.future.set_result([self._results[i] for i in range(len(self._items))])
        else:
            self._continue()

    def _continue(self) -> None:
        """Queue up again behind the other jobs; whoever waits must hear of it when that is impossible."""
        try:
            self._workers.submit(self._step)
        except InferenceError as error:
            with suppress(InvalidStateError):
                self.future.set_exception(error)


_all_workers: weakref.WeakSet[Workers] = weakref.WeakSet()
_shared: Workers | None = None
_shared_lock = threading.Lock()


def shared_workers() -> Workers:
    """The process's CPU workers, one a core it may use; started on first use."""
    global _shared  # noqa: PLW0603  (one pool a process is the point)
    with _shared_lock:
        if _shared is None:
            _shared = Workers(available_cpus(), "rerank-worker")
        return _shared


def _restart_after_fork() -> None:
    """Threads and held locks do not survive a fork; the child begins anew."""
    global _shared_lock  # noqa: PLW0603  (one pool a process)
    _shared_lock = threading.Lock()
    for workers in _all_workers:
        workers.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_after_fork)
