"""Scores seen before are not computed again."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import MutableMapping, Sequence
from dataclasses import replace

from cachetools import LRUCache

from rerank_core.events import DEFAULT_HOOKS, CacheUsed, Hook, emit
from rerank_core.scoring.base import Score, Scorer, Scores, check_scores

_DEFAULT_ENTRIES = 100_000


class CachedScorer:
    """Remembers the scores of another scorer.

    A score is found again only for the same query, the same text and the same scorer identity (weights,
    precision, limits, instruction). Scores of a stand-in are passed on but not kept. Texts are kept as digests.

    Args:
        scorer: who computes the scores that are not there yet.
        store: where scores are kept: any mutable mapping from ``bytes`` to :class:`Score`, which may persist or
            be shared. By default the 100,000 most recently used scores stay in memory.
        hooks: called with each event.
    """

    def __init__(
        self,
        scorer: Scorer,
        store: MutableMapping[bytes, Score] | None = None,
        *,
        hooks: Sequence[Hook] = DEFAULT_HOOKS,
    ) -> None:
        self._scorer = scorer
        self._store: MutableMapping[bytes, Score] = LRUCache(_DEFAULT_ENTRIES) if store is None else store
        self._hooks = tuple(hooks)
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """The inner scorer's model."""
        return self._scorer.model

    @property
    def identity(self) -> str:
        """The inner scorer's identity: a cache changes no score."""
        return self._scorer.identity

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text, asking the inner scorer only for those not seen before.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        keys, known, missing = self._look_up(self._scorer.identity, query, texts)
        fresh = self._scorer.score(query, [texts[i] for i in missing]) if missing else None
        return self._combine(keys, known, missing, fresh)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text, asking the inner scorer only for those not seen before.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        identity = await asyncio.to_thread(lambda: self._scorer.identity)
        keys, known, missing = self._look_up(identity, query, texts)
        fresh = await self._scorer.ascore(query, [texts[i] for i in missing]) if missing else None
        return self._combine(keys, known, missing, fresh)

    def warm_up(self) -> None:
        """Warm up the inner scorer."""
        self._scorer.warm_up()

    def close(self) -> None:
        """Close the inner scorer; the store is kept."""
        self._scorer.close()

    async def aclose(self) -> None:
        """Close the inner scorer; the store is kept."""
        await self._scorer.aclose()

    def _look_up(
        self, identity: str, query: str, texts: Sequence[str]
    ) -> tuple[list[bytes], dict[int, Score], list[int]]:
        keys = [_key(identity, query, text) for text in texts]
        with self._lock:
            found = {i: self._store.get(key) for i, key in enumerate(keys)}
        known = {i: replace(score, cached=True) for i, score in found.items() if score is not None}
        missing = [i for i in range(len(keys)) if i not in known]
        emit(self._hooks, CacheUsed(self.model, len(known), len(missing)))
        return keys, known, missing

    def _combine(self, keys: list[bytes], known: dict[int, Score], missing: list[int], fresh: Scores | None) -> Scores:
        if fresh is None:
            return Scores(tuple(known[i] for i in range(len(keys))), self.model)
        check_scores(fresh, len(missing))
        computed = dict(zip(missing, fresh.items, strict=True))
        with self._lock:
            for position, score in computed.items():
                if not score.degraded:
                    self._store[keys[position]] = score
        merged = known | computed
        return replace(fresh, items=tuple(merged[i] for i in range(len(keys))))


def _key(identity: str, query: str, text: str) -> bytes:
    """A digest in which no two different triples can meet: every part is preceded by its length."""
    digest = hashlib.sha256()
    for part in (identity, query, text):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()
