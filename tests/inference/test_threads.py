"""What becomes of the engine's threads: interrupts, idleness, the end of the main thread and of the process."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
import pytest

import rerank_core.scoring.local
from fresh import fresh
from interrupts import interrupted_everywhere
from rerank_core import InferenceError
from rerank_core.inference import batching, scheduler, workers
from rerank_core.inference.encoding import ModelInput
from rerank_core.inference.scheduler import Scheduler
from rerank_core.inference.workers import Workers
from rerank_core.scoring import LocalScorer
from waiting import BOUND, Crowd, wait_for

PARTS = (scheduler, workers, batching)


def inputs(*numbers, length=5):
    """Inputs whose tokens are all their number."""
    return [ModelInput(n, np.full(length, n, np.int32), np.zeros(length, np.int8)) for n in numbers]


class Model:
    """Echoes each input's number and remembers its batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, batch):
        self.batches.append([int(item.ids[0]) for item in batch])
        return np.array(self.batches[-1], np.float32)

    @property
    def seen(self):
        return [number for batch in self.batches for number in batch]


def submit(line, *numbers, limit=2, length=5, future=None):
    asked = inputs(*numbers, length=length)
    return line.submit(asked, budget=512, limit=limit, report=lambda _: None, future=future)


def both_run(pool):
    """Whether two tasks of a pool run at once."""
    running = Crowd(2)

    def task(_):
        with running:
            pass

    pool.map(task, range(4), limit=2).result(BOUND)
    return running.most == 2


def test_an_interrupt_anywhere_in_submit_loses_no_place_and_leaves_nothing_to_score():
    pool, model, release = Workers(2, "interrupted"), Model(), threading.Event()
    line = Scheduler(lambda: pool, model)
    blockers = [pool.submit(lambda: release.wait(BOUND)) for _ in range(2)]

    def call():
        future = Future()
        try:
            submit(line, 13, future=future)
        except KeyboardInterrupt:
            future.cancel()
            raise

    places = len(list(interrupted_everywhere(call, *PARTS)))
    assert places > 200
    release.set()
    assert submit(line, 7).result(BOUND).tolist() == [7.0]
    assert all(blocker.result(BOUND) for blocker in blockers)
    assert both_run(pool)
    assert sorted(model.seen) == [7, 13]  # 13 once, for the call that no interrupt ended
    pool.close()


def test_an_interrupt_anywhere_in_the_first_submit_of_a_pool_leaves_it_usable():
    pools = []

    def call():
        pools.append(Workers(2, "young"))
        pools[-1].submit(str).result(BOUND)

    for _ in interrupted_everywhere(call, workers):
        if pools:
            pool = pools.pop()
            if hasattr(pool, "_pool"):  # its constructor came to the end
                assert pool.submit(lambda: 7).result(BOUND) == 7
                assert both_run(pool)
                pool.close()


def test_an_interrupt_anywhere_in_map_leaves_the_pool_usable():
    pool = Workers(2, "mapped")
    for _ in interrupted_everywhere(lambda: pool.map(str, range(3), limit=2).result(BOUND), workers):
        assert pool.map(str, range(3), limit=2).result(BOUND) == ["0", "1", "2"]
    assert both_run(pool)
    pool.close()


def test_an_interrupt_anywhere_while_scoring_leaves_the_scorer_right():
    scorer = LocalScorer()
    expected = [score.logit for score in scorer.score("q", ["a", "b"]).items]
    for number in interrupted_everywhere(
        lambda: scorer.score("q", ["a", "b"]), rerank_core.scoring.local, scheduler, workers
    ):
        if number % 10 == 0:
            assert [score.logit for score in scorer.score("q", ["a", "b"]).items] == pytest.approx(expected, abs=1e-5)
    assert [score.logit for score in scorer.score("q", ["a", "b"]).items] == pytest.approx(expected, abs=1e-5)
    wait_for(lambda: not scorer._loaded.scheduler._running)
    assert not scorer._loaded.scheduler._arrived
    assert not len(scorer._loaded.scheduler._queue)


def test_an_interrupted_wait_drops_what_has_not_started():
    """The only batch under way is the last of that request."""
    model, begun, go_on = Model(), threading.Event(), threading.Event()
    pool = Workers(1, "dropped")

    def run(batch):
        begun.set()
        assert go_on.wait(BOUND)
        return model(batch)

    line, future = Scheduler(lambda: pool, run), Future()
    submit(line, *range(50), length=500, future=future)
    assert begun.wait(BOUND)
    future.cancel()
    go_on.set()
    assert submit(line, 99).result(BOUND).tolist() == [99.0]
    assert model.seen == [0, 99]
    pool.close()


@pytest.mark.parametrize("limit", [1, 3])
def test_idle_workers_stay_asleep(limit, monkeypatch):
    pool, model, tasks = Workers(16, "idle"), Model(), []
    line = Scheduler(lambda: pool, model)
    put = pool.submit
    monkeypatch.setattr(pool, "submit", lambda *given: tasks.append(given) or put(*given))
    assert len(submit(line, *range(200), limit=limit, length=500).result(BOUND)) == 200
    assert len(model.batches) == 200
    assert len(tasks) <= 400  # a few more than batches: those that look at the same moment as others
    pool.close()


