from __future__ import annotations

import asyncio
import copy
import doctest
import json
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llama_index.core")

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.tools import RetrieverTool
from llama_index_tools import QUERY, TEXTS, Callbacks, GivenRetriever, ids, nodes, watching
from pydantic import ValidationError

import rerank_plugins.llama_index as module
from rerank_core import InvalidRequestError, ProtocolError, Reranker
from rerank_core.errors import AuthenticationError, InferenceError, ModelNotFoundError
from rerank_core.scoring import Calibration, FakeScorer, Score, Scores
from rerank_plugins.llama_index import CrossEncoderPostprocessor
from serving import serving

EVERY_OPTION = {
    "model": "rerank-mini-en-v1",
    "provider": "local",
    "top_n": 3,
    "score_threshold": 0.0,
    "long_documents": "windows",
    "max_tokens": 128,
    "batch_tokens": 256,
    "threads": 1,
    "backend": "onnx",
    "device": "cpu",
    "dtype": "int8",
    "local_files_only": True,
    "on_failure": "keep_order",
    "metadata_mode": "llm",
    "keep_retrieval_score": True,
    "logits": True,
    "dedup": True,
}


def faked(scorer=None, **options):
    """A postprocessor that scores by shared words, at once."""
    engine = Reranker(scorer=FakeScorer() if scorer is None else scorer, on_failure=options.pop("on_failure", "raise"))
    return CrossEncoderPostprocessor(reranker=engine, **options)


class Scripted(FakeScorer):
    """Gives the scores it was told to."""

    def __init__(self, *scores, judged=True):
        super().__init__()
        self.scores, self.judged = scores, judged

    def _answer(self, query, texts):
        self.calls.append((query, tuple(texts)))
        return Scores(self.scores[: len(texts)], self.model, judged=self.judged)


def both_ways(postprocessor, given, query=QUERY):
    """What it gives, synchronously and asynchronously; they must agree."""
    given = list(given)
    result = postprocessor.postprocess_nodes(given, query_str=query)
    awaited = asyncio.run(postprocessor.apostprocess_nodes(given, query_str=query))
    assert ids(awaited) == ids(result)
    assert [node.metadata for node in awaited] == [node.metadata for node in result]
    return result


# What it is


def test_it_is_a_postprocessor_with_a_name():
    assert issubclass(CrossEncoderPostprocessor, BaseNodePostprocessor)
    assert CrossEncoderPostprocessor.class_name() == "CrossEncoderPostprocessor"
    assert CrossEncoderPostprocessor()._get_prompts() == {}


def test_the_docstrings_example():
    assert doctest.testmod(module).attempted >= 4
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_m": 3},
        {"top_n": 0},
        {"top_n": -1},
        {"score_threshold": 1.5},
        {"score_threshold": float("nan")},
        {"metadata_mode": "some"},
        {"provider": "nobody"},
        {"api_key": "k"},
        {"provider": "cohere", "device": "cpu"},
        {"callback_manager": "mine"},
    ],
)
def test_wrong_fields_are_errors(wrong):
    with pytest.raises(ValidationError):
        CrossEncoderPostprocessor(**wrong)


@pytest.mark.parametrize(
    ("name", "value"), [("top_n", 0), ("provider", "nobody"), ("metadata_mode", "some"), ("callback_manager", 3)]
)
def test_wrong_assignments_are_errors_and_change_nothing(name, value):
    postprocessor = CrossEncoderPostprocessor(top_n=2)
    before = getattr(postprocessor, name)
    with pytest.raises(ValidationError):
        setattr(postprocessor, name, value)
    assert getattr(postprocessor, name) is before
    postprocessor.top_n = None
    assert postprocessor.top_n is None


def test_unknown_attributes_cannot_be_assigned():
    with pytest.raises(ValidationError):
        CrossEncoderPostprocessor().topn = 3


def test_a_callback_manager_is_accepted_assigned_and_keeps_the_engine():
    manager = CallbackManager()
    postprocessor = CrossEncoderPostprocessor(callback_manager=manager)
    assert postprocessor.callback_manager is manager
    engine = postprocessor.engine
    other = CallbackManager()
    postprocessor.callback_manager = other
    assert postprocessor.callback_manager is other
    assert postprocessor.engine is engine
    postprocessor.callback_manager = None
    assert isinstance(postprocessor.callback_manager, CallbackManager)
    assert isinstance(CrossEncoderPostprocessor(callback_manager=None).callback_manager, CallbackManager)


def test_a_changed_option_counts_from_the_next_call_on():
    postprocessor = CrossEncoderPostprocessor()
    assert len(postprocessor.postprocess_nodes(nodes(), query_str=QUERY)) == 4
    engine = postprocessor.engine
    postprocessor.top_n = 1
    assert len(postprocessor.postprocess_nodes(nodes(), query_str=QUERY)) == 1
    assert postprocessor.engine is engine
    postprocessor.max_tokens = 32
    assert postprocessor.engine is not engine


