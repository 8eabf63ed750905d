"""Xinference: ``POST /v1/rerank`` (https://inference.readthedocs.io). Long documents are cut by the server."""

from __future__ import annotations

from typing import Any

from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest


class Xinference(Dialect):
    """Xinference's server; ``model`` is the uid of a launched model. Some versions answer in the order of the input."""

    name = "xinference"
    path = "/v1/rerank"
    key_variable = "XINFERENCE_API_KEY"

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents are not requested back: the caller has them."""
        return {**super().write_request(request), "return_documents": False}
