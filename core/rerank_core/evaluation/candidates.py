"""The first stage: which documents of each query a reranker gets to see, in which order.

BM25 gives equal scores to many short texts. They stand in the order of their ids' digests: in the data the relevant
ones often come first, and a first stage must not know that.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rerank_core.bm25 import Bm25, best_rows
from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.trec import Run

Ranking = Mapping[str, Sequence[str]]
"""Query id to document ids, best first."""


class Retrieved(NamedTuple):
    """What a first stage found.

    Attributes:
        ranking: the candidates.
        scores: the first stage's scores of them, by query and document, higher is better; None where there are none.
    """

    ranking: Ranking
    scores: Mapping[str, Mapping[str, float]] | None = None


def bm25(
    data: LabelledData, *, depth: int, language: str = "english", on_query: Callable[[], None] | None = None
) -> Retrieved:
    """The best ``depth`` documents of the whole collection, by BM25.

    Documents without a word of the query are no candidates.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
        InvalidRequestError: when there is no stemmer for ``language``, or the documents have no words.
    """
    index, identifiers = _index(data, language)
    if not index.has_words:
        raise InvalidRequestError(
            f"{data.name}: BM25 finds nothing: the documents have no words, of two letters or more, beside stop words. "
            "Give your own retriever's results as a run, or take the judged pool."
        )
    found: dict[str, dict[str, float]] = {}
    for query, text in data.queries.items():
        scores = index.scores(text)
        found[query] = {identifiers[row]: float(scores[row]) for row in best_rows(scores, depth)}
        if on_query is not None:
            on_query()
    return Retrieved({query: list(scores) for query, scores in found.items()}, found)


def judged_pool(data: LabelledData, *, language: str = "english") -> Retrieved:
    """Every judged document that has a text, in BM25's order."""
    pools = {
        query: [document for document in data.judgments[query] if document in data.documents] for query in data.queries
    }
    return _sorted(pools, data, language)


def given(data: LabelledData, *, depth: int) -> Retrieved:
    """The first ``depth`` of the documents that stand beside each query in the data, as they stand there."""
    ranking = {query: list(data.candidates.get(query, ()))[:depth] for query in data.queries}
    return Retrieved(ranking, data.retrieval_scores or None)


def given_by_bm25(data: LabelledData, *, depth: int, language: str = "english") -> Retrieved:
    """The best ``depth`` of the documents that stand beside each query in the data, in BM25's order."""
    ranking, scores = _sorted({query: data.candidates.get(query, ()) for query in data.queries}, data, language)
    return Retrieved({query: documents[:depth] for query, documents in ranking.items()}, scores)


def of_run(data: LabelledData, run: Run, *, depth: int) -> Retrieved:
    """The best ``depth`` documents of a TREC run that have a text.

    As trec_eval has it: scores are single precision, the order of the lines and the ranks in the file do not count, and
    of two equals the document with the greater id stands first.

    Raises:
        InvalidRequestError: when the run has none of the queries, or no document it has for them has a text.
    """
    ranking = {}
    for query in data.queries:
        best = sorted(run.scores.get(query, {}).items(), key=lambda item: (_single(item[1]), item[0]), reverse=True)
        ranking[query] = [document for document, _ in best if document in data.documents][:depth]
    if not any(run.scores.get(query) for query in data.queries):
        raise InvalidRequestError(
            f"{run.name} has no results for any of the {len(data.queries)} queries; do the ids of run and queries "
            "agree?"
        )
    if not any(ranking.values()):
        raise InvalidRequestError(
            f"{run.name}: none of its results for the queries has a text; do the ids of documents and run agree?"
        )
    return Retrieved(ranking, run.scores)


def _index(data: LabelledData, language: str) -> tuple[Bm25, list[str]]:
    """The index of all documents, and the ids of its rows."""
    identifiers = sorted(data.documents, key=digest)
    return Bm25([data.documents[identifier] for identifier in identifiers], language=language), identifiers


def _sorted(pools: Ranking, data: LabelledData, language: str) -> Retrieved:
    """Each query's documents in BM25's order over the whole collection."""
    index, identifiers = _index(data, language)
    rows = {identifier: row for row, identifier in enumerate(identifiers)}
    found = {}
    for query, pool in pools.items():
        scores = index.scores(data.queries[query])
        ordered = sorted(pool, key=lambda document: (-scores[rows[document]], rows[document]))
        found[query] = {document: float(scores[rows[document]]) for document in ordered}
    return Retrieved({query: list(scores) for query, scores in found.items()}, found)


def digest(identifier: str) -> bytes:
    """What sorts queries and documents in an order that is the same everywhere and means nothing."""
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).digest()


def _single(score: float) -> float:
    """``score`` as a C float, infinite where that has no room for it."""
    try:
        value: float = struct.unpack("f", struct.pack("f", score))[0]
    except OverflowError:
        return math.copysign(math.inf, score)
    return value
