"""One queue for each model: the inputs of all callers, merged into batches and run by the workers.

Threads, event loops and the HTTP server's requests all meet here. Nothing waits for company: a batch leaves as soon
as a worker is free, with whatever is there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_core import forks
from rerank_core.inference.batching import BatchQueue, Waiting
from rerank_core.inference.encoding import ModelInput
from rerank_core.inference.workers import Workers

RunBatch = Callable[[list[ModelInput]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one batch was, as far as one receiver of reports had a part in it.

    Attributes:
        inputs: how many of its inputs.
        tokens: tokens of these, padding not counted.
        padding: tokens of filling beside them.
        seconds: how long the whole batch took.
        waited: how long the request that waited longest had been waiting since its last batch, or since it came.
    """

    inputs: int
    tokens: int
    padding: int
    seconds: float
    waited: float


Report = Callable[[BatchReport], None]


class Scheduler:
    """Runs the inputs of concurrent requests through one model.

    Callers take no lock and keep no count: an interrupt (Ctrl-C) may end them between any two steps, and must leave
    everything right. Only the workers, to whom no interrupt comes, change the queue.

    Args:
        workers: gives the threads that run batches; asked each time, so that what is shared is made when it is needed.
        run: the logits of a batch, one per input.
    """

    def __init__(self, workers: Callable[[], Workers], run: RunBatch) -> None:
        self._workers = workers
        self._run = run
        self._lock = forks.Lock()  # of the queue and the number of running batches
        self._begin_anew()
        forks.in_child(self._begin_anew)

    def _begin_anew(self) -> None:
        """Begin with nothing to do; in a forked child nobody waits for the parent's work."""
        self._arrived: deque[Waiting[_Job]] = deque()
        self._queue: BatchQueue[_Job] = BatchQueue()
        self._running = 0
        self._steps: set[Future[None]] = set()  # given to the workers; those that have started are removed when seen

    def submit(
        self,
        inputs: Sequence[ModelInput],
        *,
        budget: int,
        limit: int,
        report: Report,
        future: Future[NDArray[np.float32]] | None = None,
    ) -> Future[NDArray[np.float32]]:
        """Score ``inputs``; the future holds one logit for each, in order.

        Cancelling the future drops what has not started. A batch that fails ends every request with a part in it.

        Args:
            inputs: what to score.
            budget: most tokens of a batch, padding included; 0 means one input per batch.
            limit: how many batches may be in flight at once for this request.
            report: called after each batch, once for all requests that gave an equal one.
            future: holds the result. Who makes it beforehand can cancel it even when this very call is interrupted.

        Raises:
            InferenceError: when the workers are closed.
        """
        job = _Job(inputs, report, self._lock, Future() if future is None else future)
        try:
            if not inputs:
                job.finish()
                return job.future
            waiting = Waiting(job, [len(item.ids) for item in inputs], budget=budget, limit=max(1, limit))
            job.future.add_done_callback(lambda _: waiting.drop())
            self._arrived.append(waiting)
            self._call_workers(1)  # it calls more, if there is work for more
        except BaseException:
            job.future.cancel()
            raise
        return job.future

    def _call_workers(self, most: int) -> None:
        """Have ``most`` steps on their way, or as many as workers are free: those that run look again when they end.

        How many are on their way is read off their futures. A step that nobody noted finds nothing to do, at worst.
        """
        workers = self._workers()
        while self._coming() < min(most, workers.size - self._running):
            step = workers.submit(self._step)
            self._steps.add(step)
            step.add_done_callback(self._hear)

    def _coming(self) -> int:
        for step in tuple(self._steps):
            if step.running() or step.done():
                self._steps.discard(step)
        return len(self._steps)

    def _hear(self, step: Future[None]) -> None:
        """When no worker will come, whoever waits must hear of it."""
        error = step.exception()
        if error is not None:
            with self._lock:
                self._collect()
                queue, self._queue = self._queue, BatchQueue()
            for waiting in queue:
                waiting.owner.fail(error)

    def _collect(self) -> None:
        """Take note of who has come and who has gone."""
        while self._arrived:
            self._queue.add(self._arrived.popleft())
        self._queue.forget_dropped()

    def _step(self) -> None:
        """One batch; then to the end of the workers' queue again, so that other models and requests get a turn."""
        size = self._workers().size
        with self._lock:
            self._collect()
            batch = self._queue.next_batch(size - self._running)
            ready = self._queue.ready
            self._running += bool(batch)
        if not batch:
            return
        try:
            self._call_workers(ready)
            self._score(batch)
        finally:
            with self._lock:
                self._running -= 1
                for waiting, _ in batch:
                    waiting.out -= 1
                self._collect()
                ready = self._queue.ready
        self._call_workers(ready)

    def _score(self, batch: list[tuple[Waiting[_Job], list[int]]]) -> None:
        inputs = [waiting.owner.inputs[position] for waiting, taken in batch for position in taken]
        started = time.perf_counter()
        try:
            logits = self._run(inputs)
        except BaseException as error:  # noqa: BLE001  (handed to whoever waits)
            for waiting, _ in batch:
                waiting.owner.fail(error)
            return
        _report(batch, started, time.perf_counter())
        start = 0
        for waiting, taken in batch:
            waiting.owner.receive(taken, logits[start : start + len(taken)])
            start += len(taken)


class _Job:
    """The inputs of one request and what is known of their logits."""

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        report: Report,
        lock: threading.RLock,
        future: Future[NDArray[np.float32]],
    ) -> None:
        self.inputs = inputs
        self.report = report
        self.future = future
        self.since = time.perf_counter()
        self._logits = np.empty(len(inputs), np.float32)
        self._missing = len(inputs)
        self._lock = lock

    def receive(self, positions: list[int], logits: NDArray[np.float32]) -> None:
        with self._lock:
            self._logits[positions] = logits
            self._missing -= len(positions)
            finished = not self._missing
        if finished:
            self.finish()

    def finish(self) -> None:
        with suppress(InvalidStateError):  # cancelled
            self.future.set_result(self._logits)

    def fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):  # cancelled, or another batch failed first
            self.future.set_exception(error)


def _report(batch: list[tuple[Waiting[_Job], list[int]]], started: float, ended: float) -> None:
    """Tell every receiver its part of the batch."""
    width = max(len(waiting.owner.inputs[position].ids) for waiting, taken in batch for position in taken)
    lengths: dict[Report, list[int]] = {}
    waits: dict[Report, float] = {}
    for waiting, taken in batch:
        job = waiting.owner
        lengths.setdefault(job.report, []).extend(len(job.inputs[position].ids) for position in taken)
        waits[job.report] = max(waits.get(job.report, 0.0), started - job.since)
        job.since = ended
    for report, mine in lengths.items():
        tokens = sum(mine)
        report(BatchReport(len(mine), tokens, width * len(mine) - tokens, ended - started, waits[report]))
