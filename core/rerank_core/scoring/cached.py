"""A cache of scores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cachetools import LRUCache

from rerank_core import forks
from rerank_core.errors import RerankError
from rerank_core.events import DEFAULT_HOOKS, CacheUsed, Hook, emit, logger
from rerank_core.inference.workers import SLOW_CALLS
from rerank_core.scores import InvalidScoreError, Score, Scores, check_score
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores
from rerank_core.scoring.wrapper import WrappingScorer

_DEFAULT_ENTRIES = 100_000


class CachedScorer(WrappingScorer):
    """Caches the scores of another scorer.

    A score is found only for the same query, the same text and the same scorer identity (weights, precision, limits,
    instruction). Texts are stored as digests. A fallback's scores are neither stored nor mixed with cached ones, which
    come from another model. Nothing is cached for a scorer that is not ``pointwise`` (a cascade, a list-wise model):
    its scores belong to whole requests. A cache never takes search down: a store that fails counts as empty, an entry
    that is not a valid score counts as absent, and nothing is cached while the scorer's identity cannot be determined.

    Args:
        scorer: computes the scores that are not in the store.
        store: any mutable mapping from ``bytes`` to :class:`Score`; it may be persistent or shared. By default the
            100,000 most recently used scores stay in memory.
        hooks: called with each event.
    """

    def __init__(
        self,
        scorer: Scorer,
        store: MutableMapping[bytes, Score] | None = None,
        *,
        hooks: Sequence[Hook] = DEFAULT_HOOKS,
    ) -> None:
        super().__init__(scorer)
        self._store: MutableMapping[bytes, Score] = LRUCache(_DEFAULT_ENTRIES) if store is None else store
        self._hooks = tuple(hooks)
        self._lock = forks.OuterLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = forks.OuterLock()

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text, using the inner scorer only for those not in the store.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        known = self._look_up(query, texts)
        fresh = checked_scores(self._main, query, known.missing) if known.missing else None
        if fresh is not None and not fresh.judged_itself and known.scores:
            return checked_scores(self._main, query, texts)
        return self._combine(known, fresh)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text, using the inner scorer only for those not in the store.

        Raises:
            RerankError: whatever the inner scorer raises.
        """
        known = await SLOW_CALLS.run(lambda: self._look_up(query, texts))
        fresh = await achecked_scores(self._main, query, known.missing) if known.missing else None
        if fresh is not None and not fresh.judged_itself and known.scores:
            return await achecked_scores(self._main, query, texts)
        return await SLOW_CALLS.run(lambda: self._combine(known, fresh))

    def _look_up(self, query: str, texts: Sequence[str]) -> _Known:
        if not self.pointwise:
            return _Known(texts, [], {})
        try:
            identity = self.identity
        except RerankError:  # the inner scorer will raise it itself, or have a fallback
            return _Known(texts, [], {})
        keys = _keys(identity, query, texts)
        scores = {}
        with self._lock, self._failing_store_is_empty():
            for position, key in enumerate(keys):
                score = _valid(self._store.get(key))
                if score is not None:
                    scores[position] = score.as_cached()
        emit(self._hooks, CacheUsed(self.model, len(scores), len(texts) - len(scores)))
        return _Known(texts, keys, scores)

    def _combine(self, known: _Known, fresh: Scores | None) -> Scores:
        if fresh is None:
            return Scores(tuple(known.scores[i] for i in range(len(known.texts))), self.model)
        computed = iter(fresh.items)
        items = tuple(known.scores.get(i) or next(computed) for i in range(len(known.texts)))
        with self._lock, self._failing_store_is_empty():
            for key, score in zip(known.keys, items, strict=False):
                if score.genuine and not score.cached:
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
    """What the store has for one request: one key per text (none where nothing can be cached), scores by position."""

    texts: Sequence[str]
    keys: list[bytes]
    scores: dict[int, Score]

    @property
    def missing(self) -> list[str]:
        """The texts without a score."""
        return [text for position, text in enumerate(self.texts) if position not in self.scores]


def _valid(stored: object) -> Score | None:
    """A stored score if it is valid: the entry may have been changed, or written by another version."""
    try:
        score = check_score(stored)
    except InvalidScoreError:
        return None
    return score if score.genuine else None


def _keys(identity: str, query: str, texts: Sequence[str]) -> list[bytes]:
    """A digest for each text; every part is preceded by its length, so that different triples are different inputs."""
    common = hashlib.sha256()
    _add(common, identity)
    _add(common, query)
    keys = []
    for text in texts:
        digest = common.copy()
        _add(digest, text)
        keys.append(digest.digest())
    return keys


def _add(digest: hashlib._Hash, part: str) -> None:
    data = part.encode("utf-8", "surrogatepass")
    digest.update(len(data).to_bytes(8, "little"))
    digest.update(data)
