"""The ranker where it works: in pipelines, saved ones, asynchronous ones, traced ones, and beside a peer."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import subprocess
import sys
import threading

import pytest

pytest.importorskip("haystack")

from haystack import Document, Pipeline, tracing
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.core.errors import PipelineRuntimeError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import ComponentDevice, Secret

from loops import Held, held_model, while_held
from rerank_core import AuthenticationError, InferenceError, Reranker
from rerank_core.models import DEFAULT_MODEL
from rerank_core.scoring import Calibration, FakeScorer
from rerank_plugins.haystack import CrossEncoderRanker
from waiting import join

QUERY = "What is machine learning?"
NEWS = [
    "The weather today is sunny and warm.",
    "Deep learning uses neural networks.",
    "Machine learning is a subset of artificial intelligence.",
]
PETS = ["Cats are popular pets worldwide.", "Is learning to walk what a dog is for?"]


def documents(*texts):
    return [Document(content=text) for text in texts or NEWS + PETS]


def lexical(**options):
    return CrossEncoderRanker(reranker=Reranker(scorer=FakeScorer()), **options)


def searching(ranker):
    """Two retrievers of overlapping stores, joined at the ranker's socket."""
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    for name, texts in (("news", NEWS), ("pets", [*PETS, NEWS[2]])):
        store = InMemoryDocumentStore()
        store.write_documents(documents(*texts))
        pipeline.add_component(name, InMemoryBM25Retriever(store))
        pipeline.connect(name, "ranker.documents")
    return pipeline


def asked(query=QUERY, **ranker):
    return {"news": {"query": query}, "pets": {"query": query}, "ranker": {"query": query, **ranker}}


def summary(output):
    """What must be equal, in a form that a process can print."""
    return [[document.id, document.score] for document in output["documents"]]


def assert_same(output, expected):
    """The same ranking; a text's score differs in its last digits with what else is in its batch."""
    assert [document.id for document in output["documents"]] == [document.id for document in expected["documents"]]
    assert dict(summary(output)) == pytest.approx(dict(summary(expected)), abs=1e-5)


def test_a_calibration_is_saved_as_its_path(tmp_path):
    file = tmp_path / "curve.json"
    Calibration(DEFAULT_MODEL, "logistic", (1.0, 3.0)).save(file)
    plain = CrossEncoderRanker().run(QUERY, documents())["documents"]
    ranker = CrossEncoderRanker(calibration=file, score_threshold=plain[0].score + 1e-6)
    assert ranker.calibration == str(file)
    pipeline = searching(ranker)
    loaded = Pipeline.loads(pipeline.dumps())
    assert loaded.get_component("ranker").calibration == str(file)
    expected = pipeline.run(asked(scale_score=True))["ranker"]
    assert expected["documents"]
    assert_same(loaded.run(asked())["ranker"], expected)


def test_retrievers_joined_at_the_socket(bundled):
    pipeline = searching(CrossEncoderRanker())
    output = pipeline.run(asked(), include_outputs_from={"news", "pets"})
    retrieved = output["news"]["documents"] + output["pets"]["documents"]
    ranked = output["ranker"]["documents"]
    assert len(retrieved) > len(ranked) == len({document.id for document in retrieved})
    assert ranked[0].content == NEWS[2]
    expected = bundled.rerank(QUERY, [document.content for document in ranked])
    assert [document.score for document in ranked] == [result.relevance_score for result in expected]
    assert output["ranker"]["meta"]["model"] == DEFAULT_MODEL
    assert summary(asyncio.run(pipeline.run_async(asked()))["ranker"]) == summary(output["ranker"])


def test_overrides_come_through_the_sockets():
    pipeline = searching(lexical(top_k=5))
    assert len(pipeline.run(asked(top_k=1))["ranker"]["documents"]) == 1
    assert pipeline.run(asked(score_threshold=1.0))["ranker"]["documents"] == []
    assert pipeline.run(asked(scale_score=False))["ranker"]["documents"][0].score > 1
    assert pipeline.run(asked())["ranker"]["documents"][0].score <= 1


def test_nothing_found_is_no_error():
    gone = {"base_url": "http://127.0.0.1:9", "max_retries": 0}
    pipeline = searching(CrossEncoderRanker("m", **gone, on_failure="keep_order"))
    output = pipeline.run(asked("zzz"))["ranker"]
    assert output["documents"] == []
    assert output["meta"]["degraded"] is False


def test_a_failure_is_the_cause_of_the_pipelines():
    failing = CrossEncoderRanker(reranker=Reranker(scorer=FakeScorer(error=InferenceError("it broke"))))
    with pytest.raises(PipelineRuntimeError) as caught:
        searching(failing).run(asked())
    assert isinstance(caught.value.__cause__, InferenceError)


