"""The reranker as a step after a Chroma query: a result in, the same result out in a better order.

Works with what a ``Collection`` or an ``AsyncCollection`` returns, in memory, on disk or from a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from rerank_core import Document, InvalidRequestError, RerankResponse
from rerank_core.optional import optional
from rerank_plugins.options import EngineOptions
from rerank_plugins.results import WRITTEN, result_metadata, retrieval_scores

with optional("ChromaReranker", extra="chroma"):
    from chromadb.api.types import QueryResult

__all__ = ["ChromaReranker", "RankedResult"]

_COLUMNS = ("ids", "documents", "metadatas", "distances", "embeddings", "uris", "data")


class RankedResult(QueryResult):
    """A Chroma query result with its rows in the new order.

    Attributes:
        relevance_scores: the probability of relevance of each row, by query.
    """

    relevance_scores: list[list[float]]


class ChromaReranker(EngineOptions):
    """Ranks the rows of a Chroma query result by relevance to the query's text.

    A new result comes back with every column in the new order, best first, and ``relevance_scores`` beside them; the
    one given is never changed. Where it is the case, a row's metadata says so: ``rerank_truncated`` (the model read
    only part of it), ``rerank_degraded`` (a fallback ranked it), ``rerank_window``, ``rerank_highlights``.

    The options of :class:`~rerank_core.Reranker` are fields, as in the other adapters: ``model``, ``provider``,
    ``fusion``, ... ``reranker=`` takes a ready engine instead. For ``fusion`` the distances count, where they are
    included.

    Raises:
        pydantic.ValidationError: when an option is unknown, has a value it cannot have, or does not go with another
            (a ``ValueError``).

    Example::

        found = collection.query(query_texts=[question], n_results=50)
        ranked = ChromaReranker(top_n=5).rerank(question, found)
        print(ranked["documents"][0][0], ranked["relevance_scores"][0][0])
    """

    def rerank(self, query: str | Sequence[str], result: QueryResult) -> RankedResult:
        """The best rows of each query, best first; those with equal scores keep their order.

        Args:
            query: what is looked for, as text: one for each query of the result.
            result: what ``collection.query`` returned, with its documents. A query without rows keeps none.

        Raises:
            InvalidRequestError: when a query is blank, there are more or fewer than in the result, or the result has no
                documents. A row whose document is None is ranked as one without text.
            RerankError: when the model cannot be loaded or fails.
        """
        requests = _requests(query, result)
        return _ranked(
            result, self.engine.rerank_many(requests, top_n=self.top_n, score_threshold=self.score_threshold)
        )

    async def arerank(self, query: str | Sequence[str], result: QueryResult) -> RankedResult:
        """:meth:`rerank` for asynchronous code: the event loop goes on while the model works.

        Raises:
            The same as :meth:`rerank`.
        """
        requests = _requests(query, result)
        responses = await self.engine.arerank_many(requests, top_n=self.top_n, score_threshold=self.score_threshold)
        return _ranked(result, responses)


_Request = tuple[str, list[Document], list[float | None] | None]


def _requests(query: str | Sequence[str], result: QueryResult) -> list[_Request]:
    """What there is to rank, a query each."""
    if not isinstance(result, Mapping) or "ids" not in result:
        raise InvalidRequestError(
            f"result must be what collection.query() returned, got {type(result).__name__}.", param="result"
        )
    queries = [query] if isinstance(query, str) else list(query)
    count = len(result["ids"])
    if len(queries) != count:
        raise InvalidRequestError(
            f"The result has rows for {count} queries, and {len(queries)} were given; give one text for each.",
            param="query",
        )
    documents = result.get("documents")
    if documents is None:
        raise InvalidRequestError(
            "The result has no documents; query with include=['documents', 'distances', 'metadatas'].", param="result"
        )
    metadatas, distances = result.get("metadatas"), result.get("distances")
    return [
        (
            text,
            _documents(documents[number], metadatas[number] if metadatas else None),
            _closeness(distances[number]) if distances else None,
        )
        for number, text in enumerate(queries)
    ]


def _documents(texts: Sequence[str | None], metadatas: Sequence[Mapping[str, Any] | None] | None) -> list[Document]:
    about = metadatas or [None] * len(texts)
    return [Document(text or "", metadata or {}) for text, metadata in zip(texts, about, strict=True)]


def _closeness(distances: Sequence[float]) -> list[float | None]:
    """All of Chroma's metrics are distances: the smaller the better."""
    return [None if score is None else -score for score in retrieval_scores(distances)]


def _ranked(result: QueryResult, responses: Sequence[RerankResponse]) -> RankedResult:
    """The columns of ``result`` in the order of the responses."""
    orders = [[found.index for found in response] for response in responses]
    ranked: dict[str, Any] = dict(result)
    for name in _COLUMNS:
        if (column := ranked.get(name)) is not None:
            pairs = zip(column, orders, strict=True)
            ranked[name] = [[rows[index] for index in order] for rows, order in pairs]
    about = [[result_metadata(found) for found in response] for response in responses]
    if ranked.get("metadatas") is not None or any(map(any, about)):
        metadatas = ranked.get("metadatas") or [[None] * len(order) for order in orders]
        ranked["metadatas"] = [list(map(_metadata, *pair)) for pair in zip(metadatas, about, strict=True)]
    ranked["relevance_scores"] = [[found.relevance_score for found in response] for response in responses]
    return cast("RankedResult", ranked)


def _metadata(metadata: Mapping[str, Any] | None, about: dict[str, Any]) -> dict[str, Any] | None:
    """A row's metadata with what there is to know of its rank, in place of an earlier call's."""
    kept = {key: value for key, value in (metadata or {}).items() if key not in WRITTEN}
    return kept | about or None
