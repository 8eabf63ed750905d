"""Cohere: ``POST /v2/rerank`` (https://docs.cohere.com/reference/rerank) and ``POST /v1/rerank``.

Cohere cuts long documents by itself: version 2 to ``max_tokens_per_doc`` (4,096 by default), version 1 into at most
ten chunks, of which the best counts.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rerank_core.errors import RerankError
from rerank_core.wire.dialect import Dialect, error_body, present
from rerank_core.wire.fields import LIMIT, ReturnDocuments, TopN
from rerank_core.wire.messages import WireRequest
from rerank_core.wire.native import LenientBody, NativeAlias


class CohereBody(LenientBody):
    """A rerank request; documents are not returned by default."""

    top_n: TopN = Field(default=None, validation_alias=LIMIT)
    return_documents: ReturnDocuments = False


class Cohere(NativeAlias):
    """Version 2 of the API. Our server answers it in the native shape, which has all of Cohere's fields."""

    name = "cohere"
    takes_instruction = False
    bills_searches = True
    path = "/v2/rerank"
    base_url = "https://api.cohere.com"
    key_variable = "COHERE_API_KEY"
    other_key_variables = ("CO_API_KEY",)
    max_documents = 1000
    model_required = True
    body = CohereBody

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Version 2 never returns documents, so ``return_documents`` is not sent."""
        return {**Dialect.write_request(self, request), **present(max_tokens_per_doc=request.max_tokens_per_doc)}

    def write_error(self, error: RerankError) -> tuple[int, dict[str, Any]]:
        """Cohere's ``message`` besides the fields of the rerank API's errors."""
        return error.status, {**error_body(error), "message": error.message}


class CohereV1(Cohere):
    """Version 1 of the API, which may leave the model out. Documents x 10 chunks must not exceed 10,000."""

    name = "cohere-v1"
    path = "/v1/rerank"
    model_required = False

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents are not requested back: the caller has them."""
        return {**Dialect.write_request(self, request), "return_documents": False}
