"""The rerank API in memory, with our server behind it and without."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import httpx
import pytest

from fresh import fresh
from rerank_core import (
    InferenceError,
    ModelNotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    Reranker,
    TimeoutError,  # noqa: A004  (ours)
)
from rerank_core.scoring import ApiOptions, ApiScorer
from rerank_core.testing import ApiTransport, FakeScorer, api_transport
from rerank_core.testing.transport import _NativeService, _ServerService
from waiting import BOUND, wait_for

JSON = {"content-type": "application/json"}
BASE = "http://rerank.test"
DOCUMENTS = ["c", "a b", "a", "a b"]


def server(engine, model="fake"):
    pytest.importorskip("fastapi")
    transport = api_transport(engine)
    assert isinstance(transport._service, _ServerService)
    return transport


def native(engine, model="fake"):
    return ApiTransport(_NativeService(engine if isinstance(engine, Reranker) else Reranker(scorer=engine), model))


kinds = pytest.mark.parametrize("make", [server, native])
both = pytest.mark.parametrize("mode", ["sync", "async"])


def rank(transport, mode, *, model="fake", documents=DOCUMENTS, base=BASE, **options):
    options = {"base_url": base, "max_retries": 0, "timeout": BOUND, **options}
    if mode == "sync":
        with httpx.Client(transport=transport) as client:
            return Reranker(model, http_client=client, **options).rerank("a b", documents, top_n=3)

    async def main():
        async with httpx.AsyncClient(transport=transport) as client:
            return await Reranker(model, http_client=client, **options).arerank("a b", documents, top_n=3)

    return asyncio.run(main())


def shown(response):
    return [(result.index, pytest.approx(result.relevance_score, abs=1e-12)) for result in response]


@kinds
@both
def test_the_answer_is_the_one_of_this_process(make, mode):
    fake = FakeScorer()
    expected = Reranker(scorer=FakeScorer()).rerank("a b", DOCUMENTS, top_n=3)
    assert shown(rank(make(Reranker(scorer=fake)), mode)) == shown(expected)
    assert fake.calls == [("a b", ("c", "a b", "a"))]


@both
def test_all_dialects_are_there_with_the_server(mode):
    assert rank(server(FakeScorer()), mode, provider="tei", model=None)[0].index == 1
    assert rank(server(FakeScorer()), mode, provider="cohere", api_key="k")[0].index == 1


@kinds
@both
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InferenceError("broken"), InferenceError),
        (RateLimitError("slow down", retry_after=1), RateLimitError),
        (OverloadedError("full"), OverloadedError),
    ],
)
def test_errors_come_back_as_what_they_are(make, mode, error, kind):
    with pytest.raises(kind):
        rank(make(FakeScorer(error=error)), mode)


@kinds
@both
def test_unknown_models_and_wrong_requests_are_refused(make, mode):
    with pytest.raises(ModelNotFoundError):
        rank(make(FakeScorer()), mode, model="other")
    with pytest.raises(ProtocolError, match="no rerank API"):
        rank(make(FakeScorer()), mode, base=f"{BASE}/nowhere")


@kinds
def test_the_same_is_said_of_wrong_requests(make):
    with httpx.Client(transport=make(FakeScorer()), base_url=BASE) as client:
        body = {"model": "fake", "query": "a", "documents": ["a"]}
        seen = [
            client.post("/v1/rerank", json=each)
            for each in (body, {**body, "query": " "}, {**body, "documents": []}, {**body, "documents": ["a"] * 101})
        ]
        assert [each.status_code for each in seen] == [200, 400, 400, 400]
        assert [each.json()["error"]["code"] for each in seen[1:]] == [
            "empty_query", "empty_documents", "too_many_documents",
        ]  # fmt: skip
        assert seen[0].json()["results"][0]["document"] == {"text": "a"}
        assert client.post("/v1/rerank", content=b"{", headers=JSON).json()["error"]["code"] == "invalid_json"
        assert client.get("/v1/rerank").status_code == 405
        assert client.post("/v1/nothing", json=body).status_code == 404


@both
def test_a_client_that_waits_no_longer_gets_its_timeout(mode):
    released = threading.Event()

    class Held(FakeScorer):
        async def ascore(self, query, texts):
            while not released.is_set():
                await asyncio.sleep(0)
            return await super().ascore(query, texts)

    transport = server(Held())
    with pytest.raises(TimeoutError):
        rank(transport, mode, timeout=0.3)
    released.set()
    assert rank(transport, mode)[0].index == 1


def test_one_transport_serves_many_clients_of_both_kinds_and_starts_again():
    transport = server(FakeScorer())
    assert [rank(transport, mode)[0].index for mode in ("sync", "async", "sync")] == [1] * 3  # closed each time
    with httpx.Client(transport=transport) as client:
        reranker = Reranker("fake", base_url=BASE, http_client=client)
        answers = reranker.rerank_many([("a b", DOCUMENTS)] * 20)
        assert [each[0].index for each in answers] == [1] * 20


def test_nothing_stays_behind(recwarn):
    transport = server(FakeScorer())
    client = httpx.Client(transport=transport)
    assert client.get(f"{BASE}/health").status_code == 200
    loop, gone = transport._service._loop, weakref.ref(transport)
    del transport, client
    gc.collect()
    assert gone() is None
    wait_for(loop.is_closed)
    wait_for(lambda: not any(each.name.startswith("rerank-transport") for each in threading.enumerate()))
    assert not recwarn.list


def test_the_environment_of_the_machine_decides_nothing(monkeypatch):
    monkeypatch.setenv("RERANK_API_KEYS", "secret")
    monkeypatch.setenv("RERANK_MAX_DOCUMENTS", "1")
    assert rank(server(FakeScorer()), "sync")[0].index == 1


def test_it_is_served_under_any_name():
    transport = api_transport(FakeScorer(), model="owner/name=1")
    assert rank(transport, "sync", model="owner/name=1").model == "owner/name=1"


def test_without_the_extra_the_native_dialect_is_spoken():
    code = """
import httpx
from rerank_core import Reranker
from rerank_core.testing import FakeScorer, api_transport
with httpx.Client(transport=api_transport(FakeScorer())) as client:
    print(Reranker("fake", base_url="http://rerank.test", http_client=client).rerank("a b", ["c", "a b"])[0].text)
"""
    assert fresh(code, without=["fastapi", "uvicorn", "starlette"]) == "a b\n"


def test_a_scorer_behind_it_keeps_its_answers_in_both_worlds():
    transport = server(FakeScorer())
    options = ApiOptions(BASE, http_client=httpx.Client(transport=transport))
    texts = ["x", "a b", "", "a"]
    over_http = ApiScorer("fake", options=options).score("a b", texts).items
    here = FakeScorer().score("a b", texts).items
    assert [each.relevance_score for each in over_http] == pytest.approx([each.relevance_score for each in here])
    options.http_client.close()
