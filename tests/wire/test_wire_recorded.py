"""Requests and replies as they were recorded from real clients and servers."""

from __future__ import annotations

import pytest

from rerank_core.wire.messages import WireResponse, WireResult
from rerank_core.wire.registry import CLIENT_DIALECTS, dialect
from rerank_core.wire.routes import ROUTES, dialect_for

DOCUMENTS = ["cats are popular pets", "machine learning is a subset", "the weather is sunny"]
PAIR = WireResponse((WireResult(1, 0.75, 1.1), WireResult(0, 0.25, -1.1)), id="rerank-1", model="m", tokens=9)


def arrive(path, body):
    """What the server understands of ``body`` posted to ``path``, and the dialect it answers in."""
    route = next(route for route in ROUTES if route.path == path)
    spoken = dialect_for(route, body)
    return spoken.read_request(body), spoken


@pytest.mark.parametrize(
    ("path", "body", "top_n", "wanted"),
    [
        pytest.param(
            "/v2/rerank",
            {"model": "m", "query": "q", "documents": DOCUMENTS, "top_n": 2, "max_tokens_per_doc": 512},
            2,
            False,
            id="cohere 7 v2",
        ),
        pytest.param(
            "/v2/rerank",
            {"model": "m", "query": "q", "documents": DOCUMENTS, "top_n": 3, "max_tokens_per_doc": None},
            3,
            False,
            id="langchain-cohere",
        ),
        pytest.param(
            "/v1/rerank",
            {
                "model": "m",
                "query": "q",
                "documents": [{"text": "cats are popular pets", "title": "t"}, "machine learning"],
                "top_n": 2,
                "rank_fields": ["title", "text"],
                "return_documents": True,
                "max_chunks_per_doc": 10,
            },
            2,
            True,
            id="cohere 7 v1",
        ),
        pytest.param(
            "/rerank",
            {
                "raw_scores": False,
                "truncate": False,
                "truncation_direction": "Right",
                "query": "q",
                "top_n": 2,
                "texts": DOCUMENTS,
                "return_text": True,
            },
            2,
            True,
            id="litellm huggingface",
        ),
        pytest.param(
            "/rerank", {"query": "q", "texts": DOCUMENTS, "raw_scores": False}, None, False, id="haystack tei"
        ),
        pytest.param(
            "/infinity/rerank",
            {"query": "q", "documents": DOCUMENTS, "return_documents": True, "raw_scores": False, "model": "m"},
            None,
            True,
            id="infinity_client",
        ),
        pytest.param(
            "/v1/ranking",
            {"model": "m", "query": {"text": "q"}, "passages": [{"text": text} for text in DOCUMENTS]},
            None,
            False,
            id="nim clients",
        ),
        pytest.param(
            "/v1/retrieval/{model}/reranking",
            {"model": "m", "query": {"text": "q"}, "passages": [{"text": text} for text in DOCUMENTS], "top_k": 2},
            2,
            False,
            id="litellm nvidia_nim",
        ),
        pytest.param(
            "/v1/reranking",
            {"model": "m", "query": {"text": "q"}, "passages": [{"text": text} for text in DOCUMENTS], "top_n": 3},
            3,
            False,
            id="ragflow nvidia",
        ),
        pytest.param(
            "/v1/reranking",
            {"model": "m", "query": "q", "input": DOCUMENTS, "top_k": 2, "return_input": False},
            2,
            False,
            id="mixedbread",
        ),
        pytest.param(
            "/voyage/v1/rerank",
            {"query": "q", "documents": DOCUMENTS, "model": "rerank-2.5", "top_k": 2, "truncation": True},
            2,
            False,
            id="voyageai",
        ),
        pytest.param(
            "/pinecone/rerank",
            {
                "model": "m",
                "query": "q",
                "documents": [{"text": text} for text in DOCUMENTS],
                "top_n": 3,
                "return_documents": True,
            },
            3,
            True,
            id="rerankers pinecone",
        ),
        pytest.param(
            "/api/v1/services/rerank/text-rerank/text-rerank",
            {
                "model": "gte-rerank-v2",
                "parameters": {"return_documents": True, "top_n": 2},
                "input": {"query": "q", "documents": DOCUMENTS},
            },
            2,
            True,
            id="dashscope",
        ),
        pytest.param(
            "/v1/rerank",
            {
                "model": "m",
                "query": "q",
                "documents": DOCUMENTS,
                "top_n": None,
                "return_documents": "true",
                "return_len": "true",
                "max_chunks_per_doc": None,
                "kwargs": "{}",
            },
            None,
            True,
            id="xinference and ragflow",
        ),
        pytest.param(
            "/v1/rerank",
            {"model": "m", "query": "q", "documents": [{"content": [{"type": "text", "text": "cats"}]}], "top_n": 1},
            1,
            True,
            id="dify vision",
        ),
        pytest.param(
            "/reranks",
            {"model": "m", "query": "q", "documents": DOCUMENTS, "top_n": 2},
            2,
            True,
            id="litellm dashscope",
        ),
        pytest.param(
            "/rerank", {"query": "q", "documents": DOCUMENTS, "top_n": 0}, None, True, id="vllm, zero for all"
        ),
        pytest.param(
            "/score", {"model": "m", "text_1": "q", "text_2": DOCUMENTS}, None, False, id="vllm score, text_1"
        ),
        pytest.param("/v1/score", {"queries": ["q"], "items": DOCUMENTS}, None, False, id="vllm score, items"),
        pytest.param("/score", {"data_1": "q", "data_2": "cats"}, None, False, id="vllm score, data_1"),
        pytest.param(
            "/score", {"queries": ["q", "q"], "documents": ["a", "b"]}, None, False, id="vllm score, query repeated"
        ),
    ],
)
def test_recorded_requests_are_understood(path, body, top_n, wanted):
    request, _ = arrive(path, body)
    assert (request.query, request.top_n, request.return_documents) == ("q", top_n, wanted)
    assert len(request.texts) == len(request.documents) > 0


