"""Children forked at any moment finish their own call, and leave the parent's results right."""

from __future__ import annotations

import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from fresh import environment, fresh
from rerank_core.evaluation.store import ScoreStore
from rerank_core.scoring import Score
from waiting import BOUND, ended, wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

HEADER = """
import asyncio, os, sys, threading, time, warnings
sys.path.insert(0, {tests!r})
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, on every fork beside threads
from forking import fork_while, in_child
from rerank_core import Reranker
MODEL = "rerank-tiny-en-v1"
QUERY, TEXTS = "capital of France", ["Berlin is in Germany.", "Paris is the capital of France.", "Rome"]
def order(reranker): return [result.index for result in reranker.rerank(QUERY, TEXTS)]
def check(reranker): assert order(reranker)[0] == 1, order(reranker)
"""


def run(code, **env):
    return fresh(HEADER.format(tests=str(Path(__file__).parent)) + textwrap.dedent(code), env=env)


@pytest.mark.parametrize("wait", [0.0, 0.01, 0.05, 0.1, 0.2, 0.4])
def test_during_the_first_load_with_its_imports(wait):
    run(f"""
        loading = threading.Thread(target=Reranker().warm_up)
        loading.start()
        time.sleep({wait})
        assert in_child(lambda: check(Reranker())) == 0
        check(Reranker())
        loading.join()
    """)


def test_while_models_are_loaded_again_and_again():
    run("""
        def work():
            with Reranker(MODEL) as reranker: check(reranker)
        fork_while(work, lambda: check(Reranker(MODEL)), times=25)
    """)


def test_while_threads_rank_with_one_model():
    run("""
        reranker = Reranker(MODEL)
        check(reranker)
        long = [f"text {i} " for i in range(20)]
        expected = [(r.index, round(r.logit, 3)) for r in reranker.rerank(QUERY, long)]
        def work():
            assert [(r.index, round(r.logit, 3)) for r in reranker.rerank(QUERY, long)] == expected
        fork_while(work, lambda: check(reranker), times=60)
    """)


def test_while_threads_share_a_queue():
    run("""
        import numpy as np
        from rerank_core.inference.encoding import ModelInput
        from rerank_core.inference.scheduler import Scheduler
        from rerank_core.inference.workers import Workers
        pool = Workers(2, "rerank-test")
        queue = Scheduler(lambda: pool, lambda batch: np.array([item.ids[0] for item in batch], np.float32))
        inputs = [ModelInput(n, np.full(300, n, np.int32), np.zeros(300, np.int8)) for n in range(20)]
        def work():
            asked = [queue.submit(inputs, budget=512, limit=2, report=lambda _: None) for _ in range(3)]
            assert all(future.result(60).tolist() == list(range(20)) for future in asked)
        fork_while(work, work, times=300)
    """)


def test_while_threads_look_up_and_fill_a_cache(tmp_path):
    run(f"""
        from rerank_core.evaluation.store import ScoreStore
        from rerank_core.scoring import CachedScorer, FakeScorer
        for store in (None, ScoreStore({str(tmp_path / "scores.db")!r})):
            reranker = Reranker(scorer=CachedScorer(FakeScorer(), store))
            check(reranker)
            numbers = iter(range(10**9))
            def work():
                check(reranker)
                reranker.rerank(QUERY, [f"new text {{next(numbers)}}"])
            def child():
                check(reranker)
                reranker.rerank(QUERY, [f"the child's text {{os.getpid()}}"])
            fork_while(work, child, times=200)
    """)


def test_while_threads_and_event_loops_call_an_api(tmp_path):
    run("""
        from apiserver import ApiServer
        server = ApiServer()
        reranker = Reranker("m", base_url=server.url)
        expected = order(reranker)
        def work():
            assert order(reranker) == expected
            async def both():
                await asyncio.gather(*(reranker.arerank(QUERY, TEXTS) for _ in range(3)))
            asyncio.run(both())
        def child():
            assert order(reranker) == expected
            assert len(asyncio.run(reranker.arerank(QUERY, TEXTS))) == 3
        fork_while(work, child, times=100)
    """)


