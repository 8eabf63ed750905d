"""What very long texts cost: CPU time and peak memory by kind of text, side and length.

    python benchmarks/long_texts.py

A document that is cut, a query that is cut (both scored to the end), and a document read in windows (tokenised to the
end; the model's work on its thousands of windows is dropped). Each case runs in a process of its own. The seconds are
CPU seconds of that process, so that a busy machine does not show: the median of the rounds. The memory is what it came
to hold beyond what it held before the first of them, the text itself included.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import statistics
import string
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from measure import Result, arguments, keep_plot
from memory import peak_mb

from rerank_core import Reranker
from rerank_core.events import Encoded, Event

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
ONE_CASE = "import json, sys, long_texts; print(json.dumps(long_texts.measure(*json.loads(sys.argv[1]))))"

Case = dict[str, Any]
"""Kind, side and length of a text, seconds and memory."""


def main() -> None:
    """Run every case, plot them, keep the table."""
    given = arguments(__doc__, rounds=3)
    cases = [run_case(kind, side, length, given.rounds) for side in SIDES for kind in UNITS for length in LENGTHS]
    keep_plot(plot(cases), given.out / "long_texts.svg")
    Result(
        "long_texts",
        "Very long texts: CPU time and memory",
        ["", *(head for length in LENGTHS for head in (f"{length / 1e6:g} M characters", "MB"))],
        rows(cases),
        [f"`{MODEL}`, medians of {given.rounds} rounds."],
        {"cases": cases},
    ).keep(given.out)


def make_text(kind: str, length: int) -> str:
    """A text of ``length`` characters, the same each time."""
    sample = random.Random(0)  # noqa: S311  (a reproducible benchmark)
    if kind == "base64":
        return "".join(sample.choices(string.ascii_letters + string.digits + "+/", k=length))
    if kind == "one word":
        return "".join(sample.choices(string.ascii_lowercase, k=length))
    unit = UNITS[kind]
    return (unit * (length // len(unit) + 1))[:length]


def run_case(kind: str, side: str, length: int, rounds: int) -> Case:
    """One case in a process of its own."""
    command = [sys.executable, "-c", ONE_CASE, json.dumps([kind, side, length, rounds])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)  # noqa: S603  (ourselves)
    case: Case = json.loads(done.stdout)
    return case


def measure(kind: str, side: str, length: int, rounds: int) -> Case:
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


def rows(cases: Sequence[Case]) -> list[list[str]]:
    """The table: a row for each side and kind, a pair of cells for each length."""
    return [
        [
            f"{side}, {kind}",
            *(
                cell
                for case in of(cases, side, kind)
                for cell in (_seconds(case["seconds"]), f"{case['memory_mb']:.0f}")
            ),
        ]
        for side in SIDES
        for kind in UNITS
    ]


def of(cases: Sequence[Case], side: str, kind: str) -> list[Case]:
    """The cases of a side and a kind, one for each length."""
    return [case for case in cases if (case["side"], case["kind"]) == (side, kind)]


def _seconds(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def plot(cases: Sequence[Case]) -> Figure:
    """Seconds and memory against the length, a panel for each side."""
    from matplotlib.figure import Figure  # not above: it is no part of the memory that is measured

    figure = Figure(figsize=(4 * len(SIDES), 6), layout="constrained")
    axes = figure.subplots(2, len(SIDES), sharex=True)
    for column, side in enumerate(SIDES):
        for row, (measured, label) in enumerate((("seconds", "CPU seconds"), ("memory_mb", "MB"))):
            for kind in UNITS:
                line = of(cases, side, kind)
                lengths = [case["length"] / 1e6 for case in line]
                axes[row][column].plot(lengths, [case[measured] for case in line], marker="o", label=kind)
            axes[row][column].set(ylabel=label, ylim=(0, None), title=side if row == 0 else "")
        axes[1][column].set(xlabel="millions of characters")
    axes[0][0].legend()
    return figure


if __name__ == "__main__":
    main()
