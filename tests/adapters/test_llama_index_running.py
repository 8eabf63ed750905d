"""The LlamaIndex postprocessor at work: failures, events, event loops, life cycle."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.schema import (
    MetadataMode,
    QueryBundle,
)
from llama_index_tools import QUERY, Callbacks, both_ways, faked, ids, nodes, watching

from loops import GatedScorer, held_model, while_held
from rerank_core.errors import InferenceError, ModelNotFoundError
from rerank_core.scoring import FakeScorer
from rerank_plugins.llama_index import CrossEncoderPostprocessor
from waiting import async_wait_for

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
    payload = callbacks.ended[0][1]
    assert list(payload) == [EventPayload.EXCEPTION]
    assert repr(payload[EventPayload.EXCEPTION]) == repr(error)


def test_a_cancelled_call_ends_its_event_and_span():
    callbacks = Callbacks()
    postprocessor = faked(FakeScorer(delay=30), callback_manager=callbacks.manager)

    async def main():
        task = asyncio.create_task(postprocessor.apostprocess_nodes(nodes(), query_str=QUERY))
        await async_wait_for(lambda: callbacks.started)
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


def test_the_event_loop_goes_on_while_the_model_works(bundled, monkeypatch):
    postprocessor = CrossEncoderPostprocessor(reranker=bundled)
    held = held_model(monkeypatch, bundled)
    work = postprocessor.apostprocess_nodes(nodes(), query_str=QUERY)
    assert len(asyncio.run(while_held(work, held))) == 4


def test_several_calls_at_once_on_one_loop():
    scorer = GatedScorer()
    postprocessor = faked(scorer)

    async def main():
        asking = asyncio.gather(*(postprocessor.apostprocess_nodes(nodes(), query_str=QUERY) for _ in range(20)))
        await async_wait_for(lambda: scorer.waiting == 20)
        scorer.open.set()
        return await asking

    assert all(ids(result) == ["n1", "n0", "n3", "n2"] for result in asyncio.run(main()))


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
