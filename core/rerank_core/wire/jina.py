"""Jina AI: ``POST /v1/rerank`` (https://jina.ai/reranker). Long documents are cut by the service."""

from __future__ import annotations

from typing import Any

from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest


class Jina(Dialect):
    """Jina's own service. Errors come as ``detail``."""

    name = "jina"
    path = "/v1/rerank"
    base_url = "https://api.jina.ai"
    key_variable = "JINA_API_KEY"
    listwise = ("jina-reranker-v3",)

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents are not requested back: the caller has them, and the default has changed over time."""
        return {**super().write_request(request), "return_documents": False}
