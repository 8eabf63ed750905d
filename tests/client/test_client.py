"""What the client sends, over real sockets: addresses, headers, splitting, limits, other dialects."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from apiserver import answering, ranking, reply, tei
from rerank_core import InvalidRequestError, Reranker, __version__
from rerank_core.events import Scored, Truncated
from rerank_core.ranking import sigmoid
from rerank_core.wire.registry import CLIENT_DIALECTS
from waiting import BOUND

DOCUMENTS = ["5 five", "9 nine", "7 seven"]


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/rerank", "/rerank"])
def test_root_root_with_version_and_endpoint_all_work(ask, server, ending):
    assert [result.index for result in ask(DOCUMENTS, base_url=server.url + ending)] == [1, 2, 0]
    assert server.requests[0].target == ("/rerank" if ending == "/rerank" else "/v1/rerank")


def test_query_strings_are_sent_and_not_shown(ask, server):
    server.default = reply({}, 400)
    with pytest.raises(InvalidRequestError) as caught:
        ask(DOCUMENTS, base_url=f"{server.url}/v1?api-version=2026&tenant=hush")
    assert server.requests[0].target == "/v1/rerank?api-version=2026&tenant=hush"
    assert f"{server.url}/v1/rerank answered" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_what_is_sent(ask, server):
    ask(["a \u00e9 \ud800", "b"], query="q \u4e2d", api_key=" key\n")
    (request,) = server.requests
    assert request.method == "POST"
    assert request.json == {
        "model": "m", "query": "q \u4e2d", "documents": ["a \u00e9 \ufffd", "b"], "return_documents": False
    }  # fmt: skip
    assert request.headers["authorization"] == "Bearer key"
    assert request.headers["user-agent"] == f"rerank-plugins/{__version__}"
    assert request.headers["content-type"] == request.headers["accept"] == "application/json"
    assert len(request.headers["x-request-id"]) == 32


def test_limit_and_threshold_are_applied_here_so_that_all_scores_come_back(server):
    with Reranker("m", base_url=server.url) as reranker:
        response = reranker.rerank("q", DOCUMENTS, top_n=1)
    assert [result.index for result in response] == [1]
    assert "top_n" not in server.requests[0].json


def test_what_the_server_tells_reaches_the_response(ask, server):
    events = []
    server.default = answering(lambda body: {**body, "model": "BAAI/big", "meta": {"truncated_documents": [2, 9, "x"]}})
    response = ask(DOCUMENTS, hooks=[events.append])
    assert response.model == "BAAI/big"
    assert response.usage.total_tokens == 6
    assert {result.index: result.truncated for result in response} == {0: False, 1: False, 2: True}
    assert response.timings.inference > 0
    assert events[0] == Truncated("BAAI/big", 1, query=False, max_tokens=0)
    assert (events[1].model, events[1].documents, events[1].tokens) == ("BAAI/big", 3, 6)
    assert isinstance(events[1], Scored)


def test_equal_texts_are_sent_once(ask, server):
    assert len(ask(["a", "b", "a", "a"])) == 4
    assert server.requests[0].documents == ["a", "b"]


def test_no_documents_no_request(ask, server):
    assert len(ask([])) == 0
    assert server.requests == []


def test_the_answer_of_many_requests_is_that_of_one(ask, server):
    documents = [f"{i * 37 % 250} text" for i in range(250)]
    split = ask(documents)
    assert len(server.requests) == 3
    whole = ask(documents, provider="cohere", base_url=server.url, model="m")
    assert len(server.requests) == 4
    assert split.results == whole.results


def test_long_texts_are_split_by_size(ask, server):
    documents = [f"{i} " + "\u00e9" * 450_000 for i in range(10)]
    assert [result.index for result in ask(documents)] == list(range(9, -1, -1))
    assert sorted(len(request.documents) for request in server.requests) == [2, 4, 4]


@pytest.mark.parametrize("trouble", [reply({}, 413), reply({"error": {"message": "Too many documents"}}, 400)])
def test_what_is_too_much_is_halved(ask, server, trouble):
    server.then(trouble, trouble)
    documents = [f"{i} text" for i in range(100)]
    assert [result.index for result in ask(documents)] == list(range(99, -1, -1))
    assert len(server.requests[0].documents) == 100
    assert sum(len(request.documents) for request in server.requests[2:]) in (100, 150)


def test_what_cannot_be_halved_any_more_is_an_error(ask, server):
    server.default = reply({"error": {"message": "m", "code": "payload_too_large"}}, 413)
    with pytest.raises(InvalidRequestError) as caught:
        ask(DOCUMENTS)
    assert (caught.value.code, caught.value.status) == ("payload_too_large", 413)
    assert len(server.requests) <= 5


# TEI


@pytest.mark.parametrize("limit", [7, 32, 64])
def test_teis_limit_is_asked_for_once(server, limit):
    server.default = tei(limit)
    documents = [f"{i} text" for i in range(100)]
    with Reranker(provider="tei", base_url=server.url) as reranker:
        assert reranker.model == "tei"
        for _ in range(2):
            assert [result.index for result in reranker.rerank("q", documents)] == list(range(99, -1, -1))
        assert len(asyncio.run(reranker.arerank("q", documents))) == 100
    assert [request.target for request in server.requests if request.method == "GET"] == ["/info"]
    assert max(len(request.documents) for request in server.requests[1:]) == limit


@pytest.mark.parametrize("refusal", [413, 422])
def test_a_tei_that_does_not_tell_is_halved_until_it_takes_it(ask, server, refusal):
    server.default = tei(5, tell=False, refusal=refusal)
    documents = [f"{i} text" for i in range(70)]
    reranker = Reranker(provider="tei", base_url=f"{server.url}/prefix")
    assert [result.index for result in ask(documents, reranker=reranker)] == list(range(69, -1, -1))
    assert {request.target for request in server.requests} == {"/prefix/rerank", "/prefix/info"}


def test_a_broken_info_is_no_obstacle(ask, server):
    server.then(reply(b"<html>", kind="text/html"))
    server.default = tei(32)
    reranker = Reranker(provider="tei", base_url=server.url)
    assert len(ask([f"{i} text" for i in range(40)], reranker=reranker)) == 40


def test_warming_up_reads_the_limit_and_scores_nothing(server):
    server.default = tei(9)
    with Reranker(provider="tei", base_url=server.url) as reranker:
        reranker.warm_up()
        reranker.rerank("q", DOCUMENTS)
    assert [request.method for request in server.requests] == ["GET", "POST"]
    with Reranker("m", base_url=server.url) as reranker:
        reranker.warm_up()
    assert len(server.requests) == 2


# Facts of dialects


def test_list_wise_models_are_not_split(ask, server):
    with pytest.raises(InvalidRequestError, match="compares the documents of a request") as caught:
        ask([f"{i} " + "x" * 50_000 for i in range(100)], provider="jina", model="jina-reranker-v3", api_key="k")
    assert caught.value.code == "too_many_documents"
    assert server.requests == []
    server.default = reply({"detail": "Too many documents"}, 422)
    with pytest.raises(InvalidRequestError, match="compares the documents"):
        ask(DOCUMENTS, provider="jina", model="jina-reranker-v3", api_key="k")


def test_empty_texts_that_a_service_refuses_are_not_sent(ask, server):
    server.default = answering(lambda body: {"data": body["results"], "usage": {"total_tokens": 3}})
    response = ask(["", "5 a", " ", "7 b"], provider="voyage", api_key="k")
    assert server.requests[0].documents == ["5 a", " ", "7 b"]
    assert [(result.index, result.truncated) for result in response][-1] == (0, True)
    assert response[-1].relevance_score == 0.0
    assert [result.truncated for result in response[:-1]] == [False] * 3
    assert not response.degraded


def test_nothing_but_empty_texts_needs_no_request(ask, server):
    response = ask(["", ""], provider="voyage", api_key="k")
    assert [result.relevance_score for result in response] == [0.0, 0.0]
    assert server.requests == []


def test_logits_become_probabilities(ask, server):
    logits = {"5 five": -3.5, "9 nine": 12.0, "7 seven": 0.0}
    server.default = lambda request, connection: reply({"results": ranking(request.documents, logits.get)})(
        request, connection
    )
    response = ask(DOCUMENTS, provider="llamacpp")
    assert [(result.index, result.logit) for result in response] == [(1, 12.0), (2, 0.0), (0, -3.5)]
    assert all(result.relevance_score == sigmoid(result.logit) for result in response)


def test_rounding_beyond_one_is_no_logit(ask, server):
    server.default = reply({"results": [{"index": 0, "relevance_score": 1.0000001}]})
    assert ask(["a"])[0].relevance_score == 1.0


@pytest.mark.parametrize("provider", sorted(CLIENT_DIALECTS))
def test_every_dialect_can_be_asked(server, provider):
    """Which shape comes back is the dialects' own business, tested with them; here each gets a request out."""
    server.default = reply({}, 400)
    model = None if provider == "tei" else "a/b"
    with (
        Reranker(model, provider=provider, base_url=server.url, api_key="k") as reranker,
        pytest.raises(InvalidRequestError),
    ):
        reranker.rerank("q", DOCUMENTS)
    request = server.requests[-1]
    assert request.method == "POST"
    assert "k" in " ".join(request.headers.values()).split()
    assert all(json.dumps(text) in request.body.decode() for text in DOCUMENTS)


