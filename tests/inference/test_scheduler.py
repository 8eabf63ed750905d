from __future__ import annotations

import gc
import os
import threading
import weakref

import numpy as np
import pytest

from rerank_core import InferenceError, forks
from rerank_core.inference.encoding import ModelInput
from rerank_core.inference.scheduler import Scheduler
from rerank_core.inference.workers import Workers
from waiting import BOUND, Crowd, child_status, join, wait_for


def inputs(lengths, first=0):
    """Inputs whose first token says which they are."""
    made = []
    for number, length in enumerate(lengths, first):
        ids = np.ones(length, np.int32)
        ids[0] = number
        made.append(ModelInput(number, ids, ids.astype(np.int8)))
    return made


def echo(batch):
    return np.array([item.ids[0] for item in batch], np.float32)


def ignore(_report):
    pass


class Gate:
    """A model that waits to be let go and remembers its batches."""

    def __init__(self):
        self.opened = threading.Event()
        self.started = threading.Event()
        self.batches = []

    def __call__(self, batch):
        self.batches.append([int(item.ids[0]) for item in batch])
        self.started.set()
        assert self.opened.wait(BOUND)
        return echo(batch)


@pytest.fixture
def one_worker():
    pool = Workers(1, "one")
    yield lambda: pool
    pool.close()


@pytest.fixture
def two_workers():
    pool = Workers(2, "two")
    yield lambda: pool
    pool.close()


def submit(scheduler, lengths, *, first=0, budget=512, limit=2, report=ignore):
    return scheduler.submit(inputs(lengths, first), budget=budget, limit=limit, report=report)


def test_logits_come_in_the_order_of_the_inputs(two_workers):
    scheduler = Scheduler(two_workers, echo)
    futures = [submit(scheduler, [7, 300, 7, 90] * 20, first=100 * k) for k in range(8)]
    for k, future in enumerate(futures):
        assert future.result(BOUND).tolist() == [100 * k + i for i in range(80)]


def test_nothing_to_score_is_done(one_worker):
    assert submit(Scheduler(one_worker, echo), []).result(BOUND).tolist() == []


def test_requests_that_wait_share_batches(one_worker):
    gate = Gate()
    scheduler = Scheduler(one_worker, gate)
    first = submit(scheduler, [10])
    assert gate.started.wait(BOUND)
    others = [submit(scheduler, [10, 10], first=10 * k) for k in range(1, 4)]
    gate.opened.set()
    for future in (first, *others):
        future.result(BOUND)
    assert gate.batches == [[0], [10, 11, 20, 21, 30, 31]]


def test_a_short_request_passes_between_the_batches_of_a_long_one(one_worker):
    gate = Gate()
    scheduler = Scheduler(one_worker, gate)
    long = submit(scheduler, [500] * 50)
    assert gate.started.wait(BOUND)
    short = submit(scheduler, [10] * 10, first=1000)
    gate.opened.set()
    long.result(BOUND)
    short.result(BOUND)
    assert next(i for i, batch in enumerate(gate.batches) if 1000 in batch) <= 2


def test_cancelling_drops_what_has_not_started(one_worker):
    gate = Gate()
    scheduler = Scheduler(one_worker, gate)
    future = submit(scheduler, [500] * 50)
    assert gate.started.wait(BOUND)
    assert future.cancel()
    gate.opened.set()
    submit(scheduler, [5], first=99).result(BOUND)
    assert gate.batches == [[0], [99]]


def test_a_failing_batch_fails_its_requests_and_nobody_else(one_worker):
    def run(batch):
        if any(item.ids[0] == 13 for item in batch):
            raise InferenceError("broken")
        return echo(batch)

    scheduler = Scheduler(one_worker, run)
    bad, good = submit(scheduler, [10, 10], first=12), submit(scheduler, [400], first=1)
    with pytest.raises(InferenceError, match="broken"):
        bad.result(BOUND)
    assert good.result(BOUND).tolist() == [1.0]


