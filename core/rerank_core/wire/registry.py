"""The dialects a client can speak, by the names users write as ``provider=``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rerank_core.errors import InvalidRequestError
from rerank_core.spelling import did_you_mean
from rerank_core.wire.cohere import Cohere, CohereV1
from rerank_core.wire.dashscope import DashScope, DashScopeCompatible
from rerank_core.wire.deepinfra import DeepInfra
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.infinity import Infinity
from rerank_core.wire.jina import Jina
from rerank_core.wire.litellm import LiteLlm
from rerank_core.wire.llamacpp import LlamaCpp
from rerank_core.wire.mixedbread import Mixedbread
from rerank_core.wire.native import Assisters, Native
from rerank_core.wire.nim import Nim, Nvidia
from rerank_core.wire.pinecone import Pinecone
from rerank_core.wire.siliconflow import SiliconFlow
from rerank_core.wire.tei import Tei
from rerank_core.wire.vllm import Vllm, VllmScore
from rerank_core.wire.voyage import Voyage
from rerank_core.wire.xinference import Xinference

_DIALECTS: tuple[Dialect, ...] = (
    Native(),
    Assisters(),
    Cohere(),
    CohereV1(),
    Jina(),
    Voyage(),
    Tei(),
    Vllm(),
    VllmScore(),
    Infinity(),
    LlamaCpp(),
    LiteLlm(),
    Mixedbread(),
    SiliconFlow(),
    Xinference(),
    DashScope(),
    DashScopeCompatible(),
    Pinecone(),
    Nim(),
    Nvidia(),
    DeepInfra(),
)
_BY_NAME = {dialect.name: dialect for dialect in _DIALECTS}

CLIENT_DIALECTS: Mapping[str, Dialect] = MappingProxyType({**_BY_NAME, "cohere-v2": _BY_NAME["cohere"]})


def dialect(name: str) -> Dialect:
    """The dialect that users call ``name``.

    Raises:
        InvalidRequestError: when there is none (code ``unknown_provider``); the message lists all.
    """
    try:
        return CLIENT_DIALECTS[name]
    except KeyError:
        raise InvalidRequestError(
            f"Unknown provider {name!r}. Known: {', '.join(sorted(CLIENT_DIALECTS))}."
            + did_you_mean(name, CLIENT_DIALECTS),
            code="unknown_provider",
            param="provider",
        ) from None
