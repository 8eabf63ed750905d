"""The fields of request bodies, as pydantic types whose errors are those of the rerank API.

Dialects differ in names and shapes; what a query, a list of documents or a limit may be is the same everywhere and is
defined here once. A field that is null counts as absent, booleans accept "true" and "false", unknown fields are
ignored: clients in use send all of these.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rerank_core.documents import clean_text
from rerank_core.errors import InvalidRequestError
from rerank_core.wire.effects import Honoured

M = TypeVar("M", bound="Body")

_MAYBE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_NO_DOCUMENTS = ("empty_documents", "Documents cannot be empty")
_MOST_DEPTH = 100
_MOST_RANK_FIELDS = 100
# Code and message for a missing field; the code of any other is "invalid_" and its name.
_MISSING = {
    "model": ("missing_model", "model is required; GET /v1/models lists what is served."),
    # the query and the documents, by the names they have in the dialects
    **dict.fromkeys(("query", "text_1"), ("empty_query", "Query cannot be empty")),
    **dict.fromkeys(("documents", "texts", "input", "passages", "text_2"), _NO_DOCUMENTS),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a request; None is no limit.

    Attributes:
        documents: most documents; checked before any of them is looked at.
        query_characters: most characters of a query.
        document_characters: most characters of a document's text.
    """

    documents: int | None = None
    query_characters: int | None = None
    document_characters: int | None = None


UNLIMITED = Limits()


class Body(BaseModel):
    """A request body. Unknown fields are ignored; null means absent."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: item for name, item in value.items() if item is not None}
        return value


def read_json(data: bytes | bytearray | str) -> Any:
    """The value of a JSON text, in UTF-8 if it is bytes.

    Lone surrogates, which JSON can express and UTF-8 cannot, become U+FFFD: documents must be able to be sent back.

    Raises:
        InvalidRequestError: when it is not JSON (code ``invalid_json``). NaN, Infinity, numbers that float64 cannot
            hold and values nested more than 100 deep are refused as well: they could not be sent back.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        _check_depth(value)
        return _cleaned(value) if _MAYBE_SURROGATE.search(text) else value
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidRequestError(f"The body is not valid JSON{where}.", code="invalid_json") from None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number beyond float64")
    return value


def _check_depth(value: Any) -> None:
    """Check that a recursive JSON writer can write the value again.

    Raises:
        ValueError: when it is nested too deeply.
    """
    level = [value]
    for _ in range(_MOST_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError("nested too deep")


def parse(kind: type[M], body: Any, limits: Limits = UNLIMITED) -> M:
    """``body`` as a ``kind``, within ``limits``.

    Raises:
        InvalidRequestError: when it is invalid; ``code`` and ``param`` name the first error, and the message never
            repeats the input.
    """
    if not isinstance(body, dict):
        raise InvalidRequestError(f"The body must be a JSON object, got {_json_type(body)}.", code="invalid_json")
    try:
        return kind.model_validate(body, context=limits)
    except ValidationError as error:
        raise _translated(error) from None


def _translated(error: ValidationError) -> InvalidRequestError:
    first = error.errors(include_url=False, include_input=False)[0]
    location = [part for part in first["loc"] if isinstance(part, str | int)]
    field = next((part for part in reversed(location) if isinstance(part, str)), "body")
    if first["type"] == "missing":
        code, message = _MISSING.get(field, (f"invalid_{field}", f"{field} is required."))
        return InvalidRequestError(message, code=code, param=field)
    context = first.get("ctx", {})
    param = context.get("param") or ".".join(map(str, location)) or None
    if "code" in context:
        return InvalidRequestError(first["msg"], code=str(context["code"]), param=param)
    return InvalidRequestError(f"{param}: {first['msg']}.", code=f"invalid_{field}", param=param)


def wrong(code: str, message: str, param: str) -> PydanticCustomError:
    """The error that a field's check raises; :func:`parse` turns it into an :class:`InvalidRequestError`."""
    # pydantic fills {placeholders} from the context, so the message itself travels as one.
    return PydanticCustomError("rerank", "{text}", {"text": message, "code": code, "param": param})


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(name): _cleaned(item) for name, item in value.items()}
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _query(value: Any, info: ValidationInfo) -> str:
    if isinstance(value, str) and not value.strip():
        raise wrong(*_MISSING["query"], "query")
    if not isinstance(value, str):
        raise wrong("invalid_query", f"query must be a string, got {_json_type(value)}.", "query")
    most = _limits(info).query_characters
    if most is not None and len(value) > most:
        raise wrong("query_too_long", f"Query is too long. Maximum is {most} characters.", "query")
    return clean_text(value)


def _limits(info: ValidationInfo) -> Limits:
    return info.context if isinstance(info.context, Limits) else UNLIMITED


def check_count(value: Any, info: ValidationInfo) -> None:
    """Check a list against the limit of documents, before any of its items is looked at.

    Raises:
        PydanticCustomError: when it is longer (code ``too_many_documents``).
    """
    most = _limits(info).documents
    if most is not None and isinstance(value, list) and len(value) > most:
        name = info.field_name or "documents"
        raise wrong("too_many_documents", f"Too many documents. Maximum is {most}.", name)


