"""Our client and our server, over a real socket, in every dialect that both speak."""

from __future__ import annotations

import asyncio

import pytest

from rerank_core import AuthenticationError, ModelNotFoundError, Reranker
from rerank_core.scoring import ApiOptions, ApiScorer, CachedScorer, FakeScorer
from rerank_core.testing import assert_scorer_contract

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serving import serving

DIALECTS = {
    "native": "", "assisters": "", "cohere": "", "cohere-v1": "/v1", "jina": "/v1/rerank", "tei": "", "vllm": "",
    "vllm-score": "",
    "litellm": "", "siliconflow": "", "xinference": "", "mixedbread": "", "nim": "", "dashscope": "",
    "dashscope-compat": "", "voyage": "/voyage", "infinity": "/infinity", "pinecone": "/pinecone",
}  # fmt: skip
DOCUMENTS = [f"{word} text number {i}" for i, word in enumerate(["cats", "purring cats", "dogs", "rust"] * 60)]
QUERY = "purring cats"


@pytest.fixture(scope="module")
def served():
    with serving(rerankers={"m": Reranker(scorer=FakeScorer("m"))}) as server:
        yield server


@pytest.mark.parametrize(("provider", "place"), DIALECTS.items())
def test_the_answer_is_the_one_of_this_process(served, provider, place):
    expected = Reranker(scorer=FakeScorer("m")).rerank(QUERY, DOCUMENTS)

    async def both():
        async with Reranker("m", provider=provider, base_url=served.url + place, api_key="k") as reranker:
            return reranker.rerank(QUERY, DOCUMENTS), await reranker.arerank(QUERY, DOCUMENTS)

    for response in asyncio.run(both()):
        assert [result.index for result in response] == [result.index for result in expected]
        assert [result.relevance_score for result in response] == pytest.approx(
            [result.relevance_score for result in expected], abs=1e-12
        )


@pytest.mark.parametrize("provider", ["native", "tei", "cohere"])
def test_a_scorer_over_http_keeps_the_contract(served, provider):
    assert_scorer_contract(ApiScorer("m", provider, ApiOptions(served.url, "k")))
    assert_scorer_contract(CachedScorer(ApiScorer("m", provider, ApiOptions(served.url, "k"))))


def test_an_unknown_model_and_a_wrong_key_are_what_they_are(served):
    with Reranker("nope", base_url=served.url) as reranker, pytest.raises(ModelNotFoundError, match="'nope'"):
        reranker.rerank(QUERY, DOCUMENTS)
    with (
        serving(rerankers={"m": Reranker(scorer=FakeScorer("m"))}, api_keys=("right",)) as guarded,
        Reranker("m", base_url=guarded.url, api_key="wrong") as reranker,
        pytest.raises(AuthenticationError, match="refused the API key"),
    ):
        reranker.rerank(QUERY, DOCUMENTS)
