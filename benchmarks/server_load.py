"""The server under load, on the loopback interface: throughput against the engine itself, latency, overload.

    python benchmarks/server_load.py

Throughput: 32 clients that each send 10 documents at a time, against one in-process Reranker that scores the same
pairs in bulk. The two take turns, so that a busy machine slows both; each is judged by the median of its rounds. The
clients run in this process, the server in another, on the same CPUs: what the clients cost counts against the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import httpx
from measure import QUERY, documents
from rich.console import Console
from rich.table import Table

from rerank_core import Reranker
from rerank_core.inference.cpus import available_cpus

MODEL = "rerank-mini-en-v1"
CLIENTS = 32
DOCUMENTS = 10


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


async def throughput(texts: list[str], rounds: int, console: Console) -> None:
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
    table = Table("", "documents/s", title=f"{CLIENTS} clients, {DOCUMENTS} documents a request")
    table.add_row("in-process Reranker, in bulk", f"{statistics.median(bulk):.1f}")
    table.add_row("through the server", f"{statistics.median(served):.1f}")
    table.add_row("ratio", f"{statistics.median(served) / statistics.median(bulk):.2f}")
    table.add_row("request p50 / p99", f"{cuts[49]:.2f} s / {cuts[98]:.2f} s")
    console.print(table)


async def small_beside_large(console: Console) -> None:
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
    table = Table("", "p50", title=f"a request of {DOCUMENTS} short documents")
    table.add_row("alone", f"{1000 * statistics.median(alone):.0f} ms")
    table.add_row(f"while 100 documents of 512 tokens take {took:.1f} s", f"{1000 * statistics.median(beside):.0f} ms")
    table.add_row("how many got through meanwhile", str(len(beside)))
    console.print(table)


async def overload(console: Console) -> None:
    """Four times as many requests at once as are let in: each is answered, or refused with a Retry-After."""
    texts = documents(DOCUMENTS)
    async with server("--max-in-flight-requests", str(CLIENTS)) as client:
        requests = (ask(client, texts) for _ in range(4 * CLIENTS))
        found = await asyncio.gather(*requests, return_exceptions=True)
    answers = [answer for answer in found if not isinstance(answer, BaseException)]
    counts = {status: sum(answer[0] == status for answer in answers) for status in {answer[0] for answer in answers}}
    table = Table("answer", "requests", title=f"{4 * CLIENTS} requests at once, {CLIENTS} let in")
    for status, count in sorted(counts.items()):
        table.add_row(str(status), str(count))
    unsaid = sum(status == httpx.codes.TOO_MANY_REQUESTS and not wait for status, _, wait in answers)
    table.add_row("429 without Retry-After", str(unsaid))
    table.add_row("lost", str(len(found) - len(answers)))
    console.print(table)


async def measure(count: int, rounds: int) -> None:
    """Everything, in order."""
    console = Console()
    console.print(f"{platform.processor() or platform.machine()}, {available_cpus()} CPUs, model {MODEL}")
    await throughput(documents(count), rounds, console)
    await small_beside_large(console)
    await overload(console)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.documents, arguments.rounds))


if __name__ == "__main__":
    main()
