"""``python -m compat.run [NAME ...]``: every check, or those of some clients and servers; ends in a table.

Clients of :mod:`compat.other_clients` are pointed at our server, our client at the servers of :mod:`compat.servers`;
the replies of those are recorded anew. Exits with 1 when a check fails.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from compat import checkpoint
from compat.checkpoint import DOCUMENTS, MODEL, QUERY
from compat.environments import BUILD, COHERE_5, INFINITY_CLIENT, LANGCHAIN_COHERE, VOYAGE, Environment
from compat.recording import LONG_DOCUMENT, record
from compat.servers import KEY, NATIVE, OUR_MODEL, SERVERS, Server, litellm_before_ours, ours
from rerank_core import InferenceError, Reranker, RerankError, RerankResponse

CLIENTS: dict[str, Environment] = {
    "cohere5-v1": COHERE_5,
    "cohere5-v2": COHERE_5,
    "langchain-cohere": LANGCHAIN_COHERE,
    "infinity_client": INFINITY_CLIENT,
    "voyageai": VOYAGE,
}
_TRIES_AGAIN = ("langchain-cohere",)  # after Retry-After, and nobody can tell it not to
_CLOSE = 1e-6
_MANY = 2100
_TOO_MANY_FOR_US = 101
_PER_MINUTE = {"slow": 1, "quick": 60}


@dataclass
class Row:
    """What came of one client or server."""

    name: str
    version: str
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def check(self, what: str, work: Callable[[], str]) -> None:
        """Note what ``work`` returns, or why it failed; it fails by an AssertionError."""
        try:
            noted = work()
        except Exception as error:  # noqa: BLE001  (whatever it is, the other checks go on)
            self.failed.append(f"{what}: {type(error).__name__} {str(error)[:200]}")
        else:
            self.passed.append(f"{what}: {noted}" if noted else what)


def main(names: Sequence[str]) -> int:
    """Run the checks of ``names``, or all of them; 1 when one fails."""
    BUILD.mkdir(parents=True, exist_ok=True)
    keys = BUILD / "keys"
    keys.write_text("good\n" + "".join(f"{key} {limit}\n" for key, limit in _PER_MINUTE.items()))
    rows: list[Row] = []
    clients = [name for name in CLIENTS if not names or name in names]
    if clients:
        with ours(keys) as url:
            rows += [_check_client(name, url) for name in clients]
    for server in SERVERS:
        if not names or server.name in names:
            rows += _check_server(server)
            if server.name == "litellm":
                rows.append(_check_through_litellm(server, keys))
    _show(rows)
    return int(any(row.failed for row in rows))


def _check_client(name: str, url: str) -> Row:
    environment = CLIENTS[name]
    environment.make()
    row = Row(name, environment.version())

    def call(key: str = "good", query: str = QUERY, documents: Sequence[str] = DOCUMENTS) -> dict[str, Any]:
        asked = {"key": key, "query": query, "documents": documents, "model": OUR_MODEL}
        script = Path(__file__).with_name("other_clients.py")
        done = subprocess.run(  # noqa: S603  (ours)
            [environment.python, script, name, url], input=json.dumps(asked), capture_output=True, text=True, check=True
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def scores() -> str:
        return _compare(call()["scores"], _native(url), _CLOSE)

    def refused(message: str, **asked: Any) -> str:
        answer = call(**asked)
        _require(message in answer.get("message", ""), f"{answer}"[:200])
        return str(answer["error"])

    def limited() -> str:
        key = "quick" if name in _TRIES_AGAIN else "slow"
        _spend(url, key)
        if key == "slow":
            return refused("Too many requests with this API key.", key=key)
        _compare(call(key=key)["scores"], _native(url), _CLOSE)
        return "waited as asked, then served"

    row.check("scores", scores)
    row.check("400 too many documents", lambda: refused("Maximum is 100.", documents=["x"] * _TOO_MANY_FOR_US))
    row.check("400 empty query", lambda: refused("Query cannot be empty", query=""))
    row.check("401", lambda: refused("The API key is not valid.", key="bad"))
    row.check("429", limited)
    return row


def _check_server(server: Server) -> list[Row]:
    server.environment.make()
    folder = checkpoint.build(BUILD / "checkpoint")
    with Reranker(folder, backend="torch") as local, server.start(folder) as url:
        record(server, url, _scores(local.rerank(QUERY, DOCUMENTS)))
        return [_check_provider(server, provider, url, local) for provider in server.providers]


def _check_provider(server: Server, provider: str, url: str, local: Reranker) -> Row:
    row = Row(f"{server.name}, provider={provider!r}", server.environment.version())
    many = [f"{DOCUMENTS[i % len(DOCUMENTS)]} Number {i}." for i in range(_MANY)]

    def remote(key: str = KEY) -> Reranker:
        return Reranker(MODEL, provider=provider, base_url=url, api_key=key, max_retries=0)

    def same(documents: Sequence[str]) -> str:
        with remote() as reranker:
            found = reranker.rerank(QUERY, documents)
        return _compare(_scores(found), _scores(local.rerank(QUERY, documents)), server.tolerance)

    async def asynchronous() -> str:
        async with remote() as reranker:
            found = await reranker.arerank(QUERY, DOCUMENTS)
        return _compare(_scores(found), _scores(local.rerank(QUERY, DOCUMENTS)), server.tolerance)

    def wrong_key() -> str:
        return _raises(lambda: remote("wrong").rerank(QUERY, DOCUMENTS), server.wrong_key)

    def long_document() -> str:
        if server.cuts:
            return same([*DOCUMENTS, LONG_DOCUMENT])
        return _raises(lambda: remote().rerank(QUERY, [LONG_DOCUMENT]), InferenceError.__name__)

    def empty_document() -> str:
        if server.reads_empty:
            return same([*DOCUMENTS, ""])
        with remote() as reranker:
            found = reranker.rerank(QUERY, [*DOCUMENTS, ""])
        _compare(_scores(found)[:-1], _scores(local.rerank(QUERY, DOCUMENTS)), server.tolerance)
        return "served; its score is not the reference's"

    row.check("scores", lambda: same(DOCUMENTS))
    row.check("asynchronous", lambda: asyncio.run(asynchronous()))
    row.check("wrong key", wrong_key)
    row.check(f"{_MANY} documents", lambda: same(many))
    row.check("long document", long_document)
    row.check("empty document", empty_document)
    return row


def _check_through_litellm(server: Server, keys: Path) -> Row:
    """Our client, LiteLLM's proxy, our server."""
    row = Row("litellm before our server", server.environment.version())
    with Reranker() as local, litellm_before_ours(keys) as url:

        def same() -> str:
            with Reranker(MODEL, provider="litellm", base_url=url, api_key=KEY, max_retries=0) as reranker:
                found = reranker.rerank(QUERY, DOCUMENTS * 40)
            return _compare(_scores(found), _scores(local.rerank(QUERY, DOCUMENTS * 40)), _CLOSE)

        row.check("scores of 160 documents", same)
    return row


