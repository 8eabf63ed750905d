"""Keeping the order of the input, for when no scorer can improve it."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_core.scores import Score, Scores


class KeepOrderScorer:
    """Does not score relevance: every text gets the same score, so that the order of the input is kept.

    The last scorer of a :class:`~rerank_core.scoring.FallbackScorer`, for search that must go on when its reranker
    fails temporarily; it is not tried after permanent failures. The scores are 0 and marked ``degraded``; no threshold
    applies to them, because nothing was judged.
    """

    judges = False

    @property
    def model(self) -> str:
        """The name reported in place of a model's."""
        return "keep_order"

    @property
    def identity(self) -> str:
        """The same for all."""
        return "keep_order"

    @property
    def pointwise(self) -> bool:
        """True: every text gets the same score in every request."""
        return True

    def score(self, query: str, texts: Sequence[str]) -> Scores:  # noqa: ARG002  (the protocol's)
        """The same score for every text."""
        return Scores((Score(0.0, degraded=True),) * len(texts), self.model, judged=False)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """The same score for every text."""
        return self.score(query, texts)

    def warm_up(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do."""
