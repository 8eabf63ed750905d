"""Clients that nobody here wrote against a server of ours: scores, what they say when refused, when they come back."""

from __future__ import annotations

import asyncio
import gc
import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from loops import GatedScorer
from rerank_core import Reranker
from serving import SPEC_BODY, serving
from third_party import CLIENTS, MODEL, cohere_v1, cohere_v2
from waiting import wait_for

pytestmark = [
    pytest.mark.compat,
    # LiteLLM builds its models with a qualifier that pydantic cannot enforce, and pydantic says so.
    pytest.mark.filterwarnings("ignore:.*is using the `ReadOnly` qualifier:UserWarning:pydantic._internal"),
    # Haystack's Cohere ranker makes a client that nobody can close.
    pytest.mark.filterwarnings("ignore:unclosed (<socket|transport):ResourceWarning"),
]

QUERY, DOCUMENTS = SPEC_BODY["query"], SPEC_BODY["documents"]
BY_NAME = {client.name: client for client in CLIENTS}
each_client = pytest.mark.parametrize("name", BY_NAME)
# It has no way to switch off the Cohere SDK's retries, which wait as long as they are asked to (see the gated test).
each_client_without_retries = pytest.mark.parametrize("name", [name for name in BY_NAME if name != "haystack cohere"])


@pytest.fixture(autouse=True)
def _collected(request):
    """What a client leaves open is found here, under this module's filters, not in somebody else's test."""
    yield
    if "haystack cohere" in request.node.name:
        gc.collect()


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("good\nspent 1\n")
    with serving(api_keys_file=keys, models=(f"{MODEL}=rerank-mini-en-v1",)) as served:
        served.http.headers["authorization"] = "Bearer good"
        yield served


def client(name):
    pytest.importorskip(BY_NAME[name].module)
    return BY_NAME[name]


def native(served):
    """The native scores, in the documents' order."""
    results = served.rerank().json()["results"]
    return [item["relevance_score"] for item in sorted(results, key=lambda item: item["index"])]


def in_order(ranked, *, logits):
    """A client's scores as probabilities, in the documents' order; the client has them best first."""
    assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    assert sorted(index for index, _ in ranked) == list(range(len(DOCUMENTS)))
    return [1 / (1 + math.exp(-score)) if logits else score for _, score in sorted(ranked)]


def refusal(name, url, key, query=QUERY, documents=DOCUMENTS):
    """What the client raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one is what the tests check)
        client(name).call(url, key, query, documents)
    return caught.value


def spend(served):
    """Use up the key that may make one request a minute."""
    key = {"authorization": "Bearer spent"}
    wait_for(lambda: served.http.post("/v1/rerank", json=SPEC_BODY, headers=key).status_code == 429)


@each_client
def test_scores_are_the_native_ones(locked, name):
    tried = client(name)
    ranked = tried.call(locked.url, "good", QUERY, DOCUMENTS)
    assert in_order(ranked, logits=tried.logits) == pytest.approx(native(locked), abs=1e-6)


@pytest.mark.parametrize("name", [each.name for each in CLIENTS if each.acall])
def test_asynchronous_clients_get_the_same(locked, name):
    tried = client(name)
    ranked = asyncio.run(tried.acall(locked.url, "good", QUERY, DOCUMENTS))
    assert in_order(ranked, logits=tried.logits) == pytest.approx(native(locked), abs=1e-6)


@each_client
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"documents": ["x"] * 101}, "Too many documents. Maximum is 100."),
        ({"query": ""}, "Query cannot be empty"),
    ],
    ids=["too many documents", "empty query"],
)
def test_what_is_wrong_with_a_request_is_said(locked, name, asked, message):
    error = refusal(name, locked.url, "good", **asked)
    assert type(error).__name__ == client(name).refused[0]
    assert (message in str(error)) is client(name).says_why


@each_client
def test_a_wrong_key_is_refused(locked, name):
    error = refusal(name, locked.url, "bad")
    assert type(error).__name__ == client(name).refused[1]
    assert ("The API key is not valid." in str(error)) is client(name).says_why


@each_client_without_retries
def test_too_many_requests_are_refused(locked, name):
    spend(locked)
    error = refusal(name, locked.url, "spent")
    assert type(error).__name__ == client(name).refused[2]
    assert ("Too many requests with this API key." in str(error)) is client(name).says_why
    if client(name).retry_after:
        assert 1 <= int(client(name).retry_after(error)) <= 60


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda *asked: cohere_v1(*asked, retries=2), id="cohere v1"),
        pytest.param(lambda *asked: cohere_v2(*asked, retries=2), id="cohere v2"),
        pytest.param(BY_NAME["haystack cohere"].call, id="haystack cohere"),
    ],
)
def test_the_cohere_sdk_comes_back_when_it_was_asked_to(call, request):
    """A full server answers 429 with Retry-After; when there is room by then, the caller notices nothing."""
    pytest.importorskip(BY_NAME[request.node.callspec.id].module)
    scorer = GatedScorer(MODEL)
    with (
        serving(rerankers={MODEL: Reranker(scorer=scorer)}, max_in_flight_requests=1) as served,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(served.rerank)
        wait_for(lambda: scorer.waiting == 1)
        second = pool.submit(call, served.url, "any", QUERY, DOCUMENTS)
        wait_for(lambda: served.metric("rerank_errors_total", code="overloaded") == 1)
        scorer.open.set()
        assert first.result().status_code == 200
        assert in_order(second.result(), logits=False) == native(served)
