"""What very long texts cost: CPU time and peak memory by kind of text, side and length.

    python benchmarks/long_texts.py --out build/long_texts

A document that is cut, a query that is cut (both scored to the end), and a document read in windows (tokenised to the
end; the model's work on its thousands of windows is dropped). Each case runs in a process of its own. The seconds are
CPU seconds of that process, so that a busy machine does not show: the median of the rounds. The memory is what it came
to hold beyond what it held before the first of them, the text itself included.
FOLDER gets long_texts.json, and long_texts.png where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import random
import statistics
import string
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memory import peak_mb
from rich.console import Console
from rich.table import Table

from rerank_core import Reranker
from rerank_core.events import Encoded, Event
from rerank_core.inference.cpus import available_cpus

MODEL = "rerank-mini-en-v1"
LENGTHS = (1_000_000, 8_000_000)
SIDES = ("document", "query", "windows")
UNITS = {
    "English": "the weather today is sunny and warm, tomorrow it may rain in the north. ",
    "Chinese": "机器学习是人工智能的一个分支",
    "a,a,": "a,",
    "base64": "",
    "one word": "",
}


def main() -> None:
    """Run every case, print the table, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", nargs=3, metavar=("KIND", "SIDE", "LENGTH"), help="one case alone, as JSON")
    arguments = parser.parse_args()
    if arguments.case:
        kind, side, length = arguments.case
        print(json.dumps(measure(kind, side, int(length), arguments.rounds)))
        return
    cases = [
        run_case(kind, side, length, arguments.rounds)
        for side in arguments.sides
        for kind in UNITS
        for length in arguments.lengths
    ]
    content = {
        "machine": f"{platform.processor() or platform.machine()}, {available_cpus()} CPUs",
        "model": MODEL,
        "date": time.strftime("%Y-%m-%d"),
        "cases": cases,
    }
    show(content)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "long_texts.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if find_spec("matplotlib"):
            plot(content, arguments.out / "long_texts.png")


def make_text(kind: str, length: int) -> str:
    """A text of ``length`` characters, the same each time."""
    sample = random.Random(0)  # noqa: S311  (a reproducible benchmark)
    if kind == "base64":
        return "".join(sample.choices(string.ascii_letters + string.digits + "+/", k=length))
    if kind == "one word":
        return "".join(sample.choices(string.ascii_lowercase, k=length))
    unit = UNITS[kind]
    return (unit * (length // len(unit) + 1))[:length]


def run_case(kind: str, side: str, length: int, rounds: int) -> dict[str, Any]:
    """One case in a process of its own."""
    command = [sys.executable, __file__, "--rounds", str(rounds), "--case", kind, side, str(length)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)  # noqa: S603  (ourselves)
    case: dict[str, Any] = json.loads(done.stdout)
    return case


def measure(kind: str, side: str, length: int, rounds: int) -> dict[str, Any]:
    """Seconds and memory of one case, in this process."""
    logging.getLogger("rerank_core").setLevel(logging.ERROR)  # that texts are cut is the point
    text = make_text(kind, length)
    with Reranker(MODEL, long_documents="windows" if side == "windows" else "truncate", hooks=[]) as reranker:
        reranker.warm_up()
    before = peak_mb() - sys.getsizeof(text) / 1e6
    seconds = [windows(text) if side == "windows" else cut(text, side) for _ in range(rounds)]
    return {
        "kind": kind,
        "side": side,
        "length": length,
        "seconds": statistics.median(seconds),
        "memory_mb": peak_mb() - before,
    }


def cut(text: str, side: str) -> float:
    """CPU seconds of a request whose document or query is ``text``."""
    query, document = (text, "a short document") if side == "query" else ("a short query", text)
    with Reranker(MODEL, hooks=[]) as reranker:
        reranker.warm_up()
        started = time.process_time()
        reranker.rerank(query, [document])
        return time.process_time() - started


def windows(text: str) -> float:
    """CPU seconds of the tokenising of a document that is read in windows; what the model would do then is dropped."""
    seconds: list[float] = []
    started: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def hook(event: Event) -> None:
            if isinstance(event, Encoded) and started:
                seconds.append(time.process_time() - started[0])
                loop.call_soon(task.cancel)

        async with Reranker(MODEL, long_documents="windows", hooks=[hook]) as reranker:
            await reranker.arerank("warm up", ["warm up"])
            started.append(time.process_time())
            task = asyncio.create_task(reranker.arerank("a short query", [text]))
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())
    return seconds[0] if seconds else float("nan")


def show(content: dict[str, Any]) -> None:
    """The table: a row for each kind and side, a pair of columns for each length."""
    lengths = sorted({case["length"] for case in content["cases"]})
    table = Table(title=f"{content['model']}; {content['machine']}; {content['date']}")
    table.add_column("")
    for length in lengths:
        table.add_column(f"{length / 1e6:g} M characters", justify="right")
        table.add_column("MB", justify="right")
    for side in SIDES:
        for kind in UNITS:
            row = [case for case in content["cases"] if (case["side"], case["kind"]) == (side, kind)]
            cells = [text for case in row for text in (_seconds(case["seconds"]), f"{case['memory_mb']:.0f}")]
            if cells:
                table.add_row(f"{side}, {kind}", *cells)
    Console().print(table)


def _seconds(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def plot(content: dict[str, Any], path: Path) -> None:
    """Seconds and memory against the length, a panel for each side."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    sides = [side for side in SIDES if any(case["side"] == side for case in content["cases"])]
    figure, axes = plt.subplots(2, len(sides), figsize=(4 * len(sides), 6), sharex=True, squeeze=False)
    for column, side in enumerate(sides):
        for row, (measured, label) in enumerate((("seconds", "CPU seconds"), ("memory_mb", "MB"))):
            for kind in UNITS:
                cases = [case for case in content["cases"] if (case["side"], case["kind"]) == (side, kind)]
                lengths = [case["length"] / 1e6 for case in cases]
                axes[row][column].plot(lengths, [case[measured] for case in cases], marker="o", label=kind)
            axes[row][column].set(ylabel=label, ylim=(0, None), title=side if row == 0 else "")
        axes[1][column].set(xlabel="millions of characters")
    axes[0][0].legend()
    figure.suptitle(f"{content['model']}; {content['machine']}; {content['date']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