def _model(value: Any) -> str:
    name = _optional_model(value)
    if name is None:
        raise wrong(*_MISSING["model"], "model")
    return name


def _optional_model(value: Any) -> str | None:
    if not isinstance(value, str):
        raise wrong("invalid_model", f"model must be a string, got {_json_type(value)}.", "model")
    return clean_text(value) or None


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 3.0 is as whole as 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _top_n(value: Any, info: ValidationInfo) -> int:
    value = _whole(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        seen = value if isinstance(value, int | float) and not isinstance(value, bool) else _json_type(value)
        name = info.field_name or "top_n"
        raise wrong("invalid_top_n", f"{name} must be a whole number of at least 1, got {seen}.", name)
    return value


def _top_n_or_zero(value: Any, info: ValidationInfo) -> int | None:
    return None if value == 0 and not isinstance(value, bool) else _top_n(value, info)


def _flag(value: Any, info: ValidationInfo) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    name = info.field_name or "field"
    raise wrong("invalid_flag", f"{name} must be true or false, got {_json_type(value)}.", name)


def _count(value: Any, info: ValidationInfo) -> int:
    value = _whole(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        name = info.field_name or "field"
        raise wrong(f"invalid_{name}", f"{name} must be a whole number of at least 1.", name)
    return value


def _rank_fields(value: Any, info: ValidationInfo) -> list[str]:
    name = info.field_name or "rank_fields"
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise wrong("invalid_rank_fields", f"{name} must be an array of strings.", name)
    if len(value) > _MOST_RANK_FIELDS:
        raise wrong("invalid_rank_fields", f"{name} may name {_MOST_RANK_FIELDS} fields, got {len(value)}.", name)
    return value


def _documents(value: Any, info: ValidationInfo) -> list[Any]:
    name = info.field_name or "documents"
    if isinstance(value, str):  # vLLM takes one document without a list
        value = [value]
    if not isinstance(value, list):
        raise wrong("invalid_documents", f"{name} must be an array, got {_json_type(value)}.", name)
    if not value:
        raise wrong(*_NO_DOCUMENTS, name)
    check_count(value, info)
    for position, document in enumerate(value):
        if not isinstance(document, str | dict):
            raise wrong(
                "invalid_document",
                f"{name}[{position}] must be a string or an object with a 'text' field, got {_json_type(document)}.",
                f"{name}[{position}]",
            )
    return value


# "Before" validators see the value as it arrived; pydantic's own check afterwards only confirms the type.
Query = Annotated[
    str,
    BeforeValidator(_query),
    WithJsonSchema({"type": "string", "minLength": 1, "pattern": r"\S"}),
    Honoured("what documents are scored against", usual="feline pets", other="stock markets"),
]
_MODEL = Honoured("which of the server's models scores", usual="rerank-mini-en-v1", other="rerank-tiny-en-v1")
ModelName = Annotated[str, BeforeValidator(_model), WithJsonSchema({"type": "string", "minLength": 1}), _MODEL]
OptionalModelName = Annotated[
    str | None, BeforeValidator(_optional_model), WithJsonSchema({"type": ["string", "null"]}), _MODEL
]
_TOP_N = Honoured("most results; all without it", usual=1000, other=1)
TopN = Annotated[
    int | None,
    BeforeValidator(_top_n),
    WithJsonSchema({"type": ["integer", "null"], "minimum": 1, "default": None}),
    _TOP_N,
]
TopNOrZero = Annotated[
    int | None,
    BeforeValidator(_top_n_or_zero),
    WithJsonSchema({"type": ["integer", "null"], "minimum": 0, "default": None}),
    replace(_TOP_N, why="most results; all without it, or with 0", usual=0),
]
Flag = Annotated[
    bool,
    BeforeValidator(_flag),
    WithJsonSchema({"anyOf": [{"type": ["boolean", "null"]}, {"enum": ["true", "false"]}]}),
]
# Two names for the same: clients of each dialect send the other's name as well.
LIMIT = AliasChoices("top_n", "top_k")
ReturnDocuments = Annotated[Flag, Honoured("whether results hold their documents", usual=False, other=True)]
Count = Annotated[int | None, BeforeValidator(_count), WithJsonSchema({"type": ["integer", "null"], "minimum": 1})]
RankFields = Annotated[
    list[str] | None,
    BeforeValidator(_rank_fields),
    WithJsonSchema({"type": ["array", "null"], "items": {"type": "string"}, "maxItems": _MOST_RANK_FIELDS}),
    Honoured("the fields of an object that are read, in this order", usual=["text"], other=["title", "text"]),
]
Documents = Annotated[
    list[Any],
    BeforeValidator(_documents),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
                ]
            },
        }
    ),
    Honoured("what is ranked", usual=["Cats purr.", "Dogs bark."], other=["Dogs bark.", "Cats purr.", "Shares fell."]),
]


def is_finite_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False
