"""How long ``import rerank_core`` takes in a fresh process, beside an empty one.

python benchmarks/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(statement: str) -> float:
    """Wall-clock seconds of a process that runs one statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603  (our own interpreter)
    return time.perf_counter() - started


def main() -> None:
    """Take turns; print the medians and their difference."""
    empty, ours = [], []
    for _ in range(ROUNDS):
        empty.append(seconds("pass"))
        ours.append(seconds("import rerank_core"))
    base, whole = statistics.median(empty), statistics.median(ours)
    print(f"empty process {base * 1e3:.0f} ms, with import {whole * 1e3:.0f} ms: import {1e3 * (whole - base):.0f} ms")


if __name__ == "__main__":
    main()
