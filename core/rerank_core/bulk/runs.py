"""TREC runs, ``query Q0 document rank score name`` a line: joined with their texts, and written of scored rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rerank_core.bulk.columns import Columns, Row, candidate_id
from rerank_core.bulk.inputs import Input
from rerank_core.bulk.texts import Texts
from rerank_core.errors import InvalidRequestError

FIRST = ("first_rank", "first_score")
"""The columns that say where a run had a document."""


def read_run(file: Input, columns: Columns, texts: Texts) -> Iterator[Row]:
    """A row per line, a pair with its texts; a line that is malformed, or whose texts are not there, says why.

    Raises:
        InvalidRequestError: when the file cannot be read.
    """
    with file.access(), file.open() as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _row(file.name, number, line, columns, texts)


def _row(source: str, number: int, line: bytes, columns: Columns, texts: Texts) -> Row:
    try:
        query_id, _, document_id, rank, score, *_ = line.decode("utf-8-sig").split()
        first = dict(zip(FIRST, (int(rank), float(score)), strict=True))
    except ValueError:
        return Row(source, number, None, "not 'query Q0 document rank score name'")
    query, document = texts.get("query", query_id), texts.get("document", document_id)
    if query is None or document is None:
        missing = f"query {query_id!r}" if query is None else f"document {document_id!r}"
        return Row(source, number, None, f"no text of {missing}")
    pair = {columns.query_id: query_id, columns.document_id: document_id, columns.query: query}
    return Row(source, number, pair | {columns.document: document} | first)


def run_lines(rows: Sequence[Mapping[str, Any]], columns: Columns) -> Iterator[str]:
    """Scored rows as a run, the best of each query first.

    Raises:
        InvalidRequestError: when a query or a text has no id, or one that a run cannot hold.
    """
    for query, beside in groupby(rows, key=lambda row: row.get(columns.query_id)):
        ranked = sorted((pair for row in beside for pair in _pairs(row, columns)), key=lambda pair: pair[1])
        for document, rank, score, model in ranked:
            yield f"{_cell(query, columns.query_id)} Q0 {_cell(document, columns.document_id)} {rank} {score!r} {model}"


def _pairs(row: Mapping[str, Any], columns: Columns) -> Iterator[tuple[Any, int, float, str]]:
    """Document id, rank, score and model of each text of a row."""
    score, logit, rank, *_, model = (row[name] for name in columns.added())
    if not isinstance(rank, list):
        yield row.get(columns.document_id), rank, _value(score, logit), _name(model)
        return
    for each, *cells in zip(row[columns.documents], rank, score, logit, model, strict=True):
        yield candidate_id(each, columns), cells[0], _value(cells[1], cells[2]), _name(cells[3])


def _value(score: float, logit: float | None) -> float:
    """The logit, if there is one: scores near 1 are equal after rounding, and tools break ties by id."""
    return score if logit is None else logit


def _name(model: str) -> str:
    return "".join(model.split()) or "rerank"


def _cell(identifier: Any, column: str) -> str:
    cell = "" if identifier is None else str(identifier)
    if not cell or len(cell.split()) != 1 or cell != cell.strip():
        raise InvalidRequestError(
            f"a TREC run needs an id without spaces in the column {column!r} of every row. Name the right columns "
            "(--query-id-column, --document-id-column), or write JSONL (--format jsonl).",
            code="no_ids",
        )
    return cell
