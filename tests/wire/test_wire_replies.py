"""Replies that are none."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_core import InvalidRequestError
from rerank_core.errors import ProtocolError
from rerank_core.wire.registry import CLIENT_DIALECTS, dialect

HIDDEN = "the text of a document"
DIALECTS = [pytest.param(spoken, id=name) for name, spoken in CLIENT_DIALECTS.items()]


def json_values(*names):
    """JSON values whose objects have fields of these names."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=5),
        max_leaves=10,
    )


RESULT_FIELDS = ("index", "score", "relevance_score", "logit", "document")
REPLIES = json_values(
    "results", "data", "rankings", "output", "scores", "usage", "meta", "tokens", "id", *RESULT_FIELDS
)
ASKED = {
    "model": "m",
    "query": "q",
    "text_1": "q",
    "documents": ["a"],
    "texts": ["a"],
    "passages": ["a"],
    "text_2": ["a"],
}
CHANGES = st.dictionaries(
    st.sampled_from([*ASKED, "input", "parameters", "top_n", "top_k", "rank_fields", "return_documents", "raw_scores"]),
    json_values("text", "content", "type", "query", "documents", "top_n"),
    max_size=3,
)


def refused(reply, provider="native"):
    with pytest.raises(ProtocolError) as caught:
        dialect(provider).read_response(reply)
    assert HIDDEN not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("spoken", DIALECTS)
@pytest.mark.parametrize(
    "reply", [None, "text", 3, {}, {"results": None}, {"results": HIDDEN}, {"error": HIDDEN}, {"output": {}}]
)
def test_a_reply_without_results_is_a_protocol_error(spoken, reply):
    with pytest.raises(ProtocolError) as caught:
        spoken.read_response(reply)
    assert HIDDEN not in str(caught.value)


def test_the_error_says_what_the_reply_looked_like():
    assert "{code: str, message: str}" in str(refused({"code": "InvalidParameter", "message": HIDDEN}))


@pytest.mark.parametrize("index", [True, False, 0.0, "0", None, [0]])
def test_an_index_that_is_no_whole_number_is_a_protocol_error(index):
    assert "index" in str(
        refused({"results": [{"index": index, "relevance_score": 0.5, "document": {"text": HIDDEN}}]})
    )


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, None, "0.5", True, [0.5], 10**400])
def test_a_score_that_is_no_finite_number_is_a_protocol_error(score):
    error = refused({"results": [{"index": 3, "relevance_score": score, "document": {"text": HIDDEN}}]})
    assert error.code == "non_finite_score"
    assert "index 3" in str(error)


@pytest.mark.parametrize("item", [None, HIDDEN, 3, [0, 0.5], {}, {"index": 0}, {"relevance_score": 0.5}])
def test_a_result_that_is_no_result_is_a_protocol_error(item):
    refused({"results": [{"index": 0, "relevance_score": 0.5}, item]})


def test_a_probability_is_not_taken_for_a_logit():
    refused({"results": [{"index": 0, "relevance_score": 0.5}]}, "nim")
    refused({"rankings": [{"index": 0, "logit": 0.5}]}, "native")


@pytest.mark.parametrize("scores", [None, 0.5, [None], [math.nan]])
def test_a_list_of_scores_is_checked_too(scores):
    refused({"scores": scores}, "deepinfra")


def test_no_results_are_still_an_answer():
    assert dialect("native").read_response({"results": []}).results == ()


@pytest.mark.parametrize("usage", [None, {}, [], {"total_tokens": None}, {"total_tokens": "9"}, {"total_tokens": -1}])
def test_usage_in_an_unknown_form_is_no_error(usage):
    assert dialect("native").read_response({"results": [], "usage": usage}).tokens == 0


@pytest.mark.parametrize("spoken", DIALECTS)
@settings(max_examples=40)
@given(reply=REPLIES)
def test_any_json_is_an_answer_or_a_protocol_error(spoken, reply):
    with contextlib.suppress(ProtocolError):
        results = spoken.read_response(reply).results
        assert all(type(item.index) is int and math.isfinite(item.score) for item in results)


@pytest.mark.parametrize("spoken", [param for param in DIALECTS if param.values[0].body is not None])
@settings(max_examples=40)
@given(changes=CHANGES, whole=st.booleans())
def test_any_json_is_a_request_or_the_caller_s_error(spoken, changes, whole):
    body = {**ASKED, "input": ASKED if spoken.name == "dashscope" else ["a"], **changes} if whole else changes
    with contextlib.suppress(InvalidRequestError):
        request = spoken.read_request(body)
        assert request.query.strip()
        assert len(request.texts) == len(request.documents) > 0


def test_an_error_is_a_json_value_in_every_dialect():
    error = ProtocolError("broken", param=None)
    for spoken in CLIENT_DIALECTS.values():
        status, body = spoken.write_error(error)
        assert status in (502, 424)
        assert "broken" in json.dumps(body)
