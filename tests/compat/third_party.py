"""Clients that nobody here wrote, each pointed at a server of ours: how it is called and what it raises."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

# Read when the libraries are imported: no telemetry, and no price list from the network.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "CRITICAL",  # its error log repeats what it raises
}

MODEL = "bge-reranker-v2"
Ranked = list[tuple[int, float]]  # position in the request's documents, score; best first


@dataclass(frozen=True)
class Client:
    """A client.

    Attributes:
        name: what the tests show.
        module: what must be installed.
        call: ``call(url, key, query, documents)`` ranks all documents.
        acall: the same, asynchronous, where the client can do that.
        refused: the types of what it raises for the statuses 400 (422 in TEI's dialect), 401 and 429.
        says_why: whether what it raises has the server's message in it.
        retry_after: where what it raises keeps the header, None where it does not.
        logits: whether its scores are logits.
    """

    name: str
    module: str
    call: Callable[[str, str, str, list[str]], Ranked]
    acall: Callable | None = None
    refused: tuple[str, str, str] = ("RuntimeError", "RuntimeError", "RuntimeError")
    says_why: bool = True
    retry_after: Callable[[Exception], str] | None = None
    logits: bool = False


COHERE_ERRORS = ("BadRequestError", "UnauthorizedError", "TooManyRequestsError")
LITELLM_ERRORS = ("BadRequestError", "AuthenticationError", "RateLimitError")


def cohere_v1(url, key, query, documents, retries=0):
    import cohere

    with cohere.Client(key, base_url=url) as client:
        reply = client.rerank(model=MODEL, query=query, documents=documents, request_options={"max_retries": retries})
    return [(item.index, item.relevance_score) for item in reply.results]


def cohere_v2(url, key, query, documents, retries=0):
    import cohere

    with cohere.ClientV2(key, base_url=url) as client:
        reply = client.rerank(model=MODEL, query=query, documents=documents, request_options={"max_retries": retries})
    return [(item.index, item.relevance_score) for item in reply.results]


async def cohere_v1_async(url, key, query, documents):
    import cohere

    async with cohere.AsyncClient(key, base_url=url) as client:
        reply = await client.rerank(model=MODEL, query=query, documents=documents, request_options={"max_retries": 0})
    return [(item.index, item.relevance_score) for item in reply.results]


async def cohere_v2_async(url, key, query, documents):
    import cohere

    async with cohere.AsyncClientV2(key, base_url=url) as client:
        reply = await client.rerank(model=MODEL, query=query, documents=documents, request_options={"max_retries": 0})
    return [(item.index, item.relevance_score) for item in reply.results]


def litellm_client(provider: str, below: str = "", *, keeps_headers: bool, **details) -> Client:
    """LiteLLM with one of its providers; ``below`` is appended to our address."""

    def options(url, key, query, documents):
        import litellm

        litellm.suppress_debug_info = True  # it prints where to get help
        return {
            "model": f"{provider}/{MODEL}",
            "query": query,
            "documents": documents,
            "api_base": url + below,
            "api_key": key,
            "max_retries": 0,
        }

    def read(reply):
        return [(item["index"], item["relevance_score"]) for item in reply.results]

    def call(*asked):
        import litellm

        return read(litellm.rerank(**options(*asked)))

    async def acall(*asked):
        import litellm

        return read(await litellm.arerank(**options(*asked)))

    return Client(
        f"litellm {provider}",
        "litellm",
        call,
        acall,
        retry_after=(lambda error: error.litellm_response_headers["retry-after"]) if keeps_headers else None,
        **{"refused": LITELLM_ERRORS, **details},
    )


def llama_index_client(name: str, module: str, make: Callable, **details) -> Client:
    """A LlamaIndex postprocessor."""

    def asked(query, documents):
        from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

        nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i))) for i, text in enumerate(documents)]
        return nodes, QueryBundle(query)

    def read(nodes):
        return [(int(node.node.id_), node.score) for node in nodes]

    def call(url, key, query, documents):
        return read(make(url, key).postprocess_nodes(*asked(query, documents)))

    async def acall(url, key, query, documents):
        return read(await make(url, key).apostprocess_nodes(*asked(query, documents)))

    return Client(name, module, call, acall, **details)


def llama_index_jina(url, key):
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    return JinaRerank(model=MODEL, base_url=f"{url}/v1", api_key=key, top_n=1000)


def llama_index_tei(url, key):
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    # The token is sent as it stands, without "Bearer".
    return TextEmbeddingInference(model_name=MODEL, base_url=url, auth_token=key, top_n=1000)


def haystack_client(name: str, module: str, make: Callable, **details) -> Client:
    """A Haystack ranker."""

    def asked(query, documents):
        from haystack import Document

        found = [Document(content=text, meta={"position": i}) for i, text in enumerate(documents)]
        return {"query": query, "documents": found, "top_k": 1000}

    def made(url, key):
        ranker = make(url, key)
        if hasattr(ranker, "warm_up"):
            ranker.warm_up()
        return ranker

    def read(answer):
        return [(document.meta["position"], document.score) for document in answer["documents"]]

    def call(url, key, query, documents):
        return read(made(url, key).run(**asked(query, documents)))

    async def acall(url, key, query, documents):
        return read(await made(url, key).run_async(**asked(query, documents)))

    return Client(name, module, call, acall, **details)


def haystack_cohere(url, key):
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    return CohereRanker(model=MODEL, api_key=Secret.from_token(key), api_base_url=url)


def haystack_jina(url, key):
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker

    return JinaRanker(model=MODEL, api_key=Secret.from_token(key), base_url=f"{url}/v1/rerank")


def haystack_tei(url, key):
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    return HuggingFaceTEIRanker(url=url, token=Secret.from_token(key), max_retries=1)


CLIENTS = [
    Client(
        "cohere v1", "cohere", cohere_v1, cohere_v1_async, COHERE_ERRORS, retry_after=lambda e: e.headers["retry-after"]
    ),
    Client(
        "cohere v2", "cohere", cohere_v2, cohere_v2_async, COHERE_ERRORS, retry_after=lambda e: e.headers["retry-after"]
    ),
    litellm_client("cohere", keeps_headers=False),
    litellm_client("jina_ai", keeps_headers=True),
    litellm_client("hosted_vllm", keeps_headers=True),
    litellm_client(  # it has no exception of its own for TEI's 422
        "huggingface", keeps_headers=False, refused=("APIError", "AuthenticationError", "RateLimitError")
    ),
    litellm_client("infinity", "/infinity", keeps_headers=False),
    litellm_client("voyage", "/voyage/v1/rerank", keeps_headers=True),
    litellm_client("nvidia_nim", keeps_headers=True, logits=True),
    llama_index_client("llama-index jinaai", "llama_index.postprocessor.jinaai_rerank", llama_index_jina),
    llama_index_client(
        "llama-index tei",
        "llama_index.postprocessor.tei_rerank",
        llama_index_tei,
        refused=("AssertionError",) * 3,  # an assertion that the reply has as many results as it sent texts
        says_why=False,
    ),
    haystack_client(
        "haystack cohere", "haystack_integrations.components.rankers.cohere", haystack_cohere, refused=COHERE_ERRORS
    ),
    haystack_client("haystack jina", "haystack_integrations.components.rankers.jina", haystack_jina),
    haystack_client("haystack tei", "haystack_integrations.components.rankers.huggingface_api", haystack_tei),
]
