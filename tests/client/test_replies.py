"""Whatever a body holds, it is a complete and sound answer or a ProtocolError."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import ProtocolError, RerankError
from rerank_core.client.errors import failed
from rerank_core.client.exchange import Reply, Service
from rerank_core.client.replies import TooMany, read_reply
from rerank_core.client.retry import AttemptError
from rerank_core.wire.registry import CLIENT_DIALECTS

JSON = {"content-type": "application/json"}
SERVICES = [Service(dialect, "http://h/v1/rerank", "m") for dialect in CLIENT_DIALECTS.values()]
names = st.sampled_from(
    ["results", "data", "rankings", "scores", "output", "index", "relevance_score", "score", "logit"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "0", "text"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
items = st.fixed_dictionaries(
    {"index": st.integers(-1, 4)},
    optional={name: st.floats() | st.integers(-2, 2) for name in ("relevance_score", "score", "logit")},
)
bodies = (
    values | st.dictionaries(names, st.lists(items, max_size=5), min_size=1, max_size=2) | st.lists(items, max_size=5)
)


@given(st.sampled_from(SERVICES), bodies, st.integers(1, 4))
def test_any_json_is_an_answer_or_a_protocol_error(service, body, count):
    reply = Reply(200, JSON, json.dumps(body).encode())
    try:
        answer = read_reply(reply, service, count)
    except ProtocolError:
        return
    _, scores = answer
    assert len(scores) == count
    assert all(0 <= score.relevance_score <= 1 for score in scores)
    assert all(score.logit is None or math.isfinite(score.logit) for score in scores)


@given(st.sampled_from(SERVICES), st.binary(max_size=40))
def test_any_bytes_are_an_answer_or_a_protocol_error(service, content):
    with pytest.raises(ProtocolError):
        read_reply(Reply(200, JSON, content), service, 3)


@given(
    st.sampled_from(SERVICES),
    st.integers(300, 599),
    bodies.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "location", "content-type"]), st.text()),
)
def test_any_refusal_is_one_of_our_errors_with_a_bounded_message(service, status, content, headers):
    reply = Reply(status, headers, content)
    failure = failed(reply, service)
    assert isinstance(failure.error, RerankError)
    assert len(str(failure.error)) < 1500
    assert str(failure.error).isprintable()
    try:
        assert isinstance(read_reply(reply, service, 2), TooMany)
    except AttemptError:
        assert status != 413


@pytest.mark.parametrize(("status", "text"), [(400, "context length"), (404, "model is unknown")])
@pytest.mark.parametrize("shape", ["{}", '{{"detail": "{}"}}', '{{"error": {{"message": "{}"}}}}'])
def test_only_the_beginning_of_what_a_server_says_is_looked_at(status, text, shape):
    """What is looked for takes much longer to be found, or not, than to be sent."""
    said = [failed(Reply(status, {}, shape.format(before + text).encode()), SERVICES[0]) for before in ("", "x" * 5000)]
    assert [text in str(each.error) or "It seems to mean" in str(each.error) for each in said] == [status == 400, False]
    assert [each.error.code == "model_not_found" for each in said] == [status == 404, False]


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "line\nbreak", "the text of a document", "sk-secret" * 9])
def test_what_a_reply_looks_like_is_reported_without_names_that_are_no_names(name):
    for content in (json.dumps({name: 1, "data": 2}), json.dumps({"results": [{name: 1}]})):
        with pytest.raises(ProtocolError) as caught:
            read_reply(Reply(200, JSON, content.encode()), SERVICES[0], 1)
        assert name[:8] not in str(caught.value)
        assert str(caught.value).isprintable()
