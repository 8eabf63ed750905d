"""Which columns of a row are the query and its texts, and what is added to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rerank_core.errors import InvalidRequestError

ADDED = ("relevance_score", "logit", "rank", "truncated", "window", "tokens", "model")
"""The columns that a scored row has besides its own, in this order."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns that are read. Every other one comes back as it is.

    Attributes:
        query: the query's text.
        document: the text of a row that is one pair.
        documents: the texts of a row that is a query with its candidates: strings, or objects with a ``text``.
        query_id: what tells queries apart; without it, their texts do.
        document_id: what tells a pair's texts apart; candidates that are objects have it inside.
        id: what tells rows apart; a row without one gets a hash of its query's id, its texts' ids and its texts.
        prefix: stands before the names of the added columns, where a row has columns of those names.
    """

    query: str = "query"
    document: str = "document"
    documents: str = "documents"
    query_id: str = "query_id"
    document_id: str = "document_id"
    id: str = "id"
    prefix: str = ""

    def __post_init__(self) -> None:
        names = (self.query, self.document, self.documents, self.query_id, self.document_id, self.id)
        if any(not name for name in names) or len(set(names)) < len(names):
            raise InvalidRequestError(f"columns need six different names, got {', '.join(map(repr, names))}.")

    def added(self) -> tuple[str, ...]:
        """The names of the added columns."""
        return tuple(self.prefix + name for name in ADDED)


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """One row of a file.

    Attributes:
        source: the file's name.
        number: of the row in it, from 1; a line of a JSONL file, a record of the others.
        values: the columns; None where the row could not be read.
        reason: why it could not.
    """

    source: str
    number: int
    values: Mapping[str, Any] | None
    reason: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Work:
    """A query and the texts of one row.

    Attributes:
        query: the query.
        texts: its texts.
        key: what tells queries apart.
        ids: of the texts; None for one without.
        pair: whether the row is one pair, whose added columns are single values and not lists.
    """

    query: str
    texts: tuple[str, ...]
    key: Any
    ids: tuple[Any, ...]
    pair: bool

    @property
    def shared_query(self) -> Any:
        """What pairs of one query have in common, which are ranked together; None for candidates, a list by itself."""
        return (self.query, self.key) if self.pair else None

    def hashed(self) -> str:
        """What stands for the id of a row without one: the same for the same row, wherever it is."""
        known = json.dumps([self.key, self.ids, self.texts], default=str)
        return hashlib.sha256(known.encode()).hexdigest()[:32]


class BadRowError(ValueError):
    """A row that cannot be scored; the message says why, without the row's texts."""


def work_of(row: Row, columns: Columns) -> Work:
    """What is to be scored of a row.

    Raises:
        BadRowError: when there is nothing to score.
        InvalidRequestError: when the row has columns that would be written over.
    """
    if row.values is None:
        raise BadRowError(row.reason)
    taken = [name for name in columns.added() if name in row.values]
    if taken:
        raise InvalidRequestError(
            f"{row.source}, row {row.number}: the column {taken[0]!r} is there already and would be written over. Give "
            "the added columns a prefix (--prefix).",
            param="prefix",
        )
    query = _text(row.values.get(columns.query), columns.query)
    if not query.strip():
        raise BadRowError(f"column {columns.query!r} is blank")
    key = row.values.get(columns.query_id, query)
    if row.values.get(columns.documents) is not None or columns.document not in row.values:
        if columns.documents not in row.values:
            raise BadRowError(f"neither {columns.document!r} nor {columns.documents!r} is a column")
        found = row.values[columns.documents]
        texts = _texts(found, columns.documents)
        return Work(query, texts, key, tuple(candidate_id(each, columns) for each in found), pair=False)
    text = _text(row.values[columns.document], columns.document)
    return Work(query, (text,), key, (row.values.get(columns.document_id),), pair=True)


def candidate_id(candidate: Any, columns: Columns) -> Any:
    """The id of one of a row's candidates; None for one without."""
    if not isinstance(candidate, Mapping):
        return None
    return candidate.get(columns.document_id, candidate.get(columns.id))


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise BadRowError(f"column {name!r} is {_kind(value)}, expected a list")
    if not value:
        raise BadRowError(f"column {name!r} is an empty list")
    return tuple(
        _text(each["text"] if isinstance(each, Mapping) and "text" in each else each, f"{name}[{number}]")
        for number, each in enumerate(value)
    )


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadRowError(f"column {name!r} is {_kind(value)}, expected text")
    return value


def _kind(value: Any) -> str:
    return "missing" if value is None else f"of the type {type(value).__name__}"
