"""What a call costs: tokens times a price, or what a service says it bills. What is not known is None, never 0."""

from __future__ import annotations

from rerank_core.results import Usage
from rerank_core.scores import Scores

_MILLION = 1_000_000


def usage_of(scores: Scores, price: float | None) -> Usage:
    """The usage of one request, with what it costs at ``price`` dollars per million tokens.

    The cost is not known without a price, where no tokens are reported although something was scored, and where a
    fallback answered: the price is not that model's. Scores that all come from a cache cost nothing.
    """
    known = price is not None and (scores.tokens > 0 or all(score.cached for score in scores.items))
    known = known and scores.judged_itself
    cost = scores.tokens * price / _MILLION if known and price is not None else None
    return Usage(scores.tokens, scores.tokens, cost, scores.search_units)


def together(one: Usage, other: Usage) -> Usage:
    """The usage of two requests of one call; what is not known of one is not known of both."""
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.total_tokens + other.total_tokens,
        None if one.cost is None or other.cost is None else one.cost + other.cost,
        None if one.search_units is None or other.search_units is None else one.search_units + other.search_units,
    )
