"""A model that is not loaded yet: calls go on without it, in new processes, where nothing is loaded."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import httpx
import pytest

from fresh import fresh
from rerank_core import ModelLoadError, Reranker
from server_process import running
from serving import SPEC_BODY
from waiting import BOUND, wait_for

HEADER = """
import asyncio, os, pathlib, pickle, sys, threading, warnings
sys.path.insert(0, {tests!r})
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, on every fork beside threads
import gates
from forking import in_child
from rerank_core import Reranker
from waiting import wait_for
GATE = pathlib.Path({gate!r})
GATE.touch()
gates.hold_loading({gate!r})
QUERY, TEXTS = "capital of France", ["Berlin is in Germany.", "Paris is the capital of France.", "Rome"]
def order(reranker): return [result.index for result in reranker.rerank(QUERY, TEXTS)]
def is_warm(reranker): return not reranker.rerank(QUERY, TEXTS).degraded
LOADS = pathlib.Path({gate!r} + ".loads")
def loads(): return LOADS.read_text().count("load") if LOADS.exists() else 0
"""


@pytest.fixture
def run(tmp_path):
    """Runs code in a process where loads wait while ``GATE`` exists."""
    header = HEADER.format(tests=str(Path(__file__).parents[1]), gate=str(tmp_path / "gate"))
    return lambda code: fresh(header + textwrap.dedent(code))


def test_documents_keep_their_order_until_the_model_is_loaded(run):
    run("""
        events = []
        reranker = Reranker(when_cold="keep_order", hooks=[events.append])
        cold = reranker.rerank(QUERY, TEXTS, top_n=2, score_threshold=0.9)
        assert [result.index for result in cold] == [0, 1] and cold.degraded
        assert all(result.degraded and result.relevance_score == 0 for result in cold)
        assert asyncio.run(reranker.arerank(QUERY, TEXTS)).degraded
        assert [type(event).__name__ for event in events] == ["Degraded", "Degraded"]
        assert events[0].code == "model_loading" and reranker.loaded is None
        GATE.unlink()
        wait_for(lambda: is_warm(reranker))
        assert order(reranker)[0] == 1 and loads() == 1
    """)


def test_threads_begin_one_load(run):
    run("""
        reranker = Reranker(when_cold="keep_order")
        asking = [threading.Thread(target=order, args=(reranker,)) for _ in range(8)]
        for thread in asking: thread.start()
        for thread in asking: thread.join()
        GATE.unlink()
        wait_for(lambda: is_warm(reranker))
        assert loads() == 1
    """)


def test_warm_up_waits_and_a_copy_loads_by_itself(run):
    run("""
        reranker = Reranker(when_cold="keep_order")
        assert not is_warm(reranker)
        copy = pickle.loads(pickle.dumps(reranker))
        waiting = threading.Thread(target=copy.warm_up)
        waiting.start()
        wait_for(lambda: loads() == 2)
        GATE.unlink()
        waiting.join()
        assert order(copy)[0] == 1
    """)


def test_a_cache_stores_nothing_while_the_model_loads(run):
    run("""
        from rerank_core.scoring import CachedScorer, LocalOptions, LocalScorer
        store = {}
        reranker = Reranker(scorer=CachedScorer(LocalScorer(options=LocalOptions(when_cold="keep_order")), store))
        assert not is_warm(reranker) and not store
        GATE.unlink()
        wait_for(lambda: is_warm(reranker))
        assert len(store) == len(TEXTS)
    """)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_while_the_model_loads_loads_its_own(run):
    run("""
        reranker = Reranker(when_cold="keep_order")
        assert not is_warm(reranker)
        def child():
            assert not is_warm(reranker)
            GATE.unlink()
            wait_for(lambda: is_warm(reranker))
            assert order(reranker)[0] == 1
        assert in_child(child) == 0
        wait_for(lambda: is_warm(reranker))
    """)


def test_a_load_that_fails_is_the_error_of_the_calls_after_it(tmp_path):
    with Reranker(tmp_path, when_cold="keep_order") as reranker:
        assert reranker.rerank("q", ["a"]).degraded
        for _ in range(2):
            with pytest.raises(ModelLoadError):
                wait_for(lambda: not reranker.rerank("q", ["a"]).degraded)


def test_a_server_answers_while_its_model_loads(tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    before = f"import gates; gates.hold_loading({str(gate)!r})"
    with running("--when-cold", "keep_order", before=before) as process:
        url = wait_for(lambda: re.search(r"http://[\w.:]+", process.log))[0]

        def ask():
            body = SPEC_BODY | {"model": "rerank-mini-en-v1"}
            return httpx.post(f"{url}/v1/rerank", json=body, timeout=BOUND, trust_env=False).raise_for_status()

        assert ask().headers["x-degraded"] == "true"
        ready = httpx.get(f"{url}/ready", timeout=BOUND, trust_env=False)
        assert (ready.status_code, set(ready.json()["models"].values())) == (200, {"loading"})
        gate.unlink()
        assert wait_for(lambda: ask().headers["x-degraded"] == "false")


def test_a_pipeline_of_haystack_does_not_wait_for_the_model(run):
    pytest.importorskip("haystack")
    run("""
        from haystack import Document, Pipeline
        from haystack_integrations.components.rankers.rerank_plugins import CrossEncoderRanker
        pipeline = Pipeline()
        pipeline.add_component("ranker", CrossEncoderRanker(when_cold="keep_order"))
        found = pipeline.run({"ranker": {"query": QUERY, "documents": [Document(content=text) for text in TEXTS]}})
        assert [each.content for each in found["ranker"]["documents"]] == TEXTS
        GATE.unlink()
    """)
