"""What decides a ranking besides the scores and the limits of a call."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_core.fusion import Fusion

SOURCE_FIELD = "source"
"""The field of metadata that names a document's source, where none is said."""


@dataclass(frozen=True, slots=True)
class RankingRules:
    """The options of a reranker that its scorer does not see, checked.

    Attributes:
        fusion: how the retriever's scores and the model's are put together; None for the model's alone.
        diversify: the lambda of maximal marginal relevance; None for the ranking as it is.
        max_per_source: most results of one source; None for any number.
        source_field: the field of metadata that names the source.
        highlights: how many of a result's best sentences come with it; None for none.
        price_per_million_tokens: dollars per million tokens, for the cost; None where it is not known.
    """

    fusion: Fusion | None = None
    diversify: float | None = None
    max_per_source: int | None = None
    source_field: str = SOURCE_FIELD
    highlights: int | None = None
    price_per_million_tokens: float | None = None

    @property
    def select(self) -> bool:
        """Whether results are chosen after they were ranked."""
        return self.diversify is not None or self.max_per_source is not None


NO_RULES = RankingRules()
