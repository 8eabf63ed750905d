"""The order that is there already, for when nobody can find a better one."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_core.scores import Score, Scores


class KeepOrderScorer:
    """Judges nothing: every text gets the same score, so that the order of the input stays.

    The last scorer of a :class:`~rerank_core.scoring.FallbackScorer`, for search that must not fail when its reranker
    does in passing; it is not asked after failures that will never pass. The scores are 0 and marked ``degraded``; a
    threshold does not apply to them, because nothing was judged.
    """

    judges = False

    @property
    def model(self) -> str:
        """What stands in a response where the model would."""
        return "keep_order"

    @property
    def identity(self) -> str:
        """Always the same."""
        return "keep_order"

    @property
    def pointwise(self) -> bool:
        """True: every text gets the same score in any company."""
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
