"""A JSONL file written by hand: a query with its documents on each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import GRADE, LabelledData, is_grade, is_score
from rerank_core.evaluation.lines import conflict, read_lines, read_object

_WANTED = "'documents' must be a list of texts, or of objects with 'text', 'score' and 'id'."


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
        row, name = read_object(file, number, line), f"q{number}"
        query, found = row.get("query"), _documents(file, number, row)
        judged = _judged(file, number, row, found)
        if not isinstance(query, str) or not query.strip():
            raise InvalidRequestError(f"{file.name}:{number}: 'query' must be a text that says something.")
        for document in found:
            if documents.setdefault(document.identifier, document.text) != document.text:
                raise conflict(file, number, f"another text of document {document.identifier!r}")
        queries[name] = query
        judgments[name] = judged
        candidates[name] = [document.identifier for document in found]
        if found[0].score is not None:
            scores[name] = {document.identifier: document.score for document in found if document.score is not None}
    if not queries:
        raise InvalidRequestError(f"{file} has no queries.")
    if scores and len(scores) < len(queries):
        raise InvalidRequestError(
            f"{file.name}: the documents of {len(scores)} of {len(queries)} queries have a 'score': all, or none."
        )
    return LabelledData(file.stem, queries, documents, judgments, candidates, retrieval_scores=scores)


class _Document(NamedTuple):
    """A document as it is written, with the retriever's score if there is one."""

    identifier: str
    text: str
    score: float | None


def _documents(file: Path, number: int, row: Mapping[str, Any]) -> list[_Document]:
    """The documents of a line: texts, or objects with ``text``, the retriever's ``score`` and an ``id``."""
    where, values = f"{file.name}:{number}", row.get("documents")
    if not isinstance(values, list) or not values:
        raise InvalidRequestError(f"{where}: {_WANTED}")
    found = [_document(where, value, f"q{number}d{position}") for position, value in enumerate(values)]
    if len({document.score is None for document in found}) > 1:
        raise InvalidRequestError(f"{where}: only some documents have a 'score'; give all one, or none.")
    if len({document.identifier for document in found}) < len(found):
        raise InvalidRequestError(f"{where}: two documents have the same 'id'; leave one of them out.")
    return found


def _document(where: str, value: object, name: str) -> _Document:
    """The document; ``name`` is its id where it has none."""
    if isinstance(value, str):
        return _Document(name, value, None)
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise InvalidRequestError(f"{where}: {_WANTED}")
    score, identifier = value.get("score"), value.get("id")
    if score is not None and not is_score(score):
        raise InvalidRequestError(f"{where}: the 'score' of a document must be a finite number.")
    if identifier is not None and (type(identifier) not in {str, int} or identifier == ""):
        raise InvalidRequestError(f"{where}: the 'id' of a document must be a text or a whole number.")
    return _Document(
        name if identifier is None else str(identifier), value["text"], None if score is None else float(score)
    )


def _judged(file: Path, number: int, row: Mapping[str, Any], documents: Sequence[_Document]) -> dict[str, int]:
    """The grade of each document of a line, and of those that its retriever has not found, by id."""
    relevant, grades, where, count = row.get("relevant"), row.get("grades"), f"{file.name}:{number}", len(documents)
    names = [document.identifier for document in documents]
    if grades is not None:
        if relevant is not None:
            raise InvalidRequestError(f"{where}: both 'relevant' and 'grades' are given; leave one of them out.")
        if not isinstance(grades, list) or len(grades) != count or not all(map(is_grade, grades)):
            raise InvalidRequestError(f"{where}: 'grades' must have {GRADE} for each of the documents.")
        return dict(zip(names, grades, strict=True))
    named = any(name != f"q{number}d{position}" for position, name in enumerate(names))
    found = [_identifier(each, names, named=named) for each in relevant] if isinstance(relevant, list) else [None]
    if None in found:
        raise InvalidRequestError(
            f"{where}: 'relevant' must list positions in 'documents', from 0 to {count - 1}, or ids where documents "
            "have some; or give 'grades'."
        )
    return {**dict.fromkeys(names, 0), **dict.fromkeys(filter(None, found), 1)}


def _identifier(value: object, names: Sequence[str], *, named: bool) -> str | None:
    """The id that a number stands for, or an id; None where it is neither.

    Where documents are ``named`` by the file, an id may be of one that is not among them: it was not found.
    """
    if isinstance(value, str):
        return value if value in names or (named and value) else None
    return names[value] if type(value) is int and 0 <= value < len(names) else None
