"""What one side writes, the other reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rerank_core.documents import clean_text
from rerank_core.errors import ProtocolError
from rerank_core.fusion import Fused
from rerank_core.results import Highlight, Span
from rerank_core.wire.fields import read_json
from rerank_core.wire.messages import WireRequest, WireResponse, WireResult
from rerank_core.wire.registry import CLIENT_DIALECTS
from rerank_core.wire.routes import ROUTES

TEXT = st.text(st.characters(codec=None, categories=None)) | st.sampled_from(
    ["", "\x00", "\ud800", "\U0001f600", "\ufeff"]
)
QUERY = TEXT.filter(str.strip)
BOTH_HALVES = [pytest.param(dialect, id=name) for name, dialect in CLIENT_DIALECTS.items() if dialect.body is not None]
SERVED = [
    pytest.param(dialect, id=dialect.name)
    for dialect in {dialect.name: dialect for route in ROUTES for dialect in route.dialects}.values()
]


@st.composite
def responses(draw, documents):
    """Some of ``documents`` documents in any order."""
    order = draw(st.permutations(range(documents)))[: draw(st.integers(1, documents))]
    results = [WireResult(index, draw(st.floats(0, 1)), draw(st.floats(-50, 50))) for index in order]
    return WireResponse(tuple(results), id="rerank-1", model="m", tokens=draw(st.integers(0, 10**9)))


def sent(value):
    """``value`` after a trip over the wire."""
    return read_json(json.dumps(value, allow_nan=False).encode())


def in_reply_order(dialect, results):
    """Scores alone come in the order of the documents, rankings best first."""
    return sorted(results, key=lambda item: item.index) if dialect.name == "vllm-score" else list(results)


def nulls(value):
    """How many nulls a JSON value holds."""
    if isinstance(value, dict):
        return sum(map(nulls, value.values()))
    return sum(map(nulls, value)) if isinstance(value, list) else int(value is None)


@pytest.mark.parametrize("dialect", BOTH_HALVES)
@settings(max_examples=40)
@given(query=QUERY, texts=st.lists(TEXT, min_size=1, max_size=4), model=st.sampled_from(["m", "BAAI/bge-é"]))
def test_a_request_arrives_as_it_was_meant(dialect, query, texts, model):
    got = dialect.read_request(sent(dialect.write_request(WireRequest(query, texts, model=model))))
    assert got.query == clean_text(query)
    assert list(got.texts) == [clean_text(text) for text in texts]
    assert len(got.documents) == len(texts)
    assert got.model == (None if dialect.name == "tei" else model)
    assert got.top_n in (None, len(texts))
    assert not got.return_documents


LIMITED = [param for param in BOTH_HALVES if param.id not in ("tei", "nim", "nvidia", "vllm-score")]


@pytest.mark.parametrize("dialect", LIMITED)
def test_a_limit_arrives_under_whatever_name(dialect):
    assert (
        dialect.read_request(sent(dialect.write_request(WireRequest("q", ["a", "b"], model="m", top_n=1)))).top_n == 1
    )


@pytest.mark.parametrize("name", ["native", "cohere", "vllm-score"])
def test_a_limit_of_tokens_arrives(name):
    dialect = CLIENT_DIALECTS[name]
    request = WireRequest("q", ["a"], model="m", max_tokens_per_doc=512)
    assert dialect.read_request(sent(dialect.write_request(request))).max_tokens_per_doc == 512


@pytest.mark.parametrize("dialect", BOTH_HALVES)
@settings(max_examples=40)
@given(data=st.data())
def test_an_answer_arrives_as_it_was_meant(dialect, data):
    response = data.draw(responses(3))
    request = dialect.read_request(sent(dialect.write_request(WireRequest("q", ["a", "b", "c"], model="m"))))
    got = dialect.read_response(sent(dialect.write_response(response, request)))
    wanted = in_reply_order(dialect, response.results)
    logits = dialect.scores == "logit"
    assert [(item.index, item.score) for item in got.results] == [
        (item.index, item.logit if logits else item.score) for item in wanted
    ]


@pytest.mark.parametrize("dialect", [param for param in BOTH_HALVES if param.id not in ("tei", "pinecone")])
def test_tokens_arrive(dialect):
    request = dialect.read_request(dialect.write_request(WireRequest("q", ["a"], model="m")))
    response = WireResponse((WireResult(0, 0.5, 0.0),), id="rerank-1", model="m", tokens=45)
    assert dialect.read_response(dialect.write_response(response, request)).tokens == 45


@pytest.mark.parametrize("name", ["tei", "infinity", "vllm-score"])
def test_raw_scores_are_logits(name):
    dialect = CLIENT_DIALECTS[name]
    request = dialect.read_request(sent(dialect.write_request(WireRequest("q", ["a"], model="m", raw_scores=True))))
    reply = dialect.write_response(WireResponse((WireResult(0, 0.75, 1.1),), id="rerank-1", model="m"), request)
    assert dialect.read_response(reply).results[0].score == 1.1


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("dialect", SERVED)
@settings(max_examples=40)
@given(data=st.data())
def test_every_answer_has_the_documented_schema_and_no_null(dialect, wanted, data):
    response = data.draw(responses(3))
    documents = ["a", {"text": "b", "note": "kept"}, {"text": "c"}]
    request = WireRequest(
        "q", ["a", "b", "c"], model="m", top_n=len(response.results), return_documents=wanted, documents=documents
    )
    reply = sent(dialect.write_response(response, request))
    TypeAdapter(dialect.reply).validate_json(json.dumps(reply), strict=True)
    assert not nulls(reply)
    assert ("kept" in json.dumps(reply)) <= wanted


@pytest.mark.parametrize("dialect", SERVED)
def test_every_body_and_answer_has_a_json_schema(dialect):
    assert dialect.body.model_json_schema()["type"] == "object"
    assert TypeAdapter(dialect.reply).json_schema(mode="serialization")["type"] in ("object", "array")


SPANS = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda ends: Span(min(ends), max(ends)))


@settings(max_examples=40)
@given(window=st.none() | SPANS, tokens=st.integers(0, 10**9), cut=st.booleans(), sentence=SPANS)
def test_details_arrive(window, tokens, cut, sentence):
    native = CLIENT_DIALECTS["native"]
    asked = WireRequest("q", ["a"], model="m", return_details=True, highlights=1, fusion=0, retrieval_scores=[None])
    request = native.read_request(sent(native.write_request(asked)))
    assert (request.return_details, request.highlights, request.fusion) == (True, 1, 0)
    assert request.retrieval_scores == [None]
    result = WireResult(0, 0.5, 0.0, cut, window, Fused(0.25, 0.5), (Highlight(*sentence, "", 0.75),), tokens)
    reply = sent(native.write_response(WireResponse((result,), id="rerank-1", model="m"), request))
    TypeAdapter(native.reply).validate_json(json.dumps(reply), strict=True)
    (got,) = native.read_response(reply).results
    assert (got.window, got.tokens) == (window, tokens)


@pytest.mark.parametrize(
    "window", [[1, 2], {"start": 1}, {"start": 2, "end": 1}, {"start": -1, "end": 1}, {"start": 0, "end": 1.5}, "all"]
)
def test_a_window_that_is_no_range_is_an_invalid_reply(window):
    body = {"results": [{"index": 0, "relevance_score": 0.5, "details": {"window": window}}]}
    with pytest.raises(ProtocolError, match="no range"):
        CLIENT_DIALECTS["native"].read_response(body)


@pytest.mark.parametrize("details", [None, "some", {}, {"tokens": -1}, {"tokens": "many", "window": None}])
def test_details_of_another_kind_say_nothing(details):
    body = {"data": [{"index": 0, "relevance_score": 0.5, "details": details}]}
    assert CLIENT_DIALECTS["native"].read_response(body).results == (WireResult(0, 0.5),)
