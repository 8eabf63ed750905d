"""A dialect of the rerank API: its formats on the client's and on the server's side.

A dialect is a pair of translations, request and response, each in both directions::

    client   WireRequest  ──write_request──▶  JSON  ──read_request──▶  WireRequest   server
    client   WireResponse ◀──read_response──  JSON  ◀─write_response─  WireResponse  server

and a few constants: where requests are posted to, how a key is sent, how many documents fit, what its scores mean.

The client requests the scores of all documents (``top_n=None``), and sorts and cuts by itself: it may have to split the
documents over several requests. So a reply with fewer results than documents is always an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import BaseModel

from rerank_core.errors import InvalidRequestError, ProtocolError, RerankError
from rerank_core.wire.fields import UNLIMITED, Body, Limits, is_finite_number, parse
from rerank_core.wire.messages import WireRequest, WireResponse, WireResult
from rerank_core.wire.options import options_of

_SEARCH_UNITS = (("meta", "billed_units", "search_units"), ("usage", "rerank_units"))  # Cohere's, Pinecone's
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


class Dialect:
    """Base of all dialects; stateless. Class attributes are the constants, methods the translations.

    Attributes:
        name: what users write as ``provider=``.
        path: where requests are posted to, below the root of the API; ``{model}`` stands for the model's name.
        base_url: the root of the hosted service's API; None for software that users host themselves.
        key_variable: the environment variable that holds the API key.
        other_key_variables: variables to read where that one is not set: those of the vendor's own library.
        key_header: the header with the key; in ``Authorization`` it follows ``Bearer``.
        scores: what a score means: a probability (0..1) or a logit. Declared per dialect, never guessed from values.
        max_documents: most documents per request; None for no limit.
        max_bytes: most bytes of text per request.
        info_path: where a server reports its limits (TEI); None where it does not.
        model_required: whether a request must name a model.
        too_long: the error message for a text that does not fit into the model's ``{limit}``.
        refuses_empty_text: whether the service refuses the whole request for one empty document.
        takes_instruction: whether a request can hold an instruction for the model.
        gives_details: whether results can say what was read of their texts.
        bills_searches: whether the hosted service bills per search, not per token.
        listwise: prefixes of the names of models that compare the documents of a request with each other, so that their
            scores cannot be compared across requests.
        body: the request body's schema, for the server's documentation; None where only the client speaks it.
        reply: the response body's schema.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    base_url: ClassVar[str | None] = None
    key_variable: ClassVar[str | None] = None
    other_key_variables: ClassVar[tuple[str, ...]] = ()
    key_header: ClassVar[str] = "Authorization"
    scores: ClassVar[Literal["probability", "logit"]] = "probability"
    max_documents: ClassVar[int | None] = None
    max_bytes: ClassVar[int] = 4_000_000
    info_path: ClassVar[str | None] = None
    model_required: ClassVar[bool] = True
    too_long: ClassVar[str] = "A query and document have more than the {limit} tokens that the model reads"
    refuses_empty_text: ClassVar[bool] = False
    takes_instruction: ClassVar[bool] = False
    gives_details: ClassVar[bool] = False
    bills_searches: ClassVar[bool] = False
    listwise: ClassVar[tuple[str, ...]] = ()
    body: ClassVar[type[Body] | None] = None
    reply: ClassVar[Any] = None

    def is_listwise(self, model: str) -> bool:
        """Whether a model's name, with or without its owner's name before it, begins with one of :attr:`listwise`."""
        return any(name.startswith(self.listwise) for name in (model, model.rpartition("/")[2]))

    def headers(self, api_key: str | None) -> dict[str, str]:
        """The headers with the key, and any others that the service requires."""
        if not api_key:
            return {}
        return {self.key_header: f"Bearer {api_key}" if self.key_header == "Authorization" else api_key}

    def path_for(self, model: str | None) -> str:
        """``path`` with the model's name filled in."""
        return self.path.replace("{model}", quote(model or ""))

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """The JSON body of ``request``; by default the one that most dialects share."""
        return present(model=request.model, query=request.query, documents=list(request.texts), top_n=request.top_n)

    def read_response(self, body: Any) -> WireResponse:
        """The response in a reply; the caller checks whether it is complete.

        Raises:
            ProtocolError: when it does not have this dialect's shape.
        """
        return read_reply(body)

    def read_info(self, body: Any) -> int | None:  # noqa: ARG002  (for dialects that have an info_path)
        """Most documents per request, from the reply of ``info_path``; None where it does not say."""
        return None

    def read_request(self, body: Any, limits: Limits = UNLIMITED) -> WireRequest:
        """The request in a JSON body.

        Raises:
            InvalidRequestError: when it is not a request of this dialect, or exceeds ``limits``; its code says what is
                wrong.
        """
        if self.body is None:
            raise NotImplementedError
        parsed = parse(self.body, body, limits)
        request = replace(self.to_request(parsed), **options_of(parsed))
        most = limits.document_characters
        if most is not None:
            for position, text in enumerate(request.texts):
                if len(text) > most:
                    raise InvalidRequestError(
                        f"Document {position} is too long. Maximum is {most} characters.",
                        code="document_too_long",
                        param=f"documents[{position}]",
                    )
        return request

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed :attr:`body`."""
        raise NotImplementedError

    def write_response(self, response: WireResponse, request: WireRequest) -> Any:
        """The JSON body that answers ``request``; results are already ordered and cut to ``top_n``."""
        raise NotImplementedError

    def write_error(self, error: RerankError) -> tuple[int, dict[str, Any]]:
        """The status and JSON body that report ``error``."""
        return error.status, error_body(error)


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str
    param: str | None


class ErrorBody(BaseModel):
    """Every error of the API. ``detail`` repeats the message where several clients look for it."""

    error: ErrorDetail
    detail: str


def error_body(error: RerankError) -> dict[str, Any]:
    """The body of the rerank API's error answers."""
    return {
        "error": {"message": error.message, "type": error.type, "code": error.code, "param": error.param},
        "detail": error.message,
    }


