"""The first stage: which documents of each query a reranker gets to see, in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.bm25 import Bm25
from rerank_core.evaluation.data import LabelledData, read_run

Ranking = Mapping[str, Sequence[str]]
"""Query id to document ids, best first."""


def bm25(
    data: LabelledData, *, depth: int, language: str = "english", on_query: Callable[[], None] | None = None
) -> Ranking:
    """The best ``depth`` documents of the whole collection, by BM25.

    Documents without a word of the query are no candidates.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
        InvalidRequestError: when there is no stemmer for ``language``, or the documents have no words.
    """
    index, identifiers = Bm25(list(data.documents.values()), language=language), list(data.documents)
    ranking = {}
    for query, text in data.queries.items():
        ranking[query] = [identifiers[row] for row in index.top(text, depth)]
        if on_query is not None:
            on_query()
    return ranking


def judged_pool(data: LabelledData, *, language: str = "english") -> Ranking:
    """Every judged document that has a text, in BM25's order."""
    pools = {
        query: [document for document in data.judgments[query] if document in data.documents] for query in data.queries
    }
    return _sorted(pools, data, language)


def given(data: LabelledData, *, depth: int, language: str = "english") -> Ranking:
    """The best ``depth`` of the documents that stand beside each query in the data, in BM25's order."""
    ranking = _sorted({query: data.candidates.get(query, ()) for query in data.queries}, data, language)
    return {query: documents[:depth] for query, documents in ranking.items()}


def run_file(data: LabelledData, file: Path, *, depth: int) -> Ranking:
    """The best ``depth`` documents of a TREC run that have a text; equal scores in trec_eval's order.

    Raises:
        InvalidRequestError: when the run is malformed, or has none of the queries.
    """
    run = read_run(file)
    ranking = {}
    for query in data.queries:
        # trec_eval breaks ties by document id, the greater one first.
        best = sorted(run.get(query, {}).items(), key=lambda item: (item[1], item[0]), reverse=True)
        ranking[query] = [document for document, _ in best if document in data.documents][:depth]
    if not any(ranking.values()):
        raise InvalidRequestError(f"{file.name} has no results for any of the {len(data.queries)} queries.")
    return ranking


def _sorted(pools: Ranking, data: LabelledData, language: str) -> Ranking:
    """Each query's documents in BM25's order over the whole collection; equal scores keep theirs."""
    index = Bm25(list(data.documents.values()), language=language)
    rows = {document: row for row, document in enumerate(data.documents)}
    ranking = {}
    for query, pool in pools.items():
        scores = index.scores(data.queries[query])
        ranking[query] = sorted(pool, key=lambda document: -scores[rows[document]])
    return ranking
