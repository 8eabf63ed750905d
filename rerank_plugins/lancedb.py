"""The reranker as LanceDB has rerankers: for hybrid, vector and full-text search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from rerank_core import Document, InvalidRequestError, RerankResponse, fuse_lists
from rerank_core.optional import optional
from rerank_plugins.options import EngineOptions
from rerank_plugins.results import WRITTEN, result_metadata, retrieval_scores

with optional("LanceDBReranker", extra="lancedb"):
    import pyarrow as pa
    from lancedb.rerankers import Reranker

__all__ = ["LanceDBReranker"]

_ROW, _DISTANCE, _SCORE, _RELEVANCE = "_rowid", "_distance", "_score", "_relevance_score"


class LanceDBReranker(EngineOptions, Reranker):
    """Ranks the rows of a LanceDB search by relevance to the query's text.

    For ``rerank()`` of any query, hybrid, vector or full-text, synchronous or not. Rows come back best first, with the
    probability of relevance as ``_relevance_score``. Where it is the case for a row, there are columns that say so:
    ``rerank_truncated`` (the model read only part of the text), ``rerank_degraded`` (a fallback ranked it),
    ``rerank_window``, ``rerank_highlights``.

    A vector or full-text query gives the reranker as many rows as its ``limit`` says, and all come back: take a large
    limit for the candidates, and ``top_n`` for what is kept. A hybrid query cuts to its limit afterwards.

    The options of :class:`~rerank_core.Reranker` are fields, as in the other adapters: ``model``, ``provider``,
    ``fusion``, ... ``reranker=`` takes a ready engine instead. For ``fusion`` distances and full-text scores count, in
    a hybrid search both, by reciprocal ranks.

    LanceDB calls rerankers in the thread of the query: an asynchronous one waits for the model with its event loop.

    Raises:
        pydantic.ValidationError: when an option is unknown, has a value it cannot have, or does not go with another
            (a ``ValueError``).

    Example::

        found = table.search("tall towers", query_type="hybrid").rerank(LanceDBReranker()).limit(5).to_list()
        print(found[0]["text"], found[0]["_relevance_score"])
    """

    column: str = Field(default="text", min_length=1, description="The column that the model reads.")
    return_score: Literal["relevance", "all"] = Field(
        default="relevance", description="'all' keeps the retriever's _distance and _score beside the relevance."
    )

    # LanceDB's constructor would set it; its own methods read it.
    _concat_tables_args: dict[str, Any] = PrivateAttr(default_factory=lambda: {"promote_options": "default"})

    @property
    def score(self) -> str:  # type: ignore[override, unused-ignore]  # an attribute there
        """:attr:`return_score`, by the name that LanceDB reads."""
        return self.return_score

    def rerank_vector(self, query: str, vector_results: pa.Table) -> pa.Table:
        """The rows of a vector search, best first.

        Raises:
            InvalidRequestError: when the query is blank, or :attr:`column` is not among the columns or has no text.
            RerankError: when the model cannot be loaded or fails.
        """
        return self._reranked(query, vector_results, _closeness(vector_results))

    def rerank_fts(self, query: str, fts_results: pa.Table) -> pa.Table:
        """The rows of a full-text search, best first.

        Raises:
            The same as :meth:`rerank_vector`.
        """
        return self._reranked(query, fts_results, _values(fts_results, _SCORE))

    def rerank_hybrid(self, query: str, vector_results: pa.Table, fts_results: pa.Table) -> pa.Table:
        """The rows of both searches, each once, best first.

        Raises:
            The same as :meth:`rerank_vector`.
        """
        rows, scores = _merged(vector_results, fts_results)
        return self._reranked(query, rows, scores)

    def _reranked(self, query: str, rows: pa.Table, scores: Sequence[float | None] | None) -> pa.Table:
        response = self.engine.rerank(
            query,
            self._documents(rows),
            top_n=self.top_n,
            score_threshold=self.score_threshold,
            retrieval_scores=scores,
        )
        dropped = {_RELEVANCE, *WRITTEN} | (set() if self.return_score == "all" else {_DISTANCE, _SCORE})
        kept = rows.select([name for name in rows.column_names if name not in dropped])
        return _with_results(kept.take(pa.array([result.index for result in response], pa.int64())), response)

    def _documents(self, rows: pa.Table) -> list[Document]:
        if not rows.num_rows:
            return []
        texts = self._texts(rows)
        # Vectors are no metadata, and would be long lists of numbers.
        plain = [
            field.name for field in rows.schema if not pa.types.is_nested(field.type) and field.name != self.column
        ]
        return [Document(text or "", row) for text, row in zip(texts, rows.select(plain).to_pylist(), strict=True)]

    def _texts(self, rows: pa.Table) -> list[str | None]:
        if self.column not in rows.column_names:
            raise InvalidRequestError(
                f"The search has no column {self.column!r}, only {', '.join(rows.column_names)}. "
                "Name the one that has the text with column=, and leave it in select().",
                param="column",
            )
        kind = rows.schema.field(self.column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise InvalidRequestError(f"The column {self.column!r} is {kind}; expected text.", param="column")
        texts: list[str | None] = rows.column(self.column).to_pylist()
        return texts


def _values(rows: pa.Table, name: str) -> list[float | None] | None:
    return retrieval_scores(rows.column(name).to_pylist()) if name in rows.column_names else None


def _closeness(rows: pa.Table) -> list[float | None] | None:
    """Distances as scores: higher is better."""
    distances = _values(rows, _DISTANCE)
    return None if distances is None else [None if value is None else -value for value in distances]


def _merged(vector: pa.Table, fts: pa.Table) -> tuple[pa.Table, list[float | None] | None]:
    """The rows of both, each once, in the order of their reciprocal ranks, which are the scores."""
    if not vector.num_rows:
        return fts, _values(fts, _SCORE)
    if not fts.num_rows:
        return vector, _closeness(vector)
    ids = [table.column(_ROW).to_pylist() for table in (vector, fts)]
    scores = [_closeness(vector), _values(fts, _SCORE)]
    lists = [zip(names, known or [None] * len(names), strict=True) for names, known in zip(ids, scores, strict=True)]
    fused = fuse_lists(lists)
    both = pa.concat_tables([vector, fts], promote_options="default")
    place = {name: position for position, name in reversed([*enumerate(ids[0] + ids[1])])}
    rows = both.take(pa.array([place[name] for name, _ in fused], pa.int64()))
    # A row that both have found is the vector search's, and lacks the other's score.
    known = dict(zip(ids[1], fts.column(_SCORE).to_pylist(), strict=True))
    column = pa.array([known.get(name) for name, _ in fused], pa.float32())
    return rows.set_column(rows.column_names.index(_SCORE), _SCORE, column), [score for _, score in fused]


def _with_results(rows: pa.Table, response: RerankResponse) -> pa.Table:
    """``rows`` with what there is to know of them; a column only where it says something."""
    about = [result_metadata(result) for result in response]
    for name in sorted(WRITTEN & {key for metadata in about for key in metadata}):
        rows = rows.append_column(name, pa.array([metadata.get(name) for metadata in about]))
    return rows.append_column(_RELEVANCE, pa.array([result.relevance_score for result in response], pa.float32()))
