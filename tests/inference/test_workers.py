from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

import pytest

from rerank_core import InferenceError, Reranker
from rerank_core.inference.cpus import available_cpus
from rerank_core.inference.workers import Workers, shared_workers
from rerank_core.models import DEFAULT_MODEL
from rerank_core.models.source import BUNDLED
from waiting import BOUND, Crowd, child_status, join


@pytest.fixture
def workers():
    pool = Workers(2, "test")
    yield pool
    pool.close()


def test_results_come_in_the_order_of_the_items(workers):
    others = threading.Event()

    def first_last(item):
        if item == 0:
            assert others.wait(BOUND)
        elif item == 19:
            others.set()
        return item * 2

    assert workers.map(first_last, range(20), limit=2).result(BOUND) == [2 * i for i in range(20)]


def test_nothing_to_do_is_done(workers):
    assert workers.map(str, [], limit=2).result(BOUND) == []


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (50, 2)])
def test_no_more_run_at_once_than_the_limit_and_the_pool_allow(workers, limit, most):
    running = Crowd(most)

    def task(_):
        with running:
            if limit == 1:  # the other worker does whatever is queued before this
                workers.submit(str).result(BOUND)

    workers.map(task, range(12), limit=limit).result(BOUND)
    assert running.most == most


def test_the_first_failure_ends_the_job(workers):
    done = []

    def task(item):
        if item == 3:
            raise KeyError(item)
        done.append(item)

    with pytest.raises(KeyError):
        workers.map(task, range(1000), limit=1).result(BOUND)
    workers.map(str, range(10), limit=2).result(BOUND)  # behind whatever is left of the first
    assert done == [0, 1, 2]


def test_cancelling_drops_what_has_not_started(workers):
    started = threading.Event()
    release = threading.Event()
    done = []

    def task(item):
        started.set()
        assert release.wait(BOUND)
        done.append(item)

    future = workers.map(task, range(100), limit=2)
    assert started.wait(BOUND)
    assert future.cancel()
    release.set()
    workers.submit(lambda: None).result(BOUND)
    assert len(done) <= 2


def test_a_short_job_is_not_stuck_behind_a_long_one():
    pool = Workers(1, "fair")
    order = []
    gate = threading.Event()

    def task(item):
        assert gate.wait(BOUND)
        order.append(item)

    long = pool.map(task, [f"long {i}" for i in range(50)], limit=1)
    short = pool.map(task, ["short 0", "short 1"], limit=1)
    gate.set()
    short.result(BOUND)
    long.result(BOUND)
    pool.close()
    assert order.index("short 1") <= 4


def test_the_shared_workers_are_one_a_cpu_and_the_same_for_everybody():
    assert shared_workers() is shared_workers()
    assert shared_workers().size == available_cpus()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_gets_threads_of_its_own(workers):
    for pool in (workers, shared_workers()):
        pool.submit(lambda: None).result(BOUND)
    child = os.fork()
    if child == 0:
        ok = all(pool.submit(lambda: 7).result(BOUND) == 7 for pool in (workers, shared_workers()))
        os._exit(0 if ok else 1)
    assert child_status(child) == 0


def test_closed_workers_say_so_and_whoever_waits_hears_of_it():
    pool = Workers(1, "closing")
    gate = threading.Event()
    future = pool.map(lambda _: gate.wait(), range(5), limit=1)
    pool.close()
    gate.set()
    with pytest.raises(InferenceError, match="have stopped"):
        future.result(BOUND)
    with pytest.raises(InferenceError, match="have stopped"):
        pool.submit(lambda: None)


def test_a_process_bound_to_one_cpu_has_one_worker():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from rerank_core.inference.workers import shared_workers; print(shared_workers().size)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_many_rerankers_and_callers_share_the_same_few_threads(tmp_path):
    shutil.copytree(BUNDLED[DEFAULT_MODEL], tmp_path / "other")
    rerankers = [Reranker(), Reranker(tmp_path / "other", backend="onnx"), Reranker(threads=1)]
    callers = [
        threading.Thread(target=reranker.rerank, args=("a query", [f"text {i}" for i in range(40)]))
        for reranker in rerankers * 3
    ]
    before = threading.active_count()
    for caller in callers:
        caller.start()
    join(*callers)
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("rerank-worker")]
    assert len(workers) <= available_cpus()
    assert threading.active_count() <= before + available_cpus()