def present(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def read_reply(body: Any, *score_fields: str) -> WireResponse:
    """A reply in any of the shapes in use; ``score_fields`` default to those of probabilities.

    The results are the body itself or under ``results``, ``data``, ``rankings`` or ``output.results``. Tokens are read
    where OpenAI, Cohere, LiteLLM or SiliconFlow have them. Returned documents are not read: the caller has them.

    Raises:
        ProtocolError: when there are no results, or one of them has no integer index or no finite score.
    """
    truncated = nested(body, "meta", "truncated_documents")
    return WireResponse(
        results=read_results(reply_items(body), *(score_fields or ("relevance_score", "score"))),
        id=optional_text(nested(body, "id")) or optional_text(nested(body, "request_id")) or "",
        model=optional_text(nested(body, "model")),
        tokens=token_count(
            nested(body, "usage", "total_tokens"),
            nested(body, "usage", "prompt_tokens"),
            nested(body, "meta", "tokens", "input_tokens"),
            nested(body, "meta", "billed_units", "total_tokens"),
            nested(body, "meta", "billed_units", "input_tokens"),
            nested(body, "tokens", "input_tokens"),
        ),
        truncated=tuple(i for i in truncated if type(i) is int) if isinstance(truncated, list) else (),
        search_units=next(filter(_is_count, (nested(body, *path) for path in _SEARCH_UNITS)), None),
    )


def reply_items(body: Any) -> list[Any]:
    """The results of a reply in any of the shapes in use, as they came.

    Raises:
        ProtocolError: when there are none.
    """
    output = nested(body, "output")
    return result_list(body if output is None else output, "results", "data", "rankings")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def result_list(body: Any, *fields: str) -> list[Any]:
    """The list under the first of ``fields`` that ``body`` has, or ``body`` itself if that is a list.

    Raises:
        ProtocolError: when there is none.
    """
    if isinstance(body, list):
        return body
    if isinstance(body, dict):
        for field in fields:
            if isinstance(body.get(field), list):
                found: list[Any] = body[field]
                return found
    raise ProtocolError(f"the reply has no list of results under {' or '.join(map(repr, fields))}: {shape(body)}.")


def read_results(items: Sequence[Any], *score_fields: str) -> tuple[WireResult, ...]:
    """Each item's ``index`` and score, in the order of the reply.

    Raises:
        ProtocolError: when an index is not a whole number or a score not a finite one.
    """
    return tuple(_read_result(item, score_fields) for item in items)


def _read_result(item: Any, score_fields: Sequence[str]) -> WireResult:
    if not isinstance(item, dict):
        raise ProtocolError(f"a result is not an object: {shape(item)}.")
    index = item.get("index")
    if isinstance(index, bool) or not isinstance(index, int):
        raise ProtocolError(f"a result has no whole number as its 'index': {shape(item)}.")
    score: Any = next((item[field] for field in score_fields if field in item), None)
    if not is_finite_number(score):
        names = " or ".join(map(repr, score_fields))
        raise ProtocolError(
            f"the result with index {index} has no finite number under {names}: {shape(item)}.",
            code="non_finite_score",
        )
    return WireResult(index, float(score))


def chosen_score(item: WireResult, *, raw: bool) -> float:
    """The logit where raw scores are wanted, else the probability.

    Raises:
        ProtocolError: when the logit is wanted and not known.
    """
    if not raw:
        return item.score
    if item.logit is None:
        raise ProtocolError(f"the result with index {item.index} has no logit, and raw scores are wanted.")
    return item.logit


def plain_document(request: WireRequest, index: int) -> str | None:
    """A document as the string that was sent, or the object's text; None when documents are not to be returned."""
    if not request.return_documents:
        return None
    document = request.documents[index]
    return document if isinstance(document, str) else request.texts[index]


def object_document(request: WireRequest, index: int) -> dict[str, Any] | None:
    """A document as an object with all fields that were sent; None when documents are not to be returned."""
    if not request.return_documents:
        return None
    document = request.documents[index]
    return {"text": document} if isinstance(document, str) else dict(document)


def token_count(*candidates: Any) -> int:
    """The first candidate that is a count; 0 when there is none."""
    for value in candidates:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and is_finite_number(value):
            return int(value)
    return 0


def nested(body: Any, *path: str) -> Any:
    """``body[path[0]][path[1]]...``, or None where something is missing."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body


def optional_text(value: Any) -> str | None:
    """``value`` if it is a string and not empty."""
    return value if isinstance(value, str) and value else None


def shape(value: Any, depth: int = 2) -> str:
    """The shape of a JSON value, without any text of it: safe in messages and logs."""
    if isinstance(value, dict):
        if depth == 0:
            return "{...}"
        fields = ", ".join(
            f"{name if _NAME.fullmatch(name) else '?'}: {shape(item, depth - 1)}"
            for name, item in list(value.items())[:8]
        )
        return "{" + fields + (", ..." if len(value) > 8 else "") + "}"  # noqa: PLR2004  (as many as are shown)
    if isinstance(value, list):
        return f"[{len(value)} x {shape(value[0], depth - 1)}]" if value and depth else f"[{len(value)}]"
    return "null" if value is None else type(value).__name__
