"""Worker threads: those that run batches, shared by everything in this process that runs a model on the CPU.

One thread per CPU, each running one batch at a time with one intra-op thread, keeps all CPUs busy without ever using
more threads than CPUs, however many rerankers or requests there are. A job queues only a few batches at once, and after
each batch goes to the end of the queue, so a short request is not stuck behind a long one.

The threads are daemons. They go on for as long as any thread of the program, also after the main thread has ended, when
``concurrent.futures`` refuses new work. The exit waits only for the batches that run at that moment.
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

# Python 3.11 to 3.13 abort the process when native code returns to an interpreter that has ended.
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
        self._make_pool()
        forks.in_child(self._renew)

    def submit(self, task: Callable[[], R], future: Future[R] | None = None) -> Future[R]:
        """Run one task on a worker, after those submitted before it. Cancelled before it starts, it never runs.

        Args:
            task: what to run.
            future: holds the result. A caller that makes it beforehand can cancel it even if this call is interrupted.

        Raises:
            InferenceError: when the workers are closed, Python is exiting, or no thread can be started.
        """
        future = Future() if future is None else future
        try:
            self._pool.put(_Task(task, future))
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
        """The result of one task, without blocking the event loop. Cancelled before it starts, it never runs.

        ``asyncio.to_thread`` holds up the exit until the call has ended, and fails once the main thread has ended.

        Raises:
            InferenceError: the same as :meth:`submit`.
            Exception: whatever ``task`` raises.
        """
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self.submit(lambda: context.run(task)))

    def close(self) -> None:
        """Stop the threads once the running tasks are done. What has not started fails with an InferenceError."""
        self._pool.close()

    def _make_pool(self) -> None:
        self._pool = _Pool(self.size, self._name, forks.SlowLock if self._slow else forks.OuterLock)
        self._closing = weakref.finalize(self, self._pool.close)
        self._closing.atexit = False

    def _renew(self) -> None:
        """In a forked child: the parent's tasks are not ours, and their futures' locks must not be touched."""
        self._closing.detach()
        _pools.pop(id(self._pool), None)
        self._make_pool()


class _Task:
    """A call, and the future of its result."""

    def __init__(self, call: Callable[[], Any], future: Future[Any]) -> None:
        self._call = call
        self._future = future

    def run(self, done: Callable[[], None]) -> None:
        """Call it; ``done`` is called before the result is set."""
        if not self._future.set_running_or_notify_cancel():
            done()
            return
        try:
            result = self._call()
        except BaseException as error:  # noqa: BLE001  (set on the future)
            done()
            self._future.set_exception(error)
        else:
            done()
            self._future.set_result(result)

    def fail(self) -> None:
        with suppress(InvalidStateError):  # cancelled
            self._future.set_exception(_stopped())


class _Pool:
    """The threads of :class:`Workers` and their queue. Threads hold this, not the workers, so that they end with these.

    Callers take no lock and keep no count: an interrupt (Ctrl-C) may end them between any two steps, and must leave
    everything consistent. At worst one thread too many is started, and ends when it finds no place.
    """

    def __init__(self, size: int, name: str, make_lock: Callable[[], threading.RLock]) -> None:
        self._size = size
        self._name = name
        self._make_lock = make_lock
        self._places = deque(range(size))  # one for each worker there may be
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._waiting: set[_Task] = set()  # a task is run, or failed, by the thread that removes it from here
        self._unfinished: set[_Task] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        _pools[id(self)] = self

    def put(self, task: _Task) -> None:
        if self._closed:
            raise _stopped()
        try:
            self._waiting.add(task)
            self._unfinished.add(task)
            self._ensure_worker()
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
        """What one worker thread runs."""
        busy = self._make_lock()  # a fork comes between two tasks: models and tokenizers have locks of their own
        try:
            self._places.pop()
        except IndexError:  # others are there already
            return
        threading.current_thread().name = self._name
        while (task := self._queue.get()) is not None:
            forks.wait_for_forks()
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

    def _ensure_worker(self) -> None:
        """Start a thread if there are more unfinished tasks than threads, up to the size."""
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
    """The items of one :meth:`Workers.map` call."""

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
            self._submit_step()

    def _submit_step(self) -> None:
        self._workers.submit(self._step).add_done_callback(self._pass_on_failure)

    def _pass_on_failure(self, step: Future[None]) -> None:
        """Set what went wrong on the future: an error of the task, or that the workers were closed."""
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
            self._submit_step()
            return
        with suppress(InvalidStateError):  # cancelled, or another worker saw the end as well
            self.future.set_result([self._results[i] for i in range(len(self._items))])


_pools: weakref.WeakValueDictionary[int, _Pool] = weakref.WeakValueDictionary()
_shared: dict[str, Workers] = {}


def shared_workers() -> Workers:
    """The process's CPU workers, one per CPU it may use; started on first use."""
    if "cpu" not in _shared:
        _shared.setdefault("cpu", Workers(available_cpus(), "rerank-worker"))  # atomic: another thread may do the same
    return _shared["cpu"]


SLOW_CALLS = Workers(32, "rerank-slow", slow=True)
"""For slow calls that would block an event loop: loading models, looking up stores, reading certificates."""


def _stopped() -> InferenceError:
    return InferenceError("the workers have stopped: the model is closed or Python is exiting.")


@atexit.register
def _stop_all() -> None:
    """At exit, when all threads that Python waits for have ended."""
    for reference in _pools.valuerefs():
        if (pool := reference()) is not None:
            pool.close()
    forks.hold_until_exit(_EXIT_SECONDS)
