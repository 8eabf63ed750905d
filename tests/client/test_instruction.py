"""An instruction goes over a real socket to the model behind our server, in the dialects that have a field for it."""

from __future__ import annotations

import asyncio

import pytest

from rerank_core import InvalidRequestError, Reranker
from rerank_core.scoring import CachedScorer, FakeScorer

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serving import serving

DOCUMENTS = ["sunny weather", "a rainy day"]
PROVIDERS = ("native", "vllm", "vllm-score", "mixedbread", "dashscope", "dashscope-compat")


class Following(FakeScorer):
    def identity_with(self, instruction):
        return f"{self.identity} {instruction}"

    async def ascore(self, query, texts, *, instruction=None):
        return await super().ascore(instruction or query, texts)


@pytest.fixture(scope="module")
def served():
    rerankers = {"m": Reranker(scorer=CachedScorer(Following("m"))), "deaf": Reranker(scorer=FakeScorer("deaf"))}
    with serving(rerankers=rerankers) as server:
        yield server


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_model_is_told_it(served, provider):
    async def both():
        async with Reranker("m", provider=provider, base_url=served.url, api_key="k") as reranker:
            return (
                reranker.rerank("rainy", DOCUMENTS)[0].text,
                reranker.rerank("rainy", DOCUMENTS, instruction="sunny")[0].text,
                (await reranker.arerank("rainy", DOCUMENTS, instruction="sunny"))[0].text,
                reranker.rerank("rainy", DOCUMENTS, instruction="")[0].text,
            )

    assert asyncio.run(both()) == ("a rainy day", "sunny weather", "sunny weather", "a rainy day")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_model_that_takes_none_says_so(served, provider):
    with (
        Reranker("deaf", provider=provider, base_url=served.url, api_key="k") as reranker,
        pytest.raises(InvalidRequestError) as caught,
    ):
        reranker.rerank("rainy", DOCUMENTS, instruction="sunny")
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