def test_a_small_request_wakes_no_second_worker(monkeypatch):
    pool, model, tasks = Workers(16, "small"), Model(), []
    line = Scheduler(lambda: pool, model)
    put = pool.submit
    monkeypatch.setattr(pool, "submit", lambda *given: tasks.append(given) or put(*given))
    for _ in range(50):
        submit(line, *range(10), limit=16).result(BOUND)
    assert len(model.batches) == 50
    assert len(tasks) <= 100  # one each, and one more where the last batch's worker sees the next request as well
    pool.close()


def test_what_is_left_is_shared_by_the_workers_that_are_free():
    """Two workers, one of them busy: the other takes all that fits, not half of it for nobody."""
    pool, begun, go_on = Workers(2, "sharing"), threading.Event(), threading.Event()
    batches = []

    def run(batch):
        batches.append([int(item.ids[0]) for item in batch])
        if batch[0].ids[0] == 1:
            begun.set()
            assert go_on.wait(BOUND)
        return np.zeros(len(batch), np.float32)

    line = Scheduler(lambda: pool, run)
    first = submit(line, 1)
    assert begun.wait(BOUND)
    submit(line, *range(2, 6), length=100).result(BOUND)
    assert batches[1:] == [[2, 3, 4, 5]]
    go_on.set()
    first.result(BOUND)
    wait_for(lambda: not line._running)
    submit(line, *range(6, 10), length=100).result(BOUND)
    assert batches[2] == [6, 7]
    pool.close()


def test_closing_a_pool_ends_its_threads_and_fails_what_waits():
    pool, begun, go_on = Workers(1, "closed"), threading.Event(), threading.Event()
    running = pool.submit(lambda: begun.set() or go_on.wait(BOUND))
    assert begun.wait(BOUND)
    waiting = pool.submit(str)
    line = Scheduler(lambda: pool, Model())
    scored = submit(line, 1, 2)
    pool.close()
    for future in (waiting, scored):
        with pytest.raises(InferenceError, match="have stopped"):
            future.result(BOUND)
    go_on.set()
    assert running.result(BOUND)
    wait_for(lambda: not [one for one in threading.enumerate() if one.name == "closed"])


def test_the_threads_of_a_pool_that_nobody_holds_end():
    pool = Workers(3, "forgotten")
    pool.map(str, range(9), limit=3).result(BOUND)
    del pool
    wait_for(lambda: not [one for one in threading.enumerate() if one.name == "forgotten"])


def test_thousands_of_requests_with_cancellations_lose_and_swap_nothing():
    pool, model = Workers(4, "crowd"), Model()
    line, answers = Scheduler(lambda: pool, model), {}

    def caller(k):
        for round_ in range(250):
            first = 10_000 * (k + 1) + 10 * round_
            future = submit(line, *range(first, first + 1 + round_ % 7), length=3 + (k * round_) % 60)
            if round_ % 3 == 1:
                future.cancel()
            else:
                answers[first] = future.result(BOUND).tolist()

    threads = [threading.Thread(target=caller, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 * (250 - 83)
    assert all(logits == [float(first + i) for i in range(len(logits))] for first, logits in answers.items())
    assert sum(map(len, answers.values())) <= len(model.seen) == len(set(model.seen))
    wait_for(lambda: not line._running)
    assert not len(line._queue)
    pool.close()


AFTER_THE_MAIN_THREAD = """
import asyncio, threading
from rerank_core import Reranker
from rerank_core.scoring import CachedScorer, LocalScorer
reranker, cached = Reranker(), Reranker(scorer=CachedScorer(LocalScorer()))
def later():
    threading.main_thread().join()
    print(len(reranker.rerank("q", ["a", "b"])))
    print(len(asyncio.run(reranker.arerank("q", ["a", "b"]))))
    print(len(asyncio.run(cached.arerank("q", ["a", "b"]))))
threading.Thread(target=later).start()
"""


def test_ranking_goes_on_after_the_main_thread_has_ended():
    assert fresh(AFTER_THE_MAIN_THREAD) == "2\n2\n2\n"


def test_a_task_that_never_ends_does_not_hold_up_the_exit():
    fresh(
        "import threading\n"
        "from rerank_core.inference import workers\n"
        "workers._EXIT_SECONDS = 0.1\n"
        "begun = threading.Event()\n"
        "workers.shared_workers().submit(lambda: begun.set() or threading.Event().wait())\n"
        "assert begun.wait(60)\n"
    )


@pytest.mark.parametrize("wait", ["", "asyncio.run(asyncio.wait_for(reranker.arerank('q', texts), 0.2))\n"])
def test_leaving_while_a_model_runs_is_quiet(wait):
    """The batch under way ends first: coming back to an interpreter that is gone would abort the process."""
    code = (
        "import asyncio, contextlib, threading\n"
        "from rerank_core import Reranker\n"
        "reranker = Reranker(); reranker.warm_up()\n"
        "texts = [f'text {i} ' * 200 for i in range(3000)]\n"
        "threading.Thread(target=reranker.rerank, args=('q', texts), daemon=True).start()\n"
        f"with contextlib.suppress(TimeoutError):\n    {wait or 'pass'}\n"
    )
    assert fresh(code) == ""