def test_a_connection_is_not_shared_with_a_child():
    run("""
        from apiserver import ApiServer
        server = ApiServer()
        reranker = Reranker("m", base_url=server.url)
        order(reranker)
        assert in_child(lambda: order(reranker)) == 0
        order(reranker)
        assert [request.connection for request in server.requests] == [1, 2, 1]
    """)


@pytest.mark.torch
def test_while_threads_rank_with_torch(checkpoint):
    pytest.importorskip("torch")
    run(f"""
        reranker = Reranker({str(checkpoint("bert"))!r}, backend="torch")
        long = [f"text {{i}} " * 50 for i in range(20)]
        expected = order(reranker)
        def work():
            reranker.rerank(QUERY, long)
            assert order(reranker) == expected
        def child():
            assert order(reranker) == expected
            reranker.rerank(QUERY, long)
        fork_while(work, child, times=4)
    """)


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO")
def test_while_threads_rank_with_openvino():
    run("""
        reranker = Reranker(MODEL, backend="openvino")
        check(reranker)
        fork_while(lambda: check(reranker), lambda: check(reranker), times=25)
        pid = os.fork()
        if pid == 0:
            check(reranker)
            sys.exit(0)  # through the end of the interpreter, which frees what is left
        assert os.waitpid(pid, 0)[1] == 0
    """)


def test_a_store_is_opened_by_each_process_for_itself(tmp_path):
    store, key = ScoreStore(tmp_path / "scores.db"), b"key"
    store[key] = Score.from_logit(1.0)
    connection = store._connection
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert store._connection is None
            assert store[key].logit == 1.0
            store[b"child"] = Score.from_logit(2.0)
            store.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("select 1")
    assert store[b"child"].logit == 2.0
    store.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        len(store)
    checked = sqlite3.connect(tmp_path / "scores.db")
    assert checked.execute("pragma integrity_check").fetchone() == ("ok",)
    checked.close()


def test_multiprocessing_with_its_fork(bundled):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap(bundled.rerank, [("a query", ["some text", "a query"])] * 8)
    assert {response[0].index for response in found} == {1}


GUNICORN_APP = """
import threading
from rerank_core import Reranker
from rerank_core.server.app import create_app
from rerank_core.server.settings import ServerSettings
app = create_app(ServerSettings(models=("rerank-mini-en-v1",), port=0))
threading.Thread(target=Reranker().warm_up, daemon=True).start()
"""


def test_gunicorn_that_preloads_while_a_thread_warms_up(tmp_path):
    """The workers are forked from a process whose other thread is in the middle of imports and loading."""
    for library in ("fastapi", "gunicorn", "uvicorn_worker"):
        pytest.importorskip(library)
    (tmp_path / "served.py").write_text(GUNICORN_APP)
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "3", "-b", "127.0.0.1:0", "--no-control-socket"]
    command += ["-k", "uvicorn_worker.UvicornWorker", "served:app"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=log, env=environment())
    try:
        read_log = (tmp_path / "log").read_text
        (url,) = wait_for(lambda: re.findall(r"Listening at: (http://[0-9.:]+)", read_log()))
        with httpx.Client(base_url=url, trust_env=False, timeout=BOUND, headers={"connection": "close"}) as client:
            wait_for(lambda: read_log().count("Application startup complete") == 3)
            replies = [wait_for(lambda: ranked(client)) for _ in range(12)]
        assert [reply["results"][0]["index"] for reply in replies] == [1] * 12
        assert "WORKER TIMEOUT" not in read_log()
    finally:
        process.terminate()
        ended(process)


def ranked(client):
    """The answer of whichever worker takes the request; None while that one loads its model."""
    body = {"query": "capital of France", "documents": ["Berlin is in Germany.", "Paris is the capital of France."]}
    reply = client.post("/v1/rerank", json={"model": "rerank-mini-en-v1", **body})
    assert reply.status_code in {200, 503}, reply.text
    return reply.json() if reply.status_code == 200 else None
