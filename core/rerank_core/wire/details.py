"""An extension of the rerank API: what a request may ask for beyond the order, and what its results then say besides.

Positions count Unicode characters (code points) of the text that the model reads: the string, an object's ``text``, or
the fields that ``rank_fields`` names, joined by newlines.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from rerank_core.errors import InvalidRequestError, ProtocolError
from rerank_core.fusion import RRF, Fusion, check_fusion, check_retrieval_scores
from rerank_core.ranking import as_float
from rerank_core.results import Span
from rerank_core.wire.dialect import nested, token_count
from rerank_core.wire.effects import Honoured
from rerank_core.wire.fields import Body, Flag, wrong
from rerank_core.wire.messages import WireResult

MOST_HIGHLIGHTS = 10


def _highlights(value: Any) -> int:
    number = as_float(value)
    if number is None or not number.is_integer() or not 0 <= number <= MOST_HIGHLIGHTS:
        message = f"highlights must be a whole number from 0 to {MOST_HIGHLIGHTS}."
        raise wrong("invalid_highlights", message, "highlights")
    return int(number)


def _fusion(value: Any) -> Fusion | None:
    number = as_float(value)
    if value != RRF and (number is None or not 0 <= number <= 1):
        raise wrong("invalid_fusion", f"fusion must be a number from 0 to 1, or {RRF!r}.", "fusion")
    return check_fusion("fusion", value)


def _retrieval_scores(value: Any, info: ValidationInfo) -> list[float | None] | None:
    documents = info.data.get("documents", ())
    try:
        return check_retrieval_scores(value, len(documents))
    except InvalidRequestError as error:
        raise wrong(error.code, error.message, "retrieval_scores") from None


class DetailFields(Body):
    """The fields that ask for it; all are off unless given."""

    return_details: Annotated[
        Flag, Honoured("true: results say what was read of their text, and which part was best", False, True)
    ] = False
    highlights: Annotated[
        int,
        BeforeValidator(_highlights),
        WithJsonSchema({"type": ["integer", "null"], "minimum": 0, "maximum": MOST_HIGHLIGHTS}),
        Honoured("so many of the best sentences come with each result, which the model scores besides", 0, 1),
    ] = 0
    fusion: Annotated[
        Fusion | None,
        BeforeValidator(_fusion),
        WithJsonSchema({"anyOf": [{"type": ["number", "null"], "minimum": 0, "maximum": 1}, {"const": RRF}]}),
        Honoured(
            "the retriever's share in the order, from 0 to 1, or `rrf` for reciprocal rank fusion; scores stay as they "
            "are",
            0,
            1,
        ),
    ] = None
    retrieval_scores: Annotated[
        list[float | None] | None,
        BeforeValidator(_retrieval_scores),
        WithJsonSchema({"type": ["array", "null"], "items": {"type": ["number", "null"]}}),
        Honoured(
            "what `fusion` fuses: a number per document, higher is better; the order of the documents without it",
            [3, 2, 1],
            [1, 3, 2],
            beside={"fusion": 1},
        ),
    ] = None


class Range(BaseModel):
    """A half-open range of characters."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)


class Sentence(Range):
    """A sentence, with its own score."""

    relevance_score: float = Field(ge=0, le=1)


class FusedParts(BaseModel):
    """Both parts of a fused score; results are in the order of their sum."""

    retrieval: float
    model: float


class Details(BaseModel):
    """What was read of a document."""

    truncated: bool = Field(description="Whether the model read less than the whole query and document.")
    tokens: int = Field(ge=0, description="Tokens read: the query's and those of every window; 0 if that is not known.")
    window: Range | None = Field(default=None, description="The best window, where the document was read in several.")
    fused: FusedParts | None = Field(default=None, description="What decided the order, where scores were fused.")


def details(item: WireResult) -> dict[str, Any]:
    """The ``details`` of a result."""
    found: dict[str, Any] = {"truncated": item.truncated, "tokens": item.tokens}
    if item.window is not None:
        found["window"] = item.window._asdict()
    if item.fused is not None:
        found["fused"] = item.fused._asdict()
    return found


def highlights(item: WireResult) -> list[dict[str, Any]]:
    """The ``highlights`` of a result; their text is the caller's own."""
    return [{"start": each.start, "end": each.end, "relevance_score": each.score} for each in item.highlights]


def read_details(result: Any) -> dict[str, Any]:
    """The fields of a :class:`WireResult` that a result's details say; none where it has no details.

    Raises:
        ProtocolError: when the window is no range of characters.
    """
    said = nested(result, "details")
    if not isinstance(said, dict):
        return {}
    return {"tokens": token_count(said.get("tokens")), "window": _read_window(said.get("window"))}


def _read_window(window: Any) -> Span | None:
    if window is None:
        return None
    start, end = nested(window, "start"), nested(window, "end")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start <= end:
        return Span(start, end)
    raise ProtocolError("the window of a result is no range of characters.")
