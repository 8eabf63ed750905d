"""``POST /v1/rerank`` to the letter of its specification."""

from __future__ import annotations

import json

import pytest

from rerank_core import InvalidRequestError
from rerank_core.wire.fields import Limits, read_json
from rerank_core.wire.messages import WireResponse, WireResult
from rerank_core.wire.native import Native, NativeAlias, NativeReply
from rerank_core.wire.routes import ROUTES

NATIVE = Native()
ASKED = {"model": "bge-reranker-v2", "query": "What is machine learning?", "documents": ["learning", "weather"]}
RANKED = WireResponse(
    (WireResult(1, 0.9823, 4.02), WireResult(0, 0.0089, -4.71)),
    id="rerank-abc123xyz",
    model="bge-reranker-v2",
    tokens=45,
)


def refused(body, dialect=NATIVE):
    with pytest.raises(InvalidRequestError) as caught:
        dialect.read_request(body)
    return caught.value


def test_a_request_of_the_specification_is_read():
    request = NATIVE.read_request({**ASKED, "top_n": 3, "return_documents": False})
    assert (request.model, request.query, list(request.texts)) == (
        "bge-reranker-v2",
        "What is machine learning?",
        ["learning", "weather"],
    )
    assert (request.top_n, request.return_documents) == (3, False)


def test_documents_come_back_and_all_are_ranked_unless_the_request_says_otherwise():
    request = NATIVE.read_request(ASKED)
    assert (request.top_n, request.return_documents) == (None, True)


def test_the_answer_is_the_one_of_the_specification_and_meta():
    reply = NATIVE.write_response(RANKED, NATIVE.read_request(ASKED))
    meta = reply.pop("meta")
    assert reply == {
        "id": "rerank-abc123xyz",
        "model": "bge-reranker-v2",
        "results": [
            {"index": 1, "relevance_score": 0.9823, "document": {"text": "weather"}},
            {"index": 0, "relevance_score": 0.0089, "document": {"text": "learning"}},
        ],
        "usage": {"prompt_tokens": 45, "total_tokens": 45},
    }
    assert set(meta) == {"api_version", "billed_units", "tokens"}
    assert meta["tokens"]["input_tokens"] == 45


def test_document_is_absent_not_null_when_it_is_not_wanted():
    reply = NATIVE.write_response(RANKED, NATIVE.read_request({**ASKED, "return_documents": False}))
    assert [set(result) for result in reply["results"]] == [{"index", "relevance_score"}] * 2


def test_objects_come_back_with_all_their_fields():
    documents = [{"text": "a", "id": 7, "tags": ["x", None]}, "b"]
    request = NATIVE.read_request({**ASKED, "documents": documents})
    reply = NATIVE.write_response(RANKED, request)
    assert [result["document"] for result in reply["results"]] == [{"text": "b"}, documents[0]]


def test_documents_read_only_in_part_are_named_and_a_client_hears_of_them():
    ranked = WireResponse(RANKED.results, id="rerank-1", model="m", tokens=3, truncated=(1,))
    reply = NATIVE.write_response(ranked, NATIVE.read_request(ASKED))
    assert "1 documents" in reply["meta"]["warnings"][0]
    assert NATIVE.read_response(json.loads(json.dumps(reply))).truncated == (1,)


