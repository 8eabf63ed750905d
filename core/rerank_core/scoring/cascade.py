"""A cheap scorer sorts everything; a dear one sees only the best of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace

from rerank_core.errors import InvalidRequestError
from rerank_core.ranking import order, sigmoid
from rerank_core.scoring.base import Score, Scorer, Scores, check_scores


class CascadeScorer:
    """Lets ``cheap`` score all texts and ``dear`` the best ``keep`` of them.

    The scores of two models cannot be compared, so what the dear one did not see keeps the cheap one's order
    below everything it saw: those logits are moved down by a constant until the best of them lies under the
    dear scorer's lowest.

    Args:
        cheap: scores every text.
        dear: scores the best texts again.
        keep: how many texts the dear one sees.

    Raises:
        InvalidRequestError: when ``keep`` is below 1.
    """

    def __init__(self, cheap: Scorer, dear: Scorer, *, keep: int = 20) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise InvalidRequestError(f"keep must be a whole number of at least 1, got {keep!r}.", param="keep")
        self._cheap = cheap
        self._dear = dear
        self._keep = keep

    @property
    def model(self) -> str:
        """The dear scorer's model, whose scores are on top."""
        return self._dear.model

    @property
    def identity(self) -> str:
        """Both identities, and how many texts the dear scorer sees."""
        return f"cascade({self._cheap.identity} > {self._dear.identity}, {self._keep})"

    @property
    def pointwise(self) -> bool:
        """False: which texts reach the dear scorer depends on what else is in the request.

        A cache belongs around each scorer inside, not around the cascade.
        """
        return False

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever either scorer raises.
        """
        cheap = check_scores(self._cheap.score(query, texts), len(texts))
        best = self._best(cheap)
        dear = check_scores(self._dear.score(query, [texts[i] for i in best]), len(best))
        return _merge(cheap, dear, best)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever either scorer raises.
        """
        cheap = check_scores(await self._cheap.ascore(query, texts), len(texts))
        best = self._best(cheap)
        dear = check_scores(await self._dear.ascore(query, [texts[i] for i in best]), len(best))
        return _merge(cheap, dear, best)

    def warm_up(self) -> None:
        """Warm up both."""
        self._cheap.warm_up()
        self._dear.warm_up()

    def close(self) -> None:
        """Close both."""
        with ExitStack() as stack:  # the second is closed even when the first fails to
            stack.callback(self._dear.close)
            stack.callback(self._cheap.close)

    async def aclose(self) -> None:
        """Close both."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._dear.aclose)
            stack.push_async_callback(self._cheap.aclose)

    def _best(self, cheap: Scores) -> list[int]:
        return order(cheap.keys(), [score.relevance_score for score in cheap.items], top_n=self._keep)


def _merge(cheap: Scores, dear: Scores, best: list[int]) -> Scores:
    seen = dict(zip(best, dear.items, strict=True))
    tail = [i for i in range(len(cheap.items)) if i not in seen]
    logits = {i: _logit(cheap.items[i]) for i in tail}
    ceiling = math.nextafter(min(_logit(score) for score in dear.items), -math.inf)
    shift = max(0.0, max(logits.values(), default=-math.inf) - ceiling)
    for i in tail:
        moved = min(logits[i] - shift, ceiling)  # min: the difference alone may round up to the ceiling's neighbour
        seen[i] = replace(cheap.items[i], logit=moved, relevance_score=sigmoid(moved))
    items = tuple(seen[i] if i in logits else _with_logit(seen[i]) for i in range(len(cheap.items)))
    if any(score.cached for score in cheap.items):  # or its share of the work would pass for none
        items = tuple(replace(score, cached=True) for score in items)
    return Scores(
        items,
        dear.model,
        cheap.tokens + dear.tokens,
        cheap.encode_seconds + dear.encode_seconds,
        cheap.inference_seconds + dear.inference_seconds,
    )


def _logit(score: Score) -> float:
    """The logit, recovered from the probability where a scorer reports only that."""
    if score.logit is not None:
        return score.logit
    probability = min(max(score.relevance_score, 1e-12), 1 - 1e-12)
    return math.log(probability / (1 - probability))


def _with_logit(score: Score) -> Score:
    return replace(score, logit=_logit(score))
