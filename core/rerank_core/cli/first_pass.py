"""BM25 before the model, where there is more to read than anyone wants to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rerank_core.bm25 import Bm25
from rerank_core.errors import MissingDependencyError
from rerank_core.results import Document, RerankResponse

EXTRA = "files"


@dataclass(frozen=True, slots=True)
class Shortlist:
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
        placed = ((result, self.positions[result.index]) for result in response)
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

    def shortlist(self, query: str) -> Shortlist:
        """What the model reads for this query."""
        if self._index is None:
            return Shortlist(self._documents)
        rows = sorted(self._index.top(query, self._most))
        return Shortlist([self._documents[row] for row in rows], rows)