def test_a_ready_engine_brings_its_options():
    with pytest.raises(ValidationError, match="brings its own device"):
        CrossEncoderPostprocessor(reranker=Reranker(), device="cpu")


# Ranking


def test_it_ranks_by_the_engines_order_and_scores(bundled):
    response = bundled.rerank(QUERY, TEXTS)
    result = both_ways(CrossEncoderPostprocessor(), nodes())
    assert ids(result) == [f"n{r.index}" for r in response]
    assert [node.score for node in result] == pytest.approx([r.relevance_score for r in response], abs=1e-5)
    assert {type(node.score) for node in result} == {float}
    json.dumps([node.to_dict() for node in result])
    assert result[0].node_id == "n1"


def test_top_n_and_threshold_with_none_for_all():
    assert ids(both_ways(faked(top_n=2), nodes())) == ["n1", "n0"]
    assert ids(both_ways(faked(top_n=99), nodes())) == ["n1", "n0", "n3", "n2"]
    assert len(both_ways(faked(), nodes())) == 4
    assert len(both_ways(faked(score_threshold=0.0), nodes())) == 4
    assert both_ways(faked(score_threshold=1.0), nodes()) == []
    scores = [node.score for node in both_ways(faked(), nodes())]
    assert len(both_ways(faked(score_threshold=scores[0]), nodes())) == 1


def test_logits_can_be_the_scores(bundled):
    response = bundled.rerank(QUERY, TEXTS)
    result = both_ways(CrossEncoderPostprocessor(logits=True, score_threshold=0.0), nodes())
    assert [node.score for node in result] == pytest.approx([r.logit for r in response], abs=1e-3)
    assert {type(node.score) for node in result} == {float}
    untold = Scripted(*[Score(0.5)] * 4)
    with pytest.raises(ProtocolError, match="probabilities only"):
        faked(untold, logits=True).postprocess_nodes(nodes(), query_str=QUERY)
    broken = faked(FakeScorer(error=InferenceError("it broke")), on_failure="keep_order", logits=True)
    assert [node.score for node in both_ways(broken, nodes())] == [0.0] * 4


def test_equal_texts_are_scored_once_and_keep_their_order():
    scorer = FakeScorer()
    result = faked(scorer).postprocess_nodes(nodes(["x", QUERY, "x", QUERY]), query_str=QUERY)
    assert ids(result) == ["n1", "n3", "n0", "n2"]
    assert scorer.calls == [(QUERY, ("x", QUERY))]


def test_scores_are_mapped_by_index_not_by_place():
    logits = (0.0, 3.0, -3.0, 1.0)
    result = both_ways(faked(Scripted(*[Score(1 / (1 + 2.718281828**-x), x) for x in logits])), nodes())
    assert ids(result) == ["n1", "n3", "n0", "n2"]


@pytest.mark.parametrize("given", [[], (), iter(())])
def test_no_nodes_give_none_before_any_event_or_model(given):
    callbacks = Callbacks()
    postprocessor = CrossEncoderPostprocessor(model="no-such-model", callback_manager=callbacks.manager)
    with watching() as (events, _):
        assert postprocessor.postprocess_nodes(given, query_str=QUERY) == []
        assert asyncio.run(postprocessor.apostprocess_nodes(given, query_str=QUERY)) == []
    assert events.seen == callbacks.started == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"nodes": nodes()}, ValueError, r"^Missing query bundle in extra info\.$"),
        ({"nodes": []}, ValueError, r"^Missing query bundle in extra info\.$"),
        ({"nodes": nodes(), "query_str": " "}, InvalidRequestError, "Query cannot be empty"),
        ({"nodes": nodes(), "query_bundle": "text"}, TypeError, "query_str="),
        ({"nodes": nodes(), "query_bundle": QueryBundle("a"), "query_str": "b"}, ValueError, "Cannot specify both"),
        ({"nodes": [TextNode(text="a")], "query_str": "b"}, TypeError, r"nodes\[0\] is a TextNode .*NodeWithScore\("),
        ({"nodes": [*nodes(), Document(text="a")], "query_str": "b"}, TypeError, r"nodes\[4\] is a Document"),
        ({"nodes": ["a"], "query_str": "b"}, TypeError, r"nodes\[0\] is str; expected a list of NodeWithScore"),
    ],
)
def test_what_is_wrong_with_a_call_is_said_before_any_event(arguments, error, message):
    callbacks = Callbacks()
    postprocessor = faked(callback_manager=callbacks.manager)
    with watching() as (events, spans):
        with pytest.raises(error, match=message):
            postprocessor.postprocess_nodes(**arguments)
        with pytest.raises(error, match=message):
            asyncio.run(postprocessor.apostprocess_nodes(**arguments))
    assert set(events.names) <= {"SpanDropEvent"}
    assert callbacks.started == spans.completed_spans == []


