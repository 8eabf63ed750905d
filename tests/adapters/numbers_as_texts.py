"""An engine for which a text is the number that it reads as: its logit."""

from __future__ import annotations

from rerank_core import Reranker
from rerank_core.scoring import FakeScorer, Score, Scores


class ByNumber(FakeScorer):
    """The logit of a text is the number that it is; of no text, 0."""

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(float(text or 0)) for text in texts), self.model)


def by_number(**options):
    """An engine with that scorer."""
    return Reranker(scorer=ByNumber(), **options)
