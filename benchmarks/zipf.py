"""What a cache saves under a query log in which few queries are frequent: the real cache, and no model.

    python benchmarks/zipf.py

Queries are drawn by Zipf's law: the query of rank r is asked with a probability proportional to r to the power of minus
the exponent. A retriever gives the same candidates for the same query every time. Candidates of different queries
differ, for a score belongs to a pair: a text that two queries share is no hit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cachetools import LRUCache
from measure import Result, arguments

from rerank_core.events import CacheUsed, Event
from rerank_core.scores import Score
from rerank_core.scoring import CachedScorer
from rerank_core.testing import FakeScorer

EXPONENTS = (0.7, 0.9, 1.1)
ENTRIES = (10_000, 100_000, 1_000_000)


class Counter:
    """A hook that adds up what the cache found."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0

    def __call__(self, event: Event) -> None:
        """Add an event of the cache."""
        if isinstance(event, CacheUsed):
            self.hits += event.hits
            self.misses += event.misses


def log(queries: int, requests: int, exponent: float) -> Sequence[int]:
    """The ranks of the queries that are asked, in order."""
    weights = np.arange(1, queries + 1) ** -exponent
    drawn: list[int] = np.random.default_rng(0).choice(queries, requests, p=weights / weights.sum()).tolist()
    return drawn


def found(ranks: Sequence[int], candidates: int, entries: int) -> float:
    """The share of scores that the cache has, in the second half of the log: in the first it fills."""
    counter = Counter()
    store: LRUCache[bytes, Score] = LRUCache(entries)
    scorer = CachedScorer(FakeScorer(), store, hooks=[counter])
    half = len(ranks) // 2
    for position, rank in enumerate(ranks):
        if position == half:
            counter.hits = counter.misses = 0
        scorer.score(f"query {rank}", [f"document {rank} {number}" for number in range(candidates)])
    return counter.hits / (counter.hits + counter.misses)


def main() -> None:
    """Every exponent with every size of cache."""
    given = arguments(__doc__, queries=1_000_000, requests=40_000, candidates=20)
    shares = {
        exponent: {
            entries: found(log(given.queries, given.requests, exponent), given.candidates, entries)
            for entries in ENTRIES
        }
        for exponent in EXPONENTS
    }
    Result(
        "zipf",
        "Scores found in the cache under a query log that follows Zipf's law",
        ["exponent", *(f"{entries:,} entries" for entries in ENTRIES)],
        [[f"{exponent}", *(f"{share:.0%}" for share in row.values())] for exponent, row in shares.items()],
        [
            f"{given.requests:,} requests for {given.queries:,} different queries, {given.candidates} candidates each.",
            "Counted in the second half. The least recently used score is forgotten first.",
        ],
        {
            "shares": {
                str(exponent): {str(each): share for each, share in row.items()} for exponent, row in shares.items()
            }
        },
    ).keep(given.out)


if __name__ == "__main__":
    main()