def test_a_missing_key_is_said_before_any_event(monkeypatch):
    monkeypatch.delenv("COHERE_API_KEY", raising=False)
    postprocessor = CrossEncoderPostprocessor(provider="cohere", model="rerank-v3.5")
    with watching() as (events, _), pytest.raises(AuthenticationError, match="COHERE_API_KEY"):
        postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    assert events.names == ["SpanDropEvent"]


# What the model reads, and what comes back


class Passage(TextNode):
    page: int = 0


class Found(NodeWithScore):
    source: str = ""


def kinds():
    """One of each kind of node, and one of a user's own."""
    return [
        NodeWithScore(node=Node(id_="node", text_resource=MediaResource(text="machine")), score=0.1),
        NodeWithScore(node=Document(id_="document", text="learning"), score=None),
        NodeWithScore(node=ImageNode(id_="image", image_path="cat.png", metadata={"caption": "a cat"}), score=0.3),
        NodeWithScore(node=ImageNode(id_="captioned", text="machine learning", image_url="http://x/y.png"), score=0.3),
        NodeWithScore(node=IndexNode(id_="index", text="a table", index_id="t", obj=threading.Lock()), score=0.2),
        Found(node=Passage(id_="passage", text="what is", page=7), score=0.4, source="bm25"),
    ]


def test_every_kind_of_node_survives_as_what_it_is():
    given = kinds()
    result = {node.node_id: node for node in both_ways(faked(keep_retrieval_score=True), given)}
    assert len(result) == len(given)
    for scored in given:
        assert type(result[scored.node_id]) is type(scored)
        assert type(result[scored.node_id].node) is type(scored.node)
    assert result["passage"].node.page == 7
    assert result["passage"].source == "bm25"
    assert result["index"].node.obj is given[4].node.obj
    assert result["document"].metadata["retrieval_score"] is None


def test_a_node_without_text_is_read_by_its_metadata():
    scorer = FakeScorer()
    faked(scorer).postprocess_nodes(kinds(), query_str=QUERY)
    assert scorer.calls[0][1] == ("machine", "learning", "caption: a cat", "machine learning", "a table", "what is")


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("embed", "a: 1\n\nmachine"),
        ("llm", "b: 2\n\nmachine"),
        ("all", "a: 1\nb: 2\n\nmachine"),
        ("none", "machine"),
        (MetadataMode.NONE, "machine"),
    ],
)
def test_the_metadata_mode_decides_what_the_model_reads(mode, text):
    scorer = FakeScorer()
    given = nodes(
        ["machine"],
        metadata={"a": 1, "b": 2},
        excluded_embed_metadata_keys=["b"],
        excluded_llm_metadata_keys=["a"],
    )
    faked(scorer, metadata_mode=mode).postprocess_nodes(given, query_str=QUERY)
    assert scorer.calls == [(QUERY, (text,))]


def rich_nodes():
    return [
        NodeWithScore(
            node=TextNode(
                id_=f"n{i}",
                text=text,
                embedding=[0.1, float(i)],
                metadata={"file": f"{i}.txt", "nested": {"tags": ["a"]}},
                excluded_embed_metadata_keys=["file"],
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"x": 1})},
            ),
            score=i / 10,
        )
        for i, text in enumerate(TEXTS)
    ]


def test_nothing_given_is_changed():
    given = rich_nodes()
    inner = [scored.node for scored in given]
    before = copy.deepcopy(given)
    scorer = Scripted(*[Score(0.5, 0.0, truncated=True)] * 4)
    result = both_ways(faked(scorer, keep_retrieval_score=True), given)
    assert given == before
    assert [scored.node for scored in given] == inner
    assert all(scored.node is node for scored, node in zip(given, inner, strict=True))
    for scored, original in zip(result, given, strict=True):
        assert scored is not original
        assert scored.node is not original.node
        assert scored.node.metadata is not original.node.metadata
        assert scored.node.relationships == original.node.relationships
        assert scored.node.embedding == original.node.embedding
        assert scored.node.metadata["nested"] == {"tags": ["a"]}


def test_a_node_with_nothing_to_tell_is_the_node_given():
    given = rich_nodes()
    result = faked().postprocess_nodes(given, query_str=QUERY)
    assert {id(scored.node) for scored in result} == {id(scored.node) for scored in given}


def test_the_retrieval_score_is_kept_and_stays_out_of_prompts_and_reranking():
    given = rich_nodes()
    result = both_ways(faked(keep_retrieval_score=True), given)
    assert {node.node_id: node.metadata["retrieval_score"] for node in result} == {f"n{i}": i / 10 for i in range(4)}
    for scored in result:
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert "retrieval_score" not in scored.get_content(mode)
        assert scored.node.excluded_embed_metadata_keys == ["file", "retrieval_score"]
        assert scored.node.excluded_llm_metadata_keys == ["retrieval_score"]
    for mode in MetadataMode:
        first, second = FakeScorer(), FakeScorer()
        faked(first, metadata_mode=mode).postprocess_nodes(given, query_str=QUERY)
        again = faked(second, metadata_mode=mode, keep_retrieval_score=True).postprocess_nodes(result, query_str=QUERY)
        assert sorted(first.calls[0][1]) == sorted(second.calls[0][1])
        assert again[0].node.excluded_llm_metadata_keys == ["retrieval_score"]
        assert again[0].metadata["retrieval_score"] == result[0].score


