"""Bulk jobs: pairs a second in one process and on Ray, against ``rerank_many``; and what a job costs that is killed.

    python benchmarks/bulk.py --data ../shared/data/eval/wikiqa_test [--pairs 200000]

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
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from measure import ROOT, Result, arguments

from rerank_core import Reranker
from rerank_core.evaluation import load_data

MODEL = "rerank-tiny-en-v1"
CANDIDATES = 20
DATA = ROOT.parent / "shared" / "data" / "eval" / "wikiqa_test"
KILLS = ("driver", "worker", "driver")
TOLERANCE = 1e-6
MARK = f"BENCHMARK_OF_BULK={os.getpid()}"


def main() -> None:
    """Write the pairs, run each way, and compare."""
    given = arguments(__doc__, data=DATA, pairs=200_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = written(given.data, given.pairs, folder / "pairs.jsonl")
        with (folder / "pairs.jsonl").open() as lines, (folder / "tenth.jsonl").open("w") as tenth:
            tenth.writelines(islice(lines, len(rows) // 10))
        pairs = len(rows) * CANDIDATES
        seconds = {"`rerank_many`, in memory": many(rows)}
        steady: dict[str, float] = {}
        ways = {
            "local": ("pairs.jsonl", "local"),
            "ray": ("pairs.jsonl", "ray"),
            "one worker": ("tenth.jsonl", "ray", "--workers", "1"),
        }
        for output, (file, *how) in ways.items():
            started = time.perf_counter()
            job(folder, file, output, *how).wait()
            way = f"`rerank bulk --engine {' '.join(how)}`"
            seconds[way], steady[way] = time.perf_counter() - started, under_way(folder / output)
        started = time.perf_counter()
        kills = killed(folder, rows=len(rows))
        seconds[f"the same on Ray, killed {kills} times"] = time.perf_counter() - started
        differences = {each: difference(folder / each, folder / "local") for each in ("ray", "killed")}
    speeds = {way: pairs / spent / (10 if "--workers" in way else 1) for way, spent in seconds.items()}
    first = next(iter(speeds.values()))
    shown = [
        [way, f"{seconds[way]:.0f}", f"{speed:.0f}", f"{speed / first:.2f}", f"{steady.get(way, speed):.0f}"]
        for way, speed in speeds.items()
    ]
    Result(
        "bulk",
        f"{pairs:,} pairs in bulk, `{MODEL}`",
        ["", "seconds", "pairs/s", "ratio", "pairs/s under way"],
        shown,
        [
            "Starting the processes counts, but for the column of jobs under way. One worker, on one core, had a tenth "
            "of the pairs. Against the job in one process: "
            + "; ".join(f"{way}: {found}" for way, found in differences.items())
            + ". All other columns are equal, row for row.",
        ],
        {
            "pairs": pairs,
            "seconds": seconds,
            "pairs_per_second": speeds,
            "under_way": steady,
            "differences": {way: found.most for way, found in differences.items()},
            "above_tolerance": {way: found.above for way, found in differences.items()},
            "ranks": {way: found.ranks for way, found in differences.items()},
            "kills": kills,
        },
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


def job(folder: Path, file: str, output: str, *how: str) -> subprocess.Popen[bytes]:
    """A job that has been started."""
    command = ["bulk", file, "-o", output, "-m", MODEL, "--rows-per-part", "50", "--engine", *how]
    mark, _, value = MARK.partition("=")
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "rerank_core", *command],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), mark: value},
    )


def under_way(output: Path) -> float:
    """Pairs a second between the first part and the last."""
    times = sorted(file.stat().st_mtime for file in output.glob("done-*"))
    return 50 * CANDIDATES * (len(times) - 1) / (times[-1] - times[0])


def killed(folder: Path, *, rows: int) -> int:
    """Run a job, kill something three times, and let it end; returns how often something was killed."""
    sample, kills = random.Random(1), 0  # noqa: S311
    process = job(folder, "pairs.jsonl", "killed", "ray")
    for number, victim in enumerate(KILLS):
        least = (rows // 50) * (number + sample.random()) / len(KILLS)
        while len([*(folder / "killed").glob("done-*")]) < least and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is not None:
            break
        kills += 1
        if victim == "worker":
            kill([each for each, line in ours().items() if line.startswith(b"ray::MapWorker")][:1])
        else:
            process.kill()
            process.wait()
            kill(ours())  # what a driver leaves ends by itself, some time later
            process = job(folder, "pairs.jsonl", "killed", "ray")
    process.wait()
    return kills


def ours() -> dict[int, bytes]:
    """Processes that a job has started: number and command line."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if MARK.encode() in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes()
    return found


def kill(numbers: Iterable[int]) -> None:
    """End processes as a crash does."""
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


@dataclass
class Difference:
    """How two outputs differ.

    Attributes:
        pairs: how many pairs there are.
        most: the largest difference of a relevance score.
        above: how many of these are above 1e-6.
        ranks: how many ranks differ.
    """

    pairs: int = 0
    most: float = 0.0
    above: int = 0
    ranks: int = 0

    def __str__(self) -> str:
        return (
            f"relevance scores differ by at most {self.most:.0e}, {self.above} of {self.pairs:,} by more than "
            f"{TOLERANCE:.0e}, and {self.ranks} ranks"
        )


def difference(one: Path, other: Path) -> Difference:
    """How the scores of two outputs differ.

    Raises:
        ValueError: when anything else differs.
    """
    found = Difference()
    if {each.name for each in one.glob("part-*")} != {each.name for each in other.glob("part-*")}:
        raise ValueError("the jobs do not have the same parts")
    for file in sorted(other.glob("part-*.jsonl")):
        for row, wanted in zip(rows_of(one / file.name), rows_of(file), strict=True):
            for name in ("relevance_score", "rank"):
                for value, expected in zip(row.pop(name), wanted.pop(name), strict=True):
                    apart = abs(value - expected)
                    if name == "rank":
                        found.ranks += apart > 0
                        continue
                    found.pairs += 1
                    found.most = max(found.most, apart)
                    found.above += apart > TOLERANCE
            del row["logit"], wanted["logit"]  # the score says it
            if row != wanted:
                raise ValueError(f"{file.name} differs from that of one process")
    return found


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a part."""
    return [json.loads(line) for line in file.read_text().splitlines()]


if __name__ == "__main__":
    main()
