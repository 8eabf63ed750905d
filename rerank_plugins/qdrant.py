"""The reranker as a step after a Qdrant query: points in, the same points out in a better order.

Works with what ``QdrantClient`` and ``AsyncQdrantClient`` return, embedded or from a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from rerank_core import Document, InvalidRequestError, RerankResponse, RerankResult
from rerank_core.optional import optional
from rerank_plugins.options import EngineOptions
from rerank_plugins.results import WRITTEN, result_metadata, retrieval_scores

with optional("QdrantReranker", extra="qdrant"):
    from qdrant_client.http.models import QueryResponse, ScoredPoint  # in models it is another class

__all__ = ["QdrantReranker"]

_RETRIEVAL_SCORE = "retrieval_score"


class QdrantReranker(EngineOptions):
    """Ranks the points of a Qdrant query by relevance to the query's text.

    New points come back, best first, with the probability of relevance as ``score``; those given are never changed.
    Where it is the case, the payload of a new point says so: ``rerank_truncated`` (the model read only part of it),
    ``rerank_degraded`` (a fallback ranked it), ``rerank_window``, ``rerank_highlights``.

    The options of :class:`~rerank_core.Reranker` are fields, as in the other adapters: ``model``, ``provider``,
    ``fusion``, ... ``reranker=`` takes a ready engine instead. For ``fusion`` the scores of the points count. They say
    nothing of their metric: where they rise from the first point to the last, they are distances.

    Raises:
        pydantic.ValidationError: when an option is unknown, has a value it cannot have, or does not go with another
            (a ``ValueError``).

    Example::

        found = client.query_points("articles", query=embed(question), limit=50)
        for point in QdrantReranker(top_n=5).rerank(question, found):
            print(point.score, point.payload["text"])
    """

    text_field: str = Field(default="text", min_length=1, description="The field of the payload that the model reads.")
    keep_retrieval_score: bool = Field(
        default=False, description="Keep the score a point came with in its payload, as 'retrieval_score'."
    )

    def rerank(self, query: str, points: QueryResponse | Sequence[ScoredPoint]) -> list[ScoredPoint]:
        """The best points, best first; those with equal scores keep their order.

        Args:
            query: what is looked for, as text; not blank.
            points: what ``query_points`` returned, or its points; of none, none is returned, and nothing is loaded.

        Raises:
            InvalidRequestError: when the query is blank, or a point has no text in ``text_field``; None there is a
                point without text, which is ranked like any other.
            RerankError: when the model cannot be loaded or fails.
        """
        given = _points(points)
        return self._ranked(given, self.engine.rerank(query, self._documents(given), **self._limits(given)))

    async def arerank(self, query: str, points: QueryResponse | Sequence[ScoredPoint]) -> list[ScoredPoint]:
        """:meth:`rerank` for asynchronous code: the event loop goes on while the model works.

        Raises:
            The same as :meth:`rerank`.
        """
        given = _points(points)
        return self._ranked(given, await self.engine.arerank(query, self._documents(given), **self._limits(given)))

    def _documents(self, points: Sequence[ScoredPoint]) -> list[Document]:
        return [Document(self._text(position, point), point.payload or {}) for position, point in enumerate(points)]

    def _text(self, position: int, point: ScoredPoint) -> str:
        payload = point.payload or {}
        if self.text_field not in payload:
            seen = f"only {', '.join(map(str, payload))}" if payload else "no payload; query with with_payload=True"
            raise InvalidRequestError(
                f"points[{position}] has no field {self.text_field!r} in its payload: {seen}. "
                "Name the one that has the text with text_field=.",
                code="invalid_document",
                param="text_field",
            )
        text = payload[self.text_field]
        if text is not None and not isinstance(text, str):
            raise InvalidRequestError(
                f"the field {self.text_field!r} of points[{position}] is {type(text).__name__}; expected text.",
                code="invalid_document",
                param="text_field",
            )
        return text or ""

    def _limits(self, points: Sequence[ScoredPoint]) -> dict[str, Any]:
        scores = retrieval_scores(point.score for point in points)
        return {
            "top_n": self.top_n,
            "score_threshold": self.score_threshold,
            "retrieval_scores": _higher_is_better(scores),
        }

    def _ranked(self, points: Sequence[ScoredPoint], response: RerankResponse) -> list[ScoredPoint]:
        return [self._scored(points[result.index], result) for result in response]

    def _scored(self, point: ScoredPoint, result: RerankResult) -> ScoredPoint:
        kept = {key: value for key, value in (point.payload or {}).items() if key not in WRITTEN}
        before = {_RETRIEVAL_SCORE: point.score} if self.keep_retrieval_score else {}
        payload = kept | before | result_metadata(result)
        return point.model_copy(update={"score": result.relevance_score, "payload": payload})


def _points(points: QueryResponse | Sequence[ScoredPoint]) -> list[ScoredPoint]:
    given = list(points.points if isinstance(points, QueryResponse) else points)
    for position, point in enumerate(given):
        if not isinstance(point, ScoredPoint):
            raise InvalidRequestError(
                f"points[{position}] is {type(point).__name__}; expected a ScoredPoint, as query_points() returns.",
                code="invalid_documents",
                param="points",
            )
    return given


def _higher_is_better(scores: list[float | None]) -> list[float | None]:
    """Distances, smallest first in what Qdrant returns, as negative numbers; anything else as it is."""
    known = [score for score in scores if score is not None]
    if len(known) == len(scores) and known and known[0] < known[-1]:
        return [-score for score in known]
    return scores
