"""Alibaba Cloud's DashScope (https://www.alibabacloud.com/help/en/model-studio/text-rerank-api), in its two shapes.

Models choose the shape: gte-rerank-v2 speaks the native one, qwen3-rerank the compatible one. Texts over 4,000 tokens
are cut by the service. Outside China it is at https://dashscope-intl.aliyuncs.com.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rerank_core.errors import RerankError
from rerank_core.wire.dialect import Dialect, error_body, present
from rerank_core.wire.fields import Body, Documents, OptionalModelName, Query, ReturnDocuments, TopN
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.native import NativeResult, native_results
from rerank_core.wire.options import Instruction, RequestBody
from rerank_core.wire.texts import texts_of

_BASE_URL = "https://dashscope.aliyuncs.com"
_KEY_VARIABLE = "DASHSCOPE_API_KEY"
_MAX_DOCUMENTS = 500


class DashScopeInput(Body):
    """What to rank."""

    query: Query
    documents: Documents


class DashScopeParameters(Body):
    """How to answer."""

    top_n: TopN = None
    return_documents: ReturnDocuments = False
    instruct: Instruction = None


class DashScopeBody(RequestBody):
    """A rerank request."""

    model: OptionalModelName = None
    input: DashScopeInput
    parameters: DashScopeParameters = Field(default_factory=DashScopeParameters)


class DashScopeOutput(BaseModel):
    """The ranking, best first."""

    results: list[NativeResult]


class DashScopeUsage(BaseModel):
    """Tokens fed to the model."""

    total_tokens: int


class DashScopeReply(BaseModel):
    """The ranking, wrapped."""

    model_config = ConfigDict(extra="forbid")

    output: DashScopeOutput
    usage: DashScopeUsage
    request_id: str


class DashScope(Dialect):
    """The native shape: ``input`` and ``parameters`` in, ``output`` out. It refuses a request with an empty text."""

    name = "dashscope"
    path = "/api/v1/services/rerank/text-rerank/text-rerank"
    base_url = _BASE_URL
    key_variable = _KEY_VARIABLE
    max_documents = _MAX_DOCUMENTS
    # gte-rerank-v2 takes 30,000 tokens per request; a token usually has three bytes or more.
    max_bytes = 90_000
    refuses_empty_text = True
    takes_instruction = True
    body = DashScopeBody
    reply = DashScopeReply

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents are not requested back: the caller has them."""
        return {
            **present(model=request.model),
            "input": {"query": request.query, "documents": list(request.texts)},
            "parameters": {"return_documents": False, **present(top_n=request.top_n, instruct=request.instruction)},
        }

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body."""
        return WireRequest(
            query=parsed.input.query,
            texts=texts_of(parsed.input.documents, name="input.documents"),
            model=parsed.model,
            top_n=parsed.parameters.top_n,
            return_documents=parsed.parameters.return_documents,
            documents=parsed.input.documents,
        )

    def write_response(self, response: WireResponse, request: WireRequest) -> dict[str, Any]:
        """Results below ``output``; the id is called ``request_id``."""
        return {
            "output": {"results": native_results(response, request)},
            "usage": {"total_tokens": response.tokens},
            "request_id": response.id,
        }

    def write_error(self, error: RerankError) -> tuple[int, dict[str, Any]]:
        """DashScope's ``code`` and ``message`` besides the fields of the rerank API's errors."""
        return error.status, {**error_body(error), "code": error.code, "message": error.message}


class DashScopeCompatible(Dialect):
    """The compatible shape: the fields that most dialects share. Our server answers it as its own."""

    name = "dashscope-compat"
    path = "/compatible-api/v1/reranks"
    base_url = _BASE_URL
    key_variable = _KEY_VARIABLE
    max_documents = _MAX_DOCUMENTS
    # qwen3-rerank takes 120,000 tokens per request.
    max_bytes = 360_000
    refuses_empty_text = True
    takes_instruction = True

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """The fields that most dialects share, and ``instruct``."""
        return {**super().write_request(request), **present(instruct=request.instruction)}
