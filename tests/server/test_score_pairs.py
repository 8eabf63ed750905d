"""``/score`` with a query for each document, as vLLM takes it."""

from __future__ import annotations

import pytest

from rerank_core import Reranker
from rerank_core.scoring import FakeScorer
from serving import serving

QUERIES = ["What is machine learning?", "Which pets are popular?", "What is machine learning?"]
TEXTS = ["Cats are popular pets worldwide.", "Cats are popular pets worldwide.", "It learns from data."]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")])
def test_each_document_is_scored_with_its_own_query(api, bundled, path, names):
    body = {names[0]: QUERIES, names[1]: TEXTS}
    reply = api.http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    alone = [bundled.rerank(query, [text]) for query, text in zip(QUERIES, TEXTS, strict=True)]
    data = reply.json()["data"]
    assert [item["index"] for item in data] == [0, 1, 2]
    assert [item["score"] for item in data] == pytest.approx([each[0].relevance_score for each in alone], abs=1e-5)
    assert reply.json()["usage"]["total_tokens"] == sum(each.usage.total_tokens for each in alone)


def test_a_query_that_is_asked_twice_is_one_call_of_the_model():
    calls = []

    class Counting(FakeScorer):
        async def ascore(self, query, texts):
            calls.append((query, list(texts)))
            return await super().ascore(query, texts)

    with serving(rerankers={"counting": Reranker(scorer=Counting("counting"))}) as served:
        calls.clear()
        assert served.http.post("/score", json={"text_1": QUERIES, "text_2": TEXTS}).status_code == 200
    assert sorted(calls) == [(QUERIES[0], [TEXTS[0], TEXTS[2]]), (QUERIES[1], [TEXTS[1]])]


def test_a_pair_that_fails_fails_the_request_and_a_blank_query_is_reported(api):
    reply = api.http.post("/score", json={"text_1": ["q", " "], "text_2": ["a", "b"]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "empty_query")


@pytest.mark.parametrize("query", ["a", 1])
def test_queries_are_counted_before_they_are_looked_at(api, monkeypatch, query):
    looked_at = []
    monkeypatch.setattr("rerank_core.wire.fields.clean_text", lambda text: looked_at.append(text) or text)
    reply = api.http.post("/score", json={"text_1": [query] * 101, "text_2": ["a"]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "too_many_documents")
    assert len(looked_at) == 0
    assert len(reply.text) < 500
