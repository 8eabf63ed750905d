"""vLLM: ``POST /v1/rerank`` and ``POST /score`` (https://docs.vllm.ai, "Scoring and rerank APIs").

``/v1/rerank`` rather than ``/rerank``: vLLM checks the API key only below ``/v1`` and ``/v2``.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from rerank_core.errors import InvalidRequestError
from rerank_core.wire.dialect import Dialect, chosen_score, present
from rerank_core.wire.effects import Honoured
from rerank_core.wire.fields import Documents, OptionalModelName, Query, check_count
from rerank_core.wire.messages import WireRequest, WireResponse
from rerank_core.wire.native import NativeUsage
from rerank_core.wire.options import CutBody
from rerank_core.wire.texts import texts_of

# Cuts what is longer than the model reads; without it, vLLM refuses a whole request for one long document.
_TRUNCATE = {"truncate_prompt_tokens": -1}


class Vllm(Dialect):
    """vLLM's rerank endpoint. It always returns the documents."""

    name = "vllm"
    path = "/v1/rerank"
    key_variable = "VLLM_API_KEY"
    model_required = False
    takes_instruction = True

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """Documents go as strings: objects with ``text`` are refused."""
        return {
            **super().write_request(request),
            **_TRUNCATE,
            **present(max_tokens_per_doc=request.max_tokens_per_doc, instruction=request.instruction),
        }


def _as_list(value: Any, info: ValidationInfo) -> Any:
    check_count(value, info)
    return [value] if isinstance(value, str) else value


class ScoreBody(CutBody):
    """One query and many documents, or a query for each document, under any of the pairs of names that vLLM takes."""

    model: OptionalModelName = None
    text_1: Annotated[
        list[Query],
        BeforeValidator(_as_list),
        Honoured("what documents are scored against: one, or one for each", usual="feline pets", other="shares"),
    ] = Field(validation_alias=AliasChoices("text_1", "queries", "data_1"), min_length=1)
    text_2: Documents = Field(validation_alias=AliasChoices("text_2", "documents", "items", "data_2"))


class Score(BaseModel):
    """The score of one document."""

    model_config = ConfigDict(extra="forbid")

    index: int
    object: Literal["score"]
    score: float


class ScoreReply(BaseModel):
    """The scores, in the order of the documents."""

    model_config = ConfigDict(extra="forbid")

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: NativeUsage


class VllmScore(Dialect):
    """vLLM's score endpoint: scores in the order of the documents, no ranking."""

    name = "vllm-score"
    path = "/v1/score"
    key_variable = "VLLM_API_KEY"
    model_required = False
    takes_instruction = True
    body = ScoreBody
    reply = ScoreReply

    def write_request(self, request: WireRequest) -> dict[str, Any]:
        """``text_1`` and ``text_2`` are the names that every version knows."""
        return {
            **present(model=request.model, text_1=request.query, text_2=list(request.texts)),
            **_TRUNCATE,
            **present(max_tokens_per_doc=request.max_tokens_per_doc, instruction=request.instruction),
            **({"use_activation": False} if request.raw_scores else {}),
        }

    def to_request(self, parsed: Any) -> WireRequest:
        """The request in a parsed body.

        Raises:
            InvalidRequestError: when there are several queries, and not one for each document.
        """
        if len(parsed.text_1) not in (1, len(parsed.text_2)):
            raise InvalidRequestError(
                f"Got {len(parsed.text_1)} queries for {len(parsed.text_2)} documents. Send one query for all "
                "documents, or one for each.",
                code="invalid_query",
                param="text_1",
            )
        return WireRequest(
            query=parsed.text_1[0],
            queries=parsed.text_1 if len(parsed.text_1) > 1 else (),
            texts=texts_of(parsed.text_2, name="text_2"),
            model=parsed.model,
            return_documents=False,
            documents=parsed.text_2,
        )

    def write_response(self, response: WireResponse, request: WireRequest) -> dict[str, Any]:
        """In the order of the documents: clients of this endpoint read scores by position."""
        return {
            "id": response.id,
            "object": "list",
            "created": int(time.time()),
            "model": response.model,
            "data": [
                {"index": item.index, "object": "score", "score": chosen_score(item, raw=request.raw_scores)}
                for item in sorted(response.results, key=lambda item: item.index)
            ],
            "usage": {"prompt_tokens": response.tokens, "total_tokens": response.tokens},
        }
