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
from dataclasses import asdict, dataclass
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
ONE_CORE = "--workers 1`"
ENOUGH = 20_000
"""Pairs from which on a job has parts enough to see its speed under way."""
WAYS = {
    "local": ("pairs.jsonl", "local"),
    "ray": ("pairs.jsonl", "ray"),
    "one worker": ("pairs.jsonl", "ray", "--workers", "1", "--cpus-per-worker", "2"),
    "one core": ("tenth.jsonl", "ray", "--workers", "1"),
}
"""By output: what is read, and how."""
MARK = f"BENCHMARK_OF_BULK={os.getpid()}"


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
        for output, (file, *how) in WAYS.items():
            started = time.perf_counter()
            job(folder, file, output, *how).wait()
            way = f"`rerank bulk --engine {' '.join(how)}`"
            seconds[way] = time.perf_counter() - started
            if share_of(pairs, way) >= ENOUGH:
                steady[way] = under_way(folder / output)
        started = time.perf_counter()
        kills = killed(folder, rows=len(rows))
        seconds[f"the same on Ray, killed {kills} times"] = time.perf_counter() - started
        found = {each: difference(folder / each, folder / "local") for each in ("ray", "killed")}
    speed_of(pairs, seconds, steady).keep(given.out)
    equality_of(pairs, kills, found).keep(given.out)


def share_of(pairs: int, way: str) -> float:
    """How many of ``pairs`` a way has: one core a tenth of them."""
    return pairs / 10 if way.endswith(ONE_CORE) else pairs


def speed_of(pairs: int, seconds: dict[str, float], steady: dict[str, float]) -> Result:
    """How fast each way was.

    Args:
        pairs: of a whole job.
        seconds: by way.
        steady: pairs a second under way, by way, of jobs that are long enough.
    """
    speeds = {way: share_of(pairs, way) / spent for way, spent in seconds.items()}
    first = next(iter(speeds.values()))
    return Result(
        "bulk",
        f"{pairs:,} pairs in bulk, `{MODEL}`",
        ["", "seconds", "pairs/s", "ratio", "pairs/s under way"],
        [
            [
                way,
                f"{seconds[way]:.0f}",
                f"{speed:.0f}",
                f"{speed / first:.2f}",
                f"{steady[way]:.0f}" if way in steady else "",
            ]
            for way, speed in speeds.items()
        ],
        ["Starting the processes counts, but for the last column. One worker on one core had a tenth of the pairs."],
        {"pairs": pairs, "seconds": seconds, "pairs_per_second": speeds, "under_way": steady},
    )


def equality_of(pairs: int, kills: int, found: dict[str, Difference]) -> Result:
    """How far two jobs on Ray, of which one was killed, are from one in one process."""
    names = {"ray": "on Ray", "killed": f"on Ray, killed {kills} times"}
    return Result(
        "bulk_equal",
        f"{pairs:,} pairs in bulk: what differs from a job in one process",
        ["", "largest difference of a score", f"scores that differ by more than {TOLERANCE:.0e}", "ranks that differ"],
        [
            [names[way], f"{each.most:.0e}", f"{each.above} of {each.pairs:,}", str(each.ranks)]
            for way, each in found.items()
        ],
        ["Rows, their order and all other columns are equal. int8 rounds some scores otherwise in other batches."],
        {"pairs": pairs, "kills": kills, "differences": {way: asdict(each) for way, each in found.items()}},
    )


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
