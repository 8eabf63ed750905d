"""Memory above loading while thousands of long documents are ranked.

    python benchmarks/memory.py

The resident size after loading, and its peak while 5,000 documents of more than 512 tokens are scored.
"""

from __future__ import annotations

import resource
import sys
import time

from measure import Result, arguments

from rerank_core import Reranker


def peak_mb() -> float:
    """The highest resident size so far, in MB (``ru_maxrss`` is in KiB on Linux, in bytes on macOS)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Rank once to load, then rank the lot."""
    given = arguments(__doc__, documents=5000, model="rerank-mini-en-v1")
    with Reranker(given.model) as reranker:
        reranker.warm_up()
        loaded = peak_mb()
        texts = [f"document {i} " + "some words of text that go on and on " * 70 for i in range(given.documents)]
        started = time.perf_counter()
        response = reranker.rerank("what goes on and on", texts)
        seconds = time.perf_counter() - started
    sizes = {"after loading": loaded, "at the peak": peak_mb(), "more": peak_mb() - loaded}
    Result(
        "memory",
        f"Memory while {given.documents} documents of more than 512 tokens are ranked",
        ["", "MB"],
        [[moment, f"{size:.0f}"] for moment, size in sizes.items()],
        [
            f"`{response.model}`. The documents are {sum(map(len, texts)) / 1e6:.0f} MB of text.",
            f"{response.usage.prompt_tokens / 1e6:.2f} million tokens were read, in {seconds:.0f} s.",
        ],
        {"mb": sizes, "seconds": seconds, "tokens": response.usage.prompt_tokens},
    ).keep(given.out)


if __name__ == "__main__":
    main()
