"""A JSONL file written by hand: a query with its documents on each line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.labelled import GRADE, LabelledData, is_grade
from rerank_core.evaluation.lines import read_lines, read_object


def read_hand_written(file: Path) -> LabelledData:
    """The queries, each with candidates of its own.

    Raises:
        InvalidRequestError: when a line is malformed, or there is none.
    """
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    judgments: dict[str, dict[str, int]] = {}
    candidates: dict[str, list[str]] = {}
    for number, line in read_lines(file):
        row = read_object(file, number, line)
        query, (texts, grades) = row.get("query"), _graded(file, number, row)
        if not isinstance(query, str) or not query.strip():
            raise InvalidRequestError(f"{file.name}:{number}: 'query' must be a text that says something.")
        name = f"q{number}"
        identifiers = [f"{name}d{position}" for position in range(len(texts))]
        queries[name] = query
        documents.update(zip(identifiers, texts, strict=True))
        judgments[name] = dict(zip(identifiers, grades, strict=True))
        candidates[name] = identifiers
    if not queries:
        raise InvalidRequestError(f"{file} has no queries.")
    return LabelledData(file.stem, queries, documents, judgments, candidates)


def _graded(file: Path, number: int, row: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """The documents of a hand-written line, and the grade of each."""
    texts, relevant, grades = row.get("documents"), row.get("relevant"), row.get("grades")
    where = f"{file.name}:{number}"
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError(f"{where}: 'documents' must be a list of texts.")
    if grades is not None:
        if relevant is not None:
            raise InvalidRequestError(f"{where}: both 'relevant' and 'grades' are given; leave one of them out.")
        if not isinstance(grades, list) or len(grades) != len(texts) or not all(map(is_grade, grades)):
            raise InvalidRequestError(f"{where}: 'grades' must have {GRADE} for each of the documents.")
        return texts, grades
    if not isinstance(relevant, list) or not all(type(p) is int and 0 <= p < len(texts) for p in relevant):
        raise InvalidRequestError(
            f"{where}: 'relevant' must list positions in 'documents', from 0 to {len(texts) - 1}; or give 'grades'."
        )
    return texts, [int(position in relevant) for position in range(len(texts))]
