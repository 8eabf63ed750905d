from __future__ import annotations

import asyncio

import pytest

from apiserver import ApiServer
from rerank_core import Reranker
from rerank_core.client import retry
from waiting import BOUND


@pytest.fixture
def server():
    """A server that answers rightly until asked otherwise."""
    server = ApiServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch):
    monkeypatch.setattr(retry, "full_jitter", lambda _retry: 0.001)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("ASSISTERS_API_KEY", "COHERE_API_KEY", "VOYAGE_API_KEY", "TEI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["sync", "async"])
def ask(request, server):
    """``ask(documents, **options)`` ranks through the server, the way the test's parameter says, and closes."""

    def call(documents, *, query="q", reranker=None, **options):
        if reranker is None:
            reranker = Reranker(**{"model": "m", "base_url": server.url, "timeout": BOUND, **options})
        if request.param == "sync":
            with reranker:
                return reranker.rerank(query, documents)

        async def main():
            async with reranker:
                return await reranker.arerank(query, documents)

        return asyncio.run(main())

    call.mode = request.param
    return call
