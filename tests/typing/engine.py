"""What type checkers accept and refuse of the engine's users: `make types` reads this; nothing runs it."""

import asyncio
from pathlib import Path
from typing import assert_type

import httpx
from pydantic import SecretStr

from rerank_core import (
    Document,
    Highlight,
    Packed,
    Reranker,
    RerankError,
    RerankResponse,
    RerankResult,
    fuse_lists,
    pack,
)
from rerank_core import TimeoutError as RerankTimeoutError
from rerank_core.evaluation import Evaluation, LabelledData, evaluate
from rerank_core.events import DEFAULT_HOOKS, Degraded, Event
from rerank_core.models import DEFAULT_MODEL, REGISTRY, ModelSpec
from rerank_core.scoring import (
    ApiOptions,
    CachedScorer,
    CascadeScorer,
    FallbackScorer,
    LocalOptions,
    LocalScorer,
    Scorer,
)
from rerank_core.server import ServerSettings, create_app
from rerank_core.testing import FakeScorer, api_transport, assert_scorer_contract

reranker = Reranker()
response = reranker.rerank("a query", ["a text", {"text": "another", "id": 17}, Document("a third")], top_n=2)
assert_type(response, RerankResponse)
assert_type(response[0], RerankResult)
assert_type(response[0].relevance_score, float)
assert_type(response.to_json(), str)
assert_type([result.text for result in response], list[str])
assert_type(reranker.score("a query", ["a text"]), list[float])
questions: list[tuple[str, list[str]]] = [("a query", ["a text"])]
assert_type(reranker.rerank_many(iter(questions)), list[RerankResponse])
assert_type(reranker.scorer, Scorer)
reranker.rerank("a query", ["a text", "another"], retrieval_scores=[0.5, None])
fused: list[tuple[str, list[str], list[float]]] = [("a query", ["a text"], [0.5])]
assert_type(reranker.rerank_many(fused), list[RerankResponse])
reranker.rerank("a query", ["a text"], retrieval_scores=["0.5"])  # type: ignore[list-item]
reranker.rerank("a query", [1, 2])  # type: ignore[list-item]
reranker.rerank(["a query"], ["a text"])  # type: ignore[arg-type]
reranker.rerank("a query", ["a text"], 3)  # type: ignore[call-arg]
reranker.rerank("a query", ["a text"], top_k=3)  # type: ignore[call-arg]
reranker.rerank("a query", ["a text"], top_n="3")  # type: ignore[arg-type]
response[0].rank = 1  # type: ignore[misc]

Reranker(Path("model"), api_key="k")
Reranker("m", provider="cohere", api_key=SecretStr("k"), on_failure="keep_order")
Reranker("m", base_url="http://localhost:8000", timeout=10, max_retries=0, http_client=httpx.Client(timeout=9))
Reranker(long_documents="windows", backend="onnx", dtype="int8", calibration="scores.json")
Reranker(scorer=FallbackScorer([FakeScorer("far", error=RerankTimeoutError("late")), CachedScorer(LocalScorer())]))
Reranker(scorer=CascadeScorer(LocalScorer("rerank-tiny-en-v1"), LocalScorer(), keep=10))
Reranker(fusion=0.5)
Reranker(fusion="rrf")
Reranker(fusion=[0.5])  # type: ignore[arg-type]
Reranker(scorer="rerank-mini-en-v1")  # type: ignore[arg-type]
Reranker(long_documents="cut")  # type: ignore[arg-type]
Reranker(backend="tensorflow")  # type: ignore[arg-type]
Reranker(dtype="int4")  # type: ignore[arg-type]
Reranker(on_failure="ignore")  # type: ignore[arg-type]
Reranker(max_retries="two")  # type: ignore[arg-type]
Reranker(max_tokens="many")  # type: ignore[arg-type]
Reranker(3)  # type: ignore[arg-type]
Reranker(devise="cpu")  # type: ignore[call-arg]

ApiOptions("http://localhost", SecretStr("k"), timeout=3.0)
ApiOptions("http://localhost", "k", "p")  # type: ignore[call-arg]
LocalOptions(long_documents="windows", dtype="int8", prompt="")
LocalOptions(dtype="int4")  # type: ignore[arg-type]


def hook(event: Event) -> None:
    if isinstance(event, Degraded):
        assert_type(event.code, str)


Reranker(hooks=(*DEFAULT_HOOKS, hook))
Reranker(hooks=(print, 3))  # type: ignore[arg-type]


async def search() -> None:
    async with Reranker() as asynchronous:
        assert_type(await asynchronous.arerank("a query", ["a text"]), RerankResponse)
        assert_type(await asynchronous.ascore("a query", ["a text"]), list[float])
        assert_type(await asynchronous.arerank_many(questions), list[RerankResponse])


asyncio.run(search())
error: RerankError = RerankTimeoutError("late", retry_after=3.0)
assert_type(error.transient, bool)
assert_type(REGISTRY[DEFAULT_MODEL], ModelSpec)

assert_scorer_contract(FakeScorer())
httpx.Client(transport=api_transport(FakeScorer()))
create_app(ServerSettings(max_documents=200, request_timeout=10), rerankers={"cached": reranker})
create_app(rerankers=[reranker])  # type: ignore[arg-type]
mine = LabelledData("mine", queries={"q": "?"}, documents={"d": "text"}, judgments={"q": {"d": 1}})
assert_type(evaluate(mine, {"mini": reranker.scorer}), Evaluation)
evaluate(mine, {"mini": reranker})  # type: ignore[dict-item]

Reranker(fusion="calibrated", calibration="scores.json", diversify=0.7, max_per_source=2, source_field="file")
marked = Reranker(highlights=2).rerank("q", ["a"])
assert_type(marked[0].highlights, tuple[Highlight, ...])
packed = pack(marked, max_tokens=100, order="ends", pieces="passages", tokenizer=len)
assert_type(packed, Packed)
assert_type(packed.pieces[0].text, str)
pack(marked[:2], max_tokens=100, order="best")  # type: ignore[arg-type]
one_list: list[tuple[str, float]] = fuse_lists(
    [[("a", 1.0), ("b", None)], [("b", 2)]], method="weighted", weights=[1, 2]
)
