"""After ranking: results that say different things, and from different sources. Pure functions on plain values.

Source of the formula: maximal marginal relevance is Carbonell and Goldstein (SIGIR 1998).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

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
    following = iter(range(len(falling)))
    novelty = None if trade_off is None or trade_off == 1 else _Novelty(falling, texts, trade_off)
    chosen, taken = list[int](), Counter[Hashable]()
    for _ in falling:
        if len(chosen) == limit:
            break
        best = next(following) if novelty is None else novelty.best()
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
        import numpy as np  # when it is needed: importing rerank_core loads nothing heavy

        counts = [Counter(_WORDS.findall(text.lower())) for text in texts]
        found = Counter(word for each in counts for word in each)
        rarity = {word: math.log((1 + len(texts)) / (1 + df)) + 1 for word, df in found.items()}
        self._vectors = [_unit({word: count * rarity[word] for word, count in each.items()}) for each in counts]
        having: dict[str, list[int]] = {}
        for position, vector in enumerate(self._vectors):
            for word in vector:
                having.setdefault(word, []).append(position)
        self._having = {
            word: (np.array(those), np.array([self._vectors[position][word] for position in those]))
            for word, those in having.items()
        }

    def similarities(self, position: int) -> FloatArray:
        """The cosine of the text there and of every text, 0..1, shape [texts]."""
        import numpy as np

        products = np.zeros(len(self._vectors))
        for word, value in self._vectors[position].items():
            those, values = self._having[word]
            products[those] += value * values
        return np.minimum(products, 1.0)


class _Novelty:
    """The marginal relevance of each text that was not looked at yet."""

    def __init__(self, relevance: Sequence[float], texts: Sequence[str], trade_off: float) -> None:
        import numpy as np

        self._relevance, self._trade_off = np.array(relevance), trade_off
        self._vectors = WordVectors(texts)
        self._similarity = np.zeros(len(texts))
        self._left = np.ones(len(texts), bool)

    def best(self) -> int:
        """The position of the highest one, the first of equals; it is not looked at again."""
        import numpy as np

        gain = self._trade_off * self._relevance - (1 - self._trade_off) * self._similarity
        position = int(np.argmax(np.where(self._left, gain, -np.inf)))
        self._left[position] = False
        return position

    def add(self, position: int) -> None:
        """What is similar to this one is less novel from now on."""
        import numpy as np

        self._similarity = np.maximum(self._similarity, self._vectors.similarities(position))


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(math.fsum(value * value for value in vector.values()))
    return {word: value / length for word, value in vector.items()}
