"""One line of work for each model: the inputs of all callers, merged into batches and run by the workers.

Threads, event loops and the HTTP server's requests all meet here. Nothing waits for company: a batch leaves as soon
as a worker is free, with whatever is there.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError
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
        waited: how long the request that waited longest had been in line since its last batch, or since it came.
    """

    inputs: int
    tokens: int
    padding: int
    seconds: float
    waited: float


Report = Callable[[BatchReport], None]


class Scheduler:
    """Runs the inputs of concurrent requests through one model.

    Args:
        workers: gives the threads that run batches; asked each time, because a fork renews them.
        run: the logits of a batch, one an input.
    """

    def __init__(self, workers: Callable[[], Workers], run: RunBatch) -> None:
        self._workers = workers
        self._run = run
        self._restart()
        _all_schedulers.add(self)

    def _restart(self) -> None:
        """Begin with nothing to do; for a forked child, where nobody waits for the parent's work."""
        self._lock = threading.Lock()
        self._queue: BatchQueue[_Job] = BatchQueue()
        self._steps = 0  # tasks of ours that the workers have, waiting or running
        self._running = 0

    def submit(
        self, inputs: Sequence[ModelInput], *, budget: int, limit: int, report: Report
    ) -> Future[NDArray[np.float32]]:
        """Score ``inputs``; the future holds one logit for each, in order.

        Cancelling the future drops what has not started. A batch that fails ends every request with a part in it.

        Args:
            inputs: what to score.
            budget: most tokens of a batch, padding included; 0 means one input a batch.
            limit: how many batches may be in flight at once for this request.
            report: called after each batch, once for all requests that gave an equal one.

        Raises:
            InferenceError: when the workers are closed.
        """
        job = _Job(inputs, report)
        if not inputs:
            job.finish()
            return job.future
        waiting = Waiting(job, [len(item.ids) for item in inputs], budget=budget, limit=max(1, limit))
        job.future.add_done_callback(lambda _: self._forget(waiting))
        with self._lock:
            self._queue.add(waiting)
        self._engage()
        return job.future

    def _forget(self, waiting: Waiting[_Job]) -> None:
        """A request that is over, one way or another, leaves the line."""
        with self._lock:
            self._queue.remove(waiting)

    def _engage(self) -> None:
        """Put as many workers on the line as there are, if there is a line."""
        workers = self._workers()
        while True:
            with self._lock:
                if self._steps >= workers.size or not len(self._queue):
                    return
                self._steps += 1
            try:
                workers.submit(self._step)
            except InferenceError as error:
                self._give_up(error)
                return

    def _step(self) -> None:
        """One batch; then to the end of the workers' line again, so that other models and requests get a turn."""
        with self._lock:
            batch = self._queue.next_batch(self._workers().size - self._running)
            if not batch:  # in the same breath, or a request that comes in between would find nobody to wake
                self._steps -= 1
                return
            self._running += 1
        try:
            self._score(batch)
        finally:
            with self._lock:
                self._running -= 1
                self._steps -= 1
                for waiting, _ in batch:
                    waiting.out -= 1
        self._engage()

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

    def _give_up(self, error: InferenceError) -> None:
        """No worker will come: whoever waits must hear of it."""
        with self._lock:
            self._steps -= 1
            line, self._queue = self._queue, BatchQueue()
        for waiting in line:
            waiting.owner.fail(error)


class _Job:
    """The inputs of one request and what is known of their logits."""

    def __init__(self, inputs: Sequence[ModelInput], report: Report) -> None:
        self.inputs = inputs
        self.report = report
        self.future: Future[NDArray[np.float32]] = Future()
        self.since = time.perf_counter()
        self._logits = np.empty(len(inputs), np.float32)
        self._missing = len(inputs)
        self._lock = threading.Lock()

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


_all_schedulers: weakref.WeakSet[Scheduler] = weakref.WeakSet()


def _restart_after_fork() -> None:
    for scheduler in _all_schedulers:
        scheduler._restart()  # noqa: SLF001  (same module)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_after_fork)