@pytest.mark.parametrize("limit", [1, 2])
def test_a_request_never_has_more_batches_in_flight_than_its_limit(two_workers, limit):
    running = Crowd(limit)

    def run(batch):
        with running:
            if limit == 1:  # the other worker does whatever is queued before this
                two_workers().submit(str).result(BOUND)
            return echo(batch)

    submit(Scheduler(two_workers, run), [500] * 20, limit=limit).result(BOUND)
    assert running.most == limit


def test_each_receiver_hears_of_its_own_part(one_worker):
    gate, mine, yours = Gate(), [], []
    scheduler = Scheduler(one_worker, gate)
    blocker = submit(scheduler, [2])
    assert gate.started.wait(BOUND)
    futures = [
        submit(scheduler, [10, 8], first=10, report=mine.append),
        submit(scheduler, [9], first=20, report=yours.append),
        submit(scheduler, [5], first=30, report=mine.append),
    ]
    gate.opened.set()
    for future in (blocker, *futures):
        future.result(BOUND)
    assert sum(report.inputs for report in mine) == 3
    assert sum(report.tokens for report in mine) == 23
    assert [(report.inputs, report.tokens, report.padding) for report in yours] == [(1, 9, 1)]


def test_a_request_that_comes_while_an_idle_step_leaves_is_not_forgotten(one_worker):
    """The only step finds nothing to do; in the very moment it lets go of the lock, somebody else comes."""
    scheduler = Scheduler(one_worker, echo)
    came = []

    class Lock:
        """The scheduler's own, and a caller who comes the first time a worker lets go of it."""

        def __init__(self, inner):
            self._inner = inner

        def __enter__(self):
            self._inner.acquire()

        def __exit__(self, *_):
            self._inner.release()
            if threading.current_thread().name.startswith("one") and not came:
                came.append(None)
                caller = threading.Thread(target=lambda: came.append(submit(scheduler, [5], first=7)))
                caller.start()
                caller.join()

    release = threading.Event()
    one_worker().submit(release.wait)
    scheduler._lock = Lock(scheduler._lock)
    submit(scheduler, [5]).cancel()
    release.set()
    wait_for(lambda: len(came) == 2)
    assert came[1].result(BOUND).tolist() == [7.0]


def test_closed_workers_are_reported_to_whoever_waits():
    pool = Workers(1, "closed")
    pool.close()
    with pytest.raises(InferenceError, match="have stopped"):
        submit(Scheduler(lambda: pool, echo), [3]).result(BOUND)


def test_many_threads_lose_nothing(two_workers):
    scheduler = Scheduler(two_workers, echo)
    answers = {}

    def caller(k):
        for round_ in range(20):
            first = 10_000 * k + 100 * round_
            answers[k, round_] = submit(scheduler, [3 + (k * i) % 50 for i in range(30)], first=first).result(BOUND)

    threads = [threading.Thread(target=caller, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    join(*threads)
    for (k, round_), logits in answers.items():
        assert logits.tolist() == [10_000 * k + 100 * round_ + i for i in range(30)]
    assert len(answers) == 160


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_with_an_empty_queue_even_if_a_batch_never_ends(one_worker, monkeypatch):
    monkeypatch.setattr(forks, "_LONGEST_TIMEOUT", 0.1)
    gate = Gate()
    scheduler = Scheduler(one_worker, gate)
    pending = [submit(scheduler, [500] * 3), submit(scheduler, [5], first=7)]
    assert gate.started.wait(BOUND)
    child = os.fork()
    if child == 0:
        gate.opened.set()
        gate.batches.clear()
        ok = submit(scheduler, [5], first=42).result(BOUND).tolist() == [42.0] and gate.batches == [[42]]
        os._exit(0 if ok else 1)
    assert child_status(child) == 0
    gate.opened.set()
    assert [len(future.result(BOUND)) for future in pending] == [3, 1]


def test_a_scheduler_leaves_memory_with_its_last_user(two_workers):
    scheduler = Scheduler(two_workers, echo)
    submit(scheduler, [4] * 10).result(BOUND)
    gone = weakref.ref(scheduler)
    del scheduler
    wait_for(lambda: gc.collect() >= 0 and gone() is None)  # a worker may still be on its way out