def test_a_long_text_is_marked_as_truncated(bundled):
    given = nodes([TEXTS[1], "Machine learning and cats. " * 400])
    result = {node.node_id: node for node in both_ways(CrossEncoderPostprocessor(reranker=bundled), given)}
    assert result["n1"].metadata == {"rerank_truncated": True}
    assert result["n0"].metadata == {}
    assert "rerank_truncated" not in result["n1"].get_content(MetadataMode.LLM)
    assert "rerank_truncated" not in result["n1"].get_content(MetadataMode.EMBED)


def test_the_window_that_counted_is_told():
    text = "Cats are popular pets worldwide. " * 100 + TEXTS[1]
    (result,) = both_ways(CrossEncoderPostprocessor(long_documents="windows"), nodes([text]))
    start, end = result.metadata["rerank_window"]
    assert TEXTS[1] in result.text[start:end]
    assert end - start < len(text)
    assert "rerank_window" not in result.get_content(MetadataMode.LLM)
    json.dumps(result.to_dict())


def test_an_earlier_rerankers_facts_are_replaced():
    truncated = Scripted(*[Score(0.5, 0.0, truncated=True)] * 4)
    first = faked(truncated).postprocess_nodes(nodes(), query_str=QUERY)
    assert all(node.metadata == {"rerank_truncated": True} for node in first)
    second = both_ways(faked(metadata_mode="all"), first)
    assert all(node.metadata == {} for node in second)
    assert all(node.metadata == {"rerank_truncated": True} for node in first)


def test_dedup_keeps_the_best_of_an_id_before_the_limit():
    given = nodes(["cats", QUERY, "what is", "machine"])
    for scored, name in zip(given, ("a", "b", "b", "a"), strict=True):
        scored.node.id_ = name
    assert ids(both_ways(faked(), given)) == ["b", "b", "a", "a"]
    result = both_ways(faked(dedup=True), given)
    assert [(node.node_id, node.text) for node in result] == [("b", QUERY), ("a", "machine")]
    assert ids(both_ways(faked(dedup=True, top_n=2), given)) == ["b", "a"]
    assert ids(both_ways(faked(dedup=True, top_n=1), given)) == ["b"]


def test_dedup_keeps_the_first_of_equals():
    given = [NodeWithScore(node=TextNode(id_="a", text="x"), score=score) for score in (0.1, 0.9)]
    (result,) = both_ways(faked(dedup=True, keep_retrieval_score=True), given)
    assert result.metadata["retrieval_score"] == 0.1


# Failure


def test_keep_order_gives_the_nodes_back_marked():
    failing = FakeScorer(error=InferenceError("it broke"))
    postprocessor = faked(failing, on_failure="keep_order", top_n=3, score_threshold=0.5)
    result = both_ways(postprocessor, nodes())
    assert ids(result) == ["n0", "n1", "n2"]
    assert all(node.metadata == {"rerank_degraded": True} and node.score == 0.0 for node in result)
    assert "rerank_degraded" not in result[0].get_content(MetadataMode.LLM)
    unreachable = CrossEncoderPostprocessor(
        base_url="http://127.0.0.1:9", model="m", timeout=5, max_retries=0, on_failure="keep_order"
    )
    assert ids(both_ways(unreachable, nodes())) == ["n0", "n1", "n2", "n3"]


def test_a_failure_is_raised_and_reported():
    error = InferenceError("it broke")
    callbacks = Callbacks()
    postprocessor = faked(FakeScorer(error=error), callback_manager=callbacks.manager)
    with watching() as (events, spans):
        with pytest.raises(InferenceError, match="it broke"):
            postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
        with pytest.raises(InferenceError, match="it broke"):
            asyncio.run(postprocessor.apostprocess_nodes(nodes(), query_str=QUERY))
    assert events.names == ["ReRankStartEvent", "SpanDropEvent"] * 2
    for start, drop in (events.seen[:2], events.seen[2:]):
        assert start.span_id == drop.span_id
        assert drop.err_str == "it broke"
    assert (len(spans.completed_spans), len(spans.dropped_spans), len(spans.open_spans)) == (0, 2, 0)
    assert len(callbacks.started) == len(callbacks.ended) == 2
    assert callbacks.ended[0][1] == {EventPayload.EXCEPTION: error}


