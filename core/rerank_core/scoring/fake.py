"""A scorer without a model, for tests: deterministic, instant, and predictable from the words of the texts."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence

from rerank_core.errors import RerankError
from rerank_core.scores import Score, Scores

_WORD = re.compile(r"\w+")
_SCALE = 6.0


class FakeScorer:
    """Scores a text by the share of the query's words it contains: 0 gives logit -6, all give +6.

    Args:
        model: the name it reports.
        delay: seconds each call takes.
        error: raised, as a new object, by every call instead of an answer, to test what happens when a model fails.

    Attributes:
        calls: the (query, texts) of every call so far.
    """

    def __init__(self, model: str = "fake", *, delay: float = 0.0, error: RerankError | None = None) -> None:
        self.model = model
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self._delay = delay
        self._error = error

    @property
    def identity(self) -> str:
        """The reported name: equal names give equal scores."""
        return f"fake:{self.model}"

    @property
    def pointwise(self) -> bool:
        """True: only the words of query and text count."""
        return True

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: the ``error`` given to the constructor.
        """
        time.sleep(self._delay)
        return self._answer(query, texts)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: the ``error`` given to the constructor.
        """
        await asyncio.sleep(self._delay)
        return self._answer(query, texts)

    def warm_up(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do."""

    def _answer(self, query: str, texts: Sequence[str]) -> Scores:
        self.calls.append((query, tuple(texts)))
        if self._error is not None:
            raise self._error.copied()
        words = set(_WORD.findall(query.lower()))
        items = tuple(Score.from_logit(_SCALE * (2 * _share(words, text) - 1)) for text in texts)
        tokens = sum(len(_WORD.findall(text)) + len(words) for text in texts)
        return Scores(items, self.model, tokens)


def _share(words: set[str], text: str) -> float:
    return len(words & set(_WORD.findall(text.lower()))) / len(words) if words else 0.0