def test_many_at_once_in_one_event_loop():
    pipeline = searching(CrossEncoderRanker())
    queries = [QUERY, "pets", "weather today", "neural networks", "a dog's walk"] * 2

    async def main():
        return await asyncio.gather(*(pipeline.run_async(asked(query)) for query in queries))

    for query, output in zip(queries, asyncio.run(main()), strict=True):
        assert_same(output["ranker"], pipeline.run(asked(query))["ranker"])


def test_one_ranker_in_several_threads():
    ranker, outputs = CrossEncoderRanker(), []
    threads = [threading.Thread(target=lambda: outputs.append(ranker.run(QUERY, documents()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert len(outputs) == 6
    for output in outputs:
        assert_same(output, ranker.run(QUERY, documents()))


def test_the_event_loop_goes_on_while_the_model_scores(bundled, monkeypatch):
    ranker = CrossEncoderRanker(top_k=None, reranker=bundled)
    held = held_model(monkeypatch, bundled)
    output = asyncio.run(while_held(ranker.run_async(QUERY, documents()), held))
    assert len(output["documents"]) == len(documents())


def test_the_event_loop_goes_on_while_the_model_loads():
    scorer = FakeScorer()
    scorer.warm_up = held = Held(scorer.warm_up)
    pipeline = Pipeline()
    pipeline.add_component("ranker", CrossEncoderRanker(reranker=Reranker(scorer=scorer)))
    asyncio.run(while_held(pipeline.warm_up_async(), held))


def test_one_event_loop_after_another():
    pipeline = searching(CrossEncoderRanker())
    first, *others = [summary(asyncio.run(pipeline.run_async(asked()))["ranker"]) for _ in range(3)]
    assert others == [first, first]
    asyncio.run(pipeline.close_async())
    assert summary(asyncio.run(pipeline.run_async(asked()))["ranker"]) == first
    pipeline.close()
    assert summary(pipeline.run(asked())["ranker"]) == first


# Saved pipelines

SAVED = {
    "plain": {},
    "local": {
        "top_k": 2,
        "score_threshold": 0.01,
        "scale_score": False,
        "meta_fields_to_embed": ["title", "year"],
        "document_prefix": "passage: ",
        "long_documents": "windows",
        "max_tokens": 64,
        "device": ComponentDevice.from_str("cpu"),
    },
    "http": {"model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key": Secret.from_env_var("SOME_KEY")},
}

FRESH = """
import json, sys
from haystack import Document, Pipeline
pipeline = Pipeline.loads(sys.stdin.readline().encode().decode("unicode_escape"))
texts = json.loads(sys.stdin.readline())
output = pipeline.run({"ranker": {"query": sys.argv[1], "documents": [Document(content=text) for text in texts]}})
print(json.dumps([[document.id, document.score] for document in output["ranker"]["documents"]]))
"""


def alone(**options):
    pipeline = Pipeline()
    pipeline.add_component("ranker", CrossEncoderRanker(**options))
    return pipeline


def elsewhere(saved, folder, **environment):
    """What a process that has seen nothing of us ranks with a saved pipeline."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FRESH, QUERY],
        input=json.dumps(saved)[1:-1] + "\n" + json.dumps(NEWS + PETS) + "\n",
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_pipeline_is_the_same_when_saved_again(name, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sesame")
    pipeline = alone(**SAVED[name])
    saved = pipeline.dumps()
    loaded = Pipeline.loads(saved)
    assert loaded.dumps() == saved
    assert pipeline.dumps() == saved
    assert "sesame" not in saved
    data = pipeline.to_dict()
    before = copy.deepcopy(data)
    assert Pipeline.from_dict(data).to_dict() == before == data


def test_a_saved_pipeline_ranks_the_same_in_a_fresh_process(tmp_path):
    pipeline = alone(top_k=3, scale_score=False)
    expected = summary(pipeline.run({"ranker": {"query": QUERY, "documents": documents()}})["ranker"])
    assert len(expected) == 3
    assert elsewhere(pipeline.dumps(), tmp_path) == expected


# Over HTTP


@pytest.fixture
def served():
    serving = pytest.importorskip("serving")
    with serving.serving(models=(DEFAULT_MODEL,), api_keys=("sesame",)) as server:
        yield server


def test_the_api_ranks_as_the_model_in_this_process_does(served, monkeypatch, tmp_path):
    monkeypatch.setenv("OUR_KEY", "sesame")
    options = {"model": DEFAULT_MODEL, "base_url": served.url, "api_key": Secret.from_env_var("OUR_KEY")}
    local, remote = searching(CrossEncoderRanker()), searching(CrossEncoderRanker(**options))
    expected = local.run(asked())["ranker"]
    outputs = [remote.run(asked()), *(asyncio.run(remote.run_async(asked())) for _ in range(2))]
    for output in outputs:
        assert_same(output["ranker"], expected)
        assert output["ranker"]["meta"] == expected["meta"]
    asyncio.run(remote.close_async())
    remote.close()
    fresh = elsewhere(alone(**options).dumps(), tmp_path, OUR_KEY="sesame")
    assert [name for name, _ in fresh] == [
        document.id for document in CrossEncoderRanker().run(QUERY, documents())["documents"]
    ]


def test_a_server_that_is_not_there():
    options = {"model": "m", "base_url": "http://127.0.0.1:9", "max_retries": 0}
    pipeline = searching(CrossEncoderRanker(**options, on_failure="keep_order"))
    output = pipeline.run(asked(top_k=2))["ranker"]
    assert output["meta"]["degraded"] is True
    assert len(output["documents"]) == 2
    assert asyncio.run(pipeline.run_async(asked(top_k=2)))["ranker"]["meta"]["degraded"] is True
    with pytest.raises(ConnectionError):
        CrossEncoderRanker(**options).run(QUERY, documents())


def test_a_key_that_is_refused(served):
    ranker = CrossEncoderRanker(DEFAULT_MODEL, base_url=served.url, api_key=Secret.from_token("wrong"))
    with pytest.raises(AuthenticationError) as caught:
        ranker.run(QUERY, documents())
    assert "wrong" not in str(caught.value)


# Traces


class Recorded(tracing.Span):
    def __init__(self, name, tags, parent):
        self.name, self.tags, self.parent = name, dict(tags or {}), parent

    def set_tag(self, key, value):
        self.tags[key] = value


class Recorder(tracing.Tracer):
    def __init__(self):
        self.spans, self.stack = [], []

    @contextlib.contextmanager
    def trace(self, operation_name, tags=None, parent_span=None):
        span = Recorded(operation_name, tags, parent_span)
        self.spans.append(span)
        self.stack.append(span)
        try:
            yield span
        finally:
            self.stack.pop()

    def current_span(self):
        return self.stack[-1] if self.stack else None


@pytest.fixture
def traced():
    recorder = Recorder()
    tracing.enable_tracing(recorder)
    yield recorder
    tracing.disable_tracing()


def test_a_span_inside_the_components(traced):
    pipeline = searching(lexical(top_k=2))
    pipeline.run(asked())
    asyncio.run(pipeline.run_async(asked()))
    spans = [span for span in traced.spans if span.name == "haystack.ranker.score"]
    assert len(spans) == 2
    for span in spans:
        assert span.tags == {
            "haystack.ranker.documents": 4,
            "haystack.ranker.top_k": 2,
            "haystack.ranker.model": "fake",
            "haystack.ranker.prompt_tokens": span.tags["haystack.ranker.prompt_tokens"],
            "haystack.ranker.degraded": False,
            "haystack.ranker.truncated": 0,
        }
    assert spans[0].parent.tags["haystack.component.name"] == "ranker"


def test_no_span_where_there_is_no_trace(traced):
    lexical().run("a", documents("a"))
    assert traced.spans == []


# Beside a peer


@pytest.mark.torch
@pytest.mark.parametrize("scale_score", [True, False])
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_sentence_transformers_ranker_agrees(checkpoint, architecture, scale_score):
    peers = pytest.importorskip("haystack_integrations.components.rankers.sentence_transformers")
    options = {
        "model": str(checkpoint(architecture)),
        "device": ComponentDevice.from_str("cpu"),
        "top_k": 4,
        "scale_score": scale_score,
        "query_prefix": "query: ",
        "document_suffix": " end",
        "meta_fields_to_embed": ["year", "title"],
    }
    given = [
        Document(content=text, meta={"year": number, "title": None if number % 2 else "t"}, score=0.1 * number)
        for number, text in enumerate([*NEWS, *PETS, "", "The document reads the query. " * 20])
    ]
    given.append(Document(id=given[2].id, content=given[2].content, meta={"year": 9}, score=0.9))
    peer = peers.SentenceTransformersSimilarityRanker(**options)
    peer.warm_up()
    theirs = peer.run(query=QUERY, documents=given)["documents"]
    ours = CrossEncoderRanker(**options).run(QUERY, given)["documents"]
    assert [document.id for document in ours] == [document.id for document in theirs]
    assert [document.meta for document in ours] == [document.meta for document in theirs]
    assert [d.score for d in ours] == pytest.approx([d.score for d in theirs], abs=1e-4)