def test_cohere_v1_reads_the_named_fields_and_returns_the_whole_object():
    document = {"text": "cats are popular pets", "title": "t"}
    body = {"model": "m", "query": "q", "documents": [document, "b"], "rank_fields": ["title", "text"]}
    request, spoken = arrive("/v1/rerank", body)
    assert request.texts[0] == "t\ncats are popular pets"
    assert spoken.write_response(PAIR, request)["results"][1]["document"] == document


def test_tei_answers_with_a_bare_list_of_all_texts():
    request, spoken = arrive("/rerank", {"query": "q", "texts": DOCUMENTS[:2]})
    assert spoken.write_response(PAIR, request) == [{"index": 1, "score": 0.75}, {"index": 0, "score": 0.25}]
    request, spoken = arrive("/rerank", {"query": "q", "texts": DOCUMENTS[:2], "return_text": True, "raw_scores": True})
    assert spoken.write_response(PAIR, request)[0] == {"index": 1, "score": 1.1, "text": DOCUMENTS[1]}


@pytest.mark.parametrize("path", ["/infinity/rerank", "/voyage/v1/rerank", "/api/rerank"])
def test_documents_are_plain_strings_where_clients_insist_on_it(path):
    body = {"query": "q", "documents": ["a", {"text": "b", "id": 1}], "return_documents": True}
    request, spoken = arrive(path, body)
    reply = spoken.write_response(PAIR, request)
    assert [item["document"] for item in reply.get("results") or reply["data"]] == ["b", "a"]


def test_pinecone_and_mixedbread_return_documents_in_their_own_fields():
    request, spoken = arrive("/pinecone/rerank", {"query": "q", "documents": [{"text": "a", "id": "1"}, {"text": "b"}]})
    assert spoken.write_response(PAIR, request)["data"][1] == {
        "index": 0,
        "score": 0.25,
        "document": {"text": "a", "id": "1"},
    }
    request, spoken = arrive("/v1/reranking", {"query": "q", "input": ["a", {"text": "b"}], "return_input": True})
    assert [item["input"] for item in spoken.write_response(PAIR, request)["data"]] == [{"text": "b"}, "a"]


@pytest.mark.parametrize(("path", "field"), [("/pinecone/rerank", "documents"), ("/v1/reranking", "input")])
def test_the_named_fields_are_read_elsewhere_too(path, field):
    body = {"query": "q", field: [{"text": "body", "title": "head"}], "rank_fields": ["title"]}
    assert list(arrive(path, body)[0].texts) == ["head"]


def test_scores_alone_come_in_the_order_of_the_documents():
    request, spoken = arrive("/v1/score", {"text_1": "q", "text_2": ["a", "b"]})
    assert [item["score"] for item in spoken.write_response(PAIR, request)["data"]] == [0.25, 0.75]


def test_litellm_puts_fireworks_before_the_name_of_the_model():
    body = {"model": "fireworks/rerank-mini-en-v1", "query": "q", "documents": ["a"]}
    assert arrive("/inference/v1/rerank", body)[0].model == "rerank-mini-en-v1"