def test_a_cancelled_call_ends_its_event_and_span():
    callbacks = Callbacks()
    postprocessor = faked(FakeScorer(delay=30), callback_manager=callbacks.manager)

    async def main():
        task = asyncio.create_task(postprocessor.apostprocess_nodes(nodes(), query_str=QUERY))
        while not callbacks.started:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with watching() as (events, spans):
        asyncio.run(main())
    assert events.names == ["ReRankStartEvent", "SpanDropEvent"]
    assert (len(spans.dropped_spans), len(spans.open_spans)) == (1, 0)
    assert len(callbacks.ended) == 1


def test_an_unknown_model_is_an_error_at_first_use(tmp_path):
    postprocessor = CrossEncoderPostprocessor(model=str(tmp_path / "nothing"))
    with pytest.raises(ModelNotFoundError):
        postprocessor.postprocess_nodes(nodes(), query_str=QUERY)


# Observability


@pytest.mark.parametrize("top_n", [None, 2])
def test_each_call_is_one_span_and_one_pair_of_events(top_n):
    callbacks = Callbacks()
    postprocessor = faked(top_n=top_n, callback_manager=callbacks.manager)
    given = nodes()
    calls = [
        lambda: postprocessor.postprocess_nodes(given, query_str=QUERY),
        lambda: asyncio.run(postprocessor.apostprocess_nodes(given, query_str=QUERY)),
    ]
    for call, method in zip(calls, ("_postprocess_nodes", "_apostprocess_nodes"), strict=True):
        with watching() as (events, spans):
            result = call()
        (span,) = spans.completed_spans
        assert span.id_.startswith(f"CrossEncoderPostprocessor.{method}-")
        start, end = events.seen
        assert events.names == ["ReRankStartEvent", "ReRankEndEvent"]
        assert {event.span_id for event in events.seen} == {span.id_}
        assert start.query == QueryBundle(QUERY)
        assert (start.nodes, start.top_n, start.model_name) == (given, top_n or 4, "fake")
        assert end.nodes == result
        assert events.awaited == (events.seen if method.startswith("_a") else [])
    assert given == nodes()  # what a handler kept still has the scores from before
    for kind, payload, _ in callbacks.started:
        assert kind == CBEventType.RERANKING
        assert payload == {
            EventPayload.NODES: given,
            EventPayload.MODEL_NAME: "fake",
            EventPayload.QUERY_STR: QUERY,
            EventPayload.TOP_K: top_n or 4,
        }
    assert [payload for _, payload, _ in callbacks.ended] == [{EventPayload.NODES: result}] * 2
    assert [event_id for *_, event_id in callbacks.ended] == [event_id for *_, event_id in callbacks.started]


def test_a_subclass_has_its_span_too():
    class Mine(CrossEncoderPostprocessor):
        async def _apostprocess_nodes(self, nodes, query_bundle=None):  # noqa: ARG002  (the interface's)
            return nodes

    with watching(Mine.__module__) as (_, spans):
        asyncio.run(Mine().apostprocess_nodes(nodes(), query_str=QUERY))
    assert len(spans.completed_spans) == 1


def test_no_event_holds_the_key():
    key = "sk-very-secret"
    callbacks = Callbacks()
    postprocessor = CrossEncoderPostprocessor(
        base_url="http://127.0.0.1:9",
        model="m",
        api_key=key,
        timeout=5,
        max_retries=0,
        callback_manager=callbacks.manager,
    )
    with watching() as (events, _), pytest.raises(ConnectionError):
        postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    assert key not in repr(events.seen) + repr(callbacks.started) + repr(callbacks.ended) + repr(postprocessor)


# Asynchronous use


def test_it_works_on_one_event_loop_after_another(bundled):
    postprocessor = CrossEncoderPostprocessor(reranker=bundled)
    first, *others = [ids(asyncio.run(postprocessor.apostprocess_nodes(nodes(), query_str=QUERY))) for _ in range(3)]
    assert others == [first, first]


def test_the_event_loop_goes_on_while_the_model_works(bundled):
    bundled.warm_up()
    given = nodes([f"{text} {i} " * 4 for i in range(40) for text in TEXTS])

    async def main():
        lags = []

        async def tick():
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.001)
                lags.append(time.perf_counter() - before)

        ticking = asyncio.create_task(tick())
        started = time.perf_counter()
        await CrossEncoderPostprocessor(reranker=bundled).apostprocess_nodes(given, query_str=QUERY)
        took = time.perf_counter() - started
        ticking.cancel()
        return took, max(lags), len(lags)

    took, lag, ticks = asyncio.run(main())
    assert ticks > 10  # a blocked loop would give one or two
    assert lag < took / 2


def test_several_calls_at_once_on_one_loop():
    postprocessor = faked(FakeScorer(delay=0.2))

    async def main():
        started = time.perf_counter()
        results = await asyncio.gather(*(postprocessor.apostprocess_nodes(nodes(), query_str=QUERY) for _ in range(20)))
        return results, time.perf_counter() - started

    results, took = asyncio.run(main())
    assert all(ids(result) == ["n1", "n0", "n3", "n2"] for result in results)
    assert took < 2  # one after the other takes four seconds


# Saving


