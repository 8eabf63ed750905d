"""The LlamaIndex postprocessor: its options, and how it ranks."""

from __future__ import annotations

import asyncio
import doctest
import json
import pickle

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    Document,
    QueryBundle,
    TextNode,
)
from llama_index_tools import QUERY, TEXTS, Callbacks, Scripted, both_ways, faked, ids, nodes, watching
from pydantic import ValidationError

import rerank_plugins.llama_index as module
from rerank_core import InvalidRequestError, ProtocolError, Reranker
from rerank_core.errors import AuthenticationError, InferenceError
from rerank_core.scoring import FakeScorer, Score
from rerank_plugins.llama_index import CrossEncoderPostprocessor

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
    unknown = Scripted(*[Score(0.5)] * 4)
    with pytest.raises(ProtocolError, match="probabilities only"):
        faked(unknown, logits=True).postprocess_nodes(nodes(), query_str=QUERY)
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


def test_a_key_that_a_pickle_left_out_is_missed_before_any_event(monkeypatch):
    monkeypatch.delenv("COHERE_API_KEY", raising=False)
    hosted = CrossEncoderPostprocessor(provider="cohere", model="rerank-v3.5", api_key="k")
    postprocessor = pickle.loads(pickle.dumps(hosted))
    with watching() as (events, _), pytest.raises(AuthenticationError, match="COHERE_API_KEY"):
        postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    assert events.names == ["SpanDropEvent"]
