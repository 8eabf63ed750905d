"""What real servers answered (``make compat`` records it), read by our dialects and by our client."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from apiserver import ApiServer, reply
from rerank_core import (
    AuthenticationError,
    InferenceError,
    InvalidRequestError,
    ModelNotFoundError,
    Reranker,
    RerankError,
)
from rerank_core.wire.registry import dialect

FOLDER = Path(__file__).parent / "recorded"
SERVERS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))}
EXCHANGES = [
    pytest.param(recorded, exchange, id=f"{name} {exchange['provider']} {exchange['name']}")
    for name, recorded in SERVERS.items()
    for exchange in recorded["exchanges"]
]
RANKINGS = [each for each in EXCHANGES if each.values[1]["name"] == "ranking"]
REFUSALS = [each for each in EXCHANGES if each.values[1]["status"] != 200]
ERRORS = {
    400: InvalidRequestError,  # LiteLLM without a database answers it to a wrong key, too
    401: AuthenticationError,
    404: ModelNotFoundError,
    422: InvalidRequestError,
    500: InferenceError,
}


@pytest.fixture
def replay():
    server = ApiServer()

    def client(exchange):
        headers = {name.replace("-", "_"): value for name, value in exchange["headers"].items()}
        kind = headers.pop("content_type")
        server.default = reply(exchange["text"].encode(), exchange["status"], kind=kind, **headers)
        provider = exchange["provider"]
        return Reranker("tiny-ce", provider=provider, base_url=server.url, api_key="sesame-4711", max_retries=0)

    yield client
    server.stop()


def in_order(results, *, logits=False):
    scores = [each.score if hasattr(each, "score") else each.relevance_score for each in by_index(results)]
    return [1 / (1 + math.exp(-score)) if logits else score for score in scores]


def by_index(results):
    return sorted(results, key=lambda each: each.index)


def test_all_servers_are_here():
    assert set(SERVERS) == {"infinity", "litellm", "llamacpp", "vllm"}


@pytest.mark.parametrize(("recorded", "exchange"), RANKINGS)
def test_scores_are_those_of_our_engine_on_the_same_checkpoint(recorded, exchange):
    spoken = dialect(exchange["provider"])
    read = spoken.read_response(json.loads(exchange["text"]))
    assert [item.index for item in by_index(read.results)] == list(range(len(recorded["documents"])))
    found = in_order(read.results, logits=spoken.scores == "logit")
    assert found == pytest.approx(recorded["local_scores"], abs=recorded["tolerance"])
    assert read.tokens > 0
    assert exchange["path"] == spoken.path


@pytest.mark.parametrize(("recorded", "exchange"), RANKINGS)
def test_the_client_ranks_by_them(recorded, exchange, replay):
    with replay(exchange) as reranker:
        found = reranker.rerank(recorded["query"], recorded["documents"])
    assert [item.relevance_score for item in found] == sorted((i.relevance_score for i in found), reverse=True)
    assert in_order(found) == pytest.approx(recorded["local_scores"], abs=recorded["tolerance"])
    assert [item.document.text for item in by_index(found)] == recorded["documents"]


@pytest.mark.parametrize(("recorded", "exchange"), REFUSALS)
def test_the_client_understands_refusals_and_repeats_nothing(recorded, exchange, replay):
    with replay(exchange) as reranker, pytest.raises(RerankError) as caught:
        reranker.rerank(recorded["query"], recorded["documents"])
    assert type(caught.value) is ERRORS[exchange["status"]]
    assert not any(text in str(caught.value) for text in (recorded["query"], "machine", "sesame-4711"))


def test_a_pair_that_llama_cpp_cannot_take_is_said_to_be_too_long(replay):
    recorded = SERVERS["llamacpp"]
    exchange = next(each for each in recorded["exchanges"] if each["name"] == "long document")
    with replay(exchange) as reranker, pytest.raises(InferenceError, match="longer than the model"):
        reranker.rerank(recorded["query"], recorded["documents"])
