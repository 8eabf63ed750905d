from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from rerank_core import InferenceError, Reranker
from rerank_core.inference.cpus import available_cpus
from rerank_core.inference.workers import Workers, shared_workers
from rerank_core.models import DEFAULT_MODEL
from rerank_core.models.source import BUNDLED


@pytest.fixture
def workers():
    pool = Workers(2, "test")
    yield pool
    pool.close()


def test_results_come_in_the_order_of_the_items(workers):
    def slow_first(item):
        time.sleep(0.01 if item == 0 else 0)
        return item * 2

    assert workers.map(slow_first, range(20), limit=2).result() == [2 * i for i in range(20)]


def test_nothing_to_do_is_done(workers):
    assert workers.map(str, [], limit=2).result() == []


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (50, 2)])
def test_no_more_run_at_once_than_the_limit_and_the_pool_allow(workers, limit, most):
    running, seen, lock = 0, 0, threading.Lock()

    def task(_):
        nonlocal running, seen
        with lock:
            running += 1
            seen = max(seen, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    workers.map(task, range(12), limit=limit).result()
    assert seen == most


def test_the_first_failure_ends_the_job(workers):
    done = []

    def task(item):
        if item == 3:
            raise KeyError(item)
        done.append(item)

    with pytest.raises(KeyError):
        workers.map(task, range(1000), limit=2).result()
    time.sleep(0.05)
    assert len(done) < 20


def test_cancelling_drops_what_has_not_started(workers):
    started = threading.Event()
    release = threading.Event()
    done = []

    def task(item):
        started.set()
        release.wait()
        done.append(item)

    future = workers.map(task, range(100), limit=2)
    started.wait()
    assert future.cancel()
    release.set()
    workers.submit(lambda: None).result()
    assert len(done) <= 2


def test_a_short_job_is_not_stuck_behind_a_long_one():
    pool = Workers(1, "fair")
    order = []
    gate = threading.Event()

    def task(item):
        gate.wait()
        order.append(item)

    long = pool.map(task, [f"long {i}" for i in range(50)], limit=1)
    short = pool.map(task, ["short 0", "short 1"], limit=1)
    gate.set()
    short.result()
    long.result()
    pool.close()
    assert order.index("short 1") <= 4


def test_the_shared_workers_are_one_a_cpu_and_the_same_for_everybody():
    assert shared_workers() is shared_workers()
    assert shared_workers().size == available_cpus()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_gets_threads_of_its_own(workers):
    for pool in (workers, shared_workers()):
        pool.submit(lambda: None).result()
    child = os.fork()
    if child == 0:
        ok = all(pool.submit(lambda: 7).result(timeout=20) == 7 for pool in (workers, shared_workers()))
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_closed_workers_say_so_and_whoever_waits_hears_of_it():
    pool = Workers(1, "closing")
    gate = threading.Event()
    future = pool.map(lambda _: gate.wait(), range(5), limit=1)
    pool.close()
    gate.set()
    with pytest.raises(InferenceError, match="have stopped"):
        future.result(timeout=20)
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
    for caller in callers:
        caller.join()
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("rerank-worker")]
    assert len(workers) <= available_cpus()
    assert threading.active_count() <= before + available_cpus()