def plain(value):
    """Whether a value is what JSON and YAML know, and nothing derived from it."""
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    return type(value) in (str, int, float, bool, type(None))


@pytest.mark.parametrize(
    "options", [{}, EVERY_OPTION, {"base_url": "http://x/v1", "model": "m", "timeout": 3, "max_retries": 0}]
)
def test_saved_and_restored_it_is_the_same(options):
    postprocessor = CrossEncoderPostprocessor(**options)
    data = postprocessor.to_dict()
    assert data["class_name"] == "CrossEncoderPostprocessor"
    assert plain(data)
    assert options.items() <= data.items()
    restored = CrossEncoderPostprocessor.from_dict(json.loads(json.dumps(data)))
    assert restored == postprocessor
    assert restored.to_dict() == data
    assert CrossEncoderPostprocessor.from_json(postprocessor.to_json()) == postprocessor
    assert pickle.loads(pickle.dumps(postprocessor)) == postprocessor
    assert copy.deepcopy(postprocessor) == postprocessor


def test_a_calibration_is_saved_as_its_path(tmp_path):
    file = tmp_path / "curve.json"
    Calibration("rerank-mini-en-v1", "logistic", (1.0, 3.0)).save(file)
    postprocessor = CrossEncoderPostprocessor(calibration=str(file), score_threshold=0.5)
    assert postprocessor.to_dict()["calibration"] == str(file)
    expected = both_ways(postprocessor, nodes())
    for restored in (
        CrossEncoderPostprocessor.from_json(postprocessor.to_json()),
        pickle.loads(pickle.dumps(postprocessor)),
        copy.deepcopy(postprocessor),
    ):
        assert restored == postprocessor
        assert [node.score for node in both_ways(restored, nodes())] == [node.score for node in expected]


def test_every_field_is_among_those_saved_or_meant_not_to_be():
    fields = set(CrossEncoderPostprocessor.model_fields)
    saved = set(CrossEncoderPostprocessor().to_dict()) - {"class_name"}
    assert fields - saved == {"api_key", "reranker", "callback_manager"}


def test_equality_is_that_of_the_options():
    assert CrossEncoderPostprocessor(top_n=2) != CrossEncoderPostprocessor(top_n=3)
    assert CrossEncoderPostprocessor() != "CrossEncoderPostprocessor"
    assert faked() != CrossEncoderPostprocessor()


def test_a_ready_engine_cannot_be_saved_and_says_so():
    postprocessor = faked()
    with pytest.raises(InvalidRequestError, match="ready engine"):
        postprocessor.to_dict()
    with pytest.raises(InvalidRequestError, match="ready engine"):
        postprocessor.to_json()


def test_keys_are_in_no_saved_form():
    key = "sk-very-secret"
    postprocessor = CrossEncoderPostprocessor(base_url="http://127.0.0.1:9", model="m", api_key=key)
    _ = postprocessor.engine
    for form in (postprocessor.to_json(), repr(postprocessor), str(postprocessor), str(postprocessor.model_dump())):
        assert key not in form
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert key.encode() not in pickle.dumps(postprocessor, protocol)
    # A deep copy stays in this process, where it must go on working.
    assert copy.deepcopy(postprocessor).api_key.get_secret_value() == key


def test_pickles_are_small_and_rank(bundled):
    postprocessor = CrossEncoderPostprocessor(top_n=2, callback_manager=CallbackManager([Locked()]))
    before = postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    for original in (postprocessor, CrossEncoderPostprocessor(reranker=bundled, top_n=2)):
        data = pickle.dumps(original)
        assert len(data) < 2000
        restored = pickle.loads(data)
        assert restored.callback_manager.handlers == []
        assert ids(restored.postprocess_nodes(nodes(), query_str=QUERY)) == ids(before)
    # Pickling must leave the original whole.
    assert len(postprocessor.callback_manager.handlers) == 1


class Locked(Callbacks):
    """A listener that can neither be pickled nor copied."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


def test_a_deep_copy_shares_listeners_and_a_ready_engine_only(bundled):
    manager = Locked().manager
    postprocessor = CrossEncoderPostprocessor(callback_manager=manager)
    _ = postprocessor.engine
    copied = copy.deepcopy(postprocessor)
    assert copied.callback_manager is manager
    assert copied.engine is not postprocessor.engine
    assert copy.deepcopy(CrossEncoderPostprocessor(reranker=bundled)).reranker is bundled
    shallow = postprocessor.model_copy(update={"max_tokens": 32})
    engine = postprocessor.engine
    assert shallow.engine is not engine
    assert postprocessor.engine is engine


def test_the_json_schema_names_the_options():
    schema = CrossEncoderPostprocessor.model_json_schema()
    assert {"model", "top_n", "metadata_mode", "dedup"} <= set(schema["properties"])
    assert schema["properties"]["class_name"]["default"] == "CrossEncoderPostprocessor"
    assert schema["additionalProperties"] is False
    json.dumps(schema)


FRESH = """
import json, sys
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_plugins.llama_index import CrossEncoderPostprocessor
data, texts, query = json.load(sys.stdin)
nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
ranked = CrossEncoderPostprocessor.from_dict(data).postprocess_nodes(nodes, query_str=query)
print(json.dumps([[node.text, node.score] for node in ranked]))
"""


def fresh(code, **kwargs):
    """The output of Python code in a new process, in which a warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, **kwargs
    ).stdout


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A new process finds the packages, and an empty home."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def test_a_fresh_process_ranks_the_same_from_what_was_saved(home):
    postprocessor = CrossEncoderPostprocessor(top_n=3, keep_retrieval_score=True)
    expected = postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    output = json.loads(fresh(FRESH, input=json.dumps([postprocessor.to_dict(), TEXTS, QUERY])))
    assert [text for text, _ in output] == [node.text for node in expected]
    assert [score for _, score in output] == pytest.approx([node.score for node in expected], abs=1e-5)


