"""The ``POST /inference/v1/rerank`` that LiteLLM's ``fireworks_ai/`` posts to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rerank_core.wire.messages import WireRequest
from rerank_core.wire.native import NativeAlias


class Fireworks(NativeAlias):
    """The native shape; LiteLLM puts ``fireworks/`` before the name of the model."""

    name = "fireworks"
    takes_instruction = False
    path = "/inference/v1/rerank"

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body."""
        request = super().to_request(parsed)
        return replace(request, model=request.model and request.model.removeprefix("fireworks/"))
