"""A JSONL file written by hand: a query with its documents on each line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import GRADE, LabelledData, is_grade, is_score
from rerank_core.evaluation.lines import read_lines, read_object

_WANTED = "'documents' must be a list of texts, or of objects with 'text' and 'score'."


def read_hand_written(file: Path) -> LabelledData:
    """The queries, each with candidates of its own.

    Raises:
        InvalidRequestError: when a line is malformed, or there is none.
    """
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    judgments: dict[str, dict[str, int]] = {}
    candidates: dict[str, list[str]] = {}
    scores: dict[str, dict[str, float]] = {}
    for number, line in read_lines(file):
        row = read_object(file, number, line)
        query, found = row.get("query"), _documents(file, number, row)
        texts, grades = [document.text for document in found], _grades(file, number, row, len(found))
        if not isinstance(query, str) or not query.strip():
            raise InvalidRequestError(f"{file.name}:{number}: 'query' must be a text that says something.")
        name = f"q{number}"
        identifiers = [f"{name}d{position}" for position in range(len(texts))]
        queries[name] = query
        documents.update(zip(identifiers, texts, strict=True))
        judgments[name] = dict(zip(identifiers, grades, strict=True))
        candidates[name] = identifiers
        if found[0].score is not None:
            scores[name] = {
                identifier: document.score
                for identifier, document in zip(identifiers, found, strict=True)
                if document.score is not None
            }
    if not queries:
        raise InvalidRequestError(f"{file} has no queries.")
    if scores and len(scores) < len(queries):
        raise InvalidRequestError(
            f"{file.name}: the documents of {len(scores)} of {len(queries)} queries have a 'score': all, or none."
        )
    return LabelledData(file.stem, queries, documents, judgments, candidates, retrieval_scores=scores)


class _Document(NamedTuple):
    """A document as it is written, with the retriever's score if there is one."""

    text: str
    score: float | None


def _documents(file: Path, number: int, row: Mapping[str, Any]) -> list[_Document]:
    """The documents of a line: texts, or objects with ``text`` and the retriever's ``score``."""
    where, values = f"{file.name}:{number}", row.get("documents")
    if not isinstance(values, list) or not values:
        raise InvalidRequestError(f"{where}: {_WANTED}")
    found = [_document(where, value) for value in values]
    if len({document.score is None for document in found}) > 1:
        raise InvalidRequestError(f"{where}: only some documents have a 'score'; give all one, or none.")
    return found


def _document(where: str, value: object) -> _Document:
    if isinstance(value, str):
        return _Document(value, None)
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise InvalidRequestError(f"{where}: {_WANTED}")
    score = value.get("score")
    if score is not None and not is_score(score):
        raise InvalidRequestError(f"{where}: the 'score' of a document must be a finite number.")
    return _Document(value["text"], None if score is None else float(score))


def _grades(file: Path, number: int, row: Mapping[str, Any], count: int) -> list[int]:
    """The grade of each of the ``count`` documents of a line."""
    relevant, grades, where = row.get("relevant"), row.get("grades"), f"{file.name}:{number}"
    if grades is not None:
        if relevant is not None:
            raise InvalidRequestError(f"{where}: both 'relevant' and 'grades' are given; leave one of them out.")
        if not isinstance(grades, list) or len(grades) != count or not all(map(is_grade, grades)):
            raise InvalidRequestError(f"{where}: 'grades' must have {GRADE} for each of the documents.")
        return grades
    if not isinstance(relevant, list) or not all(type(p) is int and 0 <= p < count for p in relevant):
        raise InvalidRequestError(
            f"{where}: 'relevant' must list positions in 'documents', from 0 to {count - 1}; or give 'grades'."
        )
    return [int(position in relevant) for position in range(count)]