# Life cycle


def test_warm_up_close_and_use_again():
    postprocessor = CrossEncoderPostprocessor()
    postprocessor.warm_up()
    assert postprocessor.engine.loaded is not None
    postprocessor.close()
    postprocessor.close()
    assert len(postprocessor.postprocess_nodes(nodes(), query_str=QUERY)) == 4
    asyncio.run(postprocessor.aclose())
    assert len(postprocessor.postprocess_nodes(nodes(), query_str=QUERY)) == 4


# Import


def test_importing_brings_in_no_other_framework_and_no_torch(home):
    loaded = fresh("import rerank_plugins.llama_index, sys; print(*{name.split('.')[0] for name in sys.modules})")
    assert not {"torch", "transformers", "langchain", "langchain_core", "haystack"} & set(loaded.split())
    assert list(home.iterdir()) == []


def test_a_missing_llama_index_names_the_extra(home):
    code = (
        "import sys; sys.modules['llama_index'] = None\n"
        "try: import rerank_plugins.llama_index\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    output = fresh(code)
    assert output.startswith("MissingDependencyError")
    assert "pip install 'rerank-plugins[llama-index]'" in output


# Whole pipelines


@pytest.fixture
def mocked(monkeypatch):
    """LlamaIndex with a model that repeats its prompt, and no network."""
    monkeypatch.setattr(Settings, "_llm", MockLLM())
    monkeypatch.setattr(Settings, "_embed_model", MockEmbedding(embed_dim=4))
    return Settings


def test_a_query_engine_over_an_index(mocked):
    index = VectorStoreIndex([scored.node for scored in nodes()])
    callbacks = Callbacks()
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=4),
        node_postprocessors=[CrossEncoderPostprocessor(top_n=2, keep_retrieval_score=True)],
        callback_manager=callbacks.manager,
    )
    response = engine.query(QUERY)
    assert ids(response.source_nodes) == ["n1", "n3"]
    assert "retrieval_score" in response.source_nodes[0].metadata
    assert "retrieval_score" not in str(response)  # the model repeats its prompt
    assert TEXTS[1] in str(response)
    assert TEXTS[2] not in str(response)
    awaited = asyncio.run(engine.aquery(QUERY))
    assert ids(awaited.source_nodes) == ["n1", "n3"]
    assert [kind for kind, *_ in callbacks.started].count(CBEventType.RERANKING) == 2
    assert all("retrieval_score" not in node.metadata for node in index.docstore.docs.values())


def test_a_streaming_query_engine(mocked):
    engine = RetrieverQueryEngine.from_args(
        GivenRetriever(nodes()), node_postprocessors=[CrossEncoderPostprocessor(top_n=1)], streaming=True
    )
    response = engine.query(QUERY)
    assert TEXTS[1] in "".join(response.response_gen)
    assert ids(response.source_nodes) == ["n1"]


def test_a_similarity_cutoff_after_it_reads_its_scores(mocked):
    ranked = CrossEncoderPostprocessor().postprocess_nodes(nodes(), query_str=QUERY)
    engine = RetrieverQueryEngine.from_args(
        GivenRetriever(nodes()),
        node_postprocessors=[
            CrossEncoderPostprocessor(),
            SimilarityPostprocessor(similarity_cutoff=(ranked[0].score + ranked[1].score) / 2),
        ],
    )
    assert ids(engine.query(QUERY).source_nodes) == ["n1"]
    assert ids(asyncio.run(engine.aquery(QUERY)).source_nodes) == ["n1"]


def test_a_query_engine_goes_on_without_its_reranker(mocked):
    failing = FakeScorer(error=InferenceError("it broke"))
    engine = RetrieverQueryEngine.from_args(
        GivenRetriever(nodes()),
        node_postprocessors=[faked(failing, on_failure="keep_order", top_n=2, score_threshold=0.5)],
    )
    response = engine.query(QUERY)
    assert ids(response.source_nodes) == ["n0", "n1"]
    assert "rerank_degraded" not in str(response)