def _native(url: str) -> list[float]:
    body = {"model": OUR_MODEL, "query": QUERY, "documents": DOCUMENTS}
    with httpx.Client(trust_env=False, timeout=30) as http:
        reply = http.post(url + NATIVE, json=body, headers={"authorization": "Bearer good"}).raise_for_status().json()
    return [item["relevance_score"] for item in sorted(reply["results"], key=lambda item: item["index"])]


def _spend(url: str, key: str) -> None:
    """Use a key until it is refused; as long as that takes, it gets new requests only slowly."""
    body = {"model": OUR_MODEL, "query": "q", "documents": ["x"]}
    with httpx.Client(trust_env=False, timeout=30) as http:
        for _ in range(1000):
            reply = http.post(url + NATIVE, json=body, headers={"authorization": f"Bearer {key}"})
            if reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
                return
    raise AssertionError("the key was never refused")


def _scores(found: RerankResponse) -> list[float]:
    return [item.relevance_score for item in sorted(found, key=lambda item: item.index)]


def _compare(found: Sequence[float], wanted: Sequence[float], tolerance: float) -> str:
    _require(len(found) == len(wanted), f"{len(found)} scores for {len(wanted)} documents")
    difference = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
    _require(difference <= tolerance, f"scores differ by {difference:.1e}")
    return f"within {tolerance:g}"


def _raises(work: Callable[[], object], name: str) -> str:
    try:
        work()
    except RerankError as error:
        _require(type(error).__name__ == name, f"{type(error).__name__}: {error}")
        return name
    raise AssertionError("it was served")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _show(rows: Sequence[Row]) -> None:
    table = Table("Who", "Version", "Passed", "Failed", show_lines=True)
    for row in rows:
        table.add_row(row.name, row.version, "\n".join(row.passed), "\n".join(row.failed))
    console = Console()
    console.print(table)
    console.print(f"{sum(len(row.passed) for row in rows)} passed, {sum(len(row.failed) for row in rows)} failed")


if __name__ == "__main__":
    started = time.monotonic()
    code = main(sys.argv[1:])
    print(f"{time.monotonic() - started:.0f} seconds")
    sys.exit(code)
