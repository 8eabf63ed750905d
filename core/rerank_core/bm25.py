"""BM25 over a list of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rerank_core.errors import InvalidRequestError
from rerank_core.optional import optional

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

K1, B = 1.2, 0.75
LANGUAGES_WITH_STOP_WORDS = {"english": "en"}


class Bm25:
    """An index: bm25s in Lucene's form (https://github.com/xhluca/bm25s), k1 = 1.2, b = 0.75, Snowball stems.

    English stop words are left out.

    Args:
        texts: the documents; results are their row numbers.
        language: of the stemmer, as Snowball calls it.

    Attributes:
        has_words: whether any text has a word: two letters or more, and no stop word. If none has, all scores are 0.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
        InvalidRequestError: when there is no stemmer for ``language``.
    """

    def __init__(self, texts: Sequence[str], *, language: str = "english") -> None:
        with optional("the BM25 first stage", extra="eval"):
            import bm25s
            import snowballstemmer
        if language not in snowballstemmer.algorithms():
            raise InvalidRequestError(
                f"there is no stemmer for {language!r}; there are {', '.join(snowballstemmer.algorithms())}.",
                param="language",
            )
        self._rows = len(texts)
        self._split = bm25s.tokenize
        self._options: dict[str, Any] = {
            "stopwords": LANGUAGES_WITH_STOP_WORDS.get(language, []),
            "stemmer": snowballstemmer.stemmer(language).stemWords,
        }
        self._index = bm25s.BM25(k1=K1, b=B)
        words = self._words(texts)
        self.has_words = any(words)
        if self.has_words:
            self._index.index(words, show_progress=False)

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """The score of every text: [texts]."""
        import numpy as np

        (words,) = self._words([query])
        if not words or not self.has_words:
            return np.zeros(self._rows, np.float32)
        return np.asarray(self._index.get_scores(words))

    def top(self, query: str, depth: int) -> list[int]:
        """Row numbers of the best ``depth`` texts that have a word of the query; of equals the earlier first."""
        return best_rows(self.scores(query), depth)

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        words: list[list[str]] = self._split(list(texts), return_ids=False, show_progress=False, **self._options)
        return words


def best_rows(scores: npt.NDArray[np.float32], depth: int) -> list[int]:
    """Row numbers of the highest ``depth`` of ``scores`` [texts] that are above 0; of equals the earlier first."""
    import numpy as np

    return [int(row) for row in np.argsort(-scores, kind="stable")[:depth] if scores[row] > 0]
