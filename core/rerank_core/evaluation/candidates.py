"""The first stage: which documents of each query a reranker gets to see, in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rerank_core.errors import InvalidRequestError, missing_dependency
from rerank_core.evaluation.data import LabelledData, read_run

Ranking = Mapping[str, Sequence[str]]
"""Query id to document ids, best first."""

K1, B = 1.2, 0.75
LANGUAGES_WITH_STOP_WORDS = {"english": "en"}


def bm25(
    data: LabelledData, *, depth: int, language: str = "english", on_query: Callable[[], None] | None = None
) -> Ranking:
    """The best ``depth`` documents of the whole collection, by BM25.

    bm25s in Lucene's form (https://github.com/xhluca/bm25s) with k1 = 1.2 and b = 0.75, Snowball stems; English stop
    words are left out. Documents without a word of the query are no candidates.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
        InvalidRequestError: when there is no stemmer for ``language``.
    """
    scores = _bm25_scores(data, language)
    ranking = {}
    for query, text in data.queries.items():
        found = scores(text)
        best = sorted(found, key=lambda document: -found[document])[:depth]
        ranking[query] = [document for document in best if found[document] > 0]
        if on_query is not None:
            on_query()
    return ranking


def judged_pool(data: LabelledData, *, language: str = "english") -> Ranking:
    """Every judged document that has a text, in BM25's order."""
    scores = _bm25_scores(data, language)
    ranking = {}
    for query, text in data.queries.items():
        found = scores(text)
        pool = [document for document in data.judgments[query] if document in data.documents]
        ranking[query] = sorted(pool, key=lambda document: -found[document])
    return ranking


def given(data: LabelledData, *, depth: int, language: str = "english") -> Ranking:
    """The best ``depth`` of the documents that stand beside each query in the data, in BM25's order."""
    scores = _bm25_scores(data, language)
    ranking = {}
    for query, text in data.queries.items():
        found = scores(text)
        ranking[query] = sorted(data.candidates.get(query, ()), key=lambda document: -found[document])[:depth]
    return ranking


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


def _bm25_scores(data: LabelledData, language: str) -> Callable[[str], dict[str, float]]:
    """A function from a query to the scores of all documents."""
    try:
        import bm25s
        import snowballstemmer
    except ImportError as error:
        raise missing_dependency(str(error.name), extra="eval", what="the BM25 first stage") from error
    if language not in snowballstemmer.algorithms():
        raise InvalidRequestError(
            f"there is no stemmer for {language!r}; there are {', '.join(snowballstemmer.algorithms())}.",
            param="language",
        )
    stemmer = snowballstemmer.stemmer(language)
    stop: str | list[str] = LANGUAGES_WITH_STOP_WORDS.get(language, [])
    identifiers = list(data.documents)

    def tokenize(texts: list[str]) -> list[list[str]]:
        tokens: list[list[str]] = bm25s.tokenize(
            texts, stopwords=stop, stemmer=stemmer.stemWords, return_ids=False, show_progress=False
        )
        return tokens

    index = bm25s.BM25(k1=K1, b=B)
    tokens = tokenize(list(data.documents.values()))
    if not any(tokens):
        raise InvalidRequestError(f"{data.name}: the documents have no words.")
    index.index(tokens, show_progress=False)

    def scores(query: str) -> dict[str, float]:
        (words,) = tokenize([query])
        found = index.get_scores(words) if words else [0.0] * len(identifiers)
        return {identifier: float(score) for identifier, score in zip(identifiers, found, strict=True)}

    return scores
