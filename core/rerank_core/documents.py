"""From the caller's query and documents to the texts that a scorer reads. Validates; does not change its input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rerank_core.errors import InvalidRequestError
from rerank_core.results import Document

_SURROGATES = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"

DocumentLike = str | Mapping[str, Any] | Document


def clean_text(text: str) -> str:
    """``text`` with lone surrogates, which no tokenizer accepts, as U+FFFD. Same length, so spans still fit."""
    try:
        text.encode()  # far faster than the search, and nearly always enough
    except UnicodeEncodeError:
        return _SURROGATES.sub(_REPLACEMENT, text)
    return text


def one_line(text: str, most: int) -> str:
    """``text`` for people: on one line, without control characters, and cut to ``most`` characters."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 2 * most])
    line = " ".join(printable.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def check_query(query: object) -> str:
    """The query as text for the model.

    Raises:
        InvalidRequestError: when it is not a string, or is blank (code ``empty_query``).
    """
    if not isinstance(query, str):
        raise InvalidRequestError(
            f"query must be a string, got {type(query).__name__}.", code="invalid_query", param="query"
        )
    if not query.strip():
        raise InvalidRequestError("Query cannot be empty", code="empty_query", param="query")
    return clean_text(query)


def check_documents(documents: object) -> list[Document]:
    """Every input as a :class:`Document`, in order; ``Document`` objects pass through as they are.

    Raises:
        InvalidRequestError: when ``documents`` is not a list of documents (code ``invalid_documents``), or one
            of them is not a string, a mapping with a string ``text``, or a ``Document`` (``invalid_document``).
    """
    if isinstance(documents, str | bytes | Mapping | Document) or not isinstance(documents, Iterable):
        raise InvalidRequestError(
            "documents must be a list of strings, mappings with a 'text' field, or Document objects; "
            f"got {type(documents).__name__}.",
            code="invalid_documents",
            param="documents",
        )
    return [_as_document(position, item) for position, item in enumerate(documents)]


def _as_document(position: int, item: object) -> Document:
    if isinstance(item, str):
        return Document(item)
    if isinstance(item, Document):
        return item
    if isinstance(item, Mapping):
        if "text" not in item:
            raise InvalidRequestError(
                f"documents[{position}] is a mapping without a 'text' field; its text must be under 'text'.",
                code="invalid_document",
                param=f"documents[{position}]",
            )
        text = _check_text(position, item["text"])
        return Document(text, {key: value for key, value in item.items() if key != "text"})
    raise InvalidRequestError(
        f"documents[{position}] is {type(item).__name__}; "
        "expected a string, a mapping with a 'text' field, or a Document.",
        code="invalid_document",
        param=f"documents[{position}]",
    )


def _check_text(position: int, text: object) -> str:
    if not isinstance(text, str):
        raise InvalidRequestError(
            f"the text of documents[{position}] is {type(text).__name__}; expected a string. "
            'Pass "" for a document without text.',
            code="invalid_document",
            param=f"documents[{position}]",
        )
    return text