@pytest.mark.parametrize("kind", [ContextChatEngine, CondensePlusContextChatEngine])
def test_chat_engines(mocked, kind):
    engine = kind.from_defaults(
        retriever=GivenRetriever(nodes()),
        node_postprocessors=[CrossEncoderPostprocessor(top_n=2)],
        llm=MockLLM(),
        memory=ChatMemoryBuffer.from_defaults(token_limit=3000),  # the default one leaves a database open
    )
    response = engine.chat(QUERY)
    assert ids(response.source_nodes) == ["n1", "n3"]
    engine.reset()
    assert ids(asyncio.run(engine.achat(QUERY)).source_nodes) == ["n1", "n3"]
    engine.reset()
    streamed = engine.stream_chat(QUERY)
    assert "".join(streamed.response_gen)
    assert ids(streamed.source_nodes) == ["n1", "n3"]


def test_a_retriever_tool():
    tool = RetrieverTool.from_defaults(
        GivenRetriever(nodes()), node_postprocessors=[CrossEncoderPostprocessor(top_n=1)], description="finds things"
    )
    assert TEXTS[1] in tool.call(QUERY).content
    assert ids(asyncio.run(tool.acall(QUERY)).raw_output) == ["n1"]


# Against others


@pytest.mark.torch
def test_the_peer_on_the_same_checkpoint_gives_the_same(checkpoint):
    from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

    folder = str(checkpoint("bert"))
    # Unasked, it reads 512 tokens, even with a model that breaks beyond 64.
    peer = SentenceTransformerRerank(model=folder, device="cpu", top_n=9, cross_encoder_kwargs={"max_length": 64})
    ours = CrossEncoderPostprocessor(model=folder, backend="torch", device="cpu", top_n=9)
    texts = [*TEXTS, "Machine learning. Deep learning. " * 30, "", "naïve café"]
    expected = peer.postprocess_nodes(nodes(texts, metadata={"file": "a.txt"}), query_str=QUERY)
    result = both_ways(ours, nodes(texts, metadata={"file": "a.txt"}))
    assert ids(result) == ids(expected)
    assert [node.score for node in result] == pytest.approx([node.score for node in expected], abs=1e-5)
    assert len({round(node.score, 4) for node in result}) > 3


def test_over_http_it_ranks_the_same(bundled):
    here = CrossEncoderPostprocessor(reranker=bundled, metadata_mode="none")
    with serving(rerankers={"rerank-mini-en-v1": bundled}) as served:
        there = CrossEncoderPostprocessor(base_url=served.url, model="rerank-mini-en-v1", metadata_mode="none")
        given = nodes([*TEXTS, TEXTS[1], ""])
        expected, result = both_ways(here, given), both_ways(there, given)
        there.close()
    assert ids(result) == ids(expected)
    assert [node.score for node in result] == pytest.approx([node.score for node in expected], abs=1e-5)


# Whatever comes

WORDS = st.sampled_from(["what", "is", "machine", "learning", "cats", "", "x"])
NODES = st.lists(
    st.builds(
        lambda node_id, words, metadata, score: NodeWithScore(
            node=TextNode(id_=node_id, text=" ".join(words), metadata=metadata), score=score
        ),
        st.sampled_from("abcdefgh"),
        st.lists(WORDS, max_size=4),
        st.dictionaries(
            st.sampled_from(["file", "page", "retrieval_score", "rerank_truncated"]), st.integers(), max_size=3
        ),
        st.none() | st.floats(-5, 5),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(NODES, st.none() | st.integers(1, 14), st.booleans(), st.booleans())
def test_nothing_is_lost_doubled_reordered_or_changed(given_nodes, top_n, keep, dedup):
    for place, scored in enumerate(given_nodes):
        scored.node.start_char_idx = place  # ids may be equal
    before = copy.deepcopy(given_nodes)
    result = faked(top_n=top_n, keep_retrieval_score=keep, dedup=dedup).postprocess_nodes(given_nodes, query_str=QUERY)
    assert given_nodes == before

    candidates = len({scored.node_id for scored in before}) if dedup else len(before)
    assert len(result) == (candidates if top_n is None else min(top_n, candidates))
    came_from = [scored.node.start_char_idx for scored in result]
    assert len(set(came_from)) == len(came_from)
    ranking = [(-scored.score, place) for scored, place in zip(result, came_from, strict=True)]
    assert ranking == sorted(ranking)
    for scored, place in zip(result, came_from, strict=True):
        original = before[place]
        own = {"retrieval_score", "rerank_truncated"}
        assert scored.node_id == original.node_id
        assert scored.text == original.text
        assert {k: v for k, v in scored.metadata.items() if k not in own} == {
            k: v for k, v in original.metadata.items() if k not in own
        }
        if keep:
            assert scored.metadata["retrieval_score"] == original.score
    if dedup:
        assert len(set(ids(result))) == len(result)
