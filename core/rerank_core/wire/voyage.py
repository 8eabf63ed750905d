"""Voyage AI: ``POST /v1/rerank`` (https://docs.voyageai.com/reference/reranker-api)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rerank_core.wire.dialect import Dialect, plain_document, present
from rerank_core.wire.fields import Documents, OptionalModelName, Query, ReturnDocuments, TopN
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.options import RequestBody, Truncation
from rerank_core.wire.texts import texts_of


class VoyageBody(RequestBody):
    """A rerank request."""

    model: OptionalModelName = None
    query: Query
    documents: Documents
    top_k: TopN = None
    return_documents: ReturnDocuments = False
    truncation: Truncation = True


class VoyageResult(BaseModel):
    """One ranked document."""

    model_config = ConfigDict(extra="forbid")

    index: int
    relevance_score: float
    document: str | None = None


class VoyageUsage(BaseModel):
    """Tokens fed to the model."""

    total_tokens: int


class VoyageReply(BaseModel):
    """The ranking, best first."""

    model_config = ConfigDict(extra="forbid")

    object: Literal["list"]
    data: list[VoyageResult]
    model: str
    usage: VoyageUsage


class Voyage(Dialect):
    """Voyage's own service. It refuses a whole request for one empty text, but not for a blank one."""

    name = "voyage"
    path = "/v1/rerank"
    base_url = "https://api.voyageai.com"
    key_variable = "VOYAGE_API_KEY"
    max_documents = 1000
    # A request may hold 600,000 tokens, the query counted once per document; a token usually has three bytes or more.
    max_bytes = 1_000_000
    refuses_empty_text = True
    body = VoyageBody
    reply = VoyageReply

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """``truncation`` is sent although it is the default: long documents must not fail the request."""
        return {
            **present(model=request.model, query=request.query, documents=list(request.texts), top_k=request.top_n),
            "return_documents": False,
            "truncation": True,
        }

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body."""
        return WireRequest(
            query=parsed.query,
            texts=texts_of(parsed.documents),
            model=parsed.model,
            top_n=parsed.top_k,
            return_documents=parsed.return_documents,
            documents=parsed.documents,
        )

    def write_response(self, response: WireResponse, request: WireRequest) -> dict[str, Any]:
        """``data`` instead of ``results``; a document comes back as a plain string."""
        return {
            "object": "list",
            "data": [
                {
                    "index": item.index,
                    "relevance_score": item.score,
                    **present(document=plain_document(request, item.index)),
                }
                for item in response.results
            ],
            "model": response.model,
            "usage": {"total_tokens": response.tokens},
        }
