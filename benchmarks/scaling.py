"""Writes ``docs/scaling.md``: what a load takes, reckoned from the results that the benchmarks have kept.

    python benchmarks/scaling.py [--core-hour 0.045] [--busy 0.7]

Nothing is measured here: speed is from ``peers.py``, scaling from ``growth.py``, memory from ``memory.py``, what a
cache finds from ``zipf.py``, what that costs from ``cache.py``, and what tokenising costs from ``tokenizing.py``.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import LENGTHS, RESULTS, ROOT

PAGE = ROOT / "docs" / "scaling.md"
TEXT = Path(__file__).with_name("scaling.md")
CANDIDATES = 20  # documents of a request
RATES = (10, 1_000, 100_000)  # requests a second
PAIRS = 1_000_000_000
CORES = 2  # of the machine that the speeds were measured on
POD_CORES = 8
BYTES_PER_WORD = 6.2  # of English with its spaces, of the texts that were measured
HOURS_PER_MONTH = 730
MODELS = ("rerank-tiny-en-v1", "rerank-mini-en-v1", "rerank-small-en-v2")
SIZES = ("short", "mixed")
ID_BYTES = 32  # a hash in hexadecimal digits
ID_OVERHEAD = 1.5  # of what Ray reserves for restoring them


@dataclass(frozen=True)
class Assumptions:
    """What no benchmark can tell.

    Attributes:
        core_hour: dollars for an hour of a core.
        busy: share of the time that cores compute; the rest is room for peaks.
    """

    core_hour: float = 0.045
    busy: float = 0.7


def result(name: str) -> dict[str, Any]:
    """The data of a result that was kept."""
    data: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())["data"]
    return data


def speed(model: str, size: str) -> float:
    """Documents a second on one core."""
    found: float = result("peers")["documents_per_second"][f"ours:{model}"][f"100 {size}"]
    return found / CORES


def page(given: Assumptions) -> str:
    """The page's text."""
    return TEXT.read_text().format(
        candidates=CANDIDATES,
        core_hour=f"{given.core_hour:g}",
        busy=f"{given.busy:.0%}",
        pod_cores=POD_CORES,
        loads=table(["requests/s", "documents", "model", "cores", "pods", "memory", "$ a month"], loads(given)),
        billion=table(["documents", "model", "core hours", "on 100 cores", "$"], billion(given)),
        cache=table(["exponent", *(f"{int(each):,} entries" for each in shares()["0.9"])], cached()),
        **limits(),
    )


def loads(given: Assumptions) -> list[list[str]]:
    """Requests a second: what they take."""
    megabytes = result("memory")["mb"]["at the peak"]
    rows = []
    for rate in RATES:
        for size in SIZES:
            for model in MODELS:
                cores = math.ceil(rate * CANDIDATES / speed(model, size) / given.busy)
                pods = math.ceil(cores / POD_CORES)
                cost = cores * given.core_hour * HOURS_PER_MONTH
                memory = f"{pods * megabytes / 1000:,.1f} GB"
                rows.append([f"{rate:,}", size, f"`{model}`", rounded(cores), rounded(pods), memory, rounded(cost)])
    return rows


def billion(given: Assumptions) -> list[list[str]]:
    """A billion pairs: what they take, with all cores at work all the time."""
    rows = []
    for size in SIZES:
        for model in MODELS:
            hours = PAIRS / speed(model, size) / 3600
            rows.append([size, f"`{model}`", rounded(hours), f"{hours / 100:.0f} h", rounded(hours * given.core_hour)])
    return rows


def shares() -> dict[str, dict[str, float]]:
    """Exponent, entries, and the share of scores found."""
    found: dict[str, dict[str, float]] = result("zipf")["shares"]
    return found


def cached() -> list[list[str]]:
    """What is left to compute."""
    return [[exponent, *(f"{share:.0%}" for share in row.values())] for exponent, row in shares().items()]


def limits() -> dict[str, str]:
    """What the sentences need."""
    threads = result("growth")["threads, 100 documents of 20 to 60 words"]
    seconds = result("cache")["seconds"]
    words = sum(LENGTHS["mixed"]) / 2
    body = CANDIDATES * words * BYTES_PER_WORD
    best = shares()["0.9"]["100000"]
    reading = result("tokenizing")
    slowest = min(each["tokenizer"] for each in reading.values())
    default, tiny = (reading[name]["model"] for name in ("rerank-mini-en-v1", "rerank-tiny-en-v1"))
    return {
        "speedup": f"{threads['1'] / threads['2']:.2f}",
        "serial": f"{2 * threads['2'] / threads['1'] - 1:.0%}",
        "known": f"{1000 * seconds['in memory']:.1f}",
        "computed": f"{1000 * seconds['computed']:.0f}",
        "body": f"{body / 1000:.0f}",
        "network": f"{RATES[-1] * body * 8 / 1e9:.0f}",
        "per_core": f"{speed('rerank-mini-en-v1', 'mixed') / CANDIDATES * body * 8 / 1e3:.0f}",
        "share": f"{best:.0%}",
        "tokenizer": rounded(slowest),
        "model": rounded(default),
        "tokenizer_times": f"{slowest / default:.0f}",
        "tokenizer_least": f"{slowest / tiny:.0f}",
        "ids": f"{PAIRS * ID_BYTES * ID_OVERHEAD / 1e9:.0f}",
        "loaded": f"{result('memory')['mb']['after loading']:.0f}",
        "peak": f"{result('memory')['mb']['at the peak']:.0f}",
    }


def rounded(number: float) -> str:
    """Two digits that count: more would claim what nobody knows."""
    digits = max(0, len(str(int(number))) - 2)
    return f"{round(number, -digits):,.0f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---:" if position else "---" for position in range(len(head))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core-hour", type=float, default=Assumptions.core_hour, help="dollars for an hour of a core")
    parser.add_argument("--busy", type=float, default=Assumptions.busy, help="share of the time that cores compute")
    PAGE.write_text(page(Assumptions(**vars(parser.parse_args()))))
