"""Text Embeddings Inference: ``POST /rerank`` with ``texts`` (https://huggingface.github.io/text-embeddings-inference)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.wire.dialect import Dialect, chosen_score, nested, plain_document, present
from rerank_core.wire.fields import Documents, OptionalModelName, Query, ReturnDocuments, TopN
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.options import RawScores, RequestBody, Side, Truncation
from rerank_core.wire.texts import texts_of


class TeiBody(RequestBody):
    """A rerank request. TEI itself has no ``model`` and no ``top_n``; LiteLLM sends ``top_n`` all the same."""

    query: Query
    texts: Documents
    raw_scores: RawScores = False
    return_text: ReturnDocuments = False
    truncate: Truncation = True
    truncation_direction: Side = "RIGHT"
    model: OptionalModelName = None
    top_n: TopN = None


class TeiRank(BaseModel):
    """One ranked text."""

    model_config = ConfigDict(extra="forbid")

    index: int
    score: float
    text: str | None = None


class TeiError(BaseModel):
    """What went wrong."""

    error: str
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]


class Tei(Dialect):
    """Text Embeddings Inference: a bare list in, a bare list out. One server has one model."""

    name = "tei"
    path = "/rerank"
    key_variable = "TEI_API_KEY"
    max_documents = 32
    # Bodies end at 2,000,000 bytes, and JSON needs more bytes than the texts it holds.
    max_bytes = 1_500_000
    info_path = "/info"
    model_required = False
    too_long = "Input validation error: `inputs` must have less than {limit} tokens"
    body = TeiBody
    reply = list[TeiRank]

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """``truncate`` is always sent: servers before 1.9 refuse a text that is too long by default."""
        return {
            "query": request.query,
            "texts": list(request.texts),
            "raw_scores": request.raw_scores,
            "return_text": False,
            "truncate": True,
        }

    def read_info(self, body: Any) -> int | None:
        """``max_client_batch_size``."""
        limit = nested(body, "max_client_batch_size")
        return limit if type(limit) is int and limit > 0 else None

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body."""
        return WireRequest(
            query=parsed.query,
            texts=texts_of(parsed.texts, name="texts"),
            model=parsed.model,
            top_n=parsed.top_n,
            return_documents=parsed.return_text,
            documents=parsed.texts,
        )

    def write_response(self, response: WireResponse, request: WireRequest) -> list[dict[str, Any]]:
        """The list, best first."""
        return [
            {
                "index": item.index,
                "score": chosen_score(item, raw=request.raw_scores),
                **present(text=plain_document(request, item.index)),
            }
            for item in response.results
        ]

    def write_error(self, error: RerankError) -> tuple[int, dict[str, Any]]:
        """TEI's two fields and TEI's statuses."""
        status, kind = _status_and_type(error)
        return status, {"error": error.message, "error_type": kind}


def _status_and_type(error: RerankError) -> tuple[int, str]:
    if error.code == "empty_documents":
        return 400, "Empty"
    if isinstance(error, InvalidRequestError) and error.status == InvalidRequestError.status:
        return 422, "Validation"
    kinds = {429: "Overloaded", 503: "Unhealthy"}
    if error.status == RerankError.status:
        return 424, "Backend"
    server_side = error.status > RerankError.status
    return error.status, kinds.get(error.status, "Backend" if server_side else "Validation")
