"""What a request costs whose scores are known: 100 documents out of memory, and out of a file.

python benchmarks/cache.py
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from measure import QUERY, Result, arguments, documents, medians, turns

from rerank_core import Reranker
from rerank_core.evaluation.store import ScoreStore
from rerank_core.scoring import CachedScorer, LocalScorer


def main() -> None:
    """Time requests with all scores known, and with none."""
    given = arguments(__doc__, rounds=200, documents=100)
    texts = documents(given.documents, "short")
    with tempfile.TemporaryDirectory() as name:
        store = ScoreStore(Path(name) / "scores.db")
        cached = {
            "in memory": Reranker(scorer=CachedScorer(LocalScorer())),
            "in a file": Reranker(scorer=CachedScorer(LocalScorer(), store)),
        }
        runs = {place: partial(each.rerank, QUERY, texts) for place, each in cached.items()}
        computed = {"computed": partial(Reranker().rerank, QUERY, texts)}
        turns(runs | computed, 1)  # load the model, fill the caches
        seconds = medians(turns(runs, given.rounds))
        seconds |= medians(turns(computed, 5))
        store.close()
    Result(
        "cache",
        f"One request with {len(texts)} documents of 20 to 60 words",
        ["scores are", "ms"],
        [[place, f"{1000 * median:.2f}"] for place, median in seconds.items()],
        [f"`rerank-mini-en-v1`; medians of {given.rounds} requests, of 5 where scores are computed."],
        {"seconds": seconds},
    ).keep(given.out)


if __name__ == "__main__":
    main()
