"""Mixedbread: ``POST /v1/reranking`` (https://www.mixedbread.com/docs/reranking/overview)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rerank_core.wire.dialect import Dialect, present
from rerank_core.wire.fields import Documents, OptionalModelName, Query, RankFields, ReturnDocuments, TopN
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.native import NativeUsage
from rerank_core.wire.options import Instruction, RequestBody, Rewriting
from rerank_core.wire.texts import texts_of


class MixedbreadBody(RequestBody):
    """A rerank request."""

    model: OptionalModelName = None
    query: Query
    input: Documents
    rank_fields: RankFields = None
    top_k: TopN = None
    return_input: ReturnDocuments = False
    rewrite_query: Rewriting = None
    instruction: Instruction = None


class MixedbreadResult(BaseModel):
    """One ranked document."""

    model_config = ConfigDict(extra="forbid")

    index: int
    score: float
    input: Any = Field(default=None, description="The document as it was sent; absent unless return_input is true.")
    object: Literal["rank_result"]


class MixedbreadReply(BaseModel):
    """The ranking, best first."""

    model_config = ConfigDict(extra="forbid")

    model: str
    object: Literal["list"]
    data: list[MixedbreadResult]
    usage: NativeUsage
    top_k: int
    return_input: bool


class Mixedbread(Dialect):
    """Mixedbread's own service. Long documents are cut by it."""

    name = "mixedbread"
    path = "/v1/reranking"
    base_url = "https://api.mixedbread.com"
    key_variable = "MXBAI_API_KEY"
    takes_instruction = True
    body = MixedbreadBody
    reply = MixedbreadReply

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """``top_k`` is always sent: the service may return fewer documents without it."""
        return {
            **present(model=request.model, query=request.query, input=list(request.texts)),
            "top_k": len(request.texts) if request.top_n is None else request.top_n,
            "return_input": False,
            **present(instruction=request.instruction),
        }

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body."""
        return WireRequest(
            query=parsed.query,
            texts=texts_of(parsed.input, parsed.rank_fields, name="input"),
            model=parsed.model,
            top_n=parsed.top_k,
            return_documents=parsed.return_input,
            documents=parsed.input,
        )

    def write_response(self, response: WireResponse, request: WireRequest) -> dict[str, Any]:
        """Documents come back as they were sent, strings or objects."""
        return {
            "model": response.model,
            "object": "list",
            "data": [
                {
                    "index": item.index,
                    "score": item.score,
                    **({"input": request.documents[item.index]} if request.return_documents else {}),
                    "object": "rank_result",
                }
                for item in response.results
            ],
            "usage": {"prompt_tokens": response.tokens, "total_tokens": response.tokens},
            "top_k": len(request.texts) if request.top_n is None else request.top_n,
            "return_input": request.return_documents,
        }
