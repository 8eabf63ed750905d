"""Memory of a bulk job on Ray, with an input of a tenth, and of ten times, what Ray's object store holds.

    python benchmarks/bulk_memory.py [--megabytes 2000]

The rows are short pairs with a column of 100,000 characters, which comes back untouched: so scoring takes little time,
and all of the input passes through the store. Memory is the proportional set size of all processes of the job, driver,
Ray and workers, looked at several times a second; memory that they share counts once.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from measure import Result, arguments

from rerank_core.bulk.on_ray import OBJECT_STORE_BYTES

CARGO = 100_000
MARK = f"BENCHMARK_OF_MEMORY={os.getpid()}"
STORE = OBJECT_STORE_BYTES // 10**6


def main() -> None:
    """Two inputs, one after the other."""
    given = arguments(__doc__, megabytes=10 * STORE)
    shown, found = [], {}
    for megabytes in (STORE // 10, given.megabytes):
        peak, spilled = measured(megabytes)
        found[megabytes] = {"peak": peak, "spilled": spilled}
        shown.append([f"{megabytes:,} MB", f"{STORE} MB", f"{peak / 1e6:,.0f} MB", f"{spilled / 1e6:,.0f} MB"])
    Result(
        "bulk_memory",
        "Memory of a bulk job on Ray",
        ["input", "object store", "most memory", "spilled to disk"],
        shown,
        ["All processes of the job together: driver, Ray and the workers."],
        {"inputs": found, "store": OBJECT_STORE_BYTES},
    ).keep(given.out)


def measured(megabytes: int) -> tuple[int, int]:
    """The most bytes of memory that a job has held, and the most that were spilled to disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "pairs.jsonl", megabytes)
        mark, _, value = MARK.partition("=")
        job = subprocess.Popen(
            [sys.executable, "-m", "rerank_core", "bulk", "pairs.jsonl", "-o", "out", "-m", "rerank-tiny-en-v1",
             "--engine", "ray", "--rows-per-part", "50"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "RAY_TMPDIR": name, mark: value},
        )  # fmt: skip
        peak = spilled = 0
        while job.poll() is None:
            peak = max(peak, sum(map(held, Path("/proc").glob("[0-9]*"))))
            spilled = max(spilled, sum(size(file) for file in folder.glob("ray/*/ray_spilled_objects*/**/*")))
            time.sleep(0.2)
        if job.returncode != 0:
            raise RuntimeError(f"the job ended with {job.returncode}")
        return peak, spilled


def write(file: Path, megabytes: int) -> None:
    """Pairs with a cargo."""
    sample = random.Random(0)  # noqa: S311  (a reproducible benchmark)
    with file.open("w") as out:
        for number in range(megabytes * 10**6 // CARGO):
            cargo = f"{sample.getrandbits(256):064x}" * (CARGO // 64)
            pair = {"query": f"cat {number // 10}", "document": f"Cat {number} purrs."}
            out.write(json.dumps(pair | {"cargo": cargo}) + "\n")


def held(process: Path) -> int:
    """Bytes that a process of the job holds; of shared ones its part."""
    with suppress(OSError, ValueError):  # it has ended, or is somebody else's
        if MARK.encode() in (process / "environ").read_bytes().split(b"\0"):
            lines = (process / "smaps_rollup").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return 0


def size(file: Path) -> int:
    """Bytes of a file that may be gone."""
    with suppress(OSError):
        return file.stat().st_size if file.is_file() else 0
    return 0


if __name__ == "__main__":
    main()
