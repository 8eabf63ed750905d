"""Bulk jobs: pairs a second in one process and on Ray, against ``rerank_many``; and what a job costs that is killed.

    python benchmarks/bulk.py --data ../shared/data/eval/squad_dev12 [--pairs 20000]

Queries of the set with twenty of its passages each, written to JSONL; the passages are taken at random, so the scores
mean nothing. ``rerank_many`` has them in memory, the jobs read and write files, and start their own processes: Ray's
cluster too, which takes some seconds whatever the job. The last run is killed three times, at random moments, a worker
once and the driver twice; its output is compared with that of one process, row for row.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, Result, arguments

from rerank_core import Reranker
from rerank_core.evaluation import load_data

MODEL = "rerank-tiny-en-v1"
CANDIDATES = 20
DATA = ROOT.parent / "shared" / "data" / "eval" / "squad_dev12"
KILLS = ("driver", "worker", "driver")


def main() -> None:
    """Write the pairs, run each way, and compare."""
    given = arguments(__doc__, data=DATA, pairs=200_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = written(given.data, given.pairs, folder / "pairs.jsonl")
        pairs = len(rows) * CANDIDATES
        seconds = {"`rerank_many`, in memory": many(rows)}
        for engine in ("local", "ray"):
            started = time.perf_counter()
            job(folder, engine, engine).wait()
            seconds[f"`rerank bulk --engine {engine}`"] = time.perf_counter() - started
        started = time.perf_counter()
        kills = killed(folder, rows=len(rows))
        seconds[f"the same on Ray, killed {kills} times"] = time.perf_counter() - started
        differences = {each: difference(folder / each, folder / "local") for each in ("ray", "killed")}
    first = next(iter(seconds.values()))
    shown = [[way, f"{spent:.0f}", f"{pairs / spent:.0f}", f"{first / spent:.2f}"] for way, spent in seconds.items()]
    Result(
        "bulk",
        f"{pairs:,} pairs in bulk, `{MODEL}`",
        ["", "seconds", "pairs/s", "ratio"],
        shown,
        [
            "Starting the processes counts. Relevance scores differ from those of one process by at most "
            + ", ".join(f"{value:.0e} ({way})" for way, value in differences.items())
            + "; all columns that are not scores are equal, row for row.",
        ],
        {"pairs": pairs, "seconds": seconds, "differences": differences, "kills": kills},
    ).keep(given.out)


def written(data: Path, pairs: int, file: Path) -> list[tuple[str, list[str]]]:
    """Queries with candidates, which are also written to ``file``."""
    known = load_data(data)
    sample = random.Random(0)  # noqa: S311  (a reproducible benchmark)
    queries, texts = list(known.queries.values()), list(known.documents.values())
    rows = [(sample.choice(queries), sample.sample(texts, CANDIDATES)) for _ in range(pairs // CANDIDATES)]
    with file.open("w") as out:
        out.writelines(json.dumps({"query": query, "documents": found}) + "\n" for query, found in rows)
    return rows


def many(rows: list[tuple[str, list[str]]]) -> float:
    """Seconds of the same pairs in this process, loading included."""
    started = time.perf_counter()
    with Reranker(MODEL) as reranker:
        for begin in range(0, len(rows), 1000):
            reranker.rerank_many(rows[begin : begin + 1000])
    return time.perf_counter() - started


def job(folder: Path, engine: str, output: str) -> subprocess.Popen[bytes]:
    """A job that has been started."""
    command = ["bulk", "pairs.jsonl", "-o", output, "-m", MODEL, "--engine", engine, "--rows-per-part", "50"]
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "rerank_core", *command],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )


def killed(folder: Path, *, rows: int) -> int:
    """Run a job, kill something three times, and let it end; returns how often something was killed."""
    sample, kills = random.Random(1), 0  # noqa: S311
    process = job(folder, "ray", "killed")
    for number, victim in enumerate(KILLS):
        least = (rows // 50) * (number + sample.random()) / len(KILLS)
        while len([*(folder / "killed").glob("done-*")]) < least and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is not None:
            break
        kills += 1
        if victim == "worker":
            subprocess.run(["pkill", "-9", "-o", "-f", "ray::MapWorker"], check=False)  # noqa: S607
        else:
            process.send_signal(signal.SIGKILL)
            process.wait()
            subprocess.run(["pkill", "-9", "-f", "raylet|gcs_server|^ray::"], check=False)  # noqa: S607
            process = job(folder, "ray", "killed")
    process.wait()
    return kills


def difference(one: Path, other: Path) -> float:
    """The largest difference of a relevance score.

    Raises:
        ValueError: when anything else differs.
    """
    most = 0.0
    for file in sorted(other.glob("part-*.jsonl")):
        found, expected = (
            [json.loads(line) for line in (folder / file.name).read_text().splitlines()] for folder in (one, other)
        )
        for row, wanted in zip(found, expected, strict=True):
            scores, right = row.pop("relevance_score"), wanted.pop("relevance_score")
            for each in (row, wanted):
                del each["logit"], each["rank"]  # equal up to the same rounding
            if row != wanted:
                raise ValueError(f"{file.name} differs from that of one process")
            most = max(most, *(abs(a - b) for a, b in zip(scores, right, strict=True)))
    if len([*one.glob("part-*")]) != len([*other.glob("part-*")]):
        raise ValueError("the jobs do not have the same parts")
    return most


if __name__ == "__main__":
    main()
