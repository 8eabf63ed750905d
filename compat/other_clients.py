"""One call of a client that needs an environment of its own; runs there, so it imports nothing of ours.

``python other_clients.py CLIENT URL`` reads ``{"key", "query", "documents", "model"}`` from standard input and writes
``{"scores"}``, in the documents' order, or ``{"error", "message"}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

Asked = dict[str, Any]
Ranked = list[tuple[int, float]]


def cohere_5_v1(url: str, asked: Asked) -> Ranked:
    """The Cohere SDK before version 6, first version of the API."""
    import cohere

    reply = cohere.Client(asked["key"], base_url=url).rerank(
        model=asked["model"],
        query=asked["query"],
        documents=asked["documents"],
        request_options={"max_retries": 0},
    )
    return [(item.index, item.relevance_score) for item in reply.results]


def cohere_5_v2(url: str, asked: Asked) -> Ranked:
    """The same, second version of the API."""
    import cohere

    reply = cohere.ClientV2(asked["key"], base_url=url).rerank(
        model=asked["model"],
        query=asked["query"],
        documents=asked["documents"],
        request_options={"max_retries": 0},
    )
    return [(item.index, item.relevance_score) for item in reply.results]


def langchain_cohere(url: str, asked: Asked) -> Ranked:
    """LangChain's Cohere reranker; the SDK below it tries again by itself."""
    from langchain_cohere import CohereRerank

    reranker = CohereRerank(model=asked["model"], cohere_api_key=asked["key"], base_url=url)
    found = reranker.rerank(asked["documents"], asked["query"], top_n=len(asked["documents"]))
    return [(item["index"], item["relevance_score"]) for item in found]


def infinity_client(url: str, asked: Asked) -> Ranked:
    """Infinity's generated client."""
    from infinity_client import AuthenticatedClient
    from infinity_client.api.default import rerank
    from infinity_client.models import RerankInput

    client = AuthenticatedClient(base_url=f"{url}/infinity", token=asked["key"], raise_on_unexpected_status=True)
    body = RerankInput(query=asked["query"], documents=asked["documents"], model=asked["model"], return_documents=True)
    reply = rerank.sync(client=client, body=body)
    return [(item.index, item.relevance_score) for item in reply.results]


def voyageai(url: str, asked: Asked) -> Ranked:
    """Voyage's SDK."""
    import voyageai

    client = voyageai.Client(api_key=asked["key"], base_url=f"{url}/voyage/v1")
    reply = client.rerank(asked["query"], asked["documents"], asked["model"])
    return [(item.index, item.relevance_score) for item in reply.results]


CALLS: dict[str, Callable[[str, Asked], Ranked]] = {
    "cohere5-v1": cohere_5_v1,
    "cohere5-v2": cohere_5_v2,
    "langchain-cohere": langchain_cohere,
    "infinity_client": infinity_client,
    "voyageai": voyageai,
}


def main(client: str, url: str) -> None:
    """One call."""
    asked = json.load(sys.stdin)
    try:
        ranked = CALLS[client](url, asked)
    except Exception as error:  # noqa: BLE001  (what it is is the result)
        answer: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    else:
        answer = {"scores": [score for _, score in sorted(ranked)]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
