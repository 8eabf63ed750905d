"""Memory above loading while thousands of long documents are ranked.

    python benchmarks/memory.py

Prints the resident size after loading and the peak while 5,000 documents of more than 512 tokens are scored.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from rerank_core import Reranker


def peak_mb() -> float:
    """The highest resident size so far, in MB (``ru_maxrss`` is in KiB on Linux, in bytes on macOS)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Rank once to load, then rank the lot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--model", default=None)
    arguments = parser.parse_args()
    with Reranker(arguments.model) as reranker:
        reranker.warm_up()
        loaded = peak_mb()
        texts = [f"document {i} " + "some words of text that go on and on " * 70 for i in range(arguments.documents)]
        characters = sum(map(len, texts)) / 1e6
        started = time.perf_counter()
        response = reranker.rerank("what goes on and on", texts)
        seconds = time.perf_counter() - started
    print(f"after loading {loaded:.0f} MB")
    print(
        f"peak {peak_mb():.0f} MB, {peak_mb() - loaded:.0f} MB more, for {len(texts)} documents "
        f"({characters:.0f} MB of text, {response.usage.prompt_tokens / 1e6:.2f} M tokens) in {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
