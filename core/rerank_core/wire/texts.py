"""From the documents of a request to their texts. The work is linear in the size of the request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core.documents import clean_text
from rerank_core.errors import InvalidRequestError


def texts_of(documents: Sequence[Any], fields: Sequence[str] | None = None, name: str = "documents") -> list[str]:
    """The text of each document, as the model reads it.

    Args:
        documents: strings, objects with a ``text``, or objects with a ``content`` list of text parts (vLLM).
        fields: the fields of an object to read instead, joined by newlines in this order (Cohere's ``rank_fields``);
            those that an object lacks are skipped, and one named twice is read once.
        name: the name of the list, for messages.

    Raises:
        InvalidRequestError: when a document has no text (code ``invalid_document``).
    """
    order = {field: place for place, field in enumerate(dict.fromkeys(fields or ()))}
    return [_text_of(document, order, f"{name}[{position}]") for position, document in enumerate(documents)]


def _text_of(document: Any, order: Mapping[str, int], param: str) -> str:
    if isinstance(document, str):
        return clean_text(document)
    if order:
        # The loop is over the document's own fields: there may be many documents and many requested fields.
        found = sorted(
            (order[field], field) for field, value in document.items() if field in order and value is not None
        )
        if found:
            return clean_text("\n".join(_as_text(document[field]) for _, field in found))
    elif isinstance(document.get("text"), str):
        return clean_text(document["text"])
    elif isinstance(document.get("content"), list):
        return clean_text("\n".join(_content_part(part, param) for part in document["content"]))
    wanted = "one of the fields that rank_fields names" if order else "a 'text' field that is a string"
    raise InvalidRequestError(f"{param} has no text: expected {wanted}.", code="invalid_document", param=param)


def _content_part(part: Any, param: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise InvalidRequestError(
        f"{param} holds content that is not text; this model reads text only.", code="invalid_document", param=param
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
