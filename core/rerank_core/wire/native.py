"""The rerank API itself: ``POST /v1/rerank``, as https://api.assisters.dev specifies it, there or at any address.

Besides what is specified, responses have ``meta`` in Cohere's shape (the Vercel AI SDK fails without it), and requests
may have the fields of other services and servers that are called at this path: each declares its effect. Documents
longer than the model reads are cut, unless the request forbids it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from rerank_core.wire.details import DetailFields, Details, Sentence, details, highlights, read_details
from rerank_core.wire.dialect import Dialect, chosen_score, object_document, present, reply_items
from rerank_core.wire.fields import (
    LIMIT,
    Documents,
    ModelName,
    OptionalModelName,
    Query,
    RankFields,
    ReturnDocuments,
    TopN,
    TopNOrZero,
)
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.options import (
    Chunks,
    CutBody,
    Instruction,
    Length,
    ModelArguments,
    Overlap,
    RawScores,
    Spans,
    Truncation,
)
from rerank_core.wire.texts import texts_of


class SharedBody(CutBody):
    """The fields of a rerank request that other paths share."""

    model: ModelName
    query: Query
    documents: Documents
    top_n: TopN = Field(default=None, validation_alias=LIMIT)
    return_documents: ReturnDocuments = True
    rank_fields: RankFields = None
    raw_scores: RawScores = False
    truncation: Truncation = True
    max_chunks_per_doc: Chunks = None
    overlap_tokens: Overlap = None
    relevant_spans: Spans = None
    return_len: Length = None
    kwargs: ModelArguments = None


class NativeBody(DetailFields, SharedBody):
    """A rerank request."""


class LenientBody(SharedBody):
    """The same, where clients may leave the choice of the model to the server, and ``top_n`` 0 means all (vLLM)."""

    model: OptionalModelName = None  # type: ignore[assignment]  # wider than the native field, on purpose
    top_n: TopNOrZero = Field(default=None, validation_alias=LIMIT)
    instruct: Instruction = None


class NativeResult(BaseModel):
    """One ranked document."""

    index: int = Field(ge=0, description="Position in the request's documents.")
    relevance_score: float = Field(description="From 0 to 1; the model's logit where raw scores are asked for.")
    document: dict[str, Any] | None = Field(
        default=None, description="The document with all its fields; absent when return_documents is false."
    )
    details: Details | None = Field(default=None, description="Where return_details asks for them.")
    highlights: list[Sentence] | None = Field(
        default=None, description="The best sentences, best first, where highlights asks for them."
    )


class NativeUsage(BaseModel):
    """Tokens fed to the model."""

    prompt_tokens: int
    total_tokens: int


class NativeReply(BaseModel):
    """The ranking, best first."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern="^rerank-")
    model: str
    results: list[NativeResult]
    usage: NativeUsage
    meta: dict[str, Any]


class Native(Dialect):
    """``POST /v1/rerank``, at an address that the user gives."""

    name = "native"
    path = "/v1/rerank"
    key_variable = "ASSISTERS_API_KEY"
    max_documents = 100
    takes_instruction = True
    gives_details = True
    body: ClassVar[type[CutBody]] = NativeBody
    reply: ClassVar[Any] = NativeReply

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents are not requested back: the caller has them."""
        return {
            **super().write_request(request),
            "return_documents": False,
            **present(
                max_tokens_per_doc=request.max_tokens_per_doc,
                instruction=request.instruction,
                return_details=request.return_details or None,
                highlights=request.highlights or None,
                fusion=request.fusion,
                retrieval_scores=list(request.retrieval_scores) or None,
            ),
        }

    def read_response(self, body: Any) -> WireResponse:
        """The response in a reply, with the details in it.

        Raises:
            ProtocolError: when it does not have this dialect's shape.
        """
        response = super().read_response(body)
        found = zip(response.results, reply_items(body), strict=True)
        return replace(response, results=tuple(replace(item, **read_details(said)) for item, said in found))

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
        """Every field of the specification, and ``meta``."""
        return {
            "id": response.id,
            "model": response.model,
            "results": native_results(response, request),
            "usage": {"prompt_tokens": response.tokens, "total_tokens": response.tokens},
            "meta": cohere_meta(response),
        }


class Assisters(Native):
    """The hosted service; with another address, the same as :class:`Native`."""

    name = "assisters"
    base_url = "https://api.assisters.dev"
    takes_instruction = False  # its specification has neither
    gives_details = False


class NativeAlias(Native):
    """The native shape on a path where the model may be left out."""

    name = "native-alias"
    path = "/rerank"
    model_required = False
    gives_details = False
    body = LenientBody


def native_results(response: WireResponse, request: WireRequest) -> list[dict[str, Any]]:
    """``results``: with the documents as objects if they were requested; ``document`` is absent otherwise."""
    return [
        {
            "index": item.index,
            "relevance_score": chosen_score(item, raw=request.raw_scores),
            **present(
                document=object_document(request, item.index),
                details=details(item) if request.return_details else None,
                highlights=highlights(item) if request.highlights else None,
            ),
        }
        for item in response.results
    ]


def cohere_meta(response: WireResponse) -> dict[str, Any]:
    """Cohere's ``meta``, with the positions of documents that were read only in part, and a warning."""
    meta: dict[str, Any] = {
        "api_version": {"version": "1"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": response.tokens, "output_tokens": 0},
    }
    if response.truncated:
        meta["truncated_documents"] = list(response.truncated)
        meta["warnings"] = [f"{len(response.truncated)} documents were longer than the model reads and were cut."]
    return meta
