"""One request through a model: a ranking per query it holds, put together as one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from rerank_core.reranker import Reranker
from rerank_core.results import RerankResponse, RerankResult, Timings, raw_scores
from rerank_core.wire.messages import WireRequest, WireResponse, WireResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request.

    Attributes:
        response: the answer, for any dialect to write: best first, or in the order of the texts where there were
            several queries. Texts that were cut are named also where they are not among the results.
        timings: seconds; of several rankings the sums, of their ``total`` the longest.
        degraded: whether documents kept their order because the model was not loaded yet, or had no time for them.
        unscored: how many.
        cost: dollars; None where they are not known.
    """

    response: WireResponse
    timings: Timings
    degraded: bool = False
    unscored: int = 0
    cost: float | None = None


async def rank(reranker: Reranker, request: WireRequest, model: str) -> Outcome:
    """Rank the texts of ``request``; texts with queries of their own are scored with those.

    Args:
        reranker: what ranks.
        request: what is wanted.
        model: the public name of the model, for the answer.

    Raises:
        RerankError: whatever the reranker raises; all work is then dropped.
    """
    groups = _positions_by_query(request)
    ruled = reranker.with_rules(fusion=request.fusion, highlights=request.highlights or None)
    work = [
        asyncio.ensure_future(
            ruled.arerank(
                query,
                [request.texts[i] for i in positions],
                retrieval_scores=request.retrieval_scores or None,
                instruction=request.instruction,
            )
        )
        for query, positions in groups.items()
    ]
    try:
        return _outcome(list(groups.values()), await asyncio.gather(*work), model, request.top_n)
    finally:
        for task in work:
            task.cancel()


def _positions_by_query(request: WireRequest) -> dict[str, Sequence[int]]:
    if not request.queries:
        return {request.query: range(len(request.texts))}
    groups: dict[str, list[int]] = {}
    for position, query in enumerate(request.queries):
        groups.setdefault(query, []).append(position)
    return dict(groups)


def _outcome(
    positions: Sequence[Sequence[int]], rankings: Sequence[RerankResponse], model: str, top_n: int | None
) -> Outcome:
    found = [(where[item.index], item) for where, ranking in zip(positions, rankings, strict=True) for item in ranking]
    if len(rankings) > 1:  # scores for different queries are no ranking
        found.sort(key=itemgetter(0))
    raw = raw_scores(item for _, item in found)
    timings = [ranking.timings for ranking in rankings]
    costs = [ranking.usage.cost for ranking in rankings if ranking.usage.cost is not None]
    return Outcome(
        WireResponse(
            results=tuple(_result(index, item, logit) for (index, item), logit in zip(found, raw, strict=True))[:top_n],
            id=rankings[0].id,
            model=model,
            tokens=sum(ranking.usage.total_tokens for ranking in rankings),
            truncated=tuple(sorted(index for index, item in found if item.truncated)),
        ),
        Timings(
            sum(each.encode for each in timings),
            sum(each.inference for each in timings),
            max(each.total for each in timings),
        ),
        degraded=any(ranking.degraded for ranking in rankings),
        unscored=sum(ranking.unscored for ranking in rankings),
        cost=sum(costs) if len(costs) == len(rankings) else None,
    )


def _result(index: int, item: RerankResult, logit: float | None) -> WireResult:
    return WireResult(
        index,
        item.relevance_score,
        logit,
        truncated=item.truncated,
        window=item.window,
        fused=item.fused,
        highlights=item.highlights,
        tokens=item.tokens,
    )
