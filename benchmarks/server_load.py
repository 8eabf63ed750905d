"""The server under load, on the loopback interface: throughput against the engine itself, latency, overload.

    python benchmarks/server_load.py

Throughput: 32 clients that each send 10 documents at a time, against one in-process Reranker that scores the same
pairs in bulk. The two take turns, so that a busy machine slows both; each is judged by the median of its rounds. The
clients run in this process, the server in another, on the same CPUs: what the clients cost counts against the server.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import httpx
from measure import QUERY, Result, arguments, documents

from rerank_core import Reranker

MODEL = "rerank-mini-en-v1"
CLIENTS = 32
DOCUMENTS = 10

Rows = list[list[str]]
"""What was measured, and its value."""


@asynccontextmanager
async def server(*options: str) -> AsyncIterator[httpx.AsyncClient]:
    """``rerank serve`` in a process of its own; yields a client for it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from rerank_core.cli import main; main()", "serve", "--port", "0", *options),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    log = cast("asyncio.StreamReader", process.stderr)
    started = (await log.readuntil(b" ready\n")).decode()
    url = cast("re.Match[str]", re.search(r"http://[\w.:]+", started))[0]
    rest = asyncio.ensure_future(log.read())
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(process.wait(), rest)


async def ask(client: httpx.AsyncClient, texts: list[str]) -> tuple[int, float, bool]:
    """One request: status, seconds, and whether an error says when to come back."""
    started = time.perf_counter()
    body = {"model": MODEL, "query": QUERY, "documents": texts, "return_documents": False}
    response = await client.post("/v1/rerank", json=body)
    return response.status_code, time.perf_counter() - started, "retry-after" in response.headers


async def load(client: httpx.AsyncClient, texts: list[str]) -> list[float]:
    """All texts, sent by the clients in portions; the seconds of every request."""
    portions = [texts[start : start + DOCUMENTS] for start in range(0, len(texts), DOCUMENTS)]
    line = iter(portions)
    seconds: list[float] = []

    async def one_client() -> None:
        for portion in line:
            status, took, _ = await ask(client, portion)
            if status != httpx.codes.OK:
                raise RuntimeError(f"the server answered {status}")
            seconds.append(took)

    await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    return seconds


async def throughput(texts: list[str], rounds: int) -> Rows:
    """Clients against bulk, in turns."""
    reranker = Reranker()
    reranker.warm_up()
    bulk, served, latencies = [], [], []
    async with server() as client:
        await load(client, texts[: 10 * CLIENTS])
        for _ in range(rounds):
            started = time.perf_counter()
            await asyncio.to_thread(reranker.rerank, QUERY, texts)
            bulk.append(len(texts) / (time.perf_counter() - started))
            started = time.perf_counter()
            latencies += await load(client, texts)
            served.append(len(texts) / (time.perf_counter() - started))
    cuts = statistics.quantiles(latencies, n=100)
    through, inside = statistics.median(served), statistics.median(bulk)
    clients = f"{CLIENTS} clients, {DOCUMENTS} documents per request"
    return [
        ["in-process `Reranker`, in bulk", f"{inside:.1f} documents/s"],
        [f"through the server, {clients}", f"{through:.1f} documents/s"],
        ["ratio", f"{through / inside:.2f}"],
        ["request p50 / p99", f"{cuts[49]:.2f} s / {cuts[98]:.2f} s"],
    ]


async def small_beside_large() -> Rows:
    """How long a small request takes alone, and while a large one runs."""
    small = [text[:200] for text in documents(DOCUMENTS)]
    words = " ".join(documents(20)).split()
    large = [" ".join(words[start : start + 600]) for start in range(100)]
    async with server() as client:
        alone = [(await ask(client, small))[1] for _ in range(20)]
        running = asyncio.ensure_future(ask(client, large))
        await asyncio.sleep(0.2)
        beside = []
        while not running.done():
            beside.append((await ask(client, small))[1])
        _, took, _ = await running
    small_request = f"a request of {DOCUMENTS} short documents"
    return [
        [f"{small_request}, alone, p50", f"{1000 * statistics.median(alone):.0f} ms"],
        [
            f"{small_request}, while 100 documents of 512 tokens take {took:.1f} s, p50",
            f"{1000 * statistics.median(beside):.0f} ms",
        ],
        ["how many got through meanwhile", str(len(beside))],
    ]


async def overload() -> Rows:
    """Four times as many requests at once as are let in: each is answered, or refused with a Retry-After."""
    texts = documents(DOCUMENTS)
    async with server("--max-in-flight-requests", str(CLIENTS)) as client:
        requests = (ask(client, texts) for _ in range(4 * CLIENTS))
        found = await asyncio.gather(*requests, return_exceptions=True)
    answers = [answer for answer in found if not isinstance(answer, BaseException)]
    counts = {status: sum(answer[0] == status for answer in answers) for status in {answer[0] for answer in answers}}
    unsaid = sum(status == httpx.codes.TOO_MANY_REQUESTS and not wait for status, _, wait in answers)
    at_once = f"{4 * CLIENTS} requests at once, {CLIENTS} let in"
    return [
        *([f"{at_once}: answered {status}", str(count)] for status, count in sorted(counts.items())),
        [f"{at_once}: 429 without Retry-After", str(unsaid)],
        [f"{at_once}: lost", str(len(found) - len(answers))],
    ]


async def measure(count: int, rounds: int) -> Rows:
    """Everything, in order."""
    return [*await throughput(documents(count), rounds), *await small_beside_large(), *await overload()]


def main() -> None:
    """Measure, keep the table."""
    given = arguments(__doc__, documents=640, rounds=3)
    rows = asyncio.run(measure(given.documents, given.rounds))
    Result(
        "server_load",
        "The server under load",
        ["", ""],
        rows,
        [f"`{MODEL}`. Documents per second: medians of {given.rounds} rounds with {given.documents} documents."],
        dict(rows),
    ).keep(given.out)


if __name__ == "__main__":
    main()
