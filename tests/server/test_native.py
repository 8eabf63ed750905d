"""POST /v1/rerank, as the specification says it."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_core.wire.native import NativeReply
from serving import SPEC_BODY


def test_the_specifications_example(api):
    response = api.rerank()
    body = response.json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert set(body) == {"id", "model", "results", "usage", "meta"}
    assert body["id"].startswith("rerank-")
    assert body["model"] == "bge-reranker-v2"
    assert [result["index"] for result in body["results"]] == [0, 2, 1, 3]
    for result in body["results"]:
        assert set(result) == {"index", "relevance_score", "document"}
        assert result["document"] == {"text": SPEC_BODY["documents"][result["index"]]}
        assert 0 <= result["relevance_score"] <= 1
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    NativeReply.model_validate(body)


def test_scores_are_the_engines(api, bundled):
    ours = bundled.rerank(SPEC_BODY["query"], SPEC_BODY["documents"])
    theirs = api.rerank().json()
    assert [result["relevance_score"] for result in theirs["results"]] == pytest.approx(
        [result.relevance_score for result in ours], abs=1e-5
    )
    assert theirs["usage"]["total_tokens"] == ours.usage.total_tokens


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (3, 3), (100, 4), (None, 4)])
def test_top_n(api, top_n, count):
    assert len(api.rerank(top_n=top_n).json()["results"]) == count


@pytest.mark.parametrize("value", [False, "false", "False"])
def test_documents_that_are_not_wanted_are_absent(api, value):
    assert all(
        set(result) == {"index", "relevance_score"} for result in api.rerank(return_documents=value).json()["results"]
    )


@pytest.mark.parametrize("value", [True, "true", None])
def test_documents_come_back_by_default(api, value):
    assert all("document" in result for result in api.rerank(return_documents=value).json()["results"])


def test_objects_come_back_with_all_their_fields(api):
    documents = [{"text": "Cats purr.", "id": 7, "tags": ["a", None], "score": 0.5}, "Dogs bark."]
    results = api.rerank(query="feline pets", documents=documents).json()["results"]
    assert results[0]["document"] == documents[0]
    assert results[1]["document"] == {"text": "Dogs bark."}


def test_unknown_fields_and_nulls_are_accepted(api):
    body = SPEC_BODY | {
        "top_n": None,
        "user": "x",
        "max_chunks_per_doc": 10,
        "max_tokens_per_doc": None,
        "kwargs": "{}",
    }
    assert api.http.post("/v1/rerank", json=body).status_code == 200


WRONG = [
    ({"query": ""}, 400, "empty_query", "Query cannot be empty"),
    ({"query": " \n"}, 400, "empty_query", "Query cannot be empty"),
    ({"query": 7}, 400, "invalid_query", None),
    ({"documents": ["x"] * 101}, 400, "too_many_documents", "Too many documents. Maximum is 100."),
    ({"documents": []}, 400, "empty_documents", None),
    ({"documents": {"text": "x"}}, 400, "invalid_documents", None),
    ({"documents": ["x", {"title": "y"}]}, 400, "invalid_document", None),
    ({"documents": ["x", 3]}, 400, "invalid_document", None),
    ({"documents": [None]}, 400, "invalid_document", None),
    ({"top_n": 0}, 400, "invalid_top_n", None),
    ({"top_n": -1}, 400, "invalid_top_n", None),
    ({"top_n": 1.5}, 400, "invalid_top_n", None),
    ({"top_n": "3"}, 400, "invalid_top_n", None),
    ({"top_n": True}, 400, "invalid_top_n", None),
    ({"model": None}, 400, "missing_model", None),
    ({"model": ""}, 400, "missing_model", None),
    ({"model": 3}, 400, "invalid_model", None),
    ({"model": "no-such-model"}, 404, "model_not_found", None),
    ({"return_documents": "maybe"}, 400, "invalid_flag", None),
]


@pytest.mark.parametrize(("changes", "status", "code", "message"), WRONG)
def test_what_is_wrong_is_said_in_the_specifications_words(api, changes, status, code, message):
    response = api.rerank(**changes)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert set(response.json()) == {"error", "detail"}
    assert response.json()["detail"] == error["message"]
    if message is not None:
        assert error["message"] == message


@pytest.mark.parametrize("field", ["model", "query", "documents"])
def test_missing_fields(api, field):
    body = {name: value for name, value in SPEC_BODY.items() if name != field}
    response = api.http.post("/v1/rerank", json=body)
    codes = {"model": "missing_model", "query": "empty_query", "documents": "empty_documents"}
    assert (response.status_code, response.json()["error"]["code"]) == (400, codes[field])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b"[" * 100_000,
        b"1" * 5000,
        b'{"model": "rerank-mini-en-v1", "query": "q", "documents": [{"text": "a", "w": 1e400}]}',
        b'{"model": "rerank-mini-en-v1", "query": "q", "documents": [{"text": "a", "w": %s}]}'
        % (b"[" * 950 + b"]" * 950),
    ],
)
def test_what_is_no_json_object(api, body):
    response = api.http.post("/v1/rerank", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


def test_the_input_is_never_echoed_in_an_error(api):
    secret = "sesame-4711"  # noqa: S105  (not a password)
    bodies = [
        {"query": secret, "documents": [{"title": secret}]},
        {"query": {"a": secret}},
        {"documents": secret * 3, "top_n": secret},
        {"model": secret},
        {"top_n": secret},
        {"return_documents": secret},
        {"rank_fields": secret},
        {"rank_fields": [secret], "documents": [{"text": "x"}]},
    ]
    for changes in bodies:
        response = api.rerank(**changes)
        assert response.status_code in (200, 400, 404)
        assert secret not in response.text.replace(f'"text":"{secret * 3}"', "")


def test_lone_surrogates_and_nul_are_scored(api):
    content = json.dumps(
        {**SPEC_BODY, "query": "ok \ud800", "documents": ["a \udfff", {"text": "b\x00", "x": "\ud800"}]}
    )
    response = api.http.post("/v1/rerank", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert sorted(result["index"] for result in response.json()["results"]) == [0, 1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=8,
    ),
    st.sampled_from(["model", "query", "documents", "top_n", "return_documents", "rank_fields", "max_tokens_per_doc"]),
)
def test_no_value_of_any_field_breaks_the_server(api, value, field):
    content = json.dumps({**SPEC_BODY, "documents": ["x"], field: value})
    response = api.http.post("/v1/rerank", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 404)


def test_every_document_count_up_to_the_limit(api):
    response = api.rerank(documents=[f"document {i}" for i in range(100)])
    assert sorted(result["index"] for result in response.json()["results"]) == list(range(100))
