"""NVIDIA NIM: ``POST /v1/ranking`` (https://docs.nvidia.com/nim/nemo-retriever/text-reranking), scores are logits."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rerank_core.wire.dialect import Dialect, chosen_score, present, read_reply
from rerank_core.wire.fields import LIMIT, Documents, OptionalModelName, Query, TopN
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.native import NativeUsage
from rerank_core.wire.options import RequestBody, Strategy
from rerank_core.wire.texts import texts_of


def _text_of_query(value: Any) -> Any:
    return value.get("text", "") if isinstance(value, dict) else value


class NimBody(RequestBody):
    """A ranking request. NIM itself has no limit; LiteLLM sends ``top_k`` all the same, RAGFlow ``top_n``."""

    model: OptionalModelName = None
    query: Annotated[Query, BeforeValidator(_text_of_query)]
    passages: Documents
    top_n: TopN = Field(default=None, validation_alias=LIMIT)
    truncate: Strategy = "END"


class NimRanking(BaseModel):
    """One ranked passage."""

    model_config = ConfigDict(extra="forbid")

    index: int
    logit: float


class NimReply(BaseModel):
    """The ranking, best first."""

    model_config = ConfigDict(extra="forbid")

    rankings: list[NimRanking]
    usage: NativeUsage


class Nim(Dialect):
    """A self-hosted NIM."""

    name = "nim"
    path = "/v1/ranking"
    key_variable = "NVIDIA_API_KEY"
    scores = "logit"
    too_long = "Input length exceeds maximum allowed token size {limit}"
    max_documents = 512
    body = NimBody
    reply = NimReply

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """``truncate`` END cuts passages that are too long; the default refuses the whole request."""
        return {
            **present(model=request.model),
            "query": {"text": request.query},
            "passages": [{"text": text} for text in request.texts],
            "truncate": "END",
        }

    def read_response(self, body: Any) -> WireResponse:
        """Only ``logit`` is read as the score: a probability would be taken for a logit."""
        return read_reply(body, "logit")

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body."""
        return WireRequest(
            query=parsed.query,
            texts=texts_of(parsed.passages, name="passages"),
            model=parsed.model,
            top_n=parsed.top_n,
            return_documents=False,
            documents=parsed.passages,
            raw_scores=True,
        )

    def write_response(self, response: WireResponse, request: WireRequest) -> dict[str, Any]:  # noqa: ARG002  (the logits whatever was asked)
        """Logits, and no passages."""
        return {
            "rankings": [{"index": item.index, "logit": chosen_score(item, raw=True)} for item in response.results],
            "usage": {"prompt_tokens": response.tokens, "total_tokens": response.tokens},
        }


class Nvidia(Nim):
    """NVIDIA's own service, where each model has a path: llama-3.2-x is at llama-3_2-x."""

    name = "nvidia"
    path = "/v1/retrieval/{model}/reranking"
    base_url = "https://ai.api.nvidia.com"

    def path_for(self, model: str | None) -> str:
        """Dots in names are underscores in paths."""
        return self.path.replace("{model}", quote((model or "").replace(".", "_")))
