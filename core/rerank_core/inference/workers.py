"""Worker threads: those that run batches, shared by everything in this process that runs a model on the CPU.

One thread per CPU, each running one batch at a time with one intra-op thread, keeps all CPUs busy without ever using
more threads than CPUs, however many rerankers or requests there are. A job queues only a few batches at once and queues
up again behind the others after each, so a short request is not stuck behind a long one.

The threads are daemons. They go on while any thread of the program does, also after the main thread has ended, where
``concurrent.futures`` refuses; and they hold up the exit only for the batches that run at that moment.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from rerank_core import forks
from rerank_core.errors import InferenceError
from rerank_core.inference.cpus import available_cpus

T = TypeVar("T")
R = TypeVar("R")

# Python 3.11 to 3.13 abort the process when a model comes back to an interpreter that is gone.
_EXIT_SECONDS = 5.0


class Workers:
    """A fixed number of threads, started when there is work for them. A forked child begins with none.

    Args:
        size: how many tasks may run at once.
        name: the threads' name.
        slow: whether tasks may take long, as downloads do: then neither a fork nor the exit waits for those that run.
    """

    def __init__(self, size: int, name: str, *, slow: bool = False) -> None:
        self.size = size
        self._name = name
        self._slow = slow
        self._hire()
        forks.in_child(self._begin_anew)

    def submit(self, task: Callable[[], R], future: Future[R] | None = None) -> Future[R]:
        """Run one task on a worker, after those that were there before. Cancelled before it starts, it never runs.

        Args:
            task: what to run.
            future: holds the result. Who makes it beforehand can cancel it even when this very call is interrupted.

        Raises:
            InferenceError: when the workers are closed, Python is exiting, or no thread can be started.
        """
        future = Future() if future is None else future
        try:
            self._crew.put(_Task(task, future))
        except BaseException:
            future.cancel()
            raise
        return future

    def map(
        self, task: Callable[[T], R], items: Sequence[T], *, limit: int, future: Future[list[R]] | None = None
    ) -> Future[list[R]]:
        """Run ``task`` on every item, at most ``limit`` at a time; the future holds the results in order.

        Cancelling the future drops the items that have not started. The first failure ends the job.
        """
        job = _Job(self, task, items, Future() if future is None else future)
        try:
            job.start(max(1, min(limit, self.size)))
        except BaseException:
            job.future.cancel()
            raise
        return job.future

    async def run(self, task: Callable[[], R]) -> R:
        """The result of one task, while the event loop goes on. Cancelled before it has started, it never runs.

        ``asyncio.to_thread`` holds up the exit until the call has ended, and fails once the main thread has ended.

        Raises:
            InferenceError: the same as :meth:`submit`.
            Exception: whatever ``task`` raises.
        """
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self.submit(lambda: context.run(task)))

    def close(self) -> None:
        """Stop the threads once the running tasks are done. What has not started fails with an InferenceError."""
        self._crew.close()

    def _hire(self) -> None:
        self._crew = _Crew(self.size, self._name, forks.SlowLock if self._slow else forks.OuterLock)
        self._leaving = weakref.finalize(self, self._crew.close)
        self._leaving.atexit = False

    def _begin_anew(self) -> None:
        """In a forked child: nobody waits for the parent's tasks, and nobody may touch their futures' locks."""
        self._leaving.detach()
        _crews.pop(id(self._crew), None)
        self._hire()


class _Task:
    """A call, and the future of its result."""

    def __init__(self, call: Callable[[], Any], future: Future[Any]) -> None:
        self._call = call
        self._future = future

    def run(self, done: Callable[[], None]) -> None:
        """Call it; ``done`` comes before anybody hears of the result."""
        if not self._future.set_running_or_notify_cancel():
            done()
            return
        try:
            result = self._call()
        except BaseException as error:  # noqa: BLE001  (handed to whoever waits)
            done()
            self._future.set_exception(error)
        else:
            done()
            self._future.set_result(result)

    def fail(self) -> None:
        with suppress(InvalidStateError):  # cancelled
            self._future.set_exception(_stopped())


class _Crew:
    """The threads of one pool and their queue. They know this and not the pool, so that they end with it.

    Callers take no lock and keep no count: an interrupt (Ctrl-C) may end them between any two steps, and must leave
    everything right. At worst a thread too many is started, and ends when it finds no place.
    """

    def __init__(self, size: int, name: str, make_lock: Callable[[], threading.RLock]) -> None:
        self._size = size
        self._name = name
        self._make_lock = make_lock
        self._places = deque(range(size))  # one for each worker there may be
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._waiting: set[_Task] = set()  # whoever removes a task from here runs it, or fails it
        self._unfinished: set[_Task] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        _crews[id(self)] = self

    def put(self, task: _Task) -> None:
        if self._closed:
            raise _stopped()
        try:
            self._waiting.add(task)
            self._unfinished.add(task)
            self._call_worker()
            self._queue.put(task)
        except BaseException:
            self._waiting.discard(task)
            self._unfinished.discard(task)
            raise
        if self._closed:  # since the first look
            self._fail_waiting()

    def close(self) -> None:
        self._closed = True
        self._fail_waiting()
        self._queue.put(None)

    def work(self) -> None:
        """The life of one worker."""
        busy = self._make_lock()  # a fork comes between two tasks: models and tokenizers have locks of their own
        try:
            self._places.pop()
        except IndexError:  # others are there already
            return
        threading.current_thread().name = self._name
        while (task := self._queue.get()) is not None:
            forks.give_way()
            with busy:
                self._run(task)
            del task  # or it would stay in memory until the next one
        self._queue.put(None)  # for the next worker

    def _run(self, task: _Task) -> None:
        try:
            self._waiting.remove(task)
        except KeyError:  # failed, or withdrawn
            self._unfinished.discard(task)
        else:
            task.run(lambda: self._unfinished.discard(task))

    def _call_worker(self) -> None:
        """See that there is a worker for every unfinished task, as far as there may be."""
        if not self._places or len(self._unfinished) <= self._size - len(self._places):
            return
        started = [thread for thread in self._threads if thread.is_alive()]
        if len(self._unfinished) <= len(started) or len(started) >= self._size:
            return
        thread = threading.Thread(target=self.work, name=f"{self._name}-start", daemon=True)
        self._threads = [*started, thread]
        try:
            thread.start()
        except RuntimeError as error:  # too many threads, or no interpreter any more
            if len(self._places) == self._size:
                raise InferenceError(f"no worker thread can be started: {error}.") from error

    def _fail_waiting(self) -> None:
        for task in tuple(self._waiting):
            with suppress(KeyError):  # a worker was faster
                self._waiting.remove(task)
                self._unfinished.discard(task)
                task.fail()


class _Job(Generic[T, R]):
    """The items of one request on their way through the workers."""

    def __init__(self, workers: Workers, task: Callable[[T], R], items: Sequence[T], future: Future[list[R]]) -> None:
        self.future = future
        self._workers = workers
        self._task = task
        self._items = items
        self._results: dict[int, R] = {}
        self._positions = itertools.count()

    def start(self, limit: int) -> None:
        if not self._items:
            self.future.set_result([])
        for _ in range(min(limit, len(self._items))):
            self._queue_up()

    def _queue_up(self) -> None:
        self._workers.submit(self._step).add_done_callback(self._hear)

    def _hear(self, step: Future[None]) -> None:
        """Whoever waits must hear of what went wrong: the task, or the workers that were closed."""
        error = step.exception()
        if error is not None:
            with suppress(InvalidStateError):
                self.future.set_exception(error)

    def _step(self) -> None:
        """One item; then to the end of the queue again, behind the other jobs."""
        position = next(self._positions)
        if position >= len(self._items) or self.future.done():
            return
        self._results[position] = self._task(self._items[position])
        if len(self._results) < len(self._items):
            self._queue_up()
            return
        with suppress(InvalidStateError):  # cancelled, or another worker saw the end as well
            self.future.set_result([self._results[i] for i in range(len(self._items))])


_crews: weakref.WeakValueDictionary[int, _Crew] = weakref.WeakValueDictionary()
_shared: dict[str, Workers] = {}


def shared_workers() -> Workers:
    """The process's CPU workers, one per CPU it may use; started on first use."""
    if "cpu" not in _shared:
        _shared.setdefault("cpu", Workers(available_cpus(), "rerank-worker"))  # in one step, whoever else does it now
    return _shared["cpu"]


ASIDE = Workers(32, "rerank-aside", slow=True)
"""For calls of event loops that may take long: loading, looking up stores, reading certificates."""


def _stopped() -> InferenceError:
    return InferenceError("the workers have stopped: the model is closed or Python is exiting.")


@atexit.register
def _stop_all() -> None:
    """When all threads that Python waits for have ended."""
    for reference in _crews.valuerefs():
        if (crew := reference()) is not None:
            crew.close()
    forks.hold_for_good(_EXIT_SECONDS)
