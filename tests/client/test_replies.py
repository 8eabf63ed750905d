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
