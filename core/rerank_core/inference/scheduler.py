"""One queue per model: the inputs of all callers, merged into batches and run by the workers.

Requests from threads, event loops and the HTTP server all meet here. No batch waits to be filled: it leaves as soon as
a worker is free, with the inputs there are.
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
from rerank_core.inference.batching import BatchQueue, Pending
from rerank_core.inference.encoding import ModelInput
from rerank_core.inference.workers import Workers

RunBatch = Callable[[list[ModelInput]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One batch, as far as it held inputs of one receiver of reports.

    Attributes:
        inputs: how many of its inputs are the receiver's.
        tokens: tokens of these, without padding.
        padding: padding tokens added to them.
        seconds: how long the whole batch took.
        waited: the longest time in seconds that a request in it had waited since its last batch, or since it arrived.
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
    everything consistent. Only the workers, which no interrupt reaches, change the queue.

    Args:
        workers: gives the threads that run batches; called each time, so that shared ones are made when needed.
        run: the logits of a batch, one per input.
    """

    def __init__(self, workers: Callable[[], Workers], run: RunBatch) -> None:
        self._workers = workers
        self._run = run
        self._lock = forks.Lock()  # of the queue and the number of running batches
        self._reset()
        forks.in_child(self._reset)

    def _reset(self) -> None:
        """Empty the queue; a forked child does not do its parent's work."""
        self._arrived: deque[Pending[_Job]] = deque()
        self._queue: BatchQueue[_Job] = BatchQueue()
        self._running = 0
        self._steps: set[Future[None]] = set()  # submitted and not yet seen to have started

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

        Cancelling the future drops what has not started. A batch that fails fails every request with inputs in it.

        Args:
            inputs: what to score.
            budget: most tokens of a batch, padding included; 0 means one input per batch.
            limit: how many batches may be in flight at once for this request.
            report: called after each batch, once for all requests that gave an equal one.
            future: holds the result. A caller that makes it beforehand can cancel it even if this call is interrupted.

        Raises:
            InferenceError: when the workers are closed.
        """
        job = _Job(inputs, report, self._lock, Future() if future is None else future)
        try:
            if not inputs:
                job.finish()
                return job.future
            pending = Pending(job, [len(item.ids) for item in inputs], budget=budget, limit=max(1, limit))
            job.future.add_done_callback(lambda _: pending.drop())
            self._arrived.append(pending)
            self._submit_steps(1)  # which submits more, if there is work for more
        except BaseException:
            job.future.cancel()
            raise
        return job.future

    def _submit_steps(self, most: int) -> None:
        """Submit steps until ``most`` wait to start, or as many as workers are free; steps submit more when they end.

        Their futures say how many have not started. At worst a step too many is submitted, and finds nothing to do.
        """
        workers = self._workers()
        while self._submitted() < min(most, workers.size - self._running):
            step = workers.submit(self._step)
            self._steps.add(step)
            step.add_done_callback(self._fail_waiting)

    def _submitted(self) -> int:
        for step in tuple(self._steps):
            if step.running() or step.done():
                self._steps.discard(step)
        return len(self._steps)

    def _fail_waiting(self, step: Future[None]) -> None:
        """If a step could not run, no worker will come: fail everything that waits."""
        error = step.exception()
        if error is not None:
            with self._lock:
                self._update_queue()
                queue, self._queue = self._queue, BatchQueue()
            for pending in queue:
                pending.owner.fail(error)

    def _update_queue(self) -> None:
        """Add the requests that have arrived, and drop those that were cancelled."""
        while self._arrived:
            self._queue.add(self._arrived.popleft())
        self._queue.forget_dropped()

    def _step(self) -> None:
        """One batch; then to the end of the workers' queue again, so that other models and requests get a turn."""
        size = self._workers().size
        with self._lock:
            self._update_queue()
            batch = self._queue.next_batch(size - self._running)
            ready = self._queue.ready
            self._running += bool(batch)
        if not batch:
            return
        try:
            self._submit_steps(ready)
            self._score(batch)
        finally:
            with self._lock:
                self._running -= 1
                for pending, _ in batch:
                    pending.in_flight -= 1
                self._update_queue()
                ready = self._queue.ready
        self._submit_steps(ready)

    def _score(self, batch: list[tuple[Pending[_Job], list[int]]]) -> None:
        inputs = [pending.owner.inputs[position] for pending, taken in batch for position in taken]
        started = time.perf_counter()
        try:
            logits = self._run(inputs)
        except BaseException as error:  # noqa: BLE001  (set on the futures)
            for pending, _ in batch:
                pending.owner.fail(error)
            return
        _report(batch, started, time.perf_counter())
        start = 0
        for pending, taken in batch:
            pending.owner.receive(taken, logits[start : start + len(taken)])
            start += len(taken)


class _Job:
    """The inputs of one request, and their logits so far."""

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


def _report(batch: list[tuple[Pending[_Job], list[int]]], started: float, ended: float) -> None:
    """Call every receiver with its part of the batch."""
    width = max(len(pending.owner.inputs[position].ids) for pending, taken in batch for position in taken)
    lengths: dict[Report, list[int]] = {}
    waits: dict[Report, float] = {}
    for pending, taken in batch:
        job = pending.owner
        lengths.setdefault(job.report, []).extend(len(job.inputs[position].ids) for position in taken)
        waits[job.report] = max(waits.get(job.report, 0.0), started - job.since)
        job.since = ended
    for report, mine in lengths.items():
        tokens = sum(mine)
        report(BatchReport(len(mine), tokens, width * len(mine) - tokens, ended - started, waits[report]))
