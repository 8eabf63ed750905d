"""DeepInfra: ``POST /v1/inference/{model}`` (https://deepinfra.com/docs), scores by position."""

from __future__ import annotations

from typing import Any

from rerank_core.errors import ProtocolError
from rerank_core.wire.dialect import Dialect, nested, read_results, shape, token_count
from rerank_core.wire.messages import WireRequest, WireResponse


class DeepInfra(Dialect):
    """DeepInfra's own service: as many queries as documents in, a list of scores out."""

    name = "deepinfra"
    path = "/v1/inference/{model}"
    base_url = "https://api.deepinfra.com"
    key_variable = "DEEPINFRA_API_KEY"
    max_documents = 1000

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """The query is repeated for every document; the model is named in the path."""
        return {"queries": [request.query] * len(request.texts), "documents": list(request.texts)}

    def read_response(self, body: Any) -> WireResponse:
        """``scores`` are in the order of the documents."""
        scores = nested(body, "scores")
        if not isinstance(scores, list):
            raise ProtocolError(f"the reply has no list under 'scores': {shape(body)}.")
        items = [{"index": position, "score": score} for position, score in enumerate(scores)]
        return WireResponse(read_results(items, "score"), tokens=token_count(nested(body, "input_tokens")))
