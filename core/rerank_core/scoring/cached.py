"""Scores seen before are not computed again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from rerank_core import forks
from rerank_core.errors import RerankError
from rerank_core.events import DEFAULT_HOOKS, CacheUsed, Hook, emit, logger
from rerank_core.scoring.base import Score, Scorer, Scores, check_scores
from rerank_core.scoring.local import LocalScorer

if TYPE_CHECKING:
    from rerank_core.inference.backends.base import LoadedModelInfo

_DEFAULT_ENTRIES = 100_000


class CachedScorer:
    """Remembers the scores of another scorer.

    A score is found again only for the same query, the same text and the same scorer identity (weights,
    precision, limits, instruction). Texts are kept as digests. A stand-in's scores are neither kept nor mixed
    with remembered ones, which would come from another model. A scorer that is not ``pointwise`` (a cascade, a
    list-wise model) is asked directly: its scores belong to whole requests. A cache never takes search down: a store
    that fails counts as empty, and a scorer that cannot say who it is is asked directly too.

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
        self._lock = forks.OuterLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = forks.OuterLock()

    @property
    def model(self) -> str:
        """The inner scorer's model."""
        return self._scorer.model

    @property
    def identity(self) -> str:
        """The inner scorer's identity: a cache changes no score."""
        return self._scorer.identity

    @property
    def pointwise(self) -> bool:
        """Whether the inner scorer is."""
        return self._scorer.pointwise

    @property
    def loaded(self) -> LoadedModelInfo | None:
        """What the inner scorer has loaded; None before its first use, or when it is not a plain model."""
        return self._scorer.loaded if isinstance(self._scorer, LocalScorer) else None

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text, asking the inner scorer only for those not seen before.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        known = self._look_up(query, texts)
        missing = known.missing
        fresh = check_scores(self._scorer.score(query, missing), len(missing)) if missing else None
        if fresh is not None and fresh.degraded and known.scores:
            return self._scorer.score(query, texts)
        return self._combine(known, fresh)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text, asking the inner scorer only for those not seen before.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        known = await asyncio.to_thread(self._look_up, query, texts)
        missing = known.missing
        fresh = check_scores(await self._scorer.ascore(query, missing), len(missing)) if missing else None
        if fresh is not None and fresh.degraded and known.scores:
            return await self._scorer.ascore(query, texts)
        return await asyncio.to_thread(self._combine, known, fresh)

    def warm_up(self) -> None:
        """Warm up the inner scorer."""
        self._scorer.warm_up()

    def close(self) -> None:
        """Close the inner scorer; the store is kept."""
        self._scorer.close()

    async def aclose(self) -> None:
        """Close the inner scorer; the store is kept."""
        await self._scorer.aclose()

    def _look_up(self, query: str, texts: Sequence[str]) -> _Known:
        if not self._scorer.pointwise:
            return _Known(texts, [], {})
        try:
            identity = self._scorer.identity
        except RerankError:  # the inner scorer will say so itself, or have a stand-in
            return _Known(texts, [], {})
        keys = [_key(identity, query, text) for text in texts]
        scores = {}
        with self._lock, self._failing_store_is_empty():
            for position, key in enumerate(keys):
                score = self._store.get(key)
                if score is not None:
                    scores[position] = replace(score, cached=True)
        emit(self._hooks, CacheUsed(self.model, len(scores), len(texts) - len(scores)))
        return _Known(texts, keys, scores)

    def _combine(self, known: _Known, fresh: Scores | None) -> Scores:
        if fresh is None:
            return Scores(tuple(known.scores[i] for i in range(len(known.texts))), self.model)
        computed = iter(fresh.items)
        items = tuple(known.scores.get(i) or next(computed) for i in range(len(known.texts)))
        with self._lock, self._failing_store_is_empty():
            for key, score in zip(known.keys, items, strict=False):
                if not (score.cached or score.degraded):
                    self._store[key] = score
        return replace(fresh, items=items)

    @contextmanager
    def _failing_store_is_empty(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001  (whatever a store raises, search goes on)
            logger.exception("the score store of %r failed; scores are computed instead", self.model)


@dataclass(frozen=True, slots=True, repr=False)
class _Known:
    """What the store knew of one request: a key a text (none where nothing can be kept) and scores by position."""

    texts: Sequence[str]
    keys: list[bytes]
    scores: dict[int, Score]

    @property
    def missing(self) -> list[str]:
        return [text for position, text in enumerate(self.texts) if position not in self.scores]


def _key(identity: str, query: str, text: str) -> bytes:
    """A digest in which no two different triples can meet: every part is preceded by its length."""
    digest = hashlib.sha256()
    for part in (identity, query, text):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()
