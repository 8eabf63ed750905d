"""What products that ask a rerank server send, as their sources have it, and what they read of the answer.

docs/integrations.md says how each is pointed at the server.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rerank_core import Reranker
from serving import serving

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
MODEL = "rerank-mini-en-v1"
QUERY = "What is the capital of France?"
TEXTS = ["Cats purr.", "Paris is the capital of France.", "Berlin is a city."]
KEY = "a-key"
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def guarded():
    with serving(api_keys=(KEY,)) as served:
        yield served


@pytest.fixture(scope="module")
def expected():
    """The engine's own scores, in the order of the texts."""
    ranked = sorted(Reranker(MODEL).rerank(QUERY, TEXTS), key=lambda result: result.index)
    return pytest.approx([result.relevance_score for result in ranked])


def by_position(answer):
    """Sorted by index, then by place: Milvus's vllm client, Open WebUI."""
    return [result["relevance_score"] for result in sorted(answer["results"], key=lambda each: each["index"])]


def by_index(answer):
    """Each score put where its index says: Weaviate, Dify, RAGFlow."""
    scores = [0.0] * len(TEXTS)
    for result in answer["results"]:
        scores[result["index"]] = result["relevance_score"]
    return scores


def of_a_list(answer):
    """A bare list: Milvus's tei client."""
    return [item["score"] for item in sorted(answer, key=lambda each: each["index"])]


def of_ragflow(answer):
    """RAGFlow counts tokens as well."""
    assert answer["usage"]["total_tokens"] > 0
    return by_index(answer)


def of_xinference(answer):
    """Dify's Xinference plugin reads the documents."""
    assert all(result["document"]["text"] == TEXTS[result["index"]] for result in answer["results"])
    return by_index(answer)


ASKED = {"query": QUERY, "documents": TEXTS}
NAMED = {"model": MODEL, **ASKED}
REQUESTS = {
    "Milvus, vllm": ("/rerank", ASKED, {}, by_position),
    "Milvus, vllm with a limit": ("/rerank", ASKED | {"truncate_prompt_tokens": 256}, {}, by_position),
    "Milvus, tei": ("/rerank", {"query": QUERY, "texts": TEXTS}, {}, of_a_list),
    "Milvus, tei with truncation": (
        "/rerank",
        {"query": QUERY, "texts": TEXTS, "truncate": True, "truncation_direction": "Right"},
        {},
        of_a_list,
    ),
    "Weaviate": (
        "/v2/rerank",
        NAMED | {"return_documents": False},
        {"request-source": "unspecified:weaviate"},
        by_index,
    ),
    "Open WebUI": (
        "/v1/rerank",
        NAMED | {"top_n": len(TEXTS)},
        {"x-openwebui-user-name": "Ada", "x-openwebui-user-role": "user"},
        by_position,
    ),
    "Dify, OpenAI-API-compatible": ("/v1/rerank", NAMED | {"top_n": len(TEXTS)}, {}, by_index),
    "Dify, Xinference": ("/v1/rerank", NAMED | {"return_documents": True, "kwargs": "{}"}, {}, of_xinference),
    "LiteLLM": ("/v2/rerank", NAMED | {"top_n": len(TEXTS), "return_documents": True}, {}, by_index),
    "RAGFlow, OpenAI-API-compatible": ("/v1/rerank", NAMED | {"top_n": len(TEXTS)}, {}, of_ragflow),
    "RAGFlow, Xinference": ("/v1/rerank", NAMED | {"return_documents": "true", "return_len": "true"}, {}, by_index),
}


@pytest.mark.parametrize("product", REQUESTS)
def test_a_products_request_gets_an_answer_it_can_read(product, guarded, expected):
    path, body, headers, read = REQUESTS[product]
    answer = guarded.http.post(path, json=body, headers=BEARER | headers)
    assert answer.status_code == 200
    assert read(answer.json()) == expected


@pytest.mark.parametrize("product", REQUESTS)
def test_a_wrong_key_is_refused_on_every_path(product, guarded):
    path, body, _, _ = REQUESTS[product]
    answer = guarded.http.post(path, json=body, headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_weaviate_finds_the_message_of_an_error(guarded):
    body = NAMED | {"model": "unknown", "return_documents": False}
    answer = guarded.http.post("/v2/rerank", json=body, headers=BEARER)
    assert answer.status_code == 404
    assert MODEL in answer.json()["message"]


def test_the_page_names_the_paths_that_are_tested():
    written = dict(re.findall(r"^\| \[([\w ]+)\]\(#[\w-]+\) \|.*\| `(/[\w/]+)` \|$", PAGE, re.MULTILINE))
    tested = {name.partition(",")[0]: path for name, (path, *_) in reversed(REQUESTS.items())}
    assert written == tested
