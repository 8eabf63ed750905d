"""Pinecone: ``POST /rerank`` (https://docs.pinecone.io/guides/search/rerank-results)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rerank_core.errors import RerankError
from rerank_core.wire.dialect import Dialect, error_body, object_document, present
from rerank_core.wire.fields import Body, Documents, OptionalModelName, Query, RankFields, ReturnDocuments, TopN
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.options import Chunks, RequestBody, Strategy
from rerank_core.wire.texts import texts_of

_API_VERSION = "2026-04"


class PineconeParameters(Body):
    """What Pinecone passes on to the model."""

    truncate: Strategy = "END"
    max_chunks_per_doc: Chunks = None


class PineconeBody(RequestBody):
    """A rerank request."""

    model: OptionalModelName = None
    query: Query
    documents: Documents
    top_n: TopN = None
    return_documents: ReturnDocuments = True
    rank_fields: RankFields = None
    parameters: PineconeParameters = Field(default_factory=PineconeParameters)


class PineconeResult(BaseModel):
    """One ranked document."""

    model_config = ConfigDict(extra="forbid")

    index: int
    score: float
    document: dict[str, Any] | None = Field(default=None, description="The document with all its fields.")


class PineconeUsage(BaseModel):
    """What is billed: one unit per request."""

    rerank_units: int


class PineconeReply(BaseModel):
    """The ranking, best first."""

    model_config = ConfigDict(extra="forbid")

    model: str
    data: list[PineconeResult]
    usage: PineconeUsage


class Pinecone(Dialect):
    """Pinecone's own service: the key has its own header, documents are always objects."""

    name = "pinecone"
    bills_searches = True
    path = "/rerank"
    base_url = "https://api.pinecone.io"
    key_variable = "PINECONE_API_KEY"
    key_header = "Api-Key"
    max_documents = 100
    body = PineconeBody
    reply = PineconeReply

    def headers(self, api_key: str | None) -> dict[str, str]:
        """The key, and the version of the API."""
        return {**super().headers(api_key), "X-Pinecone-API-Version": _API_VERSION}

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """``truncate`` END cuts documents that are too long; some models refuse them by default."""
        return {
            **present(model=request.model, query=request.query, top_n=request.top_n),
            "documents": [{"text": text} for text in request.texts],
            "return_documents": False,
            "parameters": {"truncate": "END"},
        }

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body."""
        return WireRequest(
            query=parsed.query,
            texts=texts_of(parsed.documents, parsed.rank_fields),
            model=parsed.model,
            top_n=parsed.top_n,
            return_documents=parsed.return_documents,
            documents=parsed.documents,
        )

    def write_response(self, response: WireResponse, request: WireRequest) -> dict[str, Any]:
        """``data`` and ``score``; documents come back as objects."""
        return {
            "model": response.model,
            "data": [
                {
                    "index": item.index,
                    "score": item.score,
                    **present(document=object_document(request, item.index)),
                }
                for item in response.results
            ],
            "usage": {"rerank_units": 1},
        }

    def write_error(self, error: RerankError) -> tuple[int, dict[str, Any]]:
        """Pinecone's ``status`` besides the fields of the rerank API's errors."""
        return error.status, {**error_body(error), "status": error.status}
