"""LiteLLM's proxy: ``POST /v1/rerank`` (https://docs.litellm.ai/docs/rerank).

Scores pass through from whatever is behind the proxy; its replies name neither model nor usage. Options that cut long
documents differ between the services behind it, so none is sent: set them in the proxy's configuration.
"""

from __future__ import annotations

from typing import Any

from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest


class LiteLlm(Dialect):
    """A proxy for other services; its limits are theirs, so the lowest common ones are used here."""

    name = "litellm"
    path = "/v1/rerank"
    key_variable = "LITELLM_API_KEY"
    other_key_variables = ("LITELLM_PROXY_API_KEY",)
    max_documents = 100
    listwise = ("jina-reranker-v3", "jina_ai/jina-reranker-v3")

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents are not requested back: the caller has them."""
        return {**super().write_request(request), "return_documents": False}
