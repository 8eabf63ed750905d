"""The server's paths: every path that takes a ranking request, and the dialect spoken on it.

Several products share some paths. Where their requests differ in the field that holds the documents, the body decides;
where they differ only in the response, each product also has a path that begins with its own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rerank_core.wire.cohere import Cohere, CohereV1
from rerank_core.wire.dashscope import DashScope
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.fireworks import Fireworks
from rerank_core.wire.infinity import Infinity
from rerank_core.wire.mixedbread import Mixedbread
from rerank_core.wire.native import Native, NativeAlias
from rerank_core.wire.nim import Nim
from rerank_core.wire.ollama import Ollama
from rerank_core.wire.pinecone import Pinecone
from rerank_core.wire.tei import Tei
from rerank_core.wire.vllm import VllmScore
from rerank_core.wire.voyage import Voyage


@dataclass(frozen=True, slots=True)
class Route:
    """A path that takes a ranking request.

    Attributes:
        path: the path; ``{model}`` stands for a model's name, which may hold slashes and overrides the body's.
        dialect: the usual dialect there, also of errors about unreadable bodies.
        by_field: other dialects there, by the field that their requests have in place of ``documents``.
    """

    path: str
    dialect: Dialect
    by_field: Mapping[str, Dialect] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """All dialects there, the usual one first."""
        return (self.dialect, *self.by_field.values())


def dialect_for(route: Route, body: Any) -> Dialect:
    """The dialect of a request; a body with ``documents`` is in the route's usual one, whatever else it has."""
    if isinstance(body, dict) and body.get("documents") is None:
        for name, dialect in route.by_field.items():
            if body.get(name) is not None:
                return dialect
    return route.dialect


_NATIVE_ALIAS = NativeAlias()
_COHERE = Cohere()
_TEI = Tei()
_NIM = Nim()
_VLLM_SCORE = VllmScore()
_MIXEDBREAD = Mixedbread()
_TEXTS = MappingProxyType({"texts": _TEI})
_ANY_FIELD = MappingProxyType({"input": _MIXEDBREAD, "passages": _NIM, "texts": _TEI})

ROUTES: tuple[Route, ...] = (
    Route("/v1/rerank", Native()),
    Route("/v2/rerank", _COHERE),
    Route("/rerank", _NATIVE_ALIAS, _TEXTS),  # vLLM, llama.cpp, Dify; Text Embeddings Inference
    Route("/v1/reranking", _NATIVE_ALIAS, _ANY_FIELD),  # llama.cpp; Mixedbread; RAGFlow's NVIDIA driver
    Route("/reranking", _NATIVE_ALIAS, _ANY_FIELD),  # the same products with the other base URL
    Route("/v1/ranking", _NIM),
    Route("/v1/retrieval/{model}/reranking", _NIM),
    Route("/score", _VLLM_SCORE),
    Route("/v1/score", _VLLM_SCORE),
    Route("/reranks", _NATIVE_ALIAS),  # LiteLLM's dashscope/
    Route("/compatible-api/v1/reranks", _NATIVE_ALIAS),
    Route("/api/v1/services/rerank/text-rerank/text-rerank", DashScope()),
    Route("/api/rerank", Ollama()),
    Route("/inference/v1/rerank", Fireworks()),  # LiteLLM's fireworks_ai/
    Route("/cohere/v1/rerank", CohereV1()),
    Route("/cohere/v2/rerank", _COHERE),
    Route("/infinity/rerank", Infinity()),
    Route("/nim/v1/ranking", _NIM),
    Route("/nim/v1/retrieval/{model}/reranking", _NIM),
    Route("/pinecone/rerank", Pinecone()),
    Route("/tei/rerank", _TEI),
    Route("/", _TEI),  # Text Embeddings Inference behind a Hugging Face endpoint
    Route("/invocations", _TEI),  # the same on Amazon SageMaker
    Route("/voyage/v1/rerank", Voyage()),
)
