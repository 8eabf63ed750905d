"""An answer that a server marks as not its model's is marked so at the client."""

from __future__ import annotations

import httpx
import pytest

from apiserver import ApiServer, reply
from rerank_core import Reranker
from rerank_core.errors import OverloadedError
from rerank_core.events import Degraded
from rerank_core.scoring import ApiOptions, ApiScorer, CachedScorer, FakeScorer
from rerank_core.testing import api_transport

QUERY, TEXTS = "a", ["a", "b", "c"]


@pytest.fixture
def server():
    server = ApiServer()
    yield server
    server.stop()


def answer(server, scores, **headers):
    results = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
    server.default = reply({"id": "rerank-1", "model": "m", "results": results}, **headers)
    events = []
    with Reranker("m", base_url=server.url, hooks=[events.append]) as reranker:
        response = reranker.rerank(QUERY, TEXTS, score_threshold=0.5)
    assert [event.code for event in events if isinstance(event, Degraded)] == ["server_degraded"] * response.degraded
    return response


@pytest.mark.parametrize("header", [{}, {"x_degraded": "false"}, {"x_degraded": ""}])
def test_an_answer_of_the_model_is_one(server, header):
    response = answer(server, [0.9, 0.8, 0.0], x_unscored_documents="1", **header)
    assert not response.degraded
    assert [result.index for result in response] == [0, 1]


def test_an_order_that_was_kept_is_degraded_and_no_threshold_applies(server):
    response = answer(server, [0.0, 0.0, 0.0], x_degraded="true", x_unscored_documents="3")
    assert [result.index for result in response] == [0, 1, 2]
    assert (response.degraded, response.unscored) == (True, 3)


def test_what_was_left_is_told_from_what_was_scored(server):
    response = answer(server, [0.9, 0.6, 0.0], x_degraded="True", x_unscored_documents="1")
    assert [result.degraded for result in response] == [False, False, True]
    assert response.unscored == 1


@pytest.mark.parametrize("count", ["0", "2", "many", "-1"])
def test_a_number_that_does_not_fit_makes_all_of_it_degraded(server, count):
    response = answer(server, [0.9, 0.6, 0.0], x_degraded="true", x_unscored_documents=count)
    assert all(result.degraded for result in response)
    assert len(response) == 2


def test_a_cache_keeps_none_of_it(server):
    results = [{"index": index, "relevance_score": 0.9} for index in range(3)]
    server.default = reply({"id": "rerank-1", "model": "m", "results": results}, x_degraded="true")
    store = {}
    with Reranker(scorer=CachedScorer(ApiScorer("m", options=ApiOptions(server.url)), store)) as reranker:
        assert reranker.rerank(QUERY, TEXTS).degraded
    assert store == {}


def over_http(engine):
    with httpx.Client(transport=api_transport(engine, model="m")) as client:
        return Reranker("m", base_url="http://rerank.test", http_client=client).rerank(
            QUERY, TEXTS, score_threshold=0.5
        )


def test_our_server_and_our_client():
    failing = FakeScorer(error=OverloadedError("full"))
    response = over_http(Reranker(scorer=failing, on_failure="keep_order"))
    assert [result.index for result in response] == [0, 1, 2]
    assert (response.degraded, response.unscored) == (True, 3)


def test_a_budget_of_our_server_is_known_to_our_client():
    engine = Reranker(scorer=FakeScorer(), max_latency=1e-9)
    engine.warm_up()
    response = over_http(engine)
    assert (response.degraded, response.unscored) == (True, 2)