# httpx clients of one's own, proxies


def test_a_client_of_ones_own_is_used_and_not_closed(server):
    with httpx.Client(timeout=BOUND, headers={"x-mine": "1"}) as client:
        with Reranker("m", base_url=server.url, http_client=client) as reranker:
            reranker.rerank("q", DOCUMENTS)
            with pytest.raises(InvalidRequestError, match="AsyncClient"):
                asyncio.run(reranker.arerank("q", DOCUMENTS))
        assert not client.is_closed
    assert server.requests[0].headers["x-mine"] == "1"


def test_an_async_client_of_ones_own_is_used_and_not_closed(server):
    async def main():
        async with httpx.AsyncClient(timeout=BOUND, headers={"x-mine": "1"}) as client:
            async with Reranker("m", base_url=server.url, http_client=client) as reranker:
                reranker.warm_up()
                await reranker.arerank("q", DOCUMENTS)
                with pytest.raises(InvalidRequestError, match=r"httpx\.Client for the other"):
                    reranker.rerank("q", DOCUMENTS)
            assert not client.is_closed

    asyncio.run(main())
    assert server.requests[0].headers["x-mine"] == "1"


def test_a_clients_own_read_timeout_is_tried_again_once(server):
    server.default = answering(delay=0.5)
    with (
        httpx.Client(timeout=httpx.Timeout(20, read=0.05)) as client,
        pytest.raises(TimeoutError, match="read timeout"),
    ):
        Reranker("m", base_url=server.url, http_client=client, max_retries=9).rerank("q", DOCUMENTS)
    assert len(server.requests) == 2


def test_a_mock_transport_is_enough_to_test_with():
    def handle(request):
        count = len(json.loads(request.content)["documents"])
        return httpx.Response(200, json={"results": [{"index": i, "relevance_score": i / 10} for i in range(count)]})

    with httpx.Client(transport=httpx.MockTransport(handle)) as client:
        reranker = Reranker("m", provider="assisters", api_key="k", http_client=client)
        assert [result.index for result in reranker.rerank("q", DOCUMENTS)] == [2, 1, 0]


def test_this_machine_is_not_reached_through_a_proxy(ask, server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(ask(DOCUMENTS)) == 3


def test_other_hosts_are_reached_through_a_proxy(ask, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(ask(DOCUMENTS, base_url="http://rerank.example")) == 3
    assert server.requests[0].target == "http://rerank.example/v1/rerank"
