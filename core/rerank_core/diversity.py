"""After ranking: results that say different things, and from different sources. Pure functions on plain values.

Source of the formula: maximal marginal relevance is Carbonell and Goldstein (SIGIR 1998).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import accumulate

# Scripts without spaces between words are read character by character: kana, and Chinese characters.
_WORDS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")


def select(
    relevance: Sequence[float],
    texts: Sequence[str],
    sources: Sequence[Hashable | None],
    *,
    trade_off: float | None = None,
    per_source: int | None = None,
    limit: int | None = None,
) -> list[int]:
    """Positions in a ranking, in the order in which they are to be returned.

    The next one is always the one with the highest marginal relevance, ``trade_off * relevance - (1 - trade_off) *
    similarity``, where similarity is that to the most similar text chosen so far: the cosine of both texts' TF-IDF
    vectors (:class:`WordVectors`). The first is thus the best of the ranking, and equals keep its order.

    Args:
        relevance: of each result, best first, on a scale from 0 to 1; what rises is taken as equal to the one before.
        texts: of each result.
        sources: of each result; None for one that is its own source.
        trade_off: lambda, 0..1: 1 or None gives the ranking as it is, 0 looks at nothing but similarity.
        per_source: most results of one source; None for any number.
        limit: most results; None for all.
    """
    falling = list(accumulate(relevance, min))
    novelty = None if trade_off is None or trade_off == 1 else _Novelty(texts)
    weight = 1.0 if trade_off is None else trade_off
    left, chosen, taken = list(range(len(falling))), list[int](), Counter[Hashable]()
    while left and (limit is None or len(chosen) < limit):
        best = left[0]
        if novelty is not None:
            seen = novelty.similarity
            best = max(left, key=lambda i: weight * falling[i] - (1 - weight) * seen[i])
        left.remove(best)
        source = sources[best]
        if source is not None and per_source is not None:
            if taken[source] == per_source:
                continue
            taken[source] += 1
        chosen.append(best)
        if novelty is not None:
            novelty.add(best)
    return chosen


def scaled(scores: Sequence[float]) -> list[float]:
    """Scores from 0 for the lowest to 1 for the highest; 1 where all are equal."""
    if not scores:
        return []
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


class WordVectors:
    """Texts as TF-IDF vectors of length 1, one dimension per word: counts times ``ln((1 + n) / (1 + df)) + 1``.

    ``n`` is how many texts there are, ``df`` how many of them have the word. This is what scikit-learn's
    ``TfidfVectorizer`` computes with its defaults.

    Args:
        texts: the texts.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(_WORDS.findall(text.lower())) for text in texts]
        found = Counter(word for each in counts for word in each)
        rarity = {word: math.log((1 + len(texts)) / (1 + df)) + 1 for word, df in found.items()}
        self._vectors = [_unit({word: count * rarity[word] for word, count in each.items()}) for each in counts]
        self._having: dict[str, list[tuple[int, float]]] = {}
        for position, vector in enumerate(self._vectors):
            for word, value in vector.items():
                self._having.setdefault(word, []).append((position, value))

    def similarities(self, position: int) -> dict[int, float]:
        """The cosine of the text there and of every text that shares a word with it, by position; 0..1."""
        products: dict[int, float] = {}
        for word, value in self._vectors[position].items():
            for other, their in self._having[word]:
                products[other] = products.get(other, 0.0) + value * their
        return {other: min(product, 1.0) for other, product in products.items()}


class _Novelty:
    """How similar each text is to what was chosen so far."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._vectors = WordVectors(texts)
        self.similarity = [0.0] * len(texts)

    def add(self, position: int) -> None:
        for other, value in self._vectors.similarities(position).items():
            self.similarity[other] = max(self.similarity[other], value)


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(math.fsum(value * value for value in vector.values()))
    return {word: value / length for word, value in vector.items()}
