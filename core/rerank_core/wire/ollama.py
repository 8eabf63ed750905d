"""The ``POST /api/rerank`` that Dify's plugin for Ollama posts to; Ollama itself has no such endpoint."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from rerank_core.wire.dialect import chosen_score, plain_document, present
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.native import NativeAlias


class OllamaResult(BaseModel):
    """One ranked document."""

    model_config = ConfigDict(extra="forbid")

    index: int
    relevance_score: float
    document: str | None = None


class OllamaReply(BaseModel):
    """The ranking, best first."""

    model_config = ConfigDict(extra="forbid")

    model: str
    results: list[OllamaResult]


class Ollama(NativeAlias):
    """The native request, and answers whose documents are plain strings."""

    name = "ollama"
    takes_instruction = False
    path = "/api/rerank"
    reply = OllamaReply

    def write_response(self, response: WireResponse, request: WireRequest) -> dict[str, Any]:
        """``document`` is absent when not requested."""
        return {
            "model": response.model,
            "results": [
                {
                    "index": item.index,
                    "relevance_score": chosen_score(item, raw=request.raw_scores),
                    **present(document=plain_document(request, item.index)),
                }
                for item in response.results
            ],
        }
