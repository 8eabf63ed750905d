"""SiliconFlow: ``POST /v1/rerank`` (https://docs.siliconflow.cn, "Create rerank").

Long documents are split into chunks by the service, and the best chunk counts.
"""

from __future__ import annotations

from typing import Any

from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest


class SiliconFlow(Dialect):
    """SiliconFlow's own service; outside China it is at https://api.siliconflow.com."""

    name = "siliconflow"
    path = "/v1/rerank"
    base_url = "https://api.siliconflow.cn"
    key_variable = "SILICONFLOW_API_KEY"

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents are not requested back: the caller has them."""
        return {**super().write_request(request), "return_documents": False}
