"""Infinity: ``POST /rerank`` (https://github.com/michaelfeil/infinity)."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rerank_core.wire.dialect import Dialect, chosen_score, plain_document, present
from rerank_core.wire.fields import Documents, OptionalModelName, Query, ReturnDocuments, TopN
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.native import NativeUsage
from rerank_core.wire.options import RawScores, RequestBody
from rerank_core.wire.texts import texts_of

# Infinity refuses a request with a longer text. No model reads that many characters, so longer ones are cut here.
_MAX_CHARACTERS = 122_880


class InfinityBody(RequestBody):
    """A rerank request."""

    model: OptionalModelName = None
    query: Query
    documents: Documents
    top_n: TopN = None
    return_documents: ReturnDocuments = False
    raw_scores: RawScores = False


class InfinityResult(BaseModel):
    """One ranked document."""

    model_config = ConfigDict(extra="forbid")

    relevance_score: float
    index: int
    document: str | None = None


class InfinityReply(BaseModel):
    """The ranking, best first."""

    model_config = ConfigDict(extra="forbid")

    object: Literal["rerank"]
    results: list[InfinityResult]
    model: str
    usage: NativeUsage
    id: str
    created: int


class Infinity(Dialect):
    """Infinity's server. Its usage counts characters by default."""

    name = "infinity"
    path = "/rerank"
    key_variable = "INFINITY_API_KEY"
    max_documents = 2048
    model_required = False
    body = InfinityBody
    reply = InfinityReply

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents are not requested back, and are cut where one would fail the whole request."""
        return {
            **super().write_request(request),
            "query": request.query[:_MAX_CHARACTERS],
            "documents": [text[:_MAX_CHARACTERS] for text in request.texts],
            "return_documents": False,
            "raw_scores": request.raw_scores,
        }

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body."""
        return WireRequest(
            query=parsed.query,
            texts=texts_of(parsed.documents),
            model=parsed.model,
            top_n=parsed.top_n,
            return_documents=parsed.return_documents,
            documents=parsed.documents,
        )

    def write_response(self, response: WireResponse, request: WireRequest) -> dict[str, Any]:
        """A document comes back as a plain string, and is absent, never null, when not requested."""
        return {
            "object": "rerank",
            "results": [
                {
                    "relevance_score": chosen_score(item, raw=request.raw_scores),
                    "index": item.index,
                    **present(document=plain_document(request, item.index)),
                }
                for item in response.results
            ],
            "model": response.model,
            "usage": {"prompt_tokens": response.tokens, "total_tokens": response.tokens},
            "id": response.id,
            "created": int(time.time()),
        }