@pytest.mark.parametrize("query", ["", " ", "\t\n", None])
def test_an_empty_query_is_reported_word_for_word(query):
    error = refused({**ASKED, "query": query})
    assert NATIVE.write_error(error) == (
        400,
        {
            "error": {
                "message": "Query cannot be empty",
                "type": "invalid_request_error",
                "code": "empty_query",
                "param": "query",
            },
            "detail": "Query cannot be empty",
        },
    )


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"model": None}, "missing_model", "model"),
        ({"model": ""}, "missing_model", "model"),
        ({"model": 3}, "invalid_model", "model"),
        ({"query": 3}, "invalid_query", "query"),
        ({"query": ["secret"]}, "invalid_query", "query"),
        ({"documents": None}, "empty_documents", "documents"),
        ({"documents": []}, "empty_documents", "documents"),
        ({"documents": {"text": "secret"}}, "invalid_documents", "documents"),
        ({"documents": ["secret", None]}, "invalid_document", "documents[1]"),
        ({"documents": ["secret", 4]}, "invalid_document", "documents[1]"),
        ({"documents": [{"body": "secret"}]}, "invalid_document", "documents[0]"),
        ({"documents": [{"text": 4}]}, "invalid_document", "documents[0]"),
        ({"documents": [{"text": "secret"}], "rank_fields": ["title"]}, "invalid_document", "documents[0]"),
        ({"documents": [{"content": [{"type": "image_url", "url": "secret"}]}]}, "invalid_document", "documents[0]"),
        ({"rank_fields": "text"}, "invalid_rank_fields", "rank_fields"),
        ({"top_n": 0}, "invalid_top_n", "top_n"),
        ({"top_n": -1}, "invalid_top_n", "top_n"),
        ({"top_n": True}, "invalid_top_n", "top_n"),
        ({"top_n": 1.5}, "invalid_top_n", "top_n"),
        ({"top_n": "3"}, "invalid_top_n", "top_n"),
        ({"return_documents": "yes"}, "invalid_flag", "return_documents"),
        ({"return_documents": 1}, "invalid_flag", "return_documents"),
        ({"max_tokens_per_doc": 0}, "invalid_max_tokens_per_doc", "max_tokens_per_doc"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_the_input_never_repeated(change, code, param):
    error = refused({**ASKED, **change})
    assert (error.status, error.code, error.param) == (400, code, param)
    assert "secret" not in error.message


@pytest.mark.parametrize("field", ["model", "query", "documents"])
def test_a_required_field_that_is_absent_is_named(field):
    assert refused({name: value for name, value in ASKED.items() if name != field}).param == field


@pytest.mark.parametrize("body", [None, [], "text", 3, True])
def test_a_body_that_is_no_object_is_invalid_json(body):
    assert refused(body).code == "invalid_json"


@pytest.mark.parametrize("data", [b"", b"{", b"[NaN]", b"[Infinity]", b"\xff", b"[" * 100_000, b'"\xed\xa0\x80"'])
def test_what_is_no_json_is_said_to_be_none(data):
    with pytest.raises(InvalidRequestError) as caught:
        read_json(data)
    assert caught.value.code == "invalid_json"


def test_lone_surrogates_become_replacement_characters_and_nul_stays():
    body = read_json(
        rb'{"model":"m","query":"ok \ud800","documents":["a\u0000b",{"text":"\udfff","n\ud800":["\ud83d\ude00"]}]}'
    )
    request = NATIVE.read_request(body)
    assert (request.query, list(request.texts)) == ("ok \ufffd", ["a\x00b", "\ufffd"])
    reply = NATIVE.write_response(RANKED, request)
    assert reply["results"][0]["document"] == {"text": "\ufffd", "n\ufffd": ["\U0001f600"]}
    json.dumps(reply, ensure_ascii=False).encode()


def test_rank_fields_join_the_named_fields_in_order_and_once():
    document = {"text": "body", "title": "head", "year": 1999, "empty": None}
    body = {
        **ASKED,
        "documents": [document, "plain"],
        "rank_fields": ["year", "title", "empty", "text", "title", "absent"],
    }
    assert list(NATIVE.read_request(body).texts) == ["1999\nhead\nbody", "plain"]


class Counted(dict):
    """An object that counts how often it is looked into."""

    looks = 0

    def get(self, *arguments):
        Counted.looks += 1
        return super().get(*arguments)

    def __getitem__(self, name):
        Counted.looks += 1
        return super().__getitem__(name)


def test_reading_a_document_takes_no_longer_for_more_rank_fields():
    documents = [Counted(a="x", b="y") for _ in range(1000)]
    names = [f"field {i}" for i in range(98)]
    Counted.looks = 0
    texts = NATIVE.read_request({**ASKED, "documents": documents, "rank_fields": ["b", *names, "a"]}).texts
    assert list(texts) == ["y\nx"] * 1000
    assert Counted.looks <= 5 * len(documents)


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v1/reranking", "/pinecone/rerank"])
def test_more_rank_fields_than_anybody_has_are_refused_before_documents_are_read(path):
    spoken = next(route for route in ROUTES if route.path == path).dialect
    error = refused({**ASKED, "documents": [{}], "rank_fields": [f"field {i}" for i in range(101)]}, spoken)
    assert (error.code, error.param) == ("invalid_rank_fields", "rank_fields")
    assert "100" in error.message
    assert "101" in error.message


@pytest.mark.parametrize("dialect", {type(d): d for r in ROUTES for d in r.dialects}.values(), ids=lambda d: d.name)
def test_limits_hold_in_every_dialect_before_any_document_is_looked_at(dialect):
    limits = Limits(documents=3, query_characters=8, document_characters=20)

    def body(query, documents):
        asked = {"model": "m", "query": query, "text_1": query, "parameters": {}}
        asked |= dict.fromkeys(("documents", "texts", "input", "passages", "text_2"), documents)
        return asked | ({"input": asked} if dialect.name == "dashscope" else {})

    def error(*asked):
        with pytest.raises(InvalidRequestError) as caught:
            dialect.read_request(body(*asked), limits)
        return caught.value

    fits = dialect.read_request(body("12345678", ["x" * 20, "b", "c"]), limits)
    assert [len(text) for text in fits.texts] == [20, 1, 1]
    assert (error("q", [{}, None, 3, 4]).code, error("q", ["a"] * 4).message) == (
        "too_many_documents",
        "Too many documents. Maximum is 3.",
    )
    assert (error("123456789", ["a"]).code, error("q", ["a", "x" * 21]).code) == ("query_too_long", "document_too_long")
    assert error("q", ["a", "x" * 21]).param == "documents[1]"


def test_content_parts_are_read_as_text():
    document = {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    request = NATIVE.read_request({**ASKED, "documents": [document]})
    assert (list(request.texts), list(request.documents)) == (["a\nb"], [document])


@pytest.mark.parametrize(
    ("flag", "wanted"), [("true", True), ("True", True), ("false", False), ("False", False), (None, True)]
)
def test_flags_may_be_strings_and_null_is_the_default(flag, wanted):
    assert NATIVE.read_request({**ASKED, "return_documents": flag}).return_documents is wanted


def test_the_alias_lets_the_model_out_and_takes_zero_for_all():
    alias = NativeAlias()
    request = alias.read_request({"query": "q", "documents": ["a"], "top_n": 0})
    assert (request.model, request.top_n) == (None, None)
    assert refused({"query": "q", "documents": ["a"], "top_n": -1}, alias).code == "invalid_top_n"
    assert refused({"query": "q", "documents": ["a"], "top_n": False}, alias).code == "invalid_top_n"


def test_a_request_shows_no_text():
    assert "machine" not in repr(NATIVE.read_request(ASKED))


def test_the_schema_describes_the_specification():
    assert set(NativeReply.model_json_schema()["required"]) == {"id", "model", "results", "usage", "meta"}
    assert NATIVE.body.model_json_schema()["required"] == ["model", "query", "documents"]