@pytest.mark.parametrize(
    ("provider", "reply", "ranking", "tokens"),
    [
        pytest.param(
            "infinity",
            {
                "object": "rerank",
                "results": [
                    {"relevance_score": 0.7738827466964722, "index": 1, "document": "cats are popular pets"},
                    {"relevance_score": 0.45607224106788635, "index": 0, "document": "machine learning is a subset"},
                ],
                "model": "tiny-ce",
                "usage": {"prompt_tokens": 97, "total_tokens": 97},
                "id": "infinity-0b78",
                "created": 1795421767,
            },
            [(1, 0.7738827466964722), (0, 0.45607224106788635)],
            97,
            id="infinity",
        ),
        pytest.param(
            "infinity",
            {"object": "rerank", "results": [{"relevance_score": 0.77, "index": 0, "document": None}]},
            [(0, 0.77)],
            0,
            id="infinity, null document",
        ),
        pytest.param(
            "vllm",
            {
                "id": "score-9a03",
                "model": "tiny-ce",
                "usage": {"prompt_tokens": 23, "total_tokens": 23},
                "results": [
                    {
                        "index": 0,
                        "document": {"text": "..", "multi_modal": None},
                        "relevance_score": 0.9551190137863159,
                    }
                ],
            },
            [(0, 0.9551190137863159)],
            23,
            id="vllm",
        ),
        pytest.param(
            "llamacpp",
            {
                "model": "tiny-ce",
                "object": "list",
                "usage": {"prompt_tokens": 25, "total_tokens": 25},
                "results": [{"index": 0, "relevance_score": 0.8312510848045349}],
            },
            [(0, 0.8312510848045349)],
            25,
            id="llama.cpp",
        ),
        pytest.param("llamacpp", [{"index": 0, "score": 0.83, "text": ".."}], [(0, 0.83)], 0, id="llama.cpp, texts"),
        pytest.param(
            "litellm",
            {
                "id": "rerank-abc",
                "results": [{"index": 0, "relevance_score": 0.77388}],
                "meta": {"billed_units": {"total_tokens": 31}, "tokens": {"input_tokens": 30}},
            },
            [(0, 0.77388)],
            30,
            id="litellm, no model and no usage",
        ),
        pytest.param(
            "native",
            {"id": "x", "results": [{"document": {"text": "a"}, "index": 1, "relevance_score": 0.1}]},
            [(1, 0.1)],
            0,
            id="local-reranker",
        ),
        pytest.param(
            "jina",
            {
                "model": "m",
                "usage": {"total_tokens": 7},
                "results": [{"index": 0, "relevance_score": 0.5, "document": "hello"}],
            },
            [(0, 0.5)],
            7,
            id="jina, plain string",
        ),
        pytest.param(
            "voyage",
            {
                "object": "list",
                "data": [{"index": 0, "relevance_score": 0.5}],
                "model": "m",
                "usage": {"total_tokens": 7},
            },
            [(0, 0.5)],
            7,
            id="voyage",
        ),
        pytest.param(
            "tei", [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}], [(1, 0.9), (0, 0.1)], 0, id="tei"
        ),
        pytest.param(
            "mixedbread",
            {
                "model": "m",
                "object": "list",
                "data": [{"index": 0, "score": 0.5, "input": None}],
                "usage": {"total_tokens": 7},
            },
            [(0, 0.5)],
            7,
            id="mixedbread",
        ),
        pytest.param(
            "siliconflow",
            {
                "id": "x",
                "results": [{"index": 0, "relevance_score": 0.5}],
                "tokens": {"input_tokens": 7, "output_tokens": 0},
            },
            [(0, 0.5)],
            7,
            id="siliconflow",
        ),
        pytest.param(
            "xinference",
            {
                "id": "x",
                "results": [
                    {"index": 0, "relevance_score": 0.1, "document": None},
                    {"index": 1, "relevance_score": 0.9, "document": None},
                ],
                "meta": {"api_version": None, "billed_units": None, "tokens": {"input_tokens": 7}, "warnings": None},
            },
            [(0, 0.1), (1, 0.9)],
            7,
            id="xinference, order of the input",
        ),
        pytest.param(
            "dashscope",
            {
                "output": {"results": [{"index": 0, "relevance_score": 0.5, "document": {"text": "a"}}]},
                "usage": {"total_tokens": 7},
                "request_id": "x",
            },
            [(0, 0.5)],
            7,
            id="dashscope",
        ),
        pytest.param(
            "pinecone",
            {
                "model": "m",
                "data": [{"index": 0, "score": 0.5, "document": {"text": "a"}}],
                "usage": {"rerank_units": 1},
            },
            [(0, 0.5)],
            0,
            id="pinecone",
        ),
        pytest.param(
            "nim",
            {"rankings": [{"index": 0, "logit": -1.2421875}, {"index": 3, "logit": -3.029296875}]},
            [(0, -1.2421875), (3, -3.029296875)],
            0,
            id="nim",
        ),
        pytest.param("deepinfra", {"scores": [0.1, 0.9], "input_tokens": 7}, [(0, 0.1), (1, 0.9)], 7, id="deepinfra"),
    ],
)
def test_recorded_replies_are_understood(provider, reply, ranking, tokens):
    response = dialect(provider).read_response(reply)
    assert [(item.index, item.score) for item in response.results] == ranking
    assert response.tokens == tokens


def test_ids_and_models_are_read_where_they_are_given():
    result = {"index": 0, "relevance_score": 0.5}
    assert dialect("native").read_response({"id": "rerank-1", "model": "m", "results": [result]}).id == "rerank-1"
    assert dialect("jina").read_response({"model": "m", "results": [result]}).model == "m"
    wrapped = dialect("dashscope").read_response({"output": {"results": [result]}, "request_id": "x"})
    assert (wrapped.id, wrapped.model) == ("x", None)


def test_llamacpp_and_nim_answer_with_logits_and_nobody_else():
    assert {name for name, spoken in CLIENT_DIALECTS.items() if spoken.scores == "logit"} == {
        "llamacpp",
        "nim",
        "nvidia",
    }
