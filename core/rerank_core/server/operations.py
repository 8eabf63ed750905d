"""What people read about each operation: a summary of its own, a description, and an example that runs as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest
from rerank_core.wire.routes import Route

QUERY = "What is machine learning?"
DOCUMENTS = (
    "Machine learning is a subset of artificial intelligence.",
    "The weather today is sunny and warm.",
    "Deep learning uses neural networks.",
    "Cats are popular pets worldwide.",
)
# Fields that ask for the documents back: in an example everybody wants to see them.
_WANTED = ("return_documents", "return_text", "return_input")


@dataclass(frozen=True, slots=True)
class About:
    """What is said of a path.

    Attributes:
        summary: a few words, different from those of all other paths.
        description: who uses it, and what is particular to it; Markdown.
    """

    summary: str
    description: str


DESCRIPTION = """Ranks documents by relevance to a query, with a cross-encoder.

Start with **POST /v1/rerank**: open it, press *Execute*, and see the ranking of the example. All other POST paths give
the same ranking in the shape that clients of other services and servers expect, so these work with this server as they
are. Where the server asks for a key, press *Authorize* and enter it; it is sent as `Authorization: Bearer KEY`.
"""
MAIN = ("/v1/rerank", "/v2/rerank", "/rerank")
ONE_MODEL = "/v1/models/{model}"
TAGS: Mapping[str, str] = {
    "rerank": "The endpoints that most clients use.",
    "other clients": "The same ranking, at the paths and in the shapes of other services.",
    "models": "What is served, and its limits.",
    "operation": "For load balancers and monitors; no key is needed.",
}
ABOUT: Mapping[str, About] = {
    "/v1/rerank": About(
        "Rank documents by relevance to a query",
        "The main endpoint. Send a query and the documents; the answer lists them best first, each with its "
        "`relevance_score` from 0 to 1 and its `index` in your request. Documents are strings, or objects with a "
        "`text` field whose other fields come back untouched. `return_details` and `highlights` ask for the best part "
        "of each document, and `fusion` lets a retriever's scores count. Clients for Jina, Cohere v1, SiliconFlow, "
        "Xinference and llama.cpp use this path as well.",
    ),
    "/v2/rerank": About(
        "Rank documents (Cohere v2)",
        "For Cohere's v2 clients: the same ranking, with Cohere's `meta`. Documents come back only with "
        "`return_documents: true`.",
    ),
    "/rerank": About(
        "Rank documents or texts (vLLM, Text Embeddings Inference)",
        "The path that most servers share. With `documents` the answer has the native shape, as vLLM's, llama.cpp's "
        "and Dify's clients expect; with `texts` it is a plain list, as Text Embeddings Inference's clients expect.",
    ),
    "/v1/reranking": About(
        "Rank documents, inputs, passages or texts (Mixedbread, llama.cpp)",
        "The field that holds the documents chooses the shape: `documents` (llama.cpp), `input` (Mixedbread), "
        "`passages` (NVIDIA NIM) or `texts` (Text Embeddings Inference).",
    ),
    "/reranking": About(
        "Rank documents, inputs, passages or texts, without /v1",
        "`/v1/reranking` for clients whose base URL has no version.",
    ),
    "/v1/ranking": About(
        "Rank passages (NVIDIA NIM)", "For NVIDIA NIM's clients. Scores are logits, not probabilities."
    ),
    "/v1/retrieval/{model}/reranking": About(
        "Rank passages with the model in the path (NVIDIA API Catalog)",
        "For clients of NVIDIA's hosted models. The model is part of the path; scores are logits.",
    ),
    "/score": About(
        "Score pairs of texts (vLLM)",
        "One query against many documents, or as many queries as documents, pair by pair. Scores come in the order of "
        "the documents, not ranked; with `use_activation: false` they are logits.",
    ),
    "/v1/score": About("Score pairs of texts (vLLM, /v1)", "`/score` for clients whose base URL ends in `/v1`."),
    "/reranks": About(
        "Rank documents (LiteLLM's dashscope/)", "The native shape, where LiteLLM posts DashScope requests."
    ),
    "/compatible-api/v1/reranks": About(
        "Rank documents (DashScope, compatible shape)",
        "For qwen3-rerank's clients: the native shape on DashScope's path.",
    ),
    "/api/v1/services/rerank/text-rerank/text-rerank": About(
        "Rank documents (DashScope)", "For DashScope's own SDK: `input` and `parameters` in, `output` out."
    ),
    "/api/rerank": About("Rank documents (Ollama style)", "For Dify's Ollama plugin: documents come back as strings."),
    "/inference/v1/rerank": About(
        "Rank documents (Fireworks)", "For Fireworks' clients; `fireworks/` before a model's name is ignored."
    ),
    "/cohere/v1/rerank": About(
        "Rank documents (Cohere v1)", "For Cohere's v1 clients with `/cohere` as base URL; `model` may be left out."
    ),
    "/cohere/v2/rerank": About("Rank documents (Cohere v2, /cohere)", "`/v2/rerank` with `/cohere` as base URL."),
    "/infinity/rerank": About(
        "Rank documents (Infinity)",
        "For Infinity's clients and LiteLLM's `infinity/`: documents come back as strings; `raw_scores: true` gives "
        "logits.",
    ),
    "/nim/v1/ranking": About(
        "Rank passages (NVIDIA NIM, /nim)", "`/v1/ranking` with `/nim` as base URL; scores are logits."
    ),
    "/nim/v1/retrieval/{model}/reranking": About(
        "Rank passages with the model in the path (/nim)",
        "`/v1/retrieval/{model}/reranking` with `/nim` as base URL; scores are logits.",
    ),
    "/pinecone/rerank": About(
        "Rank documents (Pinecone)", "For Pinecone's clients: objects in, `data` with `score` out; keys in `Api-Key`."
    ),
    "/tei/rerank": About(
        "Rank texts (Text Embeddings Inference)",
        "For Text Embeddings Inference's clients with `/tei` as base URL: a plain list out; `raw_scores: true` gives "
        "logits.",
    ),
    "/": About(
        "Rank texts (Text Embeddings Inference, Hugging Face endpoints)",
        "`/tei/rerank` where clients of Hugging Face's Inference Endpoints post requests.",
    ),
    "/invocations": About(
        "Rank texts (Text Embeddings Inference, Amazon SageMaker)", "`/tei/rerank` where SageMaker posts requests."
    ),
    "/v1/models": About("The models served", "All models, in OpenAI's shape and, under `models`, in Cohere's."),
    ONE_MODEL: About("One model", "One model by its name, with the most tokens of a query and a document together."),
    "/info": About(
        "Limits, as Text Embeddings Inference tells them",
        "The default model and the limits, for clients that ask first.",
    ),
    "/health": About("Whether the process is alive", "Always 200 while the process answers at all (liveness)."),
    "/ready": About(
        "Whether every model can answer",
        "200 when every model is loaded; 503 while one loads or has failed, or the server is stopping (readiness).",
    ),
    "/metrics": About("Prometheus metrics", "Requests, queues, batches and tokens, in Prometheus' text format."),
    "/voyage/v1/rerank": About(
        "Rank documents (Voyage)", "For Voyage's clients with `/voyage/v1` as base URL: `top_k` in, `data` out."
    ),
}


def example(dialect: Dialect, model: str) -> dict[str, Any]:
    """A body that ranks :data:`DOCUMENTS` with ``model``, and asks for the documents back where one can."""
    fields = dialect.body.model_fields if dialect.body else {}
    body = dialect.write_request(WireRequest(QUERY, DOCUMENTS, model=model, top_n=3))
    return _asking_for_documents(body) | {name: True for name in _WANTED if name in fields}


def _asking_for_documents(body: dict[str, Any]) -> dict[str, Any]:
    return {
        name: True if name in _WANTED else _asking_for_documents(value) if isinstance(value, dict) else value
        for name, value in body.items()
    }


def examples(route: Route, model: str) -> dict[str, Any]:
    """The OpenAPI fields that show a body in each dialect of a path, by the field that holds the documents."""
    if not route.by_field:
        return {"example": example(route.dialect, model)}
    dialects = {"documents": route.dialect, **route.by_field}
    return {
        "examples": {
            field: {"summary": f"With {field}", "value": example(dialect, model)} for field, dialect in dialects.items()
        }
    }
