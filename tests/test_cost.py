"""What a call costs: known exactly, or not at all, and never 0 by omission."""

from __future__ import annotations

import pytest

from apiserver import ApiServer, ranking, reply
from rerank_core import InvalidRequestError, Reranker, RerankResponse
from rerank_core.errors import OverloadedError
from rerank_core.scoring import CachedScorer, CascadeScorer, FakeScorer, FallbackScorer, LocalScorer

QUERY, TEXTS = "capital of France", ["Paris is the capital of France.", "Berlin is big."]
PRICE = "price_per_million_tokens"


def usage(scorer=None, price=2.0, **options):
    return Reranker(scorer=scorer or FakeScorer(), price_per_million_tokens=price, **options).rerank(QUERY, TEXTS).usage


@pytest.fixture
def server():
    server = ApiServer()
    yield server
    server.stop()


def served(server, provider, *, price=None, **body):
    """The usage of a call to a server whose replies have ``body`` beside the results."""
    server.default = reply({"id": "rerank-1", "model": "m", "results": ranking(TEXTS), **body})
    options = {} if price is None else {PRICE: price}
    with Reranker("m", provider=provider, base_url=server.url, api_key="key", **options) as reranker:
        return reranker.rerank(QUERY, TEXTS).usage


def test_the_cost_is_tokens_times_price():
    paid = usage()
    assert paid.total_tokens > 0
    assert paid.cost == paid.total_tokens * 2.0 / 1_000_000


def test_a_model_in_this_process():
    with Reranker("rerank-tiny-en-v1", price_per_million_tokens=3) as reranker:
        paid = reranker.rerank(QUERY, TEXTS).usage
        assert reranker.score(QUERY, TEXTS)
    assert paid.cost == pytest.approx(paid.total_tokens * 3e-6)


def test_without_a_price_nothing_is_known_and_a_price_of_nothing_is_nothing():
    assert usage(price=None).cost is None
    assert usage(price=0).cost == 0.0


def test_what_a_cache_knows_costs_nothing():
    scorer = CachedScorer(FakeScorer())
    assert usage(scorer).cost > 0
    assert usage(scorer).cost == 0.0


def test_a_fallback_has_another_price():
    broken = FakeScorer(error=OverloadedError("full"))
    assert usage(FallbackScorer([broken, FakeScorer("other")])).cost is None
    assert usage(broken, on_failure="keep_order").cost is None


def test_highlights_are_paid_for():
    with_them = usage(highlights=1)
    assert with_them.total_tokens > usage().total_tokens
    assert with_them.cost == pytest.approx(with_them.total_tokens * 2e-6)


def test_what_a_budget_leaves_is_not_paid_for():
    reranker = Reranker(scorer=FakeScorer(), price_per_million_tokens=2.0, max_latency=1e-9)
    reranker.warm_up()
    paid = reranker.rerank(QUERY, TEXTS)
    assert paid.unscored == 1
    assert 0 < paid.usage.cost < usage().cost


def test_a_server_that_reports_tokens_and_one_that_does_not(server):
    assert served(server, "native", price=10.0, usage={"total_tokens": 7}).cost == pytest.approx(7e-5)
    assert served(server, "native", price=10.0).cost is None


def test_searches_are_billed_as_searches(server):
    body = {"meta": {"billed_units": {"search_units": 3}}}
    assert served(server, "cohere", **body).search_units == 3
    assert served(server, "cohere").search_units is None
    assert served(server, "cohere", price=10.0, **body).cost is None
    assert served(server, "pinecone", usage={"rerank_units": 1}).search_units == 1
    assert served(server, "native", **body).search_units is None  # said for the sake of Cohere's clients


@pytest.mark.parametrize("units", [-1, 2.5, "3", True, None])
def test_odd_search_units_are_not_known(server, units):
    assert served(server, "cohere", meta={"billed_units": {"search_units": units}}).search_units is None


@pytest.mark.parametrize("provider", ["cohere", "cohere-v1", "pinecone"])
def test_a_token_price_is_refused_where_searches_are_billed(provider):
    with pytest.raises(InvalidRequestError, match="bills per search") as caught:
        Reranker("m", provider=provider, api_key="key", price_per_million_tokens=1.0)
    assert caught.value.param == PRICE


def test_a_cascade_adds_up():
    one = LocalScorer("rerank-tiny-en-v1")
    both = usage(CascadeScorer(FakeScorer(), one, keep=1))
    assert both.total_tokens > usage().total_tokens
    assert both.search_units is None


def test_the_cost_survives_a_round_trip():
    response = Reranker(scorer=FakeScorer(), price_per_million_tokens=2.0).rerank(QUERY, TEXTS)
    assert RerankResponse.from_dict(response.to_dict()) == response


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "cheap", True])
def test_a_price_that_is_none(wrong):
    with pytest.raises(InvalidRequestError, match=f"{PRICE} must be dollars"):
        Reranker(price_per_million_tokens=wrong)
