"""BM25 before the model, where there is more to read than anyone wants to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rerank_core import Reranker
from rerank_core.bm25 import Bm25
from rerank_core.errors import MissingDependencyError
from rerank_core.results import Document, RerankResponse

EXTRA = "files"


@dataclass(frozen=True, slots=True)
class _Shortlist:
    """The documents that the model reads, for one query.

    Args:
        documents: these.
        positions: where each stands in the list it was taken from; None when it is the whole list.
    """

    documents: Sequence[Document]
    positions: Sequence[int] | None = None

    def restored(self, response: RerankResponse) -> RerankResponse:
        """The response with positions in the whole list."""
        if self.positions is None:
            return response
        placed = [(result, self.positions[result.index]) for result in response]
        results = tuple(replace(result, index=place, previous_rank=place + 1) for result, place in placed)
        return replace(response, results=results)


class FirstPass:
    """Picks by BM25 what the model reads.

    Args:
        documents: what there is.
        most: how many a query is compared with by the model; 0 for all.

    Attributes:
        remark: what to tell the user, if anything.
    """

    def __init__(self, documents: Sequence[Document], most: int) -> None:
        self._documents = documents
        self._most = most
        self._index: Bm25 | None = None
        self.remark: str | None = None
        if not 0 < most < len(documents):
            return
        try:
            self._index = Bm25([document.text for document in documents])
        except MissingDependencyError:
            self.remark = (
                f"all {len(documents):,} passages were scored; after pip install 'rerank-plugins[{EXTRA}]' BM25 picks "
                f"the best {most:,} first"
            )
            return
        self.remark = (
            f"BM25 picked the best {most:,} of {len(documents):,} passages by the words of the query; what shares "
            "no word with it was not read (--candidates 0 reads all)"
        )

    def ranked(
        self, reranker: Reranker, queries: Sequence[str], *, top_n: int | None, threshold: float | None
    ) -> list[RerankResponse]:
        """One response per query; its positions are those in the whole list.

        Raises:
            RerankError: when ranking fails.
        """
        lists = [self._shortlist(query) for query in queries]
        asked = [(query, each.documents) for query, each in zip(queries, lists, strict=True)]
        if len(asked) == 1:
            found = [reranker.rerank(*asked[0], top_n=top_n, score_threshold=threshold)]
        else:
            found = reranker.rerank_many(asked, top_n=top_n, score_threshold=threshold)
        return [each.restored(response) for each, response in zip(lists, found, strict=True)]

    def _shortlist(self, query: str) -> _Shortlist:
        if self._index is None:
            return _Shortlist(self._documents)
        rows = sorted(self._index.top(query, self._most))
        return _Shortlist([self._documents[row] for row in rows], rows)
